//! Is each key of this history linearizable?
//!
//! Histories are split by key first: linearizability is local (Herlihy and Wing 1990), a history is linearizable exactly
//! if what happened to each object is. Registers whose
//! values are all set once are decided by zones and, with compare-and-sets among them, by blocks; queues, stacks and sets whose values
//! are unambiguous by what may not happen; everything else by just-in-time linearization. A dead end is turned into words.
//!
//! Values are `[key, value]`, or bare if there is one object ([`Keyed`]). Operations end by index, not by time: a
//! completion that stands before an invocation in the history happened before it.

mod aspects;
mod blocks;
mod configs;
mod explain;
mod fit;
mod objects;
mod problem;
mod register;
mod rows;
mod run;
mod search;
mod searched;
mod spec;
mod stacks;
mod store;
mod tally;
mod text;
mod zones;

use harness_core::{
    format::MISMATCH,
    history::Operation,
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict, Witness},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{keyed, words};
use problem::View;
use search::{Ending, Figures};
use tally::Tally;

pub use objects::{Kind, Object, ObjectOp};
pub use register::{Register, RegisterOp};
pub use spec::{Call, ModelError, Placement, SequentialSpec};
pub use store::{Held, Store, StoreOp};
pub use text::{Text, TextOp};

/// The models by name.
pub const MODELS: [&str; 12] = [
    "register",
    "cas-register",
    "key-value",
    "mutex",
    "owned-mutex",
    "counter",
    "set",
    "list",
    "queue",
    "stack",
    "multi-register",
    "membership",
];

/// Whether values carry a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keyed {
    /// If every value looks like `[key, value]`: reads ask `[key, null]`, a compare-and-set `[key, [old, new]]`. Of objects
    /// other than registers, whose values have any shape, only where nothing else makes sense: the key is a word or a
    /// number, locks are `[key, null]`, all that asks asks `[key, null]` and is answered `[key, answer]`, a set's or a
    /// list's answer is a list and a counter's a number. A note then says so. Never of `multi-register`.
    #[default]
    Auto,
    /// Always.
    Yes,
    /// Never: one object.
    No,
}

/// What the checker is told besides the history.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// One of [`MODELS`].
    pub model: String,
    /// The value before the first write: null, for `key-value` the empty text.
    pub initial: Value,
    /// Whether values carry a key.
    pub keyed: Keyed,
    /// A read of null says nothing (Knossos' convention), instead of: the value was null.
    pub null_matches_any: bool,
    /// Decide registers, queues, stacks and sets whose values are unambiguous without a search. Off only to compare the two.
    pub zones: bool,
    /// Judge keys one by one, which linearizability allows. Off only to compare, and only for `key-value`.
    pub partition: bool,
    /// Error kinds by which a failed compare-and-set says that it saw another value: then it counts as a read.
    pub observing_failures: Vec<String>,
    /// Kinds of operations that are not the model's and are passed over.
    pub ignore: Vec<String>,
    /// Known behaviour of the system that explains stale reads; put under witnesses of that shape only.
    pub stale_read_explanation: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            model: "cas-register".to_owned(),
            initial: Value::Null,
            keyed: Keyed::Auto,
            null_matches_any: false,
            zones: true,
            partition: true,
            observing_failures: vec![MISMATCH.to_owned()],
            ignore: vec!["availability".to_owned()],
            stale_read_explanation: None,
        }
    }
}

impl Options {
    /// The register that they describe.
    fn register(&self) -> Register {
        Register::new(
            &self.initial,
            self.null_matches_any,
            self.observing_failures.clone(),
            self.model == "cas-register",
        )
    }

    /// What was taken for granted because nobody said it, where that alone may make a history invalid.
    fn assumed(&self) -> Option<&'static str> {
        (self.model == "multi-register" && self.initial.is_null()).then_some(
            "every register is taken to be absent before its first write: the option initial says what was there, as in {\"initial\":{\"x\":0}}",
        )
    }

    /// What a text is before the first write.
    fn initial_text(&self) -> Value {
        if self.initial.is_null() {
            json!("")
        } else {
            self.initial.clone()
        }
    }
}

/// The checker.
#[derive(Clone, Debug)]
pub struct Linearizable {
    name: &'static str,
    options: Options,
}

impl Default for Linearizable {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Linearizable {
    /// With these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            name: "linearizable",
            options,
        }
    }

    /// A checker of its own name for queues: first in, first out, nothing lost, nothing twice.
    #[must_use]
    pub fn fifo_queue() -> Self {
        Self {
            name: "fifo-queue",
            options: Options {
                model: "queue".to_owned(),
                ..Options::default()
            },
        }
    }
}

/// What became of one key.
struct KeyResult {
    ending: Ending,
    figures: Figures,
    completions: usize,
    witness: Option<Witness>,
}

impl Checker for Linearizable {
    fn name(&self) -> &'static str {
        self.name
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let operations: Vec<&Operation> = input
            .history
            .operations
            .iter()
            .filter(|operation| !self.options.ignore.iter().any(|f| **f == *operation.f))
            .collect();
        if input.history.operations.is_empty() && input.history.event_count > 0 {
            // Other checkers say that nothing was done; whatever was done has a legal order.
            return CheckResult::new(
                self.name(),
                Verdict::Valid,
                "no operation: the empty history is linearizable",
            );
        }
        if operations.is_empty() {
            return CheckResult::new(self.name(), Verdict::Unknown, "no operation to judge");
        }
        if !MODELS.contains(&self.options.model.as_str()) {
            let summary = format!(
                "{:?} is no model; known are {}",
                self.options.model,
                MODELS.join(", ")
            );
            return CheckResult::new(self.name(), Verdict::Unknown, summary);
        }
        let by_key = match self.options.keyed {
            Keyed::Yes => true,
            Keyed::No => false,
            Keyed::Auto => match Kind::from_name(&self.options.model) {
                Some(kind) => kind.looks_keyed(&operations),
                None => problem::looks_keyed(&operations),
            },
        };
        let by_key = by_key && self.options.partition;
        let guessed = by_key && self.options.keyed == Keyed::Auto;
        let guessed = guessed && Kind::from_name(&self.options.model).is_some();
        let mut tally = Tally::new(operations.len());
        let keys = problem::split(&operations, by_key);
        let key_count = keys.len();
        if let Some(unfit) = self.add_keys(keys, input, &mut tally, budget) {
            return unfit;
        }
        let mut result = tally.result(self.name(), &self.options.model);
        if result.verdict == Verdict::Invalid
            && let Some(assumed) = self.options.assumed()
        {
            result.summary = format!("{}; {assumed}", result.summary);
        }
        if guessed {
            result.notes.push(keyed::note(key_count));
            result = words::finish(result);
        }
        result
    }
}

impl Linearizable {
    /// Judges keys one by one. What it returns is the end: an operation that the model cannot take.
    fn add_keys(
        &self,
        keys: Vec<(Option<&Value>, Vec<View<'_>>)>,
        input: &CheckInput<'_>,
        tally: &mut Tally,
        budget: &dyn Budget,
    ) -> Option<CheckResult> {
        for (key, views) in keys {
            match self.check_key(key, &views, input, budget) {
                Ok(result) => tally.add(key, result),
                Err((operation, error)) => {
                    let mut result = CheckResult::new(
                        self.name(),
                        Verdict::Unknown,
                        format!(
                            "operation {operation} does not fit the model {}: {error}{}",
                            self.options.model,
                            fit::mend(&self.options, &views, operation)
                        ),
                    );
                    result
                        .notes
                        .push(words::note("model", Severity::Error, error.to_string()));
                    return Some(result);
                }
            }
        }
        None
    }

    fn check_key(
        &self,
        key: Option<&Value>,
        views: &[View<'_>],
        input: &CheckInput<'_>,
        budget: &dyn Budget,
    ) -> Result<KeyResult, (u64, ModelError)> {
        let options = &self.options;
        if options.model == "key-value" {
            let initial = options.initial_text();
            if !options.partition {
                let store = Store::new(&initial, 0);
                return self.search_key(store, &initial, key, views, input, budget);
            }
            return self.search_key(Text::new(&initial), &initial, key, views, input, budget);
        }
        if let Some(kind) = Kind::from_name(&options.model) {
            let object = Object::new(kind, &options.initial, options.null_matches_any);
            let initial = object.initial();
            return self.object_key(object, &initial, key, views, input, budget);
        }
        let mut problem = problem::build(options.register(), views)?;
        let decided = self.decide_register(&mut problem, budget);
        Ok(self.key_result(&problem, decided, (key, views, &options.initial), input))
    }

    fn search_key<S: SequentialSpec>(
        &self,
        spec: S,
        initial: &Value,
        key: Option<&Value>,
        views: &[View<'_>],
        input: &CheckInput<'_>,
        budget: &dyn Budget,
    ) -> Result<KeyResult, (u64, ModelError)> {
        let problem = problem::build(spec, views)?;
        let decided = decide_by_search(&problem, budget);
        Ok(self.key_result(&problem, decided, (key, views, initial), input))
    }

    /// Objects: queues, stacks and sets by what may not happen where that decides it, else by search.
    fn object_key(
        &self,
        object: Object,
        initial: &Value,
        key: Option<&Value>,
        views: &[View<'_>],
        input: &CheckInput<'_>,
        budget: &dyn Budget,
    ) -> Result<KeyResult, (u64, ModelError)> {
        if !self.options.zones {
            return self.search_key(object, initial, key, views, input, budget);
        }
        let problem = problem::build(object, views)?;
        if !aspects::applies(&problem) {
            return self.search_key(problem.spec, initial, key, views, input, budget);
        }
        let figures = Figures {
            by_zones: 1,
            steps: problem.steps.len() as u64,
            bytes_max: (problem.entries.len() * size_of::<search::Entry>()
                + problem.steps.len() * 8) as u64,
            ..Figures::default()
        };
        let ending = aspects::shortest(&problem).map_or(Ending::Linearizable, Ending::Stuck);
        Ok(self.key_result(&problem, (ending, figures), (key, views, initial), input))
    }

    /// Registers: by zones or blocks where each value is set once, else by search.
    fn decide_register(
        &self,
        problem: &mut search::Problem<Register>,
        budget: &dyn Budget,
    ) -> (Ending, Figures) {
        let mut figures = Figures {
            bytes_max: (problem.entries.len() * size_of::<search::Entry>()
                + problem.steps.len() * 8) as u64,
            ..Figures::default()
        };
        let ending = if let Err(limit) = budget.spend(figures.bytes_max) {
            Ending::Exhausted { limit, placed: 0 }
        } else if self.options.zones && zones::applies(problem) {
            figures.by_zones = 1;
            figures.steps = problem.steps.len() as u64;
            match zones::shortest(problem) {
                None => Ending::Linearizable,
                Some((until, conflict)) => {
                    let part = zones::only(problem, until, conflict);
                    search::search_part(problem, part, budget, &mut figures)
                }
            }
        } else if self.options.zones && blocks::applies(problem) {
            figures.by_zones = 1;
            figures.steps = problem.steps.len() as u64;
            match blocks::shortest(problem) {
                None => Ending::Linearizable,
                Some((until, conflict)) => {
                    let part = blocks::only(problem, until, conflict);
                    match search::search_part(problem, part, budget, &mut figures) {
                        // That there is no order is known; only the longest one before was not found.
                        Ending::Exhausted { .. } => Ending::Stuck(blocks::stuck(until)),
                        found => found,
                    }
                }
            }
        } else if problem.width > search::WIDTH_LIMIT {
            too_wide()
        } else {
            search::search(problem, budget, &mut figures)
        };
        (ending, figures)
    }

    fn key_result<S: SequentialSpec>(
        &self,
        problem: &search::Problem<S>,
        (ending, figures): (Ending, Figures),
        (key, views, initial): (Option<&Value>, &[View<'_>], &Value),
        input: &CheckInput<'_>,
    ) -> KeyResult {
        let witness = match &ending {
            Ending::Stuck(stuck) => {
                let story = explain::Story {
                    key,
                    views,
                    initial,
                    entries: &problem.entries,
                    steps: &problem.steps,
                    stuck,
                    faults: input.faults,
                    stale_read_explanation: self.options.stale_read_explanation.as_deref(),
                };
                Some(story.witness())
            }
            _ => None,
        };
        KeyResult::new(problem, (ending, figures), witness)
    }
}

impl KeyResult {
    fn new<S: SequentialSpec>(
        problem: &search::Problem<S>,
        (ending, figures): (Ending, Figures),
        witness: Option<Witness>,
    ) -> Self {
        let completions = problem
            .steps
            .iter()
            .filter(|step| matches!(step, search::Step::Return(_)))
            .count();
        Self {
            ending,
            figures,
            completions,
            witness,
        }
    }
}

fn decide_by_search<S: SequentialSpec>(
    problem: &search::Problem<S>,
    budget: &dyn Budget,
) -> (Ending, Figures) {
    let mut figures = Figures::default();
    let ending = if problem.width > search::WIDTH_LIMIT {
        too_wide()
    } else {
        search::search(problem, budget, &mut figures)
    };
    (ending, figures)
}

fn too_wide() -> Ending {
    Ending::Exhausted {
        limit: harness_core::verdict::Exhausted::Memory,
        placed: 0,
    }
}
