//! `dqlite-demo`'s own HTTP interface, reached from the node itself: what its users would use.
//!
//! Every answer has status 200. The body is `done` after a `PUT`, the value after a `GET`, or begins with `Error:`.
//! An answer of `Error:` to a `PUT` proves nothing about whether the write took effect.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_core::event::OpError;
use harness_lab::{Address, Node, TransportError};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::json;
use thiserror::Error;

use super::paths;
use crate::client::{Client, Clients, Completion, Invocation, OpenError};

/// The longest answer that is read, in bytes.
const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// Why a request did not succeed.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The interface could not be connected to: it never saw the request.
    #[error("no connection to the HTTP interface")]
    Connect(#[source] TransportError),
    /// Something went wrong after the request may have been sent.
    #[error("the HTTP request was cut off: {0}")]
    Cut(String),
    /// It answered with an error.
    #[error("the HTTP interface answered {0:?}")]
    Answer(String),
    /// No answer in time.
    #[error("no answer from the HTTP interface within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// Stores a value under a key, through the interface of `node`, from that node.
pub async fn put(node: &Node, key: &str, value: &str, timeout: Duration) -> Result<(), HttpError> {
    match tokio::time::timeout(timeout, request(node, Method::PUT, key, value, timeout)).await {
        Err(_) => Err(HttpError::TimedOut(timeout)),
        Ok(Err(error)) => Err(error),
        Ok(Ok(body)) if body == "done" => Ok(()),
        Ok(Ok(body)) => Err(HttpError::Answer(body)),
    }
}

async fn request(
    node: &Node,
    method: Method,
    key: &str,
    value: &str,
    timeout: Duration,
) -> Result<String, HttpError> {
    let address = Address::Tcp((node.address, paths::API_PORT).into());
    let stream = node
        .transport
        .connect(&address, timeout)
        .await
        .map_err(HttpError::Connect)?;
    let cut = |error: &dyn std::fmt::Display| HttpError::Cut(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| cut(&error))?;
    // Dropping the task's handle does not end it; the connection ends when the sender is dropped.
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(format!("/{key}"))
        .header(hyper::header::HOST, paths::api_address(node))
        .header(hyper::header::CONNECTION, "close")
        .body(Full::new(Bytes::copy_from_slice(value.as_bytes())))
        .map_err(|error| cut(&error))?;
    let answer = sender.send_request(request).await;
    let body = match answer {
        Ok(response) => Limited::new(response.into_body(), BODY_LIMIT_BYTES)
            .collect()
            .await
            .map_err(|error| cut(&error))?
            .to_bytes(),
        Err(error) => return Err(cut(&error)),
    };
    driver.abort();
    Ok(String::from_utf8_lossy(&body).trim_end().to_owned())
}

/// One client a node that writes through the node's own interface: operation `availability`.
pub struct Probes {
    nodes: Arc<[Node]>,
}

impl Probes {
    /// Thread `i` works on the `i`-th node.
    #[must_use]
    pub fn new(nodes: &[Node]) -> Self {
        Self {
            nodes: nodes.into(),
        }
    }
}

#[async_trait]
impl Clients for Probes {
    fn node_of_thread(&self, thread: usize) -> Option<Arc<str>> {
        self.nodes
            .get(thread)
            .map(|node| Arc::from(node.name.as_str()))
    }

    async fn open(&self, thread: usize, process: u64) -> Result<Box<dyn Client>, OpenError> {
        match self.nodes.get(thread) {
            Some(node) => Ok(Box::new(Probe {
                node: node.clone(),
                process,
            })),
            None => Err(OpenError {
                kind: "no-node".to_owned(),
                message: format!("there is no node for thread {thread}"),
            }),
        }
    }
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
                    HttpError::Connect(_) => "refused",
                    HttpError::Cut(_) => "connection-lost",
                    HttpError::Answer(_) => "http-error",
                    HttpError::TimedOut(_) => "timeout",
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
