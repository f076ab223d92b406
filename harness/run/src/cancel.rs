//! Whether to go on: asked by everything that waits, raised by a signal or by whoever finds that it makes no sense.
//!
//! Law: the level only rises.

use std::sync::Arc;

use tokio::sync::watch;

/// How urgently to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Go on.
    Run,
    /// Generate nothing more, let open operations have their deadline, heal, check what there is.
    Stop,
    /// Heal and leave at once.
    Leave,
}

/// A handle to it; clones are the same one.
#[derive(Clone, Debug)]
pub struct Cancel {
    level: Arc<watch::Sender<Level>>,
    /// For those who only know yes and no, as the nemesis does.
    flag: Arc<watch::Sender<bool>>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self::new()
    }
}

impl Cancel {
    /// At [`Level::Run`].
    #[must_use]
    pub fn new() -> Self {
        Self {
            level: Arc::new(watch::Sender::new(Level::Run)),
            flag: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Raises it; a level that is reached already changes nothing.
    pub fn raise(&self, to: Level) {
        self.level.send_if_modified(|level| {
            let higher = to > *level;
            *level = to.max(*level);
            higher
        });
        if to > Level::Run {
            self.flag.send_replace(true);
        }
    }

    /// How it stands.
    #[must_use]
    pub fn level(&self) -> Level {
        *self.level.borrow()
    }

    /// Whether somebody wants an end.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.level() > Level::Run
    }

    /// Returns when that level is reached.
    pub async fn reached(&self, level: Level) {
        // The sender is ours, so it cannot be gone.
        let _ = self.level.subscribe().wait_for(|now| *now >= level).await;
    }

    /// True once somebody wants an end.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.flag.subscribe()
    }
}
