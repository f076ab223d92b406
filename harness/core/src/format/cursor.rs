//! Steps through the bytes of values without making values of them. What is not of the usual shape gives None, and is then a matter
//! for the general reader.

use serde_json::Value;

use super::edn::Reader;
use crate::huge;

/// Digits of a number that surely fits.
const DIGITS_LIMIT: usize = 18;

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    /// Clojure's data notation: commas are white space.
    Edn,
    /// JSON.
    Json,
}

/// A place in bytes.
#[derive(Clone, Debug)]
pub struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    syntax: Syntax,
}

impl<'a> Cursor<'a> {
    /// At a place.
    #[must_use]
    pub fn new(bytes: &'a [u8], at: usize, syntax: Syntax) -> Self {
        Self { bytes, at, syntax }
    }

    /// Where it stands, in bytes.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// How values are written.
    #[must_use]
    pub fn syntax(&self) -> Syntax {
        self.syntax
    }

    /// The byte here.
    #[must_use]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Over white space.
    pub fn skip_space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b',' if self.syntax == Syntax::Edn => self.at += 1,
                _ => return,
            }
        }
    }

    /// Over this byte.
    pub fn eat(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Over the colon between name and value of JSON.
    pub fn colon(&mut self) -> Option<()> {
        self.skip_space();
        self.eat(b':')?;
        self.skip_space();
        Some(())
    }

    /// To the next item of a sequence; false, and over the closing byte, if there is none. `first`: none was read yet.
    pub fn next_item(&mut self, first: bool, close: u8) -> Option<bool> {
        self.skip_space();
        if self.peek()? == close {
            self.at += 1;
            return Some(false);
        }
        if self.syntax == Syntax::Json && !first {
            self.eat(b',')?;
            self.skip_space();
            if self.peek()? == close {
                return None;
            }
        }
        Some(true)
    }

    /// A whole number of at most 18 digits, and nothing that makes it another kind of number.
    pub fn integer(&mut self) -> Option<i64> {
        let negative = self.peek()? == b'-';
        let start = self.at + usize::from(negative);
        let mut number = 0_i64;
        let mut digits = 0;
        for byte in &self.bytes[start..] {
            let digit = byte.wrapping_sub(b'0');
            if digit >= 10 {
                break;
            }
            if digits == DIGITS_LIMIT {
                return None;
            }
            number = number * 10 + i64::from(digit);
            digits += 1;
        }
        self.at = start + digits;
        // Zeros at the front are octal here, an error there; minus zero is a floating number in JSON.
        let odd = digits == 0
            || digits > 1 && self.bytes[start] == b'0'
            || negative && number == 0
            || !self.ended();
        (!odd).then_some(if negative { -number } else { number })
    }

    /// Whether a token ends here.
    fn ended(&self) -> bool {
        self.peek()
            .is_none_or(|byte| matches!(CLASSES[usize::from(byte)], Class::Space | Class::Close))
    }

    /// The text of a plain keyword or string: letters, digits, and `-`, `_`, `.`, `/` within.
    pub fn name(&mut self) -> Option<&'a [u8]> {
        let keyword = match (self.peek()?, self.syntax) {
            (b':', Syntax::Edn) => true,
            (b'"', _) => false,
            _ => return None,
        };
        self.at += 1;
        let start = self.at;
        let rest = &self.bytes[start..];
        let plain =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
        self.at += rest.iter().take_while(|byte| plain(byte)).count();
        let text = &self.bytes[start..self.at];
        if !keyword {
            self.eat(b'"')?;
        }
        (!text.is_empty() && self.ended_or_colon()).then_some(text)
    }

    fn ended_or_colon(&self) -> bool {
        self.ended() || self.syntax == Syntax::Json && self.peek() == Some(b':')
    }

    /// `nil` or `null`.
    pub fn null(&mut self) -> Option<()> {
        let word: &[u8] = match self.syntax {
            Syntax::Edn => b"nil",
            Syntax::Json => b"null",
        };
        self.bytes[self.at..].starts_with(word).then_some(())?;
        self.at += word.len();
        self.ended().then_some(())
    }

    /// Any value, by the general reader.
    pub fn value(&mut self) -> Option<Value> {
        match self.syntax {
            Syntax::Edn => {
                let mut reader = Reader::starting_at(self.bytes, self.at);
                let value = reader.next_value().ok()??;
                self.at = reader.offset();
                Some(value)
            }
            Syntax::Json => {
                let mut stream =
                    serde_json::Deserializer::from_slice(&self.bytes[self.at..]).into_iter();
                let value: Value = stream.next()?.ok()?;
                let start = self.at;
                self.at += stream.byte_offset();
                self.ended()
                    .then(|| huge::kept(&self.bytes[start..self.at], value))
            }
        }
    }
}

/// What a byte means to [`value_end`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    /// Ends a token.
    Space,
    Open,
    Close,
    Quote,
    /// For the general reader.
    Odd,
}

/// By byte.
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut at = 0;
    while at < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let byte = at as u8;
        classes[at] = match byte {
            b' ' | b',' | b'\n' | b'\r' | b'\t' => Class::Space,
            b'[' | b'{' | b'(' => Class::Open,
            b']' | b'}' | b')' => Class::Close,
            b'"' => Class::Quote,
            b';' | b'\\' | b'#' | b'^' => Class::Odd,
            _ => Class::Plain,
        };
        at += 1;
    }
    classes
};

/// Over a value, by its brackets alone; where it ends.
pub(super) fn value_end(cursor: &mut Cursor<'_>) -> Option<usize> {
    let first = CLASSES[usize::from(cursor.peek()?)];
    match first {
        Class::Open => {}
        Class::Quote => {
            string_end(cursor)?;
            cursor.at += 1;
            return cursor.ended().then_some(cursor.at);
        }
        Class::Plain => {
            while !cursor.ended() {
                cursor.at += 1;
                if cursor.peek().is_some_and(|byte| b"\"[({;".contains(&byte)) {
                    return None;
                }
            }
            return Some(cursor.at);
        }
        Class::Space | Class::Close | Class::Odd => return None,
    }
    let mut depth = 0_usize;
    loop {
        match CLASSES[usize::from(cursor.peek()?)] {
            Class::Plain | Class::Space => {}
            Class::Open => depth += 1,
            Class::Close => {
                depth -= 1;
                if depth == 0 {
                    cursor.at += 1;
                    return Some(cursor.at);
                }
            }
            Class::Quote => string_end(cursor)?,
            Class::Odd => return None,
        }
        cursor.at += 1;
    }
}

/// To the closing byte of a string.
fn string_end(cursor: &mut Cursor<'_>) -> Option<()> {
    loop {
        cursor.at += 1;
        match cursor.peek()? {
            b'"' => return Some(()),
            b'\\' => cursor.at += 1,
            _ => {}
        }
    }
}
