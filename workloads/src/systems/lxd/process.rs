//! The daemon on a node: what [`crate::systems::supervised`] does, for LXD.

use std::path::PathBuf;

use async_trait::async_trait;
use harness_lab::{
    Node,
    capability::{CapabilityError, DataFolder, Kill, Pause, Program, Seen, Start, Stop, Wipe},
};

use super::{Lxd, PROCESS};
use crate::systems::scripts;

/// How long LXD may take to stop instances before it exits, in seconds. There are none unless somebody made them.
const INSTANCES_WAIT_S: u32 = 30;

impl Lxd {
    pub(super) fn arguments(&self) -> Vec<String> {
        let options = self.options();
        std::iter::once(options.lxd.clone())
            .chain(options.arguments.iter().cloned())
            .collect()
    }

    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let options = self.options();
        let state = options.state_folder.display().to_string();
        let own = std::iter::once(("LXD_DIR".to_owned(), state));
        let theirs = options.environment.iter();
        own.chain(theirs.map(|(name, value)| (name.clone(), value.clone())))
            .collect()
    }

    /// A shell command that runs one of LXD's programs.
    fn shell_command(&self, words: &[&str]) -> String {
        let set = self.environment();
        let set = set.iter().map(|(name, value)| format!("{name}={value}"));
        let words = words.iter().map(|word| (*word).to_owned());
        let all = std::iter::once("env".to_owned()).chain(set).chain(words);
        let quoted: Vec<String> = all.map(|word| scripts::quote(&word)).collect();
        quoted.join(" ")
    }

    /// Unmounts what LXD mounted in its state folder (`shmounts`, `devlxd`, `guestapi` outlive the daemon) and removes it.
    pub(super) fn release(&self) -> String {
        let state = scripts::quote(&self.options().state_folder.display().to_string());
        format!(
            r#"state={state}
cut -d' ' -f2 /proc/mounts | while read -r at; do case "$at" in "$state"/*) echo "$at" ;; esac; done | sort -r | while read -r at; do umount -l "$at"; done
rm -rf "$state"
{take_down}"#,
            take_down = super::obstacle::TAKE_DOWN
        )
    }

    /// Ends the daemon and removes its data, log and records.
    pub(super) async fn remove_everything(&self, node: &Node) -> Result<(), CapabilityError> {
        PROCESS.wipe(node, &self.release()).await
    }

    /// Removes the data of a daemon that does not run; log and records of how processes ended stay.
    pub(super) async fn remove_data(&self, node: &Node) -> Result<(), CapabilityError> {
        PROCESS.release(node, &self.release()).await
    }
}

#[async_trait]
impl Start for Lxd {
    async fn start(&self, node: &Node) -> Result<Seen, CapabilityError> {
        PROCESS
            .start(node, self.arguments(), self.environment())
            .await
    }

    fn start_script(&self, _node: &Node) -> String {
        scripts::start(
            PROCESS.base,
            PROCESS.log,
            &self.environment(),
            &self.arguments(),
            ":",
            PROCESS.stop_wait_s,
        )
    }

    async fn is_running(&self, node: &Node) -> Result<bool, CapabilityError> {
        Ok(PROCESS.running(node).await?.is_some())
    }
}

#[async_trait]
impl Stop for Lxd {
    /// `lxd shutdown`: instances are stopped, the role is handed over, the daemon exits.
    async fn stop(&self, node: &Node, at_ns: Option<i64>) -> Result<Seen, CapabilityError> {
        let wait_s = INSTANCES_WAIT_S.to_string();
        let lxd = self.options().lxd.as_str();
        let ask = self.shell_command(&[lxd, "shutdown", "--timeout", &wait_s]);
        // The command waits for the daemon; what counts is the process.
        let ask = format!("{ask} </dev/null >/dev/null 2>&1 &");
        PROCESS.stop(node, "lxd shutdown", &ask, at_ns).await
    }
}

#[async_trait]
impl Kill for Lxd {
    async fn kill(&self, node: &Node) -> Result<Seen, CapabilityError> {
        PROCESS.kill(node).await
    }
}

#[async_trait]
impl Pause for Lxd {
    async fn pause(&self, node: &Node) -> Result<Seen, CapabilityError> {
        PROCESS.pause(node).await
    }

    async fn resume(&self, node: &Node) -> Result<Seen, CapabilityError> {
        PROCESS.resume(node).await
    }

    fn resume_script(&self, _node: &Node) -> String {
        scripts::resume(PROCESS.base)
    }
}

#[async_trait]
impl Wipe for Lxd {
    /// The daemon is not started again: a fresh one would be a cluster of its own.
    async fn wipe(&self, node: &Node) -> Result<Seen, CapabilityError> {
        let seen = self.kill(node).await?;
        self.remove_data(node).await?;
        Ok(seen)
    }

    fn wipe_script(&self, _node: &Node) -> String {
        // What still runs keeps its data, and then the script has failed.
        format!(
            "said=$({kill})\ncase \"$said\" in alive*) echo \"$said\" >&2; exit 1 ;; esac\n{release}\n",
            kill = scripts::kill(PROCESS.base),
            release = self.release(),
        )
    }
}

#[async_trait]
impl Program for Lxd {
    fn program(&self) -> PathBuf {
        PathBuf::from(&self.options().lxd)
    }

    async fn newest_process(&self, node: &Node) -> Result<Option<u32>, CapabilityError> {
        PROCESS.newest(node).await
    }
}

impl DataFolder for Lxd {
    fn data_folder(&self, _node: &Node) -> PathBuf {
        self.options().state_folder.join("database")
    }

    fn files_folder(&self, _node: &Node) -> PathBuf {
        self.options().state_folder.clone()
    }
}
