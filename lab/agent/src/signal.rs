//! Signals by pidfd, at once or at an instant of the node's monotonic clock; and waiting for one, for scripts.
//!
//! Laws:
//! - the process is held before the instant is waited for, and its start time is compared after that;
//! - all that can be done beforehand is: between the instant and the signal there is one system call.

use std::{io, num::NonZeroU64, process::ExitCode};

use harness_core::frame::{
    message::End,
    signal::{MAX_AHEAD_MS, SignalEnd, SignalName, SignalRequest},
};
use rustix::{
    fd::OwnedFd,
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
    thread::{clock_nanosleep_absolute, set_current_timer_slack},
    time::{ClockId, Timespec},
};

use crate::{node, process::ProcessStat, realtime, stream::Stream};

/// The subcommand that waits for an instant.
pub const WAIT: &str = "wait-until";

/// How late the kernel may wake us to save wake-ups, in nanoseconds: not at all.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::MIN;

/// Signals a process and ends the stream with how that went.
pub fn run(stream: &Stream, request: &SignalRequest) {
    match send(request) {
        Ok(end) => stream.end(&End::Signalled(end)),
        Err(error) => stream.fail(&error),
    }
}

fn send(request: &SignalRequest) -> io::Result<SignalEnd> {
    let process = open(request)?;
    let signal = match request.signal {
        SignalName::Kill => Signal::KILL,
        SignalName::Stop => Signal::STOP,
        SignalName::Cont => Signal::CONT,
        SignalName::Term => Signal::TERM,
    };
    if let Some(at_ns) = request.at_monotonic_ns {
        wait_until(at_ns)?;
    }
    let before = node::clock();
    let sent = pidfd_send_signal(&process, signal);
    let after = node::clock();
    Ok(SignalEnd {
        errno: sent.map_or_else(Errno::raw_os_error, |()| 0),
        before,
        after,
    })
}

/// `wait-until NS`: until `CLOCK_MONOTONIC` comes to that; says `late-us N`.
pub fn main_wait(arguments: &[String]) -> ExitCode {
    let at_ns: Option<i64> = match arguments {
        [at] => at.parse().ok(),
        _ => None,
    };
    let Some(at_ns) = at_ns else {
        eprintln!("usage: harness-agent {WAIT} NANOSECONDS");
        return ExitCode::FAILURE;
    };
    match wait_until(at_ns) {
        Ok(()) => {
            let late_ns = node::clock().monotonic_ns.saturating_sub(at_ns);
            println!("late-us {}", late_ns / 1000);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("the instant cannot be waited for: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Holds the process that is meant, or none.
fn open(request: &SignalRequest) -> io::Result<OwnedFd> {
    let number = i32::try_from(request.pid).map_err(|_| Errno::SRCH)?;
    let pid = Pid::from_raw(number).ok_or(Errno::SRCH)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    let stat = ProcessStat::read(number).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Errno::SRCH.into(),
        _ => error,
    })?;
    if request
        .start_time
        .is_some_and(|start| start != stat.start_time)
    {
        return Err(Errno::SRCH.into());
    }
    Ok(process)
}

fn wait_until(at_ns: i64) -> io::Result<()> {
    const NS_PER_S: i64 = 1_000_000_000;
    const NS_PER_MS: i64 = 1_000_000;
    let ahead_ns = at_ns.saturating_sub(node::clock().monotonic_ns);
    let most_ns = i64::try_from(MAX_AHEAD_MS).unwrap_or(i64::MAX) * NS_PER_MS;
    if ahead_ns > most_ns {
        return Err(Errno::INVAL.into());
    }
    // Both only make it more exact: without the right to them it is late by what the scheduler takes.
    let _ = set_current_timer_slack(Some(TIMER_SLACK_NS));
    let _ = realtime::ask();
    let at = Timespec {
        tv_sec: at_ns / NS_PER_S,
        tv_nsec: at_ns % NS_PER_S,
    };
    loop {
        match clock_nanosleep_absolute(ClockId::Monotonic, &at) {
            Err(Errno::INTR) => {}
            ended => return Ok(ended?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn request(pid: u32, signal: SignalName) -> SignalRequest {
        SignalRequest {
            pid,
            start_time: Some(
                ProcessStat::read(i32::try_from(pid).unwrap())
                    .unwrap()
                    .start_time,
            ),
            signal,
            at_monotonic_ns: None,
        }
    }

    #[test]
    fn it_reaches_the_process_that_is_meant_not_before_the_instant() {
        let mut child = Command::new("sleep").arg("300").spawn().unwrap();
        let other = SignalRequest {
            start_time: Some(1),
            ..request(child.id(), SignalName::Kill)
        };
        let refused = send(&other).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(Errno::SRCH.raw_os_error()));
        let at_ns = node::clock().monotonic_ns + 20_000_000;
        let end = send(&SignalRequest {
            at_monotonic_ns: Some(at_ns),
            ..request(child.id(), SignalName::Kill)
        })
        .unwrap();
        assert_eq!(end.errno, 0);
        assert!(end.before.monotonic_ns >= at_ns);
        assert!(end.after.monotonic_ns >= end.before.monotonic_ns);
        let status = child.wait().unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&status),
            Some(9)
        );
    }

    #[test]
    fn an_instant_that_is_too_far_is_refused_and_one_that_is_over_is_now() {
        let mut child = Command::new("sleep").arg("300").spawn().unwrap();
        let now_ns = node::clock().monotonic_ns;
        for (at_ns, fits) in [(now_ns + 60_000_000_000, false), (now_ns - 1, true)] {
            let sent = send(&SignalRequest {
                at_monotonic_ns: Some(at_ns),
                ..request(child.id(), SignalName::Cont)
            });
            assert_eq!(sent.is_ok(), fits, "{sent:?}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
