//! The verifier knows each model of `linearizable` as well as the search does: all kinds of operations, all spellings.
//!
//! Random small histories with answers from small domains. Where the search finds no order, its witness is confirmed;
//! where it finds one, the claim that there is none is refuted. And two objects in one history, with keys, are judged and
//! verified as each by itself.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::judge;
use harness_checkers::{
    registry,
    verify::{Finding, verify},
};
use harness_core::{
    event::{Event, EventType, Process},
    history::{History, Operation, Outcome, pair},
    meta::Meta,
    seed::Seed,
    verdict::{CheckInput, CheckResult, Verdict, Witness},
};
use rand::Rng;
use serde_json::{Value, json};

/// A model, its kinds of operations, and the initial values that it is given.
type Row = (&'static str, &'static [&'static str], Value);

fn table() -> Vec<Row> {
    vec![
        (
            "register",
            &["read", "r", "get", "write", "w", "put", "set"],
            json!([null, 0]),
        ),
        (
            "cas-register",
            &["read", "r", "get", "write", "w", "put", "set", "cas", "cas"],
            json!([null, 0]),
        ),
        (
            "key-value",
            &[
                "read", "r", "get", "write", "w", "put", "set", "append", "append",
            ],
            json!([null, "a", 1]),
        ),
        ("mutex", &["acquire", "release"], json!([null, true])),
        ("owned-mutex", &["acquire", "release"], json!([null, 1])),
        (
            "counter",
            &["add", "increment", "decrement", "read", "read"],
            json!([null, 1]),
        ),
        (
            "set",
            &["add", "remove", "read", "list"],
            json!([null, [1, 0, 1]]),
        ),
        ("list", &["append", "read", "read"], json!([null, [0]])),
        ("queue", &["enqueue", "dequeue"], json!([null, [1]])),
        ("stack", &["push", "pop"], json!([null, [1]])),
        (
            "multi-register",
            &["txn"],
            json!([null, {"x": 0}, {"x": 0, "y": 1}]),
        ),
        (
            "membership",
            &["join", "remove", "read", "list"],
            json!([null, [1, 0]]),
        ),
    ]
}

fn one_of<'a, T>(rng: &mut impl Rng, all: &'a [T]) -> &'a T {
    &all[rng.random_range(0..all.len())]
}

/// What is asked and what is answered; the two are the same unless it asks for something.
fn ask(rng: &mut impl Rng, model: &str, f: &str) -> (Value, Value) {
    let small = json!([null, 0, 1]);
    let texts = json!([null, "", "a", "ab", "1", 1, "a1"]);
    let lists = json!([null, [], [0], [1], [0, 1], [1, 0]]);
    let mut from = |all: &Value| one_of(rng, all.as_array().unwrap()).clone();
    match (model, f) {
        ("key-value", "read" | "r" | "get") => (Value::Null, from(&texts)),
        ("key-value", _) => both(from(&texts)),
        ("register" | "cas-register", "read" | "r" | "get") => (Value::Null, from(&small)),
        (_, "cas") => both(json!([from(&small), from(&small)])),
        ("counter", "read") => (Value::Null, from(&json!([-1, 0, 1, 2]))),
        ("counter", "add") => both(from(&json!([-1, 1, 2]))),
        (_, "increment" | "decrement") => both(from(&json!([null, 1, 2]))),
        (_, "acquire" | "release") => both(Value::Null),
        (_, "read" | "list") => (Value::Null, from(&lists)),
        (_, "dequeue" | "pop") => (Value::Null, from(&small)),
        (_, "txn") => {
            let (mut asked, mut answered) = (Vec::new(), Vec::new());
            for _ in 0..2 {
                let head = from(&json!(["r", "read", "w", "write"]));
                let register = from(&json!(["x", "y", 3]));
                let value = from(&small);
                let reads = head.as_str().unwrap().starts_with('r');
                asked.push(json!([
                    head,
                    register,
                    if reads { &Value::Null } else { &value }
                ]));
                answered.push(json!([head, register, value]));
            }
            (asked.into(), answered.into())
        }
        _ => both(from(&json!([0, 1]))),
    }
}

fn both(value: Value) -> (Value, Value) {
    (value.clone(), value)
}

/// Three processes, and a few operations.
fn history(seed: u64, model: &str, kinds: &[&str]) -> History {
    let mut rng = Seed(seed).stream("models").draw(0);
    let mut events: Vec<Event> = Vec::new();
    let mut open: Vec<Option<(&str, Value, Value)>> = vec![None; 3];
    let mut names = [0_u64, 1, 2];
    for _ in 0..rng.random_range(4..12) {
        let at = rng.random_range(0..3_usize);
        let (event_type, f, value) = match open[at].take() {
            None => {
                let f = *one_of(&mut rng, kinds);
                let (asked, answered) = ask(&mut rng, model, f);
                open[at] = Some((f, asked.clone(), answered));
                (EventType::Invoke, f, asked)
            }
            Some((f, asked, answered)) => match rng.random_range(0..10) {
                0 => (EventType::Info, f, asked),
                1 => (EventType::Fail, f, asked),
                _ => (EventType::Ok, f, answered),
            },
        };
        events.push(Event {
            index: events.len() as u64,
            time_ns: events.len() as u64,
            process: Process::Client(names[at]),
            node: None,
            event_type,
            f: f.into(),
            value,
            error: None,
        });
        if event_type == EventType::Info {
            names[at] += 3;
        }
    }
    pair(events).unwrap()
}

/// The claim that all of it together has no order: by whoever ended last.
fn lie(history: &History) -> Option<Witness> {
    let all = &history.operations;
    let last = all
        .iter()
        .filter(|one| one.outcome == Outcome::Ok)
        .max_by_key(|one| one.completed_index)?;
    Some(Witness {
        kind: "not-linearizable".to_owned(),
        title: String::new(),
        story: String::new(),
        operations: all.iter().map(|one| one.index).collect(),
        culprits: vec![last.index],
        edges: Vec::new(),
        nodes: Vec::new(),
        start_ns: 0,
        end_ns: 0,
        explanation: None,
    })
}

#[test]
fn all_kinds_of_all_models_are_verified_as_the_search_judges_them() {
    for (model, kinds, initials) in table() {
        let (mut valid, mut invalid) = (0, 0);
        for seed in 0..1_000 {
            let history = history(seed, model, kinds);
            let initials = initials.as_array().unwrap();
            let options = json!({
                "model": model,
                "keyed": "no",
                "initial": initials[seed as usize % initials.len()],
                "null_matches_any": seed % 5 == 0,
            });
            let checker = registry::checker("linearizable", &options).unwrap();
            let meta = Meta::default();
            let result = judge(&*checker, &history, &meta);
            let input = CheckInput::of_history(&history, &meta);
            match result.verdict {
                Verdict::Invalid => {
                    invalid += 1;
                    let found = verify(&options, &input, &result);
                    assert_eq!(
                        found,
                        [Finding::Confirmed],
                        "{model} seed {seed}: {:#?}",
                        history.operations
                    );
                }
                Verdict::Valid => {
                    let Some(lie) = lie(&history) else { continue };
                    valid += 1;
                    let claim = CheckResult {
                        witnesses: vec![lie],
                        ..result
                    };
                    let found = verify(&options, &input, &claim);
                    assert!(
                        matches!(found[0], Finding::Refuted(_)),
                        "{model} seed {seed}: {found:?} {:#?}",
                        history.operations
                    );
                }
                other => assert!(
                    history.operations.is_empty(),
                    "{model} seed {seed}: {other:?}: {}",
                    result.summary
                ),
            }
        }
        assert!(
            valid > 100 && invalid > 100,
            "{model}: {valid} valid, {invalid} invalid"
        );
    }
}

/// Both histories at once, one of the key "a", the other of 7.
fn both_keys(one: History, other: History) -> History {
    let mut both = History::default();
    for (key, history, place) in [(json!("a"), one, 0), (json!(7), other, 1)] {
        for mut operation in history.operations {
            operation.index = operation.index * 2 + place;
            operation.completed_index = operation.completed_index.map(|end| end * 2 + place);
            operation.process = match operation.process {
                Process::Client(number) => Process::Client(number * 2 + place),
                Process::Nemesis => Process::Nemesis,
            };
            operation.input = json!([key, operation.input]);
            operation.output = json!([key, operation.output]);
            both.operations.push(operation);
        }
        both.event_count += history.event_count;
    }
    both.operations.sort_by_key(|operation| operation.index);
    both
}

#[test]
fn two_objects_are_judged_and_verified_as_each_by_itself() {
    for (model, kinds, _) in table() {
        let (mut valid, mut invalid) = (0, 0);
        for seed in 0..300 {
            let (one, other) = (
                history(seed, model, kinds),
                history(seed + 300, model, kinds),
            );
            let asks = |operation: &Operation| {
                matches!(
                    &*operation.f,
                    "read" | "list" | "dequeue" | "pop" | "acquire"
                )
            };
            let shows = [&one, &other]
                .iter()
                .any(|part| part.operations.iter().any(asks));
            // Registers were told before, and several registers are one object.
            let told = !model.ends_with("register") && model != "key-value" && shows;
            if !told || one.operations.is_empty() || other.operations.is_empty() {
                continue;
            }
            let options = json!({"model": model});
            let checker = registry::checker("linearizable", &options).unwrap();
            let meta = Meta::default();
            let each = [&one, &other].map(|part| judge(&*checker, part, &meta).verdict);
            let both = both_keys(one, other);
            let result = judge(&*checker, &both, &meta);
            let context = format!("{model} seed {seed}: {}", result.summary);
            assert_eq!(result.verdict, Verdict::merge(each), "{context}");
            assert_eq!(result.figures["key_count"], json!(2), "{context}");
            assert!(result.notes.iter().any(|note| note.kind == "keyed"));
            let found = verify(&options, &CheckInput::of_history(&both, &meta), &result);
            assert!(
                found.iter().all(|found| *found == Finding::Confirmed),
                "{context}: {found:?}"
            );
            valid += u32::from(result.verdict == Verdict::Valid);
            invalid += found.len();
        }
        let registers = model.ends_with("register") || model == "key-value";
        assert!(
            registers || valid > 10 && invalid > 100,
            "{model}: {valid} {invalid}"
        );
    }
}

#[test]
fn what_is_read_of_a_set_or_list_is_a_list_or_nothing() {
    for (model, f) in [("set", "read"), ("list", "read"), ("membership", "list")] {
        let options = json!({"model": model});
        let checker = registry::checker("linearizable", &options).unwrap();
        let meta = Meta::default();
        for (answer, verdict) in [
            (Value::Null, Verdict::Valid),
            (json!([]), Verdict::Valid),
            (json!([5]), Verdict::Invalid),
            (json!(5), Verdict::Unknown),
            (json!({"5": 5}), Verdict::Unknown),
        ] {
            let events = [(EventType::Invoke, &Value::Null), (EventType::Ok, &answer)];
            let events = events
                .into_iter()
                .zip(0..)
                .map(|((event_type, value), index)| Event {
                    index,
                    time_ns: index,
                    process: Process::Client(0),
                    node: None,
                    event_type,
                    f: f.into(),
                    value: value.clone(),
                    error: None,
                });
            let history = pair(events).unwrap();
            let mut result = judge(&*checker, &history, &meta);
            assert_eq!(
                result.verdict, verdict,
                "{model} {answer}: {}",
                result.summary
            );
            // No order of malformed answers is claimed, nor is there one to be denied.
            result.witnesses = lie(&history).into_iter().collect();
            let input = CheckInput::of_history(&history, &meta);
            let found = verify(&options, &input, &result);
            let fits = match verdict {
                Verdict::Valid => matches!(found[0], Finding::Refuted(_)),
                Verdict::Invalid => found[0] == Finding::Confirmed,
                _ => matches!(found[0], Finding::NotTried(_)),
            };
            assert!(fits, "{model} {answer}: {found:?}");
        }
    }
}

#[test]
fn a_kind_that_the_model_has_not_is_not_tried() {
    let mut history = history(1, "counter", &["add", "read"]);
    history.operations[0].f = "multiply".into();
    let meta = Meta::default();
    let checker = registry::checker("linearizable", &json!({"model": "counter"})).unwrap();
    let mut result = judge(&*checker, &history, &meta);
    assert_eq!(result.verdict, Verdict::Unknown);
    result.witnesses = lie(&history).into_iter().collect();
    let input = CheckInput::of_history(&history, &meta);
    let found = verify(&json!({"model": "counter"}), &input, &result);
    assert!(matches!(found[..], [Finding::NotTried(_)]), "{found:?}");
}
