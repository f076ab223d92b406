//! SIMULATION: a system in memory, for testing the harness itself.
//!
//! It is strictly serializable, as long as no [`Plant`] is chosen: then it lies in one way, now and then, so that
//! it can be seen that the checkers find it. Nothing here says anything about a real product, and every output of a
//! run on it says that it is a simulation.
//!
//! An operation takes effect at one instant between its invocation and its completion. A few end `info`,
//! half of those without effect.

use std::{
    collections::BTreeMap,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use harness_core::{event::OpError, format::MISMATCH, meta::ProcessExit, seed::Seed};
use harness_lab::Node;
use rand::Rng;
use serde_json::{Value, json};

use crate::{
    client::{Client, Clients, Completion, Invocation, OpenError},
    systems::{CoreDump, Handles, System, SystemError, Timing},
    workload::Kind,
};

mod cluster;
mod nodes;

pub use nodes::nodes;

/// One operation in so many is a lie, where a bug is planted.
const LIE_ONE_IN: u32 = 25;
/// One operation in so many ends `info`.
const INFO_ONE_IN: u32 = 100;
/// The longest that an operation takes on each side of its effect, in microseconds.
const DELAY_MAX_US: u64 = 2_000;
/// How long its sources of membership may differ after a change.
const SETTLE: Duration = Duration::from_millis(1500);
/// Voters that it keeps.
pub(crate) const VOTERS: usize = 3;

/// A bug to plant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// A write is acknowledged and not done.
    LostWrite,
    /// A read gives the value before the last.
    StaleRead,
    /// An element of the set that was acknowledged goes away later.
    VanishedElement,
    /// A transfer adds to one account and forgets to take from the other.
    BrokenTotal,
    /// The first join gets no further than database and truststore, and nobody is told.
    HalfJoin,
    /// Whoever joined first is not in raft afterwards.
    LostMember,
    /// Who was removed comes back a while later.
    Resurrection,
    /// Who was removed stays in raft.
    GhostAfterRemove,
}

/// The names of all bugs, for help and errors.
pub const PLANTS: [&str; 8] = [
    "lost-write",
    "stale-read",
    "vanished-element",
    "broken-total",
    "half-join",
    "lost-member",
    "resurrection",
    "ghost-after-remove",
];

impl FromStr for Plant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "lost-write" => Ok(Self::LostWrite),
            "stale-read" => Ok(Self::StaleRead),
            "vanished-element" => Ok(Self::VanishedElement),
            "broken-total" => Ok(Self::BrokenTotal),
            "half-join" => Ok(Self::HalfJoin),
            "lost-member" => Ok(Self::LostMember),
            "resurrection" => Ok(Self::Resurrection),
            "ghost-after-remove" => Ok(Self::GhostAfterRemove),
            other => Err(format!(
                "there is no bug {other:?} to plant; there are {}",
                PLANTS.join(", ")
            )),
        }
    }
}

#[derive(Default)]
struct State {
    registers: BTreeMap<i64, (Option<i64>, Option<i64>)>,
    elements: Vec<i64>,
    accounts: BTreeMap<i64, i64>,
    lists: BTreeMap<i64, Vec<i64>>,
}

/// The simulated system.
#[derive(Clone)]
pub struct Sim {
    state: Arc<Mutex<State>>,
    cluster: Arc<cluster::Cluster>,
    seed: Seed,
    plant: Option<Plant>,
}

impl Sim {
    /// An empty system.
    #[must_use]
    pub fn new(seed: Seed, plant: Option<Plant>) -> Self {
        Self {
            state: Arc::default(),
            cluster: Arc::new(cluster::Cluster::new(plant)),
            seed,
            plant,
        }
    }
}

#[async_trait]
impl System for Sim {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn simulated(&self) -> bool {
        true
    }

    fn handles(&self) -> Handles {
        Handles {
            membership: Some(self.cluster.clone()),
            sources: Some(self.cluster.clone()),
            ..Handles::default()
        }
    }

    fn timing(&self) -> Option<Timing> {
        Some(Timing {
            settle: SETTLE,
            max_voters: Some(VOTERS),
            heartbeat: SETTLE / 2,
        })
    }

    async fn versions(&self, _node: &Node) -> Result<BTreeMap<String, String>, SystemError> {
        Ok(BTreeMap::new())
    }

    async fn wipe(&self, _node: &Node) -> Result<(), SystemError> {
        Ok(())
    }

    async fn form(&self, nodes: &[Node]) -> Result<(), SystemError> {
        self.cluster.form(nodes);
        Ok(())
    }

    async fn prepare(&self, _nodes: &[Node], workload: &Kind) -> Result<(), SystemError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = State::default();
        if let Kind::Bank(parameters) = workload {
            state.accounts = parameters.initial().collect();
        }
        Ok(())
    }

    fn clients(&self, nodes: &[Node], workload: &Kind) -> Arc<dyn Clients> {
        Arc::new(SimClients {
            sim: self.clone(),
            nodes: nodes.iter().map(|node| node.name.as_str().into()).collect(),
            workload: Some(workload.clone()),
        })
    }

    fn probes(&self, nodes: &[Node]) -> Arc<dyn Clients> {
        Arc::new(SimClients {
            sim: self.clone(),
            nodes: nodes.iter().map(|node| node.name.as_str().into()).collect(),
            workload: None,
        })
    }

    async fn exits(&self, _node: &Node) -> Result<Vec<ProcessExit>, SystemError> {
        Ok(Vec::new())
    }

    async fn core_dumps(&self, _node: &Node) -> Result<Vec<CoreDump>, SystemError> {
        Ok(Vec::new())
    }
}

struct SimClients {
    sim: Sim,
    nodes: Vec<Arc<str>>,
    workload: Option<Kind>,
}

#[async_trait]
impl Clients for SimClients {
    fn node_of_thread(&self, thread: usize) -> Option<Arc<str>> {
        self.nodes.get(thread % self.nodes.len().max(1)).cloned()
    }

    async fn open(&self, _thread: usize, process: u64) -> Result<Box<dyn Client>, OpenError> {
        Ok(Box::new(SimClient {
            sim: self.sim.clone(),
            workload: self.workload.clone(),
            process,
            done: 0,
        }))
    }
}

struct SimClient {
    sim: Sim,
    workload: Option<Kind>,
    process: u64,
    done: u64,
}

#[async_trait]
impl Client for SimClient {
    async fn invoke(&mut self, invocation: Invocation<'_>) -> Completion {
        let (before, after, lie, info, effect) = {
            let stream = self.sim.seed.stream(&format!("sim/{}", self.process));
            let mut rng = stream.draw(self.done);
            (
                rng.random_range(0..DELAY_MAX_US),
                rng.random_range(0..DELAY_MAX_US),
                rng.random_ratio(1, LIE_ONE_IN),
                rng.random_ratio(1, INFO_ONE_IN),
                rng.random_bool(0.5),
            )
        };
        self.done += 1;
        tokio::time::sleep(Duration::from_micros(before)).await;
        let completion = if info && !effect {
            None
        } else {
            let mut state = self
                .sim
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let plant = self.sim.plant.filter(|_| lie);
            Some(apply(
                &mut state,
                self.workload.as_ref(),
                &invocation,
                plant,
            ))
        };
        tokio::time::sleep(Duration::from_micros(after)).await;
        match completion {
            Some(completion) if !info => completion,
            _ => Completion::Info(OpError {
                kind: "timeout".to_owned(),
                message: "the simulation did not answer".to_owned(),
            }),
        }
    }
}

fn fail(kind: &str, message: &str) -> Completion {
    Completion::Fail(OpError {
        kind: kind.to_owned(),
        message: message.to_owned(),
    })
}

fn apply(
    state: &mut State,
    workload: Option<&Kind>,
    invocation: &Invocation<'_>,
    plant: Option<Plant>,
) -> Completion {
    let value = invocation.value;
    match (workload, invocation.f) {
        (None, _) => Completion::Ok(json!("sim")),
        (Some(Kind::Register(_)), f) => register(state, f, value, plant),
        (Some(Kind::Set(_) | Kind::Membership(_)), "add") => {
            if let Some(element) = value.as_i64()
                && plant != Some(Plant::LostWrite)
            {
                state.elements.push(element);
            }
            if plant == Some(Plant::VanishedElement) && state.elements.len() > 1 {
                state.elements.remove(0);
            }
            Completion::Ok(value.clone())
        }
        (Some(Kind::Set(_) | Kind::Membership(_)), _) => {
            let stale = usize::from(plant == Some(Plant::StaleRead));
            let seen = state.elements.len().saturating_sub(stale);
            Completion::Ok(json!(state.elements[..seen]))
        }
        (Some(Kind::Bank(parameters)), f) => {
            bank(state, f, value, parameters.allow_negative, plant)
        }
        (Some(Kind::Append(_)), _) => append(state, value, plant),
    }
}

/// Sets a register and remembers what was there.
fn replace(
    now: &mut Option<i64>,
    before: &mut Option<i64>,
    new: Option<i64>,
    plant: Option<Plant>,
) {
    if plant != Some(Plant::LostWrite) {
        *before = std::mem::replace(now, new);
    }
}

fn register(state: &mut State, f: &str, value: &Value, plant: Option<Plant>) -> Completion {
    let (now, before) = state
        .registers
        .entry(value[0].as_i64().unwrap_or_default())
        .or_default();
    match f {
        "read" if plant == Some(Plant::StaleRead) => Completion::Ok(json!([value[0], before])),
        "read" => Completion::Ok(json!([value[0], now])),
        "write" => {
            replace(now, before, value[1].as_i64(), plant);
            Completion::Ok(value.clone())
        }
        "cas" if *now == value[1][0].as_i64() => {
            replace(now, before, value[1][1].as_i64(), plant);
            Completion::Ok(value.clone())
        }
        _ => fail(MISMATCH, "the value is another"),
    }
}

fn bank(
    state: &mut State,
    f: &str,
    value: &Value,
    allow_negative: bool,
    plant: Option<Plant>,
) -> Completion {
    let number = |name: &str| value[name].as_i64().unwrap_or_default();
    if f == "read" {
        let balances: serde_json::Map<String, Value> = state
            .accounts
            .iter()
            .map(|(account, balance)| (account.to_string(), json!(balance)))
            .collect();
        return Completion::Ok(Value::Object(balances));
    }
    let cover = state.accounts.get(&number("from")).copied().unwrap_or(0);
    if cover < number("amount") && !allow_negative {
        return fail("no-cover", "the account has less");
    }
    if plant == Some(Plant::LostWrite) {
        return Completion::Ok(value.clone());
    }
    if plant != Some(Plant::BrokenTotal) {
        *state.accounts.entry(number("from")).or_default() -= number("amount");
    }
    *state.accounts.entry(number("to")).or_default() += number("amount");
    Completion::Ok(value.clone())
}

fn append(state: &mut State, value: &Value, plant: Option<Plant>) -> Completion {
    let steps = value.as_array().cloned().unwrap_or_default();
    let done: Vec<Value> = steps
        .into_iter()
        .map(|step| {
            let list = state
                .lists
                .entry(step[1].as_i64().unwrap_or_default())
                .or_default();
            match (step[0].as_str(), plant) {
                (Some("append"), Some(Plant::LostWrite)) => step,
                (Some("append"), _) => {
                    list.extend(step[2].as_i64());
                    step
                }
                (_, Some(Plant::StaleRead)) => {
                    let seen = list.len().saturating_sub(1);
                    json!(["r", step[1], list[..seen]])
                }
                _ => json!(["r", step[1], list]),
            }
        })
        .collect();
    Completion::Ok(Value::Array(done))
}
