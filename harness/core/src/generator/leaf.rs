//! Where operations come from: a function of chance and number, a list, the same one again and again.
//!
//! Law: the n-th operation of [`from_fn`] depends on the stream, on n and on the context only, so that a seed
//! repeats what is asked whoever else draws.

use std::sync::Arc;

use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::{Context, Generator, Next, Op};
use crate::seed::Stream;

/// What an operation is, without when and where.
#[derive(Clone, Debug, PartialEq)]
pub struct OpSpec {
    /// What kind.
    pub f: Arc<str>,
    /// Its arguments.
    pub value: Value,
}

impl OpSpec {
    /// An operation of that kind with these arguments; `()` is `null`. A value that JSON cannot hold becomes `null`.
    pub fn new(f: impl Into<Arc<str>>, value: impl serde::Serialize) -> Self {
        Self {
            f: f.into(),
            value: serde_json::to_value(value).unwrap_or(Value::Null),
        }
    }

    /// Now, on a free thread; pending if none is free.
    #[must_use]
    pub fn now(self, context: &Context<'_>) -> Next {
        match context.free_thread() {
            None => Next::Pending { until_ns: None },
            Some(thread) => Next::Op(Op {
                time_ns: context.time_ns,
                thread,
                f: self.f,
                value: self.value,
            }),
        }
    }

    /// This operation, once.
    #[must_use]
    pub fn once(self) -> Operations {
        operations([self])
    }
}

/// See [`from_fn`].
pub struct FromFn<F> {
    stream: Stream,
    count: u64,
    make: F,
}

/// Operations without end: `make` is given random numbers for the n-th draw, n from 0, and the context.
///
/// It must be a function of these alone: it is called for every asking, also for those that lead to nothing.
pub fn from_fn<F>(stream: Stream, make: F) -> FromFn<F>
where
    F: Fn(&mut ChaCha8Rng, u64, &Context<'_>) -> OpSpec + Send,
{
    FromFn {
        stream,
        count: 0,
        make,
    }
}

impl<F> Generator for FromFn<F>
where
    F: Fn(&mut ChaCha8Rng, u64, &Context<'_>) -> OpSpec + Send,
{
    fn peek(&self, context: &Context<'_>) -> Next {
        // Looked up first: making an operation costs more than knowing that nobody could do it.
        if context.free_thread().is_none() {
            return Next::Pending { until_ns: None };
        }
        (self.make)(&mut self.stream.draw(self.count), self.count, context).now(context)
    }

    fn commit(&mut self, _context: &Context<'_>, _op: &Op) {
        self.count += 1;
    }
}

/// See [`operations`].
pub struct Operations {
    specs: Vec<OpSpec>,
    at: usize,
}

/// These operations in this order, each once.
pub fn operations(specs: impl IntoIterator<Item = OpSpec>) -> Operations {
    Operations {
        specs: specs.into_iter().collect(),
        at: 0,
    }
}

/// No operation at all.
#[must_use]
pub fn nothing() -> Operations {
    operations([])
}

impl Generator for Operations {
    fn peek(&self, context: &Context<'_>) -> Next {
        match self.specs.get(self.at) {
            None => Next::Done,
            Some(spec) => spec.clone().now(context),
        }
    }

    fn commit(&mut self, _context: &Context<'_>, _op: &Op) {
        self.at += 1;
    }
}

/// See [`repeat`].
pub struct Repeat {
    spec: OpSpec,
}

/// The same operation again and again, without end.
#[must_use]
pub fn repeat(spec: OpSpec) -> Repeat {
    Repeat { spec }
}

impl Generator for Repeat {
    fn peek(&self, context: &Context<'_>) -> Next {
        self.spec.clone().now(context)
    }

    fn commit(&mut self, _context: &Context<'_>, _op: &Op) {}
}
