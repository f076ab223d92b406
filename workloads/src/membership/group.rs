//! Who is a member now, as far as our own operations tell: shared by all clients of a run.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use harness_lab::Node;

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It certainly is a member.
    In,
    /// It certainly is none.
    Out,
    /// Nobody knows, or a change of it is under way.
    InDoubt,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    standing: Standing,
    /// Whether it was made ready to join, and no join has begun since.
    ready: bool,
    wipings: u64,
    /// Grows with every change of it.
    generation: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Group {
    nodes: Vec<Node>,
    entries: Mutex<BTreeMap<String, Entry>>,
    turn: AtomicUsize,
}

/// A certain member, as it was when it was chosen.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The node.
    pub node: Node,
    generation: u64,
}

impl Group {
    /// The first `initial` nodes are members, all others stand by.
    #[must_use]
    pub fn new(nodes: &[Node], initial: usize) -> Self {
        let entry = |(place, node): (usize, &Node)| {
            let inside = place < initial;
            let entry = Entry {
                standing: if inside { Standing::In } else { Standing::Out },
                ready: !inside,
                wipings: 0,
                generation: 0,
            };
            (node.name.to_string(), entry)
        };
        Self {
            nodes: nodes.to_vec(),
            entries: Mutex::new(nodes.iter().enumerate().map(entry).collect()),
            turn: AtomicUsize::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().get_mut(name) {
            change(entry);
            entry.generation += 1;
        }
    }

    /// The node of that name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }

    /// Where a node stands; one that is none of the lab is out.
    #[must_use]
    pub fn standing(&self, name: &str) -> Standing {
        self.lock()
            .get(name)
            .map_or(Standing::Out, |entry| entry.standing)
    }

    /// Whether it is ready to join, as nobody touched it since it was made so.
    #[must_use]
    pub fn is_ready(&self, name: &str) -> bool {
        self.lock().get(name).is_some_and(|entry| entry.ready)
    }

    /// How often it was wiped so far, also by half.
    #[must_use]
    pub fn wipings(&self, name: &str) -> u64 {
        self.lock().get(name).map_or(0, |entry| entry.wipings)
    }

    /// It is about to be wiped.
    pub fn begin_wiping(&self, name: &str) {
        self.change(name, |entry| {
            entry.ready = false;
            entry.wipings += 1;
        });
    }

    /// It was made ready to join.
    pub fn set_ready(&self, name: &str) {
        self.change(name, |entry| entry.ready = true);
    }

    /// A join or a remove of it begins: gives where it stood.
    pub fn begin(&self, name: &str) -> Standing {
        let before = self.standing(name);
        self.change(name, |entry| entry.standing = Standing::InDoubt);
        before
    }

    /// The same for a join: what is there is from now on no longer what was made ready.
    pub fn begin_joining(&self, name: &str) -> Standing {
        self.change(name, |entry| entry.ready = false);
        self.begin(name)
    }

    /// A change of it ended.
    pub fn end(&self, name: &str, standing: Standing) {
        self.change(name, |entry| entry.standing = standing);
    }

    /// Certain members but for one, in an order that changes with every call.
    #[must_use]
    pub fn certain(&self, but: Option<&str>) -> Vec<Chosen> {
        let entries = self.lock();
        let mut certain: Vec<Chosen> = self
            .nodes
            .iter()
            .filter(|node| but != Some(node.name.as_str()))
            .filter_map(|node| {
                let entry = entries.get(node.name.as_str())?;
                (entry.standing == Standing::In).then(|| Chosen {
                    node: node.clone(),
                    generation: entry.generation,
                })
            })
            .collect();
        if !certain.is_empty() {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let count = certain.len();
            certain.rotate_left(turn % count);
        }
        certain
    }

    /// Whether it has been a member ever since.
    #[must_use]
    pub fn stayed(&self, chosen: &Chosen) -> bool {
        self.lock()
            .get(chosen.node.name.as_str())
            .is_some_and(|entry| {
                entry.standing == Standing::In && entry.generation == chosen.generation
            })
    }

    /// Names of nodes that are members, or may be.
    #[must_use]
    pub fn members(&self) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|(_, entry)| entry.standing != Standing::Out)
            .map(|(name, _)| name.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim;

    #[test]
    fn a_member_that_left_meanwhile_is_told_apart() {
        let group = Group::new(&sim::nodes(4), 2);
        let chosen = group.certain(Some("sim1"));
        assert_eq!(chosen.len(), 1);
        assert!(group.stayed(&chosen[0]));
        assert_eq!(group.begin("sim2"), Standing::In);
        assert!(!group.stayed(&chosen[0]));
        assert_eq!(group.members(), ["sim1", "sim2"]);
        // It was refused, so it is a member as before; but what was answered meanwhile is nobody's to trust.
        group.end("sim2", Standing::In);
        assert!(!group.stayed(&chosen[0]));
        assert!(group.stayed(&group.certain(Some("sim1"))[0]));
    }

    #[test]
    fn everybody_gets_a_turn_and_standing_by_ends_with_a_join() {
        let group = Group::new(&sim::nodes(4), 2);
        let first = |group: &Group| group.certain(None)[0].node.name.to_string();
        assert_ne!(first(&group), first(&group));
        assert!(group.is_ready("sim3") && !group.is_ready("sim1"));
        group.begin_joining("sim3");
        assert!(!group.is_ready("sim3"));
        group.end("sim3", Standing::Out);
        assert!(!group.is_ready("sim3"));
        // Wiped by half, it is not let in.
        group.begin_wiping("sim3");
        assert!(!group.is_ready("sim3"));
        assert_eq!(group.wipings("sim3"), 1);
        group.set_ready("sim3");
        assert!(group.is_ready("sim3"));
        assert_eq!(group.members(), ["sim1", "sim2"]);
    }
}
