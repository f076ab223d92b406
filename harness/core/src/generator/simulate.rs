//! All of it without a system: a generator run in virtual time, for tests and for a look at what it would ask.
//!
//! Laws are the interpreter's: one operation a thread, an `info` retires a process (its thread goes on as process
//! number + thread count), completions before new invocations, time never goes back. Pure and deterministic.

use std::{cmp::Reverse, collections::BinaryHeap};

use serde_json::Value;

use super::{Context, Generator, Next, Op, ThreadSet};
use crate::event::{Event, EventType, Process};

/// How a simulated system answers.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    /// After so many nanoseconds.
    pub latency_ns: u64,
    /// How it ends; not `Invoke`.
    pub event_type: EventType,
    /// The result.
    pub value: Value,
}

/// How often in a row a generator may be asked in vain at one moment before it counts as stuck.
pub const VAIN_LIMIT: usize = 20;

/// How often in a row time may go on without anything beginning or ending before it counts as idle for ever: a cycle of
/// times whose generators have no thread, or nothing left to do, waits without end.
pub const IDLE_LIMIT: usize = 1000;

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Simulated {
    /// The events, with indices from 0.
    pub events: Vec<Event>,
    /// Virtual time at the end, in nanoseconds.
    pub end_ns: u64,
    /// Whether it ended because nothing could ever happen: the generator waits for an event and nothing is open, or
    /// it asks to be asked again at once, again and again, or it only lets time pass ([`IDLE_LIMIT`]).
    pub stuck: bool,
    /// Whether it ended because there were as many events as allowed.
    pub cut: bool,
}

/// Called with the generator at each asking, after `advance` and before anything is done with the answer.
pub type Inspect<'a> = &'a mut dyn FnMut(&dyn Generator, &Context<'_>, &Next);

/// An operation that is open, ordered by its end and then by the order of invocation.
type Open = Reverse<(u64, usize, usize)>;

/// Runs a generator on so many threads, until it is done and all is completed, or until `event_limit` events.
pub fn simulate(
    generator: &mut dyn Generator,
    threads: usize,
    event_limit: usize,
    respond: &mut dyn FnMut(&Op, u64) -> Response,
    inspect: Inspect<'_>,
) -> Simulated {
    let all = ThreadSet::first(threads);
    let mut machine = Machine {
        free: all.clone(),
        threads: all,
        turn: 0,
        processes: (0..threads as u64).collect(),
        open: BinaryHeap::new(),
        answers: vec![None; threads],
        sequence: 0,
        out: Simulated::default(),
    };
    let (mut vain, mut idle) = (0, 0);
    loop {
        let wake_ns = match machine.ask(generator, inspect) {
            _ if machine.out.events.len() >= event_limit => {
                machine.out.cut = true;
                return machine.out;
            }
            Next::Op(op) if op.time_ns <= machine.out.end_ns => {
                machine.invoke(generator, op, respond);
                (vain, idle) = (0, 0);
                continue;
            }
            Next::Op(op) => Some(op.time_ns),
            Next::Pending { until_ns } => until_ns,
            Next::Done if machine.open.is_empty() => return machine.out,
            Next::Done => None,
        };
        let end_ns = machine.open.peek().map(|Reverse((end_ns, ..))| *end_ns);
        match (end_ns, wake_ns) {
            (Some(end_ns), wake_ns) if wake_ns.is_none_or(|wake_ns| end_ns <= wake_ns) => {
                machine.complete(generator);
                (vain, idle) = (0, 0);
            }
            (_, Some(wake_ns)) if wake_ns > machine.out.end_ns && idle < IDLE_LIMIT => {
                machine.out.end_ns = wake_ns;
                idle += 1;
                vain = 0;
            }
            (_, Some(wake_ns)) if wake_ns <= machine.out.end_ns && vain < VAIN_LIMIT => vain += 1,
            (_, _) => {
                machine.out.stuck = true;
                return machine.out;
            }
        }
    }
}

struct Machine {
    threads: ThreadSet,
    free: ThreadSet,
    turn: usize,
    processes: Vec<u64>,
    open: BinaryHeap<Open>,
    answers: Vec<Option<(Response, Op)>>,
    sequence: usize,
    out: Simulated,
}

impl Machine {
    fn context(&self) -> Context<'_> {
        Context {
            time_ns: self.out.end_ns,
            free: &self.free,
            threads: &self.threads,
            turn: self.turn,
            processes: &self.processes,
        }
    }

    fn ask(&self, generator: &mut dyn Generator, inspect: Inspect<'_>) -> Next {
        let context = self.context();
        generator.advance(&context);
        let next = generator.peek(&context);
        inspect(generator, &context, &next);
        next
    }

    fn invoke(
        &mut self,
        generator: &mut dyn Generator,
        op: Op,
        respond: &mut dyn FnMut(&Op, u64) -> Response,
    ) {
        generator.commit(&self.context(), &op);
        let thread = op.thread;
        self.free.remove(thread);
        self.turn = (thread + 1) % self.processes.len();
        self.record(generator, thread, EventType::Invoke, &op, op.value.clone());
        let response = respond(&op, self.processes[thread]);
        let end_ns = self.out.end_ns.saturating_add(response.latency_ns);
        self.open.push(Reverse((end_ns, self.sequence, thread)));
        self.sequence += 1;
        self.answers[thread] = Some((response, op));
    }

    fn complete(&mut self, generator: &mut dyn Generator) {
        let Some(Reverse((end_ns, _, thread))) = self.open.pop() else {
            return;
        };
        let Some((response, op)) = self.answers[thread].take() else {
            return;
        };
        self.out.end_ns = self.out.end_ns.max(end_ns);
        self.free.insert(thread);
        self.record(generator, thread, response.event_type, &op, response.value);
        if response.event_type == EventType::Info {
            self.processes[thread] += self.processes.len() as u64;
        }
    }

    fn record(
        &mut self,
        generator: &mut dyn Generator,
        thread: usize,
        event_type: EventType,
        op: &Op,
        value: Value,
    ) {
        let event = Event {
            index: self.out.events.len() as u64,
            time_ns: self.out.end_ns,
            process: Process::Client(self.processes[thread]),
            node: None,
            event_type,
            f: op.f.clone(),
            value,
            error: None,
        };
        generator.update(&self.context(), thread, &event);
        self.out.events.push(event);
    }
}
