//! `dqlite-demo`'s own HTTP interface, reached from the node itself: what its users would use.
//!
//! Every answer has status 200. The body is `done` after a `PUT`, the value after a `GET`, or begins with `Error:`.
//! An answer of `Error:` to a `PUT` proves nothing about whether the write took effect.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_core::event::OpError;
use harness_lab::{Address, Node};
use hyper::Method;
use serde_json::json;
use thiserror::Error;

use super::paths;
use crate::{
    client::{Client, Clients, Completion, Invocation},
    systems::{asking::OnePerNode, http},
};

/// The longest answer that is read, in bytes.
const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// Why a request did not succeed.
#[derive(Debug, Error)]
pub enum HttpError {
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] http::HttpError),
    /// It answered with an error.
    #[error("the HTTP interface answered {0:?}")]
    Answer(String),
}

/// Stores a value under a key, through the interface of `node`, from that node.
pub async fn put(node: &Node, key: &str, value: &str, timeout: Duration) -> Result<(), HttpError> {
    let ask = http::Ask {
        method: &Method::PUT,
        path: &format!("/{key}"),
        host: &paths::api_address(node),
        body: value.as_bytes(),
        answer_limit_bytes: BODY_LIMIT_BYTES,
    };
    let address = Address::Tcp((node.address, paths::API_PORT).into());
    let (_, body) = http::send(node, &address, ask, timeout).await?;
    match String::from_utf8_lossy(&body).trim_end() {
        "done" => Ok(()),
        said => Err(HttpError::Answer(said.to_owned())),
    }
}

/// One client a node that writes through the node's own interface: operation `availability`.
pub(super) fn probes(nodes: &[Node]) -> Arc<dyn Clients> {
    Arc::new(OnePerNode::new(nodes, |node, process| {
        Box::new(Probe { node, process })
    }))
}

struct Probe {
    node: Node,
    process: u64,
}

#[async_trait]
impl Client for Probe {
    async fn invoke(&mut self, invocation: Invocation<'_>) -> Completion {
        let key = format!("harness-availability-{}", self.process);
        match put(&self.node, &key, "1", invocation.deadline).await {
            Ok(()) => Completion::Ok(json!(self.node.name.as_str())),
            Err(error) => {
                let kind = match &error {
                    HttpError::Unanswered(http::HttpError::Connect(_)) => "refused",
                    HttpError::Unanswered(http::HttpError::Cut(_)) => "connection-lost",
                    HttpError::Unanswered(http::HttpError::TimedOut(_)) => "timeout",
                    HttpError::Answer(_) => "http-error",
                };
                let message = match std::error::Error::source(&error) {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                };
                let error = OpError {
                    kind: kind.to_owned(),
                    message,
                };
                // Only a request that never left is proven not to have taken effect.
                if kind == "refused" {
                    Completion::Fail(error)
                } else {
                    Completion::Info(error)
                }
            }
        }
    }
}
