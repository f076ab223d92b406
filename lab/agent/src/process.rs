//! Other processes, as `/proc` shows them, and ending a whole tree of them.
//!
//! Source: proc_pid_stat(5). Field 22 (start time) makes a process id unambiguous.

use std::{
    collections::HashSet,
    fs, io, thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Time between two looks at processes that were killed.
const KILL_LOOK_EVERY: Duration = Duration::from_millis(3);

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// Process id.
    pub pid: i32,
    /// State letter; `Z` and `X` are dead.
    pub state: char,
    /// Parent's process id.
    pub parent: i32,
    /// Process group.
    pub group: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
}

impl ProcessStat {
    /// Reads it.
    ///
    /// # Errors
    /// The kernel's, `ENOENT` if there is no such process.
    pub fn read(pid: i32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&String::from_utf8_lossy(&text))
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "unreadable stat"))
    }

    /// The program's name is in parentheses and may hold anything, also parentheses.
    fn parse(text: &str) -> Option<Self> {
        let (pid, _) = text.split_once(' ')?;
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid: pid.parse().ok()?,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            start_time: fields.get(19)?.parse().ok()?,
        })
    }

    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

fn all() -> Vec<ProcessStat> {
    let Ok(folder) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folder
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| ProcessStat::read(pid).ok())
        .collect()
}

/// Kills every process of a group, and every descendant of its leader that left the group, and
/// waits until none is alive. Gives how many were still there after `patience`.
///
/// The leader must be our child and not be waited for yet, so that its number stays taken.
pub fn kill_tree(leader: Pid, patience: Duration) -> u32 {
    let give_up = Instant::now() + patience;
    let leader_number = leader.as_raw_nonzero().get();
    let mut tree: HashSet<(i32, u64)> = HashSet::new();
    loop {
        let everybody = all();
        grow(&mut tree, &everybody, leader_number);
        let alive: Vec<&ProcessStat> = everybody
            .iter()
            .filter(|process| process.is_alive())
            .filter(|process| {
                process.group == leader_number || tree.contains(&(process.pid, process.start_time))
            })
            .collect();
        if alive.is_empty() {
            return 0;
        }
        // They may be gone by now; the next look tells.
        let _ = kill_process_group(leader, Signal::KILL);
        for process in alive
            .iter()
            .filter(|process| process.group != leader_number)
        {
            if let Some(pid) = Pid::from_raw(process.pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if Instant::now() >= give_up {
            return u32::try_from(alive.len()).unwrap_or(u32::MAX);
        }
        thread::sleep(KILL_LOOK_EVERY);
    }
}

/// Adds the leader and whoever descends from what is in the tree already.
fn grow(tree: &mut HashSet<(i32, u64)>, everybody: &[ProcessStat], leader: i32) {
    loop {
        let before = tree.len();
        for process in everybody {
            let child = tree.iter().any(|(pid, _)| *pid == process.parent);
            if child || process.pid == leader {
                tree.insert((process.pid, process.start_time));
            }
        }
        if tree.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_are_read_whatever_the_name_is() {
        let line = "812 (a) R 9 (b) S 1 812 800 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2";
        let stat = ProcessStat::parse(line).unwrap();
        assert_eq!(
            stat,
            ProcessStat {
                pid: 812,
                state: 'S',
                parent: 1,
                group: 812,
                start_time: 987_654
            }
        );
        for broken in ["", "12", "12 (x", "12 (x) S", "x (y) S 1 2 3"] {
            assert_eq!(ProcessStat::parse(broken), None, "{broken}");
        }
        let own = i32::try_from(std::process::id()).unwrap();
        assert_eq!(ProcessStat::read(own).unwrap().pid, own);
    }
}
