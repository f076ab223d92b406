//! Booting the node anew, from inside.
//!
//! In a container, reboot(2) ends process 1 of its pid namespace and with it all others, at once, and whoever started the
//! container starts it again. On a machine of its own it would leave file systems as they are, so there the service manager
//! is asked, which ends what runs in order.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use rustix::{
    fs::sync,
    system::{RebootCommand, reboot},
};

use crate::stream::Stream;

/// The pid namespace that a kernel begins with, as in `/proc/self/ns/pid`.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";
/// There where systemd is process 1.
const SYSTEMD: &str = "/run/systemd/system";

/// Boots anew. The stream is ended only if that could not be had: else nobody is left to do it.
pub fn run(stream: &Stream) {
    if let Err(error) = boot_anew() {
        stream.fail(&error);
    }
}

fn boot_anew() -> io::Result<()> {
    let is_machine = fs::read_link("/proc/self/ns/pid")?.as_os_str() == FIRST_PID_NAMESPACE;
    if is_machine && Path::new(SYSTEMD).is_dir() {
        let asked = Command::new("systemctl")
            .args(["--no-block", "reboot"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        return match asked.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("systemctl reboot: {asked}"))),
        };
    }
    if is_machine {
        sync();
    }
    Ok(reboot(RebootCommand::Restart)?)
}
