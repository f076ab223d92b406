//! Witnesses of sets, bank accounts and queues.

use std::collections::BTreeMap;

use harness_core::{
    history::{Operation, Outcome},
    verdict::{CheckInput, Witness},
};
use serde_json::Value;

use super::Finding;

fn culprit<'a>(input: &CheckInput<'a>, witness: &Witness) -> Option<&'a Operation> {
    let index = witness.culprits.first()?;
    input
        .history
        .operations
        .iter()
        .find(|operation| operation.index == *index)
}

const NOBODY: &str = "it names no operation of the history";

fn elements(operation: &Operation) -> &[Value] {
    operation
        .output
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// A set: `lost`, `stale`, `duplicated`, `failed-present`, `unexpected`.
pub(super) fn set(options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let word = |name: &str, default: &'static str| {
        options
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or(default)
            .to_owned()
    };
    let (add, read) = (word("add", "add"), word("read", "read"));
    let Some(bad) = culprit(input, witness) else {
        return Finding::Refuted(NOBODY.to_owned());
    };
    let all = &input.history.operations;
    let reads = || {
        all.iter().filter(|other| {
            *other.f == *read && other.outcome == Outcome::Ok && other.output.is_array()
        })
    };
    let end = bad.completed_index.unwrap_or(u64::MAX);
    match witness.kind.as_str() {
        "duplicated" => Finding::of(
            elements(bad)
                .iter()
                .enumerate()
                .any(|(at, value)| elements(bad)[..at].contains(value)),
            "that read has no element twice",
        ),
        "failed-present" | "unexpected" => {
            let explained = |value: &Value| {
                all.iter().any(|other| {
                    *other.f == *add
                        && other.outcome != Outcome::Fail
                        && other.input == *value
                        && other.index < end
                })
            };
            Finding::of(
                !elements(bad).iter().all(explained),
                "somebody had begun to add each element of that read",
            )
        }
        "lost" | "stale" => {
            // The element: what was added by an operation of the witness, or what one of its reads has.
            let named = all.iter().filter(|other| {
                witness.operations.contains(&other.index) && other.index != bad.index
            });
            let candidates: Vec<&Value> = named
                .flat_map(|other| {
                    if *other.f == *add {
                        std::slice::from_ref(&other.input)
                    } else {
                        elements(other)
                    }
                })
                .collect();
            let gone = |value: &Value| {
                let acknowledged = all.iter().any(|other| {
                    *other.f == *add
                        && other.input == *value
                        && other.outcome == Outcome::Ok
                        && other.completed_index.is_some_and(|ended| ended < bad.index)
                });
                let seen = reads().any(|other| {
                    elements(other).contains(value)
                        && other.completed_index.is_some_and(|ended| ended < bad.index)
                });
                let back =
                    reads().any(|other| other.index > bad.index && elements(other).contains(value));
                (acknowledged || seen)
                    && !elements(bad).contains(value)
                    && (back == (witness.kind == "stale"))
            };
            Finding::of(
                candidates.into_iter().any(gone),
                "no element that it names was known before that read, missing in it, and gone",
            )
        }
        other => Finding::NotTried(format!("{other} is not known here")),
    }
}

/// Accounts: `wrong-total`, `negative`, `null-balance`, `missing-account`, `unexpected-account`.
pub(super) fn bank(options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let Some(bad) = culprit(input, witness) else {
        return Finding::Refuted(NOBODY.to_owned());
    };
    let option = |name: &str| {
        options
            .get(name)
            .filter(|value| !value.is_null())
            .or_else(|| input.meta.workload_options.get(name))
            .filter(|value| !value.is_null())
    };
    let balances = |operation: &Operation| -> BTreeMap<String, Value> {
        operation
            .output
            .as_object()
            .map(|map| map.clone().into_iter().collect())
            .unwrap_or_default()
    };
    let sum = |operation: &Operation| -> i128 {
        balances(operation)
            .values()
            .filter_map(Value::as_i64)
            .map(i128::from)
            .sum()
    };
    let held = balances(bad);
    match witness.kind.as_str() {
        "wrong-total" => {
            let first = input.history.operations.iter().find(|other| {
                other.outcome == Outcome::Ok && other.output.is_object() && &*other.f == "read"
            });
            let total = option("total")
                .and_then(Value::as_i64)
                .map(i128::from)
                .or_else(|| first.map(sum));
            Finding::of(
                total.is_some_and(|total| sum(bad) != total),
                "the balances of that read add up",
            )
        }
        "negative" => Finding::of(
            held.values()
                .any(|value| value.as_i64().is_some_and(|value| value < 0)),
            "no balance of that read is negative",
        ),
        "null-balance" => Finding::of(
            held.values().any(|value| value.as_i64().is_none()),
            "each balance of that read is a whole number",
        ),
        kind @ ("missing-account" | "unexpected-account") => {
            let Some(accounts) = option("accounts").and_then(Value::as_array) else {
                return Finding::NotTried("the accounts are not given".to_owned());
            };
            let names: Vec<String> = accounts
                .iter()
                .map(|account| {
                    account
                        .as_str()
                        .map_or_else(|| account.to_string(), str::to_owned)
                })
                .collect();
            let proved = if kind == "missing-account" {
                names.iter().any(|name| !held.contains_key(name))
            } else {
                held.keys().any(|name| !names.contains(name))
            };
            Finding::of(proved, "that read has the accounts that there are")
        }
        other => Finding::NotTried(format!("{other} is not known here")),
    }
}

/// A queue: `unexpected`, `duplicated`, `lost`.
pub(super) fn queue(_options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let Some(bad) = culprit(input, witness) else {
        return Finding::Refuted(NOBODY.to_owned());
    };
    let all = &input.history.operations;
    let taken = |operation: &Operation| -> Vec<Value> {
        match (&*operation.f, operation.outcome) {
            ("dequeue", Outcome::Ok) if !operation.output.is_null() => {
                vec![operation.output.clone()]
            }
            ("drain", Outcome::Ok) => elements(operation).to_vec(),
            _ => Vec::new(),
        }
    };
    let tries = |value: &Value, before: u64| {
        all.iter()
            .filter(|other| {
                &*other.f == "enqueue"
                    && other.outcome != Outcome::Fail
                    && other.input == *value
                    && other.index < before
            })
            .count()
    };
    let times = |value: &Value| {
        all.iter()
            .flat_map(taken)
            .filter(|other| other == value)
            .count()
    };
    match witness.kind.as_str() {
        "unexpected" => {
            let end = bad.completed_index.unwrap_or(u64::MAX);
            Finding::of(
                taken(bad).iter().any(|value| tries(value, end) == 0),
                "somebody had begun to put in what it took",
            )
        }
        "duplicated" => Finding::of(
            taken(bad)
                .iter()
                .any(|value| times(value) > tries(value, u64::MAX)),
            "it came out no more often than it was put in",
        ),
        "lost" => {
            let acknowledged = all
                .iter()
                .filter(|other| {
                    &*other.f == "enqueue"
                        && other.outcome == Outcome::Ok
                        && other.input == bad.input
                })
                .count();
            let ended = all
                .iter()
                .filter(|other| &*other.f == "enqueue" && other.outcome == Outcome::Ok)
                .filter_map(|other| other.completed_index)
                .max();
            let emptied = all.iter().any(|other| {
                let nothing = match (&*other.f, other.outcome) {
                    ("dequeue", Outcome::Ok) => other.output.is_null(),
                    ("drain", Outcome::Ok) => true,
                    ("dequeue", Outcome::Fail) => other
                        .error
                        .as_ref()
                        .is_some_and(|error| error.kind == "empty"),
                    _ => false,
                };
                nothing && ended.is_none_or(|ended| ended < other.index)
            });
            Finding::of(
                emptied && bad.outcome == Outcome::Ok && times(&bad.input) < acknowledged,
                "it came out as often as it was acknowledged, or the queue was not emptied",
            )
        }
        other => Finding::NotTried(format!("{other} is not known here")),
    }
}
