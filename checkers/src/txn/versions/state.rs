//! What leads to what, in tables of bits that are always closed.

use super::{Link, Why};

/// What is known so far.
#[derive(Clone)]
pub(super) struct State {
    pub words: usize,
    /// By point: the points that it leads to, a bit each.
    pub reach: Vec<u64>,
    pub links: Vec<Link>,
    /// By key: for each pair of its writers, whether it was put in order.
    pub done: Vec<Vec<bool>>,
}

/// A link closed a circle: it is the last one.
pub(super) struct Circle;

impl State {
    pub fn leads(&self, from: u32, to: u32) -> bool {
        let word = self.reach[from as usize * self.words + to as usize / 64];
        word >> (to % 64) & 1 != 0
    }

    pub fn set(&mut self, from: u32, to: u32) {
        self.reach[from as usize * self.words + to as usize / 64] |= 1 << (to % 64);
    }

    /// `from` leads to `to` and to all that `to` leads to.
    pub fn follow(&mut self, from: u32, to: u32) {
        let (from_row, to_row) = (from as usize * self.words, to as usize * self.words);
        let (low, high) = self.reach.split_at_mut(from_row.max(to_row));
        let (into, out) = match from_row < to_row {
            true => (
                &mut low[from_row..from_row + self.words],
                &high[..self.words],
            ),
            false => (&mut high[..self.words], &low[to_row..to_row + self.words]),
        };
        for (into, out) in into.iter_mut().zip(out) {
            *into |= *out;
        }
        self.set(from, to);
    }

    pub fn each(&self, from: u32, mut told: impl FnMut(u32)) {
        let row = &self.reach[from as usize * self.words..][..self.words];
        for (place, word) in (0_u32..).zip(row) {
            let mut left = *word;
            while left != 0 {
                told(64 * place + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }

    pub fn add(
        &mut self,
        from: u32,
        to: u32,
        why: Why,
        because: Option<(u32, u32)>,
        work: &mut u64,
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
        let points = self.reach.len() / self.words;
        *work += points as u64;
        for before in 0..points as u32 {
            if before == from || self.leads(before, from) {
                self.follow(before, to);
                *work += self.words as u64;
            }
        }
        Ok(())
    }
}
