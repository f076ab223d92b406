//! Commands: run to their end, both outputs drained together, never left behind.
//!
//! Laws:
//! - a command has a process group of its own; when its process ends, whoever is left in the group
//!   is killed, and when it runs out of time or is cancelled, so are descendants that left the group
//!   (a process that made itself a session *and* lost its parent is out of reach: that is what `spawn` is for);
//! - the exit is looked at before it is waited for, so that a group's number cannot be taken by others;
//! - output beyond the limit is read, counted and dropped, so that the command is never stopped by it;
//! - output within the limit is sent however slowly the controller takes it: time without credit is not time
//!   without output; what has to be left in the end all the same is counted as dropped, never lost in silence;
//! - one thread a command waits for everything at once: outputs, input, exit, time, cancellation.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::{CommandExt, ExitStatusExt},
    },
    process::{Child, Command, Stdio},
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use harness_core::frame::{
    CHUNK_BYTES, Kind,
    message::{End, Ending, ExecEnd, ExecRequest},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::{Errno, ioctl_fionbio, ioctl_fionread},
    process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open},
};

use crate::{
    node,
    process::kill_tree,
    stream::{Inbound, Stream},
};

/// Commands that run at the same time; more wait their turn, and the wait counts as their time.
const MAX_RUNNING: usize = 128;
/// Time for killed processes to be gone; one that sits in the kernel (a frozen file system) is not.
const KILL_PATIENCE: Duration = Duration::from_secs(2);
/// Time without a byte after which outputs that somebody outside the group holds open are left.
const DRAIN_PATIENCE: Duration = Duration::from_millis(300);
/// Time after the end for outputs to be drained, however much still comes.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// Lets a bounded number of commands run at the same time.
pub struct Turns {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Turns {
    /// All turns free.
    pub fn new() -> Self {
        Self {
            free: Mutex::new(MAX_RUNNING),
            freed: Condvar::new(),
        }
    }

    fn take(&self, until: Instant) -> Option<Turn<'_>> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        while *free == 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            free = self
                .freed
                .wait_timeout(free, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *free -= 1;
        Some(Turn(self))
    }
}

struct Turn<'a>(&'a Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.free.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.0.freed.notify_one();
    }
}

/// Runs a command and ends its stream.
pub fn run(stream: &Stream, request: &ExecRequest, turns: &Turns) {
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(request.timeout_ms);
    let Some(_turn) = turns.take(deadline) else {
        return stream.end(&End::Exec(ExecEnd {
            ending: Ending::TimedOut,
            stdout_dropped_bytes: 0,
            stderr_dropped_bytes: 0,
            duration_ns: elapsed_ns(begun),
            left_over: 0,
        }));
    };
    match Running::start(stream, request) {
        Ok(running) => stream.end(&End::Exec(running.finish(begun, deadline))),
        Err(error) => stream.fail(&error),
    }
}

fn elapsed_ns(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// One of the two outputs.
struct OutputPipe {
    pipe: Option<OwnedFd>,
    kind: Kind,
    left_bytes: u64,
    dropped_bytes: u64,
}

impl OutputPipe {
    fn new(pipe: OwnedFd, kind: Kind, limit_bytes: u64) -> io::Result<Self> {
        ioctl_fionbio(&pipe, true)?;
        Ok(Self {
            pipe: Some(pipe),
            kind,
            left_bytes: limit_bytes,
            dropped_bytes: 0,
        })
    }

    /// The pipe, if reading from it makes sense now.
    fn wanted(&self, credit_bytes: usize) -> Option<BorrowedFd<'_>> {
        let room = self.left_bytes == 0 || credit_bytes > 0;
        self.pipe.as_ref().filter(|_| room).map(AsFd::as_fd)
    }

    /// Whether it may hold something that only lacks credit.
    fn starves(&self, credit_bytes: usize) -> bool {
        self.pipe.is_some() && self.wanted(credit_bytes).is_none()
    }

    /// Counts what it still holds as dropped, and closes it.
    fn leave(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            // An error means that there is nothing to be told of.
            self.dropped_bytes += ioctl_fionread(&pipe).unwrap_or(0);
        }
    }

    /// Reads once. Gives whether something came, an end counting as something.
    fn read(&mut self, stream: &Stream, buffer: &mut [u8]) -> bool {
        let Some(pipe) = &self.pipe else {
            return false;
        };
        let keep = usize::try_from(self.left_bytes).unwrap_or(usize::MAX);
        let room = match keep {
            0 => buffer.len(),
            _ => buffer.len().min(keep).min(stream.credit_bytes()),
        };
        if room == 0 {
            return false;
        }
        match rustix::io::read(pipe, &mut buffer[..room]) {
            Err(Errno::AGAIN | Errno::INTR) => false,
            Ok(0) | Err(_) => {
                self.pipe = None;
                true
            }
            Ok(count) if keep == 0 => {
                self.dropped_bytes += count as u64;
                true
            }
            Ok(count) => {
                self.left_bytes -= count as u64;
                stream.send(self.kind, &buffer[..count]);
                true
            }
        }
    }
}

/// What of a started command is waited for.
struct Watched {
    pidfd: OwnedFd,
    stdout: OutputPipe,
    stderr: OutputPipe,
    stdin: Option<OwnedFd>,
}

impl Watched {
    fn new(pid: Pid, child: &mut Child, limit_bytes: u64) -> io::Result<Self> {
        let stdout = child.stdout.take().ok_or(Errno::BADF)?;
        let stderr = child.stderr.take().ok_or(Errno::BADF)?;
        let stdin = child.stdin.take().map(OwnedFd::from);
        if let Some(stdin) = &stdin {
            ioctl_fionbio(stdin, true)?;
        }
        Ok(Self {
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
            stdout: OutputPipe::new(stdout.into(), Kind::Data, limit_bytes)?,
            stderr: OutputPipe::new(stderr.into(), Kind::DataError, limit_bytes)?,
            stdin,
        })
    }
}

/// A command that was started.
struct Running<'a> {
    stream: &'a Stream,
    child: Child,
    pid: Pid,
    pidfd: OwnedFd,
    stdout: OutputPipe,
    stderr: OutputPipe,
    stdin: Option<OwnedFd>,
    input: Vec<u8>,
    ending: Option<Ending>,
    left_over: u32,
}

impl<'a> Running<'a> {
    fn start(stream: &'a Stream, request: &ExecRequest) -> io::Result<Self> {
        let [program, arguments @ ..] = request.argv.as_slice() else {
            return Err(io::Error::from(Errno::INVAL));
        };
        let mut command = Command::new(program);
        command.args(arguments);
        if let Some(path) = node::completed_path() {
            command.env("PATH", path);
        }
        command
            .envs(request.env.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(if request.stdin {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or(Errno::SRCH)?;
        match Watched::new(pid, &mut child, request.output_limit_bytes) {
            Ok(watched) => Ok(Self {
                stream,
                child,
                pid,
                pidfd: watched.pidfd,
                stdout: watched.stdout,
                stderr: watched.stderr,
                stdin: watched.stdin,
                input: Vec::new(),
                ending: None,
                left_over: 0,
            }),
            Err(error) => {
                // What cannot be watched must not run.
                kill_tree(pid, KILL_PATIENCE);
                let _ = child.wait();
                Err(error)
            }
        }
    }

    fn finish(mut self, begun: Instant, deadline: Instant) -> ExecEnd {
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut duration_ns = 0;
        let mut drain_until = deadline;
        let mut drain_limit = deadline;
        let mut give_up = deadline;
        loop {
            if self.ending.is_none() {
                self.look_for_end(deadline);
                if self.ending.is_some() {
                    duration_ns = elapsed_ns(begun);
                    drain_until = Instant::now() + DRAIN_PATIENCE;
                    drain_limit = Instant::now() + DRAIN_LIMIT;
                    // The controller waits a little longer than its command may take, and no longer than that.
                    give_up = deadline.max(Instant::now()) + DRAIN_LIMIT;
                }
            }
            let open = self.stdout.pipe.is_some() || self.stderr.pipe.is_some();
            let starving = self.starves();
            let patience_ends = if starving { give_up } else { drain_until };
            let unwanted = starving && self.stream.cancelled();
            if self.ending.is_some() && (!open || unwanted || Instant::now() >= patience_ends) {
                break;
            }
            self.feed_input();
            let out = self.stdout.read(self.stream, &mut buffer);
            let err = self.stderr.read(self.stream, &mut buffer);
            if out || err {
                if self.ending.is_some() {
                    drain_until = drain_limit.min(Instant::now() + DRAIN_PATIENCE);
                }
                continue;
            }
            let waited_from = Instant::now();
            self.wait(patience_ends);
            if starving && self.ending.is_some() {
                let waited = waited_from.elapsed();
                drain_until += waited;
                drain_limit += waited;
            }
        }
        self.stdout.leave();
        self.stderr.leave();
        ExecEnd {
            ending: self.ending.unwrap_or(Ending::Cancelled),
            stdout_dropped_bytes: self.stdout.dropped_bytes,
            stderr_dropped_bytes: self.stderr.dropped_bytes,
            duration_ns,
            left_over: self.left_over,
        }
    }

    /// Whether an output may hold something that only lacks credit.
    fn starves(&self) -> bool {
        let credit_bytes = self.stream.credit_bytes();
        self.stdout.starves(credit_bytes) || self.stderr.starves(credit_bytes)
    }

    /// Sees whether the process has ended, is out of time or was cancelled; ends the rest then.
    fn look_for_end(&mut self, deadline: Instant) {
        let mut exited = [PollFd::new(&self.pidfd, PollFlags::IN)];
        if poll(&mut exited, Some(&node::timespec(Duration::ZERO))) == Ok(1) {
            // The leader is a zombie until it is waited for: the group's number is still ours.
            let _ = kill_process_group(self.pid, Signal::KILL);
            self.ending = Some(match self.child.wait() {
                Ok(status) => match (status.code(), status.signal()) {
                    (Some(code), _) => Ending::Code(code),
                    (None, Some(signal)) => Ending::Signal(signal),
                    (None, None) => Ending::Cancelled,
                },
                Err(_) => Ending::Cancelled,
            });
            return;
        }
        let ending = if self.stream.cancelled() {
            Ending::Cancelled
        } else if Instant::now() >= deadline {
            Ending::TimedOut
        } else {
            return;
        };
        self.left_over = kill_tree(self.pid, KILL_PATIENCE);
        if self.left_over == 0 {
            let _ = self.child.wait();
        }
        self.ending = Some(ending);
    }

    /// Hands what came for standard input to the command, as far as it takes it.
    fn feed_input(&mut self) {
        loop {
            if self.input.is_empty() {
                match self.stream.take() {
                    Inbound::Data(bytes) => self.input = bytes,
                    Inbound::Eof => {
                        self.stdin = None;
                        return;
                    }
                    Inbound::Nothing => return,
                }
            }
            let written = match &self.stdin {
                Some(stdin) => rustix::io::write(stdin, &self.input),
                // It does not want it: everything is taken and thrown away.
                None => Ok(self.input.len()),
            };
            match written {
                Ok(count) => {
                    self.input.drain(..count);
                    self.stream.consumed(count);
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(_) => self.stdin = None,
            }
        }
    }

    /// Waits until there is something to do.
    fn wait(&self, until: Instant) {
        let credit_bytes = self.stream.credit_bytes();
        let mut fds = vec![PollFd::from_borrowed_fd(
            self.stream.wake_fd(),
            PollFlags::IN,
        )];
        if self.ending.is_none() {
            fds.push(PollFd::new(&self.pidfd, PollFlags::IN));
        }
        for pipe in [&self.stdout, &self.stderr] {
            if let Some(pipe) = pipe.wanted(credit_bytes) {
                fds.push(PollFd::from_borrowed_fd(pipe, PollFlags::IN));
            }
        }
        if let Some(stdin) = self.stdin.as_ref().filter(|_| !self.input.is_empty()) {
            fds.push(PollFd::new(stdin, PollFlags::OUT));
        }
        // An interruption looks like a wake-up for nothing.
        let _ = poll(&mut fds, Some(&node::until(until)));
        self.stream.clear_wake();
    }
}
