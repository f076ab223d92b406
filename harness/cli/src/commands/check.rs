//! `harness check`: stored runs and history files, judged again.

use std::path::Path;

use harness_core::{
    exit::Exit,
    verdict::{Verdict, VerdictFile},
};
use serde_json::{Value, json};

use super::sources;
use crate::{args::CheckArgs, failure::Failure, terminal};

/// The checkers that test against one of several models.
const WITH_MODELS: [&str; 5] = [
    "linearizable",
    "append",
    "list-append",
    "rw-register",
    "weak-isolation",
];

/// Judges each target; many print a line each, and the worst exit code counts.
pub fn check(args: CheckArgs) -> Result<Exit, Failure> {
    let limits = sources::limits(&args.timeout, args.memory)?;
    let options = options(&args)?;
    let store = sources::store(&args.results);
    let many = args.targets.len() > 1;
    let mut worst = Exit::Valid;
    let mut told = Vec::new();
    for target in &args.targets {
        let path = Path::new(target);
        let (verdict, exit) = if path.is_file()
            && path.file_name().is_none_or(|name| name != "meta.json")
        {
            let checker = args.checker.as_deref().ok_or_else(|| {
                Failure::usage(format!(
                    "{target}: a history file does not say how it is to be judged; add --checker NAME (one of {})",
                    harness_checkers::registry::names().join(", ")
                ))
            })?;
            let verdict = sources::judge_file(path, args.format, checker, &options, limits)?;
            if args.verify {
                sources::verify_file(path, args.format, &verdict)?;
            }
            let exit = Exit::from(verdict.verdict);
            if !args.json {
                print_file(target, &verdict, many);
            }
            (verdict, exit)
        } else {
            let run = sources::load(&store, target)?;
            let verdict = sources::judge_run(&run, args.checker.as_deref(), limits)?;
            if args.verify {
                sources::verify(target, &run.history, &verdict)?;
            }
            let whole = args.checker.is_none();
            if whole && !args.dry_run {
                run.folder
                    .write_verdict(&verdict)
                    .map_err(|error| Failure::because("the verdict cannot be stored", &error))?;
            }
            sources::with_model(&run, &verdict, |model| {
                if whole && !args.dry_run {
                    sources::write_reports(&run, model);
                }
                if many && !args.json {
                    print_file(target, &verdict, many);
                } else if !args.json {
                    sources::print_results(model, false);
                }
            });
            let exit = sources::exit(&run.meta, &verdict);
            (verdict, exit)
        };
        told.push(
            json!({ "target": target, "verdict": verdict.verdict, "results": verdict.results }),
        );
        worst = worst.worst(exit);
    }
    if args.json {
        let all = if many {
            Value::from(told)
        } else {
            told.swap_remove(0)
        };
        terminal::print(&all.to_string());
    }
    Ok(worst)
}

fn options(args: &CheckArgs) -> Result<Value, Failure> {
    let mut options = match &args.options {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::usage(format!("options: {text:?} is no JSON: {error}")))?,
        None => Value::Null,
    };
    if let Some(model) = &args.model {
        let has_models = |name: &str| WITH_MODELS.contains(&name);
        if !args.checker.as_deref().is_some_and(has_models) {
            return Err(Failure::usage(format!(
                "model: only some checkers have models; add --checker NAME (one of {})",
                WITH_MODELS.join(", ")
            )));
        }
        if options.is_null() {
            options = json!({});
        }
        options["model"] = json!(model);
    }
    Ok(options)
}

fn print_file(target: &str, verdict: &VerdictFile, brief: bool) {
    let word = verdict.verdict.as_str();
    let glyph = verdict.verdict.glyph();
    let summary = verdict
        .results
        .iter()
        .find(|result| result.verdict == verdict.verdict)
        .map_or("", |result| result.summary.as_str());
    terminal::print(&format!("{glyph} {word}  {target}  {summary}"));
    if brief {
        return;
    }
    for result in &verdict.results {
        for note in &result.notes {
            terminal::print(&format!("  {}", note.text));
        }
        if result.verdict == Verdict::Invalid {
            for witness in &result.witnesses {
                terminal::print(&format!("  {} {}", witness.title, witness.story));
            }
        }
    }
}
