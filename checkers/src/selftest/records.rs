//! What is recorded of a run besides its history: what processes logged, and which faults there were.

use harness_core::{
    fault::{FaultRecord, NEVER_FIRED},
    history::History,
    meta::Meta,
    seed::Seed,
    verdict::Verdict,
};
use rand::{Rng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::{Bug, Family, Judge, Log, Made, each, families::bugs};

/// Nodes of a run, one log each.
const NODES: usize = 3;
/// Lines of a log.
const LINES: std::ops::Range<usize> = 20..80;

/// What healthy processes say, some of it under faults. `#` is a number.
const HEALTHY: [&str; 11] = [
    "Error: database is locked",
    "time=\"2026-01-05T07:#:04Z\" level=info msg=\"Started cluster heartbeat\" local=\"10.0.0.#:8443\"",
    "level=warning msg=\"Failed heartbeat\" err=\"Failed to send heartbeat request: dial tcp 10.0.0.#:8443: connect: connection refused\"",
    "level=warning msg=\"Dqlite: attempt #: server 10.0.0.#:8443: no known leader\"",
    "level=error msg=\"Failed to get leader cluster member address\" err=\"no available dqlite leader server found\"",
    "level=info msg=\"Received 'terminated signal', shutting down containers\"",
    "INFO: raft: log mismatch -> truncate (#)",
    "level=debug msg=\"Matched trusted cert\" fingerprint=9f2c subject=\"CN=root@n#,O=linuxcontainers.org\"",
    "[ #.0] audit: type=1400 apparmor=\"STATUS\" operation=\"profile_load\" name=\"panicle\"",
    "write /srv/x/data: No space left on device",
    "level=info msg=\"Assertions of joining members are asserted\" count=#",
];

/// What broken ones say, and what the checker calls it.
const BROKEN: [(&str, &[&str], &str); 9] = [
    (
        "assertion",
        &["assertion"],
        "lxd: src/membership.c:#: f: Assertion `i < n' failed.",
    ),
    ("data-race", &["data-race"], "WARNING: DATA RACE"),
    (
        "sanitizer",
        &["sanitizer"],
        "==#==ERROR: AddressSanitizer: heap-use-after-free on address 0x602000000010",
    ),
    (
        "fatal-signal",
        &["fatal-signal"],
        "SIGSEGV: segmentation violation code=0x1 addr=0x# pc=0x7f",
    ),
    (
        "go-runtime",
        &["go-runtime"],
        "fatal error: all goroutines are asleep - deadlock!",
    ),
    (
        "panic",
        &["panic"],
        "panic: runtime error: index out of range [#] with length #",
    ),
    ("heap", &["heap"], "free(): invalid pointer"),
    (
        "restart-failure",
        &["restart-failure"],
        "raft_start(): io: closed segment 0000000000000#-0000000000000# is past last snapshot snapshot-1-#-5",
    ),
    (
        "committed-conflict",
        &["committed-conflict"],
        "ERROR: raft: entry # conflicts with committed entry",
    ),
];

fn said(rng: &mut ChaCha8Rng, template: &str) -> String {
    let mut line = String::new();
    for (place, part) in template.split('#').enumerate() {
        if place > 0 {
            line.push_str(&rng.random_range(1..60).to_string());
        }
        line.push_str(part);
    }
    line
}

/// Logs of healthy processes. Bugs: a line of a broken one, as in [`BROKEN`].
pub(super) fn logs() -> Family {
    let bug = |(name, kinds, _): &(&'static str, &'static [&'static str], &str)| Bug {
        name,
        found_by: vec![("logs".to_owned(), *kinds)],
    };
    Family {
        results: each,
        name: "logs",
        judges: vec![Judge::new("logs", Value::Null)],
        bugs: BROKEN.iter().map(bug).collect(),
        make: Box::new(|seed, bug| {
            let mut rng = Seed(seed).stream("selftest logs").draw(0);
            let mut logs = Vec::new();
            for node in 1..=NODES {
                let count = rng.random_range(LINES);
                let lines = (0..count).filter_map(|_| {
                    let template = HEALTHY.choose(&mut rng)?;
                    Some(said(&mut rng, template))
                });
                logs.push((format!("n{node}"), lines.collect::<Vec<_>>()));
            }
            if let Some(bug) = bug {
                let (_, lines) = &mut logs[rng.random_range(0..NODES)];
                let at = rng.random_range(0..=lines.len());
                lines.insert(at, said(&mut rng, BROKEN[bug].2));
            }
            let log = |(node, lines): (String, Vec<String>)| Log {
                node,
                path: "daemon.log".to_owned(),
                bytes: lines.join("\n").into_bytes(),
            };
            Some(Made {
                logs: logs.into_iter().map(log).collect(),
                ..Made::of_history(History::default(), Meta::default())
            })
        }),
    }
}

/// Faults that can be asked for.
const KINDS: [&str; 6] = ["partition", "kill", "pause", "stop", "slow", "clock-skew"];
/// From one fault to the next, and how long each takes, nanoseconds.
const EVERY_NS: u64 = 5_000_000_000;
const TAKES_NS: u64 = 2_000_000_000;

/// One that was asked for, seen, and healed.
fn fault(id: u32, kind: &str) -> FaultRecord {
    let intended_ns = u64::from(id) * EVERY_NS;
    FaultRecord {
        id,
        kind: kind.to_owned(),
        label: format!("{kind} n1"),
        nodes: vec!["n1".to_owned()],
        planned: Some(id),
        heals: Vec::new(),
        triggered: None,
        intended_ns,
        asked_ns: Some(intended_ns + 1),
        observed_ns: Some(intended_ns + 2),
        heal_asked_ns: Some(intended_ns + TAKES_NS),
        healed_ns: Some(intended_ns + TAKES_NS + 1),
        self_healed: false,
        evidence: Vec::new(),
        problems: Vec::new(),
    }
}

/// One that earns nothing, if another of its kind does.
fn failed(rng: &mut ChaCha8Rng, id: u32, kind: &str) -> FaultRecord {
    FaultRecord {
        observed_ns: None,
        self_healed: rng.random_bool(0.5),
        ..fault(id, kind)
    }
}

/// Faults that were asked for, each kind of which was seen and healed at least once. Bugs: of one kind 0 none was injected, 1 none was
/// seen, 2 none was healed, 3 nodes healed all by themselves; 4 what one waited for never happened.
pub(super) fn faults() -> Family {
    const NOT_COVERED: super::families::Finders = &[("faults", &["not-covered"])];
    let names = [
        "not-injected",
        "not-seen",
        "not-healed",
        "self-healed",
        "never-fired",
    ];
    Family {
        results: each,
        name: "faults",
        judges: vec![Judge {
            says: Verdict::Unknown,
            ..Judge::new("faults", Value::Null)
        }],
        bugs: bugs(&names.map(|name| (name, NOT_COVERED))),
        make: Box::new(|seed, bug| {
            let mut rng = Seed(seed).stream("selftest faults").draw(0);
            let count = rng.random_range(1..=KINDS.len());
            let kinds: Vec<&str> = KINDS.choose_multiple(&mut rng, count).copied().collect();
            let broken = *kinds.choose(&mut rng)?;
            let mut faults: Vec<FaultRecord> = Vec::new();
            for kind in &kinds {
                let good = rng.random_range(1..3);
                let bad = rng.random_range(0..2);
                for place in 0..good + bad {
                    let id = faults.len() as u32 + 1;
                    let one = if place < good {
                        fault(id, kind)
                    } else {
                        failed(&mut rng, id, kind)
                    };
                    faults.push(one);
                }
            }
            let all = |faults: &mut Vec<FaultRecord>, harm: fn(&mut FaultRecord)| {
                let of_kind = faults.iter_mut().filter(|fault| fault.kind == broken);
                of_kind.for_each(harm);
            };
            match bug {
                Some(0) => faults.retain(|fault| fault.kind != broken),
                Some(1) => all(&mut faults, |fault| fault.observed_ns = None),
                Some(2) => all(&mut faults, |fault| fault.healed_ns = None),
                Some(3) => all(&mut faults, |fault| fault.self_healed = true),
                Some(_) => faults.push(FaultRecord {
                    asked_ns: None,
                    observed_ns: None,
                    heal_asked_ns: None,
                    healed_ns: None,
                    nodes: Vec::new(),
                    problems: vec![format!("{NEVER_FIRED}: nobody joined")],
                    ..fault(faults.len() as u32 + 1, broken)
                }),
                None => {}
            }
            let meta = Meta {
                nemesis: kinds.into_iter().map(str::to_owned).collect(),
                ..Meta::default()
            };
            Some(Made {
                faults,
                ..Made::of_history(History::default(), meta)
            })
        }),
    }
}
