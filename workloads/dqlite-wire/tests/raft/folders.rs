//! Folders of real nodes decode to what the nodes themselves said.

use dqlite_wire::Role;
use dqlite_wire::raft::{EntryKind, FileName, Folder, Origin, SegmentRange, SnapshotData, Tail};

use crate::files::fixture;

const ALL: [&str; 7] = [
    "bookworm-joined",
    "bookworm-live",
    "bookworm-killed",
    "bookworm-stopped",
    "trixie-live",
    "trixie-killed",
    "trixie-stopped",
];

fn folder(name: &str) -> Folder {
    fixture(name).0.read()
}

#[test]
fn the_newest_configuration_is_what_the_node_answered() {
    for name in ALL {
        let (files, cluster) = fixture(name);
        let folder = files.read();
        assert_eq!(folder.problems, [], "{name}");
        let newest = folder.newest_configuration().unwrap();
        assert_eq!(newest.configuration.to_string(), cluster, "{name}");
        assert_eq!(newest.origin, Origin::Log, "{name}");
        assert!(!newest.known_committed, "{name}");
    }
}

#[test]
fn successive_configurations_differ_in_one_server() {
    for name in ALL {
        let folder = folder(name);
        let all = folder.configurations();
        assert!(all.len() > 4, "{name}: {}", all.len());
        for pair in all.windows(2) {
            let [old, new] = [pair[0].configuration, pair[1].configuration];
            assert!(pair[0].index < pair[1].index, "{name}");
            assert!(pair[0].known_committed, "{name}");
            let gone = |server: &&_| !new.servers.contains(server);
            let come = |server: &&_| !old.servers.contains(server);
            let gone = old.servers.iter().filter(gone).count();
            let come = new.servers.iter().filter(come).count();
            assert!(gone <= 1 && come <= 1 && gone + come > 0, "{name}");
        }
    }
}

#[test]
fn a_log_from_the_beginning() {
    let folder = folder("bookworm-joined");
    let indices: Vec<_> = folder.configurations().iter().map(|at| at.index).collect();
    assert_eq!(indices, [1, 3, 4, 5, 6]);
    assert_eq!((folder.term(), folder.voted_for()), (Some(1), None));
    assert_eq!((folder.last_index(), folder.last_term()), (6, 1));
    let first: Vec<_> = folder.segments.iter().map(|s| s.first_index).collect();
    assert_eq!(first, [Some(1), Some(2), Some(7), Some(7)]);
    let (_, second) = folder.entries().nth(1).unwrap();
    assert_eq!(second.kind, EntryKind::Command { bytes: 12_352 });
    let counters = folder.segments[1..].iter().map(|s| s.range);
    let expected = [1, 2, 3].map(|counter| SegmentRange::Open { counter });
    assert_eq!(counters.collect::<Vec<_>>(), expected);
}

#[test]
fn a_log_that_goes_on_after_a_snapshot() {
    for (name, data_bytes, content) in [
        ("bookworm-live", 18_356, 1_701_560),
        ("trixie-live", 498, 12_328),
    ] {
        let folder = folder(name);
        let [snapshot] = &folder.snapshots[..] else {
            panic!("{name}: one snapshot")
        };
        assert_eq!((snapshot.id.term, snapshot.id.index), (3, 11_264));
        assert_eq!(snapshot.data_bytes, data_bytes);
        let content_bytes = Some(content);
        assert_eq!(snapshot.data, Ok(SnapshotData::Lz4 { content_bytes }));
        let oldest = folder.configurations()[0];
        assert_eq!((oldest.index, oldest.term), (11_264, None));
        assert_eq!(oldest.origin, Origin::Snapshot);
        assert_eq!(oldest.configuration.servers[3].role, Role::Spare);
        assert_eq!(folder.segments[0].first_index, Some(11_265));
        assert_eq!(folder.segments[0].tail, Tail::Zeros);
        assert_eq!((folder.last_index(), folder.last_term()), (11_269, 3));
    }
}

#[test]
fn a_vote_survives_a_kill_and_a_stop() {
    let table = [
        ("bookworm-killed", 5_957_733_811_685_823_294, 11_270, 3),
        ("bookworm-stopped", 5_957_733_811_685_823_294, 11_270, 3),
        ("trixie-killed", 17_270_193_577_700_385_555, 11_271, 4),
        ("trixie-stopped", 17_270_193_577_700_385_555, 11_271, 4),
    ];
    for (name, candidate, index, term) in table {
        let folder = folder(name);
        assert_eq!(folder.term(), Some(4), "{name}");
        assert_eq!(folder.voted_for(), Some(candidate), "{name}");
        assert_eq!((folder.last_index(), folder.last_term()), (index, term));
    }
}

#[test]
fn stopping_closes_the_segment_and_starting_again_changes_no_entry() {
    for suite in ["bookworm", "trixie"] {
        let killed = folder(&format!("{suite}-killed"));
        let stopped = folder(&format!("{suite}-stopped"));
        assert_eq!(killed.segments.len(), 3);
        let [closed] = &stopped.segments[..] else {
            panic!("{suite}: one segment")
        };
        assert!(matches!(closed.range, SegmentRange::Closed { .. }));
        assert_eq!(closed.tail, Tail::End);
        assert!(killed.entries().eq(stopped.entries()), "{suite}");
    }
}

#[test]
fn every_file_of_a_real_folder_is_known() {
    for name in ALL {
        for (file, ..) in fixture(name).0.0 {
            assert_ne!(FileName::parse(&file), FileName::Other, "{name}: {file}");
        }
    }
}

/// Two nodes of 1.11.1, one index, two configurations: what a follower put into its snapshot was the
/// entry after it.
#[test]
fn raft_0_15_mispairs_index_and_configuration() {
    let (follower, leader) = (folder("bookworm-mispaired"), folder("bookworm-live"));
    let [wrong, right] = [&follower, &leader].map(|folder| folder.configurations()[0]);
    assert_eq!((wrong.index, right.index), (11_264, 11_264));
    assert_ne!(wrong.configuration, right.configuration);
    let next = leader.configurations()[1];
    assert_eq!(next.index, 11_265);
    assert_eq!(wrong.configuration, next.configuration);
}
