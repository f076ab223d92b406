//! Faults that wait for a phase of an operation, on simulated nodes in simulated time.

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;
mod told;

use std::{sync::Arc, time::Duration};

use harness_core::{
    fault::fold,
    meta::{Moment, OperationPhase, Plan, PlannedFault, Trigger},
};
use harness_nemesis::exec::{Executor, Outcome, PhaseEvent, PrepareError};
use support::{Sim, plan, planned};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep},
};
use told::Told;

/// Tells what a test says.
struct Scene {
    sim: Sim,
    told: broadcast::Sender<PhaseEvent>,
    cancel: watch::Sender<bool>,
    running: tokio::task::JoinHandle<Outcome>,
}

fn waiting(
    id: u32,
    what: &str,
    from_s: u64,
    to_s: u64,
    moment: Moment,
    delay_ms: u64,
) -> PlannedFault {
    PlannedFault {
        trigger: Some(Trigger::Phase(OperationPhase {
            f: "join".to_owned(),
            moment,
            delay_ms,
        })),
        ..planned(id, 0, what, from_s, to_s)
    }
}

async fn scene(plan: &Plan) -> Scene {
    let sim = Sim::new(5);
    let told = broadcast::Sender::new(16);
    let mut setup = sim.setup();
    setup.phases = Some(Arc::new(Told::new(told.clone())));
    let executor = Executor::prepare(setup, plan).await;
    let executor = executor.unwrap_or_else(|error| panic!("refused: {error}"));
    let (cancel, cancelled) = watch::channel(false);
    // What is told from here on is heard: operations may begin before the lanes are polled.
    let running = tokio::spawn(async move { executor.run(cancelled).await });
    Scene {
        sim,
        told,
        cancel,
        running,
    }
}

fn event(f: &str, moment: Moment, subject: Option<&str>) -> PhaseEvent {
    PhaseEvent {
        index: 812,
        time_ns: 5,
        moment,
        f: f.into(),
        subject: subject.map(str::to_owned),
    }
}

#[tokio::test(start_paused = true)]
async fn it_strikes_the_subject_so_long_after_the_operation_began() {
    let scene = scene(&plan(vec![waiting(
        1,
        "kill:subject",
        0,
        10,
        Moment::Invoked,
        300,
    )]))
    .await;
    for other in [
        event("remove", Moment::Invoked, Some("n2")),
        event("join", Moment::Completed, Some("n3")),
        event("join", Moment::Invoked, Some("n4")),
        event("join", Moment::Invoked, Some("n5")),
    ] {
        scene.told.send(other).unwrap();
    }
    sleep(Duration::from_millis(299)).await;
    assert!(scene.sim.steps().is_empty(), "too early");
    let began = Instant::now();
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
    let record = fold(&scene.sim.world().lines).remove(0);
    assert_eq!(record.nodes, ["n4"]);
    let triggered = record.triggered.unwrap();
    assert_eq!(triggered.what, "join of n4 invoked (event 812)");
    assert_eq!((triggered.fired_ns, triggered.due_ns), (5, 300_000_005));
    // It is on for as long as the plan says, from when it struck.
    assert!(began.elapsed() >= Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn it_waits_from_its_time_on_and_each_for_an_operation_of_its_own() {
    let scene = scene(&plan(vec![
        waiting(1, "kill:subject", 0, 2, Moment::Completed, 0),
        waiting(2, "pause:subject", 20, 22, Moment::Completed, 0),
    ]))
    .await;
    let done = || event("join", Moment::Completed, Some("n1"));
    scene.told.send(done()).unwrap();
    sleep(Duration::from_secs(10)).await;
    assert_eq!(scene.sim.label(1), "kill subject: n1");
    // Its lane does not listen yet.
    scene.told.send(done()).unwrap_err();
    sleep(Duration::from_secs(20)).await;
    assert!(!scene.sim.steps().contains(&"2 intend".to_owned()));
    scene
        .told
        .send(event("join", Moment::Completed, Some("n2")))
        .unwrap();
    let outcome = scene.running.await.unwrap();
    assert_eq!(outcome.done.len(), 2);
    assert_eq!(scene.sim.label(2), "pause subject: n2");
}

#[tokio::test(start_paused = true)]
async fn what_never_fires_is_in_the_ledger_once() {
    let scene = scene(&plan(vec![
        waiting(1, "kill:subject", 0, 2, Moment::Invoked, 0),
        waiting(2, "kill:subject", 4, 6, Moment::Invoked, 0),
    ]))
    .await;
    sleep(Duration::from_secs(60)).await;
    scene.cancel.send_replace(true);
    let outcome = scene.running.await.unwrap();
    assert!(outcome.done.is_empty());
    assert_eq!(outcome.skipped.len(), 2);
    assert_eq!(scene.sim.steps(), ["1 intend", "1 not-observed"]);
    assert!(
        scene
            .sim
            .reason(1)
            .contains("waited for a join that is invoked"),
        "{}",
        scene.sim.reason(1)
    );
}

#[tokio::test(start_paused = true)]
async fn an_operation_about_no_node_strikes_nobody() {
    let scene = scene(&plan(vec![waiting(
        1,
        "kill:subject",
        0,
        2,
        Moment::Invoked,
        0,
    )]))
    .await;
    scene
        .told
        .send(event("join", Moment::Invoked, None))
        .unwrap();
    let outcome = scene.running.await.unwrap();
    assert!(!outcome.done[0].observed);
    assert!(
        scene.sim.reason(1).contains("about no node"),
        "{}",
        scene.sim.reason(1)
    );
}

#[tokio::test]
async fn without_anybody_to_tell_it_is_refused() {
    let sim = Sim::new(5);
    let plan = plan(vec![waiting(3, "kill:subject", 0, 2, Moment::Invoked, 0)]);
    let refused = Executor::prepare(sim.setup(), &plan).await;
    assert!(matches!(refused, Err(PrepareError::Plan { id: 3, .. })));
}
