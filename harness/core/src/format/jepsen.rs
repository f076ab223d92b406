//! Jepsen's histories: EDN and its JSON twin, read and written.

use serde_json::{Value, json};

use super::{
    FormatError,
    assemble::{Assembler, Fields},
    edn::{EdnError, Reader},
};
use crate::{
    event::{Event, OpError, Process},
    history::without_place,
    huge,
};

/// What is said of a text that ends too early.
pub(super) const TORN: &str = "the text ends within a form; what was torn was left out";

/// Reads maps, bare or within one vector or list.
pub(super) fn read_edn(bytes: &[u8]) -> Result<(Vec<Event>, Vec<String>), FormatError> {
    let mut reader = Reader::new(bytes);
    let mut assembler = Assembler::default();
    let mut torn = false;
    let mut around = Around::default();
    loop {
        let found = around
            .find(&mut reader)
            .and_then(|found| match (found, reader.offset()) {
                (true, start) => operation(&mut reader).map(|fields| Some((start, fields))),
                (false, _) => Ok(None),
            });
        match found {
            Ok(Some((start, fields))) => assembler
                .push(fields)
                .map_err(|detail| FormatError::at(bytes, start, detail))?,
            Ok(None) => break,
            Err(error) if error.torn => {
                torn = true;
                break;
            }
            Err(error) => return Err(error.located(bytes)),
        }
    }
    let mut remarks = assembler.remarks();
    if torn {
        remarks.push(TORN.to_owned());
    }
    Ok((assembler.events, remarks))
}

/// Vectors and lists around operations that are open.
#[derive(Default)]
pub(super) struct Around(Vec<u8>);

impl Around {
    /// To the next operation's opening brace; false at the end.
    pub fn find(&mut self, reader: &mut Reader<'_>) -> Result<bool, EdnError> {
        let open = &mut self.0;
        loop {
            reader.skip_tags()?;
            match reader.peek()? {
                None if open.is_empty() => return Ok(false),
                None => {
                    return Err(reader.error("the vector around the operations does not end"));
                }
                Some(opening @ (b'[' | b'(')) => {
                    open.push(if opening == b'[' { b']' } else { b')' });
                    if open.len() > 2 {
                        return Err(reader.error("expected an operation, a map"));
                    }
                    reader.skip_byte();
                }
                Some(closing) if open.last() == Some(&closing) => {
                    open.pop();
                    reader.skip_byte();
                }
                Some(b'{') => return Ok(true),
                Some(_) => return Err(reader.error("expected an operation, a map")),
            }
        }
    }
}

/// The fields of the operation at the reader.
pub(super) fn operation(reader: &mut Reader<'_>) -> Result<Fields, EdnError> {
    reader.skip_byte();
    let mut fields = Fields::default();
    loop {
        match reader.peek()? {
            None => return Err(reader.error("an operation that does not end")),
            Some(b'}') => {
                reader.skip_byte();
                return Ok(fields);
            }
            Some(_) => {
                let name = reader.name()?;
                let Some(value) = reader.next_value()? else {
                    return Err(reader.error("a value is missing"));
                };
                if name == "value" {
                    fields.value = value;
                } else if let Some(slot) = fields.slot(&name) {
                    *slot = Some(value);
                }
            }
        }
    }
}

/// What is said of a text whose last object does not end.
const TORN_JSON: &str = "the last object is torn and was left out";

/// Reads objects, bare or within one array.
pub(super) fn read_json(bytes: &[u8]) -> Result<(Vec<Event>, Vec<String>), FormatError> {
    let mut assembler = Assembler::default();
    let torn = each_object(bytes, &mut |at| {
        let Some((fields, end)) = object(bytes, at)? else {
            return Ok(None);
        };
        assembler
            .push(fields)
            .map_err(|detail| FormatError::at(bytes, at, detail))?;
        Ok(Some(end))
    })?;
    let remarks = json_remarks(&assembler, torn);
    Ok((assembler.events, remarks))
}

/// What is to be said of objects that were read, of which the last is torn or not.
pub(super) fn json_remarks(assembler: &Assembler, torn: bool) -> Vec<String> {
    let mut remarks = assembler.remarks();
    remarks.extend(torn.then(|| TORN_JSON.to_owned()));
    remarks
}

/// Tells `one` where each object begins, bare or within one array; it says where that ends, or none if it is torn. Whether the text is.
pub(super) fn each_object(
    bytes: &[u8],
    one: &mut dyn FnMut(usize) -> Result<Option<usize>, FormatError>,
) -> Result<bool, FormatError> {
    let skip = |at: usize| bytes.len() - bytes[at..].trim_ascii_start().len();
    let mut at = skip(0);
    if bytes.get(at) == Some(&b'[') {
        return array(bytes, skip(at + 1), one);
    }
    while at < bytes.len() {
        let Some(end) = one(at)? else {
            return Ok(true);
        };
        at = skip(end);
    }
    Ok(false)
}

/// The same to the end of the array whose first item, or end, is at `at`.
fn array(
    bytes: &[u8],
    mut at: usize,
    one: &mut dyn FnMut(usize) -> Result<Option<usize>, FormatError>,
) -> Result<bool, FormatError> {
    let skip = |at: usize| bytes.len() - bytes[at..].trim_ascii_start().len();
    let wrong = |at, detail: &str| FormatError::at(bytes, at, detail);
    if bytes.get(at) != Some(&b']') {
        loop {
            let Some(end) = one(at)?.map(skip) else {
                return Ok(true);
            };
            match bytes.get(end) {
                None => return Ok(true),
                Some(b',') => at = skip(end + 1),
                Some(b']') => {
                    at = end;
                    break;
                }
                Some(_) => return Err(wrong(end, "expected a comma or the end of the array")),
            }
        }
    }
    let end = skip(at + 1);
    match bytes.get(end) {
        None => Ok(false),
        Some(_) => Err(wrong(end, "expected the end of the text behind the array")),
    }
}

/// The fields of the object that begins here, and where it ends; none if it is torn.
pub(super) fn object(bytes: &[u8], at: usize) -> Result<Option<(Fields, usize)>, FormatError> {
    let mut one = serde_json::Deserializer::from_slice(&bytes[at..]).into_iter::<Value>();
    match one.next() {
        None => Ok(None),
        Some(Ok(item)) => {
            let end = at + one.byte_offset();
            let item = huge::kept(&bytes[at..end], item);
            Ok(Some((json_fields(item), end)))
        }
        Some(Err(error)) if error.is_eof() => Ok(None),
        Some(Err(error)) => Err(located(bytes, at, &error)),
    }
}

/// An error of a text that begins at an offset, in lines and columns of the whole.
fn located(bytes: &[u8], at: usize, error: &serde_json::Error) -> FormatError {
    let lines = bytes[at..].split_inclusive(|byte| *byte == b'\n');
    let before: usize = lines
        .take(error.line().saturating_sub(1))
        .map(<[u8]>::len)
        .sum();
    let offset = at + before + error.column().saturating_sub(1);
    FormatError::at(bytes, offset, without_place(error))
}

fn json_fields(item: Value) -> Fields {
    let mut fields = Fields::default();
    let Value::Object(map) = item else {
        return fields;
    };
    for (name, value) in map {
        if name == "value" {
            fields.value = value;
        } else if let Some(slot) = fields.slot(&name) {
            *slot = Some(value);
        }
    }
    fields
}

/// Appends an event as a line of JSON in Jepsen's words.
pub fn encode_json_event(event: &Event, into: &mut Vec<u8>) {
    let mut map = json!({
        "index": event.index,
        "time": event.time_ns,
        "process": event.process,
        "type": event.event_type,
        "f": &*event.f,
        "value": event.value,
    });
    if let Some(node) = &event.node {
        map["node"] = json!(&**node);
    }
    if let Some(error) = &event.error {
        map["error"] = json!([error.kind, error.message]);
    }
    into.extend_from_slice(map.to_string().as_bytes());
    into.push(b'\n');
}

/// Appends an event as a line of EDN.
pub fn encode_edn_event(event: &Event, into: &mut Vec<u8>) {
    into.extend_from_slice(
        format!(
            "{{:index {}, :time {}, :process ",
            event.index, event.time_ns
        )
        .as_bytes(),
    );
    match event.process {
        Process::Client(number) => into.extend_from_slice(number.to_string().as_bytes()),
        Process::Nemesis => into.extend_from_slice(b":nemesis"),
    }
    into.extend_from_slice(b", :type :");
    into.extend_from_slice(event.event_type.as_str().as_bytes());
    into.extend_from_slice(b", :f ");
    name(&event.f, into);
    into.extend_from_slice(b", :value ");
    match (&*event.f, &event.value) {
        ("txn", Value::Array(items)) => transaction(items, into),
        (_, value) => form(value, into),
    }
    if let Some(node) = &event.node {
        into.extend_from_slice(b", :node ");
        string(node, into);
    }
    if let Some(OpError { kind, message }) = &event.error {
        into.extend_from_slice(b", :error [");
        name(kind, into);
        into.push(b' ');
        string(message, into);
        into.push(b']');
    }
    into.extend_from_slice(b"}\n");
}

/// `[[:append 1 2] [:r 1 nil]]`: the heads are keywords.
fn transaction(items: &[Value], into: &mut Vec<u8>) {
    into.push(b'[');
    for (place, item) in items.iter().enumerate() {
        if place > 0 {
            into.push(b' ');
        }
        match item {
            Value::Array(parts) => {
                into.push(b'[');
                for (place, part) in parts.iter().enumerate() {
                    if place > 0 {
                        into.push(b' ');
                    }
                    match part {
                        Value::String(head) if place == 0 => name(head, into),
                        other => form(other, into),
                    }
                }
                into.push(b']');
            }
            other => form(other, into),
        }
    }
    into.push(b']');
}

fn form(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::Null => into.extend_from_slice(b"nil"),
        Value::Bool(truth) => into.extend_from_slice(truth.to_string().as_bytes()),
        Value::Number(number) => {
            into.extend_from_slice(number.to_string().as_bytes());
            if number.as_i64().is_none() && number.as_u64().is_some() {
                into.push(b'N');
            }
        }
        Value::String(text) => string(text, into),
        Value::Array(items) => {
            into.push(b'[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    into.push(b' ');
                }
                form(item, into);
            }
            into.push(b']');
        }
        Value::Object(map) => {
            into.push(b'{');
            for (place, (key, item)) in map.iter().enumerate() {
                if place > 0 {
                    into.extend_from_slice(b", ");
                }
                if key
                    .parse::<i64>()
                    .is_ok_and(|number| number.to_string() == *key)
                {
                    into.extend_from_slice(key.as_bytes());
                } else {
                    name(key, into);
                }
                into.push(b' ');
                form(item, into);
            }
            into.push(b'}');
        }
    }
}

/// A keyword where the text can be one, else a string: both read back to the same name.
fn name(text: &str, into: &mut Vec<u8>) {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'?' | b'!')
        });
    if plain {
        into.push(b':');
        into.extend_from_slice(text.as_bytes());
    } else {
        string(text, into);
    }
}

fn string(text: &str, into: &mut Vec<u8>) {
    into.push(b'"');
    for character in text.chars() {
        match character {
            '"' => into.extend_from_slice(b"\\\""),
            '\\' => into.extend_from_slice(b"\\\\"),
            '\n' => into.extend_from_slice(b"\\n"),
            '\t' => into.extend_from_slice(b"\\t"),
            '\r' => into.extend_from_slice(b"\\r"),
            control if u32::from(control) < 0x20 => {
                into.extend_from_slice(format!("\\u{:04x}", u32::from(control)).as_bytes());
            }
            plain => into.extend_from_slice(plain.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    into.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#" [
  {"process": 0, "type": "invoke", "f": "read", "value": null},
  {"process": 0, "type": "ok", "f": "read", "value": [1, 2]}
] "#;

    fn read(text: &str) -> Result<(usize, Vec<String>), String> {
        read_json(text.as_bytes())
            .map(|(events, remarks)| (events.len(), remarks))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_torn_array_keeps_what_is_whole() {
        let (count, remarks) = read(WHOLE).unwrap_or_default();
        assert_eq!(count, 2);
        let said = |remarks: &[String]| remarks.iter().any(|remark| remark.contains("torn"));
        assert!(!said(&remarks));
        let ends: Vec<usize> = WHOLE.match_indices('}').map(|(at, _)| at + 1).collect();
        let closed = WHOLE.rfind(']').map_or(0, |at| at + 1);
        for end in 2..closed {
            let (count, remarks) = read(&WHOLE[..end]).unwrap_or((9, Vec::new()));
            let whole = ends.iter().filter(|at| **at <= end).count();
            assert_eq!(count, whole, "{:?}", &WHOLE[..end]);
            assert!(said(&remarks), "{:?}", &WHOLE[..end]);
        }
        assert_eq!(read("[]").map(|(count, _)| count), Ok(0));
    }

    #[test]
    fn what_is_wrong_in_an_array_is_located() {
        let ok = WHOLE.replace("\"ok\"", "\"oops\"");
        for (text, error) in [
            (
                &*WHOLE.replace("},", "}"),
                "line 3, column 3: expected a comma",
            ),
            (&*WHOLE.replace("[1, 2]", "[1 2]"), "line 3, column 57: "),
            (
                &*format!("{WHOLE}x"),
                "line 4, column 3: expected the end of the text",
            ),
            ("[{},]", "line 1, column "),
            (&*ok, "line 3, column 3: "),
        ] {
            let told = read(text).unwrap_err();
            assert!(
                told.contains(error) && !told.contains(" at line "),
                "{text}: {told}"
            );
        }
    }
}
