//! An event of a client without an error, exactly as we write it: most lines are so. Bytes are looked at eight at a time.
//!
//! Law: whatever is taken here, the reader of lines of any shape takes too, and finds the same in it. What is not exactly so is left to it.
//!
//! ```text
//! {"index":7,"time_ns":52,"process":3,"node":"n1","type":"invoke","f":"write","value":[4,9]}
//! ```

use super::{Raw, unnumbered};
use crate::{
    compact::{Atom, Shape, cursor::Piece},
    digits::{self, EVERY, HIGH_BITS, first},
    event::EventType,
};

/// The event of the line that begins there; it ends behind the end of the line.
#[inline]
pub(super) fn event(bytes: &[u8], start: usize) -> Option<Raw> {
    let mut line = Line { bytes, at: start };
    line.literal(b"{\"index\":")?;
    let index = line.number()?;
    line.literal(b",\"time_ns\":")?;
    line.number()?;
    line.literal(b",\"process\":")?;
    let process = line.number()?;
    if line.literal(b",\"node\":").is_some() {
        line.quoted()?;
    }
    line.literal(b",\"type\":\"")?;
    let kind = if line.literal(b"invoke\",").is_some() {
        EventType::Invoke
    } else if line.literal(b"ok\",").is_some() {
        EventType::Ok
    } else if line.literal(b"info\",").is_some() {
        EventType::Info
    } else {
        return None;
    };
    line.literal(b"\"f\":")?;
    let f = line.quoted()?;
    line.literal(b",\"value\":")?;
    let (shape, atoms) = line.value()?;
    line.literal(b"}\n")?;
    Some(Raw {
        process,
        index,
        kind,
        has_time: true,
        f,
        shape,
        atoms,
        observed: false,
        start,
        end: line.at,
    })
}

/// A line on the way.
struct Line<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Line<'_> {
    #[inline(always)]
    fn literal<const N: usize>(&mut self, text: &[u8; N]) -> Option<()> {
        let rest = self.bytes.get(self.at..)?;
        (rest.first_chunk::<N>()? == text).then(|| self.at += N)
    }

    /// A whole number of up to 15 digits that is not negative. What follows decides the caller.
    #[inline(always)]
    fn number(&mut self) -> Option<u64> {
        let (number, digits) = digits::leading(self.bytes, self.at)?;
        let padded = digits > 1 && self.bytes[self.at] == b'0';
        (digits > 0 && !padded).then(|| self.at += digits)?;
        Some(number)
    }

    /// A text in quotes without escapes and control characters.
    #[inline(always)]
    fn quoted(&mut self) -> Option<Piece> {
        self.literal(b"\"")?;
        let start = self.at;
        loop {
            let word = digits::word(self.bytes, self.at)?;
            let ends = zeros(word ^ (EVERY * u64::from(b'"')))
                | zeros(word ^ (EVERY * u64::from(b'\\')))
                | (word.wrapping_sub(EVERY * 0x20) & !word & HIGH_BITS);
            self.at += first(ends);
            if ends != 0 {
                break;
            }
        }
        let len = u32::try_from(self.at - start).ok()?;
        self.literal(b"\"")?;
        Some(Piece { start, len })
    }

    #[inline(always)]
    fn atom(&mut self) -> Option<Atom> {
        match self.bytes.get(self.at)? {
            b'0'..=b'9' => Atom::integer(i64::try_from(self.number()?).ok()?),
            b'"' => unnumbered(self.quoted()?),
            _ => self.literal(b"null").map(|()| Atom::NULL),
        }
    }

    /// `a`, `[a,b]` or `[a,[b,c]]`.
    #[inline(always)]
    fn value(&mut self) -> Option<(Shape, [Atom; 3])> {
        if self.literal(b"[").is_none() {
            return Some((Shape::Single, [self.atom()?, Atom::NULL, Atom::NULL]));
        }
        let first = self.atom()?;
        self.literal(b",")?;
        if self.literal(b"[").is_none() {
            let second = self.atom()?;
            self.literal(b"]")?;
            return Some((Shape::Pair, [first, second, Atom::NULL]));
        }
        let second = self.atom()?;
        self.literal(b",")?;
        let third = self.atom()?;
        self.literal(b"]]")?;
        Some((Shape::Nested, [first, second, third]))
    }
}

/// The highest bit of bytes that are zero: of the first one exactly, what follows it does not matter.
fn zeros(word: u64) -> u64 {
    word.wrapping_sub(EVERY) & !word & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::{
        super::{Lines, one_line},
        *,
    };
    use crate::{compact::cursor::Cursor, format::Format, seed::Seed};

    /// The event of a line, by the reader of lines of any shape; behind it comes the end of the line.
    fn of_any_shape(bytes: &[u8]) -> Option<Raw> {
        let lines = Lines {
            bytes,
            format: Format::Ours,
            observing: &[],
            range: 0..bytes.len(),
            remark: None,
        };
        let mut raw = Raw::begins(0);
        let mut cursor = Cursor { bytes, at: 0 };
        lines.json(&mut cursor, &mut raw, true)?;
        one_line(&cursor, 0)?;
        raw.end = cursor.at + 1;
        Some(raw)
    }

    const NUMBERS: [&str; 12] = [
        "0",
        "7",
        "10",
        "12345678",
        "123456789012345",
        "1234567890123456",
        "123456789012345678",
        "1234567890123456789",
        "007",
        "-3",
        "1.5",
        "1e3",
    ];
    const TEXTS: [&str; 8] = [
        "\"\"",
        "\"n1\"",
        "\"write\"",
        "\"a text over several words\"",
        "\"\u{e4}\u{20ac}\"",
        "\"a\\nb\"",
        "\"a\tb\"",
        "null",
    ];

    #[test]
    fn what_is_taken_is_found_by_the_reader_of_any_shape_too() {
        let (mut whole, mut damaged) = (0, 0);
        for seed in 0..60_000 {
            let mut rng = Seed(seed).stream("written").draw(0);
            let mut any = |from: &[&str], usual: usize| {
                let limit = if rng.random_range(0..8) == 0 {
                    from.len()
                } else {
                    usual
                };
                from[rng.random_range(0..limit)].to_owned()
            };
            let atom = [
                any(&NUMBERS, 5),
                any(&NUMBERS, 5),
                any(&TEXTS, 5),
                "null".to_owned(),
            ];
            let node = any(&["", ",\"node\":\"n1\"", ",\"node\":null"], 2);
            let kind = any(&["invoke", "ok", "info", "fail", "oks"], 3);
            let [a, b, c, d] = &atom;
            let values = [
                a.clone(),
                c.clone(),
                format!("[{a},{b}]"),
                format!("[{c},{a}]"),
                format!("[{a},{d}]"),
                format!("[{a},[{b},{c}]]"),
                format!("[{a},{b},{c}]"),
                format!("[[{a}],{b}]"),
                format!("[{a}, {b}]"),
                format!("[{a}]"),
                "[]".to_owned(),
                "true".to_owned(),
            ];
            let value = any(&values.each_ref().map(String::as_str), 6);
            let line = format!(
                "{{\"index\":{},\"time_ns\":{},\"process\":{}{node},\"type\":\"{kind}\",\"f\":{},\"value\":{value}}}\n",
                any(&NUMBERS, 5),
                any(&NUMBERS, 5),
                any(&NUMBERS, 5),
                any(&TEXTS, 5),
            );
            let mut line = line.into_bytes();
            let harm = seed % 2 == 1;
            if harm {
                let place = rng.random_range(0..line.len());
                let byte = b" \"\\,:[]{}09-.n\n\t\xff"[rng.random_range(0..17)];
                match rng.random_range(0..3) {
                    0 => line[place] = byte,
                    1 => line.insert(place, byte),
                    _ => drop(line.remove(place)),
                }
            }
            // More follows in a file: the reader looks ahead.
            line.extend_from_slice(b"{\"index\":");
            let Some(taken) = event(&line, 0) else {
                continue;
            };
            *if harm { &mut damaged } else { &mut whole } += 1;
            let shown = String::from_utf8_lossy(&line);
            let general = of_any_shape(&line);
            assert_eq!(
                format!("{:?}", Some(taken)),
                format!("{general:?}"),
                "{shown}"
            );
        }
        assert!(whole > 10_000 && damaged > 300, "{whole} {damaged}");
    }
}
