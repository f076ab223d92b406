//! Asking the scheduler to run this thread at once when it wakes. Unsafe like the probes' module, and as small as can be.
//!
//! The deadline class is asked for first: where the kernel keeps a budget of real time for each control group, a container's is
//! none, and the classes that draw on it are refused there; the deadline class is admitted by what all its threads want together.
//!
//! Source: sched_setattr(2), sched(7), `Documentation/scheduler/sched-deadline.rst`.
#![expect(
    unsafe_code,
    reason = "sched_setattr(2) and sched_setscheduler(2) have no safe wrapper"
)]

use std::io;

/// Time that the thread may run in each period, in nanoseconds: a signal takes a few microseconds.
const RUNTIME_NS: u64 = 500_000;
/// The period, and how soon it must have had that time, in nanoseconds. Many threads are admitted at a twentieth of a processor each.
const PERIOD_NS: u64 = 10_000_000;
/// The lowest priority of the class that comes next: above everything that is in no real-time class.
const PRIORITY: i32 = 1;
/// `SCHED_DEADLINE`.
const DEADLINE: u32 = 6;
/// Bytes of the first version of the kernel's `struct sched_attr`.
const ATTR_BYTES: u32 = 48;

/// The kernel's `struct sched_attr`.
#[repr(C)]
struct Attr {
    size_bytes: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime_ns: u64,
    deadline_ns: u64,
    period_ns: u64,
}

/// Makes the calling thread one of a real-time class. It must end soon after, or sleep.
///
/// # Errors
/// The kernel's: without the right to any, or where no more are admitted.
pub fn ask() -> io::Result<()> {
    deadline().or_else(|_| fifo())
}

fn deadline() -> io::Result<()> {
    let attr = Attr {
        size_bytes: ATTR_BYTES,
        policy: DEADLINE,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime_ns: RUNTIME_NS,
        deadline_ns: PERIOD_NS,
        period_ns: PERIOD_NS,
    };
    // SAFETY: the one pointer is to a whole sched_attr of the size that it names, and it outlives the call; 0 is the calling
    // thread, and there are no flags.
    done(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })
}

fn fifo() -> io::Result<()> {
    let priority = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // SAFETY: the one pointer is to a whole sched_param that outlives the call; 0 is the calling thread.
    let answer = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) };
    done(answer.into())
}

fn done(answer: libc::c_long) -> io::Result<()> {
    match answer {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
