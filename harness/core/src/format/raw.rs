//! Events one after the other, their values still as text: for histories that are too large for trees of values.
//!
//! Laws:
//! - the events are those of [`read_events`](super::read_events), with the same remarks and the same errors. A line of the usual shape is
//!   taken apart here byte by byte; any other is read by the general reader, so that there is one meaning of a line and not two;
//! - memory does not grow with the length of the history;
//! - `consumed` is told how far reading came, so that who mapped a file can give its pages back.

mod ahead;
mod usual;

use std::sync::Arc;

use serde_json::Value;

pub use ahead::{EachAhead, Usual, each_event_ahead};
use usual::{Fields, Words, usual};

use super::{
    Format, FormatError,
    assemble::{Assembler, Stamp},
    cursor::{Cursor, Syntax},
    edn::{EdnError, Reader},
    jepsen::{Around, each_object, json_remarks, object, operation},
    place,
};
use crate::{
    event::{Event, EventType, Process},
    history, huge,
};

/// Bytes between two calls of `consumed`.
pub(super) const CONSUMED_EVERY_BYTES: usize = 32 * 1024 * 1024;

/// An event without its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// As [`Event::index`].
    pub index: u64,
    /// As [`Event::time_ns`].
    pub time_ns: u64,
    /// As [`Event::process`].
    pub process: Process,
    /// As [`Event::node`].
    pub node: Option<Arc<str>>,
    /// As [`Event::event_type`].
    pub event_type: EventType,
    /// As [`Event::f`].
    pub f: Arc<str>,
}

/// The value of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload<'a> {
    /// Still as text.
    Text(Text<'a>),
    /// Read already; and where its operation begins, if that is known.
    Value(Value, Option<Text<'a>>),
}

/// A piece of a history that holds one value, or something that is none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Text<'a> {
    bytes: &'a [u8],
    start: usize,
    end: usize,
    syntax: Syntax,
}

impl<'a> Text<'a> {
    /// All that begins here.
    fn at(bytes: &'a [u8], start: usize, syntax: Syntax) -> Self {
        let end = bytes.len();
        Self {
            bytes,
            start,
            end,
            syntax,
        }
    }

    /// At its first byte.
    #[must_use]
    pub fn cursor(&self) -> Cursor<'a> {
        Cursor::new(&self.bytes[..self.end], self.start, self.syntax)
    }

    /// Whether a cursor of it stands at its end.
    #[must_use]
    pub fn is_over(&self, cursor: &Cursor<'_>) -> bool {
        cursor.at() == self.end
    }

    /// Line and column of its first byte, from 1. Looks at all bytes before it.
    #[must_use]
    pub fn place(&self) -> (usize, usize) {
        place(self.bytes, self.start)
    }

    /// The value, by the general reader.
    ///
    /// # Errors
    /// If it is none: with line and column.
    pub fn value(&self) -> Result<Value, FormatError> {
        let located = |offset: usize, detail: String| FormatError::at(self.bytes, offset, detail);
        match self.syntax {
            Syntax::Json => {
                let text = &self.bytes[self.start..self.end];
                serde_json::from_slice(text)
                    .map(|value| huge::kept(text, value))
                    .map_err(|error| located(self.start, format!("not a value: {error}")))
            }
            Syntax::Edn => {
                let mut reader = Reader::starting_at(&self.bytes[..self.end], self.start);
                let value = reader
                    .next_value()
                    .map_err(|error| error.located(self.bytes))?;
                match reader.peek() {
                    Ok(None) => {
                        value.ok_or_else(|| located(self.start, "a value is missing".to_owned()))
                    }
                    _ => Err(located(
                        reader.offset(),
                        "expected the end of the value".to_owned(),
                    )),
                }
            }
        }
    }
}

impl Payload<'_> {
    /// The value.
    ///
    /// # Errors
    /// If the text is none.
    pub fn value(&self) -> Result<Value, FormatError> {
        match self {
            Self::Text(text) => text.value(),
            Self::Value(value, _) => Ok(value.clone()),
        }
    }
}

/// What is told of each event.
pub type Each<'e, 'a> = dyn FnMut(Head, Payload<'a>) -> Result<(), FormatError> + 'e;

/// Reads events in order; gives remarks for people.
///
/// # Errors
/// If bytes are not of the format, or if `each` says so.
pub fn each_event<'a>(
    bytes: &'a [u8],
    format: Format,
    each: &mut Each<'_, 'a>,
    consumed: &mut dyn FnMut(usize),
) -> Result<Vec<String>, FormatError> {
    let (mut names, mut assembler) = (Names::default(), Assembler::default());
    match format {
        Format::Ours => {
            let from = header_end(bytes)?;
            ours(bytes, from, &mut names, each, &mut Progress::new(consumed))
        }
        Format::Edn => {
            let mut progress = Progress::new(consumed);
            edn(bytes, 0, (&mut assembler, &mut names), each, &mut progress)
        }
        Format::JepsenJson => {
            let mut progress = Progress::new(consumed);
            json(bytes, (&mut assembler, &mut names), each, &mut progress)
        }
        other => {
            let (events, remarks) = super::read_events(bytes, other)?;
            for event in events {
                let (head, value) = parts(event);
                each(head, Payload::Value(value, None))?;
            }
            Ok(remarks)
        }
    }
}

fn parts(event: Event) -> (Head, Value) {
    let head = Head {
        index: event.index,
        time_ns: event.time_ns,
        process: event.process,
        node: event.node,
        event_type: event.event_type,
        f: event.f,
    };
    (head, event.value)
}

/// Says from time to time how far it came.
struct Progress<'p> {
    consumed: &'p mut dyn FnMut(usize),
    next: usize,
}

impl<'p> Progress<'p> {
    fn new(consumed: &'p mut dyn FnMut(usize)) -> Self {
        Self {
            consumed,
            next: CONSUMED_EVERY_BYTES,
        }
    }

    fn at(&mut self, offset: usize) {
        if offset >= self.next {
            (self.consumed)(offset);
            self.next = offset + CONSUMED_EVERY_BYTES;
        }
    }
}

/// The last names seen: most events have one of a few.
#[derive(Default)]
struct Names(Vec<Arc<str>>);

/// Names that are kept.
const NAMES_LIMIT: usize = 32;

impl Names {
    fn shared(&mut self, name: &[u8]) -> Arc<str> {
        if let Some(known) = self.0.iter().find(|known| known.as_bytes() == name) {
            return Arc::clone(known);
        }
        // A cursor's names are of ASCII alone.
        let shared: Arc<str> = Arc::from(&*String::from_utf8_lossy(name));
        if self.0.len() < NAMES_LIMIT {
            self.0.push(Arc::clone(&shared));
        }
        shared
    }
}

/// Reads on from the beginning of an operation, or of all.
fn edn<'a>(
    bytes: &'a [u8],
    from: usize,
    (assembler, names): (&mut Assembler, &mut Names),
    each: &mut Each<'_, 'a>,
    progress: &mut Progress<'_>,
) -> Result<Vec<String>, FormatError> {
    let mut around = Around::default();
    let mut reader = Reader::starting_at(bytes, from);
    let mut torn = false;
    loop {
        // Mostly the next line begins with its operation.
        let at = reader.offset();
        let next = bytes.get(at..at + 2);
        if next == Some(b"\n{") {
            reader.seek(at + 1);
        }
        match around.find(&mut reader) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.torn => {
                torn = true;
                break;
            }
            Err(error) => return Err(error.located(bytes)),
        }
        let start = reader.offset();
        progress.at(start);
        let mut cursor = Cursor::new(bytes, start, Syntax::Edn);
        if let Some((head, text)) = usual(&mut cursor, Words::Jepsens).and_then(|fields| {
            let text = text(bytes, &fields, Syntax::Edn)?;
            Some((stamped(&fields, assembler, names)?, text))
        }) {
            reader.seek(cursor.at());
            each(head, Payload::Text(text))?;
            continue;
        }
        match operation(&mut reader) {
            Ok(fields) => {
                let event = assembler
                    .make(fields)
                    .map_err(|detail| FormatError::at(bytes, start, detail))?;
                let (head, value) = parts(event);
                let of = Text::at(bytes, start, Syntax::Edn);
                each(head, Payload::Value(value, Some(of)))?;
            }
            Err(EdnError { torn: true, .. }) => {
                torn = true;
                break;
            }
            Err(error) => return Err(error.located(bytes)),
        }
    }
    let mut remarks = assembler.remarks();
    if torn {
        remarks.push(super::jepsen::TORN.to_owned());
    }
    if assembler.count() == 0 {
        return Err(FormatError::Empty {
            format: Format::Edn.name(),
        });
    }
    Ok(remarks)
}

/// Reads objects in Jepsen's words, bare or within one array.
fn json<'a>(
    bytes: &'a [u8],
    (assembler, names): (&mut Assembler, &mut Names),
    each: &mut Each<'_, 'a>,
    progress: &mut Progress<'_>,
) -> Result<Vec<String>, FormatError> {
    let torn = each_object(bytes, &mut |at| {
        progress.at(at);
        let mut cursor = Cursor::new(bytes, at, Syntax::Json);
        if let Some((head, text)) = usual(&mut cursor, Words::Jepsens).and_then(|fields| {
            let text = text(bytes, &fields, Syntax::Json)?;
            Some((stamped(&fields, assembler, names)?, text))
        }) {
            each(head, Payload::Text(text))?;
            return Ok(Some(cursor.at()));
        }
        let Some((fields, end)) = object(bytes, at)? else {
            return Ok(None);
        };
        let event = assembler
            .make(fields)
            .map_err(|detail| FormatError::at(bytes, at, detail))?;
        let (head, value) = parts(event);
        let of = Text::at(bytes, at, Syntax::Json);
        each(head, Payload::Value(value, Some(of)))?;
        Ok(Some(end))
    })?;
    if assembler.count() == 0 {
        return Err(FormatError::Empty {
            format: Format::JepsenJson.name(),
        });
    }
    Ok(json_remarks(assembler, torn))
}

/// The value of a line.
fn text<'a>(bytes: &'a [u8], fields: &Fields<'a>, syntax: Syntax) -> Option<Text<'a>> {
    let (start, end) = fields.value?;
    Some(Text {
        bytes,
        start,
        end,
        syntax,
    })
}

fn stamped(fields: &Fields<'_>, assembler: &mut Assembler, names: &mut Names) -> Option<Head> {
    let (process, event_type, f) = (fields.process?, fields.event_type?, fields.f?);
    let Stamp { index, time_ns } = assembler.stamp(fields.index, fields.time_ns);
    Some(Head {
        index,
        time_ns,
        process,
        node: fields.node.map(|node| names.shared(node)),
        event_type,
        f: names.shared(f),
    })
}

/// Where the line that holds this byte ends.
fn line_end(bytes: &[u8], from: usize) -> usize {
    bytes[from..]
        .iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |at| from + at + 1)
}

/// Where the header of our own format ends.
fn header_end(bytes: &[u8]) -> Result<usize, FormatError> {
    let end = line_end(bytes, 0);
    history::check_header(&bytes[..end])?;
    Ok(end)
}

/// Reads on from the beginning of a line behind the header.
fn ours<'a>(
    bytes: &'a [u8],
    from: usize,
    names: &mut Names,
    each: &mut Each<'_, 'a>,
    progress: &mut Progress<'_>,
) -> Result<Vec<String>, FormatError> {
    let mut remarks = Vec::new();
    let mut at = from;
    while at < bytes.len() {
        progress.at(at);
        let mut cursor = Cursor::new(bytes, at, Syntax::Json);
        // White space of JSON may be the end of a line; an event must not go on behind it.
        let one_line = |cursor: &Cursor<'_>| {
            cursor.peek().is_none_or(|byte| byte == b'\n')
                && !bytes[at..cursor.at()].contains(&b'\n')
        };
        let fields = usual(&mut cursor, Words::Ours).filter(|_| one_line(&cursor));
        if let Some((head, text)) = fields.and_then(|fields| {
            let text = text(bytes, &fields, Syntax::Json)?;
            Some((complete(&fields, names)?, text))
        }) {
            at = cursor.at() + 1;
            each(head, Payload::Text(text))?;
            continue;
        }
        let end = line_end(bytes, at);
        let line = &bytes[at..end];
        let number = || 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
        if line.trim_ascii().is_empty() {
            at = end;
            continue;
        }
        if history::is_torn(line) {
            remarks.push(history::torn_line(line.len(), number()));
            break;
        }
        // Lines before are counted only for an error.
        let event = match history::event_of_line(line, 0) {
            Ok(event) => event,
            Err(_) => history::event_of_line(line, number())?,
        };
        let (head, value) = parts(event);
        let of = Text::at(bytes, at, Syntax::Json);
        each(head, Payload::Value(value, Some(of)))?;
        at = end;
    }
    Ok(remarks)
}

fn complete(fields: &Fields<'_>, names: &mut Names) -> Option<Head> {
    Some(Head {
        index: fields.index?,
        time_ns: fields.time_ns?,
        process: fields.process?,
        node: fields.node.map(|node| names.shared(node)),
        event_type: fields.event_type?,
        f: names.shared(fields.f?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Events by this module, or the error.
    fn raw(bytes: &[u8], format: Format) -> Result<(Vec<Event>, Vec<String>), String> {
        let mut events = Vec::new();
        let remarks = each_event(
            bytes,
            format,
            &mut |head, payload| {
                events.push(Event {
                    index: head.index,
                    time_ns: head.time_ns,
                    process: head.process,
                    node: head.node,
                    event_type: head.event_type,
                    f: head.f,
                    value: payload.value()?,
                    error: None,
                });
                Ok(())
            },
            &mut |_| {},
        )
        .map_err(|error| error.to_string())?;
        Ok((events, remarks))
    }

    fn general(bytes: &[u8], format: Format) -> Result<(Vec<Event>, Vec<String>), String> {
        let (mut events, remarks) =
            super::super::read_events(bytes, format).map_err(|error| error.to_string())?;
        for event in &mut events {
            event.error = None;
        }
        Ok((events, remarks))
    }

    const EDN: &[&str] = &[
        "{:index 0, :time 1, :process 3, :type :invoke, :f :txn, :value [[:append 1 2] [:r 1 nil]]}\n",
        "{:index 1 :time 4 :type :ok :value [[:append 1 2] [:r :x [1 2 -3]]] :process 3 :f :txn}\n",
        "{:type :info, :process :nemesis, :f :partition, :value nil, :time 7, :index 9}\n",
        "{:index 4, :time 8, :process 4, :type :fail, :f :txn, :value [[:r 1 [2.5 \"a]\" \\] #{1}]]], :error [:busy \"x\"], :node \"n1\"}\n",
        "{:process 5, :type :invoke, :f :txn, :value 5N, :key 3}\n",
        "{:type :invoke, :value [[:r 1 nil]]} {:type :ok, :value [[:r 1 [] ; no more\n]]}\n",
        "{:index 2, :time 1, :process +7, :type :invoke, :f :txn, :value #_ 5 [1 007]}\n",
        "{:index 3, :time 1, :process 7, :type :fail, :f :txn, :value ^:a [##NaN #\"\\d\\\"\" #{3 1}], :error #object[a.b 0x1f \"c\"]}\n",
        "#jepsen.history.Op{:index 70, :time 1, :process 8, :type :invoke, :f :txn, :value (1 2)}\n",
    ];

    const OURS: &[&str] = &[
        "{\"index\":0,\"time_ns\":1,\"process\":3,\"node\":\"n1\",\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"append\",1,2],[\"r\",1,null]]}\n",
        "{\"index\":1,\"time_ns\":2,\"process\":3,\"type\":\"fail\",\"f\":\"txn\",\"value\":[1, \"}\\\"]\", {\"a\":[]}],\"error\":{\"kind\":\"busy\",\"message\":\"\"}}\n",
        "  \n",
        "{\"time_ns\":5, \"index\":4,\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"a\\u0062c\",\"value\":-1.5e3}\n",
        "{\"index\":5,\"time_ns\":2,\"process\":4,\"type\":\"ok\",\"f\":\"txn\"}\n",
        "{\"index\":6,\"time_ns\":2,\"process\":4,\"type\":\"ok\",\"f\":\"txn\",\"value\":[100000000000000000001]}\n",
        "{\"index\": 7, \"time_ns\": 2, \"process\": 5, \"type\": \"ok\", \"f\": \"txn\", \"value\": [1, 2]}\n",
    ];

    const JSON: &[&str] = &[
        "{\"index\":0,\"time\":1,\"process\":3,\"node\":\"n1\",\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"append\",1,2],[\"r\",1,null]]}\n",
        "{\"index\":1,\"time\":2,\"process\":3,\"type\":\"fail\",\"f\":\"txn\",\"value\":[1, \"}\\\"]\", {\"a\":[]}],\"error\":[\"busy\",\"\"]}\n",
        "  \n",
        "{\"time\":5.5, \"index\":4,\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"a\\u0062c\",\"value\":-1.5e3}\n",
        "{\"type\":\"invoke\",\"value\":[]}{\"type\":\"ok\",\"value\":null,\"key\":7}\n",
        "{\"process\": 4, \"type\": \"ok\", \"f\": \"txn\", \"value\": [1,\n 2], \"value\": [3]}\n",
    ];

    #[test]
    fn as_the_general_reader_says() {
        let header = history::encode_header();
        for (lines, format, head) in [
            (EDN, Format::Edn, ""),
            (OURS, Format::Ours, &*header),
            (JSON, Format::JepsenJson, ""),
        ] {
            let mut both = vec![head.to_owned() + &lines.concat()];
            assert!(general(both[0].as_bytes(), format).is_ok());
            for (place, line) in lines.iter().enumerate() {
                both.push(format!("{head}{line}"));
                // Every torn or damaged variant of a line among others.
                for cut in 0..line.len() {
                    if !line.is_char_boundary(cut) {
                        continue;
                    }
                    let before = lines[..place].concat();
                    both.push(format!("{head}{before}{}", &line[..cut]));
                    for odd in ["x", "]", "}", "\"", ",", " ", "9", "\n"] {
                        let (left, right) = line.split_at(cut);
                        let right = right.get(1..).unwrap_or("");
                        both.push(format!("{head}{before}{left}{odd}{right}"));
                    }
                }
            }
            for text in both {
                let (ours, theirs) = (
                    raw(text.as_bytes(), format),
                    general(text.as_bytes(), format),
                );
                match (&ours, &theirs) {
                    // Where both refuse, the place in the line is the nearest one that each knows.
                    (Err(_), Err(_)) => {}
                    _ => assert_eq!(ours, theirs, "{text}"),
                }
            }
        }
        let array: Vec<&str> = JSON.iter().map(|line| line.trim()).collect();
        let array = array.join(",").replace(",,", ",").replace("}{", "},{");
        for end in 0..=array.len() {
            let text = format!("[{}", array.get(..end).unwrap_or_default());
            for text in [text.clone(), text + "]"] {
                let both = [raw, general].map(|read| read(text.as_bytes(), Format::JepsenJson));
                assert!(
                    both[0] == both[1] || both.iter().all(Result::is_err),
                    "{text}"
                );
            }
        }
        let whole = raw(format!("[{array}]").as_bytes(), Format::JepsenJson);
        assert_eq!(whole.map(|(events, _)| events.len()), Ok(6));
        let wrapped = format!("[{}]", EDN.concat());
        let both = [
            raw(wrapped.as_bytes(), Format::Edn),
            general(wrapped.as_bytes(), Format::Edn),
        ];
        assert!(both[0].is_ok() && both[0] == both[1]);
    }

    #[test]
    fn most_lines_are_read_without_values() {
        for (line, format) in [(EDN[0], Format::Edn), (JSON[0], Format::JepsenJson)] {
            let text = line.repeat(3);
            let mut texts = 0;
            let told = each_event(
                text.as_bytes(),
                format,
                &mut |_, payload| {
                    texts += usize::from(matches!(payload, Payload::Text(_)));
                    Ok(())
                },
                &mut |_| {},
            );
            assert!(told.is_ok());
            assert_eq!(texts, 3);
        }
    }
}
