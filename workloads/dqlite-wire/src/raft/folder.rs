//! A whole data folder: what raft would know after reading it.
//!
//! ```text
//! files ─ names ─┬─ metadata1|2 ── the newer ─────────────────┐
//!                ├─ snapshots ──── the newest ─┐              ├── term, vote
//!                └─ segments ─── log ──────────┴─ entries ────┴── configurations, last index
//! ```
//!
//! Laws:
//!
//! 1. The newest configuration is the last change in the log, committed or not, else the newest
//!    snapshot's: that is the one a node acts by, and the one with which it answers CLUSTER.
//! 2. A configuration is `known_committed` if raft itself would take it to be: it is in a snapshot or
//!    not after one, it is entry 1, or a later change follows it in the log. Of the last change
//!    nothing can be said from one folder. Nor of a snapshot's configuration that
//!    the log contradicts: raft 0.15 writes a newer, uncommitted one under the index of the committed
//!    one (seen on followers of 1.11.1), and [`ProblemKind::SnapshotConfiguration`] tells where the
//!    log still has that entry. Where it has not, it goes unnoticed.
//! 3. If raft would refuse, the folder still shows what could be read; [`Folder::refusal`] tells.
//!
//! Source: raft's `uv.c` (loading) and `start.c` (which configuration is restored).

use std::collections::BTreeSet;

use super::configuration::Configuration;
use super::log;
use super::metadata::{self, METADATA_BYTES, Metadata};
use super::name::{FileName, SnapshotId};
use super::problem::{FileFault, Problem, ProblemKind, Problems, Severity};
use super::segment::{Entry, EntryKind, Segment, SegmentRange};
use super::snapshot::{Snapshot, SnapshotData, SnapshotMeta};

/// One file of the folder.
#[derive(Debug, Clone, Copy)]
pub struct File<'a> {
    /// Its name, without the folder.
    pub name: &'a str,
    /// Its bytes, or the first of them: see [`File::beginning`].
    pub bytes: &'a [u8],
    /// Its size in the folder.
    pub size_bytes: u64,
}

impl<'a> File<'a> {
    /// A file with all its bytes.
    pub fn whole(name: &'a str, bytes: &'a [u8]) -> Self {
        let size_bytes = bytes.len() as u64;
        Self {
            name,
            bytes,
            size_bytes,
        }
    }

    /// A file of `size_bytes` of which only the first are given: an *open segment* whose other bytes
    /// are zero, or the data of a snapshot, of which
    /// [a few](super::snapshot::DATA_HEADER_BYTES) are enough. Other files are needed whole.
    pub fn beginning(name: &'a str, bytes: &'a [u8], size_bytes: u64) -> Self {
        Self {
            name,
            bytes,
            size_bytes,
        }
    }

    fn is_whole(&self) -> bool {
        self.size_bytes == self.bytes.len() as u64
    }
}

/// What a data folder holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Folder {
    /// The newer of the two that is valid; `None` if there is none, or both are of one version.
    pub metadata: Option<Metadata>,
    /// Those with both files, the oldest first; raft uses the last.
    pub snapshots: Vec<Snapshot>,
    /// All segments, closed ones first, in the order of the log.
    pub segments: Vec<Segment>,
    /// What is wrong, in the order in which raft would meet it.
    pub problems: Vec<Problem>,
}

/// A configuration and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigurationAt<'a> {
    /// Index of the entry that set it.
    pub index: u64,
    /// Term of that entry, where the entry is still in the log.
    pub term: Option<u64>,
    /// Where it was read.
    pub origin: Origin,
    /// Whether it is committed as far as this folder proves: see the laws of [this module](self).
    pub known_committed: bool,
    /// Who the servers are.
    pub configuration: &'a Configuration,
}

/// Where a configuration was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Origin {
    /// In the metadata of the newest snapshot.
    Snapshot,
    /// In an entry of the log.
    Log,
}

impl Folder {
    /// Reads a folder from its files, in any order. Files that are not raft's are passed over.
    pub fn read(files: &[File<'_>]) -> Self {
        Self::with_segments(files, Vec::new())
    }

    /// The same, with segments that were [decoded](Segment::decode) before and are not among the files: a closed segment
    /// never changes, so whoever reads a folder again and again need not read it twice.
    pub fn with_segments(files: &[File<'_>], decoded: Vec<Segment>) -> Self {
        let mut problems = Problems::default();
        let files = Listed::new(files, &mut problems);
        let metadata = files.metadata(&mut problems);
        files.leftovers(&mut problems);
        let snapshots = files.snapshots(&mut problems);
        let mut segments = files.segments();
        segments.extend(decoded);
        log::sort(&mut segments);
        log::arrange(&mut segments, snapshots.last(), &mut problems);
        let mut folder = Self {
            metadata,
            snapshots,
            segments,
            problems: Vec::new(),
        };
        folder.check_log(&mut problems);
        folder.problems = problems.into_vec();
        folder
    }

    /// Why raft would refuse to start, in its own words; `None` if it would start, be it without
    /// segments that its auto-recovery sets aside.
    pub fn refusal(&self) -> Option<&Problem> {
        let is_refusal = |problem: &&Problem| problem.severity == Severity::Refusal;
        self.problems.iter().find(is_refusal)
    }

    /// The entries of the log with their indices, the oldest first. A snapshot can reach beyond the
    /// first of them, or beyond all.
    pub fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> {
        log::entries(&self.segments)
    }

    /// Every configuration in the folder in the order of indices: those of the log, and the newest
    /// snapshot's unless its entry is in the log and says the same.
    pub fn configurations(&self) -> Vec<ConfigurationAt<'_>> {
        let covered = self
            .snapshots
            .last()
            .map_or(0, |snapshot| snapshot.id.index);
        let mut all: Vec<_> = self
            .entries()
            .filter_map(|(index, entry)| match &entry.kind {
                EntryKind::Change(configuration) => Some((index, entry.term, configuration)),
                _ => None,
            })
            .map(|(index, term, configuration)| ConfigurationAt {
                index,
                term: Some(term),
                origin: Origin::Log,
                known_committed: index == 1 || index <= covered,
                configuration,
            })
            .collect();
        if let Some(followed) = all.len().checked_sub(1) {
            for change in &mut all[..followed] {
                change.known_committed = true;
            }
        }
        if let Some(meta) = self.snapshot_meta() {
            let index = meta.configuration_index;
            let is_same = |change: &&ConfigurationAt<'_>| {
                change.index == index && *change.configuration == meta.configuration
            };
            if !all.iter().any(|change| is_same(&change)) {
                let at = all.partition_point(|change| change.index < index);
                let is_contradicted = all.get(at).is_some_and(|change| change.index == index);
                let from_snapshot = ConfigurationAt {
                    index,
                    term: None,
                    origin: Origin::Snapshot,
                    known_committed: !is_contradicted,
                    configuration: &meta.configuration,
                };
                all.insert(at, from_snapshot);
            }
        }
        all
    }

    /// The configuration that the node acts by.
    pub fn newest_configuration(&self) -> Option<ConfigurationAt<'_>> {
        self.configurations().pop()
    }

    /// Index of the last entry, or the snapshot's if that reaches further; 0 if there is neither.
    pub fn last_index(&self) -> u64 {
        self.last().0
    }

    /// Term of the last entry; 0 if there is none.
    pub fn last_term(&self) -> u64 {
        self.last().1
    }

    /// The term that the node was in; `None` without metadata.
    pub fn term(&self) -> Option<u64> {
        self.metadata.map(|metadata| metadata.term)
    }

    /// The id of the server that the node voted for in its term, if it voted.
    pub fn voted_for(&self) -> Option<u64> {
        self.metadata.and_then(|metadata| metadata.voted_for)
    }

    fn last(&self) -> (u64, u64) {
        let id = self.snapshots.last().map(|snapshot| snapshot.id);
        let snapshot = id.map_or((0, 0), |id| (id.index, id.term));
        let entry = self.entries().last().map(|(i, entry)| (i, entry.term));
        match entry {
            Some(entry) if entry.0 >= snapshot.0 => entry,
            _ => snapshot,
        }
    }

    /// What the newest snapshot says of the configuration, if it can be read.
    fn snapshot_meta(&self) -> Option<&SnapshotMeta> {
        self.snapshots.last()?.meta.as_ref().ok()
    }

    /// Looks at what the entries say: configurations and terms.
    fn check_log(&self, problems: &mut Problems) {
        let last_change = self.entries().filter(|(_, entry)| is_change(entry)).last();
        let last_change = last_change.map(|(index, _)| index);
        let mut before = 0;
        let mut newest = None;
        for (index, entry) in self.entries() {
            let term = entry.term;
            if term < before {
                let kind = ProblemKind::TermGoesBack {
                    index,
                    term,
                    before,
                };
                problems.add(Severity::Odd, kind);
            }
            before = term;
            if newest.is_none_or(|(_, newest)| term > newest) {
                newest = Some((index, term));
            }
            if let EntryKind::MalformedChange(fault) = entry.kind {
                let kind = ProblemKind::Change { index, fault };
                if Some(index) == last_change {
                    problems.refuse(kind);
                } else {
                    problems.add(Severity::Odd, kind);
                }
            }
        }
        if let (Some((index, term)), Some(metadata)) = (newest, self.term())
            && term > metadata
        {
            let kind = ProblemKind::TermBeyondMetadata {
                index,
                term,
                metadata,
            };
            problems.add(Severity::Odd, kind);
        }
        self.check_snapshot_configuration(problems);
    }

    /// One index, one configuration, also between the snapshot and the log.
    fn check_snapshot_configuration(&self, problems: &mut Problems) {
        let (Some(snapshot), Some(meta)) = (self.snapshots.last(), self.snapshot_meta()) else {
            return;
        };
        let index = meta.configuration_index;
        let in_log = self.entries().find(|(at, _)| *at == index);
        if let Some((_, entry)) = in_log {
            let is_same = matches!(&entry.kind, EntryKind::Change(c) if *c == meta.configuration);
            if !is_same {
                let file = snapshot.id.to_string();
                let kind = ProblemKind::SnapshotConfiguration { file, index };
                problems.add(Severity::Odd, kind);
            }
        }
    }
}

fn is_change(entry: &Entry) -> bool {
    matches!(
        entry.kind,
        EntryKind::Change(_) | EntryKind::MalformedChange(_)
    )
}

/// The files by what they are, each name once.
struct Listed<'a>(Vec<(FileName<'a>, File<'a>)>);

impl<'a> Listed<'a> {
    fn new(files: &[File<'a>], problems: &mut Problems) -> Self {
        let mut seen = BTreeSet::new();
        let mut listed = Vec::new();
        for file in files {
            let name = FileName::parse(file.name);
            if !seen.insert(file.name) {
                let file = file.name.to_owned();
                problems.add(Severity::Unread, ProblemKind::NameTwice { file });
                continue;
            }
            if !file.is_whole() && needs_all(name) {
                let file = file.name.to_owned();
                problems.add(Severity::Unread, ProblemKind::NotReadWhole { file });
            }
            listed.push((name, *file));
        }
        listed.sort_by_key(|(_, file)| file.name);
        Self(listed)
    }

    fn metadata(&self, problems: &mut Problems) -> Option<Metadata> {
        let mut both = [None, None];
        for (slot, wanted) in both.iter_mut().zip([1, 2]) {
            let is_wanted = |(name, _): &&(FileName<'_>, File<'_>)| {
                *name == FileName::Metadata { number: wanted }
            };
            if let Some((_, file)) = self.0.iter().find(is_wanted) {
                *slot = metadata::load(file.name, file.bytes, problems);
            }
        }
        let has_log = self
            .0
            .iter()
            .any(|(name, _)| matches!(name, FileName::Closed { .. } | FileName::SnapshotMeta(_)));
        let is_missing = |(name, file): &(FileName<'_>, File<'_>)| {
            !matches!(name, FileName::Metadata { .. }) || (file.bytes.len() as u64) < METADATA_BYTES
        };
        if has_log && self.0.iter().all(is_missing) {
            problems.add(Severity::Odd, ProblemKind::MetadataMissing);
        }
        metadata::newest(both, problems)
    }

    /// Files that raft put aside or deletes.
    fn leftovers(&self, problems: &mut Problems) {
        for (name, file) in &self.0 {
            let file = file.name.to_owned();
            match name {
                FileName::Temporary => {
                    problems.add(Severity::Note, ProblemKind::Temporary { file })
                }
                FileName::Corrupt { .. } => {
                    problems.add(Severity::Loss, ProblemKind::MovedAside { file });
                }
                _ => {}
            }
        }
    }

    fn find(&self, wanted: FileName<'_>) -> Option<&File<'a>> {
        let found = self.0.iter().find(|(name, _)| *name == wanted);
        found.map(|(_, file)| file)
    }

    fn snapshots(&self, problems: &mut Problems) -> Vec<Snapshot> {
        let mut snapshots = Vec::new();
        for (name, file) in &self.0 {
            let orphan = || {
                let file = file.name.to_owned();
                ProblemKind::SnapshotOrphan { file }
            };
            match *name {
                FileName::SnapshotMeta(id) => match self.find(FileName::SnapshotData(id)) {
                    Some(data) if data.size_bytes == 0 => {
                        let file = data.name.to_owned();
                        problems.add(Severity::Note, ProblemKind::SnapshotEmpty { file });
                    }
                    Some(data) => snapshots.push(snapshot(id, file, data)),
                    None => problems.add(Severity::Note, orphan()),
                },
                FileName::SnapshotData(id) if self.find(FileName::SnapshotMeta(id)).is_none() => {
                    problems.add(Severity::Note, orphan());
                }
                _ => {}
            }
        }
        snapshots.sort_by_key(|snapshot| snapshot.id);
        let newest = snapshots.last().map(|snapshot| snapshot.id);
        for snapshot in &snapshots {
            let is_newest = newest == Some(snapshot.id);
            for kind in faults(snapshot) {
                if is_newest {
                    problems.refuse(kind);
                } else {
                    problems.add(Severity::Odd, kind);
                }
            }
        }
        snapshots
    }

    fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        for (name, file) in &self.0 {
            let range = match *name {
                FileName::Closed { first, end } => SegmentRange::Closed { first, end },
                FileName::Open { counter } => SegmentRange::Open { counter },
                _ => continue,
            };
            let size_bytes = match range {
                SegmentRange::Closed { .. } => file.bytes.len() as u64,
                SegmentRange::Open { .. } => file.size_bytes,
            };
            segments.push(Segment::decode(file.name, range, file.bytes, size_bytes));
        }
        segments
    }
}

/// Whether the beginning of a file is not enough.
fn needs_all(name: FileName<'_>) -> bool {
    matches!(
        name,
        FileName::Metadata { .. } | FileName::Closed { .. } | FileName::SnapshotMeta(_)
    )
}

fn snapshot(id: SnapshotId, meta: &File<'_>, data: &File<'_>) -> Snapshot {
    Snapshot {
        id,
        meta: SnapshotMeta::decode(meta.bytes),
        data: SnapshotData::decode(data.bytes),
        data_bytes: data.size_bytes,
    }
}

fn faults(snapshot: &Snapshot) -> impl Iterator<Item = ProblemKind> + use<> {
    let data = snapshot.id.to_string();
    let meta = snapshot.meta.as_ref().err().map(|fault: &FileFault| {
        let file = format!("{data}.meta");
        ProblemKind::SnapshotMeta {
            file,
            fault: *fault,
        }
    });
    let fault = snapshot.data.err();
    let data = fault.map(|fault| ProblemKind::SnapshotData { file: data, fault });
    meta.into_iter().chain(data)
}
