//! The one transport of product runs: SSH to `harness-agent` on the node.
//!
//! ```text
//!  callers ──frames──► Link ──wake──► actor thread (session, channel) ══SSH══ sshd ── harness-agent
//!        ◄──events───      ◄─deliver─
//! ```
//!
//! Each node has two lanes, each a session with an agent of its own, opened when first used: *control*
//! for everything that is quick, and *bulk* for uploads and downloads, so that no fault queues behind a download.
//! Everything goes over one channel a session as frames ([`harness_core::frame`]): sshd allows 10
//! channels a session, and an SSH exec costs 10 to 250 ms.
//!
//! Laws: those of [`crate::transport`].

mod actor;
mod bootstrap;
mod bulk;
mod call;
mod direct;
mod hostkey;
mod image;
mod jump;
mod lane;
mod link;
mod probing;
mod session;
mod target;
mod tunnel;
mod watching;

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use harness_core::frame::message::{
    Clock, End, Ending, ExecEnd, ExecRequest, Hello, Request, SpawnRequest, Stat, Target,
};
use rustix::time::{ClockId, clock_gettime};

pub use image::{agent_image, agent_image_sha256};
pub use target::{Auth, DEFAULT_SSH_PORT, HostKeyPolicy, JumpHost, SshTarget};

use crate::agent::Agent;
use crate::probe::Probes;
use crate::transport::{
    Address, ClockOffset, Daemon, Exec, ExitStatus, NodeStream, Output, Transport, TransportError,
};
use crate::watch::Watches;
use call::Call;
use lane::Lane;
use link::{Event, Handle};
use tunnel::Tunnel;

/// Time for a call that has no time-out of its own.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Round trips of a measurement of clocks.
const CLOCK_ROUNDS: usize = 12;

/// SSH to `harness-agent` on one node.
pub struct SshTransport {
    target: Arc<SshTarget>,
    control: Lane,
    bulk: Lane,
}

impl SshTransport {
    /// A transport that connects when it is first used.
    #[must_use]
    pub fn new(target: SshTarget) -> Self {
        let target = Arc::new(target);
        Self {
            control: Lane::new(Arc::clone(&target), "control"),
            bulk: Lane::new(Arc::clone(&target), "bulk"),
            target,
        }
    }

    /// Where it connects to.
    #[must_use]
    pub fn target(&self) -> &SshTarget {
        &self.target
    }

    /// What the agent of the control session says about itself and its node.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn hello(&self) -> Result<Hello, TransportError> {
        let call = Call::new(&self.target, "say hello".into(), CALL_TIMEOUT);
        let handle = call.open(&self.control, |_| Request::Clock).await?;
        Ok(handle.link().hello().clone())
    }

    /// Looks at a file of the node, without following a last symbolic link.
    ///
    /// # Errors
    /// [`TransportError::Refused`] with `ENOENT` if there is none; those of connecting.
    pub async fn stat(&self, path: &Path) -> Result<Stat, TransportError> {
        let call = self.call(format!("look at {}", path.display()), CALL_TIMEOUT);
        let path = utf8(&call, path)?;
        let handle = call
            .open(&self.control, |_| Request::Stat { path: path.clone() })
            .await?;
        let end = call
            .finish(&handle, async { Ok(handle.event().await) })
            .await?;
        match end {
            Event::End(End::Stat(stat)) => Ok(stat),
            other => Err(call.unexpected(other)),
        }
    }

    fn call(&self, what: String, timeout: Duration) -> Call {
        Call::new(&self.target, what, timeout)
    }

    async fn clock_round(&self, call: &Call) -> Result<ClockOffset, TransportError> {
        let handle = call.open(&self.control, |_| Request::Clock).await?;
        // The first round connects, and is then thrown away for being slow.
        call.finish(&handle, async { Ok(handle.event().await) })
            .await?;
        let before = own_clock();
        let handle = call.open(&self.control, |_| Request::Clock).await?;
        let event = call
            .finish(&handle, async { Ok(handle.event().await) })
            .await?;
        let after = own_clock();
        let Event::End(End::Clock(node)) = event else {
            return Err(call.unexpected(event));
        };
        Ok(offset(before, node, after))
    }
}

/// The path as the agent wants it.
fn utf8(call: &Call, path: &Path) -> Result<String, TransportError> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        call.refused_with(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the path is not UTF-8",
        ))
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn own_clock() -> Clock {
    let monotonic = clock_gettime(ClockId::Monotonic);
    let wall = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Clock {
        wall_ns: i64::try_from(wall.as_nanos()).unwrap_or(i64::MAX),
        monotonic_ns: monotonic
            .tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(monotonic.tv_nsec),
    }
}

/// The node read its clocks somewhere between our two readings; the middle is off by half of that at most.
fn offset(before: Clock, node: Clock, after: Clock) -> ClockOffset {
    let middle = |before: i64, after: i64| before + (after - before) / 2;
    let round_trip_ns = (after.monotonic_ns - before.monotonic_ns).max(0);
    ClockOffset {
        wall_offset_ns: node.wall_ns - middle(before.wall_ns, after.wall_ns),
        monotonic_offset_ns: node.monotonic_ns - middle(before.monotonic_ns, after.monotonic_ns),
        bound_ns: round_trip_ns.unsigned_abs() / 2 + 1,
    }
}

/// Takes a command's outputs until its end.
async fn collect(
    call: &Call,
    handle: &Handle,
    limit_bytes: usize,
) -> Result<(ExecEnd, Vec<u8>, Vec<u8>), TransportError> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        let (output, bytes) = match handle.event().await {
            Event::Data(bytes) => (&mut stdout, bytes),
            Event::DataError(bytes) => (&mut stderr, bytes),
            Event::End(End::Exec(end)) => return Ok((end, stdout, stderr)),
            other => return Err(call.unexpected(other)),
        };
        if output.len() + bytes.len() > limit_bytes {
            return Err(call.protocol("it sends more output than it may"));
        }
        output.extend_from_slice(&bytes);
        handle.consumed(bytes.len());
    }
}

#[async_trait]
impl Transport for SshTransport {
    fn node(&self) -> &str {
        &self.target.name
    }

    async fn exec(&self, exec: Exec) -> Result<Output, TransportError> {
        let program = exec.argv.first().cloned().unwrap_or_default();
        let call = self.call(format!("run {program}"), exec.timeout);
        let request = |left| {
            Request::Exec(ExecRequest {
                argv: exec.argv.clone(),
                env: exec.env.clone(),
                stdin: !exec.stdin.is_empty(),
                timeout_ms: milliseconds(left),
                output_limit_bytes: exec.output_limit_bytes as u64,
            })
        };
        let handle = call.open(&self.control, request).await?;
        let feed = async {
            // A command that ends without having read everything is none of our business.
            if !exec.stdin.is_empty() && handle.send_all(&exec.stdin).await {
                handle.eof();
            }
        };
        let work = async {
            let collected = collect(&call, &handle, exec.output_limit_bytes);
            tokio::join!(feed, collected).1
        };
        let (end, stdout, stderr) = call.finish(&handle, work).await?;
        if end.left_over > 0 {
            tracing::warn!(
                node = self.node(),
                program,
                left_over = end.left_over,
                "processes of a command could not be killed"
            );
        }
        let status = match end.ending {
            Ending::Code(code) => ExitStatus::Code(code),
            Ending::Signal(signal) => ExitStatus::Signal(signal),
            Ending::TimedOut => ExitStatus::TimedOut,
            Ending::Cancelled => return Err(call.lost("the agent was ended")),
        };
        Ok(Output {
            status,
            stdout,
            stderr,
            stdout_dropped_bytes: end.stdout_dropped_bytes,
            stderr_dropped_bytes: end.stderr_dropped_bytes,
            duration: Duration::from_nanos(end.duration_ns),
        })
    }

    async fn spawn(&self, daemon: Daemon) -> Result<u32, TransportError> {
        let program = daemon.argv.first().cloned().unwrap_or_default();
        let call = self.call(format!("start {program}"), CALL_TIMEOUT);
        let request = SpawnRequest {
            pid_file: utf8(&call, &daemon.pid_file)?,
            log_file: utf8(&call, &daemon.log_file)?,
            exit_file: utf8(&call, &daemon.exit_file)?,
            argv: daemon.argv,
            env: daemon.env,
        };
        let handle = call
            .open(&self.control, |_| Request::Spawn(request.clone()))
            .await?;
        let end = call
            .finish(&handle, async { Ok(handle.event().await) })
            .await?;
        match end {
            Event::End(End::Spawned { pid }) => Ok(pid),
            other => Err(call.unexpected(other)),
        }
    }

    async fn read_file(
        &self,
        path: &Path,
        offset_bytes: u64,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, TransportError> {
        let call = self.call(format!("read {}", path.display()), CALL_TIMEOUT);
        let path = utf8(&call, path)?;
        let request = |_| Request::ReadFile {
            path: path.clone(),
            offset_bytes,
            limit_bytes: limit_bytes as u64,
        };
        let handle = call.open(&self.control, request).await?;
        let work = async {
            let mut content = Vec::new();
            loop {
                match handle.event().await {
                    Event::Data(bytes) if content.len() + bytes.len() <= limit_bytes => {
                        content.extend_from_slice(&bytes);
                        handle.consumed(bytes.len());
                    }
                    Event::End(End::File { .. }) => return Ok(content),
                    other => return Err(call.unexpected(other)),
                }
            }
        };
        call.finish(&handle, work).await
    }

    async fn write_file(&self, path: &Path, mode: u32, bytes: &[u8]) -> Result<(), TransportError> {
        let call = self.call(format!("write {}", path.display()), CALL_TIMEOUT);
        let path = utf8(&call, path)?;
        let request = |_| Request::WriteFile {
            path: path.clone(),
            mode,
        };
        let handle = call.open(&self.control, request).await?;
        let work = async {
            if handle.send_all(bytes).await {
                handle.eof();
            }
            match handle.event().await {
                Event::End(End::File { .. }) => Ok(()),
                other => Err(call.unexpected(other)),
            }
        };
        call.finish(&handle, work).await
    }

    async fn upload(&self, local: &Path, remote: &Path, mode: u32) -> Result<u64, TransportError> {
        bulk::upload(&self.target, &self.bulk, local, remote, mode).await
    }

    async fn download(
        &self,
        remote: &Path,
        local: &Path,
        limit_bytes: u64,
    ) -> Result<u64, TransportError> {
        bulk::download(&self.target, &self.bulk, remote, local, limit_bytes).await
    }

    async fn connect(
        &self,
        address: &Address,
        timeout: Duration,
    ) -> Result<Box<dyn NodeStream>, TransportError> {
        let call = self.call(format!("connect to {address:?}"), timeout);
        let target = match address {
            Address::Tcp(address) => Target::Tcp(*address),
            Address::Unix(path) => Target::Unix(utf8(&call, path)?),
            Address::Abstract(name) => Target::Abstract(name.clone()),
        };
        let request = |left| Request::Connect {
            target: target.clone(),
            timeout_ms: milliseconds(left),
        };
        let handle = call.open(&self.control, request).await?;
        let opened = call
            .finish(&handle, async { Ok(handle.event().await) })
            .await?;
        match opened {
            Event::Opened => Ok(Box::new(Tunnel::new(handle))),
            other => Err(call.unexpected(other)),
        }
    }

    async fn clock_offset(&self) -> Result<ClockOffset, TransportError> {
        let call = self.call("read the clocks".into(), CALL_TIMEOUT);
        let mut best = self.clock_round(&call).await?;
        for _ in 1..CLOCK_ROUNDS {
            let round = self.clock_round(&call).await?;
            if round.bound_ns < best.bound_ns {
                best = round;
            }
        }
        Ok(best)
    }

    fn probes(&self) -> Option<&dyn Probes> {
        Some(self)
    }

    fn agent(&self) -> Option<&dyn Agent> {
        Some(self)
    }

    fn watches(&self) -> Option<&dyn Watches> {
        Some(self)
    }

    async fn close(&self) {
        self.control.close().await;
        self.bulk.close().await;
    }
}
