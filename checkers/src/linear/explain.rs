//! From a dead end of the search to a story that a person follows.
//!
//! The search says: with this completion no order exists, before it one did. The story is told from at most three
//! operations where they suffice as proof:
//!
//! ```text
//! writer of v  ├───┤
//! evidence of u ≠ v     ├───┤            u is newer: it began after every writer of v had ended
//! read of v                   ├───┤      began after the evidence had ended
//! ```
//!
//! That proof is checked here from the history alone, without the search. Where it does not hold the story names the
//! states that were possible instead.

use harness_core::{
    fault::FaultRecord,
    history::{Operation, Outcome},
    verdict::{Edge, Witness},
};
use serde_json::Value;

use super::{
    problem::View,
    search::{Entry, Step, Stuck},
};
use crate::words::{self, Clock, end_ns};

/// Operations of the longest order that a general witness shows.
const ORDER_SHOWN: usize = 6;

/// All that a witness is made of.
pub(super) struct Story<'a> {
    pub key: Option<&'a Value>,
    pub views: &'a [View<'a>],
    pub initial: &'a Value,
    pub entries: &'a [Entry],
    pub steps: &'a [Step],
    pub stuck: &'a Stuck,
    pub faults: &'a [FaultRecord],
    pub stale_read_explanation: Option<&'a str>,
}

/// The value that an operation saw.
fn sees<'a>(view: &View<'a>) -> Option<&'a Value> {
    if view.operation.outcome != Outcome::Ok {
        return None;
    }
    match &*view.operation.f {
        "read" | "r" | "get" => Some(view.result),
        "cas" => view.argument.get(0),
        _ => None,
    }
}

/// The value that an operation leaves, if it took effect.
fn leaves<'a>(view: &View<'a>) -> Option<&'a Value> {
    match &*view.operation.f {
        "write" | "w" | "put" | "set" => Some(view.argument),
        "cas" => view.argument.get(1),
        _ => None,
    }
}

fn ended_before(first: &Operation, second: &Operation) -> bool {
    first.outcome == Outcome::Ok && first.completed_index.is_some_and(|end| end < second.index)
}

impl Story<'_> {
    /// The witness.
    pub fn witness(&self) -> Witness {
        let Some(culprit) = self.culprit() else {
            return words::witness(
                "not-linearizable",
                "No order explains this history.",
                String::new(),
                &[],
                &[],
            );
        };
        let mut witness = sees(&culprit)
            .filter(|_| !self.is_other_object())
            .and_then(|value| {
                self.unwritten(&culprit, value)
                    .or_else(|| self.stale(&culprit, value))
            })
            .unwrap_or_else(|| self.general(&culprit));
        if let Some(sentence) = self.fault_sentence(culprit.operation) {
            witness.story.push(' ');
            witness.story.push_str(&sentence);
        }
        if witness.kind == "stale-read" {
            witness.explanation = self.stale_read_explanation.map(str::to_owned);
        }
        witness
    }

    fn culprit(&self) -> Option<View<'_>> {
        match self.steps.get(self.stuck.step)? {
            Step::Return(entry) => self.view(*entry),
            _ => None,
        }
    }

    fn view(&self, entry: u32) -> Option<View<'_>> {
        let entry = self.entries.get(entry as usize)?;
        self.views.get(entry.operation).copied()
    }

    /// Where something else than reads, writes and compare-and-sets is done, the three-operation proof does not apply.
    fn is_other_object(&self) -> bool {
        self.views.iter().any(|view| {
            sees(view).is_none()
                && leaves(view).is_none()
                && !matches!(&*view.operation.f, "read" | "r" | "get")
        }) || self.initial.is_array()
            || self.initial.is_boolean()
    }

    /// `3 from key 0`, `x=3`, `3`.
    fn naming(&self, value: &Value) -> String {
        match self.key {
            None => words::show(value),
            Some(Value::String(name)) => format!(
                "{}={}",
                words::cut(name, words::VALUE_LIMIT_CHARS),
                words::show(value)
            ),
            Some(key) => format!("key {}={}", words::show(key), words::show(value)),
        }
    }

    /// `read key 0=3`, `changed key 0 from 3 to 4`.
    fn deed(&self, view: &View<'_>) -> String {
        let of = match self.key {
            None => "the register".to_owned(),
            Some(Value::String(name)) => words::cut(name, words::VALUE_LIMIT_CHARS),
            Some(key) => format!("key {}", words::show(key)),
        };
        match &*view.operation.f {
            "read" | "r" | "get" => format!("read {}", self.naming(view.result)),
            "cas" => {
                let old = view.argument.get(0).map_or_else(String::new, words::show);
                let new = view.argument.get(1).map_or_else(String::new, words::show);
                if view.operation.outcome == Outcome::Ok {
                    format!("changed {of} from {old} to {new}")
                } else {
                    format!("saw that {of} is not {old}")
                }
            }
            "append" => format!("appended {} to {of}", words::show(view.argument)),
            "write" | "w" | "put" | "set" => format!("wrote {}", self.naming(view.argument)),
            other => {
                let shown = if view.operation.outcome == Outcome::Ok && !view.result.is_null() {
                    view.result
                } else {
                    view.argument
                };
                let shown = if shown.is_null() {
                    String::new()
                } else {
                    format!(" {}", words::show(shown))
                };
                format!("did {other}{shown}")
            }
        }
    }

    /// The value was never there, or not yet.
    fn unwritten(&self, culprit: &View<'_>, value: &Value) -> Option<Witness> {
        if value == self.initial {
            return None;
        }
        let operation = culprit.operation;
        let possible: Vec<&View<'_>> = self
            .views
            .iter()
            .filter(|view| leaves(view) == Some(value) && view.operation.index != operation.index)
            .collect();
        let clock = Clock::spanning([operation.invoked_ns, end_ns(operation)]);
        let deed = format!(
            "Process {}{} {} at {}",
            operation.process,
            words::on_node(operation),
            self.deed(culprit),
            clock.at(end_ns(operation))
        );
        let last = operation.completed_index.unwrap_or(u64::MAX);
        if possible
            .iter()
            .any(|view| view.operation.outcome != Outcome::Fail && view.operation.index < last)
        {
            return None;
        }
        if let Some(failed) = possible
            .iter()
            .find(|view| view.operation.outcome == Outcome::Fail && view.operation.index < last)
        {
            let writer = failed.operation;
            let why = writer.error.as_ref().map_or_else(String::new, |error| {
                format!(" ({})", words::cut(&error.kind, words::VALUE_LIMIT_CHARS))
            });
            return Some(words::witness(
                "failed-write-read",
                "A write that had failed was read.",
                format!(
                    "{deed}; the only write of it, by process {}, had failed{why}.",
                    writer.process
                ),
                &[writer, operation],
                &[operation.index],
            ));
        }
        if let Some(later) = possible
            .iter()
            .find(|view| view.operation.outcome != Outcome::Fail)
        {
            let writer = later.operation;
            let clock = Clock::spanning([end_ns(operation), writer.invoked_ns]);
            return Some(words::witness(
                "future-read",
                "A value was read before it was written.",
                format!(
                    "{deed}; its first write, by process {}, began at {}.",
                    writer.process,
                    clock.at(writer.invoked_ns)
                ),
                &[operation, writer],
                &[operation.index],
            ));
        }
        Some(words::witness(
            "unwritten-read",
            "A value was read that nobody wrote.",
            format!("{deed}; no operation ever wrote it."),
            &[operation],
            &[operation.index],
        ))
    }

    /// The value was there, and had been replaced before.
    fn stale(&self, culprit: &View<'_>, value: &Value) -> Option<Witness> {
        let operation = culprit.operation;
        let last = operation.completed_index.unwrap_or(u64::MAX);
        let writers: Vec<&Operation> = self
            .views
            .iter()
            .filter(|view| {
                leaves(view) == Some(value)
                    && view.operation.outcome != Outcome::Fail
                    && view.operation.index != operation.index
                    && view.operation.index < last
            })
            .map(|view| view.operation)
            .collect();
        if writers.is_empty() && value != self.initial {
            return None;
        }
        // What showed a newer value: a read if there is one, else a write; the one that ended last.
        let newer = self
            .views
            .iter()
            .filter(|view| {
                ended_before(view.operation, operation)
                    && writers
                        .iter()
                        .all(|writer| ended_before(writer, view.operation))
            })
            .filter_map(|view| {
                let seen = sees(view).filter(|_| &*view.operation.f != "cas");
                let newer = seen
                    .or_else(|| leaves(view))
                    .filter(|newer| *newer != value)?;
                Some((seen.is_some(), view.operation.completed_index, view, newer))
            })
            .max_by_key(|(read, end, _, _)| (*read, *end))?;
        let (was_read, _, evidence, newer_value) = newer;
        let after = |view: &&View<'_>| ended_before(evidence.operation, view.operation);
        let sightings = |value: &Value| {
            self.views
                .iter()
                .filter(after)
                .filter(|view| sees(view) == Some(value))
                .count()
        };
        // Twice the old value and never the new one: gone, not only missed. Once may be a read from a lagging node.
        let never_seen = !was_read && sightings(newer_value) == 0;
        let lost = never_seen && sightings(value) > 1;
        Some(self.stale_witness(
            culprit,
            value,
            &writers,
            (evidence, was_read, never_seen, lost),
        ))
    }

    fn stale_witness(
        &self,
        culprit: &View<'_>,
        value: &Value,
        writers: &[&Operation],
        (evidence, was_read, never_seen, lost): (&View<'_>, bool, bool, bool),
    ) -> Witness {
        let operation = culprit.operation;
        let newer = evidence.operation;
        let is_cas = &*operation.f == "cas";
        let clock = Clock::spanning([operation.invoked_ns, end_ns(operation), end_ns(newer)]);
        let writer = writers
            .iter()
            .max_by_key(|writer| writer.completed_index)
            .copied();
        let (kind, title) = if is_cas {
            (
                "cas-should-have-failed",
                "A compare-and-set succeeded against an old value.",
            )
        } else if lost {
            ("lost-write", "A write was lost.")
        } else if was_read {
            ("stale-read", "A read went back in time.")
        } else {
            ("stale-read", "A read missed a write that had ended.")
        };
        let mut story = format!(
            "Process {}{} {} at {}; process {} had {}, and that {} had ended at {}.",
            operation.process,
            words::on_node(operation),
            self.deed(culprit),
            clock.at(end_ns(operation)),
            newer.process,
            words_past(&self.deed(evidence)),
            if was_read { "read" } else { "write" },
            clock.at(end_ns(newer)),
        );
        if never_seen {
            story.push_str(" Nobody ever read what it wrote.");
        }
        let mut operations: Vec<&Operation> = writer.into_iter().collect();
        operations.extend([newer, operation]);
        let mut witness = words::witness(kind, title, story, &operations, &[operation.index]);
        if let Some(writer) = writer {
            witness.edges.push(Edge {
                from: writer.index,
                to: newer.index,
                words: format!(
                    "the write of {} had ended before process {} {}",
                    words::show(value),
                    newer.process,
                    self.deed(evidence)
                ),
            });
        }
        witness.edges.push(Edge {
            from: newer.index,
            to: operation.index,
            words: format!(
                "it had ended before process {} began, which still saw {}",
                operation.process,
                words::show(value)
            ),
        });
        witness
    }

    /// Decided without a search: the operations that show it, and why.
    fn ruled_out(&self, culprit: &View<'_>, because: &str) -> Witness {
        let operation = culprit.operation;
        let clock = Clock::spanning([operation.invoked_ns, end_ns(operation)]);
        let story = format!(
            "Process {}{} {} between {} and {}, but {because}.",
            operation.process,
            words::on_node(operation),
            self.deed(culprit),
            clock.at(operation.invoked_ns),
            clock.at(end_ns(operation)),
        );
        let mut operations: Vec<&Operation> = self
            .stuck
            .order
            .iter()
            .filter_map(|entry| self.view(*entry))
            .map(|view| view.operation)
            .filter(|other| other.index != operation.index)
            .collect();
        operations.push(operation);
        words::witness(
            "not-linearizable",
            "No order explains what was seen.",
            story,
            &operations,
            &[operation.index],
        )
    }

    fn general(&self, culprit: &View<'_>) -> Witness {
        let operation = culprit.operation;
        let clock = Clock::spanning([operation.invoked_ns, end_ns(operation)]);
        let states = match self.stuck.states.as_slice() {
            [] => "nothing that fits".to_owned(),
            [one] => one.clone(),
            [most @ .., last] => format!("{} or {last}", most.join(", ")),
        };
        if let Some(because) = &self.stuck.because {
            return self.ruled_out(culprit, because);
        }
        let story = format!(
            "Process {}{} {} between {} and {}, but in every order of the operations before it the state was {states}, and nothing open then leads to what it saw.",
            operation.process,
            words::on_node(operation),
            self.deed(culprit),
            clock.at(operation.invoked_ns),
            clock.at(end_ns(operation)),
        );
        let order: Vec<View<'_>> = self
            .stuck
            .order
            .iter()
            .filter_map(|entry| self.view(*entry))
            .collect();
        let from = order.len().saturating_sub(ORDER_SHOWN);
        let mut operations: Vec<&Operation> =
            order[from..].iter().map(|view| view.operation).collect();
        let mut edges: Vec<Edge> = order[from..]
            .windows(2)
            .map(|two| Edge {
                from: two[0].operation.index,
                to: two[1].operation.index,
                words: format!(
                    "then process {} {}",
                    two[1].operation.process,
                    self.deed(&two[1])
                ),
            })
            .collect();
        if let Some(last) = operations.last() {
            edges.push(Edge {
                from: last.index,
                to: operation.index,
                words: "has no place behind it, nor anywhere before".to_owned(),
            });
        }
        operations.retain(|other| other.index != operation.index);
        operations.push(operation);
        let mut witness = words::witness(
            "not-linearizable",
            "No order explains what was seen.",
            story,
            &operations,
            &[operation.index],
        );
        witness.edges = edges;
        witness
    }

    /// Which fault held while the operation was open; one on its own node first.
    fn fault_sentence(&self, operation: &Operation) -> Option<String> {
        let (begin, end) = (operation.invoked_ns, end_ns(operation));
        let in_force = |fault: &&FaultRecord| {
            let from = fault.observed_ns.or(fault.asked_ns);
            from.is_some_and(|from| from <= end)
                && fault.healed_ns.is_none_or(|healed| healed >= begin)
        };
        let node = operation.node.as_deref();
        let on_it = |fault: &&FaultRecord| {
            node.is_some_and(|node| fault.nodes.iter().any(|struck| struck == node))
        };
        let fault = self
            .faults
            .iter()
            .filter(in_force)
            .find(on_it)
            .or_else(|| self.faults.iter().find(in_force))?;
        let label = words::cut(&fault.label, words::VALUE_LIMIT_CHARS);
        Some(match node {
            Some(node) if on_it(&fault) => {
                format!("Fault {} was in force on {node} then: {label}.", fault.id)
            }
            _ => format!("Fault {} was in force then: {label}.", fault.id),
        })
    }
}

/// `read x=5` is also the past participle; `wrote` and `saw` are not.
fn words_past(deed: &str) -> String {
    if let Some(rest) = deed.strip_prefix("wrote") {
        return format!("written{rest}");
    }
    deed.to_owned()
}
