//! dqlite inside a daemon, through the daemon's own socket.
//!
//! Members speak dqlite to each other through LXD's HTTPS interface, which wants a member's certificate. Behind it each
//! daemon serves dqlite on an abstract unix socket whose name the kernel chose (five hexadecimal digits), with no guard but
//! the machine's. It is another one after each start and each join, so that it is looked up whenever it is used.
//!
//! | who | through which socket | what that means |
//! | --- | --- | --- |
//! | readers of `raft` | the node's own | each node's own view, also a follower's |
//! | clients of data workloads | the node's own is asked who leads, then the leader's | statements reach the leader on the leader's node: a partition between the client's node and the leader cuts a client off only where its own daemon no longer knows a leader |

use std::{collections::BTreeMap, io, net::SocketAddr, path::Path, time::Duration};

use async_trait::async_trait;
use dqlite_wire::client::{
    ClientError, Connection, Connector, Deadline, DiscoverError, DiscoverOptions, LeaderConnection,
    Limits, NotSentCause, connect, connect_leader,
};
use harness_lab::{Address, Exec, Node, TransportError};
use tokio::task::JoinSet;

use super::Lxd;
use crate::systems::dqlite::{session::Stream, sql::Way};

/// How long one node is asked who leads, when many are.
const ASK_TIMEOUT: Duration = Duration::from_millis(800);
/// How long connecting to one node and asking it may take while a client looks for the leader.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);
/// Bytes read of the kernel's list of unix sockets.
const SOCKETS_LIMIT_BYTES: usize = 1024 * 1024;
/// Digits of a name that the kernel chose.
const AUTOBIND_DIGITS: usize = 5;
/// The flag of a socket that listens (`__SO_ACCEPTCON`), as the kernel prints it.
const LISTENS: &str = "00010000";
/// What the kernel calls a stream socket.
const STREAM: &str = "0001";

/// A socket that listens under a name that the kernel chose.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Autobound {
    name: String,
    inode: String,
}

/// Those in `/proc/net/unix`: `Num RefCount Protocol Flags Type St Inode Path`, an abstract name with `@` in front.
fn autobound(listing: &str) -> Vec<Autobound> {
    let is_name =
        |name: &str| name.len() == AUTOBIND_DIGITS && name.bytes().all(|b| b.is_ascii_hexdigit());
    let one = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, flags, kind, _, inode, path] = fields[..] else {
            return None;
        };
        let name = path.strip_prefix('@').filter(|name| is_name(name))?;
        (flags == LISTENS && kind == STREAM).then(|| Autobound {
            name: name.to_owned(),
            inode: inode.to_owned(),
        })
    };
    listing.lines().filter_map(one).collect()
}

fn other(message: impl Into<String>) -> io::Error {
    io::Error::other(message.into())
}

fn nobody() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionRefused,
        "no dqlite socket of the daemon is there",
    )
}

fn as_io(error: TransportError) -> io::Error {
    match error {
        TransportError::Refused { source, .. } => source,
        TransportError::TimedOut { .. } => io::Error::new(io::ErrorKind::TimedOut, error),
        error => io::Error::other(error),
    }
}

impl Lxd {
    /// The name of the daemon's dqlite socket.
    async fn dqlite_socket(&self, node: &Node) -> io::Result<String> {
        let listing = node
            .transport
            .read_file(Path::new("/proc/net/unix"), 0, SOCKETS_LIMIT_BYTES)
            .await
            .map_err(as_io)?;
        let mut found = autobound(&String::from_utf8_lossy(&listing));
        if found.len() > 1 {
            // Somebody else on this machine has one too: ask which is the daemon's.
            let Some(pid) = super::PROCESS
                .running(node)
                .await
                .map_err(|e| other(e.to_string()))?
            else {
                return Err(nobody());
            };
            let script = format!("ls -l /proc/{pid}/fd 2>/dev/null || true");
            let output = node
                .transport
                .exec(Exec::shell(script))
                .await
                .map_err(as_io)?;
            let open = output.stdout_text();
            found.retain(|socket| open.contains(&format!("socket:[{}]", socket.inode)));
        }
        match found.pop() {
            None => Err(nobody()),
            Some(socket) if found.is_empty() => Ok(socket.name),
            Some(_) => Err(other(
                "the daemon has several sockets that could be dqlite's",
            )),
        }
    }

    async fn connect_dqlite(&self, node: &Node, timeout: Duration) -> io::Result<Stream> {
        let address = Address::Abstract(self.dqlite_socket(node).await?);
        node.transport
            .connect(&address, timeout)
            .await
            .map_err(as_io)
    }

    /// A connection to the node's own dqlite.
    pub(super) async fn own_dqlite(
        &self,
        node: &Node,
        deadline: Duration,
    ) -> Result<Connection<Stream>, ClientError> {
        let nodes = std::slice::from_ref(node);
        let sockets = Sockets {
            lxd: self,
            nodes,
            timeout: deadline,
        };
        let until = Deadline::after(deadline);
        connect(&sockets, &self.address(node), Limits::default(), until).await
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
        let others = nodes
            .iter()
            .cycle()
            .skip(node.ordinal + 1)
            .take(nodes.len());
        let seeds: Vec<String> = own
            .chain(others.filter(|other| other.name != node.name))
            .map(|seed| self.address(seed))
            .collect();
        let options = DiscoverOptions {
            attempt_timeout: ATTEMPT_TIMEOUT.min(timeout),
            limits: Limits::default(),
        };
        let sockets = Sockets {
            lxd: self,
            nodes,
            timeout: options.attempt_timeout,
        };
        connect_leader(&sockets, &seeds, options, Deadline::after(timeout)).await
    }

    /// The address that most of the nodes that answer call the leader; a tie is nobody.
    pub(super) async fn leader_address(&self, nodes: &[Node]) -> Option<String> {
        let mut asked = JoinSet::new();
        for node in nodes {
            let (this, node) = (self.clone(), node.clone());
            let ask = async move {
                let mut own = this.own_dqlite(&node, ASK_TIMEOUT).await.ok()?;
                Some(own.leader(ASK_TIMEOUT).await.ok()??.address)
            };
            asked.spawn(tokio::time::timeout(ASK_TIMEOUT, ask));
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

    /// The node that a member's address belongs to.
    pub(super) fn node_at<'a>(&self, nodes: &'a [Node], address: &str) -> Option<&'a Node> {
        let address: SocketAddr = address.parse().ok()?;
        nodes.iter().find(|node| node.address == address.ip())
    }
}

/// Connects to the dqlite of whichever node has an address.
struct Sockets<'a> {
    lxd: &'a Lxd,
    nodes: &'a [Node],
    timeout: Duration,
}

impl Connector for Sockets<'_> {
    type Stream = Stream;

    async fn connect(&self, address: &str) -> io::Result<Stream> {
        let node = self
            .lxd
            .node_at(self.nodes, address)
            .ok_or_else(|| other("this is the address of no node that is known here"))?;
        self.lxd.connect_dqlite(node, self.timeout).await
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

/// Whether an error says that no dqlite socket of a daemon is there, or that nobody listens on it.
pub(super) fn nobody_listens(error: &ClientError) -> bool {
    match error {
        ClientError::NotSent(NotSentCause::Connect { source, .. }) => {
            source.kind() == io::ErrorKind::ConnectionRefused
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_with_the_kernels_names_are_taken() {
        let listing = "\
Num       RefCount Protocol Flags    Type St Inode Path
00000000a87547e1: 00000003 00000000 00000000 0001 03 1384302 @e6840
00000000eddad945: 00000002 00000000 00010000 0001 01 1384706 @e6840
00000000ec795a08: 00000002 00000000 00010000 0001 01 1368777 /srv/harness/lxd/data/devlxd/sock
00000000ec795a09: 00000002 00000000 00010000 0005 01 1368778 @00001
00000000ec795a0a: 00000002 00000000 00010000 0001 01 1368779 @/tmp/.X11-unix/X0
00000000d2fda5a6: 00000003 00000000 00000000 0001 03 1369174
";
        let one = Autobound {
            name: "e6840".to_owned(),
            inode: "1384706".to_owned(),
        };
        assert_eq!(autobound(listing), [one]);
        assert!(autobound("").is_empty());
    }
}
