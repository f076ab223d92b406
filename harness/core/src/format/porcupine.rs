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
        let Some((body, [process, kind, f, value])) = columns(text) else {
            other_lines += u64::from(!text.is_empty());
            continue;
        };
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

/// Where the line of an operation begins, by its number.
pub(super) fn offset(bytes: &[u8], number: usize) -> Option<usize> {
    let mut end = 0;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
        end += line.len();
        (end - line.len(), line)
    });
    let is_one =
        |line| std::str::from_utf8(line).is_ok_and(|text| columns(text.trim_end()).is_some());
    lines
        .filter(|(_, line)| is_one(line))
        .map(|(start, _)| start)
        .nth(number)
}

/// Process, type, kind and value of a line with an operation, and where the first of them begins.
fn columns(text: &str) -> Option<(usize, [&str; 4])> {
    let body = text.find(PREFIX)? + PREFIX.len();
    let (process, rest) = column(&text[body..]);
    let (kind, rest) = column(rest);
    let (f, value) = column(rest);
    let columns = [process, kind, f, value];
    let full = columns.iter().all(|column| !column.is_empty());
    full.then_some((body, columns))
}

/// The first column, and what comes behind it. Some logs have tabs between columns, some spaces.
fn column(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (first, rest) = text.split_once([' ', '\t']).unwrap_or((text, ""));
    (first, rest.trim())
}
