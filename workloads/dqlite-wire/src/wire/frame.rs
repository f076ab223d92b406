//! Cutting a stream of bytes into messages, as they come.
//!
//! Laws: bytes may come in pieces of any size, and the messages are the same; nothing is allocated
//! on the word of a header, only for bytes that came; a message longer than the limit is an error as
//! soon as its header is there; after an error the decoder gives that error for ever, because the
//! boundaries in a stream are lost with the first bad header.

use super::error::{DecodeError, Fault};
use super::header::{HANDSHAKE_BYTES, HEADER_BYTES, Header};
use super::request::Request;
use super::response::{Dialect, Response};

/// Longest message that a decoder takes unless told otherwise, in bytes with the header. Answers to
/// DUMP hold a whole database; all others are far smaller.
pub const DEFAULT_MAX_MESSAGE_BYTES: u64 = 64 * 1024 * 1024;

/// Consumed bytes are given back once there are this many of them, or once all are consumed.
const COMPACT_BYTES: usize = 64 * 1024;

/// A message that is cut out of the stream and not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its header.
    pub header: Header,
    /// Its body, `header.words` words of eight bytes.
    pub body: Vec<u8>,
}

impl Frame {
    /// Decodes it as a request: what a server does.
    pub fn request(&self) -> Result<Request, DecodeError> {
        Request::decode(self.header, &self.body)
    }

    /// Decodes it as a response: what a client does. What was asked decides how some are read.
    pub fn response(&self, dialect: Dialect) -> Result<Response, DecodeError> {
        Response::decode(self.header, &self.body, dialect)
    }
}

/// Takes bytes in and gives messages out.
///
/// ```
/// use dqlite_wire::{FrameDecoder, Request};
///
/// let mut decoder = FrameDecoder::new();
/// for byte in Request::Leader.encode().unwrap() {
///     assert_eq!(decoder.next_frame(), Ok(None));
///     decoder.push(&[byte]);
/// }
/// let frame = decoder.next_frame().unwrap().unwrap();
/// assert_eq!(frame.request(), Ok(Request::Leader));
/// ```
#[derive(Debug, Clone)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
    consumed: usize,
    max_message_bytes: u64,
    failed: Option<DecodeError>,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl FrameDecoder {
    /// A decoder with the limit [`DEFAULT_MAX_MESSAGE_BYTES`].
    pub fn new() -> Self {
        Self::with_limit(DEFAULT_MAX_MESSAGE_BYTES)
    }

    /// A decoder that refuses messages of more than `max_message_bytes` bytes, header included.
    pub fn with_limit(max_message_bytes: u64) -> Self {
        Self {
            buffer: Vec::new(),
            consumed: 0,
            max_message_bytes,
            failed: None,
        }
    }

    /// Takes the next bytes of the stream. Draw the messages out between pushes: what is pushed is
    /// kept until it is drawn. Bytes after an error are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.failed.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// How many bytes were pushed and not drawn yet.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len() - self.consumed
    }

    /// The eight bytes of the handshake, if they came: what a server draws first.
    pub fn next_handshake(&mut self) -> Option<[u8; HANDSHAKE_BYTES]> {
        let bytes = self.rest().first_chunk().copied()?;
        self.consume(HANDSHAKE_BYTES);
        Some(bytes)
    }

    /// The next whole message, or `None` if more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let Some(bytes) = self.rest().first_chunk() else {
            return Ok(None);
        };
        let header = Header::decode(*bytes);
        let bytes = HEADER_BYTES as u64 + header.body_bytes();
        if bytes > self.max_message_bytes {
            let limit_bytes = self.max_message_bytes;
            let fault = Fault::TooLong { bytes, limit_bytes };
            let error = DecodeError {
                message: "new",
                offset: 0,
                fault,
            };
            self.failed = Some(error.clone());
            self.buffer = Vec::new();
            self.consumed = 0;
            return Err(error);
        }
        if (self.buffered_bytes() as u64) < bytes {
            return Ok(None);
        }
        let body = self.rest()[HEADER_BYTES..bytes as usize].to_vec();
        self.consume(bytes as usize);
        Ok(Some(Frame { header, body }))
    }

    fn rest(&self) -> &[u8] {
        &self.buffer[self.consumed..]
    }

    fn consume(&mut self, bytes: usize) {
        self.consumed += bytes;
        if self.consumed == self.buffer.len() {
            self.buffer.clear();
            // One large answer must not hold its memory for the life of the connection.
            self.buffer.shrink_to(COMPACT_BYTES);
            self.consumed = 0;
        } else if self.consumed >= COMPACT_BYTES {
            self.buffer.drain(..self.consumed);
            self.consumed = 0;
        }
    }
}
