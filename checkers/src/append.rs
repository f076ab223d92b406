//! Transactions that append to lists: which isolation do they have?
//!
//! For now this only says what was recorded. The search for cycles (after Elle) takes this place; until then the verdict
//! is unknown, never valid.

use harness_core::{
    history::Outcome,
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde_json::{Value, json};

use crate::words;

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Append;

impl Checker for Append {
    fn name(&self) -> &'static str {
        "append"
    }

    fn check(&self, input: &CheckInput<'_>, _budget: &dyn Budget) -> CheckResult {
        let transactions: Vec<_> = input
            .history
            .operations
            .iter()
            .filter(|operation| &*operation.f == "txn")
            .collect();
        let of = |outcome| {
            transactions
                .iter()
                .filter(|operation| operation.outcome == outcome)
                .count()
        };
        let micro: usize = transactions
            .iter()
            .filter_map(|operation| operation.input.as_array().map(Vec::len))
            .sum();
        let appends: usize = transactions
            .iter()
            .filter_map(|operation| operation.input.as_array())
            .flatten()
            .filter(|step| step.get(0).and_then(Value::as_str) == Some("append"))
            .count();
        let mut result = CheckResult::new(
            self.name(),
            Verdict::Unknown,
            format!(
                "{} recorded ({} ok); the cycle checker is not there yet, so nothing is said about isolation",
                words::plural(transactions.len(), "transaction", "transactions"),
                words::count(of(Outcome::Ok) as u64)
            ),
        );
        result.looked_at = transactions.len() as u64;
        result.notes.push(words::note(
            "not-checked",
            Severity::Error,
            "list-append histories are recorded, and can be judged again with harness check once the cycle checker exists",
        ));
        for (name, value) in [
            ("transaction_count", json!(transactions.len())),
            ("ok_count", json!(of(Outcome::Ok))),
            ("info_count", json!(of(Outcome::Info))),
            ("micro_operation_count", json!(micro)),
            ("append_count", json!(appends)),
        ] {
            result.figures.insert(name.to_owned(), value);
        }
        result
    }
}
