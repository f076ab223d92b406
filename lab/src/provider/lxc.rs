//! Nodes as containers: `lxc-start` without a daemon, an overlay on the image, sshd as process 1.
//!
//! ```text
//! STATE/nodes/harness0-n1/config         written anew at every start
//! STATE/nodes/harness0-n1/delta          upper layer: what makes this node this node, and all that it writes
//! STATE/nodes/harness0-n1/prepared       written last: without it, the folder is made again
//! STATE/nodes/harness0-n1/{lxc,console}.log
//! ```
//!
//! Laws:
//! - only containers of our own folder are touched, found by folder, not by name;
//! - host key, authorized key and marker are in the delta before the container starts: there is
//!   no moment in which a node runs and is not known;
//! - what is not in the record does not survive `down`: it removes whatever the folder holds.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::{
    LabError, LabProgress, LabRecord, LabSpec, LxcSpec, NodeRecord, NodeState, NodeStatus,
    ProgressFn, Provider, ProviderKind, blocking, bridge,
    container::{Container, ssh_banner},
    identity::{self, Identity, SSH_FOLDER, SSH_PORT},
    lxc_config::Config,
};
use crate::{
    access::KnownBy,
    image::{self, ImageStore},
    keys::{self, KeyPair},
    node::NodeName,
    state::{self, State, StateError},
};

/// How long a started node may take until its SSH server answers.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Name of the file that says that a node's folder is complete.
const PREPARED: &str = "prepared";

/// The provider of containers.
#[derive(Clone, Debug)]
pub struct LxcProvider {
    state: State,
}

/// The process that is process 1 of a node, as the controller sees it; none if the node does not run.
///
/// # Errors
/// If LXC could not be asked.
pub fn init_pid(state: &State, lab: &LabRecord, node: &NodeName) -> Result<Option<u32>, LabError> {
    let LabSpec::Lxc(spec) = &lab.spec else {
        return Ok(None);
    };
    Container::new(state, spec, node).init_pid()
}

impl LxcProvider {
    /// The provider whose containers are in this state folder.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { state }
    }

    /// Starts those that do not run, all at once; each ends with its host key known and its SSH server answering.
    async fn start_all(
        &self,
        spec: &LxcSpec,
        lab: &mut LabRecord,
        progress: &ProgressFn,
    ) -> Result<(), LabError> {
        let image = ImageStore::new(&self.state)
            .find(&spec.image)?
            .ok_or_else(|| image::ImageError::NotFound {
                name: spec.image.name(),
            })?;
        let authorized = {
            let state = self.state.clone();
            blocking(move || keys::ensure(&state)).await?
        };
        let plan = std::sync::Arc::new(Plan {
            state: self.state.clone(),
            spec: spec.clone(),
            lab: lab.id.clone(),
            rootfs: image.rootfs,
            authorized,
            hosts: identity::hosts_file(&lab.nodes),
        });
        let mut starting = JoinSet::new();
        for node in lab.nodes.clone() {
            let (plan, progress) = (plan.clone(), progress.clone());
            starting.spawn_blocking(move || {
                plan.start(&node, &progress).map(|key| (node.ordinal, key))
            });
        }
        let mut failed = None;
        while let Some(ended) = starting.join_next().await {
            match ended
                .map_err(|error| LabError::Panicked(error.to_string()))
                .and_then(|ended| ended)
            {
                Ok((ordinal, key)) => lab.nodes[ordinal].access.known_by = KnownBy::HostKey(key),
                Err(error) => failed = Some(failed.unwrap_or(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Provider for LxcProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Lxc
    }

    async fn up(&self, lab: &mut LabRecord, progress: &ProgressFn) -> Result<(), LabError> {
        let LabSpec::Lxc(spec) = lab.spec.clone() else {
            return Err(wrong_provider());
        };
        let (root, id) = (self.state.root().to_owned(), lab.id.clone());
        let bridged = spec.clone();
        blocking(move || bridge::up(&bridged, &root, &id)).await?;
        self.start_all(&spec, lab, progress).await?;
        identity::write_for_people(&self.state, &lab.nodes)?;
        Ok(())
    }

    async fn down(&self, lab: &LabRecord) -> Result<Vec<String>, LabError> {
        let LabSpec::Lxc(spec) = lab.spec.clone() else {
            return Err(wrong_provider());
        };
        self.sweep(Some(spec)).await
    }

    async fn status(&self, lab: &LabRecord) -> Result<Vec<NodeStatus>, LabError> {
        let LabSpec::Lxc(spec) = lab.spec.clone() else {
            return Err(wrong_provider());
        };
        let (state, nodes) = (self.state.clone(), lab.nodes.clone());
        blocking(move || {
            nodes
                .iter()
                .map(|node| status_of(&state, &spec, node))
                .collect()
        })
        .await
    }
}

impl LxcProvider {
    /// Removes every container of the state folder, and its bridge and route, whether recorded or not.
    ///
    /// # Errors
    /// If something of it does not go away.
    pub async fn sweep(&self, spec: Option<LxcSpec>) -> Result<Vec<String>, LabError> {
        let mut ending = JoinSet::new();
        for name in container_names(&self.state) {
            let container = Container::named(&self.state, &name);
            ending.spawn_blocking(move || container.end().map(|()| format!("container {name}")));
        }
        let mut removed = Vec::new();
        let mut failed = None;
        while let Some(ended) = ending.join_next().await {
            match ended
                .map_err(|error| LabError::Panicked(error.to_string()))
                .and_then(|ended| ended)
            {
                Ok(name) => removed.push(name),
                Err(error) => failed = Some(failed.unwrap_or(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        removed.sort();
        let state = self.state.clone();
        let network = blocking(move || {
            state::remove_folder(&state.nodes())?;
            state::remove_folder(&lock_folder(&state))?;
            state::remove_file(&identity::known_hosts_path(&state))?;
            bridge::down(state.root(), spec.as_ref())
        });
        removed.extend(network.await?);
        Ok(removed)
    }
}

fn wrong_provider() -> LabError {
    LabError::Spec("machines as containers".into())
}

/// Where LXC keeps its lock files for our containers; it never removes them.
fn lock_folder(state: &State) -> PathBuf {
    let nodes = state.nodes();
    Path::new("/run/lxc/lock").join(nodes.strip_prefix("/").unwrap_or(&nodes))
}

/// Names of the containers of a state folder, prepared or not.
pub(crate) fn container_names(state: &State) -> Vec<String> {
    let Ok(entries) = fs::read_dir(state.nodes()) else {
        return Vec::new();
    };
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

fn status_of(state: &State, spec: &LxcSpec, node: &NodeRecord) -> Result<NodeStatus, LabError> {
    let container = Container::new(state, spec, &node.name);
    let (state, detail) = if container.init_pid()?.is_none() {
        (
            NodeState::Stopped,
            "its container does not run (mend: harness lab up)".to_owned(),
        )
    } else {
        let address = SocketAddr::new(node.address, SSH_PORT);
        match ssh_banner(address) {
            Ok(()) => (NodeState::Up, String::new()),
            Err(error) => (NodeState::Unreachable, format!("{address}: {error}")),
        }
    };
    Ok(NodeStatus {
        name: node.name.clone(),
        address: node.address,
        state,
        detail,
    })
}

/// What all nodes of an `up` share.
struct Plan {
    state: State,
    spec: LxcSpec,
    lab: String,
    rootfs: PathBuf,
    authorized: String,
    hosts: String,
}

impl Plan {
    /// Makes a node run and answer; returns its host key.
    fn start(&self, node: &NodeRecord, progress: &ProgressFn) -> Result<String, LabError> {
        let step = |step| {
            progress(&LabProgress::Node {
                node: node.name.clone(),
                step,
            })
        };
        let container = Container::new(&self.state, &self.spec, &node.name);
        let running = container.init_pid()?.is_some();
        if !running {
            // A start that was cut short may still hold the name.
            container.end_processes()?;
            if !container.folder.join(PREPARED).exists() {
                self.prepare(&container, node)?;
                step("prepared");
            }
            self.write_config(&container, node)?;
            container.start()?;
            step("started");
        } else {
            bridge::attach(&self.spec.bridge, &container.name)?;
        }
        let public = container.folder.join("host_key.pub");
        let key = fs::read_to_string(&public).map_err(StateError::io("cannot read", &public))?;
        container.wait_for_answer(node)?;
        step("answers");
        Ok(key.trim().to_owned())
    }

    /// Writes the delta: all that makes this node this node.
    fn prepare(&self, container: &Container, node: &NodeRecord) -> Result<(), LabError> {
        let name = node.name.as_str();
        state::remove_folder(&container.folder)?;
        state::make_folder(&container.folder, 0o700)?;
        let host_key: KeyPair = keys::generate(&container.folder, name)?;
        let delta = container.folder.join("delta");
        for (folder, mode) in [
            ("", 0o755),
            ("/etc", 0o755),
            ("/etc/ssh", 0o755),
            ("/root", 0o700),
            SSH_FOLDER,
        ] {
            let path = delta.join(folder.trim_start_matches('/'));
            state::make_folder(&path, mode)?;
            set_mode(&path, mode)?;
        }
        let identity = Identity {
            lab: &self.lab,
            provider: ProviderKind::Lxc,
            node: name,
            authorized: &self.authorized,
            hosts: &self.hosts,
            host_key: &host_key,
        };
        for file in identity.files()? {
            let path = delta.join(file.path.trim_start_matches('/'));
            fs::write(&path, file.text).map_err(StateError::io("cannot write", &path))?;
            set_mode(&path, file.mode)?;
        }
        let public = format!("{}\n", host_key.public);
        state::write_atomic(
            &container.folder.join("host_key.pub"),
            0o644,
            public.as_bytes(),
        )?;
        state::write_atomic(&container.folder.join(PREPARED), 0o644, b"")?;
        Ok(())
    }

    fn write_config(&self, container: &Container, node: &NodeRecord) -> Result<(), LabError> {
        let std::net::IpAddr::V4(address) = node.address else {
            return Err(LabError::Spec(format!(
                "the address {} in a container",
                node.address
            )));
        };
        let config = self.config(container, node.name.as_str(), address);
        let path = container.folder.join("config");
        state::write_atomic(&path, 0o644, config.as_bytes())?;
        Ok(())
    }

    fn config(&self, container: &Container, hostname: &str, address: Ipv4Addr) -> String {
        Config {
            hostname,
            rootfs: &self.rootfs,
            delta: &container.folder.join("delta"),
            init: image::INIT,
            bridge: &self.spec.bridge,
            veth: &container.name,
            address,
            subnet: self.spec.subnet,
            apparmor: Path::new("/sys/kernel/security/apparmor").exists(),
            limits: &identity::limits(),
        }
        .text()
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StateError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(StateError::io("cannot set the mode of", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_folder_without_a_lab_has_no_containers() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        assert!(container_names(&state).is_empty());
    }
}
