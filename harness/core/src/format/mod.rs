//! Histories in other people's formats, read and written.
//!
//! Laws:
//! - the order of events in the file is the order in which they happened; indices may be sparse or absent, times too;
//! - what is missing is filled in and *said* in the remarks, never guessed silently: without times the place in the file
//!   stands for nanoseconds, without processes each invocation gets one of its own and values tell what completions end;
//! - an error names line and column;
//! - a torn last form (a writer that was killed) is dropped and said.
//!
//! | format | a line of it |
//! | --- | --- |
//! | [`Format::Ours`] | `{"index":0,"time_ns":1,"process":3,"type":"invoke","f":"read","value":[0,null]}` after a header |
//! | [`Format::Edn`] | `{:index 0, :time 1, :process 3, :type :invoke, :f :read, :value [0 nil]}`, bare or in one vector or list |
//! | [`Format::JepsenJson`] | `{"index":0,"time":1,"process":3,"type":"invoke","f":"read","value":[0,null]}`, bare or in one array |
//! | [`Format::PorcupineEtcd`] | `INFO  jepsen.util - 4⇥:invoke⇥:read⇥nil` |
//! | [`Format::PorcupineKv`] | `{:process 9, :type :invoke, :f :append, :key "0", :value "x 9 0 y"}` |
//! | [`Format::Awdit`], [`Format::Plume`] | `w 0 1`; `w(0,1,0,7)` ([`sessions`]) |
//! | [`Format::Dbcop`] | `[x:=1 y==2]` ([`dbcop`]) |
//!
//! EDN has more types than JSON. Reading: keywords and symbols become their names, integer keys of maps their decimal
//! digits, sets (in an order of their own) and lists arrays. Integers beyond 64 bits become their text, in JSON too. Writing undoes that where the place tells what Jepsen expects: `:type`, `:f` and the
//! heads of micro-operations are keywords, keys of maps are integers or keywords where they look like one.

pub(crate) mod assemble;
mod cursor;
pub mod dbcop;
mod detect;
pub mod edn;
mod jepsen;
mod nameless;
mod paired;
mod porcupine;
pub mod raw;
pub mod sessions;
mod write;

use thiserror::Error;

use crate::{
    event::Event,
    history::{self, History, HistoryError},
};

pub use cursor::{Cursor, Syntax};
pub use detect::without_mark;
pub use jepsen::{encode_edn_event, encode_json_event};
pub use porcupine::MISMATCH;
pub use write::{Unsayable, write};

/// The largest number of forms within forms that is read.
pub const DEPTH_LIMIT: usize = 64;

/// A format of histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `history.jsonl`.
    Ours,
    /// Jepsen's EDN.
    Edn,
    /// Jepsen's operations as JSON.
    JepsenJson,
    /// A Jepsen log of etcd, as in Porcupine's tests.
    PorcupineEtcd,
    /// Operations on a key-value store, as in Porcupine's tests.
    PorcupineKv,
    /// Transactions on registers by sessions, as in AWDIT's tests.
    Awdit,
    /// The same as Plume writes them.
    Plume,
    /// The same as dbcop's text.
    Dbcop,
}

impl Format {
    /// Names for `--format`.
    pub const ALL: [(Self, &'static str); 8] = [
        (Self::Ours, "jsonl"),
        (Self::Edn, "edn"),
        (Self::JepsenJson, "json"),
        (Self::PorcupineEtcd, "porcupine-etcd"),
        (Self::PorcupineKv, "porcupine-kv"),
        (Self::Awdit, "awdit"),
        (Self::Plume, "plume"),
        (Self::Dbcop, "dbcop"),
    ];

    /// The format of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, known)| *known == name)
            .map(|(format, _)| *format)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(format, _)| *format == self)
            .map_or("unknown", |(_, name)| name)
    }

    /// Tells the format by the first bytes.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> Self {
        detect::detect(bytes)
    }
}

/// Why bytes are not a history of the format.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FormatError {
    /// Something is not as the format says.
    #[error("line {line}, column {column}: {detail}")]
    Syntax {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What was expected.
        detail: String,
    },
    /// There is no event in it.
    #[error("no operation found; is this a history in the format {format}?")]
    Empty {
        /// The format's name.
        format: &'static str,
    },
    /// Not a text in UTF-8.
    #[error("this is {what}, not a text in UTF-8: {mend}")]
    NoText {
        /// What it is.
        what: &'static str,
        /// What makes a text of it.
        mend: &'static str,
    },
    /// Our own format, or events that do not pair up.
    #[error(transparent)]
    History(#[from] HistoryError),
}

/// Line and column of an offset, from 1.
fn place(bytes: &[u8], offset: usize) -> (usize, usize) {
    let before = &bytes[..offset.min(bytes.len())];
    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
    let column = 1 + before
        .iter()
        .rev()
        .take_while(|byte| **byte != b'\n')
        .count();
    (line, column)
}

impl FormatError {
    /// A syntax error at a byte offset.
    pub(crate) fn at(bytes: &[u8], offset: usize, detail: impl Into<String>) -> Self {
        let (line, column) = place(bytes, offset);
        Self::Syntax {
            line,
            column,
            detail: detail.into(),
        }
    }
}

/// Reads events in order, and remarks for people. A mark of UTF-8 at the beginning is no part of the text.
pub fn read_events(bytes: &[u8], format: Format) -> Result<(Vec<Event>, Vec<String>), FormatError> {
    if let Some((what, mend)) = detect::no_text(bytes) {
        return Err(FormatError::NoText { what, mend });
    }
    let bytes = without_mark(bytes);
    let (events, remarks) = match format {
        Format::Ours => history::decode_events(bytes)?,
        Format::Edn | Format::PorcupineKv => jepsen::read_edn(bytes)?,
        Format::JepsenJson => jepsen::read_json(bytes)?,
        Format::PorcupineEtcd => porcupine::read_etcd(bytes)?,
        Format::Awdit => sessions::read(bytes, false)?,
        Format::Plume => sessions::read(bytes, true)?,
        Format::Dbcop => dbcop::read(bytes)?,
    };
    if events.is_empty() && format != Format::Ours {
        return Err(FormatError::Empty {
            format: format.name(),
        });
    }
    Ok((events, remarks))
}

/// Reads and pairs up. Where no event begins an operation, each that ends one is taken for all of it.
pub fn read(bytes: &[u8], format: Format) -> Result<History, FormatError> {
    let bytes = without_mark(bytes);
    paired::pair(bytes, format, read_events(bytes, format)?)
}

/// Appends one event; porcupine's formats and those by sessions come out as EDN.
pub fn encode_event(event: &Event, format: Format, into: &mut Vec<u8>) {
    match format {
        Format::Ours => history::encode_event(event, into),
        Format::JepsenJson => encode_json_event(event, into),
        Format::Edn
        | Format::PorcupineEtcd
        | Format::PorcupineKv
        | Format::Awdit
        | Format::Plume
        | Format::Dbcop => encode_edn_event(event, into),
    }
}

/// Writes events, as they come; porcupine's formats and those by sessions come out as EDN. [`fn@write`] writes all formats.
pub fn write_events<'a>(
    events: impl IntoIterator<Item = &'a Event>,
    format: Format,
    into: &mut Vec<u8>,
) {
    if format == Format::Ours {
        into.extend_from_slice(history::encode_header().as_bytes());
    }
    for event in events {
        encode_event(event, format, into);
    }
}
