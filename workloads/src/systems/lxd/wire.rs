//! dqlite inside a daemon, reached as members reach it: through the daemon's HTTPS interface.
//!
//! Each daemon also has an abstract unix socket for dqlite, but dqlite hangs up on every process except its own (it looks
//! at the peer's credentials; seen on bookworm, before a byte is sent). So a connection is made as LXD makes its own: TCP
//! from the node, TLS with that node's certificate, and `POST /internal/database` with `Upgrade: dqlite`.
//!
//! | who | connects to | what that means |
//! | --- | --- | --- |
//! | readers of `raft` | the node itself | each node's own view, also a follower's |
//! | clients of data workloads | the node itself, then the leader that it names | as the daemon's own connections: a partition of the node cuts its clients off, and who is no longer trusted is refused |

use std::{io, net::SocketAddr, path::Path, pin::Pin, time::Duration};

use async_trait::async_trait;
use dqlite_wire::client::{
    ClientError, Connection, Connector, Deadline, DiscoverError, DiscoverOptions, LeaderConnection,
    Limits, NotSentCause, connect, connect_leader,
};
use harness_lab::{Address, Node, NodeStream, TransportError};
use openssl::{
    pkey::PKey,
    ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion},
    x509::X509,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinSet,
};
use tokio_openssl::SslStream;

use super::Lxd;
use crate::systems::{
    asking::{most_say, socket_address},
    dqlite::{session::Stream, sql::Way},
};

/// How long one node is asked who leads, when many are.
const ASK_TIMEOUT: Duration = Duration::from_millis(1000);
/// How long connecting to one node and asking it may take while a client looks for the leader.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(2000);
/// Longest certificate or key that is read, in bytes.
const PEM_LIMIT_BYTES: usize = 64 * 1024;
/// Longest head of an answer to the upgrade, in bytes.
const HEAD_LIMIT_BYTES: usize = 4096;
/// The version of the upgrade that LXD 5 speaks.
const UPGRADE_VERSION: u32 = 1;

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

fn as_io(error: TransportError) -> io::Error {
    match error {
        TransportError::Refused { source, .. } => source,
        TransportError::TimedOut { .. } => io::Error::new(io::ErrorKind::TimedOut, error),
        error => io::Error::other(error),
    }
}

/// What the status line of an answer to the upgrade says; an error unless it is 101.
fn upgraded(head: &str) -> io::Result<()> {
    let line = head.lines().next().unwrap_or_default();
    let said = format!("LXD answered the upgrade with {line:?}");
    match line.split_whitespace().nth(1) {
        Some("101") => Ok(()),
        Some("403") => Err(io::Error::new(io::ErrorKind::PermissionDenied, said)),
        _ => Err(other(said)),
    }
}

impl Lxd {
    async fn pem(&self, node: &Node, name: &str) -> io::Result<Vec<u8>> {
        let path = self.options().state_folder.join(name);
        let read = node
            .transport
            .read_file(Path::new(&path), 0, PEM_LIMIT_BYTES);
        read.await.map_err(as_io)
    }

    /// TLS from a node to a member: with the node's certificate, to whoever shows the certificate of the cluster.
    async fn tls(&self, node: &Node, stream: Box<dyn NodeStream>) -> io::Result<SslStream<Stream>> {
        let own = self.pem(node, "server.crt").await?;
        let key = self.pem(node, "server.key").await?;
        // A daemon that is in no cluster shows its own.
        let expected = match self.pem(node, "cluster.crt").await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => own.clone(),
            read => read?,
        };
        let mut context = SslContext::builder(SslMethod::tls_client())?;
        context.set_min_proto_version(Some(SslVersion::TLS1_3))?;
        let own = X509::from_pem(&own)?;
        context.set_certificate(&own)?;
        let key = PKey::private_key_from_pem(&key)?;
        context.set_private_key(&key)?;
        // Signed by nobody: it is compared as a whole below, before a byte is sent.
        context.set_verify(SslVerifyMode::NONE);
        let ssl = Ssl::new(&context.build())?;
        let mut stream = SslStream::new(ssl, stream)?;
        Pin::new(&mut stream).connect().await.map_err(other)?;
        let expected = X509::from_pem(&expected)?.to_der()?;
        let shown = stream.ssl().peer_certificate();
        if shown.map(|shown| shown.to_der()).transpose()? != Some(expected) {
            return Err(other("it shows another certificate than the cluster's"));
        }
        Ok(stream)
    }

    /// A stream of dqlite's protocol from a node to the member at an address.
    async fn dqlite(
        &self,
        node: &Node,
        address: SocketAddr,
        timeout: Duration,
    ) -> io::Result<Stream> {
        let member = Address::Tcp(address);
        let plain = node.transport.connect(&member, timeout).await;
        let mut stream = self.tls(node, plain.map_err(as_io)?).await?;
        let request = format!(
            "POST /internal/database HTTP/1.1\r\nHost: {address}\r\nUpgrade: dqlite\r\nX-Dqlite-Version: {UPGRADE_VERSION}\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        // dqlite says nothing unasked, so that nothing of it can be read along with the head.
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() > HEAD_LIMIT_BYTES {
                return Err(other("LXD's answer to the upgrade has no end"));
            }
            if stream.read_buf(&mut head).await? == 0 {
                break;
            }
            // An answer that is no upgrade may have a body.
            if head.windows(4).any(|window| window == b"\r\n\r\n") {
                break;
            }
        }
        upgraded(&String::from_utf8_lossy(&head))?;
        Ok(Box::new(stream))
    }

    /// Whether at least one of the other nodes refuses this node's certificate, and none lets it in.
    pub(super) async fn is_forbidden(&self, node: &Node, timeout: Duration) -> bool {
        let mut asked = JoinSet::new();
        for other in self.nodes.iter().filter(|other| other.name != node.name) {
            let (this, node) = (self.clone(), node.clone());
            let address = SocketAddr::new(other.address, self.options().port);
            asked.spawn(tokio::time::timeout(timeout, async move {
                this.dqlite(&node, address, timeout).await.map(drop)
            }));
        }
        let mut forbidden = false;
        while let Some(answer) = asked.join_next().await {
            match answer {
                Ok(Ok(Ok(()))) => return false,
                Ok(Ok(Err(error))) if error.kind() == io::ErrorKind::PermissionDenied => {
                    forbidden = true;
                }
                _ => {}
            }
        }
        forbidden
    }

    /// A connection to the node's own dqlite.
    pub(super) async fn own_dqlite(
        &self,
        node: &Node,
        deadline: Duration,
    ) -> Result<Connection<Stream>, ClientError> {
        let from = FromNode {
            lxd: self,
            node,
            timeout: deadline,
        };
        let until = Deadline::after(deadline);
        connect(&from, &self.address(node), Limits::default(), until).await
    }

    /// A connection to the leader, for a client on `node`.
    pub(super) async fn leading_dqlite(
        &self,
        node: &Node,
        nodes: &[Node],
        timeout: Duration,
    ) -> Result<LeaderConnection<Stream>, DiscoverError> {
        let own = std::iter::once(node);
        // From the next one on, so that clients do not all ask the same node first.
        let others = nodes.iter().cycle().skip(node.ordinal + 1);
        let others = others
            .take(nodes.len())
            .filter(|other| other.name != node.name);
        let seeds: Vec<String> = own.chain(others).map(|seed| self.address(seed)).collect();
        let options = DiscoverOptions {
            attempt_timeout: ATTEMPT_TIMEOUT.min(timeout),
            limits: Limits::default(),
        };
        let from = FromNode {
            lxd: self,
            node,
            timeout: options.attempt_timeout,
        };
        connect_leader(&from, &seeds, options, Deadline::after(timeout)).await
    }

    /// The address that most of the nodes that answer call the leader; a tie is nobody.
    pub(super) async fn leader_address(&self, nodes: &[Node]) -> Option<String> {
        let asked = nodes.iter().map(|node| {
            let (this, node) = (self.clone(), node.clone());
            async move {
                let mut own = this.own_dqlite(&node, ASK_TIMEOUT).await.ok()?;
                Some(own.leader(ASK_TIMEOUT).await.ok()??.address)
            }
        });
        most_say(asked, ASK_TIMEOUT).await
    }

    /// The node that a member's address belongs to.
    pub(super) fn node_at<'a>(&self, nodes: &'a [Node], address: &str) -> Option<&'a Node> {
        let address: SocketAddr = address.parse().ok()?;
        nodes.iter().find(|node| node.address == address.ip())
    }
}

/// Connects from one node.
struct FromNode<'a> {
    lxd: &'a Lxd,
    node: &'a Node,
    timeout: Duration,
}

impl Connector for FromNode<'_> {
    type Stream = Stream;

    async fn connect(&self, address: &str) -> io::Result<Stream> {
        let address = socket_address(address)?;
        self.lxd.dqlite(self.node, address, self.timeout).await
    }
}

#[async_trait]
impl Way for Lxd {
    async fn to_leader(
        &self,
        node: &Node,
        nodes: &[Node],
        timeout: Duration,
    ) -> Result<LeaderConnection<Stream>, DiscoverError> {
        self.leading_dqlite(node, nodes, timeout).await
    }
}

/// Whether an error says that no connection came to be for another reason than time: nobody listens, the daemon has no
/// certificate yet, or it speaks no dqlite.
pub(super) fn not_served(error: &ClientError) -> bool {
    matches!(error, ClientError::NotSent(NotSentCause::Connect { source, .. }) if source.kind() != io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_101_is_an_upgrade() {
        assert!(upgraded("HTTP/1.1 101 Switching Protocols\r\nUpgrade: dqlite\r\n\r\n").is_ok());
        for head in [
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: 101\r\n\r\n",
            "",
        ] {
            assert!(upgraded(head).is_err(), "{head:?}");
        }
    }
}
