//! Daemons: processes that outlive the agent, watched by a supervisor of their own.
//!
//! Four processes take part, each a fresh run of this binary, so that no code runs between a
//! fork and an exec:
//!
//! ```text
//! agent ── supervise ── supervise-inner ── supervise-program ⇒ PROGRAM
//!          new session,  orphan: init's     new session; waits for the gate,
//!          ends at once  child; waits and   then becomes the program
//!                        writes exit_file   (same pid, same start time)
//! ```
//!
//! Laws:
//! - `pid_file` holds `PID STARTTIME` before the program's first instruction;
//! - the caller hears of a program that cannot be run, with the kernel's number;
//! - the supervisor holds nothing of the agent's: no pipe, no terminal, no session. It has no hang-up to
//!   fear, since a session without a terminal is sent none, and the death of the agent or of sshd does not reach it;
//! - `exit_file` appears whole, when the program has ended, and only then.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt, ExitStatusExt},
        },
    },
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use harness_core::frame::message::{End, Failure, SpawnRequest};
use rustix::{io::Errno, process::setsid};
use serde::Serialize;

use crate::{
    node::{self, OWN_BINARY},
    process::ProcessStat,
    stream::{Stream, failure},
};

/// The subcommand of the supervisor itself.
pub const INNER: &str = "supervise-inner";
/// The subcommand that becomes the program.
pub const PROGRAM: &str = "supervise-program";

/// Time for a daemon to be started or refused, before the caller is told that it hangs.
const START_LIMIT: Duration = Duration::from_secs(20);
/// Bytes of the supervisor's one answer, at most.
const ANSWER_LIMIT_BYTES: u64 = 64 * 1024;
/// First file descriptor that is not one of the standard three.
const FIRST_FREE_FD: i32 = 3;
/// The byte that opens the gate.
const GO: u8 = b'g';

/// Starts a daemon and ends the stream with its process id.
pub fn spawn(stream: &Stream, request: &SpawnRequest) {
    match start(request) {
        Ok(end) => stream.end(&end),
        Err(error) => stream.fail(&error),
    }
}

fn start(request: &SpawnRequest) -> io::Result<End> {
    if request.argv.is_empty() {
        return Err(Errno::INVAL.into());
    }
    let mut command = Command::new(OWN_BINARY);
    command
        .args(["supervise", "--pid-file", &request.pid_file])
        .args(["--log-file", &request.log_file])
        .args(["--exit-file", &request.exit_file, "--"])
        .args(&request.argv)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if let Some(path) = node::completed_path() {
        command.env("PATH", path);
    }
    command.envs(request.env.iter().map(|(name, value)| (name, value)));
    let mut child = command.spawn()?;
    let answer = child.stdout.take().map(read_answer);
    let _ = child.wait();
    match answer {
        Some(Ok(bytes)) => serde_json::from_slice(&bytes).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the supervisor made no sense: {error}"),
            )
        }),
        Some(Err(error)) => Err(error),
        None => Err(Errno::BADF.into()),
    }
}

/// Reads until the supervisor has closed its end, which it does when the program runs.
fn read_answer(mut pipe: impl Read + AsFd) -> io::Result<Vec<u8>> {
    use rustix::event::{PollFd, PollFlags, poll};
    let give_up = std::time::Instant::now() + START_LIMIT;
    let mut bytes = Vec::new();
    loop {
        let ready = poll(
            &mut [PollFd::new(&pipe, PollFlags::IN)],
            Some(&node::until(give_up)),
        );
        match ready {
            Ok(0) => return Err(Errno::TIMEDOUT.into()),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let mut chunk = [0; 1024];
        match pipe.read(&mut chunk)? {
            0 => return Ok(bytes),
            count if bytes.len() as u64 > ANSWER_LIMIT_BYTES - count as u64 => {
                return Err(Errno::TOOBIG.into());
            }
            count => bytes.extend_from_slice(&chunk[..count]),
        }
    }
}

/// `supervise`: leaves the caller's session and leaves the supervisor to init.
pub fn main_detach(arguments: &[String]) -> ExitCode {
    let detached = setsid()
        .map_err(io::Error::from)
        .and_then(|_| Command::new(OWN_BINARY).arg(INNER).args(arguments).spawn());
    match detached {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            answer(&End::Failed(failure(&error)));
            ExitCode::FAILURE
        }
    }
}

/// `supervise-inner`: starts the program, waits for it, records its end.
pub fn main_supervisor(arguments: &[String]) -> ExitCode {
    let Some(files) = Files::parse(arguments) else {
        answer(&End::Failed(Failure {
            errno: Some(Errno::INVAL.raw_os_error()),
            message: "arguments of supervise make no sense".into(),
        }));
        return ExitCode::FAILURE;
    };
    let child = match files.start() {
        Ok(child) => child,
        Err(error) => {
            answer(&End::Failed(failure(&error)));
            return ExitCode::FAILURE;
        }
    };
    answer(&End::Spawned { pid: child.id() });
    match let_go().and_then(|()| files.watch(child)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer(end: &End) {
    if let Ok(line) = serde_json::to_vec(end) {
        // Whoever asked may be gone; the daemon lives on all the same.
        let _ = io::stdout().write_all(&line);
        let _ = io::stdout().flush();
    }
}

/// Closes the pipe to whoever asked, which tells them that the answer is whole.
fn let_go() -> io::Result<()> {
    let nothing = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    Ok(())
}

/// The arguments of `supervise`.
struct Files<'a> {
    pid_file: &'a Path,
    log_file: &'a Path,
    exit_file: &'a Path,
    argv: &'a [String],
}

/// One line of `exit_file`.
#[derive(Serialize)]
struct ExitRecord {
    pid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    core: Option<bool>,
    wall_ns: u128,
}

impl<'a> Files<'a> {
    fn parse(arguments: &'a [String]) -> Option<Self> {
        match arguments {
            [a, pid_file, b, log_file, c, exit_file, d, argv @ ..]
                if a == "--pid-file"
                    && b == "--log-file"
                    && c == "--exit-file"
                    && d == "--"
                    && !argv.is_empty() =>
            {
                Some(Self {
                    pid_file: Path::new(pid_file),
                    log_file: Path::new(log_file),
                    exit_file: Path::new(exit_file),
                    argv,
                })
            }
            _ => None,
        }
    }

    fn start(&self) -> io::Result<Child> {
        for file in [self.pid_file, self.log_file, self.exit_file] {
            if let Some(folder) = file.parent() {
                fs::create_dir_all(folder)?;
            }
        }
        // The end of an earlier life must not be taken for this one's.
        match fs::remove_file(self.exit_file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_file)?;
        let (gate, program_side) = UnixStream::pair()?;
        let mut child = Command::new(OWN_BINARY)
            .arg(PROGRAM)
            .args(self.argv)
            .stdin(Stdio::from(OwnedFd::from(program_side)))
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .spawn()?;
        let begun = self.write_pid(child.id()).and_then(|()| open_gate(gate));
        if let Err(error) = begun {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        Ok(child)
    }

    fn write_pid(&self, pid: u32) -> io::Result<()> {
        let number = i32::try_from(pid).map_err(|_| Errno::SRCH)?;
        let start_time = ProcessStat::read(number)?.start_time;
        write_whole(self.pid_file, &format!("{pid} {start_time}\n"))
    }

    fn watch(&self, mut child: Child) -> io::Result<()> {
        let pid = child.id();
        let status = child.wait()?;
        let record = ExitRecord::new(pid, status);
        write_whole(self.exit_file, &(serde_json::to_string(&record)? + "\n"))
    }
}

impl ExitRecord {
    fn new(pid: u32, status: ExitStatus) -> Self {
        let signal = status.signal();
        Self {
            pid,
            code: status.code(),
            signal,
            core: signal.map(|_| status.core_dumped()),
            wall_ns: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos()),
        }
    }
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    let mut file = File::create(&temporary)?;
    file.write_all(text.as_bytes())?;
    drop(file);
    fs::rename(&temporary, path)
}

/// Lets the program begin, and waits until it has, or until it says why it cannot.
fn open_gate(mut gate: UnixStream) -> io::Result<()> {
    gate.write_all(&[GO])?;
    let mut errno = Vec::new();
    gate.read_to_end(&mut errno)?;
    match errno.first_chunk() {
        // A successful exec closed the other end without a word.
        None => Ok(()),
        Some(bytes) => Err(io::Error::from_raw_os_error(i32::from_be_bytes(*bytes))),
    }
}

/// `supervise-program`: waits for the gate and becomes the program.
pub fn main_program(argv: &[String]) -> ExitCode {
    match become_program(argv) {
        Ok(never) => match never {},
        Err(_) => ExitCode::FAILURE,
    }
}

fn become_program(argv: &[String]) -> io::Result<std::convert::Infallible> {
    let gate = rustix::io::fcntl_dupfd_cloexec(io::stdin(), FIRST_FREE_FD)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    let mut gate = UnixStream::from(gate);
    let mut byte = [0];
    // A supervisor that died or gave up closes the gate, and then the program never begins.
    gate.read_exact(&mut byte)?;
    setsid()?;
    let [program, arguments @ ..] = argv else {
        return Err(Errno::INVAL.into());
    };
    let error = Command::new(program).args(arguments).exec();
    let errno = error.raw_os_error().unwrap_or(Errno::INVAL.raw_os_error());
    gate.write_all(&errno.to_be_bytes())?;
    Err(error)
}
