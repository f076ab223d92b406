//! What transactions did, as the history says it: lists of steps, and nothing inferred.

use harness_core::{
    event::Process,
    history::{History, Outcome},
    verdict::Witness,
};
use serde_json::Value;

/// What steps work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Lists,
    Registers,
}

/// `["append", 1, 2]`, `["r", 1, [2]]`.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub write: bool,
    pub key: Value,
    pub value: Value,
}

/// A transaction.
#[derive(Clone, Debug)]
pub(super) struct Txn {
    pub index: u64,
    pub process: Process,
    pub outcome: Outcome,
    /// Index of its end, where it ended `ok`.
    pub ended: Option<u64>,
    /// Its steps: with what they read if it ended `ok`, else only those that write.
    pub steps: Vec<Step>,
}

impl Txn {
    /// What it wrote to a key, in order.
    pub fn writes<'t>(&'t self, key: &'t Value) -> impl DoubleEndedIterator<Item = &'t Value> + 't {
        let of_key = self
            .steps
            .iter()
            .filter(move |step| step.write && step.key == *key);
        of_key.map(|step| &step.value)
    }

    /// What it read of a key before it wrote there.
    pub fn reads_first<'t>(&'t self, key: &'t Value) -> impl Iterator<Item = &'t Value> + 't {
        let mut of_key = self.steps.iter().filter(move |step| step.key == *key);
        std::iter::from_fn(move || of_key.next().filter(|step| !step.write)).map(|step| &step.value)
    }

    /// Keys of its steps, each once.
    pub fn keys(&self) -> Vec<&Value> {
        let mut keys: Vec<&Value> = Vec::new();
        for step in &self.steps {
            if !keys.contains(&&step.key) {
                keys.push(&step.key);
            }
        }
        keys
    }
}

/// All transactions of a history.
pub(super) struct Facts {
    pub shape: Shape,
    pub txns: Vec<Txn>,
}

impl Facts {
    pub fn new(history: &History, shape: Shape) -> Self {
        let mut txns = Vec::new();
        for operation in history.operations.iter().filter(|known| &*known.f == "txn") {
            let answered = operation.outcome == Outcome::Ok && operation.output.is_array();
            let value = if answered {
                &operation.output
            } else {
                &operation.input
            };
            let steps = value.as_array().into_iter().flatten();
            let steps = steps.map(|step| Step {
                write: step[0] != "r",
                key: step[1].clone(),
                value: step[2].clone(),
            });
            txns.push(Txn {
                index: operation.index,
                process: operation.process,
                outcome: operation.outcome,
                ended: operation
                    .completed_index
                    .filter(|_| operation.outcome == Outcome::Ok),
                steps: steps.filter(|step| step.write || answered).collect(),
            });
        }
        Self { shape, txns }
    }

    /// The transaction of an operation.
    pub fn txn(&self, index: u64) -> Result<&Txn, String> {
        self.txns
            .iter()
            .find(|txn| txn.index == index)
            .ok_or_else(|| format!("operation {index} is no transaction"))
    }

    /// Transactions that wrote a value to a key.
    pub fn writers(&self, key: &Value, value: &Value) -> Vec<&Txn> {
        let wrote = |txn: &&Txn| txn.writes(key).any(|written| written == value);
        self.txns.iter().filter(wrote).collect()
    }

    /// Whether it is known to have taken effect: it ended `ok`, or somebody saw its work.
    pub fn took_effect(&self, txn: &Txn) -> bool {
        let seen = |step: &Step| {
            self.reads().any(|(_, read)| {
                read.key == step.key
                    && match self.shape {
                        Shape::Lists => elements(&read.value).contains(&step.value),
                        Shape::Registers => read.value == step.value,
                    }
            })
        };
        match txn.outcome {
            Outcome::Ok => true,
            Outcome::Fail => false,
            Outcome::Info => txn.steps.iter().any(seen),
        }
    }

    /// All reads, each with its transaction.
    pub fn reads(&self) -> impl Iterator<Item = (&Txn, &Step)> {
        let of = |txn| move |step| (txn, step);
        self.txns
            .iter()
            .flat_map(move |txn| txn.steps.iter().map(of(txn)))
            .filter(|(_, step)| !step.write)
    }

    /// A longest list that was read of a key.
    pub fn longest(&self, key: &Value) -> &[Value] {
        let reads = self.reads().filter(|(_, read)| read.key == *key);
        let lists = reads.map(|(_, read)| elements(&read.value));
        lists.fold(&[], |best, next| match next.len() > best.len() {
            true => next,
            false => best,
        })
    }
}

/// The elements of a list that was read.
pub(super) fn elements(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Whether a witness shows edges; they must make a circle then.
pub(super) fn is_closed(witness: &Witness) -> Result<bool, String> {
    let next = witness.edges.iter().cycle().skip(1);
    match witness
        .edges
        .iter()
        .zip(next)
        .find(|(edge, next)| edge.to != next.from)
    {
        Some((edge, _)) => Err(format!("no edge goes on from operation {}", edge.to)),
        None => Ok(!witness.edges.is_empty()),
    }
}
