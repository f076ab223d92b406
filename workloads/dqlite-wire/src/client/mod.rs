//! An asynchronous client over any stream of bytes, with an answer to "did it take effect?".
//!
//! Laws:
//!
//! 1. One request is in flight on a connection; every call has a [`Deadline`] and returns by it.
//! 2. After a time-out, an I/O error, an answer that cannot be read, or a call whose future was
//!    dropped, the connection is *poisoned*: every later call is [`ClientError::NotSent`]. Its stream
//!    is in an unknown place, and an answer that is late would be taken for that of the next request.
//! 3. An error says whether the request can have had an effect: [`ClientError::NotSent`] (no byte of
//!    it left), [`ClientError::Rejected`] (the server said so; [`crate::outcome`] says what it proves),
//!    [`ClientError::Lost`] (a byte of it was written, and no answer came).
//! 4. Nothing is retried. A caller that retries knows what it may repeat.
//!
//! | module | subject |
//! | --- | --- |
//! | [`connection`] | sending, receiving, poisoning |
//! | `calls` | one method a request |
//! | [`transaction`] | BEGIN, COMMIT, ROLLBACK, and the failure of each |
//! | [`discover`] | connecting, and finding the leader |
//! | [`deadline`], [`error`] | when it must be done, how it can fail |

mod calls;
pub mod connection;
pub mod deadline;
pub mod discover;
pub mod error;
pub mod transaction;

pub use calls::{ExecResult, Metadata, NodeAddress, ResultSet, Statement};
pub use connection::{Connection, Limits};
pub use deadline::Deadline;
pub use discover::{
    Attempt, Connector, DiscoverError, DiscoverOptions, LeaderConnection, Missed, TcpConnector,
    connect, connect_leader,
};
pub use error::{ClientError, LostCause, NotSentCause};
pub use transaction::{BeginMode, Phase, Step, StepResult, Transaction, TransactionError};
