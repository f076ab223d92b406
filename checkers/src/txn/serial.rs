//! Plays transactions on registers one after the other: an order that explains all reads is proof.
//!
//! A transaction can be next when all that must come before it was played, and when every reader of what it writes over was.
//! Of several the one that ended first is taken, those that only read before all others: a reader in its place is in nobody's way.
//! Nothing is taken back, so this takes time by the size of the history and a logarithm. A short history on which that was stuck is played again
//! a few times, with moments that are drawn between each transaction's beginning and its end in place of its end. Being stuck each time proves nothing
//! ([`super::versions`] then decides). The order that comes out is believed only after it was replayed on plain values.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    ops::Range,
};

use harness_core::history::Outcome;

use super::{
    anomaly::Order,
    graph::{
        Graph, Kinds, PASS, PROCESS, REALTIME, RW, RW_PROCESS, RW_REALTIME, WR, WW_PROCESS,
        WW_REALTIME, node,
    },
    input::NONE,
    registers::{INITIAL, Registers},
};

/// Transactions that are played in all, the first time aside: a short history is played often, a long one once.
const PLAYED_AGAIN: usize = 200_000;
/// How often at most.
const TRIES_MAX: u64 = 512;

/// How often a history of so many transactions may be played.
pub(super) fn tries(transactions: usize) -> u64 {
    let again = PLAYED_AGAIN / transactions.max(1);
    (1 + again as u64).min(TRIES_MAX)
}

/// Whether an order of all transactions was found that explains all reads and keeps the order named.
pub(super) fn found(registers: &Registers, order: Order, mut attempts: Range<u64>) -> bool {
    let graph = Graph::build(registers.txns.len(), |edges| {
        registers.edges(edges);
        match order {
            Order::Plain => {}
            Order::Process => registers.txns.process_edges(&registers.took_effect, edges),
            Order::Realtime => registers.txns.realtime_edges(&registers.took_effect, edges),
        }
    });
    attempts.any(|attempt| {
        let played = Play::new(registers, &graph, kinds(order), attempt).run();
        played.is_some_and(|played| explains(registers, order, &played))
    })
}

fn kinds(order: Order) -> Kinds {
    let more = match order {
        Order::Plain => 0,
        Order::Process => PROCESS | WW_PROCESS | RW_PROCESS,
        Order::Realtime => REALTIME | WW_REALTIME | RW_REALTIME,
    };
    WR | RW | PASS | more
}

/// Whether a transaction ended before another began, as far as the order counts that.
pub(super) fn ordered(registers: &Registers, order: Order, a: u32, b: u32) -> bool {
    let txns = &registers.txns;
    let (at, after) = (a as usize, b as usize);
    match order {
        Order::Plain => false,
        Order::Process => {
            txns.process[at] == txns.process[after] && a < b && txns.outcome[at] == Outcome::Ok
        }
        Order::Realtime => {
            txns.outcome[at] == Outcome::Ok && txns.completed_index[at] < txns.index[after]
        }
    }
}

/// When a transaction ended, or began if that is not known: what is taken first.
pub(super) fn rank(registers: &Registers, txn: u32) -> u64 {
    let at = txn as usize;
    match registers.txns.outcome[at] {
        Outcome::Ok => registers.txns.completed_index[at],
        _ => registers.txns.index[at],
    }
}

/// The same for the first attempt, and for others a moment that is drawn, always the same for an attempt: whoever took effect in the order of such
/// moments can be played in it. When one without an answer took effect is not known at all: half of the attempts say at once.
fn drawn(registers: &Registers, txn: u32, attempt: u64) -> u64 {
    let at = txn as usize;
    if attempt == 0 || at >= registers.txns.len() {
        return rank(registers, txn);
    }
    let begin = registers.txns.index[at];
    let end = match registers.txns.outcome[at] {
        Outcome::Ok => registers.txns.completed_index[at],
        _ if attempt.is_multiple_of(2) => begin,
        _ => registers.txns.index.last().copied().unwrap_or(begin),
    };
    // SplitMix64's last step: any function that mixes well will do.
    let mut mixed = (u64::from(txn) << 32 ^ attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    begin + (mixed ^ (mixed >> 31)) % end.saturating_sub(begin).max(1)
}

/// A key while it is played on.
#[derive(Default)]
struct Register {
    /// Readers of what is there who were not played yet.
    pending: u32,
    /// Who waits for these.
    waiting: BinaryHeap<Reverse<(u64, u32)>>,
    /// Of these, whoever is one of the readers.
    readers_waiting: Vec<u32>,
}

struct Play<'r> {
    registers: &'r Registers,
    graph: &'r Graph,
    kinds: Kinds,
    attempt: u64,
    /// By node: how many edges lead to it from what was not played.
    before: Vec<u32>,
    /// By write: its readers.
    readers: Vec<u32>,
    keys: Vec<Register>,
    /// By transaction: its first reads of versions or of nothing, by places among the reads.
    reads: HashMap<u32, Vec<u32>>,
    ready: BinaryHeap<Reverse<(u64, u32)>>,
    played: Vec<bool>,
    order: Vec<u32>,
}

impl<'r> Play<'r> {
    fn new(registers: &'r Registers, graph: &'r Graph, kinds: Kinds, attempt: u64) -> Self {
        let mut before = vec![0; graph.len()];
        for from in 0..node(graph.len()) {
            for (to, kind) in graph.edges(from) {
                before[to as usize] += u32::from(kind & kinds != 0);
            }
        }
        let mut play = Self {
            registers,
            graph,
            kinds,
            attempt,
            before,
            readers: vec![0; registers.txns.writes.len()],
            keys: Vec::new(),
            reads: HashMap::new(),
            ready: BinaryHeap::new(),
            played: vec![false; graph.len()],
            order: Vec::new(),
        };
        play.keys
            .resize_with(registers.txns.keys.len(), Register::default);
        for (place, read) in (0_u32..).zip(&registers.reads) {
            if read.saw == INITIAL {
                play.keys[read.key as usize].pending += 1;
            } else if registers.is_version(read.saw) {
                play.readers[read.saw as usize] += 1;
            } else {
                continue;
            }
            play.reads.entry(read.txn).or_default().push(place);
        }
        play
    }

    fn run(mut self) -> Option<Vec<u32>> {
        for at in 0..node(self.graph.len()) {
            if self.before[at as usize] == 0 {
                self.push(at);
            }
        }
        while let Some(Reverse((_, at))) = self.ready.pop() {
            if self.played[at as usize] {
                continue;
            }
            let writes = self.writes(at);
            let held = writes
                .iter()
                .find(|(key, _)| !self.is_free(at, *key))
                .map(|(key, _)| *key);
            if let Some(key) = held {
                let reads_it = self.reads_current(at, key);
                let register = &mut self.keys[key as usize];
                register
                    .waiting
                    .push(Reverse((drawn(self.registers, at, self.attempt), at)));
                if reads_it {
                    register.readers_waiting.push(at);
                }
                // Whoever waits for a key that this one does not take may have it.
                for (other, _) in writes {
                    if other != key {
                        self.wake(other);
                    }
                }
                continue;
            }
            self.take(at, &writes);
        }
        let all = self.played.iter().all(|played| *played);
        all.then_some(self.order)
    }

    /// Keys and versions that a node writes.
    fn writes(&self, at: u32) -> Vec<(u32, u32)> {
        let txns = &self.registers.txns;
        if at as usize >= txns.len() || !self.registers.took_effect[at as usize] {
            return Vec::new();
        }
        let mut writes = Vec::new();
        for place in txns.places(at) {
            let step = txns.step(place);
            if !step.write {
                continue;
            }
            let version = txns.writer(step.key, step.atom()).unwrap_or(NONE);
            if self.registers.is_version(version) {
                writes.push((step.key, version));
            }
        }
        writes
    }

    fn push(&mut self, at: u32) {
        let first = match self.writes(at).is_empty() {
            true => 0,
            false => 1 + drawn(self.registers, at, self.attempt),
        };
        self.ready.push(Reverse((first, at)));
    }

    /// Whether a transaction read what is in the register now: as it was not played, nobody wrote over that.
    fn reads_current(&self, at: u32, key: u32) -> bool {
        self.reads.get(&at).is_some_and(|places| {
            places
                .iter()
                .any(|place| self.registers.reads[*place as usize].key == key)
        })
    }

    fn is_free(&self, at: u32, key: u32) -> bool {
        match self.keys[key as usize].pending {
            0 => true,
            1 => self.reads_current(at, key),
            _ => false,
        }
    }

    /// Somebody who waits for a key goes on if the key is free.
    fn wake(&mut self, key: u32) {
        loop {
            let register = &mut self.keys[key as usize];
            let next = match register.pending {
                0 => register.waiting.pop().map(|Reverse((_, at))| at),
                1 => register.readers_waiting.pop(),
                _ => None,
            };
            // Readers that wait stand in both lists.
            match next {
                Some(at) if self.played[at as usize] => {}
                Some(at) => return self.push(at),
                None => return,
            }
        }
    }

    fn take(&mut self, at: u32, writes: &[(u32, u32)]) {
        self.played[at as usize] = true;
        if (at as usize) < self.registers.txns.len() {
            self.order.push(at);
        }
        let mut touched: Vec<u32> = Vec::new();
        for place in self.reads.remove(&at).unwrap_or_default() {
            let key = self.registers.reads[place as usize].key;
            self.keys[key as usize].pending -= 1;
            touched.push(key);
        }
        for (key, version) in writes {
            let register = &mut self.keys[*key as usize];
            register.pending = self.readers[*version as usize];
            register.readers_waiting.clear();
            touched.push(*key);
        }
        for place in self.graph.row(at) {
            let (to, kind) = self.graph.edge(place);
            if kind & self.kinds == 0 {
                continue;
            }
            self.before[to as usize] -= 1;
            if self.before[to as usize] == 0 {
                self.push(to);
            }
        }
        for key in touched {
            self.wake(key);
        }
    }
}

/// Whether transactions in this order read what was there, and none stands behind what it must precede.
fn explains(registers: &Registers, order: Order, played: &[u32]) -> bool {
    let txns = &registers.txns;
    let mut now = vec![INITIAL; txns.keys.len()];
    let mut reads: Vec<_> = registers.reads.iter().collect();
    reads.sort_unstable_by_key(|read| read.txn);
    for txn in played.iter().copied() {
        let first = reads.partition_point(|read| read.txn < txn);
        let own = reads[first..].iter().take_while(|read| read.txn == txn);
        for read in own {
            let counts = read.saw == INITIAL || registers.is_version(read.saw);
            if counts && now[read.key as usize] != read.saw {
                return false;
            }
        }
        for place in txns.places(txn) {
            let step = txns.step(place);
            let version = txns.writer(step.key, step.atom()).unwrap_or(NONE);
            if step.write && registers.is_version(version) {
                now[step.key as usize] = version;
            }
        }
    }
    match order {
        Order::Plain => true,
        Order::Process => {
            let mut last = vec![NONE; txns.processes.len()];
            played.iter().rev().all(|txn| {
                let process = txns.process[*txn as usize] as usize;
                let Some(next) = last.get_mut(process) else {
                    return true;
                };
                let counts = registers.took_effect[*txn as usize];
                let fits = !counts || *next == NONE || !ordered(registers, order, *next, *txn);
                if counts && txns.outcome(*txn) == Outcome::Ok {
                    *next = (*txn).min(*next);
                }
                fits
            })
        }
        Order::Realtime => {
            let mut earliest = u64::MAX;
            played.iter().rev().all(|txn| {
                let at = *txn as usize;
                if !registers.took_effect[at] {
                    return true;
                }
                let fits = txns.index[at] < earliest;
                if txns.outcome[at] == Outcome::Ok {
                    earliest = earliest.min(txns.completed_index[at]);
                }
                fits
            })
        }
    }
}
