//! Whom sources hold at quiescence: `no-ghost`, `no-lost`, `no-pending`.
//!
//! A **ghost** is in a source of a live member, though it was removed or never joined, or is foreign. Somebody is **lost**
//! who joined, was not removed, and is missing from a source. A member whose own join or remove is indeterminate can be
//! neither. All sources count, caches too: the settle time is theirs to catch up.

use harness_core::view::{MemberState, Source};

use super::{
    analysis::Analysis,
    changes::Status,
    judgement::{Finding, Judgement, listed, nodes_of, since},
    quiet::Settled,
    roster::Id,
};
use crate::words::Clock;

pub(super) fn no_ghost(analysis: &Analysis<'_>) -> Judgement {
    Judgement::at_quiescence(analysis, "nobody is listed who should not be", |settled| {
        let ghosts = analysis.roster.ids().filter(|id| {
            settled.standings[*id].status == Status::Out || analysis.roster.is_foreign(*id)
        });
        ghosts
            .filter_map(|id| misplaced(analysis, settled, id, true))
            .collect()
    })
}

pub(super) fn no_lost(analysis: &Analysis<'_>) -> Judgement {
    Judgement::at_quiescence(analysis, "every member is listed everywhere", |settled| {
        analysis
            .roster
            .ids()
            .filter(|id| settled.standings[*id].status == Status::In)
            .filter_map(|id| misplaced(analysis, settled, id, false))
            .collect()
    })
}

/// Readings that list the member, or that do not.
pub(super) fn readings_that(
    analysis: &Analysis<'_>,
    settled: &Settled<'_>,
    id: Id,
    list: bool,
) -> Vec<usize> {
    settled
        .readings
        .iter()
        .copied()
        .filter(|number| analysis.readings[*number].lists(id) == list)
        .collect()
}

/// Places that list a member, or that do not, and since when.
pub(super) fn told(
    analysis: &Analysis<'_>,
    settled: &Settled<'_>,
    id: Id,
    wrong: &[usize],
) -> (String, u64) {
    let since_ns = wrong
        .iter()
        .map(|number| since(analysis, *number, id))
        .min()
        .unwrap_or(settled.since_ns);
    let places: Vec<String> = wrong
        .iter()
        .map(|number| analysis.place_name(analysis.readings[*number].place))
        .collect();
    let clock = Clock::spanning([since_ns, settled.until_ns]);
    let words = format!(
        "{}, since {} and still at {}",
        listed(&places),
        clock.at(since_ns),
        clock.at(settled.until_ns)
    );
    (words, since_ns)
}

/// Sources of readings, each once: `database+raft`.
pub(super) fn sources_of(analysis: &Analysis<'_>, readings: &[usize]) -> String {
    let found = Source::ALL.into_iter().filter(|source| {
        readings
            .iter()
            .any(|number| analysis.readings[*number].view.source == *source)
    });
    found.map(Source::as_str).collect::<Vec<_>>().join("+")
}

fn misplaced(
    analysis: &Analysis<'_>,
    settled: &Settled<'_>,
    id: Id,
    ghost: bool,
) -> Option<Finding> {
    let wrong = readings_that(analysis, settled, id, ghost);
    if wrong.is_empty() {
        return None;
    }
    let name = analysis.name(id);
    let (places, since_ns) = told(analysis, settled, id, &wrong);
    let sources = sources_of(analysis, &wrong);
    let cause = settled.standings[id].cause;
    let finding = if ghost {
        let why = if analysis.roster.is_foreign(id) {
            "matches no node of the lab"
        } else if cause.is_some() {
            "is no member"
        } else {
            "never joined"
        };
        Finding::new(
            "ghost",
            format!("{name} still in {sources}"),
            format!("{name} is a ghost."),
            format!("{name} {why}, but is in {places}."),
        )
    } else {
        Finding::new(
            "lost",
            format!("{name} missing from {sources}"),
            format!("{name} is lost."),
            format!("{name} is a member, but is missing from {places}."),
        )
    };
    Some(
        finding
            .between(since_ns, settled.until_ns)
            .on(nodes_of(analysis, &wrong))
            .on([name.to_owned()])
            .led_by(analysis, cause.as_ref()),
    )
}

pub(super) fn no_pending(analysis: &Analysis<'_>) -> Judgement {
    if !analysis.rules.has(Source::Database) {
        return Judgement::not_applicable("this system keeps no rows that could be pending");
    }
    Judgement::at_quiescence(analysis, "nobody is pending", |settled| {
        analysis
            .roster
            .ids()
            .filter_map(|id| pending(analysis, settled, id))
            .collect()
    })
}

fn pending(analysis: &Analysis<'_>, settled: &Settled<'_>, id: Id) -> Option<Finding> {
    let is_pending = |number: &usize| {
        analysis.readings[*number]
            .entries(id)
            .any(|member| member.state == Some(MemberState::Pending))
    };
    let wrong: Vec<usize> = settled
        .readings
        .iter()
        .copied()
        .filter(is_pending)
        .collect();
    if wrong.is_empty() {
        return None;
    }
    let name = analysis.name(id);
    let (places, since_ns) = told(analysis, settled, id, &wrong);
    let cause = settled.standings[id].cause;
    Some(
        Finding::new(
            "pending",
            format!("{name} pending in {}", sources_of(analysis, &wrong)),
            format!("{name} never stopped being pending."),
            format!("{name} is listed in {places}, and is pending though nothing is under way."),
        )
        .between(since_ns, settled.until_ns)
        .on(nodes_of(analysis, &wrong))
        .on([name.to_owned()])
        .led_by(analysis, cause.as_ref()),
    )
}
