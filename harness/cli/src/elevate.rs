//! Becoming root for the built-in lab: containers, bridges and overlays need it.
//!
//! An ordinary user's command starts itself again under `sudo -n` (which never asks). What it
//! writes for the user is given back to the user; the state folder stays root's.

use std::{
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use crate::failure::Failure;

/// Set for the elevated process, so that it never tries again.
const ELEVATED: &str = "HARNESS_ELEVATED";
/// Variables that the elevated process needs besides our own `HARNESS_*`.
const PASSED: [&str; 5] = ["NO_COLOR", "TERM", "LANG", "PATH", "COLUMNS"];

/// Whether we are root.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Goes on only as root: returns if we are, else starts this command again under sudo and never returns.
pub fn require_root(why: &str) -> Result<(), Failure> {
    if is_root() {
        end_with_sudo();
        allow_core_dumps();
        return Ok(());
    }
    let mend = "run it as root, or allow `sudo -n` for this user";
    if std::env::var_os(ELEVATED).is_some() {
        return Err(Failure::usage(format!(
            "{why} needs root, and sudo did not make us root; {mend}"
        )));
    }
    let allowed = Command::new("sudo")
        .args(["-n", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !allowed.is_ok_and(|status| status.success()) {
        return Err(Failure::usage(format!(
            "{why} needs root, and `sudo -n` is not allowed here; {mend}"
        )));
    }
    let program = std::env::current_exe()
        .map_err(|error| Failure::harness(format!("our own program cannot be found: {error}")))?;
    let mut command = Command::new("sudo");
    command.args(["-n", "env"]).arg(format!("{ELEVATED}=1"));
    for (name, value) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text != ELEVATED && (text.starts_with("HARNESS_") || PASSED.contains(&text.as_ref())) {
            let mut word = name.clone();
            word.push("=");
            word.push(value);
            command.arg(word);
        }
    }
    let error = command
        .arg(program)
        .args(std::env::args_os().skip(1))
        .exec();
    Err(Failure::harness(format!("sudo cannot be started: {error}")))
}

/// sudo takes core dumps away from what it starts; nodes inherit that, and a crash would leave no dump. A root without
/// `CAP_SYS_RESOURCE` cannot take it back: then the `crashes` checker says that dumps would have been lost.
fn allow_core_dumps() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // What it came to is asked on the nodes, and told with the verdict.
    let _ = setrlimit(Resource::Core, unlimited);
}

/// If the sudo that started us is killed, we are told to stop and heal.
fn end_with_sudo() {
    if std::env::var_os(ELEVATED).is_some() {
        // If the kernel refuses, the only loss is that a killed sudo leaves us running to the end.
        let _ =
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM));
    }
}
