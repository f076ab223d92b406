//! Rows of transactions. `harness generate` makes the same histories from the parameters given here.

use std::path::Path;

use harness_checkers::generate::{Parameters, Plant, Workload};
use harness_core::{format::Format, verdict::Verdict};
use serde_json::json;

use super::Row;
use crate::{commands::convert, failure::Failure};

/// Transactions of a row that is not large.
const TRANSACTIONS: u64 = 1_000_000;

/// Transactions that lie on one circle.
const ONE_CIRCLE: u64 = 10_000;

/// Lists: 1 to 4 micro-operations, half of them reads, 10 keys in use at once, 32 appends a key. Nothing fails, nothing is lost.
fn lists(folder: &Path, transactions: u64, format: Format) -> Result<(), Failure> {
    let parameters = Parameters {
        processes: 20,
        info: 0.0,
        fail: 0.0,
        ..Parameters::new(Workload::ListAppend, transactions)
    };
    convert::write_generated(&parameters, format, &folder.join("history"))
}

/// Lists of which those who only read see an old state, nearly from the beginning on: one circle of real time through nearly all.
fn old_snapshots(folder: &Path) -> Result<(), Failure> {
    let parameters = Parameters {
        processes: 20,
        info: 0.0,
        fail: 0.0,
        plant: Some(Plant::OldSnapshot),
        ..Parameters::new(Workload::ListAppend, ONE_CIRCLE)
    };
    convert::write_generated(&parameters, Format::Edn, &folder.join("history"))
}

/// Registers: 50 sessions, 8 micro-operations, half of them reads, 1,000 keys, values of their own.
fn registers(folder: &Path) -> Result<(), Failure> {
    let parameters = Parameters {
        processes: 50,
        keys: 1_000,
        info: 0.0,
        fail: 0.0,
        transaction_min: 8,
        transaction_max: 8,
        ..Parameters::new(Workload::RwRegister, TRANSACTIONS)
    };
    convert::write_generated(&parameters, Format::Plume, &folder.join("history"))
}

/// The rows.
pub fn rows() -> Vec<Row> {
    let lists_row = Row {
        name: "list-append",
        work: "list-append, strict serializable, 1,000,000 transactions, 20 processes, EDN",
        baseline: "Elle: check 94 s, parse 61 s, 10.8 GB",
        time_ms: 5_000.0,
        memory_mb: Some(1_000.0),
        large: false,
        checker: "list-append",
        options: || json!({"model": "strict-serializable"}),
        witness: None,
        verdict: Some(Verdict::Valid),
        make: |folder| lists(folder, TRANSACTIONS, Format::Edn),
    };
    let registers_row = Row {
        name: "read-committed",
        work: "read committed, 1,000,000 transactions, 50 sessions, 1,000 keys",
        baseline: "AWDIT 4.5 s",
        time_ms: 1_500.0,
        memory_mb: None,
        large: false,
        checker: "weak-isolation",
        options: || json!({"model": "read-committed"}),
        witness: None,
        verdict: Some(Verdict::Valid),
        make: registers,
    };
    vec![
        lists_row,
        Row {
            name: "list-append-jsonl",
            work: "the same as JSON lines",
            baseline: "",
            make: |folder| lists(folder, TRANSACTIONS, Format::Ours),
            ..lists_row
        },
        Row {
            name: "list-append-serializable",
            work: "the same, serializable, EDN",
            baseline: "",
            options: || json!({"model": "serializable"}),
            ..lists_row
        },
        Row {
            name: "list-append-10m",
            work: "list-append, strict serializable, 10,000,000 transactions, EDN",
            baseline: "",
            time_ms: 30_000.0,
            memory_mb: Some(6_000.0),
            large: true,
            make: |folder| lists(folder, 10 * TRANSACTIONS, Format::Edn),
            ..lists_row
        },
        Row {
            name: "giant-circle",
            work: "10,000 transactions, nearly all on one circle of real time, strong snapshot isolation, EDN",
            baseline: "Elle times out and says only that there is a cycle",
            time_ms: 1_000.0,
            memory_mb: None,
            options: || json!({"model": "strong-snapshot-isolation"}),
            // Who missed a write that had ended before, and who wrote it.
            witness: Some(2),
            verdict: Some(Verdict::Invalid),
            make: old_snapshots,
            ..lists_row
        },
        Row {
            name: "giant-circle-serializable",
            work: "the same, serializable",
            baseline: "",
            time_ms: 1_000.0,
            memory_mb: None,
            options: || json!({"model": "serializable"}),
            make: old_snapshots,
            ..lists_row
        },
        registers_row,
        Row {
            name: "read-atomic",
            work: "read atomic, the same",
            baseline: "AWDIT 10.6 s",
            time_ms: 3_500.0,
            options: || json!({"model": "read-atomic"}),
            ..registers_row
        },
        Row {
            name: "causal",
            work: "causal, the same",
            baseline: "AWDIT 130 s, 17.8 GB",
            time_ms: 13_000.0,
            memory_mb: Some(1_800.0),
            options: || json!({"model": "causal"}),
            ..registers_row
        },
    ]
}
