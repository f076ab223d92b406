//! Probes on functions of a program: armed for one stream, gone with it, or kept for a while when its channel is lost ([`kept`]).
//!
//! Laws:
//! - a hit counts only in the agent's own pid namespace, which is the node's: containers of one image share the program's
//!   inode, and a probe on an inode is hit in all of them;
//! - the file that was opened is the file that is probed, and its bytes are compared with what was resolved, first;
//! - the probes are taken away before the counters are read, so the end is exact; if the agent dies, the kernel takes them away;
//! - what is not permitted is refused with what to grant.

pub mod kept;
mod kernel;
mod program;

use std::{
    collections::VecDeque,
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::FileExt, net::UnixStream},
    },
    time::{Duration, Instant},
};

use harness_core::frame::{
    CHUNK_BYTES, Kind,
    message::{End, Failure},
    probe::{
        MAX_SITES, MAX_UNPROBED_SITES, ProbeArmed, ProbeEnd, ProbeHit, ProbeMethod, ProbeReport,
        ProbeRequest,
    },
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
};

use crate::{
    node,
    stream::{Inbound, Stream},
};

use kept::{Answer, Door, Given, State};
use kernel::{Counters, Ring};
use program::{Event, Plan};

/// Probes that are attached one by one, at most, where the kernel cannot do many at once: each costs a descriptor or two.
const MAX_SINGLE_PROBES: usize = 400;
/// Reports that wait for the controller, at most; then they wait in the ring.
const MAX_WAITING: usize = 4096;
/// Where the kernel says which kind of perf event a uprobe is.
const UPROBE_PMU: &str = "/sys/bus/event_source/devices/uprobe/type";
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

/// What is attached, and how.
struct Attached {
    method: ProbeMethod,
    held: Vec<OwnedFd>,
    unprobed: Vec<u32>,
}

fn attach(plan: &Plan, file: &File, request: &ProbeRequest) -> Result<Attached, Failure> {
    // The file that was looked at, whatever its path leads to by now.
    let path = CString::new(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or_default();
    let offsets: Vec<u64> = request.sites.iter().map(|site| site.offset).collect();
    let code = program::assemble(plan);
    if let [offset] = offsets.as_slice() {
        let program =
            kernel::load(&code, false).map_err(|error| failure("load the program", &error))?;
        let pmu = uprobe_pmu()?;
        let at = |error| failure(&format!("probe byte {offset} of {}", request.path), &error);
        let probe = kernel::open_probe(pmu, &path, *offset).map_err(at)?;
        kernel::start_probe(&probe, &program).map_err(at)?;
        return Ok(Attached {
            method: ProbeMethod::UprobePmu,
            held: vec![probe, program],
            unprobed: Vec::new(),
        });
    }
    let mut attached = match kernel::load(&code, true) {
        Ok(program) => {
            let mut attached = Attached {
                method: ProbeMethod::UprobeMulti,
                held: Vec::new(),
                unprobed: Vec::new(),
            };
            attached.many(&program, &path, &offsets, 0)?;
            attached.held.push(program);
            attached
        }
        // A kernel that does not know this kind of program.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            attach_singly(&code, &path, &offsets, &request.path)?
        }
        Err(error) => return Err(failure("load the program", &error)),
    };
    attached.unprobed.sort_unstable();
    if request.fire.is_some() && !attached.unprobed.is_empty() {
        let error = io::Error::from_raw_os_error(ENOTSUPP);
        return Err(failure("probe all of them", &error));
    }
    Ok(attached)
}

impl Attached {
    /// Attaches to all; what the kernel cannot probe is found by halving.
    fn many(
        &mut self,
        program: &OwnedFd,
        path: &CString,
        offsets: &[u64],
        first: u32,
    ) -> Result<(), Failure> {
        match kernel::attach_multi(program, path, offsets, first.into()) {
            Ok(link) => self.held.push(link),
            Err(error) if error.raw_os_error() == Some(ENOTSUPP) => {
                if offsets.len() == 1 {
                    return self.leave_out(first);
                }
                let (left, right) = offsets.split_at(offsets.len() / 2);
                self.many(program, path, left, first)?;
                let next = first + u32::try_from(left.len()).unwrap_or(u32::MAX);
                self.many(program, path, right, next)?;
            }
            Err(error) => {
                return Err(failure(&format!("probe {} places", offsets.len()), &error));
            }
        }
        Ok(())
    }

    fn leave_out(&mut self, site: u32) -> Result<(), Failure> {
        self.unprobed.push(site);
        if self.unprobed.len() > MAX_UNPROBED_SITES {
            let message = format!(
                "the kernel cannot probe more than {MAX_UNPROBED_SITES} of these functions (mend: fewer, or others)"
            );
            return Err(refuse(Errno::NOTSUP, message));
        }
        Ok(())
    }
}

fn attach_singly(
    code: &[[u8; 8]],
    path: &CString,
    offsets: &[u64],
    shown: &str,
) -> Result<Attached, Failure> {
    if offsets.len() > MAX_SINGLE_PROBES {
        let message = format!(
            "this node's kernel attaches probes one by one, and {} are more than {MAX_SINGLE_PROBES} (mend: Linux 6.6 or newer, or fewer functions)",
            offsets.len()
        );
        return Err(refuse(Errno::TOOBIG, message));
    }
    let program = kernel::load(code, false).map_err(|error| failure("load the program", &error))?;
    let pmu = uprobe_pmu()?;
    let mut attached = Attached {
        method: ProbeMethod::UprobePmu,
        held: Vec::with_capacity(2 * offsets.len() + 1),
        unprobed: Vec::new(),
    };
    for (cookie, offset) in (0..).zip(offsets) {
        let at = |error| failure(&format!("probe byte {offset} of {shown}"), &error);
        match kernel::open_probe(pmu, path, *offset) {
            Ok(probe) => {
                let link = kernel::start_probe_with(&probe, &program, u64::from(cookie));
                attached.held.push(link.map_err(at)?);
                attached.held.push(probe);
            }
            Err(error) if error.raw_os_error() == Some(ENOTSUPP) => attached.leave_out(cookie)?,
            Err(error) => return Err(at(error)),
        }
    }
    attached.held.push(program);
    Ok(attached)
}

fn uprobe_pmu() -> Result<u32, Failure> {
    let text = fs::read_to_string(UPROBE_PMU).map_err(|error| {
        let what =
            format!("read {UPROBE_PMU} (mend: mount /sys on the node; a kernel with uprobes)");
        failure(&what, &error)
    })?;
    let number = text.trim().parse();
    number.map_err(|_| refuse(Errno::INVAL, format!("{UPROBE_PMU} holds no number")))
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
