//! Steps through bytes: numbers, texts, names.

/// A place in bytes. Every step gives None where the bytes are not as expected.
pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
}

/// A piece of the bytes: where it starts, and its length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    pub start: usize,
    pub len: u32,
}

impl Piece {
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start..self.start + self.len as usize]
    }
}

/// Digits that surely fit.
const DIGITS_LIMIT: usize = 18;

impl Cursor<'_> {
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    pub fn expect(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// Whether these bytes come next; takes them if so.
    pub fn take(&mut self, text: &[u8]) -> bool {
        let next = self.bytes[self.at..].starts_with(text);
        if next {
            self.at += text.len();
        }
        next
    }

    /// White space of JSON; with `commas` that of EDN.
    pub fn skip_space(&mut self, commas: bool) {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b',' if commas => self.at += 1,
                _ => return,
            }
        }
    }

    /// A whole number; what follows it must not make it another kind of number.
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let start = self.at;
        let mut number = 0_i64;
        for byte in self.bytes.get(start..)? {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
            self.at += 1;
        }
        let digits = self.at - start;
        let padded = digits > 1 && self.bytes[start] == b'0';
        let ends = self
            .peek()
            .is_none_or(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n'));
        if digits == 0 || digits > DIGITS_LIMIT || padded || !ends || (negative && number == 0) {
            return None;
        }
        Some(if negative { -number } else { number })
    }

    /// A text in quotes without escapes and control characters.
    #[inline]
    pub fn quoted(&mut self) -> Option<Piece> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' | 0..0x20 => return None,
                _ => self.at += 1,
            }
        }
        let len = u32::try_from(self.at - start).ok()?;
        self.at += 1;
        Some(Piece { start, len })
    }

    /// The rest of a keyword behind its colon.
    pub fn keyword(&mut self) -> Option<Piece> {
        let start = self.at;
        while self.peek().is_some_and(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'?' | b'!')
        }) {
            self.at += 1;
        }
        let len = u32::try_from(self.at - start).ok()?;
        let ends = self
            .peek()
            .is_none_or(|byte| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\r' | b'\n'));
        (len > 0 && ends).then_some(Piece { start, len })
    }
}
