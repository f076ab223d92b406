//! Database values, and the two kinds of tuples that carry them.
//!
//! A *params* tuple begins with a count (one byte in schema 0, four in schema 1), then one byte of
//! type code a value, padded to a word counting the count, then the values. A *row* tuple has no
//! count: four bits of type code a value, low half first, padded to a word, then the values.
//!
//! ```text
//! 02 01 03 00 00 00 00 00                          two values: an integer, a text
//! 07 00 00 00 00 00 00 00  68 69 00 00 00 00 00 00 7, "hi"
//! ```
//!
//! Things that servers do with values (seen on 1.11.1, read in its `query.c` and `tuple.c`):
//!
//! - a column declared `DATETIME`, `DATE` or `TIMESTAMP` answers [`Value::UnixTime`] for integers and
//!   [`Value::Iso8601`] otherwise, with *empty text for NULL*; one declared `BOOLEAN` answers
//!   [`Value::Boolean`], with *false for NULL*. Declared otherwise, NULL is [`Value::Null`];
//! - a float or blob in a `DATETIME` column, or a text in a `BOOLEAN` column, trips an assertion of
//!   the server: the node aborts;
//! - a text ends at its first NUL, whatever SQLite holds after it;
//! - [`Value::UnixTime`] is refused as a parameter; [`Value::Iso8601`] is bound as text and
//!   [`Value::Boolean`] as 0 or 1;
//! - a float that is not a number is stored as NULL.

use super::bytes::{Reader, Writer, padded_bytes};
use super::error::{DecodeError, EncodeError, Fault};

/// Most parameters that a request with a one-byte count can carry; more make the encoder take the
/// four-byte count of schema 1, which servers know since 1.15.
pub const MAX_SCHEMA_0_PARAMS: usize = 255;

/// Most parameters that a request may carry: what SQLite lets a statement have by default.
pub const MAX_PARAMS: usize = 32_766;

/// Least bytes that a value takes in a tuple, without its type code.
const LEAST_VALUE_BYTES: u64 = 8;

/// One value of the database.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A 64-bit signed integer (code 1).
    Integer(i64),
    /// A double (code 2).
    Float(f64),
    /// Text in UTF-8 without NUL (code 3).
    Text(String),
    /// Bytes (code 4).
    Blob(Vec<u8>),
    /// SQL NULL (code 5).
    Null,
    /// Seconds since 1970-01-01T00:00:00Z (code 9).
    UnixTime(i64),
    /// A date and time as text in the form of ISO 8601, as the database holds it (code 10).
    Iso8601(String),
    /// A truth value (code 11).
    Boolean(bool),
}

impl Value {
    /// The type code on the wire.
    pub fn type_code(&self) -> u8 {
        match self {
            Self::Integer(_) => 1,
            Self::Float(_) => 2,
            Self::Text(_) => 3,
            Self::Blob(_) => 4,
            Self::Null => 5,
            Self::UnixTime(_) => 9,
            Self::Iso8601(_) => 10,
            Self::Boolean(_) => 11,
        }
    }

    /// The integer, if it is one; times and truth values are not integers here.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            _ => None,
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is SQL NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    fn decode(code: u8, code_at: usize, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match code {
            1 => Self::Integer(reader.i64()?),
            2 => Self::Float(reader.f64()?),
            3 => Self::Text(reader.text()?),
            4 => Self::Blob(reader.blob()?),
            5 => {
                reader.u64()?;
                Self::Null
            }
            9 => Self::UnixTime(reader.i64()?),
            10 => Self::Iso8601(reader.text()?),
            11 => Self::Boolean(reader.u64()? != 0),
            code => return Err(reader.fault_at(code_at, Fault::UnknownValueType { code })),
        })
    }

    fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError> {
        match self {
            Self::Integer(value) | Self::UnixTime(value) => writer.i64(*value),
            Self::Float(value) => writer.f64(*value),
            Self::Text(text) | Self::Iso8601(text) => writer.text("a value", text)?,
            Self::Blob(blob) => writer.blob(blob),
            Self::Null => writer.u64(0),
            Self::Boolean(value) => writer.u64(u64::from(*value)),
        }
        Ok(())
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The schema that a request with these parameters has.
pub(crate) fn params_schema(params: &[Value]) -> u8 {
    u8::from(params.len() > MAX_SCHEMA_0_PARAMS)
}

/// Writes a params tuple; no parameters are written as nothing at all.
pub(crate) fn encode_params(writer: &mut Writer, params: &[Value]) -> Result<(), EncodeError> {
    let count = params.len();
    if count > MAX_PARAMS {
        return Err(EncodeError::TooManyParams {
            count,
            most: MAX_PARAMS,
        });
    }
    match (count, params_schema(params)) {
        (0, _) => return Ok(()),
        (_, 0) => writer.u8(count as u8),
        (_, _) => writer.u32(count as u32),
    }
    for value in params {
        writer.u8(value.type_code());
    }
    writer.pad();
    params.iter().try_for_each(|value| value.encode(writer))
}

/// Reads a params tuple up to its last value; a body that is over has none.
pub(crate) fn decode_params(
    reader: &mut Reader<'_>,
    schema: u8,
) -> Result<Vec<Value>, DecodeError> {
    if reader.left() == 0 {
        return Ok(Vec::new());
    }
    let start = reader.position();
    let (count, count_bytes) = match schema {
        0 => (u64::from(reader.u8()?), 1),
        _ => (u64::from(reader.u32()?), 4),
    };
    // One byte of code and a word of value each.
    let count = reader.fits(start, count, 1 + LEAST_VALUE_BYTES)?;
    let codes_at = reader.position();
    let codes = reader.take(padded_bytes(count_bytes + count as u64) - count_bytes)?;
    let codes = codes.iter().take(count).enumerate();
    codes
        .map(|(index, code)| Value::decode(*code, codes_at + index, reader))
        .collect()
}

/// Writes a row tuple.
pub(crate) fn encode_row(writer: &mut Writer, row: &[Value]) -> Result<(), EncodeError> {
    for pair in row.chunks(2) {
        let high = pair.get(1).map_or(0, Value::type_code);
        writer.u8(pair[0].type_code() | high << 4);
    }
    writer.pad();
    row.iter().try_for_each(|value| value.encode(writer))
}

/// Reads a row tuple of `columns` values, of which there must be one at least.
pub(crate) fn decode_row(
    reader: &mut Reader<'_>,
    columns: usize,
) -> Result<Vec<Value>, DecodeError> {
    let start = reader.position();
    let codes = reader.take(padded_bytes((columns as u64).div_ceil(2)))?;
    reader.fits(start, columns as u64, LEAST_VALUE_BYTES)?;
    let code = |index: usize| (codes[index / 2] >> (index % 2 * 4)) & 0x0f;
    (0..columns)
        .map(|index| Value::decode(code(index), start + index / 2, reader))
        .collect()
}
