//! `harness check`: stored runs and history files, judged again.

use std::{collections::BTreeSet, path::Path};

use harness_checkers::verify::Finding;
use harness_core::{
    exit::Exit,
    verdict::{Verdict, VerdictFile, Witness},
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
    if args.report.is_some() && (many || !Path::new(&args.targets[0]).is_file()) {
        return Err(Failure::usage(
            "report: give one history file; harness report makes the page of a run",
        ));
    }
    let mut worst = Exit::Valid;
    let mut told = Vec::new();
    let mut refuted = None;
    for target in &args.targets {
        let path = Path::new(target);
        let mut again = Vec::new();
        let (verdict, exit) = if path.is_file()
            && path.file_name().is_none_or(|name| name != "meta.json")
        {
            let checker = args.checker.as_deref().ok_or_else(|| {
                Failure::usage(format!(
                    "{target}: a history file does not say how it is to be judged; add --checker NAME (one of {})",
                    harness_checkers::registry::names().join(", ")
                ))
            })?;
            let how = sources::How {
                format: args.format,
                checker,
                options: &options,
                limits,
                again: args.verify,
                page: args.report.as_deref(),
            };
            let (verdict, found) = sources::judge_file(path, &how)?;
            again.extend(found);
            let exit = Exit::from(verdict.verdict);
            if !args.json {
                print_file(target, &verdict, many);
            }
            (verdict, exit)
        } else {
            let run = sources::load(&store, target)?;
            let asked = sources::asked(&run.meta, args.checker.as_deref(), &options)?;
            let (verdict, found) = sources::judge_run(&run, &asked, limits, args.verify)?;
            again.extend(found);
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
        let mut tell =
            json!({ "target": target, "verdict": verdict.verdict, "results": verdict.results });
        if args.verify {
            tell["verified"] = told_again(target, &again, args.json, &mut refuted);
        }
        told.push(tell);
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
    if let Some(why) = refuted {
        return Err(Failure::harness(why));
    }
    Ok(worst)
}

/// Says what became of the witnesses when they were looked at again.
fn told_again(
    target: &str,
    again: &[Finding],
    as_json: bool,
    refuted: &mut Option<String>,
) -> Value {
    let confirmed = again
        .iter()
        .filter(|finding| **finding == Finding::Confirmed)
        .count();
    let mut words = vec![format!(
        "verified: {confirmed} of {} witnesses prove what they claim",
        again.len()
    )];
    for (number, finding) in (1..).zip(again) {
        match finding {
            Finding::Confirmed => {}
            Finding::NotTried(why) => {
                words.push(format!("witness {number} was not verified: {why}"))
            }
            Finding::Refuted(why) => {
                let line = format!("witness {number} does not prove what it claims: {why}");
                *refuted = Some(format!(
                    "{target}: {line}; the checker is wrong here, please report it"
                ));
                words.push(line);
            }
        }
    }
    if !as_json {
        for line in &words {
            terminal::print(&format!("  {line}"));
        }
    }
    json!({ "confirmed": confirmed, "of": again.len(), "remarks": words[1..] })
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
        let mut lines: Vec<String> = result.notes.iter().map(|note| note.text.clone()).collect();
        if result.verdict == Verdict::Invalid {
            let told = |witness: &Witness| format!("{} {}", witness.title, witness.story);
            lines.extend(result.witnesses.iter().map(told));
        }
        // A note that only says what a witness says, and ways that are told alike, are told once.
        let mut said = BTreeSet::new();
        for line in &lines {
            if said.insert(line) {
                terminal::print(&format!("  {line}"));
            }
        }
    }
}
