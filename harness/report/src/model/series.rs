//! Rates, quantiles and points over time.
//!
//! Laws:
//! - an operation counts in the window in which it ended; an `info` in the one in which we stopped waiting, or in
//!   which it began if nobody waited to the end;
//! - a point stands where its operation was invoked; an `info` has no latency, so it is no point but an open line;
//! - points are binned once there are more than [`EXACT_LIMIT`]. A bin shows a real operation of it, and how many it
//!   stands for. The slowest of each window and everything near a witness are never binned.

use std::collections::HashMap;

use harness_core::{
    event::Process,
    history::{History, Operation, Outcome},
};

use super::{
    axis::Axis,
    near::Near,
    tally::{Counts, Quantiles, Tally, latency_ns},
};
use crate::number::NS_PER_S;

/// Windows on the axis, at most.
pub const WINDOW_LIMIT: u64 = 240;
/// Up to here every operation is a point of its own.
pub const EXACT_LIMIT: usize = 8_000;
/// Points, binned ones included, at most (near ones and extremes come on top).
pub const POINT_LIMIT: usize = 20_000;
/// Columns of bins to begin with.
const COLUMNS: f64 = 1_000.0;
/// Rows of bins in a factor of ten of latency, to begin with.
const ROWS_PER_DECADE: f64 = 30.0;
/// How much coarser than computed the next attempt is.
const COARSER: f64 = 0.95;
/// Lengths that a window may have, in milliseconds, below a minute; above, whole minutes.
const NICE_WINDOWS_MS: [u64; 13] = [
    1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000,
];

/// What ended in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Operations by outcome.
    pub counts: Counts,
    /// Latencies of the ok ones.
    pub latency: Option<Quantiles>,
}

/// One operation, or several that would lie on the same pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When it was invoked.
    pub at_ns: u64,
    /// How long it took.
    pub latency_ns: u64,
    /// How it ended: ok or fail.
    pub outcome: Outcome,
    /// How many operations it stands for.
    pub count: u32,
    /// The operation.
    pub index: u64,
    /// Its process.
    pub process: u64,
    /// The place of its kind in [`Tally::kinds`].
    pub kind: usize,
}

/// An operation that may still take effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The operation.
    pub index: u64,
    /// When it was invoked.
    pub at_ns: u64,
    /// When we stopped waiting.
    pub given_up_ns: Option<u64>,
    /// The place of its kind in [`Tally::kinds`].
    pub kind: usize,
}

/// A stretch of load in which nothing ended ok.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Its start.
    pub start_ns: u64,
    /// Its end.
    pub end_ns: u64,
}

/// Everything over time.
#[derive(Clone, Debug)]
pub struct Series {
    /// Length of a window.
    pub window_ns: u64,
    /// The windows, from 0.
    pub windows: Vec<Window>,
    /// The points, by time.
    pub points: Vec<Point>,
    /// Whether some points stand for several operations.
    pub binned: bool,
    /// Operations that may still take effect, by time.
    pub open: Vec<Open>,
    /// The longest stretch between two operations that ended ok.
    pub longest_gap: Option<Gap>,
}

impl Series {
    pub(super) fn new(history: &History, axis: &Axis, tally: &Tally, near: &Near) -> Self {
        let window_ns = window_ns(axis.end_ns);
        let windows = windows(history, axis, window_ns);
        let open = history
            .operations
            .iter()
            .filter(|operation| operation.outcome == Outcome::Info)
            .map(|operation| Open {
                index: operation.index,
                at_ns: operation.invoked_ns,
                given_up_ns: operation.completed_ns,
                kind: tally.kind_of(operation),
            })
            .collect();
        let (points, binned) = points(history, axis, tally, near, window_ns);
        Self {
            window_ns,
            windows,
            points,
            binned,
            open,
            longest_gap: longest_gap(history, axis),
        }
    }
}

/// The smallest nice length of which at most [`WINDOW_LIMIT`] fill the axis.
fn window_ns(end_ns: u64) -> u64 {
    let needed_ns = end_ns.div_ceil(WINDOW_LIMIT);
    NICE_WINDOWS_MS
        .iter()
        .map(|ms| ms * crate::number::NS_PER_MS)
        .find(|nice| *nice >= needed_ns)
        .unwrap_or_else(|| needed_ns.div_ceil(60 * NS_PER_S) * 60 * NS_PER_S)
}

fn windows(history: &History, axis: &Axis, window_ns: u64) -> Vec<Window> {
    let number = axis.end_ns.div_ceil(window_ns) as usize;
    let mut windows = vec![Window::default(); number];
    let mut latencies = vec![Vec::new(); number];
    for operation in &history.operations {
        let ended_ns = operation.completed_ns.unwrap_or(operation.invoked_ns);
        let place = ((ended_ns / window_ns) as usize).min(number - 1);
        windows[place].counts.add(operation.outcome);
        if let (Outcome::Ok, Some(latency)) = (operation.outcome, latency_ns(operation)) {
            latencies[place].push(latency);
        }
    }
    for (window, latencies) in windows.iter_mut().zip(&mut latencies) {
        window.latency = Quantiles::of(latencies);
    }
    windows
}

fn point(operation: &Operation, tally: &Tally) -> Option<Point> {
    Some(Point {
        at_ns: operation.invoked_ns,
        latency_ns: latency_ns(operation)?,
        outcome: operation.outcome,
        count: 1,
        index: operation.index,
        process: match operation.process {
            Process::Client(number) => number,
            Process::Nemesis => return None,
        },
        kind: tally.kind_of(operation),
    })
}

fn points(
    history: &History,
    axis: &Axis,
    tally: &Tally,
    near: &Near,
    window_ns: u64,
) -> (Vec<Point>, bool) {
    let all: Vec<(usize, Point)> = history
        .operations
        .iter()
        .enumerate()
        .filter_map(|(place, operation)| Some((place, point(operation, tally)?)))
        .collect();
    if all.len() <= EXACT_LIMIT {
        return (all.into_iter().map(|(_, point)| point).collect(), false);
    }
    let slowest = slowest_by_window(&all, window_ns);
    let (exact, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(place, point)| {
        near.contains(*place) || slowest.get(&(point.at_ns / window_ns)) == Some(place)
    });
    let mut scale = 1.0;
    let mut points = loop {
        let binned = bin(&rest, axis, scale);
        if binned.len() <= POINT_LIMIT {
            break binned;
        }
        // Cells have two sides; a little coarser than that, so that the next attempt is the last.
        scale *= (POINT_LIMIT as f64 / binned.len() as f64).sqrt() * COARSER;
    };
    points.extend(exact.into_iter().map(|(_, point)| point));
    points.sort_by_key(|point| (point.at_ns, point.index));
    (points, true)
}

fn slowest_by_window(points: &[(usize, Point)], window_ns: u64) -> HashMap<u64, usize> {
    let mut slowest: HashMap<u64, (u64, usize)> = HashMap::new();
    for (place, point) in points {
        let entry = slowest
            .entry(point.at_ns / window_ns)
            .or_insert((point.latency_ns, *place));
        if point.latency_ns > entry.0 {
            *entry = (point.latency_ns, *place);
        }
    }
    slowest
        .into_iter()
        .map(|(window, (_, place))| (window, place))
        .collect()
}

/// Puts points that share a cell of time, latency, outcome and kind together.
fn bin(points: &[(usize, Point)], axis: &Axis, scale: f64) -> Vec<Point> {
    let mut into: Vec<Point> = Vec::new();
    let columns = COLUMNS * scale;
    let rows = ROWS_PER_DECADE * scale;
    let mut cells: HashMap<(u32, i32, bool, usize), usize> = HashMap::new();
    for (_, point) in points {
        let column = (axis.share(point.at_ns) * columns) as u32;
        let row = ((point.latency_ns.max(1) as f64).log10() * rows) as i32;
        let key = (column, row, point.outcome == Outcome::Ok, point.kind);
        match cells.get(&key) {
            Some(place) => into[*place].count = into[*place].count.saturating_add(1),
            None => {
                cells.insert(key, into.len());
                into.push(*point);
            }
        }
    }
    into
}

fn longest_gap(history: &History, axis: &Axis) -> Option<Gap> {
    let load = axis.phases.iter().find(|phase| phase.name == "load");
    let load_end_ns = load
        .and_then(|load| u64::try_from(load.end_ns?).ok())
        .unwrap_or(u64::MAX);
    let mut ends: Vec<u64> = history
        .operations
        .iter()
        .filter(|operation| operation.outcome == Outcome::Ok)
        .filter(|operation| operation.invoked_ns <= load_end_ns)
        .filter_map(|operation| operation.completed_ns)
        .collect();
    ends.sort_unstable();
    ends.windows(2)
        .max_by_key(|pair| pair[1] - pair[0])
        .map(|pair| Gap {
            start_ns: pair[0],
            end_ns: pair[1],
        })
}
