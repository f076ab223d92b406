//! Which crash points are known to leave which remains, from the systems' sources and partly seen on real ones.
//!
//! A crash point is a place inside a join or a remove where dying leaves partial state. What it leaves is told by who still
//! (or already) lists the member: the database, the truststores and raft of the live members.

use harness_core::membership::ChangeKind::{self, Join, Remove};

use Listing::{All, Any, None as Nobody, Part};

/// In how many places of one source somebody is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// In all.
    All,
    /// In some.
    Part,
    /// In none.
    None,
    /// In a crash point's row only: some or all.
    Any,
}

struct CrashPoint {
    id: &'static str,
    system: &'static str,
    change: ChangeKind,
    /// Who dies when.
    dies: &'static str,
    /// Database, truststore, raft.
    leaves: [Listing; 3],
    /// Whether the row is pending; None if either.
    pending: Option<bool>,
}

const fn row(
    system: &'static str,
    id: &'static str,
    change: ChangeKind,
    leaves: [Listing; 3],
    pending: Option<bool>,
    dies: &'static str,
) -> CrashPoint {
    CrashPoint {
        id,
        system,
        change,
        dies,
        leaves,
        pending,
    }
}

const MC: &str = "microcluster";
const PENDING: Option<bool> = Some(true);

/// LJ0, LJ7, LR2, LR3, X3 and X4 leave no member in a part of these sources; MJ7 is a revert that ends.
#[rustfmt::skip]
const CRASH_POINTS: [CrashPoint; 18] = [
    row(MC, "MJ1", Join, [All, Nobody, Nobody], PENDING, "the leader, after the row is committed and before the certificate is trusted"),
    row(MC, "MJ2", Join, [All, Any, Nobody], PENDING, "the leader, or its answer is lost, after it trusts the certificate"),
    row(MC, "MJ3", Join, [All, Any, Nobody], PENDING, "the joiner, after its certificate and truststore are written, before dqlite starts"),
    row(MC, "MJ4", Join, [All, Any, Nobody], PENDING, "the joiner, between info.yaml and cluster.yaml"),
    row(MC, "MJ5", Join, [All, Part, All], None, "the joiner, after it was added to raft, while its file `join` is still there"),
    row(MC, "MJ6", Join, [All, Part, All], None, "the joiner, after it was promoted and before it told its certificate to all"),
    row(MC, "MJ8", Join, [All, Part, All], None, "a member, while it replaces its truststore"),
    row(MC, "R1/R2", Join, [All, Any, Any], None, "the joiner, or the member that let it in, before the revert's request to delete it"),
    row(MC, "R4", Join, [Nobody, Any, Any], None, "the leader, inside the delete of a revert"),
    row(MC, "X1", Remove, [Nobody, Any, Any], None, "the leader, after the row is deleted and before raft removes it"),
    row(MC, "X2", Remove, [Nobody, Any, Nobody], None, "the leader, after raft removed it and before its certificate is deleted"),
    row("lxd", "LJ1", Join, [Nobody, Any, Nobody], None, "the joiner, after SetupTrust and before the leader accepts it"),
    row("lxd", "LJ2", Join, [All, Any, Nobody], PENDING, "the joiner, after the leader's cluster.Accept"),
    row("lxd", "LJ3", Join, [All, Any, Nobody], PENDING, "the joiner, after util.WriteCert"),
    row("lxd", "LJ4", Join, [All, Any, Nobody], PENDING, "the joiner, inside cluster.Join after ReplaceRaftNodes"),
    row("lxd", "LJ5", Join, [All, Any, Nobody], PENDING, "the joiner, after its global folder is removed and before client.Add"),
    row("lxd", "LJ6", Join, [All, Any, All], PENDING, "the joiner, after client.Add and before its row stops being pending"),
    row("lxd", "LR1", Remove, [All, Any, Nobody], Some(false), "the leader, between cluster.Leave and cluster.Purge"),
];

/// The crash points known to leave this, in words; None if there is none.
pub(super) fn known(
    system: &str,
    change: Option<ChangeKind>,
    found: [Listing; 3],
    pending: bool,
) -> Option<String> {
    let fits = |point: &&CrashPoint| {
        point.system == system
            && change.is_none_or(|change| change == point.change)
            && point.pending.is_none_or(|wanted| wanted == pending)
            && point.leaves.iter().zip(found).all(|(left, found)| {
                *left == found || (*left == Any && matches!(found, All | Part))
            })
    };
    let points: Vec<String> = CRASH_POINTS
        .iter()
        .filter(fits)
        .map(|point| format!("{} ({})", point.id, point.dies))
        .collect();
    if points.is_empty() {
        return None;
    }
    Some(format!(
        "Crash points known to leave this, by who dies when: {}.",
        points.join("; ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remains_name_their_crash_points() {
        let said = known("lxd", Some(Join), [All, All, Nobody], true).unwrap();
        for id in ["LJ2", "LJ3", "LJ4", "LJ5"] {
            assert!(said.contains(&format!("{id} (")), "{said}");
        }
        assert!(!said.contains("LJ1 ("), "{said}");
        assert!(!said.contains("LR1 ("), "{said}");
        let said = known("microcluster", Some(Remove), [Nobody, Part, Nobody], false).unwrap();
        assert!(said.contains("X2 (") && !said.contains("MJ"), "{said}");
        assert_eq!(known("dqlite", None, [Nobody, Nobody, All], false), None);
    }
}
