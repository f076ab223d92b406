//! Readings of the model's places: which a system has, and what its entries look like.

use std::sync::Arc;

use harness_core::view::{
    LOG, Member, MemberState, RaftPosition, Reading, Source, UnreadKind, View,
};
use rand::Rng;

use super::{Config, MS, World, name};

/// Sources and labels of a system.
fn places(system: &str) -> &'static [(Source, Option<&'static str>)] {
    match system {
        "lxd" => &[
            (Source::Database, None),
            (Source::Truststore, Some("global")),
            (Source::Truststore, Some("local")),
            (Source::Raft, Some("socket")),
            (Source::Raft, Some("disk")),
            (Source::Cache, Some("raft_nodes")),
            (Source::Cache, Some("list")),
        ],
        "microcluster" => &[
            (Source::Database, None),
            (Source::Truststore, None),
            (Source::Raft, Some("socket")),
            (Source::Cache, Some("cluster.yaml")),
        ],
        _ => &[
            (Source::Raft, Some("socket")),
            (Source::Raft, Some("disk")),
            (Source::Cache, Some("cluster.yaml")),
        ],
    }
}

pub fn address(node: usize) -> String {
    format!("10.0.0.{node}:8443")
}

fn in_raft(config: &Config, named: bool) -> Vec<Member> {
    config
        .members
        .iter()
        .map(|(node, id, role)| Member {
            name: named.then(|| name(*node)),
            address: Some(address(*node)),
            raft_id: Some(*id),
            role: Some(*role),
            ..Member::default()
        })
        .collect()
}

impl World {
    /// Reads every place of every member. Under way (`moving`), followers may not have raft's newest configuration yet.
    pub fn take_sample(&mut self, moving: bool) {
        self.sample += 1;
        let nodes: Vec<usize> = self.truth.keys().copied().collect();
        for node in nodes {
            let lags = moving && node != self.leader && self.rng.random_bool(0.2);
            let newest = self.log.len() - 1;
            // A follower may be behind, but never goes back.
            let applied = self.applied.entry(node).or_insert(newest);
            if !lags {
                *applied = newest;
            }
            let config = self.log[*applied].clone();
            for (source, label) in places(self.system) {
                let reading = if self.down.contains(&node) {
                    Reading::Unread {
                        kind: UnreadKind::Stopped,
                        message: "no process".to_owned(),
                    }
                } else {
                    Reading::Members(self.members(node, *source, *label, &config))
                };
                let in_folder = *label == Some("disk") && matches!(reading, Reading::Members(_));
                let raft = in_folder.then(|| self.position(&config));
                self.push(node, *source, *label, reading, raft);
            }
            if !self.down.contains(&node)
                && places(self.system).contains(&(Source::Raft, Some("disk")))
            {
                self.read_log(node);
            }
        }
        self.now += 5 * MS;
    }

    fn members(
        &self,
        node: usize,
        source: Source,
        label: Option<&str>,
        config: &Config,
    ) -> Vec<Member> {
        match (source, label) {
            (Source::Database, _) => self
                .database
                .iter()
                .map(|(member, pending)| Member {
                    name: Some(name(*member)),
                    address: Some(address(*member)),
                    state: Some(if *pending {
                        MemberState::Pending
                    } else {
                        MemberState::Active
                    }),
                    ..Member::default()
                })
                .collect(),
            (Source::Truststore, label) => {
                let of = if label == Some("global") {
                    self.leader
                } else {
                    node
                };
                let held = self.trust.get(&of).into_iter().flatten();
                held.map(|(member, print)| Member {
                    name: Some(name(*member)),
                    fingerprint: Some(print.clone()),
                    ..Member::default()
                })
                .collect()
            }
            (Source::Raft, _) => in_raft(config, false),
            (Source::Cache, label) => {
                let mut members = self.cache.get(&node).map_or_else(Vec::new, |config| {
                    in_raft(config, label != Some("cluster.yaml"))
                });
                if label == Some("list") {
                    members.iter_mut().for_each(|member| member.raft_id = None);
                }
                members
            }
        }
    }

    fn position(&self, config: &Config) -> RaftPosition {
        let at = self
            .log
            .iter()
            .position(|other| other.index == config.index)
            .unwrap();
        let leads = self
            .config()
            .members
            .iter()
            .find(|member| member.0 == self.leader);
        RaftPosition {
            index: Some(config.index),
            entry_term: Some(config.term),
            previous_index: at.checked_sub(1).map(|before| self.log[before].index),
            committed: Some(true),
            term: Some(self.term),
            leader: leads.map(|member| member.1),
        }
    }

    /// Older configurations, each once a node.
    fn read_log(&mut self, node: usize) {
        let from = self.log_read.get(&node).copied().unwrap_or(0);
        for at in from..self.log.len() - 1 {
            let config = self.log[at].clone();
            let position = RaftPosition {
                term: None,
                leader: None,
                ..self.position(&config)
            };
            let reading = Reading::Members(in_raft(&config, false));
            self.push(node, Source::Raft, Some(LOG), reading, Some(position));
        }
        self.log_read.insert(node, self.log.len() - 1);
    }

    fn push(
        &mut self,
        node: usize,
        source: Source,
        label: Option<&'static str>,
        reading: Reading,
        raft: Option<RaftPosition>,
    ) {
        let start_ns = self.now + self.rng.random_range(0..MS);
        let end_ns = self.now + 2 * MS + self.rng.random_range(0..MS);
        self.views.push(View {
            sample: self.sample,
            source,
            label: label.map(Arc::from),
            node: name(node).into(),
            start_ns,
            end_ns,
            reading,
            raft,
        });
    }
}
