//! After what: one after the other, with or without waiting for open operations, or turn about.

use std::collections::VecDeque;

use super::{BoxGenerator, Context, Generator, Next, Op};
use crate::event::Event;

/// See [`sequence`].
pub struct Sequence {
    children: VecDeque<BoxGenerator>,
}

/// The first until it is done, then the second, and so on. Operations of the one before may still be open when the
/// next begins; [`phases`] waits for them.
pub fn sequence(children: impl IntoIterator<Item = BoxGenerator>) -> Sequence {
    Sequence {
        children: children.into_iter().collect(),
    }
}

/// As [`sequence`], but each begins when no operation is open on the threads that it may use.
pub fn phases(children: impl IntoIterator<Item = BoxGenerator>) -> Sequence {
    sequence(
        children
            .into_iter()
            .map(|child| Box::new(Synchronize::new(child)) as BoxGenerator),
    )
}

impl Sequence {
    /// Drops what is done. The last one stays: asking it costs nothing extra, and its answer is ours.
    fn drop_done(&mut self, context: &Context<'_>) {
        while self.children.len() > 1
            && self
                .children
                .front()
                .is_some_and(|child| child.peek(context) == Next::Done)
        {
            self.children.pop_front();
        }
    }
}

impl Generator for Sequence {
    fn advance(&mut self, context: &Context<'_>) {
        loop {
            let Some(front) = self.children.front_mut() else {
                return;
            };
            front.advance(context);
            let left = self.children.len();
            self.drop_done(context);
            // Whoever came to the front has not been told yet.
            if self.children.len() == left {
                return;
            }
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        self.children
            .iter()
            .map(|child| child.peek(context))
            .find(|next| *next != Next::Done)
            .unwrap_or(Next::Done)
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.drop_done(context);
        if let Some(front) = self.children.front_mut() {
            front.commit(context, op);
        }
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        if let Some(front) = self.children.front_mut() {
            front.update(context, thread, event);
        }
    }
}

/// See [`synchronize`](super::Combine::synchronize).
pub struct Synchronize<G> {
    inner: G,
    begun: bool,
}

impl<G> Synchronize<G> {
    pub(super) fn new(inner: G) -> Self {
        Self {
            inner,
            begun: false,
        }
    }
}

impl<G: Generator> Generator for Synchronize<G> {
    fn advance(&mut self, context: &Context<'_>) {
        self.begun |= context.all_free();
        if self.begun {
            self.inner.advance(context);
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        if !self.begun && !context.all_free() {
            return Next::Pending { until_ns: None };
        }
        self.inner.peek(context)
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.begun = true;
        self.inner.commit(context, op);
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        if self.begun {
            self.inner.update(context, thread, event);
        }
    }
}

/// See [`flip_flop`].
pub struct FlipFlop {
    children: [BoxGenerator; 2],
    turn: usize,
}

/// One operation of the first, one of the second, one of the first, and so on. Done when the one whose turn it is
/// is done.
#[must_use]
pub fn flip_flop(first: BoxGenerator, second: BoxGenerator) -> FlipFlop {
    FlipFlop {
        children: [first, second],
        turn: 0,
    }
}

impl Generator for FlipFlop {
    fn advance(&mut self, context: &Context<'_>) {
        self.children[self.turn].advance(context);
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        self.children[self.turn].peek(context)
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.children[self.turn].commit(context, op);
        self.turn = 1 - self.turn;
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        for child in &mut self.children {
            child.update(context, thread, event);
        }
    }
}
