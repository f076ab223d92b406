//! What was found, and how operations and values are named in the words about it.
//!
//! A transaction is called by its operation's index: `T48`. A list is shown by its end, which is where reads differ.

use std::collections::BTreeMap;

use harness_core::{
    history::Operation,
    verdict::{Edge, Witness},
};
use serde_json::Value;

use super::{anomaly::Anomaly, input::Transactions};
use crate::words::{self, Clock, end_ns};

/// Witnesses of one kind.
pub(super) const WITNESSES_PER_KIND: usize = 2;
/// Elements of a list that are shown: the last ones.
const ELEMENTS_SHOWN: usize = 5;
/// The longest key or value that is shown, in characters.
const VALUE_LIMIT_CHARS: usize = 30;

/// All kinds of anomalies found, the worst first.
#[derive(Default)]
pub(super) struct Findings {
    kinds: BTreeMap<Anomaly, (u64, Vec<Witness>)>,
}

impl Findings {
    /// Counts one, and keeps a witness of the first few.
    pub fn add(&mut self, anomaly: Anomaly, witness: impl FnOnce() -> Witness) {
        let (count, witnesses) = self.kinds.entry(anomaly).or_default();
        *count += 1;
        if witnesses.len() < WITNESSES_PER_KIND {
            witnesses.push(witness());
        }
    }

    /// Counts several of which one is shown.
    pub fn add_many(&mut self, anomaly: Anomaly, number: u64, witness: impl FnOnce() -> Witness) {
        if number > 0 {
            self.add(anomaly, witness);
            if let Some((count, _)) = self.kinds.get_mut(&anomaly) {
                *count += number - 1;
            }
        }
    }

    /// Kinds and how many of each.
    pub fn counts(&self) -> impl Iterator<Item = (Anomaly, u64)> + '_ {
        self.kinds
            .iter()
            .map(|(anomaly, (count, _))| (*anomaly, *count))
    }

    /// Witnesses: those of anomalies that `first` chooses before the others, one of each kind before second ones.
    pub fn witnesses(&mut self, first: impl Fn(Anomaly) -> bool) -> Vec<Witness> {
        let mut all = Vec::new();
        for (anomaly, (_, witnesses)) in std::mem::take(&mut self.kinds) {
            for (place, witness) in witnesses.into_iter().enumerate() {
                all.push((!first(anomaly), place, anomaly, witness));
            }
        }
        all.sort_by_key(|(late, place, anomaly, _)| (*late, *place, *anomaly));
        all.into_iter().map(|(.., witness)| witness).collect()
    }
}

/// `T48`.
pub(super) fn name(operation: &Operation) -> String {
    format!("T{}", operation.index)
}

/// `T48 (process 3 on n1, 12.40 s)`.
pub(super) fn who(operation: &Operation, clock: Clock) -> String {
    format!(
        "{} (process {}{}, {})",
        name(operation),
        operation.process,
        words::on_node(operation),
        clock.at(operation.invoked_ns)
    )
}

/// `x`, `key 5`.
pub(super) fn key(value: &Value) -> String {
    match value.as_str() {
        Some(text) => words::cut(text, VALUE_LIMIT_CHARS),
        None => format!("key {}", words::cut(&value.to_string(), VALUE_LIMIT_CHARS)),
    }
}

/// `[1 2 3]`, `[… 5 6 7 8 9]`, `7`, `nothing`.
pub(super) fn shown(value: &Value) -> String {
    let one = |value: &Value| match value.as_str() {
        Some(text) => words::cut(text, VALUE_LIMIT_CHARS),
        None => words::cut(&value.to_string(), VALUE_LIMIT_CHARS),
    };
    match value.as_array() {
        Some(list) => {
            let hidden = list.len().saturating_sub(ELEMENTS_SHOWN);
            let mut parts: Vec<String> = list[hidden..].iter().map(one).collect();
            if hidden > 0 {
                parts.insert(0, "…".to_owned());
            }
            format!("[{}]", parts.join(" "))
        }
        None if value.is_null() => "nothing".to_owned(),
        None => one(value),
    }
}

/// `x=[1 2]`.
pub(super) fn equals(of_key: &Value, value: &Value) -> String {
    match value.is_null() {
        true => format!("{} as empty", key(of_key)),
        false => format!("{}={}", key(of_key), shown(value)),
    }
}

/// A clock for these transactions.
pub(super) fn clock(operations: &[&Operation]) -> Clock {
    Clock::spanning(
        operations
            .iter()
            .flat_map(|operation| [operation.invoked_ns, end_ns(operation)]),
    )
}

/// A witness: these transactions, the first to blame.
pub(super) fn witness(
    anomaly: Anomaly,
    txns: &Transactions,
    numbers: &[u32],
    story: impl FnOnce(&[&Operation], Clock) -> String,
) -> Witness {
    witness_of(&anomaly.name(), anomaly.title(), txns, numbers, story)
}

/// The same, of any kind.
pub(super) fn witness_of(
    kind: &str,
    title: &str,
    txns: &Transactions,
    numbers: &[u32],
    story: impl FnOnce(&[&Operation], Clock) -> String,
) -> Witness {
    let mut different: Vec<Operation> = Vec::new();
    for number in numbers {
        let operation = txns.operation(*number);
        if !different.iter().any(|known| known.index == operation.index) {
            different.push(operation);
        }
    }
    let operations: Vec<&Operation> = different.iter().collect();
    let clock = clock(&operations);
    let told = story(&operations, clock);
    let culprits: Vec<u64> = operations
        .iter()
        .take(1)
        .map(|culprit| culprit.index)
        .collect();
    words::witness(kind, title, told, &operations, &culprits)
}

/// Why who is read from must come after another: the reader, what it read and from whom, and of whom it knew and what that one wrote.
pub(super) fn knew_of(
    reader: &str,
    (read, from): (&str, &str),
    (known, wrote): (&str, &str),
) -> String {
    format!(
        "{reader} read {read} from {from}, though it knew of {known}, which wrote {wrote}: {known} must come before {from}"
    )
}

/// An edge between two transactions.
pub(super) fn edge(txns: &Transactions, from: u32, to: u32, words: String) -> Edge {
    Edge {
        from: txns.index[from as usize],
        to: txns.index[to as usize],
        words,
    }
}
