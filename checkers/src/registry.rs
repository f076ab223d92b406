//! Finds checkers by name, and runs several.
//!
//! Options are JSON objects, as `harness.yaml` and `--checker-option` make them; each checker's `Options` say what there
//! is. An option that does not exist is an error, not a silence.

use std::panic::{AssertUnwindSafe, catch_unwind};

use harness_core::format::{Format, FormatError};
use harness_core::verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::{
    availability::{self, Availability},
    bank::{self, Bank},
    crashes::Crashes,
    faults::Faults,
    linear::{self, Linearizable},
    logs::Logs,
    membership::{self, Membership},
    set_full::{self, SetFull},
    stats::Stats,
    txn::{self, Transactional, weak::WeakIsolation},
    words,
};

/// Why there is no such checker.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Nobody has that name.
    #[error("no checker is called {name:?}; known are {}", names().join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// The options are not the checker's.
    #[error("options of checker {name}: {detail}")]
    Options {
        /// The checker.
        name: String,
        /// What is wrong.
        detail: String,
    },
}

/// All names, sorted. Each invariant of `membership` has a checker of its own name as well
/// ([`membership::INVARIANTS`]).
#[must_use]
pub fn names() -> Vec<&'static str> {
    vec![
        "append",
        "availability",
        "bank",
        "crashes",
        "faults",
        "linearizable",
        "list-append",
        "logs",
        "membership",
        "rw-register",
        "set-full",
        "stats",
        "weak-isolation",
    ]
}

fn parsed<T: DeserializeOwned + Default>(name: &str, options: &Value) -> Result<T, RegistryError> {
    if options.is_null() {
        return Ok(T::default());
    }
    serde_json::from_value(options.clone()).map_err(|error| RegistryError::Options {
        name: name.to_owned(),
        detail: error.to_string(),
    })
}

/// The checker of that name. Options: a JSON object, or null for the defaults.
pub fn checker(name: &str, options: &Value) -> Result<Box<dyn Checker>, RegistryError> {
    if let Some(checker) = of_bytes(name, options)? {
        return Ok(match checker {
            OfBytes::Transactional(checker) => Box::new(checker),
            OfBytes::Weak(checker) => Box::new(checker),
        });
    }
    fn without<T: Checker + 'static>(
        checker: T,
        options: &Value,
    ) -> Result<Box<dyn Checker>, RegistryError> {
        let none = options.is_null() || options.as_object().is_some_and(serde_json::Map::is_empty);
        if none {
            return Ok(Box::new(checker));
        }
        Err(RegistryError::Options {
            name: checker.name().to_owned(),
            detail: "it has none".to_owned(),
        })
    }
    Ok(match name {
        "crashes" => return without(Crashes, options),
        "faults" => return without(Faults, options),
        "logs" => return without(Logs, options),
        "stats" => return without(Stats, options),
        membership::NAME => return without(Membership, options),
        "availability" => Box::new(Availability::new(parsed::<availability::Options>(
            name, options,
        )?)),
        "bank" => Box::new(Bank::new(parsed::<bank::Options>(name, options)?)),
        "linearizable" => Box::new(Linearizable::new(parsed::<linear::Options>(name, options)?)),
        "set-full" => Box::new(SetFull::new(parsed::<set_full::Options>(name, options)?)),
        other => {
            if let Some(invariant) = membership::Invariant::named(other) {
                return without(membership::One(invariant), options);
            }
            return Err(RegistryError::Unknown {
                name: other.to_owned(),
            });
        }
    })
}

fn transactional(
    name: &'static str,
    make: fn(&'static str, txn::Options) -> Option<Transactional>,
    options: txn::Options,
) -> Result<Transactional, RegistryError> {
    let model = options.model.clone();
    match make(name, options) {
        Some(checker) => Ok(checker),
        None => Err(no_model(name, model, &txn::models())),
    }
}

fn no_model(name: &str, model: Option<String>, known: &[&str]) -> RegistryError {
    RegistryError::Options {
        name: name.to_owned(),
        detail: format!(
            "no model is called {:?}; known are {}",
            model.unwrap_or_default(),
            known.join(", ")
        ),
    }
}

/// Checkers that read files of transactions by themselves, of any size.
pub enum OfBytes {
    /// Lists or registers.
    Transactional(Transactional),
    /// Weak isolation of registers.
    Weak(WeakIsolation),
}

impl OfBytes {
    /// Reads a file without making a history of it ([`Transactional::read`]).
    ///
    /// # Errors
    /// If the bytes are not of the format.
    pub fn read(
        &self,
        bytes: &[u8],
        format: Format,
        consumed: &mut dyn FnMut(usize),
    ) -> Result<(txn::Columns, Vec<String>), FormatError> {
        match self {
            Self::Transactional(checker) => checker.read(bytes, format, consumed),
            Self::Weak(checker) => checker.read(bytes, format, consumed),
        }
    }

    /// Judges what was read.
    #[must_use]
    pub fn judge(&self, columns: txn::Columns, budget: &dyn Budget) -> CheckResult {
        match self {
            Self::Transactional(checker) => checker.judge(columns, budget),
            Self::Weak(checker) => checker.judge(columns, budget),
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Transactional(checker) => checker.name(),
            Self::Weak(checker) => checker.name(),
        }
    }
}

/// The checker of that name, if it is one that reads files by itself.
///
/// # Errors
/// If the options are not the checker's.
pub fn of_bytes(name: &str, options: &Value) -> Result<Option<OfBytes>, RegistryError> {
    Ok(Some(match name {
        "append" => OfBytes::Transactional(transactional(
            "append",
            Transactional::lists,
            parsed(name, options)?,
        )?),
        "list-append" => OfBytes::Transactional(transactional(
            "list-append",
            Transactional::lists,
            parsed(name, options)?,
        )?),
        "rw-register" => OfBytes::Transactional(transactional(
            "rw-register",
            Transactional::registers,
            parsed(name, options)?,
        )?),
        "weak-isolation" => {
            let options: txn::weak::Options = parsed(name, options)?;
            match WeakIsolation::new(&options) {
                Some(checker) => OfBytes::Weak(checker),
                None => return Err(no_model(name, options.model, &txn::weak::models())),
            }
        }
        _ => return Ok(None),
    }))
}

/// Runs them in order, each with a budget of its own. One that panics says `unknown`; the others go on.
///
/// Times are the caller's to fill in: this crate has no clock. `after` is told each result as it comes.
pub fn run_checkers(
    checkers: &[Box<dyn Checker>],
    input: &CheckInput<'_>,
    budget: &dyn Fn(&str) -> Box<dyn Budget>,
    mut after: impl FnMut(&mut CheckResult),
) -> Vec<CheckResult> {
    checkers
        .iter()
        .map(|checker| {
            let mut result = run_one(&**checker, input, &*budget(checker.name()));
            after(&mut result);
            result
        })
        .collect()
}

fn run_one(checker: &dyn Checker, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
    // Nothing of a checker outlives its panic: it borrows its input and owns the rest.
    match catch_unwind(AssertUnwindSafe(|| checker.check(input, budget))) {
        Ok(result) => result,
        Err(panic) => {
            let said = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_else(|| "no message".to_owned());
            let said = words::excerpt(said.as_bytes());
            let mut result = CheckResult::new(
                checker.name(),
                Verdict::Unknown,
                format!("the checker crashed: {said}"),
            );
            result.notes.push(words::note(
                "checker-crashed",
                Severity::Error,
                format!("the checker crashed, which is a fault of the harness and says nothing about the system: {said}"),
            ));
            result
        }
    }
}
