//! What a client asks: the requests, in both directions.
//!
//! | code | request | answer |
//! | --- | --- | --- |
//! | 0 | LEADER | SERVER |
//! | 1 | CLIENT | WELCOME |
//! | 3 | OPEN | DB |
//! | 4 | PREPARE | STMT |
//! | 5, 8 | EXEC, EXEC_SQL | RESULT |
//! | 6, 9 | QUERY, QUERY_SQL | ROWS, once or more often |
//! | 7, 10, 12, 13, 14, 17, 19 | FINALIZE, INTERRUPT, ADD, ASSIGN, REMOVE, TRANSFER, WEIGHT | EMPTY |
//! | 11 | CONNECT | none: from then on the stream carries raft's own messages |
//! | 15 | DUMP | FILES |
//! | 16 | CLUSTER | SERVERS |
//! | 18 | DESCRIBE | METADATA |
//!
//! Any of them may be answered by FAILURE. Code 2 (HEARTBEAT) is served by neither 1.11 nor
//! 1.18 and is not decoded. Servers handle one request at a time on a connection.
//!
//! A worked example, LEADER: `01 00 00 00 00 00 00 00` (one word, type 0), then one word of zeros.
//!
//! Source: canonical.com/dqlite/docs/reference/wire-protocol; `request.h` of 1.11 and 1.18.

use super::bytes::{Reader, Writer};
use super::error::{DecodeError, EncodeError, Fault};
use super::header::{Header, frame_bytes};
use super::role::{ClusterFormat, Role};
use super::value::{Value, decode_params, encode_params, params_schema};

/// The only format that DESCRIBE has: failure domain and weight.
const DESCRIBE_FORMAT_0: u64 = 0;

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Who leads? (0)
    Leader,
    /// Registers the client (1).
    Client {
        /// An identity of the client's choice; servers do not use it.
        id: u64,
    },
    /// Opens a database; a connection has one at most (3).
    Open {
        /// A plain file name.
        name: String,
        /// Flags of `sqlite3_open_v2`; servers do not use them.
        flags: u64,
        /// Name of a VFS; servers do not use it.
        vfs: String,
    },
    /// Compiles a statement (4).
    Prepare {
        /// The database, 0.
        db: u64,
        /// Its text.
        sql: String,
        /// Whether the text may hold further statements, and the answer says where they begin
        /// (schema 1, since 1.15). Servers before 1.15 ignore the tail either way.
        with_tail: bool,
    },
    /// Runs a prepared statement that yields no rows (5).
    Exec {
        /// The database, 0.
        db: u32,
        /// The statement.
        stmt: u32,
        /// What to bind, in order.
        params: Vec<Value>,
    },
    /// Runs a prepared statement that yields rows (6).
    Query {
        /// The database, 0.
        db: u32,
        /// The statement.
        stmt: u32,
        /// What to bind, in order.
        params: Vec<Value>,
    },
    /// Drops a prepared statement (7).
    Finalize {
        /// The database, 0.
        db: u32,
        /// The statement.
        stmt: u32,
    },
    /// Runs the statements of a text, each after the other (8).
    ExecSql {
        /// The database, 0.
        db: u64,
        /// One statement or several.
        sql: String,
        /// What to bind to the first statement.
        params: Vec<Value>,
    },
    /// Runs the one statement of a text and yields its rows (9).
    QuerySql {
        /// The database, 0.
        db: u64,
        /// One statement.
        sql: String,
        /// What to bind, in order.
        params: Vec<Value>,
    },
    /// Stops a query whose rows are still coming (10).
    Interrupt {
        /// The database, 0.
        db: u64,
    },
    /// Turns the stream into one of raft's (11): what nodes send each other.
    Connect {
        /// Id of the node that connects.
        id: u64,
        /// Its address.
        address: String,
    },
    /// Adds a server, as a spare (12).
    Add {
        /// Its id.
        id: u64,
        /// Its address.
        address: String,
    },
    /// Gives a server a role (13).
    Assign {
        /// Its id.
        id: u64,
        /// The role; `None` is the older request PROMOTE, which makes a voter.
        role: Option<Role>,
    },
    /// Removes a server (14).
    Remove {
        /// Its id.
        id: u64,
    },
    /// Asks for the files of a database, as this node has them (15).
    Dump {
        /// Name of the database.
        name: String,
    },
    /// Asks for the configuration of the cluster, as this node has it (16).
    Cluster {
        /// With or without roles.
        format: ClusterFormat,
    },
    /// Hands leadership to another voter (17).
    Transfer {
        /// Its id; 0 lets the leader choose.
        id: u64,
    },
    /// Asks for this node's failure domain and weight (18).
    Describe,
    /// Sets this node's weight (19).
    Weight {
        /// The weight.
        weight: u64,
    },
}

impl Request {
    /// The type code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Leader => 0,
            Self::Client { .. } => 1,
            Self::Open { .. } => 3,
            Self::Prepare { .. } => 4,
            Self::Exec { .. } => 5,
            Self::Query { .. } => 6,
            Self::Finalize { .. } => 7,
            Self::ExecSql { .. } => 8,
            Self::QuerySql { .. } => 9,
            Self::Interrupt { .. } => 10,
            Self::Connect { .. } => 11,
            Self::Add { .. } => 12,
            Self::Assign { .. } => 13,
            Self::Remove { .. } => 14,
            Self::Dump { .. } => 15,
            Self::Cluster { .. } => 16,
            Self::Transfer { .. } => 17,
            Self::Describe => 18,
            Self::Weight { .. } => 19,
        }
    }

    /// The name, such as `exec-sql`.
    pub fn name(&self) -> &'static str {
        name(self.code()).unwrap_or("unknown")
    }

    /// The schema byte that this request is sent with.
    pub fn schema(&self) -> u8 {
        match self {
            Self::Prepare { with_tail, .. } => u8::from(*with_tail),
            Self::Exec { params, .. }
            | Self::Query { params, .. }
            | Self::ExecSql { params, .. }
            | Self::QuerySql { params, .. } => params_schema(params),
            _ => 0,
        }
    }

    /// The bytes of the whole message, header included.
    pub fn encode(&self) -> Result<Vec<u8>, EncodeError> {
        let mut writer = Writer::default();
        match self {
            Self::Leader => writer.u64(0),
            Self::Describe => writer.u64(DESCRIBE_FORMAT_0),
            Self::Client { id: word }
            | Self::Interrupt { db: word }
            | Self::Remove { id: word }
            | Self::Transfer { id: word }
            | Self::Weight { weight: word } => writer.u64(*word),
            Self::Cluster { format } => writer.u64(format.wire_code()),
            Self::Open { name, flags, vfs } => {
                writer.text("the database's name", name)?;
                writer.u64(*flags);
                writer.text("the vfs's name", vfs)?;
            }
            Self::Prepare { db, sql, .. } => {
                writer.u64(*db);
                writer.text("the statement", sql)?;
            }
            Self::Exec { db, stmt, params } | Self::Query { db, stmt, params } => {
                writer.u32(*db);
                writer.u32(*stmt);
                encode_params(&mut writer, params)?;
            }
            Self::Finalize { db, stmt } => {
                writer.u32(*db);
                writer.u32(*stmt);
            }
            Self::ExecSql { db, sql, params } | Self::QuerySql { db, sql, params } => {
                writer.u64(*db);
                writer.text("the statement", sql)?;
                encode_params(&mut writer, params)?;
            }
            Self::Connect { id, address } | Self::Add { id, address } => {
                writer.u64(*id);
                writer.text("the address", address)?;
            }
            Self::Assign { id, role } => {
                writer.u64(*id);
                role.iter().for_each(|role| writer.u64(role.wire_code()));
            }
            Self::Dump { name } => writer.text("the database's name", name)?,
        }
        frame_bytes(self.code(), self.schema(), &writer.into_body())
    }

    /// Decodes the body that came after `header`.
    pub fn decode(header: Header, body: &[u8]) -> Result<Self, DecodeError> {
        let Header { kind, schema, .. } = header;
        let Some(message) = name(kind) else {
            let fault = Fault::UnknownType { code: kind };
            return Err(DecodeError {
                message: "request",
                offset: TYPE_AT,
                fault,
            });
        };
        let most_schema = u8::from(matches!(kind, 4 | 5 | 6 | 8 | 9));
        if schema > most_schema {
            let fault = Fault::UnknownSchema { schema };
            return Err(DecodeError {
                message,
                offset: SCHEMA_AT,
                fault,
            });
        }
        let mut reader = Reader::new(message, body);
        let request = decode_body(kind, schema, &mut reader)?;
        reader.end()?;
        Ok(request)
    }
}

/// Offset of the type code in a header.
pub(crate) const TYPE_AT: usize = 4;

/// Offset of the schema in a header.
pub(crate) const SCHEMA_AT: usize = 5;

/// Decodes the fields of a request whose code has a [`name`].
fn decode_body(kind: u8, schema: u8, reader: &mut Reader<'_>) -> Result<Request, DecodeError> {
    Ok(match kind {
        0 => {
            reader.u64()?;
            Request::Leader
        }
        1 => Request::Client { id: reader.u64()? },
        3 => Request::Open {
            name: reader.text()?,
            flags: reader.u64()?,
            vfs: reader.text()?,
        },
        4 => Request::Prepare {
            db: reader.u64()?,
            sql: reader.text()?,
            with_tail: schema == 1,
        },
        5 | 6 => {
            let (db, stmt) = (reader.u32()?, reader.u32()?);
            let params = decode_params(reader, schema)?;
            match kind {
                5 => Request::Exec { db, stmt, params },
                _ => Request::Query { db, stmt, params },
            }
        }
        7 => Request::Finalize {
            db: reader.u32()?,
            stmt: reader.u32()?,
        },
        8 | 9 => {
            let (db, sql) = (reader.u64()?, reader.text()?);
            let params = decode_params(reader, schema)?;
            match kind {
                8 => Request::ExecSql { db, sql, params },
                _ => Request::QuerySql { db, sql, params },
            }
        }
        10 => Request::Interrupt { db: reader.u64()? },
        11 => Request::Connect {
            id: reader.u64()?,
            address: reader.text()?,
        },
        12 => Request::Add {
            id: reader.u64()?,
            address: reader.text()?,
        },
        13 => Request::Assign {
            id: reader.u64()?,
            role: optional_role(reader)?,
        },
        14 => Request::Remove { id: reader.u64()? },
        15 => Request::Dump {
            name: reader.text()?,
        },
        16 => Request::Cluster {
            format: format(reader, ClusterFormat::from_wire_code)?,
        },
        17 => Request::Transfer { id: reader.u64()? },
        18 => {
            format(reader, |code| (code == DESCRIBE_FORMAT_0).then_some(()))?;
            Request::Describe
        }
        _ => Request::Weight {
            weight: reader.u64()?,
        },
    })
}

fn optional_role(reader: &mut Reader<'_>) -> Result<Option<Role>, DecodeError> {
    if reader.left() == 0 {
        return Ok(None);
    }
    role(reader).map(Some)
}

/// Reads a role.
pub(crate) fn role(reader: &mut Reader<'_>) -> Result<Role, DecodeError> {
    let start = reader.position();
    let code = reader.u64()?;
    Role::from_wire_code(code).ok_or_else(|| reader.fault_at(start, Fault::UnknownRole { code }))
}

fn format<T>(reader: &mut Reader<'_>, of: impl Fn(u64) -> Option<T>) -> Result<T, DecodeError> {
    let start = reader.position();
    let code = reader.u64()?;
    of(code).ok_or_else(|| reader.fault_at(start, Fault::UnknownFormat { code }))
}

/// The name of a type code, if there is such a request.
fn name(code: u8) -> Option<&'static str> {
    const NAMES: [&str; 20] = [
        "leader",
        "client",
        "",
        "open",
        "prepare",
        "exec",
        "query",
        "finalize",
        "exec-sql",
        "query-sql",
        "interrupt",
        "connect",
        "add",
        "assign",
        "remove",
        "dump",
        "cluster",
        "transfer",
        "describe",
        "weight",
    ];
    NAMES
        .get(usize::from(code))
        .copied()
        .filter(|name| !name.is_empty())
}
