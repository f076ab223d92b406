//! What is said of each fault on a node's conditions, for people.

use super::Condition;

/// What is said of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// What it does, in one line.
    pub summary: &'static str,
    /// What counts as having seen it hold.
    pub evidence: &'static str,
    /// How it is undone, and what counts as having seen that.
    pub heal: &'static str,
    /// What a system must be able to do, as a comma list; empty: nothing.
    pub needs: &'static str,
    /// What the node must have.
    pub node_needs: &'static str,
}

const QUEUE_HEAL: &str =
    "the queue discipline and the rules are removed; seen when neither is there";
const NETEM_HEAL: &str = "the queue discipline, or the agent's relay, and the rules are removed; seen when nothing of it is there";
const NETEM_SEEN: &str =
    "packets to other nodes went by way of it; where the agent relays them, some that it struck";
const NETEM: &str = "tc, nftables, a kernel with sch_htb and sch_netem, or with nfnetlink_queue, xt_NFQUEUE and nft_compat for the agent's relay";
const LAYER: &str = "a layer over the data folder (--data-layer), a kernel with FUSE";
const FILE_HEAL: &str = "the node is wiped and joins anew, as after wipe. Where that cannot be (rejoin=no, a workload that changes the membership itself, too many voters at once) the process is killed, the file is put back from the copy that the node kept, unless the system has changed it since, and the process is started; seen when it has joined, or when the file is as it was";
const FILE_NEEDS: &str = "data folder, kill, start";

impl Condition {
    /// What is said of it.
    #[must_use]
    pub const fn words(self) -> Words {
        let (summary, evidence, heal, needs, node_needs) = match self {
            Self::Loss => (
                "packets between the node and each other node are lost at random, both ways; the controller's are not",
                "some were lost, and others were not",
                "the rules are removed; seen when they are gone",
                "",
                "nftables, a kernel with nft_numgen",
            ),
            Self::Rate => (
                "what the node sends to other nodes is limited in its rate; the controller's is not",
                "packets to other nodes had to wait for it",
                QUEUE_HEAL,
                "",
                "tc, nftables, a kernel with sch_htb",
            ),
            Self::Slow => (
                "what the node sends to other nodes comes late; the controller's does not",
                NETEM_SEEN,
                NETEM_HEAL,
                "",
                NETEM,
            ),
            Self::Duplicate => (
                "some of what the node sends to other nodes comes twice",
                NETEM_SEEN,
                NETEM_HEAL,
                "",
                NETEM,
            ),
            Self::Reorder => (
                "some of what the node sends to other nodes overtakes the rest, which is delayed",
                NETEM_SEEN,
                NETEM_HEAL,
                "",
                NETEM,
            ),
            Self::Corrupt => (
                "some of what the node sends to other nodes has a bit flipped; checksums mostly find it, and it is lost",
                NETEM_SEEN,
                NETEM_HEAL,
                "",
                NETEM,
            ),
            Self::DiskFull => (
                "the data folder's mount, which must be its own, is filled up",
                "a write of ours was refused (ENOSPC), and nothing is free",
                "what filled it is removed, a process that ended is started; seen when a write succeeds",
                "data folder, start",
                "a mount of at most 4 GiB on just the data folder (--data-size)",
            ),
            Self::SlowIo => (
                "the data folder's file system, which must be a mount of its own, is frozen for a while, again and again: what writes to it waits",
                "a write of ours took a quarter of that while at least",
                "nobody freezes it any more and it is thawed; seen when a write succeeds",
                "data folder",
                "a mount of at most 4 GiB on just the data folder (--data-size), fsfreeze",
            ),
            Self::IoError => (
                "reads, writes and syncs of the data folder fail, by a layer over it; making, renaming and removing files do not",
                "a read, a write or a sync of ours failed with that error; and how many of the system's did",
                "everything passes again, a process that ended is started; seen when a write, a sync and a read succeed",
                "data folder, start",
                LAYER,
            ),
            Self::LoseWrites => (
                "a power cut: the process is killed, on several nodes at one instant, and what it wrote to its data folder and did not sync is lost; that files were made, renamed and removed is not",
                "the process is gone, and how many bytes of which files were lost, or that nothing was un-synced",
                "the process is started on what is left; what was lost stays lost",
                "data folder, kill, start",
                LAYER,
            ),
            Self::Fds => (
                "the process may open no more files: its limit is lowered to the lowest number that is not in use",
                "all numbers below the limit are in use, so that the next open fails (EMFILE)",
                "its old limit is set again; seen when it reads back, or the process is gone",
                "program",
                "prlimit",
            ),
            Self::Memory => (
                "the process is put in a control group whose memory is limited: counted is what it takes from then on, file cache included; the kernel may kill it for it",
                "the limit was met, and how often",
                "the control group is removed, a process that was killed is started; seen when it is gone",
                "program, start",
                "a writable cgroup (v1, or v2 with the memory controller for children)",
            ),
            Self::Cpu => (
                "the process gets a small share of one processor, by a control group",
                "it was held back, and how often",
                "the control group is removed; seen when it is gone",
                "program",
                "a writable cgroup (v1, or v2 with the cpu controller for children)",
            ),
            Self::Bitflip => (
                "the lowest bit of one byte of a file of the data folder is flipped",
                "which byte of which file changed from what to what",
                FILE_HEAL,
                FILE_NEEDS,
                "",
            ),
            Self::Truncate => (
                "a file of the data folder loses its end",
                "which file has how many bytes left",
                FILE_HEAL,
                FILE_NEEDS,
                "",
            ),
            Self::Remove => (
                "a file of the data folder is removed",
                "which file it was",
                FILE_HEAL,
                FILE_NEEDS,
                "",
            ),
            Self::Clock => (
                "the wall clock jumps, goes there and back again and again, or runs at a wrong rate: the node's where it owns it; in a container, and for a rate, that of the system's process alone, in C and in Go, until it is started anew",
                "how far it is off, by the monotonic clock, which is right; for a process, what the clock functions in its memory tell when they are run",
                "it is set back, or the process's clock functions are put back; seen when it is right, and these are byte by byte as they were or the process is gone",
                "program",
                "a clock of its own, or x86-64 and the right to trace processes",
            ),
        };
        Words {
            summary,
            evidence,
            heal,
            needs,
            node_needs,
        }
    }
}
