//! Every checker against every bug: does it find what was planted, is it silent about what was not?
//!
//! Simulated systems (labelled as that; no statement about any real one) make histories from a seed, with one bug switched
//! on or none. Each family of histories is judged by all checkers that can read it. Expected is:
//! - with a bug, the checkers that look for such a thing are `invalid`, all of their witnesses are of the kinds expected,
//!   and the independent [verifier](crate::verify) refutes none; the others are `valid`;
//! - without a bug all are `valid`.

mod families;
mod toys;
mod world;

use harness_core::{
    history::History,
    meta::Meta,
    verdict::{CheckInput, CheckResult, Unlimited, Verdict},
};
use serde::Serialize;
use serde_json::Value;

use crate::{
    registry,
    verify::{Finding, verify},
};

pub use families::families;

/// Histories of one kind, and who judges them.
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Checkers and their options.
    pub judges: Vec<(&'static str, Value)>,
    /// What can be switched on.
    pub bugs: Vec<Bug>,
    make: Box<dyn Fn(u64, Option<usize>) -> Option<Made>>,
}

/// Something that a simulated system does wrong, once.
pub struct Bug {
    /// Its name.
    pub name: &'static str,
    /// Who must find it, and the kinds of witnesses that are right; none: any.
    pub found_by: Vec<(&'static str, &'static [&'static str])>,
}

/// A history, and what checkers need to know of it.
struct Made {
    history: History,
    workload_options: Value,
}

/// What one checker said of one bug, over all seeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// The checker.
    pub checker: String,
    /// Whether it must find the bug.
    pub must_find: bool,
    /// Histories of which it said what it must.
    pub right: u64,
    /// Histories with the bug in them.
    pub of: u64,
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
        .map(|(checker, _)| Cell {
            checker: (*checker).to_owned(),
            must_find: expected(family, bug, checker).is_some(),
            right: 0,
            of: 0,
            first_wrong: None,
        })
        .collect();
    for seed in 0..seeds {
        let Some(made) = (family.make)(seed, bug) else {
            continue;
        };
        for (cell, (checker, options)) in cells.iter_mut().zip(&family.judges) {
            cell.of += 1;
            match judge(checker, options, &made, expected(family, bug, checker)) {
                Ok(()) => cell.right += 1,
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
        .find(|(name, _)| *name == checker)
        .map(|(_, kinds)| *kinds)
}

fn judge(
    checker: &str,
    options: &Value,
    made: &Made,
    expected: Option<&[&str]>,
) -> Result<(), String> {
    let meta = Meta {
        workload_options: made.workload_options.clone(),
        ..Meta::default()
    };
    let input = CheckInput {
        history: &made.history,
        faults: &[],
        logs: &[],
        views: &[],
        meta: &meta,
    };
    let known = registry::checker(checker, options).map_err(|error| error.to_string())?;
    let result = known.check(&input, &Unlimited);
    let Some(kinds) = expected else {
        return if result.verdict == Verdict::Valid {
            Ok(())
        } else {
            Err(format!(
                "{} without a reason: {}",
                result.verdict.as_str(),
                result.summary
            ))
        };
    };
    if result.verdict != Verdict::Invalid {
        return Err(format!(
            "not found: {}, {}",
            result.verdict.as_str(),
            result.summary
        ));
    }
    is_this(&result, kinds)?;
    let refuted = verify(options, &input, &result)
        .into_iter()
        .find_map(|finding| match finding {
            Finding::Refuted(why) => Some(why),
            Finding::Confirmed | Finding::NotTried(_) => None,
        });
    refuted.map_or(Ok(()), |why| Err(format!("the verifier says: {why}")))
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
