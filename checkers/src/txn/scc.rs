//! Strongly connected components: a cycle exists exactly where a component has more than one node.
//!
//! Tarjan's algorithm (1972) without recursion, over the edges of some kinds. Components are numbered in the order in which
//! they are finished, so an edge between two of them leads from the higher number to the lower.

use super::graph::{Graph, Kinds, node};

/// Which component each node belongs to.
pub(super) struct Components {
    /// By node.
    pub of: Vec<u32>,
    /// Nodes of each component.
    pub size: Vec<u32>,
}

impl Components {
    /// Whether an edge between these nodes lies on a cycle.
    pub fn together(&self, a: u32, b: u32) -> bool {
        self.of[a as usize] == self.of[b as usize]
    }

    /// The nodes of each component with more than one, by number of component.
    pub fn groups(&self) -> Vec<Vec<u32>> {
        let mut slot = vec![u32::MAX; self.size.len()];
        let mut groups: Vec<Vec<u32>> = Vec::new();
        for (component, size) in self.size.iter().enumerate() {
            if *size > 1 {
                slot[component] = node(groups.len());
                groups.push(Vec::with_capacity(*size as usize));
            }
        }
        for (at, component) in (0_u32..).zip(&self.of) {
            if let Some(group) = groups.get_mut(slot[*component as usize] as usize) {
                group.push(at);
            }
        }
        groups
    }
}

/// The components of the graph that has the edges of these kinds.
pub(super) fn components(graph: &Graph, kinds: Kinds) -> Components {
    const OPEN: u32 = u32::MAX;
    let nodes = graph.len();
    // By node: 0 not seen, else when it was seen; its component once that is known.
    let mut seen = vec![0_u32; nodes];
    let mut low = vec![0_u32; nodes];
    let mut of = vec![OPEN; nodes];
    let mut size = Vec::new();
    let mut stack: Vec<u32> = Vec::new();
    let mut calls: Vec<(u32, usize)> = Vec::new();
    let mut clock = 0;
    for root in 0..node(nodes) {
        if seen[root as usize] != 0 {
            continue;
        }
        calls.push((root, graph.row(root).start));
        while let Some((at, next)) = calls.pop() {
            let here = at as usize;
            if seen[here] == 0 {
                clock += 1;
                seen[here] = clock;
                low[here] = clock;
                stack.push(at);
            }
            let mut deeper = None;
            for edge in next..graph.row(at).end {
                let (to, kind) = graph.edge(edge);
                if kind & kinds == 0 {
                    continue;
                }
                if seen[to as usize] == 0 {
                    deeper = Some((to, edge + 1));
                    break;
                }
                if of[to as usize] == OPEN {
                    low[here] = low[here].min(seen[to as usize]);
                }
            }
            if let Some((to, resume)) = deeper {
                calls.push((at, resume));
                calls.push((to, graph.row(to).start));
                continue;
            }
            if low[here] == seen[here] {
                let first = stack.iter().rposition(|open| *open == at).unwrap_or(0);
                for member in &stack[first..] {
                    of[*member as usize] = node(size.len());
                }
                size.push(node(stack.len() - first));
                stack.truncate(first);
            }
            if let Some((caller, _)) = calls.last() {
                let caller = *caller as usize;
                low[caller] = low[caller].min(low[here]);
            }
        }
    }
    Components { of, size }
}

#[cfg(test)]
mod tests {
    use super::super::graph::{ALL, RW, WW};
    use super::*;

    #[test]
    fn components_of_a_small_graph() {
        let edges = [
            (0, 1, WW),
            (1, 2, RW),
            (2, 0, WW),
            (2, 3, WW),
            (3, 4, WW),
            (4, 3, WW),
        ];
        let graph = Graph::build(6, |into| {
            for (from, to, kind) in edges {
                into.add(from, to, kind);
            }
        });
        let all = components(&graph, ALL);
        assert_eq!(all.groups(), vec![vec![3, 4], vec![0, 1, 2]]);
        assert!(all.of[0] > all.of[3]);
        assert_eq!(components(&graph, WW).groups(), vec![vec![3, 4]]);
        assert!(components(&graph, RW).groups().is_empty());
    }
}
