//! How much of some keys each transaction knew of, in one pass through who saw whom for every few keys.

use harness_core::verdict::{Budget, Exhausted};

use super::{
    super::{graph::node, input::NONE},
    Group, Ways,
};

/// Keys that one pass looks at.
const LANES: usize = 8;
/// No lane.
const NO_LANE: u8 = u8::MAX;
/// Nodes that all passes together may look at.
const WORK_LIMIT: usize = 2_000_000_000;
/// Reads that missed something, among which a short circle is looked for.
const MISSED_LIMIT: usize = 32;

/// By lane: behind which place of the key's list nothing is known of; 0: nothing at all is.
type Known = [u32; LANES];

/// A read that missed what its transaction knew of.
#[derive(Clone, Copy)]
pub(super) struct Missed {
    pub txn: u32,
    key: u32,
    length: u32,
}

impl Missed {
    /// Whether a transaction made an append that this read missed.
    pub fn is_by(&self, group: &Group<'_>, txn: u32) -> bool {
        let beyond = |reach: &super::Reach| reach.key == self.key && reach.end > self.length;
        txn != self.txn && group.reaches(txn).iter().any(beyond)
    }
}

/// What the passes came to.
pub(super) enum Answer {
    /// These, or the first of them.
    Missed(Vec<Missed>),
    /// Too much work.
    GaveUp,
}

/// Work done so far.
#[derive(Default)]
pub(super) struct Work(usize);

/// Passes over a group.
pub(super) struct Pass<'g> {
    group: &'g Group<'g>,
    ways: &'g Ways,
    /// Only what was seen directly counts.
    direct: bool,
    missed: Vec<Missed>,
}

/// A key, and the places between which it matters: from the first append to the last read that may miss one.
struct Span {
    low: u32,
    high: u32,
    key: u32,
}

impl<'g> Pass<'g> {
    /// Of one kind.
    pub fn new(group: &'g Group<'g>, ways: &'g Ways, direct: bool) -> Self {
        Self {
            group,
            ways,
            direct,
            missed: Vec::new(),
        }
    }

    /// Looks at all keys, or until enough was found.
    pub fn run(mut self, work: &mut Work, budget: &dyn Budget) -> Result<Answer, Exhausted> {
        // Only a circle keeps a node out, and a circle is worse than all that is looked for here.
        if self.ways.sequence.len() < self.ways.graph.len() {
            return Ok(Answer::GaveUp);
        }
        let mut spans = self.spans();
        spans.sort_unstable_by_key(|span| (span.low, span.high));
        let mut lanes = vec![NO_LANE; self.group.keys.len()];
        for few in spans.chunks(LANES) {
            let low = few.iter().map(|span| span.low).min().unwrap_or(0) as usize;
            let high = few.iter().map(|span| span.high).max().unwrap_or(0) as usize;
            budget.spend(((high - low + 1) * size_of::<Known>()) as u64)?;
            work.0 += high - low + 1;
            if work.0 > WORK_LIMIT && self.missed.is_empty() {
                return Ok(Answer::GaveUp);
            }
            for (lane, span) in (0..).zip(few) {
                lanes[span.key as usize] = lane;
            }
            self.pass(&lanes, low, high);
            for span in few {
                lanes[span.key as usize] = NO_LANE;
            }
            if self.missed.len() >= MISSED_LIMIT {
                break;
            }
        }
        Ok(Answer::Missed(self.missed))
    }

    fn spans(&self) -> Vec<Span> {
        let group = self.group;
        let keys = group.keys.len();
        let (mut low, mut high, mut end) = (vec![NONE; keys], vec![0; keys], vec![0; keys]);
        for txn in 0..node(group.txns.len()) {
            for reach in group.reaches(txn) {
                let key = reach.key as usize;
                low[key] = low[key].min(self.ways.place[txn as usize]);
                end[key] = end[key].max(reach.end);
            }
        }
        for txn in 0..node(group.txns.len()) {
            let may_miss = |read: &&super::Read| read.length < end[read.key as usize];
            for read in group.reads(txn).iter().filter(may_miss) {
                let high = &mut high[read.key as usize];
                *high = self.ways.place[txn as usize].max(*high);
            }
        }
        let all = (0..node(keys)).map(|key| Span {
            low: low[key as usize],
            high: high[key as usize],
            key,
        });
        all.filter(|span| span.low < span.high).collect()
    }

    fn pass(&mut self, lanes: &[u8], low: usize, high: usize) {
        let transactions = node(self.group.txns.len());
        let mut known = vec![Known::default(); high - low + 1];
        for place in low..=high {
            let at = self.ways.sequence[place];
            let mut out = known[place - low];
            if at < transactions {
                self.look(at, lanes, &out);
                if self.direct {
                    out = Known::default();
                }
                for reach in self.group.reaches(at) {
                    if let Some(known) = out.get_mut(lanes[reach.key as usize] as usize) {
                        *known = reach.end.max(*known);
                    }
                }
            }
            if out == Known::default() {
                continue;
            }
            for (to, _) in self.ways.graph.edges(at) {
                let to = self.ways.place[to as usize] as usize;
                if let Some(known) = known.get_mut(to - low) {
                    for (known, more) in known.iter_mut().zip(out) {
                        *known = more.max(*known);
                    }
                }
            }
        }
    }

    fn look(&mut self, txn: u32, lanes: &[u8], known: &Known) {
        for read in self.group.reads(txn) {
            let known = known.get(lanes[read.key as usize] as usize);
            if known.is_some_and(|known| *known > read.length) {
                self.missed.push(Missed {
                    txn,
                    key: read.key,
                    length: read.length,
                });
            }
        }
    }
}
