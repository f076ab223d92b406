//! The independent verifier and the checkers of counters, identifiers, locks, long forks and causal reversals, on random histories:
//! each witness is confirmed, and the same claim of operations that break nothing is refuted.

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

/// Where a checker stops telling: then others may be guilty too.
const WITNESSES: usize = 3;
const HISTORIES: u64 = 400;
const PROCESSES: u64 = 4;
const OPERATIONS: usize = 14;
/// Of a lock, where nearly all that is drawn at random is wrong.
const OPERATIONS_OF_LOCK: usize = 5;

/// What a process asks, and what it is told.
fn asked(checker: &str, number: u64, random: &mut impl Rng) -> (&'static str, Value, Value) {
    let key = random.random_range(0..2);
    match checker {
        "counter" if random.random_bool(0.5) => {
            let amount = random.random_range(-2..4);
            ("add", json!(amount), json!(amount))
        }
        "counter" => ("read", Value::Null, json!(random.random_range(-2..8))),
        "unique-ids" => ("generate", Value::Null, json!(random.random_range(0..30))),
        "lock" if random.random_bool(0.5) => ("acquire", json!(key), json!(key)),
        "lock" => ("release", json!(key), json!(key)),
        "long-fork" if number < 2 => {
            let write = json!([["w", number, 1]]);
            ("txn", write.clone(), write)
        }
        "long-fork" => {
            let mut seen = || random.random_bool(0.5).then_some(1);
            let told = json!([["r", 0, seen()], ["r", 1, seen()]]);
            ("txn", json!([["r", 0, null], ["r", 1, null]]), told)
        }
        _ if random.random_bool(0.5) => ("write", json!(number), json!(number)),
        _ => {
            let seen: Vec<u64> = (0..number).filter(|_| random.random_bool(0.6)).collect();
            ("read", Value::Null, json!(seen))
        }
    }
}

fn random_history(checker: &str, seed: u64) -> History {
    let mut random = Seed(seed).stream("verify-classics").draw(0);
    let mut open: Vec<(u64, &'static str, Value, Value)> = Vec::new();
    let (mut events, mut begun) = (Vec::new(), 0);
    let operations = match checker {
        "lock" => OPERATIONS_OF_LOCK,
        _ => OPERATIONS,
    };
    while begun < operations || !open.is_empty() {
        let process = random.random_range(0..PROCESSES);
        let place = open.iter().position(|(busy, ..)| *busy == process);
        let (kind, f, value) = match place {
            None if begun < operations => {
                let (f, input, output) = asked(checker, begun as u64, &mut random);
                open.push((process, f, input.clone(), output));
                begun += 1;
                (EventType::Invoke, f, input)
            }
            None => continue,
            Some(place) => {
                let (_, f, input, output) = open.swap_remove(place);
                match random.random_range(0..10) {
                    0 => (EventType::Fail, f, input),
                    1 => (EventType::Info, f, input),
                    _ => (EventType::Ok, f, output),
                }
            }
        };
        let index = events.len() as u64;
        events.push(Event {
            index,
            time_ns: index,
            process: Process::Client(process),
            node: None,
            event_type: kind,
            f: f.into(),
            value,
            error: None,
        });
    }
    pair(events).unwrap()
}

#[test]
fn witnesses_are_confirmed_and_lies_refuted() {
    let meta = Meta::default();
    for checker in [
        "counter",
        "unique-ids",
        "lock",
        "long-fork",
        "causal-reverse",
    ] {
        let (mut confirmed, mut refuted, mut valid) = (0, 0, 0);
        for seed in 0..HISTORIES {
            let history = random_history(checker, seed);
            let input = CheckInput::of_history(&history, &meta);
            let judge_of = registry::checker(checker, &Value::Null).unwrap();
            let result = judge(&*judge_of, &history, &meta);
            valid += u32::from(result.verdict == Verdict::Valid);
            let told = verify(&Value::Null, &input, &result);
            for (finding, witness) in told.iter().zip(&result.witnesses) {
                assert_eq!(
                    *finding,
                    Finding::Confirmed,
                    "{checker} seed {seed}: {}",
                    witness.story
                );
                confirmed += 1;
            }
            let Some(witness) = result.witnesses.first() else {
                continue;
            };
            // The same said of one operation alone that no witness names.
            for other in &history.operations {
                if result.witnesses.len() == WITNESSES
                    || result
                        .witnesses
                        .iter()
                        .any(|told| told.operations.contains(&other.index))
                {
                    continue;
                }
                let mut lie = result.clone();
                lie.witnesses = vec![witness.clone()];
                lie.witnesses[0].operations = vec![other.index];
                lie.witnesses[0].culprits = vec![other.index];
                let said = verify(&Value::Null, &input, &lie);
                assert!(
                    matches!(said[0], Finding::Refuted(_)),
                    "{checker} seed {seed}: {said:?}"
                );
                refuted += 1;
            }
        }
        println!("{checker}: {confirmed} confirmed, {refuted} lies refuted, {valid} valid");
        assert!(
            confirmed > 50 && refuted > 50,
            "{checker}: {confirmed}, {refuted}"
        );
    }
}
