//! `junit.xml`: one test case a checker.
//!
//! | verdict | JUnit | because |
//! | --- | --- | --- |
//! | valid | success | |
//! | invalid | failure | it looked, and found proof |
//! | unknown | error | it could not look; as `skipped` a pipeline would show green where the exit code is 2 |
//! | not applicable | skipped | there was nothing to judge |
//!
//! Where the merged verdict is worse than every case (nothing was judged, the harness failed) a case named
//! `run` says so, so that the file is never greener than the run.

use std::time::Duration;

use harness_core::verdict::Verdict;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::{
    RenderError,
    model::{Model, check::Check},
};

/// The file.
pub fn render(model: &Model) -> Result<String, RenderError> {
    let mark = if model.simulated { "SIMULATION " } else { "" };
    let mut suite = TestSuite::new(format!("{mark}{}", model.headline.line()));
    for (name, value) in properties(model) {
        suite.add_property((name, value.as_str()));
    }
    for check in &model.checks {
        suite.add_test_case(case(check, model));
    }
    suite.add_test_cases(of_run(model));
    let mut report = Report::new(format!("{mark}harness"));
    report.add_test_suite(suite);
    Ok(report.to_string()?)
}

fn properties(model: &Model) -> Vec<(&'static str, String)> {
    let mut properties = vec![
        ("verdict", model.headline.word.to_owned()),
        ("run", model.headline.id.clone()),
        ("seed", model.headline.seed.clone()),
        ("started", model.headline.started.clone()),
        ("simulated", model.simulated.to_string()),
        ("faults", model.faults.line()),
    ];
    properties.extend(
        model
            .commands
            .iter()
            .map(|command| (command.verb, command.line.clone())),
    );
    properties
}

fn status(verdict: Verdict, message: &str, body: &str) -> TestCaseStatus {
    let mut status = match verdict {
        Verdict::Valid => return TestCaseStatus::success(),
        Verdict::NotApplicable => TestCaseStatus::skipped(),
        Verdict::Invalid => TestCaseStatus::non_success(NonSuccessKind::Failure),
        Verdict::Unknown => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    status.set_message(message.to_owned());
    status.set_type(verdict.as_str());
    if !body.is_empty() {
        status.set_description(body.to_owned());
    }
    status
}

fn case(check: &Check, model: &Model) -> TestCase {
    let mut body = Vec::new();
    for witness in &check.witnesses {
        body.push(format!("{} {}", witness.title, witness.story));
        if let Some(known) = &witness.explanation {
            body.push(format!("Known behaviour. {known}"));
        }
    }
    body.extend(
        check
            .notes
            .iter()
            .map(|note| format!("{}: {}: {}", note.word(), note.kind, note.text)),
    );
    let mut case = TestCase::new(
        check.name.clone(),
        status(check.verdict, &check.summary, &body.join("\n")),
    );
    let class = format!("{}.{}", model.headline.system, model.headline.workload);
    case.set_classname(class.replace(' ', "-"));
    case.set_time(Duration::from_secs_f64(
        // A time that no checker can have taken would not fit.
        (check.duration_ms / 1_000.0).min(1e9),
    ));
    case
}

fn of_run(model: &Model) -> Option<TestCase> {
    let harness: Vec<&str> = model
        .alarms
        .iter()
        .filter(|alarm| alarm.kind != "simulation")
        .map(|alarm| alarm.text.as_str())
        .collect();
    let cases = Verdict::merge(model.checks.iter().map(|check| check.verdict));
    let unexplained = cases != model.verdict || model.checks.is_empty();
    if harness.is_empty() && !unexplained {
        return None;
    }
    let verdict = match model.verdict {
        Verdict::Invalid if unexplained => Verdict::Invalid,
        _ => Verdict::Unknown,
    };
    let message = match harness.first() {
        Some(first) => (*first).to_owned(),
        None => format!("the run is {}", model.headline.word),
    };
    Some(TestCase::new(
        "run",
        status(verdict, &message, &harness.join("\n")),
    ))
}
