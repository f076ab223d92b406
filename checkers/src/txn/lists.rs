//! Lists that only grow: their reads tell the order of all appends.
//!
//! A read of `[1 2 3]` proves that 1 was appended before 2 and 2 before 3. If all reads of a key are prefixes of the longest,
//! that one is the order of its versions (Kingsbury and Alvaro, VLDB 2020), and a read is just a length. What was appended and
//! is in no read came after the longest. From this:
//!
//! - write-dependencies between neighbours in the order, and from the last that was seen to those that were not;
//! - read-dependencies from the writer of the last element that was read;
//! - anti-dependencies to the writer of the first element that was not.
//!
//! A transaction whose outcome is not known counts if one of its elements was seen; a failed one never, and the order
//! passes over its elements.

use harness_core::history::Outcome;

use super::{
    graph::{ANY_RW, Edges, Fan, Kinds, RW, WR, WW, node},
    input::{NONE, Transactions},
};

/// What reads say about the order of appends.
pub(super) struct Lists {
    pub txns: Transactions,
    /// By key, one after the other: which writes are in its order; [`NONE`] for what nobody appended.
    order: Vec<u32>,
    order_start: Vec<u32>,
    /// By write: its place in the order of its key, or [`NONE`].
    pub position: Vec<u32>,
    /// By key: the step with its longest read, or [`NONE`].
    pub longest: Vec<u32>,
    /// By step that reads: how many elements of the order it saw, or [`NONE`] if what it read last is not in the order. By step
    /// that appends: [`NONE`].
    pub version: Vec<u32>,
    /// By step: the write whose element it read last, or that it made; or [`NONE`].
    pub last: Vec<u32>,
    /// By step that reads: whether it is no prefix of the longest, or that one has an element twice.
    pub odd: Vec<bool>,
    /// By key: whether its reads contradict each other, and the first step that does.
    pub contradicted: Vec<u32>,
    /// By transaction: whether it is known to have taken effect.
    pub took_effect: Vec<bool>,
}

impl Lists {
    /// Finds the order of every key. Appends are unique.
    pub fn new(txns: Transactions) -> Self {
        let (keys, steps) = (txns.keys.len(), txns.step_count());
        let mut lists = Self {
            order: Vec::new(),
            order_start: vec![0],
            position: vec![NONE; txns.writes.len()],
            longest: vec![NONE; keys],
            version: vec![NONE; steps],
            last: vec![NONE; steps],
            odd: vec![false; steps],
            contradicted: vec![NONE; keys],
            took_effect: Vec::new(),
            txns,
        };
        lists.find_longest();
        let doubled = lists.find_orders();
        lists.place_reads(&doubled);
        lists.find_effective();
        lists
    }

    fn find_longest(&mut self) {
        let mut best = vec![0; self.longest.len()];
        for (place, step) in self.txns.steps() {
            let best = &mut best[step.key as usize];
            if !step.write && step.length() > *best {
                *best = step.length();
                self.longest[step.key as usize] = node(place);
            }
        }
        for (place, write) in self.txns.writes.iter().enumerate() {
            self.last[write.step as usize] = node(place);
        }
    }

    /// Orders from the longest reads; which keys have an element twice in theirs.
    fn find_orders(&mut self) -> Vec<bool> {
        let mut doubled = vec![false; self.longest.len()];
        for key in 0..node(self.longest.len()) {
            let longest = self.longest[key as usize];
            if longest != NONE {
                let begin = self.order.len();
                for element in self.txns.list(longest as usize) {
                    let writer = self.txns.writer(key, *element);
                    match writer {
                        Some(write) if self.position[write as usize] != NONE => {
                            doubled[key as usize] = true;
                        }
                        Some(write) => {
                            self.position[write as usize] = node(self.order.len() - begin);
                            self.order.push(write);
                        }
                        None => self.order.push(NONE),
                    }
                }
            }
            self.order_start.push(node(self.order.len()));
        }
        doubled
    }

    fn place_reads(&mut self, doubled: &[bool]) {
        // By chain: how many of its elements are those of the longest read; NONE if nobody asked so far.
        let mut common = vec![NONE; self.txns.chains.len()];
        for (place, step) in self.txns.steps() {
            if step.write {
                continue;
            }
            let key = step.key as usize;
            let Some(chain) = step.chain().filter(|_| step.length() > 0) else {
                self.version[place] = 0;
                continue;
            };
            if common[chain] == NONE {
                let longest = self.txns.list(self.longest[key] as usize);
                let pairs = longest.iter().zip(&*self.txns.chains[chain]);
                common[chain] = node(pairs.take_while(|(a, b)| a == b).count());
            }
            let prefix = step.length() <= common[chain] as usize;
            if !prefix && self.contradicted[key] == NONE {
                self.contradicted[key] = node(place);
            }
            self.odd[place] = !prefix || doubled[key];
            if self.odd[place] {
                let last = self.txns.list(place)[step.length() - 1];
                if let Some(write) = self.txns.writer(step.key, last) {
                    self.last[place] = write;
                    let position = self.position[write as usize];
                    self.version[place] = if position == NONE { NONE } else { position + 1 };
                }
            } else {
                self.version[place] = node(step.length());
                self.last[place] = self.order_of(step.key)[step.length() - 1];
            }
        }
    }

    fn find_effective(&mut self) {
        let txns = &self.txns;
        let mut seen = vec![false; txns.len()];
        for (write, position) in txns.writes.iter().zip(&self.position) {
            seen[write.txn as usize] |= *position != NONE;
        }
        for (place, step) in txns.steps() {
            if self.odd[place] {
                for element in txns.list(place) {
                    if let Some(write) = txns.writer(step.key, *element) {
                        seen[txns.writes[write as usize].txn as usize] = true;
                    }
                }
            }
        }
        self.took_effect = txns
            .each()
            .map(|(txn, _)| match txns.outcome(txn) {
                Outcome::Ok => true,
                Outcome::Info => seen[txn as usize],
                Outcome::Fail => false,
            })
            .collect();
    }

    /// The order of a key: writes, or [`NONE`] for what nobody appended.
    pub fn order_of(&self, key: u32) -> &[u32] {
        &self.order
            [self.order_start[key as usize] as usize..self.order_start[key as usize + 1] as usize]
    }

    /// The transaction of a write, if it took effect.
    fn writer(&self, write: u32) -> Option<u32> {
        let txn = self.txns.writes.get(write as usize)?.txn;
        self.took_effect[txn as usize].then_some(txn)
    }

    /// Transactions that took effect with an append that no read shows, each once, by key.
    fn unseen(&self, key: u32) -> Vec<u32> {
        let mut unseen: Vec<u32> = self
            .txns
            .writes_of(key)
            .filter(|write| self.position[*write] == NONE)
            .filter_map(|write| self.writer(node(write)))
            .collect();
        unseen.sort_unstable();
        unseen.dedup();
        unseen
    }

    /// All edges that the data gives.
    pub fn edges(&self, edges: &mut Edges) {
        let keys = node(self.txns.keys.len());
        let mut tails = Vec::with_capacity(keys as usize);
        // By place in all orders: the place of the next append in the order that took effect, from here on.
        let mut next = vec![NONE; self.order.len()];
        for key in 0..keys {
            let (begin, order) = (self.order_start[key as usize], self.order_of(key));
            let mut after = NONE;
            for place in (0..order.len()).rev() {
                if self.writer(order[place]).is_some() {
                    after = begin + node(place);
                }
                next[begin as usize + place] = after;
            }
            let mut before = None;
            for txn in order.iter().filter_map(|write| self.writer(*write)) {
                if let Some(before) = before {
                    edges.add(before, txn, WW);
                }
                before = Some(txn);
            }
            let tail = Fan::new(edges, self.unseen(key));
            if let Some(last) = before {
                link_others(&tail, edges, last, WW);
            }
            tails.push(tail);
        }
        for (txn, places) in self.txns.each() {
            for place in places {
                let step = self.txns.step(place);
                if step.write {
                    continue;
                }
                if let Some(writer) = self.writer(self.last[place]) {
                    edges.add(writer, txn, WR);
                }
                if self.version[place] == NONE {
                    continue;
                }
                let order = self.order_of(step.key);
                let at = self.order_start[step.key as usize] + self.version[place];
                let missed = if (self.version[place] as usize) < order.len() {
                    next[at as usize]
                } else {
                    NONE
                };
                if missed == NONE {
                    link_others(&tails[step.key as usize], edges, txn, RW);
                } else if let Some(writer) = self.writer(self.order[missed as usize]) {
                    edges.add(txn, writer, RW);
                }
            }
        }
    }

    /// Steps of two transactions that make an edge of this kind: `(of from, of to)`. Better neighbours in the order than what is further apart in it.
    pub fn reason(&self, from: u32, to: u32, kind: Kinds) -> Option<(usize, usize)> {
        let find = |near: bool| {
            let both = |a| self.txns.places(to).map(move |b| (a, b));
            let mut pairs = self.txns.places(from).flat_map(both);
            pairs.find(|(a, b)| self.explains(*a, *b, kind, near))
        };
        find(true).or_else(|| find(false))
    }

    /// Whether two steps make an edge of this kind, between neighbours in the order of their key or any two.
    fn explains(&self, a: usize, b: usize, kind: Kinds, near: bool) -> bool {
        let (first, second) = (self.txns.step(a), self.txns.step(b));
        if first.key != second.key {
            return false;
        }
        match (first.write, second.write) {
            (true, true) if kind & WW != 0 => near && self.neighbours(self.last[a], self.last[b]),
            (true, false) if kind & WR != 0 => match near {
                true => self.last[b] != NONE && self.last[a] == self.last[b],
                false => !self.odd[b] && self.position[self.last[a] as usize] < self.version[b],
            },
            (false, true) if kind & ANY_RW != 0 && self.version[a] != NONE => match near {
                true => self.first_from(first.key, self.version[a], self.last[b]),
                false => self.position[self.last[b] as usize] >= self.version[a],
            },
            _ => false,
        }
    }

    fn neighbours(&self, before: u32, after: u32) -> bool {
        let position = self.position[before as usize];
        position != NONE
            && self.first_from(self.txns.writes[before as usize].key, position + 1, after)
    }

    /// Whether this write is the first effective one in the order from a place on, or unseen if there is none.
    fn first_from(&self, key: u32, from: u32, write: u32) -> bool {
        let order = &self.order_of(key)[from as usize..];
        match order.iter().find(|other| self.writer(**other).is_some()) {
            Some(first) => *first == write,
            None => self.position[write as usize] == NONE,
        }
    }
}

/// Edges to all targets but `from` itself.
fn link_others(fan: &Fan, edges: &mut Edges, from: u32, kind: Kinds) {
    let hole = fan.targets().binary_search(&from);
    let holes: &[usize] = hole.as_ref().map_or(&[], std::slice::from_ref);
    fan.link_except(edges, from, kind, 0..fan.targets().len(), holes);
}
