//! Weak isolation by its definition (Biswas and Enea, OOPSLA 2019).

use harness_core::{history::Outcome, verdict::Witness};
use serde_json::Value;

use super::facts::{self, Facts, Txn};

/// Whether the witness shows what it claims; `Ok(false)` if it shows no circle.
pub(super) fn verify(facts: &Facts, model: &str, witness: &Witness) -> Result<bool, String> {
    let txns = witness
        .operations
        .iter()
        .map(|index| facts.txn(*index))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = txns.first() else {
        return Ok(false);
    };
    let other = txns.get(1).unwrap_or(first);
    let reads = || {
        first
            .steps
            .iter()
            .enumerate()
            .filter(|(_, step)| !step.write)
    };
    let own = |place: usize, key: &Value| {
        let before = first.steps[..place].iter().rev();
        let mut own = before.filter(|step| step.write && step.key == *key);
        own.next().map(|step| step.value.clone())
    };
    let holds = match witness.kind.as_str() {
        "internal" => reads().any(|(place, read)| {
            own(place, &read.key).is_some_and(|written| written != read.value)
        }),
        "unwritten-read" => reads().any(|(_, read)| {
            !read.value.is_null() && facts.writers(&read.key, &read.value).is_empty()
        }),
        "future-read" => reads().any(|(place, read)| {
            own(place, &read.key).is_none()
                && first.writes(&read.key).any(|value| *value == read.value)
        }),
        "aborted-read" => {
            other.outcome == Outcome::Fail
                && reads()
                    .any(|(_, read)| other.writes(&read.key).any(|value| *value == read.value))
        }
        "intermediate-read" => reads().any(|(_, read)| {
            let last = other.writes(&read.key).next_back();
            other.writes(&read.key).any(|value| *value == read.value) && last != Some(&read.value)
        }),
        "initial-value-too-late" => reads().any(|(place, read)| {
            read.value.is_null()
                && own(place, &read.key).is_none()
                && other.writes(&read.key).next().is_some()
                && knew(
                    facts,
                    Level {
                        model,
                        sessions: true,
                    },
                    first,
                    place,
                    other,
                )
        }),
        "causality-cycle" | "commit-order-cycle" => return circle(facts, model, witness),
        other => return Err(format!("{other} is no kind that weak isolation has")),
    };
    match holds {
        true => Ok(true),
        false => Err(format!(
            "operation {} shows no {}",
            first.index, witness.kind
        )),
    }
}

fn circle(facts: &Facts, model: &str, witness: &Witness) -> Result<bool, String> {
    if !facts::is_closed(witness)? {
        return Ok(false);
    }
    let level = Level {
        model,
        sessions: true,
    };
    for edge in &witness.edges {
        let (from, to) = (facts.txn(edge.from)?, facts.txn(edge.to)?);
        let causes = leads(facts, level, from, to);
        let demanded = witness.kind == "commit-order-cycle" && demanded(facts, level, from, to);
        if !(causes || demanded) {
            return Err(format!(
                "nothing puts operation {} before {}",
                edge.from, edge.to
            ));
        }
    }
    Ok(true)
}

/// A level, and whether what a process did first counts.
#[derive(Clone, Copy)]
pub(super) struct Level<'m> {
    pub model: &'m str,
    pub sessions: bool,
}

/// Whether some reader demands that `from` comes before `to`.
pub(super) fn demanded(facts: &Facts, level: Level<'_>, from: &Txn, to: &Txn) -> bool {
    let readers = facts.txns.iter().filter(|txn| facts.took_effect(txn));
    readers.into_iter().any(|reader| {
        reader.steps.iter().enumerate().any(|(place, read)| {
            let own = reader.steps[..place]
                .iter()
                .any(|step| step.write && step.key == read.key);
            !read.write
                && !own
                && reader.index != from.index
                && to.writes(&read.key).any(|value| *value == read.value)
                && from.writes(&read.key).next().is_some()
                && knew(facts, level, reader, place, from)
        })
    })
}

/// Whether a reader knew of a transaction at one of its steps, as the level sees it.
pub(super) fn knew(facts: &Facts, level: Level<'_>, reader: &Txn, place: usize, of: &Txn) -> bool {
    let reads_from = |until: usize| {
        reader.steps[..until]
            .iter()
            .any(|step| !step.write && of.writes(&step.key).any(|value| *value == step.value))
    };
    match level.model {
        "read-committed" => reads_from(place),
        "read-atomic" => level.sessions && in_session(of, reader) || reads_from(reader.steps.len()),
        _ => leads(facts, level, of, reader),
    }
}

fn in_session(before: &Txn, after: &Txn) -> bool {
    before.process == after.process && before.index < after.index
}

/// Whether sessions, if they count, and reads lead from one to the other, over one step or more.
pub(super) fn leads(facts: &Facts, level: Level<'_>, from: &Txn, to: &Txn) -> bool {
    let mut known = vec![to.index];
    let mut open = vec![to];
    while let Some(at) = open.pop() {
        for before in facts.txns.iter().filter(|txn| facts.took_effect(txn)) {
            let read = at.steps.iter().any(|step| {
                !step.write
                    && before.index != at.index
                    && before.writes(&step.key).any(|value| *value == step.value)
            });
            if !(read || level.sessions && in_session(before, at)) {
                continue;
            }
            if before.index == from.index {
                return true;
            }
            if !known.contains(&before.index) {
                known.push(before.index);
                open.push(before);
            }
        }
    }
    false
}
