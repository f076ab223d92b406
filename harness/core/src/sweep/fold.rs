//! Consecutive points that came to the same are one range.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{MendKind, PointResult};

/// What a point came to, as far as it tells points apart: words that change from try to try (ports, process ids) are not in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Came {
    /// Whether the function was entered and the fault seen to hold.
    pub struck: bool,
    /// `ok`, `fail` or `info`.
    pub outcome: String,
    /// What was left where, in words.
    pub left: String,
    /// What the node itself says, in words.
    pub own: String,
    /// What mended it; none if nothing did.
    pub mended_by: Option<MendKind>,
}

impl Came {
    /// Of a point.
    #[must_use]
    pub fn of(result: &PointResult) -> Self {
        Self {
            struck: result.struck,
            outcome: result.outcome.end.clone(),
            left: result.left.words(),
            own: result.left.own_words(),
            mended_by: result.mended_by(),
        }
    }
}

/// Consecutive points that came to the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// Number of the first.
    pub first: u32,
    /// Number of the last.
    pub last: u32,
    /// How many of them are finished.
    pub count: usize,
    /// The first one's function.
    pub from: String,
    /// The last one's.
    pub to: String,
    /// What they came to.
    pub came: Came,
    /// Invariants that did not hold in one of them.
    pub invalid: Vec<String>,
}

/// Folds results that are sorted by number. Points that are not finished do not part a range.
#[must_use]
pub fn fold(results: &[PointResult]) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for result in results {
        let came = Came::of(result);
        match ranges.last_mut() {
            Some(range) if range.came == came => {
                range.last = result.point.number;
                range.to.clone_from(&result.point.function);
                range.count += 1;
                let both: BTreeSet<String> = range
                    .invalid
                    .drain(..)
                    .chain(result.invalid.iter().cloned())
                    .collect();
                range.invalid = both.into_iter().collect();
            }
            _ => ranges.push(Range {
                first: result.point.number,
                last: result.point.number,
                count: 1,
                from: result.point.function.clone(),
                to: result.point.function.clone(),
                came,
                invalid: result.invalid.clone(),
            }),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        sweep::{CrashPoint, Mend, OpEnd, Remains},
        verdict::Verdict,
    };

    fn point(number: u32, end: &str, mended: Option<MendKind>) -> PointResult {
        PointResult {
            point: CrashPoint {
                number,
                function: format!("f{number}"),
                at_ns: None,
                nth: 1,
                traced: None,
                hits: 1,
            },
            struck: true,
            evidence: format!("process {number} gone"),
            outcome: OpEnd {
                end: end.to_owned(),
                kind: None,
                message: Some(format!("port {number}")),
            },
            settled: true,
            settle_ms: u64::from(number),
            agrees: false,
            left: Remains::default(),
            verdict: Verdict::Invalid,
            invalid: vec![format!("i{}", number % 2)],
            mends: mended
                .into_iter()
                .map(|kind| Mend {
                    kind,
                    outcome: None,
                    agrees: true,
                    left: Remains::default(),
                })
                .collect(),
            run: String::new(),
            took_ms: 0,
            fresh_ms: 0,
        }
    }

    #[test]
    fn neighbours_that_came_to_the_same_are_one() {
        let retry = Some(MendKind::Retry);
        let results = [
            point(1, "info", retry),
            point(2, "info", retry),
            point(4, "info", retry),
            point(5, "info", None),
            point(6, "info", retry),
        ];
        let ranges = fold(&results);
        let shape: Vec<(u32, u32, usize)> = ranges
            .iter()
            .map(|range| (range.first, range.last, range.count))
            .collect();
        assert_eq!(shape, [(1, 4, 3), (5, 5, 1), (6, 6, 1)]);
        assert_eq!(
            (ranges[0].from.as_str(), ranges[0].to.as_str()),
            ("f1", "f4")
        );
        assert_eq!(ranges[0].invalid, ["i0", "i1"]);
        assert_eq!(ranges[1].came.mended_by, None);
    }

    #[test]
    fn a_torn_journal_is_read_up_to_its_last_whole_line() {
        let lines = [
            serde_json::to_string(&super::super::Line::Point(Box::new(point(3, "ok", None))))
                .unwrap(),
            "{\"point\":{\"num".to_owned(),
        ];
        let head = r#"{"head":{"format_version":1,"system":"lxd","op":"failed-join","victim":"joiner","fault":"pause+partition","members":3}}"#;
        let text = format!("{head}\n{}", lines.join("\n"));
        let read = super::super::Journalled::decode(text.as_bytes())
            .unwrap()
            .unwrap();
        let (head, trace, points) = (read.head, read.trace, read.results);
        assert_eq!(
            (head.op.as_str(), head.fault.as_str(), trace),
            ("failed-join", "pause+partition", None)
        );
        assert_eq!(points, [point(3, "ok", None)]);
        assert_eq!(
            super::super::Journalled::decode(b"{\"nonsense\":1}\n")
                .unwrap_err()
                .0,
            1
        );
        assert_eq!(super::super::Journalled::decode(b"").unwrap(), None);
    }
}
