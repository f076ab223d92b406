//! How often the places where a system keeps its membership are read while a run goes on, and what reading may cost the nodes.
//!
//! One law: with the usual interval, reading takes less than [`CORE_SHARE_LIMIT`] of one core, over all nodes together. The tests
//! `lxd_live` and `dqlite_live` measure it.

use std::time::Duration;

/// How long between the starts of two rounds at least, if nothing else is chosen.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// Costly places are read in one round of so many.
pub const COSTLY_ONE_IN: u64 = 10;
/// The share of one core that reading may take, over all nodes together.
pub const CORE_SHARE_LIMIT: f64 = 0.05;
/// The interval for each node of LXD's: most of its places are asked of its daemon, over TLS or its socket.
const LXD_INTERVAL_A_NODE: Duration = Duration::from_millis(500);

/// How long between the starts of two rounds on so many nodes, if nothing else is chosen. `system` is a name as in `--system`.
#[must_use]
pub fn usual_interval(system: &str, nodes: usize) -> Duration {
    let nodes = u32::try_from(nodes).unwrap_or(u32::MAX);
    let wanted = match system {
        "lxd" => LXD_INTERVAL_A_NODE.saturating_mul(nodes),
        _ => INTERVAL,
    };
    wanted.max(INTERVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_nodes_of_lxd_are_read_less_often() {
        for (system, nodes, interval_ms) in [
            ("lxd", 1, 1000),
            ("lxd", 3, 1500),
            ("lxd", 5, 2500),
            ("dqlite", 1, 1000),
            ("dqlite", 5, 1000),
            ("sim", 50, 1000),
        ] {
            let interval = usual_interval(system, nodes);
            assert_eq!(interval.as_millis(), interval_ms, "{system} {nodes}");
        }
    }
}
