//! Asking every node the same, whatever the system is.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_lab::{Address, Node, capability::CapabilityError};
use hyper::Method;
use tokio::task::JoinSet;

use super::http;
use crate::client::{Client, Clients, OpenError};

/// The longest answer to a query that is read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 1024 * 1024;

/// The answer that most of those give who answer within `timeout`, all asked at once; a tie is none.
pub(super) async fn most_say<F>(asked: impl Iterator<Item = F>, timeout: Duration) -> Option<String>
where
    F: Future<Output = Option<String>> + Send + 'static,
{
    let mut answers = JoinSet::new();
    for ask in asked {
        answers.spawn(tokio::time::timeout(timeout, ask));
    }
    let mut votes: BTreeMap<String, usize> = BTreeMap::new();
    while let Some(answer) = answers.join_next().await {
        if let Ok(Ok(Some(said))) = answer {
            *votes.entry(said).or_default() += 1;
        }
    }
    let most = votes.values().copied().max()?;
    let mut leading = votes.into_iter().filter(|(_, count)| *count == most);
    let (said, _) = leading.next()?;
    leading.next().is_none().then_some(said)
}

/// The status and the body of a GET on a node's own interface.
pub(super) async fn get(
    node: &Node,
    address: &Address,
    host: &str,
    path: &str,
    deadline: Duration,
) -> Result<(u16, Vec<u8>), CapabilityError> {
    let ask = http::Ask {
        method: &Method::GET,
        path,
        host,
        body: b"",
        answer_limit_bytes: ANSWER_LIMIT_BYTES,
    };
    let answer = http::send(node, address, ask, deadline).await;
    let (status, body) =
        answer.map_err(|error| query_failed(node.name.as_str(), &error.to_string()))?;
    Ok((status.as_u16(), body.to_vec()))
}

/// A query that was not answered.
pub(super) fn query_failed(node: &str, detail: &str) -> CapabilityError {
    CapabilityError::Failed {
        what: "a query".to_owned(),
        node: node.to_owned(),
        detail: detail.to_owned(),
    }
}

/// A member's address as a connector gets it.
pub(super) fn socket_address(text: &str) -> io::Result<SocketAddr> {
    text.parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not an address and a port"))
}

/// Clients of which thread `i` works on the `i`-th node.
pub(super) struct OnePerNode<F> {
    nodes: Arc<[Node]>,
    client: F,
}

impl<F> OnePerNode<F>
where
    F: Fn(Node, u64) -> Box<dyn Client> + Send + Sync,
{
    /// `client` makes the client of a process on a node.
    pub fn new(nodes: &[Node], client: F) -> Self {
        Self {
            nodes: nodes.into(),
            client,
        }
    }
}

#[async_trait]
impl<F> Clients for OnePerNode<F>
where
    F: Fn(Node, u64) -> Box<dyn Client> + Send + Sync,
{
    fn node_of_thread(&self, thread: usize) -> Option<Arc<str>> {
        self.nodes
            .get(thread)
            .map(|node| Arc::from(node.name.as_str()))
    }

    async fn open(&self, thread: usize, process: u64) -> Result<Box<dyn Client>, OpenError> {
        match self.nodes.get(thread) {
            Some(node) => Ok((self.client)(node.clone(), process)),
            None => Err(OpenError {
                kind: "no-node".to_owned(),
                message: format!("there is no node for thread {thread}"),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn most_votes_win_and_a_tie_is_nobody() {
        for (answers, expected) in [
            (vec![Some("a"), Some("b"), Some("a")], Some("a")),
            (vec![Some("a"), Some("b")], None),
            (vec![None, Some("b")], Some("b")),
            (vec![None, None], None),
            (vec![], None),
        ] {
            let asked = answers.iter().map(|said| {
                let said = said.map(str::to_owned);
                async move { said }
            });
            let said = most_say(asked, Duration::from_secs(1)).await;
            assert_eq!(said.as_deref(), expected, "{answers:?}");
        }
        let late = std::iter::once(std::future::pending::<Option<String>>());
        assert_eq!(most_say(late, Duration::from_secs(1)).await, None);
    }
}
