//! The sweeps that are committed: they can be read, their ranges follow from their points, and they hold what is known of LXD.

use std::path::{Path, PathBuf};

use harness_core::sweep::{Came, FailBy, MendKind, Sweep, fold};

fn golden() -> Vec<(PathBuf, Sweep)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results/golden/sweep");
    let entries = std::fs::read_dir(folder).expect("golden sweeps");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .map(|path| {
            let bytes = std::fs::read(&path).expect("a file");
            let sweep = serde_json::from_slice(&bytes);
            let sweep = sweep.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path, sweep)
        })
        .collect()
}

/// The joins of a suite whose joiner was killed.
fn joins(suite: &str) -> Sweep {
    of(&format!("{suite}-join-joiner-kill.json"))
}

fn of(file: &str) -> Sweep {
    let mut all = golden().into_iter();
    let (_, sweep) = all
        .find(|(path, _)| path.ends_with(file))
        .unwrap_or_else(|| panic!("no {file}"));
    sweep
}

#[test]
fn ranges_follow_from_points() {
    let all = golden();
    assert!(!all.is_empty());
    for (path, sweep) in all {
        assert_eq!(fold(&sweep.results), sweep.ranges, "{}", path.display());
        let numbers: Vec<u32> = sweep
            .results
            .iter()
            .map(|result| result.point.number)
            .collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{}", path.display());
    }
}

#[test]
fn a_joiner_killed_between_accept_and_raft_leaves_what_no_tool_of_lxd_removes() {
    for suite in ["bookworm", "trixie"] {
        let sweep = joins(suite);
        let join = sweep
            .results
            .iter()
            .find(|result| result.point.function.ends_with("/lxd/cluster.Join"))
            .expect("the point");
        let came = Came::of(join);
        assert_eq!(
            came.left, "database (pending) + truststore, not raft",
            "{suite}"
        );
        assert_eq!(came.mended_by, None, "{suite}");
        let tried: Vec<MendKind> = join.mends.iter().map(|mend| mend.kind).collect();
        let all_of_them = [
            MendKind::Retry,
            MendKind::ForcedRemoval,
            MendKind::FreshJoin,
        ];
        assert_eq!(tried, all_of_them, "{suite}");
    }
}

#[test]
fn a_revert_that_was_broken_off_leaves_the_certificate_whatever_made_the_join_fail() {
    for suite in ["bookworm", "trixie"] {
        for (by, mends) in [
            (FailBy::RefusedAddress, None),
            (FailBy::UnreachableMember, Some(MendKind::Retry)),
        ] {
            let sweep = of(&format!("{suite}-failed-join-{by}-joiner-kill.json"));
            assert_eq!(sweep.head.fails_by(), Some(by));
            // The closure that takes back what the join did.
            let revert = sweep
                .results
                .iter()
                .find(|result| result.point.function == "main.clusterPutJoin.func3.1")
                .expect("the point");
            let came = Came::of(revert);
            assert!(came.struck, "{suite} {by}");
            assert_eq!(
                came.left, "truststore, not database nor raft",
                "{suite} {by}"
            );
            assert_eq!(came.mended_by, mends, "{suite} {by}");
        }
        // From before there was a choice.
        let clash = of(&format!("{suite}-failed-join-joiner-kill.json"));
        assert_eq!(clash.head.fails_by(), Some(FailBy::NameClash));
    }
}

#[test]
fn a_name_that_cannot_be_used_again_is_not_mended() {
    let sweep = joins("trixie");
    let early = &sweep.results[0];
    assert_eq!(early.mended_by(), Some(MendKind::Restart));
    let refused = |kinds: &[MendKind]| {
        let mut result = early.clone();
        let retry = &early.mends[0];
        result.mends = kinds
            .iter()
            .map(|kind| {
                let mut mend = retry.clone();
                mend.kind = *kind;
                mend
            })
            .collect();
        let first = result.mends[0].outcome.as_mut().expect("a retry's end");
        first.end = "fail".to_owned();
        result.mended_by()
    };
    assert_eq!(refused(&[MendKind::Retry]), None);
    assert_eq!(
        refused(&[MendKind::Retry, MendKind::FreshJoin]),
        Some(MendKind::FreshJoin)
    );
}
