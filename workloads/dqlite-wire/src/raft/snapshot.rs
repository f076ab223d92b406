//! Snapshots: the configuration and the state of the databases as of one index.
//!
//! Two files. The one called `.meta` has four words (format, checksum, the index of the
//! configuration, its length) and the configuration; the checksum covers the last two words and the
//! configuration. The other holds the databases, as an LZ4 frame or plain: a word of format, the
//! count of databases, and then each.
//!
//! ```text
//! 0100000000000000 1092d69c00000000 002c000000000000 7000000000000000
//! format 1         checksum         index 11264      112 bytes: 01 0400000000000000 be55318c8571c12d …
//! ```
//!
//! Law: of the data only the header is looked at, so the first [`DATA_HEADER_BYTES`] are enough.
//!
//! Source: raft's `uv_snapshot.c` and `compress.c`, dqlite's `fsm.c`, the LZ4 frame format.

use super::DISK_FORMAT;
use super::configuration::Configuration;
use super::content::Content;
use super::name::SnapshotId;
use super::problem::FileFault;

/// The longest configuration that raft accepts in a snapshot.
pub const MAX_CONFIGURATION_BYTES: u64 = 1024 * 1024;

/// Bytes of the data that are looked at.
pub const DATA_HEADER_BYTES: usize = 16;

/// Format, checksum, configuration index, configuration length.
const META_HEADER_BYTES: usize = 32;

/// The only format of the plain data that dqlite has had.
const DATA_FORMAT: u64 = 1;

/// First word of an LZ4 frame.
const LZ4_MAGIC: u32 = 0x184d_2204;
/// The bit of an LZ4 frame's flags that says that the size of the content follows.
const LZ4_CONTENT_SIZE: u8 = 1 << 3;

/// A snapshot that has both its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What the name says: the index and the term of the last entry that it covers.
    pub id: SnapshotId,
    /// The configuration, or why it cannot be read.
    pub meta: Result<SnapshotMeta, FileFault>,
    /// What the data is, or why dqlite cannot restore it.
    pub data: Result<SnapshotData, FileFault>,
    /// The size of the data file.
    pub data_bytes: u64,
}

/// What a `.meta` file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The index of the entry that set the configuration.
    pub configuration_index: u64,
    /// The configuration in force.
    pub configuration: Configuration,
}

/// What the data of a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotData {
    /// Compressed.
    Lz4 {
        /// What it comes to when it is not, where the frame says so.
        content_bytes: Option<u64>,
    },
    /// As it is.
    Plain {
        /// How many databases it holds.
        databases: u64,
    },
}

impl SnapshotMeta {
    /// Reads a `.meta` file. Bytes after the configuration are passed over, as raft does.
    ///
    /// # Errors
    ///
    /// A fault of the header, its checksum, or the configuration.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let content = Content::whole(bytes);
        content.need(0, META_HEADER_BYTES as u64)?;
        let [format, checksum, configuration_index, length] =
            [0, 8, 16, 24].map(|at| content.u64(at));
        if format != DISK_FORMAT {
            return Err(FileFault::SnapshotFormat { format });
        }
        if length > MAX_CONFIGURATION_BYTES {
            return Err(FileFault::ConfigurationTooBig { bytes: length });
        }
        if length == 0 {
            return Err(FileFault::NoConfiguration);
        }
        content.need(META_HEADER_BYTES, length)?;
        let covered = 2 * size_of::<u64>() + length as usize;
        // The checksum has a word to itself; raft compares its lower half.
        if content.crc(0, 16, covered) != checksum as u32 {
            return Err(FileFault::SnapshotChecksum);
        }
        let content = content.until(META_HEADER_BYTES + length as usize);
        let configuration = Configuration::decode_at(&content, META_HEADER_BYTES)?;
        Ok(Self {
            configuration_index,
            configuration,
        })
    }
}

impl SnapshotData {
    /// Reads the header of the data, of which `bytes` are at least the first [`DATA_HEADER_BYTES`].
    ///
    /// # Errors
    ///
    /// [`FileFault::ShortRead`], or [`FileFault::SnapshotFormat`] of plain data.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let content = Content::whole(bytes);
        content.need(0, size_of::<u32>() as u64)?;
        if content.u32(0) == LZ4_MAGIC {
            let has_size = content.u8(4) & LZ4_CONTENT_SIZE != 0 && content.size() >= 14;
            return Ok(Self::Lz4 {
                content_bytes: has_size.then(|| content.u64(6)),
            });
        }
        content.need(0, DATA_HEADER_BYTES as u64)?;
        let format = content.u64(0);
        if format != DATA_FORMAT {
            return Err(FileFault::SnapshotFormat { format });
        }
        Ok(Self::Plain {
            databases: content.u64(8),
        })
    }
}
