//! Transactions out of a history: keys interned, steps in one array.
//!
//! A transaction is an operation `txn` with the value `[["append",1,2],["r",1,[2]]]` (lists) or `[["w",1,2],["r",1,2]]`
//! (registers). What a read returned is known of an `ok` transaction only; reads of others are left out here, so that nothing
//! later can mistake the null of a question for an answer.

use std::collections::{HashMap, hash_map::Entry};

use harness_core::history::{History, Operation, Outcome};
use serde_json::Value;

use super::graph::{Edges, PASS, PROCESS, REALTIME, node};

/// No such place.
pub(super) const NONE: u32 = u32::MAX;

/// What transactions work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Lists: `append`, and reads of a whole list.
    Lists,
    /// Registers: `w`, and reads of a value.
    Registers,
}

/// One step of a transaction.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub key: u32,
    /// Whether it writes (or appends); otherwise it reads.
    pub write: bool,
    /// What it wrote or appended, or what it read.
    pub value: &'a Value,
}

/// A value that can be sorted and compared quickly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Element {
    Number(i64),
    /// Anything else, by its place among the texts.
    Text(u32),
}

/// Texts of elements and keys that are no whole numbers.
#[derive(Default)]
pub(super) struct Texts(HashMap<String, u32>);

impl Texts {
    fn intern(&mut self, value: &Value) -> Element {
        if let Some(number) = value.as_i64() {
            return Element::Number(number);
        }
        let next = node(self.0.len());
        Element::Text(*self.0.entry(value.to_string()).or_insert(next))
    }

    /// The element, if it was ever written.
    pub fn find(&self, value: &Value) -> Option<Element> {
        match value.as_i64() {
            Some(number) => Some(Element::Number(number)),
            None => self.0.get(&value.to_string()).copied().map(Element::Text),
        }
    }
}

/// Something that a transaction wrote to a key.
#[derive(Clone, Copy)]
pub(super) struct Write {
    pub key: u32,
    pub element: Element,
    pub txn: u32,
    /// Its place among all steps.
    pub step: u32,
    /// Whether the transaction wrote to the key again.
    pub overwritten: bool,
}

/// All transactions of a history.
pub(super) struct Transactions<'a> {
    /// By number, in order of invocation.
    pub operations: Vec<&'a Operation>,
    /// Where each one's steps begin.
    start: Vec<u32>,
    steps: Vec<Step<'a>>,
    /// Keys by number.
    pub keys: Vec<&'a Value>,
    /// All writes, by key and element.
    pub writes: Vec<Write>,
    /// Where each key's writes begin.
    writes_start: Vec<u32>,
    pub texts: Texts,
    /// Transactions that are none: what is wrong with them.
    pub odd: Vec<(u64, String)>,
}

impl<'a> Transactions<'a> {
    /// Takes the operations `txn` of a history.
    pub fn read(history: &'a History, shape: Shape) -> Self {
        let mut all = Self {
            operations: Vec::new(),
            start: vec![0],
            steps: Vec::new(),
            keys: Vec::new(),
            writes: Vec::new(),
            writes_start: Vec::new(),
            texts: Texts::default(),
            odd: Vec::new(),
        };
        let mut keys = HashMap::new();
        for operation in &history.operations {
            if &*operation.f != "txn" {
                continue;
            }
            all.operations.push(operation);
            if let Err(detail) = all.take(operation, shape, &mut keys) {
                all.odd.push((operation.index, detail));
            }
            all.start.push(node(all.steps.len()));
        }
        all.writes
            .sort_unstable_by_key(|write| (write.key, write.element, write.step));
        all.writes_start = vec![0; all.keys.len() + 1];
        for write in &all.writes {
            all.writes_start[write.key as usize + 1] += 1;
        }
        for key in 0..all.keys.len() {
            all.writes_start[key + 1] += all.writes_start[key];
        }
        all
    }

    fn take(
        &mut self,
        operation: &'a Operation,
        shape: Shape,
        keys: &mut HashMap<Element, u32>,
    ) -> Result<(), String> {
        let answered = operation.outcome == Outcome::Ok && operation.output.is_array();
        let value = if answered {
            &operation.output
        } else {
            &operation.input
        };
        let steps = value.as_array().ok_or("its value is no list of steps")?;
        let writes = match shape {
            Shape::Lists => "append",
            Shape::Registers => "w",
        };
        let txn = node(self.operations.len() - 1);
        let begin = self.writes.len();
        for step in steps {
            let [Value::String(name), key, value] = step.as_array().map_or(&[][..], Vec::as_slice)
            else {
                return Err(format!("{} is no step", crate::words::show(step)));
            };
            let write = name == writes;
            let fits = match (write, shape) {
                (true, _) => !value.is_null(),
                (false, Shape::Lists) => name == "r" && (value.is_null() || value.is_array()),
                (false, Shape::Registers) => name == "r",
            };
            if !fits {
                return Err(format!("{} is no step", crate::words::show(step)));
            }
            if !write && !answered {
                continue;
            }
            let key = match keys.entry(self.texts.intern(key)) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => {
                    self.keys.push(key);
                    *new.insert(node(self.keys.len() - 1))
                }
            };
            if write {
                for earlier in &mut self.writes[begin..] {
                    earlier.overwritten |= earlier.key == key;
                }
                self.writes.push(Write {
                    key,
                    element: self.texts.intern(value),
                    txn,
                    step: node(self.steps.len()),
                    overwritten: false,
                });
            }
            self.steps.push(Step { key, write, value });
        }
        Ok(())
    }

    /// Number of transactions.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// All steps.
    pub fn steps(&self) -> &[Step<'a>] {
        &self.steps
    }

    /// Places of a transaction's steps.
    pub fn places(&self, txn: u32) -> std::ops::Range<usize> {
        self.start[txn as usize] as usize..self.start[txn as usize + 1] as usize
    }

    /// A transaction's outcome.
    pub fn outcome(&self, txn: u32) -> Outcome {
        self.operations[txn as usize].outcome
    }

    /// Transactions by number, with the places of their steps.
    pub fn each(&self) -> impl Iterator<Item = (u32, std::ops::Range<usize>)> + '_ {
        (0..node(self.len())).map(|txn| (txn, self.places(txn)))
    }

    /// Places of a key's writes.
    pub fn writes_of(&self, key: u32) -> std::ops::Range<usize> {
        self.writes_start[key as usize] as usize..self.writes_start[key as usize + 1] as usize
    }

    /// The write of that value to that key.
    pub fn writer(&self, key: u32, value: &Value) -> Option<u32> {
        let element = self.texts.find(value)?;
        let range = self.writes_of(key);
        let found = self.writes[range.clone()]
            .binary_search_by_key(&element, |write| write.element)
            .ok()?;
        Some(node(range.start + found))
    }

    /// Pairs of writes of one value to one key.
    pub fn repeated(&self) -> impl Iterator<Item = (&Write, &Write)> {
        self.writes
            .windows(2)
            .map(|pair| (&pair[0], &pair[1]))
            .filter(|(a, b)| a.key == b.key && a.element == b.element)
    }

    /// Edges for what one process did before, among transactions that took effect.
    ///
    /// One whose outcome is not known may take effect at any time later, so nothing comes after it.
    pub fn process_edges(&self, took_effect: &[bool], edges: &mut Edges) {
        let mut last = HashMap::new();
        for (txn, _) in self.each() {
            if !took_effect[txn as usize] {
                continue;
            }
            let process = self.operations[txn as usize].process;
            if let Some(before) = last.get(&process) {
                edges.add(*before, txn, PROCESS);
            }
            if self.outcome(txn) == Outcome::Ok {
                last.insert(process, txn);
            }
        }
    }

    /// Edges for what had ended before, through barriers: at most three for a transaction, and exact.
    ///
    /// ```text
    /// A ├──┤       ├─ C        A → barrier 1 → C
    ///    B ├──────────┤ ├ D    B → barrier 2 → D, barrier 1 → barrier 2
    /// ```
    ///
    /// A barrier stands before an invocation that completions precede; completions without an invocation between them share one.
    pub fn realtime_edges(&self, took_effect: &[bool], edges: &mut Edges) {
        let mut ended: Vec<(u64, u32)> = self
            .each()
            .filter(|(txn, _)| self.outcome(*txn) == Outcome::Ok && took_effect[*txn as usize])
            .filter_map(|(txn, _)| Some((self.operations[txn as usize].completed_index?, txn)))
            .collect();
        ended.sort_unstable();
        let mut ended = ended.into_iter().peekable();
        let mut barrier = None;
        for (txn, _) in self.each() {
            if !took_effect[txn as usize] {
                continue;
            }
            let invoked = self.operations[txn as usize].index;
            let mut fresh = None;
            while let Some((_, before)) = ended.next_if(|(index, _)| *index < invoked) {
                let at = *fresh.get_or_insert_with(|| edges.helper());
                edges.add(before, at, REALTIME);
            }
            if let Some(at) = fresh {
                if let Some(previous) = barrier {
                    edges.add(previous, at, REALTIME | PASS);
                }
                barrier = fresh;
            }
            if let Some(at) = barrier {
                edges.add(at, txn, REALTIME | PASS);
            }
        }
    }
}
