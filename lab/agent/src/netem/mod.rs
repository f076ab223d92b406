//! What the kernel's netem does, in user space, for kernels that lack it: packets come late, twice, out of order or damaged.
//!
//! ```text
//! TCP ── output, priority -301 ── NFQUEUE ── relay: copies it, lets it be dropped ── waits ── raw socket ── output ── the wire
//!                    └ what group GID sends passes: it has been here already ┘
//! ```
//!
//! The table of nft and its chains are the fault's; the relay puts the one rule in that nft cannot say where the kernel has no
//! `nft_queue`: `xt_NFQUEUE`, by way of `nft_compat`. It may be bypassed: when no relay listens, packets pass as if nothing were there.
//!
//! Laws:
//! - a packet is taken once, and dropped at once: held as it is, it would count as not yet sent, and TCP sends no more than about two such;
//! - it is held before any other table sees it, and sent through all of them: a partition drops it when it goes out, loss draws once for it;
//! - what is longer than the wire takes passes at once, and what is too much to be held is lost; both are counted;
//! - the relay ends when its notes are gone.
//!
//! Sources: linux/netfilter/nfnetlink_queue.h, linux/netfilter/nf_tables.h, linux/netfilter/xt_NFQUEUE.h, raw(7).

mod relay;
mod shape;
mod wire;

use std::{
    fs,
    io::{self, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{io::Errno, process::setsid};

use self::{
    relay::{Counts, Relay},
    shape::Shape,
};
use crate::{node::OWN_BINARY, process::ProcessStat};

/// The subcommand that tries whether it can be had, in whatever network it is called in: one of its own, best.
pub const CHECK: &str = "netem-check";
/// The subcommand that starts a relay and returns once it works.
pub const START: &str = "netem-start";
/// The subcommand that is the relay.
pub const SERVE: &str = "netem-serve";

/// The group of the relay: what it sends is known by that.
const GID: u32 = 18_497;
/// How long a relay may take to be there.
const BEGIN_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(5);

/// What is asked of a relay: `NOTES TABLE MTU SHAPE...`.
struct Asked<'a> {
    /// The folder of the fault's notes: `pid`, `counts` and `said` are ours.
    notes: &'a Path,
    /// The table, of family ip, with a chain `held`.
    table: &'a str,
    /// The longest packet that goes out whole, bytes.
    mtu: usize,
    shape: Shape,
}

impl<'a> Asked<'a> {
    fn parse(arguments: &'a [String]) -> Option<Self> {
        let [notes, table, mtu, shape @ ..] = arguments else {
            return None;
        };
        let words: Vec<&str> = shape.iter().map(String::as_str).collect();
        Some(Self {
            notes: Path::new(notes),
            table,
            mtu: mtu.parse().ok()?,
            shape: Shape::parse(&words)?,
        })
    }
}

fn usage() -> ExitCode {
    eprintln!(
        "usage: harness-agent {START} NOTES TABLE MTU slow DELAY_MS JITTER_MS | duplicate PERCENT | reorder PERCENT DELAY_MS | corrupt PERCENT"
    );
    ExitCode::FAILURE
}

fn exit(ended: io::Result<()>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may read it any more.
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

/// `netem-check TABLE`: everything that a relay needs is opened and put in once. The table and its chain `held` are there.
pub fn main_check(arguments: &[String]) -> ExitCode {
    let [table] = arguments else {
        return usage();
    };
    exit(Relay::open(table, 0).map(drop))
}

/// `netem-start NOTES TABLE MTU SHAPE...`: a relay works there, or why not.
pub fn main_start(arguments: &[String]) -> ExitCode {
    match Asked::parse(arguments) {
        Some(asked) => exit(start(&asked, arguments)),
        None => usage(),
    }
}

fn start(asked: &Asked<'_>, arguments: &[String]) -> io::Result<()> {
    let said = asked.notes.join("said");
    let mut child = Command::new(OWN_BINARY)
        .arg(SERVE)
        .args(arguments)
        .gid(GID)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&said)?)
        .spawn()?;
    let pid = i32::try_from(child.id()).map_err(|_| Errno::OVERFLOW)?;
    let begun = ProcessStat::read(pid)?.start_time;
    fs::write(asked.notes.join("pid"), format!("{pid} {begun}\n"))?;
    let give_up = Instant::now() + BEGIN_LIMIT;
    loop {
        if asked.notes.join("counts").exists() {
            return Ok(());
        }
        if child.try_wait()?.is_some() {
            let why = fs::read_to_string(&said).unwrap_or_default();
            return Err(io::Error::other(why.trim().to_owned()));
        }
        if Instant::now() >= give_up {
            child.kill()?;
            child.wait()?;
            return Err(Errno::TIMEDOUT.into());
        }
        thread::sleep(POLL);
    }
}

/// `netem-serve NOTES TABLE MTU SHAPE...`: the relay, until its notes are gone.
pub fn main_serve(arguments: &[String]) -> ExitCode {
    match Asked::parse(arguments) {
        Some(asked) => exit(serve(&asked)),
        None => usage(),
    }
}

fn serve(asked: &Asked<'_>) -> io::Result<()> {
    // It leads a session already if it was started by hand.
    let _ = setsid();
    let mut relay = Relay::open(asked.table, asked.mtu)?;
    let mut told = None;
    while asked.notes.is_dir() {
        let counts = relay.counts();
        if told.as_ref() != Some(&counts) {
            tell(asked.notes, &counts)?;
            told = Some(counts);
        }
        relay.work(&asked.shape, TELL_EVERY)?;
    }
    Ok(())
}

/// How often what was done is written down.
const TELL_EVERY: Duration = Duration::from_millis(100);

fn tell(notes: &Path, counts: &Counts) -> io::Result<()> {
    let new = notes.join("counts.new");
    let told =
        fs::write(&new, counts.to_string()).and_then(|()| fs::rename(&new, notes.join("counts")));
    match told {
        // The notes have gone in this moment.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        told => told,
    }
}
