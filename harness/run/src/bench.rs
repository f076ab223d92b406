//! `harness bench interpreter`: how many operations a second the interpreter drives with a client that does nothing,
//! the history written to disk included.

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_core::{
    generator::{Combine, OpSpec, from_fn},
    seed::Seed,
};
use harness_workloads::client::{Client, Clients, Completion, Invocation, OpenError};
use rand::Rng;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::{
    cancel::Cancel,
    clock::RunClock,
    interpreter::{Interpreter, InterpreterError, RunSpec},
    recorder::{RecordError, Recorder},
    stats::Stats,
};

/// How long an operation of the bench may take.
const OP_TIMEOUT: Duration = Duration::from_secs(5);
/// Nodes that its clients pretend to work on.
const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

/// What to measure.
#[derive(Clone, Copy, Debug)]
pub struct BenchSpec {
    /// At most so many operations.
    pub ops: u64,
    /// Number of threads.
    pub concurrency: usize,
    /// At most for so long.
    pub seconds: f64,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct BenchFigures {
    /// Operations.
    pub ops: u64,
    /// Number of threads.
    pub concurrency: usize,
    /// From the first operation until the history is on the disk (fsync).
    pub duration_s: f64,
    /// Operations a second of that time.
    pub ops_per_s: f64,
    /// Events written.
    pub events: u64,
    /// Bytes of the history.
    pub bytes: u64,
    /// The largest memory that this process ever had resident, in bytes; 0 if the kernel does not say.
    pub vm_hwm_bytes: u64,
}

/// Why nothing was measured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The history could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The interpreter refused.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The bench's task was ended from outside.
    #[error("the bench was cut short")]
    Cut,
}

struct Idle;

#[async_trait]
impl Client for Idle {
    async fn invoke(&mut self, _invocation: Invocation<'_>) -> Completion {
        Completion::Ok(Value::from(1))
    }
}

struct IdleClients(Vec<Arc<str>>);

#[async_trait]
impl Clients for IdleClients {
    fn node_of_thread(&self, thread: usize) -> Option<Arc<str>> {
        self.0.get(thread % self.0.len().max(1)).cloned()
    }

    async fn open(&self, _thread: usize, _process: u64) -> Result<Box<dyn Client>, OpenError> {
        Ok(Box::new(Idle))
    }
}

/// Writes its history to `path`, which must not be there yet.
///
/// # Errors
/// If the history cannot be written, or the concurrency makes no sense.
pub async fn interpreter(spec: BenchSpec, path: &Path) -> Result<BenchFigures, BenchError> {
    let clock = RunClock::start();
    let recorder = Recorder::create(path, clock)?;
    let (read, write): (Arc<str>, Arc<str>) = ("read".into(), "write".into());
    let generator = from_fn(Seed(1).stream("bench"), move |rng, _n, _context| {
        let key = rng.random_range(0..16_u64);
        if rng.random() {
            OpSpec {
                f: Arc::clone(&read),
                value: Value::Array(vec![key.into(), Value::Null]),
            }
        } else {
            OpSpec {
                f: Arc::clone(&write),
                value: Value::Array(vec![key.into(), rng.random_range(0..1000_u64).into()]),
            }
        }
    });
    let limit = Duration::try_from_secs_f64(spec.seconds).unwrap_or(Duration::MAX);
    let run = Interpreter::run(RunSpec {
        generator: generator.limit(spec.ops).time_limit(limit).boxed(),
        clients: Arc::new(IdleClients(NODES.map(Arc::from).to_vec())),
        concurrency: spec.concurrency,
        deadlines: OP_TIMEOUT.into(),
        recorder: recorder.clone(),
        cancel: Cancel::new(),
        stats: Arc::new(Stats::default()),
    });
    // On a thread of the runtime: waking workers from outside of it costs more.
    let summary = tokio::spawn(run).await.map_err(|_| BenchError::Cut)??;
    let recorded = recorder.finish()?;
    let duration_s = clock.origin().elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a count for people")]
    let ops_per_s = summary.ok as f64 / duration_s;
    Ok(BenchFigures {
        ops: summary.ok,
        concurrency: spec.concurrency,
        duration_s,
        ops_per_s,
        events: recorded.events,
        bytes: recorded.bytes,
        vm_hwm_bytes: vm_hwm_bytes(),
    })
}

/// The largest resident memory that this process ever had, in bytes; 0 if the kernel does not say.
#[must_use]
pub fn vm_hwm_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024)
}
