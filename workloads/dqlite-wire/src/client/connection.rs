//! One stream, one request at a time: sending, receiving, and poisoning.
//!
//! Laws: a connection is poisoned from the first byte of a request until its last answer is read, so
//! that a call whose future is dropped leaves it poisoned; only an answer that was read to its end
//! makes it usable again.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout_at;

use super::deadline::Deadline;
use super::error::{ClientError, LostCause, NotSentCause};
use crate::wire::frame::{DEFAULT_MAX_MESSAGE_BYTES, FrameDecoder};
use crate::wire::header::Version;
use crate::wire::request::Request;
use crate::wire::response::{Dialect, Response};
use crate::wire::role::ClusterFormat;

/// Most rows that a query collects unless told otherwise.
pub const DEFAULT_MAX_ROWS: usize = 1_000_000;

/// Bytes that one read asks the stream for.
const READ_BYTES: usize = 16 * 1024;

/// What a connection refuses to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message, in bytes with its header; DUMP answers with the whole database in one.
    pub max_message_bytes: u64,
    /// Most rows that a query collects.
    pub max_rows: usize,
    /// Most bytes of messages that a query collects.
    pub max_result_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            max_rows: DEFAULT_MAX_ROWS,
            max_result_bytes: DEFAULT_MAX_MESSAGE_BYTES,
        }
    }
}

/// A connection to one node, over any stream. Its calls are in the other modules of this one.
#[derive(Debug)]
pub struct Connection<S> {
    stream: S,
    decoder: FrameDecoder,
    limits: Limits,
    poison: Option<&'static str>,
    pub(super) database: Option<u32>,
}

impl<S> Connection<S> {
    /// Whether an earlier call broke the connection.
    pub fn is_poisoned(&self) -> bool {
        self.poison.is_some()
    }

    /// Makes every later call fail without sending anything. The server keeps what the connection
    /// had open (a transaction, say) until the connection is dropped.
    pub fn poison(&mut self, why: &'static str) {
        self.poison.get_or_insert(why);
    }

    /// What this connection refuses to hold.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    fn lost<T>(&mut self, why: &'static str, cause: LostCause) -> Result<T, ClientError> {
        self.poison = Some(why);
        Err(ClientError::Lost(cause))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Announces the protocol version on a new stream. The server answers nothing to it: whether it
    /// accepts shows with the first request.
    pub async fn handshake(stream: S, deadline: impl Into<Deadline>) -> Result<Self, ClientError> {
        Self::handshake_with(stream, Limits::default(), deadline).await
    }

    /// Like [`Connection::handshake`], with limits.
    pub async fn handshake_with(
        mut stream: S,
        limits: Limits,
        deadline: impl Into<Deadline>,
    ) -> Result<Self, ClientError> {
        let bytes = Version::One.encode();
        let write = async {
            stream.write_all(&bytes).await?;
            stream.flush().await
        };
        match timeout_at(deadline.into().instant(), write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(ClientError::NotSent(NotSentCause::Io(error))),
            Err(_) => return Err(ClientError::NotSent(NotSentCause::ConnectTimeout)),
        }
        let decoder = FrameDecoder::with_limit(limits.max_message_bytes);
        Ok(Self {
            stream,
            decoder,
            limits,
            poison: None,
            database: None,
        })
    }

    /// Sends a request and gives its answer, which is never [`Response::Failure`]. For the requests
    /// that have no method of their own; of a query it gives the first part only, and poisons the
    /// connection if more follow.
    pub async fn request(
        &mut self,
        request: &Request,
        deadline: impl Into<Deadline>,
    ) -> Result<Response, ClientError> {
        let deadline = deadline.into();
        self.send(request, deadline).await?;
        let (response, _) = self.receive(dialect(request), deadline).await?;
        match &response {
            Response::Rows(part) if part.more => {}
            _ => self.settle(),
        }
        Ok(response)
    }

    /// Sends a request and takes the answer apart; an answer that `take` does not want poisons.
    pub(super) async fn call<T>(
        &mut self,
        request: &Request,
        wanted: &'static str,
        deadline: Deadline,
        take: impl FnOnce(Response) -> Result<T, Response>,
    ) -> Result<T, ClientError> {
        self.send(request, deadline).await?;
        let (response, _) = self.receive(dialect(request), deadline).await?;
        match take(response) {
            Ok(taken) => {
                self.settle();
                Ok(taken)
            }
            Err(other) => self.unexpected(wanted, &other),
        }
    }

    pub(super) fn unexpected<T>(
        &mut self,
        wanted: &'static str,
        got: &Response,
    ) -> Result<T, ClientError> {
        let cause = LostCause::Unexpected {
            wanted,
            got: got.name(),
        };
        self.lost("an answer did not fit its request", cause)
    }

    pub(super) fn too_large<T>(
        &mut self,
        limit: u64,
        unit: &'static str,
    ) -> Result<T, ClientError> {
        self.lost(
            "a result was over the limit",
            LostCause::ResultTooLarge { limit, unit },
        )
    }

    /// The last answer to the request was read: the connection can be used again.
    pub(super) fn settle(&mut self) {
        self.poison = None;
    }

    /// Writes a request. From its first byte on, the connection is poisoned until [`Self::settle`].
    pub(super) async fn send(
        &mut self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<(), ClientError> {
        let not_sent = |cause| Err(ClientError::NotSent(cause));
        if let Some(why) = self.poison {
            return not_sent(NotSentCause::Poisoned { why });
        }
        if self.decoder.buffered_bytes() > 0 {
            let why = "bytes came that no request asked for";
            self.poison = Some(why);
            return not_sent(NotSentCause::Poisoned { why });
        }
        let bytes = match request.encode() {
            Ok(bytes) => bytes,
            Err(error) => return not_sent(NotSentCause::Encode(error)),
        };
        if deadline.is_over() {
            return not_sent(NotSentCause::DeadlineOver);
        }
        self.poison = Some("a call was abandoned before its answer came");
        let mut written = 0;
        let stream = &mut self.stream;
        let write = async {
            while written < bytes.len() {
                match stream.write(&bytes[written..]).await? {
                    0 => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                    count => written += count,
                }
            }
            stream.flush().await
        };
        let done = timeout_at(deadline.instant(), write).await;
        match (done, written) {
            (Ok(Ok(())), _) => Ok(()),
            (Ok(Err(error)), 0) => {
                self.poison = Some("the stream failed");
                not_sent(NotSentCause::Io(error))
            }
            (Err(_), 0) => {
                self.poison = Some("the stream took no more bytes");
                not_sent(NotSentCause::DeadlineOver)
            }
            (Ok(Err(error)), _) => self.lost("the stream failed", LostCause::Io(error)),
            (Err(_), _) => self.lost("a request timed out", LostCause::Timeout),
        }
    }

    /// Reads the next answer, and the bytes it took. FAILURE becomes [`ClientError::Rejected`] and
    /// ends the request.
    pub(super) async fn receive(
        &mut self,
        dialect: Dialect,
        deadline: Deadline,
    ) -> Result<(Response, u64), ClientError> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => match frame.response(dialect) {
                    Ok(Response::Failure { code, message }) => {
                        self.settle();
                        return Err(ClientError::Rejected { code, message });
                    }
                    Ok(response) => return Ok((response, frame.header.body_bytes())),
                    Err(error) => {
                        return self.lost("an answer was unreadable", LostCause::Decode(error));
                    }
                },
                Ok(None) => {}
                Err(error) => {
                    return self.lost("an answer was unreadable", LostCause::Decode(error));
                }
            }
            let mut chunk = [0; READ_BYTES];
            match timeout_at(deadline.instant(), self.stream.read(&mut chunk)).await {
                Ok(Ok(0)) => return self.lost("the peer closed the stream", LostCause::Closed),
                Ok(Ok(count)) => self.decoder.push(&chunk[..count]),
                Ok(Err(error)) => return self.lost("the stream failed", LostCause::Io(error)),
                Err(_) => return self.lost("a request timed out", LostCause::Timeout),
            }
        }
    }
}

/// How the answer to a request is read.
pub(super) fn dialect(request: &Request) -> Dialect {
    let cluster = match request {
        Request::Cluster { format } => *format,
        _ => ClusterFormat::default(),
    };
    Dialect {
        version: Version::One,
        cluster,
    }
}
