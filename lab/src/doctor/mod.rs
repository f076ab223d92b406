//! Whether this machine can hold a lab, and what to do if it cannot.
//!
//! Laws:
//! - nothing is changed: what must be tried is tried in namespaces that end with the trial, and a kernel
//!   module that is not loaded is not loaded for it;
//! - a check that warns or fails names the mend;
//! - `fail` means that the lab that was asked for cannot come up, or the built-in one if none was; `warn` that something
//!   else will not work, or that something lies around.

mod host_checks;
mod kernel_checks;
mod leftover_checks;
mod lxd_checks;

use std::path::Path;

pub use kernel_checks::{by_relay, without_faults};

use serde::{Deserialize, Serialize};

use crate::{
    provider::{LabSpec, ProviderKind},
    state::State,
    subnet::Subnet,
};

/// How a check ended, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// As it should be.
    Pass,
    /// Something will not work, the lab will.
    Warn,
    /// The lab will not come up.
    Fail,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at, such as `overlayfs`.
    pub name: String,
    /// How it is.
    pub status: Status,
    /// What was seen.
    pub detail: String,
    /// What to do about it, unless all is well.
    pub mend: Option<String>,
}

impl Check {
    fn pass(name: &str, detail: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            status: Status::Pass,
            detail: detail.into(),
            mend: None,
        }
    }

    fn warn(name: &str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        let mend = Some(mend.into());
        Self {
            name: name.to_owned(),
            status: Status::Warn,
            detail: detail.into(),
            mend,
        }
    }

    fn fail(name: &str, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            status: Status::Fail,
            ..Self::warn(name, detail, mend)
        }
    }
}

/// The worst of all checks; `pass` if there are none.
#[must_use]
pub fn worst(checks: &[Check]) -> Status {
    checks
        .iter()
        .map(|check| check.status)
        .max()
        .unwrap_or(Status::Pass)
}

/// What the checks are about.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// The state folder; it need not exist. See [`State::look_at`].
    pub state: &'a State,
    /// Where runs will be written; it need not exist.
    pub results: &'a Path,
    /// The subnet that a lab would use.
    pub subnet: Subnet,
    /// The bridge that a lab would use.
    pub bridge: &'a str,
    /// The lab that was asked for; none is the built-in one.
    pub lab: Option<&'a LabSpec>,
}

impl Subject<'_> {
    /// Whether nodes are to be containers that the harness makes by itself.
    fn is_built_in(&self) -> bool {
        self.lab.is_none_or(|lab| lab.kind() == ProviderKind::Lxc)
    }
}

/// Looks at everything. Blocks, for a second or so.
#[must_use]
pub fn examine(subject: &Subject<'_>) -> Vec<Check> {
    let mut checks = host_checks::all(subject);
    checks.extend(kernel_checks::all(subject));
    checks.extend(lxd_checks::all(subject));
    checks.extend(leftover_checks::all(subject));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_check_decides() {
        let pass = Check::pass("a", "b");
        let warn = Check::warn("a", "b", "c");
        let fail = Check::fail("a", "b", "c");
        assert_eq!(worst(&[]), Status::Pass);
        assert_eq!(worst(std::slice::from_ref(&pass)), Status::Pass);
        assert_eq!(worst(&[warn.clone(), pass.clone()]), Status::Warn);
        assert_eq!(worst(&[warn, fail.clone(), pass]), Status::Fail);
        assert_eq!(fail.mend.as_deref(), Some("c"));
    }

    #[test]
    fn the_kernel_says_of_a_fault_what_doctor_says() {
        let state = State::look_at("/nonexistent").unwrap();
        let subject = Subject {
            state: &state,
            results: Path::new("/"),
            subnet: Subnet::default(),
            bridge: "harness0",
            lab: None,
        };
        let netem = |check: &Check| check.name == "netem";
        let doctor = kernel_checks::all(&subject)
            .into_iter()
            .find(netem)
            .unwrap();
        let told = without_faults(&["kill", "corrupt", "slow"]);
        if doctor.status == Status::Pass {
            assert_eq!(told, []);
        } else {
            assert_eq!(told, [(vec!["corrupt", "slow"], doctor)]);
        }
        assert_eq!(without_faults(&["kill", "partition"]), []);
    }

    #[test]
    fn every_check_that_is_not_well_names_its_mend() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::look_at(folder.path().join("none")).unwrap();
        let subject = Subject {
            state: &state,
            results: folder.path(),
            subnet: Subnet::default(),
            bridge: "harness0",
            lab: None,
        };
        let checks = examine(&subject);
        assert!(checks.len() > 15, "{}", checks.len());
        for check in &checks {
            assert_eq!(
                check.status == Status::Pass,
                check.mend.is_none(),
                "{check:?}"
            );
            assert!(!check.detail.is_empty(), "{check:?}");
        }
        assert!(!state.root().exists(), "looking makes nothing");
    }
}
