//! Striking several nodes at one instant: each node's agent sends the signal when its own clock comes to it.
//!
//! 1. Whom to signal is found out beforehand, and held by the agents: between the instant and the signal nothing is asked.
//! 2. An agent is told the instant in its own time: the measured offset of its clock is added, and the offset's bound is in the evidence.
//! 3. A stop is asked for by whatever the system is asked by, a command: that waits on the node for the instant ([`Processes::instants`]).
//! 4. The evidence is what was seen of the processes afterwards, as where one node is struck.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use harness_core::frame::signal::{SignalEnd, SignalName, SignalRequest};
use harness_lab::{Node, TransportError, probe::ProbeSignal};
use tokio::{task::JoinSet, time::timeout};

use super::{
    function::see,
    process::{ACTION_LIMIT, Processes, Struck},
    report::with_sources,
};
use crate::{
    instant::{Instants, NodeInstant},
    plan::Kind,
};

/// How far ahead the instant is: long enough for each agent to hear of it, on a busy machine too.
const AHEAD: Duration = Duration::from_millis(250);
/// How long clocks are asked for.
const MEASURE_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of `/proc/PID/stat` that are read, at most.
const STAT_BYTES: usize = 4096;

/// The process that is meant on a node.
#[derive(Clone, Copy, Debug)]
struct Aim {
    pid: u32,
    start_time: u64,
}

fn signals(kind: Kind) -> Option<(SignalName, ProbeSignal)> {
    match kind {
        Kind::Kill => Some((SignalName::Kill, ProbeSignal::Kill)),
        Kind::Pause => Some((SignalName::Stop, ProbeSignal::Stop)),
        _ => None,
    }
}

/// When it is, as a capability is told it.
pub(super) fn instant_ns(when: Option<NodeInstant>) -> Option<i64> {
    when.map(|when| when.node_ns)
}

/// Evidence of something that was asked for at an instant.
pub(super) fn with_bound(seen: String, when: Option<NodeInstant>) -> String {
    match when {
        Some(when) => format!("{seen} (clocks known to ± {} µs)", when.bound_ns / 1000),
        None => seen,
    }
}

impl Processes {
    /// Whether these nodes can be struck at one instant by that kind.
    pub(super) fn can_strike_together(&self, kind: Kind, nodes: &[usize]) -> bool {
        nodes.len() > 1
            && signals(kind).is_some()
            && self.can.program.is_some()
            && nodes
                .iter()
                .all(|at| self.nodes[*at].transport.agent().is_some())
    }

    /// The instant at which these nodes are asked to stop, on each node's own clock; none for a node that cannot be told one, and where
    /// there is only one node.
    pub(super) async fn instants(
        &self,
        kind: Kind,
        nodes: &[usize],
    ) -> BTreeMap<usize, NodeInstant> {
        let asked = matches!(kind, Kind::Stop | Kind::Restart) && nodes.len() > 1;
        let with_agent: Vec<usize> = nodes
            .iter()
            .copied()
            .filter(|at| asked && self.nodes[*at].transport.agent().is_some())
            .collect();
        if with_agent.is_empty() {
            return BTreeMap::new();
        }
        let meant: Vec<&Node> = with_agent.iter().map(|at| &self.nodes[*at]).collect();
        let measuring = timeout(MEASURE_LIMIT, Instants::measure(&meant));
        // Who does not say its time is asked at once.
        let Ok(instants) = measuring.await else {
            return BTreeMap::new();
        };
        let fire = instants.after(AHEAD);
        with_agent
            .into_iter()
            .zip(fire)
            .filter_map(|(at, when)| Some((at, when.ok()?)))
            .collect()
    }

    /// Strikes all of them at one instant.
    pub(super) async fn strike_together(
        self: &Arc<Self>,
        fault: u32,
        kind: Kind,
        nodes: &[usize],
    ) -> Vec<(usize, Option<Struck>)> {
        let mut sorted = nodes.to_vec();
        sorted.sort_unstable();
        let processes = Arc::clone(self);
        // A task of its own: given up on, it goes on to hold the nodes until what is under way has ended.
        let striking =
            tokio::spawn(async move { processes.all_at_once(fault, kind, &sorted).await });
        match timeout(ACTION_LIMIT, striking).await {
            Ok(Ok(struck)) => struck,
            _ => nodes.iter().map(|at| (*at, None)).collect(),
        }
    }

    async fn all_at_once(
        self: &Arc<Self>,
        fault: u32,
        kind: Kind,
        nodes: &[usize],
    ) -> Vec<(usize, Option<Struck>)> {
        let Some((signal, shows)) = signals(kind) else {
            return Vec::new();
        };
        // Always in the same order, so that two faults never wait for each other.
        let mut held = Vec::new();
        for at in nodes {
            held.push((*at, self.holds[*at].lock().await));
        }
        let mut struck = Vec::new();
        let mut aims = JoinSet::new();
        for (at, holds) in &mut held {
            match self.begin(holds, kind, fault) {
                Some(ended) => struck.push((*at, Some(ended))),
                None => {
                    let (processes, at) = (Arc::clone(self), *at);
                    aims.spawn(async move { (at, processes.aim(at).await) });
                }
            }
        }
        let mut aimed = Vec::new();
        let mut alone = Vec::new();
        for (at, aim) in aims.join_all().await {
            match aim {
                Ok(Some(aim)) => aimed.push((at, aim)),
                // The usual way says that there is none, and why.
                Ok(None) => alone.push(at),
                Err(why) => struck.push((at, Some(Struck::Failed(why)))),
            }
        }
        let at_once: Vec<&Node> = aimed.iter().map(|(at, _)| &self.nodes[*at]).collect();
        let instants = Instants::measure(&at_once).await;
        let mut striking = JoinSet::new();
        let fire = instants.after(AHEAD);
        for ((at, aim), at_ns) in aimed.into_iter().zip(fire) {
            let node = self.nodes[at].clone();
            let request = SignalRequest {
                pid: aim.pid,
                start_time: Some(aim.start_time),
                signal,
                at_monotonic_ns: at_ns.as_ref().ok().map(|at| at.node_ns),
            };
            striking.spawn(async move {
                let struck = match at_ns {
                    Ok(at) => strike(&node, &request, shows, at.bound_ns).await,
                    Err(why) => Err(why),
                };
                (at, Some(struck.map_or_else(Struck::Failed, Struck::Seen)))
            });
        }
        struck.extend(striking.join_all().await);
        for (at, holds) in &mut held {
            holds.wipings = self.wipings(*at);
            if alone.contains(at) {
                let ended = self.strike_held(*at, kind, fault, holds, None).await;
                struck.push((*at, Some(ended)));
            }
        }
        struck
    }

    /// The system's process; none if none runs.
    async fn aim(&self, at: usize) -> Result<Option<Aim>, String> {
        let (node, Some(can)) = (&self.nodes[at], &self.can.program) else {
            return Ok(None);
        };
        let newest = can.newest_process(node).await;
        let Some(pid) = newest.map_err(|error| with_sources(&error))? else {
            return Ok(None);
        };
        let path = format!("/proc/{pid}/stat");
        let read = node.transport.read_file(Path::new(&path), 0, STAT_BYTES);
        let stat = match read.await {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(TransportError::Refused { .. }) => return Ok(None),
            Err(error) => return Err(with_sources(&error)),
        };
        let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let mut fields = fields.split_whitespace();
        let state = fields.next().unwrap_or("X");
        let start_time = fields.nth(18).and_then(|ticks| ticks.parse().ok());
        Ok(match (state, start_time) {
            ("Z" | "X", _) | (_, None) => None,
            (_, Some(start_time)) => Some(Aim { pid, start_time }),
        })
    }
}

async fn strike(
    node: &Node,
    request: &SignalRequest,
    shows: ProbeSignal,
    bound_ns: u64,
) -> Result<String, String> {
    let agent = node.transport.agent().ok_or("there is no agent")?;
    let SignalEnd { errno, after, .. } = agent
        .signal(request)
        .await
        .map_err(|error| with_sources(&error))?;
    if errno != 0 {
        return Err(format!(
            "the kernel sent no signal to process {} (error {errno})",
            request.pid
        ));
    }
    see(node, request.pid, shows).await?;
    let what = match shows {
        ProbeSignal::Kill => "gone after SIGKILL",
        ProbeSignal::Stop => "in state T after SIGSTOP",
    };
    let late_ns = request
        .at_monotonic_ns
        .map_or(0, |at| after.monotonic_ns.saturating_sub(at));
    Ok(format!(
        "process {} {what}, sent {} µs after the instant that was set for all (clocks known to ± {} µs)",
        request.pid,
        late_ns / 1000,
        bound_ns / 1000
    ))
}
