//! Who saw a part of what must be seen together, on lists, by the definitions (Cerone, Bernardi and Gotsman, CONCUR 2015).
//!
//! The circle of a witness begins anywhere. One of its edges leads from who read a list to who appended an element that the list does not hold; the others, from
//! who appended an element to who read a list that holds it, or from what a process did to what it did later. An order of versions is not needed.

use harness_core::verdict::Witness;
use serde_json::Value;

use super::facts::{self, Facts, Shape, Txn, elements};

/// Whether the witness is of this kind.
pub(super) fn is_sight(witness: &Witness) -> bool {
    witness.kind.starts_with("fractured-read") || witness.kind.starts_with("causality-violation")
}

/// Whether the edges show it; `Ok(false)` if there are none.
pub(super) fn verify(facts: &Facts, witness: &Witness) -> Result<bool, String> {
    if facts.shape != Shape::Lists {
        return Err(format!("{} is told of lists only", witness.kind));
    }
    if !facts::is_closed(witness)? {
        return Ok(false);
    }
    let sessions = witness.kind.ends_with("-process");
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
