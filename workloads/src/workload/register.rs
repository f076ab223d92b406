//! Several registers, each linearizable if the system is: reads, writes and compare-and-sets.
//!
//! Every value is written once a key, so that a stale read cannot hide behind an equal value. A key is worked on by a group of
//! threads that spans the nodes, for a limited number of operations: checking linearizability costs more the longer
//! a key lives, and what never ended stays open for ever.

use harness_core::generator::{BoxGenerator, Combine, OpSpec, from_fn, per_key};
use harness_core::seed::Stream;
use rand::Rng;
use serde::Serialize;

use super::{Load, Reads};

/// Operations before a key is left for the next one.
pub const OPERATIONS_PER_KEY: u64 = 200;
/// How far back a compare-and-set looks for the last value.
const LOOK_BACK: u64 = 20;

/// Parameters of the workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameters {
    /// How reads are answered.
    pub reads: Reads,
    /// Operations before a key is left for the next one.
    pub operations_per_key: u64,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            reads: Reads::default(),
            operations_per_key: OPERATIONS_PER_KEY,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Read,
    Write,
    Cas,
}

fn verb(rng: &mut impl Rng) -> Verb {
    match rng.random_range(0..10) {
        0..5 => Verb::Read,
        5..8 => Verb::Write,
        _ => Verb::Cas,
    }
}

/// The value that the last plain write before the n-th operation asked for: each asks for its own number plus one. A good
/// guess of what is there; compare-and-sets are passed over, because most of those that follow one another fail.
fn last_written(stream: &Stream, number: u64) -> u64 {
    (number.saturating_sub(LOOK_BACK)..number)
        .rev()
        .find(|earlier| verb(&mut stream.draw(*earlier)) == Verb::Write)
        .map_or(0, |earlier| earlier + 1)
}

impl Parameters {
    pub(super) fn load(&self, load: &Load) -> BoxGenerator {
        let seed = load.seed;
        let per_key_count = self.operations_per_key;
        let threads = load.names.len().clamp(1, load.concurrency.max(1));
        let keys = per_key(threads, None, move |key| {
            let stream = seed.stream(&format!("workload/register/{key}"));
            from_fn(stream, move |rng, number, _context| match verb(rng) {
                // `per_key` puts the key in front: `[k, v]`.
                Verb::Read => OpSpec::new("read", ()),
                Verb::Write => OpSpec::new("write", number + 1),
                Verb::Cas => OpSpec::new("cas", [last_written(&stream, number), number + 1]),
            })
            .limit(per_key_count)
            .boxed()
        });
        super::paced(keys.boxed(), load)
    }
}
