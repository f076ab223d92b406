//! What a lane's faults wait for: `@join+300ms`, `@fn=main.run#2`, `@join/fn=main.run`, `@log=PATTERN` or `@at=12s` after the target.
//!
//! ```text
//! trigger   = phase | "at=" delay [ ".." delay ] | [ phase "/" ] ( "fn=" function [ "#" entry ] | watch )
//! watch     = see [`super::watch`]
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
//! join's invocation to its completion; if it was not entered until then, on the next one's. The join is begun when the function
//! is watched. The same holds of what is watched.
//!
//! `partition@at=12s` strikes once, 12 s after load began.

use std::{fmt, ops::RangeInclusive};

use harness_core::meta::{FunctionEntry, Moment, OperationPhase, Trigger};
use thiserror::Error;

use super::{
    nearest,
    watch::{self, Watching},
};
use crate::symbols::MAX_NAME_BYTES;

/// The longest delay, milliseconds.
pub const MAX_DELAY_MS: u64 = 600_000;
/// The highest entry of a function that can be waited for.
pub const MAX_ENTRY: u64 = 1_000_000_000;

/// What begins a function's name.
const FUNCTION: &str = "fn=";
/// What begins a time.
const AT: &str = "at=";

/// A trigger as asked for on the command line; each fault of a plan has one with a delay of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WaitsFor {
    /// A phase of an operation.
    Phase(Phase),
    /// An entry of a function.
    Entry(Entry),
    /// Something that is watched on the nodes.
    Watch(Watching),
    /// A time of load.
    At(At),
}

/// A time of load, and between which one is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct At {
    /// The earliest, milliseconds.
    pub from_ms: u64,
    /// The latest.
    pub to_ms: u64,
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
    "{text:?} is no trigger ({reason}); write an operation and perhaps a delay, as in kill:subject@join, kill:subject@join+300ms, partition:leader@remove.done+0ms..2s, a function, as in kill:n4@fn=main.run#2, kill:subject@join/fn=main.run, or at=12s, log=PATTERN, file=created:GLOB, query=sql:SELECT …, view=database:n4:pending"
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
            Self::Watch(watching) => watching.after.as_ref(),
            Self::At(_) => None,
        }
    }

    /// Whether it may say which node it is about, for faults that strike the subject.
    #[must_use]
    pub fn has_subject(&self) -> bool {
        self.phase().is_some() || matches!(self, Self::Watch(_))
    }

    /// Between which delays one is drawn, milliseconds.
    #[must_use]
    pub fn delays_ms(&self) -> RangeInclusive<u64> {
        self.phase()
            .map_or(0..=0, |phase| phase.from_ms..=phase.to_ms)
    }

    /// The trigger of a plan, with this delay; none for a time, which a plan has anyhow.
    #[must_use]
    pub fn with_delay(&self, delay_ms: u64) -> Option<Trigger> {
        match self {
            Self::Phase(phase) => Some(Trigger::Phase(phase.at(delay_ms))),
            Self::Entry(entry) => Some(Trigger::Function(FunctionEntry {
                name: entry.name.clone(),
                nth: entry.nth,
                after: entry.after.as_ref().map(|phase| phase.at(delay_ms)),
            })),
            Self::Watch(watching) => Some(Trigger::Watch(watching.planned(delay_ms))),
            Self::At(_) => None,
        }
    }
}

impl Phase {
    /// With this delay.
    pub(super) fn at(&self, delay_ms: u64) -> OperationPhase {
        OperationPhase {
            f: self.f.clone(),
            moment: self.moment,
            delay_ms,
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
    if let Some(times) = text.strip_prefix(AT) {
        let (from_ms, to_ms) = range_ms(times).map_err(wrong)?;
        return Ok(WaitsFor::At(At { from_ms, to_ms }));
    }
    // A function's name, a pattern and a path may have slashes of their own.
    let begins = |text: &str| text.starts_with(FUNCTION) || watch::begins(text);
    let slash = text
        .match_indices('/')
        .find(|(at, _)| begins(&text[at + 1..]));
    let (after, what) = match slash {
        _ if begins(text) => (None, text),
        Some((at, _)) => (
            Some(parse_phase(&text[..at]).map_err(wrong)?),
            &text[at + 1..],
        ),
        None => {
            let phase = parse_phase(text).map_err(|reason| wrong(unknown(text).unwrap_or(reason)));
            return Ok(WaitsFor::Phase(phase?));
        }
    };
    match what.strip_prefix(FUNCTION) {
        Some(function) => parse_entry(function, after)
            .map(WaitsFor::Entry)
            .map_err(wrong),
        None => watch::parse(what, after)
            .map(WaitsFor::Watch)
            .map_err(wrong),
    }
}

/// What to say of a word before a `=` that is none.
fn unknown(text: &str) -> Option<String> {
    let (head, _) = text.split_once('=')?;
    let word = head.rsplit('/').next().unwrap_or(head);
    let word = word.split(':').next().unwrap_or(word);
    let words = watch::WORDS.into_iter().chain(["fn", "at"]);
    let hint = nearest(word, words)
        .map(|near| format!("; did you mean {near:?}?"))
        .unwrap_or_default();
    Some(format!("no trigger is called {word:?}{hint}"))
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
        Some(range) => range_ms(range)?,
    };
    Ok(Phase {
        f: f.to_owned(),
        moment,
        from_ms,
        to_ms,
    })
}

/// One delay, or two with `..` between.
pub(super) fn range_ms(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let (from_ms, to_ms) = (delay_ms(from)?, delay_ms(to)?);
    if from_ms > to_ms {
        return Err(format!("{from_ms} ms is more than {to_ms} ms"));
    }
    Ok((from_ms, to_ms))
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
            Self::Watch(watching) => return watching.fmt(f),
            Self::At(at) => {
                write!(f, "{AT}{}ms", at.from_ms)?;
                return match at.to_ms {
                    to_ms if to_ms == at.from_ms => Ok(()),
                    to_ms => write!(f, "..{to_ms}ms"),
                };
            }
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
    fn a_time_is_read_and_written_back() {
        for (text, shown) in [
            ("at=12s", "at=12000ms"),
            ("at=1s..1500ms", "at=1000ms..1500ms"),
        ] {
            let read = parse_trigger(text).unwrap();
            assert_eq!(read.to_string(), shown);
            assert_eq!(parse_trigger(shown).unwrap(), read);
            assert_eq!(read.with_delay(0), None);
        }
        assert!(
            parse_trigger("at=12")
                .unwrap_err()
                .to_string()
                .contains("no unit")
        );
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
