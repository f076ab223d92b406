//! The files of a raft data folder: bytes in, metadata, log and configurations out. Read-only, no I/O.
//!
//! What a node believes about its cluster outlives it on disk. This module reads it there, also when
//! the node is stopped or refuses to start: who the members were at which index, in which term the
//! node was, for whom it voted, and what is wrong with its files.
//!
//! ```text
//! metadata1, metadata2                   term and vote; written in turn, the higher version counts
//! 0000000000000001-0000000000001021      closed segment: the entries 1 to 1021
//! open-7                                 open segment: entries that follow, then zeros
//! snapshot-3-1024-5509413.meta           configuration as of index 1024, term 3, at that millisecond
//! snapshot-3-1024-5509413                the databases, usually compressed
//! ```
//!
//! ```
//! use dqlite_wire::raft::{File, Folder};
//!
//! // A folder as a bootstrapped node leaves it: one entry, which holds the first configuration.
//! let metadata: Vec<u8> = [1_u64, 1, 4, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
//! let mut segment = vec![1, 0, 0, 0, 0, 0, 0, 0, 0xad, 0xb1, 0x6d, 0x0a, 0x82, 0xe0, 0xaf, 0xdb];
//! segment.extend([1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0x18, 0, 0, 0]);
//! segment.extend([1, 1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, b'n', b'1', 0, 1, 0, 0, 0]);
//!
//! let folder = Folder::read(&[
//!     File::whole("metadata1", &metadata),
//!     File::whole("0000000000000001-0000000000000001", &segment),
//! ]);
//! # assert_eq!(folder.problems, []);
//! let newest = folder.newest_configuration().expect("the first entry holds one");
//! assert_eq!((newest.index, newest.term), (1, Some(4)));
//! assert_eq!(newest.configuration.to_string(), "7 n1 voter");
//! assert_eq!(folder.last_index(), 1);
//! ```
//!
//! # Laws
//!
//! 1. No bytes and no names make it panic; what it allocates is a small multiple of the bytes given.
//! 2. It reads as raft reads when it starts: the same files in the same order, the same checks. Where
//!    raft would refuse, [`Problem`] says so in the words of raft's own message, and what can still
//!    be read is read, so that a dead node can be judged too.
//! 3. It changes nothing. Raft itself deletes and renames while it reads (torn metadata, orphaned
//!    snapshots, corrupt segments): evidence that is gone once a node was started again.
//!
//! # A folder in use
//!
//! A live node writes while it is read, and nothing locks the two against each other. Take the list
//! of names again after reading; if it changed, read again. Read segments before metadata, so that
//! no entry seems to come from a future term. A batch that is being written looks torn
//! ([`Tail::Torn`]); its entries are not in the log yet.
//!
//! # What is left to the caller
//!
//! go-dqlite adds `info.yaml` and `cluster.yaml`, and a file `join` while a join is under way. They
//! are YAML, the caller has their bytes, and this crate has no parser for them: [`FileName::parse`]
//! tells which they are. A snapshot's databases are not looked into; DUMP gives them from a live node.
//!
//! # Source
//!
//! The behaviour of raft 0.15 to 0.18 (`uv_metadata.c`, `uv_segment.c`, `uv_snapshot.c`, `uv_list.c`,
//! `uv.c`, `configuration.c`) and of the copy inside dqlite 1.17 and 1.18. The format is the same in
//! all: disk format 1, configuration format 1, snapshot format 1. Proven on folders of dqlite 1.11.1
//! and 1.18.1 (`tests/fixtures`).
//!
//! | module | subject |
//! | --- | --- |
//! | [`name`] | which file is what |
//! | [`metadata`], [`segment`], [`snapshot`], [`configuration`] | one file each |
//! | [`folder`] | the files together |
//! | [`problem`] | what is wrong |

pub mod configuration;
mod content;
mod crc;
pub mod folder;
mod log;
pub mod metadata;
pub mod name;
pub mod problem;
pub mod segment;
pub mod snapshot;

pub use configuration::{Configuration, Server};
pub use folder::{ConfigurationAt, File, Folder, Origin};
pub use metadata::Metadata;
pub use name::FileName;
pub use problem::{FileFault, Problem, ProblemKind, Severity};
pub use segment::{Entry, EntryKind, Segment, SegmentRange, SegmentUse, Tail};
pub use snapshot::{Snapshot, SnapshotData, SnapshotMeta};

/// The only format version that metadata, segments and snapshot metadata have had.
pub const DISK_FORMAT: u64 = 1;
