//! One process's wall clock, shifted for that process alone by rewriting its vDSO; x86-64 only.
//!
//! C and Go read the clock there, so both feel it; what makes the system call by itself does not, and the kernel goes by the real
//! clock where it is asked to wait until a time of day. A child that the process forks has the same clock until it runs another
//! program; a process that is started anew has a right one.
//!
//! ```text
//! harness-agent clock-shift PID NOTES jump BY_NS
//! harness-agent clock-shift PID NOTES strobe BY_NS PERIOD_NS
//! harness-agent clock-shift PID NOTES skew RATE_PPM
//! harness-agent clock-look NOTES         `seen TEXT`, or `unseen TEXT`
//! harness-agent clock-restore NOTES
//! harness-agent clock-check [PID]        tries all of it on a child of its own
//! ```
//!
//! A command that fails says why on its standard error and exits 1.

mod call;
mod code;
mod halt;
mod memory;
mod notes;
mod process;
mod vdso;

use std::{
    io::{self, Read},
    path::Path,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::node::{self, OWN_BINARY};
use code::Shift;
use memory::Memory;
use notes::Notes;
use process::Seen;

/// The subcommand that shifts a process's clock.
pub const SHIFT: &str = "clock-shift";
/// The subcommand that looks whether a process's clock is shifted.
pub const LOOK: &str = "clock-look";
/// The subcommand that puts a process's clock right.
pub const RESTORE: &str = "clock-restore";
/// The subcommand that finds out whether all of that can be had.
pub const CHECK: &str = "clock-check";
/// The subcommand that is a child to try it on.
pub const TRIAL: &str = "clock-trial";

/// How long the two halves of a strobe are waited for.
const STROBE_LIMIT: Duration = Duration::from_secs(3);
/// How long between two readings.
const READ_PAUSE: Duration = Duration::from_millis(5);
/// How long a skew is watched to grow.
const SKEW_WATCH: Duration = Duration::from_millis(100);
/// How far the trial's clock jumps, in nanoseconds.
const TRIAL_NS: i64 = 1_000_000_000_000;

/// Any of the subcommands.
pub fn main(command: &str, arguments: &[String]) -> ExitCode {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match (command, arguments.as_slice()) {
        (SHIFT, [pid, notes, how @ ..]) => shift(pid, Path::new(notes), how),
        (LOOK, [notes]) => look(Path::new(notes)),
        (RESTORE, [notes]) => restore(Path::new(notes)),
        (CHECK, []) => check(None),
        (CHECK, [pid]) => check(Some(pid)),
        (TRIAL, []) => trial(),
        _ => Err(usage()),
    };
    match done {
        Ok(text) => {
            if !text.is_empty() {
                println!("{text}");
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> io::Error {
    io::Error::other("that is no command about a clock")
}

fn number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.parse().map_err(|_| usage())
}

fn shift(pid: &str, notes: &Path, how: &[&str]) -> io::Result<String> {
    let pid = number(pid)?;
    let base_ns = node::clock().monotonic_ns;
    let shift = match how {
        ["jump", by] => Shift::Jump { by_ns: number(by)? },
        ["strobe", by, period] => Shift::Strobe {
            by_ns: number(by)?,
            period_ns: number(period)?,
            base_ns,
        },
        ["skew", rate] => Shift::Skew {
            rate_ppm: number(rate)?,
            base_ns,
        },
        _ => return Err(usage()),
    };
    let done = process::shift(pid, shift, Some(notes))?;
    Ok(format!(
        "{} clock functions of process {pid} were rewritten in its memory",
        done.jumps.len()
    ))
}

fn restore(notes: &Path) -> io::Result<String> {
    let Some(notes) = Notes::read(notes)? else {
        return Ok("no clock was shifted".to_owned());
    };
    let pid = notes.pid;
    let text = match (process::restore(&notes)?, process::look(&notes)?) {
        (_, Seen::Gone) => format!("process {pid} is gone, and its clock with it"),
        (_, Seen::Shifted { .. }) => {
            return Err(io::Error::other(format!(
                "the clock of process {pid} is still shifted"
            )));
        }
        (true, Seen::Right) => {
            format!("the clock functions of process {pid} are byte by byte as they were")
        }
        (false, Seen::Right) => format!("the clock functions of process {pid} are its own"),
    };
    Ok(text)
}

fn look(notes: &Path) -> io::Result<String> {
    let Some(notes) = Notes::read(notes)? else {
        return Ok("unseen nothing was rewritten".to_owned());
    };
    let pid = notes.pid;
    let first = process::look(&notes)?;
    let off = match first {
        Seen::Gone => return Ok(format!("unseen process {pid} has ended")),
        Seen::Right => return Ok(format!("unseen process {pid} has its own clock functions")),
        Seen::Shifted { off_ns, .. } if first.holds() => off_ns,
        Seen::Shifted {
            off_ns, meant_ns, ..
        } => {
            return Ok(format!(
                "unseen the clock of process {pid} is off by {} ms, and {} ms were meant",
                ms(off_ns),
                ms(meant_ns)
            ));
        }
    };
    let told =
        format!("the clock functions in the memory of process {pid}, run from a copy of it, tell");
    Ok(match notes.shift {
        Shift::Jump { .. } => format!("seen {told} a time that is off by {} ms", ms(off)),
        Shift::Strobe { period_ns, .. } => strobe(&notes, &told, period_ns)?,
        Shift::Skew { rate_ppm, .. } => skew(&notes, &told, rate_ppm, off)?,
    })
}

/// Reads until both halves were seen, or for as long as it may take.
fn strobe(notes: &Notes, told: &str, period_ns: u64) -> io::Result<String> {
    let period = Duration::from_nanos(period_ns);
    let until = Instant::now() + STROBE_LIMIT.min(period * 3);
    // What was meant and what was read; a new one with each turn.
    let mut turns: Vec<(i64, i64)> = Vec::new();
    while Instant::now() < until && turns.len() < 3 {
        if let seen @ Seen::Shifted {
            off_ns, meant_ns, ..
        } = process::look(notes)?
            && seen.holds()
            && turns.last().is_none_or(|(meant, _)| *meant != meant_ns)
        {
            turns.push((meant_ns, off_ns));
        }
        thread::sleep(READ_PAUSE);
    }
    let words = turns.iter().map(|(_, off)| format!("{} ms", ms(*off)));
    let words: Vec<String> = words.collect();
    Ok(match words.as_slice() {
        [] => "unseen nothing could be read".to_owned(),
        [one] if period * 2 <= STROBE_LIMIT => format!("unseen its clock stays off by {one}"),
        [one] => format!("seen {told} a time that is off by {one} now, and was not watched longer"),
        _ => format!(
            "seen {told} a time that is off by {} in turn",
            words.join(", ")
        ),
    })
}

/// It holds once it is off by more than could be a reading's error.
fn skew(notes: &Notes, told: &str, rate_ppm: i64, before_ns: i64) -> io::Result<String> {
    thread::sleep(SKEW_WATCH);
    let seen = process::look(notes)?;
    let Seen::Shifted {
        off_ns, bound_ns, ..
    } = seen
    else {
        return Ok("unseen it was put right meanwhile".to_owned());
    };
    if !seen.holds() || off_ns * rate_ppm.signum() <= 2 * bound_ns {
        return Ok(format!("unseen its clock is off by {off_ns} ns so far"));
    }
    Ok(format!(
        "seen {told} a time that is off by {} ms, {} µs more than {} ms before",
        ms(off_ns),
        (off_ns - before_ns) / 1_000,
        SKEW_WATCH.as_millis()
    ))
}

/// To the nearest.
fn ms(ns: i64) -> i64 {
    let half = 500_000 * ns.signum();
    ns.saturating_add(half) / 1_000_000
}

/// A child that is killed when this is dropped.
struct Trial(Child);

impl Drop for Trial {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All of it, on a child; then whether the process that is meant can be reached, if it runs.
fn check(pid: Option<&str>) -> io::Result<String> {
    let child = Command::new(OWN_BINARY)
        .arg(TRIAL)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut trial = Trial(child);
    // It says that it runs: then its program is there.
    let output = trial.0.stdout.as_mut();
    let output = output.ok_or_else(|| io::Error::other("it has no output"))?;
    output.read_exact(&mut [0])?;
    let pid_of_trial = trial.0.id().cast_signed();
    let notes = process::shift(pid_of_trial, Shift::Jump { by_ns: TRIAL_NS }, None)?;
    let seen = process::look(&notes)?;
    if !seen.holds() {
        return Err(io::Error::other(format!(
            "a clock that was shifted was not seen to be: {seen:?}"
        )));
    }
    process::restore(&notes)?;
    if process::look(&notes)? != Seen::Right {
        return Err(io::Error::other("a clock could not be put right again"));
    }
    if let Some(pid) = pid {
        reach(number(pid)?)?;
    }
    Ok(String::new())
}

fn reach(pid: i32) -> io::Result<()> {
    match Memory::open(pid) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io::Error::other(format!(
            "the memory of process {pid} cannot be written: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Says that it runs, and does nothing until its input ends.
fn trial() -> io::Result<String> {
    println!();
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(String::new())
}
