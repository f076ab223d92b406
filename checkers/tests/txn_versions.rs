//! Registers, exactly, and lists: verdicts on small histories are those of brute force, under every model that orders all transactions.
//!
//! The oracle shares no code with the checker. It plays starts and ends of transactions on a map of values or of lists: a transaction reads the
//! state at its start, and no two that write the same key overlap. If each ends where it starts that is serializability.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicU64, Ordering},
};

use common::judge;
use harness_checkers::{
    registry,
    verify::{Finding, verify},
};
use harness_core::{
    event::{Event, EventType, Process},
    history::{History, Operation, Outcome, pair},
    meta::Meta,
    verdict::{Budget, CheckInput, CheckResult, Exhausted, Unlimited, Verdict},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

/// Histories that are tried.
const CASES: u64 = 3_000;
/// Histories that are tried with little time, and how often the time is asked for, at most.
const BUDGET_CASES: u64 = 1_500;
const QUESTIONS: u64 = 8;
/// Transactions of one, at most.
const TRANSACTIONS_LIMIT: usize = 6;
/// States back that a read may be.
const BACK: usize = 4;

/// Models, whether each is one of snapshots, and what counts as before: nothing, a process, real time.
const MODELS: [(&str, bool, char); 6] = [
    ("serializable", false, ' '),
    ("strong-session-serializable", false, 'p'),
    ("strict-serializable", false, 'r'),
    ("snapshot-isolation", true, ' '),
    ("strong-session-snapshot-isolation", true, 'p'),
    ("strong-snapshot-isolation", true, 'r'),
];

fn event(events: &mut Vec<Event>, process: u64, event_type: EventType, value: Value) {
    let at = events.len() as u64;
    events.push(Event {
        index: at,
        time_ns: at * 1_000_000,
        process: Process::Client(process),
        node: None,
        event_type,
        f: "txn".into(),
        value,
        error: None,
    });
}

/// Writes or appends in a map of values.
fn put(state: &mut BTreeMap<u64, Value>, step: &Value) {
    let value = state.entry(step[1].as_u64().unwrap()).or_default();
    if step[0] == "w" {
        *value = step[2].clone();
        return;
    }
    let mut list = value.as_array().cloned().unwrap_or_default();
    list.push(step[2].clone());
    *value = list.into();
}

/// Three processes on a store that reads some state of the last few, and writes now: by steps of this name.
fn history(rng: &mut ChaCha8Rng, write: &str) -> History {
    let count = rng.random_range(3..=TRANSACTIONS_LIMIT);
    let keys = rng.random_range(1..=3_u64);
    let (mut events, mut states) = (Vec::new(), vec![BTreeMap::<u64, Value>::new()]);
    let mut processes = [0_u64, 1, 2];
    let mut open: BTreeMap<u64, (Vec<Value>, BTreeMap<u64, Value>)> = BTreeMap::new();
    let (mut begun, mut next) = (0, 0);
    while begun < count || !open.is_empty() {
        let slot = rng.random_range(0..processes.len());
        let process = processes[slot];
        let Some((plan, snapshot)) = open.remove(&process) else {
            if begun < count {
                begun += 1;
                let plan: Vec<Value> = (0..rng.random_range(1..=3))
                    .map(|_| {
                        let key = rng.random_range(0..keys);
                        if rng.random_bool(0.5) {
                            return json!(["r", key, null]);
                        }
                        next += 1;
                        json!([write, key, next])
                    })
                    .collect();
                let back = rng.random_range(0..BACK.min(states.len()));
                let snapshot = states[states.len() - 1 - back].clone();
                event(&mut events, process, EventType::Invoke, json!(plan));
                open.insert(process, (plan, snapshot));
            }
            continue;
        };
        let mut state = states.last().unwrap().clone();
        let mut view = match rng.random_bool(0.6) {
            true => snapshot,
            false => state.clone(),
        };
        let mut told = Vec::new();
        for step in &plan {
            let key = step[1].as_u64().unwrap();
            if step[0] == "r" {
                told.push(json!([
                    "r",
                    key,
                    view.get(&key).cloned().unwrap_or_default()
                ]));
            } else {
                put(&mut view, step);
                put(&mut state, step);
                told.push(step.clone());
            }
        }
        let end = match rng.random_range(0..10) {
            0 => EventType::Info,
            1 => EventType::Fail,
            _ => EventType::Ok,
        };
        if end == EventType::Ok || end == EventType::Info && rng.random_bool(0.5) {
            states.push(state);
        }
        if end == EventType::Info {
            processes[slot] += 3;
        }
        let value = if end == EventType::Ok {
            json!(told)
        } else {
            json!(null)
        };
        event(&mut events, process, end, value);
    }
    pair(events).unwrap()
}

fn comes_before(a: &Operation, b: &Operation, order: char) -> bool {
    let ended = a.outcome == Outcome::Ok;
    match order {
        'p' => ended && a.process == b.process && a.index < b.index,
        'r' => ended && a.completed_index.unwrap() < b.index,
        _ => false,
    }
}

/// Phases of transactions, and what is in the store.
type Seen = (Vec<u8>, Vec<(u64, String)>);

/// Whether some order of starts and ends explains all reads.
struct Oracle<'h> {
    txns: Vec<&'h Operation>,
    snapshots: bool,
    order: char,
    seen: HashSet<Seen>,
}

impl Oracle<'_> {
    fn steps(txn: &Operation) -> &Vec<Value> {
        let known = txn.outcome == Outcome::Ok;
        if known { &txn.output } else { &txn.input }
            .as_array()
            .unwrap()
    }

    fn writes(txn: &Operation) -> impl Iterator<Item = &Value> {
        Self::steps(txn).iter().filter(|step| step[0] != "r")
    }

    fn reads_fit(txn: &Operation, state: &BTreeMap<u64, Value>) -> bool {
        let mut state = state.clone();
        txn.outcome != Outcome::Ok
            || Self::steps(txn).iter().all(|step| {
                let key = step[1].as_u64().unwrap();
                if step[0] != "r" {
                    put(&mut state, step);
                    return true;
                }
                state.get(&key).unwrap_or(&Value::Null) == &step[2]
            })
    }

    /// Phases: 0 not begun, 1 begun, 2 ended.
    fn go(&mut self, phases: &[u8], state: &BTreeMap<u64, Value>) -> bool {
        let over = |at: usize| {
            phases[at] == 2 || phases[at] == 0 && self.txns[at].outcome == Outcome::Info
        };
        if (0..phases.len()).all(over) {
            return true;
        }
        let key = state
            .iter()
            .map(|(key, value)| (*key, value.to_string()))
            .collect();
        if !self.seen.insert((phases.to_vec(), key)) {
            return false;
        }
        for at in 0..phases.len() {
            let txn = self.txns[at];
            let (mut phases, mut state) = (phases.to_vec(), state.clone());
            let begins = phases[at] == 0;
            if begins {
                let waits = (0..phases.len()).any(|other| {
                    phases[other] != 2
                        && other != at
                        && comes_before(self.txns[other], txn, self.order)
                });
                let blocked = (0..phases.len()).any(|other| {
                    phases[other] == 1
                        && Self::writes(self.txns[other])
                            .any(|there| Self::writes(txn).any(|here| here[1] == there[1]))
                });
                if waits || blocked || !Self::reads_fit(txn, &state) {
                    continue;
                }
                phases[at] = 1;
            }
            if phases[at] == 2 {
                continue;
            }
            // The end: at once, if there are no snapshots.
            if self.snapshots && begins {
                if self.go(&phases, &state) {
                    return true;
                }
                continue;
            }
            phases[at] = 2;
            Self::writes(txn).for_each(|step| put(&mut state, step));
            if self.go(&phases, &state) {
                return true;
            }
        }
        false
    }
}

fn truth(history: &History, snapshots: bool, order: char) -> bool {
    let txns = history
        .operations
        .iter()
        .filter(|txn| txn.outcome != Outcome::Fail)
        .collect();
    let mut oracle = Oracle {
        txns,
        snapshots,
        order,
        seen: HashSet::new(),
    };
    let phases = vec![0; oracle.txns.len()];
    oracle.go(&phases, &BTreeMap::new())
}

fn check(model: &str, history: &History) -> CheckResult {
    check_by("rw-register", model, history)
}

fn check_by(checker: &str, model: &str, history: &History) -> CheckResult {
    let checker = registry::checker(checker, &json!({ "model": model })).unwrap();
    judge(&*checker, history, &Meta::default())
}

fn assert_confirmed(history: &History, result: &CheckResult) {
    let meta = Meta::default();
    let input = CheckInput::of_history(history, &meta);
    for (witness, finding) in result
        .witnesses
        .iter()
        .zip(verify(&json!(null), &input, result))
    {
        assert_eq!(
            finding,
            Finding::Confirmed,
            "{witness:#?} {:#?}",
            history.operations
        );
    }
}

#[test]
fn verdicts_on_small_histories_are_exact() {
    let mut table: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    for seed in 0..CASES {
        let history = history(&mut ChaCha8Rng::seed_from_u64(seed), "w");
        if history
            .operations
            .iter()
            .all(|txn| txn.outcome != Outcome::Ok)
        {
            continue;
        }
        for (model, snapshots, order) in MODELS {
            let result = check(model, &history);
            let row = table.entry(model).or_default();
            let expected = match truth(&history, snapshots, order) {
                true => Verdict::Valid,
                false => Verdict::Invalid,
            };
            row[usize::from(expected == Verdict::Invalid)] += 1;
            assert_eq!(
                result.verdict, expected,
                "seed {seed}, {model}: {} {:#?}",
                result.summary, history.operations
            );
            let ours = |kind: &str| kind.starts_with("no-s");
            row[2] += u32::from(result.witnesses.iter().any(|witness| ours(&witness.kind)));
            assert_confirmed(&history, &result);
        }
    }
    println!("valid, invalid, and of these by the order of versions alone: {table:#?}");
    assert!(
        table.values().all(|row| row[0] > 1_000 && row[1] > 100),
        "{table:?}"
    );
    assert!(
        table.values().map(|row| row[2]).sum::<u32>() > 40,
        "{table:?}"
    );
}

/// Where nobody read some appends their order may stay open, and the verdict with it; it is never wrong.
#[test]
fn verdicts_on_small_histories_of_lists_are_right() {
    let mut table: BTreeMap<&str, [u32; 3]> = BTreeMap::new();
    for seed in 0..CASES {
        let history = history(&mut ChaCha8Rng::seed_from_u64(seed), "append");
        if history
            .operations
            .iter()
            .all(|txn| txn.outcome != Outcome::Ok)
        {
            continue;
        }
        for (model, snapshots, order) in MODELS {
            let result = check_by("append", model, &history);
            let row = table.entry(model).or_default();
            let expected = match truth(&history, snapshots, order) {
                true => Verdict::Valid,
                false => Verdict::Invalid,
            };
            row[usize::from(expected == Verdict::Invalid)] += 1;
            if snapshots && result.verdict == Verdict::Unknown {
                row[2] += 1;
                continue;
            }
            assert_eq!(
                result.verdict, expected,
                "seed {seed}, {model}: {} {:#?}",
                result.summary, history.operations
            );
            assert_confirmed(&history, &result);
        }
    }
    println!("valid, invalid, and of these left open: {table:#?}");
    assert!(
        table.values().all(|row| row[0] > 1_000 && row[1] > 100),
        "{table:?}"
    );
    assert!(table.values().all(|row| row[2] < 20), "{table:?}");
}

/// A serial store's history, all transactions of which are blind writes and reads of two keys.
fn serial_history(count: u64) -> History {
    let (mut events, mut state) = (Vec::new(), BTreeMap::<u64, u64>::new());
    let mut rng = ChaCha8Rng::seed_from_u64(count);
    for at in 0..count {
        let (read, written) = (rng.random_range(0..9), rng.random_range(0..9_u64));
        let told = json!([["r", read, state.get(&read)], ["w", written, at]]);
        event(
            &mut events,
            at % 3,
            EventType::Invoke,
            json!([["r", read, null], ["w", written, at]]),
        );
        event(&mut events, at % 3, EventType::Ok, told);
        state.insert(written, at);
    }
    pair(events).unwrap()
}

/// Transactions up to which all orders of values are weighed.
const WEIGHED: u64 = 4_096;

/// With the contradiction of three transactions that only saturation finds.
fn skewed(mut history: History) -> History {
    let mut events = Vec::new();
    for (process, told) in [
        (0, json!([["w", 90, 0], ["w", 91, 0]])),
        (1, json!([["r", 90, 0], ["w", 91, 1]])),
        (2, json!([["r", 91, 0], ["w", 90, 1]])),
    ] {
        event(&mut events, process, EventType::Invoke, told.clone());
        event(&mut events, process, EventType::Ok, told);
    }
    let next = 2 * history.operations.len() as u64;
    for mut operation in pair(events).unwrap().operations {
        operation.index += next;
        operation.completed_index = operation.completed_index.map(|index| index + next);
        history.operations.push(operation);
    }
    history
}

#[test]
fn what_is_too_large_to_be_decided_is_unknown_and_never_valid() {
    let small = check("serializable", &skewed(serial_history(100)));
    assert_eq!(small.verdict, Verdict::Invalid, "{}", small.summary);
    assert_eq!(small.figures["anomalies"], json!({"no-serial-order": 1}));
    let large = check("serializable", &skewed(serial_history(WEIGHED)));
    assert_eq!(large.verdict, Verdict::Unknown, "{}", large.summary);
    assert!(
        large
            .notes
            .iter()
            .any(|note| note.text.contains("known in part")),
        "{:?}",
        large.notes
    );
    // A history of any size is valid if one order of it is found.
    for model in ["serializable", "strict-serializable", "snapshot-isolation"] {
        let whole = check(model, &serial_history(4 * WEIGHED));
        assert_eq!(whole.verdict, Verdict::Valid, "{model}: {}", whole.summary);
    }
}

/// A budget that lasts for so many questions.
struct Lasts(AtomicU64);

impl Budget for Lasts {
    fn spend(&self, _memory_bytes: u64) -> Result<(), Exhausted> {
        let left = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            });
        left.map(|_| ()).map_err(|_| Exhausted::Time)
    }
}

#[test]
fn a_budget_that_runs_out_is_unknown_and_says_so() {
    let checker = registry::checker("rw-register", &json!({ "model": "serializable" })).unwrap();
    let (mut cut, mut weighing) = (0, 0);
    for seed in 0..BUDGET_CASES {
        let history = history(&mut ChaCha8Rng::seed_from_u64(seed), "w");
        let meta = Meta::default();
        let input = CheckInput::of_history(&history, &meta);
        let whole = checker.check(&input, &Unlimited).verdict;
        for questions in 0..QUESTIONS {
            let result = checker.check(&input, &Lasts(AtomicU64::new(questions)));
            if result.verdict == whole {
                continue;
            }
            assert_eq!(result.verdict, Verdict::Unknown, "seed {seed}");
            let mut said: Vec<&str> = result.notes.iter().map(|note| &*note.text).collect();
            said.push(&result.summary);
            let says = |words: &str| said.iter().any(|text| text.contains(words));
            assert!(says("out of time"), "seed {seed}: {result:#?}");
            cut += 1;
            weighing += u64::from(says("out of time while orders of values were weighed"));
        }
    }
    println!("{cut} were cut short, {weighing} of them while orders were weighed");
    assert!(weighing > 0, "{cut}");
}
