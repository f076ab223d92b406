//! Who is a spare: raft's leader sends it no log, so that its own view of raft is old, and rightly so.

use std::collections::BTreeSet;

use harness_core::view::Role;

use super::{places::Said, roster::Id};

/// Members that the raft of every voter has for spares, from what raft says on each node; of its own role a node that says it
/// votes is believed. The checkers hold it so as well.
pub(super) fn spares<'a>(rafts: impl Iterator<Item = (Id, &'a Said)>) -> BTreeSet<Id> {
    let role = |said: &Said, id: Id| said.entries(id).find_map(|entry| entry.role);
    let voters: Vec<&Said> = rafts
        .filter(|(node, said)| role(said, *node) == Some(Role::Voter))
        .map(|(_, said)| said)
        .collect();
    let Some(first) = voters.first().and_then(|said| said.members()) else {
        return BTreeSet::new();
    };
    let is_spare = |id: &Id| {
        voters
            .iter()
            .all(|said| role(said, *id) == Some(Role::Spare))
    };
    first
        .iter()
        .map(|entry| entry.id)
        .filter(is_spare)
        .collect()
}

#[cfg(test)]
mod tests {
    use harness_core::view::Member;

    use super::*;
    use crate::model::membership::places::Entry;

    fn says(roles: &[(Id, Role)]) -> Said {
        let entry = |(id, role): &(Id, Role)| Entry {
            id: *id,
            member: Member {
                role: Some(*role),
                ..Member::default()
            },
        };
        Said::Members(roles.iter().map(entry).collect())
    }

    #[test]
    fn a_spare_is_who_all_voters_call_so_and_its_own_word_does_not_count() {
        let (voter, spare) = (Role::Voter, Role::Spare);
        let now = says(&[(0, voter), (1, voter), (2, spare), (3, spare)]);
        let before = says(&[(0, voter), (1, voter), (2, spare), (3, voter)]);
        let old = says(&[(0, voter), (2, voter)]);
        let told = |rafts: &[(Id, &Said)]| spares(rafts.iter().copied());
        assert_eq!(told(&[(0, &now), (1, &now)]), BTreeSet::from([2, 3]));
        assert_eq!(told(&[(0, &now), (1, &before)]), BTreeSet::from([2]));
        // It was a voter once and never heard that it is none any more: it is believed, and nobody is a spare.
        assert_eq!(told(&[(0, &now), (2, &old)]), BTreeSet::new());
        assert_eq!(told(&[(2, &now)]), BTreeSet::new());
    }
}
