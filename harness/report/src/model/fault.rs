//! Faults as planned, asked, observed and healed, each with times and evidence.
//!
//! A fault counts only if it took hold: it was observed, and no node undid it by itself.

use std::collections::BTreeMap;

use harness_core::{fault::FaultRecord, meta::PlannedFault};

use super::ReportInput;
use crate::{number, text};

/// Rows of the table and bands of the plots, at most.
pub const ROW_LIMIT: usize = 500;
/// Pieces of evidence shown for one fault.
pub const EVIDENCE_LIMIT: usize = 12;

/// What became of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Observed to hold, and observed healed.
    Healed,
    /// Observed to hold; never observed healed.
    NotHealed,
    /// Never observed to hold.
    NotObserved,
    /// A node undid it by itself.
    SelfHealed,
    /// In the plan, never asked for.
    OnlyPlanned,
}

impl State {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Healed => "held, then healed",
            Self::NotHealed => "held, not healed",
            Self::NotObserved => "not observed to hold: counts for nothing",
            Self::SelfHealed => "undone by the node itself: counts for nothing",
            Self::OnlyPlanned => "planned, never asked for",
        }
    }

    /// Glyph that goes with the words.
    #[must_use]
    pub fn glyph(self) -> &'static str {
        match self {
            Self::Healed => "✓",
            Self::NotHealed => "✗",
            Self::NotObserved | Self::SelfHealed => "?",
            Self::OnlyPlanned => "–",
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultRow {
    /// Its anchor.
    pub anchor: String,
    /// Its number in the run, or in the plan if it was never asked for.
    pub id: u32,
    /// Its kind.
    pub kind: String,
    /// A line for people.
    pub label: String,
    /// The nodes that it strikes.
    pub nodes: Vec<String>,
    /// What became of it.
    pub state: State,
    /// When it was to begin, since the run began.
    pub planned_ns: Option<u64>,
    /// What it waited for.
    pub waited: Option<Waited>,
    /// When the nodes were told.
    pub asked_ns: Option<u64>,
    /// When it was seen to hold.
    pub observed_ns: Option<u64>,
    /// When the nodes were told to undo it.
    pub heal_asked_ns: Option<u64>,
    /// When it was seen undone.
    pub healed_ns: Option<u64>,
    /// Whether somebody must still undo it.
    pub open: bool,
    /// Where and what was seen.
    pub evidence: Vec<(String, String)>,
    /// How many more pieces there are.
    pub evidence_left_out: usize,
    /// What went wrong with it.
    pub problems: Vec<String>,
}

/// What a fault waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It has not happened.
    For(String),
    /// It has happened.
    Fired(Fired),
}

/// What set a fault off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fired {
    /// What happened.
    pub what: String,
    /// When, since the run began.
    pub at_ns: u64,
    /// How exact that is, where it is not the controller's own clock or was asked for again and again.
    pub bound_ns: Option<u64>,
    /// How long after it the fault was to strike, where that was asked for.
    pub delay_ns: u64,
    /// How long after it was to strike it was seen to hold.
    pub late_ns: Option<u64>,
}

impl FaultRow {
    /// When it was in force, as far as it was seen: to the end of the axis if nobody saw it end.
    #[must_use]
    pub fn in_force(&self, end_ns: u64) -> Option<(u64, u64)> {
        let start = self.observed_ns?;
        Some((start, self.healed_ns.unwrap_or(end_ns).max(start)))
    }
}

/// All faults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// In order of their numbers; those only planned last.
    pub rows: Vec<FaultRow>,
    /// Rows that are not shown.
    pub left_out: usize,
    /// Planned or done.
    pub total: u64,
    /// Observed to hold.
    pub observed: u64,
    /// Observed healed.
    pub healed: u64,
    /// Took hold, by kind.
    pub held_by_kind: BTreeMap<String, u64>,
    /// Never took hold, though planned or asked for.
    pub not_held: u64,
}

impl Faults {
    pub(super) fn new(input: &ReportInput<'_>) -> Self {
        let load_ns = input
            .meta
            .phase("load")
            .and_then(|phase| u64::try_from(phase.start_ns).ok())
            .unwrap_or_default();
        let planned_ns = |id: u32| {
            let fault = input.plan.faults.iter().find(|fault| fault.id == id)?;
            Some(load_ns + fault.inject_ms * number::NS_PER_MS)
        };
        let mut rows: Vec<_> = input
            .faults
            .iter()
            .map(|record| {
                let id = record.planned;
                let planned = id.and_then(|id| input.plan.faults.iter().find(|f| f.id == id));
                row(record, planned, id.and_then(planned_ns))
            })
            .collect();
        let mut held_by_kind = BTreeMap::new();
        for record in input.faults.iter().filter(|record| record.took_hold()) {
            *held_by_kind
                .entry(text::clip(&record.kind, 40))
                .or_default() += 1;
        }
        for planned in &input.plan.faults {
            let done = |record: &FaultRecord| record.planned == Some(planned.id);
            if !input.faults.iter().any(done) {
                rows.push(only_planned(planned, planned_ns(planned.id)));
            }
        }
        let total = rows.len();
        let held: u64 = held_by_kind.values().sum();
        let mut anchors = text::Anchors::default();
        for row in &mut rows {
            row.anchor = anchors.claim(&row.anchor);
        }
        rows.truncate(ROW_LIMIT);
        let seen = |told: fn(&FaultRecord) -> bool| {
            input.faults.iter().filter(|record| told(record)).count() as u64
        };
        Self {
            left_out: total - rows.len(),
            rows,
            total: total as u64,
            observed: seen(|record| record.observed_ns.is_some()),
            healed: seen(|record| record.healed_ns.is_some()),
            held_by_kind,
            not_held: total as u64 - held,
        }
    }

    /// `3 of 3 observed, 3 healed`.
    #[must_use]
    pub fn line(&self) -> String {
        if self.total == 0 {
            "none".to_owned()
        } else {
            format!(
                "{} of {} observed, {} healed",
                number::count(self.observed),
                number::count(self.total),
                number::count(self.healed)
            )
        }
    }

    /// The kinds, in order.
    #[must_use]
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<_> = self.rows.iter().map(|row| row.kind.as_str()).collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// What was in force then, in words: `during fault 2 (partition leader: …)`, or how long after the last one.
    #[must_use]
    pub fn around(&self, start_ns: u64, end_ns: u64) -> Option<String> {
        let during: Vec<_> = self
            .rows
            .iter()
            .filter(|row| {
                row.in_force(u64::MAX)
                    .is_some_and(|(from, to)| from <= end_ns && start_ns <= to)
            })
            .collect();
        match during.as_slice() {
            [] => {
                let last = self
                    .rows
                    .iter()
                    .filter(|row| row.healed_ns.is_some_and(|healed| healed < start_ns))
                    .max_by_key(|row| row.healed_ns)?;
                let since = start_ns - last.healed_ns?;
                Some(format!(
                    "{} after fault {} ({}) was healed",
                    number::duration(since),
                    last.id,
                    last.label
                ))
            }
            [one] => Some(format!("during fault {} ({})", one.id, one.label)),
            [first, rest @ ..] => Some(format!(
                "during fault {} ({}) and {}",
                first.id,
                first.label,
                number::counted(rest.len() as u64, "other")
            )),
        }
    }
}

fn waited(record: Option<&FaultRecord>, planned: Option<&PlannedFault>) -> Option<Waited> {
    let Some((record, triggered)) =
        record.and_then(|record| Some((record, record.triggered.as_ref()?)))
    else {
        let trigger = planned?.trigger.as_ref()?;
        return Some(Waited::For(text::clip(&trigger.to_string(), 300)));
    };
    Some(Waited::Fired(Fired {
        what: text::clip(&triggered.what, 300),
        at_ns: triggered.fired_ns,
        bound_ns: triggered.bound_ns,
        delay_ns: triggered.due_ns.saturating_sub(triggered.fired_ns),
        late_ns: record.late_ns(),
    }))
}

fn row(record: &FaultRecord, planned: Option<&PlannedFault>, planned_ns: Option<u64>) -> FaultRow {
    let state = if record.self_healed {
        State::SelfHealed
    } else if record.observed_ns.is_none() {
        State::NotObserved
    } else if record.healed_ns.is_some() {
        State::Healed
    } else {
        State::NotHealed
    };
    FaultRow {
        anchor: format!("fault-{}", record.id),
        id: record.id,
        kind: text::clip(&record.kind, 40),
        label: text::clip(&record.label, text::VALUE_CHARS),
        nodes: record
            .nodes
            .iter()
            .map(|node| text::clip(node, 40))
            .collect(),
        state,
        planned_ns,
        waited: waited(Some(record), planned),
        asked_ns: record.asked_ns,
        observed_ns: record.observed_ns,
        heal_asked_ns: record.heal_asked_ns,
        healed_ns: record.healed_ns,
        open: record.is_open(),
        evidence: record
            .evidence
            .iter()
            .take(EVIDENCE_LIMIT)
            .map(|seen| (text::clip(&seen.node, 40), text::clip(&seen.text, 300)))
            .collect(),
        evidence_left_out: record.evidence.len().saturating_sub(EVIDENCE_LIMIT),
        problems: record
            .problems
            .iter()
            .take(EVIDENCE_LIMIT)
            .map(|problem| text::clip(problem, 300))
            .collect(),
    }
}

fn only_planned(planned: &PlannedFault, at_ns: Option<u64>) -> FaultRow {
    let kind = text::clip(&planned.kind, 40);
    FaultRow {
        anchor: format!("planned-{}", planned.id),
        id: planned.id,
        label: format!("{kind} {}", text::clip(&planned.target, 80)),
        kind,
        nodes: Vec::new(),
        state: State::OnlyPlanned,
        planned_ns: at_ns,
        waited: waited(None, Some(planned)),
        asked_ns: None,
        observed_ns: None,
        heal_asked_ns: None,
        healed_ns: None,
        open: false,
        evidence: Vec::new(),
        evidence_left_out: 0,
        problems: Vec::new(),
    }
}
