//! Appends that nobody read: where their order is not known and decides.
//!
//! What no read shows was appended behind what reads show, in an order that nobody knows. If transactions need no circle at all, any order
//! that they can stand in is one for their appends too. Snapshot isolation and its like allow some circles, and there the order of two such appends to one key may make
//! a circle that is not allowed, whichever comes first:
//!
//! ```text
//! T1  r y [], append x 1, append z 1        each missed what the other appended, which is allowed;
//! T2  r z [], append x 2, append y 1        but of two that append to x one must have seen the other
//! ```
//!
//! Only a pair within a component can do that: otherwise the component that comes first has the first append. Some orders are tried, and one that makes no
//! forbidden circle is proof. If none of them is, the question stays open.

use std::collections::BTreeMap;

use super::{
    findings::{key, name},
    input::{NONE, Transactions},
    lists::Lists,
};

/// Transactions of one component that appended to one key what nobody read.
pub(super) struct Together {
    key: u32,
    txns: Vec<u32>,
}

/// All of them, by component and key.
pub(super) fn together(lists: &Lists, components: &[&[u32]]) -> Vec<Together> {
    let mut all = Vec::new();
    for component in components {
        let mut by_key: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for txn in component.iter().copied() {
            for place in lists.txns.places(txn) {
                let step = lists.txns.step(place);
                if step.write && lists.position[lists.last[place] as usize] == NONE {
                    by_key.entry(step.key).or_default().push(txn);
                }
            }
        }
        for (key, mut txns) in by_key {
            txns.dedup();
            if txns.len() > 1 {
                all.push(Together { key, txns });
            }
        }
    }
    all
}

/// Orders that are tried.
pub(super) const TRIES: usize = 3;

/// Who comes before whom in one of these orders: as they were invoked, as they ended, or the other way round.
pub(super) fn ordered(txns: &Transactions, all: &[Together], tried: usize) -> Vec<(u32, u32)> {
    let mut before = Vec::new();
    for together in all {
        let mut order = together.txns.clone();
        match tried {
            0 => order.sort_by_key(|txn| txns.completed_index[*txn as usize]),
            1 => {}
            _ => order.reverse(),
        }
        before.extend(order.windows(2).map(|pair| (pair[0], pair[1])));
    }
    before
}

/// Why that is not known.
pub(super) fn why(txns: &Transactions, all: &[Together]) -> Option<String> {
    let first = all.first()?;
    let told = |at: usize| name(&txns.operation(first.txns[at]));
    Some(format!(
        "which of {} and {} appended to {} first decides, and nobody read what they appended there",
        told(0),
        told(1),
        key(&txns.key(first.key))
    ))
}
