//! Did the faults that were asked for happen?
//!
//! Each kind on the command line is required once: one fault of it that was seen to hold and was healed by us. If none
//! did, the run did not test what it was to test, and is `unknown` with the reason; so is it where a lane did nothing because what
//! it waited for never happened, whatever other lanes of its kind did. A fault that was never seen, or that
//! a node undid by itself, earns no coverage; a heal that failed is said.

use harness_core::{
    fault::FaultRecord,
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde_json::json;

use crate::words;

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults;

/// Seen to hold, and undone by us.
fn counts(fault: &FaultRecord) -> bool {
    fault.took_hold() && fault.healed_ns.is_some()
}

fn reason(fault: &FaultRecord) -> &str {
    if fault.self_healed {
        "a node healed it by itself"
    } else if fault.asked_ns.is_none() {
        let problem = fault.problems.last();
        problem.map_or("it was never injected", String::as_str)
    } else if fault.observed_ns.is_none() {
        "it was not seen to take hold"
    } else if fault.healed_ns.is_none() {
        "it was not seen to be healed"
    } else {
        "it counts"
    }
}

impl Checker for Faults {
    fn name(&self) -> &'static str {
        "faults"
    }

    fn check(&self, input: &CheckInput<'_>, _budget: &dyn Budget) -> CheckResult {
        let mut wanted: Vec<&str> = Vec::new();
        for kind in &input.meta.nemesis {
            if kind != "none" && !wanted.contains(&kind.as_str()) {
                wanted.push(kind);
            }
        }
        let faults = input.faults;
        let counted = faults.iter().filter(|fault| counts(fault)).count();
        let mut missing: Vec<(&str, String)> = wanted
            .iter()
            .filter(|kind| {
                !faults
                    .iter()
                    .any(|fault| fault.kind == **kind && counts(fault))
            })
            .map(|kind| (*kind, why_missing(kind, faults)))
            .collect();
        for fault in faults.iter().filter(|fault| fault.never_fired()) {
            let said = missing.iter().any(|(kind, _)| *kind == fault.kind);
            if !said {
                let why = fault.problems.last().cloned().unwrap_or_default();
                missing.push((&fault.kind, words::excerpt(why.as_bytes())));
            }
        }
        let mut result = if wanted.is_empty() && faults.is_empty() {
            CheckResult::new(
                self.name(),
                Verdict::NotApplicable,
                "no fault was asked for",
            )
        } else if let Some((kind, why)) = missing.first() {
            CheckResult::new(
                self.name(),
                Verdict::Unknown,
                format!("no {kind} counts: {why}"),
            )
        } else {
            let summary = format!(
                "{counted} of {} took hold and were healed",
                words::plural(faults.len(), "fault", "faults")
            );
            CheckResult::new(self.name(), Verdict::Valid, summary)
        };
        for (kind, why) in &missing {
            result.notes.push(words::note(
                "not-covered",
                Severity::Error,
                format!("no {kind} counts: {why}"),
            ));
        }
        for fault in faults.iter().filter(|fault| !counts(fault)) {
            let kind = if fault.self_healed {
                "self-healed"
            } else if fault.observed_ns.is_none() {
                "not-observed"
            } else {
                "not-healed"
            };
            let mut text = format!(
                "fault {} ({}): {}",
                fault.id,
                words::cut(&fault.label, words::EXCERPT_LIMIT_CHARS),
                reason(fault)
            );
            if let Some(problem) = fault.problems.last()
                && fault.asked_ns.is_some()
            {
                text = format!("{text}; {}", words::excerpt(problem.as_bytes()));
            }
            result
                .notes
                .push(words::note(kind, Severity::Warning, text));
        }
        for fault in faults
            .iter()
            .filter(|fault| counts(fault) && !fault.problems.is_empty())
        {
            let problem = fault.problems.last().map_or("", String::as_str);
            let text = format!(
                "fault {}: {}, but it was healed in the end",
                fault.id,
                words::excerpt(problem.as_bytes())
            );
            result
                .notes
                .push(words::note("problem", Severity::Info, text));
        }
        result.looked_at = faults.len() as u64;
        let of = |what: fn(&FaultRecord) -> bool| faults.iter().filter(|fault| what(fault)).count();
        result.figures = [
            ("fault_count", json!(faults.len())),
            ("counted", json!(counted)),
            (
                "observed_count",
                json!(of(|fault| fault.observed_ns.is_some())),
            ),
            ("healed_count", json!(of(|fault| fault.healed_ns.is_some()))),
            ("self_healed_count", json!(of(|fault| fault.self_healed))),
            ("open_count", json!(of(FaultRecord::is_open))),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        words::finish(result)
    }
}

fn why_missing(kind: &str, faults: &[FaultRecord]) -> String {
    let mut of_kind = faults.iter().filter(|fault| fault.kind == kind);
    match of_kind.next() {
        None => "none was injected".to_owned(),
        Some(first) => format!(
            "{}{}",
            match 1 + of_kind.count() {
                1 => String::new(),
                tried => format!("{tried} were tried; of the first, "),
            },
            words::excerpt(reason(first).as_bytes())
        ),
    }
}
