//! Keeping a cluster of LXD and putting it back.
//!
//! Seen on bookworm's 5.0.2, four members and a stand-by, two busy processors: copying takes 0.1 s a node, putting the data back 0.1 to 0.3 s; then
//! the members need 5 to 6 s until `lxd waitready` ends, as raft first waits out an election. A stand-by needs 0.9 s.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use harness_lab::{
    Node,
    capability::{CapabilityError, Kill},
};

use super::{Lxd, PROCESS, form::FORM_TIMEOUT};
use crate::systems::{
    SystemError,
    fresh::{self, Fresh},
};

/// The name under which copies are kept.
const NAME: &str = "lxd";
/// How often it is looked whether the members are ready.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// How long one step of handing over the lead may take.
const LEAD_TIMEOUT: Duration = Duration::from_secs(5);

impl Lxd {
    fn state_folder(&self) -> String {
        self.options().state_folder.display().to_string()
    }
}

#[async_trait]
impl Fresh for Lxd {
    async fn keep(&self, node: &Node, stamp: &str) -> Result<(), CapabilityError> {
        self.kill(node).await?;
        fresh::keep(node, NAME, &self.state_folder(), stamp).await
    }

    async fn kept(&self, node: &Node) -> Result<Option<String>, CapabilityError> {
        fresh::kept(node, NAME).await
    }

    async fn put_back(&self, node: &Node) -> Result<(), CapabilityError> {
        self.kill(node).await?;
        let put_back = fresh::put_back_command(NAME, &self.state_folder());
        PROCESS
            .release(node, &format!("{}\n{put_back}", self.release()))
            .await?;
        self.start_and_wait(node).await.map(drop)
    }

    async fn ready(&self, members: &[Node]) -> Result<(), SystemError> {
        let until = Instant::now() + FORM_TIMEOUT;
        let mut last = String::from("nobody was asked");
        while Instant::now() < until {
            match self.settled(members).await {
                Ok(None) => return Ok(()),
                Ok(Some(seen)) => last = seen,
                Err(error) => last = error,
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(SystemError::NotFormed {
            waited: FORM_TIMEOUT,
            detail: last,
        })
    }

    async fn lead(&self, members: &[Node], wanted: &Node) {
        let Some(first) = members.first() else { return };
        let Ok(mut leader) = self.leading_dqlite(first, members, LEAD_TIMEOUT).await else {
            return;
        };
        let address = self.address(wanted);
        let Ok(servers) = leader.connection.cluster(LEAD_TIMEOUT).await else {
            return;
        };
        if let Some(server) = servers.iter().find(|server| server.address == address) {
            // Whoever leads in the end is asked for afterwards.
            let _ = leader.connection.transfer(server.id, LEAD_TIMEOUT).await;
        }
    }
}
