//! A counter: each read lies between the least and the most that the adds around it allow.
//!
//! ```text
//! add 1 ├─ ok ─┤   add 5 ├──────── info ─────────
//! read                 ├─── → 1 … 6 ───┤   add 2 ├─ ok ─┤
//! ```
//!
//! Surely counted are acknowledged adds that ended before the read began; possibly counted are those that began before
//! the read ended and did not fail. The least is what is surely counted and all that may lower it, the most what is
//! surely counted and all that may raise it. After Jepsen's counter, which takes no negative adds; these are taken here.
//! A history in which nobody tried to read is valid, with a warning (Jepsen's verdict too); one whose reads all failed is
//! unknown. The check is necessary for linearizability, not sufficient: it looks at one read at a time. Adds of `[key, n]`
//! with reads `[key, null]` of `[key, n]` are many counters, each judged by itself.

use harness_core::{
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde_json::json;

use crate::{
    keyed::{self, Role, Shape},
    words::{self, Clock, end_ns},
};

/// Witnesses that are told.
const WITNESSES: usize = 3;

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counter;

/// What may be in the counter at a moment.
#[derive(Clone, Copy, Default)]
struct Bounds {
    low: i128,
    high: i128,
}

enum Step<'a> {
    /// An add begins: it may count from now on.
    May(i64),
    /// It ends: it counts for those who begin after this.
    Surely(i64),
    ReadBegins(usize),
    ReadEnds(usize, &'a Operation, i64),
}

fn amount(operation: &Operation) -> Option<i64> {
    match &*operation.f {
        "add" => operation.input.as_i64(),
        "increment" => Some(operation.input.as_i64().unwrap_or(1)),
        "decrement" => operation.input.as_i64().unwrap_or(1).checked_neg(),
        _ => None,
    }
}

impl Checker for Counter {
    fn name(&self) -> &'static str {
        "counter"
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let role = |f: &str| match f {
            "add" => Role::Gives(Shape::Integer),
            "increment" | "decrement" => Role::Gives(Shape::Amount),
            "read" => Role::Asks(Shape::Integer),
            _ => Role::Other,
        };
        keyed::judge(input, budget, role, |input, budget| {
            self.check_one(input, budget)
        })
    }
}

impl Counter {
    fn check_one(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let operations = &input.history.operations;
        let mut steps: Vec<(u64, Step<'_>)> = Vec::new();
        let (mut reads, mut adds, mut odd, mut asked) = (0, 0_u64, 0, false);
        for operation in operations {
            let begin = operation.index;
            let ok = operation.outcome == Outcome::Ok;
            if &*operation.f == "read" {
                asked = true;
                match (operation.output.as_i64(), operation.completed_index) {
                    _ if !ok => {}
                    (Some(seen), Some(end)) => {
                        steps.push((begin, Step::ReadBegins(reads)));
                        steps.push((end, Step::ReadEnds(reads, operation, seen)));
                        reads += 1;
                    }
                    _ => odd += 1,
                }
            } else if let Some(amount) = amount(operation) {
                adds += u64::from(ok);
                if operation.outcome != Outcome::Fail {
                    steps.push((begin, Step::May(amount)));
                }
                if let Some(end) = operation.completed_index.filter(|_| ok) {
                    steps.push((end, Step::Surely(amount)));
                }
            }
        }
        if let Err(limit) = budget.spend((steps.len() * size_of::<(u64, Step<'_>)>()) as u64) {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                format!("{limit} while collecting reads"),
            );
        }
        steps.sort_by_key(|(index, _)| *index);
        let (faults, largest) = walk(steps, reads);
        let shown = words::plural(reads, "read", "reads");
        let (verdict, summary) = if !faults.is_empty() {
            (
                Verdict::Invalid,
                format!(
                    "{} of {shown} out of bounds",
                    words::count(faults.len() as u64)
                ),
            )
        } else if reads == 0 && adds > 0 && !asked {
            (
                Verdict::Valid,
                "nobody tried to read: any adds are right".to_owned(),
            )
        } else if reads == 0 {
            (Verdict::Unknown, "no read succeeded".to_owned())
        } else {
            (Verdict::Valid, format!("{shown} within bounds"))
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.looked_at = reads as u64 + adds;
        for (read, seen, bounds) in &faults {
            let clock = Clock::spanning([read.invoked_ns, end_ns(read)]);
            let story = format!(
                "Process {}{} read {seen} between {} and {}; what was added allows {} to {}.",
                read.process,
                words::on_node(read),
                clock.at(read.invoked_ns),
                clock.at(end_ns(read)),
                bounds.low,
                bounds.high
            );
            result
                .notes
                .push(words::note("out-of-bounds", Severity::Error, story.clone()));
            if result.witnesses.len() < WITNESSES {
                result.witnesses.push(words::witness(
                    "out-of-bounds",
                    "A counter shows what was not counted.",
                    story,
                    &[read],
                    &[read.index],
                ));
            }
        }
        if !asked {
            result.notes.push(words::note(
                "no-read",
                Severity::Warning,
                "nobody tried to read, so no wrong sum could be seen",
            ));
        }
        if odd > 0 {
            result.notes.push(words::note(
                "odd-read",
                Severity::Warning,
                format!(
                    "{} gave no whole number and were not judged",
                    words::plural(odd, "read", "reads")
                ),
            ));
        }
        for (name, value) in [
            ("read_count", json!(reads)),
            ("add_count", json!(adds)),
            ("out_of_bounds_count", json!(faults.len())),
            (
                "largest_span",
                json!(u64::try_from(largest).unwrap_or(u64::MAX)),
            ),
        ] {
            result.figures.insert(name.to_owned(), value);
        }
        words::finish(result)
    }
}

/// Reads out of bounds, and the largest distance between bounds.
fn walk(steps: Vec<(u64, Step<'_>)>, reads: usize) -> (Vec<(&Operation, i64, Bounds)>, i128) {
    // Surely counted by sign, and possibly.
    let (mut sure, mut possible) = (Bounds::default(), Bounds::default());
    let mut at_begin = vec![Bounds::default(); reads];
    let (mut faults, mut largest) = (Vec::new(), 0);
    let add = |bounds: &mut Bounds, amount: i64| {
        if amount < 0 {
            bounds.low += i128::from(amount);
        } else {
            bounds.high += i128::from(amount);
        }
    };
    for (_, step) in steps {
        match step {
            Step::May(amount) => add(&mut possible, amount),
            Step::Surely(amount) => add(&mut sure, amount),
            Step::ReadBegins(read) => at_begin[read] = sure,
            Step::ReadEnds(read, operation, seen) => {
                let begun = at_begin[read];
                let bounds = Bounds {
                    low: begun.high + possible.low,
                    high: possible.high + begun.low,
                };
                largest = largest.max(bounds.high - bounds.low);
                if !(bounds.low..=bounds.high).contains(&i128::from(seen)) {
                    faults.push((operation, seen, bounds));
                }
            }
        }
    }
    (faults, largest)
}
