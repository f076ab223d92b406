//! `harness doctor`: can this machine do it?

use harness_core::exit::Exit;
use harness_lab::{
    doctor::{self, Status, Subject},
    provider::{DEFAULT_BRIDGE, LabSpec},
    state::State,
    subnet::Subnet,
};
use serde_json::json;

use crate::{
    args::DoctorArgs,
    failure::{Failure, chain},
    terminal,
};

/// Looks at everything and changes nothing. 0 if nothing fails, 2 if something does.
pub fn doctor(args: DoctorArgs) -> Result<Exit, Failure> {
    let state = State::look_from_environment().map_err(|error| Failure::usage(chain(&error)))?;
    let lab = super::lab::spec_or_up(args.lab.as_deref(), None, None)?;
    let (subnet, bridge) = match &lab {
        LabSpec::Lxc(spec) => (spec.subnet, spec.bridge.as_str()),
        LabSpec::Lxd(spec) => (spec.subnet, spec.network_of_nodes()),
        LabSpec::Ssh(_) => (Subnet::default(), DEFAULT_BRIDGE),
    };
    let checks = doctor::examine(&Subject {
        state: &state,
        results: &args.results,
        subnet,
        bridge,
        lab: Some(&lab),
    });
    let worst = doctor::worst(&checks);
    if args.json {
        terminal::print(&json!({ "worst": worst, "checks": checks }).to_string());
    } else {
        let width = checks
            .iter()
            .map(|check| check.name.len())
            .max()
            .unwrap_or(0);
        for check in &checks {
            let (glyph, word) = match check.status {
                Status::Pass => ("✓", "pass"),
                Status::Warn => ("!", "warn"),
                Status::Fail => ("✗", "fail"),
            };
            terminal::print(&format!(
                "{glyph} {word}  {:<width$}  {}",
                check.name, check.detail
            ));
            if let Some(mend) = &check.mend {
                terminal::print(&format!("{:pad$}→ {mend}", "", pad = width + 10));
            }
        }
    }
    Ok(match worst {
        Status::Pass | Status::Warn => Exit::Valid,
        Status::Fail => Exit::Unknown,
    })
}
