//! Transactions on registers by sessions, as AWDIT and Plume write them: no times, no failures' answers, one operation a line.
//!
//! ```text
//! w 0 1          AWDIT: key and value            w(0,1,0,7)     Plume: key, value, session, transaction
//! -----          ends a transaction              r(0,0,1,8)     0 is what was there at first
//! =====          ends a session                  w(0,2,1,-1)    -1: of a transaction that failed
//! ```
//!
//! Only the order within a session means anything. A value is a whole number that is not negative; in Plume's format nobody writes 0.
//! Source: the README and the test histories of github.com/lassemoldrup/AWDIT, which reads both.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Value, json};

use super::FormatError;
use crate::event::{Event, EventType, Process};

/// What is said of histories in these formats.
pub const WITHOUT_TIMES: &str = "the format has no times: only the order within sessions means anything; sessions stand one after the other";

/// One operation of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether it writes.
    pub write: bool,
    /// The key.
    pub key: u64,
    /// What was written or read; None: what was there at first.
    pub value: Option<u64>,
}

/// A transaction.
#[derive(Clone, Copy, Debug)]
pub struct Transaction<'a> {
    /// The session, by any number.
    pub session: u64,
    /// Whether it took effect; otherwise it failed.
    pub committed: bool,
    /// What it did, in order.
    pub accesses: &'a [Access],
}

/// Whether the bytes look like AWDIT's format (`Some(false)`), Plume's (`Some(true)`), or neither.
pub(super) fn detect(start: &[u8]) -> Option<bool> {
    match start {
        [b'w' | b'r', b'(', b'0'..=b'9', ..] => Some(true),
        [b'w' | b'r', b' ', b'0'..=b'9', ..] => Some(false),
        _ => None,
    }
}

/// Reads transactions in the order in which they stand; `consumed` is told how far reading came.
///
/// # Errors
/// With line and column, if a line is not of the format.
pub fn each_transaction(
    bytes: &[u8],
    plume: bool,
    each: &mut dyn FnMut(Transaction<'_>),
    consumed: &mut dyn FnMut(usize),
) -> Result<(), FormatError> {
    let mut lines = Lines {
        bytes,
        at: 0,
        start: 0,
    };
    let mut next = super::raw::CONSUMED_EVERY_BYTES;
    let mut accesses = Vec::new();
    let mut tell = |session, committed, accesses: &mut Vec<Access>| {
        if !accesses.is_empty() {
            each(Transaction {
                session,
                committed,
                accesses,
            });
            accesses.clear();
        }
    };
    let mut session = 0;
    // Plume: the transaction that the last line was of, and all so far.
    let mut current = None;
    let mut known: HashSet<u64> = HashSet::new();
    while let Some(first) = lines.next_line() {
        if lines.at >= next {
            consumed(lines.start);
            next = lines.at + super::raw::CONSUMED_EVERY_BYTES;
        }
        match first {
            b'-' if !plume => {
                lines.rule(b'-')?;
                tell(session, true, &mut accesses);
            }
            b'=' if !plume => {
                lines.rule(b'=')?;
                tell(session, true, &mut accesses);
                session += 1;
            }
            b'w' | b'r' if plume => {
                lines.at += 1;
                lines.expect(b'(')?;
                let key = lines.number()?;
                lines.expect(b',')?;
                let value = lines.number()?;
                lines.expect(b',')?;
                let of = lines.number()?;
                lines.expect(b',')?;
                let failed = lines.bytes.get(lines.at) == Some(&b'-');
                lines.at += usize::from(failed);
                let number = lines.number()?;
                lines.expect(b')')?;
                lines.end()?;
                if failed && number != 1 {
                    return Err(lines.wrong("expected a transaction's number, or -1"));
                }
                let this = (!failed).then_some((of, number));
                if failed || current != this {
                    if let Some((session, _)) = current {
                        tell(session, true, &mut accesses);
                    }
                    if !failed && !known.insert(number) {
                        return Err(lines.wrong(
                            "the lines of this transaction do not stand together, or are of two sessions",
                        ));
                    }
                    current = this;
                }
                if first == b'w' && value == 0 {
                    return Err(lines.wrong("0 is what was there at first; nobody writes it"));
                }
                accesses.push(Access {
                    write: first == b'w',
                    key,
                    value: (value != 0).then_some(value),
                });
                if failed {
                    tell(of, false, &mut accesses);
                }
            }
            b'w' | b'r' => {
                lines.at += 1;
                lines.expect(b' ')?;
                let key = lines.number()?;
                lines.expect(b' ')?;
                let value = lines.number()?;
                lines.end()?;
                accesses.push(Access {
                    write: first == b'w',
                    key,
                    value: Some(value),
                });
            }
            _ => return Err(lines.wrong("expected an operation that reads or writes")),
        }
    }
    if let Some((of, _)) = current {
        session = of;
    }
    tell(session, true, &mut accesses);
    Ok(())
}

/// The events of such a history: for each transaction an invocation and its end.
pub(super) fn read(bytes: &[u8], plume: bool) -> Result<(Vec<Event>, Vec<String>), FormatError> {
    let mut events = Vec::new();
    let f: Arc<str> = Arc::from("txn");
    let mut each = |transaction: Transaction<'_>| {
        let step = |access: &Access, value: Value| {
            json!([if access.write { "w" } else { "r" }, access.key, value])
        };
        let accesses = transaction.accesses;
        let asked = accesses.iter().map(|access| match access.write {
            true => step(access, json!(access.value)),
            false => step(access, Value::Null),
        });
        let told = accesses
            .iter()
            .map(|access| step(access, json!(access.value)));
        let end = if transaction.committed {
            EventType::Ok
        } else {
            EventType::Fail
        };
        for (event_type, value) in [
            (EventType::Invoke, asked.collect::<Vec<_>>()),
            (end, told.collect()),
        ] {
            let place = events.len() as u64;
            events.push(Event {
                index: place,
                time_ns: place,
                process: Process::Client(transaction.session),
                node: None,
                event_type,
                f: Arc::clone(&f),
                value: value.into(),
                error: None,
            });
        }
    };
    each_transaction(bytes, plume, &mut each, &mut |_| {})?;
    Ok((events, vec![WITHOUT_TIMES.to_owned()]))
}

/// Appends the lines of a transaction's end in Plume's format. `number` is the transaction's own. What did not end `ok` is left out
/// unless it failed; so is whatever is no read or write of a number.
pub fn encode_plume(event: &Event, number: u64, into: &mut Vec<u8>) {
    let failed = match event.event_type {
        EventType::Ok => false,
        EventType::Fail => true,
        EventType::Invoke | EventType::Info => return,
    };
    let Process::Client(session) = event.process else {
        return;
    };
    for step in event.value.as_array().into_iter().flatten() {
        let (Some(name), Some(key)) = (step[0].as_str(), step[1].as_u64()) else {
            continue;
        };
        let value = step[2].as_u64().unwrap_or(0);
        let transaction = if failed {
            "-1".to_owned()
        } else {
            number.to_string()
        };
        if (name == "w") || (name == "r" && !failed) {
            into.extend_from_slice(
                format!("{name}({key},{value},{session},{transaction})\n").as_bytes(),
            );
        }
    }
}

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the line began.
    start: usize,
}

impl Lines<'_> {
    /// To the next line that is not empty; its first byte.
    fn next_line(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at)? {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                first => {
                    self.start = self.at;
                    return Some(*first);
                }
            }
        }
    }

    fn wrong(&self, detail: &str) -> FormatError {
        FormatError::at(self.bytes, self.at, detail)
    }

    fn expect(&mut self, byte: u8) -> Result<(), FormatError> {
        if self.bytes.get(self.at) != Some(&byte) {
            return Err(self.wrong(&format!("expected {:?}", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        let start = self.at;
        let mut number = 0_u64;
        while let Some(digit) = self
            .bytes
            .get(self.at)
            .map(|byte| byte.wrapping_sub(b'0'))
            .filter(|digit| *digit < 10)
        {
            number = number
                .checked_mul(10)
                .and_then(|number| number.checked_add(u64::from(digit)))
                .ok_or_else(|| self.wrong("a number beyond 64 bits"))?;
            self.at += 1;
        }
        if self.at == start {
            return Err(self.wrong("expected a number"));
        }
        Ok(number)
    }

    /// The line ends here.
    fn end(&mut self) -> Result<(), FormatError> {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
        match self.bytes.get(self.at) {
            None | Some(b'\n') => Ok(()),
            Some(_) => Err(self.wrong("expected the end of the line")),
        }
    }

    /// A line of one byte again and again.
    fn rule(&mut self, byte: u8) -> Result<(), FormatError> {
        while self.bytes.get(self.at) == Some(&byte) {
            self.at += 1;
        }
        self.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str, plume: bool) -> Result<Vec<(u64, bool, Vec<Access>)>, String> {
        let mut all = Vec::new();
        each_transaction(
            text.as_bytes(),
            plume,
            &mut |txn| all.push((txn.session, txn.committed, txn.accesses.to_vec())),
            &mut |_| {},
        )
        .map_err(|error| error.to_string())?;
        Ok(all)
    }

    fn access(write: bool, key: u64, value: Option<u64>) -> Access {
        Access { write, key, value }
    }

    #[test]
    fn both_formats() {
        let expected = vec![
            (
                0,
                true,
                vec![access(true, 0, Some(1)), access(false, 5, Some(2))],
            ),
            (0, true, vec![access(true, 0, Some(3))]),
            (1, true, vec![access(false, 0, Some(3))]),
        ];
        let awdit = "w 0 1\nr 5 2\n---\nw 0 3\n=====\n\nr 0 3";
        assert_eq!(told(awdit, false), Ok(expected.clone()));
        let plume = "w(0,1,0,7)\nr(5,2,0,7)\nw(0,3,0,8)\nr(0,3,1,9)\n";
        assert_eq!(told(plume, true), Ok(expected));
        let failed = told("r(1,0,4,0)\nw(1,2,4,-1)\nr(1,0,4,1)\n", true);
        let nothing = vec![access(false, 1, None)];
        assert_eq!(
            failed,
            Ok(vec![
                (4, true, nothing.clone()),
                (4, false, vec![access(true, 1, Some(2))]),
                (4, true, nothing),
            ])
        );
    }

    #[test]
    fn what_is_wrong_is_located() {
        for (text, plume, error) in [
            (
                "w 0 1\nq 1 2\n",
                false,
                "line 2, column 1: expected an operation",
            ),
            ("w 0\n", false, "line 1, column 4: expected ' '"),
            (
                "w 0 1 2\n",
                false,
                "line 1, column 7: expected the end of the line",
            ),
            ("w(0,0,1,1)\n", true, "nobody writes it"),
            ("w(0,1,1,-2)\n", true, "or -1"),
            (
                "w(0,1,1,1)\nw(0,2,1,2)\nw(0,3,1,1)\n",
                true,
                "do not stand together",
            ),
            ("w 0 99999999999999999999999\n", false, "beyond 64 bits"),
        ] {
            let told = told(text, plume).unwrap_err();
            assert!(told.contains(error), "{text:?}: {told}");
        }
    }
}
