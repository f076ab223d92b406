//! `harness check`: stored runs and history files, judged again.

use std::{collections::BTreeSet, path::Path};

use harness_checkers::{registry, verify::Finding};
use harness_core::{
    exit::Exit,
    verdict::{Verdict, VerdictFile, Witness},
};
use harness_run::{
    check::Limits,
    store::{RunStore, StoreError},
};
use serde_json::{Value, json};

use super::sources;
use crate::{
    args::CheckArgs,
    failure::{Failure, chain},
    terminal,
};

/// What stands in the place of a verdict on a target that could not be judged.
const ERROR: &str = "✗ error";

/// The checkers that test against one of several models.
const WITH_MODELS: [&str; 5] = [
    "linearizable",
    "append",
    "list-append",
    "rw-register",
    "weak-isolation",
];

/// What became of one target.
struct Judged {
    verdict: VerdictFile,
    exit: Exit,
    /// The witnesses, looked at again.
    again: Vec<Finding>,
}

/// What holds for all targets.
struct Way<'a> {
    args: &'a CheckArgs,
    checker: Option<&'a str>,
    options: Value,
    limits: Limits,
    store: RunStore,
    many: bool,
}

/// Judges each target; many print a line each, and the worst exit code counts. A target that cannot be judged is told as the others
/// are, and keeps none of them from being judged.
pub fn check(args: CheckArgs) -> Result<Exit, Failure> {
    let meant = args.checker.as_deref().map(registry::meant);
    let way = Way {
        checker: meant.map(|(name, _)| name),
        options: options(&args, meant)?,
        limits: sources::limits(&args.timeout, args.memory)?,
        store: sources::store(&args.results),
        many: args.targets.len() > 1,
        args: &args,
    };
    if args.report.is_some() && (way.many || !is_history(&args.targets[0])) {
        return Err(Failure::usage(
            "report: give one history file; harness report makes the page of a run",
        ));
    }
    // What is wrong for all of them is said once.
    if let Some(name) = way.checker {
        registry::checker(name, &way.options).map_err(|error| Failure::usage(chain(&error)))?;
    }
    let mut worst = Exit::Valid;
    let mut told = Vec::new();
    let mut refuted = None;
    let mut failed = None;
    for target in &args.targets {
        match way.judge(target) {
            Ok(Judged {
                verdict,
                exit,
                again,
            }) => {
                let mut tell = json!({ "target": target, "verdict": verdict.verdict, "results": verdict.results });
                if args.verify {
                    tell["verified"] = told_again(target, &again, args.json, &mut refuted);
                }
                told.push(tell);
                worst = worst.worst(exit);
            }
            Err(failure) => {
                told.push(json!({ "target": target, "error": failure.message }));
                worst = worst.worst(failure.exit);
                if way.many && !args.json {
                    let message = &failure.message;
                    let own = message.strip_prefix(&format!("{target}: "));
                    let message = own.unwrap_or(message);
                    terminal::print(&format!("{ERROR}  {target}  {message}"));
                }
                failed = Some(failure);
            }
        }
    }
    if args.json {
        let all = if way.many {
            Value::from(told)
        } else {
            told.swap_remove(0)
        };
        terminal::print(&all.to_string());
    }
    if let Some(why) = refuted {
        return Err(Failure::harness(why));
    }
    match failed {
        // One alone has no line of its own.
        Some(failure) if !way.many => Err(failure),
        _ => Ok(worst),
    }
}

/// Whether it is a history, not a run: a file other than a run's `meta.json`, or what can be read once, as standard input or a shell's
/// `<(...)`.
fn is_history(target: &str) -> bool {
    let path = Path::new(target);
    if path.is_file() {
        return path.file_name().is_none_or(|name| name != "meta.json");
    }
    target == sources::STDIN || path.exists() && !path.is_dir()
}

impl Way<'_> {
    fn judge(&self, target: &str) -> Result<Judged, Failure> {
        if is_history(target) {
            self.judge_file(target, Path::new(target))
        } else {
            self.judge_run(target)
        }
    }

    fn judge_file(&self, target: &str, path: &Path) -> Result<Judged, Failure> {
        let checker = self.checker.ok_or_else(|| {
            Failure::usage(format!(
                "{target}: a history file does not say how it is to be judged; add --checker NAME (one of {})",
                registry::names().join(", ")
            ))
        })?;
        let how = sources::How {
            format: self.args.format,
            checker,
            options: &self.options,
            limits: self.limits,
            again: self.args.verify,
            page: self.args.report.as_deref(),
        };
        let (verdict, again) = sources::judge_file(path, &how)?;
        if !self.args.json {
            print_file(target, &verdict, self.many);
        }
        Ok(Judged {
            exit: Exit::from(verdict.verdict),
            verdict,
            again,
        })
    }

    fn judge_run(&self, target: &str) -> Result<Judged, Failure> {
        let folder = self.store.open(target).map_err(|error| match error {
            StoreError::NotFound { .. } if Path::new(target).is_dir() => Failure::usage(format!(
                "{target}: this folder is no run's, for want of a meta.json; name a run's folder, or a history file"
            )),
            StoreError::NotFound { root, .. } => Failure::usage(format!(
                "{target}: there is no such file, and no such run in {}",
                root.display()
            )),
            error => Failure::usage(chain(&error)),
        })?;
        let run = sources::load_folder(folder)?;
        let asked = sources::asked(&run.meta, self.checker, &self.options)?;
        let (verdict, again) = sources::judge_run(&run, &asked, self.limits, self.args.verify)?;
        let keeps = self.checker.is_none() && !self.args.dry_run;
        if keeps {
            run.folder
                .write_verdict(&verdict)
                .map_err(|error| Failure::because("the verdict cannot be stored", &error))?;
        }
        sources::with_model(&run, &verdict, |model| {
            if keeps {
                sources::write_reports(&run, model);
            }
            if self.many && !self.args.json {
                print_file(target, &verdict, self.many);
            } else if !self.args.json {
                sources::print_results(model, false);
            }
        });
        Ok(Judged {
            exit: sources::exit(&run.meta, &verdict),
            verdict,
            again,
        })
    }
}

/// Says what became of the witnesses when they were looked at again.
fn told_again(
    target: &str,
    again: &[Finding],
    as_json: bool,
    refuted: &mut Option<String>,
) -> Value {
    let count = |which: fn(&Finding) -> bool| again.iter().filter(|one| which(one)).count();
    let confirmed = count(|finding| *finding == Finding::Confirmed);
    let untried = count(|finding| matches!(finding, Finding::NotTried(_)));
    let mut words = vec![verified(confirmed, untried, again.len())];
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
    json!({ "confirmed": confirmed, "not_tried": untried, "of": again.len(), "remarks": words[1..] })
}

/// One line about all witnesses. One that nobody tried is neither proven nor refuted.
fn verified(confirmed: usize, untried: usize, all: usize) -> String {
    let tried = all - untried;
    let proven = format!("{confirmed} of {tried} witnesses that were tried prove what they claim");
    match (all, tried, untried) {
        (0, ..) => "verified: there is no witness to try".to_owned(),
        (_, 0, _) => format!("verified: none of {all} witnesses was tried"),
        (_, _, 0) => format!("verified: {confirmed} of {all} witnesses prove what they claim"),
        _ => format!("verified: {proven}; {untried} were not tried"),
    }
}

/// The options given, and the model that is given or that the checker's name says.
fn options(args: &CheckArgs, meant: Option<(&str, Option<&str>)>) -> Result<Value, Failure> {
    let mut options = match &args.options {
        Some(text) => serde_json::from_str(text)
            .map_err(|error| Failure::usage(format!("options: {text:?} is no JSON: {error}")))?,
        None => Value::Null,
    };
    if !(options.is_null() || options.is_object()) {
        return Err(Failure::usage(format!(
            "options: {options} is no JSON object; write them as {{\"name\":value}}"
        )));
    }
    let model = args.model.as_deref().or(meant.and_then(|(_, model)| model));
    if let Some(model) = model {
        let has_models = |(name, _): (&str, _)| WITH_MODELS.contains(&name);
        if !meant.is_some_and(has_models) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_tried_is_not_counted_as_failed() {
        for (confirmed, untried, all, said) in [
            (0, 0, 0, "no witness"),
            (0, 1, 1, "none of 1 witnesses was tried"),
            (2, 0, 3, "2 of 3 witnesses prove"),
            (
                1,
                2,
                3,
                "1 of 1 witnesses that were tried prove what they claim; 2 were not",
            ),
        ] {
            let line = verified(confirmed, untried, all);
            assert!(line.contains(said), "{line}");
        }
    }
}
