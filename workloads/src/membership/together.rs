//! Joins that begin at once: each of a batch waits, its token in hand, until all others have theirs or gave up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::watch;

/// How long a join waits for the others of its batch.
pub const WAIT_LIMIT: Duration = Duration::from_secs(15);
/// Batches that are remembered; older ones have long begun.
const BATCHES_KEPT: usize = 8;

/// All batches of a run.
#[derive(Debug, Default)]
pub struct Together {
    batches: Mutex<BTreeMap<u64, Arc<watch::Sender<usize>>>>,
}

/// One join of a batch. Counts as there once it waits or is dropped, so that nobody waits for one that failed.
#[derive(Debug)]
pub struct Party {
    there: Arc<watch::Sender<usize>>,
    size: usize,
    counted: bool,
}

impl Together {
    /// One of `size` joins of that batch.
    #[must_use]
    pub fn party(&self, batch: u64, size: usize) -> Party {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let there = Arc::clone(
            batches
                .entry(batch)
                .or_insert_with(|| Arc::new(watch::Sender::new(0))),
        );
        while batches.len() > BATCHES_KEPT {
            batches.pop_first();
        }
        Party {
            there,
            size,
            counted: false,
        }
    }
}

impl Party {
    fn count(&mut self) {
        if !std::mem::replace(&mut self.counted, true) {
            self.there.send_modify(|there| *there += 1);
        }
    }

    /// Returns when all of the batch are there, after [`WAIT_LIMIT`] at the latest.
    pub async fn wait(mut self) {
        self.count();
        let mut there = self.there.subscribe();
        let all = there.wait_for(|count| *count >= self.size);
        // Too late for some, and the sender is ours: either way the join begins.
        let _ = tokio::time::timeout(WAIT_LIMIT, all).await;
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        self.count();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_begins_before_all_are_there() {
        let together = Together::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let waiting = |party: Party| {
            let begun = Arc::clone(&begun);
            tokio::spawn(async move {
                party.wait().await;
                begun.fetch_add(1, Ordering::SeqCst);
            })
        };
        let first = waiting(together.party(1, 3));
        let second = waiting(together.party(1, 3));
        // Another batch is none of their business.
        waiting(together.party(2, 1)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(begun.load(Ordering::SeqCst), 1);
        // One whose invitation failed does not hold up the others.
        drop(together.party(1, 3));
        first.await.unwrap();
        second.await.unwrap();
        assert_eq!(begun.load(Ordering::SeqCst), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_comes_is_not_waited_for() {
        let began = tokio::time::Instant::now();
        Together::default().party(1, 2).wait().await;
        assert_eq!(began.elapsed(), WAIT_LIMIT);
    }
}
