//! Transactions on registers by sessions, as dbcop's text format writes them.
//!
//! ```text
//! // comment
//! [x:=1 y:=2] [x==1 y==?]     x was set to 1, y to 2; then x was seen to be 1, and y what it was at first
//! [x:=3]!                     one that did not commit
//! ---                         the next session
//! [y==2]
//! ```
//!
//! A key is letters, digits and `_`; one of digits alone is read as a whole number. A value is a whole number that is not negative. There
//! are no times: only the order within a session means anything. What the format cannot say is not written: an outcome that is not
//! known, another kind of operation, other keys and values. Source: the grammar in the documentation of
//! github.com/rnbguy/dbcop.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    FormatError,
    sessions::WITHOUT_TIMES,
    write::{NO_NUMBER, Sessions, Unsayable, transactions, unsayable},
};
use crate::event::{Event, EventType, Process};

/// Whether the bytes look like it: a transaction, behind comments and blank lines.
pub(super) fn detect(start: &[u8]) -> bool {
    let line = start
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::trim_ascii)
        .find(|line| !line.is_empty() && !line.starts_with(b"//"));
    let Some([b'[', rest @ ..]) = line else {
        return false;
    };
    let key = rest.iter().take_while(|byte| is_key(**byte)).count();
    key > 0 && (rest[key..].starts_with(b":=") || rest[key..].starts_with(b"=="))
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The events of such a history: for each transaction an invocation and its end.
pub(super) fn read(bytes: &[u8]) -> Result<(Vec<Event>, Vec<String>), FormatError> {
    let mut events = Vec::new();
    let mut session = 0;
    let mut text = Text { bytes, at: 0 };
    let f: Arc<str> = Arc::from("txn");
    // What may come next: a transaction beside one before, or anything that begins a line.
    let mut fresh = true;
    while let Some(byte) = text.peek() {
        match byte {
            b'\n' => {
                text.at += 1;
                fresh = true;
            }
            b' ' | b'\t' | b'\r' => text.at += 1,
            b'/' if fresh && bytes[text.at..].starts_with(b"//") => text.skip_line(),
            b'-' if fresh => {
                while text.peek() == Some(b'-') {
                    text.at += 1;
                }
                session += 1;
                fresh = false;
                if !text.rest_is_blank() {
                    return Err(text.wrong("expected the end of the line"));
                }
            }
            b'[' => {
                fresh = false;
                let (asked, told) = text.transaction()?;
                let committed = text.peek() != Some(b'!');
                text.at += usize::from(!committed);
                let end = if committed {
                    EventType::Ok
                } else {
                    EventType::Fail
                };
                for (event_type, value) in [(EventType::Invoke, asked), (end, told)] {
                    let place = events.len() as u64;
                    events.push(Event {
                        index: place,
                        time_ns: place,
                        process: Process::Client(session),
                        node: None,
                        event_type,
                        f: Arc::clone(&f),
                        value: value.into(),
                        error: None,
                    });
                }
            }
            _ => return Err(text.wrong("expected a transaction in brackets")),
        }
    }
    Ok((events, vec![WITHOUT_TIMES.to_owned()]))
}

struct Text<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Text<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn wrong(&self, detail: &str) -> FormatError {
        FormatError::at(self.bytes, self.at, detail)
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    fn rest_is_blank(&self) -> bool {
        let rest = &self.bytes[self.at..];
        let line = rest.split(|byte| *byte == b'\n').next();
        line.is_none_or(|line| line.trim_ascii().is_empty())
    }

    /// What it asked for, and what it did.
    fn transaction(&mut self) -> Result<(Vec<Value>, Vec<Value>), FormatError> {
        let (mut asked, mut told) = (Vec::new(), Vec::new());
        self.at += 1;
        loop {
            while matches!(self.peek(), Some(b' ' | b'\t')) {
                self.at += 1;
            }
            if self.peek() == Some(b']') && !told.is_empty() {
                self.at += 1;
                return Ok((asked, told));
            }
            let key = self.key()?;
            let operator = self.bytes.get(self.at..self.at + 2);
            let write = match operator {
                Some(b":=") => true,
                Some(b"==") => false,
                _ => return Err(self.wrong("expected := or ==")),
            };
            self.at += 2;
            let value = if !write && self.peek() == Some(b'?') {
                self.at += 1;
                Value::Null
            } else {
                json!(self.number()?)
            };
            if !matches!(self.peek(), Some(b' ' | b'\t' | b']')) {
                return Err(self.wrong("expected a space or the end of the transaction"));
            }
            let name = if write { "w" } else { "r" };
            asked.push(json!([
                name,
                key,
                if write { &value } else { &Value::Null }
            ]));
            told.push(json!([name, key, value]));
        }
    }

    fn key(&mut self) -> Result<Value, FormatError> {
        let start = self.at;
        while self.peek().is_some_and(is_key) {
            self.at += 1;
        }
        let key = String::from_utf8_lossy(&self.bytes[start..self.at]);
        if key.is_empty() {
            return Err(self.wrong("expected a key"));
        }
        // Only what is written so again: 007 stays a text.
        let number = key.parse::<u64>().ok();
        let number = number.filter(|number| number.to_string() == *key);
        Ok(number.map_or_else(|| json!(key), |number| json!(number)))
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = String::from_utf8_lossy(&self.bytes[start..self.at]);
        digits.parse().map_err(|_| {
            FormatError::at(
                self.bytes,
                start,
                "expected a whole number of at most 64 bits",
            )
        })
    }
}

/// Appends the text of a history, sessions one after the other in the order of their first transactions.
///
/// # Errors
/// If the history holds something that the format cannot say.
pub fn write(events: &[Event], into: &mut Vec<u8>) -> Result<(), Unsayable> {
    let mut sessions = Sessions::default();
    for (event, committed) in transactions(events)? {
        let mut steps = Vec::new();
        for step in event.value.as_array().into_iter().flatten() {
            match said(step, committed) {
                Some(said) => steps.extend(said),
                None => return unsayable(event, NO_NUMBER),
            }
        }
        if steps.is_empty() {
            continue;
        }
        let mark = if committed { "" } else { "!" };
        sessions.push(event.process, &format!("[{}]{mark}\n", steps.join(" ")));
    }
    sessions.write("---\n", into);
    Ok(())
}

/// A step's text; nothing for a read whose answer nobody got; None if there is no text for it.
fn said(step: &Value, committed: bool) -> Option<Option<String>> {
    let [name, key, value] = step.as_array().map_or(&[][..], Vec::as_slice) else {
        return None;
    };
    let key = match key {
        Value::String(key) if !key.is_empty() && key.bytes().all(is_key) => key.clone(),
        key => key.as_u64()?.to_string(),
    };
    Some(match (name.as_str()?, value) {
        ("w", value) => Some(format!("{key}:={}", value.as_u64()?)),
        ("r", _) if !committed => None,
        ("r", Value::Null) => Some(format!("{key}==?")),
        ("r", value) => Some(format!("{key}=={}", value.as_u64()?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Format, read_events};

    #[test]
    fn there_and_back() {
        let text = "[x:=1 3:=2]\n[x==1 y==?]\n[x:=3]!\n---\n[3==2 _a1==7]\n";
        let loose = "// one\n[x:=1  3:=2 ][x==1 y==?]\n\n [x:=3]! \n--\t\n// two\n[3==2 _a1==7]";
        for given in [text, loose] {
            assert_eq!(Format::detect(given.as_bytes()), Format::Dbcop);
            let events = read_events(given.as_bytes(), Format::Dbcop).map(|(events, _)| events);
            let events = events.unwrap_or_default();
            assert_eq!(events.len(), 8);
            assert_eq!(events[1].value, json!([["w", "x", 1], ["w", 3, 2]]));
            assert_eq!(events[2].value, json!([["r", "x", null], ["r", "y", null]]));
            assert_eq!(events[5].event_type, EventType::Fail);
            assert_eq!(events[7].process, Process::Client(1));
            let mut written = Vec::new();
            assert_eq!(write(&events, &mut written), Ok(()));
            assert_eq!(String::from_utf8_lossy(&written), text);
        }
    }

    #[test]
    fn what_is_wrong_is_located() {
        for (text, said) in [
            ("[x:=1]\n[x=2]\n", "line 2, column 3: expected := or =="),
            ("[]\n", "line 1, column 2: expected a key"),
            ("[x==?1]\n", "line 1, column 6: expected a space"),
            ("[x:=?]\n", "line 1, column 5: expected a whole number"),
            ("[x:=1]\n-- [y:=1]\n", "line 2, column 3: expected the end"),
            ("[x:=1] // no\n", "line 1, column 8: expected a transaction"),
            ("[x:=1", "line 1, column 6: expected a space"),
            ("// nothing\n", "no operation found"),
        ] {
            let told = read_events(text.as_bytes(), Format::Dbcop)
                .map_err(|error| error.to_string())
                .err()
                .unwrap_or_default();
            assert!(told.starts_with(said), "{text:?}: {told}");
        }
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let event = |event_type, f: &str, value: Value| Event {
            index: 7,
            time_ns: 0,
            process: Process::Client(0),
            node: None,
            event_type,
            f: f.into(),
            value,
            error: None,
        };
        let writes = json!([["w", 1, 2]]);
        for one in [
            event(EventType::Info, "txn", writes.clone()),
            event(EventType::Invoke, "txn", writes),
            event(EventType::Ok, "read", json!([1, 2])),
            event(EventType::Ok, "txn", json!([["append", 1, 2]])),
            event(EventType::Ok, "txn", json!([["w", "a b", 2]])),
            event(EventType::Ok, "txn", json!([["w", 1, -2]])),
        ] {
            let told = write(&[one], &mut Vec::new());
            assert_eq!(told.map_err(|error| error.index), Err(7));
        }
    }
}
