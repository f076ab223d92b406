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

use super::{
    anomaly::Anomaly,
    atoms::Atom,
    findings::{Findings, edge, equals, key as key_name, name, shown, who, witness},
    graph::node,
    input::{NONE, Write},
    lists::Lists,
};

/// Places in the order of a key whose elements are those of failed transactions, or of nobody.
struct Bad {
    failed: Vec<u32>,
    unwritten: Vec<u32>,
}

/// Looks through all reads.
pub(super) fn find(lists: &Lists, findings: &mut Findings) {
    let keys = node(lists.txns.keys.len());
    let bad: Vec<Bad> = (0..keys).map(|key| bad_places(lists, key)).collect();
    for (txn, places) in lists.txns.each() {
        if lists.txns.outcome(txn) != Outcome::Ok {
            continue;
        }
        internal(lists, txn, findings);
        future_read(lists, txn, findings);
        for place in places {
            if lists.txns.step(place).write {
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
fn readers(lists: &Lists) -> Vec<u32> {
    let mut readers = vec![NONE; lists.txns.step_count()];
    for (txn, places) in lists.txns.each() {
        readers[places].fill(txn);
    }
    readers
}

fn bad_places(lists: &Lists, key: u32) -> Bad {
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
fn read_of(lists: &Lists, place: usize) -> String {
    let key = lists.txns.key(lists.txns.step(place).key);
    equals(&key, &lists.txns.value(place))
}

fn key_of(lists: &Lists, place: usize) -> String {
    key_name(&lists.txns.key(lists.txns.step(place).key))
}

/// `7`, of an element.
fn element_of(lists: &Lists, element: Atom) -> String {
    shown(&lists.txns.atoms.value(element))
}

fn internal(lists: &Lists, txn: u32, findings: &mut Findings) {
    let txns = &lists.txns;
    let places = txns.places(txn);
    for place in places.clone() {
        let step = txns.step(place);
        if step.write {
            continue;
        }
        // What it did with this key before, back to its last read of it.
        let mut own: Vec<Atom> = Vec::new();
        let mut base = None;
        for earlier in (places.start..place).rev() {
            let did = txns.step(earlier);
            if did.key == step.key && did.write {
                own.push(did.atom());
            } else if did.key == step.key {
                base = Some(txns.list(earlier));
                break;
            }
        }
        if own.is_empty() && base.is_none() {
            continue;
        }
        own.reverse();
        let read = txns.list(place);
        let fits = read.len().checked_sub(own.len()).is_some_and(|split| {
            read[split..] == own && base.is_none_or(|base| base == &read[..split])
        });
        if fits {
            continue;
        }
        findings.add(Anomaly::Internal, || {
            let expected = [base.unwrap_or_default(), &own].concat();
            let ending = if base.is_some() {
                ""
            } else {
                "a list that ends in "
            };
            witness(Anomaly::Internal, txns, &[txn], |operations, clock| {
                format!(
                    "{} read {}. After its own earlier steps it should have read {ending}{}.",
                    who(operations[0], clock),
                    read_of(lists, place),
                    shown(&txns.values(&expected).into())
                )
            })
        });
        return;
    }
}

fn future_read(lists: &Lists, txn: u32, findings: &mut Findings) {
    let places = lists.txns.places(txn);
    for later in places.clone() {
        let append = lists.txns.step(later);
        if !append.write {
            continue;
        }
        let position = lists.position[lists.last[later] as usize];
        let early = (places.start..later).find(|place| {
            let read = lists.txns.step(*place);
            if read.write || read.key != append.key {
                return false;
            }
            match lists.odd[*place] {
                true => lists.txns.list(*place).contains(&append.atom()),
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
                            element_of(lists, append.atom())
                        )
                    },
                )
            });
            return;
        }
    }
}

/// Elements of failed transactions, and of nobody.
fn foreign_elements(lists: &Lists, txn: u32, place: usize, bad: &[Bad], findings: &mut Findings) {
    let step = lists.txns.step(place);
    let here = &bad[step.key as usize];
    if !lists.odd[place] && here.failed.is_empty() && here.unwritten.is_empty() {
        return;
    }
    let read = lists.txns.list(place);
    let (mut failed, mut unwritten): (Vec<Atom>, Vec<Atom>) = (Vec::new(), Vec::new());
    if lists.odd[place] {
        for element in read {
            match lists.txns.writer(step.key, *element) {
                None => unwritten.push(*element),
                Some(write) => {
                    let writer = lists.txns.writes[write as usize].txn;
                    if lists.txns.outcome(writer) == Outcome::Fail {
                        failed.push(*element);
                    }
                }
            }
        }
    } else {
        let within = |places: &[u32]| -> Vec<Atom> {
            let number = places.partition_point(|at| (*at as usize) < read.len());
            places[..number]
                .iter()
                .map(|at| read[*at as usize])
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
                    element_of(lists, unwritten[0]),
                    key_of(lists, place)
                )
            },
        )
    });
}

/// A read of an element of a failed transaction.
fn aborted(lists: &Lists, txn: u32, place: usize, element: Atom) -> Witness {
    let step = lists.txns.step(place);
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
                element_of(lists, element),
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
            name(&lists.txns.operation(txn)),
            read_of(lists, place),
            name(&lists.txns.operation(writer)),
            element_of(lists, element)
        ),
    ));
    shown_one
}

fn intermediate(lists: &Lists, txn: u32, place: usize, findings: &mut Findings) {
    let Some(write) = lists.txns.writes.get(lists.last[place] as usize) else {
        return;
    };
    if !write.overwritten || write.txn == txn {
        return;
    }
    let writer = write.txn;
    findings.add(Anomaly::G1b, || {
        let element = write.element;
        let mut shown_one = witness(Anomaly::G1b, &lists.txns, &[txn, writer], |operations, clock| {
            format!(
                "{} read {}. The last element, {}, is not the last that {} appended there: its work was half done.",
                who(operations[0], clock),
                read_of(lists, place),
                element_of(lists, element),
                operations.get(1).map_or_else(String::new, |writer| who(writer, clock)),
            )
        });
        shown_one.edges.push(edge(
            &lists.txns,
            writer,
            txn,
            format!(
                "{} read {}, which {} went on to append to",
                name(&lists.txns.operation(txn)),
                read_of(lists, place),
                name(&lists.txns.operation(writer)),
            ),
        ));
        shown_one
    });
}

fn duplicates(lists: &Lists, txn: u32, place: usize, findings: &mut Findings) {
    let mut seen = HashSet::new();
    let mut read = lists.txns.list(place).iter().copied();
    let Some(twice) = read.find(|element| !seen.insert(element.word())) else {
        return;
    };
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
                    element_of(lists, twice)
                )
            },
        )
    });
}

fn incompatible(lists: &Lists, key: u32, readers: &[u32], findings: &mut Findings) {
    let odd = lists.contradicted[key as usize];
    if odd == NONE {
        return;
    }
    let longest = lists.longest[key as usize] as usize;
    let odd = odd as usize;
    findings.add(Anomaly::IncompatibleOrder, || {
        let (short, long) = (
            lists.txns.list(odd),
            lists.txns.list(longest),
        );
        let at = short.iter().zip(long).take_while(|(a, b)| a == b).count();
        let at_place = |list: &[Atom]| {
            let element = list.get(at).copied();
            element.map_or_else(|| "nothing".to_owned(), |atom| element_of(lists, atom))
        };
        let numbers = [readers[odd], readers[longest]];
        witness(Anomaly::IncompatibleOrder, &lists.txns, &numbers, |operations, clock| {
            format!(
                "{} read {}, and {} read {}. At place {} the first has {}, the second {}; a list that only grows cannot have been both.",
                who(operations[0], clock),
                read_of(lists, odd),
                operations.get(1).map_or_else(|| "later it".to_owned(), |other| who(other, clock)),
                read_of(lists, longest),
                at + 1,
                at_place(short),
                at_place(long),
            )
        })
    });
}

/// An element of a failed transaction, and above it one of a transaction that succeeded.
fn dirty_updates(lists: &Lists, key: u32, findings: &mut Findings) {
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
                    let value = |write: &Write| element_of(lists, write.element);
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
                                key_name(&lists.txns.key(key)),
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
fn lost_updates(lists: &Lists, findings: &mut Findings) {
    let mut updates: Vec<(u32, usize, u32, usize, u32)> = Vec::new();
    for (txn, places) in lists.txns.each() {
        if lists.txns.outcome(txn) != Outcome::Ok {
            continue;
        }
        for place in places.clone() {
            let step = lists.txns.step(place);
            if step.write {
                continue;
            }
            let before = |earlier: usize| lists.txns.step(earlier).key == step.key;
            let writes = |later: usize| {
                let later = lists.txns.step(later);
                later.write && later.key == step.key
            };
            if !(places.start..place).any(before) && (place + 1..places.end).any(writes) {
                let length = step.length();
                updates.push((step.key, length, lists.last[place], place, txn));
            }
        }
    }
    updates.sort_unstable();
    for group in updates.chunk_by(|a, b| (a.0, a.1, a.2) == (b.0, b.1, b.2)) {
        let read = |place: usize| lists.txns.list(place);
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
