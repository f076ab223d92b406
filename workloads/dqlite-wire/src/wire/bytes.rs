//! Reading and writing the primitive fields: little-endian integers, texts, blobs, padding.
//!
//! Laws: a reader never goes past its body and never panics; an allocation is made only for bytes
//! that are really there; a text is NUL-terminated and padded to a word; a blob is a length, the
//! data, and padding to a word. Padding is written as zeros and not looked at when read, because
//! 1.11.1 leaves old memory behind blobs.
//!
//! Source: canonical.com/dqlite/docs/reference/wire-protocol, "Field types".

use super::error::{DecodeError, EncodeError, Fault};
use super::header::HEADER_BYTES;
use super::header::WORD_BYTES;

/// A cursor over the body of one message.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    message: &'static str,
    body: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(message: &'static str, body: &'a [u8]) -> Self {
        Self {
            message,
            body,
            at: 0,
        }
    }

    /// An error at the position of the cursor.
    pub(crate) fn fault(&self, fault: Fault) -> DecodeError {
        self.fault_at(self.at, fault)
    }

    /// An error at byte `at` of the body.
    pub(crate) fn fault_at(&self, at: usize, fault: Fault) -> DecodeError {
        DecodeError {
            message: self.message,
            offset: HEADER_BYTES + at,
            fault,
        }
    }

    pub(crate) fn position(&self) -> usize {
        self.at
    }

    pub(crate) fn left(&self) -> usize {
        self.body.len() - self.at
    }

    /// The next `bytes` bytes.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<&'a [u8], DecodeError> {
        let wanted = usize::try_from(bytes)
            .ok()
            .filter(|wanted| *wanted <= self.left());
        let Some(wanted) = wanted else {
            let left_bytes = self.left();
            return Err(self.fault(Fault::Truncated {
                wanted_bytes: bytes,
                left_bytes,
            }));
        };
        let taken = &self.body[self.at..self.at + wanted];
        self.at += wanted;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N as u64)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn f64(&mut self) -> Result<f64, DecodeError> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// The word at the cursor, without going past it.
    pub(crate) fn peek_word(&self) -> Option<u64> {
        self.clone().u64().ok()
    }

    /// A NUL-terminated text without its terminator; the padding is consumed.
    fn text_bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let rest = &self.body[self.at..];
        let Some(length) = rest.iter().position(|byte| *byte == 0) else {
            return Err(self.fault(Fault::Unterminated));
        };
        let padded = padded_bytes(length as u64 + 1);
        let taken = self.take(padded)?;
        Ok(&taken[..length])
    }

    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        let start = self.at;
        let bytes = self.text_bytes()?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(error) => Err(self.fault_at(start + error.valid_up_to(), Fault::NotUtf8)),
        }
    }

    /// A text in which bytes that are not UTF-8 are replaced: for messages that people read,
    /// where the code beside it matters more than a letter.
    pub(crate) fn text_lossy(&mut self) -> Result<String, DecodeError> {
        Ok(String::from_utf8_lossy(self.text_bytes()?).into_owned())
    }

    pub(crate) fn blob(&mut self) -> Result<Vec<u8>, DecodeError> {
        let length = self.u64()?;
        // A length near the top of u64 would wrap when padded; no body is that long anyway.
        if length > self.left() as u64 {
            let left_bytes = self.left();
            return Err(self.fault(Fault::Truncated {
                wanted_bytes: length,
                left_bytes,
            }));
        }
        let padded = self.take(padded_bytes(length))?;
        Ok(padded[..length as usize].to_vec())
    }

    /// A count of elements that take at least `least_bytes` each, refused if they cannot fit.
    pub(crate) fn count(&mut self, least_bytes: u64) -> Result<usize, DecodeError> {
        let start = self.at;
        let count = self.u64()?;
        self.fits(start, count, least_bytes)
    }

    /// Refuses a count, read at byte `start`, of elements that cannot fit in what is left.
    pub(crate) fn fits(
        &self,
        start: usize,
        count: u64,
        least_bytes: u64,
    ) -> Result<usize, DecodeError> {
        let most = self.left() as u64 / least_bytes;
        if count > most {
            return Err(self.fault_at(start, Fault::CountTooLarge { count, most }));
        }
        Ok(count as usize)
    }

    /// Refuses bytes after the last field.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        match self.left() {
            0 => Ok(()),
            bytes => Err(self.fault(Fault::Trailing { bytes })),
        }
    }
}

/// `bytes` rounded up to whole words.
pub(crate) fn padded_bytes(bytes: u64) -> u64 {
    bytes.div_ceil(WORD_BYTES as u64) * WORD_BYTES as u64
}

/// The body of a message that is being written.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    body: Vec<u8>,
}

impl Writer {
    pub(crate) fn u8(&mut self, value: u8) {
        self.body.push(value);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.body.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.body.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.body.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn f64(&mut self, value: f64) {
        self.u64(value.to_bits());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }

    /// Zeros up to the next word.
    pub(crate) fn pad(&mut self) {
        let padded = padded_bytes(self.body.len() as u64) as usize;
        self.body.resize(padded, 0);
    }

    pub(crate) fn text(&mut self, field: &'static str, text: &str) -> Result<(), EncodeError> {
        if let Some(at) = text.bytes().position(|byte| byte == 0) {
            return Err(EncodeError::InteriorNul { field, at });
        }
        self.bytes(text.as_bytes());
        self.u8(0);
        self.pad();
        Ok(())
    }

    pub(crate) fn blob(&mut self, blob: &[u8]) {
        self.u64(blob.len() as u64);
        self.bytes(blob);
        self.pad();
    }

    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }
}
