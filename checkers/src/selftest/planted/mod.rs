//! Transactions of a clean history, and among them a few on keys of their own that show one anomaly.
//!
//! The clean transactions come from [`crate::generate`]. Those of the plant fall between them at random, in the second half, either all
//! open at once or one after another; so what is found rests on what they read, or on the order that the bug's name says.

mod table;

use harness_core::{
    event::{Event, EventType, OpError, Process},
    history::pair,
    meta::Meta,
    seed::Seed,
};
use rand::Rng;
use serde_json::{Value, json};

use super::{Bug, Family, Judge, Made, each};
use crate::generate::{self, Parameters, Workload};
use table::{LISTS, REGISTERS};

/// Clean transactions of a history, and keys of these.
const OPERATIONS: u64 = 150;
const KEYS: u64 = 3;
/// Keys and processes of the plant: above those of any clean transaction.
const OWN: u64 = 1_000_000;

/// One that reads or writes the first or second key of its own.
enum Step {
    /// Appends to a list, or writes a register.
    Writes(u64, u64),
    /// Reads a list.
    Lists(u64, &'static [u64]),
    /// Reads a register.
    Shows(u64, Option<u64>),
}

/// How transactions lie in time, and whose they are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    /// All open at once, each of a process of its own.
    AtOnce,
    /// One after another, of different processes.
    InTurn,
}

/// An anomaly, and the transactions that make it.
struct Plant {
    name: &'static str,
    /// So many of [`MODELS`] forbid it, and the kinds of witnesses that are right.
    models: (usize, &'static [&'static str]),
    /// The same of [`LEVELS`].
    levels: (usize, &'static [&'static str]),
    lie: Lie,
    /// So many failed, the first ones.
    failed: usize,
    txns: &'static [&'static [Step]],
}

/// What a transaction asks for, or with `known` what it was told.
fn value(steps: &[Step], write: &str, known: bool) -> Value {
    let told = |key: &u64, value: Value| {
        let value = if known { value } else { Value::Null };
        json!(["r", OWN + key, value])
    };
    steps
        .iter()
        .map(|step| match step {
            Step::Writes(key, value) => json!([write, OWN + key, value]),
            Step::Lists(key, values) => told(key, json!(values)),
            Step::Shows(key, value) => told(key, json!(value)),
        })
        .collect()
}

/// The plant's events, in order: process, kind, value.
fn events(plant: &Plant, write: &str) -> Vec<(u64, EventType, Value)> {
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    for (place, steps) in plant.txns.iter().enumerate() {
        let process = OWN + place as u64;
        begins.push((process, EventType::Invoke, value(steps, write, false)));
        ends.push(match place < plant.failed {
            true => (process, EventType::Fail, value(steps, write, false)),
            false => (process, EventType::Ok, value(steps, write, true)),
        });
    }
    match plant.lie {
        Lie::AtOnce => begins.into_iter().chain(ends).collect(),
        Lie::InTurn => {
            let pairs = begins.into_iter().zip(ends);
            pairs.flat_map(|(begin, end)| [begin, end]).collect()
        }
    }
}

fn made(seed: u64, workload: Workload, write: &str, plant: Option<&Plant>) -> Option<Made> {
    let parameters = Parameters {
        seed: Seed(seed),
        keys: KEYS,
        ..Parameters::new(workload, OPERATIONS)
    };
    let clean = generate::collect(&parameters).ok()?;
    let own = plant.map_or_else(Vec::new, |plant| events(plant, write));
    let mut rng = Seed(seed).stream("selftest planted").draw(0);
    let mut places: Vec<usize> = own
        .iter()
        .map(|_| rng.random_range(clean.len() / 2..clean.len()))
        .collect();
    places.sort_unstable();
    let mut own = places.into_iter().zip(own).peekable();
    let mut all: Vec<Event> = Vec::new();
    for (place, event) in clean.into_iter().enumerate() {
        let time_ns = event.time_ns;
        while let Some((_, (process, event_type, value))) = own.next_if(|(at, _)| *at == place) {
            all.push(Event {
                index: 0,
                time_ns,
                process: Process::Client(process),
                node: None,
                event_type,
                f: event.f.clone(),
                value,
                error: (event_type == EventType::Fail).then(|| OpError {
                    kind: "abort".to_owned(),
                    message: "simulated".to_owned(),
                }),
            });
        }
        all.push(event);
    }
    for (index, event) in (0..).zip(&mut all) {
        event.index = index;
    }
    Some(Made::of_history(
        pair(all).ok()?,
        Meta {
            workload_options: generate::workload_options(&parameters),
            ..Meta::default()
        },
    ))
}

/// Models, each of which forbids what the next one does and more.
const MODELS: [&str; 6] = [
    "strict-serializable",
    "serializable",
    "snapshot-isolation",
    "causal",
    "read-atomic",
    "read-committed",
];
/// Levels of weak isolation, likewise.
const LEVELS: [&str; 3] = ["causal", "read-atomic", "read-committed"];

/// Checkers of all models and all levels, if there is one.
type Checkers = (&'static str, Option<&'static str>);

fn judges((models, levels): Checkers) -> Vec<Judge> {
    let of_model = MODELS.iter().map(|model| Judge::of_model(models, model));
    let of_level = levels.into_iter().flat_map(|checker| {
        LEVELS
            .iter()
            .map(move |level| Judge::of_model(checker, level))
    });
    let mut judges: Vec<Judge> = of_model.chain(of_level).collect();
    judges.push(Judge::new("stats", Value::Null));
    judges
}

fn bug(plant: &Plant, judges: &[Judge], (_, levels): Checkers) -> Bug {
    let (forbidding, kinds) = plant.models;
    let finders = judges[..forbidding].iter().map(|judge| (judge, kinds));
    let (forbidding, kinds) = plant.levels;
    let of_level = judges.iter().filter(|judge| levels == Some(judge.checker));
    let finders = finders.chain(of_level.take(forbidding).map(|judge| (judge, kinds)));
    Bug {
        name: plant.name,
        found_by: finders
            .map(|(judge, kinds)| (judge.name.clone(), kinds))
            .collect(),
    }
}

fn family(
    name: &'static str,
    checkers: Checkers,
    (workload, write): (Workload, &'static str),
    plants: &'static [Plant],
) -> Family {
    let judges = judges(checkers);
    let bugs = plants.iter().map(|plant| bug(plant, &judges, checkers));
    Family {
        results: each,
        name,
        bugs: bugs.collect(),
        judges,
        make: Box::new(move |seed, bug| made(seed, workload, write, bug.map(|bug| &plants[bug]))),
    }
}

/// Transactions of reads and appends.
pub(super) fn lists() -> Family {
    let workload = (Workload::ListAppend, "append");
    family("list-append", ("append", None), workload, LISTS)
}

/// Transactions of reads and writes of registers.
pub(super) fn registers() -> Family {
    let checkers = ("rw-register", Some("weak-isolation"));
    family(
        "rw-register",
        checkers,
        (Workload::RwRegister, "w"),
        REGISTERS,
    )
}
