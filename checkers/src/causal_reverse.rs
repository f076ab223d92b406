//! Causal reverse: a read has a later write, and lacks one that had ended before that one began.
//!
//! ```text
//! write 1 ├─ ok ─┤
//!                    write 2 ├─ ok ─┤
//! read            ├────── → 2 ──────┤     ← 2 is there, 1 is not
//! ```
//!
//! Serializable systems may do that, strictly serializable ones may not. `write` v adds a value of its own, `read`
//! gives the list of all values. A value that is written twice makes the verdict unknown. After Jepsen's causal-reverse.
//! Writes of `[key, v]` with reads `[key, null]` of `[key, list]` are many such objects, each judged by itself.

use std::collections::HashMap;

use harness_core::{
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde_json::{Value, json};

use crate::{
    keyed::{self, Role, Shape},
    words::{self, Clock, end_ns},
};

/// Witnesses that are told.
const WITNESSES: usize = 3;
/// What a write takes, roughly, in bytes.
const WRITE_BYTES: usize = 96;

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct CausalReverse;

impl Checker for CausalReverse {
    fn name(&self) -> &'static str {
        "causal-reverse"
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let role = |f: &str| match f {
            "write" => Role::Gives(Shape::Anything),
            "read" => Role::Asks(Shape::Collection),
            _ => Role::Other,
        };
        keyed::judge(input, budget, role, |input, budget| {
            self.check_one(input, budget)
        })
    }
}

impl CausalReverse {
    fn check_one(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let operations = &input.history.operations;
        let mut writes: HashMap<&Value, &Operation> = HashMap::new();
        for operation in operations {
            let tried = &*operation.f == "write" && operation.outcome != Outcome::Fail;
            if tried && writes.insert(&operation.input, operation).is_some() {
                return CheckResult::new(
                    self.name(),
                    Verdict::Unknown,
                    format!(
                        "{} is written more than once",
                        words::show(&operation.input)
                    ),
                );
            }
        }
        if let Err(limit) = budget.spend((writes.len() * WRITE_BYTES) as u64) {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                format!("{limit} while collecting writes"),
            );
        }
        // Acknowledged writes in the order of their ends.
        let mut ended: Vec<(u64, &Value, &Operation)> = writes
            .iter()
            .filter(|(_, write)| write.outcome == Outcome::Ok)
            .filter_map(|(value, write)| Some((write.completed_index?, *value, *write)))
            .collect();
        ended.sort_by_key(|(end, ..)| *end);
        let place: HashMap<&Value, usize> = ended
            .iter()
            .enumerate()
            .map(|(place, (_, value, _))| (*value, place))
            .collect();
        let (mut reads, mut faults) = (0_usize, Vec::new());
        let mut seen = vec![usize::MAX; ended.len()];
        for read in operations {
            let Some(found) = read
                .output
                .as_array()
                .filter(|_| &*read.f == "read" && read.outcome == Outcome::Ok)
            else {
                continue;
            };
            let number = reads;
            reads += 1;
            let mut latest: Option<&Operation> = None;
            for value in found {
                if let Some(place) = place.get(value) {
                    seen[*place] = number;
                }
                if let Some(write) = writes.get(value)
                    && latest.is_none_or(|known| known.index < write.index)
                {
                    latest = Some(write);
                }
            }
            let Some(latest) = latest else { continue };
            let before = ended.partition_point(|(end, ..)| *end < latest.index);
            if let Some(missing) = (0..before).find(|place| seen[*place] != number) {
                faults.push((read, ended[missing].2, latest));
            }
        }
        let shown = words::plural(reads, "read", "reads");
        let (verdict, summary) = if !faults.is_empty() {
            (
                Verdict::Invalid,
                format!(
                    "{} of {shown} lack an earlier write and have a later one",
                    words::count(faults.len() as u64)
                ),
            )
        } else if reads == 0 || ended.is_empty() {
            (Verdict::Unknown, "no read or no write succeeded".to_owned())
        } else {
            (
                Verdict::Valid,
                format!(
                    "{shown} in the order of {}",
                    words::plural(ended.len(), "write", "writes")
                ),
            )
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.looked_at = (reads + writes.len()) as u64;
        for (read, missing, latest) in &faults {
            let clock = Clock::spanning([end_ns(missing), latest.invoked_ns, end_ns(read)]);
            let story = format!(
                "The write of {} had ended at {}, before that of {} began at {}; process {}{} read the second without the first at {}.",
                words::show(&missing.input),
                clock.at(end_ns(missing)),
                words::show(&latest.input),
                clock.at(latest.invoked_ns),
                read.process,
                words::on_node(read),
                clock.at(end_ns(read))
            );
            result.notes.push(words::note(
                "causal-reverse",
                Severity::Error,
                story.clone(),
            ));
            if result.witnesses.len() < WITNESSES {
                result.witnesses.push(words::witness(
                    "causal-reverse",
                    "A later write was seen without the earlier one.",
                    story,
                    &[missing, latest, read],
                    &[read.index],
                ));
            }
        }
        for (name, value) in [
            ("read_count", json!(reads)),
            ("write_count", json!(ended.len())),
            ("reversed_count", json!(faults.len())),
        ] {
            result.figures.insert(name.to_owned(), value);
        }
        words::finish(result)
    }
}
