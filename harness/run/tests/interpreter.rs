//! The interpreter with clients that follow a script.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the answer")]

use std::{
    collections::HashMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use harness_core::{
    event::{Event, EventType, OpError, Process},
    generator::{BoxGenerator, Combine, OpSpec, any, from_fn, operations, phases, repeat},
    history::{self, History, Outcome},
    seed::Seed,
};
use harness_nemesis::exec::{NemesisEvent, Phases};
use harness_run::{
    cancel::{Cancel, Level},
    clock::RunClock,
    interpreter::{Ended, GRACE, Interpreter, InterpreterError, RunSpec, RunSummary},
    recorder::Recorder,
    stats::Stats,
};
use harness_workloads::client::{Client, Clients, Completion, Invocation, OpenError};
use proptest::prelude::*;
use rand::Rng;
use serde_json::{Value, json};

const TIMEOUT: Duration = Duration::from_millis(200);

/// Does what the operation's kind says.
struct Scripted {
    process: u64,
}

fn error(kind: &str) -> OpError {
    OpError {
        kind: kind.to_owned(),
        message: "as scripted".to_owned(),
    }
}

#[async_trait]
impl Client for Scripted {
    async fn invoke(&mut self, invocation: Invocation<'_>) -> Completion {
        assert_eq!(
            invocation.process, self.process,
            "a client of another process"
        );
        match invocation.f {
            "ok" => Completion::Ok(json!(7)),
            "slow" => {
                tokio::time::sleep(Duration::from_millis(5)).await;
                Completion::Ok(Value::Null)
            }
            "fail" => {
                // A client outlives a fail, so the next operation may be of the same process only.
                Completion::Fail(error("busy"))
            }
            "info" => Completion::Info(error("lost")),
            "hang" => std::future::pending().await,
            "block" => {
                std::thread::sleep(Duration::from_secs(4));
                Completion::Ok(Value::Null)
            }
            "panic" => panic!("scripted panic"),
            other => panic!("no script for {other}"),
        }
    }
}

#[derive(Default)]
struct Scripts {
    opened: AtomicUsize,
    /// Opening fails that often first.
    refusals: AtomicUsize,
}

#[async_trait]
impl Clients for Scripts {
    fn node_of_thread(&self, thread: usize) -> Option<Arc<str>> {
        Some(Arc::from(format!("n{}", thread % 3 + 1)))
    }

    async fn open(&self, _thread: usize, process: u64) -> Result<Box<dyn Client>, OpenError> {
        let refused = self
            .refusals
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1));
        if refused.is_ok() {
            return Err(OpenError {
                kind: "refused".to_owned(),
                message: "as scripted".to_owned(),
            });
        }
        self.opened.fetch_add(1, SeqCst);
        Ok(Box::new(Scripted { process }))
    }
}

struct Bench {
    folder: tempfile::TempDir,
    recorder: Recorder,
    cancel: Cancel,
    stats: Arc<Stats>,
    clients: Arc<Scripts>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let recorder =
            Recorder::create(&folder.path().join("history.jsonl"), RunClock::start()).unwrap();
        Self {
            folder,
            recorder,
            cancel: Cancel::new(),
            stats: Arc::default(),
            clients: Arc::default(),
        }
    }

    fn spec(&self, generator: BoxGenerator, concurrency: usize) -> RunSpec {
        RunSpec {
            generator,
            clients: Arc::clone(&self.clients) as Arc<dyn Clients>,
            concurrency,
            deadlines: TIMEOUT.into(),
            recorder: self.recorder.clone(),
            cancel: self.cancel.clone(),
            stats: Arc::clone(&self.stats),
        }
    }

    async fn run(&self, generator: impl Combine, concurrency: usize) -> RunSummary {
        Interpreter::run(self.spec(generator.boxed(), concurrency))
            .await
            .unwrap()
    }

    fn history(&self) -> History {
        self.recorder.finish().unwrap();
        read(&self.folder.path().join("history.jsonl"))
    }
}

fn read(path: &Path) -> History {
    let bytes = std::fs::read(path).unwrap();
    let (events, remarks) = history::decode_events(&bytes).unwrap();
    assert!(remarks.is_empty());
    check_order(&events);
    history::pair(events).unwrap()
}

/// Indices without gaps, times that never decrease, processes that never come back.
fn check_order(events: &[Event]) {
    let mut retired: HashMap<Process, u64> = HashMap::new();
    for (at, event) in events.iter().enumerate() {
        assert_eq!(event.index, at as u64);
        if at > 0 {
            assert!(
                event.time_ns >= events[at - 1].time_ns,
                "time goes back at {at}"
            );
        }
        assert!(
            !retired.contains_key(&event.process),
            "{} came back",
            event.process
        );
        if event.event_type == EventType::Info && event.process != Process::Nemesis {
            retired.insert(event.process, event.index);
        }
    }
}

fn op(f: &str) -> OpSpec {
    OpSpec::new(f, ())
}

fn kinds(history: &History) -> Vec<(String, Outcome, String)> {
    let kind = |operation: &history::Operation| {
        operation
            .error
            .as_ref()
            .map_or(String::new(), |error| error.kind.clone())
    };
    let line = |operation: &history::Operation| {
        (operation.f.to_string(), operation.outcome, kind(operation))
    };
    history.operations.iter().map(line).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_outcome_is_recorded_as_what_it_is() {
    let bench = Bench::new();
    let script = ["ok", "fail", "info", "hang", "panic", "ok"];
    let summary = bench.run(operations(script.map(op)), 1).await;
    let history = bench.history();
    let expected = [
        ("ok", Outcome::Ok, ""),
        ("fail", Outcome::Fail, "busy"),
        ("info", Outcome::Info, "lost"),
        ("hang", Outcome::Info, "timeout"),
        ("panic", Outcome::Info, "panic"),
        ("ok", Outcome::Ok, ""),
    ];
    let expected: Vec<_> = expected
        .map(|(f, outcome, kind)| (f.to_owned(), outcome, kind.to_owned()))
        .into();
    assert_eq!(kinds(&history), expected);
    let processes: Vec<_> = history
        .operations
        .iter()
        .map(|o| o.process.to_string())
        .collect();
    assert_eq!(processes, ["0", "0", "0", "1", "2", "3"]);
    assert_eq!(history.operations[0].output, json!(7));
    assert_eq!(history.operations[0].node.as_deref(), Some("n1"));
    assert_eq!(
        bench.clients.opened.load(SeqCst),
        4,
        "a new client after each info only"
    );
    assert_eq!(summary.ended, Ended::Done);
    assert_eq!((summary.ok, summary.fail, summary.info), (2, 1, 3));
    assert_eq!(summary.harness_failures.len(), 1, "the panic");
    let hang = &history.operations[3];
    let took = Duration::from_nanos(hang.completed_ns.unwrap() - hang.invoked_ns);
    assert!(took >= TIMEOUT && took < TIMEOUT * 3, "{took:?}");
    let total = bench.stats.snapshot().total;
    assert_eq!(
        (
            total.invoked,
            total.ok,
            total.fail,
            total.info,
            total.open()
        ),
        (6, 2, 1, 3, 0)
    );
}

/// What is kept back is the first of its kind that is heard, and its deadline counts from when it goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_that_is_held_begins_when_it_is_let_go() {
    let bench = Bench::new();
    let (mut told, hold) = bench.recorder.subscribe_and_hold("slow");
    let waits = TIMEOUT * 2 + GRACE;
    let watching = tokio::spawn(async move {
        while &*told.recv().await.unwrap().f != "slow" {}
        tokio::time::sleep(waits).await;
        drop(hold);
    });
    let script = ["ok", "slow", "slow"];
    let summary = bench.run(operations(script.map(op)), 1).await;
    watching.await.unwrap();
    assert_eq!((summary.ok, summary.info), (3, 0));
    let history = bench.history();
    let took = |at: usize| {
        let operation = &history.operations[at];
        Duration::from_nanos(operation.completed_ns.unwrap() - operation.invoked_ns)
    };
    assert!(took(0) < waits && took(1) >= waits && took(2) < waits);
}

#[tokio::test]
async fn a_client_that_cannot_be_opened_is_a_slow_fail() {
    let bench = Bench::new();
    bench.clients.refusals.store(2, SeqCst);
    let start = Instant::now();
    let summary = bench.run(repeat(op("ok")).limit(3), 1).await;
    let history = bench.history();
    assert_eq!((summary.ok, summary.fail, summary.no_client), (1, 2, 2));
    assert_eq!(kinds(&history)[0].2, "no-client");
    assert!(
        history
            .operations
            .iter()
            .all(|o| o.process == Process::Client(0))
    );
    assert!(start.elapsed() >= Duration::from_millis(150), "it spins");
}

#[tokio::test]
async fn cancelling_ends_in_bounded_time_and_leaves_nothing_open() {
    let bench = Bench::new();
    let cancel = bench.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        cancel.raise(Level::Stop);
    });
    let start = Instant::now();
    let both = any([repeat(op("hang")).boxed(), repeat(op("slow")).boxed()]);
    let summary = bench.run(both, 8).await;
    assert!(start.elapsed() < TIMEOUT * 3, "{:?}", start.elapsed());
    assert_eq!(summary.ended, Ended::Cancelled);
    let history = bench.history();
    assert!(
        history
            .operations
            .iter()
            .all(|o| o.completed_index.is_some())
    );
}

#[tokio::test]
async fn leaving_at_once_waits_for_no_deadline() {
    let bench = Bench::new();
    let mut spec = bench.spec(repeat(op("hang")).boxed(), 4);
    spec.deadlines = Duration::from_secs(60).into();
    let cancel = bench.cancel.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        cancel.raise(Level::Leave);
    });
    let start = Instant::now();
    let summary = Interpreter::run(spec).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(summary.info, 4);
    assert_eq!(kinds(&bench.history())[0].2, "interrupted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_client_that_blocks_its_thread_is_given_up() {
    let bench = Bench::new();
    let start = Instant::now();
    let run = bench.run(operations(["block", "ok"].map(op)), 1);
    let summary = run.await;
    // The end also waits for the blocked thread to let go, which here it does.
    assert!(start.elapsed() < Duration::from_secs(7));
    let history = bench.history();
    assert_eq!(kinds(&history)[0].2, "timeout");
    let took = history.operations[0].completed_ns.unwrap() - history.operations[0].invoked_ns;
    assert!(Duration::from_nanos(took) < TIMEOUT + GRACE + Duration::from_secs(1));
    assert_eq!(summary.ok, 1);
    assert_eq!(summary.harness_failures.len(), 1);
}

#[tokio::test]
async fn processes_go_on_over_several_phases() {
    let bench = Bench::new();
    let first = operations(["info", "info", "ok", "ok", "ok"].map(op));
    bench.run(first, 3).await;
    bench.run(operations(["ok", "info"].map(op)), 2).await;
    bench.run(repeat(op("ok")).limit(8), 4).await;
    let history = bench.history();
    let last: Vec<u64> = history.operations[7..]
        .iter()
        .map(|operation| match operation.process {
            Process::Client(number) => number,
            Process::Nemesis => panic!("a nemesis"),
        })
        .collect();
    let before = history.operations[..7]
        .iter()
        .map(|o| o.process)
        .max()
        .unwrap();
    assert!(last.iter().all(|number| Process::Client(*number) > before));
}

#[tokio::test]
async fn nemesis_events_stand_between() {
    let bench = Bench::new();
    bench.recorder.record_nemesis(NemesisEvent {
        event_type: EventType::Info,
        f: "partition".to_owned(),
        value: json!({"fault": 1}),
        error: None,
    });
    bench.run(op("ok").once(), 1).await;
    let history = bench.history();
    assert_eq!(history.nemesis.len(), 1);
    assert_eq!(history.event_count, 3);
}

#[tokio::test]
async fn a_generator_that_waits_in_vain_is_a_failure() {
    let bench = Bench::new();
    let nobody = repeat(op("ok")).on_threads(Default::default());
    let summary = bench.run(nobody, 2).await;
    assert_eq!(summary.ended, Ended::Stuck);
    assert_eq!(summary.harness_failures.len(), 1);
}

#[tokio::test]
async fn no_threads_are_refused() {
    let bench = Bench::new();
    let refused = Interpreter::run(bench.spec(repeat(op("ok")).boxed(), 0)).await;
    assert!(matches!(
        refused,
        Err(InterpreterError::Concurrency { found: 0 })
    ));
}

#[tokio::test]
async fn what_is_recorded_is_soon_in_the_file_and_a_torn_line_is_left_out() {
    let bench = Bench::new();
    bench.run(repeat(op("ok")).limit(10), 2).await;
    tokio::time::sleep(Duration::from_millis(1000)).await;
    // As if killed now: nothing was finished.
    let path = bench.folder.path().join("history.jsonl");
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(history::decode(&bytes).unwrap().event_count, 20);
    bytes.truncate(bytes.len() - 9);
    let torn = history::decode(&bytes).unwrap();
    assert_eq!((torn.event_count, torn.remarks.len()), (19, 1));
}

#[tokio::test]
async fn phases_are_separated() {
    let bench = Bench::new();
    let load = repeat(op("slow")).limit(6).boxed();
    bench.run(phases([load, op("ok").once().boxed()]), 4).await;
    let history = bench.history();
    let last = history.operations.last().unwrap();
    let before = &history.operations[..6];
    assert!(
        before
            .iter()
            .all(|o| o.completed_index.unwrap() < last.index)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn histories_always_pair_up(
        seed in any_seed(), concurrency in 1_usize..12, count in 0_u64..120, stop_ms in 0_u64..60,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new();
            bench.clients.refusals.store(usize::try_from(seed % 3).unwrap(), SeqCst);
            for phase in 0..2 {
                let stream = Seed(seed + phase).stream("script");
                let script = from_fn(stream, |rng, _, _| {
                    let all = ["ok", "ok", "ok", "slow", "fail", "info", "hang"];
                    op(all[rng.random_range(0..all.len())])
                });
                let mut spec = bench.spec(script.limit(count).boxed(), concurrency);
                spec.deadlines = Duration::from_millis(20).into();
                let cancel = bench.cancel.clone();
                let stopper = tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(stop_ms + 20)).await;
                    cancel.raise(Level::Stop);
                });
                let start = Instant::now();
                let summary = Interpreter::run(spec).await.unwrap();
                assert_eq!(summary.invoked, summary.ok + summary.fail + summary.info);
                assert!(start.elapsed() < Duration::from_secs(4));
                stopper.abort();
            }
            let history = bench.history();
            assert!(history.operations.iter().all(|o| o.completed_index.is_some()));
        });
    }
}

fn any_seed() -> impl Strategy<Value = u64> {
    0_u64..1_000_000
}
