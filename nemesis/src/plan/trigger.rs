//! What a lane's faults wait for: `@join+300ms`, `@fn=main.run#2` or `@join/fn=main.run` after the target.
//!
//! ```text
//! trigger   = phase | [ phase "/" ] "fn=" function [ "#" entry ]
//! phase     = operation [ ".done" ] [ "+" delay [ ".." delay ] ]
//! delay     = a whole number with ms or s
//! function  = its name as the program has it, without white space, comma and #; NAME@0xADDRESS where several are called so
//! entry     = which one, from 1
//! ```
//!
//! `kill:subject@join+0ms..1500ms`: from the time at which the lane would strike it waits for the next `join` that is
//! invoked, then for a delay that is drawn from the seed between 0 and 1,500 ms for each fault, then it strikes the
//! node that the join is about. With `.done` it waits for the completion, whatever that is.
//!
//! `kill:n4@fn=main.run#2`: from that time on the function is watched on n4, and whoever enters it there for the second time
//! is struck at that instruction. `kill:subject@join/fn=main.run`: it is watched on the node that the next join is about, from the
//! join's invocation to its completion; if it was not entered until then, on the next one's.

use std::{fmt, ops::RangeInclusive};

use harness_core::meta::{FunctionEntry, Moment, OperationPhase, Trigger};
use thiserror::Error;

use crate::symbols::MAX_NAME_BYTES;

/// The longest delay, milliseconds.
pub const MAX_DELAY_MS: u64 = 600_000;
/// The highest entry of a function that can be waited for.
pub const MAX_ENTRY: u64 = 1_000_000_000;

/// What begins a function's name.
const FUNCTION: &str = "fn=";

/// A trigger as asked for on the command line; each fault of a plan has one with a delay of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WaitsFor {
    /// A phase of an operation.
    Phase(Phase),
    /// An entry of a function.
    Entry(Entry),
}

/// A phase of an operation, and between which delays one is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Phase {
    /// The operation's kind.
    pub f: String,
    /// Which phase of it.
    pub moment: Moment,
    /// The shortest delay, milliseconds.
    pub from_ms: u64,
    /// The longest.
    pub to_ms: u64,
}

/// An entry of a function.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The function's name.
    pub name: String,
    /// Which entry, from 1.
    pub nth: u64,
    /// From when on it is watched; none: from the fault's time on.
    pub after: Option<Phase>,
}

/// What is wrong with a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no trigger ({reason}); write an operation and perhaps a delay, as in kill:subject@join, kill:subject@join+300ms, partition:leader@remove.done+0ms..2s, or a function, as in kill:n4@fn=main.run#2, kill:subject@join/fn=main.run"
)]
pub struct TriggerError {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl WaitsFor {
    /// The phase of an operation that comes first, if there is one: what is struck then may be the node that it is about.
    #[must_use]
    pub fn phase(&self) -> Option<&Phase> {
        match self {
            Self::Phase(phase) => Some(phase),
            Self::Entry(entry) => entry.after.as_ref(),
        }
    }

    /// Between which delays one is drawn, milliseconds.
    #[must_use]
    pub fn delays_ms(&self) -> RangeInclusive<u64> {
        self.phase()
            .map_or(0..=0, |phase| phase.from_ms..=phase.to_ms)
    }

    /// The trigger of a plan, with this delay.
    #[must_use]
    pub fn with_delay(&self, delay_ms: u64) -> Trigger {
        let at = |phase: &Phase| OperationPhase {
            f: phase.f.clone(),
            moment: phase.moment,
            delay_ms,
        };
        match self {
            Self::Phase(phase) => Trigger::Phase(at(phase)),
            Self::Entry(entry) => Trigger::Function(FunctionEntry {
                name: entry.name.clone(),
                nth: entry.nth,
                after: entry.after.as_ref().map(at),
            }),
        }
    }
}

/// Reads what stands after the `@`.
///
/// # Errors
/// With what is wrong, and examples.
pub fn parse_trigger(text: &str) -> Result<WaitsFor, TriggerError> {
    let wrong = |reason: String| TriggerError {
        text: text.to_owned(),
        reason,
    };
    if let Some(function) = text.strip_prefix(FUNCTION) {
        return Ok(WaitsFor::Entry(parse_entry(function, None).map_err(wrong)?));
    }
    // A function's name may have slashes of its own.
    let split = text.find(&format!("/{FUNCTION}"));
    let Some(at) = split else {
        return Ok(WaitsFor::Phase(parse_phase(text).map_err(wrong)?));
    };
    let after = parse_phase(&text[..at]).map_err(wrong)?;
    let function = &text[at + 1 + FUNCTION.len()..];
    let entry = parse_entry(function, Some(after)).map_err(wrong)?;
    Ok(WaitsFor::Entry(entry))
}

fn parse_entry(text: &str, after: Option<Phase>) -> Result<Entry, String> {
    let (name, nth) = match text.split_once('#') {
        None => (text, 1),
        Some((name, number)) => {
            let nth = number
                .parse()
                .ok()
                .filter(|nth| (1..=MAX_ENTRY).contains(nth));
            let nth = nth.ok_or_else(|| {
                format!("the entry {number:?} is no number between 1 and {MAX_ENTRY}")
            })?;
            (name, nth)
        }
    };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(format!("{name:?} is no function's name"));
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(format!(
            "a function's name has {MAX_NAME_BYTES} bytes at most"
        ));
    }
    Ok(Entry {
        name: name.to_owned(),
        nth,
        after,
    })
}

fn parse_phase(text: &str) -> Result<Phase, String> {
    let (operation, delay) = match text.split_once('+') {
        Some((operation, delay)) => (operation, Some(delay)),
        None => (text, None),
    };
    let (f, moment) = match operation.strip_suffix(".done") {
        Some(f) => (f, Moment::Completed),
        None => (operation, Moment::Invoked),
    };
    let plain = |c: char| c.is_ascii_lowercase() || c == '-';
    if f.is_empty() || !f.chars().all(plain) {
        return Err(format!("{f:?} is no kind of operation"));
    }
    let (from_ms, to_ms) = match delay {
        None => (0, 0),
        Some(range) => {
            let (from, to) = range.split_once("..").unwrap_or((range, range));
            (delay_ms(from)?, delay_ms(to)?)
        }
    };
    if from_ms > to_ms {
        return Err(format!("{from_ms} ms is more than {to_ms} ms"));
    }
    Ok(Phase {
        f: f.to_owned(),
        moment,
        from_ms,
        to_ms,
    })
}

fn delay_ms(text: &str) -> Result<u64, String> {
    let (number, unit_ms) = if let Some(number) = text.strip_suffix("ms") {
        (number, 1)
    } else if let Some(number) = text.strip_suffix('s') {
        (number, 1_000)
    } else {
        return Err(format!("the delay {text:?} has no unit, ms or s"));
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("the delay {text:?} is not a whole number of ms or s"))?;
    match number.checked_mul(unit_ms) {
        Some(ms) if ms <= MAX_DELAY_MS => Ok(ms),
        _ => Err(format!("a delay is {MAX_DELAY_MS} ms at most")),
    }
}

impl fmt::Display for WaitsFor {
    /// As on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entry = match self {
            Self::Phase(phase) => return phase.fmt(f),
            Self::Entry(entry) => entry,
        };
        if let Some(after) = &entry.after {
            write!(f, "{after}/")?;
        }
        write!(f, "{FUNCTION}{}", entry.name)?;
        match entry.nth {
            1 => Ok(()),
            nth => write!(f, "#{nth}"),
        }
    }
}

impl fmt::Display for Phase {
    /// As on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.f)?;
        if self.moment == Moment::Completed {
            f.write_str(".done")?;
        }
        match (self.from_ms, self.to_ms) {
            (0, 0) => Ok(()),
            (from, to) if from == to => write!(f, "+{from}ms"),
            (from, to) => write!(f, "+{from}ms..{to}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_written_is_read_and_written_back() {
        for (text, from_ms, to_ms, moment, shown) in [
            ("join", 0, 0, Moment::Invoked, "join"),
            ("join.done", 0, 0, Moment::Completed, "join.done"),
            ("join+300ms", 300, 300, Moment::Invoked, "join+300ms"),
            ("remove+2s", 2000, 2000, Moment::Invoked, "remove+2000ms"),
            (
                "retry-join.done+0ms..1s",
                0,
                1000,
                Moment::Completed,
                "retry-join.done+0ms..1000ms",
            ),
        ] {
            let read = parse_trigger(text).unwrap();
            let phase = read.phase().unwrap();
            assert_eq!(
                (phase.from_ms, phase.to_ms, phase.moment),
                (from_ms, to_ms, moment)
            );
            assert_eq!(read.to_string(), shown);
            assert_eq!(parse_trigger(shown).unwrap(), read);
        }
    }

    #[test]
    fn functions_are_read_and_written_back() {
        const JOIN: &str = "github.com/lxc/lxd/lxd/cluster.Join";
        for (text, name, nth, after, shown) in [
            (format!("fn={JOIN}"), JOIN, 1, None, format!("fn={JOIN}")),
            (format!("fn={JOIN}#1"), JOIN, 1, None, format!("fn={JOIN}")),
            (
                "fn=main.(*App).run.func1#12".to_owned(),
                "main.(*App).run.func1",
                12,
                None,
                "fn=main.(*App).run.func1#12".to_owned(),
            ),
            (
                "fn=main.init@0x4a10".to_owned(),
                "main.init@0x4a10",
                1,
                None,
                "fn=main.init@0x4a10".to_owned(),
            ),
            (
                format!("join/fn={JOIN}#2"),
                JOIN,
                2,
                Some(0..=0),
                format!("join/fn={JOIN}#2"),
            ),
            (
                format!("retry-join+0ms..1s/fn={JOIN}"),
                JOIN,
                1,
                Some(0..=1000),
                format!("retry-join+0ms..1000ms/fn={JOIN}"),
            ),
        ] {
            let read = parse_trigger(&text).unwrap();
            let WaitsFor::Entry(entry) = &read else {
                panic!("{text}: {read:?}")
            };
            assert_eq!((entry.name.as_str(), entry.nth), (name, nth), "{text}");
            assert_eq!(entry.after.is_some(), after.is_some());
            assert_eq!(read.delays_ms(), after.unwrap_or(0..=0));
            assert_eq!(read.to_string(), shown);
            assert_eq!(parse_trigger(&shown).unwrap(), read);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, fragment) in [
            ("", "no kind of operation"),
            ("Join", "\"Join\""),
            ("join+", "no unit"),
            ("join+300", "no unit"),
            ("join+-1ms", "not a whole number"),
            ("join+2s..1s", "is more than"),
            ("join+9999s", "at most"),
            ("join+99999999999999999999s", "not a whole number"),
            ("fn=", "no function's name"),
            ("fn=a b", "no function's name"),
            ("fn=main.run#0", "between 1 and"),
            ("fn=main.run#", "between 1 and"),
            ("fn=main.run#1#2", "between 1 and"),
            ("/fn=main.run", "no kind of operation"),
            ("join/main.run", "no kind of operation"),
            ("join+300/fn=main.run", "no unit"),
        ] {
            let message = parse_trigger(text).unwrap_err().to_string();
            assert!(
                message.contains(fragment) && message.contains("kill:subject@join"),
                "{text}: {message}"
            );
        }
    }
}
