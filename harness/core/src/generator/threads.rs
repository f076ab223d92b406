//! On which threads: some of them, so many each, one copy for each.
//!
//! Law: a child is asked in a context in which only its own threads are allowed, and is told only of what happens
//! on these. `synchronize` inside therefore waits for these alone.

use super::{BoxGenerator, Context, Generator, Next, Op, ThreadSet, choose::Soonest};
use crate::event::Event;

/// Cuts the allowed threads, in ascending order, in pieces of these sizes. Gives the pieces and what is left over.
pub(super) fn split(
    threads: &ThreadSet,
    sizes: impl IntoIterator<Item = usize>,
) -> (Vec<ThreadSet>, ThreadSet) {
    let mut all = threads.iter();
    let piece = |all: &mut dyn Iterator<Item = usize>, size: usize| {
        let mut set = ThreadSet::default();
        all.take(size).for_each(|thread| set.insert(thread));
        set
    };
    let pieces = sizes
        .into_iter()
        .map(|size| piece(&mut all, size))
        .collect();
    (pieces, piece(&mut all, usize::MAX))
}

/// See [`on_threads`](super::Combine::on_threads).
pub struct OnThreads<G> {
    inner: G,
    threads: ThreadSet,
}

impl<G> OnThreads<G> {
    pub(super) fn new(inner: G, threads: ThreadSet) -> Self {
        Self { inner, threads }
    }
}

impl<G: Generator> Generator for OnThreads<G> {
    fn advance(&mut self, context: &Context<'_>) {
        let inner = &mut self.inner;
        context.within(&self.threads, |context| inner.advance(context));
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        context.within(&self.threads, |context| self.inner.peek(context))
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        let inner = &mut self.inner;
        context.within(&self.threads, |context| inner.commit(context, op));
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        if self.threads.contains(thread) {
            let inner = &mut self.inner;
            context.within(&self.threads, |context| {
                inner.update(context, thread, event);
            });
        }
    }
}

/// See [`reserve`].
pub struct Reserve {
    sizes: Vec<usize>,
    /// One for each size, then the one for the rest.
    children: Vec<BoxGenerator>,
    /// Their threads, once known.
    sets: Option<Vec<ThreadSet>>,
}

/// The first so many threads for the first generator, the next so many for the second, all others for `rest`.
/// Counted among the threads that are allowed here, in ascending order. Done when all are.
pub fn reserve(
    parts: impl IntoIterator<Item = (usize, BoxGenerator)>,
    rest: BoxGenerator,
) -> Reserve {
    let (sizes, mut children): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    children.push(rest);
    Reserve {
        sizes,
        children,
        sets: None,
    }
}

impl Reserve {
    fn sets_of(&self, context: &Context<'_>) -> Vec<ThreadSet> {
        let (mut sets, rest) = split(context.threads, self.sizes.iter().copied());
        sets.push(rest);
        sets
    }

    fn settle(&mut self, context: &Context<'_>) -> (&mut [BoxGenerator], &[ThreadSet]) {
        if self.sets.is_none() {
            self.sets = Some(self.sets_of(context));
        }
        (&mut self.children, self.sets.as_deref().unwrap_or_default())
    }
}

impl Generator for Reserve {
    fn advance(&mut self, context: &Context<'_>) {
        let (children, sets) = self.settle(context);
        for (child, set) in children.iter_mut().zip(sets) {
            context.within(set, |context| child.advance(context));
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        let fresh;
        let sets = match &self.sets {
            Some(sets) => sets,
            None => {
                fresh = self.sets_of(context);
                &fresh
            }
        };
        let mut soonest = Soonest::new();
        for (at, (child, set)) in self.children.iter().zip(sets).enumerate() {
            soonest.take(at, context.within(set, |context| child.peek(context)));
            if soonest.is_due(context) {
                break;
            }
        }
        soonest.finish(context).1
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        let (children, sets) = self.settle(context);
        for (child, set) in children.iter_mut().zip(sets) {
            if set.contains(op.thread) {
                context.within(set, |context| child.commit(context, op));
            }
        }
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        let (children, sets) = self.settle(context);
        for (child, set) in children.iter_mut().zip(sets) {
            if set.contains(thread) {
                context.within(set, |context| child.update(context, thread, event));
            }
        }
    }
}

/// See [`each_thread`].
pub struct EachThread<F> {
    make: F,
    children: Vec<Option<(ThreadSet, BoxGenerator)>>,
}

/// A generator of its own for each thread that is allowed here; `make` is given the thread's number, and must give
/// equal generators for equal numbers. Done when all are. Asking costs time in the number of free threads.
pub fn each_thread<F>(make: F) -> EachThread<F>
where
    F: Fn(usize) -> BoxGenerator + Send,
{
    EachThread {
        make,
        children: Vec::new(),
    }
}

impl<F> EachThread<F>
where
    F: Fn(usize) -> BoxGenerator + Send,
{
    fn child(&mut self, thread: usize) -> &mut (ThreadSet, BoxGenerator) {
        if thread >= self.children.len() {
            self.children.resize_with(thread + 1, || None);
        }
        let make = &self.make;
        self.children[thread].get_or_insert_with(|| {
            let mut set = ThreadSet::default();
            set.insert(thread);
            (set, make(thread))
        })
    }

    fn ask(&self, context: &Context<'_>, thread: usize) -> Next {
        match self.children.get(thread) {
            Some(Some((set, child))) => context.within(set, |context| child.peek(context)),
            _ => {
                let mut set = ThreadSet::default();
                set.insert(thread);
                let child = (self.make)(thread);
                context.within(&set, |context| child.peek(context))
            }
        }
    }
}

impl<F> Generator for EachThread<F>
where
    F: Fn(usize) -> BoxGenerator + Send,
{
    fn advance(&mut self, context: &Context<'_>) {
        for thread in context.threads.iter() {
            let (set, child) = self.child(thread);
            context.within(set, |context| child.advance(context));
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        let mut soonest = Soonest::new();
        // The free ones first, from whose turn it is: mostly the first of them has something.
        let free = context.free.intersection(context.threads);
        let (early, late): (Vec<usize>, Vec<usize>) =
            free.iter().partition(|thread| *thread < context.turn);
        let busy = context
            .threads
            .iter()
            .filter(|thread| !free.contains(*thread));
        for thread in late.into_iter().chain(early).chain(busy) {
            soonest.take(thread, self.ask(context, thread));
            if soonest.is_due(context) {
                break;
            }
        }
        soonest.finish(context).1
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        let (set, child) = self.child(op.thread);
        context.within(set, |context| child.commit(context, op));
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        if !context.threads.contains(thread) {
            return;
        }
        let (set, child) = self.child(thread);
        context.within(set, |context| child.update(context, thread, event));
    }
}
