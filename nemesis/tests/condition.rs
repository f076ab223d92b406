//! Faults on nodes' conditions on simulated nodes, in simulated time: order, ledger, refusals, replay.

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;

use std::{sync::Arc, time::Duration};

use harness_core::{fault::fold, meta::PlannedFault};
use harness_nemesis::exec::{
    Clock, Executor, FINAL_HEAL_LIMIT, Ledger, Outcome, PrepareError, heal_everything, heal_ledger,
};
use support::{Mood, Sim, SimClock, plan, planned};
use tokio::{sync::watch, time::sleep};

async fn run(sim: &Sim, faults: Vec<PlannedFault>) -> Outcome {
    let executor = Executor::prepare(sim.setup(), &plan(faults)).await;
    let executor = executor.unwrap_or_else(|error| panic!("refused: {error}"));
    let (_cancel, cancelled) = watch::channel(false);
    executor.run(cancelled).await
}

async fn refusal(sim: &Sim, what: &str) -> PrepareError {
    let faults = plan(vec![planned(1, 0, what, 1, 5)]);
    let refused = Executor::prepare(sim.setup(), &faults).await;
    refused.err().expect("a refusal")
}

#[tokio::test(start_paused = true)]
async fn it_is_journalled_then_injected_then_seen_then_healed() {
    let sim = Sim::new(5);
    let outcome = run(&sim, vec![planned(1, 0, "loss/share=40%:n2+n3", 1, 5)]).await;
    assert!(
        outcome.done[0].observed && outcome.done[0].healed,
        "{outcome:?}"
    );
    assert!(sim.when("ledger 1 intend") < sim.when("n2 condition 1 injected"));
    assert!(sim.when("n3 condition 1 injected") < sim.when("ledger 1 observed"));
    assert!(sim.when("ledger 1 heal-asked") < sim.when("n2 condition 1 undone"));
    assert!(sim.when("n3 condition 1 undone") < sim.when("ledger 1 healed"));
    assert_eq!(sim.label(1), "loss n2+n3: n2 n3, share=40%");
    let record = fold(&sim.world().lines).remove(0);
    assert!(record.took_hold() && !record.is_open());
    assert_eq!(record.heals.len(), 2);
    assert!(!sim.happened("n1 condition"));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_seen_to_hold_earns_nothing_and_is_undone() {
    let sim = Sim::new(5);
    sim.mood(1, Mood::IgnoresRules);
    let outcome = run(&sim, vec![planned(1, 0, "cpu:n2", 1, 30)]).await;
    assert!(!outcome.done[0].observed && outcome.done[0].healed);
    assert!(
        sim.reason(1)
            .contains("n2: not seen to hold: it does not hold")
    );
    assert!(sim.world().nodes[1].notes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_node_lacks_is_refused_with_the_mend() {
    let sim = Sim::new(5);
    sim.mood(2, Mood::Lacks);
    let refused = refusal(&sim, "slow:one").await;
    assert!(refused.is_refusal());
    assert_eq!(
        refused.to_string(),
        "slow cannot be had on n3: it is not in this kernel; take another"
    );
    // A node that is not meant may lack it.
    run(&sim, vec![planned(1, 0, "slow:n1+n2", 1, 5)]).await;
    let mut setup = sim.setup();
    setup.can.data = None;
    let faults = plan(vec![planned(1, 0, "disk-full:n1", 1, 5)]);
    let refused = Executor::prepare(setup, &faults)
        .await
        .err()
        .expect("a refusal");
    assert!(
        matches!(&refused, PrepareError::Missing { missing, .. } if missing == &["data folder"])
    );
    let refused = refusal(&sim, "loss/share=0%:n1").await;
    assert!(matches!(refused, PrepareError::Plan { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn what_only_one_can_have_is_not_taken_from_it() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "rate:n1", 1, 20),
        planned(2, 1, "slow:n1", 2, 5),
        planned(3, 2, "loss:n1", 2, 5),
        planned(4, 1, "slow:n1", 25, 30),
    ];
    let outcome = run(&sim, faults).await;
    let observed: Vec<bool> = outcome.done.iter().map(|done| done.observed).collect();
    assert_eq!(observed, [true, false, true, true], "{:?}", sim.steps());
    assert!(outcome.done.iter().all(|done| done.healed));
    assert!(sim.reason(2).contains("fault 1 has it already"));
    assert!(!sim.happened("condition 2"), "neither struck nor undone");
}

/// Files are damaged and put back while nobody has them open.
#[tokio::test(start_paused = true)]
async fn a_file_is_struck_between_a_kill_and_a_start() {
    let sim = Sim::new(5);
    let outcome = run(&sim, vec![planned(1, 0, "bitflip/rejoin=no:n1", 1, 5)]).await;
    assert!(outcome.done[0].observed && outcome.done[0].healed);
    let trace = sim.world().trace.clone();
    let of_n1: Vec<&str> = trace
        .iter()
        .filter_map(|entry| entry.strip_prefix("n1 "))
        .collect();
    assert_eq!(
        of_n1,
        [
            "killed",
            "condition 1 injected",
            "started",
            "killed",
            "condition 1 undone",
            "started"
        ]
    );
    let sim = Sim::new(5);
    run(&sim, vec![planned(1, 0, "bitflip/kill=no:n1", 1, 5)]).await;
    assert!(!sim.happened("killed"));
}

/// What the node has acknowledged since is in no copy from before.
#[tokio::test(start_paused = true)]
async fn a_node_with_damaged_data_joins_anew_where_it_may() {
    let of_n1 = |sim: &Sim| -> Vec<String> {
        let trace = &sim.world().trace;
        let of_n1 = trace.iter().filter_map(|entry| entry.strip_prefix("n1 "));
        of_n1.map(str::to_owned).collect()
    };
    let sim = Sim::new(5);
    let outcome = run(&sim, vec![planned(1, 0, "truncate:n1", 1, 5)]).await;
    assert!(outcome.done[0].observed && outcome.done[0].healed);
    assert!(sim.happened("n1 wiped"), "{:?}", of_n1(&sim));
    assert!(sim.when("n1 wiped") < sim.when("n1 joined"));
    // Without a majority nobody could let them in: they are put right.
    let sim = Sim::new(5);
    let outcome = run(&sim, vec![planned(1, 0, "truncate:all", 1, 5)]).await;
    assert!(outcome.done[0].observed && outcome.done[0].healed);
    assert!(!sim.happened("wiped"));
    let healed = format!("{:?}", sim.world().lines);
    assert!(healed.contains("of 5 voters would be without"), "{healed}");
}

#[tokio::test(start_paused = true)]
async fn another_fault_that_holds_the_process_down_keeps_it() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "kill:n1", 1, 20),
        planned(2, 1, "remove:n1", 2, 5),
    ];
    run(&sim, faults).await;
    let starts = sim
        .world()
        .trace
        .iter()
        .filter(|e| *e == "n1 started")
        .count();
    assert_eq!(
        starts,
        1,
        "by the heal of the kill: {:#?}",
        sim.world().trace
    );
    assert!(sim.when("n1 started") > sim.when("ledger 1 heal-asked"));
}

/// A power cut: all are killed before anything is lost on any, and stay down until the heal.
#[tokio::test(start_paused = true)]
async fn what_loses_writes_kills_all_first_and_keeps_them_down() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "lose-writes:n1+n2", 1, 10),
        planned(2, 1, "io-error:n2", 3, 5),
    ];
    let outcome = run(&sim, faults).await;
    assert!(outcome.done[0].observed && outcome.done[0].healed);
    for node in ["n1", "n2"] {
        for killed in ["n1", "n2"] {
            let struck = format!("{node} condition 1 injected");
            assert!(sim.when(&format!("{killed} killed")) < sim.when(&struck));
        }
        assert!(sim.when("ledger 1 heal-asked") < sim.when(&format!("{node} started")));
    }
    assert!(sim.reason(2).contains("fault 1 has it already"));
    let record = fold(&sim.world().lines).remove(0);
    // What is kept on each node, and a start there.
    assert_eq!(record.heals.len(), 4);
}

/// A run that was killed in the middle is healed from its ledger, or from what it left on the nodes.
#[tokio::test(start_paused = true)]
async fn a_killed_run_is_healed_from_its_ledger_or_from_the_nodes() {
    let killed = async || {
        let sim = Sim::new(5);
        let faults = vec![
            planned(1, 0, "loss:n1", 1, 99),
            planned(2, 1, "memory:n2", 1, 99),
        ];
        let executor = Executor::prepare(sim.setup(), &plan(faults)).await;
        let executor = executor.unwrap_or_else(|error| panic!("refused: {error}"));
        let (_cancel, cancelled) = watch::channel(false);
        let running = tokio::spawn(async move { executor.run(cancelled).await });
        sleep(Duration::from_secs(10)).await;
        running.abort();
        let notes = |at: usize| sim.world().nodes[at].notes.len();
        assert_eq!((notes(0), notes(1)), (1, 1));
        sim
    };
    let sim = killed().await;
    let lines = sim.world().lines.clone();
    let ledger: Arc<dyn Ledger> = Arc::new(sim.clone());
    let clock: Arc<dyn Clock> = Arc::new(SimClock::default());
    let report = heal_ledger(&lines, &sim.nodes(), &ledger, &clock).await;
    assert!(report.is_clean(), "{report:?}");
    assert!(sim.world().nodes.iter().all(|node| node.notes.is_empty()));
    // The process may have been killed for its memory.
    assert!(sim.when("n2 condition 2 undone") < sim.when("n2 script start-it"));

    let sim = killed().await;
    let refused = refusal(&sim, "loss:n3").await;
    assert!(
        matches!(refused, PrepareError::FaultsLeft { .. }),
        "{refused}"
    );
    assert!(heal_everything(&sim.nodes()).await.is_clean());
    assert!(sim.world().nodes.iter().all(|node| node.notes.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn the_final_heal_undoes_what_was_given_up_and_nothing_is_injected_after() {
    let sim = Sim::new(5);
    let faults = vec![
        planned(1, 0, "fds:n1", 1, 50),
        planned(2, 1, "cpu:n2", 20, 50),
    ];
    let executor = Executor::prepare(sim.setup(), &plan(faults)).await;
    let executor = Arc::new(executor.unwrap_or_else(|error| panic!("refused: {error}")));
    let (_cancel, cancelled) = watch::channel(false);
    let runs = Arc::clone(&executor);
    let running = tokio::spawn(async move { runs.run(cancelled).await });
    sleep(Duration::from_secs(10)).await;
    assert!(executor.final_heal(FINAL_HEAL_LIMIT).await.is_clean());
    assert!(sim.happened("n1 condition 1 undone"));
    sleep(Duration::from_secs(30)).await;
    running.abort();
    assert!(!sim.happened("n2 condition 2 injected"));
}
