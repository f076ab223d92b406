//! What is wrong with reads of registers before any cycle is looked for.
//!
//! | anomaly | the read |
//! | --- | --- |
//! | internal | contradicts the transaction's own last read or write of the key (Cerone and others 2015, axiom INT) |
//! | future-read | shows what the transaction writes only later |
//! | G1a | shows the value of a transaction that failed |
//! | G1b | shows a value that its writer wrote over in the same transaction |
//! | lost-update | two transactions read the same version and both wrote over it |
//! | cyclic-versions | read and wrote values of a key in a circle |
//! | unwritten-read | shows what nobody wrote, and it cannot be the initial value |
//!
//! A key has one initial value. If somebody read null, that is null; otherwise it may be the one value that was read and that nobody
//! wrote, which is then passed over with a warning, as Elle does. Two such values cannot both be it.

use std::collections::BTreeMap;

use harness_core::history::Outcome;

use super::{
    anomaly::Anomaly,
    atoms::Atom,
    findings::{Findings, edge, equals, name, shown, who, witness},
    graph::node,
    input::NONE,
    registers::{INITIAL, Registers},
};

/// Looks through all reads; gives how many showed what may be an initial value other than null.
pub(super) fn find(registers: &Registers, findings: &mut Findings) -> usize {
    for (txn, places) in registers.txns.each() {
        if registers.txns.outcome(txn) != Outcome::Ok {
            continue;
        }
        internal(registers, txn, findings);
        for place in places {
            if !registers.txns.step(place).write {
                of_others(registers, txn, place, findings);
            }
        }
    }
    lost_updates(registers, findings);
    circles(registers, findings);
    unwritten(registers, findings)
}

/// `x=1` of a step.
fn value_of(registers: &Registers, place: usize) -> String {
    let key = registers.txns.key(registers.txns.step(place).key);
    equals(&key, &registers.txns.value(place))
}

fn internal(registers: &Registers, txn: u32, findings: &mut Findings) {
    let txns = &registers.txns;
    let places = txns.places(txn);
    for place in places.clone() {
        let step = txns.step(place);
        let mut earlier = (places.start..place).rev();
        let Some(before) = earlier.find(|at| !step.write && txns.step(*at).key == step.key) else {
            continue;
        };
        if txns.step(before).atom() == step.atom() {
            continue;
        }
        findings.add(Anomaly::Internal, || {
            witness(Anomaly::Internal, txns, &[txn], |operations, clock| {
                format!(
                    "{} read {}. Just before, it had itself {} {}.",
                    who(operations[0], clock),
                    value_of(registers, place),
                    if txns.step(before).write {
                        "written"
                    } else {
                        "read"
                    },
                    value_of(registers, before),
                )
            })
        });
        return;
    }
}

/// Values of failed transactions, intermediate ones, and the reader's own of later.
fn of_others(registers: &Registers, txn: u32, place: usize, findings: &mut Findings) {
    let Some(write) = registers.txns.writes.get(registers.saw(place) as usize) else {
        return;
    };
    let (writer, made) = (write.txn, write.step as usize);
    let (anomaly, said) = if writer == txn {
        if made < place {
            return;
        }
        (
            Anomaly::FutureRead,
            "it wrote that itself, but only after this read",
        )
    } else if registers.txns.outcome(writer) == Outcome::Fail {
        (
            Anomaly::G1a,
            "which had failed: none of its work may ever be seen",
        )
    } else if write.overwritten {
        (
            Anomaly::G1b,
            "which wrote over it before it ended: its work was half done",
        )
    } else {
        return;
    };
    findings.add(anomaly, || {
        let mut shown_one = witness(
            anomaly,
            &registers.txns,
            &[txn, writer],
            |operations, clock| {
                let reader = who(operations[0], clock);
                let read = value_of(registers, place);
                match operations.get(1) {
                    Some(writer) => format!(
                        "{reader} read {read}. That was written by {}, {said}.",
                        who(writer, clock)
                    ),
                    None => format!("{reader} read {read}; {said}."),
                }
            },
        );
        if writer != txn {
            shown_one.edges.push(edge(
                &registers.txns,
                writer,
                txn,
                format!(
                    "{} read {}, which {} had written",
                    name(&registers.txns.operation(txn)),
                    value_of(registers, place),
                    name(&registers.txns.operation(writer)),
                ),
            ));
        }
        shown_one
    });
}

fn lost_updates(registers: &Registers, findings: &mut Findings) {
    for group in registers
        .reads
        .chunk_by(|a, b| (a.key, a.saw) == (b.key, b.saw))
    {
        let mut updates = group
            .iter()
            .filter(|read| read.wrote != NONE && read.saw != NONE);
        let (Some(first), Some(second)) = (updates.next(), updates.next()) else {
            continue;
        };
        findings.add(Anomaly::LostUpdate, || {
            let numbers = [first.txn, second.txn];
            witness(Anomaly::LostUpdate, &registers.txns, &numbers, |operations, clock| {
                format!(
                    "{} read {} and wrote over it; so did {}, which read the same. Neither saw the other's change, so one of them changed what was no longer there.",
                    who(operations[0], clock),
                    value_of(registers, first.step as usize),
                    operations.get(1).map_or_else(String::new, |other| who(other, clock)),
                )
            })
        });
    }
}

/// Versions that replaced each other in a circle: each has at most one that its writer read.
fn circles(registers: &Registers, findings: &mut Findings) {
    let mut read_before = vec![NONE; registers.txns.writes.len()];
    for read in &registers.reads {
        if registers.is_version(read.wrote) && registers.is_version(read.saw) {
            read_before[read.wrote as usize] = read.saw;
        }
    }
    // The walk on which a version was seen first.
    let mut walked = vec![NONE; read_before.len()];
    for start in 0..node(read_before.len()) {
        let mut at = start;
        while at != NONE && walked[at as usize] == NONE {
            walked[at as usize] = start;
            at = read_before[at as usize];
        }
        if at == NONE || walked[at as usize] != start || read_before[at as usize] == at {
            continue;
        }
        let mut circle = vec![at];
        let mut next = read_before[at as usize];
        while next != at {
            circle.push(next);
            next = read_before[next as usize];
        }
        circle.reverse();
        findings.add(Anomaly::CyclicVersions, || {
            let write = |version: u32| &registers.txns.writes[version as usize];
            let numbers: Vec<u32> = circle.iter().map(|version| write(*version).txn).collect();
            let values: Vec<String> = circle
                .iter()
                .map(|version| value_of(registers, write(*version).step as usize))
                .collect();
            witness(Anomaly::CyclicVersions, &registers.txns, &numbers, |operations, clock| {
                format!(
                    "{} and {} read each other's values before writing their own: {} each replaced the one before, and the first replaced the last.",
                    who(operations[0], clock),
                    operations.get(1).map_or_else(String::new, |other| who(other, clock)),
                    values.join(", "),
                )
            })
        });
    }
}

/// Reads of what nobody wrote; gives how many may be of the initial value.
fn unwritten(registers: &Registers, findings: &mut Findings) -> usize {
    let mut initial: BTreeMap<u32, Atom> = BTreeMap::new();
    for read in &registers.reads {
        if read.saw == INITIAL {
            initial.insert(read.key, Atom::NULL);
        }
    }
    let mut passed_over = 0;
    for read in registers.reads.iter().filter(|read| read.saw == NONE) {
        let value = registers.txns.step(read.step as usize).atom();
        let known = *initial.entry(read.key).or_insert(value);
        if known == value {
            passed_over += 1;
            continue;
        }
        findings.add(Anomaly::UnwrittenRead, || {
            witness(Anomaly::UnwrittenRead, &registers.txns, &[read.txn], |operations, clock| {
                format!(
                    "{} read {}. No transaction ever wrote that, and it is not what was there at first, which was {}.",
                    who(operations[0], clock),
                    value_of(registers, read.step as usize),
                    shown(&registers.txns.atoms.value(known)),
                )
            })
        });
    }
    passed_over
}
