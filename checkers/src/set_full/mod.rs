//! A set that only grows: every acknowledged element is in every read from then on.
//!
//! For each element, in the order of the history:
//!
//! ```text
//! add 5   ├── ok ──┤  known from here (or from the end of the first read that has it)
//! read             │        ├─ 5 is in ─┤
//! read             │                      ├─ 5 is not in ─┤     ← lost: no later read has it
//! ```
//!
//! - **stable**: the latest read (by invocation) that has it is later than the latest that has not;
//! - **lost**: it was known before a read began that has it not, and no later read has it;
//! - **never-read**: neither, for instance because its outcome is unknown and no read has it;
//! - **stale**: stable, but some read that began after it was known has it not. A fault only if the set is to be
//!   linearizable (option), else a warning with how long it took;
//! - **duplicated**: one read has it twice. Really reported, and invalid;
//! - **failed-but-present**: its add failed, and a read has it;
//! - **unexpected**: a read has it, and nobody ever tried to add it (or only later).
//!
//! An add whose outcome is unknown may appear at any time or never. Without a read that began after the last
//! acknowledged add was known, losses could not be seen: unknown. After the definitions of Jepsen's set-full.
//!
//! Adds of `[key, v]` with reads `[key, null]` of `[key, list]` are many sets, each judged by itself.

mod story;

use std::collections::HashMap;

use harness_core::{
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    keyed::{self, Role, Shape},
    words,
};
use story::witness;

/// Elements that a note lists.
const LISTED: usize = 10;
/// Witnesses of one kind.
const WITNESSES_PER_KIND: usize = 3;

/// What the checker is told besides the history.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Whether a stale element is a fault.
    pub linearizable: bool,
    /// Kind of the operations that add.
    pub add: String,
    /// Kind of the operations that read.
    pub read: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            linearizable: false,
            add: "add".to_owned(),
            read: "read".to_owned(),
        }
    }
}

/// The checker.
#[derive(Clone, Debug, Default)]
pub struct SetFull {
    options: Options,
}

impl SetFull {
    /// With these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }
}

const NONE: u32 = u32::MAX;

/// What is known of one element.
struct Element<'a> {
    value: &'a Value,
    /// Its adds; the last one that may have taken effect, or one that failed.
    add: Option<&'a Operation>,
    all_failed: bool,
    /// Index of its first add that may have taken effect.
    first_try: Option<u64>,
    acknowledged: bool,
    /// Index of the event from which on it is known.
    known: Option<u64>,
    first_present: u32,
    last_present: u32,
    last_absent: u32,
    last_stale: u32,
    duplicated_in: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Fate {
    Lost,
    FailedPresent,
    Unexpected,
    NeverRead,
    Stable,
    Absent,
}

struct Looked<'a> {
    elements: Vec<Element<'a>>,
    reads: Vec<&'a Operation>,
    /// Operations whose value is not of the shape expected.
    odd: Vec<&'a Operation>,
}

impl Checker for SetFull {
    fn name(&self) -> &'static str {
        "set-full"
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let role = |f: &str| match f {
            f if f == self.options.add => Role::Gives(Shape::Anything),
            f if f == self.options.read => Role::Asks(Shape::Collection),
            _ => Role::Other,
        };
        keyed::judge(input, budget, role, |input, budget| {
            self.check_one(input, budget)
        })
    }
}

impl SetFull {
    fn check_one(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let looked = self.look(&input.history.operations);
        if let Err(limit) = budget.spend((looked.elements.len() * size_of::<Element<'_>>()) as u64)
        {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                format!("{limit} while collecting elements"),
            );
        }
        self.judge(&looked)
    }

    fn look<'a>(&self, operations: &'a [Operation]) -> Looked<'a> {
        let mut elements: Vec<Element<'a>> = Vec::new();
        let mut ids: HashMap<&'a Value, u32> = HashMap::new();
        let mut reads = Vec::new();
        let mut odd = Vec::new();
        for operation in operations {
            if *operation.f == *self.options.add {
                let at = element(&mut elements, &mut ids, &operation.input);
                let element = &mut elements[at];
                match operation.outcome {
                    Outcome::Fail if element.add.is_some() => {}
                    Outcome::Fail => {
                        element.add = Some(operation);
                        element.all_failed = true;
                    }
                    Outcome::Ok | Outcome::Info => {
                        element.all_failed = false;
                        element.first_try = earlier(element.first_try, Some(operation.index));
                        let acknowledged = operation.outcome == Outcome::Ok;
                        if acknowledged || !element.acknowledged {
                            element.add = Some(operation);
                        }
                        element.acknowledged |= acknowledged;
                        if acknowledged {
                            element.known = earlier(element.known, operation.completed_index);
                        }
                    }
                }
            } else if *operation.f == *self.options.read && operation.outcome == Outcome::Ok {
                if operation.output.is_array() {
                    reads.push(operation)
                } else {
                    odd.push(operation)
                }
            }
        }
        for (number, read) in reads.iter().enumerate() {
            let number = number as u32;
            for value in read.output.as_array().into_iter().flatten() {
                let at = element(&mut elements, &mut ids, value);
                let element = &mut elements[at];
                if element.last_present == number {
                    element.duplicated_in = number;
                }
                if element.first_present == NONE {
                    element.first_present = number;
                }
                element.known = earlier(element.known, read.completed_index);
                element.last_present = number;
            }
        }
        absences(&mut elements, &ids, &reads);
        Looked {
            elements,
            reads,
            odd,
        }
    }

    fn judge(&self, looked: &Looked<'_>) -> CheckResult {
        let mut fates: Vec<(Fate, usize)> = Vec::with_capacity(looked.elements.len());
        let (mut stale, mut duplicated) = (Vec::new(), Vec::new());
        for (at, element) in looked.elements.iter().enumerate() {
            let fate = fate(element, &looked.reads);
            if fate == Fate::Stable && element.last_stale != NONE {
                stale.push(at);
            }
            if element.duplicated_in != NONE {
                duplicated.push(at);
            }
            fates.push((fate, at));
        }
        let of = |wanted: Fate| -> Vec<usize> {
            fates
                .iter()
                .filter(|(fate, _)| *fate == wanted)
                .map(|(_, at)| *at)
                .collect()
        };
        let (lost, failed, unexpected, never, stable) = (
            of(Fate::Lost),
            of(Fate::FailedPresent),
            of(Fate::Unexpected),
            of(Fate::NeverRead),
            of(Fate::Stable),
        );
        let last_known = looked
            .elements
            .iter()
            .filter(|element| element.acknowledged)
            .filter_map(|element| element.add.and_then(|add| add.completed_index))
            .max();
        let final_read =
            last_known.is_none_or(|known| looked.reads.iter().any(|read| read.index > known));
        let stale_counts = self.options.linearizable && !stale.is_empty();
        let broken = !lost.is_empty()
            || !failed.is_empty()
            || !unexpected.is_empty()
            || !duplicated.is_empty()
            || stale_counts;
        let acknowledged = looked
            .elements
            .iter()
            .filter(|element| element.acknowledged)
            .count();
        let (verdict, summary) = if broken {
            let parts: Vec<String> = [
                (lost.len(), "lost"),
                (failed.len(), "present although their add failed"),
                (unexpected.len(), "never added"),
                (duplicated.len(), "duplicated"),
                (if stale_counts { stale.len() } else { 0 }, "stale"),
            ]
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| format!("{} {word}", words::count(number as u64)))
            .collect();
            let of = words::plural(
                acknowledged,
                "acknowledged element",
                "acknowledged elements",
            );
            (Verdict::Invalid, format!("{} of {of}", parts.join(", ")))
        } else if acknowledged == 0 {
            (Verdict::Unknown, "no add was acknowledged".to_owned())
        } else if looked.reads.is_empty() || !final_read {
            (
                Verdict::Unknown,
                "no read succeeded after the last acknowledged add: a loss could not be seen"
                    .to_owned(),
            )
        } else {
            (
                Verdict::Valid,
                format!(
                    "all {} are still there in {}",
                    words::plural(
                        acknowledged,
                        "acknowledged element",
                        "acknowledged elements"
                    ),
                    words::plural(looked.reads.len(), "read", "reads")
                ),
            )
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.looked_at = (looked.reads.len() + looked.elements.len()) as u64;
        self.tell(
            &mut result,
            looked,
            [&lost, &failed, &unexpected, &duplicated, &stale, &never],
        );
        let latencies = stale_latencies_ms(looked, &stale);
        result.figures = [
            (
                "attempt_count",
                json!(
                    looked
                        .elements
                        .iter()
                        .filter(|element| element.add.is_some())
                        .count()
                ),
            ),
            ("acknowledged_count", json!(acknowledged)),
            ("stable_count", json!(stable.len())),
            ("lost_count", json!(lost.len())),
            ("stale_count", json!(stale.len())),
            ("never_read_count", json!(never.len())),
            ("duplicated_count", json!(duplicated.len())),
            ("failed_present_count", json!(failed.len())),
            ("unexpected_count", json!(unexpected.len())),
            ("read_count", json!(looked.reads.len())),
            ("stale_max_ms", json!(latencies)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        words::finish(result)
    }

    fn tell(&self, result: &mut CheckResult, looked: &Looked<'_>, kinds: [&Vec<usize>; 6]) {
        let [lost, failed, unexpected, duplicated, stale, never] = kinds;
        let stale_severity = if self.options.linearizable {
            Severity::Error
        } else {
            Severity::Warning
        };
        let table: [(&str, &Vec<usize>, Severity, &str); 6] = [
            (
                "lost",
                lost,
                Severity::Error,
                "acknowledged or read, and gone",
            ),
            (
                "failed-present",
                failed,
                Severity::Error,
                "there although the add failed",
            ),
            (
                "unexpected",
                unexpected,
                Severity::Error,
                "there although nobody had added",
            ),
            (
                "duplicated",
                duplicated,
                Severity::Error,
                "more than once in one read",
            ),
            (
                "stale",
                stale,
                stale_severity,
                "missing from a read that began once known, and back later",
            ),
            (
                "never-read",
                never,
                Severity::Info,
                "acknowledged, and no read could tell the fate",
            ),
        ];
        for (kind, elements, severity, words) in table {
            if elements.is_empty() {
                continue;
            }
            let listed: Vec<String> = elements
                .iter()
                .take(LISTED)
                .map(|at| words::show(looked.elements[*at].value))
                .collect();
            let more = if elements.len() > LISTED { ", …" } else { "" };
            result.notes.push(words::note(
                kind,
                severity,
                format!(
                    "{} {words}: {}{more}",
                    words::plural(elements.len(), "element", "elements"),
                    listed.join(", ")
                ),
            ));
            if severity == Severity::Error {
                let witnesses = elements
                    .iter()
                    .take(WITNESSES_PER_KIND)
                    .filter_map(|at| witness(kind, &looked.elements[*at], &looked.reads));
                result.witnesses.extend(witnesses);
            }
        }
        if !looked.odd.is_empty() {
            result.notes.push(words::note(
                "odd-read",
                Severity::Warning,
                format!(
                    "{} gave no list and were not judged",
                    words::plural(looked.odd.len(), "read", "reads")
                ),
            ));
        }
    }
}

fn earlier(known: Option<u64>, index: Option<u64>) -> Option<u64> {
    match (known, index) {
        (Some(known), Some(index)) => Some(known.min(index)),
        (known, index) => known.or(index),
    }
}

fn element<'a>(
    elements: &mut Vec<Element<'a>>,
    ids: &mut HashMap<&'a Value, u32>,
    value: &'a Value,
) -> usize {
    *ids.entry(value).or_insert_with(|| {
        elements.push(Element {
            value,
            add: None,
            all_failed: false,
            first_try: None,
            acknowledged: false,
            known: None,
            first_present: NONE,
            last_present: NONE,
            last_absent: NONE,
            last_stale: NONE,
            duplicated_in: NONE,
        });
        elements.len() as u32 - 1
    }) as usize
}

/// Finds for each element the latest read without it, and the latest one that began after it was known.
/// Backwards over the reads, an element is looked at until both are found or no earlier read can be stale.
fn absences(elements: &mut [Element<'_>], ids: &HashMap<&Value, u32>, reads: &[&Operation]) {
    let mut present = vec![NONE; elements.len()];
    let mut open: Vec<u32> = (0..elements.len() as u32).collect();
    for (number, read) in reads.iter().enumerate().rev() {
        let number = number as u32;
        for value in read.output.as_array().into_iter().flatten() {
            if let Some(at) = ids.get(value) {
                present[*at as usize] = number;
            }
        }
        open.retain(|at| {
            let element = &mut elements[*at as usize];
            let known_before = element.known.is_some_and(|known| known < read.index);
            if present[*at as usize] != number {
                if element.last_absent == NONE {
                    element.last_absent = number;
                }
                if known_before && element.last_stale == NONE {
                    element.last_stale = number;
                }
            }
            element.last_absent == NONE || known_before && element.last_stale == NONE
        });
        if open.is_empty() {
            return;
        }
    }
}

fn fate(element: &Element<'_>, reads: &[&Operation]) -> Fate {
    let present = element.last_present != NONE;
    if present {
        // A read may only have what somebody had begun to add when it ended.
        let end = reads[element.first_present as usize]
            .completed_index
            .unwrap_or(u64::MAX);
        match element.add {
            None => return Fate::Unexpected,
            Some(_) if element.all_failed => return Fate::FailedPresent,
            Some(_) if element.first_try.is_some_and(|tried| tried > end) => {
                return Fate::Unexpected;
            }
            Some(_) => {}
        }
    }
    if present && (element.last_absent == NONE || element.last_absent < element.last_present) {
        return Fate::Stable;
    }
    let known_before_absent = element.last_absent != NONE
        && element
            .known
            .is_some_and(|known| known < reads[element.last_absent as usize].index);
    if known_before_absent {
        return Fate::Lost;
    }
    if element.acknowledged || present {
        Fate::NeverRead
    } else {
        Fate::Absent
    }
}

/// The longest time from being known to the end of a read without it, milliseconds.
fn stale_latencies_ms(looked: &Looked<'_>, stale: &[usize]) -> f64 {
    let longest = stale
        .iter()
        .filter_map(|at| {
            let element = &looked.elements[*at];
            let from = element.add?.completed_ns?;
            Some(
                looked.reads[element.last_stale as usize]
                    .invoked_ns
                    .saturating_sub(from),
            )
        })
        .max()
        .unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
    let ms = longest as f64 / 1e6;
    ms
}
