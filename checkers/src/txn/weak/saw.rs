//! Who wrote what each read saw.
//!
//! Reads are looked up key by key, so that a key's table stays in the processor's cache: they are first put in order of their keys, which
//! is a walk over as many streams as there are keys, and the answers come back the same way.

use super::super::{
    atoms::Atom,
    graph::node,
    input::{NONE, Transactions, WRITE_BIT},
};
use crate::parallel;

/// What a read shows that was there at first.
pub(super) const INITIAL: u32 = NONE - 1;
/// Marks the transaction of a write that it wrote over itself. There are less than so many transactions: each takes some fifty bytes.
const OVERWRITTEN: u32 = 1 << 31;

/// Answers by step.
pub(super) struct Saw(Vec<u32>);

impl Saw {
    /// Of all reads. Writes are unique.
    pub fn new(txns: &Transactions, threads: usize) -> Self {
        let reads = || txns.step_key.iter().filter(|key| **key & WRITE_BIT == 0);
        let mut start = vec![0_u32; txns.keys.len() + 1];
        for key in reads() {
            start[*key as usize + 1] += 1;
        }
        for key in 0..txns.keys.len() {
            start[key + 1] += start[key];
        }
        let mut next = start.clone();
        let mut shown = vec![0_u64; start.last().map_or(0, |end| *end as usize)];
        for (key, what) in txns.step_key.iter().zip(&txns.step_what) {
            if key & WRITE_BIT == 0 {
                let slot = &mut next[*key as usize];
                shown[*slot as usize] = *what;
                *slot += 1;
            }
        }
        let mut found: Vec<Vec<u32>> = parallel::pieces(threads, 0..node(shown.len()), |range| {
            let mut key = node(start.partition_point(|first| *first <= range.start)).max(1) - 1;
            let mut found = Vec::with_capacity(range.len());
            for at in range {
                while start[key as usize + 1] <= at {
                    key += 1;
                }
                found.push(writer(txns, key, Atom::of_word(shown[at as usize])));
            }
            found
        });
        drop(shown);
        let found = match found.len() {
            1 => found.swap_remove(0),
            _ => found.concat(),
        };
        let mut next = start;
        let answers = txns.step_key.iter().map(|key| {
            if key & WRITE_BIT != 0 {
                return NONE;
            }
            let slot = &mut next[*key as usize];
            *slot += 1;
            found[*slot as usize - 1]
        });
        Self(answers.collect())
    }

    /// The transaction that a read saw, [`INITIAL`], or [`NONE`] if nobody wrote that.
    pub fn from(&self, place: usize) -> u32 {
        match self.0[place] {
            apart @ (NONE | INITIAL) => apart,
            txn => txn & !OVERWRITTEN,
        }
    }

    /// Whether who wrote that wrote over it before the end.
    pub fn was_overwritten(&self, place: usize) -> bool {
        !matches!(self.0[place], NONE | INITIAL) && self.0[place] & OVERWRITTEN != 0
    }

    /// All transactions that some read saw.
    pub fn seen(&self) -> impl Iterator<Item = u32> + '_ {
        let apart = |place: &usize| !matches!(self.0[*place], NONE | INITIAL);
        (0..self.0.len())
            .filter(apart)
            .map(|place| self.from(place))
    }
}

fn writer(txns: &Transactions, key: u32, atom: Atom) -> u32 {
    if atom == Atom::NULL {
        return INITIAL;
    }
    let write = txns
        .writer(key, atom)
        .map(|write| &txns.writes[write as usize]);
    match write {
        Some(write) if write.overwritten => write.txn | OVERWRITTEN,
        Some(write) => write.txn,
        None => NONE,
    }
}
