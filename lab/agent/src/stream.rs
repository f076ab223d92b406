//! One stream as the agent sees it: what the controller sent, and the credit each way.
//!
//! Laws:
//! - the frame reader only calls [`Stream::deliver`], which never waits;
//! - a worker waits on [`Stream::wake_fd`] together with whatever else it waits for;
//! - each stream ends with exactly one [`Kind::End`], sent by its worker.

use std::{
    collections::VecDeque,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use harness_core::frame::{
    Frame, Kind,
    message::{End, Failure},
    window::{ReceiveWindow, SendWindow, WindowError},
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use crate::{node, outbox::Outbox};

/// What the controller sent on a stream next.
pub enum Inbound {
    /// Bytes.
    Data(Vec<u8>),
    /// No more bytes will come.
    Eof,
    /// Nothing yet.
    Nothing,
}

/// One stream.
pub struct Stream {
    id: u32,
    outbox: Arc<Outbox>,
    wake: OwnedFd,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    inbox: VecDeque<Vec<u8>>,
    eof: bool,
    cancelled: bool,
    /// The channel is gone, and nobody reads what is sent.
    orphaned: bool,
    /// What runs for it goes on without a channel.
    kept: bool,
    send: SendWindow,
    receive: ReceiveWindow,
}

impl Stream {
    /// A stream that was just opened.
    ///
    /// # Errors
    /// The kernel's, when it has no more file descriptors.
    pub fn new(id: u32, outbox: Arc<Outbox>) -> io::Result<Self> {
        Ok(Self {
            id,
            outbox,
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            state: Mutex::default(),
        })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Takes a frame of the controller.
    ///
    /// # Errors
    /// When the controller broke the flow control.
    pub fn deliver(&self, frame: Frame) -> Result<(), WindowError> {
        {
            let mut state = self.lock();
            match frame.kind {
                Kind::Data if !state.eof => {
                    state.receive.receive(frame.payload.len())?;
                    state.inbox.push_back(frame.payload);
                }
                Kind::Eof => state.eof = true,
                Kind::Cancel => state.cancelled = true,
                Kind::Credit => state.send.grant(frame.credit().unwrap_or(0))?,
                _ => {}
            }
        }
        self.wake();
        Ok(())
    }

    /// The channel is gone: kills what runs for it, as if the controller had asked for that, unless it is to be kept.
    pub fn orphan(&self) {
        {
            let mut state = self.lock();
            // What the controller gave up before is not kept.
            state.orphaned |= !state.cancelled;
            state.cancelled = true;
        }
        self.wake();
    }

    /// Whether the channel is gone, and the controller had not given it up.
    pub fn orphaned(&self) -> bool {
        self.lock().orphaned
    }

    /// What runs for it goes on without a channel from now on, or does no more.
    pub fn keep(&self, kept: bool) {
        self.lock().kept = kept;
    }

    /// Whether what runs for it goes on without a channel.
    pub fn is_kept(&self) -> bool {
        self.lock().kept
    }

    /// Readable when something was delivered; [`Stream::clear_wake`] makes it quiet again.
    pub fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes [`Stream::wake_fd`] quiet; look at everything after that, not before.
    pub fn clear_wake(&self) {
        // An error means that it was quiet already.
        let _ = rustix::io::read(&self.wake, &mut [0_u8; 8]);
    }

    /// Whether the controller gave it up.
    pub fn cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// What the controller sent next. Tell [`Stream::consumed`] once the bytes are used.
    pub fn take(&self) -> Inbound {
        let mut state = self.lock();
        match state.inbox.pop_front() {
            Some(bytes) => Inbound::Data(bytes),
            None if state.eof => Inbound::Eof,
            None => Inbound::Nothing,
        }
    }

    /// Gives credit back for bytes that were used.
    pub fn consumed(&self, bytes: usize) {
        let grant = self.lock().receive.consume(bytes);
        if let Some(grant) = grant {
            self.outbox
                .control(self.id, Kind::Credit, &grant.to_be_bytes());
        }
    }

    /// Bytes that may be sent now.
    pub fn credit_bytes(&self) -> usize {
        self.lock().send.available_bytes()
    }

    /// Sends bytes for which [`Stream::credit_bytes`] said there is room.
    pub fn send(&self, kind: Kind, bytes: &[u8]) {
        self.lock().send.take(bytes.len());
        self.outbox.data(self.id, kind, bytes);
    }

    /// Says that the connection stands.
    pub fn opened(&self) {
        self.outbox.control(self.id, Kind::Opened, &[]);
    }

    /// Says that no more data comes.
    pub fn eof(&self) {
        self.outbox.data(self.id, Kind::Eof, &[]);
    }

    /// The stream's last frame.
    pub fn end(&self, end: &End) {
        self.outbox.message(self.id, Kind::End, end);
    }

    /// The stream's last frame, for what did not work.
    pub fn fail(&self, error: &io::Error) {
        self.end(&End::Failed(failure(error)));
    }

    /// Waits for something to be delivered.
    ///
    /// # Errors
    /// The kernel's.
    pub fn wait(&self, until: Option<Instant>) -> io::Result<()> {
        let mut fds = [PollFd::new(&self.wake, PollFlags::IN)];
        let timeout = until.map(node::until);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                self.clear_wake();
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn wake(&self) {
        // It can only fail when the counter is full, and then it is readable anyway.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The kernel's error as a message.
pub fn failure(error: &io::Error) -> Failure {
    Failure {
        errno: error.raw_os_error(),
        message: error.to_string(),
    }
}
