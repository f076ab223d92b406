//! The independent verifier on membership: what is claimed of a broken run is confirmed there, and refuted of the run before it was broken;
//! and so is the claim with its time or its operations taken away.

use harness_checkers::{
    membership::Membership,
    selftest::membership::{Mutation, Run, TABLE, run},
    verify::{Finding, verify},
};
use harness_core::verdict::{CheckInput, CheckResult, Checker, Unlimited, Verdict};
use serde_json::Value;

/// Runs in which each mutation is tried.
const RUNS: usize = if cfg!(debug_assertions) { 3 } else { 30 };

/// Runs with that thing broken, each with the one that it was.
fn broken(mutation: &Mutation) -> impl Iterator<Item = (Run, Run)> {
    let both = |seed| {
        let whole = run(seed, mutation.system, mutation.profile);
        let mut broken = run(seed, mutation.system, mutation.profile);
        (mutation.breaks)(&mut broken).then_some((whole, broken))
    };
    (0..).filter_map(both).take(RUNS)
}

fn findings(run: &Run, result: &CheckResult) -> Vec<Finding> {
    let history = run.history();
    let input = CheckInput {
        views: &run.views,
        faults: &run.faults,
        ..CheckInput::of_history(&history, &run.meta)
    };
    verify(&Value::Null, &input, result)
}

fn is_refuted(finding: &Finding) -> bool {
    matches!(finding, Finding::Refuted(_))
}

#[test]
fn what_is_broken_is_and_was_not_before() {
    for mutation in TABLE {
        for (whole, broken) in broken(&mutation) {
            let results = broken.judge();
            let invalid = |result: &&CheckResult| result.verdict == Verdict::Invalid;
            for result in results.iter().filter(invalid) {
                let told = || {
                    format!(
                        "{}: {} {:#?}",
                        mutation.name, result.checker, result.witnesses
                    )
                };
                let said = findings(&broken, result);
                assert!(!said.is_empty(), "{}", told());
                assert!(
                    said.iter().all(|one| *one == Finding::Confirmed),
                    "{said:?} {}",
                    told()
                );
                let before = findings(&whole, result);
                assert!(before.iter().all(is_refuted), "{before:?} {}", told());
            }
        }
    }
}

#[test]
fn all_in_one_is_verified_too() {
    for mutation in TABLE {
        for (_, broken) in broken(&mutation).take(1) {
            let history = broken.history();
            let input = CheckInput {
                views: &broken.views,
                faults: &broken.faults,
                ..CheckInput::of_history(&history, &broken.meta)
            };
            let result = Membership.check(&input, &Unlimited);
            let said = verify(&Value::Null, &input, &result);
            let confirmed = said.iter().all(|one| *one == Finding::Confirmed);
            assert!(confirmed && !said.is_empty(), "{}: {said:?}", mutation.name);
        }
    }
}

#[test]
fn a_claim_needs_its_time_or_its_operations() {
    for mutation in TABLE {
        for (_, broken) in broken(&mutation).take(1) {
            for mut result in broken.judge() {
                for witness in &mut result.witnesses {
                    (witness.start_ns, witness.end_ns) = (0, 0);
                    witness.operations.clear();
                    witness.culprits.clear();
                    // Faults are found by the nodes that they struck.
                    witness.nodes.retain(|_| witness.kind != "not-restored");
                }
                let said = findings(&broken, &result);
                assert!(
                    said.iter().all(is_refuted),
                    "{}: {} {said:?}",
                    mutation.name,
                    result.checker
                );
            }
        }
    }
}
