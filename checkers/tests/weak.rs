//! Weak isolation against its definition: small histories are judged by trying every commit order, and AWDIT's by its verdicts.
//!
//! The oracle shares no code with the checker: it works on JSON values, and says what Biswas and Enea (OOPSLA 2019) say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{collections::HashSet, fs, path::PathBuf};

use common::judge;
use harness_checkers::{
    generate::{self, Parameters, Workload},
    registry::{self, Source},
    txn::weak::{Options, WeakIsolation, models},
};
use harness_core::{
    format::{self, Format},
    history::{History, Outcome},
    meta::Meta,
    verdict::{CheckResult, Unlimited, Verdict},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

/// Histories that are tried.
const CASES: u64 = 6_000;

fn checker(model: &str) -> WeakIsolation {
    let model = Some(model.to_owned());
    WeakIsolation::new(&Options { model }).unwrap()
}

/// Both from the bytes and from the history, which must say the same.
fn check(bytes: &[u8], format: Format, model: &str) -> CheckResult {
    let checker = checker(model);
    let source = Source {
        bytes,
        format,
        threads: 0,
        release: &|_| {},
    };
    let options = json!({"model": model});
    let (result, remarks) =
        registry::check_bytes("weak-isolation", &options, &source, &Unlimited).unwrap();
    let history = format::read(bytes, format).unwrap();
    assert_eq!(remarks, history.remarks);
    assert_eq!(
        json!(judge(&checker, &history, &Meta::default())),
        json!(result)
    );
    result
}

#[test]
fn as_awdit_says() {
    let Some(corpora) = std::env::var_os("HARNESS_CORPORA").map(PathBuf::from) else {
        println!("HARNESS_CORPORA is not set: nothing was compared");
        return;
    };
    let folder = corpora.join("awdit");
    let table = fs::read_to_string(folder.join("verdicts.tsv")).unwrap();
    let mut wrong = Vec::new();
    for line in table.lines() {
        let (file, said) = line.split_once('\t').unwrap();
        let strongest = said.rsplit(": ").next().unwrap();
        let bytes = fs::read(folder.join(file)).unwrap();
        assert_eq!(Format::detect(&bytes), Format::Awdit, "{file}");
        let holds = models().iter().position(|model| *model == strongest);
        for (place, model) in models().into_iter().enumerate() {
            let result = check(&bytes, Format::Awdit, model);
            let expected = holds.is_some_and(|holds| place <= holds);
            if (result.verdict == Verdict::Valid) != expected {
                wrong.push(format!("{file} {model}: {}", result.summary));
            }
            if result.verdict == Verdict::Invalid {
                assert!(!result.witnesses.is_empty(), "{file}");
            }
        }
    }
    assert_eq!(table.lines().count(), 22);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `(writes, key, value)`; no value: what was there at first.
type Step = (bool, u64, Option<u64>);

#[derive(Debug)]
struct Txn {
    session: u64,
    steps: Vec<Step>,
}

/// Transactions as the definition sees them; the first one wrote what was there at first.
fn transactions(history: &History) -> Vec<Txn> {
    let mut all = vec![Txn {
        session: u64::MAX,
        steps: (0..3).map(|key| (true, key, None)).collect(),
    }];
    for operation in &history.operations {
        assert_eq!(operation.outcome, Outcome::Ok);
        let steps = operation.output.as_array().unwrap().iter();
        all.push(Txn {
            session: operation.process.to_string().parse().unwrap(),
            steps: steps
                .map(|step| (step[0] == "w", step[1].as_u64().unwrap(), step[2].as_u64()))
                .collect(),
        });
    }
    all
}

struct Oracle {
    txns: Vec<Txn>,
    /// By sessions and reads, directly.
    visible: HashSet<(usize, usize)>,
    /// Over any number of steps.
    causes: HashSet<(usize, usize)>,
}

impl Oracle {
    /// None if some read is wrong by itself.
    fn new(txns: Vec<Txn>) -> Option<Self> {
        let mut visible = HashSet::new();
        for (to, txn) in txns.iter().enumerate() {
            for (from, before) in txns.iter().enumerate().take(to) {
                if from == 0 || before.session == txn.session {
                    visible.insert((from, to));
                }
            }
            for (place, step) in txn.steps.iter().enumerate() {
                if step.0 {
                    continue;
                }
                let own = |earlier: &&Step| earlier.0 && earlier.1 == step.1;
                if let Some(last) = txn.steps[..place].iter().rev().find(own) {
                    if last.2 != step.2 {
                        return None;
                    }
                    continue;
                }
                let from = writer(&txns, step)?;
                if from == to {
                    return None;
                }
                let last = txns[from]
                    .steps
                    .iter()
                    .rev()
                    .find(|other| other.0 && other.1 == step.1);
                if last.unwrap().2 != step.2 {
                    return None;
                }
                visible.insert((from, to));
            }
        }
        let mut causes = visible.clone();
        for middle in 0..txns.len() {
            for from in 0..txns.len() {
                for to in 0..txns.len() {
                    if causes.contains(&(from, middle)) && causes.contains(&(middle, to)) {
                        causes.insert((from, to));
                    }
                }
            }
        }
        Some(Self {
            txns,
            visible,
            causes,
        })
    }

    /// Whether some commit order has the level.
    fn holds(&self, level: usize) -> bool {
        let mut demands: HashSet<(usize, usize)> = self.visible.clone();
        for (t3, txn) in self.txns.iter().enumerate() {
            for (place, step) in txn.steps.iter().enumerate() {
                let own = |earlier: &Step| earlier.0 && earlier.1 == step.1;
                if step.0 || txn.steps[..place].iter().any(own) {
                    continue;
                }
                let t1 = writer(&self.txns, step).unwrap();
                for (t2, other) in self.txns.iter().enumerate() {
                    let writes = other.steps.iter().any(|did| did.0 && did.1 == step.1);
                    let before = match level {
                        0 => txn.steps[..place]
                            .iter()
                            .any(|earlier| !earlier.0 && writer(&self.txns, earlier) == Some(t2)),
                        1 => self.visible.contains(&(t2, t3)),
                        _ => self.causes.contains(&(t2, t3)),
                    };
                    if t2 != t1 && t2 != t3 && writes && before {
                        demands.insert((t2, t1));
                    }
                }
            }
        }
        self.order(&demands, &mut Vec::new())
    }

    fn order(&self, demands: &HashSet<(usize, usize)>, placed: &mut Vec<usize>) -> bool {
        if placed.len() == self.txns.len() {
            return true;
        }
        (0..self.txns.len()).any(|next| {
            let free = !placed.contains(&next)
                && demands
                    .iter()
                    .all(|(from, to)| *to != next || placed.contains(from));
            if !free {
                return false;
            }
            placed.push(next);
            let fits = self.order(demands, placed);
            placed.pop();
            fits
        })
    }
}

/// Who wrote what a step read; none if nobody did.
fn writer(txns: &[Txn], step: &Step) -> Option<usize> {
    txns.iter()
        .position(|txn| txn.steps.contains(&(true, step.1, step.2)))
}

/// A history in which reads show any of the values written so far or soon, mostly recent ones.
fn plume(rng: &mut ChaCha8Rng) -> String {
    let sessions = rng.random_range(1..=3_u64);
    let count = rng.random_range(2..=6_u64);
    let mut plans: Vec<(u64, Vec<(bool, u64)>)> = Vec::new();
    for _ in 0..count {
        let steps =
            (0..rng.random_range(1..=4)).map(|_| (rng.random_bool(0.5), rng.random_range(0..3)));
        let steps = steps.collect();
        plans.push((rng.random_range(0..sessions), steps));
    }
    let mut written: Vec<Vec<u64>> = vec![vec![0]; 3];
    let mut value = 0;
    for (_, steps) in &plans {
        for (write, key) in steps {
            if *write {
                value += 1;
                written[*key as usize].push(value);
            }
        }
    }
    let mut text = String::new();
    let mut value = 0;
    let mut now = [0_usize; 3];
    for (number, (session, steps)) in plans.iter().enumerate() {
        for (write, key) in steps {
            let values = &written[*key as usize];
            let at = &mut now[*key as usize];
            let shown = if *write {
                value += 1;
                *at += 1;
                value
            } else if rng.random_bool(0.75) {
                values[*at]
            } else {
                values[rng.random_range(0..values.len())]
            };
            let name = if *write { "w" } else { "r" };
            text += &format!("{name}({key},{shown},{session},{number})\n");
        }
    }
    text
}

#[test]
fn small_histories_by_definition() {
    let mut seen = [[0_u32; 2]; 3];
    for seed in 0..CASES {
        let text = plume(&mut ChaCha8Rng::seed_from_u64(seed));
        let history = format::read(text.as_bytes(), Format::Plume).unwrap();
        let oracle = Oracle::new(transactions(&history));
        for (level, model) in models().into_iter().enumerate() {
            let expected = oracle.as_ref().is_some_and(|oracle| oracle.holds(level));
            let result = check(text.as_bytes(), Format::Plume, model);
            assert_eq!(
                result.verdict == Verdict::Valid,
                expected,
                "seed {seed}, {model}: {}\n{text}",
                result.summary
            );
            seen[level][usize::from(expected)] += 1;
        }
    }
    println!("invalid and valid by level: {seen:?}");
    assert!(
        seen.iter().flatten().all(|number| *number > 500),
        "{seen:?}"
    );
}

/// Neither way makes a history of nothing, or of what is torn.
#[test]
fn what_is_no_history_is_left_to_the_general_reader() {
    for (text, format) in [
        ("", Format::Plume),
        ("\n", Format::Plume),
        ("w(0,1,0", Format::Plume),
        ("", Format::Awdit),
        ("w 0", Format::Awdit),
    ] {
        let source = Source {
            bytes: text.as_bytes(),
            format,
            threads: 0,
            release: &|_| {},
        };
        assert!(format::read(text.as_bytes(), format).is_err(), "{text:?}");
        let straight = registry::check_bytes("weak-isolation", &json!({}), &source, &Unlimited);
        assert!(straight.is_none(), "{text:?}");
    }
}

#[test]
fn witnesses_tell_the_story() {
    // T4 saw T2's y, and then an older x.
    let text = "w(0,1,0,0)\nw(0,2,0,1)\nw(1,3,0,1)\nr(1,3,1,2)\nr(0,1,1,2)\n";
    let result = check(text.as_bytes(), Format::Plume, "read-committed");
    assert_eq!(result.verdict, Verdict::Invalid);
    let witness = &result.witnesses[0];
    assert_eq!(witness.kind, "commit-order-cycle");
    assert!(
        witness
            .story
            .contains("T4 read key 0=1 from T0, though it knew of T2, which wrote key 0=2"),
        "{}",
        witness.story
    );
    let text = "w(0,1,0,0)\nr(0,0,0,1)\n";
    let result = check(text.as_bytes(), Format::Plume, "read-atomic");
    assert_eq!(result.witnesses[0].kind, "initial-value-too-late");
    assert!(check(text.as_bytes(), Format::Plume, "read-committed").verdict == Verdict::Valid);
}

#[test]
fn threads_come_to_the_same() {
    let parameters = Parameters {
        processes: 7,
        keys: 50,
        info: 0.0,
        ..Parameters::new(Workload::RwRegister, 100_000)
    };
    let mut text = Vec::new();
    generate::generate(&parameters, |event| {
        format::sessions::encode_plume(&event, event.index, &mut text);
    })
    .unwrap();
    assert!(text.len() > 4 * 1024 * 1024, "{}", text.len());
    // A read of what came much later: a circle.
    let lines: Vec<&str> = std::str::from_utf8(&text).unwrap().lines().collect();
    let wrote = |line: &&str| line.starts_with("w(") && !line.ends_with(",-1)");
    let number = |line: &str, at: usize| {
        let inner = line.trim_end_matches(')').split_once('(').unwrap().1;
        inner.split(',').nth(at).unwrap().to_owned()
    };
    let late = lines.iter().rev().copied().find(wrote).unwrap();
    let early = lines.iter().copied().find(wrote).unwrap();
    let read = format!(
        "r({},{},{},{})",
        number(late, 0),
        number(late, 1),
        number(early, 2),
        number(early, 3)
    );
    let at = lines.iter().position(|line| *line == early).unwrap();
    let circle = [&lines[..at], &[read.as_str()], &lines[at..]]
        .concat()
        .join("\n");
    for (text, verdict) in [
        (text.as_slice(), Verdict::Valid),
        (circle.as_bytes(), Verdict::Invalid),
    ] {
        for model in models() {
            let by = |threads| {
                let source = Source {
                    bytes: text,
                    format: Format::Plume,
                    threads,
                    release: &|_| {},
                };
                let options = json!({"model": model});
                registry::check_bytes("weak-isolation", &options, &source, &Unlimited)
                    .unwrap()
                    .0
            };
            let alone = by(0);
            assert_eq!(alone.verdict, verdict, "{model}: {}", alone.summary);
            for threads in [2, 3] {
                assert_eq!(json!(by(threads)), json!(alone), "{model}");
            }
        }
    }
}
