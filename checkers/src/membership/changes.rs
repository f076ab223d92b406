//! Joins and removes of the history, and what they prove about who is a member.
//!
//! At a time at which none of a member's operations is under way:
//! - its **last ok** operation says whether it is in or out; operations that overlapped, and said different things,
//!   leave it open;
//! - a `fail` changes nothing;
//! - an `info` may take effect at any later time: one that would change what the last ok operation says leaves it open,
//!   also long after. Then only `info-join-atomic` and `info-remove-atomic` judge that member.

use harness_core::{
    history::{Operation, Outcome},
    membership::{ChangeKind, Purpose, change, member_of},
};

use super::roster::{Id, Roster};

/// A join or a remove.
#[derive(Clone, Copy, Debug)]
pub(super) struct Change<'a> {
    pub operation: &'a Operation,
    pub kind: ChangeKind,
    pub purpose: Purpose,
    pub member: Id,
}

impl Change<'_> {
    /// When we stopped waiting for it; the end of time if nobody did.
    pub fn end_ns(&self) -> u64 {
        self.operation.completed_ns.unwrap_or(u64::MAX)
    }

    /// Index of its completion; one that nobody saw ends after all others.
    fn end_index(&self) -> u64 {
        self.operation.completed_index.unwrap_or(u64::MAX)
    }

    pub fn is(&self, kind: ChangeKind, outcome: Outcome) -> bool {
        self.kind == kind && self.operation.outcome == outcome
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.operation.index < other.end_index() && other.operation.index < self.end_index()
    }
}

/// Whether somebody is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    In,
    Out,
    /// Nobody can know from the operations alone.
    Open,
}

/// A member's status, and what led to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing<'a> {
    pub status: Status,
    /// The last operation on it, if no other overlapped it; the latest indeterminate one if the status is open.
    pub cause: Option<Change<'a>>,
}

/// All changes, and who was a member at first.
#[derive(Debug)]
pub(super) struct Changes<'a> {
    pub all: Vec<Change<'a>>,
    /// By id; None if nobody knows.
    pub initial: Option<Vec<bool>>,
}

impl<'a> Changes<'a> {
    pub fn read(operations: &'a [Operation], roster: &Roster) -> Vec<Change<'a>> {
        operations
            .iter()
            .filter_map(|operation| {
                let (kind, purpose) = change(&operation.f)?;
                let member = roster.named(member_of(operation)?)?;
                Some(Change {
                    operation,
                    kind,
                    purpose,
                    member,
                })
            })
            .collect()
    }

    pub fn of(&self, member: Id) -> impl Iterator<Item = &Change<'a>> {
        self.all
            .iter()
            .filter(move |change| change.member == member)
    }

    /// At a time; operations that began later do not count.
    pub fn standing(&self, member: Id, at_ns: u64) -> Standing<'a> {
        let past: Vec<&Change<'a>> = self
            .of(member)
            .filter(|change| change.operation.invoked_ns <= at_ns)
            .collect();
        let initially = self
            .initial
            .as_ref()
            .map(|initial| initial.get(member).copied().unwrap_or(false));
        let oks: Vec<&&Change<'a>> = past
            .iter()
            .filter(|change| change.operation.outcome == Outcome::Ok && change.end_ns() <= at_ns)
            .collect();
        let mut lasts = oks.iter().filter(|one| {
            oks.iter()
                .all(|other| other.operation.index < one.end_index())
        });
        let base = match lasts.next() {
            None => match initially {
                Some(true) => Status::In,
                Some(false) => Status::Out,
                None => Status::Open,
            },
            Some(first) if lasts.all(|other| other.kind == first.kind) => match first.kind {
                ChangeKind::Join => Status::In,
                ChangeKind::Remove => Status::Out,
            },
            Some(_) => Status::Open,
        };
        let doubt = past.iter().rev().find(|change| {
            let undecided = change.operation.outcome == Outcome::Info || change.end_ns() > at_ns;
            let agrees = match change.kind {
                ChangeKind::Join => base == Status::In,
                ChangeKind::Remove => base == Status::Out,
            };
            undecided && change.operation.outcome != Outcome::Fail && !agrees
        });
        if let Some(doubt) = doubt {
            return Standing {
                status: Status::Open,
                cause: Some(**doubt),
            };
        }
        let last = past.iter().max_by_key(|change| change.end_index());
        let alone = last.filter(|last| {
            past.iter()
                .all(|other| other.operation.index == last.operation.index || !other.overlaps(last))
        });
        Standing {
            status: base,
            cause: alone.map(|change| **change),
        }
    }
}

#[cfg(test)]
mod tests {
    use harness_core::{
        event::{Event, EventType, Process},
        history::pair,
        meta::{Meta, NodeMeta},
    };
    use serde_json::json;

    use super::*;

    /// Events of process 0, 1, … on n1: `(process, type, f)`, one a nanosecond.
    fn status_after(events: &[(u64, EventType, &str)]) -> Status {
        let history = pair(
            events
                .iter()
                .enumerate()
                .map(|(at, (process, event_type, f))| Event {
                    index: at as u64,
                    time_ns: at as u64,
                    process: Process::Client(*process),
                    node: None,
                    event_type: *event_type,
                    f: (*f).into(),
                    value: json!({"member": "n1"}),
                    error: None,
                }),
        )
        .unwrap();
        let meta = Meta {
            nodes: vec![NodeMeta {
                name: "n1".to_owned(),
                ..NodeMeta::default()
            }],
            ..Meta::default()
        };
        let roster = Roster::new(&meta, [], &[]);
        let changes = Changes {
            all: Changes::read(&history.operations, &roster),
            initial: Some(vec![false]),
        };
        changes.standing(0, 100).status
    }

    #[test]
    fn what_operations_prove() {
        use EventType::{Fail, Info, Invoke, Ok};
        assert_eq!(status_after(&[]), Status::Out);
        assert_eq!(
            status_after(&[(0, Invoke, "join"), (0, Ok, "join")]),
            Status::In
        );
        assert_eq!(
            status_after(&[(0, Invoke, "join"), (0, Fail, "join")]),
            Status::Out
        );
        assert_eq!(
            status_after(&[(0, Invoke, "join"), (0, Info, "join")]),
            Status::Open
        );
        // Overlapping, and different.
        let both = [
            (0, Invoke, "join"),
            (1, Invoke, "remove"),
            (0, Ok, "join"),
            (1, Ok, "remove"),
        ];
        assert_eq!(status_after(&both), Status::Open);
        // An info join that is followed by an ok one leaves no doubt; by an ok remove, it may still come.
        let mut after = vec![
            (0, Invoke, "join"),
            (0, Info, "join"),
            (1, Invoke, "join"),
            (1, Ok, "join"),
        ];
        assert_eq!(status_after(&after), Status::In);
        after.extend([(1, Invoke, "remove"), (1, Ok, "remove")]);
        assert_eq!(status_after(&after), Status::Open);
    }
}
