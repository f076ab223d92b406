//! Raft's configurations in a node's data folder, live or stopped, read over the node's transport.
//!
//! What is read: a listing, `metadata1|2`, each snapshot's `.meta` and the first bytes of its data, closed segments whole, and
//! of open ones (8 MiB each, nearly all zeros) what is used. One process a listing, the rest by the agent. A [`Reader`]
//! keeps decoded closed segments, which never change, by name, inode, size and times; nothing else is kept.
//!
//! Laws:
//! - nothing on the node is changed, and raft's own clean-up at its start is not anticipated;
//! - a folder that changed while it was read is read again, a bounded number of times, then it is unread;
//! - a folder that is not there, or holds no configuration, holds nobody: it was looked into;
//! - a folder at which raft would refuse to start is unread, in raft's words;
//! - an index is given only to a configuration that stands in the log. **Of a snapshot's configuration none is given**: raft
//!   0.15 (bookworm) writes the newest configuration, committed or not, under the index of the last committed one, and once
//!   the log is trimmed nothing in the folder tells (`dqlite_wire`'s fixture `bookworm-mispaired`). Compared by that index,
//!   two healthy nodes would contradict each other. Where the log still has the entry, the log says it, with its index; and
//!   that nodes hold different members is seen without an index too;
//! - `committed` is said only where raft itself would take it to be: of the first entry, of what a snapshot that fits the
//!   log covers, and of what a later change follows; see [`dqlite_wire::raft::folder`].

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    time::Duration,
};

use dqlite_wire::{
    Role as WireRole,
    raft::{
        ConfigurationAt, File, FileName, Folder, Origin, Segment, SegmentRange, Severity,
        snapshot::DATA_HEADER_BYTES,
    },
};
use harness_core::view::{LOG, Member, RaftPosition, Reading, Role, UnreadKind};
use harness_lab::{Exec, Node, TransportError, capability::PlaceReading};
use tokio::sync::Mutex;

/// The label of what the node acts by.
pub const LABEL: &str = "disk";
/// How often a folder that changes while it is read is read.
const TRIES: usize = 5;
/// Pause before it is read again.
const RETRY_PAUSE: Duration = Duration::from_millis(30);
/// How many older configurations are told with the newest one.
pub const OLDER_LIMIT: usize = 16;
/// What is asked for first of an open segment, in bytes: an unused one is told by its first word.
const FIRST_BYTES: usize = 16 * 1024;
/// The most that is asked for at once, in bytes.
const CHUNK_BYTES: usize = 1024 * 1024;
/// The longest file that is read, in bytes: raft's segments have 8 MiB.
const FILE_LIMIT_BYTES: u64 = 64 * 1024 * 1024;
/// The most that one reading fetches, in bytes; what was decoded is kept, so that the next reading gets further.
const FETCH_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// Folders of which closed segments are kept.
const KEPT_FOLDERS: usize = 256;

/// Reads a folder once, keeping nothing. At least one reading comes back, the newest configuration first.
pub async fn read(node: &Node, folder: &Path, deadline: Duration) -> Vec<PlaceReading> {
    Reader::default().read(node, folder, deadline).await
}

/// Reads folders again and again.
#[derive(Default)]
pub struct Reader {
    kept: Mutex<HashMap<(String, PathBuf), Kept>>,
}

/// Decoded closed segments by name.
type Kept = HashMap<String, (Stamp, Segment)>;

/// What tells a file from another of the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: String,
    size_bytes: u64,
    modified: String,
    changed: String,
}

type Listing = BTreeMap<String, Stamp>;

/// Why one try did not work.
enum Miss {
    /// The folder changed: try again.
    Changed(String),
    /// It will not get better.
    Final(UnreadKind, String),
}

impl Reader {
    /// Reads a folder. At least one reading comes back: the newest configuration, labelled [`LABEL`], then older ones that
    /// the log holds, labelled [`LOG`], the newest of them first.
    pub async fn read(&self, node: &Node, folder: &Path, deadline: Duration) -> Vec<PlaceReading> {
        match tokio::time::timeout(deadline, self.read_unbounded(node, folder)).await {
            Ok(Ok(read)) => readings(&read),
            Ok(Err((kind, message))) => vec![unread(kind, message)],
            Err(_) => vec![unread(
                UnreadKind::Timeout,
                format!(
                    "{} was not read within {} ms",
                    folder.display(),
                    deadline.as_millis()
                ),
            )],
        }
    }

    async fn read_unbounded(
        &self,
        node: &Node,
        folder: &Path,
    ) -> Result<Folder, (UnreadKind, String)> {
        let key = (node.name.to_string(), folder.to_owned());
        let mut kept = self.kept.lock().await.remove(&key).unwrap_or_default();
        let mut last = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            let tried = try_once(node, folder, &mut kept).await;
            let done = match tried {
                Ok(read) => Ok(read),
                Err(Miss::Final(kind, message)) => Err((kind, message)),
                Err(Miss::Changed(why)) => {
                    last = why;
                    continue;
                }
            };
            self.keep(key, kept).await;
            return done;
        }
        self.keep(key, kept).await;
        Err((
            UnreadKind::Error,
            format!("{} in {TRIES} tries: {last}", folder.display()),
        ))
    }

    async fn keep(&self, key: (String, PathBuf), kept: Kept) {
        let mut all = self.kept.lock().await;
        if all.len() >= KEPT_FOLDERS {
            all.clear();
        }
        all.insert(key, kept);
    }
}

fn unread(kind: UnreadKind, message: String) -> PlaceReading {
    PlaceReading {
        label: Some(LABEL),
        reading: Reading::Unread { kind, message },
        raft: None,
    }
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
    let folder = super::dqlite::paths::quote(&folder.display().to_string());
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

async fn try_once(node: &Node, folder: &Path, kept: &mut Kept) -> Result<Folder, Miss> {
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
                let segment = Segment::decode(name, range, &bytes, stamp.size_bytes);
                if segment.fault().is_none() {
                    kept.insert(name.clone(), (stamp.clone(), segment));
                } else {
                    fetched.add(name, bytes, stamp.size_bytes);
                }
            }
            FileName::Open { counter } => {
                let bytes = fetched
                    .used(node, folder, name, counter, stamp.size_bytes)
                    .await?;
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
    let files: Vec<File<'_>> = fetched
        .files
        .iter()
        .map(|(name, bytes, size_bytes)| File::beginning(name, bytes, *size_bytes))
        .collect();
    let decoded = kept.values().map(|(_, segment)| segment.clone()).collect();
    let read = Folder::with_segments(&files, decoded);
    // On a live node these can be of a moment that is over soon.
    let unfit = read
        .problems
        .iter()
        .find(|problem| matches!(problem.severity, Severity::Refusal | Severity::Unread));
    match unfit {
        Some(problem) => Err(Miss::Changed(problem.to_string())),
        None => Ok(read),
    }
}

/// What one try has fetched.
#[derive(Default)]
struct Fetched {
    files: Vec<(String, Vec<u8>, u64)>,
    bytes: usize,
}

impl Fetched {
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
    async fn used(
        &mut self,
        node: &Node,
        folder: &Path,
        name: &str,
        counter: u64,
        size_bytes: u64,
    ) -> Result<Vec<u8>, Miss> {
        let mut bytes = Vec::new();
        let mut want = FIRST_BYTES;
        loop {
            let from = bytes.len() as u64;
            let part = self.part(node, folder, name, from, want).await?;
            let is_end = part.len() < want;
            bytes.extend(part);
            if is_end || is_enough(name, counter, &bytes, size_bytes) {
                return Ok(bytes);
            }
            want = (want * 4).min(CHUNK_BYTES);
        }
    }
}

/// Whether the bytes reach behind the last batch of an open segment: a word of zeros is there where the next would begin.
fn is_enough(name: &str, counter: u64, bytes: &[u8], size_bytes: u64) -> bool {
    /// Both checksums and the count.
    const PREAMBLE_BYTES: usize = 16;
    let segment = Segment::decode(name, SegmentRange::Open { counter }, bytes, size_bytes);
    let after = &bytes[segment.used_bytes.min(bytes.len())..];
    after.len() >= PREAMBLE_BYTES && after[..PREAMBLE_BYTES].iter().all(|byte| *byte == 0)
}

fn role(role: WireRole) -> Role {
    match role {
        WireRole::Voter => Role::Voter,
        WireRole::StandBy => Role::StandBy,
        WireRole::Spare => Role::Spare,
    }
}

/// A server of raft as a member of a view.
#[must_use]
pub fn member(id: u64, address: &str, of: Option<WireRole>) -> Member {
    Member {
        address: Some(address.to_owned()),
        raft_id: Some(id),
        role: of.map(role),
        ..Member::default()
    }
}

/// What a folder says, as readings: see [`Reader::read`].
fn readings(folder: &Folder) -> Vec<PlaceReading> {
    let all = folder.configurations();
    let covered = covered_index(folder);
    let last_change = all.iter().rposition(|at| at.origin == Origin::Log);
    let told = all.iter().enumerate().rev().take(OLDER_LIMIT + 1);
    let mut readings: Vec<PlaceReading> = told
        .filter(|(place, at)| place + 1 == all.len() || at.origin == Origin::Log)
        .map(|(place, at)| PlaceReading {
            label: Some(if place + 1 == all.len() { LABEL } else { LOG }),
            reading: Reading::Members(members(at)),
            raft: Some(RaftPosition {
                term: folder.term(),
                ..position(
                    at,
                    place.checked_sub(1).map(|before| &all[before]),
                    last_change.is_some_and(|last| place < last),
                    covered,
                )
            }),
        })
        .collect();
    if readings.is_empty() {
        readings.push(PlaceReading {
            label: Some(LABEL),
            reading: Reading::Members(Vec::new()),
            raft: folder.term().map(|term| RaftPosition {
                term: Some(term),
                ..RaftPosition::default()
            }),
        });
    }
    readings
}

fn members(at: &ConfigurationAt<'_>) -> Vec<Member> {
    let servers = at.configuration.servers.iter();
    servers
        .map(|server| member(server.id, &server.address, Some(server.role)))
        .collect()
}

/// The last index that the newest snapshot proves committed in this log; none if the log has another entry there, as it can
/// for a moment while a snapshot is installed.
fn covered_index(folder: &Folder) -> Option<u64> {
    let id = folder.snapshots.last()?.id;
    let mut entries = folder.entries();
    let agrees = entries
        .find(|(index, _)| *index == id.index)
        .is_none_or(|(_, entry)| entry.term == id.term);
    agrees.then_some(id.index)
}

fn position(
    at: &ConfigurationAt<'_>,
    before: Option<&ConfigurationAt<'_>>,
    is_followed: bool,
    covered: Option<u64>,
) -> RaftPosition {
    if at.origin == Origin::Snapshot {
        // Neither its index nor that it is committed is proven.
        return RaftPosition::default();
    }
    let is_covered = covered.is_some_and(|covered| at.index <= covered);
    RaftPosition {
        index: Some(at.index),
        entry_term: at.term,
        previous_index: before
            .filter(|before| before.origin == Origin::Log)
            .map(|before| before.index),
        committed: (at.index == 1 || is_followed || is_covered).then_some(true),
        ..RaftPosition::default()
    }
}
