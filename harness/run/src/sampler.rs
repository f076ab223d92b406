//! The sampler: reads every place where membership is kept, on every node, again and again, into `views.jsonl`.
//!
//! 1. Each reading of a place on a node is a task of its own with a deadline: a slow or dead node delays nobody else's.
//! 2. A place that is still being read from an earlier round is left out of the next.
//! 3. Readings of one round share its number, and carry start and end on the run's clock.
//! 4. A **complete round** reads every place, costly ones too, waits for those that are being read first, and has ended once each
//!    of its readings is handed to the writer.
//! 5. What was read is in the file at most [`FLUSH_INTERVAL`] later. The queue to the writer is bounded: if the disk does not
//!    keep up, places stay busy and rounds get thinner, and nothing is lost.
//! 6. What goes wrong with reading is a view that says so; what goes wrong with writing is a failure of the harness.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::{Arc, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use harness_core::view::{self, Member, Reading, Source, UnreadKind, View};
use harness_lab::{
    Node,
    capability::{Cost, Place, PlaceReading, Sources},
};
use thiserror::Error;
use tokio::{
    sync::{Mutex, OwnedMutexGuard, mpsc, oneshot},
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval, timeout},
};

pub use harness_workloads::systems::sampling::COSTLY_ONE_IN;

use crate::{clock::RunClock, worker::panic_text};

/// How long one reading may take.
pub const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// How much longer a reader that does not keep to its deadline is waited for.
const READ_GRACE: Duration = Duration::from_secs(1);
/// How long a view may wait in memory before it is written.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Views that may wait for the writer.
const QUEUE_LIMIT: usize = 4096;
/// A buffer of this size is written at once, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;
/// Complete rounds that may wait for their turn.
const REQUEST_LIMIT: usize = 8;

/// Why views are not recorded.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum SampleError {
    /// The file, or the thread that writes it, cannot be made.
    #[error("create {path}: {detail}")]
    Create {
        /// The file's path.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// Views were lost.
    #[error("write the views: {0}")]
    Write(String),
    /// A reader panicked: its views are missing.
    #[error("reading a place where membership is kept panicked: {0}")]
    Panicked(String),
    /// The sampler is gone.
    #[error("the sampler ended early: {0}")]
    Gone(String),
}

/// What to sample, and how.
pub struct Sampling {
    /// The nodes of the lab.
    pub nodes: Vec<Node>,
    /// The places.
    pub sources: Arc<dyn Sources>,
    /// Between the starts of two rounds.
    pub interval: Duration,
    /// How long one reading may take.
    pub read_timeout: Duration,
    /// The run's.
    pub clock: RunClock,
}

/// A sampler at work.
pub struct Sampler {
    changes: Arc<Changes>,
    requests: mpsc::Sender<oneshot::Sender<()>>,
    rounds: tokio::task::JoinHandle<Option<String>>,
    views: mpsc::Sender<View>,
    writer: JoinHandle<Result<u64, SampleError>>,
}

impl Sampler {
    /// Makes the file with its first line, and begins the first round.
    ///
    /// # Errors
    /// If the file or the writer's thread cannot be made.
    pub fn start(path: &Path, sampling: Sampling) -> Result<Self, SampleError> {
        let failed = |error: std::io::Error| SampleError::Create {
            path: path.display().to_string(),
            detail: error.to_string(),
        };
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(failed)?;
        file.write_all(view::encode_header().as_bytes())
            .map_err(failed)?;
        let (views, queue) = mpsc::channel(QUEUE_LIMIT);
        let runtime = tokio::runtime::Handle::current();
        let writer = std::thread::Builder::new()
            .name("views".to_owned())
            .spawn(move || runtime.block_on(write_all(file, queue)))
            .map_err(failed)?;
        let (requests, asked) = mpsc::channel(REQUEST_LIMIT);
        let changes = Arc::new(Changes::default());
        let rounds = Rounds::new(sampling, views.clone(), Arc::clone(&changes));
        Ok(Self {
            changes,
            requests,
            rounds: tokio::spawn(rounds.run(asked)),
            views,
            writer,
        })
    }

    /// Takes a complete round now and waits for it.
    ///
    /// # Errors
    /// If the sampler is gone.
    pub async fn complete_round(&self) -> Result<(), SampleError> {
        let gone = || SampleError::Gone("nobody takes rounds any more".to_owned());
        let (done, ended) = oneshot::channel();
        self.requests.send(done).await.map_err(|_| gone())?;
        ended.await.map_err(|_| gone())
    }

    /// What every place said last, kept up to date.
    pub(crate) fn said(&self) -> Arc<Changes> {
        Arc::clone(&self.changes)
    }

    /// How long no place has said anything else than before; why one cannot be read counts, the words for it do not.
    #[must_use]
    pub fn unchanged_for(&self) -> Duration {
        self.changes.lock().since.elapsed()
    }

    /// Ends the rounds, and writes what is left to the disk. Gives the number of views.
    ///
    /// # Errors
    /// If views were lost, or a part of the sampler panicked.
    pub async fn finish(self) -> Result<u64, SampleError> {
        drop(self.requests);
        let ended = self.rounds.await;
        drop(self.views);
        let writer = self.writer;
        let written = tokio::task::spawn_blocking(move || writer.join()).await;
        let panicked = ended.map_err(|error| SampleError::Gone(error.to_string()))?;
        if let Some(panicked) = panicked {
            return Err(SampleError::Panicked(panicked));
        }
        match written {
            Ok(Ok(written)) => written,
            _ => Err(SampleError::Gone("the writer panicked".to_owned())),
        }
    }
}

/// What a place says, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    Members(Vec<Member>),
    Unread(UnreadKind),
}

/// A place on a node: node, source, label.
type Key = (Arc<str>, &'static str, Option<Arc<str>>);

/// When what is read last differed from what was read before.
struct Seen {
    last: HashMap<Key, Says>,
    since: Instant,
}

/// What every place said last.
pub(crate) struct Changes(std::sync::Mutex<Seen>);

impl Default for Changes {
    fn default() -> Self {
        Self(std::sync::Mutex::new(Seen {
            last: HashMap::new(),
            since: Instant::now(),
        }))
    }
}

impl Changes {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many members each source has now, least and most of the places that have any: nodes outside of the cluster have none.
    pub(crate) fn members(&self) -> Vec<(&'static str, usize, usize)> {
        let seen = self.lock();
        let of = |source: Source| {
            let counts = seen.last.iter().filter_map(|((_, name, _), says)| {
                let Says::Members(members) = says else {
                    return None;
                };
                (*name == source.as_str() && !members.is_empty()).then_some(members.len())
            });
            let counts: Vec<usize> = counts.collect();
            Some((
                source.as_str(),
                *counts.iter().min()?,
                *counts.iter().max()?,
            ))
        };
        Source::ALL.into_iter().filter_map(of).collect()
    }

    fn note(&self, view: &View) {
        // Older configurations in a log are no word of what is now.
        if view.label.as_deref() == Some(view::LOG) {
            return;
        }
        let says = match &view.reading {
            Reading::Members(members) => {
                let mut members = members.clone();
                members.sort_unstable();
                Says::Members(members)
            }
            Reading::Unread { kind, .. } => Says::Unread(*kind),
        };
        let key = (
            Arc::clone(&view.node),
            view.source.as_str(),
            view.label.clone(),
        );
        let mut seen = self.lock();
        if seen.last.get(&key) != Some(&says) {
            seen.last.insert(key, says);
            seen.since = Instant::now();
        }
    }
}

/// One place on one node.
struct Slot {
    node: Node,
    place: Place,
    /// Held while it is read.
    busy: Arc<Mutex<()>>,
}

struct Rounds {
    slots: Vec<Slot>,
    sampling: Sampling,
    views: mpsc::Sender<View>,
    changes: Arc<Changes>,
    round: u64,
    reading: JoinSet<()>,
    /// The first panic of a reader.
    panicked: Option<String>,
}

impl Rounds {
    fn new(sampling: Sampling, views: mpsc::Sender<View>, changes: Arc<Changes>) -> Self {
        let places = sampling.sources.places().to_vec();
        let slot = |node: &Node, place: &Place| Slot {
            node: node.clone(),
            place: *place,
            busy: Arc::default(),
        };
        let slots = sampling
            .nodes
            .iter()
            .flat_map(|node| places.iter().map(move |place| slot(node, place)))
            .collect();
        Self {
            slots,
            sampling,
            views,
            changes,
            round: 0,
            reading: JoinSet::new(),
            panicked: None,
        }
    }

    async fn run(mut self, mut asked: mpsc::Receiver<oneshot::Sender<()>>) -> Option<String> {
        let mut tick = interval(self.sampling.interval);
        // After a stall, rounds go on at their pace: what was missed is missed.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                request = asked.recv() => match request {
                    Some(done) => self.complete(done),
                    None => break,
                },
                _ = tick.tick() => self.usual(),
                Some(ended) = self.reading.join_next() => self.look(ended),
            }
        }
        while let Some(ended) = self.reading.join_next().await {
            self.look(ended);
        }
        self.panicked
    }

    fn look(&mut self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            let text = panic_text(&*error.into_panic());
            self.panicked.get_or_insert(text);
        }
    }

    fn next_round(&mut self) -> u64 {
        let round = self.round;
        self.round += 1;
        round
    }

    fn usual(&mut self) {
        let round = self.next_round();
        let costly = round.is_multiple_of(COSTLY_ONE_IN);
        for slot in &self.slots {
            if slot.place.cost == Cost::High && !costly {
                continue;
            }
            if let Ok(held) = Arc::clone(&slot.busy).try_lock_owned() {
                let read = self.read(slot, round);
                self.reading.spawn(read.hold(held));
            }
        }
    }

    fn complete(&mut self, done: oneshot::Sender<()>) {
        let round = self.next_round();
        let mut all = JoinSet::new();
        for slot in &self.slots {
            let busy = Arc::clone(&slot.busy);
            let read = self.read(slot, round);
            all.spawn(async move {
                let held = busy.lock_owned().await;
                read.hold(held).await;
            });
        }
        self.reading.spawn(async move {
            while let Some(ended) = all.join_next().await {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
            // Whoever asked may have gone meanwhile.
            let _ = done.send(());
        });
    }

    fn read(&self, slot: &Slot, round: u64) -> Read {
        Read {
            node: slot.node.clone(),
            place: slot.place,
            round,
            sources: Arc::clone(&self.sampling.sources),
            deadline: self.sampling.read_timeout,
            clock: self.sampling.clock,
            views: self.views.clone(),
            changes: Arc::clone(&self.changes),
        }
    }
}

/// One reading.
struct Read {
    node: Node,
    place: Place,
    round: u64,
    sources: Arc<dyn Sources>,
    deadline: Duration,
    clock: RunClock,
    views: mpsc::Sender<View>,
    changes: Arc<Changes>,
}

impl Read {
    async fn hold(self, held: OwnedMutexGuard<()>) {
        let start_ns = self.clock.now_ns();
        let reading = self.sources.read(&self.node, &self.place, self.deadline);
        let read = timeout(self.deadline + READ_GRACE, reading).await;
        let end_ns = self.clock.now_ns();
        let readings = read.unwrap_or_else(|_| {
            vec![PlaceReading {
                label: self.place.label,
                reading: Reading::Unread {
                    kind: UnreadKind::Timeout,
                    message: format!("no answer within {:?}", self.deadline + READ_GRACE),
                },
                raft: None,
            }]
        });
        for reading in readings {
            let view = View {
                sample: self.round,
                source: self.place.source,
                label: reading.label.map(Arc::from),
                node: Arc::from(self.node.name.as_str()),
                start_ns,
                end_ns,
                reading: reading.reading,
                raft: reading.raft,
            };
            self.changes.note(&view);
            // A writer that is gone has said why.
            let _ = self.views.send(view).await;
        }
        drop(held);
    }
}

/// Writes until nobody sends any more. It goes on taking views after a failure: readers must not wait for ever.
async fn write_all(mut file: File, mut queue: mpsc::Receiver<View>) -> Result<u64, SampleError> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES * 2);
    let mut count = 0;
    let mut failure = None;
    let mut flush = interval(FLUSH_INTERVAL);
    let mut write = |file: &mut File, chunk: &mut Vec<u8>| {
        if let Err(error) = file.write_all(chunk) {
            failure.get_or_insert_with(|| SampleError::Write(error.to_string()));
        }
        chunk.clear();
    };
    loop {
        tokio::select! {
            view = queue.recv() => match view {
                Some(view) => {
                    view::encode_view(&view, &mut chunk);
                    count += 1;
                    if chunk.len() >= CHUNK_BYTES {
                        write(&mut file, &mut chunk);
                    }
                }
                None => break,
            },
            _ = flush.tick() => write(&mut file, &mut chunk),
        }
    }
    write(&mut file, &mut chunk);
    let synced = file.sync_all();
    match (failure, synced) {
        (Some(failure), _) => Err(failure),
        (None, Err(error)) => Err(SampleError::Write(error.to_string())),
        (None, Ok(())) => Ok(count),
    }
}
