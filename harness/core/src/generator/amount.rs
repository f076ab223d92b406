//! How many: at most n operations, until one is ok, on at most n processes.

use super::{Context, Generator, Next, Op, ThreadSet};
use crate::event::{Event, EventType};

/// See [`limit`](super::Combine::limit).
pub struct Limit<G> {
    inner: G,
    left: u64,
}

impl<G> Limit<G> {
    pub(super) fn new(inner: G, count: u64) -> Self {
        Self { inner, left: count }
    }
}

impl<G: Generator> Generator for Limit<G> {
    fn advance(&mut self, context: &Context<'_>) {
        self.inner.advance(context);
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        if self.left == 0 {
            return Next::Done;
        }
        self.inner.peek(context)
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.left = self.left.saturating_sub(1);
        self.inner.commit(context, op);
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        self.inner.update(context, thread, event);
    }
}

/// See [`until_ok`](super::Combine::until_ok).
pub struct UntilOk<G> {
    inner: G,
    /// Threads on which an operation of ours is open: other generators' operations prove nothing.
    ours: ThreadSet,
    done: bool,
}

impl<G> UntilOk<G> {
    pub(super) fn new(inner: G) -> Self {
        Self {
            inner,
            ours: ThreadSet::default(),
            done: false,
        }
    }
}

impl<G: Generator> Generator for UntilOk<G> {
    fn advance(&mut self, context: &Context<'_>) {
        self.inner.advance(context);
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        if self.done {
            return Next::Done;
        }
        self.inner.peek(context)
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.ours.insert(op.thread);
        self.inner.commit(context, op);
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        if event.event_type != EventType::Invoke && self.ours.contains(thread) {
            self.ours.remove(thread);
            self.done |= event.event_type == EventType::Ok;
        }
        self.inner.update(context, thread, event);
    }
}

/// See [`process_limit`](super::Combine::process_limit).
pub struct ProcessLimit<G> {
    inner: G,
    limit: usize,
    /// The process last seen on each thread.
    last: Vec<Option<u64>>,
    seen: usize,
}

impl<G> ProcessLimit<G> {
    pub(super) fn new(inner: G, limit: usize) -> Self {
        Self {
            inner,
            limit,
            last: Vec::new(),
            seen: 0,
        }
    }
}

impl<G: Generator> Generator for ProcessLimit<G> {
    fn advance(&mut self, context: &Context<'_>) {
        if self.seen > self.limit {
            return;
        }
        for thread in context.threads.iter() {
            if thread >= self.last.len() {
                self.last.resize(thread + 1, None);
            }
            // A process never comes back, so a change is a new one.
            let process = context.processes.get(thread).copied();
            if self.last[thread] != process {
                self.last[thread] = process;
                self.seen += 1;
            }
        }
        self.inner.advance(context);
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        if self.seen > self.limit {
            return Next::Done;
        }
        self.inner.peek(context)
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.inner.commit(context, op);
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        self.inner.update(context, thread, event);
    }
}
