//! A process's wall clock, shifted on a program that this machine's Go builds. Fails without Go.
#![cfg(target_arch = "x86_64")]
#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod leftovers;
#[expect(dead_code, reason = "each test program uses what it needs")]
mod teller;

use std::{fs, process::Command};

use teller::{Teller, each_way, rounds};

#[test]
fn a_program_in_go_feels_it_and_survives_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("main.go"), include_str!("go/clock.go")).unwrap();
    fs::write(folder.path().join("go.mod"), "module teller\n\ngo 1.18\n").unwrap();
    let built = Command::new("go")
        .args(["build", "-o", "teller", "."])
        .current_dir(folder.path())
        .env("GOPROXY", "off")
        .output()
        .expect("go (mend: install Go)");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{said}");
    let start = |unique: &str, readers: &str| {
        let mut command = Command::new(folder.path().join("teller"));
        command.arg(readers);
        Teller::of(command, unique)
    };
    each_way(&mut start("clock-go", "2"));
    rounds(&mut start("clock-go-rounds", "8"), 200);
}
