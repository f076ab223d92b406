//! Forming a cluster: the first node by preseed, the others by token, one after the other.

use std::time::{Duration, Instant};

use harness_lab::{
    Node,
    capability::{CapabilityError, ChangeError, Membership},
};
use tokio::task::JoinSet;

use super::{Lxd, commands, rest::Database};
use crate::systems::SystemError;

/// How long a cluster may take to form and its roles to settle, from the start of the daemons.
pub const FORM_TIMEOUT: Duration = Duration::from_secs(90);
/// How long one command of it may take.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);
/// How often something is looked at again while waiting.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// Fewest members of which LXD makes all voters that it may.
const MEMBERS_FOR_VOTERS: usize = 3;

fn not_formed(detail: impl Into<String>) -> SystemError {
    SystemError::NotFormed {
        waited: FORM_TIMEOUT,
        detail: detail.into(),
    }
}

/// Voters and stand-bys that a cluster of so many members comes to have; none while there are too few to tell.
fn roles_wanted(members: usize, max_voters: usize, max_standby: usize) -> Option<(usize, usize)> {
    (members >= MEMBERS_FOR_VOTERS).then(|| {
        let voters = members.min(max_voters);
        (voters, (members - voters).min(max_standby))
    })
}

impl Lxd {
    /// Forms a cluster of these nodes.
    pub(super) async fn form_cluster(&self, nodes: &[Node]) -> Result<(), SystemError> {
        let until = Instant::now() + FORM_TIMEOUT;
        let first = nodes
            .first()
            .ok_or_else(|| not_formed("there is no node"))?;
        self.start_all(nodes).await?;
        self.bootstrap(first).await?;
        for node in &nodes[1..] {
            let told = |what: &str, error: ChangeError| {
                let kind = match &error {
                    ChangeError::Refused(error) | ChangeError::Unclear(error) => &error.kind,
                };
                not_formed(format!("{what} {}: {kind}: {error}", node.name))
            };
            let invitation = self
                .invite(first, node, STEP_TIMEOUT)
                .await
                .map_err(|error| told("inviting", error))?;
            self.join(first, node, &invitation, STEP_TIMEOUT)
                .await
                .map_err(|error| told("joining", error))?;
        }
        let mut last = String::from("nobody was asked");
        while Instant::now() < until {
            match self.settled(nodes).await {
                Ok(None) => return Ok(()),
                Ok(Some(seen)) => last = seen,
                Err(error) => last = error,
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Err(not_formed(last))
    }

    async fn start_all(&self, nodes: &[Node]) -> Result<(), SystemError> {
        let mut starting = JoinSet::new();
        for node in nodes {
            let (this, node) = (self.clone(), node.clone());
            starting.spawn(async move { this.start_and_wait(&node).await });
        }
        while let Some(started) = starting.join_next().await {
            started.map_err(|error| not_formed(error.to_string()))??;
        }
        Ok(())
    }

    async fn bootstrap(&self, first: &Node) -> Result<(), SystemError> {
        let preseed = self
            .options()
            .bootstrap_preseed(first.name.as_str(), &self.address(first))
            .map_err(|error| not_formed(error.to_string()))?;
        let run = self.lxd(first, &["init", "--preseed"], &preseed, STEP_TIMEOUT);
        let output = run.await.map_err(CapabilityError::from)?;
        commands::succeeded(first, "lxd init --preseed", output)?;
        let settings = self.options().settings();
        let mut arguments = vec!["config", "set"];
        arguments.extend(settings.iter().map(String::as_str));
        let run = self.lxc(first, &arguments, STEP_TIMEOUT);
        let output = run.await.map_err(CapabilityError::from)?;
        commands::succeeded(first, "lxc config set", output)?;
        Ok(())
    }

    /// What is still missing; nothing if each member is there, online and no longer pending, and roles are as they will be.
    pub(super) async fn settled(&self, nodes: &[Node]) -> Result<Option<String>, String> {
        let Some(first) = nodes.first() else {
            return Ok(None);
        };
        let listed = self
            .listed(first, STEP_TIMEOUT)
            .await
            .map_err(|error| error.told())?;
        let online = listed
            .iter()
            .filter(|member| member["status"] == "Online")
            .count();
        if listed.len() != nodes.len() || online != nodes.len() {
            return Ok(Some(format!(
                "{} of {} members are online",
                online,
                listed.len()
            )));
        }
        let pending = "SELECT name FROM nodes WHERE state <> 0";
        let pending = self
            .sql(first, Database::Global, pending, STEP_TIMEOUT)
            .await
            .map_err(|error| error.told())?;
        if !pending.is_empty() {
            return Ok(Some(format!("{} members are pending", pending.len())));
        }
        let servers = self.servers_of_leader(nodes).await?;
        let count = |role| {
            let of_role = servers.iter().filter(|server| server.role == Some(role));
            of_role.count()
        };
        let has = (
            count(dqlite_wire::Role::Voter),
            count(dqlite_wire::Role::StandBy),
        );
        let options = self.options();
        let wanted = roles_wanted(nodes.len(), options.max_voters, options.max_standby);
        if servers.len() == nodes.len() && wanted.is_none_or(|wanted| wanted == has) {
            return Ok(None);
        }
        Ok(Some(format!(
            "{} servers in raft, {} voters, {} stand-bys",
            servers.len(),
            has.0,
            has.1
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_those_that_lxd_comes_to() {
        for (members, max_voters, max_standby, wanted) in [
            (1, 3, 2, None),
            (2, 3, 2, None),
            (3, 3, 2, Some((3, 0))),
            (4, 3, 2, Some((3, 1))),
            (7, 3, 2, Some((3, 2))),
            (4, 5, 0, Some((4, 0))),
        ] {
            assert_eq!(
                roles_wanted(members, max_voters, max_standby),
                wanted,
                "{members} members"
            );
        }
    }
}
