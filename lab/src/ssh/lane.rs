//! One session to a node, opened when it is needed and again when it was lost.
//!
//! Laws:
//! - a lane connects at most once at a time, whoever asks; the others wait, each until its own deadline;
//! - what may pass by itself is tried again, [`ATTEMPTS`] times at most, with growing, jittered pauses;
//!   a wrong host key or a refused login is not.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::{Duration, Instant},
};

use harness_core::frame::message::Request;
use tokio::sync::Mutex;

use super::{
    actor,
    link::{Handle, Link},
    target::SshTarget,
};
use crate::transport::TransportError;

/// Times that connecting is tried within one call.
const ATTEMPTS: u32 = 6;
/// The first pause between two tries; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// Time that one try may take.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(15);
/// Times that a stream is opened anew when its link was lost before anything was sent.
const OPEN_ATTEMPTS: u32 = 3;

/// One session, and what is known about it.
pub(super) struct Lane {
    target: Arc<SshTarget>,
    purpose: &'static str,
    current: Mutex<Option<Arc<Link>>>,
}

impl Lane {
    /// A lane that is not open yet.
    pub(super) fn new(target: Arc<SshTarget>, purpose: &'static str) -> Self {
        Self {
            target,
            purpose,
            current: Mutex::new(None),
        }
    }

    /// Opens a stream, connecting first if there is no live link. The request is made then, with
    /// the time that is left.
    pub(super) async fn open(
        &self,
        deadline: Instant,
        request: impl Fn(Duration) -> Request,
    ) -> Result<Handle, TransportError> {
        let begun = Instant::now();
        let mut last = None;
        let opening = async {
            for _ in 0..OPEN_ATTEMPTS {
                let link = self.connected(deadline, &mut last).await?;
                match link
                    .open(&request(deadline.saturating_duration_since(Instant::now())))
                    .await
                {
                    Ok(handle) => return Ok(handle),
                    Err(detail) => last = Some(self.lost(detail)),
                }
            }
            Err(self.lost("it cannot be kept open".into()))
        };
        let opened = tokio::time::timeout_at(deadline.into(), opening).await;
        opened.unwrap_or_else(|_| {
            Err(last.take().unwrap_or_else(|| TransportError::TimedOut {
                node: self.target.name.clone(),
                timeout: begun.elapsed(),
            }))
        })
    }

    /// Ends the session, if there is one, and waits for that.
    pub(super) async fn close(&self) {
        if let Some(link) = self.current.lock().await.take() {
            link.give_up("it was closed");
            link.wait_ended().await;
        }
    }

    async fn connected(
        &self,
        deadline: Instant,
        last: &mut Option<TransportError>,
    ) -> Result<Arc<Link>, TransportError> {
        let mut current = self.current.lock().await;
        if let Some(link) = current.as_ref().filter(|link| link.is_alive()) {
            return Ok(Arc::clone(link));
        }
        *current = None;
        let mut pause = FIRST_PAUSE;
        for attempt in 1.. {
            let limit = deadline.min(Instant::now() + ATTEMPT_LIMIT);
            let target = Arc::clone(&self.target);
            let error = match actor::open(target, self.purpose, limit).await {
                Ok(link) => {
                    *current = Some(Arc::clone(&link));
                    return Ok(link);
                }
                Err(error) => error,
            };
            let may_pass = matches!(
                error,
                TransportError::Unreachable { .. } | TransportError::Lost { .. }
            );
            if attempt == ATTEMPTS || !may_pass || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tracing::debug!(node = %self.target.name, attempt, %error, "connecting again");
            *last = Some(error);
            tokio::time::sleep(jittered(pause)).await;
            pause *= 2;
        }
        Err(self.lost("no attempt was made".into()))
    }

    fn lost(&self, detail: String) -> TransportError {
        TransportError::Lost {
            node: self.target.name.clone(),
            detail,
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(link) = self.current.get_mut() {
            link.give_up("its lab is gone");
        }
    }
}

/// Between half of a pause and all of it, so that many callers do not come back together.
fn jittered(pause: Duration) -> Duration {
    let half = pause / 2;
    let spread_ns = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
    // The standard library's own random keys are random enough to spread callers.
    let draw = RandomState::new().hash_one(Instant::now());
    half + Duration::from_nanos(draw % spread_ns)
}
