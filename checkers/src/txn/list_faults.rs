//! What is wrong with reads of lists before any cycle is looked for.
//!
//! | anomaly | the read |
//! | --- | --- |
//! | internal | contradicts the transaction's own reads and appends before it (Cerone and others 2015, axiom INT) |
//! | future-read | shows what the transaction appends only later |
//! | G1a | shows an element of a transaction that failed |
//! | G1b | ends in the middle of another transaction's appends to the key |
//! | dirty-update | the order has an element of a failed transaction below one of a transaction that took effect |
//! | lost-update | two transactions read the same state of a key and both appended to it |
//! | duplicate-elements, unwritten-read | shows an element twice, or one that nobody appended |
//! | incompatible-order | is no prefix of the longest read of its key; counted once a key |

use std::collections::HashSet;

use harness_core::{history::Outcome, verdict::Witness};
use serde_json::Value;

use super::{
    anomaly::Anomaly,
    findings::{Findings, edge, equals, key as key_name, name, shown, who, witness},
    graph::node,
    input::{NONE, Write},
    lists::{Lists, elements},
};

/// Places in the order of a key whose elements are those of failed transactions, or of nobody.
struct Bad {
    failed: Vec<u32>,
    unwritten: Vec<u32>,
}

/// Looks through all reads.
pub(super) fn find(lists: &Lists<'_>, findings: &mut Findings) {
    let keys = node(lists.txns.keys.len());
    let bad: Vec<Bad> = (0..keys).map(|key| bad_places(lists, key)).collect();
    for (txn, places) in lists.txns.each() {
        if lists.txns.outcome(txn) != Outcome::Ok {
            continue;
        }
        internal(lists, txn, findings);
        future_read(lists, txn, findings);
        for place in places {
            if lists.txns.steps()[place].write {
                continue;
            }
            foreign_elements(lists, txn, place, &bad, findings);
            intermediate(lists, txn, place, findings);
            if lists.odd[place] {
                duplicates(lists, txn, place, findings);
            }
        }
    }
    let readers = readers(lists);
    for key in 0..keys {
        incompatible(lists, key, &readers, findings);
        dirty_updates(lists, key, findings);
    }
    lost_updates(lists, findings);
}

/// By step: its transaction.
fn readers(lists: &Lists<'_>) -> Vec<u32> {
    let mut readers = vec![NONE; lists.txns.steps().len()];
    for (txn, places) in lists.txns.each() {
        readers[places].fill(txn);
    }
    readers
}

fn bad_places(lists: &Lists<'_>, key: u32) -> Bad {
    let mut bad = Bad {
        failed: Vec::new(),
        unwritten: Vec::new(),
    };
    for (place, write) in (0_u32..).zip(lists.order_of(key)) {
        match lists.txns.writes.get(*write as usize) {
            None => bad.unwritten.push(place),
            Some(write) if lists.txns.outcome(write.txn) == Outcome::Fail => bad.failed.push(place),
            Some(_) => {}
        }
    }
    bad
}

/// `x=[1 2]` of a step.
fn read_of(lists: &Lists<'_>, place: usize) -> String {
    let step = &lists.txns.steps()[place];
    equals(lists.txns.keys[step.key as usize], step.value)
}

fn key_of(lists: &Lists<'_>, place: usize) -> String {
    key_name(lists.txns.keys[lists.txns.steps()[place].key as usize])
}

fn internal(lists: &Lists<'_>, txn: u32, findings: &mut Findings) {
    let places = lists.txns.places(txn);
    let steps = &lists.txns.steps()[places.clone()];
    for (at, step) in steps.iter().enumerate() {
        if step.write {
            continue;
        }
        // What it did with this key before, back to its last read of it.
        let mut own: Vec<&Value> = Vec::new();
        let mut base = None;
        for earlier in steps[..at]
            .iter()
            .rev()
            .filter(|earlier| earlier.key == step.key)
        {
            if !earlier.write {
                base = Some(elements(earlier.value));
                break;
            }
            own.insert(0, earlier.value);
        }
        if own.is_empty() && base.is_none() {
            continue;
        }
        let read = elements(step.value);
        let fits = read.len().checked_sub(own.len()).is_some_and(|split| {
            read[split..].iter().eq(own.iter().copied())
                && base.is_none_or(|base| base == &read[..split])
        });
        if fits {
            continue;
        }
        findings.add(Anomaly::Internal, || {
            let expected: Vec<Value> = base
                .unwrap_or_default()
                .iter()
                .chain(own.iter().copied())
                .cloned()
                .collect();
            let ending = if base.is_some() {
                ""
            } else {
                "a list that ends in "
            };
            witness(
                Anomaly::Internal,
                &lists.txns,
                &[txn],
                |operations, clock| {
                    format!(
                        "{} read {}. After its own earlier steps it should have read {ending}{}.",
                        who(operations[0], clock),
                        read_of(lists, places.start + at),
                        shown(&expected.into())
                    )
                },
            )
        });
        return;
    }
}

fn future_read(lists: &Lists<'_>, txn: u32, findings: &mut Findings) {
    let places = lists.txns.places(txn);
    for later in places.clone() {
        let append = &lists.txns.steps()[later];
        if !append.write {
            continue;
        }
        let position = lists.position[lists.last[later] as usize];
        let early = (places.start..later).find(|place| {
            let read = &lists.txns.steps()[*place];
            if read.write || read.key != append.key {
                return false;
            }
            match lists.odd[*place] {
                true => elements(read.value).contains(append.value),
                false => position != NONE && position < lists.version[*place],
            }
        });
        if let Some(early) = early {
            findings.add(Anomaly::FutureRead, || {
                witness(
                    Anomaly::FutureRead,
                    &lists.txns,
                    &[txn],
                    |operations, clock| {
                        format!(
                            "{} read {}. It appended that {} itself, but only after this read.",
                            who(operations[0], clock),
                            read_of(lists, early),
                            shown(append.value)
                        )
                    },
                )
            });
            return;
        }
    }
}

/// Elements of failed transactions, and of nobody.
fn foreign_elements(
    lists: &Lists<'_>,
    txn: u32,
    place: usize,
    bad: &[Bad],
    findings: &mut Findings,
) {
    let step = &lists.txns.steps()[place];
    let here = &bad[step.key as usize];
    if !lists.odd[place] && here.failed.is_empty() && here.unwritten.is_empty() {
        return;
    }
    let read = elements(step.value);
    let (mut failed, mut unwritten): (Vec<&Value>, Vec<&Value>) = (Vec::new(), Vec::new());
    if lists.odd[place] {
        for element in read {
            match lists.txns.writer(step.key, element) {
                None => unwritten.push(element),
                Some(write) => {
                    let writer = lists.txns.writes[write as usize].txn;
                    if lists.txns.outcome(writer) == Outcome::Fail {
                        failed.push(element);
                    }
                }
            }
        }
    } else {
        let within = |places: &[u32]| -> Vec<&Value> {
            let number = places.partition_point(|at| (*at as usize) < read.len());
            places[..number]
                .iter()
                .map(|at| &read[*at as usize])
                .collect()
        };
        failed = within(&here.failed);
        unwritten = within(&here.unwritten);
    }
    findings.add_many(Anomaly::G1a, failed.len() as u64, || {
        aborted(lists, txn, place, failed[0])
    });
    findings.add_many(Anomaly::UnwrittenRead, unwritten.len() as u64, || {
        witness(
            Anomaly::UnwrittenRead,
            &lists.txns,
            &[txn],
            |operations, clock| {
                format!(
                    "{} read {}. No transaction ever appended {} to {}.",
                    who(operations[0], clock),
                    read_of(lists, place),
                    shown(unwritten[0]),
                    key_of(lists, place)
                )
            },
        )
    });
}

/// A read of an element of a failed transaction.
fn aborted(lists: &Lists<'_>, txn: u32, place: usize, element: &Value) -> Witness {
    let step = &lists.txns.steps()[place];
    let write = lists.txns.writer(step.key, element).unwrap_or(0);
    let writer = lists.txns.writes[write as usize].txn;
    let mut shown_one = witness(
        Anomaly::G1a,
        &lists.txns,
        &[txn, writer],
        |operations, clock| {
            format!(
                "{} read {}. The {} in it was appended by {}, which had failed: none of its work may ever be seen.",
                who(operations[0], clock),
                read_of(lists, place),
                shown(element),
                operations
                    .get(1)
                    .map_or_else(String::new, |writer| who(writer, clock)),
            )
        },
    );
    shown_one.edges.push(edge(
        &lists.txns,
        writer,
        txn,
        format!(
            "{} read {}, to which {} had appended {} before it failed",
            name(lists.txns.operations[txn as usize]),
            read_of(lists, place),
            name(lists.txns.operations[writer as usize]),
            shown(element)
        ),
    ));
    shown_one
}

fn intermediate(lists: &Lists<'_>, txn: u32, place: usize, findings: &mut Findings) {
    let Some(write) = lists.txns.writes.get(lists.last[place] as usize) else {
        return;
    };
    if !write.overwritten || write.txn == txn {
        return;
    }
    let writer = write.txn;
    findings.add(Anomaly::G1b, || {
        let element = lists.txns.steps()[write.step as usize].value;
        let mut shown_one = witness(Anomaly::G1b, &lists.txns, &[txn, writer], |operations, clock| {
            format!(
                "{} read {}. The last element, {}, is not the last that {} appended there: its work was half done.",
                who(operations[0], clock),
                read_of(lists, place),
                shown(element),
                operations.get(1).map_or_else(String::new, |writer| who(writer, clock)),
            )
        });
        shown_one.edges.push(edge(
            &lists.txns,
            writer,
            txn,
            format!(
                "{} read {}, which {} went on to append to",
                name(lists.txns.operations[txn as usize]),
                read_of(lists, place),
                name(lists.txns.operations[writer as usize]),
            ),
        ));
        shown_one
    });
}

fn duplicates(lists: &Lists<'_>, txn: u32, place: usize, findings: &mut Findings) {
    let mut seen = HashSet::new();
    let twice = elements(lists.txns.steps()[place].value)
        .iter()
        .find(|element| !seen.insert(element.to_string()));
    let Some(twice) = twice else { return };
    findings.add(Anomaly::DuplicateElements, || {
        witness(
            Anomaly::DuplicateElements,
            &lists.txns,
            &[txn],
            |operations, clock| {
                format!(
                    "{} read {}. The element {} is in it more than once, and was appended once.",
                    who(operations[0], clock),
                    read_of(lists, place),
                    shown(twice)
                )
            },
        )
    });
}

fn incompatible(lists: &Lists<'_>, key: u32, readers: &[u32], findings: &mut Findings) {
    let odd = lists.contradicted[key as usize];
    if odd == NONE {
        return;
    }
    let longest = lists.longest[key as usize] as usize;
    let odd = odd as usize;
    findings.add(Anomaly::IncompatibleOrder, || {
        let (short, long) = (
            elements(lists.txns.steps()[odd].value),
            elements(lists.txns.steps()[longest].value),
        );
        let at = short.iter().zip(long).take_while(|(a, b)| a == b).count();
        let numbers = [readers[odd], readers[longest]];
        witness(Anomaly::IncompatibleOrder, &lists.txns, &numbers, |operations, clock| {
            format!(
                "{} read {}, and {} read {}. At place {} the first has {}, the second {}; a list that only grows cannot have been both.",
                who(operations[0], clock),
                read_of(lists, odd),
                operations.get(1).map_or_else(|| "later it".to_owned(), |other| who(other, clock)),
                read_of(lists, longest),
                at + 1,
                short.get(at).map_or_else(|| "nothing".to_owned(), shown),
                long.get(at).map_or_else(|| "nothing".to_owned(), shown),
            )
        })
    });
}

/// An element of a failed transaction, and above it one of a transaction that succeeded.
fn dirty_updates(lists: &Lists<'_>, key: u32, findings: &mut Findings) {
    let mut below: Option<&Write> = None;
    for write in lists.order_of(key) {
        let Some(write) = lists.txns.writes.get(*write as usize) else {
            continue;
        };
        match (lists.txns.outcome(write.txn), below) {
            (Outcome::Fail, None) => below = Some(write),
            (Outcome::Fail, Some(_)) | (Outcome::Info, _) => {}
            (Outcome::Ok, None) => {}
            (Outcome::Ok, Some(failed)) => {
                below = None;
                findings.add(Anomaly::DirtyUpdate, || {
                    let value =
                        |write: &Write| shown(lists.txns.steps()[write.step as usize].value);
                    let numbers = [write.txn, failed.txn];
                    witness(
                        Anomaly::DirtyUpdate,
                        &lists.txns,
                        &numbers,
                        |operations, clock| {
                            format!(
                                "{} appended {} to {}, on top of the {} of {}, which had failed.",
                                who(operations[0], clock),
                                value(write),
                                key_name(lists.txns.keys[key as usize]),
                                value(failed),
                                operations
                                    .get(1)
                                    .map_or_else(String::new, |other| who(other, clock)),
                            )
                        },
                    )
                });
            }
        }
    }
}

/// Reads of a key before the transaction's first append to it: `(key, version, last element, place, transaction)`.
fn lost_updates(lists: &Lists<'_>, findings: &mut Findings) {
    let mut updates: Vec<(u32, usize, u32, usize, u32)> = Vec::new();
    for (txn, places) in lists.txns.each() {
        if lists.txns.outcome(txn) != Outcome::Ok {
            continue;
        }
        let steps = lists.txns.steps();
        for place in places.clone() {
            let step = &steps[place];
            let before = |earlier: usize| steps[earlier].key == step.key;
            let first = !step.write && !(places.start..place).any(before);
            let writes = |later: usize| steps[later].write && steps[later].key == step.key;
            if first && (place + 1..places.end).any(writes) {
                let length = elements(step.value).len();
                updates.push((step.key, length, lists.last[place], place, txn));
            }
        }
    }
    updates.sort_unstable();
    for group in updates.chunk_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2)) {
        let read = |place: usize| elements(lists.txns.steps()[place].value);
        let same: Vec<_> = group
            .iter()
            .filter(|update| read(update.3) == read(group[0].3))
            .collect();
        if let [first, second, ..] = same[..] {
            findings.add(Anomaly::LostUpdate, || {
                let numbers = [first.4, second.4];
                witness(Anomaly::LostUpdate, &lists.txns, &numbers, |operations, clock| {
                    format!(
                        "{} read {} and appended to it; so did {}, which read the same. Neither saw the other's change, so one of them changed what was no longer there.",
                        who(operations[0], clock),
                        read_of(lists, first.3),
                        operations.get(1).map_or_else(String::new, |other| who(other, clock)),
                    )
                })
            });
        }
    }
}
