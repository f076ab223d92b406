//! Reading the options of a fault: `NAME=VALUE`, as in `rate/bw=1mbit:leader`.
//!
//! ```text
//! share     30%  30             1 to 100
//! time      250ms  2s           1 ms to 10 minutes
//! bandwidth 64kbit  1mbit       1 kbit to 100 gbit a second
//! bytes     4096  64KiB  2MiB   0 to 1 TiB
//! count     3                   0 to 1,000,000
//! pattern   open-*              letters, digits and . _ - * ?
//! errno     EIO                 EIO, ENOSPC, EDQUOT or EROFS
//! works     all  read+sync      read, write and sync joined by +, or all
//! yes or no
//! shift     +60s  -250ms        1 ms to 366 days, either way
//! drift     +5%  -200ppm        1 ppm to 50%, either way
//! jump, strobe or skew
//! ```

use std::{collections::BTreeMap, fmt};

use thiserror::Error;

use super::{Condition, OptionInfo};
use crate::plan::suggest::nearest;

/// The longest time of an option, in milliseconds.
const TIME_MAX_MS: u64 = 600_000;
/// The furthest that a clock may be moved, in milliseconds.
const SHIFT_MAX_MS: u64 = 366 * 24 * 3_600_000;
/// The most that a clock may run too fast or too slow, in parts per million.
const DRIFT_MAX_PPM: u64 = 500_000;
/// The most bits a second.
const BANDWIDTH_MAX_BITS: u64 = 100_000_000_000;
/// The fewest bits a second.
const BANDWIDTH_MIN_BITS: u64 = 1_000;
/// The most bytes of an option.
const BYTES_MAX: u64 = 1 << 40;
/// The highest count.
const COUNT_MAX: u64 = 1_000_000;
/// The longest pattern, in characters.
const PATTERN_MAX_CHARS: usize = 100;

/// What values of an option look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Percent.
    Share,
    /// Milliseconds.
    Time,
    /// Bits a second.
    Bandwidth,
    /// Bytes.
    Bytes,
    /// A number.
    Count,
    /// Of a file's name.
    Pattern,
    /// An error's name.
    Errno,
    /// `read`, `write`, `sync` or several of them.
    Works,
    /// `yes` or `no`.
    YesNo,
    /// Milliseconds, either way.
    Shift,
    /// Parts per million, either way.
    Drift,
    /// `jump`, `strobe` or `skew`.
    Way,
}

impl Shape {
    /// How to write one, for people.
    #[must_use]
    pub const fn example(self) -> &'static str {
        match self {
            Self::Share => "1% to 100%",
            Self::Time => "a time such as 250ms or 2s, at most 600s",
            Self::Bandwidth => "bits a second such as 64kbit or 1mbit",
            Self::Bytes => "bytes such as 4096, 64KiB or 2MiB",
            Self::Count => "a number",
            Self::Pattern => "a file's name with * and ?, such as open-*",
            Self::Errno => "EIO, ENOSPC, EDQUOT or EROFS",
            Self::Works => "read, write and sync joined by +, or all",
            Self::YesNo => "yes or no",
            Self::Shift => "a time with its sign such as +60s or -250ms",
            Self::Drift => "a rate with its sign such as +5% or -200ppm, at most 50%",
            Self::Way => "jump, strobe or skew",
        }
    }
}

/// What is wrong with an option.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionError {
    /// Not `NAME=VALUE`.
    #[error("{text:?} is no option; options are written NAME=VALUE, as in {condition}/{example}")]
    NotAnOption {
        /// The fault.
        condition: String,
        /// What was written.
        text: String,
        /// One that is.
        example: String,
    },
    /// A fault without options.
    #[error("{kind} has no options, and {text:?} looks like one")]
    HasNone {
        /// The fault.
        kind: String,
        /// What was written.
        text: String,
    },
    /// A name that it does not have.
    #[error("{condition} has no option {name:?}{hint}; it has {possible}")]
    Unknown {
        /// The fault.
        condition: String,
        /// What was written.
        name: String,
        /// `; did you mean …?`, or nothing.
        hint: String,
        /// What may stand there.
        possible: String,
    },
    /// The same one again.
    #[error("{condition} has the option {name} twice")]
    Twice {
        /// The fault.
        condition: String,
        /// The option.
        name: String,
    },
    /// One that means nothing with the others.
    #[error("{condition} takes {name} only with {needed}")]
    Pointless {
        /// The fault.
        condition: String,
        /// The option.
        name: String,
        /// What must stand there as well.
        needed: String,
    },
    /// A value that it cannot have.
    #[error("{condition} cannot have {name}={value}; it takes {possible}")]
    BadValue {
        /// The fault.
        condition: String,
        /// The option.
        name: String,
        /// What was written.
        value: String,
        /// What may stand there.
        possible: String,
    },
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Number(i64),
    Word(String),
}

/// A fault on a node's conditions with all its options known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Which.
    pub condition: Condition,
    values: BTreeMap<&'static str, Value>,
}

impl Asked {
    /// Reads the options that were given; others have their defaults.
    ///
    /// # Errors
    /// Which option is wrong, and what is possible.
    pub fn read(
        condition: Condition,
        given: &BTreeMap<String, String>,
    ) -> Result<Self, OptionError> {
        let options = condition.options();
        if let Some(name) = given
            .keys()
            .find(|name| !options.iter().any(|option| option.name == name.as_str()))
        {
            return Err(unknown(condition, name));
        }
        let mut values = BTreeMap::new();
        for option in options {
            let text = given
                .get(option.name)
                .map_or(option.default, String::as_str);
            let value = read(option.shape, text).ok_or_else(|| OptionError::BadValue {
                condition: condition.to_string(),
                name: option.name.to_owned(),
                value: text.to_owned(),
                possible: option.shape.example().to_owned(),
            })?;
            values.insert(option.name, value);
        }
        let asked = Self { condition, values };
        for name in given.keys() {
            let Some(ways) = condition.means_with(name) else {
                continue;
            };
            if !ways.contains(&asked.word("how")) {
                let needed: Vec<String> = ways.iter().map(|way| format!("how={way}")).collect();
                return Err(OptionError::Pointless {
                    condition: condition.to_string(),
                    name: name.clone(),
                    needed: needed.join(" or "),
                });
            }
        }
        Ok(asked)
    }

    /// The value of an option that is a number, in the unit of its shape.
    #[must_use]
    pub fn number(&self, name: &str) -> i64 {
        match self.values.get(name) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    /// The value of an option that is a word.
    #[must_use]
    pub fn word(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some(Value::Word(word)) => word,
            _ => "",
        }
    }
}

/// Splits `NAME=VALUE` pieces, and checks them.
///
/// # Errors
/// Which piece is wrong, and what is possible.
pub fn parse_options(
    condition: Condition,
    pieces: &[&str],
) -> Result<BTreeMap<String, String>, OptionError> {
    let mut given = BTreeMap::new();
    for piece in pieces {
        let Some((name, value)) = piece.split_once('=') else {
            let example = condition.options().first();
            return Err(OptionError::NotAnOption {
                condition: condition.to_string(),
                text: (*piece).to_owned(),
                example: example.map_or(String::new(), |option| {
                    format!("{}={}", option.name, option.default)
                }),
            });
        };
        if given.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(OptionError::Twice {
                condition: condition.to_string(),
                name: name.to_owned(),
            });
        }
    }
    Asked::read(condition, &given).map(|_| given)
}

fn unknown(condition: Condition, name: &str) -> OptionError {
    let names = |option: &OptionInfo| option.name;
    let near = nearest(name, condition.options().iter().map(names));
    let possible: Vec<&str> = condition.options().iter().map(names).collect();
    OptionError::Unknown {
        condition: condition.to_string(),
        name: name.to_owned(),
        hint: near
            .map(|near| format!("; did you mean {near:?}?"))
            .unwrap_or_default(),
        possible: possible.join(", "),
    }
}

fn read(shape: Shape, text: &str) -> Option<Value> {
    let number = |number: u64| i64::try_from(number).ok().map(Value::Number);
    let between =
        |value: u64, least: u64, most: u64| (least..=most).contains(&value).then_some(value);
    match shape {
        Shape::Share => number(between(
            whole(text.strip_suffix('%').unwrap_or(text))?,
            1,
            100,
        )?),
        Shape::Time => number(between(milliseconds(text)?, 1, TIME_MAX_MS)?),
        Shape::Bandwidth => {
            let units = [
                ("kbit", 1_000),
                ("mbit", 1_000_000),
                ("gbit", 1_000_000_000),
            ];
            number(between(
                scaled(text, &units)?,
                BANDWIDTH_MIN_BITS,
                BANDWIDTH_MAX_BITS,
            )?)
        }
        Shape::Bytes => number(between(bytes(text)?, 0, BYTES_MAX)?),
        Shape::Count => number(between(whole(text)?, 0, COUNT_MAX)?),
        Shape::Pattern => {
            let fits = |c: char| c.is_ascii_alphanumeric() || "._-*?".contains(c);
            let good =
                !text.is_empty() && text.len() <= PATTERN_MAX_CHARS && text.chars().all(fits);
            good.then(|| Value::Word(text.to_owned()))
        }
        Shape::Errno => one_of(text, &["EIO", "ENOSPC", "EDQUOT", "EROFS"]),
        Shape::Works => {
            let known = |work: &str| ["read", "write", "sync"].contains(&work);
            let good = text == "all" || text.split('+').all(known);
            good.then(|| Value::Word(text.to_owned()))
        }
        Shape::YesNo => one_of(text, &["yes", "no"]),
        Shape::Shift => {
            let (sign, rest) = signed(text)?;
            let far = between(milliseconds(rest)?, 1, SHIFT_MAX_MS)?;
            Some(Value::Number(sign * i64::try_from(far).ok()?))
        }
        Shape::Drift => {
            let (sign, rest) = signed(text)?;
            let rate = scaled(rest, &[("ppm", 1), ("%", 10_000)])?;
            let rate = between(rate, 1, DRIFT_MAX_PPM)?;
            Some(Value::Number(sign * i64::try_from(rate).ok()?))
        }
        Shape::Way => ["jump", "strobe", "skew"]
            .contains(&text)
            .then(|| Value::Word(text.to_owned())),
    }
}

fn one_of(text: &str, words: &[&str]) -> Option<Value> {
    words.contains(&text).then(|| Value::Word(text.to_owned()))
}

/// Bytes, as in `4096`, `64KiB` or `2MiB`.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    scaled(text, &units).or_else(|| whole(text))
}

/// What stands behind a sign, which must be there.
fn signed(text: &str) -> Option<(i64, &str)> {
    match text.strip_prefix('-') {
        Some(rest) => Some((-1, rest)),
        None => Some((1, text.strip_prefix('+')?)),
    }
}

fn milliseconds(text: &str) -> Option<u64> {
    scaled(text, &[("ms", 1), ("s", 1_000)])
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    units
        .iter()
        .find_map(|(unit, each)| whole(text.strip_suffix(unit)?)?.checked_mul(*each))
}

/// Digits and nothing else.
fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?
}

/// Options as on the command line, each with the slash before it.
pub(crate) struct Written<'a>(pub(crate) &'a BTreeMap<String, String>);

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.0 {
            write!(f, "/{name}={value}")?;
        }
        Ok(())
    }
}
