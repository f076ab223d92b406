//! What to look for in product logs, how bad it is, and why.
//!
//! An **error** is something that a correct program never prints, whatever the network and the machine do to it. A line that
//! also appears when quorum is really lost, or when a follower simply catches up, is a **warning** or less: it is told,
//! and changes no verdict. Sources: the C library's, Go's, Rust's and the sanitizers' messages; libraft and libdqlite as
//! packaged in Debian.

use harness_core::verdict::Severity;

/// One pattern, matched against each line.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    /// A stable word for notes.
    pub kind: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it is called in a headline.
    pub title: &'static str,
    /// Why it is as bad as that.
    pub why: &'static str,
    /// A regular expression on bytes, without Unicode classes.
    pub regex: &'static str,
}

const fn error(
    kind: &'static str,
    title: &'static str,
    why: &'static str,
    regex: &'static str,
) -> Pattern {
    Pattern {
        kind,
        severity: Severity::Error,
        title,
        why,
        regex,
    }
}

const fn warning(
    kind: &'static str,
    title: &'static str,
    why: &'static str,
    regex: &'static str,
) -> Pattern {
    Pattern {
        kind,
        severity: Severity::Warning,
        title,
        why,
        regex,
    }
}

/// All patterns. Of several that match a line the first counts.
pub const PATTERNS: &[Pattern] = &[
    error(
        "assertion",
        "An assertion failed.",
        "the program found itself in a state that its authors ruled out",
        r"(?-u)Assertion .{1,400} failed|: assertion failed: ",
    ),
    error(
        "data-race",
        "A data race was found.",
        "Go's race detector reports only races that happened",
        r"(?-u)WARNING: DATA RACE",
    ),
    error(
        "sanitizer",
        "A sanitizer reported an error.",
        "sanitizers report what happened, not what might",
        r"(?-u)(ERROR|WARNING|SUMMARY): (Address|HWAddress|Leak|Memory|Thread|UndefinedBehavior)Sanitizer|^\S+:\d+:\d+: runtime error: ",
    ),
    error(
        "fatal-signal",
        "A fatal signal struck.",
        "a program that touches memory which is not its own is wrong, whatever made it do so",
        r"(?-u)\bSIG(SEGV|BUS|ILL|FPE|ABRT): |\[signal SIG(SEGV|BUS|ILL|FPE|ABRT)|signal arrived during cgo execution|Segmentation fault|segfault at [0-9a-f]+ ip",
    ),
    error(
        "go-runtime",
        "The Go runtime gave up.",
        "the runtime stops only on errors of the program",
        r"(?-u)(^|\s)fatal error: (all goroutines are asleep|concurrent map|unexpected signal|stack overflow|sync: |runtime: |checkptr|found bad pointer|schedule: |bad )",
    ),
    error(
        "panic",
        "The program panicked.",
        "a panic is a way out that nobody planned",
        r"(?-u)(^|\s)panic: |http: panic serving|thread '.{1,200}' panicked at ",
    ),
    error(
        "heap",
        "The heap is corrupt.",
        "the allocator found its own records overwritten",
        r"(?-u)double free or corruption|malloc\(\): |free\(\): (invalid|double)|corrupted size vs\. prev_size|munmap_chunk\(\): |stack smashing detected",
    ),
    error(
        "restart-failure",
        "Raft's files cannot be loaded.",
        "a node must be able to start from what it wrote itself, also after a kill",
        r"(?-u)closed segment \S+ is past last snapshot|load closed segment \S+: |load open segment \S+: .{0,200}corrupt|last entry on disk has index \d+, which is behind last snapshot's index|(header|data) checksum mismatch|metadata1 and metadata2 are both at version",
    ),
    error(
        "committed-conflict",
        "A committed entry was contradicted.",
        "two leaders' logs disagree about what was committed; raft shuts the node down",
        r"(?-u)conflicts with committed entry",
    ),
    warning(
        "out-of-memory",
        "The kernel ran out of memory.",
        "the machine was too small for the run; what follows proves nothing about the system",
        r"(?-u)Out of memory: Killed process|oom-kill:",
    ),
    warning(
        "disk-full",
        "The disk was full.",
        "expected under a disk fault; without one the machine was too small",
        r"(?-u)No space left on device",
    ),
    warning(
        "truncate",
        "A follower's log was truncated.",
        "raft does that when leaders change; together with a snapshot it has been seen before a crash",
        r"(?-u)log mismatch -> truncate|roll back config",
    ),
    warning(
        "no-leader",
        "No leader was known.",
        "also printed while quorum is really lost, as under a partition",
        r"(?-u)no known leader|no available dqlite leader server found",
    ),
    warning(
        "gave-up",
        "The program gave up.",
        "it said why and ended by itself; whether somebody had asked it to end, `crashes` judges",
        r"(?-u)^Error: ",
    ),
];
