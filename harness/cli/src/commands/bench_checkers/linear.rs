//! Rows of linearizability. `harness generate` makes the same histories from the parameters given here.

use std::path::Path;

use harness_checkers::generate::{Parameters, Plant, Workload};
use harness_core::{format::Format, seed::Seed, verdict::Verdict};
use serde_json::json;

use super::Row;
use crate::{commands::convert, failure::Failure};

/// Logs that Porcupine comes with.
const LOGS: u64 = 102;

/// Nothing fails, nothing is lost, so that all operations count.
fn certain(workload: Workload, operations: u64, processes: u64, keys: u64) -> Parameters {
    Parameters {
        processes,
        keys,
        info: 0.0,
        fail: 0.0,
        ..Parameters::new(workload, operations)
    }
}

/// The real logs where `HARNESS_CORPORA` has them, else made ones of their kind: five clients, few values, some lost.
fn etcd(folder: &Path) -> Result<(), Failure> {
    let corpora = std::env::var_os("HARNESS_CORPORA").map(std::path::PathBuf::from);
    if let Some(logs) = corpora
        .map(|corpora| corpora.join("porcupine/etcd"))
        .filter(|logs| logs.is_dir())
    {
        let copy = || -> std::io::Result<()> {
            for entry in std::fs::read_dir(&logs)? {
                let entry = entry?;
                std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
            }
            Ok(())
        };
        return copy().map_err(|error| Failure::because("the logs cannot be copied", &error));
    }
    for seed in 0..LOGS {
        let parameters = Parameters {
            seed: Seed(seed),
            values: 5,
            info: 0.05,
            ..certain(Workload::CasRegister, 170, 5, 1)
        };
        let path = folder.join(format!("{seed:03}.jsonl"));
        convert::write_generated(&parameters, Format::Ours, &path)?;
    }
    Ok(())
}

fn one(parameters: &Parameters, folder: &Path) -> Result<(), Failure> {
    convert::write_generated(parameters, Format::Ours, &folder.join("history.jsonl"))
}

/// The rows.
pub fn rows() -> Vec<Row> {
    vec![
        Row {
            name: "etcd",
            work: "etcd logs in one sweep (real ones if HARNESS_CORPORA is set: 67, else 102 generated)",
            baseline: "Porcupine 483 ms",
            time_ms: 50.0,
            memory_mb: None,
            large: false,
            checker: "linearizable",
            options: || json!({"keyed": "auto"}),
            witness: None,
            verdict: None,
            make: etcd,
        },
        Row {
            name: "kv-50",
            work: "kv, 50 clients, valid (2,500 operations on 50 keys: puts, appends, half gets)",
            baseline: "Porcupine 163 ms",
            time_ms: 10.0,
            memory_mb: None,
            large: false,
            checker: "linearizable",
            options: || json!({"model": "key-value"}),
            witness: None,
            verdict: Some(Verdict::Valid),
            make: |folder| one(&certain(Workload::KeyValue, 2_500, 50, 50), folder),
        },
        Row {
            name: "kv-10-whole",
            work: "kv, 10 clients, no per-key partition, invalid (450 operations on 10 keys, a stale read)",
            baseline: "Porcupine 3.8 s",
            time_ms: 300.0,
            memory_mb: None,
            large: false,
            checker: "linearizable",
            options: || json!({"model": "key-value", "partition": false}),
            witness: None,
            verdict: Some(Verdict::Invalid),
            make: |folder| {
                let parameters = Parameters {
                    plant: Some(Plant::StaleRead),
                    ..certain(Workload::KeyValue, 450, 10, 10)
                };
                one(&parameters, folder)
            },
        },
        Row {
            name: "kv-1m",
            work: "1,000,000 unique-write key-value operations, 1,000 keys, 20 clients",
            baseline: "Porcupine 2.1 s, 641 MB",
            time_ms: 200.0,
            memory_mb: Some(150.0),
            large: false,
            checker: "linearizable",
            options: || json!({"model": "register"}),
            witness: None,
            verdict: Some(Verdict::Valid),
            make: |folder| one(&certain(Workload::Register, 1_000_000, 20, 1_000), folder),
        },
        Row {
            name: "one-key-100k",
            work: "100,000 operations on one key, 10 clients",
            baseline: "Porcupine gives up at 60 s with 14.6 GB",
            time_ms: 50.0,
            memory_mb: Some(50.0),
            large: false,
            checker: "linearizable",
            options: || json!({"model": "register"}),
            witness: None,
            verdict: Some(Verdict::Valid),
            make: |folder| one(&certain(Workload::Register, 100_000, 10, 1), folder),
        },
        Row {
            name: "one-key-10m",
            work: "10,000,000 operations on one key, 10 clients",
            baseline: "",
            time_ms: 5_000.0,
            memory_mb: None,
            large: true,
            checker: "linearizable",
            options: || json!({"model": "register"}),
            witness: None,
            verdict: Some(Verdict::Valid),
            make: |folder| one(&certain(Workload::Register, 10_000_000, 10, 1), folder),
        },
    ]
}
