//! Many keys, each worked on by a few threads for a while: what makes checking a long history cheap, because each
//! key can be judged by itself. After the idea of Jepsen's `independent`.
//!
//! Law: an operation's value is `[key, value]`; a key is worked on by one group of threads only, and never again
//! after its generator is done.

use serde_json::Value;

use super::{
    BoxGenerator, Context, Generator, Next, Op, ThreadSet, choose::Soonest, threads::split,
};
use crate::event::Event;

/// How many keys whose generators are done at once a group passes over before it lets others go on.
pub const KEY_SKIP_LIMIT: usize = 64;

/// Threads that work on one key at a time.
struct Group {
    threads: ThreadSet,
    /// None when there are no keys any more.
    current: Option<(u64, BoxGenerator)>,
}

/// See [`per_key`].
pub struct PerKey<F> {
    threads_per_key: usize,
    key_count: Option<u64>,
    next_key: u64,
    make: F,
    /// Empty until the threads are known.
    groups: Vec<Group>,
}

/// Groups of so many threads, each working on a key of its own: `make` gives the generator for a key, by number
/// from 0, and when that is done, the group takes the next key that nobody had. A last group may be smaller.
/// Done when `key_count` keys are done; without that, never. It has nothing to do before its first
/// [`Generator::advance`].
pub fn per_key<F>(threads_per_key: usize, key_count: Option<u64>, make: F) -> PerKey<F>
where
    F: Fn(u64) -> BoxGenerator + Send,
{
    PerKey {
        threads_per_key: threads_per_key.max(1),
        key_count,
        next_key: 0,
        make,
        groups: Vec::new(),
    }
}

impl<F> PerKey<F>
where
    F: Fn(u64) -> BoxGenerator + Send,
{
    /// Forms the groups.
    fn settle(&mut self, context: &Context<'_>) {
        if !self.groups.is_empty() {
            return;
        }
        let count = context.threads.len().div_ceil(self.threads_per_key);
        let sizes = std::iter::repeat_n(self.threads_per_key, count);
        for threads in split(context.threads, sizes).0 {
            let current = take_key(&mut self.next_key, self.key_count, &self.make);
            self.groups.push(Group { threads, current });
        }
    }
}

fn take_key(
    next_key: &mut u64,
    key_count: Option<u64>,
    make: &dyn Fn(u64) -> BoxGenerator,
) -> Option<(u64, BoxGenerator)> {
    let key = *next_key;
    if key_count.is_some_and(|count| key >= count) {
        return None;
    }
    *next_key += 1;
    Some((key, make(key)))
}

impl<F> Generator for PerKey<F>
where
    F: Fn(u64) -> BoxGenerator + Send,
{
    fn advance(&mut self, context: &Context<'_>) {
        self.settle(context);
        for group in &mut self.groups {
            for _ in 0..KEY_SKIP_LIMIT {
                let Some((_, child)) = &mut group.current else {
                    break;
                };
                let done = context.within(&group.threads, |context| {
                    child.advance(context);
                    child.peek(context) == Next::Done
                });
                if !done {
                    break;
                }
                group.current = take_key(&mut self.next_key, self.key_count, &self.make);
            }
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        // Whatever needs `advance` to go on: ask again at once.
        let again = Next::Pending {
            until_ns: Some(context.time_ns),
        };
        if self.groups.is_empty() && !context.threads.is_empty() {
            return again;
        }
        let mut soonest = Soonest::new();
        let from = self
            .groups
            .iter()
            .position(|group| group.threads.contains(context.turn))
            .unwrap_or(0);
        for step in 0..self.groups.len() {
            let at = (from + step) % self.groups.len();
            let group = &self.groups[at];
            let Some((key, child)) = &group.current else {
                continue;
            };
            let next = match context.within(&group.threads, |context| child.peek(context)) {
                Next::Op(mut op) => {
                    op.value = Value::Array(vec![Value::from(*key), op.value]);
                    Next::Op(op)
                }
                Next::Done if self.key_count.is_none_or(|count| self.next_key < count) => {
                    again.clone()
                }
                other => other,
            };
            soonest.take(at, next);
            if soonest.is_due(context) {
                break;
            }
        }
        soonest.finish(context).1
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.settle(context);
        for group in &mut self.groups {
            if let Some((_, child)) = &mut group.current
                && group.threads.contains(op.thread)
            {
                context.within(&group.threads, |context| child.commit(context, op));
            }
        }
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        for group in &mut self.groups {
            if let Some((_, child)) = &mut group.current
                && group.threads.contains(thread)
            {
                context.within(&group.threads, |context| {
                    child.update(context, thread, event);
                });
            }
        }
    }
}
