//! Which file is what, by its name.
//!
//! Law: a name that raft would not take for one of its files is not one here either. Numbers are
//! decimal; those of closed segments have sixteen digits, because raft reads no more.
//!
//! Source: raft's `uv_list.c`, `uv_segment.c`, `uv_snapshot.c`, `uv_fs.c`; go-dqlite's `app` package;
//! dqlite 1.16.5 and newer for the lock.

/// Raft passes over names of this many bytes or more.
pub const MAX_NAME_BYTES: usize = 128;

/// Digits that raft reads of an index in a closed segment's name.
const INDEX_DIGITS: usize = 16;

/// What a file of the data folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileName<'a> {
    /// `metadata1` or `metadata2`.
    Metadata {
        /// 1 for odd versions, 2 for even ones.
        number: u8,
    },
    /// `%016llu-%016llu`: the entries from `first` to `end`, both included.
    Closed {
        /// Index of the first entry.
        first: u64,
        /// Index of the last entry.
        end: u64,
    },
    /// `open-N`: entries whose index is known from what precedes them.
    Open {
        /// Raft's running number; segments are filled in its order.
        counter: u64,
    },
    /// `snapshot-TERM-INDEX-TIMESTAMP`: the data.
    SnapshotData(SnapshotId),
    /// `snapshot-TERM-INDEX-TIMESTAMP.meta`: the configuration.
    SnapshotMeta(SnapshotId),
    /// `tmp-…`: half written when the node died; raft deletes it when it starts.
    Temporary,
    /// `corrupt-NANOSECONDS-SEGMENT`: put aside by raft's auto-recovery, its entries with it.
    Corrupt {
        /// What the segment was called.
        segment: &'a str,
    },
    /// `info.yaml` of go-dqlite: this node's id, address and role. YAML; the caller's to read.
    Info,
    /// `cluster.yaml` of go-dqlite: the members that it last heard of. YAML; the caller's to read.
    Cluster,
    /// `join` of go-dqlite: it is there while a join has not been completed.
    Join,
    /// `dqlite-lock` of dqlite 1.16.5 and newer.
    Lock,
    /// Not a file of raft, dqlite or go-dqlite that is known here.
    Other,
}

/// What the name of a snapshot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId {
    // The order of the fields is the order of age by which raft chooses.
    /// Term of the last entry that it covers.
    pub term: u64,
    /// Index of the last entry that it covers.
    pub index: u64,
    /// Milliseconds on the clock of the node's event loop: not wall time.
    pub timestamp_ms: u64,
}

impl std::fmt::Display for SnapshotId {
    /// The name of the data file.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            term,
            index,
            timestamp_ms,
        } = self;
        write!(formatter, "snapshot-{term}-{index}-{timestamp_ms}")
    }
}

impl<'a> FileName<'a> {
    /// What the file called `name` is.
    pub fn parse(name: &'a str) -> Self {
        if name.len() >= MAX_NAME_BYTES {
            return Self::Other;
        }
        match name {
            "metadata1" => return Self::Metadata { number: 1 },
            "metadata2" => return Self::Metadata { number: 2 },
            "info.yaml" => return Self::Info,
            "cluster.yaml" => return Self::Cluster,
            "join" => return Self::Join,
            "dqlite-lock" => return Self::Lock,
            _ => {}
        }
        if name.starts_with("tmp-") {
            return Self::Temporary;
        }
        let raft = closed(name)
            .or_else(|| open(name))
            .or_else(|| snapshot(name))
            .or_else(|| corrupt(name));
        raft.unwrap_or(Self::Other)
    }
}

fn number(digits: &str) -> Option<u64> {
    let decimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    decimal.then(|| digits.parse().ok()).flatten()
}

fn closed(name: &str) -> Option<FileName<'_>> {
    let (first, end) = name.split_once('-')?;
    if first.len() > INDEX_DIGITS || end.len() > INDEX_DIGITS {
        return None;
    }
    let (first, end) = (number(first)?, number(end)?);
    Some(FileName::Closed { first, end })
}

fn open(name: &str) -> Option<FileName<'_>> {
    let counter = number(name.strip_prefix("open-")?)?;
    Some(FileName::Open { counter })
}

fn snapshot(name: &str) -> Option<FileName<'_>> {
    let rest = name.strip_prefix("snapshot-")?;
    let (rest, is_meta) = match rest.strip_suffix(".meta") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let mut numbers = rest.split('-').map(number);
    let id = SnapshotId {
        term: numbers.next()??,
        index: numbers.next()??,
        timestamp_ms: numbers.next()??,
    };
    if numbers.next().is_some() {
        return None;
    }
    Some(if is_meta {
        FileName::SnapshotMeta(id)
    } else {
        FileName::SnapshotData(id)
    })
}

fn corrupt(name: &str) -> Option<FileName<'_>> {
    let (nanoseconds, segment) = name.strip_prefix("corrupt-")?.split_once('-')?;
    number(nanoseconds)?;
    Some(FileName::Corrupt { segment })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_folders() {
        let id = SnapshotId {
            term: 1,
            index: 4096,
            timestamp_ms: 5_515_044,
        };
        let (first, end) = (1022, 1024);
        let long = format!("open-{}", "1".repeat(MAX_NAME_BYTES));
        let segment = "0000000000001022-0000000000001024";
        let table = [
            ("metadata1", FileName::Metadata { number: 1 }),
            ("metadata2", FileName::Metadata { number: 2 }),
            ("metadata3", FileName::Other),
            (segment, FileName::Closed { first, end }),
            ("open-11", FileName::Open { counter: 11 }),
            ("open-", FileName::Other),
            ("open-+1", FileName::Other),
            ("open-99999999999999999999", FileName::Other),
            ("00000000000000001-0000000000000002", FileName::Other),
            ("snapshot-1-4096-5515044", FileName::SnapshotData(id)),
            ("snapshot-1-4096-5515044.meta", FileName::SnapshotMeta(id)),
            ("snapshot-1-4096-5515044.meta.tmp", FileName::Other),
            ("snapshot-1-4096", FileName::Other),
            ("snapshot-1-2-3-4", FileName::Other),
            ("tmp-metadata1", FileName::Temporary),
            (
                "corrupt-1795324000000000000-open-3",
                FileName::Corrupt { segment: "open-3" },
            ),
            ("info.yaml", FileName::Info),
            ("cluster.yaml", FileName::Cluster),
            ("join", FileName::Join),
            ("dqlite-lock", FileName::Lock),
            ("local.db", FileName::Other),
            (&long, FileName::Other),
            ("", FileName::Other),
        ];
        for (name, expected) in table {
            assert_eq!(FileName::parse(name), expected, "{name}");
        }
        assert_eq!(id.to_string(), "snapshot-1-4096-5515044");
    }
}
