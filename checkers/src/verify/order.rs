//! Is there an order at all? Every order is tried (Wing and Gong 1993), on objects written down as plainly as possible.
//!
//! An operation of a kind that its model does not have ([`kinds`]) is never stepped over in silence: it would have no
//! place in any order, and every claim about its history would be confirmed.

use std::collections::HashSet;

use harness_core::{
    event::Process,
    history::{Operation, Outcome},
};
use serde_json::{Value, json};

/// Places tried before it gives up.
const TRIES_LIMIT: usize = 2_000_000;
/// Operations of a history that is tried at all: one bit each.
const OPERATIONS_LIMIT: usize = 128;

/// One operation of one object.
#[derive(Clone, Debug)]
pub(super) struct Act<'a> {
    pub operation: &'a Operation,
    pub argument: Value,
    pub result: Value,
    /// It must have a place.
    pub owed: bool,
}

/// The kinds of operations that the object has; None if the model is not known here.
pub(super) fn kinds(model: &str) -> Option<&'static [&'static str]> {
    Some(match model {
        "register" => &["read", "r", "get", "write", "w", "put", "set"],
        "cas-register" => &["read", "r", "get", "write", "w", "put", "set", "cas"],
        "key-value" => &["read", "r", "get", "write", "w", "put", "set", "append"],
        "mutex" | "owned-mutex" => &["acquire", "release"],
        "counter" => &["add", "increment", "decrement", "read"],
        "set" => &["add", "remove", "read", "list"],
        "list" => &["append", "read"],
        "queue" => &["enqueue", "dequeue"],
        "stack" => &["push", "pop"],
        "multi-register" => &["txn"],
        "membership" => &["join", "remove", "read", "list"],
        _ => return None,
    })
}

/// Whether the operation only looks: nothing is known of it if nobody saw its answer.
pub(super) fn looks(f: &str) -> bool {
    matches!(f, "read" | "r" | "get" | "list")
}

/// Whether an answer is of a shape that the object gives: what it holds is a list, or null for an empty one.
pub(super) fn fits(model: &str, act: &Act<'_>) -> bool {
    let holds = matches!(model, "set" | "membership" | "list") && looks(&act.operation.f);
    let known = act.operation.outcome == Outcome::Ok;
    !(holds && known) || act.result.is_array() || act.result.is_null()
}

/// A text as it is, nothing as the empty text, anything else as its JSON.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Elements without an order, each once.
fn sorted(mut all: Vec<Value>) -> Value {
    all.sort_by_key(Value::to_string);
    all.dedup();
    all.into()
}

fn elements(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Whether some order is legal; None if it is too much to try.
pub(super) fn exists(model: &str, initial: &Value, acts: &[Act<'_>]) -> Option<bool> {
    if acts.len() > OPERATIONS_LIMIT {
        return None;
    }
    let mut seen = HashSet::new();
    let mut tries = 0;
    go(model, initial, 0, acts, &mut seen, &mut tries)
}

fn go(
    model: &str,
    state: &Value,
    done: u128,
    acts: &[Act<'_>],
    seen: &mut HashSet<(u128, String)>,
    tries: &mut usize,
) -> Option<bool> {
    *tries += 1;
    if *tries > TRIES_LIMIT {
        return None;
    }
    let open = |at: usize| done & (1 << at) == 0;
    let owed = (0..acts.len()).any(|at| open(at) && acts[at].owed);
    if !owed {
        return Some(true);
    }
    if !seen.insert((done, state.to_string())) {
        return Some(false);
    }
    // Whoever comes next began before every open one ended.
    let first_end = (0..acts.len())
        .filter(|at| open(*at) && acts[*at].owed)
        .filter_map(|at| acts[at].operation.completed_index)
        .min()
        .unwrap_or(u64::MAX);
    for at in 0..acts.len() {
        if !open(at) || acts[at].operation.index > first_end {
            continue;
        }
        if let Some(after) = step(model, state, &acts[at])
            && go(model, &after, done | (1 << at), acts, seen, tries)?
        {
            return Some(true);
        }
    }
    Some(false)
}

/// What the object is after the operation; None if it cannot answer so.
fn step(model: &str, state: &Value, act: &Act<'_>) -> Option<Value> {
    let known = act.operation.outcome == Outcome::Ok;
    let says = |answer: &Value| !known || *answer == act.result;
    let argument = &act.argument;
    let list = || elements(state);
    match (model, &*act.operation.f) {
        ("key-value", "read" | "r" | "get") => {
            (!known || text(state) == text(&act.result)).then(|| state.clone())
        }
        ("key-value", "write" | "w" | "put" | "set") => Some(json!(text(argument))),
        ("key-value", "append") => Some(json!(text(state) + &text(argument))),
        ("register" | "cas-register", "read" | "r" | "get") => says(state).then(|| state.clone()),
        ("register" | "cas-register", "write" | "w" | "put" | "set") => Some(argument.clone()),
        ("cas-register", "cas") if act.operation.outcome == Outcome::Fail => {
            (argument.get(0) != Some(state)).then(|| state.clone())
        }
        ("cas-register", "cas") => (argument.get(0) == Some(state)).then(|| argument[1].clone()),
        ("mutex", "acquire") => (*state == json!(false)).then_some(Value::Bool(true)),
        ("mutex", "release") => (*state == json!(true)).then_some(Value::Bool(false)),
        ("owned-mutex", "acquire") => state.is_null().then(|| owner(act)),
        ("owned-mutex", "release") => (*state == owner(act)).then_some(Value::Null),
        ("multi-register", "txn") => transaction(state, act, known),
        ("counter", "add") => plus(state, argument.as_i64()?),
        ("counter", "increment") => plus(state, by(argument)?),
        ("counter", "decrement") => plus(state, by(argument)?.checked_neg()?),
        ("counter", "read") => says(state).then(|| state.clone()),
        ("list", "read") => {
            (!known || Value::from(elements(&act.result)) == *state).then(|| state.clone())
        }
        ("set" | "membership", "read" | "list") => {
            (!known || sorted(elements(&act.result)) == *state).then(|| state.clone())
        }
        ("set", "add") | ("membership", "join") => {
            let mut all = list();
            all.push(argument.clone());
            Some(sorted(all))
        }
        ("set" | "membership", "remove") => {
            let mut all = list();
            all.retain(|other| other != argument);
            Some(all.into())
        }
        ("list", "append") | ("queue", "enqueue") | ("stack", "push") => {
            let mut all = list();
            all.push(argument.clone());
            Some(all.into())
        }
        ("queue", "dequeue") => {
            let mut all = list();
            let first = if all.is_empty() {
                Value::Null
            } else {
                all.remove(0)
            };
            says(&first).then(|| all.into())
        }
        ("stack", "pop") => {
            let mut all = list();
            let last = all.pop().unwrap_or_default();
            says(&last).then(|| all.into())
        }
        _ => None,
    }
}

fn by(argument: &Value) -> Option<i64> {
    if argument.is_null() {
        Some(1)
    } else {
        argument.as_i64()
    }
}

fn plus(state: &Value, amount: i64) -> Option<Value> {
    Some(json!(state.as_i64()?.checked_add(amount)?))
}

/// Who asks, as an owner.
fn owner(act: &Act<'_>) -> Value {
    match act.operation.process {
        Process::Client(number) => json!(number),
        Process::Nemesis => json!("nemesis"),
    }
}

/// Reads and writes of registers one after the other, reads only if what they saw is known. What the answer leaves out is
/// as it was asked.
fn transaction(state: &Value, act: &Act<'_>, known: bool) -> Option<Value> {
    let mut registers = state.as_object()?.clone();
    let told = known && act.result.is_array();
    let steps = if told { &act.result } else { &act.argument };
    for step in elements(steps) {
        let key = match step.get(1)? {
            Value::String(name) => name.clone(),
            other => other.to_string(),
        };
        let value = step.get(2)?.clone();
        match step.get(0)?.as_str()? {
            "w" | "write" => {
                registers.insert(key, value);
            }
            "r" | "read" => {
                if known && registers.get(&key).cloned().unwrap_or_default() != value {
                    return None;
                }
            }
            _ => return None,
        }
    }
    Some(registers.into())
}

/// What an object of that model is at first.
pub(super) fn initial(model: &str, given: &Value) -> Option<Value> {
    Some(match (model, given) {
        ("key-value", given) => json!(text(given)),
        ("set" | "membership", given) => sorted(elements(given)),
        ("register" | "cas-register" | "owned-mutex", given) => given.clone(),
        ("multi-register", Value::Null) => json!({}),
        ("mutex", Value::Null) => json!(false),
        ("counter", Value::Null) => json!(0),
        ("list" | "queue" | "stack", Value::Null) => json!([]),
        ("multi-register" | "mutex" | "counter" | "list" | "queue" | "stack", given) => {
            given.clone()
        }
        _ => return None,
    })
}
