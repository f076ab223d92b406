//! Who read an old value, where two versions of a register each seem to come before the other.
//!
//! ```text
//! T1 w x 1 ├──┤
//!    T2 w x 2    ├──┤
//!       T3 r x 2       ├──┤            fresh
//!          T4 r x 1          ├──┤      old
//! ```
//!
//! Versions are ordered by who touched them: 1 came before 2, because T1 had ended before T2 began; and 2 before 1, because T3 had ended
//! before T4 began. So there are two circles, and each proves that no order explains the history:
//!
//! - T4 missed the 2 that T2 wrote, and T2 had ended before T4 began;
//! - T3 "missed" the 1 that T1 wrote, and T1 had ended before T3 began.
//!
//! The search finds either. What a person must be told is the first: by the time at which T4 began, 2 was known to be the newer value, as
//! somebody had touched it after somebody had touched 1. Of all such reads of either version the one that began first is told of; what came
//! before it fits together. Of one process it is the same, by the order of its own transactions; but if the write of one had ended before
//! that of the other began, that tells which is newer.

use std::collections::BTreeMap;

use harness_core::history::Outcome;

use super::{
    anomaly::{Anomaly, Cycle, Order},
    cycles::Found,
    explain::{Evidence, Old, Righted, Touch},
    graph::{Kinds, PROCESS, REALTIME, RW_PROCESS, RW_REALTIME, WR, WW_PROCESS, WW_REALTIME},
    input::NONE,
    paths::Step,
    registers::Registers,
};

/// Kinds of edges of an order other than that of the data.
struct Ordered {
    order: Kinds,
    anti: Kinds,
    inferred: Kinds,
}

impl Ordered {
    fn of(order: Order) -> Option<Self> {
        Some(match order {
            Order::Plain => return None,
            Order::Process => Self {
                order: PROCESS,
                anti: RW_PROCESS,
                inferred: RW_PROCESS | WW_PROCESS,
            },
            Order::Realtime => Self {
                order: REALTIME,
                anti: RW_REALTIME,
                inferred: RW_REALTIME | WW_REALTIME,
            },
        })
    }
}

/// Somebody read a version that was old: somebody else had touched the newer one before.
struct Late {
    new: u32,
    /// Transactions.
    reader: u32,
    before: u32,
}

impl Registers {
    /// The circle to show instead of this one: through who read the old value.
    pub fn righted(&self, found: &Found) -> Righted {
        let as_found = |old| Righted {
            steps: found.steps.clone(),
            old,
        };
        let kinds = match found.anomaly {
            Anomaly::Cycle(order, Cycle::GSingle) => Ordered::of(order),
            _ => None,
        };
        let Some(kinds) = kinds else {
            return as_found(Old::Nobody);
        };
        let mut old = Old::WhoMissed;
        for step in found
            .steps
            .iter()
            .filter(|step| step.kind & kinds.inferred != 0)
        {
            let Some((first, second)) = self.reason(step.from, step.to, step.kind) else {
                continue;
            };
            let (before, after) = (self.version_at(first), self.version_at(second));
            if !self.is_version(before) || !self.is_version(after) {
                continue;
            }
            if self.came_before(after, before, kinds.inferred) {
                old = Old::Nobody;
                if let Some(late) = self.latest(before, after, kinds.order) {
                    return Righted {
                        steps: self.circle(&late, &kinds),
                        old: Old::WhoMissed,
                    };
                }
            }
            // One process saw them in an order in which they were not written: the circle is another's, too.
            if self.written_before(after, before)
                && let Some(evidence) = self.evidence(first, second, step.kind)
                && !evidence.after.wrote
            {
                return as_found(Old::Behind(*step, evidence.after.txn));
            }
        }
        as_found(old)
    }

    fn latest(&self, one: u32, other: u32, order: Kinds) -> Option<Late> {
        let late = |old, new| match order {
            REALTIME => self.late(old, new),
            _ => self.late_in_a_process(old, new),
        };
        let both = [late(one, other), late(other, one)].into_iter().flatten();
        both.min_by_key(|late| late.reader)
    }

    fn circle(&self, late: &Late, kinds: &Ordered) -> Vec<Step> {
        let writer = self.writer(late.new);
        let step = |from, to, kind| Step { from, to, kind };
        let mut steps = vec![step(late.reader, writer, kinds.anti)];
        if late.before != writer {
            steps.push(step(writer, late.before, WR));
        }
        steps.push(step(late.before, late.reader, kinds.order));
        steps
    }

    /// Transactions that touched a version: who wrote it, and who read it.
    fn touched(&self, version: u32) -> impl Iterator<Item = u32> + '_ {
        let reads = self.reads_of(self.txns.writes[version as usize].key, version);
        std::iter::once(self.writer(version)).chain(reads.iter().map(|read| read.txn))
    }

    /// Who only read a version, and did not write the other one either.
    fn readers(&self, version: u32, other: u32) -> impl Iterator<Item = u32> + '_ {
        let writers = [self.writer(version), self.writer(other)];
        self.touched(version)
            .filter(move |txn| !writers.contains(txn))
    }

    /// Whether a version had been written before the write of the other began.
    fn written_before(&self, one: u32, other: u32) -> bool {
        let begun = self.txns.index[self.writer(other) as usize];
        self.end_of(self.writer(one)) < begun
    }

    /// The event of a transaction's end, if it is known to have ended.
    fn end_of(&self, txn: u32) -> u64 {
        match self.txns.outcome(txn) {
            Outcome::Ok => self.txns.completed_index[txn as usize],
            _ => u64::MAX,
        }
    }

    /// The first who began to read the old version when the other was known to be newer.
    fn late(&self, old: u32, new: u32) -> Option<Late> {
        let begins = |txn: u32| self.txns.index[txn as usize];
        let known = self
            .touched(new)
            .filter(|txn| begins(*txn) > self.ended[old as usize])
            .map(|txn| self.end_of(txn))
            .min()?;
        let reader = self
            .readers(old, new)
            .filter(|txn| begins(*txn) > known)
            .min()?;
        Some(Late {
            new,
            reader,
            before: self.first_ended(new, begins(reader))?,
        })
    }

    /// Who touched a version and had ended before an event: its writer if that had, else who had first.
    fn first_ended(&self, version: u32, event: u64) -> Option<u32> {
        let ends = |txn: &u32| self.end_of(*txn);
        let writer = self.writer(version);
        let first = || self.touched(version).min_by_key(ends);
        let chosen = Some(writer).filter(|txn| ends(txn) < event);
        chosen.or_else(first).filter(|txn| ends(txn) < event)
    }

    /// The first who read the old version when its process had touched the new one, which was known to be newer.
    fn late_in_a_process(&self, old: u32, new: u32) -> Option<Late> {
        let known = match self.written_before(old, new) {
            true => self.writer(new),
            false if self.written_before(new, old) => return None,
            false => self.in_one_process(old, new)?.1,
        };
        let firsts = self.first_by_process(new);
        self.readers(old, new)
            .filter(|reader| *reader > known)
            .filter_map(|reader| {
                let before = *firsts.get(&self.process_of(reader))?;
                (before < reader).then_some(Late {
                    new,
                    reader,
                    before,
                })
            })
            .min_by_key(|late| late.reader)
            .filter(|_| self.came_before(old, new, RW_PROCESS))
    }

    /// The first transaction of each process that touched a version.
    fn first_by_process(&self, version: u32) -> BTreeMap<u32, u32> {
        let mut firsts: BTreeMap<u32, u32> = BTreeMap::new();
        for txn in self.touched(version) {
            let first = firsts.entry(self.process_of(txn)).or_insert(NONE);
            *first = txn.min(*first);
        }
        firsts
    }

    fn process_of(&self, txn: u32) -> u32 {
        self.txns.process[txn as usize]
    }

    /// Why the version at the second of these steps is newer than that at the first.
    pub fn evidence(&self, first: usize, second: usize, kind: Kinds) -> Option<Evidence> {
        let (old, new) = (self.version_at(first), self.version_at(second));
        if !self.is_version(old) || !self.is_version(new) {
            return None;
        }
        let realtime = kind & (RW_REALTIME | WW_REALTIME) != 0 || self.written_before(old, new);
        let (before, after) = match kind {
            RW_REALTIME | WW_REALTIME | RW_PROCESS | WW_PROCESS if realtime => {
                let begins = |txn: &u32| self.txns.index[*txn as usize];
                let ended = self.ended[old as usize];
                let writer = Some(self.writer(new)).filter(|txn| begins(txn) > ended);
                let others = || self.touched(new).filter(|txn| begins(txn) > ended).min();
                let after = writer.or_else(others)?;
                (self.first_ended(old, begins(&after))?, after)
            }
            RW_PROCESS | WW_PROCESS => self.in_one_process(old, new)?,
            _ => return None,
        };
        let touch = |txn: u32, version: u32| Touch {
            txn,
            wrote: txn == self.writer(version),
        };
        Some(Evidence {
            before: touch(before, old),
            after: touch(after, new),
            realtime,
        })
    }

    /// Transactions of one process of which the first touched one version and the second the other: the earliest second one.
    pub fn in_one_process(&self, old: u32, new: u32) -> Option<(u32, u32)> {
        let firsts = self.first_by_process(old);
        let pairs = self.touched(new).filter_map(|after| {
            let before = *firsts.get(&self.process_of(after))?;
            (before < after).then_some((before, after))
        });
        pairs.min_by_key(|(_, after)| *after)
    }
}
