//! The JSON payloads of the control frames.
//!
//! Laws: unknown fields are ignored, so that an older side understands a newer one of the same
//! protocol version; paths and arguments are UTF-8; an error is the kernel's number where there is one.
//!
//! ```text
//! Open  {"exec":{"argv":["uname","-r"],"env":[],"stdin":false,"timeout_ms":30000,"output_limit_bytes":4194304}}
//! End   {"exec":{"ending":{"code":0},"stdout_dropped_bytes":0,"stderr_dropped_bytes":0,"duration_ns":1204311,"left_over":0}}
//! End   {"failed":{"errno":2,"message":"No such file or directory (os error 2)"}}
//! ```

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{
    guard::{GuardEnd, GuardRequest},
    probe::{ProbeEnd, ProbeRequest},
    signal::{SignalEnd, SignalRequest},
    watch::{WatchEnd, WatchRequest},
};

/// The controller's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`super::PROTOCOL_VERSION`] as the controller was built with.
    pub protocol: u32,
    /// The controller's version, for messages.
    pub version: String,
}

/// The agent's first frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`super::PROTOCOL_VERSION`] as the agent was built with.
    pub protocol: u32,
    /// The agent's version.
    pub version: String,
    /// The agent's process id.
    pub pid: u32,
    /// The user that it runs as.
    pub uid: u32,
    /// The kernel's boot id: another one means that the node was booted anew.
    pub boot_id: String,
    /// The node's own name for itself.
    pub host: String,
    /// The kernel's release, such as `6.1.0-13-amd64`.
    pub release: String,
    /// The machine's kind, such as `x86_64`.
    pub machine: String,
    /// Where the agent's binary lies on the node.
    pub executable: String,
}

/// What a stream is opened for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Request {
    /// Runs a command in a process group of its own; ends with [`End::Exec`].
    Exec(ExecRequest),
    /// Starts a daemon under a supervisor; ends with [`End::Spawned`].
    Spawn(SpawnRequest),
    /// Sends a file's bytes as data; ends with [`End::File`].
    ReadFile {
        /// The file.
        path: String,
        /// Where to begin, in bytes.
        offset_bytes: u64,
        /// How much to send at most.
        limit_bytes: u64,
    },
    /// Takes data until `Eof` as a file's new content; ends with [`End::File`].
    WriteFile {
        /// The file.
        path: String,
        /// Its permissions.
        mode: u32,
    },
    /// Looks at a file without following a last symbolic link; ends with [`End::Stat`].
    Stat {
        /// The file.
        path: String,
    },
    /// Connects; then [`super::Kind::Opened`] and data both ways; ends with [`End::Closed`].
    Connect {
        /// Where to.
        target: Target,
        /// How long that may take.
        timeout_ms: u64,
    },
    /// Reads the clocks; ends with [`End::Clock`].
    Clock,
    /// Watches functions of a program until the controller sends `Eof`; ends with [`End::Probed`]. See [`super::probe`].
    Probe(ProbeRequest),
    /// Hands over what undoes the faults that hold here, and renews the lease; ends with [`End::Guarded`]. See [`super::guard`].
    Guard(GuardRequest),
    /// Signals a process, perhaps at an instant; ends with [`End::Signalled`]. See [`super::signal`].
    Signal(SignalRequest),
    /// Boots the node anew; the connection is lost then. Ends with [`End::Failed`] if that cannot be had.
    Reboot,
    /// Watches logs or files until the controller sends `Eof`; [`super::Kind::Opened`], then [`End::Watched`]. See [`super::watch`].
    Watch(WatchRequest),
}

/// A command to run to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables in addition to the agent's own.
    pub env: Vec<(String, String)>,
    /// Whether data and an `Eof` for standard input follow; otherwise it is empty.
    pub stdin: bool,
    /// Time that it may take, on the node's monotonic clock.
    pub timeout_ms: u64,
    /// Bytes of each output that are sent; the rest is counted.
    pub output_limit_bytes: u64,
}

/// A process that lives on without the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnRequest {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables in addition to the agent's own.
    pub env: Vec<(String, String)>,
    /// Where `PID STARTTIME` goes.
    pub pid_file: String,
    /// Where both outputs are appended.
    pub log_file: String,
    /// Where its end is recorded.
    pub exit_file: String,
}

/// Something on the node to connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A TCP address.
    Tcp(SocketAddr),
    /// A unix socket by path.
    Unix(String),
    /// An abstract unix socket by name, without the leading NUL byte.
    Abstract(String),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It exited by itself with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It ran out of time and was killed.
    TimedOut,
    /// Its stream was cancelled and it was killed.
    Cancelled,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum End {
    /// A command ended.
    Exec(ExecEnd),
    /// A daemon was started.
    Spawned {
        /// Its process id (not its supervisor's).
        pid: u32,
    },
    /// A file was read or written.
    File {
        /// Bytes sent or written.
        bytes: u64,
    },
    /// A file was looked at.
    Stat(Stat),
    /// A connection was closed by both sides.
    Closed,
    /// The clocks were read.
    Clock(Clock),
    /// Probes were taken away.
    Probed(ProbeEnd),
    /// The guard was told.
    Guarded(GuardEnd),
    /// A process was signalled.
    Signalled(SignalEnd),
    /// Logs or files are not watched any more.
    Watched(WatchEnd),
    /// It could not be done.
    Failed(Failure),
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecEnd {
    /// How its process ended.
    pub ending: Ending,
    /// Bytes of standard output beyond the limit.
    pub stdout_dropped_bytes: u64,
    /// Bytes of standard error beyond the limit.
    pub stderr_dropped_bytes: u64,
    /// From its start to its end, on the node's monotonic clock.
    pub duration_ns: u64,
    /// Processes of its group that were still there when killing them was given up.
    pub left_over: u32,
}

/// What was seen of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its kind and permissions, as in `st_mode`.
    pub mode: u32,
    /// The user that owns it.
    pub uid: u32,
    /// The time of its last change of content, in nanoseconds since 1970.
    pub modified_ns: i64,
}

/// The node's clocks, read one right after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// `CLOCK_REALTIME` in nanoseconds.
    pub wall_ns: i64,
    /// `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: i64,
}

/// The kernel's answer to what could not be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The error number; none if it was not the kernel that said no.
    pub errno: Option<i32>,
    /// The same for people.
    pub message: String,
}
