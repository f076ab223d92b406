//! The life of one fault: intend, ask, observe; ask to heal, see it healed.
//!
//! 1. Its heal is on disk before a node is told anything; if the ledger cannot be written, nothing
//!    is injected.
//! 2. From before its intent until it is seen healed it is in the list of open faults, so that
//!    whoever heals at the end finds it, wherever this was given up.
//! 3. A fault that means nobody is in the ledger too, as not observed.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use harness_core::{
    fault::{Evidence, Heal, NEVER_FIRED, Step},
    meta::{FunctionEntry, OperationPhase, PlannedFault, Trigger},
    trigger::{FaultMoment, Watch},
};
use harness_lab::{
    Leader, Node,
    capability::{Program, Transfer},
};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep, timeout_at},
};

use super::{
    condition::Conditions,
    guard::Guards,
    journal::{Head, Journal},
    live::{InForce, Live, Stage},
    network::Network,
    ports::Capabilities,
    process::Processes,
    report::{Undone, reason},
    wait::{Fired, Listening, Phases, StepEvent},
};
use crate::{
    plan::{Asked, Effect, Facts, Kind, Resolved, Selector, Target, nft, resolve},
    points::{Functions, Point},
};

/// How long to wait for somebody to lead, or for somebody to say who votes, before falling back.
const LEADER_LIMIT: Duration = Duration::from_secs(3);
/// Steps of faults that a lane may be behind.
const STEPS_KEPT: usize = 1024;
/// How long between two questions who leads.
const LEADER_PAUSE: Duration = Duration::from_millis(250);

/// A fault of the plan with its words read.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) fault: PlannedFault,
    pub(super) kind: Kind,
    pub(super) target: Target,
    /// Where it is a fault on a node's conditions: which, with its options.
    pub(super) asked: Option<Asked>,
}

impl Planned {
    /// What is watched for it, if that is what it waits for.
    pub(super) fn watch(&self) -> Option<&Watch> {
        match &self.fault.trigger {
            Some(Trigger::Watch(watch)) => Some(watch),
            _ => None,
        }
    }

    /// The operation during which something is watched for it, if it waits for that.
    pub(super) fn during(&self) -> Option<&OperationPhase> {
        match &self.fault.trigger {
            Some(Trigger::Function(entry)) => entry.after.as_ref(),
            Some(Trigger::Watch(watch)) => watch.after.as_ref(),
            _ => None,
        }
    }

    /// The function at which it strikes, if it does.
    pub(super) fn entry(&self) -> Option<&FunctionEntry> {
        match &self.fault.trigger {
            Some(Trigger::Function(entry)) => Some(entry),
            _ => None,
        }
    }
}

/// A fault that is in force, or may be.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) head: Head,
    pub(super) lane: u32,
    pub(super) effect: Effect,
    /// Where it is a fault on nodes' conditions: which, with its options.
    pub(super) asked: Option<Asked>,
    /// Which node's process is struck where a function is entered.
    pub(super) frozen: Option<usize>,
    /// What watches that function, once it does; another one if the first was lost.
    pub(super) point: Mutex<Option<Arc<Point>>>,
    /// Why it must not be injected, if so.
    pub(super) forbidden: OnceLock<String>,
}

/// How a fault begins.
pub(super) enum Opened {
    /// Its heal is on disk.
    Fault(Arc<Fault>),
    /// It means nobody; that is in the ledger.
    Nobody(Arc<Fault>),
}

/// What one fault works with; shared by the lanes.
pub(super) struct Inner {
    pub(super) nodes: Vec<Node>,
    pub(super) names: Vec<String>,
    pub(super) network: Arc<Network>,
    pub(super) processes: Arc<Processes>,
    pub(super) conditions: Arc<Conditions>,
    pub(super) guards: Arc<Guards>,
    pub(super) can: Capabilities,
    pub(super) leader: Option<Arc<dyn Leader>>,
    pub(super) transfer: Option<Arc<dyn Transfer>>,
    pub(super) program: Option<Arc<dyn Program>>,
    pub(super) phases: Option<Arc<dyn Phases>>,
    pub(super) functions: Arc<dyn Functions>,
    pub(super) journal: Arc<Journal>,
    pub(super) live: Arc<Live>,
    early: Mutex<BTreeMap<u32, Listening>>,
    /// Where faults tell how far they are, for lanes that wait for that.
    pub(super) steps: broadcast::Sender<StepEvent>,
    open: Mutex<BTreeMap<u32, Arc<Fault>>>,
    last_id: AtomicU32,
}

/// Waits until somebody cancels; for ever if nobody can any more.
pub(super) async fn cancelled(cancel: &mut watch::Receiver<bool>) {
    if cancel.wait_for(|cancelled| *cancelled).await.is_err() {
        std::future::pending::<()>().await;
    }
}

impl Inner {
    pub(super) fn new(
        nodes: Vec<Node>,
        network: Arc<Network>,
        processes: Arc<Processes>,
        guards: Arc<Guards>,
        can: Capabilities,
        (phases, functions): (Option<Arc<dyn Phases>>, Arc<dyn Functions>),
        journal: Arc<Journal>,
    ) -> Self {
        let conditions = Conditions::new(nodes.clone(), can.clone(), Arc::clone(&processes));
        Self {
            names: nodes.iter().map(|node| node.name.to_string()).collect(),
            nodes,
            network,
            processes,
            conditions,
            guards,
            leader: can.leader.clone(),
            transfer: can.transfer.clone(),
            program: can.program.clone(),
            can,
            phases,
            functions,
            journal,
            live: Arc::default(),
            early: Mutex::default(),
            steps: broadcast::Sender::new(STEPS_KEPT),
            open: Mutex::default(),
            last_id: AtomicU32::new(0),
        }
    }

    /// A fault of the plan hears phases of operations from now on: a lane that is free from the beginning would else be late for
    /// operations that begin with the load.
    pub(super) fn listen(&self, planned: &Planned) {
        if let Some(phases) = &self.phases {
            let listening = Listening::new(phases, planned.during());
            let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
            early.insert(planned.fault.id, listening);
        }
    }

    /// Phases that this fault may wait for: those since it was made to listen, or from now on.
    pub(super) fn told(&self, planned: &Planned, phases: &Arc<dyn Phases>) -> Listening {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        let listening = early.remove(&planned.fault.id);
        listening.unwrap_or_else(|| Listening::new(phases, planned.during()))
    }

    /// The faults that somebody must still undo.
    pub(super) fn open(&self) -> Vec<Arc<Fault>> {
        self.lock_open().values().cloned().collect()
    }

    fn lock_open(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Fault>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Injects a fault and says whether it was seen to hold. Once cancelled, it does not wait to see it.
    pub(super) async fn inject(
        &self,
        planned: &Planned,
        fired: Option<&Fired>,
        cancel: &mut watch::Receiver<bool>,
    ) -> io::Result<(Arc<Fault>, bool)> {
        let subject = fired.and_then(|fired| fired.subject.as_deref());
        let fault = match self.open_fault(planned, subject).await? {
            Opened::Fault(fault) => fault,
            Opened::Nobody(fault) => return Ok((fault, false)),
        };
        if let Some(fired) = fired {
            let triggered = Step::Triggered(fired.triggered.clone());
            self.journal.note(&fault.head, triggered).await;
        }
        self.journal.note(&fault.head, Step::Asked).await;
        self.announce(&fault, FaultMoment::Asked);
        let seen = tokio::select! {
            seen = self.strike(&fault) => seen,
            () = cancelled(cancel) => Err("the run was interrupted before it was seen to hold".to_owned()),
        };
        let holds = self.tell(&fault, seen).await;
        Ok((fault, holds))
    }

    /// Writes down whether it was seen to hold.
    pub(super) async fn tell(&self, fault: &Fault, seen: Result<Vec<Evidence>, String>) -> bool {
        let holds = seen.is_ok();
        let (step, stage) = match seen {
            Ok(evidence) => (Step::Observed { evidence }, Stage::Holding),
            Err(reason) => (Step::NotObserved { reason }, Stage::Unseen),
        };
        self.live.stage(fault.head.id, stage);
        self.journal.note(&fault.head, step).await;
        if holds {
            self.announce(fault, FaultMoment::Observed);
        }
        holds
    }

    /// Tells other lanes how far a fault is. Nobody may wait for it.
    pub(super) fn announce(&self, fault: &Fault, step: FaultMoment) {
        let _ = self.steps.send(StepEvent {
            lane: fault.lane,
            step,
            time_ns: self.journal.run_ns(),
            fault: fault.head.id,
            label: fault.head.label.clone(),
            nodes: fault.head.nodes.clone(),
        });
    }

    /// Says which nodes it means now, and puts its heal on disk.
    pub(super) async fn open_fault(
        &self,
        planned: &Planned,
        subject: Option<&str>,
    ) -> io::Result<Opened> {
        let resolved = self.resolve(planned, subject).await;
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let fault = match resolved {
            Ok(resolved) => self.enter(id, planned, resolved),
            Err(why) => {
                return self
                    .record_nobody(id, planned, why)
                    .await
                    .map(Opened::Nobody);
            }
        };
        let heals = self.heals(&fault);
        let intend = Step::Intend {
            kind: planned.kind.to_string(),
            label: fault.head.label.clone(),
            nodes: fault.head.nodes.clone(),
            planned: Some(planned.fault.id),
            heals: heals.clone(),
        };
        if let Err(error) = self.journal.write(&fault.head, intend).await {
            self.close(id);
            return Err(error);
        }
        if let Err(why) = self.guards.arm(&fault.head, &heals).await {
            fault.forbidden.get_or_init(|| why);
        }
        Ok(Opened::Fault(fault))
    }

    async fn resolve(&self, planned: &Planned, subject: Option<&str>) -> Result<Resolved, String> {
        let target = &planned.target;
        let deadline = Instant::now() + LEADER_LIMIT;
        let place = |node: &Node| {
            self.names
                .iter()
                .position(|name| node.name.as_str() == name)
        };
        let (mut leader, mut voters) = (None, None);
        if let Some(knows) = &self.leader {
            let hands_over = planned.kind == Kind::LeaderTransfer;
            if target.needs_leader() || hands_over {
                let found = until(deadline, || knows.leader(&self.nodes)).await;
                leader = found.as_ref().and_then(place);
            }
            if (target.needs_voters() && leader.is_none()) || hands_over {
                // Who leads may have taken all the time; one more question is allowed.
                let deadline = deadline.max(Instant::now() + LEADER_PAUSE);
                let found = until(deadline, || knows.voters(&self.nodes)).await;
                voters = found.map(|found| found.iter().filter_map(place).collect::<Vec<_>>());
            }
        }
        let mut members = self.processes.members();
        if target.selector() == Some(&Selector::Other) {
            let spared = self.spared(members);
            if spared.is_empty() {
                return Err("a fault in force strikes every member already".to_owned());
            }
            members = Some(spared);
        }
        let facts = Facts {
            nodes: &self.names,
            leader,
            voters: voters.as_deref(),
            subject: subject.and_then(|subject| self.names.iter().position(|name| name == subject)),
            members: members.as_deref(),
        };
        resolve(planned.kind, target, &planned.fault.order, &facts).map_err(|e| e.to_string())
    }

    /// Members that no fault in force strikes.
    fn spared(&self, members: Option<Vec<usize>>) -> Vec<usize> {
        let struck: Vec<String> = self
            .open()
            .iter()
            .flat_map(|fault| fault.head.nodes.clone())
            .collect();
        let mut spared = members.unwrap_or_else(|| (0..self.nodes.len()).collect());
        spared.retain(|at| !struck.contains(&self.names[*at]));
        spared
    }

    /// A fault whose trigger did not fire until the load ended; says why its lane did nothing.
    pub(super) async fn never_fired(&self, planned: &Planned, trigger: &Trigger) -> String {
        let why = format!("{NEVER_FIRED}: it waited for {trigger}");
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        if let Err(error) = self.record_nobody(id, planned, why.clone()).await {
            self.journal
                .problem(format!("the ledger cannot be written: {error}"));
        }
        why
    }

    /// Law 3.
    async fn record_nobody(
        &self,
        id: u32,
        planned: &Planned,
        why: String,
    ) -> io::Result<Arc<Fault>> {
        let head = Head {
            id,
            kind: planned.kind,
            label: format!("{} {}: nobody", planned.kind, planned.target),
            nodes: Vec::new(),
        };
        let intend = Step::Intend {
            kind: planned.kind.to_string(),
            label: head.label.clone(),
            nodes: Vec::new(),
            planned: Some(planned.fault.id),
            heals: Vec::new(),
        };
        self.journal.write(&head, intend).await?;
        self.journal
            .note(&head, Step::NotObserved { reason: why })
            .await;
        Ok(Arc::new(Fault {
            head,
            lane: planned.fault.lane,
            effect: Effect::Nodes(Vec::new()),
            asked: None,
            frozen: None,
            point: Mutex::default(),
            forbidden: OnceLock::new(),
        }))
    }

    fn enter(&self, id: u32, planned: &Planned, resolved: Resolved) -> Arc<Fault> {
        let name = |at: &usize| self.names[*at].clone();
        let entry = planned.entry();
        let label = match entry {
            None if planned.fault.options.is_empty() => resolved.label,
            None => {
                let options = planned.fault.options.iter();
                let options: Vec<_> = options
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                format!("{}, {}", resolved.label, options.join(" "))
            }
            Some(entry) => format!("{} at {}", resolved.label, entry.short_name()),
        };
        let kind = planned.kind;
        let fault = Arc::new(Fault {
            head: Head {
                id,
                kind,
                label,
                nodes: resolved.nodes.iter().map(name).collect(),
            },
            lane: planned.fault.lane,
            effect: resolved.effect,
            asked: planned.asked.clone(),
            frozen: entry.and_then(|_| resolved.nodes.first().copied()),
            point: Mutex::default(),
            forbidden: OnceLock::new(),
        });
        self.lock_open().insert(id, Arc::clone(&fault));
        self.live.enter(InForce {
            fault: id,
            kind,
            label: fault.head.label.clone(),
            since_ns: self.journal.run_ns(),
            stage: Stage::Injecting,
        });
        fault
    }

    fn close(&self, id: u32) {
        self.lock_open().remove(&id);
        self.live.leave(id);
    }

    fn heals(&self, fault: &Fault) -> Vec<Heal> {
        match &fault.effect {
            Effect::Cut(cut) => {
                let heal = |node: usize| Heal {
                    node: self.names[node].clone(),
                    script: nft::HEAL.to_owned(),
                };
                let cut = cut.nodes().into_iter().map(heal);
                // Cut while its process was frozen at a function: it goes on, too.
                let frozen = fault.frozen.as_slice();
                cut.chain(self.processes.heals(Kind::Pause, frozen))
                    .collect()
            }
            Effect::Nodes(nodes) => match &fault.asked {
                Some(asked) => self.conditions.heals(fault.head.id, asked, nodes),
                None => self.processes.heals(fault.head.kind, nodes),
            },
        }
    }

    async fn strike(&self, fault: &Fault) -> Result<Vec<Evidence>, String> {
        if let Some(why) = fault.forbidden.get() {
            return Err(why.clone());
        }
        match &fault.effect {
            Effect::Cut(cut) => match self.network.inject(fault.head.id, cut).await.as_slice() {
                [] => self.network.observe(cut).await,
                troubles => Err(reason(troubles)),
            },
            Effect::Nodes(nodes) => {
                let (id, kind) = (fault.head.id, fault.head.kind);
                match kind {
                    Kind::LeaderTransfer => return self.hand_over(nodes).await,
                    Kind::Wipe => self.processes.may_wipe(nodes).await?,
                    _ => {}
                }
                if let Some(asked) = &fault.asked {
                    return self.conditions.inject(id, asked, nodes).await;
                }
                let seen = self.processes.inject(id, kind, nodes).await;
                if kind == Kind::Reboot {
                    // A boot took away what others had put there.
                    self.network.put_back(nodes).await;
                    self.guards.remind(nodes).await;
                }
                seen
            }
        }
    }

    /// Undoes a fault and waits until that is seen, until the deadline. Can be called again if it failed.
    pub(super) async fn heal(&self, fault: &Fault, deadline: Instant) -> Undone {
        let id = fault.head.id;
        self.live.stage(id, Stage::Healing);
        self.journal.note(&fault.head, Step::HealAsked).await;
        let undone = match self.take_point_away(fault, deadline).await {
            Some(never) => never,
            None => self.undo(fault, deadline).await,
        };
        if undone.troubles.is_empty() {
            let evidence = undone.evidence.clone();
            self.journal
                .note(&fault.head, Step::Healed { evidence })
                .await;
            self.guards.release(id).await;
            self.close(id);
            self.announce(fault, FaultMoment::Healed);
        } else {
            let reason = reason(&undone.troubles);
            tracing::warn!(fault = id, %reason, "healing failed");
            self.live.stage(id, Stage::Stuck);
            self.journal
                .note(&fault.head, Step::HealFailed { reason })
                .await;
        }
        undone
    }

    async fn undo(&self, fault: &Fault, deadline: Instant) -> Undone {
        let id = fault.head.id;
        match &fault.effect {
            Effect::Cut(cut) => {
                let mut undone = self.network.heal(id, cut, deadline).await;
                let frozen = fault.frozen.as_slice();
                let going = self.processes.heal(id, Kind::Pause, frozen, deadline);
                undone.extend(going.await);
                undone
            }
            Effect::Nodes(nodes) => {
                let kind = fault.head.kind;
                if kind == Kind::LeaderTransfer {
                    return self.nothing_to_undo(nodes);
                }
                match &fault.asked {
                    Some(asked) => self.conditions.heal(id, asked, nodes, deadline).await,
                    None => self.processes.heal(id, kind, nodes, deadline).await,
                }
            }
        }
    }
}

/// Asks again and again until there is an answer; none at the deadline.
async fn until<T, F: Future<Output = Option<T>>>(
    deadline: Instant,
    ask: impl Fn() -> F,
) -> Option<T> {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            sleep(LEADER_PAUSE).await;
        }
    };
    timeout_at(deadline, asking).await.ok()
}
