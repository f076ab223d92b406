//! Which lab is meant: a file, the one that is up, or the built-in one.

use std::path::Path;

use harness_lab::{
    image::{ImageSystem, Recipe, Suite},
    inventory,
    provider::{LabPhase, LabSpec},
    state::State,
};

use crate::failure::{Failure, chain};

/// The lab that was asked for; if nothing was, or no more than a number of nodes and a suite that the one that is up has, that one;
/// else the built-in one.
pub fn spec_or_up(
    lab: Option<&Path>,
    nodes: Option<usize>,
    suite: Option<&str>,
) -> Result<LabSpec, Failure> {
    if lab.is_some() {
        return spec(lab, nodes, suite);
    }
    let record = State::look_from_environment().map(|state| state.read_lab());
    let up = match record {
        Ok(Ok(Some(record))) if record.phase != LabPhase::GoingDown => Some(record.spec),
        _ => None,
    };
    match up {
        Some(up) if nodes.is_none() && suite.is_none() => Ok(up),
        up => {
            let asked = spec(lab, nodes, suite)?;
            Ok(up.filter(|up| serves(up, &asked)).unwrap_or(asked))
        }
    }
}

/// Whether containers that are up are what was asked for: as many, of that suite, with those systems at least. Where they hang is
/// their own matter, and so is what else their image holds: the command that repeats a run names neither.
fn serves(up: &LabSpec, asked: &LabSpec) -> bool {
    match (up, asked) {
        (LabSpec::Lxc(up), LabSpec::Lxc(asked)) => {
            up.nodes == asked.nodes
                && up.image.suite() == asked.image.suite()
                && up.image.systems().is_superset(asked.image.systems())
        }
        _ => false,
    }
}

/// The lab with LXD in the image that we build for it, beside what else it has; nodes that we build no image for as they are.
pub fn with_lxd(mut spec: LabSpec) -> Result<LabSpec, Failure> {
    if spec.recipe().is_some()
        && let Some((_, image)) = spec.made_mut()
    {
        *image = image
            .with_system(ImageSystem::Lxd)
            .map_err(|error| Failure::usage(chain(&error)))?;
    }
    Ok(spec)
}

/// The lab that was asked for: an inventory, or the built-in one.
fn spec(lab: Option<&Path>, nodes: Option<usize>, suite: Option<&str>) -> Result<LabSpec, Failure> {
    let mut spec = match lab {
        Some(path) => inventory::read(path).map_err(|error| Failure::usage(chain(&error)))?,
        None => LabSpec::default(),
    };
    if suite.is_some() && spec.recipe().is_none() {
        return Err(Failure::usage(
            "suite: the nodes of this lab have what is installed on them; leave it out",
        ));
    }
    match spec.made_mut() {
        Some((count, image)) => {
            *count = nodes.unwrap_or(*count);
            if let Some(suite) = suite {
                let suite = suite
                    .parse::<Suite>()
                    .map_err(|error| Failure::usage(chain(&error)))?;
                *image = image
                    .on_suite(suite)
                    .map_err(|error| Failure::usage(chain(&error)))?;
            }
        }
        None => {
            let listed = spec.node_names().len();
            if nodes.is_some_and(|nodes| nodes != listed) {
                return Err(Failure::usage(format!(
                    "nodes: the inventory has {listed}; leave it out"
                )));
            }
        }
    }
    spec.check()
        .map_err(|error| Failure::usage(chain(&error)))?;
    Ok(spec)
}

/// What an image of that suite with those systems is made of.
pub fn recipe(suite: &str, with: &[String]) -> Result<Recipe, Failure> {
    let usage = |error: &dyn std::error::Error| Failure::usage(chain(error));
    let suite = suite.parse().map_err(|error| usage(&error))?;
    let systems = with
        .iter()
        .filter(|name| !name.is_empty())
        .map(|name| name.parse())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| usage(&error))?;
    Recipe::new(suite, systems, []).map_err(|error| usage(&error))
}

#[cfg(test)]
mod tests {
    use harness_lab::provider::LxcSpec;

    use super::*;

    fn up(systems: &[&str]) -> LabSpec {
        let systems: Vec<String> = systems.iter().map(ToString::to_string).collect();
        LabSpec::Lxc(LxcSpec {
            nodes: 3,
            image: recipe("trixie", &systems).unwrap(),
            bridge: "other0".to_owned(),
            ..LxcSpec::default()
        })
    }

    #[test]
    fn what_is_up_serves_who_asks_for_its_nodes_and_suite() {
        let asked = |nodes, suite: Suite| spec(None, Some(nodes), Some(suite.name())).unwrap();
        let both = up(&["dqlite", "lxd"]);
        assert!(serves(&both, &asked(3, Suite::Trixie)));
        assert!(!serves(&both, &asked(4, Suite::Trixie)));
        assert!(!serves(&both, &asked(3, Suite::Bookworm)));
        assert!(!serves(&up(&["lxd"]), &asked(3, Suite::Trixie)));
    }
}
