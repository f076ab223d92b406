//! One table a checker: what it is shown, and what it must say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::judge;
use harness_checkers::{checker, generate, names, run_checkers};
use harness_core::{
    event::{Event, EventType, OpError, Process},
    fault::FaultRecord,
    history::{History, pair},
    meta::{Meta, NodeMeta, Phase, ProcessExit},
    verdict::{
        Budget, CheckInput, CheckResult, Checker, Exhausted, LogText, Severity, Unlimited, Verdict,
    },
};
use serde_json::{Value, json};

/// A history from `(process, type, f, value)`, one event each half second.
fn history(lines: &[(u64, &str, &str, Value)]) -> History {
    let events = lines
        .iter()
        .enumerate()
        .map(|(index, (process, kind, f, value))| Event {
            index: index as u64,
            time_ns: index as u64 * 500_000_000,
            process: Process::Client(*process),
            node: Some(format!("n{}", process % 5 + 1).into()),
            event_type: match *kind {
                "invoke" => EventType::Invoke,
                "ok" => EventType::Ok,
                "fail" => EventType::Fail,
                _ => EventType::Info,
            },
            f: (*f).into(),
            value: value.clone(),
            error: (*kind == "fail").then(|| OpError {
                kind: "busy".into(),
                message: String::new(),
            }),
        });
    pair(events).expect("the lines pair up")
}

fn named(name: &str) -> Box<dyn Checker> {
    checker(name, &Value::Null).unwrap()
}

/// An invocation and its end.
type Pair = [(u64, &'static str, &'static str, Value); 2];

fn kinds(result: &CheckResult) -> Vec<&str> {
    result
        .witnesses
        .iter()
        .map(|witness| witness.kind.as_str())
        .collect()
}

#[test]
fn stale_read_names_times_values_nodes_faults_and_explanation() {
    let history = history(&[
        (2, "invoke", "write", json!(["x", 3])),
        (2, "ok", "write", json!(["x", 3])),
        (2, "invoke", "write", json!(["x", 5])),
        (2, "ok", "write", json!(["x", 5])),
        (4, "invoke", "read", json!(["x", null])),
        (4, "ok", "read", json!(["x", 5])),
        (7, "invoke", "read", json!(["x", null])),
        (7, "ok", "read", json!(["x", 3])),
    ]);
    let fault = FaultRecord {
        id: 2,
        kind: "partition".into(),
        label: "partition leader: n3 | n1 n2 n4 n5".into(),
        nodes: vec!["n3".into()],
        planned: None,
        heals: vec![],
        triggered: None,
        intended_ns: 0,
        asked_ns: Some(1),
        observed_ns: Some(2),
        heal_asked_ns: None,
        healed_ns: None,
        self_healed: false,
        evidence: vec![],
        problems: vec![],
    };
    let options = json!({"stale_read_explanation": "leaders answer reads without a quorum"});
    let meta = Meta::default();
    let faults = [fault];
    let input = CheckInput {
        history: &history,
        faults: &faults,
        logs: &[],
        views: &[],
        meta: &meta,
    };
    let result = checker("linearizable", &options)
        .unwrap()
        .check(&input, &Unlimited);
    assert_eq!(result.verdict, Verdict::Invalid);
    let witness = &result.witnesses[0];
    assert_eq!(witness.title, "A read went back in time.");
    assert_eq!(
        witness.story,
        "Process 7 on n3 read x=3 at 3.50 s; process 4 had read x=5, and that read had ended at 2.50 s. \
         Fault 2 was in force on n3 then: partition leader: n3 | n1 n2 n4 n5."
    );
    assert_eq!(witness.operations, [0, 4, 6]);
    assert_eq!(witness.culprits, [6]);
    assert_eq!(
        witness.explanation.as_deref(),
        Some("leaders answer reads without a quorum")
    );
}

#[test]
fn linearizable_anomalies_by_kind() {
    let w = |value: i64| json!(["x", value]);
    let write = |process, value: i64| {
        [
            (process, "invoke", "write", w(value)),
            (process, "ok", "write", w(value)),
        ]
    };
    let read = |process, value: Value| {
        [
            (process, "invoke", "read", json!(["x", null])),
            (process, "ok", "read", json!(["x", value])),
        ]
    };
    let cas = |process, old, new| {
        let value = json!(["x", [old, new]]);
        [
            (process, "invoke", "cas", value.clone()),
            (process, "ok", "cas", value),
        ]
    };
    let failed = [(1, "invoke", "write", w(9)), (1, "fail", "write", w(9))];
    let table: Vec<(&str, Vec<Pair>)> = vec![
        ("unwritten-read", vec![write(1, 1), read(2, json!(8))]),
        (
            "failed-write-read",
            vec![write(1, 1), failed, read(2, json!(9))],
        ),
        ("future-read", vec![read(2, json!(1)), write(1, 1)]),
        (
            "stale-read",
            vec![
                write(1, 1),
                write(2, 2),
                read(3, json!(1)),
                read(3, json!(2)),
            ],
        ),
        (
            "lost-write",
            vec![
                write(1, 1),
                write(2, 2),
                read(3, json!(1)),
                read(4, json!(1)),
            ],
        ),
        (
            "lost-write",
            vec![write(2, 2), read(3, json!(null)), read(4, json!(null))],
        ),
        (
            "cas-should-have-failed",
            vec![write(1, 1), write(2, 2), cas(3, 1, 4)],
        ),
    ];
    for (kind, operations) in table {
        let history = history(&operations.into_iter().flatten().collect::<Vec<_>>());
        let result = judge(&*named("linearizable"), &history, &Meta::default());
        assert_eq!(kinds(&result), [kind], "{:?}", result.witnesses);
        assert_eq!(result.verdict, Verdict::Invalid);
    }
}

#[test]
fn observed_mismatch_counts_as_a_read_and_other_failures_do_not() {
    let mut shown = history(&[
        (1, "invoke", "write", json!(["x", 1])),
        (1, "ok", "write", json!(["x", 1])),
        (2, "invoke", "cas", json!(["x", [1, 2]])),
        (2, "fail", "cas", json!(["x", [1, 2]])),
    ]);
    assert_eq!(
        judge(&*named("linearizable"), &shown, &Meta::default()).verdict,
        Verdict::Valid
    );
    shown.operations[1].error.as_mut().unwrap().kind = harness_core::format::MISMATCH.into();
    assert_eq!(
        judge(&*named("linearizable"), &shown, &Meta::default()).verdict,
        Verdict::Invalid
    );
}

struct Nothing;
impl Budget for Nothing {
    fn spend(&self, _memory_bytes: u64) -> Result<(), Exhausted> {
        Err(Exhausted::Time)
    }
}

#[test]
fn a_limit_ends_in_unknown_with_how_far_it_came() {
    let mut parameters = generate::Parameters::new(generate::Workload::Register, 5_000);
    parameters.keys = 1;
    let history = harness_core::history::pair(generate::collect(&parameters).unwrap()).unwrap();
    let meta = Meta::default();
    let input = CheckInput::of_history(&history, &meta);
    let result = named("linearizable").check(&input, &Nothing);
    assert_eq!(result.verdict, Verdict::Unknown);
    assert!(
        result.summary.contains("out of time after"),
        "{}",
        result.summary
    );
}

#[test]
fn set_full() {
    type Lines = Vec<(u64, &'static str, &'static str, Value)>;
    let add = |value: i64, end: &'static str| {
        vec![
            (1, "invoke", "add", json!(value)),
            (1, end, "add", json!(value)),
        ]
    };
    let read = |values: Value| {
        vec![
            (2, "invoke", "read", json!(null)),
            (2, "ok", "read", values),
        ]
    };
    let table: Vec<(&str, Vec<Lines>, Verdict, Vec<&str>)> = vec![
        (
            "all there",
            vec![add(1, "ok"), add(2, "ok"), read(json!([1, 2]))],
            Verdict::Valid,
            vec![],
        ),
        (
            "no read at the end",
            vec![add(1, "ok"), read(json!([1])), add(2, "ok")],
            Verdict::Unknown,
            vec![],
        ),
        (
            "nothing acknowledged",
            vec![read(json!([]))],
            Verdict::Unknown,
            vec![],
        ),
        (
            "lost, never read",
            vec![add(1, "ok"), add(2, "ok"), read(json!([1]))],
            Verdict::Invalid,
            vec!["lost"],
        ),
        (
            "lost after a read",
            vec![add(1, "ok"), read(json!([1])), read(json!([]))],
            Verdict::Invalid,
            vec!["lost"],
        ),
        (
            "stale only",
            vec![add(1, "ok"), read(json!([])), read(json!([1]))],
            Verdict::Valid,
            vec![],
        ),
        (
            "duplicated",
            vec![add(1, "ok"), read(json!([1, 1]))],
            Verdict::Invalid,
            vec!["duplicated"],
        ),
        (
            "info appears",
            vec![add(1, "ok"), add(2, "info"), read(json!([1, 2]))],
            Verdict::Valid,
            vec![],
        ),
        (
            "info does not",
            vec![add(1, "ok"), add(2, "info"), read(json!([1]))],
            Verdict::Valid,
            vec![],
        ),
        (
            "info appears and vanishes",
            vec![
                add(1, "ok"),
                add(2, "info"),
                read(json!([1, 2])),
                read(json!([1])),
            ],
            Verdict::Invalid,
            vec!["lost"],
        ),
        (
            "failed appears",
            vec![add(1, "ok"), add(2, "fail"), read(json!([1, 2]))],
            Verdict::Invalid,
            vec!["failed-present"],
        ),
        (
            "never added",
            vec![add(1, "ok"), read(json!([1, 7]))],
            Verdict::Invalid,
            vec!["unexpected"],
        ),
        (
            "before it was added",
            vec![
                add(1, "ok"),
                read(json!([1, 7])),
                add(7, "ok"),
                read(json!([1, 7])),
            ],
            Verdict::Invalid,
            vec!["unexpected"],
        ),
    ];
    for (what, lines, verdict, expected) in table {
        let lines: Lines = lines.into_iter().flatten().collect();
        // An info retires the process.
        let mut retired = 1;
        let lines: Lines = lines
            .into_iter()
            .map(|(process, kind, f, value)| {
                let process = if process == 1 { retired } else { process };
                if kind == "info" {
                    retired += 10;
                }
                (process, kind, f, value)
            })
            .collect();
        let result = judge(&*named("set-full"), &history(&lines), &Meta::default());
        assert_eq!(
            (result.verdict, kinds(&result)),
            (verdict, expected),
            "{what}: {}",
            result.summary
        );
    }
    let stale = history(&[add(1, "ok"), read(json!([])), read(json!([1]))].concat());
    let strict = checker("set-full", &json!({"linearizable": true})).unwrap();
    assert_eq!(
        judge(&*strict, &stale, &Meta::default()).verdict,
        Verdict::Invalid
    );
}

#[test]
fn bank() {
    let meta = Meta {
        workload_options: json!({"total": 20, "accounts": [0, 1], "allow_negative": false, "other": 1}),
        ..Meta::default()
    };
    let table = [
        (json!({"0": 10, "1": 10}), Verdict::Valid, vec![]),
        (
            json!({"0": 10, "1": 9}),
            Verdict::Invalid,
            vec!["wrong-total"],
        ),
        (
            json!({"0": 21, "1": -1}),
            Verdict::Invalid,
            vec!["negative"],
        ),
        (json!({"0": 20}), Verdict::Invalid, vec!["missing-account"]),
        (
            json!({"0": 10, "1": 10, "2": 0}),
            Verdict::Invalid,
            vec!["unexpected-account"],
        ),
        (
            json!({"0": 20, "1": null}),
            Verdict::Invalid,
            vec!["null-balance"],
        ),
        (json!([]), Verdict::Unknown, vec![]),
    ];
    for (value, verdict, expected) in table {
        let shown = history(&[
            (1, "invoke", "read", json!(null)),
            (1, "ok", "read", value.clone()),
        ]);
        let result = judge(&*named("bank"), &shown, &meta);
        assert_eq!(
            (result.verdict, kinds(&result)),
            (verdict, expected),
            "{value}"
        );
        assert!(
            result
                .witnesses
                .iter()
                .all(|witness| witness.culprits == [0])
        );
    }
    assert_eq!(
        judge(&*named("bank"), &History::default(), &meta).verdict,
        Verdict::Unknown
    );
}

#[test]
fn stats_wants_an_ok_of_each_kind() {
    let shown = history(&[
        (1, "invoke", "read", json!(null)),
        (1, "ok", "read", json!(1)),
        (1, "invoke", "write", json!(1)),
        (1, "fail", "write", json!(1)),
    ]);
    let result = judge(&*named("stats"), &shown, &Meta::default());
    assert_eq!(result.verdict, Verdict::Unknown);
    assert_eq!(result.summary, "no write ever succeeded");
    // A retry that is asked for to see whether it is refused may be refused.
    let probed = history(&[
        (1, "invoke", "read", json!(null)),
        (1, "ok", "read", json!(1)),
        (1, "invoke", "retry-unwiped", json!(1)),
        (1, "fail", "retry-unwiped", json!(1)),
    ]);
    let of_probe = judge(&*named("stats"), &probed, &Meta::default());
    assert_eq!(of_probe.verdict, Verdict::Valid);
    assert_eq!(
        result.figures["errors"],
        json!([{"f": "write", "outcome": "fail", "kind": "busy", "count": 1}])
    );
    assert_eq!(result.figures["latency"]["p50_ms"], json!(500.0));
    assert_eq!(
        judge(&*named("stats"), &History::default(), &Meta::default()).verdict,
        Verdict::Unknown
    );
}

fn logs_of(text: &[u8]) -> CheckResult {
    let (history, meta) = (History::default(), Meta::default());
    let logs = [LogText {
        node: "n1",
        path: "app.log",
        bytes: text,
    }];
    named("logs").check(
        &CheckInput {
            history: &history,
            faults: &[],
            logs: &logs,
            views: &[],
            meta: &meta,
        },
        &Unlimited,
    )
}

#[test]
fn logs() {
    let bad: [(&str, &str); 16] = [
        (
            "assertion",
            "dqlite-demo: src/leader.c:42: leader__close: Assertion `rc == 0' failed.",
        ),
        (
            "assertion",
            "app: uv_truncate.c:1: uvTruncateWorkCb: Assertion `i < n_segments' failed.",
        ),
        (
            "panic",
            "panic: runtime error: index out of range [3] with length 3",
        ),
        (
            "panic",
            "2026/01/01 12:00:00 http: panic serving 10.0.0.1:5: boom",
        ),
        ("panic", "thread 'main' panicked at src/main.rs:4:5:"),
        (
            "go-runtime",
            "fatal error: all goroutines are asleep - deadlock!",
        ),
        ("go-runtime", "fatal error: concurrent map writes"),
        ("fatal-signal", "SIGSEGV: segmentation violation"),
        (
            "fatal-signal",
            "[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x0]",
        ),
        ("fatal-signal", "signal arrived during cgo execution"),
        ("data-race", "WARNING: DATA RACE"),
        (
            "sanitizer",
            "==12==ERROR: AddressSanitizer: heap-use-after-free on address 0x1",
        ),
        (
            "sanitizer",
            "src/a.c:12:5: runtime error: signed integer overflow",
        ),
        ("heap", "double free or corruption (!prev)"),
        (
            "restart-failure",
            "raft_start(): io: closed segment 0000000000000001-0000000000000009 is past last snapshot snapshot-1-1-1",
        ),
        (
            "restart-failure",
            "load closed segment 0000000000000001-0000000000000009: found 8 entries (expected 9)",
        ),
    ];
    for (kind, line) in bad {
        let result = logs_of(format!("fine\n{line}\nmore\n").as_bytes());
        assert_eq!(
            (result.verdict, kinds(&result)),
            (Verdict::Invalid, vec![kind]),
            "{line}"
        );
        assert!(
            result.notes[0].text.contains("n1:app.log line 2"),
            "{}",
            result.notes[0].text
        );
    }
    for line in [
        "no known leader",
        "no available dqlite leader server found",
        "LIBRAFT 1 src/replication.c:9 log mismatch -> truncate",
        "write: No space left on device",
        "Error: database is locked",
    ] {
        let result = logs_of(line.as_bytes());
        assert_eq!(result.verdict, Verdict::Valid, "{line}");
        assert_eq!(result.notes[0].severity, Severity::Warning, "{line}");
    }
    for line in [
        "assertion levels: none",
        "Don't panic, all is well",
        "took the fatal error path: none",
        "checksum ok",
    ] {
        assert!(logs_of(line.as_bytes()).notes.is_empty(), "{line}");
    }
    let hostile = logs_of(b"panic: <script>\x1b[2J\xff\xfe</script>\n");
    assert!(!hostile.witnesses[0].story.contains('\u{1b}'));
    assert_eq!(logs_of(b"").verdict, Verdict::Unknown);
}

#[test]
fn crashes() {
    let exit = |code, signal, core, expected| ProcessExit {
        pid: 7,
        code,
        signal,
        core,
        wall_ns: 5,
        expected,
    };
    let table = [
        (
            vec![
                exit(Some(0), None, false, true),
                exit(None, Some(9), false, true),
            ],
            Some(true),
            Verdict::Valid,
        ),
        (
            vec![exit(None, Some(11), false, false)],
            Some(false),
            Verdict::Invalid,
        ),
        (
            vec![exit(None, Some(6), true, true)],
            Some(true),
            Verdict::Invalid,
        ),
        (
            vec![exit(Some(2), None, false, false)],
            Some(true),
            Verdict::Invalid,
        ),
        (
            vec![exit(None, Some(9), false, false)],
            Some(true),
            Verdict::Invalid,
        ),
        (
            vec![exit(Some(0), None, false, false)],
            Some(true),
            Verdict::Valid,
        ),
        (vec![], Some(false), Verdict::Unknown),
        (vec![], None, Verdict::Unknown),
    ];
    for (exits, cores_visible, verdict) in table {
        let node = NodeMeta {
            name: "n1".into(),
            exits: exits.clone(),
            cores_visible,
            cores_reason: "piped away".into(),
            ..NodeMeta::default()
        };
        let meta = Meta {
            nodes: vec![node],
            ..Meta::default()
        };
        let result = judge(&*named("crashes"), &History::default(), &meta);
        assert_eq!(
            result.verdict, verdict,
            "{exits:?} {cores_visible:?}: {}",
            result.summary
        );
        assert_eq!(result.witnesses.is_empty(), verdict != Verdict::Invalid);
    }
    let node = NodeMeta {
        name: "n1".into(),
        core_dumps: vec!["/core.7".into()],
        cores_visible: Some(true),
        ..NodeMeta::default()
    };
    let meta = Meta {
        nodes: vec![node],
        ..Meta::default()
    };
    assert_eq!(
        judge(&*named("crashes"), &History::default(), &meta).verdict,
        Verdict::Invalid
    );
    assert_eq!(
        judge(&*named("crashes"), &History::default(), &Meta::default()).verdict,
        Verdict::Unknown
    );
}

#[test]
fn what_is_known_of_a_segmentation_violation_is_said_of_nothing_else() {
    let exit = |signal| ProcessExit {
        pid: 7,
        code: None,
        signal: Some(signal),
        core: false,
        wall_ns: 5,
        expected: false,
    };
    let node = NodeMeta {
        name: "n1".into(),
        exits: vec![exit(11), exit(6)],
        core_dumps: vec!["/core".into()],
        cores_visible: Some(true),
        ..NodeMeta::default()
    };
    let meta = Meta {
        nodes: vec![node],
        ..Meta::default()
    };
    let told = harness_checkers::registry::checker(
        "crashes",
        &serde_json::json!({ "explanation_for_sigsegv": "known" }),
    )
    .unwrap();
    let result = judge(&*told, &History::default(), &meta);
    let explained: Vec<Option<&str>> = result
        .witnesses
        .iter()
        .map(|witness| witness.explanation.as_deref())
        .collect();
    assert_eq!(explained, [Some("known"), None, None]);
}

#[test]
fn availability() {
    let phase = Phase {
        name: "recover".into(),
        start_ns: 1_000_000_000,
        end_ns: None,
    };
    let attempt = |process: u64, end: &'static str| {
        [
            (process, "invoke", "availability", json!(null)),
            (process, end, "availability", json!(null)),
        ]
    };
    let warm_up = [
        (9, "invoke", "read", json!(null)),
        (9, "ok", "read", json!(null)),
    ];
    // Process p works on n(p mod 5 + 1); events are half a second apart.
    let table: Vec<(&str, Vec<Pair>, Value, Verdict)> = vec![
        (
            "both at once",
            vec![attempt(0, "ok"), attempt(1, "ok")],
            json!({}),
            Verdict::Valid,
        ),
        (
            "second try",
            vec![attempt(0, "fail"), attempt(0, "ok")],
            json!({"live_nodes": ["n1"]}),
            Verdict::Valid,
        ),
        (
            "never",
            vec![attempt(0, "ok"), attempt(1, "fail"), attempt(1, "fail")],
            json!({"recovery_timeout_ms": 2000}),
            Verdict::Invalid,
        ),
        (
            "too late",
            vec![attempt(1, "fail"), attempt(1, "fail"), attempt(1, "ok")],
            json!({"recovery_timeout_ms": 2000}),
            Verdict::Invalid,
        ),
        (
            "cut off",
            vec![attempt(0, "ok"), attempt(1, "fail")],
            json!({}),
            Verdict::Unknown,
        ),
        (
            "not tried",
            vec![attempt(0, "ok")],
            json!({"live_nodes": ["n1", "n4"]}),
            Verdict::Unknown,
        ),
        ("nobody tried", vec![], json!({}), Verdict::Unknown),
    ];
    for (what, attempts, workload_options, verdict) in table {
        let lines: Vec<_> = warm_up
            .clone()
            .into_iter()
            .chain(attempts.into_iter().flatten())
            .collect();
        let meta = Meta {
            phases: vec![phase.clone()],
            workload_options,
            ..Meta::default()
        };
        let result = judge(&*named("availability"), &history(&lines), &meta);
        assert_eq!(result.verdict, verdict, "{what}: {}", result.summary);
        if verdict == Verdict::Invalid {
            assert_eq!(result.witnesses[0].nodes, ["n2"]);
        }
    }
    let never_there = judge(
        &*named("availability"),
        &History::default(),
        &Meta::default(),
    );
    assert_eq!(never_there.verdict, Verdict::NotApplicable);
}

#[test]
fn faults() {
    let fault = |kind: &str, observed: Option<u64>, healed: Option<u64>, self_healed| FaultRecord {
        id: 1,
        kind: kind.into(),
        label: format!("{kind} n1"),
        nodes: vec!["n1".into()],
        planned: None,
        heals: vec![],
        triggered: None,
        intended_ns: 1,
        asked_ns: Some(2),
        observed_ns: observed,
        heal_asked_ns: healed,
        healed_ns: healed,
        self_healed,
        evidence: vec![],
        problems: vec![],
    };
    let good = fault("kill", Some(3), Some(4), false);
    let table = [
        (vec!["none"], vec![], Verdict::NotApplicable),
        (vec!["kill"], vec![good.clone()], Verdict::Valid),
        (
            vec!["kill"],
            vec![fault("kill", None, Some(4), false), good.clone()],
            Verdict::Valid,
        ),
        (vec!["kill"], vec![], Verdict::Unknown),
        (
            vec!["kill"],
            vec![fault("kill", None, Some(4), false)],
            Verdict::Unknown,
        ),
        (
            vec!["kill"],
            vec![fault("kill", Some(3), None, false)],
            Verdict::Unknown,
        ),
        (
            vec!["kill"],
            vec![fault("kill", Some(3), Some(4), true)],
            Verdict::Unknown,
        ),
        (
            vec!["kill", "kill"],
            vec![
                good.clone(),
                FaultRecord {
                    asked_ns: None,
                    problems: vec!["its trigger never fired: it waited for a join".into()],
                    ..fault("kill", None, None, false)
                },
            ],
            Verdict::Unknown,
        ),
        (vec!["kill", "partition"], vec![good], Verdict::Unknown),
    ];
    for (nemesis, faults, verdict) in table {
        let meta = Meta {
            nemesis: nemesis.iter().map(|kind| (*kind).to_owned()).collect(),
            ..Meta::default()
        };
        let history = History::default();
        let input = CheckInput {
            history: &history,
            faults: &faults,
            logs: &[],
            views: &[],
            meta: &meta,
        };
        let result = named("faults").check(&input, &Unlimited);
        assert_eq!(result.verdict, verdict, "{nemesis:?} {}", result.summary);
    }
}

#[test]
fn registry_isolates_panics_and_refuses_what_it_does_not_know() {
    struct Panics;
    impl Checker for Panics {
        fn name(&self) -> &'static str {
            "panics"
        }
        fn check(&self, _input: &CheckInput<'_>, _budget: &dyn Budget) -> CheckResult {
            panic!("oh no")
        }
    }
    let (history, meta) = (History::default(), Meta::default());
    let input = CheckInput::of_history(&history, &meta);
    let checkers: Vec<Box<dyn Checker>> = vec![Box::new(Panics), named("stats")];
    let results = run_checkers(&checkers, &input, &|_| Box::new(Unlimited), |_| {});
    assert_eq!(results.len(), 2);
    assert_eq!(results[0].verdict, Verdict::Unknown);
    assert!(results[0].summary.contains("oh no"));
    for name in names() {
        assert_eq!(named(name).name(), name);
        assert!(
            checker(name, &json!({"no such option": 1})).is_err()
                || matches!(name, "bank" | "availability"),
            "{name}"
        );
    }
    assert!(checker("no such checker", &Value::Null).is_err());
}

#[test]
fn other_objects() {
    let done = |process: u64, f: &'static str, argument: Value, result: Value| {
        [(process, "invoke", f, argument), (process, "ok", f, result)]
    };
    let null = || json!(null);
    let table: Vec<(&str, Vec<Pair>, Verdict)> = vec![
        (
            "mutex",
            vec![
                done(1, "acquire", null(), null()),
                done(1, "release", null(), null()),
                done(2, "acquire", null(), null()),
            ],
            Verdict::Valid,
        ),
        (
            "mutex",
            vec![
                done(1, "acquire", null(), null()),
                done(2, "acquire", null(), null()),
            ],
            Verdict::Invalid,
        ),
        (
            "counter",
            vec![
                done(1, "add", json!(2), json!(2)),
                done(1, "decrement", null(), null()),
                done(2, "read", null(), json!(1)),
            ],
            Verdict::Valid,
        ),
        (
            "counter",
            vec![
                done(1, "increment", json!(5), json!(5)),
                done(1, "decrement", json!(2), json!(2)),
                done(2, "read", null(), json!(3)),
            ],
            Verdict::Valid,
        ),
        (
            "counter",
            vec![
                done(1, "increment", json!("much"), json!("much")),
                done(2, "read", null(), json!(1)),
            ],
            Verdict::Unknown,
        ),
        (
            "counter",
            vec![
                done(1, "add", json!(2), json!(2)),
                done(2, "read", null(), json!(1)),
            ],
            Verdict::Invalid,
        ),
        (
            "set",
            vec![
                done(1, "add", json!(2), json!(2)),
                done(1, "add", json!(1), json!(1)),
                done(2, "read", null(), json!([2, 1])),
            ],
            Verdict::Valid,
        ),
        (
            "set",
            vec![
                done(1, "add", json!(2), json!(2)),
                done(2, "read", null(), json!([])),
            ],
            Verdict::Invalid,
        ),
        (
            "list",
            vec![
                done(1, "append", json!(2), json!(2)),
                done(1, "append", json!(1), json!(1)),
                done(2, "read", null(), json!([2, 1])),
            ],
            Verdict::Valid,
        ),
        (
            "list",
            vec![
                done(1, "append", json!(2), json!(2)),
                done(1, "append", json!(1), json!(1)),
                done(2, "read", null(), json!([1, 2])),
            ],
            Verdict::Invalid,
        ),
        (
            "queue",
            vec![
                done(1, "enqueue", json!(1), json!(1)),
                done(1, "enqueue", json!(2), json!(2)),
                done(2, "dequeue", null(), json!(1)),
            ],
            Verdict::Valid,
        ),
        (
            "queue",
            vec![
                done(1, "enqueue", json!(1), json!(1)),
                done(1, "enqueue", json!(2), json!(2)),
                done(2, "dequeue", null(), json!(2)),
            ],
            Verdict::Invalid,
        ),
        (
            "stack",
            vec![
                done(1, "push", json!(1), json!(1)),
                done(1, "push", json!(2), json!(2)),
                done(2, "pop", null(), json!(2)),
            ],
            Verdict::Valid,
        ),
        (
            "stack",
            vec![
                done(1, "push", json!(1), json!(1)),
                done(2, "pop", null(), null()),
            ],
            Verdict::Invalid,
        ),
        (
            "multi-register",
            vec![
                done(
                    1,
                    "txn",
                    json!([["write", "x", 1]]),
                    json!([["write", "x", 1]]),
                ),
                done(
                    2,
                    "txn",
                    json!([["read", "x", null]]),
                    json!([["read", "x", 1]]),
                ),
            ],
            Verdict::Valid,
        ),
        (
            "multi-register",
            vec![
                done(
                    1,
                    "txn",
                    json!([["write", "x", 1]]),
                    json!([["write", "x", 1]]),
                ),
                done(
                    2,
                    "txn",
                    json!([["read", "x", null]]),
                    json!([["read", "x", 2]]),
                ),
            ],
            Verdict::Invalid,
        ),
        (
            "membership",
            vec![
                done(1, "join", json!("n2"), null()),
                done(1, "join", json!("n1"), null()),
                done(1, "remove", json!("n2"), null()),
                done(2, "list", null(), json!(["n1"])),
            ],
            Verdict::Valid,
        ),
        (
            "membership",
            vec![
                done(1, "join", json!("n2"), null()),
                done(1, "remove", json!("n2"), null()),
                done(2, "list", null(), json!(["n2"])),
            ],
            Verdict::Invalid,
        ),
    ];
    for (model, operations, verdict) in table {
        let history = history(&operations.into_iter().flatten().collect::<Vec<_>>());
        let checker = checker("linearizable", &json!({ "model": model })).unwrap();
        let result = judge(&*checker, &history, &Meta::default());
        assert_eq!(
            result.verdict, verdict,
            "{model}: {} {:?}",
            result.summary, history.operations
        );
    }
}

#[test]
fn more_operations_open_at_once_than_a_word_has_bits() {
    for width in [63_u64, 64, 65, 130, 600] {
        for last in [1, 2] {
            let mut lines: Vec<(u64, &str, &str, Value)> = vec![(0, "invoke", "write", json!(1))];
            lines.extend((1..width).map(|process| (process, "invoke", "read", json!(null))));
            lines.push((0, "ok", "write", json!(1)));
            lines.extend((1..width - 1).map(|process| (process, "ok", "read", json!(1))));
            lines.push((width - 1, "ok", "read", json!(last)));
            let options = json!({"model": "cas-register", "zones": false, "keyed": "no"});
            let result = judge(
                &*checker("linearizable", &options).unwrap(),
                &history(&lines),
                &Meta::default(),
            );
            let expected = if last == 1 {
                Verdict::Valid
            } else {
                Verdict::Invalid
            };
            assert_eq!(
                result.verdict, expected,
                "{width} {last}: {}",
                result.summary
            );
        }
    }
}
