//! When: spaced out, for so long, not before, by turns of so long.
//!
//! Times are durations from when a generator's turn came, which [`Generator::advance`] tells it; asked before
//! that, it answers as if its turn came now.

use std::time::Duration;

use rand::Rng;

use super::{BoxGenerator, Context, Generator, Next, Op};
use crate::{event::Event, seed::Stream};

/// How far a spaced generator may lag behind its plan and still make up for it, in nanoseconds. Timers are coarse
/// (a millisecond) and must not lower the rate; but after a stall of seconds a burst would be another workload.
pub const CATCH_UP_NS: u64 = 100_000_000;

/// Nanoseconds of a duration; 584 years at most.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Answers no later than `end_ns`: an operation that would come then or later becomes a wait until then.
fn before(next: Next, end_ns: u64) -> Next {
    match next {
        Next::Op(op) if op.time_ns < end_ns => Next::Op(op),
        Next::Pending {
            until_ns: Some(until_ns),
        } if until_ns < end_ns => Next::Pending {
            until_ns: Some(until_ns),
        },
        Next::Op(_) | Next::Pending { .. } => Next::Pending {
            until_ns: Some(end_ns),
        },
        Next::Done => Next::Done,
    }
}

/// See [`time_limit`](super::Combine::time_limit).
pub struct TimeLimit<G> {
    inner: G,
    limit_ns: u64,
    start_ns: Option<u64>,
}

impl<G> TimeLimit<G> {
    pub(super) fn new(inner: G, limit: Duration) -> Self {
        Self {
            inner,
            limit_ns: nanos(limit),
            start_ns: None,
        }
    }

    fn end_ns(&self, context: &Context<'_>) -> u64 {
        let start_ns = self.start_ns.unwrap_or(context.time_ns);
        start_ns.saturating_add(self.limit_ns)
    }
}

impl<G: Generator> Generator for TimeLimit<G> {
    fn advance(&mut self, context: &Context<'_>) {
        self.start_ns.get_or_insert(context.time_ns);
        if context.time_ns < self.end_ns(context) {
            self.inner.advance(context);
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        let end_ns = self.end_ns(context);
        if context.time_ns >= end_ns {
            return Next::Done;
        }
        before(self.inner.peek(context), end_ns)
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        self.start_ns.get_or_insert(context.time_ns);
        self.inner.commit(context, op);
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        self.inner.update(context, thread, event);
    }
}

/// How a [`Spaced`] generator's gaps come about.
enum Gap {
    /// Always this long after the one before, never sooner.
    Delay,
    /// This long, and made up for.
    Even,
    /// This long on average, exponentially distributed: arrivals that know nothing of each other.
    Exponential(Stream),
}

/// See [`delay`](super::Combine::delay), [`stagger`](super::Combine::stagger) and [`rate`](super::Combine::rate).
pub struct Spaced<G> {
    inner: G,
    gap: Gap,
    mean_ns: u64,
    count: u64,
    next_ns: u64,
}

impl<G> Spaced<G> {
    fn new(inner: G, gap: Gap, mean_ns: u64) -> Self {
        Self {
            inner,
            gap,
            mean_ns,
            count: 0,
            next_ns: 0,
        }
    }

    pub(super) fn delay(inner: G, interval: Duration) -> Self {
        Self::new(inner, Gap::Delay, nanos(interval))
    }

    pub(super) fn stagger(inner: G, mean: Duration, stream: Stream) -> Self {
        Self::new(inner, Gap::Exponential(stream), nanos(mean))
    }

    pub(super) fn rate(inner: G, per_second: f64) -> Self {
        let interval = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
        Self::new(inner, Gap::Even, nanos(interval))
    }

    fn gap_ns(&self) -> u64 {
        match &self.gap {
            Gap::Delay | Gap::Even => self.mean_ns,
            Gap::Exponential(stream) => {
                let uniform: f64 = stream.draw(self.count).random();
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    clippy::cast_precision_loss,
                    reason = "a positive number of nanoseconds; the cast saturates"
                )]
                let gap_ns = (-(1.0 - uniform).ln() * self.mean_ns as f64) as u64;
                gap_ns
            }
        }
    }
}

impl<G: Generator> Generator for Spaced<G> {
    fn advance(&mut self, context: &Context<'_>) {
        self.inner.advance(context);
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        match self.inner.peek(context) {
            Next::Op(mut op) => {
                op.time_ns = op.time_ns.max(self.next_ns);
                Next::Op(op)
            }
            other => other,
        }
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        let base_ns = match self.gap {
            Gap::Delay => op.time_ns,
            Gap::Even | Gap::Exponential(_) => self
                .next_ns
                .max(context.time_ns.saturating_sub(CATCH_UP_NS))
                .min(op.time_ns),
        };
        // The first one sets the plan's origin.
        let base_ns = if self.count == 0 { op.time_ns } else { base_ns };
        self.next_ns = base_ns.saturating_add(self.gap_ns());
        self.count += 1;
        self.inner.commit(context, op);
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        self.inner.update(context, thread, event);
    }
}

/// See [`sleep`].
pub struct Sleep {
    duration_ns: u64,
    start_ns: Option<u64>,
}

/// Nothing for so long, then done. For the gaps of a sequence.
#[must_use]
pub fn sleep(duration: Duration) -> Sleep {
    Sleep {
        duration_ns: nanos(duration),
        start_ns: None,
    }
}

impl Generator for Sleep {
    fn advance(&mut self, context: &Context<'_>) {
        self.start_ns.get_or_insert(context.time_ns);
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        let start_ns = self.start_ns.unwrap_or(context.time_ns);
        let end_ns = start_ns.saturating_add(self.duration_ns);
        if context.time_ns >= end_ns {
            return Next::Done;
        }
        Next::Pending {
            until_ns: Some(end_ns),
        }
    }

    fn commit(&mut self, _context: &Context<'_>, _op: &Op) {}
}

/// See [`cycle_times`].
pub struct CycleTimes {
    spans: Vec<(u64, BoxGenerator)>,
    total_ns: u64,
    start_ns: Option<u64>,
}

/// Each generator for its time, in turn, again from the first after the last; a generator goes on where it was.
/// Done when all are, or if all times are zero.
pub fn cycle_times(spans: impl IntoIterator<Item = (Duration, BoxGenerator)>) -> CycleTimes {
    let spans: Vec<_> = spans
        .into_iter()
        .map(|(duration, generator)| (nanos(duration), generator))
        .collect();
    let total_ns = spans
        .iter()
        .fold(0_u64, |total, (span_ns, _)| total.saturating_add(*span_ns));
    CycleTimes {
        spans,
        total_ns,
        start_ns: None,
    }
}

impl CycleTimes {
    /// Whose turn it is, and until when.
    fn turn(&self, context: &Context<'_>) -> Option<(usize, u64)> {
        if self.total_ns == 0 {
            return None;
        }
        let start_ns = self.start_ns.unwrap_or(context.time_ns);
        let mut into_ns = context.time_ns.saturating_sub(start_ns) % self.total_ns;
        for (at, (span_ns, _)) in self.spans.iter().enumerate() {
            if into_ns < *span_ns {
                let left_ns = span_ns - into_ns;
                return Some((at, context.time_ns.saturating_add(left_ns)));
            }
            into_ns -= span_ns;
        }
        None
    }
}

impl Generator for CycleTimes {
    fn advance(&mut self, context: &Context<'_>) {
        self.start_ns.get_or_insert(context.time_ns);
        if let Some((at, _)) = self.turn(context) {
            self.spans[at].1.advance(context);
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        let Some((at, end_ns)) = self.turn(context) else {
            return Next::Done;
        };
        match self.spans[at].1.peek(context) {
            Next::Done => {
                let all_done = self
                    .spans
                    .iter()
                    .all(|(span_ns, child)| *span_ns == 0 || child.peek(context) == Next::Done);
                if all_done {
                    Next::Done
                } else {
                    Next::Pending {
                        until_ns: Some(end_ns),
                    }
                }
            }
            next => before(next, end_ns),
        }
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        if let Some((at, _)) = self.turn(context) {
            self.spans[at].1.commit(context, op);
        }
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        for (_, child) in &mut self.spans {
            child.update(context, thread, event);
        }
    }
}
