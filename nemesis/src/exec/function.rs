//! A fault that strikes where a function of the system's program is entered: the kernel itself sends the signal, at that instruction.
//!
//! ```text
//! intend (its heal is on disk) ──► arm ──► hit ──► triggered, asked, observed
//!                                   └── over, or cancelled: disarm ──► not observed, nothing to undo
//! ```
//!
//! 1. Arming is injecting: the heal is on disk before it, and what may have fired is healed as if it had.
//! 2. A kill and a pause are done by the hit. For a partition the process is frozen by the hit, the network is cut, and it goes on.
//! 3. What was armed and not entered is recorded as not observed, and taken away.
//! 4. A hit in another process than the system's own is no fault of the system; what was frozen by it goes on.
//! 5. A watch that was lost with the agent is armed again on the new one: see `again`.

use std::{collections::BTreeSet, io, path::Path, sync::Arc, time::Duration};

use harness_core::{
    fault::{Evidence, Step, Triggered},
    meta::FunctionEntry,
    trigger::FaultMoment,
};
use harness_lab::{
    Exec, Node, TransportError,
    probe::{Fire, ProbeError, ProbeHit, ProbeSignal},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{
    PrepareError, Setup,
    each::each,
    live::Stage,
    network::CLOSED,
    one::{Fault, Inner, Opened, Planned, cancelled},
    report::{Undone, reason, with_sources},
    wait::{Fired, Hold},
    watched::on_our_clock,
};
use crate::{
    plan::{Effect, Kind, Selector},
    points::Point,
};

/// How long finding and trying a function on all nodes may take before the run begins.
const CHECK_LIMIT: Duration = Duration::from_secs(120);
/// How long a process may take to show that it was struck.
const STATE_LIMIT: Duration = Duration::from_secs(10);
/// How long between two looks at it.
const STATE_PAUSE: Duration = Duration::from_millis(5);
/// How long a process that was frozen for a cut may take to go on.
const GO_ON_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of `/proc/PID/stat` that are read, at most.
const STAT_BYTES: usize = 4096;

/// What watching a function came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It was entered, and the fault was seen to hold.
    Struck,
    /// It was entered or may have been, and the fault was not seen to hold.
    Unseen,
    /// It could not be watched.
    Unwatched,
    /// It was not entered while it was watched.
    Never,
}

/// Tries every function on every node that it may be watched on, without a signal. Changes nothing there.
pub(super) async fn check(
    setup: &Setup,
    planned: impl Iterator<Item = &Planned>,
) -> Result<(), PrepareError> {
    let Some(program) = setup.can.program.as_ref().map(|can| can.program()) else {
        return Ok(());
    };
    let mut tried = BTreeSet::new();
    let mut jobs = Vec::new();
    for planned in planned {
        let Some(entry) = planned.entry() else {
            continue;
        };
        let named = match planned.target.selector() {
            Some(Selector::List(names)) => Some(names),
            _ => None,
        };
        for node in &setup.nodes {
            let name = node.name.as_str();
            let meant = named.is_none_or(|names| names.iter().any(|named| named == name));
            if !meant || !tried.insert((name, entry.name.as_str())) {
                continue;
            }
            let (node, function) = (node.clone(), entry.name.clone());
            let (functions, program) = (Arc::clone(&setup.functions), program.clone());
            let key = (planned.fault.id, function.clone(), node.name.to_string());
            jobs.push((key, async move {
                let fire = Fire {
                    nth: 1,
                    signal: None,
                };
                let point = functions
                    .arm(&node, &program, &function, fire, None)
                    .await?;
                // Dropping it takes it away as well; this waits until it is gone.
                Ok(point.probe.disarm().await.is_ok())
            }));
        }
    }
    for ((id, function, node), answer) in each(jobs, Instant::now() + CHECK_LIMIT).await {
        match answer {
            Some(Ok(true)) => {}
            Some(Err(source)) => {
                return Err(PrepareError::Function {
                    id,
                    function,
                    source: Box::new(source),
                });
            }
            Some(Ok(false)) | None => return Err(PrepareError::Silent { node }),
        }
    }
    Ok(())
}

fn signal(kind: Kind) -> ProbeSignal {
    match kind {
        Kind::Kill => ProbeSignal::Kill,
        _ => ProbeSignal::Stop,
    }
}

impl Inner {
    /// Watches a function, and strikes where it is entered. `over` is when to give up; `fired` what happened before, if it
    /// waited for something else first, which is held back until the function is watched.
    pub(super) async fn inject_at(
        &self,
        planned: &Planned,
        entry: &FunctionEntry,
        (fired, hold): (Option<&Fired>, Option<Hold>),
        over: impl Future<Output = ()>,
        cancel: &mut watch::Receiver<bool>,
    ) -> io::Result<(Met, Arc<Fault>)> {
        let subject = fired.and_then(|fired| fired.subject.as_deref());
        let fault = match self.open_fault(planned, subject).await? {
            Opened::Fault(fault) => fault,
            Opened::Nobody(fault) => return Ok((Met::Unwatched, fault)),
        };
        let armed = tokio::select! {
            biased;
            armed = self.arm(&fault, entry) => armed,
            () = cancelled(cancel) => Err("the run was interrupted before the function was watched".to_owned()),
        };
        drop(hold);
        let (at, point) = match armed {
            Ok(armed) => armed,
            Err(reason) => {
                self.tell(&fault, Err(reason)).await;
                return Ok((Met::Unwatched, fault));
            }
        };
        self.live.stage(fault.head.id, Stage::Armed);
        let watched = self.watch(&fault, entry, point, over, cancel).await;
        let (point, until) = (&watched.point, watched.until);
        let node = &self.nodes[at];
        let hit = match self.hit(point, until.is_some()).await {
            Ok(Ok(hit)) => hit,
            Ok(Err(hits)) => {
                let until = until.unwrap_or("it was taken away");
                let why = match hits {
                    0 => format!(
                        "armed on {} at {}, never entered until {until}",
                        node.name, entry.name
                    ),
                    hits => format!(
                        "armed on {} at {}, entered {hits} times of the {} that were asked for until {until}",
                        node.name, entry.name, entry.nth
                    ),
                };
                let why = [vec![why], watched.missed].concat().join("; ");
                self.tell(&fault, Err(why)).await;
                return Ok((Met::Never, fault));
            }
            Err(lost) => {
                // It may have fired.
                self.journal.note(&fault.head, Step::Asked).await;
                let why = [vec![lost.to_string()], watched.missed].concat();
                self.tell(&fault, Err(why.join("; "))).await;
                return Ok((Met::Unseen, fault));
            }
        };
        let (triggered, seen) = tokio::join!(
            self.triggered(node, entry, &hit, fired),
            self.struck(&fault, at, entry, &hit)
        );
        let triggered = Step::Triggered(triggered);
        self.journal.note(&fault.head, triggered).await;
        self.journal.note(&fault.head, Step::Asked).await;
        self.announce(&fault, FaultMoment::Asked);
        let seen = seen.map(|mut evidence| {
            evidence.extend(watched.missed.into_iter().map(|text| Evidence {
                node: node.name.to_string(),
                text,
            }));
            evidence
        });
        let met = match self.tell(&fault, seen).await {
            true => Met::Struck,
            false => Met::Unseen,
        };
        Ok((met, fault))
    }

    /// Which node is watched, and what watches it from now on.
    async fn arm(
        &self,
        fault: &Fault,
        entry: &FunctionEntry,
    ) -> Result<(usize, Arc<Point>), String> {
        let (at, point) = self.arm_only(fault, entry).await?;
        Ok((at, fault.watched_by(point)))
    }

    /// The same without a note of it with the fault: dropping it takes it away.
    pub(super) async fn arm_only(
        &self,
        fault: &Fault,
        entry: &FunctionEntry,
    ) -> Result<(usize, Point), String> {
        if let Some(why) = fault.forbidden.get() {
            return Err(why.clone());
        }
        let (Some(at), Some(can)) = (fault.frozen, &self.program) else {
            return Err("there is no program with functions to watch".to_owned());
        };
        if self.processes.is_closed() {
            return Err(CLOSED.to_owned());
        }
        let fire = Fire {
            nth: entry.nth,
            signal: Some(signal(fault.head.kind)),
        };
        let node = &self.nodes[at];
        let program = can.program();
        let keep = self.guards.keep(fault.head.id);
        let armed = self.functions.arm(node, &program, &entry.name, fire, keep);
        let point = armed.await.map_err(|error| {
            format!(
                "{} cannot be watched on {}: {}",
                entry.name,
                node.name,
                with_sources(&error)
            )
        })?;
        Ok((at, point))
    }

    /// The hit that fired, or how many there were; `take_away` says not to wait for it any more.
    async fn hit(
        &self,
        point: &Point,
        take_away: bool,
    ) -> Result<Result<ProbeHit, u64>, ProbeError> {
        if let Some(hit) = point.probe.fired() {
            return Ok(Ok(hit));
        }
        if !take_away {
            return point.probe.wait_fired().await.map(Ok);
        }
        let end = point.probe.disarm().await?;
        // What was under way when it was taken away counts.
        Ok(point.probe.fired().ok_or(end.hits.iter().sum()))
    }

    async fn triggered(
        &self,
        node: &Node,
        entry: &FunctionEntry,
        hit: &ProbeHit,
        fired: Option<&Fired>,
    ) -> Triggered {
        let clock = self.journal.clock();
        let (fired_ns, bound_ns) = on_our_clock(node, hit.wall_ns, &*clock).await;
        let first = fired.map_or_else(String::new, |fired| {
            format!("{}, then ", fired.triggered.what)
        });
        Triggered {
            what: format!(
                "{first}{} entered, {} time, pid {} on {}",
                entry.short_name(),
                ordinal(entry.nth),
                hit.pid,
                node.name
            ),
            fired_ns,
            due_ns: fired_ns,
            bound_ns,
        }
    }

    /// What was seen after a hit.
    async fn struck(
        &self,
        fault: &Fault,
        at: usize,
        entry: &FunctionEntry,
        hit: &ProbeHit,
    ) -> Result<Vec<Evidence>, String> {
        let (node, kind, id) = (&self.nodes[at], fault.head.kind, fault.head.id);
        let pid = hit.pid;
        self.processes.hold(at, kind, id).await;
        if let Some(errno) = hit.signal_errno.filter(|errno| *errno != 0) {
            return Err(format!(
                "{}: the kernel sent no signal to process {pid} (error {errno})",
                node.name
            ));
        }
        let what = match signal(kind) {
            ProbeSignal::Kill => "gone after SIGKILL",
            ProbeSignal::Stop => "in state T after SIGSTOP",
        };
        see(node, pid, signal(kind)).await?;
        self.is_the_systems(node, pid, kind).await?;
        let hit_seen = Evidence {
            node: node.name.to_string(),
            text: format!(
                "process {pid} {what} at entry {} of {} (address {:#x}, thread {}, {} ns on its monotonic clock)",
                hit.hit, entry.name, hit.ip, hit.tid, hit.monotonic_ns
            ),
        };
        let mut evidence = vec![hit_seen];
        if let Effect::Cut(cut) = &fault.effect {
            let cut_off = self.network.inject(id, cut).await;
            let deadline = Instant::now() + GO_ON_LIMIT;
            let going = self.processes.heal(id, Kind::Pause, &[at], deadline).await;
            for troubles in [&cut_off, &going.troubles] {
                if !troubles.is_empty() {
                    return Err(reason(troubles));
                }
            }
            evidence.extend(going.evidence);
            evidence.extend(self.network.observe(cut).await?);
        }
        Ok(evidence)
    }

    /// Law 4.
    async fn is_the_systems(&self, node: &Node, pid: u32, kind: Kind) -> Result<(), String> {
        let newest = match &self.program {
            Some(can) => can
                .newest_process(node)
                .await
                .map_err(|e| with_sources(&e))?,
            None => None,
        };
        if newest == Some(pid) {
            return Ok(());
        }
        if signal(kind) == ProbeSignal::Stop {
            let go_on = Exec::new(["kill".to_owned(), "-CONT".to_owned(), pid.to_string()]);
            node.transport
                .exec(go_on)
                .await
                .map_err(|e| with_sources(&e))?;
        }
        let newest = newest.map_or_else(|| "none".to_owned(), |newest| newest.to_string());
        Err(format!(
            "{}: process {pid} entered it, and the system's is {newest}; name a function that only the system enters",
            node.name
        ))
    }

    /// Takes away what watches a function. Some if it certainly struck nobody: then there is nothing else to undo.
    pub(super) async fn take_point_away(&self, fault: &Fault, deadline: Instant) -> Option<Undone> {
        let (point, at) = (fault.watch()?, fault.frozen?);
        let ended = timeout_at(deadline, point.probe.disarm()).await;
        match (ended, point.probe.fired()) {
            (_, Some(_)) => {
                let hold = self.processes.hold(at, fault.head.kind, fault.head.id);
                // A node whose lock cannot be had cannot be healed either, and that is told then.
                let _ = timeout_at(deadline, hold).await;
                None
            }
            (Ok(Ok(_)), None) => {
                let mut undone = Undone::default();
                let text = "is not watched any more, and was not struck";
                undone.saw(&self.names[at], text);
                Some(undone)
            }
            _ => None,
        }
    }
}

/// Waits until a process shows that it was struck.
pub(super) async fn see(node: &Node, pid: u32, signal: ProbeSignal) -> Result<(), String> {
    let deadline = Instant::now() + STATE_LIMIT;
    loop {
        let state = state(node, pid).await.map_err(|e| with_sources(&e))?;
        let struck = match signal {
            ProbeSignal::Kill => matches!(state, None | Some('Z' | 'X')),
            ProbeSignal::Stop => state == Some('T'),
        };
        if struck {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let state =
                state.map_or_else(|| "gone".to_owned(), |state| format!("in state {state}"));
            return Err(format!(
                "{}: process {pid} is {state} {} s after the signal",
                node.name,
                STATE_LIMIT.as_secs()
            ));
        }
        sleep(STATE_PAUSE).await;
    }
}

/// The state of a process as `/proc/PID/stat` has it; none if there is none.
pub(super) async fn state(node: &Node, pid: u32) -> Result<Option<char>, TransportError> {
    let path = format!("/proc/{pid}/stat");
    let read = node.transport.read_file(Path::new(&path), 0, STAT_BYTES);
    match read.await {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            // The program's name is in parentheses, and may have some of its own.
            let rest = text.rsplit_once(") ").map(|(_, rest)| rest);
            Ok(rest.and_then(|rest| rest.chars().next()))
        }
        Err(TransportError::Refused { source, .. }) if is_gone(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `ENOENT`, or `ESRCH` where it went between opening and reading.
fn is_gone(error: &io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

fn ordinal(number: u64) -> String {
    let ending = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}
