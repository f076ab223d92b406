//! Faults that strike where a function is entered, on simulated nodes with a simulated probe, in simulated time.

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;
mod told;

use std::{sync::Arc, time::Duration};

use harness_core::{
    fault::{FaultRecord, Heal, fold},
    meta::{FunctionEntry, Moment, OperationPhase, PlannedFault, Trigger},
};
use harness_nemesis::exec::{Executor, FINAL_HEAL_LIMIT, Outcome, PhaseEvent, PrepareError, Stage};
use support::{Mood, RUN, Sim, plan, planned};
use tokio::{
    sync::{broadcast, watch},
    time::{sleep, timeout},
};
use told::Told;

/// Tells what a test says.
struct Scene {
    sim: Sim,
    told: broadcast::Sender<PhaseEvent>,
    phases: Arc<Told>,
    cancel: watch::Sender<bool>,
    executor: Arc<Executor>,
    running: tokio::task::JoinHandle<Outcome>,
}

/// In force for ten seconds once it struck; `after` is the operation that is waited for first.
fn waiting(id: u32, what: &str, nth: u64, after: Option<&str>) -> PlannedFault {
    PlannedFault {
        trigger: Some(Trigger::Function(FunctionEntry {
            name: RUN.to_owned(),
            nth,
            after: after.map(|f| OperationPhase {
                f: f.to_owned(),
                moment: Moment::Invoked,
                delay_ms: 0,
            }),
        })),
        ..planned(id, 0, what, 0, 10)
    }
}

async fn a_moment() {
    sleep(Duration::from_millis(20)).await;
}

async fn scene_on(sim: Sim, faults: Vec<PlannedFault>) -> Scene {
    let told = broadcast::Sender::new(16);
    let mut setup = sim.setup();
    let phases = Arc::new(Told::new(told.clone()));
    setup.phases = Some(Arc::clone(&phases) as _);
    let executor = Executor::prepare(setup, &plan(faults)).await;
    let executor = Arc::new(executor.unwrap_or_else(|error| panic!("refused: {error}")));
    sim.world().trace.clear();
    let (cancel, cancelled) = watch::channel(false);
    let runs = Arc::clone(&executor);
    let running = tokio::spawn(async move { runs.run(cancelled).await });
    a_moment().await;
    Scene {
        sim,
        told,
        phases,
        cancel,
        executor,
        running,
    }
}

async fn scene(faults: Vec<PlannedFault>) -> Scene {
    scene_on(Sim::new(5), faults).await
}

impl Scene {
    async fn tell(&self, moment: Moment, subject: &str) {
        let event = PhaseEvent {
            index: 812,
            time_ns: 5,
            moment,
            f: "join".into(),
            subject: Some(subject.to_owned()),
        };
        self.told.send(event).expect("the lane listens");
        a_moment().await;
    }

    fn record(&self, fault: usize) -> FaultRecord {
        fold(&self.sim.world().lines).remove(fault)
    }

    fn pid(&self, at: usize) -> Option<u32> {
        self.sim.world().nodes[at].pid
    }
}

fn evidence(record: &FaultRecord, text: &str) -> bool {
    record.evidence.iter().any(|seen| seen.text.contains(text))
}

#[tokio::test(start_paused = true)]
async fn the_nth_entry_strikes_and_the_heal_was_on_disk_before_it_was_armed() {
    let scene = scene(vec![waiting(1, "kill:n4", 2, None)]).await;
    assert_eq!(scene.executor.live().snapshot()[0].stage, Stage::Armed);
    scene.sim.run_function(2, 102);
    scene.sim.run_function(3, 103);
    a_moment().await;
    assert_eq!(scene.pid(3), Some(103), "the first entry is not meant");
    assert_eq!(scene.sim.steps(), ["1 intend"]);
    scene.sim.run_function(3, 103);
    a_moment().await;
    assert_eq!((scene.pid(3), scene.pid(2)), (None, Some(102)));
    let outcome = scene.running.await.unwrap();
    assert!(outcome.done[0].observed && outcome.done[0].healed);
    assert_eq!(
        scene.sim.steps(),
        [
            "1 intend",
            "1 triggered",
            "1 asked",
            "1 observed",
            "1 heal-asked",
            "1 healed"
        ]
    );
    assert!(scene.sim.when("ledger 1 intend") < scene.sim.when("n4 armed Some(Kill)"));
    let record = fold(&scene.sim.world().lines).remove(0);
    assert_eq!(record.label, "kill n4: n4 at main.run");
    assert_eq!(
        record.heals,
        [Heal {
            node: "n4".into(),
            script: "start-it".into()
        }]
    );
    let triggered = record.triggered.clone().unwrap();
    assert_eq!(triggered.what, "main.run entered, 2nd time, pid 103 on n4");
    assert_eq!(
        (triggered.due_ns, triggered.bound_ns),
        (triggered.fired_ns, Some(42))
    );
    assert!(record.late_ns().is_some());
    assert!(evidence(
        &record,
        "process 103 gone after SIGKILL at entry 2 of example.com/sim/main.run"
    ));
    assert!(scene.sim.happened("n4 disarmed") && scene.sim.world().nodes[3].pid.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_pause_freezes_at_the_entry_and_goes_on_when_healed() {
    let scene = scene(vec![waiting(1, "pause:n1", 1, None)]).await;
    scene.sim.run_function(0, 100);
    a_moment().await;
    assert!(scene.sim.world().nodes[0].frozen);
    let outcome = scene.running.await.unwrap();
    assert!(outcome.done[0].observed && outcome.done[0].healed);
    assert!(!scene.sim.world().nodes[0].frozen);
    let record = fold(&scene.sim.world().lines).remove(0);
    assert_eq!(record.heals[0].script, "resume-it");
    assert!(evidence(
        &record,
        "process 100 in state T after SIGSTOP at entry 1"
    ));
}

/// The network is cut while the process is frozen in the function, and then it goes on.
#[tokio::test(start_paused = true)]
async fn a_partition_is_cut_while_the_process_is_frozen() {
    let scene = scene(vec![waiting(1, "partition:n4", 1, None)]).await;
    scene.sim.run_function(3, 103);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(scene.sim.drops(3), [0, 1, 2, 4]);
    assert!(!scene.sim.world().nodes[3].frozen, "it goes on");
    assert!(scene.sim.when("n4 entered") < scene.sim.when("n4 drops 4"));
    assert!(scene.sim.when("n4 drops 4") < scene.sim.when("n4 resumed"));
    let outcome = scene.running.await.unwrap();
    assert!(
        outcome.done[0].observed && outcome.done[0].healed,
        "{outcome:?}"
    );
    let record = fold(&scene.sim.world().lines).remove(0);
    assert_eq!(record.heals.len(), 6);
    assert_eq!(
        record.heals[5],
        Heal {
            node: "n4".into(),
            script: "resume-it".into()
        }
    );
    assert!((0..5).all(|at| scene.sim.drops(at).is_empty()));
}

#[tokio::test(start_paused = true)]
async fn it_is_watched_on_the_subject_while_the_operation_lasts_and_then_on_the_next() {
    let scene = scene(vec![waiting(1, "kill:subject", 1, Some("join"))]).await;
    assert!(!scene.sim.happened("armed"));
    scene.tell(Moment::Invoked, "n4").await;
    assert!(scene.sim.happened("n4 armed"));
    // Somebody else's completion does not end it.
    scene.tell(Moment::Completed, "n5").await;
    assert!(!scene.sim.happened("n4 disarmed"));
    scene.tell(Moment::Completed, "n4").await;
    assert_eq!(
        scene.sim.steps(),
        ["1 intend", "1 not-observed", "1 heal-asked", "1 healed"]
    );
    let reason = scene.sim.reason(1);
    assert_eq!(
        reason,
        format!("armed on n4 at {RUN}, never entered until the operation was over")
    );
    assert!(
        !scene.sim.happened("n4 started"),
        "nothing was to be undone"
    );
    scene.tell(Moment::Invoked, "n5").await;
    scene.sim.run_function(3, 103);
    scene.sim.run_function(4, 104);
    scene.tell(Moment::Completed, "n5").await;
    assert_eq!((scene.pid(3), scene.pid(4)), (Some(103), None));
    let record = scene.record(1);
    assert_eq!(
        (record.id, record.planned, record.nodes.as_slice()),
        (2, Some(1), &["n5".to_owned()][..])
    );
    let what = record.triggered.unwrap().what;
    assert_eq!(
        what,
        "join of n5 invoked (event 812), then main.run entered, 1st time, pid 104 on n5"
    );
    let outcome = scene.running.await.unwrap();
    let observed: Vec<bool> = outcome.done.iter().map(|done| done.observed).collect();
    assert_eq!(observed, [false, true]);
}

/// Else a fast joiner is past the function before it is watched.
#[tokio::test(start_paused = true)]
async fn the_operation_begins_when_the_function_is_watched_or_cannot_be() {
    let planned = waiting(1, "kill:subject", 1, Some("join"));
    for member in ["n4", "nobody"] {
        let scene = scene(vec![planned.clone()]).await;
        let mut released = Box::pin(scene.phases.held.lock().unwrap().remove(0).released());
        let early = timeout(Duration::from_secs(1), &mut released).await;
        assert!(early.is_err(), "nothing was told yet");
        scene.tell(Moment::Invoked, member).await;
        released.await;
        assert_eq!(scene.sim.happened("n4 armed"), member == "n4");
        scene.cancel.send_replace(true);
        scene.running.await.unwrap();
    }
}

/// The killed joiner's operation ends because it was killed; its end may be told before the hit is.
#[tokio::test(start_paused = true)]
async fn a_hit_that_is_told_after_the_end_of_the_operation_counts() {
    let scene = scene(vec![waiting(1, "kill:subject", 1, Some("join"))]).await;
    scene.tell(Moment::Invoked, "n4").await;
    // Without a pause in between: both are there when the lane looks.
    scene
        .told
        .send(PhaseEvent {
            index: 813,
            time_ns: 6,
            moment: Moment::Completed,
            f: "join".into(),
            subject: Some("n4".to_owned()),
        })
        .unwrap();
    scene.sim.run_function(3, 103);
    let outcome = scene.running.await.unwrap();
    assert!(outcome.done[0].observed && outcome.done[0].healed);
}

#[tokio::test(start_paused = true)]
async fn what_is_never_entered_is_not_observed_and_is_taken_away() {
    let scene = scene(vec![
        waiting(1, "kill:n4", 3, None),
        waiting(2, "kill:n4", 3, None),
    ])
    .await;
    scene.sim.run_function(3, 103);
    sleep(Duration::from_secs(60)).await;
    scene.cancel.send_replace(true);
    let outcome = scene.running.await.unwrap();
    assert_eq!((outcome.done.len(), outcome.skipped.len()), (1, 1));
    assert!(!outcome.done[0].observed && outcome.done[0].healed);
    let reason = scene.sim.reason(1);
    assert!(
        reason.contains("entered 1 times of the 3") && reason.contains("load ended"),
        "{reason}"
    );
    // Whatever other lanes did: this one did nothing.
    let never = fold(&scene.sim.world().lines);
    assert!(never.iter().any(FaultRecord::never_fired), "{never:?}");
    assert!(scene.sim.world().armed.is_empty());
    assert!(!scene.sim.happened("started"));
    scene.sim.run_function(3, 103);
    assert!(scene.sim.world().nodes[3].pid.is_some());
}

/// A second Ctrl-C drops the run while a function is watched; and while what was struck is looked at.
#[tokio::test(start_paused = true)]
async fn the_final_heal_takes_away_what_is_armed_and_starts_what_it_struck() {
    for struck in [false, true] {
        let scene = scene(vec![waiting(1, "kill:n4", 1, None)]).await;
        scene.running.abort();
        if struck {
            scene.sim.run_function(3, 103);
        }
        let report = scene.executor.final_heal(FINAL_HEAL_LIMIT).await;
        assert!(report.is_clean(), "{report:?}");
        assert!(scene.sim.world().armed.is_empty());
        assert_eq!(scene.sim.happened("n4 started"), struck);
        scene.sim.run_function(3, 103);
        assert!(scene.pid(3).is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn another_process_than_the_systems_is_no_fault_of_it() {
    let scene = scene(vec![waiting(1, "kill:n4", 1, None)]).await;
    scene.sim.run_function(3, 999);
    let outcome = scene.running.await.unwrap();
    assert!(!outcome.done[0].observed && outcome.done[0].healed);
    let reason = scene.sim.reason(1);
    assert!(
        reason.contains("process 999 entered it, and the system's is 103"),
        "{reason}"
    );
    assert_eq!(scene.sim.world().nodes[3].pid, Some(103));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_lost_when_it_is_struck_is_reported() {
    let scene = scene(vec![waiting(1, "kill:n4", 1, None)]).await;
    scene.sim.mood(3, Mood::Unreachable);
    scene.sim.run_function(3, 103);
    let outcome = scene.running.await.unwrap();
    assert!(!outcome.done[0].observed && !outcome.done[0].healed);
    assert!(scene.sim.reason(1).contains("cannot be reached"));
    scene.sim.mood(3, Mood::Well);
    assert!(scene.executor.final_heal(FINAL_HEAL_LIMIT).await.is_clean());
    assert!(scene.sim.world().nodes[3].pid.is_some());
}

/// Its watch is armed again on the new agent and counts anew; what was missed is told.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_lost_with_the_agent_is_armed_again() {
    let scene = scene(vec![waiting(1, "kill:n4", 2, None)]).await;
    scene.sim.run_function(3, 103);
    scene.sim.lose_agent(3);
    a_moment().await;
    assert_eq!(scene.sim.steps(), ["1 intend"], "it goes on");
    scene.sim.run_function(3, 103);
    a_moment().await;
    assert_eq!(scene.pid(3), Some(103), "the entry before does not count");
    scene.sim.run_function(3, 103);
    a_moment().await;
    assert_eq!(scene.pid(3), None);
    let outcome = scene.running.await.unwrap();
    assert!(outcome.done[0].observed && outcome.done[0].healed);
    let record = fold(&scene.sim.world().lines).remove(0);
    assert!(evidence(&record, "gone after SIGKILL at entry 2 of"));
    assert!(evidence(&record, "entries until then do not count"));
}

/// Where the signal may have been sent before the agent was lost, nothing is armed that could strike once more.
#[tokio::test(start_paused = true)]
async fn a_watch_that_may_have_struck_is_not_armed_again() {
    let scene = scene(vec![waiting(1, "kill:n4", 1, None)]).await;
    scene.sim.world().nodes[3].pid = None;
    scene.sim.lose_agent(3);
    let outcome = scene.running.await.unwrap();
    assert!(!outcome.done[0].observed && outcome.done[0].healed);
    let reason = scene.sim.reason(1);
    assert!(
        reason.contains("was lost") && reason.contains("may have been struck"),
        "{reason}"
    );
    assert!(scene.sim.world().armed.is_empty());
    let pid = scene.sim.world().nodes[3].pid;
    assert!(pid.is_some(), "it was healed as if it had struck");
}

#[tokio::test]
async fn what_cannot_be_watched_is_refused_before_the_run() {
    let mut unknown = waiting(7, "kill:n4", 1, None);
    let Some(Trigger::Function(entry)) = &mut unknown.trigger else {
        panic!("a function")
    };
    entry.name = "main.rum".to_owned();
    let refused = Executor::prepare(Sim::new(5).setup(), &plan(vec![unknown])).await;
    let error = refused.err().unwrap();
    assert!(error.is_refusal() && matches!(error, PrepareError::Function { id: 7, .. }));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains(RUN), "{source}");

    let mut setup = Sim::new(5).setup();
    setup.can.program = None;
    let faults = plan(vec![waiting(1, "kill:n4", 1, None)]);
    let error = Executor::prepare(setup, &faults).await.err().unwrap();
    assert!(
        error.is_refusal() && error.to_string().contains("functions to watch"),
        "{error}"
    );

    // Nobody is left armed, and nobody else than the node that is meant was.
    let sim = Sim::new(5);
    Executor::prepare(sim.setup(), &faults).await.unwrap();
    assert_eq!(sim.world().trace, ["n4 armed None", "n4 disarmed"]);
}
