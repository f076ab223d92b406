//! Registers with compare-and-set whose values are all set once: decided by blocks, in O(n log n), without a search.
//!
//! A compare-and-set from a to b that took effect ended the only time at which the register held a. So b stands right
//! behind a in every order, and values hang together in *blocks*: a value that was written (or was there at first), the
//! one that a compare-and-set made of it, and so on.
//!
//! ```text
//! write 1 ├──┤                              the block of 1: write 1, reads of 1, cas 1→2,
//! read → 1    ├────┤                        reads of 2, in this order; nothing else
//! cas 1→2       ├──────┤                    comes between
//! read → 2                ├───┤
//! write 3                        ├───┤      another block
//! ```
//!
//! There is a legal order exactly if
//! - each value that must have been there was written, by a chain of compare-and-sets that begins with a write;
//! - no value is replaced by two compare-and-sets;
//! - within a block nothing had ended before something began that stands before it;
//! - the blocks can be put one behind the other. A block must come before another if something of it had ended before something
//!   of the other began, so of a block only its earliest return and its latest call count: that is [`super::zones`]' question.
//!
//! A pending operation counts if its value was seen, by an operation that counts; else it is left out, which disturbs nobody. One
//! that counts has no end. The step from clusters to blocks is ours; it is tested against brute force and against the search on
//! random histories. Failed compare-and-sets that say "not this value" are not of this kind: they go to the search.

use super::{
    register::{Register, RegisterOp},
    search::{Problem, Step, Stuck},
    zones::{self, Conflict, INITIAL, NEVER},
};

const NONE: u32 = u32::MAX;

/// A value: who made it, and the reads of it.
#[derive(Clone, Copy)]
struct Cluster {
    made: bool,
    /// The value that a compare-and-set replaced by this one.
    from: u32,
    /// What replaced it, if that took effect.
    next: u32,
    made_call: u32,
    made_return: u32,
    first_read_return: u32,
    last_read_call: u32,
    /// It was certainly there.
    needed: bool,
}

const NOTHING: Cluster = Cluster {
    made: false,
    from: NONE,
    next: NONE,
    made_call: 0,
    made_return: NEVER,
    first_read_return: NEVER,
    last_read_call: 0,
    needed: false,
};

/// The value that an operation is about: what it read or made.
fn value(problem: &Problem<Register>, step: Step) -> Option<u32> {
    let (Step::Call(entry) | Step::Return(entry) | Step::Pending(entry)) = step;
    match problem.classes[problem.entries[entry as usize].class as usize] {
        RegisterOp::Read(value) | RegisterOp::Write(value) | RegisterOp::Cas(_, value) => {
            Some(value)
        }
        RegisterOp::Not(_) => None,
    }
}

/// Whether all operations are reads, writes and compare-and-sets, and every value is set once at most, the initial one never.
pub(super) fn applies(problem: &Problem<Register>) -> bool {
    let mut made = vec![false; problem.spec.value_count()];
    made[INITIAL as usize] = true;
    problem
        .entries
        .iter()
        .all(|entry| match problem.classes[entry.class as usize] {
            RegisterOp::Read(_) => true,
            RegisterOp::Write(value) | RegisterOp::Cas(_, value) => {
                !std::mem::replace(&mut made[value as usize], true)
            }
            RegisterOp::Not(_) => false,
        })
}

/// Values at fault in the first `until` steps, if they have no legal order.
pub(super) fn conflict(problem: &Problem<Register>, until: usize) -> Option<Conflict> {
    let mut clusters = match clusters(problem, until) {
        Ok(clusters) => clusters,
        Err(conflict) => return Some(conflict),
    };
    if let Some(conflict) = chain(&mut clusters) {
        return Some(conflict);
    }
    let mut blocks = Vec::new();
    let mut placed = 0;
    let needed = (0_u32..).zip(&clusters).filter(|(_, head)| head.needed);
    for (head, _) in needed.clone().filter(|(_, head)| head.from == NONE) {
        let (mut first_return, mut last_call) = (NEVER, 0);
        let mut at = head;
        while let Some(cluster) = clusters.get(at as usize) {
            for (ret, call) in [
                (cluster.made_return, cluster.made_call),
                (cluster.first_read_return, cluster.last_read_call),
            ] {
                if ret < last_call {
                    return Some((head, head));
                }
                first_return = first_return.min(ret);
                last_call = last_call.max(call);
            }
            placed += 1;
            at = cluster.next;
        }
        blocks.push((first_return, last_call, head));
    }
    if placed < needed.clone().count() {
        // Some hang together in a circle, each made out of another, and none was written.
        let mut in_block = vec![false; clusters.len()];
        for (_, _, head) in &blocks {
            let mut at = *head;
            while let Some(cluster) = clusters.get(at as usize) {
                in_block[at as usize] = true;
                at = cluster.next;
            }
        }
        return needed
            .map(|(value, _)| value)
            .find(|value| !in_block[*value as usize])
            .map(|value| (value, value));
    }
    zones::overlap(&blocks)
}

/// What happened to each value; or one that was read and that nobody had begun to make.
fn clusters(problem: &Problem<Register>, until: usize) -> Result<Vec<Cluster>, Conflict> {
    let mut clusters = vec![NOTHING; problem.spec.value_count()];
    clusters[INITIAL as usize] = Cluster {
        made: true,
        made_return: 0,
        needed: true,
        ..NOTHING
    };
    let mut calls = vec![0_u32; problem.entries.len()];
    // Place 0 is before everything.
    for (place, step) in (1_u32..).zip(&problem.steps[..until]) {
        let (Step::Call(entry) | Step::Return(entry) | Step::Pending(entry)) = *step;
        let op = problem.classes[problem.entries[entry as usize].class as usize];
        let ends = matches!(step, Step::Return(_));
        if !ends {
            calls[entry as usize] = place;
        }
        match op {
            RegisterOp::Write(value) | RegisterOp::Cas(_, value) => {
                let cluster = &mut clusters[value as usize];
                if ends {
                    cluster.made_return = place;
                    cluster.needed = true;
                } else {
                    cluster.made = true;
                    cluster.made_call = place;
                    cluster.from = match op {
                        RegisterOp::Cas(old, _) => old,
                        _ => NONE,
                    };
                }
            }
            RegisterOp::Read(value) if ends => {
                let cluster = &mut clusters[value as usize];
                if !cluster.made {
                    return Err((value, value));
                }
                cluster.needed = true;
                cluster.first_read_return = cluster.first_read_return.min(place);
                cluster.last_read_call = cluster.last_read_call.max(calls[entry as usize]);
            }
            RegisterOp::Read(_) | RegisterOp::Not(_) => {}
        }
    }
    Ok(clusters)
}

/// Links each value that must have been there to the one it was made of, which then must have been there too.
fn chain(clusters: &mut [Cluster]) -> Option<Conflict> {
    for start in 0..clusters.len() {
        let mut at = start;
        while clusters[at].needed && clusters[at].from != NONE {
            let before = clusters[at].from as usize;
            let known = clusters[before].next;
            if known as usize == at {
                break;
            }
            if known != NONE {
                return Some((known, at as u32));
            }
            if !clusters[before].made {
                return Some((before as u32, at as u32));
            }
            clusters[before].next = at as u32;
            clusters[before].needed = true;
            at = before;
        }
    }
    None
}

/// The shortest prefix without a legal order, in steps, and the values at fault in it.
pub(super) fn shortest(problem: &Problem<Register>) -> Option<(usize, Conflict)> {
    zones::shortest_by(problem.steps.len(), |until| conflict(problem, until))
}

/// The dead end at the end of the shortest prefix, without an order of what was before.
pub(super) fn stuck(until: usize) -> Stuck {
    Stuck {
        step: until - 1,
        states: Vec::new(),
        order: Vec::new(),
        because: Some(
            "no order of the compare-and-sets that lead to this value has a place for it"
                .to_owned(),
        ),
    }
}

/// The steps of the first `until` that belong to the blocks of these values: already they have no legal order, because taking
/// away whole blocks never makes an order illegal.
pub(super) fn only(
    problem: &Problem<Register>,
    until: usize,
    (one, other): Conflict,
) -> Vec<(usize, Step)> {
    // Values that hang together have one root.
    let mut above: Vec<u32> = (0..problem.spec.value_count() as u32).collect();
    fn root(above: &mut [u32], mut at: u32) -> u32 {
        while above[at as usize] != at {
            above[at as usize] = above[above[at as usize] as usize];
            at = above[at as usize];
        }
        at
    }
    for entry in &problem.entries {
        if let RegisterOp::Cas(old, new) = problem.classes[entry.class as usize] {
            let (old, new) = (root(&mut above, old), root(&mut above, new));
            above[new as usize] = old;
        }
    }
    let wanted = [root(&mut above, one), root(&mut above, other)];
    problem.steps[..until]
        .iter()
        .enumerate()
        .filter(|(_, step)| {
            value(problem, **step).is_some_and(|value| wanted.contains(&root(&mut above, value)))
        })
        .map(|(place, step)| (place, *step))
        .collect()
}
