//! Having a run judged: limits of time and memory, checkers that crash, results trimmed and merged.
//!
//! Laws: a checker that panics is `unknown` and says so; each checker has limits of its own; the same run and the same
//! checkers give the same verdict, unless a limit of time strikes.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use harness_core::verdict::{
    Budget, CheckInput, CheckResult, Checker, Exhausted, FORMAT_VERSION, NOTE_LIMIT, Note,
    Severity, Verdict, VerdictFile, WITNESS_LIMIT,
};

use crate::worker::panic_text;

/// A limit of time and memory for one checker.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long it may take.
    pub time: Duration,
    /// How much its own structures may take, in bytes.
    pub memory_bytes: u64,
}

/// Limits that count from when it was made.
#[derive(Debug)]
pub struct LimitedBudget {
    end: Option<Instant>,
    memory_bytes: u64,
}

impl LimitedBudget {
    /// Time counts from now. A time too long for the clock is no limit.
    #[must_use]
    pub fn start(limits: Limits) -> Self {
        Self {
            end: Instant::now().checked_add(limits.time),
            memory_bytes: limits.memory_bytes,
        }
    }
}

impl Budget for LimitedBudget {
    fn spend(&self, memory_bytes: u64) -> Result<(), Exhausted> {
        if memory_bytes > self.memory_bytes {
            return Err(Exhausted::Memory);
        }
        if self.end.is_some_and(|end| Instant::now() >= end) {
            return Err(Exhausted::Time);
        }
        Ok(())
    }
}

/// Has one checker look, within its limits.
#[must_use]
pub fn judge_one(checker: &dyn Checker, input: &CheckInput<'_>, limits: Limits) -> CheckResult {
    let start = Instant::now();
    let budget = LimitedBudget::start(limits);
    let looked = catch_unwind(AssertUnwindSafe(|| checker.check(input, &budget)));
    let result = looked.unwrap_or_else(|panic| crashed(checker.name(), &*panic));
    trimmed(result, start)
}

/// Has someone look who may also say that it is not for him; remarks besides. The time is all that he takes.
#[must_use]
pub fn judge_by(
    name: &str,
    limits: Limits,
    look: impl FnOnce(&dyn Budget) -> Option<(CheckResult, Vec<String>)>,
) -> Option<(CheckResult, Vec<String>)> {
    let start = Instant::now();
    let budget = LimitedBudget::start(limits);
    let (result, remarks) = catch_unwind(AssertUnwindSafe(|| look(&budget)))
        .unwrap_or_else(|panic| Some((crashed(name, &*panic), Vec::new())))?;
    Some((trimmed(result, start), remarks))
}

fn crashed(name: &str, panic: &(dyn Any + Send)) -> CheckResult {
    let text = panic_text(panic);
    let summary = format!("the checker crashed: {text}");
    let mut result = CheckResult::new(name, Verdict::Unknown, summary.clone());
    result.notes.push(Note {
        kind: "checker-crashed".to_owned(),
        severity: Severity::Error,
        text: summary,
    });
    result
}

/// Fills in how long it took, and keeps to the limits of a result.
fn trimmed(mut result: CheckResult, start: Instant) -> CheckResult {
    result.duration_ms = start.elapsed().as_secs_f64() * 1000.0;
    if result.notes.len() > NOTE_LIMIT {
        let more = result.notes.len() - (NOTE_LIMIT - 1);
        result.notes.truncate(NOTE_LIMIT - 1);
        result.notes.push(Note {
            kind: "more-notes".to_owned(),
            severity: Severity::Info,
            text: format!("There were {more} more notes."),
        });
    }
    result.witnesses.truncate(WITNESS_LIMIT);
    result
}

/// Has all checkers look, one after the other (each may take all of its memory), and merges what they say.
#[must_use]
pub fn judge(checkers: &[Box<dyn Checker>], input: &CheckInput<'_>, limits: Limits) -> VerdictFile {
    let results = checkers
        .iter()
        .map(|checker| judge_one(checker.as_ref(), input, limits));
    merge(results.collect())
}

/// A verdict file of results.
#[must_use]
pub fn merge(results: Vec<CheckResult>) -> VerdictFile {
    VerdictFile {
        format_version: FORMAT_VERSION,
        verdict: Verdict::merge(results.iter().map(|result| result.verdict)),
        results,
    }
}
