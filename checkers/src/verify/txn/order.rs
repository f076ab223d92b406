//! Transactions of which no order explains what they read, by trying all orders.
//!
//! A history that has an order has one for any part of it, with those reads whose writer is in the part. So it is enough that the
//! transactions of the witness have none. Values are registers'.

use std::collections::HashSet;

use harness_core::{history::Outcome, verdict::Witness};
use serde_json::Value;

use super::facts::{Facts, Txn};

/// Transactions that are tried in all orders.
const TRANSACTIONS_LIMIT: usize = 20;
/// States that are looked at before it is given up.
const STATES_LIMIT: usize = 2_000_000;

/// Whether the witness is of this kind: what to try then.
pub(super) fn is_order(witness: &Witness) -> bool {
    witness.kind.starts_with("no-serial-order") || witness.kind.starts_with("no-snapshot-order")
}

/// Whether no order is found; `Ok(false)` if there are too many.
pub(super) fn verify(facts: &Facts, witness: &Witness) -> Result<bool, String> {
    let mut txns = Vec::new();
    for index in &witness.operations {
        let txn = facts.txn(*index)?;
        if !facts.took_effect(txn) {
            return Err(format!(
                "operation {index} is not known to have taken effect"
            ));
        }
        txns.push(txn);
    }
    if txns.len() > TRANSACTIONS_LIMIT {
        return Ok(false);
    }
    let mut tried = Tried {
        keys: numbers(&txns),
        snapshots: witness.kind.starts_with("no-snapshot"),
        process: witness.kind.ends_with("-process"),
        realtime: witness.kind.ends_with("-realtime"),
        txns,
        seen: HashSet::new(),
    };
    let (phases, state) = (vec![0; tried.txns.len()], vec![None; tried.keys.len()]);
    match tried.goes_on(&phases, &state) {
        None => Ok(false),
        Some(true) => Err("there is an order that explains all of them".to_owned()),
        Some(false) => Ok(true),
    }
}

fn numbers<'f>(txns: &[&'f Txn]) -> Vec<&'f Value> {
    let mut keys: Vec<&Value> = Vec::new();
    for key in txns.iter().flat_map(|txn| txn.keys()) {
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

/// By key: who wrote last, among the transactions tried.
type State = Vec<Option<usize>>;

struct Tried<'f> {
    txns: Vec<&'f Txn>,
    keys: Vec<&'f Value>,
    snapshots: bool,
    process: bool,
    realtime: bool,
    seen: HashSet<(Vec<u8>, State)>,
}

impl Tried<'_> {
    /// Whether an order goes on from here to the end; None if there are too many states. Phases: 0 not begun, 1 begun, 2 ended.
    fn goes_on(&mut self, phases: &[u8], state: &State) -> Option<bool> {
        if phases.iter().all(|phase| *phase == 2) {
            return Some(true);
        }
        if self.seen.len() > STATES_LIMIT {
            return None;
        }
        if !self.seen.insert((phases.to_vec(), state.clone())) {
            return Some(false);
        }
        for at in 0..phases.len() {
            let mut after = phases.to_vec();
            let mut then = state.clone();
            after[at] += 1;
            match phases[at] {
                0 if !self.may_begin(at, phases, state) => continue,
                0 if self.snapshots => {}
                0 | 1 => {
                    after[at] = 2;
                    for (key, last) in self.keys.iter().zip(&mut then) {
                        if self.txns[at].writes(key).next().is_some() {
                            *last = Some(at);
                        }
                    }
                }
                _ => continue,
            }
            if self.goes_on(&after, &then)? {
                return Some(true);
            }
        }
        Some(false)
    }

    fn may_begin(&self, at: usize, phases: &[u8], state: &State) -> bool {
        let txn = self.txns[at];
        for (other, phase) in self.txns.iter().zip(phases) {
            let ended = other.ended.filter(|_| other.outcome == Outcome::Ok);
            let first = self.process
                && other.process == txn.process
                && other.index < txn.index
                && ended.is_some()
                || self.realtime && ended.is_some_and(|ended| ended < txn.index);
            let both = |key: &&Value| {
                txn.writes(key).next().is_some() && other.writes(key).next().is_some()
            };
            if first && *phase != 2 || *phase == 1 && self.keys.iter().any(both) {
                return false;
            }
        }
        self.keys.iter().zip(state).all(|(key, last)| {
            txn.reads_first(key).all(|read| {
                let wrote = |txn: &&Txn| txn.writes(key).next_back() == Some(read);
                match self.txns.iter().position(wrote) {
                    _ if read.is_null() => last.is_none(),
                    Some(writer) => *last == Some(writer),
                    None => true,
                }
            })
        })
    }
}
