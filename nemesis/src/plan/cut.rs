//! Who drops whom: a partition as a relation on nodes.
//!
//! Laws:
//! - nobody drops himself, and nobody but nodes of the lab is in it: the controller cannot be cut;
//! - what the constructors here make is symmetric: if a drops b then b drops a, so that each side
//!   holds the partition alone, whatever becomes of the other;
//! - cuts compose by union: healing one leaves what another holds.

use std::collections::{BTreeMap, BTreeSet};

/// Which nodes drop what comes from and goes to which others, by place in the lab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    drops: BTreeMap<usize, BTreeSet<usize>>,
}

impl Cut {
    /// Members of different groups do not see each other. Who is in no group sees everybody.
    #[must_use]
    pub fn between(groups: &[Vec<usize>]) -> Self {
        let mut cut = Self::default();
        for (at, group) in groups.iter().enumerate() {
            for other in &groups[at + 1..] {
                for a in group {
                    for b in other {
                        cut.add(*a, *b);
                    }
                }
            }
        }
        cut
    }

    /// These two do not see each other. A node and itself: nothing.
    pub fn add(&mut self, a: usize, b: usize) {
        if a != b {
            self.drops.entry(a).or_default().insert(b);
            self.drops.entry(b).or_default().insert(a);
        }
    }

    /// All that any of them drops.
    #[must_use]
    pub fn union<'a>(cuts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for cut in cuts {
            for (node, peers) in &cut.drops {
                all.drops.entry(*node).or_default().extend(peers);
            }
        }
        all
    }

    /// Whether nothing is dropped.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.drops.is_empty()
    }

    /// The nodes that drop something, in ascending order.
    #[must_use]
    pub fn nodes(&self) -> Vec<usize> {
        self.drops.keys().copied().collect()
    }

    /// Whom a node drops, in ascending order.
    #[must_use]
    pub fn peers(&self, node: usize) -> Vec<usize> {
        self.drops
            .get(&node)
            .map(|peers| peers.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Whether packets between the two are dropped by either.
    #[must_use]
    pub fn separates(&self, a: usize, b: usize) -> bool {
        let drops = |node: usize, peer: usize| {
            self.drops
                .get(&node)
                .is_some_and(|peers| peers.contains(&peer))
        };
        drops(a, b) || drops(b, a)
    }

    /// The pairs that do not see each other, each once, the smaller first.
    #[must_use]
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let mut pairs = BTreeSet::new();
        for (node, peers) in &self.drops {
            for peer in peers {
                pairs.insert((*node.min(peer), *node.max(peer)));
            }
        }
        pairs.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_cut_both_ways_and_others_are_left_alone() {
        let cut = Cut::between(&[vec![0, 1], vec![2], vec![4]]);
        assert_eq!(cut.peers(0), [2, 4]);
        assert_eq!(cut.peers(2), [0, 1, 4]);
        assert_eq!(cut.peers(3), [0; 0]);
        assert_eq!(cut.pairs(), [(0, 2), (0, 4), (1, 2), (1, 4), (2, 4)]);
        assert!(cut.separates(4, 1) && !cut.separates(0, 1) && !cut.separates(0, 3));
    }

    #[test]
    fn a_union_drops_what_either_drops() {
        let one = Cut::between(&[vec![0], vec![1]]);
        let two = Cut::between(&[vec![0], vec![2]]);
        assert_eq!(Cut::union([&one, &two]).peers(0), [1, 2]);
        assert_eq!(Cut::union([&one]), one);
        assert!(Cut::union([]).is_empty());
    }

    #[test]
    fn nobody_is_cut_from_himself() {
        let mut cut = Cut::default();
        cut.add(3, 3);
        assert!(cut.is_empty());
    }
}
