//! Faults on nodes' conditions: the scripts of [`crate::plan::condition`], run, watched and undone.
//!
//! 1. A node's lock is held while it is struck and while it is healed; what only one fault may have on a node is held until it is healed.
//! 2. It holds once the node's own look says so. Where nodes say little to each other, we make them talk.
//! 3. Whoever kills a process for a fault does it by way of [`super::process`], so that other faults on it compose.
//! 4. What was not struck is not healed: a heal finds no notes, and says so.
//! 5. A power cut kills on all its nodes at one instant, then strikes each; the processes stay down until it is healed.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use harness_core::fault::{Evidence, Heal};
use harness_lab::{Address, Exec, Node};
use tokio::{
    io::AsyncWriteExt as _,
    sync::Mutex,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    each::each,
    network::{CLOSED, run},
    ports::Capabilities,
    process::Processes,
    report::{Trouble, Undone, reason},
};
use crate::plan::{
    Asked, Condition, Kind,
    condition::{
        Resource,
        script::{self, Look, Place, Scripts},
    },
};

/// How long a script may take: filling a disk of some gigabytes takes a while.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long striking nodes may take in all, with a process that is killed and started.
const STRIKE_LIMIT: Duration = Duration::from_secs(180);
/// How long to look whether it holds.
const OBSERVE_LIMIT: Duration = Duration::from_secs(8);
/// How long between two looks.
const OBSERVE_PAUSE: Duration = Duration::from_millis(200);
/// How long to wait before trying again to undo it.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long a process that was killed for a fault may take to be started again.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a node may take to say something to another, where we make it talk.
const TALK_LIMIT: Duration = Duration::from_secs(1);
/// What it says, in bytes: more than a limited class sends at once.
const TALK_BYTES: usize = 16 << 10;
/// Where nodes listen for sure.
const TALK_PORT: u16 = 22;

/// What is held on a node.
#[derive(Default)]
struct Held {
    /// What only one fault may have, and which has it.
    resources: BTreeMap<Resource, u32>,
    /// Faults that were begun here, with how often the node had been wiped then.
    struck: BTreeMap<u32, u64>,
    /// Of those, faults that killed the process and hold it down.
    down: BTreeSet<u32>,
}

/// The nodes' conditions, with who holds what.
pub(super) struct Conditions {
    nodes: Vec<Node>,
    can: Capabilities,
    processes: Arc<Processes>,
    held: Vec<Mutex<Held>>,
    /// Set once the final heal has begun; see [`Processes`].
    closed: AtomicBool,
}

impl Conditions {
    pub(super) fn new(nodes: Vec<Node>, can: Capabilities, processes: Arc<Processes>) -> Arc<Self> {
        Arc::new(Self {
            held: nodes.iter().map(|_| Mutex::default()).collect(),
            nodes,
            can,
            processes,
            closed: AtomicBool::new(false),
        })
    }

    /// From now on nothing is struck any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// The scripts that undo it without us: what the node kept notes of, then a start where the process may have ended.
    pub(super) fn heals(&self, fault: u32, asked: &Asked, nodes: &[usize]) -> Vec<Heal> {
        let mut heals = Vec::new();
        for at in nodes {
            let node = &self.nodes[*at];
            let undo = script::scripts(asked, fault, &Place::default()).heal;
            let start = self
                .can
                .start
                .as_ref()
                .filter(|_| asked.condition.needs_start());
            let start = start.map(|can| can.start_script(node));
            heals.extend(
                [Some(undo), start]
                    .into_iter()
                    .flatten()
                    .map(|script| Heal {
                        node: node.name.to_string(),
                        script,
                    }),
            );
        }
        heals
    }

    /// Strikes all of them at once, and waits until it is seen to hold on each.
    pub(super) async fn inject(
        self: &Arc<Self>,
        fault: u32,
        asked: &Asked,
        nodes: &[usize],
    ) -> Result<Vec<Evidence>, String> {
        let mut evidence = Vec::new();
        if asked.condition.is_power_cut() {
            evidence = self.cut_power(fault, asked, nodes).await?;
        }
        let jobs = nodes.iter().map(|at| {
            let (conditions, asked, at) = (Arc::clone(self), asked.clone(), *at);
            (
                at,
                async move { conditions.strike(at, &asked, fault).await },
            )
        });
        let mut failures = Vec::new();
        for (at, answer) in each(jobs, Instant::now() + STRIKE_LIMIT).await {
            let node = self.nodes[at].name.to_string();
            match answer {
                Some(Ok(texts)) => evidence.extend(texts.into_iter().map(|text| Evidence {
                    node: node.clone(),
                    text,
                })),
                Some(Err(why)) => failures.push(format!("{node}: {why}")),
                None => failures.push(format!(
                    "{node}: no answer within {} s",
                    STRIKE_LIMIT.as_secs()
                )),
            }
        }
        if failures.is_empty() {
            return Ok(evidence);
        }
        Err(failures.join("; "))
    }

    /// Law 5: the first half.
    async fn cut_power(
        &self,
        fault: u32,
        asked: &Asked,
        nodes: &[usize],
    ) -> Result<Vec<Evidence>, String> {
        for at in nodes {
            let mut held = self.held[*at].lock().await;
            self.take(*at, &mut held, asked, fault)?;
            held.down.insert(fault);
        }
        match self.processes.inject(fault, Kind::Kill, nodes).await {
            Ok(seen) => Ok(seen),
            // Where nothing ran there may still be writes to lose. Who runs on has files open, and then nothing is lost.
            Err(why) => Ok(nodes
                .first()
                .map(|at| Evidence {
                    node: self.nodes[*at].name.to_string(),
                    text: why,
                })
                .into_iter()
                .collect()),
        }
    }

    /// Notes that a fault strikes a node, unless it may not.
    fn take(&self, at: usize, held: &mut Held, asked: &Asked, fault: u32) -> Result<(), String> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(CLOSED.to_owned());
        }
        if let Some(resource) = asked.condition.resource() {
            let holder = *held.resources.entry(resource).or_insert(fault);
            if holder != fault {
                return Err(format!("fault {holder} has it already, and only one can"));
            }
        }
        let wipings = self.processes.wipings(at);
        held.struck.entry(fault).or_insert(wipings);
        Ok(())
    }

    async fn strike(&self, at: usize, asked: &Asked, fault: u32) -> Result<Vec<String>, String> {
        let mut held = self.held[at].lock().await;
        self.take(at, &mut held, asked, fault)?;
        let node = &self.nodes[at];
        let mut texts = Vec::new();
        let place = place(&self.can, &self.nodes, at, asked.condition)
            .await
            .map_err(|trouble| trouble.text)?;
        let scripts = script::scripts(asked, fault, &place);
        if asked.word("kill") == "yes" {
            held.down.insert(fault);
            match self.processes.inject(fault, Kind::Kill, &[at]).await {
                Ok(seen) => texts.extend(seen.into_iter().map(|seen| seen.text)),
                // Nothing that ran is as good as something that was killed.
                Err(why) => texts.push(why),
            }
        }
        let said = tell(node, &scripts.inject).await?;
        texts.extend(said.lines().map(str::to_owned));
        if !asked.condition.is_power_cut() && held.down.remove(&fault) {
            let back = self
                .processes
                .heal(fault, Kind::Kill, &[at], Instant::now() + START_LIMIT)
                .await;
            texts.extend(back.evidence.into_iter().map(|seen| seen.text));
            // What it makes of the damage is the system's matter, and worth telling.
            texts.extend((!back.troubles.is_empty()).then(|| reason(&back.troubles)));
        }
        let seen = self.observe(at, asked.condition, &scripts, &place).await?;
        // What a file was found to be is what the strike has said already.
        if !texts.contains(&seen) {
            texts.push(seen);
        }
        Ok(texts)
    }

    async fn observe(
        &self,
        at: usize,
        condition: Condition,
        scripts: &Scripts,
        place: &Place,
    ) -> Result<String, String> {
        let began = Instant::now();
        let node = &self.nodes[at];
        let mut talks = JoinSet::new();
        loop {
            let why = match script::look(&tell(node, &scripts.observe).await?) {
                Look::Seen(text) => return Ok(text),
                Look::Unseen(why) => why,
            };
            if began.elapsed() >= OBSERVE_LIMIT {
                return Err(format!("not seen to hold: {why}"));
            }
            while talks.try_join_next().is_some() {}
            if condition.is_network() && talks.is_empty() {
                for peer in &place.peers {
                    talks.spawn(talk(node.clone(), SocketAddr::new(*peer, TALK_PORT)));
                }
            }
            sleep(OBSERVE_PAUSE).await;
        }
    }

    /// Undoes it on all of them at once, and waits until that is seen.
    pub(super) async fn heal(
        self: &Arc<Self>,
        fault: u32,
        asked: &Asked,
        nodes: &[usize],
        deadline: Instant,
    ) -> Undone {
        let renews = self.renews(asked, nodes).await;
        let jobs = nodes.iter().map(|at| {
            let (conditions, asked, at) = (Arc::clone(self), asked.clone(), *at);
            let renews = renews.clone();
            (at, async move {
                let release = conditions.release(at, &asked, fault, renews, deadline);
                release.await
            })
        });
        let mut undone = Undone::default();
        for (at, answer) in each(jobs, deadline).await {
            let name = self.nodes[at].name.as_str();
            match answer {
                Some(Ok(texts)) => {
                    for text in texts {
                        undone.saw(name, text);
                    }
                }
                Some(Err(trouble)) => undone.troubles.push(trouble),
                None => undone
                    .troubles
                    .push(Trouble::lab(name, "no answer in time")),
            }
        }
        undone
    }

    /// Whether these nodes are emptied and let in again, or why not; none if that is not asked for.
    async fn renews(&self, asked: &Asked, nodes: &[usize]) -> Option<Result<(), String>> {
        if asked.word("rejoin") != "yes" {
            return None;
        }
        if self.can.members.is_some() {
            let why = "the workload keeps its own account of who is a member";
            return Some(Err(why.to_owned()));
        }
        if self.can.wipe.is_none() || self.can.membership.is_none() {
            return Some(Err("the system offers no way in".to_owned()));
        }
        Some(self.processes.may_wipe(nodes).await)
    }

    async fn release(
        &self,
        at: usize,
        asked: &Asked,
        fault: u32,
        renews: Option<Result<(), String>>,
        deadline: Instant,
    ) -> Result<Vec<String>, Trouble> {
        let mut held = self.held[at].lock().await;
        let Some(wipings) = held.struck.get(&fault).copied() else {
            return Ok(vec!["nothing was done here".to_owned()]);
        };
        let node = &self.nodes[at];
        let mut texts = Vec::new();
        let wiped = self.processes.wipings(at) > wipings;
        let renewed = match renews {
            Some(Ok(())) => Some(self.processes.renew(at, fault, deadline).await?),
            Some(Err(why)) => Some(Err(why)),
            None => None,
        };
        let is_new = matches!(renewed, Some(Ok(_)));
        texts.extend(renewed.map(|renewed| match renewed {
            Ok(text) => text,
            Err(why) => format!("is not let in anew, but put right from what was kept: {why}"),
        }));
        // Files are put back while nobody has them open.
        let kills = asked.word("kill") == "yes" && !wiped && !is_new;
        if kills {
            held.down.insert(fault);
            // Down already, or gone: then nobody has them open either.
            if let Ok(seen) = self.processes.strike_to_heal(at, fault).await {
                texts.push(seen);
            }
        }
        let heal = script::scripts(asked, fault, &Place::default()).heal;
        let said = loop {
            let healing = Exec::shell(&heal).timeout(SCRIPT_TIMEOUT);
            match run(node, healing).await {
                Err(_) if Instant::now() + RETRY_PAUSE < deadline => sleep(RETRY_PAUSE).await,
                answer => break answer?,
            }
        };
        texts.extend(said.stdout_text().lines().map(str::to_owned));
        if let Some(resource) = asked.condition.resource()
            && held.resources.get(&resource) == Some(&fault)
        {
            held.resources.remove(&resource);
        }
        if held.down.remove(&fault) {
            let back = self
                .processes
                .heal(fault, Kind::Kill, &[at], deadline)
                .await;
            texts.extend(back.evidence.into_iter().map(|seen| seen.text));
            if let Some(trouble) = back.troubles.into_iter().next() {
                return Err(trouble);
            }
        } else if asked.condition.needs_start() && !is_new {
            texts.push(self.processes.ensure_running(at, wipings).await?);
        }
        held.struck.remove(&fault);
        Ok(texts)
    }
}

/// Runs a script that must succeed; what it said.
pub(super) async fn tell(node: &Node, script: &str) -> Result<String, String> {
    let output = run(node, Exec::shell(script).timeout(SCRIPT_TIMEOUT)).await;
    match output {
        Ok(output) => Ok(output.stdout_text()),
        Err(trouble) => Err(trouble.text),
    }
}

/// What a fault must know of the node that it strikes.
pub(super) async fn place(
    can: &Capabilities,
    nodes: &[Node],
    at: usize,
    condition: Condition,
) -> Result<Place, Trouble> {
    let node = &nodes[at];
    let process = match &can.program {
        Some(program) if condition.needs_process() => program
            .newest_process(node)
            .await
            .map_err(|error| Trouble::capability(node.name.as_str(), &error))?,
        _ => None,
    };
    let others = nodes.iter().enumerate().filter(|(other, _)| *other != at);
    Ok(Place {
        peers: others.map(|(_, other)| other.address).collect(),
        process,
        data_folder: can.data.as_ref().map(|data| data.data_folder(node)),
    })
}

/// A node says something to another: it is not understood there, and need not be.
async fn talk(node: Node, to: SocketAddr) {
    let saying = async {
        let stream = node.transport.connect(&Address::Tcp(to), TALK_LIMIT).await;
        if let Ok(mut stream) = stream {
            // Whoever hangs up has heard enough.
            let _ = stream.write_all(&[b'\n'; TALK_BYTES]).await;
            let _ = stream.flush().await;
        }
    };
    // Who is not heard in time is what some faults are about.
    let _ = timeout(2 * TALK_LIMIT, saying).await;
}
