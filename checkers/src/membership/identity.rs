//! Who is who in the sources: `id-unique` at all times, `identity-agreement` at quiescence.
//!
//! `id-unique`: no reading gives two of its entries the same raft id or certificate, nor, except in truststores, where an
//! old certificate may stand beside a new one, the same name or address.
//!
//! `identity-agreement`: name, address, certificate and raft id belong together in all sources of all live members: for
//! any two of them, one of the one goes with one of the other, and names go with the addresses that the lab gave them.

use std::collections::{BTreeMap, BTreeSet};

use harness_core::view::{Member, Source};

use super::{
    analysis::{Analysis, Reading},
    judgement::{Finding, Judgement, listed, nodes_of},
    quiet::Settled,
    roster::host,
};
use crate::words::{self, Clock, cut};

/// What tells members apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attribute {
    Name,
    Address,
    Certificate,
    RaftId,
}

impl Attribute {
    const ALL: [Self; 4] = [Self::Name, Self::Address, Self::Certificate, Self::RaftId];

    fn word(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Address => "address",
            Self::Certificate => "certificate",
            Self::RaftId => "raft id",
        }
    }

    fn of(self, member: &Member) -> Option<String> {
        match self {
            Self::Name => member.name.clone(),
            Self::Address => member
                .address
                .as_deref()
                .map(|address| host(address).to_owned()),
            Self::Certificate => member.fingerprint.clone(),
            Self::RaftId => member.raft_id.map(|id| id.to_string()),
        }
    }

    /// As it stands there: two members of one host differ by their port.
    fn exactly(self, member: &Member) -> Option<String> {
        match self {
            Self::Address => member.address.clone(),
            other => other.of(member),
        }
    }
}

pub(super) fn id_unique(analysis: &Analysis<'_>) -> Judgement {
    let mut judgement = Judgement::default();
    for reading in analysis
        .readings
        .iter()
        .filter(|reading| reading.members.is_some())
    {
        judgement.looked_at += 1;
        for attribute in Attribute::ALL {
            let loose = matches!(attribute, Attribute::Name | Attribute::Address);
            if loose && reading.view.source == Source::Truststore {
                continue;
            }
            if let Some(finding) = twice(analysis, reading, attribute) {
                judgement.add(finding);
            }
        }
    }
    judgement.valid = format!(
        "no reading lists anybody twice, of {}",
        words::plural(judgement.looked_at, "reading", "readings")
    );
    if judgement.looked_at == 0 {
        judgement
            .gaps
            .push(("no-views", "no source was read".to_owned()));
    }
    judgement
}

fn twice(analysis: &Analysis<'_>, reading: &Reading<'_>, attribute: Attribute) -> Option<Finding> {
    let members = reading.members.as_deref()?;
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (id, member) in members {
        let Some(value) = attribute.exactly(member) else {
            continue;
        };
        let name = analysis.name(*id);
        if let Some(other) = seen.insert(value.clone(), name) {
            let (word, value) = (attribute.word(), cut(&value, 40));
            let clock = Clock::spanning([reading.view.start_ns, reading.view.end_ns]);
            return Some(
                Finding::new(
                    "not-unique",
                    format!("{word} {value} twice in {}", reading.view.place()),
                    format!("Two members have one {word}."),
                    format!(
                        "{} gave {word} {value} to {other} and to {name}, read from {} to {}.",
                        reading.view.place(),
                        clock.at(reading.view.start_ns),
                        clock.at(reading.view.end_ns)
                    ),
                )
                .between(reading.view.start_ns, reading.view.end_ns)
                .on([reading.view.node.to_string()]),
            );
        }
    }
    None
}

pub(super) fn identity_agreement(analysis: &Analysis<'_>) -> Judgement {
    Judgement::at_quiescence(
        analysis,
        "names, addresses, certificates and raft ids belong together",
        |settled| mismatches(analysis, settled),
    )
}

fn mismatches(analysis: &Analysis<'_>, settled: &Settled<'_>) -> Vec<Finding> {
    let lab: Vec<Member> = analysis
        .input
        .meta
        .nodes
        .iter()
        .filter(|node| !node.address.is_empty())
        .map(|node| Member {
            name: Some(node.name.clone()),
            address: Some(node.address.clone()),
            ..Member::default()
        })
        .collect();
    let listed_by: Vec<(Option<usize>, &Member)> = settled
        .readings
        .iter()
        .flat_map(|number| {
            let members = analysis.readings[*number].members.iter().flatten();
            members.map(move |(_, member)| (Some(*number), *member))
        })
        .chain(lab.iter().map(|member| (None, member)))
        .collect();
    let mut findings = Vec::new();
    for key in Attribute::ALL {
        for other in Attribute::ALL {
            if key != other {
                findings.extend(mismatch(analysis, settled, &listed_by, key, other));
            }
        }
    }
    findings
}

/// Values of `key` that go with two values of `other`.
fn mismatch(
    analysis: &Analysis<'_>,
    settled: &Settled<'_>,
    listed_by: &[(Option<usize>, &Member)],
    key: Attribute,
    other: Attribute,
) -> Vec<Finding> {
    let mut pairs: BTreeMap<String, BTreeMap<String, BTreeSet<Option<usize>>>> = BTreeMap::new();
    for (number, member) in listed_by {
        if let (Some(key), Some(other)) = (key.of(member), other.of(member)) {
            let places = pairs.entry(key).or_default().entry(other).or_default();
            places.insert(*number);
        }
    }
    let clock = Clock::spanning([settled.since_ns, settled.until_ns]);
    pairs
        .into_iter()
        .filter(|(_, others)| others.len() > 1)
        .map(|(value, others)| {
            let numbers: Vec<usize> = others.values().flatten().copied().flatten().collect();
            let said: Vec<String> = others
                .iter()
                .map(|(value, numbers)| {
                    let places: Vec<String> = numbers
                        .iter()
                        .map(|number| match number {
                            Some(number) => analysis.place_name(analysis.readings[*number].place),
                            None => "the lab".to_owned(),
                        })
                        .collect();
                    format!("{} in {}", cut(value, 40), listed(&places))
                })
                .collect();
            let (key, other, value) = (key.word(), other.word(), cut(&value, 40));
            Finding::new(
                "mixed-identity",
                format!(
                    "{key} {value} goes with {} of {other}",
                    words::plural(others.len(), "value", "values")
                ),
                format!("The {other} of {key} {value} is not one."),
                format!(
                    "With {key} {value} goes the {other} {}, at {}.",
                    said.join(", but "),
                    clock.at(settled.until_ns)
                ),
            )
            .between(settled.since_ns, settled.until_ns)
            .on(nodes_of(analysis, &numbers))
        })
        .collect()
}
