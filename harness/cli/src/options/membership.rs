//! Options of the membership workload and of LXD.

use std::{path::Path, sync::Arc, time::Duration};

use harness_workloads::{
    systems::{lxd, sampling},
    workload::{
        Kind,
        membership::{self, Change},
    },
};

use super::{RunConfig, RunOptions, positive, refuse};
use crate::failure::Failure;

/// The shortest interval of the sampler: below it, reading would be the load.
const SAMPLE_INTERVAL_MIN: Duration = Duration::from_millis(50);

fn at_least_one(field: &str, number: Option<usize>) -> Result<Option<usize>, Failure> {
    match number {
        Some(0) => Err(Failure::usage(format!("{field}: must be 1 at least"))),
        number => Ok(number),
    }
}

/// The workload with what was chosen about it. What does not fit the number of nodes is refused once that is known.
pub fn with(workload: Kind, options: &RunOptions) -> Result<Kind, Failure> {
    let Kind::Membership(usual) = workload else {
        let given = [
            ("initial", options.initial.is_some()),
            ("parallel-join", options.parallel_join.is_some()),
            ("floor", options.floor.is_some()),
            ("changes", options.changes.is_some()),
            ("change-timeout", options.change_timeout.is_some()),
            ("change-interval", options.change_interval.is_some()),
            ("sample-interval", options.sample_interval.is_some()),
        ];
        let why = format!(
            "only the membership workload has it, not {}",
            workload.name()
        );
        refuse(&given, &why)?;
        return Ok(workload);
    };
    let time = |field, text: &Option<String>, usual| match text {
        Some(text) => positive(field, text),
        None => Ok(usual),
    };
    Ok(Kind::Membership(membership::Parameters {
        initial: at_least_one("initial", options.initial)?,
        floor: at_least_one("floor", options.floor)?,
        parallel_join: at_least_one("parallel-join", options.parallel_join)?
            .unwrap_or(usual.parallel_join),
        changes: match &options.changes {
            Some(list) => Change::parse_list(list)
                .map_err(|error| Failure::usage(format!("changes: {error}")))?,
            None => usual.changes,
        },
        change_timeout: time(
            "change-timeout",
            &options.change_timeout,
            usual.change_timeout,
        )?,
        change_interval: time(
            "change-interval",
            &options.change_interval,
            usual.change_interval,
        )?,

        only: None,
    }))
}

/// How often the sampler reads, if that was chosen.
pub fn sample_interval(options: &RunOptions) -> Result<Option<Duration>, Failure> {
    let Some(text) = &options.sample_interval else {
        return Ok(None);
    };
    let interval = positive("sample-interval", text)?;
    if interval < SAMPLE_INTERVAL_MIN {
        return Err(Failure::usage(format!(
            "sample-interval: {text} is too short; it must be {} ms at least",
            SAMPLE_INTERVAL_MIN.as_millis()
        )));
    }
    Ok(Some(interval))
}

/// LXD's own options: a file if one is named, then the flags, checked by LXD's part itself.
pub fn lxd(options: &RunOptions, system: &str) -> Result<lxd::Options, Failure> {
    if system != "lxd" {
        let given = [
            ("lxd-options", options.lxd_options.is_some()),
            ("offline-threshold", options.offline_threshold.is_some()),
            ("max-voters", options.max_voters.is_some()),
            ("max-standby", options.max_standby.is_some()),
        ];
        refuse(&given, &format!("only lxd has it, not {system}"))?;
    }
    let mut chosen = match &options.lxd_options {
        Some(path) => from_file(path)?,
        None => lxd::Options::default(),
    };
    if let Some(text) = &options.offline_threshold {
        let threshold = positive("offline-threshold", text)?;
        if threshold.subsec_nanos() > 0 {
            return Err(Failure::usage(format!(
                "offline-threshold: LXD takes whole seconds, not {text}"
            )));
        }
        chosen.offline_threshold_s = threshold.as_secs();
    }
    chosen.max_voters = options.max_voters.unwrap_or(chosen.max_voters);
    chosen.max_standby = options.max_standby.unwrap_or(chosen.max_standby);
    chosen
        .check()
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(chosen)
}

fn from_file(path: &Path) -> Result<lxd::Options, Failure> {
    let wrong = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("lxd-options: {}: {error}", path.display()))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    serde_yaml::from_str(&text).map_err(|error| wrong(&error))
}

impl RunConfig {
    /// How often the sampler reads on so many nodes.
    #[must_use]
    pub fn sample_interval(&self, nodes: usize) -> Duration {
        self.sample_interval
            .unwrap_or_else(|| sampling::usual_interval(&self.system, nodes))
    }

    /// Refuses a membership workload that these nodes, or so few clients, cannot do.
    pub fn check_nodes(&self, names: &[String]) -> Result<(), Failure> {
        let Some(parameters) = self.workload.membership() else {
            return Ok(());
        };
        let names: Vec<Arc<str>> = names.iter().map(|name| name.as_str().into()).collect();
        parameters.cast(&names).map_err(Failure::usage)?;
        let clients = self.concurrency.clients(names.len());
        let needed = parameters.clients_needed();
        if clients < needed {
            return Err(Failure::usage(format!(
                "concurrency: {clients} clients are too few; the membership workload needs {needed} here: {} to join, and one each to remove, to list and for data",
                parameters.parallel_join
            )));
        }
        Ok(())
    }
}
