//! One machine or container that we reach over SSH.

use std::{fmt, net::IpAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::transport::Transport;

/// The name of a node inside a lab: `n1`, `n2`, … for the built-in providers, free for an inventory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Takes any text; inventories are validated where they are parsed.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(Arc::from(name.as_ref()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One machine or container that we reach over SSH.
#[derive(Clone)]
pub struct Node {
    /// Its name in the lab.
    pub name: NodeName,
    /// Its place in the lab, from 0. Stable for the life of the lab.
    pub ordinal: usize,
    /// The address that the *other nodes* reach it at; systems under test bind here.
    pub address: IpAddr,
    /// How we reach it.
    pub transport: Arc<dyn Transport>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name)
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
