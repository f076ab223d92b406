//! The guard before anything is injected or healed: a node without our marker is not ours to touch.
//!
//! That the marker is of *this* lab is asserted by the lab when it hands out its nodes
//! (`harness_lab::marker::assert_ours`); here, where no lab is known, it is asserted once more that there
//! is one and that it names this node, so that a wrong address in an inventory never leads to a fault in a
//! stranger's machine.

use harness_lab::{
    Node, TransportError,
    marker::{MARKER, read},
};

/// Returns only if the node carries a marker with its own name.
///
/// # Errors
/// [`TransportError::NotOurs`] if it does not, another one if it could not be asked.
pub async fn assert_ours(node: &Node) -> Result<(), TransportError> {
    let marker = match read(node.transport.as_ref()).await? {
        Some(marker) if marker.node == node.name.as_str() => return Ok(()),
        Some(marker) => format!("{MARKER} of its own (its marker names {})", marker.node),
        None => MARKER.to_owned(),
    };
    Err(TransportError::NotOurs {
        node: node.name.to_string(),
        marker,
    })
}
