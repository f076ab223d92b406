//! BEGIN, statements, COMMIT or ROLLBACK, and what follows from the failure of each.
//!
//! | what failed | rejected | lost |
//! | --- | --- | --- |
//! | BEGIN | no transaction is open; the connection can be used | poisoned; nothing took effect |
//! | a statement | the transaction is *doomed*: it can only be rolled back | poisoned; nothing takes effect, as COMMIT can no longer be sent |
//! | COMMIT | [`Sent::Commit`] says what it proves; ROLLBACK is sent, and the connection poisoned unless that shows that no transaction is open | poisoned; in doubt |
//! | ROLLBACK | poisoned, unless no transaction was open | poisoned; nothing took effect |
//!
//! Why a failed statement dooms: SQLite rolls some transactions back by itself, and a server that
//! stopped leading forgets them; statements sent afterwards would run outside any transaction.
//! A transaction that is dropped poisons its connection: the server rolls it back when the
//! connection is dropped too, and holds its locks until then.

use tokio::io::{AsyncRead, AsyncWrite};

use super::calls::{ExecResult, ResultSet};
use super::connection::Connection;
use super::deadline::Deadline;
use super::error::{ClientError, NotSentCause};
use crate::outcome::{Outcome, Sent};
use crate::wire::value::Value;

/// What the server says to ROLLBACK or COMMIT where no transaction is open.
const NO_TRANSACTION: &str = "no transaction is active";

/// When a transaction takes SQLite's write lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BeginMode {
    /// At its first write: what it read before may be stale by then, which is BUSY_SNAPSHOT.
    #[default]
    Deferred,
    /// At once: BEGIN is rejected with BUSY if another connection has it.
    Immediate,
    /// At once; the same as immediate in the journal mode that dqlite uses.
    Exclusive,
}

impl BeginMode {
    fn sql(self) -> &'static str {
        match self {
            Self::Deferred => "BEGIN",
            Self::Immediate => "BEGIN IMMEDIATE",
            Self::Exclusive => "BEGIN EXCLUSIVE",
        }
    }
}

/// A transaction that is open on a connection.
#[derive(Debug)]
#[must_use = "a transaction that is dropped poisons its connection"]
pub struct Transaction<'c, S> {
    connection: &'c mut Connection<S>,
    doomed: bool,
    open: bool,
}

impl<S> Drop for Transaction<'_, S> {
    fn drop(&mut self) {
        if self.open {
            self.connection.poison("a transaction was left open");
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Opens a transaction.
    pub async fn begin(
        &mut self,
        mode: BeginMode,
        deadline: impl Into<Deadline>,
    ) -> Result<Transaction<'_, S>, ClientError> {
        self.exec_sql(mode.sql(), &[], deadline).await?;
        Ok(Transaction {
            connection: self,
            doomed: false,
            open: true,
        })
    }

    /// Runs the steps in one transaction, commits it, and gives what each step gave. After a step
    /// that fails it rolls back. One deadline covers all of it.
    pub async fn run_transaction(
        &mut self,
        mode: BeginMode,
        steps: &[Step],
        deadline: impl Into<Deadline>,
    ) -> Result<Vec<StepResult>, TransactionError> {
        let deadline = deadline.into();
        let failed = |phase| move |error| TransactionError { phase, error };
        let mut transaction = self
            .begin(mode, deadline)
            .await
            .map_err(failed(Phase::Begin))?;
        let mut results = Vec::with_capacity(steps.len());
        for (index, step) in steps.iter().enumerate() {
            match transaction.step(step, deadline).await {
                Ok(result) => results.push(result),
                Err(error) => {
                    // Its outcome changes nothing: what failed is the step, and COMMIT is not sent.
                    let _ = transaction.rollback(deadline).await;
                    return Err(TransactionError {
                        phase: Phase::Step(index),
                        error,
                    });
                }
            }
        }
        transaction
            .commit(deadline)
            .await
            .map_err(failed(Phase::Commit))?;
        Ok(results)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transaction<'_, S> {
    /// Runs a statement that yields no rows.
    pub async fn exec_sql(
        &mut self,
        sql: &str,
        params: &[Value],
        deadline: impl Into<Deadline>,
    ) -> Result<ExecResult, ClientError> {
        self.refuse_doomed()?;
        let result = self.connection.exec_sql(sql, params, deadline).await;
        self.doomed |= result.is_err();
        result
    }

    /// Runs a statement and collects its rows.
    pub async fn query_sql(
        &mut self,
        sql: &str,
        params: &[Value],
        deadline: impl Into<Deadline>,
    ) -> Result<ResultSet, ClientError> {
        self.refuse_doomed()?;
        let result = self.connection.query_sql(sql, params, deadline).await;
        self.doomed |= result.is_err();
        result
    }

    /// Runs a step.
    pub async fn step(
        &mut self,
        step: &Step,
        deadline: impl Into<Deadline>,
    ) -> Result<StepResult, ClientError> {
        let Step {
            sql,
            params,
            yields_rows,
        } = step;
        match yields_rows {
            true => self
                .query_sql(sql, params, deadline)
                .await
                .map(StepResult::Rows),
            false => self
                .exec_sql(sql, params, deadline)
                .await
                .map(StepResult::Done),
        }
    }

    /// Commits. What an error proves is [`ClientError::classify`] with [`Sent::Commit`].
    pub async fn commit(mut self, deadline: impl Into<Deadline>) -> Result<(), ClientError> {
        let deadline = deadline.into();
        self.refuse_doomed()?;
        match self.connection.exec_sql("COMMIT", &[], deadline).await {
            Ok(_) => {
                self.open = false;
                Ok(())
            }
            Err(error @ ClientError::Rejected { .. }) => {
                // The error of COMMIT is what counts; a ROLLBACK that fails poisons.
                let _ = self.end(deadline).await;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Rolls back. Also fine if the server did so already.
    pub async fn rollback(mut self, deadline: impl Into<Deadline>) -> Result<(), ClientError> {
        self.end(deadline.into()).await
    }

    async fn end(&mut self, deadline: Deadline) -> Result<(), ClientError> {
        match self.connection.exec_sql("ROLLBACK", &[], deadline).await {
            Ok(_) => {}
            Err(ClientError::Rejected { message, .. }) if message.contains(NO_TRANSACTION) => {}
            Err(error) => return Err(error),
        }
        self.open = false;
        Ok(())
    }

    fn refuse_doomed(&self) -> Result<(), ClientError> {
        match self.doomed {
            true => Err(ClientError::NotSent(NotSentCause::TransactionDoomed)),
            false => Ok(()),
        }
    }
}

/// A statement of a transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// One statement.
    pub sql: String,
    /// What to bind, in order.
    pub params: Vec<Value>,
    /// Whether it yields rows (a SELECT).
    pub yields_rows: bool,
}

impl Step {
    /// A statement that yields no rows.
    pub fn exec(sql: impl Into<String>, params: impl Into<Vec<Value>>) -> Self {
        Self {
            sql: sql.into(),
            params: params.into(),
            yields_rows: false,
        }
    }

    /// A statement that yields rows.
    pub fn query(sql: impl Into<String>, params: impl Into<Vec<Value>>) -> Self {
        Self {
            sql: sql.into(),
            params: params.into(),
            yields_rows: true,
        }
    }
}

/// What a step gave.
#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    /// Of a statement without rows.
    Done(ExecResult),
    /// Of a statement with rows.
    Rows(ResultSet),
}

/// Where a transaction failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// At BEGIN.
    Begin,
    /// At the step with this index.
    Step(usize),
    /// At COMMIT.
    Commit,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Begin => formatter.write_str("begin"),
            Self::Step(index) => write!(formatter, "step {index}"),
            Self::Commit => formatter.write_str("commit"),
        }
    }
}

/// Why a transaction was not committed, or is in doubt.
#[derive(Debug, thiserror::Error)]
#[error("the transaction failed at {phase}")]
pub struct TransactionError {
    /// Where.
    pub phase: Phase,
    /// Why.
    #[source]
    pub error: ClientError,
}

impl TransactionError {
    /// Whether the transaction took effect: before COMMIT it never does.
    pub fn outcome(&self) -> Outcome {
        let sent = match self.phase {
            Phase::Begin => Sent::ReadOnly,
            Phase::Step(_) => Sent::InTransaction,
            Phase::Commit => Sent::Commit,
        };
        self.error.outcome(sent)
    }
}
