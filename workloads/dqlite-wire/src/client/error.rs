//! How a call fails, told apart by whether the request can have had an effect.

use std::io;

use thiserror::Error;

use crate::outcome::{Classification, Outcome, Sent, classify, classify_lost};
use crate::wire::error::{DecodeError, EncodeError};

/// How a call fails.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No byte of the request was written: it had no effect and will have none.
    #[error("the request was not sent")]
    NotSent(#[source] NotSentCause),
    /// The server answered FAILURE. The connection can be used further.
    #[error("rejected with code {code}: {message}")]
    Rejected {
        /// The code, for [`crate::outcome::classify`].
        code: u64,
        /// The server's message.
        message: String,
    },
    /// At least one byte was written and no answer could be had: the outcome is unknown.
    #[error("the request was sent and its answer is lost")]
    Lost(#[source] LostCause),
}

/// Why a request was not sent.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NotSentCause {
    /// No connection could be made.
    #[error("cannot connect to {address}")]
    Connect {
        /// The address that was tried.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection was not made, or the handshake not written, in time.
    #[error("no connection within the deadline")]
    ConnectTimeout,
    /// The deadline was over before the first byte was written.
    #[error("the deadline was over before it was written")]
    DeadlineOver,
    /// The stream took no byte.
    #[error("the stream took no byte of it")]
    Io(#[source] io::Error),
    /// An earlier request broke the connection.
    #[error("the connection is poisoned: {why}")]
    Poisoned {
        /// What broke it.
        why: &'static str,
    },
    /// The request cannot be put on the wire.
    #[error("it cannot be encoded")]
    Encode(#[source] EncodeError),
    /// No database is open on this connection.
    #[error("no database is open on the connection")]
    NoDatabase,
    /// An earlier statement of the transaction failed: it can only be rolled back.
    #[error("an earlier statement of the transaction failed")]
    TransactionDoomed,
}

/// Why the answer to a request is lost.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LostCause {
    /// The deadline came before the answer.
    #[error("no answer within the deadline")]
    Timeout,
    /// The stream failed.
    #[error("the stream failed")]
    Io(#[source] io::Error),
    /// The peer closed the stream.
    #[error("the peer closed the stream")]
    Closed,
    /// The answer is not a message of the protocol.
    #[error("the answer cannot be decoded")]
    Decode(#[source] DecodeError),
    /// The answer is a message that does not answer this request.
    #[error("a {got} came where a {wanted} was due")]
    Unexpected {
        /// What was due.
        wanted: &'static str,
        /// What came.
        got: &'static str,
    },
    /// The rows are more than the connection's limits allow.
    #[error("the result is over the limit of {limit} {unit}")]
    ResultTooLarge {
        /// The limit.
        limit: u64,
        /// Its unit: `rows` or `bytes`.
        unit: &'static str,
    },
}

impl ClientError {
    /// What this error proves about what was sent, and why.
    pub fn classify(&self, sent: Sent) -> Classification {
        match self {
            Self::NotSent(_) => Classification {
                outcome: Outcome::Failed,
                why: "no byte of it was written",
                rule: None,
            },
            Self::Rejected { code, message } => classify(sent, *code, message),
            Self::Lost(_) => classify_lost(sent),
        }
    }

    /// What this error proves about what was sent.
    pub fn outcome(&self, sent: Sent) -> Outcome {
        self.classify(sent).outcome
    }

    /// The server's code, if it answered.
    pub fn code(&self) -> Option<u64> {
        match self {
            Self::Rejected { code, .. } => Some(*code),
            Self::NotSent(_) | Self::Lost(_) => None,
        }
    }
}
