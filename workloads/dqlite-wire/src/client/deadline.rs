//! The instant by which a call returns.

use std::time::Duration;

use tokio::time::Instant;

/// An instant by which a call must be done. A [`Duration`] turns into one, counted from the moment
/// of the conversion, so a call takes `Duration::from_secs(2)` as well as a deadline that several
/// calls share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The instant `after` from now.
    pub fn after(after: Duration) -> Self {
        Self(Instant::now() + after)
    }

    /// This instant.
    pub fn at(instant: Instant) -> Self {
        Self(instant)
    }

    /// The instant.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// Whether it is over.
    pub fn is_over(self) -> bool {
        Instant::now() >= self.0
    }

    /// The earlier of this one and `after` from now.
    #[must_use]
    pub fn within(self, after: Duration) -> Self {
        self.min(Self::after(after))
    }
}

impl From<Duration> for Deadline {
    fn from(after: Duration) -> Self {
        Self::after(after)
    }
}

impl From<Instant> for Deadline {
    fn from(instant: Instant) -> Self {
        Self(instant)
    }
}
