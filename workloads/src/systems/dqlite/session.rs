//! Connections to dqlite's wire protocol, made from a node.
//!
//! A client belongs to a node, as an application on that node would: its connections leave from
//! there, so that a partition of the node cuts its clients off as well. Stand-bys and spares do not
//! know who leads (they answer with nobody), so the own node is asked first and then the others.

use std::{collections::BTreeMap, io, time::Duration};

use dqlite_wire::{
    Role,
    client::{
        ClientError, Connection, Connector, Deadline, DiscoverError, DiscoverOptions,
        LeaderConnection, Limits, connect, connect_leader,
    },
};
use harness_lab::{Address, Node, NodeStream, TransportError};
use tokio::task::JoinSet;

use super::paths;

/// How long one node is asked when many are.
const ASK_TIMEOUT: Duration = Duration::from_millis(800);
/// How long connecting to one node and asking it may take while a client looks for the leader.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// A stream from a node.
pub type Stream = Box<dyn NodeStream>;

/// Connects from one node.
pub struct FromNode<'a> {
    node: &'a Node,
    timeout: Duration,
}

impl<'a> FromNode<'a> {
    /// Connections leave from this node.
    #[must_use]
    pub fn new(node: &'a Node, timeout: Duration) -> Self {
        Self { node, timeout }
    }
}

impl Connector for FromNode<'_> {
    type Stream = Stream;

    async fn connect(&self, address: &str) -> io::Result<Stream> {
        let address = address.parse().map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, "not an address and a port")
        })?;
        match self
            .node
            .transport
            .connect(&Address::Tcp(address), self.timeout)
            .await
        {
            Ok(stream) => Ok(stream),
            Err(TransportError::Refused { source, .. }) => Err(source),
            Err(error) => Err(io::Error::other(error)),
        }
    }
}

/// One member as dqlite lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its raft id.
    pub id: u64,
    /// Its address.
    pub address: String,
    /// Its role.
    pub role: Option<Role>,
}

impl Member {
    /// Whether it votes.
    #[must_use]
    pub fn is_voter(&self) -> bool {
        self.role == Some(Role::Voter)
    }
}

/// Connects to the leader from `node`, asking that node first.
pub async fn to_leader(
    node: &Node,
    nodes: &[Node],
    timeout: Duration,
) -> Result<LeaderConnection<Stream>, DiscoverError> {
    let mut seeds = vec![paths::db_address(node)];
    // From the next one on, so that clients do not all ask the same node first.
    let others = nodes
        .iter()
        .cycle()
        .skip(node.ordinal + 1)
        .take(nodes.len())
        .filter(|other| other.name != node.name);
    seeds.extend(others.map(paths::db_address));
    let options = DiscoverOptions {
        attempt_timeout: ATTEMPT_TIMEOUT.min(timeout),
        limits: Limits::default(),
    };
    connect_leader(
        &FromNode::new(node, options.attempt_timeout),
        &seeds,
        options,
        Deadline::after(timeout),
    )
    .await
}

/// Whom a node itself calls the leader.
async fn leader_by(node: &Node) -> Option<String> {
    let connector = FromNode::new(node, ASK_TIMEOUT);
    let deadline = Deadline::after(ASK_TIMEOUT);
    let mut connection: Connection<Stream> = connect(
        &connector,
        &paths::db_address(node),
        Limits::default(),
        deadline,
    )
    .await
    .ok()?;
    let leader = connection.leader(deadline).await.ok()??;
    Some(leader.address)
}

/// The address that most of the nodes that answer call the leader; a tie is nobody.
pub async fn leader_address(nodes: &[Node]) -> Option<String> {
    let mut asked = JoinSet::new();
    for node in nodes {
        let node = node.clone();
        asked.spawn(async move { tokio::time::timeout(ASK_TIMEOUT, leader_by(&node)).await });
    }
    let mut votes: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(answer) = asked.join_next().await {
        if let Ok(Ok(Some(address))) = answer {
            *votes.entry(address).or_default() += 1;
        }
    }
    let most = votes.values().copied().max()?;
    let mut leaders = votes.into_iter().filter(|(_, count)| *count == most);
    let (address, _) = leaders.next()?;
    leaders.next().is_none().then_some(address)
}

/// The members as the leader lists them.
pub async fn cluster(nodes: &[Node]) -> Result<Vec<Member>, ClusterError> {
    let mut last = ClusterError::Nobody;
    for node in nodes {
        match tokio::time::timeout(ASK_TIMEOUT * 2, cluster_from(node, nodes)).await {
            Ok(Ok(members)) => return Ok(members),
            Ok(Err(error)) => last = error,
            Err(_) => last = ClusterError::TimedOut,
        }
    }
    Err(last)
}

async fn cluster_from(node: &Node, nodes: &[Node]) -> Result<Vec<Member>, ClusterError> {
    let mut leader = to_leader(node, nodes, ASK_TIMEOUT).await?;
    let servers = leader.connection.cluster(ASK_TIMEOUT).await?;
    Ok(servers
        .into_iter()
        .map(|server| Member {
            id: server.id,
            address: server.address,
            role: server.role,
        })
        .collect())
}

/// Why the members could not be listed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no node to ask.
    #[error("there is no node to ask")]
    Nobody,
    /// No leader was found.
    #[error(transparent)]
    Leader(#[from] DiscoverError),
    /// The leader did not answer as it should.
    #[error("the leader did not list the members")]
    Asked(#[from] ClientError),
    /// It took too long.
    #[error("no node listed the members in time")]
    TimedOut,
}
