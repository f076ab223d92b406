//! Witnesses about nodes: one that does not serve again, processes that died by themselves, and lines of logs.

use harness_core::{
    history::Outcome,
    meta::{NodeMeta, ProcessExit},
    verdict::{CheckInput, Witness},
};
use regex::bytes::Regex;
use serde_json::Value;

use super::Finding;
use crate::logs::patterns::PATTERNS;

/// What is allowed if nothing is said, milliseconds.
const RECOVERY_MS: u64 = 60_000;
const NS_PER_MS: u64 = 1_000_000;
/// Signals whose cause lies in the program that gets them, on Linux: those of a fault of the processor, of `abort` and of a forbidden call.
const OWN: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];
const SIGKILL: i32 = 9;

/// A node that is to serve was tried until the time was over, and no attempt that ended in time succeeded.
pub(super) fn availability(options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let meta = input.meta;
    let ([node], Some(phase)) = (witness.nodes.as_slice(), meta.phase("recover")) else {
        return Finding::Refuted("it names no node, or nothing was healed".to_owned());
    };
    let said = |name: &str| {
        let both = [&options[name], &meta.workload_options[name]];
        both.into_iter().find(|value| !value.is_null())
    };
    let limit_ms = said("recovery_timeout_ms").and_then(Value::as_u64);
    let healed_ns = u64::try_from(phase.start_ns).unwrap_or(0);
    let until_ns = healed_ns + limit_ms.unwrap_or(RECOVERY_MS) * NS_PER_MS;
    let must = said("live_nodes").and_then(Value::as_array);
    if must.is_some_and(|names| !names.iter().any(|name| name == node.as_str())) {
        return Finding::Refuted(format!("{node} was not to serve"));
    }
    let attempts = input.history.operations.iter().filter(|operation| {
        &*operation.f == "availability"
            && operation.node.as_deref() == Some(node)
            && operation.invoked_ns >= healed_ns
    });
    let (mut served, mut tried) = (false, false);
    for attempt in attempts {
        let Some(ended_ns) = attempt.completed_ns else {
            continue;
        };
        served |= attempt.outcome == Outcome::Ok && ended_ns <= until_ns;
        tried |= ended_ns >= until_ns;
    }
    if served {
        return Finding::Refuted(format!("{node} served in time"));
    }
    Finding::of(tried, "nobody tried it for so long")
}

/// What is claimed of a process or of a core dump stands in what was recorded of its node.
pub(super) fn crash(_options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let named = |node: &&NodeMeta| [node.name.as_str()] == witness.nodes.as_slice();
    let Some(node) = input.meta.nodes.iter().find(named) else {
        return Finding::Refuted("it names no node of the run".to_owned());
    };
    if witness.kind == "core-dump" {
        let there = node
            .core_dumps
            .iter()
            .any(|path| witness.story.contains(path.as_str()));
        return Finding::of(there, "no such core dump was found there");
    }
    let is_meant = |exit: &&ProcessExit| {
        let at_ns = exit.wall_ns.saturating_sub(input.meta.started_wall_ns);
        at_ns == witness.start_ns && witness.story.contains(&format!("Process {} on", exit.pid))
    };
    let proves = |exit: &ProcessExit| {
        let own = exit.signal.is_some_and(|signal| OWN.contains(&signal));
        match witness.kind.as_str() {
            // Who is asked to go may, but leaves no core.
            "crash" if exit.expected => exit.core,
            "crash" => own,
            "killed" => !exit.expected && exit.signal == Some(SIGKILL),
            "exit" => {
                let well = exit.signal.is_none() && exit.code == Some(0);
                !exit.expected && !own && exit.signal != Some(SIGKILL) && !well
            }
            _ => false,
        }
    };
    Finding::of(
        node.exits.iter().filter(is_meant).any(proves),
        "no process that was recorded there ended so",
    )
}

/// The line that is claimed to say that something broke stands in that log, and says so.
pub(super) fn log(_options: &Value, input: &CheckInput<'_>, witness: &Witness) -> Finding {
    let mut patterns = PATTERNS.iter().filter(|one| one.kind == witness.kind);
    let Some(says) = patterns.find_map(|one| Regex::new(one.regex).ok()) else {
        return Finding::NotTried(format!("{} is not known here", witness.kind));
    };
    let logs = input.logs.iter();
    let mut logs = logs.filter(|log| [log.node] == witness.nodes.as_slice());
    let proved = logs.any(|log| {
        let lines = log.bytes.split(|byte| *byte == b'\n');
        (1..).zip(lines).any(|(number, line)| {
            let place = format!("{}:{} line {number} says: ", log.node, log.path);
            witness.story.starts_with(&place) && says.is_match(line)
        })
    });
    Finding::of(proved, "no such line stands there")
}
