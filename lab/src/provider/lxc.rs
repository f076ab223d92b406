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
    io::Read as _,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use rustix::process::{Resource, getrlimit};
use tokio::task::JoinSet;

use super::{
    LabError, LabProgress, LabRecord, LabSpec, LxcSpec, NodeRecord, NodeState, NodeStatus,
    ProgressFn, Provider, ProviderKind, blocking, bridge,
    container::{Container, ssh_banner},
    lxc_config::Config,
};
use crate::{
    access::{Access, Credential, KnownBy},
    image::{self, ImageStore},
    keys::{self, KeyPair},
    marker::{MARKER, Marker},
    node::NodeName,
    state::{self, State, StateError},
};

/// How long a started node may take until its SSH server answers.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Port of a node's SSH server.
pub(super) const SSH_PORT: u16 = 22;
/// Name of the file that says that a node's folder is complete.
const PREPARED: &str = "prepared";

/// The provider of containers.
#[derive(Clone, Debug)]
pub struct LxcProvider {
    state: State,
}

/// The addresses and names of a specification's nodes, before they exist; host keys come later.
pub(crate) fn plan_nodes(state: &State, spec: &LxcSpec) -> Vec<NodeRecord> {
    let addresses = (0..spec.nodes).map_while(|ordinal| spec.subnet.node(ordinal));
    addresses
        .enumerate()
        .map(|(ordinal, address)| NodeRecord {
            name: NodeName::new(format!("n{}", ordinal + 1)),
            ordinal,
            address: address.into(),
            access: Access {
                host: address.to_string(),
                port: SSH_PORT,
                user: "root".to_owned(),
                credential: Credential::Key(state.keys().join(keys::PRIVATE_KEY)),
                known_by: KnownBy::HostKey(String::new()),
                sudo: false,
                jump: None,
            },
        })
        .collect()
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
            hosts: hosts_file(&lab.nodes),
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
        let ssh_config = ssh_config(&self.state, &lab.nodes);
        state::write_atomic(&self.state.ssh_config(), 0o644, ssh_config.as_bytes())?;
        let known = known_hosts(&lab.nodes);
        state::write_atomic(&known_hosts_path(&self.state), 0o644, known.as_bytes())?;
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
            state::remove_file(&known_hosts_path(&state))?;
            bridge::down(state.root(), spec.as_ref())
        });
        removed.extend(network.await?);
        Ok(removed)
    }
}

fn wrong_provider() -> LabError {
    LabError::Spec("machines as containers".into())
}

fn known_hosts_path(state: &State) -> PathBuf {
    state.keys().join("known_hosts")
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

fn hosts_file(nodes: &[NodeRecord]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for node in nodes {
        text.push_str(&format!("{} {}\n", node.address, node.name));
    }
    text
}

fn known_hosts(nodes: &[NodeRecord]) -> String {
    let line = |node: &NodeRecord| match &node.access.known_by {
        KnownBy::HostKey(key) => format!("{},{} {key}\n", node.name, node.address),
        KnownBy::KnownHosts(_) => String::new(),
    };
    nodes.iter().map(line).collect()
}

fn ssh_config(state: &State, nodes: &[NodeRecord]) -> String {
    let mut text = String::from("# Written by harness lab up, for people: ssh -F THIS-FILE n1\n");
    for node in nodes {
        text.push_str(&format!(
            "Host {}\n  HostName {}\n",
            node.name, node.address
        ));
    }
    text.push_str(&format!(
        "Host *\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
        state.keys().join(keys::PRIVATE_KEY).display(),
        known_hosts_path(state).display()
    ));
    text
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
            ("etc", 0o755),
            ("etc/ssh", 0o755),
            ("root", 0o700),
            ("root/.ssh", 0o700),
        ] {
            let path = delta.join(folder);
            state::make_folder(&path, mode)?;
            set_mode(&path, mode)?;
        }
        let marker = Marker::new(&self.lab, name, ProviderKind::Lxc).to_line();
        let machine_id = format!("{}\n", random_hex(16)?);
        for (path, mode, text) in [
            ("etc/hostname", 0o644, format!("{name}\n")),
            ("etc/hosts", 0o644, self.hosts.clone()),
            ("etc/machine-id", 0o444, machine_id),
            ("etc/ssh/ssh_host_ed25519_key", 0o600, host_key.private),
            (
                "etc/ssh/ssh_host_ed25519_key.pub",
                0o644,
                format!("{}\n", host_key.public),
            ),
            (
                "root/.ssh/authorized_keys",
                0o600,
                format!("{}\n", self.authorized),
            ),
            (MARKER.trim_start_matches('/'), 0o644, marker),
        ] {
            let path = delta.join(path);
            fs::write(&path, text).map_err(StateError::io("cannot write", &path))?;
            set_mode(&path, mode)?;
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
            limits: &limits(),
        }
        .text()
    }
}

/// Our own hard limits, to be the nodes' soft ones: not every root may raise a limit.
fn limits() -> Vec<(&'static str, String)> {
    [
        ("core", Resource::Core),
        ("nofile", Resource::Nofile),
        ("memlock", Resource::Memlock),
    ]
    .into_iter()
    .map(|(name, resource)| {
        let hard = getrlimit(resource).maximum;
        (
            name,
            hard.map_or_else(|| "unlimited".into(), |limit| limit.to_string()),
        )
    })
    .collect()
}

fn set_mode(path: &Path, mode: u32) -> Result<(), StateError> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(StateError::io("cannot set the mode of", path))
}

/// That many random bytes, in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String, StateError> {
    let source = Path::new("/dev/urandom");
    let mut buffer = vec![0; bytes];
    fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut buffer))
        .map_err(StateError::io("cannot read", source))?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_planned_by_ordinal() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        let nodes = plan_nodes(&state, &LxcSpec::default());
        let seen: Vec<String> = nodes
            .iter()
            .map(|n| format!("{} {} {}", n.ordinal, n.name, n.address))
            .collect();
        assert_eq!(
            seen,
            [
                "0 n1 10.83.0.11",
                "1 n2 10.83.0.12",
                "2 n3 10.83.0.13",
                "3 n4 10.83.0.14",
                "4 n5 10.83.0.15"
            ]
        );
        assert!(hosts_file(&nodes).ends_with("10.83.0.15 n5\n"));
    }

    #[test]
    fn a_state_folder_without_a_lab_has_no_containers() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        assert!(container_names(&state).is_empty());
    }
}
