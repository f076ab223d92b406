//! A worker: owns one thread's current client and does one operation after the other with it.
//!
//! - Each operation has one deadline, for opening the client and for the call together.
//! - Past the deadline the call is dropped, and its client with it: `info`, kind `timeout`.
//! - A client that cannot be opened is `fail`, kind `no-client`: nothing was sent. The answer waits a little, so that
//!   a cluster that is down does not fill the history with failures.
//! - A client that panics is `info`, kind `panic`, and a failure of the harness.
//!
//! What a deadline cannot do is to stop a call that blocks its operating system thread; the interpreter gives
//! such a worker up.

use std::{
    any::Any,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use harness_core::event::OpError;
use harness_nemesis::exec::Held;
use harness_workloads::client::{Client, Clients, Completion, Invocation};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    cancel::{Cancel, Level},
    clock::RunClock,
    deadlines::Deadlines,
};

/// How long the first operation without a client takes; doubles with each further one in a row.
pub const NO_CLIENT_BACKOFF: Duration = Duration::from_millis(50);
/// How long it takes at most.
pub const NO_CLIENT_BACKOFF_LIMIT: Duration = Duration::from_secs(1);

/// How long an operation may be kept back before it begins; its deadline counts from then on.
pub const HOLD_LIMIT: Duration = Duration::from_secs(20);

/// An operation to be done.
pub(crate) struct Job {
    pub(crate) f: Arc<str>,
    pub(crate) value: Value,
    pub(crate) process: u64,
    /// What it waits for first.
    pub(crate) held: Vec<Held>,
}

/// How it ended.
pub(crate) struct Finished {
    pub(crate) thread: usize,
    pub(crate) process: u64,
    pub(crate) stamp_ns: u64,
    pub(crate) completion: Completion,
    /// What went wrong with the harness.
    pub(crate) failure: Option<String>,
}

pub(crate) struct Worker {
    pub(crate) thread: usize,
    pub(crate) clients: Arc<dyn Clients>,
    pub(crate) deadlines: Deadlines,
    pub(crate) clock: RunClock,
    pub(crate) cancel: Cancel,
}

fn info(kind: &str, message: String) -> Completion {
    Completion::Info(OpError {
        kind: kind.to_owned(),
        message,
    })
}

impl Worker {
    /// Works until there are no more jobs.
    pub(crate) async fn run(
        self,
        mut jobs: mpsc::Receiver<Job>,
        finished: mpsc::UnboundedSender<Finished>,
    ) {
        let mut client = None;
        let mut backoff = NO_CLIENT_BACKOFF;
        while let Some(mut job) = jobs.recv().await {
            wait_for(std::mem::take(&mut job.held)).await;
            let (completion, failure) = self.perform(&mut client, &mut backoff, &job).await;
            let done = Finished {
                thread: self.thread,
                process: job.process,
                stamp_ns: self.clock.now_ns(),
                completion,
                failure,
            };
            if finished.send(done).is_err() {
                return;
            }
        }
    }

    async fn perform(
        &self,
        slot: &mut Option<Box<dyn Client>>,
        backoff: &mut Duration,
        job: &Job,
    ) -> (Completion, Option<String>) {
        let limit = self.deadlines.of(&job.f);
        let deadline = Instant::now() + limit;
        if slot.is_none() {
            match self.open(job, deadline).await {
                Ok(opened) => {
                    *slot = Some(opened);
                    *backoff = NO_CLIENT_BACKOFF;
                }
                Err((message, failure)) => {
                    self.back_off(backoff, deadline).await;
                    let kind = "no-client".to_owned();
                    return (Completion::Fail(OpError { kind, message }), failure);
                }
            }
        }
        let Some(client) = slot else {
            return (info("no-client", String::new()), None);
        };
        let invocation = Invocation {
            f: &job.f,
            value: &job.value,
            process: job.process,
            deadline: deadline.saturating_duration_since(Instant::now()),
        };
        let (completion, failure) =
            match caught(timeout_at(deadline, client.invoke(invocation))).await {
                Ok(Ok(completion)) => (completion, None),
                Ok(Err(_)) => {
                    let message = format!("no answer within {limit:?}");
                    (info("timeout", message), None)
                }
                Err(panic) => {
                    let failure = format!("the client panicked in `{}`: {panic}", job.f);
                    (info("panic", panic), Some(failure))
                }
            };
        if matches!(completion, Completion::Info(_)) {
            discard(slot.take());
        }
        (completion, failure)
    }

    /// A client, or why there is none and what went wrong with the harness.
    async fn open(
        &self,
        job: &Job,
        deadline: Instant,
    ) -> Result<Box<dyn Client>, (String, Option<String>)> {
        let opening = self.clients.open(self.thread, job.process);
        match caught(timeout_at(deadline, opening)).await {
            Ok(Ok(Ok(client))) => Ok(client),
            Ok(Ok(Err(error))) => Err((error.to_string(), None)),
            Ok(Err(_)) => {
                let limit = self.deadlines.of(&job.f);
                let message = format!("timeout: not open within {limit:?}");
                Err((message, None))
            }
            Err(panic) => {
                let failure = format!("opening a client panicked: {panic}");
                Err((failure.clone(), Some(failure)))
            }
        }
    }

    async fn back_off(&self, backoff: &mut Duration, deadline: Instant) {
        let until = deadline.min(Instant::now() + *backoff);
        *backoff = (*backoff * 2).min(NO_CLIENT_BACKOFF_LIMIT);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            () = self.cancel.reached(Level::Stop) => {}
        }
    }
}

/// Waits until nobody keeps an operation back any more, at most [`HOLD_LIMIT`].
async fn wait_for(held: Vec<Held>) {
    let released = async {
        for held in held {
            held.released().await;
        }
    };
    if timeout(HOLD_LIMIT, released).await.is_err() {
        tracing::warn!("an operation was kept back for {HOLD_LIMIT:?}, and goes on");
    }
}

/// Drops a client whose own end may panic.
fn discard(client: Option<Box<dyn Client>>) {
    let _ = catch_unwind(AssertUnwindSafe(move || drop(client)));
}

/// The future's result, or what it panicked with.
async fn caught<F: Future>(future: F) -> Result<F::Output, String> {
    let mut future = pin!(future);
    poll_fn(|context| {
        // A future that panicked is dropped and never polled again, so nothing sees its broken state.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
            Err(panic) => Poll::Ready(Err(panic_text(&*panic))),
        }
    })
    .await
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without words".to_owned()
    }
}
