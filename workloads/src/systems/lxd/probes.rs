//! Writes through the interface that LXD's users use: operation `availability`.
//!
//! A project of ours is given another description, by the daemon of the node, through its unix socket. That is one row of
//! the replicated database, written through the leader by that daemon's own connection, and no other member is told of it:
//! server settings would be, and their result would tell of the other members as well.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_core::event::OpError;
use harness_lab::Node;
use hyper::Method;
use serde_json::json;

use super::{Lxd, rest::RestError};
use crate::{
    client::{Client, Clients, Completion, Invocation},
    systems::asking::OnePerNode,
};

/// The project that is written to.
pub const PROJECT: &str = "harness";
/// What LXD answers for what is not there.
const NOT_FOUND: u16 = 404;

/// One client a node.
pub(super) fn probes(lxd: &Lxd, nodes: &[Node]) -> Arc<dyn Clients> {
    let lxd = lxd.clone();
    Arc::new(OnePerNode::new(nodes, move |node, process| {
        Box::new(Probe {
            lxd: lxd.clone(),
            node,
            process,
            writes: 0,
        })
    }))
}

struct Probe {
    lxd: Lxd,
    node: Node,
    process: u64,
    writes: u64,
}

impl Lxd {
    /// Writes a description to our project through the daemon of a node; makes the project if it is not there.
    ///
    /// # Errors
    /// See [`RestError`]; `not-sent` proves that nothing was written.
    pub async fn write_description(
        &self,
        node: &Node,
        description: &str,
        timeout: Duration,
    ) -> Result<(), RestError> {
        let begun = tokio::time::Instant::now();
        let left = || timeout.saturating_sub(begun.elapsed());
        let path = format!("/1.0/projects/{PROJECT}");
        let body = json!({"description": description});
        let written = self.rest(node, &Method::PATCH, &path, Some(&body), left());
        match written.await {
            Err(RestError::Answer {
                code: NOT_FOUND, ..
            }) => {}
            other => return other.map(drop),
        }
        let project = json!({"name": PROJECT});
        let made = self.rest(node, &Method::POST, "/1.0/projects", Some(&project), left());
        match made.await {
            // Somebody else may have made it meanwhile: the write below tells.
            Ok(_) | Err(RestError::Answer { .. }) => {}
            Err(error) => return Err(error),
        }
        let written = self.rest(node, &Method::PATCH, &path, Some(&body), left());
        written.await.map(drop)
    }
}

#[async_trait]
impl Client for Probe {
    async fn invoke(&mut self, invocation: Invocation<'_>) -> Completion {
        self.writes += 1;
        // LXD need not write what is there already.
        let description = format!("{} {} {}", self.node.name, self.process, self.writes);
        let deadline = invocation.deadline;
        let written = self
            .lxd
            .write_description(&self.node, &description, deadline);
        match written.await {
            Ok(()) => Completion::Ok(json!(self.node.name.as_str())),
            Err(error) => {
                let kind = error.word();
                let told = OpError {
                    kind: kind.to_owned(),
                    message: error.told(),
                };
                if kind == "not-sent" {
                    Completion::Fail(told)
                } else {
                    Completion::Info(told)
                }
            }
        }
    }
}
