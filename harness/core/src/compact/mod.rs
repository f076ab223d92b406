//! Large histories of simple values, read straight from bytes into rows of 40 bytes, without a tree of values.
//!
//! The values that fit are null, whole numbers, texts, pairs of them, and `[key, [old, new]]`: what registers and
//! key-value stores use. Laws:
//! - whatever does not fit, is malformed or does not pair up gives None; then [`crate::format::read`] reads the
//!   history, or names line and column of what is wrong with it. So both ways agree on every history that both take;
//! - positions are places of events in the file, from 1: the order in which things happened;
//! - texts are numbered, equal texts alike; they are not copied;
//! - the bytes are read front to back. What lies behind may be given back to the system ([`Reading::release`]).
//!
//! ```text
//! {"index":7,…,"process":3,"type":"invoke","f":"write","value":[4,9]}   row: call 8, ret 12, f write,
//! {"index":11,…,"process":3,"type":"ok","f":"write","value":[4,9]}           ok, pair, atoms 4 and 9
//! ```

mod cursor;
mod line;
mod pair;
mod select;

use std::ops::Range;

use crate::{
    format::Format,
    history::Outcome,
    pieces::{self, PIECE_BYTES},
};

pub use select::select;

use line::{Lines, Raw};
use pair::Pairer;

/// Bytes of an event, about, as we write it.
const EVENT_BYTES: usize = 80;
/// Bytes that are given back at once.
const RELEASE_BYTES: usize = 1024 * 1024;
/// Histories shorter than this are read by one thread.
const PARALLEL_FROM_BYTES: usize = 2 * 1024 * 1024;

/// A position that is never reached: the end of an operation whose outcome is not known.
pub const NEVER: u32 = u32::MAX;

/// Null, a whole number or a text, in 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Atom(u64);

const TAG_BITS: u32 = 2;
const TAG_INTEGER: u64 = 1;
const TAG_TEXT: u64 = 2;
/// Whole numbers beyond this do not fit.
const INTEGER_LIMIT: i64 = 1 << 60;

impl Atom {
    /// Null.
    pub const NULL: Self = Self(0);

    /// A whole number, if it is not too large.
    #[must_use]
    pub fn integer(number: i64) -> Option<Self> {
        (number.abs() < INTEGER_LIMIT).then_some(Self(((number as u64) << TAG_BITS) | TAG_INTEGER))
    }

    /// The text of that number.
    #[must_use]
    pub fn text(id: u32) -> Self {
        Self((u64::from(id) << TAG_BITS) | TAG_TEXT)
    }

    /// The whole number, if it is one.
    #[must_use]
    pub fn as_integer(self) -> Option<i64> {
        (self.0 & 3 == TAG_INTEGER).then_some((self.0 as i64) >> TAG_BITS)
    }

    /// The number of the text, if it is one.
    #[must_use]
    pub fn as_text(self) -> Option<usize> {
        (self.0 & 3 == TAG_TEXT).then_some((self.0 >> TAG_BITS) as usize)
    }
}

/// What a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `a`.
    Single,
    /// `[a, b]`.
    Pair,
    /// `[a, [b, c]]`.
    Nested,
    /// Anything else.
    Odd,
}

/// One client's operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Position of its invocation.
    pub call: u32,
    /// Position of its completion, ok or fail; [`NEVER`] for an outcome that is not known.
    pub ret: u32,
    /// Its kind: a number of [`Compact::names`].
    pub f: u8,
    /// How it ended.
    pub outcome: Outcome,
    /// The shape of `atoms`.
    pub shape: Shape,
    /// What else is to be known, as bits: [`Row::PAIR`], [`Row::ASKS`], [`Row::OTHER_KEY`], [`Row::OBSERVED`].
    pub bits: u8,
    /// Its argument; of a kind in [`Reading::observers`] that ended `ok`: its result.
    pub atoms: [Atom; 3],
}

impl Row {
    /// Its argument was an array of two.
    pub const PAIR: u8 = 1;
    /// The second of them was null.
    pub const ASKS: u8 = 2;
    /// The result is not `[key, …]` with the argument's key.
    pub const OTHER_KEY: u8 = 4;
    /// It failed with one of [`Reading::observing`].
    pub const OBSERVED: u8 = 8;

    /// Whether a bit is set.
    #[must_use]
    pub fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }
}

/// A history.
#[derive(Debug)]
pub struct Compact<'a> {
    /// Operations in the order of their invocations.
    pub rows: Vec<Row>,
    /// Kinds of operations.
    pub names: Vec<&'a str>,
    /// Texts by number.
    pub texts: Vec<&'a str>,
    /// Number of events of all kinds.
    pub event_count: u32,
    /// What was noticed while reading, for people.
    pub remarks: Vec<String>,
}

/// How to read.
pub struct Reading<'a> {
    /// Kinds of operations that are left out.
    pub ignore: &'a [String],
    /// Kinds of operations whose result counts, not their argument.
    pub observers: &'a [&'a str],
    /// Error kinds of failures that count as observations.
    pub observing: &'a [String],
    /// Threads that take lines apart, beside the one that calls. 0: none.
    pub threads: usize,
    /// Is told which bytes will not be looked at for a while.
    pub release: &'a (dyn Fn(Range<usize>) + Sync),
}

/// Reads a history whose values are simple. None: it is not one, or something is wrong with it.
#[must_use]
pub fn read<'a>(bytes: &'a [u8], format: Format, reading: &Reading<'_>) -> Option<Compact<'a>> {
    let lines = Lines::new(bytes, format, reading)?;
    let mut pairer = Pairer::new(bytes, reading);
    let mut released = Released::new(reading);
    if reading.threads == 0 || bytes.len() < PARALLEL_FROM_BYTES {
        for number in 0..lines.piece_count(PIECE_BYTES) {
            let piece = lines.piece(number, PIECE_BYTES);
            lines.each(piece.clone(), &mut |raw| pairer.push(&raw))?;
            released.until(piece.end);
        }
    } else {
        parallel(&lines, reading, &mut pairer, &mut released)?;
    }
    let mut compact = pairer.finish()?;
    compact.remarks.extend(lines.remarks());
    Some(compact)
}

/// Gives back what was read.
struct Released<'a, 'r> {
    reading: &'a Reading<'r>,
    from: usize,
}

impl<'a, 'r> Released<'a, 'r> {
    fn new(reading: &'a Reading<'r>) -> Self {
        Self { reading, from: 0 }
    }

    /// All up to there was read.
    fn until(&mut self, end: usize) {
        if end >= self.from + RELEASE_BYTES {
            (self.reading.release)(self.from..end);
            self.from = end;
        }
    }
}

/// Threads take pieces apart in turn; what they find is paired up in the order of the file.
fn parallel(
    lines: &Lines<'_>,
    reading: &Reading<'_>,
    pairer: &mut Pairer<'_>,
    released: &mut Released<'_, '_>,
) -> Option<()> {
    let make = |number| {
        let piece = lines.piece(number, PIECE_BYTES);
        let mut found = Vec::with_capacity(piece.len() / EVENT_BYTES);
        let whole = lines.each(piece.clone(), &mut |raw| {
            found.push(raw);
            Some(())
        });
        whole.map(|()| (found, piece.end))
    };
    let mut pair = |made: Option<(Vec<Raw>, usize)>| {
        let (raws, end) = made?;
        raws.iter().try_for_each(|raw| pairer.push(raw))?;
        released.until(end);
        Some(())
    };
    let pieces = lines.piece_count(PIECE_BYTES);
    pieces::in_turn(pieces, reading.threads, make, |made| pair(made).ok_or(())).ok()
}
