//! Watching a node's files: the messages of [`super::message::Request::Watch`].
//!
//! `Opened` from the agent says that nothing is missed from then on; the stream ends with the time that was asked for, or when
//! the controller sends `Eof`:
//!
//! ```text
//! Open   {"watch":{"what":{"log":{"paths":["/srv/harness/dqlite/dqlite.log"],"pattern":"became leader"}},"nth":1}}
//! Opened
//! End    {"watched":{"hit":{"path":"/srv/harness/dqlite/dqlite.log","text":"… became leader","monotonic_ns":5120004,"wall_ns":1763800000000000000},"seen":1}}
//! ```
//!
//! Laws: only what happens after `Opened` counts; a log is followed across renaming, removing, cutting and making it anew, and so
//! are folders on the way to it; nothing is polled.

use serde::{Deserialize, Serialize};

use crate::trigger::FileEvent;

/// Bytes of a log's line that are looked at, at most.
pub const MAX_LINE_BYTES: usize = 64 * 1024;
/// Characters of a line or path that are told, at most.
pub const MAX_TOLD_CHARS: usize = 300;
/// Files that are followed at once, at most.
pub const MAX_PATHS: usize = 64;
/// Folders that a glob may lead through, at most.
pub const MAX_FOLDERS: usize = 4096;

/// What to watch, and which time ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchRequest {
    /// What to watch.
    pub what: WatchTarget,
    /// Which time ends it, from 1.
    pub nth: u64,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WatchTarget {
    /// Lines that are appended to files; the files may not be there yet.
    Log {
        /// The files; 1 to [`MAX_PATHS`].
        paths: Vec<String>,
        /// A regular expression that matches somewhere in the line.
        pattern: String,
    },
    /// Files that match a glob.
    File {
        /// The path, from `/` on: `*` and `?` match within a name, `**` across folders.
        glob: String,
        /// What happens to them.
        event: FileEvent,
    },
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchHit {
    /// The file.
    pub path: String,
    /// The line of a log, perhaps cut; empty for a file's event.
    pub text: String,
    /// When it was noticed: the node's `CLOCK_MONOTONIC` in nanoseconds.
    pub monotonic_ns: i64,
    /// The same on the node's wall clock, in nanoseconds since 1970.
    pub wall_ns: i64,
}

/// Nothing is watched any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchEnd {
    /// The time that was asked for, if it came.
    pub hit: Option<WatchHit>,
    /// How often it was seen.
    pub seen: u64,
}
