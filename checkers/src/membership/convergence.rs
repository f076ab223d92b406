//! `convergence-time`: how long after each operation and each heal the sources agreed again, and stayed so.
//!
//! The clock starts when a disturbance ends while no other is under way, and stops at the end of the first complete sample
//! from which on every complete sample before the next disturbance agrees: each source of each live member lists the same
//! members, none of them pending. A next disturbance that comes too soon leaves the case open. One in which the settle time
//! passed, and the last sample disagrees, never converged: that is the violation. There is no other limit.

use harness_core::view::MemberState;
use serde_json::json;

use super::{
    analysis::Analysis,
    judgement::{Finding, Judgement},
    quiet::{self, Doing, Settled, Window},
};
use crate::words::{self, Clock};

/// How a disturbance ended.
enum Ending {
    /// Sources agreed after so many nanoseconds.
    Converged(u64),
    /// They did not, though there was time.
    Never { until_ns: u64 },
    /// The next disturbance came too soon, or nobody looked.
    Open,
}

pub(super) fn convergence_time(analysis: &Analysis<'_>) -> Judgement {
    let disturbances = || {
        analysis
            .disturbances
            .iter()
            .filter(|disturbance| disturbance.doing != Doing::Forming)
    };
    if disturbances().next().is_none() {
        return Judgement::not_applicable(
            "nobody joined, nobody was removed, and there was no fault",
        );
    }
    let samples = complete_samples(analysis);
    let mut judgement = Judgement::default();
    let (mut operations_ns, mut heals_ns, mut open) = (Vec::new(), Vec::new(), 0_usize);
    for disturbance in disturbances() {
        match ending(analysis, disturbance.end_ns, &samples) {
            Ending::Open => open += 1,
            Ending::Converged(after_ns) => match disturbance.doing {
                Doing::Fault(_) => heals_ns.push(after_ns),
                _ => operations_ns.push(after_ns),
            },
            Ending::Never { until_ns } => {
                judgement.add(never(
                    analysis,
                    disturbance.doing,
                    disturbance.end_ns,
                    until_ns,
                ));
            }
        }
    }
    let measured = operations_ns.len() + heals_ns.len();
    let slowest_ns = operations_ns.iter().chain(&heals_ns).max().copied();
    for (what, times_ns) in [("operation", &mut operations_ns), ("heal", &mut heals_ns)] {
        times_ns.sort_unstable();
        let count = format!("after_{what}_count");
        judgement.figures.insert(count, json!(times_ns.len()));
        for (name, percent) in [("p50", 50), ("p99", 99), ("max", 100)] {
            let value = quantile(times_ns, percent).map(ms);
            judgement
                .figures
                .insert(format!("after_{what}_{name}_ms"), json!(value));
        }
    }
    judgement
        .figures
        .insert("open_count".to_owned(), json!(open));
    judgement.looked_at = measured + judgement.findings.len();
    if measured == 0 {
        let why = "no disturbance was followed by samples that show when sources agreed";
        judgement.gaps.push(("not-measured", why.to_owned()));
    }
    if let Some(why) = &analysis.unsettled {
        judgement.gaps.push(("not-quiescent", why.clone()));
    }
    judgement.valid = format!(
        "sources agreed at most {:.0} ms after {}",
        slowest_ns.map_or(0.0, ms),
        words::plural(measured, "disturbance", "disturbances")
    );
    judgement
}

#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// The value below or at which so many percent are.
fn quantile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

/// Of each complete sample outside disturbances: start, end, whether it agrees. By when it began.
fn complete_samples(analysis: &Analysis<'_>) -> Vec<(u64, u64, bool)> {
    let mut samples: Vec<(u64, u64, bool)> = analysis
        .by_sample
        .iter()
        .filter_map(|numbers| {
            let views = || numbers.iter().map(|number| analysis.readings[*number].view);
            let start_ns = views().map(|view| view.start_ns).min()?;
            let end_ns = views().map(|view| view.end_ns).max()?;
            let disturbed = analysis
                .disturbances
                .iter()
                .any(|one| one.start_ns <= end_ns && one.end_ns > start_ns);
            if disturbed {
                return None;
            }
            // Since nothing was done any more, so that a reading can be stretched back over those before it: readings of one
            // sample are too short to have a moment in common by themselves.
            let quiet_ns = analysis
                .disturbances
                .iter()
                .map(|one| one.end_ns)
                .filter(|end| *end <= start_ns)
                .max();
            let window = Window {
                start_ns: quiet_ns.unwrap_or(start_ns),
                end_ns,
            };
            let settled = quiet::complete(analysis, window, window.start_ns, numbers).ok()?;
            Some((start_ns, end_ns, agrees(analysis, &settled)))
        })
        .collect();
    samples.sort_unstable();
    samples
}

fn agrees(analysis: &Analysis<'_>, settled: &Settled<'_>) -> bool {
    let pending = settled
        .readings
        .iter()
        .flat_map(|number| analysis.readings[*number].members.iter().flatten())
        .any(|(_, member)| member.state == Some(MemberState::Pending));
    let mut listed = settled
        .readings
        .iter()
        .map(|number| analysis.readings[*number].ids());
    let Some(first) = listed.next() else {
        return false;
    };
    !pending && listed.all(|other| other == first)
}

fn ending(analysis: &Analysis<'_>, end_ns: u64, samples: &[(u64, u64, bool)]) -> Ending {
    let others = || analysis.disturbances.iter();
    if others().any(|other| other.start_ns <= end_ns && other.end_ns > end_ns) {
        return Ending::Open;
    }
    let next_ns = others()
        .map(|other| other.start_ns)
        .filter(|start| *start > end_ns)
        .min()
        .unwrap_or(u64::MAX);
    let from = samples.partition_point(|(start, ..)| *start < end_ns);
    let between: Vec<&(u64, u64, bool)> = samples[from..]
        .iter()
        .take_while(|(_, end, _)| *end <= next_ns)
        .collect();
    let Some((last_start, last_end, last_agrees)) = between.last() else {
        return Ending::Open;
    };
    if !last_agrees {
        let waited_ns = last_start.saturating_sub(end_ns);
        if waited_ns >= analysis.rules.settle_ns {
            return Ending::Never {
                until_ns: *last_end,
            };
        }
        return Ending::Open;
    }
    let first = between
        .iter()
        .rposition(|(.., agrees)| !agrees)
        .map_or(0, |last| last + 1);
    Ending::Converged(between[first].1.saturating_sub(end_ns))
}

fn never(analysis: &Analysis<'_>, doing: Doing, end_ns: u64, until_ns: u64) -> Finding {
    let clock = Clock::spanning([end_ns, until_ns]);
    let (what, operation) = match doing {
        Doing::Change(index) => {
            let change = analysis
                .changes
                .all
                .iter()
                .find(|change| change.operation.index == index);
            let what = change.map_or_else(String::new, |change| {
                format!(
                    "operation {index} ({} {})",
                    change.operation.f,
                    analysis.name(change.member)
                )
            });
            (what, Some(index))
        }
        Doing::Fault(id) => (format!("the heal of fault {id}"), None),
        Doing::Forming => ("forming the cluster".to_owned(), None),
    };
    let mut finding = Finding::new(
        "never-converged",
        format!("no agreement after {what}"),
        "The sources never agreed again.".to_owned(),
        format!(
            "After {what} had ended at {}, the sources still differed at {}, and nothing else had been done.",
            clock.at(end_ns),
            clock.at(until_ns)
        ),
    )
    .between(end_ns, until_ns);
    finding.operations.extend(operation);
    finding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let times: Vec<u64> = (1..=200).collect();
        assert_eq!(quantile(&times, 50), Some(100));
        assert_eq!(quantile(&times, 99), Some(198));
        assert_eq!(quantile(&times, 100), Some(200));
        assert_eq!(quantile(&[7], 50), Some(7));
        assert_eq!(quantile(&[], 50), None);
    }
}
