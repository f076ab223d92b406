//! Histories out of nothing: the same parameters and seed give the same history, to the byte.
//!
//! A made-up object is used by made-up processes. At each step one process, drawn at random, goes on: it invokes, takes
//! effect, or completes.
//!
//! ```text
//! p0   ├── invoke ── takes effect ── ok ──┤
//! p1        ├── invoke ──── takes effect ─────── ok ──┤
//! ```
//!
//! Operations take effect one at a time between their invocation and their completion, so that every history is
//! linearizable (and strictly serializable) by construction, unless an anomaly is [planted](Plant). Events are handed out
//! one by one: memory follows processes and the object, not the length of the history. This is a simulation, and no
//! statement about any system.

mod store;

use std::sync::Arc;

use harness_core::{
    event::{Event, EventType, OpError, Process},
    seed::Seed,
};
use rand::Rng;
use serde_json::{Value, json};
use thiserror::Error;

use store::{Effect, Moment, Store};

/// What is simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// Read and write, `[key, value]`.
    Register,
    /// Read, write and compare-and-set, `[key, value]`.
    CasRegister,
    /// Get, put and append of text, `[key, text]`.
    KeyValue,
    /// Add, and reads of the whole set at the end.
    Set,
    /// Transfer, and reads of all accounts.
    Bank,
    /// Transactions of reads and appends to lists.
    ListAppend,
    /// Transactions of reads and writes of registers.
    RwRegister,
}

impl Workload {
    /// Names for the command line.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Register, "register"),
        (Self::CasRegister, "cas-register"),
        (Self::KeyValue, "key-value"),
        (Self::Set, "set"),
        (Self::Bank, "bank"),
        (Self::ListAppend, "list-append"),
        (Self::RwRegister, "rw-register"),
    ];

    /// The workload of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(workload, _)| *workload)
    }
}

/// An anomaly to plant: once, near the middle (sets: visible in the last reads), if nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A read returns a value that had been overwritten before it began. Registers, key-value.
    StaleRead,
    /// A write is acknowledged and forgotten, and then read. Registers, key-value.
    LostWrite,
    /// An acknowledged element disappears. Sets.
    LostElement,
    /// An element is read twice in one read. Sets.
    DuplicateElement,
    /// A read shows a transfer's one half. Bank.
    BrokenTotal,
    /// An acknowledged append is never seen by later transactions. List-append.
    LostAppend,
    /// From the first hundredth on, transactions that only read are answered as of then, again and again. Serializable,
    /// and nearly all transactions lie on one circle of real time. List-append.
    OldSnapshot,
}

impl Plant {
    /// Names for the command line.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::StaleRead, "stale-read"),
        (Self::LostWrite, "lost-write"),
        (Self::LostElement, "lost-element"),
        (Self::DuplicateElement, "duplicate-element"),
        (Self::BrokenTotal, "broken-total"),
        (Self::LostAppend, "lost-append"),
        (Self::OldSnapshot, "old-snapshot"),
    ];

    /// The anomaly of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(plant, _)| *plant)
    }

    fn fits(self, workload: Workload) -> bool {
        match self {
            Self::StaleRead | Self::LostWrite => {
                matches!(
                    workload,
                    Workload::Register | Workload::CasRegister | Workload::KeyValue
                )
            }
            Self::LostElement | Self::DuplicateElement => workload == Workload::Set,
            Self::BrokenTotal => workload == Workload::Bank,
            Self::LostAppend | Self::OldSnapshot => workload == Workload::ListAppend,
        }
    }
}

/// What to make. [`Parameters::new`] has defaults for all but the first two.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// What is simulated.
    pub workload: Workload,
    /// Number of operations.
    pub operations: u64,
    /// Processes at work at once.
    pub processes: u64,
    /// Keys, or accounts; for list-append: keys in use at once.
    pub keys: u64,
    /// The seed.
    pub seed: Seed,
    /// Share of reads, 0 to 1. In transactions: of micro-operations.
    pub reads: f64,
    /// Values that are written; 0: each write has a value of its own.
    pub values: u64,
    /// Share of operations whose outcome is not known.
    pub info: f64,
    /// Share of operations that fail.
    pub fail: f64,
    /// Appends to a list before another key takes its place.
    pub appends_per_key: u64,
    /// The smallest number of micro-operations of a transaction.
    pub transaction_min: u64,
    /// The largest number of micro-operations of a transaction.
    pub transaction_max: u64,
    /// Nodes that processes are bound to in turn, `n1` to `n…`; 0: none are named.
    pub nodes: u64,
    /// The anomaly to plant.
    pub plant: Option<Plant>,
}

impl Parameters {
    /// 10 processes, 10 keys, seed 1, half reads, values of their own, 1 % info, 1 % fail.
    #[must_use]
    pub fn new(workload: Workload, operations: u64) -> Self {
        Self {
            workload,
            operations,
            processes: 10,
            keys: 10,
            seed: Seed(1),
            reads: 0.5,
            values: 0,
            info: 0.01,
            fail: 0.01,
            appends_per_key: 32,
            transaction_min: 1,
            transaction_max: 4,
            nodes: 0,
            plant: None,
        }
    }
}

/// Why nothing can be made.
#[derive(Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum GenerateError {
    /// A number that must be at least one.
    #[error("{what} must be at least 1")]
    Zero {
        /// Which.
        what: &'static str,
    },
    /// A number of things that are all held in memory.
    #[error("{what} must be at most {LIMIT}")]
    Large {
        /// Which.
        what: &'static str,
    },
    /// A share that is none.
    #[error("the share of {what} must be between 0 and 1")]
    Share {
        /// Of which operations.
        what: &'static str,
    },
    /// No transaction can be as small as that and as large as that.
    #[error("the smallest number of micro-operations of a transaction is above the largest")]
    Transaction,
    /// The anomaly is another workload's.
    #[error("this anomaly cannot be planted in this workload")]
    Plant,
    /// Planted anomalies need values of their own, or something might explain them.
    #[error("a planted anomaly needs each write to have a value of its own (values 0)")]
    PlantValues,
}

/// The largest number of processes, keys, nodes, and micro-operations of a transaction.
const LIMIT: u64 = 10_000_000;

/// Old lists are forgotten each time so many operations were invoked.
const PRUNE_EVERY: u64 = 1_024;

/// One operation on its way.
struct Open {
    f: &'static str,
    input: Value,
    output: Value,
    event_type: EventType,
    error: Option<OpError>,
    applied: bool,
    invoked: u64,
    effect: Effect,
}

struct Actor {
    process: u64,
    node: Option<Arc<str>>,
    open: Option<Open>,
}

/// Makes a history, event by event. Returns whether the anomaly, if one was asked for, was planted.
pub fn generate(
    parameters: &Parameters,
    mut each: impl FnMut(Event),
) -> Result<bool, GenerateError> {
    check(parameters)?;
    let mut rng = parameters.seed.stream("generate").draw(0);
    let mut store = Store::new(parameters);
    let names: Vec<Arc<str>> = (1..=parameters.nodes)
        .map(|node| Arc::from(format!("n{node}")))
        .collect();
    let mut actors: Vec<Actor> = (0..parameters.processes)
        .map(|process| Actor {
            process,
            node: (!names.is_empty()).then(|| Arc::clone(&names[process as usize % names.len()])),
            open: None,
        })
        .collect();
    let mut f_names: Vec<(&'static str, Arc<str>)> = Vec::new();
    let mut next_process = parameters.processes;
    let (mut index, mut time_ns, mut invoked) = (0_u64, 0_u64, 0_u64);
    let mut finals = if parameters.workload == Workload::Set {
        parameters.processes
    } else {
        0
    };
    let mut emit = |index: &mut u64,
                    actor: &Actor,
                    event_type,
                    f: &'static str,
                    value: Value,
                    error,
                    time_ns: u64| {
        let f = match f_names.iter().find(|(known, _)| *known == f) {
            Some((_, shared)) => Arc::clone(shared),
            None => {
                f_names.push((f, Arc::from(f)));
                Arc::from(f)
            }
        };
        each(Event {
            index: *index,
            time_ns,
            process: Process::Client(actor.process),
            node: actor.node.clone(),
            event_type,
            f,
            value,
            error,
        });
        *index += 1;
    };
    loop {
        let at = rng.random_range(0..actors.len());
        time_ns += rng.random_range(1_000..40_000);
        let busy = actors.iter().any(|actor| actor.open.is_some());
        let drained = invoked >= parameters.operations;
        let actor = &mut actors[at];
        let Some(open) = &mut actor.open else {
            let operation = if !drained {
                store.invoke(parameters, &mut rng, invoked)
            } else if finals > 0 && !(busy && finals == parameters.processes) {
                finals -= 1;
                Some(("read", Value::Null))
            } else if !busy && finals == 0 {
                return Ok(parameters.plant.is_none() || store.planted());
            } else {
                None
            };
            let Some((f, input)) = operation else {
                continue;
            };
            invoked += 1;
            if invoked.is_multiple_of(PRUNE_EVERY) {
                store.prune(
                    actors
                        .iter()
                        .filter_map(|actor| actor.open.as_ref())
                        .map(|open| &open.input)
                        .chain([&input]),
                );
            }
            let actor = &mut actors[at];
            emit(
                &mut index,
                actor,
                EventType::Invoke,
                f,
                input.clone(),
                None,
                time_ns,
            );
            actor.open = Some(Open {
                f,
                input,
                output: Value::Null,
                event_type: EventType::Ok,
                error: None,
                applied: false,
                invoked: index - 1,
                effect: Effect::default(),
            });
            continue;
        };
        if !open.applied {
            open.applied = true;
            apply(parameters, &mut rng, &mut store, open, drained);
            continue;
        }
        let Some(open) = actor.open.take() else {
            continue;
        };
        let retire = open.event_type == EventType::Info;
        store.complete(&open.effect, open.event_type, index);
        emit(
            &mut index,
            actor,
            open.event_type,
            open.f,
            open.output,
            open.error,
            time_ns,
        );
        if retire {
            actor.process = next_process;
            next_process += 1;
        }
    }
}

fn check(parameters: &Parameters) -> Result<(), GenerateError> {
    for (number, what) in [
        (parameters.processes, "processes"),
        (parameters.keys, "keys"),
        (parameters.appends_per_key, "appends per key"),
        (parameters.transaction_min, "micro-operations a transaction"),
    ] {
        if number == 0 {
            return Err(GenerateError::Zero { what });
        }
    }
    for (number, what) in [
        (parameters.processes, "processes"),
        (parameters.keys, "keys"),
        (parameters.nodes, "nodes"),
        (parameters.transaction_max, "micro-operations a transaction"),
    ] {
        if number > LIMIT {
            return Err(GenerateError::Large { what });
        }
    }
    for (share, what) in [
        (parameters.reads, "reads"),
        (parameters.info, "operations with an unknown outcome"),
        (parameters.fail, "operations that fail"),
    ] {
        if !(0.0..=1.0).contains(&share) {
            return Err(GenerateError::Share { what });
        }
    }
    if parameters.transaction_min > parameters.transaction_max {
        return Err(GenerateError::Transaction);
    }
    match parameters.plant {
        Some(plant) if !plant.fits(parameters.workload) => Err(GenerateError::Plant),
        Some(Plant::StaleRead | Plant::LostWrite) if parameters.values != 0 => {
            Err(GenerateError::PlantValues)
        }
        _ => Ok(()),
    }
}

/// The operation takes effect, or its failure or loss of an answer is drawn.
fn apply(
    parameters: &Parameters,
    rng: &mut impl Rng,
    store: &mut Store,
    open: &mut Open,
    last_reads: bool,
) {
    let moment = Moment {
        invoked: open.invoked,
        may_lie: true,
    };
    let draw: f64 = rng.random();
    let spared = last_reads || store.is_reserved(&open.input);
    if !spared && draw < parameters.fail {
        open.event_type = EventType::Fail;
        open.output = open.input.clone();
        open.error = Some(OpError {
            kind: "busy".to_owned(),
            message: "simulated".to_owned(),
        });
        store.forget(&open.input);
        return;
    }
    if !spared && draw < parameters.fail + parameters.info {
        open.event_type = EventType::Info;
        open.error = Some(OpError {
            kind: "timeout".to_owned(),
            message: "simulated".to_owned(),
        });
        let took_effect: bool = rng.random();
        if took_effect {
            // Nobody sees its result.
            let unseen = Moment {
                may_lie: false,
                ..moment
            };
            drop(store.apply(parameters, rng, (open.f, &open.input), unseen));
        }
        store.forget(&open.input);
        open.output = open.input.clone();
        return;
    }
    match store.apply(parameters, rng, (open.f, &open.input), moment) {
        Ok((output, effect)) => {
            open.output = output;
            open.effect = effect;
        }
        Err(kind) => {
            open.event_type = EventType::Fail;
            open.output = open.input.clone();
            open.error = Some(OpError {
                kind: kind.to_owned(),
                message: "simulated".to_owned(),
            });
            store.forget(&open.input);
        }
    }
}

/// All events of a history, for those that are small.
pub fn collect(parameters: &Parameters) -> Result<Vec<Event>, GenerateError> {
    let mut events = Vec::new();
    generate(parameters, |event| events.push(event))?;
    Ok(events)
}

/// What checkers need to know of it, as `meta.workload_options`.
#[must_use]
pub fn workload_options(parameters: &Parameters) -> Value {
    match parameters.workload {
        Workload::Bank => {
            let accounts: Vec<u64> = (0..parameters.keys).collect();
            json!({"total": parameters.keys * store::OPENING_BALANCE, "accounts": accounts, "allow_negative": false})
        }
        _ => json!({}),
    }
}
