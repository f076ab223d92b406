//! Probes on functions of a program that runs on the node: the messages of [`super::message::Request::Probe`].
//!
//! The stream lives as long as its probes. The agent answers with data, one JSON object a line; `Eof` from the controller
//! asks it to take the probes away, which it does before it sends [`super::message::End::Probed`]:
//!
//! ```text
//! Open  {"probe":{"path":"/usr/bin/lxd","sites":[{"offset":14316736,"entry":18446742961137982796}],"report_hits":0,"fire":{"nth":1,"signal":"kill"}}}
//! Data  {"armed":{"method":"uprobe-pmu","attach_ns":61000,"monotonic_ns":5120004,"wall_ns":1763800000000000000}}
//! Data  {"hit":{"site":0,"hit":1,"pid":812,"tid":815,"ip":18510016,"monotonic_ns":7120004,"wall_ns":1763800002000000000,"fired":true,"signal_errno":0}}
//! End   {"probed":{"hits":[1],"elsewhere":3,"lost":0}}
//! ```
//!
//! Laws: a probe counts and fires only for processes of the node's own pid namespace, since containers of one image share
//! the program's inode; it is gone when its stream is, however that ends, unless it is to be kept ([`Keep`]); hits are counted over all
//! processes and threads of the node.

use serde::{Deserialize, Serialize};

/// Sites of one request, at most.
pub const MAX_SITES: usize = 16_384;
/// Sites that may turn out not to be probeable, at most.
pub const MAX_UNPROBED_SITES: usize = 256;

/// What to probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeRequest {
    /// The program or library, as the node's own path.
    pub path: String,
    /// Where in it; one at least, [`MAX_SITES`] at most.
    pub sites: Vec<Site>,
    /// How many hits of each site are reported from its first on; all are counted.
    pub report_hits: u64,
    /// What happens at a certain hit; none to count only.
    pub fire: Option<Fire>,
    /// Whether it outlives the channel for a while; of one site only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<Keep>,
}

/// The longest time for which a probe is kept, in milliseconds.
pub const MAX_KEEP_MS: u64 = 60_000;

/// A probe goes on when the channel is lost; who asks for the same key on a new channel gets that very probe, with all that it has counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// Letters, digits, `-` and `_`, 1 to 64 of them; one probe has it on a node.
    pub key: String,
    /// For how long without a channel, in milliseconds, at most [`MAX_KEEP_MS`].
    pub for_ms: u64,
}

/// An instruction of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Where it lies in the file, in bytes.
    pub offset: u64,
    /// The eight bytes there, little-endian. Another file has others, and is refused.
    pub entry: u64,
}

/// What happens at a certain hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fire {
    /// At which hit of a site, from 1.
    pub nth: u64,
    /// What the process that hits it is sent; none to report only.
    pub signal: Option<ProbeSignal>,
}

/// What a process is sent at the instruction itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeSignal {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Stop,
}

/// How probes were attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProbeMethod {
    /// A perf event on the uprobe PMU for each.
    UprobePmu,
    /// One link for all of them (Linux 6.6).
    UprobeMulti,
}

/// One line of the stream's data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ProbeReport {
    /// The first line: from now on no hit is missed.
    Armed(ProbeArmed),
    /// A hit.
    Hit(ProbeHit),
}

/// The probes stand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeArmed {
    /// How they were attached.
    pub method: ProbeMethod,
    /// Sites whose instruction the kernel cannot probe, where several are only counted; a single one is refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unprobed: Vec<u32>,
    /// How long attaching took, in nanoseconds.
    pub attach_ns: u64,
    /// When they stood: the node's `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: i64,
    /// The same on the node's wall clock, in nanoseconds since 1970.
    pub wall_ns: i64,
    /// Whether it had been armed on an earlier channel and watched since then without a gap.
    #[serde(default)]
    pub kept: bool,
}

/// A function was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeHit {
    /// Which of the request's sites, from 0.
    pub site: u32,
    /// The how-manieth hit of that site, from 1.
    pub hit: u64,
    /// The process, as the node numbers it.
    pub pid: u32,
    /// Its thread.
    pub tid: u32,
    /// The instruction's address in the process.
    pub ip: u64,
    /// When: the node's `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: i64,
    /// The same on the node's wall clock, in nanoseconds since 1970.
    pub wall_ns: i64,
    /// Whether this is the hit that [`Fire`] names.
    pub fired: bool,
    /// What the kernel answered when the signal was sent, 0 if it was sent; none if none was to be sent.
    pub signal_errno: Option<i32>,
}

/// The probes are gone, and this is what they counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeEnd {
    /// Hits of each site.
    pub hits: Vec<u64>,
    /// Hits in processes that are not this node's, which were left alone.
    pub elsewhere: u64,
    /// Hits that were counted but whose report found no room.
    pub lost: u64,
}
