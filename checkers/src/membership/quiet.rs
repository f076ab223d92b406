//! Quiescence: when nothing is done to the cluster, and what all places say then.
//!
//! ```text
//! join n4     ├────┤
//! fault 1        ├──────────┤
//! settle time               ╌╌╌╌╌╌
//! quiet window                    ├────────────── …
//! sample 7                           ▪▪ ▪          one reading of each place
//! ```
//!
//! A **disturbance** is a join, a remove or a fault, from its beginning to its end as we know it, and forming the
//! cluster, which ended at time 0. A **quiet window** is a stretch in which none is under way and the last one ended more
//! than the settle time ago. A sample that lies inside one is **complete** if each source of each live member was read.
//!
//! Readings are never of one instant. So a reading is stretched back over the readings of the same place before it that
//! say the same: a place that said so twice said so in between. A complete sample can be judged if all of its stretched
//! readings have a moment in common; else the places are still changing, and an earlier sample of the window is tried.
//!
//! Raft's leader sends no log to a **spare**: what a spare says of raft is old, and rightly so (seen on LXD 5.0.2 and in go-dqlite,
//! from the sixth member on). It is read, and not compared; who is a spare is the voters' word.
//!
//! **Live** are nodes that are certainly members, and those whom every source of these lists while their own operation is
//! indeterminate; not live are nodes on which the system was looked for and does not run, and those left out by `live_nodes`.

use harness_core::{
    fault::FaultRecord,
    membership::Purpose,
    view::{Role, Source},
};

use super::{
    analysis::{Analysis, Reading},
    changes::{Change, Standing, Status},
    roster::Id,
};
use crate::words::Clock;

/// What somebody did to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// A join or a remove: index of the operation.
    Change(u64),
    /// A fault: its number.
    Fault(u32),
    /// Forming the cluster.
    Forming,
}

/// When somebody did something to the cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disturbance {
    pub doing: Doing,
    pub start_ns: u64,
    /// The end of time if it was never seen to end.
    pub end_ns: u64,
    /// Whether the final phase did it, to see whether membership can still change.
    pub probe: bool,
}

/// A stretch in which nothing is done and the settle time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub start_ns: u64,
    pub end_ns: u64,
}

/// What all places of the live members said in a quiet window.
#[derive(Debug)]
pub(super) struct Settled<'a> {
    pub window: Window,
    /// Numbers of readings, one a place.
    pub readings: Vec<usize>,
    /// Since when all of them said so together.
    pub since_ns: u64,
    /// A moment at which they still did.
    pub until_ns: u64,
    pub live: Vec<Id>,
    /// By id.
    pub standings: Vec<Standing<'a>>,
}

/// When a fault may have been in force; None if it was never injected.
pub(super) fn fault_interval(fault: &FaultRecord) -> Option<(u64, u64)> {
    fault.asked_ns.or(fault.observed_ns)?;
    // Nobody recorded when a node healed itself: at the latest when we told it to.
    let end_ns = fault.healed_ns.or(if fault.self_healed {
        fault.heal_asked_ns
    } else {
        None
    });
    Some((fault.intended_ns, end_ns.unwrap_or(u64::MAX)))
}

/// All, by when they began.
pub(super) fn disturbances(changes: &[Change<'_>], faults: &[FaultRecord]) -> Vec<Disturbance> {
    let mut all = vec![Disturbance {
        doing: Doing::Forming,
        start_ns: 0,
        end_ns: 0,
        probe: false,
    }];
    all.extend(changes.iter().map(|change| Disturbance {
        doing: Doing::Change(change.operation.index),
        start_ns: change.operation.invoked_ns,
        end_ns: change.end_ns(),
        probe: change.purpose != Purpose::Load,
    }));
    all.extend(faults.iter().filter_map(|fault| {
        let (start_ns, end_ns) = fault_interval(fault)?;
        Some(Disturbance {
            doing: Doing::Fault(fault.id),
            start_ns,
            end_ns,
            probe: false,
        })
    }));
    all.sort_by_key(|disturbance| disturbance.start_ns);
    all
}

/// Quiet windows between disturbances, up to the end of what was seen.
pub(super) fn windows(
    disturbances: &[Disturbance],
    settle_ns: u64,
    horizon_ns: u64,
) -> Vec<Window> {
    let mut windows = Vec::new();
    let mut quiet_from_ns = 0_u64;
    let ends = disturbances
        .iter()
        .map(|disturbance| (disturbance.start_ns, disturbance.end_ns));
    for (start_ns, end_ns) in ends.chain([(horizon_ns, u64::MAX)]) {
        if quiet_from_ns < start_ns {
            windows.push(Window {
                start_ns: quiet_from_ns,
                end_ns: start_ns,
            });
        }
        quiet_from_ns = quiet_from_ns.max(end_ns.saturating_add(settle_ns));
    }
    windows
}

/// Judges what can be judged of each window, and says why the end of the run cannot be, if so.
pub(super) fn settle<'a>(analysis: &Analysis<'a>) -> (Vec<Settled<'a>>, Option<String>) {
    let last = analysis
        .disturbances
        .iter()
        .filter(|disturbance| !disturbance.probe)
        .max_by_key(|disturbance| disturbance.end_ns);
    let last_end_ns = last.map_or(0, |last| last.end_ns);
    let mut settled: Vec<Settled<'a>> = Vec::new();
    // The latest reason; that nobody looked only if there is no other.
    let (mut reason, mut not_looked) = (None, None);
    for window in &analysis.windows {
        match settle_window(analysis, *window) {
            Ok(found) => settled.push(found),
            Err(_) if window.start_ns < last_end_ns => {}
            Err(Some(why)) => reason = Some(why),
            Err(None) => not_looked = Some(window),
        }
    }
    let reason = reason.or_else(|| {
        not_looked.map(|window| {
            let clock = Clock::spanning([window.start_ns, window.end_ns]);
            format!(
                "no sample of the views lies between {} and {}, when it was quiet",
                clock.at(window.start_ns),
                clock.at(window.end_ns)
            )
        })
    });
    if settled
        .iter()
        .any(|settled| settled.window.start_ns >= last_end_ns)
    {
        return (settled, None);
    }
    let reason = reason.unwrap_or_else(|| match last {
        Some(last) if last.end_ns == u64::MAX => match last.doing {
            Doing::Fault(id) => format!("fault {id} was never seen to be healed"),
            Doing::Change(index) => format!("operation {index} was still under way at the end"),
            Doing::Forming => "the cluster was never formed".to_owned(),
        },
        _ => format!(
            "it was never quiet for the settle time ({} ms) after the last disturbance",
            analysis.rules.settle_ns / super::rules::MS_NS
        ),
    });
    (settled, Some(reason))
}

/// What was said in a window, or why it cannot be judged; None if no sample lies in it.
fn settle_window<'a>(
    analysis: &Analysis<'a>,
    window: Window,
) -> Result<Settled<'a>, Option<String>> {
    let inside = |number: &&usize| {
        let view = analysis.readings[**number].view;
        window.start_ns <= view.start_ns && view.end_ns <= window.end_ns
    };
    let mut reason = None;
    for sample in analysis.by_sample.iter().rev() {
        let numbers: Vec<usize> = sample.iter().filter(inside).copied().collect();
        if numbers.is_empty() {
            continue;
        }
        match complete(analysis, window, window.start_ns, &numbers) {
            Ok(settled) => return Ok(settled),
            Err(why) => {
                reason.get_or_insert(why);
            }
        }
    }
    Err(reason)
}

/// A sample of which all needed readings were made, and have a moment in common; who is a member, as of `at_ns`.
pub(super) fn complete<'a>(
    analysis: &Analysis<'a>,
    window: Window,
    at_ns: u64,
    sample: &[usize],
) -> Result<Settled<'a>, String> {
    let standings: Vec<Standing<'a>> = analysis
        .roster
        .ids()
        .map(|id| analysis.standing(id, at_ns))
        .collect();
    if analysis.changes.initial.is_none() {
        return Err("nobody knows who was a member at first".to_owned());
    }
    let readings: Vec<(usize, &Reading<'a>)> = sample
        .iter()
        .map(|number| (*number, &analysis.readings[*number]))
        .collect();
    let runs = |id: Id| {
        let meant = analysis
            .rules
            .live_nodes
            .as_ref()
            .is_none_or(|live| live.iter().any(|name| name == analysis.name(id)));
        let stopped = readings
            .iter()
            .any(|(_, reading)| analysis.node_of(reading) == Some(id) && reading.stopped());
        meant && !stopped
    };
    let mut live: Vec<Id> = analysis
        .roster
        .ids()
        .filter(|id| standings[*id].status == Status::In && runs(*id))
        .collect();
    if live.is_empty() {
        return Err("no member was live".to_owned());
    }
    let certain: Vec<&Reading<'a>> = readings
        .iter()
        .filter(|(_, reading)| {
            analysis
                .node_of(reading)
                .is_some_and(|node| live.contains(&node))
        })
        .map(|(_, reading)| *reading)
        .collect();
    let joined: Vec<Id> = analysis
        .roster
        .ids()
        .filter(|id| standings[*id].status == Status::Open && runs(*id))
        .filter(|id| certain.iter().all(|reading| reading.lists(*id)))
        .collect();
    live.extend(joined);
    let mut needed = Vec::new();
    for node in &live {
        needed.extend(all_read(analysis, &readings, *node)?);
    }
    let spares = spares(analysis, &needed);
    needed.retain(|number| {
        let reading = &analysis.readings[*number];
        let of_spare = analysis
            .node_of(reading)
            .is_some_and(|node| spares.contains(&node));
        reading.view.source != Source::Raft || !of_spare
    });
    let spans: Vec<(u64, u64)> = needed
        .iter()
        .map(|number| span(analysis, window, *number))
        .collect();
    let since_ns = spans.iter().map(|(start, _)| *start).max().unwrap_or(0);
    let until_ns = spans.iter().map(|(_, end)| *end).min().unwrap_or(0);
    if since_ns > until_ns {
        return Err(
            "the sources had no moment in common: they were still changing, or sampled too rarely"
                .to_owned(),
        );
    }
    Ok(Settled {
        window,
        readings: needed,
        since_ns,
        until_ns,
        live,
        standings,
    })
}

/// Members that the raft of every voter has for spares; of its own role a node that says it votes is believed.
fn spares(analysis: &Analysis<'_>, readings: &[usize]) -> Vec<Id> {
    let role_in =
        |reading: &Reading<'_>, id: Id| reading.entries(id).find_map(|member| member.role);
    let voters: Vec<&Reading<'_>> = readings
        .iter()
        .map(|number| &analysis.readings[*number])
        .filter(|reading| reading.view.source == Source::Raft)
        .filter(|reading| {
            analysis
                .node_of(reading)
                .is_some_and(|node| role_in(reading, node) == Some(Role::Voter))
        })
        .collect();
    let is_spare = |id: &Id| {
        !voters.is_empty()
            && voters
                .iter()
                .all(|reading| role_in(reading, *id) == Some(Role::Spare))
    };
    analysis.roster.ids().filter(is_spare).collect()
}

/// The readings of each source on a node, or which one is missing.
fn all_read(
    analysis: &Analysis<'_>,
    readings: &[(usize, &Reading<'_>)],
    node: Id,
) -> Result<Vec<usize>, String> {
    let mut found = Vec::new();
    for source in &analysis.rules.sources {
        let before = found.len();
        for (number, reading) in readings {
            if analysis.node_of(reading) != Some(node) || reading.view.source != *source {
                continue;
            }
            if let harness_core::view::Reading::Unread { kind, message } = &reading.view.reading {
                return Err(format!(
                    "{} could not be read: {}: {}",
                    reading.view.place(),
                    kind.as_str(),
                    crate::words::excerpt(message.as_bytes())
                ));
            }
            found.push(*number);
        }
        if found.len() == before {
            let at = readings
                .first()
                .map_or(0, |(_, reading)| reading.view.start_ns);
            let clock = Clock::spanning([0, at]);
            return Err(format!(
                "{source} of {} was not read in the sample at {}",
                analysis.name(node),
                clock.at(at)
            ));
        }
    }
    Ok(found)
}

/// The reading's interval, stretched back over readings of the same place in the window that say the same.
fn span(analysis: &Analysis<'_>, window: Window, number: usize) -> (u64, u64) {
    let reading = &analysis.readings[number];
    let mut start_ns = reading.view.start_ns;
    let place = &analysis.by_place[reading.place];
    let at = place.partition_point(|other| *other < number);
    for before in place[..at].iter().rev() {
        let before = &analysis.readings[*before];
        if before.view.start_ns < window.start_ns || before.members != reading.members {
            break;
        }
        start_ns = before.view.start_ns;
    }
    (start_ns, reading.view.end_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disturbance(start_ns: u64, end_ns: u64) -> Disturbance {
        Disturbance {
            doing: Doing::Change(0),
            start_ns,
            end_ns,
            probe: false,
        }
    }

    #[test]
    fn windows_begin_a_settle_time_after_the_last_end() {
        let window = |start_ns, end_ns| Window { start_ns, end_ns };
        let all = [disturbance(0, 0), disturbance(50, 60), disturbance(55, 90)];
        assert_eq!(windows(&all, 10, 200), [window(10, 50), window(100, 200)]);
        assert_eq!(windows(&all, 10, 95), [window(10, 50)]);
        let endless = [disturbance(0, 0), disturbance(50, u64::MAX)];
        assert_eq!(windows(&endless, 10, 200), [window(10, 50)]);
    }
}
