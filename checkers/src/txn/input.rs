//! Transactions in columns: a few words each, however large their reads.
//!
//! A transaction is an operation `txn` with the value `[["append",1,2],["r",1,[2]]]` (lists) or `[["w",1,2],["r",1,2]]`
//! (registers). What a read returned is known of an `ok` transaction only; reads of others are left out here, so that nothing
//! later can mistake the null of a question for an answer. [`super::take`] reads them, [`super::builder`] puts them here.

use std::{ops::Range, sync::Arc};

use harness_core::{
    event::Process,
    history::{Operation, Outcome},
};
use serde_json::Value;

use super::{
    atoms::{Atom, Atoms, QuickMap, mixed},
    graph::{Edges, PASS, PROCESS, REALTIME, node},
};

/// No such place.
pub(super) const NONE: u32 = u32::MAX;
/// Marks the key of a step that writes.
pub(super) const WRITE_BIT: u32 = 1 << 31;

/// What transactions work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Lists: `append`, and reads of a whole list.
    Lists,
    /// Registers: `w`, and reads of a value.
    Registers,
}

/// One step of a transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub key: u32,
    /// Whether it writes (or appends); otherwise it reads.
    pub write: bool,
    what: u64,
}

impl Step {
    /// What it wrote or appended, or what it read of a register.
    pub fn atom(&self) -> Atom {
        Atom::of_word(self.what)
    }

    /// How many elements it read of a list.
    pub fn length(&self) -> usize {
        match self.what == Atom::NULL.word() {
            true => 0,
            false => (self.what & u64::from(u32::MAX)) as usize,
        }
    }

    /// The chain that begins with what it read of a list, if that was a list.
    pub fn chain(&self) -> Option<usize> {
        (self.what != Atom::NULL.word()).then_some((self.what >> 32) as usize)
    }
}

/// Something that a transaction wrote to a key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Write {
    pub key: u32,
    pub element: Atom,
    pub txn: u32,
    /// Its place among all steps.
    pub step: u32,
    /// Whether the transaction wrote to the key again.
    pub overwritten: bool,
}

impl Default for Write {
    fn default() -> Self {
        Self {
            key: NONE,
            element: Atom::NULL,
            txn: NONE,
            step: NONE,
            overwritten: false,
        }
    }
}

/// All transactions of a history. By number, in order of invocation:
pub(super) struct Transactions {
    /// Index of the invocation.
    pub index: Vec<u64>,
    /// Index of the completion, or the largest number.
    pub completed_index: Vec<u64>,
    pub invoked_ns: Vec<u64>,
    pub completed_ns: Vec<u64>,
    /// Place of its process.
    pub process: Vec<u32>,
    /// Place of its node, or [`NONE`].
    pub node: Vec<u32>,
    pub outcome: Vec<Outcome>,
    /// Where its steps begin.
    pub start: Vec<u32>,
    pub processes: Vec<Process>,
    pub nodes: Vec<Arc<str>>,
    /// By step: its key, with [`WRITE_BIT`] if it writes.
    pub step_key: Vec<u32>,
    /// By step: the word of an atom, or chain and length of a list that was read.
    pub step_what: Vec<u64>,
    /// Lists that begin with what was read.
    pub chains: Vec<Box<[Atom]>>,
    /// Keys by number.
    pub keys: Vec<Atom>,
    pub atoms: Atoms,
    /// All writes, by key, then in the order of transactions; none before [`super::builder::find_writes`], as of what follows.
    pub writes: Vec<Write>,
    /// Where each key's writes begin.
    pub writes_start: Vec<u32>,
    pub writers: Writers,
    /// Transactions that are none: what is wrong with them.
    pub odd: Vec<(u32, String)>,
    shape: Shape,
}

impl Transactions {
    /// None at all.
    pub fn empty(shape: Shape) -> Self {
        Self {
            index: Vec::new(),
            completed_index: Vec::new(),
            invoked_ns: Vec::new(),
            completed_ns: Vec::new(),
            process: Vec::new(),
            node: Vec::new(),
            outcome: Vec::new(),
            start: Vec::new(),
            processes: Vec::new(),
            nodes: Vec::new(),
            step_key: Vec::new(),
            step_what: Vec::new(),
            chains: Vec::new(),
            keys: Vec::new(),
            atoms: Atoms::default(),
            writes: Vec::new(),
            writes_start: Vec::new(),
            writers: Writers::default(),
            odd: Vec::new(),
            shape,
        }
    }

    /// Number of transactions.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Number of steps.
    pub fn step_count(&self) -> usize {
        self.step_key.len()
    }

    /// The step at a place.
    pub fn step(&self, place: usize) -> Step {
        let key = self.step_key[place];
        Step {
            key: key & !WRITE_BIT,
            write: key & WRITE_BIT != 0,
            what: self.step_what[place],
        }
    }

    /// Number of steps that write.
    pub fn write_count(&self) -> usize {
        let writes = self.step_key.iter().filter(|key| **key & WRITE_BIT != 0);
        writes.count()
    }

    /// All steps with their places.
    pub fn steps(&self) -> impl Iterator<Item = (usize, Step)> + '_ {
        (0..self.step_count()).map(|place| (place, self.step(place)))
    }

    /// The elements of a read; none of what is no list.
    pub fn list(&self, place: usize) -> &[Atom] {
        let step = self.step(place);
        match step.chain() {
            Some(chain) if !step.write => &self.chains[chain][..step.length()],
            _ => &[],
        }
    }

    /// What a step wrote or read.
    pub fn value(&self, place: usize) -> Value {
        let step = self.step(place);
        if step.write || self.shape == Shape::Registers || step.chain().is_none() {
            return self.atoms.value(step.atom());
        }
        self.values(self.list(place)).into()
    }

    /// The values of atoms.
    pub fn values(&self, atoms: &[Atom]) -> Vec<Value> {
        atoms.iter().map(|atom| self.atoms.value(*atom)).collect()
    }

    /// A key.
    pub fn key(&self, key: u32) -> Value {
        self.atoms.value(self.keys[key as usize])
    }

    /// Places of a transaction's steps.
    pub fn places(&self, txn: u32) -> Range<usize> {
        self.start[txn as usize] as usize..self.start[txn as usize + 1] as usize
    }

    /// A transaction's outcome.
    pub fn outcome(&self, txn: u32) -> Outcome {
        self.outcome[txn as usize]
    }

    /// A transaction as an operation, without its values.
    pub fn operation(&self, txn: u32) -> Operation {
        let at = txn as usize;
        let known = |number: u64| (number != u64::MAX).then_some(number);
        Operation {
            index: self.index[at],
            invoked_ns: self.invoked_ns[at],
            process: self
                .processes
                .get(self.process[at] as usize)
                .map_or(Process::Nemesis, |process| *process),
            node: self.nodes.get(self.node[at] as usize).cloned(),
            f: Arc::from("txn"),
            input: Value::Null,
            outcome: self.outcome[at],
            completed_index: known(self.completed_index[at]),
            completed_ns: known(self.completed_ns[at]),
            output: Value::Null,
            error: None,
        }
    }

    /// Transactions by number, with the places of their steps.
    pub fn each(&self) -> impl Iterator<Item = (u32, Range<usize>)> + '_ {
        (0..node(self.len())).map(|txn| (txn, self.places(txn)))
    }

    /// Places of a key's writes.
    pub fn writes_of(&self, key: u32) -> Range<usize> {
        self.writes_start[key as usize] as usize..self.writes_start[key as usize + 1] as usize
    }

    /// The write of that value to that key: the first one.
    pub fn writer(&self, key: u32, element: Atom) -> Option<u32> {
        self.writers
            .find(&self.writes, self.writes_of(key), element)
    }

    /// Pairs of writes of one value to one key, by the place of the second.
    pub fn repeated(&self) -> Vec<(&Write, &Write)> {
        let pairs = self.writers.repeated.iter();
        let mut pairs: Vec<_> = pairs
            .map(|(first, second)| {
                (
                    &self.writes[*first as usize],
                    &self.writes[*second as usize],
                )
            })
            .collect();
        pairs.sort_by_key(|(_, second)| second.step);
        pairs
    }

    /// Edges for what one process did before, among transactions that took effect.
    ///
    /// One whose outcome is not known may take effect at any time later, so nothing comes after it.
    pub fn process_edges(&self, took_effect: &[bool], edges: &mut Edges) {
        let mut last = vec![NONE; self.processes.len()];
        for (at, process) in self.process.iter().enumerate() {
            let Some(last) = last.get_mut(*process as usize).filter(|_| took_effect[at]) else {
                continue;
            };
            if *last != NONE {
                edges.add(*last, node(at), PROCESS);
            }
            if self.outcome[at] == Outcome::Ok {
                *last = node(at);
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
        // Few are open at a time, so that what ended fits in a heap of those that began before.
        let mut ended = std::collections::BinaryHeap::new();
        let mut barrier = None;
        for (at, counts) in took_effect.iter().enumerate() {
            if !counts {
                continue;
            }
            let invoked = self.index[at];
            let mut fresh = None;
            while let Some(std::cmp::Reverse((index, before))) = ended.peek().copied() {
                if index >= invoked {
                    break;
                }
                ended.pop();
                let to = *fresh.get_or_insert_with(|| edges.helper());
                edges.add(before, to, REALTIME);
            }
            if let Some(to) = fresh {
                if let Some(previous) = barrier {
                    edges.add(previous, to, REALTIME | PASS);
                }
                barrier = fresh;
            }
            if let Some(from) = barrier {
                edges.add(from, node(at), REALTIME | PASS);
            }
            if self.outcome[at] == Outcome::Ok && self.completed_index[at] != u64::MAX {
                ended.push(std::cmp::Reverse((self.completed_index[at], node(at))));
            }
        }
    }
}

/// Finds the write of a value: a table for each key, all in one array, twice as large as its writes.
#[derive(Default)]
pub(super) struct Writers {
    slots: Vec<u32>,
    /// Writes of what the first of the two had written to the same key.
    repeated: Vec<(u32, u32)>,
}

impl Writers {
    /// Of writes that stand by key, and where each key's begin.
    pub fn new(writes: &[Write], start: &[u32]) -> Self {
        let mut writers = Self {
            slots: vec![NONE; 2 * writes.len()],
            repeated: Vec::new(),
        };
        for key in start.windows(2) {
            let range = key[0] as usize..key[1] as usize;
            for write in range.clone() {
                let slot = writers.slot(writes, &range, writes[write].element);
                match writers.slots[slot] {
                    NONE => writers.slots[slot] = node(write),
                    first => writers.repeated.push((first, node(write))),
                }
            }
        }
        writers
    }

    /// Where the write of a value stands, or would.
    fn slot(&self, writes: &[Write], range: &Range<usize>, element: Atom) -> usize {
        let (begin, end) = (2 * range.start, 2 * range.end);
        let spread = u128::from(mixed(element.word())) * ((end - begin) as u128);
        let mut slot = begin + (spread >> 64) as usize;
        loop {
            match self.slots[slot] {
                NONE => return slot,
                write if writes[write as usize].element == element => return slot,
                _ => slot += 1,
            }
            if slot == end {
                slot = begin;
            }
        }
    }

    fn find(&self, writes: &[Write], range: Range<usize>, element: Atom) -> Option<u32> {
        if range.is_empty() {
            return None;
        }
        let found = self.slots[self.slot(writes, &range, element)];
        (found != NONE).then_some(found)
    }
}

/// The last thing of each process and key.
pub(super) type ByProcessAndKey = QuickMap<(u32, u32), u32>;
