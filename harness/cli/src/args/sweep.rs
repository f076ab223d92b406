//! `harness sweep`, as typed.

use std::path::PathBuf;

use clap::Args;

use super::LabChoice;

/// `harness sweep`.
#[derive(Args, Debug)]
pub struct SweepArgs {
    /// The system whose program is swept
    #[arg(
        long,
        env = "HARNESS_SYSTEM",
        default_value = "lxd",
        value_name = "NAME"
    )]
    pub system: String,
    /// The operation whose functions are the crash points: join, remove or failed-join
    #[arg(long, value_name = "OP", required_unless_present = "resume")]
    pub op: Option<String>,
    /// What makes a failed-join fail: name-clash, unreachable-member or refused-address [default: name-clash]
    #[arg(long, value_name = "HOW")]
    pub fail_by: Option<String>,
    /// Whom the fault strikes: joiner, leader, follower or removed
    #[arg(long, value_name = "WHO", required_unless_present = "resume")]
    pub victim: Option<String>,
    /// Only functions whose names match, of all functions of the program; without it, the system's own about clusters
    #[arg(long = "match", value_name = "REGEX", conflicts_with = "points")]
    pub pattern: Option<String>,
    /// These functions, one name a line; then nothing is traced
    #[arg(long, value_name = "FILE")]
    pub points: Option<PathBuf>,
    /// What strikes: kill, or pause+partition (frozen at the point, cut off, then it goes on)
    #[arg(long, value_name = "FAULT", default_value = "kill")]
    pub fault: String,
    /// Members at first [default: 3; 4 where one is removed]
    #[arg(long, value_name = "N")]
    pub members: Option<usize>,
    /// Clusters at work at once, each on nodes of its own [default: as many as the lab has nodes for]
    #[arg(long, value_name = "N")]
    pub parallel: Option<usize>,
    /// Only the first points of the trace, so many
    #[arg(long, value_name = "N", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub first: Option<usize>,
    /// How long the sources are waited for to be unchanged over two heartbeats
    #[arg(long, value_name = "TIME", default_value = "90s")]
    pub settle_limit: String,
    /// How long the operation may take
    #[arg(long, value_name = "TIME", default_value = "45s")]
    pub op_timeout: String,
    /// How long the fault is on, if the operation does not end before
    #[arg(long, value_name = "TIME", default_value = "20s")]
    pub fault_on: String,
    /// How often the sources of membership are read
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub sample_interval: String,
    /// Do not try to mend what is left by a retry, a forced removal and a fresh join
    #[arg(long)]
    pub no_mends: bool,
    /// Go on with a sweep that was interrupted: its folder, or latest; what it is stands there
    #[arg(long, value_name = "DIR", conflicts_with_all = ["op", "fail_by", "victim", "pattern", "points", "members", "first"])]
    pub resume: Option<PathBuf>,
    /// Print one command for each distinct outcome, which repeats it
    #[arg(long)]
    pub minimal: bool,
    /// Which lab.
    #[command(flatten)]
    pub choice: LabChoice,
    /// The folder that gets sweeps/
    #[arg(
        long,
        env = "HARNESS_RESULTS",
        value_name = "DIR",
        default_value = "results"
    )]
    pub results: PathBuf,
    /// Results as JSON on standard output
    #[arg(long)]
    pub json: bool,
}
