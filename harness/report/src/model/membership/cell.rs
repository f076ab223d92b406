//! One cell of the final state: what one place says of one member, and what of that is odd.

use std::collections::BTreeMap;

use harness_core::view::{Member, MemberState, Source};

use super::{
    matrix::{Last, NodeState, place_name},
    places::Said,
    roster::{Id, Roster},
};
use crate::{number, text};

/// Characters of a fingerprint that are shown.
const PRINT_CHARS: usize = 8;
/// Characters of an address that are shown.
const ADDRESS_CHARS: usize = 60;

/// What a cell is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The place lists the member.
    In,
    /// It does not.
    Out,
    /// It could not be read.
    Unread,
    /// The node does not run.
    Stopped,
}

/// What one place says of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// What it is.
    pub kind: Kind,
    /// What differs, in a word or two; empty if nothing does.
    pub differs: String,
    /// What stands there, in full: `raft of n2 at 119.20 s: voter, raft id 2`.
    pub help: String,
    /// Whether it is the first cell of a source.
    pub first: bool,
    /// Whether it is held against the row.
    pub counts: bool,
    /// Why it could not be read, in a word.
    pub why: &'static str,
}

impl Cell {
    /// Whether it says the same as another of its row.
    pub(super) fn says(&self, other: &Self) -> bool {
        let said = |cell: &Self| (cell.kind, cell.differs.clone(), cell.counts, cell.why);
        said(self) == said(other)
    }
}

/// What most say; the first of those that as many say.
pub(super) fn most<T: Ord + Clone>(said: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: BTreeMap<T, usize> = BTreeMap::new();
    for one in said {
        *counts.entry(one).or_default() += 1;
    }
    let best = counts.values().copied().max()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == best)
        .map(|(one, _)| one)
}

/// What a row is held against.
pub(super) struct Expected {
    pub inside: bool,
    pub member: Member,
}

pub(super) fn short_print(print: &str) -> String {
    text::one_line(print).chars().take(PRINT_CHARS).collect()
}

pub(super) fn cell(
    id: Id,
    last: &Last<'_>,
    roster: &Roster,
    expected: &Expected,
    first: bool,
) -> Cell {
    let counts = last.state == NodeState::Live;
    let entries: Vec<&Member> = last.reading.said.entries(id).collect();
    let (kind, why, what) = match (&last.reading.said, entries.is_empty()) {
        (Said::Stopped, _) => (Kind::Stopped, "", "the node does not run".to_owned()),
        (Said::Unread { kind, message }, _) => {
            (Kind::Unread, *kind, format!("unread, {kind}: {message}"))
        }
        (Said::Members(_), true) => (Kind::Out, "", "not listed".to_owned()),
        (Said::Members(_), false) => {
            let told: Vec<String> = entries.iter().map(|entry| tell(entry)).collect();
            (Kind::In, "", told.join("; and again "))
        }
    };
    let differs = match kind {
        _ if !counts => String::new(),
        Kind::In => odd(&entries, last.place.source, expected),
        Kind::Out if expected.inside => "absent".to_owned(),
        _ => String::new(),
    };
    Cell {
        kind,
        differs,
        help: format!(
            "{}, {} of {}: {what}, since {}",
            roster.people[id].name,
            place_name(last.place),
            roster.people[last.node].name,
            number::instant(last.reading.start_ns)
        ),
        first,
        counts,
        why,
    }
}

/// What is odd about how a place lists a member; empty if nothing is.
fn odd(entries: &[&Member], source: Source, expected: &Expected) -> String {
    let mut odd: Vec<String> = Vec::new();
    if !expected.inside {
        odd.push("in".to_owned());
    }
    if entries.len() > 1 {
        odd.push(format!("{} times", entries.len()));
    }
    for entry in entries {
        if entry.state == Some(MemberState::Pending) {
            odd.push("pending".to_owned());
        }
        let usual = &expected.member;
        if entry.role.is_some() && entry.role != usual.role {
            odd.extend(entry.role.map(|role| role.as_str().to_owned()));
        }
        // A database numbers its own rows; only raft's numbers are held against each other.
        if entry.raft_id.is_some() && entry.raft_id != usual.raft_id && source != Source::Database {
            odd.extend(entry.raft_id.map(|id| format!("id {id}")));
        }
        if entry.fingerprint.is_some() && entry.fingerprint != usual.fingerprint {
            odd.extend(entry.fingerprint.as_deref().map(short_print));
        }
    }
    odd.dedup();
    odd.join(", ")
}

fn tell(entry: &Member) -> String {
    let mut told = Vec::new();
    match entry.state {
        Some(MemberState::Pending) => told.push("pending".to_owned()),
        Some(MemberState::Evacuated) => told.push("evacuated".to_owned()),
        Some(MemberState::Active) | None => {}
    }
    told.extend(entry.role.map(|role| role.as_str().to_owned()));
    told.extend(entry.raft_id.map(|id| format!("raft id {id}")));
    let address = entry.address.as_deref();
    told.extend(address.map(|address| text::clip(address, ADDRESS_CHARS)));
    told.extend(
        entry
            .fingerprint
            .as_deref()
            .map(|print| format!("certificate {}", short_print(print))),
    );
    if told.is_empty() {
        "listed".to_owned()
    } else {
        told.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use harness_core::view::Role;

    use super::*;

    #[test]
    fn what_most_say_is_the_first_of_equals() {
        assert_eq!(most([3, 1, 3, 1].into_iter()), Some(1));
        assert_eq!(most([3, 1, 3].into_iter()), Some(3));
        assert_eq!(most(std::iter::empty::<u8>()), None);
    }

    #[test]
    fn an_entry_is_odd_where_it_is_not_as_expected() {
        let usual = Member {
            role: Some(Role::Voter),
            raft_id: Some(2),
            fingerprint: Some("9f2c11223344".to_owned()),
            ..Member::default()
        };
        let expected = |inside| Expected {
            inside,
            member: usual.clone(),
        };
        let odd_with = |change: &dyn Fn(&mut Member)| {
            let mut entry = usual.clone();
            change(&mut entry);
            odd(&[&entry], Source::Raft, &expected(true))
        };
        assert_eq!(odd_with(&|_| {}), "");
        assert_eq!(odd_with(&|entry| entry.role = Some(Role::Spare)), "spare");
        assert_eq!(odd_with(&|entry| entry.raft_id = Some(7)), "id 7");
        assert_eq!(
            odd_with(&|entry| entry.state = Some(MemberState::Pending)),
            "pending"
        );
        assert_eq!(
            odd_with(&|entry| entry.fingerprint = Some("aa00bb11cc22".to_owned())),
            "aa00bb11"
        );
        assert_eq!(odd(&[&usual], Source::Raft, &expected(false)), "in");
        assert_eq!(
            odd(&[&usual, &usual], Source::Raft, &expected(true)),
            "2 times"
        );
    }
}
