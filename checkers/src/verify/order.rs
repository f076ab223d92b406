//! Is there an order at all? Every order is tried (Wing and Gong 1993), on objects written down as plainly as possible.

use std::collections::HashSet;

use harness_core::history::{Operation, Outcome};
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
    let list = || state.as_array().cloned().unwrap_or_default();
    let sorted = |mut all: Vec<Value>| {
        all.sort_by_key(Value::to_string);
        all.dedup();
        Value::from(all)
    };
    match (model, &*act.operation.f) {
        ("register" | "cas-register" | "key-value", "read" | "r" | "get") => {
            let same =
                says(state) || model == "key-value" && act.result.is_null() && *state == json!("");
            same.then(|| state.clone())
        }
        ("register" | "cas-register" | "key-value", "write" | "w" | "put" | "set") => {
            Some(argument.clone())
        }
        ("cas-register", "cas") if act.operation.outcome == Outcome::Fail => {
            (argument.get(0) != Some(state)).then(|| state.clone())
        }
        ("cas-register", "cas") => (argument.get(0) == Some(state)).then(|| argument[1].clone()),
        ("key-value", "append") => {
            Some(json!(format!("{}{}", state.as_str()?, argument.as_str()?)))
        }
        ("mutex", "acquire") => (*state == json!(false)).then_some(Value::Bool(true)),
        ("mutex", "release") => (*state == json!(true)).then_some(Value::Bool(false)),
        ("owned-mutex", "acquire") => state.is_null().then(|| owner(act)),
        ("owned-mutex", "release") => (*state == owner(act)).then_some(Value::Null),
        ("multi-register", _) => {
            transaction(state, if known { &act.result } else { argument }, known)
        }
        ("counter", "add") => Some(json!(state.as_i64()? + argument.as_i64()?)),
        ("counter" | "list", "read") => says(state).then(|| state.clone()),
        ("set" | "membership", "read" | "list") => {
            let same =
                !known || sorted(act.result.as_array().cloned().unwrap_or_default()) == *state;
            same.then(|| state.clone())
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

/// Who asks, as an owner.
fn owner(act: &Act<'_>) -> Value {
    json!(act.operation.process.to_string())
}

/// Reads and writes of registers one after the other, reads only if what they saw is known.
fn transaction(state: &Value, steps: &Value, known: bool) -> Option<Value> {
    let mut state = state.clone();
    for step in steps.as_array()? {
        let key = step.get(1)?.to_string();
        let value = step.get(2).cloned().unwrap_or_default();
        match step.get(0)?.as_str()? {
            "w" => state[key] = value,
            "r" if known && state.get(&key).unwrap_or(&Value::Null) != &value => return None,
            _ => {}
        }
    }
    Some(state)
}

/// What an object of that model is at first.
pub(super) fn initial(model: &str, given: &Value) -> Option<Value> {
    Some(match model {
        _ if !given.is_null() => given.clone(),
        "register" | "cas-register" | "owned-mutex" => Value::Null,
        "multi-register" => json!({}),
        "key-value" => json!(""),
        "mutex" => json!(false),
        "counter" => json!(0),
        "set" | "membership" | "list" | "queue" | "stack" => json!([]),
        _ => return None,
    })
}
