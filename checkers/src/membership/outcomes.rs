//! Operations against state: what an operation said, and what the sources hold at quiescence.
//!
//! Each is judged in the quiet windows in which it is the last word on its member (no other operation on that member
//! overlapped it or came later):
//!
//! | operation | invariant | every source of every live member |
//! | --- | --- | --- |
//! | join ok | `ok-join-durable` | holds it |
//! | join fail, of no member | `fail-join-clean` | does not hold it |
//! | join info | `info-join-atomic` | says the same: in, or not in |
//! | remove ok | `ok-remove-complete` | does not hold it |
//! | remove fail, of a member | `fail-remove-intact` | holds it |
//! | remove info | `info-remove-atomic` | says the same |
//!
//! Indeterminate operations that the last ok operation does not settle are judged in each window, whatever failed since.

use harness_core::{history::Outcome, membership::ChangeKind};

use super::{
    analysis::Analysis,
    changes::{Change, Status},
    judgement::{Finding, Judgement, nodes_of},
    presence::{readings_that, sources_of, told},
    quiet::Settled,
};

/// What the sources must say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    In,
    Out,
    Same,
}

struct Rule {
    kind: ChangeKind,
    outcome: Outcome,
    status: Status,
    expected: Expected,
    witness: &'static str,
    valid: &'static str,
}

fn judge(analysis: &Analysis<'_>, rule: &Rule) -> Judgement {
    let candidates = analysis
        .changes
        .all
        .iter()
        .filter(|change| change.is(rule.kind, rule.outcome))
        .count();
    if candidates == 0 {
        return Judgement::not_applicable(format!(
            "no {} ended {}",
            match rule.kind {
                ChangeKind::Join => "join",
                ChangeKind::Remove => "remove",
            },
            rule.outcome.as_str()
        ));
    }
    let mut judged: Vec<u64> = Vec::new();
    let mut judgement = Judgement::at_quiescence(analysis, rule.valid, |settled| {
        let mut findings = Vec::new();
        for standing in &settled.standings {
            let Some(cause) = standing.cause else {
                continue;
            };
            if standing.status != rule.status || !cause.is(rule.kind, rule.outcome) {
                continue;
            }
            judged.push(cause.operation.index);
            findings.extend(contradiction(analysis, settled, &cause, rule));
        }
        findings
    });
    judged.sort_unstable();
    judged.dedup();
    judgement.looked_at = judged.len();
    if judged.is_empty() && judgement.gaps.is_empty() {
        return Judgement::not_applicable(
            "each such operation was followed by another on the same member before it was quiet",
        );
    }
    judgement
}

fn contradiction(
    analysis: &Analysis<'_>,
    settled: &Settled<'_>,
    change: &Change<'_>,
    rule: &Rule,
) -> Option<Finding> {
    let inside = readings_that(analysis, settled, change.member, true);
    let outside = readings_that(analysis, settled, change.member, false);
    let (wrong, is) = match rule.expected {
        Expected::In => (outside, "not in"),
        Expected::Out => (inside, "in"),
        Expected::Same if inside.is_empty() || outside.is_empty() => return None,
        Expected::Same => (inside, "in"),
    };
    if wrong.is_empty() {
        return None;
    }
    let name = analysis.name(change.member);
    let (places, since_ns) = told(analysis, settled, change.member, &wrong);
    let mut story = format!("{name} is {is} {places}.");
    if rule.expected == Expected::Same {
        let others = readings_that(analysis, settled, change.member, false);
        let (others, _) = told(analysis, settled, change.member, &others);
        story.push_str(&format!(" It is not in {others}."));
    }
    let f = &change.operation.f;
    let outcome = rule.outcome.as_str();
    Some(
        Finding::new(
            rule.witness,
            format!(
                "{name} {is} {} after a {f} that was {outcome}",
                sources_of(analysis, &wrong)
            ),
            match rule.expected {
                Expected::In => format!("{name} should be a member everywhere."),
                Expected::Out => format!("{name} should be nowhere."),
                Expected::Same => format!("The {f} of {name} took effect by halves."),
            },
            story,
        )
        .between(since_ns, settled.until_ns)
        .on(nodes_of(analysis, &wrong))
        .on([name.to_owned()])
        .led_by(analysis, Some(change)),
    )
}

pub(super) fn ok_join_durable(analysis: &Analysis<'_>) -> Judgement {
    judge(
        analysis,
        &Rule {
            kind: ChangeKind::Join,
            outcome: Outcome::Ok,
            status: Status::In,
            expected: Expected::In,
            witness: "joined-and-gone",
            valid: "whoever joined is in every source",
        },
    )
}

pub(super) fn fail_join_clean(analysis: &Analysis<'_>) -> Judgement {
    judge(
        analysis,
        &Rule {
            kind: ChangeKind::Join,
            outcome: Outcome::Fail,
            status: Status::Out,
            expected: Expected::Out,
            witness: "remains-of-a-join",
            valid: "refused joins left nothing",
        },
    )
}

pub(super) fn info_join_atomic(analysis: &Analysis<'_>) -> Judgement {
    judge(
        analysis,
        &Rule {
            kind: ChangeKind::Join,
            outcome: Outcome::Info,
            status: Status::Open,
            expected: Expected::Same,
            witness: "half-a-join",
            valid: "indeterminate joins took effect everywhere or nowhere",
        },
    )
}

pub(super) fn ok_remove_complete(analysis: &Analysis<'_>) -> Judgement {
    judge(
        analysis,
        &Rule {
            kind: ChangeKind::Remove,
            outcome: Outcome::Ok,
            status: Status::Out,
            expected: Expected::Out,
            witness: "removed-and-there",
            valid: "whoever was removed is in no source",
        },
    )
}

pub(super) fn fail_remove_intact(analysis: &Analysis<'_>) -> Judgement {
    judge(
        analysis,
        &Rule {
            kind: ChangeKind::Remove,
            outcome: Outcome::Fail,
            status: Status::In,
            expected: Expected::In,
            witness: "harmed-by-a-refused-remove",
            valid: "refused removes changed nothing",
        },
    )
}

pub(super) fn info_remove_atomic(analysis: &Analysis<'_>) -> Judgement {
    judge(
        analysis,
        &Rule {
            kind: ChangeKind::Remove,
            outcome: Outcome::Info,
            status: Status::Open,
            expected: Expected::Same,
            witness: "half-a-remove",
            valid: "indeterminate removes took effect everywhere or nowhere",
        },
    )
}
