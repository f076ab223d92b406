//! What can be chosen about a run: `harness.yaml`, then the environment, then flags.
//!
//! [`RunOptions`] is how it is written (each field optional, the same names in all three places); [`RunConfig`] is what
//! it means, validated in one place. Every error names where the value came from, the field and the mend.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use harness_core::seed::Seed;
use harness_nemesis::exec::MIN_LEASE;
use harness_workloads::{systems::lxd, workload::Kind};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

mod data;
mod membership;
mod workload;

/// The longest load that is accepted.
const TIME_LIMIT_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The most nodes of the built-in lab.
const NODES_MAX: usize = harness_lab::provider::MAX_NODES;
/// Operations a second if nothing else is chosen.
const RATE: f64 = 100.0;
/// The same for data beside the membership workload: enough to see what is lost, little enough not to be the load.
const RATE_BESIDE_MEMBERSHIP: f64 = 10.0;
/// The most workers.
const CONCURRENCY_MAX: usize = 4096;
/// Memory that each checker's own structures may take, in MiB, if nothing else is chosen.
const CHECK_MEMORY_MIB: u64 = 4096;
/// How long a node may be out of hearing before it heals itself.
const DEFAULT_LEASE_TEXT: &str = "30s";

/// A run as somebody wrote it down.
#[derive(Args, Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct RunOptions {
    /// The system under test: dqlite, lxd, or sim (a SIMULATION that needs no lab; for testing the harness) [default: dqlite]
    #[arg(long, env = "HARNESS_SYSTEM", value_name = "NAME")]
    pub system: Option<String>,
    /// What clients do: membership, register, set, bank or append [default: membership]
    #[arg(long, env = "HARNESS_WORKLOAD", value_name = "NAME")]
    pub workload: Option<String>,
    /// What breaks: a comma list of faults with targets, such as partition,kill:leader, or @FILE with lanes (see below) [default: none]
    #[arg(long, env = "HARNESS_NEMESIS", value_name = "LIST")]
    pub nemesis: Option<String>,
    /// Nodes of the built-in lab [default: those that are up, else 5]
    #[arg(long, env = "HARNESS_NODES", value_name = "N")]
    pub nodes: Option<usize>,
    /// How long load lasts, such as 60, 90s or 10m [default: 60s]
    #[arg(long, env = "HARNESS_TIME_LIMIT", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub time_limit: Option<String>,
    /// The seed of the plan and of what clients ask, such as 7 or 0x5eed42; a fresh one, which is printed, if not given
    #[arg(
        long,
        env = "HARNESS_SEED",
        value_name = "SEED",
        allow_hyphen_values = true
    )]
    #[serde(deserialize_with = "text_or_number")]
    pub seed: Option<String>,
    /// Operations on data a second, all clients together; 0 for as many as they can [default: 100; 10 beside membership]
    #[arg(
        long,
        env = "HARNESS_RATE",
        value_name = "PER_SECOND",
        allow_hyphen_values = true
    )]
    pub rate: Option<f64>,
    /// Clients: a number, or a multiple of the nodes such as 2n [default: 2n]
    #[arg(long, env = "HARNESS_CONCURRENCY", value_name = "N")]
    #[serde(deserialize_with = "text_or_number")]
    pub concurrency: Option<String>,
    /// Deadline of each operation [default: 5s]
    #[arg(long, env = "HARNESS_OP_TIMEOUT", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub op_timeout: Option<String>,
    /// How soon after healing every live node must accept a write [default: 60s]
    #[arg(long, env = "HARNESS_RECOVERY_TIMEOUT", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub recovery_timeout: Option<String>,
    /// How long each fault is on, and then off: one time for both, or ON/OFF such as 10s/5s [default: 10s]
    #[arg(long, env = "HARNESS_INTERVAL", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub interval: Option<String>,
    /// A node that has not heard from the harness for so long undoes its faults by itself, 5s at least [default: 30s]
    #[arg(long, env = "HARNESS_AGENT_HEALS_AFTER", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub agent_heals_after: Option<String>,
    /// How reads of the register workload are answered: leader (as its users read) or log (through the log) [default: leader]
    #[arg(long, env = "HARNESS_READS", value_name = "HOW")]
    pub reads: Option<String>,
    /// Let accounts of the bank workload go below 0; only their total is judged then [default: false]
    #[arg(long, env = "HARNESS_ALLOW_NEGATIVE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub allow_negative: Option<bool>,
    /// Members at first, of the membership workload; other nodes stand by to join, and the last one is the canary, kept for the end [default: 3]
    #[arg(long, env = "HARNESS_INITIAL", value_name = "N")]
    pub initial: Option<usize>,
    /// Joins that begin at once: tokens first, then all together [default: 1]
    #[arg(long, env = "HARNESS_PARALLEL_JOIN", value_name = "N")]
    pub parallel_join: Option<usize>,
    /// Members that removes never go below [default: those at first, at most 3]
    #[arg(long, env = "HARNESS_FLOOR", value_name = "N")]
    pub floor: Option<usize>,
    /// What the membership workload may do besides joining nodes and removing members: a comma list of remove-leader, remove-dead (by force,
    /// once refused), retry-failed, rejoin, join-while-down, force (also members that run), concurrent (several at once), or none
    /// [default: all but force]
    #[arg(long, env = "HARNESS_CHANGES", value_name = "LIST")]
    pub changes: Option<String>,
    /// Deadline of each join and remove [default: 60s]
    #[arg(long, env = "HARNESS_CHANGE_TIMEOUT", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub change_timeout: Option<String>,
    /// How long after the start of a join or remove the next one starts, on average [default: 2s]
    #[arg(long, env = "HARNESS_CHANGE_INTERVAL", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub change_interval: Option<String>,
    /// How often the places where membership is kept are read; costly ones every tenth time [default: 1s; LXD: 500ms a node]
    #[arg(long, env = "HARNESS_SAMPLE_INTERVAL", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub sample_interval: Option<String>,
    /// LXD's paths, programs, environment and additions to its preseeds, from a YAML file (its fields: README, LXD) [default: Debian's]
    #[arg(long, env = "HARNESS_LXD_OPTIONS", value_name = "FILE")]
    pub lxd_options: Option<PathBuf>,
    /// LXD's cluster.offline_threshold, more than 10s [default: 11s]
    #[arg(long, env = "HARNESS_OFFLINE_THRESHOLD", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub offline_threshold: Option<String>,
    /// LXD's cluster.max_voters, odd and 3 at least [default: LXD's own]
    #[arg(long, env = "HARNESS_MAX_VOTERS", value_name = "N")]
    pub max_voters: Option<usize>,
    /// LXD's cluster.max_standby, 0 to 5 [default: LXD's own]
    #[arg(long, env = "HARNESS_MAX_STANDBY", value_name = "N")]
    pub max_standby: Option<usize>,
    /// Give each node's data folder a file system of its own of this size, such as 64MiB, so that it can be full; dqlite only
    /// [default: a folder like any other]
    #[arg(long, env = "HARNESS_DATA_SIZE", value_name = "BYTES")]
    #[serde(deserialize_with = "text_or_number")]
    pub data_size: Option<String>,
    /// Put a layer over each node's data folder, which can fail its reads and writes and lose what was not synced, for the
    /// faults io-error and lose-writes; dqlite only, and not with --data-size [default: false]
    #[arg(long, env = "HARNESS_DATA_LAYER", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub data_layer: Option<bool>,
    /// The lab: a lab.yaml; without it, the lab that is up, else the built-in lab of containers
    #[arg(long, env = "HARNESS_LAB", value_name = "FILE")]
    pub lab: Option<PathBuf>,
    /// Debian suite of the built-in lab's nodes: bookworm, trixie or forky [default: bookworm]
    #[arg(long, env = "HARNESS_SUITE", value_name = "SUITE")]
    pub suite: Option<String>,
    /// The folder that gets runs/ [default: results]
    #[arg(long, env = "HARNESS_RESULTS", value_name = "DIR")]
    pub results: Option<PathBuf>,
    /// Turn on the system's own traces (large logs)
    #[arg(long, env = "HARNESS_TRACE", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub trace: Option<bool>,
    /// Time that each checker may take [default: 120s]
    #[arg(long, env = "HARNESS_CHECK_TIMEOUT", value_name = "TIME")]
    #[serde(deserialize_with = "text_or_number")]
    pub check_timeout: Option<String>,
    /// Memory that each checker's own structures may take, in MiB [default: 4096]
    #[arg(long, env = "HARNESS_CHECK_MEMORY", value_name = "MIB")]
    pub check_memory: Option<u64>,
    /// A bug to plant in the simulated system (only with --system sim): lost-write, stale-read, vanished-element, broken-total; half-join, lost-member, resurrection, ghost-after-remove
    #[arg(long, env = "HARNESS_PLANT", value_name = "BUG")]
    pub plant: Option<String>,
}

/// Takes `60` as well as `60s` from YAML.
fn text_or_number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Scalar {
        Text(String),
        Whole(u64),
        Fraction(f64),
    }
    Ok(
        Option::<Scalar>::deserialize(from)?.map(|scalar| match scalar {
            Scalar::Text(text) => text,
            Scalar::Whole(number) => number.to_string(),
            Scalar::Fraction(number) => number.to_string(),
        }),
    )
}

impl RunOptions {
    /// What is not chosen here is taken from `weaker`.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        macro_rules! merge {
            ($($field:ident),*) => { Self { $($field: self.$field.or(weaker.$field)),* } };
        }
        merge!(
            system,
            workload,
            nemesis,
            nodes,
            time_limit,
            seed,
            rate,
            concurrency,
            op_timeout,
            recovery_timeout,
            interval,
            agent_heals_after,
            reads,
            allow_negative,
            initial,
            parallel_join,
            floor,
            changes,
            change_timeout,
            change_interval,
            sample_interval,
            lxd_options,
            offline_threshold,
            max_voters,
            max_standby,
            data_size,
            data_layer,
            lab,
            suite,
            results,
            trace,
            check_timeout,
            check_memory,
            plant
        )
    }
}

/// A run as it will be.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// The system's name.
    pub system: String,
    /// The workload with its parameters.
    pub workload: Kind,
    /// The nemesis as written; `none` for nothing.
    pub nemesis: String,
    /// Nodes of the built-in lab, if chosen; an inventory has its own number.
    pub nodes: Option<usize>,
    /// How long load lasts.
    pub time_limit: Duration,
    /// The seed, if one was chosen.
    pub seed: Option<Seed>,
    /// Operations a second; none for as many as possible.
    pub rate: Option<f64>,
    /// Clients.
    pub concurrency: Concurrency,
    /// Deadline of each operation.
    pub op_timeout: Duration,
    /// See [`RunOptions::recovery_timeout`].
    pub recovery_timeout: Duration,
    /// How long a fault is on.
    pub fault_on: Duration,
    /// How long it is off.
    pub fault_off: Duration,
    /// How long a node may be out of hearing before it heals itself.
    pub agent_heals_after: Duration,
    /// How often the sampler reads.
    pub sample_interval: Option<Duration>,
    /// LXD's own options.
    pub lxd: lxd::Options,
    /// Bytes of each node's data folder, where it is a mount of its own.
    pub data_size_bytes: Option<u64>,
    /// A layer over each node's data folder.
    pub data_layer: bool,
    /// The inventory, if there is one.
    pub lab: Option<PathBuf>,
    /// Debian suite, if chosen.
    pub suite: Option<String>,
    /// The folder that gets `runs/`.
    pub results: PathBuf,
    /// The system's own traces.
    pub trace: bool,
    /// Time that each checker may take.
    pub check_timeout: Duration,
    /// Memory that each checker may take, in bytes.
    pub check_memory_bytes: u64,
    /// The bug planted in the simulated system.
    pub plant: Option<String>,
}

/// How many clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Fixed(usize),
    /// So many for each node.
    PerNode(usize),
}

impl Concurrency {
    /// The number of clients for so many nodes.
    #[must_use]
    pub fn clients(self, nodes: usize) -> usize {
        match self {
            Self::Fixed(count) => count,
            Self::PerNode(count) => count * nodes.max(1),
        }
    }
}

/// A length of time: `60`, `60s`, `1.5m`, `200ms`, `2h`.
pub fn parse_time(field: &str, text: &str) -> Result<Duration, Failure> {
    let bad = || {
        Failure::usage(format!(
            "{field}: {text:?} is no length of time; write seconds such as 60, or 200ms, 90s, 10m, 2h"
        ))
    };
    let trimmed = text.trim();
    let split = trimmed
        .find(|letter: char| letter.is_ascii_alphabetic())
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let number: f64 = number.trim().parse().map_err(|_| bad())?;
    let scale = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(bad()),
    };
    Duration::try_from_secs_f64(number * scale).map_err(|_| bad())
}

fn positive(field: &str, text: &str) -> Result<Duration, Failure> {
    let time = parse_time(field, text)?;
    if time.is_zero() {
        return Err(Failure::usage(format!("{field}: must be more than 0")));
    }
    Ok(time)
}

/// Refuses an option that has no meaning here.
fn refuse(given: &[(&str, bool)], why: &str) -> Result<(), Failure> {
    match given.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Failure::usage(format!("{name}: {why}; leave it out"))),
        None => Ok(()),
    }
}

fn parse_concurrency(text: &str) -> Result<Concurrency, Failure> {
    let (number, per_node) = match text.strip_suffix('n') {
        Some("") => ("1", true),
        Some(number) => (number, true),
        None => (text, false),
    };
    let count: usize = number
        .parse()
        .ok()
        .filter(|count| (1..=CONCURRENCY_MAX).contains(count))
        .ok_or_else(|| {
            Failure::usage(format!(
                "concurrency: {text:?} is no number of clients; write 1 to {CONCURRENCY_MAX}, or a multiple of the nodes such as 2n"
            ))
        })?;
    Ok(if per_node {
        Concurrency::PerNode(count)
    } else {
        Concurrency::Fixed(count)
    })
}

fn parse_interval(text: &str) -> Result<(Duration, Duration), Failure> {
    let (on, off) = text.split_once('/').unwrap_or((text, text));
    Ok((positive("interval", on)?, positive("interval", off)?))
}

/// How long a node waits for us.
fn lease(text: &str) -> Result<Duration, Failure> {
    let lease = positive("agent-heals-after", text)?;
    if lease < MIN_LEASE {
        return Err(Failure::usage(format!(
            "agent-heals-after: {text} is too short for a busy machine, which would heal faults that are meant to hold; at least {} s",
            MIN_LEASE.as_secs()
        )));
    }
    Ok(lease)
}

impl RunConfig {
    /// Fills in the defaults and refuses what makes no sense.
    pub fn from_options(options: &RunOptions) -> Result<Self, Failure> {
        let text = |field: &Option<String>, default: &str| {
            field.clone().unwrap_or_else(|| default.to_owned())
        };
        let system = text(&options.system, "dqlite");
        if !["dqlite", "lxd", "sim"].contains(&system.as_str()) {
            return Err(Failure::usage(format!(
                "system: there is no system {system:?}; there are dqlite, lxd and sim (a simulation)"
            )));
        }
        let workload = workload::chosen(options)?;
        let time_limit = positive("time-limit", &text(&options.time_limit, "60"))?;
        if time_limit > TIME_LIMIT_MAX {
            return Err(Failure::usage("time-limit: at most 168h (a week)"));
        }
        let nodes = options.nodes;
        if let Some(count) = nodes
            && !(1..=NODES_MAX).contains(&count)
        {
            return Err(Failure::usage(format!(
                "nodes: {count} is not between 1 and {NODES_MAX}"
            )));
        }
        let usual = workload
            .membership()
            .map_or(RATE, |_| RATE_BESIDE_MEMBERSHIP);
        let rate = options.rate.unwrap_or(usual);
        if !rate.is_finite() || rate < 0.0 {
            return Err(Failure::usage(format!(
                "rate: {rate} is no number of operations a second; 0 means as many as possible"
            )));
        }
        let (fault_on, fault_off) = parse_interval(&text(&options.interval, "10s"))?;
        if system == "sim" {
            let given = [
                ("lab", options.lab.is_some()),
                ("suite", options.suite.is_some()),
            ];
            refuse(&given, "the simulated system has no lab, only --nodes")?;
        }
        let check_memory_mib = options.check_memory.unwrap_or(CHECK_MEMORY_MIB);
        if check_memory_mib == 0 {
            return Err(Failure::usage(
                "check-memory: must be 1 MiB at least; no checker can judge with nothing",
            ));
        }
        let plant = options.plant.clone();
        if plant.is_some() && system != "sim" {
            return Err(Failure::usage(
                "plant: bugs can be planted in the simulated system only; add --system sim",
            ));
        }
        Ok(Self {
            nemesis: text(&options.nemesis, "none"),
            seed: options
                .seed
                .as_deref()
                .map(|seed| {
                    seed.parse()
                        .map_err(|error| Failure::usage(format!("seed: {error}")))
                })
                .transpose()?,
            rate: (rate > 0.0).then_some(rate),
            concurrency: parse_concurrency(&text(&options.concurrency, "2n"))?,
            op_timeout: positive("op-timeout", &text(&options.op_timeout, "5s"))?,
            recovery_timeout: positive(
                "recovery-timeout",
                &text(&options.recovery_timeout, "60s"),
            )?,
            agent_heals_after: lease(&text(&options.agent_heals_after, DEFAULT_LEASE_TEXT))?,
            sample_interval: membership::sample_interval(options)?,
            lxd: membership::lxd(options, &system)?,
            data_size_bytes: data::size(options, &system)?,
            data_layer: data::layer(options, &system)?,
            lab: options.lab.clone(),
            suite: options.suite.clone(),
            results: options.results.clone().unwrap_or_else(|| "results".into()),
            trace: options.trace.unwrap_or(false),
            check_timeout: positive("check-timeout", &text(&options.check_timeout, "120s"))?,
            check_memory_bytes: check_memory_mib.saturating_mul(1024 * 1024),
            system,
            workload,
            nodes,
            time_limit,
            fault_on,
            fault_off,
            plant,
        })
    }
}

/// Reads `harness.yaml`, if there is one.
pub fn from_file(path: &std::path::Path) -> Result<Option<RunOptions>, Failure> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(Failure::usage(format!(
                "{}: cannot be read: {error}",
                path.display()
            )));
        }
    };
    if text.trim().is_empty() {
        return Ok(Some(RunOptions::default()));
    }
    serde_yaml::from_str(&text)
        .map(Some)
        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests;
