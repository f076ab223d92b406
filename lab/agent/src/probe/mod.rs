//! Probes on functions of a program: armed for one stream, gone with it, or kept for a while when its channel is lost ([`kept`]).
//!
//! Laws:
//! - a hit counts only in the agent's own pid namespace, which is the node's: containers of one image share the program's
//!   inode, and a probe on an inode is hit in all of them;
//! - the file that was opened is the file that is probed, and its bytes are compared with what was resolved, first;
//! - the probes are taken away before the counters are read, so the end is exact; if the agent dies, the kernel takes them away;
//! - what is not permitted is refused with what to grant.

mod attach;
pub mod kept;
mod kernel;
mod program;

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    time::{Duration, Instant},
};

use harness_core::frame::{
    CHUNK_BYTES, Kind,
    message::{End, Failure},
    probe::{MAX_SITES, ProbeArmed, ProbeEnd, ProbeHit, ProbeReport, ProbeRequest},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use crate::{
    node,
    stream::{Inbound, Stream},
};

use attach::attach;
use kept::{Answer, Door, Given, State};
use kernel::{Counters, Ring};
use program::{Event, Plan};

/// Reports that wait for the controller, at most; then they wait in the ring.
const MAX_WAITING: usize = 4096;
/// What the node's monotonic clock is ahead of the kernel's, in a time namespace.
const TIME_OFFSETS: &str = "/proc/self/timens_offsets";
/// The kernel's own error number for what it has not implemented; it has no name outside of it.
const ENOTSUPP: i32 = 524;

/// Arms the probes, reports, and takes them away when the controller says so or is gone.
pub fn run(stream: &Stream, request: &ProbeRequest) {
    let kept = request.keep.as_ref().and_then(kept::take);
    let armed = match kept {
        Some(given) => Armed::go_on(given, request),
        None => Armed::new(request),
    };
    match armed {
        Ok(armed) => match armed.serve(stream) {
            Ok(end) => stream.end(&End::Probed(end)),
            Err(error) => stream.fail(&error),
        },
        Err(failure) => stream.end(&End::Failed(failure)),
    }
}

/// What could not be done, in words that name the mend.
fn failure(what: &str, error: &io::Error) -> Failure {
    let mend = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            " (mend: the agent needs CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON, in the machine's first user namespace: a \
             privileged container or a virtual machine, with no seccomp profile that denies bpf and perf_event_open; or \
             use a trigger that needs no probe)"
        }
        Some(libc::EMFILE | libc::ENFILE) => {
            " (mend: raise the limit of open files, or probe fewer functions)"
        }
        Some(ENOTSUPP | libc::EOPNOTSUPP) => {
            " (the kernel cannot probe the instruction at this entry; choose another function)"
        }
        _ => "",
    };
    Failure {
        errno: error.raw_os_error(),
        message: format!("{what}: {error}{mend}"),
    }
}

fn refuse(errno: Errno, message: String) -> Failure {
    Failure {
        errno: Some(errno.raw_os_error()),
        message,
    }
}

/// Probes that stand.
struct Armed {
    /// Dropped first: what is attached.
    probes: Vec<OwnedFd>,
    ring: Ring,
    counters: Counters,
    sites: u32,
    signalled: bool,
    said: ProbeArmed,
    monotonic_offset_ns: i64,
    waiting: VecDeque<u8>,
    waiting_lines: usize,
    /// The hit that fired, if it has.
    fired: Option<ProbeHit>,
    /// Where the next agent asks for it, if it is to be kept.
    door: Option<Door>,
    /// Dropped last: whoever waits until it is gone.
    visitor: Option<UnixStream>,
}

/// How often one who keeps a probe looks whether it still is to.
const KEEP_LOOK_EVERY: Duration = Duration::from_millis(200);

impl Armed {
    /// Goes on with a probe that another agent kept.
    fn go_on(given: Given, request: &ProbeRequest) -> Result<Self, Failure> {
        let Given { descriptors, state } = given;
        let [probe, program, ring, counters] = descriptors;
        let ring = Ring::of(ring).map_err(|error| failure("take over the ring", &error))?;
        let mut armed = Self {
            probes: vec![probe, program],
            ring,
            counters: Counters::of(counters),
            sites: 1,
            signalled: state.signalled,
            said: ProbeArmed {
                kept: true,
                ..state.said
            },
            monotonic_offset_ns: monotonic_offset_ns(),
            waiting: VecDeque::new(),
            waiting_lines: 0,
            fired: state.fired,
            door: None,
            visitor: None,
        };
        armed.door = door(request)?;
        Ok(armed)
    }

    fn new(request: &ProbeRequest) -> Result<Self, Failure> {
        if !cfg!(target_arch = "x86_64") {
            return Err(refuse(Errno::NOTSUP, "probes are for x86-64 only".into()));
        }
        let sites = u32::try_from(request.sites.len()).unwrap_or(u32::MAX);
        if request.sites.is_empty() || request.sites.len() > MAX_SITES {
            let message = format!("{sites} functions to probe, not 1 to {MAX_SITES}");
            return Err(refuse(Errno::TOOBIG, message));
        }
        if request.fire.is_some_and(|fire| fire.nth == 0) {
            let message = "hits are counted from 1, so there is no hit 0 to fire at".into();
            return Err(refuse(Errno::INVAL, message));
        }
        let file = check_file(request)?;
        let ring = Ring::new().map_err(|error| failure("make the ring of reports", &error))?;
        let counters =
            Counters::new(sites + 2).map_err(|error| failure("make the counters", &error))?;
        let namespace =
            pid_namespace().map_err(|error| failure("look at the pid namespace", &error))?;
        let plan = Plan {
            namespace,
            counters: counters.descriptor(),
            ring: ring.descriptor(),
            sites,
            cookies: sites > 1,
            report_hits: request.report_hits,
            fire: request.fire,
        };
        let door = door(request)?;
        let begun = Instant::now();
        let attached = attach(&plan, &file, request)?;
        let clock = node::clock();
        Ok(Self {
            probes: attached.held,
            ring,
            counters,
            sites,
            signalled: request.fire.is_some_and(|fire| fire.signal.is_some()),
            said: ProbeArmed {
                method: attached.method,
                unprobed: attached.unprobed,
                attach_ns: u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX),
                monotonic_ns: clock.monotonic_ns,
                wall_ns: clock.wall_ns,
                kept: false,
            },
            monotonic_offset_ns: monotonic_offset_ns(),
            waiting: VecDeque::new(),
            waiting_lines: 0,
            fired: None,
            door,
            visitor: None,
        })
    }

    fn serve(mut self, stream: &Stream) -> io::Result<ProbeEnd> {
        self.queue(&ProbeReport::Armed(self.said.clone()));
        // It may not have been told when it happened.
        if let Some(fired) = self.fired {
            self.queue(&ProbeReport::Hit(fired));
        }
        loop {
            if stream.cancelled() {
                if stream.orphaned() {
                    stream.keep(true);
                    let kept = self.keep();
                    stream.keep(false);
                    kept?;
                }
                return Err(Errno::CANCELED.into());
            }
            match stream.take() {
                Inbound::Eof => break,
                Inbound::Data(bytes) => stream.consumed(bytes.len()),
                Inbound::Nothing => {}
            }
            self.take_reports();
            if self.send(stream) {
                continue;
            }
            let mut fds = vec![PollFd::from_borrowed_fd(stream.wake_fd(), PollFlags::IN)];
            if self.waiting_lines < MAX_WAITING {
                fds.push(PollFd::new(&self.ring, PollFlags::IN));
            }
            if let Some(door) = &self.door {
                fds.push(PollFd::new(door, PollFlags::IN));
            }
            match poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => stream.clear_wake(),
                Err(error) => return Err(error.into()),
            }
            // Its channel may be lost without our knowing yet.
            if self.is_gone()? {
                return Err(Errno::CANCELED.into());
            }
        }
        self.probes.clear();
        self.flush(stream)?;
        let mut hits = Vec::with_capacity(self.sites as usize);
        for site in 0..self.sites {
            hits.push(self.counters.read(site)?);
        }
        Ok(ProbeEnd {
            hits,
            elsewhere: self.counters.read(self.sites)?,
            lost: self.counters.read(self.sites + 1)?,
        })
    }

    /// Goes on without a channel, until somebody asks for it or its time is over.
    fn keep(&mut self) -> io::Result<()> {
        let Some(limit) = self.door.as_ref().map(|door| door.limit) else {
            return Ok(());
        };
        let end = Instant::now() + limit;
        loop {
            let Some(door) = self.door.as_ref().filter(|door| door.is_there()) else {
                return Ok(());
            };
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let look = node::until((now + KEEP_LOOK_EVERY).min(end));
            match poll(&mut [PollFd::new(door, PollFlags::IN)], Some(&look)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            if self.is_gone()? {
                return Ok(());
            }
        }
    }

    /// Hands it over to whoever stands at its door; whether it is ours no more.
    fn is_gone(&mut self) -> io::Result<bool> {
        let (Some(mut door), [probe, program]) = (self.door.take(), &self.probes[..]) else {
            return Ok(false);
        };
        let state = State {
            said: self.said.clone(),
            signalled: self.signalled,
            fired: self.fired,
        };
        let descriptors = [
            probe.as_fd(),
            program.as_fd(),
            self.ring.as_fd(),
            self.counters.as_fd(),
        ];
        let answer = door.answer(&state, descriptors)?;
        self.door = Some(door);
        if let Answer::Gone(visitor) = answer {
            self.visitor = Some(visitor);
        }
        Ok(self.visitor.is_some())
    }

    /// Sends what is in the ring and what waits, until both are empty.
    fn flush(&mut self, stream: &Stream) -> io::Result<()> {
        loop {
            self.take_reports();
            while self.send(stream) {}
            if self.waiting.is_empty() {
                return Ok(());
            }
            if stream.cancelled() {
                return Err(Errno::CANCELED.into());
            }
            stream.wait(None)?;
        }
    }

    fn take_reports(&mut self) {
        while self.waiting_lines < MAX_WAITING {
            let Some(bytes) = self.ring.take() else {
                return;
            };
            let hit = self.hit(&Event::parse(&bytes));
            self.fired = self.fired.or(hit.fired.then_some(hit));
            self.queue(&ProbeReport::Hit(hit));
        }
    }

    fn hit(&self, event: &Event) -> ProbeHit {
        let clock = node::clock();
        let time_ns = i64::try_from(event.time_ns).unwrap_or(i64::MAX);
        let monotonic_ns = time_ns.saturating_add(self.monotonic_offset_ns);
        let age_ns = clock.monotonic_ns.saturating_sub(monotonic_ns);
        let errno = i32::try_from(event.result.unsigned_abs()).unwrap_or(i32::MAX);
        ProbeHit {
            site: event.site,
            hit: event.hit,
            pid: event.pid,
            tid: event.tid,
            ip: event.ip,
            monotonic_ns,
            wall_ns: clock.wall_ns.saturating_sub(age_ns),
            fired: event.fired,
            signal_errno: (event.fired && self.signalled).then_some(errno),
        }
    }

    fn queue(&mut self, report: &ProbeReport) {
        // A report is numbers and names of fields; it can always be written.
        if let Ok(line) = serde_json::to_vec(report) {
            self.waiting.extend(line);
            self.waiting.push_back(b'\n');
            self.waiting_lines += 1;
        }
    }

    /// Sends some of what waits; gives whether anything moved.
    fn send(&mut self, stream: &Stream) -> bool {
        let room = stream
            .credit_bytes()
            .min(CHUNK_BYTES)
            .min(self.waiting.len());
        if room == 0 {
            return false;
        }
        let bytes: Vec<u8> = self.waiting.drain(..room).collect();
        self.waiting_lines -= bytes.iter().filter(|byte| **byte == b'\n').count();
        stream.send(Kind::Data, &bytes);
        true
    }
}

/// Its door, if it is to be kept.
fn door(request: &ProbeRequest) -> Result<Option<Door>, Failure> {
    let Some(keep) = &request.keep else {
        return Ok(None);
    };
    if request.sites.len() != 1 {
        let message = "only a probe of one function can be kept".into();
        return Err(refuse(Errno::INVAL, message));
    }
    let opened = Door::open(keep).map_err(|error| failure("open the probe's door", &error))?;
    Ok(Some(opened))
}

/// Opens the file and holds its bytes against the request's.
fn check_file(request: &ProbeRequest) -> Result<File, Failure> {
    let file = File::open(&request.path)
        .map_err(|error| failure(&format!("open {}", request.path), &error))?;
    for site in &request.sites {
        let mut entry = [0; 8];
        let read = file.read_exact_at(&mut entry, site.offset);
        if read.is_err() || u64::from_le_bytes(entry) != site.entry {
            let message = format!(
                "{} at byte {} is not what was resolved: it is another file (mend: resolve the names in this node's own)",
                request.path, site.offset
            );
            return Err(refuse(Errno::STALE, message));
        }
    }
    Ok(file)
}

/// Device and inode of our pid namespace, the device as the kernel itself numbers it.
fn pid_namespace() -> io::Result<(u64, u64)> {
    let stat = rustix::fs::stat("/proc/self/ns/pid")?;
    let (major, minor) = (
        rustix::fs::major(stat.st_dev),
        rustix::fs::minor(stat.st_dev),
    );
    Ok((u64::from(major) << 20 | u64::from(minor), stat.st_ino))
}

/// Seconds and nanoseconds in the line `monotonic SECONDS NANOSECONDS`; none outside of a time namespace.
fn monotonic_offset_ns() -> i64 {
    let text = fs::read_to_string(TIME_OFFSETS).unwrap_or_default();
    text.lines()
        .find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            if words.next()? != "monotonic" {
                return None;
            }
            let seconds: i64 = words.next()?.parse().ok()?;
            let nanoseconds: i64 = words.next()?.parse().ok()?;
            Some(
                seconds
                    .saturating_mul(1_000_000_000)
                    .saturating_add(nanoseconds),
            )
        })
        .unwrap_or(0)
}
