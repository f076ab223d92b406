//! The run's clock: nanoseconds since the run began, monotonic.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use harness_nemesis::exec::Clock;

/// A point in time from which a run's times count. Cheap to copy; all of a run's parts share one.
#[derive(Clone, Copy, Debug)]
pub struct RunClock {
    origin: Instant,
}

impl RunClock {
    /// The run begins now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// When the run began.
    #[must_use]
    pub fn origin(self) -> Instant {
        self.origin
    }

    /// Nanoseconds since the run began.
    #[must_use]
    pub fn now_ns(self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Nanoseconds since 1970 on this machine's wall clock; 0 if that clock stands before 1970.
#[must_use]
pub fn wall_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

impl Clock for RunClock {
    fn run_ns(&self) -> u64 {
        self.now_ns()
    }

    fn wall_ns(&self) -> u64 {
        wall_ns()
    }
}
