//! What the agent on a node does itself for faults, beside running commands: guarding, signalling at an instant, booting anew.
//!
//! The requests are core's ([`harness_core::frame::guard`], [`harness_core::frame::signal`]), with their laws.

use std::time::Duration;

use async_trait::async_trait;
use harness_core::frame::{
    guard::{GuardEnd, GuardRequest},
    signal::{SignalEnd, SignalRequest},
};

use crate::transport::TransportError;

/// How long telling the guard may take: it does not answer while it runs scripts.
pub const GUARD_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a node may take to go down once it was told to boot anew.
pub const REBOOT_TIMEOUT: Duration = Duration::from_secs(60);

/// An agent that can be asked for more than commands.
#[async_trait]
pub trait Agent: Send + Sync {
    /// Hands over what undoes the faults on this node, and renews the lease.
    async fn guard(&self, request: &GuardRequest) -> Result<GuardEnd, TransportError>;

    /// Signals a process, at once or at an instant. [`TransportError::Refused`] with `ESRCH` if there is no such process.
    async fn signal(&self, request: &SignalRequest) -> Result<SignalEnd, TransportError>;

    /// Tells the node to boot anew, and returns once the connection to it is lost and its sessions are dropped. That it
    /// comes back is the caller's to see.
    async fn reboot(&self) -> Result<(), TransportError>;
}
