//! A queue, whatever its order: what goes in comes out, once, and nothing else does.
//!
//! `enqueue` v, `dequeue` (null, or a failure of kind `empty`: there was nothing), `drain` (a list). For each value:
//! - **lost**: acknowledged more often than dequeues could have taken it;
//! - **duplicated**: it came out more often than anybody tried to put it in (option `at_least_once` allows that);
//! - **unexpected**: it came out, and nobody had begun to put it in.
//!
//! A loss can be told only if the queue was emptied: a dequeue or drain that found nothing more, and began after the
//! last acknowledged enqueue had ended. Else what is missing makes `unknown`. A dequeue whose answer nobody saw may have
//! taken one element, a drain any number; as many missing ones are excused. After Jepsen's total-queue, which lets
//! duplicates pass. Enqueues of `[key, v]` with dequeues `[key, null]` of `[key, v]` are many queues, each judged by itself.

use std::collections::BTreeMap;

use harness_core::{
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    keyed::{self, Role, Shape},
    words::{self, Clock, end_ns},
};

/// Error kind of a dequeue that found nothing.
pub const EMPTY: &str = "empty";
/// Witnesses of one kind.
const WITNESSES_PER_KIND: usize = 3;
/// What a value takes in the table, roughly, in bytes.
const ENTRY_BYTES: usize = 160;

/// What the checker is told besides the history.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whether the queue may deliver twice.
    pub at_least_once: bool,
}

/// The checker.
#[derive(Clone, Debug, Default)]
pub struct TotalQueue {
    options: Options,
}

impl TotalQueue {
    /// With these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }
}

/// What became of a value.
#[derive(Default)]
struct Fate<'a> {
    acknowledged: Vec<&'a Operation>,
    /// Enqueues that may have taken effect.
    tried: usize,
    failed: Option<&'a Operation>,
    /// Index of the first enqueue's invocation that may have taken effect.
    first_try: Option<u64>,
    taken: Vec<&'a Operation>,
}

#[derive(Default)]
struct Looked<'a> {
    /// By JSON text.
    values: BTreeMap<String, Fate<'a>>,
    last_acknowledged: Option<u64>,
    /// The latest invocation of something that found the queue empty.
    last_empty: Option<u64>,
    /// Elements that may have been taken unseen; None: any number.
    unseen: Option<usize>,
    dequeues: usize,
}

fn look(operations: &[Operation]) -> Looked<'_> {
    let mut looked = Looked {
        unseen: Some(0),
        ..Looked::default()
    };
    for operation in operations {
        match &*operation.f {
            "enqueue" => {
                let fate = looked
                    .values
                    .entry(operation.input.to_string())
                    .or_default();
                if operation.outcome == Outcome::Fail {
                    fate.failed = Some(operation);
                    continue;
                }
                fate.tried += 1;
                fate.first_try.get_or_insert(operation.index);
                if operation.outcome == Outcome::Ok {
                    fate.acknowledged.push(operation);
                    looked.last_acknowledged =
                        looked.last_acknowledged.max(operation.completed_index);
                }
            }
            f @ ("dequeue" | "drain") => {
                looked.dequeues += 1;
                let drains = f == "drain";
                let nothing = match operation.outcome {
                    Outcome::Ok if drains => {
                        for value in operation.output.as_array().into_iter().flatten() {
                            looked
                                .values
                                .entry(value.to_string())
                                .or_default()
                                .taken
                                .push(operation);
                        }
                        true
                    }
                    Outcome::Ok if operation.output.is_null() => true,
                    Outcome::Ok => {
                        looked
                            .values
                            .entry(operation.output.to_string())
                            .or_default()
                            .taken
                            .push(operation);
                        false
                    }
                    Outcome::Fail => operation
                        .error
                        .as_ref()
                        .is_some_and(|error| error.kind == EMPTY),
                    Outcome::Info => {
                        looked.unseen = looked.unseen.filter(|_| !drains).map(|number| number + 1);
                        false
                    }
                };
                if nothing {
                    looked.last_empty = looked.last_empty.max(Some(operation.index));
                }
            }
            _ => {}
        }
    }
    looked
}

impl Checker for TotalQueue {
    fn name(&self) -> &'static str {
        "total-queue"
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let role = |f: &str| match f {
            "enqueue" => Role::Gives(Shape::Anything),
            "dequeue" => Role::Asks(Shape::Anything),
            "drain" => Role::Asks(Shape::Collection),
            _ => Role::Other,
        };
        keyed::judge(input, budget, role, |input, budget| {
            self.check_one(input, budget)
        })
    }
}

impl TotalQueue {
    fn check_one(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let looked = look(&input.history.operations);
        if let Err(limit) = budget.spend((looked.values.len() * ENTRY_BYTES) as u64) {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                format!("{limit} while collecting values"),
            );
        }
        let acknowledged: usize = looked
            .values
            .values()
            .map(|fate| fate.acknowledged.len())
            .sum();
        let (mut missing, mut duplicated, mut unexpected) = (Vec::new(), Vec::new(), Vec::new());
        for (value, fate) in &looked.values {
            let early = fate.taken.iter().find(|taken| {
                let end = taken.completed_index.unwrap_or(u64::MAX);
                fate.first_try.is_none_or(|tried| tried > end)
            });
            if let Some(early) = early {
                unexpected.push((value, fate, *early));
            } else if fate.taken.len() > fate.tried && !self.options.at_least_once {
                duplicated.push((value, fate));
            }
            let short = fate.acknowledged.len().saturating_sub(fate.taken.len());
            missing.extend(std::iter::repeat_n((value, fate), short));
        }
        let drained = looked.last_empty.is_some() && looked.last_empty > looked.last_acknowledged;
        let excused = looked.unseen.unwrap_or(usize::MAX);
        let lost = if drained {
            missing.len().saturating_sub(excused)
        } else {
            0
        };
        let broken = lost + duplicated.len() + unexpected.len() > 0;
        let (verdict, summary) = if broken {
            let parts: Vec<String> = [
                (lost, "lost"),
                (duplicated.len(), "duplicated"),
                (unexpected.len(), "unexpected"),
            ]
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| format!("{} {word}", words::count(number as u64)))
            .collect();
            (
                Verdict::Invalid,
                format!(
                    "{} of {}",
                    parts.join(", "),
                    words::plural(
                        acknowledged,
                        "acknowledged element",
                        "acknowledged elements"
                    )
                ),
            )
        } else if acknowledged == 0 {
            (Verdict::Unknown, "no enqueue was acknowledged".to_owned())
        } else if !drained {
            (Verdict::Unknown, "nobody found the queue empty after the last acknowledged enqueue: a loss could not be seen".to_owned())
        } else {
            (
                Verdict::Valid,
                format!(
                    "{} came out",
                    words::plural(
                        acknowledged,
                        "acknowledged element",
                        "acknowledged elements"
                    )
                ),
            )
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.looked_at = (acknowledged + looked.dequeues) as u64;
        for (value, fate, early) in unexpected.iter().take(WITNESSES_PER_KIND) {
            let why = match fate.failed {
                _ if fate.first_try.is_some() => {
                    "somebody began to put it in only later".to_owned()
                }
                Some(failed) => format!(
                    "process {} had tried to put it in, and was told that it failed",
                    failed.process
                ),
                None => "nobody ever tried to put it in".to_owned(),
            };
            tell(
                &mut result,
                "unexpected",
                "An element came from nowhere.",
                fate.failed.as_slice(),
                early,
                &format!("took {value}, but {why}"),
            );
        }
        for (value, fate) in duplicated.iter().take(WITNESSES_PER_KIND) {
            if let [before @ .., last] = fate.taken.as_slice() {
                let times = before.len() + 1;
                tell(
                    &mut result,
                    "duplicated",
                    "An element came out too often.",
                    before,
                    last,
                    &format!(
                        "took {value}, which so came out {times} times, and was put in {} at most",
                        words::plural(fate.tried, "time", "times")
                    ),
                );
            }
        }
        if lost > 0 {
            for (value, fate) in missing.iter().take(WITNESSES_PER_KIND) {
                if let Some(put) = fate.acknowledged.last() {
                    tell(
                        &mut result,
                        "lost",
                        "An element never came out.",
                        &[],
                        put,
                        &format!(
                            "put {value} in; the queue was found empty later, and nobody took it"
                        ),
                    );
                }
            }
        }
        for (name, value) in [
            ("acknowledged_count", json!(acknowledged)),
            ("missing_count", json!(missing.len())),
            ("lost_count", json!(lost)),
            ("duplicated_count", json!(duplicated.len())),
            ("unexpected_count", json!(unexpected.len())),
            (
                "unseen_dequeue_count",
                looked.unseen.map_or(Value::Null, |number| json!(number)),
            ),
        ] {
            result.figures.insert(name.to_owned(), value);
        }
        words::finish(result)
    }
}

fn tell(
    result: &mut CheckResult,
    kind: &str,
    title: &str,
    others: &[&Operation],
    culprit: &Operation,
    deed: &str,
) {
    let clock = Clock::spanning([culprit.invoked_ns, end_ns(culprit)]);
    let story = format!(
        "Between {} and {} process {}{} {deed}.",
        clock.at(culprit.invoked_ns),
        clock.at(end_ns(culprit)),
        culprit.process,
        words::on_node(culprit)
    );
    result
        .notes
        .push(words::note(kind, Severity::Error, story.clone()));
    let operations: Vec<&Operation> = others.iter().copied().chain([culprit]).collect();
    result.witnesses.push(words::witness(
        kind,
        title,
        story,
        &operations,
        &[culprit.index],
    ));
}
