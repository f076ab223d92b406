//! The one time axis: seconds since the run began, from 0 to the last thing that matters, and the phases on it.

use super::ReportInput;
use crate::{number, text};

/// The shortest axis, so that an empty run has one.
const SHORTEST_NS: u64 = 1_000_000;

/// A phase with its place on the axis and its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhaseRow {
    /// Its name.
    pub name: String,
    /// When it began; may be before the run.
    pub start_ns: i64,
    /// When it ended, if it did.
    pub end_ns: Option<i64>,
    /// When it began, in words.
    pub start: String,
    /// How long it took, in words.
    pub length: String,
}

/// The time axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// Its right end, nanoseconds since the run began.
    pub end_ns: u64,
    /// Wall clock of its left end, nanoseconds since 1970.
    pub started_wall_ns: u64,
    /// The phases, also those before and after the axis.
    pub phases: Vec<PhaseRow>,
}

impl Axis {
    pub(super) fn new(input: &ReportInput<'_>) -> Self {
        let operations = input
            .history
            .operations
            .iter()
            .map(|operation| operation.completed_ns.unwrap_or(operation.invoked_ns))
            .max();
        let faults = input.faults.iter().filter_map(|fault| {
            [
                fault.asked_ns,
                fault.observed_ns,
                fault.heal_asked_ns,
                fault.healed_ns,
            ]
            .into_iter()
            .flatten()
            .max()
        });
        let witnesses = input
            .verdict
            .results
            .iter()
            .flat_map(|result| &result.witnesses)
            .map(|witness| witness.end_ns);
        let recovered = ["load", "heal", "recover", "final-reads"]
            .iter()
            .filter_map(|name| input.meta.phase(name)?.end_ns)
            .filter_map(|end| u64::try_from(end).ok());
        let end_ns = operations
            .into_iter()
            .chain(faults)
            .chain(witnesses)
            .chain(recovered)
            .max()
            .unwrap_or_default()
            .max(SHORTEST_NS);
        Self {
            end_ns,
            started_wall_ns: input.meta.started_wall_ns,
            phases: input.meta.phases.iter().map(phase_row).collect(),
        }
    }

    /// The part of the axis that lies before a moment, 0 to 1.
    #[must_use]
    pub fn share(&self, at_ns: u64) -> f64 {
        (at_ns as f64 / self.end_ns as f64).clamp(0.0, 1.0)
    }
}

fn phase_row(phase: &harness_core::meta::Phase) -> PhaseRow {
    let length = match phase.end_ns {
        Some(end) => number::duration(end.saturating_sub(phase.start_ns).max(0).unsigned_abs()),
        None => "did not end".to_owned(),
    };
    PhaseRow {
        name: text::clip(&phase.name, 40),
        start_ns: phase.start_ns,
        end_ns: phase.end_ns,
        start: number::instant_signed(phase.start_ns),
        length,
    }
}
