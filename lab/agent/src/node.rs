//! What the agent knows about its node and itself: identity, clocks, search path.

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use harness_core::frame::{
    PROTOCOL_VERSION,
    message::{Clock, Hello},
};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Folders of system programs that a login of an ordinary user leaves out.
const SYSTEM_FOLDERS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// The agent's binary, also when its file is gone; for the child of a fork it is the same.
pub const OWN_BINARY: &str = "/proc/self/exe";

/// The agent's introduction.
pub fn hello() -> Hello {
    let name = rustix::system::uname();
    Hello {
        protocol: PROTOCOL_VERSION,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        uid: rustix::process::geteuid().as_raw(),
        boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_default(),
        host: name.nodename().to_string_lossy().into_owned(),
        release: name.release().to_string_lossy().into_owned(),
        machine: name.machine().to_string_lossy().into_owned(),
        executable: fs::read_link(OWN_BINARY)
            .map(|path| path.to_string_lossy().into_owned())
            .unwrap_or_default(),
    }
}

/// Both clocks, read one right after the other.
pub fn clock() -> Clock {
    Clock {
        wall_ns: nanoseconds(clock_gettime(ClockId::Realtime)),
        monotonic_ns: nanoseconds(clock_gettime(ClockId::Monotonic)),
    }
}

fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

/// The time from now to an instant, as poll wants it.
pub fn until(instant: Instant) -> Timespec {
    timespec(instant.saturating_duration_since(Instant::now()))
}

/// A duration as poll wants it.
pub fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

/// A search path for commands, if the agent's own lacks folders of system programs.
pub fn completed_path() -> Option<OsString> {
    let own = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&own).collect();
    let before = folders.len();
    for folder in SYSTEM_FOLDERS {
        if !folders.iter().any(|known| known.as_os_str() == folder) {
            folders.push(folder.into());
        }
    }
    if folders.len() == before {
        return None;
    }
    std::env::join_paths(folders).ok()
}
