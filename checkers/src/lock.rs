//! A lock: nobody else has it while somebody surely has it.
//!
//! ```text
//! p1  acquire ├─ ok ─┤ ═══════ surely has it ═══════ ├─ release ─┤
//! p2                      acquire ├─ ok ─┤ ═══ …                    ← two owners
//! ```
//!
//! A process surely has the lock from the end of its acknowledged `acquire` to the beginning of its next `release` that
//! did not fail; if it never releases, to the end. Two such times of different processes must not overlap. An
//! acknowledged `release` by a process that cannot have had the lock is a fault too: it was acknowledged more releases than it may have got
//! acquisitions. Operations whose outcome is not known prove nothing: a release that timed out may be tried again. Nor does a second
//! acquisition by who has the lock already, which some locks allow. Values may be keys of locks; without one there is a single lock.
//!
//! This is mutual exclusion, and can be told in two operations. That the whole history is linearizable is asked by
//! `linearizable` with the model `mutex` or `owned-mutex`.

use std::collections::HashMap;

use harness_core::{
    event::Process,
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde_json::{Value, json};

use crate::words::{self, Clock, end_ns};

/// Witnesses that are told.
const WITNESSES: usize = 3;
/// What a hold takes, roughly, in bytes.
const HOLD_BYTES: usize = 64;

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lock;

/// A time in which a process surely had the lock.
struct Hold<'a> {
    acquire: &'a Operation,
    release: Option<&'a Operation>,
    from: u64,
    to: u64,
}

impl Checker for Lock {
    fn name(&self) -> &'static str {
        "lock"
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let operations = &input.history.operations;
        let mut holds: HashMap<&Value, Vec<Hold<'_>>> = HashMap::new();
        let mut held: HashMap<(&Value, Process), usize> = HashMap::new();
        // Acquisitions that may have counted and were not surely given back.
        let mut may_have: HashMap<(&Value, Process), usize> = HashMap::new();
        let mut not_held: Vec<&Operation> = Vec::new();
        let mut acquired = 0_usize;
        for operation in operations {
            let key = (&operation.input, operation.process);
            let (acquires, releases) = (&*operation.f == "acquire", &*operation.f == "release");
            if operation.outcome == Outcome::Fail || !(acquires || releases) {
                continue;
            }
            // Whatever this process does next about the lock ends what it surely has.
            if let Some(at) = held.remove(&key)
                && let Some(of_lock) = holds.get_mut(&operation.input)
            {
                of_lock[at].to = operation.index;
                of_lock[at].release = Some(operation).filter(|_| releases);
            }
            let ok = operation.outcome == Outcome::Ok;
            let may = may_have.entry(key).or_default();
            if acquires {
                *may += 1;
            } else if ok && *may == 0 {
                not_held.push(operation);
            } else if ok {
                *may -= 1;
            }
            if acquires && ok {
                acquired += 1;
                let of_lock = holds.entry(&operation.input).or_default();
                held.insert(key, of_lock.len());
                of_lock.push(Hold {
                    acquire: operation,
                    release: None,
                    from: operation.completed_index.unwrap_or(operation.index),
                    to: u64::MAX,
                });
            }
        }
        if let Err(limit) = budget.spend((acquired * HOLD_BYTES) as u64) {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                format!("{limit} while collecting owners"),
            );
        }
        let mut overlaps = overlaps(&mut holds);
        overlaps.sort_by_key(|(_, second)| second.from);
        let faults = overlaps.len() + not_held.len();
        let shown = words::plural(acquired, "acquisition", "acquisitions");
        let (verdict, summary) = if faults > 0 {
            (
                Verdict::Invalid,
                format!(
                    "{} of {shown} while another had it, {} by who had it not",
                    words::count(overlaps.len() as u64),
                    words::plural(not_held.len(), "release", "releases")
                ),
            )
        } else if acquired == 0 {
            (Verdict::Unknown, "nobody got the lock".to_owned())
        } else {
            (Verdict::Valid, format!("{shown}, one owner at a time"))
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.looked_at = operations.len() as u64;
        for (first, second) in &overlaps {
            let (one, other) = (first.acquire, second.acquire);
            let clock = Clock::spanning([end_ns(one), end_ns(other)]);
            let until = match first.release {
                Some(release) => format!(
                    "began to release it only at {}",
                    clock.at(release.invoked_ns)
                ),
                None if first.to == u64::MAX => "never released it".to_owned(),
                None => "had not released it".to_owned(),
            };
            let story = format!(
                "Process {}{} got the lock at {} and {until}; process {}{} got it at {}.",
                one.process,
                words::on_node(one),
                clock.at(end_ns(one)),
                other.process,
                words::on_node(other),
                clock.at(end_ns(other))
            );
            let involved: Vec<&Operation> = [Some(one), first.release, Some(other)]
                .into_iter()
                .flatten()
                .collect();
            tell(
                &mut result,
                "two-owners",
                "Two had the lock at once.",
                story,
                &involved,
                other,
            );
        }
        for release in not_held {
            let clock = Clock::spanning([release.invoked_ns, end_ns(release)]);
            let story = format!(
                "Process {}{} released the lock at {} and was told that it had, but it had not got it.",
                release.process,
                words::on_node(release),
                clock.at(end_ns(release))
            );
            tell(
                &mut result,
                "not-owner",
                "Who had not the lock could release it.",
                story,
                &[release],
                release,
            );
        }
        result
            .figures
            .insert("acquired_count".to_owned(), json!(acquired));
        result
            .figures
            .insert("two_owners_count".to_owned(), json!(overlaps.len()));
        words::finish(result)
    }
}

/// Pairs of holds of one lock that overlap: each with the one that reached farthest before it.
fn overlaps<'a, 'b>(
    holds: &'b mut HashMap<&Value, Vec<Hold<'a>>>,
) -> Vec<(&'b Hold<'a>, &'b Hold<'a>)> {
    let mut found = Vec::new();
    for of_lock in holds.values_mut() {
        of_lock.sort_by_key(|hold| hold.from);
        let mut farthest: Option<&Hold<'_>> = None;
        for hold in of_lock.iter() {
            if let Some(before) = farthest.filter(|before| hold.from < before.to) {
                found.push((before, hold));
            }
            if farthest.is_none_or(|before| before.to < hold.to) {
                farthest = Some(hold);
            }
        }
    }
    found
}

fn tell(
    result: &mut CheckResult,
    kind: &str,
    title: &str,
    story: String,
    operations: &[&Operation],
    culprit: &Operation,
) {
    result
        .notes
        .push(words::note(kind, Severity::Error, story.clone()));
    if result.witnesses.len() < WITNESSES {
        result.witnesses.push(words::witness(
            kind,
            title,
            story,
            operations,
            &[culprit.index],
        ));
    }
}
