//! Registers whose versions have an order that reads tell are as good as lists: the verdicts are the same.
//!
//! Each key is written by transactions that read what they write over, so that version `k` of a register stands for the
//! list of 1 to `k`. Who reads what is drawn, so that all kinds of circles come up.

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
    seed::Seed,
    verdict::{CheckInput, Verdict},
};
use rand::Rng;
use serde_json::{Value, json};

/// Models without sessions or real time of which orders of transactions say too little. (Of read atomic and causal a list says more: its
/// reads show the work of all that are in it.)
const BY_CIRCLES: [&str; 3] = [
    "cursor-stability",
    "consistent-view",
    "parallel-snapshot-isolation",
];

/// What a transaction does: key, version, whether it writes it.
type Steps = Vec<(u64, u64, bool)>;

/// Writers of a key each, and readers of some of these: long forks.
fn forks(rng: &mut impl Rng) -> Vec<Steps> {
    let keys = rng.random_range(2..4_u64);
    let mut all: Vec<Steps> = (0..keys).map(|key| vec![(key, 1, true)]).collect();
    for _ in 0..rng.random_range(2..4) {
        let reads = (0..keys).map(|key| (key, rng.random_range(0..2), false));
        all.push(reads.collect());
    }
    all
}

fn transactions(rng: &mut impl Rng) -> Vec<Steps> {
    if rng.random_range(0..4) == 0 {
        return forks(rng);
    }
    let count = rng.random_range(2..6_usize);
    let mut all: Vec<Steps> = vec![Vec::new(); count];
    for key in 0..rng.random_range(1..4_u64) {
        let mut order: Vec<usize> = (0..count).collect();
        for at in 0..count {
            order.swap(at, rng.random_range(0..count));
        }
        let versions = rng.random_range(0..=count.min(3));
        for (txn, version) in order.iter().zip(1_u64..).take(versions) {
            if version > 1 || rng.random() {
                all[*txn].push((key, version - 1, false));
            }
            all[*txn].push((key, version, true));
        }
        for txn in &order[versions..] {
            if rng.random() {
                all[*txn].push((key, rng.random_range(0..=versions as u64), false));
            }
        }
    }
    all
}

/// All at once: nobody ended before another began.
fn history(all: &[Steps], lists: bool) -> History {
    let value = |version: u64| match (version, lists) {
        (0, _) => Value::Null,
        (_, true) => (1..=version).collect(),
        (_, false) => json!(version),
    };
    let step = |answered: bool| {
        move |(key, version, write): &(u64, u64, bool)| match (write, lists) {
            (true, true) => json!(["append", key, version]),
            (true, false) => json!(["w", key, version]),
            (false, _) => json!([
                "r",
                key,
                if answered {
                    value(*version)
                } else {
                    Value::Null
                }
            ]),
        }
    };
    let mut events: Vec<Event> = Vec::new();
    for event_type in [EventType::Invoke, EventType::Ok] {
        for (process, steps) in (0_u64..).zip(all) {
            let answered = event_type == EventType::Ok;
            events.push(Event {
                index: events.len() as u64,
                time_ns: events.len() as u64,
                process: Process::Client(process),
                node: None,
                event_type,
                f: "txn".into(),
                value: steps.iter().map(step(answered)).collect(),
                error: None,
            });
        }
    }
    pair(events).unwrap()
}

fn verdict(checker: &str, model: &str, history: &History) -> Verdict {
    let (options, meta) = (json!({"model": model}), Meta::default());
    let result = judge(
        &*registry::checker(checker, &options).unwrap(),
        history,
        &meta,
    );
    let found = verify(&options, &CheckInput::of_history(history, &meta), &result);
    assert!(
        !found
            .iter()
            .any(|found| matches!(found, Finding::Refuted(_))),
        "{model}: {found:?}"
    );
    result.verdict
}

#[test]
fn registers_with_an_order_are_judged_as_lists() {
    let (mut valid, mut invalid, mut weaker) = (0, 0, 0);
    for seed in 0..1_500 {
        let all = transactions(&mut Seed(seed).stream("ordered").draw(0));
        let (registers, lists) = (history(&all, false), history(&all, true));
        let stronger = verdict("rw-register", "snapshot-isolation", &registers);
        for model in BY_CIRCLES {
            let register = verdict("rw-register", model, &registers);
            let list = verdict("list-append", model, &lists);
            let context = format!("seed {seed}, {model}: {all:?}");
            assert_eq!(register, list, "{context}");
            // Cursor stability is known by what is stronger alone.
            let decided = register != Verdict::Unknown || model == "cursor-stability";
            assert!(decided, "{context}");
            valid += u32::from(register == Verdict::Valid);
            invalid += u32::from(register == Verdict::Invalid);
            weaker += u32::from(register == Verdict::Valid && stronger == Verdict::Invalid);
        }
    }
    assert!(
        valid > 500 && invalid > 500 && weaker > 50,
        "{valid} valid, {weaker} of them not snapshot isolated, {invalid} invalid"
    );
}

#[test]
fn two_values_of_a_key_in_one_transaction_are_no_proof() {
    // Consistent view forbids it: who wrote 2 replaced what was read first, and was read. And a long fork, so that there is no
    // order of all transactions.
    let all = vec![
        vec![(0, 1, true)],
        vec![(0, 1, false), (0, 2, true)],
        vec![(0, 1, false), (0, 2, false)],
        vec![(1, 1, true)],
        vec![(2, 1, true)],
        vec![(1, 1, false), (2, 0, false)],
        vec![(1, 0, false), (2, 1, false)],
    ];
    let registers = history(&all, false);
    for model in BY_CIRCLES {
        assert_ne!(
            verdict("rw-register", model, &registers),
            Verdict::Valid,
            "{model}"
        );
    }
}
