//! Asking LXD: SQL on its own global database, and GET on its REST interface, both through a daemon's unix socket.

use std::time::Duration;

use async_trait::async_trait;
use harness_lab::{
    Address, Node,
    capability::{CapabilityError, Query},
};
use serde_json::Value;

use super::{Lxd, rest::Database};
use crate::systems::asking::{get, query_failed};

#[async_trait]
impl Query for Lxd {
    /// The first of the nodes that answers speaks for the leader: daemons pass the statement on.
    async fn sql(
        &self,
        nodes: &[Node],
        statement: &str,
        deadline: Duration,
    ) -> Result<Option<Value>, CapabilityError> {
        let mut last = query_failed("no node", "nobody is asked");
        for node in nodes {
            match Self::sql(self, node, Database::Global, statement, deadline).await {
                Ok(rows) => {
                    let first = rows.into_iter().next();
                    return Ok(first.and_then(|row| row.into_iter().next()));
                }
                Err(error) => last = query_failed(node.name.as_str(), &error.told()),
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
        let address = Address::Unix(self.options().socket());
        get(node, &address, "lxd", path, deadline).await
    }
}
