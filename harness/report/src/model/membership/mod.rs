//! Membership over time and at the end, from views and from joins and removes.
//!
//! Laws:
//! - what could not be read is drawn and told as unread, never as absent;
//! - only live nodes are held against each other: running, and certainly members ([`standing`]);
//! - nothing is judged here: that is the checker's; its proofs are linked from the lanes they are about.

pub mod cell;
pub mod invariants;
pub mod lanes;
pub mod leader;
pub mod matrix;
pub mod places;
pub mod roster;
mod spare;
pub mod standing;
pub mod sweep;
pub mod told;
pub mod words;

use std::collections::{BTreeMap, HashMap};

use harness_core::{history::Outcome, membership::ChangeKind};

use super::{ReportInput, axis::Axis, check::Check, fault::Faults, witness::WitnessView};
use crate::{
    number,
    text::{self, Anchors},
};
use lanes::{Lane, Stretch};
use leader::Led;
use matrix::Matrix;
use places::Seen;
use roster::{Id, Roster};
use standing::{Change, Standing};

/// How long sources may differ if nothing is said, milliseconds: the checker's own default.
pub const SETTLE_MS: u64 = 30_000;
/// Lanes, at most.
pub const LANE_LIMIT: usize = 40;

/// Everything about membership; only of runs that have views.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Who is who.
    pub roster: Roster,
    /// One lane a member, nodes of the lab first.
    pub lanes: Vec<Lane>,
    /// Members without a lane, because there are too many.
    pub lanes_left_out: usize,
    /// Who led when.
    pub led: Vec<Stretch<Led>>,
    /// Joins and removes.
    pub changes: Vec<Change>,
    /// The final state.
    pub matrix: Matrix,
    /// Number of readings.
    pub readings: u64,
    /// By id.
    standings: Vec<Standing>,
}

impl Membership {
    pub(super) fn new(
        input: &ReportInput<'_>,
        axis: &Axis,
        faults: &Faults,
        checks: &[Check],
        anchors: &mut Anchors,
    ) -> Option<Self> {
        if input.views.is_empty() {
            return None;
        }
        let mut roster = Roster::new(input);
        let changes = standing::changes(input, &roster);
        let seen = Seen::new(input, &mut roster, &joined(&changes));
        let initial = standing::initial(input, &roster, &changes, &seen);
        let certain: Vec<_> = (0..roster.people.len())
            .map(|id| standing::certain(id, initial.as_ref(), &changes))
            .collect();
        let standings: Vec<_> = (0..roster.people.len())
            .map(|id| Standing::of(id, &roster, initial.as_ref(), &changes))
            .collect();
        let mut members: Vec<Id> = (0..roster.people.len())
            .filter(|id| {
                changes.iter().any(|change| change.member == *id)
                    || standings[*id] == Standing::Member
                    || seen.readings.iter().any(|reading| {
                        // Everybody knows itself.
                        seen.places[reading.place].node != Some(*id)
                            && reading.said.lists(*id) == Some(true)
                    })
            })
            .collect();
        let lanes_left_out = members.len().saturating_sub(LANE_LIMIT);
        members.truncate(LANE_LIMIT);
        let until_ns = seen.until_ns.min(axis.end_ns);
        let mut stripes = sweep::stripes(&seen, &roster, &members, &certain, until_ns);
        let about = about(checks, &roster, &changes);
        let lanes: Vec<Lane> = members
            .iter()
            .map(|id| {
                let (stripes, roles) = stripes.remove(id).unwrap_or_default();
                let person = &roster.people[*id];
                let own = changes.iter().filter(|change| change.member == *id);
                let struck = |place: &usize| {
                    let nodes = &faults.rows[*place].nodes;
                    nodes.contains(&person.name)
                };
                Lane {
                    anchor: anchors.claim(&format!("lane-{}", text::slug(&person.name))),
                    member: *id,
                    name: person.name.clone(),
                    stripes,
                    roles,
                    stopped: {
                        let (from_ns, to_ns) =
                            concerned(*id, &certain[*id], &standings[*id], &changes);
                        let spans = seen.stopped(*id, until_ns).into_iter();
                        spans
                            .map(|(from, to)| (from.max(from_ns), to.min(to_ns)))
                            .filter(|(from, to)| from < to)
                            .collect()
                    },
                    changes: lanes::levels(own.cloned().collect()),
                    faults: (0..faults.rows.len()).filter(struck).collect(),
                    witnesses: about
                        .iter()
                        .filter(|(_, subject)| **subject == *id)
                        .map(|(number, _)| *number)
                        .collect(),
                }
            })
            .collect();
        let by_member: BTreeMap<Id, String> = lanes
            .iter()
            .map(|lane| (lane.member, lane.anchor.clone()))
            .collect();
        Some(Self {
            led: leader::led(&seen, &roster, until_ns),
            matrix: matrix::matrix(
                &seen,
                &matrix::Context {
                    roster: &roster,
                    standings: &standings,
                    certain: &certain,
                    changes: &changes,
                    lanes: &by_member,
                    settle_ns: settle_ns(input),
                },
            ),
            readings: seen.count,
            lanes,
            lanes_left_out,
            changes,
            standings,
            roster,
        })
    }

    /// Whom a proof of the membership checker is about.
    #[must_use]
    pub fn subject(&self, witness: &WitnessView) -> Option<Id> {
        subject(witness, &self.roster, &self.changes)
    }

    /// The lane of a member.
    #[must_use]
    pub fn lane(&self, member: Id) -> Option<&Lane> {
        self.lanes.iter().find(|lane| lane.member == member)
    }

    /// Those that operations say are members at the end.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        let people = self.roster.people.iter().zip(&self.standings);
        people
            .filter(|(_, standing)| **standing == Standing::Member)
            .map(|(person, _)| person.name.as_str())
    }
}

/// From when to when it matters whether a node runs: one that stands ready, or was removed, may be stopped.
fn concerned(
    id: Id,
    certain: &[(u64, bool)],
    standing: &Standing,
    changes: &[Change],
) -> (u64, u64) {
    let own = || changes.iter().filter(|change| change.member == id);
    let first = certain.first().is_some_and(|(_, member)| *member);
    let from_ns = match first {
        true => 0,
        false => own()
            .map(|change| change.start_ns)
            .min()
            .unwrap_or(u64::MAX),
    };
    let to_ns = match standing {
        Standing::Removed(index) => own()
            .find(|change| change.index == *index)
            .and_then(|change| change.end_ns)
            .unwrap_or(u64::MAX),
        _ => u64::MAX,
    };
    (from_ns, to_ns)
}

/// How long sources may differ after a disturbance, as the checker was told.
fn settle_ns(input: &ReportInput<'_>) -> u64 {
    let told = input.meta.workload_options.get("settle_ms");
    let settle_ms = told.and_then(serde_json::Value::as_u64);
    settle_ms
        .unwrap_or(SETTLE_MS)
        .saturating_mul(number::NS_PER_MS)
}

/// When joins of each member ended ok.
fn joined(changes: &[Change]) -> HashMap<Id, Vec<u64>> {
    let mut joined: HashMap<Id, Vec<u64>> = HashMap::new();
    for change in changes {
        if let (ChangeKind::Join, Outcome::Ok, Some(end_ns)) =
            (change.kind, change.outcome, change.end_ns)
        {
            joined.entry(change.member).or_default().push(end_ns);
        }
    }
    joined
}

/// Whom the proofs of membership invariants are about, by number.
fn about(checks: &[Check], roster: &Roster, changes: &[Change]) -> BTreeMap<usize, Id> {
    checks
        .iter()
        .filter(|check| check.invariant.is_some())
        .flat_map(|check| &check.witnesses)
        .filter_map(|witness| Some((witness.number, subject(witness, roster, changes)?)))
        .collect()
}

/// Whom its headline names, else the one member that its joins and removes are about.
fn subject(witness: &WitnessView, roster: &Roster, changes: &[Change]) -> Option<Id> {
    roster.named_in(&witness.title).or_else(|| {
        let mut members = witness.operations.iter().filter_map(|shown| {
            let change = changes.iter().find(|change| change.index == shown.index);
            change
                .filter(|_| !shown.neighbour)
                .map(|change| change.member)
        });
        let first = members.next()?;
        members.all(|member| member == first).then_some(first)
    })
}
