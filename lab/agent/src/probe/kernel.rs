//! Talking to the kernel: maps, programs, probes, the ring. Unsafe, as are [`crate::realtime`] and parts of
//! [`crate::clock`], and nothing else of the agent.
//!
//! Source: bpf(2), perf_event_open(2), `include/uapi/linux/{bpf,perf_event}.h`, `Documentation/bpf/ringbuf.rst`.
#![expect(
    unsafe_code,
    reason = "bpf(2), perf_event_open(2) and the ring's shared memory have no safe wrapper"
)]

use std::{
    ffi::{CStr, c_long, c_void},
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use super::program::EVENT_BYTES;

/// Commands of bpf(2).
const MAP_CREATE: c_long = 0;
const MAP_LOOKUP_ELEM: c_long = 1;
const PROG_LOAD: c_long = 5;
const LINK_CREATE: c_long = 28;

const MAP_TYPE_ARRAY: u32 = 2;
const MAP_TYPE_RINGBUF: u32 = 27;
const PROG_TYPE_KPROBE: u32 = 2;
const ATTACH_PERF_EVENT: u32 = 41;
const ATTACH_UPROBE_MULTI: u32 = 48;

const PERF_FLAG_FD_CLOEXEC: c_long = 8;
const PERF_IOC_ENABLE: libc::Ioctl = 0x2400;
const PERF_IOC_SET_BPF: libc::Ioctl = 0x4004_2408;
/// Bit of `perf_event_attr`: made, but not running yet.
const PERF_DISABLED: u64 = 1;
const PERF_ATTR_BYTES: u32 = 112;

/// Bytes of the ring's data; a power of two. Room for one report of each of the most sites.
const RING_BYTES: u32 = 2 * 1024 * 1024;
const RING_BUSY: u32 = 1 << 31;
const RING_DISCARDED: u32 = 1 << 30;
/// Bytes before each report in the ring.
const RING_HEAD_BYTES: u64 = 8;
/// Bytes of what the verifier says, at most.
const LOG_BYTES: usize = 64 * 1024;
/// Of our own code, which calls no helper that asks for another one.
const LICENCE: &CStr = c"Apache-2.0";

/// The structs begin as the kernel's `union bpf_attr` does for each command; what is left out is zero for it.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    map_type: u32,
    key_bytes: u32,
    value_bytes: u32,
    max_entries: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct MapElement {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    instructions: u32,
    code: u64,
    licence: u64,
    log_level: u32,
    log_bytes: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    interface: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkPerf {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    cookie: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkMulti {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    path: u64,
    offsets: u64,
    reference_counters: u64,
    cookies: u64,
    count: u32,
    multi_flags: u32,
    pid: u32,
    padding: u32,
}

#[repr(C)]
struct PerfAttr {
    pmu: u32,
    bytes: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint_type: u32,
    path: u64,
    offset: u64,
    rest: [u64; 5],
}

const _: () = assert!(size_of::<PerfAttr>() == PERF_ATTR_BYTES as usize);

fn bpf<T>(command: c_long, attr: &mut T) -> io::Result<i32> {
    // SAFETY: `attr` is a live struct of that many bytes, laid out as the kernel documents for this command; each address in it
    // was taken by the caller from something that outlives the call and is as long as the struct says.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            ptr::from_mut(attr).cast::<c_void>(),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map_err(io::Error::other)
}

/// Wraps a descriptor that a system call has just given.
fn owned(descriptor: i32) -> OwnedFd {
    // SAFETY: the kernel gave it to us a moment ago, and nobody else knows it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

fn number(descriptor: &impl AsRawFd) -> u32 {
    descriptor.as_raw_fd().unsigned_abs()
}

fn address<T: ?Sized>(of: &T) -> u64 {
    ptr::from_ref(of).cast::<c_void>() as u64
}

/// An array of counters, all zero.
pub struct Counters(OwnedFd);

impl Counters {
    pub fn new(count: u32) -> io::Result<Self> {
        let mut attr = MapCreate {
            map_type: MAP_TYPE_ARRAY,
            key_bytes: 4,
            value_bytes: 8,
            max_entries: count,
            ..MapCreate::default()
        };
        bpf(MAP_CREATE, &mut attr).map(|descriptor| Self(owned(descriptor)))
    }

    /// Those that somebody else made.
    pub fn of(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    pub fn descriptor(&self) -> i32 {
        self.0.as_raw_fd()
    }

    pub fn read(&self, index: u32) -> io::Result<u64> {
        let mut value = 0_u64;
        let mut attr = MapElement {
            map: number(&self.0),
            key: address(&index),
            value: ptr::from_mut(&mut value).cast::<c_void>() as u64,
            ..MapElement::default()
        };
        bpf(MAP_LOOKUP_ELEM, &mut attr)?;
        Ok(value)
    }
}

/// Loads a program; `multi` for many probes at once. What the verifier says is in the error.
pub fn load(code: &[[u8; 8]], multi: bool) -> io::Result<OwnedFd> {
    let mut attr = ProgLoad {
        prog_type: PROG_TYPE_KPROBE,
        instructions: u32::try_from(code.len()).map_err(io::Error::other)?,
        code: address(code),
        licence: LICENCE.as_ptr() as u64,
        expected_attach_type: if multi { ATTACH_UPROBE_MULTI } else { 0 },
        ..ProgLoad::default()
    };
    attr.name[..7].copy_from_slice(b"harness");
    let first = match bpf(PROG_LOAD, &mut attr) {
        Ok(descriptor) => return Ok(owned(descriptor)),
        Err(error) => error,
    };
    // Only an error of the verifier has more to say.
    if !matches!(first.raw_os_error(), Some(libc::EINVAL | libc::EACCES)) {
        return Err(first);
    }
    let mut log = vec![0_u8; LOG_BYTES];
    attr.log_level = 1;
    attr.log_bytes = u32::try_from(log.len()).map_err(io::Error::other)?;
    attr.log = log.as_mut_ptr() as u64;
    match bpf(PROG_LOAD, &mut attr) {
        Ok(descriptor) => Ok(owned(descriptor)),
        Err(error) => {
            let said = String::from_utf8_lossy(&log);
            let said = said.trim_end_matches('\0').trim();
            if said.is_empty() {
                return Err(error);
            }
            let last: Vec<&str> = said.lines().rev().take(4).collect();
            Err(io::Error::new(
                error.kind(),
                format!("{error}; the verifier says: {}", last.join(" | ")),
            ))
        }
    }
}

/// Attaches a program to many places of a file at once; cookies count on from the first one's.
pub fn attach_multi(
    program: &OwnedFd,
    path: &CStr,
    offsets: &[u64],
    first_cookie: u64,
) -> io::Result<OwnedFd> {
    let cookies: Vec<u64> = (first_cookie..).take(offsets.len()).collect();
    let mut attr = LinkMulti {
        program: number(program),
        attach_type: ATTACH_UPROBE_MULTI,
        path: path.as_ptr() as u64,
        offsets: address(offsets),
        cookies: address(cookies.as_slice()),
        count: u32::try_from(offsets.len()).map_err(io::Error::other)?,
        ..LinkMulti::default()
    };
    bpf(LINK_CREATE, &mut attr).map(owned)
}

/// A probe at one place, not running yet and without a program.
pub fn open_probe(pmu: u32, path: &CStr, offset: u64) -> io::Result<OwnedFd> {
    let attr = PerfAttr {
        pmu,
        bytes: PERF_ATTR_BYTES,
        config: 0,
        sample_period: 0,
        sample_type: 0,
        read_format: 0,
        flags: PERF_DISABLED,
        wakeup: 0,
        breakpoint_type: 0,
        path: path.as_ptr() as u64,
        offset,
        rest: [0; 5],
    };
    let (every_process, first_cpu, no_group): (c_long, c_long, c_long) = (-1, 0, -1);
    // SAFETY: `attr` lives through the call and says its own size; `path` is a C string that outlives it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            ptr::from_ref(&attr).cast::<c_void>(),
            every_process,
            first_cpu,
            no_group,
            PERF_FLAG_FD_CLOEXEC,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    i32::try_from(result).map(owned).map_err(io::Error::other)
}

/// Gives a probe its program and lets it run.
pub fn start_probe(probe: &OwnedFd, program: &OwnedFd) -> io::Result<()> {
    control(probe, PERF_IOC_SET_BPF, program.as_raw_fd())?;
    control(probe, PERF_IOC_ENABLE, 0)
}

/// The same with a cookie (Linux 5.15); the link holds them together.
pub fn start_probe_with(probe: &OwnedFd, program: &OwnedFd, cookie: u64) -> io::Result<OwnedFd> {
    let mut attr = LinkPerf {
        program: number(program),
        target: number(probe),
        attach_type: ATTACH_PERF_EVENT,
        flags: 0,
        cookie,
    };
    let link = bpf(LINK_CREATE, &mut attr).map(owned)?;
    control(probe, PERF_IOC_ENABLE, 0)?;
    Ok(link)
}

fn control(probe: &OwnedFd, request: libc::Ioctl, argument: i32) -> io::Result<()> {
    // SAFETY: both requests take a number and no address.
    let result = unsafe { libc::ioctl(probe.as_raw_fd(), request, argument) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A mapping of shared memory, unmapped when dropped.
struct Mapping {
    start: *mut c_void,
    bytes: usize,
}

impl Mapping {
    fn new(of: &OwnedFd, bytes: usize, writable: bool, from: usize) -> io::Result<Self> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        let from = libc::off_t::try_from(from).map_err(io::Error::other)?;
        // SAFETY: a new mapping at a place of the kernel's choice; it overlaps nothing of ours.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                protection,
                libc::MAP_SHARED,
                of.as_raw_fd(),
                from,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: it is the mapping that `new` made, and nothing that points into it outlives `self`.
        let _ = unsafe { libc::munmap(self.start, self.bytes) };
    }
}

/// The ring that programs report through.
pub struct Ring {
    descriptor: OwnedFd,
    /// One page, ours to write: how far we have read.
    consumer: Mapping,
    /// One page: how far was written; then the data, twice in a row, so that a report is never split.
    producer: Mapping,
    page_bytes: usize,
}

impl Ring {
    pub fn new() -> io::Result<Self> {
        let mut attr = MapCreate {
            map_type: MAP_TYPE_RINGBUF,
            max_entries: RING_BYTES,
            ..MapCreate::default()
        };
        Self::of(bpf(MAP_CREATE, &mut attr).map(owned)?)
    }

    /// One that somebody else made, and has read so far as its memory says; there is one reader at a time.
    pub fn of(descriptor: OwnedFd) -> io::Result<Self> {
        let page_bytes = rustix::param::page_size();
        Ok(Self {
            consumer: Mapping::new(&descriptor, page_bytes, true, 0)?,
            producer: Mapping::new(
                &descriptor,
                page_bytes + 2 * RING_BYTES as usize,
                false,
                page_bytes,
            )?,
            descriptor,
            page_bytes,
        })
    }

    /// The next report; none if none is there.
    pub fn take(&mut self) -> Option<[u8; EVENT_BYTES]> {
        // SAFETY: the page's first word is the position that only we write; it is aligned and lives as long as the mapping.
        let consumer = unsafe { AtomicU64::from_ptr(self.consumer.start.cast()) };
        // SAFETY: likewise for the kernel's, which we only read.
        let producer = unsafe { &*self.producer.start.cast::<AtomicU64>() };
        loop {
            let at = consumer.load(Ordering::Relaxed);
            if at >= producer.load(Ordering::Acquire) {
                return None;
            }
            let skip = self.page_bytes + (at & u64::from(RING_BYTES - 1)) as usize;
            // SAFETY: `skip` lies in the first copy of the data, so a head and a report of at most the ring's size behind it lie in
            // the two copies; positions are multiples of eight, so the head is aligned.
            let head = unsafe { &*self.producer.start.byte_add(skip).cast::<AtomicU32>() };
            let head = head.load(Ordering::Acquire);
            if head & RING_BUSY != 0 {
                return None;
            }
            let length = u64::from(head & !(RING_BUSY | RING_DISCARDED));
            let mut event = [0; EVENT_BYTES];
            let whole = head & RING_DISCARDED == 0 && length == EVENT_BYTES as u64;
            if whole {
                // SAFETY: the kernel has written `length` bytes behind the head and leaves them until we move on.
                unsafe {
                    let data = self
                        .producer
                        .start
                        .byte_add(skip + RING_HEAD_BYTES as usize);
                    ptr::copy_nonoverlapping(data.cast::<u8>(), event.as_mut_ptr(), EVENT_BYTES);
                }
            }
            let next = (at + RING_HEAD_BYTES + length).next_multiple_of(8);
            consumer.store(next, Ordering::Release);
            if whole {
                return Some(event);
            }
        }
    }

    pub fn descriptor(&self) -> i32 {
        self.descriptor.as_raw_fd()
    }
}

impl AsFd for Counters {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
