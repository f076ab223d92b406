//! Fetching what matters of a data folder over a node's transport, and decoding it.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use dqlite_wire::raft::{
    File, FileName, Folder, Segment, SegmentRange, Severity, segment, snapshot::DATA_HEADER_BYTES,
};
use harness_core::view::UnreadKind;
use harness_lab::{Exec, Node, TransportError};

use crate::systems::scripts::quote;

/// What is asked for first of an open segment, in bytes: an unused one is told by its first word.
const FIRST_BYTES: usize = 16 * 1024;
/// The most that is asked for at once, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;
/// The longest file that is read, in bytes: raft's segments have 8 MiB.
const FILE_LIMIT_BYTES: u64 = 64 * 1024 * 1024;
/// The most that one reading fetches, in bytes; what was decoded is kept, so that the next reading gets further.
const FETCH_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// Decoded closed segments by name.
pub(super) type Kept = HashMap<String, (Stamp, Segment)>;

/// What tells a file from another of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: String,
    size_bytes: u64,
    modified: String,
    changed: String,
}

type Listing = BTreeMap<String, Stamp>;

/// Why one try did not work.
pub(super) enum Miss {
    /// The folder changed: try again.
    Changed(String),
    /// It will not get better.
    Final(UnreadKind, String),
}

fn transport(error: &TransportError) -> Miss {
    let message = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match error {
        // A file that was there is gone: raft renames and deletes.
        TransportError::Refused { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Miss::Changed(message)
        }
        TransportError::TimedOut { .. } => Miss::Final(UnreadKind::Timeout, message),
        _ => Miss::Final(UnreadKind::Error, message),
    }
}

/// `INODE SIZE MODIFIED CHANGED NAME` a line; nothing if there is no such folder.
fn list_script(folder: &Path) -> String {
    let folder = quote(&folder.display().to_string());
    format!(
        "cd {folder} 2>/dev/null || exit 0; stat -c '%i %s %.9Y %.9Z %n' -- * 2>/dev/null; true"
    )
}

fn parse_listing(text: &str) -> Listing {
    text.lines()
        .filter_map(|line| {
            let mut words = line.splitn(5, ' ');
            let mut word = || words.next().map(str::to_owned);
            let stamp = Stamp {
                inode: word()?,
                size_bytes: word()?.parse().ok()?,
                modified: word()?,
                changed: word()?,
            };
            Some((word()?, stamp))
        })
        .filter(|(name, _)| matters(name))
        .collect()
}

/// Whether raft looks at it, or it tells of a fault.
fn matters(name: &str) -> bool {
    !matches!(
        FileName::parse(name),
        FileName::Info
            | FileName::Cluster
            | FileName::Join
            | FileName::Lock
            | FileName::Temporary
            | FileName::Other
    )
}

async fn list(node: &Node, folder: &Path) -> Result<Listing, Miss> {
    let output = node
        .transport
        .exec(Exec::shell(list_script(folder)))
        .await
        .map_err(|error| transport(&error))?;
    if output.stdout_dropped_bytes > 0 {
        let message = format!("{} holds too many files to list", folder.display());
        return Err(Miss::Final(UnreadKind::Error, message));
    }
    Ok(parse_listing(&output.stdout_text()))
}

/// Whether two listings are of one state. Open segments and metadata are rewritten in place: their bytes tell.
fn is_same(before: &Listing, after: &Listing) -> bool {
    before.keys().eq(after.keys())
        && before.iter().all(|(name, stamp)| {
            !matches!(FileName::parse(name), FileName::Closed { .. })
                || after.get(name) == Some(stamp)
        })
}

/// One try at a whole folder. `kept` loses what is no longer there, and gains what was decoded.
pub(super) async fn folder(node: &Node, folder: &Path, kept: &mut Kept) -> Result<Folder, Miss> {
    let listing = list(node, folder).await?;
    kept.retain(|name, (stamp, _)| listing.get(name) == Some(stamp));
    let mut fetched = Fetched::default();
    // Segments before metadata: else an entry could seem to come from a future term.
    let segments_first = |name: &&String| {
        !matches!(
            FileName::parse(name),
            FileName::Closed { .. } | FileName::Open { .. }
        )
    };
    let mut names: Vec<&String> = listing.keys().collect();
    names.sort_by_key(segments_first);
    for name in names {
        let stamp = &listing[name];
        match FileName::parse(name) {
            FileName::Closed { first, end } => {
                if kept.contains_key(name) {
                    continue;
                }
                let bytes = fetched.whole(node, folder, name, stamp.size_bytes).await?;
                let range = SegmentRange::Closed { first, end };
                let (file, size_bytes) = (name.clone(), stamp.size_bytes);
                let (decoded, bytes) = blocking(move || {
                    let decoded = Segment::decode(&file, range, &bytes, size_bytes);
                    (decoded, bytes)
                })
                .await?;
                if decoded.fault().is_none() {
                    kept.insert(name.clone(), (stamp.clone(), decoded));
                } else {
                    fetched.add(name, bytes, stamp.size_bytes);
                }
            }
            FileName::Open { .. } => {
                let bytes = fetched.used(node, folder, name).await?;
                fetched.add(name, bytes, stamp.size_bytes);
            }
            FileName::SnapshotData(_) => {
                let bytes = fetched
                    .part(node, folder, name, 0, DATA_HEADER_BYTES)
                    .await?;
                fetched.add(name, bytes, stamp.size_bytes);
            }
            FileName::Corrupt { .. } => fetched.add(name, Vec::new(), 0),
            _ => {
                let bytes = fetched.whole(node, folder, name, stamp.size_bytes).await?;
                let size_bytes = bytes.len() as u64;
                fetched.add(name, bytes, size_bytes);
            }
        }
    }
    if !is_same(&listing, &list(node, folder).await?) {
        return Err(Miss::Changed(
            "its files changed while they were read".to_owned(),
        ));
    }
    let decoded = kept.values().map(|(_, segment)| segment.clone()).collect();
    let read = blocking(move || fetched.decode(decoded)).await?;
    // On a live node these can be of a moment that is over soon. What raft's auto-recovery would set aside counts too: the
    // rest of the folder tells of an older configuration than the one that the node acts by.
    let unfit = read.problems.iter().find(|problem| {
        matches!(
            problem.severity,
            Severity::Refusal | Severity::AutoRecovery | Severity::Unread
        )
    });
    match unfit {
        Some(problem) => Err(Miss::Changed(problem.to_string())),
        None => Ok(read),
    }
}

/// Megabytes of checksums are not for the threads that everybody waits on.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Miss> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Miss::Final(UnreadKind::Error, error.to_string()))
}

/// What one try has fetched.
#[derive(Default)]
struct Fetched {
    files: Vec<(String, Vec<u8>, u64)>,
    bytes: usize,
}

impl Fetched {
    fn decode(&self, closed: Vec<Segment>) -> Folder {
        let files: Vec<File<'_>> = self
            .files
            .iter()
            .map(|(name, bytes, size_bytes)| File::beginning(name, bytes, *size_bytes))
            .collect();
        Folder::with_segments(&files, closed)
    }

    fn add(&mut self, name: &str, bytes: Vec<u8>, size_bytes: u64) {
        self.files.push((name.to_owned(), bytes, size_bytes));
    }

    async fn part(
        &mut self,
        node: &Node,
        folder: &Path,
        name: &str,
        offset_bytes: u64,
        limit_bytes: usize,
    ) -> Result<Vec<u8>, Miss> {
        self.bytes += limit_bytes;
        if self.bytes > FETCH_LIMIT_BYTES {
            let message = format!(
                "{} needs more than {FETCH_LIMIT_BYTES} bytes to be read",
                folder.display()
            );
            return Err(Miss::Final(UnreadKind::Error, message));
        }
        node.transport
            .read_file(&folder.join(name), offset_bytes, limit_bytes)
            .await
            .map_err(|error| transport(&error))
    }

    async fn whole(
        &mut self,
        node: &Node,
        folder: &Path,
        name: &str,
        size_bytes: u64,
    ) -> Result<Vec<u8>, Miss> {
        if size_bytes > FILE_LIMIT_BYTES {
            let message = format!("{name} has {size_bytes} bytes, too many to be raft's");
            return Err(Miss::Final(UnreadKind::Error, message));
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size_bytes {
            let left = usize::try_from(size_bytes).unwrap_or(usize::MAX) - bytes.len();
            let from = bytes.len() as u64;
            let part = self
                .part(node, folder, name, from, left.min(CHUNK_BYTES))
                .await?;
            if part.is_empty() {
                return Err(Miss::Changed(format!("{name} became shorter")));
            }
            bytes.extend(part);
        }
        Ok(bytes)
    }

    /// An open segment up to behind its last whole batch: more is fetched until what follows is seen to be no batch.
    async fn used(&mut self, node: &Node, folder: &Path, name: &str) -> Result<Vec<u8>, Miss> {
        let mut bytes = Vec::new();
        let (mut want, mut reached) = (FIRST_BYTES, 0);
        loop {
            let from = bytes.len() as u64;
            let part = self.part(node, folder, name, from, want).await?;
            let is_end = part.len() < want;
            bytes.extend(part);
            let (at, is_seen_to_end) = segment::reach(&bytes, reached);
            if is_end || is_seen_to_end {
                return Ok(bytes);
            }
            reached = at;
            want = (want * 4).min(CHUNK_BYTES);
        }
    }
}
