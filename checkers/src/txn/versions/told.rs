//! What a contradiction rests on: its circle, and the transactions that suffice for it.

use super::{Case, Step, Why, state::State};
use crate::txn::anomaly::Order;

impl Case<'_> {
    /// A shortest way between two points over what was known before a link: by links' places, or `None` for what is not written down.
    fn path(
        &self,
        state: &State,
        from: u32,
        to: u32,
        until: usize,
    ) -> Vec<(u32, u32, Option<usize>)> {
        if from == to {
            return Vec::new();
        }
        let mut out: Vec<Vec<usize>> = vec![Vec::new(); self.points()];
        for (place, link) in state.links[..until].iter().enumerate() {
            out[link.from as usize].push(place);
        }
        let mut came: Vec<Option<(u32, u32, Option<usize>)>> = vec![None; self.points()];
        let mut open = std::collections::VecDeque::from([from]);
        while let Some(at) = open.pop_front() {
            let txn = self.txn_of(at);
            let mut reach: Vec<(u32, Option<usize>)> = out[at as usize]
                .iter()
                .map(|place| (state.links[*place].to, Some(*place)))
                .collect();
            if self.split && at == self.start(txn) {
                reach.push((self.end(txn), None));
            }
            if at == self.end(txn) && self.order != Order::Plain {
                let after =
                    (0..self.txns.len() as u32).filter(|other| self.is_ordered(txn, *other));
                reach.extend(after.map(|other| (self.start(other), None)));
            }
            for (next, place) in reach {
                if came[next as usize].is_none() && next != from {
                    came[next as usize] = Some((at, next, place));
                    open.push_back(next);
                }
            }
        }
        let mut steps = Vec::new();
        let mut at = to;
        while at != from {
            let Some(step) = came[at as usize] else { break };
            steps.push(step);
            at = step.0;
        }
        steps.reverse();
        steps
    }

    /// The circle that the link at a place closed, between transactions.
    pub(super) fn circle(&self, state: &State, last: usize) -> Vec<Step> {
        let link = state.links[last];
        let mut steps = vec![(link.from, link.to, Some(last))];
        steps.extend(self.path(state, link.to, link.from, last));
        let told = steps.into_iter().map(|(from, to, place)| Step {
            from: self.txns[self.txn_of(from) as usize],
            to: self.txns[self.txn_of(to) as usize],
            why: match place.map_or(Why::Order, |place| state.links[place].why) {
                Why::Missed(key, writer) => Why::Missed(key, self.txns[writer as usize]),
                Why::Wrote(key, reader) => {
                    Why::Wrote(key, reader.map(|reader| self.txns[reader as usize]))
                }
                why => why,
            },
        });
        told.filter(|step| step.from != step.to).collect()
    }

    /// Marks the transactions that a circle rests on, and what each of its links rests on.
    pub(super) fn support(&self, state: &State, last: usize, needed: &mut [bool]) {
        let mut seen = vec![false; state.links.len()];
        let link = state.links[last];
        let mut open: Vec<(u32, u32, usize)> = vec![(link.to, link.from, last)];
        let mut links = vec![last];
        loop {
            if let Some((from, to, until)) = open.pop() {
                for point in [from, to] {
                    needed[self.txn_of(point) as usize] = true;
                }
                for (a, b, place) in self.path(state, from, to, until) {
                    for point in [a, b] {
                        needed[self.txn_of(point) as usize] = true;
                    }
                    links.extend(place);
                }
            } else if let Some(place) = links.pop() {
                if std::mem::replace(&mut seen[place], true) {
                    continue;
                }
                let link = state.links[place];
                for point in [link.from, link.to] {
                    needed[self.txn_of(point) as usize] = true;
                }
                if let Why::Missed(_, writer) = link.why {
                    needed[writer as usize] = true;
                }
                if let Some((from, to)) = link.because {
                    open.push((from, to, place));
                }
            } else {
                return;
            }
        }
    }
}
