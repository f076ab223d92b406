//! Which histories there are, with which bugs, and who must find them.

use std::collections::VecDeque;

use harness_core::{history::pair, seed::Seed};
use serde_json::{Value, json};

use super::{
    Bug, Family, Made,
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
        Some(Made {
            history: pair(events).ok()?,
            workload_options: json!({}),
        })
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
        Some(Made {
            history: pair(events).ok()?,
            workload_options: generate::workload_options(&parameters),
        })
    })
}

type Finders = &'static [(&'static str, &'static [&'static str])];

fn bugs(all: &[(&'static str, Finders)]) -> Vec<Bug> {
    all.iter()
        .map(|(name, found_by)| Bug {
            name,
            found_by: found_by.to_vec(),
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
    let cell_plants: &'static [Plant] = &[Plant::StaleRead, Plant::LostWrite];
    let cell_bugs = || {
        bugs(&[
            ("stale-read", &[("linearizable", STALE)]),
            ("lost-write", &[("linearizable", STALE)]),
        ])
    };
    let cells = |name, workload, model: &str| Family {
        name,
        judges: vec![
            ("linearizable", json!({"model": model})),
            ("stats", Value::Null),
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
            name: "set",
            judges: vec![("set-full", Value::Null), ("stats", Value::Null)],
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
            name: "bank",
            judges: vec![("bank", Value::Null), ("stats", Value::Null)],
            bugs: bugs(&[("broken-total", &[("bank", &["wrong-total"])])]),
            make: generated(Workload::Bank, &[Plant::BrokenTotal]),
        },
        Family {
            name: "list-append",
            judges: vec![("append", Value::Null), ("stats", Value::Null)],
            bugs: bugs(&[("lost-append", &[("append", ANY)])]),
            make: generated(Workload::ListAppend, &[Plant::LostAppend]),
        },
        Family {
            name: "counter",
            judges: vec![("counter", Value::Null), ("stats", Value::Null)],
            bugs: bugs(&[
                ("forgotten-add", &[("counter", &["out-of-bounds"])]),
                ("double-add", &[("counter", &["out-of-bounds"])]),
            ]),
            make: toy(|switch| Counter { switch, sum: 0 }),
        },
        Family {
            name: "unique-ids",
            judges: vec![("unique-ids", Value::Null), ("stats", Value::Null)],
            bugs: bugs(&[("reused-id", &[("unique-ids", &["duplicated"])])]),
            make: toy(|switch| Ids { switch, next: 0 }),
        },
        Family {
            name: "queue",
            judges: vec![
                ("total-queue", Value::Null),
                ("fifo-queue", Value::Null),
                ("stats", Value::Null),
            ],
            bugs: bugs(&queue_bugs),
            make: toy(|switch| Queue {
                switch,
                held: VecDeque::new(),
                next: 0,
                emptied: false,
            }),
        },
        Family {
            name: "lock",
            judges: vec![
                ("lock", Value::Null),
                ("linearizable", json!({"model": "owned-mutex"})),
                ("stats", Value::Null),
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
            name: "long-fork",
            judges: vec![("long-fork", Value::Null), ("stats", Value::Null)],
            bugs: bugs(&[("fork", &[("long-fork", &["long-fork"])])]),
            make: toy(|switch| Fork {
                switch,
                written: Vec::new(),
                next: 0,
            }),
        },
        Family {
            name: "causal-reverse",
            judges: vec![("causal-reverse", Value::Null), ("stats", Value::Null)],
            bugs: bugs(&[("reversed", &[("causal-reverse", &["causal-reverse"])])]),
            make: toy(|switch| Reverse {
                switch,
                written: Vec::new(),
                next: 0,
            }),
        },
    ]
}
