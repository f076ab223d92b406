//! What a server answers: the responses, in both directions.
//!
//! Two answers cannot be read without knowing what was asked: SERVERS (the list has roles only if
//! CLUSTER asked for them) and SERVER (before 1.0 it held an address and no id). [`Dialect`] says it.
//!
//! ROWS may come several times for one query: each part repeats the columns, and ends with a word of
//! `ff` if it is the last or of `ee` if more follow. Servers end a part when it has filled a page of
//! memory (4 KiB).
//!
//! A query that fails while it runs is answered by FAILURE, and 1.11.1 (seen)
//! leaves the columns and rows that it had already written *in front of* its code and message: read
//! plainly, the number of columns is the code and the first column's name is the message. The
//! decoder finds the failure behind them.
//!
//! A worked example, ROWS with one column `n` and one row holding 7:
//!
//! ```text
//! 06 00 00 00 07 00 00 00   six words, type 7
//! 01 00 00 00 00 00 00 00   one column
//! 6e 00 00 00 00 00 00 00   "n"
//! 01 00 00 00 00 00 00 00   an integer
//! 07 00 00 00 00 00 00 00   7
//! ff ff ff ff ff ff ff ff   no more rows
//! ```
//!
//! Source: canonical.com/dqlite/docs/reference/wire-protocol; `response.h` of 1.11 and 1.18.

use super::bytes::{Reader, Writer};
use super::error::{DecodeError, EncodeError, Fault};
use super::header::{Header, Version, WORD_BYTES, frame_bytes};
use super::request::{SCHEMA_AT, TYPE_AT, role};
use super::role::{ClusterFormat, Role};
use super::value::{Value, decode_row, encode_row};

/// The word that ends a part of rows when no part follows.
const ROWS_DONE: u64 = 0xffff_ffff_ffff_ffff;

/// The word that ends a part of rows when another follows.
const ROWS_MORE: u64 = 0xeeee_eeee_eeee_eeee;

/// Least bytes of a text on the wire.
const LEAST_TEXT_BYTES: u64 = WORD_BYTES as u64;

/// Most bytes of a failure that is looked for behind rows: servers keep messages below a page.
const MOST_FAILURE_BYTES: usize = 4096;

/// What was asked, as far as it decides how an answer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Dialect {
    /// The version that the handshake announced.
    pub version: Version,
    /// The format that CLUSTER asked for.
    pub cluster: ClusterFormat,
}

/// A member of the cluster as SERVERS lists it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its id; never 0.
    pub id: u64,
    /// Its address, such as `10.0.0.1:9001`.
    pub address: String,
    /// Its role; `None` where the list was asked for without roles.
    pub role: Option<Role>,
}

/// One part of the rows that a query yields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RowsPart {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows; each has as many values as there are columns.
    pub rows: Vec<Vec<Value>>,
    /// Whether another part follows.
    pub more: bool,
}

/// A file of a database, as DUMP gives it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DumpedFile {
    /// The database's name, or that with `-wal` at its end.
    pub name: String,
    /// Its content; a multiple of eight bytes, and none for a database that is empty.
    pub data: Vec<u8>,
}

/// A response.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// The request was not done, or it is not known whether it was: see [`crate::outcome`] (0).
    Failure {
        /// A code of SQLite, extended with dqlite's own.
        code: u64,
        /// What people read.
        message: String,
    },
    /// Who leads, as far as this node knows (1).
    Server {
        /// Id of the leader; 0 if none is known, and always 0 before 1.0.
        id: u64,
        /// Its address; empty if none is known.
        address: String,
    },
    /// The client is registered (2).
    Welcome {
        /// How often the server wants to hear from it, in milliseconds; servers do not insist.
        heartbeat_ms: u64,
    },
    /// The configuration of the cluster (3).
    Servers(Vec<Server>),
    /// A database is open (4).
    Db {
        /// Its id, 0.
        id: u32,
    },
    /// A statement is prepared (5).
    Stmt {
        /// The database, 0.
        db: u32,
        /// Id of the statement.
        id: u32,
        /// How many parameters it has.
        params: u64,
        /// Byte of the text at which the rest begins; `None` unless it was asked for (schema 1).
        tail_offset: Option<u64>,
    },
    /// A statement was run (6).
    Result {
        /// `last_insert_rowid()` of the connection.
        last_insert_id: u64,
        /// `changes()` of the connection.
        rows_affected: u64,
    },
    /// Rows (7).
    Rows(RowsPart),
    /// Done, with nothing to say (8).
    Empty,
    /// The files of a database (9).
    Files(Vec<DumpedFile>),
    /// What the node was told about itself (10).
    Metadata {
        /// A number for the place that fails together.
        failure_domain: u64,
        /// A number for how little it wants a role.
        weight: u64,
    },
}

impl Response {
    /// The type code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failure { .. } => 0,
            Self::Server { .. } => 1,
            Self::Welcome { .. } => 2,
            Self::Servers(_) => 3,
            Self::Db { .. } => 4,
            Self::Stmt { .. } => 5,
            Self::Result { .. } => 6,
            Self::Rows(_) => 7,
            Self::Empty => 8,
            Self::Files(_) => 9,
            Self::Metadata { .. } => 10,
        }
    }

    /// The name, such as `rows response`.
    pub fn name(&self) -> &'static str {
        name(self.code()).unwrap_or("unknown")
    }

    /// The bytes of the whole message, header included, for a client of this version.
    pub fn encode(&self, version: Version) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::default();
        let mut schema = 0;
        match self {
            Self::Failure { code, message } => {
                writer.u64(*code);
                writer.text("the message", message)?;
            }
            Self::Server { id, address } => {
                if version == Version::One {
                    writer.u64(*id);
                }
                writer.text("the address", address)?;
            }
            Self::Welcome { heartbeat_ms } => writer.u64(*heartbeat_ms),
            Self::Servers(servers) => encode_servers(&mut writer, servers)?,
            Self::Db { id } => {
                writer.u32(*id);
                writer.u32(0);
            }
            Self::Stmt {
                db,
                id,
                params,
                tail_offset,
            } => {
                writer.u32(*db);
                writer.u32(*id);
                writer.u64(*params);
                schema = u8::from(tail_offset.is_some());
                tail_offset.iter().for_each(|offset| writer.u64(*offset));
            }
            Self::Result {
                last_insert_id: first,
                rows_affected: second,
            }
            | Self::Metadata {
                failure_domain: first,
                weight: second,
            } => {
                writer.u64(*first);
                writer.u64(*second);
            }
            Self::Rows(part) => encode_rows(&mut writer, part)?,
            Self::Empty => writer.u64(0),
            Self::Files(files) => encode_files(&mut writer, files)?,
        }
        frame_bytes(self.code(), schema, &writer.into_body())
    }

    /// Decodes the body that came after `header`, as an answer to what `dialect` says was asked.
    pub fn decode(header: Header, body: &[u8], dialect: Dialect) -> Result<Self, DecodeError> {
        let Header { kind, schema, .. } = header;
        let Some(message) = name(kind) else {
            let fault = Fault::UnknownType { code: kind };
            return Err(DecodeError {
                message: "response",
                offset: TYPE_AT,
                fault,
            });
        };
        if schema > u8::from(kind == 5) {
            let fault = Fault::UnknownSchema { schema };
            return Err(DecodeError {
                message,
                offset: SCHEMA_AT,
                fault,
            });
        }
        let mut reader = Reader::new(message, body);
        let response = decode_body(kind, schema, dialect, &mut reader)?;
        reader.end()?;
        Ok(response)
    }
}

/// Decodes the fields of a response whose code has a [`name`].
fn decode_body(
    kind: u8,
    schema: u8,
    dialect: Dialect,
    reader: &mut Reader<'_>,
) -> Result<Response, DecodeError> {
    Ok(match kind {
        0 => decode_failure(reader)?,
        1 => {
            let id = match dialect.version {
                Version::One => reader.u64()?,
                Version::Legacy => 0,
            };
            Response::Server {
                id,
                address: reader.text()?,
            }
        }
        2 => Response::Welcome {
            heartbeat_ms: reader.u64()?,
        },
        3 => Response::Servers(decode_servers(reader, dialect.cluster)?),
        4 => {
            let id = reader.u32()?;
            reader.u32()?;
            Response::Db { id }
        }
        5 => {
            let (db, id, params) = (reader.u32()?, reader.u32()?, reader.u64()?);
            let tail_offset = if schema == 1 {
                Some(reader.u64()?)
            } else {
                None
            };
            Response::Stmt {
                db,
                id,
                params,
                tail_offset,
            }
        }
        6 => Response::Result {
            last_insert_id: reader.u64()?,
            rows_affected: reader.u64()?,
        },
        7 => Response::Rows(decode_rows(reader)?),
        8 => {
            reader.u64()?;
            Response::Empty
        }
        9 => Response::Files(decode_files(reader)?),
        _ => Response::Metadata {
            failure_domain: reader.u64()?,
            weight: reader.u64()?,
        },
    })
}

/// Reads a failure, also one that stands behind the rows that came before it.
fn decode_failure(reader: &mut Reader<'_>) -> Result<Response, DecodeError> {
    let mut plain = reader.clone();
    let decoded = plain_failure(&mut plain)
        .or_else(|error| failure_behind_rows(&mut reader.clone()).ok_or(error))?;
    reader.take(reader.left() as u64)?;
    Ok(decoded)
}

/// Skips columns and rows until what is left is a failure.
fn failure_behind_rows(reader: &mut Reader<'_>) -> Option<Response> {
    let columns = reader
        .count(LEAST_TEXT_BYTES)
        .ok()
        .filter(|columns| *columns > 0)?;
    for _ in 0..columns {
        reader.text_lossy().ok()?;
    }
    loop {
        if reader.left() <= MOST_FAILURE_BYTES
            && let Ok(failure) = plain_failure(&mut reader.clone())
        {
            return Some(failure);
        }
        decode_row(reader, columns).ok()?;
    }
}

/// Reads a failure that is all there is.
fn plain_failure(reader: &mut Reader<'_>) -> Result<Response, DecodeError> {
    let failure = Response::Failure {
        code: reader.u64()?,
        message: reader.text_lossy()?,
    };
    reader.end().map(|()| failure)
}

fn encode_servers(writer: &mut Writer, servers: &[Server]) -> Result<(), EncodeError> {
    let with_role = servers
        .iter()
        .filter(|server| server.role.is_some())
        .count();
    if with_role != 0 && with_role != servers.len() {
        return Err(EncodeError::MixedRoles);
    }
    writer.u64(servers.len() as u64);
    for Server { id, address, role } in servers {
        writer.u64(*id);
        writer.text("the address", address)?;
        role.iter().for_each(|role| writer.u64(role.wire_code()));
    }
    Ok(())
}

fn decode_servers(
    reader: &mut Reader<'_>,
    format: ClusterFormat,
) -> Result<Vec<Server>, DecodeError> {
    let with_roles = format == ClusterFormat::WithRoles;
    let words = if with_roles { 2 } else { 1 };
    let count = reader.count(LEAST_TEXT_BYTES + words * WORD_BYTES as u64)?;
    (0..count)
        .map(|_| {
            let (id, address) = (reader.u64()?, reader.text()?);
            let role = if with_roles {
                Some(role(reader)?)
            } else {
                None
            };
            Ok(Server { id, address, role })
        })
        .collect()
}

fn encode_rows(writer: &mut Writer, part: &RowsPart) -> Result<(), EncodeError> {
    let RowsPart {
        columns,
        rows,
        more,
    } = part;
    if columns.is_empty() && !rows.is_empty() {
        return Err(EncodeError::RowWithoutColumns);
    }
    writer.u64(columns.len() as u64);
    for column in columns {
        writer.text("a column's name", column)?;
    }
    for (index, row) in rows.iter().enumerate() {
        if row.len() != columns.len() {
            let (values, columns) = (row.len(), columns.len());
            return Err(EncodeError::RaggedRow {
                row: index,
                values,
                columns,
            });
        }
        encode_row(writer, row)?;
    }
    writer.u64(if *more { ROWS_MORE } else { ROWS_DONE });
    Ok(())
}

fn decode_rows(reader: &mut Reader<'_>) -> Result<RowsPart, DecodeError> {
    // 1.18 may answer a statement that yields no columns with the marker alone.
    if reader.left() == WORD_BYTES && reader.peek_word() == Some(ROWS_DONE) {
        reader.u64()?;
        return Ok(RowsPart::default());
    }
    let count = reader.count(LEAST_TEXT_BYTES)?;
    let columns = (0..count)
        .map(|_| reader.text())
        .collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();
    loop {
        // No type code is 14 or 15, so a marker is never the head of a row.
        let marker = reader.peek_word();
        if let Some(ROWS_DONE | ROWS_MORE) = marker {
            reader.u64()?;
            return Ok(RowsPart {
                columns,
                rows,
                more: marker == Some(ROWS_MORE),
            });
        }
        if columns.is_empty() {
            return Err(reader.fault(Fault::RowWithoutColumns));
        }
        rows.push(decode_row(reader, columns.len())?);
    }
}

fn encode_files(writer: &mut Writer, files: &[DumpedFile]) -> Result<(), EncodeError> {
    writer.u64(files.len() as u64);
    for DumpedFile { name, data } in files {
        if data.len() % WORD_BYTES != 0 {
            let (name, bytes) = (name.clone(), data.len());
            return Err(EncodeError::UnalignedFile { name, bytes });
        }
        writer.text("the file's name", name)?;
        writer.u64(data.len() as u64);
        writer.bytes(data);
    }
    Ok(())
}

fn decode_files(reader: &mut Reader<'_>) -> Result<Vec<DumpedFile>, DecodeError> {
    let count = reader.count(LEAST_TEXT_BYTES + WORD_BYTES as u64)?;
    (0..count)
        .map(|_| {
            let (name, bytes) = (reader.text()?, reader.u64()?);
            Ok(DumpedFile {
                name,
                data: reader.take(bytes)?.to_vec(),
            })
        })
        .collect()
}

/// The name of a type code, if there is such a response.
fn name(code: u8) -> Option<&'static str> {
    const NAMES: [&str; 11] = [
        "failure response",
        "server response",
        "welcome response",
        "servers response",
        "db response",
        "stmt response",
        "result response",
        "rows response",
        "empty response",
        "files response",
        "metadata response",
    ];
    NAMES.get(usize::from(code)).copied()
}
