//! What can be wrong with bytes that are decoded and with values that are encoded.
//!
//! Laws: a decode error names the message, the byte (counted from the first byte of the message's
//! header) and the fault; no error repeats the text of its source; nothing here allocates in
//! proportion to what the peer claims.

use thiserror::Error;

/// Why bytes are not a message, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{fault} at byte {offset} of a {message} message")]
pub struct DecodeError {
    /// The message that was being decoded, such as `rows response`.
    pub message: &'static str,
    /// Bytes from the first byte of the message's header to the fault.
    pub offset: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// The fault of a [`DecodeError`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The body ends before the field does.
    #[error("a field of {wanted_bytes} bytes where {left_bytes} are left")]
    Truncated {
        /// Size of the field in bytes.
        wanted_bytes: u64,
        /// Bytes that the body still has.
        left_bytes: usize,
    },
    /// A text has no NUL before the end of the body.
    #[error("a text without its terminating zero")]
    Unterminated,
    /// A text is not UTF-8.
    #[error("a text that is not utf-8")]
    NotUtf8,
    /// A type code that the protocol does not define.
    #[error("the unknown type {code}")]
    UnknownType {
        /// The code in the header.
        code: u8,
    },
    /// A schema that the message does not have.
    #[error("the unknown schema {schema}")]
    UnknownSchema {
        /// The schema byte of the header.
        schema: u8,
    },
    /// A value type code that the protocol does not define.
    #[error("the unknown value type {code}")]
    UnknownValueType {
        /// The code in the tuple's header.
        code: u8,
    },
    /// A role code that the protocol does not define.
    #[error("the unknown role {code}")]
    UnknownRole {
        /// The code as it stands on the wire.
        code: u64,
    },
    /// A format code that the request does not have.
    #[error("the unknown format {code}")]
    UnknownFormat {
        /// The code as it stands on the wire.
        code: u64,
    },
    /// A count of elements that cannot fit in what is left of the body.
    #[error("a count of {count} elements where at most {most} fit")]
    CountTooLarge {
        /// The count as it stands on the wire.
        count: u64,
        /// How many elements of the least size fit.
        most: u64,
    },
    /// A message longer than the decoder's limit.
    #[error("a message of {bytes} bytes where the limit is {limit_bytes}")]
    TooLong {
        /// Size that the header announces, with the header.
        bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// A row tuple of no columns, which could never end.
    #[error("a row without columns")]
    RowWithoutColumns,
    /// Bytes after the last field.
    #[error("{bytes} bytes after the last field")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// Why a value cannot be put on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A text holds a NUL, which would end it early.
    #[error("{field} holds a zero byte at {at}")]
    InteriorNul {
        /// The field of the message.
        field: &'static str,
        /// Byte offset inside the text.
        at: usize,
    },
    /// The body is longer than its length field can say.
    #[error("a body of {bytes} bytes is longer than a header can say")]
    TooLong {
        /// Size of the body.
        bytes: usize,
    },
    /// More parameters than the protocol can count.
    #[error("{count} parameters are more than {most}")]
    TooManyParams {
        /// How many were given.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A row whose length is not the number of columns.
    #[error("row {row} has {values} values for {columns} columns")]
    RaggedRow {
        /// Index of the row.
        row: usize,
        /// Its length.
        values: usize,
        /// The number of columns.
        columns: usize,
    },
    /// A result set with rows but no columns.
    #[error("rows without columns")]
    RowWithoutColumns,
    /// Some servers of a list have a role and some have none: no format carries that.
    #[error("some servers have a role and some have none")]
    MixedRoles,
    /// A dumped file whose size is not a multiple of eight; the protocol does not pad files.
    #[error("file {name:?} has {bytes} bytes, not a multiple of 8")]
    UnalignedFile {
        /// Name of the file.
        name: String,
        /// Its size.
        bytes: usize,
    },
}
