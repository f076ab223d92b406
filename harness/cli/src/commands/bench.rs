//! `harness bench`: the harness itself, measured. Numbers here are this machine's; a test never asserts them.

use std::time::Instant;

use harness_checkers::generate::{self, Parameters, Workload};
use harness_core::{
    exit::Exit,
    history,
    meta::{self, Meta, NodeMeta, Plan},
    verdict::{CheckInput, VerdictFile},
};
use harness_report::{Model, ReportInput, html};
use harness_run::{
    bench::{BenchSpec, interpreter},
    check::{Limits, judge},
};
use harness_workloads::judges;
use serde_json::json;

use super::{bench_checkers, bench_simultaneity};
use crate::{
    args::{BenchArgs, BenchCommand},
    failure::{Failure, chain},
    terminal,
};

/// No checker of a bench may take longer than this, in seconds.
const CHECK_LIMIT_S: u64 = 300;

/// Calls the subcommand.
pub fn bench(args: BenchArgs) -> Result<Exit, Failure> {
    match args.command {
        BenchCommand::Interpreter {
            operations,
            concurrency,
            seconds,
            folder,
            json,
        } => {
            let own = tempfile::tempdir()
                .map_err(|error| Failure::because("no temporary folder", &error))?;
            let folder = folder.unwrap_or_else(|| own.path().to_owned());
            let figures = super::runtime()?
                .block_on(interpreter(
                    BenchSpec {
                        ops: operations,
                        concurrency: concurrency as usize,
                        seconds,
                    },
                    &folder.join("history.jsonl"),
                ))
                .map_err(|error| Failure::harness(chain(&error)))?;
            if json {
                terminal::print(&json!(figures).to_string());
            } else {
                terminal::print(&format!(
                    "{:.0} operations a second at concurrency {} ({} operations in {:.2} s, history of {} MB on disk included); largest memory {} MB",
                    figures.ops_per_s,
                    figures.concurrency,
                    figures.ops,
                    figures.duration_s,
                    figures.bytes / 1_000_000,
                    figures.vm_hwm_bytes / 1_000_000
                ));
            }
            Ok(Exit::Valid)
        }
        BenchCommand::Simultaneity { rounds, json } => {
            bench_simultaneity::simultaneity(rounds, json)
        }
        BenchCommand::Report {
            operations,
            output,
            json,
        } => report(operations, output.as_deref(), json),
        BenchCommand::Checkers {
            row,
            measure: Some(folder),
            ..
        } => bench_checkers::measure(&row, &folder),
        BenchCommand::Checkers {
            row,
            large,
            folder,
            json,
            measure: None,
        } => bench_checkers::checkers(&row, large, folder, json),
    }
}

/// A report of a synthetic bank history: how long it takes and how large it gets.
fn report(
    operations: u64,
    output: Option<&std::path::Path>,
    as_json: bool,
) -> Result<Exit, Failure> {
    let parameters = Parameters {
        nodes: 5,
        ..Parameters::new(Workload::Bank, operations)
    };
    let events = generate::collect(&parameters).map_err(|error| Failure::usage(chain(&error)))?;
    let end_ns = events.last().map_or(0, |event| event.time_ns);
    let history = history::pair(events).map_err(|error| Failure::harness(chain(&error)))?;
    let meta = Meta {
        format_version: meta::FORMAT_VERSION,
        id: "synthetic".to_owned(),
        system: "sim".to_owned(),
        simulated: true,
        workload: "bank".to_owned(),
        nemesis: vec!["none".to_owned()],
        nodes: (1..=5)
            .map(|number| NodeMeta {
                name: format!("n{number}"),
                ..NodeMeta::default()
            })
            .collect(),
        time_limit_s: std::time::Duration::from_nanos(end_ns).as_secs_f64(),
        workload_options: generate::workload_options(&parameters),
        ..Meta::default()
    };
    let checkers = judges::checkers(&meta).map_err(|error| Failure::harness(chain(&error)))?;
    let input = CheckInput::of_history(&history, &meta);
    let limits = Limits {
        time: std::time::Duration::from_secs(CHECK_LIMIT_S),
        memory_bytes: u64::MAX,
    };
    let began = Instant::now();
    let verdict: VerdictFile = judge(&checkers, &input, limits);
    let check_s = began.elapsed().as_secs_f64();
    let began = Instant::now();
    let model = Model::new(&ReportInput {
        meta: &meta,
        plan: &Plan::default(),
        faults: &[],
        history: &history,
        views: &[],
        verdict: &verdict,
        logs: &[],
        folder: "synthetic",
        files: &[],
    });
    let page = html::render(&model).map_err(|error| Failure::harness(chain(&error)))?;
    let render_s = began.elapsed().as_secs_f64();
    if let Some(path) = output {
        std::fs::write(path, &page)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
    }
    if as_json {
        terminal::print(
            &json!({ "operations": operations, "check_s": check_s, "render_s": render_s, "bytes": page.len() })
                .to_string(),
        );
    } else {
        terminal::print(&format!(
            "{operations} operations: judged in {check_s:.2} s, report of {:.2} MB made in {render_s:.2} s",
            page.len() as f64 / 1e6
        ));
    }
    Ok(Exit::Valid)
}
