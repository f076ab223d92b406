//! The membership checker's invariants, as they are grouped and explained: DESIGN.md's list.
//!
//! Each is a checker of its own, so a run has twenty-seven of them; a table by group keeps them from drowning the others. A
//! test holds this list against the checker's own.

/// When an invariant must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// At all times.
    Safety,
    /// What an operation said against what sources hold.
    Operation,
    /// When nothing is done and the settle time is over.
    Quiescence,
    /// Something good happens in time.
    Liveness,
}

impl Group {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 4] = [
        Self::Safety,
        Self::Operation,
        Self::Quiescence,
        Self::Liveness,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Safety => "Safety",
            Self::Operation => "Operation against state",
            Self::Quiescence => "Quiescence",
            Self::Liveness => "Liveness",
        }
    }

    /// When its invariants must hold.
    #[must_use]
    pub fn help(self) -> &'static str {
        match self {
            Self::Safety => "at all times",
            Self::Operation => "what an operation said, and what sources hold",
            Self::Quiescence => {
                "once faults are healed, nothing is under way and the settle time is over"
            }
            Self::Liveness => "something good happens in time",
        }
    }
}

/// One invariant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invariant {
    /// Its name, the one of its checker.
    pub name: &'static str,
    /// Its group.
    pub group: Group,
    /// What it says.
    pub says: &'static str,
}

const fn says(group: Group, name: &'static str, says: &'static str) -> Invariant {
    Invariant { name, group, says }
}

use Group::{Liveness, Operation, Quiescence, Safety};

/// All of them.
#[rustfmt::skip]
pub const INVARIANTS: [Invariant; 27] = [
    says(Safety, "one-leader-per-term", "A term of raft has at most one leader."),
    says(Safety, "single-change", "From one committed configuration to the next, one member changes."),
    says(Safety, "config-prefix", "One index of raft's log holds the same configuration on every node."),
    says(Safety, "id-unique", "No two members share a raft id."),
    says(Safety, "no-resurrection", "Who was removed does not come back unless it joins again."),
    says(Safety, "quorum-safety", "No accepted change leaves fewer running voters than a majority."),
    says(Operation, "ok-join-durable", "Whoever joined is in every source."),
    says(Operation, "fail-join-clean", "A join that was refused leaves nothing behind."),
    says(Operation, "info-join-atomic", "A join of unknown outcome took effect in every source or in none."),
    says(Operation, "ok-remove-complete", "Whoever was removed is in no source."),
    says(Operation, "fail-remove-intact", "A remove that was refused changes nothing."),
    says(Operation, "info-remove-atomic", "A remove of unknown outcome took effect in every source or in none."),
    says(Operation, "token-single-use", "One token lets in one member."),
    says(Operation, "linearizable-membership", "Joins, removes and lists fit into one order, each at a moment between its start and its end."),
    says(Quiescence, "three-source-agreement", "Database, truststore and raft of every live node hold the same members."),
    says(Quiescence, "no-ghost", "No source holds somebody who was removed or never joined."),
    says(Quiescence, "no-lost", "No source lacks somebody who joined and was not removed."),
    says(Quiescence, "no-pending", "Nobody is still pending."),
    says(Quiescence, "role-agreement", "All sources give a member the same role."),
    says(Quiescence, "voter-target", "There are as many voters as the system means to keep."),
    says(Quiescence, "removed-is-out", "A removed node can neither read nor write: it was asked."),
    says(Quiescence, "identity-agreement", "A member's name, address, certificate and raft id belong together in all sources."),
    says(Liveness, "progress-after-heal", "After healing, every live member takes a write."),
    says(Liveness, "restart-one-restores", "After two were stopped at once, starting one of them restores service."),
    says(Liveness, "membership-progress", "A fresh node, and every member in doubt, can be joined and removed."),
    says(Liveness, "convergence-time", "After each join, remove and heal the sources agree again in time."),
    says(Liveness, "no-hang", "Without a fault no operation runs into its deadline."),
];

/// The invariant of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Invariant> {
    INVARIANTS.iter().find(|invariant| invariant.name == name)
}
