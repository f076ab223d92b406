//! `harness lab`: images and nodes.

use std::{path::PathBuf, sync::Arc};

use harness_core::{exit::Exit, fault};
use harness_lab::{
    Exec, ExitStatus, Node,
    image::{BuildOptions, ImageStore},
    lab::{self, Lab, UpOptions},
    provider::{LabError, LabSpec, NodeState},
    state::{RunLock, State},
};

mod choice;

use choice::recipe;
pub use choice::{spec_or_up, with_lxd};

use crate::{
    args::{ImageCommand, LabArgs, LabChoice, LabCommand},
    elevate,
    failure::{Failure, chain},
    options::parse_time,
    progress::Bars,
    terminal,
};

/// Calls the subcommand.
pub fn lab(args: LabArgs) -> Result<Exit, Failure> {
    match args.command {
        LabCommand::Image(args) => image(args.command),
        LabCommand::Up {
            choice,
            adopt,
            recreate,
        } => up(&choice, adopt, recreate),
        LabCommand::Status { json } => status(json),
        LabCommand::Exec {
            node,
            command,
            timeout,
        } => exec(&node, command, &timeout),
        LabCommand::Heal { run, purge } => heal(run, purge),
        LabCommand::Down => down(),
    }
}

/// How a lab is brought up, with the environment's mirror for an image that must be built.
#[must_use]
pub fn up_options() -> UpOptions {
    let mirror = std::env::var("HARNESS_MIRROR").ok();
    UpOptions {
        build: BuildOptions {
            mirror: mirror.filter(|mirror| !mirror.is_empty()),
        },
        ..UpOptions::default()
    }
}

/// Becomes root if the lab needs it.
pub fn elevate_for(spec: &LabSpec) -> Result<(), Failure> {
    if spec.kind().needs_root() {
        return elevate::require_root("a lab whose nodes are made");
    }
    Ok(())
}

/// The state folder. A folder that cannot be used is a matter of configuration.
pub fn state() -> Result<State, Failure> {
    State::from_environment().map_err(|error| Failure::usage(chain(&error)))
}

/// Becomes root if the lab that is recorded needs it, or if what is recorded cannot be read.
pub fn elevate_to_look() -> Result<(), Failure> {
    match State::look_from_environment().map(|state| state.read_lab()) {
        Ok(Ok(None)) => Ok(()),
        Ok(Ok(Some(record))) => elevate_for(&record.spec),
        Ok(Err(_)) | Err(_) => elevate::require_root("the state folder of the lab"),
    }
}

/// Becomes root unless the lab that is recorded does not need it: something may be left of one that is not recorded.
fn elevate_to_change() -> Result<(), Failure> {
    match State::look_from_environment().map(|state| state.read_lab()) {
        Ok(Ok(Some(record))) => elevate_for(&record.spec),
        _ => elevate::require_root("a lab whose nodes are made"),
    }
}

/// Takes the lock, or says who has it.
pub fn lock(state: &State, purpose: &str) -> Result<RunLock, Failure> {
    state
        .lock(purpose)
        .map_err(|error| Failure::usage(chain(&error)))
}

/// A lab error as a failure: what the user can mend is 254.
pub fn failure(error: &LabError) -> Failure {
    match error {
        LabError::Different { .. } | LabError::NoLab | LabError::Spec(_) | LabError::Subnet(_) => {
            Failure::usage(chain(error))
        }
        _ => Failure::harness(chain(error)),
    }
}

fn image(command: ImageCommand) -> Result<Exit, Failure> {
    let store = |state: &State| ImageStore::new(state);
    match command {
        ImageCommand::Build {
            suite,
            with,
            mirror,
        } => {
            if with.iter().all(String::is_empty) {
                return Err(Failure::usage(
                    "with: an image without a system is of no use; name one or several: dqlite, lxd",
                ));
            }
            let recipe = recipe(&suite, &with)?;
            elevate::require_root("building an image")?;
            let state = state()?;
            let bars = Bars::new();
            let mut tell = |step: &harness_lab::image::Progress| bars.image(step);
            let built = store(&state)
                .build(&recipe, &BuildOptions { mirror }, &mut tell)
                .map_err(|error| Failure::harness(chain(&error)));
            bars.clear();
            let built = built?;
            terminal::print(&format!(
                "{}  {} MB, built in {:.1} s\n",
                built.name,
                built.meta.size_bytes / 1_000_000,
                built.meta.build_ms as f64 / 1000.0
            ));
        }
        ImageCommand::List { json } => {
            elevate_to_look()?;
            let images = store(&state()?)
                .list()
                .map_err(|error| Failure::harness(chain(&error)))?;
            if json {
                let metas: Vec<_> = images
                    .iter()
                    .map(|image| serde_json::json!({ "name": image.name, "meta": image.meta }))
                    .collect();
                terminal::print(&serde_json::Value::from(metas).to_string());
            } else if images.is_empty() {
                terminal::say("no images yet; harness lab image build makes one");
            } else {
                for image in images {
                    terminal::print(&format!(
                        "{}  {} MB  {}\n",
                        image.name,
                        image.meta.size_bytes / 1_000_000,
                        image.meta.recipe
                    ));
                }
            }
        }
        ImageCommand::Remove { name } => {
            elevate::require_root("removing an image")?;
            store(&state()?)
                .remove(&name)
                .map_err(|error| Failure::usage(chain(&error)))?;
        }
    }
    Ok(Exit::Valid)
}

/// Brings the lab up with a progress bar.
pub async fn bring_up(
    state: &State,
    lock: &RunLock,
    spec: &LabSpec,
    options: &UpOptions,
) -> Result<Lab, Failure> {
    let bars = Arc::new(Bars::new());
    let shown = Arc::clone(&bars);
    let up = lab::up(
        state,
        lock,
        spec,
        options,
        &(Arc::new(move |step: &harness_lab::provider::LabProgress| shown.lab(step)) as _),
    )
    .await;
    bars.clear();
    up.map_err(|error| failure(&error))
}

fn up(choice: &LabChoice, adopt: bool, recreate: bool) -> Result<Exit, Failure> {
    let spec = spec_or_up(choice.lab.as_deref(), choice.nodes, choice.suite.as_deref())?;
    elevate_for(&spec)?;
    let state = state()?;
    let lock = lock(&state, "lab up")?;
    let options = UpOptions {
        adopt,
        recreate,
        ..up_options()
    };
    let began = std::time::Instant::now();
    runtime_block(async {
        let lab = bring_up(&state, &lock, &spec, &options).await?;
        terminal::say(&format!(
            "{} nodes up in {:.1} s",
            lab.nodes.len(),
            began.elapsed().as_secs_f64()
        ));
        for node in &lab.nodes {
            terminal::print(&format!("{}  {}\n", node.name, node.address));
        }
        lab.close().await;
        Ok(Exit::Valid)
    })
}

fn status(json: bool) -> Result<Exit, Failure> {
    elevate_to_look()?;
    let state = state()?;
    runtime_block(async {
        let status = lab::status(&state).await.map_err(|error| failure(&error))?;
        let open = open_faults(&state);
        let Some(status) = status else {
            if json {
                terminal::print(
                    &serde_json::json!({ "lab": null, "open_faults": open.len() }).to_string(),
                );
            } else {
                terminal::print("no lab is up; harness lab up brings one up\n");
            }
            return Ok(Exit::Valid);
        };
        if json {
            terminal::print(
                &serde_json::json!({ "lab": status, "open_faults": open.len() }).to_string(),
            );
        } else {
            terminal::print(&format!("{}\n", status.record.spec.summary()));
            for node in &status.nodes {
                let word = serde_json::to_value(node.state)
                    .ok()
                    .and_then(|word| word.as_str().map(ToOwned::to_owned))
                    .unwrap_or_default();
                terminal::print(&format!(
                    "{}  {}  {word}  {}\n",
                    node.name, node.address, node.detail
                ));
            }
            for fault in &open {
                terminal::print(&format!(
                    "fault {} is not healed: {}; harness lab heal\n",
                    fault.id, fault.label
                ));
            }
        }
        let all_up = status.nodes.iter().all(|node| node.state == NodeState::Up);
        Ok(if !open.is_empty() {
            Exit::LabDirty
        } else if status.healthy && all_up {
            Exit::Valid
        } else {
            Exit::Unknown
        })
    })
}

/// Faults of the active ledger that nobody has undone yet.
pub fn open_faults(state: &State) -> Vec<fault::FaultRecord> {
    let Ok(Some(path)) = state.active_ledger() else {
        return Vec::new();
    };
    let Ok(bytes) = std::fs::read(path) else {
        return Vec::new();
    };
    let Ok(lines) = fault::decode(&bytes) else {
        return Vec::new();
    };
    let mut records = fault::fold(&lines);
    records.retain(fault::FaultRecord::is_open);
    records
}

fn exec(name: &str, command: Vec<String>, timeout: &str) -> Result<Exit, Failure> {
    let timeout = parse_time("timeout", timeout)?;
    elevate_to_look()?;
    let state = state()?;
    runtime_block(async {
        let lab = Lab::load(&state).map_err(|error| failure(&error))?;
        let chosen: Vec<Node> = if name == "all" {
            lab.nodes.clone()
        } else {
            vec![lab.node(name).cloned().ok_or_else(|| {
                let names: Vec<&str> = lab.nodes.iter().map(|node| node.name.as_str()).collect();
                Failure::usage(format!(
                    "there is no node {name:?}; there are {}",
                    names.join(", ")
                ))
            })?]
        };
        let mut worst = 0;
        for node in &chosen {
            lab.assert_ours(node)
                .await
                .map_err(|error| Failure::harness(chain(&error)))?;
            let output = node
                .transport
                .exec(Exec::new(command.clone()).timeout(timeout))
                .await
                .map_err(|error| Failure::harness(chain(&error)))?;
            if chosen.len() > 1 {
                terminal::say(&format!("{}:", node.name));
            }
            terminal::print_bytes(&output.stdout);
            terminal::say_bytes(&output.stderr);
            worst = worst.max(match output.status {
                ExitStatus::Code(code) => code,
                ExitStatus::Signal(signal) => {
                    terminal::say(&format!("{}: ended by signal {signal}", node.name));
                    128 + signal
                }
                ExitStatus::TimedOut => {
                    terminal::say(&format!(
                        "{}: killed after {} s; --timeout gives it longer",
                        node.name,
                        timeout.as_secs_f64()
                    ));
                    124
                }
            });
        }
        lab.close().await;
        // The command's own code is what a script wants to see; it stands for nothing in our table.
        if worst != 0 {
            std::process::exit(worst.clamp(1, 255));
        }
        Ok(Exit::Valid)
    })
}

fn down() -> Result<Exit, Failure> {
    elevate_to_change()?;
    let state = state()?;
    let lock = lock(&state, "lab down")?;
    let record = state
        .read_lab()
        .map_err(|error| Failure::harness(chain(&error)))?;
    let stays = record.is_some_and(|record| matches!(record.spec, LabSpec::Ssh(_)));
    let open = open_faults(&state).len();
    if stays && open > 0 {
        return Err(Failure::usage(format!(
            "{open} faults are still in force on machines that stay when the lab is down; run `harness lab heal` first"
        )));
    }
    runtime_block(async {
        let removed = lab::down(&state, &lock)
            .await
            .map_err(|error| failure(&error))?;
        // Faults went with the nodes.
        if let Ok(Some(ledger)) = state.active_ledger() {
            let _ = std::fs::remove_file(ledger);
        }
        state
            .set_active_ledger(None)
            .map_err(|error| Failure::harness(chain(&error)))?;
        for what in &removed {
            terminal::say(&format!("removed {what}"));
        }
        if removed.is_empty() {
            terminal::say("nothing was up");
        }
        Ok(Exit::Valid)
    })
}

fn heal(run: Option<PathBuf>, purge: bool) -> Result<Exit, Failure> {
    // A mistake in a path is told whether a lab is up or not.
    if let Some(run) = &run
        && !run.join("ledger.jsonl").try_exists().unwrap_or(true)
    {
        return Err(Failure::usage(format!(
            "run: {}: no ledger.jsonl is there; name the folder of a run",
            run.display()
        )));
    }
    elevate_to_change()?;
    let state = state()?;
    let lock = lock(&state, "lab heal")?;
    runtime_block(async { crate::heal::heal(&state, &lock, run.as_deref(), purge).await })
}

fn runtime_block<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    super::runtime()?.block_on(future)
}
