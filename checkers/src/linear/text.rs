//! A register of text that can also be appended to: one key of a key-value store.
//!
//! | f | argument | result |
//! | --- | --- | --- |
//! | `get`, `read`, `r` | null | the text |
//! | `put`, `write`, `w`, `set` | the text | |
//! | `append` | what comes behind it | |

use std::sync::Arc;

use harness_core::history::Outcome;
use serde_json::Value;

use super::spec::{Call, ModelError, Placement, SequentialSpec};
use crate::words;

/// What a text was asked, and said.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TextOp {
    /// Saw this text.
    Get(Arc<str>),
    /// Set it.
    Put(Arc<str>),
    /// Put this behind it.
    Append(Arc<str>),
}

/// A text that starts as given.
#[derive(Clone, Debug)]
pub struct Text {
    initial: Arc<str>,
}

impl Text {
    /// Starts as `initial`; null is the empty text.
    #[must_use]
    pub fn new(initial: &Value) -> Self {
        Self {
            initial: text(initial),
        }
    }
}

/// Text as it is, null as the empty text, anything else as its JSON.
fn text(value: &Value) -> Arc<str> {
    match value {
        Value::String(text) => Arc::from(text.as_str()),
        Value::Null => Arc::from(""),
        other => Arc::from(other.to_string()),
    }
}

impl SequentialSpec for Text {
    type State = Arc<str>;
    type Op = TextOp;

    const REMEMBER_STEPS: bool = true;

    fn initial(&self) -> Arc<str> {
        Arc::clone(&self.initial)
    }

    fn place(&mut self, call: &Call<'_>) -> Result<Placement<TextOp>, ModelError> {
        let op = match call.f {
            "get" | "read" | "r" if call.outcome == Outcome::Ok => {
                return Ok(Placement::Required(TextOp::Get(text(call.result))));
            }
            "get" | "read" | "r" => return Ok(Placement::Nothing),
            "put" | "write" | "w" | "set" => TextOp::Put(text(call.argument)),
            "append" => TextOp::Append(text(call.argument)),
            other => {
                return Err(ModelError::Unknown {
                    f: other.to_owned(),
                });
            }
        };
        Ok(match call.outcome {
            Outcome::Ok => Placement::Required(op),
            Outcome::Info => Placement::Optional(op),
            Outcome::Fail => Placement::Nothing,
        })
    }

    fn step(&self, state: &Arc<str>, op: &TextOp) -> Option<Arc<str>> {
        match op {
            TextOp::Get(seen) => (seen == state).then(|| Arc::clone(state)),
            TextOp::Put(text) => Some(Arc::clone(text)),
            TextOp::Append(text) => Some(Arc::from([&**state, &**text].concat())),
        }
    }

    fn is_read(&self, op: &TextOp) -> bool {
        matches!(op, TextOp::Get(_))
    }

    fn is_blind(&self, op: &TextOp) -> bool {
        matches!(op, TextOp::Put(_))
    }

    /// What no read contains may be taken out of any order: before the next read somebody must have replaced it anyway.
    fn useful(&self, required: &[&TextOp], optional: &[&TextOp]) -> Vec<bool> {
        let seen: Vec<&str> = required
            .iter()
            .filter_map(|op| match op {
                TextOp::Get(text) => Some(&**text),
                TextOp::Put(_) | TextOp::Append(_) => None,
            })
            .collect();
        optional
            .iter()
            .map(|op| match op {
                TextOp::Put(text) => seen.iter().any(|seen| seen.starts_with(&**text)),
                TextOp::Append(text) => {
                    !text.is_empty() && seen.iter().any(|seen| seen.contains(&**text))
                }
                TextOp::Get(_) => false,
            })
            .collect()
    }

    fn heap_bytes(&self, state: &Arc<str>) -> usize {
        state.len()
    }

    fn show(&self, state: &Arc<str>) -> String {
        words::cut(&format!("{state:?}"), words::VALUE_LIMIT_CHARS)
    }
}
