//! The independent verifier on transactions: every witness of every history that we have is confirmed, and one that was tampered with is not.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{collections::BTreeMap, fs, path::PathBuf};

use common::judge;
use harness_checkers::{
    registry,
    verify::{Finding, verify},
};
use harness_core::{
    format::{self, Format},
    history::History,
    meta::Meta,
    verdict::{CheckInput, CheckResult, Verdict, Witness},
};
use serde_json::json;

/// Histories with more transactions than this are left out: the verifier is slow.
const TRANSACTIONS_LIMIT: usize = 700;

#[derive(Default)]
struct Table {
    /// By kind: how many were confirmed, how many not tried, how many of the tampered ones were refused and how many were not.
    kinds: BTreeMap<String, [u32; 4]>,
}

fn verified(history: &History, result: &CheckResult) -> Vec<Finding> {
    let meta = Meta::default();
    let input = CheckInput::of_history(history, &meta);
    verify(&json!(null), &input, result)
}

impl Table {
    fn look(&mut self, name: &str, history: &History, result: &CheckResult) {
        let found = verified(history, result);
        assert_eq!(found.len(), result.witnesses.len());
        for (witness, finding) in result.witnesses.iter().zip(found) {
            let row = self
                .kinds
                .entry(format!("{} {}", result.checker, witness.kind))
                .or_default();
            match finding {
                Finding::Confirmed => row[0] += 1,
                Finding::NotTried(_) => row[1] += 1,
                Finding::Refuted(detail) => panic!("{name}: {detail}: {witness:#?}"),
            }
            let lie = CheckResult {
                witnesses: tamper(history, witness),
                ..result.clone()
            };
            for finding in verified(history, &lie) {
                let refused = matches!(finding, Finding::Refuted(_));
                row[if refused { 2 } else { 3 }] += 1;
            }
        }
    }
}

/// Witnesses that claim something else.
fn tamper(history: &History, witness: &Witness) -> Vec<Witness> {
    let mut all = Vec::new();
    if witness.edges.len() > 1 {
        // One edge less, and an edge that goes elsewhere.
        let mut open = witness.clone();
        open.edges.pop();
        all.push(open);
        let mut reversed = witness.clone();
        for edge in &mut reversed.edges {
            std::mem::swap(&mut edge.from, &mut edge.to);
        }
        reversed.edges.reverse();
        // A circle of two is the same both ways.
        if witness.edges.len() > 2 {
            all.push(reversed);
        }
        let mut tame = witness.clone();
        tame.kind = "G0".to_owned();
        if witness.kind.starts_with("G-") || witness.kind.starts_with("G2") {
            all.push(tame);
        }
        let mut direct = witness.clone();
        direct.kind = "fractured-read-process".to_owned();
        if witness.edges.len() > 2 {
            all.push(direct);
        }
    }
    let first = history.operations.first().map(|operation| operation.index);
    if let Some(other) = first.filter(|index| !witness.operations.contains(index)) {
        let mut moved = witness.clone();
        moved.operations[0] = other;
        if let Some(edge) = moved.edges.first_mut() {
            edge.from = other;
        }
        all.push(moved);
    }
    all
}

#[test]
fn all_witnesses_of_the_corpora_hold() {
    let Some(corpora) = std::env::var_os("HARNESS_CORPORA").map(PathBuf::from) else {
        println!("HARNESS_CORPORA is not set: nothing was verified");
        return;
    };
    let mut table = Table::default();
    for (folder, checker, options) in [
        ("elle-labelled/list-append", "list-append", json!(null)),
        (
            "elle-labelled/list-append",
            "list-append",
            json!({"model": "strong-session-causal"}),
        ),
        ("elle-labelled/rw-register", "rw-register", json!(null)),
        (
            "elle-labelled/rw-register",
            "rw-register",
            json!({"model": "strong-session-causal"}),
        ),
        ("elle-labelled/rw-register", "weak-isolation", json!(null)),
    ] {
        for entry in fs::read_dir(corpora.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let history = format::read(&bytes, Format::detect(&bytes)).unwrap();
            if history.operations.len() > TRANSACTIONS_LIMIT {
                continue;
            }
            let checker = registry::checker(checker, &options).unwrap();
            let result = judge(&*checker, &history, &Meta::default());
            table.look(&path.display().to_string(), &history, &result);
        }
    }
    let (mut held, mut refused, mut passed) = (0, 0, 0);
    println!("kind: held, not known; tampered: refused, passed");
    for (kind, row) in &table.kinds {
        println!("  {kind}: {row:?}");
        held += row[0];
        refused += row[2];
        passed += row[3];
    }
    assert!(held > 300, "{held}");
    // Some that were moved still hold: another transaction can be wrong in the same way.
    assert!(refused > 9 * passed, "{refused} refused, {passed} passed");
}

/// A result of one transaction, with a witness of its making.
fn claimed(checker: &str, kind: &str, operations: &[u64], transactions: u64) -> Vec<Finding> {
    let mut lines = String::new();
    for index in (0..transactions).map(|number| 2 * number) {
        for (index, kind) in [(index, "invoke"), (index + 1, "ok")] {
            lines += &format!(
                "{{:index {index}, :time {index}, :process 0, :type :{kind}, :f :txn, :value [[:w 1 {index}]]}}\n"
            );
        }
    }
    let history = format::read(lines.as_bytes(), Format::Edn).unwrap();
    let mut result = CheckResult::new(checker, Verdict::Invalid, "");
    result.witnesses = vec![
        serde_json::from_value(json!({
            "kind": kind, "title": "", "story": "", "operations": operations, "start_ns": 0, "end_ns": 0,
        }))
        .unwrap(),
    ];
    verified(&history, &result)
}

#[test]
fn what_has_no_definition_or_is_too_long_is_not_tried() {
    let not_tried = |found: Vec<Finding>| matches!(found[..], [Finding::NotTried(_)]);
    let refuted = |found: Vec<Finding>| matches!(found[..], [Finding::Refuted(_)]);
    for checker in ["append", "list-append", "rw-register"] {
        assert!(not_tried(claimed(checker, "unheard-of", &[0], 1)));
        assert!(refuted(claimed(checker, "G1a", &[], 1)));
        assert!(refuted(claimed(checker, "G1a", &[0], 1)));
    }
    assert!(refuted(claimed(
        "weak-isolation",
        "unwritten-read",
        &[0],
        2_000
    )));
    assert!(not_tried(claimed(
        "weak-isolation",
        "unwritten-read",
        &[0],
        2_001
    )));
    assert!(not_tried(claimed("nobody", "G1a", &[0], 1)));
}
