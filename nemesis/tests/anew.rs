//! Restarts, boots, wipes, hand-overs, guards and simultaneous strikes, on simulated nodes in simulated time.

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;

use std::{sync::Arc, time::Duration};

use harness_core::{
    fault::fold,
    frame::guard::GuardHealed,
    meta::{Plan, PlannedFault},
};
use harness_nemesis::exec::{
    Cause, Clock, Executor, FINAL_HEAL_LIMIT, Ledger, Outcome, PrepareError, Setup, heal_ledger,
};
use support::{Mood, Sim, SimClock, plan, planned};
use tokio::{sync::watch, time::sleep};

async fn done(sim: &Sim, setup: Setup, faults: Vec<PlannedFault>) -> (Arc<Executor>, Outcome) {
    let plan: Plan = plan(faults);
    let executor = Executor::prepare(setup, &plan).await;
    let executor = Arc::new(executor.unwrap_or_else(|error| panic!("refused: {error}")));
    let (_cancel, cancelled) = watch::channel(false);
    let outcome = executor.run(cancelled).await;
    assert!(outcome.problems.is_empty(), "{outcome:?}");
    assert!(!sim.world().lines.is_empty());
    (executor, outcome)
}

fn said(sim: &Sim, fault: u32) -> String {
    let records = fold(&sim.world().lines);
    let record = records.iter().find(|record| record.id == fault);
    let record = record.expect("a fault of that number");
    let texts = record.evidence.iter().map(|seen| seen.text.as_str());
    texts
        .chain(record.problems.iter().map(String::as_str))
        .collect::<Vec<_>>()
        .join("; ")
}

fn with_agents(sim: &Sim) -> Setup {
    sim.world().has_agents = true;
    sim.setup()
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_another_process_and_undoes_itself() {
    let sim = Sim::new(5);
    let (_, outcome) = done(
        &sim,
        sim.setup(),
        vec![planned(1, 0, "restart:n1+n2", 1, 5)],
    )
    .await;
    assert!(outcome.done[0].observed && outcome.done[0].healed);
    assert!(sim.when("n1 stopped") < sim.when("n1 started"));
    assert!(sim.world().nodes[0].pid.is_some_and(|pid| pid > 200));
    assert!(said(&sim, 1).contains("then process"), "{}", said(&sim, 1));
}

#[tokio::test(start_paused = true)]
async fn what_stopped_and_did_not_start_is_no_restart_and_is_started_at_the_heal() {
    let sim = Sim::new(5);
    sim.mood(0, Mood::WontStart);
    let faults = vec![planned(1, 0, "restart:n1", 1, 5)];
    let (executor, outcome) = done(&sim, sim.setup(), faults).await;
    assert!(!outcome.done[0].observed && !outcome.done[0].healed);
    sim.mood(0, Mood::Well);
    assert!(executor.final_heal(FINAL_HEAL_LIMIT).await.is_clean());
    assert!(sim.world().nodes[0].pid.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_another_fault_holds_is_not_restarted_nor_wiped() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "kill:n1", 1, 20),
        planned(2, 1, "pause:n2", 1, 20),
        planned(3, 2, "restart:n1", 3, 6),
        planned(4, 3, "wipe:n1", 4, 6),
        planned(5, 4, "restart:n2", 5, 6),
        planned(6, 5, "wipe:n2", 5, 6),
    ];
    let (_, outcome) = done(&sim, sim.setup(), faults).await;
    let observed: Vec<u32> = outcome
        .done
        .iter()
        .filter(|done| done.observed)
        .map(|done| done.planned)
        .collect();
    assert_eq!(observed, [1, 2]);
    assert!(outcome.done.iter().all(|done| done.healed), "{outcome:?}");
    assert!(!sim.happened("wiped") && !sim.happened("n1 stopped"));
    assert!((0..2).all(|at| sim.world().nodes[at].pid.is_some() && !sim.world().nodes[at].frozen));
}

#[tokio::test(start_paused = true)]
async fn a_boot_is_seen_by_process_1_and_leaves_the_cut_of_others_in_force() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "partition:n1|n2+n3", 1, 30),
        planned(2, 1, "reboot:n1", 5, 15),
    ];
    let setup = with_agents(&sim);
    let executor = Executor::prepare(setup, &plan(faults))
        .await
        .expect("a plan");
    let executor = Arc::new(executor);
    let (_cancel, cancelled) = watch::channel(false);
    let running = {
        let executor = Arc::clone(&executor);
        tokio::spawn(async move { executor.run(cancelled).await })
    };
    sleep(Duration::from_secs(10)).await;
    assert_eq!(
        sim.world().nodes[0].pid,
        None,
        "the system is down until the heal"
    );
    assert_eq!(sim.drops(0), [1, 2], "a boot is no way out of a partition");
    let outcome = running.await.expect("no panic");
    assert!(
        outcome.done.iter().all(|done| done.observed && done.healed),
        "{outcome:?}"
    );
    let said = said(&sim, 2);
    assert!(
        said.contains("began at tick 0 and now at 1")
            && said.contains("the system that ran is gone"),
        "{said}"
    );
    assert!(sim.world().nodes[0].pid.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_boot_is_refused_where_no_agent_can_do_it() {
    let sim = Sim::new(5);
    let plan = plan(vec![planned(1, 0, "reboot:n1", 1, 5)]);
    let error = Executor::prepare(sim.setup(), &plan)
        .await
        .err()
        .expect("refused");
    assert!(
        matches!(error, PrepareError::NoReboot { .. }) && error.is_refusal(),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_boot_is_refused_without_the_right_to_it_and_on_our_own_machine() {
    let own = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("a boot id");
    let may = "CapEff:\t000001fffcfeffff";
    let first = "pid:[4026531836]";
    for (looks, word) in [
        (
            format!("CapEff:\t000001fffc8effff\nother\n{first}\n"),
            "CAP_SYS_BOOT",
        ),
        ("nothing of the kind\n".to_owned(), "CAP_SYS_BOOT"),
        (
            format!("{may}\n{own}{first}\n"),
            "the machine that the harness runs on",
        ),
        // A container of ours that shows our own boot id is not the machine.
        (format!("{may}\n{own}pid:[4026532411]\n"), ""),
    ] {
        let sim = Sim::new(5);
        let setup = with_agents(&sim);
        sim.world().looks = looks.clone();
        let plan = plan(vec![planned(1, 0, "reboot:n1", 1, 5)]);
        match Executor::prepare(setup, &plan).await {
            Ok(_) => assert_eq!(word, "", "{looks}"),
            Err(error) => {
                assert!(error.is_refusal(), "{error}");
                assert!(
                    !word.is_empty() && error.to_string().contains(word),
                    "{looks}: {error}"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wiped_node_is_removed_by_force_and_joins_anew_and_is_nobody_elses_until_then() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "wipe:n2", 1, 10),
        planned(2, 1, "kill:n2", 3, 5),
    ];
    let (_, outcome) = done(&sim, sim.setup(), faults).await;
    assert!(outcome.done.iter().all(|done| done.healed), "{outcome:?}");
    assert!(outcome.done[0].observed && !outcome.done[1].observed);
    assert!(
        said(&sim, 2).contains("was wiped by fault 1"),
        "{}",
        said(&sim, 2)
    );
    assert!(!sim.happened("n2 started") && !sim.happened("n2 killed"));
    assert!(sim.when("n2 removed, by force true") < sim.when("n2 stands by"));
    assert!(sim.when("n2 stands by") < sim.when("n2 joined"));
    assert!(
        said(&sim, 1).contains("joined anew through n1"),
        "{}",
        said(&sim, 1)
    );
    let heals = fold(&sim.world().lines)[0].heals.clone();
    assert_eq!(
        (heals[0].node.as_str(), heals[0].script.as_str()),
        ("n2", "wipe-it")
    );
}

#[tokio::test(start_paused = true)]
async fn a_majority_is_not_wiped_and_nobody_can_let_in_without_one() {
    let sim = Sim::new(5);
    sim.world().voters = Some(vec![0, 1, 2]);
    let faults = vec![
        planned(1, 0, "wipe:n1+n2", 1, 5),
        planned(2, 0, "wipe:n1+n4", 10, 20),
    ];
    let (_, outcome) = done(&sim, sim.setup(), faults).await;
    assert!(
        !outcome.done[0].observed && outcome.done[0].healed,
        "{outcome:?}"
    );
    assert!(said(&sim, 1).contains("2 of 3 voters"), "{}", said(&sim, 1));
    assert!(
        outcome.done[1].observed && outcome.done[1].healed,
        "{}",
        said(&sim, 2)
    );

    let sim = Sim::new(3);
    let mut fault = planned(1, 0, "wipe:n1", 1, 5);
    fault.order = vec![0, 1, 2];
    let setup = sim.setup();
    let executor = Arc::new(
        Executor::prepare(setup, &plan(vec![fault]))
            .await
            .expect("a plan"),
    );
    let (_cancel, cancelled) = watch::channel(false);
    let running = {
        let executor = Arc::clone(&executor);
        tokio::spawn(async move { executor.run(cancelled).await })
    };
    sleep(Duration::from_secs(3)).await;
    (sim.world().nodes[1].pid, sim.world().nodes[2].pid) = (None, None);
    assert!(!running.await.expect("no panic").done[0].healed);
    let report = executor.final_heal(FINAL_HEAL_LIMIT).await;
    assert_eq!(
        report.troubles().next().map(|trouble| trouble.cause),
        Some(Cause::System)
    );
    assert!(!report.is_clean() && !report.lab_is_dirty());
}

#[tokio::test(start_paused = true)]
async fn a_wipe_is_refused_where_a_workload_changes_the_membership() {
    let sim = Sim::new(5);
    let plan = plan(vec![planned(1, 0, "wipe:n1", 1, 5)]);
    let setup = sim.setup_with_members(&["n1", "n2", "n3"]);
    let error = Executor::prepare(setup, &plan)
        .await
        .err()
        .expect("refused");
    assert!(
        error.is_refusal() && error.to_string().contains("--workload"),
        "{error}"
    );
    let mut setup = sim.setup();
    setup.can.membership = None;
    let error = Executor::prepare(setup, &plan)
        .await
        .err()
        .expect("refused");
    assert!(
        error.is_refusal() && error.to_string().contains("no membership"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn leadership_goes_to_a_voter_that_does_not_lead() {
    let sim = Sim::new(5);
    sim.world().leader = Some(0);
    sim.world().voters = Some(vec![0, 2, 3]);
    let faults = vec![
        planned(1, 0, "leader-transfer:one", 1, 5),
        planned(2, 0, "leader-transfer:n2+n3+n4", 8, 12),
        planned(3, 0, "leader-transfer:n2+n5", 15, 20),
    ];
    let (_, outcome) = done(&sim, sim.setup(), faults).await;
    let observed: Vec<bool> = outcome.done.iter().map(|done| done.observed).collect();
    assert_eq!(observed, [true, true, false]);
    assert!(outcome.done.iter().all(|done| done.healed));
    assert!(said(&sim, 1).contains("n1 led before"), "{}", said(&sim, 1));
    assert_eq!(sim.label(2), "leader-transfer n2+n3+n4: n4");
    assert!(
        said(&sim, 3).contains("nobody of them has a vote"),
        "{}",
        said(&sim, 3)
    );
    assert_eq!(sim.world().leader, Some(3));
}

#[tokio::test(start_paused = true)]
async fn several_nodes_are_struck_at_one_instant_by_their_agents() {
    for (kind, signal) in [("kill", "Kill"), ("pause", "Stop")] {
        let sim = Sim::new(5);
        let setup = with_agents(&sim);
        let faults = vec![planned(1, 0, &format!("{kind}:n1+n2+n3"), 1, 5)];
        let (_, outcome) = done(&sim, setup, faults).await;
        assert!(
            outcome.done[0].observed && outcome.done[0].healed,
            "{}",
            said(&sim, 1)
        );
        for node in ["n1", "n2", "n3"] {
            assert!(sim.happened(&format!("{node} {signal} at true")), "{kind}");
        }
        assert!(
            !sim.happened("n1 killed") && !sim.happened("n1 paused"),
            "{kind}"
        );
        assert!(
            said(&sim, 1).contains("sent 9 µs after the instant"),
            "{}",
            said(&sim, 1)
        );
        assert!(
            (0..3).all(|at| sim.world().nodes[at].pid.is_some() && !sim.world().nodes[at].frozen)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn where_nothing_runs_the_others_are_struck_all_the_same() {
    let sim = Sim::new(5);
    sim.world().nodes[1].pid = None;
    let setup = with_agents(&sim);
    let (_, outcome) = done(&sim, setup, vec![planned(1, 0, "kill:n1+n2+n3", 1, 5)]).await;
    assert!(
        outcome.done[0].observed && outcome.done[0].healed,
        "{}",
        said(&sim, 1)
    );
    assert!(
        said(&sim, 1).contains("no process to strike"),
        "{}",
        said(&sim, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn guards_know_a_fault_before_it_is_injected_and_forget_it_when_it_is_healed() {
    let sim = Sim::new(5);
    let setup = sim.setup_with_guards(Duration::from_secs(10));
    let faults = vec![
        planned(1, 0, "partition:n1|n2", 1, 21),
        planned(2, 1, "kill:n1", 5, 11),
    ];
    let (executor, outcome) = done(&sim, setup, faults).await;
    assert!(
        outcome.done.iter().all(|done| done.observed && done.healed),
        "{outcome:?}"
    );
    assert!(sim.when("ledger 1 intend") < sim.when("n1 guarded"));
    assert!(sim.when("n1 guarded") < sim.when("n1 drops 1"));
    assert!(sim.when("n1 guarded") < sim.when("ledger 1 asked"));
    let told = sim.world().nodes[0].guarded.clone();
    let both = told
        .iter()
        .find(|request| request.heals.len() == 2)
        .expect("both at once");
    assert_eq!(both.run, "this-run");
    assert_eq!(both.lease_ms, 10_000);
    assert_eq!(
        both.heals.iter().map(|heal| heal.fault).collect::<Vec<_>>(),
        [1, 2]
    );
    // Twenty seconds of faults and a renewal every two.
    assert!(told.len() > 10, "{}", told.len());
    assert!(told.last().is_some_and(|request| request.heals.is_empty()));
    let elsewhere = sim.world().nodes[4].guarded.clone();
    assert!(
        elsewhere.iter().all(|request| request.heals.is_empty()),
        "nothing holds there"
    );
    drop(executor);
    let count = told.len();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(
        sim.world().nodes[0].guarded.len(),
        count,
        "nobody renews any more"
    );
}

#[tokio::test(start_paused = true)]
async fn a_fault_that_no_guard_could_undo_is_not_injected() {
    let sim = Sim::new(5);
    let setup = sim.setup_with_guards(Duration::from_secs(10));
    let plan = plan(vec![planned(1, 0, "kill:n1+n2", 10, 15)]);
    let executor = Arc::new(Executor::prepare(setup, &plan).await.expect("a plan"));
    let (_cancel, cancelled) = watch::channel(false);
    let running = {
        let executor = Arc::clone(&executor);
        tokio::spawn(async move { executor.run(cancelled).await })
    };
    sleep(Duration::from_secs(5)).await;
    sim.mood(1, Mood::Unreachable);
    let outcome = running.await.expect("no panic");
    assert!(!outcome.done[0].observed);
    assert!(
        said(&sim, 1).contains("no guard could be set"),
        "{}",
        said(&sim, 1)
    );
    assert!(!sim.happened("killed") && !sim.happened("n1 Kill"));
}

fn healed(run: &str, fault: u32, wall_ns: i64) -> GuardHealed {
    GuardHealed {
        run: run.to_owned(),
        fault,
        silent_ms: 10_100,
        wall_ns,
        monotonic_ns: 5,
        problem: None,
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_guard_healed_while_we_lived_is_told_once_and_earns_nothing() {
    let sim = Sim::new(5);
    let setup = sim.setup_with_guards(Duration::from_secs(10));
    let executor = Executor::prepare(setup, &plan(vec![planned(1, 0, "kill:n1", 1, 21)])).await;
    let executor = Arc::new(executor.expect("a plan"));
    let (_cancel, cancelled) = watch::channel(false);
    let running = {
        let executor = Arc::clone(&executor);
        tokio::spawn(async move { executor.run(cancelled).await })
    };
    sleep(Duration::from_secs(10)).await;
    sim.world().nodes[0].healed = vec![healed("this-run", 1, 0)];
    assert!(running.await.expect("no panic").done[0].healed);
    let steps = sim.steps();
    assert_eq!(
        steps.iter().filter(|step| *step == "1 self-healed").count(),
        1,
        "{steps:?}"
    );
    let record = fold(&sim.world().lines).remove(0);
    assert!(record.self_healed && !record.took_hold() && !record.is_open());
    assert!(
        said(&sim, 1).contains("after 10.1 s without a word"),
        "{}",
        said(&sim, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_ledger_is_healed_after_the_guards_let_go_and_says_what_they_did() {
    let sim = Sim::new(5);
    sim.world().has_agents = true;
    let setup = sim.setup_with_guards(Duration::from_secs(10));
    let executor = Executor::prepare(setup, &plan(vec![planned(1, 0, "kill:n1", 1, 60)])).await;
    let executor = Arc::new(executor.expect("a plan"));
    let (_cancel, cancelled) = watch::channel(false);
    let running = {
        let executor = Arc::clone(&executor);
        tokio::spawn(async move { executor.run(cancelled).await })
    };
    sleep(Duration::from_secs(5)).await;
    running.abort();
    drop(executor);
    // One of this run, and one that was healed before this fault was intended.
    sim.world().nodes[0].healed = vec![healed("this-run", 1, i64::MAX), healed("older", 1, -1)];
    let lines = sim.world().lines.clone();
    let ledger: Arc<dyn Ledger> = Arc::new(sim.clone());
    let clock: Arc<dyn Clock> = Arc::new(SimClock::default());
    let report = heal_ledger(&lines, &sim.nodes(), &ledger, &clock).await;
    assert!(report.is_clean(), "{report:?}");
    assert!(sim.when("n1 idle") < sim.when("n1 script start-it"));
    let steps = sim.steps();
    assert_eq!(
        steps.iter().filter(|step| *step == "1 self-healed").count(),
        1,
        "{steps:?}"
    );
    assert!(
        fold(&sim.world().lines)
            .iter()
            .all(|record| !record.is_open() && record.self_healed)
    );
    assert!(
        sim.world().nodes[0]
            .guarded
            .last()
            .is_some_and(|request| request.purge)
    );
}
