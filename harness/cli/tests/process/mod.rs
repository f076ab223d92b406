//! Signals to a harness that a test has started, also where it has become root.

use std::process::{Child, Command};

/// The process that does the work: under sudo it is a child of what was started.
pub fn worker(child: &Child) -> u32 {
    let mut pid = child.id();
    loop {
        let said = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        let name = said("comm").unwrap_or_default();
        let below = said(&format!("task/{pid}/children")).unwrap_or_default();
        let below = below.split_whitespace().next();
        match below.and_then(|pid| pid.parse().ok()) {
            Some(next) if name.trim() != "harness" => pid = next,
            _ => return pid,
        }
    }
}

/// Sends a signal, as root if need be.
#[track_caller]
pub fn signal(pid: u32, name: &str) {
    let id = Command::new("id").arg("-u").output().expect("id");
    let kill: &[&str] = match String::from_utf8_lossy(&id.stdout).trim() {
        "0" => &["kill"],
        _ => &["sudo", "-n", "kill"],
    };
    let sent = Command::new(kill[0])
        .args(&kill[1..])
        .args([format!("-{name}"), pid.to_string()])
        .status();
    assert!(sent.expect("kill").success());
}
