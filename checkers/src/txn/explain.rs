//! Turns a cycle into words: why each transaction must stand before the next.

use std::collections::BTreeSet;

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

/// What lists and registers know of versions.
pub(super) trait Versions: Sync {
    /// What its writes did: `appended`.
    fn verb(&self) -> &'static str;

    /// What a read shows: `a value`.
    fn shows(&self) -> &'static str;

    /// What the steps of two transactions say about an edge between them: places of steps.
    fn reason(&self, from: u32, to: u32, kind: Kinds) -> Option<(usize, usize)>;

    /// Why the version at the second of these steps is newer, where that is inferred.
    fn evidence(&self, _first: usize, _second: usize, _kind: Kinds) -> Option<Evidence> {
        None
    }

    /// The steps to show of a circle, and who read what was old.
    fn righted(&self, found: &Found) -> Righted {
        let old = match is_old_read(found.anomaly) {
            true => Old::WhoMissed,
            false => Old::Nobody,
        };
        Righted {
            steps: found.steps.clone(),
            old,
        }
    }
}

/// A circle to show.
pub(super) struct Righted {
    pub steps: Vec<Step>,
    pub old: Old,
}

/// Who in a circle read what was old.
#[derive(Clone, Copy)]
pub(super) enum Old {
    /// That cannot be said.
    Nobody,
    /// Who missed a write.
    WhoMissed,
    /// A transaction that is none of the circle's, and that makes this step of it.
    Behind(Step, u32),
}

/// A transaction that touched a version.
pub(super) struct Touch {
    pub txn: u32,
    /// It wrote it; otherwise it read it.
    pub wrote: bool,
}

/// One version was touched before the other.
pub(super) struct Evidence {
    pub before: Touch,
    pub after: Touch,
    /// The first had ended before the second began; otherwise one process did both.
    pub realtime: bool,
}

/// Names transactions: in a story each with its process where it is first named, and who is to blame with its time, unless the story tells
/// times anyway.
struct Names {
    clock: Clock,
    told: Option<BTreeSet<u64>>,
    timed: Option<u64>,
}

impl Names {
    fn plain(clock: Clock) -> Self {
        Self {
            clock,
            told: None,
            timed: None,
        }
    }

    fn introducing(clock: Clock, timed: Option<u64>) -> Self {
        Self {
            clock,
            told: Some(BTreeSet::new()),
            timed,
        }
    }

    fn of(&mut self, operation: &Operation) -> String {
        let first = self
            .told
            .as_mut()
            .is_some_and(|told| told.insert(operation.index));
        match first {
            true if Some(operation.index) == self.timed => who(operation, self.clock),
            true => format!(
                "{} (process {}{})",
                name(operation),
                operation.process,
                words::on_node(operation)
            ),
            false => name(operation),
        }
    }
}

/// A witness of a cycle.
pub(super) fn cycle(txns: &Transactions, found: &Found, versions: &dyn Versions) -> Witness {
    if found.steps.is_empty() {
        return without_steps(txns, found);
    }
    let Righted { steps, old } = versions.righted(found);
    let steps = from_earliest(&steps);
    let circle: Vec<Operation> = steps.iter().map(|step| txns.operation(step.from)).collect();
    let mut shown = circle.clone();
    for txn in beside(&steps, versions) {
        let operation = txns.operation(txn);
        if !shown.iter().any(|known| known.index == operation.index) {
            shown.push(operation);
        }
    }
    let shown: Vec<&Operation> = shown.iter().collect();
    let clock = clock(&shown);
    let edges: Vec<Edge> = steps
        .iter()
        .map(|step| {
            let words = because(txns, *step, versions, &mut Names::plain(clock));
            edge(txns, step.from, step.to, words)
        })
        .collect();
    // Who missed something is to blame; without such an edge, whoever saw or wrote what closes the circle.
    let place = steps
        .iter()
        .position(|step| step.kind & ANY_RW != 0)
        .or_else(|| steps.iter().position(|step| step.kind & WR != 0))
        .unwrap_or(0);
    let (blamed, culprit) = match old {
        Old::Behind(step, txn) => (step, txn),
        _ if steps[place].kind & WR != 0 => (steps[place], steps[place].to),
        _ => (steps[place], steps[place].from),
    };
    let culprit = txns.operation(culprit);
    let old = !matches!(old, Old::Nobody);
    let with_times = steps.len() == 2 && steps.iter().any(|step| step.kind & REALTIME != 0);
    let timed = (!with_times).then_some(culprit.index);
    let story = Story {
        txns,
        versions,
        circle: &circle,
        culprit: &culprit,
        names: Names::introducing(clock, timed),
    }
    .tell(&steps, blamed, (found.anomaly, old));
    let mut witness = words::witness(
        &found.anomaly.name(),
        found.anomaly.title(),
        story,
        &shown,
        &[culprit.index],
    );
    witness.edges = edges;
    witness
}

/// Transactions that tell which of two versions is newer.
fn beside(steps: &[Step], versions: &dyn Versions) -> Vec<u32> {
    let evidence = |step: &Step| {
        let (first, second) = versions.reason(step.from, step.to, step.kind)?;
        versions.evidence(first, second, step.kind)
    };
    let told = steps.iter().filter_map(evidence);
    told.flat_map(|evidence| [evidence.before.txn, evidence.after.txn])
        .collect()
}

/// Begins with the transaction that was invoked first.
fn from_earliest(steps: &[Step]) -> Vec<Step> {
    let first = (0..steps.len())
        .min_by_key(|at| steps[*at].from)
        .unwrap_or(0);
    [&steps[first..], &steps[..first]].concat()
}

/// What is told of a circle.
struct Story<'a> {
    txns: &'a Transactions,
    versions: &'a dyn Versions,
    circle: &'a [Operation],
    culprit: &'a Operation,
    names: Names,
}

impl Story<'_> {
    fn tell(mut self, steps: &[Step], blamed: Step, (anomaly, old): (Anomaly, bool)) -> String {
        let reason = |story: &mut Self, step: Step| {
            because(story.txns, step, story.versions, &mut story.names)
        };
        if matches!(
            anomaly,
            Anomaly::FracturedRead(_) | Anomaly::CausalityViolation(_)
        ) {
            let missed = reason(&mut self, blamed);
            let begin = steps.iter().position(|step| *step == blamed).unwrap_or(0);
            let onward = [&steps[begin + 1..], &steps[..begin]].concat();
            let seen: Vec<String> = onward
                .into_iter()
                .map(|step| reason(&mut self, step))
                .collect();
            let culprit = self.names.of(self.culprit);
            let cause = self.names.of(&self.txns.operation(blamed.to));
            let wrong = match anomaly {
                Anomaly::FracturedRead(Order::Plain) => {
                    format!("saw a part of what {cause} did and missed another")
                }
                Anomaly::FracturedRead(_) => "did not see all that its process had done".to_owned(),
                _ => format!("saw an effect of {cause} and missed the cause"),
            };
            return format!("{missed}. But {}. So {culprit} {wrong}.", seen.join("; "));
        }
        if let [first, second] = steps {
            let (first, second) = (reason(&mut self, *first), reason(&mut self, *second));
            let culprit = self.names.of(self.culprit);
            return format!(
                "{first}. But {second}. So each of the two must come before the other; {culprit} {}.",
                self.wrong(old, "cannot be placed")
            );
        }
        let reason = reason(&mut self, blamed);
        let circle = self.circle.iter().chain(self.circle.first());
        let names: Vec<String> = circle.map(|operation| self.names.of(operation)).collect();
        format!(
            "{reason}. One after the other, {} must each come before the next, which is a circle: no order of them explains what they saw. {} {}.",
            names.join(" → "),
            self.names.of(self.culprit),
            self.wrong(old, "is the first that does not fit")
        )
    }

    fn wrong(&self, old: bool, otherwise: &str) -> String {
        match old {
            true => format!("read {}", self.versions.shows()),
            false => otherwise.to_owned(),
        }
    }
}

fn because(txns: &Transactions, step: Step, versions: &dyn Versions, names: &mut Names) -> String {
    let (from, to) = (txns.operation(step.from), txns.operation(step.to));
    if step.kind & REALTIME != 0 {
        let clock = names.clock;
        return format!(
            "{} had ended ({}) before {} began ({})",
            names.of(&from),
            clock.at(end_ns(&from)),
            names.of(&to),
            clock.at(to.invoked_ns)
        );
    }
    if step.kind & PROCESS != 0 {
        return format!(
            "Process {} did {} before {}",
            from.process,
            name(&from),
            name(&to)
        );
    }
    let Some((first, second)) = versions.reason(step.from, step.to, step.kind) else {
        return format!(
            "{} must come before {}, by what they read and wrote",
            names.of(&from),
            names.of(&to)
        );
    };
    let of_key = txns.key(txns.step(first).key);
    let (one, other) = (txns.value(first), txns.value(second));
    let verb = versions.verb();
    if step.kind & ANY_RW != 0 {
        return format!(
            "{} read {} and missed the {} that {} {verb}{}",
            names.of(&from),
            equals(&of_key, &one),
            shown(&other),
            names.of(&to),
            newer(txns, step, (first, second), versions, names)
        );
    }
    if step.kind & WR != 0 {
        return format!(
            "{} read {}, and it was {} that {verb} the {}",
            names.of(&to),
            equals(&of_key, &other),
            names.of(&from),
            shown(&one)
        );
    }
    format!(
        "{} {verb} {} to {} after {} had put {} there{}",
        names.of(&to),
        shown(&other),
        key(&of_key),
        names.of(&from),
        shown(&one),
        newer(txns, step, (first, second), versions, names)
    )
}

/// Why the second version is newer than the first, if that does not follow from what was read.
fn newer(
    txns: &Transactions,
    step: Step,
    (first, second): (usize, usize),
    versions: &dyn Versions,
    names: &mut Names,
) -> String {
    let Some(Evidence {
        before,
        after,
        realtime,
    }) = versions.evidence(first, second, step.kind)
    else {
        return match step.kind {
            WW_PROCESS | RW_PROCESS => " (their order follows from what a process did first)",
            WW_REALTIME | RW_REALTIME => " (their order follows from real time)",
            _ => "",
        }
        .to_owned();
    };
    let verb = |touch: &Touch| if touch.wrote { versions.verb() } else { "read" };
    let (old, new) = (shown(&txns.value(first)), shown(&txns.value(second)));
    let begin = match step.kind & ANY_RW {
        0 => ": ",
        _ => ", which is newer: ",
    };
    let (earlier, later) = (txns.operation(before.txn), txns.operation(after.txn));
    if !realtime {
        return format!(
            "{begin}process {} {} {old} in {} and then {} {new} in {}",
            earlier.process,
            verb(&before),
            name(&earlier),
            verb(&after),
            name(&later)
        );
    }
    format!(
        "{begin}{}, which {} {old}, had ended before {}, which {} {new}, began",
        names.of(&earlier),
        verb(&before),
        names.of(&later),
        verb(&after)
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

/// Whether somebody missed what others, or itself, had seen or done before.
fn is_old_read(anomaly: Anomaly) -> bool {
    matches!(anomaly, Anomaly::Cycle(order, Cycle::GSingle) if order != Order::Plain)
}

/// Whether reads that were answered from old state explain the cycle: it needs real time, and somebody missed a write.
pub(super) fn is_stale_read(anomaly: Anomaly) -> bool {
    matches!(anomaly, Anomaly::Cycle(Order::Realtime, cycle) if cycle >= Cycle::GSingle)
}
