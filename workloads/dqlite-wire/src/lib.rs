//! The wire protocol of [dqlite](https://canonical.com/dqlite) and its files: codecs without I/O, and a client.
//!
//! - [`wire`] turns bytes into messages and messages into bytes, both ways, so that a client, a proxy
//!   or a fake server can be built on it. It does no I/O and reads no clock; hostile bytes give errors
//!   that say what was wrong at which byte.
//! - [`outcome`] says what an error answer proves: that a write cannot take effect any more, or
//!   nothing. Each row of its table has its reason.
//! - [`raft`] reads what a node keeps on disk, live or stopped: term, vote, log, configurations, and
//!   what is wrong with them. It does no I/O either, and only reads.
//! - `client` (feature `client`, needs tokio) talks to nodes over any stream: one request at a time,
//!   each with a deadline, and errors that say whether the request can have had an effect.
//!
//! On the wire and on disk the roles have different numbers: see [`Role`].
//!
//! # The codec
//!
//! ```
//! use dqlite_wire::{Dialect, FrameDecoder, Request, Response, Value, Version};
//!
//! // A client encodes a request; a server cuts it out of its stream and decodes it.
//! let sql = "INSERT INTO t VALUES (?)".to_owned();
//! let request = Request::ExecSql { db: 0, sql, params: vec![Value::Integer(7)] };
//! let mut server = FrameDecoder::new();
//! server.push(&request.encode()?);
//! let frame = server.next_frame()?.expect("the message is whole");
//! assert_eq!(frame.request()?, request);
//!
//! // And the answer back. How an answer is read can depend on what was asked.
//! let response = Response::Result { last_insert_id: 1, rows_affected: 1 };
//! let mut client = FrameDecoder::new();
//! client.push(&response.encode(Version::One)?);
//! let frame = client.next_frame()?.expect("the message is whole");
//! assert_eq!(frame.response(Dialect::default())?, response);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The client
//!
//! Against a server in the same process, so that it runs offline; in earnest the stream comes from
//! `client::connect_leader`.
#![cfg_attr(feature = "client", doc = "```")]
#![cfg_attr(not(feature = "client"), doc = "```ignore")]
//! use std::time::Duration;
//!
//! use dqlite_wire::client::Connection;
//! use dqlite_wire::outcome::{Outcome, Sent};
//! use dqlite_wire::{FrameDecoder, Request, Response, Version};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
//!
//! /// Opens every database, and leads none.
//! async fn follower(mut stream: DuplexStream) {
//!     let (mut decoder, mut chunk, mut greeted) = (FrameDecoder::new(), [0; 512], false);
//!     while let Ok(count @ 1..) = stream.read(&mut chunk).await {
//!         decoder.push(&chunk[..count]);
//!         greeted = greeted || decoder.next_handshake().is_some();
//!         while let Ok(Some(frame)) = decoder.next_frame() {
//!             let answer = match frame.request().unwrap() {
//!                 Request::Open { .. } => Response::Db { id: 0 },
//!                 _ => Response::Failure { code: 10_250, message: "not leader".to_owned() },
//!             };
//!             stream.write_all(&answer.encode(Version::One).unwrap()).await.unwrap();
//!         }
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! let (ours, theirs) = tokio::io::duplex(4096);
//! tokio::spawn(follower(theirs));
//!
//! let deadline = Duration::from_secs(1);
//! let mut node = Connection::handshake(ours, deadline).await?;
//! node.open("demo", deadline).await?;
//! let error = node.exec_sql("DELETE FROM t", &[], deadline).await.unwrap_err();
//! assert_eq!(error.to_string(), "rejected with code 10250: not leader");
//! // It never ran: that is proof, not a guess.
//! assert_eq!(error.outcome(Sent::Write), Outcome::Failed);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

#[cfg(feature = "client")]
pub mod client;
pub mod outcome;
pub mod raft;
pub mod wire;

pub use wire::error::{DecodeError, EncodeError, Fault};
pub use wire::frame::{DEFAULT_MAX_MESSAGE_BYTES, Frame, FrameDecoder};
pub use wire::header::{Header, Version};
pub use wire::request::Request;
pub use wire::response::{Dialect, DumpedFile, Response, RowsPart, Server};
pub use wire::role::{ClusterFormat, Role};
pub use wire::value::Value;
