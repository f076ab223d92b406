//! LXD: real daemons from Debian's packages, without systemd, under the agent's supervisor.
//!
//! What was seen of them (bookworm's 5.0.2, trixie's 5.0.2+git20231211; the same on both unless said):
//! - `cluster.offline_threshold` set before there is a cluster makes the handler panic: the client sees `EOF`, the value
//!   is stored all the same, and every later PUT of settings ends that way; so it is set after the bootstrap;
//! - a token can be had for any name, also for one that is taken. The join with it fails with "already has a member with
//!   name", and leaves the joiner's certificate in the truststore, under that name (see [`refusals`]);
//! - trixie's wants `server_name` in a joiner's preseed, bookworm's takes it from the token; both take it there;
//! - a member that is removed resets itself and could join again without being wiped;
//! - one that is removed by force while it runs is not told: it goes on to read and to write the cluster's database, on
//!   connections that it has (37 s later still), though it is in none of the others' sources. Started anew it never
//!   gets ready, and the others log `Invalid client certificate`;
//! - without a leader `lxc cluster list` and whatever else needs the global database waits, and the local one answers;
//! - stopping (`lxd shutdown`) takes a second, in which a voter's role goes to a stand-by.
//!
//! | module | subject |
//! | --- | --- |
//! | [`options`] | what can be chosen, and the preseeds |
//! | [`rest`], [`commands`] | asking a daemon; running LXD's programs, recovery |
//! | `wire` | dqlite inside a daemon |
//! | `process`, `form`, `fresh` | starting and stopping; forming a cluster; keeping one and putting it back |
//! | `obstacle` | what stands in a joiner's way, so that a join fails |
//! | `membership`, [`refusals`], [`token`] | joining and removing, and what errors prove |
//! | `sources` | the places where membership is kept |
//! | `transfer` | making another member lead |
//! | [`probes`] | writes as users do |

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_core::meta::ProcessExit;
use harness_lab::{
    Exec, Node,
    capability::{CapabilityError, Leader, LogFiles},
};

use super::{
    CoreDump, Handles, System, SystemError, Timing,
    dqlite::sql::{self, SqlClients},
    fresh::Fresh,
    packages, raft_disk,
    supervised::Supervised,
};
use crate::{client::Clients, workload::Kind};

pub mod commands;
mod form;
mod fresh;
pub mod membership;
mod obstacle;
pub mod options;
pub mod probes;
mod process;
mod query;
pub mod refusals;
pub mod rest;
mod sources;
pub mod token;
mod transfer;
mod wire;

pub use form::FORM_TIMEOUT;
pub use options::{OptionError, Options};

/// The folder of everything that we put on a node for this system.
pub const BASE: &str = "/srv/harness/lxd";
/// The daemon's process. A handover gives up after a minute without a leader.
pub const PROCESS: Supervised = Supervised {
    program: "lxd",
    base: BASE,
    log: "lxd.log",
    stop_wait_s: 75,
};
/// How long the leader may take to list the servers of raft.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// LXD on the nodes of a lab. Cheap to clone.
#[derive(Clone)]
pub struct Lxd {
    options: Arc<Options>,
    nodes: Arc<[Node]>,
    disk: Arc<raft_disk::Reader>,
}

impl Lxd {
    /// LXD on these nodes.
    ///
    /// # Errors
    /// If the options are not what LXD takes.
    pub fn new(nodes: &[Node], options: Options) -> Result<Self, OptionError> {
        options.check()?;
        Ok(Self {
            options: Arc::new(options),
            nodes: nodes.into(),
            disk: Arc::default(),
        })
    }

    /// What was chosen.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The address that a node has as a member.
    #[must_use]
    pub fn address(&self, node: &Node) -> String {
        self.socket(node).to_string()
    }

    fn socket(&self, node: &Node) -> SocketAddr {
        SocketAddr::new(node.address, self.options.port)
    }

    /// The servers of raft as the leader has them, or why they could not be learnt.
    async fn servers_of_leader(&self, nodes: &[Node]) -> Result<Vec<dqlite_wire::Server>, String> {
        let first = nodes.first().ok_or("there is no node")?;
        let found = self.leading_dqlite(first, nodes, ASK_TIMEOUT).await;
        let mut leader = found.map_err(|error| error.to_string())?;
        let servers = leader.connection.cluster(ASK_TIMEOUT).await;
        servers.map_err(|error| error.to_string())
    }
}

#[async_trait]
impl System for Lxd {
    fn name(&self) -> &'static str {
        "lxd"
    }

    fn handles(&self) -> Handles {
        Handles::all(&Arc::new(self.clone()))
    }

    fn is_crash_point(&self, name: &str, file: Option<&str>) -> bool {
        is_crash_point(name, file)
    }

    fn fresh(&self) -> Option<Arc<dyn Fresh>> {
        Some(Arc::new(self.clone()))
    }

    fn timing(&self) -> Option<Timing> {
        Some(Timing {
            settle: self.options.settle(),
            max_voters: Some(self.options.max_voters),
            heartbeat: self.options.heartbeat(),
        })
    }

    async fn versions(&self, node: &Node) -> Result<BTreeMap<String, String>, SystemError> {
        // Packages where there are any; of a snap's or one's own build, what the program says of itself.
        let script = "command -v \"$1\" >/dev/null && command -v \"$2\" >/dev/null || exit 3\n\
            echo \"lxd $(\"$1\" --version)\"\n\
            dpkg-query -W -f '${Package} ${Version}\\n' lxd lxd-client libdqlite0 libdqlite1.17-0 libdqlite1.18-0 libraft2 2>/dev/null || true";
        let (lxd, lxc) = (&self.options.lxd, &self.options.lxc);
        let exec: Exec = self.command(["/bin/sh", "-c", script, "sh", lxd, lxc]);
        let output = node
            .transport
            .exec(exec)
            .await
            .map_err(CapabilityError::from)?;
        if !output.status.success() {
            return Err(SystemError::NotInstalled {
                node: node.name.to_string(),
                program: format!("{lxd} and {lxc}"),
                mend: "use an image built with `harness lab image build --with lxd`, install Debian's lxd and lxd-client on the node, or name the programs in the options of lxd".to_owned(),
            });
        }
        Ok(packages(&output.stdout_text()))
    }

    async fn wipe(&self, node: &Node) -> Result<(), SystemError> {
        Ok(self.remove_everything(node).await?)
    }

    async fn form(&self, nodes: &[Node]) -> Result<(), SystemError> {
        self.form_cluster(nodes).await
    }

    async fn prepare(&self, nodes: &[Node], workload: &Kind) -> Result<(), SystemError> {
        sql::prepare(self, nodes, workload)
            .await
            .map_err(|detail| SystemError::NotPrepared { detail })
    }

    fn clients(&self, nodes: &[Node], workload: &Kind) -> Arc<dyn Clients> {
        Arc::new(SqlClients::new(
            Arc::new(self.clone()),
            nodes,
            workload.clone(),
        ))
    }

    fn probes(&self, nodes: &[Node]) -> Arc<dyn Clients> {
        probes::probes(self, nodes)
    }

    async fn exits(&self, node: &Node) -> Result<Vec<ProcessExit>, SystemError> {
        Ok(PROCESS.read_exits(node).await?)
    }

    async fn core_dumps(&self, node: &Node) -> Result<Vec<CoreDump>, SystemError> {
        Ok(PROCESS.core_dumps(node).await?)
    }
}

#[async_trait]
impl Leader for Lxd {
    async fn leader(&self, nodes: &[Node]) -> Option<Node> {
        let address = self.leader_address(nodes).await?;
        self.node_at(&self.nodes, &address).cloned()
    }

    async fn voters(&self, nodes: &[Node]) -> Option<Vec<Node>> {
        let servers = self.servers_of_leader(nodes).await.ok()?;
        let voters = servers
            .iter()
            .filter(|server| server.role == Some(dqlite_wire::Role::Voter));
        Some(
            voters
                .filter_map(|server| self.node_at(&self.nodes, &server.address).cloned())
                .collect(),
        )
    }
}

impl LogFiles for Lxd {
    fn log_files(&self, _node: &Node) -> Vec<PathBuf> {
        vec![PROCESS.log_file()]
    }
}

/// The packages in which clusters are made and kept, and `main`'s files about them.
fn is_crash_point(name: &str, file: Option<&str>) -> bool {
    let package = ["lxd/cluster.", "lxd/db/cluster."];
    if package.iter().any(|package| {
        let at = name.find(package);
        at.is_some_and(|at| name[..at].ends_with("/lxd/"))
    }) {
        return true;
    }
    let file = file.and_then(|file| file.rsplit('/').next());
    name.starts_with("main.") && file.is_some_and(|file| file.contains("cluster"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crash_points_are_of_the_packages_of_clusters() {
        let api = Some("github.com/lxc/lxd/lxd/api_cluster.go");
        for (name, file, is) in [
            ("github.com/lxc/lxd/lxd/cluster.Join", None, true),
            (
                "github.com/canonical/lxd/lxd/cluster.(*Gateway).init",
                None,
                true,
            ),
            ("github.com/lxc/lxd/lxd/db/cluster.GetConfig", None, true),
            (
                "github.com/lxc/lxd/lxd/db.(*ClusterTx).GetNodes",
                None,
                false,
            ),
            ("main.rebalanceMemberRoles", api, true),
            ("main.clusterPutJoin.func3.5", None, false),
            (
                "main.(*Daemon).Init",
                Some("github.com/lxc/lxd/lxd/daemon.go"),
                false,
            ),
            ("net/http.(*conn).serve", Some("net/http/cluster.go"), false),
        ] {
            assert_eq!(is_crash_point(name, file), is, "{name}");
        }
    }
}
