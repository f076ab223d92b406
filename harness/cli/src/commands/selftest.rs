//! `harness selftest`: the matrix of checkers and bugs. A checker that is wrong is a failure of the harness.

use harness_checkers::selftest::{self, Cell, Line};
use harness_core::exit::Exit;
use serde_json::json;

use crate::{args::SelftestArgs, failure::Failure, terminal};

/// Width of the columns of families and bugs, in characters.
const FAMILY_WIDTH: usize = 15;
const BUG_WIDTH: usize = 18;
/// Columns of judges; of more only those are shown that must find something.
const CELLS_MAX: usize = 8;

/// Runs all of it; a line of the matrix is printed when it is known.
pub fn selftest(args: &SelftestArgs) -> Result<Exit, Failure> {
    if !args.json {
        terminal::print(&format!(
            "Simulated systems, {} histories without a bug and {} with each: found/silent as it must be, of how many.",
            args.clean, args.bugs
        ));
    }
    let lines = selftest::run(args.clean, args.bugs, |line| {
        if !args.json {
            terminal::print(&shown(line));
        }
    });
    let untried = selftest::untried();
    if !args.json && !untried.is_empty() {
        terminal::print(&format!("Not tried here: {}.", untried.join(", ")));
    }
    let wrong: Vec<&Line> = lines.iter().filter(|line| !line.is_right()).collect();
    if args.json {
        terminal::print(
            &json!({ "right": wrong.is_empty(), "lines": lines, "untried": untried }).to_string(),
        );
    }
    if wrong.is_empty() {
        return Ok(Exit::Valid);
    }
    let first = wrong
        .iter()
        .flat_map(|line| &line.cells)
        .find_map(|cell| Some(format!("{}: {}", cell.checker, cell.first_wrong.as_ref()?)));
    Err(Failure::harness(format!(
        "selftest: {} of {} lines are wrong; {}",
        wrong.len(),
        lines.len(),
        first.unwrap_or_else(|| "nothing was made to look at".to_owned())
    )))
}

fn shown(line: &Line) -> String {
    let bug = line.bug.as_deref().unwrap_or("none");
    // Of many judges only those that have something to say.
    let folds = line.cells.len() > CELLS_MAX;
    let told = |told: &&Cell| !folds || told.must_find || told.first_wrong.is_some();
    let mut cells: Vec<String> = line.cells.iter().filter(told).map(cell).collect();
    let silent: Vec<&Cell> = line.cells.iter().filter(|one| !told(one)).collect();
    if let Some(first) = silent.first() {
        let least = silent.iter().map(|one| one.right).min().unwrap_or(0);
        cells.push(format!(
            "{} others silent {least}/{}",
            silent.len(),
            first.of
        ));
    }
    let glyph = if line.is_right() { "✓" } else { "✗" };
    format!(
        "{glyph} {:<FAMILY_WIDTH$} {bug:<BUG_WIDTH$} {}",
        line.family,
        cells.join("  ")
    )
}

fn cell(cell: &Cell) -> String {
    let word = if cell.must_find { "found" } else { "silent" };
    let wrong = cell
        .first_wrong
        .as_ref()
        .map_or_else(String::new, |wrong| format!(" ({wrong})"));
    let unverified = match cell.unverified {
        0 => String::new(),
        of => format!(", {of} not verified"),
    };
    format!(
        "{} {word} {}/{}{unverified}{wrong}",
        cell.checker, cell.right, cell.of
    )
}
