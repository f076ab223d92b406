//! Who saw whose work, as edges: from who did it to who saw it.
//!
//! ```text
//! T1 append x 1 ──▶ (1) ───▶ (1 2) ◀── T2 append x 2      an inner node for each append that a read shows; and with sessions
//!                    ▼          ▼                          one behind each transaction, which hands on what the
//!                T3 r x [1]   T4 r x [1 2]                 process did before
//! ```
//!
//! Nodes below the number of transactions are transactions.

use std::{cmp::Reverse, collections::BinaryHeap};

use harness_core::{
    history::Outcome,
    verdict::{Budget, Exhausted},
};

use super::{
    super::{
        graph::{Graph, PASS, PROCESS, RW, WR, node},
        input::NONE,
        paths::Step,
    },
    Group, Missed,
};

/// Edges that are looked at for a shorter way than one that is known.
const EDGES_LIMIT: usize = 8_000_000;

/// The edges, and an order of all nodes that keeps them.
pub(super) struct Ways {
    pub graph: Graph,
    /// Nodes in order: the order of invocation as far as it can be.
    pub sequence: Vec<u32>,
    /// By node: its place in that. Nodes of a circle have none, [`NONE`].
    pub place: Vec<u32>,
}

impl Ways {
    /// Of all of the group.
    pub fn new(group: &Group<'_>, sessions: bool, budget: &dyn Budget) -> Result<Self, Exhausted> {
        let nodes = group.txns.len() + group.marks.len();
        budget.spend((nodes * 8 * size_of::<u32>()) as u64)?;
        let graph = Graph::build(group.txns.len(), |edges| {
            let mut before: Option<(u32, u32)> = None;
            for mark in &group.marks {
                let inner = edges.helper();
                if let Some((_, shorter)) = before.filter(|(key, _)| *key == mark.key) {
                    edges.add(shorter, inner, PASS);
                }
                edges.add(mark.txn, inner, WR);
                before = Some((mark.key, inner));
            }
            for txn in 0..node(group.txns.len()) {
                let shown = group.reads(txn).iter().filter(|read| read.mark != NONE);
                for read in shown {
                    edges.add(node(group.txns.len()) + read.mark, txn, PASS);
                }
            }
            if sessions {
                let txns = &group.lists.txns;
                let mut last = vec![NONE; txns.processes.len()];
                for (txn, global) in (0_u32..).zip(group.txns) {
                    let Some(last) = last.get_mut(txns.process[*global as usize] as usize) else {
                        continue;
                    };
                    if *last != NONE {
                        edges.add(*last, txn, PASS);
                    }
                    if txns.outcome(*global) == Outcome::Ok {
                        let inner = edges.helper();
                        if *last != NONE {
                            edges.add(*last, inner, PASS);
                        }
                        edges.add(txn, inner, PROCESS);
                        *last = inner;
                    }
                }
            }
        });
        let mut ways = Self {
            place: vec![NONE; graph.len()],
            sequence: Vec::with_capacity(graph.len()),
            graph,
        };
        ways.put_in_order(node(group.txns.len()));
        Ok(ways)
    }

    /// Inner nodes as soon as they can be, of transactions the one that was invoked first.
    fn put_in_order(&mut self, transactions: u32) {
        let mut waits_for = vec![0_u32; self.graph.len()];
        for from in 0..node(self.graph.len()) {
            for (to, _) in self.graph.edges(from) {
                waits_for[to as usize] += 1;
            }
        }
        let rank = |at: u32| Reverse(if at < transactions { (1, at) } else { (0, at) });
        let mut ready: BinaryHeap<Reverse<(u32, u32)>> = (0..node(self.graph.len()))
            .filter(|at| waits_for[*at as usize] == 0)
            .map(rank)
            .collect();
        while let Some(Reverse((_, at))) = ready.pop() {
            self.place[at as usize] = node(self.sequence.len());
            self.sequence.push(at);
            for (to, _) in self.graph.edges(at) {
                waits_for[to as usize] -= 1;
                if waits_for[to as usize] == 0 {
                    ready.push(rank(to));
                }
            }
        }
    }

    /// The shortest of the circles that begin with one of these: from who missed an append to who made it, and back by what was seen.
    pub fn shortest(&self, group: &Group<'_>, missed: &[Missed]) -> Vec<Step> {
        let back = Graph::build(self.graph.len(), |edges| {
            for from in 0..node(self.graph.len()) {
                for (to, kind) in self.graph.edges(from) {
                    edges.add(to, from, kind);
                }
            }
        });
        let mut best: Option<Vec<Step>> = None;
        let mut looked_at = 0;
        for missed in missed {
            if looked_at > EDGES_LIMIT {
                break;
            }
            let shorter = best.as_ref().map_or(usize::MAX, Vec::len);
            if let Some(steps) = nearest(group, &back, missed, shorter, &mut looked_at) {
                best = Some(steps);
            }
        }
        best.unwrap_or_default()
    }
}

/// Goes back from who missed an append, transaction by transaction, to the nearest one that made such a one: in less than so many steps.
fn nearest(
    group: &Group<'_>,
    back: &Graph,
    missed: &Missed,
    limit: usize,
    looked_at: &mut usize,
) -> Option<Vec<Step>> {
    let transactions = node(group.txns.len());
    // By node: the step that led on from it, of a transaction.
    let mut onward: Vec<Option<Step>> = vec![None; back.len()];
    let mut seen = vec![false; back.len()];
    seen[missed.txn as usize] = true;
    let mut nearer = vec![missed.txn];
    let mut steps = 2;
    while !nearer.is_empty() && steps < limit {
        let mut further = Vec::new();
        for to in nearer {
            let mut open = vec![to];
            while let Some(at) = open.pop() {
                for (from, kind) in back.edges(at) {
                    *looked_at += 1;
                    if std::mem::replace(&mut seen[from as usize], true) {
                        continue;
                    }
                    if from >= transactions {
                        open.push(from);
                        continue;
                    }
                    onward[from as usize] = Some(Step { from, to, kind });
                    if missed.is_by(group, from) {
                        return Some(circle(from, missed.txn, &onward));
                    }
                    further.push(from);
                }
            }
        }
        nearer = further;
        steps += 1;
    }
    None
}

/// From who missed it to who made it, and along the steps that lead on from there.
fn circle(made: u32, missed: u32, onward: &[Option<Step>]) -> Vec<Step> {
    let mut steps = vec![Step {
        from: missed,
        to: made,
        kind: RW,
    }];
    let mut at = made;
    while let Some(step) = onward[at as usize].filter(|_| at != missed) {
        steps.push(step);
        at = step.to;
    }
    steps
}
