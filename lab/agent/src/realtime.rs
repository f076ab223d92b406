//! Asking the scheduler to run this thread at once when it wakes. Unsafe like the probes' module, and as small as can be.
//!
//! Source: sched_setscheduler(2).
#![expect(unsafe_code, reason = "sched_setscheduler(2) has no safe wrapper")]

use std::io;

/// The lowest of the real-time priorities: above everything that is none.
const PRIORITY: i32 = 1;

/// Makes the calling thread one of the real-time class. It must end soon after, or sleep.
///
/// # Errors
/// The kernel's: without the right to it, or where the control group allows none.
pub fn ask() -> io::Result<()> {
    let priority = libc::sched_param {
        sched_priority: PRIORITY,
    };
    // SAFETY: the one pointer is to a whole sched_param that outlives the call; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
