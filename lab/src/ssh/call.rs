//! One call: its deadlines, and how what goes wrong in it is named.
//!
//! Laws:
//! - connecting and the work share the call's time-out; the agent is told what is left of it;
//! - the agent's answer is waited for a little longer ([`TIMEOUT_GRACE`]), since it is the one that
//!   cleans up; a link that was silent all that time is given up, so that the next call connects anew.

use std::{
    future::Future,
    io,
    time::{Duration, Instant},
};

use harness_core::frame::message::{End, Failure, Request};

use super::{
    lane::Lane,
    link::{Event, Handle, Link},
    target::SshTarget,
    tunnel::io_error,
};
use crate::transport::{TIMEOUT_GRACE, TransportError};

/// Part of [`TIMEOUT_GRACE`] that is kept for ourselves: the agent's answer is waited for in the rest.
const OWN_GRACE: Duration = Duration::from_millis(500);

/// One call of a transport's method.
pub(super) struct Call {
    node: String,
    what: String,
    timeout: Duration,
    begun: Instant,
}

impl Call {
    /// A call that begins now. `what` is for messages, such as `read /etc/marker`.
    pub(super) fn new(target: &SshTarget, what: String, timeout: Duration) -> Self {
        Self {
            node: target.name.clone(),
            what,
            timeout,
            begun: Instant::now(),
        }
    }

    /// Opens a stream for it, connecting if that is needed. The request is made with the time that is left.
    pub(super) async fn open(
        &self,
        lane: &Lane,
        request: impl Fn(Duration) -> Request,
    ) -> Result<Handle, TransportError> {
        lane.open(self.begun + self.timeout, request).await
    }

    /// Waits for the agent's work, as long as this call may take.
    pub(super) async fn finish<T>(
        &self,
        handle: &Handle,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        let patience = self.timeout + TIMEOUT_GRACE.saturating_sub(OWN_GRACE);
        self.within(handle.link(), self.begun + patience, work)
            .await
    }

    /// Waits for one step of a long work.
    pub(super) async fn step<T>(
        &self,
        handle: &Handle,
        patience: Duration,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        self.within(handle.link(), Instant::now() + patience, work)
            .await
    }

    async fn within<T>(
        &self,
        link: &Link,
        until: Instant,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        let begun = Instant::now();
        match tokio::time::timeout_at(until.into(), work).await {
            Ok(result) => result,
            Err(_) => {
                link.suspect(begun.elapsed());
                Err(TransportError::TimedOut {
                    node: self.node.clone(),
                    timeout: self.timeout,
                })
            }
        }
    }

    /// The error for an event that ends the call and is not what was hoped for.
    pub(super) fn unexpected(&self, event: Event) -> TransportError {
        match event {
            Event::End(End::Failed(failure)) => self.refused(&failure),
            Event::Lost(detail) => TransportError::Lost {
                node: self.node.clone(),
                detail,
            },
            other => self.protocol(format!("{} gave {}", self.what, name(&other))),
        }
    }

    /// The error for what the node's kernel refused.
    pub(super) fn refused(&self, failure: &Failure) -> TransportError {
        self.refused_with(io_error(failure))
    }

    /// The same, with the error as it is.
    pub(super) fn refused_with(&self, source: io::Error) -> TransportError {
        TransportError::Refused {
            node: self.node.clone(),
            what: self.what.clone(),
            source,
        }
    }

    /// The error for an agent that makes no sense.
    pub(super) fn protocol(&self, detail: impl Into<String>) -> TransportError {
        TransportError::Protocol {
            node: self.node.clone(),
            detail: detail.into(),
        }
    }

    /// The error for an agent that ended under way.
    pub(super) fn lost(&self, detail: impl Into<String>) -> TransportError {
        TransportError::Lost {
            node: self.node.clone(),
            detail: detail.into(),
        }
    }
}

fn name(event: &Event) -> &'static str {
    match event {
        Event::Opened => "a connection",
        Event::Data(_) => "bytes that nobody asked for",
        Event::DataError(_) => "standard error that nobody asked for",
        Event::Eof => "an end of bytes",
        Event::End(_) => "another call's end",
        Event::Lost(_) => "a lost link",
    }
}
