//! All threads of a process held still, by ptrace(2). Unsafe for want of a safe wrapper, and as small as can be.
//!
//! Laws:
//! - no signal is sent: a process that was stopped by somebody stays so, and one that was not goes on;
//! - a signal that came meanwhile is delivered;
//! - if we end, in whatever way, the kernel lets the process go.
//!
//! Source: ptrace(2), proc_pid_syscall(5).
#![expect(unsafe_code, reason = "ptrace(2) has no safe wrapper")]

use std::{
    collections::BTreeMap,
    fs, io, ptr, thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitOptions, waitpid};

use crate::process::ProcessStat;

/// How long the threads may take to stand still.
const HALT_LIMIT: Duration = Duration::from_secs(5);
/// How long between two looks at a thread that does not stand still yet.
const POLL: Duration = Duration::from_micros(200);
/// What the kernel calls a stop that is none of a signal's.
const EVENT_STOP: i32 = 128;

/// Where a thread is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its stack pointer.
    pub stack: u64,
    /// Its next instruction.
    pub code: u64,
}

/// A process that stands still until this is dropped.
pub struct Halted {
    pid: i32,
    /// The signal that each is to get when it goes on, or 0; none while it does not stand still yet.
    threads: BTreeMap<i32, Option<i32>>,
}

impl Halted {
    /// Holds all threads of a process.
    ///
    /// # Errors
    /// The kernel's: `EPERM` without the right to trace it, or where somebody traces it already; `ESRCH` if it is gone.
    pub fn new(pid: i32) -> io::Result<Self> {
        let give_up = Instant::now() + HALT_LIMIT;
        let mut halted = Self {
            pid,
            threads: BTreeMap::new(),
        };
        // A thread that does not stand still yet can begin another one.
        while halted.seize_new()? {
            halted.wait(give_up)?;
        }
        if halted.threads.is_empty() {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(halted)
    }

    /// Whether there were threads that we did not hold.
    fn seize_new(&mut self) -> io::Result<bool> {
        let mut found = false;
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let name = entry?.file_name();
            let Some(thread) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if self.threads.contains_key(&thread) {
                continue;
            }
            if let Err(error) = seize(thread) {
                if has_ended(thread) {
                    continue;
                }
                return Err(error);
            }
            self.threads.insert(thread, None);
            found = true;
        }
        Ok(found)
    }

    fn wait(&mut self, give_up: Instant) -> io::Result<()> {
        let all = WaitOptions::NOHANG | WaitOptions::from_bits_retain(libc::__WALL.cast_unsigned());
        let moving = |(thread, held): (&i32, &Option<i32>)| held.is_none().then_some(*thread);
        let moving: Vec<i32> = self.threads.iter().filter_map(moving).collect();
        for thread in moving {
            loop {
                match waitpid(Pid::from_raw(thread), all)? {
                    Some((_, status)) if status.stopped() => {
                        let event = status.as_raw() >> 16;
                        let signal = status.stopping_signal().unwrap_or(0);
                        let pending = if event == EVENT_STOP { 0 } else { signal };
                        self.threads.insert(thread, Some(pending));
                        break;
                    }
                    Some(_) => {
                        self.threads.remove(&thread);
                        break;
                    }
                    None if Instant::now() >= give_up => {
                        return Err(io::Error::other(format!(
                            "thread {thread} does not stand still"
                        )));
                    }
                    None => thread::sleep(POLL),
                }
            }
        }
        Ok(())
    }

    /// Where each thread is.
    ///
    /// # Errors
    /// The kernel's, or that it does not say.
    pub fn places(&self) -> io::Result<Vec<Place>> {
        let mut places = Vec::new();
        for thread in self.threads.keys() {
            let path = format!("/proc/{}/task/{thread}/syscall", self.pid);
            let text = match fs::read_to_string(path) {
                Ok(text) => text,
                // Killed meanwhile, which nothing holds up.
                Err(_) if has_ended(*thread) => continue,
                Err(error) => return Err(error),
            };
            let place = place(&text).ok_or_else(|| {
                io::Error::other(format!("the kernel does not say where thread {thread} is"))
            })?;
            places.push(place);
        }
        Ok(places)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        for (thread, held) in &self.threads {
            if let Some(signal) = held {
                // Killed meanwhile, or let go.
                let _ = request(libc::PTRACE_DETACH, *thread, *signal);
            }
        }
    }
}

/// `NUMBER ARGUMENTS STACK CODE` in a system call, `-1 STACK CODE` in the program.
fn place(text: &str) -> Option<Place> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let number = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
    let [.., stack, code] = words.as_slice() else {
        return None;
    };
    Some(Place {
        stack: number(stack)?,
        code: number(code)?,
    })
}

fn has_ended(thread: i32) -> bool {
    ProcessStat::read(thread).is_ok_and(|stat| matches!(stat.state, 'Z' | 'X'))
        || !fs::exists(format!("/proc/{thread}")).unwrap_or(true)
}

fn seize(thread: i32) -> io::Result<()> {
    request(libc::PTRACE_SEIZE, thread, 0)?;
    request(libc::PTRACE_INTERRUPT, thread, 0)
}

fn request(what: libc::c_uint, thread: i32, data: i32) -> io::Result<()> {
    // SAFETY: none of the three requests that are made reads or writes memory of ours: their address is ignored, and their data
    // are a number.
    let result = unsafe {
        libc::ptrace(
            what,
            thread,
            ptr::null_mut::<libc::c_void>(),
            libc::c_long::from(data),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_in_a_system_call_and_in_the_program() {
        let waiting = "7 0x7ffe 0x1 0xffffffff 0x0 0x0 0x0 0x7ffc1000 0x7f0a2000\n";
        let expected = Some(Place {
            stack: 0x7ffc_1000,
            code: 0x7f0a_2000,
        });
        assert_eq!(place(waiting), expected);
        assert_eq!(place("-1 0x7ffc1000 0x7f0a2000\n"), expected);
        assert_eq!(place("running\n"), None);
    }
}
