//! Connections to dqlite's wire protocol, made from a node.
//!
//! A client belongs to a node, as an application on that node would: its connections leave from
//! there, so that a partition of the node cuts its clients off as well. Stand-bys and spares do not
//! know who leads (they answer with nobody), so the own node is asked first and then the others.

use std::{collections::BTreeSet, io, time::Duration};

use dqlite_wire::{
    Role,
    client::{
        ClientError, Connection, Connector, Deadline, DiscoverError, DiscoverOptions,
        LeaderConnection, Limits, connect, connect_leader,
    },
    outcome::Sent,
    wire::response::Server,
};
use harness_lab::{Address, Node, NodeStream, TransportError, capability::ChangeError};

use super::{outcome, paths, sources};
use crate::systems::asking::{most_say, socket_address};

/// How long one node is asked when many are.
const ASK_TIMEOUT: Duration = Duration::from_millis(800);
/// How long connecting to one node and asking it may take while a client looks for the leader.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// Pause between two looks for a leader.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

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
        let address = socket_address(address)?;
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

impl From<Server> for Member {
    fn from(server: Server) -> Self {
        Self {
            id: server.id,
            address: server.address,
            role: server.role,
        }
    }
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

/// A connection to the one that leads.
pub type Leading = LeaderConnection<Stream>;

/// The members as one node lists them, which answers from its own configuration, committed or not.
pub async fn members_at(node: &Node, deadline: Deadline) -> Result<Vec<Member>, ClientError> {
    let deadline = deadline.within(ATTEMPT_TIMEOUT);
    let connector = FromNode::new(node, ATTEMPT_TIMEOUT);
    let address = paths::db_address(node);
    let mut connection = connect(&connector, &address, Limits::default(), deadline).await?;
    let servers = connection.cluster(deadline).await?;
    Ok(servers.into_iter().map(Member::from).collect())
}

/// The members as the leader lists them.
///
/// # Errors
/// A refusal: a question has no effect.
pub async fn members(leader: &mut Leading, deadline: Deadline) -> Result<Vec<Member>, ChangeError> {
    let servers = leader
        .connection
        .cluster(deadline.within(ATTEMPT_TIMEOUT))
        .await
        .map_err(|error| outcome::of_wire(&error, Sent::ReadOnly))?;
    Ok(servers.into_iter().map(Member::from).collect())
}

/// Connects from `via` to the leader of the cluster that it belongs to, looking for one until the deadline, as go-dqlite does.
///
/// # Errors
/// A refusal: nothing was sent that changes anything.
pub async fn leader_via(via: &Node, deadline: Deadline) -> Result<Leading, ChangeError> {
    loop {
        let last = match look_via(via, deadline).await {
            Ok(leader) => return Ok(leader),
            Err(error) => error,
        };
        let is_over = deadline.within(LOOK_PAUSE * 2) >= deadline;
        if is_over || !outcome::is_passing(&last) {
            return Err(last);
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn look_via(via: &Node, deadline: Deadline) -> Result<Leading, ChangeError> {
    let mut members = members_at(via, deadline)
        .await
        .map_err(|error| outcome::of_wire(&error, Sent::ReadOnly))?;
    // Only voters know who leads.
    members.sort_by_key(|member| !member.is_voter());
    let mut seeds = vec![paths::db_address(via)];
    seeds.extend(members.into_iter().map(|member| member.address));
    // A spare is not replicated to, so its own list is old or empty: its application keeps the members in a file.
    let told = sources::cluster_yaml_of(via).await.unwrap_or_default();
    seeds.extend(told.into_iter().filter_map(|member| member.address));
    let mut seen = BTreeSet::new();
    seeds.retain(|address| seen.insert(address.clone()));
    let options = DiscoverOptions {
        attempt_timeout: ATTEMPT_TIMEOUT,
        limits: Limits::default(),
    };
    connect_leader(
        &FromNode::new(via, ATTEMPT_TIMEOUT),
        &seeds,
        options,
        deadline,
    )
    .await
    .map_err(|error| outcome::of_discovery(&error))
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
    let asked = nodes.iter().map(|node| {
        let node = node.clone();
        async move { leader_by(&node).await }
    });
    most_say(asked, ASK_TIMEOUT).await
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
    Ok(servers.into_iter().map(Member::from).collect())
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
