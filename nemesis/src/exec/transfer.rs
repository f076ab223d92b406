//! Handing leadership over. Nothing of it is to be undone.

use std::time::Duration;

use harness_core::fault::Evidence;
use tokio::time::timeout;

use super::{
    network::CLOSED,
    one::Inner,
    process::ACTION_LIMIT,
    report::{Undone, with_sources},
};

/// How long somebody may take to say who leads.
const LEADER_LIMIT: Duration = Duration::from_secs(3);

impl Inner {
    /// Hands leadership to the first of these.
    pub(super) async fn hand_over(&self, nodes: &[usize]) -> Result<Vec<Evidence>, String> {
        let (Some(at), Some(transfer), Some(knows)) = (nodes.first(), &self.transfer, &self.leader)
        else {
            return Err("leadership cannot be handed over here".to_owned());
        };
        if self.processes.is_closed() {
            return Err(CLOSED.to_owned());
        }
        let to = &self.nodes[*at];
        let before = timeout(LEADER_LIMIT, knows.leader(&self.nodes)).await;
        let before = before.ok().flatten();
        if before.as_ref().is_some_and(|before| before.name == to.name) {
            return Err(format!("{} leads already", to.name));
        }
        let seen = timeout(ACTION_LIMIT, transfer.transfer(&self.nodes, to))
            .await
            .map_err(|_| format!("no answer within {} s", ACTION_LIMIT.as_secs()))?
            .map_err(|error| with_sources(&error))?;
        let before = before.map_or_else(
            || "nobody was known to lead before".to_owned(),
            |before| format!("{} led before", before.name),
        );
        Ok(vec![Evidence {
            node: to.name.to_string(),
            text: format!("{}; {before}", seen.detail),
        }])
    }

    /// See the module.
    pub(super) fn nothing_to_undo(&self, nodes: &[usize]) -> Undone {
        let mut undone = Undone::default();
        for at in nodes {
            undone.saw(&self.names[*at], "nothing is to be undone");
        }
        undone
    }
}
