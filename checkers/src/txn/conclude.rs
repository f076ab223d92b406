//! The result of an analysis: verdict, words, figures and witnesses.

use std::collections::BTreeMap;

use harness_core::verdict::{CheckResult, Severity, Verdict};
use serde_json::{Value, json};

use super::{Analysis, Transactional, anomaly::Anomaly, explain, model};
use crate::words;

/// Kinds of anomalies that a summary names.
const KINDS_SHOWN: usize = 4;

impl Transactional {
    pub(super) fn unknown(
        &self,
        summary: String,
        notes: Vec<(&'static str, String)>,
    ) -> CheckResult {
        let mut result = CheckResult::new(self.name, Verdict::Unknown, summary);
        result.notes = notes
            .into_iter()
            .map(|(kind, text)| words::note(kind, Severity::Error, text))
            .collect();
        result
    }

    pub(super) fn conclude(
        &self,
        mut analysis: Analysis,
        figures: &mut BTreeMap<String, Value>,
    ) -> CheckResult {
        let counts: Vec<(Anomaly, u64)> = analysis.findings.counts().collect();
        let anomalies: Vec<Anomaly> = counts.iter().map(|(anomaly, _)| *anomaly).collect();
        let (not, also_not) = model::ruled_out(&anomalies);
        let forbidden = |anomaly: Anomaly| self.model.forbids(anomaly);
        let verdict = if analysis.is_broken(self.model) {
            Verdict::Invalid
        } else if analysis.proves(self.model) {
            Verdict::Valid
        } else {
            Verdict::Unknown
        };
        let mut result = CheckResult::new(
            self.name,
            verdict,
            self.summary(&counts, &not, verdict, figures),
        );
        self.remark(
            &mut result,
            &counts,
            &not,
            analysis.open.or(analysis.unread),
        );
        if analysis.passed_over > 0 {
            result.notes.push(words::note(
                "initial-value",
                Severity::Warning,
                format!(
                    "{} showed a value that nobody wrote; it counts as what was there at first and was passed over",
                    words::plural(analysis.passed_over, "read", "reads")
                ),
            ));
        }
        for (name, value) in [
            ("not", json!(not)),
            ("also_not", json!(also_not)),
            (
                "anomalies",
                counts
                    .iter()
                    .map(|(anomaly, count)| (anomaly.name(), json!(count)))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            ),
            ("edge_count", json!(analysis.edges)),
            ("component_count", json!(analysis.cycles.components)),
            ("largest_component", json!(analysis.cycles.largest)),
        ] {
            figures.insert(name.to_owned(), value);
        }
        result.witnesses = analysis.findings.witnesses(forbidden);
        if let Some(explanation) = &self.explanation_for_realtime {
            let names: Vec<String> = anomalies
                .iter()
                .filter(|anomaly| explain::is_stale_read(**anomaly))
                .map(|anomaly| anomaly.name())
                .collect();
            for witness in &mut result.witnesses {
                if names.contains(&witness.kind) {
                    witness.explanation = Some(explanation.clone());
                }
            }
        }
        result
    }

    fn summary(
        &self,
        counts: &[(Anomaly, u64)],
        not: &[&str],
        verdict: Verdict,
        figures: &BTreeMap<String, Value>,
    ) -> String {
        let transactions = words::plural(
            figures
                .get("transaction_count")
                .and_then(Value::as_u64)
                .unwrap_or(0) as usize,
            "transaction",
            "transactions",
        );
        let mut kinds: Vec<String> = counts
            .iter()
            .take(KINDS_SHOWN)
            .map(|(anomaly, count)| format!("{} {}", words::count(*count), anomaly.name()))
            .collect();
        if counts.len() > KINDS_SHOWN {
            kinds.push(format!("{} other kinds", counts.len() - KINDS_SHOWN));
        }
        let kinds = kinds.join(", ");
        match verdict {
            Verdict::Valid if counts.is_empty() => {
                format!(
                    "{transactions}: nothing speaks against {}",
                    self.model.name()
                )
            }
            Verdict::Valid => format!(
                "{transactions}: nothing speaks against {}, but {kinds}: not {}",
                self.model.name(),
                not.join(", not ")
            ),
            Verdict::Unknown if counts.is_empty() => format!(
                "{transactions}: the order of values is known in part only; {} is left open",
                self.model.name()
            ),
            Verdict::Unknown => format!(
                "{transactions}: {kinds}: not {}; {} is left open",
                not.join(", not "),
                self.model.name()
            ),
            _ => format!("{kinds} in {transactions}: not {}", not.join(", not ")),
        }
    }

    fn remark(
        &self,
        result: &mut CheckResult,
        counts: &[(Anomaly, u64)],
        not: &[&str],
        open: Option<String>,
    ) {
        for (anomaly, count) in counts {
            let severity = if self.model.forbids(*anomaly) {
                Severity::Error
            } else {
                Severity::Warning
            };
            result.notes.push(words::note(
                &anomaly.name(),
                severity,
                format!(
                    "{} {}: {}",
                    words::count(*count),
                    anomaly.name(),
                    anomaly.title()
                ),
            ));
        }
        if !not.is_empty() {
            result.notes.push(words::note(
                "not",
                Severity::Info,
                format!(
                    "what was seen rules out {} and whatever is stronger",
                    not.join(", ")
                ),
            ));
        }
        if result.verdict == Verdict::Unknown {
            result.notes.push(words::note(
                "left-open",
                Severity::Error,
                open.unwrap_or_else(|| format!(
                    "{} forbids more than what is looked for, and the stronger models that imply it do not hold",
                    self.model.name()
                )),
            ));
        }
    }
}
