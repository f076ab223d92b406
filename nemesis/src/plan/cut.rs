//! Who drops whom: a partition as a relation on nodes.
//!
//! Laws:
//! - nobody drops himself, and nobody but nodes of the lab is in it: the controller cannot be cut;
//! - what [`Cut::between`] and [`Cut::add`] make is symmetric: if a drops b then b drops a, so that each side
//!   holds the partition alone, whatever becomes of the other; what [`Cut::add_deaf`] makes is held by the one that does
//!   not hear, where it can be counted;
//! - cuts compose by union: healing one leaves what another holds.

use std::collections::{BTreeMap, BTreeSet};

/// What a node drops of what it and a peer send to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Drops {
    /// What comes from the peer.
    Incoming,
    /// That, and what goes to it.
    Both,
}

/// Which nodes drop what of which others, by place in the lab.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    drops: BTreeMap<usize, BTreeMap<usize, Drops>>,
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
            self.drops.entry(a).or_default().insert(b, Drops::Both);
            self.drops.entry(b).or_default().insert(a, Drops::Both);
        }
    }

    /// `node` does not hear `peer`, which may hear it. A node and itself: nothing.
    pub fn add_deaf(&mut self, node: usize, peer: usize) {
        if node != peer {
            let drops = self.drops.entry(node).or_default();
            drops.entry(peer).or_insert(Drops::Incoming);
        }
    }

    /// All that any of them drops.
    #[must_use]
    pub fn union<'a>(cuts: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::default();
        for cut in cuts {
            for (node, peers) in &cut.drops {
                let union = all.drops.entry(*node).or_default();
                for (peer, what) in peers {
                    let known = union.entry(*peer).or_insert(*what);
                    *known = (*known).max(*what);
                }
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
            .map(|peers| peers.keys().copied().collect())
            .unwrap_or_default()
    }

    /// What a node drops of which peers, in ascending order.
    pub fn drops(&self, node: usize) -> impl Iterator<Item = (usize, Drops)> + '_ {
        let peers = self.drops.get(&node).into_iter().flatten();
        peers.map(|(peer, what)| (*peer, *what))
    }

    /// Whether packets between the two are dropped by either.
    #[must_use]
    pub fn separates(&self, a: usize, b: usize) -> bool {
        let drops = |node: usize, peer: usize| {
            self.drops
                .get(&node)
                .is_some_and(|peers| peers.contains_key(&peer))
        };
        drops(a, b) || drops(b, a)
    }

    /// The pairs that do not see each other, each once, the smaller first.
    #[must_use]
    pub fn pairs(&self) -> Vec<(usize, usize)> {
        let mut pairs = BTreeSet::new();
        for (node, peers) in &self.drops {
            for peer in peers.keys() {
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
    fn one_can_be_deaf_while_the_other_hears() {
        let mut deaf = Cut::default();
        deaf.add_deaf(0, 1);
        deaf.add_deaf(2, 2);
        assert_eq!(deaf.drops(0).collect::<Vec<_>>(), [(1, Drops::Incoming)]);
        assert_eq!((deaf.nodes(), deaf.pairs()), (vec![0], vec![(0, 1)]));
        assert!(deaf.separates(1, 0), "no connection comes to be");
        let both = Cut::between(&[vec![0], vec![1]]);
        for cuts in [[&deaf, &both], [&both, &deaf]] {
            assert_eq!(Cut::union(cuts), both);
        }
    }

    #[test]
    fn nobody_is_cut_from_himself() {
        let mut cut = Cut::default();
        cut.add(3, 3);
        assert!(cut.is_empty());
    }
}
