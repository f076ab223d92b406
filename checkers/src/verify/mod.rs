//! The independent verifier: small, slow, and of another make than what it checks.
//!
//! It takes a history and what a checker said of it, and looks at each witness again, from the history alone and by
//! definitions. It shares no code with the searches. A witness is **confirmed** if the operations that it names prove
//! what it claims, **refuted** if they do not (then the checker is wrong, not the system), and **not tried** where the
//! proof is too long for this slow way, which says so.

mod classics;
mod family;
mod keys;
mod linear;
mod membership;
mod nodes;
mod order;
mod txn;

use harness_core::verdict::{CheckInput, CheckResult, Witness};
use serde_json::Value;

use crate::membership::Invariant;

/// What became of one witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It proves what it claims.
    Confirmed,
    /// It does not.
    Refuted(String),
    /// Nobody can say here.
    NotTried(String),
}

impl Finding {
    fn of(proved: bool, why: &str) -> Self {
        if proved {
            Self::Confirmed
        } else {
            Self::Refuted(why.to_owned())
        }
    }
}

/// Looks at each witness of a result again. `options` are those that the checker had.
#[must_use]
pub fn verify(options: &Value, input: &CheckInput<'_>, result: &CheckResult) -> Vec<Finding> {
    let one: fn(&Value, &CheckInput<'_>, &Witness) -> Finding = match result.checker.as_str() {
        "linearizable" => linear::witness,
        "fifo-queue" => linear::queue,
        "set-full" => family::set,
        "bank" => family::bank,
        "total-queue" => family::queue,
        "counter" => classics::counter,
        "unique-ids" => classics::ids,
        "lock" => classics::lock,
        "long-fork" => classics::fork,
        "causal-reverse" => classics::reverse,
        "availability" => nodes::availability,
        "crashes" => nodes::crash,
        "logs" => nodes::log,
        "append" | "list-append" | "rw-register" | "weak-isolation" => {
            return txn::witnesses(input.history, result);
        }
        name if name == crate::membership::NAME || Invariant::named(name).is_some() => {
            membership::witness
        }
        other => {
            let why = format!("nobody verifies witnesses of {other}");
            return vec![Finding::NotTried(why); result.witnesses.len()];
        }
    };
    let keyed = carries_keys(&result.checker, options, input);
    let look = |witness: &Witness| {
        if !keyed {
            return one(options, input, witness);
        }
        let history = &keys::part(input.history, witness);
        one(options, &CheckInput { history, ..*input }, witness)
    };
    result.witnesses.iter().map(look).collect()
}

/// Whether a checker of one object was given a history of many. `linearizable` has models, and looks for itself.
fn carries_keys(checker: &str, options: &Value, input: &CheckInput<'_>) -> bool {
    let word = |name: &'static str| options.get(name).and_then(Value::as_str).unwrap_or(name);
    let (add, read) = (word("add"), word("read"));
    let operations = input.history.operations.iter();
    let one_of =
        |f: &'static [&'static str]| move |own| f.iter().copied().find(|known| *known == own);
    match checker {
        "set-full" => keys::told("set", operations, |own| match own {
            own if own == add => Some("add"),
            own if own == read => Some("read"),
            _ => None,
        }),
        "counter" => keys::told(
            "counter",
            operations,
            one_of(&["add", "increment", "decrement", "read"]),
        ),
        "total-queue" => keys::told(
            "queue",
            operations,
            one_of(&["enqueue", "dequeue", "drain"]),
        ),
        "causal-reverse" => keys::told("reverse", operations, one_of(&["write", "read"])),
        _ => false,
    }
}
