//! The final phase: can membership still change? One step after the other, on one thread.
//!
//! The canary, which nobody touched, is joined and removed. Every member in doubt is tried in the order that its state allows:
//!
//! ```text
//! list ── in it, or the system joins wiped nodes only, or it was a remove ──┐
//!   └─ not in it ─▶ retry-unwiped ──────────────────────────────────────────┤
//! ┌─────────────────────────────────────────────────────────────────────────┘
//! ▼
//! retry-remove by force ── ok ──▶ retry-join
//!            └─ not ok ─▶ list ── not in it ──▶ retry-join ── ok ──▶ retry-remove by force
//!                           └─ in it: the remove was refused, and a member cannot join
//! ```
//!
//! The unwiped retry is what a user does first, on the daemon as it is after its restart; whoever is listed needs none.
//!
//! Every removed node is asked whether it still takes part. A step that does not succeed is tried [`TRIES`] times: what is
//! refused twice, with time to settle before, is refused.

use std::{collections::VecDeque, time::Duration};

use harness_core::{
    event::{Event, EventType},
    generator::{Context, Generator, Next, Op, OpSpec},
    membership::{
        CANARY_JOIN, CANARY_REMOVE, JoinValue, LIST, REMOVED_PROBE, RETRY_JOIN, RETRY_REMOVE,
        RETRY_UNWIPED, RemoveValue,
    },
};
use serde_json::{Value, json};

/// How often a step is tried.
pub const TRIES: u32 = 2;
/// How long to wait before it is tried again.
pub const PAUSE: Duration = Duration::from_secs(2);

/// The kind of error of a removal by force of the node that leads.
const LEADS: &str = "leads";

/// What is done with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    CanaryJoin,
    CanaryRemove {
        force: bool,
    },
    AskBeforeRetry,
    RetryUnwiped,
    RetryRemove {
        force: bool,
    },
    AskWhetherIn,
    /// `last`: a remove succeeded already.
    RetryJoin {
        last: bool,
    },
    RetryRemoveLast {
        force: bool,
    },
    RemovedProbe,
}

/// See the module.
pub struct Probes {
    steps: VecDeque<(Step, String)>,
    tried: u32,
    not_before_ns: u64,
    open: bool,
    look: Duration,
}

impl Probes {
    /// The steps of a run: its canary, members in doubt, removed nodes.
    pub fn new<'a>(
        canary: &str,
        in_doubt: impl IntoIterator<Item = &'a str>,
        removed: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut steps = VecDeque::from([(Step::CanaryJoin, canary.to_owned())]);
        let with = |step| move |name: &'a str| (step, name.to_owned());
        // Who was removed is asked first: trying members in doubt takes time, and joins may follow.
        steps.extend(removed.into_iter().map(with(Step::RemovedProbe)));
        steps.extend(
            in_doubt
                .into_iter()
                .map(with(Step::RetryRemove { force: true })),
        );
        Self {
            steps,
            tried: 0,
            not_before_ns: 0,
            open: false,
            look: Duration::ZERO,
        }
    }

    /// Begins with these members in doubt by asking for their joins again, of the nodes as they are. `look`: how long to wait after
    /// such a join, so that the sources are read before the next step: it may have changed them, however it ended.
    #[must_use]
    pub fn asking_unwiped(mut self, joins: &[&str], look: Duration) -> Self {
        self.look = look;
        for (step, member) in &mut self.steps {
            if matches!(step, Step::RetryRemove { .. }) && joins.contains(&member.as_str()) {
                *step = Step::AskBeforeRetry;
            }
        }
        self
    }

    fn then(&mut self, step: Step, member: &str) {
        self.steps.push_front((step, member.to_owned()));
    }

    fn pause(&mut self, length: Duration, event: &Event) {
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        self.not_before_ns = event.time_ns.saturating_add(length_ns);
    }

    fn ended(&mut self, event: &Event) {
        let Some((step, member)) = self.steps.pop_front() else {
            return;
        };
        let ok = event.event_type == EventType::Ok;
        self.tried += 1;
        // An indeterminate join is not tried again: whether the name is free, nobody knows.
        let again = match step {
            Step::CanaryJoin | Step::RetryUnwiped | Step::RetryJoin { .. } => {
                event.event_type == EventType::Fail
            }
            Step::CanaryRemove { .. }
            | Step::RetryRemove { .. }
            | Step::RetryRemoveLast { .. }
            | Step::AskBeforeRetry
            | Step::AskWhetherIn
            | Step::RemovedProbe => !ok,
        };
        if again && self.tried < TRIES {
            self.pause(PAUSE, event);
            // Whoever leads is asked to go: by force it is not even contacted.
            let leads = event
                .error
                .as_ref()
                .is_some_and(|error| error.kind == LEADS);
            let next = match step {
                Step::RetryRemove { .. } => Step::RetryRemove { force: !leads },
                Step::RetryRemoveLast { .. } => Step::RetryRemoveLast { force: !leads },
                other => other,
            };
            self.then(next, &member);
            return;
        }
        self.tried = 0;
        let listed = || {
            let names = event.value.as_array();
            names.is_some_and(|names| names.iter().any(|name| name == member.as_str()))
        };
        match (step, event.event_type) {
            (Step::CanaryJoin, EventType::Ok) => {
                self.then(Step::CanaryRemove { force: false }, &member);
            }
            (Step::CanaryJoin, EventType::Info) => {
                self.then(Step::CanaryRemove { force: true }, &member);
            }
            (Step::AskBeforeRetry, EventType::Ok) if !listed() => {
                self.then(Step::RetryUnwiped, &member);
            }
            (Step::AskBeforeRetry, _) => self.then(Step::RetryRemove { force: true }, &member),
            (Step::RetryUnwiped, _) => {
                // What was refused did nothing.
                if event.event_type != EventType::Fail {
                    self.pause(self.look, event);
                }
                self.then(Step::RetryRemove { force: true }, &member);
            }
            (Step::RetryRemove { .. }, EventType::Ok) => {
                self.then(Step::RetryJoin { last: true }, &member);
            }
            (Step::RetryRemove { .. }, _) => self.then(Step::AskWhetherIn, &member),
            (Step::AskWhetherIn, EventType::Ok) if !listed() => {
                self.then(Step::RetryJoin { last: false }, &member);
            }
            (Step::RetryJoin { last: false }, EventType::Ok) => {
                self.then(Step::RetryRemoveLast { force: true }, &member);
            }
            _ => {}
        }
    }
}

fn spec(step: Step, member: &str) -> OpSpec {
    let join = |f: &str| {
        let value = JoinValue {
            member: member.to_owned(),
            ..JoinValue::default()
        };
        OpSpec::new(f, value)
    };
    let remove = |f: &str, force| {
        let value = RemoveValue {
            member: member.to_owned(),
            force,
        };
        OpSpec::new(f, value)
    };
    match step {
        Step::CanaryJoin => join(CANARY_JOIN),
        Step::CanaryRemove { force } => remove(CANARY_REMOVE, force),
        Step::RetryRemove { force } | Step::RetryRemoveLast { force } => {
            remove(RETRY_REMOVE, force)
        }
        Step::RetryUnwiped => join(RETRY_UNWIPED),
        Step::RetryJoin { .. } => join(RETRY_JOIN),
        Step::AskBeforeRetry | Step::AskWhetherIn => OpSpec::new(LIST, Value::Null),
        Step::RemovedProbe => OpSpec::new(REMOVED_PROBE, json!({ "member": member })),
    }
}

impl Generator for Probes {
    fn peek(&self, context: &Context<'_>) -> Next {
        if self.open {
            return Next::Pending { until_ns: None };
        }
        let Some((step, member)) = self.steps.front() else {
            return Next::Done;
        };
        if context.time_ns < self.not_before_ns {
            return Next::Pending {
                until_ns: Some(self.not_before_ns),
            };
        }
        spec(*step, member).now(context)
    }

    fn commit(&mut self, _context: &Context<'_>, _op: &Op) {
        self.open = true;
    }

    fn update(&mut self, _context: &Context<'_>, _thread: usize, event: &Event) {
        if event.event_type != EventType::Invoke {
            self.open = false;
            self.ended(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use harness_core::generator::simulate::{Response, simulate};

    use super::*;

    /// What is asked, where each operation ends as `answer` says.
    fn asked(
        probes: &mut Probes,
        mut answer: impl FnMut(&str) -> (EventType, Value),
    ) -> Vec<String> {
        let simulated = simulate(
            probes,
            1,
            1000,
            &mut |op, _| {
                let (event_type, value) = answer(&op.f);
                Response {
                    latency_ns: 1,
                    event_type,
                    value,
                }
            },
            &mut |_, _, _| {},
        );
        assert!(!simulated.stuck && !simulated.cut);
        let invoked = |event: &Event| {
            let member = event.value["member"].as_str().unwrap_or_default();
            (event.event_type == EventType::Invoke).then(|| format!("{} {member}", event.f))
        };
        simulated.events.iter().filter_map(invoked).collect()
    }

    #[test]
    fn each_member_is_tried_in_the_order_that_its_state_allows() {
        use EventType::{Fail, Info, Ok};
        type Answer = fn(&str, u32) -> (EventType, Value);
        let table: [(&str, Answer, &[&str]); 4] = [
            (
                "it can be removed and joined",
                |_, _| (Ok, Value::Null),
                &["retry-remove n4", "retry-join n4"],
            ),
            (
                "its join never took effect",
                |f, nth| match (f, nth) {
                    ("retry-remove", 0 | 1) => (Fail, Value::Null),
                    ("list", _) => (Ok, json!(["n1"])),
                    _ => (Ok, Value::Null),
                },
                &[
                    "retry-remove n4",
                    "retry-remove n4",
                    "list ",
                    "retry-join n4",
                    "retry-remove n4",
                ],
            ),
            (
                "its name is burnt",
                |f, _| match f {
                    "list" => (Ok, json!(["n1"])),
                    _ => (Fail, Value::Null),
                },
                &[
                    "retry-remove n4",
                    "retry-remove n4",
                    "list ",
                    "retry-join n4",
                    "retry-join n4",
                ],
            ),
            (
                "it is a member for ever",
                |f, _| match f {
                    "list" => (Ok, json!(["n1", "n4"])),
                    _ => (Info, Value::Null),
                },
                &["retry-remove n4", "retry-remove n4", "list "],
            ),
        ];
        for (what, answer, expected) in table {
            let mut probes = Probes::new("n5", ["n4"], []);
            let mut counts = std::collections::BTreeMap::new();
            let all = asked(&mut probes, |f| {
                if f.starts_with("canary") {
                    return (Ok, Value::Null);
                }
                let count = counts.entry(f.to_owned()).or_insert(0);
                *count += 1;
                answer(f, *count - 1)
            });
            assert_eq!(all[..2], ["canary-join n5", "canary-remove n5"], "{what}");
            assert_eq!(all[2..], *expected, "{what}");
        }
    }

    #[test]
    fn a_join_in_doubt_is_asked_for_unwiped_first_unless_the_member_is_listed() {
        use EventType::{Fail, Info, Ok};
        let after = ["retry-remove n4", "retry-join n4"];
        for (listed, retried, expected) in [
            (json!(["n1", "n4"]), Ok, &["list "][..]),
            (json!(["n1"]), Ok, &["list ", "retry-unwiped n4"]),
            // Whether it took effect is unknown, so it is not tried again.
            (json!(["n1"]), Info, &["list ", "retry-unwiped n4"]),
            (
                json!(["n1"]),
                Fail,
                &["list ", "retry-unwiped n4", "retry-unwiped n4"],
            ),
        ] {
            let mut probes = Probes::new("n5", ["n3", "n4"], []).asking_unwiped(&["n4"], PAUSE);
            let all = asked(&mut probes, |f| match f {
                "list" => (Ok, listed.clone()),
                "retry-unwiped" => (retried, Value::Null),
                _ => (Ok, Value::Null),
            });
            // n3's was a remove, or its system joins wiped nodes only.
            assert_eq!(all[2..4], ["retry-remove n3", "retry-join n3"]);
            assert_eq!(
                all[4..],
                [expected, &after].concat(),
                "{listed} {retried:?}"
            );
        }
    }

    #[test]
    fn a_canary_that_cannot_join_is_not_removed_and_removed_nodes_are_asked() {
        let mut probes = Probes::new("n5", [], ["n2", "n3"]);
        let all = asked(&mut probes, |f| match f {
            CANARY_JOIN => (EventType::Fail, Value::Null),
            _ => (EventType::Ok, Value::Null),
        });
        assert_eq!(
            all,
            [
                "canary-join n5",
                "canary-join n5",
                "removed-probe n2",
                "removed-probe n3"
            ]
        );
    }

    /// By force the leader is refused, in order it hands over and goes.
    #[test]
    fn a_member_in_doubt_that_leads_is_removed_in_order() {
        let mut probes = Probes::new("n5", ["n2"], []);
        let fails = |probes: &mut Probes, kind: &str| {
            probes.ended(&Event {
                index: 0,
                time_ns: 0,
                process: harness_core::event::Process::Client(0),
                node: None,
                event_type: EventType::Fail,
                f: RETRY_REMOVE.into(),
                value: Value::Null,
                error: Some(harness_core::event::OpError {
                    kind: kind.to_owned(),
                    message: String::new(),
                }),
            });
            probes.steps.front().map(|(step, _)| *step)
        };
        for (kind, force) in [(LEADS, false), ("busy", true)] {
            probes.steps = [(Step::RetryRemove { force: true }, "n2".to_owned())].into();
            probes.tried = 0;
            let next = fails(&mut probes, kind);
            assert_eq!(next, Some(Step::RetryRemove { force }), "{kind}");
        }
    }
}
