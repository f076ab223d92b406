//! Connections from the node: to TCP, unix and abstract sockets, with bytes both ways.
//!
//! Laws:
//! - each direction closes on its own: an `Eof` shuts the socket's writing side, the socket's end is
//!   sent as `Eof`, and the stream ends when both are closed;
//! - a socket's error ends the stream with the kernel's number, also one that a partition causes;
//! - nothing is read from the socket without credit, so a peer that floods is stopped by its own window.

use std::{
    io,
    net::TcpStream,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use harness_core::frame::{
    CHUNK_BYTES, Kind,
    message::{End, Target},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    net::{AddressFamily, Shutdown, SocketAddrUnix, SocketFlags, SocketType, shutdown},
};

use crate::stream::{Inbound, Stream};

/// Time between two tries on a unix socket whose queue is full (connect gives `EAGAIN` then).
const FULL_QUEUE_RETRY: Duration = Duration::from_millis(5);

/// Connects, carries bytes both ways, and ends the stream.
pub fn run(stream: &Stream, target: &Target, timeout: Duration) {
    let socket = match open(target, timeout) {
        Ok(socket) => socket,
        Err(error) => return stream.fail(&error),
    };
    stream.opened();
    match carry(stream, &socket) {
        Ok(()) => stream.end(&End::Closed),
        Err(error) => stream.fail(&error),
    }
}

fn open(target: &Target, timeout: Duration) -> io::Result<OwnedFd> {
    let socket = match target {
        Target::Tcp(address) => {
            let socket = TcpStream::connect_timeout(address, timeout).map_err(as_kernel_error)?;
            socket.set_nodelay(true)?;
            socket.set_nonblocking(true)?;
            OwnedFd::from(socket)
        }
        Target::Unix(path) => open_unix(&SocketAddrUnix::new(path.as_str())?, timeout)?,
        Target::Abstract(name) => open_unix(
            &SocketAddrUnix::new_abstract_name(name.as_bytes())?,
            timeout,
        )?,
    };
    Ok(socket)
}

/// `connect_timeout` makes up a time-out error of its own, without a number.
fn as_kernel_error(error: io::Error) -> io::Error {
    if error.raw_os_error().is_none() && error.kind() == io::ErrorKind::TimedOut {
        return Errno::TIMEDOUT.into();
    }
    error
}

fn open_unix(address: &SocketAddrUnix, timeout: Duration) -> io::Result<OwnedFd> {
    let give_up = Instant::now() + timeout;
    let socket = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        None,
    )?;
    loop {
        match rustix::net::connect(&socket, address) {
            Ok(()) => return Ok(socket),
            Err(Errno::AGAIN) if Instant::now() < give_up => thread::sleep(FULL_QUEUE_RETRY),
            Err(Errno::AGAIN) => return Err(Errno::TIMEDOUT.into()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn carry(stream: &Stream, socket: &OwnedFd) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut outgoing: Vec<u8> = Vec::new();
    let (mut reading, mut writing) = (true, true);
    while reading || writing {
        if stream.cancelled() {
            return Err(Errno::CANCELED.into());
        }
        let wrote = writing && write_once(stream, socket, &mut outgoing, &mut writing)?;
        let read = reading && read_once(stream, socket, &mut buffer, &mut reading)?;
        if wrote || read {
            continue;
        }
        let mut flags = PollFlags::empty();
        if reading && stream.credit_bytes() > 0 {
            flags |= PollFlags::IN;
        }
        if writing && !outgoing.is_empty() {
            flags |= PollFlags::OUT;
        }
        let mut fds = vec![PollFd::from_borrowed_fd(stream.wake_fd(), PollFlags::IN)];
        // Without a wish it is left out: its hang-up would be reported again and again.
        if !flags.is_empty() {
            fds.push(PollFd::new(socket, flags));
        }
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => stream.clear_wake(),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes what the controller sent, as far as the socket takes it; gives whether anything moved.
fn write_once(
    stream: &Stream,
    socket: &OwnedFd,
    outgoing: &mut Vec<u8>,
    writing: &mut bool,
) -> io::Result<bool> {
    if outgoing.is_empty() {
        match stream.take() {
            Inbound::Data(bytes) => *outgoing = bytes,
            Inbound::Eof => {
                *writing = false;
                // The peer may have closed already, and then there is nothing to shut.
                let _ = shutdown(socket, Shutdown::Write);
                return Ok(true);
            }
            Inbound::Nothing => return Ok(false),
        }
    }
    match rustix::io::write(socket, outgoing) {
        Ok(count) => {
            outgoing.drain(..count);
            stream.consumed(count);
            Ok(true)
        }
        Err(error) => unless_later(error).map(|()| false),
    }
}

/// Reads what the peer sent, as far as there is credit; gives whether anything moved.
fn read_once(
    stream: &Stream,
    socket: &OwnedFd,
    buffer: &mut [u8],
    reading: &mut bool,
) -> io::Result<bool> {
    let room = stream.credit_bytes().min(buffer.len());
    if room == 0 {
        return Ok(false);
    }
    match rustix::io::read(socket, &mut buffer[..room]) {
        Ok(0) => {
            *reading = false;
            stream.eof();
            Ok(true)
        }
        Ok(count) => {
            stream.send(Kind::Data, &buffer[..count]);
            Ok(true)
        }
        Err(error) => unless_later(error).map(|()| false),
    }
}

fn unless_later(error: Errno) -> io::Result<()> {
    match error {
        Errno::AGAIN | Errno::INTR => Ok(()),
        error => Err(error.into()),
    }
}
