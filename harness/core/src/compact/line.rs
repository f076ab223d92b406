//! One event out of a line of JSON; of EDN and of a log of etcd in `foreign`, of lines exactly as we write them in `written`.

mod foreign;
mod written;

use std::ops::Range;

use serde::de::IgnoredAny;

use super::{
    Atom, Reading, Shape, TAG_BITS, TAG_TEXT,
    cursor::{Cursor, Piece},
};
use crate::{
    event::{EventType, OpError},
    format::{Format, assemble::op_error},
    history::{FORMAT_VERSION, is_torn, torn_line},
    pieces,
};

/// The process of the nemesis.
pub(super) const NEMESIS: u64 = u64::MAX;
/// An event that has no index.
pub(super) const NO_INDEX: u64 = u64::MAX;
const LENGTH_BITS: u32 = 26;

/// One event as it stands there. Texts are pieces of the bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raw {
    pub process: u64,
    pub index: u64,
    pub kind: EventType,
    pub has_time: bool,
    pub f: Piece,
    pub shape: Shape,
    pub atoms: [Atom; 3],
    /// It failed with a kind of error that is an observation.
    pub observed: bool,
    /// Where it begins and ends.
    pub start: usize,
    pub end: usize,
}

impl Raw {
    /// Of what nothing but its place is known.
    fn begins(start: usize) -> Self {
        Self {
            process: NEMESIS,
            index: NO_INDEX,
            kind: EventType::Info,
            has_time: false,
            f: Piece::default(),
            shape: Shape::Single,
            atoms: [Atom::NULL; 3],
            observed: false,
            start,
            end: 0,
        }
    }
}

/// A text that has no number yet.
fn unnumbered(piece: Piece) -> Option<Atom> {
    let place = (piece.start as u64) << LENGTH_BITS | u64::from(piece.len);
    let fits = piece.start < 1 << (64 - TAG_BITS - LENGTH_BITS) && piece.len < 1 << LENGTH_BITS;
    fits.then_some(Atom(place << TAG_BITS | TAG_TEXT))
}

/// The piece of a text that has no number yet.
pub(super) fn piece(atom: Atom) -> Option<Piece> {
    (atom.0 & 3 == TAG_TEXT).then_some(Piece {
        start: (atom.0 >> (TAG_BITS + LENGTH_BITS)) as usize,
        len: (atom.0 >> TAG_BITS) as u32 & ((1 << LENGTH_BITS) - 1),
    })
}

/// All lines of a history.
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    format: Format,
    observing: &'a [String],
    /// Events begin and end here.
    range: Range<usize>,
    remark: Option<String>,
}

impl<'a> Lines<'a> {
    /// Takes the header and a torn last line off.
    pub fn new(bytes: &'a [u8], format: Format, reading: &Reading<'a>) -> Option<Self> {
        let mut range = 0..bytes.len();
        let mut remark = None;
        if format == Format::Ours {
            let header = format!("{{\"format_version\":{FORMAT_VERSION}}}\n");
            range.start = bytes
                .starts_with(header.as_bytes())
                .then_some(header.len())?;
            if bytes.last() != Some(&b'\n') {
                let end = bytes.iter().rposition(|byte| *byte == b'\n')? + 1;
                let last = &bytes[end..];
                if last.trim_ascii().is_empty() {
                    range.end = end;
                } else if is_torn(last) {
                    let line = bytes[..end].iter().filter(|byte| **byte == b'\n').count() + 1;
                    remark = Some(torn_line(last.len(), line));
                    range.end = end;
                }
            }
        }
        Some(Self {
            bytes,
            format,
            observing: reading.observing,
            range,
            remark,
        })
    }

    /// How many pieces of so many bytes there are.
    pub fn piece_count(&self, bytes: usize) -> usize {
        pieces::count(&self.range, bytes)
    }

    /// A [piece](pieces), by number.
    pub fn piece(&self, number: usize, bytes: usize) -> Range<usize> {
        pieces::piece(self.bytes, &self.range, number, bytes)
    }

    pub fn remarks(&self) -> Option<String> {
        self.remark.clone()
    }

    /// Hands out every event of a piece. None: something does not fit, or the receiver does not want more.
    pub fn each(
        &self,
        piece: Range<usize>,
        take: &mut impl FnMut(Raw) -> Option<()>,
    ) -> Option<()> {
        let mut cursor = Cursor {
            bytes: &self.bytes[..piece.end],
            at: piece.start,
        };
        loop {
            if self.format == Format::Ours {
                while let Some(raw) = written::event(cursor.bytes, cursor.at) {
                    cursor.at = raw.end;
                    take(raw)?;
                }
            }
            cursor.skip_space(self.format != Format::Ours && self.format != Format::JepsenJson);
            if cursor.peek().is_none() {
                return Some(());
            }
            let mut raw = Raw::begins(cursor.at);
            match self.format {
                Format::Ours => {
                    let start = cursor.at;
                    self.json(&mut cursor, &mut raw, true)?;
                    one_line(&cursor, start)?;
                }
                Format::JepsenJson => self.json(&mut cursor, &mut raw, false)?,
                Format::Edn | Format::PorcupineKv => self.edn(&mut cursor, &mut raw)?,
                Format::PorcupineEtcd => self.log(&mut cursor, &mut raw)?,
                // Transactions are no simple values.
                Format::Awdit | Format::Plume | Format::Dbcop => return None,
            }
            raw.end = cursor.at;
            take(raw)?;
        }
    }

    fn json(&self, cursor: &mut Cursor<'_>, raw: &mut Raw, ours: bool) -> Option<()> {
        cursor.expect(b'{')?;
        let mut key = None;
        let mut error: Option<OpError> = None;
        let mut exception = None;
        let mut found = 0_u32;
        let mut once = |bit: u32| {
            let fresh = found & (1 << bit) == 0;
            found |= 1 << bit;
            fresh.then_some(())
        };
        loop {
            cursor.skip_space(false);
            let name = cursor.quoted()?;
            cursor.skip_space(false);
            cursor.expect(b':')?;
            cursor.skip_space(false);
            match name.of(self.bytes) {
                b"index" => {
                    once(0)?;
                    raw.index = u64::try_from(cursor.integer()?).ok()?;
                }
                b"time_ns" if ours => {
                    once(1)?;
                    u64::try_from(cursor.integer()?).ok()?;
                    raw.has_time = true;
                }
                b"time" if !ours => {
                    once(1)?;
                    cursor.integer()?;
                    raw.has_time = true;
                }
                b"process" => {
                    once(2)?;
                    raw.process = if cursor.take(b"\"nemesis\"") {
                        NEMESIS
                    } else {
                        u64::try_from(cursor.integer()?).ok()?
                    };
                }
                b"type" => {
                    once(3)?;
                    raw.kind = event_type(cursor.quoted()?.of(self.bytes))?;
                }
                b"f" => {
                    once(4)?;
                    raw.f = cursor.quoted()?;
                }
                b"value" => {
                    once(5)?;
                    let start = cursor.at;
                    if json_value(cursor, raw).is_none() {
                        cursor.at = start;
                        raw.shape = Shape::Odd;
                        skip_json::<IgnoredAny>(cursor)?;
                    }
                }
                b"node" => {
                    once(6)?;
                    if ours || cursor.peek() == Some(b'"') {
                        cursor.quoted()?;
                    } else {
                        skip_json::<IgnoredAny>(cursor)?;
                    }
                }
                b"error" if ours => {
                    once(7)?;
                    error = skip_json::<Option<OpError>>(cursor)?;
                }
                b"error" => {
                    once(7)?;
                    error = Some(skip_json::<serde_json::Value>(cursor)?)
                        .filter(|value| !value.is_null())
                        .map(op_error);
                }
                b"exception" if !ours => {
                    once(8)?;
                    exception = Some(skip_json::<serde_json::Value>(cursor)?)
                        .filter(|value| !value.is_null())
                        .map(op_error);
                }
                b"key" if !ours => {
                    once(9)?;
                    key = Some(json_atom(cursor)?);
                }
                _ if ours => return None,
                _ => {
                    skip_json::<IgnoredAny>(cursor)?;
                }
            }
            cursor.skip_space(false);
            if cursor.take(b",") {
                continue;
            }
            cursor.expect(b'}')?;
            break;
        }
        // Index and time are needed in our own format only, process, type and kind in both.
        let needed = if ours { 0b11111 } else { 0b11100 };
        (found & needed == needed).then_some(())?;
        self.finish(raw, key, error.or(exception))
    }

    fn finish(&self, raw: &mut Raw, key: Option<Atom>, error: Option<OpError>) -> Option<()> {
        raw.observed = raw.kind == EventType::Fail
            && error.is_some_and(|error| self.observing.contains(&error.kind));
        if let Some(key) = key {
            let [first, second, _] = raw.atoms;
            (raw.shape, raw.atoms) = match raw.shape {
                Shape::Single => (Shape::Pair, [key, first, Atom::NULL]),
                Shape::Pair => (Shape::Nested, [key, first, second]),
                Shape::Nested | Shape::Odd => (Shape::Odd, [Atom::NULL; 3]),
            };
        }
        Some(())
    }
}

/// Whether what began there is alone in its line, which may be the last one without a newline: an event of ours does not go on in the
/// next one.
fn one_line(cursor: &Cursor<'_>, start: usize) -> Option<()> {
    let rest = &cursor.bytes[cursor.at..];
    let newline = rest.iter().position(|byte| *byte == b'\n');
    let end = newline.unwrap_or(rest.len());
    let alone = !cursor.bytes[start..cursor.at].contains(&b'\n')
        && rest[..end]
            .iter()
            .all(|byte| matches!(byte, b' ' | b'\t' | b'\r'));
    alone.then_some(())
}

fn event_type(word: &[u8]) -> Option<EventType> {
    Some(match word {
        b"invoke" => EventType::Invoke,
        b"ok" => EventType::Ok,
        b"fail" => EventType::Fail,
        b"info" => EventType::Info,
        _ => return None,
    })
}

fn json_atom(cursor: &mut Cursor<'_>) -> Option<Atom> {
    match cursor.peek()? {
        b'"' => unnumbered(cursor.quoted()?),
        b'n' => cursor.take(b"null").then_some(Atom::NULL),
        _ => Atom::integer(cursor.integer()?),
    }
}

fn json_value(cursor: &mut Cursor<'_>, raw: &mut Raw) -> Option<()> {
    value(
        cursor,
        raw,
        json_atom,
        |cursor| {
            cursor.skip_space(false);
            cursor.expect(b',')?;
            cursor.skip_space(false);
            Some(())
        },
        false,
    )
}

/// `a`, `[a, b]` or `[a, [b, c]]`.
fn value(
    cursor: &mut Cursor<'_>,
    raw: &mut Raw,
    atom: impl Fn(&mut Cursor<'_>) -> Option<Atom>,
    between: impl Fn(&mut Cursor<'_>) -> Option<()>,
    commas: bool,
) -> Option<()> {
    if !cursor.take(b"[") {
        raw.atoms[0] = atom(cursor)?;
        raw.shape = Shape::Single;
        return Some(());
    }
    let close = |cursor: &mut Cursor<'_>| {
        cursor.skip_space(commas);
        cursor.expect(b']')
    };
    cursor.skip_space(commas);
    raw.atoms[0] = atom(cursor)?;
    between(cursor)?;
    if cursor.take(b"[") {
        cursor.skip_space(commas);
        raw.atoms[1] = atom(cursor)?;
        between(cursor)?;
        raw.atoms[2] = atom(cursor)?;
        close(cursor)?;
        raw.shape = Shape::Nested;
    } else {
        raw.atoms[1] = atom(cursor)?;
        raw.shape = Shape::Pair;
    }
    close(cursor)
}

/// Reads any JSON value and goes behind it.
fn skip_json<T: serde::de::DeserializeOwned>(cursor: &mut Cursor<'_>) -> Option<T> {
    let rest = &cursor.bytes[cursor.at..];
    let mut stream = serde_json::Deserializer::from_slice(rest).into_iter::<T>();
    let value = stream.next()?.ok()?;
    cursor.at += stream.byte_offset();
    Some(value)
}
