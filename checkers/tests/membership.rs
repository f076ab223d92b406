//! The membership checker against a model: no false alarm in consistent runs, and each broken thing found by exactly the
//! invariants of its row in [`TABLE`].
//!
//! A debug build takes 20 ms a run, so it tries 300 consistent ones; `cargo test --release` tries all 10,000.
//! `MEMBERSHIP_RUNS` sets the number.

use std::collections::BTreeSet;

use harness_checkers::{
    membership::{INVARIANTS, Membership},
    selftest::membership::{Profile, Run, SETTLE, TABLE, consistent, gain, killed_joiner, run},
};
use harness_core::{
    event::EventType,
    verdict::{CheckInput, CheckResult, Checker, Unlimited, Verdict},
    view::{LOG, MemberState, Reading, Role, Source, UnreadKind},
};

/// Consistent runs that are tried.
const RUNS: u64 = if cfg!(debug_assertions) { 300 } else { 10_000 };
/// Runs in which each mutation is tried.
const RUNS_PER_MUTATION: u64 = if cfg!(debug_assertions) { 4 } else { 50 };

fn with(results: &[CheckResult], verdict: Verdict) -> Vec<&str> {
    let mut names: Vec<&str> = results
        .iter()
        .filter(|result| result.verdict == verdict)
        .map(|result| result.checker.as_str())
        .collect();
    names.sort_unstable();
    names
}

fn told(results: &[CheckResult]) -> String {
    results
        .iter()
        .filter(|result| !matches!(result.verdict, Verdict::Valid | Verdict::NotApplicable))
        .map(|result| {
            format!(
                "{} {:?}: {}\n{:#?}\n",
                result.checker, result.verdict, result.summary, result.notes
            )
        })
        .collect()
}

#[test]
fn consistent_runs_raise_no_alarm() {
    let count: u64 = std::env::var("MEMBERSHIP_RUNS").map_or(RUNS, |text| text.parse().unwrap());
    let mut judged = BTreeSet::new();
    for seed in 0..count {
        let results = consistent(seed).judge();
        let bad = told(&results);
        assert!(bad.is_empty(), "seed {seed}:\n{bad}");
        judged.extend(
            with(&results, Verdict::Valid)
                .iter()
                .map(|name| (*name).to_owned()),
        );
    }
    let all: BTreeSet<String> = INVARIANTS
        .iter()
        .map(|invariant| invariant.name.to_owned())
        .collect();
    assert_eq!(judged, all, "each invariant was judged somewhere");
}

#[test]
fn each_broken_thing_is_found_by_exactly_its_row() {
    let mut wrong = String::new();
    for mutation in TABLE {
        let (mut tried, mut seed) = (0, 0);
        while tried < RUNS_PER_MUTATION {
            assert!(
                seed < 40 * RUNS_PER_MUTATION,
                "{}: nothing to break",
                mutation.name
            );
            seed += 1;
            let mut run = run(seed, mutation.system, mutation.profile);
            if !(mutation.breaks)(&mut run) {
                continue;
            }
            tried += 1;
            let results = run.judge();
            let failing = with(&results, Verdict::Invalid);
            let unknown = with(&results, Verdict::Unknown);
            if failing != mutation.fails || !unknown.is_empty() {
                wrong.push_str(&format!(
                    "{} (seed {seed}): {failing:?}, unknown {unknown:?}\n",
                    mutation.name
                ));
                if std::env::var("MEMBERSHIP_TOLD").is_ok() {
                    wrong.push_str(&told(&results));
                }
            }
            for result in results
                .iter()
                .filter(|result| result.verdict == Verdict::Invalid)
            {
                assert!(
                    !result.witnesses.is_empty(),
                    "{} has no witness",
                    result.checker
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn every_invariant_stands_in_some_row() {
    let all: BTreeSet<&str> = INVARIANTS.iter().map(|invariant| invariant.name).collect();
    let rows: BTreeSet<&str> = TABLE
        .iter()
        .flat_map(|mutation| mutation.fails)
        .copied()
        .collect();
    assert_eq!(rows, all);
    for mutation in TABLE {
        assert!(mutation.fails.is_sorted(), "{}", mutation.name);
    }
}

/// LXD 5.0.2's joiner killed between the leader's Accept and its own raft add.
#[test]
fn a_joiner_killed_inside_its_join_is_half_a_member() {
    let results = killed_joiner(7).judge();
    assert_eq!(
        with(&results, Verdict::Invalid),
        [
            "convergence-time",
            "info-join-atomic",
            "membership-progress",
            "no-pending",
            "three-source-agreement"
        ],
        "{}",
        told(&results)
    );
    let of = |name: &str| {
        results
            .iter()
            .find(|result| result.checker == name)
            .unwrap()
    };
    for name in [
        "info-join-atomic",
        "membership-progress",
        "no-pending",
        "three-source-agreement",
    ] {
        let witness = &of(name).witnesses[0];
        assert!(witness.nodes.contains(&"n4".to_owned()), "{witness:#?}");
        assert!(
            witness
                .story
                .contains("Meanwhile fault 1 (kill n4 at cluster.Join) was seen at"),
            "{witness:#?}"
        );
        assert!(!witness.operations.is_empty());
    }
    let agreement = of("three-source-agreement");
    let summary = &agreement.summary;
    assert!(
        summary.starts_with("n4 in database+truststore"),
        "{summary}"
    );
    assert!(summary.contains(", not in raft, since "), "{summary}");
    let known = agreement.witnesses[0].explanation.as_ref().unwrap();
    for point in ["LJ2", "LJ3", "LJ4", "LJ5"] {
        assert!(known.contains(point), "{known}");
    }
}

fn unread(run: &mut Run, node: &str, source: Source, kind: UnreadKind) {
    for view in &mut run.views {
        if view.start_ns >= run.final_ns && &*view.node == node && view.source == source {
            view.reading = Reading::Unread {
                kind,
                message: "no answer in 5 s".to_owned(),
            };
        }
    }
}

#[test]
fn a_needed_source_that_was_not_read_is_unknown() {
    let mut run = run(1, "lxd", Profile::Rich);
    unread(&mut run, "n2", Source::Truststore, UnreadKind::Timeout);
    // The canary's windows, before, are of the same final phase: they would do.
    let last = run.final_ns;
    run.views.retain(|view| {
        view.start_ns >= last || view.start_ns < run.meta.phases[0].start_ns as u64 - 2_000_000_000
    });
    let results = run.judge();
    assert_eq!(
        with(&results, Verdict::Invalid),
        Vec::<&str>::new(),
        "{}",
        told(&results)
    );
    let unknown = with(&results, Verdict::Unknown);
    for name in [
        "identity-agreement",
        "no-ghost",
        "no-lost",
        "no-pending",
        "role-agreement",
        "three-source-agreement",
        "voter-target",
    ] {
        assert!(unknown.contains(&name), "{name}: {unknown:?}");
    }
    let agreement = results
        .iter()
        .find(|result| result.checker == "three-source-agreement")
        .unwrap();
    // Which of the two is told first is chance.
    let told = &agreement.summary;
    assert!(
        told.starts_with("truststore (")
            && told.ends_with(") of n2 could not be read: timeout: no answer in 5 s"),
        "{told}"
    );
}

#[test]
fn without_views_nothing_is_valid_that_needs_them() {
    let mut run = run(1, "lxd", Profile::Rich);
    run.views.clear();
    let results = run.judge();
    assert_eq!(
        with(&results, Verdict::Valid),
        [
            "linearizable-membership",
            "membership-progress",
            "no-hang",
            "progress-after-heal",
            "removed-is-out",
            "token-single-use"
        ]
    );
    assert_eq!(with(&results, Verdict::Invalid), Vec::<&str>::new());
}

#[test]
fn what_a_removed_node_says_counts_for_nothing() {
    let mut run = run(2, "lxd", Profile::Rich);
    // A zombie: n7 was removed, still runs, and believes what it believed.
    let sample = run.views.iter().map(|view| view.sample).max().unwrap();
    let old: Vec<_> = run
        .views
        .iter()
        .filter(|view| view.sample == 1 && &*view.node == "n7")
        .cloned()
        .collect();
    assert!(!old.is_empty());
    run.views.extend(old.into_iter().map(|mut view| {
        view.sample = sample;
        view.start_ns = run.final_ns + 1;
        view.end_ns = run.final_ns + 2;
        view
    }));
    let results = run.judge();
    assert!(told(&results).is_empty(), "{}", told(&results));
}

#[test]
fn a_difference_that_has_no_moment_in_common_is_not_judged() {
    let mut run = run(3, "lxd", Profile::Rich);
    // Seen only in the very last reading of one place, and nothing else was read after it began.
    let last = run.views.iter().map(|view| view.end_ns).max().unwrap();
    let sample = run.views.iter().map(|view| view.sample).max().unwrap();
    gain(&mut run, 9, 0, MemberState::Active, |view| {
        view.sample == sample && view.source == Source::Database && &*view.node == "n1"
    });
    for view in &mut run.views {
        if view.sample == sample && view.source == Source::Database && &*view.node == "n1" {
            (view.start_ns, view.end_ns) = (last + 1, last + 2);
        }
    }
    let results = run.judge();
    assert!(
        !with(&results, Verdict::Invalid).contains(&"no-ghost"),
        "{}",
        told(&results)
    );
}

#[test]
fn the_checker_called_membership_says_it_all_in_one() {
    let run = killed_joiner(1);
    let history = run.history();
    let input = CheckInput {
        history: &history,
        faults: &run.faults,
        logs: &[],
        views: &run.views,
        meta: &run.meta,
    };
    let whole = Membership.check(&input, &Unlimited);
    assert_eq!(whole.verdict, Verdict::Invalid);
    assert!(whole.summary.contains("no-pending"), "{}", whole.summary);
    assert_eq!(whole.witnesses.len(), 5);
    assert_eq!(whole.figures["invariants"]["no-ghost"], "valid");
    for invariant in INVARIANTS {
        let one = harness_checkers::checker(invariant.name, &serde_json::Value::Null).unwrap();
        let result = one.check(&input, &Unlimited);
        assert_eq!(result.checker, invariant.name);
        assert_eq!(
            whole.figures["invariants"][invariant.name],
            serde_json::json!(result.verdict)
        );
    }
    assert!(
        run.events
            .iter()
            .any(|event| event.event_type == EventType::Info)
    );
}

/// Raft's leader sends a spare no log: what it says of raft is old, and nobody is to blame.
#[test]
fn what_a_spare_says_of_raft_is_not_compared() {
    let mut changed = 0;
    for seed in 0..60 {
        let mut run = run(seed, "lxd", Profile::Random);
        let addresses: std::collections::BTreeMap<String, String> = run
            .views
            .iter()
            .filter_map(|view| view.members())
            .flatten()
            .filter_map(|member| Some((member.name.clone()?, member.address.clone()?)))
            .collect();
        for view in &mut run.views {
            let own_address = addresses.get(&*view.node);
            let in_log = view.raft.is_some_and(|raft| raft.index.is_some());
            let Reading::Members(members) = &mut view.reading else {
                continue;
            };
            let own = members
                .iter()
                .find(|member| member.address.as_ref() == own_address);
            let spare = own.is_some_and(|own| own.role == Some(Role::Spare));
            if view.source == Source::Raft && spare && !in_log {
                members.retain(|member| member.address.as_ref() == own_address);
                changed += 1;
            }
        }
        let results = run.judge();
        let bad = told(&results);
        assert!(bad.is_empty(), "seed {seed}:\n{bad}");
    }
    assert!(changed > 100, "{changed} views of spares were made old");
}

/// go-dqlite promotes when it looks, and each node copies at its own next look: up to a settle time after raft has changed.
#[test]
fn a_cache_may_give_the_role_of_before_for_a_settle_time() {
    let other = |role| match role {
        Some(Role::StandBy) => Some(Role::Voter),
        Some(Role::Voter) => Some(Role::StandBy),
        other => other,
    };
    for (late, verdict) in [(true, Verdict::Valid), (false, Verdict::Invalid)] {
        for seed in 0..20 {
            let mut run = run(seed, "dqlite", Profile::Rich);
            let last_ns = run.views.iter().map(|view| view.start_ns).max().unwrap();
            // Raft changed between two samples of the last settle time, or long ago.
            let late_samples = run
                .views
                .iter()
                .filter(|view| view.start_ns + SETTLE / 2 > last_ns);
            let first = late_samples.map(|view| view.sample).min().unwrap();
            let changed = if late { first } else { 0 };
            for view in &mut run.views {
                let stale = view.source == Source::Cache
                    || (view.source == Source::Raft && view.sample < changed);
                if view.label.as_deref() == Some(LOG) || !stale {
                    continue;
                }
                if let Reading::Members(members) = &mut view.reading {
                    members
                        .iter_mut()
                        .for_each(|member| member.role = other(member.role));
                }
            }
            let results = run.judge();
            let of_roles = results
                .iter()
                .find(|result| result.checker == "role-agreement");
            let of_roles = of_roles.unwrap();
            let said: Vec<&str> = of_roles.notes.iter().map(|note| &*note.text).collect();
            assert_eq!(of_roles.verdict, verdict, "seed {seed}: {said:#?}");
        }
    }
}

/// The load may remove a member that a fault has killed, wipe it and join it anew: then it runs, whatever the fault has not healed yet.
#[test]
fn who_joined_again_after_a_kill_runs() {
    let row = TABLE.iter().find(|row| row.fails == ["quorum-safety"]);
    let row = row.unwrap();
    let mut cleared = 0;
    for seed in 0..10 {
        let mut run = run(seed, row.system, row.profile);
        let answers = run.views.clone();
        if !(row.breaks)(&mut run) {
            continue;
        }
        let verdict = |run: &Run| {
            let results = run.judge();
            let found = results.iter().find(|one| one.checker == "quorum-safety");
            found.unwrap().verdict
        };
        assert_eq!(verdict(&run), Verdict::Invalid, "seed {seed}");
        // They answer while they should be down; in some runs nobody asks them in time.
        run.views = answers;
        cleared += u32::from(verdict(&run) == Verdict::Valid);
    }
    assert!(cleared >= 5, "{cleared}");
}

/// dqlite lists what is not committed, which explains it; LXD has no such excuse.
#[test]
fn a_list_that_forgets_is_explained_where_it_is_known() {
    let forgets = TABLE
        .iter()
        .find(|row| row.name == "a list forgets a member");
    for (system, explained) in [("dqlite", true), ("lxd", false)] {
        let broken = (0..100).find_map(|seed| {
            let mut run = run(seed, system, Profile::Rich);
            (forgets.unwrap().breaks)(&mut run).then_some(run)
        });
        let results = broken.unwrap().judge();
        let found = results
            .iter()
            .find(|result| result.checker == "linearizable-membership")
            .unwrap();
        assert_eq!(found.verdict, Verdict::Invalid);
        let told = found.witnesses.iter().all(|one| one.explanation.is_some());
        assert_eq!(told, explained, "{system}: {found:#?}");
    }
}
