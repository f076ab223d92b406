//! Measures a checker on a generated history: `measure WORKLOAD OPERATIONS PROCESSES KEYS [VALUES [INFO [PLANT]]]`.

use std::time::Instant;

use harness_checkers::{
    generate::{self, Parameters, Plant, Workload},
    registry,
};
use harness_core::{
    history::History,
    meta::Meta,
    verdict::{CheckInput, Unlimited},
};
use serde_json::json;

/// Largest resident memory of this process, from the kernel.
fn peak() -> String {
    std::fs::read_to_string("/proc/self/status")
        .unwrap_or_default()
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or("VmHWM unknown")
        .to_owned()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |at: usize, default: u64| {
        arguments
            .get(at)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let workload = arguments
        .get(1)
        .and_then(|name| Workload::from_name(name))
        .ok_or("which workload?")?;
    let mut parameters = Parameters::new(workload, number(2, 100_000));
    parameters.processes = number(3, 10);
    parameters.keys = number(4, 10);
    parameters.values = number(5, 0);
    parameters.info = arguments
        .get(6)
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0);
    parameters.fail = 0.0;
    parameters.plant = arguments.get(7).and_then(|name| Plant::from_name(name));
    parameters.seed = harness_core::seed::Seed(number(8, 1));
    let started = Instant::now();
    let mut events = Vec::new();
    generate::generate(&parameters, |event| events.push(event))?;
    println!(
        "generated {} events in {:?}",
        events.len(),
        started.elapsed()
    );
    let started = Instant::now();
    let history: History = harness_core::history::pair(events)?;
    println!("paired in {:?}; {}", started.elapsed(), peak());
    let (name, options) = match workload {
        Workload::Register => ("linearizable", json!({"model": "register"})),
        Workload::CasRegister => ("linearizable", json!({"model": "cas-register"})),
        Workload::KeyValue => ("linearizable", json!({"model": "key-value"})),
        Workload::Set => ("set-full", json!(null)),
        Workload::Bank => ("bank", json!(null)),
        Workload::ListAppend => ("append", json!(null)),
        Workload::RwRegister => ("rw-register", json!(null)),
    };
    let meta = Meta {
        workload_options: generate::workload_options(&parameters),
        ..Meta::default()
    };
    let input = CheckInput::of_history(&history, &meta);
    let started = Instant::now();
    let result = registry::checker(name, &options)?.check(&input, &Unlimited);
    println!(
        "{} in {:?}: {}; {}",
        result.verdict.as_str(),
        started.elapsed(),
        result.summary,
        peak()
    );
    println!("{}", serde_json::to_string(&result.figures)?);
    for witness in &result.witnesses {
        println!("  {}: {} {}", witness.kind, witness.title, witness.story);
    }
    Ok(())
}
