//! The lab that is up: bringing it up, looking at it, taking it down, connecting to it.
//!
//! Laws:
//! - one lab a state folder; whoever changes it holds the state's lock;
//! - `up` with what is up already verifies and repairs; with something else it refuses, unless
//!   told to make it anew;
//! - a node is handed out only after its marker was read through its own transport.

use std::sync::Arc;

use serde::Serialize;
use tokio::task::JoinSet;

use crate::{
    image::{BuildOptions, ImageStore, Recipe},
    marker,
    node::{Node, NodeName},
    provider::{
        LabError, LabPhase, LabProgress, LabRecord, LabSpec, NodeRecord, NodeState, NodeStatus,
        ProgressFn, Provider, lxc::LxcProvider, lxd::LxdProvider, plan_nodes, random_hex,
        ssh::SshProvider,
    },
    ssh::SshTransport,
    state::{self, RunLock, STATE_FORMAT_VERSION, State},
    transport::{Transport, TransportError},
};

/// Bytes of a lab's identity.
const ID_BYTES: usize = 8;

/// How a lab is brought up, as opposed to what it is.
#[derive(Clone, Debug, Default)]
pub struct UpOptions {
    /// Take a different lab down first instead of refusing.
    pub recreate: bool,
    /// Make machines ours that are not yet. Their owner's consent.
    pub adopt: bool,
    /// How a missing image is built.
    pub build: BuildOptions,
}

/// A lab and how its nodes are.
#[derive(Clone, Debug, Serialize)]
pub struct LabStatus {
    /// What is recorded.
    pub record: LabRecord,
    /// Whether all nodes are up and `up` has ended well.
    pub healthy: bool,
    /// How the nodes are, in the record's order.
    pub nodes: Vec<NodeStatus>,
}

/// The lab that is up, with a transport to each node.
#[derive(Clone, Debug)]
pub struct Lab {
    /// What is recorded.
    pub record: LabRecord,
    /// The nodes, by ordinal.
    pub nodes: Vec<Node>,
}

impl Lab {
    /// The lab of a state folder. Connects to nobody yet: a node's transport does so at its first call.
    ///
    /// # Errors
    /// [`LabError::NoLab`] if none is up, or only half of one.
    pub fn load(state: &State) -> Result<Self, LabError> {
        let record = state
            .read_lab()?
            .filter(|record| record.phase == LabPhase::Up);
        Ok(Self::of(record.ok_or(LabError::NoLab)?))
    }

    pub(crate) fn of(record: LabRecord) -> Self {
        let nodes = record.nodes.iter().map(node).collect();
        Self { record, nodes }
    }

    /// Connects to every node at once and verifies that it is ours.
    ///
    /// # Errors
    /// The first node's that cannot be reached or lacks our marker.
    pub async fn connect(&self) -> Result<(), LabError> {
        let mut connecting = JoinSet::new();
        for node in self.nodes.clone() {
            let lab = self.record.id.clone();
            connecting.spawn(async move { marker::assert_ours(&node, &lab).await });
        }
        while let Some(ended) = connecting.join_next().await {
            ended.map_err(|error| LabError::Panicked(error.to_string()))??;
        }
        Ok(())
    }

    /// A node by name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }

    /// Returns only if the node carries this lab's marker.
    ///
    /// # Errors
    /// [`TransportError::NotOurs`] if it does not, another one if it could not be asked.
    pub async fn assert_ours(&self, node: &Node) -> Result<(), TransportError> {
        marker::assert_ours(node, &self.record.id).await
    }

    /// Drops all sessions.
    pub async fn close(&self) {
        for node in &self.nodes {
            node.transport.close().await;
        }
    }
}

/// A node with a transport that is not connected yet.
pub(crate) fn node(record: &NodeRecord) -> Node {
    let transport = SshTransport::new(record.access.target(record.name.as_str()));
    Node {
        name: record.name.clone(),
        ordinal: record.ordinal,
        address: record.address,
        transport: Arc::new(transport) as Arc<dyn Transport>,
    }
}

fn provider(state: &State, spec: &LabSpec, options: &UpOptions) -> Box<dyn Provider> {
    match spec {
        LabSpec::Lxc(_) => Box::new(LxcProvider::new(state.clone())),
        LabSpec::Lxd(_) => Box::new(LxdProvider::new(state.clone())),
        LabSpec::Ssh(_) => Box::new(SshProvider::new(options.adopt)),
    }
}

/// Brings the lab up, or verifies and repairs it if it is up already.
///
/// # Errors
/// If it cannot be brought up; what was made stays recorded, so that `down` removes it, and another `up` goes on.
pub async fn up(
    state: &State,
    lock: &RunLock,
    spec: &LabSpec,
    options: &UpOptions,
    progress: &ProgressFn,
) -> Result<Lab, LabError> {
    spec.check()?;
    let mut record = match state.read_lab()? {
        Some(record) if record.phase == LabPhase::GoingDown => {
            down(state, lock).await?;
            plan(state, spec)?
        }
        Some(record) if record.spec == *spec => record,
        Some(_) if options.recreate => {
            down(state, lock).await?;
            plan(state, spec)?
        }
        Some(record) => {
            let (up, asked) = (record.spec.summary(), spec.summary());
            return Err(LabError::Different { up, asked });
        }
        None => plan(state, spec)?,
    };
    record.image = match (spec, spec.recipe()) {
        (_, Some(recipe)) => Some(image(state, recipe, options, progress).await?),
        (LabSpec::Lxd(spec), None) => spec.server_image.clone(),
        _ => None,
    };
    record.phase = LabPhase::ComingUp;
    state.write_lab(lock, &record)?;
    provider(state, spec, options)
        .up(&mut record, progress)
        .await?;
    let mut lab = Lab::of(record);
    lab.connect().await?;
    lab.record.phase = LabPhase::Up;
    state.write_lab(lock, &lab.record)?;
    for node in &lab.nodes {
        progress(&LabProgress::Node {
            node: node.name.clone(),
            step: "up",
        });
    }
    Ok(lab)
}

fn plan(state: &State, spec: &LabSpec) -> Result<LabRecord, LabError> {
    Ok(LabRecord {
        format_version: STATE_FORMAT_VERSION,
        id: random_hex(ID_BYTES)?,
        phase: LabPhase::ComingUp,
        created_unix_ms: state::now_unix_ms(),
        spec: spec.clone(),
        image: None,
        nodes: match spec {
            LabSpec::Lxc(spec) => plan_nodes(state, spec.nodes, spec.subnet, None),
            LabSpec::Lxd(spec) => plan_nodes(state, spec.nodes, spec.subnet, spec.jump.as_ref()),
            LabSpec::Ssh(spec) => spec.nodes.clone(),
        },
    })
}

/// Finds or builds the image that the nodes are made from; returns its name.
async fn image(
    state: &State,
    recipe: &Recipe,
    options: &UpOptions,
    progress: &ProgressFn,
) -> Result<String, LabError> {
    let (store, recipe, build) = (
        ImageStore::new(state),
        recipe.clone(),
        options.build.clone(),
    );
    let progress = progress.clone();
    crate::provider::blocking(move || {
        let mut tell = |step: &crate::image::Progress| progress(&LabProgress::Image(step.clone()));
        Ok(store.build(&recipe, &build, &mut tell)?.name)
    })
    .await
}

/// Takes the lab down, whatever is left of it, and says what was removed. Nothing to remove is well.
///
/// # Errors
/// If something of it does not go away; then it stays recorded, and another `down` goes on.
pub async fn down(state: &State, lock: &RunLock) -> Result<Vec<String>, LabError> {
    let mut removed = Vec::new();
    if let Some(mut record) = state.read_lab()? {
        let phase = std::mem::replace(&mut record.phase, LabPhase::GoingDown);
        state.write_lab(lock, &record)?;
        record.phase = phase;
        let options = UpOptions::default();
        removed = provider(state, &record.spec, &options)
            .down(&record)
            .await?;
    }
    // Also what is not recorded: containers and a bridge whose record was lost.
    if rustix::process::geteuid().is_root() {
        removed.extend(LxcProvider::new(state.clone()).sweep(None).await?);
    }
    state.forget_lab(lock)?;
    Ok(removed)
}

/// How the lab is; none if none is recorded. Changes nothing.
///
/// # Errors
/// If the record or a tool of the controller fails; a node that cannot be reached is a status, not an error.
pub async fn status(state: &State) -> Result<Option<LabStatus>, LabError> {
    let Some(record) = state.read_lab()? else {
        return Ok(None);
    };
    let options = UpOptions::default();
    let mut nodes = provider(state, &record.spec, &options)
        .status(&record)
        .await?;
    let lab = Lab::of(record);
    let mut asking = JoinSet::new();
    for (index, status) in nodes.iter().enumerate() {
        if status.state == NodeState::Up {
            let (node, id) = (lab.nodes[index].clone(), lab.record.id.clone());
            asking.spawn(async move { (index, marker::assert_ours(&node, &id).await) });
        }
    }
    while let Some(ended) = asking.join_next().await {
        let (index, answer) = ended.map_err(|error| LabError::Panicked(error.to_string()))?;
        if let Err(error) = answer {
            nodes[index].state = match error {
                TransportError::NotOurs { .. } => NodeState::NotOurs,
                _ => NodeState::Unreachable,
            };
            nodes[index].detail = error.to_string();
        }
    }
    lab.close().await;
    let healthy =
        lab.record.phase == LabPhase::Up && nodes.iter().all(|node| node.state == NodeState::Up);
    Ok(Some(LabStatus {
        record: lab.record,
        healthy,
        nodes,
    }))
}

/// The names of the nodes that are not up.
#[must_use]
pub fn not_up(status: &LabStatus) -> Vec<NodeName> {
    let down = status
        .nodes
        .iter()
        .filter(|node| node.state != NodeState::Up);
    down.map(|node| node.name.clone()).collect()
}
