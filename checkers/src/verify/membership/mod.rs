//! Witnesses of membership's invariants: what is claimed of places, operations and faults is looked up again.
//!
//! A witness of quiescence ends at a moment at which all places still said what it claims: so then nothing had been done for the settle
//! time, and places that count said so. Others name operations, or readings by their node and time.

mod quiet;
mod record;
mod tried;
mod world;

use harness_core::{
    history::{Operation, Outcome},
    verdict::{CheckInput, Witness},
};
use serde_json::Value;

use super::Finding;
use world::{Deed, World};

/// By its kind, so that it is the same whether the invariant was asked for or all of them.
pub(super) fn witness(_options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let world = World::new(input);
    let claim = Claim {
        world: &world,
        witness,
    };
    match witness.kind.as_str() {
        "half-a-member"
        | "ghost"
        | "lost"
        | "pending"
        | "roles-differ"
        | "voter-count"
        | "mixed-identity"
        | "joined-and-gone"
        | "remains-of-a-join"
        | "half-a-join"
        | "removed-and-there"
        | "harmed-by-a-refused-remove"
        | "half-a-remove" => quiet::witness(&claim),
        "resurrected" => record::resurrected(&claim),
        "quorum-given-away" => record::quorum(&claim),
        "two-leaders" | "many-changes" | "two-configurations" => record::pair(&claim),
        "not-unique" => record::twice(&claim),
        "never-converged" => record::never(&claim),
        "token-used-twice" => tried::token(&claim),
        "no-legal-order" => tried::order(&claim),
        "still-inside" => tried::inside(&claim),
        "no-progress" => tried::no_progress(&claim),
        "change-refused" => tried::refused(&claim),
        "way-out-refused" => tried::way_out(&claim),
        "not-restored" => tried::not_restored(&claim),
        "hung" => tried::hung(&claim),
        other => Finding::NotTried(format!("{other} is not known here")),
    }
}

/// A witness, and what is known of its run.
struct Claim<'w, 'a> {
    world: &'w World<'a>,
    witness: &'w Witness,
}

impl<'a> Claim<'_, 'a> {
    /// The operations that it names.
    fn operations(&self) -> Vec<&'a Operation> {
        let all = &self.world.input.history.operations;
        let named = self.witness.operations.iter();
        named
            .filter_map(|index| all.iter().find(|operation| operation.index == *index))
            .collect()
    }

    /// The join or remove that it names first.
    fn deed(&self) -> Option<Deed<'a>> {
        let first = self.witness.operations.first()?;
        let mut deeds = self.world.deeds.iter();
        deeds.find(|deed| deed.operation.index == *first).copied()
    }

    fn within(&self, start_ns: u64, end_ns: u64) -> bool {
        self.witness.start_ns <= start_ns && end_ns <= self.witness.end_ns
    }
}

/// The kind of an operation's error.
fn error(operation: &Operation) -> &str {
    let error = operation.error.as_ref();
    error.map_or("", |error| &error.kind)
}

fn is_ok(operation: &Operation) -> bool {
    operation.outcome == Outcome::Ok
}

const NOBODY: &str = "it names no operation of the history";
