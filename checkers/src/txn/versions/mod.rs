//! Decides whether the versions of registers can be put in an order under which nothing is wrong.
//!
//! A transaction is one point (serializable) or two, of which it reads at the first and writes at the second (snapshot
//! isolation, where an order of these points exists exactly if there is no circle without two adjacent anti-dependencies: Cerone and
//! Gotsman 2016). What is known leads from point to point. For each two writes of a key one is the earlier:
//!
//! ```text
//! a before b:   end of a ──▶ start of b        and for each reader of a:   its start ──▶ end of b
//! ```
//!
//! 1. *Saturation*: if one of the two would close a circle, the other one holds, until nothing is new. So if a comes before a reader of
//!    b, a comes before b; if a comes before b, the readers of a come before b.
//! 2. A circle then is a contradiction. Without one, a *dive* puts the rest in order, looking one step ahead: first those writes of
//!    which one had ended before the other began, then, after saturation, the others as transactions ended. Without the first of
//!    these, several recorded histories of 1,500 transactions that have an order stayed open.
//! 3. Where that ends badly the first open pair is tried both ways, each from step 1. Deciding is NP-complete (Papadimitriou 1979), so
//!    the work is bounded; beyond it the question stays open.
//!
//! The same answers any part of a history: if some transactions have no order, all have none. So what is shown is made small by leaving
//! out one transaction after the other.

mod dive;
mod state;
mod told;
mod work;

use std::{cmp::Reverse, collections::HashMap};

use super::{
    anomaly::Order,
    registers::{INITIAL, Registers},
    serial,
};
use state::{Circle, Foundation, State};
pub(super) use work::Work;

/// Transactions up to which versions are put in order: two tables take the square of that in bits each, four times if transactions are split.
pub(super) const TRANSACTIONS_LIMIT: usize = 4_096;
/// Pairs that are tried both ways, one within the other.
const DEPTH_LIMIT: usize = 24;

/// Why a point comes before another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A process or real time has it so.
    Order,
    /// The second read what the first wrote to the key.
    Read(u32),
    /// The first read the key before anybody wrote there, and the second wrote there.
    Initial(u32),
    /// Of two who wrote the key, the first is the earlier; some reader of the second may be why.
    Wrote(u32, Option<u32>),
    /// The first read the key from this transaction, and the second is a later writer than that.
    Missed(u32, u32),
}

/// From one transaction to the next.
#[derive(Clone, Copy, Debug)]
struct Link {
    from: u32,
    to: u32,
    why: Why,
    /// The opposite would close a circle with the way from the first of these points to the second.
    because: Option<(u32, u32)>,
}

/// An edge of a circle between two transactions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub from: u32,
    pub to: u32,
    pub why: Why,
}

/// The answer.
pub(super) enum Answer {
    /// Versions have an order.
    Fits,
    /// They have none: transactions that suffice for this, and a circle if saturation alone finds one.
    Broken(Vec<u32>, Vec<Step>),
    /// Too much work, or too little time.
    Open,
}

struct Key {
    key: u32,
    /// Local numbers of those who wrote it.
    writers: Vec<u32>,
    /// By writer: local numbers of those who read that.
    readers: Vec<Vec<u32>>,
    initial: Vec<u32>,
}

/// Some transactions, and what is asked of them.
pub(super) struct Case<'r> {
    registers: &'r Registers,
    txns: Vec<u32>,
    order: Order,
    /// Whether a transaction is two points.
    split: bool,
    keys: Vec<Key>,
}

enum Stop {
    Circle(State),
    Exhausted,
}

impl<'r> Case<'r> {
    /// Of these transactions, which took effect, in order of invocation.
    pub fn new(registers: &'r Registers, txns: Vec<u32>, order: Order, split: bool) -> Self {
        let local: HashMap<u32, u32> = txns.iter().copied().zip(0..).collect();
        let mut keys: Vec<Key> = Vec::new();
        for key in 0..registers.txns.keys.len() {
            let key = key as u32;
            let mut of_key = Key {
                key,
                writers: Vec::new(),
                readers: Vec::new(),
                initial: Vec::new(),
            };
            let near = |reads: &[super::registers::Read], but: Option<u32>| {
                let known = reads.iter().filter_map(|read| local.get(&read.txn));
                let others = known.filter(|reader| Some(**reader) != but);
                others.copied().collect::<Vec<u32>>()
            };
            for write in registers.txns.writes_of(key) {
                let write = write as u32;
                let writer = registers.txns.writes[write as usize].txn;
                let Some(writer) = local.get(&writer).filter(|_| registers.is_version(write))
                else {
                    continue;
                };
                of_key.writers.push(*writer);
                let readers = near(registers.reads_of(key, write), Some(*writer));
                of_key.readers.push(readers);
            }
            of_key.initial = near(registers.reads_of(key, INITIAL), None);
            if !of_key.writers.is_empty() {
                keys.push(of_key);
            }
        }
        Self {
            registers,
            txns,
            order,
            split,
            keys,
        }
    }

    /// Decides it, as far as the work allows.
    pub fn decide(&self, work: &mut Work<'_>) -> Answer {
        match self.solve(None, work, 0) {
            Ok(()) => Answer::Fits,
            Err(Stop::Exhausted) => Answer::Open,
            Err(Stop::Circle(state)) => {
                let Some(last) = state.links.len().checked_sub(1) else {
                    return Answer::Broken(self.txns.clone(), Vec::new());
                };
                let mut needed = vec![false; self.txns.len()];
                let circle = self.circle(&state, last);
                self.support(&state, last, &mut needed);
                let members = self.txns.iter().zip(needed);
                let members = members.filter(|(_, needed)| *needed).map(|(txn, _)| *txn);
                Answer::Broken(members.collect(), circle)
            }
        }
    }

    fn points(&self) -> usize {
        self.txns.len() * if self.split { 2 } else { 1 }
    }

    fn start(&self, txn: u32) -> u32 {
        if self.split { 2 * txn } else { txn }
    }

    fn end(&self, txn: u32) -> u32 {
        if self.split { 2 * txn + 1 } else { txn }
    }

    fn txn_of(&self, point: u32) -> u32 {
        if self.split { point / 2 } else { point }
    }

    fn is_ordered(&self, a: u32, b: u32) -> bool {
        let txn = |local: u32| self.txns[local as usize];
        serial::ordered(self.registers, self.order, txn(a), txn(b))
    }

    /// What the history says by itself.
    fn begin(&self, work: &mut Work<'_>) -> Result<State, Stop> {
        let count = self.txns.len() as u32;
        let mut foundation = Foundation::new(self.points());
        // The latest first, so that what it leads to is complete; nearer ones first, so that farther ones are known.
        for a in (0..count).rev() {
            if self.order != Order::Plain {
                for b in a + 1..count {
                    if !foundation.leads(self.end(a), self.start(b)) && self.is_ordered(a, b) {
                        foundation.follow(self.end(a), self.start(b));
                    }
                }
            }
            if self.split {
                foundation.follow(self.start(a), self.end(a));
            }
        }
        let widths = self.keys.iter().map(|key| key.writers.len());
        let done = widths.map(|width| vec![false; width * width]).collect();
        let mut state = foundation.done(done);
        let mut links = Vec::new();
        for key in &self.keys {
            for (writer, readers) in key.writers.iter().zip(&key.readers) {
                for reader in readers {
                    let why = Why::Read(key.key);
                    links.push((self.end(*writer), self.start(*reader), why));
                }
                for reader in key.initial.iter().filter(|reader| *reader != writer) {
                    let why = Why::Initial(key.key);
                    links.push((self.start(*reader), self.end(*writer), why));
                }
            }
        }
        // The latest first here as well: most links then have nothing before them that must learn of them.
        links.sort_by_key(|(from, ..)| Reverse(*from));
        for (from, to, why) in links {
            if state.add(from, to, why, None, work).is_err() {
                return Err(Stop::Circle(state));
            }
        }
        Ok(state)
    }

    /// What makes it impossible that `a` wrote the key before `b`: a path from the second point to the first.
    fn against(&self, state: &State, key: &Key, a: usize, b: usize) -> Option<(u32, u32)> {
        let (first, second) = (key.writers[a], key.writers[b]);
        let closes = |from: u32, to: u32| from == to || state.leads(from, to);
        if closes(self.start(second), self.end(first)) {
            return Some((self.start(second), self.end(first)));
        }
        let end = self.end(second);
        key.readers[a]
            .iter()
            .filter(|reader| **reader != second)
            .map(|reader| self.start(*reader))
            .find(|start| closes(end, *start))
            .map(|start| (end, start))
    }

    /// Puts `a` before `b`.
    fn orient(
        &self,
        state: &mut State,
        (at, a, b): (usize, usize, usize),
        because: Option<(u32, u32)>,
        work: &mut Work<'_>,
    ) -> Result<(), Circle> {
        let key = &self.keys[at];
        let width = key.writers.len();
        state.done[at][a * width + b] = true;
        state.done[at][b * width + a] = true;
        let (first, second) = (key.writers[a], key.writers[b]);
        let (from, to) = (self.end(first), self.start(second));
        let reader = because
            .map(|(_, to)| self.txn_of(to))
            .filter(|reader| key.readers[b].contains(reader));
        let why = Why::Wrote(key.key, reader);
        state.add(from, to, why, because, work)?;
        for reader in key.readers[a].iter().filter(|reader| **reader != second) {
            let why = Why::Missed(key.key, first);
            let (from, to) = (self.start(*reader), self.end(second));
            state.add(from, to, why, because, work)?;
        }
        Ok(())
    }

    fn saturate(&self, state: &mut State, work: &mut Work<'_>) -> Result<(), Circle> {
        loop {
            let before = state.links.len();
            let mut new = false;
            for (at, key) in self.keys.iter().enumerate() {
                let width = key.writers.len();
                for a in 0..width {
                    for b in a + 1..width {
                        if state.done[at][a * width + b] {
                            continue;
                        }
                        work.spend(key.readers[a].len() + key.readers[b].len());
                        if let Some(path) = self.against(state, key, a, b) {
                            self.orient(state, (at, b, a), Some(path), work)?;
                            new = true;
                        } else if let Some(path) = self.against(state, key, b, a) {
                            self.orient(state, (at, a, b), Some(path), work)?;
                            new = true;
                        }
                    }
                }
            }
            if !new || state.links.len() == before || work.is_over() {
                return Ok(());
            }
        }
    }

    fn solve(&self, known: Option<State>, work: &mut Work<'_>, depth: usize) -> Result<(), Stop> {
        let mut state = match known {
            Some(state) => state,
            None => self.begin(work)?,
        };
        loop {
            if self.saturate(&mut state, work).is_err() {
                return Err(Stop::Circle(state));
            }
            if work.is_over() || depth > DEPTH_LIMIT {
                return Err(Stop::Exhausted);
            }
            let guess = self.guess(&state, work);
            let open = self.open(&state, &guess);
            let Some(first) = open.first().copied() else {
                return Ok(());
            };
            if self.dive_by_time(state.clone(), work) || self.take(&mut state.clone(), &open, work)
            {
                return Ok(());
            }
            let (at, a, b) = first;
            let mut tried = state.clone();
            if self.orient(&mut tried, first, None, work).is_ok() {
                match self.solve(Some(tried), work, depth + 1) {
                    Err(Stop::Circle(_)) => {}
                    other => return other,
                }
            }
            // That way it cannot be; a circle now rests on more than its own links.
            let other = self.orient(&mut state, (at, b, a), None, work);
            state.links.clear();
            if other.is_err() {
                return Err(Stop::Circle(state));
            }
            if depth == 0 {
                return match self.solve(Some(state), work, depth + 1) {
                    Err(Stop::Circle(mut state)) => {
                        state.links.clear();
                        Err(Stop::Circle(state))
                    }
                    other => other,
                };
            }
        }
    }
}
