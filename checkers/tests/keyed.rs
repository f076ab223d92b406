//! Values that carry keys: objects apart, and what only looks like a key.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::judge;
use harness_checkers::{
    registry,
    verify::{Finding, verify},
};
use harness_core::{
    event::{Event, EventType, Process},
    history::{History, pair},
    meta::Meta,
    verdict::{CheckInput, CheckResult, Verdict},
};
use serde_json::{Value, json};

/// One operation after the other, all acknowledged: `[f, asked, answered]`.
fn serial(operations: &Value) -> History {
    let mut events = Vec::new();
    for operation in operations.as_array().unwrap() {
        for (event_type, value) in [(EventType::Invoke, 1), (EventType::Ok, 2)] {
            events.push(Event {
                index: events.len() as u64,
                time_ns: events.len() as u64 * 1_000_000,
                process: Process::Client(events.len() as u64 / 2),
                node: None,
                event_type,
                f: operation[0].as_str().unwrap().into(),
                value: operation[value].clone(),
                error: None,
            });
        }
    }
    pair(events).unwrap()
}

fn judged(checker: &str, options: &Value, operations: &Value) -> (CheckResult, Vec<Finding>) {
    let (history, meta) = (serial(operations), Meta::default());
    let result = judge(
        &*registry::checker(checker, options).unwrap(),
        &history,
        &meta,
    );
    let found = verify(options, &CheckInput::of_history(&history, &meta), &result);
    (result, found)
}

fn is_keyed(result: &CheckResult) -> bool {
    result.notes.iter().any(|note| note.kind == "keyed")
}

#[test]
fn objects_of_one_history_are_judged_apart() {
    use Verdict::{Invalid, Unknown, Valid};
    let none = json!({});
    let two_sets = json!([["add", [0, 1], [0, 1]], ["add", [1, 5], [1, 5]]]);
    let with = |more: Value| {
        let mut all = two_sets.as_array().unwrap().clone();
        all.extend(more.as_array().unwrap().iter().cloned());
        Value::from(all)
    };
    let (zero, one) = (
        json!(["read", [0, null], [0, [1]]]),
        json!(["read", [1, null], [1, [5]]]),
    );
    let gone = json!(["read", [1, null], [1, []]]);
    let queue = |last: Value| {
        json!([
            ["enqueue", ["a", 1], ["a", 1]],
            ["enqueue", ["b", 1], ["b", 1]],
            ["dequeue", ["a", null], ["a", 1]],
            ["dequeue", ["a", null], ["a", null]],
            ["dequeue", ["b", null], ["b", last]],
            ["dequeue", ["b", null], ["b", null]],
        ])
    };
    let counter = |second: i64| {
        json!([
            ["add", [0, 1], [0, 1]],
            ["add", [1, 5], [1, 5]],
            ["increment", [1, null], [1, null]],
            ["read", [0, null], [0, 1]],
            ["read", [1, null], [1, second]],
        ])
    };
    let reverse = |key: i64| {
        json!([
            ["write", [7, 1], [7, 1]],
            ["write", [key, 2], [key, 2]],
            ["read", [key, null], [key, [2]]],
            [
                "read",
                [7, null],
                [7, if key == 7 { vec![1, 2] } else { vec![1] }]
            ],
        ])
    };
    let table = [
        ("set-full", with(json!([zero, one])), Valid),
        ("set-full", with(json!([zero, gone])), Invalid),
        // Nobody looked at the second set again.
        ("set-full", with(json!([zero])), Unknown),
        ("causal-reverse", reverse(7), Invalid),
        ("causal-reverse", reverse(8), Valid),
        ("counter", counter(6), Valid),
        ("counter", counter(7), Invalid),
        ("total-queue", queue(json!(1)), Valid),
        ("total-queue", queue(json!(2)), Invalid),
        ("fifo-queue", queue(json!(1)), Valid),
        ("fifo-queue", queue(json!(2)), Invalid),
    ];
    for (checker, operations, verdict) in table {
        let (result, found) = judged(checker, &none, &operations);
        let context = format!("{checker} {operations}: {}", result.summary);
        assert_eq!(result.verdict, verdict, "{context}");
        assert!(is_keyed(&result), "{context}");
        assert_eq!(found.is_empty(), verdict != Invalid, "{context}");
        assert!(
            found.iter().all(|found| *found == Finding::Confirmed),
            "{context}: {found:?}"
        );
    }
}

#[test]
fn locks_of_two_keys_may_have_two_owners() {
    let options = json!({"model": "mutex"});
    let locks = |second: i64| {
        json!([
            ["acquire", [0, null], [0, null]],
            ["acquire", [second, null], [second, null]]
        ])
    };
    assert_eq!(
        judged("linearizable", &options, &locks(1)).0.verdict,
        Verdict::Valid
    );
    let (result, found) = judged("linearizable", &options, &locks(0));
    assert_eq!(
        (result.verdict, found),
        (Verdict::Invalid, vec![Finding::Confirmed])
    );
    let no = json!({"model": "mutex", "keyed": "no"});
    assert_eq!(
        judged("linearizable", &no, &locks(1)).0.verdict,
        Verdict::Invalid
    );
}

#[test]
fn pairs_that_are_values_stay_values() {
    let queue = json!({"model": "queue"});
    let table = [
        // Who takes a pair does not say which.
        (
            "fifo-queue",
            json!({}),
            json!([
                ["enqueue", [0, 1], [0, 1]],
                ["enqueue", [1, 5], [1, 5]],
                ["dequeue", null, [0, 1]],
            ]),
        ),
        (
            "linearizable",
            queue,
            json!([["enqueue", [0, 1], [0, 1]], ["dequeue", [0, 1], [0, 1]],]),
        ),
        (
            "total-queue",
            json!({}),
            json!([
                ["enqueue", [0, 1], [0, 1]],
                ["dequeue", null, [0, 1]],
                ["dequeue", null, null],
            ]),
        ),
        (
            "set-full",
            json!({}),
            json!([["add", [0, 1], [0, 1]], ["read", null, [[0, 1]]],]),
        ),
        (
            "set-full",
            json!({}),
            json!([
                ["add", 1, 1],
                ["add", [0, 1], [0, 1]],
                ["read", [0, null], [1, [0, 1]]],
            ]),
        ),
        (
            "causal-reverse",
            json!({}),
            json!([["write", [7, 1], [7, 1]], ["read", null, [[7, 1]]],]),
        ),
        (
            "linearizable",
            json!({"model": "list"}),
            json!([["append", [0, 1], [0, 1]], ["read", null, [[0, 1]]],]),
        ),
    ];
    for (checker, options, operations) in table {
        let (result, _) = judged(checker, &options, &operations);
        let context = format!("{checker} {operations}: {}", result.summary);
        assert_eq!(result.verdict, Verdict::Valid, "{context}");
        assert!(!is_keyed(&result), "{context}");
    }
}
