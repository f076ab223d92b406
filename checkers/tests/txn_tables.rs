//! Each anomaly in the smallest history that has it: its name, the models that fall, and the words.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Instant;

use common::judge;
use harness_checkers::registry;
use harness_core::{
    event::{Event, EventType, Process},
    history::{History, pair},
    meta::Meta,
    verdict::{Budget, CheckInput, CheckResult, Exhausted, Verdict},
};
use proptest::prelude::*;
use serde_json::{Value, json};

/// One event: process, type, value.
type Line = (u64, &'static str, Value);

fn history(lines: &[Line]) -> History {
    pair(
        lines
            .iter()
            .zip(0..)
            .map(|((process, kind, value), index)| Event {
                index,
                time_ns: index * 100_000_000,
                process: Process::Client(*process),
                node: None,
                event_type: match *kind {
                    "invoke" => EventType::Invoke,
                    "ok" => EventType::Ok,
                    "fail" => EventType::Fail,
                    _ => EventType::Info,
                },
                f: "txn".into(),
                value: value.clone(),
                error: None,
            }),
    )
    .unwrap()
}

/// A transaction that runs while nothing else does, of a process, with its outcome.
fn alone(process: u64, end: &'static str, value: Value) -> [Line; 2] {
    [(process, "invoke", asked(&value)), (process, end, value)]
}

/// Transactions that all run at the same time, each of a process of its own, with their outcomes.
fn together(all: &[(&'static str, Value)]) -> Vec<Line> {
    let begin = all
        .iter()
        .zip(0..)
        .map(|((_, value), process)| (process, "invoke", asked(value)));
    let end = all
        .iter()
        .zip(0..)
        .map(|((end, value), process)| (process, *end, value.clone()));
    begin.chain(end).collect()
}

/// What was asked when this was answered: reads without values.
fn asked(value: &Value) -> Value {
    let steps = value.as_array().unwrap().iter();
    steps
        .map(|step| {
            if step[0] == "r" {
                json!(["r", step[1], null])
            } else {
                step.clone()
            }
        })
        .collect::<Vec<_>>()
        .into()
}

fn check(name: &str, options: &Value, lines: &[Line]) -> CheckResult {
    let checker = registry::checker(name, options).unwrap();
    judge(&*checker, &history(lines), &Meta::default())
}

fn anomalies(result: &CheckResult) -> Vec<String> {
    result.figures["anomalies"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect()
}

struct Row {
    what: &'static str,
    checker: &'static str,
    lines: Vec<Line>,
    anomalies: &'static [&'static str],
    not: &'static [&'static str],
}

fn lists() -> Vec<Row> {
    let row = |what, lines, anomalies, not| Row {
        what,
        checker: "list-append",
        lines,
        anomalies,
        not,
    };
    vec![
        row(
            "nothing wrong, one outcome not known",
            [
                together(&[
                    ("ok", json!([["append", "x", 1], ["r", "y", null]])),
                    ("info", json!([["append", "x", 2]])),
                ]),
                alone(0, "ok", json!([["r", "x", [1, 2]]])).to_vec(),
            ]
            .concat(),
            &[],
            &[],
        ),
        row(
            "a transaction that contradicts itself",
            alone(0, "ok", json!([["append", "x", 1], ["r", "x", null]])).to_vec(),
            &["internal"],
            &["read-atomic"],
        ),
        row(
            "a failed element in a read, and below one that took effect",
            together(&[
                ("fail", json!([["append", "x", 1]])),
                ("ok", json!([["append", "x", 2]])),
                ("ok", json!([["r", "x", [1, 2]]])),
            ]),
            &["G1a", "dirty-update"],
            &["read-committed"],
        ),
        row(
            "half-done work",
            together(&[
                ("ok", json!([["append", "x", 1], ["append", "x", 2]])),
                ("ok", json!([["r", "x", [1]]])),
                ("ok", json!([["r", "x", [1, 2]]])),
            ]),
            &["G-single", "G1b"],
            &["read-committed"],
        ),
        row(
            "a read of the future",
            alone(0, "ok", json!([["r", "x", [1]], ["append", "x", 1]])).to_vec(),
            &["future-read"],
            &["read-committed"],
        ),
        row(
            "an element twice",
            together(&[
                ("ok", json!([["append", "x", 1]])),
                ("ok", json!([["r", "x", [1, 1]]])),
            ]),
            &["duplicate-elements"],
            &["read-uncommitted"],
        ),
        row(
            "an element from nowhere",
            alone(0, "ok", json!([["r", "x", [7]]])).to_vec(),
            &["unwritten-read"],
            &["read-uncommitted"],
        ),
        row(
            "two orders",
            together(&[
                ("ok", json!([["append", "x", 1]])),
                ("ok", json!([["append", "x", 2]])),
                ("ok", json!([["append", "x", 3]])),
                ("ok", json!([["r", "x", [1, 3]]])),
                ("ok", json!([["r", "x", [1, 2, 3]]])),
            ]),
            &["incompatible-order"],
            &["read-committed"],
        ),
        row(
            "writes interleaved",
            together(&[
                ("ok", json!([["append", "x", 1], ["append", "y", 1]])),
                ("ok", json!([["append", "x", 2], ["append", "y", 2]])),
                ("ok", json!([["r", "x", [1, 2]]])),
                ("ok", json!([["r", "y", [2, 1]]])),
            ]),
            &["G0"],
            &["read-uncommitted"],
        ),
        row(
            "each saw the other",
            together(&[
                ("ok", json!([["append", "x", 1], ["r", "y", [1]]])),
                ("ok", json!([["append", "y", 1], ["r", "x", [1]]])),
            ]),
            &["G1c"],
            &["read-committed"],
        ),
        row(
            "one part seen, the other missed",
            together(&[
                ("ok", json!([["append", "x", 1], ["append", "y", 1]])),
                ("ok", json!([["r", "x", [1]], ["r", "y", null]])),
            ]),
            &["G-single"],
            &["consistent-view", "repeatable-read"],
        ),
        row(
            "a long fork",
            together(&[
                ("ok", json!([["append", "x", 1]])),
                ("ok", json!([["append", "y", 1]])),
                ("ok", json!([["r", "x", [1]], ["r", "y", null]])),
                ("ok", json!([["r", "x", null], ["r", "y", [1]]])),
            ]),
            &["G-nonadjacent"],
            &["repeatable-read", "snapshot-isolation"],
        ),
        row(
            "write skew",
            together(&[
                ("ok", json!([["r", "x", null], ["append", "y", 1]])),
                ("ok", json!([["r", "y", null], ["append", "x", 1]])),
            ]),
            &["G2-item"],
            &["repeatable-read"],
        ),
        row(
            "a lost update",
            together(&[
                ("ok", json!([["r", "x", null], ["append", "x", 1]])),
                ("ok", json!([["r", "x", null], ["append", "x", 2]])),
            ]),
            &["G2-item", "lost-update"],
            &["cursor-stability", "update-atomic"],
        ),
        row(
            "a stale read by another process",
            [
                alone(0, "ok", json!([["append", "x", 1]])),
                alone(1, "ok", json!([["r", "x", null]])),
            ]
            .concat(),
            &["G-single-realtime"],
            &["strong-snapshot-isolation"],
        ),
        row(
            "a process that does not see its own work",
            [
                alone(0, "ok", json!([["append", "x", 1]])),
                alone(0, "ok", json!([["r", "x", null]])),
            ]
            .concat(),
            &["G-single-process"],
            &["strong-session-snapshot-isolation"],
        ),
        row(
            "work of an unknown outcome may come late",
            [
                alone(0, "info", json!([["append", "x", 1]])),
                alone(1, "ok", json!([["r", "x", null]])),
                alone(1, "ok", json!([["r", "x", [1]]])),
            ]
            .concat(),
            &[],
            &[],
        ),
        row(
            "a write seen before it was begun",
            [
                alone(1, "ok", json!([["r", "x", [1]]])),
                alone(0, "ok", json!([["append", "x", 1]])),
            ]
            .concat(),
            &["G1c-realtime"],
            &["strong-read-committed"],
        ),
        row(
            "writes in the wrong order",
            [
                alone(0, "ok", json!([["append", "x", 1]])),
                alone(1, "ok", json!([["append", "x", 2]])),
                alone(2, "ok", json!([["r", "x", [2, 1]]])),
            ]
            .concat(),
            &["G0-realtime"],
            &["strong-read-uncommitted"],
        ),
    ]
}

fn registers() -> Vec<Row> {
    let row = |what, lines, anomalies, not| Row {
        what,
        checker: "rw-register",
        lines,
        anomalies,
        not,
    };
    vec![
        row(
            "nothing wrong",
            [
                alone(
                    0,
                    "ok",
                    json!([["w", "x", 1], ["r", "x", 1], ["w", "x", 2]]),
                ),
                alone(1, "ok", json!([["r", "x", 2]])),
            ]
            .concat(),
            &[],
            &[],
        ),
        row(
            "a failed value",
            together(&[
                ("fail", json!([["w", "x", 1]])),
                ("ok", json!([["r", "x", 1]])),
            ]),
            &["G1a"],
            &["read-committed"],
        ),
        row(
            "half-done work",
            together(&[
                ("ok", json!([["w", "x", 1], ["w", "x", 2]])),
                ("ok", json!([["r", "x", 1]])),
            ]),
            &["G1b"],
            &["read-committed"],
        ),
        row(
            "a transaction that contradicts itself",
            together(&[
                ("ok", json!([["w", "x", 1], ["r", "x", 2]])),
                ("ok", json!([["w", "x", 2]])),
            ]),
            &["internal"],
            &["read-atomic"],
        ),
        row(
            "the second value is of who saw the reader's work",
            together(&[
                ("ok", json!([["w", "x", 1]])),
                ("ok", json!([["r", "x", 1], ["r", "x", 2], ["w", "y", 1]])),
                ("ok", json!([["w", "x", 2], ["r", "y", 1]])),
            ]),
            &["G1c", "internal"],
            &["read-committed"],
        ),
        row(
            "a read of the future",
            alone(0, "ok", json!([["r", "x", 1], ["w", "x", 1]])).to_vec(),
            &["future-read"],
            &["read-committed"],
        ),
        row(
            "values that replaced each other",
            together(&[
                ("ok", json!([["r", "x", 1], ["w", "x", 2]])),
                ("ok", json!([["r", "x", 2], ["w", "x", 1]])),
            ]),
            &["G1c", "cyclic-versions"],
            &["read-committed"],
        ),
        row(
            "two values that nobody wrote",
            alone(0, "ok", json!([["r", "x", 1]]))
                .into_iter()
                .chain(alone(0, "ok", json!([["r", "x", 2]])))
                .collect(),
            &["unwritten-read"],
            &["read-uncommitted"],
        ),
        row(
            "a lost update",
            together(&[
                ("ok", json!([["w", "x", 1]])),
                ("ok", json!([["r", "x", 1], ["w", "x", 2]])),
                ("ok", json!([["r", "x", 1], ["w", "x", 3]])),
            ]),
            &["G2-item", "lost-update"],
            &["cursor-stability", "update-atomic"],
        ),
        row(
            "write skew",
            together(&[
                ("ok", json!([["r", "x", null], ["w", "y", 1]])),
                ("ok", json!([["r", "y", null], ["w", "x", 1]])),
            ]),
            &["G2-item"],
            &["repeatable-read"],
        ),
        row(
            "a value that had been replaced in real time",
            [
                alone(0, "ok", json!([["w", "x", 1]])),
                alone(1, "ok", json!([["w", "x", 2]])),
                alone(2, "ok", json!([["r", "x", 1]])),
            ]
            .concat(),
            &["G-single-realtime"],
            &["strong-snapshot-isolation"],
        ),
        row(
            "a process that goes back",
            [
                alone(0, "ok", json!([["w", "x", 1]])),
                alone(0, "ok", json!([["w", "x", 2]])),
                alone(0, "ok", json!([["r", "x", 1]])),
            ]
            .concat(),
            &["G-single-process"],
            &["strong-session-snapshot-isolation"],
        ),
    ]
}

#[test]
fn anomalies_by_name() {
    for row in lists().into_iter().chain(registers()) {
        let result = check(row.checker, &Value::Null, &row.lines);
        assert_eq!(
            anomalies(&result),
            row.anomalies,
            "{}: {}",
            row.what,
            result.summary
        );
        assert_eq!(result.figures["not"], json!(row.not), "{}", row.what);
        let verdict = if row.anomalies.is_empty() {
            Verdict::Valid
        } else {
            Verdict::Invalid
        };
        assert_eq!(result.verdict, verdict, "{}: {}", row.what, result.summary);
        for witness in &result.witnesses {
            println!("{}: {} {}", witness.kind, witness.title, witness.story);
            assert!(
                witness.story.matches(". ").count() <= 2,
                "{}",
                witness.story
            );
        }
    }
}

#[test]
fn models_decide_what_is_invalid() {
    let skew = together(&[
        ("ok", json!([["r", "x", null], ["append", "y", 1]])),
        ("ok", json!([["r", "y", null], ["append", "x", 1]])),
    ]);
    let torn = together(&[
        ("ok", json!([["append", "x", 1], ["append", "y", 1]])),
        ("ok", json!([["r", "x", [1]], ["r", "y", null]])),
    ]);
    let fork = together(&[
        ("ok", json!([["append", "x", 1]])),
        ("ok", json!([["append", "y", 1]])),
        ("ok", json!([["r", "x", [1]], ["r", "y", null]])),
        ("ok", json!([["r", "x", null], ["r", "y", [1]]])),
    ]);
    for (model, of_fork) in [
        ("parallel-snapshot-isolation", Verdict::Valid),
        ("causal", Verdict::Valid),
        ("snapshot-isolation", Verdict::Invalid),
    ] {
        let options = json!({ "model": model });
        assert_eq!(check("append", &options, &fork).verdict, of_fork, "{model}");
    }
    for (model, of_skew, of_torn) in [
        ("read-committed", Verdict::Valid, Verdict::Valid),
        (
            "parallel-snapshot-isolation",
            Verdict::Valid,
            Verdict::Invalid,
        ),
        ("snapshot-isolation", Verdict::Valid, Verdict::Invalid),
        ("consistent-view", Verdict::Valid, Verdict::Invalid),
        ("read-atomic", Verdict::Valid, Verdict::Invalid),
        ("repeatable-read", Verdict::Invalid, Verdict::Invalid),
        ("serializable", Verdict::Invalid, Verdict::Invalid),
        ("strong-serializable", Verdict::Invalid, Verdict::Invalid),
    ] {
        let options = json!({ "model": model });
        assert_eq!(check("append", &options, &skew).verdict, of_skew, "{model}");
        assert_eq!(check("append", &options, &torn).verdict, of_torn, "{model}");
    }
    let error = registry::checker("append", &json!({"model": "best"}))
        .err()
        .unwrap();
    assert!(error.to_string().contains("strict-serializable"), "{error}");
    assert!(registry::checker("rw-register", &json!({"modle": "x"})).is_err());
}

/// Whichever value came first, the reader missed who wrote over it and saw the other: no order of transactions explains both.
#[test]
fn a_register_that_changes_under_its_reader() {
    let twice = together(&[
        ("ok", json!([["w", "x", 1]])),
        ("ok", json!([["r", "x", 1], ["r", "x", 2]])),
        ("ok", json!([["w", "x", 2]])),
    ]);
    for (model, expected) in [
        ("read-committed", Verdict::Valid),
        ("consistent-view", Verdict::Unknown),
        ("repeatable-read", Verdict::Invalid),
        ("read-atomic", Verdict::Invalid),
        ("serializable", Verdict::Invalid),
    ] {
        let result = check("rw-register", &json!({ "model": model }), &twice);
        assert_eq!(result.verdict, expected, "{model}: {}", result.summary);
        let told: Vec<&str> = result.witnesses.iter().map(|one| &*one.story).collect();
        let told = told.join("\n");
        assert!(
            model != "repeatable-read"
                || told.contains("it read x=1, and T0 wrote that before T2 wrote x=2")
                || told.contains("it read x=2, and T2 wrote that before T0 wrote x=1"),
            "{told}"
        );
    }
}

/// Each missed what the other appended, which snapshot isolation allows unless both append to one key. Nobody read what they appended there.
#[test]
fn the_order_of_unread_appends_is_not_made_up() {
    let skew = |first: Value, second: Value| {
        together(&[
            (
                "ok",
                json!([["r", "y", null], ["append", "z", 1], ["append", "x", first]]),
            ),
            (
                "ok",
                json!([
                    ["r", "z", null],
                    ["append", "y", 1],
                    ["append", "w", second]
                ]),
            ),
        ])
    };
    let apart = skew(json!(1), json!(2));
    let one_key: Vec<Line> = apart
        .iter()
        .map(|(process, kind, value)| {
            let value = value.to_string().replace("\"w\"", "\"x\"");
            (*process, *kind, serde_json::from_str(&value).unwrap())
        })
        .collect();
    let mut read = one_key.clone();
    read.extend(alone(7, "ok", json!([["r", "x", [1, 2]]])));
    let (valid, invalid, open) = (Verdict::Valid, Verdict::Invalid, Verdict::Unknown);
    for (model, expected) in [
        ("snapshot-isolation", [valid, open, invalid]),
        ("parallel-snapshot-isolation", [valid, open, invalid]),
        ("update-atomic", [valid, open, open]),
        ("causal", [valid; 3]),
        ("read-committed", [valid; 3]),
        ("serializable", [invalid; 3]),
    ] {
        let options = json!({ "model": model });
        for (lines, expected) in [&apart, &one_key, &read].into_iter().zip(expected) {
            let result = check("append", &options, lines);
            assert_eq!(result.verdict, expected, "{model}: {}", result.summary);
        }
    }
    let result = check("append", &json!({"model": "snapshot-isolation"}), &one_key);
    let told =
        "which of T0 and T1 appended to x first decides, and nobody read what they appended there";
    assert!(
        result
            .notes
            .iter()
            .any(|note| note.kind == "left-open" && note.text == told),
        "{:?}",
        result.notes
    );
}

#[test]
fn the_explanation_stands_beside_stale_reads_only() {
    let options = json!({"explanation_for_realtime": "leaders answer reads without a quorum"});
    let stale = [
        alone(0, "ok", json!([["append", "x", 1]])),
        alone(1, "ok", json!([["r", "x", null]])),
    ]
    .concat();
    let early = [
        alone(1, "ok", json!([["r", "x", [1]]])),
        alone(0, "ok", json!([["append", "x", 1]])),
    ]
    .concat();
    let result = check("append", &options, &stale);
    let witness = &result.witnesses[0];
    assert_eq!(
        witness.explanation.as_deref(),
        Some("leaders answer reads without a quorum")
    );
    assert_eq!(witness.operations, [0, 2]);
    assert_eq!(witness.culprits, [2]);
    assert_eq!(
        witness.story,
        "T0 (process 0) had ended (0.100 s) before T2 (process 1) began (0.200 s). \
         But T2 read x as empty and missed the 1 that T0 appended. \
         So each of the two must come before the other; T2 read an old state."
    );
    assert_eq!(
        check("append", &options, &early).witnesses[0].explanation,
        None
    );
}

/// Circles go through fresh reads as well: whoever is told of one must be told who read the old value.
#[test]
fn who_read_an_old_register_is_named() {
    let write = |process, value: i64| alone(process, "ok", json!([["w", "x", value]]));
    let read = |process, value: i64| alone(process, "ok", json!([["r", "x", value]]));
    let table: [(&str, Vec<Line>, u64, &[u64]); 5] = [
        (
            "a fresh read before the old one",
            [write(0, 1), write(1, 2), read(2, 2), read(3, 1)].concat(),
            6,
            &[0, 2, 6],
        ),
        (
            "fresh reads on either side",
            [write(0, 1), write(1, 2), read(2, 2), read(3, 1), read(2, 2)].concat(),
            6,
            &[0, 2, 6],
        ),
        (
            "many fresh reads",
            [
                write(0, 1),
                read(4, 1),
                write(1, 2),
                read(2, 2),
                read(3, 2),
                read(4, 1),
            ]
            .concat(),
            10,
            &[0, 4, 10],
        ),
        (
            "two writes at once, and back again",
            [
                vec![
                    (0, "invoke", json!([["w", "x", 1]])),
                    (1, "invoke", json!([["w", "x", 2]])),
                    (0, "ok", json!([["w", "x", 1]])),
                    (1, "ok", json!([["w", "x", 2]])),
                ],
                read(2, 1).to_vec(),
                read(3, 2).to_vec(),
                read(4, 1).to_vec(),
            ]
            .concat(),
            6,
            &[0, 1, 4, 6],
        ),
        (
            "a process that went back",
            [write(0, 1), write(1, 2), read(2, 1), read(2, 2), read(2, 1)].concat(),
            8,
            &[],
        ),
    ];
    for (what, lines, culprit, operations) in table {
        let result = check("rw-register", &Value::Null, &lines);
        assert_eq!(result.verdict, Verdict::Invalid, "{what}");
        for witness in &result.witnesses {
            println!("{what}: {} {}", witness.kind, witness.story);
        }
        let witness = &result.witnesses[0];
        assert_eq!(witness.culprits, [culprit], "{what}: {}", witness.story);
        let told = format!("T{culprit} read an old value.");
        assert!(witness.story.ends_with(&told), "{what}: {}", witness.story);
        let named = format!("T{culprit} (process ");
        assert!(witness.story.contains(&named), "{what}: {}", witness.story);
        let mut shown = witness.operations.clone();
        shown.sort_unstable();
        if !operations.is_empty() {
            assert_eq!(shown, operations, "{what}: {}", witness.story);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    /// One read of many shows an old value: it is to blame, however fresh ones lie around it.
    #[test]
    fn the_one_old_read_is_to_blame(
        steps in prop::collection::vec((any::<bool>(), 0..4_u64), 4..24),
        which in any::<prop::sample::Index>(),
        older in any::<prop::sample::Index>(),
    ) {
        let mut latest = 0;
        let mut values: Vec<i64> = Vec::new();
        let mut reads = Vec::new();
        for (place, (writes, _)) in steps.iter().enumerate() {
            latest += i64::from(*writes);
            values.push(latest);
            if !writes && latest >= 2 {
                reads.push(place);
            }
        }
        prop_assume!(!reads.is_empty());
        let old = reads[which.index(reads.len())];
        values[old] = 1 + older.index(values[old] as usize - 1) as i64;
        let lines: Vec<Line> = steps
            .iter()
            .zip(&values)
            .flat_map(|((writes, process), value)| {
                let step = match (*writes, *value) {
                    (true, value) => json!(["w", "x", value]),
                    (false, 0) => json!(["r", "x", null]),
                    (false, value) => json!(["r", "x", value]),
                };
                alone(*process, "ok", json!([step]))
            })
            .collect();
        let result = check("rw-register", &Value::Null, &lines);
        prop_assert_eq!(result.verdict, Verdict::Invalid);
        let culprit = 2 * old as u64;
        for witness in &result.witnesses {
            prop_assert_eq!(&witness.culprits, &[culprit], "{}", witness.story);
            prop_assert!(witness.story.ends_with(" read an old value."), "{}", witness.story);
        }
    }
}

#[test]
fn what_cannot_be_judged_is_unknown() {
    let table: [(&str, Vec<Line>); 4] = [
        (
            "no transaction succeeded",
            alone(0, "info", json!([["append", "x", 1]])).to_vec(),
        ),
        (
            "more than once",
            together(&[
                ("ok", json!([["append", "x", 1]])),
                ("ok", json!([["append", "x", 1]])),
            ]),
        ),
        (
            "cannot be read",
            alone(0, "ok", json!([["w", "x", 1]])).to_vec(),
        ),
        ("no transaction succeeded", Vec::new()),
    ];
    for (said, lines) in table {
        let result = check("append", &Value::Null, &lines);
        assert_eq!(result.verdict, Verdict::Unknown, "{}", result.summary);
        assert!(result.summary.contains(said), "{}", result.summary);
    }
    struct Spent;
    impl Budget for Spent {
        fn spend(&self, _memory_bytes: u64) -> Result<(), Exhausted> {
            Err(Exhausted::Time)
        }
    }
    let lines = alone(0, "ok", json!([["append", "x", 1]]));
    let (history, meta) = (history(&lines), Meta::default());
    let input = CheckInput::of_history(&history, &meta);
    let result = registry::checker("append", &Value::Null)
        .unwrap()
        .check(&input, &Spent);
    assert_eq!(result.verdict, Verdict::Unknown, "{}", result.summary);
}

/// Ten thousand transactions in one component that only real time holds together: everybody works on keys of their own, and the
/// last one misses what the first one did.
#[test]
fn a_giant_realtime_component_is_decided_with_a_short_witness() {
    let mut lines: Vec<Line> = alone(0, "ok", json!([["append", "x", 1]])).to_vec();
    for number in 1..10_000_u64 {
        lines.extend(alone(number % 7, "ok", json!([["append", number, 1]])));
    }
    lines.extend(alone(8, "ok", json!([["r", "x", null]])));
    let history = history(&lines);
    let started = Instant::now();
    for (model, verdict) in [
        ("serializable", Verdict::Valid),
        ("strong-snapshot-isolation", Verdict::Invalid),
    ] {
        let checker = registry::checker("append", &json!({ "model": model })).unwrap();
        let result = judge(&*checker, &history, &Meta::default());
        assert_eq!(result.verdict, verdict, "{}", result.summary);
        if verdict == Verdict::Invalid {
            assert_eq!(result.figures["largest_component"], json!(10_001));
            assert_eq!(
                result.witnesses[0].operations.len(),
                2,
                "{}",
                result.witnesses[0].story
            );
        }
    }
    println!(
        "both verdicts on 10,001 transactions in {:?}",
        started.elapsed()
    );
}
