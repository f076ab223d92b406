//! Joins and removes of members as operations, lists between them, and a light data workload beside them.
//!
//! The last node of the lab is the **canary**: nobody touches it until the final phase joins and removes it. The first
//! `initial` nodes form the cluster; all others stand by, ready to join. What the load then does:
//! - [`changes`] joins nodes that stand by, removes members, and deals with what failed, as an operator would;
//! - one thread asks for the product's own list of members now and then;
//! - the other threads do the operations of [`set`]: rows that must survive all of this.
//!
//! Once all is healed and settled, [`probes`] tries the canary, every member in doubt and every removed node.
//! [`roster`] says who is in and who is in doubt, from recorded events.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc, time::Duration};

use harness_core::{
    generator::{BoxGenerator, Combine, OpSpec, repeat, reserve},
    membership,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Load, set};

pub mod changes;
pub mod probes;
pub mod roster;

/// Members at first, if the lab has enough nodes.
pub const INITIAL: usize = 3;
/// How long a join or a remove may take if nothing else is chosen.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the load waits on average before it begins another change, if nothing else is chosen.
pub const CHANGE_INTERVAL: Duration = Duration::from_secs(2);
/// How often the product's own list is asked for, on average.
const LIST_INTERVAL: Duration = Duration::from_secs(2);
/// Threads besides those that join: one that removes, one that lists, one for data.
const THREADS_BESIDE_JOINS: usize = 3;

/// What the load may do besides joining new nodes and removing members that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    /// Remove the member that leads.
    RemoveLeader,
    /// Remove by force a member whose ordinary remove was refused, as it is for one that is dead.
    RemoveDead,
    /// Begin again after a failed or indeterminate change: remove by force what is in doubt, join again what failed to.
    RetryFailed,
    /// Join a node again that was removed.
    Rejoin,
    /// Join while a member does not run.
    JoinWhileDown,
    /// Remove by force also members that run, now and then.
    Force,
    /// Begin a change while another one of another member goes on.
    Concurrent,
}

impl Change {
    /// All, by the names in `--changes`.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::RemoveLeader, "remove-leader"),
        (Self::RemoveDead, "remove-dead"),
        (Self::RetryFailed, "retry-failed"),
        (Self::Rejoin, "rejoin"),
        (Self::JoinWhileDown, "join-while-down"),
        (Self::Force, "force"),
        (Self::Concurrent, "concurrent"),
    ];

    /// What a nightly run does: all that an operator does on a working day. Forcing out a member that runs is not among
    /// it: the product says that this is for the dead.
    pub const USUAL: [Self; 6] = [
        Self::RemoveLeader,
        Self::RemoveDead,
        Self::RetryFailed,
        Self::Rejoin,
        Self::JoinWhileDown,
        Self::Concurrent,
    ];

    /// A comma list of names; `none` for nothing.
    ///
    /// # Errors
    /// A sentence that names what is not known.
    pub fn parse_list(text: &str) -> Result<BTreeSet<Self>, String> {
        if text.trim() == "none" {
            return Ok(BTreeSet::new());
        }
        let words = || text.split(',').map(str::trim);
        if words().any(|word| word == "none") {
            return Err(format!(
                "none stands alone, not in a list such as {text:?}; leave it out there"
            ));
        }
        words().map(str::parse).collect()
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = Self::ALL.iter().find(|(change, _)| change == self);
        f.write_str(named.map_or("", |(_, name)| name))
    }
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|(_, name)| *name == text);
        found.map(|(change, _)| *change).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!(
                "there is no change {text:?}; there are {}, or none",
                names.join(", ")
            )
        })
    }
}

impl Serialize for Change {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Parameters of the workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameters {
    /// Members at first; none for [`INITIAL`], or fewer if the lab is small.
    pub initial: Option<usize>,
    /// Members that a remove never goes below; none for the number at first, at most [`INITIAL`].
    pub floor: Option<usize>,
    /// Joins that begin at once.
    pub parallel_join: usize,
    /// What else the load may do.
    pub changes: BTreeSet<Change>,
    /// How long a join or a remove may take.
    #[serde(rename = "change_timeout_ms", serialize_with = "as_ms")]
    pub change_timeout: Duration,
    /// How long the load waits on average before it begins another change.
    #[serde(rename = "change_interval_ms", serialize_with = "as_ms")]
    pub change_interval: Duration,
    /// The one operation that the load does, instead of all that; then there is no canary that must be kept apart.
    #[serde(skip)]
    pub only: Option<OpSpec>,
}

fn as_ms<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            initial: None,
            floor: None,
            parallel_join: 1,
            changes: Change::USUAL.into_iter().collect(),
            change_timeout: CHANGE_TIMEOUT,
            change_interval: CHANGE_INTERVAL,
            only: None,
        }
    }
}

/// Which node is what at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cast {
    /// Members at first.
    pub initial: Vec<Arc<str>>,
    /// Nodes that stand by, without the canary.
    pub standing_by: Vec<Arc<str>>,
    /// The canary.
    pub canary: Arc<str>,
    /// Members that a remove never goes below.
    pub floor: usize,
}

impl Parameters {
    /// Which of these nodes is what at first.
    ///
    /// # Errors
    /// A sentence that begins with the option that does not fit so many nodes.
    pub fn cast(&self, nodes: &[Arc<str>]) -> Result<Cast, String> {
        let count = nodes.len();
        let [others @ .., canary] = nodes else {
            return Err("nodes: there are none".to_owned());
        };
        if self.only.is_some() {
            let initial = self.initial.unwrap_or(count);
            let (initial, standing_by) = nodes.split_at(initial.min(count));
            return Ok(Cast {
                initial: initial.to_vec(),
                standing_by: standing_by.to_vec(),
                canary: Arc::clone(canary),
                floor: 1,
            });
        }
        if others.len() < 2 {
            return Err(format!(
                "nodes: the membership workload needs 3 at least (a member, one that joins, the canary), and there are {count}; give it more with --nodes, or choose another --workload"
            ));
        }
        let initial = self.initial.unwrap_or(INITIAL.min(others.len() - 1));
        if !(1..=others.len()).contains(&initial) {
            return Err(format!(
                "initial: {initial} of {count} nodes cannot be members at first; it must be 1 to {} (the last node is the canary)",
                others.len()
            ));
        }
        let floor = self.floor.unwrap_or(initial.min(INITIAL));
        if !(1..=others.len()).contains(&floor) {
            return Err(format!(
                "floor: {floor} members of {count} nodes cannot be kept; it must be 1 to {}",
                others.len()
            ));
        }
        // With nothing to join and nothing to remove, members stay as they are while faults strike.
        let most = (others.len() - floor.min(initial)).max(1);
        if !(1..=most).contains(&self.parallel_join) {
            return Err(format!(
                "parallel-join: {} nodes can never be out at once; with {count} nodes and a floor of {floor} it must be 1 to {most}",
                self.parallel_join
            ));
        }
        let (initial, standing_by) = others.split_at(initial);
        Ok(Cast {
            initial: initial.to_vec(),
            standing_by: standing_by.to_vec(),
            canary: Arc::clone(canary),
            floor,
        })
    }

    /// The fewest clients that this needs.
    #[must_use]
    pub fn clients_needed(&self) -> usize {
        self.parallel_join + THREADS_BESIDE_JOINS
    }

    /// Whether the load may do that.
    #[must_use]
    pub fn allows(&self, change: Change) -> bool {
        self.changes.contains(&change)
    }

    pub(super) fn options(&self) -> Value {
        json!({
            "parallel_join": self.parallel_join,
            "changes": self.changes,
        })
    }

    pub(super) fn load(&self, load: &Load) -> BoxGenerator {
        if let Some(only) = &self.only {
            return only.clone().once().boxed();
        }
        let data = set::Parameters::default().load(load);
        let Ok(cast) = self.cast(&load.names) else {
            // Whoever began the run has refused this already.
            return data;
        };
        let list = repeat(OpSpec::new(membership::LIST, ()))
            .stagger(LIST_INTERVAL, load.seed.stream("workload/list"));
        let changes = changes::Changes::new(self, &cast, load.seed);
        reserve(
            [(self.parallel_join + 1, changes.boxed()), (1, list.boxed())],
            data,
        )
        .time_limit(load.time_limit)
        .boxed()
    }

    pub(super) fn final_reads(&self, load: &Load) -> BoxGenerator {
        set::Parameters::default().final_reads(load)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<Arc<str>> {
        (1..=count).map(|n| Arc::from(format!("n{n}"))).collect()
    }

    #[test]
    fn a_lab_is_cast() {
        for (nodes, given, floor, initial, standing_by, kept) in [
            (5, None, None, 3, 1, 3),
            (7, Some(3), None, 3, 3, 3),
            (12, Some(5), None, 5, 6, 3),
            (3, None, None, 1, 1, 1),
            (5, Some(4), None, 4, 0, 3),
            (4, None, Some(1), 2, 1, 1),
            // Nobody can join or be removed: members stay as they are.
            (5, Some(4), Some(4), 4, 0, 4),
        ] {
            let parameters = Parameters {
                initial: given,
                floor,
                ..Parameters::default()
            };
            let cast = parameters.cast(&names(nodes)).unwrap();
            assert_eq!(cast.initial.len(), initial, "{nodes} nodes");
            assert_eq!(cast.standing_by.len(), standing_by, "{nodes} nodes");
            assert_eq!(&*cast.canary, format!("n{nodes}"));
            assert_eq!(cast.floor, kept, "{nodes} nodes");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_option() {
        for (nodes, initial, floor, parallel_join, option) in [
            (2, None, None, 1, "nodes"),
            (5, Some(5), None, 1, "initial"),
            (5, Some(0), None, 1, "initial"),
            (5, None, Some(0), 1, "floor"),
            (5, None, Some(5), 1, "floor"),
            (5, None, None, 2, "parallel-join"),
            (5, None, None, 0, "parallel-join"),
        ] {
            let parameters = Parameters {
                initial,
                floor,
                parallel_join,
                ..Parameters::default()
            };
            let said = parameters.cast(&names(nodes)).unwrap_err();
            assert!(said.starts_with(option), "{said}");
        }
    }

    #[test]
    fn changes_are_read_by_name() {
        assert_eq!(Change::parse_list("none").unwrap(), BTreeSet::new());
        let two = Change::parse_list("force, rejoin").unwrap();
        assert_eq!(two, BTreeSet::from([Change::Rejoin, Change::Force]));
        assert!(Change::parse_list("forec").unwrap_err().contains("forec"));
        for (change, name) in Change::ALL {
            assert_eq!(change.to_string(), name);
            assert_eq!(name.parse(), Ok(change));
        }
    }
}
