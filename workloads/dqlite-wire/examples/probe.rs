//! Asks a real cluster everything that the client can ask, and prints what it answers.
//!
//! `cargo run -p dqlite-wire --features client --example probe -- 127.0.0.1:9001 [127.0.0.1:9002 ...]`
//!
//! It makes a database `probe` of its own and leaves it there. It changes no membership.

use std::error::Error;
use std::time::{Duration, Instant};

use dqlite_wire::Value;
use dqlite_wire::client::{
    BeginMode, ClientError, Connection, DiscoverOptions, Limits, Step, TcpConnector, connect,
    connect_leader,
};
use dqlite_wire::outcome::Sent;
use tokio::net::TcpStream;

const DEADLINE: Duration = Duration::from_secs(5);
const DATABASE: &str = "probe";
const MANY_ROWS: i64 = 3_000;

type Failure = Box<dyn Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let seeds: Vec<String> = std::env::args().skip(1).collect();
    if seeds.is_empty() {
        return Err("give the addresses of the nodes".into());
    }
    for seed in &seeds {
        if let Err(error) = every_node(seed).await {
            println!("{seed}: {error:?}");
        }
    }
    let mut leader =
        connect_leader(&TcpConnector, &seeds, DiscoverOptions::default(), DEADLINE).await?;
    println!("leader: {:?}", leader.node);
    values(&mut leader.connection).await?;
    statements(&mut leader.connection).await?;
    transactions(&mut leader.connection).await?;
    rejections(&mut leader.connection).await?;
    let files = leader.connection.dump(DATABASE, DEADLINE).await?;
    for file in files {
        println!("dump: {} of {} bytes", file.name, file.data.len());
    }
    Ok(())
}

async fn every_node(seed: &str) -> Result<(), Failure> {
    let mut node = connect(&TcpConnector, seed, Limits::default(), DEADLINE).await?;
    println!("{seed}: leader {:?}", node.leader(DEADLINE).await?);
    println!(
        "{seed}: heartbeat {} ms",
        node.register_client(7, DEADLINE).await?
    );
    for server in node.cluster(DEADLINE).await? {
        println!("{seed}: member {server:?}");
    }
    println!("{seed}: {:?}", node.describe(DEADLINE).await?);
    println!("{seed}: open {:?}", node.open(DATABASE, DEADLINE).await);
    println!(
        "{seed}: prepare {:?}",
        node.prepare("SELECT 1", DEADLINE).await
    );
    println!(
        "{seed}: query {:?}",
        node.query_sql("SELECT 1", &[], DEADLINE).await
    );
    println!(
        "{seed}: exec {:?}",
        node.exec_sql("SELECT 1", &[], DEADLINE).await
    );
    println!("{seed}: interrupt {:?}", node.interrupt(DEADLINE).await);
    Ok(())
}

async fn values(leader: &mut Connection<TcpStream>) -> Result<(), Failure> {
    leader.open(DATABASE, DEADLINE).await?;
    leader
        .exec_sql("DROP TABLE IF EXISTS kinds", &[], DEADLINE)
        .await?;
    let sql = "CREATE TABLE kinds (i INT, f FLOAT, t TEXT, b BLOB, n TEXT, d DATETIME, s DATETIME, z DATETIME, o BOOLEAN, y BOOLEAN)";
    println!("create: {:?}", leader.exec_sql(sql, &[], DEADLINE).await?);
    let params = [
        Value::Integer(i64::MIN),
        Value::Float(2.5),
        Value::from("grüße"),
        Value::Blob(vec![0, 1, 2]),
        Value::Null,
        Value::Integer(1_700_000_000),
        Value::Iso8601("2026-11-22 04:00:00+00:00".to_owned()),
        Value::Null,
        Value::Boolean(true),
        Value::Null,
    ];
    let sql = "INSERT INTO kinds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    println!(
        "insert: {:?}",
        leader.exec_sql(sql, &params, DEADLINE).await?
    );
    println!(
        "select: {:?}",
        leader
            .query_sql("SELECT * FROM kinds", &[], DEADLINE)
            .await?
    );
    let sql = "SELECT ?";
    for param in [
        Value::UnixTime(1),
        Value::Float(f64::NAN),
        Value::Blob(vec![]),
    ] {
        let answer = leader
            .query_sql(sql, std::slice::from_ref(&param), DEADLINE)
            .await;
        println!("bind {param:?}: {answer:?}");
    }
    Ok(())
}

async fn statements(leader: &mut Connection<TcpStream>) -> Result<(), Failure> {
    let insert = leader
        .prepare("INSERT INTO kinds (i) VALUES (?)", DEADLINE)
        .await?;
    println!("prepared: {insert:?}");
    println!(
        "exec: {:?}",
        leader.exec(insert, &[Value::Integer(2)], DEADLINE).await?
    );
    println!(
        "exec: {:?}",
        leader.exec(insert, &[Value::Integer(3)], DEADLINE).await?
    );
    leader.finalize(insert, DEADLINE).await?;
    println!(
        "exec of what is gone: {:?}",
        leader.exec(insert, &[], DEADLINE).await
    );
    let sql = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?) SELECT x, 'row ' || x AS name FROM n";
    let many = leader.prepare(sql, DEADLINE).await?;
    let start = Instant::now();
    let rows = leader
        .query(many, &[Value::Integer(MANY_ROWS)], DEADLINE)
        .await?;
    println!(
        "many: {} rows of {:?} in {:?}",
        rows.rows.len(),
        rows.columns,
        start.elapsed()
    );
    println!("interrupt: {:?}", leader.interrupt(DEADLINE).await);
    leader.finalize(many, DEADLINE).await?;
    Ok(())
}

async fn transactions(leader: &mut Connection<TcpStream>) -> Result<(), Failure> {
    let steps = [
        Step::exec("DELETE FROM kinds", []),
        Step::exec("INSERT INTO kinds (i) VALUES (?)", [Value::Integer(1)]),
        Step::query("SELECT count(*) FROM kinds", []),
    ];
    println!(
        "run: {:?}",
        leader
            .run_transaction(BeginMode::Immediate, &steps, DEADLINE)
            .await?
    );
    let steps = [
        Step::exec("DELETE FROM kinds", []),
        Step::exec("INSERT INTO nowhere VALUES (1)", []),
    ];
    let failed = leader
        .run_transaction(BeginMode::Deferred, &steps, DEADLINE)
        .await;
    println!(
        "run: {:?}",
        failed.map_err(|error| (error.outcome(), error))
    );
    println!("usable afterwards: {}", !leader.is_poisoned());
    println!(
        "count: {:?}",
        leader
            .query_sql("SELECT count(*) FROM kinds", &[], DEADLINE)
            .await?
            .rows
    );
    let script =
        "BEGIN; INSERT INTO kinds (i) VALUES (5); INSERT INTO kinds (i) VALUES (6); COMMIT";
    println!("script: {:?}", leader.exec_sql(script, &[], DEADLINE).await);
    println!(
        "count: {:?}",
        leader
            .query_sql("SELECT count(*) FROM kinds", &[], DEADLINE)
            .await?
            .rows
    );
    Ok(())
}

async fn rejections(leader: &mut Connection<TcpStream>) -> Result<(), Failure> {
    leader
        .exec_sql(
            "CREATE TABLE IF NOT EXISTS u (k INTEGER PRIMARY KEY, v UNIQUE)",
            &[],
            DEADLINE,
        )
        .await?;
    leader
        .exec_sql("INSERT OR REPLACE INTO u VALUES (1, 1)", &[], DEADLINE)
        .await?;
    let texts = [
        "INSERT INTO u VALUES (1, 2)",
        "INSERT INTO u VALUES (2, 1)",
        "NONSENSE",
        "COMMIT",
        "",
        "SELECT 1",
        "INSERT INTO u VALUES (99, 99) RETURNING k",
    ];
    for sql in texts {
        explain(
            sql,
            leader
                .exec_sql(sql, &[], DEADLINE)
                .await
                .map(|done| format!("{done:?}")),
        );
    }
    for sql in [
        "SELECT k FROM u WHERE k = 99",
        "SELECT abs(-9223372036854775807 - 1), 2",
        "CREATE TABLE q (a)",
        "SELECT 1; SELECT 2",
        "INSERT INTO u VALUES (98, 98) RETURNING k",
        "SELECT k FROM u",
    ] {
        explain(
            sql,
            leader
                .query_sql(sql, &[], DEADLINE)
                .await
                .map(|done| format!("{done:?}")),
        );
    }
    let params = vec![Value::Integer(1); 300];
    explain(
        "300 parameters",
        leader
            .query_sql("SELECT 1", &params, DEADLINE)
            .await
            .map(|done| format!("{done:?}")),
    );
    if leader.is_poisoned() {
        println!("poisoned by it; connecting anew");
        return Ok(());
    }
    explain(
        "remove 1",
        leader.remove(1, DEADLINE).await.map(|()| "done".to_owned()),
    );
    Ok(())
}

fn explain(what: &str, result: Result<String, ClientError>) {
    match result {
        Ok(done) => println!("{what:?}: {done}"),
        Err(error) => println!("{what:?}: {error:?}: {:?}", error.classify(Sent::Write)),
    }
}
