//! The wire protocol: bytes in, messages out, and back. No I/O, no clock.
//!
//! Laws: decoding what was encoded gives the same message; no input makes it panic or allocate more
//! than a small multiple of the input; every decode error says what was wrong at which byte.
//!
//! | module | subject |
//! | --- | --- |
//! | [`header`] | handshake and header |
//! | [`frame`] | cutting a stream of bytes into messages |
//! | [`request`], [`response`] | the messages |
//! | [`value`] | values and tuples |
//! | [`error`] | what can be wrong |
//!
//! Source: canonical.com/dqlite/docs/reference/wire-protocol; where it is silent, the behaviour of
//! dqlite 1.11.1 and what 1.18 added (schemas 1).

mod bytes;
pub mod error;
pub mod frame;
pub mod header;
pub mod request;
pub mod response;
pub mod role;
pub mod value;
