//! Asking LXD: SQL on its own global database, and GET on its REST interface, both through a daemon's unix socket.

use std::time::Duration;

use async_trait::async_trait;
use harness_lab::{
    Address, Node,
    capability::{CapabilityError, Query},
};
use hyper::Method;
use serde_json::Value;

use super::{Lxd, rest::Database};
use crate::systems::http;

/// The longest answer that is read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 1024 * 1024;

#[async_trait]
impl Query for Lxd {
    /// The first of the nodes that answers speaks for the leader: daemons pass the statement on.
    async fn sql(
        &self,
        nodes: &[Node],
        statement: &str,
        deadline: Duration,
    ) -> Result<Option<Value>, CapabilityError> {
        let mut last = failed("no node", "nobody is asked".to_owned());
        for node in nodes {
            match Self::sql(self, node, Database::Global, statement, deadline).await {
                Ok(rows) => {
                    let first = rows.into_iter().next();
                    return Ok(first.and_then(|row| row.into_iter().next()));
                }
                Err(error) => last = failed(node.name.as_str(), error.told()),
            }
        }
        Err(last)
    }

    async fn get(
        &self,
        node: &Node,
        path: &str,
        deadline: Duration,
    ) -> Result<(u16, Vec<u8>), CapabilityError> {
        let ask = http::Ask {
            method: &Method::GET,
            path,
            host: "lxd",
            body: b"",
            answer_limit_bytes: ANSWER_LIMIT_BYTES,
        };
        let address = Address::Unix(self.options().socket());
        let answer = http::send(node, &address, ask, deadline).await;
        let (status, body) =
            answer.map_err(|error| failed(node.name.as_str(), error.to_string()))?;
        Ok((status.as_u16(), body.to_vec()))
    }
}

fn failed(node: &str, detail: String) -> CapabilityError {
    CapabilityError::Failed {
        what: "a query".to_owned(),
        node: node.to_owned(),
        detail,
    }
}
