//! Operations that are shown one by one: how each is written, and which have a row and an anchor.

use std::collections::BTreeMap;

use harness_core::{
    history::{Operation, Outcome},
    membership::{change, member_of},
};
use serde_json::Value;

use super::{ReportInput, check::Check, membership::standing::Change, near, tally::latency_ns};
use crate::{number, text};

/// Rows of the list of operations, at most.
pub const LISTED_LIMIT: usize = 400;
/// Joins and removes that are listed beside those of witnesses.
pub const CHANGES_LISTED: usize = 200;
/// Slowest operations that are listed.
const SLOWEST: usize = 5;
/// `info` operations that are listed beside those of witnesses.
const OPEN_LISTED: usize = 20;

/// An operation with its own row; its anchor is `op-<index>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its identity.
    pub index: u64,
    /// Its process.
    pub process: String,
    /// The node that the process works on.
    pub node: String,
    /// What kind of operation.
    pub f: String,
    /// Its arguments.
    pub input: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Its result, or why it is not ok.
    pub result: String,
    /// When it was invoked.
    pub invoked: String,
    /// When it ended; for an `info`, when we stopped waiting.
    pub ended: String,
    /// How long it took.
    pub latency: String,
    /// Why it is listed.
    pub reason: &'static str,
}

/// An operation in a few words: its kind, and its result or else its arguments.
#[must_use]
pub fn label(operation: &Operation, limit_chars: usize) -> String {
    let member = member_of(operation).filter(|_| change(&operation.f).is_some());
    let shown = match operation.outcome {
        Outcome::Ok if !operation.output.is_null() => &operation.output,
        _ => &operation.input,
    };
    let f = text::clip(&operation.f, 24);
    let whole = match member {
        Some(member) => format!("{f} {}", text::clip(member, limit_chars)),
        None => steps(shown)
            .or_else(|| pair(&f, shown))
            .unwrap_or_else(|| format!("{f} {}", text::value(shown, limit_chars))),
    };
    let mut label = text::clip(&whole, limit_chars);
    if operation.outcome != Outcome::Ok {
        label.push_str(match operation.outcome {
            Outcome::Fail => " · fail",
            _ => " · info",
        });
    }
    label
}

/// A transaction's steps: `append x 1, read y=[1 2]`. None if it is no list of steps.
fn steps(value: &Value) -> Option<String> {
    let steps = value.as_array().filter(|steps| !steps.is_empty())?;
    let words = steps.iter().map(|step| {
        let [f, key, value] = step.as_array()?.as_slice() else {
            return None;
        };
        let key = plain(key);
        Some(match (f.as_str()?, value) {
            ("r" | "read", Value::Null) => format!("read {key}"),
            ("r" | "read", value) => format!("read {key}={}", plain(value)),
            ("w" | "write", value) => format!("write {key}={}", plain(value)),
            (f, value) => format!("{f} {key} {}", plain(value)),
        })
    });
    let words: Option<Vec<String>> = words.collect();
    Some(words?.join(", "))
}

/// What was read or written at a key: `read 1=36`. None if that is not what it is.
fn pair(f: &str, value: &Value) -> Option<String> {
    let [key, value] = value.as_array()?.as_slice() else {
        return None;
    };
    let (key, is_plain) = (plain(key), !key.is_array() && !value.is_array());
    match (f, value) {
        ("read" | "write", Value::Null) => Some(format!("{f} {key}")),
        ("read" | "write", value) if is_plain => Some(format!("{f} {key}={}", plain(value))),
        _ => None,
    }
}

/// As sentences of witnesses write it: a list's elements stand apart by spaces.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(plain).collect();
            format!("[{}]", elements.join(" "))
        }
        other => other.to_string(),
    }
}

/// The operations that are listed, by index.
pub(super) fn listed(input: &ReportInput<'_>, checks: &[Check], changes: &[Change]) -> Vec<Listed> {
    let operations = &input.history.operations;
    let mut places: BTreeMap<usize, &'static str> = BTreeMap::new();
    let mut add = |place: Option<usize>, reason| {
        if let Some(place) = place
            && places.len() < LISTED_LIMIT
        {
            places.entry(place).or_insert(reason);
        }
    };
    for witness in checks.iter().flat_map(|check| &check.witnesses) {
        for shown in witness.operations.iter().filter(|shown| !shown.neighbour) {
            add(near::place_of(input.history, shown.index), "in a witness");
        }
    }
    for witness in checks.iter().flat_map(|check| &check.witnesses) {
        for shown in witness.operations.iter().filter(|shown| shown.neighbour) {
            add(
                near::place_of(input.history, shown.index),
                "beside a witness",
            );
        }
    }
    for change in changes.iter().take(CHANGES_LISTED) {
        add(Some(change.place), "a join or a remove");
    }
    let mut slowest: Vec<(u64, usize)> = operations
        .iter()
        .enumerate()
        .filter_map(|(place, operation)| Some((latency_ns(operation)?, place)))
        .collect();
    let kept = SLOWEST.min(slowest.len());
    if kept > 0 {
        slowest.select_nth_unstable_by(kept - 1, |a, b| b.cmp(a));
    }
    for (_, place) in &slowest[..kept] {
        add(Some(*place), "among the slowest");
    }
    let open = (0..operations.len()).filter(|place| operations[*place].outcome == Outcome::Info);
    for place in open.take(OPEN_LISTED) {
        add(Some(place), "may still take effect");
    }
    places
        .into_iter()
        .map(|(place, reason)| row(&operations[place], reason))
        .collect()
}

fn row(operation: &Operation, reason: &'static str) -> Listed {
    let result = match (&operation.error, operation.outcome) {
        (Some(error), _) => format!("{}: {}", error.kind, error.message),
        (None, _) => text::value(&operation.output, text::VALUE_CHARS),
    };
    Listed {
        index: operation.index,
        process: operation.process.to_string(),
        node: text::clip(operation.node.as_deref().unwrap_or_default(), 40),
        f: text::clip(&operation.f, 40),
        input: text::value(&operation.input, text::VALUE_CHARS),
        outcome: operation.outcome,
        result: text::clip(&result, text::VALUE_CHARS),
        invoked: number::instant_fine(operation.invoked_ns),
        ended: match (operation.outcome, operation.completed_ns) {
            (Outcome::Info, Some(end)) => format!("open (gave up {})", number::instant_fine(end)),
            (Outcome::Info, None) => "open".to_owned(),
            (_, Some(end)) => number::instant_fine(end),
            (_, None) => "?".to_owned(),
        },
        latency: latency_ns(operation).map_or_else(|| "–".to_owned(), number::duration),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_operation_did_is_in_words() {
        for (value, words) in [
            (
                json!([["append", "x", 1], ["r", "y", null]]),
                "append x 1, read y",
            ),
            (
                json!([["r", "x", []], ["r", 7, [1, 2]]]),
                "read x=[], read 7=[1 2]",
            ),
            (
                json!([["w", "x", 1], ["r", "y", "a"]]),
                "write x=1, read y=a",
            ),
        ] {
            assert_eq!(steps(&value).as_deref(), Some(words));
        }
        for value in [
            json!([]),
            json!(null),
            json!([1, 2, 3]),
            json!([["r", 1]]),
            json!({}),
        ] {
            assert_eq!(steps(&value), None, "{value}");
        }
        assert_eq!(pair("read", &json!([1, 36])).as_deref(), Some("read 1=36"));
        assert_eq!(pair("read", &json!(["x", null])).as_deref(), Some("read x"));
        for value in [json!([1, [2, 3]]), json!([1, 2, 3]), json!(4)] {
            assert_eq!(pair("write", &value), None, "{value}");
        }
        assert_eq!(pair("cas", &json!([1, 2])), None);
    }
}
