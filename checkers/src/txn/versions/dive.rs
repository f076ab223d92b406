//! Puts in order what saturation leaves open, without taking anything back: where it ends well, there is an order.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Case, Key, Work, state::State};
use crate::txn::{anomaly::Order, serial};

/// Of the open pairs this part is put in order before it is looked at again what follows.
const OPEN_AT_ONCE: usize = 2;

impl Case<'_> {
    /// Pairs that are open, each as the guess has it, in its order.
    pub(super) fn open(&self, state: &State, guess: &[u32]) -> Vec<(usize, usize, usize)> {
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
    pub(super) fn dive_by_time(&self, mut state: State, work: &mut Work<'_>) -> bool {
        let by_time = |key: &Key, a: usize, b: usize| {
            let (a, b) = (key.writers[a] as usize, key.writers[b] as usize);
            let (a, b) = (self.txns[a], self.txns[b]);
            serial::ordered(self.registers, Order::Realtime, a, b)
        };
        let mut sure = self.open(&state, &self.guess(&state, work));
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
            if work.is_over() {
                return false;
            }
            sure = self.open(&state, &self.guess(&state, work));
            if sure.is_empty() {
                return true;
            }
            sure.truncate(sure.len().div_ceil(OPEN_AT_ONCE));
        }
    }

    /// Puts open pairs in order as told, or the other way round where that would close a circle; whether that closes none.
    pub(super) fn take(
        &self,
        state: &mut State,
        open: &[(usize, usize, usize)],
        work: &mut Work<'_>,
    ) -> bool {
        for (at, a, b) in open.iter().copied() {
            let key = &self.keys[at];
            work.spend(key.readers[a].len() + key.readers[b].len());
            let (a, b) = match self.against(state, key, a, b) {
                Some(_) => (b, a),
                None => (a, b),
            };
            let done = self.orient(state, (at, a, b), None, work);
            if done.is_err() || work.is_over() {
                return false;
            }
        }
        true
    }

    /// By local number: the place of its end in an order of all points that keeps what is known, as transactions ended.
    ///
    /// A writer stands back while somebody who reads what it writes over was not placed, and with two points while another
    /// writer of the key has begun and not ended.
    pub(super) fn guess(&self, state: &State, work: &mut Work<'_>) -> Vec<u32> {
        let points = self.points() as u32;
        let mut waits = Waits::new(points);
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
        let first = (0..points).filter(|point| waits.is_ready(state, *point, work));
        let mut ready: BinaryHeap<Reverse<(bool, u64, u32)>> =
            first.map(|point| Reverse(rank(point))).collect();
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
            for next in waits.placed(point) {
                if waits.is_ready(state, next, work) {
                    ready.push(Reverse(rank(next)));
                }
            }
        }
        place_of
    }
}

/// Which points still wait for others: each for one that leads to it, and then for the next one.
struct Waits {
    /// Points that were not placed.
    left: Vec<u64>,
    /// By point: who waits for it.
    waiting: Vec<Vec<u32>>,
}

impl Waits {
    fn new(points: u32) -> Self {
        Self {
            // A bit beyond the last point is nobody's.
            left: vec![u64::MAX; points.div_ceil(u64::BITS) as usize],
            waiting: vec![Vec::new(); points as usize],
        }
    }

    /// Whether nothing that was not placed leads to a point; it waits otherwise.
    fn is_ready(&mut self, state: &State, point: u32, work: &mut Work<'_>) -> bool {
        work.spend(state.words());
        // Mostly later points are placed later.
        match state.last_before(point, &self.left) {
            None => true,
            Some(other) => {
                self.waiting[other as usize].push(point);
                false
            }
        }
    }

    /// Places a point, and gives who waited for it.
    fn placed(&mut self, point: u32) -> Vec<u32> {
        self.left[(point / u64::BITS) as usize] &= !(1 << (point % u64::BITS));
        std::mem::take(&mut self.waiting[point as usize])
    }
}
