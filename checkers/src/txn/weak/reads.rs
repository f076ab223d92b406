//! Sessions, who read from whom, and reads that are wrong by themselves.

use std::ops::Range;

use harness_core::{history::Outcome, verdict::Witness};

use super::{
    super::{
        findings::{equals, key, name, shown, who, witness_of},
        graph::node,
        input::{NONE, Transactions},
    },
    saw::Saw,
    took_effect_unseen,
};
use crate::parallel;

pub(super) use super::saw::INITIAL;

/// A read of another transaction's write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct External {
    pub key: u32,
    /// Place among all steps.
    pub step: u32,
    /// The transaction that it read from, or [`INITIAL`].
    pub from: u32,
}

/// Transactions that took effect, by session.
pub(super) struct Sessions {
    pub txns: Transactions,
    /// By transaction: its session, or [`NONE`] if it is not known to have taken effect.
    pub session: Vec<u32>,
    /// By transaction: its place in the session, from 1; 0 if it has none.
    pub position: Vec<u32>,
    /// By session: its transactions.
    pub members: Vec<Vec<u32>>,
    saw: Saw,
    /// By transaction: where its keys begin.
    written_start: Vec<u32>,
    /// Keys that transactions wrote, sorted, each once.
    written: Vec<u32>,
    /// By transaction: where its reads of others begin.
    external_start: Vec<u32>,
    external: Vec<External>,
    /// Whether some read is wrong whatever the order.
    faulty: bool,
    pub threads: usize,
}

/// What is found out about some transactions that follow one another.
#[derive(Default)]
struct Part {
    written: Vec<u32>,
    /// By transaction: where its keys end.
    written_end: Vec<u32>,
    external: Vec<External>,
    external_end: Vec<u32>,
    faulty: bool,
}

/// Appends; the first part is taken as it is.
fn join<T>(all: &mut Vec<T>, part: Vec<T>) {
    if all.is_empty() {
        *all = part;
    } else {
        all.extend(part);
    }
}

impl Sessions {
    /// Finds out who took effect and who read from whom, if that is not known. Writes are unique.
    pub fn new(txns: Transactions, saw: Option<Saw>, threads: usize) -> Self {
        let saw = saw.unwrap_or_else(|| Saw::new(&txns, threads));
        let mut seen = vec![false; txns.len()];
        // Of the others it does not matter.
        if txns.outcome.contains(&Outcome::Info) {
            saw.seen().for_each(|txn| seen[txn as usize] = true);
        }
        let mut sessions = Self {
            session: vec![NONE; txns.len()],
            position: vec![0; txns.len()],
            members: Vec::new(),
            saw,
            written_start: vec![0],
            written: Vec::new(),
            external_start: vec![0],
            external: Vec::new(),
            faulty: false,
            threads,
            txns,
        };
        sessions.find_members(&seen);
        let all = 0..node(sessions.txns.len());
        let parts = parallel::pieces(threads, all, |range| sessions.part(range));
        for part in parts {
            let shift = |ends: &[u32], by: usize| -> Vec<u32> {
                ends.iter().map(|end| end + node(by)).collect()
            };
            let ends = shift(&part.written_end, sessions.written.len());
            sessions.written_start.extend(ends);
            join(&mut sessions.written, part.written);
            let ends = shift(&part.external_end, sessions.external.len());
            sessions.external_start.extend(ends);
            join(&mut sessions.external, part.external);
            sessions.faulty |= part.faulty;
        }
        sessions
    }

    fn find_members(&mut self, seen: &[bool]) {
        let txns = &self.txns;
        let counts = |txn: usize| {
            let outcome = txns.outcome[txn];
            took_effect_unseen(outcome) || outcome == Outcome::Info && seen[txn]
        };
        // An unknown outcome in the middle of a session may have taken effect after what follows: it gets a session of its own.
        let mut last = vec![NONE; txns.processes.len()];
        for txn in 0..txns.len() {
            if counts(txn) {
                last[txns.process[txn] as usize] = node(txn);
            }
        }
        let mut of_process = vec![NONE; txns.processes.len()];
        for txn in 0..txns.len() {
            if !counts(txn) {
                continue;
            }
            let process = txns.process[txn] as usize;
            let apart = txns.outcome[txn] == Outcome::Info && last[process] != node(txn);
            let mut session = if apart { NONE } else { of_process[process] };
            if session == NONE {
                session = node(self.members.len());
                self.members.push(Vec::new());
                if !apart {
                    of_process[process] = session;
                }
            }
            let members = &mut self.members[session as usize];
            members.push(node(txn));
            self.session[txn] = session;
            self.position[txn] = node(members.len());
        }
    }

    /// Number of sessions.
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Whether it is known to have taken effect.
    pub fn counts(&self, txn: u32) -> bool {
        self.session[txn as usize] != NONE
    }

    /// The keys that a transaction wrote, sorted.
    pub fn written(&self, txn: u32) -> &[u32] {
        let at = txn as usize;
        &self.written[self.written_start[at] as usize..self.written_start[at + 1] as usize]
    }

    /// Whether a transaction wrote a key.
    pub fn wrote(&self, txn: u32, key: u32) -> bool {
        self.written(txn).binary_search(&key).is_ok()
    }

    fn part(&self, txns: Range<u32>) -> Part {
        let mut part = Part::default();
        let mut keys = Vec::new();
        for txn in txns {
            keys.clear();
            for place in self.txns.places(txn) {
                let step = self.txns.step(place);
                if step.write {
                    keys.push(step.key);
                    continue;
                }
                let own = self.own_write(txn, place);
                let from = self.saw.from(place);
                part.faulty |=
                    self.txns.outcome(txn) == Outcome::Ok && self.fault(txn, place, own).is_some();
                let other = from == INITIAL || from != NONE && from != txn && self.counts(from);
                if other && own.is_none() && self.counts(txn) {
                    part.external.push(External {
                        key: step.key,
                        step: node(place),
                        from,
                    });
                }
            }
            keys.sort_unstable();
            keys.dedup();
            part.written.extend_from_slice(&keys);
            part.written_end.push(node(part.written.len()));
            part.external_end.push(node(part.external.len()));
        }
        part
    }

    /// The place of the last write of the key that is read, in the same transaction before it.
    fn own_write(&self, txn: u32, place: usize) -> Option<usize> {
        let key = self.txns.step(place).key;
        (self.txns.places(txn).start..place).rev().find(|earlier| {
            let earlier = self.txns.step(*earlier);
            earlier.write && earlier.key == key
        })
    }

    /// Reads of other transactions that took effect, in the order of the steps. Reads after an own write of the key are none.
    pub fn external(&self, txn: u32) -> &[External] {
        let at = txn as usize;
        &self.external[self.external_start[at] as usize..self.external_start[at + 1] as usize]
    }

    /// Reads that are wrong whatever the order: how many of each kind, and witnesses of the first few.
    pub fn faults(&self, per_kind: usize) -> (Vec<(&'static str, u64)>, Vec<Witness>) {
        let mut counts: Vec<(&'static str, u64)> = Vec::new();
        let mut witnesses = Vec::new();
        if !self.faulty {
            return (counts, witnesses);
        }
        for (txn, places) in self.txns.each() {
            if self.txns.outcome(txn) != Outcome::Ok {
                continue;
            }
            for place in places.clone() {
                let step = self.txns.step(place);
                if step.write {
                    continue;
                }
                let own = self.own_write(txn, place);
                let Some((kind, other)) = self.fault(txn, place, own) else {
                    continue;
                };
                let known = counts.iter().position(|(known, _)| *known == kind);
                let at = known.unwrap_or_else(|| {
                    counts.push((kind, 0));
                    counts.len() - 1
                });
                counts[at].1 += 1;
                if counts[at].1 <= per_kind as u64 {
                    witnesses.push(self.tell(kind, txn, place, other));
                }
            }
        }
        (counts, witnesses)
    }

    /// What is wrong with a read, and whose write it was.
    fn fault(&self, txn: u32, place: usize, own: Option<usize>) -> Option<(&'static str, u32)> {
        if let Some(own) = own {
            let same = self.txns.step(own).atom() == self.txns.step(place).atom();
            return (!same).then_some(("internal", txn));
        }
        let from = match self.saw.from(place) {
            NONE => return Some(("unwritten-read", txn)),
            INITIAL => return None,
            from => from,
        };
        if from == txn {
            return Some(("future-read", txn));
        }
        if self.txns.outcome(from) == Outcome::Fail {
            return Some(("aborted-read", from));
        }
        self.saw
            .was_overwritten(place)
            .then_some(("intermediate-read", from))
    }

    fn tell(&self, kind: &str, txn: u32, place: usize, other: u32) -> Witness {
        let read = self.shown(place);
        let key = key(&self.txns.key(self.txns.step(place).key));
        let (title, said) = match kind {
            "internal" => (
                "A transaction did not read its own write.",
                format!("Before that it had itself written another value to {key}"),
            ),
            "unwritten-read" => (
                "A value appeared that nobody had written.",
                format!("No transaction ever wrote that to {key}"),
            ),
            "future-read" => (
                "Saw a write before making it.",
                "It wrote that itself, but only after this read".to_owned(),
            ),
            "aborted-read" => (
                "Saw the work of a transaction that had failed.",
                format!(
                    "{} wrote that, and it failed",
                    name(&self.txns.operation(other))
                ),
            ),
            _ => (
                "Saw another transaction's half-done work.",
                format!(
                    "{} wrote that, and wrote over it before it ended",
                    name(&self.txns.operation(other))
                ),
            ),
        };
        witness_of(
            kind,
            title,
            &self.txns,
            &[txn, other],
            |operations, clock| format!("{} read {read}. {said}.", who(operations[0], clock)),
        )
    }

    /// `x=1` of a step.
    pub fn shown(&self, place: usize) -> String {
        let key = self.txns.key(self.txns.step(place).key);
        equals(&key, &self.txns.value(place))
    }

    /// `x=2`, what a transaction wrote last to a key.
    pub fn wrote_last(&self, txn: u32, key: u32) -> String {
        let place = self.txns.places(txn).rev().find(|place| {
            let step = self.txns.step(*place);
            step.write && step.key == key
        });
        place.map_or_else(|| shown(&self.txns.key(key)), |place| self.shown(place))
    }
}
