//! Membership over time: `no-resurrection`, `quorum-safety`.
//!
//! `no-resurrection`: after an ok remove, a place first no longer lists the member and later lists it again, though no join
//! of it can have taken effect in between. Only places of nodes that were members throughout count: a node that joins
//! replays old configurations.
//!
//! `quorum-safety`: after an accepted change, the voters that run are a majority of the voters. Running is who is not
//! struck by a kill, a stop or a pause that held from before the operation until after the reading; the reading is the
//! first one of raft after the operation and before the next change.

use harness_core::{
    fault::FaultRecord,
    history::Outcome,
    membership::ChangeKind,
    view::{Role, Source},
};

use super::{
    analysis::{Analysis, Reading},
    changes::Change,
    judgement::{Finding, Judgement, listed},
    roster::Id,
};
use crate::words::{self, Clock};

pub(super) fn no_resurrection(analysis: &Analysis<'_>) -> Judgement {
    let removes: Vec<&Change<'_>> = analysis
        .changes
        .all
        .iter()
        .filter(|change| change.is(ChangeKind::Remove, Outcome::Ok))
        .collect();
    if removes.is_empty() {
        return Judgement::not_applicable("nobody was removed");
    }
    let mut judgement = Judgement {
        looked_at: removes.len(),
        valid: format!(
            "nobody came back after {}",
            words::plural(removes.len(), "remove", "removes")
        ),
        ..Judgement::default()
    };
    if analysis
        .readings
        .iter()
        .all(|reading| reading.members.is_none())
    {
        judgement
            .gaps
            .push(("no-views", "no source was read".to_owned()));
    }
    for remove in removes {
        for numbers in &analysis.by_place {
            if let Some(finding) = resurrection(analysis, remove, numbers) {
                judgement.add(finding);
                break;
            }
        }
    }
    judgement
}

fn resurrection(analysis: &Analysis<'_>, remove: &Change<'_>, place: &[usize]) -> Option<Finding> {
    let member = remove.member;
    let removed_ns = remove.end_ns();
    // From when on a join may have brought it back.
    let joined_ns = analysis
        .changes
        .of(member)
        .filter(|change| {
            change.kind == ChangeKind::Join && change.operation.outcome != Outcome::Fail
        })
        .filter(|join| {
            join.operation.outcome == Outcome::Info || join.end_ns() > remove.operation.invoked_ns
        })
        .map(|join| join.operation.invoked_ns)
        .min()
        .unwrap_or(u64::MAX);
    let mut gone: Option<&Reading<'_>> = None;
    for number in place {
        let reading = &analysis.readings[*number];
        if reading.view.end_ns >= joined_ns {
            return None;
        }
        if reading.members.is_none() || reading.view.start_ns < remove.operation.invoked_ns {
            continue;
        }
        match gone {
            None if !reading.lists(member) => gone = Some(reading),
            Some(before)
                if reading.lists(member)
                    && reading.view.start_ns > removed_ns.max(before.view.end_ns) =>
            {
                let node = analysis.node_of(reading)?;
                if !analysis.stayed(node, remove.operation.invoked_ns, reading.view.end_ns) {
                    return None;
                }
                return Some(came_back(analysis, remove, before, reading));
            }
            _ => {}
        }
    }
    None
}

fn came_back(
    analysis: &Analysis<'_>,
    remove: &Change<'_>,
    gone: &Reading<'_>,
    back: &Reading<'_>,
) -> Finding {
    let name = analysis.name(remove.member);
    let clock = Clock::spanning([gone.view.end_ns, back.view.end_ns]);
    Finding::new(
        "resurrected",
        format!("{name} back in {} after its removal", back.view.source),
        format!("{name} rose from the dead."),
        format!(
            "{name} was gone from {} at {} and was back at {}; nobody had joined it.",
            back.view.place(),
            clock.at(gone.view.end_ns),
            clock.at(back.view.end_ns)
        ),
    )
    .between(gone.view.start_ns, back.view.end_ns)
    .on([name.to_owned(), back.view.node.to_string()])
    .led_by(analysis, Some(remove))
}

/// Kinds of faults that stop a node from voting, up to a `@` or a `-`.
const STOPPING: [&str; 5] = ["kill", "stop", "pause", "reboot", "wipe"];

/// Whether a fault keeps its nodes from running.
pub(super) fn stops(fault: &FaultRecord) -> bool {
    let kind = fault.kind.split(['@', '-', ':']).next().unwrap_or_default();
    STOPPING.contains(&kind)
}

pub(super) fn quorum_safety(analysis: &Analysis<'_>) -> Judgement {
    let accepted: Vec<&Change<'_>> = analysis
        .changes
        .all
        .iter()
        .filter(|change| change.operation.outcome == Outcome::Ok)
        .collect();
    if accepted.is_empty() {
        return Judgement::not_applicable("no join or remove was accepted");
    }
    let mut judgement = Judgement::default();
    for change in &accepted {
        let Some((reading, voters)) = voters_after(analysis, change) else {
            continue;
        };
        judgement.looked_at += 1;
        let down = |voter: &Id| {
            analysis.input.faults.iter().any(|fault| {
                stops(fault)
                    && !fault.self_healed
                    && fault.nodes.iter().any(|node| node == analysis.name(*voter))
                    && fault
                        .observed_ns
                        .is_some_and(|at| at <= change.operation.invoked_ns)
                    && fault
                        .heal_asked_ns
                        .or(fault.healed_ns)
                        .is_none_or(|at| at >= reading.view.end_ns)
                    && !ran_again(analysis, fault, *voter, reading.view.end_ns)
            })
        };
        let (dead, running): (Vec<Id>, Vec<Id>) = voters.iter().partition(|voter| down(voter));
        if running.len() * 2 <= voters.len() {
            let name = |ids: &[Id]| -> Vec<String> {
                ids.iter().map(|id| analysis.name(*id).to_owned()).collect()
            };
            let f = &change.operation.f;
            let member = analysis.name(change.member);
            judgement.add(
                Finding::new(
                    "quorum-given-away",
                    format!(
                        "{f} of {member} left {} of {} voters running",
                        running.len(),
                        voters.len()
                    ),
                    "An accepted change left no quorum.".to_owned(),
                    format!(
                        "After it, {} has the voters {}, of whom {} did not run.",
                        reading.view.place(),
                        listed(&name(&voters)),
                        listed(&name(&dead))
                    ),
                )
                .between(change.operation.invoked_ns, reading.view.end_ns)
                .on(name(&voters))
                .led_by(analysis, Some(change)),
            );
        }
    }
    if judgement.looked_at == 0 {
        judgement.gaps.push((
            "no-raft-view",
            "raft was not read between an accepted change and the next one".to_owned(),
        ));
    }
    judgement.valid = format!(
        "a majority of voters ran after each of {}",
        words::plural(judgement.looked_at, "accepted change", "accepted changes")
    );
    judgement
}

/// Whether a node that a fault had struck was seen to run before its heal: the load may remove it, wipe it and join it anew.
fn ran_again(analysis: &Analysis<'_>, fault: &FaultRecord, node: Id, until_ns: u64) -> bool {
    let Some(observed_ns) = fault.observed_ns else {
        return true;
    };
    let joined = analysis.changes.all.iter().any(|change| {
        change.member == node
            && change.kind == ChangeKind::Join
            && change.operation.outcome == Outcome::Ok
            && (observed_ns..=until_ns).contains(&change.end_ns())
    });
    let answered = || {
        analysis.readings.iter().any(|reading| {
            reading.view.source == Source::Raft
                && reading.view.label.as_deref() == Some("socket")
                && reading.members.is_some()
                && analysis.node_of(reading) == Some(node)
                && reading.view.start_ns >= observed_ns
                && reading.view.end_ns <= until_ns
        })
    };
    joined || answered()
}

/// The first reading of raft after a change and before the next one, and its voters.
fn voters_after<'b, 'a>(
    analysis: &'b Analysis<'a>,
    change: &Change<'_>,
) -> Option<(&'b Reading<'a>, Vec<Id>)> {
    let after_ns = change.end_ns();
    let disturbed = analysis.changes.all.iter().any(|other| {
        other.operation.index != change.operation.index
            && other.operation.invoked_ns <= after_ns
            && other.end_ns() > after_ns
    });
    if disturbed {
        return None;
    }
    let next_ns = analysis
        .changes
        .all
        .iter()
        .map(|other| other.operation.invoked_ns)
        .filter(|at| *at > after_ns)
        .min()
        .unwrap_or(u64::MAX);
    let first = analysis
        .readings
        .partition_point(|reading| reading.view.start_ns <= after_ns);
    analysis.readings[first..]
        .iter()
        .take_while(|reading| reading.view.start_ns < next_ns)
        .filter(|reading| reading.view.source == Source::Raft && !reading.view.is_history())
        .filter(|reading| reading.view.end_ns < next_ns)
        .filter(|reading| {
            analysis.node_of(reading).is_some_and(|node| {
                analysis.stayed(node, change.operation.invoked_ns, reading.view.end_ns)
            })
        })
        .find_map(|reading| {
            let voters: Vec<Id> = reading
                .members
                .as_ref()?
                .iter()
                .filter(|(_, member)| member.role == Some(Role::Voter))
                .map(|(id, _)| *id)
                .collect();
            (!voters.is_empty()).then_some((reading, voters))
        })
}
