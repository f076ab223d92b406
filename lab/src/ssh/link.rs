//! A live connection to an agent, as callers and the actor thread share it.
//!
//! Callers put frames in and wait on their stream; the actor ([`super::actor`]) alone touches ssh2.
//!
//! Laws:
//! - what callers can put in is bounded: streams by permits, data by the streams' credit;
//! - frames of one stream keep their order, except that `Cancel` and `Credit` overtake data;
//! - once a link is lost it stays lost: every stream on it and every later call hears why.

use std::{
    collections::{HashMap, VecDeque},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use harness_core::frame::{
    self, CHUNK_BYTES, Frame, Kind,
    message::{End, Hello, Request},
    window::{ReceiveWindow, SendWindow},
};
use rustix::event::{EventfdFlags, eventfd};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Streams open at the same time on one link; further calls wait.
pub(super) const MAX_STREAMS: usize = 512;

/// What the agent sent on a stream.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// The connection stands.
    Opened,
    /// Bytes: standard output, a file's, a socket's.
    Data(Vec<u8>),
    /// Bytes of standard error.
    DataError(Vec<u8>),
    /// No more bytes come.
    Eof,
    /// The stream's end.
    End(End),
    /// The link is lost, for this reason.
    Lost(String),
}

/// One connection to one agent.
pub(super) struct Link {
    hello: Hello,
    wake: OwnedFd,
    state: Mutex<State>,
    permits: Arc<Semaphore>,
    /// Milliseconds from `born` to when the agent was heard last.
    heard_ms: AtomicU64,
    born: Instant,
    ended: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    control: Vec<u8>,
    data: VecDeque<Vec<u8>>,
    streams: HashMap<u32, Arc<StreamState>>,
    last_stream: u32,
    lost: Option<String>,
    give_up: Option<String>,
}

struct StreamState {
    inner: Mutex<StreamInner>,
}

#[derive(Default)]
struct StreamInner {
    events: VecDeque<Event>,
    /// The last event, which is given again and again.
    last: Option<Event>,
    send: SendWindow,
    receive: ReceiveWindow,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Link {
    /// A link to the agent that said this hello.
    ///
    /// # Errors
    /// The kernel's, when there are no more file descriptors.
    pub(super) fn new(hello: Hello) -> std::io::Result<Self> {
        Ok(Self {
            hello,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            state: Mutex::default(),
            permits: Arc::new(Semaphore::new(MAX_STREAMS)),
            heard_ms: AtomicU64::new(0),
            born: Instant::now(),
            ended: watch::Sender::new(false),
        })
    }

    /// What the agent said about itself.
    pub(super) fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Whether calls may use it.
    pub(super) fn is_alive(&self) -> bool {
        let state = self.lock();
        state.lost.is_none() && state.give_up.is_none()
    }

    /// Opens a stream, waiting for a permit.
    ///
    /// # Errors
    /// Why the link is lost, if it is.
    pub(super) async fn open(self: &Arc<Self>, request: &Request) -> Result<Handle, String> {
        let payload = serde_json::to_vec(request).map_err(|error| error.to_string())?;
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| "it was closed".to_owned())?;
        let stream = Arc::new(StreamState {
            inner: Mutex::default(),
        });
        let id = {
            let mut state = self.lock();
            if let Some(reason) = state.lost.as_ref().or(state.give_up.as_ref()) {
                return Err(reason.clone());
            }
            let id = state
                .last_stream
                .checked_add(1)
                .ok_or("its stream numbers are used up")?;
            frame::encode(id, Kind::Open, &payload, &mut state.control)
                .map_err(|error| error.to_string())?;
            state.last_stream = id;
            state.streams.insert(id, Arc::clone(&stream));
            id
        };
        self.wake();
        Ok(Handle {
            id,
            link: Arc::clone(self),
            stream,
            _permit: permit,
        })
    }

    /// Asks the actor to end the link; what is under way is lost for this reason.
    pub(super) fn give_up(&self, reason: &str) {
        self.lock().give_up.get_or_insert_with(|| reason.to_owned());
        self.wake();
    }

    /// Gives the link up if the agent has said nothing for that long.
    pub(super) fn suspect(&self, silent_for: Duration) {
        if self.silence() >= silent_for {
            self.give_up("the agent does not answer");
        }
    }

    /// Waits until the actor has let the session go.
    pub(super) async fn wait_ended(&self) {
        // The sender lives as long as self.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // It can only fail when the counter is full, and then it is readable anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// The actor's side.
impl Link {
    /// Readable when there is something for the actor.
    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes [`Link::wake_fd`] quiet; look for work after that, not before.
    pub(super) fn clear_wake(&self) {
        // An error means that it was quiet already.
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }

    /// Why the link is to be ended, if somebody wants that.
    pub(super) fn wants_to_end(&self) -> Option<String> {
        self.lock().give_up.clone()
    }

    /// Moves queued frames to `batch`: all control frames, then data until it holds `batch_bytes`.
    pub(super) fn take_batch(&self, batch: &mut Vec<u8>, batch_bytes: usize) {
        let mut state = self.lock();
        batch.append(&mut state.control);
        while batch.len() < batch_bytes {
            let Some(frame) = state.data.pop_front() else {
                return;
            };
            batch.extend_from_slice(&frame);
        }
    }

    /// Queues a ping.
    pub(super) fn ping(&self) {
        // A ping without payload is never too long.
        let _ = frame::encode(0, Kind::Ping, &[], &mut self.lock().control);
    }

    /// Notes that the agent was heard.
    pub(super) fn heard(&self) {
        let now = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard_ms.store(now, Ordering::Relaxed);
    }

    /// Time since the agent was heard.
    pub(super) fn silence(&self) -> Duration {
        let heard = Duration::from_millis(self.heard_ms.load(Ordering::Relaxed));
        self.born.elapsed().saturating_sub(heard)
    }

    /// Hands a frame of the agent to its stream.
    ///
    /// # Errors
    /// How the agent broke the protocol.
    pub(super) fn deliver(&self, frame: Frame) -> Result<(), String> {
        match frame.kind {
            Kind::Pong => return Ok(()),
            // The one hello was taken before there was a link. Nine zeros are a hello too, so to let one pass
            // would let a stream of bytes that lost its frames run on.
            kind if kind.is_connection() => return Err(format!("a second {kind:?} frame")),
            _ => {}
        }
        let is_end = frame.kind == Kind::End;
        let id = frame.stream;
        let stream = {
            let mut state = self.lock();
            if id > state.last_stream {
                return Err(format!("stream {id} was never opened"));
            }
            if is_end {
                state.streams.remove(&id)
            } else {
                state.streams.get(&id).cloned()
            }
        };
        // A stream that the caller gave up is still talked on for a round trip.
        stream.map_or(Ok(()), |stream| stream.deliver(frame))
    }

    /// Tells everybody that the link is lost.
    pub(super) fn lose(&self, reason: &str) {
        let streams = {
            let mut state = self.lock();
            state.lost.get_or_insert_with(|| reason.to_owned());
            state.data.clear();
            state.control.clear();
            std::mem::take(&mut state.streams)
        };
        for stream in streams.into_values() {
            stream.finish(Event::Lost(reason.to_owned()));
        }
    }

    /// Tells [`Link::wait_ended`] that the session is let go.
    pub(super) fn ended(&self) {
        self.ended.send_replace(true);
    }
}

impl StreamState {
    fn lock(&self) -> MutexGuard<'_, StreamInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deliver(&self, frame: Frame) -> Result<(), String> {
        let mut inner = self.lock();
        match frame.kind {
            Kind::Data | Kind::DataError => {
                inner
                    .receive
                    .receive(frame.payload.len())
                    .map_err(|error| error.to_string())?;
                inner.events.push_back(if frame.kind == Kind::Data {
                    Event::Data(frame.payload)
                } else {
                    Event::DataError(frame.payload)
                });
            }
            Kind::Opened => inner.events.push_back(Event::Opened),
            Kind::Eof => inner.events.push_back(Event::Eof),
            Kind::Credit => {
                let bytes = frame.credit().map_err(|error| error.to_string())?;
                inner.send.grant(bytes).map_err(|error| error.to_string())?;
                if let Some(writer) = inner.writer.take() {
                    writer.wake();
                }
                return Ok(());
            }
            Kind::End => {
                let end = serde_json::from_slice(&frame.payload)
                    .map_err(|error| format!("an end that cannot be read: {error}"))?;
                drop(inner);
                self.finish(Event::End(end));
                return Ok(());
            }
            kind => return Err(format!("a {kind:?} frame is not for the controller")),
        }
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
        Ok(())
    }

    fn finish(&self, last: Event) {
        let mut inner = self.lock();
        inner.last.get_or_insert(last);
        for waker in [inner.reader.take(), inner.writer.take()]
            .into_iter()
            .flatten()
        {
            waker.wake();
        }
    }
}

/// A caller's end of a stream. Dropping it before its end cancels what runs for it.
pub(super) struct Handle {
    id: u32,
    link: Arc<Link>,
    stream: Arc<StreamState>,
    _permit: OwnedSemaphorePermit,
}

impl Handle {
    /// The link that it is on.
    pub(super) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// What the agent sent next. The last event is given again and again.
    pub(super) fn poll_event(&self, context: &mut Context<'_>) -> Poll<Event> {
        let mut inner = self.stream.lock();
        if let Some(event) = inner.events.pop_front() {
            return Poll::Ready(event);
        }
        if let Some(last) = &inner.last {
            return Poll::Ready(last.clone());
        }
        inner.reader = Some(context.waker().clone());
        Poll::Pending
    }

    /// What the agent sent next.
    pub(super) async fn event(&self) -> Event {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// Gives credit back for bytes of an event that were used.
    pub(super) fn consumed(&self, bytes: usize) {
        let grant = self.stream.lock().receive.consume(bytes);
        if let Some(grant) = grant {
            let mut state = self.link.lock();
            // Four bytes are never too long.
            let _ = frame::encode(
                self.id,
                Kind::Credit,
                &grant.to_be_bytes(),
                &mut state.control,
            );
            drop(state);
            self.link.wake();
        }
    }

    /// Sends some of the bytes as soon as there is credit; gives how many, none if the stream has ended.
    pub(super) fn poll_send(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<usize>> {
        let taken = {
            let mut inner = self.stream.lock();
            if inner.last.is_some() {
                return Poll::Ready(None);
            }
            let taken = inner.send.take(bytes.len().min(CHUNK_BYTES));
            if taken == 0 && !bytes.is_empty() {
                inner.writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            taken
        };
        self.push_data(Kind::Data, &bytes[..taken]);
        Poll::Ready(Some(taken))
    }

    /// Sends all bytes; gives whether the stream was still open for them.
    pub(super) async fn send_all(&self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let sent = std::future::poll_fn(|context| self.poll_send(context, bytes)).await;
            match sent {
                Some(count) => bytes = &bytes[count..],
                None => return false,
            }
        }
        true
    }

    /// Says that no more bytes come.
    pub(super) fn eof(&self) {
        self.push_data(Kind::Eof, &[]);
    }

    /// How the stream ended, if it has.
    pub(super) fn last(&self) -> Option<Event> {
        self.stream.lock().last.clone()
    }

    fn push_data(&self, kind: Kind, payload: &[u8]) {
        let mut frame = Vec::with_capacity(frame::HEAD_BYTES + payload.len());
        // A chunk is never too long.
        let _ = frame::encode(self.id, kind, payload, &mut frame);
        let mut state = self.link.lock();
        if state.lost.is_none() {
            state.data.push_back(frame);
        }
        drop(state);
        self.link.wake();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.stream.lock().last.is_some() {
            return;
        }
        let mut state = self.link.lock();
        state.streams.remove(&self.id);
        // No payload is never too long.
        let _ = frame::encode(self.id, Kind::Cancel, &[], &mut state.control);
        drop(state);
        self.link.wake();
    }
}

#[cfg(test)]
mod tests;
