//! Counters, identifiers, queues, locks, long forks, causal reverses: what each is shown, and what it must say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;

use common::judge;
use harness_checkers::{
    registry,
    verify::{Finding, verify},
};
use harness_core::{
    event::{Event, EventType, OpError, Process},
    format::{self, Format},
    history::{History, pair},
    meta::Meta,
    seed::Seed,
    verdict::{CheckInput, Verdict},
};
use rand::{Rng, RngCore};
use serde_json::{Value, json};

/// `process type f value`, one event each; `fail` has the error kind `empty`.
fn history(lines: &str) -> History {
    let events = lines
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .enumerate()
        .map(|(index, line)| {
            let mut words = line.splitn(4, ' ');
            let mut word = || words.next().unwrap();
            let (process, kind, f) = (word(), word(), word());
            Event {
                index: index as u64,
                time_ns: index as u64 * 1_000_000,
                process: Process::Client(process.parse().unwrap()),
                node: Some("n1".into()),
                event_type: match kind {
                    "invoke" => EventType::Invoke,
                    "ok" => EventType::Ok,
                    "fail" => EventType::Fail,
                    "info" => EventType::Info,
                    other => panic!("{other}"),
                },
                f: f.into(),
                value: serde_json::from_str(word()).unwrap(),
                error: (kind == "fail").then(|| OpError {
                    kind: "empty".into(),
                    message: String::new(),
                }),
            }
        });
    pair(events).unwrap()
}

/// Operations one after another, all of process 0: `type f input output`.
fn serial(lines: &[(&str, &str, Value, Value)]) -> String {
    let mut text = String::new();
    for (process, (kind, f, input, output)) in lines.iter().enumerate() {
        text += &format!("{process} invoke {f} {input}\n{process} {kind} {f} {output}\n");
    }
    text
}

fn say(name: &str, options: &Value, lines: &str) -> (Verdict, Vec<String>, String) {
    let checker = registry::checker(name, options).unwrap();
    let result = judge(&*checker, &history(lines), &Meta::default());
    assert_eq!(result.checker, name);
    let kinds = result
        .witnesses
        .iter()
        .map(|witness| witness.kind.clone())
        .collect();
    if result.verdict == Verdict::Invalid {
        assert!(!result.witnesses.is_empty(), "{name}: {}", result.summary);
        for witness in &result.witnesses {
            assert!(
                witness
                    .culprits
                    .iter()
                    .all(|culprit| witness.operations.contains(culprit))
            );
            assert!(witness.story.ends_with('.'), "{}", witness.story);
        }
    }
    (result.verdict, kinds, result.summary)
}

fn table(name: &str, rows: &[(&str, String, Verdict, &[&str])]) {
    for (what, lines, verdict, kinds) in rows {
        let (said, found, summary) = say(name, &Value::Null, lines);
        assert_eq!(said, *verdict, "{name}, {what}: {summary}");
        assert_eq!(found, *kinds, "{name}, {what}: {summary}");
    }
}

#[test]
fn counter() {
    let add = |n: i64| ("ok", "add", json!(n), json!(n));
    let read = |n: i64| ("ok", "read", Value::Null, json!(n));
    let around = "0 invoke add 1\n0 ok add 1\n1 invoke add 2\n2 invoke read null\n3 invoke add -4\n2 ok read";
    table(
        "counter",
        &[
            (
                "sums",
                serial(&[add(1), add(2), read(3)]),
                Verdict::Valid,
                &[],
            ),
            (
                "a sum too small",
                serial(&[add(1), add(2), read(2)]),
                Verdict::Invalid,
                &["out-of-bounds"],
            ),
            (
                "a sum too large",
                serial(&[add(1), read(2)]),
                Verdict::Invalid,
                &["out-of-bounds"],
            ),
            (
                "below zero",
                serial(&[
                    add(1),
                    ("ok", "decrement", Value::Null, Value::Null),
                    read(0),
                ]),
                Verdict::Valid,
                &[],
            ),
            (
                "a failed add does not count",
                serial(&[("fail", "add", json!(5), json!(5)), read(5)]),
                Verdict::Invalid,
                &["out-of-bounds"],
            ),
            (
                "an add without an answer may count",
                serial(&[("info", "add", json!(5), json!(5)), read(5), read(0)]),
                Verdict::Valid,
                &[],
            ),
            (
                "the least of what is open",
                format!("{around} -3"),
                Verdict::Valid,
                &[],
            ),
            (
                "less than the least",
                format!("{around} -4"),
                Verdict::Invalid,
                &["out-of-bounds"],
            ),
            (
                "the most of what is open",
                format!("{around} 3"),
                Verdict::Valid,
                &[],
            ),
            (
                "more than the most",
                format!("{around} 4"),
                Verdict::Invalid,
                &["out-of-bounds"],
            ),
            ("nobody reads", serial(&[add(1)]), Verdict::Valid, &[]),
            (
                "no read succeeds",
                serial(&[add(1), ("fail", "read", Value::Null, Value::Null)]),
                Verdict::Unknown,
                &[],
            ),
        ],
    );
}

#[test]
fn unique_ids() {
    let id = |value: Value| ("ok", "generate", Value::Null, value);
    table(
        "unique-ids",
        &[
            (
                "all different",
                serial(&[id(json!(1)), id(json!("1")), id(json!([1]))]),
                Verdict::Valid,
                &[],
            ),
            (
                "one twice",
                serial(&[id(json!(1)), id(json!(2)), id(json!(1))]),
                Verdict::Invalid,
                &["duplicated"],
            ),
            (
                "unseen ones say nothing",
                serial(&[id(json!(1)), ("info", "generate", Value::Null, json!(1))]),
                Verdict::Valid,
                &[],
            ),
            (
                "none",
                serial(&[("fail", "generate", Value::Null, Value::Null)]),
                Verdict::Unknown,
                &[],
            ),
        ],
    );
}

#[test]
fn total_queue() {
    let put = |n: i64| ("ok", "enqueue", json!(n), json!(n));
    let take = |value: Value| ("ok", "dequeue", Value::Null, value);
    let empty = || ("fail", "dequeue", Value::Null, Value::Null);
    table(
        "total-queue",
        &[
            (
                "in any order",
                serial(&[put(1), put(2), take(json!(2)), take(json!(1)), empty()]),
                Verdict::Valid,
                &[],
            ),
            (
                "drained",
                serial(&[put(1), put(2), ("ok", "drain", Value::Null, json!([2, 1]))]),
                Verdict::Valid,
                &[],
            ),
            (
                "lost",
                serial(&[put(1), put(2), take(json!(2)), take(Value::Null)]),
                Verdict::Invalid,
                &["lost"],
            ),
            (
                "not emptied",
                serial(&[put(1), put(2), take(json!(2))]),
                Verdict::Unknown,
                &[],
            ),
            (
                "emptied too early",
                serial(&[put(1), take(json!(1)), empty(), put(2)]),
                Verdict::Unknown,
                &[],
            ),
            (
                "may have been taken unseen",
                serial(&[
                    put(1),
                    ("info", "dequeue", Value::Null, Value::Null),
                    empty(),
                ]),
                Verdict::Valid,
                &[],
            ),
            (
                "only one may",
                serial(&[
                    put(1),
                    put(2),
                    ("info", "dequeue", Value::Null, Value::Null),
                    empty(),
                ]),
                Verdict::Invalid,
                &["lost", "lost"],
            ),
            (
                "twice",
                serial(&[put(1), take(json!(1)), take(json!(1)), empty()]),
                Verdict::Invalid,
                &["duplicated"],
            ),
            (
                "put in twice",
                serial(&[put(1), put(1), take(json!(1)), take(json!(1)), empty()]),
                Verdict::Valid,
                &[],
            ),
            (
                "from nowhere",
                serial(&[put(1), take(json!(1)), take(json!(7)), empty()]),
                Verdict::Invalid,
                &["unexpected"],
            ),
            (
                "a failed one",
                serial(&[
                    put(1),
                    take(json!(1)),
                    ("fail", "enqueue", json!(7), json!(7)),
                    take(json!(7)),
                    empty(),
                ]),
                Verdict::Invalid,
                &["unexpected"],
            ),
            (
                "too early",
                serial(&[put(2), take(json!(2)), take(json!(1)), put(1), empty()]),
                Verdict::Invalid,
                &["unexpected"],
            ),
            (
                "unknown ones may come out or not",
                serial(&[
                    put(2),
                    ("info", "enqueue", json!(1), json!(1)),
                    ("info", "enqueue", json!(3), json!(3)),
                    take(json!(1)),
                    take(json!(2)),
                    empty(),
                ]),
                Verdict::Valid,
                &[],
            ),
            (
                "nothing acknowledged",
                serial(&[empty()]),
                Verdict::Unknown,
                &[],
            ),
        ],
    );
    let twice = serial(&[put(1), take(json!(1)), take(json!(1)), empty()]);
    assert_eq!(
        say("total-queue", &json!({"at_least_once": true}), &twice).0,
        Verdict::Valid
    );
}

#[test]
fn fifo_queue() {
    let put = |n: i64| ("ok", "enqueue", json!(n), json!(n));
    let take = |value: Value| ("ok", "dequeue", Value::Null, value);
    let bad: &[&str] = &["not-linearizable"];
    table(
        "fifo-queue",
        &[
            ("in order", serial(&[put(1), put(2), take(json!(1)), take(json!(2)), take(Value::Null)]), Verdict::Valid, &[]),
            ("out of order", serial(&[put(1), put(2), take(json!(2))]), Verdict::Invalid, bad),
            ("twice", serial(&[put(1), take(json!(1)), take(json!(1))]), Verdict::Invalid, bad),
            ("from nowhere", serial(&[put(1), take(json!(2))]), Verdict::Invalid, bad),
            ("not empty", serial(&[put(1), take(Value::Null)]), Verdict::Invalid, bad),
            ("put in at once", "0 invoke enqueue 1\n1 invoke enqueue 2\n0 ok enqueue 1\n1 ok enqueue 2\n0 invoke dequeue null\n0 ok dequeue 2".to_owned(), Verdict::Valid, &[]),
            ("nothing", String::new(), Verdict::Unknown, &[]),
        ],
    );
}

#[test]
fn lock() {
    let one = "1 invoke acquire null\n1 ok acquire null\n";
    let two = "2 invoke acquire null\n2 ok acquire null\n";
    let done = "1 invoke release null\n1 ok release null\n";
    table(
        "lock",
        &[
            ("in turn", format!("{one}{done}{two}"), Verdict::Valid, &[]),
            ("at once", format!("{one}{two}{done}"), Verdict::Invalid, &["two-owners"]),
            ("while the release is open", format!("{one}1 invoke release null\n{two}1 ok release null"), Verdict::Valid, &[]),
            ("a release that failed", format!("{one}1 invoke release null\n1 fail release null\n{two}"), Verdict::Invalid, &["two-owners"]),
            ("a release without an answer", format!("{one}1 invoke release null\n1 info release null\n{two}"), Verdict::Valid, &[]),
            ("a release that is tried again", format!("{one}1 invoke release null\n1 info release null\n{done}"), Verdict::Valid, &[]),
            ("a lock that its owner may take twice", format!("{one}{one}{done}{done}{two}"), Verdict::Valid, &[]),
            ("taken twice, given back three times", format!("{one}{one}{done}{done}{done}"), Verdict::Invalid, &["not-owner"]),
            ("taken twice, and by another", format!("{one}{one}{two}"), Verdict::Invalid, &["two-owners"]),
            ("an acquire without an answer", format!("1 invoke acquire null\n1 info acquire null\n{two}"), Verdict::Valid, &[]),
            ("released by another", format!("{one}2 invoke release null\n2 ok release null"), Verdict::Invalid, &["not-owner"]),
            ("two locks", "1 invoke acquire \"a\"\n1 ok acquire \"a\"\n2 invoke acquire \"b\"\n2 ok acquire \"b\"".to_owned(), Verdict::Valid, &[]),
            ("nobody", "1 invoke acquire null\n1 fail acquire null".to_owned(), Verdict::Unknown, &[]),
        ],
    );
}

/// Reads of some of four keys that are written once each, in no order that anybody keeps to for certain.
fn overlapping_reads(rng: &mut impl Rng) -> Vec<Vec<(u64, bool)>> {
    let mut order = [0_u64, 1, 2, 3];
    for at in 0..4_usize {
        order.swap(at, rng.random_range(0..4));
    }
    let read = |rng: &mut dyn RngCore| {
        let written = rng.random_range(0..=4_usize);
        let wrong = rng.random_range(0..5_u64);
        let sees = |key: u64| order[..written].contains(&key) != (key == wrong);
        let keys = (0..4).filter(|_| rng.random());
        keys.map(|key| (key, sees(key))).collect()
    };
    (0..rng.random_range(2..7)).map(|_| read(rng)).collect()
}

#[test]
fn reads_that_share_some_keys_are_compared_by_these() {
    let (mut valid, mut invalid) = (0, 0);
    for seed in 0..3_000 {
        let mut rng = Seed(seed).stream("forks").draw(0);
        let reads = overlapping_reads(&mut rng);
        let sees = |read: &Vec<(u64, bool)>, first: u64, second: u64| {
            read.contains(&(first, true)) && read.contains(&(second, false))
        };
        let forked = (0..4).any(|first| {
            (0..4).any(|second| {
                reads.iter().any(|read| sees(read, first, second))
                    && reads.iter().any(|read| sees(read, second, first))
            })
        });
        let several = reads.iter().any(|read| read.len() > 1);
        let mut lines: Vec<(&str, &str, Value, Value)> = Vec::new();
        for key in 0..4 {
            let write = json!([["w", key, 1]]);
            lines.push(("info", "txn", write.clone(), write));
        }
        for read in &reads {
            let steps = |answered: bool| -> Value {
                let step =
                    |(key, seen): &(u64, bool)| json!(["r", key, (*seen && answered).then_some(1)]);
                read.iter().map(step).collect()
            };
            lines.push(("ok", "txn", steps(false), steps(true)));
        }
        let history = history(&serial(&lines));
        let meta = Meta::default();
        let checker = registry::checker("long-fork", &Value::Null).unwrap();
        let result = judge(&*checker, &history, &meta);
        let expected = match (forked, several) {
            (true, _) => Verdict::Invalid,
            (false, true) => Verdict::Valid,
            (false, false) => Verdict::Unknown,
        };
        assert_eq!(result.verdict, expected, "seed {seed}: {reads:?}");
        let input = CheckInput::of_history(&history, &meta);
        for found in verify(&Value::Null, &input, &result) {
            assert_eq!(found, Finding::Confirmed, "seed {seed}: {reads:?}");
        }
        valid += u32::from(expected == Verdict::Valid);
        invalid += u32::from(forked);
    }
    assert!(
        valid > 500 && invalid > 300,
        "{valid} valid, {invalid} invalid"
    );
}

#[test]
fn long_fork() {
    let write = |key: i64| {
        (
            "ok",
            "write",
            json!([["w", key, 1]]),
            json!([["w", key, 1]]),
        )
    };
    let read = |x: Value, y: Value| {
        (
            "ok",
            "read",
            json!([["r", 0, null], ["r", 1, null]]),
            json!([["r", 0, x], ["r", 1, y]]),
        )
    };
    let turned = |x: Value, y: Value| {
        (
            "ok",
            "read",
            json!([["r", 1, null], ["r", 0, null]]),
            json!([["r", 1, y], ["r", 0, x]]),
        )
    };
    table(
        "long-fork",
        &[
            (
                "one order",
                serial(&[
                    write(0),
                    write(1),
                    read(json!(1), Value::Null),
                    turned(json!(1), json!(1)),
                ]),
                Verdict::Valid,
                &[],
            ),
            (
                "two orders",
                serial(&[
                    write(0),
                    write(1),
                    read(json!(1), Value::Null),
                    turned(Value::Null, json!(1)),
                ]),
                Verdict::Invalid,
                &["long-fork"],
            ),
            (
                "written twice",
                serial(&[write(0), write(0), read(json!(1), Value::Null)]),
                Verdict::Unknown,
                &[],
            ),
            (
                "two values",
                serial(&[read(json!(1), Value::Null), read(json!(2), Value::Null)]),
                Verdict::Unknown,
                &[],
            ),
            ("nothing read", serial(&[write(0)]), Verdict::Unknown, &[]),
        ],
    );
}

#[test]
fn causal_reverse() {
    let write = |n: i64| ("ok", "write", json!(n), json!(n));
    let read = |values: Value| ("ok", "read", Value::Null, values);
    let open = "0 invoke write 1\n1 invoke write 2\n0 ok write 1\n1 ok write 2\n";
    table(
        "causal-reverse",
        &[
            (
                "all",
                serial(&[write(1), write(2), read(json!([2, 1]))]),
                Verdict::Valid,
                &[],
            ),
            (
                "the first only",
                serial(&[write(1), write(2), read(json!([1]))]),
                Verdict::Valid,
                &[],
            ),
            (
                "the second only",
                serial(&[write(1), write(2), read(json!([2]))]),
                Verdict::Invalid,
                &["causal-reverse"],
            ),
            (
                "written at once",
                format!("{open}2 invoke read null\n2 ok read [2]"),
                Verdict::Valid,
                &[],
            ),
            (
                "the first may not have been",
                serial(&[
                    ("info", "write", json!(1), json!(1)),
                    write(2),
                    read(json!([2])),
                ]),
                Verdict::Valid,
                &[],
            ),
            (
                "the second without an answer",
                serial(&[
                    write(1),
                    ("info", "write", json!(2), json!(2)),
                    read(json!([2])),
                ]),
                Verdict::Invalid,
                &["causal-reverse"],
            ),
            (
                "written twice",
                serial(&[write(1), write(1), read(json!([1]))]),
                Verdict::Unknown,
                &[],
            ),
            ("nothing read", serial(&[write(1)]), Verdict::Unknown, &[]),
        ],
    );
}

#[test]
fn corpora_agree() {
    let Some(corpora) = std::env::var_os("HARNESS_CORPORA").map(PathBuf::from) else {
        println!("HARNESS_CORPORA is not set: nothing was compared");
        return;
    };
    let table = [
        ("counter", "jepsen/counter.edn", Verdict::Valid),
        ("counter", "jepsen/counter.json", Verdict::Valid),
        ("long-fork", "jepsen/long-fork.edn", Verdict::Invalid),
        ("lock", "knossos/mutex/bad/etcd.edn", Verdict::Invalid),
        ("lock", "knossos/mutex/bad/hazelcast.edn", Verdict::Invalid),
    ];
    let mut compared = 0;
    for (name, file, expected) in table {
        let path = corpora.join("elle-cli/histories").join(file);
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        let history = format::read(&bytes, Format::detect(&bytes)).unwrap();
        let result = judge(
            &*registry::checker(name, &Value::Null).unwrap(),
            &history,
            &Meta::default(),
        );
        assert_eq!(result.verdict, expected, "{file}: {}", result.summary);
        compared += 1;
    }
    println!("{compared} compared");
    assert!(compared > 0);
}

#[test]
fn a_lock_that_only_its_owner_releases() {
    let table = [
        (
            "1 invoke acquire null\n1 ok acquire null\n1 invoke release null\n1 ok release null",
            Verdict::Valid,
        ),
        (
            "1 invoke acquire null\n1 ok acquire null\n2 invoke release null\n2 ok release null",
            Verdict::Invalid,
        ),
        (
            "1 invoke acquire null\n1 ok acquire null\n2 invoke acquire null\n2 ok acquire null",
            Verdict::Invalid,
        ),
        (
            "1 invoke acquire null\n1 info acquire null\n2 invoke acquire null\n2 ok acquire null",
            Verdict::Valid,
        ),
    ];
    for (lines, verdict) in table {
        assert_eq!(
            say("linearizable", &json!({"model": "owned-mutex"}), lines).0,
            verdict,
            "{lines}"
        );
    }
}

#[test]
fn no_checker_takes_an_option_that_it_does_not_have() {
    for name in registry::names() {
        let refused = registry::checker(name, &json!({ "frobs": 1 }));
        let refused = refused.err().map(|error| error.to_string());
        assert!(
            refused.is_some_and(|said| said.contains(name)),
            "{name} takes an option that nobody has"
        );
    }
}
