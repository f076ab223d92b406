//! Causal consistency, in time and memory of transactions times sessions, one word each.
//!
//! `clock[t][s]` is how much of session s leads to t by sessions and reads. It says which writes of x a reader of x knew of, and of each session
//! only the last one counts: what came before it there comes before it anyway. So what must precede a transaction in
//! the commit order is, again, a length of each session:
//!
//! ```text
//!             s0  s1  s2
//! clock[t3] =  4   0   7      t3 read x from t1. The last write of x among the first 4 of s0 is its third:
//! need[t1]  =  3   …   …      then t1 comes after the first 3 of s0, and so on.
//! ```
//!
//! An order exists exactly if sessions can be played to their ends, each next transaction only when what it needs was played. Where
//! all are stuck, each waits for another, which is a circle.

use harness_core::verdict::{Budget, Exhausted};

use super::{
    super::{
        graph::{Graph, PROCESS, WR, node},
        input::NONE,
        scc::components,
    },
    Broken, Edge, Reason, order,
    reads::{INITIAL, Sessions},
};

/// Transactions between two looks at the budget.
const BUDGET_EVERY: usize = 65_536;

/// What makes the order impossible; None if it is not.
pub(super) fn search(
    sessions: &Sessions,
    budget: &dyn Budget,
) -> Result<Option<Broken>, Exhausted> {
    let width = sessions.count();
    let rows = (sessions.txns.len() * width * size_of::<u32>()) as u64;
    let table = (sessions.txns.keys.len() * width * size_of::<u32>()) as u64;
    budget.spend(2 * rows + table)?;
    let graph = Graph::build(sessions.txns.len(), |edges| {
        order::base(sessions, |from, to, reason| {
            edges.add(from, to, if reason == Reason::Read { WR } else { PROCESS });
        });
    });
    let parts = components(&graph, super::super::graph::ALL);
    if parts.size.iter().any(|size| *size > 1) {
        return Ok(order::circle(&graph).map(Broken::Circle));
    }
    // Components are numbered against the direction of edges.
    let mut ordered = vec![0; sessions.txns.len()];
    for (txn, part) in (0_u32..).zip(&parts.of) {
        ordered[parts.of.len() - 1 - *part as usize] = txn;
    }
    drop((graph, parts));
    let clocks = Clocks::new(sessions, &ordered, budget)?;
    let need = match clocks.needs(budget)? {
        Ok(need) => need,
        Err(initial) => return Ok(Some(initial)),
    };
    Ok(clocks.play(&need).map(Broken::Circle))
}

/// A table of rows of one word a session.
struct Rows {
    width: usize,
    words: Vec<u32>,
}

impl Rows {
    fn new(rows: usize, width: usize) -> Self {
        Self {
            width,
            words: vec![0; rows * width],
        }
    }

    fn row(&self, at: u32) -> &[u32] {
        &self.words[at as usize * self.width..][..self.width]
    }

    fn row_mut(&mut self, at: u32) -> &mut [u32] {
        &mut self.words[at as usize * self.width..][..self.width]
    }
}

struct Clocks<'s> {
    sessions: &'s Sessions,
    rows: Rows,
}

impl<'s> Clocks<'s> {
    fn new(
        sessions: &'s Sessions,
        ordered: &[u32],
        budget: &dyn Budget,
    ) -> Result<Self, Exhausted> {
        let width = sessions.count();
        let mut rows = Rows::new(sessions.txns.len(), width);
        let mut row = vec![0; width];
        for (done, txn) in ordered.iter().copied().enumerate() {
            if done % BUDGET_EVERY == 0 {
                budget.spend(2 * (rows.words.len() * size_of::<u32>()) as u64)?;
            }
            if !sessions.counts(txn) {
                continue;
            }
            row.fill(0);
            let mut after = |before: u32| {
                for (own, other) in row.iter_mut().zip(rows.row(before)) {
                    *own = (*own).max(*other);
                }
                let own = &mut row[sessions.session[before as usize] as usize];
                *own = (*own).max(sessions.position[before as usize]);
            };
            let members = &sessions.members[sessions.session[txn as usize] as usize];
            if let Some(previous) = (sessions.position[txn as usize] as usize).checked_sub(2) {
                after(members[previous]);
            }
            let reads = sessions.external(txn).iter();
            for read in reads.filter(|read| read.from != INITIAL) {
                after(read.from);
            }
            rows.row_mut(txn).copy_from_slice(&row);
        }
        Ok(Self { sessions, rows })
    }

    /// What must be played before each transaction; or a read of the initial value that came too late.
    fn needs(&self, budget: &dyn Budget) -> Result<Result<Rows, Broken>, Exhausted> {
        let sessions = self.sessions;
        let width = sessions.count();
        let mut need = Rows {
            width,
            words: self.rows.words.clone(),
        };
        // By key and session: the last write among what the session that is looked at knows.
        let mut last = Rows::new(sessions.txns.keys.len(), width);
        for members in &sessions.members {
            budget.spend((3 * need.words.len() * size_of::<u32>()) as u64)?;
            last.words.fill(0);
            let mut known = vec![0_u32; width];
            for txn in members.iter().copied() {
                let clock = self.rows.row(txn);
                for (session, (known, now)) in known.iter_mut().zip(clock).enumerate() {
                    while *known < *now {
                        let other = sessions.members[session][*known as usize];
                        *known += 1;
                        for key in sessions.written(other) {
                            last.row_mut(*key)[session] = *known;
                        }
                    }
                }
                for read in sessions.external(txn) {
                    let row = last.row(read.key);
                    if read.from == INITIAL {
                        if let Some(session) = row.iter().position(|last| *last > 0) {
                            let saw = sessions.members[session][row[session] as usize - 1];
                            return Ok(Err(Broken::Initial {
                                txn,
                                step: read.step,
                                saw,
                            }));
                        }
                        continue;
                    }
                    let own = sessions.session[read.from as usize] as usize;
                    let before = need.row(read.from)[own];
                    let target = need.row_mut(read.from);
                    for (need, last) in target.iter_mut().zip(row) {
                        *need = (*need).max(*last);
                    }
                    // The last one there may be the one that was read; nobody waits for himself.
                    if row[own] == sessions.position[read.from as usize] {
                        target[own] = before;
                    }
                }
            }
        }
        Ok(Ok(need))
    }

    /// Plays all sessions; if they are stuck, a circle of who waits for whom.
    fn play(&self, need: &Rows) -> Option<Vec<Edge>> {
        let sessions = self.sessions;
        let width = sessions.count();
        let mut done = vec![0_u32; width];
        // By session: which other one its next transaction waits for; who waits for it, and until which place.
        let mut stuck_on = vec![NONE; width];
        let mut waiting: Vec<Vec<(u32, u32)>> = vec![Vec::new(); width];
        let mut ready: Vec<u32> = (0..node(width)).collect();
        while let Some(session) = ready.pop() {
            let at = session as usize;
            let from = done[at];
            stuck_on[at] = NONE;
            while let Some(txn) = sessions.members[at].get(done[at] as usize) {
                let row = need.row(*txn);
                // Its own place in its session is no condition; a later one can never be met.
                let unmet = row.iter().zip(&done).position(|(need, done)| need > done);
                if let Some(other) = unmet {
                    stuck_on[at] = node(other);
                    if other != at {
                        waiting[other].push((row[other], session));
                    }
                    break;
                }
                done[at] += 1;
            }
            if done[at] > from {
                waiting[at].retain(|(until, waits)| {
                    let goes_on = *until <= done[at];
                    if goes_on {
                        ready.push(*waits);
                    }
                    !goes_on
                });
            }
        }
        let start = stuck_on.iter().position(|other| *other != NONE)?;
        // Whoever is waited for waits too, so that the walk comes back.
        let mut walk = vec![start];
        let first = loop {
            let next = stuck_on[walk[walk.len() - 1]] as usize;
            if let Some(first) = walk.iter().position(|session| *session == next) {
                break first;
            }
            walk.push(next);
        };
        let circle = &walk[first..];
        let mut edges: Vec<Edge> = Vec::new();
        for (place, session) in circle.iter().enumerate() {
            // `txn` waits for the transaction at `until` of `on`, which comes after what that session is stuck at.
            let on = circle[(place + 1) % circle.len()];
            let txn = sessions.members[*session][done[*session] as usize];
            let until = need.row(txn)[on];
            let awaited = sessions.members[on][until as usize - 1];
            let next = sessions.members[on][done[on] as usize];
            edges.push(Edge {
                from: awaited,
                to: txn,
                reason: Reason::Commit,
            });
            if awaited != next {
                edges.push(Edge {
                    from: next,
                    to: awaited,
                    reason: Reason::Session,
                });
            }
        }
        edges.reverse();
        Some(edges)
    }
}
