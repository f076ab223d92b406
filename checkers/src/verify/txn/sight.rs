//! Who saw a part of what must be seen together, by the definitions (Cerone, Bernardi and Gotsman, CONCUR 2015; for registers Biswas and Enea, OOPSLA 2019).
//!
//! The circle of a witness begins anywhere. On lists one of its edges leads from who read a list to who appended an element that the list does not hold; the others, from
//! who appended an element to who read a list that holds it, or from what a process did to what it did later. An order of versions is not needed.
//! On registers either one edge leads from who read what was there at first to who wrote it and was known, and the others are of what was seen; or each edge is one of
//! the order of commits.

use harness_core::verdict::Witness;
use serde_json::Value;

use super::{
    facts::{self, Facts, Shape, Step, Txn, elements},
    weak::{Level, demanded, knew, leads},
};

/// Whether the witness is of this kind.
pub(super) fn is_sight(witness: &Witness) -> bool {
    witness.kind.starts_with("fractured-read") || witness.kind.starts_with("causality-violation")
}

/// Whether the edges show it; `Ok(false)` if there are none.
pub(super) fn verify(facts: &Facts, witness: &Witness) -> Result<bool, String> {
    if !facts::is_closed(witness)? {
        return Ok(false);
    }
    let sessions = witness.kind.ends_with("-process");
    if facts.shape == Shape::Registers {
        return registers(facts, witness, sessions);
    }
    let mut missed = 0;
    for edge in &witness.edges {
        let (from, to) = (facts.txn(edge.from)?, facts.txn(edge.to)?);
        if !(facts.took_effect(from) && facts.took_effect(to)) {
            return Err(format!(
                "operations {} and {} are not both known to have taken effect",
                edge.from, edge.to
            ));
        }
        let earlier =
            sessions && from.process == to.process && from.index < to.index && from.ended.is_some();
        if saw(to, from) || earlier {
            continue;
        }
        if !misses(from, to) {
            return Err(format!(
                "operation {} did not see {}, which missed nothing of it",
                edge.to, edge.from
            ));
        }
        missed += 1;
    }
    let short = witness.edges.len() == 2 || !witness.kind.starts_with("fractured-read");
    match missed == 1 && short {
        true => Ok(true),
        false => Err(format!("the circle is none of kind {}", witness.kind)),
    }
}

fn registers(facts: &Facts, witness: &Witness, sessions: bool) -> Result<bool, String> {
    let level = Level {
        model: match witness.kind.starts_with("fractured-read") {
            true => "read-atomic",
            false => "causal",
        },
        sessions,
    };
    let (mut commits, mut late) = (0, 0);
    for edge in &witness.edges {
        let (from, to) = (facts.txn(edge.from)?, facts.txn(edge.to)?);
        let initial = from.steps.iter().enumerate().any(|(place, step)| {
            let own = |earlier: &Step| earlier.write && earlier.key == step.key;
            !step.write
                && step.value.is_null()
                && !from.steps[..place].iter().any(own)
                && to.writes(&step.key).next().is_some()
                && knew(facts, level, from, place, to)
        });
        if leads(facts, level, from, to) {
            continue;
        }
        if !(facts.took_effect(to) && (initial || demanded(facts, level, from, to))) {
            return Err(format!(
                "nothing puts operation {} before {}",
                edge.from, edge.to
            ));
        }
        commits += usize::from(!initial);
        late += usize::from(initial);
    }
    match commits > 0 && late == 0 || commits == 0 && late == 1 {
        true => Ok(true),
        false => Err(format!("the circle is none of kind {}", witness.kind)),
    }
}

/// Whether a list that a transaction read holds an element of another.
fn saw(reader: &Txn, writer: &Txn) -> bool {
    reader.index != writer.index
        && reads(reader).any(|(key, list)| writer.writes(key).any(|value| list.contains(value)))
}

/// Whether it does not hold all of them.
fn misses(reader: &Txn, writer: &Txn) -> bool {
    reader.index != writer.index
        && reads(reader).any(|(key, list)| writer.writes(key).any(|value| !list.contains(value)))
}

fn reads(txn: &Txn) -> impl Iterator<Item = (&Value, &[Value])> {
    let steps = txn.steps.iter().filter(|step| !step.write);
    steps.map(|step| (&step.key, elements(&step.value)))
}
