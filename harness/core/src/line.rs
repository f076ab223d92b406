//! One event as one line, written by hand: the recorder does this hundreds of thousands of times a second, and a
//! general serialiser takes a multiple of the time.
//!
//! Law: byte for byte what `serde_json` writes for [`Event`] (a property test holds it to that).

use std::io::Write;

use serde_json::Value;

use crate::event::{Event, Process};

/// Appends the event as JSON, without a newline.
pub(crate) fn write_event(event: &Event, into: &mut Vec<u8>) {
    into.extend_from_slice(b"{\"index\":");
    write_number(event.index, into);
    into.extend_from_slice(b",\"time_ns\":");
    write_number(event.time_ns, into);
    into.extend_from_slice(b",\"process\":");
    match event.process {
        Process::Client(number) => write_number(number, into),
        Process::Nemesis => into.extend_from_slice(b"\"nemesis\""),
    }
    if let Some(node) = &event.node {
        into.extend_from_slice(b",\"node\":");
        write_text(node, into);
    }
    into.extend_from_slice(b",\"type\":\"");
    into.extend_from_slice(event.event_type.as_str().as_bytes());
    into.extend_from_slice(b"\",\"f\":");
    write_text(&event.f, into);
    into.extend_from_slice(b",\"value\":");
    write_value(&event.value, into);
    if let Some(error) = &event.error {
        into.extend_from_slice(b",\"error\":{\"kind\":");
        write_text(&error.kind, into);
        into.extend_from_slice(b",\"message\":");
        write_text(&error.message, into);
        into.push(b'}');
    }
    into.push(b'}');
}

/// Decimal digits of the largest `u64`.
const DIGITS_LIMIT: usize = 20;

fn write_number(mut number: u64, into: &mut Vec<u8>) {
    let mut digits = [0_u8; DIGITS_LIMIT];
    let mut at = DIGITS_LIMIT;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    into.extend_from_slice(&digits[at..]);
}

fn write_text(text: &str, into: &mut Vec<u8>) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        into.push(b'"');
        into.extend_from_slice(text.as_bytes());
        into.push(b'"');
    } else {
        // Writing a string to memory cannot fail.
        let _ = serde_json::to_writer(into, text);
    }
}

fn write_value(value: &Value, into: &mut Vec<u8>) {
    match value {
        Value::Null => into.extend_from_slice(b"null"),
        Value::Bool(true) => into.extend_from_slice(b"true"),
        Value::Bool(false) => into.extend_from_slice(b"false"),
        Value::Number(number) => match number.as_u64() {
            Some(number) => write_number(number, into),
            None => {
                let _ = write!(into, "{number}");
            }
        },
        Value::String(text) => write_text(text, into),
        Value::Array(items) => {
            into.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    into.push(b',');
                }
                write_value(item, into);
            }
            into.push(b']');
        }
        Value::Object(fields) => {
            into.push(b'{');
            for (at, (name, field)) in fields.iter().enumerate() {
                if at > 0 {
                    into.push(b',');
                }
                write_text(name, into);
                into.push(b':');
                write_value(field, into);
            }
            into.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::event::{EventType, OpError};

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn is_what_serde_writes(
            index in any::<u64>(), time_ns in any::<u64>(), process in prop::option::of(any::<u64>()),
            node in prop::option::of(any::<String>()), kind in 0..4_usize, f in any::<String>(),
            value in values(), error in prop::option::of((any::<String>(), any::<String>())),
        ) {
            let types = [EventType::Invoke, EventType::Ok, EventType::Fail, EventType::Info];
            let event = Event {
                index,
                time_ns,
                process: process.map_or(Process::Nemesis, Process::Client),
                node: node.map(Arc::from),
                event_type: types[kind],
                f: Arc::from(f),
                value,
                error: error.map(|(kind, message)| OpError { kind, message }),
            };
            let mut line = Vec::new();
            write_event(&event, &mut line);
            prop_assert_eq!(String::from_utf8(line).unwrap(), serde_json::to_string(&event).unwrap());
        }
    }
}
