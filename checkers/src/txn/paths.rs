//! The shortest cycle to show: breadth-first searches that share a bound on their work.
//!
//! Steps that leave a transaction count one, steps that leave a helper (a barrier of real time, a fan) count nothing, so the
//! shortest cycle has the fewest transactions. Ties go to what was invoked first, so that the same history
//! gives the same witness. One that was found bounds the searches after it, and none is shorter than two; so most end soon. What is shown
//! is the shortest of all unless the bound on the work was reached.

use std::collections::VecDeque;

use super::{
    atoms::QuickMap,
    graph::{Graph, Kinds, PASS},
};

/// Edges that one search looks at.
const EDGES_LIMIT: usize = 500_000;
/// Edges that all searches for one cycle look at together.
const EDGES_TOTAL_LIMIT: usize = 8_000_000;
/// No cycle has fewer transactions.
const SHORTEST: u32 = 2;

/// An edge of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub from: u32,
    pub to: u32,
    pub kind: Kinds,
}

/// Searches one after the other, each for something shorter than what was found before.
struct Search<'g> {
    graph: &'g Graph,
    kinds: Kinds,
    /// How a node was reached, and at what cost.
    reached: QuickMap<u32, (Step, u32)>,
    open: VecDeque<(u32, u32)>,
    looked_at: usize,
    best: Option<(u32, Vec<Step>)>,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph, kinds: Kinds) -> Self {
        Self {
            graph,
            kinds,
            reached: QuickMap::default(),
            open: VecDeque::new(),
            looked_at: 0,
            best: None,
        }
    }

    /// Whether looking on may find something shorter.
    fn goes_on(&self) -> bool {
        self.looked_at < EDGES_TOTAL_LIMIT
            && self.best.as_ref().is_none_or(|(cost, _)| *cost > SHORTEST)
    }

    /// Looks for a path by transactions over edges that `inside` lets pass which, behind `first`, costs less than the best.
    fn look(
        &mut self,
        first: Option<Step>,
        (from, target): (u32, u32),
        inside: &dyn Fn(u32, u32) -> bool,
    ) {
        let already = first.map_or(0, |step| u32::from(step.kind & PASS == 0));
        let limit = self.best.as_ref().map_or(u32::MAX, |(cost, _)| *cost);
        let end = self.looked_at + EDGES_LIMIT;
        self.reached.clear();
        self.open.clear();
        self.open.push_back((from, already));
        while let Some((at, cost)) = self.open.pop_front() {
            if at == target && self.reached.contains_key(&target) {
                let mut steps = Vec::from_iter(first);
                steps.extend(self.walk_back(from, target));
                self.best = Some((cost, steps));
                return;
            }
            if self.reached.get(&at).is_some_and(|(_, best)| *best < cost) {
                continue;
            }
            for (to, kind) in self.graph.edges(at) {
                self.looked_at += 1;
                if self.looked_at > end {
                    return;
                }
                let free = kind & PASS != 0;
                let next = cost + u32::from(!free);
                if kind & self.kinds == 0 || next >= limit || !inside(at, to) {
                    continue;
                }
                if self.reached.get(&to).is_none_or(|(_, best)| next < *best) {
                    self.reached.insert(to, (Step { from: at, to, kind }, next));
                    if free {
                        self.open.push_front((to, next));
                    } else {
                        self.open.push_back((to, next));
                    }
                }
            }
        }
    }

    fn walk_back(&self, from: u32, target: u32) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut at = target;
        while let Some((step, _)) = self.reached.get(&at) {
            steps.push(*step);
            at = step.from;
            if at == from {
                break;
            }
        }
        steps.reverse();
        steps
    }

    fn found(self) -> Option<Vec<Step>> {
        self.best.map(|(_, steps)| steps)
    }
}

/// The shortest of the cycles through some of these nodes.
pub(super) fn shortest_through(
    graph: &Graph,
    kinds: Kinds,
    starts: impl Iterator<Item = u32>,
    inside: &dyn Fn(u32, u32) -> bool,
) -> Option<Vec<Step>> {
    let mut search = Search::new(graph, kinds);
    for start in starts {
        if !search.goes_on() {
            break;
        }
        search.look(None, (start, start), inside);
    }
    search.found()
}

/// The shortest of the cycles that begin with one of these edges. `inside`, of such an edge, lets the others pass.
pub(super) fn shortest_closing(
    graph: &Graph,
    kinds: Kinds,
    first: &[Step],
    inside: &dyn Fn(&Step, u32, u32) -> bool,
) -> Option<Vec<Step>> {
    let mut search = Search::new(graph, kinds);
    for edge in first {
        if !search.goes_on() {
            break;
        }
        search.look(Some(*edge), (edge.to, edge.from), &|from, to| {
            inside(edge, from, to)
        });
    }
    search.found()
}

/// Number of anti-dependencies of a cycle.
pub(super) fn count_anti(steps: &[Step], anti: Kinds) -> usize {
    steps.iter().filter(|step| step.kind & anti != 0).count()
}

/// Joins steps over helpers to steps between transactions, which are the nodes below `transactions`. The first step of a run says
/// what it is.
pub(super) fn between_transactions(steps: &[Step], transactions: u32) -> Vec<Step> {
    let mut joined: Vec<Step> = Vec::new();
    for step in steps {
        match joined.last_mut() {
            Some(last) if last.to >= transactions => last.to = step.to,
            _ => joined.push(*step),
        }
    }
    joined
}

/// A cycle out of a closed walk without two adjacent anti-dependencies, which has none either.
pub(super) fn without_repeats(steps: &[Step], transactions: u32, anti: Kinds) -> Vec<Step> {
    let mut cycle = between_transactions(steps, transactions);
    'again: loop {
        for first in 0..cycle.len() {
            for second in first + 1..cycle.len() {
                if cycle[first].from == cycle[second].from {
                    let inner = cycle[first..second].to_vec();
                    let outer = [&cycle[..first], &cycle[second..]].concat();
                    cycle = if adjacent(&inner, anti) { outer } else { inner };
                    continue 'again;
                }
            }
        }
        return cycle;
    }
}

fn adjacent(cycle: &[Step], anti: Kinds) -> bool {
    cycle
        .iter()
        .zip(cycle.iter().cycle().skip(1))
        .any(|(step, next)| step.kind & anti != 0 && next.kind & anti != 0)
}

#[cfg(test)]
mod tests {
    use harness_core::seed::Seed;
    use rand::Rng;

    use super::super::graph::{ALL, WW};
    use super::*;

    const TRANSACTIONS: u32 = 7;
    const NODES: u32 = 10;

    /// The fewest transactions of a circle, by relaxing all edges again and again.
    fn fewest(edges: &[(u32, u32, Kinds)]) -> Option<u32> {
        let around = (0..TRANSACTIONS).filter_map(|start| {
            let mut cost = [u32::MAX; NODES as usize];
            for _ in 0..2 * NODES {
                for (from, to, kind) in edges {
                    let known = if *from == start {
                        0
                    } else {
                        cost[*from as usize]
                    };
                    let next = known.saturating_add(u32::from(kind & PASS == 0));
                    cost[*to as usize] = cost[*to as usize].min(next);
                }
            }
            Some(cost[start as usize]).filter(|cost| *cost != u32::MAX)
        });
        around.min()
    }

    #[test]
    fn the_shortest_circle_is_found() {
        let (mut with, mut without) = (0, 0);
        for seed in 0..4_000 {
            let mut rng = Seed(seed).stream("paths").draw(0);
            let mut edges: Vec<(u32, u32, Kinds)> = (0..rng.random_range(5..16))
                .map(|_| {
                    let from = rng.random_range(0..NODES);
                    let to = rng.random_range(0..NODES);
                    (from, to, if from < TRANSACTIONS { WW } else { PASS })
                })
                .collect();
            // Helpers lead on in one direction only.
            edges.retain(|(from, to, kind)| {
                from != to && (*kind == WW || from < to || *to < TRANSACTIONS)
            });
            let graph = Graph::build(NODES as usize, |into| {
                for (from, to, kind) in &edges {
                    into.add(*from, *to, *kind);
                }
            });
            let cost =
                |steps: &[Step]| steps.iter().filter(|step| step.kind & PASS == 0).count() as u32;
            let through = shortest_through(&graph, ALL, 0..TRANSACTIONS, &|_, _| true);
            let expected = fewest(&edges);
            if expected == Some(1) {
                // No helper leads back to where it was reached from.
                continue;
            }
            assert_eq!(through.as_deref().map(cost), expected, "seed {seed}");
            let first: Vec<Step> = edges
                .iter()
                .filter(|(from, ..)| *from < TRANSACTIONS)
                .map(|(from, to, kind)| Step {
                    from: *from,
                    to: *to,
                    kind: *kind,
                })
                .collect();
            let closing = shortest_closing(&graph, ALL, &first, &|_, _, _| true);
            assert_eq!(closing.as_deref().map(cost), expected, "seed {seed}");
            for steps in [through, closing].into_iter().flatten() {
                let joined = steps.iter().zip(steps.iter().cycle().skip(1));
                assert!(
                    joined.clone().all(|(step, next)| step.to == next.from),
                    "seed {seed}"
                );
                with += 1;
            }
            without += usize::from(expected.is_none());
        }
        assert!(with > 1_000 && without > 500, "{with}, {without}");
    }
}
