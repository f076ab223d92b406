//! The one set of values that page, summary, JUnit and terminal are written from.
//!
//! Laws:
//! - a value is computed here or below here, once, and nowhere else;
//! - text is already short and on one line, but not escaped: each output escapes for itself;
//! - anchors are unique in a report, and the same for the same run.

pub mod axis;
pub mod block;
pub mod check;
mod exercise;
pub mod fault;
pub mod headline;
pub mod log;
pub mod membership;
pub mod near;
pub mod node;
pub mod operation;
pub mod rest;
pub mod series;
pub mod story;
pub mod tally;
pub mod witness;

use harness_core::{
    fault::FaultRecord,
    history::History,
    meta::{Meta, Plan},
    verdict::{LogText, Verdict, VerdictFile},
    view::View,
};

use crate::text::Anchors;

/// A file of the run, for the list at the end of the page.
#[derive(Clone, Copy, Debug)]
pub struct RunFile<'a> {
    /// Its path under the run's folder.
    pub path: &'a str,
    /// Its size.
    pub size_bytes: u64,
}

/// A loaded run.
#[derive(Clone, Copy)]
pub struct ReportInput<'a> {
    /// `meta.json`.
    pub meta: &'a Meta,
    /// `plan.json`.
    pub plan: &'a Plan,
    /// `ledger.jsonl`, folded.
    pub faults: &'a [FaultRecord],
    /// `history.jsonl`, paired.
    pub history: &'a History,
    /// `views.jsonl`; empty if the run has none.
    pub views: &'a [View],
    /// `verdict.json`.
    pub verdict: &'a VerdictFile,
    /// Logs of the nodes; excerpts are taken here.
    pub logs: &'a [LogText<'a>],
    /// The run's folder as people type it: `results/runs/latest`.
    pub folder: &'a str,
    /// The folder's files.
    pub files: &'a [RunFile<'a>],
}

/// Everything that is shown. See the module's laws.
#[derive(Clone, Debug)]
pub struct Model {
    /// All results merged, as in `verdict.json`.
    pub verdict: Verdict,
    /// No real node ran.
    pub simulated: bool,
    /// What must be said before anything else: simulation, interruption, dirty lab, failures of the harness.
    pub alarms: Vec<headline::Alarm>,
    /// What was run.
    pub headline: headline::Headline,
    /// What happened, the worst first.
    pub sentences: Vec<story::Sentence>,
    /// How many more there would have been.
    pub sentences_left_out: usize,
    /// How to repeat it.
    pub commands: Vec<headline::Command>,
    /// Operations by kind and outcome.
    pub tally: tally::Tally,
    /// The time axis.
    pub axis: axis::Axis,
    /// Rates, quantiles and points over time.
    pub series: series::Series,
    /// Faults as planned and done.
    pub faults: fault::Faults,
    /// What each checker found.
    pub checks: Vec<check::Check>,
    /// Membership over time and at the end, if the run has views.
    pub membership: Option<membership::Membership>,
    /// Operations that have an anchor of their own: of witnesses, close to them, extreme.
    pub operations: Vec<operation::Listed>,
    /// The nodes.
    pub nodes: Vec<node::Node>,
    /// Log lines that were taken from whole logs, and what was left out.
    pub log_remarks: Vec<String>,
    /// Everything else.
    pub rest: rest::Rest,
}

impl Model {
    /// Computes everything that is shown.
    #[must_use]
    pub fn new(input: &ReportInput<'_>) -> Self {
        let mut anchors = Anchors::default();
        let faults = fault::Faults::new(input);
        let tally = tally::Tally::new(input.history);
        let axis = axis::Axis::new(input);
        let checks = check::checks(input, &faults, &mut anchors);
        let near = near::Near::new(input.history, input.verdict, &checks);
        let series = series::Series::new(input.history, &axis, &tally, &near);
        let membership = membership::Membership::new(input, &axis, &faults, &checks, &mut anchors);
        let changes = membership
            .as_ref()
            .map_or(&[][..], |membership| &membership.changes);
        let operations = operation::listed(input, &checks, changes);
        let (nodes, log_remarks) = node::nodes(input, &checks, &faults, &mut anchors);
        let told = story::tell(&story::Scene {
            input,
            tally: &tally,
            faults: &faults,
            checks: &checks,
            membership: membership.as_ref(),
            series: &series,
            nodes: &nodes,
        });
        Self {
            verdict: input.verdict.verdict,
            simulated: input.meta.simulated,
            alarms: headline::alarms(input.meta, &faults),
            headline: headline::Headline::new(input),
            sentences: told.sentences,
            sentences_left_out: told.left_out,
            commands: headline::commands(input),
            tally,
            axis,
            series,
            faults,
            checks,
            membership,
            operations,
            nodes,
            log_remarks,
            rest: rest::Rest::new(input),
        }
    }

    /// All witnesses, in the order of their numbers.
    pub fn witnesses(&self) -> impl Iterator<Item = &witness::WitnessView> {
        self.checks.iter().flat_map(|check| &check.witnesses)
    }

    /// Whether a witness is about one member, and so has its place in that member's lane.
    #[must_use]
    pub fn is_about_a_member(&self, witness: &witness::WitnessView) -> bool {
        self.membership.as_ref().is_some_and(|membership| {
            let mut lanes = membership.lanes.iter();
            lanes.any(|lane| lane.witnesses.contains(&witness.number))
        })
    }

    /// Checks with that verdict.
    pub fn with_verdict(&self, verdict: Verdict) -> impl Iterator<Item = &check::Check> {
        self.checks
            .iter()
            .filter(move |check| check.verdict == verdict)
    }
}
