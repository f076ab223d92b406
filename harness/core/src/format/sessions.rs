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

mod plume;

use std::sync::Arc;

use serde_json::{Value, json};

use super::FormatError;
use crate::event::{Event, EventType, Process};

/// What is said of a last line that ends too early.
const TORN: &str = "the last line is torn and was left out; its transaction may be incomplete";
/// What is said of AWDIT's last line if nothing follows it: a number may have had more digits.
const UNENDED: &str = "the last line has no newline and counts as it stands; if the file is torn its last number may be";

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

/// Reads transactions in the order in which they stand; `consumed` is told how far reading came. So many threads may help to take lines
/// of Plume's format apart. Gives remarks for people: also of a last line that ends too early, which is left out.
///
/// # Errors
/// With line and column, if a line is not of the format.
pub fn each_transaction(
    bytes: &[u8],
    plume: bool,
    threads: usize,
    each: &mut dyn FnMut(Transaction<'_>),
    consumed: &mut dyn FnMut(usize),
) -> Result<Vec<String>, FormatError> {
    let mut remarks = vec![WITHOUT_TIMES.to_owned()];
    if plume {
        if plume::each_transaction(bytes, threads, each, consumed)? {
            remarks.push(TORN.to_owned());
        }
        return Ok(remarks);
    }
    let mut lines = Lines::new(bytes, 0);
    let mut next = super::raw::CONSUMED_EVERY_BYTES;
    let mut accesses = Vec::new();
    let mut tell = |session, accesses: &mut Vec<Access>| {
        if !accesses.is_empty() {
            each(Transaction {
                session,
                committed: true,
                accesses,
            });
            accesses.clear();
        }
    };
    let mut session = 0;
    while let Some(first) = lines.next_line() {
        if lines.at >= next {
            consumed(lines.start);
            next = lines.at + super::raw::CONSUMED_EVERY_BYTES;
        }
        match first {
            b'-' => {
                lines.rule(b'-')?;
                tell(session, &mut accesses);
            }
            b'=' => {
                lines.rule(b'=')?;
                tell(session, &mut accesses);
                session += 1;
            }
            b'w' | b'r' => match lines.access(first == b'w') {
                Ok(access) => {
                    if lines.at == bytes.len() {
                        remarks.push(UNENDED.to_owned());
                    }
                    accesses.push(access);
                }
                Err(_) if lines.torn => {
                    remarks.push(TORN.to_owned());
                    break;
                }
                Err(error) => return Err(error),
            },
            _ => return Err(lines.wrong("expected an operation that reads or writes")),
        }
    }
    tell(session, &mut accesses);
    Ok(remarks)
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
    let remarks = each_transaction(bytes, plume, 0, &mut each, &mut |_| {})?;
    Ok((events, remarks))
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

/// Digits of a number that surely fits.
const DIGITS_SURE: usize = 18;

struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the line began.
    start: usize,
    /// Whether something was missing where the text ends.
    torn: bool,
}

impl<'a> Lines<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            start: at,
            torn: false,
        }
    }

    /// The rest of an operation's line in AWDIT's format.
    fn access(&mut self, write: bool) -> Result<Access, FormatError> {
        self.at += 1;
        self.expect(b' ')?;
        let key = self.number()?;
        self.expect(b' ')?;
        let value = self.number()?;
        self.end()?;
        Ok(Access {
            write,
            key,
            value: Some(value),
        })
    }

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

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), FormatError> {
        if self.bytes.get(self.at) != Some(&byte) {
            self.torn = self.at >= self.bytes.len();
            return Err(self.wrong(&format!("expected {:?}", char::from(byte))));
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn number(&mut self) -> Result<u64, FormatError> {
        let start = self.at;
        let mut number = 0_u64;
        for byte in self.bytes[start..].iter().take(DIGITS_SURE) {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            number = number * 10 + u64::from(digit);
            self.at += 1;
        }
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
            self.torn = self.at >= self.bytes.len();
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

    /// Session, whether it took effect, and what it did.
    type Told = Vec<(u64, bool, Vec<Access>)>;

    fn told(text: &str, plume: bool) -> Result<Told, String> {
        let mut all = Vec::new();
        each_transaction(
            text.as_bytes(),
            plume,
            0,
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

    /// What is told, and the error, by so many threads.
    fn by_threads(text: &str, threads: usize) -> (Told, Option<String>) {
        let mut all = Vec::new();
        let error = each_transaction(
            text.as_bytes(),
            true,
            threads,
            &mut |txn| all.push((txn.session, txn.committed, txn.accesses.to_vec())),
            &mut |_| {},
        );
        (all, error.err().map(|error| error.to_string()))
    }

    #[test]
    fn threads_tell_the_same() {
        use std::fmt::Write;
        let mut text = String::new();
        for number in 0..60_000_u64 {
            for step in 0..1 + number % 7 {
                let (key, value) = (number % 97 + step, number * 8 + step + 1);
                let txn = if number % 11 == 3 { -1 } else { number as i64 };
                assert_eq!(
                    writeln!(text, "w({key},{value},{},{txn})", number % 5),
                    Ok(())
                );
            }
        }
        assert!(text.len() > 4 * 1024 * 1024, "{}", text.len());
        let last = format!("{text}w(1,2,0,5)\n");
        let damaged = format!("{text}w(1,2,x,5)\n{text}");
        for text in [&text, &last, &damaged] {
            let alone = by_threads(text, 0);
            assert!(alone.0.len() > 60_000);
            for threads in [2, 3, 5] {
                assert!(by_threads(text, threads) == alone, "{threads} threads");
            }
        }
        let together = by_threads(&last, 2).1.unwrap_or_default();
        assert!(together.contains("do not stand together"), "{together}");
        let wrong = by_threads(&damaged, 2).1.unwrap_or_default();
        let line = format!(
            "line {}, column 7: expected a number",
            text.lines().count() + 1
        );
        assert_eq!(wrong, line);
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_said() {
        let remarks = |text: &str, plume| {
            let mut count = 0;
            let told = each_transaction(
                text.as_bytes(),
                plume,
                0,
                &mut |txn| count += txn.accesses.len(),
                &mut |_| {},
            );
            told.map(|remarks| (count, remarks[1..].to_vec()))
                .map_err(|error| error.to_string())
        };
        for (text, plume) in [
            ("w 0 1\nr 10 20\n", false),
            ("w(0,1,0,7)\nr(10,20,0,-1)\n", true),
        ] {
            let second = text.find('\n').map_or(0, |at| at + 1);
            // Where the last line can be read: AWDIT's from the first digit of its second number.
            let readable = if plume {
                text.len() - 1
            } else {
                text.len() - 2
            };
            for end in second + 1..text.len() {
                let expected = match (end < readable, plume) {
                    (true, _) => (1, vec![TORN.to_owned()]),
                    (false, true) => (2, Vec::new()),
                    (false, false) => (2, vec![UNENDED.to_owned()]),
                };
                assert_eq!(
                    remarks(&text[..end], plume),
                    Ok(expected),
                    "{:?}",
                    &text[..end]
                );
            }
            assert_eq!(remarks(text, plume), Ok((2, Vec::new())));
            // In the middle it is an error.
            let middle = format!("{}\n{text}", &text[..second + 2]);
            assert!(remarks(&middle, plume).is_err(), "{middle:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_located() {
        for (text, plume, error) in [
            (
                "w 0 1\nq 1 2\n",
                false,
                "line 2, column 1: expected an operation",
            ),
            ("w 0 1\nw 0 x", false, "line 2, column 5: expected a number"),
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
