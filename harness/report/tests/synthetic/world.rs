//! A little world in which membership is kept: who is in which source when. Nodes are read once a second, and the real
//! checker judges what they say.

use std::{collections::BTreeMap, sync::Arc};

use harness_checkers::membership::judge_membership;
use harness_core::{
    event::EventType,
    fault::FaultRecord,
    meta::{NodeMeta, Phase},
    verdict::{CheckInput, Unlimited},
    view::{Member, MemberState, RaftPosition, Reading, Role, Source, UnreadKind, View},
};
use serde_json::{Value, json};

use super::{Load, MS, Run, S, file, meta, plan_of, result};

/// From when to when.
pub(super) type Span = (u64, u64);
pub(super) const EVER: u64 = u64::MAX;

/// Where one node is listed, and what happens to it.
#[derive(Clone, Default)]
pub(super) struct Life {
    pub database: Vec<Span>,
    pub pending: Vec<Span>,
    pub trusted: Vec<Span>,
    pub raft: Vec<(Span, Role)>,
    pub cached: Vec<Span>,
    /// When it is a member that runs: only then it is read.
    pub runs: Vec<Span>,
    /// When the system was looked for on it and did not run.
    pub stopped: Vec<Span>,
    /// Sources that cannot be read on it.
    pub unread: Vec<(Span, Source)>,
}

fn during(spans: &[Span], at_ns: u64) -> bool {
    spans.iter().any(|(from, to)| *from <= at_ns && at_ns < *to)
}

impl Life {
    /// A member from the beginning.
    fn first(role: Role) -> Self {
        let ever = vec![(0, EVER)];
        Self {
            database: ever.clone(),
            trusted: ever.clone(),
            raft: vec![((0, EVER), role)],
            cached: ever.clone(),
            runs: ever,
            ..Self::default()
        }
    }

    /// Joins from one moment on, source after source; `to` ends it everywhere.
    fn joins(&mut self, at_ns: u64, roles: &[(u64, Role)]) {
        self.trusted.push((at_ns + 210 * MS, EVER));
        self.database.push((at_ns + 340 * MS, EVER));
        self.pending.push((at_ns + 340 * MS, at_ns + 980 * MS));
        for (place, (from, role)) in roles.iter().enumerate() {
            let to = roles.get(place + 1).map_or(EVER, |(next, _)| *next);
            self.raft.push(((*from, to), *role));
        }
        self.cached.push((at_ns + 2_300 * MS, EVER));
        self.runs.push((at_ns + 1_050 * MS, EVER));
    }

    /// Is removed: raft first, then database and truststores, caches a little later.
    fn leaves(&mut self, at_ns: u64) {
        let close = |spans: &mut Vec<Span>, to: u64| {
            if let Some(last) = spans.last_mut() {
                last.1 = to;
            }
        };
        close(&mut self.runs, at_ns);
        close(&mut self.database, at_ns + 420 * MS);
        close(&mut self.trusted, at_ns + 460 * MS);
        close(&mut self.cached, at_ns + 2_100 * MS);
        if let Some(last) = self.raft.last_mut() {
            last.0.1 = at_ns + 300 * MS;
        }
    }
}

pub(super) struct World {
    pub lives: Vec<Life>,
    pub load: Load,
    pub next_process: u64,
    pub until_ns: u64,
    pub settle_ms: u64,
    /// From one sample to the next.
    pub interval_ns: u64,
    pub faults: Vec<FaultRecord>,
    /// Leader and term from a moment on.
    pub led: Vec<(u64, u64, u64)>,
}

fn name(number: usize) -> String {
    format!("n{}", number + 1)
}

fn print_of(number: usize) -> String {
    format!("{:08x}", 0x9f2c_0000_u32 + number as u32 * 0x1357).repeat(8)
}

impl World {
    pub fn new(nodes: usize, seconds: u64) -> Self {
        let mut lives = vec![Life::default(); nodes];
        for life in lives.iter_mut().take(3) {
            *life = Life::first(Role::Voter);
        }
        Self {
            lives,
            load: Load::new(),
            next_process: 5_000,
            until_ns: seconds * S,
            settle_ms: 10_000,
            interval_ns: S,
            faults: Vec::new(),
            led: vec![(0, 1, 2)],
        }
    }

    pub fn operation(
        &mut self,
        (from_ns, to_ns): Span,
        f: &str,
        value: Value,
        kind: EventType,
        error: Option<(&str, &str)>,
    ) {
        let process = self.next_process;
        self.next_process += 5;
        self.load
            .push(from_ns, process, EventType::Invoke, f, value.clone(), "");
        self.load.push(to_ns, process, kind, f, value, "");
        if let Some((kind, message)) = error {
            self.load.error(kind, message);
        }
    }

    pub fn join(&mut self, number: usize, at_ns: u64, roles: &[(u64, Role)]) {
        self.lives[number].joins(at_ns, roles);
        let value =
            json!({"member": name(number), "token": format!("9f2c{number:02}{:x}", at_ns / MS)});
        self.operation(
            (at_ns, at_ns + 1_050 * MS),
            "join",
            value,
            EventType::Ok,
            None,
        );
    }

    pub fn remove(&mut self, number: usize, at_ns: u64) {
        self.lives[number].leaves(at_ns);
        let value = json!({"member": name(number)});
        self.operation(
            (at_ns, at_ns + 520 * MS),
            "remove",
            value,
            EventType::Ok,
            None,
        );
        let value = json!({"member": name(number)});
        self.load.push(
            self.until_ns - 900 * MS,
            self.next_process,
            EventType::Invoke,
            "removed-probe",
            value,
            "",
        );
        let value = json!({"member": name(number), "in": false});
        self.load.push(
            self.until_ns - 850 * MS,
            self.next_process,
            EventType::Ok,
            "removed-probe",
            value,
            "",
        );
        self.next_process += 5;
    }

    /// The last moments: a write on each member, and a fresh node in and out again.
    pub fn probes(&mut self, canary: usize) {
        let end = self.until_ns;
        for number in 0..self.lives.len() {
            if during(&self.lives[number].runs, end - 6 * S) {
                // The process' number says on which node it is.
                let process = 100_000 + (number as u64) + self.next_process / 5 * 5;
                self.next_process += 5;
                for (at, kind) in [(6_000, EventType::Invoke), (5_960, EventType::Ok)] {
                    self.load.push(
                        end - at * MS,
                        process,
                        kind,
                        "availability",
                        Value::Null,
                        "",
                    );
                    if let Some(last) = self.load.raw.last_mut() {
                        last.event.node = Some(name(number).into());
                    }
                }
            }
        }
        let (joins, leaves) = (end - 5_000 * MS, end - 2_500 * MS);
        self.lives[canary].joins(joins, &[(joins + 700 * MS, Role::Spare)]);
        self.lives[canary].leaves(leaves);
        for (f, from) in [("canary-join", joins), ("canary-remove", leaves)] {
            let value = json!({"member": name(canary)});
            self.operation((from, from + 1_050 * MS), f, value, EventType::Ok, None);
        }
    }

    fn listed(&self, at_ns: u64, source: Source) -> Vec<Member> {
        let people = self.lives.iter().enumerate();
        people
            .filter_map(|(number, life)| {
                let address = Some(format!("10.77.0.{}:8443", number + 1));
                let role = life
                    .raft
                    .iter()
                    .find(|((from, to), _)| *from <= at_ns && at_ns < *to)
                    .map(|(_, role)| *role);
                let raft_id = Some(number as u64 + 1);
                let state = if during(&life.pending, at_ns) {
                    MemberState::Pending
                } else {
                    MemberState::Active
                };
                let (inside, member) = match source {
                    Source::Database => (
                        during(&life.database, at_ns),
                        Member {
                            name: Some(name(number)),
                            address,
                            state: Some(state),
                            ..Member::default()
                        },
                    ),
                    Source::Truststore => (
                        during(&life.trusted, at_ns),
                        Member {
                            name: Some(name(number)),
                            fingerprint: Some(print_of(number)),
                            ..Member::default()
                        },
                    ),
                    Source::Raft => (
                        role.is_some(),
                        Member {
                            address,
                            raft_id,
                            role,
                            ..Member::default()
                        },
                    ),
                    Source::Cache => (
                        during(&life.cached, at_ns),
                        Member {
                            address,
                            raft_id,
                            role,
                            ..Member::default()
                        },
                    ),
                };
                inside.then_some(member)
            })
            .collect()
    }

    fn views(&self) -> Vec<View> {
        let mut views = Vec::new();
        let sources = [
            (Source::Database, None),
            (Source::Truststore, Some("global")),
            (Source::Truststore, Some("local")),
            (Source::Raft, Some("socket")),
            (Source::Cache, Some("raft_nodes")),
        ];
        for sample in 0..self.until_ns / self.interval_ns {
            for (number, life) in self.lives.iter().enumerate() {
                let start_ns = sample * self.interval_ns + 200 * MS + number as u64 * MS / 4;
                let stopped = during(&life.stopped, start_ns);
                if !stopped && !during(&life.runs, start_ns) {
                    continue;
                }
                for (place, (source, label)) in sources.iter().enumerate() {
                    let start_ns = start_ns + place as u64 * MS / 8;
                    let blind = life
                        .unread
                        .iter()
                        .any(|(span, of)| of == source && during(&[*span], start_ns));
                    let unread = |kind, message: &str| Reading::Unread {
                        kind,
                        message: message.to_owned(),
                    };
                    let (reading, took) = if stopped {
                        (unread(UnreadKind::Stopped, "no process lxd"), 1)
                    } else if blind {
                        (unread(UnreadKind::Timeout, "no answer in 900 ms"), 900)
                    } else {
                        (Reading::Members(self.listed(start_ns, *source)), 30)
                    };
                    let raft =
                        (*source == Source::Raft && !stopped).then(|| self.position(start_ns));
                    views.push(View {
                        sample,
                        source: *source,
                        label: label.map(Arc::from),
                        node: name(number).into(),
                        start_ns,
                        end_ns: start_ns + took * MS,
                        reading,
                        raft,
                    });
                }
            }
        }
        views
    }

    fn position(&self, at_ns: u64) -> RaftPosition {
        let led = self.led.iter().rfind(|(from, ..)| *from <= at_ns);
        RaftPosition {
            term: led.map(|(_, _, term)| *term),
            leader: led.map(|(_, leader, _)| *leader),
            ..RaftPosition::default()
        }
    }

    pub fn done(mut self, nemesis: &[&str]) -> Run {
        let views = self.views();
        let seconds = self.until_ns / S;
        let load = std::mem::replace(&mut self.load, Load::new());
        let (history, _) = load.done();
        let mut meta = meta("membership", nemesis, seconds);
        meta.system = "lxd".to_owned();
        meta.system_versions = BTreeMap::from([("lxd".to_owned(), "5.0.2".to_owned())]);
        meta.nodes = (0..self.lives.len())
            .map(|number| NodeMeta {
                name: name(number),
                address: format!("10.77.0.{}", number + 1),
                versions: meta.system_versions.clone(),
                ..meta.nodes[0].clone()
            })
            .collect();
        let end = self.until_ns as i64;
        let span = |name: &str, from: i64, to: i64| Phase {
            name: name.to_owned(),
            start_ns: from,
            end_ns: Some(to),
        };
        let tail = 20 * S as i64;
        meta.phases = vec![
            span("form", -5_100 * MS as i64, 0),
            span("load", 0, end - tail),
            span("heal", end - tail, end - tail + S as i64 / 2),
            span("settle", end - tail + S as i64 / 2, end - 6_500 * MS as i64),
            span("recover", end - 6_500 * MS as i64, end),
            span("check", end, end + S as i64),
        ];
        meta.config = json!({"lab": {"provider": "lxc", "nodes": self.lives.len()}, "run": {"workload": "membership"}});
        meta.workload_options =
            json!({"initial_members": ["n1", "n2", "n3"], "settle_ms": self.settle_ms});
        meta.time_limit_s = (seconds - 20) as f64;
        meta.repeat = [
            "run",
            "--system",
            "lxd",
            "--workload",
            "membership",
            "--nodes",
            &self.lives.len().to_string(),
            "--initial",
            "3",
            "--seed",
            "0x5eed42",
        ]
        .map(str::to_owned)
        .to_vec();
        let mut results = judge_membership(
            &CheckInput {
                history: &history,
                faults: &self.faults,
                logs: &[],
                views: &views,
                meta: &meta,
            },
            &Unlimited,
        );
        for checked in &mut results {
            checked.duration_ms = 4.0;
        }
        let looked = history.operations.len() as u64;
        results.push(result(
            "stats",
            harness_core::verdict::Verdict::Valid,
            "every kind of operation ended ok",
            looked,
            1.0,
        ));
        Run {
            plan: plan_of(&self.faults),
            faults: self.faults,
            meta,
            history,
            views,
            verdict: file(results),
            logs: Vec::new(),
        }
    }

    pub fn canary_rows(&mut self) {
        let end = self.until_ns - 21 * S;
        for slot in 0..4 {
            self.load.process(slot, end, 300 * MS, |_| 0.0);
        }
    }
}
