//! The sampler on readers that are made up: slow, dead, costly, and one that panics.
#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong in a helper ends the test, as it should"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use harness_core::view::{self, Member, Reading, Source, UnreadKind, View};
use harness_lab::{
    Node,
    capability::{Cost, Place, PlaceReading, Sources},
};
use harness_run::{
    clock::RunClock,
    sampler::{COSTLY_ONE_IN, SampleError, Sampler, Sampling},
};
use tokio::time::sleep;

const INTERVAL: Duration = Duration::from_millis(20);

const PLACES: [Place; 2] = [
    Place {
        source: Source::Raft,
        label: Some("socket"),
        cost: Cost::Low,
    },
    Place {
        source: Source::Cache,
        label: Some("list"),
        cost: Cost::High,
    },
];

/// How reading on a node goes.
#[derive(Clone, Copy)]
enum Mood {
    Well,
    Slow(Duration),
    Dead,
    Panicking,
}

struct Made {
    moods: BTreeMap<String, Mood>,
    reading: Mutex<BTreeMap<String, usize>>,
    /// The most readings of one place on one node at a time.
    most: AtomicUsize,
}

impl Made {
    fn new(moods: &[(&str, Mood)]) -> Arc<Self> {
        Arc::new(Self {
            moods: moods
                .iter()
                .map(|(name, mood)| ((*name).to_owned(), *mood))
                .collect(),
            reading: Mutex::default(),
            most: AtomicUsize::new(0),
        })
    }
}

#[async_trait]
impl Sources for Made {
    fn places(&self) -> &[Place] {
        &PLACES
    }

    async fn read(&self, node: &Node, place: &Place, _deadline: Duration) -> Vec<PlaceReading> {
        let key = format!("{} {}", node.name, place.source);
        let now = {
            let mut reading = self.reading.lock().unwrap();
            let count = reading.entry(key.clone()).or_default();
            *count += 1;
            *count
        };
        self.most.fetch_max(now, Ordering::SeqCst);
        match self.moods.get(node.name.as_str()) {
            Some(Mood::Slow(time)) => sleep(*time).await,
            // Does not keep to its deadline either.
            Some(Mood::Dead) => std::future::pending().await,
            Some(Mood::Panicking) => panic!("a reader's own fault"),
            Some(Mood::Well) | None => {}
        }
        *self.reading.lock().unwrap().get_mut(&key).unwrap() -= 1;
        vec![PlaceReading {
            label: place.label,
            reading: Reading::Members(vec![Member {
                name: Some("n1".to_owned()),
                ..Member::default()
            }]),
            raft: None,
        }]
    }
}

fn start(path: &Path, sources: Arc<Made>, read_timeout: Duration) -> Sampler {
    let sampling = Sampling {
        nodes: harness_workloads::sim::nodes(3),
        sources,
        interval: INTERVAL,
        read_timeout,
        clock: RunClock::start(),
    };
    Sampler::start(path, sampling).unwrap()
}

fn views(path: &Path) -> Vec<View> {
    let (views, remarks) = view::decode(&std::fs::read(path).unwrap()).unwrap();
    assert!(remarks.is_empty());
    views
}

fn of<'a>(views: &'a [View], node: &'a str, source: Source) -> impl Iterator<Item = &'a View> {
    views
        .iter()
        .filter(move |view| &*view.node == node && view.source == source)
}

/// Waits until the file has that many views of a place: rounds come at their own pace.
async fn until(path: &Path, node: &str, source: Source, count: usize) {
    let enough = async {
        // The last line may be half written at any moment.
        let so_far = || view::decode(&std::fs::read(path).unwrap()).unwrap().0;
        while of(&so_far(), node, source).count() < count {
            sleep(INTERVAL).await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, enough)
        .await
        .expect("views in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_and_a_dead_node_delay_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.jsonl");
    let slow = Duration::from_millis(700);
    let made = Made::new(&[("sim2", Mood::Slow(slow)), ("sim3", Mood::Dead)]);
    let sampler = start(&path, Arc::clone(&made), Duration::from_secs(1));
    until(&path, "sim3", Source::Raft, 1).await;
    sampler.finish().await.unwrap();
    let all = views(&path);
    let well = of(&all, "sim1", Source::Raft).count();
    let slow = of(&all, "sim2", Source::Raft).count();
    // The dead one took its deadline and the grace; the slow one was read again and again meanwhile, the other in each round.
    assert!(slow >= 2 && well > 4 * slow, "{well} well, {slow} slow");
    for dead in of(&all, "sim3", Source::Raft) {
        let Reading::Unread { kind, .. } = &dead.reading else {
            panic!("{dead:?}");
        };
        assert_eq!(*kind, UnreadKind::Timeout);
        assert!(dead.end_ns - dead.start_ns >= 1_000_000_000);
    }
    // A place that is busy is left out, never read twice at once.
    assert_eq!(
        of(&all, "sim2", Source::Raft)
            .filter(|view| view.sample == 1)
            .count(),
        0
    );
    let rounds: BTreeSet<u64> = of(&all, "sim1", Source::Raft)
        .map(|view| view.sample)
        .collect();
    assert_eq!(rounds.len(), well, "one reading a round");
    assert!(all.iter().all(|view| view.start_ns <= view.end_ns));
}

#[tokio::test(flavor = "multi_thread")]
async fn costly_places_are_read_less_often_but_in_every_complete_round() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.jsonl");
    let made = Made::new(&[("sim2", Mood::Slow(Duration::from_millis(150)))]);
    let sampler = start(&path, Arc::clone(&made), Duration::from_secs(5));
    let path = &path;
    until(path, "sim1", Source::Raft, 12).await;
    sampler.complete_round().await.unwrap();
    sampler.complete_round().await.unwrap();
    let views_before_end = sampler.finish().await.unwrap();
    let all = views(path);
    assert_eq!(all.len() as u64, views_before_end);
    // Rounds in which each of three nodes has both places: the complete ones, and perhaps those whose turn it was.
    let mut by_round: BTreeMap<u64, BTreeSet<(Arc<str>, Source)>> = BTreeMap::new();
    for view in &all {
        let places = by_round.entry(view.sample).or_default();
        assert!(
            places.insert((view.node.clone(), view.source)),
            "twice in a round"
        );
    }
    let complete: Vec<u64> = by_round
        .iter()
        .filter(|(round, places)| places.len() == 6 && *round % COSTLY_ONE_IN != 0)
        .map(|(round, _)| *round)
        .collect();
    let in_turn = by_round.keys().filter(|round| *round % COSTLY_ONE_IN == 0);
    assert!(complete.len() + in_turn.count() >= 2, "{complete:?}");
    for (round, places) in &by_round {
        let costly = places.iter().any(|(_, source)| *source == Source::Cache);
        let whole = places.len() == 6;
        assert!(
            !costly || whole || round % COSTLY_ONE_IN == 0,
            "round {round}"
        );
    }
    assert_eq!(made.most.load(Ordering::SeqCst), 1, "never twice at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_round_has_ended_when_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.jsonl");
    let made = Made::new(&[("sim2", Mood::Slow(Duration::from_millis(300)))]);
    let sampling = Sampling {
        nodes: harness_workloads::sim::nodes(3),
        sources: made,
        // Nothing but what is asked for, after the first round.
        interval: Duration::from_secs(3600),
        read_timeout: Duration::from_secs(5),
        clock: RunClock::start(),
    };
    let sampler = Sampler::start(&path, sampling).unwrap();
    let asked = std::time::Instant::now();
    sampler.complete_round().await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(300));
    sampler.finish().await.unwrap();
    let all = views(&path);
    for node in ["sim1", "sim2", "sim3"] {
        for source in [Source::Raft, Source::Cache] {
            assert!(of(&all, node, source).count() >= 1, "{source} of {node}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_wrong_with_us_is_our_failure() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("views.jsonl");
    let made = Made::new(&[("sim1", Mood::Well), ("sim2", Mood::Panicking)]);
    let sampler = start(&path, made, Duration::from_secs(1));
    until(&path, "sim1", Source::Raft, 2).await;
    let ended = sampler.finish().await;
    assert!(matches!(ended, Err(SampleError::Panicked(_))), "{ended:?}");
    assert_eq!(of(&views(&path), "sim2", Source::Raft).count(), 0);
    // The file is there already.
    let made = Made::new(&[]);
    let sampling = Sampling {
        nodes: Vec::new(),
        sources: made,
        interval: INTERVAL,
        read_timeout: INTERVAL,
        clock: RunClock::start(),
    };
    assert!(matches!(
        Sampler::start(&path, sampling),
        Err(SampleError::Create { .. })
    ));
}
