//! Transactions of appends to lists and reads of them, after Elle: a read shows the whole order of what was appended.
//!
//! A key takes a limited number of appends and is then left for a new one, so that lists stay short.

use harness_core::generator::{BoxGenerator, Combine, OpSpec, from_fn};
use rand::Rng;
use serde::Serialize;
use serde_json::{Value, json};

use super::Load;

/// Keys that are worked on at a time.
const ACTIVE_KEYS: u64 = 10;
/// Transactions until the oldest active key is left for a new one.
const TRANSACTIONS_PER_KEY: u64 = 16;
/// The most micro-operations of a transaction.
const STEPS_MAX: usize = 4;

/// Parameters of the workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Parameters {}

impl Parameters {
    pub(super) fn load(&self, load: &Load) -> BoxGenerator {
        let all = from_fn(
            load.seed.stream("workload/append"),
            |rng, number, _context| {
                let oldest = number / TRANSACTIONS_PER_KEY;
                let steps = rng.random_range(1..=STEPS_MAX);
                let transaction: Vec<Value> = (0..steps)
                    .map(|step| {
                        let key = oldest + rng.random_range(0..ACTIVE_KEYS);
                        if rng.random_bool(0.5) {
                            json!(["r", key, null])
                        } else {
                            // Distinct in the whole run: what is read names its writer.
                            json!(["append", key, number * STEPS_MAX as u64 + step as u64 + 1])
                        }
                    })
                    .collect();
                OpSpec::new("txn", transaction)
            },
        );
        super::paced(all.boxed(), load)
    }
}
