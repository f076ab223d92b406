//! Generators: what is to be done next, as values.
//!
//! A generator is asked by the interpreter's one event loop. Laws:
//! - **asking has no effect**: [`Generator::peek`] takes `&self`, and asking twice in the same state gives the
//!   same answer. A combinator may ask several children and take one;
//! - only [`Generator::commit`] takes an operation from it, and only the one that it just gave, in the context in
//!   which it gave it. Combinators above may have made its time later or rewritten its `f` and value, so a
//!   generator that has several children finds the one by its thread or by asking again, never by the value;
//! - [`Generator::advance`] tells it that time has come so far, before it is asked; calling it twice with the same
//!   context does what calling it once does;
//! - it has no clock and no randomness of its own: time comes in the [`Context`], randomness from a labelled
//!   [`Stream`](crate::seed::Stream) by the number of commits;
//! - an operation's thread is free and allowed, and its time is not before the context's;
//! - [`Next::Done`] is final;
//! - it is told of every invocation and completion by [`Generator::update`].
//!
//! One subject a file: [`leaf`] (where operations come from), [`amount`] (how many), [`time`] (when), [`order`]
//! (after what), [`choose`] (which of several), [`threads`] and [`keys`] (on which threads), [`rewrite`]
//! (changed or left out), [`simulate`] (all of it without a system). [`Combine`] has the combinators as methods:
//!
//! ```
//! use harness_core::{generator::{Combine, OpSpec, from_fn, phases}, seed::Seed};
//! use rand::Rng;
//! use std::time::Duration;
//!
//! let seed = Seed(7);
//! let writes = from_fn(seed.stream("workload/writes"), |rng, _n, _context| {
//!     OpSpec::new("write", rng.random_range(0..5_u64))
//! });
//! let load = writes.stagger(Duration::from_millis(1), seed.stream("workload/stagger")).time_limit(Duration::from_secs(60));
//! let all = phases([load.boxed(), OpSpec::new("read", ()).once().boxed()]);
//! # let _ = all;
//! ```
//!
//! After Jepsen's generators, which became pure because the mutable ones raced; ours split asking from moving on
//! instead of copying the tree for each operation.

pub mod amount;
pub mod choose;
mod combine;
pub mod keys;
pub mod leaf;
pub mod order;
pub mod rewrite;
pub mod simulate;
pub mod threads;
pub mod time;

use std::sync::Arc;

use serde_json::Value;

use crate::event::Event;

pub use {
    choose::{any, mix},
    combine::Combine,
    keys::per_key,
    leaf::{OpSpec, from_fn, nothing, operations, repeat},
    order::{flip_flop, phases, sequence},
    threads::{each_thread, reserve},
    time::{cycle_times, sleep},
};

/// A set of threads: the interpreter's workers, by number from 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThreadSet {
    words: Vec<u64>,
}

impl ThreadSet {
    /// Threads 0 to `count` − 1.
    #[must_use]
    pub fn first(count: usize) -> Self {
        let mut set = Self::default();
        for thread in 0..count {
            set.insert(thread);
        }
        set
    }

    /// Adds a thread.
    pub fn insert(&mut self, thread: usize) {
        let word = thread / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (thread % 64);
    }

    /// Removes a thread.
    pub fn remove(&mut self, thread: usize) {
        if let Some(word) = self.words.get_mut(thread / 64) {
            *word &= !(1 << (thread % 64));
        }
    }

    /// Whether it is in.
    #[must_use]
    pub fn contains(&self, thread: usize) -> bool {
        self.words
            .get(thread / 64)
            .is_some_and(|word| word & (1 << (thread % 64)) != 0)
    }

    /// How many are in.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether none is in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// In ascending order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    at * 64 + bit
                })
            })
        })
    }

    /// Whether every thread of it is in the other.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.words
            .iter()
            .enumerate()
            .all(|(at, word)| word & !other.words.get(at).copied().unwrap_or(0) == 0)
    }

    /// The threads that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let words = self.words.iter().zip(&other.words);
        Self {
            words: words.map(|(mine, theirs)| mine & theirs).collect(),
        }
    }

    /// The first that is in both, looking from `from` on and then from 0.
    #[must_use]
    pub fn first_common(&self, other: &Self, from: usize) -> Option<usize> {
        let words = self.words.len().min(other.words.len());
        let at = |word: usize, mask: u64| {
            let common = self.words[word] & other.words[word] & mask;
            (common != 0).then(|| word * 64 + common.trailing_zeros() as usize)
        };
        let start = from / 64;
        if start < words
            && let Some(found) = at(start, u64::MAX << (from % 64))
        {
            return Some(found);
        }
        (start + 1..words)
            .chain(0..words.min(start + 1))
            .find_map(|word| at(word, u64::MAX))
    }
}

/// What a generator may know when it is asked.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Nanoseconds since the run began.
    pub time_ns: u64,
    /// Threads that have no operation open.
    pub free: &'a ThreadSet,
    /// Threads that this generator may use; combinators narrow it.
    pub threads: &'a ThreadSet,
    /// From where to look for a free thread, so that all get their turn.
    pub turn: usize,
    /// Which process each thread is now, by thread number.
    pub processes: &'a [u64],
}

impl Context<'_> {
    /// A thread that is free and allowed.
    #[must_use]
    pub fn free_thread(&self) -> Option<usize> {
        self.free.first_common(self.threads, self.turn)
    }

    /// Whether every allowed thread is free.
    #[must_use]
    pub fn all_free(&self) -> bool {
        self.threads.is_subset(self.free)
    }

    /// Calls with the context in which only those threads are allowed that are allowed here and in `set`.
    pub fn within<R>(&self, set: &ThreadSet, call: impl FnOnce(&Context<'_>) -> R) -> R {
        if set.is_subset(self.threads) {
            return call(&Context {
                threads: set,
                ..*self
            });
        }
        let both = set.intersection(self.threads);
        call(&Context {
            threads: &both,
            ..*self
        })
    }
}

/// An operation to be invoked.
#[derive(Clone, Debug, PartialEq)]
pub struct Op {
    /// Not before this time, nanoseconds since the run began.
    pub time_ns: u64,
    /// On this thread.
    pub thread: usize,
    /// What kind.
    pub f: Arc<str>,
    /// Its arguments.
    pub value: Value,
}

/// A generator's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Do this. If its time lies ahead, the interpreter waits for it, or for an event, and asks again.
    Op(Op),
    /// Nothing now: ask again after an event, or at this time at the latest.
    Pending {
        /// Nanoseconds since the run began; none if only an event can change the answer.
        until_ns: Option<u64>,
    },
    /// Nothing ever again.
    Done,
}

/// What is to be done next. See the module's laws.
pub trait Generator: Send {
    /// Time has come so far: called right before [`Self::peek`] in the same context. Generators that measure time
    /// from when their turn came (`sleep`, `time_limit`) note it, sequences go on to the next. Most do not care;
    /// one that has children tells those that it would ask.
    fn advance(&mut self, _context: &Context<'_>) {}

    /// What it would do now. Has no effect.
    fn peek(&self, context: &Context<'_>) -> Next;

    /// The operation that [`Self::peek`] gave in this same context is being invoked.
    fn commit(&mut self, context: &Context<'_>, op: &Op);

    /// An operation was invoked or completed on a thread. Most generators do not care.
    fn update(&mut self, _context: &Context<'_>, _thread: usize, _event: &Event) {}
}

/// A boxed generator.
pub type BoxGenerator = Box<dyn Generator>;

impl Generator for BoxGenerator {
    fn peek(&self, context: &Context<'_>) -> Next {
        (**self).peek(context)
    }
    fn advance(&mut self, context: &Context<'_>) {
        (**self).advance(context);
    }
    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        (**self).commit(context, op);
    }
    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        (**self).update(context, thread, event);
    }
}
