//! What an object does when it is used by one at a time: the sequential specification.
//!
//! Linearizable (Herlihy and Wing 1990) means: some order of the operations, in which whatever ended before another
//! began stands before it, is one that the specification allows. So a model says only how a state changes by an
//! operation whose result is known; the search finds the order.

use std::{fmt::Debug, hash::Hash};

use harness_core::{event::OpError, history::Outcome};
use serde_json::Value;
use thiserror::Error;

/// An operation as a model sees it: without its key, if histories have keys.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// What kind of operation.
    pub f: &'a str,
    /// Who did it, as a number; for models with owners.
    pub process: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Its argument.
    pub argument: &'a Value,
    /// Its result; null unless it ended.
    pub result: &'a Value,
    /// Why it is not `ok`.
    pub error: Option<&'a OpError>,
}

/// Whether an operation must stand in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement<Op> {
    /// It took effect, between its invocation and its completion.
    Required(Op),
    /// It may have taken effect at any time after its invocation, or never.
    Optional(Op),
    /// It says nothing: it failed, or nobody saw its result and it changes nothing.
    Nothing,
}

/// Why a model cannot take an operation.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ModelError {
    /// Not one of its kinds.
    #[error("{f:?} is no operation of this model")]
    Unknown {
        /// The kind.
        f: String,
    },
    /// Not the shape that it expects.
    #[error("{f}: expected {expected}, found {found}")]
    Shape {
        /// The kind.
        f: String,
        /// What was expected.
        expected: &'static str,
        /// What was there.
        found: String,
    },
}

/// A sequential specification.
///
/// Laws:
/// - `step` is a function of state and operation alone;
/// - a read (`is_read`) never changes the state;
/// - a blind operation (`is_blind`) is possible in every state and the state after it does not depend on the one before;
/// - `useful` may say false only for an optional operation whose effect no other operation of the history can see.
pub trait SequentialSpec {
    /// A state. Equal states must be equal by `Eq`.
    type State: Clone + Eq + Hash + Debug;
    /// An operation together with its result.
    type Op: Clone + Eq + Hash + Debug;

    /// Whether `step` is dear enough to remember its results.
    const REMEMBER_STEPS: bool = false;

    /// Before the first operation.
    fn initial(&self) -> Self::State;

    /// Reads an operation of a history. May intern values, therefore `mut`.
    fn place(&mut self, call: &Call<'_>) -> Result<Placement<Self::Op>, ModelError>;

    /// The state after the operation; None if the operation cannot have that result there.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// Whether the operation never changes the state.
    fn is_read(&self, op: &Self::Op) -> bool;

    /// Whether the operation is possible everywhere and forgets what was before.
    fn is_blind(&self, op: &Self::Op) -> bool;

    /// For each optional operation, whether it could matter to any other.
    fn useful(&self, required: &[&Self::Op], optional: &[&Self::Op]) -> Vec<bool> {
        let _ = required;
        vec![true; optional.len()]
    }

    /// Bytes that a state takes besides itself.
    fn heap_bytes(&self, state: &Self::State) -> usize {
        let _ = state;
        0
    }

    /// A state for people.
    fn show(&self, state: &Self::State) -> String;
}

/// The two parts of a compare-and-set: `[old, new]`.
pub(crate) fn pair<'a>(
    f: &str,
    value: &'a Value,
    expected: &'static str,
) -> Result<(&'a Value, &'a Value), ModelError> {
    match value.as_array().map(Vec::as_slice) {
        Some([old, new]) => Ok((old, new)),
        _ => Err(ModelError::Shape {
            f: f.to_owned(),
            expected,
            found: crate::words::show(value),
        }),
    }
}
