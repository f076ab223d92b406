//! Cutting nodes from each other, seeing that it holds, and mending it.
//!
//! 1. What each node drops is always rendered from *all* cuts in force, under the node's lock: faults
//!    of different lanes compose, and healing one leaves what another holds.
//! 2. A partition holds when every node in it has dropped packets of every node that it is cut from.
//!    Where nobody talks, we make a node talk: it connects to the peer's SSH port. A connection that is
//!    made proves that there is no partition.
//! 3. It is healed when the rules are gone *and* each pair that no other fault cuts connects again.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use harness_core::fault::Evidence;
use harness_lab::{Address, Exec, Node, Output, TransportError};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{
    each::each,
    report::{Trouble, Undone, with_sources},
};
use crate::plan::{Cut, Drops, nft};

/// How long a command of ours may take on a node.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take that tells whether a node reaches another.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Where nodes listen for sure, because it is how we reach them.
const PROBE_PORT: u16 = 22;
/// How long to look for dropped packets.
const OBSERVE_LIMIT: Duration = Duration::from_secs(5);
/// How long between two looks at the counters.
const OBSERVE_PAUSE: Duration = Duration::from_millis(100);
/// How long to wait before trying again to mend a node.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How much of what a failed command wrote is kept, in characters.
const DETAIL_CHARS: usize = 300;

/// Why nothing is injected any more.
pub(super) const CLOSED: &str = "the final heal has begun";

/// What a connection attempt from one node to another says.
enum Probe {
    /// Packets pass: connected, or refused by the peer itself.
    Passes,
    /// No answer came.
    Silent(String),
}

/// The nodes' network, with all cuts in force.
pub(super) struct Network {
    nodes: Vec<Node>,
    /// One for each node; held while its rules are changed.
    locks: Vec<Mutex<()>>,
    cuts: StdMutex<BTreeMap<u32, Cut>>,
    /// Set once the final heal has begun; read and set under the lock of `cuts`.
    closed: AtomicBool,
}

impl Network {
    pub(super) fn new(nodes: Vec<Node>) -> Arc<Self> {
        Arc::new(Self {
            locks: nodes.iter().map(|_| Mutex::new(())).collect(),
            nodes,
            cuts: StdMutex::new(BTreeMap::new()),
            closed: AtomicBool::new(false),
        })
    }

    fn name(&self, node: usize) -> &str {
        self.nodes[node].name.as_str()
    }

    fn names(&self, nodes: &[usize]) -> String {
        let names: Vec<&str> = nodes.iter().map(|node| self.name(*node)).collect();
        names.join(", ")
    }

    fn cuts<T>(&self, change: impl FnOnce(&mut BTreeMap<u32, Cut>) -> T) -> T {
        change(&mut self.cuts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on nothing is cut any more.
    pub(super) fn close(&self) {
        self.cuts(|_| self.closed.store(true, Ordering::Relaxed));
    }

    fn union(&self) -> Cut {
        self.cuts(|cuts| Cut::union(cuts.values()))
    }

    /// Cuts, on all nodes at once; what did not work.
    pub(super) async fn inject(self: &Arc<Self>, fault: u32, cut: &Cut) -> Vec<Trouble> {
        let begun = self.cuts(|cuts| {
            let open = !self.closed.load(Ordering::Relaxed);
            if open {
                cuts.insert(fault, cut.clone());
            }
            open
        });
        if !begun {
            return vec![Trouble::lab("nobody was cut", CLOSED)];
        }
        let jobs = cut.nodes().into_iter().map(|node| {
            let network = Arc::clone(self);
            (node, async move { network.apply(node).await.map(drop) })
        });
        let deadline = Instant::now() + 2 * COMMAND_TIMEOUT;
        let mut troubles = Vec::new();
        for (node, answer) in each(jobs, deadline).await {
            match answer {
                Some(Ok(())) => {}
                Some(Err(trouble)) => troubles.push(trouble),
                None => troubles.push(Trouble::lab(self.name(node), "no answer to nft in time")),
            }
        }
        troubles
    }

    /// Tells a node what all cuts in force together want of it; whom it drops from now on.
    async fn apply(&self, node: usize) -> Result<Vec<usize>, Trouble> {
        let _lock = self.locks[node].lock().await;
        let union = self.union();
        let peers = union.peers(node);
        let addresses: BTreeMap<IpAddr, Drops> = union
            .drops(node)
            .map(|(peer, drops)| (self.nodes[peer].address, drops))
            .collect();
        let exec = Exec::shell(nft::APPLY)
            .stdin(nft::render(&addresses))
            .timeout(COMMAND_TIMEOUT);
        run(&self.nodes[node], exec).await?;
        Ok(peers)
    }

    /// Puts back what these nodes lost of all cuts in force when they booted. What cannot be told to a node is told by the
    /// evidence of those cuts, and healed with them.
    pub(super) async fn put_back(&self, nodes: &[usize]) {
        for node in nodes {
            if self.union().peers(*node).is_empty() {
                continue;
            }
            if let Err(trouble) = self.apply(*node).await {
                tracing::warn!(%trouble, "rules that a boot took away could not be put back");
            }
        }
    }

    /// Waits until the cut is seen to hold on every node of it.
    pub(super) async fn observe(self: &Arc<Self>, cut: &Cut) -> Result<Vec<Evidence>, String> {
        let jobs = cut.nodes().into_iter().map(|node| {
            let network = Arc::clone(self);
            let peers = cut.peers(node);
            (
                node,
                async move { network.observe_node(node, &peers).await },
            )
        });
        // A last look may begin just before the limit and wait for the node's answer.
        let deadline = Instant::now() + OBSERVE_LIMIT + COMMAND_TIMEOUT;
        let mut evidence = Vec::new();
        let mut failures = Vec::new();
        for (node, answer) in each(jobs, deadline).await {
            let name = self.name(node).to_owned();
            match answer {
                Some(Ok(text)) => evidence.push(Evidence { node: name, text }),
                Some(Err(failure)) => failures.push(failure),
                None => failures.push(format!("{name} did not say what it drops")),
            }
        }
        if failures.is_empty() {
            Ok(evidence)
        } else {
            Err(failures.join("; "))
        }
    }

    async fn observe_node(
        self: &Arc<Self>,
        node: usize,
        peers: &[usize],
    ) -> Result<String, String> {
        let began = Instant::now();
        let mut probes: Option<tokio::task::JoinSet<(usize, Probe)>> = None;
        loop {
            let answer = run(&self.nodes[node], shell(nft::LIST_TABLE)).await;
            let packets = match answer.map(|output| nft::counters(&output.stdout)) {
                Ok(Ok(packets)) => packets,
                Ok(Err(error)) => return Err(format!("{}: {error}", self.name(node))),
                Err(trouble) => return Err(trouble.to_string()),
            };
            let dropped = |peer: usize| {
                let count = packets.get(&self.nodes[peer].address);
                count.copied().unwrap_or_default()
            };
            let unseen: Vec<usize> = peers.iter().copied().filter(|p| dropped(*p) == 0).collect();
            if unseen.is_empty() {
                let each: Vec<String> = peers
                    .iter()
                    .map(|peer| format!("{} {}", dropped(*peer), self.name(*peer)))
                    .collect();
                let sum = peers
                    .iter()
                    .map(|peer| dropped(*peer))
                    .fold(0, u64::saturating_add);
                let plural = if sum == 1 { "" } else { "s" };
                return Ok(format!(
                    "{sum} packet{plural} dropped ({})",
                    each.join(", ")
                ));
            }
            let probes = probes.get_or_insert_with(|| self.start_probes(node, &unseen));
            while let Some(Ok((peer, probe))) = probes.try_join_next() {
                if matches!(probe, Probe::Passes) {
                    return Err(format!(
                        "{} still reaches {}",
                        self.name(node),
                        self.name(peer)
                    ));
                }
            }
            if began.elapsed() >= OBSERVE_LIMIT {
                let (name, peers) = (self.name(node), self.names(&unseen));
                return Err(format!("{name} dropped no packet of {peers}"));
            }
            sleep(OBSERVE_PAUSE).await;
        }
    }

    fn start_probes(
        self: &Arc<Self>,
        node: usize,
        peers: &[usize],
    ) -> tokio::task::JoinSet<(usize, Probe)> {
        let mut probes = tokio::task::JoinSet::new();
        for peer in peers.iter().copied() {
            let network = Arc::clone(self);
            probes.spawn(async move {
                (
                    peer,
                    probe(&network.nodes[node], &network.nodes[peer]).await,
                )
            });
        }
        probes
    }

    /// Mends what this fault cut, as far as no other fault cuts it, and waits until that is seen.
    pub(super) async fn heal(self: &Arc<Self>, fault: u32, cut: &Cut, deadline: Instant) -> Undone {
        self.cuts(|cuts| cuts.remove(&fault));
        // Half the time for the rules, so that a node that hangs leaves time to see the others connect.
        let now = Instant::now();
        let rules_deadline = now + deadline.saturating_duration_since(now) / 2;
        let jobs = cut.nodes().into_iter().map(|node| {
            let network = Arc::clone(self);
            (node, async move {
                network.heal_node(node, rules_deadline).await
            })
        });
        let mut undone = Undone::default();
        for (node, answer) in each(jobs, rules_deadline).await {
            match answer {
                Some(Ok(text)) => undone.saw(self.name(node), text),
                Some(Err(trouble)) => undone.troubles.push(trouble),
                None => undone
                    .troubles
                    .push(Trouble::lab(self.name(node), "no answer to nft in time")),
            }
        }
        let failed = |node: usize| undone.troubles.iter().any(|t| t.node == self.name(node));
        let union = self.union();
        let pairs: Vec<(usize, usize)> = cut
            .pairs()
            .into_iter()
            .filter(|(a, b)| !union.separates(*a, *b) && !failed(*a) && !failed(*b))
            .collect();
        undone.extend(reach(&self.nodes, &pairs, deadline).await);
        undone
    }

    async fn heal_node(&self, node: usize, deadline: Instant) -> Result<String, Trouble> {
        loop {
            match self.try_heal_node(node).await {
                Err(_) if Instant::now() + RETRY_PAUSE < deadline => sleep(RETRY_PAUSE).await,
                answer => return answer,
            }
        }
    }

    async fn try_heal_node(&self, node: usize) -> Result<String, Trouble> {
        let still = self.apply(node).await?;
        if !still.is_empty() {
            let peers = self.names(&still);
            return Ok(format!(
                "rules removed; another fault still cuts it from {peers}"
            ));
        }
        // Another lane may have cut it again since, then its table is not ours to miss.
        if has_table(&self.nodes[node]).await? && self.union().peers(node).is_empty() {
            let text = "table inet harness is still there";
            return Err(Trouble::lab(self.name(node), text));
        }
        Ok("table inet harness is gone".to_owned())
    }
}

/// Whether our table is on the node.
pub(super) async fn has_table(node: &Node) -> Result<bool, Trouble> {
    let output = run(node, shell(nft::LIST_TABLES)).await?;
    nft::has_table(&output.stdout)
        .map_err(|error| Trouble::lab(node.name.as_str(), error.to_string()))
}

/// Removes our table whatever is in it, and sees that it is gone.
pub(super) async fn remove_table(node: &Node) -> Result<String, Trouble> {
    run(node, shell(nft::HEAL)).await?;
    if has_table(node).await? {
        return Err(Trouble::lab(
            node.name.as_str(),
            "table inet harness is still there",
        ));
    }
    Ok("table inet harness is gone".to_owned())
}

/// Waits until the first of each pair connects to the second. A connection needs packets both ways.
pub(super) async fn reach(nodes: &[Node], pairs: &[(usize, usize)], deadline: Instant) -> Undone {
    let jobs = pairs.iter().map(|pair| {
        let (from, to) = (nodes[pair.0].clone(), nodes[pair.1].clone());
        (*pair, async move {
            loop {
                match probe(&from, &to).await {
                    Probe::Passes => return Ok(()),
                    Probe::Silent(why) if Instant::now() + RETRY_PAUSE >= deadline => {
                        return Err(why);
                    }
                    Probe::Silent(_) => sleep(RETRY_PAUSE).await,
                }
            }
        })
    });
    let mut reached: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    let mut undone = Undone::default();
    for ((from, to), answer) in each(jobs, deadline).await {
        let peer = nodes[to].name.as_str();
        let why = match answer {
            Some(Ok(())) => {
                reached.entry(from).or_default().push(peer);
                continue;
            }
            Some(Err(why)) => why,
            None => "no answer in time".to_owned(),
        };
        let trouble = Trouble::lab(
            nodes[from].name.as_str(),
            format!("does not reach {peer}: {why}"),
        );
        undone.troubles.push(trouble);
    }
    for (from, peers) in reached {
        undone.saw(
            nodes[from].name.as_str(),
            format!("connects to {} again", peers.join(", ")),
        );
    }
    undone
}

async fn probe(from: &Node, to: &Node) -> Probe {
    let address = Address::Tcp(SocketAddr::new(to.address, PROBE_PORT));
    match from.transport.connect(&address, PROBE_TIMEOUT).await {
        Ok(_) => Probe::Passes,
        // Only the peer itself refuses: packets went there and back.
        Err(TransportError::Refused { source, .. })
            if source.kind() == io::ErrorKind::ConnectionRefused =>
        {
            Probe::Passes
        }
        Err(error) => Probe::Silent(with_sources(&error)),
    }
}

fn shell(script: &str) -> Exec {
    Exec::shell(script).timeout(COMMAND_TIMEOUT)
}

/// Runs a command that must succeed.
pub(super) async fn run(node: &Node, exec: Exec) -> Result<Output, Trouble> {
    let name = node.name.as_str();
    let output = match node.transport.exec(exec).await {
        Ok(output) => output,
        Err(error) => return Err(Trouble::transport(name, &error)),
    };
    if output.status.success() {
        return Ok(output);
    }
    let wrote = output.stderr_text();
    let detail: String = wrote.trim().chars().take(DETAIL_CHARS).collect();
    let detail = detail.replace('\n', " ");
    Err(Trouble::lab(
        name,
        format!("command ended with {:?}: {detail}", output.status),
    ))
}
