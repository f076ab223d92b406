//! The process of `dqlite-demo` on a node: what [`super::super::supervised`] does, for this program.

use async_trait::async_trait;
use harness_lab::{
    Node,
    capability::{CapabilityError, Kill, Pause, Seen, Start, Stop},
};

use super::{Dqlite, paths};
use crate::systems::scripts;

#[async_trait]
impl Start for Dqlite {
    async fn start(&self, node: &Node) -> Result<Seen, CapabilityError> {
        paths::PROCESS
            .start(node, self.arguments(node), self.environment())
            .await
    }

    fn start_script(&self, node: &Node) -> String {
        let at = paths::PROCESS;
        let argv = self.arguments(node);
        scripts::start(at.base, at.log, &self.environment(), &argv, at.stop_wait_s)
    }

    async fn is_running(&self, node: &Node) -> Result<bool, CapabilityError> {
        Ok(paths::PROCESS.running(node).await?.is_some())
    }
}

#[async_trait]
impl Stop for Dqlite {
    async fn stop(&self, node: &Node) -> Result<Seen, CapabilityError> {
        paths::PROCESS
            .stop(node, "SIGTERM", "kill -TERM \"$pid\"")
            .await
    }
}

#[async_trait]
impl Kill for Dqlite {
    async fn kill(&self, node: &Node) -> Result<Seen, CapabilityError> {
        paths::PROCESS.kill(node).await
    }
}

#[async_trait]
impl Pause for Dqlite {
    async fn pause(&self, node: &Node) -> Result<Seen, CapabilityError> {
        paths::PROCESS.pause(node).await
    }

    async fn resume(&self, node: &Node) -> Result<Seen, CapabilityError> {
        paths::PROCESS.resume(node).await
    }

    fn resume_script(&self, _node: &Node) -> String {
        scripts::resume(paths::BASE)
    }
}
