//! The exact command that repeats a run.
//!
//! Law: it makes the same plan on a machine that has no lab, no `harness.yaml` and no environment of ours. So it tells every choice
//! that is not the default, wherever it came from, and of a built-in lab that was up already what that lab is: how many nodes, and
//! of which suite. A lab of a file is named by its file.

use harness_core::seed::Seed;
use harness_lab::provider::LabSpec;
use serde_json::Value;

use super::plain;
use crate::options::{RunConfig, RunOptions};

/// Arguments of `harness` that repeat a run: what was `chosen` for it (flags, environment, file) and what it then was.
pub fn arguments(
    chosen: RunOptions,
    config: &RunConfig,
    spec: Option<&LabSpec>,
    seed: Seed,
) -> Vec<String> {
    let mut chosen = RunOptions {
        seed: Some(seed.to_string()),
        nemesis: Some(config.nemesis.clone()),
        workload: Some(config.workload.name().to_owned()),
        results: None,
        ..chosen
    };
    if let (None, Some(LabSpec::Lxc(containers))) = (&config.lab, spec) {
        chosen.nodes = Some(containers.nodes);
        chosen.suite = Some(containers.image.suite().to_string());
    }
    let mut arguments = vec!["run".to_owned()];
    if let Ok(Value::Object(fields)) = serde_json::to_value(&chosen) {
        for (name, value) in fields {
            if !value.is_null() {
                arguments.extend([format!("--{name}"), plain(&value)]);
            }
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use harness_lab::{
        image::{ImageSystem, Recipe, Suite},
        provider::{LxcSpec, SshSpec},
    };

    use super::*;

    fn line(chosen: &RunOptions, spec: Option<&LabSpec>) -> String {
        let config = RunConfig::from_options(chosen).unwrap();
        arguments(chosen.clone(), &config, spec, Seed(7)).join(" ")
    }

    fn trixie() -> LabSpec {
        let systems = [ImageSystem::Dqlite, ImageSystem::Lxd];
        LabSpec::Lxc(LxcSpec {
            nodes: 7,
            image: Recipe::new(Suite::Trixie, systems, []).unwrap(),
            ..LxcSpec::default()
        })
    }

    #[test]
    fn a_built_in_lab_that_was_up_is_told_by_its_nodes_and_suite() {
        let line = line(&RunOptions::default(), Some(&trixie()));
        for part in [
            "--seed 0x7",
            "--nodes 7",
            "--suite trixie",
            "--workload membership",
            "--nemesis none",
        ] {
            assert!(line.contains(part), "{part} in {line}");
        }
        assert!(!line.contains("--lab"), "{line}");
    }

    #[test]
    fn a_lab_of_a_file_is_told_by_its_file() {
        let chosen = RunOptions {
            lab: Some("lab.yaml".into()),
            ..RunOptions::default()
        };
        let line = line(&chosen, Some(&trixie()));
        assert!(line.contains("--lab lab.yaml"), "{line}");
        assert!(
            !line.contains("--nodes") && !line.contains("--suite"),
            "{line}"
        );
    }

    #[test]
    fn machines_that_exist_and_simulations_have_no_suite() {
        let machines = LabSpec::Ssh(SshSpec { nodes: Vec::new() });
        for spec in [Some(&machines), None] {
            let line = line(&RunOptions::default(), spec);
            assert!(
                !line.contains("--nodes") && !line.contains("--suite"),
                "{line}"
            );
        }
    }
}
