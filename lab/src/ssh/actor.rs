//! The thread that owns a session, its channel and every call of libssh2.
//!
//! Laws:
//! - no handle of ssh2 leaves this thread (dropping a channel elsewhere frees it without a lock);
//! - nothing here waits except the one poll over socket and wake-up, so reading and writing overlap;
//! - the last thing before the poll is a read of standard output: any call of libssh2 (a write, a read of
//!   standard error) may take packets off the socket that only that read sees, and poll would not tell of;
//! - every read of the channel, of either output, asks for the same number of bytes ([`READ_BYTES`]): what cannot
//!   be sent is to be tried again with the same arguments (libssh2_channel_write(3) says it for writes, and it holds for
//!   the window adjustment inside a read, too). A read that finds the send buffer full leaves its adjustment to the next
//!   read, of whichever output; that one sends the amount of the first and books its own. If they differ, sshd may send
//!   more than libssh2 believes, and libssh2 drops the excess without an error (`ssh2_packet_add`, "truncating");
//! - when nothing is heard for [`LOST_AFTER`] although the agent was pinged, the link is lost.

use std::{
    io::{self, Read, Write},
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use harness_core::frame::Decoder;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use ssh2::{BlockDirections, Channel, Session};
use tokio::sync::oneshot;

use super::{bootstrap, link::Link, session, target::SshTarget};
use crate::transport::TransportError;

/// Time between two pings; they keep what is between us open, and the agent from taking us for dead.
pub(super) const PING_EVERY: Duration = Duration::from_secs(5);
/// Silence after which the link is lost.
pub(super) const LOST_AFTER: Duration = Duration::from_secs(30);
/// Time for saying goodbye; then the socket is just closed.
const GOODBYE_MS: u32 = 500;
/// Bytes of frames that are encrypted and sent in one go, about.
const WRITE_BATCH_BYTES: usize = 64 * 1024;
/// Bytes that are read in one go, of whichever output; see the module's laws before using another number anywhere.
const READ_BYTES: usize = 128 * 1024;
/// Reads before it is looked again whether something is to be written.
const READS_IN_A_ROW: usize = 8;
/// Time after which a write that is stuck for a reason that poll cannot see (a key exchange) is tried again.
const RETRY_WRITE_EVERY: Duration = Duration::from_millis(5);
/// Bytes of the agent's complaints that are kept.
const COMPLAINT_LIMIT_BYTES: usize = 2048;

/// Opens a session on a thread of its own, starts the agent there, and gives the link to it.
pub(super) async fn open(
    target: Arc<SshTarget>,
    purpose: &str,
    deadline: Instant,
) -> Result<Arc<Link>, TransportError> {
    let node = target.name.clone();
    let lost = |detail: String| TransportError::Lost {
        node: node.clone(),
        detail,
    };
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new()
        .name(format!("ssh-{purpose}-{node}"))
        .spawn(move || main(&target, deadline, sender))
        .map_err(|error| lost(format!("no thread for it: {error}")))?;
    receiver
        .await
        .unwrap_or_else(|_| Err(lost("its thread ended".into())))
}

type Opening = oneshot::Sender<Result<Arc<Link>, TransportError>>;

fn main(target: &SshTarget, deadline: Instant, opening: Opening) {
    match begin(target, deadline) {
        Err(error) => {
            // The caller may have run out of time.
            let _ = opening.send(Err(error));
        }
        Ok(mut actor) => {
            let link = Arc::clone(&actor.link);
            if opening.send(Ok(Arc::clone(&link))).is_err() {
                link.give_up("nobody waits for it any more");
            }
            let reason = actor.run();
            tracing::debug!(node = %target.name, %reason, "link ended");
            link.lose(&reason);
            actor.say_goodbye();
            drop(actor);
            link.ended();
        }
    }
}

fn begin(target: &SshTarget, deadline: Instant) -> Result<Actor, TransportError> {
    let opened = session::open(target, deadline)?;
    let started = bootstrap::start(target, opened, deadline)?;
    let login = session::Login::of_node(target);
    let link = Link::new(started.hello).map_err(|error| login.unreachable(error))?;
    started.opened.session.set_blocking(false);
    Ok(Actor {
        channel: started.channel,
        session: started.opened.session,
        socket: started.opened.socket,
        link: Arc::new(link),
        decoder: started.decoder,
        buffer: vec![0; READ_BYTES],
        out: Vec::new(),
        out_at: 0,
        stuck_on_window: false,
        complaints: Vec::new(),
        pinged: Instant::now(),
    })
}

/// Fields are dropped in order: the channel before its session.
struct Actor {
    channel: Channel,
    session: Session,
    socket: OwnedFd,
    link: Arc<Link>,
    decoder: Decoder,
    buffer: Vec<u8>,
    out: Vec<u8>,
    out_at: usize,
    stuck_on_window: bool,
    complaints: Vec<u8>,
    pinged: Instant,
}

impl Actor {
    /// Works until the link ends, and says why it did.
    fn run(&mut self) -> String {
        loop {
            match self.turn() {
                Ok(()) => {}
                Err(reason) if self.complaints.is_empty() => return reason,
                Err(reason) => {
                    let said = String::from_utf8_lossy(&self.complaints);
                    return format!("{reason}; the agent said: {}", said.trim());
                }
            }
        }
    }

    fn turn(&mut self) -> Result<(), String> {
        self.link.clear_wake();
        if let Some(reason) = self.link.wants_to_end() {
            return Err(reason);
        }
        self.keep_alive();
        self.write()?;
        self.read_complaints();
        let more_to_read = self.read()?;
        // Judged only after reading: when this thread itself was stopped for long, the answers are there already.
        if self.link.silence() > LOST_AFTER {
            return Err(format!("silent for {} s", LOST_AFTER.as_secs()));
        }
        let window_opened = self.stuck_on_window && self.channel.write_window().remaining > 0;
        if more_to_read || window_opened {
            return Ok(());
        }
        self.wait()
    }

    fn keep_alive(&mut self) {
        if self.pinged.elapsed() >= PING_EVERY {
            self.pinged = Instant::now();
            self.link.ping();
        }
    }

    /// Writes what is queued, as far as it goes.
    fn write(&mut self) -> Result<(), String> {
        self.stuck_on_window = false;
        loop {
            if self.out_at == self.out.len() {
                self.out.clear();
                self.out_at = 0;
                self.link.take_batch(&mut self.out, WRITE_BATCH_BYTES);
                if self.out.is_empty() {
                    return Ok(());
                }
            }
            match self.channel.write(&self.out[self.out_at..]) {
                Ok(0) => return Err("the channel takes nothing any more".into()),
                Ok(count) => self.out_at += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck_on_window = self.channel.write_window().remaining == 0;
                    return Ok(());
                }
                Err(error) => return Err(format!("writing failed: {error}")),
            }
        }
    }

    /// Reads what has come; gives whether there may be more.
    fn read(&mut self) -> Result<bool, String> {
        for _ in 0..READS_IN_A_ROW {
            match self.channel.read(&mut self.buffer) {
                Ok(0) => {
                    if self.channel.eof() {
                        self.read_complaints();
                        return Err("the agent ended".into());
                    }
                    return Ok(false);
                }
                Ok(count) => {
                    self.link.heard();
                    self.decoder.push(&self.buffer[..count]);
                    self.deliver_frames()?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(format!("reading failed: {error}")),
            }
        }
        Ok(true)
    }

    fn deliver_frames(&mut self) -> Result<(), String> {
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => self.link.deliver(frame)?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(self.decoder.explain(&error)),
            }
        }
    }

    /// Takes what the agent wrote on standard error, so that its window never fills.
    fn read_complaints(&mut self) {
        // An error here is one that reading standard output gives too.
        while let Ok(count @ 1..) = self.channel.stderr().read(&mut self.buffer) {
            self.complaints.extend_from_slice(&self.buffer[..count]);
            let excess = self.complaints.len().saturating_sub(COMPLAINT_LIMIT_BYTES);
            self.complaints.drain(..excess);
        }
    }

    fn wait(&self) -> Result<(), String> {
        let mut flags = PollFlags::IN;
        let outbound = matches!(
            self.session.block_directions(),
            BlockDirections::Outbound | BlockDirections::Both
        );
        if outbound {
            flags |= PollFlags::OUT;
        }
        let unwritten = self.out_at < self.out.len();
        let timeout = if unwritten && !outbound && !self.stuck_on_window {
            RETRY_WRITE_EVERY
        } else {
            PING_EVERY.saturating_sub(self.pinged.elapsed())
        };
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut fds = [
            PollFd::new(&self.socket, flags),
            PollFd::from_borrowed_fd(self.link.wake_fd(), PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(format!("waiting failed: {error}")),
        }
    }

    /// Closes in good manners, if the other side still listens.
    fn say_goodbye(&mut self) {
        self.session.set_timeout(GOODBYE_MS);
        self.session.set_blocking(true);
        // The socket's end says the same, only less politely.
        let _ = self.channel.close();
        let _ = self.session.disconnect(None, "done", None);
    }
}
