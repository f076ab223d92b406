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
//! Jepsen's long-fork workload; there all reads of a group have all its keys, here any two reads are compared by the keys
//! that they share. Reads of the same keys are a chain, which takes a sort. Of groups that overlap it is asked for each two keys
//! whether somebody saw the one without the other, and somebody the other without the one; groups without keys in common are not.

use std::collections::{BTreeMap, HashMap};

use harness_core::{
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Exhausted, Severity, Verdict},
};
use serde_json::{Value, json};

use crate::words::{self, Clock, end_ns};

/// Witnesses that are told.
const WITNESSES: usize = 3;
/// What a micro-operation takes, roughly, in bytes.
const MICRO_BYTES: usize = 48;
/// What two keys that reads of several groups share take, roughly, in bytes.
const PAIR_BYTES: usize = 128;

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
    groups: Groups<'a>,
    reads: usize,
    micros: usize,
    /// Why the history is not of this kind.
    unfit: Option<String>,
}

/// Two readers; the key that the second missed, and the one that the first missed.
struct Fork<'a> {
    readers: [&'a Operation; 2],
    missed: String,
    had: String,
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

/// Forks among reads of the same keys.
fn within<'a>(keys: &[String], group: &mut [Snapshot<'a>], forks: &mut Vec<Fork<'a>>) {
    group.sort_by_key(|snapshot| (snapshot.count, snapshot.operation.index));
    // A chain: it suffices to compare each with the next.
    for two in group.windows(2) {
        let ahead = |one: usize, other: usize| {
            (0..keys.len()).find(|at| two[one].seen[*at] && !two[other].seen[*at])
        };
        if let (Some(missed), Some(had)) = (ahead(0, 1), ahead(1, 0)) {
            forks.push(Fork {
                readers: [two[0].operation, two[1].operation],
                missed: keys[missed].clone(),
                had: keys[had].clone(),
            });
        }
    }
}

/// Reads of the same keys, by these, as JSON texts.
type Groups<'a> = BTreeMap<Vec<String>, Vec<Snapshot<'a>>>;
/// By two keys: who saw the first without the second, and in which group. The first one of a group, of two groups at most.
type Seen<'g, 'a> = HashMap<(&'g str, &'g str), Vec<(usize, &'a Operation)>>;

/// What reads of groups that overlap saw. Groups are sorted within.
fn seen_by_two<'g, 'a>(
    groups: &'g Groups<'a>,
    budget: &dyn Budget,
) -> Result<Seen<'g, 'a>, Exhausted> {
    let mut having: HashMap<&str, usize> = HashMap::new();
    for keys in groups.keys() {
        let mut last = None;
        for key in keys.iter().filter(|key| last.replace(*key) != Some(*key)) {
            *having.entry(key).or_default() += 1;
        }
    }
    let mut seen = Seen::new();
    for (number, (keys, group)) in groups.iter().enumerate() {
        let shared: Vec<usize> = (0..keys.len())
            .filter(|at| having[keys[*at].as_str()] > 1)
            .collect();
        if shared.len() < 2 {
            continue;
        }
        let mut before: Option<&Snapshot<'_>> = None;
        for snapshot in group {
            // In a chain equal ones stand together.
            if before.is_some_and(|before| before.seen == snapshot.seen) {
                continue;
            }
            before = Some(snapshot);
            budget.spend((seen.len() * PAIR_BYTES) as u64)?;
            for had in shared.iter().filter(|at| snapshot.seen[**at]) {
                for missed in shared.iter().filter(|at| !snapshot.seen[**at]) {
                    let pair = (keys[*had].as_str(), keys[*missed].as_str());
                    if pair.0 == pair.1 {
                        continue;
                    }
                    let readers = seen.entry(pair).or_default();
                    if readers.len() < 2 && readers.iter().all(|(of, _)| *of != number) {
                        readers.push((number, snapshot.operation));
                    }
                }
            }
        }
    }
    Ok(seen)
}

/// Forks among reads of different keys, by what they share.
fn across<'a>(
    groups: &Groups<'a>,
    forks: &mut Vec<Fork<'a>>,
    budget: &dyn Budget,
) -> Result<(), Exhausted> {
    let seen = seen_by_two(groups, budget)?;
    let mut told: BTreeMap<[u64; 2], Fork<'_>> = BTreeMap::new();
    for ((missed, had), readers) in &seen {
        let others = seen.get(&(*had, *missed)).map_or(&[][..], Vec::as_slice);
        for (group, one) in readers {
            // Within a group forks were found before.
            let other = others.iter().find(|(of, _)| of != group);
            let Some((_, other)) = other.filter(|(_, other)| one.index < other.index) else {
                continue;
            };
            let fork = Fork {
                readers: [one, other],
                missed: (*missed).to_owned(),
                had: (*had).to_owned(),
            };
            // Of several such keys the first ones, so that the same history gives the same words.
            match told.get(&[one.index, other.index]) {
                Some(known) if (&known.missed, &known.had) <= (&fork.missed, &fork.had) => {}
                _ => {
                    told.insert([one.index, other.index], fork);
                }
            }
        }
    }
    forks.extend(told.into_values());
    Ok(())
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
            if keys.len() > 1 {
                compared += group.len();
                within(keys, group, &mut forks);
            }
        }
        if let Err(limit) = across(&looked.groups, &mut forks, budget) {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                format!("{limit} while comparing reads of different keys"),
            );
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
        for Fork {
            readers: [one, other],
            missed,
            had,
        } in &forks
        {
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
