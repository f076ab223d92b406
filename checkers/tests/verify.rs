//! The verifier: every witness of every history that we have holds, and a witness that was tampered with does not.

mod common;

use std::{collections::BTreeMap, fs, path::PathBuf};

use common::judge;
use harness_checkers::{
    registry,
    verify::{self, Verified},
};
use harness_core::{
    format::{self, Format},
    history::History,
    meta::Meta,
    verdict::{CheckResult, Witness},
};
use serde_json::json;

/// Histories with more transactions than this are left out: the verifier is slow.
const TRANSACTIONS_LIMIT: usize = 700;

#[derive(Default)]
struct Table {
    /// By kind: how many held, how many are not known, how many of the tampered ones were refused and how many were not.
    kinds: BTreeMap<String, [u32; 4]>,
}

impl Table {
    fn look(&mut self, name: &str, history: &History, result: &CheckResult) {
        for witness in &result.witnesses {
            let row = self
                .kinds
                .entry(format!("{} {}", result.checker, witness.kind))
                .or_default();
            match verify::witness(history, result, witness) {
                Verified::Holds => row[0] += 1,
                Verified::NotKnown(_) => row[1] += 1,
                Verified::Wrong(detail) => panic!("{name}: {detail}: {witness:#?}"),
            }
            for tampered in tamper(history, witness) {
                let refused = matches!(
                    verify::witness(history, result, &tampered),
                    Verified::Wrong(_)
                );
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
    for (folder, checker) in [
        ("elle-labelled/list-append", "list-append"),
        ("elle-labelled/rw-register", "rw-register"),
        ("elle-labelled/rw-register", "weak-isolation"),
    ] {
        for entry in fs::read_dir(corpora.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            let history = format::read(&bytes, Format::detect(&bytes)).unwrap();
            if history.operations.len() > TRANSACTIONS_LIMIT {
                continue;
            }
            let checker = registry::checker(checker, &json!(null)).unwrap();
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

#[test]
fn kinds_without_a_definition_are_not_known() {
    let history = History::default();
    let checker = registry::checker("list-append", &json!(null)).unwrap();
    let mut result = judge(&*checker, &history, &Meta::default());
    let witness: Witness = serde_json::from_value(json!({
        "kind": "stale-read", "title": "", "story": "", "operations": [], "start_ns": 0, "end_ns": 0,
    }))
    .unwrap();
    result.checker = "linearizable".to_owned();
    assert!(matches!(
        verify::witness(&history, &result, &witness),
        Verified::NotKnown(_)
    ));
}
