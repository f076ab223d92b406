//! Connecting to a node, and finding the one that leads.
//!
//! How the leader is found: ask each seed in turn who leads; connect to that address; and keep the
//! connection only if the node there names the same address as the leader, that is itself. A leader
//! that is cut off from the others names itself for up to an election time-out (3 s by default): what
//! comes out of this is a node that believes it leads.
//!
//! Laws: every attempt has its own time-out, so that one dead seed does not use up the deadline; each
//! seed is tried once; what each attempt met is in the error.

use std::error::Error as _;
use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::calls::NodeAddress;
use super::connection::{Connection, Limits};
use super::deadline::Deadline;
use super::error::{ClientError, NotSentCause};

/// How long one attempt may take unless told otherwise.
pub const DEFAULT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Makes streams to nodes: over TCP, through a tunnel, to a server in the same process.
pub trait Connector: Sync {
    /// The stream.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Connects to the node that has this address in the cluster's configuration.
    fn connect(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl<C: Connector> Connector for &C {
    type Stream = C::Stream;

    fn connect(&self, address: &str) -> impl Future<Output = io::Result<Self::Stream>> + Send {
        C::connect(self, address)
    }
}

/// Connects over TCP, without delaying small packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    type Stream = TcpStream;

    async fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Connects to one node and shakes hands.
pub async fn connect<C: Connector>(
    connector: &C,
    address: &str,
    limits: Limits,
    deadline: impl Into<Deadline>,
) -> Result<Connection<C::Stream>, ClientError> {
    let deadline = deadline.into();
    match timeout_at(deadline.instant(), connector.connect(address)).await {
        Ok(Ok(stream)) => Connection::handshake_with(stream, limits, deadline).await,
        Ok(Err(source)) => {
            let address = address.to_owned();
            Err(ClientError::NotSent(NotSentCause::Connect {
                address,
                source,
            }))
        }
        Err(_) => Err(ClientError::NotSent(NotSentCause::ConnectTimeout)),
    }
}

/// How to look for the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiscoverOptions {
    /// How long connecting to one node and asking it may take.
    pub attempt_timeout: Duration,
    /// Limits of the connection.
    pub limits: Limits,
}

impl Default for DiscoverOptions {
    fn default() -> Self {
        Self {
            attempt_timeout: DEFAULT_ATTEMPT_TIMEOUT,
            limits: Limits::default(),
        }
    }
}

/// A connection to a node that says it leads.
#[derive(Debug)]
pub struct LeaderConnection<S> {
    /// The connection; no database is open on it.
    pub connection: Connection<S>,
    /// The node.
    pub node: NodeAddress,
}

/// What one attempt met.
#[derive(Debug)]
pub struct Attempt {
    /// The address that was tried.
    pub address: String,
    /// What was met there.
    pub met: Missed,
}

/// Why an attempt did not find the leader.
#[derive(Debug, Error)]
pub enum Missed {
    /// It could not be asked.
    #[error("it could not be asked")]
    Unreachable(#[source] ClientError),
    /// It knows no leader.
    #[error("it knows no leader")]
    NoLeader,
    /// It was named as the leader, and names another.
    #[error("it was named as the leader and names {0}")]
    NotItself(String),
    /// The deadline was over before it was asked.
    #[error("the deadline was over before it was asked")]
    DeadlineOver,
}

/// No node was found that says it leads.
#[derive(Debug, Error)]
pub struct DiscoverError {
    /// What each attempt met, in order.
    pub attempts: Vec<Attempt>,
}

impl fmt::Display for DiscoverError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("no node says that it leads")?;
        for (index, Attempt { address, met }) in self.attempts.iter().enumerate() {
            let separator = if index == 0 { ": " } else { ", " };
            write!(formatter, "{separator}{address}: {met}")?;
            // There are several sources, so the error chain cannot carry them.
            let mut source = met.source();
            while let Some(error) = source {
                write!(formatter, ": {error}")?;
                source = error.source();
            }
        }
        Ok(())
    }
}

/// Finds the leader by asking the seeds in turn, once each.
pub async fn connect_leader<C: Connector>(
    connector: &C,
    seeds: &[impl AsRef<str>],
    options: DiscoverOptions,
    deadline: impl Into<Deadline>,
) -> Result<LeaderConnection<C::Stream>, DiscoverError> {
    let deadline = deadline.into();
    let mut attempts = Vec::new();
    for seed in seeds {
        let mut address = seed.as_ref().to_owned();
        let mut named = false;
        // The seed, and then the node that it names.
        for _ in 0..2 {
            let met = match ask(connector, &address, options, deadline).await {
                Ok((connection, Some(node))) if node.address == address => {
                    return Ok(LeaderConnection { connection, node });
                }
                Ok((_, Some(node))) if !named => {
                    named = true;
                    address = node.address;
                    continue;
                }
                Ok((_, Some(node))) => Missed::NotItself(node.address),
                Ok((_, None)) => Missed::NoLeader,
                Err(missed) => missed,
            };
            attempts.push(Attempt { address, met });
            break;
        }
    }
    Err(DiscoverError { attempts })
}

/// Connects to a node and asks it who leads.
async fn ask<C: Connector>(
    connector: &C,
    address: &str,
    options: DiscoverOptions,
    deadline: Deadline,
) -> Result<(Connection<C::Stream>, Option<NodeAddress>), Missed> {
    if deadline.is_over() {
        return Err(Missed::DeadlineOver);
    }
    let deadline = deadline.within(options.attempt_timeout);
    let mut connection = connect(connector, address, options.limits, deadline)
        .await
        .map_err(Missed::Unreachable)?;
    let leader = connection
        .leader(deadline)
        .await
        .map_err(Missed::Unreachable)?;
    Ok((connection, leader))
}
