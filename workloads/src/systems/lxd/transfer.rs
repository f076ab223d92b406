//! Making another member lead: dqlite's own request, sent to the leader as members reach each other.
//!
//! LXD has no command for it; it hands leadership over by this request itself when a leader is shut down.

use std::time::Duration;

use async_trait::async_trait;
use dqlite_wire::client::Deadline;
use harness_lab::{
    Node,
    capability::{CapabilityError, Seen, Transfer},
};
use tokio::time::{Instant, sleep};

use super::Lxd;

/// How long finding the leader may take.
const FIND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the hand-over may take: raft itself gives up after an election time-out.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the new leader may take to be called that by most members.
const SEEN_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

#[async_trait]
impl Transfer for Lxd {
    async fn transfer(&self, nodes: &[Node], to: &Node) -> Result<Seen, CapabilityError> {
        let address = self.address(to);
        let failed = |detail: String| CapabilityError::Failed {
            what: "hand leadership over".to_owned(),
            node: to.name.to_string(),
            detail,
        };
        let mut leader = self
            .leading_dqlite(to, nodes, FIND_TIMEOUT)
            .await
            .map_err(|error| failed(error.to_string()))?;
        let servers = leader.connection.cluster(FIND_TIMEOUT).await;
        let servers = servers.map_err(|error| failed(error.to_string()))?;
        let target = servers
            .iter()
            .find(|server| server.address == address)
            .ok_or_else(|| failed(format!("the leader lists no member at {address}")))?;
        if target.role != Some(dqlite_wire::Role::Voter) {
            return Err(failed(format!(
                "{} has no vote, so it cannot lead",
                to.name
            )));
        }
        leader
            .connection
            .transfer(target.id, Deadline::after(TRANSFER_TIMEOUT))
            .await
            .map_err(|error| failed(error.to_string()))?;
        let until = Instant::now() + SEEN_TIMEOUT;
        while Instant::now() < until {
            if self.leader_address(nodes).await.as_ref() == Some(&address) {
                let detail = format!("{} leads ({address})", to.name);
                return Ok(Seen { pid: None, detail });
            }
            sleep(LOOK_PAUSE).await;
        }
        Err(CapabilityError::NotSeen {
            what: format!("most members to call {address} the leader"),
            node: to.name.to_string(),
            waited_ms: u64::try_from(SEEN_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        })
    }
}
