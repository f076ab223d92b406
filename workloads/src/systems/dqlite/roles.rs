//! Roles and leadership over the wire: ASSIGN and TRANSFER, as an application sends them to the leader.
//!
//! go-dqlite's own loop on the leader mends roles every [`super::ROLES_PERIOD`]: what is assigned here may be undone then.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use dqlite_wire::{Role, client::Deadline, outcome::Sent};
use harness_lab::{
    Node,
    capability::{CapabilityError, ChangeError, Seen, Transfer},
};

use super::{
    Dqlite, outcome, paths,
    session::{self, Member},
};

/// How long one hand-over of leadership may take: raft itself gives up after an election time-out, which is 3 s.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(5);

impl Dqlite {
    /// Gives `member` a role, asked for on `via`; returns once the change is committed.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] if it is no member, has that role already, or the leader refused; else unclear.
    pub async fn assign_role(
        &self,
        via: &Node,
        member: &Node,
        role: Role,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let deadline = Deadline::after(deadline);
        let mut leader = session::leader_via(via, deadline).await?;
        let members = session::members(&mut leader, deadline).await?;
        let target = listed(&members, member)?;
        leader
            .connection
            .assign(target.id, role, deadline)
            .await
            .map_err(|error| outcome::of_wire(&error, Sent::Membership))
    }

    /// Hands leadership to `to`, or to whichever other voter takes it, asked for on `via`. Returns the address of the new
    /// leader once that one says that it leads.
    ///
    /// # Errors
    /// [`ChangeError::Refused`] if there is no such voter or no leader; else unclear.
    pub async fn transfer_leadership(
        &self,
        via: &Node,
        to: Option<&Node>,
        deadline: Duration,
    ) -> Result<String, ChangeError> {
        let deadline = Deadline::after(deadline);
        let mut leader = session::leader_via(via, deadline).await?;
        let members = session::members(&mut leader, deadline).await?;
        let before = leader.node.address.clone();
        let target = match to {
            Some(node) => {
                let member = listed(&members, node)?;
                if member.address == before {
                    return Ok(before);
                }
                if !member.is_voter() {
                    let message = format!("{} has no vote, so it cannot lead", node.name);
                    return Err(outcome::refused("no-voter", message));
                }
                member
            }
            None => heirs(&members, leader.node.id, &BTreeSet::new())
                .into_iter()
                .find(|heir| heir.is_voter())
                .ok_or_else(|| outcome::refused("no-voter", "there is no other voter"))?,
        };
        let within = deadline.within(TRANSFER_TIMEOUT);
        leader
            .connection
            .transfer(target.id, within)
            .await
            .map_err(|error| outcome::of_wire(&error, Sent::Transfer))?;
        let now = session::leader_via(via, deadline).await.map_err(|error| {
            let (ChangeError::Refused(said) | ChangeError::Unclear(said)) = error;
            ChangeError::Unclear(said)
        })?;
        Ok(now.node.address)
    }

    /// One try at making another member the leader, for a leader that is to be removed: a voter if there is one, else the
    /// best of the others, who is made a voter first. `tried` are ids that did not take it.
    pub(super) async fn make_another_lead(
        &self,
        leader: &mut session::Leading,
        members: &[Member],
        tried: &mut BTreeSet<u64>,
        deadline: Deadline,
    ) -> Result<(), ChangeError> {
        let heirs = heirs(members, leader.node.id, tried);
        let Some(heir) = heirs.first() else {
            let message = format!(
                "{} leads, and no other member could take its place",
                leader.node.address
            );
            return Err(outcome::refused("leads", message));
        };
        let within = deadline.within(TRANSFER_TIMEOUT);
        let connection = &mut leader.connection;
        let mut handed = Ok(());
        if !heir.is_voter() {
            handed = connection.assign(heir.id, Role::Voter, within).await;
        }
        if handed.is_ok() {
            handed = connection.transfer(heir.id, within).await;
        }
        if handed.is_err() {
            tried.insert(heir.id);
        }
        // Who leads now is asked anew: an answer that is lost may have been a yes.
        Ok(())
    }
}

/// How long a hand-over may take, with looking for the leader before and after it.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(15);

#[async_trait]
impl Transfer for Dqlite {
    async fn transfer(&self, _nodes: &[Node], to: &Node) -> Result<Seen, CapabilityError> {
        let handed = self
            .transfer_leadership(to, Some(to), HAND_OVER_LIMIT)
            .await;
        let detail = match handed {
            Ok(address) if address == paths::db_address(to) => {
                let detail = format!("{} leads ({address})", to.name);
                return Ok(Seen { pid: None, detail });
            }
            Ok(address) => format!("then {address} led"),
            Err(error) => error.to_string(),
        };
        Err(CapabilityError::Failed {
            what: "hand leadership over".to_owned(),
            node: to.name.to_string(),
            detail,
        })
    }
}

/// The member of a node.
pub(super) fn listed<'a>(members: &'a [Member], node: &Node) -> Result<&'a Member, ChangeError> {
    let address = paths::db_address(node);
    members
        .iter()
        .find(|member| member.address == address)
        .ok_or_else(|| {
            let message = format!("the leader lists no member at {address}");
            outcome::refused("not-a-member", message)
        })
}

/// Who could lead instead of `leader`: voters first, then stand-bys, then spares, each in raft's order.
fn heirs<'a>(members: &'a [Member], leader: u64, tried: &BTreeSet<u64>) -> Vec<&'a Member> {
    let mut heirs: Vec<&Member> = members
        .iter()
        .filter(|member| member.id != leader && !tried.contains(&member.id))
        .collect();
    heirs.sort_by_key(|member| member.role.map_or(u64::MAX, Role::wire_code));
    heirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_come_first_and_who_was_tried_or_leads_does_not_come() {
        let member = |id, role| Member {
            id,
            address: format!("10.0.0.{id}:9001"),
            role: Some(role),
        };
        let members = [
            member(1, Role::Spare),
            member(2, Role::Voter),
            member(3, Role::StandBy),
            member(4, Role::Voter),
            member(5, Role::Voter),
        ];
        let ids = |tried: &[u64]| -> Vec<u64> {
            heirs(&members, 4, &tried.iter().copied().collect())
                .iter()
                .map(|member| member.id)
                .collect()
        };
        assert_eq!(ids(&[]), [2, 5, 3, 1]);
        assert_eq!(ids(&[2, 5]), [3, 1]);
        assert!(ids(&[1, 2, 3, 5]).is_empty());
    }
}
