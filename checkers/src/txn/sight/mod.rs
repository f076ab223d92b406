//! Read atomic and causal on lists: who saw work of another and missed what must be seen with it.
//!
//! A circle with one anti-dependency (G-single) rules out snapshot isolation, and says nothing of these two models: what matters is what a
//! transaction saw. After Cerone, Bernardi and Gotsman (CONCUR 2015), whose names for the anomalies these are, and Biswas and Enea (OOPSLA 2019): T3
//! reads x; T2 appended to x, and T3 does not see that.
//!
//! | model | what forbids it | anomaly |
//! | --- | --- | --- |
//! | read-atomic | T3 saw something else of T2's | fractured read |
//! | causal | T3 saw something of a transaction's that saw something of … T2's | causality violation |
//! | the same with `strong-session-` | likewise, where a process also saw all that it did before | the same with `-process` |
//!
//! ```text
//! T2  append x 1, append y 1 ───┐ saw        T2  append x 1
//! T3  r y [1], r x []  ◀────────┘            T1  r x [1], append y 1         T3  r y [1], r x []
//! ```
//!
//! Laws:
//! - a read shows the work of everybody whose element is in it, not only of whoever appended the last one. So a list is as good as a register for each
//!   element, and the models with sessions are the levels of [`super::weak`] on those registers; a test asserts it. To have appended behind
//!   an element is not to have seen it;
//! - nothing else has to be looked for. Who saw whom never contradicts the order of appends where read committed holds (no G1c), and an order of commits
//!   that keeps both lets everybody read what he read. An append that took effect and that no read shows came after those that were
//!   read; where it stands among others of its kind is nobody's concern, for any order that keeps who saw whom will do. So the answer is exact;
//! - such a circle lies within a component in which a G-single was found, so only those are looked at.
//!
//! How: transactions in an order that keeps who saw whom, and once through it for every eight keys, with the furthest append to each that
//! is known of. What reads of a list know is handed on from append to append, so that it takes no more edges than there are steps. The work is
//! bounded by a constant; beyond it the question stays open.

mod pass;
mod ways;

use harness_core::verdict::{Budget, Exhausted};

use super::{
    anomaly::{Anomaly, Order},
    cycles::Found,
    explain,
    findings::Findings,
    input::NONE,
    lists::Lists,
    model::Model,
};
use pass::{Answer, Missed, Pass};
use ways::Ways;

/// What is looked for, the worst first.
const KINDS: [Anomaly; 4] = [
    Anomaly::FracturedRead(Order::Plain),
    Anomaly::CausalityViolation(Order::Plain),
    Anomaly::FracturedRead(Order::Process),
    Anomaly::CausalityViolation(Order::Process),
];

/// What came of it.
#[derive(Default)]
pub(super) struct Sight {
    /// The model that what was found, or that nothing was, decides with all that it implies.
    pub decided: Option<Model>,
    /// Why nothing is decided, if that was the question.
    pub open: Option<String>,
}

/// Looks for what decides a model, within these components, in which there is a circle with one anti-dependency.
pub(super) fn decide(
    lists: &Lists,
    model: Model,
    components: &[&[u32]],
    findings: &mut Findings,
    budget: &dyn Budget,
) -> Result<Sight, Exhausted> {
    let Some(decided) = model.by_sight() else {
        return Ok(Sight::default());
    };
    let mut work = pass::Work::default();
    for component in components {
        let group = Group::new(lists, component);
        let mut known: Vec<Anomaly> = Vec::new();
        for anomaly in kinds(decided) {
            if known.iter().any(|found| found.implies(anomaly)) {
                continue;
            }
            let ways = Ways::new(&group, with_sessions(anomaly), budget)?;
            let direct = matches!(anomaly, Anomaly::FracturedRead(_));
            match Pass::new(&group, &ways, direct).run(&mut work, budget)? {
                Answer::GaveUp => {
                    return Ok(Sight {
                        decided: None,
                        open: Some("following who saw whose work took too much work".to_owned()),
                    });
                }
                Answer::Missed(missed) if missed.is_empty() => {}
                Answer::Missed(missed) => {
                    known.push(anomaly);
                    let found = Found {
                        anomaly,
                        steps: group.outside(&ways.shortest(&group, &missed)),
                        among: component.to_vec(),
                    };
                    findings.add(anomaly, || explain::cycle(&lists.txns, &found, lists));
                }
            }
        }
    }
    Ok(Sight {
        decided: Some(decided),
        open: None,
    })
}

/// What must be looked for to decide one of these models, the worst first.
pub(super) fn kinds(decided: Model) -> impl Iterator<Item = Anomaly> {
    KINDS.into_iter().filter(move |kind| decided.forbids(*kind))
}

/// Whether an anomaly counts what processes did first.
pub(super) fn with_sessions(anomaly: Anomaly) -> bool {
    matches!(
        anomaly,
        Anomaly::FracturedRead(Order::Process) | Anomaly::CausalityViolation(Order::Process)
    )
}

/// An append that reads show: in all of them by key, then in the order of the list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    key: u32,
    position: u32,
    txn: u32,
}

/// A read of a list.
#[derive(Clone, Copy)]
struct Read {
    key: u32,
    /// How many elements it shows.
    length: u32,
    /// The last of the marks that it shows and that are not its own transaction's, or [`NONE`].
    mark: u32,
}

/// How far a transaction appended to a key: the place behind its last element there, or [`NONE`] if that is behind all that reads show.
#[derive(Clone, Copy)]
struct Reach {
    key: u32,
    end: u32,
}

/// Transactions of a component, numbered anew, and what they read of and appended to keys, numbered anew as well.
struct Group<'l> {
    lists: &'l Lists,
    /// In the order of invocation.
    txns: &'l [u32],
    /// Keys that somebody here appended to.
    keys: Vec<u32>,
    marks: Vec<Mark>,
    /// By transaction: where its reads and its reaches begin.
    start: Vec<(u32, u32)>,
    reads: Vec<Read>,
    reaches: Vec<Reach>,
}

impl<'l> Group<'l> {
    fn new(lists: &'l Lists, txns: &'l [u32]) -> Self {
        let steps = |txn: u32| {
            let places = lists.txns.places(txn);
            places.map(|place| (place, lists.txns.step(place)))
        };
        let appended = txns.iter().flat_map(|txn| steps(*txn));
        let appended = appended.filter(|(_, step)| step.write);
        let mut keys: Vec<u32> = appended.map(|(_, step)| step.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut group = Self {
            lists,
            txns,
            keys,
            marks: Vec::new(),
            start: vec![(0, 0)],
            reads: Vec::new(),
            reaches: Vec::new(),
        };
        for (txn, global) in (0_u32..).zip(txns) {
            for (place, step) in steps(*global).filter(|(_, step)| step.write) {
                let key = group.key(step.key).unwrap_or(NONE);
                let position = lists.position[lists.last[place] as usize];
                if position != NONE {
                    group.marks.push(Mark { key, position, txn });
                }
                let end = position.saturating_add(1);
                group.reaches.push(Reach { key, end });
            }
            group
                .start
                .push((0, super::graph::node(group.reaches.len())));
        }
        group.marks.sort_unstable();
        for (txn, global) in txns.iter().enumerate() {
            for (place, step) in steps(*global).filter(|(_, step)| !step.write) {
                let (Some(key), length) = (group.key(step.key), lists.version[place]) else {
                    continue;
                };
                if length != NONE {
                    let mark = group.last_mark(txn, key, length);
                    group.reads.push(Read { key, length, mark });
                }
            }
            group.start[txn + 1].0 = super::graph::node(group.reads.len());
        }
        group
    }

    fn key(&self, key: u32) -> Option<u32> {
        let found = self.keys.binary_search(&key).ok();
        found.map(super::graph::node)
    }

    /// The last mark that so long a list shows a transaction. What it appended itself stands at the end, which `G0` and `internal` see to.
    fn last_mark(&self, txn: usize, key: u32, length: u32) -> u32 {
        let shown = |mark: &Mark| (mark.key, mark.position) < (key, length);
        let mut behind = self.marks.partition_point(shown);
        while let Some(last) = behind.checked_sub(1) {
            let mark = self.marks[last];
            if mark.key != key {
                return NONE;
            }
            if mark.txn as usize != txn {
                return super::graph::node(last);
            }
            behind = last;
        }
        NONE
    }

    fn reads(&self, txn: u32) -> &[Read] {
        let at = txn as usize;
        &self.reads[self.start[at].0 as usize..self.start[at + 1].0 as usize]
    }

    fn reaches(&self, txn: u32) -> &[Reach] {
        let at = txn as usize;
        &self.reaches[self.start[at].1 as usize..self.start[at + 1].1 as usize]
    }

    fn outside(&self, steps: &[super::paths::Step]) -> Vec<super::paths::Step> {
        let txn = |at: u32| self.txns[at as usize];
        let outside = |step: &super::paths::Step| super::paths::Step {
            from: txn(step.from),
            to: txn(step.to),
            kind: step.kind,
        };
        steps.iter().map(outside).collect()
    }
}
