//! What a lane's faults wait for: `@join+300ms` after the target.
//!
//! ```text
//! trigger = operation [ ".done" ] [ "+" delay [ ".." delay ] ]
//! delay   = a whole number with ms or s
//! ```
//!
//! `kill:subject@join+0ms..1500ms`: from the time at which the lane would strike it waits for the next `join` that is
//! invoked, then for a delay that is drawn from the seed between 0 and 1,500 ms for each fault, then it strikes the
//! node that the join is about. With `.done` it waits for the completion, whatever that is.

use std::fmt;

use harness_core::meta::{Moment, Trigger};
use thiserror::Error;

/// The longest delay, milliseconds.
pub const MAX_DELAY_MS: u64 = 600_000;

/// A trigger as asked for on the command line; each fault of a plan has one with a delay of its own.
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

/// What is wrong with a trigger.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{text:?} is no trigger ({reason}); write an operation and perhaps a delay, as in kill:subject@join, kill:subject@join+300ms, partition:leader@remove.done+0ms..2s"
)]
pub struct TriggerError {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Phase {
    /// The trigger of a plan, with this delay.
    #[must_use]
    pub fn with_delay(&self, delay_ms: u64) -> Trigger {
        Trigger::Phase {
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
pub fn parse_trigger(text: &str) -> Result<Phase, TriggerError> {
    let wrong = |reason: String| TriggerError {
        text: text.to_owned(),
        reason,
    };
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
        return Err(wrong(format!("{f:?} is no kind of operation")));
    }
    let (from_ms, to_ms) = match delay {
        None => (0, 0),
        Some(range) => {
            let (from, to) = range.split_once("..").unwrap_or((range, range));
            (
                delay_ms(from).map_err(&wrong)?,
                delay_ms(to).map_err(&wrong)?,
            )
        }
    };
    if from_ms > to_ms {
        return Err(wrong(format!("{from_ms} ms is more than {to_ms} ms")));
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
            let phase = parse_trigger(text).unwrap();
            assert_eq!(
                (phase.from_ms, phase.to_ms, phase.moment),
                (from_ms, to_ms, moment)
            );
            assert_eq!(phase.to_string(), shown);
            assert_eq!(parse_trigger(shown).unwrap(), phase);
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
        ] {
            let message = parse_trigger(text).unwrap_err().to_string();
            assert!(
                message.contains(fragment) && message.contains("kill:subject@join"),
                "{text}: {message}"
            );
        }
    }
}
