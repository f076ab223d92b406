//! Our verdicts against those that come with other people's histories (`HARNESS_CORPORA`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::judge;
use harness_checkers::{
    linear::{Keyed, Linearizable, Options},
    registry,
};
use harness_core::{
    format::{self, Format},
    history::History,
    meta::Meta,
    verdict::Verdict,
};
use serde_json::json;

fn corpora() -> Option<PathBuf> {
    let folder = std::env::var_os("HARNESS_CORPORA").map(PathBuf::from);
    if folder.is_none() {
        println!("HARNESS_CORPORA is not set: nothing was compared");
    }
    folder
}

fn read(path: &Path, format: Option<Format>) -> History {
    let bytes = fs::read(path).unwrap();
    let format = format.unwrap_or_else(|| Format::detect(&bytes));
    format::read(&bytes, format).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn verdict_of(word: &str) -> Verdict {
    match word {
        "linearizable" | "valid" => Verdict::Valid,
        "NOT-linearizable" | "INVALID" => Verdict::Invalid,
        other => panic!("{other}"),
    }
}

fn assert_agree(what: &str, disagreements: &[String], looked_at: usize) {
    println!(
        "{what}: {} of {looked_at} agree",
        looked_at - disagreements.len()
    );
    assert!(disagreements.is_empty(), "{what}: {disagreements:#?}");
}

#[test]
fn porcupine_etcd() {
    let Some(corpora) = corpora() else { return };
    let checker = Linearizable::new(Options {
        keyed: Keyed::No,
        ..Options::default()
    });
    let table = fs::read_to_string(corpora.join("porcupine/etcd-verdicts.tsv")).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in table.lines() {
        let (file, word) = line.split_once('\t').unwrap();
        let path = corpora.join("porcupine/etcd").join(file);
        if !path.exists() {
            continue;
        }
        count += 1;
        let history = read(&path, None);
        let result = judge(&checker, &history, &Meta::default());
        if result.verdict != verdict_of(word) {
            wrong.push(format!("{file}: {word}, ours {}", result.summary));
        }
    }
    assert_agree("porcupine/etcd", &wrong, count);
}

#[test]
fn porcupine_kv() {
    let Some(corpora) = corpora() else { return };
    let checker = Linearizable::new(Options {
        model: "key-value".into(),
        ..Options::default()
    });
    let table = fs::read_to_string(corpora.join("porcupine/kv-verdicts.tsv")).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in table.lines() {
        let (name, word) = line.split_once('\t').unwrap();
        let path = corpora.join(format!("porcupine/kv/{name}.txt"));
        if !path.exists() {
            continue;
        }
        count += 1;
        let result = judge(
            &checker,
            &read(&path, Some(Format::PorcupineKv)),
            &Meta::default(),
        );
        if result.verdict != verdict_of(word) {
            wrong.push(format!("{name}: {word}, ours {}", result.summary));
        }
    }
    assert_agree("porcupine/kv", &wrong, count);
}

#[test]
fn knossos() {
    let Some(corpora) = corpora() else { return };
    let table = fs::read_to_string(corpora.join("knossos/verdicts.tsv")).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in table.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [file, model, word] = columns[..] else {
            panic!("{line}")
        };
        let path = corpora.join("knossos").join(file);
        if !path.exists() {
            continue;
        }
        count += 1;
        let model = model.trim_start_matches("model=");
        let checker = Linearizable::new(Options {
            model: model.into(),
            keyed: Keyed::No,
            initial: match model {
                "cas-register" => json!(0),
                "multi-register" => json!({"x": 0, "y": 0}),
                _ => json!(null),
            },
            null_matches_any: true,
            ..Options::default()
        });
        let result = judge(&checker, &read(&path, None), &Meta::default());
        if result.verdict != verdict_of(word) {
            wrong.push(format!("{file}: {word}, ours {}", result.summary));
        }
    }
    assert_agree("knossos", &wrong, count);
}

#[test]
fn elle_cli() {
    let Some(corpora) = corpora() else { return };
    let table = fs::read_to_string(corpora.join("elle-cli/verdicts.tsv")).unwrap();
    let (mut wrong, mut count) = (Vec::new(), 0);
    for line in table.lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [word, kind, arguments] = columns[..] else {
            panic!("{line}")
        };
        let Some(file) = arguments
            .split_whitespace()
            .find(|word| word.starts_with("histories/"))
        else {
            continue;
        };
        let path = corpora.join("elle-cli").join(file);
        // elle-cli was told to allow negative balances where the file is valid with them.
        let (name, options) = match kind {
            "cas-register" => (
                "linearizable",
                json!({"model": "cas-register", "keyed": "no", "initial": 0, "null_matches_any": true}),
            ),
            "mutex" => ("linearizable", json!({"model": "mutex"})),
            "bank" => (
                "bank",
                json!({"allow_negative": file.contains("bank-neg.edn")}),
            ),
            "set" | "set-full" => ("set-full", json!({})),
            _ => continue,
        };
        if !path.exists() {
            continue;
        }
        count += 1;
        let checker = registry::checker(name, &options).unwrap();
        let result = judge(&*checker, &read(&path, None), &Meta::default());
        if result.verdict != verdict_of(word) {
            wrong.push(format!(
                "{kind} {file}: {word}, ours {} {}",
                result.verdict.as_str(),
                result.summary
            ));
        }
        if let Some(witness) = result.witnesses.first() {
            println!("{file}: {} {}", witness.title, witness.story);
        }
    }
    assert_agree("elle-cli", &wrong, count);
}
