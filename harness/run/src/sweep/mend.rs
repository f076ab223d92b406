//! What mends what a point left: tried one after the other, each on what the one before left.
//!
//! ```text
//! a join    retry ── agree ──▶ end        a remove   retry ── agree ──▶ end
//!             └─▶ forced removal ──▶ fresh join        └─▶ forced removal ──▶ fresh join
//! ```
//!
//! A member that is in all sources after a join, or in none after a remove, needs nothing. One that is in none after a join is joined
//! again all the same: a name that can never be used again is damage as well. There all agree before and after, whatever became of the
//! retry, so that it must have gone through.

use std::{sync::Arc, time::Duration};

use harness_core::{
    history::Outcome,
    sweep::{Mend, MendKind, OpEnd, Remains, Standing, SweepOp},
};
use harness_lab::{
    Node,
    capability::{CapabilityError, ChangeError, Membership},
};

use super::{Ask, Cell, SweepError, Works, look, needed, subject};

/// How long a change may take that mends.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);
/// How long a member may take to show that it answers.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Heartbeats that sources may take to agree after a change that succeeded, and after one that did not.
const HEARTBEATS_OK: u32 = 3;
/// See [`HEARTBEATS_OK`].
const HEARTBEATS_FAILED: u32 = 1;

/// Tries to mend what was left.
pub(super) async fn mends(
    works: &Works,
    cell: &Cell,
    left: &Remains,
) -> Result<Vec<Mend>, SweepError> {
    let ask = &works.ask;
    let joins = ask.head.op != SweepOp::Remove;
    let wanted = if joins { Standing::In } else { Standing::Out };
    let mut done = Vec::new();
    if left.agrees() && left.standing() == wanted {
        return Ok(done);
    }
    for kind in [
        MendKind::Retry,
        MendKind::ForcedRemoval,
        MendKind::FreshJoin,
    ] {
        works.go_on()?;
        let mend = mend(ask, cell, kind).await?;
        let enough = kind == MendKind::Retry && is_enough(left.agrees(), &mend);
        done.push(mend);
        if enough {
            break;
        }
    }
    Ok(done)
}

/// Whether nothing more has to be tried: all agree where they did not, and where they did the change went through.
fn is_enough(agreed: bool, mend: &Mend) -> bool {
    let ok = Outcome::Ok.as_str();
    mend.agrees && (!agreed || mend.outcome.as_ref().is_some_and(|end| end.end == ok))
}

async fn mend(ask: &Ask, cell: &Cell, kind: MendKind) -> Result<Mend, SweepError> {
    let changed = change(ask, cell, kind).await?;
    let heartbeat = cell
        .system
        .timing()
        .map_or(ask.unchanged, |timing| timing.heartbeat);
    let heartbeats = match changed {
        Ok(()) => HEARTBEATS_OK,
        Err(_) => HEARTBEATS_FAILED,
    };
    let left = look::until_agreed(ask, cell, heartbeat * heartbeats).await?;
    Ok(Mend {
        kind,
        outcome: Some(end(changed)),
        agrees: left.agrees(),
        left,
    })
}

fn end(changed: Result<(), ChangeError>) -> OpEnd {
    let (end, error) = match changed {
        Ok(()) => ("ok", None),
        Err(ChangeError::Refused(error)) => ("fail", Some(error)),
        Err(ChangeError::Unclear(error)) => ("info", Some(error)),
    };
    OpEnd {
        end: end.to_owned(),
        kind: error.as_ref().map(|error| error.kind.clone()),
        message: error.map(|error| error.message),
    }
}

async fn change(
    ask: &Ask,
    cell: &Cell,
    kind: MendKind,
) -> Result<Result<(), ChangeError>, SweepError> {
    let system = &*cell.system;
    let membership = needed("membership", system, system.handles().membership)?;
    let subject = subject(ask, &cell.nodes);
    let via = answering(ask, cell, &membership).await;
    let removes = ask.head.op == SweepOp::Remove;
    Ok(match kind {
        MendKind::Restart => Ok(()),
        MendKind::Retry if removes => membership.remove(&via, subject, false, CHANGE_LIMIT).await,
        MendKind::Retry => join(&membership, &via, subject).await,
        MendKind::ForcedRemoval => membership.remove(&via, subject, true, CHANGE_LIMIT).await,
        MendKind::FreshJoin => match membership.stand_by(subject).await {
            Ok(_) => join(&membership, &via, subject).await,
            Err(error) => return Err(not_ready(error)),
        },
    })
}

fn not_ready(error: CapabilityError) -> SweepError {
    SweepError::Capability(error)
}

async fn join(
    membership: &Arc<dyn Membership>,
    via: &Node,
    subject: &Node,
) -> Result<(), ChangeError> {
    let invitation = membership.invite(via, subject, CHANGE_LIMIT).await?;
    membership
        .join(via, subject, &invitation, CHANGE_LIMIT)
        .await
}

/// A member that answers; the first one if none does, so that what it says is told.
async fn answering(ask: &Ask, cell: &Cell, membership: &Arc<dyn Membership>) -> Node {
    let others = cell.others(ask);
    for node in &others {
        if membership.list(node, ANSWER_LIMIT).await.is_ok() {
            return node.clone();
        }
    }
    others
        .into_iter()
        .next()
        .unwrap_or_else(|| cell.nodes[0].clone())
}

#[cfg(test)]
mod tests {
    use harness_core::event::OpError;

    use super::*;

    #[test]
    fn a_retry_that_failed_where_nothing_was_left_is_not_enough() {
        let ended = |went: bool, agrees: bool| {
            let lost = || {
                Err(ChangeError::Unclear(OpError {
                    kind: "lost".to_owned(),
                    message: String::new(),
                }))
            };
            Mend {
                kind: MendKind::Retry,
                outcome: Some(end(if went { Ok(()) } else { lost() })),
                agrees,
                left: Remains::default(),
            }
        };
        for (agreed, went, agrees, enough) in [
            (true, true, true, true),
            (true, false, true, false),
            (false, false, true, true),
            (false, true, true, true),
            (false, true, false, false),
            (true, true, false, false),
        ] {
            let said = is_enough(agreed, &ended(went, agrees));
            assert_eq!(said, enough, "{agreed} {went} {agrees}");
        }
    }
}
