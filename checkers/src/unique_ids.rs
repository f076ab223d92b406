//! Identifiers that a system hands out are all different.
//!
//! `generate` answers with an identifier, of any shape. Two acknowledged ones that are equal prove a fault; those whose
//! answer nobody saw say nothing. After Jepsen's unique-ids.

use std::collections::HashMap;

use harness_core::{
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde_json::{Value, json};

use crate::words::{self, Clock, end_ns};

/// Witnesses that are told.
const WITNESSES: usize = 3;
/// What an identifier takes in the table, roughly, in bytes.
const ENTRY_BYTES: usize = 64;

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct UniqueIds;

impl Checker for UniqueIds {
    fn name(&self) -> &'static str {
        "unique-ids"
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let asked: Vec<&Operation> = input
            .history
            .operations
            .iter()
            .filter(|operation| &*operation.f == "generate")
            .collect();
        if let Err(limit) = budget.spend((asked.len() * ENTRY_BYTES) as u64) {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                format!("{limit} while collecting identifiers"),
            );
        }
        let mut first: HashMap<&Value, &Operation> = HashMap::new();
        let mut twice: Vec<(&Operation, &Operation)> = Vec::new();
        let mut acknowledged = 0_usize;
        for operation in &asked {
            if operation.outcome != Outcome::Ok {
                continue;
            }
            acknowledged += 1;
            match first.entry(&operation.output) {
                std::collections::hash_map::Entry::Occupied(known) => {
                    twice.push((known.get(), operation))
                }
                std::collections::hash_map::Entry::Vacant(free) => {
                    free.insert(operation);
                }
            }
        }
        let shown = words::plural(acknowledged, "identifier", "identifiers");
        let (verdict, summary) = if !twice.is_empty() {
            (
                Verdict::Invalid,
                format!(
                    "{} of {shown} had been handed out before",
                    words::count(twice.len() as u64)
                ),
            )
        } else if acknowledged == 0 {
            (Verdict::Unknown, "no identifier was handed out".to_owned())
        } else {
            (Verdict::Valid, format!("{shown}, all different"))
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.looked_at = asked.len() as u64;
        for (one, other) in &twice {
            let clock = Clock::spanning([end_ns(one), end_ns(other)]);
            let story = format!(
                "Process {}{} was given {} at {}; process {}{} was given it again at {}.",
                one.process,
                words::on_node(one),
                words::show(&one.output),
                clock.at(end_ns(one)),
                other.process,
                words::on_node(other),
                clock.at(end_ns(other))
            );
            result
                .notes
                .push(words::note("duplicated", Severity::Error, story.clone()));
            if result.witnesses.len() < WITNESSES {
                result.witnesses.push(words::witness(
                    "duplicated",
                    "An identifier was handed out twice.",
                    story,
                    &[one, other],
                    &[other.index],
                ));
            }
        }
        for (name, value) in [
            ("attempt_count", json!(asked.len())),
            ("acknowledged_count", json!(acknowledged)),
            ("duplicated_count", json!(twice.len())),
        ] {
            result.figures.insert(name.to_owned(), value);
        }
        words::finish(result)
    }
}
