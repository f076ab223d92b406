//! Which of several: whichever is ready first, or by weighted chance.

use rand::Rng;

use super::{BoxGenerator, Context, Generator, Next, Op};
use crate::{event::Event, seed::Stream};

/// Folds the answers of several children to the one that comes first.
///
/// A child that may wake up before another's operation is due makes the answer a wait until then: it might have
/// something sooner.
pub(super) struct Soonest {
    op: Option<(usize, Op)>,
    wake_ns: Option<u64>,
    waiting: bool,
}

impl Soonest {
    pub(super) fn new() -> Self {
        Self {
            op: None,
            wake_ns: None,
            waiting: false,
        }
    }

    /// Takes a child's answer. Of two operations at the same time the first stays.
    pub(super) fn take(&mut self, child: usize, next: Next) {
        match next {
            Next::Op(op) => {
                if self
                    .op
                    .as_ref()
                    .is_none_or(|(_, best)| op.time_ns < best.time_ns)
                {
                    self.op = Some((child, op));
                }
            }
            Next::Pending { until_ns } => {
                self.waiting = true;
                self.wake_ns = match (self.wake_ns, until_ns) {
                    (Some(known_ns), Some(until_ns)) => Some(known_ns.min(until_ns)),
                    (known_ns, until_ns) => known_ns.or(until_ns),
                };
            }
            Next::Done => {}
        }
    }

    /// Whether nothing can come sooner any more.
    pub(super) fn is_due(&self, context: &Context<'_>) -> bool {
        self.op
            .as_ref()
            .is_some_and(|(_, op)| op.time_ns <= context.time_ns)
    }

    /// The answer, and whose operation it is.
    pub(super) fn finish(self, context: &Context<'_>) -> (Option<usize>, Next) {
        match (self.op, self.wake_ns) {
            (Some((_, op)), Some(wake_ns))
                if op.time_ns > context.time_ns && wake_ns < op.time_ns =>
            {
                let until_ns = Some(wake_ns);
                (None, Next::Pending { until_ns })
            }
            (Some((child, op)), _) => (Some(child), Next::Op(op)),
            (None, until_ns) if self.waiting => (None, Next::Pending { until_ns }),
            (None, _) => (None, Next::Done),
        }
    }
}

/// See [`any`].
pub struct Any {
    children: Vec<BoxGenerator>,
    count: usize,
}

/// Whichever is ready first; those that are ready at the same time take turns. Done when all are.
pub fn any(children: impl IntoIterator<Item = BoxGenerator>) -> Any {
    Any {
        children: children.into_iter().collect(),
        count: 0,
    }
}

impl Any {
    fn ask(&self, context: &Context<'_>) -> (Option<usize>, Next) {
        let mut soonest = Soonest::new();
        for step in 0..self.children.len() {
            let child = (self.count + step) % self.children.len();
            soonest.take(child, self.children[child].peek(context));
            if soonest.is_due(context) {
                break;
            }
        }
        soonest.finish(context)
    }
}

impl Generator for Any {
    fn advance(&mut self, context: &Context<'_>) {
        for child in &mut self.children {
            child.advance(context);
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        self.ask(context).1
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        if let (Some(child), _) = self.ask(context) {
            self.children[child].commit(context, op);
            self.count = child + 1;
        }
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        for child in &mut self.children {
            child.update(context, thread, event);
        }
    }
}

/// See [`mix`].
pub struct Mix {
    stream: Stream,
    children: Vec<(u32, BoxGenerator)>,
    count: u64,
}

/// One of several by weighted chance for each operation. One that is done leaves its share to the others; one that
/// waits gives way this time, so that it holds nobody up. One of weight 0 is never asked. Done when all are.
pub fn mix(stream: Stream, children: impl IntoIterator<Item = (u32, BoxGenerator)>) -> Mix {
    Mix {
        stream,
        children: children
            .into_iter()
            .filter(|(weight, _)| *weight > 0)
            .collect(),
        count: 0,
    }
}

impl Mix {
    fn ask(&self, context: &Context<'_>) -> (Option<usize>, Next) {
        let mut rng = self.stream.draw(self.count);
        let mut soonest = Soonest::new();
        let mut left: Vec<usize> = (0..self.children.len()).collect();
        while !left.is_empty() {
            let total: u64 = left.iter().map(|at| u64::from(self.children[*at].0)).sum();
            let mut drawn = rng.random_range(0..total);
            let place = left.iter().position(|at| {
                let weight = u64::from(self.children[*at].0);
                let hit = drawn < weight;
                drawn = drawn.saturating_sub(weight);
                hit
            });
            let child = left.swap_remove(place.unwrap_or(0));
            let next = self.children[child].1.peek(context);
            let found = matches!(next, Next::Op(_));
            soonest.take(child, next);
            if found {
                break;
            }
        }
        soonest.finish(context)
    }
}

impl Generator for Mix {
    fn advance(&mut self, context: &Context<'_>) {
        for (_, child) in &mut self.children {
            child.advance(context);
        }
    }

    fn peek(&self, context: &Context<'_>) -> Next {
        self.ask(context).1
    }

    fn commit(&mut self, context: &Context<'_>, op: &Op) {
        if let (Some(child), _) = self.ask(context) {
            self.children[child].1.commit(context, op);
        }
        self.count += 1;
    }

    fn update(&mut self, context: &Context<'_>, thread: usize, event: &Event) {
        for (_, child) in &mut self.children {
            child.update(context, thread, event);
        }
    }
}
