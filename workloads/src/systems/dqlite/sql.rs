//! The workloads as SQL over dqlite's wire protocol.
//!
//! | error | outcome | why |
//! | --- | --- | --- |
//! | not sent: no leader found, connection refused, connection broken before | fail | no byte of it was written |
//! | rejected before COMMIT | fail | an open transaction has no effect, and COMMIT is not sent afterwards |
//! | rejected write or COMMIT | as [`dqlite_wire::outcome::RULES`] says for the code, row by row with its reason | |
//! | cas that changed no row | fail | SQLite says that no row matched; judged as having seen another value |
//! | transfer without cover | fail | rolled back by us before any change |
//! | sent, no answer (time-out, closed, garbage) | info | it may take effect now or later, also if it only reads: that is DESIGN's rule |
//!
//! `SQLITE_BUSY` is refused before it ran, so the whole transaction is tried again, [`BUSY_RETRIES`] times.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use dqlite_wire::{
    client::{ClientError, Connection, Deadline, DiscoverError, LeaderConnection},
    outcome::{self, Outcome, Sent},
};
use harness_core::event::OpError;
use harness_lab::Node;

use super::{
    session::{self, Stream},
    statements::{self, Attempt},
};
use crate::{
    client::{Client, Clients, Completion, Invocation, OpenError},
    workload::Kind,
};

/// The database that workloads use; `dqlite-demo` has one of its own, `demo`.
pub const DATABASE: &str = "harness";
/// How often a transaction that was refused as busy is tried again within one operation.
pub const BUSY_RETRIES: u32 = 30;
/// How long opening a client may take.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long making tables may take.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(20);

/// How a client on a node comes to the leader's dqlite.
#[async_trait]
pub(in crate::systems) trait Way: Send + Sync {
    /// Connects to the leader for a client that belongs to `node`, within `timeout`.
    async fn to_leader(
        &self,
        node: &Node,
        nodes: &[Node],
        timeout: Duration,
    ) -> Result<LeaderConnection<Stream>, DiscoverError>;
}

/// dqlite's own port, over TCP from the client's node.
pub(super) struct OverTcp;

#[async_trait]
impl Way for OverTcp {
    async fn to_leader(
        &self,
        node: &Node,
        nodes: &[Node],
        timeout: Duration,
    ) -> Result<LeaderConnection<Stream>, DiscoverError> {
        session::to_leader(node, nodes, timeout).await
    }
}

/// Makes the workload's tables and first rows.
pub(in crate::systems) async fn prepare(
    way: &dyn Way,
    nodes: &[Node],
    workload: &Kind,
) -> Result<(), String> {
    let node = nodes.first().ok_or("there is no node")?;
    let mut leader = way
        .to_leader(node, nodes, PREPARE_TIMEOUT)
        .await
        .map_err(|error| error.to_string())?;
    let deadline = Deadline::after(PREPARE_TIMEOUT);
    let connection = &mut leader.connection;
    let said = |error: ClientError| error.to_string();
    connection.open(DATABASE, deadline).await.map_err(said)?;
    let mut statements = vec![
        "CREATE TABLE IF NOT EXISTS ticks (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)".to_owned(),
        "INSERT OR IGNORE INTO ticks (id, n) VALUES (0, 0)".to_owned(),
    ];
    match workload {
        Kind::Register(_) => statements
            .push("CREATE TABLE IF NOT EXISTS registers (k INTEGER PRIMARY KEY, v INTEGER)".into()),
        // No unique index: an element that was added twice must be seen twice.
        Kind::Set(_) | Kind::Membership(_) => {
            statements.push("CREATE TABLE IF NOT EXISTS elements (v INTEGER NOT NULL)".into());
        }
        Kind::Bank(parameters) => {
            statements.push("CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL)".into());
            for (account, balance) in parameters.initial() {
                statements.push(format!(
                    "INSERT OR IGNORE INTO accounts (id, balance) VALUES ({account}, {balance})"
                ));
            }
        }
        Kind::Append(_) => statements.push(
            "CREATE TABLE IF NOT EXISTS lists (k INTEGER PRIMARY KEY, v TEXT NOT NULL)".into(),
        ),
    }
    for statement in statements {
        connection
            .exec_sql(&statement, &[], deadline)
            .await
            .map_err(said)?;
    }
    Ok(())
}

/// Makes SQL clients: thread `t` works on node `t % nodes`.
pub struct SqlClients {
    way: Arc<dyn Way>,
    nodes: Arc<[Node]>,
    workload: Kind,
}

impl SqlClients {
    /// Clients for this workload.
    #[must_use]
    pub(in crate::systems) fn new(way: Arc<dyn Way>, nodes: &[Node], workload: Kind) -> Self {
        Self {
            way,
            nodes: nodes.into(),
            workload,
        }
    }

    fn node(&self, thread: usize) -> Option<&Node> {
        self.nodes.get(thread % self.nodes.len().max(1))
    }
}

#[async_trait]
impl Clients for SqlClients {
    fn node_of_thread(&self, thread: usize) -> Option<Arc<str>> {
        self.node(thread).map(|node| Arc::from(node.name.as_str()))
    }

    async fn open(&self, thread: usize, process: u64) -> Result<Box<dyn Client>, OpenError> {
        let node = self.node(thread).cloned().ok_or_else(|| OpenError {
            kind: "no-node".to_owned(),
            message: "the lab has no nodes".to_owned(),
        })?;
        let mut client = SqlClient {
            way: Arc::clone(&self.way),
            node,
            nodes: Arc::clone(&self.nodes),
            workload: self.workload.clone(),
            process,
            connection: None,
        };
        client
            .connect(Deadline::after(OPEN_TIMEOUT))
            .await
            .map_err(|error| OpenError {
                kind: error.kind,
                message: error.message,
            })?;
        Ok(Box::new(client))
    }
}

struct SqlClient {
    way: Arc<dyn Way>,
    node: Node,
    nodes: Arc<[Node]>,
    workload: Kind,
    process: u64,
    connection: Option<Connection<Stream>>,
}

/// A short word for an error, for tables.
fn word(error: &ClientError) -> &'static str {
    match error {
        ClientError::NotSent(_) => "not-sent",
        ClientError::Lost(dqlite_wire::client::LostCause::Timeout) => "timeout",
        ClientError::Lost(_) => "connection-lost",
        ClientError::Rejected { code, .. } => match *code {
            outcome::NOT_LEADER => "not-leader",
            outcome::LEADERSHIP_LOST => "leadership-lost",
            code if code & 0xff == outcome::BUSY => "busy",
            _ => "rejected",
        },
    }
}

fn op_error(error: &ClientError) -> OpError {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        message.push_str(": ");
        message.push_str(&cause.to_string());
        source = cause.source();
    }
    OpError {
        kind: word(error).to_owned(),
        message,
    }
}

/// `fail` needs proof; see the module's table.
fn completion(error: &ClientError, sent: Sent) -> Completion {
    let told = op_error(error);
    match error {
        ClientError::Lost(_) => Completion::Info(told),
        ClientError::NotSent(_) => Completion::Fail(told),
        ClientError::Rejected { .. } => match error.outcome(sent) {
            Outcome::Failed => Completion::Fail(told),
            Outcome::Indeterminate => Completion::Info(told),
        },
    }
}

impl SqlClient {
    async fn connect(&mut self, deadline: Deadline) -> Result<(), OpError> {
        let left = deadline
            .instant()
            .saturating_duration_since(tokio::time::Instant::now());
        let mut leader = self
            .way
            .to_leader(&self.node, &self.nodes, left)
            .await
            .map_err(|error| OpError {
                kind: "no-leader".to_owned(),
                message: error.to_string(),
            })?;
        leader
            .connection
            .open(DATABASE, deadline)
            .await
            .map_err(|error| {
                let OpError { kind, message } = op_error(&error);
                let message = format!("before anything was asked, opening the database: {message}");
                OpError { kind, message }
            })?;
        self.connection = Some(leader.connection);
        Ok(())
    }

    async fn attempt(&mut self, invocation: &Invocation<'_>, deadline: Deadline) -> Attempt {
        let workload = self.workload.clone();
        let Some(connection) = &mut self.connection else {
            return Attempt::Declined("not-sent", "there is no connection".to_owned());
        };
        let tried = match &workload {
            Kind::Register(parameters) => {
                statements::register(connection, invocation, parameters.reads, deadline).await
            }
            Kind::Set(_) | Kind::Membership(_) => {
                statements::set(connection, invocation, deadline).await
            }
            Kind::Bank(parameters) => {
                statements::bank(connection, invocation, parameters.allow_negative, deadline).await
            }
            Kind::Append(_) => statements::append(connection, invocation, deadline).await,
        };
        match tried {
            Ok(value) => Attempt::Done(value),
            Err(attempt) => attempt,
        }
    }
}

#[async_trait]
impl Client for SqlClient {
    async fn invoke(&mut self, invocation: Invocation<'_>) -> Completion {
        let deadline = Deadline::after(invocation.deadline);
        for retry in 0.. {
            if self.connection.is_none()
                && let Err(error) = self.connect(deadline).await
            {
                // Nothing of the operation was sent: every earlier attempt was refused as busy.
                return Completion::Fail(error);
            }
            let (error, sent) = match self.attempt(&invocation, deadline).await {
                Attempt::Done(value) => return Completion::Ok(value),
                Attempt::Declined(kind, message) => {
                    let kind = kind.to_owned();
                    return Completion::Fail(OpError { kind, message });
                }
                Attempt::Error(error, sent) => (error, sent),
            };
            let busy = word(&error) == "busy";
            let completion = completion(&error, sent);
            // Busy is the one refusal after which the connection is as good as before.
            if !busy || self.connection.as_ref().is_none_or(Connection::is_poisoned) {
                self.connection = None;
            }
            if !busy
                || retry >= BUSY_RETRIES
                || deadline.is_over()
                || !matches!(completion, Completion::Fail(_))
            {
                return completion;
            }
            let pause_ms = 1 + (self.process.wrapping_mul(7) + u64::from(retry) * 5) % 20;
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        unreachable!("the loop above returns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dqlite_wire::client::{LostCause, NotSentCause};

    #[test]
    fn errors_map_to_outcomes_as_the_table_says() {
        let rejected = |code| ClientError::Rejected {
            code,
            message: String::new(),
        };
        for (error, sent, kind, info) in [
            (
                rejected(outcome::NOT_LEADER),
                Sent::Write,
                "not-leader",
                false,
            ),
            (
                rejected(outcome::LEADERSHIP_LOST),
                Sent::Write,
                "leadership-lost",
                true,
            ),
            (
                rejected(outcome::LEADERSHIP_LOST),
                Sent::Commit,
                "leadership-lost",
                true,
            ),
            (
                rejected(outcome::LEADERSHIP_LOST),
                Sent::InTransaction,
                "leadership-lost",
                false,
            ),
            (rejected(outcome::BUSY), Sent::Commit, "busy", false),
            (
                rejected(outcome::BUSY_SNAPSHOT),
                Sent::InTransaction,
                "busy",
                false,
            ),
            (rejected(123_456), Sent::Write, "rejected", true),
            (
                ClientError::Lost(LostCause::Timeout),
                Sent::ReadOnly,
                "timeout",
                true,
            ),
            (
                ClientError::Lost(LostCause::Closed),
                Sent::Commit,
                "connection-lost",
                true,
            ),
            (
                ClientError::NotSent(NotSentCause::ConnectTimeout),
                Sent::Write,
                "not-sent",
                false,
            ),
        ] {
            let got = completion(&error, sent);
            let (got_kind, got_info) = match got {
                Completion::Info(error) => (error.kind, true),
                Completion::Fail(error) => (error.kind, false),
                Completion::Ok(_) => panic!("{error:?} is no success"),
            };
            assert_eq!(
                (got_kind.as_str(), got_info),
                (kind, info),
                "{error:?} {sent:?}"
            );
        }
    }
}
