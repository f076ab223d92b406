//! The nodes' guards: who undoes faults when we are gone.
//!
//! 1. Before a fault is injected, its scripts are with the guard of every node that has one; else it is not injected.
//! 2. As long as we live, each guard hears of us several times in a lease; each time it is told all that holds on its node,
//!    so that what was lost on the way, or with a boot, is made up for.
//! 3. Once a fault was seen healed, its scripts are taken back.
//! 4. What a guard healed while we lived is recorded, and earns no coverage.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex as StdMutex, PoisonError},
    time::Duration,
};

use harness_core::{
    fault::{Evidence, Heal, Step},
    frame::guard::{GuardEnd, GuardHeal, GuardHealed, GuardRequest},
};
use harness_lab::{
    Node,
    probe::{Keep, MAX_KEEP_MS},
};
use tokio::{
    sync::Mutex,
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep},
};

use super::{
    each::each,
    journal::{Head, Journal},
    report::with_sources,
};

/// How long a node may be out of hearing before it heals itself, unless told otherwise.
pub const DEFAULT_LEASE: Duration = Duration::from_secs(30);
/// The shortest lease: a busy machine must get through with several renewals.
pub const MIN_LEASE: Duration = Duration::from_secs(5);
/// Renewals in a lease.
const RENEWALS: u32 = 5;
/// How long handing scripts over may take.
const ARM_LIMIT: Duration = Duration::from_secs(20);

/// How nodes guard themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardSetting {
    /// Names the run: faults are numbered anew in each.
    pub run: String,
    /// How long a node may be out of hearing.
    pub lease: Duration,
}

/// What one node's guard is to know.
#[derive(Default)]
struct Held {
    scripts: BTreeMap<u32, Vec<String>>,
    /// Whether the guard may think otherwise.
    stale: bool,
}

/// The guards of all nodes.
pub(super) struct Guards {
    setting: Option<GuardSetting>,
    nodes: Vec<Node>,
    /// One for each node; held while its guard is told.
    held: Vec<Mutex<Held>>,
    heads: StdMutex<BTreeMap<u32, Head>>,
    /// What was recorded already, by node, fault and time.
    told: StdMutex<BTreeSet<(usize, u32, i64)>>,
    journal: Arc<Journal>,
}

impl Guards {
    pub(super) fn new(
        setting: Option<GuardSetting>,
        nodes: Vec<Node>,
        journal: Arc<Journal>,
    ) -> Arc<Self> {
        Arc::new(Self {
            setting,
            held: nodes.iter().map(|_| Mutex::default()).collect(),
            nodes,
            heads: StdMutex::default(),
            told: StdMutex::default(),
            journal,
        })
    }

    /// Law 2, until it is aborted. None where nobody guards.
    pub(super) fn renew(self: &Arc<Self>) -> Option<AbortHandle> {
        let every = self.setting.as_ref()?.lease / RENEWALS;
        let guards = Arc::clone(self);
        let renewing = tokio::spawn(async move {
            let mut nodes = JoinSet::new();
            for at in 0..guards.nodes.len() {
                let guards = Arc::clone(&guards);
                nodes.spawn(async move {
                    loop {
                        sleep(every).await;
                        guards.renew_node(at).await;
                    }
                });
            }
            nodes.join_all().await;
        });
        Some(renewing.abort_handle())
    }

    async fn renew_node(&self, at: usize) {
        let mut held = self.held[at].lock().await;
        if (!held.scripts.is_empty() || held.stale)
            && let Err(why) = self.tell(at, &mut held).await
        {
            tracing::warn!(node = %self.nodes[at].name, why, "its guard was not told");
        }
    }

    /// How what a fault arms outlives a lost connection: for less than the guard waits before it heals. Not where nobody guards.
    pub(super) fn keep(&self, fault: u32) -> Option<Keep> {
        let setting = self.setting.as_ref()?;
        let half = u64::try_from((setting.lease / 2).as_millis()).unwrap_or(u64::MAX);
        Some(Keep {
            key: format!("{}-{fault}", setting.run),
            for_ms: half.min(MAX_KEEP_MS),
        })
    }

    /// Law 1.
    pub(super) async fn arm(self: &Arc<Self>, head: &Head, heals: &[Heal]) -> Result<(), String> {
        if self.setting.is_none() {
            return Ok(());
        }
        self.heads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(head.id, head.clone());
        let mut scripts: BTreeMap<usize, Vec<String>> = BTreeMap::new();
        for heal in heals {
            let at = self
                .nodes
                .iter()
                .position(|node| node.name.as_str() == heal.node);
            if let Some(at) = at {
                scripts.entry(at).or_default().push(heal.script.clone());
            }
        }
        let fault = head.id;
        let jobs = scripts.into_iter().map(|(at, scripts)| {
            let guards = Arc::clone(self);
            (at, async move {
                let mut held = guards.held[at].lock().await;
                held.scripts.insert(fault, scripts);
                guards.tell(at, &mut held).await
            })
        });
        let mut problems = Vec::new();
        for (at, answer) in each(jobs, Instant::now() + ARM_LIMIT).await {
            let name = &self.nodes[at].name;
            match answer {
                Some(Ok(())) => {}
                Some(Err(why)) => problems.push(format!("{name}: {why}")),
                None => problems.push(format!("{name}: no answer in time")),
            }
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "not injected, because no guard could be set to undo it: {}",
                problems.join("; ")
            )),
        }
    }

    /// Law 3.
    pub(super) async fn release(self: &Arc<Self>, fault: u32) {
        if self.setting.is_none() {
            return;
        }
        let jobs = (0..self.nodes.len()).map(|at| {
            let guards = Arc::clone(self);
            (at, async move {
                let mut held = guards.held[at].lock().await;
                if held.scripts.remove(&fault).is_none() {
                    return Ok(());
                }
                held.stale = true;
                guards.tell(at, &mut held).await
            })
        });
        for (at, answer) in each(jobs, Instant::now() + ARM_LIMIT).await {
            // The next renewal tells it; and should we die before, what it undoes is undone already.
            if let Some(Err(why)) = answer {
                tracing::warn!(node = %self.nodes[at].name, why, "its guard was not told");
            }
        }
    }

    /// Tells the guards of these nodes what they may have forgotten: a boot ends them.
    pub(super) async fn remind(self: &Arc<Self>, nodes: &[usize]) {
        for at in nodes {
            self.renew_node(*at).await;
        }
    }

    async fn tell(&self, at: usize, held: &mut Held) -> Result<(), String> {
        let (Some(setting), Some(agent)) = (&self.setting, self.nodes[at].transport.agent()) else {
            return Ok(());
        };
        held.stale = true;
        let heal = |(fault, scripts): (&u32, &Vec<String>)| {
            let fault = *fault;
            let heal = move |script: &String| GuardHeal {
                fault,
                script: script.clone(),
            };
            scripts.iter().map(heal).collect::<Vec<_>>()
        };
        let request = GuardRequest {
            run: setting.run.clone(),
            lease_ms: u64::try_from(setting.lease.as_millis()).unwrap_or(u64::MAX),
            heals: held.scripts.iter().flat_map(heal).collect(),
            purge: false,
        };
        let end = agent.guard(&request).await.map_err(|e| with_sources(&e))?;
        held.stale = false;
        self.note(at, &end).await;
        Ok(())
    }

    /// Law 4.
    async fn note(&self, at: usize, end: &GuardEnd) {
        for healed in &end.healed {
            let key = (at, healed.fault, healed.monotonic_ns);
            let is_new = self
                .told
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(key);
            let head = self
                .heads
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&healed.fault)
                .cloned();
            if let (true, Some(head)) = (is_new, head) {
                let evidence = vec![evidence(&self.nodes[at], healed)];
                self.journal
                    .note(&head, Step::SelfHealed { evidence })
                    .await;
            }
        }
    }
}

/// What a guard did, for people.
pub(super) fn evidence(node: &Node, healed: &GuardHealed) -> Evidence {
    let silent_s = Duration::from_millis(healed.silent_ms).as_secs_f64();
    let how = match &healed.problem {
        None => "its script succeeded".to_owned(),
        Some(problem) => format!("its script did not succeed ({problem})"),
    };
    Evidence {
        node: node.name.to_string(),
        text: format!(
            "healed itself after {silent_s:.1} s without a word from the controller: {how}"
        ),
    }
}

/// Ends the watch of a node's guard and says what it healed by itself; nothing where nobody guards.
pub(super) async fn stand_down(node: &Node, purge: bool) -> Result<Vec<GuardHealed>, String> {
    let Some(agent) = node.transport.agent() else {
        return Ok(Vec::new());
    };
    // What was healed is told to whoever purges, whatever run it was of.
    let request = GuardRequest {
        purge,
        ..GuardRequest::default()
    };
    let end = agent.guard(&request).await.map_err(|e| with_sources(&e))?;
    Ok(end.healed)
}
