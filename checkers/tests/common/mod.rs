//! What several test files use.

use harness_core::{
    history::History,
    meta::Meta,
    verdict::{CheckInput, CheckResult, Checker, Unlimited},
};

/// Judges without limits, logs or faults.
pub fn judge(checker: &dyn Checker, history: &History, meta: &Meta) -> CheckResult {
    let input = CheckInput::of_history(history, meta);
    checker.check(&input, &Unlimited)
}
