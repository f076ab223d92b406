//! One instant for several nodes: when it is on each node's own monotonic clock.

use std::time::Duration;

use harness_lab::{ClockOffset, Node};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::JoinSet;

/// How often each clock is asked for: the best answer counts, and its bound shrinks with the number.
const MEASUREMENTS: usize = 3;

/// The offsets of several nodes' clocks, in the order in which the nodes were given.
#[derive(Debug)]
pub struct Instants {
    offsets: Vec<Result<ClockOffset, String>>,
}

/// An instant on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeInstant {
    /// On its `CLOCK_MONOTONIC`, nanoseconds.
    pub node_ns: i64,
    /// The offset that is in it is known to this, nanoseconds.
    pub bound_ns: u64,
}

/// Our own `CLOCK_MONOTONIC`, nanoseconds.
#[must_use]
pub fn now_ns() -> i64 {
    const NS_PER_S: i64 = 1_000_000_000;
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec
        .saturating_mul(NS_PER_S)
        .saturating_add(now.tv_nsec)
}

impl Instants {
    /// Measures all clocks, at the same time.
    pub async fn measure(nodes: &[&Node]) -> Self {
        let mut measuring = JoinSet::new();
        for (place, node) in nodes.iter().enumerate() {
            let node = (*node).clone();
            measuring.spawn(async move {
                let mut best: Option<ClockOffset> = None;
                for _ in 0..MEASUREMENTS {
                    match node.transport.clock_offset().await {
                        Ok(offset) if best.is_none_or(|best| offset.bound_ns < best.bound_ns) => {
                            best = Some(offset);
                        }
                        Ok(_) => {}
                        Err(error) => return (place, Err(error.to_string())),
                    }
                }
                (
                    place,
                    best.ok_or_else(|| "its clock was not read".to_owned()),
                )
            });
        }
        let mut offsets = measuring.join_all().await;
        offsets.sort_by_key(|(place, _)| *place);
        Self {
            offsets: offsets.into_iter().map(|(_, offset)| offset).collect(),
        }
    }

    /// The instant that is so far from now, on each node; why not, where its clock could not be read.
    pub fn after(&self, ahead: Duration) -> Vec<Result<NodeInstant, String>> {
        let ahead_ns = i64::try_from(ahead.as_nanos()).unwrap_or(i64::MAX);
        let at_ns = now_ns().saturating_add(ahead_ns);
        let on_node = |offset: &ClockOffset| NodeInstant {
            node_ns: at_ns.saturating_add(offset.monotonic_offset_ns),
            bound_ns: offset.bound_ns,
        };
        self.offsets
            .iter()
            .map(|offset| offset.as_ref().map(on_node).map_err(Clone::clone))
            .collect()
    }

    /// The offsets, in the order of the nodes.
    pub fn offsets(&self) -> &[Result<ClockOffset, String>] {
        &self.offsets
    }
}
