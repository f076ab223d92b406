//! Which histories there are, with which bugs, and who must find them.

use std::collections::VecDeque;

use harness_core::{history::pair, meta::Meta, seed::Seed};
use serde_json::{Value, json};

use super::{
    Bug, Family, Judge, Made, each, membership, planted, records, runs,
    toys::{Counter, Fork, Ids, Lock, Queue, Reverse, Switch},
    world::{self, Toy},
};
use crate::generate::{self, Parameters, Plant, Workload};

/// Operations of a generated history.
const OPERATIONS: u64 = 150;
/// Keys of one.
const KEYS: u64 = 3;

fn toy<T: Toy>(
    make: impl Fn(Switch) -> T + 'static,
) -> Box<dyn Fn(u64, Option<usize>) -> Option<Made>> {
    Box::new(move |seed, bug| {
        let mut toy = make(Switch::new(bug));
        let events = world::history(seed, &mut toy);
        if bug.is_some() && !toy.struck() {
            return None;
        }
        Some(Made::of_history(pair(events).ok()?, Meta::default()))
    })
}

fn generated(
    workload: Workload,
    plants: &'static [Plant],
) -> Box<dyn Fn(u64, Option<usize>) -> Option<Made>> {
    Box::new(move |seed, bug| {
        let parameters = Parameters {
            seed: Seed(seed),
            plant: bug.map(|bug| plants[bug]),
            keys: KEYS,
            ..Parameters::new(workload, OPERATIONS)
        };
        let mut events = Vec::new();
        let planted = generate::generate(&parameters, |event| events.push(event)).ok()?;
        if bug.is_some() && !planted {
            return None;
        }
        Some(Made::of_history(
            pair(events).ok()?,
            Meta {
                workload_options: generate::workload_options(&parameters),
                ..Meta::default()
            },
        ))
    })
}

pub(super) type Finders = &'static [(&'static str, &'static [&'static str])];

pub(super) fn bugs(all: &[(&'static str, Finders)]) -> Vec<Bug> {
    all.iter()
        .map(|(name, found_by)| Bug {
            name,
            found_by: found_by
                .iter()
                .map(|(judge, kinds)| ((*judge).to_owned(), *kinds))
                .collect(),
        })
        .collect()
}

const STALE: &[&str] = &[
    "stale-read",
    "lost-write",
    "cas-should-have-failed",
    "not-linearizable",
];
const ANY: &[&str] = &[];

/// All families.
#[must_use]
pub fn families() -> Vec<Family> {
    let mut all = objects();
    all.extend([
        planted::lists(),
        planted::registers(),
        runs::availability(),
        runs::crashes(),
        records::logs(),
        records::faults(),
        membership::family(),
    ]);
    all
}

fn objects() -> Vec<Family> {
    let cell_plants: &'static [Plant] = &[Plant::StaleRead, Plant::LostWrite];
    let cell_bugs = || {
        bugs(&[
            ("stale-read", &[("linearizable", STALE)]),
            ("lost-write", &[("linearizable", STALE)]),
        ])
    };
    let cells = |name, workload, model: &str| Family {
        results: each,
        name,
        judges: vec![
            Judge::new("linearizable", json!({"model": model})),
            Judge::new("stats", Value::Null),
        ],
        bugs: cell_bugs(),
        make: generated(workload, cell_plants),
    };
    let queue_bugs: [(&'static str, Finders); 4] = [
        (
            "lost-element",
            &[("total-queue", &["lost"]), ("fifo-queue", ANY)],
        ),
        (
            "delivered-twice",
            &[("total-queue", &["duplicated"]), ("fifo-queue", ANY)],
        ),
        (
            "from-nowhere",
            &[("total-queue", &["unexpected"]), ("fifo-queue", ANY)],
        ),
        ("overtaken", &[("fifo-queue", ANY)]),
    ];
    vec![
        cells("register", Workload::Register, "register"),
        cells("cas-register", Workload::CasRegister, "cas-register"),
        cells("key-value", Workload::KeyValue, "key-value"),
        Family {
            results: each,
            name: "set",
            judges: Judge::all(&["set-full"]),
            bugs: bugs(&[
                ("lost-element", &[("set-full", &["lost"])]),
                ("duplicate-element", &[("set-full", &["duplicated"])]),
            ]),
            make: generated(
                Workload::Set,
                &[Plant::LostElement, Plant::DuplicateElement],
            ),
        },
        Family {
            results: each,
            name: "bank",
            judges: Judge::all(&["bank"]),
            bugs: bugs(&[("broken-total", &[("bank", &["wrong-total"])])]),
            make: generated(Workload::Bank, &[Plant::BrokenTotal]),
        },
        Family {
            results: each,
            name: "counter",
            judges: Judge::all(&["counter"]),
            bugs: bugs(&[
                ("forgotten-add", &[("counter", &["out-of-bounds"])]),
                ("double-add", &[("counter", &["out-of-bounds"])]),
            ]),
            make: toy(|switch| Counter { switch, sum: 0 }),
        },
        Family {
            results: each,
            name: "unique-ids",
            judges: Judge::all(&["unique-ids"]),
            bugs: bugs(&[("reused-id", &[("unique-ids", &["duplicated"])])]),
            make: toy(|switch| Ids { switch, next: 0 }),
        },
        Family {
            results: each,
            name: "queue",
            judges: Judge::all(&["total-queue", "fifo-queue"]),
            bugs: bugs(&queue_bugs),
            make: toy(|switch| Queue {
                switch,
                held: VecDeque::new(),
                next: 0,
                emptied: false,
            }),
        },
        Family {
            results: each,
            name: "lock",
            judges: vec![
                Judge::new("lock", Value::Null),
                Judge::new("linearizable", json!({"model": "owned-mutex"})),
                Judge::new("stats", Value::Null),
            ],
            bugs: bugs(&[(
                "two-owners",
                &[("lock", &["two-owners"]), ("linearizable", ANY)],
            )]),
            make: toy(|switch| Lock {
                switch,
                owner: None,
                has: Vec::new(),
                robbed: None,
            }),
        },
        Family {
            results: each,
            name: "long-fork",
            judges: Judge::all(&["long-fork"]),
            bugs: bugs(&[("fork", &[("long-fork", &["long-fork"])])]),
            make: toy(|switch| Fork {
                switch,
                written: Vec::new(),
                next: 0,
            }),
        },
        Family {
            results: each,
            name: "causal-reverse",
            judges: Judge::all(&["causal-reverse"]),
            bugs: bugs(&[("reversed", &[("causal-reverse", &["causal-reverse"])])]),
            make: toy(|switch| Reverse {
                switch,
                written: Vec::new(),
                next: 0,
            }),
        },
    ]
}
