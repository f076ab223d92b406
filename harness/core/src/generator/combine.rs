//! The combinators as methods, so that a generator reads from the inside out.

use std::time::Duration;

use super::{
    BoxGenerator, Generator, Op, OpSpec, ThreadSet,
    amount::{Limit, ProcessLimit, UntilOk},
    order::{Sequence, Synchronize, sequence},
    rewrite::{Filter, Map},
    threads::OnThreads,
    time::{Spaced, TimeLimit},
};
use crate::seed::Stream;

/// Combinators on every generator.
pub trait Combine: Generator + Sized + 'static {
    /// As a [`BoxGenerator`].
    fn boxed(self) -> BoxGenerator {
        Box::new(self)
    }

    /// At most so many operations.
    fn limit(self, count: u64) -> Limit<Self> {
        Limit::new(self, count)
    }

    /// One operation.
    fn once(self) -> Limit<Self> {
        self.limit(1)
    }

    /// For so long from when its turn came. What is open then may still complete.
    fn time_limit(self, limit: Duration) -> TimeLimit<Self> {
        TimeLimit::new(self, limit)
    }

    /// At least so long between two operations.
    fn delay(self, interval: Duration) -> Spaced<Self> {
        Spaced::delay(self, interval)
    }

    /// So long between two operations on average, exponentially distributed. Lag of up to
    /// [`CATCH_UP_NS`](super::time::CATCH_UP_NS) is made up for.
    fn stagger(self, mean: Duration, stream: Stream) -> Spaced<Self> {
        Spaced::stagger(self, mean, stream)
    }

    /// So many operations a second, evenly spaced. Lag of up to [`CATCH_UP_NS`](super::time::CATCH_UP_NS) is made
    /// up for. A rate that is not positive means one operation and no more.
    fn rate(self, per_second: f64) -> Spaced<Self> {
        Spaced::rate(self, per_second)
    }

    /// Then that one. Does not wait for open operations; see [`phases`](super::phases).
    fn then(self, next: impl Generator + 'static) -> Sequence {
        sequence([self.boxed(), next.boxed()])
    }

    /// Begins when no operation is open on the threads that it may use.
    fn synchronize(self) -> Synchronize<Self> {
        Synchronize::new(self)
    }

    /// Only on these threads.
    fn on_threads(self, threads: ThreadSet) -> OnThreads<Self> {
        OnThreads::new(self, threads)
    }

    /// Until one of its operations ends ok.
    fn until_ok(self) -> UntilOk<Self> {
        UntilOk::new(self)
    }

    /// Until more than so many processes would have had a chance at it, used or not. Bounds how far unknown
    /// outcomes can pile up.
    fn process_limit(self, limit: usize) -> ProcessLimit<Self> {
        ProcessLimit::new(self, limit)
    }

    /// Each operation rewritten. `change` must be a function of its argument alone.
    fn map<F: Fn(OpSpec) -> OpSpec + Send>(self, change: F) -> Map<Self, F> {
        Map::new(self, change)
    }

    /// Only operations that `keep` accepts, by thread, `f` and value (not by time); others are passed over.
    fn filter<F: Fn(&Op) -> bool + Send>(self, keep: F) -> Filter<Self, F> {
        Filter::new(self, keep)
    }
}

impl<G: Generator + Sized + 'static> Combine for G {}
