//! A process's wall clock, shifted on real processes: seen by the process itself, no other clock with it, byte by byte as it was
//! afterwards. They read the clock as C does; `clock_go` has one that does as Go does.
#![cfg(target_arch = "x86_64")]
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod leftovers;
mod teller;

use std::{
    fs, os::unix::process::CommandExt, path::Path, process::Command, thread, time::Duration,
};

use teller::{AGENT, TELLER, Teller, agent, each_way, rounds, tell};

/// A user without rights.
const NOBODY: u32 = 65_534;

#[test]
fn a_process_tells_the_right_time() {
    if let Ok(threads) = std::env::var(TELLER) {
        tell(threads.parse().unwrap());
    }
    let mut teller = Teller::new("clock-right", 0);
    teller.assert_off(0);
    assert_eq!(teller.look(), "unseen nothing was rewritten");
    assert_eq!(teller.restore(), "no clock was shifted");
}

#[test]
fn each_way_is_felt_by_the_process_and_by_nobody_else() {
    let mut other = Teller::new("clock-other", 0);
    let mut teller = Teller::new("clock-each", 2);
    teller.shift(&["jump", "60000000000"]);
    other.assert_off(0);
    teller.restore();
    each_way(&mut teller);
}

/// Threads that do nothing but read clocks are in the functions nearly always when those are rewritten.
#[test]
fn threads_that_read_the_clock_all_the_time_survive_two_hundred_rounds() {
    rounds(&mut Teller::new("clock-rounds", 8), 200);
}

#[test]
fn a_process_that_stands_still_goes_on_standing_still() {
    let mut teller = Teller::new("clock-stopped", 0);
    let pid = rustix::process::Pid::from_child(&teller.child);
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    while teller.state() != 'T' {
        thread::sleep(Duration::from_millis(1));
    }
    teller.shift(&["jump", "60000000000"]);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(teller.state(), 'T');
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    teller.assert_off(60_000);
    teller.restore();
    teller.assert_off(0);
}

#[test]
fn what_is_gone_or_another_one_has_nothing_to_be_undone() {
    let mut teller = Teller::new("clock-gone", 0);
    teller.shift(&["jump", "60000000000"]);
    let notes = fs::read_to_string(teller.notes()).unwrap();
    teller.child.kill().unwrap();
    teller.child.wait().unwrap();
    assert!(teller.look().contains("has ended"));
    assert!(teller.restore().contains("is gone, and its clock with it"));

    // The number is another process's now. The kernel tells when each began in hundredths of a second, and these two can be
    // so quick that they began in the same one; a number comes back only after all others.
    thread::sleep(Duration::from_millis(20));
    let other = Teller::new("clock-another", 0);
    let pid = |teller: &Teller| format!("\"pid\":{},", teller.child.id());
    let changed = notes.replace(&pid(&teller), &pid(&other));
    assert_ne!(changed, notes);
    fs::write(other.notes(), changed).unwrap();
    let own = other.vdso();
    let said = other.restore();
    assert!(said.contains("is gone, and its clock with it"), "{said}");
    assert_eq!(other.vdso(), own);
}

#[test]
fn what_somebody_else_wrote_is_neither_run_nor_overwritten() {
    let teller = Teller::new("clock-strange", 0);
    teller.shift(&["jump", "60000000000"]);
    let notes = fs::read_to_string(teller.notes()).unwrap();
    let strange = notes.replace("60000000000", "50000000000");
    assert_ne!(strange, notes);
    fs::write(teller.notes(), strange).unwrap();
    let (done, said) = agent(&["clock-look", teller.notes().to_str().unwrap()]);
    assert!(!done && said.contains("notes"), "{said}");
    fs::write(teller.notes(), notes).unwrap();
    let again = agent(&[
        "clock-shift",
        &teller.child.id().to_string(),
        teller.folder.path().join("more").to_str().unwrap(),
        "jump",
        "1000000",
    ]);
    assert!(!again.0 && again.1.contains("shifted already"), "{again:?}");
    assert!(teller.restore().contains("byte by byte"));
}

#[test]
fn it_is_tried_on_a_child_and_refused_where_it_is_not_allowed() {
    assert_eq!(agent(&["clock-check"]), (true, String::new()));
    let teller = Teller::new("clock-check", 0);
    let pid = teller.child.id().to_string();
    assert_eq!(agent(&["clock-check", &pid]), (true, String::new()));
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // A copy, since nobody else may come to the test's own.
    let program = teller.folder.path().join("agent");
    let copied = Command::new("cp")
        .args([Path::new(AGENT), &program])
        .status();
    assert!(copied.unwrap().success());
    for path in [teller.folder.path(), &program] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(path, mode).unwrap();
    }
    let mut command = Command::new(program);
    command.args(["clock-check", &pid]).uid(NOBODY).gid(NOBODY);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!("the memory of process {pid} cannot be written");
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn commands_that_make_no_sense_are_refused() {
    for arguments in [
        &["clock-shift"][..],
        &["clock-shift", "x", "/nowhere", "jump", "1"],
        &["clock-shift", "1", "/nowhere", "back", "1"],
        &["clock-shift", "1", "/nowhere", "strobe", "1"],
        &["clock-look"],
    ] {
        let (done, said) = agent(arguments);
        assert!(!done && said.contains("no command about a clock"), "{said}");
    }
}
