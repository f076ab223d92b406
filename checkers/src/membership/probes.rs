//! What the final phase tried: `removed-is-out`, `progress-after-heal`, `membership-progress`.
//!
//! A cluster can look well and refuse every change: its sources agree, it takes writes, and a leftover of an old join makes
//! its own consistency check fail. So these are probed, not seen.
//!
//! `membership-progress`: a canary that was never touched, and every member whose last join or remove was `info`, can be
//! joined and can be removed. Which comes first depends on where the member is, so one refusal alone proves nothing: a kind
//! of change that was refused and, after the opposite one had succeeded, not tried again, is left open. What was refused on the way to
//! a join that worked, [`leftovers`] judges.

use std::collections::BTreeMap;

use harness_core::{
    fault::FaultRecord,
    history::{Operation, Outcome},
    membership::{ChangeKind, Purpose, REMOVED_PROBE, WRITE_PROBE, member_of},
};

use super::{
    analysis::{Analysis, because},
    changes::{Change, Status},
    judgement::{Finding, Judgement, listed},
    leftovers,
    order::still_inside,
    roster::Id,
};
use crate::words::{self, Clock, end_ns};

pub(super) fn removed_is_out(analysis: &Analysis<'_>) -> Judgement {
    let end_ns = analysis.horizon_ns;
    let mut probes: BTreeMap<Id, Vec<&Operation>> = BTreeMap::new();
    for operation in &analysis.input.history.operations {
        if &*operation.f == REMOVED_PROBE
            && let Some(member) = member_of(operation).and_then(|name| analysis.roster.named(name))
            && analysis.standing(member, operation.invoked_ns).status == Status::Out
        {
            probes.entry(member).or_default().push(operation);
        }
    }
    let removed: Vec<Id> = analysis
        .roster
        .ids()
        .filter(|id| {
            let standing = analysis.standing(*id, end_ns);
            let by_load = |change: &Change<'_>| {
                change.is(ChangeKind::Remove, Outcome::Ok) && change.purpose == Purpose::Load
            };
            standing.status == Status::Out && standing.cause.as_ref().is_some_and(by_load)
        })
        .collect();
    if removed.is_empty() && probes.is_empty() {
        return Judgement::not_applicable("nobody was removed for good");
    }
    let mut judgement = Judgement {
        looked_at: probes.values().map(Vec::len).sum(),
        valid: format!(
            "{} asked, none can read or write any more",
            words::plural(probes.len(), "removed node was", "removed nodes were")
        ),
        ..Judgement::default()
    };
    for (id, probes) in &probes {
        let name = analysis.name(*id);
        for probe in probes
            .iter()
            .filter(|probe| still_inside(probe) == Some(true))
        {
            let clock = Clock::spanning([probe.invoked_ns, end_ns]);
            let story = format!(
                "{name} was asked at {}, after it had been removed, and could still read or write.",
                clock.at(probe.invoked_ns)
            );
            let finding = Finding::new(
                "still-inside",
                format!("{name} still takes part"),
                format!("{name} was removed and is still in."),
                story,
            )
            .about(&[probe])
            .on([name.to_owned()]);
            let cause = analysis.standing(*id, probe.invoked_ns).cause;
            judgement.add(finding.led_by(analysis, cause.as_ref()));
        }
    }
    for id in removed {
        let answered = probes
            .get(&id)
            .is_some_and(|probes| probes.iter().any(|probe| still_inside(probe).is_some()));
        if !answered {
            let why = format!(
                "{} was removed, and nobody found out whether it is out",
                analysis.name(id)
            );
            judgement.gaps.push(("not-probed", why));
        }
    }
    judgement
}

pub(super) fn progress_after_heal(analysis: &Analysis<'_>) -> Judgement {
    let healed = analysis
        .input
        .faults
        .iter()
        .filter_map(|fault| fault.healed_ns)
        .max();
    let recover = analysis.input.meta.phase("recover");
    let start = recover
        .map(|phase| u64::try_from(phase.start_ns).unwrap_or(0))
        .or(healed);
    let Some(start_ns) = start else {
        return Judgement::not_applicable("the run never came to the phase recover");
    };
    let last_sample = analysis.by_sample.last();
    let stopped = |id: Id| {
        last_sample.into_iter().flatten().any(|number| {
            let reading = &analysis.readings[*number];
            reading.stopped() && analysis.node_of(reading) == Some(id)
        })
    };
    let meant = |id: &Id| {
        let live = analysis.rules.live_nodes.as_ref();
        live.is_none_or(|live| live.iter().any(|name| name == analysis.name(*id)))
    };
    let live: Vec<Id> = analysis
        .roster
        .ids()
        .filter(|id| analysis.standing(*id, start_ns).status == Status::In)
        .filter(|id| analysis.standing(*id, analysis.horizon_ns).status == Status::In)
        .filter(|id| meant(id) && !stopped(*id))
        .collect();
    let mut judgement = Judgement {
        looked_at: live.len(),
        valid: format!(
            "{} took a write",
            words::plural(live.len(), "live member", "live members")
        ),
        ..Judgement::default()
    };
    if live.is_empty() {
        judgement
            .gaps
            .push(("no-live-member", "no member was live at the end".to_owned()));
    }
    for id in live {
        judge_writes(analysis, id, start_ns, &mut judgement);
    }
    judgement
}

fn judge_writes(analysis: &Analysis<'_>, id: Id, start_ns: u64, judgement: &mut Judgement) {
    let name = analysis.name(id);
    let attempts: Vec<&Operation> = analysis
        .input
        .history
        .operations
        .iter()
        .filter(|operation| &*operation.f == WRITE_PROBE && operation.invoked_ns >= start_ns)
        .filter(|operation| operation.node.as_deref() == Some(name))
        .collect();
    if attempts
        .iter()
        .any(|attempt| attempt.outcome == Outcome::Ok)
    {
        return;
    }
    let Some(last) = attempts.last() else {
        judgement
            .gaps
            .push(("not-tried", format!("no write was tried on {name}")));
        return;
    };
    let tried_ns = attempts
        .iter()
        .filter_map(|attempt| attempt.completed_ns)
        .max();
    let limit_ns = start_ns.saturating_add(analysis.rules.recovery_timeout_ns);
    if tried_ns.is_none_or(|tried| tried < limit_ns) {
        let why = format!("writes on {name} failed, but attempts ended too early to say more");
        judgement.gaps.push(("cut-off", why));
        return;
    }
    let clock = Clock::spanning([start_ns, limit_ns]);
    let story = format!(
        "{} on {name} from {} to {}, and none succeeded{}.",
        words::plural(attempts.len(), "write was tried", "writes were tried"),
        clock.at(start_ns),
        clock.at(end_ns(last)),
        because(last)
    );
    let finding = Finding::new(
        "no-progress",
        format!("{name} takes no write"),
        format!("{name} takes no write after healing."),
        story,
    );
    judgement.add(finding.about(&[*last]).on([name.to_owned()]));
}

/// How trying one kind of change on one member ended.
enum Tried<'b, 'a> {
    Succeeded,
    Never,
    /// Not since the opposite change succeeded.
    Superseded,
    /// A fault was in force.
    Disturbed(&'a FaultRecord),
    /// Every attempt failed; the last one.
    Refused(&'b Change<'a>),
}

fn tried<'b, 'a>(
    analysis: &Analysis<'a>,
    probes: &[&'b Change<'a>],
    kind: ChangeKind,
) -> Tried<'b, 'a> {
    // A join of the node as it was left is judged by itself; that it worked counts.
    let counts = |change: &Change<'_>| {
        change.operation.outcome == Outcome::Ok || !leftovers::unwiped(change)
    };
    let attempts = || {
        let of_kind = probes.iter().filter(|change| change.kind == kind);
        of_kind.filter(|change| counts(change))
    };
    if attempts().any(|change| change.operation.outcome == Outcome::Ok) {
        return Tried::Succeeded;
    }
    let Some(last) = attempts().next_back() else {
        return Tried::Never;
    };
    let opposite_since = probes.iter().any(|change| {
        change.kind != kind
            && change.operation.outcome == Outcome::Ok
            && change.operation.index > last.operation.index
    });
    if opposite_since {
        return Tried::Superseded;
    }
    let end_ns = last.end_ns().min(analysis.horizon_ns);
    match analysis
        .faults_during(last.operation.invoked_ns, end_ns)
        .first()
    {
        Some(fault) => Tried::Disturbed(fault),
        None => Tried::Refused(last),
    }
}

pub(super) fn membership_progress(analysis: &Analysis<'_>) -> Judgement {
    let mut probed: BTreeMap<(bool, Id), Vec<&Change<'_>>> = BTreeMap::new();
    let mut lasts: BTreeMap<Id, &Change<'_>> = BTreeMap::new();
    for change in &analysis.changes.all {
        match change.purpose {
            // What was refused did nothing, so it settles nothing.
            Purpose::Load if change.operation.outcome == Outcome::Fail => {}
            Purpose::Load => {
                lasts.insert(change.member, change);
            }
            purpose => probed
                .entry((purpose == Purpose::Canary, change.member))
                .or_default()
                .push(change),
        }
    }
    let mut judgement = Judgement::default();
    let canaries = probed.keys().filter(|(canary, _)| *canary).count();
    for (member, last) in &lasts {
        if last.operation.outcome == Outcome::Info {
            probed.entry((false, *member)).or_default();
        }
    }
    if probed.is_empty() && analysis.input.meta.phase("recover").is_none() {
        return Judgement::not_applicable(
            "the run never came to its final phase, and no member is in doubt",
        );
    }
    if canaries == 0 {
        judgement
            .gaps
            .push(("no-canary", "no canary was joined and removed".to_owned()));
    }
    for ((canary, member), probes) in &probed {
        judgement.looked_at += probes.len();
        for kind in [ChangeKind::Join, ChangeKind::Remove] {
            judge_probe(analysis, (*canary, *member), probes, kind, &mut judgement);
        }
        if !canary {
            leftovers::judge(analysis, *member, probes, &mut judgement);
        }
    }
    let names: Vec<String> = probed
        .keys()
        .map(|(_, member)| analysis.name(*member).to_owned())
        .collect();
    judgement.valid = format!("{} could be joined and removed", listed(&names));
    judgement
}

fn judge_probe(
    analysis: &Analysis<'_>,
    (canary, member): (bool, Id),
    probes: &[&Change<'_>],
    kind: ChangeKind,
    judgement: &mut Judgement,
) {
    let name = analysis.name(member);
    let (verb, again) = match (kind, canary) {
        (ChangeKind::Join, true) => ("joining", ""),
        (ChangeKind::Join, false) => ("joining", " again"),
        (ChangeKind::Remove, _) => ("removing", ""),
    };
    let what = format!("{verb} {name}{again}");
    match tried(analysis, probes, kind) {
        Tried::Succeeded => {}
        Tried::Never => judgement
            .gaps
            .push(("not-tried", format!("{what} was not tried"))),
        Tried::Superseded => judgement.gaps.push((
            "not-tried-again",
            format!("{what} was refused, and not tried since the opposite change succeeded"),
        )),
        Tried::Disturbed(fault) => judgement.gaps.push((
            "disturbed",
            format!(
                "{what} did not succeed, but fault {} ({}) was in force",
                fault.id, fault.label
            ),
        )),
        Tried::Refused(last) => {
            let title = if canary {
                "The cluster refuses changes.".to_owned()
            } else {
                format!("The name {name} is burnt.")
            };
            // What led to it: the operation that left the member in doubt.
            let in_doubt = |change: &&Change<'_>| {
                change.purpose == Purpose::Load && change.operation.outcome == Outcome::Info
            };
            let doubt = analysis.changes.of(member).filter(in_doubt).last();
            let word = match last.operation.outcome {
                Outcome::Fail => "refused",
                _ => "without an answer",
            };
            judgement.add(
                Finding::new(
                    "change-refused",
                    format!("{what} is {word}"),
                    title,
                    analysis.tell(last),
                )
                .about(&[last.operation])
                .on([name.to_owned()])
                .led_by(analysis, doubt),
            );
        }
    }
}
