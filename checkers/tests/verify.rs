//! The independent verifier: it confirms the witnesses of checkers that are right, and refutes made-up ones.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{fs, path::PathBuf};

use common::judge;
use harness_checkers::{
    generate::{self, Parameters, Plant, Workload},
    registry,
    verify::{Finding, verify},
};
use harness_core::{
    format::{self, Format},
    history::{History, Outcome, pair},
    meta::Meta,
    seed::Seed,
    verdict::{CheckInput, CheckResult, Verdict},
};
use serde_json::{Value, json};

fn judged(name: &str, options: &Value, history: &History, meta: &Meta) -> CheckResult {
    judge(&*registry::checker(name, options).unwrap(), history, meta)
}

#[test]
fn planted_anomalies_are_confirmed_and_what_was_not_planted_is_refuted() {
    let table = [
        (
            Workload::Register,
            Plant::StaleRead,
            "linearizable",
            json!({"model": "register"}),
        ),
        (
            Workload::Register,
            Plant::LostWrite,
            "linearizable",
            json!({"model": "register"}),
        ),
        (
            Workload::CasRegister,
            Plant::StaleRead,
            "linearizable",
            json!({}),
        ),
        (
            Workload::CasRegister,
            Plant::LostWrite,
            "linearizable",
            json!({}),
        ),
        (Workload::Set, Plant::LostElement, "set-full", json!({})),
        (
            Workload::Set,
            Plant::DuplicateElement,
            "set-full",
            json!({}),
        ),
        (Workload::Bank, Plant::BrokenTotal, "bank", json!({})),
    ];
    for (workload, plant, name, options) in table {
        let (mut confirmed, mut refuted) = (0, 0);
        for seed in 0..20 {
            let parameters = Parameters {
                seed: Seed(seed),
                plant: Some(plant),
                keys: 3,
                ..Parameters::new(workload, 150)
            };
            let history = pair(generate::collect(&parameters).unwrap()).unwrap();
            let meta = Meta {
                workload_options: generate::workload_options(&parameters),
                ..Meta::default()
            };
            let result = judged(name, &options, &history, &meta);
            if result.verdict != Verdict::Invalid {
                continue;
            }
            let found = verify(&options, &CheckInput::of_history(&history, &meta), &result);
            assert_eq!(found.len(), result.witnesses.len());
            for (finding, witness) in found.iter().zip(&result.witnesses) {
                assert_eq!(
                    *finding,
                    Finding::Confirmed,
                    "{plant:?} seed {seed}: {}",
                    witness.story
                );
                confirmed += 1;
            }
            // The same claim of other operations of that kind: those are innocent.
            for other in &history.operations {
                let mut lie = result.clone();
                lie.witnesses.truncate(1);
                let witness = &mut lie.witnesses[0];
                let culprit = witness.culprits[0];
                let guilty = history
                    .operations
                    .iter()
                    .find(|one| one.index == culprit)
                    .unwrap();
                let innocent = other.f == guilty.f
                    && other.outcome == Outcome::Ok
                    && !result
                        .witnesses
                        .iter()
                        .any(|told| told.operations.contains(&other.index));
                if !innocent || witness.kind == "not-linearizable" || witness.kind == "lost" {
                    continue;
                }
                witness.culprits = vec![other.index];
                witness.operations.retain(|index| *index != culprit);
                witness.operations.push(other.index);
                let said = verify(&options, &CheckInput::of_history(&history, &meta), &lie);
                refuted += u32::from(matches!(said[0], Finding::Refuted(_)));
            }
        }
        assert!(confirmed >= 10, "{plant:?}: {confirmed} confirmed");
        assert!(
            refuted >= 10 || plant == Plant::LostElement,
            "{plant:?}: {refuted} refuted"
        );
    }
}

#[test]
fn a_witness_that_names_nothing_is_refuted() {
    let parameters = Parameters {
        plant: Some(Plant::StaleRead),
        ..Parameters::new(Workload::Register, 200)
    };
    let history = pair(generate::collect(&parameters).unwrap()).unwrap();
    let (options, meta) = (json!({"model": "register"}), Meta::default());
    let mut result = judged("linearizable", &options, &history, &meta);
    for culprits in [vec![], vec![999_999]] {
        result.witnesses[0].culprits = culprits;
        let said = verify(&options, &CheckInput::of_history(&history, &meta), &result);
        assert!(matches!(said[0], Finding::Refuted(_)), "{said:?}");
    }
}

#[test]
fn witnesses_of_the_corpora_are_confirmed() {
    let Some(corpora) = std::env::var_os("HARNESS_CORPORA").map(PathBuf::from) else {
        println!("HARNESS_CORPORA is not set: nothing was compared");
        return;
    };
    let knossos = json!({"keyed": "no", "initial": 0, "null_matches_any": true});
    let folders = [
        ("porcupine/etcd", "linearizable", json!({"keyed": "no"})),
        (
            "porcupine/kv",
            "linearizable",
            json!({"model": "key-value"}),
        ),
        ("knossos/data/cas-register/bad", "linearizable", knossos),
        (
            "knossos/data/mutex/bad",
            "linearizable",
            json!({"model": "mutex"}),
        ),
    ];
    let (mut confirmed, mut not_tried) = (0, 0);
    for (folder, name, options) in folders {
        let Ok(files) = fs::read_dir(corpora.join(folder)) else {
            continue;
        };
        for path in files
            .map(|file| file.unwrap().path())
            .filter(|path| path.is_file())
        {
            let bytes = fs::read(&path).unwrap();
            let Ok(history) = format::read(&bytes, Format::detect(&bytes)) else {
                continue;
            };
            let meta = Meta::default();
            let result = judged(name, &options, &history, &meta);
            for finding in verify(&options, &CheckInput::of_history(&history, &meta), &result) {
                match finding {
                    Finding::Confirmed => confirmed += 1,
                    Finding::NotTried(_) => not_tried += 1,
                    Finding::Refuted(why) => {
                        panic!("{}: {why}: {:?}", path.display(), result.witnesses)
                    }
                }
            }
        }
    }
    println!("{confirmed} confirmed, {not_tried} too long to try");
    assert!(confirmed >= 30);
}
