//! `restart-one-restores`: two members were stopped at once and service may have been lost; starting *one* of them gives it back.
//!
//! Judged where two faults that stop one member each held at the same time, the two being half of the members or more,
//! and one was healed before the other. A write must succeed between the two heals: of whoever asks for one, or of the data that
//! clients write beside the changes.

use harness_core::{
    fault::FaultRecord,
    history::{Operation, Outcome},
    membership::{DATA_WRITE, WRITE_PROBE},
};

use super::{
    analysis::{Analysis, because},
    changes::Status,
    judgement::{Finding, Judgement},
    safety::stops,
};
use crate::words::{self, Clock, end_ns};

/// Two members were down from one time to another, then one of them.
struct Case<'a> {
    started: &'a FaultRecord,
    down: &'a FaultRecord,
    /// When one was started again.
    from_ns: u64,
    /// When somebody began to start the other.
    until_ns: u64,
}

pub(super) fn restart_one_restores(analysis: &Analysis<'_>) -> Judgement {
    let cases = cases(analysis);
    if cases.is_empty() {
        return Judgement::not_applicable(
            "half of the members were never down with one started before the other",
        );
    }
    let mut judgement = Judgement {
        looked_at: cases.len(),
        valid: format!(
            "starting one restored service, {}",
            words::plural(cases.len(), "time", "times")
        ),
        ..Judgement::default()
    };
    for case in &cases {
        judge(analysis, case, &mut judgement);
    }
    judgement
}

fn cases<'a>(analysis: &Analysis<'a>) -> Vec<Case<'a>> {
    let alone: Vec<&FaultRecord> = analysis
        .input
        .faults
        .iter()
        .filter(|fault| stops(fault) && fault.took_hold() && fault.nodes.len() == 1)
        .collect();
    let mut cases = Vec::new();
    for started in &alone {
        for down in &alone {
            let Some(from_ns) = started.healed_ns else {
                continue;
            };
            let until_ns = down
                .heal_asked_ns
                .or(down.healed_ns)
                .unwrap_or(analysis.horizon_ns);
            let began_ns = started
                .observed_ns
                .max(down.observed_ns)
                .unwrap_or(u64::MAX);
            let together = started.nodes != down.nodes && began_ns < from_ns && from_ns < until_ns;
            let third = alone.iter().any(|other| {
                other.id != started.id
                    && other.id != down.id
                    && other.intended_ns < until_ns
                    && other.healed_ns.unwrap_or(u64::MAX) > from_ns
            });
            if !together || third {
                continue;
            }
            let members: Vec<&str> = analysis
                .roster
                .ids()
                .filter(|id| analysis.standing(*id, began_ns).status == Status::In)
                .map(|id| analysis.name(id))
                .collect();
            let both = [&started.nodes[0], &down.nodes[0]];
            let of_members = both.iter().all(|node| members.contains(&node.as_str()));
            // With two members, one alone is no majority.
            if of_members && (3..=4).contains(&members.len()) {
                cases.push(Case {
                    started,
                    down,
                    from_ns,
                    until_ns,
                });
            }
        }
    }
    cases
}

fn judge(analysis: &Analysis<'_>, case: &Case<'_>, judgement: &mut Judgement) {
    let (started, down) = (&case.started.nodes[0], &case.down.nodes[0]);
    let attempts: Vec<&Operation> = analysis
        .input
        .history
        .operations
        .iter()
        .filter(|operation| [WRITE_PROBE, DATA_WRITE].contains(&&*operation.f))
        .filter(|operation| operation.invoked_ns >= case.from_ns)
        .filter(|operation| {
            operation
                .completed_ns
                .is_some_and(|end| end <= case.until_ns)
        })
        .collect();
    if attempts
        .iter()
        .any(|attempt| attempt.outcome == Outcome::Ok)
    {
        return;
    }
    let limit_ns = case
        .from_ns
        .saturating_add(analysis.rules.recovery_timeout_ns);
    let Some(last) = attempts.last().filter(|last| end_ns(last) >= limit_ns) else {
        let why = format!(
            "after {started} was started while {down} was down, nobody tried a write for long enough"
        );
        judgement.gaps.push(("not-tried", why));
        return;
    };
    let clock = Clock::spanning([case.from_ns, end_ns(last)]);
    judgement.add(
        Finding::new(
            "not-restored",
            format!("no write after {started} was started"),
            "Starting one member did not restore service.".to_owned(),
            format!(
                "{started} and {down} were down at once; {started} ran again at {}, and {} up to {} all failed{}.",
                clock.at(case.from_ns),
                words::plural(attempts.len(), "write", "writes"),
                clock.at(end_ns(last)),
                because(last)
            ),
        )
        .about(&[*last])
        .on([started.clone(), down.clone()]),
    );
}
