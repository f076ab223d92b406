//! Witnesses as they are drawn and told: the operations involved, a few close ones, and the reasons between them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use harness_core::{
    event::Process,
    history::{History, Outcome},
    verdict::Witness,
};

use super::{ReportInput, fault::Faults, near, operation};
use crate::{
    glossary::{self, Term},
    number,
    text::{self, Anchors},
};

/// Operations that are drawn of one witness; a longer one is cut, and says so.
pub const DRAWN_LIMIT: usize = 40;
/// Close operations that are drawn in grey.
const NEIGHBOUR_LIMIT: usize = 8;
/// How far a neighbour may be from an operation of the witness.
const NEIGHBOUR_WITHIN_NS: u64 = 2 * number::NS_PER_S;
/// Longest label of an operation, in characters.
const LABEL_CHARS: usize = 40;
/// Longest words of an edge, in characters.
const WORDS_CHARS: usize = 240;

/// One operation in a witness' timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its identity; its anchor is `op-<index>`.
    pub index: u64,
    /// The lane that it is in.
    pub lane: usize,
    /// What it did, in a few words.
    pub label: String,
    /// When it was invoked.
    pub start_ns: u64,
    /// When it ended; None if it may still take effect.
    pub end_ns: Option<u64>,
    /// How it ended.
    pub outcome: Outcome,
    /// It cannot be placed, or shows the wrong value.
    pub culprit: bool,
    /// It is not of the witness, only close to it.
    pub neighbour: bool,
}

/// A reason between two operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// Its number in this witness, from 1.
    pub number: usize,
    /// Index of an operation.
    pub from: u64,
    /// Index of an operation.
    pub to: u64,
    /// In words.
    pub words: String,
}

/// A witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessView {
    /// Its anchor.
    pub anchor: String,
    /// Its number in this report, from 1.
    pub number: usize,
    /// Its stable word.
    pub kind: String,
    /// What the word means, if we know.
    pub term: Option<&'static Term>,
    /// A headline of a few words.
    pub title: String,
    /// What happened.
    pub story: String,
    /// Known behaviour that explains it.
    pub explanation: Option<String>,
    /// What was in force: `during fault 2 (…)`.
    pub around: Option<String>,
    /// When it begins.
    pub start_ns: u64,
    /// When it ends.
    pub end_ns: u64,
    /// The nodes concerned.
    pub nodes: Vec<String>,
    /// One line each: process and node.
    pub lanes: Vec<String>,
    /// Its operations and their neighbours, by start.
    pub operations: Vec<Shown>,
    /// Reasons between operations.
    pub reasons: Vec<Reason>,
    /// Operations that are too many to draw, or that the history does not have.
    pub left_out: usize,
}

pub(super) fn view(
    input: &ReportInput<'_>,
    faults: &Faults,
    witness: &Witness,
    number: usize,
    anchors: &mut Anchors,
) -> WitnessView {
    let history = input.history;
    let mut named: Vec<usize> = Vec::new();
    for index in &witness.operations {
        if let Some(place) = near::place_of(history, *index)
            && !named.contains(&place)
            && named.len() < DRAWN_LIMIT
        {
            named.push(place);
        }
    }
    let close = neighbours(history, &named);
    let (lanes, lane_of) = lanes(history, &named);
    let mut operations: Vec<Shown> = named
        .iter()
        .map(|place| (*place, false))
        .chain(close.into_iter().map(|place| (place, true)))
        .filter_map(|(place, neighbour)| {
            let operation = &history.operations[place];
            Some(Shown {
                index: operation.index,
                lane: *lane_of.get(&operation.process)?,
                label: operation::label(operation, LABEL_CHARS),
                start_ns: operation.invoked_ns,
                end_ns: match operation.outcome {
                    Outcome::Info => None,
                    _ => operation.completed_ns,
                },
                outcome: operation.outcome,
                culprit: witness.culprits.contains(&operation.index),
                neighbour,
            })
        })
        .collect();
    operations.sort_by_key(|shown| (shown.start_ns, shown.index));
    let kind = text::clip(&witness.kind, 40);
    WitnessView {
        anchor: anchors.claim(&format!("witness-{number}-{}", text::slug(&kind))),
        number,
        term: glossary::find(&kind),
        kind,
        title: text::clip(&witness.title, 200),
        story: text::clip(&witness.story, 900),
        explanation: witness
            .explanation
            .as_ref()
            .map(|explanation| text::clip(explanation, 900)),
        around: faults.around(witness.start_ns, witness.end_ns),
        start_ns: witness.start_ns,
        end_ns: witness.end_ns,
        nodes: witness
            .nodes
            .iter()
            .map(|node| text::clip(node, 40))
            .collect(),
        lanes,
        reasons: reasons(witness, &operations),
        left_out: witness
            .operations
            .iter()
            .collect::<BTreeSet<_>>()
            .len()
            .saturating_sub(named.len()),
        operations,
    }
}

fn reasons(witness: &Witness, operations: &[Shown]) -> Vec<Reason> {
    let drawn = |index: u64| operations.iter().any(|shown| shown.index == index);
    witness
        .edges
        .iter()
        .filter(|edge| drawn(edge.from) && drawn(edge.to))
        .take(DRAWN_LIMIT)
        .enumerate()
        .map(|(place, edge)| Reason {
            number: place + 1,
            from: edge.from,
            to: edge.to,
            words: text::clip(&edge.words, WORDS_CHARS),
        })
        .collect()
}

/// One lane a process, in the order in which the witness names them.
fn lanes(history: &History, named: &[usize]) -> (Vec<String>, HashMap<Process, usize>) {
    let mut lane_of = HashMap::new();
    let mut lanes = Vec::new();
    for place in named {
        let operation = &history.operations[*place];
        lane_of.entry(operation.process).or_insert_with(|| {
            let node = operation.node.as_deref();
            let at = node.map_or_else(String::new, |node| format!(" · {}", text::clip(node, 20)));
            lanes.push(format!("process {}{at}", operation.process));
            lanes.len() - 1
        });
    }
    (lanes, lane_of)
}

/// What the same processes did directly before and after the named operations, if it was soon.
fn neighbours(history: &History, named: &[usize]) -> Vec<usize> {
    let operations = &history.operations;
    let mut found: BTreeMap<u64, usize> = BTreeMap::new();
    for place in named {
        let centre = &operations[*place];
        let soon = |other: usize| {
            operations[other]
                .invoked_ns
                .abs_diff(centre.invoked_ns)
                .le(&NEIGHBOUR_WITHIN_NS)
        };
        let same = |other: &usize| operations[*other].process == centre.process;
        let before = (0..*place)
            .rev()
            .take_while(|other| soon(*other))
            .find(same);
        let after = (*place + 1..operations.len())
            .take_while(|other| soon(*other))
            .find(same);
        for other in [before, after].into_iter().flatten() {
            if !named.contains(&other) {
                let distance = operations[other].invoked_ns.abs_diff(centre.invoked_ns);
                // Distances tie seldom; then the later one stays.
                found.insert(distance, other);
            }
        }
    }
    let chosen: BTreeSet<usize> = found.into_values().take(NEIGHBOUR_LIMIT).collect();
    chosen.into_iter().collect()
}
