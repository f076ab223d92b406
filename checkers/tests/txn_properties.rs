//! Transactions against brute force: every order of small histories is tried, and every order of versions.
//!
//! The oracle shares no code with the checker: it plays transactions one after the other on a map of JSON values. A history is
//! serializable if some order of its transactions explains all reads, strictly so if that order keeps real time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;

use common::judge;
use harness_checkers::{
    generate::{self, Parameters, Plant, Workload},
    registry,
};
use harness_core::{
    event::{Event, EventType, Process},
    history::{History, Operation, Outcome, pair},
    meta::Meta,
    seed::Seed,
    verdict::{CheckResult, Verdict},
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Transactions of a small history: few enough for all their orders.
const TRANSACTIONS_LIMIT: usize = 7;
/// Histories that a property tries.
const CASES: u32 = 1_500;

/// How a store misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Store {
    Serial,
    /// Reads of a transaction are of a state of before, writes land now.
    Stale,
    /// Steps of transactions are interleaved.
    Interleaved,
    /// Transactions read a snapshot and append to what is there when they end.
    Snapshot,
}

struct Maker {
    rng: ChaCha8Rng,
    lists: bool,
    store: Store,
    next: u64,
    states: Vec<HashMap<u64, Value>>,
}

impl Maker {
    fn plan(&mut self) -> Vec<Value> {
        let steps = self.rng.random_range(1..=3);
        (0..steps)
            .map(|_| {
                let key = self.rng.random_range(0..2_u64);
                if self.rng.random_bool(0.5) {
                    return json!(["r", key, null]);
                }
                self.next += 1;
                json!([if self.lists { "append" } else { "w" }, key, self.next])
            })
            .collect()
    }

    fn step(&mut self, step: &Value, snapshot: &mut HashMap<u64, Value>) -> Value {
        let key = step[1].as_u64().unwrap();
        let mut state = self.states.last().cloned().unwrap_or_default();
        if step[0] == "r" {
            let seen = match self.store {
                Store::Serial | Store::Interleaved => &state,
                Store::Stale | Store::Snapshot => &*snapshot,
            };
            return json!(["r", key, seen.get(&key).cloned().unwrap_or_default()]);
        }
        for map in [&mut state, snapshot] {
            let value = map.entry(key).or_default();
            *value = match (self.lists, value.as_array()) {
                (false, _) => step[2].clone(),
                (true, None) => json!([step[2]]),
                (true, Some(list)) => list
                    .iter()
                    .chain([&step[2]])
                    .cloned()
                    .collect::<Vec<_>>()
                    .into(),
            };
        }
        self.states.push(state);
        step.clone()
    }

    /// A history of up to [`TRANSACTIONS_LIMIT`] transactions of three processes.
    fn history(&mut self) -> History {
        struct Open {
            done: Vec<Value>,
            left: Vec<Value>,
            snapshot: HashMap<u64, Value>,
        }
        let mut events: Vec<Event> = Vec::new();
        let mut open: HashMap<u64, Open> = HashMap::new();
        let mut numbers = [0_u64, 1, 2];
        let mut begun = 0;
        while begun < TRANSACTIONS_LIMIT || !open.is_empty() {
            let slot = self.rng.random_range(0..numbers.len());
            let process = numbers[slot];
            let Some(mut txn) = open.remove(&process) else {
                if begun < TRANSACTIONS_LIMIT {
                    begun += 1;
                    let plan = self.plan();
                    let back = if self.store == Store::Stale { 3 } else { 0 };
                    let at = self
                        .states
                        .len()
                        .saturating_sub(1 + self.rng.random_range(0..=back));
                    events.push(event(
                        &events,
                        process,
                        EventType::Invoke,
                        plan.clone().into(),
                    ));
                    open.insert(
                        process,
                        Open {
                            done: Vec::new(),
                            left: plan,
                            snapshot: self.states.get(at).cloned().unwrap_or_default(),
                        },
                    );
                }
                continue;
            };
            let at_once = matches!(self.store, Store::Serial) || self.rng.random_bool(0.5);
            while !txn.left.is_empty() {
                let step = txn.left.remove(0);
                let answer = self.step(&step, &mut txn.snapshot);
                txn.done.push(answer);
                if !at_once {
                    break;
                }
            }
            if !txn.left.is_empty() || self.rng.random_bool(0.3) {
                open.insert(process, txn);
                continue;
            }
            let end = if self.rng.random_bool(0.15) {
                EventType::Info
            } else {
                EventType::Ok
            };
            let answer = if end == EventType::Ok {
                txn.done.into()
            } else {
                Value::Null
            };
            events.push(event(&events, process, end, answer));
            if end == EventType::Info {
                numbers[slot] = process + 3;
            }
        }
        pair(events).unwrap()
    }
}

fn event(before: &[Event], process: u64, event_type: EventType, value: Value) -> Event {
    Event {
        index: before.len() as u64,
        time_ns: before.len() as u64 * 1_000_000,
        process: Process::Client(process),
        node: None,
        event_type,
        f: "txn".into(),
        value,
        error: None,
    }
}

/// Whether some order of the transactions explains all reads.
fn brute_force(history: &History, realtime: bool) -> bool {
    fn play(state: &HashMap<u64, Value>, txn: &Operation) -> Option<HashMap<u64, Value>> {
        let mut state = state.clone();
        let known = txn.outcome == Outcome::Ok;
        for step in if known { &txn.output } else { &txn.input }
            .as_array()
            .unwrap()
        {
            let value = state.entry(step[1].as_u64().unwrap()).or_default();
            match step[0].as_str().unwrap() {
                "r" if known && *value != step[2] => return None,
                "r" => {}
                "w" => *value = step[2].clone(),
                _ => {
                    let mut list = value.as_array().cloned().unwrap_or_default();
                    list.push(step[2].clone());
                    *value = list.into();
                }
            }
        }
        Some(state)
    }
    fn go(state: &HashMap<u64, Value>, left: &[&Operation], realtime: bool) -> bool {
        if left.iter().all(|txn| txn.outcome == Outcome::Info) {
            return true;
        }
        (0..left.len()).any(|at| {
            let chosen = left[at];
            let may_be_next = !realtime
                || left.iter().all(|other| {
                    other.outcome != Outcome::Ok || other.completed_index.unwrap() > chosen.index
                });
            let mut rest = left.to_vec();
            rest.remove(at);
            may_be_next && play(state, chosen).is_some_and(|state| go(&state, &rest, realtime))
        })
    }
    let left: Vec<&Operation> = history
        .operations
        .iter()
        .filter(|txn| txn.outcome != Outcome::Fail)
        .collect();
    go(&HashMap::new(), &left, realtime)
}

/// What a checker of transactions is to say: of no transaction that succeeded, nothing.
fn by_brute_force(history: &History, realtime: bool) -> Verdict {
    let told = |txn: &Operation| txn.outcome == Outcome::Ok;
    if !history.operations.iter().any(told) {
        Verdict::Unknown
    } else if brute_force(history, realtime) {
        Verdict::Valid
    } else {
        Verdict::Invalid
    }
}

fn check(name: &str, model: &str, history: &History) -> CheckResult {
    let checker = registry::checker(name, &json!({ "model": model })).unwrap();
    judge(&*checker, history, &Meta::default())
}

/// Every witness names operations of the history, and a cycle's edges follow each other around.
fn assert_witnesses(result: &CheckResult, history: &History) {
    assert!(result.verdict != Verdict::Invalid || !result.witnesses.is_empty());
    for witness in &result.witnesses {
        assert!(!witness.operations.is_empty(), "{witness:?}");
        for index in &witness.operations {
            assert!(
                history.operations.iter().any(|txn| txn.index == *index),
                "{witness:?}"
            );
        }
        if witness.kind.starts_with('G') && !matches!(&*witness.kind, "G1a" | "G1b") {
            let edges = &witness.edges;
            assert!(edges.len() >= 2, "{witness:?}");
            for (edge, next) in edges.iter().zip(edges.iter().cycle().skip(1)) {
                assert_eq!(edge.to, next.from, "{witness:?}");
                assert!(!edge.words.contains("by what they read"), "{witness:?}");
            }
            let distinct: std::collections::HashSet<u64> =
                edges.iter().map(|edge| edge.from).collect();
            assert_eq!(distinct.len(), edges.len(), "{witness:?}");
        }
    }
}

fn store() -> impl Strategy<Value = Store> {
    prop_oneof![
        Just(Store::Serial),
        Just(Store::Stale),
        Just(Store::Interleaved),
        Just(Store::Snapshot)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lists_against_every_order(seed: u64, store in store()) {
        let mut maker = Maker { rng: ChaCha8Rng::seed_from_u64(seed), lists: true, store, next: 0, states: Vec::new() };
        let history = maker.history();
        for (model, realtime) in [("serializable", false), ("strict-serializable", true)] {
            let result = check("list-append", model, &history);
            assert_witnesses(&result, &history);
            let truth = by_brute_force(&history, realtime);
            prop_assert_eq!(result.verdict, truth, "{} {:#?}", result.summary, history.operations);
        }
    }

    #[test]
    fn registers_against_every_order(seed: u64, store in store()) {
        let mut maker = Maker { rng: ChaCha8Rng::seed_from_u64(seed), lists: false, store, next: 0, states: Vec::new() };
        let history = maker.history();
        for (model, realtime) in [("serializable", false), ("strict-serializable", true)] {
            let result = check("rw-register", model, &history);
            assert_witnesses(&result, &history);
            let truth = by_brute_force(&history, realtime);
            prop_assert_eq!(result.verdict, truth, "{} {:#?}", result.summary, history.operations);
        }
    }
}

/// Also those that rest on appends that nobody saw.
#[test]
fn all_violations_of_lists_are_found() {
    let (mut wrong, mut found) = (0, 0);
    for seed in 0..1_500 {
        let store = [Store::Stale, Store::Interleaved, Store::Snapshot][seed as usize % 3];
        let mut maker = Maker {
            rng: ChaCha8Rng::seed_from_u64(seed),
            lists: true,
            store,
            next: 0,
            states: Vec::new(),
        };
        let history = maker.history();
        if !brute_force(&history, true) {
            wrong += 1;
            found += usize::from(
                check("list-append", "strict-serializable", &history).verdict == Verdict::Invalid,
            );
        }
    }
    println!(
        "list-append: {found} of {wrong} small histories that are not strict serializable are found"
    );
    assert!(wrong > 300);
    assert_eq!(found, wrong);
}

fn generated(seed: u64, operations: u64, plant: Option<Plant>) -> History {
    let mut parameters = Parameters::new(Workload::ListAppend, operations);
    parameters.seed = Seed(seed);
    parameters.plant = plant;
    parameters.info = 0.05;
    let mut events = Vec::new();
    generate::generate(&parameters, |event| events.push(event)).unwrap();
    pair(events).unwrap()
}

#[test]
fn a_planted_lost_append_is_found_and_clean_histories_raise_no_alarm() {
    for seed in 0..40 {
        let clean = check("append", "strict-serializable", &generated(seed, 600, None));
        assert_eq!(clean.verdict, Verdict::Valid, "{seed}: {}", clean.summary);
        let lost = check(
            "append",
            "strict-serializable",
            &generated(seed, 600, Some(Plant::LostAppend)),
        );
        assert_eq!(lost.verdict, Verdict::Invalid, "{seed}: {}", lost.summary);
        assert!(!lost.witnesses.is_empty());
    }
}

/// One circle of real time through nearly all, and it is told by the few transactions that suffice.
#[test]
fn an_old_snapshot_is_serializable_and_nothing_stronger() {
    for seed in 0..20 {
        let history = generated(seed, 1_000, Some(Plant::OldSnapshot));
        let serializable = check("append", "serializable", &history);
        assert_eq!(
            serializable.verdict,
            Verdict::Valid,
            "{seed}: {}",
            serializable.summary
        );
        let strong = check("append", "strong-snapshot-isolation", &history);
        assert_eq!(
            strong.verdict,
            Verdict::Invalid,
            "{seed}: {}",
            strong.summary
        );
        let largest = strong.figures["largest_component"].as_u64().unwrap();
        assert!(largest > 700, "{seed}: {largest}");
        let shortest = strong
            .witnesses
            .iter()
            .map(|witness| witness.operations.len())
            .min();
        // Three where a process itself did more before the write that it missed: that is worse than real time alone.
        assert!(matches!(shortest, Some(2 | 3)), "{seed}: {shortest:?}");
    }
}

/// What is changed in a legal history, and what that must be called at least.
#[test]
fn mutations_of_legal_histories_are_found() {
    type Change = fn(&mut History, &mut ChaCha8Rng) -> bool;
    let table: [(&str, Change, &[&str]); 5] = [
        (
            "a transaction that was seen failed",
            fail_a_seen_one,
            &["G1a"],
        ),
        (
            "a read holds its last element twice",
            repeat_an_element,
            &["duplicate-elements"],
        ),
        (
            "a read holds what nobody appended",
            invent_an_element,
            &["unwritten-read"],
        ),
        (
            "a read has two elements in another order",
            swap_elements,
            &["incompatible-order"],
        ),
        (
            "a read misses its last element",
            forget_an_element,
            &[
                "G-single-realtime",
                "G-single-process",
                "G-single",
                "G0",
                "G1c",
                "internal",
                "G2-item",
            ],
        ),
    ];
    for (what, change, names) in table {
        let (mut tried, mut found) = (0, 0);
        for seed in 0..30 {
            let mut history = generated(seed, 400, None);
            if !change(&mut history, &mut ChaCha8Rng::seed_from_u64(seed)) {
                continue;
            }
            tried += 1;
            let result = check("append", "strict-serializable", &history);
            let anomalies = result.figures["anomalies"].as_object().unwrap();
            found += usize::from(names.iter().any(|name| anomalies.contains_key(*name)));
        }
        println!("{what}: {found} of {tried}");
        // A read that overlaps the append may miss it.
        let allowed = if what.contains("misses") {
            tried / 2
        } else {
            0
        };
        assert!(
            tried > 10 && found + allowed >= tried,
            "{what}: {found} of {tried}"
        );
    }
}

/// A read with at least two elements in a transaction that succeeded: its operation and its step.
fn some_read(history: &History, rng: &mut ChaCha8Rng) -> Option<(usize, usize)> {
    let reads: Vec<(usize, usize)> = history
        .operations
        .iter()
        .enumerate()
        .filter(|(_, txn)| txn.outcome == Outcome::Ok)
        .flat_map(|(at, txn)| {
            let steps = txn.output.as_array().unwrap();
            let long = |step: &Value| {
                step[0] == "r" && step[2].as_array().is_some_and(|list| list.len() > 1)
            };
            (0..steps.len())
                .filter(move |step| long(&steps[*step]))
                .map(move |step| (at, step))
        })
        .collect();
    (!reads.is_empty()).then(|| reads[rng.random_range(0..reads.len())])
}

fn change_read(
    history: &mut History,
    rng: &mut ChaCha8Rng,
    change: impl Fn(&mut Vec<Value>),
) -> bool {
    let Some((at, step)) = some_read(history, rng) else {
        return false;
    };
    change(
        history.operations[at].output[step][2]
            .as_array_mut()
            .unwrap(),
    );
    true
}

fn repeat_an_element(history: &mut History, rng: &mut ChaCha8Rng) -> bool {
    change_read(history, rng, |list| list.push(list[0].clone()))
}

fn invent_an_element(history: &mut History, rng: &mut ChaCha8Rng) -> bool {
    change_read(history, rng, |list| list.push(json!(999_999)))
}

fn swap_elements(history: &mut History, rng: &mut ChaCha8Rng) -> bool {
    // The key's only read may be this one, so let another say what the order was.
    let Some((at, step)) = some_read(history, rng) else {
        return false;
    };
    let read = history.operations[at].output[step].clone();
    let others = history
        .operations
        .iter()
        .flat_map(|txn| txn.output.as_array().into_iter().flatten());
    let longer = |other: &Value| {
        other[0] == "r"
            && other[1] == read[1]
            && other[2]
                .as_array()
                .is_some_and(|list| list.len() > read[2].as_array().unwrap().len())
    };
    if !others.into_iter().any(longer) {
        return false;
    }
    history.operations[at].output[step][2]
        .as_array_mut()
        .unwrap()
        .swap(0, 1);
    true
}

fn forget_an_element(history: &mut History, rng: &mut ChaCha8Rng) -> bool {
    change_read(history, rng, |list| {
        list.pop();
    })
}

fn fail_a_seen_one(history: &mut History, rng: &mut ChaCha8Rng) -> bool {
    let Some((at, step)) = some_read(history, rng) else {
        return false;
    };
    let read = history.operations[at].output[step].clone();
    let appended = json!(["append", read[1], read[2][0]]);
    let writer = history
        .operations
        .iter()
        .position(|txn| txn.input.as_array().unwrap().contains(&appended));
    let Some(writer) = writer.filter(|writer| *writer != at) else {
        return false;
    };
    history.operations[writer].outcome = Outcome::Fail;
    true
}
