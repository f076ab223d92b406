//! What was done, and how it went: by kind of operation.
//!
//! A run in which no transfer ever succeeded proves nothing about transfers, however valid the rest is. So a kind
//! without a single `ok` makes this checker `unknown`, and with it the run; figures hold counts, error kinds and
//! latency quantiles for the report. Left out is `retry-unwiped`: it asks whether the cluster refuses, and `membership-progress` judges that.

use std::collections::BTreeMap;

use harness_core::{
    history::{Operation, Outcome},
    membership::RETRY_UNWIPED,
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde_json::{Value, json};

use crate::words;

/// Error kinds that figures keep; the rest are summed up as `other`.
const ERROR_KINDS_LIMIT: usize = 40;

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats;

#[derive(Default)]
struct Counts {
    ok: u64,
    fail: u64,
    info: u64,
}

impl Counts {
    fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Fail => self.fail += 1,
            Outcome::Info => self.info += 1,
        }
    }

    fn json(&self) -> Value {
        json!({"ok": self.ok, "fail": self.fail, "info": self.info})
    }
}

/// The value at a quantile of sorted numbers, by nearest rank.
fn quantile(sorted: &[u64], q: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank within the slice"
    )]
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted
        .get(rank.clamp(1, sorted.len().max(1)) - 1)
        .copied()
        .unwrap_or(0)
}

fn latencies<'a>(operations: impl Iterator<Item = &'a Operation>) -> Value {
    let mut sorted: Vec<u64> = operations
        .filter(|operation| operation.outcome == Outcome::Ok)
        .filter_map(|operation| operation.completed_ns?.checked_sub(operation.invoked_ns))
        .collect();
    sorted.sort_unstable();
    #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
    let ms = |q: f64| quantile(&sorted, q) as f64 / 1e6;
    json!({
        "p50_ms": ms(0.5), "p90_ms": ms(0.9), "p99_ms": ms(0.99), "p999_ms": ms(0.999), "max_ms": ms(1.0),
        "count": sorted.len(),
    })
}

impl Checker for Stats {
    fn name(&self) -> &'static str {
        "stats"
    }

    fn check(&self, input: &CheckInput<'_>, _budget: &dyn Budget) -> CheckResult {
        let operations = &input.history.operations;
        let mut total = Counts::default();
        let mut by_f: BTreeMap<&str, Counts> = BTreeMap::new();
        let mut errors: BTreeMap<(&str, &str, &str), u64> = BTreeMap::new();
        for operation in operations {
            total.add(operation.outcome);
            by_f.entry(&operation.f).or_default().add(operation.outcome);
            if operation.outcome != Outcome::Ok {
                let kind = operation
                    .error
                    .as_ref()
                    .map_or("unspecified", |error| &error.kind);
                *errors
                    .entry((&operation.f, operation.outcome.as_str(), kind))
                    .or_default() += 1;
            }
        }
        let never: Vec<&str> = by_f
            .iter()
            .filter(|(f, counts)| counts.ok == 0 && **f != RETRY_UNWIPED)
            .map(|(f, _)| *f)
            .collect();
        let verdict = if never.is_empty() && !operations.is_empty() {
            Verdict::Valid
        } else {
            Verdict::Unknown
        };
        let summary = if operations.is_empty() {
            "no operation was done".to_owned()
        } else if never.is_empty() {
            format!(
                "{} ok, {} fail, {} info of {}",
                words::count(total.ok),
                words::count(total.fail),
                words::count(total.info),
                words::plural(by_f.len(), "kind", "kinds")
            )
        } else {
            format!("no {} ever succeeded", never.join(", no "))
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.looked_at = operations.len() as u64;
        for f in never {
            let counts = &by_f[f];
            result.notes.push(words::note(
                "never-ok",
                Severity::Error,
                format!(
                    "no {f} succeeded: {} failed, of {} the outcome is not known",
                    counts.fail, counts.info
                ),
            ));
        }
        let mut table: Vec<_> = errors.into_iter().collect();
        table.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        let rest: u64 = table
            .iter()
            .skip(ERROR_KINDS_LIMIT)
            .map(|(_, number)| number)
            .sum();
        let mut rows: Vec<Value> = table
            .iter()
            .take(ERROR_KINDS_LIMIT)
            .map(|((f, outcome, kind), number)| json!({"f": f, "outcome": outcome, "kind": kind, "count": number}))
            .collect();
        if rest > 0 {
            rows.push(json!({"f": "any", "outcome": "any", "kind": "other", "count": rest}));
        }
        let kinds: Value = by_f
            .iter()
            .map(|(f, counts)| ((*f).to_owned(), counts.json()))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let latency_by_f: Value = by_f
            .keys()
            .map(|f| {
                (
                    (*f).to_owned(),
                    latencies(operations.iter().filter(|operation| *operation.f == **f)),
                )
            })
            .collect::<serde_json::Map<_, _>>()
            .into();
        result.figures = [
            ("total", total.json()),
            ("by_f", kinds),
            ("errors", rows.into()),
            ("latency", latencies(operations.iter())),
            ("latency_by_f", latency_by_f),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        words::finish(result)
    }
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_by_nearest_rank() {
        let sorted = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
        for (q, expected) in [(0.5, 5), (0.9, 9), (0.99, 10), (1.0, 10), (0.0, 1)] {
            assert_eq!(quantile(&sorted, q), expected, "{q}");
        }
        assert_eq!(quantile(&[], 0.5), 0);
    }
}
