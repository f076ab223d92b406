//! The family of the selftest: each invariant is a judge, each row of [`TABLE`] a bug, and all are judged in one pass.

use harness_core::verdict::Unlimited;
use serde_json::Value;

use super::{
    super::{Bug, Family, Judge, Made, Results},
    Profile, Run, TABLE, run,
};
use crate::membership::{INVARIANTS, judge_membership};

/// The systems whose places the model knows.
const SYSTEMS: [&str; 3] = ["lxd", "microcluster", "dqlite"];

/// A consistent run; systems and profiles take turns.
#[must_use]
pub fn consistent(seed: u64) -> Run {
    let system = SYSTEMS[(seed % SYSTEMS.len() as u64) as usize];
    let profile = match seed % 10 {
        0 => Profile::Rich,
        1 => Profile::Double,
        _ => Profile::Random,
    };
    run(seed, system, profile)
}

fn broken(seed: u64, bug: usize) -> Option<Run> {
    let mutation = &TABLE[bug];
    let mut run = run(seed, mutation.system, mutation.profile);
    (mutation.breaks)(&mut run).then_some(run)
}

pub(in super::super) fn family() -> Family {
    let judge = |name: &'static str| Judge::new(name, Value::Null);
    Family {
        name: "membership",
        judges: INVARIANTS.iter().map(|one| judge(one.name)).collect(),
        bugs: TABLE
            .iter()
            .map(|mutation| Bug {
                name: mutation.name,
                found_by: mutation
                    .fails
                    .iter()
                    // The invariant's name says what its witnesses are of.
                    .map(|name| ((*name).to_owned(), &[][..]))
                    .collect(),
            })
            .collect(),
        make: Box::new(|seed, bug| {
            let run = match bug {
                None => consistent(seed),
                Some(bug) => broken(seed, bug)?,
            };
            let history = run.history();
            Some(Made {
                views: run.views,
                faults: run.faults,
                ..Made::of_history(history, run.meta)
            })
        }),
        results: at_once,
    }
}

/// What the history and the views mean is worked out once for all invariants.
fn at_once(judges: &[Judge], made: &Made) -> Results {
    let mut all = made.asked(|input| judge_membership(input, &Unlimited));
    let mut find = |judge: &Judge| {
        let place = all
            .iter()
            .position(|result| result.checker == judge.checker);
        place
            .map(|place| all.swap_remove(place))
            .ok_or_else(|| "it was not judged".to_owned())
    };
    judges.iter().map(&mut find).collect()
}
