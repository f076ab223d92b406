//! One meaning of a history: judged straight from its bytes, and as a history in memory, results are the same to the byte,
//! but for the line and column of a malformed transaction.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, path::PathBuf};

use common::judge;
use harness_checkers::{
    generate::{self, Parameters, Plant, Workload},
    registry::{self, Source},
};
use harness_core::{
    event::{Event, EventType, Process},
    format::{self, Format},
    meta::Meta,
    seed::Seed,
    verdict::{Unlimited, Verdict},
};
use proptest::prelude::*;
use serde_json::{Value, json};

const MODELS: [&str; 3] = [
    "strict-serializable",
    "strong-session-serializable",
    "read-committed",
];

/// Numbers of threads that must come to the same as none.
const THREADS: [usize; 3] = [1, 2, 5];

/// Without the lines and columns of malformed transactions: a history in memory has none.
fn without_places(value: Value) -> Value {
    let strip = |text: &str| {
        let mut parts = text.split("line ");
        let mut told = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            let rest = rest.strip_prefix(", column ").unwrap_or(rest);
            let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            match rest.strip_prefix(": ") {
                Some(rest) => told.push_str(rest),
                None => told.push_str(&format!("line {part}")),
            }
        }
        told
    };
    match value {
        Value::String(text) => strip(&text).into(),
        Value::Array(items) => items.into_iter().map(without_places).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| (name, without_places(value)))
            .collect(),
        other => other,
    }
}

/// At the value of its operation; or at the operation, if that is of no usual shape.
#[test]
fn a_malformed_step_is_told_with_line_and_column() {
    let edn = concat!(
        "{:process 0, :type :invoke, :f :txn, :value [[:append 1 1]]}\n",
        "{:process 0, :type :ok, :f :txn, :value [[:append 1 1]]}\n",
        "{:process 0, :type :invoke, :f :txn, :value [[:append 1 2]]}\n",
        "{:process 0, :type :ok, :f :txn, :value [[:push 1 2]]}\n",
    );
    let unusual = edn.replace(":process 0, :type :ok", "\n:process 0 :type #_ 1 :ok");
    let json = concat!(
        "{\"process\": 0, \"type\": \"invoke\", \"f\": \"txn\", \"value\": [[\"append\", 1, 1]]}\n",
        "{\"process\": 0, \"type\": \"ok\", \"f\": \"txn\", \"value\": [[\"push\", 1, 2]]}\n",
    );
    let array = format!("[\n{}]\n", json.replacen("}\n", "},\n", 1));
    let longer = json.replace("\"ok\"", "\"ok\", \"more\": 1");
    let ours = format!(
        "{{\"format_version\":1}}\n{}",
        json.replace("{", "{\"index\": 0, \"time_ns\": 0, ")
    );
    for (text, format, place) in [
        (edn, Format::Edn, "line 4, column 41"),
        (&*unusual, Format::Edn, "line 5, column 1"),
        (json, Format::JepsenJson, "line 2, column 51"),
        (&*array, Format::JepsenJson, "line 3, column 51"),
        (&*longer, Format::JepsenJson, "line 2, column 1"),
        (&*ours, Format::Ours, "line 3, column 77"),
    ] {
        let source = Source {
            bytes: text.as_bytes(),
            format,
            threads: 0,
            release: &|_| {},
        };
        let straight = registry::check_bytes("list-append", &json!(null), &source, &Unlimited);
        let (result, _) = straight.unwrap();
        assert_eq!(result.verdict, Verdict::Unknown);
        let told = format!("{place}: [\"push\"");
        assert!(
            result.summary.contains(&told),
            "{place}: {}",
            result.summary
        );
    }
}

/// Both ways, by every checker and any number of threads; whether the bytes are a history at all.
fn same(bytes: &[u8], format: Format, models: &[&str]) -> bool {
    let history = format::read(bytes, format);
    for model in models {
        let options = json!({"model": model});
        for name in ["list-append", "rw-register"] {
            let by = |threads| {
                let source = Source {
                    bytes,
                    format,
                    threads,
                    release: &|_| {},
                };
                registry::check_bytes(name, &options, &source, &Unlimited)
                    .map(|(result, remarks)| (json!(result), remarks))
            };
            let straight = by(0);
            for threads in THREADS {
                assert_eq!(by(threads), straight, "{threads} threads");
            }
            match (&history, straight) {
                (Ok(history), Some((result, remarks))) => {
                    let checker = registry::checker(name, &options).unwrap();
                    let expected = judge(&*checker, history, &Meta::default());
                    assert_eq!(without_places(result), json!(expected));
                    assert_eq!(remarks, history.remarks);
                }
                (Err(_), None) => return false,
                (history, straight) => panic!(
                    "{:?} but {:?}:\n{}",
                    history.as_ref().err(),
                    straight.is_some(),
                    String::from_utf8_lossy(bytes)
                ),
            }
        }
    }
    true
}

fn files(folder: PathBuf, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(path, into);
        } else if path
            .extension()
            .is_some_and(|ending| ending == "edn" || ending == "json")
        {
            into.push(path);
        }
    }
}

#[test]
fn all_corpora() {
    let Some(corpora) = std::env::var_os("HARNESS_CORPORA").map(PathBuf::from) else {
        println!("HARNESS_CORPORA is not set: nothing was compared");
        return;
    };
    let mut paths = Vec::new();
    for folder in [
        "elle",
        "elle-cli",
        "elle-labelled/list-append",
        "elle-labelled/rw-register",
    ] {
        files(corpora.join(folder), &mut paths);
    }
    let mut read = 0;
    for path in &paths {
        let bytes = fs::read(path).unwrap();
        read += usize::from(same(&bytes, Format::detect(&bytes), &MODELS[..1]));
    }
    println!("{read} of {} files are histories", paths.len());
    assert!(read > 300, "{read}");
}

#[test]
fn generated_histories() {
    for seed in 0..12 {
        for plant in [None, Some(Plant::LostAppend)] {
            let parameters = Parameters {
                seed: Seed(seed),
                info: 0.1,
                fail: 0.1,
                keys: 3,
                nodes: 2,
                plant,
                ..Parameters::new(Workload::ListAppend, 400)
            };
            let events = generate::collect(&parameters).unwrap();
            for format in [Format::Ours, Format::Edn, Format::JepsenJson] {
                let mut bytes = Vec::new();
                format::write_events(&events, format, &mut bytes);
                assert!(same(&bytes, format, &MODELS));
            }
        }
    }
}

/// A history that is taken apart in several pieces, as a file: its keys are numbers or text.
fn long(
    seed: u64,
    workload: Workload,
    plant: Option<Plant>,
    text: bool,
    format: Format,
) -> Vec<u8> {
    let parameters = Parameters {
        seed: Seed(seed),
        info: 0.02,
        fail: 0.02,
        keys: 5,
        plant,
        ..Parameters::new(workload, 1_500)
    };
    let mut events = generate::collect(&parameters).unwrap();
    if text {
        for step in events
            .iter_mut()
            .flat_map(|event| event.value.as_array_mut())
            .flatten()
        {
            step[1] = json!(format!("key {}", step[1]));
        }
    }
    let mut bytes = Vec::new();
    format::write_events(&events, format, &mut bytes);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Nothing of a result depends on the number of threads, nor on the piece in which something odd stands.
    #[test]
    fn threads_judge_alike(
        seed in 0..1_000_u64,
        lists in any::<bool>(),
        plant in prop::sample::select(vec![None, Some(Plant::LostAppend), Some(Plant::OldSnapshot)]),
        text in any::<bool>(),
        edn in any::<bool>(),
        swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
        damage in prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
    ) {
        let format = if edn { Format::Edn } else { Format::Ours };
        let (workload, plant) = match lists {
            true => (Workload::ListAppend, plant),
            false => (Workload::RwRegister, None),
        };
        let mut bytes = long(seed, workload, plant, text, format);
        assert!(bytes.len() > 3 * 64 * 1024, "{}", bytes.len());
        // Other digits are other reads and writes, other processes, other times.
        let digits: Vec<usize> = (40..bytes.len()).filter(|at| bytes[*at].is_ascii_digit()).collect();
        for (one, other) in swaps {
            bytes.swap(digits[one.index(digits.len())], digits[other.index(digits.len())]);
        }
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = b" ]}[{\":,x9;#\\\n"[usize::from(byte) % 14];
        }
        same(&bytes, format, &MODELS[..1]);
    }
}

/// Values that steps may hold, and some that they may not.
fn elements() -> impl Strategy<Value = Value> {
    prop_oneof![
        8 => (0..4_i64).prop_map(Value::from),
        1 => Just(json!(null)),
        1 => Just(json!("a b")),
        1 => Just(json!(-7)),
        1 => Just(json!(i64::MIN)),
        1 => Just(json!(1.5)),
        1 => Just(json!({"k": [1]})),
    ]
}

fn steps() -> impl Strategy<Value = Value> {
    let read = prop_oneof![
        3 => prop::collection::vec(elements(), 0..5).prop_map(Value::from),
        1 => elements(),
    ];
    let name = prop_oneof![
        6 => Just("append"),
        6 => Just("w"),
        1 => Just("x"),
    ];
    prop_oneof![
        4 => (elements(), read).prop_map(|(key, value)| json!(["r", key, value])),
        4 => (name, elements(), elements()).prop_map(|(name, key, value)| json!([name, key, value])),
        1 => elements(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]
    #[test]
    fn any_values_and_any_damage(
        values in prop::collection::vec((prop::collection::vec(steps(), 0..4), 0..7_usize, 0..3_u64), 1..12),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
        format in prop::sample::select(vec![Format::Edn, Format::Ours, Format::JepsenJson]),
        lists in any::<bool>(),
    ) {
        let mut events = Vec::new();
        let mut open = [false; 3];
        for (value, kind, process) in values {
            let slot = &mut open[process as usize];
            let event_type = match (*slot, kind) {
                (false, _) => EventType::Invoke,
                (true, 0..=4) => EventType::Ok,
                (true, 5) => EventType::Fail,
                (true, _) => EventType::Info,
            };
            *slot = !*slot;
            // Most histories are of one kind of transactions, or nothing could be said about them.
            let keep = |step: &Value| step[0] != if lists { "w" } else { "append" };
            let value: Vec<Value> = value.into_iter().filter(keep).collect();
            events.push(Event {
                index: events.len() as u64,
                time_ns: 10 * events.len() as u64,
                process: Process::Client(process),
                node: None,
                event_type,
                f: if kind == 6 { "other".into() } else { "txn".into() },
                value: if value.is_empty() && kind == 4 { Value::Null } else { value.into() },
                error: None,
            });
        }
        let mut bytes = Vec::new();
        format::write_events(&events, format, &mut bytes);
        if let Some((at, byte)) = damage {
            let at = at.index(bytes.len());
            bytes[at] = b" ]}[{\":,x9;#\\\n"[usize::from(byte) % 14];
        }
        same(&bytes, format, &MODELS[..1]);
    }
}
