//! The recorder: gives events their index and time, and appends them to `history.jsonl`.
//!
//! 1. One lock orders everything: indices have no gaps, and times never decrease with the index.
//! 2. A time is only ever moved to later. An invocation is recorded before it is handed on and a completion after
//!    it came back, so an operation's interval can only become wider, never narrower than it was.
//! 3. What is recorded is in the file at most [`WRITE_INTERVAL`] later, whatever happens to this process after
//!    that; it is on the disk (fsync) when [`Recorder::finish`] returns.
//! 4. Memory is two buffers: one that fills, one that is being written. Whoever generates operations asks
//!    [`Recorder::is_backed_up`] and waits. Joins and removes, which are few, are kept as well ([`Recorder::changes`]).

use std::{
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use harness_core::{
    event::{Event, EventType, Process},
    history, membership,
    meta::Moment,
};
use harness_nemesis::exec::{Held, Hold, NemesisEvent, NemesisLog, PhaseEvent, Phases};
use thiserror::Error;
use tokio::sync::broadcast;

use crate::clock::RunClock;

/// How long an event may wait in memory before it is written.
pub const WRITE_INTERVAL: Duration = Duration::from_millis(500);
/// A buffer of this size is written at once, in bytes.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// From this size on, nothing more should be generated, in bytes.
pub const BACKLOG_BYTES: usize = 8 * 1024 * 1024;

/// Phases of operations that a slow reader may be behind; older ones are lost to it.
const PHASES_KEPT: usize = 4096;

/// Why a history cannot be written.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file cannot be made.
    #[error("create {path}: {detail}")]
    Create {
        /// Its path.
        path: String,
        /// What the system said.
        detail: String,
    },
    /// A write or an fsync failed: events were lost.
    #[error("write the history: {detail}")]
    Write {
        /// What the system said.
        detail: String,
    },
    /// The writer is gone.
    #[error("the history's writer panicked")]
    Panicked,
}

/// What was recorded in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Events.
    pub events: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    next_index: u64,
    last_ns: u64,
    next_process: u64,
    changes: Vec<Event>,
    holds: Vec<(String, Held)>,
    closed: bool,
    bytes: u64,
    failure: Option<RecordError>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    clock: RunClock,
    phases: broadcast::Sender<PhaseEvent>,
}

impl Shared {
    /// Tells whoever waits for a phase of an operation. Costs nothing while nobody does.
    fn tell(&self, event: &Event) {
        if event.process == Process::Nemesis || self.phases.receiver_count() == 0 {
            return;
        }
        let moment = match event.event_type {
            EventType::Invoke => Moment::Invoked,
            _ => Moment::Completed,
        };
        let subject = event
            .value
            .get("member")
            .and_then(serde_json::Value::as_str);
        // Nobody may be left to hear it.
        let _ = self.phases.send(PhaseEvent {
            index: event.index,
            time_ns: event.time_ns,
            moment,
            f: Arc::clone(&event.f),
            subject: subject.map(str::to_owned),
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the writer when nobody can record any more.
#[derive(Debug)]
struct Closing {
    shared: Arc<Shared>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Closing {
    fn close(&self) -> Result<(), RecordError> {
        self.shared.lock().closed = true;
        self.shared.wake.notify_all();
        let writer = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match writer.map(JoinHandle::join) {
            Some(Err(_)) => Err(RecordError::Panicked),
            Some(Ok(())) | None => Ok(()),
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        let _ = self.close();
    }
}

/// A handle to the recorder; clones write to the same history.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    closing: Arc<Closing>,
}

impl Recorder {
    /// Makes the file, which must not be there yet, and writes its first line.
    ///
    /// # Errors
    /// If the file or the writer's thread cannot be made.
    pub fn create(path: &Path, clock: RunClock) -> Result<Self, RecordError> {
        let failed = |error: std::io::Error| RecordError::Create {
            path: path.display().to_string(),
            detail: error.to_string(),
        };
        let mut file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(failed)?;
        let header = history::encode_header();
        file.write_all(header.as_bytes()).map_err(failed)?;
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                bytes: header.len() as u64,
                ..State::default()
            }),
            wake: Condvar::new(),
            clock,
            phases: broadcast::Sender::new(PHASES_KEPT),
        });
        let theirs = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("history".to_owned())
            .spawn(move || write_all(&theirs, file))
            .map_err(failed)?;
        let closing = Arc::new(Closing {
            shared: Arc::clone(&shared),
            writer: Mutex::new(Some(writer)),
        });
        Ok(Self { shared, closing })
    }

    /// The run's clock.
    #[must_use]
    pub fn clock(&self) -> RunClock {
        self.shared.clock
    }

    /// Records an event: its index is given, its time may be moved to later; both can be read from it afterwards.
    /// After [`Self::finish`] it goes nowhere. An operation whose invocation this is waits for what is returned before it begins.
    pub fn record(&self, event: &mut Event) -> Vec<Held> {
        let mut state = self.shared.lock();
        if state.closed {
            return Vec::new();
        }
        event.index = state.next_index;
        event.time_ns = event.time_ns.max(state.last_ns);
        state.next_index += 1;
        state.last_ns = event.time_ns;
        self.shared.tell(event);
        if membership::change(&event.f).is_some() {
            state.changes.push(event.clone());
        }
        let before = state.buffer.len();
        history::encode_event(event, &mut state.buffer);
        if before < CHUNK_BYTES && state.buffer.len() >= CHUNK_BYTES {
            self.shared.wake.notify_one();
        }
        if event.event_type != EventType::Invoke || state.holds.is_empty() {
            return Vec::new();
        }
        let is_meant = |(f, _): &mut (String, Held)| *f == *event.f;
        let meant = state.holds.extract_if(.., is_meant);
        meant.map(|(_, held)| held).collect()
    }

    /// Events of joins and removes so far.
    #[must_use]
    pub fn changes(&self) -> Vec<Event> {
        self.shared.lock().changes.clone()
    }

    /// Records an event of the nemesis, with the time of this call. Never waits for the disk.
    pub fn record_nemesis(&self, event: NemesisEvent) {
        self.record(&mut Event {
            index: 0,
            time_ns: self.shared.clock.now_ns(),
            process: Process::Nemesis,
            node: None,
            event_type: event.event_type,
            f: event.f.into(),
            value: event.value,
            error: event.error,
        });
    }

    /// Numbers for so many processes, the first of which is a multiple of `multiple`; nobody else gets them.
    #[must_use]
    pub fn claim_processes(&self, count: u64, multiple: u64) -> u64 {
        let mut state = self.shared.lock();
        let first = state.next_process.next_multiple_of(multiple.max(1));
        state.next_process = first + count;
        first
    }

    /// Makes every process number below `end` taken.
    pub(crate) fn claim_up_to(&self, end: u64) {
        let mut state = self.shared.lock();
        state.next_process = state.next_process.max(end);
    }

    /// Whether so much waits for the disk that nothing more should be generated.
    #[must_use]
    pub fn is_backed_up(&self) -> bool {
        self.shared.lock().buffer.len() >= BACKLOG_BYTES
    }

    /// Why events are being lost, if they are.
    #[must_use]
    pub fn failure(&self) -> Option<RecordError> {
        self.shared.lock().failure.clone()
    }

    /// Writes what is left and syncs it to the disk. Blocks. Further events go nowhere; calling it again is harmless.
    ///
    /// # Errors
    /// If events were lost, now or before.
    pub fn finish(&self) -> Result<Recorded, RecordError> {
        self.closing.close()?;
        let state = self.shared.lock();
        match &state.failure {
            Some(failure) => Err(failure.clone()),
            None => Ok(Recorded {
                events: state.next_index,
                bytes: state.bytes,
            }),
        }
    }
}

impl Phases for Recorder {
    fn subscribe(&self) -> broadcast::Receiver<PhaseEvent> {
        self.shared.phases.subscribe()
    }

    fn subscribe_and_hold(&self, f: &str) -> (broadcast::Receiver<PhaseEvent>, Hold) {
        let (hold, held) = Hold::new();
        // Under the lock, so that what is heard first is what is held.
        let mut state = self.shared.lock();
        state.holds.push((f.to_owned(), held));
        (self.shared.phases.subscribe(), hold)
    }
}

impl NemesisLog for Recorder {
    fn record(&self, event: NemesisEvent) {
        self.record_nemesis(event);
    }
}

/// The writer's thread. It goes on emptying the buffer after a failure: memory stays bounded, and the failure is known.
fn write_all(shared: &Shared, mut file: File) {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES * 2);
    loop {
        let closed = {
            let state = shared.lock();
            let idle = |state: &mut State| state.buffer.len() < CHUNK_BYTES && !state.closed;
            let (mut state, _) = shared
                .wake
                .wait_timeout_while(state, WRITE_INTERVAL, idle)
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut state.buffer, &mut chunk);
            state.closed
        };
        let mut written = file.write_all(&chunk);
        if closed && written.is_ok() {
            written = file.sync_all();
        }
        let mut state = shared.lock();
        match written {
            Ok(()) => state.bytes += chunk.len() as u64,
            Err(error) => {
                state.failure.get_or_insert(RecordError::Write {
                    detail: error.to_string(),
                });
            }
        }
        if closed {
            return;
        }
        drop(state);
        chunk.clear();
    }
}
