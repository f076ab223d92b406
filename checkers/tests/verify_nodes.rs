//! The independent verifier on what is said of nodes, processes and objects whose answers depend on who asks: what is so is confirmed, and
//! each part of a claim that is not so is refuted.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod common;

use common::judge;
use harness_checkers::{
    registry,
    verify::{Finding, verify},
};
use harness_core::{
    event::{Event, EventType, Process},
    history::{History, pair},
    meta::{Meta, NodeMeta, Phase, ProcessExit},
    verdict::{CheckInput, CheckResult, LogText, Unlimited},
};
use serde_json::{Value, json};

const MS: u64 = 1_000_000;
const HEALED_MS: u64 = 1_000;
const LIMIT_MS: u64 = 500;

fn event(
    at_ms: u64,
    process: u64,
    node: Option<&str>,
    f: &str,
    event_type: EventType,
    value: Value,
) -> Event {
    Event {
        index: 0,
        time_ns: at_ms * MS,
        process: Process::Client(process),
        node: node.map(Into::into),
        event_type,
        f: f.into(),
        value,
        error: None,
    }
}

fn history(mut events: Vec<Event>) -> History {
    for (index, event) in (0..).zip(&mut events) {
        event.index = index;
    }
    pair(events).unwrap()
}

/// Attempts at a node: when each ended after healing, and whether it served.
fn attempts(of: &[(&'static str, &[(u64, bool)])]) -> (History, Meta) {
    let mut events = Vec::new();
    for (process, (node, ends)) in (0..).zip(of) {
        for (after_ms, served) in *ends {
            let end = match served {
                true => EventType::Ok,
                false => EventType::Fail,
            };
            let at_ms = HEALED_MS + after_ms;
            let of = |at_ms, kind| {
                event(
                    at_ms,
                    process,
                    Some(node),
                    "availability",
                    kind,
                    Value::Null,
                )
            };
            events.extend([of(at_ms - 10, EventType::Invoke), of(at_ms, end)]);
        }
    }
    let meta = Meta {
        phases: vec![Phase {
            name: "recover".to_owned(),
            start_ns: i64::try_from(HEALED_MS * MS).unwrap(),
            end_ns: None,
        }],
        workload_options: json!({"recovery_timeout_ms": LIMIT_MS, "live_nodes": ["n1", "n2", "n3"]}),
        ..Meta::default()
    };
    (history(events), meta)
}

fn told(history: &History, meta: &Meta, checker: &str, options: &Value) -> CheckResult {
    judge(
        &*registry::checker(checker, options).unwrap(),
        history,
        meta,
    )
}

fn findings(history: &History, meta: &Meta, options: &Value, result: &CheckResult) -> Vec<Finding> {
    verify(options, &CheckInput::of_history(history, meta), result)
}

#[test]
fn a_node_that_did_not_come_back_did_not() {
    let never: &[(u64, bool)] = &[(100, false), (400, false), (520, false)];
    let late = &[(100, false), (480, false), (600, true)];
    let soon = &[(100, false), (480, true)];
    let (real, meta) = attempts(&[("n1", never), ("n2", late), ("n3", soon)]);
    let result = told(&real, &meta, "availability", &Value::Null);
    assert_eq!(result.witnesses.len(), 2);
    let confirmed = vec![Finding::Confirmed; 2];
    assert_eq!(findings(&real, &meta, &Value::Null, &result), confirmed);
    // The same said of a run in which one thing is otherwise.
    let refuted = |of: &[(&'static str, &[(u64, bool)])], change: fn(&mut Meta)| {
        let (history, mut meta) = attempts(of);
        change(&mut meta);
        let said = findings(&history, &meta, &Value::Null, &result);
        assert!(matches!(said[0], Finding::Refuted(_)), "{said:?}");
    };
    let nothing = |_: &mut Meta| {};
    refuted(&[("n1", soon)], nothing);
    refuted(&[("n1", &[(100, false), (400, false)])], nothing);
    refuted(&[("n2", never)], nothing);
    refuted(&[("n1", never)], |meta| meta.phases.clear());
    refuted(&[("n1", never)], |meta| {
        meta.workload_options["live_nodes"] = json!(["n2"])
    });
    refuted(&[("n1", never)], |meta| {
        meta.workload_options["recovery_timeout_ms"] = json!(5000)
    });
    // What the checker was told counts before what is stored.
    let patient = json!({"recovery_timeout_ms": 5000});
    let said = findings(&real, &meta, &patient, &result);
    assert!(matches!(said[0], Finding::Refuted(_)), "{said:?}");
}

fn exit(signal: Option<i32>, code: Option<i32>, core: bool, expected: bool) -> ProcessExit {
    ProcessExit {
        pid: 812,
        code,
        signal,
        core,
        wall_ns: 7 * MS,
        expected,
    }
}

fn ended(exit: ProcessExit, core_dumps: &[&str]) -> Meta {
    let node = NodeMeta {
        name: "n1".to_owned(),
        exits: vec![exit],
        core_dumps: core_dumps.iter().map(|path| (*path).to_owned()).collect(),
        cores_visible: Some(true),
        ..NodeMeta::default()
    };
    Meta {
        nodes: vec![node],
        ..Meta::default()
    }
}

#[test]
fn who_died_by_himself_did() {
    let none = history(Vec::new());
    let politely = exit(None, Some(0), false, false);
    let guilty = [
        exit(Some(11), None, true, false),
        exit(Some(6), None, false, false),
        exit(Some(15), None, true, true),
        exit(Some(9), None, false, false),
        exit(Some(15), None, false, false),
        exit(None, Some(2), false, false),
        exit(None, None, false, false),
    ];
    for exit in &guilty {
        let meta = ended(exit.clone(), &["/var/crash/core.1"]);
        let result = told(&none, &meta, "crashes", &Value::Null);
        let said = findings(&none, &meta, &Value::Null, &result);
        assert_eq!(said, vec![Finding::Confirmed; 2], "{exit:?}");
        // The same said of who left politely, of another process, another time, another node, and of other files.
        let lies = [
            ended(politely.clone(), &[]),
            ended(
                ProcessExit {
                    pid: 813,
                    ..exit.clone()
                },
                &["/var/crash/core.2"],
            ),
            ended(
                ProcessExit {
                    wall_ns: 8 * MS,
                    ..exit.clone()
                },
                &[],
            ),
            Meta::default(),
        ];
        for lie in lies {
            let said = findings(&none, &lie, &Value::Null, &result);
            let refuted = said.iter().all(|one| matches!(one, Finding::Refuted(_)));
            assert!(refuted, "{exit:?} {said:?}");
        }
        // And as another kind of death.
        for kind in ["crash", "killed", "exit"] {
            let mut other = result.clone();
            if other.witnesses[0].kind != kind {
                other.witnesses[0].kind = kind.to_owned();
                let said = findings(&none, &meta, &Value::Null, &other);
                assert!(matches!(said[0], Finding::Refuted(_)), "{exit:?} {kind}");
            }
        }
    }
    // Of who was stopped because somebody wanted it.
    let wanted = ended(exit(Some(9), None, false, true), &[]);
    let killed = ended(exit(Some(9), None, false, false), &[]);
    let result = told(&none, &killed, "crashes", &Value::Null);
    let said = findings(&none, &wanted, &Value::Null, &result);
    assert!(matches!(said[0], Finding::Refuted(_)), "{said:?}");
}

#[test]
fn a_lock_has_one_owner_and_registers_are_read_together() {
    let one = |at, process, f, kind, value| event(at, process, None, f, kind, value);
    let whole = |at, process, f, input: Value, output: Value| {
        [
            one(at, process, f, EventType::Invoke, input),
            one(at + 1, process, f, EventType::Ok, output),
        ]
    };
    let of = |deeds: &[(u64, &'static str, Value, Value)]| {
        let events = (0..).zip(deeds);
        let events = events.flat_map(|(at, (process, f, input, output))| {
            whole(10 * at, *process, f, input.clone(), output.clone())
        });
        history(events.collect())
    };
    let nil = Value::Null;
    let lock = |deeds: &[(u64, &'static str)]| {
        let deeds: Vec<_> = deeds
            .iter()
            .map(|(process, f)| (*process, *f, nil.clone(), nil.clone()))
            .collect();
        of(&deeds)
    };
    let read = |x: Value, y: Value| json!([["r", "x", x], ["r", "y", y]]);
    let write = json!([["w", "x", 1], ["w", "y", 1]]);
    let registers = |seen: Value| {
        of(&[
            (0, "txn", write.clone(), write.clone()),
            (1, "txn", read(nil.clone(), nil.clone()), seen),
        ])
    };
    let cases = [
        (
            "owned-mutex",
            lock(&[(0, "acquire"), (1, "release")]),
            lock(&[(0, "acquire"), (0, "release")]),
        ),
        (
            "owned-mutex",
            lock(&[(0, "acquire"), (1, "acquire")]),
            lock(&[(0, "acquire"), (0, "release"), (1, "acquire")]),
        ),
        (
            "multi-register",
            registers(read(json!(1), nil.clone())),
            registers(read(json!(1), json!(1))),
        ),
    ];
    let meta = Meta::default();
    for (model, broken, legal) in cases {
        let options = json!({"model": model});
        let result = told(&broken, &meta, "linearizable", &options);
        assert!(!result.witnesses.is_empty(), "{model}: {}", result.summary);
        let said = findings(&broken, &meta, &options, &result);
        assert_eq!(said, vec![Finding::Confirmed; said.len()], "{model}");
        let said = findings(&legal, &meta, &options, &result);
        assert!(matches!(said[0], Finding::Refuted(_)), "{model}: {said:?}");
    }
}

#[test]
fn what_a_log_says_it_says() {
    let (none, meta) = (history(Vec::new()), Meta::default());
    let bytes = b"level=info msg=ready\nlxd: src/raft.c:12: f: Assertion `x' failed.\n";
    let told = |node, path, bytes| LogText { node, path, bytes };
    let logs = [told("n1", "lxd.log", bytes)];
    let input = |logs| CheckInput {
        logs,
        ..CheckInput::of_history(&none, &meta)
    };
    let known = registry::checker("logs", &Value::Null).unwrap();
    let result = known.check(&input(&logs), &Unlimited);
    assert_eq!(result.witnesses.len(), 1);
    assert_eq!(
        verify(&Value::Null, &input(&logs), &result),
        [Finding::Confirmed]
    );
    let lies = [
        told("n2", "lxd.log", bytes),
        told("n1", "other.log", bytes),
        told("n1", "lxd.log", &bytes[21..]),
        told(
            "n1",
            "lxd.log",
            b"level=info msg=ready\nlxd: src/raft.c:12: f: Assertion `x' holds.\n",
        ),
    ];
    for lie in lies.chunks(1) {
        let said = verify(&Value::Null, &input(lie), &result);
        assert!(
            matches!(said[..], [Finding::Refuted(_)]),
            "{lie:?} {said:?}"
        );
    }
}
