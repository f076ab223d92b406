//! Asking dqlite: SQL on the workload's database over its wire protocol, and GET on `dqlite-demo`'s own interface.

use std::time::Duration;

use async_trait::async_trait;
use dqlite_wire::{Value as Wire, client::Deadline};
use harness_lab::{
    Address, Node,
    capability::{CapabilityError, Query},
};
use serde_json::{Value, json};

use super::{Dqlite, paths, session, sql::DATABASE};
use crate::systems::asking::{get, query_failed};

#[async_trait]
impl Query for Dqlite {
    async fn sql(
        &self,
        nodes: &[Node],
        statement: &str,
        deadline: Duration,
    ) -> Result<Option<Value>, CapabilityError> {
        let until = Deadline::after(deadline);
        let first = nodes
            .first()
            .ok_or_else(|| query_failed("no node", "nobody is asked"))?;
        let leader = session::to_leader(first, nodes, deadline).await;
        let mut leader =
            leader.map_err(|error| query_failed(first.name.as_str(), &error.to_string()))?;
        let at = leader.node.address.clone();
        let connection = &mut leader.connection;
        let said = |error: dqlite_wire::client::ClientError| query_failed(&at, &error.to_string());
        connection.open(DATABASE, until).await.map_err(said)?;
        let answer = connection
            .query_sql(statement, &[], until)
            .await
            .map_err(said)?;
        let first = answer.rows.into_iter().next();
        Ok(first.and_then(|row| row.into_iter().next()).map(plain))
    }

    async fn get(
        &self,
        node: &Node,
        path: &str,
        deadline: Duration,
    ) -> Result<(u16, Vec<u8>), CapabilityError> {
        let address = Address::Tcp((node.address, paths::API_PORT).into());
        get(node, &address, &paths::api_address(node), path, deadline).await
    }
}

fn plain(value: Wire) -> Value {
    match value {
        Wire::Integer(number) | Wire::UnixTime(number) => json!(number),
        Wire::Float(number) => json!(number),
        Wire::Text(text) | Wire::Iso8601(text) => json!(text),
        Wire::Blob(bytes) => json!(String::from_utf8_lossy(&bytes)),
        Wire::Null => Value::Null,
        Wire::Boolean(truth) => json!(truth),
    }
}
