//! What can be wrong with the files of a data folder, in raft's own words.
//!
//! Laws: where raft has a message for a fault, the text here is that message, so that a line of a
//! node's log and a finding in its folder can be laid side by side; what raft passes over in silence
//! has a text of ours. The problems of a folder stand in the order in which raft would meet them: the
//! first that is a [`Severity::Refusal`] is what it reports.
//!
//! A worked example. A node whose closed segment was cut short by a word says, in 1.11.1 and in 1.18.1:
//!
//! ```text
//! Error: start node: raft_start(): io: load closed segment 0000000000010241-0000000000010255: entries
//! batch 2 starting at byte 99448: read data: short read: 8240 bytes instead of 8248
//! ```
//!
//! The problem here prints as the part after `io: `.

use thiserror::Error;

use super::metadata::METADATA_BYTES;
use super::segment::BatchFault;

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Raft expects it and cleans it up: half a file of a node that was killed.
    Note,
    /// Raft does not look, yet it contradicts raft's own rules.
    Odd,
    /// Raft carries on, without something that was on this disk before.
    Loss,
    /// Corruption that raft's auto-recovery gets past by starting without some entries: it renames the
    /// segment and the open ones after it to `corrupt-…`, or passes over those that a snapshot covers.
    /// It is on unless switched off; then raft refuses.
    AutoRecovery,
    /// Raft refuses to start.
    Refusal,
    /// Not a fault of the folder: it was not handed over whole, so nothing can be said.
    Unread,
}

/// One thing that is wrong with a folder.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// What it is.
    pub kind: ProblemKind,
}

/// What is wrong. `file` is a name in the folder.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the fields are explained by the messages that hold them"
)]
pub enum ProblemKind {
    /// A metadata file that raft cannot decode.
    #[error("decode content of {file}: {fault}")]
    Metadata { file: String, fault: FileFault },
    /// A metadata file that is longer than one.
    #[error("{file} has size {bytes} instead of {METADATA_BYTES}")]
    MetadataSize { file: String, bytes: u64 },
    /// A metadata file that was not written to its end; raft deletes it and uses the other.
    #[error("{file} has only {bytes} bytes")]
    MetadataTorn { file: String, bytes: u64 },
    /// No file can be preferred.
    #[error("metadata1 and metadata2 are both at version {version}")]
    MetadataVersions { version: u64 },
    /// A log or a snapshot without a term and a vote.
    #[error("there is a log or a snapshot, and no metadata")]
    MetadataMissing,
    /// A snapshot that lacks one of its two files; raft deletes the other.
    #[error("{file} is without its other half")]
    SnapshotOrphan { file: String },
    /// A snapshot whose data is empty; raft passes over it.
    #[error("{file} is empty")]
    SnapshotEmpty { file: String },
    /// Metadata of a snapshot that raft cannot read.
    #[error("read {file}: {fault}")]
    SnapshotMeta { file: String, fault: FileFault },
    /// Data of a snapshot that dqlite cannot restore.
    #[error("restore {file}: {fault}")]
    SnapshotData { file: String, fault: FileFault },
    /// One index, two configurations. Raft 0.15 can write it: its snapshots take the configuration in
    /// force, committed or not, and the index of the committed one.
    #[error("the log's configuration at index {index} is not the one in {file}")]
    SnapshotConfiguration { file: String, index: u64 },
    /// A closed segment without the entries that its name promises.
    #[error("load closed segment {file}: {fault}")]
    ClosedSegment { file: String, fault: SegmentFault },
    /// An open segment that raft does not get through.
    #[error("load open segment {file}: {fault}")]
    OpenSegment { file: String, fault: SegmentFault },
    /// An open segment that ends in half a batch; raft cuts it off. On a live node it is being written.
    #[error(
        "truncate open segment {file} at {at_bytes} (batch {batch}), since it has corrupted entries"
    )]
    TornBatch {
        file: String,
        at_bytes: usize,
        batch: u32,
    },
    /// A later segment goes on after half a batch: raft gives its entries the indices of those that were lost.
    #[error("{file} has entries, though {torn} before it was cut off")]
    EntriesAfterTornBatch { file: String, torn: String },
    /// Entries are missing before a closed segment.
    #[error("unexpected closed segment {file}: first index should have been {expected}")]
    Gap { file: String, expected: u64 },
    /// Entries are missing between the snapshot and the log.
    #[error("closed segment {file} is past last snapshot {snapshot}")]
    PastSnapshot { file: String, snapshot: String },
    /// The log ends before the snapshot does.
    #[error(
        "last entry on disk has index {last}, which is behind last snapshot's index {snapshot}"
    )]
    BehindSnapshot { last: u64, snapshot: u64 },
    /// Closed segments end before the snapshot does; raft passes over them all.
    #[error("discarding all closed segments, since most recent is behind last snapshot")]
    SegmentsBehindSnapshot,
    /// A closed segment before a gap that the snapshot covers; raft passes over it.
    #[error("discarding non contiguous segment {file}")]
    NotContiguous { file: String },
    /// A log from the beginning that does not begin with a configuration. Raft asserts that it does;
    /// Debian's 0.15 is built without assertions and goes on.
    #[error("entry 1 is not a configuration")]
    FirstEntry,
    /// A change of configuration that cannot be decoded. Raft fails on the last one only, without a text.
    #[error("the configuration at index {index} is malformed: {fault}")]
    Change { index: u64, fault: FileFault },
    /// Terms grow along a log. A recovery (`reconfigure`) does this too: raft writes it with term 1.
    #[error("entry {index} has term {term} after term {before}")]
    TermGoesBack { index: u64, term: u64, before: u64 },
    /// A node that has an entry of a term has been in that term.
    #[error("entry {index} has term {term}, beyond the metadata's term {metadata}")]
    TermBeyondMetadata {
        index: u64,
        term: u64,
        metadata: u64,
    },
    /// Raft's auto-recovery put a segment aside, and its entries with it.
    #[error("{file} was put aside by raft's auto-recovery")]
    MovedAside { file: String },
    /// A file that was being written when the node died; raft deletes it.
    #[error("{file} is left over")]
    Temporary { file: String },
    /// A file of which the caller gave only the beginning, where all of it matters.
    #[error("{file} was given without its end")]
    NotReadWhole { file: String },
    /// A name that was given twice; the first counts.
    #[error("{file} was given twice")]
    NameTwice { file: String },
}

/// Why a segment does not load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SegmentFault {
    /// The file as a whole.
    #[error("{0}")]
    File(FileFault),
    /// One of its batches.
    #[error("{0}")]
    Batch(BatchFault),
}

impl SegmentFault {
    /// Whether raft calls it corruption, which its auto-recovery acts on, not a failure to read.
    pub(super) fn is_corruption(self) -> bool {
        match self {
            Self::File(fault) => fault.is_corruption(),
            Self::Batch(batch) => batch.fault.is_corruption(),
        }
    }
}

/// What is wrong with the content of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FileFault {
    /// The file ends before the field does.
    #[error("short read: {left} bytes instead of {wanted}")]
    ShortRead {
        /// Bytes that are left.
        left: usize,
        /// Bytes that the field takes.
        wanted: u64,
    },
    /// The file ends inside a batch.
    #[error("read {part}: short read: {left} bytes instead of {wanted}")]
    ShortBatch {
        /// `preamble`, `header` or `data`.
        part: &'static str,
        /// Bytes that are left.
        left: usize,
        /// Bytes that the part takes.
        wanted: u64,
    },
    /// A closed segment of no bytes.
    #[error("file is empty")]
    Empty,
    /// A segment too short for its format version.
    #[error("file has only {bytes} bytes")]
    OnlyBytes {
        /// How many it has.
        bytes: usize,
    },
    /// A segment of another format.
    #[error("unexpected format version {format}")]
    SegmentFormat {
        /// The version that it has.
        format: u64,
    },
    /// A batch of no entries.
    #[error("entries count in preamble is zero")]
    NoEntries,
    /// A batch of more entries than fit in a segment.
    #[error("entries count {count} in preamble is too high")]
    TooManyEntries {
        /// The count as it stands in the file.
        count: u64,
    },
    /// The header of a batch is not what was written.
    #[error("header checksum mismatch")]
    HeaderChecksum,
    /// The payloads of a batch are not what was written.
    #[error("data checksum mismatch")]
    DataChecksum,
    /// An entry of a type that raft does not have. Raft says nothing.
    #[error("unknown entry type {code}")]
    EntryType {
        /// The code in the header of the batch.
        code: u8,
    },
    /// A closed segment with another number of entries than its name says.
    #[error("found {found} entries (expected {expected})")]
    EntryCount {
        /// Entries in the file.
        found: usize,
        /// Entries by its name, in the 32 bits in which raft counts them.
        expected: u32,
    },
    /// Metadata of another format.
    #[error("bad format version {format}")]
    MetadataFormat {
        /// The version that it has.
        format: u64,
    },
    /// Metadata that was never written.
    #[error("version is set to zero")]
    MetadataVersion,
    /// Metadata of a snapshot, of another format.
    #[error("unsupported format {format}")]
    SnapshotFormat {
        /// The version that it has.
        format: u64,
    },
    /// A snapshot's configuration is longer than raft accepts.
    #[error("configuration data too big ({bytes})")]
    ConfigurationTooBig {
        /// Its length in bytes.
        bytes: u64,
    },
    /// A snapshot without a configuration.
    #[error("no configuration data")]
    NoConfiguration,
    /// Metadata of a snapshot is not what was written.
    #[error("checksum mismatch")]
    SnapshotChecksum,
    /// A configuration of another format.
    #[error("unknown configuration format {format}")]
    ConfigurationFormat {
        /// The version that it has.
        format: u8,
    },
    /// More servers than fit in the configuration.
    #[error("a count of {count} servers where at most {most} fit")]
    ServerCount {
        /// The count as it stands in the file.
        count: u64,
        /// How many of the least size fit.
        most: u64,
    },
    /// An address without its terminating zero.
    #[error("an address without its terminating zero")]
    AddressUnterminated,
    /// An address that is not UTF-8. Raft would take it.
    #[error("an address that is not utf-8")]
    AddressNotUtf8,
    /// A server of id zero, which means none.
    #[error("a server of id 0")]
    ServerId,
    /// Two servers of one id.
    #[error("two servers of id {id}")]
    DuplicateId {
        /// The id.
        id: u64,
    },
    /// Two servers of one address.
    #[error("two servers of one address")]
    DuplicateAddress,
    /// A role that raft does not have.
    #[error("unknown role {code}")]
    UnknownRole {
        /// The code as it stands on disk.
        code: u8,
    },
}

impl FileFault {
    /// Whether raft calls it corruption, not a failure to read or a malformed message.
    pub(super) fn is_corruption(self) -> bool {
        !matches!(
            self,
            Self::ShortRead { .. }
                | Self::ShortBatch { .. }
                | Self::OnlyBytes { .. }
                | Self::EntryType { .. }
        )
    }
}

/// Collects the problems of a folder in the order in which they are met.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, severity: Severity, kind: ProblemKind) {
        self.0.push(Problem { severity, kind });
    }

    pub(super) fn refuse(&mut self, kind: ProblemKind) {
        self.add(Severity::Refusal, kind);
    }

    pub(super) fn into_vec(self) -> Vec<Problem> {
        self.0
    }
}
