//! Faults on a node's conditions: its network, its disk, its limits, its files, its clock.
//!
//! Each is a set of shell scripts for the node, rendered here and run by [`crate::exec`]. Pure.
//!
//! Laws:
//! - a fault leaves its notes in a folder of its own ([`script::notes`]) before it changes anything, and its heal reads nothing
//!   else: it can be run by anybody, any number of times, and does nothing where nothing was done;
//! - a heal succeeds only if it has seen that nothing is left;
//! - what a kernel or a node lacks is found by a script that changes nothing ([`script::check`]), before the run;
//! - the controller's connections are never shaped: only addresses of other nodes are named;
//! - what is of the node, and not of the product, is all that they know; the data folder and the process are told.

use std::fmt;

mod clock;
mod disk;
mod files;
mod info;
mod layer;
mod limits;
mod network;
pub mod options;
mod relay;
pub mod script;

pub use info::Words;
pub use options::{Asked, OptionError, Shape};

/// A fault on a node's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Condition {
    /// Packets to and from other nodes are lost at random.
    Loss,
    /// What the node sends to others is limited in its rate.
    Rate,
    /// What the node sends to others comes late.
    Slow,
    /// What the node sends to others comes twice.
    Duplicate,
    /// What the node sends to others changes its order.
    Reorder,
    /// What the node sends to others has bits flipped.
    Corrupt,
    /// The data folder's mount is full.
    DiskFull,
    /// The data folder's mount stands still again and again.
    SlowIo,
    /// Reads, writes and syncs of the data folder fail.
    IoError,
    /// What was written to the data folder and not synced is lost.
    LoseWrites,
    /// The process may open no more files.
    Fds,
    /// The process may take no more memory.
    Memory,
    /// The process gets little of a processor.
    Cpu,
    /// A bit of a file of the data folder is flipped.
    Bitflip,
    /// A file of the data folder loses its end.
    Truncate,
    /// A file of the data folder is gone.
    Remove,
    /// The wall clock jumps, alternates or runs at a wrong rate.
    Clock,
}

/// What one fault at a time may have on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// The queue of what the node sends.
    Queue,
    /// The data folder's mount.
    Mount,
    /// The layer over the data folder.
    Layer,
    /// The process's limit of open files.
    Descriptors,
    /// The process's group of memory.
    Memory,
    /// The process's group of processor time.
    Cpu,
    /// Files of the data folder.
    Files,
    /// The wall clock.
    Clock,
}

/// An option of a fault, as in `rate/bw=1mbit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionInfo {
    /// Its name.
    pub name: &'static str,
    /// What its values look like.
    pub shape: Shape,
    /// What holds if it is not given.
    pub default: &'static str,
    /// What it means, as a fragment.
    pub meaning: &'static str,
}

const fn option(
    name: &'static str,
    shape: Shape,
    default: &'static str,
    meaning: &'static str,
) -> OptionInfo {
    OptionInfo {
        name,
        shape,
        default,
        meaning,
    }
}

const SHARE: &str = "how many of the packets";
const FILE: OptionInfo = option(
    "file",
    Shape::Pattern,
    "*",
    "which file: the one written last of those whose names match and that are not empty",
);
const KILL: OptionInfo = option(
    "kill",
    Shape::YesNo,
    "yes",
    "whether the process is killed before, and started on what is left after",
);
const REJOIN: OptionInfo = option(
    "rejoin",
    Shape::YesNo,
    "yes",
    "whether the node is wiped and joins anew afterwards; else the file is put back as it was",
);

const LOSS: [OptionInfo; 1] = [option("share", Shape::Share, "30%", SHARE)];
const RATE: [OptionInfo; 1] = [option(
    "bw",
    Shape::Bandwidth,
    "256kbit",
    "bits a second to all other nodes together",
)];
const SLOW: [OptionInfo; 2] = [
    option("delay", Shape::Time, "100ms", "how late"),
    option("jitter", Shape::Time, "20ms", "by how much that varies"),
];
const SHARED: [OptionInfo; 1] = [option("share", Shape::Share, "10%", SHARE)];
const REORDER: [OptionInfo; 2] = [
    option("share", Shape::Share, "25%", SHARE),
    option("delay", Shape::Time, "50ms", "how late the others come"),
];
const DISK_FULL: [OptionInfo; 1] = [option(
    "keep",
    Shape::Bytes,
    "0",
    "how many bytes are left free",
)];
const SLOW_IO: [OptionInfo; 2] = [
    option(
        "stall",
        Shape::Time,
        "400ms",
        "how long it stands still at a time",
    ),
    option("every", Shape::Time, "1s", "how often, at least"),
];
const IO_ERROR: [OptionInfo; 3] = [
    option("errno", Shape::Errno, "EIO", "what they fail with"),
    option("ops", Shape::Works, "all", "what fails"),
    option("share", Shape::Share, "100%", "how many of them"),
];
const FDS: [OptionInfo; 1] = [option(
    "spare",
    Shape::Count,
    "0",
    "how many more it may open",
)];
const MEMORY: [OptionInfo; 1] = [option(
    "limit",
    Shape::Bytes,
    "1MiB",
    "how much it may take from then on",
)];
const CPU: [OptionInfo; 1] = [option("share", Shape::Share, "5%", "of one processor")];
const BITFLIP: [OptionInfo; 4] = [
    FILE,
    option("at", Shape::Share, "50%", "how far into the file"),
    KILL,
    REJOIN,
];
const TRUNCATE: [OptionInfo; 4] = [
    FILE,
    option("keep", Shape::Share, "50%", "how much of it is left"),
    KILL,
    REJOIN,
];
const REMOVE: [OptionInfo; 3] = [FILE, KILL, REJOIN];
const CLOCK: [OptionInfo; 4] = [
    option(
        "how",
        Shape::Way,
        "jump",
        "once, there and back again and again, or at a wrong rate",
    ),
    option(
        "by",
        Shape::Shift,
        "+60s",
        "how far it jumps, and which way",
    ),
    option(
        "period",
        Shape::Time,
        "1s",
        "of a strobe: how long it is off, and then right",
    ),
    option(
        "rate",
        Shape::Drift,
        "+5%",
        "of a skew: how much faster or slower it runs",
    ),
];

impl Condition {
    /// All of them, in the order in which help lists them.
    pub const ALL: [Self; 17] = [
        Self::Loss,
        Self::Rate,
        Self::Slow,
        Self::Duplicate,
        Self::Reorder,
        Self::Corrupt,
        Self::DiskFull,
        Self::SlowIo,
        Self::IoError,
        Self::LoseWrites,
        Self::Fds,
        Self::Memory,
        Self::Cpu,
        Self::Bitflip,
        Self::Truncate,
        Self::Remove,
        Self::Clock,
    ];

    /// As on the command line, in the plan and in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Rate => "rate",
            Self::Slow => "slow",
            Self::Duplicate => "duplicate",
            Self::Reorder => "reorder",
            Self::Corrupt => "corrupt",
            Self::DiskFull => "disk-full",
            Self::SlowIo => "slow-io",
            Self::IoError => "io-error",
            Self::LoseWrites => "lose-writes",
            Self::Fds => "fds",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Bitflip => "bitflip",
            Self::Truncate => "truncate",
            Self::Remove => "remove",
            Self::Clock => "clock",
        }
    }

    /// What can be chosen about it.
    #[must_use]
    pub const fn options(self) -> &'static [OptionInfo] {
        match self {
            Self::Loss => &LOSS,
            Self::Rate => &RATE,
            Self::Slow => &SLOW,
            Self::Duplicate | Self::Corrupt => &SHARED,
            Self::Reorder => &REORDER,
            Self::DiskFull => &DISK_FULL,
            Self::SlowIo => &SLOW_IO,
            Self::IoError => &IO_ERROR,
            Self::LoseWrites => &[],
            Self::Fds => &FDS,
            Self::Memory => &MEMORY,
            Self::Cpu => &CPU,
            Self::Bitflip => &BITFLIP,
            Self::Truncate => &TRUNCATE,
            Self::Remove => &REMOVE,
            Self::Clock => &CLOCK,
        }
    }

    /// What no other fault may have on the node while this one is in force; none if it composes with all.
    #[must_use]
    pub const fn resource(self) -> Option<Resource> {
        match self {
            Self::Loss => None,
            Self::Rate | Self::Slow | Self::Duplicate | Self::Reorder | Self::Corrupt => {
                Some(Resource::Queue)
            }
            Self::DiskFull | Self::SlowIo => Some(Resource::Mount),
            Self::IoError | Self::LoseWrites => Some(Resource::Layer),
            Self::Fds => Some(Resource::Descriptors),
            Self::Memory => Some(Resource::Memory),
            Self::Cpu => Some(Resource::Cpu),
            Self::Bitflip | Self::Truncate | Self::Remove => Some(Resource::Files),
            Self::Clock => Some(Resource::Clock),
        }
    }

    /// Whether it is about what nodes say to each other.
    #[must_use]
    pub const fn is_network(self) -> bool {
        matches!(
            self,
            Self::Loss | Self::Rate | Self::Slow | Self::Duplicate | Self::Reorder | Self::Corrupt
        )
    }

    /// Whether it needs to know where the system keeps its data.
    #[must_use]
    pub const fn needs_data_folder(self) -> bool {
        matches!(
            self,
            Self::DiskFull
                | Self::SlowIo
                | Self::IoError
                | Self::LoseWrites
                | Self::Bitflip
                | Self::Truncate
                | Self::Remove
        )
    }

    /// Whether it needs to know the system's process.
    #[must_use]
    pub const fn needs_process(self) -> bool {
        matches!(self, Self::Fds | Self::Memory | Self::Cpu | Self::Clock)
    }

    /// The values of `how` with which an option means something; none if that is always so.
    #[must_use]
    pub fn means_with(self, option: &str) -> Option<&'static [&'static str]> {
        match (self, option) {
            (Self::Clock, "by") => Some(&["jump", "strobe"]),
            (Self::Clock, "period") => Some(&["strobe"]),
            (Self::Clock, "rate") => Some(&["skew"]),
            _ => None,
        }
    }

    /// Whether the process may have to be killed for it.
    #[must_use]
    pub const fn needs_kill(self) -> bool {
        self.is_damage() || self.is_power_cut()
    }

    /// Whether it damages files.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        matches!(self, Self::Bitflip | Self::Truncate | Self::Remove)
    }

    /// Whether it is a power cut: the processes of all nodes that it strikes are killed at one instant, and stay down until the heal.
    #[must_use]
    pub const fn is_power_cut(self) -> bool {
        matches!(self, Self::LoseWrites)
    }

    /// Whether the process may be killed by it or for it, so that it must be possible to start it again.
    #[must_use]
    pub const fn needs_start(self) -> bool {
        matches!(
            self,
            Self::Memory
                | Self::DiskFull
                | Self::IoError
                | Self::LoseWrites
                | Self::Bitflip
                | Self::Truncate
                | Self::Remove
        )
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
