//! What of a file was changed and not synced: what it takes to go back to what was durable. Pure.
//!
//! ```text
//! durable   0 ───────────────────────── durable_bytes
//! changed      ▒▒▒▒▒      ▒▒▒                 ▒▒▒▒▒▒▒▒▒ grew
//! kept         old        old                 (nothing: it is cut off)
//! ```
//!
//! Laws:
//! - going back gives, byte for byte and in length, what the file was when it was last synced, with what was written since so that it
//!   was durable at once (`O_SYNC`, `O_DSYNC`);
//! - the old bytes of a range are kept once, before it is changed for the first time;
//! - what was durable at once where the file had not reached has zeros before it.

use std::collections::BTreeMap;

/// Old bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Old {
    /// These.
    Bytes(Vec<u8>),
    /// So many zeros.
    Zeros(u64),
}

impl Old {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(count) => *count,
        }
    }

    fn memory_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Zeros(_) => 0,
        }
    }

    /// The part from `from` on, of `length` bytes.
    fn part(&self, from: u64, length: u64) -> Self {
        match self {
            Self::Bytes(bytes) => {
                // A range of bytes that are in memory.
                let (from, length) = (from as usize, length as usize);
                Self::Bytes(bytes[from..from + length].to_vec())
            }
            Self::Zeros(_) => Self::Zeros(length),
        }
    }
}

/// A file with changes that are not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    durable_bytes: u64,
    /// Old bytes by where they were; they neither overlap nor reach beyond `durable_bytes`.
    old: BTreeMap<u64, Old>,
    /// How many of them are in memory.
    memory_bytes: u64,
}

impl Undo {
    /// A file of that length, all of it durable, that is about to be changed.
    #[must_use]
    pub fn new(durable_bytes: u64) -> Self {
        Self {
            durable_bytes,
            old: BTreeMap::new(),
            memory_bytes: 0,
        }
    }

    /// How long the file is after going back.
    #[must_use]
    pub fn durable_bytes(&self) -> u64 {
        self.durable_bytes
    }

    /// What is to be put back, by where.
    pub fn old(&self) -> impl Iterator<Item = (u64, &Old)> {
        self.old.iter().map(|(at, old)| (*at, old))
    }

    /// How many bytes are to be put back.
    #[must_use]
    pub fn old_bytes(&self) -> u64 {
        self.old.values().map(Old::len).sum()
    }

    /// How many bytes of memory that takes.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// The ranges (from, to) of a range that is to be changed whose old bytes are to be kept first.
    #[must_use]
    pub fn missing(&self, from: u64, to: u64) -> Vec<(u64, u64)> {
        let to = to.min(self.durable_bytes);
        let mut missing = Vec::new();
        let mut next = from;
        for (at, old) in self.around(from, to) {
            if next < at {
                missing.push((next, at));
            }
            next = next.max(at + old.len());
        }
        if next < to {
            missing.push((next, to));
        }
        missing
    }

    /// Keeps what was there, in a range that [`Undo::missing`] gave.
    pub fn keep(&mut self, at: u64, old: Old) {
        if old.len() > 0 {
            self.memory_bytes += old.memory_bytes();
            self.old.insert(at, old);
        }
    }

    /// A write that was durable at once, of the bytes from..to.
    pub fn settle(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        let touched: Vec<u64> = self.around(from, to).map(|(at, _)| at).collect();
        for at in touched {
            let Some(old) = self.old.remove(&at) else {
                continue;
            };
            let end = at + old.len();
            self.memory_bytes -= old.memory_bytes();
            if at < from {
                self.keep(at, old.part(0, from - at));
            }
            if end > to {
                self.keep(to, old.part(to - at, end - to));
            }
        }
        self.reach(from);
        self.durable_bytes = self.durable_bytes.max(to);
    }

    /// The file was made that long, durably at once, with zeros where nothing durable was.
    pub fn reach(&mut self, length: u64) {
        if length > self.durable_bytes {
            let gap = Old::Zeros(length - self.durable_bytes);
            self.keep(self.durable_bytes, gap);
            self.durable_bytes = length;
        }
    }

    /// What is kept and has a byte in common with from..to, in order.
    fn around(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, &Old)> {
        let before = self.old.range(..from).next_back();
        let before = before.filter(move |(at, old)| *at + old.len() > from);
        let within = (from < to).then(|| self.old.range(from..to));
        before
            .into_iter()
            .chain(within.into_iter().flatten())
            .map(|(at, old)| (*at, old))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A file with its undo, and beside it what is durable, kept in full.
    struct Model {
        now: Vec<u8>,
        durable: Vec<u8>,
        undo: Option<Undo>,
    }

    impl Model {
        fn undo(&mut self) -> &mut Undo {
            let now = self.now.len() as u64;
            self.undo.get_or_insert_with(|| Undo::new(now))
        }

        fn keep(&mut self, from: usize, to: usize) {
            for (from, to) in self.undo().missing(from as u64, to as u64) {
                let old = self.now[from as usize..to as usize].to_vec();
                self.undo().keep(from, Old::Bytes(old));
            }
        }

        fn apply(&mut self, step: &Step) {
            match *step {
                Step::Write(at, length, byte, at_once) => {
                    let (at, end) = (at, at + length);
                    if at_once && self.undo.is_none() {
                        self.undo();
                    }
                    if !at_once {
                        self.keep(at, end);
                    }
                    self.now.resize(self.now.len().max(end), 0);
                    self.now[at..end].fill(byte);
                    if at_once {
                        self.undo().settle(at as u64, end as u64);
                        if length > 0 {
                            self.durable.resize(self.durable.len().max(end), 0);
                            self.durable[at..end].fill(byte);
                        }
                    }
                }
                Step::Resize(length) => {
                    self.keep(length, self.now.len().max(length));
                    self.now.resize(length, 0);
                }
                Step::Sync => {
                    self.undo = None;
                    self.durable = self.now.clone();
                }
            }
        }

        fn back(&self) -> Vec<u8> {
            let Some(undo) = &self.undo else {
                return self.now.clone();
            };
            let mut back = self.now.clone();
            back.resize(undo.durable_bytes() as usize, 0);
            let mut end = 0;
            for (at, old) in undo.old() {
                assert!(at >= end, "they overlap");
                end = at + old.len();
                let place = &mut back[at as usize..end as usize];
                match old {
                    Old::Bytes(bytes) => place.copy_from_slice(bytes),
                    Old::Zeros(_) => place.fill(0),
                }
            }
            back
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Write(usize, usize, u8, bool),
        Resize(usize),
        Sync,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..48_usize, 0..16_usize, 1..=255_u8, prop::bool::weighted(0.3))
                .prop_map(|(at, length, byte, at_once)| Step::Write(at, length, byte, at_once)),
            2 => (0..64_usize).prop_map(Step::Resize),
            1 => Just(Step::Sync),
        ]
    }

    proptest! {
        /// Law 1.
        #[test]
        fn going_back_gives_what_was_durable(
            begin in prop::collection::vec(any::<u8>(), 0..48),
            steps in prop::collection::vec(step(), 0..40),
        ) {
            let mut model = Model { now: begin.clone(), durable: begin, undo: None };
            for step in &steps {
                model.apply(step);
                prop_assert_eq!(&model.back(), &model.durable, "{:?}", steps);
            }
        }
    }

    #[test]
    fn old_bytes_are_kept_once() {
        let mut undo = Undo::new(100);
        assert_eq!(undo.missing(10, 20), [(10, 20)]);
        undo.keep(10, Old::Bytes(vec![1; 10]));
        assert_eq!(undo.missing(5, 30), [(5, 10), (20, 30)]);
        assert_eq!(undo.missing(12, 18), []);
        assert_eq!(undo.missing(90, 200), [(90, 100)]);
        assert_eq!(undo.missing(100, 200), []);
        assert_eq!((undo.old_bytes(), undo.memory_bytes()), (10, 10));
    }

    #[test]
    fn what_is_durable_at_once_is_not_undone() {
        let mut undo = Undo::new(30);
        undo.keep(0, Old::Bytes((0..30).collect()));
        undo.settle(10, 20);
        let kept: Vec<_> = undo.old().collect();
        assert_eq!(
            kept,
            [
                (0, &Old::Bytes((0..10).collect())),
                (20, &Old::Bytes((20..30).collect()))
            ]
        );
        undo.settle(40, 50);
        assert_eq!((undo.durable_bytes(), undo.memory_bytes()), (50, 20));
        assert_eq!(undo.old().last(), Some((30, &Old::Zeros(10))));
    }
}
