//! The other half of `membership-progress`: is the way open that a user goes whose join broke off?
//!
//! ```text
//! join (info) ──▶ the same again, unwiped ──▶ removal by force ──▶ join of the wiped node
//! ```
//!
//! Whoever wipes a node can often join it, and says nothing then of what stood in the way. So it is a finding that names the member,
//! whatever worked at last:
//! - a removal of a member in doubt that is **refused as not found**, while database or truststore hold the member;
//! - a join asked for again of the node as it is, and **refused**, unless every source holds the member: then it is right.
//!
//! What sources held is what the last complete sample before the operation said, after the last thing that was done to the member
//! and may have had an effect. Without such a sample it is unknown. Of what was refused under a fault nothing is said.

use harness_core::{
    event::ANSWERED_ERROR,
    history::Outcome,
    membership::{ChangeKind, Purpose, RETRY_UNWIPED},
    view::{MemberState, Source},
};

use super::{
    analysis::Analysis,
    changes::Change,
    judgement::{Finding, Judgement, listed},
    presence::sources_of,
    quiet::{Settled, Window, complete},
    roster::Id,
};
use crate::words::Clock;

/// The kind of error of a removal of somebody whom the product does not know.
const NOT_FOUND: &str = "not-found";
/// Kinds of `fail` that are no word of the product's: nobody was asked, or nobody answered.
const NOT_ITS_WORD: [&str; 9] = [
    "killed",
    "no-member",
    "nonsense",
    "not-allowed",
    "not-begun",
    "not-ready",
    "not-sent",
    "not-wiped",
    "timeout",
];

/// Whether a join is one of a node as it was left.
pub(super) fn unwiped(change: &Change<'_>) -> bool {
    &*change.operation.f == RETRY_UNWIPED
}

fn kind<'a>(change: &Change<'a>) -> &'a str {
    let error = change.operation.error.as_ref();
    error.map_or("", |error| &error.kind)
}

fn refused(change: &Change<'_>) -> bool {
    match change.operation.outcome {
        Outcome::Ok => false,
        Outcome::Fail => !NOT_ITS_WORD.contains(&kind(change)),
        Outcome::Info => kind(change) == ANSWERED_ERROR,
    }
}

/// What all sources said last before an operation on a member.
fn before<'a>(analysis: &Analysis<'a>, change: &Change<'a>) -> Option<Settled<'a>> {
    let end_ns = change.operation.invoked_ns;
    let done = analysis.changes.of(change.member).filter(|other| {
        other.operation.outcome != Outcome::Fail && other.operation.invoked_ns < end_ns
    });
    let start_ns = done.map(Change::end_ns).max().unwrap_or(0);
    let window = Window { start_ns, end_ns };
    analysis.by_sample.iter().rev().find_map(|sample| {
        let inside: Vec<usize> = sample
            .iter()
            .copied()
            .filter(|number| {
                let view = analysis.readings[*number].view;
                start_ns <= view.start_ns && view.end_ns <= end_ns
            })
            .collect();
        let first = inside.first()?;
        let at_ns = analysis.readings[*first].view.start_ns;
        complete(analysis, window, at_ns, &inside).ok()
    })
}

/// Readings that list a member.
fn holding(analysis: &Analysis<'_>, seen: &Settled<'_>, member: Id) -> Vec<usize> {
    let lists = |number: &usize| analysis.readings[*number].lists(member);
    seen.readings.iter().copied().filter(lists).collect()
}

/// Whether every source holds it, and none as pending.
fn is_full(analysis: &Analysis<'_>, seen: &Settled<'_>, member: Id) -> bool {
    seen.readings.iter().all(|number| {
        let mut entries = analysis.readings[*number].entries(member).peekable();
        entries.peek().is_some() && entries.all(|entry| entry.state != Some(MemberState::Pending))
    })
}

/// The last of a member's operations of which that holds, with what sources held before it.
fn contradicted<'b, 'a>(
    analysis: &Analysis<'a>,
    probes: &[&'b Change<'a>],
    which: impl Fn(&Change<'a>) -> bool,
    contradicts: impl Fn(&Settled<'a>) -> bool,
    judgement: &mut Judgement,
) -> Option<(&'b Change<'a>, Settled<'a>)> {
    let undisturbed = |change: &&&Change<'a>| {
        let end_ns = change.end_ns().min(analysis.horizon_ns);
        let faults = analysis.faults_during(change.operation.invoked_ns, end_ns);
        faults.is_empty()
    };
    let mut tried = probes.iter().filter(|change| which(change));
    let last = tried.rfind(undisturbed)?;
    let Some(seen) = before(analysis, last) else {
        let name = analysis.name(last.member);
        let why = format!(
            "whether {name} was in doubt when operation {} ({} {name}) was refused nobody saw: no complete sample lies before it",
            last.operation.index, last.operation.f
        );
        judgement.gaps.push(("not-seen", why));
        return None;
    };
    contradicts(&seen).then_some((last, seen))
}

/// Judges the way of one member.
pub(super) fn judge(
    analysis: &Analysis<'_>,
    member: Id,
    probes: &[&Change<'_>],
    judgement: &mut Judgement,
) {
    let in_store = |seen: &Settled<'_>| {
        holding(analysis, seen, member).iter().any(|number| {
            let source = analysis.readings[*number].view.source;
            matches!(source, Source::Database | Source::Truststore)
        })
    };
    let kept = [Source::Database, Source::Truststore];
    let removal = kept
        .iter()
        .any(|source| analysis.rules.has(*source))
        .then(|| {
            let which = |change: &Change<'_>| {
                change.is(ChangeKind::Remove, Outcome::Fail) && kind(change) == NOT_FOUND
            };
            contradicted(analysis, probes, which, in_store, judgement)
        })
        .flatten();
    let which = |change: &Change<'_>| unwiped(change) && refused(change);
    let half = |seen: &Settled<'_>| !is_full(analysis, seen, member);
    let retry = contradicted(analysis, probes, which, half, judgement);
    let name = analysis.name(member);
    let (mut what, mut operations, mut story) = (Vec::new(), Vec::new(), String::new());
    for (words, found) in [("joining it again", &retry), ("removing it", &removal)] {
        let Some((change, seen)) = found else {
            continue;
        };
        let by_force = change.operation.input.get("force") == Some(&true.into());
        what.push(if by_force {
            format!("{words} by force")
        } else {
            words.to_owned()
        });
        operations.push(change.operation);
        let clock = Clock::spanning([seen.until_ns, change.end_ns()]);
        let held = holding(analysis, seen, member);
        let held = match held.as_slice() {
            [] => "no source".to_owned(),
            held => sources_of(analysis, held),
        };
        story.push_str(&format!(
            "At {} {name} was in {held}. {} ",
            clock.at(seen.until_ns),
            analysis.tell(change)
        ));
    }
    if operations.is_empty() {
        return;
    }
    let first = operations.iter().map(|operation| operation.index).min();
    let worked = probes.iter().find(|change| {
        change.is(ChangeKind::Join, Outcome::Ok)
            && !unwiped(change)
            && Some(change.operation.index) > first
    });
    story.push_str(&match worked {
        Some(change) => format!(
            "What worked at last was to wipe the node and join it. {}",
            analysis.tell(change)
        ),
        None => "Nothing that was tried after that joined it.".to_owned(),
    });
    let in_doubt = |change: &&Change<'_>| {
        change.purpose == Purpose::Load && change.operation.outcome == Outcome::Info
    };
    let doubt = analysis.changes.of(member).filter(in_doubt).last();
    judgement.add(
        Finding::new(
            "way-out-refused",
            format!("{name}, in doubt: {} refused", is_are(&what)),
            format!("{name} cannot be mended as it is."),
            story,
        )
        .about(&operations)
        .on([name.to_owned()])
        .led_by(analysis, doubt),
    );
}

fn is_are(what: &[String]) -> String {
    let verb = if what.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", listed(what))
}
