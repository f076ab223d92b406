//! The agent's binary, as it was built with this crate.

use std::{fmt::Write, sync::OnceLock};

use sha2::{Digest, Sha256};

static IMAGE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/harness-agent"));

/// The static `harness-agent` binary that is uploaded to nodes.
#[must_use]
pub fn agent_image() -> &'static [u8] {
    IMAGE
}

/// The SHA-256 of [`agent_image`] in hexadecimal; part of the binary's name on a node.
#[must_use]
pub fn agent_image_sha256() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| {
        Sha256::digest(IMAGE)
            .iter()
            .fold(String::new(), |mut text, byte| {
                // Writing to a string cannot fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    })
}
