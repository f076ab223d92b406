//! The system of the model, those who use it, and what strikes it. What consistent means is written here: the order in which
//! the steps of a join and a remove become visible, and how far followers and caches may lag.

use std::collections::{BTreeMap, BTreeSet};

use harness_core::{
    event::{Event, EventType, OpError, Process},
    fault::FaultRecord,
    seed::Seed,
    view::{Role, View},
};
use rand::Rng;
use serde_json::{Value, json};

use super::{MS, RECOVERY_MS, SETTLE};

/// How an operation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Ok,
    Fail,
    /// Without an answer; whether it took effect.
    Info(bool),
}

/// A configuration of raft's log.
#[derive(Clone, Debug)]
pub struct Config {
    pub index: u64,
    pub term: u64,
    /// Node, raft id, role.
    pub members: Vec<(usize, u64, Role)>,
}

/// The system and those who use it.
pub struct World {
    pub rng: rand_chacha::ChaCha8Rng,
    pub system: &'static str,
    pub now: u64,
    pub events: Vec<Event>,
    pub views: Vec<View>,
    pub faults: Vec<FaultRecord>,
    pub sample: u64,
    next_process: u64,
    next_id: u64,
    tokens: u64,
    pub leader: usize,
    pub term: u64,
    pub down: BTreeSet<usize>,
    /// Members by node: certificate.
    pub truth: BTreeMap<usize, String>,
    /// Rows: whether pending.
    pub database: BTreeMap<usize, bool>,
    /// Certificates, by the node that holds them.
    pub trust: BTreeMap<usize, BTreeMap<usize, String>>,
    pub cache: BTreeMap<usize, Config>,
    pub log: Vec<Config>,
    pub log_read: BTreeMap<usize, usize>,
    /// The configuration that a node follows, by its place in the log.
    pub applied: BTreeMap<usize, usize>,
    pub last_end: u64,
    pub doubtful: BTreeSet<usize>,
    pub began: BTreeMap<String, u64>,
}

pub fn name(node: usize) -> String {
    format!("n{node}")
}

impl World {
    pub fn new(seed: u64, system: &'static str, initial: usize) -> Self {
        let mut world = Self {
            rng: Seed(seed).stream("membership-model").draw(0),
            system,
            now: 10 * MS,
            events: Vec::new(),
            views: Vec::new(),
            faults: Vec::new(),
            sample: 0,
            next_process: 0,
            next_id: 1,
            tokens: 0,
            leader: 1,
            term: 2,
            down: BTreeSet::new(),
            truth: BTreeMap::new(),
            database: BTreeMap::new(),
            trust: BTreeMap::new(),
            cache: BTreeMap::new(),
            log: Vec::new(),
            log_read: BTreeMap::new(),
            applied: BTreeMap::new(),
            last_end: 0,
            doubtful: BTreeSet::new(),
            began: BTreeMap::new(),
        };
        let mut members = Vec::new();
        for node in 1..=initial {
            let role = match node {
                1..=3 => Role::Voter,
                4 | 5 => Role::StandBy,
                _ => Role::Spare,
            };
            members.push((node, world.next_id, role));
            world.next_id += 1;
            world.truth.insert(node, format!("f{node}x0"));
        }
        world.log.push(Config {
            index: 1,
            term: 1,
            members,
        });
        world.sync();
        world
    }

    pub fn config(&self) -> &Config {
        self.log.last().unwrap()
    }

    fn change_raft(&mut self, change: impl FnOnce(&mut Vec<(usize, u64, Role)>)) {
        let mut next = self.config().clone();
        next.index += self.rng.random_range(1..20);
        next.term = self.term;
        change(&mut next.members);
        self.log.push(next);
    }

    /// Three voters and two stand-bys, one change at a time.
    fn rebalance(&mut self) {
        for (role, wanted, from) in [
            (Role::Voter, 3, [Role::StandBy, Role::Spare]),
            (Role::StandBy, 2, [Role::Spare, Role::Spare]),
        ] {
            loop {
                let members = &self.config().members;
                let count = members.iter().filter(|member| member.2 == role).count();
                let next = from.iter().find_map(|from| {
                    members
                        .iter()
                        .position(|(node, _, role)| role == from && !self.down.contains(node))
                });
                let (Some(next), true) = (next, count < wanted) else {
                    break;
                };
                self.change_raft(|members| members[next].2 = role);
                self.maybe_sample();
            }
        }
    }

    /// Somebody who can leads.
    fn elect(&mut self) {
        let voters: Vec<usize> = self
            .config()
            .members
            .iter()
            .filter(|member| member.2 == Role::Voter && !self.down.contains(&member.0))
            .map(|member| member.0)
            .collect();
        if !voters.contains(&self.leader) {
            self.leader = voters[self.rng.random_range(0..voters.len())];
            self.term += 1;
        }
    }

    /// Database, truststores and caches catch up with the truth.
    fn sync(&mut self) {
        let config = self.config().clone();
        self.database = self.truth.keys().map(|node| (*node, false)).collect();
        let up = || self.truth.keys().filter(|node| !self.down.contains(node));
        let trust: Vec<_> = up().map(|node| (*node, self.truth.clone())).collect();
        let cache: Vec<_> = up().map(|node| (*node, config.clone())).collect();
        self.trust.extend(trust);
        self.cache.extend(cache);
    }

    pub fn emit(
        &mut self,
        process: u64,
        event_type: EventType,
        f: &str,
        node: Option<usize>,
        value: Value,
    ) {
        let error = match event_type {
            EventType::Fail => Some(("refused", "no")),
            EventType::Info => Some(("connection-lost", "the connection broke")),
            _ => None,
        };
        self.events.push(Event {
            index: self.events.len() as u64,
            time_ns: self.now,
            process: Process::Client(process),
            node: node.map(|node| name(node).into()),
            event_type,
            f: f.into(),
            value,
            error: error.map(|(kind, message)| OpError {
                kind: kind.to_owned(),
                message: message.to_owned(),
            }),
        });
        self.now += MS;
    }

    pub fn process(&mut self) -> u64 {
        self.next_process += 1;
        self.next_process - 1
    }

    /// A whole operation; `doing` happens in the middle.
    fn operation(&mut self, f: &str, value: &Value, end: End, doing: impl FnOnce(&mut Self)) {
        let process = self.process();
        if let Some(member) = value["member"].as_str() {
            self.began.insert(member.to_owned(), self.now);
        }
        self.emit(process, EventType::Invoke, f, None, value.clone());
        self.now += 5 * MS;
        doing(self);
        self.now += 5 * MS;
        let event_type = match end {
            End::Ok => EventType::Ok,
            End::Fail => EventType::Fail,
            End::Info(_) => EventType::Info,
        };
        self.last_end = self.now;
        self.emit(process, event_type, f, None, value.clone());
        self.now += 10 * MS;
        // Truststores and caches of others follow.
        if self.rng.random_bool(0.4) {
            self.take_sample(true);
        }
        self.sync();
        self.maybe_sample();
        if self.rng.random_bool(0.4) {
            self.quiet();
        }
    }

    pub fn join(&mut self, f: &str, node: usize, end: End) {
        self.tokens += 1;
        let value = json!({"member": name(node), "token": format!("t{}", self.tokens)});
        let effect = matches!(end, End::Ok | End::Info(true));
        if matches!(end, End::Info(_)) {
            self.doubtful.insert(node);
        }
        let begun = effect || (end == End::Info(false) && self.rng.random_bool(0.5));
        self.operation(f, &value, end, |world| {
            if !begun {
                world.maybe_sample();
                return;
            }
            let print = format!("f{node}x{}", world.next_id);
            world.database.insert(node, true);
            world.maybe_sample();
            let leader = world.leader;
            world
                .trust
                .entry(leader)
                .or_default()
                .insert(node, print.clone());
            world.maybe_sample();
            if !effect {
                return;
            }
            let id = world.next_id;
            world.next_id += 1;
            world.change_raft(|members| members.push((node, id, Role::Spare)));
            world.truth.insert(node, print);
            world.trust.insert(node, world.truth.clone());
            world.cache.insert(node, world.config().clone());
            world.log_read.insert(node, world.log.len() - 1);
            world.applied.insert(node, world.log.len() - 1);
            world.maybe_sample();
            world.rebalance();
            world.database.insert(node, false);
        });
    }

    pub fn remove(&mut self, f: &str, node: usize, end: End) {
        let value = json!({"member": name(node), "force": self.rng.random_bool(0.2)});
        let effect = matches!(end, End::Ok | End::Info(true));
        if matches!(end, End::Info(_)) {
            self.doubtful.insert(node);
        }
        self.operation(f, &value, end, |world| {
            world.maybe_sample();
            if !effect {
                return;
            }
            world.change_raft(|members| members.retain(|member| member.0 != node));
            world.truth.remove(&node);
            world.elect();
            world.maybe_sample();
            world.rebalance();
            world.database.remove(&node);
            world.maybe_sample();
            let leader = world.leader;
            world.trust.entry(leader).or_default().remove(&node);
        });
    }

    pub fn list(&mut self) {
        let process = self.process();
        self.emit(process, EventType::Invoke, "list", None, Value::Null);
        self.now += 3 * MS;
        let names: Vec<String> = self.truth.keys().map(|node| name(*node)).collect();
        self.emit(process, EventType::Ok, "list", None, json!(names));
        self.now += 5 * MS;
    }

    pub fn write(&mut self, node: usize) {
        let process = self.process();
        self.emit(
            process,
            EventType::Invoke,
            "availability",
            Some(node),
            json!(1),
        );
        self.emit(process, EventType::Ok, "availability", Some(node), json!(1));
    }

    pub fn strike(&mut self, node: usize) -> usize {
        self.faults.push(FaultRecord {
            id: self.faults.len() as u32 + 1,
            kind: "kill".to_owned(),
            label: format!("kill {}", name(node)),
            nodes: vec![name(node)],
            planned: None,
            heals: vec![],
            triggered: None,
            intended_ns: self.now,
            asked_ns: Some(self.now + MS),
            observed_ns: Some(self.now + 2 * MS),
            heal_asked_ns: None,
            healed_ns: None,
            self_healed: false,
            evidence: vec![],
            problems: vec![],
        });
        self.now += 5 * MS;
        self.down.insert(node);
        self.faults.len() - 1
    }

    pub fn heal(&mut self, fault: usize, node: usize) {
        self.faults[fault].heal_asked_ns = Some(self.now);
        self.now += 5 * MS;
        self.faults[fault].healed_ns = Some(self.now);
        self.last_end = self.now;
        self.now += MS;
        self.down.remove(&node);
        self.elect();
        self.rebalance();
        self.maybe_sample();
        self.sync();
    }

    /// One voter of three is down while somebody joins.
    pub fn kill_during_join(&mut self, joiner: usize) {
        let voters: Vec<usize> = self
            .config()
            .members
            .iter()
            .filter(|member| member.2 == Role::Voter)
            .map(|member| member.0)
            .collect();
        let node = voters[self.rng.random_range(0..voters.len())];
        let fault = self.strike(node);
        self.elect();
        self.maybe_sample();
        self.join("join", joiner, End::Ok);
        // What quorum-safety looks at.
        self.take_sample(true);
        self.heal(fault, node);
        if self.rng.random_bool(0.5) {
            self.quiet();
        }
    }

    pub fn kill_two(&mut self) {
        let (one, other) = (1, 2 + self.rng.random_range(0..2));
        let first = self.strike(one);
        self.maybe_sample();
        let second = self.strike(other);
        self.now += 50 * MS;
        self.heal(first, one);
        self.write(one);
        self.now += 2 * RECOVERY_MS * MS;
        self.write(one);
        self.heal(second, other);
    }

    /// Long enough for the settle time to pass, with samples before and after.
    pub fn quiet(&mut self) {
        self.now += SETTLE / 4;
        self.take_sample(false);
        self.now = self.now.max(self.last_end + SETTLE) + MS;
        for _ in 0..self.rng.random_range(1..3) {
            self.take_sample(false);
            self.now += 50 * MS;
        }
    }

    pub fn maybe_sample(&mut self) {
        if self.rng.random_bool(0.35) {
            self.take_sample(true);
        }
    }
}
