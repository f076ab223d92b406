//! A sweep for people: a table for the terminal, a page, and commands that repeat each distinct outcome. Pure.

use harness_core::sweep::{Came, CrashPoint, Head, MendKind, PointResult, Range, Sweep};

mod page;
mod table;

pub use page::page;
pub use table::table;

/// A name without the path of its package: `cluster.Join`.
#[must_use]
pub fn short(function: &str) -> &str {
    let end = function.find('(').unwrap_or(function.len());
    let start = function[..end].rfind('/').map_or(0, |slash| slash + 1);
    &function[start..]
}

/// What mended it, in words.
fn mended(came: &Came) -> &'static str {
    match (came.struck, came.mended_by) {
        (false, _) => "",
        (_, None) => "nothing",
        (_, Some(MendKind::Restart)) => "the restart",
        (_, Some(MendKind::Retry)) => "a retry",
        (_, Some(MendKind::ForcedRemoval)) => "a forced removal",
        (_, Some(MendKind::FreshJoin)) => "a fresh join",
    }
}

/// How the operation ended and what was left, in words.
fn left(came: &Came) -> &str {
    match came.struck {
        true => &came.left,
        false => "never entered, or not seen to hold",
    }
}

/// `3` or `3–7`.
fn numbers(range: &Range) -> String {
    match range.first == range.last {
        true => range.first.to_string(),
        false => format!("{}–{}", range.first, range.last),
    }
}

/// One line about what was swept.
#[must_use]
pub fn title(head: &Head) -> String {
    let version = head.system_versions.get(&head.system);
    format!(
        "{} {} · {} · {} · {} of {} members",
        head.system,
        version.map_or("", String::as_str),
        head.op,
        head.fault,
        head.victim,
        head.members
    )
}

/// A result of each distinct outcome, the first of its kind.
fn distinct(sweep: &Sweep) -> Vec<&PointResult> {
    let mut seen: Vec<Came> = Vec::new();
    let mut found = Vec::new();
    for result in &sweep.results {
        let came = Came::of(result);
        if !seen.contains(&came) {
            seen.push(came);
            found.push(result);
        }
    }
    found
}

/// For each distinct outcome, one command that repeats it, behind a line that tells it.
#[must_use]
pub fn minimal(sweep: &Sweep) -> String {
    let mut out = String::new();
    for result in distinct(sweep) {
        let came = Came::of(result);
        out.push_str(&format!(
            "# {}: {}, {}; itself: {}; mended by {}\n{}\n",
            short(&result.point.function),
            came.outcome,
            left(&came),
            came.own,
            match mended(&came) {
                "" => "nobody",
                by => by,
            },
            command(&sweep.head, &result.point)
        ));
    }
    out
}

/// The command that sweeps one point.
#[must_use]
pub fn command(head: &Head, point: &CrashPoint) -> String {
    let mut pattern = String::from("^");
    for letter in point.function.chars() {
        if ".()*+?[]{}|^$\\".contains(letter) {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('$');
    format!(
        "harness sweep --system {} --op {} --victim {} --fault {} --members {} --match '{pattern}'",
        head.system, head.op, head.victim, head.fault, head.members
    )
}
