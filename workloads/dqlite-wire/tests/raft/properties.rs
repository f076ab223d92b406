//! Properties: what is written by hand reads back; no bytes and no names make the decoder panic or
//! hold much; what is torn off a log takes only its last batch with it.

use dqlite_wire::Role;
use dqlite_wire::raft::{Configuration, EntryKind, File, Folder, Metadata, Server, SnapshotMeta};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::files::{
    Files, OPEN_SEGMENT_BYTES, RawEntry, barrier, change, closed_name, command, configuration,
    fixture, metadata, segment, snapshot_data, snapshot_meta,
};

fn members() -> impl Strategy<Value = Configuration> {
    let role = prop_oneof![Just(Role::Voter), Just(Role::StandBy), Just(Role::Spare)];
    vec((1_u64.., role), 0..6).prop_map(|mut servers| {
        servers.sort_by_key(|(id, _)| *id);
        servers.dedup_by_key(|(id, _)| *id);
        let server = |(id, role)| Server {
            id,
            address: format!("10.0.0.1:{id}"),
            role,
        };
        Configuration {
            servers: servers.into_iter().map(server).collect(),
        }
    })
}

fn entry() -> impl Strategy<Value = RawEntry> {
    prop_oneof![
        (0..9_usize).prop_map(|words| command(3, words * 8)),
        Just(barrier(3)),
        members().prop_map(|members| change(3, &members)),
    ]
}

fn batches() -> impl Strategy<Value = Vec<Vec<RawEntry>>> {
    vec(vec(entry(), 1..5), 1..6)
}

fn refs(batches: &[Vec<RawEntry>]) -> Vec<&[RawEntry]> {
    batches.iter().map(Vec::as_slice).collect()
}

/// A folder of two segments in which every kind of file occurs.
fn folder(closed: &[Vec<RawEntry>], open: &[Vec<RawEntry>]) -> Files {
    let count = closed.iter().flatten().count() as u64;
    let mut files = Files::default();
    files.put("metadata1", metadata(3, 3, 1));
    files.put("metadata2", metadata(2, 2, 0));
    files.put(&closed_name(8, 7 + count), segment(&refs(closed)));
    files.put("open-5", segment(&refs(open)));
    files.put("snapshot-3-9-77", snapshot_data());
    files.put("snapshot-3-9-77.meta", snapshot_meta(4, &one()));
    files
}

fn one() -> Configuration {
    let server = Server {
        id: 1,
        address: "n1".to_owned(),
        role: Role::Voter,
    };
    Configuration {
        servers: vec![server],
    }
}

/// What a folder holds in memory, in items that were allocated for it.
fn items(folder: &Folder) -> usize {
    let servers = |configuration: &Configuration| configuration.servers.len();
    let entries = folder.segments.iter().flat_map(|segment| &segment.entries);
    let changed = entries.map(|entry| match &entry.kind {
        EntryKind::Change(configuration) => 1 + servers(configuration),
        _ => 1,
    });
    let snapshots = folder.snapshots.iter().flat_map(|s| s.meta.as_ref().ok());
    let snapshots = snapshots.map(|meta| servers(&meta.configuration));
    changed.sum::<usize>() + snapshots.sum::<usize>() + folder.problems.len()
}

fn everything(folder: &Folder) {
    let _ = folder.configurations();
    let _ = folder.newest_configuration();
    let _ = (folder.last_index(), folder.last_term(), folder.voted_for());
    for problem in &folder.problems {
        assert!(!problem.to_string().is_empty());
    }
}

fn name() -> impl Strategy<Value = String> {
    let number = prop_oneof![0..4_u64, any::<u64>()];
    let three = (number.clone(), number.clone(), number.clone());
    prop_oneof![
        select(vec!["metadata1", "metadata2", "tmp-x", "corrupt-1-open-1"]).prop_map(str::to_owned),
        (number.clone(), number.clone()).prop_map(|(first, end)| closed_name(first, end)),
        number.prop_map(|counter| format!("open-{counter}")),
        three
            .clone()
            .prop_map(|(a, b, c)| format!("snapshot-{a}-{b}-{c}")),
        three.prop_map(|(a, b, c)| format!("snapshot-{a}-{b}-{c}.meta")),
        any::<String>(),
    ]
}

proptest! {
    #[test]
    fn metadata_reads_back(version in 1_u64.., term: u64, vote: u64) {
        let read = Metadata::decode(&metadata(version, term, vote)).unwrap();
        let voted_for = Some(vote).filter(|vote| *vote != 0);
        prop_assert_eq!(read, Metadata { version, term, voted_for });
    }

    #[test]
    fn configurations_read_back(members in members(), index: u64) {
        prop_assert_eq!(Configuration::decode(&configuration(&members)), Ok(members.clone()));
        let meta = SnapshotMeta { configuration_index: index, configuration: members };
        let bytes = snapshot_meta(index, &meta.configuration);
        prop_assert_eq!(SnapshotMeta::decode(&bytes), Ok(meta));
    }

    #[test]
    fn logs_read_back(closed in batches(), open in batches()) {
        let entries: Vec<_> = closed.iter().chain(&open).flatten().collect();
        let folder = folder(&closed, &open).read();
        // A snapshot in the middle of a log: entry 9 is covered or not there at all.
        let read: Vec<_> = folder.entries().collect();
        prop_assert_eq!(read.len(), entries.len());
        for (i, ((index, read), (term, code, payload))) in read.into_iter().zip(entries).enumerate() {
            prop_assert_eq!(index, 8 + i as u64);
            prop_assert_eq!(read.term, *term);
            let expected = match code {
                1 => EntryKind::Command { bytes: payload.len() as u32 },
                2 => EntryKind::Barrier,
                _ => EntryKind::Change(Configuration::decode(payload).unwrap()),
            };
            prop_assert_eq!(&read.kind, &expected);
        }
    }

    /// Leaving out the zeros at the end of an open segment changes nothing, wherever they begin.
    #[test]
    fn zeros_need_not_be_given(open in batches()) {
        let mut bytes = segment(&refs(&open));
        bytes.resize(bytes.len() + 4096, 0);
        let size = bytes.len() as u64;
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let name = "open-1";
        let whole = Folder::read(&[File::whole(name, &bytes)]);
        let trimmed = Folder::read(&[File::beginning(name, &bytes[..end], size)]);
        prop_assert_eq!(whole, trimmed);
    }

    /// A write that was cut short loses its own batch and none before.
    #[test]
    fn a_torn_write_takes_one_batch(open in batches(), at: Index) {
        let whole = segment(&refs(&open));
        let start = segment(&refs(&open[..open.len() - 1])).len();
        let cut = start + at.index(whole.len() - start);
        let torn = Folder::read(&[File::beginning("open-1", &whole[..cut], OPEN_SEGMENT_BYTES)]);
        let kept: usize = open[..open.len() - 1].iter().map(Vec::len).sum();
        let found = torn.entries().count();
        // If only zeros were cut off, nothing is torn.
        let all = open.iter().flatten().count();
        let lost_zeros = whole[cut..].iter().all(|byte| *byte == 0);
        prop_assert_eq!(found, if lost_zeros { all } else { kept });
    }

    #[test]
    fn one_flipped_bit_is_noticed(closed in batches(), at: Index, bit in 0..8_u8) {
        let mut files = folder(&closed, &closed);
        let name = files.0[2].0.clone();
        files.edit(&name, |bytes| {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        });
        let read = files.read();
        prop_assert!(!read.problems.is_empty());
        everything(&read);
    }

    #[test]
    fn any_bytes_are_read(files in vec((name(), vec(any::<u8>(), 0..200), any::<u64>()), 0..8)) {
        let list: Vec<_> = files
            .iter()
            .map(|(name, bytes, size)| File::beginning(name, bytes, (*size).min(1 << 20)))
            .collect();
        let folder = Folder::read(&list);
        everything(&folder);
        prop_assert!(items(&folder) <= 3 * (list.len() + 1) + files.iter().map(|f| f.1.len()).sum::<usize>());
    }

    /// Bytes of real folders with some of them overwritten.
    #[test]
    fn mutated_folders_are_read(
        name in select(vec!["bookworm-joined", "bookworm-stopped", "trixie-killed"]),
        edits in vec((any::<Index>(), any::<Index>(), any::<u8>()), 1..8),
    ) {
        let (mut files, _) = fixture(name);
        let given: usize = files.0.iter().map(|(_, bytes, _)| bytes.len()).sum();
        for (file, at, value) in edits {
            let (_, bytes, _) = &mut files.0[file.index(8.min(given))% 6];
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        let folder = files.read();
        everything(&folder);
        prop_assert!(items(&folder) <= given);
    }
}
