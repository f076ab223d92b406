//! Over a jump host: a session there carries a connection to the node's sshd.
//!
//! A thread owns the jump host's session and copies between its channel and one end of a socket
//! pair; the node's session runs over the other end and knows nothing of it.
//!
//! Laws: the jump host's key is checked like any other; the node's key is checked end to end, so
//! the jump host cannot take its place; the thread ends when either side closes.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
use ssh2::{BlockDirections, Channel, Session};

use super::{
    session::{self, Login, Opened, left_ms},
    target::{JumpHost, SshTarget},
};
use crate::transport::TransportError;

/// Bytes that are copied in one go; the same number for every read of the channel, for the reason in [`super::actor`].
const COPY_BYTES: usize = 64 * 1024;
/// Time between two keepalives to the jump host, in seconds; the node's own pings judge the whole way.
const KEEPALIVE_S: u32 = 15;
/// Time between two looks when nothing happens, or when a write waits for what poll cannot see.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while bytes wait to go out.
const LOOK_OFTEN: Duration = Duration::from_millis(5);

/// A socket whose other end is the node's sshd, as the jump host reaches it.
pub(super) fn through(
    target: &SshTarget,
    jump: &JumpHost,
    deadline: Instant,
) -> Result<UnixStream, TransportError> {
    let login = Login::of_jump(target, jump);
    let stream = session::connect(&login, deadline)?;
    let socket = stream
        .try_clone()
        .map_err(|error| login.unreachable(error))?;
    let opened = session::log_in(&login, stream, socket.into(), deadline)?;
    opened.session.set_timeout(left_ms(deadline));
    let channel = opened
        .session
        .channel_direct_tcpip(&target.host, target.port, None)
        .map_err(|error| login.failed("the jump host does not connect on", &error))?;
    let (ours, theirs) = UnixStream::pair().map_err(|error| login.unreachable(error))?;
    ours.set_nonblocking(true)
        .map_err(|error| login.unreachable(error))?;
    opened.session.set_blocking(false);
    opened.session.set_keepalive(false, KEEPALIVE_S);
    let Opened { session, socket } = opened;
    let bridge = Bridge {
        channel,
        session,
        socket,
        local: ours,
        up: Direction::default(),
        down: Direction::default(),
    };
    thread::Builder::new()
        .name(format!("ssh-jump-{}", target.name))
        .spawn(move || bridge.run())
        .map_err(|error| login.unreachable(error))?;
    Ok(theirs)
}

/// Bytes on their way, and whether their source has ended.
#[derive(Default)]
struct Direction {
    bytes: Vec<u8>,
    at: usize,
    ended: bool,
}

impl Direction {
    fn is_empty(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Reads if everything before was written; gives whether anything moved.
    fn fill(&mut self, from: &mut impl Read) -> io::Result<bool> {
        if self.ended || !self.is_empty() {
            return Ok(false);
        }
        self.bytes.resize(COPY_BYTES, 0);
        self.at = 0;
        let count = match from.read(&mut self.bytes) {
            Ok(count) => count,
            Err(error) => {
                self.bytes.clear();
                return unless_later(error);
            }
        };
        self.ended = count == 0;
        self.bytes.truncate(count);
        Ok(true)
    }

    fn drain(&mut self, to: &mut impl Write) -> io::Result<bool> {
        if self.is_empty() {
            return Ok(false);
        }
        match to.write(&self.bytes[self.at..]) {
            Ok(count) => {
                self.at += count;
                Ok(count > 0)
            }
            Err(error) => unless_later(error),
        }
    }
}

fn unless_later(error: io::Error) -> io::Result<bool> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(false),
        _ => Err(error),
    }
}

/// Fields are dropped in order: the channel before its session.
struct Bridge {
    channel: Channel,
    session: Session,
    socket: OwnedFd,
    local: UnixStream,
    up: Direction,
    down: Direction,
}

impl Bridge {
    /// Copies until either side ends; its error is seen by the other as an end, too.
    fn run(mut self) {
        while let Ok(true) = self.turn() {}
    }

    fn turn(&mut self) -> io::Result<bool> {
        let mut moved = self.up.fill(&mut self.local)?;
        moved |= self.up.drain(&mut self.channel)?;
        moved |= self.down.fill(&mut self.channel)?;
        moved |= self.down.drain(&mut self.local)?;
        let over = (self.up.ended && self.up.is_empty())
            || (self.down.ended && self.down.is_empty() && self.channel.eof());
        if over {
            return Ok(false);
        }
        // A read of nothing that is no end is not to be taken for one.
        self.down.ended = false;
        if !moved {
            self.wait()?;
        }
        Ok(true)
    }

    fn wait(&self) -> io::Result<()> {
        let mut far = PollFlags::IN;
        let outbound = matches!(
            self.session.block_directions(),
            BlockDirections::Outbound | BlockDirections::Both
        );
        if outbound {
            far |= PollFlags::OUT;
        }
        let mut near = PollFlags::empty();
        if self.up.is_empty() {
            near |= PollFlags::IN;
        }
        if !self.down.is_empty() {
            near |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::new(&self.socket, far)];
        if !near.is_empty() {
            fds.push(PollFd::from_borrowed_fd(self.local.as_fd(), near));
        }
        let look = if self.up.is_empty() {
            LOOK_EVERY
        } else {
            LOOK_OFTEN
        };
        let timeout = Timespec {
            tv_sec: i64::try_from(look.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(look.subsec_nanos()),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) => {
                if self.may_send() {
                    // When it is not time for one, it does nothing; a broken way is seen by reading.
                    let _ = self.session.keepalive_send();
                }
                Ok(())
            }
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a keepalive would go out whole. One that does not is never tried again by libssh2, and until it is
    /// out, nothing else goes either.
    fn may_send(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
        let at_once = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // The kernel calls a socket writable only with room for far more than a keepalive.
        self.up.is_empty() && poll(&mut fds, Some(&at_once)) == Ok(1)
    }
}
