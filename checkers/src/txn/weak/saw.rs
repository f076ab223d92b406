//! Who wrote what each read saw.
//!
//! Values that are whole numbers near one another, each written once in the whole history, are looked up by the number itself: reads see
//! mostly what was written shortly before, which stands near there.
//!
//! Others are looked up key by key, so that a key's table stays in the processor's cache: reads are first put in order of their keys, which
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

/// Steps of a transaction that are compared with one another.
const STEPS_COMPARED_LIMIT: usize = 256;
/// Spare places of a table by value, beside two for each write.
const TABLE_SLACK: u64 = 1_024;

/// Answers by step.
pub(super) struct Saw(Vec<u32>);

impl Saw {
    /// Of all reads, by the values themselves. None: these are far apart, or one was written twice, if only to different keys.
    pub fn direct(txns: &Transactions, threads: usize) -> Option<Self> {
        let (mut low, mut high, mut writes) = (u64::MAX, 0, 0_u64);
        for (key, what) in txns.step_key.iter().zip(&txns.step_what) {
            if key & WRITE_BIT != 0 {
                (low, high, writes) = (low.min(*what), high.max(*what), writes + 1);
            }
        }
        let span = high
            .checked_sub(low)
            .filter(|span| *span < 2 * writes + TABLE_SLACK)?;
        // By value: the key, and the transaction that wrote it there.
        let mut table = vec![(NONE, NONE); usize::try_from(span).ok()? + 1];
        for (txn, places) in txns.each() {
            if places.len() > STEPS_COMPARED_LIMIT {
                return None;
            }
            for place in places.clone() {
                let key = txns.step_key[place];
                if key & WRITE_BIT == 0 {
                    continue;
                }
                let entry = &mut table[(txns.step_what[place] - low) as usize];
                if entry.0 != NONE {
                    return None;
                }
                let again = txns.step_key[place + 1..places.end].contains(&key);
                *entry = (key & !WRITE_BIT, txn | if again { OVERWRITTEN } else { 0 });
            }
        }
        let mut answers = vec![0_u32; txns.step_count()];
        parallel::fill(threads, &mut answers, |first, answers| {
            let (keys, whats) = (&txns.step_key[first..], &txns.step_what[first..]);
            for (answer, (key, what)) in answers.iter_mut().zip(keys.iter().zip(whats)) {
                let entry = || table.get(usize::try_from(what.wrapping_sub(low)).ok()?);
                *answer = if key & WRITE_BIT != 0 {
                    NONE
                } else if *what == Atom::NULL.word() {
                    INITIAL
                } else {
                    entry().map_or(NONE, |(of, txn)| if of == key { *txn } else { NONE })
                };
            }
        });
        Some(Self(answers))
    }

    /// Of all reads, key by key. Writes are unique.
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

#[cfg(test)]
mod tests {
    use harness_core::{event::Process, history::Outcome, seed::Seed};
    use rand::Rng;

    use super::{
        super::super::{
            builder::{Begun, Builder, find_writes},
            input::Shape,
        },
        *,
    };

    fn number(number: i64) -> Atom {
        Atom::number(number).unwrap_or(Atom::NULL)
    }

    /// Few transactions; each value is written once, or some of them twice.
    fn transactions(seed: u64, twice: bool) -> Transactions {
        let mut rng = Seed(seed).stream("saw").draw(0);
        let mut builder = Builder::new(Shape::Registers);
        let mut written = 0;
        for place in 0..rng.random_range(1..12) {
            let txn = builder.begin(&Begun {
                index: 2 * place,
                invoked_ns: place,
                process: Process::Client(place % 3),
                node: None,
            });
            builder.end(txn, Outcome::Ok, Some(2 * place + 1), Some(place));
            builder.open_steps(txn);
            for _ in 0..rng.random_range(0..6) {
                let key = number(rng.random_range(0..3));
                if rng.random() {
                    written += i64::from(!twice || written == 0 || rng.random());
                    builder.write(key, number(written));
                } else {
                    match rng.random_range(0..written + 4) {
                        0 => builder.read(key, Atom::NULL),
                        value => builder.read(key, number(value)),
                    }
                }
            }
            builder.close_steps(txn);
        }
        builder.finish()
    }

    #[test]
    fn both_ways_find_the_same() {
        let (mut overwritten, mut left) = (0, 0);
        for seed in 0..3_000 {
            let twice = seed % 3 == 0;
            let mut txns = transactions(seed, twice);
            let direct = Saw::direct(&txns, 0);
            find_writes(&mut txns);
            let Some(direct) = direct else {
                assert!(twice || txns.write_count() == 0, "seed {seed}");
                left += 1;
                continue;
            };
            assert!(txns.repeated().is_empty(), "seed {seed}");
            assert_eq!(direct.0, Saw::new(&txns, 0).0, "seed {seed}");
            overwritten += usize::from((0..direct.0.len()).any(|at| direct.was_overwritten(at)));
        }
        assert!(overwritten > 300 && left > 300, "{overwritten} {left}");
    }
}
