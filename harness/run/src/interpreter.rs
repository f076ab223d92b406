//! The interpreter: asks a generator what to do, has workers do it, and records what came of it.
//!
//! 1. One event loop owns the generator, its context and the free threads; workers own their clients; between
//!    them go messages only.
//! 2. Every `invoke` that is recorded gets exactly one `ok`, `fail` or `info` by the time [`Interpreter::run`]
//!    returns.
//! 3. An `info` retires its process: the thread goes on as the next number that is equal modulo the concurrency. A
//!    number is never used again in a run, also not by a later call with the same recorder.
//! 4. It ends in bounded time after the generator is done or somebody cancels: open operations have their deadline,
//!    and a worker that does not even answer then is given up [`GRACE`] later.
//! 5. Memory is bounded by what is in flight: if the disk does not keep up, nothing is generated.
//!
//! After Jepsen's interpreter, with deadlines that are its own.

use std::{collections::BTreeSet, future::pending, sync::Arc, time::Duration};

use harness_core::{
    event::{Event, EventType, OpError, Process},
    generator::{BoxGenerator, Context, Generator, Next, Op, ThreadSet},
};
use harness_nemesis::exec::Held;
use harness_workloads::client::{Clients, Completion};
use serde_json::Value;
use thiserror::Error;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use crate::{
    cancel::{Cancel, Level},
    clock::RunClock,
    deadlines::Deadlines,
    recorder::Recorder,
    stats::{Counters, Stats},
    worker::{Finished, HOLD_LIMIT, Job, Worker},
};

/// How long after an operation's deadline, which counts from when it was let go if it was kept back, its worker is given up.
pub const GRACE: Duration = Duration::from_secs(2);
/// How often open operations are looked at for that.
pub const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Threads at most.
pub const CONCURRENCY_LIMIT: usize = 65_536;
/// Operations generated in a row before completions are looked at.
const GENERATE_BATCH: usize = 256;
/// Completions taken at once.
const RECEIVE_BATCH: usize = 1024;
/// How long to wait for the disk before looking again.
const BACKLOG_PAUSE: Duration = Duration::from_millis(1);
/// Failures of the harness that a summary keeps, each once.
pub const FAILURE_LIMIT: usize = 100;

/// What to run.
pub struct RunSpec {
    /// What to do.
    pub generator: BoxGenerator,
    /// Who does it.
    pub clients: Arc<dyn Clients>,
    /// Number of threads, 1 to [`CONCURRENCY_LIMIT`].
    pub concurrency: usize,
    /// How long an operation may take.
    pub deadlines: Deadlines,
    /// Where events go; its clock is the run's.
    pub recorder: Recorder,
    /// Whether to go on.
    pub cancel: Cancel,
    /// Live counters.
    pub stats: Arc<Stats>,
}

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The generator was done.
    Done,
    /// Somebody cancelled.
    Cancelled,
    /// The generator waited for an event, and none could come any more.
    Stuck,
    /// The history could not be written.
    Unrecorded,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct RunSummary {
    /// Why it ended.
    pub ended: Ended,
    /// Operations invoked.
    pub invoked: u64,
    /// Ended ok.
    pub ok: u64,
    /// Ended fail, `no_client` included.
    pub fail: u64,
    /// Ended info.
    pub info: u64,
    /// Operations for which no client could be opened.
    pub no_client: u64,
    /// When it began, nanoseconds since the run began.
    pub start_ns: u64,
    /// When its last operation had ended.
    pub end_ns: u64,
    /// What went wrong with the harness: at most [`FAILURE_LIMIT`], each once.
    pub harness_failures: BTreeSet<String>,
}

/// Why nothing was run.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InterpreterError {
    /// No threads, or too many.
    #[error("concurrency {found} is not within 1 and {CONCURRENCY_LIMIT}")]
    Concurrency {
        /// What was asked.
        found: usize,
    },
}

/// See the module.
pub struct Interpreter {
    generator: BoxGenerator,
    clients: Arc<dyn Clients>,
    deadlines: Deadlines,
    recorder: Recorder,
    clock: RunClock,
    cancel: Cancel,
    stats: Arc<Stats>,
    /// Counters by kind of operation: few, so a list is the fastest map.
    counters: Vec<(Arc<str>, Arc<Counters>)>,
    all: ThreadSet,
    free: ThreadSet,
    turn: usize,
    processes: Vec<u64>,
    threads: Vec<Thread>,
    workers: JoinSet<()>,
    finished: mpsc::UnboundedSender<Finished>,
    open: usize,
    /// Why nothing is generated any more.
    ended: Option<Ended>,
    summary: RunSummary,
}

/// A worker as the loop sees it.
struct Thread {
    jobs: mpsc::Sender<Job>,
    abort: AbortHandle,
    node: Option<Arc<str>>,
    open: Option<Open>,
}

/// An operation that is open.
struct Open {
    f: Arc<str>,
    since_ns: u64,
    /// Whether it may have to wait before it begins.
    held: bool,
}

/// Which open operations are given up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Abandon {
    /// Those whose deadline is over.
    Overdue,
    /// All.
    All,
}

/// When to ask the generator again.
enum Wake {
    /// After letting others go on.
    Soon,
    /// At this time, or after an event.
    At(u64),
    /// When the disk may have caught up.
    Backlog,
    /// After an event.
    Event,
}

impl Interpreter {
    /// Runs a generator to its end. Can be called again with the same recorder, one after the other: processes go on.
    ///
    /// # Errors
    /// If the concurrency makes no sense. What goes wrong later is in the summary.
    pub async fn run(spec: RunSpec) -> Result<RunSummary, InterpreterError> {
        if spec.concurrency == 0 || spec.concurrency > CONCURRENCY_LIMIT {
            return Err(InterpreterError::Concurrency {
                found: spec.concurrency,
            });
        }
        let (finished, mut completions) = mpsc::unbounded_channel();
        let mut this = Self::new(spec, finished);
        this.event_loop(&mut completions).await;
        this.summary.end_ns = this.clock.now_ns();
        this.summary.ended = this.ended.unwrap_or(Ended::Done);
        if let Some(failure) = this.recorder.failure() {
            this.note_failure(failure.to_string());
        }
        // Clients that are left are dropped with their workers: an operation of theirs is not open any more.
        this.workers.shutdown().await;
        Ok(this.summary)
    }

    fn new(spec: RunSpec, finished: mpsc::UnboundedSender<Finished>) -> Self {
        let count = spec.concurrency as u64;
        let clock = spec.recorder.clock();
        let first = spec.recorder.claim_processes(count, count);
        let mut this = Self {
            generator: spec.generator,
            clients: spec.clients,
            deadlines: spec.deadlines,
            recorder: spec.recorder,
            clock,
            cancel: spec.cancel,
            stats: spec.stats,
            counters: Vec::new(),
            all: ThreadSet::first(spec.concurrency),
            free: ThreadSet::first(spec.concurrency),
            turn: 0,
            processes: (first..first + count).collect(),
            threads: Vec::with_capacity(spec.concurrency),
            workers: JoinSet::new(),
            finished,
            open: 0,
            ended: None,
            summary: RunSummary {
                ended: Ended::Done,
                invoked: 0,
                ok: 0,
                fail: 0,
                info: 0,
                no_client: 0,
                start_ns: clock.now_ns(),
                end_ns: 0,
                harness_failures: BTreeSet::new(),
            },
        };
        for number in 0..spec.concurrency {
            let thread = this.hire(number);
            this.threads.push(thread);
        }
        this
    }

    /// A new worker for a thread.
    fn hire(&mut self, thread: usize) -> Thread {
        // One operation at a time: a second could never be sent.
        let (jobs, theirs) = mpsc::channel(1);
        let worker = Worker {
            thread,
            clients: Arc::clone(&self.clients),
            deadlines: self.deadlines.clone(),
            clock: self.clock,
            cancel: self.cancel.clone(),
        };
        let abort = self
            .workers
            .spawn(worker.run(theirs, self.finished.clone()));
        Thread {
            jobs,
            abort,
            node: self.clients.node_of_thread(thread),
            open: None,
        }
    }

    async fn event_loop(&mut self, completions: &mut mpsc::UnboundedReceiver<Finished>) {
        let cancel = self.cancel.clone();
        let mut batch = Vec::with_capacity(RECEIVE_BATCH);
        let mut watch = interval(WATCH_INTERVAL);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if cancel.is_raised() {
                self.ended.get_or_insert(Ended::Cancelled);
            }
            if cancel.level() == Level::Leave {
                self.abandon(Abandon::All);
            }
            let wake = self.generate();
            if self.ended.is_some() && self.open == 0 {
                return;
            }
            let again = async {
                match wake {
                    Wake::Soon => tokio::task::yield_now().await,
                    Wake::At(time_ns) => {
                        let at = self.clock.origin() + Duration::from_nanos(time_ns);
                        sleep_until(Instant::from_std(at)).await;
                    }
                    Wake::Backlog => sleep(BACKLOG_PAUSE).await,
                    Wake::Event => pending().await,
                }
            };
            let cancelled = async {
                match cancel.level() {
                    Level::Run => cancel.reached(Level::Stop).await,
                    Level::Stop => cancel.reached(Level::Leave).await,
                    Level::Leave => pending().await,
                }
            };
            tokio::select! {
                biased;
                // First, or a busy run would never come to it.
                _ = watch.tick() => {
                    self.abandon(Abandon::Overdue);
                    // What cannot be written down cannot be judged.
                    if self.recorder.failure().is_some() {
                        self.ended.get_or_insert(Ended::Unrecorded);
                    }
                }
                _ = completions.recv_many(&mut batch, RECEIVE_BATCH) => {}
                () = again => {}
                () = cancelled => {}
            }
            for finished in batch.drain(..) {
                self.complete(finished);
            }
        }
    }

    /// Invokes what is due, and says when to ask again.
    fn generate(&mut self) -> Wake {
        for _ in 0..GENERATE_BATCH {
            if self.ended.is_some() || self.free.is_empty() {
                return Wake::Event;
            }
            if self.recorder.is_backed_up() {
                return Wake::Backlog;
            }
            let context = Context {
                time_ns: self.clock.now_ns(),
                free: &self.free,
                threads: &self.all,
                turn: self.turn,
                processes: &self.processes,
            };
            self.generator.advance(&context);
            match self.generator.peek(&context) {
                Next::Op(op) if op.time_ns <= context.time_ns => {
                    self.generator.commit(&context, &op);
                    let time_ns = context.time_ns;
                    self.invoke(op, time_ns);
                }
                Next::Op(op) => return Wake::At(op.time_ns),
                Next::Pending {
                    until_ns: Some(until_ns),
                } if until_ns <= context.time_ns => return Wake::Soon,
                Next::Pending {
                    until_ns: Some(until_ns),
                } => return Wake::At(until_ns),
                Next::Pending { until_ns: None } => {
                    if self.open == 0 {
                        self.ended = Some(Ended::Stuck);
                        self.note_failure(
                            "the generator waits for an event, and none can come".to_owned(),
                        );
                    }
                    return Wake::Event;
                }
                Next::Done => {
                    self.ended = Some(Ended::Done);
                    return Wake::Event;
                }
            }
        }
        Wake::Soon
    }

    fn invoke(&mut self, op: Op, time_ns: u64) {
        let Op {
            thread, f, value, ..
        } = op;
        self.free.remove(thread);
        self.turn = (thread + 1) % self.threads.len();
        let (event, held) = self.record(thread, EventType::Invoke, &f, time_ns, value, None);
        self.open += 1;
        self.summary.invoked += 1;
        let is_held = !held.is_empty();
        let slot = &mut self.threads[thread];
        let job = Job {
            f: Arc::clone(&f),
            value: event.value,
            process: self.processes[thread],
            held,
        };
        slot.open = Some(Open {
            f,
            since_ns: event.time_ns,
            held: is_held,
        });
        // A worker that died (its client's end panicked) never answers; it is given up like one that hangs.
        let _ = slot.jobs.try_send(job);
    }

    fn complete(&mut self, finished: Finished) {
        let Finished {
            thread,
            process,
            stamp_ns,
            completion,
            failure,
        } = finished;
        // From a worker that was given up: its operation has its `info` already.
        if self.processes[thread] != process {
            return;
        }
        let Some(open) = self.threads[thread].open.take() else {
            return;
        };
        if let Some(failure) = failure {
            self.note_failure(failure);
        }
        let (event_type, value, error) = match completion {
            Completion::Ok(value) => (EventType::Ok, value, None),
            Completion::Fail(error) => (EventType::Fail, Value::Null, Some(error)),
            Completion::Info(error) => (EventType::Info, Value::Null, Some(error)),
        };
        match event_type {
            EventType::Ok => self.summary.ok += 1,
            EventType::Fail => self.summary.fail += 1,
            EventType::Info | EventType::Invoke => self.summary.info += 1,
        }
        if error
            .as_ref()
            .is_some_and(|error| error.kind == "no-client")
        {
            self.summary.no_client += 1;
        }
        self.open -= 1;
        // Free before the generator hears of it: what it is told is how things are then.
        self.free.insert(thread);
        self.record(thread, event_type, &open.f, stamp_ns, value, error);
        if event_type == EventType::Info {
            let count = self.threads.len() as u64;
            self.processes[thread] = self.next_process(process, count);
        }
    }

    /// The number after this one for the same thread, which is claimed for good.
    fn next_process(&self, process: u64, count: u64) -> u64 {
        let next = process + count;
        self.recorder.claim_up_to(next + 1);
        next
    }

    /// Counts, records and tells the generator. Gives the event back with its index and time.
    fn record(
        &mut self,
        thread: usize,
        event_type: EventType,
        f: &Arc<str>,
        time_ns: u64,
        value: Value,
        error: Option<OpError>,
    ) -> (Event, Vec<Held>) {
        let mut event = Event {
            index: 0,
            time_ns,
            process: Process::Client(self.processes[thread]),
            node: self.threads[thread].node.clone(),
            event_type,
            f: Arc::clone(f),
            value,
            error,
        };
        let held = self.recorder.record(&mut event);
        self.count(&event);
        let context = Context {
            time_ns: event.time_ns,
            free: &self.free,
            threads: &self.all,
            turn: self.turn,
            processes: &self.processes,
        };
        self.generator.update(&context, thread, &event);
        (event, held)
    }

    fn count(&mut self, event: &Event) {
        let known = self.counters.iter().find(|(f, _)| *f == event.f);
        if let Some((_, counters)) = known {
            counters.count(event.event_type);
            return;
        }
        let counters = self.stats.of(&event.f);
        counters.count(event.event_type);
        if self.counters.len() < crate::stats::KIND_LIMIT {
            self.counters.push((Arc::clone(&event.f), counters));
        }
    }

    /// Completes as `info` what has been open for too long, or all, and replaces its workers.
    fn abandon(&mut self, which: Abandon) {
        let now_ns = self.clock.now_ns();
        for thread in 0..self.threads.len() {
            let Some(open) = &self.threads[thread].open else {
                continue;
            };
            let deadline = self.deadlines.of(&open.f);
            let before = if open.held {
                HOLD_LIMIT
            } else {
                Duration::ZERO
            };
            let limit = before + deadline + GRACE;
            let limit_ns = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
            if which == Abandon::Overdue && now_ns.saturating_sub(open.since_ns) < limit_ns {
                continue;
            }
            let f = Arc::clone(&open.f);
            let failure = (which == Abandon::Overdue).then(|| {
                format!("a client ignored its deadline in `{f}`; its worker was given up")
            });
            self.threads[thread].abort.abort();
            let fresh = self.hire(thread);
            let open = std::mem::replace(&mut self.threads[thread], fresh).open;
            self.threads[thread].open = open;
            let (kind, message) = match which {
                Abandon::Overdue => ("timeout", format!("no answer within {deadline:?}")),
                Abandon::All => ("interrupted", "the run was ended at once".to_owned()),
            };
            self.complete(Finished {
                thread,
                process: self.processes[thread],
                stamp_ns: now_ns,
                completion: Completion::Info(OpError {
                    kind: kind.to_owned(),
                    message,
                }),
                failure,
            });
        }
    }

    fn note_failure(&mut self, text: String) {
        if self.summary.harness_failures.len() < FAILURE_LIMIT {
            tracing::warn!("{text}");
            self.summary.harness_failures.insert(text);
        }
    }
}
