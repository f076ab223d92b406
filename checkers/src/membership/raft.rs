//! Raft's own promises, where readings say where in its log they stand: `one-leader-per-term`, `single-change`,
//! `config-prefix` (Ongaro 2014, figure 3.2 and section 4.1).
//!
//! CLUSTER gives neither index nor term; the data folder gives both. A configuration that is not committed may be
//! overwritten by another at the same index, of another term: that is allowed. So two configurations of one index contradict
//! each other only if both are known to be committed, or if their entries are of the same term.

use std::collections::BTreeMap;

use harness_core::{
    verdict::Severity,
    view::{Member, RaftPosition, Role, Source},
};

use super::{
    analysis::{Analysis, Reading},
    changes::Status,
    judgement::{Finding, Judgement, listed},
};
use crate::words::{self, Clock};

/// Readings of raft that say where they stand.
fn positioned<'b, 'a>(
    analysis: &'b Analysis<'a>,
) -> impl Iterator<Item = (&'b Reading<'a>, RaftPosition)> + 'b {
    analysis
        .readings
        .iter()
        .filter(|reading| reading.view.source == Source::Raft && reading.members.is_some())
        .filter_map(|reading| Some((reading, reading.view.raft?)))
}

/// A configuration for comparing: id, host and role of each.
type Configuration = BTreeMap<(Option<u64>, Option<String>), Option<Role>>;

fn configuration(reading: &Reading<'_>) -> Configuration {
    let members = reading.members.iter().flatten();
    members
        .map(|(_, member)| ((member.raft_id, member.address.clone()), member.role))
        .collect()
}

fn shown(reading: &Reading<'_>) -> String {
    let one = |member: &Member| {
        let who = member
            .address
            .clone()
            .or_else(|| member.raft_id.map(|id| id.to_string()))
            .unwrap_or_default();
        let role = member.role.map_or("", Role::as_str);
        format!("{} {role}", words::cut(&who, 40))
            .trim_end()
            .to_owned()
    };
    let members: Vec<String> = reading
        .members
        .iter()
        .flatten()
        .map(|(_, member)| one(member))
        .collect();
    format!("({})", members.join(", "))
}

fn pair_finding(
    kind: &'static str,
    short: String,
    title: &str,
    story: String,
    (one, other): (&Reading<'_>, &Reading<'_>),
) -> Finding {
    Finding::new(kind, short, title.to_owned(), story)
        .between(
            one.view.start_ns.min(other.view.start_ns),
            one.view.end_ns.max(other.view.end_ns),
        )
        .on([one.view.node.to_string(), other.view.node.to_string()])
}

pub(super) fn one_leader_per_term(analysis: &Analysis<'_>) -> Judgement {
    let known: Vec<(&Reading<'_>, u64, u64)> = positioned(analysis)
        .filter_map(|(reading, at)| {
            let leader = at.leader.filter(|leader| *leader != 0)?;
            Some((reading, at.term?, leader))
        })
        .collect();
    if known.is_empty() {
        let mut judgement =
            Judgement::not_applicable("no reading gives a term together with its leader");
        judgement.notes.extend(two_at_once(analysis));
        return judgement;
    }
    let mut judgement = Judgement {
        looked_at: known.len(),
        valid: format!(
            "one leader a term in {}",
            words::plural(known.len(), "reading", "readings")
        ),
        ..Judgement::default()
    };
    let mut leaders: BTreeMap<u64, (&Reading<'_>, u64)> = BTreeMap::new();
    for (reading, term, leader) in &known {
        let (first, known_leader) = leaders.entry(*term).or_insert((reading, *leader));
        if known_leader != leader {
            let clock = Clock::spanning([first.view.end_ns, reading.view.end_ns]);
            let story = format!(
                "In term {term}, {} said at {} that raft id {known_leader} leads, and {} at {} that raft id {leader} does.",
                first.view.node,
                clock.at(first.view.end_ns),
                reading.view.node,
                clock.at(reading.view.end_ns)
            );
            judgement.add(pair_finding(
                "two-leaders",
                format!("raft ids {known_leader} and {leader} both lead term {term}"),
                "A term has two leaders.",
                story,
                (first, reading),
            ));
        }
    }
    let silent: Vec<String> = analysis
        .roster
        .ids()
        .filter(|id| analysis.standing(*id, analysis.horizon_ns).status == Status::In)
        .map(|id| analysis.name(id).to_owned())
        .filter(|name| {
            // Whoever answers with its term and names no leader does not lead that term. A data folder answers nothing.
            !positioned(analysis).any(|(reading, at)| {
                *reading.view.node == **name
                    && at.term.is_some()
                    && (at.leader.is_some() || at.index.is_none())
            })
        })
        .collect();
    if !silent.is_empty() {
        judgement.gaps.push((
            "no-term",
            format!("the term of {} was not read", listed(&silent)),
        ));
    }
    judgement
}

/// Without terms: two nodes that name different leaders at one time are worth a look, and may be of two terms.
fn two_at_once(analysis: &Analysis<'_>) -> Option<harness_core::verdict::Note> {
    let leading: Vec<(&Reading<'_>, u64)> = positioned(analysis)
        .filter_map(|(reading, at)| Some((reading, at.leader.filter(|leader| *leader != 0)?)))
        .collect();
    // By when they began: only neighbours can overlap for long.
    let (one, other) = leading
        .windows(2)
        .map(|pair| (pair[0], pair[1]))
        .find(|(one, other)| one.1 != other.1 && other.0.view.start_ns <= one.0.view.end_ns)?;
    Some(words::note(
        "two-leaders-without-terms",
        Severity::Warning,
        format!(
            "{} named raft id {} as the leader while {} named {}; without terms nobody can say whether that is wrong",
            one.0.view.node, one.1, other.0.view.node, other.1
        ),
    ))
}

pub(super) fn single_change(analysis: &Analysis<'_>) -> Judgement {
    // Of one node: another's log may hold another configuration at an index that is not committed.
    let mut by_node: BTreeMap<(&str, u64), &Reading<'_>> = BTreeMap::new();
    for (reading, at) in positioned(analysis) {
        if let Some(index) = at.index {
            by_node
                .entry((&reading.view.node, index))
                .or_insert(reading);
        }
    }
    let mut judgement = Judgement::default();
    for ((node, index), reading) in &by_node {
        let previous = reading.view.raft.and_then(|at| at.previous_index);
        let Some(before) = previous.and_then(|previous| by_node.get(&(*node, previous))) else {
            continue;
        };
        judgement.looked_at += 1;
        let (old, new) = (configuration(before), configuration(reading));
        let changed = old
            .iter()
            .filter(|(key, role)| new.get(key) != Some(role))
            .count()
            + new.keys().filter(|key| !old.contains_key(key)).count();
        if changed > 1 {
            let previous = previous.unwrap_or_default();
            let story = format!(
                "In the log of {}, {} at index {index} follows {} at index {previous}: {changed} members differ.",
                reading.view.node,
                shown(reading),
                shown(before)
            );
            judgement.add(pair_finding(
                "many-changes",
                format!("{changed} members changed at index {index}"),
                "A configuration changed more than one member.",
                story,
                (before, reading),
            ));
        }
    }
    if judgement.looked_at == 0 {
        return Judgement::not_applicable(
            "no reading gives two successive configurations of a log: data folders were not read",
        );
    }
    judgement.valid = format!(
        "{} in one member each",
        words::plural(
            judgement.looked_at,
            "configuration changed",
            "configurations changed"
        )
    );
    judgement
}

pub(super) fn config_prefix(analysis: &Analysis<'_>) -> Judgement {
    let mut by_index: BTreeMap<u64, Vec<(&Reading<'_>, RaftPosition)>> = BTreeMap::new();
    let mut judgement = Judgement::default();
    for (reading, at) in positioned(analysis) {
        let Some(index) = at.index else {
            continue;
        };
        judgement.looked_at += 1;
        let different = by_index.entry(index).or_default();
        let same = |(known, place): &(&Reading<'_>, RaftPosition)| {
            configuration(known) == configuration(reading)
                && (place.entry_term, place.committed) == (at.entry_term, at.committed)
        };
        if different.iter().any(same) {
            continue;
        }
        for (known, place) in different.iter() {
            let committed = place.committed == Some(true) && at.committed == Some(true);
            let one_term = at.entry_term.is_some() && place.entry_term == at.entry_term;
            if (committed || one_term) && configuration(known) != configuration(reading) {
                let story = format!(
                    "At index {index}, {} has {} and {} has {}.",
                    known.view.place(),
                    shown(known),
                    reading.view.place(),
                    shown(reading)
                );
                judgement.add(pair_finding(
                    "two-configurations",
                    format!("index {index} holds two configurations"),
                    "One place in raft's log holds two configurations.",
                    story,
                    (known, reading),
                ));
            }
        }
        different.push((reading, at));
    }
    if by_index.is_empty() {
        return Judgement::not_applicable(
            "no reading of raft gives an index: data folders were not read",
        );
    }
    judgement.valid = format!(
        "one configuration at each of {}",
        words::plural(by_index.len(), "index", "indices")
    );
    judgement
}
