//! Finds checkers by name, and runs several.
//!
//! Options are JSON objects, as `harness.yaml` and `--checker-option` make them; each checker's `Options` say what there
//! is. An option that does not exist is an error, not a silence.

use std::{
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
};

use harness_core::{
    format::Format,
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;

use crate::{
    availability::{self, Availability},
    bank::{self, Bank},
    causal_reverse::CausalReverse,
    counter::Counter,
    crashes::{self, Crashes},
    faults::Faults,
    linear::{self, Linearizable},
    lock::Lock,
    logs::Logs,
    long_fork::LongFork,
    membership::{self, Membership},
    set_full::{self, SetFull},
    stats::Stats,
    total_queue::{self, TotalQueue},
    txn::{self, Transactional, weak::WeakIsolation},
    unique_ids::UniqueIds,
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
        "causal-reverse",
        "counter",
        "crashes",
        "faults",
        "fifo-queue",
        "linearizable",
        "list-append",
        "lock",
        "logs",
        "long-fork",
        "membership",
        "rw-register",
        "set-full",
        "stats",
        "total-queue",
        "unique-ids",
        "weak-isolation",
    ]
}

/// The checker that somebody means, and the model if the name says one. What stands in [`names`] means itself, `set` is `set-full`, and a
/// model of `linearizable` means that model: `mutex` is Knossos' and elle-cli's mutex, which anybody may release and nobody takes twice,
/// where `lock` asks for mutual exclusion only.
#[must_use]
pub fn meant(name: &str) -> (&str, Option<&str>) {
    match name {
        "set" => ("set-full", None),
        model if linear::MODELS.contains(&model) && !names().contains(&model) => {
            ("linearizable", Some(model))
        }
        name => (name, None),
    }
}

fn parsed<T: DeserializeOwned + Default>(name: &str, options: &Value) -> Result<T, RegistryError> {
    if options.is_null() {
        return Ok(T::default());
    }
    // A list would be taken for the fields in order.
    if !options.is_object() {
        return Err(RegistryError::Options {
            name: name.to_owned(),
            detail: format!("{options} is no object; write them as {{\"name\":value}}"),
        });
    }
    serde_json::from_value(options.clone()).map_err(|error| RegistryError::Options {
        name: name.to_owned(),
        detail: error.to_string(),
    })
}

/// The checker of that name. Options: a JSON object, or null for the defaults.
pub fn checker(name: &str, options: &Value) -> Result<Box<dyn Checker>, RegistryError> {
    if let Some(checker) = straight(name, options)? {
        return Ok(checker);
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
        "causal-reverse" => return without(CausalReverse, options),
        "counter" => return without(Counter, options),
        "faults" => return without(Faults, options),
        "fifo-queue" => return without(Linearizable::fifo_queue(), options),
        "lock" => return without(Lock, options),
        "long-fork" => return without(LongFork, options),
        "unique-ids" => return without(UniqueIds, options),
        "logs" => return without(Logs, options),
        "stats" => return without(Stats, options),
        membership::NAME => return without(Membership, options),
        "availability" => Box::new(Availability::new(parsed::<availability::Options>(
            name, options,
        )?)),
        "crashes" => Box::new(Crashes::new(parsed::<crashes::Options>(name, options)?)),
        "bank" => Box::new(Bank::new(parsed::<bank::Options>(name, options)?)),
        "total-queue" => Box::new(TotalQueue::new(parsed::<total_queue::Options>(
            name, options,
        )?)),
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

/// A stored history as bytes, for checkers that read large ones straight.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Their format.
    pub format: Format,
    /// Threads that may help to take them apart. 0: none.
    pub threads: usize,
    /// Is told which bytes will not be looked at for a while.
    pub release: &'a (dyn Fn(Range<usize>) + Sync),
}

/// A checker that has a way of its own from bytes to a result.
pub(crate) trait Straight: Checker {
    /// The result and remarks about the reading, the same as by [`harness_core::format::read`] and [`Checker::check`]. None:
    /// that way must be taken; it also names what is wrong with the bytes.
    fn check_bytes(
        &self,
        source: &Source<'_>,
        budget: &dyn Budget,
    ) -> Option<(CheckResult, Vec<String>)>;
}

/// Judges a history in bytes without making a tree of values of it, where the checker of that name has a way for this
/// history; then also remarks about the reading. None: read it by [`harness_core::format::read`] and take [`checker`],
/// which comes to the same verdict or says what is wrong.
#[must_use]
pub fn check_bytes(
    name: &str,
    options: &Value,
    source: &Source<'_>,
    budget: &dyn Budget,
) -> Option<(CheckResult, Vec<String>)> {
    straight(name, options).ok()??.check_bytes(source, budget)
}

fn straight(name: &str, options: &Value) -> Result<Option<Box<dyn Straight>>, RegistryError> {
    Ok(Some(match name {
        "append" => lists("append", options)?,
        "linearizable" => {
            let options: linear::Options = parsed(name, options)?;
            if !linear::MODELS.contains(&options.model.as_str()) {
                return Err(no_model(name, Some(options.model), &linear::MODELS));
            }
            Box::new(Linearizable::new(options))
        }
        "list-append" => lists("list-append", options)?,
        "rw-register" => {
            let options: txn::Options = parsed(name, options)?;
            let model = options.model.clone();
            Transactional::registers("rw-register", options)
                .map(Box::new)
                .ok_or_else(|| no_model(name, model, &txn::models()))?
        }
        "weak-isolation" => {
            let options: txn::weak::Options = parsed(name, options)?;
            WeakIsolation::new(&options)
                .map(Box::new)
                .ok_or_else(|| no_model(name, options.model, &txn::weak::models()))?
        }
        _ => return Ok(None),
    }))
}

fn lists(name: &'static str, options: &Value) -> Result<Box<dyn Straight>, RegistryError> {
    let options: txn::Options = parsed(name, options)?;
    let model = options.model.clone();
    match Transactional::lists(name, options) {
        Some(checker) => Ok(Box::new(checker)),
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
