//! What every invariant looks at, worked out once: who is who, which changes were made, what each place said when, when it
//! was quiet.
//!
//! A **place** is a source, with its label, on a node. A **reading** is one view of it, its members matched to the roster.

use std::{collections::HashMap, sync::Arc};

use harness_core::{
    fault::FaultRecord,
    history::Operation,
    membership::member_of,
    verdict::CheckInput,
    view::{Member, Source, UnreadKind, View},
};

use super::{
    changes::{Change, Changes, Standing, Status},
    quiet::{self, Disturbance, Settled, Window},
    roster::{Id, Roster},
    rules::Rules,
};
use crate::words::Clock;

/// Where something is read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    pub source: Source,
    pub label: Option<Arc<str>>,
    /// The node; None if it is none of the lab.
    pub node: Option<Id>,
}

/// A view with its members matched.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub view: &'a View,
    /// Number of its place.
    pub place: usize,
    /// Whom it lists, sorted; None if it could not be read.
    pub members: Option<Vec<(Id, &'a Member)>>,
}

impl<'a> Reading<'a> {
    /// Entries of one member: more than one if the source lists it twice.
    pub fn entries(&self, id: Id) -> impl Iterator<Item = &'a Member> {
        self.members
            .iter()
            .flatten()
            .filter(move |(other, _)| *other == id)
            .map(|(_, member)| *member)
    }

    pub fn lists(&self, id: Id) -> bool {
        self.entries(id).next().is_some()
    }

    /// Whom it lists, each once.
    pub fn ids(&self) -> Vec<Id> {
        let mut ids: Vec<Id> = self.members.iter().flatten().map(|(id, _)| *id).collect();
        ids.dedup();
        ids
    }

    pub fn stopped(&self) -> bool {
        matches!(
            self.view.reading,
            harness_core::view::Reading::Unread {
                kind: UnreadKind::Stopped,
                ..
            }
        )
    }
}

/// Everything.
pub(super) struct Analysis<'a> {
    pub input: CheckInput<'a>,
    pub rules: Rules,
    pub roster: Roster,
    pub changes: Changes<'a>,
    pub places: Vec<Place>,
    /// By when they began.
    pub readings: Vec<Reading<'a>>,
    /// Numbers of readings by place, by when they began; without those of the past (older configurations in a log).
    pub by_place: Vec<Vec<usize>>,
    /// Numbers of readings by sample, likewise.
    pub by_sample: Vec<Vec<usize>>,
    pub disturbances: Vec<Disturbance>,
    pub windows: Vec<Window>,
    /// Quiet windows that could be judged, in order.
    pub settled: Vec<Settled<'a>>,
    /// Why the end of the run could not be judged at quiescence, if so.
    pub unsettled: Option<String>,
    /// The end of what was seen.
    pub horizon_ns: u64,
}

impl<'a> Analysis<'a> {
    pub fn new(input: &CheckInput<'a>) -> Self {
        let rules = Rules::new(input.meta, input.views);
        let operations = &input.history.operations;
        let named = operations
            .iter()
            .filter(|operation| harness_core::membership::change(&operation.f).is_some())
            .filter_map(member_of)
            .chain(rules.initial_members.iter().flatten().map(String::as_str));
        let mut roster = Roster::new(input.meta, named, input.views);
        let (places, readings) = read(input.views, &mut roster);
        let mut by_place = vec![Vec::new(); places.len()];
        let mut samples: HashMap<u64, usize> = HashMap::new();
        let mut by_sample: Vec<Vec<usize>> = Vec::new();
        let current = |(_, reading): &(usize, &Reading<'_>)| !reading.view.is_history();
        for (number, reading) in readings.iter().enumerate().filter(current) {
            by_place[reading.place].push(number);
            let sample = *samples.entry(reading.view.sample).or_insert_with(|| {
                by_sample.push(Vec::new());
                by_sample.len() - 1
            });
            by_sample[sample].push(number);
        }
        let all = Changes::read(operations, &roster);
        let initial = initial(&rules, &roster, &all, &readings);
        let horizon_ns = readings
            .iter()
            .map(|reading| reading.view.end_ns)
            .chain(
                operations
                    .iter()
                    .filter_map(|operation| operation.completed_ns),
            )
            .max()
            .unwrap_or(0);
        let changes = Changes { all, initial };
        let disturbances = quiet::disturbances(&changes.all, input.faults);
        let windows = quiet::windows(&disturbances, rules.settle_ns, horizon_ns);
        let mut analysis = Self {
            input: *input,
            rules,
            roster,
            changes,
            places,
            readings,
            by_place,
            by_sample,
            disturbances,
            windows,
            settled: Vec::new(),
            unsettled: None,
            horizon_ns,
        };
        (analysis.settled, analysis.unsettled) = quiet::settle(&analysis);
        analysis
    }

    pub fn name(&self, id: Id) -> &str {
        self.roster.name(id)
    }

    /// `database of n1`.
    pub fn place_name(&self, place: usize) -> String {
        let Some(place) = self.places.get(place) else {
            return String::new();
        };
        let label = place
            .label
            .as_ref()
            .map_or_else(String::new, |label| format!(" ({label})"));
        let node = place.node.map_or("another machine", |node| self.name(node));
        format!("{}{label} of {node}", place.source)
    }

    pub fn node_of(&self, reading: &Reading<'_>) -> Option<Id> {
        self.places.get(reading.place).and_then(|place| place.node)
    }

    pub fn standing(&self, member: Id, at_ns: u64) -> Standing<'a> {
        self.changes.standing(member, at_ns)
    }

    /// Whether a node was certainly a member throughout.
    pub fn stayed(&self, node: Id, from_ns: u64, until_ns: u64) -> bool {
        self.standing(node, from_ns).status == Status::In
            && self
                .changes
                .of(node)
                .all(|change| change.operation.invoked_ns > until_ns || change.end_ns() <= from_ns)
    }

    /// Faults that may have been in force then.
    pub fn faults_during(&self, from_ns: u64, until_ns: u64) -> Vec<&'a FaultRecord> {
        self.input
            .faults
            .iter()
            .filter(|fault| {
                quiet::fault_interval(fault)
                    .is_some_and(|(start, end)| start <= until_ns && end >= from_ns)
            })
            .collect()
    }

    /// What an operation did and how it ended, with the faults in force meanwhile. Ends with a full stop.
    pub fn tell(&self, change: &Change<'_>) -> String {
        let operation = change.operation;
        let end_ns = operation.completed_ns.unwrap_or(self.horizon_ns);
        let clock = Clock::spanning([operation.invoked_ns, end_ns]);
        let member = self.name(change.member);
        let mut told = format!(
            "Operation {} ({} {member}) was {}, from {} to {}{}.",
            operation.index,
            operation.f,
            operation.outcome.as_str(),
            clock.at(operation.invoked_ns),
            clock.at(end_ns),
            because(operation)
        );
        for fault in self
            .faults_during(operation.invoked_ns, end_ns)
            .iter()
            .take(FAULTS_TOLD)
        {
            let seen = fault.observed_ns.map_or_else(
                || "was not seen to take hold".to_owned(),
                |at| format!("was seen at {}", clock.at(at)),
            );
            told.push_str(&format!(
                " Meanwhile fault {} ({}) {seen}.",
                fault.id, fault.label
            ));
        }
        told
    }
}

/// Faults that the story of an operation names.
const FAULTS_TOLD: usize = 2;

/// `: timeout: no answer in 30 s`, or nothing.
pub(super) fn because(operation: &Operation) -> String {
    operation.error.as_ref().map_or_else(String::new, |error| {
        format!(
            ": {}: {}",
            crate::words::cut(&error.kind, 40),
            crate::words::excerpt(error.message.as_bytes())
        )
    })
}

fn read<'a>(views: &'a [View], roster: &mut Roster) -> (Vec<Place>, Vec<Reading<'a>>) {
    let mut numbers: HashMap<(Source, Option<&str>, &str), usize> = HashMap::new();
    let mut places: Vec<Place> = Vec::new();
    let mut readings: Vec<Reading<'a>> = Vec::with_capacity(views.len());
    for view in views {
        let key = (view.source, view.label.as_deref(), &*view.node);
        let place = *numbers.entry(key).or_insert_with(|| {
            places.push(Place {
                source: view.source,
                label: view.label.clone(),
                node: roster.named(&view.node),
            });
            places.len() - 1
        });
        let members = view.members().map(|members| {
            let mut members: Vec<(Id, &Member)> = members
                .iter()
                .map(|member| (roster.who(member), member))
                .collect();
            members.sort_unstable();
            members
        });
        readings.push(Reading {
            view,
            place,
            members,
        });
    }
    readings.sort_by_key(|reading| (reading.view.start_ns, reading.view.end_ns));
    (places, readings)
}

/// Members at time 0: as told, or as database or raft said before the first change.
fn initial(
    rules: &Rules,
    roster: &Roster,
    changes: &[Change<'_>],
    readings: &[Reading<'_>],
) -> Option<Vec<bool>> {
    let ids: Vec<Id> = match &rules.initial_members {
        Some(names) => names.iter().filter_map(|name| roster.named(name)).collect(),
        None => {
            let first_ns = changes
                .first()
                .map_or(u64::MAX, |change| change.operation.invoked_ns);
            readings
                .iter()
                .filter(|reading| reading.view.end_ns < first_ns && !reading.view.is_history())
                .filter(|reading| matches!(reading.view.source, Source::Database | Source::Raft))
                .find(|reading| {
                    reading
                        .members
                        .as_ref()
                        .is_some_and(|list| !list.is_empty())
                })?
                .ids()
        }
    };
    let mut initial = vec![false; roster.ids().end];
    ids.into_iter().for_each(|id| initial[id] = true);
    Some(initial)
}
