//! Values that carry a key: many objects in one history, each judged by itself, as in Jepsen's `independent`.
//!
//! ```text
//! add [0 1]   add [1 5]   read [0 nil] → [0 #{1}]      two sets, 0 and 1
//! ```
//!
//! Laws:
//! - keys are told by their look, and only where the other reading makes no sense: everything is `[key, value]`, the key
//!   is a word or a number, whoever asks asks `[key, null]` and is answered `[key, answer]` of the same key, and answers
//!   are of the shape that the object's are. One value that looks otherwise, and all is taken as it stands. So a queue of pairs stays
//!   a queue of pairs: who takes from it does not say what it will get;
//! - what was taken for a key is said in a note of kind `keyed`;
//! - verdicts of keys merge as those of checkers do: one that is unknown keeps the whole from being valid.

use std::collections::{BTreeMap, HashMap};

use harness_core::{
    history::{History, Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Note, Severity, Verdict},
};
use serde_json::{Value, json};

use crate::words;

/// What stands behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Anything,
    /// Null.
    Nothing,
    Integer,
    /// A whole number, or null for one.
    Amount,
    /// A list or a set.
    Collection,
}

impl Shape {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Anything => true,
            Self::Nothing => value.is_null(),
            Self::Integer => value.is_i64(),
            Self::Amount => value.is_i64() || value.is_null(),
            Self::Collection => value.is_array(),
        }
    }
}

/// What an operation does with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It hands the object something of this shape.
    Gives(Shape),
    /// It is answered by something of this shape, or by null.
    Asks(Shape),
    /// It does not concern the object, and has any value.
    Other,
}

/// Key and value.
fn split(value: &Value) -> Option<(&Value, &Value)> {
    match value.as_array().map(Vec::as_slice) {
        Some([key, value]) if !(key.is_null() || key.is_array() || key.is_object()) => {
            Some((key, value))
        }
        _ => None,
    }
}

/// Whether values carry keys. None: some operation's does not.
fn looks(operation: &Operation, role: Role) -> Option<()> {
    let (key, given) = match role {
        Role::Other => return Some(()),
        Role::Gives(_) | Role::Asks(_) => split(&operation.input)?,
    };
    let fits = match role {
        Role::Gives(shape) => shape.fits(given),
        Role::Asks(_) if operation.outcome != Outcome::Ok => given.is_null(),
        Role::Asks(shape) => {
            let (answered, answer) = split(&operation.output)?;
            given.is_null() && answered == key && (shape.fits(answer) || answer.is_null())
        }
        Role::Other => true,
    };
    fits.then_some(())
}

/// Whether values carry keys, by their look. Some operation must show it: one that asks, where the object has such.
pub(crate) fn told<'a>(
    operations: impl IntoIterator<Item = &'a Operation>,
    role: impl Fn(&str) -> Role,
) -> bool {
    let mut shown = false;
    for operation in operations {
        let role = role(&operation.f);
        if looks(operation, role).is_none() {
            return false;
        }
        let silent = matches!(role, Role::Gives(Shape::Nothing));
        shown |= silent || matches!(role, Role::Asks(_));
    }
    shown
}

/// The note that says so.
pub(crate) fn note(keys: usize) -> Note {
    words::note(
        "keyed",
        Severity::Info,
        format!(
            "every value looks like [key, value]: {} judged each by itself",
            words::plural(keys, "key was", "keys were")
        ),
    )
}

/// The histories of all keys, without the keys, in the order of their first operation.
fn by_key(operations: &[Operation], role: impl Fn(&str) -> Role) -> Vec<(&Value, History)> {
    let mut places: HashMap<&Value, usize> = HashMap::new();
    let mut all: Vec<(&Value, History)> = Vec::new();
    for operation in operations {
        let Some((key, input)) =
            split(&operation.input).filter(|_| role(&operation.f) != Role::Other)
        else {
            continue;
        };
        let output = match split(&operation.output) {
            Some((answered, output)) if answered == key => output,
            _ => &operation.output,
        };
        let at = *places.entry(key).or_insert_with(|| {
            all.push((key, History::default()));
            all.len() - 1
        });
        let history = &mut all[at].1;
        history.event_count += 1 + u64::from(operation.completed_index.is_some());
        history.operations.push(Operation {
            input: input.clone(),
            output: output.clone(),
            ..operation.clone()
        });
    }
    all
}

/// Judges the history key by key if values carry keys by their look, else as it stands.
pub(crate) fn judge(
    input: &CheckInput<'_>,
    budget: &dyn Budget,
    role: impl Fn(&str) -> Role,
    one: impl Fn(&CheckInput<'_>, &dyn Budget) -> CheckResult,
) -> CheckResult {
    let operations = &input.history.operations;
    if !told(operations, &role) {
        return one(input, budget);
    }
    let results: Vec<(&Value, CheckResult)> = by_key(operations, role)
        .into_iter()
        .map(|(key, history)| {
            let input = CheckInput {
                history: &history,
                ..*input
            };
            (key, one(&input, budget))
        })
        .collect();
    merge(results)
}

/// One result of those of all keys.
fn merge(results: Vec<(&Value, CheckResult)>) -> CheckResult {
    let verdict = Verdict::merge(results.iter().map(|(_, result)| result.verdict));
    let keys = results.len();
    let same = results
        .iter()
        .filter(|(_, result)| result.verdict == verdict);
    let mut merged = CheckResult::new("", verdict, "");
    if let Some((key, first)) = same.clone().next() {
        merged.checker.clone_from(&first.checker);
        merged.summary = format!(
            "{} of {} {}, as key {}: {}",
            words::count(same.count()),
            words::plural(keys, "key", "keys"),
            verdict.as_str(),
            words::show(key),
            first.summary
        );
    }
    let mut figures: BTreeMap<String, Value> = BTreeMap::new();
    for (key, result) in results {
        let of = |text: String| format!("Key {}: {text}", words::show(key));
        merged.looked_at += result.looked_at;
        merged
            .notes
            .extend(result.notes.into_iter().map(|note| Note {
                text: of(note.text),
                ..note
            }));
        for mut witness in result.witnesses {
            witness.story = of(witness.story);
            merged.witnesses.push(witness);
        }
        for (name, value) in result.figures {
            let known = figures.remove(&name);
            let value = known.map_or(value.clone(), |known| together(&name, &known, &value));
            figures.insert(name, value);
        }
    }
    figures.insert("key_count".to_owned(), json!(keys));
    merged.figures = figures;
    merged.notes.push(note(keys));
    words::finish(merged)
}

/// Counts add up, of anything else the larger one stands; what one key does not know, nobody does.
fn together(name: &str, one: &Value, other: &Value) -> Value {
    if let (Some(one), Some(other)) = (one.as_u64(), other.as_u64()) {
        return match name.ends_with("_count") {
            true => json!(one + other),
            false => json!(one.max(other)),
        };
    }
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => json!(one.max(other)),
        _ => Value::Null,
    }
}
