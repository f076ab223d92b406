//! One container: whether it runs, starting it, ending all of it.
//!
//! Laws:
//! - its end is seen, not assumed: LXC's monitor and whatever starts it are gone, and so is its interface;
//! - what LXC does not end is ended by process id, found by folder and name.

use std::{
    fs,
    io::Read as _,
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use super::{LabError, LxcSpec, NodeRecord, identity::SSH_PORT, lxc::ANSWER_TIMEOUT};
use crate::{
    host::{self, QUICK},
    node::NodeName,
    state::{self, State},
};

/// How long one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// Pause between two attempts, and between two looks at whether a container has ended.
const POLL: Duration = Duration::from_millis(10);
/// How long a killed container may take to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the kernel may take to remove its interface.
const INTERFACE_TIMEOUT: Duration = Duration::from_secs(2);

/// Connects and reads the first bytes that an SSH server sends.
pub(super) fn ssh_banner(address: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    let mut banner = [0; 4];
    stream.read_exact(&mut banner)?;
    if &banner == b"SSH-" {
        return Ok(());
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        "what answers is no SSH server",
    ))
}

/// One container, running or not.
pub(super) struct Container {
    lxcpath: PathBuf,
    /// Also the name of its interface on the controller.
    pub(super) name: String,
    pub(super) folder: PathBuf,
}

impl Container {
    pub(super) fn new(state: &State, spec: &LxcSpec, node: &NodeName) -> Self {
        Self::named(state, &format!("{}-{node}", spec.bridge))
    }

    pub(super) fn named(state: &State, name: &str) -> Self {
        let lxcpath = state.nodes();
        Self {
            folder: lxcpath.join(name),
            lxcpath,
            name: name.to_owned(),
        }
    }

    fn lxc(&self, tool: &str, args: &[&str]) -> Result<host::Ran, host::HostError> {
        let path = self.lxcpath.to_string_lossy();
        let mut all = vec!["-P", path.as_ref(), "-n", &self.name];
        all.extend(args);
        host::run_any(tool, &all, QUICK)
    }

    pub(super) fn init_pid(&self) -> Result<Option<u32>, LabError> {
        // LXC reports a container that it does not know on its exit code, and prints no process.
        let ran = self.lxc("lxc-info", &["-p", "-H"])?;
        Ok(ran.stdout.trim().parse().ok().filter(|pid| *pid > 0))
    }

    pub(super) fn start(&self) -> Result<(), LabError> {
        let log = self.folder.join("lxc.log");
        let console = self.folder.join("console.log");
        state::remove_file(&log)?;
        let (log_path, console_path) = (log.to_string_lossy(), console.to_string_lossy());
        let ran = self.lxc(
            "lxc-start",
            &[
                "-d",
                "-l",
                "WARN",
                "-o",
                log_path.as_ref(),
                "-L",
                console_path.as_ref(),
            ],
        )?;
        if ran.code == Some(0) {
            return Ok(());
        }
        let log = fs::read_to_string(&log).unwrap_or(ran.stderr);
        Err(LabError::Start {
            node: self.name.clone(),
            detail: host::last_lines(&log),
        })
    }

    pub(super) fn wait_for_answer(&self, node: &NodeRecord) -> Result<(), LabError> {
        let address = SocketAddr::new(node.address, SSH_PORT);
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        loop {
            match ssh_banner(address) {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() >= deadline => {
                    let console = fs::read_to_string(self.folder.join("console.log"));
                    let said = host::last_lines(&console.unwrap_or_default());
                    let detail = format!("{address}: {error}; its console says: {said}");
                    return Err(LabError::Silent {
                        node: node.name.to_string(),
                        detail,
                    });
                }
                Err(_) => std::thread::sleep(POLL),
            }
        }
    }

    /// Kills the container, waits until nothing of it is left, and removes its folder.
    pub(super) fn end(&self) -> Result<(), LabError> {
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            self.end_processes()?;
            self.remove_interface()?;
            match state::remove_folder(&self.folder) {
                // Something wrote into it while it was removed: whatever that is has to be found and ended too.
                Err(error) if error.is_not_empty() && Instant::now() < deadline => {
                    std::thread::sleep(POLL);
                }
                removed => return Ok(removed?),
            }
        }
    }

    /// Kills whatever runs of it: first by LXC, then what LXC did not end.
    pub(super) fn end_processes(&self) -> Result<(), LabError> {
        if self.nobody_holds() {
            return Ok(());
        }
        let stopped = self.lxc("lxc-stop", &["-k"])?;
        let deadline = Instant::now() + END_TIMEOUT;
        let mut by_force = false;
        let mut killed = Vec::new();
        loop {
            let keepers = self.keepers();
            killed.retain(still_there);
            if keepers.is_empty() && killed.is_empty() && self.nobody_holds() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let detail = format!("lxc-stop said: {}", host::last_lines(&stopped.stderr));
                return Err(LabError::Stuck {
                    container: self.name.clone(),
                    pid: keepers.first().copied().unwrap_or_default(),
                    detail,
                });
            }
            if stopped.code != Some(0) && !by_force && !keepers.is_empty() {
                by_force = true;
                for keeper in &keepers {
                    killed.extend(children(*keeper).filter_map(kill));
                    killed.extend(kill(*keeper));
                }
            }
            std::thread::sleep(POLL);
        }
    }

    /// Nobody in two looks one after the other: a process that forks and ends while `/proc` is listed is in neither place of one.
    fn nobody_holds(&self) -> bool {
        self.keepers().is_empty() && self.keepers().is_empty()
    }

    /// The processes that hold the container: LXC's monitor, and an `lxc-start` that has not become it yet.
    fn keepers(&self) -> Vec<u32> {
        let lxcpath = self.lxcpath.to_string_lossy();
        let monitor = format!("[lxc monitor] {lxcpath} {}", self.name);
        let is_keeper = |command: &str| {
            let words: Vec<&str> = command.split('\0').collect();
            words.first().is_some_and(|word| word.trim_end() == monitor)
                || (words
                    .first()
                    .is_some_and(|word| word.ends_with("lxc-start"))
                    && words.contains(&lxcpath.as_ref())
                    && words.contains(&self.name.as_str()))
        };
        processes()
            .filter(|pid| {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                is_keeper(&String::from_utf8_lossy(&command))
            })
            .collect()
    }

    /// The kernel removes the interface with the network namespace, a moment later than the processes.
    fn remove_interface(&self) -> Result<(), LabError> {
        let path = Path::new("/sys/class/net").join(&self.name);
        let deadline = Instant::now() + INTERFACE_TIMEOUT;
        while path.exists() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        if path.exists() {
            host::run("ip", &["link", "delete", "dev", &self.name], QUICK)?;
        }
        Ok(())
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Kills it and returns what its end can be seen by; none if it is gone already, which is what is wanted.
fn kill(pid: u32) -> Option<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw)?;
    let process = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    pidfd_send_signal(&process, Signal::KILL).ok()?;
    Some(process)
}

/// Whether a process has not ended yet.
fn still_there(process: &OwnedFd) -> bool {
    let mut ended = [PollFd::new(process, PollFlags::IN)];
    !matches!(poll(&mut ended, Some(&Timespec::default())), Ok(1))
}

fn children(parent: u32) -> impl Iterator<Item = u32> {
    processes().filter(move |pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name is in parentheses and may hold anything; the parent is the second word after it.
        let after = stat.rsplit_once(") ").map(|(_, rest)| rest);
        let its_parent = after
            .and_then(|rest| rest.split(' ').nth(1))
            .and_then(|ppid| ppid.parse().ok());
        its_parent == Some(parent)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_that_does_not_exist_holds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        assert!(Container::named(&state, "nobody-n1").keepers().is_empty());
    }
}
