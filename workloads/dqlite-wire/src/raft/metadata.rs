//! `metadata1` and `metadata2`: the node's term and its vote.
//!
//! Four little-endian words: format, version, term, vote. Each write takes the next version and goes
//! to the file of its parity, so that the one before it is never in danger.
//!
//! ```text
//! 0100000000000000 0500000000000000 0300000000000000 be55318c8571c12d
//! format 1         version 5        term 3           voted for 3297041220608546238
//! ```
//!
//! Laws: a file that is too short was being written when the node died and does not count; one that
//! is too long or of another format makes raft refuse; two of one version make it refuse.

use super::DISK_FORMAT;
use super::content::Content;
use super::problem::{FileFault, ProblemKind, Problems, Severity};

/// Size of a metadata file.
pub const METADATA_BYTES: u64 = 32;

/// What a node must not forget between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Metadata {
    /// Grows by one with each write; never 0.
    pub version: u64,
    /// The term that the node is in.
    pub term: u64,
    /// The id of the server that it voted for in that term, itself included; `None` if it has not voted.
    pub voted_for: Option<u64>,
}

impl Metadata {
    /// Reads one file of exactly [`METADATA_BYTES`].
    ///
    /// # Errors
    ///
    /// [`FileFault::ShortRead`], [`FileFault::MetadataFormat`], [`FileFault::MetadataVersion`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let content = Content::whole(bytes);
        content.need(0, METADATA_BYTES)?;
        let [format, version, term, vote] = [0, 8, 16, 24].map(|at| content.u64(at));
        if format != DISK_FORMAT {
            return Err(FileFault::MetadataFormat { format });
        }
        if version == 0 {
            return Err(FileFault::MetadataVersion);
        }
        Ok(Self {
            version,
            term,
            voted_for: Some(vote).filter(|id| *id != 0),
        })
    }
}

/// One of the two files in its folder, with what is to be said about it.
pub(super) fn load(file: &str, bytes: &[u8], problems: &mut Problems) -> Option<Metadata> {
    let file = file.to_owned();
    let size = bytes.len() as u64;
    if size < METADATA_BYTES {
        let bytes = size;
        problems.add(Severity::Note, ProblemKind::MetadataTorn { file, bytes });
        return None;
    }
    if size > METADATA_BYTES {
        problems.refuse(ProblemKind::MetadataSize { file, bytes: size });
        return None;
    }
    match Metadata::decode(bytes) {
        Ok(metadata) => Some(metadata),
        Err(fault) => {
            problems.refuse(ProblemKind::Metadata { file, fault });
            None
        }
    }
}

/// The one of both that counts.
pub(super) fn newest(both: [Option<Metadata>; 2], problems: &mut Problems) -> Option<Metadata> {
    let [Some(one), Some(two)] = both else {
        return both.into_iter().flatten().next();
    };
    if one.version == two.version {
        let version = one.version;
        problems.refuse(ProblemKind::MetadataVersions { version });
        return None;
    }
    Some(if one.version > two.version { one } else { two })
}
