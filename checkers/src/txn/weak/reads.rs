//! Sessions, who read from whom, and reads that are wrong by themselves.

use harness_core::{history::Outcome, verdict::Witness};

use super::{
    super::{
        atoms::Atom,
        findings::{equals, key, name, shown, who, witness_of},
        graph::node,
        input::{NONE, Transactions},
    },
    took_effect_unseen,
};

/// What a read shows that was there at first.
pub(super) const INITIAL: u32 = NONE - 1;

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
    /// By step that reads: the write that it saw, [`INITIAL`], or [`NONE`] if nobody wrote that.
    saw: Vec<u32>,
    /// By transaction: where its keys begin.
    written_start: Vec<u32>,
    /// Keys that transactions wrote, sorted, each once.
    written: Vec<u32>,
    /// By transaction: where its reads of others begin.
    external_start: Vec<u32>,
    external: Vec<External>,
}

impl Sessions {
    /// Finds out who took effect and who read from whom. Writes are unique.
    pub fn new(txns: Transactions) -> Self {
        let mut saw = vec![NONE; txns.step_count()];
        let mut seen = vec![false; txns.len()];
        for (place, step) in txns.steps().filter(|(_, step)| !step.write) {
            saw[place] = match step.atom() {
                Atom::NULL => INITIAL,
                atom => txns.writer(step.key, atom).unwrap_or(NONE),
            };
            if let Some(write) = txns.writes.get(saw[place] as usize) {
                seen[write.txn as usize] = true;
            }
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
            txns,
        };
        sessions.find_members(&seen);
        sessions.find_written();
        sessions.find_external();
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

    fn find_written(&mut self) {
        let mut keys = Vec::new();
        for (_, places) in self.txns.each() {
            keys.clear();
            keys.extend(
                places
                    .map(|place| self.txns.step(place))
                    .filter(|step| step.write)
                    .map(|step| step.key),
            );
            keys.sort_unstable();
            keys.dedup();
            self.written.extend_from_slice(&keys);
            self.written_start.push(node(self.written.len()));
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

    fn find_external(&mut self) {
        for (txn, places) in self.txns.each() {
            for place in places.clone() {
                let step = self.txns.step(place);
                if step.write || !self.counts(txn) {
                    continue;
                }
                let from = match self.saw[place] {
                    INITIAL => INITIAL,
                    NONE => continue,
                    write => self.txns.writes[write as usize].txn,
                };
                let own = |earlier: usize| {
                    let earlier = self.txns.step(earlier);
                    earlier.write && earlier.key == step.key
                };
                let taken = from == INITIAL || from != txn && self.counts(from);
                if taken && !(places.start..place).any(own) {
                    self.external.push(External {
                        key: step.key,
                        step: node(place),
                        from,
                    });
                }
            }
            self.external_start.push(node(self.external.len()));
        }
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
        for (txn, places) in self.txns.each() {
            if self.txns.outcome(txn) != Outcome::Ok {
                continue;
            }
            for place in places.clone() {
                let step = self.txns.step(place);
                if step.write {
                    continue;
                }
                let own = (places.start..place).rev().find(|earlier| {
                    let earlier = self.txns.step(*earlier);
                    earlier.write && earlier.key == step.key
                });
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
        let write = self.txns.writes.get(self.saw[place] as usize);
        if let Some(own) = own {
            let same = self.txns.step(own).atom() == self.txns.step(place).atom();
            return (!same).then_some(("internal", txn));
        }
        if self.saw[place] == NONE {
            return Some(("unwritten-read", txn));
        }
        let write = write?;
        if write.txn == txn {
            return Some(("future-read", txn));
        }
        if self.txns.outcome(write.txn) == Outcome::Fail {
            return Some(("aborted-read", write.txn));
        }
        write
            .overwritten
            .then_some(("intermediate-read", write.txn))
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
