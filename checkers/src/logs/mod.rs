//! Do the product's logs say that something broke?
//!
//! Every line of every log is matched against a static [table](patterns); lines that only a broken program prints make
//! `invalid`, lines that also appear without a bug are told as warnings. Logs come from the system under test: excerpts
//! are escaped and cut. Without a log nothing can be said: unknown.

pub mod patterns;

use std::{collections::BTreeMap, sync::LazyLock};

use harness_core::verdict::{
    Budget, CheckInput, CheckResult, Checker, LogText, Severity, Verdict, Witness,
};
use regex::bytes::RegexSet;
use serde_json::json;

use crate::words;
use patterns::{PATTERNS, Pattern};

/// Lines between two questions to the budget.
const SPEND_EVERY_LINES: u64 = 100_000;
/// The part of a line that is looked at, in bytes.
const LINE_LIMIT_BYTES: usize = 16 * 1024;
/// Lines behind a found one that its witness shows: the rest of an assertion or the top of a stack.
const FOLLOWING_LINES: usize = 3;
/// Places that a note lists.
const PLACES_SHOWN: usize = 5;

static SET: LazyLock<Result<RegexSet, String>> = LazyLock::new(|| {
    RegexSet::new(PATTERNS.iter().map(|pattern| pattern.regex)).map_err(|error| error.to_string())
});

/// The checker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Logs;

/// All that one pattern found.
#[derive(Default)]
struct Found {
    count: u64,
    places: Vec<String>,
    first: Option<First>,
}

struct First {
    node: String,
    lines: String,
}

impl Checker for Logs {
    fn name(&self) -> &'static str {
        "logs"
    }

    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult {
        let set = match &*SET {
            Ok(set) => set,
            Err(error) => {
                return CheckResult::new(
                    self.name(),
                    Verdict::Unknown,
                    format!("the patterns do not compile: {error}"),
                );
            }
        };
        if input.logs.iter().all(|log| log.bytes.is_empty()) {
            return CheckResult::new(self.name(), Verdict::Unknown, "no log was collected");
        }
        let mut found: BTreeMap<usize, Found> = BTreeMap::new();
        let mut lines = 0;
        let mut limit = None;
        for log in input.logs {
            if let Err(exhausted) = scan(log, set, budget, &mut lines, &mut found) {
                limit = Some(exhausted);
                break;
            }
        }
        let errors: u64 = found
            .iter()
            .filter(|(at, _)| PATTERNS[**at].severity == Severity::Error)
            .map(|(_, found)| found.count)
            .sum();
        let size = words::plural(
            usize::try_from(lines).unwrap_or(usize::MAX),
            "line",
            "lines",
        );
        let of = format!(
            "{size} of {}",
            words::plural(input.logs.len(), "log", "logs")
        );
        let (verdict, summary) = if errors > 0 {
            let kinds: Vec<&str> = found
                .keys()
                .filter(|at| PATTERNS[**at].severity == Severity::Error)
                .map(|at| PATTERNS[*at].kind)
                .collect();
            (Verdict::Invalid, format!("{} in {of}", kinds.join(", ")))
        } else if let Some(limit) = limit {
            (Verdict::Unknown, format!("{limit} after {of}"))
        } else {
            (Verdict::Valid, format!("nothing broken in {of}"))
        };
        let mut result = CheckResult::new(self.name(), verdict, summary);
        result.looked_at = lines;
        let mut counts = serde_json::Map::new();
        for (at, found) in found {
            let pattern = &PATTERNS[at];
            counts.insert(pattern.kind.to_owned(), json!(found.count));
            tell(&mut result, pattern, found);
        }
        result
            .figures
            .insert("lines_by_kind".to_owned(), counts.into());
        result
            .figures
            .insert("log_count".to_owned(), json!(input.logs.len()));
        words::finish(result)
    }
}

fn scan(
    log: &LogText<'_>,
    set: &RegexSet,
    budget: &dyn Budget,
    lines: &mut u64,
    found: &mut BTreeMap<usize, Found>,
) -> Result<(), harness_core::verdict::Exhausted> {
    let mut offset = 0;
    for (number, line) in log.bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let start = offset;
        offset += line.len();
        *lines += 1;
        if lines.is_multiple_of(SPEND_EVERY_LINES) {
            budget.spend(0)?;
        }
        let looked = &line[..line.len().min(LINE_LIMIT_BYTES)];
        let Some(at) = set.matches(looked).iter().next() else {
            continue;
        };
        let entry = found.entry(at).or_default();
        entry.count += 1;
        if entry.places.len() < PLACES_SHOWN {
            entry.places.push(format!(
                "{}:{} line {}",
                log.node,
                words::excerpt(log.path.as_bytes()),
                number + 1
            ));
        }
        if entry.first.is_none() {
            let shown: Vec<String> = log.bytes[start..]
                .split(|byte| *byte == b'\n')
                .take(1 + FOLLOWING_LINES)
                .map(words::excerpt)
                .filter(|line| !line.is_empty())
                .collect();
            entry.first = Some(First {
                node: log.node.to_owned(),
                lines: shown.join(" ⏎ "),
            });
        }
    }
    Ok(())
}

fn tell(result: &mut CheckResult, pattern: &Pattern, found: Found) {
    let Some(first) = found.first else { return };
    let times = words::plural(
        usize::try_from(found.count).unwrap_or(usize::MAX),
        "line",
        "lines",
    );
    let places = found.places.join(", ");
    result.notes.push(words::note(
        pattern.kind,
        pattern.severity,
        format!(
            "{} {times} ({places}): {} ({})",
            pattern.title, first.lines, pattern.why
        ),
    ));
    if pattern.severity == Severity::Error {
        result.witnesses.push(Witness {
            kind: pattern.kind.to_owned(),
            title: pattern.title.to_owned(),
            story: format!(
                "{} says: {}. It is an error because {}.",
                found.places[0], first.lines, pattern.why
            ),
            operations: Vec::new(),
            culprits: Vec::new(),
            edges: Vec::new(),
            nodes: vec![first.node],
            start_ns: 0,
            end_ns: 0,
            explanation: None,
        });
    }
}
