//! Plume's lines, by several threads: each takes pieces of the file apart, and one puts what they found together in the order of the file.
//!
//! ```text
//! w(0,1,0,7)     key, value, session, transaction
//! ```
//!
//! A line says by itself what it is of, so that a piece may begin and end within a transaction. Where a line is wrong, what stood
//! before it is told first, as if one had read them all.

use std::{collections::HashSet, hash::BuildHasherDefault, ops::Range};

use super::{Access, FormatError, Lines, Transaction};
use crate::{
    digits,
    fast::FastHasher,
    format::raw::CONSUMED_EVERY_BYTES,
    pieces::{self, PIECE_BYTES},
};

/// Files shorter than this are read by one thread.
const PARALLEL_FROM_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of a line, about.
const LINE_BYTES: usize = 24;
/// Numbers of transactions below this are known by a bit each.
const LISTED_NUMBERS: u64 = 1 << 28;

/// Lines that follow one another and are of one transaction.
struct Run {
    session: u64,
    /// The transaction; None: one that failed, whose lines are a transaction each.
    number: Option<u64>,
    accesses: usize,
    /// Where its first line ends.
    end: usize,
}

/// What a piece holds.
struct Piece {
    runs: Vec<Run>,
    accesses: Vec<Access>,
    /// What is wrong with the line behind.
    error: Option<FormatError>,
    /// It is the last line of all, and ends too early.
    torn: bool,
}

/// Whether a torn last line was left out.
pub(super) fn each_transaction(
    bytes: &[u8],
    threads: usize,
    each: &mut dyn FnMut(Transaction<'_>),
    consumed: &mut dyn FnMut(usize),
) -> Result<bool, FormatError> {
    let all = 0..bytes.len();
    let pieces = pieces::count(&all, PIECE_BYTES);
    // What is in a piece, and where it ends.
    let take_apart = |number| {
        let range = pieces::piece(bytes, &all, number, PIECE_BYTES);
        let end = range.end;
        (piece(bytes, range), end)
    };
    let mut joined = Joined {
        bytes,
        each,
        current: None,
        accesses: Vec::new(),
        known: Numbers::default(),
        torn: false,
    };
    let mut next = CONSUMED_EVERY_BYTES;
    let take = |(piece, until): (Piece, usize)| -> Result<(), FormatError> {
        joined.take(piece)?;
        if until >= next {
            consumed(until);
            next = until + CONSUMED_EVERY_BYTES;
        }
        Ok(())
    };
    if threads < 2 || bytes.len() < PARALLEL_FROM_BYTES {
        (0..pieces).map(take_apart).try_for_each(take)?;
    } else {
        pieces::in_turn(pieces, threads - 1, take_apart, take)?;
    }
    joined.finish();
    Ok(joined.torn)
}

fn piece(bytes: &[u8], range: Range<usize>) -> Piece {
    let lines = range.len() / LINE_BYTES;
    let mut piece = Piece {
        runs: Vec::with_capacity(lines / 4),
        accesses: Vec::with_capacity(lines),
        error: None,
        torn: false,
    };
    let mut lines = Lines::new(&bytes[..range.end], range.start);
    loop {
        // Most lines are of the usual shape; any other is read with more care, which also says what is wrong.
        while let Some((session, number, access, end)) = usual(lines.bytes, lines.at) {
            piece.push(session, Some(number), access, end);
            lines.at = end + 1;
        }
        let Some(first) = lines.next_line() else {
            break;
        };
        match line(&mut lines, first) {
            Ok((session, number, access)) => piece.push(session, number, access, lines.at),
            Err(error) => {
                // All pieces but the last one end with a line.
                piece.torn = lines.torn;
                piece.error = Some(error).filter(|_| !lines.torn);
                break;
            }
        }
    }
    piece
}

/// A line of a transaction that committed, without spaces and with its end: session, transaction, what it did, and where it ends.
#[inline]
fn usual(bytes: &[u8], start: usize) -> Option<(u64, u64, Access, usize)> {
    let (first, open) = (*bytes.get(start)?, *bytes.get(start + 1)?);
    let write = first == b'w';
    ((write || first == b'r') && open == b'(').then_some(())?;
    let mut at = start + 2;
    let mut numbers = [0_u64; 4];
    for (number, close) in numbers.iter_mut().zip([b',', b',', b',', b')']) {
        let (found, digits) = digits::leading(bytes, at)?;
        at += digits;
        (digits > 0 && *bytes.get(at)? == close).then_some(())?;
        *number = found;
        at += 1;
    }
    (*bytes.get(at)? == b'\n').then_some(())?;
    let [key, value, session, number] = numbers;
    (!write || value != 0).then_some(())?;
    let access = Access {
        write,
        key,
        value: (value != 0).then_some(value),
    };
    Some((session, number, access, at))
}

/// Session, transaction and what it did.
fn line(lines: &mut Lines<'_>, first: u8) -> Result<(u64, Option<u64>, Access), FormatError> {
    let write = match first {
        b'w' => true,
        b'r' => false,
        _ => return Err(lines.wrong("expected an operation that reads or writes")),
    };
    lines.at += 1;
    lines.expect(b'(')?;
    let key = lines.number()?;
    lines.expect(b',')?;
    let value = lines.number()?;
    lines.expect(b',')?;
    let session = lines.number()?;
    lines.expect(b',')?;
    let failed = lines.bytes.get(lines.at) == Some(&b'-');
    lines.at += usize::from(failed);
    let number = lines.number()?;
    lines.expect(b')')?;
    lines.end()?;
    if failed && number != 1 {
        return Err(lines.wrong("expected a transaction's number, or -1"));
    }
    if write && value == 0 {
        return Err(lines.wrong("0 is what was there at first; nobody writes it"));
    }
    let access = Access {
        write,
        key,
        value: (value != 0).then_some(value),
    };
    Ok((session, (!failed).then_some(number), access))
}

impl Piece {
    fn push(&mut self, session: u64, number: Option<u64>, access: Access, end: usize) {
        self.accesses.push(access);
        match self.runs.last_mut() {
            Some(last) if number.is_some() && (last.session, last.number) == (session, number) => {
                last.accesses += 1;
            }
            _ => self.runs.push(Run {
                session,
                number,
                accesses: 1,
                end,
            }),
        }
    }
}

/// Pieces on their way to transactions.
struct Joined<'a, 'e> {
    bytes: &'a [u8],
    each: &'e mut dyn FnMut(Transaction<'_>),
    /// Session and number of the transaction that the last line was of, and what it did so far.
    current: Option<(u64, u64)>,
    accesses: Vec<Access>,
    known: Numbers,
    torn: bool,
}

/// A set of numbers, most of them small.
#[derive(Default)]
struct Numbers {
    listed: Vec<u64>,
    others: HashSet<u64, BuildHasherDefault<FastHasher>>,
}

impl Numbers {
    /// Whether it was not there before.
    fn insert(&mut self, number: u64) -> bool {
        if number >= LISTED_NUMBERS {
            return self.others.insert(number);
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if word >= self.listed.len() {
            self.listed.resize(word + 1, 0);
        }
        let fresh = self.listed[word] & bit == 0;
        self.listed[word] |= bit;
        fresh
    }
}

impl Joined<'_, '_> {
    fn take(&mut self, piece: Piece) -> Result<(), FormatError> {
        let mut rest = &piece.accesses[..];
        let last = piece.runs.len().saturating_sub(1);
        for (place, run) in piece.runs.iter().enumerate() {
            let (own, behind) = rest.split_at(run.accesses);
            rest = behind;
            let this = run.number.map(|number| (run.session, number));
            if this.is_none() || self.current != this {
                self.finish();
                if let Some((_, number)) = this
                    && !self.known.insert(number)
                {
                    return Err(FormatError::at(
                        self.bytes,
                        run.end,
                        "the lines of this transaction do not stand together, or are of two sessions",
                    ));
                }
                // It goes on behind the end of the piece, if at all.
                self.current = this.filter(|_| place == last);
            }
            if self.current.is_some() {
                self.accesses.extend_from_slice(own);
            } else {
                (self.each)(Transaction {
                    session: run.session,
                    committed: this.is_some(),
                    accesses: own,
                });
            }
        }
        self.torn |= piece.torn;
        piece.error.map_or(Ok(()), Err)
    }

    /// There is no more of the transaction.
    fn finish(&mut self) {
        if let Some((session, _)) = self.current.take() {
            (self.each)(Transaction {
                session,
                committed: true,
                accesses: &self.accesses,
            });
        }
        self.accesses.clear();
    }
}
