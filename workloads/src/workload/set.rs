//! A set that only grows: adds of distinct elements, reads of all, and last reads once all is healed.
//!
//! What was acknowledged must be in the last reads; what is there twice, or was never added, is reported too.

use harness_core::generator::{BoxGenerator, Combine, OpSpec, from_fn};
use rand::Rng;
use serde::Serialize;

use super::Load;

/// One operation in so many is a read: each carries all elements.
const READ_ONE_IN: u32 = 40;

/// Parameters of the workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Parameters {}

impl Parameters {
    pub(super) fn load(&self, load: &Load) -> BoxGenerator {
        let all = from_fn(load.seed.stream("workload/set"), |rng, number, _context| {
            if rng.random_ratio(1, READ_ONE_IN) {
                OpSpec::new("read", ())
            } else {
                OpSpec::new("add", number)
            }
        });
        super::paced(all.boxed(), load)
    }

    pub(super) fn final_reads(&self, load: &Load) -> BoxGenerator {
        super::read_on_every_thread(OpSpec::new("read", ()), load)
    }
}
