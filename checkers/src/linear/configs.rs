//! Configurations of the search, and sets of them.
//!
//! A configuration says where one possible order stands: the state that it leads to, which of the operations *open now*
//! it has already taken, and how many of each kind of operation without a known end (`info`) it has used up. It holds
//! nothing of the operations that are over, so its size follows concurrency and not length.
//!
//! Identical pending operations are interchangeable: only their number counts. Of two configurations with the same state
//! and mask, the one that used fewer pending operations can do all that the other can, so the other is dropped.

pub(crate) use harness_core::fast::FastMap;

/// Numbers of uses by class of pending operations, sorted by class; interned.
#[derive(Debug)]
pub(crate) struct Uses {
    lists: Vec<Vec<(u32, u32)>>,
    ids: FastMap<Vec<(u32, u32)>, u32>,
}

impl Uses {
    /// Number 0 is: none used.
    pub fn new() -> Self {
        let mut ids = FastMap::default();
        ids.insert(Vec::new(), 0);
        Self {
            lists: vec![Vec::new()],
            ids,
        }
    }

    /// How many of a class are used.
    pub fn of(&self, uses: u32, class: u32) -> u32 {
        self.lists[uses as usize]
            .binary_search_by_key(&class, |entry| entry.0)
            .map_or(0, |at| self.lists[uses as usize][at].1)
    }

    /// One more of a class.
    pub fn plus(&mut self, uses: u32, class: u32) -> u32 {
        let mut list = self.lists[uses as usize].clone();
        match list.binary_search_by_key(&class, |entry| entry.0) {
            Ok(at) => list[at].1 += 1,
            Err(at) => list.insert(at, (class, 1)),
        }
        self.intern(list)
    }

    /// Whether the first used no more of any class than the second.
    pub fn within(&self, first: u32, second: u32) -> bool {
        if first == second || first == 0 {
            return true;
        }
        let (small, large) = (&self.lists[first as usize], &self.lists[second as usize]);
        if small.len() > large.len() {
            return false;
        }
        let mut rest = large.iter();
        small
            .iter()
            .all(|(class, number)| rest.any(|(other, more)| other == class && more >= number))
    }

    /// How many are used in all.
    pub fn total(&self, uses: u32) -> u64 {
        self.lists[uses as usize]
            .iter()
            .map(|entry| u64::from(entry.1))
            .sum()
    }

    /// How many different ones are known.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        // Each list is held twice and is small; 96 bytes stand for the two headers and the table.
        self.lists.len() * 96 + self.lists.iter().map(|list| list.len() * 16).sum::<usize>()
    }

    /// Forgets all but these, and renumbers them in place.
    pub fn keep<'a>(&mut self, kept: impl Iterator<Item = &'a mut u32>) {
        let mut fresh = Self::new();
        for uses in kept {
            *uses = fresh.intern(self.lists[*uses as usize].clone());
        }
        *self = fresh;
    }

    fn intern(&mut self, list: Vec<(u32, u32)>) -> u32 {
        if let Some(known) = self.ids.get(&list) {
            return *known;
        }
        let id = u32::try_from(self.lists.len()).unwrap_or(u32::MAX);
        self.lists.push(list.clone());
        self.ids.insert(list, id);
        id
    }
}

/// Where one possible order stands. `W` words hold one bit for each operation open now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Config<const W: usize> {
    /// Number of the state.
    pub state: u32,
    /// Number of the uses.
    pub uses: u32,
    /// Open operations already taken.
    pub mask: [u64; W],
}

impl<const W: usize> Config<W> {
    pub fn has(&self, slot: usize) -> bool {
        self.mask[slot / 64] >> (slot % 64) & 1 == 1
    }
    pub fn set(&mut self, slot: usize) {
        self.mask[slot / 64] |= 1 << (slot % 64);
    }
    pub fn clear(&mut self, slot: usize) {
        self.mask[slot / 64] &= !(1 << (slot % 64));
    }
    fn key_hash(&self) -> u64 {
        let mut hash = u64::from(self.state).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for word in self.mask {
            hash = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        hash ^ (hash >> 32)
    }
    fn same_key(&self, other: &Self) -> bool {
        self.state == other.state && self.mask == other.mask
    }
}

/// From this size on a set keeps a hash table; below it looks at each.
const TABLE_FROM: usize = 12;
const EMPTY: u32 = u32::MAX;

/// A set of configurations in the order of their insertion, without those that another one dominates.
#[derive(Debug)]
pub(crate) struct ConfigSet<const W: usize> {
    items: Vec<(Config<W>, u32)>,
    /// The next item with the same state and mask.
    chain: Vec<u32>,
    dead: Vec<bool>,
    dead_count: usize,
    /// Open addressing over state and mask: heads of chains.
    table: Vec<u32>,
}

impl<const W: usize> ConfigSet<W> {
    pub fn new() -> Self {
        Self {
            items: Vec::new(),
            chain: Vec::new(),
            dead: Vec::new(),
            dead_count: 0,
            table: Vec::new(),
        }
    }

    pub fn clear(&mut self) {
        self.items.clear();
        self.chain.clear();
        self.dead.clear();
        self.dead_count = 0;
        self.table.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.items.len() - self.dead_count
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those that no other dominates, with the ends of their trails.
    pub fn iter(&self) -> impl Iterator<Item = (Config<W>, u32)> + '_ {
        self.items
            .iter()
            .zip(&self.dead)
            .filter(|(_, dead)| !**dead)
            .map(|(item, _)| *item)
    }

    /// Changes each in place; the caller must keep different ones different.
    pub fn each_mut(&mut self, mut change: impl FnMut(&mut Config<W>, &mut u32)) {
        for (config, trail) in &mut self.items {
            change(config, trail);
        }
        if !self.table.is_empty() {
            self.rebuild();
        }
    }

    /// Adds one, unless one that is there can do all that it can.
    pub fn insert(&mut self, config: Config<W>, trail: u32, uses: &Uses) -> bool {
        let head = if self.table.is_empty() {
            self.items
                .iter()
                .position(|(other, _)| other.same_key(&config))
                .map(|at| at as u32)
        } else {
            let at = self.slot_of(&config);
            (self.table[at] != EMPTY).then(|| self.table[at])
        };
        let id = u32::try_from(self.items.len()).unwrap_or(EMPTY - 1);
        let mut link = EMPTY;
        if let Some(head) = head {
            let mut at = head;
            loop {
                let (other, _) = self.items[at as usize];
                if !self.dead[at as usize] {
                    if uses.within(other.uses, config.uses) {
                        return false;
                    }
                    if uses.within(config.uses, other.uses) {
                        self.dead[at as usize] = true;
                        self.dead_count += 1;
                    }
                }
                match self.chain[at as usize] {
                    EMPTY => break,
                    next => at = next,
                }
            }
            // Behind the head: the table keeps pointing at it.
            link = self.chain[head as usize];
            self.chain[head as usize] = id;
        }
        self.items.push((config, trail));
        self.chain.push(link);
        self.dead.push(false);
        if head.is_none() {
            if self.table.is_empty() {
                if self.items.len() > TABLE_FROM {
                    self.rebuild();
                }
            } else if self.items.len() * 2 > self.table.len() {
                self.rebuild();
            } else {
                let at = self.slot_of(&config);
                self.table[at] = id;
            }
        }
        true
    }

    /// Whether an item is still one that nothing dominates.
    pub fn is_alive(&self, at: usize) -> bool {
        !self.dead[at]
    }

    /// The item of that number, and the end of its trail.
    pub fn get(&self, at: usize) -> (Config<W>, u32) {
        self.items[at]
    }

    /// Number of items ever inserted since the last clear.
    pub fn inserted(&self) -> usize {
        self.items.len()
    }

    /// Bytes taken.
    pub fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<(Config<W>, u32)>()
            + self.chain.capacity() * 5
            + self.table.capacity() * 4
    }

    /// Keeps only the `limit` first by `rank`.
    pub fn truncate_by(&mut self, limit: usize, uses: &Uses, rank: impl Fn(&Config<W>) -> u64) {
        let mut kept: Vec<(Config<W>, u32)> = self.iter().collect();
        kept.sort_by_key(|(config, _)| rank(config));
        kept.truncate(limit);
        self.clear();
        for (config, trail) in kept {
            self.insert(config, trail, uses);
        }
    }

    fn slot_of(&self, config: &Config<W>) -> usize {
        let wrap = self.table.len() - 1;
        let mut at = config.key_hash() as usize & wrap;
        loop {
            match self.table[at] {
                EMPTY => return at,
                id if self.items[id as usize].0.same_key(config) => return at,
                _ => at = (at + 1) & wrap,
            }
        }
    }

    fn rebuild(&mut self) {
        let size = (self.items.len() * 4).next_power_of_two();
        self.table.clear();
        self.table.resize(size, EMPTY);
        for link in &mut self.chain {
            *link = EMPTY;
        }
        for id in 0..self.items.len() {
            let at = self.slot_of(&self.items[id].0);
            let number = u32::try_from(id).unwrap_or(EMPTY - 1);
            match self.table[at] {
                EMPTY => self.table[at] = number,
                head => {
                    self.chain[id] = self.chain[head as usize];
                    self.chain[head as usize] = number;
                }
            }
        }
    }
}
