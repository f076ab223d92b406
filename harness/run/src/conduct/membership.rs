//! What a run of the workload `membership` has besides: nodes that stand by, the sampler, settling, probes.

use std::{sync::Arc, time::Duration};

use harness_core::{generator::Combine, view::Source};
use harness_lab::{Node, capability::Membership};
use harness_nemesis::exec::Members;
use harness_workloads::{
    client::Clients,
    membership::{Group, MembershipClients, client::Needs},
    systems::Timing,
    workload::{
        Kind,
        membership::{Cast, Parameters, probes::Probes, roster::Roster},
        set,
    },
};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};

use super::{ConductError, Run, Setting, load::Part};
use crate::{
    cancel::Cancel,
    clock::RunClock,
    deadlines::Deadlines,
    recorder::Recorder,
    sampler::{READ_TIMEOUT, SampleError, Sampler, Sampling},
};

/// How long sources may differ after a disturbance where the system does not say: what checkers take then.
const SETTLE: Duration = Duration::from_secs(30);
/// Sampling intervals that are waited beyond the settle time.
const SETTLE_MARGIN_INTERVALS: u32 = 2;
/// Sampling intervals that are waited after a join that was asked for again: one round begins and ends in them.
const LOOK_INTERVALS: u32 = 3;
/// Complete rounds after settling: what two in a row say alike was so in between, in all places at once.
const COMPLETE_ROUNDS: usize = 2;

/// What changes the membership, and what knows about it.
pub(super) struct Changing {
    cast: Cast,
    parameters: Parameters,
    membership: Arc<dyn Membership>,
    timing: Timing,
    sources: Vec<Source>,
    group: Arc<Group>,
    clients: MembershipClients,
}

impl Changing {
    /// None if the workload leaves the membership alone.
    pub(super) fn new(setting: &Setting) -> Result<Option<Self>, ConductError> {
        let Some(parameters) = setting.workload.membership() else {
            return Ok(None);
        };
        let names: Vec<Arc<str>> = setting
            .nodes
            .iter()
            .map(|node| node.name.as_str().into())
            .collect();
        let cast = parameters.cast(&names).map_err(ConductError::Membership)?;
        let handles = setting.system.handles();
        let Some(membership) = handles.membership else {
            return Err(ConductError::Membership(format!(
                "{} offers no joining and removing of members; choose another --workload",
                setting.system.name()
            )));
        };
        let places = handles.sources.iter().flat_map(|sources| sources.places());
        let mut sources: Vec<Source> = places.map(|place| place.source).collect();
        sources.sort_unstable();
        sources.dedup();
        let group = Arc::new(Group::new(&setting.nodes, cast.initial.len()));
        let data = Kind::Set(set::Parameters::default());
        let needs = Needs {
            membership: Arc::clone(&membership),
            leader: handles.leader,
            start: handles.start,
            data: setting.system.clients(&setting.nodes, &data),
        };
        Ok(Some(Self {
            clients: MembershipClients::new(&setting.nodes, Arc::clone(&group), parameters, needs),
            cast,
            parameters: parameters.clone(),
            membership,
            timing: setting.system.timing().unwrap_or(Timing {
                settle: SETTLE,
                max_voters: None,
                heartbeat: SETTLE / 2,
            }),
            sources,
            group,
        }))
    }

    /// Tells the checkers what they must know: fields of `workload_options`.
    pub(super) fn tell(&self, setting: &Setting, options: &mut Value) {
        let settle_ms = self.timing.settle.as_nanos().div_ceil(1_000_000);
        options["initial_members"] = json!(self.cast.initial);
        options["settle_ms"] = json!(u64::try_from(settle_ms).unwrap_or(u64::MAX));
        if let Some(point) = &setting.point {
            options["settle_ms"] = json!(point.unchanged_ms());
        }
        options["canary"] = json!(self.cast.canary);
        options["floor"] = json!(self.cast.floor);
        if setting.system.handles().sources.is_some() {
            options["sources"] = json!(self.sources);
        }
        if let Some(max_voters) = self.timing.max_voters {
            options["max_voters"] = json!(max_voters);
        }
    }

    /// Members at first.
    pub(super) fn initial(&self) -> usize {
        self.cast.initial.len()
    }

    pub(super) fn clients(&self) -> Arc<dyn Clients> {
        Arc::new(self.clients.clone())
    }

    pub(super) fn deadlines(&self, usual: Duration) -> Deadlines {
        let parameters = self.parameters.clone();
        Deadlines::new(usual, move |f| MembershipClients::deadline(&parameters, f))
    }

    /// For the nemesis: who is a member now.
    pub(super) fn members(&self) -> Arc<dyn Members> {
        Arc::new(KnownMembers(Arc::clone(&self.group)))
    }

    /// Makes these ready to join, all at once.
    pub(super) async fn stand_by(&self, nodes: &[Node]) -> Result<(), ConductError> {
        let mut readying = JoinSet::new();
        for node in nodes {
            let node = node.clone();
            let membership = Arc::clone(&self.membership);
            readying.spawn(async move { membership.stand_by(&node).await });
        }
        while let Some(ready) = readying.join_next().await {
            let ready = ready.map_err(|error| ConductError::Panicked(error.to_string()))?;
            ready.map_err(harness_workloads::systems::SystemError::from)?;
        }
        Ok(())
    }

    fn roster(&self, recorder: &Recorder) -> Roster {
        let initial = self.cast.initial.iter().map(|name| &**name);
        Roster::new(initial).after(&recorder.changes())
    }
}

struct KnownMembers(Arc<Group>);

impl Members for KnownMembers {
    fn members(&self) -> Vec<String> {
        self.0.members()
    }

    fn wipings(&self, node: &str) -> u64 {
        self.0.wipings(node)
    }
}

impl Run<'_> {
    /// Samples from now on, where the workload changes the membership and the system can be read.
    pub(super) fn start_sampler(&mut self, clock: RunClock) -> Result<(), ConductError> {
        let sources = self.setting.system.handles().sources;
        if let (Some(_), Some(sources)) = (&self.changing, sources) {
            let sampling = Sampling {
                nodes: self.setting.nodes.clone(),
                sources,
                interval: self.setting.sample_interval,
                read_timeout: READ_TIMEOUT,
                clock,
            };
            let path = self.setting.folder.path("views.jsonl");
            let sampler = Sampler::start(&path, sampling)?;
            self.live.show_members(sampler.said());
            self.sampler = Some(sampler);
        }
        Ok(())
    }

    pub(super) async fn end_sampler(&mut self) {
        if let Some(sampler) = self.sampler.take() {
            match sampler.finish().await {
                Ok(views) => tracing::debug!(views, "the views are written"),
                Err(error) => self.unsampled(&error),
            }
        }
    }

    fn unsampled(&mut self, error: &SampleError) {
        self.meta.harness_failures.push(error.to_string());
    }

    /// Nodes that are certainly members: all, if nobody changes that.
    pub(super) fn certain_members(&self, recorder: &Recorder) -> Vec<Node> {
        let Some(changing) = &self.changing else {
            return self.setting.nodes.clone();
        };
        let roster = changing.roster(recorder);
        let certain = roster.certain();
        let nodes = self.setting.nodes.iter();
        nodes
            .filter(|node| certain.contains(&node.name.as_str()))
            .cloned()
            .collect()
    }

    /// Waits until the sources may no longer differ, and reads all of them.
    pub(super) async fn settle(&mut self) -> Result<(), ConductError> {
        let Some(changing) = &self.changing else {
            return Ok(());
        };
        let margin = self.setting.sample_interval * SETTLE_MARGIN_INTERVALS;
        let length = changing.timing.settle + margin;
        self.begin_phase("settle", Some(length))?;
        sleep(length).await;
        for _ in 0..COMPLETE_ROUNDS {
            self.look_once_more().await;
        }
        Ok(())
    }

    /// Reads every place of every node.
    pub(super) async fn look_once_more(&mut self) {
        if let Some(sampler) = &self.sampler
            && let Err(error) = sampler.complete_round().await
        {
            self.unsampled(&error);
        }
    }

    /// Tries whether the membership can still be changed: the canary, members in doubt, removed nodes.
    pub(super) async fn probe(&mut self, recorder: &Recorder) -> Result<(), ConductError> {
        let Some(changing) = &self.changing else {
            return Ok(());
        };
        let roster = changing.roster(recorder);
        let joins = match changing.membership.joins_unwiped() {
            true => roster.joins_in_doubt(),
            false => Vec::new(),
        };
        let probes = Probes::new(&changing.cast.canary, roster.in_doubt(), roster.removed())
            .asking_unwiped(&joins, self.setting.sample_interval * LOOK_INTERVALS);
        self.begin_phase("probes", None)?;
        self.interpret(Part {
            generator: probes.boxed(),
            clients: self.clients(),
            concurrency: 1,
            deadlines: self.deadlines(),
            recorder: recorder.clone(),
            cancel: Cancel::new(),
        })
        .await
    }
}
