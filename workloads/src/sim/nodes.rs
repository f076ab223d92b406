//! SIMULATION: nodes that are not there. They have names and addresses; nothing can be done on them.

use std::{io, net::Ipv4Addr, path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_lab::{
    Address, ClockOffset, Daemon, Exec, Node, NodeName, NodeStream, Output, TransportError,
    transport::Transport,
};

/// Addresses begin after this one, in a block that is kept for documentation.
const FIRST_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 0);
/// Nodes that a simulation can have: the last byte of an address.
pub const NODES_MAX: usize = 254;

/// Nodes `sim1`, `sim2`, … Every call on one is refused.
#[must_use]
pub fn nodes(count: usize) -> Vec<Node> {
    let node = |ordinal: usize| {
        let name = format!("sim{}", ordinal + 1);
        let last = u32::try_from(ordinal + 1).unwrap_or(u32::MAX);
        Node {
            name: NodeName::new(&name),
            ordinal,
            address: Ipv4Addr::from(u32::from(FIRST_ADDRESS).saturating_add(last)).into(),
            transport: Arc::new(Nowhere { name }),
        }
    };
    (0..count.min(NODES_MAX)).map(node).collect()
}

/// Refuses everything.
struct Nowhere {
    name: String,
}

impl Nowhere {
    fn refuse<T>(&self, what: &str) -> Result<T, TransportError> {
        Err(TransportError::Refused {
            node: self.name.clone(),
            what: what.to_owned(),
            source: io::Error::new(io::ErrorKind::Unsupported, "the node is simulated"),
        })
    }
}

#[async_trait]
impl Transport for Nowhere {
    fn node(&self) -> &str {
        &self.name
    }

    async fn exec(&self, _exec: Exec) -> Result<Output, TransportError> {
        self.refuse("run a command")
    }

    async fn spawn(&self, _daemon: Daemon) -> Result<u32, TransportError> {
        self.refuse("start a process")
    }

    async fn read_file(
        &self,
        _path: &Path,
        _offset_bytes: u64,
        _limit_bytes: usize,
    ) -> Result<Vec<u8>, TransportError> {
        self.refuse("read a file")
    }

    async fn write_file(
        &self,
        _path: &Path,
        _mode: u32,
        _bytes: &[u8],
    ) -> Result<(), TransportError> {
        self.refuse("write a file")
    }

    async fn upload(
        &self,
        _local: &Path,
        _remote: &Path,
        _mode: u32,
    ) -> Result<u64, TransportError> {
        self.refuse("upload a file")
    }

    async fn download(
        &self,
        _remote: &Path,
        _local: &Path,
        _limit_bytes: u64,
    ) -> Result<u64, TransportError> {
        self.refuse("download a file")
    }

    async fn connect(
        &self,
        _address: &Address,
        _timeout: Duration,
    ) -> Result<Box<dyn NodeStream>, TransportError> {
        self.refuse("connect")
    }

    async fn clock_offset(&self) -> Result<ClockOffset, TransportError> {
        self.refuse("read the clock")
    }

    async fn close(&self) {}
}
