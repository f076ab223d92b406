//! Porcupine's etcd logs: Jepsen's console log of a compare-and-set register, one event a line.
//!
//! ```text
//! INFO  jepsen.util - 4⇥:invoke⇥:cas⇥[0 2]
//! INFO  jepsen.util - 4⇥:fail⇥:cas⇥[0 2]
//! INFO  jepsen.util - 2⇥:info⇥:write⇥:timed-out
//! ```
//!
//! A `:fail` of a compare-and-set there is etcd's answer that the comparison failed: it observed the register. It gets
//! the error kind [`MISMATCH`], by which the checker knows. A `:timed-out` stands where the value would, and is an error.

use serde_json::Value;

use super::{
    FormatError,
    assemble::{Assembler, Fields},
    edn::Reader,
};
use crate::event::Event;

/// Error kind of a compare-and-set that failed because it saw another value. Our own workloads use it too.
pub const MISMATCH: &str = "cas-mismatch";

const PREFIX: &str = "jepsen.util - ";

pub(super) fn read_etcd(bytes: &[u8]) -> Result<(Vec<Event>, Vec<String>), FormatError> {
    let mut assembler = Assembler::default();
    let mut other_lines = 0_u64;
    let mut offset = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let start = offset;
        offset += line.len();
        let text = std::str::from_utf8(line)
            .map_err(|_| FormatError::at(bytes, start, "a line that is not UTF-8"))?
            .trim_end();
        let Some(at) = text.find(PREFIX) else {
            other_lines += u64::from(!text.is_empty());
            continue;
        };
        let body = at + PREFIX.len();
        let (process, rest) = column(&text[body..]);
        let (kind, rest) = column(rest);
        let (f, value) = column(rest);
        if process.is_empty() || kind.is_empty() || f.is_empty() || value.is_empty() {
            other_lines += 1;
            continue;
        }
        let form = |column: &str| -> Result<Value, FormatError> {
            Reader::new(column.as_bytes())
                .next_value()
                .map(Option::unwrap_or_default)
                .map_err(|error| FormatError::at(bytes, start + body, error.detail))
        };
        let mut fields = Fields {
            process: Some(form(process)?),
            kind: Some(form(kind)?),
            f: Some(form(f)?),
            value: form(value)?,
            ..Fields::default()
        };
        let failed = kind == ":fail";
        if let Value::String(word) = &fields.value {
            fields.error = Some(Value::String(word.clone()));
            fields.value = Value::Null;
        } else if failed && f == ":cas" {
            fields.error = Some(Value::String(MISMATCH.to_owned()));
        }
        assembler
            .push(fields)
            .map_err(|detail| FormatError::at(bytes, start + body, detail))?;
    }
    let mut remarks = assembler.remarks();
    if other_lines > 0 {
        remarks.push(format!("{other_lines} lines of the log are no operations"));
    }
    Ok((assembler.events, remarks))
}

/// The first column, and what comes behind it. Some logs have tabs between columns, some spaces.
fn column(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (first, rest.trim())
}
