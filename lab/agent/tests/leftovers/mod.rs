//! Whoever a test started, found by a variable of its environment that every descendant inherits, also one that
//! left its group, its session or its parent; so that a test that fails leaves as little as one that passes.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Time for killed processes to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// A variable with a value that no other process has.
pub struct Mark {
    assignment: String,
}

impl Mark {
    /// The variable's name.
    pub const NAME: &str = "HARNESS_TEST_MARK";

    /// A mark for a test that calls itself so; the name must be unique within this process.
    pub fn new(unique: &str) -> Self {
        let assignment = format!("{}={}-{unique}", Self::NAME, std::process::id());
        Self { assignment }
    }

    /// `NAME=value`.
    pub fn assignment(&self) -> &str {
        &self.assignment
    }

    /// Processes that have it; one that was killed has no environment any more.
    pub fn processes(&self) -> Vec<Pid> {
        let Ok(folder) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        folder
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|number| self.is_on(*number))
            .filter_map(Pid::from_raw)
            .collect()
    }

    fn is_on(&self, number: i32) -> bool {
        // A process of somebody else, or one that has just ended, cannot be read, and is not ours.
        let environment = fs::read(format!("/proc/{number}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == self.assignment.as_bytes())
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let begun = Instant::now();
        // More than one look: what is killed may have forked meanwhile.
        while begun.elapsed() < PATIENCE {
            let processes = self.processes();
            if processes.is_empty() {
                return;
            }
            for process in processes {
                // It may be gone by now.
                let _ = kill_process(process, Signal::KILL);
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}
