//! Queues, stacks and sets decided without a search, against the search, on random small histories.

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

/// An object that works, used by four processes; answers are changed now and then.
fn history(seed: u64, model: &str) -> History {
    let (put, take) = match model {
        "queue" => ("enqueue", "dequeue"),
        "stack" => ("push", "pop"),
        _ => ("add", "read"),
    };
    let takes = model != "set";
    let mut rng = Seed(seed).stream("objects").draw(0);
    let mut events: Vec<Event> = Vec::new();
    let mut open: Vec<Option<(&str, Value, Option<Value>)>> = vec![None; 4];
    let mut names = [0_u64, 1, 2, 3];
    let mut held: Vec<u64> = Vec::new();
    let mut next = 0_u64;
    let effect = |f: &str, input: &Value, held: &mut Vec<u64>| match f {
        "enqueue" | "push" | "add" => {
            held.push(input.as_u64().unwrap());
            input.clone()
        }
        "dequeue" | "pop" if held.is_empty() => Value::Null,
        "dequeue" => json!(held.remove(0)),
        "pop" => json!(held.pop()),
        _ => json!(held),
    };
    for _ in 0..rng.random_range(6..30) {
        let at = rng.random_range(0..4_usize);
        let (event_type, f, value) = match open[at].take() {
            None => {
                let (f, input) = match rng.random() {
                    true => (take, Value::Null),
                    false => {
                        next += 1;
                        (put, json!(next))
                    }
                };
                let early = rng.random::<f64>() < 0.3;
                let output = early.then(|| effect(f, &input, &mut held));
                open[at] = Some((f, input.clone(), output));
                (EventType::Invoke, f, input)
            }
            // It takes effect some time between.
            Some((f, input, None)) if rng.random() => {
                let output = effect(f, &input, &mut held);
                open[at] = Some((f, input, Some(output)));
                continue;
            }
            Some((f, input, output)) => {
                let reads = f == take;
                // Pending takes are the search's, so a take always ends.
                let lost = !(takes && reads) && rng.random::<f64>() < 0.1;
                let (event_type, mut value) = match output {
                    None if !reads => (EventType::Fail, input),
                    None => (EventType::Ok, effect(f, &input, &mut held)),
                    Some(value) => (EventType::Ok, value),
                };
                if reads && rng.random::<f64>() < 0.25 {
                    let guess = rng.random_range(0..=next);
                    value = match value {
                        Value::Array(mut all) if !all.is_empty() => {
                            all.remove(guess as usize % all.len());
                            all.into()
                        }
                        Value::Array(_) => json!([guess]),
                        _ if guess == 0 => Value::Null,
                        _ => json!(guess),
                    };
                }
                (if lost { EventType::Info } else { event_type }, f, value)
            }
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
            names[at] += 4;
        }
    }
    // Takes that are still open are closed with what they would have got.
    for (at, open) in open.into_iter().enumerate() {
        let Some((f, input, output)) = open.filter(|(f, ..)| takes && *f == take) else {
            continue;
        };
        let value = output.unwrap_or_else(|| effect(f, &input, &mut held));
        events.push(Event {
            index: events.len() as u64,
            time_ns: events.len() as u64,
            process: Process::Client(names[at]),
            node: None,
            event_type: EventType::Ok,
            f: f.into(),
            value,
            error: None,
        });
    }
    pair(events).unwrap()
}

#[test]
fn queues_stacks_and_sets_are_judged_as_by_the_search() {
    for model in ["queue", "stack", "set"] {
        let (mut valid, mut invalid) = (0, 0);
        for seed in 0..1_500 {
            let history = history(seed, model);
            let result = |zones: bool| {
                let options = json!({"model": model, "zones": zones});
                let checker = registry::checker("linearizable", &options).unwrap();
                judge(&*checker, &history, &Meta::default())
            };
            let (fast, slow) = (result(true), result(false));
            if slow.verdict == Verdict::Unknown {
                assert!(history.operations.is_empty(), "{model} seed {seed}");
                continue;
            }
            assert_eq!(
                fast.figures["keys_by_zones"],
                json!(1),
                "{model} seed {seed}"
            );
            assert_eq!(
                fast.verdict, slow.verdict,
                "{model} seed {seed}: {:?}",
                fast.witnesses
            );
            // The operation that cannot be placed is the same one: both find the shortest prefix.
            assert_eq!(
                fast.witnesses
                    .first()
                    .map(|witness| witness.culprits.clone()),
                slow.witnesses
                    .first()
                    .map(|witness| witness.culprits.clone()),
                "{model} seed {seed}"
            );
            let meta = Meta::default();
            let input = CheckInput::of_history(&history, &meta);
            for finding in verify(&json!({"model": model}), &input, &fast) {
                assert_eq!(
                    finding,
                    Finding::Confirmed,
                    "{model} seed {seed}: {:?}",
                    fast.witnesses
                );
            }
            match fast.verdict {
                Verdict::Valid => valid += 1,
                _ => invalid += 1,
            }
        }
        assert!(
            valid > 300 && invalid > 300,
            "{model}: {valid} valid, {invalid} invalid"
        );
    }
}
