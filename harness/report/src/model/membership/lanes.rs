//! Lanes: in which sources each member is over time, its role, its joins and removes, and the proofs about it.
//!
//! A stripe is one source; what its places on live nodes say together is one of [`Held`], worked out in [`super::sweep`].

use harness_core::view::{Role, Source};

use super::{roster::Id, standing::Change};

/// Rows of brackets in a lane; later ones share the last.
pub const LEVEL_LIMIT: usize = 3;

/// What the places of one source say of a member, taken together. What is worse is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Held {
    /// No place lists it.
    Nowhere,
    /// Every place lists it.
    Everywhere,
    /// Every place lists it, and some as pending.
    Pending,
    /// Some place could not be read; those that could list it (true), do not (false), or there is none.
    Unread(Option<bool>),
    /// Some list it, some do not.
    Differ,
}

impl Held {
    /// In a few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Nowhere => "not in",
            Self::Everywhere => "in",
            Self::Pending => "in, pending",
            Self::Unread(Some(true)) => "in where it was read",
            Self::Unread(Some(false)) => "not in where it was read",
            Self::Unread(None) => "unread",
            Self::Differ => "nodes disagree",
        }
    }
}

/// A stretch in which nothing changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch<T> {
    /// Its start.
    pub from_ns: u64,
    /// Its end.
    pub to_ns: u64,
    /// What holds.
    pub what: T,
    /// Who says what, where not all say the same.
    pub words: Option<String>,
}

/// One source in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// The source.
    pub source: Source,
    /// From the first reading to the last.
    pub stretches: Vec<Stretch<Held>>,
    /// Whether some stretches stand for several.
    pub merged: bool,
}

/// A role, or why there is none to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RoleSaid {
    /// No source gives one.
    None,
    /// All that give one give this.
    Role(Role),
    /// Let in, but its join has not ended.
    Pending,
    /// Two sources give two.
    Differ,
}

impl RoleSaid {
    /// In a word or two.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Role(role) => role.as_str(),
            Self::Pending => "pending",
            Self::Differ => "roles differ",
        }
    }
}

/// One member.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Its anchor.
    pub anchor: String,
    /// Who.
    pub member: Id,
    /// Its name.
    pub name: String,
    /// Its sources.
    pub stripes: Vec<Stripe>,
    /// Its roles; stretches without one are left out.
    pub roles: Vec<Stretch<RoleSaid>>,
    /// When the system was looked for on its node and did not run.
    pub stopped: Vec<(u64, u64)>,
    /// Its joins and removes, each with its row.
    pub changes: Vec<(usize, Change)>,
    /// Places in `Faults::rows` of faults on this node.
    pub faults: Vec<usize>,
    /// Numbers of the proofs about it, from 1.
    pub witnesses: Vec<usize>,
}

impl Lane {
    /// Rows of brackets that it needs.
    #[must_use]
    pub fn levels(&self) -> usize {
        let levels = self.changes.iter().map(|(level, _)| level + 1);
        levels.max().unwrap_or_default()
    }
}

/// Gives each operation the first row in which nothing is under way; what is open takes its row for good.
pub(super) fn levels(changes: Vec<Change>) -> Vec<(usize, Change)> {
    let mut free_ns = [0_u64; LEVEL_LIMIT];
    changes
        .into_iter()
        .map(|change| {
            let free = free_ns.iter().position(|free| *free <= change.start_ns);
            let level = free.unwrap_or(LEVEL_LIMIT - 1);
            free_ns[level] = change
                .end_ns
                .map_or(u64::MAX, |end| end.max(free_ns[level]));
            (level, change)
        })
        .collect()
}
