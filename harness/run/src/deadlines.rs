//! How long an operation may take, by its kind.

use std::{fmt, sync::Arc, time::Duration};

type OfKind = dyn Fn(&str) -> Option<Duration> + Send + Sync;

/// One deadline for most kinds, others for some.
#[derive(Clone)]
pub struct Deadlines {
    usual: Duration,
    of_kind: Arc<OfKind>,
}

impl Deadlines {
    /// What `of_kind` gives for an operation's kind, else the usual.
    pub fn new(
        usual: Duration,
        of_kind: impl Fn(&str) -> Option<Duration> + Send + Sync + 'static,
    ) -> Self {
        Self {
            usual,
            of_kind: Arc::new(of_kind),
        }
    }

    /// How long an operation of this kind may take.
    #[must_use]
    pub fn of(&self, f: &str) -> Duration {
        (self.of_kind)(f).unwrap_or(self.usual)
    }
}

impl From<Duration> for Deadlines {
    fn from(usual: Duration) -> Self {
        Self::new(usual, |_| None)
    }
}

impl fmt::Debug for Deadlines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadlines")
            .field("usual", &self.usual)
            .finish_non_exhaustive()
    }
}
