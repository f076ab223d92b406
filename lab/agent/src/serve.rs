//! The agent's life: read frames, hand each to its stream, and take everything down at the end.
//!
//! Laws:
//! - only this thread reads the input; it opens streams, delivers to them, and never waits for one;
//! - input that makes no sense ends the agent, as does its end, silence, and an output that nobody reads;
//! - on the way out every command is killed, and the agent waits for that, but not for ever; a probe may be kept for a while ([`probe`]).

use std::{
    collections::HashMap,
    io,
    process::ExitCode,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use harness_core::frame::{
    Decoder, Frame, Kind, MAGIC, PROTOCOL_VERSION,
    message::{End, Failure, Greeting, Request},
};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    connect, exec, file, guard, node, outbox::Outbox, probe, reboot, signal, stream::Stream,
    supervise, watch,
};

/// Time without a word from the controller (it pings) after which it is taken for dead.
pub const SILENCE_LIMIT: Duration = Duration::from_secs(120);
/// Streams open at the same time; more are refused.
const MAX_STREAMS: usize = 1024;
/// Time for workers to kill what they run when the agent ends.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(4);
/// Time between two looks at the workers then.
const SHUTDOWN_LOOK_EVERY: Duration = Duration::from_millis(5);
/// Bytes of stack of a worker; their buffers are on the heap.
const WORKER_STACK_BYTES: usize = 256 * 1024;
/// Bytes that are read from the controller in one go.
const READ_BYTES: usize = 128 * 1024;

/// Exit code when the controller broke the protocol.
const EXIT_PROTOCOL: u8 = 76;

/// Serves the controller on standard input and output until it goes away.
pub fn main() -> ExitCode {
    let outbox = Arc::new(Outbox::default());
    let server = Arc::new(Server {
        outbox: Arc::clone(&outbox),
        streams: Mutex::default(),
        turns: exec::Turns::new(),
        output_broken: AtomicBool::new(false),
    });
    let writer = {
        let server = Arc::clone(&server);
        thread::spawn(move || {
            if server.write().is_err() {
                server.output_broken.store(true, Ordering::Relaxed);
                server.orphan_all();
            }
        })
    };
    let result = server.read();
    server.orphan_all();
    server.wait_for_workers();
    outbox.close();
    let gone = server.output_broken.load(Ordering::Relaxed);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // A writer that is stuck in its write is ended by the end of the process.
        Err(error) => {
            if !gone && error.kind() == io::ErrorKind::InvalidData {
                eprintln!("harness-agent: {error}");
                let _ = writer.join();
            }
            ExitCode::from(EXIT_PROTOCOL)
        }
    }
}

struct Server {
    outbox: Arc<Outbox>,
    streams: Mutex<Streams>,
    turns: exec::Turns,
    output_broken: AtomicBool,
}

#[derive(Default)]
struct Streams {
    open: HashMap<u32, Arc<Stream>>,
    last: u32,
}

impl Server {
    /// Magic, hello, then whatever is queued.
    fn write(&self) -> io::Result<()> {
        let mut out = io::stdout().lock();
        io::Write::write_all(&mut out, &MAGIC)?;
        self.outbox.message(0, Kind::Hello, &node::hello());
        self.outbox.run(&mut out)
    }

    /// Reads frames until the input ends.
    fn read(self: &Arc<Self>) -> io::Result<()> {
        let input = io::stdin();
        let mut decoder = Decoder::new();
        let mut buffer = vec![0; READ_BYTES];
        let mut greeted = false;
        loop {
            let mut fds = [PollFd::new(&input, PollFlags::IN)];
            match poll(&mut fds, Some(&node::timespec(SILENCE_LIMIT))) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            let count = match rustix::io::read(&input, &mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
                Err(error) => return Err(error.into()),
            };
            decoder.push(&buffer[..count]);
            while let Some(frame) = next_frame(&mut decoder)? {
                if greeted {
                    self.take(frame)?;
                } else {
                    check_greeting(&frame)?;
                    greeted = true;
                }
            }
        }
    }

    fn take(self: &Arc<Self>, frame: Frame) -> io::Result<()> {
        match frame.kind {
            Kind::Ping => {
                self.outbox.control(0, Kind::Pong, &frame.payload);
                Ok(())
            }
            Kind::Open => self.open(&frame),
            Kind::Data | Kind::Credit | Kind::Eof | Kind::Cancel => {
                let stream = {
                    let streams = self.lock();
                    if frame.stream > streams.last {
                        return Err(broken(format!("stream {} was never opened", frame.stream)));
                    }
                    // One that has ended is still talked to for a round trip.
                    streams.open.get(&frame.stream).cloned()
                };
                stream.map_or(Ok(()), |stream| stream.deliver(frame).map_err(broken))
            }
            kind => Err(broken(format!("a {kind:?} frame is not for the agent"))),
        }
    }

    fn open(self: &Arc<Self>, frame: &Frame) -> io::Result<()> {
        let id = frame.stream;
        let too_many = {
            let mut streams = self.lock();
            if id <= streams.last {
                return Err(broken(format!("stream {id} was opened twice")));
            }
            streams.last = id;
            streams.open.len() >= MAX_STREAMS
        };
        let request: Request = match serde_json::from_slice(&frame.payload) {
            Ok(request) => request,
            Err(error) => {
                self.refuse(id, format!("the request cannot be read: {error}"));
                return Ok(());
            }
        };
        if too_many {
            self.refuse(id, format!("more than {MAX_STREAMS} streams are open"));
            return Ok(());
        }
        let stream = match Stream::new(id, Arc::clone(&self.outbox)) {
            Ok(stream) => Arc::new(stream),
            Err(error) => {
                self.refuse(id, format!("no stream: {error}"));
                return Ok(());
            }
        };
        // Nothing in it can wait, and a thread would cost more than the answer.
        if matches!(request, Request::Clock) {
            stream.end(&End::Clock(node::clock()));
            return Ok(());
        }
        self.lock().open.insert(id, Arc::clone(&stream));
        let server = Arc::clone(self);
        let worker = thread::Builder::new()
            .stack_size(WORKER_STACK_BYTES)
            .spawn(move || {
                server.work(&stream, &request);
                server.lock().open.remove(&id);
            });
        if let Err(error) = worker {
            self.lock().open.remove(&id);
            self.refuse(id, format!("no thread: {error}"));
        }
        Ok(())
    }

    fn work(&self, stream: &Stream, request: &Request) {
        match request {
            Request::Exec(request) => exec::run(stream, request, &self.turns),
            Request::Spawn(request) => supervise::spawn(stream, request),
            Request::ReadFile {
                path,
                offset_bytes,
                limit_bytes,
            } => file::read(stream, path, *offset_bytes, *limit_bytes),
            Request::WriteFile { path, mode } => file::write(stream, path, *mode),
            Request::Stat { path } => file::stat(stream, path),
            Request::Connect { target, timeout_ms } => {
                connect::run(stream, target, Duration::from_millis(*timeout_ms));
            }
            Request::Probe(request) => probe::run(stream, request),
            Request::Guard(request) => guard::run(stream, request),
            Request::Signal(request) => signal::run(stream, request),
            Request::Reboot => reboot::run(stream),
            Request::Watch(request) => watch::run(stream, request),
            _ => stream.end(&End::Failed(Failure {
                errno: None,
                message: "this agent does not know that request".into(),
            })),
        }
    }

    fn refuse(&self, id: u32, message: String) {
        let end = End::Failed(Failure {
            errno: None,
            message,
        });
        self.outbox.message(id, Kind::End, &end);
    }

    fn orphan_all(&self) {
        for stream in self.lock().open.values() {
            stream.orphan();
        }
    }

    fn wait_for_workers(&self) {
        let give_up = Instant::now() + SHUTDOWN_PATIENCE;
        loop {
            let (waits, keeps) = {
                let open = &self.lock().open;
                (
                    !open.is_empty(),
                    open.values().any(|stream| stream.is_kept()),
                )
            };
            // What is kept ends by itself, in its own time.
            if !waits || (!keeps && Instant::now() >= give_up) {
                return;
            }
            thread::sleep(SHUTDOWN_LOOK_EVERY);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn next_frame(decoder: &mut Decoder) -> io::Result<Option<Frame>> {
    decoder
        .next_frame()
        .map_err(|error| broken(decoder.explain(&error)))
}

fn check_greeting(frame: &Frame) -> io::Result<()> {
    if frame.kind != Kind::Hello {
        return Err(broken("the controller does not say hello"));
    }
    let greeting: Greeting = serde_json::from_slice(&frame.payload).map_err(broken)?;
    if greeting.protocol != PROTOCOL_VERSION {
        return Err(broken(format!(
            "the controller speaks protocol {}, this agent {PROTOCOL_VERSION}",
            greeting.protocol
        )));
    }
    Ok(())
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
