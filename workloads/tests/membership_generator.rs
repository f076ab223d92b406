//! Laws of the membership workload's generator, over simulated outcomes: whatever comes of the operations, what is asked next is legal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use harness_core::{
    event::{Event, EventType, Process},
    generator::{
        Op,
        simulate::{Response, Simulated, simulate},
    },
    seed::Seed,
};
use harness_workloads::workload::{
    Load,
    membership::{Change, Parameters, changes::TRIES},
};
use proptest::prelude::*;
use serde_json::Value;

const SECOND_NS: u64 = 1_000_000_000;

fn names(count: usize) -> Arc<[Arc<str>]> {
    (1..=count).map(|n| Arc::from(format!("n{n}"))).collect()
}

/// One run of the load: how each change ends and how long it takes is drawn from `outcomes`.
fn run(
    parameters: &Parameters,
    nodes: usize,
    seed: u64,
    outcomes: &[(EventType, u64)],
) -> Simulated {
    let concurrency = parameters.clients_needed() + 2;
    let load = Load {
        seed: Seed(seed),
        concurrency,
        names: names(nodes),
        rate: Some(1.0),
        time_limit: Duration::from_secs(120),
    };
    let mut generator =
        harness_workloads::workload::Kind::Membership(parameters.clone()).load(&load);
    let mut number = 0;
    let simulated = simulate(
        &mut generator,
        concurrency,
        100_000,
        &mut |op: &Op, _| {
            let (event_type, seconds) = match &*op.f {
                "join" | "remove" => {
                    number += 1;
                    outcomes[number % outcomes.len()]
                }
                _ => (EventType::Ok, 0),
            };
            let value = match event_type {
                EventType::Ok => op.value.clone(),
                _ => Value::Null,
            };
            Response {
                latency_ns: 1_000_000 + seconds * SECOND_NS,
                event_type,
                value,
            }
        },
        &mut |_, _, _| {},
    );
    assert!(!simulated.stuck && !simulated.cut, "it ends by its time");
    simulated
}

/// What the laws need of one change under way.
struct Open {
    member: String,
    join: bool,
}

/// What is known of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Known {
    In,
    Out,
    InDoubt,
}

fn check(parameters: &Parameters, nodes: usize, events: &[Event]) -> Result<(), TestCaseError> {
    let all = names(nodes);
    let cast = parameters.cast(&all).expect("these nodes fit");
    let mut known: BTreeMap<String, Known> = BTreeMap::new();
    for name in &cast.initial {
        known.insert(name.to_string(), Known::In);
    }
    for name in &cast.standing_by {
        known.insert(name.to_string(), Known::Out);
    }
    let mut open: BTreeMap<Process, Open> = BTreeMap::new();
    let mut in_a_row: BTreeMap<String, u32> = BTreeMap::new();
    let mut removed: BTreeSet<String> = BTreeSet::new();
    let mut failed: BTreeSet<String> = BTreeSet::new();
    let mut batches: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for event in events {
        if !matches!(&*event.f, "join" | "remove") {
            continue;
        }
        let join = &*event.f == "join";
        if event.event_type == EventType::Invoke {
            let member = event.value["member"].as_str().expect("a member").to_owned();
            prop_assert_ne!(&*member, &*cast.canary, "the canary is not touched");
            let busy = open.values().any(|other| other.member == member);
            prop_assert!(!busy, "two operations on {member} at once");
            if !parameters.allows(Change::Concurrent) {
                let one_batch =
                    event.value["batch"].is_u64() && open.values().all(|other| other.join);
                prop_assert!(
                    open.is_empty() || one_batch,
                    "{member} while another change goes on"
                );
            }
            let standing = known[&member];
            let force = event.value["force"] == true;
            let tries = in_a_row.get(&member).copied().unwrap_or(0);
            prop_assert!(tries < TRIES, "{member} was tried too often");
            if join {
                prop_assert_eq!(standing, Known::Out, "{} joins", member);
                if removed.contains(&member) {
                    prop_assert!(parameters.allows(Change::Rejoin), "{member} rejoins");
                }
                if failed.contains(&member) {
                    prop_assert!(parameters.allows(Change::RetryFailed), "{member} again");
                }
                if let Some(batch) = event.value["batch"].as_u64() {
                    batches.entry(batch).or_default().push(event.time_ns);
                    let size = event.value["together"].as_u64().expect("a size");
                    prop_assert!(size as usize <= parameters.parallel_join);
                }
            } else if standing == Known::In {
                let certain = known
                    .iter()
                    .filter(|(name, standing)| {
                        let busy = open.values().any(|other| &other.member == *name);
                        **standing == Known::In && !busy
                    })
                    .count();
                prop_assert!(certain > cast.floor, "{certain} members, {member} goes");
                let may_force = parameters.allows(Change::Force)
                    || (tries > 0 && parameters.allows(Change::RemoveDead));
                prop_assert!(!force || may_force, "{member} by force");
            } else {
                prop_assert_eq!(standing, Known::InDoubt, "{} is removed", member);
                prop_assert!(force && parameters.allows(Change::RetryFailed));
            }
            open.insert(event.process, Open { member, join });
            continue;
        }
        let Some(Open { member, join }) = open.remove(&event.process) else {
            continue;
        };
        let before = known[&member];
        if event.event_type == EventType::Ok {
            in_a_row.remove(&member);
            known.insert(member.clone(), if join { Known::In } else { Known::Out });
            if join {
                removed.remove(&member);
                failed.remove(&member);
            } else if before == Known::In {
                removed.insert(member);
            }
            continue;
        }
        *in_a_row.entry(member.clone()).or_default() += 1;
        if event.event_type == EventType::Info {
            // In doubt for a new reason, it is worth new tries.
            if before != Known::InDoubt {
                in_a_row.remove(&member);
            }
            known.insert(member, Known::InDoubt);
        } else if join {
            failed.insert(member);
        }
    }
    for (batch, times) in batches {
        prop_assert!(
            times.iter().all(|time| *time == times[0]),
            "batch {batch} begins at once"
        );
    }
    Ok(())
}

fn parameters() -> impl Strategy<Value = (Parameters, usize)> {
    let changes = proptest::sample::subsequence(
        Change::ALL
            .iter()
            .map(|(change, _)| *change)
            .collect::<Vec<_>>(),
        0..=Change::ALL.len(),
    );
    (4_usize..=12, changes, 0_u64..5).prop_flat_map(|(nodes, changes, interval)| {
        (1..nodes - 1, Just(nodes), Just(changes), Just(interval)).prop_flat_map(
            |(initial, nodes, changes, interval)| {
                (1..=initial, 1..=nodes - 1 - initial).prop_map(move |(floor, parallel_join)| {
                    let parameters = Parameters {
                        initial: Some(initial),
                        floor: Some(floor),
                        parallel_join,
                        changes: changes.iter().copied().collect(),
                        change_interval: Duration::from_secs(interval),
                        ..Parameters::default()
                    };
                    (parameters, nodes)
                })
            },
        )
    })
}

fn outcomes() -> impl Strategy<Value = Vec<(EventType, u64)>> {
    let outcome = prop_oneof![
        6 => Just(EventType::Ok),
        2 => Just(EventType::Fail),
        2 => Just(EventType::Info),
    ];
    prop::collection::vec((outcome, 0_u64..20), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_operation_is_legal(
        (parameters, nodes) in parameters(),
        seed in any::<u64>(),
        outcomes in outcomes(),
    ) {
        let simulated = run(&parameters, nodes, seed, &outcomes);
        check(&parameters, nodes, &simulated.events)?;
    }
}

fn count(events: &[Event], f: &str) -> usize {
    let invoked = events
        .iter()
        .filter(|event| event.event_type == EventType::Invoke && &*event.f == f);
    invoked.count()
}

#[test]
fn without_trouble_it_goes_on_to_join_and_remove_beside_lists_and_data() {
    let simulated = run(&Parameters::default(), 5, 7, &[(EventType::Ok, 1)]);
    for (f, at_least) in [
        ("join", 10),
        ("remove", 10),
        ("list", 30),
        ("add", 80),
        ("read", 1),
    ] {
        let found = count(&simulated.events, f);
        assert!(found >= at_least, "{found} times {f}");
    }
}

#[test]
fn a_batch_is_full_before_it_begins() {
    let parameters = Parameters {
        parallel_join: 8,
        ..Parameters::default()
    };
    let simulated = run(&parameters, 12, 7, &[(EventType::Ok, 1)]);
    let sizes: Vec<u64> = simulated
        .events
        .iter()
        .filter_map(|event| event.value["together"].as_u64())
        .collect();
    assert!(
        sizes.len() >= 16 && sizes.iter().all(|size| *size == 8),
        "{sizes:?}"
    );
}

#[test]
fn what_is_in_doubt_is_removed_by_force_and_joins_again() {
    // The first join is indeterminate, all else succeeds.
    let mut outcomes = vec![(EventType::Ok, 0); 400];
    outcomes[1] = (EventType::Info, 0);
    let simulated = run(&Parameters::default(), 5, 7, &outcomes);
    let of_n4: Vec<String> = simulated
        .events
        .iter()
        .filter(|event| event.event_type == EventType::Invoke && event.value["member"] == "n4")
        .take(3)
        .map(|event| format!("{} {}", event.f, event.value["force"] == true))
        .collect();
    assert_eq!(of_n4, ["join false", "remove true", "join false"]);
}

#[test]
fn what_is_refused_again_and_again_is_left_alone() {
    let mut outcomes = vec![(EventType::Fail, 0); 400];
    outcomes[1] = (EventType::Info, 0);
    let simulated = run(&Parameters::default(), 5, 7, &outcomes);
    // One join, then removes by force that are refused; below the floor nobody else may be removed.
    assert_eq!(count(&simulated.events, "join"), 1);
    assert_eq!(count(&simulated.events, "remove"), TRIES as usize);
}
