//! What [`crate::agent::Agent`] promises, over SSH.

use std::time::Duration;

use async_trait::async_trait;
use harness_core::frame::{
    guard::{GuardEnd, GuardRequest},
    message::{End, Request},
    signal::{SignalEnd, SignalRequest},
};

use super::{CALL_TIMEOUT, SshTransport, call::Call, link::Event};
use crate::{
    agent::{Agent, GUARD_TIMEOUT, REBOOT_TIMEOUT},
    transport::{Transport as _, TransportError},
};

impl SshTransport {
    /// Asks for something that is answered by the end of its stream.
    async fn ask(
        &self,
        what: &str,
        timeout: Duration,
        request: Request,
    ) -> Result<(Call, Event), TransportError> {
        let call = self.call(what.to_owned(), timeout);
        let handle = call.open(&self.control, |_| request.clone()).await?;
        let end = call
            .finish(&handle, async { Ok(handle.event().await) })
            .await?;
        Ok((call, end))
    }
}

#[async_trait]
impl Agent for SshTransport {
    async fn guard(&self, request: &GuardRequest) -> Result<GuardEnd, TransportError> {
        let request = Request::Guard(request.clone());
        match self.ask("tell the guard", GUARD_TIMEOUT, request).await? {
            (_, Event::End(End::Guarded(end))) => Ok(end),
            (call, other) => Err(call.unexpected(other)),
        }
    }

    async fn signal(&self, request: &SignalRequest) -> Result<SignalEnd, TransportError> {
        let what = format!("signal process {}", request.pid);
        let request = Request::Signal(request.clone());
        match self.ask(&what, CALL_TIMEOUT, request).await? {
            (_, Event::End(End::Signalled(end))) => Ok(end),
            (call, other) => Err(call.unexpected(other)),
        }
    }

    async fn reboot(&self) -> Result<(), TransportError> {
        let (call, end) = self
            .ask("boot anew", REBOOT_TIMEOUT, Request::Reboot)
            .await?;
        match end {
            Event::Lost(_) => {
                // The bulk session is as dead, and would notice only when it is used.
                self.close().await;
                Ok(())
            }
            other => Err(call.unexpected(other)),
        }
    }
}
