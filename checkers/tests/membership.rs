//! The membership checker against a model: no false alarm in consistent runs, and each broken thing found by exactly the
//! invariants of its row.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod membership_model;

use harness_core::verdict::{CheckResult, Verdict};
use membership_model::{Profile, run};

fn failing(results: &[CheckResult], verdict: Verdict) -> Vec<&str> {
    let mut names: Vec<&str> = results
        .iter()
        .filter(|result| result.verdict == verdict)
        .map(|result| result.checker.as_str())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn consistent_runs_raise_no_alarm() {
    let count: u64 = std::env::var("MEMBERSHIP_RUNS").ok().map_or(300, |text| text.parse().unwrap());
    for seed in 0..count {
        let system = ["lxd", "microcluster", "dqlite"][(seed % 3) as usize];
        let profile = match seed % 10 {
            0 => Profile::Rich,
            1 => Profile::Double,
            _ => Profile::Random,
        };
        let run = run(seed, system, profile);
        let results = run.judge();
        for result in &results {
            assert!(
                matches!(result.verdict, Verdict::Valid | Verdict::NotApplicable),
                "seed {seed} {system} {profile:?}: {} is {:?}: {}\n{:#?}",
                result.checker, result.verdict, result.summary, result.notes
            );
        }
        if seed < 10 {
            for result in &results {
                println!("{seed} {:24} {:?} {}", result.checker, result.verdict, result.summary);
            }
        }
        assert_eq!(failing(&results, Verdict::Invalid), Vec::<&str>::new());
    }
}
