//! The process of `dqlite-demo` on a node: what [`super::super::supervised`] does, for this program.

use std::path::PathBuf;

use async_trait::async_trait;
use harness_lab::{
    Node,
    capability::{CapabilityError, DataFolder, Kill, Pause, Program, Seen, Start, Stop, Wipe},
};

use super::{Dqlite, origin::Origin, paths};
use crate::systems::{scripts, supervised};

impl Dqlite {
    /// Starts a node that is to come into its cluster this way.
    pub(super) async fn start_as(
        &self,
        node: &Node,
        origin: &Origin,
    ) -> Result<Seen, CapabilityError> {
        let text = format!("{}\n", origin.encode());
        node.transport
            .write_file(&paths::origin_file(), 0o644, text.as_bytes())
            .await?;
        self.start(node).await
    }

    /// Ends the process at once and removes its data.
    pub(super) async fn end_and_clear(&self, node: &Node) -> Result<Seen, CapabilityError> {
        paths::PROCESS
            .end(node, "SIGKILL", paths::clear_script(), scripts::KILL_WAIT_S)
            .await
    }

    /// Stops it within `wait_s` seconds, and lets nothing start it again.
    pub(super) async fn retire(&self, node: &Node, wait_s: u32) -> Result<Seen, CapabilityError> {
        paths::PROCESS
            .end(node, "SIGTERM", paths::retire_script(wait_s), wait_s)
            .await
    }
}

#[async_trait]
impl Start for Dqlite {
    async fn start(&self, node: &Node) -> Result<Seen, CapabilityError> {
        if let Some(running) = paths::PROCESS.prepare_start(node).await? {
            return Ok(running);
        }
        // Only now: a stop that was waited for may have been for good.
        let origin = supervised::read_if_there(node, &paths::origin_file()).await?;
        let Some(origin) = origin.as_deref().and_then(Origin::decode) else {
            return Ok(Seen {
                pid: None,
                detail: "it stands by: it is in no cluster, so there is nothing to start"
                    .to_owned(),
            });
        };
        let mut argv = self.arguments(node);
        argv.extend(origin.arguments());
        paths::PROCESS.launch(node, argv, self.environment()).await
    }

    fn start_script(&self, node: &Node) -> String {
        let at = paths::PROCESS;
        let argv = self.arguments(node);
        scripts::start(
            at.base,
            at.log,
            &self.environment(),
            &argv,
            &paths::choose_origin(),
            at.stop_wait_s,
        )
    }

    async fn is_running(&self, node: &Node) -> Result<bool, CapabilityError> {
        Ok(paths::PROCESS.running(node).await?.is_some())
    }
}

#[async_trait]
impl Stop for Dqlite {
    async fn stop(&self, node: &Node, at_ns: Option<i64>) -> Result<Seen, CapabilityError> {
        paths::PROCESS
            .stop(node, "SIGTERM", paths::TERM, at_ns)
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

#[async_trait]
impl Wipe for Dqlite {
    async fn wipe(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.end_and_clear(node).await
    }

    fn wipe_script(&self, _node: &Node) -> String {
        // What still runs keeps its data, and then the script has failed.
        format!(
            "said=$(\n{}\n)\ncase \"$said\" in *alive*) echo \"$said\" >&2; exit 1 ;; esac\n",
            paths::clear_script()
        )
    }
}

#[async_trait]
impl Program for Dqlite {
    fn program(&self) -> PathBuf {
        paths::PROGRAM.into()
    }

    async fn newest_process(&self, node: &Node) -> Result<Option<u32>, CapabilityError> {
        paths::PROCESS.newest(node).await
    }
}

impl DataFolder for Dqlite {
    fn data_folder(&self, _node: &Node) -> PathBuf {
        paths::data_root()
    }

    fn files_folder(&self, node: &Node) -> PathBuf {
        paths::data_folder(node)
    }
}
