//! The workload, and what can be chosen about those that work on data.

use harness_workloads::workload::{Kind, NAMES, Reads};

use super::{RunOptions, membership};
use crate::failure::Failure;

/// The workload if nobody names one.
const USUAL: &str = "membership";

/// The workload with all that was chosen about it; what it does not have is refused.
pub(super) fn chosen(options: &RunOptions) -> Result<Kind, Failure> {
    let reads: Reads = options
        .reads
        .as_deref()
        .unwrap_or("leader")
        .parse()
        .map_err(|error| Failure::usage(format!("reads: {error}")))?;
    let name = options.workload.as_deref().unwrap_or(USUAL);
    let mut workload =
        Kind::named(name, reads).map_err(|error| Failure::usage(format!("workload: {error}")))?;
    let others = |field: &str, only: &str| {
        Failure::usage(format!(
            "{field}: only {only}, not {name}; leave it out (workloads: {})",
            NAMES.join(", ")
        ))
    };
    if options.reads.is_some() && !matches!(workload, Kind::Register(_)) {
        return Err(others(
            "reads",
            "the register workload can choose how it reads",
        ));
    }
    match (&mut workload, options.allow_negative) {
        (Kind::Bank(bank), Some(allowed)) => bank.allow_negative = allowed,
        (_, None) => {}
        (_, Some(_)) => {
            return Err(others("allow-negative", "the bank workload has balances"));
        }
    }
    membership::with(workload, options)
}
