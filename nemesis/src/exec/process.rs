//! Striking the system's process on a node, and bringing it back.
//!
//! Faults of several lanes may want the same node down or frozen. Each holds the node until it
//! is healed, and the node comes back when the last one lets go:
//! - kill, stop and reboot hold it down, pause holds it frozen, a wipe keeps everybody else's hands off it;
//! - a process that is frozen does not act upon SIGTERM until it goes on, perhaps after our heal
//!   has looked: stopping what another fault holds frozen is refused and recorded;
//! - where nothing ran, nothing is started: a node that is no member yet is left as it was found. Nor is a node started
//!   whose data were wiped since it was struck ([`super::ports::Members`]).

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use harness_core::fault::{Evidence, Heal};
use harness_lab::{
    Node,
    capability::{CapabilityError, Seen},
};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{
    each::each,
    network::CLOSED,
    ports::Capabilities,
    report::{Cause, Trouble, Undone, with_sources},
    together::{instant_ns, with_bound},
};
use crate::{instant::NodeInstant, plan::Kind};

/// A capability ends by itself well before this; if it does not, the node is let go.
pub(super) const ACTION_LIMIT: Duration = Duration::from_secs(120);
/// How long to wait before trying again to bring a process back on a node that did not answer.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// What is said of a node that is not brought back.
const WIPED: &str = "was wiped since, and is left as it is";
/// How long after an unanswered SIGTERM to look again whether the process is still there.
const LATE_STOP_PAUSE: Duration = Duration::from_secs(2);

/// Who holds a node's process.
#[derive(Default)]
pub(super) struct Holds {
    pub(super) down: BTreeSet<u32>,
    pub(super) frozen: BTreeSet<u32>,
    /// The fault that took the node's data away, and is to bring it back.
    pub(super) wiped: Option<u32>,
    /// Faults that found no process here: they have nothing to bring back.
    pub(super) found_nothing: BTreeSet<u32>,
    /// How often the node had been wiped by the workload when it was struck down.
    pub(super) wipings: u64,
    /// A SIGTERM was sent and its process was not seen to go: it may go later.
    pub(super) late_stop: bool,
}

/// What striking one node came to.
pub(super) enum Struck {
    Seen(String),
    /// Nothing to strike, or another fault has it already.
    Already(String),
    Failed(String),
}

/// The system's processes, with who holds them.
pub(super) struct Processes {
    pub(super) nodes: Vec<Node>,
    pub(super) can: Capabilities,
    /// One for each node; held while its process is acted on.
    pub(super) holds: Vec<Mutex<Holds>>,
    /// Set once the final heal has begun. It takes each node's lock after that, so a strike that comes
    /// later sees it, and one that came earlier is healed.
    closed: AtomicBool,
}

impl Processes {
    pub(super) fn new(nodes: Vec<Node>, can: Capabilities) -> Arc<Self> {
        Arc::new(Self {
            holds: nodes.iter().map(|_| Mutex::default()).collect(),
            nodes,
            can,
            closed: AtomicBool::new(false),
        })
    }

    /// From now on nothing is struck any more.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Whether the final heal has begun.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Notes that a fault has struck a node's process already. Idempotent.
    pub(super) async fn hold(&self, at: usize, kind: Kind, fault: u32) {
        let mut holds = self.holds[at].lock().await;
        match kind {
            Kind::Pause | Kind::Partition | Kind::Condition(_) => {
                holds.frozen.insert(fault);
            }
            _ => {
                if holds.down.insert(fault) {
                    holds.wipings = self.wipings(at);
                }
            }
        }
    }

    /// The scripts that undo it without us.
    pub(super) fn heals(&self, kind: Kind, nodes: &[usize]) -> Vec<Heal> {
        let script = |node: &Node| match kind {
            Kind::Kill | Kind::Stop | Kind::Restart | Kind::Reboot => {
                self.can.start.as_ref().map(|can| can.start_script(node))
            }
            Kind::Pause => self.can.pause.as_ref().map(|can| can.resume_script(node)),
            // Alone a node cannot be let in again: what is left of it is clean.
            Kind::Wipe => self.can.wipe.as_ref().map(|can| can.wipe_script(node)),
            Kind::Partition | Kind::LeaderTransfer | Kind::Condition(_) => None,
        };
        let heal = |at: &usize| {
            let node = &self.nodes[*at];
            let node_name = node.name.to_string();
            script(node).map(|script| Heal {
                node: node_name,
                script,
            })
        };
        nodes.iter().filter_map(heal).collect()
    }

    /// Strikes all of them at once. What was seen, or why it does not count.
    pub(super) async fn inject(
        self: &Arc<Self>,
        fault: u32,
        kind: Kind,
        nodes: &[usize],
    ) -> Result<Vec<Evidence>, String> {
        let answers = if self.can_strike_together(kind, nodes) {
            self.strike_together(fault, kind, nodes).await
        } else {
            let mut instants = self.instants(kind, nodes).await;
            let jobs = nodes.iter().map(|node| {
                let (processes, node) = (Arc::clone(self), *node);
                let when = instants.remove(&node);
                (node, async move {
                    processes.strike(node, kind, fault, when).await
                })
            });
            each(jobs, Instant::now() + ACTION_LIMIT).await
        };
        let (mut evidence, mut failures, mut seen) = (Vec::new(), Vec::new(), 0);
        for (node, answer) in answers {
            let name = self.nodes[node].name.to_string();
            match answer {
                Some(Struck::Seen(text)) => {
                    seen += 1;
                    evidence.push(Evidence { node: name, text });
                }
                Some(Struck::Already(text)) => evidence.push(Evidence { node: name, text }),
                Some(Struck::Failed(text)) => failures.push(format!("{name}: {text}")),
                None => failures.push(format!(
                    "{name}: no answer within {} s",
                    ACTION_LIMIT.as_secs()
                )),
            }
        }
        if failures.is_empty() && seen > 0 {
            return Ok(evidence);
        }
        failures.extend(evidence.iter().map(|e| format!("{}: {}", e.node, e.text)));
        Err(failures.join("; "))
    }

    async fn strike(&self, at: usize, kind: Kind, fault: u32, when: Option<NodeInstant>) -> Struck {
        let mut holds = self.holds[at].lock().await;
        match self.begin(&mut holds, kind, fault) {
            Some(struck) => struck,
            None => self.strike_held(at, kind, fault, &mut holds, when).await,
        }
    }

    /// Says why there is nothing to do; else the node is held by this fault from now on.
    pub(super) fn begin(&self, holds: &mut Holds, kind: Kind, fault: u32) -> Option<Struck> {
        if self.is_closed() {
            return Some(Struck::Failed(CLOSED.to_owned()));
        }
        if let Some(other) = holds.wiped {
            return Some(Struck::Failed(format!(
                "was wiped by fault {other}, which brings it back"
            )));
        }
        let down_by = holds.down.first().copied();
        let frozen_by = holds.frozen.first().copied();
        match (kind, down_by, frozen_by) {
            // A node boots anew whatever runs on it.
            (Kind::Reboot, ..) => {
                holds.down.insert(fault);
            }
            (Kind::Wipe, None, None) => holds.wiped = Some(fault),
            (Kind::Restart, None, None) => {
                holds.down.insert(fault);
            }
            (Kind::Wipe | Kind::Restart, Some(other), _) => {
                return Some(Struck::Failed(format!("is down already, by fault {other}")));
            }
            (Kind::Wipe, _, Some(other)) => {
                return Some(Struck::Failed(format!("is paused by fault {other}")));
            }
            (Kind::Kill | Kind::Stop, ..) => {
                holds.down.insert(fault);
            }
            (Kind::Pause, ..) => {
                holds.frozen.insert(fault);
            }
            (Kind::Restart | Kind::Partition | Kind::LeaderTransfer | Kind::Condition(_), ..) => {}
        }
        match (kind, down_by, frozen_by) {
            (Kind::Reboot, ..) => None,
            (_, Some(other), _) => Some(Struck::Already(format!(
                "is down already, by fault {other}"
            ))),
            (Kind::Pause, _, Some(other)) => Some(Struck::Already(format!(
                "is paused already, by fault {other}"
            ))),
            (Kind::Stop | Kind::Restart, _, Some(other)) => Some(Struck::Failed(format!(
                "is paused by fault {other}, and a process in state T does not act upon SIGTERM"
            ))),
            _ => None,
        }
    }

    /// Strikes a node that this fault holds already; a stop or restart, at an instant if one is set.
    pub(super) async fn strike_held(
        &self,
        at: usize,
        kind: Kind,
        fault: u32,
        holds: &mut Holds,
        when: Option<NodeInstant>,
    ) -> Struck {
        match kind {
            Kind::Restart => return self.restart(at, fault, holds, when).await,
            Kind::Reboot => return self.reboot(at, fault, holds).await,
            Kind::Wipe => return self.wipe(at).await,
            _ => {}
        }
        let wipings = self.wipings(at);
        match timeout(ACTION_LIMIT, self.act(at, kind, when)).await {
            Ok(Some(Ok(seen))) if seen.pid.is_some() => {
                holds.wipings = wipings;
                Struck::Seen(with_bound(seen.detail, when))
            }
            Ok(Some(Ok(seen))) => {
                if kind != Kind::Pause && !self.runs_as_a_rule(at) {
                    holds.down.remove(&fault);
                    holds.found_nothing.insert(fault);
                }
                Struck::Already(format!("no process to strike ({})", seen.detail))
            }
            Ok(Some(Err(error))) => {
                holds.wipings = wipings;
                holds.late_stop |= kind == Kind::Stop;
                Struck::Failed(with_sources(&error))
            }
            Ok(None) => Struck::Failed(format!("the system offers no {kind}")),
            Err(_) => {
                holds.wipings = wipings;
                holds.late_stop |= kind == Kind::Stop;
                Struck::Failed(format!(
                    "{kind} did not end within {} s",
                    ACTION_LIMIT.as_secs()
                ))
            }
        }
    }

    /// Nodes that are members, or may be, by place; none if all are.
    pub(super) fn members(&self) -> Option<Vec<usize>> {
        let names = self.can.members.as_ref()?.members();
        let place = |name: &String| {
            self.nodes
                .iter()
                .position(|node| node.name.as_str() == name)
        };
        Some(names.iter().filter_map(place).collect())
    }

    /// Whether the system runs there if nobody strikes it: on members. One that ended by itself is started again.
    pub(super) fn runs_as_a_rule(&self, at: usize) -> bool {
        self.members().is_none_or(|members| members.contains(&at))
    }

    async fn act(
        &self,
        at: usize,
        kind: Kind,
        when: Option<NodeInstant>,
    ) -> Option<Result<Seen, CapabilityError>> {
        let node = &self.nodes[at];
        match kind {
            Kind::Kill => Some(self.can.kill.as_ref()?.kill(node).await),
            Kind::Stop => Some(self.can.stop.as_ref()?.stop(node, instant_ns(when)).await),
            Kind::Pause => Some(self.can.pause.as_ref()?.pause(node).await),
            _ => None,
        }
    }

    /// Lets go of all of them at once, and brings back those that nobody holds any more.
    pub(super) async fn heal(
        self: &Arc<Self>,
        fault: u32,
        kind: Kind,
        nodes: &[usize],
        deadline: Instant,
    ) -> Undone {
        let jobs = nodes.iter().map(|node| {
            let (processes, node) = (Arc::clone(self), *node);
            (node, async move {
                processes.release(node, kind, fault, deadline).await
            })
        });
        let mut undone = Undone::default();
        for (node, answer) in each(jobs, deadline).await {
            let name = self.nodes[node].name.as_str();
            match answer {
                Some(Ok(text)) => undone.saw(name, text),
                Some(Err(trouble)) => undone.troubles.push(trouble),
                None => undone
                    .troubles
                    .push(Trouble::lab(name, "no answer in time")),
            }
        }
        undone
    }

    async fn release(
        &self,
        at: usize,
        kind: Kind,
        fault: u32,
        deadline: Instant,
    ) -> Result<String, Trouble> {
        let mut holds = self.holds[at].lock().await;
        if kind == Kind::Wipe {
            return self.bring_in(at, fault, &mut holds, deadline).await;
        }
        let held_by = match kind {
            Kind::Pause => {
                holds.frozen.remove(&fault);
                holds
                    .frozen
                    .first()
                    .map(|other| format!("is left paused, by fault {other}"))
            }
            _ => {
                holds.down.remove(&fault);
                holds
                    .down
                    .first()
                    .map(|other| format!("is left down, by fault {other}"))
            }
        };
        if let Some(other) = holds.wiped {
            return Ok(format!("was wiped by fault {other}, which brings it back"));
        }
        if let Some(held) = held_by {
            return Ok(held);
        }
        if holds.found_nothing.remove(&fault) {
            return Ok("nothing ran here, and nothing is started".to_owned());
        }
        if kind != Kind::Pause && self.wipings(at) > holds.wipings {
            return Ok(WIPED.to_owned());
        }
        loop {
            match self.bring_back(at, kind).await {
                Err(trouble)
                    if trouble.cause == Cause::Lab && Instant::now() + RETRY_PAUSE < deadline =>
                {
                    sleep(RETRY_PAUSE).await;
                }
                answer => return answer,
            }
        }
    }

    /// Ends it for a heal that must have it ended, and holds it down until [`Self::heal`]: once the final heal has begun, too.
    pub(super) async fn strike_to_heal(&self, at: usize, fault: u32) -> Result<String, String> {
        let mut holds = self.holds[at].lock().await;
        let already = holds.down.first().copied();
        holds.down.insert(fault);
        holds.wipings = self.wipings(at);
        if let Some(other) = already {
            return Ok(format!("is down already, by fault {other}"));
        }
        match timeout(ACTION_LIMIT, self.act(at, Kind::Kill, None)).await {
            Ok(Some(Ok(seen))) => Ok(seen.detail),
            Ok(Some(Err(error))) => Err(with_sources(&error)),
            Ok(None) => Err("the system offers no kill".to_owned()),
            Err(_) => Err(format!(
                "kill did not end within {} s",
                ACTION_LIMIT.as_secs()
            )),
        }
    }

    /// Starts it after a fault that may have ended it, if it is to run: unless a fault holds it down, or it was wiped since.
    pub(super) async fn ensure_running(&self, at: usize, wipings: u64) -> Result<String, Trouble> {
        let holds = self.holds[at].lock().await;
        if let Some(other) = holds.down.first() {
            return Ok(format!("is left down, by fault {other}"));
        }
        if self.wipings(at) > wipings {
            return Ok(WIPED.to_owned());
        }
        self.bring_back(at, Kind::Kill).await
    }

    /// How often a node was wiped so far; 0 where nobody wipes.
    pub(super) fn wipings(&self, at: usize) -> u64 {
        let members = self.can.members.as_ref();
        members.map_or(0, |members| members.wipings(self.nodes[at].name.as_str()))
    }

    async fn bring_back(&self, at: usize, kind: Kind) -> Result<String, Trouble> {
        let node = &self.nodes[at];
        let name = node.name.as_str();
        let action = async {
            match kind {
                Kind::Pause => Some(self.can.pause.as_ref()?.resume(node).await),
                _ => Some(self.can.start.as_ref()?.start(node).await),
            }
        };
        match timeout(ACTION_LIMIT, action).await {
            Ok(Some(Ok(seen))) => Ok(seen.detail),
            Ok(Some(Err(error))) => Err(Trouble::capability(name, &error)),
            Ok(None) => Err(Trouble::lab(name, "the system offers no way back")),
            Err(_) => Err(Trouble::lab(
                name,
                format!("no way back within {} s", ACTION_LIMIT.as_secs()),
            )),
        }
    }

    /// Starts again what stopped later than its stop was given up on. Call it when nothing is held any more.
    pub(super) async fn restart_late_stops(self: &Arc<Self>, deadline: Instant) -> Undone {
        let mut jobs = Vec::new();
        for (at, holds) in self.holds.iter().enumerate() {
            // A lock that is held now belongs to an action that does not end; it is reported already.
            let late = holds
                .try_lock()
                .is_ok_and(|mut holds| std::mem::take(&mut holds.late_stop));
            if late {
                let processes = Arc::clone(self);
                jobs.push((at, async move {
                    sleep(LATE_STOP_PAUSE).await;
                    let holds = processes.holds[at].lock().await;
                    if processes.wipings(at) > holds.wipings {
                        return Ok(WIPED.to_owned());
                    }
                    processes.bring_back(at, Kind::Stop).await
                }));
            }
        }
        let mut undone = Undone::default();
        for (at, answer) in each(jobs, deadline).await {
            let name = self.nodes[at].name.as_str();
            match answer {
                Some(Ok(text)) => undone.saw(name, text),
                Some(Err(trouble)) => undone.troubles.push(trouble),
                None => undone
                    .troubles
                    .push(Trouble::lab(name, "no answer in time")),
            }
        }
        undone
    }
}
