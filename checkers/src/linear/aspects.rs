//! Queues, stacks and sets whose values are unambiguous: decided by what may not happen, in O(n log n), without a search.
//!
//! A queue into which no value is put twice is linearizable exactly if none of these holds (Henzinger, Sezgin and
//! Vafeiadis, Aspect-Oriented Linearizability Proofs, CONCUR 2013; for histories as here: Bouajjani, Emmi, Enea and
//! Hamza, ICALP 2015):
//!
//! ```text
//! fresh   take 5 ├──┤  ├──┤ put 5              taken before anybody began to put it in, or by nobody put in
//! repeat  take 5 ├──┤  ├──┤ take 5             taken twice
//! order   put 1 ├──┤  ├──┤ put 2               2 was surely put in behind 1,
//!         take 2 ├──┤  ├──┤ take 1 (or never)  and surely taken before it
//! empty   put 1 ├──┤ ├─ take: empty ─┤ ├──┤ take 1   at each moment of an empty take something was surely there
//! ```
//!
//! For a stack the second and the last hold as well, and what stands for the order is [`super::stacks`]' question.
//!
//! A set to which no element is added twice, and from which nothing is removed, is linearizable exactly if its reads are
//! subsets of one another, and the order that this gives (the elements of the smallest read, that read, the elements that
//! the next one has besides, …, the elements that no read has) is not against real time.
//!
//! Pending adds that nobody saw are left out, those seen have no end. Pending takes go to the search: nobody knows what
//! they took. Tested against the search on random histories.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    objects::{Kind, Object, ObjectOp},
    search::{Entry, Problem, Step, Stuck},
    stacks, zones,
};
use crate::words;

pub(super) const NEVER: u32 = u32::MAX;
const NOBODY: u32 = u32::MAX;

/// What may not happen, and did: the operations, and why they cannot be.
pub(super) struct Fault {
    pub entries: Vec<u32>,
    pub because: String,
}

/// Whether the problem is of this kind.
pub(super) fn applies(problem: &Problem<Object>) -> bool {
    let kind = problem.spec.kind();
    if !matches!(kind, Kind::Queue | Kind::Stack | Kind::Set) || problem.spec.starts_with_elements()
    {
        return false;
    }
    let mut pending = vec![false; problem.entries.len()];
    for step in &problem.steps {
        if let Step::Pending(entry) = step {
            pending[*entry as usize] = true;
        }
    }
    // Equal operations have one class: a class of puts with two entries is a value put in twice.
    let mut puts = vec![0_u32; problem.classes.len()];
    let fits = |(entry, pending): (&Entry, &bool)| match &problem.classes[entry.class as usize] {
        ObjectOp::Insert(value) => {
            puts[entry.class as usize] += 1;
            puts[entry.class as usize] == 1 && !value.is_null()
        }
        ObjectOp::Take(Some(_)) => kind != Kind::Set && !pending,
        ObjectOp::Read(_) => kind == Kind::Set,
        _ => false,
    };
    problem.entries.iter().zip(&pending).all(fits)
}

/// The shortest prefix without a legal order.
pub(super) fn shortest(problem: &Problem<Object>) -> Option<Stuck> {
    let fault = |until: usize, tell: bool| match problem.spec.kind() {
        Kind::Set => set(problem, until),
        kind => ends(problem, until, kind, tell),
    };
    let (bad, _) = zones::shortest_by(problem.steps.len(), |until| fault(until, false))?;
    let Fault { entries, because } = fault(bad, true)?;
    Some(Stuck {
        step: bad - 1,
        states: Vec::new(),
        order: entries,
        because: Some(because),
    })
}

fn op(problem: &Problem<Object>, entry: u32) -> &ObjectOp {
    &problem.classes[problem.entries[entry as usize].class as usize]
}

/// An element of a queue or a stack: when it was put in and taken. Positions count from 1.
#[derive(Clone, Copy)]
pub(super) struct Element {
    pub put: u32,
    pub put_call: u32,
    pub put_return: u32,
    pub take: u32,
    pub take_call: u32,
    pub take_return: u32,
}

const ELEMENT: Element = Element {
    put: NOBODY,
    put_call: NEVER,
    put_return: NEVER,
    take: NOBODY,
    take_call: NEVER,
    take_return: NEVER,
};

/// Queues and stacks. With `tell` what is at fault is made small, for people.
fn ends(problem: &Problem<Object>, until: usize, kind: Kind, tell: bool) -> Option<Fault> {
    let mut ids: HashMap<&Value, usize> = HashMap::new();
    let mut elements: Vec<Element> = Vec::new();
    let mut calls = vec![0_u32; problem.entries.len()];
    // Empty takes that have ended: call, return, entry.
    let mut empties: Vec<(u32, u32, u32)> = Vec::new();
    for (place, step) in (1_u32..).zip(&problem.steps[..until]) {
        let (Step::Call(entry) | Step::Return(entry) | Step::Pending(entry)) = *step;
        let value = match op(problem, entry) {
            ObjectOp::Insert(value) | ObjectOp::Take(Some(value)) => value,
            _ => continue,
        };
        let ends = matches!(step, Step::Return(_));
        if !ends {
            calls[entry as usize] = place;
        }
        let call = calls[entry as usize];
        let put = matches!(op(problem, entry), ObjectOp::Insert(_));
        if value.is_null() {
            if ends {
                empties.push((call, place, entry));
            }
            continue;
        }
        let at = *ids.entry(value).or_insert_with(|| {
            elements.push(ELEMENT);
            elements.len() - 1
        });
        let element = &mut elements[at];
        match (put, ends) {
            (true, false) => (element.put, element.put_call) = (entry, place),
            (true, true) => element.put_return = place,
            (false, false) if element.take == NOBODY => {
                (element.take, element.take_call) = (entry, place);
            }
            (false, false) => {}
            (false, true) if element.put == NOBODY => {
                return Some(Fault {
                    entries: vec![entry],
                    because: format!(
                        "nobody had begun to put {} in before it ended",
                        words::show(value)
                    ),
                });
            }
            (false, true) if element.take_return != NEVER => {
                return Some(Fault {
                    entries: vec![element.put, element.take],
                    because: format!("{} had been taken already", words::show(value)),
                });
            }
            (false, true) => {
                (element.take, element.take_call, element.take_return) = (entry, call, place);
            }
        }
    }
    let order = match kind {
        Kind::Stack => stacks::buried(&elements, tell),
        _ => overtaken(problem, &elements),
    };
    order.or_else(|| never_empty(&elements, &empties))
}

/// Two elements in the wrong order.
fn overtaken(problem: &Problem<Object>, elements: &[Element]) -> Option<Fault> {
    let mut taken: Vec<&Element> = elements
        .iter()
        .filter(|element| element.take_return != NEVER)
        .collect();
    taken.sort_unstable_by_key(|element| element.take_return);
    let mut before: Vec<&Element> = elements
        .iter()
        .filter(|element| element.put_return != NEVER)
        .collect();
    before.sort_unstable_by_key(|element| element.take_call);
    let mut taken = taken.into_iter().peekable();
    let mut youngest: Option<&Element> = None;
    for first in before {
        while let Some(next) = taken.next_if(|next| next.take_return < first.take_call) {
            if youngest.is_none_or(|known| known.put_call < next.put_call) {
                youngest = Some(next);
            }
        }
        let Some(second) = youngest.filter(|second| first.put_return < second.put_call) else {
            continue;
        };
        let shown = |element: &Element| match op(problem, element.put) {
            ObjectOp::Insert(value) => words::show(value),
            _ => String::new(),
        };
        return Some(Fault {
            entries: vec![first.put, second.put, second.take],
            because: format!(
                "{one} had been put in before {other}, and was not taken before it",
                one = shown(first),
                other = shown(second)
            ),
        });
    }
    None
}

/// An empty take while something was there all the time.
fn never_empty(elements: &[Element], empties: &[(u32, u32, u32)]) -> Option<Fault> {
    let mut there: Vec<(u32, u32, u32)> = elements
        .iter()
        .filter(|element| element.put_return < element.take_call)
        .map(|element| (element.put_return, element.take_call, element.put))
        .collect();
    there.sort_unstable();
    let mut merged: Vec<(u32, u32, u32)> = Vec::new();
    for (from, to, put) in there {
        match merged.last_mut() {
            Some(last) if from < last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to, put)),
        }
    }
    empties.iter().find_map(|(call, ret, _)| {
        let behind = merged.partition_point(|stretch| stretch.0 < *call);
        let around = merged.get(behind.checked_sub(1)?)?;
        (*ret < around.1).then(|| Fault {
            entries: vec![around.2],
            because: "at each moment of it something was there".to_owned(),
        })
    })
}

/// An operation in the order of a set: where it stands, call and return.
struct Placed {
    group: usize,
    call: u32,
    ret: u32,
    entry: u32,
}

fn set(problem: &Problem<Object>, until: usize) -> Option<Fault> {
    let mut ids: HashMap<&Value, usize> = HashMap::new();
    let mut adds: Vec<Placed> = Vec::new();
    let mut reads: Vec<(&[Value], Placed)> = Vec::new();
    let mut calls = vec![0_u32; problem.entries.len()];
    let mut add_of = vec![0_usize; problem.entries.len()];
    for (place, step) in (1_u32..).zip(&problem.steps[..until]) {
        let (Step::Call(entry) | Step::Return(entry) | Step::Pending(entry)) = *step;
        let ends = matches!(step, Step::Return(_));
        match op(problem, entry) {
            ObjectOp::Insert(value) if !ends => {
                ids.insert(value, adds.len());
                add_of[entry as usize] = adds.len();
                adds.push(Placed {
                    group: usize::MAX,
                    call: place,
                    ret: NEVER,
                    entry,
                });
            }
            ObjectOp::Insert(_) => adds[add_of[entry as usize]].ret = place,
            ObjectOp::Read(seen) if ends => {
                let placed = Placed {
                    group: 0,
                    call: calls[entry as usize],
                    ret: place,
                    entry,
                };
                reads.push((seen.as_array().map_or(&[][..], Vec::as_slice), placed));
            }
            _ => calls[entry as usize] = place,
        }
    }
    reads.sort_by_key(|(seen, placed)| (seen.len(), placed.ret));
    // Groups of adds have even numbers, groups of reads odd ones.
    let (mut group, mut length, mut known) = (1, 0, 0_usize);
    let mut smaller = NOBODY;
    for (seen, placed) in &mut reads {
        if seen.len() > length {
            (group, length) = (group + 2, seen.len());
        }
        for value in *seen {
            let Some(add) = ids.get(value).map(|at| &mut adds[*at]) else {
                return Some(Fault {
                    entries: vec![placed.entry],
                    because: format!(
                        "nobody had begun to add {} before it ended",
                        words::show(value)
                    ),
                });
            };
            if add.group == usize::MAX {
                add.group = group - 1;
                known += 1;
            }
        }
        if known != length {
            return Some(Fault {
                entries: vec![smaller, placed.entry],
                because: "each of two reads has an element that the other has not".to_owned(),
            });
        }
        placed.group = group;
        smaller = placed.entry;
    }
    let unseen = adds
        .iter_mut()
        .filter(|add| add.group == usize::MAX && add.ret != NEVER);
    for add in unseen {
        add.group = group + 1;
    }
    let mut order: Vec<&Placed> = adds
        .iter()
        .chain(reads.iter().map(|(_, placed)| placed))
        .filter(|placed| placed.group != usize::MAX)
        .collect();
    order.sort_by_key(|placed| placed.group);
    against_time(&order)
}

/// An operation that ended before another began that stands in a group before it.
fn against_time(order: &[&Placed]) -> Option<Fault> {
    let mut latest: Option<&Placed> = None;
    for group in order.chunk_by(|one, other| one.group == other.group) {
        if let Some(before) = latest
            && let Some(early) = group.iter().find(|placed| placed.ret < before.call)
        {
            return Some(Fault {
                entries: vec![early.entry, before.entry],
                because: "reads show these operations in the other order, but the one had ended before the other began"
                    .to_owned(),
            });
        }
        latest = latest
            .into_iter()
            .chain(group.iter().copied())
            .max_by_key(|placed| placed.call);
    }
    None
}
