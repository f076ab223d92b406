//! A register: read, write, compare-and-set. The value is anything; values are interned to numbers once.
//!
//! | f | argument | result |
//! | --- | --- | --- |
//! | `read`, `r`, `get` | null | the value |
//! | `write`, `w`, `put`, `set` | the value | |
//! | `cas` | `[old, new]` | |
//!
//! A compare-and-set that failed *because it saw another value* (its error kind says so) is an observation as good as a
//! read: the register was not `old`. Any other failure says nothing.

use std::collections::HashMap;

use harness_core::history::Outcome;
use serde_json::Value;

use super::spec::{Call, ModelError, Placement, SequentialSpec, pair};
use crate::words;

/// What a register was asked, and said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegisterOp {
    /// Saw this value.
    Read(u32),
    /// Set this value.
    Write(u32),
    /// Saw the first and set the second.
    Cas(u32, u32),
    /// Saw that it is not this value.
    Not(u32),
}

/// How registers behave in a history.
#[derive(Clone, Debug)]
pub struct Register {
    values: Vec<Value>,
    ids: HashMap<Value, u32>,
    integers: HashMap<i64, u32>,
    null_matches_any: bool,
    observing_failures: Vec<String>,
    with_cas: bool,
}

impl Register {
    /// A register that starts as `initial`. With `null_matches_any` a read of null says nothing (Knossos' convention).
    /// `observing_failures` are the error kinds by which a compare-and-set says that it saw another value.
    #[must_use]
    pub fn new(
        initial: &Value,
        null_matches_any: bool,
        observing_failures: Vec<String>,
        with_cas: bool,
    ) -> Self {
        let mut register = Self {
            values: Vec::new(),
            ids: HashMap::new(),
            integers: HashMap::new(),
            null_matches_any,
            observing_failures,
            with_cas,
        };
        register.intern(initial);
        register
    }

    /// How many values were seen, the initial one among them.
    pub(super) fn value_count(&self) -> usize {
        self.values.len()
    }

    fn intern(&mut self, value: &Value) -> u32 {
        let next = u32::try_from(self.values.len()).unwrap_or(u32::MAX);
        let id = match value.as_i64() {
            Some(integer) => *self.integers.entry(integer).or_insert(next),
            None => match self.ids.get(value) {
                Some(known) => *known,
                None => *self.ids.entry(value.clone()).or_insert(next),
            },
        };
        if id == next {
            self.values.push(value.clone());
        }
        id
    }

    fn place_cas(&mut self, call: &Call<'_>) -> Result<Placement<RegisterOp>, ModelError> {
        let (old, new) = pair(call.f, call.argument, "[old, new]")?;
        let (old, new) = (self.intern(old), self.intern(new));
        Ok(match call.outcome {
            Outcome::Ok => Placement::Required(RegisterOp::Cas(old, new)),
            Outcome::Info => Placement::Optional(RegisterOp::Cas(old, new)),
            Outcome::Fail => {
                let observed = call
                    .error
                    .is_some_and(|error| self.observing_failures.contains(&error.kind));
                if observed {
                    Placement::Required(RegisterOp::Not(old))
                } else {
                    Placement::Nothing
                }
            }
        })
    }
}

impl SequentialSpec for Register {
    type State = u32;
    type Op = RegisterOp;

    fn initial(&self) -> u32 {
        0
    }

    fn place(&mut self, call: &Call<'_>) -> Result<Placement<RegisterOp>, ModelError> {
        match call.f {
            "read" | "r" | "get" => {
                if call.outcome != Outcome::Ok || (self.null_matches_any && call.result.is_null()) {
                    return Ok(Placement::Nothing);
                }
                Ok(Placement::Required(RegisterOp::Read(
                    self.intern(call.result),
                )))
            }
            "write" | "w" | "put" | "set" => {
                let value = self.intern(call.argument);
                Ok(match call.outcome {
                    Outcome::Ok => Placement::Required(RegisterOp::Write(value)),
                    Outcome::Info => Placement::Optional(RegisterOp::Write(value)),
                    Outcome::Fail => Placement::Nothing,
                })
            }
            "cas" if self.with_cas => self.place_cas(call),
            other => Err(ModelError::Unknown {
                f: other.to_owned(),
            }),
        }
    }

    fn step(&self, state: &u32, op: &RegisterOp) -> Option<u32> {
        match *op {
            RegisterOp::Read(value) => (*state == value).then_some(*state),
            RegisterOp::Not(value) => (*state != value).then_some(*state),
            RegisterOp::Write(value) => Some(value),
            RegisterOp::Cas(old, new) => (*state == old).then_some(new),
        }
    }

    fn is_read(&self, op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Read(_) | RegisterOp::Not(_))
    }

    fn is_blind(&self, op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Write(_))
    }

    /// A write whose value nobody could see may be taken out of any order without harm.
    fn useful(&self, required: &[&RegisterOp], optional: &[&RegisterOp]) -> Vec<bool> {
        let mut seen = vec![false; self.values.len()];
        for op in required.iter().chain(optional) {
            match **op {
                // The register is something else than `value`: any write may be what made it so.
                RegisterOp::Not(_) => return vec![true; optional.len()],
                RegisterOp::Read(value) | RegisterOp::Cas(value, _) => seen[value as usize] = true,
                RegisterOp::Write(_) => {}
            }
        }
        optional
            .iter()
            .map(|op| match **op {
                RegisterOp::Write(value) | RegisterOp::Cas(_, value) => seen[value as usize],
                RegisterOp::Read(_) | RegisterOp::Not(_) => false,
            })
            .collect()
    }

    fn show(&self, state: &u32) -> String {
        self.values
            .get(*state as usize)
            .map_or_else(|| "?".to_owned(), words::show)
    }
}
