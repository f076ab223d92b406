//! SIGINT, SIGTERM and SIGHUP: the first ends the run in order, the second heals and leaves at once.

use std::io;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};

use crate::cancel::{Cancel, Level};

/// Listens for signals until dropped; from then on they are ignored (tokio does not give a signal's old action back).
#[derive(Debug)]
pub struct Signals {
    task: JoinHandle<()>,
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Listens from now on. Needs a tokio runtime. `said` is called with the signal's name and the level that it led to.
///
/// # Errors
/// If the handlers cannot be set.
pub fn listen(
    cancel: Cancel,
    said: impl Fn(&'static str, Level) + Send + 'static,
) -> io::Result<Signals> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let task = tokio::spawn(async move {
        loop {
            let name = next(&mut interrupt, &mut terminate, &mut hangup).await;
            let level = if cancel.is_raised() {
                Level::Leave
            } else {
                Level::Stop
            };
            cancel.raise(level);
            said(name, level);
        }
    });
    Ok(Signals { task })
}

async fn next(interrupt: &mut Signal, terminate: &mut Signal, hangup: &mut Signal) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    }
}
