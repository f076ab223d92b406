//! What can be done on a node, whatever carries it there.
//!
//! Laws that every implementation keeps (the conformance suite asserts them):
//! - a call returns by its time-out (plus [`TIMEOUT_GRACE`]); a command that ran out of time is
//!   killed with its whole process group before the call returns [`ExitStatus::TimedOut`];
//! - a command that a signal ended is [`ExitStatus::Signal`], never a code of 0;
//! - standard output and standard error are drained together, whatever is written to which;
//! - output beyond the limit is counted and dropped, never buffered;
//! - a lost connection is [`TransportError::Lost`], and the next call connects anew.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{agent::Agent, probe::Probes, watch::Watches};

/// How long after its time-out a call may still take to clean up, at most.
pub const TIMEOUT_GRACE: Duration = Duration::from_secs(5);
/// The time-out of a command that names none.
pub const DEFAULT_EXEC_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of each output stream a command keeps unless it asks for more.
pub const DEFAULT_OUTPUT_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// A command to run on a node; no shell is involved unless `argv` names one.
#[derive(Clone, Debug)]
pub struct Exec {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables set in addition to the agent's own environment.
    pub env: Vec<(String, String)>,
    /// Bytes for standard input, which is closed after them.
    pub stdin: Vec<u8>,
    /// Time that it may take.
    pub timeout: Duration,
    /// Bytes kept of each of standard output and standard error.
    pub output_limit_bytes: usize,
}

impl Exec {
    /// A command with the default limits and no input.
    pub fn new<I, S>(argv: I) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            stdin: Vec::new(),
            timeout: DEFAULT_EXEC_TIMEOUT,
            output_limit_bytes: DEFAULT_OUTPUT_LIMIT_BYTES,
        }
    }

    /// A shell script, run by `/bin/sh -c`.
    pub fn shell(script: impl Into<String>) -> Self {
        Self::new(["/bin/sh".into(), "-c".into(), script.into()])
    }

    /// Sets the bytes for standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets the time that it may take.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitStatus {
    /// It exited by itself with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It ran out of time and was killed, with its process group.
    TimedOut,
}

impl ExitStatus {
    /// Whether it exited by itself with code 0.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

/// What a command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// The first bytes of standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// The first bytes of standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// Bytes of standard output beyond the limit, which were dropped.
    pub stdout_dropped_bytes: u64,
    /// Bytes of standard error beyond the limit, which were dropped.
    pub stderr_dropped_bytes: u64,
    /// Time from its start to its end, on the node's monotonic clock.
    pub duration: Duration,
}

impl Output {
    /// Standard output as text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text, with what is not UTF-8 replaced.
    #[must_use]
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// A process that is to live on without us, in a session of its own.
///
/// The agent's supervisor starts it, writes `pid_file` (`PID STARTTIME`, the start time as
/// in field 22 of `/proc/PID/stat`) before the program runs, appends both outputs to `log_file`, and writes
/// `exit_file` when it ends (one JSON object: `{"pid":7,"code":0}` or `{"pid":7,"signal":9,"core":false}`, with `wall_ns`).
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables set in addition to the agent's own environment.
    pub env: Vec<(String, String)>,
    /// Where its process id goes.
    pub pid_file: PathBuf,
    /// Where its standard output and standard error are appended.
    pub log_file: PathBuf,
    /// Where its end is recorded.
    pub exit_file: PathBuf,
}

/// Something on the node to connect to, as seen from the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// A TCP address; the connection leaves from the node, so a partition of the node cuts it.
    Tcp(SocketAddr),
    /// A unix socket by path.
    Unix(PathBuf),
    /// An abstract unix socket by name, without the leading NUL byte.
    Abstract(String),
}

/// How far a node's wall clock is from the controller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// Node's wall clock minus controller's, in nanoseconds.
    pub wall_offset_ns: i64,
    /// Node's `CLOCK_MONOTONIC` minus the controller's own run clock origin is not known to the transport; this
    /// is the node's monotonic clock minus the controller's `CLOCK_MONOTONIC`, in nanoseconds.
    pub monotonic_offset_ns: i64,
    /// The true offsets lie within this many nanoseconds of the ones given (half the best round trip).
    pub bound_ns: u64,
}

/// A stream to something on a node.
pub trait NodeStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> NodeStream for T {}

/// Why something could not be done on a node. None of these says anything about the system under test.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// No session could be had.
    #[error("{node} cannot be reached at {address}")]
    Unreachable {
        /// The node's name.
        node: String,
        /// Where it was looked for.
        address: String,
        /// What stood in the way.
        #[source]
        source: std::io::Error,
    },
    /// The node's host key is not the one that was expected.
    #[error("{node} shows a host key that is not the known one ({detail})")]
    HostKey {
        /// The node's name.
        node: String,
        /// Expected and shown fingerprints, and the mend.
        detail: String,
    },
    /// The node refused our key.
    #[error("{node} refuses to let {user} in ({detail})")]
    Authentication {
        /// The node's name.
        node: String,
        /// The user that was tried.
        user: String,
        /// What was tried, and the mend.
        detail: String,
    },
    /// The connection went away while something was under way; it may or may not have happened.
    #[error("the connection to {node} was lost ({detail})")]
    Lost {
        /// The node's name.
        node: String,
        /// What was noticed.
        detail: String,
    },
    /// The node did as told, and its kernel answered with an error, such as `ENOENT` or `ECONNREFUSED`.
    #[error("{node}: {what}")]
    Refused {
        /// The node's name.
        node: String,
        /// What was asked, such as `read /etc/marker`.
        what: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// A file on our own side could not be read or written.
    #[error("{what}")]
    Local {
        /// What was tried, such as `write /tmp/n1.log`.
        what: String,
        /// Our kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// No answer within the time-out.
    #[error("{node} did not answer within {} ms", .timeout.as_millis())]
    TimedOut {
        /// The node's name.
        node: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The agent said something that makes no sense.
    #[error("{node}'s agent broke the protocol ({detail})")]
    Protocol {
        /// The node's name.
        node: String,
        /// What was wrong.
        detail: String,
    },
    /// The node lacks our marker file.
    #[error(
        "{node} has no marker file {marker}, so it is not ours to touch (mend: harness lab down, then harness lab up, with --adopt for an inventory)"
    )]
    NotOurs {
        /// The node's name.
        node: String,
        /// The path that was looked for.
        marker: String,
    },
}

/// Everything that can be done on a node. See the module's laws.
#[async_trait]
pub trait Transport: Send + Sync {
    /// The node's name, for messages.
    fn node(&self) -> &str;

    /// Runs a command to its end. Whatever it leaves in its process group is killed then; what is to live
    /// on is started with [`Transport::spawn`].
    async fn exec(&self, exec: Exec) -> Result<Output, TransportError>;

    /// Starts a process that outlives us, and returns its process id. See [`Daemon`].
    async fn spawn(&self, daemon: Daemon) -> Result<u32, TransportError>;

    /// Reads up to `limit_bytes` of a file from `offset_bytes` on; short reads mean the end of the file.
    async fn read_file(
        &self,
        path: &Path,
        offset_bytes: u64,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, TransportError>;

    /// Writes a whole file under a temporary name, then renames it into place. Makes parent folders.
    async fn write_file(&self, path: &Path, mode: u32, bytes: &[u8]) -> Result<(), TransportError>;

    /// Copies a local file to the node, over the bulk session.
    async fn upload(&self, local: &Path, remote: &Path, mode: u32) -> Result<u64, TransportError>;

    /// Copies a file of the node to a local one, over the bulk session; returns its size in bytes. A file
    /// larger than `limit_bytes` is [`TransportError::Refused`] with `EFBIG`, and nothing is left of it.
    async fn download(
        &self,
        remote: &Path,
        local: &Path,
        limit_bytes: u64,
    ) -> Result<u64, TransportError>;

    /// Connects from the node to an address.
    async fn connect(
        &self,
        address: &Address,
        timeout: Duration,
    ) -> Result<Box<dyn NodeStream>, TransportError>;

    /// Measures how far the node's clocks are from ours: the best of several round trips.
    async fn clock_offset(&self) -> Result<ClockOffset, TransportError>;

    /// Probing functions of programs on the node; none if this transport cannot.
    fn probes(&self) -> Option<&dyn Probes> {
        None
    }

    /// Guarding, signalling at an instant and booting anew; none if this transport cannot.
    fn agent(&self) -> Option<&dyn Agent> {
        None
    }

    /// Watching logs and files on the node; none if this transport cannot.
    fn watches(&self) -> Option<&dyn Watches> {
        None
    }

    /// Drops the sessions; the agent ends, daemons live on. The next call connects anew.
    async fn close(&self);
}
