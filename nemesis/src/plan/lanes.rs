//! A file of lanes: faults with schedules of their own, that may begin and end with each other.
//!
//! ```yaml
//! lanes:
//!   - name: cut
//!     fault: partition          # a kind, as in --nemesis
//!     target: leader            # as after the colon there; random if there is none
//!     start: 10s..15s           # load time; two times: drawn between them (default 0s)
//!     duration: 20s             # how long it is on (default 10s)
//!     interval: 10s             # from its end to its next one's start (default 10s)
//!     count: 2                  # how many (default: as many as fit)
//!   - name: death               # killed 2 s after the cut is seen to hold
//!     fault: kill
//!     target: other
//!     start: {with: cut, when: observed, after: 2s}    # when: asked, observed or healed (default observed)
//!     end: {with: cut, when: healed, after: 0s..1s}    # or when its duration is over
//!   - name: late
//!     fault: pause
//!     target: subject
//!     trigger: log="became leader"                     # as after the @ in --nemesis
//! ```
//!
//! Laws:
//! - a lane draws from streams that carry its name, so that other lanes do not shift it;
//! - what begins with another fault waits for each of that lane's faults in turn, and a lane that begins with one that begins with
//!   it is refused: neither would ever begin;
//! - each lane has one fault at least, or there is no plan;
//! - an error names the lane, its line and the field.

use std::fmt;

use harness_core::{
    meta::{self, Plan, PlannedFault},
    seed::Seed,
    trigger::{FaultMoment, FaultStep},
};
use rand::{Rng, seq::SliceRandom};
use serde::Deserialize;
use thiserror::Error;

use super::{
    nearest,
    parse::{self, MAX_LANES},
    schedule::{DEFAULT_OFF_MS, DEFAULT_ON_MS, MAX_FAULTS, MIN_ON_MS, MIN_SEEN_MS, drawn_target},
    target::Lane,
    trigger::{WaitsFor, range_ms},
};

/// Characters of a lane's name, at most.
const MAX_NAME_CHARS: usize = 40;

/// What is wrong with a file of lanes.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}{reason}", place(*.line, .field))]
pub struct LaneFileError {
    /// The line, from 1, if one is known.
    pub line: Option<usize>,
    /// The lane's name or number, and the field.
    pub field: String,
    /// What is wrong, and what to write instead.
    pub reason: String,
}

fn place(line: Option<usize>, field: &str) -> String {
    let line = line.map_or_else(String::new, |line| format!("line {line}: "));
    match field {
        "" => line,
        field => format!("{line}{field}: "),
    }
}

/// A lane with its schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedLane {
    /// Its name.
    pub name: String,
    /// What it does to whom, and what each of its faults waits for.
    pub lane: Lane,
    /// When its first fault begins.
    pub start: Start,
    /// How long a fault is on, milliseconds.
    pub duration_ms: (u64, u64),
    /// From a fault's end to the next one's start.
    pub interval_ms: (u64, u64),
    /// How many; none: as many as fit.
    pub count: Option<u64>,
    /// What ends a fault before its duration is over.
    pub end: Option<With>,
    /// Where it stands in the file, from 1.
    pub line: Option<usize>,
}

/// When a lane's first fault begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// Between these times of load, milliseconds.
    At(u64, u64),
    /// With a fault of another lane.
    With(With),
}

/// A step of another lane's fault, and between which delays after it one is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct With {
    /// The other lane.
    pub lane: u32,
    /// Its name.
    pub name: String,
    /// Which step.
    pub when: FaultMoment,
    /// Between which delays, milliseconds.
    pub after_ms: (u64, u64),
}

#[derive(Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "`lanes:` and a list of lanes beneath it, as `harness run --help` tells"
)]
struct RawFile {
    lanes: Vec<RawLane>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLane {
    name: Option<String>,
    fault: String,
    target: Option<String>,
    trigger: Option<String>,
    start: Option<RawStart>,
    duration: Option<String>,
    interval: Option<String>,
    count: Option<u64>,
    end: Option<RawWith>,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a time such as 10s or 10s..15s, or {with: LANE, when: observed, after: 2s}"
)]
enum RawStart {
    Time(String),
    With(RawWith),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWith {
    with: String,
    when: Option<String>,
    after: Option<String>,
}

/// Reads a file of lanes.
///
/// # Errors
/// The first thing that is wrong, with its line.
pub fn parse_lanes(text: &str) -> Result<Vec<NamedLane>, LaneFileError> {
    let raw: RawFile = serde_yaml::from_str(text).map_err(|error| LaneFileError {
        line: error.location().map(|at| at.line()),
        field: String::new(),
        reason: error.to_string(),
    })?;
    let count = raw.lanes.len();
    if !(1..=MAX_LANES).contains(&count) {
        return Err(LaneFileError {
            line: None,
            field: "lanes".to_owned(),
            reason: format!("there are {count}; write 1 to {MAX_LANES}"),
        });
    }
    let names: Vec<String> = (1..)
        .zip(&raw.lanes)
        .map(|(number, lane)| {
            lane.name
                .clone()
                .unwrap_or_else(|| format!("{}-{number}", lane.fault))
        })
        .collect();
    let lanes: Result<Vec<NamedLane>, LaneFileError> = raw
        .lanes
        .iter()
        .enumerate()
        .map(|(at, lane)| {
            let reader = Reader {
                text,
                names: &names,
                at,
            };
            reader.lane(lane)
        })
        .collect();
    let lanes = lanes?;
    no_circle(&lanes)?;
    Ok(lanes)
}

/// Reads one lane.
struct Reader<'a> {
    text: &'a str,
    names: &'a [String],
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, field: &str, reason: impl fmt::Display) -> LaneFileError {
        LaneFileError {
            line: line_of(self.text, self.at, field),
            field: format!("lane {}: {field}", self.names[self.at]),
            reason: reason.to_string(),
        }
    }

    fn lane(&self, raw: &RawLane) -> Result<NamedLane, LaneFileError> {
        let lane = self.fault(raw)?;
        let name = &self.names[self.at];
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.chars().all(plain) {
            let reason = format!(
                "{name:?} is no name; write letters, digits, - and _, {MAX_NAME_CHARS} at most"
            );
            return Err(self.wrong("name", reason));
        }
        if self.names[..self.at].contains(name) {
            return Err(self.wrong("name", format!("there are two lanes {name}; rename one")));
        }
        let range = |field: &str, text: &Option<String>, usual: u64| match text {
            None => Ok((usual, usual)),
            Some(text) => range_ms(text).map_err(|reason| self.wrong(field, reason)),
        };
        let duration_ms = range("duration", &raw.duration, DEFAULT_ON_MS)?;
        if duration_ms.0 < MIN_ON_MS {
            let reason = format!("less than {MIN_ON_MS} ms cannot be observed");
            return Err(self.wrong("duration", reason));
        }
        if raw.count == Some(0) {
            return Err(self.wrong("count", "must be 1 at least; leave the lane out instead"));
        }
        let start = match &raw.start {
            None => Start::At(0, 0),
            Some(RawStart::Time(text)) => {
                let (from, to) = range_ms(text).map_err(|reason| self.wrong("start", reason))?;
                Start::At(from, to)
            }
            Some(RawStart::With(with)) => Start::With(self.with("start", with)?),
        };
        if matches!(lane.trigger, Some(WaitsFor::At(_))) {
            return Err(self.wrong("trigger", "a time stands in start here, as in start: 12s"));
        }
        if matches!(start, Start::With(_)) && lane.trigger.is_some() {
            let reason = "it begins with another fault already (start); choose one of both";
            return Err(self.wrong("trigger", reason));
        }
        let end = raw.end.as_ref().map(|end| self.with("end", end));
        Ok(NamedLane {
            name: name.clone(),
            lane,
            start,
            duration_ms,
            interval_ms: range("interval", &raw.interval, DEFAULT_OFF_MS)?,
            count: raw.count,
            end: end.transpose()?,
            line: line_of(self.text, self.at, ""),
        })
    }

    fn fault(&self, raw: &RawLane) -> Result<Lane, LaneFileError> {
        let mut part = raw.fault.clone();
        if part.contains([':', '@', ',']) {
            let reason = format!(
                "{part:?} is more than a kind; write target and trigger as fields of their own"
            );
            return Err(self.wrong("fault", reason));
        }
        parse::parse_part(&part).map_err(|error| self.wrong("fault", error))?;
        if let Some(target) = &raw.target {
            part = format!("{part}:{target}");
        }
        if let Some(trigger) = &raw.trigger {
            part = format!("{part}@{trigger}");
        } else if raw.target.as_deref() == Some("subject")
            && let Some(RawStart::With(_)) = &raw.start
        {
            // Another fault says whom it strikes as an operation would.
            let mut lane = parse::parse_part(&format!("{part}@join"))
                .map_err(|error| self.wrong("target", error))?;
            lane.trigger = None;
            return Ok(lane);
        }
        let field = match &raw.trigger {
            Some(_) => "trigger",
            None => "target",
        };
        parse::parse_part(&part).map_err(|error| self.wrong(field, error))
    }

    fn with(&self, field: &str, raw: &RawWith) -> Result<With, LaneFileError> {
        let Some(lane) = self.names.iter().position(|name| *name == raw.with) else {
            let names = self.names.iter().map(String::as_str);
            let near = nearest(&raw.with, names);
            let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
            let reason = format!(
                "no lane is called {:?}{hint}; there are {}",
                raw.with,
                self.names.join(", ")
            );
            return Err(self.wrong(field, reason));
        };
        if lane == self.at {
            return Err(self.wrong(field, "a lane cannot wait for itself; name another one"));
        }
        let when = match &raw.when {
            None => FaultMoment::Observed,
            Some(word) => {
                let found = FaultMoment::ALL.iter().find(|(_, known)| known == word);
                found.map(|(when, _)| *when).ok_or_else(|| {
                    let reason = format!("{word:?} is no step; write asked, observed or healed");
                    self.wrong(field, reason)
                })?
            }
        };
        let after = raw.after.as_deref().unwrap_or("0s");
        Ok(With {
            lane: u32::try_from(lane).unwrap_or(u32::MAX),
            name: raw.with.clone(),
            when,
            after_ms: range_ms(after).map_err(|reason| self.wrong(field, reason))?,
        })
    }
}

/// Where a lane begins in the text, or a field of it: for lanes that stand below each other.
fn line_of(text: &str, lane: usize, field: &str) -> Option<usize> {
    let lines: Vec<&str> = text.lines().collect();
    let begin = lines.iter().position(|line| line.starts_with("lanes:"))?;
    let indent = |line: &str| line.len() - line.trim_start().len();
    let item = |line: &&str| line.trim_start().starts_with('-');
    let first = lines[begin + 1..].iter().find(|line| item(line))?;
    let depth = indent(first);
    let mut starts = lines.iter().enumerate().skip(begin + 1);
    let (start, _) = starts
        .by_ref()
        .filter(|(_, line)| item(line) && indent(line) == depth)
        .nth(lane)?;
    let is_field = |line: &str| {
        let rest = line.trim_start().trim_start_matches("- ").trim_start();
        let rest = rest.strip_prefix(field);
        !field.is_empty() && rest.is_some_and(|rest| rest.starts_with(':'))
    };
    let of_lane = lines.iter().enumerate().skip(start);
    let of_lane = of_lane
        .take_while(|(at, line)| *at == start || indent(line) > depth || line.trim().is_empty());
    let found = of_lane.into_iter().find(|(_, line)| is_field(line));
    Some(found.map_or(start, |(at, _)| at) + 1)
}

/// Refuses lanes that begin with each other.
fn no_circle(lanes: &[NamedLane]) -> Result<(), LaneFileError> {
    for lane in lanes {
        let (mut at, mut way) = (lane, vec![lane.name.as_str()]);
        while let Start::With(with) = &at.start {
            at = &lanes[with.lane as usize];
            way.push(&at.name);
            if way.len() > lanes.len() + 1 || at.name == lane.name {
                return Err(LaneFileError {
                    line: lane.line,
                    field: format!("lane {}: start", lane.name),
                    reason: format!(
                        "{} begin with each other, so that none ever begins; give one a time",
                        way.join(", ")
                    ),
                });
            }
        }
    }
    Ok(())
}

/// Draws the plan of a run from lanes with schedules of their own.
///
/// # Errors
/// If a target does not fit the nodes, or a lane has no time for a fault.
pub fn schedule_lanes(
    seed: Seed,
    lanes: &[NamedLane],
    nodes: &[&str],
    load_ms: u64,
) -> Result<Plan, LaneFileError> {
    let mut faults = Vec::new();
    for (at, lane) in (0_u32..).zip(lanes) {
        let wrong = |field: &str, reason: String| LaneFileError {
            line: lane.line,
            field: format!("lane {}: {field}", lane.name),
            reason,
        };
        parse::check_nodes(std::slice::from_ref(&lane.lane), nodes)
            .map_err(|error| wrong("target", error.to_string()))?;
        let of_lane = faults_of(seed, at, lane, nodes.len(), load_ms);
        if of_lane.is_empty() {
            return Err(wrong(
                "start",
                format!(
                    "the load ends after {load_ms} ms, before a fault of {} ms that begins then can be seen; begin earlier, or raise --time-limit",
                    lane.duration_ms.0
                ),
            ));
        }
        if of_lane.len() as u64 > MAX_FAULTS {
            let reason = format!("more than {MAX_FAULTS} faults; let them be on or off for longer");
            return Err(wrong("interval", reason));
        }
        faults.extend(of_lane);
    }
    faults.sort_by_key(|fault: &PlannedFault| (fault.inject_ms, fault.lane));
    for (id, fault) in (1_u32..).zip(&mut faults) {
        fault.id = id;
    }
    Ok(Plan {
        format_version: meta::FORMAT_VERSION,
        seed: seed.0,
        faults,
    })
}

/// The faults of one lane, still without their numbers.
fn faults_of(
    seed: Seed,
    at: u32,
    named: &NamedLane,
    nodes: usize,
    load_ms: u64,
) -> Vec<PlannedFault> {
    let name = &named.name;
    let times = seed.stream(&format!("nemesis/lane/{name}"));
    let targets = seed.stream(&format!("targets/lane/{name}"));
    let delays = seed.stream(&format!("triggers/lane/{name}"));
    let (mut inject_ms, with) = match &named.start {
        Start::At(from, to) => (
            seed.stream(&format!("starts/lane/{name}"))
                .draw(0)
                .random_range(*from..=*to),
            None,
        ),
        Start::With(with) => (0, Some(with)),
    };
    let mut faults = Vec::new();
    let most = named.count.unwrap_or(MAX_FAULTS + 1);
    while (faults.len() as u64) < most {
        let number = faults.len() as u64;
        let mut draw = delays.draw(number);
        let mut drawn = |(from, to): (u64, u64)| draw.random_range(from..=to);
        let duration_ms = drawn(named.duration_ms);
        let interval_ms = drawn(named.interval_ms);
        if inject_ms.saturating_add(duration_ms.min(MIN_SEEN_MS)) > load_ms {
            break;
        }
        let step = |with: &With, delay_ms: u64| FaultStep {
            lane: with.lane,
            name: with.name.clone(),
            step: with.when,
            delay_ms,
        };
        let trigger = match (with, &named.lane.trigger) {
            (Some(with), _) => Some(meta::Trigger::Fault(step(with, drawn(with.after_ms)))),
            (None, Some(trigger)) => trigger.with_delay(drawn((
                *trigger.delays_ms().start(),
                *trigger.delays_ms().end(),
            ))),
            (None, None) => None,
        };
        let until = named.end.as_ref();
        let until = until.map(|end| step(end, drawn(end.after_ms)));
        let mut order: Vec<u32> = (0_u32..).take(nodes).collect();
        order.shuffle(&mut targets.draw(number));
        let end_ms = inject_ms.saturating_add(duration_ms);
        faults.push(PlannedFault {
            id: 0,
            lane: at,
            kind: named.lane.kind.to_string(),
            options: named.lane.options.clone(),
            target: drawn_target(&times, &named.lane, nodes, number).to_string(),
            inject_ms,
            // What waits is on for as long as it says, from when it strikes; the end of the load ends it anyhow.
            heal_ms: match trigger {
                Some(_) => end_ms,
                None => end_ms.min(load_ms),
            },
            order,
            trigger,
            until,
        });
        inject_ms = end_ms.saturating_add(interval_ms);
    }
    faults
}

#[cfg(test)]
mod tests;
