//! Anomalies of one or two transactions.

use std::collections::BTreeSet;

use harness_core::{history::Outcome, verdict::Witness};
use serde_json::Value;

use super::facts::{Facts, Shape, Step, Txn, elements};

type Told = Result<bool, String>;

/// None if the kind is none of these.
pub(super) fn verify(facts: &Facts, witness: &Witness) -> Option<Told> {
    let first = match facts.txn(*witness.operations.first()?) {
        Ok(first) => first,
        Err(detail) => return Some(Err(detail)),
    };
    let second = witness.operations.get(1);
    let second = second.and_then(|index| facts.txn(*index).ok());
    let reads = || first.steps.iter().filter(|step| !step.write);
    let holds = match witness.kind.as_str() {
        "duplicate-elements" => reads().any(|read| {
            let list = elements(&read.value);
            let different: BTreeSet<String> = list.iter().map(Value::to_string).collect();
            different.len() < list.len()
        }),
        "unwritten-read" => reads().any(|read| {
            shown(facts, read)
                .into_iter()
                .any(|value| !value.is_null() && facts.writers(&read.key, value).is_empty())
        }),
        "G1a" => second.is_some_and(|writer| {
            writer.outcome == Outcome::Fail
                && reads().any(|read| {
                    let values = shown(facts, read);
                    values
                        .into_iter()
                        .any(|value| writer.writes(&read.key).any(|written| written == value))
                })
        }),
        "G1b" => second.is_some_and(|writer| {
            writer.index != first.index
                && reads().any(|read| {
                    let last = shown(facts, read).pop();
                    let wrote: Vec<&Value> = writer.writes(&read.key).collect();
                    let at = wrote.iter().position(|written| Some(*written) == last);
                    at.is_some_and(|at| at + 1 < wrote.len())
                })
        }),
        "future-read" => first.steps.iter().enumerate().any(|(place, read)| {
            !read.write
                && first.steps[place..].iter().any(|later| {
                    later.write
                        && later.key == read.key
                        && shown(facts, read).contains(&&later.value)
                })
        }),
        "internal" => contradicts_itself(facts, first),
        "incompatible-order" => second.unwrap_or(first).steps.iter().any(|long| {
            reads().any(|short| {
                let (a, b) = (elements(&short.value), elements(&long.value));
                let same = a.iter().zip(b).all(|(a, b)| a == b);
                !long.write && short.key == long.key && !same
            })
        }),
        "lost-update" => second.is_some_and(|second| {
            first.index != second.index
                && first.outcome == Outcome::Ok
                && second.outcome == Outcome::Ok
                && first.keys().into_iter().any(|key| {
                    first
                        .reads_first(key)
                        .any(|read| second.reads_first(key).any(|other| other == read))
                        && first.writes(key).next().is_some()
                        && second.writes(key).next().is_some()
                })
        }),
        "dirty-update" => second.is_some_and(|failed| {
            failed.outcome == Outcome::Fail
                && first.outcome == Outcome::Ok
                && facts.reads().any(|(_, read)| {
                    let list = elements(&read.value);
                    let place = |txn: &Txn| {
                        list.iter()
                            .position(|item| txn.writes(&read.key).any(|written| written == item))
                    };
                    matches!((place(failed), place(first)), (Some(below), Some(_)) if list[below..]
                        .iter()
                        .any(|item| first.writes(&read.key).any(|written| written == item)))
                })
        }),
        "cyclic-versions" => return Some(cyclic(facts, witness)),
        _ => return None,
    };
    Some(if holds {
        Ok(true)
    } else {
        Err(format!(
            "operation {} shows no {}",
            first.index, witness.kind
        ))
    })
}

/// The values that a read shows, in order.
fn shown<'a>(facts: &Facts, read: &'a Step) -> Vec<&'a Value> {
    match facts.shape {
        Shape::Lists => elements(&read.value).iter().collect(),
        Shape::Registers => vec![&read.value],
    }
}

/// Plays a transaction for itself, each key beginning with what it read there first.
fn contradicts_itself(facts: &Facts, txn: &Txn) -> bool {
    txn.keys().into_iter().any(|key| {
        // What is there, as far as it is known: of a list all of it, or its end.
        let mut whole = false;
        let mut known: Option<Vec<&Value>> = None;
        for step in txn.steps.iter().filter(|step| step.key == *key) {
            let state = known.get_or_insert_default();
            match (step.write, facts.shape) {
                (true, Shape::Lists) => state.push(&step.value),
                (true, Shape::Registers) => {
                    *state = vec![&step.value];
                    whole = true;
                }
                (false, _) => {
                    let read = shown(facts, step);
                    let fits = if whole {
                        read == *state
                    } else {
                        read.ends_with(state)
                    };
                    if !fits {
                        return true;
                    }
                    *state = read;
                    whole = true;
                }
            }
        }
        false
    })
}

/// Each transaction read the value of the one before and wrote its own.
fn cyclic(facts: &Facts, witness: &Witness) -> Told {
    let txns: Vec<&Txn> = witness
        .operations
        .iter()
        .map(|index| facts.txn(*index))
        .collect::<Result<_, _>>()?;
    let Some(first) = txns.first() else {
        return Ok(false);
    };
    let before = |a: &Txn, b: &Txn, key: &Value| {
        let made = a.writes(key).next_back();
        b.writes(key).next().is_some() && b.reads_first(key).any(|read| made == Some(read))
    };
    let circle = |key: &Value| {
        let next = txns.iter().cycle().skip(1);
        txns.iter().zip(next).all(|(a, b)| before(a, b, key))
    };
    match first.keys().into_iter().any(circle) {
        true => Ok(true),
        false => Err("no key's versions replace each other in that circle".to_owned()),
    }
}
