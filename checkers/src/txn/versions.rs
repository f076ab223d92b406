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

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::{
    anomaly::Order,
    registers::{INITIAL, Registers},
    serial,
};

/// Transactions up to which versions are put in order: tables take the square of that in bits, up to four times.
pub(super) const TRANSACTIONS_LIMIT: usize = 4_096;
/// Words of tables that one search may look at.
const WORK_LIMIT: u64 = 1_000_000_000;
/// Of the open pairs this part is put in order before it is looked at again what follows.
const OPEN_AT_ONCE: usize = 2;
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
    /// Too much work.
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

/// What is known so far.
#[derive(Clone)]
struct State {
    words: usize,
    /// By point: the points that it leads to, a bit each.
    reach: Vec<u64>,
    links: Vec<Link>,
    /// By key: for each pair of its writers, whether it was put in order.
    done: Vec<Vec<bool>>,
}

/// A link closed a circle: it is the last one.
struct Circle;

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

    /// Decides it.
    pub fn decide(&self) -> Answer {
        let mut work = 0;
        match self.solve(None, &mut work, 0) {
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
    fn begin(&self, work: &mut u64) -> Result<State, Stop> {
        let points = self.points();
        let words = points.div_ceil(64);
        let mut state = State {
            words,
            reach: vec![0; points * words],
            links: Vec::new(),
            done: Vec::new(),
        };
        let count = self.txns.len() as u32;
        if self.split {
            for txn in 0..count {
                state.set(self.start(txn), self.end(txn));
            }
        }
        if self.order != Order::Plain {
            // The latest first, so that what it leads to is complete; nearer ones first, so that farther ones are known.
            for a in (0..count).rev() {
                for b in a + 1..count {
                    if !state.leads(self.end(a), self.start(b)) && self.is_ordered(a, b) {
                        state.follow(self.end(a), self.start(b));
                        *work += words as u64;
                    }
                }
                if self.split {
                    state.follow(self.start(a), self.end(a));
                }
            }
        }
        for key in &self.keys {
            state
                .done
                .push(vec![false; key.writers.len() * key.writers.len()]);
            for (writer, readers) in key.writers.iter().zip(&key.readers) {
                for reader in readers {
                    let why = Why::Read(key.key);
                    let (from, to) = (self.end(*writer), self.start(*reader));
                    if state.add(from, to, why, None, work).is_err() {
                        return Err(Stop::Circle(state));
                    }
                }
                for reader in key.initial.iter().filter(|reader| *reader != writer) {
                    let why = Why::Initial(key.key);
                    let (from, to) = (self.start(*reader), self.end(*writer));
                    if state.add(from, to, why, None, work).is_err() {
                        return Err(Stop::Circle(state));
                    }
                }
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
        work: &mut u64,
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

    fn saturate(&self, state: &mut State, work: &mut u64) -> Result<(), Circle> {
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
                        *work += (key.readers[a].len() + key.readers[b].len()) as u64;
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
            if !new || state.links.len() == before || *work > WORK_LIMIT {
                return Ok(());
            }
        }
    }

    fn solve(&self, known: Option<State>, work: &mut u64, depth: usize) -> Result<(), Stop> {
        let mut state = match known {
            Some(state) => state,
            None => self.begin(work)?,
        };
        loop {
            if self.saturate(&mut state, work).is_err() {
                return Err(Stop::Circle(state));
            }
            if *work > WORK_LIMIT || depth > DEPTH_LIMIT {
                return Err(Stop::Exhausted);
            }
            *work += (self.points() * self.points()) as u64;
            let guess = self.guess(&state);
            let open = self.open(&state, &guess);
            let Some(first) = open.first().copied() else {
                return Ok(());
            };
            if self.dive_by_time(state.clone(), work) || self.dive(state.clone(), &open, work) {
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

    /// Pairs that are open, each as the guess has it, in its order.
    fn open(&self, state: &State, guess: &[u32]) -> Vec<(usize, usize, usize)> {
        let mut open = Vec::new();
        for (at, key) in self.keys.iter().enumerate() {
            let width = key.writers.len();
            for a in 0..width {
                for b in a + 1..width {
                    if state.done[at][a * width + b] {
                        continue;
                    }
                    let place = |writer: usize| guess[key.writers[writer] as usize];
                    let (a, b) = if place(a) < place(b) { (a, b) } else { (b, a) };
                    open.push((place(b), place(a), (at, a, b)));
                }
            }
        }
        open.sort_unstable();
        open.into_iter().map(|(.., pair)| pair).collect()
    }

    /// The same with the surest pairs first: of two that did not overlap the one that had ended is taken to be the earlier. Most stores
    /// write now, whatever they read; and what overlapped mostly follows.
    fn dive_by_time(&self, mut state: State, work: &mut u64) -> bool {
        let by_time = |key: &Key, a: usize, b: usize| {
            let (a, b) = (key.writers[a] as usize, key.writers[b] as usize);
            let (a, b) = (self.txns[a], self.txns[b]);
            serial::ordered(self.registers, Order::Realtime, a, b)
        };
        let mut sure = self.open(&state, &self.guess(&state));
        sure.retain_mut(|(at, a, b)| {
            let key = &self.keys[*at];
            if by_time(key, *b, *a) {
                std::mem::swap(a, b);
            }
            by_time(key, *a, *b)
        });
        loop {
            if !self.take(&mut state, &sure, work) || self.saturate(&mut state, work).is_err() {
                return false;
            }
            *work += (self.points() * self.points()) as u64;
            if *work > WORK_LIMIT {
                return false;
            }
            sure = self.open(&state, &self.guess(&state));
            if sure.is_empty() {
                return true;
            }
            sure.truncate(sure.len().div_ceil(OPEN_AT_ONCE));
        }
    }

    /// Whether putting the open pairs in order, one after the other and with one look ahead, leads to no circle.
    fn dive(&self, mut state: State, open: &[(usize, usize, usize)], work: &mut u64) -> bool {
        self.take(&mut state, open, work)
    }

    /// Puts open pairs in order as told, or the other way round where that would close a circle; whether that closes none.
    fn take(&self, state: &mut State, open: &[(usize, usize, usize)], work: &mut u64) -> bool {
        for (at, a, b) in open.iter().copied() {
            let key = &self.keys[at];
            *work += (key.readers[a].len() + key.readers[b].len()) as u64;
            let (a, b) = match self.against(state, key, a, b) {
                Some(_) => (b, a),
                None => (a, b),
            };
            let done = self.orient(state, (at, a, b), None, work);
            if done.is_err() || *work > WORK_LIMIT {
                return false;
            }
        }
        true
    }

    /// By local number: the place of its end in an order of all points that keeps what is known, as transactions ended.
    ///
    /// A writer stands back while somebody who reads what it writes over was not placed, and with two points while another
    /// writer of the key has begun and not ended.
    fn guess(&self, state: &State) -> Vec<u32> {
        let points = self.points() as u32;
        let mut before = vec![0_u32; points as usize];
        for from in 0..points {
            state.each(from, |to| before[to as usize] += 1);
        }
        let mut writes: Vec<Vec<(usize, usize)>> = vec![Vec::new(); self.txns.len()];
        let mut reads: Vec<Vec<(usize, Option<usize>)>> = vec![Vec::new(); self.txns.len()];
        for (at, key) in self.keys.iter().enumerate() {
            for (place, writer) in key.writers.iter().enumerate() {
                writes[*writer as usize].push((at, place));
                for reader in &key.readers[place] {
                    reads[*reader as usize].push((at, Some(place)));
                }
            }
            for reader in &key.initial {
                reads[*reader as usize].push((at, None));
            }
        }
        let mut pending: Vec<usize> = self.keys.iter().map(|key| key.initial.len()).collect();
        let mut now: Vec<Option<usize>> = vec![None; self.keys.len()];
        let mut held_by: Vec<Option<u32>> = vec![None; self.keys.len()];
        let rank = |point: u32| {
            let txn = self.txn_of(point) as usize;
            let number = self.txns[txn];
            let when = match self.split && point.is_multiple_of(2) {
                true => self.registers.txns.index[number as usize],
                false => serial::rank(self.registers, number),
            };
            (!writes[txn].is_empty(), when, point)
        };
        let mut ready: BinaryHeap<Reverse<(bool, u64, u32)>> = (0..points)
            .filter(|point| before[*point as usize] == 0)
            .map(|point| Reverse(rank(point)))
            .collect();
        let mut held: BinaryHeap<Reverse<(bool, u64, u32)>> = BinaryHeap::new();
        let mut place_of = vec![0; self.txns.len()];
        let mut next = 0;
        loop {
            let (point, forced) = match (ready.pop(), held.is_empty()) {
                (Some(Reverse((.., point))), _) => (point, false),
                (None, false) => match held.pop() {
                    Some(Reverse((.., point))) => (point, true),
                    None => break,
                },
                (None, true) => break,
            };
            let txn = self.txn_of(point);
            let (starts, ends) = (point == self.start(txn), point == self.end(txn));
            let stands_back = writes[txn as usize].iter().any(|(at, _)| {
                let own = !self.split
                    && reads[txn as usize]
                        .iter()
                        .any(|(key, version)| key == at && *version == now[*at]);
                ends && pending[*at] > usize::from(own)
                    || self.split && starts && held_by[*at].is_some()
            });
            if stands_back && !forced {
                held.push(Reverse(rank(point)));
                continue;
            }
            let mut freed = false;
            if starts {
                for (at, version) in &reads[txn as usize] {
                    if now[*at] == *version {
                        pending[*at] = pending[*at].saturating_sub(1);
                        freed = true;
                    }
                }
                for (at, _) in &writes[txn as usize] {
                    held_by[*at] = Some(txn);
                }
            }
            if ends {
                for (at, place) in &writes[txn as usize] {
                    now[*at] = Some(*place);
                    pending[*at] = self.keys[*at].readers[*place].len();
                    held_by[*at] = None;
                    freed = true;
                }
                place_of[txn as usize] = next;
                next += 1;
            }
            if freed {
                ready.append(&mut held);
            }
            state.each(point, |to| {
                before[to as usize] -= 1;
                if before[to as usize] == 0 {
                    ready.push(Reverse(rank(to)));
                }
            });
        }
        place_of
    }

    /// A shortest way between two points over what was known before a link: by links' places, or `None` for what is not written down.
    fn path(
        &self,
        state: &State,
        from: u32,
        to: u32,
        until: usize,
    ) -> Vec<(u32, u32, Option<usize>)> {
        if from == to {
            return Vec::new();
        }
        let mut out: Vec<Vec<usize>> = vec![Vec::new(); self.points()];
        for (place, link) in state.links[..until].iter().enumerate() {
            out[link.from as usize].push(place);
        }
        let mut came: Vec<Option<(u32, u32, Option<usize>)>> = vec![None; self.points()];
        let mut open = std::collections::VecDeque::from([from]);
        while let Some(at) = open.pop_front() {
            let txn = self.txn_of(at);
            let mut reach: Vec<(u32, Option<usize>)> = out[at as usize]
                .iter()
                .map(|place| (state.links[*place].to, Some(*place)))
                .collect();
            if self.split && at == self.start(txn) {
                reach.push((self.end(txn), None));
            }
            if at == self.end(txn) && self.order != Order::Plain {
                let after =
                    (0..self.txns.len() as u32).filter(|other| self.is_ordered(txn, *other));
                reach.extend(after.map(|other| (self.start(other), None)));
            }
            for (next, place) in reach {
                if came[next as usize].is_none() && next != from {
                    came[next as usize] = Some((at, next, place));
                    open.push_back(next);
                }
            }
        }
        let mut steps = Vec::new();
        let mut at = to;
        while at != from {
            let Some(step) = came[at as usize] else { break };
            steps.push(step);
            at = step.0;
        }
        steps.reverse();
        steps
    }

    /// The circle that the link at a place closed, between transactions.
    fn circle(&self, state: &State, last: usize) -> Vec<Step> {
        let link = state.links[last];
        let mut steps = vec![(link.from, link.to, Some(last))];
        steps.extend(self.path(state, link.to, link.from, last));
        let told = steps.into_iter().map(|(from, to, place)| Step {
            from: self.txns[self.txn_of(from) as usize],
            to: self.txns[self.txn_of(to) as usize],
            why: match place.map_or(Why::Order, |place| state.links[place].why) {
                Why::Missed(key, writer) => Why::Missed(key, self.txns[writer as usize]),
                Why::Wrote(key, reader) => {
                    Why::Wrote(key, reader.map(|reader| self.txns[reader as usize]))
                }
                why => why,
            },
        });
        told.filter(|step| step.from != step.to).collect()
    }

    /// Marks the transactions that a circle rests on, and what each of its links rests on.
    fn support(&self, state: &State, last: usize, needed: &mut [bool]) {
        let mut seen = vec![false; state.links.len()];
        let link = state.links[last];
        let mut open: Vec<(u32, u32, usize)> = vec![(link.to, link.from, last)];
        let mut links = vec![last];
        loop {
            if let Some((from, to, until)) = open.pop() {
                for point in [from, to] {
                    needed[self.txn_of(point) as usize] = true;
                }
                for (a, b, place) in self.path(state, from, to, until) {
                    for point in [a, b] {
                        needed[self.txn_of(point) as usize] = true;
                    }
                    links.extend(place);
                }
            } else if let Some(place) = links.pop() {
                if std::mem::replace(&mut seen[place], true) {
                    continue;
                }
                let link = state.links[place];
                for point in [link.from, link.to] {
                    needed[self.txn_of(point) as usize] = true;
                }
                if let Why::Missed(_, writer) = link.why {
                    needed[writer as usize] = true;
                }
                if let Some((from, to)) = link.because {
                    open.push((from, to, place));
                }
            } else {
                return;
            }
        }
    }
}

impl State {
    fn leads(&self, from: u32, to: u32) -> bool {
        let word = self.reach[from as usize * self.words + to as usize / 64];
        word >> (to % 64) & 1 != 0
    }

    fn set(&mut self, from: u32, to: u32) {
        self.reach[from as usize * self.words + to as usize / 64] |= 1 << (to % 64);
    }

    /// `from` leads to `to` and to all that `to` leads to.
    fn follow(&mut self, from: u32, to: u32) {
        let (from_row, to_row) = (from as usize * self.words, to as usize * self.words);
        let (low, high) = self.reach.split_at_mut(from_row.max(to_row));
        let (into, out) = match from_row < to_row {
            true => (
                &mut low[from_row..from_row + self.words],
                &high[..self.words],
            ),
            false => (&mut high[..self.words], &low[to_row..to_row + self.words]),
        };
        for (into, out) in into.iter_mut().zip(out) {
            *into |= *out;
        }
        self.set(from, to);
    }

    fn each(&self, from: u32, mut told: impl FnMut(u32)) {
        let row = &self.reach[from as usize * self.words..][..self.words];
        for (place, word) in (0_u32..).zip(row) {
            let mut left = *word;
            while left != 0 {
                told(64 * place + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }

    fn add(
        &mut self,
        from: u32,
        to: u32,
        why: Why,
        because: Option<(u32, u32)>,
        work: &mut u64,
    ) -> Result<(), Circle> {
        if self.leads(from, to) {
            return Ok(());
        }
        self.links.push(Link {
            from,
            to,
            why,
            because,
        });
        if from == to || self.leads(to, from) {
            return Err(Circle);
        }
        let points = self.reach.len() / self.words;
        *work += points as u64;
        for before in 0..points as u32 {
            if before == from || self.leads(before, from) {
                self.follow(before, to);
                *work += self.words as u64;
            }
        }
        Ok(())
    }
}
