//! Live counters for progress display: written by the interpreter's loop, read by anybody at any time.
//!
//! Rates are the reader's matter: the difference of two [`Snapshot`]s over the time between them.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use harness_core::event::EventType;

/// Kinds of operations that are counted apart; further ones count under [`OTHER`].
pub const KIND_LIMIT: usize = 64;
/// Where kinds beyond [`KIND_LIMIT`] are counted.
pub const OTHER: &str = "other";

/// Counters of one kind of operation.
#[derive(Debug, Default)]
pub struct Counters {
    invoked: AtomicU64,
    ok: AtomicU64,
    fail: AtomicU64,
    info: AtomicU64,
}

/// Their values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations begun.
    pub invoked: u64,
    /// Ended ok.
    pub ok: u64,
    /// Ended fail.
    pub fail: u64,
    /// Ended info.
    pub info: u64,
}

impl Counts {
    /// Operations that are open.
    #[must_use]
    pub fn open(self) -> u64 {
        self.invoked.saturating_sub(self.ok + self.fail + self.info)
    }

    fn add(&mut self, other: Self) {
        self.invoked += other.invoked;
        self.ok += other.ok;
        self.fail += other.fail;
        self.info += other.info;
    }
}

impl Counters {
    /// Counts an event.
    pub fn count(&self, event_type: EventType) {
        let counter = match event_type {
            EventType::Invoke => &self.invoked,
            EventType::Ok => &self.ok,
            EventType::Fail => &self.fail,
            EventType::Info => &self.info,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn read(&self) -> Counts {
        // Ends before beginnings, so that nothing seems to have ended that did not begin.
        let (ok, fail, info) = (
            self.ok.load(Relaxed),
            self.fail.load(Relaxed),
            self.info.load(Relaxed),
        );
        Counts {
            invoked: self.invoked.load(Relaxed),
            ok,
            fail,
            info,
        }
    }
}

/// All counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All kinds together.
    pub total: Counts,
    /// By kind of operation.
    pub kinds: BTreeMap<Arc<str>, Counts>,
}

/// The counters of a run.
#[derive(Debug, Default)]
pub struct Stats {
    kinds: RwLock<Vec<(Arc<str>, Arc<Counters>)>>,
}

impl Stats {
    /// The counters of a kind of operation; keep them instead of asking for each operation.
    pub fn of(&self, f: &Arc<str>) -> Arc<Counters> {
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counters)) = kinds.iter().find(|(known, _)| known == f) {
            return Arc::clone(counters);
        }
        if kinds.len() > KIND_LIMIT
            && let Some((_, counters)) = kinds.last()
        {
            return Arc::clone(counters);
        }
        let name = if kinds.len() == KIND_LIMIT {
            Arc::from(OTHER)
        } else {
            Arc::clone(f)
        };
        let counters = Arc::<Counters>::default();
        kinds.push((name, Arc::clone(&counters)));
        counters
    }

    /// How they stand now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        let mut snapshot = Snapshot::default();
        for (f, counters) in kinds.iter() {
            let counts = counters.read();
            snapshot.total.add(counts);
            snapshot.kinds.entry(Arc::clone(f)).or_default().add(counts);
        }
        snapshot
    }
}
