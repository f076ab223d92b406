//! Running a process's clock functions here, from a copy of its memory. Unsafe, and as small as can be.
#![expect(
    unsafe_code,
    reason = "code of another process is mapped and called, once it is known to be ours"
)]

use std::{ffi::c_void, io, ptr};

use super::notes::Notes;

/// `clock_gettime` of a process.
type Gettime = extern "C" fn(libc::clockid_t, *mut libc::timespec) -> libc::c_int;

/// A copy of a process's vDSO in our memory, with nothing to be called in it but our own code.
pub struct Copy {
    start: *mut c_void,
    bytes: usize,
    /// Where `clock_gettime` begins: code of [`super::code`], which needs nothing outside of the copy.
    gettime: usize,
}

impl Copy {
    /// Maps the bytes as they are, if they are what the notes say and that is what we would write; else none.
    ///
    /// # Errors
    /// The kernel's, or that the notes are not ours.
    pub fn of(image: &[u8], notes: &Notes) -> io::Result<Option<Self>> {
        if !notes.are_ours() {
            return Err(io::Error::other("the notes are none that we wrote"));
        }
        let mut all = std::iter::once(&notes.cave).chain(&notes.jumps);
        if !all.all(|patch| patch.is_in(image)) {
            return Ok(None);
        }
        Self::map(image, notes.gettime).map(Some)
    }

    /// Whoever calls this knows what begins there.
    fn map(image: &[u8], gettime: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at a place of the kernel's choice; it overlaps nothing of ours.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                image.len(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let copy = Self {
            start,
            bytes: image.len(),
            gettime,
        };
        // SAFETY: the mapping is as long as the image, writable, and nobody else knows it.
        unsafe { ptr::copy_nonoverlapping(image.as_ptr(), start.cast(), image.len()) };
        // SAFETY: it is our mapping, whole.
        let result =
            unsafe { libc::mprotect(start, image.len(), libc::PROT_READ | libc::PROT_EXEC) };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(copy)
    }

    /// Calls its `clock_gettime`; nanoseconds.
    ///
    /// # Errors
    /// What it returned.
    pub fn gettime(&self, clock: libc::clockid_t) -> io::Result<i64> {
        // SAFETY: a function of that type begins there, by what `gettime` is; it lives as long as `self`.
        let function: Gettime = unsafe { std::mem::transmute(self.start.byte_add(self.gettime)) };
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let result = function(clock, &raw mut time);
        if result != 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        Ok(time
            .tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec))
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // SAFETY: it is the mapping that `new` made, and nothing that points into it outlives `self`.
        let _ = unsafe { libc::munmap(self.start, self.bytes) };
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::{
        clock::code::{Cave, Shift, Teller},
        node,
    };

    /// How far two readings of one clock that follow each other may be apart.
    const APART_NS: i64 = 500_000_000;

    fn shifts() -> [Shift; 6] {
        let base_ns = node::clock().monotonic_ns;
        [
            Shift::Jump {
                by_ns: 3_600_000_000_000,
            },
            Shift::Jump { by_ns: -1 },
            // Before 1970: seconds are negative then, nanoseconds never.
            Shift::Jump {
                by_ns: -4_000_000_000_123_456_789,
            },
            Shift::Strobe {
                by_ns: 60_000_000_000,
                period_ns: 3_600_000_000_000,
                base_ns,
            },
            Shift::Strobe {
                by_ns: 60_000_000_000,
                period_ns: 3_600_000_000_000,
                base_ns: base_ns - 3_600_000_000_000,
            },
            Shift::Skew {
                rate_ppm: -500_000,
                base_ns: base_ns - 1_000_000_000_000,
            },
        ]
    }

    #[track_caller]
    fn near(what: &str, read_ns: i64, expected_ns: i64) {
        let apart = (read_ns - expected_ns).abs();
        assert!(apart < APART_NS, "{what}: {read_ns} and {expected_ns}");
    }

    #[test]
    fn the_wall_clock_is_shifted_and_no_other() {
        for shift in shifts() {
            let cave = Cave::new(shift);
            let copy = Copy::map(&cave.code, cave.entry(Teller::Gettime)).unwrap();
            let read = |clock| copy.gettime(clock);
            let now = node::clock();
            let off_ns = shift.at_ns(now.monotonic_ns);
            for clock in [
                libc::CLOCK_REALTIME,
                libc::CLOCK_REALTIME_COARSE,
                libc::CLOCK_TAI,
            ] {
                let what = format!("{shift:?} {clock}");
                near(&what, read(clock).unwrap(), now.wall_ns + off_ns);
            }
            near(
                "monotonic",
                read(libc::CLOCK_MONOTONIC).unwrap(),
                now.monotonic_ns,
            );
            let refused = read(99).unwrap_err();
            assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
        }
    }

    #[test]
    fn the_other_functions_tell_the_same_and_take_null() {
        type Gettimeofday = extern "C" fn(*mut libc::timeval, *mut libc::timezone) -> libc::c_int;
        type Time = extern "C" fn(*mut libc::time_t) -> libc::time_t;
        for shift in shifts() {
            let cave = Cave::new(shift);
            let copy = Copy::map(&cave.code, cave.entry(Teller::Gettime)).unwrap();
            let now = node::clock();
            let expected_ns = now.wall_ns + shift.at_ns(now.monotonic_ns);
            // SAFETY: functions of these types begin there, in the code that was just made.
            let (gettimeofday, time) = unsafe {
                let at = |teller| copy.start.byte_add(cave.entry(teller));
                (
                    std::mem::transmute::<*mut c_void, Gettimeofday>(at(Teller::Gettimeofday)),
                    std::mem::transmute::<*mut c_void, Time>(at(Teller::Time)),
                )
            };
            let mut value = libc::timeval {
                tv_sec: 0,
                tv_usec: -1,
            };
            assert_eq!(gettimeofday(&raw mut value, ptr::null_mut()), 0);
            assert!((0..1_000_000).contains(&value.tv_usec), "{}", value.tv_usec);
            let read_ns = value.tv_sec * 1_000_000_000 + value.tv_usec * 1_000;
            near("gettimeofday", read_ns, expected_ns);
            assert_eq!(gettimeofday(ptr::null_mut(), ptr::null_mut()), 0);
            let mut kept = 0;
            let told = time(&raw mut kept);
            assert_eq!(told, kept);
            assert!((told - expected_ns.div_euclid(1_000_000_000)).abs() <= 1);
            assert!((time(ptr::null_mut()) - told).abs() <= 1);
        }
    }
}
