//! Beginning anew: restarting the system, and booting the node.
//!
//! A restart has undone itself when it was seen. After a boot the system is down until the fault is healed; what other faults had
//! put into the node's network is put back at once, since a boot is no way out of a partition.

use std::{path::Path, time::Duration};

use harness_lab::{Exec, Node, TransportError};
use tokio::time::{Instant, sleep, timeout};

use super::{
    PrepareError,
    process::{ACTION_LIMIT, Holds, Processes, Struck},
    report::with_sources,
    together::{instant_ns, with_bound},
};
use crate::instant::NodeInstant;

/// How long a node may take to come back: machines take longer than containers.
const BOOT_LIMIT: Duration = Duration::from_secs(100);
/// How long between two tries to reach it.
const BOOT_PAUSE: Duration = Duration::from_millis(100);
/// Bytes of the files that tell one boot from another, at most.
const BOOT_BYTES: usize = 4096;
/// The capability CAP_SYS_BOOT, as a bit of `CapEff`.
const CAP_SYS_BOOT: u32 = 22;
/// The pid namespace that a kernel begins with.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// What is asked before the run begins.
const LOOK: &str = "grep CapEff: /proc/self/status; cat /proc/sys/kernel/random/boot_id; readlink /proc/self/ns/pid";

/// What tells one boot of a node from another.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Boot {
    /// The kernel's id; a container has one of its own where its manager gives it one.
    id: String,
    /// When process 1 began, in clock ticks.
    began: String,
}

async fn boot(node: &Node) -> Result<Boot, TransportError> {
    let read = |path| node.transport.read_file(Path::new(path), 0, BOOT_BYTES);
    let id = read("/proc/sys/kernel/random/boot_id").await?;
    let stat = read("/proc/1/stat").await?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    // The program's name is in parentheses, and may have some of its own; the start time is field 22.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    Ok(Boot {
        id: String::from_utf8_lossy(&id).trim().to_owned(),
        began: rest
            .split_whitespace()
            .nth(19)
            .unwrap_or_default()
            .to_owned(),
    })
}

/// Whether these nodes can be booted anew without booting somebody else.
pub(super) async fn check(node: &Node) -> Result<(), PrepareError> {
    let refused = |detail: &str| {
        Err(PrepareError::NoReboot {
            node: node.name.to_string(),
            detail: detail.to_owned(),
        })
    };
    if node.transport.agent().is_none() {
        return refused("there is no agent on it");
    }
    let said = node.transport.exec(Exec::shell(LOOK)).await?.stdout_text();
    let mut lines = said.lines().map(str::trim);
    let may = lines
        .next()
        .and_then(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let (id, namespace) = (lines.next(), lines.next());
    let own = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    if namespace == Some(FIRST_PID_NAMESPACE) && id == Some(own.trim()) {
        return refused("it is the machine that the harness runs on");
    }
    match may {
        Some(mask) if mask & (1 << CAP_SYS_BOOT) != 0 => Ok(()),
        _ => refused(
            "its root lacks CAP_SYS_BOOT, which a privileged container or a machine of its own has",
        ),
    }
}

impl Processes {
    /// Stops the system and starts it as soon as it is gone.
    pub(super) async fn restart(
        &self,
        at: usize,
        fault: u32,
        holds: &mut Holds,
        when: Option<NodeInstant>,
    ) -> Struck {
        let (Some(stop), Some(start)) = (&self.can.stop, &self.can.start) else {
            return Struck::Failed("the system offers no restart".to_owned());
        };
        let node = &self.nodes[at];
        holds.wipings = self.wipings(at);
        let stopped = match timeout(ACTION_LIMIT, stop.stop(node, instant_ns(when))).await {
            Ok(Ok(stopped)) if stopped.pid.is_some() => stopped,
            Ok(Ok(nothing)) => {
                holds.down.remove(&fault);
                if !self.runs_as_a_rule(at) {
                    holds.found_nothing.insert(fault);
                }
                return Struck::Already(format!("no process to strike ({})", nothing.detail));
            }
            Ok(Err(error)) => {
                holds.late_stop = true;
                return Struck::Failed(with_sources(&error));
            }
            Err(_) => {
                holds.late_stop = true;
                return Struck::Failed(late("the stop"));
            }
        };
        match timeout(ACTION_LIMIT, start.start(node)).await {
            Ok(Ok(started)) if started.pid.is_some() && started.pid != stopped.pid => {
                holds.down.remove(&fault);
                let stopped = with_bound(stopped.detail, when);
                Struck::Seen(format!("{stopped}; then {}", started.detail))
            }
            Ok(Ok(nothing)) => Struck::Failed(format!("it does not run again: {}", nothing.detail)),
            Ok(Err(error)) => Struck::Failed(with_sources(&error)),
            Err(_) => Struck::Failed(late("the start")),
        }
    }

    /// Boots the node anew and waits until it answers again. Its system is down then.
    pub(super) async fn reboot(&self, at: usize, fault: u32, holds: &mut Holds) -> Struck {
        holds.wipings = self.wipings(at);
        match timeout(ACTION_LIMIT, self.boot_anew(at)).await {
            Ok(Ok((ran, detail))) => {
                // Nothing that was frozen is there any more.
                holds.frozen.clear();
                if !ran && holds.down.len() == 1 && !self.runs_as_a_rule(at) {
                    holds.down.remove(&fault);
                    holds.found_nothing.insert(fault);
                }
                Struck::Seen(detail)
            }
            Ok(Err(why)) => Struck::Failed(why),
            Err(_) => Struck::Failed(late("the boot")),
        }
    }

    /// Whether the system ran before, and what was seen.
    async fn boot_anew(&self, at: usize) -> Result<(bool, String), String> {
        let node = &self.nodes[at];
        let (Some(agent), Some(start)) = (node.transport.agent(), &self.can.start) else {
            return Err("it cannot be booted anew".to_owned());
        };
        let told = |error: TransportError| with_sources(&error);
        let before = boot(node).await.map_err(told)?;
        let ran = start
            .is_running(node)
            .await
            .map_err(|error| with_sources(&error))?;
        agent.reboot().await.map_err(told)?;
        let began = Instant::now();
        let after = loop {
            let last = match boot(node).await {
                Ok(after) if after != before => break after,
                Ok(_) => "it is still the same boot".to_owned(),
                Err(error) => with_sources(&error),
            };
            if began.elapsed() >= BOOT_LIMIT {
                let limit_s = BOOT_LIMIT.as_secs();
                return Err(format!("not back within {limit_s} s: {last}"));
            }
            sleep(BOOT_PAUSE).await;
        };
        let runs = start
            .is_running(node)
            .await
            .map_err(|error| with_sources(&error))?;
        let system = match (ran, runs) {
            (true, false) => "the system that ran is gone",
            (false, false) => "the system did not run before",
            (_, true) => "the system runs again by itself",
        };
        Ok((
            ran,
            format!(
                "booted anew, back after {:.1} s: process 1 began at tick {} and now at {}, boot id {} and now {}; {system}",
                began.elapsed().as_secs_f64(),
                before.began,
                after.began,
                short(&before.id),
                short(&after.id)
            ),
        ))
    }
}

fn short(id: &str) -> &str {
    id.split('-').next().unwrap_or_default()
}

fn late(what: &str) -> String {
    format!("{what} did not end within {} s", ACTION_LIMIT.as_secs())
}
