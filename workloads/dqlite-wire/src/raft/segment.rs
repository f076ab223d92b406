//! Segments: the log in pieces, in batches as they were written.
//!
//! A word of format, then batches without a gap between them. A batch is what one write persisted:
//!
//! ```text
//! u32 crc of the header (count to the last entry's size)      2d99f986
//! u32 crc of the payloads                                     2e422f68
//! u64 count of entries                                        0100000000000000
//! count x { u64 term, u8 type, 3 unused bytes, u32 size }     0100000000000000 03 000000 28000000
//! the payloads one after the other, each padded to a word     01 0100000000000000 …
//! ```
//!
//! A *closed* segment ends with its last batch and carries its indices in its name. An *open* one was
//! allocated in full beforehand, goes on with zeros, and its first index is one more than whatever
//! precedes it in the folder.
//!
//! Laws: a batch is taken whole or not at all, as raft does; payloads of commands are skipped, not
//! copied; an entry takes at least sixteen bytes of the file, so what is allocated is bounded by what
//! was given.

use thiserror::Error;

use super::DISK_FORMAT;
use super::configuration::Configuration;
use super::content::Content;
use super::problem::{FileFault, SegmentFault};

/// Entries that raft believes in one batch: 8 MiB of segment over four words of entry.
pub const MAX_BATCH_ENTRIES: u64 = 262_144;

const WORD_BYTES: usize = 8;
/// Both checksums.
const CHECKSUM_BYTES: usize = 8;
/// Term, type, size.
const ENTRY_BYTES: usize = 16;

const TYPE_COMMAND: u8 = 1;
const TYPE_BARRIER: u8 = 2;
const TYPE_CHANGE: u8 = 3;

/// One entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Term of the leader that made it.
    pub term: u64,
    /// What it is.
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A command for dqlite: pages of a database, an undo, a checkpoint.
    Command {
        /// Size of the payload.
        bytes: u32,
    },
    /// A barrier, by which a leader learns that what precedes is committed.
    Barrier,
    /// A new configuration.
    Change(Configuration),
    /// A new configuration that cannot be decoded, though its checksum holds.
    MalformedChange(FileFault),
}

/// Which entries a segment holds, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentRange {
    /// Those from `first` to `end`, both included.
    Closed {
        /// Index of the first entry.
        first: u64,
        /// Index of the last entry.
        end: u64,
    },
    /// Those that follow on what precedes it.
    Open {
        /// Raft's running number.
        counter: u64,
    },
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With its last batch.
    End,
    /// With zeros that were allocated and not used; of a segment that was never used, all of it.
    Zeros,
    /// With bytes that are not a batch: half a write, or damage.
    Torn(BatchFault),
    /// It could not be read at all.
    Unreadable(FileFault),
}

/// A batch that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("entries batch {batch} starting at byte {at_bytes}: {fault}")]
pub struct BatchFault {
    /// Its number in the segment, from 1.
    pub batch: u32,
    /// Where raft says it starts. (Where only the checksums are there, raft says eight bytes more.)
    pub at_bytes: usize,
    /// What is wrong with it.
    pub fault: FileFault,
}

/// Whether raft takes the entries of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SegmentUse {
    /// They are part of the log (or would be, if nothing made raft refuse).
    Log,
    /// It passes over them, because a snapshot is newer or covers a gap after them.
    Discarded,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The name of the file.
    pub name: String,
    /// What the name says.
    pub range: SegmentRange,
    /// Index of the first entry; of an open segment that is discarded, nothing is known.
    pub first_index: Option<u64>,
    /// The entries of all whole batches.
    pub entries: Vec<Entry>,
    /// How many batches these are.
    pub batches: u32,
    /// The bytes up to the end of the last whole batch, the format included.
    pub used_bytes: usize,
    /// What follows on them.
    pub tail: Tail,
    /// Whether raft takes the entries.
    pub usage: SegmentUse,
}

impl Segment {
    /// Reads a segment. Of `size_bytes` what lies beyond `bytes` is zeros; that is for open segments,
    /// a closed one has none.
    ///
    /// An open segment has no index until it stands in a [folder](super::Folder).
    pub fn decode(name: &str, range: SegmentRange, bytes: &[u8], size_bytes: u64) -> Self {
        let first_index = match range {
            SegmentRange::Closed { first, .. } => Some(first),
            SegmentRange::Open { .. } => None,
        };
        let mut segment = Self {
            name: name.to_owned(),
            range,
            first_index,
            entries: Vec::new(),
            batches: 0,
            used_bytes: 0,
            tail: Tail::End,
            usage: SegmentUse::Log,
        };
        let content = Content::new(bytes, size_bytes);
        segment.tail = segment.fill(&content);
        segment
    }

    /// Takes the batches of `content` and says how it ends.
    fn fill(&mut self, content: &Content<'_>) -> Tail {
        let is_open = matches!(self.range, SegmentRange::Open { .. });
        if content.size() == 0 {
            return if is_open {
                Tail::Zeros
            } else {
                Tail::Unreadable(FileFault::Empty)
            };
        }
        if content.size() < WORD_BYTES {
            let bytes = content.size();
            return Tail::Unreadable(FileFault::OnlyBytes { bytes });
        }
        let format = content.u64(0);
        if is_open && content.is_zero_from(0) {
            return Tail::Zeros;
        }
        if format != DISK_FORMAT {
            return Tail::Unreadable(FileFault::SegmentFormat { format });
        }
        self.used_bytes = WORD_BYTES;
        loop {
            let at = self.used_bytes;
            match batch(content, at, &mut self.entries) {
                Ok(end) => {
                    self.used_bytes = end;
                    self.batches = self.batches.saturating_add(1);
                }
                Err((_, fault)) if is_open && fault.is_corruption() && content.is_zero_from(at) => {
                    return Tail::Zeros;
                }
                Err((at_bytes, fault)) => {
                    let batch = self.batches.saturating_add(1);
                    return Tail::Torn(BatchFault {
                        batch,
                        at_bytes,
                        fault,
                    });
                }
            }
            if self.used_bytes >= content.size() {
                return Tail::End;
            }
        }
    }

    /// Why raft would not load it, if so. An open segment with a torn end loads without that end.
    pub fn fault(&self) -> Option<SegmentFault> {
        let is_open = matches!(self.range, SegmentRange::Open { .. });
        match self.tail {
            Tail::Unreadable(fault) => Some(SegmentFault::File(fault)),
            Tail::Torn(torn) if is_open && torn.fault.is_corruption() => None,
            Tail::Torn(torn) => Some(SegmentFault::Batch(torn)),
            Tail::End | Tail::Zeros => self.count_fault().map(SegmentFault::File),
        }
    }

    /// The entries of a closed segment are as many as its name says, counted as raft counts them.
    fn count_fault(&self) -> Option<FileFault> {
        let SegmentRange::Closed { first, end } = self.range else {
            return None;
        };
        let expected = end.wrapping_sub(first).wrapping_add(1) as u32;
        let found = self.entries.len();
        (found as u64 != u64::from(expected)).then_some(FileFault::EntryCount { found, expected })
    }
}

/// How far the batches of an open segment reach, by their headers alone, for a reader that fetches it piece by piece.
///
/// `from` is 0 or what an earlier call gave for fewer bytes of the same file. Returns where the next batch begins, as far as
/// `bytes` show it, and whether zeros are seen there: then no more needs to be fetched. Checksums are not looked at.
///
/// ```
/// use dqlite_wire::raft::segment::reach;
///
/// let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0];
/// assert_eq!(reach(&bytes, 0), (8, false));
/// bytes.extend([0; 16]);
/// assert_eq!(reach(&bytes, 8), (8, true));
/// ```
pub fn reach(bytes: &[u8], from: usize) -> (usize, bool) {
    const PREAMBLE_BYTES: usize = CHECKSUM_BYTES + WORD_BYTES;
    let content = Content::whole(bytes);
    let is_zero = |at: usize| bytes[at..at + PREAMBLE_BYTES].iter().all(|byte| *byte == 0);
    if from == 0 && bytes.len() >= PREAMBLE_BYTES && is_zero(0) {
        return (0, true);
    }
    let mut at = from.max(WORD_BYTES);
    while content.need(at, PREAMBLE_BYTES as u64).is_ok() {
        if is_zero(at) {
            return (at, true);
        }
        let count = content.u64(at + CHECKSUM_BYTES);
        let first = at + PREAMBLE_BYTES;
        let header_bytes = count.saturating_mul(ENTRY_BYTES as u64);
        if count == 0 || count > MAX_BATCH_ENTRIES || content.need(first, header_bytes).is_err() {
            break;
        }
        let count = count as usize;
        let Ok(data_bytes) = payload_bytes(&content, first, count) else {
            break;
        };
        at = first + count * ENTRY_BYTES + data_bytes as usize;
    }
    (at, false)
}

/// Adds the entries of the batch at `at`; its end. On an error nothing is added, and where raft
/// says that the batch starts comes with it.
fn batch(
    content: &Content<'_>,
    at: usize,
    entries: &mut Vec<Entry>,
) -> Result<usize, (usize, FileFault)> {
    let part = |part, at, wanted| {
        content.need(at, wanted).map_err(|fault| match fault {
            FileFault::ShortRead { left, wanted } => FileFault::ShortBatch { part, left, wanted },
            other => other,
        })
    };
    let refuse = |fault| (at, fault);
    part("preamble", at, CHECKSUM_BYTES as u64).map_err(refuse)?;
    let header = at + CHECKSUM_BYTES;
    part("preamble", header, WORD_BYTES as u64).map_err(|fault| (header, fault))?;
    let count = content.u64(header);
    if count == 0 {
        return Err(refuse(FileFault::NoEntries));
    }
    if count > MAX_BATCH_ENTRIES {
        return Err(refuse(FileFault::TooManyEntries { count }));
    }
    let count = count as usize;
    let first = header + WORD_BYTES;
    part("header", first, (count * ENTRY_BYTES) as u64).map_err(refuse)?;
    let header_bytes = WORD_BYTES + count * ENTRY_BYTES;
    if content.crc(0, header, header_bytes) != content.u32(at) {
        return Err(refuse(FileFault::HeaderChecksum));
    }
    let data = header + header_bytes;
    let data_bytes = payload_bytes(content, first, count).map_err(refuse)?;
    part("data", data, data_bytes).map_err(refuse)?;
    // It fits in the file, so it fits in usize.
    let end = data + data_bytes as usize;
    if content.crc(0, data, end - data) != content.u32(at + 4) {
        return Err(refuse(FileFault::DataChecksum));
    }
    let mut payload = data;
    for i in 0..count {
        let (entry, bytes) = entry(content, first + i * ENTRY_BYTES, payload);
        entries.push(entry);
        payload += bytes.next_multiple_of(WORD_BYTES);
    }
    Ok(end)
}

/// The sum of the payloads' sizes of the `count` entries whose headers begin at `first`.
fn payload_bytes(content: &Content<'_>, first: usize, count: usize) -> Result<u64, FileFault> {
    let mut bytes = 0;
    for i in 0..count {
        let at = first + i * ENTRY_BYTES;
        let code = content.u8(at + 8);
        if !matches!(code, TYPE_COMMAND | TYPE_BARRIER | TYPE_CHANGE) {
            return Err(FileFault::EntryType { code });
        }
        bytes += u64::from(content.u32(at + 12));
    }
    Ok(bytes)
}

/// The entry whose header is at `at` and whose payload is at `payload`, and the payload's size.
fn entry(content: &Content<'_>, at: usize, payload: usize) -> (Entry, usize) {
    let term = content.u64(at);
    let bytes = content.u32(at + 12);
    let kind = match content.u8(at + 8) {
        TYPE_BARRIER => EntryKind::Barrier,
        TYPE_CHANGE => {
            let content = content.until(payload.saturating_add(bytes as usize));
            match Configuration::decode_at(&content, payload) {
                Ok(configuration) => EntryKind::Change(configuration),
                Err(fault) => EntryKind::MalformedChange(fault),
            }
        }
        _ => EntryKind::Command { bytes },
    };
    (Entry { term, kind }, bytes as usize)
}
