//! Probes over a stream to the agent: the first line says that they stand, then a task follows them to their end.
//!
//! Law: the task ends when the probe ended, was dropped, or its link was lost; the stream's end takes the probes away.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_core::frame::{
    message::{End, Request},
    probe::{ProbeArmed, ProbeReport, ProbeRequest},
};

use super::{
    SshTransport,
    call::Call,
    link::{Event, Handle},
    tunnel::io_error,
    utf8,
};
use crate::{
    probe::{PROBE_TIMEOUT, Probe, ProbeDriver, ProbeError, ProbeOrder, Probes},
    transport::TransportError,
};

/// Bytes of one line, at most.
const MAX_LINE_BYTES: usize = 4096;

#[async_trait]
impl Probes for SshTransport {
    async fn arm(&self, order: ProbeOrder) -> Result<Probe, TransportError> {
        let what = format!("probe {}", order.path.display());
        let call = self.call(what, PROBE_TIMEOUT);
        let request = ProbeRequest {
            path: utf8(&call, &order.path)?,
            sites: order.sites,
            report_hits: order.report_hits,
            fire: order.fire,
            keep: order.keep,
        };
        let handle = call
            .open(&self.control, |_| Request::Probe(request.clone()))
            .await?;
        let mut lines = Lines::default();
        let first = call
            .finish(&handle, first_line(&call, &handle, &mut lines))
            .await?;
        let (probe, driver) = Probe::new(&self.target.name, first);
        let node = self.target.name.clone();
        tokio::spawn(async move {
            let end = follow(&handle, lines, &driver).await;
            let end = end.map_err(|detail| ProbeError::Lost { node, detail });
            driver
                .progress
                .send_modify(|progress| progress.end = Some(end));
        });
        Ok(probe)
    }
}

async fn first_line(
    call: &Call,
    handle: &Handle,
    lines: &mut Lines,
) -> Result<ProbeArmed, TransportError> {
    loop {
        match handle.event().await {
            Event::Data(bytes) => lines.push(handle, &bytes),
            // The agent's words name the mend; the kernel's number alone does not.
            Event::End(End::Failed(failure)) => {
                let kind = io_error(&failure).kind();
                return Err(call.refused_with(io::Error::new(kind, failure.message)));
            }
            other => return Err(call.unexpected(other)),
        }
        match lines.next() {
            Ok(None) => {}
            Ok(Some(ProbeReport::Armed(armed))) => return Ok(armed),
            Ok(Some(_)) => return Err(call.protocol("hits before the probes stand")),
            Err(detail) => return Err(call.protocol(detail)),
        }
    }
}

/// Takes reports until the end, which it asks for when told, or when nobody has the probe any more.
async fn follow(
    handle: &Handle,
    mut lines: Lines,
    driver: &ProbeDriver,
) -> Result<harness_core::frame::probe::ProbeEnd, String> {
    let stop = Arc::clone(&driver.stop);
    let mut give_up: Option<tokio::time::Instant> = None;
    loop {
        while let Some(report) = lines.next()? {
            if let ProbeReport::Hit(hit) = report {
                driver.progress.send_modify(|progress| progress.note(hit));
            }
        }
        let patience = async {
            match give_up {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = handle.event() => match event {
                Event::Data(bytes) => lines.push(handle, &bytes),
                Event::End(End::Probed(end)) => return Ok(end),
                Event::End(End::Failed(failure)) => return Err(failure.message),
                Event::Lost(detail) => return Err(detail),
                _ => return Err("the agent sent what is no report".into()),
            },
            () = stop.notified(), if give_up.is_none() => {
                handle.eof();
                give_up = Some(tokio::time::Instant::now() + PROBE_TIMEOUT);
            }
            // The handle is dropped then, which cancels the stream.
            () = driver.progress.closed() => return Err("it was dropped".into()),
            () = patience => return Err(unanswered(PROBE_TIMEOUT)),
        }
    }
}

fn unanswered(after: Duration) -> String {
    format!(
        "the agent did not take it away within {} s",
        after.as_secs()
    )
}

/// Lines out of bytes.
#[derive(Default)]
struct Lines {
    buffer: Vec<u8>,
    start: usize,
}

impl Lines {
    fn push(&mut self, handle: &Handle, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
        handle.consumed(bytes.len());
    }

    fn next(&mut self) -> Result<Option<ProbeReport>, String> {
        let rest = &self.buffer[self.start..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else {
            if rest.len() > MAX_LINE_BYTES {
                return Err(format!("a report longer than {MAX_LINE_BYTES} bytes"));
            }
            return Ok(None);
        };
        let report = serde_json::from_slice(&rest[..length]);
        self.start += length + 1;
        let report = report.map_err(|error| format!("a report that cannot be read: {error}"))?;
        Ok(Some(report))
    }
}
