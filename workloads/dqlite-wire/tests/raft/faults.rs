//! What is wrong with a folder is found, graded, and called what raft calls it.
//!
//! The first two tables are what real nodes did: folders of theirs were damaged like this, and
//! `dqlite-demo` of bookworm (1.11.1) and of trixie (1.18.1) was started on them. The texts are what
//! both printed after `io: `; where nothing is printed they started, and what they did to the folder is in
//! the grade. (On bad metadata 1.11.1 dies of SIGSEGV before it prints; those texts are 1.18.1's.)

use dqlite_wire::Role;
use dqlite_wire::raft::{Configuration, File, Folder, Origin, SegmentUse, Server, Severity};

use crate::files::{
    Files, barrier, batch, change, closed_name, command, crc, fixture, metadata, segment,
    snapshot_data, snapshot_meta, words,
};

use Severity::{AutoRecovery, Loss, Note, Odd, Refusal, Unread};

const CLOSED: &str = "0000000000011265-0000000000011270";
const META: &str = "snapshot-3-11264-6983152.meta";

type Damage = fn(&mut Files);

#[track_caller]
fn found(files: &Files, expected: &[(Severity, &str)]) -> Folder {
    let folder = files.read();
    let problems: Vec<_> = folder
        .problems
        .iter()
        .map(|problem| (problem.severity, problem.to_string()))
        .collect();
    let found: Vec<_> = problems.iter().map(|(s, text)| (*s, &text[..])).collect();
    assert_eq!(found, expected);
    folder
}

#[test]
fn real_nodes_refuse() {
    let table: [(Damage, &str); 12] = [
        (
            |f| {
                f.rename(CLOSED, &closed_name(11_267, 11_272));
            },
            "closed segment 0000000000011267-0000000000011272 is past last snapshot snapshot-3-11264-6983152",
        ),
        (
            |f| {
                f.edit(CLOSED, |bytes| bytes.truncate(bytes.len() - 8));
            },
            "load closed segment 0000000000011265-0000000000011270: entries batch 3 starting at byte 728: read data: short read: 104 bytes instead of 112",
        ),
        (
            |f| {
                f.edit(CLOSED, |bytes| bytes.extend([0; 8]));
            },
            "load closed segment 0000000000011265-0000000000011270: entries batch 4 starting at byte 880: read preamble: short read: 0 bytes instead of 8",
        ),
        (
            |f| {
                f.edit(META, |bytes| bytes[134] ^= 1);
            },
            "read snapshot-3-11264-6983152.meta: checksum mismatch",
        ),
        (
            |f| {
                f.remove(META);
                f.remove("snapshot-3-11264-6983152");
            },
            "unexpected closed segment 0000000000011265-0000000000011270: first index should have been 1",
        ),
        (
            |f| {
                f.put(
                    "open-7",
                    b"\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0abcd".to_vec(),
                );
            },
            "load open segment open-7: entries batch 1 starting at byte 16: read preamble: short read: 4 bytes instead of 8",
        ),
        (
            |f| {
                f.put("open-7", b"\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0".to_vec());
            },
            "load open segment open-7: entries batch 1 starting at byte 16: read preamble: short read: 0 bytes instead of 8",
        ),
        (
            |f| {
                f.put("open-7", b"12345".to_vec());
            },
            "load open segment open-7: file has only 5 bytes",
        ),
        (
            |f| {
                f.put("metadata2", metadata(3, 4, 0));
            },
            "metadata1 and metadata2 are both at version 3",
        ),
        (
            |f| {
                f.edit("metadata1", |bytes| bytes[0] = 2);
            },
            "decode content of metadata1: bad format version 2",
        ),
        (
            |f| {
                f.put("metadata1", metadata(0, 4, 0));
            },
            "decode content of metadata1: version is set to zero",
        ),
        (
            |f| {
                f.edit("metadata1", |bytes| bytes.extend([0; 8]));
            },
            "metadata1 has size 40 instead of 32",
        ),
    ];
    for (damage, text) in table {
        let (mut files, _) = fixture("bookworm-stopped");
        damage(&mut files);
        let folder = files.read();
        assert_eq!(
            folder.refusal().map(ToString::to_string).as_deref(),
            Some(text)
        );
    }
}

#[test]
fn real_nodes_recover() {
    let table: [(Damage, Severity, &str); 11] = [
        (
            |f| {
                f.edit(CLOSED, |bytes| bytes[863] ^= 1);
            },
            AutoRecovery,
            "load closed segment 0000000000011265-0000000000011270: entries batch 3 starting at byte 728: data checksum mismatch",
        ),
        (
            |f| {
                f.edit(CLOSED, |bytes| bytes[24] ^= 1);
            },
            AutoRecovery,
            "load closed segment 0000000000011265-0000000000011270: entries batch 1 starting at byte 8: header checksum mismatch",
        ),
        (
            |f| {
                f.rename(CLOSED, &closed_name(11_265, 11_271));
            },
            AutoRecovery,
            "load closed segment 0000000000011265-0000000000011271: found 6 entries (expected 7)",
        ),
        (
            |f| {
                f.edit(CLOSED, |bytes| bytes.extend([0; 16]));
            },
            AutoRecovery,
            "load closed segment 0000000000011265-0000000000011270: entries batch 4 starting at byte 872: entries count in preamble is zero",
        ),
        (
            |f| {
                f.edit(CLOSED, Vec::clear);
            },
            AutoRecovery,
            "load closed segment 0000000000011265-0000000000011270: file is empty",
        ),
        (
            |f| {
                f.edit(CLOSED, |bytes| bytes[0] = 3);
            },
            AutoRecovery,
            "load closed segment 0000000000011265-0000000000011270: unexpected format version 3",
        ),
        (
            |f| {
                f.rename(CLOSED, &closed_name(11_245, 11_250));
                f.put("open-7", vec![0; 64]);
            },
            AutoRecovery,
            "last entry on disk has index 11250, which is behind last snapshot's index 11264",
        ),
        (
            |f| {
                f.rename(CLOSED, &closed_name(11_245, 11_250));
            },
            Note,
            "discarding all closed segments, since most recent is behind last snapshot",
        ),
        (
            |f| {
                f.edit("metadata2", |bytes| bytes.truncate(20));
            },
            Note,
            "metadata2 has only 20 bytes",
        ),
        (
            |f| {
                f.put("open-7", words(&[1, 5, 1 << 40, 7, 0, 0, 0, 0]));
            },
            Loss,
            "truncate open segment open-7 at 8 (batch 1), since it has corrupted entries",
        ),
        (
            |f| {
                f.put("open-7", words(&[9, 5, 1]));
            },
            AutoRecovery,
            "load open segment open-7: unexpected format version 9",
        ),
    ];
    for (damage, severity, text) in table {
        let (mut files, _) = fixture("bookworm-stopped");
        damage(&mut files);
        let folder = found(&files, &[(severity, text)]);
        assert_eq!(folder.refusal(), None, "{text}");
    }
    let (mut files, _) = fixture("bookworm-stopped");
    files.put("open-7", vec![0; 4096]);
    found(&files, &[]);
}

fn members(ids: &[u64]) -> Configuration {
    let server = |id: &u64| Server {
        id: *id,
        address: format!("n{id}"),
        role: Role::Voter,
    };
    Configuration {
        servers: ids.iter().map(server).collect(),
    }
}

/// Entries 1 to 3: a configuration, a barrier, a command; the term is 2 throughout.
fn bootstrapped() -> Files {
    let entries = [change(2, &members(&[1])), barrier(2), command(2, 16)];
    let mut files = Files::default();
    files.put("metadata1", metadata(1, 2, 1));
    files.put(&closed_name(1, 3), segment(&[&entries]));
    files
}

fn with_snapshot(mut files: Files, index: u64, configuration: (u64, &[u64])) -> Files {
    let name = format!("snapshot-2-{index}-9");
    let (at, ids) = configuration;
    files.put(&format!("{name}.meta"), snapshot_meta(at, &members(ids)));
    files.put(&name, snapshot_data());
    files
}

#[test]
fn a_sound_folder_has_no_problems() {
    found(&bootstrapped(), &[]);
    found(&Files::default(), &[]);
    let folder = found(&with_snapshot(bootstrapped(), 2, (1, &[1])), &[]);
    let [only] = folder.configurations()[..] else {
        panic!("the snapshot's is the log's")
    };
    assert_eq!(
        (only.index, only.term, only.origin),
        (1, Some(2), Origin::Log)
    );
}

#[test]
fn entries_are_missing() {
    let mut files = bootstrapped();
    files.put(&closed_name(5, 5), segment(&[&[barrier(2)]]));
    let gap = "unexpected closed segment 0000000000000005-0000000000000005: first index should have been 4";
    let folder = found(&files, &[(Refusal, gap)]);
    // The gap stays a gap.
    assert_eq!(folder.last_index(), 5);
    assert!(folder.entries().map(|(index, _)| index).eq([1, 2, 3, 5]));

    let files = with_snapshot(files, 4, (1, &[1]));
    let passed = "discarding non contiguous segment 0000000000000001-0000000000000003";
    let folder = found(&files, &[(Loss, passed)]);
    assert_eq!(folder.segments[0].usage, SegmentUse::Discarded);
    assert!(folder.entries().map(|(index, _)| index).eq([5]));
    assert_eq!(
        folder.newest_configuration().unwrap().origin,
        Origin::Snapshot
    );
}

#[test]
fn only_the_last_closed_segment_can_be_set_aside() {
    let mut files = bootstrapped();
    files.edit(&closed_name(1, 3), |bytes| bytes[30] ^= 1);
    let text = "load closed segment 0000000000000001-0000000000000003: entries batch 1 starting at byte 8: header checksum mismatch";
    found(&files, &[(AutoRecovery, text)]);
    files.put(&closed_name(4, 4), segment(&[&[barrier(2)]]));
    let folder = found(&files, &[(Refusal, text)]);
    assert_eq!(folder.last_index(), 4);
}

#[test]
fn an_entry_type_that_raft_has_not_is_no_corruption() {
    let mut files = bootstrapped();
    files.put("open-1", segment(&[&[barrier(2)], &[(2, 9, vec![0; 8])]]));
    let text =
        "load open segment open-1: entries batch 2 starting at byte 48: unknown entry type 9";
    let folder = found(&files, &[(Refusal, text)]);
    assert_eq!(folder.last_index(), 4);
}

#[test]
fn entries_after_a_torn_batch() {
    let mut files = bootstrapped();
    let mut torn = segment(&[&[barrier(2)]]);
    torn.extend(&batch(&[command(2, 64)])[..60]);
    torn.resize(4096, 0);
    files.put("open-1", torn);
    found(
        &files,
        &[(
            Loss,
            "truncate open segment open-1 at 48 (batch 2), since it has corrupted entries",
        )],
    );
    files.put("open-2", segment(&[&[barrier(2)]]));
    let folder = found(
        &files,
        &[
            (
                Loss,
                "truncate open segment open-1 at 48 (batch 2), since it has corrupted entries",
            ),
            (
                Odd,
                "open-2 has entries, though open-1 before it was cut off",
            ),
        ],
    );
    assert_eq!(folder.last_index(), 5);
}

#[test]
fn what_raft_does_not_look_at() {
    let mut files = bootstrapped();
    files.put(&closed_name(1, 2), segment(&[&[barrier(3), command(2, 8)]]));
    files.remove(&closed_name(1, 3));
    found(
        &files,
        &[
            (Odd, "entry 1 is not a configuration"),
            (Odd, "entry 2 has term 2 after term 3"),
            (Odd, "entry 1 has term 3, beyond the metadata's term 2"),
        ],
    );
    let mut files = bootstrapped();
    files.remove("metadata1");
    let folder = found(
        &files,
        &[(Odd, "there is a log or a snapshot, and no metadata")],
    );
    assert_eq!((folder.term(), folder.voted_for()), (None, None));
}

#[test]
fn a_change_that_cannot_be_decoded() {
    let twice = change(2, &members(&[1, 1]));
    let mut files = bootstrapped();
    files.put(&closed_name(4, 4), segment(&[std::slice::from_ref(&twice)]));
    let text = "the configuration at index 4 is malformed: two servers of id 1";
    let folder = found(&files, &[(Refusal, text)]);
    assert_eq!(folder.newest_configuration().unwrap().index, 1);
    // Raft decodes the last one only.
    files.put(
        &closed_name(4, 5),
        segment(&[&[twice, change(2, &members(&[1, 2]))]]),
    );
    files.remove(&closed_name(4, 4));
    found(&files, &[(Odd, text)]);
}

#[test]
fn one_index_with_two_configurations() {
    let files = with_snapshot(bootstrapped(), 2, (1, &[1, 2]));
    let text = "the log's configuration at index 1 is not the one in snapshot-2-2-9";
    let folder = found(&files, &[(Odd, text)]);
    let both: Vec<_> = folder.configurations();
    let both = both
        .iter()
        .map(|at| (at.index, at.configuration.servers.len()));
    assert!(both.eq([(1, 2), (1, 1)]));
}

#[test]
fn what_is_left_lying_about() {
    let mut files = with_snapshot(bootstrapped(), 2, (1, &[1]));
    files.put("tmp-metadata2", vec![]);
    files.put("corrupt-1795326338053523809-open-4", vec![1]);
    files.put("snapshot-2-3-10.meta", vec![]);
    files.put("snapshot-2-3-11", vec![1]);
    files.put("snapshot-2-3-12.meta", vec![]);
    files.put("snapshot-2-3-12", vec![]);
    let folder = found(
        &files,
        &[
            (
                Loss,
                "corrupt-1795326338053523809-open-4 was put aside by raft's auto-recovery",
            ),
            (Note, "tmp-metadata2 is left over"),
            (Note, "snapshot-2-3-10.meta is without its other half"),
            (Note, "snapshot-2-3-11 is without its other half"),
            (Note, "snapshot-2-3-12 is empty"),
        ],
    );
    assert_eq!(folder.snapshots.len(), 1);
}

#[test]
fn only_the_newest_snapshot_must_be_sound() {
    let mut files = with_snapshot(bootstrapped(), 1, (1, &[1]));
    files.edit("snapshot-2-1-9", |bytes| bytes[0] = 7);
    let text = "restore snapshot-2-1-9: unsupported format 7";
    found(&files, &[(Refusal, text)]);
    let files = with_snapshot(files, 2, (1, &[1]));
    found(&files, &[(Odd, text)]);
}

#[test]
fn what_was_not_given_is_not_judged() {
    let whole = metadata(1, 1, 0);
    let folder = Folder::read(&[
        File::beginning("metadata1", &whole, 40),
        File::whole("open-1", &[]),
        File::whole("open-1", &[1]),
    ]);
    let problems: Vec<_> = folder
        .problems
        .iter()
        .map(|p| (p.severity, p.to_string()))
        .collect();
    let expected = [
        (Unread, "metadata1 was given without its end".to_owned()),
        (Unread, "open-1 was given twice".to_owned()),
    ];
    assert_eq!(problems, expected);
}

#[test]
fn a_size_that_cannot_be_is_not_believed() {
    // One command whose payload would be 4 GiB of zeros.
    let mut header = words(&[1, 2, 1]);
    header[20..].fill(0xff);
    let mut bytes = words(&[1, u64::from(crc(&[&header]))]);
    bytes.extend(header);
    let folder = Folder::read(&[File::beginning("open-1", &bytes, u64::MAX)]);
    assert_eq!(folder.entries().count(), 0);
    let text = folder.refusal().unwrap().to_string();
    assert!(text.contains("read data: short read"), "{text}");
}

#[test]
fn the_last_change_is_known_to_be_committed_only_if_a_snapshot_covers_it() {
    let mut files = bootstrapped();
    files.put("open-1", segment(&[&[change(2, &members(&[1, 2]))]]));
    let known = |files: &Files| {
        let folder = files.read();
        let all = folder.configurations();
        all.iter()
            .map(|at| (at.index, at.known_committed))
            .collect::<Vec<_>>()
    };
    assert_eq!(known(&files), [(1, true), (4, false)]);
    assert_eq!(
        known(&with_snapshot(files.clone(), 3, (1, &[1]))),
        [(1, true), (4, false)]
    );
    assert_eq!(
        known(&with_snapshot(files, 4, (4, &[1, 2]))),
        [(1, true), (4, true)]
    );
}
