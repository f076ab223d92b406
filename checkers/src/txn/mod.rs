//! Transactions on lists and registers: which isolation do they have?
//!
//! After Elle (Kingsbury and Alvaro, "Elle: inferring isolation anomalies from experimental observations", VLDB 2020) and
//! Adya ("Weak consistency", 1999). What transactions read tells in which order they must have taken effect:
//!
//! ```text
//! T1 append x 1          T2 read x = [1]        T3 append x 2        T4 read x = [1 2]
//!    └── wr: T2 saw T1's ──┘  └── rw: T2 missed T3's ─┘  └── wr: T4 saw T3's ─┘
//! ```
//!
//! A circle of such edges is a contradiction, and its edges say which isolation levels forbid it. The way there:
//!
//! 1. `take`, `builder`, `input`: transactions, keys and writes out of the history, in columns; a value that is written twice makes
//!    the result unknown;
//! 2. `lists` or `registers`: the order of versions, as far as it is proven, and the edges; `list_faults` and
//!    `register_faults`: what is wrong within single reads;
//! 3. `cycles`: circles, exact in what exists; `explain`: words for them, with `stale` of who read an old value;
//! 4. `sight` for lists, `commits` for registers: who saw a part of what must be seen together, where a circle leaves open whether they are read atomic or causal;
//! 5. `model`: which consistency models the anomalies rule out.
//!
//! Outcomes: an `ok` transaction took effect, a failed one never did, one whose outcome is not known did if somebody saw its work. Nothing
//! comes after the latter in real time: it may have taken effect long after its answer was given up.
//!
//! For lists the verdict on the models that order all transactions is exact, and that on `read-atomic` and `causal`. That on `snapshot-isolation` and its like is
//! never wrong, and open where the order of appends that nobody read decides (`unread`). For registers the order of versions
//! is known in part only, and deciding is NP-complete (Papadimitriou 1979): `invalid` is proof, and so is `valid`; what can be
//! neither proven nor contradicted within bounds is `unknown` (`settle`).

mod anomaly;
mod atoms;
mod builder;
mod commits;
mod conclude;
mod cycles;
mod explain;
mod findings;
mod graph;
mod input;
mod list_faults;
mod lists;
mod model;
mod paths;
mod register_faults;
mod registers;
mod scc;
mod serial;
mod settle;
mod sight;
mod single;
mod stale;
mod take;
mod unread;
mod versions;
pub mod weak;

use std::collections::BTreeMap;

use harness_core::{
    history::Outcome,
    verdict::{Budget, CheckInput, CheckResult, Checker, Exhausted, Verdict},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    parallel,
    registry::{Source, Straight},
    words,
};
use anomaly::{Anomaly, Order};
use builder::find_writes;
use cycles::{Cycles, Found};
use explain::{Evidence, Righted, Versions};
use findings::Findings;
use graph::{Edges, Graph, Kinds};
use input::{Shape, Transactions};
use lists::Lists;
use model::Model;
use registers::Registers;

/// The model that is asked for if none is named.
const DEFAULT_MODEL: &str = "strict-serializable";
/// Examples of what makes a history unusable.
const ODD_SHOWN: usize = 5;

/// What the checker is told besides the history.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The consistency model that must hold, one of [`models`]; none: `strict-serializable`.
    pub model: Option<String>,
    /// A sentence with its source that is put beside what a stale read explains: circles that close only because real time
    /// counts, in which somebody missed a write.
    pub explanation_for_realtime: Option<String>,
}

/// The names of the consistency models, weak before strong.
#[must_use]
pub fn models() -> Vec<&'static str> {
    model::names().collect()
}

/// The checker.
#[derive(Clone, Debug)]
pub struct Transactional {
    name: &'static str,
    shape: Shape,
    model: Model,
    explanation_for_realtime: Option<String>,
}

impl Transactional {
    /// For transactions of `append` and `r` on lists. None if there is no such model.
    #[must_use]
    pub fn lists(name: &'static str, options: Options) -> Option<Self> {
        Self::new(name, Shape::Lists, options)
    }

    /// For transactions of `w` and `r` on registers. None if there is no such model.
    #[must_use]
    pub fn registers(name: &'static str, options: Options) -> Option<Self> {
        Self::new(name, Shape::Registers, options)
    }

    fn new(name: &'static str, shape: Shape, options: Options) -> Option<Self> {
        Some(Self {
            name,
            shape,
            model: Model::named(options.model.as_deref().unwrap_or(DEFAULT_MODEL))?,
            explanation_for_realtime: options.explanation_for_realtime,
        })
    }
}

/// What an analysis gives.
struct Analysis {
    findings: Findings,
    edges: usize,
    cycles: Cycles,
    /// Why the order of appends that nobody read is known too little for models that need it.
    unread: Option<String>,
    /// A model that was decided though it is not checked in full everywhere.
    decided: Option<Model>,
    /// Reads of registers that showed what nobody wrote and that may be what was there at first.
    passed_over: usize,
    /// Why the order of versions is known too little for a verdict.
    open: Option<String>,
}

impl Analysis {
    /// Whether something was found that the model forbids.
    fn is_broken(&self, model: Model) -> bool {
        let mut kinds = self.findings.counts();
        kinds.any(|(anomaly, _)| model.forbids(anomaly))
    }

    /// All that was found, or may be there.
    fn worst(&self) -> Vec<Anomaly> {
        let kinds = self.findings.counts().map(|(kind, _)| kind);
        kinds.chain(self.cycles.undecided()).collect()
    }

    /// Whether the model holds for certain.
    fn proves(&self, model: Model) -> bool {
        let in_order = self.unread.is_none();
        model.holds(&self.worst(), self.decided, in_order) && self.open.is_none()
    }
}

impl Checker for Transactional {
    fn name(&self) -> &str {
        self.name
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        self.judge(take::history(input.history, self.shape), 0, budget)
    }
}

impl Straight for Transactional {
    fn check_bytes(
        &self,
        source: &Source<'_>,
        budget: &dyn Budget,
    ) -> Option<(CheckResult, Vec<String>)> {
        let (txns, remarks) = take::source(source, self.shape)?;
        Some((self.judge(txns, source.threads, budget), remarks))
    }
}

impl Transactional {
    fn judge(&self, mut txns: Transactions, threads: usize, budget: &dyn Budget) -> CheckResult {
        find_writes(&mut txns);
        let mut figures = counts(&txns);
        let looked_at = txns.len() as u64;
        let mut result = match unusable(&txns) {
            Some((kind, notes)) => self.unknown(kind, notes),
            None => match analyze(txns, self.shape, self.model, threads, budget) {
                Ok(analysis) => self.conclude(analysis, &mut figures),
                Err(exhausted) => CheckResult::new(
                    self.name,
                    Verdict::Unknown,
                    format!("{exhausted} before the search for circles was over"),
                ),
            },
        };
        figures.insert("model".to_owned(), self.model.name().into());
        result.figures = figures;
        result.looked_at = looked_at;
        words::finish(result)
    }
}

fn counts(txns: &Transactions) -> BTreeMap<String, Value> {
    let of = |outcome| {
        txns.outcome
            .iter()
            .filter(|known| **known == outcome)
            .count()
    };
    let write_count = txns.write_count();
    [
        ("transaction_count", txns.len()),
        ("ok_count", of(Outcome::Ok)),
        ("fail_count", of(Outcome::Fail)),
        ("info_count", of(Outcome::Info)),
        ("read_count", txns.step_count() - write_count),
        ("write_count", write_count),
        ("key_count", txns.keys.len()),
    ]
    .into_iter()
    .map(|(name, number)| (name.to_owned(), json!(number)))
    .collect()
}

/// Why nothing can be said about this history: a summary and notes.
fn unusable(txns: &Transactions) -> Option<(String, Vec<(&'static str, String)>)> {
    if let Some((_, first)) = txns.odd.first() {
        let notes = txns.odd.iter().take(ODD_SHOWN);
        return Some((
            format!(
                "{} cannot be read as such: {first}",
                words::plural(txns.odd.len(), "transaction", "transactions")
            ),
            notes
                .map(|(txn, detail)| {
                    let index = txns.index[*txn as usize];
                    ("odd-transaction", format!("operation {index}: {detail}"))
                })
                .collect(),
        ));
    }
    let repeated = txns.repeated();
    if let Some((first, _)) = repeated.first() {
        let shown = |write: &input::Write| {
            format!(
                "{} to {}",
                findings::shown(&txns.atoms.value(write.element)),
                findings::key(&txns.key(write.key))
            )
        };
        let notes = repeated.iter().take(ODD_SHOWN).map(|(a, b)| {
            let index = |write: &input::Write| txns.index[write.txn as usize];
            let text = format!(
                "operations {} and {} both wrote {}",
                index(a),
                index(b),
                shown(a)
            );
            ("written-twice", text)
        });
        return Some((
            format!(
                "{} written more than once ({}, for one), so reads do not tell whose work they saw",
                words::plural(repeated.len(), "value was", "values were"),
                shown(first)
            ),
            notes.collect(),
        ));
    }
    let ok = txns.outcome.contains(&Outcome::Ok);
    (!ok).then(|| ("no transaction succeeded".to_owned(), Vec::new()))
}

fn analyze(
    txns: Transactions,
    shape: Shape,
    model: Model,
    threads: usize,
    budget: &dyn Budget,
) -> Result<Analysis, Exhausted> {
    let orders = &model.orders();
    match shape {
        Shape::Lists => {
            let lists = Lists::new(txns);
            let known = Known {
                txns: &lists.txns,
                took_effect: &lists.took_effect,
                data: &|edges: &mut Edges| lists.edges(edges),
                versions: &lists,
                threads,
            };
            let faults = |findings: &mut Findings| {
                list_faults::find(&lists, findings);
                0
            };
            let mut analysis = known.analyze(&faults, orders, budget)?;
            if analysis.is_broken(model) {
                return Ok(analysis);
            }
            if !model.holds(&analysis.worst(), None, false) {
                analysis.unread = known.unread(&lists, model, (orders, &analysis), budget)?;
            }
            if !analysis.proves(model) {
                let singles = analysis.cycles.with_single();
                let findings = &mut analysis.findings;
                let sight = sight::decide(&lists, model, &singles, findings, budget)?;
                (analysis.decided, analysis.open) = (sight.decided, sight.open);
            }
            Ok(analysis)
        }
        Shape::Registers => {
            let registers = Registers::new(txns);
            let known = Known {
                txns: &registers.txns,
                took_effect: &registers.took_effect,
                data: &|edges: &mut Edges| registers.edges(edges),
                versions: &registers,
                threads,
            };
            let faults = |findings: &mut Findings| register_faults::find(&registers, findings);
            let mut analysis = known.analyze(&faults, orders, budget)?;
            if !analysis.is_broken(model) {
                let findings = &mut analysis.findings;
                let settled = settle::decide(&registers, model, findings, budget)?;
                (analysis.decided, analysis.open) = (settled.decided, settled.open);
            }
            Ok(analysis)
        }
    }
}

impl Versions for Lists {
    fn verb(&self) -> &'static str {
        "appended"
    }

    fn shows(&self) -> &'static str {
        "an old state"
    }

    fn reason(&self, from: u32, to: u32, kind: Kinds) -> Option<(usize, usize)> {
        self.reason(from, to, kind)
    }
}

impl Versions for Registers {
    fn verb(&self) -> &'static str {
        "wrote"
    }

    fn shows(&self) -> &'static str {
        "an old value"
    }

    fn reason(&self, from: u32, to: u32, kind: Kinds) -> Option<(usize, usize)> {
        self.reason(from, to, kind)
    }

    fn evidence(&self, first: usize, second: usize, kind: Kinds) -> Option<Evidence> {
        self.evidence(first, second, kind)
    }

    fn righted(&self, found: &Found) -> Righted {
        self.righted(found)
    }
}

/// What is known of the versions of lists or registers.
struct Known<'a> {
    txns: &'a Transactions,
    took_effect: &'a [bool],
    /// Adds the edges that the data gives.
    data: &'a dyn Fn(&mut Edges),
    versions: &'a dyn Versions,
    threads: usize,
}

impl Known<'_> {
    /// `faults` adds what is wrong within single reads, and says how many were passed over.
    fn analyze(
        &self,
        faults: &(dyn Fn(&mut Findings) -> usize + Sync),
        orders: &[Order],
        budget: &dyn Budget,
    ) -> Result<Analysis, Exhausted> {
        let txns = self.txns;
        // Neither looks at what the other finds: faults come first, whoever is done first.
        let (faulty, circles) = parallel::both(
            self.threads,
            || {
                let mut findings = Findings::default();
                let passed_over = faults(&mut findings);
                (findings, passed_over)
            },
            || {
                let graph = self.graph(orders, &[]);
                cycles::search(&graph, txns.len(), orders, budget)
                    .map(|cycles| (cycles, graph.edge_count()))
            },
        );
        let ((mut findings, passed_over), (cycles, edges)) = (faulty, circles?);
        for found in &cycles.found {
            findings.add(found.anomaly, || explain::cycle(txns, found, self.versions));
        }
        Ok(Analysis {
            findings,
            edges,
            cycles,
            unread: None,
            decided: None,
            passed_over,
            open: None,
        })
    }

    /// Why the order of appends that nobody read is known too little for a model of which nothing else is wrong.
    fn unread(
        &self,
        lists: &Lists,
        model: Model,
        (orders, analysis): (&[Order], &Analysis),
        budget: &dyn Budget,
    ) -> Result<Option<String>, Exhausted> {
        let together = unread::together(lists, &analysis.cycles.all());
        if together.is_empty() {
            return Ok(None);
        }
        for tried in 0..unread::TRIES {
            let graph = self.graph(orders, &unread::ordered(self.txns, &together, tried));
            let circles = cycles::search(&graph, self.txns.len(), orders, budget)?;
            let kinds = circles.found.iter().map(|found| found.anomaly);
            let mut worst: Vec<Anomaly> = kinds.chain(circles.undecided()).collect();
            worst.extend(analysis.findings.counts().map(|(kind, _)| kind));
            if model.holds(&worst, None, true) {
                return Ok(None);
            }
        }
        Ok(unread::why(self.txns, &together))
    }

    /// All edges, and with them the one before the other of these.
    fn graph(&self, orders: &[Order], before: &[(u32, u32)]) -> Graph {
        Graph::build(self.txns.len(), |edges| {
            (self.data)(edges);
            for (first, second) in before {
                edges.add(*first, *second, graph::WW);
            }
            if orders.contains(&Order::Process) {
                self.txns.process_edges(self.took_effect, edges);
            }
            if orders.contains(&Order::Realtime) {
                self.txns.realtime_edges(self.took_effect, edges);
            }
        })
    }
}
