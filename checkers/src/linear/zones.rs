//! Registers whose writes all differ: decided by zones, in O(n log n), without a search.
//!
//! After Gibbons and Korach (Testing Shared Memories, 1997). A value's *cluster* is its write and the reads of it. Let f
//! be the earliest return in it and s the latest call:
//!
//! ```text
//! write 1 ├──────┤ f                        forward zone [f, s] if f < s: the register must hold 1
//! read → 1               s ├─────┤          all the way from f to s
//!
//! write 2    s ├─────────┤ f                backward zone [s, f] else: all of the cluster fits
//! read → 2  ├──────────────┤                into one point of it
//! ```
//!
//! There is a legal order exactly if every read ends after its write began, no two forward zones overlap, and no
//! backward zone lies within a forward one. The initial value is a write that ended before everything. A pending write
//! that was read returns at infinity; one that was not read has a zone without an end, which disturbs nobody.
//!
//! All places in a history differ, so the question whether zones that touch overlap does not arise. Reads that said
//! "not this value" and compare-and-sets are not of this kind: they go to the search.

use super::{
    register::{Register, RegisterOp},
    search::{Problem, Step},
};

pub(super) const NEVER: u32 = u32::MAX;
/// The register's initial value is interned first.
pub(super) const INITIAL: u32 = 0;

/// Two values whose clusters cannot both be placed; the same twice if one is broken in itself.
pub(super) type Conflict = (u32, u32);

#[derive(Clone, Copy)]
struct Cluster {
    written: bool,
    first_return: u32,
    last_call: u32,
}

/// Whether all operations are reads and writes, and all writes differ from one another and from the initial value.
pub(super) fn applies(problem: &Problem<Register>) -> bool {
    let mut written = vec![false; problem.spec.value_count()];
    written[INITIAL as usize] = true;
    problem
        .entries
        .iter()
        .all(|entry| match problem.classes[entry.class as usize] {
            RegisterOp::Read(_) => true,
            RegisterOp::Write(value) => !std::mem::replace(&mut written[value as usize], true),
            RegisterOp::Cas(..) | RegisterOp::Not(_) => false,
        })
}

/// The values at fault in the first `until` steps, if they have no legal order.
pub(super) fn conflict(problem: &Problem<Register>, until: usize) -> Option<Conflict> {
    let empty = Cluster {
        written: false,
        first_return: NEVER,
        last_call: 0,
    };
    let mut clusters = vec![empty; problem.spec.value_count()];
    clusters[INITIAL as usize].written = true;
    let mut calls = vec![0_u32; problem.entries.len()];
    // Place 0 is before everything.
    for (place, step) in (1_u32..).zip(&problem.steps[..until]) {
        let op = |entry: u32| problem.classes[problem.entries[entry as usize].class as usize];
        match *step {
            Step::Call(entry) | Step::Pending(entry) => {
                calls[entry as usize] = place;
                if let RegisterOp::Write(value) = op(entry) {
                    let cluster = &mut clusters[value as usize];
                    cluster.written = true;
                    cluster.last_call = cluster.last_call.max(place);
                }
            }
            Step::Return(entry) => match op(entry) {
                RegisterOp::Write(value) => {
                    let cluster = &mut clusters[value as usize];
                    cluster.first_return = cluster.first_return.min(place);
                }
                RegisterOp::Read(value) => {
                    let cluster = &mut clusters[value as usize];
                    if !cluster.written {
                        return Some((value, value));
                    }
                    let first = if value == INITIAL { 0 } else { place };
                    cluster.first_return = cluster.first_return.min(first);
                    cluster.last_call = cluster.last_call.max(calls[entry as usize]);
                }
                RegisterOp::Cas(..) | RegisterOp::Not(_) => {}
            },
        }
    }
    let zones: Vec<(u32, u32, u32)> = (0_u32..)
        .zip(&clusters)
        .filter(|(_, cluster)| cluster.written)
        .map(|(value, cluster)| (cluster.first_return, cluster.last_call, value))
        .collect();
    overlap(&zones)
}

/// Two zones, of earliest return, latest call and value, that cannot stand one behind the other.
pub(super) fn overlap(zones: &[(u32, u32, u32)]) -> Option<Conflict> {
    let is_forward = |(first_return, last_call, _): &(u32, u32, u32)| first_return < last_call;
    let mut forward: Vec<(u32, u32, u32)> = zones.iter().copied().filter(is_forward).collect();
    forward.sort_unstable();
    for two in forward.windows(2) {
        if two[1].0 < two[0].1 {
            return Some((two[0].2, two[1].2));
        }
    }
    zones
        .iter()
        .filter(|zone| !is_forward(zone) && zone.0 != NEVER)
        .find_map(|(first_return, last_call, value)| {
            let behind = forward.partition_point(|zone| zone.0 < *last_call);
            let around = forward.get(behind.checked_sub(1)?)?;
            (*first_return < around.1).then_some((around.2, *value))
        })
}

/// The shortest prefix without a legal order, in steps, and the values at fault in it.
pub(super) fn shortest(problem: &Problem<Register>) -> Option<(usize, Conflict)> {
    shortest_by(problem.steps.len(), |until| conflict(problem, until))
}

/// The shortest prefix of so many steps at most in which `fault` finds something, and what.
pub(super) fn shortest_by<T>(
    steps: usize,
    fault: impl Fn(usize) -> Option<T>,
) -> Option<(usize, T)> {
    let mut found = fault(steps)?;
    // Longer prefixes of a prefix without an order have none either.
    let (mut good, mut bad) = (0, steps);
    while bad - good > 1 {
        let middle = usize::midpoint(good, bad);
        match fault(middle) {
            Some(earlier) => (bad, found) = (middle, earlier),
            None => good = middle,
        }
    }
    Some((bad, found))
}

/// The steps of the first `until` that belong to these values: already they have no legal order, because taking away
/// whole clusters never makes an order illegal.
pub(super) fn only(
    problem: &Problem<Register>,
    until: usize,
    (one, other): Conflict,
) -> Vec<(usize, Step)> {
    problem.steps[..until]
        .iter()
        .enumerate()
        .filter(|(_, step)| {
            let (Step::Call(entry) | Step::Return(entry) | Step::Pending(entry)) = **step;
            match problem.classes[problem.entries[entry as usize].class as usize] {
                RegisterOp::Read(value) | RegisterOp::Write(value) => {
                    value == one || value == other
                }
                RegisterOp::Cas(..) | RegisterOp::Not(_) => false,
            }
        })
        .map(|(place, step)| (place, *step))
        .collect()
}
