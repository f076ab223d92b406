//! One operation on a fresh cluster, with functions watched on every node: which node entered what, in order of time.
//!
//! 1. An entry counts if the node's daemon made it between invocation and completion; commands that run the same program do not.
//! 2. What any node of an idle cluster enters is left out, unless it is asked for.
//! 3. Times are of the nodes' wall clocks, less their offsets from ours. The order of two entries on two nodes is proven only where
//!    they are further apart than the bounds of both offsets.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use harness_core::{
    frame::probe::ProbeHit,
    sweep::{OpEnd, SweepOp},
};
use harness_lab::Node;
use harness_nemesis::points::Trace as Watch;
use serde::Serialize;

use super::{Cell, SweepError, Works, cell, needed, point, subject, trace};

/// Entries of each function that a node tells: those before the invocation, and of commands, are among them.
const TOLD_HITS: u64 = 64;

/// A function that a node entered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entered {
    /// Nanoseconds from the invocation to the first entry.
    pub at_ns: u64,
    /// The node's name.
    pub node: String,
    /// The function, with its address if several have that name.
    pub function: String,
    /// Entries until completion.
    pub hits: u64,
    /// Whether there may have been more: only the first entries of a function are told.
    pub more: bool,
    /// The daemon's process, as the node numbers it.
    pub pid: u32,
}

/// A node that was watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Watched {
    /// Its name.
    pub node: String,
    /// What it was to the operation: `joiner`, `removed`, `leader` or `member`.
    pub role: &'static str,
    /// The true times lie within this many nanoseconds of those that are told.
    pub clock_bound_ns: u64,
    /// Functions that could not be watched there.
    pub unprobed: usize,
    /// Entries that found no room and are not told.
    pub lost: u64,
    /// Functions whose entries were all told before the operation began; whether it enters them is not known.
    pub unclear: usize,
}

/// An operation that was watched.
#[derive(Clone, Debug)]
pub struct Traced {
    /// How the operation ended.
    pub outcome: OpEnd,
    /// From invocation to completion, nanoseconds; none if it never completed.
    pub took_ns: Option<u64>,
    /// Functions that were watched, on each node.
    pub functions: usize,
    /// Functions that the operation enters and an idle cluster too; they are left out of `entered`.
    pub idle: usize,
    /// The nodes, as the cluster was formed.
    pub nodes: Vec<Watched>,
    /// What was entered, in order of time.
    pub entered: Vec<Entered>,
}

/// Forms the cluster or puts it back, and does the operation once with every function watched on every node.
///
/// # Errors
/// [`SweepError::Refused`] if no function is to be watched or the system lacks what it needs; if the cluster or a probe cannot be had.
pub async fn traced(works: Works, cell: Cell, keep_idle: bool) -> Result<Traced, SweepError> {
    let works = Arc::new(works);
    let ask = &works.ask;
    let ready = cell::make_ready(&works, vec![cell]).await?;
    let cell = ready
        .first()
        .ok_or_else(|| SweepError::Refused("nodes: there is no cell".to_owned()))?;
    let system = &*cell.system;
    let handle = needed(
        "program with functions to watch",
        system,
        system.handles().program,
    )?;
    works.now("trace: reading the program");
    let program = works
        .programs
        .read(&cell.nodes[0], &handle.program())
        .await?;
    let functions = trace::functions(&works, cell, &program);
    if functions.is_empty() {
        return Err(SweepError::Refused(
            "match: no function of the program matches".to_owned(),
        ));
    }
    works.go_on()?;
    let mut idle = BTreeSet::new();
    if !keep_idle {
        works.now("trace: a fresh cluster, left idle");
        cell.put_back(ask).await?;
        idle = trace::entered_idle(&works, cell, &cell.nodes, &program, &functions).await?;
        works.go_on()?;
    }
    works.now(format!("trace: a {}", ask.head.op));
    cell.put_back(ask).await?;
    let leader = match system.handles().leader {
        Some(knows) => knows.leader(cell.members(ask)).await,
        None => None,
    };
    let mut watches = Vec::new();
    for node in &cell.nodes {
        // A daemon may start anew within the operation: the one before it counts as well.
        let before = handle.newest_process(node).await?;
        let watch = works
            .programs
            .trace(node, &program, functions.clone(), TOLD_HITS)
            .await?;
        watches.push((node, before, watch));
    }
    let done = point::conduct(&works, cell, "trace", point::no_faults()).await?;
    let began_wall_ns = i64::try_from(done.run.meta.started_wall_ns).unwrap_or(i64::MAX);
    let ns = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    let (invoked_ns, completed_ns) = (ns(done.span_ns.0), ns(done.span_ns.1));
    let (mut nodes, mut entered, mut left_out) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (node, before, watch) in watches {
        let end = watch.probe.disarm().await?;
        let offset = node.transport.clock_offset().await?;
        let daemons = [before, handle.newest_process(node).await?];
        let progress = watch.probe.progress();
        let from_invocation = |hit: &ProbeHit| {
            hit.wall_ns
                .saturating_sub(offset.wall_offset_ns)
                .saturating_sub(began_wall_ns)
                .saturating_sub(invoked_ns)
        };
        let told = progress.hits.iter().map(|hit| Told {
            site: hit.site,
            at_ns: from_invocation(hit),
            pid: hit.pid,
        });
        let mut sites = entries(told, &daemons, completed_ns.saturating_sub(invoked_ns));
        let address = |site: u32| {
            let function = watch.functions.get(usize::try_from(site).ok()?)?;
            Some(function.address)
        };
        let both = |site: &u32| address(*site).is_some_and(|address| idle.contains(&address));
        left_out.extend(
            sites
                .iter()
                .filter(|(number, site)| site.hits > 0 && both(number))
                .filter_map(|(number, _)| address(*number)),
        );
        sites.retain(|number, _| !both(number));
        let unclear = sites.values().filter(|site| site.is_unclear()).count();
        sites.retain(|_, site| site.hits > 0);
        entered.extend(named(node, &watch, sites));
        nodes.push(Watched {
            node: node.name.to_string(),
            role: role(&works, cell, node, leader.as_ref()),
            clock_bound_ns: offset.bound_ns,
            unprobed: watch.probe.armed().unprobed.len(),
            lost: end.lost.saturating_add(progress.dropped),
            unclear,
        });
    }
    entered.sort_by_key(|entered: &Entered| entered.at_ns);
    Ok(Traced {
        outcome: done.operation,
        took_ns: (done.span_ns.1 != u64::MAX)
            .then(|| done.span_ns.1.saturating_sub(done.span_ns.0)),
        functions: functions.len(),
        idle: left_out.len(),
        nodes,
        entered,
    })
}

/// What a node is to the operation.
fn role(works: &Works, cell: &Cell, node: &Node, leader: Option<&Node>) -> &'static str {
    let ask = &works.ask;
    if node.name == subject(ask, &cell.nodes).name {
        return match ask.head.op {
            SweepOp::Remove => "removed",
            SweepOp::Join | SweepOp::FailedJoin => "joiner",
        };
    }
    match leader.is_some_and(|leader| leader.name == node.name) {
        true => "leader",
        false => "member",
    }
}

/// The entries of one node, with the names of the functions.
fn named(node: &Node, watch: &Watch, sites: BTreeMap<u32, Site>) -> impl Iterator<Item = Entered> {
    sites.into_iter().filter_map(move |(number, site)| {
        let function = watch.functions.get(usize::try_from(number).ok()?)?;
        Some(Entered {
            at_ns: u64::try_from(site.first_ns).unwrap_or(0),
            node: node.name.to_string(),
            function: trace::full_name(function, &watch.functions),
            hits: site.hits,
            more: site.may_have_more(),
            pid: site.pid,
        })
    })
}

/// An entry, told by a node: nanoseconds since the invocation, on our clock.
struct Told {
    site: u32,
    at_ns: i64,
    pid: u32,
}

/// What is known of a function on one node.
#[derive(Debug, PartialEq, Eq)]
struct Site {
    first_ns: i64,
    pid: u32,
    /// Entries of a daemon within the operation.
    hits: u64,
    /// All entries that were told, whoever made them and when.
    told: u64,
    /// Whether one after the completion was told: then all before it were.
    beyond: bool,
}

impl Site {
    /// Whether entries of the operation may not have been told.
    fn may_have_more(&self) -> bool {
        self.told >= TOLD_HITS && !self.beyond
    }

    /// Whether it is not known that the operation enters it, nor that it does not.
    fn is_unclear(&self) -> bool {
        self.hits == 0 && self.may_have_more()
    }
}

/// Folds the entries of one node, by site.
fn entries(
    told: impl Iterator<Item = Told>,
    daemons: &[Option<u32>],
    took_ns: i64,
) -> BTreeMap<u32, Site> {
    let mut sites: BTreeMap<u32, Site> = BTreeMap::new();
    for entry in told {
        let site = sites.entry(entry.site).or_insert(Site {
            first_ns: i64::MAX,
            pid: entry.pid,
            hits: 0,
            told: 0,
            beyond: false,
        });
        site.told += 1;
        site.beyond |= entry.at_ns > took_ns;
        let within = (0..=took_ns).contains(&entry.at_ns);
        if within && daemons.contains(&Some(entry.pid)) {
            site.hits += 1;
            if entry.at_ns < site.first_ns {
                (site.first_ns, site.pid) = (entry.at_ns, entry.pid);
            }
        }
    }
    sites
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAEMON: u32 = 10;
    const AFTER: u32 = 20;
    const COMMAND: u32 = 11;

    fn folded(told: &[(u32, i64, u32)]) -> BTreeMap<u32, Site> {
        let told = told.iter().map(|(site, at_ns, pid)| Told {
            site: *site,
            at_ns: *at_ns,
            pid: *pid,
        });
        entries(told, &[Some(DAEMON), Some(AFTER)], 100)
    }

    #[test]
    fn only_what_a_daemon_enters_within_the_operation_counts() {
        let sites = folded(&[
            // Before the invocation, by a command, after the completion: none of them is an entry.
            (1, -5, DAEMON),
            (2, 50, COMMAND),
            (3, 101, DAEMON),
            // The order in which entries are told is not that of time.
            (4, 60, DAEMON),
            (4, 30, AFTER),
            (4, 40, COMMAND),
            (4, -1, DAEMON),
            (4, 200, DAEMON),
            (5, 0, DAEMON),
            (5, 100, DAEMON),
        ]);
        let entered = sites.iter().filter(|(_, site)| site.hits > 0);
        let entered: Vec<u32> = entered.map(|(number, _)| *number).collect();
        assert_eq!(entered, [4, 5]);
        let expected = Site {
            first_ns: 30,
            pid: AFTER,
            hits: 2,
            told: 5,
            beyond: true,
        };
        assert_eq!(sites[&4], expected);
        assert_eq!(
            (sites[&5].first_ns, sites[&5].hits, sites[&5].beyond),
            (0, 2, false)
        );
    }

    #[test]
    fn what_was_not_told_to_the_end_is_said() {
        let all_told = |at_ns: i64| -> Vec<(u32, i64, u32)> {
            (0..TOLD_HITS).map(|_| (1, at_ns, DAEMON)).collect()
        };
        let before = &folded(&all_told(-1))[&1];
        assert!(before.is_unclear() && before.hits == 0);
        let within = &folded(&all_told(1))[&1];
        assert!(within.may_have_more() && !within.is_unclear());
        // One after the completion was told, so all before it were.
        let mut over = all_told(1);
        over[0].1 = 101;
        assert!(!folded(&over)[&1].may_have_more());
    }
}
