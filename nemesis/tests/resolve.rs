//! Which nodes targets mean: tables for the words, and properties for the shapes.

use std::collections::BTreeSet;

use harness_nemesis::plan::{
    Cut, Effect, Facts, Kind, ResolveError, Resolved, Target,
    parse::parse_target,
    resolve::{majority, minority, minority_third, resolve},
};
use proptest::prelude::*;

fn names(count: usize) -> Vec<String> {
    (1..=count).map(|n| format!("n{n}")).collect()
}

/// Order n3 n1 n5 n2 n4; n1 n2 n3 vote.
fn five(
    kind: Kind,
    target: &str,
    leader: Option<usize>,
    voters: Option<&[usize]>,
) -> Result<Resolved, ResolveError> {
    let nodes = names(5);
    let facts = Facts {
        nodes: &nodes,
        leader,
        voters,
        subject: None,
        members: None,
    };
    resolve(
        kind,
        &parse_target(kind, target).expect("a target"),
        &[2, 0, 4, 1, 3],
        &facts,
    )
}

#[test]
fn partitions_mean_what_help_says() {
    let voters: &[usize] = &[0, 1, 2];
    for (target, leader, voters, label) in [
        ("one", None, None, "partition one: n3 | n1 n2 n4 n5"),
        ("halves", None, None, "partition halves: n1 n3 | n2 n4 n5"),
        (
            "leader",
            Some(1),
            Some(voters),
            "partition leader: n2 | n1 n3 n4 n5",
        ),
        (
            "leader",
            Some(1),
            None,
            "partition leader: n2 | n1 n3 n4 n5",
        ),
        (
            "mute:leader",
            Some(1),
            None,
            "partition mute:leader: n2 not heard by n1 n3 n4 n5",
        ),
        (
            "deaf:n4",
            None,
            None,
            "partition deaf: n1 n2 n3 n5 not heard by n4",
        ),
        (
            "leader",
            None,
            Some(voters),
            "partition leader: n3 | n1 n2 n4 n5 (leader unknown, took n3)",
        ),
        (
            "leader",
            None,
            Some(&[0, 1]),
            "partition leader: n1 | n2 n3 n4 n5 (leader unknown, took n1)",
        ),
        (
            "leader",
            None,
            None,
            "partition leader: n3 | n1 n2 n4 n5 (leader unknown, took n3; voters unknown, all nodes counted as voters)",
        ),
        (
            "majority",
            None,
            Some(voters),
            "partition majority: n1 n3 | n2 n4 n5",
        ),
        (
            "minority",
            None,
            Some(voters),
            "partition minority: n3 | n1 n2 n4 n5",
        ),
        (
            "majority",
            None,
            None,
            "partition majority: n1 n3 n5 | n2 n4 (voters unknown, all nodes counted as voters)",
        ),
        (
            "nodes:majority",
            None,
            Some(voters),
            "partition nodes:majority: n1 n3 n5 | n2 n4",
        ),
        (
            "nodes:minority",
            None,
            Some(voters),
            "partition nodes:minority: n1 n3 | n2 n4 n5",
        ),
        (
            "minority-third",
            None,
            None,
            "partition minority-third: n3 | n1 n2 n4 n5",
        ),
        (
            "bridge",
            None,
            Some(voters),
            "partition bridge: n1 n5 | n2 n4, n3 sees all",
        ),
        (
            "majorities-ring",
            None,
            Some(voters),
            "partition majorities-ring: n3-n1-n2-n5-n4 (a ring, each sees 2 others)",
        ),
        ("n1+n2|n4", None, None, "partition: n1 n2 | n4"),
        ("n5+n1", None, None, "partition: n1 n5 | n2 n3 n4"),
    ] {
        assert_eq!(
            five(Kind::Partition, target, leader, voters).unwrap().label,
            label
        );
    }
}

#[test]
fn process_faults_mean_what_help_says() {
    let voters: &[usize] = &[0, 1, 2];
    for (target, leader, voters, label, nodes) in [
        ("one", None, None, "kill one: n3", vec![2]),
        ("minority", None, Some(voters), "kill minority: n3", vec![2]),
        (
            "majority",
            None,
            Some(voters),
            "kill majority: n1 n3",
            vec![2, 0],
        ),
        (
            "nodes:majority",
            None,
            Some(voters),
            "kill nodes:majority: n1 n3 n5",
            vec![2, 0, 4],
        ),
        ("leader", Some(3), Some(voters), "kill leader: n4", vec![3]),
        (
            "all",
            None,
            None,
            "kill all: n1 n2 n3 n4 n5",
            vec![2, 0, 4, 1, 3],
        ),
        ("n4+n2", None, None, "kill n4+n2: n2 n4", vec![3, 1]),
    ] {
        let resolved = five(Kind::Kill, target, leader, voters).unwrap();
        assert_eq!(resolved.label, label);
        assert_eq!(resolved.effect, Effect::Nodes(nodes.clone()));
        assert_eq!(resolved.nodes, nodes);
    }
}

#[test]
fn what_means_nobody_is_said() {
    assert!(matches!(
        five(Kind::Kill, "minority", None, Some(&[1])),
        Err(ResolveError::Nobody { .. })
    ));
    assert!(matches!(
        five(Kind::Kill, "n7", None, None),
        Err(ResolveError::NoSuchNode(_))
    ));
    assert_eq!(
        five(Kind::Kill, "random", None, None),
        Err(ResolveError::NotDrawn)
    );
    let nodes = names(3);
    let facts = Facts {
        nodes: &nodes,
        leader: None,
        voters: None,
        subject: None,
        members: None,
    };
    for order in [&[0_u32, 1][..], &[0, 1, 1], &[0, 1, 3], &[0, 1, 2, 3]] {
        let error = resolve(Kind::Partition, &Target::Halves, order, &facts).unwrap_err();
        assert!(
            matches!(error, ResolveError::OtherNodes { .. }),
            "{order:?}"
        );
    }
    let not_offered = resolve(Kind::Kill, &Target::Halves, &[0, 1, 2], &facts).unwrap_err();
    assert!(matches!(not_offered, ResolveError::NotOffered { .. }));
    let one = names(1);
    let facts = Facts {
        nodes: &one,
        leader: Some(0),
        voters: None,
        subject: None,
        members: None,
    };
    for target in Target::mix(Kind::Partition, 15) {
        assert!(
            resolve(Kind::Partition, &target, &[0], &facts).is_err(),
            "{target}"
        );
    }
}

#[test]
fn a_leader_out_of_the_lab_is_an_unknown_one() {
    let resolved = five(Kind::Kill, "leader", Some(9), Some(&[0, 1, 2])).unwrap();
    assert_eq!(resolved.label, "kill leader: n3 (leader unknown, took n3)");
}

/// Targets are chosen among members; a cut puts the others on a side as well.
#[test]
fn members_come_first() {
    let nodes = names(5);
    // Order n3 n1 n5 n2 n4; n1, n2 and n4 are members.
    let members: &[usize] = &[0, 1, 3];
    for (kind, target, voters, label) in [
        (Kind::Kill, "one", None, "kill one: n1"),
        (Kind::Kill, "all", None, "kill all: n1 n2 n4"),
        (
            Kind::Pause,
            "nodes:majority",
            None,
            "pause nodes:majority: n1 n2",
        ),
        (
            Kind::Kill,
            "minority",
            None,
            "kill minority: n1 (voters unknown, all members counted as voters)",
        ),
        (Kind::Kill, "n5", None, "kill n5: n5"),
        (
            Kind::Partition,
            "one",
            None,
            "partition one: n1 | n2 n3 n4 n5",
        ),
        (
            Kind::Partition,
            "halves",
            None,
            "partition halves: n1 n2 | n3 n4 n5",
        ),
        (
            Kind::Partition,
            "majority",
            Some(&[0_usize, 3][..]),
            "partition majority: n1 n4 | n2 n3 n5",
        ),
    ] {
        let facts = Facts {
            nodes: &nodes,
            leader: None,
            voters,
            members: Some(members),
            subject: None,
        };
        let target = parse_target(kind, target).expect("a target");
        let resolved = resolve(kind, &target, &[2, 0, 4, 1, 3], &facts).unwrap();
        assert_eq!(resolved.label, label);
    }
    let nobody = Facts {
        nodes: &nodes,
        leader: None,
        voters: None,
        members: Some(&[]),
        subject: None,
    };
    let target = parse_target(Kind::Kill, "one").expect("a target");
    let resolved = resolve(Kind::Kill, &target, &[2, 0, 4, 1, 3], &nobody).unwrap();
    assert_eq!(
        resolved.label,
        "kill one: n3 (no member is known, all nodes counted as members)"
    );
}

/// Labs of up to 15 nodes, in any order, of which any may vote and lead.
fn labs() -> impl Strategy<Value = (Vec<u32>, Vec<usize>, Option<usize>)> {
    (3_usize..=15).prop_flat_map(|count| {
        (
            Just((0..u32::try_from(count).expect("a small number")).collect::<Vec<_>>())
                .prop_shuffle(),
            proptest::sample::subsequence((0..count).collect::<Vec<_>>(), 1..=count),
            proptest::option::of(0..count),
        )
    })
}

fn cut_of(target: &Target, order: &[u32], voters: &[usize], leader: Option<usize>) -> Option<Cut> {
    let nodes = names(order.len());
    let facts = Facts {
        nodes: &nodes,
        leader,
        voters: Some(voters),
        subject: None,
        members: None,
    };
    match resolve(Kind::Partition, target, order, &facts) {
        Ok(Resolved {
            effect: Effect::Cut(cut),
            ..
        }) => Some(cut),
        Ok(other) => panic!("a partition that strikes processes: {other:?}"),
        Err(ResolveError::Nobody { .. }) => None,
        Err(error) => panic!("{target}: {error}"),
    }
}

fn view(cut: &Cut, node: usize, count: usize) -> BTreeSet<usize> {
    (0..count)
        .filter(|other| !cut.separates(node, *other))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn majorities_and_minorities_complete_each_other(count in 1_usize..1_000) {
        prop_assert!(majority(count) * 2 > count && (majority(count) - 1) * 2 <= count);
        prop_assert!(minority(count) * 2 < count && (minority(count) + 1) * 2 >= count);
        let third = minority_third(count);
        prop_assert!(third == 1 || third * 3 < count);
        prop_assert!((third + 1) * 3 >= count);
    }

    /// Only nodes of the lab are cut, from nodes of the lab, never from themselves, and both ways.
    #[test]
    fn every_cut_is_symmetric_and_among_nodes((order, voters, leader) in labs()) {
        let count = order.len();
        for target in Target::mix(Kind::Partition, 15) {
            let Some(cut) = cut_of(&target, &order, &voters, leader) else {
                // Less than half of one or two voters is nobody; all voters may be all nodes' majority side.
                prop_assert!(voters.len() < 3, "{target}");
                continue;
            };
            prop_assert!(!cut.is_empty(), "{}", target);
            for node in cut.nodes() {
                prop_assert!(node < count);
                for peer in cut.peers(node) {
                    prop_assert!(peer < count && peer != node);
                    prop_assert!(cut.peers(peer).contains(&node), "{}", target);
                }
            }
        }
    }

    #[test]
    fn in_a_ring_all_see_a_majority_and_no_two_the_same((order, voters, leader) in labs()) {
        let count = order.len();
        let cut = cut_of(&Target::MajoritiesRing, &order, &voters, leader).unwrap();
        let views: BTreeSet<_> = (0..count).map(|node| view(&cut, node, count)).collect();
        prop_assert_eq!(views.len(), count);
        prop_assert!(views.iter().all(|view| view.len() >= majority(count)));
        // As help says: for three voters, for five, and where all vote. Others would need another ring.
        let promised = [3, 5, count].contains(&voters.len());
        for voter in voters.iter().filter(|_| promised) {
            let seen = view(&cut, *voter, count);
            let voters_seen = voters.iter().filter(|other| seen.contains(other)).count();
            prop_assert!(voters_seen >= majority(voters.len()), "{} of {}", voters_seen, voters.len());
        }
    }

    #[test]
    fn one_voter_sees_both_sides_of_a_bridge((order, voters, leader) in labs()) {
        let count = order.len();
        let cut = cut_of(&Target::Bridge, &order, &voters, leader).unwrap();
        let whole: Vec<_> = (0..count).filter(|node| view(&cut, *node, count).len() == count).collect();
        prop_assert_eq!(whole.len(), 1);
        prop_assert!(voters.contains(&whole[0]));
        let sides: BTreeSet<_> = (0..count).filter(|n| *n != whole[0]).map(|n| view(&cut, n, count)).collect();
        prop_assert_eq!(sides.len(), 2);
        let sizes: Vec<_> = sides.iter().map(BTreeSet::len).collect();
        prop_assert!(sizes[0].abs_diff(sizes[1]) <= 1);
    }

    #[test]
    fn voters_are_split_as_the_words_say((order, voters, leader) in labs()) {
        let count = order.len();
        let vote = |side: &BTreeSet<usize>| voters.iter().filter(|voter| side.contains(voter)).count();
        for (word, expected) in [("majority", majority(voters.len())), ("minority", minority(voters.len()))] {
            let target = parse_target(Kind::Partition, word).unwrap();
            let Some(cut) = cut_of(&target, &order, &voters, leader) else { continue };
            let sides: BTreeSet<_> = (0..count).map(|node| view(&cut, node, count)).collect();
            prop_assert_eq!(sides.len(), 2);
            // The chosen side has voters only.
            prop_assert!(sides.iter().any(|side| vote(side) == expected && side.len() == expected));
        }
    }
}
