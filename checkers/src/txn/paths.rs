//! Short cycles to show: bounded breadth-first searches that may give up.
//!
//! Steps that leave a transaction count one, steps that leave a helper (a barrier of real time, a fan) count nothing, so the
//! shortest cycle has the fewest transactions. Ties go to what was invoked first, so that the same history
//! gives the same witness.

use std::collections::{HashMap, VecDeque};

use super::graph::{Graph, Kinds, PASS};

/// Places to start from; the shortest of the cycles found there is shown.
const STARTS_LIMIT: usize = 16;
/// Edges that one search looks at.
const EDGES_LIMIT: usize = 500_000;

/// An edge of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub from: u32,
    pub to: u32,
    pub kind: Kinds,
}

/// The shortest path by transactions over edges of these kinds that `inside` lets pass.
pub(super) fn shortest(
    graph: &Graph,
    kinds: Kinds,
    from: u32,
    target: u32,
    inside: &dyn Fn(u32, u32) -> bool,
) -> Option<Vec<Step>> {
    // How a node was reached, and at what cost.
    let mut reached: HashMap<u32, (Step, u32)> = HashMap::new();
    let mut open: VecDeque<(u32, u32)> = VecDeque::from([(from, 0)]);
    let mut looked_at = 0;
    while let Some((at, cost)) = open.pop_front() {
        if at == target && reached.contains_key(&target) {
            return Some(walk_back(&reached, from, target));
        }
        if reached.get(&at).is_some_and(|(_, best)| *best < cost) {
            continue;
        }
        for (to, kind) in graph.edges(at) {
            looked_at += 1;
            if looked_at > EDGES_LIMIT {
                return None;
            }
            if kind & kinds == 0 || !inside(at, to) {
                continue;
            }
            let free = kind & PASS != 0;
            let next = cost + u32::from(!free);
            if reached.get(&to).is_none_or(|(_, best)| next < *best) {
                reached.insert(to, (Step { from: at, to, kind }, next));
                if free {
                    open.push_front((to, next));
                } else {
                    open.push_back((to, next));
                }
            }
        }
    }
    None
}

fn walk_back(reached: &HashMap<u32, (Step, u32)>, from: u32, target: u32) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut at = target;
    while let Some((step, _)) = reached.get(&at) {
        steps.push(*step);
        at = step.from;
        if at == from {
            break;
        }
    }
    steps.reverse();
    steps
}

/// The shortest of the cycles through some of these nodes.
pub(super) fn shortest_through(
    graph: &Graph,
    kinds: Kinds,
    starts: impl Iterator<Item = u32>,
    inside: &dyn Fn(u32, u32) -> bool,
) -> Option<Vec<Step>> {
    starts
        .take(STARTS_LIMIT)
        .filter_map(|start| shortest(graph, kinds, start, start, inside))
        .min_by_key(Vec::len)
}

/// The shortest of the cycles that begin with one of these edges.
pub(super) fn shortest_closing(
    graph: &Graph,
    kinds: Kinds,
    first: &[Step],
    inside: &dyn Fn(u32, u32) -> bool,
) -> Option<Vec<Step>> {
    first
        .iter()
        .take(STARTS_LIMIT)
        .filter_map(|edge| {
            let mut steps = vec![*edge];
            steps.extend(shortest(graph, kinds, edge.to, edge.from, inside)?);
            Some(steps)
        })
        .min_by_key(Vec::len)
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
