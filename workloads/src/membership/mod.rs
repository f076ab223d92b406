//! Clients of the workload `membership`, on any system that offers [`Membership`]: joins, removes, lists and probes, and the
//! system's own clients for data.
//!
//! Laws:
//! - what could do harm is asked of the [`Group`] first: a node that is certainly a member is never wiped, and nothing is asked
//!   of a node that may be none;
//! - a node is out of the group's certain members before its remove is asked for, and in only once its join was ok. So
//!   an answer from a node that was being removed meanwhile is `info`, kind `member-left`: it may be of another cluster,
//!   which the node became alone;
//! - what is refused by us, before anything was sent, is `fail` with one of [`refusal`]'s kinds.
//!
//! [`group`] knows who is a member, [`together`] lets joins begin at once, [`client`] does the operations.

use sha2::{Digest, Sha256};

pub mod client;
pub mod group;
pub mod together;

pub use client::MembershipClients;
pub use group::Group;

#[cfg(doc)]
use harness_lab::capability::Membership;

/// Kinds of errors of what we refused ourselves.
pub mod refusal {
    /// The workload may not do it: see [`crate::workload::membership::Change`].
    pub const NOT_ALLOWED: &str = "not-allowed";
    /// No certain member answered, so nobody could be asked.
    pub const NO_MEMBER: &str = "no-member";
    /// The node could not be made ready to join.
    pub const NOT_READY: &str = "not-ready";
    /// It is a member already, or no node of the lab, or the value makes no sense.
    pub const NONSENSE: &str = "nonsense";
}

/// Hexadecimal digits of a token's digest.
const DIGEST_DIGITS: usize = 16;

/// What stands for a token in a history: the first 16 hexadecimal digits of its SHA-256.
#[must_use]
pub fn digest(token: &str) -> String {
    let bytes = Sha256::digest(token.as_bytes());
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<String>()[..DIGEST_DIGITS].to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_token_is_told_by_its_digest() {
        // printf abc | sha256sum
        assert_eq!(super::digest("abc"), "ba7816bf8f01cfea");
    }
}
