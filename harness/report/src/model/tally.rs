//! Operations by kind and outcome, their latencies, and the errors they ended with.

use std::{collections::BTreeMap, sync::Arc};

use harness_core::history::{History, Operation, Outcome};

use crate::text;

/// Kinds that get a row (and a filter) of their own; later ones share `other`.
pub const KIND_LIMIT: usize = 12;
/// Error rows that are shown.
pub const ERROR_LIMIT: usize = 12;

/// Numbers of operations by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They took effect.
    pub ok: u64,
    /// They did not.
    pub fail: u64,
    /// Nobody knows.
    pub info: u64,
}

impl Counts {
    /// Of all outcomes.
    #[must_use]
    pub fn all(self) -> u64 {
        self.ok + self.fail + self.info
    }

    /// Counts one more.
    pub fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => self.ok += 1,
            Outcome::Fail => self.fail += 1,
            Outcome::Info => self.info += 1,
        }
    }
}

/// Latencies of ok operations, exact order statistics, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// Half took at most this.
    pub p50_ns: u64,
    /// 95 of 100.
    pub p95_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// The slowest.
    pub max_ns: u64,
}

impl Quantiles {
    /// Of latencies in any order; None of none.
    pub fn of(latencies_ns: &mut [u64]) -> Option<Self> {
        let last = latencies_ns.len().checked_sub(1)?;
        latencies_ns.sort_unstable();
        // The smallest element that at least that share of all are not above.
        let at = |share: f64| {
            let rank = (share * latencies_ns.len() as f64).ceil() as usize;
            latencies_ns[rank.saturating_sub(1).min(last)]
        };
        Some(Self {
            p50_ns: at(0.50),
            p95_ns: at(0.95),
            p99_ns: at(0.99),
            max_ns: latencies_ns[last],
        })
    }
}

/// One kind of operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name, or `other`.
    pub name: String,
    /// By outcome.
    pub counts: Counts,
    /// Latencies of its ok operations.
    pub latency: Option<Quantiles>,
}

/// Operations that ended alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorRow {
    /// The kind of operation.
    pub f: String,
    /// `fail` or `info`.
    pub outcome: Outcome,
    /// The error's stable word.
    pub kind: String,
    /// How often.
    pub count: u64,
    /// What the first of them was told.
    pub example: String,
}

/// Operations by kind and outcome.
#[derive(Clone, Debug)]
pub struct Tally {
    /// The kinds, the most frequent first; `other` last.
    pub kinds: Vec<Kind>,
    /// Of all kinds.
    pub counts: Counts,
    /// Latencies of all ok operations.
    pub latency: Option<Quantiles>,
    /// Errors, the most frequent first.
    pub errors: Vec<ErrorRow>,
    /// Errors that are not shown.
    pub errors_left_out: usize,
    /// Events of all kinds in the history.
    pub events: u64,
    by_name: BTreeMap<Arc<str>, usize>,
}

/// How long an operation took, if that is known: an `info`'s end bounds nothing.
#[must_use]
pub fn latency_ns(operation: &Operation) -> Option<u64> {
    match operation.outcome {
        Outcome::Info => None,
        Outcome::Ok | Outcome::Fail => operation
            .completed_ns
            .map(|end| end.saturating_sub(operation.invoked_ns)),
    }
}

impl Tally {
    pub(super) fn new(history: &History) -> Self {
        let mut totals: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for operation in &history.operations {
            match totals.get_mut(&operation.f) {
                Some(total) => *total += 1,
                None => {
                    totals.insert(Arc::clone(&operation.f), 1);
                }
            }
        }
        let mut names: Vec<_> = totals.into_iter().collect();
        names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let shared = names.len() > KIND_LIMIT;
        let own = if shared { KIND_LIMIT - 1 } else { names.len() };
        let mut kinds: Vec<Kind> = names[..own]
            .iter()
            .map(|(name, _)| Kind::named(text::clip(name, 40)))
            .collect();
        if shared {
            kinds.push(Kind::named("other".to_owned()));
        }
        let by_name = names
            .into_iter()
            .enumerate()
            .map(|(place, (name, _))| (name, place.min(own)))
            .collect();
        let mut tally = Self {
            kinds,
            counts: Counts::default(),
            latency: None,
            errors: Vec::new(),
            errors_left_out: 0,
            events: history.event_count,
            by_name,
        };
        tally.fill(history);
        tally.count_errors(history);
        tally
    }

    fn fill(&mut self, history: &History) {
        let mut latencies = vec![Vec::new(); self.kinds.len()];
        for operation in &history.operations {
            let kind = self.kind_of(operation);
            self.counts.add(operation.outcome);
            self.kinds[kind].counts.add(operation.outcome);
            if let (Outcome::Ok, Some(latency)) = (operation.outcome, latency_ns(operation)) {
                latencies[kind].push(latency);
            }
        }
        let mut all = Vec::new();
        for (kind, latencies) in self.kinds.iter_mut().zip(&mut latencies) {
            kind.latency = Quantiles::of(latencies);
            all.append(latencies);
        }
        self.latency = Quantiles::of(&mut all);
    }

    fn count_errors(&mut self, history: &History) {
        let mut rows: BTreeMap<(&str, bool, &str), (u64, &str)> = BTreeMap::new();
        for operation in &history.operations {
            let Some(error) = &operation.error else {
                continue;
            };
            let failed = operation.outcome == Outcome::Fail;
            rows.entry((&operation.f, failed, &error.kind))
                .or_insert((0, &error.message))
                .0 += 1;
        }
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_by(|a, b| b.1.0.cmp(&a.1.0).then_with(|| a.0.cmp(&b.0)));
        self.errors_left_out = rows.len().saturating_sub(ERROR_LIMIT);
        self.errors = rows
            .into_iter()
            .take(ERROR_LIMIT)
            .map(|((f, failed, kind), (count, example))| ErrorRow {
                f: text::clip(f, 40),
                outcome: if failed { Outcome::Fail } else { Outcome::Info },
                kind: text::clip(kind, 40),
                count,
                example: text::clip(example, text::VALUE_CHARS),
            })
            .collect();
    }

    /// The place in [`Self::kinds`] of an operation's kind.
    #[must_use]
    pub fn kind_of(&self, operation: &Operation) -> usize {
        self.by_name.get(&operation.f).copied().unwrap_or_default()
    }
}

impl Kind {
    fn named(name: String) -> Self {
        Self {
            name,
            counts: Counts::default(),
            latency: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_order_statistics() {
        assert_eq!(Quantiles::of(&mut []), None);
        let mut one_to_hundred: Vec<u64> = (1..=100).rev().collect();
        assert_eq!(
            Quantiles::of(&mut one_to_hundred),
            Some(Quantiles {
                p50_ns: 50,
                p95_ns: 95,
                p99_ns: 99,
                max_ns: 100
            })
        );
        let only = Quantiles::of(&mut [7]);
        assert_eq!(only.map(|q| (q.p50_ns, q.max_ns)), Some((7, 7)));
    }
}
