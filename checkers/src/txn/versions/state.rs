//! What leads to what, in tables of bits that are always closed.
//!
//! There is a table for each direction, so that a new link touches only those rows that learn something from it: those of points
//! that lead to its begin and not yet to its end, and those of points behind its end that its begin did not lead to (Italiano
//! 1986). All links together so touch a row at most once for each pair of points, and far less often in practice.

use super::{Link, Why, Work};

/// Bits of a word.
const WORD_BITS: u32 = u64::BITS;

/// A square of bits.
#[derive(Clone)]
struct Table {
    words: usize,
    bits: Vec<u64>,
}

/// What is known so far.
#[derive(Clone)]
pub(super) struct State {
    /// By point: the points that it leads to.
    reach: Table,
    /// By point: the points that lead to it.
    back: Table,
    pub links: Vec<Link>,
    /// By key: for each pair of its writers, whether it was put in order.
    pub done: Vec<Vec<bool>>,
}

/// A link closed a circle: it is the last one.
pub(super) struct Circle;

/// Tells the numbers of the bits of a row.
fn each(row: &[u64], mut told: impl FnMut(u32)) {
    for (place, word) in (0_u32..).zip(row) {
        let mut left = *word;
        while left != 0 {
            told(WORD_BITS * place + left.trailing_zeros());
            left &= left - 1;
        }
    }
}

/// Adds the bits of the one row to the other.
fn merge(into: &mut [u64], more: &[u64]) {
    for (into, more) in into.iter_mut().zip(more) {
        *into |= *more;
    }
}

impl Table {
    fn new(points: usize) -> Self {
        let words = points.div_ceil(WORD_BITS as usize);
        Self {
            words,
            bits: vec![0; points * words],
        }
    }

    fn row(&self, of: u32) -> &[u64] {
        &self.bits[of as usize * self.words..][..self.words]
    }

    fn row_mut(&mut self, of: u32) -> &mut [u64] {
        &mut self.bits[of as usize * self.words..][..self.words]
    }

    fn has(&self, row: u32, bit: u32) -> bool {
        let word = self.bits[row as usize * self.words + (bit / WORD_BITS) as usize];
        word >> (bit % WORD_BITS) & 1 != 0
    }

    /// A row, and a bit of its own.
    fn row_with(&self, of: u32) -> Vec<u64> {
        let mut row = self.row(of).to_vec();
        row[(of / WORD_BITS) as usize] |= 1 << (of % WORD_BITS);
        row
    }

    fn turned(&self) -> Self {
        let mut turned = Self {
            words: self.words,
            bits: vec![0; self.bits.len()],
        };
        let points = self.bits.len() / self.words.max(1);
        for from in 0..points as u32 {
            let (word, bit) = ((from / WORD_BITS) as usize, 1 << (from % WORD_BITS));
            each(self.row(from), |to| {
                turned.bits[to as usize * turned.words + word] |= bit
            });
        }
        turned
    }
}

/// Builds the first state: what needs no link to be told.
pub(super) struct Foundation {
    reach: Table,
}

impl Foundation {
    pub fn new(points: usize) -> Self {
        Self {
            reach: Table::new(points),
        }
    }

    pub fn leads(&self, from: u32, to: u32) -> bool {
        self.reach.has(from, to)
    }

    /// `from`, to which nothing leads so far, leads to `to` and to all that `to` leads to.
    pub fn follow(&mut self, from: u32, to: u32) {
        let row = self.reach.row_with(to);
        merge(self.reach.row_mut(from), &row);
    }

    /// Nothing must be added in front of what was followed before.
    pub fn done(self, done: Vec<Vec<bool>>) -> State {
        State {
            back: self.reach.turned(),
            reach: self.reach,
            links: Vec::new(),
            done,
        }
    }
}

impl State {
    /// Words of a row.
    pub fn words(&self) -> usize {
        self.reach.words
    }

    pub fn leads(&self, from: u32, to: u32) -> bool {
        self.reach.has(from, to)
    }

    /// Of the points of a set that lead to a point, the one with the largest number.
    pub fn last_before(&self, point: u32, set: &[u64]) -> Option<u32> {
        let row = self.back.row(point);
        for place in (0..row.len()).rev() {
            let both = row[place] & set[place];
            if both != 0 {
                return Some(WORD_BITS * place as u32 + both.ilog2());
            }
        }
        None
    }

    /// Adds a link and what follows from it.
    pub fn add(
        &mut self,
        from: u32,
        to: u32,
        why: Why,
        because: Option<(u32, u32)>,
        work: &mut Work<'_>,
    ) -> Result<(), Circle> {
        if self.leads(from, to) {
            return Ok(());
        }
        self.links.push(Link {
            from,
            to,
            why,
            because,
        });
        if from == to || self.leads(to, from) {
            return Err(Circle);
        }
        let (before, after) = (self.back.row_with(from), self.reach.row_with(to));
        let (mut learn, mut are_learnt) = (before.clone(), after.clone());
        for (learn, known) in learn.iter_mut().zip(self.back.row(to)) {
            *learn &= !known;
        }
        for (are_learnt, known) in are_learnt.iter_mut().zip(self.reach.row(from)) {
            *are_learnt &= !known;
        }
        let mut rows = 1;
        let (reach, back) = (&mut self.reach, &mut self.back);
        each(&learn, |point| {
            merge(reach.row_mut(point), &after);
            rows += 1;
        });
        each(&are_learnt, |point| {
            merge(back.row_mut(point), &before);
            rows += 1;
        });
        work.spend(rows * self.words());
        Ok(())
    }
}
