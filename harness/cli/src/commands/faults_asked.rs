//! The faults that `--nemesis` asks for: a comma list, or `@FILE` with lanes that have schedules of their own.

use std::path::PathBuf;

use harness_core::{
    membership,
    meta::{self, Plan},
    seed::Seed,
};
use harness_nemesis::plan::{self, Lane, NamedLane, Selector, Timing, WaitsFor};
use harness_workloads::workload::Kind as Workload;

use crate::failure::{Failure, chain};

/// What was asked for.
pub struct FaultsAsked {
    /// What each lane does to whom.
    pub lanes: Vec<Lane>,
    /// The file that they stand in, with their schedules.
    file: Option<(PathBuf, Vec<NamedLane>)>,
}

impl FaultsAsked {
    /// Reads the value of `--nemesis`, and the file that it names.
    pub fn read(nemesis: &str) -> Result<Self, Failure> {
        let Some(path) = nemesis.strip_prefix('@') else {
            let lanes = plan::parse(nemesis).map_err(|error| Failure::usage(chain(&error)))?;
            return Ok(Self { lanes, file: None });
        };
        let path = PathBuf::from(path);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::usage(format!(
                "nemesis: {}: cannot be read: {error}",
                path.display()
            ))
        })?;
        let named = plan::parse_lanes(&text)
            .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        Ok(Self {
            lanes: named.iter().map(|named| named.lane.clone()).collect(),
            file: Some((path, named)),
        })
    }

    /// Refuses to wait for what the workload never does: nobody would be struck, and nobody would say so before the end.
    pub fn fit(&self, workload: &Workload) -> Result<(), Failure> {
        let operations = workload.operations();
        let name = workload.name();
        for lane in &self.lanes {
            let Some((trigger, phase)) = lane
                .trigger
                .as_ref()
                .and_then(|trigger| Some((trigger, trigger.phase()?)))
            else {
                continue;
            };
            let f = phase.f.as_str();
            if !operations.contains(&f) {
                return Err(Failure::usage(format!(
                    "nemesis: {lane}: the workload {name} has no operation {f:?} that a fault could wait for; it has {}",
                    operations.join(", ")
                )));
            }
            // Where something is watched, the node on which it is seen is the subject.
            let watched = matches!(trigger, WaitsFor::Watch(_));
            let subject = lane.target.selector() == Some(&Selector::Subject);
            if subject && !watched && membership::change(f).is_none() {
                return Err(Failure::usage(format!(
                    "nemesis: {lane}: no operation {f:?} is about a node, so that it has no subject; name nodes, as in {}:one@{f}",
                    lane.kind
                )));
            }
        }
        Ok(())
    }

    /// Draws the plan of one run.
    pub fn plan(&self, seed: Seed, names: &[&str], timing: Timing) -> Result<Plan, Failure> {
        if self.lanes.is_empty() {
            return Ok(Plan {
                format_version: meta::FORMAT_VERSION,
                seed: seed.0,
                faults: Vec::new(),
            });
        }
        match &self.file {
            Some((path, named)) => plan::schedule_lanes(seed, named, names, timing.load_ms)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display()))),
            None => plan::schedule(seed, &self.lanes, names, timing)
                .map_err(|error| Failure::usage(format!("nemesis: {}", chain(&error)))),
        }
    }

    /// The kinds in the order in which they are first named, each once; `none` if there are none.
    pub fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = Vec::new();
        for lane in &self.lanes {
            let kind = lane.kind.as_str().to_owned();
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        if kinds.is_empty() {
            kinds.push("none".to_owned());
        }
        kinds
    }

    /// The name of a lane of a file.
    pub fn name(&self, lane: u32) -> Option<&str> {
        let (_, named) = self.file.as_ref()?;
        Some(named.get(lane as usize)?.name.as_str())
    }
}
