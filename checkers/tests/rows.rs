//! Histories judged from bytes against the same histories judged as trees of values: verdict, summary and witnesses must
//! be the same.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, path::PathBuf};

use common::judge;
use harness_checkers::{
    generate::{self, Parameters, Plant, Workload},
    registry::{self, Source},
    verify::{Finding, verify},
};
use harness_core::{
    event::{Event, EventType, OpError, Process},
    format::{self, Format},
    meta::Meta,
    seed::Seed,
    verdict::{CheckInput, CheckResult, Unlimited, Verdict},
};
use rand::Rng;
use serde_json::{Value, json};

fn encode(events: &[Event], format: Format) -> Vec<u8> {
    let mut bytes = Vec::new();
    format::write_events(events, format, &mut bytes);
    bytes
}

fn from_bytes(
    bytes: &[u8],
    format: Format,
    options: &Value,
    threads: usize,
) -> Option<CheckResult> {
    let source = Source {
        bytes,
        format,
        threads,
        release: &|_| {},
    };
    registry::check_bytes("linearizable", options, &source, &Unlimited).map(|(result, _)| result)
}

/// Both ways; whether the bytes were taken, and the verdict.
fn both(what: &str, bytes: &[u8], format: Format, options: &Value) -> (bool, Verdict) {
    let history = format::read(bytes, format).unwrap();
    let checker = registry::checker("linearizable", options).unwrap();
    let slow = judge(&*checker, &history, &Meta::default());
    let Some(fast) = from_bytes(bytes, format, options, 0) else {
        return (false, slow.verdict);
    };
    assert_eq!(fast.verdict, slow.verdict, "{what}");
    assert_eq!(fast.summary, slow.summary, "{what}");
    assert_eq!(fast.witnesses, slow.witnesses, "{what}");
    assert_eq!(fast.notes, slow.notes, "{what}");
    let meta = Meta::default();
    let input = CheckInput::of_history(&history, &meta);
    for finding in verify(options, &input, &fast) {
        let refuted = matches!(finding, Finding::Refuted(_));
        assert!(!refuted, "{what}: {finding:?}: {:?}", fast.witnesses);
    }
    (true, slow.verdict)
}

#[test]
fn generated_histories_in_all_formats() {
    let table = [
        (Workload::Register, "register", None, Some(true)),
        (
            Workload::Register,
            "cas-register",
            Some(Plant::StaleRead),
            Some(true),
        ),
        (
            Workload::Register,
            "key-value",
            Some(Plant::LostWrite),
            Some(false),
        ),
        (Workload::CasRegister, "cas-register", None, Some(true)),
        // It depends on how much of the history is about the key that is told.
        (
            Workload::CasRegister,
            "cas-register",
            Some(Plant::StaleRead),
            None,
        ),
        (Workload::KeyValue, "key-value", None, Some(true)),
        (
            Workload::KeyValue,
            "key-value",
            Some(Plant::StaleRead),
            None,
        ),
    ];
    for (workload, model, plant, taken) in table {
        for seed in 0..5 {
            let parameters = Parameters {
                seed: Seed(seed),
                plant,
                nodes: 3,
                ..Parameters::new(workload, 400)
            };
            let events = generate::collect(&parameters).unwrap();
            let options = json!({"model": model});
            for format in [Format::Ours, Format::Edn, Format::JepsenJson] {
                let bytes = encode(&events, format);
                let what = format!("{model} {plant:?} seed {seed} {}", format.name());
                let (was_taken, verdict) = both(&what, &bytes, format, &options);
                assert_eq!(was_taken, taken.unwrap_or(was_taken), "{what}");
                let expected = if plant.is_some() {
                    Verdict::Invalid
                } else {
                    Verdict::Valid
                };
                assert_eq!(verdict, expected, "{what}");
            }
        }
    }
}

/// Small histories of two keys: each write has a value of its own, reads guess, and so do compare-and-sets.
fn small(seed: u64, unique: bool, text: bool, cas: bool) -> Vec<Event> {
    let mut rng = Seed(seed).stream("small").draw(0);
    let mut events: Vec<Event> = Vec::new();
    let mut open: Vec<Option<(&str, Value)>> = vec![None; 3];
    let mut names = [0_u64, 1, 2];
    let mut written = 0;
    for _ in 0..rng.random_range(4..24) {
        let at = rng.random_range(0..3_usize);
        let (event_type, f, value) = if let Some((f, input)) = open[at].take() {
            let mut output = input;
            if f == "read" {
                let guess = rng.random_range(0..=written);
                output[1] = match (guess, text) {
                    (0, _) => Value::Null,
                    (_, true) => json!(format!("v{guess}")),
                    (_, false) => json!(guess),
                };
            }
            let event_type = match rng.random_range(0..10) {
                0 => EventType::Fail,
                1 => EventType::Info,
                _ => EventType::Ok,
            };
            (event_type, f, output)
        } else {
            let key = rng.random_range(0..2);
            let (f, input) = if rng.random() {
                ("read", json!([key, null]))
            } else {
                written += u64::from(unique || written == 0 || rng.random());
                if cas && rng.random() {
                    let old = [json!(null), json!(written - 1), json!(1)];
                    ("cas", json!([key, [old[rng.random_range(0..3)], written]]))
                } else if text {
                    ("write", json!([key, format!("v{written}")]))
                } else {
                    ("write", json!([key, written]))
                }
            };
            open[at] = Some((f, input.clone()));
            (EventType::Invoke, f, input)
        };
        events.push(Event {
            index: events.len() as u64,
            time_ns: events.len() as u64,
            process: Process::Client(names[at]),
            node: None,
            event_type,
            f: f.into(),
            value,
            error: (event_type == EventType::Fail && rng.random()).then(|| OpError {
                kind: format::MISMATCH.to_owned(),
                message: String::new(),
            }),
        });
        if event_type == EventType::Info {
            names[at] += 3;
        }
    }
    events
}

#[test]
fn small_histories_are_judged_alike() {
    let (mut taken, mut invalid) = (0, 0);
    for seed in 0..3_000 {
        let events = small(seed, seed % 3 != 0, seed % 2 == 0, false);
        let format = if seed % 5 == 0 {
            Format::Edn
        } else {
            Format::Ours
        };
        let model = ["register", "key-value"][(seed / 2 % 2) as usize];
        let (was_taken, verdict) = both(
            &format!("seed {seed}"),
            &encode(&events, format),
            format,
            &json!({"model": model}),
        );
        taken += u32::from(was_taken);
        invalid += u32::from(was_taken && verdict == Verdict::Invalid);
    }
    assert!(
        taken > 1_500 && invalid > 500,
        "{taken} taken, {invalid} of them invalid"
    );
}

#[test]
fn small_histories_with_compare_and_sets_are_judged_alike() {
    let (mut valid, mut invalid) = (0, 0);
    for seed in 0..3_000 {
        let bytes = encode(&small(seed, seed % 3 != 0, false, true), Format::Ours);
        let what = format!("seed {seed}");
        let (taken, verdict) = both(&what, &bytes, Format::Ours, &json!({}));
        valid += u32::from(taken && verdict == Verdict::Valid);
        invalid += u32::from(taken && verdict == Verdict::Invalid);
    }
    assert!(valid > 300 && invalid > 300, "{valid} {invalid}");
}

#[test]
fn a_large_history_is_the_same_with_threads_and_told_in_part() {
    for plant in [None, Some(Plant::StaleRead)] {
        let parameters = Parameters {
            keys: 1,
            plant,
            ..Parameters::new(Workload::Register, 21_000)
        };
        let bytes = encode(&generate::collect(&parameters).unwrap(), Format::Ours);
        let options = json!({"model": "register"});
        let alone = from_bytes(&bytes, Format::Ours, &options, 0).unwrap();
        let helped = from_bytes(&bytes, Format::Ours, &options, 3).unwrap();
        assert_eq!(alone, helped);
        let expected = if plant.is_some() {
            Verdict::Invalid
        } else {
            Verdict::Valid
        };
        assert_eq!(alone.verdict, expected);
        assert_eq!(alone.looked_at, 21_000);
        assert_eq!(alone.witnesses.len(), usize::from(plant.is_some()));
        if let Some(witness) = alone.witnesses.first() {
            assert_eq!(witness.kind, "stale-read", "{}", witness.story);
        }
    }
}

#[test]
fn what_is_malformed_or_odd_goes_the_other_way() {
    let header = "{\"format_version\":1}\n";
    let line = |index: u32, process: u32, kind: &str, value: &str| {
        format!(
            "{{\"index\":{index},\"time_ns\":{index},\"process\":{process},\"type\":\"{kind}\",\"f\":\"write\",\"value\":{value}}}\n"
        )
    };
    let good = [line(0, 1, "invoke", "[0,1]"), line(1, 1, "ok", "[0,1]")].concat();
    let table = [
        ("good", good.clone(), true),
        ("torn", format!("{good}{{\"index\":2,\"time_ns\":"), true),
        ("no last newline", good.trim_end().to_owned(), true),
        (
            "a field that is not ours",
            good.replace("\"process\"", "\"x\":1,\"process\""),
            false,
        ),
        (
            "twice the same field",
            good.replace("\"process\":1", "\"process\":1,\"process\":1"),
            false,
        ),
        (
            "a field is missing",
            good.replace("\"time_ns\":0,", ""),
            false,
        ),
        ("a fraction", good.replace("[0,1]", "[0,1.0]"), false),
        ("a tree", good.replace("[0,1]", "[0,[1,[2]]]"), false),
        ("an escape", good.replace("[0,1]", "[0,\"a\\n\"]"), false),
        (
            "too large a number",
            good.replace("[0,1]", "[0,9999999999999999999]"),
            false,
        ),
        (
            "completed twice",
            format!("{good}{}", line(2, 1, "ok", "[0,1]")),
            false,
        ),
        (
            "open twice",
            format!(
                "{}{}",
                line(0, 1, "invoke", "[0,1]"),
                line(1, 1, "invoke", "[0,2]")
            ),
            false,
        ),
        (
            "indices go back",
            format!(
                "{}{}",
                line(5, 1, "invoke", "[0,1]"),
                line(1, 1, "ok", "[0,1]")
            ),
            false,
        ),
        ("nothing", String::new(), false),
        ("space within lines", good.replace(",", ", "), true),
        (
            "an event over two lines",
            good.replacen(",\"process\"", "\n,\"process\"", 1),
            false,
        ),
        (
            "a value over two lines",
            good.replacen("[0,1]", "[0,\n1]", 1),
            false,
        ),
        ("two events in a line", good.replacen("}\n", "}", 1), false),
    ];
    for (what, text, taken) in table {
        let bytes = format!("{header}{text}").into_bytes();
        let result = from_bytes(&bytes, Format::Ours, &json!({"model": "register"}), 0);
        assert_eq!(result.is_some(), taken, "{what}");
    }
}

#[test]
fn corpora_are_judged_alike() {
    let Some(corpora) = std::env::var_os("HARNESS_CORPORA").map(PathBuf::from) else {
        println!("HARNESS_CORPORA is not set: nothing was compared");
        return;
    };
    let folders = [
        ("porcupine/etcd", json!({"keyed": "no"})),
        ("porcupine/kv", json!({"model": "key-value"})),
        (
            "knossos/data/cas-register/good",
            json!({"keyed": "no", "initial": 0, "null_matches_any": true}),
        ),
        (
            "knossos/data/cas-register/bad",
            json!({"keyed": "no", "initial": 0, "null_matches_any": true}),
        ),
    ];
    let (mut compared, mut taken) = (0, 0);
    for (folder, options) in folders {
        let Ok(files) = fs::read_dir(corpora.join(folder)) else {
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            if path.is_dir() {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            compared += 1;
            taken += u32::from(
                both(
                    &path.display().to_string(),
                    &bytes,
                    Format::detect(&bytes),
                    &options,
                )
                .0,
            );
        }
    }
    println!("{compared} compared, {taken} of them straight from bytes");
    assert!(compared >= 71);
}
