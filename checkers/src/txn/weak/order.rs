//! Read committed and read atomic: edges of the commit order, as many as there are reads, and a look for circles.

use harness_core::verdict::{Budget, Exhausted};

use super::{
    super::{
        graph::{Graph, PROCESS, WR, WW, node},
        input::NONE,
        paths,
        scc::components,
    },
    Broken, Edge, Level, Reason,
    reads::{External, INITIAL, Sessions},
};
use crate::parallel;

/// Transactions between two looks at the budget.
const BUDGET_EVERY: u32 = 262_144;

/// What makes the order impossible; None if it is not.
pub(super) fn search(
    sessions: &Sessions,
    level: Level,
    budget: &dyn Budget,
) -> Result<Option<Broken>, Exhausted> {
    let mut commit = Commit::default();
    let size = node(sessions.txns.len());
    for from in (0..size).step_by(BUDGET_EVERY as usize) {
        budget.spend(commit.memory_bytes())?;
        let range = from..size.min(from.saturating_add(BUDGET_EVERY));
        let parts = parallel::pieces(sessions.threads, range, |range| {
            let mut part = Commit::default();
            for txn in range.filter(|txn| sessions.counts(*txn)) {
                match level {
                    Level::ReadCommitted => part.read_committed(sessions, txn),
                    Level::ReadAtomic | Level::Causal => part.read_atomic(sessions, txn),
                }
            }
            part
        });
        for part in parts {
            commit.edges.extend(part.edges);
            commit.initial = commit.initial.or(part.initial);
        }
    }
    if level != Level::ReadCommitted {
        commit.of_sessions(sessions);
    }
    if let Some(initial) = commit.initial {
        return Ok(Some(initial));
    }
    budget.spend(2 * commit.memory_bytes())?;
    let graph = Graph::build(sessions.txns.len(), |edges| {
        base(sessions, |from, to, reason| {
            edges.add(from, to, if reason == Reason::Read { WR } else { PROCESS });
        });
        for (from, to) in &commit.edges {
            edges.add(*from, *to, WW);
        }
    });
    Ok(circle(&graph).map(Broken::Circle))
}

/// Edges of sessions and of reads.
pub(super) fn base(sessions: &Sessions, mut each: impl FnMut(u32, u32, Reason)) {
    for members in &sessions.members {
        for pair in members.windows(2) {
            each(pair[0], pair[1], Reason::Session);
        }
    }
    for txn in 0..node(sessions.txns.len()) {
        let reads = sessions.external(txn).iter();
        for read in reads.filter(|read| read.from != INITIAL) {
            each(read.from, txn, Reason::Read);
        }
    }
}

/// A short circle of the graph, if it has any: within the smallest component, so that it is found quickly.
pub(in super::super) fn circle(graph: &Graph) -> Option<Vec<Edge>> {
    let parts = components(graph, super::super::graph::ALL);
    let smallest = parts.groups().into_iter().min_by_key(Vec::len)?;
    let inside = |from, to| parts.together(from, to);
    let steps = paths::shortest_through(
        graph,
        super::super::graph::ALL,
        smallest.iter().copied(),
        &inside,
    )
    .unwrap_or_default();
    let reason = |kind| match kind {
        WR => Reason::Read,
        PROCESS => Reason::Session,
        _ => Reason::Commit,
    };
    let edges = steps.iter().map(|step| Edge {
        from: step.from,
        to: step.to,
        reason: reason(step.kind),
    });
    Some(edges.collect())
}

/// Edges of the commit order on the way.
#[derive(Default)]
struct Commit {
    edges: Vec<(u32, u32)>,
    /// The first read of the initial value that came too late.
    initial: Option<Broken>,
    /// The reads of a transaction by key and place.
    sorted: Vec<External>,
    /// Transactions that one has read from so far.
    seen: Vec<u32>,
}

impl Commit {
    fn memory_bytes(&self) -> u64 {
        (self.edges.len() * size_of::<(u32, u32)>()) as u64
    }

    /// `txn` read what it read although it saw the transaction `before`, which wrote the same key.
    fn add(&mut self, txn: u32, before: u32, read: &External) {
        if read.from == INITIAL {
            self.initial.get_or_insert(Broken::Initial {
                txn,
                step: read.step,
                saw: before,
            });
        } else if before != read.from {
            self.edges.push((before, read.from));
        }
    }

    /// For each transaction that it read from, and each key of that: the first read of the key from another one
    /// after it. The reads after that one follow from edges between those who were read.
    fn read_committed(&mut self, sessions: &Sessions, txn: u32) {
        let reads = sessions.external(txn);
        self.sort(reads);
        let sorted = std::mem::take(&mut self.sorted);
        for (at, read) in reads.iter().enumerate() {
            let before = read.from;
            if before == INITIAL || self.seen.contains(&before) {
                continue;
            }
            self.seen.push(before);
            let written = sessions.written(before);
            if written.len() <= reads.len() - at {
                for key in written {
                    let from = sorted
                        .partition_point(|other| (other.key, other.step) <= (*key, read.step));
                    let of_key = sorted[from..].iter().take_while(|other| other.key == *key);
                    if let Some(later) = of_key.clone().find(|later| later.from != before) {
                        self.add(txn, before, later);
                    }
                    // One of the initial value is no transaction's, and no edge leads on from it.
                    if let Some(later) = of_key.clone().find(|later| later.from == INITIAL) {
                        self.add(txn, before, later);
                    }
                }
            } else {
                for later in &reads[at + 1..] {
                    if sessions.wrote(before, later.key) {
                        self.add(txn, before, later);
                    }
                }
            }
        }
        self.sorted = sorted;
    }

    /// For each transaction that it read from, and each key of that: all whom it read the key from.
    fn read_atomic(&mut self, sessions: &Sessions, txn: u32) {
        let reads = sessions.external(txn);
        self.sort(reads);
        let sorted = std::mem::take(&mut self.sorted);
        for read in reads {
            let before = read.from;
            if before == INITIAL || self.seen.contains(&before) {
                continue;
            }
            self.seen.push(before);
            let written = sessions.written(before);
            if written.len() <= sorted.len() {
                for key in written {
                    let from = sorted.partition_point(|other| other.key < *key);
                    for other in sorted[from..].iter().take_while(|other| other.key == *key) {
                        self.add(txn, before, other);
                    }
                }
            } else {
                for other in &sorted {
                    if sessions.wrote(before, other.key) {
                        self.add(txn, before, other);
                    }
                }
            }
        }
        self.sorted = sorted;
    }

    /// For each read, the last transaction before it in its session that wrote the key: what came earlier there follows.
    fn of_sessions(&mut self, sessions: &Sessions) {
        // By key: the session that wrote it last, and the transaction. Sessions are looked at one after the other.
        let mut last = vec![(NONE, NONE); sessions.txns.keys.len()];
        for (session, members) in (0_u32..).zip(&sessions.members) {
            for txn in members.iter().copied() {
                for read in sessions.external(txn) {
                    let (of, before) = last[read.key as usize];
                    if of == session {
                        self.add(txn, before, read);
                    }
                }
                for key in sessions.written(txn) {
                    last[*key as usize] = (session, txn);
                }
            }
        }
    }

    fn sort(&mut self, reads: &[External]) {
        self.sorted.clear();
        self.sorted.extend_from_slice(reads);
        self.sorted.sort_unstable();
        self.seen.clear();
    }
}
