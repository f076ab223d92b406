//! dqlite, as Debian's `dqlite-demo` runs it: a small application on go-dqlite with an HTTP interface.
//!
//! What was seen of it (bookworm's 1.11.5):
//! - the HTTP interface answers 200 to everything; the body says `done`, or begins with `Error:`;
//! - it listens only once a leader was found and its table was made;
//! - SIGTERM hands the role over, which takes up to a minute when there is no leader;
//! - of five nodes the first three become voters, the others stand-bys (or spares for a while).

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use harness_core::meta::ProcessExit;
use harness_lab::{
    Exec, Node,
    capability::{CapabilityError, Leader, LogFiles, Start},
};

use self::origin::Origin;
use super::{
    CoreDump, Handles, System, SystemError, Timing, data_layer, data_mount, packages, raft_disk,
};
use crate::{client::Clients, workload::Kind};

pub mod http;
mod membership;
pub mod origin;
mod outcome;
pub mod paths;
mod process;
mod query;
mod roles;
pub mod session;
mod sources;
pub(super) mod sql;
mod statements;

/// How long a cluster may take to form and its roles to settle.
pub const FORM_TIMEOUT: Duration = Duration::from_secs(60);
/// How often something is looked at again while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How many voters go-dqlite keeps.
pub const VOTER_TARGET: usize = 3;
/// How often each node of go-dqlite looks at the cluster: it rewrites its `cluster.yaml`, and the one that leads
/// mends the roles. `dqlite-demo` keeps go-dqlite's default in 1.11.5, 2.0.0 and 3.0.4.
pub const ROLES_PERIOD: Duration = Duration::from_secs(30);
/// How long go-dqlite waits for one server while it looks for the leader: one that vanished without a word delays a look by as much.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// After this long without a disturbance every node has looked at the cluster once.
pub const SETTLE: Duration = ROLES_PERIOD.saturating_add(ATTEMPT_TIMEOUT);

/// What can be chosen about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// `LIBRAFT_TRACE` and `LIBDQLITE_TRACE`: large logs with terms and states.
    pub trace: bool,
    /// A data folder of that many bytes on each node, a file system of its own; none: a folder like any other.
    pub data_size_bytes: Option<u64>,
    /// A layer over each node's data folder, which can fail its reads and writes and lose what was not synced.
    pub data_layer: bool,
}

/// dqlite on the nodes of a lab. Cheap to clone.
#[derive(Clone)]
pub struct Dqlite {
    options: Options,
    nodes: Arc<[Node]>,
    disk: Arc<raft_disk::Reader>,
}

impl Dqlite {
    /// dqlite on these nodes, which are all of the lab; who is in the cluster is told to [`System::form`].
    #[must_use]
    pub fn new(nodes: &[Node], options: Options) -> Self {
        Self {
            options,
            nodes: nodes.into(),
            disk: Arc::default(),
        }
    }

    /// Program and arguments, but for whom to join: see [`origin::Origin`].
    fn arguments(&self, node: &Node) -> Vec<String> {
        [
            paths::PROGRAM,
            "--api",
            &paths::api_address(node),
            "--db",
            &paths::db_address(node),
            "--dir",
            &format!("{}/data", paths::BASE),
            "--verbose",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn environment(&self) -> Vec<(String, String)> {
        let traced: &[&str] = if self.options.trace {
            &["LIBRAFT_TRACE", "LIBDQLITE_TRACE"]
        } else {
            &[]
        };
        traced
            .iter()
            .map(|name| ((*name).to_owned(), "1".to_owned()))
            .collect()
    }

    /// Starts a node and waits until its HTTP interface takes a write.
    async fn start_and_wait(
        &self,
        node: &Node,
        origin: &Origin,
        until: Instant,
    ) -> Result<(), SystemError> {
        self.start_as(node, origin).await?;
        let mut last = String::from("nothing was tried");
        while Instant::now() < until {
            match http::put(node, "harness-formed", "1", POLL_INTERVAL * 40).await {
                Ok(()) => return Ok(()),
                Err(error) => last = error.to_string(),
            }
            if !self.is_running(node).await? {
                last = format!(
                    "its process has ended; {}",
                    paths::PROCESS.last_words(node).await
                );
                break;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(SystemError::NotFormed {
            waited: FORM_TIMEOUT,
            detail: format!("{}: {last}", node.name),
        })
    }

    fn node_at(&self, address: &str) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|node| paths::db_address(node) == address)
    }
}

#[async_trait]
impl System for Dqlite {
    fn name(&self) -> &'static str {
        "dqlite"
    }

    fn handles(&self) -> Handles {
        Handles::all(&Arc::new(self.clone()))
    }

    fn timing(&self) -> Option<Timing> {
        Some(Timing {
            settle: SETTLE,
            max_voters: Some(VOTER_TARGET),
            heartbeat: ROLES_PERIOD,
        })
    }

    async fn versions(&self, node: &Node) -> Result<BTreeMap<String, String>, SystemError> {
        let query = format!(
            "command -v {program} >/dev/null || exit 3; \
             dpkg-query -W -f '${{Package}} ${{Version}}\\n' go-dqlite dqlite-tools libdqlite0 libdqlite1.17-0 libdqlite1.18-0 libraft0 libraft2 2>/dev/null; \
             dpkg -S \"$(command -v {program})\" 2>/dev/null | cut -d: -f1 | xargs -r dpkg-query -W -f '${{Package}} ${{Version}}\\n'; \
             ldd \"$(command -v {program})\" 2>/dev/null | sed -n 's/.*=> \\(.*lib\\(dqlite\\|raft\\)[^ ]*\\).*/\\1/p' | while read -r f; do dpkg -S \"$(readlink -f \"$f\")\" 2>/dev/null | cut -d: -f1 | xargs -r dpkg-query -W -f '${{Package}} ${{Version}}\\n'; done; true",
            program = paths::PROGRAM
        );
        let output = node
            .transport
            .exec(Exec::shell(query))
            .await
            .map_err(CapabilityError::from)?;
        if !output.status.success() {
            return Err(SystemError::NotInstalled {
                node: node.name.to_string(),
                program: paths::PROGRAM.to_owned(),
                mend: "use an image built with `harness lab image build --with dqlite`, or install Debian's go-dqlite on the node".to_owned(),
            });
        }
        Ok(packages(&output.stdout_text()))
    }

    async fn wipe(&self, node: &Node) -> Result<(), SystemError> {
        let unmount = [
            data_layer::unmount(paths::BASE),
            data_mount::unmount(paths::BASE),
        ];
        paths::PROCESS.wipe(node, &unmount.join("\n")).await?;
        if let Some(size_bytes) = self.options.data_size_bytes {
            data_mount::limit(node, paths::BASE, size_bytes).await?;
        }
        if self.options.data_layer {
            data_layer::put(node, paths::BASE).await?;
        }
        Ok(())
    }

    async fn form(&self, nodes: &[Node]) -> Result<(), SystemError> {
        let until = Instant::now() + FORM_TIMEOUT;
        let mut origin = Origin::Bootstrap;
        for node in nodes {
            self.start_and_wait(node, &origin, until).await?;
            origin = Origin::Join(vec![paths::db_address(&nodes[0])]);
        }
        let wanted = VOTER_TARGET.min(nodes.len());
        let mut last = String::from("nobody was asked");
        while Instant::now() < until {
            match session::cluster(nodes).await {
                Ok(members) => {
                    let voters = members.iter().filter(|member| member.is_voter()).count();
                    if members.len() == nodes.len() && (voters >= wanted || nodes.len() < 3) {
                        return Ok(());
                    }
                    last = format!("{} members, {voters} voters", members.len());
                }
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(SystemError::NotFormed {
            waited: FORM_TIMEOUT,
            detail: last,
        })
    }

    async fn prepare(&self, nodes: &[Node], workload: &Kind) -> Result<(), SystemError> {
        sql::prepare(&sql::OverTcp, nodes, workload)
            .await
            .map_err(|detail| SystemError::NotPrepared { detail })
    }

    fn clients(&self, nodes: &[Node], workload: &Kind) -> Arc<dyn Clients> {
        Arc::new(sql::SqlClients::new(
            Arc::new(sql::OverTcp),
            nodes,
            workload.clone(),
        ))
    }

    fn probes(&self, nodes: &[Node]) -> Arc<dyn Clients> {
        http::probes(nodes)
    }

    async fn exits(&self, node: &Node) -> Result<Vec<ProcessExit>, SystemError> {
        Ok(paths::PROCESS.read_exits(node).await?)
    }

    async fn core_dumps(&self, node: &Node) -> Result<Vec<CoreDump>, SystemError> {
        Ok(paths::PROCESS.core_dumps(node).await?)
    }
}

#[async_trait]
impl Leader for Dqlite {
    async fn leader(&self, nodes: &[Node]) -> Option<Node> {
        let address = session::leader_address(nodes).await?;
        self.node_at(&address).cloned()
    }

    async fn voters(&self, nodes: &[Node]) -> Option<Vec<Node>> {
        let members = session::cluster(nodes).await.ok()?;
        Some(
            members
                .iter()
                .filter(|member| member.is_voter())
                .filter_map(|member| self.node_at(&member.address).cloned())
                .collect(),
        )
    }
}

impl LogFiles for Dqlite {
    fn log_files(&self, _node: &Node) -> Vec<PathBuf> {
        vec![paths::PROCESS.log_file()]
    }
}
