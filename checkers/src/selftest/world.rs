//! Processes that use a simulated object: at each step one of them, drawn at random, goes on.

use harness_core::{
    event::{Event, EventType, OpError, Process},
    seed::Seed,
};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

/// Processes at work at once.
const PROCESSES: usize = 5;
/// Operations of a history, beside the last ones.
const OPERATIONS: usize = 120;
/// Share of operations whose outcome nobody learns, where the object allows it.
const LOST_SHARE: f64 = 0.03;
/// Share that fails.
const FAILED_SHARE: f64 = 0.03;

/// What an operation is asked to do.
pub(super) struct Ask {
    pub f: &'static str,
    pub input: Value,
    /// It may fail or get lost; else it is always answered.
    pub frail: bool,
}

/// A simulated object.
pub(super) trait Toy {
    /// What this process does next. `late`: the bug may strike. None: nothing now.
    fn ask(&mut self, rng: &mut ChaCha8Rng, process: usize, late: bool) -> Option<Ask>;
    /// It takes effect: the answer, or the kind of failure.
    fn act(
        &mut self,
        rng: &mut ChaCha8Rng,
        process: usize,
        ask: &Ask,
        late: bool,
    ) -> Result<Value, &'static str>;
    /// After all others, one after another: None when done.
    fn last(&mut self, number: usize) -> Option<Ask>;
    /// Whether the bug struck.
    fn struck(&self) -> bool;
}

struct Open {
    ask: Ask,
    answer: Option<(EventType, Value, Option<&'static str>)>,
}

/// A history of it.
pub(super) fn history(seed: u64, toy: &mut dyn Toy) -> Vec<Event> {
    let mut rng = Seed(seed).stream("selftest").draw(0);
    let mut events: Vec<Event> = Vec::new();
    let mut names: Vec<u64> = (0..PROCESSES as u64).collect();
    let mut open: Vec<Option<Open>> = (0..PROCESSES).map(|_| None).collect();
    let (mut asked, mut time_ns, mut idle) = (0, 0_u64, 0);
    let mut next_name = PROCESSES as u64;
    // An object with nothing to ask for any more ends the history too.
    while (asked < OPERATIONS && idle < OPERATIONS) || open.iter().any(Option::is_some) {
        let at = rng.random_range(0..PROCESSES);
        time_ns += rng.random_range(1_000..40_000_u64);
        let late = asked * 2 > OPERATIONS;
        let event = match open[at].take() {
            None if asked >= OPERATIONS => continue,
            None => {
                let Some(ask) = toy.ask(&mut rng, at, late) else {
                    idle += 1;
                    continue;
                };
                asked += 1;
                let event = (EventType::Invoke, ask.f, ask.input.clone(), None);
                open[at] = Some(Open { ask, answer: None });
                event
            }
            Some(Open { ask, answer: None }) => {
                let draw: f64 = rng.random();
                let answer = if ask.frail && draw < FAILED_SHARE {
                    (EventType::Fail, ask.input.clone(), Some("busy"))
                } else if ask.frail && draw < FAILED_SHARE + LOST_SHARE {
                    if rng.random() {
                        drop(toy.act(&mut rng, at, &ask, false));
                    }
                    (EventType::Info, ask.input.clone(), Some("timeout"))
                } else {
                    match toy.act(&mut rng, at, &ask, late) {
                        Ok(value) => (EventType::Ok, value, None),
                        Err(kind) => (EventType::Fail, ask.input.clone(), Some(kind)),
                    }
                };
                open[at] = Some(Open {
                    ask,
                    answer: Some(answer),
                });
                continue;
            }
            Some(Open {
                ask,
                answer: Some((kind, value, error)),
            }) => (kind, ask.f, value, error),
        };
        push(&mut events, names[at], time_ns, event);
        if event_is_lost(&events) {
            names[at] = next_name;
            next_name += 1;
        }
    }
    for number in 0.. {
        let Some(ask) = toy.last(number) else { break };
        time_ns += 10_000;
        push(
            &mut events,
            names[0],
            time_ns,
            (EventType::Invoke, ask.f, ask.input.clone(), None),
        );
        time_ns += 10_000;
        let (kind, value, error) = match toy.act(&mut rng, 0, &ask, false) {
            Ok(value) => (EventType::Ok, value, None),
            Err(kind) => (EventType::Fail, ask.input.clone(), Some(kind)),
        };
        push(&mut events, names[0], time_ns, (kind, ask.f, value, error));
    }
    events
}

fn event_is_lost(events: &[Event]) -> bool {
    events
        .last()
        .is_some_and(|event| event.event_type == EventType::Info)
}

fn push(
    events: &mut Vec<Event>,
    process: u64,
    time_ns: u64,
    (event_type, f, value, error): (EventType, &str, Value, Option<&str>),
) {
    events.push(Event {
        index: events.len() as u64,
        time_ns,
        process: Process::Client(process),
        node: None,
        event_type,
        f: f.into(),
        value,
        error: error.map(|kind| OpError {
            kind: kind.to_owned(),
            message: "simulated".to_owned(),
        }),
    });
}
