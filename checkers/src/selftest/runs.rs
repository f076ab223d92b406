//! Runs rather than histories: what nodes did after healing, and how their processes ended.

use harness_core::{
    event::{Event, EventType, OpError, Process},
    history::pair,
    meta::{Meta, NodeMeta, Phase, ProcessExit},
    seed::Seed,
};
use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{Family, Judge, Made, each, families::bugs};
use crate::availability::F;

/// Nodes of a run.
const NODES: usize = 5;
/// How soon each must serve, milliseconds.
const TIMEOUT_MS: u64 = 2_000;
/// From one attempt at a node to the next, and how long one takes, milliseconds.
const EVERY_MS: u64 = 100;
const TAKES_MS: u64 = 20;
/// When the last fault was healed, milliseconds.
const HEALED_MS: u64 = 5_000;
const MS: u64 = 1_000_000;

fn name(node: usize) -> String {
    format!("n{}", node + 1)
}

/// Attempts at each node until it serves. Bugs: 0 a node never does, 1 one does too late.
pub(super) fn availability() -> Family {
    Family {
        results: each,
        name: "availability",
        judges: vec![Judge::new("availability", Value::Null)],
        bugs: bugs(&[
            ("never-back", &[("availability", &["not-recovered"])]),
            ("back-late", &[("availability", &["not-recovered"])]),
        ]),
        make: Box::new(|seed, bug| {
            let mut rng = Seed(seed).stream("selftest availability").draw(0);
            let broken = bug.map(|bug| (rng.random_range(0..NODES), bug));
            let mut attempts = Vec::new();
            for node in 0..NODES {
                // The attempt that serves begins later by less than a period, and takes its time.
                let soon = rng.random_range(0..TIMEOUT_MS - EVERY_MS - TAKES_MS);
                let serves_ms = match broken {
                    Some((at, 0)) if at == node => None,
                    Some((at, _)) if at == node => Some(TIMEOUT_MS + soon),
                    _ => Some(soon),
                };
                let mut at_ms = rng.random_range(1..EVERY_MS);
                loop {
                    let serves = serves_ms.is_some_and(|serves| at_ms >= serves);
                    attempts.push((HEALED_MS + at_ms, node, EventType::Invoke));
                    let end = match serves {
                        true => EventType::Ok,
                        false => EventType::Fail,
                    };
                    attempts.push((HEALED_MS + at_ms + TAKES_MS, node, end));
                    if serves || at_ms > TIMEOUT_MS && serves_ms.is_none() {
                        break;
                    }
                    at_ms += EVERY_MS;
                }
            }
            attempts.sort_by_key(|(at_ms, node, _)| (*at_ms, *node));
            let events = (0..)
                .zip(attempts)
                .map(|(index, (at_ms, node, event_type))| Event {
                    index,
                    time_ns: at_ms * MS,
                    process: Process::Client(node as u64),
                    node: Some(name(node).into()),
                    event_type,
                    f: F.into(),
                    value: Value::Null,
                    error: (event_type == EventType::Fail).then(|| OpError {
                        kind: "refused".to_owned(),
                        message: "simulated".to_owned(),
                    }),
                });
            let live: Vec<String> = (0..NODES).map(name).collect();
            Some(Made::of_history(
                pair(events.collect::<Vec<_>>()).ok()?,
                Meta {
                    phases: vec![Phase {
                        name: "recover".to_owned(),
                        start_ns: (HEALED_MS * MS) as i64,
                        end_ns: None,
                    }],
                    workload_options: json!({"recovery_timeout_ms": TIMEOUT_MS, "live_nodes": live}),
                    ..Meta::default()
                },
            ))
        }),
    }
}

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// Signals by which a program ends itself, on Linux.
const OWN: [i32; 4] = [4, 6, 7, 11];

fn exit(rng: &mut ChaCha8Rng, signal: Option<i32>, code: Option<i32>) -> ProcessExit {
    ProcessExit {
        pid: rng.random_range(1_000..30_000),
        code,
        signal,
        core: false,
        wall_ns: rng.random_range(1..HEALED_MS * MS),
        expected: false,
    }
}

/// Processes that are stopped by faults. Bugs: 0 one ends itself, 1 one exits, 2 somebody kills one, 3 a stopped one leaves a core dump, 4 one lies about.
pub(super) fn crashes() -> Family {
    Family {
        results: each,
        name: "crashes",
        judges: vec![Judge::new("crashes", Value::Null)],
        bugs: bugs(&[
            ("own-signal", &[("crashes", &["crash"])]),
            ("exit-code", &[("crashes", &["exit"])]),
            ("unasked-kill", &[("crashes", &["killed"])]),
            ("core-on-stop", &[("crashes", &["crash"])]),
            ("core-dump", &[("crashes", &["core-dump"])]),
        ]),
        make: Box::new(|seed, bug| {
            let mut rng = Seed(seed).stream("selftest crashes").draw(0);
            let mut nodes: Vec<NodeMeta> = (0..NODES)
                .map(|node| {
                    let exits = (0..rng.random_range(0..3))
                        .map(|_| {
                            let signal = [SIGKILL, SIGTERM].choose(&mut rng).copied();
                            ProcessExit {
                                expected: true,
                                ..exit(&mut rng, signal, None)
                            }
                        })
                        .collect();
                    NodeMeta {
                        name: name(node),
                        exits,
                        cores_visible: Some(true),
                        ..NodeMeta::default()
                    }
                })
                .collect();
            let broken = &mut nodes[rng.random_range(0..NODES)];
            let own = OWN.choose(&mut rng).copied();
            match bug {
                Some(0) => broken.exits.push(exit(&mut rng, own, None)),
                Some(1) => {
                    let code = rng.random_range(1..100);
                    broken.exits.push(exit(&mut rng, None, Some(code)));
                }
                Some(2) => broken.exits.push(exit(&mut rng, Some(SIGKILL), None)),
                Some(3) => {
                    let stopped = exit(&mut rng, Some(SIGTERM), None);
                    broken.exits.push(ProcessExit {
                        core: true,
                        expected: true,
                        ..stopped
                    });
                }
                Some(_) => broken.core_dumps.push("/var/crash/core.dqlite".to_owned()),
                None => {}
            }
            Some(Made::of_history(
                pair(Vec::new()).ok()?,
                Meta {
                    nodes,
                    ..Meta::default()
                },
            ))
        }),
    }
}
