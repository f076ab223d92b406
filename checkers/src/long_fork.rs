//! Long fork: two readers who see two writes in opposite orders.
//!
//! ```text
//! write x   write y          each key is written once
//! read x → written, y → not yet
//! read x → not yet, y → written     ← no order of the two writes explains both
//! ```
//!
//! Parallel snapshot isolation allows it, snapshot isolation does not. Reads of the same keys are vectors of what was
//! there; without a fork they are ordered by "has seen at least as much". Reads are `[["r", key, value], …]`, writes
//! `[["w", key, value]]`; a key that is written twice, or read with two values, makes the verdict unknown. After
//! Jepsen's long-fork workload; there all reads of a group have all its keys, here reads are compared by their keys.

use std::collections::{BTreeMap, HashMap};

use harness_core::{
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde_json::{Value, json};

use crate::words::{self, Clock, end_ns};

/// Witnesses that are told.
const WITNESSES: usize = 3;
/// What a micro-operation takes, roughly, in bytes.
const MICRO_BYTES: usize = 48;

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct LongFork;

/// A read: which of its keys it found written, in the order of keys.
struct Snapshot<'a> {
    operation: &'a Operation,
    seen: Vec<bool>,
    count: usize,
}

#[derive(Default)]
struct Looked<'a> {
    /// By keys, as JSON texts.
    groups: BTreeMap<Vec<String>, Vec<Snapshot<'a>>>,
    reads: usize,
    micros: usize,
    /// Why the history is not of this kind.
    unfit: Option<String>,
}

fn micro(step: &Value) -> Option<(bool, &Value, &Value)> {
    let [f, key, value] = step.as_array()?.as_slice() else {
        return None;
    };
    match f.as_str()? {
        "r" | "read" => Some((true, key, value)),
        "w" | "write" => Some((false, key, value)),
        _ => None,
    }
}

fn look(operations: &[Operation]) -> Looked<'_> {
    let mut looked = Looked::default();
    let mut written: HashMap<&Value, usize> = HashMap::new();
    let mut values: HashMap<&Value, &Value> = HashMap::new();
    for operation in operations {
        let ok = operation.outcome == Outcome::Ok;
        let steps = if ok {
            &operation.output
        } else {
            &operation.input
        };
        let steps: Vec<_> = steps
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(micro)
            .collect();
        looked.micros += steps.len();
        for (_, key, _) in steps.iter().filter(|(read, ..)| !read) {
            let times = written.entry(key).or_default();
            *times += usize::from(operation.outcome != Outcome::Fail);
            if *times > 1 {
                looked.unfit = Some(format!(
                    "key {} is written more than once",
                    words::show(key)
                ));
            }
        }
        let mut reads: Vec<(String, bool)> = Vec::new();
        for (_, key, value) in steps.iter().filter(|(read, ..)| *read && ok) {
            if !value.is_null() && *values.entry(key).or_insert(value) != *value {
                looked.unfit = Some(format!("key {} was read with two values", words::show(key)));
            }
            reads.push((key.to_string(), !value.is_null()));
        }
        if reads.is_empty() {
            continue;
        }
        looked.reads += 1;
        reads.sort();
        let (keys, seen): (Vec<String>, Vec<bool>) = reads.into_iter().unzip();
        let count = seen.iter().filter(|seen| **seen).count();
        looked.groups.entry(keys).or_default().push(Snapshot {
            operation,
            seen,
            count,
        });
    }
    looked
}

impl Checker for LongFork {
    fn name(&self) -> &'static str {
        "long-fork"
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let mut looked = look(&input.history.operations);
        if let Err(limit) = budget.spend((looked.micros * MICRO_BYTES) as u64) {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                format!("{limit} while collecting reads"),
            );
        }
        if let Some(unfit) = looked.unfit {
            return CheckResult::new(self.name(), Verdict::Unknown, unfit);
        }
        let mut forks = Vec::new();
        let mut compared = 0;
        for (keys, group) in &mut looked.groups {
            if keys.len() < 2 {
                continue;
            }
            compared += group.len();
            group.sort_by_key(|snapshot| (snapshot.count, snapshot.operation.index));
            // A chain: it suffices to compare each with the next.
            for two in group.windows(2) {
                if let Some(missed) =
                    (0..keys.len()).find(|at| two[0].seen[*at] && !two[1].seen[*at])
                    && let Some(had) =
                        (0..keys.len()).find(|at| two[1].seen[*at] && !two[0].seen[*at])
                {
                    forks.push((
                        two[0].operation,
                        two[1].operation,
                        keys[missed].clone(),
                        keys[had].clone(),
                    ));
                }
            }
        }
        let shown = words::plural(compared, "read", "reads");
        let (verdict, summary) = if !forks.is_empty() {
            (
                Verdict::Invalid,
                format!("{} in {shown}", words::plural(forks.len(), "fork", "forks")),
            )
        } else if compared == 0 {
            (
                Verdict::Unknown,
                "no read of several keys succeeded".to_owned(),
            )
        } else {
            (
                Verdict::Valid,
                format!("{shown} in an order that explains all"),
            )
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.looked_at = looked.reads as u64;
        for (one, other, missed, had) in &forks {
            let clock = Clock::spanning([end_ns(one), end_ns(other)]);
            let story = format!(
                "Process {}{} read by {} that key {missed} was written and key {had} not; process {}{} read by {} that key {had} was written and key {missed} not. So neither write was first.",
                one.process,
                words::on_node(one),
                clock.at(end_ns(one)),
                other.process,
                words::on_node(other),
                clock.at(end_ns(other))
            );
            result
                .notes
                .push(words::note("long-fork", Severity::Error, story.clone()));
            if result.witnesses.len() < WITNESSES {
                result.witnesses.push(words::witness(
                    "long-fork",
                    "Two readers saw two writes in opposite orders.",
                    story,
                    &[one, other],
                    &[one.index, other.index],
                ));
            }
        }
        result
            .figures
            .insert("read_count".to_owned(), json!(looked.reads));
        result
            .figures
            .insert("fork_count".to_owned(), json!(forks.len()));
        words::finish(result)
    }
}
