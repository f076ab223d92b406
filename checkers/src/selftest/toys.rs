//! Simulated objects, each with bugs that can be switched on one at a time. A bug strikes once, in the second half.

use std::collections::VecDeque;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::world::{Ask, Toy};
use crate::total_queue::EMPTY;

/// The number of a bug, until it has struck.
pub(super) struct Switch {
    bug: Option<usize>,
    struck: bool,
}

impl Switch {
    pub fn new(bug: Option<usize>) -> Self {
        Self { bug, struck: false }
    }

    /// Whether this bug strikes here and now.
    fn strikes(&mut self, bug: usize, late: bool) -> bool {
        let now = late && !self.struck && self.bug == Some(bug);
        self.struck |= now;
        now
    }
}

fn ask(f: &'static str, input: Value) -> Option<Ask> {
    let frail = !matches!(f, "read" | "dequeue" | "generate" | "acquire" | "release");
    Some(Ask { f, input, frail })
}

/// Reads at the end.
const LAST_READS: usize = 2;
/// An add so large that nothing else makes up for it.
const LARGE: i64 = 1_000;

/// Bugs: 0 an add is forgotten, 1 an add counts twice.
pub(super) struct Counter {
    pub switch: Switch,
    pub sum: i64,
}

impl Toy for Counter {
    fn ask(&mut self, rng: &mut ChaCha8Rng, _process: usize, _late: bool) -> Option<Ask> {
        if rng.random() {
            return ask("read", Value::Null);
        }
        let small = rng.random_range(-3..=5);
        // Large ones are always answered: a lost one would make bounds wide.
        if rng.random_range(0..4) == 0 {
            return Some(Ask {
                f: "add",
                input: json!(LARGE),
                frail: false,
            });
        }
        ask("add", json!(small))
    }

    fn act(
        &mut self,
        _rng: &mut ChaCha8Rng,
        _process: usize,
        ask: &Ask,
        late: bool,
    ) -> Result<Value, &'static str> {
        let Some(amount) = ask.input.as_i64() else {
            return Ok(json!(self.sum));
        };
        let large = amount == LARGE;
        if large && self.switch.strikes(0, late) {
            return Ok(ask.input.clone());
        }
        self.sum += amount;
        if large && self.switch.strikes(1, late) {
            self.sum += amount;
        }
        Ok(ask.input.clone())
    }

    fn last(&mut self, number: usize) -> Option<Ask> {
        (number < LAST_READS)
            .then(|| ask("read", Value::Null))
            .flatten()
    }

    fn struck(&self) -> bool {
        self.switch.struck
    }
}

/// Bug: 0 an identifier is handed out again.
pub(super) struct Ids {
    pub switch: Switch,
    pub next: u64,
}

impl Toy for Ids {
    fn ask(&mut self, _rng: &mut ChaCha8Rng, _process: usize, _late: bool) -> Option<Ask> {
        ask("generate", Value::Null)
    }

    fn act(
        &mut self,
        rng: &mut ChaCha8Rng,
        _process: usize,
        _ask: &Ask,
        late: bool,
    ) -> Result<Value, &'static str> {
        if self.next > 0 && self.switch.strikes(0, late) {
            return Ok(json!(rng.random_range(0..self.next)));
        }
        self.next += 1;
        Ok(json!(self.next - 1))
    }

    fn last(&mut self, _number: usize) -> Option<Ask> {
        None
    }

    fn struck(&self) -> bool {
        self.switch.struck
    }
}

/// Bugs: 0 an element is forgotten, 1 one is delivered twice, 2 one comes from nowhere, 3 the youngest overtakes the rest.
pub(super) struct Queue {
    pub switch: Switch,
    pub held: VecDeque<u64>,
    pub next: u64,
    pub emptied: bool,
}

/// Elements that must be there for one to overtake: nobody else can have put the first and the last in at once.
const OVERTAKES_FROM: usize = 8;

impl Toy for Queue {
    fn ask(&mut self, rng: &mut ChaCha8Rng, _process: usize, _late: bool) -> Option<Ask> {
        if rng.random_range(0..5) < 2 {
            return ask("dequeue", Value::Null);
        }
        self.next += 1;
        ask("enqueue", json!(self.next))
    }

    fn act(
        &mut self,
        _rng: &mut ChaCha8Rng,
        _process: usize,
        ask: &Ask,
        late: bool,
    ) -> Result<Value, &'static str> {
        if let Some(element) = ask.input.as_u64() {
            // `late` is said only of operations that will be acknowledged.
            if !self.switch.strikes(0, late) {
                self.held.push_back(element);
            }
            return Ok(ask.input.clone());
        }
        if self.switch.strikes(2, late) {
            return Ok(json!(1_000_000));
        }
        let enough = self.held.len() >= OVERTAKES_FROM;
        if enough && self.switch.strikes(3, late) {
            return Ok(json!(self.held.pop_back()));
        }
        match self.held.pop_front() {
            Some(element) => {
                if self.switch.strikes(1, late) {
                    self.held.push_front(element);
                }
                Ok(json!(element))
            }
            None => {
                self.emptied = true;
                Err(EMPTY)
            }
        }
    }

    fn last(&mut self, number: usize) -> Option<Ask> {
        if number == 0 {
            self.emptied = false;
        }
        (!self.emptied)
            .then(|| ask("dequeue", Value::Null))
            .flatten()
    }

    fn struck(&self) -> bool {
        self.switch.struck
    }
}

/// Bug: 0 the lock is given to a second process.
pub(super) struct Lock {
    pub switch: Switch,
    pub owner: Option<usize>,
    /// Whether each process believes to have it, and has not begun to release it.
    pub has: Vec<bool>,
    /// Both owners, once the bug struck: they keep the lock for ever.
    pub robbed: Option<[usize; 2]>,
}

impl Toy for Lock {
    fn ask(&mut self, _rng: &mut ChaCha8Rng, process: usize, _late: bool) -> Option<Ask> {
        if self.has.len() <= process {
            self.has.resize(process + 1, false);
        }
        if self.robbed.is_some_and(|both| both.contains(&process)) {
            return None;
        }
        ask(
            if std::mem::replace(&mut self.has[process], false) {
                "release"
            } else {
                "acquire"
            },
            Value::Null,
        )
    }

    fn act(
        &mut self,
        _rng: &mut ChaCha8Rng,
        process: usize,
        ask: &Ask,
        late: bool,
    ) -> Result<Value, &'static str> {
        if ask.f == "release" {
            if self.owner == Some(process) {
                self.owner = None;
            }
            return Ok(Value::Null);
        }
        match self.owner {
            None => self.owner = Some(process),
            Some(owner) if self.has[owner] && self.switch.strikes(0, late) => {
                self.robbed = Some([owner, process]);
            }
            Some(_) => return Err("held"),
        }
        self.has[process] = true;
        Ok(Value::Null)
    }

    fn last(&mut self, _number: usize) -> Option<Ask> {
        None
    }

    fn struck(&self) -> bool {
        self.switch.struck
    }
}

/// Keys that are read together. Bug: 0 a reader sees a key as it was, and a younger one as it is.
pub(super) struct Fork {
    pub switch: Switch,
    /// Keys written, in order.
    pub written: Vec<u64>,
    pub next: u64,
}

/// Keys of a group.
const GROUP: u64 = 2;

impl Fork {
    fn read(&self, first: u64, hidden: Option<u64>) -> Value {
        let steps: Vec<Value> = (first..first + GROUP)
            .map(|key| {
                let there = self.written.contains(&key) && hidden != Some(key);
                json!(["r", key, there.then_some(1)])
            })
            .collect();
        steps.into()
    }
}

impl Toy for Fork {
    fn ask(&mut self, rng: &mut ChaCha8Rng, _process: usize, _late: bool) -> Option<Ask> {
        if rng.random_range(0..3) == 0 {
            self.next += 1;
            return ask("write", json!([["w", self.next - 1, 1]]));
        }
        let group = self.next.saturating_sub(1) / GROUP * GROUP;
        ask("read", json!([["r", group, null], ["r", group + 1, null]]))
    }

    fn act(
        &mut self,
        _rng: &mut ChaCha8Rng,
        _process: usize,
        ask: &Ask,
        _late: bool,
    ) -> Result<Value, &'static str> {
        if ask.f == "write" {
            self.written.extend(ask.input[0][1].as_u64());
            return Ok(ask.input.clone());
        }
        Ok(self.read(ask.input[0][1].as_u64().unwrap_or(0), None))
    }

    /// A group of its own, written and read in turn: the second reader's answer is where the bug strikes.
    fn last(&mut self, number: usize) -> Option<Ask> {
        let group = self.next.div_ceil(GROUP) * GROUP + GROUP;
        let read = json!([["r", group, null], ["r", group + 1, null]]);
        match number {
            0 => ask("write", json!([["w", group, 1]])),
            1 | 3 => ask("read", read),
            2 => {
                if self.switch.strikes(0, true) {
                    // From now on nobody is shown the first key any more.
                    self.written.retain(|key| *key != group);
                }
                ask("write", json!([["w", group + 1, 1]]))
            }
            _ => None,
        }
    }

    fn struck(&self) -> bool {
        self.switch.struck
    }
}

/// Bug: 0 a reader is not shown a write that had ended before a later one began.
pub(super) struct Reverse {
    pub switch: Switch,
    pub written: Vec<u64>,
    pub next: u64,
}

impl Toy for Reverse {
    fn ask(&mut self, rng: &mut ChaCha8Rng, _process: usize, _late: bool) -> Option<Ask> {
        if rng.random() {
            return ask("read", Value::Null);
        }
        self.next += 1;
        ask("write", json!(self.next))
    }

    fn act(
        &mut self,
        _rng: &mut ChaCha8Rng,
        _process: usize,
        ask: &Ask,
        _late: bool,
    ) -> Result<Value, &'static str> {
        if ask.f == "write" {
            self.written.extend(ask.input.as_u64());
            return Ok(ask.input.clone());
        }
        Ok(json!(self.written))
    }

    fn last(&mut self, number: usize) -> Option<Ask> {
        match number {
            0 | 1 => {
                self.next += 1;
                ask("write", json!(self.next))
            }
            2 => {
                if self.switch.strikes(0, true) {
                    let earlier = self.next - 1;
                    self.written.retain(|value| *value != earlier);
                }
                ask("read", Value::Null)
            }
            _ => None,
        }
    }

    fn struck(&self) -> bool {
        self.switch.struck
    }
}
