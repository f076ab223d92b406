//! A connection from a node, as a stream of bytes.
//!
//! Laws: what the node's kernel says (`ECONNRESET`, …) is the error that reading gives; a lost
//! link is `ConnectionAborted`; both directions have back-pressure and close on their own;
//! dropping it closes the node's socket.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use harness_core::frame::message::{End, Failure};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::link::{Event, Handle};

/// The stream that [`crate::Transport::connect`] gives.
pub(super) struct Tunnel {
    handle: Handle,
    unread: Vec<u8>,
    read_at: usize,
    ended: bool,
    shut: bool,
}

impl Tunnel {
    /// A tunnel on a stream that was opened.
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            unread: Vec::new(),
            read_at: 0,
            ended: false,
            shut: false,
        }
    }
}

/// The kernel's error behind a failure.
pub(super) fn io_error(failure: &Failure) -> io::Error {
    match failure.errno {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(failure.message.clone()),
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while this.read_at == this.unread.len() {
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            match ready!(this.handle.poll_event(context)) {
                Event::Data(bytes) => {
                    this.unread = bytes;
                    this.read_at = 0;
                }
                Event::Eof | Event::End(End::Closed) => this.ended = true,
                Event::End(End::Failed(failure)) => return Poll::Ready(Err(io_error(&failure))),
                Event::Lost(reason) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::ConnectionAborted,
                        reason,
                    )));
                }
                Event::Opened | Event::DataError(_) | Event::End(_) => {
                    return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
                }
            }
        }
        let count = buffer.remaining().min(this.unread.len() - this.read_at);
        buffer.put_slice(&this.unread[this.read_at..this.read_at + count]);
        this.read_at += count;
        this.handle.consumed(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.shut {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        match ready!(self.handle.poll_send(context, bytes)) {
            Some(count) => Poll::Ready(Ok(count)),
            None => Poll::Ready(Err(match self.handle.last() {
                Some(Event::End(End::Failed(failure))) => io_error(&failure),
                Some(Event::Lost(reason)) => {
                    io::Error::new(io::ErrorKind::ConnectionAborted, reason)
                }
                _ => io::ErrorKind::BrokenPipe.into(),
            })),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is kept back here: the actor has what was written.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.shut {
            self.shut = true;
            self.handle.eof();
        }
        Poll::Ready(Ok(()))
    }
}
