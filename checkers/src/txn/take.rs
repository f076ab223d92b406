//! Reads transactions: out of a history that is in memory, or straight from the bytes of one.
//!
//! Both ways give the same columns; what the bytes' quick way does not know is left to the general reader, value by value.

use harness_core::{
    event::{EventType, Process},
    format::{
        Cursor, Format, FormatError,
        raw::{Head, Payload, Text, each_event},
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
    let mut each = |head: Head, payload| stream.event(&head, payload);
    let remarks = each_event(bytes, format, &mut each, consumed)?;
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
    sessions::each_transaction(bytes, plume, source.threads, &mut each, consumed)?;
    if place == 0 {
        return Err(FormatError::Empty {
            format: format.name(),
        });
    }
    Ok((builder.finish(), vec![sessions::WITHOUT_TIMES.to_owned()]))
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
    fn event(&mut self, head: &Head, payload: Payload<'a>) -> Result<(), FormatError> {
        let wrong = |detail| HistoryError::Pairing {
            index: head.index,
            process: head.process,
            detail,
        };
        if head.process == Process::Nemesis {
            return self.look_at(&payload, false);
        }
        let process = self.builder.process(head.process) as usize;
        if self.open.len() <= process {
            self.open.resize_with(process + 1, || None);
        }
        if head.event_type == EventType::Invoke {
            let is_txn = &*head.f == "txn";
            self.look_at(&payload, is_txn)?;
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
            return self.look_at(&payload, false);
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
            Payload::Value(value) => value.is_array(),
        };
        if outcome == Outcome::Ok && is_list {
            return self.take(open.txn, &payload, true);
        }
        self.look_at(&payload, true)?;
        self.take(open.txn, &open.input, false)
    }

    /// Whether a value that judges nothing is one.
    fn look_at(&mut self, payload: &Payload<'a>, is_txn: bool) -> Result<(), FormatError> {
        if let Payload::Text(text) = payload {
            let quick = is_txn
                && self
                    .steps
                    .read(text, self.builder.shape, &mut self.builder.atoms)
                    .is_some();
            if !quick {
                text.value()?;
            }
        }
        Ok(())
    }

    fn take(&mut self, txn: u32, payload: &Payload<'a>, answered: bool) -> Result<(), FormatError> {
        let text = match payload {
            Payload::Value(value) => {
                take(&mut self.builder, txn, value, answered);
                return Ok(());
            }
            Payload::Text(text) => text,
        };
        let shape = self.builder.shape;
        if self
            .steps
            .read(text, shape, &mut self.builder.atoms)
            .is_none()
        {
            take(&mut self.builder, txn, &text.value()?, answered);
            return Ok(());
        }
        let builder = &mut self.builder;
        builder.open_steps(txn);
        for step in &self.steps.steps {
            match *step {
                Quick::Write { key, element } => builder.write(key, element),
                _ if !answered => {}
                Quick::Read { key, value } => builder.read(key, value),
                Quick::ReadNull { key } => builder.read_list(key, None),
                Quick::ReadList { key, start, end } => {
                    builder.read_list(key, Some(&self.steps.elements[start..end]));
                }
            }
        }
        builder.close_steps(txn);
        Ok(())
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

/// The steps of one transaction, as text gives them.
#[derive(Default)]
struct Steps {
    steps: Vec<Quick>,
    /// What its reads of lists returned, one after the other.
    elements: Vec<Atom>,
}

impl Steps {
    /// Reads steps of the usual shape; None for whatever is not.
    fn read(&mut self, text: &Text<'_>, shape: Shape, atoms: &mut Atoms) -> Option<()> {
        self.steps.clear();
        self.elements.clear();
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
