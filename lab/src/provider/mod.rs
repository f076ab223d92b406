//! How nodes come to exist: the providers, and what is recorded about a lab.
//!
//! A provider makes what a [`LabRecord`] names, so the record is written *before* anything is
//! made, and a harness that was killed in between leaves nothing that `down` cannot find.
//!
//! Laws:
//! - `up` makes what is missing and leaves alone what is healthy, so that calling it again repairs;
//! - `down` is idempotent, works on a half-made lab, and removes only what is recorded or marked as ours;
//! - `status` changes nothing.

mod bridge;
mod container;
mod identity;
pub mod lxc;
mod lxc_config;
pub mod lxd;
pub mod ssh;

use std::{net::IpAddr, sync::Arc};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::lxd::LxdSpec;
pub(crate) use self::{
    bridge::{check_subnet, links, routes, stray_blackholes},
    identity::{plan_nodes, random_hex},
};
use crate::{
    access::Access,
    host::HostError,
    image::{self, ImageError, Recipe},
    node::NodeName,
    state::StateError,
    subnet::{Subnet, SubnetError},
    transport::TransportError,
};

/// Most nodes of a lab.
pub const MAX_NODES: usize = 16;
/// Nodes of the built-in lab unless told otherwise.
pub const DEFAULT_NODES: usize = 5;
/// The bridge of the built-in lab unless told otherwise.
pub const DEFAULT_BRIDGE: &str = "harness0";
/// Longest name of a bridge, in bytes: `-n16` is added to it, and an interface's name has 15 at most.
pub const MAX_BRIDGE_BYTES: usize = 11;

/// Why a lab could not be brought up, looked at or taken down.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LabError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A tool of the controller.
    #[error(transparent)]
    Tool(#[from] HostError),
    /// A node could not be reached, or is not ours.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The subnet is none.
    #[error(transparent)]
    Subnet(#[from] SubnetError),
    /// The specification makes no sense.
    #[error("a lab cannot have {0}")]
    Spec(String),
    /// There is no lab.
    #[error("no lab is up, or only half of one (mend: harness lab up)")]
    NoLab,
    /// A lab is up that is not the one that was asked for.
    #[error(
        "another lab is up ({up}), asked for is {asked} (mend: harness lab up --recreate, or harness lab down first)"
    )]
    Different {
        /// The lab that is up.
        up: String,
        /// The lab that was asked for.
        asked: String,
    },
    /// The subnet is in use.
    #[error(
        "subnet {subnet} collides with the route to {route}{through} (mend: choose another with --subnet)"
    )]
    Collision {
        /// The subnet that was asked for.
        subnet: Subnet,
        /// The destination of the route that exists.
        route: String,
        /// ` through DEV`, or nothing.
        through: String,
    },
    /// The bridge's name is taken.
    #[error(
        "interface {bridge} exists and is not this lab's: {owner} (mend: take that lab down, or choose another with --bridge)"
    )]
    BridgeTaken {
        /// The bridge's name.
        bridge: String,
        /// Whose it seems to be.
        owner: String,
    },
    /// The server of provider `lxd`.
    #[error(transparent)]
    Server(#[from] lxd::ServerError),
    /// A name is taken on the server.
    #[error(
        "{what} {name} exists on the server and is not this lab's: {owner} (mend: take that lab down, or choose another `network` in lab.yaml)"
    )]
    Taken {
        /// Instance, profile or network.
        what: &'static str,
        /// Its name.
        name: String,
        /// Whose it seems to be.
        owner: String,
    },
    /// A container did not start.
    #[error(
        "node {node} did not start: {detail} (mend: harness doctor; then harness lab up --recreate)"
    )]
    Start {
        /// The node's name.
        node: String,
        /// The last lines of LXC's log.
        detail: String,
    },
    /// A node started, and cannot be reached.
    #[error("node {node} started and does not answer: {detail} (mend: harness lab up --recreate)")]
    Silent {
        /// The node's name.
        node: String,
        /// What was tried last, and what its console says.
        detail: String,
    },
    /// A container could not be ended.
    #[error(
        "container {container} does not end: {detail} (mend: thaw its file systems, end process {pid}, then harness lab down)"
    )]
    Stuck {
        /// The container's name.
        container: String,
        /// The process that is left.
        pid: u32,
        /// What was tried.
        detail: String,
    },
    /// A machine was never given to us.
    #[error(
        "{node} at {address} is not ours yet (mend: harness lab up --lab lab.yaml --adopt, if it may be changed by the harness)"
    )]
    NotAdopted {
        /// The node's name.
        node: String,
        /// Where it is.
        address: String,
    },
    /// A machine belongs to another lab.
    #[error(
        "{node} belongs to lab {lab} (mend: take that one down, or remove /etc/harness-node on it if nobody uses it)"
    )]
    OtherLab {
        /// The node's name.
        node: String,
        /// The lab that its marker names.
        lab: String,
    },
    /// A machine lacks something.
    #[error(
        "{node} lacks {missing} (mend: install it there; `harness lab needs` lists what a node must have)"
    )]
    Lacks {
        /// The node's name.
        node: String,
        /// What is missing.
        missing: String,
    },
    /// What is ours could not be removed from a machine.
    #[error(
        "what harness put on {node} could not be removed: {detail} (mend: remove table inet harness and /etc/harness-node there, then harness lab down)"
    )]
    Restore {
        /// The node's name.
        node: String,
        /// What was said there.
        detail: String,
    },
    /// Two nodes of an inventory are one machine.
    #[error("{first} and {second} are the same machine (mend: list each machine once)")]
    SameMachine {
        /// A node's name.
        first: String,
        /// Another node's name.
        second: String,
    },
    /// A task ended in a way that it should not.
    #[error("a task of the lab panicked ({0}); this is a defect of the harness")]
    Panicked(String),
}

/// How nodes come to exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// Containers that we make.
    Lxc,
    /// Instances that a server of LXD or Incus makes.
    Lxd,
    /// Machines that exist.
    Ssh,
}

impl ProviderKind {
    /// Its name, as in `lab.yaml`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lxc => "lxc",
            Self::Lxd => "lxd",
            Self::Ssh => "ssh",
        }
    }

    /// Whether its `up` and `down` must be root on the controller.
    #[must_use]
    pub fn needs_root(self) -> bool {
        match self {
            // Images are built as root, and so are routes made.
            Self::Lxc | Self::Lxd => true,
            Self::Ssh => false,
        }
    }
}

/// The built-in lab: containers on a bridge of our own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LxcSpec {
    /// How many nodes, 1 to [`MAX_NODES`].
    pub nodes: usize,
    /// What they are made from.
    pub image: Recipe,
    /// Name of the bridge, at most [`MAX_BRIDGE_BYTES`] bytes.
    pub bridge: String,
    /// The subnet of the bridge.
    pub subnet: Subnet,
}

impl Default for LxcSpec {
    fn default() -> Self {
        Self {
            nodes: DEFAULT_NODES,
            image: Recipe::default(),
            bridge: DEFAULT_BRIDGE.to_owned(),
            subnet: Subnet::default(),
        }
    }
}

impl LxcSpec {
    /// Whether such a lab can be made.
    ///
    /// # Errors
    /// [`LabError::Spec`] says what it cannot have.
    pub fn check(&self) -> Result<(), LabError> {
        check_nodes(self.nodes, self.subnet)?;
        check_interface("bridge", &self.bridge)
    }
}

/// Whether a lab can have that many nodes in that subnet.
fn check_nodes(nodes: usize, subnet: Subnet) -> Result<(), LabError> {
    if !(1..=MAX_NODES).contains(&nodes) {
        return Err(LabError::Spec(format!(
            "{nodes} nodes (it has 1 to {MAX_NODES})"
        )));
    }
    match subnet.node(nodes - 1) {
        Some(_) => Ok(()),
        None => Err(LabError::Spec(format!("{nodes} nodes in {subnet}"))),
    }
}

/// Whether an interface can have that name, and names of nodes begin with it.
fn check_interface(what: &str, name: &str) -> Result<(), LabError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = (1..=MAX_BRIDGE_BYTES).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain);
    if good {
        return Ok(());
    }
    Err(LabError::Spec(format!(
        "the {what} `{name}` (a lower-case letter, then up to {} letters and digits)",
        MAX_BRIDGE_BYTES - 1
    )))
}

/// Machines that exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SshSpec {
    /// The machines, in the inventory's order.
    pub nodes: Vec<NodeRecord>,
}

/// What lab is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "provider", rename_all = "kebab-case")]
pub enum LabSpec {
    /// Containers that we make.
    Lxc(LxcSpec),
    /// Instances that a server of LXD or Incus makes.
    Lxd(Box<LxdSpec>),
    /// Machines that exist.
    Ssh(SshSpec),
}

impl Default for LabSpec {
    /// Five containers of bookworm with dqlite.
    fn default() -> Self {
        Self::Lxc(LxcSpec::default())
    }
}

impl LabSpec {
    /// Its provider.
    #[must_use]
    pub fn kind(&self) -> ProviderKind {
        match self {
            Self::Lxc(_) => ProviderKind::Lxc,
            Self::Lxd(_) => ProviderKind::Lxd,
            Self::Ssh(_) => ProviderKind::Ssh,
        }
    }

    /// Whether such a lab can be made.
    ///
    /// # Errors
    /// [`LabError::Spec`] says what it cannot have.
    pub fn check(&self) -> Result<(), LabError> {
        match self {
            Self::Lxc(spec) => spec.check(),
            Self::Lxd(spec) => spec.check(),
            // An inventory is checked where it is read.
            Self::Ssh(_) => Ok(()),
        }
    }

    /// The number of nodes and the image of nodes that we make, to be changed; none for machines that exist.
    pub fn made_mut(&mut self) -> Option<(&mut usize, &mut Recipe)> {
        match self {
            Self::Lxc(spec) => Some((&mut spec.nodes, &mut spec.image)),
            Self::Lxd(spec) => Some((&mut spec.nodes, &mut spec.image)),
            Self::Ssh(_) => None,
        }
    }

    /// What the nodes are made from, if we build it.
    #[must_use]
    pub fn recipe(&self) -> Option<&Recipe> {
        match self {
            Self::Lxc(spec) => Some(&spec.image),
            Self::Lxd(spec) if spec.server_image.is_none() => Some(&spec.image),
            Self::Lxd(_) | Self::Ssh(_) => None,
        }
    }

    /// The names that the nodes have or will have, in their order.
    #[must_use]
    pub fn node_names(&self) -> Vec<String> {
        let numbered = |nodes: usize| (1..=nodes).map(|number| format!("n{number}")).collect();
        match self {
            Self::Lxc(spec) => numbered(spec.nodes),
            Self::Lxd(spec) => numbered(spec.nodes),
            Self::Ssh(spec) => spec
                .nodes
                .iter()
                .map(|node| node.name.to_string())
                .collect(),
        }
    }

    /// In a few words, for messages.
    #[must_use]
    pub fn summary(&self) -> String {
        match self {
            Self::Lxc(spec) => format!(
                "{} containers of {} on {} {}",
                spec.nodes, spec.image, spec.bridge, spec.subnet
            ),
            Self::Lxd(spec) => spec.to_string(),
            Self::Ssh(_) => format!("the machines {}", self.node_names().join(", ")),
        }
    }
}

/// What is recorded about a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name.
    pub name: NodeName,
    /// Its place, from 0.
    pub ordinal: usize,
    /// The address that the other nodes reach it at.
    pub address: IpAddr,
    /// How we reach it.
    pub access: Access,
}

/// How far a lab has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LabPhase {
    /// `up` is under way, or was cut short.
    ComingUp,
    /// `up` has ended well.
    Up,
    /// `down` is under way, or was cut short.
    GoingDown,
}

/// The lab as recorded in the state folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabRecord {
    /// Version of this file's form.
    pub format_version: u32,
    /// The lab's identity: 16 hexadecimal digits, also in every node's marker.
    pub id: String,
    /// How far it has come.
    pub phase: LabPhase,
    /// When it was first brought up, in milliseconds of the Unix epoch.
    pub created_unix_ms: u64,
    /// What was asked for.
    pub spec: LabSpec,
    /// The image that the nodes are made from, where we make them.
    pub image: Option<String>,
    /// The nodes.
    pub nodes: Vec<NodeRecord>,
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// It answers, and carries this lab's marker.
    Up,
    /// It does not run.
    Stopped,
    /// It cannot be reached.
    Unreachable,
    /// It answers, and does not carry this lab's marker.
    NotOurs,
}

/// How a node is, with details.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// Its address.
    pub address: IpAddr,
    /// How it is.
    pub state: NodeState,
    /// What was noticed; empty if all is well.
    pub detail: String,
}

/// One step of bringing a lab up.
#[derive(Clone, Debug)]
pub enum LabProgress {
    /// The image is being built.
    Image(image::Progress),
    /// A node has come this far.
    Node {
        /// Its name.
        node: NodeName,
        /// What has been done, such as `started`.
        step: &'static str,
    },
}

/// Who is told about progress.
pub type ProgressFn = Arc<dyn Fn(&LabProgress) + Send + Sync>;

/// One way for nodes to come to exist. See the module's laws.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which one it is.
    fn kind(&self) -> ProviderKind;

    /// Makes what the record names and does not exist yet; fills in what is only known then.
    async fn up(&self, lab: &mut LabRecord, progress: &ProgressFn) -> Result<(), LabError>;

    /// Removes what the record names, and says what that was. Its phase is the one that it was found in.
    async fn down(&self, lab: &LabRecord) -> Result<Vec<String>, LabError>;

    /// How the nodes are, in the record's order.
    async fn status(&self, lab: &LabRecord) -> Result<Vec<NodeStatus>, LabError>;
}

/// Runs something that blocks where it may.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, LabError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, LabError> + Send + 'static,
{
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| LabError::Panicked(error.to_string()))?
}
