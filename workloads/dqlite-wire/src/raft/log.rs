//! Which segments make up the log, in which order, and from which index on.
//!
//! Raft chooses by names before it reads: closed segments in the order of their indices, then open
//! ones in the order of their numbers. A snapshot makes it pass over what lies behind:
//!
//! ```text
//! snapshot up to 100:   1-40    [gap]   61-90   91-120   open-3
//!                       passed over     taken   taken    taken, from 121 on
//! ```
//!
//! Laws: without a snapshot a gap is a refusal; with one, the longest unbroken run of the newest
//! closed segments is taken, and it must reach back to the snapshot. If all closed ones end before
//! the snapshot and nothing is open, none is taken, and the log goes on after the snapshot.
//!
//! Where raft refuses and stops, this goes on, and believes the names of closed segments: a gap in
//! the indices stays a gap, it does not shift the entries behind it.

use super::problem::{ProblemKind, Problems, Severity};
use super::segment::{EntryKind, Segment, SegmentRange, SegmentUse, Tail};
use super::snapshot::Snapshot;

/// Sorts the segments as raft does.
pub(super) fn sort(segments: &mut [Segment]) {
    segments.sort_by_key(|segment| match segment.range {
        SegmentRange::Closed { first, end } => (0, first, end),
        SegmentRange::Open { counter } => (1, counter, 0),
    });
}

/// Gives the sorted segments their use and their first index, and says what is wrong with them.
pub(super) fn arrange(
    segments: &mut [Segment],
    snapshot: Option<&Snapshot>,
    problems: &mut Problems,
) {
    let mut next = 1;
    if let Some(snapshot) = snapshot {
        next = snapshot.id.index.saturating_add(1);
        discard(segments, snapshot, problems);
        let taken = segments.iter().find(|segment| is_taken(segment));
        if let Some(first) = taken.and_then(|segment| segment.first_index) {
            next = first;
        }
    }
    let recoverable = last_closed(segments);
    let mut torn: Option<String> = None;
    for (at, segment) in segments.iter_mut().enumerate() {
        if !is_taken(segment) {
            continue;
        }
        match segment.range {
            SegmentRange::Closed { first, end } => {
                closed(segment, next, Some(at) == recoverable, problems);
                next = end.max(first).saturating_add(1);
            }
            SegmentRange::Open { .. } => {
                segment.first_index = Some(next);
                open(segment, &mut torn, problems);
                next = next.saturating_add(segment.entries.len() as u64);
            }
        }
    }
    if let Some(snapshot) = snapshot {
        behind(segments, snapshot, next.saturating_sub(1), problems);
    }
    if snapshot.is_none() {
        first_entry(segments, problems);
    }
}

/// The entries of the log with their indices, as far as they could be read.
pub(super) fn entries(segments: &[Segment]) -> impl Iterator<Item = (u64, &super::Entry)> {
    segments
        .iter()
        .filter(|segment| is_taken(segment))
        .filter_map(|segment| Some((segment.first_index?, segment)))
        .flat_map(|(first, segment)| {
            let index = move |i: usize| first.saturating_add(i as u64);
            let indexed = segment.entries.iter().enumerate();
            indexed.map(move |(i, entry)| (index(i), entry))
        })
}

fn is_taken(segment: &Segment) -> bool {
    segment.usage == SegmentUse::Log
}

fn is_open(segment: &Segment) -> bool {
    matches!(segment.range, SegmentRange::Open { .. })
}

fn bounds(segment: &Segment) -> Option<(u64, u64)> {
    match segment.range {
        SegmentRange::Closed { first, end } => Some((first, end)),
        SegmentRange::Open { .. } => None,
    }
}

/// The closed segment that auto-recovery would put aside if it were corrupt: the last one.
fn last_closed(segments: &[Segment]) -> Option<usize> {
    segments.iter().rposition(|segment| !is_open(segment))
}

/// Passes over the closed segments that a snapshot makes superfluous.
fn discard(segments: &mut [Segment], snapshot: &Snapshot, problems: &mut Problems) {
    let Some(last) = last_closed(segments) else {
        return;
    };
    let Some((_, end)) = bounds(&segments[last]) else {
        return;
    };
    let none_is_open = last + 1 == segments.len();
    if end < snapshot.id.index && none_is_open {
        problems.add(Severity::Note, ProblemKind::SegmentsBehindSnapshot);
        for segment in segments {
            segment.usage = SegmentUse::Discarded;
        }
        return;
    }
    let mut start = last;
    while let Some(before) = start.checked_sub(1) {
        let (older, newer) = (bounds(&segments[before]), bounds(&segments[start]));
        let joined = older
            .zip(newer)
            .is_some_and(|((_, end), (first, _))| end.checked_add(1) == Some(first));
        if !joined {
            let file = segments[before].name.clone();
            problems.add(Severity::Loss, ProblemKind::NotContiguous { file });
            break;
        }
        start = before;
    }
    for segment in &mut segments[..start] {
        segment.usage = SegmentUse::Discarded;
    }
    let first = bounds(&segments[start]).map_or(0, |(first, _)| first);
    if first > snapshot.id.index.saturating_add(1) {
        let file = segments[start].name.clone();
        let snapshot = snapshot.id.to_string();
        problems.refuse(ProblemKind::PastSnapshot { file, snapshot });
    }
}

/// Checks a closed segment that is taken and should begin at `next`.
fn closed(segment: &Segment, next: u64, recoverable: bool, problems: &mut Problems) {
    let file = segment.name.clone();
    if segment.first_index != Some(next) {
        let expected = next;
        problems.refuse(ProblemKind::Gap { file, expected });
    } else if let Some(fault) = segment.fault() {
        let severity = refusal(recoverable && fault.is_corruption());
        problems.add(severity, ProblemKind::ClosedSegment { file, fault });
    }
}

/// What becomes of a segment that does not load.
fn refusal(is_recoverable: bool) -> Severity {
    if is_recoverable {
        Severity::AutoRecovery
    } else {
        Severity::Refusal
    }
}

/// Checks an open segment; `torn` is the name of one before it that ended in half a batch.
fn open(segment: &Segment, torn: &mut Option<String>, problems: &mut Problems) {
    let file = segment.name.clone();
    if let Some(torn) = torn.clone().filter(|_| !segment.entries.is_empty()) {
        let file = file.clone();
        problems.add(
            Severity::Odd,
            ProblemKind::EntriesAfterTornBatch { file, torn },
        );
    }
    if let Some(fault) = segment.fault() {
        let severity = refusal(fault.is_corruption());
        problems.add(severity, ProblemKind::OpenSegment { file, fault });
    } else if let Tail::Torn(half) = segment.tail {
        *torn = Some(file.clone());
        let (at_bytes, batch) = (half.at_bytes, half.batch);
        problems.add(
            Severity::Loss,
            ProblemKind::TornBatch {
                file,
                at_bytes,
                batch,
            },
        );
    }
}

/// The log that was taken must reach the snapshot.
fn behind(segments: &[Segment], snapshot: &Snapshot, last: u64, problems: &mut Problems) {
    let snapshot = snapshot.id.index;
    if segments.iter().any(is_taken) && last < snapshot {
        // The second pass of auto-recovery finds no open segment any more and discards the closed ones.
        let kind = ProblemKind::BehindSnapshot { last, snapshot };
        problems.add(Severity::AutoRecovery, kind);
    }
}

/// Without a snapshot the log begins with the configuration of the bootstrap.
fn first_entry(segments: &[Segment], problems: &mut Problems) {
    if let Some((1, first)) = entries(segments).next() {
        let is_change = matches!(
            first.kind,
            EntryKind::Change(_) | EntryKind::MalformedChange(_)
        );
        if !is_change {
            problems.add(Severity::Odd, ProblemKind::FirstEntry);
        }
    }
}
