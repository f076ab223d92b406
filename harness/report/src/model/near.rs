//! Which operations are near a witness: these stay exact, whatever else is binned.
//!
//! Near is: drawn with a witness, or among the [`EACH_SIDE`] operations that were invoked before or after the
//! start or the end of a named one. At most [`LIMIT`] in all, the first witnesses first.

use std::collections::HashSet;

use harness_core::{history::History, verdict::VerdictFile};

use super::check::Check;

/// Operations on each side of a moment.
pub const EACH_SIDE: usize = 40;
/// Operations that are kept exact for this reason.
pub const LIMIT: usize = 4_000;

/// Places in [`History::operations`].
#[derive(Clone, Debug, Default)]
pub struct Near(HashSet<usize>);

/// The place of the operation with that index.
#[must_use]
pub fn place_of(history: &History, index: u64) -> Option<usize> {
    history
        .operations
        .binary_search_by_key(&index, |operation| operation.index)
        .ok()
}

impl Near {
    pub(super) fn new(history: &History, verdict: &VerdictFile, checks: &[Check]) -> Self {
        let mut places: HashSet<usize> = checks
            .iter()
            .flat_map(|check| &check.witnesses)
            .flat_map(|witness| &witness.operations)
            .filter_map(|shown| place_of(history, shown.index))
            .collect();
        let operations = &history.operations;
        let witnesses = verdict.results.iter().flat_map(|result| &result.witnesses);
        for index in witnesses.flat_map(|witness| &witness.operations) {
            let Some(place) = place_of(history, *index) else {
                continue;
            };
            let ended = operations[place]
                .completed_ns
                .map(|end| operations.partition_point(|operation| operation.invoked_ns <= end));
            for centre in [Some(place), ended].into_iter().flatten() {
                let first = centre.saturating_sub(EACH_SIDE);
                let last = (centre + EACH_SIDE).min(operations.len());
                if places.len() + (last - first) <= LIMIT {
                    places.extend(first..last);
                }
            }
            places.insert(place);
        }
        Self(places)
    }

    /// Whether the operation at that place is near a witness.
    #[must_use]
    pub fn contains(&self, place: usize) -> bool {
        self.0.contains(&place)
    }
}
