//! The page of a sweep: one file, no network, no script.

use askama::Template;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use harness_core::sweep::{Came, PointResult, Sweep};
use sha2::{Digest as _, Sha256};

use super::{command, left, mended, minimal, numbers, short, title};
use crate::RenderError;

/// The page's style sheet.
const CSS: &str = include_str!("../../assets/sweep.css");

#[derive(Template)]
#[template(path = "sweep.html")]
struct Page<'a> {
    title: String,
    policy: String,
    css: &'static str,
    sweep: &'a Sweep,
    versions: String,
    fresh: Option<String>,
    ranges: Vec<RangeRow>,
    points: Vec<PointRow<'a>>,
    minimal: String,
}

struct RangeRow {
    numbers: String,
    from: String,
    to: Option<String>,
    outcome: String,
    left: String,
    own: String,
    mended: &'static str,
    invalid: String,
    struck: bool,
}

struct PointRow<'a> {
    result: &'a PointResult,
    at_ms: String,
    came: Came,
    left: String,
    message: &'a str,
    mends: Vec<MendRow>,
    invalid: String,
    command: String,
}

struct MendRow {
    kind: &'static str,
    end: String,
    message: String,
    left: String,
    agrees: bool,
}

/// Writes the page.
///
/// # Errors
/// If the template fails.
pub fn page(sweep: &Sweep) -> Result<String, RenderError> {
    let versions = sweep.head.system_versions.iter();
    let versions: Vec<String> = versions
        .map(|(package, version)| format!("{package} {version}"))
        .collect();
    let ranges = sweep.ranges.iter().map(|range| RangeRow {
        numbers: numbers(range),
        from: short(&range.from).to_owned(),
        to: (range.first != range.last).then(|| short(&range.to).to_owned()),
        outcome: range.came.outcome.clone(),
        left: left(&range.came).to_owned(),
        own: range.came.own.clone(),
        mended: mended(&range.came),
        invalid: range.invalid.join(", "),
        struck: range.came.struck,
    });
    let page = Page {
        title: title(&sweep.head),
        policy: format!(
            "default-src 'none'; style-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
            STANDARD.encode(Sha256::digest(CSS))
        ),
        css: CSS,
        sweep,
        versions: versions.join(", "),
        fresh: super::fresh(sweep),
        ranges: ranges.collect(),
        points: sweep
            .results
            .iter()
            .map(|result| row(sweep, result))
            .collect(),
        minimal: minimal(sweep),
    };
    Ok(page.render()?)
}

fn row<'a>(sweep: &Sweep, result: &'a PointResult) -> PointRow<'a> {
    let came = Came::of(result);
    let mends = result.mends.iter().map(|mend| MendRow {
        kind: mend.kind.as_str(),
        end: mend
            .outcome
            .as_ref()
            .map_or_else(String::new, |outcome| outcome.end.clone()),
        message: mend
            .outcome
            .as_ref()
            .and_then(|outcome| outcome.message.clone())
            .unwrap_or_default(),
        left: mend.left.words(),
        agrees: mend.agrees,
    });
    PointRow {
        at_ms: result.point.at_ns.map_or_else(String::new, |at_ns| {
            format!("{}.{:03}", at_ns / 1_000_000, at_ns / 1_000 % 1_000)
        }),
        left: left(&came).to_owned(),
        message: result.outcome.message.as_deref().unwrap_or_default(),
        mends: mends.collect(),
        invalid: result.invalid.join(", "),
        command: command(&sweep.head, &result.point),
        came,
        result,
    }
}
