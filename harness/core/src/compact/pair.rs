//! Invocations and completions to rows; texts and kinds to numbers.

use std::collections::HashMap;

use super::{
    Atom, Compact, NEVER, Reading, Row, Shape,
    cursor::Piece,
    line::{NEMESIS, NO_INDEX, Raw, piece},
};
use crate::{event::EventType, fast::FastMap, history::Outcome};

/// Processes below this number are found by their place in a list.
const LISTED_PROCESSES: u64 = 1 << 22;
/// Kinds of operations.
const NAMES_LIMIT: usize = 250;
const NOBODY: u32 = u32::MAX;
/// The process has an operation open that is left out.
const LEFT_OUT: u32 = u32::MAX - 1;

pub(super) struct Pairer<'a> {
    bytes: &'a [u8],
    ignore: Vec<Vec<u8>>,
    observers: Vec<Vec<u8>>,
    rows: Vec<Row>,
    names: Vec<&'a str>,
    observer: Vec<bool>,
    texts: Vec<&'a str>,
    ids: FastMap<&'a [u8], u32>,
    listed: Vec<u32>,
    others: HashMap<u64, u32>,
    events: u32,
    last_index: Option<u64>,
    without_time: u64,
}

impl<'a> Pairer<'a> {
    pub fn new(bytes: &'a [u8], reading: &Reading<'_>) -> Self {
        Self {
            bytes,
            ignore: reading
                .ignore
                .iter()
                .map(|name| name.clone().into_bytes())
                .collect(),
            observers: reading
                .observers
                .iter()
                .map(|name| name.as_bytes().to_vec())
                .collect(),
            // What is not needed takes no memory, and never has to be moved.
            rows: Vec::with_capacity(bytes.len() / (2 * super::EVENT_BYTES)),
            names: Vec::new(),
            observer: Vec::new(),
            texts: Vec::new(),
            ids: FastMap::default(),
            listed: Vec::new(),
            others: HashMap::new(),
            events: 0,
            last_index: None,
            without_time: 0,
        }
    }

    /// The next event. None if it does not pair up or its index does not grow.
    pub fn push(&mut self, raw: &Raw) -> Option<()> {
        self.events = self
            .events
            .checked_add(1)
            .filter(|events| *events < LEFT_OUT)?;
        let after = self.last_index.map_or(0, |last| last + 1);
        let index = if raw.index == NO_INDEX {
            after
        } else {
            raw.index
        };
        (index >= after).then_some(())?;
        self.last_index = Some(index);
        self.without_time += u64::from(!raw.has_time);
        if raw.process == NEMESIS {
            return Some(());
        }
        if raw.kind == EventType::Invoke {
            self.invoke(raw)
        } else {
            self.complete(raw)
        }
    }

    fn invoke(&mut self, raw: &Raw) -> Option<()> {
        let row = u32::try_from(self.rows.len()).ok()?;
        let ignored = self.ignore.iter().any(|name| name == raw.f.of(self.bytes));
        let open = self.open(raw.process);
        if *open != NOBODY {
            return None;
        }
        if ignored {
            *open = LEFT_OUT;
            return Some(());
        }
        *open = row;
        let atoms = self.numbered(raw)?;
        let bits = match raw.shape {
            Shape::Pair if atoms[1] == Atom::NULL => Row::PAIR | Row::ASKS,
            Shape::Pair | Shape::Nested => Row::PAIR,
            Shape::Single | Shape::Odd => 0,
        };
        let f = self.name(raw.f)?;
        self.rows.push(Row {
            call: self.events,
            ret: NEVER,
            f,
            outcome: Outcome::Info,
            shape: raw.shape,
            bits,
            atoms,
        });
        Some(())
    }

    fn complete(&mut self, raw: &Raw) -> Option<()> {
        let row = std::mem::replace(self.open(raw.process), NOBODY);
        if row == LEFT_OUT {
            return Some(());
        }
        let place = row as usize;
        let observes = self.observer[self.rows.get(place)?.f as usize];
        let result = if observes && raw.kind == EventType::Ok {
            Some(self.numbered(raw)?)
        } else {
            None
        };
        let row = &mut self.rows[place];
        match raw.kind {
            EventType::Ok => row.outcome = Outcome::Ok,
            EventType::Fail => row.outcome = Outcome::Fail,
            // Its end bounds nothing.
            EventType::Info | EventType::Invoke => return Some(()),
        }
        row.ret = self.events;
        if raw.observed {
            row.bits |= Row::OBSERVED;
        }
        if let Some(result) = result {
            let same = row.has(Row::PAIR)
                && matches!(raw.shape, Shape::Pair | Shape::Nested)
                && row.atoms[0] == result[0];
            if !same {
                row.bits |= Row::OTHER_KEY;
            }
            row.shape = raw.shape;
            row.atoms = result;
        }
        Some(())
    }

    fn open(&mut self, process: u64) -> &mut u32 {
        if process >= LISTED_PROCESSES {
            return self.others.entry(process).or_insert(NOBODY);
        }
        let place = process as usize;
        if place >= self.listed.len() {
            self.listed.resize(place + 1, NOBODY);
        }
        &mut self.listed[place]
    }

    fn name(&mut self, name: Piece) -> Option<u8> {
        let bytes = name.of(self.bytes);
        let known = self
            .names
            .iter()
            .position(|known| known.as_bytes() == bytes);
        let number = match known {
            Some(number) => number,
            None if self.names.len() >= NAMES_LIMIT => return None,
            None => {
                self.names.push(std::str::from_utf8(bytes).ok()?);
                self.observer
                    .push(self.observers.iter().any(|name| name == bytes));
                self.names.len() - 1
            }
        };
        u8::try_from(number).ok()
    }

    fn numbered(&mut self, raw: &Raw) -> Option<[Atom; 3]> {
        let mut atoms = raw.atoms;
        for atom in &mut atoms {
            if let Some(piece) = piece(*atom) {
                let bytes = piece.of(self.bytes);
                let id = match self.ids.get(bytes) {
                    Some(id) => *id,
                    None => {
                        let id = u32::try_from(self.texts.len()).ok()?;
                        self.texts.push(std::str::from_utf8(bytes).ok()?);
                        self.ids.insert(bytes, id);
                        id
                    }
                };
                *atom = Atom::text(id);
            }
        }
        Some(atoms)
    }

    pub fn finish(mut self) -> Option<Compact<'a>> {
        (self.events > 0).then_some(())?;
        self.rows.shrink_to_fit();
        let mut remarks = Vec::new();
        if self.without_time > 0 {
            remarks.push(crate::format::assemble::without_time(
                self.without_time,
                self.events.into(),
            ));
        }
        Some(Compact {
            rows: self.rows,
            names: self.names,
            texts: self.texts,
            event_count: self.events,
            remarks,
        })
    }
}
