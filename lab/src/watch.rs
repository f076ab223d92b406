//! Watching logs and files on a node: the `log` and `file` triggers.
//!
//! Laws:
//! - nothing is missed from when [`Watches::watch`] returns;
//! - logs are followed across renaming, cutting and making anew, and may not be there yet;
//! - it ends with the time that was asked for, or by being dropped, which takes it away; if its connection is lost, it says so.

use async_trait::async_trait;
pub use harness_core::frame::watch::{WatchEnd, WatchHit, WatchRequest, WatchTarget};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::transport::TransportError;

/// Watching on a node. A transport that can do it gives this by [`crate::Transport::watches`].
#[async_trait]
pub trait Watches: Send + Sync {
    /// Begins to watch.
    ///
    /// # Errors
    /// [`TransportError::Refused`] with the mend where the node's kernel says no, or the request makes no sense; those of connecting.
    async fn watch(&self, request: WatchRequest) -> Result<Watching, TransportError>;
}

/// How watching ended without having seen what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("watching {node} ended ({detail})")]
pub struct WatchLost {
    /// The node's name.
    pub node: String,
    /// What was noticed.
    pub detail: String,
}

/// What watches. Dropping it takes it away.
#[derive(Debug)]
pub struct Watching {
    node: String,
    ended: oneshot::Receiver<Result<WatchHit, String>>,
}

impl Watching {
    /// What watches, and where its end goes; whoever drives it stops when that is closed.
    #[must_use]
    pub fn new(node: &str) -> (Self, oneshot::Sender<Result<WatchHit, String>>) {
        let (sender, ended) = oneshot::channel();
        let node = node.to_owned();
        (Self { node, ended }, sender)
    }

    /// Waits until the time that was asked for. Has no time-out of its own: it may never come.
    ///
    /// # Errors
    /// If the connection or the agent was lost, and the watch with it.
    pub async fn seen(self) -> Result<WatchHit, WatchLost> {
        let ended = self.ended.await;
        let ended = ended.unwrap_or_else(|_| Err("nobody drives it any more".to_owned()));
        ended.map_err(|detail| WatchLost {
            node: self.node,
            detail,
        })
    }
}
