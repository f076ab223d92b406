//! What a dry run says of the faults that it plans: which ones this machine's kernel does not offer, and which the agent does in its place.
//!
//! Containers that the harness makes share the kernel, so nothing needs to be up to ask it. What nodes lack besides, and machines of
//! their own, tell it only when they are up: `harness faults`.

use std::fmt;

use harness_lab::{
    doctor::{self, Check},
    provider::LabSpec,
};
use harness_nemesis::plan::{Lane, WaitsFor};
use serde_json::{Value, json};

/// What the checks of the kernel call a fault that strikes at a function's entry.
const AT_FUNCTION: &str = "@fn=";

/// Faults that are not offered, or of which nobody could tell.
pub struct NotOffered {
    faults: Vec<String>,
    why: Check,
}

/// What this kernel says of the faults of a run.
#[derive(Default)]
pub struct Offers {
    pub not_offered: Vec<NotOffered>,
    /// Done by the agent's relay, in user space, because the kernel has no netem.
    pub by_relay: Vec<String>,
}

/// Asks the kernel about the faults of these lanes, if the lab's nodes are to share it.
pub fn offers(spec: Option<&LabSpec>, lanes: &[Lane]) -> Offers {
    if !matches!(spec, Some(LabSpec::Lxc(_))) {
        return Offers::default();
    }
    let mut wanted: Vec<&str> = lanes.iter().map(|lane| lane.kind.as_str()).collect();
    let at_function = |lane: &Lane| matches!(lane.trigger, Some(WaitsFor::Entry(_)));
    if lanes.iter().any(at_function) {
        wanted.push(AT_FUNCTION);
    }
    wanted.sort_unstable();
    wanted.dedup();
    let named = |faults: Vec<&str>| faults.into_iter().map(str::to_owned).collect();
    let without = doctor::without_faults(&wanted).into_iter();
    Offers {
        not_offered: without
            .map(|(faults, why)| NotOffered {
                faults: named(faults),
                why,
            })
            .collect(),
        by_relay: named(doctor::by_relay(&wanted)),
    }
}

impl NotOffered {
    /// For `--json`.
    pub fn value(&self) -> Value {
        json!({ "faults": self.faults, "lacking": self.why.name, "reason": self.why.detail, "mend": self.why.mend })
    }
}

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Check {
            name, detail, mend, ..
        } = &self.why;
        write!(
            f,
            "{}: not offered, as far as can be told here: {name}: {detail}",
            self.faults.join(", ")
        )?;
        match mend {
            Some(mend) => write!(f, " ({mend})"),
            None => Ok(()),
        }
    }
}
