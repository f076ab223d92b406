//! From a history to one [`Problem`] a key.

use std::collections::HashMap;

use harness_core::{event::Process, history::Operation};
use serde_json::Value;

use super::{
    configs::FastMap,
    search::{Entry, Problem, Step},
    spec::{Call, ModelError, Placement, SequentialSpec},
};

/// An operation without its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub operation: &'a Operation,
    pub argument: &'a Value,
    pub result: &'a Value,
}

const NULL: Value = Value::Null;

/// Whether values carry keys, by their look.
pub(crate) fn looks_keyed(operations: &[&Operation]) -> bool {
    operations.iter().all(|operation| {
        let Some([_, value]) = operation.input.as_array().map(Vec::as_slice) else {
            return false;
        };
        match &*operation.f {
            "read" | "r" | "get" => value.is_null(),
            "cas" => value.as_array().is_some_and(|pair| pair.len() == 2),
            _ => true,
        }
    })
}

/// Operations by key, keys in the order of their first operation.
pub(crate) fn split<'a>(
    operations: &[&'a Operation],
    keyed: bool,
) -> Vec<(Option<&'a Value>, Vec<View<'a>>)> {
    if !keyed {
        let views = operations
            .iter()
            .map(|operation| View {
                operation,
                argument: &operation.input,
                result: &operation.output,
            })
            .collect();
        return vec![(None, views)];
    }
    let mut keys: HashMap<&Value, usize> = HashMap::new();
    let mut split: Vec<(Option<&Value>, Vec<View<'_>>)> = Vec::new();
    for operation in operations {
        let (key, argument) = match operation.input.as_array().map(Vec::as_slice) {
            Some([key, argument]) => (key, argument),
            _ => (&NULL, &operation.input),
        };
        let result = match operation.output.as_array().map(Vec::as_slice) {
            Some([other, result]) if other == key => result,
            _ => &operation.output,
        };
        let at = *keys.entry(key).or_insert_with(|| {
            split.push((Some(key), Vec::new()));
            split.len() - 1
        });
        split[at].1.push(View {
            operation,
            argument,
            result,
        });
    }
    split
}

/// Reads one key's operations by the model, and puts their beginnings and ends in order.
pub(crate) fn build<S: SequentialSpec>(
    spec: S,
    views: &[View<'_>],
) -> Result<Problem<S>, (u64, ModelError)> {
    let mut draft = Draft::new(spec, views.len());
    for view in views {
        let operation = view.operation;
        let call = Call {
            f: &operation.f,
            process: match operation.process {
                Process::Client(number) => number,
                Process::Nemesis => u64::MAX,
            },
            outcome: operation.outcome,
            argument: view.argument,
            result: view.result,
            error: operation.error.as_ref(),
        };
        draft
            .add(&call, operation.index, operation.completed_index)
            .map_err(|error| (operation.index, error))?;
    }
    Ok(draft.finish())
}

/// One key's operations on their way to a problem.
pub(crate) struct Draft<S: SequentialSpec> {
    spec: S,
    /// Where each began.
    begun: Vec<u64>,
    placed: Placed<S::Op>,
}

impl<S: SequentialSpec> Draft<S> {
    /// None so far, of about so many.
    pub fn new(spec: S, size: usize) -> Self {
        Self {
            spec,
            begun: Vec::with_capacity(size),
            placed: Vec::with_capacity(size),
        }
    }

    /// The next operation in the order of invocations; where it began, and where it ended, if that is known.
    pub fn add(&mut self, call: &Call<'_>, begin: u64, end: Option<u64>) -> Result<(), ModelError> {
        let at = self.begun.len();
        self.begun.push(begin);
        match self.spec.place(call)? {
            Placement::Required(op) => self.placed.push((at, op, end)),
            Placement::Optional(op) => self.placed.push((at, op, None)),
            Placement::Nothing => {}
        }
        Ok(())
    }

    /// All of them.
    pub fn finish(self) -> Problem<S> {
        assemble(self.spec, &self.begun, self.placed)
    }
}

fn assemble<S: SequentialSpec>(spec: S, begun: &[u64], placed: Placed<S::Op>) -> Problem<S> {
    let placed = without_useless(&spec, placed);
    let mut ids: FastMap<S::Op, u32> = FastMap::default();
    let mut classes = Vec::new();
    let mut entries: Vec<Entry> = Vec::with_capacity(placed.len());
    let mut order: Vec<(u64, Step)> = Vec::with_capacity(placed.len() * 2);
    for (at, op, end) in placed {
        let number = entries.len() as u32;
        let class = *ids.entry(op).or_insert_with_key(|op| {
            classes.push(op.clone());
            classes.len() as u32 - 1
        });
        let begin = begun[at];
        if let Some(end) = end {
            order.push((begin, Step::Call(number)));
            order.push((end, Step::Return(number)));
        } else {
            order.push((begin, Step::Pending(number)));
        }
        entries.push(Entry {
            operation: at,
            class,
            slot: 0,
        });
    }
    order.sort_unstable_by_key(|(index, _)| *index);
    let steps: Vec<Step> = order.into_iter().map(|(_, step)| step).collect();
    let width = give_slots(&mut entries, &steps);
    Problem {
        spec,
        classes,
        entries,
        steps,
        width,
    }
}

type Placed<Op> = Vec<(usize, Op, Option<u64>)>;

fn without_useless<S: SequentialSpec>(spec: &S, placed: Placed<S::Op>) -> Placed<S::Op> {
    let of = |required: bool| {
        placed
            .iter()
            .filter(move |(_, _, end)| end.is_some() == required)
            .map(|(_, op, _)| op)
            .collect::<Vec<_>>()
    };
    let optional = of(false);
    if optional.is_empty() {
        return placed;
    }
    let mut useful = spec.useful(&of(true), &optional).into_iter();
    placed
        .into_iter()
        .filter(|(_, _, end)| end.is_some() || useful.next().unwrap_or(true))
        .collect()
}

/// Gives each operation the lowest bit that is free while it is open.
fn give_slots(entries: &mut [Entry], steps: &[Step]) -> usize {
    let mut free: std::collections::BTreeSet<usize> = std::collections::BTreeSet::new();
    let mut width = 0;
    for step in steps {
        match *step {
            Step::Call(entry) => {
                let slot = free.pop_first().unwrap_or(width);
                width = width.max(slot + 1);
                entries[entry as usize].slot = slot;
            }
            Step::Return(entry) => {
                free.insert(entries[entry as usize].slot);
            }
            Step::Pending(_) => {}
        }
    }
    width
}
