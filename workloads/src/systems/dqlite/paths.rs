//! Where things are on a node that runs `dqlite-demo`.

use std::path::PathBuf;

use harness_lab::Node;

use crate::systems::supervised::Supervised;

/// The folder of everything that we put on a node for this system.
pub const BASE: &str = "/srv/harness/dqlite";
/// The TCP port of dqlite's wire protocol and of raft, between nodes and for clients.
pub const DB_PORT: u16 = 9001;
/// The TCP port of `dqlite-demo`'s HTTP interface.
pub const API_PORT: u16 = 8001;
/// The program, found through `PATH`.
pub const PROGRAM: &str = "dqlite-demo";

/// Its process. go-dqlite's handover gives up after a minute without a leader.
pub const PROCESS: Supervised = Supervised {
    program: PROGRAM,
    base: BASE,
    log: "dqlite.log",
    stop_wait_s: 75,
};

/// The folder that holds raft's files and go-dqlite's YAML; `dqlite-demo` puts the address beneath `--dir`.
#[must_use]
pub fn data_folder(node: &Node) -> PathBuf {
    format!("{BASE}/data/{}", db_address(node)).into()
}

/// The address of its wire protocol.
#[must_use]
pub fn db_address(node: &Node) -> String {
    format!("{}:{DB_PORT}", node.address)
}

/// The address of its HTTP interface.
#[must_use]
pub fn api_address(node: &Node) -> String {
    format!("{}:{API_PORT}", node.address)
}
