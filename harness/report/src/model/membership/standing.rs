//! Whether somebody was a member, as operations say.
//!
//! A node's readings count in lanes and in the final state **while it is certainly a member**: from the end of its ok
//! join (or from the beginning, if it was there at first) until a remove of it that was not refused begins. A node that is
//! joining, or whose join is `info`, says of itself what it likes; the others are asked about it.

use harness_core::{
    history::{Operation, Outcome},
    membership::{ChangeKind, Purpose, change, member_of},
    view::Source,
};

use super::{places::Seen, roster::Id, roster::Roster};
use crate::{model::ReportInput, number, text};

/// A join or a remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Who.
    pub member: Id,
    /// What.
    pub kind: ChangeKind,
    /// Why.
    pub purpose: Purpose,
    /// Its place in the history.
    pub place: usize,
    /// Its identity; its anchor is `op-<index>`.
    pub index: u64,
    /// What it is called: `join`, `retry-remove`.
    pub f: String,
    /// Whether the member was not to be asked.
    pub force: bool,
    /// When it was invoked.
    pub start_ns: u64,
    /// When it ended; None if it may still take effect.
    pub end_ns: Option<u64>,
    /// When we stopped waiting, if it may still take effect.
    pub given_up_ns: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why it is not ok: a stable word, and what was said.
    pub error: Option<(String, String)>,
}

/// Joins and removes, by when they were invoked.
pub(super) fn changes(input: &ReportInput<'_>, roster: &Roster) -> Vec<Change> {
    let operations = input.history.operations.iter().enumerate();
    operations
        .filter_map(|(place, operation)| {
            let (kind, purpose) = change(&operation.f)?;
            let member = roster.named(member_of(operation)?)?;
            Some(one(operation, place, (kind, purpose, member)))
        })
        .collect()
}

fn one(
    operation: &Operation,
    place: usize,
    (kind, purpose, member): (ChangeKind, Purpose, Id),
) -> Change {
    let open = operation.outcome == Outcome::Info;
    let error = operation.error.as_ref();
    Change {
        member,
        kind,
        purpose,
        place,
        index: operation.index,
        f: text::clip(&operation.f, 24),
        force: operation.input.get("force") == Some(&serde_json::Value::Bool(true)),
        start_ns: operation.invoked_ns,
        end_ns: operation.completed_ns.filter(|_| !open),
        given_up_ns: operation.completed_ns.filter(|_| open),
        outcome: operation.outcome,
        error: error.map(|error| (text::clip(&error.kind, 40), text::clip(&error.message, 240))),
    }
}

/// Who was a member at first: as told, or as database or raft said before the first change; None if nobody knows.
pub(super) fn initial(
    input: &ReportInput<'_>,
    roster: &Roster,
    changes: &[Change],
    seen: &Seen,
) -> Option<Vec<Id>> {
    let told = input.meta.workload_options.get("initial_members");
    if let Some(names) = told.and_then(serde_json::Value::as_array) {
        let names = names.iter().filter_map(serde_json::Value::as_str);
        return Some(names.filter_map(|name| roster.named(name)).collect());
    }
    let first_ns = changes.first().map_or(u64::MAX, |change| change.start_ns);
    seen.readings
        .iter()
        .take_while(|reading| reading.start_ns < first_ns)
        .filter(|reading| {
            matches!(
                seen.places[reading.place].source,
                Source::Database | Source::Raft
            )
        })
        .filter_map(|reading| reading.said.members())
        .find(|members| !members.is_empty())
        .map(|members| members.iter().map(|entry| entry.id).collect())
}

/// When somebody is certainly a member: moments at which that changes, and what holds from then on. Begins with 0.
pub(super) fn certain(id: Id, initial: Option<&Vec<Id>>, changes: &[Change]) -> Vec<(u64, bool)> {
    let Some(initial) = initial else {
        return vec![(0, true)];
    };
    let mut turns = vec![(0, initial.contains(&id))];
    let mut moments: Vec<(u64, bool)> = changes
        .iter()
        .filter(|change| change.member == id)
        .filter_map(|change| match (change.kind, change.outcome) {
            (ChangeKind::Join, Outcome::Ok) => Some((change.end_ns?, true)),
            (ChangeKind::Remove, Outcome::Ok | Outcome::Info) => Some((change.start_ns, false)),
            _ => None,
        })
        .collect();
    moments.sort_unstable();
    for (at_ns, member) in moments {
        if turns.last().is_none_or(|(_, last)| *last != member) {
            turns.push((at_ns, member));
        }
    }
    turns
}

/// What somebody is at the end, as operations say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Joined, or there at first, and not removed.
    Member,
    /// Removed; the operation.
    Removed(u64),
    /// Never let in.
    Never,
    /// An operation may or may not have taken effect.
    Doubt(Box<Change>),
    /// Nobody knows who was there at first.
    Unknown,
    /// Nobody whom we know.
    Foreign,
}

impl Standing {
    pub(super) fn of(
        id: Id,
        roster: &Roster,
        initial: Option<&Vec<Id>>,
        changes: &[Change],
    ) -> Self {
        if roster.people[id].foreign {
            return Self::Foreign;
        }
        let own = || changes.iter().filter(|change| change.member == id);
        let settled = own()
            .filter(|change| change.outcome == Outcome::Ok)
            .max_by_key(|change| change.end_ns);
        let inside = match (settled, initial) {
            (Some(last), _) => last.kind == ChangeKind::Join,
            (None, Some(initial)) => initial.contains(&id),
            (None, None) => return Self::Unknown,
        };
        let undone = if inside {
            ChangeKind::Remove
        } else {
            ChangeKind::Join
        };
        // An info before the last ok may take effect after it, too; but then that one would have been refused.
        let doubt = own().rfind(|change| {
            change.outcome == Outcome::Info
                && change.kind == undone
                && settled.is_none_or(|last| change.start_ns >= last.start_ns)
        });
        match (doubt, inside, settled) {
            (Some(doubt), _, _) => Self::Doubt(Box::new(doubt.clone())),
            (None, true, _) => Self::Member,
            (None, false, Some(last)) => Self::Removed(last.index),
            (None, false, None) => Self::Never,
        }
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Member => "member".to_owned(),
            Self::Removed(index) => format!("removed by operation {index}"),
            Self::Never => "never joined".to_owned(),
            Self::Doubt(change) => {
                format!(
                    "in doubt: operation {} ({}) is info",
                    change.index, change.f
                )
            }
            Self::Unknown => "not known".to_owned(),
            Self::Foreign => "matches no node of the lab".to_owned(),
        }
    }
}

impl Change {
    /// `join, info, 41.00 s to 71.00 s`.
    #[must_use]
    pub fn words(&self) -> String {
        let force = if self.force { " by force" } else { "" };
        let until = match (self.end_ns, self.given_up_ns) {
            (Some(end), _) => format!("to {}", number::instant(end)),
            (None, Some(end)) => format!("given up at {}", number::instant(end)),
            (None, None) => "never answered".to_owned(),
        };
        format!(
            "{}{force}, {}, {} {until}",
            self.f,
            self.outcome.as_str(),
            number::instant(self.start_ns)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind, outcome: Outcome, start_ns: u64) -> Change {
        Change {
            member: 0,
            kind,
            purpose: Purpose::Load,
            place: 0,
            index: start_ns,
            f: "x".to_owned(),
            force: false,
            start_ns,
            end_ns: (outcome != Outcome::Info).then_some(start_ns + 5),
            given_up_ns: None,
            outcome,
            error: None,
        }
    }

    #[test]
    fn a_node_counts_while_it_is_certainly_a_member() {
        use ChangeKind::{Join, Remove};
        use Outcome::{Fail, Info, Ok};
        let nobody = Vec::new();
        for (changes, turns) in [
            (vec![], vec![(0, false)]),
            (vec![change(Join, Ok, 10)], vec![(0, false), (15, true)]),
            (vec![change(Join, Info, 10)], vec![(0, false)]),
            (
                vec![change(Join, Ok, 10), change(Remove, Fail, 20)],
                vec![(0, false), (15, true)],
            ),
            (
                vec![change(Join, Ok, 10), change(Remove, Info, 20)],
                vec![(0, false), (15, true), (20, false)],
            ),
        ] {
            assert_eq!(certain(0, Some(&nobody), &changes), turns);
        }
        assert_eq!(certain(0, None, &[]), [(0, true)]);
    }

    #[test]
    fn the_last_ok_operation_decides_unless_an_info_came_later() {
        use ChangeKind::{Join, Remove};
        use Outcome::{Info, Ok};
        let mut roster = Roster::default();
        roster.people.push(super::super::roster::Person {
            name: "n4".to_owned(),
            exact: "n4".to_owned(),
            foreign: false,
        });
        let of = |changes: &[Change]| Standing::of(0, &roster, Some(&Vec::new()), changes).words();
        assert_eq!(of(&[]), "never joined");
        assert_eq!(of(&[change(Join, Ok, 1)]), "member");
        assert_eq!(
            of(&[change(Join, Ok, 1), change(Remove, Ok, 9)]),
            "removed by operation 9"
        );
        assert_eq!(
            of(&[change(Join, Info, 1)]),
            "in doubt: operation 1 (x) is info"
        );
        assert_eq!(of(&[change(Join, Info, 1), change(Join, Ok, 9)]), "member");
    }
}
