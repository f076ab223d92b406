//! After healing, does every live node serve again, and how soon?
//!
//! When the phase `recover` begins the last fault is healed. From then on the workload tries a write through each live
//! node by itself, again and again until it is `ok`: operations `f = "availability"` with `node` set. A node has
//! recovered with its first `ok` that began in that phase; it must come within the timeout.
//!
//! `meta.workload_options`: `recovery_timeout_ms` (default 60,000), `live_nodes` (names; default: the nodes that were tried).
//!
//! A node that was not tried up to the timeout, because somebody interrupted the run, makes `unknown`: it might have
//! recovered a moment later.

use std::collections::BTreeMap;

use harness_core::{
    history::{Operation, Outcome},
    verdict::{Budget, CheckInput, CheckResult, Checker, Severity, Verdict},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::words::{self, end_ns};

/// Kind of the operations that try a node.
pub const F: &str = "availability";
/// How soon a node must serve if nothing else is said, milliseconds.
pub const RECOVERY_TIMEOUT_MS: u64 = 60_000;
/// Attempts that a witness shows.
const ATTEMPTS_SHOWN: usize = 5;

/// What the checker is told besides the history. What is not given is taken from `meta.workload_options`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How soon every node must serve, milliseconds.
    pub recovery_timeout_ms: Option<u64>,
    /// The nodes that must.
    pub live_nodes: Option<Vec<String>>,
    /// What readers must know of this system where a node did not come back; said there and nowhere else.
    pub explanation: Option<String>,
}

/// The checker.
#[derive(Clone, Debug, Default)]
pub struct Availability {
    options: Options,
}

impl Availability {
    /// With these options.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self { options }
    }
}

/// What the attempts at one node show.
enum State {
    /// It served so many nanoseconds after healing.
    Recovered(u64),
    /// It did not, and attempts went on to the timeout.
    Never,
    /// It served, but later than the timeout.
    Late(u64),
    /// Attempts ended before the timeout, or there was none.
    Cut,
}

impl Checker for Availability {
    fn name(&self) -> &'static str {
        "availability"
    }

    fn check(&self, input: &CheckInput<'_>, _budget: &dyn Budget) -> CheckResult {
        let Some(phase) = input.meta.phase("recover") else {
            return CheckResult::new(
                self.name(),
                Verdict::NotApplicable,
                "the run never came to the phase recover",
            );
        };
        let stored = &input.meta.workload_options;
        let timeout_ms = self
            .options
            .recovery_timeout_ms
            .or_else(|| stored["recovery_timeout_ms"].as_u64())
            .unwrap_or(RECOVERY_TIMEOUT_MS);
        let start_ns = u64::try_from(phase.start_ns).unwrap_or(0);
        let mut attempts: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
        let stored_nodes = stored["live_nodes"].as_array().map(|nodes| {
            let names = nodes.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        });
        let live: Option<Vec<String>> = self.options.live_nodes.clone().or(stored_nodes);
        for node in live.iter().flatten() {
            attempts.entry(node).or_default();
        }
        for operation in &input.history.operations {
            if &*operation.f == F
                && operation.invoked_ns >= start_ns
                && let Some(node) = operation.node.as_deref()
                && (live.is_none() || attempts.contains_key(node))
            {
                attempts.entry(node).or_default().push(operation);
            }
        }
        if attempts.is_empty() {
            return CheckResult::new(
                self.name(),
                Verdict::Unknown,
                "no node was tried after healing",
            );
        }
        let states: BTreeMap<&str, State> = attempts
            .iter()
            .map(|(node, attempts)| (*node, state(attempts, start_ns, timeout_ms * 1_000_000)))
            .collect();
        self.judge(&attempts, &states, timeout_ms, start_ns)
    }
}

fn state(attempts: &[&Operation], start_ns: u64, timeout_ns: u64) -> State {
    let served = attempts
        .iter()
        .filter(|attempt| attempt.outcome == Outcome::Ok)
        .map(|attempt| end_ns(attempt).saturating_sub(start_ns))
        .min();
    match served {
        Some(after) if after <= timeout_ns => return State::Recovered(after),
        Some(after) => return State::Late(after),
        None => {}
    }
    // The last attempt must have been begun or ended at the timeout or later to prove the whole stretch; an attempt
    // whose end was not recorded proves nothing.
    let tried_until = attempts
        .iter()
        .filter_map(|attempt| attempt.completed_ns)
        .max()
        .map_or(0, |end| end.saturating_sub(start_ns));
    if tried_until >= timeout_ns {
        State::Never
    } else {
        State::Cut
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl Availability {
    fn judge(
        &self,
        attempts: &BTreeMap<&str, Vec<&Operation>>,
        states: &BTreeMap<&str, State>,
        timeout_ms: u64,
        start_ns: u64,
    ) -> CheckResult {
        let names = |wanted: fn(&State) -> bool| -> Vec<&str> {
            states
                .iter()
                .filter(|(_, state)| wanted(state))
                .map(|(node, _)| *node)
                .collect()
        };
        let failed = names(|state| matches!(state, State::Never | State::Late(_)));
        let cut = names(|state| matches!(state, State::Cut));
        let recovered: Vec<u64> = states
            .values()
            .filter_map(|state| match state {
                State::Recovered(after) | State::Late(after) => Some(*after),
                State::Never | State::Cut => None,
            })
            .collect();
        let limit = seconds(timeout_ms * 1_000_000);
        let (verdict, summary) = if !failed.is_empty() {
            (
                Verdict::Invalid,
                format!(
                    "{} did not accept a write within {limit} s after healing",
                    failed.join(", ")
                ),
            )
        } else if !cut.is_empty() {
            (
                Verdict::Unknown,
                format!(
                    "{} had not accepted a write when attempts ended, before {limit} s were over",
                    cut.join(", ")
                ),
            )
        } else {
            let slowest = recovered.iter().max().copied().unwrap_or(0);
            (
                Verdict::Valid,
                format!(
                    "{} accepted a write within {:.2} s after healing",
                    words::plural(states.len(), "live node", "live nodes"),
                    seconds(slowest)
                ),
            )
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        for (node, state) in states {
            let attempts = &attempts[node];
            let text = match state {
                State::Recovered(_) => continue,
                State::Never => format!("never in {limit} s"),
                State::Late(after) => format!("only after {:.2} s", seconds(*after)),
                State::Cut => {
                    result.notes.push(words::note(
                        "cut-off",
                        Severity::Error,
                        format!(
                            "{node}: {} and none succeeded, but they ended too early to say more",
                            words::plural(attempts.len(), "attempt", "attempts")
                        ),
                    ));
                    continue;
                }
            };
            let last = attempts
                .iter()
                .rev()
                .find_map(|attempt| attempt.error.as_ref());
            let said = last.map_or_else(String::new, |error| {
                format!(
                    " The last answer: {}: {}.",
                    words::cut(&error.kind, 40),
                    words::excerpt(error.message.as_bytes())
                )
            });
            let story = format!(
                "{node} accepted a write {text} after the last fault was healed at {:.2} s; {} were made.{said}",
                seconds(start_ns),
                words::plural(attempts.len(), "attempt", "attempts")
            );
            result
                .notes
                .push(words::note("not-recovered", Severity::Error, story.clone()));
            let from = attempts.len().saturating_sub(ATTEMPTS_SHOWN);
            let culprits: Vec<u64> = attempts.last().map(|last| last.index).into_iter().collect();
            let mut witness = words::witness(
                "not-recovered",
                &format!("{node} did not come back."),
                story,
                &attempts[from..],
                &culprits,
            );
            witness.nodes = vec![(*node).to_owned()];
            witness.explanation.clone_from(&self.options.explanation);
            result.witnesses.push(witness);
        }
        result.looked_at = attempts
            .values()
            .map(|attempts| attempts.len() as u64)
            .sum();
        let by_node: serde_json::Map<_, _> = states
            .iter()
            .map(|(node, state)| {
                let value = match state {
                    State::Recovered(after) | State::Late(after) => json!(ms(*after)),
                    State::Never | State::Cut => json!(null),
                };
                ((*node).to_owned(), value)
            })
            .collect();
        result
            .figures
            .insert("recovery_ms_by_node".to_owned(), by_node.into());
        result.figures.insert(
            "recovery_max_ms".to_owned(),
            json!(recovered.iter().max().map(|after| ms(*after))),
        );
        result
            .figures
            .insert("recovery_timeout_ms".to_owned(), json!(timeout_ms));
        words::finish(result)
    }
}
