//! The executor on simulated nodes, in simulated time.

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;

use std::{sync::Arc, time::Duration};

use harness_core::{
    fault::{Step, fold},
    meta::Plan,
};
use harness_nemesis::exec::{
    Cause, Clock, Executor, FINAL_HEAL_LIMIT, Ledger, Outcome, PrepareError, Stage,
    heal_everything, heal_ledger,
};
use support::{Mood, Sim, SimClock, plan, planned};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

async fn prepared(sim: &Sim, plan: &Plan) -> Arc<Executor> {
    let executor = Executor::prepare(sim.setup(), plan).await;
    Arc::new(executor.unwrap_or_else(|error| panic!("refused: {error}")))
}

/// Starts it; the sender cancels it.
fn begin(executor: &Arc<Executor>) -> (watch::Sender<bool>, tokio::task::JoinHandle<Outcome>) {
    let (cancel, cancelled) = watch::channel(false);
    let executor = Arc::clone(executor);
    (
        cancel,
        tokio::spawn(async move { executor.run(cancelled).await }),
    )
}

async fn seconds(count: u64) {
    sleep(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_partition_is_journalled_then_injected_then_seen_then_healed() {
    let sim = Sim::new(5);
    sim.world().leader = Some(1);
    let executor = prepared(&sim, &plan(vec![planned(1, 0, "partition:leader", 10, 20)])).await;
    let live = executor.live();
    let (_cancel, running) = begin(&executor);
    seconds(15).await;
    let in_force = live.snapshot();
    assert_eq!(in_force.len(), 1);
    assert_eq!(in_force[0].label, "partition leader: n2 | n1 n3 n4 n5");
    assert_eq!(in_force[0].stage, Stage::Holding);
    assert_eq!((sim.drops(1), sim.drops(0)), (vec![0, 2, 3, 4], vec![1]));
    let outcome = running.await.unwrap();
    assert!(outcome.done[0].observed && outcome.done[0].healed && outcome.problems.is_empty());
    assert_eq!(
        sim.steps(),
        [
            "1 intend",
            "1 asked",
            "1 observed",
            "1 heal-asked",
            "1 healed"
        ]
    );
    assert!(sim.when("ledger 1 intend") < sim.when("n2 drops 4"));
    assert!(sim.when("ledger 1 asked") < sim.when("n2 drops 4"));
    assert!(sim.when("ledger 1 heal-asked") < sim.when("n2 drops 0"));
    assert!((0..5).all(|at| sim.drops(at).is_empty()) && live.snapshot().is_empty());
    let record = fold(&sim.world().lines).remove(0);
    assert!(record.took_hold() && !record.is_open());
    assert_eq!(
        (record.nodes.as_slice(), record.heals.len()),
        (&["n2".to_owned()][..], 5)
    );
    // Each of the five dropped something, and the four pairs connect again.
    let said = |text: &str| {
        record
            .evidence
            .iter()
            .filter(|e| e.text.contains(text))
            .count()
    };
    assert_eq!(
        (said(" dropped ("), said("is gone"), said("connects to")),
        (5, 5, 2)
    );
    assert_eq!(sim.world().events.len(), 4);
    assert!(executor.final_heal(FINAL_HEAL_LIMIT).await.is_clean());
    assert_eq!(sim.steps().len(), 5, "nothing was left to heal");
}

#[tokio::test(start_paused = true)]
async fn cancelling_in_a_fault_heals_it_and_begins_no_other() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "partition:halves", 10, 20),
        planned(2, 0, "partition:one", 30, 40),
    ];
    let executor = prepared(&sim, &plan(faults)).await;
    let began = Instant::now();
    let (cancel, running) = begin(&executor);
    seconds(12).await;
    cancel.send(true).unwrap();
    let outcome = running.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(14));
    assert!(outcome.done[0].observed && outcome.done[0].healed);
    assert_eq!(outcome.skipped.len(), 1);
    assert!((0..5).all(|at| sim.drops(at).is_empty()));
}

#[tokio::test(start_paused = true)]
async fn cancelling_does_not_wait_for_a_fault_to_be_seen() {
    let sim = Sim::new(5);
    let executor = prepared(&sim, &plan(vec![planned(1, 0, "kill:n1+n2", 10, 20)])).await;
    let (cancel, running) = begin(&executor);
    seconds(9).await;
    sim.mood(0, Mood::Hangs);
    seconds(2).await;
    cancel.send(true).unwrap();
    seconds(1).await;
    assert!(sim.reason(1).contains("interrupted"));
    let outcome = running.await.unwrap();
    assert!(!outcome.done[0].observed && !outcome.done[0].healed);
    assert!(
        sim.world().nodes[1].pid.is_some(),
        "n2 was killed, and is back"
    );
}

#[tokio::test(start_paused = true)]
async fn after_the_final_heal_nothing_is_injected() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "partition:one", 1, 5),
        planned(2, 1, "kill:one", 1, 5),
    ];
    let executor = prepared(&sim, &plan(faults)).await;
    assert!(executor.final_heal(FINAL_HEAL_LIMIT).await.is_clean());
    let outcome = begin(&executor).1.await.unwrap();
    assert!(
        outcome
            .done
            .iter()
            .all(|done| !done.observed && done.healed),
        "{outcome:?}"
    );
    assert!(!sim.happened("killed") && !sim.happened("drops 4"));
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_does_not_hold_is_not_observed() {
    let sim = Sim::new(5);
    sim.mood(0, Mood::IgnoresRules);
    sim.mood(1, Mood::IgnoresRules);
    let executor = prepared(&sim, &plan(vec![planned(1, 0, "partition:n1|n2", 1, 11)])).await;
    let outcome = begin(&executor).1.await.unwrap();
    assert!(!outcome.done[0].observed && outcome.done[0].healed);
    assert_eq!(sim.steps()[2], "1 not-observed");
    assert!(
        sim.reason(1).contains("n1 still reaches n2"),
        "{}",
        sim.reason(1)
    );
    let record = fold(&sim.world().lines).remove(0);
    assert!(!record.took_hold());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_lost_at_healing_is_reported_until_it_is_healed() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "partition:n1", 10, 20),
        planned(2, 0, "partition:n2", 30, 40),
    ];
    let executor = prepared(&sim, &plan(faults)).await;
    let (_cancel, running) = begin(&executor);
    seconds(15).await;
    sim.mood(2, Mood::Unreachable);
    let outcome = running.await.unwrap();
    assert!(outcome.done[0].observed && !outcome.done[0].healed);
    assert!(
        outcome.skipped[0]
            .reason
            .contains("fault 1 could not be healed")
    );
    assert_eq!(sim.steps()[4], "1 heal-failed");
    assert!(
        sim.reason(1).contains("n3 cannot be reached"),
        "{}",
        sim.reason(1)
    );
    assert_eq!(executor.live().snapshot()[0].stage, Stage::Stuck);

    let report = executor.final_heal(FINAL_HEAL_LIMIT).await;
    assert!(report.lab_is_dirty() && !report.faults[0].healed);
    assert!(report.troubles().all(|trouble| trouble.node == "n3"));

    sim.mood(2, Mood::Well);
    let report = executor.final_heal(FINAL_HEAL_LIMIT).await;
    assert!(report.is_clean() && report.faults[0].healed && sim.drops(2).is_empty());
    assert!(!fold(&sim.world().lines)[0].is_open());
}

#[tokio::test(start_paused = true)]
async fn the_final_heal_ends_in_time_when_a_node_hangs() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "partition:halves", 1, 99),
        planned(2, 1, "kill:n3+n4", 2, 99),
    ];
    let executor = prepared(&sim, &plan(faults)).await;
    let (_cancel, running) = begin(&executor);
    seconds(15).await;
    // As a second Ctrl-C: the run is dropped as it is.
    running.abort();
    sim.mood(3, Mood::Hangs);
    let began = Instant::now();
    let report = executor.final_heal(Duration::from_secs(20)).await;
    assert!(
        began.elapsed() < Duration::from_secs(21),
        "{:?}",
        began.elapsed()
    );
    assert!(report.lab_is_dirty());
    assert!(
        report.troubles().all(|trouble| trouble.node == "n4"),
        "{report:#?}"
    );
    assert_eq!(report.faults.iter().filter(|fault| fault.healed).count(), 0);
    assert!(
        (0..5)
            .filter(|at| *at != 3)
            .all(|at| sim.drops(at).is_empty())
    );
    assert!(
        sim.world().nodes[2].pid.is_some(),
        "n3 was healed although n4 hung"
    );
}

#[tokio::test(start_paused = true)]
async fn partitions_of_two_lanes_compose() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "partition:n1", 10, 30),
        planned(2, 1, "partition:n1+n2", 20, 40),
    ];
    let executor = prepared(&sim, &plan(faults)).await;
    let (_cancel, running) = begin(&executor);
    seconds(15).await;
    assert_eq!((sim.drops(0), sim.drops(1)), (vec![1, 2, 3, 4], vec![0]));
    seconds(10).await;
    assert_eq!(
        (sim.drops(0), sim.drops(1)),
        (vec![1, 2, 3, 4], vec![0, 2, 3, 4])
    );
    seconds(10).await;
    assert_eq!((sim.drops(0), sim.drops(1)), (vec![2, 3, 4], vec![2, 3, 4]));
    let outcome = running.await.unwrap();
    assert!(
        outcome.done.iter().all(|done| done.observed && done.healed),
        "{outcome:?}"
    );
    assert!((0..5).all(|at| sim.world().nodes[at].table.is_none()));
    let world = sim.world();
    let healed = &fold(&world.lines)[0].evidence;
    assert!(
        healed
            .iter()
            .any(|e| e.node == "n1" && e.text.contains("still cuts it from n3, n4, n5"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_two_faults_hold_down_comes_back_with_the_last() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "kill:n1+n2", 10, 20),
        planned(2, 1, "stop:n2+n3", 15, 25),
    ];
    let executor = prepared(&sim, &plan(faults)).await;
    let (_cancel, running) = begin(&executor);
    seconds(18).await;
    let down = |at: usize| sim.world().nodes[at].pid.is_none();
    assert!(down(0) && down(1) && down(2));
    seconds(5).await;
    assert!(!down(0) && down(1) && down(2));
    let outcome = running.await.unwrap();
    assert!(outcome.done.iter().all(|done| done.observed && done.healed));
    assert!(!(down(0) || down(1) || down(2)));
    let world = sim.world();
    let records = fold(&world.lines);
    let said = |fault: usize, text: &str| {
        records[fault]
            .evidence
            .iter()
            .any(|e| e.text.contains(text))
    };
    assert!(said(0, "killed") && said(0, "is left down, by fault 2"));
    assert!(said(1, "is down already, by fault 1") && said(1, "stopped") && said(1, "started"));
    assert_eq!(records[0].heals[0].script, "start-it");
}

#[tokio::test(start_paused = true)]
async fn what_is_paused_is_killed_but_not_stopped() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "pause:n1+n2", 10, 40),
        planned(2, 1, "stop:n1", 15, 25),
        planned(3, 2, "kill:n2", 15, 25),
    ];
    let executor = prepared(&sim, &plan(faults)).await;
    let outcome = begin(&executor).1.await.unwrap();
    let observed = |planned: u32| {
        outcome
            .done
            .iter()
            .any(|d| d.planned == planned && d.observed)
    };
    assert!(observed(1) && !observed(2) && observed(3));
    let world = sim.world();
    assert!(!world.trace.contains(&"n1 stopped".to_owned()));
    let records = fold(&world.lines);
    assert!(records.iter().any(|r| {
        r.problems
            .iter()
            .any(|p| p.contains("is paused by fault 1"))
    }));
    assert!(records.iter().all(|record| !record.is_open()));
    assert!(!world.nodes[0].frozen && world.nodes[1].pid.is_some());
    assert_eq!(records[0].heals[0].script, "resume-it");
}

#[tokio::test(start_paused = true)]
async fn nothing_to_strike_is_no_observation() {
    let sim = Sim::new(5);
    sim.world().nodes[0].pid = None;
    sim.world().voters = Some(vec![3]);
    let faults = vec![
        planned(1, 0, "kill:n1", 1, 2),
        planned(2, 0, "kill:minority", 3, 4),
    ];
    let executor = prepared(&sim, &plan(faults)).await;
    let outcome = begin(&executor).1.await.unwrap();
    assert!(
        outcome
            .done
            .iter()
            .all(|done| !done.observed && done.healed)
    );
    assert!(sim.reason(1).contains("no process to strike"));
    assert_eq!(sim.label(2), "kill minority: nobody");
    assert_eq!(
        &sim.steps()[5..],
        ["2 intend", "2 not-observed", "2 heal-asked", "2 healed"]
    );
}

/// A node that is no member yet has no process, and must have none after a fault that was meant for it.
#[tokio::test(start_paused = true)]
async fn where_nothing_ran_nothing_is_started() {
    let sim = Sim::new(5);
    sim.world().nodes[0].pid = None;
    sim.world().nodes[1].pid = None;
    let faults = vec![
        planned(1, 0, "kill:n1", 1, 2),
        planned(2, 0, "stop:n1", 3, 4),
        // This one is a member that ended by itself: it is brought back, as ever.
        planned(3, 0, "kill:n2", 5, 6),
        planned(4, 0, "kill:one", 7, 8),
    ];
    let setup = sim.setup_with_members(&["n2", "n3"]);
    let executor = Executor::prepare(setup, &plan(faults)).await;
    let executor = Arc::new(executor.unwrap_or_else(|error| panic!("refused: {error}")));
    let outcome = begin(&executor).1.await.unwrap();
    let observed: Vec<bool> = outcome.done.iter().map(|done| done.observed).collect();
    assert_eq!(observed, [false, false, false, true]);
    assert!(outcome.done.iter().all(|done| done.healed));
    assert_eq!(sim.label(4), "kill one: n2");
    let report = executor.final_heal(FINAL_HEAL_LIMIT).await;
    assert!(report.is_clean());
    assert_eq!(sim.world().nodes[0].pid, None);
    assert!(sim.world().nodes[1].pid.is_some());
}

/// Who was removed and wiped while a fault held it down would come back as somebody else.
#[tokio::test(start_paused = true)]
async fn what_was_wiped_meanwhile_is_left_alone() {
    for (wiped, started) in [(false, true), (true, false)] {
        let sim = Sim::new(5);
        // Wiped before it was struck: that was somebody's before.
        sim.world().wipings = 1;
        let setup = sim.setup_with_members(&["n1", "n2", "n3"]);
        let faults = plan(vec![planned(1, 0, "kill:n1", 1, 20)]);
        let executor = Executor::prepare(setup, &faults).await;
        let executor = Arc::new(executor.unwrap_or_else(|error| panic!("refused: {error}")));
        let (_cancel, running) = begin(&executor);
        seconds(10).await;
        assert_eq!(sim.world().nodes[0].pid, None);
        sim.world().wipings += u64::from(wiped);
        let outcome = running.await.unwrap();
        assert!(outcome.done[0].observed && outcome.done[0].healed);
        assert_eq!(sim.world().nodes[0].pid.is_some(), started);
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_leader_is_replaced_and_the_label_says_so() {
    let sim = Sim::new(5);
    sim.world().voters = Some(vec![2, 4]);
    let executor = prepared(&sim, &plan(vec![planned(1, 0, "kill:leader", 1, 20)])).await;
    let outcome = begin(&executor).1.await.unwrap();
    assert!(outcome.done[0].observed);
    assert_eq!(sim.label(1), "kill leader: n3 (leader unknown, took n3)");
}

#[tokio::test(start_paused = true)]
async fn without_an_intent_on_disk_nothing_is_injected() {
    let sim = Sim::new(5);
    sim.world().ledger_breaks_at = Some(0);
    let executor = prepared(
        &sim,
        &plan(vec![
            planned(1, 0, "partition:one", 1, 5),
            planned(2, 1, "kill:one", 1, 5),
        ]),
    )
    .await;
    let outcome = begin(&executor).1.await.unwrap();
    assert!(outcome.done.is_empty() && outcome.skipped.len() == 2 && !outcome.problems.is_empty());
    assert!(sim.world().trace.is_empty(), "{:?}", sim.world().trace);
    assert!(executor.final_heal(FINAL_HEAL_LIMIT).await.is_clean());
}

#[tokio::test(start_paused = true)]
async fn a_ledger_that_breaks_later_does_not_stop_the_healing() {
    let sim = Sim::new(5);
    sim.world().ledger_breaks_at = Some(2);
    let executor = prepared(&sim, &plan(vec![planned(1, 0, "partition:one", 1, 20)])).await;
    let outcome = begin(&executor).1.await.unwrap();
    assert!(outcome.done[0].healed && !outcome.problems.is_empty());
    assert!((0..5).all(|at| sim.drops(at).is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_system_that_does_not_come_back_is_not_a_dirty_lab() {
    let sim = Sim::new(5);
    sim.mood(0, Mood::WontStart);
    let executor = prepared(&sim, &plan(vec![planned(1, 0, "kill:n1", 1, 20)])).await;
    let outcome = begin(&executor).1.await.unwrap();
    assert!(outcome.done[0].observed && !outcome.done[0].healed);
    let report = executor.final_heal(FINAL_HEAL_LIMIT).await;
    assert!(!report.is_clean() && !report.lab_is_dirty());
    assert!(
        report
            .troubles()
            .all(|trouble| trouble.cause == Cause::System)
    );
}

#[tokio::test(start_paused = true)]
async fn what_stops_after_it_was_given_up_on_is_started_at_the_end() {
    let sim = Sim::new(5);
    sim.mood(0, Mood::SlowToStop);
    let executor = prepared(&sim, &plan(vec![planned(1, 0, "stop:n1", 1, 20)])).await;
    let outcome = begin(&executor).1.await.unwrap();
    assert!(!outcome.done[0].observed && outcome.done[0].healed);
    // The late end, after the heal has seen it running.
    sim.world().nodes[0].pid = None;
    assert!(executor.final_heal(FINAL_HEAL_LIMIT).await.is_clean());
    assert!(sim.world().nodes[0].pid.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_is_refused_before_the_run() {
    let cut = plan(vec![planned(1, 0, "partition:one", 1, 5)]);
    let refusal = async |sim: &Sim, plan: &Plan| {
        Executor::prepare(sim.setup(), plan)
            .await
            .err()
            .map(|e| e.to_string())
    };

    let sim = Sim::new(5);
    assert_eq!(refusal(&sim, &cut).await, None);
    sim.world().nodes[3].marker = None;
    let message = refusal(&sim, &cut).await.expect("a refusal");
    assert_eq!(
        message,
        "n4 has no marker file /etc/harness-node, so it is not ours to touch (mend: harness lab down, then harness lab up, with --adopt for an inventory)"
    );
    sim.world().nodes[3].marker =
        Some(r#"{"format_version":1,"lab":"x","node":"n9","provider":"lxc"}"#.to_owned());
    assert!(
        refusal(&sim, &cut)
            .await
            .expect("a refusal")
            .contains("names n9")
    );

    let sim = Sim::new(5);
    sim.world().nodes[3].table = Some([].into());
    assert!(
        refusal(&sim, &cut)
            .await
            .expect("a refusal")
            .contains("harness lab heal")
    );

    let sim = Sim::new(5);
    let mut setup = sim.setup();
    setup.can.start = None;
    let kill = plan(vec![planned(1, 0, "kill:one", 1, 5)]);
    let refused = Executor::prepare(setup, &kill).await.err();
    assert!(
        matches!(refused, Some(PrepareError::Missing { ref missing, .. }) if missing == &["start"])
    );

    let mut setup = sim.setup();
    setup.nodes[4].address = setup.nodes[0].address;
    let refused = Executor::prepare(setup, &cut).await.err();
    assert!(matches!(refused, Some(PrepareError::SharedAddress { .. })));

    sim.mood(1, Mood::Hangs);
    assert!(
        refusal(&sim, &cut)
            .await
            .expect("a refusal")
            .starts_with("n2 did not answer")
    );
    for bad in ["clocks:one", "kill:halves"] {
        assert!(
            refusal(&sim, &plan(vec![planned(1, 0, bad, 1, 5)]))
                .await
                .expect("a refusal")
                .contains("fault 1 of the plan")
        );
    }
    let mut other = cut.clone();
    other.faults[0].order.pop();
    assert!(
        refusal(&Sim::new(5), &other)
            .await
            .expect("a refusal")
            .contains("4 nodes")
    );
}

/// A run that was killed in the middle: only its ledger and its nodes are left.
async fn killed_run(sim: &Sim) {
    let faults = vec![
        planned(1, 0, "partition:n1+n2", 1, 99),
        planned(2, 1, "kill:n3", 2, 99),
        planned(3, 2, "pause:n4", 3, 99),
        planned(4, 3, "partition:halves", 4, 5),
    ];
    let executor = prepared(sim, &plan(faults)).await;
    let (_cancel, running) = begin(&executor);
    seconds(15).await;
    running.abort();
}

fn healers(sim: &Sim) -> (Arc<dyn Ledger>, Arc<dyn Clock>) {
    (Arc::new(sim.clone()), Arc::new(SimClock::default()))
}

#[tokio::test(start_paused = true)]
async fn a_ledger_is_healed_after_the_controller_was_killed() {
    let sim = Sim::new(5);
    killed_run(&sim).await;
    let (ledger, clock) = healers(&sim);
    let lines = sim.world().lines.clone();
    let report = heal_ledger(&lines, &sim.nodes(), &ledger, &clock).await;
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(
        report.faults.iter().map(|f| f.fault).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    assert_eq!(report.nodes.len(), 5);
    {
        let world = sim.world();
        assert!(
            world
                .nodes
                .iter()
                .all(|n| n.table.is_none() && n.pid.is_some() && !n.frozen)
        );
        assert!(fold(&world.lines).iter().all(|record| !record.is_open()));
        let last = world.lines.last().expect("a line");
        assert!(matches!(last.step, Step::Healed { .. }) && last.time_ns == 0);
    }
    let lines = sim.world().lines.clone();
    let again = heal_ledger(&lines, &sim.nodes(), &ledger, &clock).await;
    assert!(again.is_clean() && again.faults.is_empty());
    // The whole ledger once more, as if no heal had been written: scripts are idempotent.
    let intents: Vec<_> = lines
        .iter()
        .filter(|l| matches!(l.step, Step::Intend { .. }))
        .cloned()
        .collect();
    assert!(
        heal_ledger(&intents, &sim.nodes(), &ledger, &clock)
            .await
            .is_clean()
    );
}

#[tokio::test(start_paused = true)]
async fn replaying_a_ledger_touches_no_stranger_and_reports_who_is_lost() {
    let sim = Sim::new(5);
    killed_run(&sim).await;
    sim.world().nodes[2].marker = None;
    sim.mood(3, Mood::Unreachable);
    sim.world().trace.clear();
    let (ledger, clock) = healers(&sim);
    let lines = sim.world().lines.clone();
    let report = heal_ledger(&lines, &sim.nodes()[..4], &ledger, &clock).await;
    assert!(report.lab_is_dirty() && report.faults.iter().all(|fault| !fault.healed));
    let text = format!(
        "{:?}",
        report
            .troubles()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    );
    for fragment in [
        "n3 has no marker",
        "n4 cannot be reached",
        "n5: no node of that name",
    ] {
        assert!(text.contains(fragment), "{text}");
    }
    assert!(!sim.happened("n3 table") && !sim.happened("n3 script"));
    assert!(sim.drops(0).is_empty() && sim.drops(1).is_empty() && !sim.drops(2).is_empty());
    assert!(
        sim.steps()
            .ends_with(&["1 heal-failed", "2 heal-failed", "3 heal-failed"].map(str::to_owned))
    );
}

#[tokio::test(start_paused = true)]
async fn all_tables_can_be_removed_without_a_ledger() {
    let sim = Sim::new(5);
    killed_run(&sim).await;
    let report = heal_everything(&sim.nodes()).await;
    assert!(report.is_clean() && report.nodes.len() == 5);
    assert!((0..5).all(|at| sim.drops(at).is_empty()));
    assert!(
        report.nodes[0]
            .done
            .iter()
            .any(|text| text == "connects to n2, n3, n4, n5 again")
    );
    sim.mood(0, Mood::Unreachable);
    assert!(heal_everything(&sim.nodes()).await.lab_is_dirty());
}
