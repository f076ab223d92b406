//! The node's guard: undoes the faults on this node when nothing was heard from the controller for a while.
//!
//! ```text
//! FOLDER/guard/state        what is to be undone, and when it was last said so; replaced as a whole
//! FOLDER/guard/healed       what was undone, one JSON object a line
//! FOLDER/guard/lock         held by the one guard while it lives
//! FOLDER/guard/turn         held by whoever reads and changes the two files; by the guard while scripts run
//! ```
//!
//! Laws:
//! - the guard is a process of its own session, no child of the agent: neither the end of the channel nor that of sshd reaches it;
//! - there is one at most, whoever asks for it; when nothing is left to be undone, or its folder is gone, it ends;
//! - an agent that hands over scripts answers only once a guard watches them;
//! - time is `CLOCK_BOOTTIME`: a machine that slept has been silent for that long.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::{
        fs::{DirBuilderExt, OpenOptionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use harness_core::frame::{
    guard::{GuardEnd, GuardHeal, GuardHealed, GuardRequest, MAX_HEALS},
    message::End,
};
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
    process::{Pid, Signal, kill_process_group, setsid},
    time::{ClockId, clock_gettime},
};
use serde::{Deserialize, Serialize};

use crate::{
    node::{self, OWN_BINARY},
    probe::kept,
    stream::Stream,
};

/// The subcommand that leaves the caller's session.
pub const DETACH: &str = "guard-detach";
/// The subcommand that is the guard.
pub const WATCH: &str = "guard-watch";

/// How often the guard looks at how long ago the controller was heard.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long the files may be in others' hands: as long as all scripts of a node may take.
const TURN_LIMIT: Duration = Duration::from_secs(170);
/// How long one script may take: as long as `harness lab heal` gives it, a start after an unended stop included.
const SCRIPT_LIMIT: Duration = Duration::from_secs(90);
/// How often a script that does not succeed is run.
const TRIES: u32 = 3;
/// Pause between two tries.
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a guard may take to watch.
const BEGIN_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two looks at a lock or a process.
const POLL: Duration = Duration::from_millis(5);
/// Bytes that are kept of what a script that failed wrote.
const PROBLEM_BYTES: usize = 400;
/// Bytes of the two files that are read, at most.
const FILE_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// What `state` holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    run: String,
    lease_ms: u64,
    /// `CLOCK_BOOTTIME` in nanoseconds.
    renewed_ns: i64,
    heals: Vec<GuardHeal>,
}

/// Tells the guard and ends the stream with what it did.
pub fn run(stream: &Stream, request: &GuardRequest) {
    match own_folder().and_then(|folder| folder.tell(request)) {
        Ok(end) => stream.end(&End::Guarded(end)),
        Err(error) => stream.fail(&error),
    }
}

/// `guard-detach FOLDER`: leaves the session of whoever called and leaves the guard to init.
pub fn main_detach(arguments: &[String]) -> ExitCode {
    let begun = setsid().map_err(io::Error::from).and_then(|_| {
        Command::new(OWN_BINARY)
            .arg(WATCH)
            .args(arguments)
            .current_dir("/")
            .spawn()
    });
    match begun {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// `guard-watch FOLDER`: watches until there is nothing to watch.
pub fn main_watch(arguments: &[String]) -> ExitCode {
    let [folder] = arguments else {
        return ExitCode::FAILURE;
    };
    match Folder(PathBuf::from(folder)).watch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Beside the agent's binary: a folder that is ours alone, and that goes when we are removed from the node.
fn own_folder() -> io::Result<Folder> {
    let binary = fs::read_link(OWN_BINARY)?;
    let folder = binary.parent().ok_or(Errno::NOENT)?;
    Ok(Folder(folder.join("guard")))
}

fn boot_ns() -> i64 {
    const NS_PER_S: i64 = 1_000_000_000;
    let now = clock_gettime(ClockId::Boottime);
    now.tv_sec
        .saturating_mul(NS_PER_S)
        .saturating_add(now.tv_nsec)
}

/// The guard's folder.
struct Folder(PathBuf);

impl Folder {
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.file(name))
    }

    fn turn(&self) -> io::Result<File> {
        let file = self.open("turn")?;
        lock_within(&file, TURN_LIMIT)?;
        Ok(file)
    }

    /// What the controller's request comes to. Law 3.
    fn tell(&self, request: &GuardRequest) -> io::Result<GuardEnd> {
        if request.heals.len() > MAX_HEALS {
            return Err(Errno::TOOBIG.into());
        }
        if request.heals.is_empty() {
            kept::end_all();
            if !self.0.is_dir() {
                return Ok(GuardEnd::default());
            }
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)?;
        let turn = self.turn()?;
        let healed = self.healed();
        if request.run != self.state().run && !request.heals.is_empty() {
            remove(&self.file("healed"))?;
        }
        let is_asked = |healed: &GuardHealed| request.purge || healed.run == request.run;
        let end = GuardEnd {
            watching: !request.heals.is_empty(),
            healed: healed.into_iter().filter(is_asked).collect(),
        };
        if request.heals.is_empty() {
            self.stand_down(request.purge)?;
            return Ok(end);
        }
        self.write(&State {
            run: request.run.clone(),
            lease_ms: request.lease_ms,
            renewed_ns: boot_ns(),
            heals: request.heals.clone(),
        })?;
        self.begin()?;
        drop(turn);
        Ok(end)
    }

    /// The guard sees that there is nothing left, and ends by itself.
    fn stand_down(&self, purge: bool) -> io::Result<()> {
        if purge {
            return match fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        }
        let run = self.state().run;
        self.write(&State {
            run,
            ..State::default()
        })
    }

    /// Starts a guard unless there is one, and waits until it watches.
    fn begin(&self) -> io::Result<()> {
        if self.is_watched()? {
            return Ok(());
        }
        let status = Command::new(OWN_BINARY)
            .arg(DETACH)
            .arg(&self.0)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(io::Error::other(format!(
                "the guard cannot be started: {status}"
            )));
        }
        let give_up = Instant::now() + BEGIN_LIMIT;
        while !self.is_watched()? {
            if Instant::now() >= give_up {
                return Err(Errno::TIMEDOUT.into());
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn is_watched(&self) -> io::Result<bool> {
        // Given up again at once: a guard that begins waits for it.
        match flock(self.open("lock")?, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    fn watch(&self) -> io::Result<()> {
        let lock = self.open("lock")?;
        lock_within(&lock, BEGIN_LIMIT)?;
        loop {
            {
                // No folder, no turn: then somebody has removed us from the node.
                if !self.file("turn").exists() {
                    return Ok(());
                }
                let _turn = self.turn()?;
                let state = self.state();
                if state.heals.is_empty() {
                    // Under the turn, so that nobody hands anything over to a guard that is about to end.
                    drop(lock);
                    return Ok(());
                }
                let silent_ns = boot_ns().saturating_sub(state.renewed_ns);
                let silent_ms = u64::try_from(silent_ns / 1_000_000).unwrap_or(0);
                if silent_ms >= state.lease_ms {
                    self.heal(&state, silent_ms)?;
                    drop(lock);
                    return Ok(());
                }
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    fn heal(&self, state: &State, silent_ms: u64) -> io::Result<()> {
        kept::end_all();
        for heal in &state.heals {
            let problem = self.run_script(&heal.script).err();
            let clock = node::clock();
            let healed = GuardHealed {
                run: state.run.clone(),
                fault: heal.fault,
                silent_ms,
                wall_ns: clock.wall_ns,
                monotonic_ns: clock.monotonic_ns,
                problem,
            };
            let mut line = serde_json::to_vec(&healed)?;
            line.push(b'\n');
            self.open("healed")?.write_all(&line)?;
        }
        self.write(&State {
            run: state.run.clone(),
            ..State::default()
        })
    }

    /// Runs it until it succeeds, a few times.
    fn run_script(&self, script: &str) -> Result<(), String> {
        let mut problem = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                thread::sleep(TRY_PAUSE);
            }
            match self.run_once(script) {
                Ok(None) => return Ok(()),
                Ok(Some(failed)) => problem = failed,
                Err(error) => problem = error.to_string(),
            }
        }
        Err(problem)
    }

    /// None if it succeeded. What it writes goes to a file: what it starts may hold that open for ever.
    fn run_once(&self, script: &str) -> io::Result<Option<String>> {
        let output = self.file("output");
        let said = File::create(&output)?;
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", script])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .process_group(0);
        if let Some(path) = node::completed_path() {
            command.env("PATH", path);
        }
        let mut child = command.spawn()?;
        let give_up = Instant::now() + SCRIPT_LIMIT;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if Instant::now() >= give_up {
                let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                if let Some(group) = group {
                    // It may have ended in this moment.
                    let _ = kill_process_group(group, Signal::KILL);
                }
                child.wait()?;
                return Ok(Some(format!("not within {} s", SCRIPT_LIMIT.as_secs())));
            }
            thread::sleep(POLL);
        };
        let said = fs::read(&output).unwrap_or_default();
        remove(&output)?;
        if status.success() {
            return Ok(None);
        }
        let end = &said[said.len().saturating_sub(PROBLEM_BYTES)..];
        let end = String::from_utf8_lossy(end).trim().replace('\n', " ");
        Ok(Some(format!("{status}: {end}")))
    }

    fn state(&self) -> State {
        let bytes = read_limited(&self.file("state"));
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    fn healed(&self) -> Vec<GuardHealed> {
        let bytes = read_limited(&self.file("healed"));
        bytes
            .split(|byte| *byte == b'\n')
            .filter_map(|line| serde_json::from_slice(line).ok())
            .collect()
    }

    fn write(&self, state: &State) -> io::Result<()> {
        let new = self.file("state.new");
        fs::write(&new, serde_json::to_vec(state)?)?;
        fs::rename(&new, self.file("state"))
    }
}

/// All of a small file; nothing if it is not there or grew beyond what is ours.
fn read_limited(path: &Path) -> Vec<u8> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() <= FILE_LIMIT_BYTES => fs::read(path).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn lock_within(file: &File, limit: Duration) -> io::Result<()> {
    let give_up = Instant::now() + limit;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < give_up => thread::sleep(POLL),
            Err(Errno::WOULDBLOCK) => return Err(Errno::TIMEDOUT.into()),
            locked => return Ok(locked?),
        }
    }
}
