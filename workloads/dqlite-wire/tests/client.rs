//! The client against servers in the same process, over pipes in memory: what is sent, how it fails,
//! and what each failure proves.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test by panicking"
)]

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::sync::Mutex;
use std::time::Duration;

use dqlite_wire::client::{
    BeginMode, ClientError, Connection, Connector, Deadline, DiscoverOptions, Limits, LostCause,
    Missed, NotSentCause, Phase, Step, StepResult, connect_leader,
};
use dqlite_wire::outcome::{LEADERSHIP_LOST, NOT_LEADER, Outcome, Sent};
use dqlite_wire::{FrameDecoder, Request, Response, Role, RowsPart, Server, Value, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

const DEADLINE: Duration = Duration::from_secs(5);
const SHORT: Duration = Duration::from_millis(30);
const PIPE_BYTES: usize = 64 * 1024;

/// What a server does with a request.
enum Reply {
    /// Sends these, one after the other.
    Send(Vec<Response>),
    /// Sends these bytes.
    Raw(Vec<u8>),
    /// Sends nothing and reads on.
    Silence,
    /// Closes the stream.
    Close,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self::Send(vec![response])
    }
}

fn failure(code: u64, message: &str) -> Reply {
    Response::Failure {
        code,
        message: message.to_owned(),
    }
    .into()
}

fn done() -> Reply {
    Response::Result {
        last_insert_id: 0,
        rows_affected: 0,
    }
    .into()
}

/// Serves one connection until it is closed, and gives the requests that came.
async fn serve(
    mut stream: DuplexStream,
    mut answer: impl FnMut(&Request) -> Reply,
) -> Vec<Request> {
    let mut decoder = FrameDecoder::new();
    let mut chunk = [0; 1024];
    let mut handshake = None;
    let mut requests = Vec::new();
    loop {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return requests,
            Ok(count) => decoder.push(&chunk[..count]),
        }
        if handshake.is_none() {
            handshake = decoder.next_handshake();
            assert!(handshake.is_none_or(|bytes| bytes == Version::One.encode()));
            if handshake.is_none() {
                continue;
            }
        }
        while let Some(frame) = decoder.next_frame().unwrap() {
            let request = frame.request().unwrap();
            let reply = answer(&request);
            requests.push(request);
            let bytes = match reply {
                Reply::Send(responses) => responses
                    .iter()
                    .flat_map(|r| r.encode(Version::One).unwrap())
                    .collect(),
                Reply::Raw(bytes) => bytes,
                Reply::Silence => vec![],
                Reply::Close => return requests,
            };
            if stream.write_all(&bytes).await.is_err() {
                return requests;
            }
        }
    }
}

/// A connection to a server that answers like this, and what the server will have seen.
async fn connected(
    limits: Limits,
    answer: impl FnMut(&Request) -> Reply + Send + 'static,
) -> (
    Connection<DuplexStream>,
    tokio::task::JoinHandle<Vec<Request>>,
) {
    let (ours, theirs) = duplex(PIPE_BYTES);
    let server = tokio::spawn(serve(theirs, answer));
    let connection = Connection::handshake_with(ours, limits, DEADLINE)
        .await
        .unwrap();
    (connection, server)
}

/// Like [`connected`], with a database that is open; `answer` sees texts of SQL only.
async fn opened(
    answer: impl Fn(&str) -> Reply + Send + 'static,
) -> (
    Connection<DuplexStream>,
    tokio::task::JoinHandle<Vec<String>>,
) {
    let (mut connection, server) = connected(Limits::default(), move |request| match request {
        Request::Open { .. } => Response::Db { id: 0 }.into(),
        Request::ExecSql { sql, .. } | Request::QuerySql { sql, .. } => answer(sql),
        other => panic!("{other:?}"),
    })
    .await;
    connection.open("demo", DEADLINE).await.unwrap();
    let texts = tokio::spawn(async {
        let texts = server
            .await
            .unwrap()
            .into_iter()
            .filter_map(|request| match request {
                Request::ExecSql { sql, .. } | Request::QuerySql { sql, .. } => Some(sql),
                _ => None,
            });
        texts.collect()
    });
    (connection, texts)
}

fn part(from: i64, to: i64, more: bool) -> Response {
    let rows = (from..to).map(|row| vec![Value::Integer(row)]).collect();
    Response::Rows(RowsPart {
        columns: vec!["n".to_owned()],
        rows,
        more,
    })
}

#[tokio::test]
async fn every_call_sends_its_request() {
    let (mut node, server) = connected(Limits::default(), |request| match request {
        Request::Leader => Response::Server {
            id: 1,
            address: "a:1".to_owned(),
        }
        .into(),
        Request::Client { .. } => Response::Welcome {
            heartbeat_ms: 15_000,
        }
        .into(),
        Request::Open { .. } => Response::Db { id: 0 }.into(),
        Request::Prepare { .. } => Response::Stmt {
            db: 0,
            id: 4,
            params: 1,
            tail_offset: None,
        }
        .into(),
        Request::Exec { .. } | Request::ExecSql { .. } => Response::Result {
            last_insert_id: 8,
            rows_affected: 1,
        }
        .into(),
        Request::Query { .. } | Request::QuerySql { .. } => part(0, 2, false).into(),
        Request::Cluster { .. } => {
            let role = Some(Role::Voter);
            Response::Servers(vec![Server {
                id: 1,
                address: "a:1".to_owned(),
                role,
            }])
            .into()
        }
        Request::Describe => Response::Metadata {
            failure_domain: 1,
            weight: 2,
        }
        .into(),
        Request::Dump { .. } => Response::Files(vec![]).into(),
        _ => Response::Empty.into(),
    })
    .await;
    assert_eq!(node.leader(DEADLINE).await.unwrap().unwrap().address, "a:1");
    assert_eq!(node.register_client(5, DEADLINE).await.unwrap(), 15_000);
    node.open("demo", DEADLINE).await.unwrap();
    let statement = node.prepare("X", DEADLINE).await.unwrap();
    assert_eq!(
        node.exec(statement, &[Value::Null], DEADLINE)
            .await
            .unwrap()
            .last_insert_id,
        8
    );
    assert_eq!(
        node.query(statement, &[], DEADLINE)
            .await
            .unwrap()
            .rows
            .len(),
        2
    );
    node.finalize(statement, DEADLINE).await.unwrap();
    node.exec_sql("Y", &[], DEADLINE).await.unwrap();
    node.query_sql("Z", &[], DEADLINE).await.unwrap();
    node.interrupt(DEADLINE).await.unwrap();
    node.add(2, "b:1", DEADLINE).await.unwrap();
    node.assign(2, Role::StandBy, DEADLINE).await.unwrap();
    node.remove(2, DEADLINE).await.unwrap();
    node.transfer(3, DEADLINE).await.unwrap();
    assert_eq!(node.dump("demo", DEADLINE).await.unwrap(), []);
    assert_eq!(
        node.cluster(DEADLINE).await.unwrap()[0].role,
        Some(Role::Voter)
    );
    assert_eq!(node.describe(DEADLINE).await.unwrap().weight, 2);
    node.weight(9, DEADLINE).await.unwrap();
    drop(node);
    let names: Vec<_> = server.await.unwrap().iter().map(Request::name).collect();
    let expected = [
        "leader",
        "client",
        "open",
        "prepare",
        "exec",
        "query",
        "finalize",
        "exec-sql",
        "query-sql",
        "interrupt",
        "add",
        "assign",
        "remove",
        "transfer",
        "dump",
        "cluster",
        "describe",
        "weight",
    ];
    assert_eq!(names, expected);
}

#[tokio::test]
async fn rows_are_collected_over_parts() {
    let parts = || vec![part(0, 2, true), part(2, 5, true), part(5, 5, false)];
    let (mut node, _server) = opened(move |_| Reply::Send(parts())).await;
    let result = node.query_sql("X", &[], DEADLINE).await.unwrap();
    let expected: Vec<_> = (0..5).map(|row| vec![Value::Integer(row)]).collect();
    assert_eq!(result.rows, expected);
    assert_eq!(result.columns, ["n"]);
    assert_eq!(
        node.query_sql("X", &[], DEADLINE).await.unwrap().rows,
        expected
    );
}

#[tokio::test]
async fn a_failure_between_parts_ends_the_query() {
    let failed = || Response::Failure {
        code: 1,
        message: "overflow".to_owned(),
    };
    let (mut node, _server) = opened(move |_| Reply::Send(vec![part(0, 2, true), failed()])).await;
    let error = node.query_sql("X", &[], DEADLINE).await.unwrap_err();
    assert_eq!(error.code(), Some(1));
    assert!(!node.is_poisoned());
}

#[tokio::test]
async fn a_result_over_the_limit_poisons() {
    let limits = [
        Limits {
            max_rows: 3,
            ..Limits::default()
        },
        Limits {
            max_result_bytes: 100,
            ..Limits::default()
        },
    ];
    for limits in limits {
        let (mut node, _server) = connected(limits, |request| match request {
            Request::Open { .. } => Response::Db { id: 0 }.into(),
            _ => Reply::Send(vec![part(0, 2, true), part(2, 6, false)]),
        })
        .await;
        node.open("demo", DEADLINE).await.unwrap();
        let error = node.query_sql("X", &[], DEADLINE).await.unwrap_err();
        assert!(
            matches!(error, ClientError::Lost(LostCause::ResultTooLarge { .. })),
            "{error:?}"
        );
        assert!(node.is_poisoned());
    }
}

#[tokio::test]
async fn a_rejection_leaves_the_connection_usable() {
    let (mut node, _server) = opened(|sql| match sql {
        "bad" => failure(NOT_LEADER, "not leader"),
        _ => done(),
    })
    .await;
    let error = node.exec_sql("bad", &[], DEADLINE).await.unwrap_err();
    assert_eq!(error.outcome(Sent::Write), Outcome::Failed);
    node.exec_sql("good", &[], DEADLINE).await.unwrap();
}

/// Makes a reply of bytes.
type MakeReply = fn(Vec<u8>) -> Reply;

#[tokio::test]
async fn what_loses_an_answer_poisons_and_is_in_doubt() {
    let unreadable = vec![1, 0, 0, 0, 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let too_long = vec![255, 255, 255, 255, 6, 0, 0, 0];
    let replies: [(&str, MakeReply, Vec<u8>); 5] = [
        ("timeout", |_| Reply::Silence, vec![]),
        ("closed", |_| Reply::Close, vec![]),
        ("unexpected", |_| Response::Empty.into(), vec![]),
        ("decode", Reply::Raw, unreadable),
        ("decode", Reply::Raw, too_long),
    ];
    for (expected, reply, bytes) in replies {
        let (mut node, server) = opened(move |_| reply(bytes.clone())).await;
        let error = node.exec_sql("first", &[], SHORT).await.unwrap_err();
        let found = match &error {
            ClientError::Lost(LostCause::Timeout) => "timeout",
            ClientError::Lost(LostCause::Closed) => "closed",
            ClientError::Lost(LostCause::Unexpected { .. }) => "unexpected",
            ClientError::Lost(LostCause::Decode(_)) => "decode",
            other => panic!("{expected}: {other:?}"),
        };
        assert_eq!(found, expected);
        assert_eq!(error.outcome(Sent::Write), Outcome::Indeterminate);
        assert_eq!(error.outcome(Sent::ReadOnly), Outcome::Failed);
        let error = node.exec_sql("second", &[], DEADLINE).await.unwrap_err();
        assert!(
            matches!(error, ClientError::NotSent(NotSentCause::Poisoned { .. })),
            "{error:?}"
        );
        assert_eq!(error.outcome(Sent::Commit), Outcome::Failed);
        drop(node);
        assert_eq!(server.await.unwrap(), ["first"], "{expected}");
    }
}

#[tokio::test]
async fn what_is_not_sent_has_no_effect() {
    let (mut node, server) = opened(|_| done()).await;
    let over = Deadline::after(Duration::ZERO);
    let error = node.exec_sql("late", &[], over).await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotSent(NotSentCause::DeadlineOver)),
        "{error:?}"
    );
    let error = node.exec_sql("nul \0", &[], DEADLINE).await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotSent(NotSentCause::Encode(_))),
        "{error:?}"
    );
    node.exec_sql("good", &[], DEADLINE).await.unwrap();
    drop(node);
    assert_eq!(server.await.unwrap(), ["good"]);

    let (mut node, _server) = connected(Limits::default(), |_| Response::Empty.into()).await;
    let error = node
        .exec_sql("no database", &[], DEADLINE)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::NotSent(NotSentCause::NoDatabase)),
        "{error:?}"
    );
}

/// A stream that takes no byte is not the same as one that took some.
#[tokio::test]
async fn a_byte_that_was_written_makes_the_difference() {
    let (ours, _theirs) = duplex(8);
    let mut node = Connection::handshake(ours, DEADLINE).await.unwrap();
    let error = node.leader(SHORT).await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotSent(NotSentCause::DeadlineOver)),
        "{error:?}"
    );
    let (ours, _theirs) = duplex(9);
    let mut node = Connection::handshake(ours, DEADLINE).await.unwrap();
    let error = node.leader(SHORT).await.unwrap_err();
    assert!(
        matches!(error, ClientError::Lost(LostCause::Timeout)),
        "{error:?}"
    );
    let (ours, theirs) = duplex(PIPE_BYTES);
    let mut node = Connection::handshake(ours, DEADLINE).await.unwrap();
    drop(theirs);
    let error = node.leader(SHORT).await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotSent(NotSentCause::Io(_))),
        "{error:?}"
    );
    assert!(node.is_poisoned());
}

#[tokio::test]
async fn a_call_that_is_dropped_poisons() {
    let (mut node, _server) = opened(|_| Reply::Silence).await;
    let call = node.exec_sql("X", &[], DEADLINE);
    assert!(tokio::time::timeout(SHORT, call).await.is_err());
    assert!(node.is_poisoned());
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_poisons() {
    let (mut node, _server) = opened(|_| {
        Reply::Send(vec![
            Response::Result {
                last_insert_id: 0,
                rows_affected: 0,
            },
            Response::Empty,
        ])
    })
    .await;
    node.exec_sql("X", &[], DEADLINE).await.unwrap();
    let error = node.exec_sql("Y", &[], DEADLINE).await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotSent(NotSentCause::Poisoned { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_request_of_its_own_making() {
    let (mut node, _server) = connected(Limits::default(), |request| match request {
        Request::QuerySql { .. } => part(0, 1, true).into(),
        _ => Response::Empty.into(),
    })
    .await;
    let promote = Request::Assign { id: 4, role: None };
    assert_eq!(
        node.request(&promote, DEADLINE).await.unwrap(),
        Response::Empty
    );
    assert!(!node.is_poisoned());
    let query = Request::QuerySql {
        db: 0,
        sql: "X".to_owned(),
        params: vec![],
    };
    node.request(&query, DEADLINE).await.unwrap();
    assert!(node.is_poisoned(), "more parts follow");
}

#[tokio::test]
async fn a_transaction_that_goes_well() {
    let (mut node, server) = opened(|sql| match sql {
        "read" => part(3, 4, false).into(),
        _ => done(),
    })
    .await;
    let steps = [Step::exec("write", []), Step::query("read", [])];
    let results = node
        .run_transaction(BeginMode::Immediate, &steps, DEADLINE)
        .await
        .unwrap();
    assert!(matches!(&results[1], StepResult::Rows(rows) if rows.rows == [[Value::Integer(3)]]));
    drop(node);
    assert_eq!(
        server.await.unwrap(),
        ["BEGIN IMMEDIATE", "write", "read", "COMMIT"]
    );
}

/// The text that fails and how; the phase and outcome; whether the connection can be used further;
/// and all texts that were sent.
type FailedTransaction = (
    &'static str,
    fn() -> Reply,
    Phase,
    Outcome,
    bool,
    &'static [&'static str],
);

#[tokio::test]
async fn how_a_transaction_fails() {
    let lost = || failure(LEADERSHIP_LOST, "disk I/O error");
    let table: [FailedTransaction; 7] = [
        (
            "BEGIN",
            || failure(5, "locked"),
            Phase::Begin,
            Outcome::Failed,
            true,
            &["BEGIN"],
        ),
        (
            "BEGIN",
            || Reply::Silence,
            Phase::Begin,
            Outcome::Failed,
            false,
            &["BEGIN"],
        ),
        (
            "w",
            || failure(19, "unique"),
            Phase::Step(0),
            Outcome::Failed,
            true,
            &["BEGIN", "w", "ROLLBACK"],
        ),
        (
            "w",
            || Reply::Close,
            Phase::Step(0),
            Outcome::Failed,
            false,
            &["BEGIN", "w"],
        ),
        (
            "COMMIT",
            || failure(5, "checkpoint"),
            Phase::Commit,
            Outcome::Failed,
            true,
            &["BEGIN", "w", "COMMIT", "ROLLBACK"],
        ),
        (
            "COMMIT",
            lost,
            Phase::Commit,
            Outcome::Indeterminate,
            true,
            &["BEGIN", "w", "COMMIT", "ROLLBACK"],
        ),
        (
            "COMMIT",
            || Reply::Close,
            Phase::Commit,
            Outcome::Indeterminate,
            false,
            &["BEGIN", "w", "COMMIT"],
        ),
    ];
    for (at, reply, phase, outcome, usable, sent) in table {
        let (mut node, server) = opened(move |sql| if sql == at { reply() } else { done() }).await;
        let steps = [Step::exec("w", [])];
        let deadline = Duration::from_millis(100);
        let error = node
            .run_transaction(BeginMode::Deferred, &steps, deadline)
            .await
            .unwrap_err();
        assert_eq!(
            (error.phase, error.outcome()),
            (phase, outcome),
            "{at}: {error:?}"
        );
        assert_eq!(!node.is_poisoned(), usable, "{at}: {error:?}");
        drop(node);
        assert_eq!(server.await.unwrap(), sent);
    }
}

#[tokio::test]
async fn a_rollback_that_fails_poisons_unless_nothing_was_open() {
    for (message, usable) in [
        ("cannot rollback - no transaction is active", true),
        ("not leader", false),
    ] {
        let (mut node, _server) = opened(move |sql| match sql {
            "ROLLBACK" => failure(1, message),
            _ => done(),
        })
        .await;
        let transaction = node.begin(BeginMode::Deferred, DEADLINE).await.unwrap();
        assert_eq!(transaction.rollback(DEADLINE).await.is_ok(), usable);
        assert_eq!(!node.is_poisoned(), usable, "{message}");
    }
}

#[tokio::test]
async fn a_doomed_transaction_sends_no_more_statements() {
    let (mut node, server) = opened(|sql| {
        if sql == "bad" {
            failure(1, "no")
        } else {
            done()
        }
    })
    .await;
    let mut transaction = node.begin(BeginMode::Deferred, DEADLINE).await.unwrap();
    transaction
        .exec_sql("bad", &[], DEADLINE)
        .await
        .unwrap_err();
    let error = transaction
        .exec_sql("good", &[], DEADLINE)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::NotSent(NotSentCause::TransactionDoomed)),
        "{error:?}"
    );
    let error = transaction.commit(DEADLINE).await.unwrap_err();
    assert!(
        matches!(error, ClientError::NotSent(NotSentCause::TransactionDoomed)),
        "{error:?}"
    );
    assert!(node.is_poisoned(), "it was left open");
    drop(node);
    assert_eq!(server.await.unwrap(), ["BEGIN", "bad"]);
}

#[tokio::test]
async fn a_transaction_that_is_dropped_poisons() {
    let (mut node, _server) = opened(|_| done()).await;
    drop(node.begin(BeginMode::Deferred, DEADLINE).await.unwrap());
    assert!(node.is_poisoned());
}

/// A cluster of pipes: each address answers LEADER with another, or with silence.
struct Cluster {
    leaders: HashMap<&'static str, Option<&'static str>>,
    asked: Mutex<Vec<String>>,
}

impl Cluster {
    fn new(leaders: &[(&'static str, Option<&'static str>)]) -> Self {
        Self {
            leaders: leaders.iter().copied().collect(),
            asked: Mutex::default(),
        }
    }
}

impl Connector for Cluster {
    type Stream = DuplexStream;

    fn connect(&self, address: &str) -> impl Future<Output = io::Result<DuplexStream>> + Send {
        self.asked.lock().unwrap().push(address.to_owned());
        let leader = self.leaders.get(address).copied();
        async move {
            let leader = leader.ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, theirs) = duplex(PIPE_BYTES);
            tokio::spawn(serve(theirs, move |_| match leader {
                Some("silent") => Reply::Silence,
                Some(leader) => Response::Server {
                    id: 1,
                    address: leader.to_owned(),
                }
                .into(),
                None => Response::Server {
                    id: 0,
                    address: String::new(),
                }
                .into(),
            }));
            Ok(ours)
        }
    }
}

fn options() -> DiscoverOptions {
    DiscoverOptions {
        attempt_timeout: SHORT,
        ..DiscoverOptions::default()
    }
}

#[tokio::test]
async fn the_leader_is_found_behind_others() {
    let cluster = Cluster::new(&[
        ("silent", Some("silent")),
        ("none", None),
        ("stale", Some("none")),
        ("good", Some("lead")),
        ("lead", Some("lead")),
    ]);
    let seeds = ["dead", "silent", "none", "stale", "good"];
    let found = connect_leader(&cluster, &seeds, options(), DEADLINE)
        .await
        .unwrap();
    assert_eq!(found.node.address, "lead");
    assert!(!found.connection.is_poisoned());
    let asked = cluster.asked.into_inner().unwrap();
    assert_eq!(
        asked,
        ["dead", "silent", "none", "stale", "none", "good", "lead"]
    );
}

#[tokio::test]
async fn no_leader_says_what_was_met() {
    let cluster = Cluster::new(&[("none", None), ("a", Some("b")), ("b", Some("a"))]);
    let seeds = ["dead", "none", "a"];
    let error = connect_leader(&cluster, &seeds, options(), DEADLINE)
        .await
        .unwrap_err();
    let met: Vec<_> = error.attempts.iter().map(|attempt| &attempt.met).collect();
    assert!(
        matches!(met[..], [Missed::Unreachable(_), Missed::NoLeader, Missed::NotItself(other)] if other == "a"),
        "{met:?}"
    );
    let text = error.to_string();
    assert!(
        text.contains("dead: it could not be asked: the request was not sent"),
        "{text}"
    );
    let over = Deadline::after(Duration::ZERO);
    let error = connect_leader(&cluster, &seeds, options(), over)
        .await
        .unwrap_err();
    assert!(
        error
            .attempts
            .iter()
            .all(|attempt| matches!(attempt.met, Missed::DeadlineOver))
    );
}
