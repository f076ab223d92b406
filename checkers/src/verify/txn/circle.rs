//! Circles of dependencies, by Adya's definitions.

use harness_core::verdict::Witness;
use serde_json::Value;

use super::facts::{self, Facts, Shape, Txn};

/// Of which kinds an edge can be.
#[derive(Clone, Copy, Default)]
struct Kinds {
    /// Writes alone, and the order that the kind of circle counts.
    ww: bool,
    /// As well: read from.
    base: bool,
    /// Read and missed.
    rw: bool,
}

/// Which order counts besides the data's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Plain,
    Process,
    Realtime,
}

/// Whether the witness's edges make such a circle; `Ok(false)` if it shows none.
pub(super) fn verify(facts: &Facts, witness: &Witness) -> Result<bool, String> {
    let (kind, order) = match witness.kind.as_str() {
        kind if kind.ends_with("-process") => (kind.trim_end_matches("-process"), Order::Process),
        kind if kind.ends_with("-realtime") => {
            (kind.trim_end_matches("-realtime"), Order::Realtime)
        }
        kind => (kind, Order::Plain),
    };
    if !facts::is_closed(witness)? {
        return Ok(false);
    }
    let mut kinds = Vec::new();
    for edge in &witness.edges {
        let (from, to) = (facts.txn(edge.from)?, facts.txn(edge.to)?);
        for txn in [from, to] {
            if !facts.took_effect(txn) {
                return Err(format!(
                    "operation {} is not known to have taken effect",
                    txn.index
                ));
            }
        }
        let found = between(facts, from, to, kind, order);
        if !(found.base || found.rw) {
            return Err(format!(
                "nothing puts operation {} before {}",
                edge.from, edge.to
            ));
        }
        kinds.push(found);
    }
    let only_rw = |at: usize| !kinds[at % kinds.len()].base;
    let count = (0..kinds.len()).filter(|at| only_rw(*at)).count();
    let fits = match kind {
        "G0" => kinds.iter().all(|kinds| kinds.ww),
        "G1c" => count == 0,
        "G-single" => count <= 1 && kinds.iter().any(|kinds| kinds.rw),
        "G-nonadjacent" => {
            (0..kinds.len()).all(|at| !(only_rw(at) && only_rw(at + 1)))
                && kinds.iter().any(|kinds| kinds.rw)
        }
        "G2-item" => kinds.iter().any(|kinds| kinds.rw),
        other => return Err(format!("{other} is no kind of circle")),
    };
    match fits {
        true => Ok(true),
        false => Err(format!("the circle is none of kind {}", witness.kind)),
    }
}

fn between(facts: &Facts, from: &Txn, to: &Txn, kind: &str, order: Order) -> Kinds {
    let mut kinds = Kinds::default();
    let ordered = match order {
        Order::Plain => false,
        Order::Process => {
            from.process == to.process && from.index < to.index && from.ended.is_some()
        }
        Order::Realtime => from.ended.is_some_and(|ended| ended < to.index),
    };
    kinds.ww = ordered;
    kinds.base = ordered;
    for key in from.keys() {
        let (ww, wr, rw) = match facts.shape {
            Shape::Lists => lists(facts, from, to, key),
            // Orders of versions that are inferred from the order count from G-single on.
            Shape::Registers => {
                let inferred = if kind.starts_with("G0") || kind.starts_with("G1") {
                    Order::Plain
                } else {
                    order
                };
                registers(facts, from, to, key, inferred)
            }
        };
        kinds.ww |= ww;
        kinds.base |= ww | wr;
        kinds.rw |= rw;
    }
    kinds
}

/// Write-, read- and anti-dependency by the longest list that was read; what is not in it was appended after.
fn lists(facts: &Facts, from: &Txn, to: &Txn, key: &Value) -> (bool, bool, bool) {
    let longest = facts.longest(key);
    let place = |value: &Value| {
        let found = longest.iter().position(|item| item == value);
        found.unwrap_or(longest.len())
    };
    let wrote = |txn: &Txn| txn.writes(key).map(place).collect::<Vec<usize>>();
    let (before, after) = (wrote(from), wrote(to));
    let ww = before.iter().any(|a| after.iter().any(|b| a < b));
    let read_last = |txn: &Txn| {
        let reads = txn
            .steps
            .iter()
            .filter(|step| !step.write && step.key == *key);
        reads
            .map(|read| super::facts::elements(&read.value).to_vec())
            .collect::<Vec<_>>()
    };
    let wr = read_last(to).iter().any(|list| {
        list.last()
            .is_some_and(|last| from.writes(key).any(|written| written == last))
    });
    let rw = read_last(from).iter().any(|list| {
        let seen = list.last().map_or(0, |last| place(last) + 1);
        let known = list.last().is_none_or(|last| longest.contains(last));
        known && after.iter().any(|place| *place >= seen)
    });
    (ww, wr, rw)
}

/// The same for registers, whose order of versions is known where somebody read the one and wrote the other, or by process and real time.
fn registers(facts: &Facts, from: &Txn, to: &Txn, key: &Value, order: Order) -> (bool, bool, bool) {
    let last = |txn: &Txn| txn.writes(key).next_back().cloned();
    let (before, after) = (last(from), last(to));
    let came_before = |a: &Value, b: &Value| a != b && precedes(facts, key, a, b, order);
    let ww = match (&before, &after) {
        (Some(a), Some(b)) => came_before(a, b),
        _ => false,
    };
    let wr = before
        .as_ref()
        .is_some_and(|a| to.reads_first(key).any(|read| read == a));
    let rw = after.as_ref().is_some_and(|b| {
        before.as_ref() != Some(b) && from.reads_first(key).any(|read| came_before(read, b))
    });
    (ww, wr, rw)
}

/// Whether the version `a` of a key came before `b`.
fn precedes(facts: &Facts, key: &Value, a: &Value, b: &Value, order: Order) -> bool {
    if a.is_null() {
        return true;
    }
    let replaced = facts.txns.iter().any(|txn| {
        facts.took_effect(txn)
            && txn.reads_first(key).any(|read| read == a)
            && txn.writes(key).next_back() == Some(b)
    });
    if replaced {
        return true;
    }
    let touches = |txn: &Txn, value: &Value| {
        facts.took_effect(txn)
            && (txn.writes(key).next_back() == Some(value)
                || txn.reads_first(key).any(|read| read == value))
    };
    let early: Vec<&Txn> = facts.txns.iter().filter(|txn| touches(txn, a)).collect();
    let late: Vec<&Txn> = facts.txns.iter().filter(|txn| touches(txn, b)).collect();
    early.iter().any(|x| {
        late.iter().any(|y| match order {
            Order::Plain => false,
            Order::Process => x.process == y.process && x.index < y.index,
            Order::Realtime => x.ended.is_some_and(|ended| ended < y.index),
        })
    })
}
