//! Faults that wait for logs, files, queries, views and other faults, on simulated nodes in simulated time.

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;
mod told;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use harness_core::{
    fault::{FaultRecord, fold},
    meta::{Moment, Plan, PlannedFault, Trigger},
    trigger::{FaultMoment, FaultStep},
    view::{Member, MemberState, Reading, Source},
};
use harness_lab::{
    Node,
    capability::{
        CapabilityError, Cost, DataFolder, LogFiles, Place, PlaceReading, Query, Sources,
    },
    watch::WatchTarget,
};
use harness_nemesis::{
    exec::{Executor, Outcome, PhaseEvent, PrepareError, Setup},
    plan::parse_trigger,
};
use serde_json::{Value, json};
use support::{Sim, plan, planned};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, sleep},
};
use told::Told;

/// A SIMULATION of what a system says, as a test lets it.
#[derive(Default)]
struct Says {
    /// What SQL gives.
    sql: Option<Value>,
    /// What a GET gives, by node.
    get: Vec<(String, u16, String)>,
    /// Whom the database lists.
    members: Vec<Member>,
    /// Nodes that were asked for SQL.
    asked: Vec<usize>,
}

#[derive(Clone, Default)]
struct Said(Arc<Mutex<Says>>);

impl Said {
    fn change(&self, change: impl FnOnce(&mut Says)) {
        change(&mut self.0.lock().expect("no test panics in it"));
    }
}

impl LogFiles for Said {
    fn log_files(&self, node: &Node) -> Vec<PathBuf> {
        vec![format!("/var/log/{}.log", node.name).into()]
    }
}

impl DataFolder for Said {
    fn data_folder(&self, _node: &Node) -> PathBuf {
        "/data".into()
    }
}

#[async_trait]
impl Query for Said {
    async fn sql(
        &self,
        nodes: &[Node],
        _statement: &str,
        _deadline: Duration,
    ) -> Result<Option<Value>, CapabilityError> {
        let mut says = self.0.lock().expect("no test panics in it");
        says.asked = nodes.iter().map(|node| node.ordinal).collect();
        Ok(says.sql.clone())
    }

    async fn get(
        &self,
        node: &Node,
        _path: &str,
        _deadline: Duration,
    ) -> Result<(u16, Vec<u8>), CapabilityError> {
        let says = self.0.lock().expect("no test panics in it");
        let found = says
            .get
            .iter()
            .find(|(name, ..)| node.name.as_str() == name);
        let answer = found.map_or((500, Vec::new()), |(_, status, body)| {
            (*status, body.clone().into_bytes())
        });
        Ok(answer)
    }
}

#[async_trait]
impl Sources for Said {
    fn places(&self) -> &[Place] {
        &[Place {
            source: Source::Database,
            label: None,
            cost: Cost::Low,
        }]
    }

    async fn read(&self, node: &Node, place: &Place, _deadline: Duration) -> Vec<PlaceReading> {
        let says = self.0.lock().expect("no test panics in it");
        // Only n2 knows anything.
        let members = match node.ordinal {
            1 => says.members.clone(),
            _ => Vec::new(),
        };
        vec![PlaceReading {
            label: place.label,
            reading: Reading::Members(members),
            raft: None,
        }]
    }
}

struct Scene {
    sim: Sim,
    said: Said,
    told: broadcast::Sender<PhaseEvent>,
    cancel: watch::Sender<bool>,
    running: tokio::task::JoinHandle<Outcome>,
}

fn setup(sim: &Sim, said: &Said) -> Setup {
    let mut setup = sim.setup();
    let said = Arc::new(said.clone());
    setup.can.log_files = Some(said.clone());
    setup.can.data = Some(said.clone());
    setup.can.query = Some(said.clone());
    setup.can.sources = Some(said);
    setup
}

async fn scene(plan: &Plan) -> Scene {
    let (sim, said) = (Sim::new(5), Said::default());
    let told = broadcast::Sender::new(16);
    let mut setup = setup(&sim, &said);
    setup.phases = Some(Arc::new(Told::new(told.clone())));
    let executor = Executor::prepare(setup, plan).await;
    let executor = executor.unwrap_or_else(|error| panic!("refused: {error}"));
    let (cancel, cancelled) = watch::channel(false);
    let running = tokio::spawn(async move { executor.run(cancelled).await });
    // The lanes look before the test speaks.
    sleep(Duration::from_millis(5)).await;
    Scene {
        sim,
        said,
        told,
        cancel,
        running,
    }
}

impl Scene {
    async fn record(self, fault: u32) -> FaultRecord {
        let outcome = self.running.await.expect("lanes end");
        assert!(outcome.problems.is_empty(), "{outcome:?}");
        let mut records = fold(&self.sim.world().lines);
        let at = records.iter().position(|record| record.id == fault);
        records.remove(at.expect("the fault is in the ledger"))
    }

    fn is_quiet(&self) -> bool {
        self.sim.steps().is_empty()
    }
}

fn waiting(id: u32, lane: u32, what: &str, trigger: &str) -> PlannedFault {
    let trigger = parse_trigger(trigger).unwrap_or_else(|error| panic!("{error}"));
    PlannedFault {
        trigger: trigger.with_delay(0),
        ..planned(id, lane, what, 0, 10)
    }
}

fn with(lane: u32, step: FaultMoment, delay_ms: u64) -> FaultStep {
    FaultStep {
        lane,
        name: "cut".to_owned(),
        step,
        delay_ms,
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_of_a_log_strikes_the_node_that_wrote_it() {
    let plan = plan(vec![waiting(1, 0, "kill:subject", "log=lost [a-z]+#2")]);
    let scene = scene(&plan).await;
    let asked = scene.sim.watches();
    assert_eq!(asked.len(), 5, "each node's log is followed");
    let (at, request) = &asked[3];
    let paths = vec!["/var/log/n4.log".to_owned()];
    let pattern = "lost [a-z]+".to_owned();
    assert_eq!((*at, request.nth), (3, 2));
    assert_eq!(request.what, WatchTarget::Log { paths, pattern });
    sleep(Duration::from_secs(3)).await;
    assert!(scene.is_quiet(), "too early");
    scene.sim.sees(3, "/var/log/n4.log", "n4 lost leadership");
    let sim = scene.sim.clone();
    let record = scene.record(1).await;
    assert_eq!(record.nodes, ["n4"]);
    assert!(record.took_hold() && !record.is_open());
    let triggered = record
        .triggered
        .as_ref()
        .expect("it says what it waited for");
    assert_eq!(
        triggered.what,
        "\"n4 lost leadership\" in /var/log/n4.log of n4"
    );
    assert!(triggered.bound_ns.is_some() && record.late_ns().is_some());
    assert!(sim.watches().is_empty(), "nothing is watched any more");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_lost_begins_again() {
    let plan = plan(vec![waiting(1, 0, "kill:n1", "file:n2=created:snapshot-*")]);
    let scene = scene(&plan).await;
    let glob = "/data/snapshot-*".to_owned();
    let event = harness_core::trigger::FileEvent::Created;
    let [(1, request)] = &scene.sim.watches()[..] else {
        panic!("only n2 is watched")
    };
    assert_eq!(request.what, WatchTarget::File { glob, event });
    scene.sim.loses_watches();
    sleep(Duration::from_secs(1)).await;
    assert!(scene.is_quiet());
    scene.sim.sees(1, "/data/snapshot-1", "");
    let record = scene.record(1).await;
    assert_eq!(record.nodes, ["n1"]);
    let what = record.triggered.expect("it waited").what;
    assert_eq!(what, "/data/snapshot-1 created on n2");
}

#[tokio::test(start_paused = true)]
async fn a_query_strikes_once_it_holds() {
    let plan = plan(vec![waiting(
        1,
        0,
        "kill:n3",
        "query=sql:SELECT count(*) FROM t",
    )]);
    let scene = scene(&plan).await;
    for value in [None, Some(json!(0)), Some(Value::Null), Some(json!(""))] {
        scene.said.change(|says| says.sql = value);
        sleep(Duration::from_secs(1)).await;
        assert!(scene.is_quiet(), "it does not hold");
    }
    scene.said.change(|says| says.sql = Some(json!(3)));
    sleep(Duration::from_millis(200)).await;
    scene
        .said
        .change(|says| assert_eq!(says.asked, [0, 1, 2, 3, 4]));
    let record = scene.record(1).await;
    let triggered = record.triggered.expect("it waited");
    assert_eq!(triggered.what, "\"SELECT count(*) FROM t\" gave 3");
    assert!(
        triggered.bound_ns.is_some(),
        "it began since the answer before"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_strikes_the_node_that_gave_it() {
    let plan = plan(vec![waiting(
        1,
        0,
        "pause:subject",
        "query=http:/leader~n[0-9]",
    )]);
    let scene = scene(&plan).await;
    let answer = |status, body: &str| vec![("n5".to_owned(), status, body.to_owned())];
    for wrong in [answer(200, "none"), answer(503, "n1")] {
        scene.said.change(|says| says.get = wrong);
        sleep(Duration::from_secs(1)).await;
        assert!(scene.is_quiet());
    }
    scene
        .said
        .change(|says| says.get = answer(200, "it is n1 now"));
    let record = scene.record(1).await;
    assert_eq!(record.nodes, ["n5"]);
    let what = record.triggered.expect("it waited").what;
    assert_eq!(what, "/leader of n5 answered 200 \"n1\"");
}

#[tokio::test(start_paused = true)]
async fn a_view_strikes_when_a_source_shows_the_member() {
    let plan = plan(vec![waiting(
        1,
        0,
        "kill:subject",
        "view=database:n4:pending",
    )]);
    let scene = scene(&plan).await;
    let member = |state| Member {
        name: Some("n4".to_owned()),
        state: Some(state),
        ..Member::default()
    };
    scene
        .said
        .change(|says| says.members = vec![member(MemberState::Active)]);
    sleep(Duration::from_secs(1)).await;
    assert!(scene.is_quiet(), "it is not pending");
    scene
        .said
        .change(|says| says.members = vec![member(MemberState::Pending)]);
    let record = scene.record(1).await;
    assert_eq!(record.nodes, ["n4"]);
    let what = record.triggered.expect("it waited").what;
    assert_eq!(what, "database of n2 shows n4 pending");
}

#[tokio::test(start_paused = true)]
async fn what_is_absent_is_told_by_lists_that_have_somebody() {
    let plan = plan(vec![waiting(1, 0, "kill:n1", "view=database:n4:absent")]);
    let scene = scene(&plan).await;
    sleep(Duration::from_secs(1)).await;
    assert!(scene.is_quiet(), "who lists nobody is in no cluster");
    let other = Member {
        address: Some("10.77.0.12:9000".to_owned()),
        ..Member::default()
    };
    scene.said.change(|says| says.members = vec![other]);
    assert!(scene.record(1).await.took_hold());
}

#[tokio::test(start_paused = true)]
async fn after_an_operation_it_is_watched_on_its_node_while_it_goes_on() {
    let plan = plan(vec![waiting(1, 0, "kill:subject", "join/log=x")]);
    let scene = scene(&plan).await;
    assert!(scene.sim.watches().is_empty(), "nobody joins yet");
    let phase = |moment, subject: &str| PhaseEvent {
        index: 7,
        time_ns: 5,
        moment,
        f: "join".into(),
        subject: Some(subject.to_owned()),
    };
    scene.told.send(phase(Moment::Invoked, "n4")).unwrap();
    sleep(Duration::from_secs(1)).await;
    let at: Vec<usize> = scene.sim.watches().iter().map(|(at, _)| *at).collect();
    assert_eq!(at, [3]);
    scene.told.send(phase(Moment::Completed, "n4")).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(scene.sim.watches().is_empty(), "that join is over");
    scene.told.send(phase(Moment::Invoked, "n5")).unwrap();
    sleep(Duration::from_secs(1)).await;
    scene.sim.sees(4, "a", "x");
    let record = scene.record(1).await;
    assert_eq!(record.nodes, ["n5"]);
    let what = record.triggered.expect("it waited").what;
    assert_eq!(what, "join of n5 invoked (event 7), then \"x\" in a of n5");
}

#[tokio::test(start_paused = true)]
async fn what_is_never_seen_is_in_the_ledger() {
    for trigger in [
        "log=x",
        "file=removed:x",
        "query=sql:SELECT 0",
        "query=http:/x",
        "view=database:n4:voter",
        "join/log=x",
    ] {
        let scene = scene(&plan(vec![waiting(1, 0, "kill:n1", trigger)])).await;
        sleep(Duration::from_secs(60)).await;
        scene.cancel.send_replace(true);
        let sim = scene.sim.clone();
        let record = scene.record(1).await;
        assert!(!record.took_hold(), "{trigger}");
        assert!(
            sim.reason(1).contains("never fired"),
            "{trigger}: {}",
            sim.reason(1)
        );
    }
    let step = PlannedFault {
        trigger: Some(Trigger::Fault(with(7, FaultMoment::Observed, 0))),
        ..planned(1, 0, "kill:n1", 0, 10)
    };
    let scene = scene(&plan(vec![step])).await;
    scene.cancel.send_replace(true);
    let sim = scene.sim.clone();
    scene.record(1).await;
    assert!(sim.reason(1).contains("a fault of lane cut to be observed"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_watched_is_refused() {
    let sim = Sim::new(5);
    for trigger in [
        "log=x",
        "file=created:x",
        "query=http:/x",
        "view=raft:n1:voter",
    ] {
        let plan = plan(vec![waiting(1, 0, "kill:n1", trigger)]);
        let mut setup = sim.setup();
        setup.can.data = None;
        let refused = Executor::prepare(setup, &plan).await.map(drop);
        let refused = refused.expect_err(trigger);
        assert!(matches!(refused, PrepareError::Missing { .. }), "{refused}");
        assert!(refused.is_refusal());
    }
    let said = Said::default();
    let raft = plan(vec![waiting(3, 0, "kill:n1", "view=raft:n1:voter")]);
    let refused = Executor::prepare(setup(&sim, &said), &raft).await.map(drop);
    let refused = refused.expect_err("no raft here").to_string();
    assert!(refused.contains("there are database"), "{refused}");
    sim.refuses_watches("raise fs.inotify.max_user_watches");
    let log = plan(vec![waiting(3, 0, "kill:n1", "log=x")]);
    let refused = Executor::prepare(setup(&sim, &said), &log).await.map(drop);
    let refused = refused.expect_err("no watch here");
    assert!(refused.is_refusal() && refused.to_string().contains("cannot wait for"));
}

#[tokio::test(start_paused = true)]
async fn a_fault_begins_and_ends_with_another() {
    let cut = PlannedFault {
        until: Some(with(1, FaultMoment::Observed, 4_000)),
        ..planned(1, 0, "partition:n1", 5, 60)
    };
    let kill = PlannedFault {
        trigger: Some(Trigger::Fault(with(0, FaultMoment::Observed, 2_000))),
        until: Some(with(0, FaultMoment::Healed, 3_000)),
        ..planned(2, 1, "kill:subject", 0, 50)
    };
    let began = Instant::now();
    let scene = scene(&plan(vec![cut, kill])).await;
    let sim = scene.sim.clone();
    let record = scene.record(2).await;
    assert_eq!(record.nodes, ["n1"], "the other one's node");
    let what = record.triggered.expect("it waited").what;
    assert_eq!(what, "fault 1 (partition: n1 | n2 n3 n4 n5) observed");
    let steps = sim.steps();
    let at = |step: &str| steps.iter().position(|other| other == step);
    assert!(at("1 observed") < at("2 intend"), "{steps:?}");
    assert!(at("2 observed") < at("1 heal-asked"), "{steps:?}");
    assert!(at("1 healed") < at("2 heal-asked"), "{steps:?}");
    // 5 s, then 2 s, 4 s and 3 s one after the other; not the 60 s that it might have been.
    let took = began.elapsed();
    assert!((14..20).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn another_member_is_struck_than_the_one_that_is() {
    let first = planned(1, 0, "stop:n3", 1, 20);
    let second = PlannedFault {
        trigger: Some(Trigger::Fault(with(0, FaultMoment::Asked, 100))),
        order: vec![2, 4, 0, 1, 3],
        ..planned(2, 1, "stop:other", 0, 10)
    };
    let record = scene(&plan(vec![first, second])).await.record(2).await;
    assert_eq!(
        record.nodes,
        ["n5"],
        "n3 comes first, and is struck already"
    );
    let all = planned(1, 0, "kill:all", 1, 20);
    let other = planned(2, 1, "stop:other", 2, 10);
    let scene = scene(&plan(vec![all, other])).await;
    let sim = scene.sim.clone();
    assert!(!scene.record(2).await.took_hold());
    assert!(sim.reason(2).contains("every member already"));
}
