//! One attempt at an operation of each workload, as statements on an open connection.
//!
//! Law: after an error inside a transaction COMMIT is never sent, so that nothing of it can take effect.

use dqlite_wire::{
    Value as Sql,
    client::{BeginMode, ClientError, Connection, Deadline, Transaction},
    outcome::Sent,
};
use harness_core::format::MISMATCH;
use serde_json::{Value, json};

use super::session::Stream;
use crate::{client::Invocation, workload::Reads};

/// How an attempt at an operation ended.
pub(super) enum Attempt {
    /// It took effect, with this result.
    Done(Value),
    /// Definitely not, by the system's own data: a cas that did not match, a transfer without cover.
    Declined(&'static str, String),
    /// An error, and what had been sent.
    Error(ClientError, Sent),
}

pub(super) type Tried = Result<Value, Attempt>;

fn sent(sent: Sent) -> impl Fn(ClientError) -> Attempt {
    move |error| Attempt::Error(error, sent)
}

/// Ends a transaction after an error in it, and hands the error on. COMMIT was not sent.
async fn abandon(
    transaction: Transaction<'_, Stream>,
    deadline: Deadline,
    attempt: Attempt,
) -> Attempt {
    // Whether ROLLBACK works changes nothing: without COMMIT there is no effect, and a failure poisons the connection.
    let _ = transaction.rollback(deadline).await;
    attempt
}

fn malformed(invocation: &Invocation<'_>) -> Attempt {
    Attempt::Declined(
        "malformed",
        format!(
            "{} of {} makes no sense here",
            invocation.f, invocation.value
        ),
    )
}

fn integer(value: Option<&Sql>) -> Option<i64> {
    value.and_then(Sql::as_i64)
}

pub(super) async fn register(
    connection: &mut Connection<Stream>,
    invocation: &Invocation<'_>,
    reads: Reads,
    deadline: Deadline,
) -> Tried {
    let value = invocation.value;
    let key = value[0].as_i64().ok_or_else(|| malformed(invocation))?;
    let select = "SELECT v FROM registers WHERE k = ?";
    match (invocation.f, reads) {
        ("read", Reads::Leader) => {
            let rows = connection
                .query_sql(select, &[Sql::Integer(key)], deadline)
                .await
                .map_err(sent(Sent::ReadOnly))?;
            let read = integer(rows.rows.first().and_then(|row| row.first()));
            Ok(json!([key, read]))
        }
        ("read", Reads::Log) => {
            let mut transaction = connection
                .begin(BeginMode::Immediate, deadline)
                .await
                .map_err(sent(Sent::ReadOnly))?;
            let ticked = transaction
                .exec_sql("UPDATE ticks SET n = n + 1 WHERE id = 0", &[], deadline)
                .await;
            let rows = match ticked {
                Ok(_) => {
                    transaction
                        .query_sql(select, &[Sql::Integer(key)], deadline)
                        .await
                }
                Err(error) => Err(error),
            };
            let rows = match rows {
                Ok(rows) => rows,
                Err(error) => {
                    let attempt = Attempt::Error(error, Sent::InTransaction);
                    return Err(abandon(transaction, deadline, attempt).await);
                }
            };
            // Only a committed transaction was led by the leader.
            transaction
                .commit(deadline)
                .await
                .map_err(sent(Sent::Commit))?;
            let read = integer(rows.rows.first().and_then(|row| row.first()));
            Ok(json!([key, read]))
        }
        ("write", _) => {
            let written = value[1].as_i64().ok_or_else(|| malformed(invocation))?;
            connection
                .exec_sql(
                    "INSERT OR REPLACE INTO registers (k, v) VALUES (?, ?)",
                    &[Sql::Integer(key), Sql::Integer(written)],
                    deadline,
                )
                .await
                .map_err(sent(Sent::Write))?;
            Ok(value.clone())
        }
        ("cas", _) => {
            let old = value[1][0].as_i64().ok_or_else(|| malformed(invocation))?;
            let new = value[1][1].as_i64().ok_or_else(|| malformed(invocation))?;
            let result = connection
                .exec_sql(
                    "UPDATE registers SET v = ? WHERE k = ? AND v = ?",
                    &[Sql::Integer(new), Sql::Integer(key), Sql::Integer(old)],
                    deadline,
                )
                .await
                .map_err(sent(Sent::Write))?;
            match result.rows_affected {
                0 => Err(Attempt::Declined(
                    MISMATCH,
                    format!("no row had the value {old}"),
                )),
                _ => Ok(value.clone()),
            }
        }
        _ => Err(malformed(invocation)),
    }
}

pub(super) async fn set(
    connection: &mut Connection<Stream>,
    invocation: &Invocation<'_>,
    deadline: Deadline,
) -> Tried {
    match invocation.f {
        "add" => {
            let element = invocation
                .value
                .as_i64()
                .ok_or_else(|| malformed(invocation))?;
            connection
                .exec_sql(
                    "INSERT INTO elements (v) VALUES (?)",
                    &[Sql::Integer(element)],
                    deadline,
                )
                .await
                .map_err(sent(Sent::Write))?;
            Ok(invocation.value.clone())
        }
        "read" => {
            let rows = connection
                .query_sql("SELECT v FROM elements", &[], deadline)
                .await
                .map_err(sent(Sent::ReadOnly))?;
            Ok(rows
                .rows
                .iter()
                .map(|row| integer(row.first()).map_or(Value::Null, Value::from))
                .collect())
        }
        _ => Err(malformed(invocation)),
    }
}

pub(super) async fn bank(
    connection: &mut Connection<Stream>,
    invocation: &Invocation<'_>,
    allow_negative: bool,
    deadline: Deadline,
) -> Tried {
    if invocation.f == "read" {
        let rows = connection
            .query_sql("SELECT id, balance FROM accounts", &[], deadline)
            .await
            .map_err(sent(Sent::ReadOnly))?;
        let balances: serde_json::Map<String, Value> = rows
            .rows
            .iter()
            .filter_map(|row| {
                let account = integer(row.first())?.to_string();
                Some((
                    account,
                    integer(row.get(1)).map_or(Value::Null, Value::from),
                ))
            })
            .collect();
        return Ok(Value::Object(balances));
    }
    let field = |name: &str| invocation.value[name].as_i64();
    let (Some(from), Some(to), Some(amount)) = (field("from"), field("to"), field("amount")) else {
        return Err(malformed(invocation));
    };
    let mut transaction = connection
        .begin(BeginMode::Deferred, deadline)
        .await
        .map_err(sent(Sent::ReadOnly))?;
    match transfer(
        &mut transaction,
        (from, to, amount),
        allow_negative,
        deadline,
    )
    .await
    {
        Ok(()) => {}
        Err(attempt) => return Err(abandon(transaction, deadline, attempt).await),
    }
    transaction
        .commit(deadline)
        .await
        .map_err(sent(Sent::Commit))?;
    Ok(invocation.value.clone())
}

/// Reads both balances and writes both back: a transaction that two at once would break without isolation.
async fn transfer(
    transaction: &mut Transaction<'_, Stream>,
    (from, to, amount): (i64, i64, i64),
    allow_negative: bool,
    deadline: Deadline,
) -> Result<(), Attempt> {
    let mut balances = [0_i64; 2];
    for (balance, account) in balances.iter_mut().zip([from, to]) {
        let rows = transaction
            .query_sql(
                "SELECT balance FROM accounts WHERE id = ?",
                &[Sql::Integer(account)],
                deadline,
            )
            .await
            .map_err(sent(Sent::InTransaction))?;
        *balance = integer(rows.rows.first().and_then(|row| row.first())).ok_or_else(|| {
            Attempt::Declined("no-account", format!("account {account} is not there"))
        })?;
    }
    if balances[0] < amount && !allow_negative {
        return Err(Attempt::Declined(
            "no-cover",
            format!("account {from} has {}", balances[0]),
        ));
    }
    let after = [balances[0] - amount, balances[1] + amount];
    for (balance, account) in after.into_iter().zip([from, to]) {
        transaction
            .exec_sql(
                "UPDATE accounts SET balance = ? WHERE id = ?",
                &[Sql::Integer(balance), Sql::Integer(account)],
                deadline,
            )
            .await
            .map_err(sent(Sent::InTransaction))?;
    }
    Ok(())
}

pub(super) async fn append(
    connection: &mut Connection<Stream>,
    invocation: &Invocation<'_>,
    deadline: Deadline,
) -> Tried {
    let steps = invocation
        .value
        .as_array()
        .ok_or_else(|| malformed(invocation))?;
    let mut transaction = connection
        .begin(BeginMode::Deferred, deadline)
        .await
        .map_err(sent(Sent::ReadOnly))?;
    let mut done = Vec::with_capacity(steps.len());
    for step in steps {
        match append_step(&mut transaction, step, deadline).await {
            Ok(result) => done.push(result),
            Err(attempt) => return Err(abandon(transaction, deadline, attempt).await),
        }
    }
    transaction
        .commit(deadline)
        .await
        .map_err(sent(Sent::Commit))?;
    Ok(Value::Array(done))
}

async fn append_step(
    transaction: &mut Transaction<'_, Stream>,
    step: &Value,
    deadline: Deadline,
) -> Result<Value, Attempt> {
    let key = step[1].as_i64();
    match (step[0].as_str(), key, step[2].as_i64()) {
        (Some("append"), Some(key), Some(element)) => {
            transaction
                .exec_sql(
                    "INSERT INTO lists (k, v) VALUES (?, ?) ON CONFLICT (k) DO UPDATE SET v = v || ',' || excluded.v",
                    &[Sql::Integer(key), Sql::Text(element.to_string())],
                    deadline,
                )
                .await
                .map_err(sent(Sent::InTransaction))?;
            Ok(step.clone())
        }
        (Some("r"), Some(key), _) => {
            let rows = transaction
                .query_sql(
                    "SELECT v FROM lists WHERE k = ?",
                    &[Sql::Integer(key)],
                    deadline,
                )
                .await
                .map_err(sent(Sent::InTransaction))?;
            let list: Vec<i64> = rows
                .rows
                .first()
                .and_then(|row| row.first())
                .and_then(Sql::as_str)
                .map(|text| text.split(',').filter_map(|one| one.parse().ok()).collect())
                .unwrap_or_default();
            Ok(json!(["r", key, list]))
        }
        _ => Err(Attempt::Declined(
            "malformed",
            format!("{step} is no step of a transaction"),
        )),
    }
}
