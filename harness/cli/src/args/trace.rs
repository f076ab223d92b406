//! `harness trace`, as typed.

use clap::Args;

use super::{LabChoice, PointChoice};

/// `harness trace`.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// Which functions.
    #[command(flatten)]
    pub choice: PointChoice,
    /// How long to watch; ctrl-c ends it earlier [default: 10s]
    #[arg(long = "for", value_name = "TIME", conflicts_with = "op")]
    pub window: Option<String>,
    /// Watch one operation on a fresh cluster instead, on every node: join, remove or failed-join
    #[arg(long, value_name = "OP", conflicts_with_all = ["node", "binary"])]
    pub op: Option<String>,
    /// With --op: members at first [default: 3; 4 where one is removed]
    #[arg(long, value_name = "N", requires = "op")]
    pub members: Option<usize>,
    /// With --op: also tell functions that an idle cluster enters
    #[arg(long, requires = "op")]
    pub keep_idle: bool,
    /// With --op: how long the operation may take [default: 45s]
    #[arg(long, value_name = "TIME", requires = "op")]
    pub op_timeout: Option<String>,
    /// Which lab --op brings up.
    #[command(flatten)]
    pub lab: LabChoice,
    /// As JSON; with --op a line for the operation and one for each function
    #[arg(long)]
    pub json: bool,
}
