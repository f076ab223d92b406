//! A node that lost its data: killed and emptied, and let in again as a new member.
//!
//! 1. What was wiped comes back by the system's own way in: a live member removes it by force, it stands by, it is invited, it joins.
//! 2. Until then it is nobody else's: no other fault strikes it, and none starts it.
//! 3. No more voters are wiped than the rest can do without: the others could not let them in again.
//! 4. Damaged data are healed that way too, where it may be done: a copy from before is not what the node has acknowledged since.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use harness_lab::{
    Node,
    capability::{ChangeError, Membership},
};
use tokio::time::{Instant, sleep, timeout};

use super::{
    process::{ACTION_LIMIT, Holds, Processes, Struck},
    report::{Cause, Trouble, with_sources},
};
use crate::plan::resolve::minority;

/// How long a member may take to list the others.
const LIST_LIMIT: Duration = Duration::from_secs(5);
/// How long one removal, invitation or join may take.
const CHANGE_LIMIT: Duration = Duration::from_secs(45);
/// How much longer such a call may take to end by itself.
const CHANGE_MARGIN: Duration = Duration::from_secs(10);
/// Pause before another try.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// How long somebody may take to say who votes.
const VOTERS_LIMIT: Duration = Duration::from_secs(5);

impl Processes {
    /// Law 3.
    pub(super) async fn may_wipe(&self, nodes: &[usize]) -> Result<(), String> {
        let known = match &self.can.leader {
            Some(knows) => timeout(VOTERS_LIMIT, knows.voters(&self.nodes)).await.ok(),
            None => None,
        };
        let voters: BTreeSet<usize> = match known.flatten() {
            Some(voters) => voters.iter().map(|voter| voter.ordinal).collect(),
            None => (0..self.nodes.len()).collect(),
        };
        let mut gone: BTreeSet<usize> = nodes.iter().copied().collect();
        for (at, holds) in self.holds.iter().enumerate() {
            // One that is locked is being acted on: counted as if it were down.
            if holds.try_lock().map_or(true, |holds| holds.wiped.is_some()) {
                gone.insert(at);
            }
        }
        let lost = gone.intersection(&voters).count();
        if lost <= minority(voters.len()) {
            return Ok(());
        }
        Err(format!(
            "{lost} of {} voters would be without their data, and the others could not let them in again",
            voters.len()
        ))
    }

    /// Empties a node whose data were damaged, and lets it in again. What came of it, or why it was left as it is.
    pub(super) async fn renew(
        &self,
        at: usize,
        fault: u32,
        deadline: Instant,
    ) -> Result<Result<String, String>, Trouble> {
        let mut holds = self.holds[at].lock().await;
        match holds.wiped {
            Some(other) if other != fault => {
                let text = format!("was wiped by fault {other}, which brings it back");
                return Ok(Ok(text));
            }
            _ => {}
        }
        if let Some(other) = holds.down.first().or(holds.frozen.first()) {
            return Ok(Err(format!("fault {other} holds it")));
        }
        holds.wiped = Some(fault);
        let emptied = match self.wipe(at).await {
            Struck::Seen(text) | Struck::Already(text) => text,
            Struck::Failed(why) => return Err(Trouble::lab(self.nodes[at].name.as_str(), why)),
        };
        let joined = self.bring_in(at, fault, &mut holds, deadline).await?;
        Ok(Ok(format!("{emptied}; {joined}")))
    }

    /// Kills the system and removes its data.
    pub(super) async fn wipe(&self, at: usize) -> Struck {
        let Some(wipe) = &self.can.wipe else {
            return Struck::Failed("the system offers no wipe".to_owned());
        };
        match timeout(ACTION_LIMIT, wipe.wipe(&self.nodes[at])).await {
            Ok(Ok(seen)) if seen.pid.is_some() => {
                Struck::Seen(format!("{}, and its data are removed", seen.detail))
            }
            Ok(Ok(seen)) => Struck::Already(format!(
                "no process to strike ({}), and its data are removed",
                seen.detail
            )),
            Ok(Err(error)) => Struck::Failed(with_sources(&error)),
            Err(_) => Struck::Failed(format!(
                "the wipe did not end within {} s",
                ACTION_LIMIT.as_secs()
            )),
        }
    }

    /// Law 1, until the deadline.
    pub(super) async fn bring_in(
        &self,
        at: usize,
        fault: u32,
        holds: &mut Holds,
        deadline: Instant,
    ) -> Result<String, Trouble> {
        if holds.wiped != Some(fault) {
            return Ok("was not wiped".to_owned());
        }
        let node = &self.nodes[at];
        let name = node.name.as_str();
        let Some(membership) = &self.can.membership else {
            return Err(Trouble::lab(name, "the system offers no way back"));
        };
        loop {
            match self.join_anew(node, membership, deadline).await {
                Ok(text) => {
                    holds.wiped = None;
                    return Ok(text);
                }
                Err(why) if Instant::now() + RETRY_PAUSE >= deadline => {
                    return Err(Trouble {
                        node: name.to_owned(),
                        cause: Cause::System,
                        text: format!("was wiped, and was not let in again: {why}"),
                    });
                }
                Err(_) => sleep(RETRY_PAUSE).await,
            }
        }
    }

    async fn join_anew(
        &self,
        node: &Node,
        membership: &Arc<dyn Membership>,
        deadline: Instant,
    ) -> Result<String, String> {
        let left = || CHANGE_LIMIT.min(deadline.saturating_duration_since(Instant::now()));
        let (via, listed) = self.member_that_answers(node, membership).await?;
        let name = node.name.as_str();
        let mut removed = "was listed no more";
        if listed.iter().any(|member| member == name) {
            ended(left(), membership.remove(via, node, true, left())).await?;
            removed = "removed by force";
        }
        timeout(ACTION_LIMIT, membership.stand_by(node))
            .await
            .map_err(|_| "it was not made ready in time".to_owned())?
            .map_err(|error| with_sources(&error))?;
        let invitation = ended(left(), membership.invite(via, node, left())).await?;
        let began = Instant::now();
        ended(left(), membership.join(via, node, &invitation, left())).await?;
        Ok(format!(
            "{removed} and joined anew through {} in {:.1} s",
            via.name,
            began.elapsed().as_secs_f64()
        ))
    }

    /// Another node that lists members, and whom it lists.
    async fn member_that_answers(
        &self,
        but: &Node,
        membership: &Arc<dyn Membership>,
    ) -> Result<(&Node, Vec<String>), String> {
        let mut last = "there is no other node".to_owned();
        for via in self.nodes.iter().filter(|via| via.name != but.name) {
            match ended(LIST_LIMIT, membership.list(via, LIST_LIMIT)).await {
                Ok(listed) if listed.iter().any(|member| member == via.name.as_str()) => {
                    return Ok((via, listed));
                }
                Ok(_) => last = format!("{} is no member itself", via.name),
                Err(why) => last = format!("{}: {why}", via.name),
            }
        }
        Err(format!("no member answers ({last})"))
    }
}

/// A call that ends by itself, and is given up if it does not.
async fn ended<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, ChangeError>>,
) -> Result<T, String> {
    match timeout(limit + CHANGE_MARGIN, call).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!(
            "no answer within {} s",
            (limit + CHANGE_MARGIN).as_secs()
        )),
    }
}
