//! Changed or left out: operations rewritten, or passed over.

use super::{Context, Generator, Next, Op, OpSpec};
use crate::event::Event;

/// How many operations in a row [`filter`](super::Combine::filter) passes over before it lets others go on.
pub const FILTER_SKIP_LIMIT: usize = 100;

/// See [`map`](super::Combine::map).
pub struct Map<G, F> {
    inner: G,
    change: F,
}

impl<G, F> Map<G, F> {
    pub(super) fn new(inner: G, change: F) -> Self {
        Self { inner, change }
    }
}

impl<G, F> Generator for Map<G, F>
where
    G: Generator,
    F: Fn(OpSpec) -> OpSpec + Send,
{
    fn advance(&mut self, context: &Context<'_>) {
        self.inner.advance(context);
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        match self.inner.peek(context) {
            Next::Op(Op {
                time_ns,
                thread,
                f,
                value,
            }) => {
                let OpSpec { f, value } = (self.change)(OpSpec { f, value });
                Next::Op(Op {
                    time_ns,
                    thread,
                    f,
                    value,
                })
            }
            other => other,
        }
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.inner.commit(context, op);
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        self.inner.update(context, thread, event);
    }
}

/// See [`filter`](super::Combine::filter).
pub struct Filter<G, F> {
    inner: G,
    keep: F,
}

impl<G, F> Filter<G, F> {
    pub(super) fn new(inner: G, keep: F) -> Self {
        Self { inner, keep }
    }
}

impl<G, F> Generator for Filter<G, F>
where
    G: Generator,
    F: Fn(&Op) -> bool + Send,
{
    /// Passes over what is not wanted: taken from the inner generator when it is due, and never invoked.
    fn advance(&mut self, context: &Context<'_>) {
        for _ in 0..FILTER_SKIP_LIMIT {
            self.inner.advance(context);
            match self.inner.peek(context) {
                Next::Op(op) if op.time_ns <= context.time_ns && !(self.keep)(&op) => {
                    self.inner.commit(context, &op);
                }
                _ => return,
            }
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        match self.inner.peek(context) {
            Next::Op(op) if !(self.keep)(&op) => Next::Pending {
                until_ns: Some(op.time_ns),
            },
            next => next,
        }
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.inner.commit(context, op);
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        self.inner.update(context, thread, event);
    }
}
