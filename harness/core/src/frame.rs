//! The frames that controller and agent exchange over one byte stream each way.
//!
//! A frame is a 9-byte head and a payload:
//!
//! ```text
//! length of the payload: u32 | stream: u32 | kind: u8 | payload          (numbers big-endian)
//! 00 00 00 05                  00 00 00 07   03         68 65 6c 6c 6f   data "hello" on stream 7
//! ```
//!
//! The agent begins with [`MAGIC`], so that what a login shell prints first can be skipped; then
//! each side sends one [`Kind::Hello`] on stream 0. The controller opens streams, with numbers
//! that only grow; each carries one request ([`message::Request`]) and ends with one
//! [`Kind::End`] from the agent ([`message::End`]).
//!
//! Laws:
//! - bytes from the other side are input: a head is judged before its payload is waited for, and
//!   a decoder that has seen an error stays in error;
//! - a decoder never holds more than one whole frame and what was pushed last;
//! - data is sent only against credit ([`window`]), so what a stream can make the other side keep is
//!   bounded, and a stream that nobody reads stops only itself;
//! - control frames cost no credit; their number is bounded by the number of streams.
//!
//! Source: the shape is that of HTTP/2 (RFC 9113, frames and flow control), cut to what is needed.

pub mod guard;
pub mod message;
pub mod probe;
pub mod signal;
pub mod watch;
pub mod window;

use thiserror::Error;

/// What the agent writes before its first frame.
pub const MAGIC: [u8; 8] = *b"\0HRNS/1\n";
/// The version of frames and messages together; both sides must name the same.
pub const PROTOCOL_VERSION: u32 = 1;
/// Bytes of a frame's head.
pub const HEAD_BYTES: usize = 9;
/// Bytes of a payload, at most.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
/// Bytes of data that a sender puts in one frame, at most, so that streams take turns.
pub const CHUNK_BYTES: usize = 32 * 1024;
/// The stream of the connection itself: hello, ping and pong.
pub const CONNECTION_STREAM: u32 = 0;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Both ways, stream 0, once: [`message::Hello`] from the agent, [`message::Greeting`] from the controller.
    Hello = 0,
    /// To the agent: opens a stream with a [`message::Request`].
    Open = 1,
    /// To the controller: the connection that was asked for stands; no payload.
    Opened = 2,
    /// Both ways: bytes (standard input or output, a file's content, a socket's bytes).
    Data = 3,
    /// To the controller: bytes of standard error.
    DataError = 4,
    /// Both ways: the receiver has room for this many more bytes (u32, big-endian).
    Credit = 5,
    /// Both ways: the sender of this frame sends no more data on this stream; no payload.
    Eof = 6,
    /// To the agent: the stream is given up, and what runs for it is killed; no payload.
    Cancel = 7,
    /// To the controller: the last frame of a stream, a [`message::End`].
    End = 8,
    /// To the agent, stream 0: any payload of at most [`MAX_PING_BYTES`].
    Ping = 9,
    /// To the controller, stream 0: the ping's payload.
    Pong = 10,
}

/// Bytes of a ping's payload, at most.
pub const MAX_PING_BYTES: usize = 64;

impl Kind {
    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Hello,
            1 => Self::Open,
            2 => Self::Opened,
            3 => Self::Data,
            4 => Self::DataError,
            5 => Self::Credit,
            6 => Self::Eof,
            7 => Self::Cancel,
            8 => Self::End,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// The largest payload of this kind in bytes.
    #[must_use]
    pub fn max_payload_bytes(self) -> usize {
        match self {
            Self::Hello | Self::Open | Self::End | Self::Data | Self::DataError => {
                MAX_PAYLOAD_BYTES
            }
            Self::Credit => 4,
            Self::Ping | Self::Pong => MAX_PING_BYTES,
            Self::Opened | Self::Eof | Self::Cancel => 0,
        }
    }

    /// Whether it belongs to the connection and not to a stream of its own.
    #[must_use]
    pub fn is_connection(self) -> bool {
        matches!(self, Self::Hello | Self::Ping | Self::Pong)
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The stream that it belongs to; [`CONNECTION_STREAM`] for the connection itself.
    pub stream: u32,
    /// What it is for.
    pub kind: Kind,
    /// JSON, raw bytes or nothing, as the kind says.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame as bytes.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] if the payload is longer than its kind allows.
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.payload.len());
        encode(self.stream, self.kind, &self.payload, &mut out)?;
        Ok(out)
    }

    /// The number of bytes that a [`Kind::Credit`] frame grants.
    ///
    /// # Errors
    /// [`FrameError::BadCredit`] if the payload is not four bytes.
    pub fn credit(&self) -> Result<u32, FrameError> {
        let bytes: [u8; 4] =
            self.payload
                .as_slice()
                .try_into()
                .map_err(|_| FrameError::BadCredit {
                    length_bytes: self.payload.len(),
                })?;
        Ok(u32::from_be_bytes(bytes))
    }
}

/// Appends a frame to `out`.
///
/// # Errors
/// [`FrameError::TooLong`] if the payload is longer than its kind allows; nothing is appended then.
pub fn encode(
    stream: u32,
    kind: Kind,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let length = check_length(kind, payload.len())?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&stream.to_be_bytes());
    out.push(kind as u8);
    out.extend_from_slice(payload);
    Ok(())
}

fn check_length(kind: Kind, length_bytes: usize) -> Result<u32, FrameError> {
    let too_long = FrameError::TooLong {
        kind,
        length_bytes,
        limit_bytes: kind.max_payload_bytes(),
    };
    if length_bytes > kind.max_payload_bytes() {
        return Err(too_long);
    }
    u32::try_from(length_bytes).map_err(|_| too_long)
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A payload longer than its kind allows.
    #[error("a frame of kind {kind:?} with {length_bytes} bytes, more than {limit_bytes}")]
    TooLong {
        /// The frame's kind.
        kind: Kind,
        /// The payload's length as given in the head.
        length_bytes: usize,
        /// What would be allowed.
        limit_bytes: usize,
    },
    /// A kind that nobody knows.
    #[error("a frame of unknown kind {number}")]
    UnknownKind {
        /// The number in the head.
        number: u8,
    },
    /// A frame of the connection on a stream, or the other way round.
    #[error("a frame of kind {kind:?} on stream {stream}")]
    WrongStream {
        /// The frame's kind.
        kind: Kind,
        /// The stream in the head.
        stream: u32,
    },
    /// A credit frame whose payload is not a number.
    #[error("a credit frame with {length_bytes} bytes instead of 4")]
    BadCredit {
        /// The payload's length.
        length_bytes: usize,
    },
    /// No [`MAGIC`] within the bytes that a login may print.
    #[error("no agent answered within the first {limit_bytes} bytes")]
    NoMagic {
        /// How much was looked at.
        limit_bytes: usize,
    },
}

/// Takes bytes as they come and gives whole frames.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
    /// Bytes of the frames that were given.
    given_bytes: u64,
    error: Option<FrameError>,
    /// The head that the error is about.
    bad_head: Vec<u8>,
}

impl Decoder {
    /// A decoder at the beginning of a frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes. Call [`Decoder::next_frame`] until it gives none before adding more.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.error.is_some() {
            return;
        }
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; none if bytes are missing.
    ///
    /// # Errors
    /// Any [`FrameError`] of the head; every later call gives the same one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        self.try_next().inspect_err(|error| {
            self.error = Some(error.clone());
            self.bad_head = self.buffer[self.start..]
                .iter()
                .take(HEAD_BYTES)
                .copied()
                .collect();
            self.buffer = Vec::new();
            self.start = 0;
        })
    }

    /// Bytes that wait for the rest of their frame.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// The error with where it was found and the head that it is about, such as `a frame of unknown kind 236 (at
    /// byte 4220411, head 1f 00 9a 22 07 00 00 01 ec)`: enough to see from one side whether bytes were lost.
    #[must_use]
    pub fn explain(&self, error: &FrameError) -> String {
        let head: Vec<String> = self
            .bad_head
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let (at, head) = (self.given_bytes, head.join(" "));
        format!("{error} (at byte {at}, head {head})")
    }

    fn try_next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(head) = self.buffer[self.start..].first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let [l0, l1, l2, l3, s0, s1, s2, s3, number] = *head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        let stream = u32::from_be_bytes([s0, s1, s2, s3]);
        let kind = Kind::from_number(number).ok_or(FrameError::UnknownKind { number })?;
        check_length(kind, length)?;
        if kind.is_connection() != (stream == CONNECTION_STREAM) {
            return Err(FrameError::WrongStream { kind, stream });
        }
        let from = self.start + HEAD_BYTES;
        let Some(payload) = self.buffer.get(from..from + length) else {
            return Ok(None);
        };
        let payload = payload.to_vec();
        self.start = from + length;
        self.given_bytes += (HEAD_BYTES + length) as u64;
        Ok(Some(Frame {
            stream,
            kind,
            payload,
        }))
    }
}

/// Looks for [`MAGIC`] behind what a login shell may print.
#[derive(Debug)]
pub struct MagicFinder {
    seen: Vec<u8>,
    limit_bytes: usize,
}

impl MagicFinder {
    /// Looks at `limit_bytes` at most.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Self {
        Self {
            seen: Vec::new(),
            limit_bytes,
        }
    }

    /// Adds bytes; gives the bytes behind the magic once it was seen.
    ///
    /// # Errors
    /// [`FrameError::NoMagic`] once more than the limit went by without it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, FrameError> {
        let from = self.seen.len().saturating_sub(MAGIC.len() - 1);
        self.seen.extend_from_slice(bytes);
        let found = self.seen[from..]
            .windows(MAGIC.len())
            .position(|window| window == MAGIC);
        match found {
            Some(at) if from + at <= self.limit_bytes => {
                Ok(Some(self.seen.split_off(from + at + MAGIC.len())))
            }
            None if self.seen.len() <= self.limit_bytes => Ok(None),
            _ => Err(FrameError::NoMagic {
                limit_bytes: self.limit_bytes,
            }),
        }
    }

    /// What came before the magic so far, as text, for messages.
    #[must_use]
    pub fn noise(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }
}

#[cfg(test)]
mod tests;
