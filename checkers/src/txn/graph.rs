//! Who must stand before whom: a graph of transactions in compressed arrays.
//!
//! Nodes below the number of transactions are transactions; the rest are helpers that stand for nothing and only save
//! edges: barriers of real time, and the inner nodes of a [`Fan`]. Edges are collected in any order and then put into
//! rows by two passes, of which the first counts, so that a million transactions take a few words each.
//!
//! Kinds of edges are bits, so that a search follows a set of them (Adya 1999 calls the first three write-, read- and
//! anti-dependencies):
//!
//! | bit | `from` → `to` |
//! | --- | --- |
//! | [`WW`] | `to` installed the next version after `from`'s |
//! | [`WR`] | `to` read what `from` wrote |
//! | [`RW`] | `to` wrote over what `from` had read |
//! | [`PROCESS`] | one process did `from` and then `to` |
//! | [`REALTIME`] | `from` had ended when `to` began |
//! | [`PASS`] | leaves a helper: continues the edge that led there |
//! | [`WW_PROCESS`], [`RW_PROCESS`] | the order of versions follows from the order within processes |
//! | [`WW_REALTIME`], [`RW_REALTIME`] | the order of versions follows from real time |

use std::ops::Range;

/// A set of kinds of edges.
pub(super) type Kinds = u16;

pub(super) const WW: Kinds = 1;
pub(super) const WR: Kinds = 1 << 1;
pub(super) const RW: Kinds = 1 << 2;
pub(super) const PROCESS: Kinds = 1 << 3;
pub(super) const REALTIME: Kinds = 1 << 4;
pub(super) const PASS: Kinds = 1 << 5;
pub(super) const WW_PROCESS: Kinds = 1 << 6;
pub(super) const RW_PROCESS: Kinds = 1 << 7;
pub(super) const WW_REALTIME: Kinds = 1 << 8;
pub(super) const RW_REALTIME: Kinds = 1 << 9;
/// Every kind of anti-dependency.
pub(super) const ANY_RW: Kinds = RW | RW_PROCESS | RW_REALTIME;
/// All kinds.
pub(super) const ALL: Kinds = Kinds::MAX;

/// Targets up to which a [`Fan`] is not worth inner nodes.
const FAN_DIRECT_LIMIT: usize = 4;

/// Edges on their way into a [`Graph`]: counted first, then put in their places.
pub(super) struct Edges {
    nodes: u32,
    pass: Pass,
}

enum Pass {
    /// By node: how many edges leave it.
    Count(Vec<u32>),
    /// By node: the place of its next edge; and the rows.
    Place {
        next: Vec<u32>,
        to: Vec<u32>,
        kind: Vec<Kinds>,
    },
}

impl Edges {
    /// A helper node.
    pub fn helper(&mut self) -> u32 {
        if let Pass::Count(degree) = &mut self.pass {
            degree.push(0);
        }
        self.nodes += 1;
        self.nodes - 1
    }

    /// An edge; none from a node to itself.
    pub fn add(&mut self, from: u32, to: u32, kind: Kinds) {
        if from == to {
            return;
        }
        match &mut self.pass {
            Pass::Count(degree) => degree[from as usize] += 1,
            Pass::Place {
                next,
                to: targets,
                kind: kinds,
            } => {
                let slot = &mut next[from as usize];
                targets[*slot as usize] = to;
                kinds[*slot as usize] = kind;
                *slot += 1;
            }
        }
    }
}

/// A graph in rows.
pub(super) struct Graph {
    start: Vec<u32>,
    to: Vec<u32>,
    kind: Vec<Kinds>,
}

impl Graph {
    /// Of the edges that `emit` adds, which is called twice and must add the same both times.
    pub fn build(nodes: usize, mut emit: impl FnMut(&mut Edges)) -> Self {
        let mut counted = Edges {
            nodes: node(nodes),
            pass: Pass::Count(vec![0; nodes]),
        };
        emit(&mut counted);
        let mut start = match counted.pass {
            Pass::Count(degree) => degree,
            Pass::Place { next, .. } => next,
        };
        let mut sum = 0;
        for slot in &mut start {
            sum += std::mem::replace(slot, sum);
        }
        start.push(sum);
        let mut placed = Edges {
            nodes: node(nodes),
            pass: Pass::Place {
                next: start.clone(),
                to: vec![0; sum as usize],
                kind: vec![0; sum as usize],
            },
        };
        emit(&mut placed);
        match placed.pass {
            Pass::Place { to, kind, .. } => Self { start, to, kind },
            Pass::Count(_) => Self {
                start,
                to: Vec::new(),
                kind: Vec::new(),
            },
        }
    }

    /// Number of edges.
    pub fn edge_count(&self) -> usize {
        self.to.len()
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.start.len() - 1
    }

    /// Where a node's edges stand.
    pub fn row(&self, node: u32) -> Range<usize> {
        self.start[node as usize] as usize..self.start[node as usize + 1] as usize
    }

    /// Target and kind of the edge at a place of a row.
    pub fn edge(&self, at: usize) -> (u32, Kinds) {
        (self.to[at], self.kind[at])
    }

    /// A node's edges.
    pub fn edges(&self, node: u32) -> impl Iterator<Item = (u32, Kinds)> + '_ {
        self.row(node).map(|at| self.edge(at))
    }

    /// Bytes that it takes.
    pub fn memory_bytes(&self) -> u64 {
        (self.start.len() * 4 + self.to.len() * (4 + size_of::<Kinds>())) as u64
    }

    /// The part between some nodes, which are numbered anew in their order. `place` holds `u32::MAX` for every node, before
    /// and after.
    pub fn part(&self, nodes: &[u32], place: &mut [u32]) -> Self {
        for (number, node) in (0_u32..).zip(nodes) {
            place[*node as usize] = number;
        }
        let mut part = Self {
            start: vec![0],
            to: Vec::new(),
            kind: Vec::new(),
        };
        for node in nodes {
            for (to, kind) in self.edges(*node) {
                if place[to as usize] != u32::MAX {
                    part.to.push(place[to as usize]);
                    part.kind.push(kind);
                }
            }
            part.start.push(self::node(part.to.len()));
        }
        for node in nodes {
            place[*node as usize] = u32::MAX;
        }
        part
    }
}

/// Links sources to ranges of targets with a logarithm of the edges: a segment tree over the targets.
///
/// A thousand readers of a version and a thousand transactions that wrote over it make a million pairs, of which a reader
/// that wrote itself must be left out; a range on either side of it does that.
pub(super) struct Fan {
    targets: Vec<u32>,
    /// Number of the node that stands for place 1 of the tree; places from `targets.len()` on are the targets.
    first: Option<u32>,
}

impl Fan {
    /// Over these targets, in this order.
    pub fn new(edges: &mut Edges, targets: Vec<u32>) -> Self {
        let size = targets.len();
        if size <= FAN_DIRECT_LIMIT {
            return Self {
                targets,
                first: None,
            };
        }
        let first = edges.helper();
        for _ in 2..size {
            edges.helper();
        }
        let fan = Self {
            targets,
            first: Some(first),
        };
        for place in 1..size {
            for child in [2 * place, 2 * place + 1] {
                edges.add(fan.at(first, place), fan.at(first, child), PASS);
            }
        }
        fan
    }

    /// The targets.
    pub fn targets(&self) -> &[u32] {
        &self.targets
    }

    fn at(&self, first: u32, place: usize) -> u32 {
        match place.checked_sub(self.targets.len()) {
            Some(leaf) => self.targets[leaf],
            None => first + node(place) - 1,
        }
    }

    /// Edges from `from` to every target in the range.
    pub fn link(&self, edges: &mut Edges, from: u32, kind: Kinds, range: Range<usize>) {
        let Some(first) = self.first else {
            for target in &self.targets[range] {
                edges.add(from, *target, kind);
            }
            return;
        };
        let size = self.targets.len();
        let (mut low, mut high) = (range.start + size, range.end + size);
        while low < high {
            if low % 2 == 1 {
                edges.add(from, self.at(first, low), kind);
                low += 1;
            }
            if high % 2 == 1 {
                high -= 1;
                edges.add(from, self.at(first, high), kind);
            }
            low /= 2;
            high /= 2;
        }
    }

    /// The same, but not to `holes`, sorted places of targets.
    pub fn link_except(
        &self,
        edges: &mut Edges,
        from: u32,
        kind: Kinds,
        range: Range<usize>,
        holes: &[usize],
    ) {
        let mut low = range.start;
        for hole in holes {
            if range.contains(hole) && *hole >= low {
                self.link(edges, from, kind, low..*hole);
                low = hole + 1;
            }
        }
        self.link(edges, from, kind, low..range.end.max(low));
    }
}

/// A place in an array as a node or a row number.
pub(super) fn node(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn reached(graph: &Graph, from: u32, transactions: u32) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        let mut open: Vec<u32> = graph.edges(from).map(|(to, _)| to).collect();
        while let Some(at) = open.pop() {
            if at < transactions {
                found.insert(at);
            } else {
                open.extend(graph.edges(at).map(|(to, _)| to));
            }
        }
        found
    }

    #[test]
    fn fans_reach_exactly_their_ranges() {
        for size in 0..20_usize {
            for low in 0..=size {
                for high in low..=size {
                    for hole in 0..=size {
                        let source = node(size);
                        let graph = Graph::build(size + 1, |edges| {
                            let fan = Fan::new(edges, (0..source).collect());
                            fan.link_except(edges, source, RW, low..high, &[hole]);
                        });
                        let expected: BTreeSet<u32> = (node(low)..node(high))
                            .filter(|at| *at != node(hole))
                            .collect();
                        assert_eq!(reached(&graph, source, source + 1), expected);
                    }
                }
            }
        }
    }
}
