//! The linearizability checker against brute force, on small random histories; generated ones against their promise.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::judge;
use harness_checkers::{
    generate::{self, Parameters, Plant, Workload},
    linear::{Keyed, Linearizable, Options},
    registry,
};
use harness_core::{
    event::{Event, EventType, Process},
    history::{History, Operation, Outcome, pair},
    meta::Meta,
    seed::Seed,
    verdict::Verdict,
};
use proptest::{prelude::*, strategy::ValueTree};
use serde_json::{Value, json};

/// Tries every order. Shares no code with the search: it works on the operations' JSON.
fn brute_force(history: &History) -> bool {
    fn after(state: &Value, operation: &Operation) -> Option<Value> {
        match &*operation.f {
            "read" if operation.output == *state => Some(state.clone()),
            "write" => Some(operation.input.clone()),
            "cas" if operation.input[0] == *state => Some(operation.input[1].clone()),
            "append" => Some(json!(format!(
                "{}{}",
                state.as_str()?,
                operation.input.as_str()?
            ))),
            _ => None,
        }
    }
    fn go(state: &Value, left: &[&Operation]) -> bool {
        if left
            .iter()
            .all(|operation| operation.outcome == Outcome::Info)
        {
            return true;
        }
        (0..left.len()).any(|at| {
            let chosen = left[at];
            let first = left.iter().all(|other| {
                other.outcome == Outcome::Info || other.completed_index.unwrap() > chosen.index
            });
            if !first {
                return false;
            }
            let mut rest = left.to_vec();
            rest.remove(at);
            after(state, chosen).is_some_and(|state| go(&state, &rest))
        })
    }
    let left: Vec<&Operation> = history
        .operations
        .iter()
        .filter(|operation| operation.outcome != Outcome::Fail)
        .filter(|operation| !(operation.outcome == Outcome::Info && &*operation.f == "read"))
        .collect();
    let initial = if history
        .operations
        .iter()
        .any(|operation| &*operation.f == "append")
    {
        json!("")
    } else {
        Value::Null
    };
    go(&initial, &left)
}

/// Small histories of three to five processes with few values: about half of them have no legal order.
fn small_history(text: bool) -> impl Strategy<Value = History> {
    let step = (0_u64..4, 0_u8..8, 0_u8..3, 0_u8..3, 0_u8..10);
    prop::collection::vec(step, 4..20).prop_map(move |steps| {
        let mut events = Vec::new();
        let mut open: Vec<Option<(String, Value)>> = vec![None; 4];
        let mut names: Vec<u64> = (0..4).collect();
        let value = |number: u8| {
            if text {
                json!(["", "a", "b", "ab"][number as usize % 4])
            } else {
                json!(number)
            }
        };
        for (process, kind, first, second, ending) in steps {
            let at = process as usize;
            let mut push = |event_type, f: &str, value| {
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
            };
            match open[at].take() {
                None => {
                    let (f, input) = match (kind, text) {
                        (0..4, _) => ("read", Value::Null),
                        (4..6, false) => ("write", value(first)),
                        (_, false) => ("cas", json!([first, second])),
                        (4, true) => ("write", value(first)),
                        (_, true) => ("append", value(1 + first % 2)),
                    };
                    push(EventType::Invoke, f, input.clone());
                    open[at] = Some((f.to_owned(), input));
                }
                Some((f, input)) => {
                    let output = if f == "read" { value(first) } else { input };
                    match ending {
                        0 => push(EventType::Fail, &f, output),
                        1 | 2 => {
                            push(EventType::Info, &f, output);
                            names[at] += 10;
                        }
                        _ => push(EventType::Ok, &f, output),
                    }
                }
            }
        }
        pair(events).unwrap()
    })
}

fn linearizable(model: &str, keyed: Keyed) -> Linearizable {
    Linearizable::new(Options {
        model: model.into(),
        keyed,
        ..Options::default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn registers_agree_with_brute_force(history in small_history(false)) {
        let result = judge(&linearizable("cas-register", Keyed::No), &history, &Meta::default());
        let expected = if brute_force(&history) { Verdict::Valid } else { Verdict::Invalid };
        prop_assert_eq!(result.verdict, expected, "{}", result.summary);
        if expected == Verdict::Invalid {
            // The witness' own claim: the prefix up to the culprit's end fails, and the one before does not.
            let culprit = result.witnesses[0].culprits[0];
            let end = history.operations.iter().find(|operation| operation.index == culprit).unwrap().completed_index.unwrap();
            prop_assert!(!brute_force(&prefix(&history, end + 1)));
            prop_assert!(brute_force(&prefix(&history, end)));
        }
    }

    #[test]
    fn texts_agree_with_brute_force(history in small_history(true)) {
        let result = judge(&linearizable("key-value", Keyed::No), &history, &Meta::default());
        let mut with_append = history.clone();
        // Brute force starts at "" only where something is appended; make it so.
        for operation in &mut with_append.operations {
            if &*operation.f == "read" && operation.output.is_null() { operation.output = json!(""); }
        }
        let starts_empty = with_append.operations.iter().any(|operation| &*operation.f == "append");
        prop_assume!(starts_empty);
        let expected = if brute_force(&with_append) { Verdict::Valid } else { Verdict::Invalid };
        prop_assert_eq!(result.verdict, expected, "{}", result.summary);
    }
}

/// Small histories in which all writes differ, with reads of anything.
fn unique_history() -> impl Strategy<Value = History> {
    (small_history(false), prop::collection::vec(0_u64..6, 20)).prop_map(|(mut history, reads)| {
        history
            .operations
            .retain(|operation| &*operation.f != "cas");
        for (number, operation) in history.operations.iter_mut().enumerate() {
            if &*operation.f == "write" {
                operation.input = json!(number);
            } else if operation.outcome == Outcome::Ok {
                let seen = reads[number % reads.len()];
                operation.output = if seen == 0 {
                    Value::Null
                } else {
                    json!((number as u64 + 1).saturating_sub(seen))
                };
            }
        }
        history
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn zones_agree_with_brute_force_and_with_the_search(history in unique_history()) {
        let by_zones = judge(&linearizable("register", Keyed::No), &history, &Meta::default());
        let by_search = Linearizable::new(Options { model: "register".into(), keyed: Keyed::No, zones: false, ..Options::default() });
        let by_search = judge(&by_search, &history, &Meta::default());
        let expected = if brute_force(&history) { Verdict::Valid } else { Verdict::Invalid };
        prop_assert_eq!(by_search.verdict, expected, "{}", by_search.summary);
        prop_assert_eq!(by_zones.verdict, expected, "{}", by_zones.summary);
        // Both find the shortest failing prefix.
        prop_assert_eq!(
            by_zones.witnesses.first().map(|witness| witness.culprits.clone()),
            by_search.witnesses.first().map(|witness| witness.culprits.clone())
        );
    }
}

/// Small histories in which every value is set once, some by a compare-and-set from a value close by.
fn unique_cas_history() -> impl Strategy<Value = History> {
    (small_history(false), prop::collection::vec(0_u64..5, 20)).prop_map(|(mut history, draws)| {
        for (number, operation) in history.operations.iter_mut().enumerate() {
            let back = draws[number % draws.len()];
            let near = match (number as u64).checked_sub(back) {
                Some(number) if back > 0 => json!(number),
                _ => Value::Null,
            };
            match &*operation.f {
                "write" => operation.input = json!(number),
                "cas" => operation.input = json!([near, number]),
                _ if operation.outcome == Outcome::Ok => operation.output = near,
                _ => {}
            }
        }
        history
    })
}

#[test]
fn blocks_agree_with_brute_force_and_with_the_search() {
    let (mut valid, mut invalid, mut chained) = (0, 0, 0);
    let run = |history: &History, zones: bool| {
        let options = Options {
            keyed: Keyed::No,
            zones,
            ..Options::default()
        };
        judge(&Linearizable::new(options), history, &Meta::default())
    };
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = unique_cas_history();
    for _ in 0..20_000 {
        let history = strategy.new_tree(&mut runner).unwrap().current();
        if history.operations.is_empty() {
            continue;
        }
        let (by_blocks, by_search) = (run(&history, true), run(&history, false));
        let expected = if brute_force(&history) {
            Verdict::Valid
        } else {
            Verdict::Invalid
        };
        assert_eq!(by_blocks.verdict, expected, "{history:?}");
        assert_eq!(by_search.verdict, expected, "{history:?}");
        assert_eq!(by_blocks.figures["keys_by_zones"], json!(1));
        // Both find the shortest failing prefix.
        let culprits = |result: &harness_core::verdict::CheckResult| {
            let first = result.witnesses.first();
            first.map(|witness| witness.culprits.clone())
        };
        assert_eq!(culprits(&by_blocks), culprits(&by_search), "{history:?}");
        match expected {
            Verdict::Valid => valid += 1,
            _ => invalid += 1,
        }
        let swapped = history
            .operations
            .iter()
            .filter(|operation| &*operation.f == "cas" && operation.outcome == Outcome::Ok);
        chained += usize::from(expected == Verdict::Valid && swapped.count() > 1);
    }
    println!("{valid} valid, {invalid} invalid, {chained} valid with several compare-and-sets");
    assert!(
        valid > 1_000 && invalid > 1_000 && chained > 50,
        "{valid} valid, {invalid} invalid, {chained} valid with several compare-and-sets"
    );
}

/// The history as it was before the event of that index.
fn prefix(history: &History, before: u64) -> History {
    let mut cut = history.clone();
    cut.operations.retain(|operation| operation.index < before);
    for operation in &mut cut.operations {
        // That an operation failed is known from the whole history.
        if operation.outcome == Outcome::Ok
            && operation.completed_index.is_some_and(|end| end >= before)
        {
            operation.outcome = Outcome::Info;
            operation.completed_index = None;
            operation.output = Value::Null;
        }
    }
    cut
}

fn checker_for(workload: Workload) -> Box<dyn harness_core::verdict::Checker> {
    let (name, options) = match workload {
        Workload::Register => ("linearizable", json!({"model": "register"})),
        Workload::CasRegister => ("linearizable", json!({"model": "cas-register"})),
        Workload::KeyValue => ("linearizable", json!({"model": "key-value"})),
        Workload::Set => ("set-full", json!(null)),
        Workload::Bank => ("bank", json!(null)),
        Workload::ListAppend => ("append", json!(null)),
        Workload::RwRegister => ("rw-register", json!(null)),
    };
    registry::checker(name, &options).unwrap()
}

fn verdict_on(parameters: &Parameters) -> harness_core::verdict::CheckResult {
    let history = pair(generate::collect(parameters).unwrap()).unwrap();
    let meta = Meta {
        workload_options: generate::workload_options(parameters),
        ..Meta::default()
    };
    judge(&*checker_for(parameters.workload), &history, &meta)
}

#[test]
fn clean_generated_histories_are_valid() {
    for (workload, name) in Workload::ALL {
        if workload == Workload::ListAppend {
            continue;
        }
        for seed in 0..60 {
            let mut parameters = Parameters::new(workload, 300);
            parameters.seed = Seed(seed);
            parameters.keys = 1 + seed % 5;
            parameters.values = if seed % 3 == 0 && workload != Workload::KeyValue {
                5
            } else {
                0
            };
            parameters.info = 0.05;
            let result = verdict_on(&parameters);
            assert_eq!(
                result.verdict,
                Verdict::Valid,
                "{name}, seed {seed}: {} {:#?}",
                result.summary,
                result.notes
            );
        }
    }
}

#[test]
fn planted_anomalies_are_found() {
    let table = [
        (Workload::Register, Plant::StaleRead, &["stale-read"][..]),
        (Workload::CasRegister, Plant::StaleRead, &["stale-read"]),
        (
            Workload::KeyValue,
            Plant::StaleRead,
            &["not-linearizable", "stale-read"],
        ),
        (
            Workload::Register,
            Plant::LostWrite,
            &["lost-write", "stale-read"],
        ),
        (
            Workload::CasRegister,
            Plant::LostWrite,
            &["lost-write", "stale-read"],
        ),
        (
            Workload::KeyValue,
            Plant::LostWrite,
            &["not-linearizable", "stale-read", "lost-write"],
        ),
        (Workload::Set, Plant::LostElement, &["lost"]),
        (Workload::Set, Plant::DuplicateElement, &["duplicated"]),
        (Workload::Bank, Plant::BrokenTotal, &["wrong-total"]),
    ];
    for (workload, plant, kinds) in table {
        for seed in 0..40 {
            let mut parameters = Parameters::new(workload, 400);
            parameters.seed = Seed(seed);
            parameters.keys = 4;
            parameters.plant = Some(plant);
            parameters.nodes = 3;
            assert_eq!(
                generate::generate(&parameters, |_| {}),
                Ok(true),
                "{plant:?} was not planted, seed {seed}"
            );
            let result = verdict_on(&parameters);
            assert_eq!(
                result.verdict,
                Verdict::Invalid,
                "{workload:?} {plant:?} seed {seed}: {}",
                result.summary
            );
            let witness = &result.witnesses[0];
            assert!(
                kinds.contains(&witness.kind.as_str()),
                "{workload:?} {plant:?} seed {seed}: {} {}",
                witness.kind,
                witness.story
            );
            assert!(!witness.operations.is_empty() && !witness.culprits.is_empty());
            if seed == 0 {
                println!(
                    "{workload:?} {plant:?}: {} {}",
                    witness.title, witness.story
                );
            }
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    let parameters = Parameters::new(Workload::ListAppend, 200);
    assert_eq!(
        generate::collect(&parameters),
        generate::collect(&parameters)
    );
    let other = Parameters {
        seed: Seed(2),
        ..parameters.clone()
    };
    assert_ne!(generate::collect(&parameters), generate::collect(&other));
}
