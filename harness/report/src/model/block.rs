//! Checks as they stand together: blocks of the page's table, lines of the short outputs.

use harness_core::verdict::Verdict;

use super::{
    check::{Check, rank},
    membership::{invariants::Group, told},
};
use crate::number;

/// A line of the short outputs: one check, or several invariants that lack the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// `linearizable`, or `9 invariants`.
    pub name: String,
    /// What was found, or why nothing could be.
    pub found: String,
    /// How many checks it stands for.
    pub count: usize,
}

impl Told {
    fn one(check: &Check) -> Self {
        Self {
            name: check.name.clone(),
            found: if check.summary.is_empty() {
                check.reason().to_owned()
            } else {
                check.summary.clone()
            },
            count: 1,
        }
    }
}

/// Checks of a verdict, one a line; invariants that could not be judged for one reason share a line.
#[must_use]
pub fn lines(checks: &[Check], verdict: Verdict) -> Vec<Told> {
    let of = checks.iter().filter(|check| check.verdict == verdict);
    if verdict != Verdict::Unknown {
        return of.map(Told::one).collect();
    }
    let shared = told::unjudged(checks)
        .into_iter()
        .map(|(reason, same)| match same.as_slice() {
            [one] => Told::one(one),
            several => Told {
                name: format!("{} invariants", several.len()),
                found: reason,
                count: several.len(),
            },
        });
    shared
        .chain(of.filter(|check| check.invariant.is_none()).map(Told::one))
        .collect()
}

/// `19 invariants, 4 checkers`: those of a verdict; None if there are none.
#[must_use]
pub fn counted(checks: &[Check], verdict: Verdict) -> Option<String> {
    let count = |invariant: bool| {
        let of =
            |check: &&Check| check.verdict == verdict && check.invariant.is_some() == invariant;
        checks.iter().filter(of).count() as u64
    };
    let parts: Vec<String> = [(count(true), "invariant"), (count(false), "checker")]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| number::counted(count, word))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// Checks that stand together in the table.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    /// The group of membership invariants; None for all other checkers.
    pub group: Option<Group>,
    /// Those that have a row, the worst first.
    pub rows: Vec<&'a Check>,
    /// Invariants that are not applicable: folded.
    pub folded: Vec<&'a Check>,
}

impl Block<'_> {
    /// Its verdicts in numbers: `✗ 1 invalid · ✓ 4 valid`.
    #[must_use]
    pub fn counts(&self) -> String {
        [
            Verdict::Invalid,
            Verdict::Unknown,
            Verdict::Valid,
            Verdict::NotApplicable,
        ]
        .into_iter()
        .filter_map(|verdict| {
            let all = self.rows.iter().chain(&self.folded);
            let count = all.filter(|check| check.verdict == verdict).count();
            let word = verdict.as_str().replace('-', " ");
            (count > 0).then(|| format!("{} {count} {word}", verdict.glyph()))
        })
        .collect::<Vec<_>>()
        .join(" · ")
    }
}

/// The table's blocks, the one with the worst in it first; twenty-seven invariants do not drown the others.
#[must_use]
pub fn blocks(checks: &[Check]) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = [None]
        .into_iter()
        .chain(Group::ALL.map(Some))
        .filter_map(|group| {
            let (folded, rows): (Vec<&Check>, Vec<&Check>) = checks
                .iter()
                .filter(|check| check.invariant.map(|invariant| invariant.group) == group)
                .partition(|check| group.is_some() && check.verdict == Verdict::NotApplicable);
            (!rows.is_empty() || !folded.is_empty()).then_some(Block {
                group,
                rows,
                folded,
            })
        })
        .collect();
    blocks.sort_by_key(|block| {
        block
            .rows
            .first()
            .map_or(u8::MAX, |check| rank(check.verdict))
    });
    blocks
}
