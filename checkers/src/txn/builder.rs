//! Puts transactions into columns, in whatever order they end.
//!
//! A list that was read is kept as a length: nearly all reads of a key are prefixes of one another, so that a *chain*, the longest of
//! them, holds them all. A read that fits no chain begins one of its own.
//!
//! ```text
//! reads of x: [1 2]  [1 2 3]  [1 3]        chain 0: 1 2 3   lengths 2, 3
//!                                          chain 1: 1 3     length 2
//! ```
//!
//! At the end steps are put in the order in which their transactions were invoked, and keys are numbered in that order, so that
//! the same history gives the same columns however it was read.

use std::sync::Arc;

use harness_core::{event::Process, history::Outcome};

use super::{
    atoms::{Atom, Atoms, QuickMap},
    graph::node,
    input::{NONE, Shape, Transactions, WRITE_BIT, Write, Writers},
};

/// Chains of a key that a read is compared with.
const CHAINS_TRIED_LIMIT: usize = 4;

/// Keys that are whole numbers below this are found by their place in a list.
const SMALL_KEYS: usize = 1 << 16;

/// When and by whom a transaction was invoked.
pub(super) struct Begun<'a> {
    pub index: u64,
    pub invoked_ns: u64,
    pub process: Process,
    pub node: Option<&'a Arc<str>>,
}

/// Lists that are prefixes of one.
struct Chain {
    elements: Vec<Atom>,
    /// The next chain of the key, or [`NONE`].
    next: u32,
}

/// Transactions on their way into columns.
pub(super) struct Builder {
    pub shape: Shape,
    pub atoms: Atoms,
    txns: Transactions,
    /// By transaction: how many steps it has.
    count: Vec<u32>,
    processes: QuickMap<u64, u32>,
    keys: QuickMap<u64, u32>,
    /// Keys that are small numbers: their places, or [`NONE`].
    small_keys: Vec<u32>,
    chains: Vec<Chain>,
    /// By key: its first chain.
    first_chain: Vec<u32>,
}

impl Builder {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            atoms: Atoms::default(),
            txns: Transactions::empty(shape),
            count: Vec::new(),
            processes: QuickMap::default(),
            keys: QuickMap::default(),
            small_keys: Vec::new(),
            chains: Vec::new(),
            first_chain: Vec::new(),
        }
    }

    /// The number of a process.
    pub fn process(&mut self, process: Process) -> u32 {
        let Process::Client(number) = process else {
            // Histories pair clients' events only; the nemesis has no operations.
            return NONE;
        };
        let next = node(self.txns.processes.len());
        let place = *self.processes.entry(number).or_insert(next);
        if place == next {
            self.txns.processes.push(process);
        }
        place
    }

    /// A transaction, which nobody has seen end so far.
    pub fn begin(&mut self, begun: &Begun<'_>) -> u32 {
        let process = self.process(begun.process);
        let known = &mut self.txns.nodes;
        let on = begun.node.map_or(NONE, |name| {
            let place = known.iter().position(|other| other == name);
            node(place.unwrap_or_else(|| {
                known.push(Arc::clone(name));
                known.len() - 1
            }))
        });
        let txns = &mut self.txns;
        let number = node(txns.index.len());
        txns.index.push(begun.index);
        txns.invoked_ns.push(begun.invoked_ns);
        txns.process.push(process);
        txns.node.push(on);
        txns.outcome.push(Outcome::Info);
        txns.completed_index.push(u64::MAX);
        txns.completed_ns.push(u64::MAX);
        txns.start.push(0);
        self.count.push(0);
        number
    }

    /// How a transaction ended: index and time of the event, if there was one.
    pub fn end(&mut self, txn: u32, outcome: Outcome, index: Option<u64>, time_ns: Option<u64>) {
        let at = txn as usize;
        self.txns.outcome[at] = outcome;
        self.txns.completed_index[at] = index.unwrap_or(u64::MAX);
        self.txns.completed_ns[at] = time_ns.unwrap_or(u64::MAX);
    }

    /// The following steps are this transaction's.
    pub fn open_steps(&mut self, txn: u32) {
        self.txns.start[txn as usize] = node(self.txns.step_key.len());
    }

    /// There are no more steps of this transaction.
    pub fn close_steps(&mut self, txn: u32) {
        let at = txn as usize;
        self.count[at] = node(self.txns.step_key.len()) - self.txns.start[at];
    }

    /// How many transactions are none.
    pub fn odd_count(&self) -> usize {
        self.txns.odd.len()
    }

    /// Says where the last one of these stands in its file, by line and column.
    pub fn locate_odd(&mut self, (line, column): (usize, usize)) {
        if let Some((_, detail)) = self.txns.odd.last_mut() {
            *detail = format!("line {line}, column {column}: {detail}");
        }
    }

    /// A transaction that is none, and what is wrong with it.
    pub fn odd(&mut self, txn: u32, detail: String) {
        self.txns.odd.push((txn, detail));
    }

    fn key(&mut self, key: Atom) -> u32 {
        let next = node(self.txns.keys.len());
        let place = match key.small(SMALL_KEYS) {
            None => *self.keys.entry(key.word()).or_insert(next),
            Some(small) => {
                if small >= self.small_keys.len() {
                    self.small_keys.resize(small + 1, NONE);
                }
                let place = &mut self.small_keys[small];
                if *place == NONE {
                    *place = next;
                }
                *place
            }
        };
        if place == next {
            self.txns.keys.push(key);
            self.first_chain.push(NONE);
        }
        place
    }

    /// A write or an append.
    pub fn write(&mut self, key: Atom, element: Atom) {
        let key = self.key(key);
        self.txns.step_key.push(key | WRITE_BIT);
        self.txns.step_what.push(element.word());
    }

    /// A read of a register.
    pub fn read(&mut self, key: Atom, value: Atom) {
        let key = self.key(key);
        self.txns.step_key.push(key);
        self.txns.step_what.push(value.word());
    }

    /// A read of a list; None: of null.
    pub fn read_list(&mut self, key: Atom, elements: Option<&[Atom]>) {
        let key = self.key(key);
        let what = match elements {
            None => Atom::NULL.word(),
            Some(elements) => {
                u64::from(self.chain(key, elements)) << 32 | u64::from(node(elements.len()))
            }
        };
        self.txns.step_key.push(key);
        self.txns.step_what.push(what);
    }

    /// A chain that begins with these elements.
    fn chain(&mut self, key: u32, elements: &[Atom]) -> u32 {
        let first = self.first_chain[key as usize];
        let mut at = first;
        for _ in 0..CHAINS_TRIED_LIMIT {
            let Some(chain) = self.chains.get_mut(at as usize) else {
                break;
            };
            let known = chain.elements.len();
            if elements.len() <= known {
                if chain.elements[..elements.len()] == *elements {
                    return at;
                }
            } else if chain.elements[..] == elements[..known] {
                chain.elements.extend_from_slice(&elements[known..]);
                return at;
            }
            at = chain.next;
        }
        // The first stays first: it is the one that most reads fit.
        let fresh = node(self.chains.len());
        let mut chain = Chain {
            elements: elements.to_vec(),
            next: NONE,
        };
        match self.chains.get_mut(first as usize) {
            None => self.first_chain[key as usize] = fresh,
            Some(first) => {
                chain.next = first.next;
                first.next = fresh;
            }
        }
        self.chains.push(chain);
        fresh
    }

    /// Puts everything in order. Writes are not looked for: [`find_writes`] does that for who needs them.
    pub fn finish(mut self) -> Transactions {
        self.order_steps();
        self.number_keys();
        let mut txns = self.txns;
        txns.chains = self
            .chains
            .into_iter()
            .map(|chain| chain.elements.into_boxed_slice())
            .collect();
        txns.atoms = self.atoms;
        txns.odd.sort_by_key(|(txn, _)| *txn);
        txns
    }

    fn order_steps(&mut self) {
        let txns = &mut self.txns;
        let mut next = 0;
        let ordered = txns.start.iter().zip(&self.count).all(|(start, count)| {
            let fits = *count == 0 || *start == next;
            next += count;
            fits
        });
        if !ordered {
            let mut keys = Vec::with_capacity(txns.step_key.len());
            let mut whats = Vec::with_capacity(txns.step_what.len());
            for (start, count) in txns.start.iter().zip(&self.count) {
                let places = *start as usize..(start + count) as usize;
                keys.extend_from_slice(&txns.step_key[places.clone()]);
                whats.extend_from_slice(&txns.step_what[places]);
            }
            (txns.step_key, txns.step_what) = (keys, whats);
        }
        let mut next = 0;
        for (start, count) in txns.start.iter_mut().zip(&self.count) {
            *start = next;
            next += count;
        }
        txns.start.push(next);
        self.count = Vec::new();
    }

    fn number_keys(&mut self) {
        let txns = &mut self.txns;
        let mut fresh = vec![NONE; txns.keys.len()];
        let mut keys = Vec::with_capacity(txns.keys.len());
        for step in &mut txns.step_key {
            let old = (*step & !WRITE_BIT) as usize;
            if fresh[old] == NONE {
                fresh[old] = node(keys.len());
                keys.push(txns.keys[old]);
            }
            *step = fresh[old] | *step & WRITE_BIT;
        }
        txns.keys = keys;
    }
}

/// All writes by key, and in the order of transactions within a key.
pub(super) fn find_writes(txns: &mut Transactions) {
    let mut start = vec![0_u32; txns.keys.len() + 1];
    for step in txns.step_key.iter().filter(|step| **step & WRITE_BIT != 0) {
        start[(step & !WRITE_BIT) as usize + 1] += 1;
    }
    for key in 0..txns.keys.len() {
        start[key + 1] += start[key];
    }
    let mut next = start.clone();
    let mut writes = vec![Write::default(); start.last().map_or(0, |end| *end as usize)];
    for (txn, places) in txns.each() {
        for place in places {
            let step = txns.step(place);
            if step.write {
                let slot = &mut next[step.key as usize];
                writes[*slot as usize] = Write {
                    key: step.key,
                    element: step.atom(),
                    txn,
                    step: node(place),
                    overwritten: false,
                };
                *slot += 1;
            }
        }
    }
    for at in 1..writes.len() {
        let (before, here) = (&writes[at - 1], &writes[at]);
        writes[at - 1].overwritten = before.key == here.key && before.txn == here.txn;
    }
    txns.writes = writes;
    txns.writes_start = start;
    txns.writers = Writers::new(&txns.writes, &txns.writes_start);
}
