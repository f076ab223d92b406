//! When faults happen: the plan of a run, drawn from its seed.
//!
//! 1. Each lane is on and off in turn, for the same times. Its first fault begins when between
//!    half and a whole off period has passed, drawn from the seed, so that lanes meet in ever
//!    other ways.
//! 2. A lane draws from streams that carry its own name (`nemesis/partition`, and
//!    `nemesis/partition/2` for the second lane of that kind): what other lanes there are, and in
//!    which order, does not shift it.
//! 3. A fault that is cut short by the end of the load lasts at least [`MIN_SEEN_MS`], or the whole
//!    on period if that is shorter; one that could not is left out, because it could not be seen.
//! 4. Each lane has at least one fault, or there is no plan.
//! 5. A lane with a time (`@at=12s`) has one fault, then; it is refused if the load is over by then.
//! 6. Faults of a lane with a trigger begin to wait when they would otherwise strike, the first at once; how long after what they
//!    wait for they strike is drawn for each.

use harness_core::{
    meta::{self, Plan, PlannedFault},
    seed::{Seed, Stream},
};
use rand::{Rng, seq::SliceRandom};
use thiserror::Error;

use super::{
    parse::{ParseError, check_nodes},
    target::{Kind, Lane, Target},
    trigger::WaitsFor,
};

/// How long a fault is on unless told otherwise, in milliseconds.
pub const DEFAULT_ON_MS: u64 = 10_000;
/// How long a lane rests between faults unless told otherwise, in milliseconds.
pub const DEFAULT_OFF_MS: u64 = 10_000;
/// The shortest time that a fault may be on, in milliseconds: less cannot be observed.
pub const MIN_ON_MS: u64 = 1_000;
/// How long a fault that the end of the load cuts short must last, in milliseconds.
pub const MIN_SEEN_MS: u64 = 5_000;
/// Most faults of one plan.
pub const MAX_FAULTS: u64 = 10_000;

/// Which draw of a lane's stream `nemesis/…` is its first fault's time; later ones order the mix.
const DRAW_START: u64 = 0;

/// How long faults are on and off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How long a fault is on, in milliseconds.
    pub on_ms: u64,
    /// How long its lane rests then, in milliseconds.
    pub off_ms: u64,
    /// How long the load lasts, in milliseconds; no fault outlasts it.
    pub load_ms: u64,
}

impl Timing {
    /// The usual times on and off, for a load of that length.
    #[must_use]
    pub fn for_load(load_ms: u64) -> Self {
        Self {
            on_ms: DEFAULT_ON_MS,
            off_ms: DEFAULT_OFF_MS,
            load_ms,
        }
    }

    /// How long a fault must last to be worth injecting.
    fn least_ms(&self) -> u64 {
        self.on_ms.min(MIN_SEEN_MS)
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// The load ends before a fault can begin and be seen.
    #[error(
        "a time limit of {} s is too short for a fault of each kind: the first begins after {} s at the earliest and lasts {} s; at least {} s are needed",
        seconds(*.load_ms), seconds(*.first_ms), seconds(*.least_ms), seconds(.first_ms.saturating_add(*.least_ms))
    )]
    TooShort {
        /// How long the load lasts.
        load_ms: u64,
        /// When the first fault begins at the earliest.
        first_ms: u64,
        /// How long it must last.
        least_ms: u64,
    },
    /// A time at which the load is over, or nearly.
    #[error(
        "{part} strikes after up to {} s, and could not be seen before the load ends after {} s; strike earlier, or raise the time limit",
        seconds(*.at_ms), seconds(*.load_ms)
    )]
    TooLate {
        /// Which fault.
        part: String,
        /// When it strikes at the latest.
        at_ms: u64,
        /// How long the load lasts.
        load_ms: u64,
    },
    /// Less than [`MIN_ON_MS`].
    #[error("faults that are on for {} s cannot be observed; at least {} s are needed", seconds(*.on_ms), seconds(MIN_ON_MS))]
    OnTooShort {
        /// What was asked.
        on_ms: u64,
    },
    /// More than [`MAX_FAULTS`].
    #[error(
        "these times make more than {MAX_FAULTS} faults; let them be on or off for longer, or shorten the time limit"
    )]
    TooMany,
    /// The targets do not fit the nodes.
    #[error(transparent)]
    Target(Box<ParseError>),
}

/// Seconds for people: `10`, `2.5`.
fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

/// Draws the plan of a run. `nodes` are the names, in the lab's order; the faults' permutations are of their places.
pub fn schedule(
    seed: Seed,
    lanes: &[Lane],
    nodes: &[&str],
    timing: Timing,
) -> Result<Plan, ScheduleError> {
    check_nodes(lanes, nodes).map_err(|error| ScheduleError::Target(Box::new(error)))?;
    if timing.on_ms < MIN_ON_MS {
        return Err(ScheduleError::OnTooShort {
            on_ms: timing.on_ms,
        });
    }
    let first_ms = timing.off_ms / 2;
    if timing.load_ms < first_ms.saturating_add(timing.least_ms()) {
        return Err(ScheduleError::TooShort {
            load_ms: timing.load_ms,
            first_ms,
            least_ms: timing.least_ms(),
        });
    }
    let period_ms = timing.on_ms.saturating_add(timing.off_ms);
    let lane_count = u64::try_from(lanes.len()).unwrap_or(u64::MAX);
    if (timing.load_ms / period_ms + 1).saturating_mul(lane_count) > MAX_FAULTS {
        return Err(ScheduleError::TooMany);
    }
    let mut faults = Vec::new();
    let mut seen: Vec<Kind> = Vec::new();
    for (at, lane) in (0_u32..).zip(lanes) {
        seen.push(lane.kind);
        let nth = seen.iter().filter(|kind| **kind == lane.kind).count();
        let of_lane = lane_faults(seed, at, lane, nth, nodes.len(), timing);
        if let (Some(WaitsFor::At(time)), []) = (&lane.trigger, of_lane.as_slice()) {
            return Err(ScheduleError::TooLate {
                part: lane.to_string(),
                at_ms: time.to_ms,
                load_ms: timing.load_ms,
            });
        }
        faults.extend(of_lane);
    }
    faults.sort_by_key(|fault| (fault.inject_ms, fault.lane));
    for (id, fault) in (1_u32..).zip(&mut faults) {
        fault.id = id;
    }
    Ok(Plan {
        format_version: meta::FORMAT_VERSION,
        seed: seed.0,
        faults,
    })
}

/// The faults of one lane, still without their numbers. `nth`: which lane of its kind, from 1.
fn lane_faults(
    seed: Seed,
    at: u32,
    lane: &Lane,
    nth: usize,
    nodes: usize,
    timing: Timing,
) -> Vec<PlannedFault> {
    let name = match nth {
        1 => lane.kind.to_string(),
        nth => format!("{}/{nth}", lane.kind),
    };
    let times = seed.stream(&format!("nemesis/{name}"));
    let targets = seed.stream(&format!("targets/{name}"));
    let mut faults = Vec::new();
    let delays = seed.stream(&format!("triggers/{name}"));
    let mut inject_ms = match lane.trigger {
        None => first_inject_ms(&times, timing),
        Some(WaitsFor::At(at)) => delays.draw(0).random_range(at.from_ms..=at.to_ms),
        Some(_) => 0,
    };
    while inject_ms.saturating_add(timing.least_ms()) <= timing.load_ms {
        let number = faults.len() as u64;
        let mut order: Vec<u32> = (0_u32..).take(nodes).collect();
        order.shuffle(&mut targets.draw(number));
        faults.push(PlannedFault {
            id: 0,
            lane: at,
            kind: lane.kind.to_string(),
            options: lane.options.clone(),
            target: drawn_target(&times, lane, nodes, number).to_string(),
            inject_ms,
            heal_ms: inject_ms.saturating_add(timing.on_ms).min(timing.load_ms),
            order,
            trigger: lane.trigger.as_ref().and_then(|trigger| {
                let delay_ms = delays.draw(number).random_range(trigger.delays_ms());
                trigger.with_delay(delay_ms)
            }),
            until: None,
        });
        if matches!(lane.trigger, Some(WaitsFor::At(_))) {
            break;
        }
        inject_ms = inject_ms
            .saturating_add(timing.on_ms)
            .saturating_add(timing.off_ms);
    }
    faults
}

/// Between half and a whole off period, but early enough for a whole fault if there is time for
/// one, and in any case for one that can be seen.
fn first_inject_ms(times: &Stream, timing: Timing) -> u64 {
    let earliest = timing.off_ms / 2;
    let whole = timing.load_ms.saturating_sub(timing.on_ms);
    let seen = timing.load_ms.saturating_sub(timing.least_ms());
    let latest = timing
        .off_ms
        .min(whole.max(earliest))
        .min(seen)
        .max(earliest);
    times.draw(DRAW_START).random_range(earliest..=latest)
}

/// The target of a lane's `number`-th fault. The mix is shuffled anew whenever it is used up.
pub(super) fn drawn_target(times: &Stream, lane: &Lane, nodes: usize, number: u64) -> Target {
    if lane.target != Target::Random {
        return lane.target.clone();
    }
    let mut mix = Target::mix(lane.kind, nodes);
    let count = mix.len() as u64;
    mix.shuffle(&mut times.draw(DRAW_START + 1 + number / count));
    // The mix is never empty: every kind has `one`.
    let place = usize::try_from(number % count).unwrap_or_default();
    mix.swap_remove(place)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::parse::{parse, parse_target};

    const NODES: [&str; 5] = ["n1", "n2", "n3", "n4", "n5"];

    fn plan(seed: u64, nemesis: &str, timing: Timing) -> Plan {
        schedule(Seed(seed), &parse(nemesis).unwrap(), &NODES, timing).unwrap()
    }

    fn of_kind(plan: &Plan, kind: &str) -> Vec<PlannedFault> {
        let mut faults: Vec<_> = plan
            .faults
            .iter()
            .filter(|f| f.kind == kind)
            .cloned()
            .collect();
        for fault in &mut faults {
            (fault.id, fault.lane) = (0, 0);
        }
        faults
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_another() {
        let timing = Timing::for_load(60_000);
        assert_eq!(
            plan(7, "partition,kill", timing),
            plan(7, "partition,kill", timing)
        );
        assert_ne!(
            plan(7, "partition,kill", timing),
            plan(8, "partition,kill", timing)
        );
    }

    /// What a seed means must not change from one version to the next without somebody saying so.
    #[test]
    fn a_seed_means_this_plan() {
        let drawn: Vec<_> = plan(7, "partition,kill:leader", Timing::for_load(60_000))
            .faults
            .into_iter()
            .map(|f| {
                format!(
                    "{} {} {} {} {}..{} {:?}",
                    f.id, f.lane, f.kind, f.target, f.inject_ms, f.heal_ms, f.order
                )
            })
            .collect();
        assert_eq!(
            drawn,
            [
                "1 1 kill leader 5948..15948 [0, 1, 2, 3, 4]",
                "2 0 partition leader 7627..17627 [4, 1, 2, 0, 3]",
                "3 1 kill leader 25948..35948 [3, 1, 2, 0, 4]",
                "4 0 partition minority 27627..37627 [2, 0, 4, 1, 3]",
                "5 1 kill leader 45948..55948 [1, 4, 3, 0, 2]",
                "6 0 partition majorities-ring 47627..57627 [2, 0, 3, 4, 1]",
            ]
        );
    }

    #[test]
    fn a_lane_is_not_shifted_by_others() {
        let timing = Timing::for_load(300_000);
        let alone = of_kind(&plan(7, "partition", timing), "partition");
        for others in [
            "partition,kill",
            "kill:one,stop,partition",
            "pause,partition,kill,stop",
        ] {
            assert_eq!(
                of_kind(&plan(7, others, timing), "partition"),
                alone,
                "{others}"
            );
        }
        let twice = plan(7, "partition,partition", timing);
        let lane = |n: u32| {
            twice
                .faults
                .iter()
                .filter(move |f| f.lane == n)
                .map(|f| (f.inject_ms, f.order.clone()))
                .collect::<Vec<_>>()
        };
        assert_ne!(lane(0), lane(1));
    }

    #[test]
    fn sixty_seconds_have_three_faults_of_ten_seconds() {
        for seed in 0..50 {
            let plan = plan(seed, "partition", Timing::for_load(60_000));
            assert_eq!(plan.faults.len(), 3, "{seed}");
            for pair in plan.faults.windows(2) {
                assert_eq!(pair[1].inject_ms - pair[0].heal_ms, 10_000);
            }
            for fault in &plan.faults {
                assert_eq!(fault.heal_ms - fault.inject_ms, 10_000);
                assert!(fault.heal_ms <= 60_000);
            }
            assert!((5_000..=10_000).contains(&plan.faults[0].inject_ms));
        }
    }

    #[test]
    fn the_mix_uses_every_shape_before_one_again() {
        let plan = plan(
            3,
            "partition,kill",
            Timing {
                on_ms: 1_000,
                off_ms: 0,
                load_ms: 60_000,
            },
        );
        for kind in [Kind::Partition, Kind::Kill] {
            let mix: Vec<String> = Target::mix(kind, NODES.len())
                .iter()
                .map(Target::to_string)
                .collect();
            let faults = of_kind(&plan, kind.as_str());
            for round in faults.chunks_exact(mix.len()) {
                let mut drawn: Vec<_> = round.iter().map(|f| f.target.clone()).collect();
                drawn.sort();
                let mut all = mix.clone();
                all.sort();
                assert_eq!(drawn, all);
            }
        }
    }

    #[test]
    fn too_little_time_is_refused_with_what_is_needed() {
        let lanes = parse("partition").unwrap();
        let error = schedule(Seed(1), &lanes, &NODES, Timing::for_load(9_999)).unwrap_err();
        assert!(
            error.to_string().ends_with("at least 10 s are needed"),
            "{error}"
        );
        assert!(schedule(Seed(1), &lanes, &NODES, Timing::for_load(10_000)).is_ok());
        let on = Timing {
            on_ms: 999,
            off_ms: 0,
            load_ms: 60_000,
        };
        assert!(matches!(
            schedule(Seed(1), &lanes, &NODES, on),
            Err(ScheduleError::OnTooShort { .. })
        ));
        let many = Timing {
            on_ms: 1_000,
            off_ms: 0,
            load_ms: u64::MAX,
        };
        assert_eq!(
            schedule(Seed(1), &lanes, &NODES, many),
            Err(ScheduleError::TooMany)
        );
        assert!(matches!(
            schedule(
                Seed(1),
                &parse("kill:n9").unwrap(),
                &NODES,
                Timing::for_load(60_000)
            ),
            Err(ScheduleError::Target(_))
        ));
    }

    #[test]
    fn every_node_comes_first_about_as_often() {
        let mut first = [0_u32; 5];
        for seed in 0..500 {
            for fault in plan(seed, "kill", Timing::for_load(60_000)).faults {
                first[fault.order[0] as usize] += 1;
            }
        }
        assert!(
            first.iter().all(|times| (240..360).contains(times)),
            "{first:?}"
        );
    }

    proptest::proptest! {
        #[test]
        fn every_plan_keeps_the_laws(
            seed: u64, on_ms in MIN_ON_MS..30_000, off_ms in 0_u64..30_000, load_ms in 0_u64..300_000,
        ) {
            let timing = Timing { on_ms, off_ms, load_ms };
            let lanes = parse("partition,kill:minority,pause").unwrap();
            let Ok(plan) = schedule(Seed(seed), &lanes, &NODES, timing) else {
                proptest::prop_assert!(load_ms < off_ms / 2 + timing.least_ms());
                return Ok(());
            };
            for lane in 0..3 {
                let faults: Vec<_> = plan.faults.iter().filter(|f| f.lane == lane).collect();
                proptest::prop_assert!(!faults.is_empty());
                for pair in faults.windows(2) {
                    proptest::prop_assert_eq!(pair[1].inject_ms - pair[0].heal_ms, off_ms);
                }
                for fault in faults {
                    proptest::prop_assert!(fault.heal_ms <= load_ms);
                    proptest::prop_assert!(fault.heal_ms - fault.inject_ms >= timing.least_ms());
                    let mut sorted = fault.order.clone();
                    sorted.sort_unstable();
                    proptest::prop_assert_eq!(sorted, vec![0, 1, 2, 3, 4]);
                    let kind = Kind::from_word(&fault.kind).unwrap();
                    proptest::prop_assert_ne!(parse_target(kind, &fault.target).unwrap(), Target::Random);
                }
            }
            proptest::prop_assert!(plan.faults.iter().zip(1..).all(|(fault, id)| fault.id == id));
        }
    }
}
