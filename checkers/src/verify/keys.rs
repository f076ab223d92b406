//! Values that carry keys: which, and what happened to one key alone.
//!
//! Keys are told by their look. What there is of the object says so, all of it: what is put in is `[key, something]`, a
//! question `[key, null]`, its answer `[key, answer]`; and nothing that the object has looks like that by itself.

use harness_core::{
    history::{History, Operation, Outcome},
    verdict::Witness,
};
use serde_json::Value;

fn two(value: &Value) -> Option<(&Value, &Value)> {
    let array = value.as_array().filter(|array| array.len() == 2)?;
    let word = array[0].is_string() || array[0].is_number() || array[0].is_boolean();
    word.then(|| (&array[0], &array[1]))
}

/// Whether an answer behind a key is one that the object gives. None: the operation asks nothing.
fn answers(object: &str, f: &str, answer: &Value) -> Option<bool> {
    Some(match (object, f) {
        ("set" | "membership", "read" | "list") | ("list" | "reverse", "read") => {
            answer.is_array() || answer.is_null()
        }
        ("queue", "drain") => answer.is_array() || answer.is_null(),
        ("counter", "read") => answer.is_i64() || answer.is_null(),
        ("queue", "dequeue") | ("stack", "pop") => true,
        _ => return None,
    })
}

/// Whether what is put in behind a key is what the object takes. None: the operation puts nothing in.
fn takes(object: &str, f: &str, given: &Value) -> Option<bool> {
    Some(match (object, f) {
        ("mutex" | "owned-mutex", "acquire" | "release") => given.is_null(),
        ("counter", "add") => given.is_i64(),
        ("counter", "increment" | "decrement") => given.is_i64() || given.is_null(),
        ("set", "add" | "remove")
        | ("membership", "join" | "remove")
        | ("list", "append")
        | ("queue", "enqueue")
        | ("stack", "push")
        | ("reverse", "write") => true,
        _ => return None,
    })
}

/// Whether values carry keys. `object` is a model of `linearizable`, or `reverse`; `f` says what a kind of operation is
/// called there, or None if it is none of the object's.
pub(super) fn told<'a>(
    object: &str,
    operations: impl Iterator<Item = &'a Operation>,
    f: impl Fn(&'a str) -> Option<&'a str>,
) -> bool {
    let mut proved = object.ends_with("mutex");
    for operation in operations {
        let Some(f) = f(&operation.f) else { continue };
        let Some((key, given)) = two(&operation.input) else {
            return false;
        };
        let fits = match (answers(object, f, &Value::Null), takes(object, f, given)) {
            (Some(_), _) => {
                proved = true;
                given.is_null()
                    && (operation.outcome != Outcome::Ok
                        || two(&operation.output).is_some_and(|(of, answer)| {
                            of == key && answers(object, f, answer) == Some(true)
                        }))
            }
            (None, takes) => takes == Some(true),
        };
        if !fits {
            return false;
        }
    }
    proved
}

/// What happened to the key of the witness' culprit, without keys.
pub(super) fn part(history: &History, witness: &Witness) -> History {
    let all = &history.operations;
    let culprit = all
        .iter()
        .find(|one| witness.culprits.contains(&one.index))
        .and_then(|one| two(&one.input));
    let Some((key, _)) = culprit else {
        return History::default();
    };
    let bare = |value: &Value| match two(value) {
        Some((of, inner)) if of == key => inner.clone(),
        _ => value.clone(),
    };
    let of_key = |one: &&Operation| two(&one.input).is_some_and(|(of, _)| of == key);
    let operations = all.iter().filter(of_key).map(|one| Operation {
        input: bare(&one.input),
        output: bare(&one.output),
        ..one.clone()
    });
    History {
        operations: operations.collect(),
        ..History::default()
    }
}
