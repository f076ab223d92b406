//! What a decoded folder says, as readings: members, and where in the log they stand.

use dqlite_wire::{
    Role as WireRole,
    raft::{ConfigurationAt, Folder, Origin},
};
use harness_core::view::{LOG, Member, RaftPosition, Reading, Role};
use harness_lab::capability::PlaceReading;

use super::LABEL;

/// How many older configurations are told with the newest one.
pub const OLDER_LIMIT: usize = 16;

fn role(role: WireRole) -> Role {
    match role {
        WireRole::Voter => Role::Voter,
        WireRole::StandBy => Role::StandBy,
        WireRole::Spare => Role::Spare,
    }
}

/// A server of raft as a member of a view.
#[must_use]
pub fn member(id: u64, address: &str, of: Option<WireRole>) -> Member {
    Member {
        address: Some(address.to_owned()),
        raft_id: Some(id),
        role: of.map(role),
        ..Member::default()
    }
}

/// What a folder says, as readings: see [`Reader::read`].
pub(super) fn readings(folder: &Folder) -> Vec<PlaceReading> {
    let all = folder.configurations();
    let covered = covered_index(folder);
    let last_change = all.iter().rposition(|at| at.origin == Origin::Log);
    let told = all.iter().enumerate().rev().take(OLDER_LIMIT + 1);
    let mut readings: Vec<PlaceReading> = told
        .filter(|(place, at)| place + 1 == all.len() || at.origin == Origin::Log)
        .map(|(place, at)| PlaceReading {
            label: Some(if place + 1 == all.len() { LABEL } else { LOG }),
            reading: Reading::Members(members(at)),
            raft: Some(RaftPosition {
                term: folder.term(),
                ..position(
                    at,
                    place.checked_sub(1).map(|before| &all[before]),
                    last_change.is_some_and(|last| place < last),
                    covered,
                )
            }),
        })
        .collect();
    if readings.is_empty() {
        readings.push(PlaceReading {
            label: Some(LABEL),
            reading: Reading::Members(Vec::new()),
            raft: folder.term().map(|term| RaftPosition {
                term: Some(term),
                ..RaftPosition::default()
            }),
        });
    }
    readings
}

fn members(at: &ConfigurationAt<'_>) -> Vec<Member> {
    let servers = at.configuration.servers.iter();
    servers
        .map(|server| member(server.id, &server.address, Some(server.role)))
        .collect()
}

/// The last index that the newest snapshot proves committed in this log; none if the log has another entry there, as it can
/// for a moment while a snapshot is installed.
fn covered_index(folder: &Folder) -> Option<u64> {
    let id = folder.snapshots.last()?.id;
    let mut entries = folder.entries();
    let agrees = entries
        .find(|(index, _)| *index == id.index)
        .is_none_or(|(_, entry)| entry.term == id.term);
    agrees.then_some(id.index)
}

fn position(
    at: &ConfigurationAt<'_>,
    before: Option<&ConfigurationAt<'_>>,
    is_followed: bool,
    covered: Option<u64>,
) -> RaftPosition {
    if at.origin == Origin::Snapshot {
        // Neither its index nor that it is committed is proven.
        return RaftPosition::default();
    }
    let is_covered = covered.is_some_and(|covered| at.index <= covered);
    RaftPosition {
        index: Some(at.index),
        entry_term: at.term,
        previous_index: before
            .filter(|before| before.origin == Origin::Log)
            .map(|before| before.index),
        committed: (at.index == 1 || is_followed || is_covered).then_some(true),
        ..RaftPosition::default()
    }
}
