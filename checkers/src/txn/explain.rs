//! Turns a cycle into words: why each transaction must stand before the next.

use harness_core::{
    history::Operation,
    verdict::{Edge, Witness},
};

use super::{
    anomaly::{Anomaly, Cycle, Order},
    cycles::Found,
    findings::{clock, edge, equals, key, name, shown, who},
    graph::{
        ANY_RW, Kinds, PROCESS, REALTIME, RW_PROCESS, RW_REALTIME, WR, WW_PROCESS, WW_REALTIME,
    },
    input::Transactions,
    paths::Step,
};
use crate::words::{self, Clock, end_ns};

/// Transactions of a component that are shown if no short cycle was found.
const AMONG_SHOWN: usize = 20;

/// What the steps of two transactions say about an edge between them: places of steps.
pub(super) type Reason<'a> = dyn Fn(u32, u32, Kinds) -> Option<(usize, usize)> + 'a;

/// A witness of a cycle.
pub(super) fn cycle(
    txns: &Transactions,
    found: &Found,
    verb: &str,
    reason: &Reason<'_>,
) -> Witness {
    if found.steps.is_empty() {
        return without_steps(txns, found);
    }
    let steps = from_earliest(&found.steps);
    let operations: Vec<Operation> = steps.iter().map(|step| txns.operation(step.from)).collect();
    let operations: Vec<&Operation> = operations.iter().collect();
    let clock = clock(&operations);
    let edges: Vec<Edge> = steps
        .iter()
        .map(|step| {
            let words = because(txns, *step, verb, reason, clock);
            edge(txns, step.from, step.to, words)
        })
        .collect();
    // Who missed something is to blame; without such an edge, whoever saw or wrote what closes the circle.
    let culprit = steps
        .iter()
        .find(|step| step.kind & ANY_RW != 0)
        .or_else(|| steps.iter().find(|step| step.kind & WR != 0))
        .unwrap_or(&steps[0]);
    let culprit = txns.operation(if culprit.kind & WR != 0 {
        culprit.to
    } else {
        culprit.from
    });
    let story = story(&operations, &edges, &culprit, clock);
    let mut witness = words::witness(
        &found.anomaly.name(),
        found.anomaly.title(),
        story,
        &operations,
        &[culprit.index],
    );
    witness.edges = edges;
    witness
}

/// Begins with the transaction that was invoked first.
fn from_earliest(steps: &[Step]) -> Vec<Step> {
    let first = (0..steps.len())
        .min_by_key(|at| steps[*at].from)
        .unwrap_or(0);
    [&steps[first..], &steps[..first]].concat()
}

fn story(operations: &[&Operation], edges: &[Edge], culprit: &Operation, clock: Clock) -> String {
    let begin = who(culprit, clock);
    if let [first, second] = edges {
        return format!(
            "{}. But {}. So each of the two must come before the other; {begin} cannot be placed.",
            first.words, second.words
        );
    }
    let names: Vec<String> = operations
        .iter()
        .chain(operations.first())
        .map(|operation| name(operation))
        .collect();
    let reason = edges
        .iter()
        .find(|edge| edge.from == culprit.index)
        .map_or("", |edge| &edge.words);
    format!(
        "{reason}. One after the other, {} must each come before the next, which is a circle: no order of them explains what they saw. {begin} is the first that does not fit.",
        names.join(" → ")
    )
}

fn because(
    txns: &Transactions,
    step: Step,
    verb: &str,
    reason: &Reason<'_>,
    clock: Clock,
) -> String {
    let (from, to) = (txns.operation(step.from), txns.operation(step.to));
    let (a, b) = (name(&from), name(&to));
    if step.kind & REALTIME != 0 {
        return format!(
            "{a} had ended ({}) before {b} began ({})",
            clock.at(end_ns(&from)),
            clock.at(to.invoked_ns)
        );
    }
    if step.kind & PROCESS != 0 {
        return format!("Process {} did {a} before {b}", from.process);
    }
    let inferred = match step.kind {
        WW_PROCESS | RW_PROCESS => " (their order follows from what a process did first)",
        WW_REALTIME | RW_REALTIME => " (their order follows from real time)",
        _ => "",
    };
    let Some((first, second)) = reason(step.from, step.to, step.kind) else {
        return format!("{a} must come before {b}, by what they read and wrote");
    };
    let of_key = txns.key(txns.step(first).key);
    let (first, second) = (txns.value(first), txns.value(second));
    if step.kind & ANY_RW != 0 {
        return format!(
            "{a} read {} and missed the {} that {b} {verb}{inferred}",
            equals(&of_key, &first),
            shown(&second)
        );
    }
    if step.kind & WR != 0 {
        return format!(
            "{b} read {}, and it was {a} that {verb} the {}",
            equals(&of_key, &second),
            shown(&first)
        );
    }
    format!(
        "{b} {verb} {} to {} after {a} had put {} there{inferred}",
        shown(&second),
        key(&of_key),
        shown(&first),
    )
}

/// The cycle exists, but no short one was found.
fn without_steps(txns: &Transactions, found: &Found) -> Witness {
    let operations: Vec<Operation> = found
        .among
        .iter()
        .take(AMONG_SHOWN)
        .map(|txn| txns.operation(*txn))
        .collect();
    let operations: Vec<&Operation> = operations.iter().collect();
    let story = format!(
        "It is certain that {} contain such a circle, but the search for a short one was given up.",
        words::plural(found.among.len(), "transaction", "transactions")
    );
    words::witness(
        &found.anomaly.name(),
        found.anomaly.title(),
        story,
        &operations,
        &[],
    )
}

/// Whether reads that were answered from old state explain the cycle: it needs real time, and somebody missed a write.
pub(super) fn is_stale_read(anomaly: Anomaly) -> bool {
    matches!(anomaly, Anomaly::Cycle(Order::Realtime, cycle) if cycle >= Cycle::GSingle)
}
