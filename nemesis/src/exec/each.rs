//! One job on each of several nodes at once, and no waiting for a node that does not answer.
//!
//! Jobs are tasks of their own, and giving up on one does not abort it: a command that is on its way
//! to a node cannot be called back, so the job goes on to hold the node's lock until the command has
//! ended, and whatever heals the node afterwards queues behind it. Each ends by itself, because
//! everything that a transport or a capability does has a time-out.

use tokio::time::{Instant, timeout_at};

/// Runs them all; the answers in the order of the jobs, none for a job that had not ended by the deadline.
pub(super) async fn each<K, T, F>(
    jobs: impl IntoIterator<Item = (K, F)>,
    deadline: Instant,
) -> Vec<(K, Option<T>)>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let started: Vec<_> = jobs
        .into_iter()
        .map(|(key, job)| (key, tokio::spawn(job)))
        .collect();
    let mut answers = Vec::with_capacity(started.len());
    for (key, handle) in started {
        // A job that panicked has not answered either.
        let answer = timeout_at(deadline, handle).await.ok().and_then(Result::ok);
        answers.push((key, answer));
    }
    answers
}
