//! The table of a sweep on a terminal or in a pipe.

use std::fmt::Write as _;

use harness_core::sweep::Sweep;

use super::{left, mended, numbers, short, title};

/// Columns before the last one are never wider than this.
const COLUMN_LIMIT: usize = 60;

/// Ranges of points that came to the same, one a line.
#[must_use]
pub fn table(sweep: &Sweep) -> String {
    let mut out = format!("{}\n", title(&sweep.head));
    let trace = &sweep.trace;
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{} points of {} functions entered ({} of them by an idle cluster too), {} watched; {} tried, {} distinct outcomes",
        trace.points.len(),
        trace.entered,
        trace.idle,
        trace.watched,
        sweep.results.len(),
        super::distinct(sweep).len()
    );
    let chance: Vec<String> = trace
        .points
        .iter()
        .filter(|point| point.traced.is_some_and(|traced| !traced.always()))
        .map(|point| point.number.to_string())
        .collect();
    if !chance.is_empty() {
        let _ = writeln!(
            out,
            "entered in some of the traces only, so that they depend on chance: {}",
            chance.join(", ")
        );
    }
    if let Some(took) = super::fresh(sweep) {
        let _ = writeln!(out, "putting the fresh cluster back took {took} a point");
    }
    let rows: Vec<[String; 6]> = std::iter::once(
        ["points", "from", "to", "operation", "left", "mended by"].map(str::to_owned),
    )
    .chain(sweep.ranges.iter().map(|range| {
        let own = match range.came.own.is_empty() || !range.came.struck {
            true => String::new(),
            false => format!("; itself: {}", range.came.own),
        };
        [
            numbers(range),
            short(&range.from).to_owned(),
            match range.first == range.last {
                true => String::new(),
                false => short(&range.to).to_owned(),
            },
            range.came.outcome.clone(),
            format!("{}{own}", left(&range.came)),
            mended(&range.came).to_owned(),
        ]
    }))
    .collect();
    let widths: Vec<usize> = (0..5)
        .map(|column| {
            let longest = rows.iter().map(|row| row[column].chars().count()).max();
            longest.unwrap_or(0).min(COLUMN_LIMIT)
        })
        .collect();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths.iter().chain([&0])) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}
