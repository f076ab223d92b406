//! Verdicts on transactions against Elle's (`HARNESS_CORPORA`), and against what holds by construction.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use harness_checkers::registry;
use harness_core::{
    format::{self, Format, edn::Reader},
    history::History,
    meta::Meta,
    verdict::{CheckResult, Verdict},
};
use serde_json::{Value, json};

const MODELS: [&str; 4] = [
    "strict-serializable",
    "serializable",
    "snapshot-isolation",
    "read-committed",
];

fn corpora() -> Option<PathBuf> {
    let folder = std::env::var_os("HARNESS_CORPORA").map(PathBuf::from);
    if folder.is_none() {
        println!("HARNESS_CORPORA is not set: nothing was compared");
    }
    folder
}

fn read(path: &Path) -> History {
    let bytes = fs::read(path).unwrap();
    format::read(&bytes, Format::detect(&bytes))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn judge(checker: &str, model: &str, history: &History) -> CheckResult {
    let checker = registry::checker(checker, &json!({ "model": model })).unwrap();
    common::judge(&*checker, history, &Meta::default())
}

/// Names of a set of keywords, ours for Elle's.
fn names(value: &Value) -> BTreeSet<String> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|name| match name.as_str().unwrap() {
            "strong-serializable" => "strict-serializable".to_owned(),
            "causal-cerone" => "causal".to_owned(),
            other => other.replace("-item", "").replace("G2", "G2-item"),
        })
        .collect()
}

/// The strongest model that a mode of the simulator has by construction.
fn by_construction(file: &str) -> Option<&'static str> {
    match file.split('-').next().unwrap() {
        "serial" => Some("strict-serializable"),
        "stale" => Some("serializable"),
        "si" => Some("snapshot-isolation"),
        _ => None,
    }
}

#[derive(Default)]
struct Row {
    files: usize,
    agree: [usize; 4],
    same_not: usize,
    same_types: usize,
}

/// Compares with Elle. Whatever it finds we must find; gives in how many verdicts we find more.
fn compare(checker: &str) -> Option<usize> {
    let folder = corpora()?.join("elle-labelled");
    let text = fs::read(folder.join(format!("{checker}-verdicts.edn"))).unwrap();
    let mut reader = Reader::new(&text);
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let (mut weaker, mut stronger) = (Vec::new(), 0);
    while let Some(label) = reader.next_value().unwrap() {
        let file = label["file"].as_str().unwrap();
        let path = folder.join(checker).join(file);
        if !path.exists() {
            println!("{file} is absent");
            continue;
        }
        let history = read(&path);
        let mode = file.split('-').next().unwrap().to_owned();
        let row = rows.entry(mode).or_default();
        row.files += 1;
        for (at, model) in MODELS.into_iter().enumerate() {
            let result = judge(checker, model, &history);
            let ours = result.verdict == Verdict::Valid;
            // Where Elle built no graph it says unknown: that agrees with anything.
            let elle = label[model].as_bool().unwrap_or(ours);
            row.agree[at] += usize::from(elle == ours);
            stronger += usize::from(elle && !ours);
            if elle != ours {
                println!(
                    "{checker} {file} {model}: Elle {elle}, ours {}; Elle {}, ours {}",
                    result.summary,
                    label["counts"],
                    result.figures.get("anomalies").unwrap_or(&Value::Null)
                );
            }
            if ours && !elle {
                weaker.push(format!("{file} {model}: {}", label["counts"]));
            }
            let truth = by_construction(file).map(|name| judge(checker, name, &history));
            if let Some(truth) = truth {
                assert_eq!(truth.verdict, Verdict::Valid, "{file}: {}", truth.summary);
            }
            if result.verdict == Verdict::Invalid {
                assert!(!result.witnesses.is_empty(), "{file}");
            }
        }
        let result = judge(checker, MODELS[0], &history);
        let ours = names(result.figures.get("not").unwrap_or(&json!([])));
        let elle = names(&label["not"]);
        if ours == elle {
            row.same_not += 1;
        } else {
            println!(
                "{checker} {file} not: Elle {elle:?}, ours {ours:?}; {}",
                result.summary
            );
            println!("   Elle {}", label["counts"]);
        }
        let kinds: BTreeSet<String> = result
            .figures
            .get("anomalies")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        if names(&label["anomaly-types"]) == kinds {
            row.same_types += 1;
        }
    }
    println!("{checker:<14} files   strict  serial.      SI       RC    :not   types");
    for (mode, row) in &rows {
        let [strict, serializable, si, rc] = row.agree;
        println!(
            "  {mode:<12} {:>5} {strict:>8} {serializable:>8} {si:>8} {rc:>8} {:>7} {:>7}",
            row.files, row.same_not, row.same_types
        );
    }
    assert!(
        weaker.is_empty(),
        "{checker}: Elle says invalid, we do not: {weaker:#?}"
    );
    Some(stronger)
}

#[test]
fn list_append_as_elle_says() {
    assert_eq!(compare("list-append").unwrap_or(0), 0);
}

#[test]
fn rw_register_as_elle_says() {
    // Elle infers nothing about the order of values from what a transaction or a process did; its labels are a lower bound.
    compare("rw-register");
}

/// Elle has no verdict on these: that nothing is left open, that what holds by construction is never called invalid, and that the stronger models
/// are never valid where the weaker ones are not.
#[test]
fn who_saw_what_is_never_left_open() {
    let Some(corpora) = corpora() else { return };
    for checker in ["list-append", "rw-register"] {
        sight(checker, &corpora.join("elle-labelled").join(checker));
    }
}

fn sight(checker: &str, folder: &Path) {
    let models = [
        "read-atomic",
        "causal",
        "strong-session-read-atomic",
        "strong-session-causal",
    ];
    let mut counts: BTreeMap<String, [usize; 6]> = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let history = read(&path);
        let file = path.file_name().unwrap().to_str().unwrap();
        let row = counts
            .entry(file.split('-').next().unwrap().to_owned())
            .or_default();
        row[0] += 1;
        let verdicts = models.map(|model| judge(checker, model, &history));
        for (place, result) in verdicts.iter().enumerate() {
            assert_ne!(
                result.verdict,
                Verdict::Unknown,
                "{file}: {}",
                result.summary
            );
            row[1 + place] += usize::from(result.verdict == Verdict::Valid);
        }
        let valid = verdicts
            .each_ref()
            .map(|result| result.verdict == Verdict::Valid);
        let [atomic, causal, of_sessions, causal_of_sessions] = valid;
        assert!(
            atomic >= causal && atomic >= of_sessions && causal >= causal_of_sessions,
            "{file}"
        );
        assert!(of_sessions >= causal_of_sessions, "{file}");
        assert!(by_construction(file).is_none() || causal, "{file}");
        let not = &verdicts[1].figures["not"];
        let single = not.as_array().unwrap().contains(&json!("consistent-view"));
        row[5] += usize::from(single && causal);
    }
    println!("{checker}: files, valid under {models:?}, causal in spite of a G-single");
    for (mode, row) in &counts {
        println!("  {mode:<12} {row:?}");
    }
}

#[test]
fn elles_own_histories() {
    let Some(corpora) = corpora() else { return };
    let folder = corpora.join("elle/histories");
    let paper = judge(
        "list-append",
        MODELS[0],
        &read(&folder.join("paper-example.edn")),
    );
    assert_eq!(paper.verdict, Verdict::Invalid, "{}", paper.summary);
    println!("paper-example: {}", paper.summary);
    let history = read(&folder.join("si-without-g-single.edn"));
    let skew = judge("list-append", "repeatable-read", &history);
    assert_eq!(skew.verdict, Verdict::Invalid, "{}", skew.summary);
    assert_eq!(skew.figures["anomalies"], json!({"G2-item": 1}));
    assert_eq!(skew.figures["not"], json!(["repeatable-read"]));
    let si = judge("list-append", "snapshot-isolation", &history);
    assert_eq!(si.verdict, Verdict::Valid, "{}", si.summary);
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
        let words: Vec<&str> = arguments.split_whitespace().collect();
        let file = words.iter().find(|word| word.starts_with("histories/"));
        let path = corpora.join("elle-cli").join(file.unwrap());
        if !matches!(kind, "list-append" | "rw-register") || !path.exists() {
            continue;
        }
        let model = words
            .iter()
            .position(|word| *word == "--consistency-models");
        let model = model.map_or(MODELS[0], |at| words[at + 1]);
        let result = judge(kind, model, &read(&path));
        count += 1;
        if (word == "valid") != (result.verdict == Verdict::Valid) {
            wrong.push(format!("{line}: {}", result.summary));
        }
    }
    println!("elle-cli: {} of {count} agree", count - wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
