//! What reading the places where membership is kept costs the nodes: as time of their processors, which a loaded machine does not
//! lengthen, and less what the same nodes use when nobody reads.

use std::time::{Duration, Instant};

use harness_lab::{
    Exec, Node,
    capability::{Cost, Sources},
};
use harness_workloads::systems::sampling::{CORE_SHARE_LIMIT, COSTLY_ONE_IN};

/// Rounds of reading in one measurement.
const ROUNDS: u32 = 20;
/// Measurements, of which the cheapest counts: what else happens on a node only adds to one.
const MEASUREMENTS: usize = 2;
/// How long the nodes are looked at while nobody reads: as long as a heartbeat of LXD's.
const IDLE: Duration = Duration::from_secs(10);
/// How long one reading may take.
const READ: Duration = Duration::from_secs(10);
/// Clock ticks in a second of `/proc`, on every architecture that we know.
const TICKS_PER_S: f64 = 100.0;

/// Seconds of processors that these nodes have used, with what their ended children used.
async fn used_s(nodes: &[&Node]) -> f64 {
    let script = "cat /proc/[0-9]*/stat 2>/dev/null | sed 's/.*) //' | awk '{ sum += $12 + $13 + $14 + $15 } END { print sum }'";
    let mut ticks = 0.0;
    for node in nodes {
        let output = node.transport.exec(Exec::shell(script)).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        ticks += output.stdout_text().trim().parse::<f64>().unwrap();
    }
    ticks / TICKS_PER_S
}

/// Seconds of processors that a round takes, with the costly places or without.
async fn round_s(sources: &dyn Sources, nodes: &[&Node], costly: bool, idle: f64) -> f64 {
    let (before, begun) = (used_s(nodes).await, Instant::now());
    for _ in 0..ROUNDS {
        for node in nodes {
            for place in sources.places() {
                if costly || place.cost == Cost::Low {
                    sources.read(node, place, READ).await;
                }
            }
        }
    }
    let took_s = begun.elapsed().as_secs_f64();
    let used_s = used_s(nodes).await - before;
    ((used_s - idle * took_s) / f64::from(ROUNDS)).max(0.0)
}

/// Measures what rounds cost as the sampler does them, and that it is within the limit with this interval between them.
pub async fn assert_within_limit(
    system: &str,
    sources: &dyn Sources,
    nodes: &[&Node],
    interval: Duration,
) {
    let before = used_s(nodes).await;
    let begun = Instant::now();
    tokio::time::sleep(IDLE).await;
    let idle = (used_s(nodes).await - before) / begun.elapsed().as_secs_f64();
    let mut least = f64::INFINITY;
    for _ in 0..MEASUREMENTS {
        let cheap = round_s(sources, nodes, false, idle).await;
        let full = round_s(sources, nodes, true, idle).await;
        let one_in = COSTLY_ONE_IN as f64;
        let usual = ((one_in - 1.0) * cheap + full) / one_in;
        let share = usual / interval.as_secs_f64();
        eprintln!(
            "{system}: a round on {} nodes takes {:.1} ms of CPU, {:.1} ms with the costly places; every {interval:?} that is {:.2} % of a core (idle {:.1} %)",
            nodes.len(),
            cheap * 1000.0,
            full * 1000.0,
            share * 100.0,
            idle * 100.0
        );
        least = least.min(share);
    }
    assert!(
        least < CORE_SHARE_LIMIT,
        "{system}: reading takes {:.2} % of a core every {interval:?}",
        least * 100.0
    );
}
