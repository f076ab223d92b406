//! `harness run`: configuration and lab become a setting, `harness-run` does it, then it is judged and reported.

use std::{sync::Arc, time::Duration};

use harness_core::{
    exit::Exit,
    meta::{self, Meta, Plan},
    seed::Seed,
};
use harness_lab::{Node, lab::Lab, provider::LabSpec, state::State};
use harness_nemesis::{
    exec::PrepareError,
    plan::{Kind, Lane, Timing},
};
use harness_run::{
    cancel::{Cancel, Level},
    check::Limits,
    clock,
    conduct::{self, ConductError, Setting},
    live::Live,
    signals,
    store::RunFolder,
};
use harness_workloads::{
    judges,
    sim::{self, Sim},
    systems::{System, dqlite, lxd},
};
use serde_json::{Value, json};

mod offered;
mod repeat;

use offered::NotOffered;

use super::{faults_asked::FaultsAsked, lab, sources};
use crate::{
    args::RunArgs,
    elevate,
    failure::{Failure, chain},
    options::{RunConfig, RunOptions, from_file},
    progress::{Bars, watch_run},
    terminal,
};

/// Nodes that a simulation has if nobody says how many.
const SIMULATED_NODES: usize = 5;
/// The configuration file that is read if no other is named.
const CONFIG_FILE: &str = "harness.yaml";

/// What all runs of one call share.
struct Session {
    args: RunArgs,
    config: RunConfig,
    faults: FaultsAsked,
    spec: Option<LabSpec>,
    cancel: Cancel,
}

/// Runs, once or several times.
pub fn run(args: RunArgs) -> Result<Exit, Failure> {
    let config = RunConfig::from_options(&merged(&args)?)?;
    let faults = FaultsAsked::read(&config.nemesis)?;
    faults.fit(&config.workload)?;
    let wipes = faults.lanes.iter().any(|lane| lane.kind == Kind::Wipe);
    if wipes && config.workload.membership().is_some() {
        return Err(Failure::usage(format!(
            "nemesis: {}",
            PrepareError::WipeAmongChanges
        )));
    }
    let spec = spec(&config, &faults.lanes)?;
    let seed = config.seed.unwrap_or_else(fresh_seed);
    let session = Session {
        args,
        config,
        faults,
        spec,
        cancel: Cancel::new(),
    };
    // Refused before anything is touched, and before anybody is asked for a password.
    session.config.check_nodes(&session.node_names())?;
    let plan = session.plan(seed, &session.node_names())?;
    if session.args.dry_run {
        return Ok(session.dry_run(seed, &plan));
    }
    if let Some(spec) = &session.spec {
        lab::elevate_for(spec)?;
    }
    super::runtime()?.block_on(session.all(seed))
}

/// Flags and environment, then the file.
fn merged(args: &RunArgs) -> Result<RunOptions, Failure> {
    let file =
        match &args.config {
            Some(path) => Some(from_file(path)?.ok_or_else(|| {
                Failure::usage(format!("{}: there is no such file", path.display()))
            })?),
            None => from_file(CONFIG_FILE.as_ref())?,
        };
    let mut options = args.options.clone().or(file.unwrap_or_default());
    if options.system.as_deref() == Some("sim") {
        // An environment tells where somebody's labs are, whatever is run; a flag or a file means this run.
        let told = |variable: &str| std::env::var_os(variable);
        options
            .lab
            .take_if(|lab| told("HARNESS_LAB").is_some_and(|told| lab.as_os_str() == told));
        options
            .suite
            .take_if(|suite| told("HARNESS_SUITE").is_some_and(|told| told == suite.as_str()));
    }
    Ok(options)
}

/// The lab that the run needs; none for a simulation.
fn spec(config: &RunConfig, lanes: &[Lane]) -> Result<Option<LabSpec>, Failure> {
    if config.system == "sim" {
        if let Some(lane) = lanes.first() {
            return Err(Failure::usage(format!(
                "nemesis: {} needs real nodes, and the simulated system has none; use --nemesis none",
                lane.kind.as_str()
            )));
        }
        if let Some(plant) = &config.plant {
            plant
                .parse::<harness_workloads::sim::Plant>()
                .map_err(|error| Failure::usage(format!("plant: {error}")))?;
        }
        return Ok(None);
    }
    let spec = lab::spec_or_up(config.lab.as_deref(), config.nodes, config.suite.as_deref())?;
    if config.system == "lxd" {
        return lab::with_lxd(spec).map(Some);
    }
    Ok(Some(spec))
}

fn fresh_seed() -> Seed {
    // Any number will do; a short one is easier to repeat.
    let mixed = clock::wall_ns() ^ (u64::from(std::process::id()) << 32);
    Seed(mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40)
}

impl Session {
    fn node_names(&self) -> Vec<String> {
        match &self.spec {
            None => sim::nodes(self.config.nodes.unwrap_or(SIMULATED_NODES))
                .iter()
                .map(|node| node.name.to_string())
                .collect(),
            Some(spec) => spec.node_names(),
        }
    }

    fn plan(&self, seed: Seed, names: &[String]) -> Result<Plan, Failure> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let timing = Timing {
            on_ms: ms(self.config.fault_on),
            off_ms: ms(self.config.fault_off),
            load_ms: ms(self.config.time_limit),
        };
        self.faults.plan(seed, &names, timing)
    }

    fn dry_run(&self, seed: Seed, plan: &Plan) -> Exit {
        let config = self.config_json(seed);
        let offers = offered::offers(self.spec.as_ref(), &self.faults.lanes);
        if self.args.json {
            let not_offered: Vec<Value> =
                offers.not_offered.iter().map(NotOffered::value).collect();
            let all = json!({
                "config": config, "plan": plan, "not_offered": not_offered, "by_relay": offers.by_relay,
            });
            terminal::print(&all.to_string());
            return Exit::Valid;
        }
        terminal::print("configuration, merged:");
        for (name, value) in config.as_object().into_iter().flatten() {
            terminal::print(&format!("  {name}: {}", plain(value)));
        }
        terminal::print("faults, planned:");
        if plan.faults.is_empty() {
            terminal::print("  none");
        }
        for fault in &plan.faults {
            let mut waits = match &fault.trigger {
                None => String::new(),
                Some(trigger) => format!(", waits for {trigger}"),
            };
            if let Some(until) = &fault.until {
                waits = format!("{waits}, or until {until}");
            }
            let name = self.faults.name(fault.lane);
            let name = name.map_or_else(String::new, |name| format!("{name}: "));
            let options: String = fault
                .options
                .iter()
                .map(|(name, value)| format!(", {name} {value}"))
                .collect();
            terminal::print(&format!(
                "  {:>7.1} s to {:>7.1} s  {name}{} {}{options}{waits}",
                Duration::from_millis(fault.inject_ms).as_secs_f64(),
                Duration::from_millis(fault.heal_ms).as_secs_f64(),
                fault.kind,
                fault.target
            ));
        }
        for lane in &self.faults.lanes {
            terminal::print(&format!(
                "{} {}: {}",
                lane.kind.as_str(),
                lane.target,
                lane.target.meaning(lane.kind)
            ));
        }
        for lacking in offers.not_offered {
            terminal::print(&lacking.to_string());
        }
        if !offers.by_relay.is_empty() {
            terminal::print(&format!(
                "{}: by a relay of the agent, in user space, where nodes share this kernel: it has no netem",
                offers.by_relay.join(", ")
            ));
        }
        Exit::Valid
    }

    fn config_json(&self, seed: Seed) -> Value {
        let config = &self.config;
        let lab = self
            .spec
            .as_ref()
            .map_or_else(|| "none (SIMULATION)".to_owned(), LabSpec::summary);
        json!({
            "system": config.system,
            "workload": config.workload,
            "nemesis": config.nemesis,
            "lab": lab,
            "time_limit_s": config.time_limit.as_secs_f64(),
            "seed": seed.to_string(),
            "rate": config.rate,
            "concurrency": config.concurrency.clients(self.node_names().len()),
            "op_timeout_ms": config.op_timeout.as_millis(),
            "recovery_timeout_ms": config.recovery_timeout.as_millis(),
            "fault_on_ms": config.fault_on.as_millis(),
            "fault_off_ms": config.fault_off.as_millis(),
            "agent_heals_after_ms": config.agent_heals_after.as_millis(),
            "sample_interval_ms": config.sample_interval(self.node_names().len()).as_millis(),
            "lxd": (config.system == "lxd").then_some(&config.lxd),
            "data_size_bytes": config.data_size_bytes,
            "data_layer": config.data_layer,
            "trace": config.trace,
            "plant": config.plant,
            "check_timeout_ms": config.check_timeout.as_millis(),
            "check_memory_bytes": config.check_memory_bytes,
        })
    }

    async fn all(&self, first: Seed) -> Result<Exit, Failure> {
        let _signals = signals::listen(self.cancel.clone(), |name, level| {
            terminal::say(match level {
                Level::Leave => "harness: leaving at once, after healing",
                _ if name == "SIGINT" => {
                    "harness: interrupted; ending the load, healing, judging what there is (once more leaves at once)"
                }
                _ => "harness: told to end; ending the load, healing, judging what there is",
            });
        })
        .map_err(|error| Failure::because("signals cannot be caught", &error))?;
        let Some(spec) = &self.spec else {
            return self.repeated(first, None).await;
        };
        let state = lab::state()?;
        let lock = lab::lock(&state, "run")?;
        let open = lab::open_faults(&state);
        if let Some(fault) = open.first() {
            return Err(Failure::usage(format!(
                "an earlier run left a fault that is not healed ({}); harness lab heal",
                fault.label
            )));
        }
        let options = lab::up_options();
        let up = tokio::select! {
            up = lab::bring_up(&state, &lock, spec, &options) => up?,
            () = self.cancel.reached(Level::Stop) => return Ok(Exit::Interrupted),
        };
        let exit = self.repeated(first, Some((&state, &up))).await;
        up.close().await;
        if self.args.down {
            harness_lab::lab::down(&state, &lock)
                .await
                .map_err(|error| lab::failure(&error))?;
        }
        exit
    }

    async fn repeated(&self, first: Seed, lab: Option<(&State, &Lab)>) -> Result<Exit, Failure> {
        let mut worst = Exit::Valid;
        for number in 0..self.args.repeat {
            // Each seed follows from the first, and the first stays what was asked for.
            let seed = Seed(first.0.wrapping_add(u64::from(number)));
            worst = worst.worst(self.once(seed, lab).await?);
            if self.cancel.is_raised() || matches!(worst, Exit::LabDirty | Exit::HarnessFailure) {
                break;
            }
        }
        Ok(worst)
    }

    async fn once(&self, seed: Seed, lab: Option<(&State, &Lab)>) -> Result<Exit, Failure> {
        let nodes = match lab {
            Some((_, lab)) => lab.nodes.clone(),
            None => sim::nodes(self.node_names().len()),
        };
        let plan = self.plan(seed, &self.node_names())?;
        let system = self.system(seed, &nodes)?;
        let nemesis = self.faults.kinds();
        let kind = format!(
            "{}-{}-{}",
            self.config.system,
            self.config.workload.name(),
            nemesis.join("+")
        );
        let folder = sources::store(&self.config.results)
            .create(&kind, clock::wall_ns())
            .map_err(|error| Failure::usage(chain(&error)))?;
        let active = lab.map(|(state, _)| state.root().join("ledger.jsonl"));
        if let (Some((state, _)), Some(active)) = (lab, &active) {
            state
                .set_active_ledger(Some(active))
                .map_err(|error| Failure::harness(chain(&error)))?;
        }
        let bars = Arc::new(Bars::new());
        bars.line(&format!("run {}  seed {seed}", folder.id()));
        let live = Arc::new(Live::default());
        let watching = watch_run(Arc::clone(&bars), Arc::clone(&live));
        let setting = Setting {
            meta: self.meta(seed, nemesis, &folder, lab.map(|(_, lab)| lab), &nodes),
            system,
            sample_interval: self.config.sample_interval(nodes.len()),
            agent_heals_after: self.config.agent_heals_after,
            workload: self.config.workload.clone(),
            plan,
            seed,
            concurrency: self.config.concurrency.clients(nodes.len()),
            rate: self.config.rate,
            time_limit: self.config.time_limit,
            op_timeout: self.config.op_timeout,
            recovery_timeout: self.config.recovery_timeout,
            leave_running: self.args.leave_running,
            nodes,
            folder: folder.clone(),
            active_ledger: active,
            point: None,
            functions: None,
        };
        let conducted = conduct::conduct(setting, &live, &self.cancel).await;
        watching.abort();
        let clean = conducted.as_ref().is_ok_and(|done| done.heal.is_clean());
        if let (Some((state, _)), true) = (lab, clean) {
            state
                .set_active_ledger(None)
                .map_err(|error| Failure::harness(chain(&error)))?;
        }
        let ended = match conducted {
            Ok(_) => self.judge(&folder, &bars).await,
            Err(error) => self.failed(&error, &folder),
        };
        bars.clear();
        // The user's, also if we are root for them.
        if let Err(error) = folder.hand_over() {
            terminal::say(&format!("harness: {}", chain(&error)));
        }
        ended
    }

    fn failed(&self, error: &ConductError, folder: &RunFolder) -> Result<Exit, Failure> {
        if matches!(error, ConductError::Abandoned) {
            return Ok(Exit::Interrupted);
        }
        let told = format!(
            "{}; logs are in {}",
            chain(error),
            sources::shown(&folder.path("logs")).display()
        );
        match error {
            ConductError::Nemesis(refused) if refused.is_refusal() => Err(Failure::usage(told)),
            _ => Err(Failure::harness(told)),
        }
    }

    async fn judge(&self, folder: &RunFolder, bars: &Arc<Bars>) -> Result<Exit, Failure> {
        let (folder, bars) = (folder.clone(), Arc::clone(bars));
        let limits = Limits {
            time: self.config.check_timeout,
            memory_bytes: self.config.check_memory_bytes,
        };
        let as_json = self.args.json;
        tokio::task::spawn_blocking(move || {
            bars.live("check: judging what was recorded");
            let run = sources::load_folder(folder)?;
            let asked = judges::asked(&run.meta);
            let (verdict, _) = sources::judge_run(&run, &asked, limits, false)?;
            run.folder
                .write_verdict(&verdict)
                .map_err(|error| Failure::because("the verdict cannot be stored", &error))?;
            sources::with_model(&run, &verdict, |model| {
                sources::write_reports(&run, model);
                bars.clear();
                sources::print_results(model, as_json);
            });
            for failure in &run.meta.harness_failures {
                terminal::say(&format!("harness: {failure}"));
            }
            if run.meta.lab_dirty {
                terminal::say("harness: faults are left on the nodes; harness lab heal");
            }
            Ok(sources::exit(&run.meta, &verdict))
        })
        .await
        .map_err(|error| Failure::because("judging panicked", &error))?
    }

    fn system(&self, seed: Seed, nodes: &[Node]) -> Result<Arc<dyn System>, Failure> {
        if self.config.system == "sim" {
            let plant = self.config.plant.as_deref().map(str::parse).transpose();
            let plant = plant.map_err(|error| Failure::usage(format!("plant: {error}")))?;
            return Ok(Arc::new(Sim::new(seed, plant)));
        }
        match self.config.system.as_str() {
            "lxd" => {
                let system = lxd::Lxd::new(nodes, self.config.lxd.clone());
                Ok(Arc::new(
                    system.map_err(|error| Failure::usage(error.to_string()))?,
                ))
            }
            _ => {
                let options = dqlite::Options {
                    trace: self.config.trace,
                    data_size_bytes: self.config.data_size_bytes,
                    data_layer: self.config.data_layer,
                };
                Ok(Arc::new(dqlite::Dqlite::new(nodes, options)))
            }
        }
    }

    fn meta(
        &self,
        seed: Seed,
        nemesis: Vec<String>,
        folder: &RunFolder,
        lab: Option<&Lab>,
        nodes: &[Node],
    ) -> Meta {
        let mut options = self.config.workload.options();
        options["recovery_timeout_ms"] = json!(self.config.recovery_timeout.as_millis() as u64);
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        // Who lives at the end of a run that changes the membership, its history says.
        if self.config.workload.membership().is_none() {
            options["live_nodes"] = json!(names);
        }
        let record = lab.map(|lab| &lab.record);
        let image = record
            .and_then(|record| record.image.clone())
            .unwrap_or_default();
        Meta {
            format_version: meta::FORMAT_VERSION,
            id: folder.id().to_owned(),
            harness_version: env!("CARGO_PKG_VERSION").to_owned(),
            git_commit: option_env!("HARNESS_GIT_COMMIT").map(ToOwned::to_owned),
            system: self.config.system.clone(),
            simulated: self.config.system == "sim",
            workload: self.config.workload.name().to_owned(),
            nemesis,
            provider: record
                .map_or_else(String::new, |record| record.spec.kind().name().to_owned()),
            suite: record
                .and_then(|record| record.spec.recipe())
                .map_or_else(String::new, |recipe| recipe.suite().to_string()),
            image_hash: image,
            seed: seed.0,
            time_limit_s: self.config.time_limit.as_secs_f64(),
            started_wall_ns: clock::wall_ns(),
            config: self.config_json(seed),
            workload_options: options,
            command_line: std::env::args().collect(),
            repeat: repeat::arguments(
                merged(&self.args).unwrap_or_default(),
                &self.config,
                self.spec.as_ref(),
                seed,
            ),
            environment: environment(),
            ..Meta::default()
        }
    }
}

/// A value without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn environment() -> std::collections::BTreeMap<String, String> {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
    let memory = read("/proc/meminfo").ok().and_then(|text| {
        text.lines().find_map(|line| {
            line.strip_prefix("MemTotal:")
                .map(|rest| rest.trim().to_owned())
        })
    });
    let processors = std::thread::available_parallelism().map(|count| count.to_string());
    [
        ("kernel", read("/proc/sys/kernel/osrelease").ok()),
        ("memory", memory),
        ("processors", processors.ok()),
        (
            "elevated by sudo",
            elevate::is_root()
                .then(|| std::env::var("SUDO_USER").ok())
                .flatten(),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}
