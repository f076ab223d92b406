//! Machines that exist, reached over SSH.
//!
//! Laws:
//! - a machine is changed only after its owner's explicit consent, and only by adding what is ours:
//!   the marker, the agent's folder, the table `inet harness`;
//! - `down` removes exactly that, and never the machine or what was on it before;
//! - a machine that belongs to another lab is refused, consent or not.
//!
//! What a machine must have is in [`NEEDS`]; it is asked before anything is written.

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::{
    LabError, LabProgress, LabRecord, NodeRecord, NodeState, NodeStatus, ProgressFn, Provider,
    ProviderKind,
};
use crate::{
    lab,
    marker::{self, MARKER, Marker},
    node::Node,
    transport::{Exec, TransportError},
};

/// Something that a machine must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// What it is, for people.
    pub what: &'static str,
    /// A shell command that succeeds if the machine has it.
    pub check: &'static str,
    /// Why.
    pub why: &'static str,
    /// Whether a lab is possible without it.
    pub required: bool,
}

/// What a machine must have to be a node.
pub const NEEDS: [Need; 7] = [
    Need {
        what: "Linux on x86-64 or arm64",
        check: "test \"$(uname -s)\" = Linux && case \"$(uname -m)\" in x86_64|aarch64) ;; *) exit 1 ;; esac",
        why: "the agent is built for it",
        required: true,
    },
    Need {
        what: "root, or sudo -n",
        check: "test \"$(id -u)\" = 0",
        why: "faults need it",
        required: true,
    },
    Need {
        what: "nft",
        check: "command -v nft",
        why: "partitions",
        required: true,
    },
    Need {
        what: "ip",
        check: "command -v ip",
        why: "addresses and routes",
        required: true,
    },
    Need {
        what: "nftables in the kernel",
        check: "nft list tables",
        why: "partitions",
        required: true,
    },
    Need {
        what: "tc",
        check: "command -v tc",
        why: "delay and loss",
        required: false,
    },
    Need {
        what: "systemd",
        check: "test -d /run/systemd/system",
        why: "systems that are started as services",
        required: false,
    },
];

/// Removes the folders that the transport puts the agent into, with what its guard keeps there; idempotent. An agent that runs
/// goes on until its channel is closed, a guard ends by itself. A layer over a data folder ends with its mount, and its system goes on with
/// the folder beneath, which has all that was written.
pub const AGENT_FOLDERS: &str = r#"
set -e
u=${SUDO_UID:-$(id -u)}
h=$(getent passwd "$u" | cut -d: -f6)
for d in /run/harness-agent /var/lib/harness-agent /var/tmp/harness-0 /tmp/harness-0 \
  "/var/tmp/harness-$u" "/tmp/harness-$u" "/dev/shm/harness-$u" "${h:-/nonexistent}/.cache/harness-agent"; do
  if [ -d "$d" ] && [ ! -L "$d" ]; then rm -rf "$d"; fi
done
while read -r what at kind rest; do
  if [ "$kind" = fuse.harness-layer ]; then umount -l "$at"; fi
done </proc/mounts
"#;

/// Removes what is ours from a machine, but for those folders; idempotent. The marker goes last.
const RESTORE: &str = r#"
set -e
if nft list table inet harness >/dev/null 2>&1; then nft delete table inet harness; fi
rm -f /etc/harness-node
"#;

/// The provider of machines that exist.
#[derive(Clone, Copy, Debug)]
pub struct SshProvider {
    adopt: bool,
}

impl SshProvider {
    /// The provider; `adopt` is the owner's consent to machines becoming ours.
    #[must_use]
    pub fn new(adopt: bool) -> Self {
        Self { adopt }
    }
}

#[async_trait]
impl Provider for SshProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Ssh
    }

    async fn up(&self, lab: &mut LabRecord, progress: &ProgressFn) -> Result<(), LabError> {
        let nodes: Vec<Node> = lab.nodes.iter().map(lab::node).collect();
        // First look at all, then change any: a lab that is refused leaves no machine half adopted.
        let seen = all(&nodes, inspect).await;
        let seen: Vec<Seen> = seen.into_iter().collect::<Result<_, _>>()?;
        check_distinct(&nodes, &seen)?;
        for ((node, seen), record) in nodes.iter().zip(&seen).zip(&lab.nodes) {
            self.check(node, record, seen, &lab.id)?;
            progress(&LabProgress::Node {
                node: node.name.clone(),
                step: "checked",
            });
        }
        for (node, seen) in nodes.iter().zip(&seen) {
            if seen.marker.is_none() {
                let line = Marker::new(&lab.id, node.name.as_str(), ProviderKind::Ssh).to_line();
                let path = std::path::Path::new(MARKER);
                node.transport
                    .write_file(path, 0o644, line.as_bytes())
                    .await?;
                progress(&LabProgress::Node {
                    node: node.name.clone(),
                    step: "adopted",
                });
            }
        }
        close(&nodes).await;
        Ok(())
    }

    async fn down(&self, lab: &LabRecord) -> Result<Vec<String>, LabError> {
        let nodes: Vec<Node> = lab.nodes.iter().map(lab::node).collect();
        let id = lab.id.clone();
        let ended = all(&nodes, |node| release(node, id.clone())).await;
        let removed: Vec<Option<String>> = ended.into_iter().collect::<Result<_, _>>()?;
        Ok(removed.into_iter().flatten().collect())
    }

    async fn status(&self, lab: &LabRecord) -> Result<Vec<NodeStatus>, LabError> {
        // Whoever asks reads every marker afterwards, which says the rest.
        let status = |record: &NodeRecord| NodeStatus {
            name: record.name.clone(),
            address: record.address,
            state: NodeState::Up,
            detail: String::new(),
        };
        Ok(lab.nodes.iter().map(status).collect())
    }
}

impl SshProvider {
    fn check(
        &self,
        node: &Node,
        record: &NodeRecord,
        seen: &Seen,
        lab: &str,
    ) -> Result<(), LabError> {
        if !seen.missing.is_empty() {
            let missing = seen.missing.join(", ");
            return Err(LabError::Lacks {
                node: node.name.to_string(),
                missing,
            });
        }
        match &seen.marker {
            Some(marker) if marker.lab == lab && marker.node == node.name.as_str() => Ok(()),
            Some(marker) => Err(LabError::OtherLab {
                node: node.name.to_string(),
                lab: format!("{} as {}", marker.lab, marker.node),
            }),
            None if self.adopt => Ok(()),
            None => Err(LabError::NotAdopted {
                node: node.name.to_string(),
                address: record.access.host.clone(),
            }),
        }
    }
}

/// What a look at a machine shows.
struct Seen {
    marker: Option<Marker>,
    /// Required things that it lacks.
    missing: Vec<&'static str>,
    /// What tells one running machine from another.
    identity: String,
}

async fn inspect(node: Node) -> Result<Seen, LabError> {
    let marker = marker::read(node.transport.as_ref()).await?;
    let mut missing = Vec::new();
    for need in NEEDS.iter().filter(|need| need.required) {
        let answer = node.transport.exec(Exec::shell(need.check)).await?;
        if !answer.status.success() {
            missing.push(need.what);
        }
    }
    // Containers of one machine share its boot, machines made from one disk share their id:
    // the two together, and the network namespace, do not collide.
    let script = "cat /proc/sys/kernel/random/boot_id /etc/machine-id 2>/dev/null; readlink /proc/self/ns/net";
    let identity = node
        .transport
        .exec(Exec::shell(script))
        .await?
        .stdout_text();
    Ok(Seen {
        marker,
        missing,
        identity,
    })
}

fn check_distinct(nodes: &[Node], seen: &[Seen]) -> Result<(), LabError> {
    for (later, second) in seen.iter().enumerate() {
        if let Some(first) = seen[..later]
            .iter()
            .position(|first| first.identity == second.identity)
        {
            return Err(LabError::SameMachine {
                first: nodes[first].name.to_string(),
                second: nodes[later].name.to_string(),
            });
        }
    }
    Ok(())
}

/// Removes what is ours from a machine that is ours.
async fn release(node: Node, lab: String) -> Result<Option<String>, LabError> {
    match marker::assert_ours(&node, &lab).await {
        Ok(()) => {}
        // Never adopted, released already, or somebody else's: nothing of ours to remove.
        Err(TransportError::NotOurs { .. }) => {
            node.transport.close().await;
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    }
    let restore = format!("{AGENT_FOLDERS}{RESTORE}");
    let ended = node.transport.exec(Exec::shell(restore)).await?;
    node.transport.close().await;
    if ended.status.success() {
        return Ok(Some(format!("marker, agent and table of {}", node.name)));
    }
    let detail = crate::host::last_lines(&ended.stderr_text());
    Err(LabError::Restore {
        node: node.name.to_string(),
        detail,
    })
}

async fn close(nodes: &[Node]) {
    for node in nodes {
        node.transport.close().await;
    }
}

/// Does something on all nodes at once; the results are in the nodes' order.
async fn all<T, F, W>(nodes: &[Node], work: W) -> Vec<Result<T, LabError>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, LabError>> + Send + 'static,
    W: Fn(Node) -> F,
{
    let mut tasks = JoinSet::new();
    for (index, node) in nodes.iter().cloned().enumerate() {
        let task = work(node);
        tasks.spawn(async move { (index, task.await) });
    }
    let mut results: Vec<_> = nodes.iter().map(|_| None).collect();
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok((index, result)) => results[index] = Some(result),
            Err(error) => return vec![Err(LabError::Panicked(error.to_string()))],
        }
    }
    results.into_iter().flatten().collect()
}
