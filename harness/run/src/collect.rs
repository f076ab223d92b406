//! What is gathered from the nodes besides the history: versions, clocks, how processes ended, core dumps, logs.
//!
//! Laws:
//! - a node that does not answer costs a remark, never the run;
//! - nothing here changes a node;
//! - a process' end counts as expected only if one of our own faults, a join or a remove of its node, or the beginning or end of
//!   the run, explains it.

use std::{sync::Arc, time::Duration};

use harness_core::{
    event::{Event, EventType},
    fault::FaultRecord,
    membership,
    meta::{NodeMeta, ProcessExit},
};
use harness_lab::{Exec, Node};
use harness_workloads::systems::{CoreDump, System};
use tokio::task::JoinSet;

use crate::store::RunFolder;

/// The most of each log file that is fetched, in bytes.
pub const LOG_LIMIT_BYTES: u64 = 256 * 1024 * 1024;
/// How long one node may take to answer one question.
const ASK_TIMEOUT: Duration = Duration::from_secs(20);
/// How far a process' end may lie outside its fault and still be explained by it: clocks and polling.
const EXPLAIN_SLACK_NS: u64 = 2_000_000_000;
/// How long after a graceful stop was asked a process may still end by it.
const STOP_SLACK_NS: u64 = 90_000_000_000;
/// SIGKILL's number.
const SIGKILL: i32 = 9;
/// SIGTERM's number.
const SIGTERM: i32 = 15;

/// What explains that a process ended.
pub struct Causes<'a> {
    /// The faults as done.
    pub faults: &'a [FaultRecord],
    /// Joins and removes.
    pub changes: &'a [ChangeSpan],
    /// When forming began; what lies on the nodes from before is another run's.
    pub began_wall_ns: u64,
    /// When the run began; what ended before is forming.
    pub started_wall_ns: u64,
    /// When we began to end the system ourselves.
    pub ended_wall_ns: u64,
}

/// A join or a remove of a node: making ready, joining and leaving may end its process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSpan {
    /// The node.
    pub node: String,
    /// When it began, nanoseconds since the run began.
    pub start_ns: u64,
    /// When it ended; never, if that was not recorded.
    pub end_ns: u64,
}

/// The spans of recorded joins and removes.
#[must_use]
pub fn change_spans(events: &[Event]) -> Vec<ChangeSpan> {
    let invoked = events.iter().enumerate().filter(|(_, event)| {
        event.event_type == EventType::Invoke && membership::change(&event.f).is_some()
    });
    invoked
        .filter_map(|(at, event)| {
            let end = events[at + 1..]
                .iter()
                .find(|later| later.process == event.process);
            Some(ChangeSpan {
                node: event.value.get("member")?.as_str()?.to_owned(),
                start_ns: event.time_ns,
                end_ns: end.map_or(u64::MAX, |end| end.time_ns),
            })
        })
        .collect()
}

/// Versions, kernel, clock and whether core dumps would be seen, of all nodes at once, in their order.
pub async fn describe(nodes: &[Node], system: &Arc<dyn System>) -> (Vec<NodeMeta>, Vec<String>) {
    if system.simulated() {
        return (nodes.iter().map(empty).collect(), Vec::new());
    }
    let mut asking = JoinSet::new();
    for (place, node) in nodes.iter().enumerate() {
        let (node, system) = (node.clone(), Arc::clone(system));
        asking.spawn(async move { (place, describe_one(&node, &*system).await) });
    }
    let mut described: Vec<NodeMeta> = nodes.iter().map(empty).collect();
    let mut remarks = Vec::new();
    while let Some(Ok((place, (meta, mut said)))) = asking.join_next().await {
        described[place] = meta;
        remarks.append(&mut said);
    }
    (described, remarks)
}

fn empty(node: &Node) -> NodeMeta {
    NodeMeta {
        name: node.name.to_string(),
        address: node.address.to_string(),
        ..NodeMeta::default()
    }
}

async fn describe_one(node: &Node, system: &dyn System) -> (NodeMeta, Vec<String>) {
    let mut meta = empty(node);
    let mut remarks = Vec::new();
    match system.versions(node).await {
        Ok(versions) => meta.versions = versions,
        Err(error) => remarks.push(format!("versions of {}: {error}", node.name)),
    }
    match node.transport.clock_offset().await {
        Ok(clock) => {
            meta.clock_offset_ns = Some(clock.wall_offset_ns);
            meta.clock_bound_ns = Some(clock.bound_ns);
        }
        Err(error) => remarks.push(format!("clock of {}: {error}", node.name)),
    }
    let ask = "uname -r; cat /proc/sys/kernel/core_pattern; ulimit -c";
    match node
        .transport
        .exec(Exec::shell(ask).timeout(ASK_TIMEOUT))
        .await
    {
        Ok(output) => {
            let text = output.stdout_text();
            let mut lines = text.lines();
            meta.kernel = lines.next().unwrap_or_default().to_owned();
            let pattern = lines.next().unwrap_or_default();
            let limit = lines.next().unwrap_or_default();
            let lost = cores_lost(pattern, limit);
            meta.cores_visible = Some(lost.is_none());
            meta.cores_reason = lost.unwrap_or_default();
        }
        Err(error) => remarks.push(format!("kernel of {}: {error}", node.name)),
    }
    (meta, remarks)
}

/// Why a core dump would not be found on the node; none if it would.
fn cores_lost(pattern: &str, limit: &str) -> Option<String> {
    if pattern.starts_with('|') {
        return Some(format!(
            "core_pattern pipes dumps to {pattern:?}, outside of the nodes"
        ));
    }
    if pattern.is_empty() {
        return Some("core_pattern is empty, so no dump is written".to_owned());
    }
    if pattern.contains('/') {
        return Some(format!(
            "core_pattern puts dumps at {pattern:?}, where the harness does not look"
        ));
    }
    match limit.trim() {
        "unlimited" => None,
        "0" => Some("the limit of core dumps is 0 on the node".to_owned()),
        other => other
            .parse::<u64>()
            .is_err()
            .then(|| format!("the limit of core dumps is unknown ({other:?})")),
    }
}

/// Fetches how processes ended, core dumps and logs.
pub async fn gather(
    nodes: &[Node],
    system: &Arc<dyn System>,
    metas: &mut [NodeMeta],
    causes: &Causes<'_>,
    run: &RunFolder,
) -> Vec<String> {
    let mut gathering = JoinSet::new();
    for (place, node) in nodes.iter().enumerate() {
        let (node, system) = (node.clone(), Arc::clone(system));
        let run = run.clone();
        gathering.spawn(async move { (place, gather_one(&node, &*system, &run).await) });
    }
    let mut remarks = Vec::new();
    while let Some(Ok((place, mut gathered))) = gathering.join_next().await {
        let Some(meta) = metas.get_mut(place) else {
            continue;
        };
        for exit in &mut gathered.exits {
            let offset = meta.clock_offset_ns.unwrap_or(0);
            let wall_ns = exit.wall_ns.saturating_add_signed(offset.wrapping_neg());
            exit.expected = wall_ns < causes.started_wall_ns
                || wall_ns.saturating_add(EXPLAIN_SLACK_NS) >= causes.ended_wall_ns
                || explained(exit, wall_ns, &meta.name, causes);
        }
        meta.exits = gathered.exits;
        let offset = meta.clock_offset_ns.unwrap_or(0);
        // Those of earlier runs lie there still: they may be wanted, and are not ours to remove.
        let of_this_run = gathered.core_dumps.iter().filter(|dump| {
            dump.wall_ns.saturating_add_signed(offset.wrapping_neg()) >= causes.began_wall_ns
        });
        meta.core_dumps = of_this_run
            .map(|dump| dump.path.display().to_string())
            .collect();
        remarks.append(&mut gathered.remarks);
    }
    remarks
}

/// Whether one of our faults, or a change of the node's membership, explains that a process ended then.
fn explained(exit: &ProcessExit, wall_ns: u64, node: &str, causes: &Causes<'_>) -> bool {
    let started_wall_ns = causes.started_wall_ns;
    // A crash in the middle of a join stays one.
    let in_order = exit.code == Some(0) || matches!(exit.signal, Some(SIGKILL | SIGTERM));
    let changed = causes.changes.iter().any(|change| {
        let start = started_wall_ns.saturating_add(change.start_ns);
        let end = started_wall_ns.saturating_add(change.end_ns);
        change.node == node
            && wall_ns.saturating_add(EXPLAIN_SLACK_NS) >= start
            && wall_ns <= end.saturating_add(EXPLAIN_SLACK_NS)
    });
    if in_order && changed {
        return true;
    }
    causes.faults.iter().any(|fault| {
        let asked = started_wall_ns.saturating_add(fault.asked_ns.unwrap_or(fault.intended_ns));
        let healed = fault
            .healed_ns
            .map_or(u64::MAX, |healed| started_wall_ns.saturating_add(healed));
        let by = |end: u64| wall_ns.saturating_add(EXPLAIN_SLACK_NS) >= asked && wall_ns <= end;
        let until_healed = by(healed.saturating_add(EXPLAIN_SLACK_NS));
        let soon = by(asked.saturating_add(STOP_SLACK_NS));
        fault.nodes.iter().any(|name| name == node)
            && match fault.kind.as_str() {
                // What was wiped is ended once more before it joins.
                "kill" | "wipe" | "lose-writes" => exit.signal == Some(SIGKILL) && until_healed,
                // SIGTERM ends one that does not listen for it yet, and the heal of a stop that does not end kills the process. What the
                // heal has started and gives up by itself is no part of it.
                "stop" | "restart" => {
                    let by_itself = exit.code.is_some_and(|code| code != 0)
                        && wall_ns > healed.saturating_add(EXPLAIN_SLACK_NS);
                    let asked = matches!(exit.signal, Some(SIGKILL | SIGTERM));
                    (exit.code.is_some() || asked) && !by_itself && soon
                }
                // Its limit may end the process at the kernel's hand.
                "memory" => exit.signal == Some(SIGKILL) && until_healed,
                // The process is killed before the file is damaged and before it is put back; one that says what it found and
                // exits is no crash. What gives up by a signal of its own is.
                "bitflip" | "truncate" | "remove" => {
                    (exit.signal == Some(SIGKILL) || exit.code.is_some()) && until_healed
                }
                // A machine that goes down ends what runs, in order or not.
                "reboot" => in_order && soon,
                _ => false,
            }
    })
}

struct Gathered {
    exits: Vec<ProcessExit>,
    core_dumps: Vec<CoreDump>,
    remarks: Vec<String>,
}

async fn gather_one(node: &Node, system: &dyn System, run: &RunFolder) -> Gathered {
    let mut remarks = Vec::new();
    let exits = match system.exits(node).await {
        Ok(exits) => exits,
        Err(error) => {
            remarks.push(format!("how processes of {} ended: {error}", node.name));
            Vec::new()
        }
    };
    let core_dumps = match system.core_dumps(node).await {
        Ok(found) => found,
        Err(error) => {
            remarks.push(format!("core dumps of {}: {error}", node.name));
            Vec::new()
        }
    };
    for path in system
        .handles()
        .log_files
        .map(|files| files.log_files(node))
        .unwrap_or_default()
    {
        let name = path
            .file_name()
            .map_or_else(|| "log".into(), |name| name.to_string_lossy());
        let fetched = match run.log_path(node.name.as_str(), &name) {
            Ok(local) => node
                .transport
                .download(&path, &local, LOG_LIMIT_BYTES)
                .await
                .map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = fetched {
            remarks.push(format!("{} of {}: {error}", path.display(), node.name));
        }
    }
    Gathered {
        exits,
        core_dumps,
        remarks,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: &str, asked_ns: u64, healed_ns: u64) -> FaultRecord {
        FaultRecord {
            id: 1,
            kind: kind.to_owned(),
            label: String::new(),
            nodes: vec!["n1".to_owned()],
            planned: None,
            heals: Vec::new(),
            triggered: None,
            intended_ns: asked_ns,
            asked_ns: Some(asked_ns),
            observed_ns: None,
            heal_asked_ns: None,
            healed_ns: Some(healed_ns),
            self_healed: false,
            evidence: Vec::new(),
            problems: Vec::new(),
        }
    }

    fn exit(code: Option<i32>, signal: Option<i32>) -> ProcessExit {
        ProcessExit {
            pid: 1,
            code,
            signal,
            core: false,
            wall_ns: 0,
            expected: false,
        }
    }

    #[test]
    fn only_our_own_faults_explain_an_end() {
        const SECOND: u64 = 1_000_000_000;
        let started = 1_000 * SECOND;
        fn by<'a>(faults: &'a [FaultRecord], changes: &'a [ChangeSpan]) -> Causes<'a> {
            Causes {
                faults,
                changes,
                began_wall_ns: 990 * SECOND,
                started_wall_ns: 1_000 * SECOND,
                ended_wall_ns: u64::MAX,
            }
        }
        let faults = [fault("kill", 10 * SECOND, 20 * SECOND)];
        for (exit, at_s, node, expected) in [
            (exit(None, Some(9)), 10, "n1", true),
            (exit(None, Some(9)), 10, "n2", false),
            (exit(None, Some(9)), 40, "n1", false),
            (exit(None, Some(11)), 10, "n1", false),
            (exit(Some(2), None), 10, "n1", false),
        ] {
            let wall_ns = started + at_s * SECOND;
            assert_eq!(
                explained(&exit, wall_ns, node, &by(&faults, &[])),
                expected,
                "{exit:?} at {at_s} s on {node}"
            );
        }
        let stops = [fault("stop", 10 * SECOND, 20 * SECOND)];
        assert!(explained(
            &exit(Some(0), None),
            started + 60 * SECOND,
            "n1",
            &by(&stops, &[])
        ));
        for (exit, at_s) in [(exit(None, Some(6)), 11), (exit(Some(1), None), 26)] {
            let wall_ns = started + at_s * SECOND;
            let is_explained = explained(&exit, wall_ns, "n1", &by(&stops, &[]));
            assert!(!is_explained, "{exit:?} at {at_s} s");
        }
        for (kind, exit, expected) in [
            ("restart", exit(Some(0), None), true),
            ("restart", exit(None, Some(11)), false),
            ("stop", exit(None, Some(15)), true),
            ("kill", exit(None, Some(15)), false),
            ("wipe", exit(None, Some(9)), true),
            ("lose-writes", exit(None, Some(9)), true),
            ("lose-writes", exit(None, Some(11)), false),
            ("wipe", exit(Some(2), None), false),
            ("reboot", exit(None, Some(15)), true),
            ("reboot", exit(None, Some(6)), false),
            ("leader-transfer", exit(Some(0), None), false),
        ] {
            let faults = [fault(kind, 10 * SECOND, 20 * SECOND)];
            let wall_ns = started + 11 * SECOND;
            assert_eq!(
                explained(&exit, wall_ns, "n1", &by(&faults, &[])),
                expected,
                "{kind} {exit:?}"
            );
        }
    }

    #[test]
    fn a_join_explains_an_orderly_end_of_its_own_node_only() {
        const SECOND: u64 = 1_000_000_000;
        let event = |event_type, time_ns, value| Event {
            index: 0,
            time_ns,
            process: harness_core::event::Process::Client(1),
            node: None,
            event_type,
            f: "join".into(),
            value,
            error: None,
        };
        let member = serde_json::json!({"member": "n4"});
        let changes = change_spans(&[
            event(EventType::Invoke, 10 * SECOND, member),
            event(EventType::Info, 20 * SECOND, serde_json::Value::Null),
        ]);
        let causes = Causes {
            faults: &[],
            changes: &changes,
            began_wall_ns: 990 * SECOND,
            started_wall_ns: 1_000 * SECOND,
            ended_wall_ns: u64::MAX,
        };
        for (code, signal, at_s, node, expected) in [
            (Some(0), None, 15, "n4", true),
            (None, Some(9), 15, "n4", true),
            (None, Some(11), 15, "n4", false),
            (Some(2), None, 15, "n4", false),
            (Some(0), None, 15, "n3", false),
            (Some(0), None, 30, "n4", false),
        ] {
            let exit = exit(code, signal);
            let wall_ns = (1_000 + at_s) * SECOND;
            assert_eq!(
                explained(&exit, wall_ns, node, &causes),
                expected,
                "{exit:?} at {at_s} s on {node}"
            );
        }
    }

    #[test]
    fn where_cores_go_is_told() {
        assert_eq!(cores_lost("core", "unlimited"), None);
        for (pattern, limit) in [
            ("|/usr/share/apport/apport %p", "unlimited"),
            ("/var/crash/core.%p", "unlimited"),
            ("core", "0"),
            ("", "unlimited"),
            ("core", "?"),
        ] {
            assert!(cores_lost(pattern, limit).is_some(), "{pattern} {limit}");
        }
    }
}
