//! The eight bytes before every body, and the eight bytes before the first message.
//!
//! ```text
//! 02 00 00 00  01  00  00 00     two words follow, type 1, schema 0, unused
//! 01 00 00 00  00  00  00 00     the handshake: protocol version 1
//! ```
//!
//! Source: canonical.com/dqlite/docs/reference/wire-protocol, "Definitions" and "Setup".

use super::error::EncodeError;

/// Bytes of a word; every body is a whole number of words.
pub const WORD_BYTES: usize = 8;

/// Bytes of a message's header.
pub const HEADER_BYTES: usize = 8;

/// Bytes of the handshake.
pub const HANDSHAKE_BYTES: usize = 8;

/// The protocol version that a client announces before its first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Version {
    /// Version 1, spoken by every release since 1.0.
    #[default]
    One,
    /// What releases before 1.0 spoke: the answer to LEADER is an address without an id.
    Legacy,
}

impl Version {
    /// The bytes that a client sends first.
    pub fn encode(self) -> [u8; HANDSHAKE_BYTES] {
        let number: u64 = match self {
            Self::One => 1,
            Self::Legacy => 0x8610_4dd7_6043_3fe5,
        };
        number.to_le_bytes()
    }

    /// The version that the bytes announce, or the number that is none.
    pub fn decode(bytes: [u8; HANDSHAKE_BYTES]) -> Result<Self, u64> {
        [Self::One, Self::Legacy]
            .into_iter()
            .find(|version| version.encode() == bytes)
            .ok_or(u64::from_le_bytes(bytes))
    }
}

/// The header of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Header {
    /// Length of the body in words of eight bytes.
    pub words: u32,
    /// The type code; requests and responses number theirs separately.
    pub kind: u8,
    /// The schema of the body; 0 unless a message has several.
    pub schema: u8,
}

impl Header {
    /// Takes a header apart. Every eight bytes are a header; the last two are not looked at.
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Self {
        let [w0, w1, w2, w3, kind, schema, _, _] = bytes;
        Self {
            words: u32::from_le_bytes([w0, w1, w2, w3]),
            kind,
            schema,
        }
    }

    /// The eight bytes of this header.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let [w0, w1, w2, w3] = self.words.to_le_bytes();
        [w0, w1, w2, w3, self.kind, self.schema, 0, 0]
    }

    /// Length of the body in bytes.
    pub fn body_bytes(self) -> u64 {
        u64::from(self.words) * WORD_BYTES as u64
    }
}

/// A header and its body as one run of bytes.
pub(crate) fn frame_bytes(kind: u8, schema: u8, body: &[u8]) -> Result<Vec<u8>, EncodeError> {
    debug_assert_eq!(body.len() % WORD_BYTES, 0, "a body is whole words");
    let words = u32::try_from(body.len() / WORD_BYTES)
        .map_err(|_| EncodeError::TooLong { bytes: body.len() })?;
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(
        &Header {
            words,
            kind,
            schema,
        }
        .encode(),
    );
    bytes.extend_from_slice(body);
    Ok(bytes)
}
