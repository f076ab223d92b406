//! Lines of EDN, and of a log of etcd.

use super::{Lines, NEMESIS, Raw, event_type, piece, unnumbered, value};
use crate::{
    compact::{Atom, Shape, cursor::Cursor},
    event::{EventType, OpError},
    format::{MISMATCH, assemble::op_error, edn::Reader},
};

const LOG_PREFIX: &[u8] = b"jepsen.util - ";

impl Lines<'_> {
    pub(super) fn edn(&self, cursor: &mut Cursor<'_>, raw: &mut Raw) -> Option<()> {
        cursor.expect(b'{')?;
        let mut key = None;
        let mut error: Option<OpError> = None;
        let mut exception = None;
        let mut found = 0_u32;
        loop {
            cursor.skip_space(true);
            if cursor.take(b"}") {
                break;
            }
            cursor.expect(b':')?;
            let name = cursor.keyword()?;
            cursor.skip_space(true);
            match name.of(self.bytes) {
                b"index" => raw.index = u64::try_from(cursor.integer()?).ok()?,
                b"time" => {
                    cursor.integer()?;
                    raw.has_time = true;
                }
                b"process" => {
                    found |= 1;
                    raw.process = if cursor.peek()? == b':' {
                        cursor.at += 1;
                        (cursor.keyword()?.of(self.bytes) == b"nemesis").then_some(NEMESIS)?
                    } else {
                        u64::try_from(cursor.integer()?).ok()?
                    };
                }
                b"type" => {
                    found |= 2;
                    cursor.expect(b':')?;
                    raw.kind = event_type(cursor.keyword()?.of(self.bytes))?;
                }
                b"f" => {
                    found |= 4;
                    cursor.expect(b':')?;
                    raw.f = cursor.keyword()?;
                }
                b"value" => {
                    let start = cursor.at;
                    if edn_value(cursor, raw).is_none() {
                        cursor.at = start;
                        raw.shape = Shape::Odd;
                        skip_edn(cursor)?;
                    }
                }
                b"error" => {
                    error = Some(skip_edn(cursor)?)
                        .filter(|value| !value.is_null())
                        .map(op_error)
                }
                b"exception" => {
                    exception = Some(skip_edn(cursor)?)
                        .filter(|value| !value.is_null())
                        .map(op_error)
                }
                b"key" => key = Some(edn_atom(cursor)?),
                _ => {
                    skip_edn(cursor)?;
                }
            }
        }
        (found == 7).then_some(())?;
        self.finish(raw, key, error.or(exception))
    }

    pub(super) fn log(&self, cursor: &mut Cursor<'_>, raw: &mut Raw) -> Option<()> {
        let rest = &cursor.bytes[cursor.at..];
        let length = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .unwrap_or(rest.len());
        let line = &rest[..length];
        std::str::from_utf8(line).ok()?;
        let prefix = line
            .windows(LOG_PREFIX.len())
            .position(|window| window == LOG_PREFIX)?;
        let end = cursor.at + length;
        let mut columns = Cursor {
            bytes: &cursor.bytes[..end],
            at: cursor.at + prefix + LOG_PREFIX.len(),
        };
        columns.skip_space(false);
        raw.process = if columns.take(b":nemesis") {
            NEMESIS
        } else {
            u64::try_from(columns.integer()?).ok()?
        };
        columns.skip_space(false);
        columns.expect(b':')?;
        raw.kind = event_type(columns.keyword()?.of(self.bytes))?;
        columns.skip_space(false);
        columns.expect(b':')?;
        raw.f = columns.keyword()?;
        columns.skip_space(false);
        if raw.process == NEMESIS {
            // Whatever it says is no operation.
            columns.peek()?;
        } else {
            edn_value(&mut columns, raw)?;
        }
        let mut error = None;
        if raw.shape == Shape::Single
            && let Some(word) = piece(raw.atoms[0])
        {
            error = Some(std::str::from_utf8(word.of(self.bytes)).ok()?.to_owned());
            raw.atoms = [Atom::NULL; 3];
        } else if raw.kind == EventType::Fail && raw.f.of(self.bytes) == b"cas" {
            error = Some(MISMATCH.to_owned());
        }
        cursor.at = end;
        let error = error.map(|kind| OpError {
            kind,
            message: String::new(),
        });
        self.finish(raw, None, error)
    }
}

fn edn_atom(cursor: &mut Cursor<'_>) -> Option<Atom> {
    match cursor.peek()? {
        b'"' => unnumbered(cursor.quoted()?),
        b':' => {
            cursor.at += 1;
            unnumbered(cursor.keyword()?)
        }
        b'n' => {
            let nil = cursor.keyword()?;
            (nil.of(cursor.bytes) == b"nil").then_some(Atom::NULL)
        }
        _ => Atom::integer(cursor.integer()?),
    }
}

fn edn_value(cursor: &mut Cursor<'_>, raw: &mut Raw) -> Option<()> {
    value(
        cursor,
        raw,
        edn_atom,
        |cursor| {
            cursor.skip_space(true);
            Some(())
        },
        true,
    )
}

/// Reads any form and goes behind it.
fn skip_edn(cursor: &mut Cursor<'_>) -> Option<serde_json::Value> {
    let mut reader = Reader::new(&cursor.bytes[cursor.at..]);
    let value = reader.next_value().ok()??;
    cursor.at += reader.offset();
    Some(value)
}
