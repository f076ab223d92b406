//! Weak isolation of plain reads and writes: read committed, read atomic, causal.
//!
//! After Biswas and Enea ("On the complexity of checking transactional consistency", OOPSLA 2019), with the algorithms' costs of
//! AWDIT (Møldrup and Pavlogiannis, PLDI 2025). A level holds if transactions can be put in one order, the *commit order*, which keeps the order of
//! every session and who read from whom, and in which the following is true. Say T3 read x from T1, and T2 wrote x as well:
//!
//! | level | T2 comes before T1 if |
//! | --- | --- |
//! | read-committed | T3 had read something of T2's when it read x |
//! | read-atomic | T3 read something of T2's, or T2 came before it in its session |
//! | causal | T2 leads to T3 by sessions and reads, over any number of steps |
//!
//! ```text
//! T2  w y=2, w x=2 ──────────┐ wr
//! T1  w x=1 ──────────┐ wr   │
//!                     ▼      ▼
//! T3              r y=2, r x=1          so T2 ▶ T1 in the commit order
//! ```
//!
//! Values are unique, so all such edges are known, and the level holds exactly if they form no circle. Before that each read must show what
//! some transaction that took effect wrote last, its own writes first. The initial value, null, was written before everything else.
//!
//! A process is a session. These levels are not Adya's: reading T2's y and then an older x, as above with T2 after T1, is
//! read committed there and not here. `append` and `rw-register` decide the other two as well, by the names `strong-session-read-atomic` and `strong-session-causal`.

mod causal;
mod order;
mod reads;
mod saw;
mod tell;

use harness_core::{
    history::Outcome,
    verdict::{Budget, CheckInput, CheckResult, Checker, Exhausted, Severity, Verdict},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    builder::find_writes,
    findings::WITNESSES_PER_KIND,
    input::{Shape, Transactions},
    take, unusable,
};
use crate::{
    registry::{Source, Straight},
    words,
};
pub(super) use order::circle;
use reads::Sessions;
use saw::Saw;

/// The level that is asked for if none is named.
const DEFAULT_MODEL: &str = "causal";

/// What the checker is told besides the history.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The level that must hold, one of [`models`]; none: `causal`.
    pub model: Option<String>,
}

/// A level, the weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    ReadCommitted,
    ReadAtomic,
    Causal,
}

impl Level {
    const ALL: [(Self, &'static str); 3] = [
        (Self::ReadCommitted, "read-committed"),
        (Self::ReadAtomic, "read-atomic"),
        (Self::Causal, "causal"),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(level, _)| *level == self)
            .map_or("unknown", |(_, name)| name)
    }
}

/// The names of the levels, weak before strong.
#[must_use]
pub fn models() -> Vec<&'static str> {
    Level::ALL.iter().map(|(_, name)| *name).collect()
}

/// The checker.
#[derive(Clone, Debug)]
pub struct WeakIsolation {
    level: Level,
}

/// Why transactions that differ cannot be put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// One session did the first before the second.
    Session,
    /// The second read what the first wrote.
    Read,
    /// The level demands it.
    Commit,
}

/// From one transaction to the next of a circle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub from: u32,
    pub to: u32,
    pub reason: Reason,
}

/// What makes an order impossible.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Broken {
    /// Transactions that must each come before the next.
    Circle(Vec<Edge>),
    /// A read of the initial value: by a step of a transaction, which saw this other one that wrote the key.
    Initial { txn: u32, step: u32, saw: u32 },
}

impl WeakIsolation {
    /// None if there is no such level.
    #[must_use]
    pub fn new(options: &Options) -> Option<Self> {
        let name = options.model.as_deref().unwrap_or(DEFAULT_MODEL);
        let (level, _) = Level::ALL.iter().find(|(_, known)| *known == name)?;
        Some(Self { level: *level })
    }

    fn judge(&self, mut txns: Transactions, threads: usize, budget: &dyn Budget) -> CheckResult {
        let looked_at = txns.len() as u64;
        let mut figures = super::counts(&txns);
        figures.insert("model".to_owned(), self.level.name().into());
        let saw = Saw::direct(&txns, threads);
        if saw.is_none() {
            find_writes(&mut txns);
        }
        let mut result = match unusable(&txns) {
            Some((summary, notes)) => {
                let mut result = CheckResult::new(self.name(), Verdict::Unknown, summary);
                result.notes = notes
                    .into_iter()
                    .map(|(kind, text)| words::note(kind, Severity::Error, text))
                    .collect();
                result
            }
            None => match self.look(Sessions::new(txns, saw, threads), &mut figures, budget) {
                Ok(result) => result,
                Err(exhausted) => CheckResult::new(
                    self.name(),
                    Verdict::Unknown,
                    format!("{exhausted} before all transactions were put in order"),
                ),
            },
        };
        result.figures = figures;
        result.looked_at = looked_at;
        words::finish(result)
    }

    fn look(
        &self,
        sessions: Sessions,
        figures: &mut std::collections::BTreeMap<String, Value>,
        budget: &dyn Budget,
    ) -> Result<CheckResult, Exhausted> {
        let (counts, mut witnesses) = sessions.faults(WITNESSES_PER_KIND);
        let broken = match self.level {
            Level::Causal => causal::search(&sessions, budget)?,
            level => order::search(&sessions, level, budget)?,
        };
        let mut kinds: Vec<String> = counts
            .iter()
            .map(|(kind, count)| format!("{} {kind}", words::count(*count)))
            .collect();
        let mut seen = json!(
            counts
                .iter()
                .map(|(kind, count)| ((*kind).to_owned(), json!(count)))
                .collect::<serde_json::Map<_, _>>()
        );
        if let Some(broken) = &broken {
            let kind = broken.kind();
            kinds.push(format!("a {kind}"));
            seen[kind] = json!(1);
            witnesses.insert(0, tell::witness(&sessions, broken, self.level));
        }
        figures.insert("anomalies".to_owned(), seen);
        figures.insert("session_count".to_owned(), json!(sessions.count()));
        let transactions = words::plural(sessions.txns.len(), "transaction", "transactions");
        let name = self.level.name();
        let (verdict, summary) = if kinds.is_empty() {
            (Verdict::Valid, format!("{transactions}: {name}"))
        } else {
            let found = kinds.join(", ");
            (
                Verdict::Invalid,
                format!("{found} in {transactions}: not {name}"),
            )
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.notes = witnesses
            .iter()
            .map(|witness| words::note(&witness.kind, Severity::Error, witness.title.clone()))
            .collect();
        result.notes.dedup();
        result.witnesses = witnesses;
        Ok(result)
    }
}

impl Checker for WeakIsolation {
    fn name(&self) -> &str {
        "weak-isolation"
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        self.judge(take::history(input.history, Shape::Registers), 0, budget)
    }
}

impl Straight for WeakIsolation {
    fn check_bytes(
        &self,
        source: &Source<'_>,
        budget: &dyn Budget,
    ) -> Option<(CheckResult, Vec<String>)> {
        let (txns, remarks) = take::source(source, Shape::Registers)?;
        Some((self.judge(txns, source.threads, budget), remarks))
    }
}

impl Broken {
    fn kind(&self) -> &'static str {
        match self {
            Self::Initial { .. } => "initial-value-too-late",
            Self::Circle(edges) if edges.iter().all(|edge| edge.reason != Reason::Commit) => {
                "causality-cycle"
            }
            Self::Circle(_) => "commit-order-cycle",
        }
    }
}

/// Whether a transaction of this outcome took effect if nobody saw it.
fn took_effect_unseen(outcome: Outcome) -> bool {
    outcome == Outcome::Ok
}
