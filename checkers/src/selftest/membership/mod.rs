//! A model of a system that keeps its membership right: it makes histories and views that are consistent.
//!
//! Pure and seeded. Joins and removes go through the steps of real ones (row pending, certificate on the leader, raft, row
//! active, certificates and caches everywhere), samples fall between the steps, followers and caches lag for less than the
//! settle time, nodes are killed and started, operations fail or stay without an answer and then took effect or did not. All
//! of that must be judged valid. [`TABLE`] then breaks one thing.
//!
//! A simulation, for the checker's own sake: it says nothing about any real system.
#![expect(
    clippy::unwrap_used,
    reason = "the model looks for what it has made itself; a row of the table that finds nothing is an error of the table"
)]

mod emit;
mod family;
mod mutations;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use harness_core::{
    event::{Event, EventType},
    fault::FaultRecord,
    history::{History, pair},
    meta::{Meta, NodeMeta, Phase},
    verdict::{CheckInput, CheckResult, Unlimited},
    view::{MemberState, Source, View},
};
use rand::Rng;
use serde_json::{Value, json};

pub use family::consistent;
pub(super) use family::family;
pub use mutations::{Mutation, TABLE, gain};
use world::{Config, End, World, name};

/// A millisecond in nanoseconds.
const MS: u64 = 1_000_000;
/// Settle time of the model, nanoseconds.
pub const SETTLE: u64 = 1_000 * MS;
/// Recovery timeout of the model, milliseconds.
const RECOVERY_MS: u64 = 200;

/// What a run is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Random operations, as many as chance will have.
    Random,
    /// Each kind of operation with each outcome once, in random order, on members of their own.
    Rich,
    /// Four members, two of which are killed at once and started one after the other.
    Double,
}

/// A finished run.
#[derive(Clone)]
pub struct Run {
    /// What was done.
    pub events: Vec<Event>,
    /// What the places showed.
    pub views: Vec<View>,
    /// What struck.
    pub faults: Vec<FaultRecord>,
    /// About the run.
    pub meta: Meta,
    /// From when on readings are of the last quiet window.
    pub final_ns: u64,
    /// When the operation on the member that has a part in mutations began, by member.
    pub began: BTreeMap<String, u64>,
}

impl Run {
    /// Its operations.
    #[must_use]
    pub fn history(&self) -> History {
        pair(self.events.clone()).unwrap()
    }

    /// What all invariants say of it.
    #[must_use]
    pub fn judge(&self) -> Vec<CheckResult> {
        let history = self.history();
        crate::membership::judge_membership(
            &CheckInput {
                history: &history,
                faults: &self.faults,
                logs: &[],
                views: &self.views,
                meta: &self.meta,
            },
            &Unlimited,
        )
    }
}

impl World {
    /// The sources are read, as they are between two probes.
    fn look(&mut self) {
        self.now += MS;
        self.take_sample(false);
    }

    /// An operation that did nothing, and how it ended.
    fn in_vain(&mut self, f: &str, node: usize, event_type: EventType, kind: &str) {
        let value = json!({"member": name(node), "force": true});
        let process = self.process();
        self.emit(process, EventType::Invoke, f, None, value.clone());
        self.now += 5 * MS;
        self.last_end = self.now;
        self.emit(process, event_type, f, None, value);
        if let Some(error) = self
            .events
            .last_mut()
            .and_then(|event| event.error.as_mut())
        {
            error.kind = kind.to_owned();
        }
        self.now += 10 * MS;
    }

    /// Everything is tried once more, and looked at for the last time.
    fn finish(mut self, canary: Option<usize>, options: Value) -> Run {
        self.quiet();
        let recover_ns = self.now;
        for _ in 0..2 {
            let members: Vec<usize> = self.truth.keys().copied().collect();
            members.into_iter().for_each(|node| self.write(node));
            self.now += 2 * RECOVERY_MS * MS;
        }
        let began = std::mem::take(&mut self.began);
        if let Some(canary) = canary {
            self.join("canary-join", canary, End::Ok);
            self.remove("canary-remove", canary, End::Ok);
        }
        for node in std::mem::take(&mut self.doubtful) {
            if self.truth.contains_key(&node) {
                // Who is a member already is rightly refused.
                if self.rng.random_bool(0.3) {
                    self.in_vain("retry-unwiped", node, EventType::Fail, "already-clustered");
                }
                self.remove("retry-remove", node, End::Ok);
                self.join("retry-join", node, End::Ok);
            } else {
                match self.rng.random_range(0..4) {
                    0 => {
                        self.join("retry-unwiped", node, End::Ok);
                        self.remove("retry-remove", node, End::Ok);
                    }
                    1 => self.in_vain("retry-unwiped", node, EventType::Fail, "no-member"),
                    2 => self.in_vain("retry-unwiped", node, EventType::Info, "connection-lost"),
                    _ => {}
                }
                // Who is in no source is rightly not found.
                if self.rng.random_bool(0.5) {
                    self.look();
                    self.in_vain("retry-remove", node, EventType::Fail, "not-found");
                }
                self.join("retry-join", node, End::Ok);
                self.remove("retry-remove", node, End::Ok);
            }
        }
        let removed: BTreeSet<String> = self
            .events
            .iter()
            .filter(|event| &*event.f == "remove" && event.event_type == EventType::Ok)
            .filter_map(|event| event.value["member"].as_str().map(str::to_owned))
            .filter(|member| !self.truth.keys().any(|node| name(*node) == *member))
            .collect();
        for member in removed {
            let process = self.process();
            self.emit(
                process,
                EventType::Invoke,
                "removed-probe",
                None,
                json!({"member": member}),
            );
            self.emit(
                process,
                EventType::Ok,
                "removed-probe",
                None,
                json!({"member": member, "in": false}),
            );
        }
        self.list();
        self.quiet();
        self.take_sample(false);
        let meta = Meta {
            system: self.system.to_owned(),
            nodes: (1..=12)
                .map(|node| NodeMeta {
                    name: name(node),
                    address: format!("10.0.0.{node}"),
                    ..NodeMeta::default()
                })
                .collect(),
            phases: vec![Phase {
                name: "recover".to_owned(),
                start_ns: recover_ns as i64,
                end_ns: None,
            }],
            workload_options: options,
            ..Meta::default()
        };
        Run {
            final_ns: self.last_end + SETTLE,
            events: self.events,
            views: self.views,
            faults: self.faults,
            meta,
            began,
        }
    }
}

fn options(initial: usize) -> Value {
    json!({
        "settle_ms": SETTLE / MS,
        "initial_members": (1..=initial).map(name).collect::<Vec<_>>(),
        "recovery_timeout_ms": RECOVERY_MS,
        "max_voters": 3,
    })
}

/// A consistent run. In the rich profile the members' parts are: n1 to n4 nobody touches; n5 a remove without an answer and
/// without effect; n6 a refused remove; n7 is removed; n8 joins while a voter is down; n9 a refused join; n10 a join without
/// an answer and without effect; n11 is the canary.
#[must_use]
pub fn run(seed: u64, system: &'static str, profile: Profile) -> Run {
    match profile {
        Profile::Rich => {
            let mut world = World::new(seed, system, 7);
            world.quiet();
            let mut steps: Vec<usize> = (0..8).collect();
            for at in (1..steps.len()).rev() {
                let other = world.rng.random_range(0..=at);
                steps.swap(at, other);
            }
            for step in steps {
                match step {
                    0 => world.remove("remove", 5, End::Info(false)),
                    1 => world.remove("remove", 6, End::Fail),
                    2 => world.remove("remove", 7, End::Ok),
                    3 => world.kill_during_join(8),
                    4 => world.join("join", 9, End::Fail),
                    5 => world.join("join", 10, End::Info(false)),
                    _ => world.list(),
                }
            }
            world.finish(Some(11), options(7))
        }
        Profile::Double => {
            let mut world = World::new(seed, system, 4);
            world.quiet();
            world.kill_two();
            world.join("join", 5, End::Ok);
            world.finish(Some(11), options(4))
        }
        Profile::Random => random(seed, system),
    }
}

fn random(seed: u64, system: &'static str) -> Run {
    let initial = 3 + (seed % 3) as usize;
    let mut world = World::new(seed, system, initial);
    let mut fresh: Vec<usize> = (initial + 1..=10).collect();
    if world.rng.random_bool(0.3) {
        world.quiet();
    }
    for _ in 0..world.rng.random_range(1..6) {
        let end = match world.rng.random_range(0..6) {
            0 => End::Fail,
            1 => End::Info(world.rng.random_bool(0.5)),
            _ => End::Ok,
        };
        let sure: Vec<usize> = world
            .truth
            .keys()
            .copied()
            .filter(|node| !world.doubtful.contains(node))
            .collect();
        match world.rng.random_range(0..8) {
            0..3 if !fresh.is_empty() => {
                let node = fresh.remove(0);
                world.join("join", node, end);
                if end == End::Fail {
                    fresh.push(node);
                }
            }
            3 | 4 if sure.len() > 3 => {
                let node = sure[world.rng.random_range(0..sure.len())];
                world.remove("remove", node, end);
                if end == End::Ok {
                    fresh.push(node);
                }
            }
            5 if !fresh.is_empty() => {
                let node = fresh.remove(0);
                world.kill_during_join(node);
            }
            6 if (3..=4).contains(&world.truth.len())
                && [1, 2, 3].iter().all(|node| sure.contains(node)) =>
            {
                world.kill_two()
            }
            _ => world.list(),
        }
    }
    world.finish(Some(11), options(initial))
}

/// LXD: n4's daemon is killed between the leader's Accept and its own raft add. Its row stays pending, its certificate stays in
/// the global truststore and in the leader's local one; raft and `cluster list` do not know it; joining and removing it again
/// are refused.
#[must_use]
pub fn killed_joiner(seed: u64) -> Run {
    let mut world = World::new(seed, "lxd", 3);
    world.quiet();
    let fault = world.strike(4);
    world.now -= 3 * MS;
    world.join("join", 4, End::Info(false));
    world.faults[fault].kind = "kill@function".to_owned();
    world.faults[fault].label = "kill n4 at cluster.Join".to_owned();
    world.heal(fault, 4);
    let mut run = world.finish(Some(11), options(3));
    mutations::erase(&mut run, 4);
    mutations::end_otherwise(&mut run, EventType::Fail, "refused", |event| {
        event.f.starts_with("retry-") && event.value["member"] == "n4"
    });
    let from = run.began["n4"];
    mutations::gain(&mut run, 4, from, MemberState::Pending, |view| {
        let trusted = view.label.as_deref() == Some("global") || &*view.node == "n1";
        view.source == Source::Database || view.source == Source::Truststore && trusted
    });
    run
}
