//! Histories: events in order, and the operations that they pair up to.
//!
//! Laws:
//! - a process has at most one operation open; a second `invoke` or a completion without an
//!   `invoke` is an error that names the line, never a guess;
//! - an operation that never completed is `info` without an end;
//! - the nemesis' events are kept, and pair up with nothing;
//! - a torn last line (no newline, not JSON) is what a killed controller leaves: it is dropped and said. A whole one without
//!   its newline counts: it ends with its brace, so nothing of it can be missing.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::Value;
use thiserror::Error;

use crate::{
    event::{Event, EventType, OpError, Process},
    huge,
};

/// The version that [`encode_header`] writes and [`decode`] takes.
pub const FORMAT_VERSION: u32 = 1;
/// The longest line of a history that is read, in bytes.
pub const LINE_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It took effect.
    Ok,
    /// It definitely did not.
    Fail,
    /// It may or may not have, now or later.
    Info,
}

impl Outcome {
    /// As written in histories.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

/// An operation: an invocation and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    /// Index of the `invoke` event: the operation's name in reports, its anchor, its identity.
    pub index: u64,
    /// When it was invoked, nanoseconds since the run began.
    pub invoked_ns: u64,
    /// The client that did it.
    pub process: Process,
    /// The node that the client works on.
    pub node: Option<Arc<str>>,
    /// What kind of operation.
    pub f: Arc<str>,
    /// Its arguments.
    pub input: Value,
    /// How it ended.
    pub outcome: Outcome,
    /// Index of the completing event, if one was recorded.
    pub completed_index: Option<u64>,
    /// When it completed. None for an operation that never did; an `info` has the time at which we stopped waiting,
    /// which bounds nothing.
    pub completed_ns: Option<u64>,
    /// Its result.
    pub output: Value,
    /// Why it is not `ok`.
    pub error: Option<OpError>,
}

/// A whole history.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Clients' operations, by index of their `invoke`.
    pub operations: Vec<Operation>,
    /// The nemesis' events.
    pub nemesis: Vec<Event>,
    /// Number of events of all kinds.
    pub event_count: u64,
    /// What was noticed while reading, such as a torn last line: for people.
    pub remarks: Vec<String>,
}

/// Why bytes are not a history.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A line is not an event.
    #[error("line {line}, column {column}: not an event: {detail}")]
    Line {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What the parser said.
        detail: String,
    },
    /// The version is not ours.
    #[error("line 1: format_version {found}, but this harness reads {FORMAT_VERSION}")]
    Version {
        /// What stands there.
        found: u64,
    },
    /// The first line is not a header.
    #[error("line 1: expected {{\"format_version\":{FORMAT_VERSION}}}")]
    Header,
    /// Events do not pair up.
    #[error("event {index}: process {process} {detail}")]
    Pairing {
        /// Index of the event.
        index: u64,
        /// The process.
        process: Process,
        /// What is wrong.
        detail: &'static str,
    },
}

/// The first line of a history, with its newline.
#[must_use]
pub fn encode_header() -> String {
    format!("{{\"format_version\":{FORMAT_VERSION}}}\n")
}

/// Appends one event and a newline.
pub fn encode_event(event: &Event, into: &mut Vec<u8>) {
    crate::line::write_event(event, into);
    into.push(b'\n');
}

#[derive(Deserialize)]
struct Header {
    format_version: u64,
}

/// Whether a line is a header, of whatever version.
pub(crate) fn has_version(line: &[u8]) -> bool {
    serde_json::from_slice::<Header>(line).is_ok()
}

/// Whether the first line is a header that we read.
pub(crate) fn check_header(line: &[u8]) -> Result<(), HistoryError> {
    let header: Header = serde_json::from_slice(line).map_err(|_| HistoryError::Header)?;
    if header.format_version != u64::from(FORMAT_VERSION) {
        return Err(HistoryError::Version {
            found: header.format_version,
        });
    }
    Ok(())
}

/// What is said of a torn last line.
pub(crate) fn torn_line(length_bytes: usize, number: usize) -> String {
    format!("the last line ({length_bytes} bytes, line {number}) is torn and was left out")
}

/// Whether a line is what is left of one: without newline, and no JSON.
pub(crate) fn is_torn(line: &[u8]) -> bool {
    line.last() != Some(&b'\n') && serde_json::from_slice::<IgnoredAny>(line).is_err()
}

/// The event of a line.
pub(crate) fn event_of_line(line: &[u8], number: usize) -> Result<Event, HistoryError> {
    // The parser counts a line more where a newline is what it did not expect.
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let event: Event = serde_json::from_slice(line).map_err(|error| HistoryError::Line {
        line: number,
        column: error.column().max(1),
        detail: without_place(&error),
    })?;
    if huge::any(&event.value) {
        return Ok(serde_json::from_slice(&huge::quoted(line)).unwrap_or(event));
    }
    Ok(event)
}

/// What a parser of JSON says, without the place: that is one within the part that it was given.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let told = error.to_string();
    told.rsplit_once(" at line ")
        .map_or(&*told, |(detail, _)| detail)
        .to_owned()
}

/// Reads `history.jsonl`: events in order, and remarks for people.
pub fn decode_events(bytes: &[u8]) -> Result<(Vec<Event>, Vec<String>), HistoryError> {
    let mut events = Vec::new();
    let mut remarks = Vec::new();
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    check_header(lines.next().map_or(&[], |(_, first)| first))?;
    let mut names = Interner::default();
    for (number, line) in lines {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if is_torn(line) {
            remarks.push(torn_line(line.len(), number + 1));
            continue;
        }
        let mut event = event_of_line(line, number + 1)?;
        event.f = names.intern(event.f);
        event.node = event.node.map(|node| names.intern(node));
        events.push(event);
    }
    Ok((events, remarks))
}

/// Reads `history.jsonl` and pairs it up.
pub fn decode(bytes: &[u8]) -> Result<History, HistoryError> {
    let (events, remarks) = decode_events(bytes)?;
    let mut history = pair(events)?;
    history.remarks = remarks;
    Ok(history)
}

/// Pairs events up to operations. Indices may be sparse; only their order counts.
pub fn pair(events: impl IntoIterator<Item = Event>) -> Result<History, HistoryError> {
    let mut history = History::default();
    let mut open: HashMap<Process, usize> = HashMap::new();
    for event in events {
        history.event_count += 1;
        if event.process == Process::Nemesis {
            history.nemesis.push(event);
            continue;
        }
        if event.event_type == EventType::Invoke {
            if open
                .insert(event.process, history.operations.len())
                .is_some()
            {
                return Err(HistoryError::Pairing {
                    index: event.index,
                    process: event.process,
                    detail: "invokes an operation while another of its operations is open",
                });
            }
            history.operations.push(Operation {
                index: event.index,
                invoked_ns: event.time_ns,
                process: event.process,
                node: event.node,
                f: event.f,
                input: event.value,
                outcome: Outcome::Info,
                completed_index: None,
                completed_ns: None,
                output: Value::Null,
                error: None,
            });
            continue;
        }
        let Some(at) = open.remove(&event.process) else {
            return Err(HistoryError::Pairing {
                index: event.index,
                process: event.process,
                detail: "completes an operation that it did not invoke",
            });
        };
        let operation = &mut history.operations[at];
        operation.outcome = match event.event_type {
            EventType::Ok => Outcome::Ok,
            EventType::Fail => Outcome::Fail,
            EventType::Info | EventType::Invoke => Outcome::Info,
        };
        operation.completed_index = Some(event.index);
        operation.completed_ns = Some(event.time_ns);
        operation.output = event.value;
        operation.error = event.error;
    }
    Ok(history)
}

/// Gives equal names one allocation.
#[derive(Default)]
struct Interner(HashMap<Arc<str>, ()>);

impl Interner {
    fn intern(&mut self, name: Arc<str>) -> Arc<str> {
        if let Some((known, ())) = self.0.get_key_value(&name) {
            return Arc::clone(known);
        }
        self.0.insert(Arc::clone(&name), ());
        name
    }
}
