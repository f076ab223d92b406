//! Reads transactions: out of a history that is in memory, or straight from the bytes of one.
//!
//! Both ways give the same columns; what the bytes' quick way does not know is left to the general reader, value by value. Threads may
//! read steps ahead, piece by piece; putting them into columns is for one, in the order of the file.

use std::ops::Range;

use harness_core::{
    event::{EventType, Process},
    format::{
        Cursor, Format, FormatError,
        raw::{Head, Payload, Text, Usual, each_event_ahead},
        sessions,
    },
    history::{History, HistoryError, Outcome},
};
use serde_json::Value;

use super::{
    atoms::{Atom, Atoms},
    builder::{Begun, Builder},
    input::{NONE, Shape, Transactions},
};
use crate::registry::Source;

/// Transactions that are none of which line and column are told: each takes a look at all lines before.
const LOCATED: usize = 8;

/// Takes the operations `txn` of a history.
pub(super) fn history(history: &History, shape: Shape) -> Transactions {
    let mut builder = Builder::new(shape);
    for operation in &history.operations {
        if &*operation.f != "txn" {
            continue;
        }
        let txn = builder.begin(&Begun {
            index: operation.index,
            invoked_ns: operation.invoked_ns,
            process: operation.process,
            node: operation.node.as_ref(),
        });
        builder.end(
            txn,
            operation.outcome,
            operation.completed_index,
            operation.completed_ns,
        );
        let answered = operation.outcome == Outcome::Ok && operation.output.is_array();
        let value = match answered {
            true => &operation.output,
            false => &operation.input,
        };
        take(&mut builder, txn, value, answered);
    }
    builder.finish()
}

/// Takes the transactions of a file: with remarks for people. None: the general reader says what is wrong with it.
pub(super) fn source(source: &Source<'_>, shape: Shape) -> Option<(Transactions, Vec<String>)> {
    // Also of what was given back before: remarks and odd lines are looked at again.
    let mut consumed = |until| (source.release)(0..until);
    bytes(source, shape, &mut consumed).ok()
}

fn bytes(
    source: &Source<'_>,
    shape: Shape,
    consumed: &mut dyn FnMut(usize),
) -> Result<(Transactions, Vec<String>), FormatError> {
    let Source { bytes, format, .. } = *source;
    if let Format::Awdit | Format::Plume = format {
        return by_sessions(source, shape, consumed);
    }
    let mut stream = Stream {
        builder: Builder::new(shape),
        steps: Steps::default(),
        open: Vec::new(),
    };
    let prepare = |ahead: &mut Ahead, usual: &Usual<'_, '_>| ahead.prepare(usual, shape);
    let mut each = |head: Head, payload, ahead: Option<&mut Ahead>| {
        let line = ahead.map(|ahead| ahead.next(&mut stream.builder.atoms));
        stream.event(&head, payload, line)
    };
    let remarks = each_event_ahead(bytes, format, source.threads, &prepare, &mut each, consumed)?;
    for open in std::mem::take(&mut stream.open).into_iter().flatten() {
        if open.txn != NONE {
            stream.take(open.txn, &open.input, false)?;
        }
    }
    Ok((stream.builder.finish(), remarks))
}

/// Takes transactions on registers that stand by sessions. For lists there are none in it.
fn by_sessions(
    source: &Source<'_>,
    shape: Shape,
    consumed: &mut dyn FnMut(usize),
) -> Result<(Transactions, Vec<String>), FormatError> {
    let Source { bytes, format, .. } = *source;
    if shape == Shape::Lists {
        let read = harness_core::format::read(bytes, format)?;
        return Ok((history(&read, shape), read.remarks));
    }
    let mut builder = Builder::new(shape);
    let mut place = 0;
    let mut each = |transaction: sessions::Transaction<'_>| {
        let txn = builder.begin(&Begun {
            index: place,
            invoked_ns: place,
            process: Process::Client(transaction.session),
            node: None,
        });
        let outcome = match transaction.committed {
            true => Outcome::Ok,
            false => Outcome::Fail,
        };
        builder.end(txn, outcome, Some(place + 1), Some(place + 1));
        place += 2;
        builder.open_steps(txn);
        for access in transaction.accesses {
            let atom = |builder: &mut Builder, number: u64| {
                match i64::try_from(number) {
                    Ok(number) => Atom::number(number),
                    Err(_) => None,
                }
                .unwrap_or_else(|| builder.atoms.intern(&number.into()))
            };
            let key = atom(&mut builder, access.key);
            let value = access
                .value
                .map_or(Atom::NULL, |value| atom(&mut builder, value));
            if access.write {
                builder.write(key, value);
            } else if transaction.committed {
                builder.read(key, value);
            }
        }
        builder.close_steps(txn);
    };
    let plume = format == Format::Plume;
    let remarks = sessions::each_transaction(bytes, plume, source.threads, &mut each, consumed)?;
    if place == 0 {
        return Err(FormatError::Empty {
            format: format.name(),
        });
    }
    Ok((builder.finish(), remarks))
}

/// A transaction's steps, or what of it are none.
fn take(builder: &mut Builder, txn: u32, value: &Value, answered: bool) {
    builder.open_steps(txn);
    if let Err(detail) = take_steps(builder, value, answered) {
        builder.odd(txn, detail);
    }
    builder.close_steps(txn);
}

fn take_steps(builder: &mut Builder, value: &Value, answered: bool) -> Result<(), String> {
    let steps = value.as_array().ok_or("its value is no list of steps")?;
    let shape = builder.shape;
    for step in steps {
        let [Value::String(name), key, value] = step.as_array().map_or(&[][..], Vec::as_slice)
        else {
            return Err(format!("{} is no step", crate::words::show(step)));
        };
        let write = name == shape.writes();
        let fits = match (write, shape) {
            (true, _) => !value.is_null(),
            (false, Shape::Lists) => name == "r" && (value.is_null() || value.is_array()),
            (false, Shape::Registers) => name == "r",
        };
        if !fits {
            return Err(format!("{} is no step", crate::words::show(step)));
        }
        if !write && !answered {
            continue;
        }
        let key = builder.atoms.intern(key);
        match (write, shape, value) {
            (true, ..) => {
                let element = builder.atoms.intern(value);
                builder.write(key, element);
            }
            (false, Shape::Lists, Value::Array(items)) => {
                let read: Vec<Atom> = items
                    .iter()
                    .map(|item| builder.atoms.intern(item))
                    .collect();
                builder.read_list(key, Some(&read));
            }
            (false, Shape::Lists, _) => builder.read_list(key, None),
            (false, Shape::Registers, _) => {
                let read = builder.atoms.intern(value);
                builder.read(key, read);
            }
        }
    }
    Ok(())
}

impl Shape {
    /// The name of a step that writes.
    fn writes(self) -> &'static str {
        match self {
            Self::Lists => "append",
            Self::Registers => "w",
        }
    }
}

/// An operation that has not ended.
struct Open<'a> {
    /// The transaction, or [`NONE`] for another kind of operation.
    txn: u32,
    input: Payload<'a>,
}

/// Pairs up events as [`harness_core::history::pair`] does.
struct Stream<'a> {
    builder: Builder,
    steps: Steps,
    /// By number of the process.
    open: Vec<Option<Open<'a>>>,
}

impl<'a> Stream<'a> {
    fn event(
        &mut self,
        head: &Head,
        payload: Payload<'a>,
        line: Option<Line<'_>>,
    ) -> Result<(), FormatError> {
        let read = line.as_ref().is_some_and(|line| line.valid);
        let wrong = |detail| HistoryError::Pairing {
            index: head.index,
            process: head.process,
            detail,
        };
        if head.process == Process::Nemesis {
            return self.look_at(&payload, false, read);
        }
        let process = self.builder.process(head.process) as usize;
        if self.open.len() <= process {
            self.open.resize_with(process + 1, || None);
        }
        if head.event_type == EventType::Invoke {
            let is_txn = &*head.f == "txn";
            self.look_at(&payload, is_txn, read)?;
            let txn = match is_txn {
                true => self.builder.begin(&Begun {
                    index: head.index,
                    invoked_ns: head.time_ns,
                    process: head.process,
                    node: head.node.as_ref(),
                }),
                false => NONE,
            };
            let open = Open {
                txn,
                input: payload,
            };
            if self.open[process].replace(open).is_some() {
                let detail = "invokes an operation while another of its operations is open";
                return Err(wrong(detail).into());
            }
            return Ok(());
        }
        let open = self.open[process]
            .take()
            .ok_or_else(|| wrong("completes an operation that it did not invoke"))?;
        if open.txn == NONE {
            return self.look_at(&payload, false, read);
        }
        let outcome = match head.event_type {
            EventType::Ok => Outcome::Ok,
            EventType::Fail => Outcome::Fail,
            EventType::Info | EventType::Invoke => Outcome::Info,
        };
        let (index, time_ns) = (Some(head.index), Some(head.time_ns));
        self.builder.end(open.txn, outcome, index, time_ns);
        let is_list = match &payload {
            Payload::Text(text) => matches!(text.cursor().peek(), Some(b'[' | b'(')),
            Payload::Value(value, _) => value.is_array(),
        };
        if outcome == Outcome::Ok && is_list {
            if let Some(Line {
                steps: Some((steps, range)),
                ..
            }) = line
            {
                steps.put(range, &mut self.builder, open.txn, true);
                return Ok(());
            }
            return self.take(open.txn, &payload, true);
        }
        self.look_at(&payload, true, read)?;
        self.take(open.txn, &open.input, false)
    }

    /// Whether a value that judges nothing is one, unless somebody read it already.
    fn look_at(
        &mut self,
        payload: &Payload<'a>,
        is_txn: bool,
        read: bool,
    ) -> Result<(), FormatError> {
        if let Payload::Text(text) = payload
            && !read
        {
            let quick = is_txn && self.read(text).is_some();
            if !quick {
                text.value()?;
            }
        }
        Ok(())
    }

    fn read(&mut self, text: &Text<'_>) -> Option<Range<usize>> {
        self.steps.clear();
        let builder = &mut self.builder;
        self.steps.read(text, builder.shape, &mut builder.atoms)
    }

    fn take(&mut self, txn: u32, payload: &Payload<'a>, answered: bool) -> Result<(), FormatError> {
        let before = self.builder.odd_count();
        let place = match payload {
            Payload::Value(value, of) => {
                take(&mut self.builder, txn, value, answered);
                of.as_ref()
            }
            Payload::Text(text) => {
                match self.read(text) {
                    None => take(&mut self.builder, txn, &text.value()?, answered),
                    Some(range) => self.steps.put(range, &mut self.builder, txn, answered),
                }
                Some(text)
            }
        };
        let is_odd = self.builder.odd_count() > before;
        if let Some(place) = place.filter(|_| is_odd && before < LOCATED) {
            self.builder.locate_odd(place.place());
        }
        Ok(())
    }
}

/// What a thread read of the lines of a piece, before their turn.
#[derive(Default)]
struct Ahead {
    steps: Steps,
    /// Of this piece alone; what is no number has another atom in the columns.
    atoms: Atoms,
    /// By line: whether its value is one; and of an answer the steps of the usual shape.
    lines: Vec<(bool, Option<Range<usize>>)>,
    /// Lines that had their turn.
    past: usize,
}

/// One of these lines.
struct Line<'s> {
    valid: bool,
    steps: Option<(&'s Steps, Range<usize>)>,
}

impl Ahead {
    fn prepare(&mut self, usual: &Usual<'_, '_>, shape: Shape) {
        let text = usual.text();
        let steps = usual
            .is_clients("txn")
            .then(|| self.steps.read(text, shape, &mut self.atoms))
            .flatten();
        let valid = steps.is_some() || text.value().is_ok();
        let answer = steps.filter(|range| {
            let kept = usual.event_type() == EventType::Ok;
            if !kept {
                self.steps.cut(range.start);
            }
            kept
        });
        self.lines.push((valid, answer));
    }

    /// The next line, with atoms of the columns.
    fn next(&mut self, atoms: &mut Atoms) -> Line<'_> {
        if self.past == 0 {
            let known: Vec<Atom> = self
                .atoms
                .others()
                .map(|value| atoms.intern(value))
                .collect();
            if !known.is_empty() {
                self.steps.rename(&known);
            }
        }
        let line = self.lines.get(self.past).cloned();
        self.past += 1;
        let (valid, steps) = line.unwrap_or_default();
        Line {
            valid,
            steps: steps.map(|range| (&self.steps, range)),
        }
    }
}

/// A step of the usual shape.
#[derive(Clone, Copy)]
enum Quick {
    Write { key: Atom, element: Atom },
    Read { key: Atom, value: Atom },
    ReadNull { key: Atom },
    ReadList { key: Atom, start: usize, end: usize },
}

/// The steps of transactions, as text gives them.
#[derive(Default)]
struct Steps {
    steps: Vec<Quick>,
    /// What reads of lists returned, one after the other.
    elements: Vec<Atom>,
}

impl Steps {
    fn clear(&mut self) {
        self.steps.clear();
        self.elements.clear();
    }

    /// Forgets steps from this one on, with what they read.
    fn cut(&mut self, from: usize) {
        let mut forgotten = self.steps.drain(from..);
        let lists = forgotten.find_map(|step| match step {
            Quick::ReadList { start, .. } => Some(start),
            _ => None,
        });
        drop(forgotten);
        self.elements.truncate(lists.unwrap_or(usize::MAX));
    }

    /// Gives every atom that is no number its other one.
    fn rename(&mut self, known: &[Atom]) {
        for element in &mut self.elements {
            *element = element.renamed(known);
        }
        for step in &mut self.steps {
            match step {
                Quick::Write {
                    key,
                    element: value,
                }
                | Quick::Read { key, value } => {
                    *key = key.renamed(known);
                    *value = value.renamed(known);
                }
                Quick::ReadNull { key } | Quick::ReadList { key, .. } => *key = key.renamed(known),
            }
        }
    }

    /// Puts steps into columns: all of an answer, and of a question what it writes.
    fn put(&self, range: Range<usize>, builder: &mut Builder, txn: u32, answered: bool) {
        builder.open_steps(txn);
        for step in &self.steps[range] {
            match *step {
                Quick::Write { key, element } => builder.write(key, element),
                _ if !answered => {}
                Quick::Read { key, value } => builder.read(key, value),
                Quick::ReadNull { key } => builder.read_list(key, None),
                Quick::ReadList { key, start, end } => {
                    builder.read_list(key, Some(&self.elements[start..end]));
                }
            }
        }
        builder.close_steps(txn);
    }

    /// Adds steps of the usual shape, and says which those are; None for whatever is not.
    fn read(&mut self, text: &Text<'_>, shape: Shape, atoms: &mut Atoms) -> Option<Range<usize>> {
        let (steps, elements) = (self.steps.len(), self.elements.len());
        let read = self.add(text, shape, atoms);
        if read.is_none() {
            self.steps.truncate(steps);
            self.elements.truncate(elements);
        }
        read.map(|()| steps..self.steps.len())
    }

    fn add(&mut self, text: &Text<'_>, shape: Shape, atoms: &mut Atoms) -> Option<()> {
        let mut cursor = text.cursor();
        cursor.eat(b'[')?;
        let mut first = true;
        while cursor.next_item(first, b']')? {
            first = false;
            cursor.eat(b'[')?;
            cursor.next_item(true, b']')?.then_some(())?;
            let name = cursor.name()?;
            cursor.next_item(false, b']')?.then_some(())?;
            let key = atom(&mut cursor, atoms)?;
            cursor.next_item(false, b']')?.then_some(())?;
            let step = match (name, shape) {
                (b"append", Shape::Lists) | (b"w", Shape::Registers) => {
                    let element = atom(&mut cursor, atoms)?;
                    (element != Atom::NULL).then_some(Quick::Write { key, element })?
                }
                (b"r", Shape::Registers) => Quick::Read {
                    key,
                    value: atom(&mut cursor, atoms)?,
                },
                (b"r", Shape::Lists) if cursor.peek() == Some(b'[') => {
                    let start = self.elements.len();
                    self.list(&mut cursor, atoms)?;
                    Quick::ReadList {
                        key,
                        start,
                        end: self.elements.len(),
                    }
                }
                (b"r", Shape::Lists) => {
                    cursor.null()?;
                    Quick::ReadNull { key }
                }
                _ => return None,
            };
            self.steps.push(step);
            (!cursor.next_item(false, b']')?).then_some(())?;
        }
        text.is_over(&cursor).then_some(())
    }

    fn list(&mut self, cursor: &mut Cursor<'_>, atoms: &mut Atoms) -> Option<()> {
        cursor.eat(b'[')?;
        let mut first = true;
        while cursor.next_item(first, b']')? {
            first = false;
            self.elements.push(atom(cursor, atoms)?);
        }
        Some(())
    }
}

fn atom(cursor: &mut Cursor<'_>, atoms: &mut Atoms) -> Option<Atom> {
    let first = cursor.peek()?;
    if first.is_ascii_digit() || first == b'-' {
        let mut tried = cursor.clone();
        if let Some(atom) = tried.integer().and_then(Atom::number) {
            *cursor = tried;
            return Some(atom);
        }
    }
    Some(atoms.intern(&cursor.value()?))
}
