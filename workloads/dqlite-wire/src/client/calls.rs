//! One method a request.
//!
//! Which of them a follower of 1.11.1 answers: LEADER, CLIENT, OPEN, PREPARE, FINALIZE, INTERRUPT, DUMP,
//! CLUSTER, DESCRIBE and WEIGHT, from its own state. The others it rejects with
//! [`crate::outcome::NOT_LEADER`].

use tokio::io::{AsyncRead, AsyncWrite};

use super::connection::{Connection, dialect};
use super::deadline::Deadline;
use super::error::{ClientError, NotSentCause};
use crate::wire::request::Request;
use crate::wire::response::{DumpedFile, Response, Server};
use crate::wire::role::{ClusterFormat, Role};
use crate::wire::value::Value;

/// The VFS that clients name when they open a database; servers do not look at it.
const VFS_NAME: &str = "volatile";

/// A node as LEADER names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeAddress {
    /// Its id.
    pub id: u64,
    /// Its address.
    pub address: String,
}

/// A prepared statement, on the connection that prepared it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Statement {
    /// Its database.
    pub db: u32,
    /// Its id.
    pub id: u32,
    /// How many parameters it has.
    pub params: u64,
}

/// What a statement without rows did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExecResult {
    /// `last_insert_rowid()` of the connection, also if this statement inserted nothing.
    pub last_insert_id: u64,
    /// `changes()` of the connection, also if this statement is none that counts.
    pub rows_affected: u64,
}

/// All rows of a query.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ResultSet {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with as many values as there are columns.
    pub rows: Vec<Vec<Value>>,
}

/// What a node was told about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// A number for the place that fails together.
    pub failure_domain: u64,
    /// A number for how little it wants a role.
    pub weight: u64,
}

/// Takes one kind of answer and gives every other back.
macro_rules! only {
    ($pattern:pat => $taken:expr) => {
        |response| match response {
            $pattern => Ok($taken),
            other => Err(other),
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Who leads, as far as this node knows. Only voters know; others answer `None`.
    pub async fn leader(
        &mut self,
        deadline: impl Into<Deadline>,
    ) -> Result<Option<NodeAddress>, ClientError> {
        let take = only!(Response::Server { id, address } => NodeAddress { id, address });
        let node = self
            .call(&Request::Leader, "server response", deadline.into(), take)
            .await?;
        Ok(Some(node).filter(|node| node.id != 0 && !node.address.is_empty()))
    }

    /// Registers the client; gives the heartbeat interval that the server names, in milliseconds.
    pub async fn register_client(
        &mut self,
        id: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<u64, ClientError> {
        let take = only!(Response::Welcome { heartbeat_ms } => heartbeat_ms);
        self.call(
            &Request::Client { id },
            "welcome response",
            deadline.into(),
            take,
        )
        .await
    }

    /// Opens a database, making it if there is none. A connection has one at most. Followers open
    /// too, and then reject the statements.
    pub async fn open(
        &mut self,
        name: &str,
        deadline: impl Into<Deadline>,
    ) -> Result<(), ClientError> {
        let request = Request::Open {
            name: name.to_owned(),
            flags: 0,
            vfs: VFS_NAME.to_owned(),
        };
        let take = only!(Response::Db { id } => id);
        let id = self
            .call(&request, "db response", deadline.into(), take)
            .await?;
        self.database = Some(id);
        Ok(())
    }

    fn opened(&self) -> Result<u32, ClientError> {
        self.database
            .ok_or(ClientError::NotSent(NotSentCause::NoDatabase))
    }

    /// Compiles the first statement of a text; what follows it is ignored by 1.11 and rejected by
    /// 1.18.
    pub async fn prepare(
        &mut self,
        sql: &str,
        deadline: impl Into<Deadline>,
    ) -> Result<Statement, ClientError> {
        let db = u64::from(self.opened()?);
        let request = Request::Prepare {
            db,
            sql: sql.to_owned(),
            with_tail: false,
        };
        let take = only!(Response::Stmt { db, id, params, .. } => Statement { db, id, params });
        self.call(&request, "stmt response", deadline.into(), take)
            .await
    }

    /// Runs a prepared statement that yields no rows.
    pub async fn exec(
        &mut self,
        statement: Statement,
        params: &[Value],
        deadline: impl Into<Deadline>,
    ) -> Result<ExecResult, ClientError> {
        let Statement { db, id: stmt, .. } = statement;
        let request = Request::Exec {
            db,
            stmt,
            params: params.to_vec(),
        };
        self.call_exec(&request, deadline.into()).await
    }

    /// Runs a prepared statement and collects its rows.
    pub async fn query(
        &mut self,
        statement: Statement,
        params: &[Value],
        deadline: impl Into<Deadline>,
    ) -> Result<ResultSet, ClientError> {
        let Statement { db, id: stmt, .. } = statement;
        let request = Request::Query {
            db,
            stmt,
            params: params.to_vec(),
        };
        self.call_query(&request, deadline.into()).await
    }

    /// Drops a prepared statement.
    pub async fn finalize(
        &mut self,
        statement: Statement,
        deadline: impl Into<Deadline>,
    ) -> Result<(), ClientError> {
        let Statement { db, id: stmt, .. } = statement;
        self.call_empty(&Request::Finalize { db, stmt }, deadline.into())
            .await
    }

    /// Runs the statements of a text, one after the other; the parameters go to the first. None may
    /// yield rows: on 1.11.1 `INSERT ... RETURNING` sent this way is rejected with code 100, and the
    /// next write on that database trips an assertion (`wal->n_tx == 0`): the node aborts. An error
    /// says nothing about the statements before the one that failed
    /// ([`Sent::Script`](crate::outcome::Sent::Script)).
    pub async fn exec_sql(
        &mut self,
        sql: &str,
        params: &[Value],
        deadline: impl Into<Deadline>,
    ) -> Result<ExecResult, ClientError> {
        let db = u64::from(self.opened()?);
        let request = Request::ExecSql {
            db,
            sql: sql.to_owned(),
            params: params.to_vec(),
        };
        self.call_exec(&request, deadline.into()).await
    }

    /// Runs the one statement of a text and collects its rows. Send no writing statement this way
    /// (INSERT ... RETURNING): 1.11 steps it without handing it to raft.
    pub async fn query_sql(
        &mut self,
        sql: &str,
        params: &[Value],
        deadline: impl Into<Deadline>,
    ) -> Result<ResultSet, ClientError> {
        let db = u64::from(self.opened()?);
        let request = Request::QuerySql {
            db,
            sql: sql.to_owned(),
            params: params.to_vec(),
        };
        self.call_query(&request, deadline.into()).await
    }

    /// Stops a query whose rows are still coming. As every call reads its answer to the end, there
    /// is none when this can be called: it asks the server for an EMPTY answer and no more.
    pub async fn interrupt(&mut self, deadline: impl Into<Deadline>) -> Result<(), ClientError> {
        let db = u64::from(self.database.unwrap_or(0));
        self.call_empty(&Request::Interrupt { db }, deadline.into())
            .await
    }

    /// Adds a server, as a spare. The leader answers when the change is committed.
    pub async fn add(
        &mut self,
        id: u64,
        address: &str,
        deadline: impl Into<Deadline>,
    ) -> Result<(), ClientError> {
        let request = Request::Add {
            id,
            address: address.to_owned(),
        };
        self.call_empty(&request, deadline.into()).await
    }

    /// Gives a server a role. A spare that becomes a voter catches up first, which takes a while.
    pub async fn assign(
        &mut self,
        id: u64,
        role: Role,
        deadline: impl Into<Deadline>,
    ) -> Result<(), ClientError> {
        let request = Request::Assign {
            id,
            role: Some(role),
        };
        self.call_empty(&request, deadline.into()).await
    }

    /// Removes a server.
    pub async fn remove(
        &mut self,
        id: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<(), ClientError> {
        self.call_empty(&Request::Remove { id }, deadline.into())
            .await
    }

    /// Hands leadership to another voter; 0 lets the leader choose.
    pub async fn transfer(
        &mut self,
        id: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<(), ClientError> {
        self.call_empty(&Request::Transfer { id }, deadline.into())
            .await
    }

    /// Sets the weight that this node names in [`Connection::describe`].
    pub async fn weight(
        &mut self,
        weight: u64,
        deadline: impl Into<Deadline>,
    ) -> Result<(), ClientError> {
        self.call_empty(&Request::Weight { weight }, deadline.into())
            .await
    }

    /// The files of a database as this node has them: the database and its write-ahead log.
    pub async fn dump(
        &mut self,
        name: &str,
        deadline: impl Into<Deadline>,
    ) -> Result<Vec<DumpedFile>, ClientError> {
        let request = Request::Dump {
            name: name.to_owned(),
        };
        let take = only!(Response::Files(files) => files);
        self.call(&request, "files response", deadline.into(), take)
            .await
    }

    /// The configuration of the cluster as this node has it, committed or not, with roles.
    pub async fn cluster(
        &mut self,
        deadline: impl Into<Deadline>,
    ) -> Result<Vec<Server>, ClientError> {
        let request = Request::Cluster {
            format: ClusterFormat::WithRoles,
        };
        let take = only!(Response::Servers(servers) => servers);
        self.call(&request, "servers response", deadline.into(), take)
            .await
    }

    /// What this node was told about itself.
    pub async fn describe(
        &mut self,
        deadline: impl Into<Deadline>,
    ) -> Result<Metadata, ClientError> {
        let take = only!(
            Response::Metadata { failure_domain, weight } => Metadata { failure_domain, weight }
        );
        self.call(
            &Request::Describe,
            "metadata response",
            deadline.into(),
            take,
        )
        .await
    }

    async fn call_empty(
        &mut self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<(), ClientError> {
        self.call(
            request,
            "empty response",
            deadline,
            only!(Response::Empty => ()),
        )
        .await
    }

    async fn call_exec(
        &mut self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<ExecResult, ClientError> {
        let take = only!(
            Response::Result { last_insert_id, rows_affected } =>
                ExecResult { last_insert_id, rows_affected }
        );
        self.call(request, "result response", deadline, take).await
    }

    /// Sends a query and reads its parts until the last, within the limits.
    async fn call_query(
        &mut self,
        request: &Request,
        deadline: Deadline,
    ) -> Result<ResultSet, ClientError> {
        self.send(request, deadline).await?;
        let limits = self.limits();
        let mut result = ResultSet::default();
        let mut total_bytes = 0;
        loop {
            let (response, bytes) = self.receive(dialect(request), deadline).await?;
            let part = match response {
                Response::Rows(part) => part,
                other => return self.unexpected("rows response", &other),
            };
            total_bytes += bytes;
            if total_bytes > limits.max_result_bytes {
                return self.too_large(limits.max_result_bytes, "bytes");
            }
            if result.rows.len() + part.rows.len() > limits.max_rows {
                return self.too_large(limits.max_rows as u64, "rows");
            }
            // The last part may name no columns where earlier ones did.
            if result.columns.is_empty() {
                result.columns = part.columns;
            }
            result.rows.extend(part.rows);
            if !part.more {
                self.settle();
                return Ok(result);
            }
        }
    }
}
