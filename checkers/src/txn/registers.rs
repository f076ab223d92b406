//! Registers with unique writes: reads tell whose value they saw, and something of the order of values.
//!
//! Unlike a list a register forgets, so the order of its versions is known in part only. What is known, and when it counts:
//!
//! | version a came before b, because | holds, or else |
//! | --- | --- |
//! | a is the initial value, null | always |
//! | a transaction read a and wrote b | there is a G1c: it saw a and a came after |
//! | a process read or wrote a and later read or wrote b | there is a G-single-process |
//! | a was read or written before b was, in real time | there is a G-single-realtime |
//!
//! The last two are the zones of Gibbons and Korach (1997): from the earliest end of what touched a version to the latest
//! begin. Edges that rest on them are of kinds of their own, which only circles use that count process order or real time, so
//! that a circle is proof either way. From "a before b" follows an anti-dependency of every reader of a to the writer of b;
//! a [`Fan`] over the later versions keeps these few. What these edges leave open is decided afterwards, by [`super::settle`].

use std::collections::HashMap;

use harness_core::history::Outcome;

use super::{
    atoms::{Atom, QuickMap},
    graph::{
        ANY_RW, Edges, Fan, Kinds, RW, RW_PROCESS, RW_REALTIME, WR, WW_PROCESS, WW_REALTIME, node,
    },
    input::{ByProcessAndKey, NONE, Transactions},
};

/// The version that a key has before the first write.
pub(super) const INITIAL: u32 = NONE - 1;

/// A transaction's read of a key, before it wrote there: the first one, and what later ones saw of others that was something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Read {
    pub key: u32,
    /// The write that it saw, [`INITIAL`], or [`NONE`] if nobody wrote that.
    pub saw: u32,
    pub txn: u32,
    /// Place of the step.
    pub step: u32,
    /// The transaction's last write to the key, or [`NONE`].
    pub wrote: u32,
}

/// What is known of a key's versions.
pub(super) struct Registers {
    pub txns: Transactions,
    /// All such reads of `ok` transactions, by key, version, transaction.
    pub reads: Vec<Read>,
    /// By transaction: whether it is known to have taken effect.
    pub took_effect: Vec<bool>,
    /// By write: the first event at which somebody who touched the version had ended.
    pub(super) ended: Vec<u64>,
    /// By write: the last event at which somebody began who touched it.
    pub(super) began: Vec<u64>,
    /// Pairs of writes of which some process touched the first before the second; sorted.
    in_process: Vec<(u32, u32)>,
}

impl Registers {
    /// Finds out who saw whose value. Writes are unique.
    pub fn new(txns: Transactions) -> Self {
        let mut registers = Self {
            reads: Vec::new(),
            took_effect: Vec::new(),
            ended: vec![u64::MAX; txns.writes.len()],
            began: vec![0; txns.writes.len()],
            in_process: Vec::new(),
            txns,
        };
        registers.find_reads();
        registers.find_effective();
        registers.find_zones();
        registers.follow_processes();
        registers
    }

    /// What a step that reads saw: a write, [`INITIAL`], or [`NONE`].
    pub fn saw(&self, step: usize) -> u32 {
        let step = self.txns.step(step);
        if step.atom() == Atom::NULL {
            return INITIAL;
        }
        self.txns.writer(step.key, step.atom()).unwrap_or(NONE)
    }

    fn find_reads(&mut self) {
        let mut last_write: QuickMap<(u32, u32), u32> = QuickMap::default();
        for (place, write) in (0_u32..).zip(&self.txns.writes) {
            if !write.overwritten {
                last_write.insert((write.txn, write.key), place);
            }
        }
        for (txn, places) in self.txns.each() {
            for place in places.clone() {
                let step = self.txns.step(place);
                if step.write {
                    continue;
                }
                let (key, saw) = (step.key, self.saw(place));
                let mut before = (places.start..place).filter(|at| self.txns.step(*at).key == key);
                if before.any(|earlier| self.hides(earlier, txn, saw)) {
                    continue;
                }
                self.reads.push(Read {
                    key,
                    saw,
                    txn,
                    step: node(place),
                    wrote: last_write.get(&(txn, key)).copied().unwrap_or(NONE),
                });
            }
        }
        self.reads.sort_unstable();
    }

    /// Whether a step says all that a later read of the same key says: it wrote there, or read the same, or the later one reads what the
    /// transaction wrote itself.
    fn hides(&self, earlier: usize, txn: u32, saw: u32) -> bool {
        let own = |write: &super::input::Write| write.txn == txn;
        self.txns.step(earlier).write
            || self.saw(earlier) == saw
            || self.txns.writes.get(saw as usize).is_some_and(own)
    }

    fn find_effective(&mut self) {
        let mut seen = vec![false; self.txns.len()];
        for (place, step) in self.txns.steps() {
            if !step.write
                && let Some(write) = self.txns.writes.get(self.saw(place) as usize)
            {
                seen[write.txn as usize] = true;
            }
        }
        self.took_effect = self
            .txns
            .each()
            .map(|(txn, _)| match self.txns.outcome(txn) {
                Outcome::Ok => true,
                Outcome::Info => seen[txn as usize],
                Outcome::Fail => false,
            })
            .collect();
    }

    /// Whether a write made a version: its transaction took effect and did not write over it.
    pub fn is_version(&self, write: u32) -> bool {
        self.txns
            .writes
            .get(write as usize)
            .is_some_and(|write| !write.overwritten && self.took_effect[write.txn as usize])
    }

    /// The transaction that wrote a version.
    pub fn writer(&self, version: u32) -> u32 {
        self.txns.writes[version as usize].txn
    }

    fn find_zones(&mut self) {
        let touched = (0_u32..)
            .zip(&self.txns.writes)
            .map(|(place, write)| (place, write.txn))
            .chain(self.reads.iter().map(|read| (read.saw, read.txn)));
        for (version, txn) in touched {
            if (version as usize) >= self.ended.len() {
                continue;
            }
            let at = txn as usize;
            let began = &mut self.began[version as usize];
            *began = self.txns.index[at].max(*began);
            if self.txns.outcome[at] == Outcome::Ok {
                let ended = &mut self.ended[version as usize];
                *ended = self.txns.completed_index[at].min(*ended);
            }
        }
    }

    fn follow_processes(&mut self) {
        // What each transaction touched, in its order: what it read, at first, before what it wrote.
        let mut touched: Vec<(u32, u32, bool, u32, u32)> = Vec::new();
        for read in &self.reads {
            touched.push((read.txn, read.key, false, read.step, read.saw));
        }
        for (place, write) in (0_u32..).zip(&self.txns.writes) {
            touched.push((write.txn, write.key, true, write.step, place));
        }
        touched.retain(|(.., version)| self.is_version(*version));
        touched.sort_unstable();
        touched.dedup_by(|later, first| {
            let read = |one: &(u32, u32, bool, u32, u32)| (one.0, one.1, one.2);
            !later.2 && read(later) == read(first)
        });
        let mut last = ByProcessAndKey::default();
        let mut pairs = Vec::new();
        for (txn, key, _, _, version) in touched {
            let process = self.txns.process[txn as usize];
            if let Some(before) = last.insert((process, key), version)
                && before != version
            {
                pairs.push((before, version));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        self.in_process = pairs;
    }

    /// Reads of a version.
    pub fn reads_of(&self, key: u32, version: u32) -> &[Read] {
        let low = self
            .reads
            .partition_point(|read| (read.key, read.saw) < (key, version));
        let high = self
            .reads
            .partition_point(|read| (read.key, read.saw) <= (key, version));
        &self.reads[low..high]
    }

    /// Whether reads tell the whole order of the versions of every key. They do where a key has one version, and where
    /// each version but one was written by who had read another, no two the same: a path. Its edges are then all that there are, for who
    /// read a version leads to who replaced it, and from there reads lead on. (A circle in place of the path is a G1c.)
    pub fn is_ordered(&self) -> bool {
        let known = |read: &Read| read.saw == INITIAL || self.is_version(read.saw);
        self.reads.iter().all(known)
            && (0..node(self.txns.keys.len())).all(|key| {
                let low = self.reads.partition_point(|read| read.key < key);
                let high = self.reads.partition_point(|read| read.key <= key);
                let mut replaced: Vec<u32> = self.reads[low..high]
                    .iter()
                    .filter(|read| read.saw != INITIAL && read.saw != read.wrote)
                    .filter(|read| self.is_version(read.wrote))
                    .map(|read| read.saw)
                    .collect();
                let pairs = replaced.len();
                replaced.sort_unstable();
                replaced.dedup();
                let writes = self.txns.writes_of(key).map(node);
                let versions = writes.filter(|write| self.is_version(*write)).count();
                replaced.len() == pairs && pairs + 1 >= versions
            })
    }

    /// All edges that the data gives.
    pub fn edges(&self, edges: &mut Edges) {
        for read in &self.reads {
            if self.is_version(read.saw) {
                edges.add(self.writer(read.saw), read.txn, WR);
            }
        }
        for key in 0..node(self.txns.keys.len()) {
            let mut versions: Vec<u32> = self
                .txns
                .writes_of(key)
                .map(node)
                .filter(|write| self.is_version(*write))
                .collect();
            // By the last begin, so that what came later in real time is a range at the end.
            versions.sort_unstable_by_key(|version| (self.began[*version as usize], *version));
            let all = Later::new(self, edges, versions);
            for read in self.reads_of(key, INITIAL) {
                all.link(edges, read.txn, RW, 0, &[read.wrote]);
            }
            for version in &all.versions {
                self.after(key, *version, &all, edges);
            }
        }
    }

    /// Edges to whatever came after a version.
    fn after(&self, key: u32, version: u32, all: &Later, edges: &mut Edges) {
        let reads = self.reads_of(key, version);
        // Who read what it wrote only later replaced nothing.
        let replaced: Vec<u32> = reads
            .iter()
            .map(|read| read.wrote)
            .filter(|wrote| *wrote != version && self.is_version(*wrote))
            .collect();
        let replaced = Later::new(self, edges, replaced);
        let low = self.in_process.partition_point(|pair| pair.0 < version);
        let high = self.in_process.partition_point(|pair| pair.0 <= version);
        let next: Vec<u32> = self.in_process[low..high]
            .iter()
            .map(|pair| pair.1)
            .collect();
        let next = Later::new(self, edges, next);
        let ended = self.ended[version as usize];
        let since = all
            .versions
            .partition_point(|later| self.began[*later as usize] <= ended);
        let writer = self.writer(version);
        next.link(edges, writer, WW_PROCESS, 0, &[]);
        all.link(edges, writer, WW_REALTIME, since, &[version]);
        for read in reads {
            replaced.link(edges, read.txn, RW, 0, &[read.wrote]);
            next.link(edges, read.txn, RW_PROCESS, 0, &[read.wrote]);
            all.link(edges, read.txn, RW_REALTIME, since, &[version, read.wrote]);
        }
    }

    /// The version that a step wrote or saw, as [`Self::saw`] says.
    pub fn version_at(&self, place: usize) -> u32 {
        let step = self.txns.step(place);
        match step.write {
            true => self.txns.writer(step.key, step.atom()).unwrap_or(NONE),
            false => self.saw(place),
        }
    }

    /// Steps of two transactions that make an edge of this kind: `(of from, of to)`.
    pub fn reason(&self, from: u32, to: u32, kind: Kinds) -> Option<(usize, usize)> {
        for a in self.txns.places(from) {
            for b in self.txns.places(to) {
                let (first, second) = (self.txns.step(a), self.txns.step(b));
                if first.key != second.key {
                    continue;
                }
                let (before, after) = (self.version_at(a), self.version_at(b));
                let fits = match (first.write, second.write) {
                    (true, false) if kind & WR != 0 => before == after,
                    (true, true) if kind & (WW_PROCESS | WW_REALTIME) != 0 => {
                        self.came_before(before, after, kind)
                    }
                    (false, true) if kind & ANY_RW != 0 => {
                        before == INITIAL
                            || kind & RW != 0
                                && self.reads.iter().any(|read| {
                                    read.key == first.key
                                        && read.saw == before
                                        && read.wrote == after
                                })
                            || self.came_before(before, after, kind)
                    }
                    _ => false,
                };
                if fits {
                    return Some((a, b));
                }
            }
        }
        None
    }

    /// Whether an order of this kind puts one version before the other.
    pub fn came_before(&self, before: u32, after: u32, kind: Kinds) -> bool {
        if before == after || !self.is_version(before) || !self.is_version(after) {
            return false;
        }
        kind & (WW_PROCESS | RW_PROCESS) != 0
            && (self.in_process.binary_search(&(before, after)).is_ok()
                || self.in_one_process(before, after).is_some())
            || kind & (WW_REALTIME | RW_REALTIME) != 0
                && self.ended[before as usize] < self.began[after as usize]
    }
}

/// Versions of a key that came after something, and a fan over their writers.
struct Later {
    versions: Vec<u32>,
    /// Place of each, by number of the write.
    places: HashMap<u32, usize>,
    fan: Fan,
}

impl Later {
    fn new(registers: &Registers, edges: &mut Edges, versions: Vec<u32>) -> Self {
        let writers = versions
            .iter()
            .map(|version| registers.writer(*version))
            .collect();
        Self {
            fan: Fan::new(edges, writers),
            places: versions.iter().copied().zip(0..).collect(),
            versions,
        }
    }

    /// Edges to the writers of all versions from a place on but these.
    fn link(&self, edges: &mut Edges, from: u32, kind: Kinds, since: usize, but: &[u32]) {
        let mut holes: Vec<usize> = but
            .iter()
            .filter_map(|version| self.places.get(version).copied())
            .collect();
        holes.sort_unstable();
        self.fan
            .link_except(edges, from, kind, since..self.versions.len(), &holes);
    }
}
