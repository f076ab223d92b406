//! Watching over a stream to the agent, followed by a task to its end.
//!
//! Law: the task ends when the watch ended, was dropped, or its link was lost; the stream's end takes the watch away.

use std::{io, time::Duration};

use async_trait::async_trait;
use harness_core::frame::message::{End, Request};
use tokio::sync::oneshot;

use super::{
    SshTransport,
    link::{Event, Handle},
    tunnel::io_error,
};
use crate::{
    transport::TransportError,
    watch::{WatchHit, WatchRequest, Watches, Watching},
};

/// How long beginning to watch may take; thousands of folders take a second.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30);

#[async_trait]
impl Watches for SshTransport {
    async fn watch(&self, request: WatchRequest) -> Result<Watching, TransportError> {
        let call = self.call("watch".to_owned(), WATCH_TIMEOUT);
        let handle = call
            .open(&self.control, |_| Request::Watch(request.clone()))
            .await?;
        let opened = async {
            match handle.event().await {
                Event::Opened => Ok(()),
                // The agent's words name the mend; the kernel's number alone does not.
                Event::End(End::Failed(failure)) => {
                    let kind = io_error(&failure).kind();
                    Err(call.refused_with(io::Error::new(kind, failure.message)))
                }
                other => Err(call.unexpected(other)),
            }
        };
        call.finish(&handle, opened).await?;
        let (watching, ended) = Watching::new(&self.target.name);
        tokio::spawn(follow(handle, ended));
        Ok(watching)
    }
}

/// Dropping the handle cancels the stream.
async fn follow(handle: Handle, mut ended: oneshot::Sender<Result<WatchHit, String>>) {
    let end = tokio::select! {
        () = ended.closed() => return,
        event = handle.event() => match event {
            Event::End(End::Watched(end)) => end.hit.ok_or_else(|| "the agent was told to stop".to_owned()),
            Event::End(End::Failed(failure)) => Err(failure.message),
            Event::Lost(detail) => Err(detail),
            _ => Err("the agent sent what is no end".to_owned()),
        },
    };
    // Nobody may wait for it any more.
    let _ = ended.send(end);
}
