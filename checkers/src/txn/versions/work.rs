//! How much a search may do: so much by count, so that answers repeat, and no longer than the caller's budget allows.

use harness_core::verdict::{Budget, Exhausted};

/// Words of tables that one search may look at.
const WORK_LIMIT: usize = 1_000_000_000;
/// Words after which the caller's budget is asked again.
const ASKED_EVERY: usize = 1_000_000;

/// What was done so far.
pub(in crate::txn) struct Work<'b> {
    done: usize,
    /// When the budget is asked next.
    ask_at: usize,
    memory_bytes: u64,
    budget: &'b dyn Budget,
    exhausted: Option<Exhausted>,
}

impl<'b> Work<'b> {
    /// Nothing yet; tables of so many bytes.
    pub fn new(budget: &'b dyn Budget, memory_bytes: u64) -> Self {
        Self {
            done: 0,
            ask_at: 0,
            memory_bytes,
            budget,
            exhausted: None,
        }
    }

    /// Counts so many words.
    pub fn spend(&mut self, words: usize) {
        self.done += words;
        if self.done >= self.ask_at {
            self.ask_at = self.done + ASKED_EVERY;
            if let Err(exhausted) = self.budget.spend(self.memory_bytes) {
                self.exhausted = Some(exhausted);
            }
        }
    }

    /// Whether there is no more to be done.
    pub fn is_over(&self) -> bool {
        self.exhausted.is_some() || self.done > WORK_LIMIT
    }

    /// What the caller's budget ran out of.
    pub fn exhausted(&self) -> Option<&Exhausted> {
        self.exhausted.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use harness_core::verdict::Unlimited;

    use super::*;

    /// A budget that is used up.
    struct Spent;

    impl Budget for Spent {
        fn spend(&self, _memory_bytes: u64) -> Result<(), Exhausted> {
            Err(Exhausted::Time)
        }
    }

    #[test]
    fn a_limit_and_a_budget_end_it() {
        let mut work = Work::new(&Unlimited, 0);
        work.spend(WORK_LIMIT);
        assert!(!work.is_over());
        work.spend(1);
        assert!(work.is_over() && work.exhausted().is_none());
        let mut work = Work::new(&Spent, 0);
        assert!(!work.is_over());
        work.spend(1);
        assert!(work.is_over() && work.exhausted().is_some());
    }
}
