//! The marker file that makes a node ours.
//!
//! Law: a node without it, or with another lab's, is never changed. It is written into a
//! container before that starts, and onto a machine only when its owner said `--adopt`.
//!
//! ```json
//! {"format_version":1,"lab":"b8f0a4c2d1e39677","node":"n1","provider":"lxc"}
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    node::Node,
    provider::ProviderKind,
    transport::{Transport, TransportError},
};

/// Where the marker is on a node.
pub const MARKER: &str = "/etc/harness-node";
/// Version of the marker's form.
pub const MARKER_FORMAT_VERSION: u32 = 1;
/// Longest marker that is read, in bytes.
const MARKER_LIMIT_BYTES: usize = 4096;

/// What the marker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Version of its form.
    pub format_version: u32,
    /// The lab that the node belongs to.
    pub lab: String,
    /// The node's name in it.
    pub node: String,
    /// How the node came to be.
    pub provider: ProviderKind,
}

impl Marker {
    /// The marker of a node of a lab.
    #[must_use]
    pub fn new(lab: &str, node: &str, provider: ProviderKind) -> Self {
        Self {
            format_version: MARKER_FORMAT_VERSION,
            lab: lab.to_owned(),
            node: node.to_owned(),
            provider,
        }
    }

    /// The file's content: one line of JSON.
    #[must_use]
    pub fn to_line(&self) -> String {
        // A struct of texts and a number always serializes.
        let json = serde_json::to_string(self).unwrap_or_default();
        format!("{json}\n")
    }
}

/// Reads a node's marker; none if it has none, or none that can be understood.
///
/// # Errors
/// If the node could not be asked.
pub async fn read(transport: &dyn Transport) -> Result<Option<Marker>, TransportError> {
    match transport
        .read_file(Path::new(MARKER), 0, MARKER_LIMIT_BYTES)
        .await
    {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        Err(TransportError::Refused { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns only if the node carries the marker of this lab.
///
/// # Errors
/// [`TransportError::NotOurs`] if it does not, another one if it could not be asked.
pub async fn assert_ours(node: &Node, lab: &str) -> Result<(), TransportError> {
    let not_ours = |marker: String| TransportError::NotOurs {
        node: node.name.to_string(),
        marker,
    };
    match read(node.transport.as_ref()).await? {
        Some(marker) if marker.lab == lab && marker.node == node.name.as_str() => Ok(()),
        Some(marker) => Err(not_ours(format!(
            "{MARKER} of lab {lab} (its own says {} of lab {})",
            marker.node, marker.lab
        ))),
        None => Err(not_ours(MARKER.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marker_is_one_line_that_reads_back() {
        let marker = Marker::new("b8f0a4c2d1e39677", "n1", ProviderKind::Lxc);
        let line = marker.to_line();
        assert_eq!(
            line,
            "{\"format_version\":1,\"lab\":\"b8f0a4c2d1e39677\",\"node\":\"n1\",\"provider\":\"lxc\"}\n"
        );
        assert_eq!(serde_json::from_str::<Marker>(&line).unwrap(), marker);
    }
}
