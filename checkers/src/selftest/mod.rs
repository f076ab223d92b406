//! Every checker against every bug: does it find what was planted, is it silent about what was not?
//!
//! Simulated systems (labelled as that; no statement about any real one) make histories from a seed, with one bug switched
//! on or none. Each family of histories is judged by all checkers that can read it. Expected is:
//! - with a bug, the checkers that look for such a thing are `invalid`, all of their witnesses are of the kinds expected,
//!   and the independent [verifier](crate::verify) refutes none; the others are `valid`. Whatever the verifier did not try is
//!   counted and said. What is wrong with faults makes a run `unknown`, for the reason expected;
//! - without a bug all are `valid`, or not applicable.
//!
//! Checkers that nobody tries here are named by [`untried`].

mod families;
pub mod membership;
mod planted;
mod records;
mod runs;
mod toys;
mod world;

use harness_core::{
    fault::FaultRecord,
    history::History,
    meta::Meta,
    verdict::{CheckInput, CheckResult, LogText, Severity, Unlimited, Verdict},
    view::View,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    membership::INVARIANTS,
    registry,
    verify::{Finding, verify},
};

pub use families::families;

/// Histories of one kind, and who judges them.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Who judges them.
    pub judges: Vec<Judge>,
    /// What can be switched on.
    pub bugs: Vec<Bug>,
    make: Box<dyn Fn(u64, Option<usize>) -> Option<Made>>,
    /// What all judges say of one, in their order: [`each`] by itself, unless they share work.
    results: fn(&[Judge], &Made) -> Results,
}

/// A checker with options.
pub struct Judge {
    /// What it is called here: the checker's name, and the model's if several are asked for.
    pub name: String,
    /// The checker.
    pub checker: &'static str,
    /// Its options.
    pub options: Value,
    /// What it says of a bug.
    says: Verdict,
}

impl Judge {
    fn new(checker: &'static str, options: Value) -> Self {
        Self {
            name: checker.to_owned(),
            checker,
            options,
            says: Verdict::Invalid,
        }
    }

    /// Checkers without options, and `stats`, which is silent about whatever the others find.
    fn all(checkers: &[&'static str]) -> Vec<Self> {
        let named = checkers.iter().chain(&["stats"]);
        named.map(|name| Self::new(name, Value::Null)).collect()
    }

    /// For one of several models.
    fn of_model(checker: &'static str, model: &str) -> Self {
        Self {
            name: format!("{checker} {model}"),
            ..Self::new(checker, json!({ "model": model }))
        }
    }
}

/// Something that a simulated system does wrong, once.
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// Judges who must find it, and the kinds of witnesses that are right; none: any.
    pub found_by: Vec<(String, &'static [&'static str])>,
}

/// What a node logged.
struct Log {
    node: String,
    path: String,
    bytes: Vec<u8>,
}

impl Log {
    fn text(&self) -> LogText<'_> {
        LogText {
            node: &self.node,
            path: &self.path,
            bytes: &self.bytes,
        }
    }
}

/// A run, and what checkers need to know of it.
struct Made {
    history: History,
    views: Vec<View>,
    faults: Vec<FaultRecord>,
    logs: Vec<Log>,
    meta: Meta,
}

impl Made {
    /// A history by itself.
    fn of_history(history: History, meta: Meta) -> Self {
        Self {
            history,
            views: Vec::new(),
            faults: Vec::new(),
            logs: Vec::new(),
            meta,
        }
    }

    /// Asks something of it.
    fn asked<T>(&self, ask: impl FnOnce(&CheckInput<'_>) -> T) -> T {
        let logs: Vec<LogText<'_>> = self.logs.iter().map(Log::text).collect();
        ask(&CheckInput {
            views: &self.views,
            faults: &self.faults,
            logs: &logs,
            ..CheckInput::of_history(&self.history, &self.meta)
        })
    }
}

/// What judges say, in their order; or why one could not say anything.
type Results = Vec<Result<CheckResult, String>>;

/// Each judge by itself.
fn each(judges: &[Judge], made: &Made) -> Results {
    let judge = |judge: &Judge| {
        let known = registry::checker(judge.checker, &judge.options);
        let known = known.map_err(|error| error.to_string())?;
        Ok(made.asked(|input| known.check(input, &Unlimited)))
    };
    judges.iter().map(judge).collect()
}

/// What one checker said of one bug, over all seeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The judge's name.
    pub checker: String,
    /// Whether it must find the bug.
    pub must_find: bool,
    /// Histories of which it said what it must.
    pub right: u64,
    /// Histories with the bug in them.
    pub of: u64,
    /// Of the right ones, those with a witness that the independent verifier did not try.
    pub unverified: u64,
    /// The first that went wrong.
    pub first_wrong: Option<String>,
}

/// One bug of one family; or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The family.
    pub family: String,
    /// The bug; none: clean histories.
    pub bug: Option<String>,
    /// A cell for each checker of the family.
    pub cells: Vec<Cell>,
}

impl Line {
    /// Whether everything was as it must be, and there was something to look at.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.cells
            .iter()
            .all(|cell| cell.of > 0 && cell.right == cell.of)
    }
}

/// How many seeds are tried for each history with a bug in it, at most: in some there is nothing for it to strike.
const SEEDS_A_HISTORY: u64 = 40;
/// The name of a checker that is another one by another name.
const SAME: (&str, &str) = ("list-append", "append");

/// Checkers of the registry that no family has for a judge.
#[must_use]
pub fn untried() -> Vec<&'static str> {
    let families = families();
    let judges = || families.iter().flat_map(|family| &family.judges);
    let tried = |name: &str| judges().any(|judge| judge.checker == name);
    let all_in_one = |name: &str| name == crate::membership::NAME && tried(INVARIANTS[0].name);
    let mut names = registry::names();
    names.retain(|name| !(tried(name) || *name == SAME.0 && tried(SAME.1) || all_in_one(name)));
    names
}

/// Makes and judges everything: so many clean histories of each family, so many with each bug. `after` is told each line.
pub fn run(clean: u64, with_bug: u64, mut after: impl FnMut(&Line)) -> Vec<Line> {
    let mut lines = Vec::new();
    for family in families() {
        let bugs = std::iter::once(None).chain((0..family.bugs.len()).map(Some));
        for bug in bugs {
            let line = line(&family, bug, if bug.is_some() { with_bug } else { clean });
            after(&line);
            lines.push(line);
        }
    }
    lines
}

fn line(family: &Family, bug: Option<usize>, seeds: u64) -> Line {
    let mut cells: Vec<Cell> = family
        .judges
        .iter()
        .map(|judge| Cell {
            checker: judge.name.clone(),
            must_find: expected(family, bug, &judge.name).is_some(),
            right: 0,
            of: 0,
            unverified: 0,
            first_wrong: None,
        })
        .collect();
    let made = (0..SEEDS_A_HISTORY * seeds)
        .filter_map(|seed| Some((seed, (family.make)(seed, bug)?)))
        .take(usize::try_from(seeds).unwrap_or(usize::MAX));
    for (seed, made) in made {
        let results = (family.results)(&family.judges, &made);
        for ((cell, judge), result) in cells.iter_mut().zip(&family.judges).zip(results) {
            cell.of += 1;
            let expected = expected(family, bug, &judge.name);
            match result.and_then(|result| judged(judge, &made, &result, expected)) {
                Ok(tried) => {
                    cell.right += 1;
                    cell.unverified += u64::from(!tried);
                }
                Err(wrong) => {
                    cell.first_wrong
                        .get_or_insert(format!("seed {seed}: {wrong}"));
                }
            }
        }
    }
    Line {
        family: family.name.to_owned(),
        bug: bug.map(|bug| family.bugs[bug].name.to_owned()),
        cells,
    }
}

/// The kinds that this checker must find, if it must find anything.
fn expected(family: &Family, bug: Option<usize>, checker: &str) -> Option<&'static [&'static str]> {
    let found_by = &family.bugs.get(bug?)?.found_by;
    found_by
        .iter()
        .find(|(name, _)| name == checker)
        .map(|(_, kinds)| *kinds)
}

/// Whether the verifier tried all witnesses, if the judge says what it must.
fn judged(
    judge: &Judge,
    made: &Made,
    result: &CheckResult,
    expected: Option<&[&str]>,
) -> Result<bool, String> {
    let Some(kinds) = expected else {
        // An invariant of a place that the system does not have.
        return if matches!(result.verdict, Verdict::Valid | Verdict::NotApplicable) {
            Ok(true)
        } else {
            Err(format!(
                "{} without a reason: {}",
                result.verdict.as_str(),
                result.summary
            ))
        };
    };
    if result.verdict != judge.says {
        return Err(format!(
            "not found: {}, {}",
            result.verdict.as_str(),
            result.summary
        ));
    }
    if judge.says == Verdict::Invalid {
        is_this(result, kinds)?;
    } else {
        is_for_this_reason(result, kinds)?;
    }
    let mut tried = true;
    for finding in made.asked(|input| verify(&judge.options, input, result)) {
        match finding {
            Finding::Confirmed => {}
            Finding::NotTried(_) => tried = false,
            Finding::Refuted(why) => return Err(format!("the verifier says: {why}")),
        }
    }
    Ok(tried)
}

/// Whether a result tells of nothing else.
fn is_this(result: &CheckResult, kinds: &[&str]) -> Result<(), String> {
    if result.witnesses.is_empty() {
        return Err("found without a witness".to_owned());
    }
    let other = result
        .witnesses
        .iter()
        .find(|witness| !kinds.is_empty() && !kinds.contains(&witness.kind.as_str()));
    other.map_or(Ok(()), |other| {
        Err(format!(
            "something else was found: {} {}",
            other.kind, other.story
        ))
    })
}

/// Whether what made a result unknown is this, and nothing else.
fn is_for_this_reason(result: &CheckResult, kinds: &[&str]) -> Result<(), String> {
    let severe = |note: &&harness_core::verdict::Note| note.severity == Severity::Error;
    let mut reasons = result.notes.iter().filter(severe).peekable();
    if reasons.peek().is_none() {
        return Err("without a reason".to_owned());
    }
    let other = reasons.find(|note| !kinds.contains(&note.kind.as_str()));
    other.map_or(Ok(()), |other| {
        Err(format!("for another reason: {} {}", other.kind, other.text))
    })
}
