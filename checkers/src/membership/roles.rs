//! Roles at quiescence: `role-agreement`, `voter-target`.
//!
//! Roles are judged wherever a source gives them. How many voters there should be is go-dqlite's affair, not raft's: it
//! promotes until there are `max_voters`, if there are as many members. It cannot promote a node that is down, so the target
//! is judged only while all members are live; raft as every live node sees it must have that many.
//!
//! go-dqlite mends roles by itself, up to a whole period after the last disturbance, and each node copies them at its own next look. So a
//! cache may give the role of before for a settle time after raft changed it, quiescent or not.

use std::collections::BTreeMap;

use harness_core::view::{Role, Source};

use super::{
    analysis::Analysis,
    changes::Status,
    judgement::{Finding, Judgement, listed, nodes_of},
    quiet::Settled,
    roster::Id,
};
use crate::words::Clock;

pub(super) fn role_agreement(analysis: &Analysis<'_>) -> Judgement {
    let roles_given = analysis
        .readings
        .iter()
        .flat_map(|reading| reading.members.iter().flatten())
        .any(|(_, member)| member.role.is_some());
    if !roles_given && analysis.unsettled.is_none() {
        return Judgement::not_applicable("no source gives roles");
    }
    Judgement::at_quiescence(
        analysis,
        "every source gives every member the same role",
        |settled| {
            analysis
                .roster
                .ids()
                .filter_map(|id| different_roles(analysis, settled, id))
                .collect()
        },
    )
}

fn different_roles(analysis: &Analysis<'_>, settled: &Settled<'_>, id: Id) -> Option<Finding> {
    let mut by_role: BTreeMap<Role, Vec<usize>> = BTreeMap::new();
    let changed_ns = role_changed_ns(analysis, settled, id);
    for number in &settled.readings {
        let view = analysis.readings[*number].view;
        let may_lag = view.source == Source::Cache
            && changed_ns.is_some_and(|changed_ns| {
                view.start_ns < changed_ns.saturating_add(analysis.rules.settle_ns)
            });
        if may_lag {
            continue;
        }
        for role in analysis.readings[*number]
            .entries(id)
            .filter_map(|member| member.role)
        {
            by_role.entry(role).or_default().push(*number);
        }
    }
    if by_role.len() < 2 {
        return None;
    }
    let name = analysis.name(id);
    let said: Vec<String> = by_role
        .iter()
        .map(|(role, numbers)| {
            let places: Vec<String> = numbers
                .iter()
                .map(|number| analysis.place_name(analysis.readings[*number].place))
                .collect();
            format!("{} in {}", role.as_str(), listed(&places))
        })
        .collect();
    let roles: Vec<&str> = by_role.keys().map(|role| role.as_str()).collect();
    let clock = Clock::spanning([settled.since_ns, settled.until_ns]);
    Some(
        Finding::new(
            "roles-differ",
            format!("{name} is {}", roles.join(" and ")),
            format!("{name} has two roles."),
            format!(
                "{name} is {}, since {} at the latest and still at {}.",
                said.join(", but "),
                clock.at(settled.since_ns),
                clock.at(settled.until_ns)
            ),
        )
        .between(settled.since_ns, settled.until_ns)
        .on(by_role
            .values()
            .flat_map(|numbers| nodes_of(analysis, numbers)))
        .on([name.to_owned()])
        .led_by(analysis, settled.standings[id].cause.as_ref()),
    )
}

/// Until when raft may have been changing its role to the one that all live members see now; none if they never saw another, or do
/// not agree.
fn role_changed_ns(analysis: &Analysis<'_>, settled: &Settled<'_>, id: Id) -> Option<u64> {
    let of_raft = |number: &&usize| analysis.readings[**number].view.source == Source::Raft;
    let raft: Vec<usize> = settled.readings.iter().filter(of_raft).copied().collect();
    let role = |number: usize| {
        analysis.readings[number]
            .entries(id)
            .find_map(|one| one.role)
    };
    let now = role(*raft.first()?)?;
    if raft.iter().any(|number| role(*number) != Some(now)) {
        return None;
    }
    let places: Vec<usize> = raft
        .iter()
        .map(|number| analysis.readings[*number].place)
        .collect();
    // When each look at raft ended, and whether it showed this role.
    let looks: Vec<(u64, bool)> = (0..analysis.readings.len())
        .filter(|number| places.contains(&analysis.readings[*number].place))
        .filter_map(|number| {
            let end_ns = analysis.readings[number].view.end_ns;
            (end_ns <= settled.until_ns).then_some((end_ns, role(number)? == now))
        })
        .collect();
    let old = looks.iter().filter(|(_, is_now)| !is_now);
    let last_old_ns = old.map(|(end_ns, _)| *end_ns).max()?;
    let new = looks.iter().map(|(end_ns, _)| *end_ns);
    new.filter(|end_ns| *end_ns > last_old_ns).min()
}

pub(super) fn voter_target(analysis: &Analysis<'_>) -> Judgement {
    let Some(target) = analysis.rules.max_voters else {
        return Judgement::not_applicable(
            "nobody said how many voters this system keeps (workload_options.max_voters)",
        );
    };
    if !analysis.rules.has(Source::Raft) {
        return Judgement::not_applicable("this system has no raft");
    }
    let mut down: Vec<String> = Vec::new();
    let mut judged = 0;
    let mut judgement = Judgement::at_quiescence(
        analysis,
        "there are as many voters as there should be",
        |settled| {
            let missing: Vec<&str> = analysis
                .roster
                .ids()
                .filter(|id| {
                    settled.standings[*id].status == Status::In && !settled.live.contains(id)
                })
                .map(|id| analysis.name(id))
                .collect();
            if !missing.is_empty() {
                down.extend(missing.into_iter().map(str::to_owned));
                return Vec::new();
            }
            judged += 1;
            wrong_count(analysis, settled, target)
        },
    );
    if judged == 0 && judgement.gaps.is_empty() {
        down.sort_unstable();
        down.dedup();
        return Judgement::not_applicable(format!(
            "{} did not run, and who does not run cannot be promoted",
            listed(&down)
        ));
    }
    judgement.looked_at = judged;
    judgement
}

fn wrong_count(analysis: &Analysis<'_>, settled: &Settled<'_>, target: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    for number in &settled.readings {
        let reading = &analysis.readings[*number];
        let members = reading.members.as_deref().unwrap_or_default();
        if reading.view.source != Source::Raft
            || members.iter().all(|(_, member)| member.role.is_none())
        {
            continue;
        }
        let voters: Vec<String> = members
            .iter()
            .filter(|(_, member)| member.role == Some(Role::Voter))
            .map(|(id, _)| analysis.name(*id).to_owned())
            .collect();
        let (fewest, wanted) = if members.len() >= target {
            (target, target.to_string())
        } else {
            (1, format!("1 to {target}"))
        };
        if (fewest..=target).contains(&voters.len()) {
            continue;
        }
        let clock = Clock::spanning([settled.since_ns, settled.until_ns]);
        findings.push(
            Finding::new(
                "voter-count",
                format!("{} voters of {} members instead of {wanted}", voters.len(), members.len()),
                "The number of voters is wrong.".to_owned(),
                format!(
                    "{} has {} members and the voters {}, from {} to {}; with {} there should be {wanted}.",
                    reading.view.place(),
                    members.len(),
                    listed(&voters),
                    clock.at(settled.since_ns),
                    clock.at(settled.until_ns),
                    members.len(),
                ),
            )
            .between(settled.since_ns, settled.until_ns)
            .on(nodes_of(analysis, &[*number])),
        );
    }
    findings
}
