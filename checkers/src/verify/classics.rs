//! Witnesses of counters, identifiers, locks, long forks and causal reversals.

use harness_core::{
    history::{Operation, Outcome},
    verdict::{CheckInput, Witness},
};
use serde_json::Value;

use super::Finding;

const NOBODY: &str = "it names no operations of the history that could prove it";

/// The operations that a witness names.
fn named<'a>(input: &CheckInput<'a>, witness: &Witness) -> Vec<&'a Operation> {
    let all = input.history.operations.iter();
    all.filter(|operation| witness.operations.contains(&operation.index))
        .collect()
}

fn culprits<'a>(input: &CheckInput<'a>, witness: &Witness) -> Vec<&'a Operation> {
    let all = input.history.operations.iter();
    all.filter(|operation| witness.culprits.contains(&operation.index))
        .collect()
}

fn is(operation: &Operation, f: &str, outcome: Outcome) -> bool {
    &*operation.f == f && operation.outcome == outcome
}

/// One ended before the other began.
fn before(one: &Operation, other: &Operation) -> bool {
    one.completed_index.is_some_and(|end| end < other.index)
}

/// Pairs of different operations, each both ways round.
fn pairs<'a>(operations: &[&'a Operation]) -> Vec<(&'a Operation, &'a Operation)> {
    let with = |one: &&'a Operation| {
        let one = *one;
        operations.iter().map(move |other| (one, *other))
    };
    let all = operations.iter().flat_map(with);
    all.filter(|(one, other)| one.index != other.index)
        .collect()
}

/// A counter: `out-of-bounds`. Every sum that some adds give, of those that may count and with those that must.
pub(super) fn counter(_options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let bad = culprits(input, witness);
    let [read] = bad.as_slice() else {
        return Finding::Refuted(NOBODY.to_owned());
    };
    let (Some(seen), Some(end)) = (read.output.as_i64(), read.completed_index) else {
        return Finding::Refuted("that read gave no number".to_owned());
    };
    let (mut least, mut most) = (0_i128, 0_i128);
    for add in &input.history.operations {
        let given = add.input.as_i64().map(i128::from);
        let amount = match &*add.f {
            "add" => given,
            "increment" => Some(given.unwrap_or(1)),
            "decrement" => Some(-given.unwrap_or(1)),
            _ => None,
        };
        let Some(amount) = amount.filter(|_| add.outcome != Outcome::Fail && add.index < end)
        else {
            continue;
        };
        let must = add.outcome == Outcome::Ok && before(add, read);
        least += if must { amount } else { amount.min(0) };
        most += if must { amount } else { amount.max(0) };
    }
    Finding::of(
        is(read, "read", Outcome::Ok) && !(least..=most).contains(&i128::from(seen)),
        "what was added allows what that read gave",
    )
}

/// Identifiers: `duplicated`.
pub(super) fn ids(_options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let given = named(input, witness);
    let twice = pairs(&given).into_iter().any(|(one, other)| {
        let both = [one, other];
        let handed_out = both.iter().all(|one| is(one, "generate", Outcome::Ok));
        handed_out && one.output == other.output
    });
    Finding::of(twice, "no two of its operations were given the same")
}

/// A lock: `two-owners`, `not-owner`.
pub(super) fn lock(_options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let all = &input.history.operations;
    // The first release by the same process that may have counted, after an acquisition.
    let released = |acquire: &Operation| {
        let own = all.iter().filter(|other| {
            other.process == acquire.process
                && other.input == acquire.input
                && &*other.f == "release"
                && other.outcome != Outcome::Fail
                && other.index > acquire.index
        });
        own.map(|release| release.index).min().unwrap_or(u64::MAX)
    };
    match witness.kind.as_str() {
        "two-owners" => {
            let owners = named(input, witness);
            let overlap = pairs(&owners).into_iter().any(|(one, other)| {
                let both = [one, other];
                let acquired = both.iter().all(|one| is(one, "acquire", Outcome::Ok));
                let (Some(had), Some(got)) = (one.completed_index, other.completed_index) else {
                    return false;
                };
                acquired
                    && one.input == other.input
                    && one.process != other.process
                    && had < got
                    && got < released(one)
            });
            Finding::of(overlap, "no two of its owners surely had the lock at once")
        }
        "not-owner" => {
            let bad = culprits(input, witness);
            let [release] = bad.as_slice() else {
                return Finding::Refuted(NOBODY.to_owned());
            };
            let earlier = |f: &str, possible: &[Outcome]| {
                let own = all.iter().filter(|other| {
                    other.process == release.process && other.input == release.input
                });
                own.filter(|other| &*other.f == f && other.index < release.index)
                    .filter(|other| possible.contains(&other.outcome))
                    .count()
            };
            let has = earlier("acquire", &[Outcome::Ok, Outcome::Info])
                > earlier("release", &[Outcome::Ok]);
            Finding::of(
                is(release, "release", Outcome::Ok) && !has,
                "who released the lock may have had it",
            )
        }
        other => Finding::NotTried(format!("{other} is not known here")),
    }
}

/// What a transaction read: key, and whether there was anything.
fn reads(operation: &Operation) -> Vec<(&Value, bool)> {
    let steps = operation.output.as_array().into_iter().flatten();
    steps
        .filter(|_| operation.outcome == Outcome::Ok)
        .filter(|step| matches!(step[0].as_str(), Some("r" | "read")))
        .map(|step| (&step[1], !step[2].is_null()))
        .collect()
}

/// Long forks: `long-fork`.
pub(super) fn fork(_options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let readers = named(input, witness);
    // Keys that the first found written and the second not.
    let ahead = |one: &Operation, other: &Operation| {
        let others = reads(other);
        let missed = |key: &Value| others.contains(&(key, false));
        reads(one)
            .into_iter()
            .any(|(key, written)| written && missed(key))
    };
    let forked = pairs(&readers)
        .into_iter()
        .any(|(one, other)| ahead(one, other) && ahead(other, one));
    Finding::of(forked, "one of its readers saw all that the other saw")
}

/// Causal reversals: `causal-reverse`.
pub(super) fn reverse(_options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let bad = culprits(input, witness);
    let [read] = bad.as_slice() else {
        return Finding::Refuted(NOBODY.to_owned());
    };
    let seen = read
        .output
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let operations = named(input, witness);
    let reversed = pairs(&operations).into_iter().any(|(earlier, later)| {
        is(earlier, "write", Outcome::Ok)
            && &*later.f == "write"
            && later.outcome != Outcome::Fail
            && before(earlier, later)
            && seen.contains(&later.input)
            && !seen.contains(&earlier.input)
    });
    Finding::of(
        is(read, "read", Outcome::Ok) && reversed,
        "no write that it names had ended before another began that the read has without it",
    )
}
