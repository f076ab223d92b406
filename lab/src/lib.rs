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

pub mod access;
pub mod agent;
pub mod capability;
pub mod conformance;
pub mod doctor;
mod host;
pub mod image;
pub mod inventory;
mod keys;
pub mod lab;
pub mod marker;
pub mod node;
pub mod probe;
pub mod provider;
pub mod ssh;
pub mod state;
pub mod subnet;
pub mod transport;
pub mod watch;

pub use capability::{Kill, Leader, LogFiles, Pause, Start, Stop};
pub use host::HostError;
pub use lab::{Lab, LabStatus, UpOptions};
pub use node::{Node, NodeName};
pub use ssh::{SshTarget, SshTransport, agent_image, agent_image_sha256};
pub use transport::{
    Address, ClockOffset, Daemon, Exec, ExitStatus, NodeStream, Output, Transport, TransportError,
};
