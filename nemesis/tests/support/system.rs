//! The make-believe system of the simulated nodes: what it can do.

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use harness_lab::{
    Kill, Leader, Node, Pause, Start, Stop,
    capability::{
        CapabilityError, ChangeError, DataFolder, Invitation, Membership, Program, Seen, Transfer,
        Wipe,
    },
};

use super::{Mood, Sim, SimNode, SimTransport};

#[async_trait]
impl Program for SimSystem {
    fn program(&self) -> PathBuf {
        "/usr/bin/sim".into()
    }

    async fn newest_process(&self, node: &Node) -> Result<Option<u32>, CapabilityError> {
        Ok(self.0.world().nodes[node.ordinal].newest)
    }
}

/// The make-believe system: one process a node.
pub struct SimSystem(pub(super) Sim);

impl SimSystem {
    async fn act(
        &self,
        node: &Node,
        what: &str,
        change: impl FnOnce(&mut SimNode, u32) -> Result<Option<u32>, &'static str> + Send,
    ) -> Result<Seen, CapabilityError> {
        let sim = &self.0;
        let transport = SimTransport {
            sim: sim.clone(),
            at: node.ordinal,
            name: node.name.to_string(),
        };
        transport.answer().await?;
        let mut world = sim.world();
        world.next_pid += 1;
        let fresh = world.next_pid;
        world.trace.push(format!("{} {what}", node.name));
        match change(&mut world.nodes[node.ordinal], fresh) {
            Ok(pid) => Ok(Seen {
                pid,
                detail: format!("process {} {what}", pid.unwrap_or_default()),
            }),
            Err(detail) => Err(CapabilityError::Failed {
                what: what.to_owned(),
                node: node.name.to_string(),
                detail: detail.to_owned(),
            }),
        }
    }
}

#[async_trait]
impl Start for SimSystem {
    async fn start(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.act(node, "started", |node, fresh| match node.mood {
            Mood::WontStart => Err("exit code 1"),
            _ => {
                node.pid = node.pid.or(Some(fresh));
                Ok(node.pid)
            }
        })
        .await
    }

    fn start_script(&self, _node: &Node) -> String {
        "start-it".to_owned()
    }

    async fn is_running(&self, node: &Node) -> Result<bool, CapabilityError> {
        Ok(self.0.world().nodes[node.ordinal].pid.is_some())
    }
}

#[async_trait]
impl Stop for SimSystem {
    async fn stop(&self, node: &Node, _at_ns: Option<i64>) -> Result<Seen, CapabilityError> {
        self.act(node, "stopped", |node, _| match node.mood {
            Mood::SlowToStop => Err("still there"),
            _ => Ok(node.pid.take()),
        })
        .await
    }
}

#[async_trait]
impl Kill for SimSystem {
    async fn kill(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.act(node, "killed", |node, _| Ok(node.pid.take()))
            .await
    }
}

#[async_trait]
impl Pause for SimSystem {
    async fn pause(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.act(node, "paused", |node, _| {
            node.frozen = node.pid.is_some();
            Ok(node.pid)
        })
        .await
    }

    async fn resume(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.act(node, "resumed", |node, _| {
            node.frozen = false;
            Ok(node.pid)
        })
        .await
    }

    fn resume_script(&self, _node: &Node) -> String {
        "resume-it".to_owned()
    }
}

#[async_trait]
impl Leader for SimSystem {
    async fn leader(&self, nodes: &[Node]) -> Option<Node> {
        self.0.world().leader.map(|at| nodes[at].clone())
    }

    async fn voters(&self, nodes: &[Node]) -> Option<Vec<Node>> {
        let voters = self.0.world().voters.clone();
        voters.map(|voters| voters.into_iter().map(|at| nodes[at].clone()).collect())
    }
}

#[async_trait]
impl Wipe for SimSystem {
    async fn wipe(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.act(node, "wiped", |node, _| {
            node.wiped = true;
            Ok(node.pid.take())
        })
        .await
    }

    fn wipe_script(&self, _node: &Node) -> String {
        "wipe-it".to_owned()
    }
}

#[async_trait]
impl Transfer for SimSystem {
    async fn transfer(&self, _nodes: &[Node], to: &Node) -> Result<Seen, CapabilityError> {
        self.0.world().leader = Some(to.ordinal);
        self.act(to, "leads", |node, _| Ok(node.pid)).await
    }
}

/// Refuses what a cluster refuses: who is in cannot join, and who does not answer cannot let anybody in.
#[async_trait]
impl Membership for SimSystem {
    async fn stand_by(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.act(node, "stands by", |node, _| Ok(node.pid)).await
    }

    async fn invite(
        &self,
        via: &Node,
        _member: &Node,
        _deadline: Duration,
    ) -> Result<Invitation, ChangeError> {
        self.member(via)?;
        Ok(Invitation { token: None })
    }

    async fn join(
        &self,
        via: &Node,
        member: &Node,
        _invitation: &Invitation,
        _deadline: Duration,
    ) -> Result<(), ChangeError> {
        self.member(via)?;
        let mut world = self.0.world();
        let name = member.name.to_string();
        if world.members.contains(&name) {
            return Err(no("it is a member already"));
        }
        world.trace.push(format!("{name} joined"));
        world.members.push(name);
        let node = &mut world.nodes[member.ordinal];
        (node.wiped, node.pid) = (false, Some(500));
        Ok(())
    }

    async fn remove(
        &self,
        via: &Node,
        member: &Node,
        force: bool,
        _deadline: Duration,
    ) -> Result<(), ChangeError> {
        self.member(via)?;
        let mut world = self.0.world();
        world
            .trace
            .push(format!("{} removed, by force {force}", member.name));
        world.members.retain(|name| *name != member.name.as_str());
        Ok(())
    }

    async fn list(&self, via: &Node, _deadline: Duration) -> Result<Vec<String>, ChangeError> {
        self.member(via)?;
        Ok(self.0.world().members.clone())
    }

    async fn takes_part(&self, node: &Node, _deadline: Duration) -> Result<bool, ChangeError> {
        Ok(self.member(node).is_ok())
    }
}

impl SimSystem {
    fn member(&self, node: &Node) -> Result<(), ChangeError> {
        let world = self.0.world();
        let there = &world.nodes[node.ordinal];
        match there.pid.is_some() && !there.wiped && there.mood == Mood::Well {
            true => Ok(()),
            false => Err(no("nobody listens")),
        }
    }
}

fn no(message: &str) -> ChangeError {
    ChangeError::Refused(harness_core::event::OpError {
        kind: "not-running".to_owned(),
        message: message.to_owned(),
    })
}

impl DataFolder for SimSystem {
    fn data_folder(&self, _node: &Node) -> PathBuf {
        "/srv/sim".into()
    }
}
