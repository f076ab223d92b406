//! Cycles with exactly one anti-dependency: exact, and quick where histories are nearly right.
//!
//! An anti-dependency `a → b` closes such a cycle exactly if `b` leads to `a` over the other edges. Without a worse cycle
//! those have a topological order, and only an edge that runs against it can be one. Many are asked at once:
//!
//! ```text
//! order   … b1   b2 ……………………… a2   a1 …      64 questions go through one window,
//!           │    └─ bit 1 spreads ─▶│    │      a bit each, node by node
//!           └───── bit 0 spreads ───────▶│
//! ```
//!
//! The order follows the invocations as far as it can, so windows are about as wide as the concurrency of the history. The work
//! is bounded by a constant; beyond it the question stays open, and the caller says so.

use std::{cmp::Reverse, collections::BinaryHeap};

use harness_core::verdict::{Budget, Exhausted};

use super::{
    graph::{Graph, Kinds, node},
    paths::{self, Step},
    scc::{Components, components},
};

/// Nodes that all windows together may hold.
const WORK_LIMIT: usize = 2_000_000_000;
/// Questions asked at once: bits of a word.
const AT_ONCE: usize = 64;
/// Nodes between two looks at the budget.
const BUDGET_EVERY: usize = 4_000_000;

/// The answer.
pub(super) enum Single {
    /// There is one; its steps, or none if the search for a short one gave up.
    Found(Vec<Step>),
    /// There is none.
    None,
    /// Too much work.
    GaveUp,
}

/// An anti-dependency that runs against the order of components.
struct Question {
    step: Step,
    /// Place of its target in the order.
    low: u32,
    /// Place of its source.
    high: u32,
}

/// Looks for an edge of kinds `anti` that edges of kinds `base` close to a cycle.
pub(super) fn search(
    graph: &Graph,
    base: Kinds,
    anti: Kinds,
    budget: &dyn Budget,
) -> Result<Single, Exhausted> {
    let parts = components(graph, base);
    let order = InOrder::new(graph, base, &parts);
    let mut closed = Vec::new();
    let mut questions = Vec::new();
    for from in 0..node(graph.len()) {
        for (to, kind) in graph.edges(from) {
            if kind & anti == 0 {
                continue;
            }
            let (low, high) = (order.place_of(to), order.place_of(from));
            let step = Step { from, to, kind };
            if low == high {
                closed.push(step);
            } else if low < high {
                questions.push(Question { step, low, high });
            }
        }
    }
    questions.sort_by_key(|question| (question.low, question.high));
    let mut reached = vec![0_u64; order.places()];
    let (mut work, mut since) = (0, 0);
    for block in questions.chunks(AT_ONCE) {
        let window = order.answer(block, graph, base, &mut reached, &mut closed);
        work += window;
        since += window;
        if since > BUDGET_EVERY {
            since = 0;
            budget.spend(graph.memory_bytes())?;
        }
        if work > WORK_LIMIT && closed.is_empty() {
            return Ok(Single::GaveUp);
        }
        if work > WORK_LIMIT {
            break;
        }
    }
    if closed.is_empty() {
        return Ok(Single::None);
    }
    // The narrowest first: they are likely to have the shortest way back.
    closed.sort_by_key(|step| {
        let width = order.place_of(step.from) - order.place_of(step.to);
        (width, step.from, step.to)
    });
    // A way back never leaves the window of its question.
    let inside = |edge: &Step, _, to| order.place_of(to) <= order.place_of(edge.from);
    let steps = paths::shortest_closing(graph, base, &closed, &inside);
    Ok(Single::Found(steps.unwrap_or_default()))
}

/// Components in a topological order that follows the numbers of nodes where it can.
struct InOrder {
    /// By node: the place of its component.
    place: Vec<u32>,
    /// By place: where its nodes begin in `nodes`.
    start: Vec<u32>,
    nodes: Vec<u32>,
}

impl InOrder {
    fn new(graph: &Graph, kinds: Kinds, parts: &Components) -> Self {
        let count = parts.size.len();
        let (start, nodes) = by_component(parts);
        let members =
            |part: u32| &nodes[start[part as usize] as usize..start[part as usize + 1] as usize];
        let mut waits_for = vec![0_u32; count];
        for from in 0..node(graph.len()) {
            for (to, kind) in graph.edges(from) {
                if kind & kinds != 0 && !parts.together(from, to) {
                    waits_for[parts.of[to as usize] as usize] += 1;
                }
            }
        }
        let mut ready: BinaryHeap<Reverse<(u32, u32)>> = (0..node(count))
            .filter(|part| waits_for[*part as usize] == 0)
            .map(|part| Reverse((members(part)[0], part)))
            .collect();
        let mut place_of_part = vec![0_u32; count];
        let mut sequence = Vec::with_capacity(count);
        while let Some(Reverse((_, part))) = ready.pop() {
            place_of_part[part as usize] = node(sequence.len());
            sequence.push(part);
            for from in members(part) {
                for (to, kind) in graph.edges(*from) {
                    let next = parts.of[to as usize];
                    if kind & kinds != 0 && next != part {
                        waits_for[next as usize] -= 1;
                        if waits_for[next as usize] == 0 {
                            ready.push(Reverse((members(next)[0], next)));
                        }
                    }
                }
            }
        }
        let mut ordered = Self {
            place: parts
                .of
                .iter()
                .map(|part| place_of_part[*part as usize])
                .collect(),
            start: vec![0],
            nodes: Vec::with_capacity(nodes.len()),
        };
        for part in sequence {
            ordered.nodes.extend_from_slice(members(part));
            ordered.start.push(node(ordered.nodes.len()));
        }
        ordered
    }

    fn places(&self) -> usize {
        self.start.len() - 1
    }

    fn place_of(&self, at: u32) -> u32 {
        self.place[at as usize]
    }

    /// Answers up to 64 questions; gives the width of their window. `reached` is zero before and after.
    fn answer(
        &self,
        block: &[Question],
        graph: &Graph,
        kinds: Kinds,
        reached: &mut [u64],
        closed: &mut Vec<Step>,
    ) -> usize {
        let low = block.iter().map(|question| question.low).min().unwrap_or(0) as usize;
        let high = block
            .iter()
            .map(|question| question.high)
            .max()
            .unwrap_or(0) as usize;
        for (bit, question) in block.iter().enumerate() {
            reached[question.low as usize] |= 1 << bit;
        }
        for place in low..high {
            let bits = reached[place];
            if bits == 0 {
                continue;
            }
            let members = self.start[place] as usize..self.start[place + 1] as usize;
            for from in &self.nodes[members] {
                for (to, kind) in graph.edges(*from) {
                    let next = self.place_of(to) as usize;
                    if kind & kinds != 0 && next <= high {
                        reached[next] |= bits;
                    }
                }
            }
        }
        for (bit, question) in block.iter().enumerate() {
            if reached[question.high as usize] & (1 << bit) != 0 {
                closed.push(question.step);
            }
        }
        reached[low..=high].fill(0);
        high - low + 1
    }
}

fn by_component(parts: &Components) -> (Vec<u32>, Vec<u32>) {
    let mut start = vec![0_u32; parts.size.len() + 1];
    for (part, size) in parts.size.iter().enumerate() {
        start[part + 1] = start[part] + size;
    }
    let mut next = start.clone();
    let mut nodes = vec![0; parts.of.len()];
    for (at, part) in (0_u32..).zip(&parts.of) {
        let slot = &mut next[*part as usize];
        nodes[*slot as usize] = at;
        *slot += 1;
    }
    (start, nodes)
}
