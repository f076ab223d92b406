//! Results of keys, added up to one.

use std::collections::HashMap;

use harness_core::verdict::{CheckResult, Severity, Verdict, WITNESS_LIMIT, Witness};
use serde_json::{Value, json};

use super::{
    KeyResult,
    search::{Ending, Figures},
};
use crate::words;

/// Results of all keys.
pub(super) struct Tally {
    looked_at: usize,
    keys: usize,
    invalid: usize,
    exhausted: Vec<String>,
    figures: Figures,
    witnesses: Vec<Witness>,
    kinds: HashMap<String, usize>,
}

impl Tally {
    pub fn new(looked_at: usize) -> Self {
        Self {
            looked_at,
            keys: 0,
            invalid: 0,
            exhausted: Vec::new(),
            figures: Figures::default(),
            witnesses: Vec::new(),
            kinds: HashMap::new(),
        }
    }

    pub fn add(&mut self, key: Option<&Value>, result: KeyResult) {
        self.keys += 1;
        self.figures.steps += result.figures.steps;
        self.figures.explored += result.figures.explored;
        self.figures.by_zones += result.figures.by_zones;
        self.figures.frontier_max = self.figures.frontier_max.max(result.figures.frontier_max);
        self.figures.bytes_max = self.figures.bytes_max.max(result.figures.bytes_max);
        if let Ending::Exhausted { limit, placed } = result.ending {
            let of = key.map_or_else(String::new, |key| format!("key {}: ", words::show(key)));
            self.exhausted.push(format!(
                "{of}{limit} after {} of {} completions",
                words::count(placed as u64),
                words::count(result.completions as u64)
            ));
        }
        if let Some(witness) = result.witness {
            self.invalid += 1;
            *self.kinds.entry(witness.kind.clone()).or_default() += 1;
            if self.witnesses.len() < WITNESS_LIMIT {
                self.witnesses.push(witness);
            }
        }
    }

    /// Keys that have a legal order.
    pub fn add_fine(&mut self, keys: usize, figures: Figures) {
        self.keys += keys;
        self.figures.by_zones += figures.by_zones;
        self.figures.bytes_max = self.figures.bytes_max.max(figures.bytes_max);
    }

    pub fn result(self, name: &str, model: &str) -> CheckResult {
        let operations = words::plural(self.looked_at, "operation", "operations");
        let keys = words::plural(self.keys, "key", "keys");
        let (verdict, summary) = if self.invalid > 0 {
            let mut kinds: Vec<_> = self
                .kinds
                .iter()
                .map(|(kind, number)| format!("{number} {kind}"))
                .collect();
            kinds.sort();
            let of = format!(
                "{} of {keys} not linearizable ({})",
                self.invalid,
                kinds.join(", ")
            );
            (Verdict::Invalid, of)
        } else if let Some(first) = self.exhausted.first() {
            (
                Verdict::Unknown,
                format!(
                    "not decided for {} of {keys}; {first}",
                    self.exhausted.len()
                ),
            )
        } else {
            (
                Verdict::Valid,
                format!("{operations} on {keys} have a legal order ({model})"),
            )
        };
        let mut result = CheckResult::new(name, verdict, summary);
        let shown = self.witnesses.len();
        let left_out = (shown < self.invalid).then(|| {
            words::note(
                "witnesses",
                Severity::Info,
                format!("{shown} of {} keys have a witness here", self.invalid),
            )
        });
        result.notes = self
            .exhausted
            .iter()
            .map(|text| words::note("exhausted", Severity::Error, text.clone()))
            .chain(left_out)
            .chain(self.witnesses.iter().map(|witness| {
                words::note(
                    &witness.kind,
                    Severity::Error,
                    format!("{} {}", witness.title, witness.story),
                )
            }))
            .collect();
        result.witnesses = self.witnesses;
        result.looked_at = self.looked_at as u64;
        result.memory_bytes = Some(self.figures.bytes_max);
        result.figures = [
            ("model", json!(model)),
            ("key_count", json!(self.keys)),
            ("invalid_key_count", json!(self.invalid)),
            ("undecided_key_count", json!(self.exhausted.len())),
            ("configurations_explored", json!(self.figures.explored)),
            ("frontier_max", json!(self.figures.frontier_max)),
            ("keys_by_zones", json!(self.figures.by_zones)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        words::finish(result)
    }
}
