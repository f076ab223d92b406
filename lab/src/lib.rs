//! The lab: the set of nodes, how they were obtained, and the one way to reach them.
//!
//! Everything that touches a node goes through [`Transport`], and the one transport that
//! product runs use is SSH to `harness-agent` on the node. Providers differ only in how
//! a node comes to exist; once it exists, a container that we made and a machine that
//! somebody lent us are the same thing: a [`Node`].
//!
//! Laws:
//! - a node without our marker file is never changed;
//! - what a node sends is input: it is bounded, and it can be wrong;
//! - a call ends: each has a deadline, and what it started on the node ends with it.

pub mod capability;
pub mod node;
pub mod transport;

pub use capability::{Kill, Leader, LogFiles, Pause, Start, Stop};
pub use node::{Node, NodeName};
pub use transport::{
    Address, ClockOffset, Daemon, Exec, ExitStatus, NodeStream, Output, Transport, TransportError,
};
