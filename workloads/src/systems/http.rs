//! One HTTP/1.1 request on a connection of its own, made from a node: for interfaces of systems that speak HTTP.
//!
//! Law: [`HttpError::Connect`] means that no byte of the request left; after any other error it may have been acted on.

use std::time::Duration;

use harness_lab::{Address, Node, TransportError};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use thiserror::Error;

/// Why there is no answer to a request.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The interface could not be connected to: it never saw the request.
    #[error("no connection to the HTTP interface")]
    Connect(#[source] TransportError),
    /// Something went wrong after the request may have been sent.
    #[error("the HTTP request was cut off: {0}")]
    Cut(String),
    /// No answer in time.
    #[error("no answer from the HTTP interface within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The method.
    pub method: &'a Method,
    /// Path and query, with its leading slash.
    pub path: &'a str,
    /// The `Host` header.
    pub host: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// The longest answer that is read, in bytes.
    pub answer_limit_bytes: usize,
}

/// Sends one request to an address as seen from the node, and gives the status and the body of the answer.
///
/// # Errors
/// See [`HttpError`]; an answer of any status is none.
pub async fn send(
    node: &Node,
    address: &Address,
    ask: Ask<'_>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), HttpError> {
    match tokio::time::timeout(timeout, exchange(node, address, ask, timeout)).await {
        Err(_) => Err(HttpError::TimedOut(timeout)),
        Ok(ended) => ended,
    }
}

/// Ends the task that drives a connection when it goes out of scope, also if the call is dropped.
struct Driver(tokio::task::JoinHandle<Result<(), hyper::Error>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange(
    node: &Node,
    address: &Address,
    ask: Ask<'_>,
    timeout: Duration,
) -> Result<(StatusCode, Bytes), HttpError> {
    let stream = node
        .transport
        .connect(address, timeout)
        .await
        .map_err(HttpError::Connect)?;
    let cut = |error: &dyn std::fmt::Display| HttpError::Cut(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| cut(&error))?;
    let _driver = Driver(tokio::spawn(connection));
    let request = Request::builder()
        .method(ask.method)
        .uri(ask.path)
        .header(hyper::header::HOST, ask.host)
        .header(hyper::header::CONNECTION, "close")
        .body(Full::new(Bytes::copy_from_slice(ask.body)))
        .map_err(|error| cut(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| cut(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ask.answer_limit_bytes)
        .collect()
        .await
        .map_err(|error| cut(&error))?
        .to_bytes();
    Ok((status, body))
}
