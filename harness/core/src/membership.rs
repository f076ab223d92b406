//! Membership operations in histories: their kinds, and the shapes of their values.
//!
//! | f | value invoked | value when ok | what it is |
//! | --- | --- | --- | --- |
//! | `join` | `{"member":"n4"}` | `{"member":"n4","token":"9f2c"}` | n4 joins; `token` (optional, also when invoked) is a digest of the token that it used |
//! | | `{"member":"n4","batch":2,"together":3}` | likewise | one of three joins that begin at once, each with its token in hand |
//! | | `{"member":"n4","under":"n2"}` | likewise | n4 asks to join under a name that is taken: the join fails, and reverts what it did |
//! | `remove` | `{"member":"n4","force":true}` | the same | n4 is removed; `force` is false if absent |
//! | `list` | null | `["n1","n2"]` | the product's own list of full members |
//! | `canary-join`, `canary-remove` | as `join`, `remove` | | final phase: a node that was never touched is joined and removed |
//! | `retry-join`, `retry-remove` | as `join`, `remove` | | final phase: a member whose last join or remove was `info` is joined and removed again, in the order that its state allows |
//! | `retry-unwiped` | as `join` | | final phase: a join that was `info` is asked for again, of the node as it is |
//! | `removed-probe` | `{"member":"n4"}` | `{"member":"n4","in":false}` | final phase: a removed node is asked whether it can still read or write |
//! | `availability` | any | any | final phase: a write through one node (`node` is set), see the checker of that name |
//!
//! Laws: a `fail` of a join or a remove was refused before it could take effect (a bad name, an expired token, the
//! product's own check, an address that exists); any other error is `info`. A token never stands in a history, only its digest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::history::Operation;

/// A node joins.
pub const JOIN: &str = "join";
/// A member is removed.
pub const REMOVE: &str = "remove";
/// The product lists its members.
pub const LIST: &str = "list";
/// The canary joins.
pub const CANARY_JOIN: &str = "canary-join";
/// The canary is removed.
pub const CANARY_REMOVE: &str = "canary-remove";
/// A member in doubt is joined again.
pub const RETRY_JOIN: &str = "retry-join";
/// A join in doubt is asked for again, of the node as it is: not wiped, with whatever the join before left on it.
pub const RETRY_UNWIPED: &str = "retry-unwiped";
/// A member in doubt is removed again.
pub const RETRY_REMOVE: &str = "retry-remove";
/// A removed node is asked whether it still takes part.
pub const REMOVED_PROBE: &str = "removed-probe";
/// A node is asked for a write.
pub const WRITE_PROBE: &str = "availability";
/// A client writes data, beside the changes.
pub const DATA_WRITE: &str = "add";

/// Value of a join.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinValue {
    /// Who joins.
    pub member: String,
    /// Digest of the token that it used: the first 16 hexadecimal digits of its SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Number of the batch of joins that begin together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<u64>,
    /// How many joins that batch has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<usize>,
    /// The name that it asks for, where that is not its own: one that is taken, so that the join fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
}

/// Value of a remove.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveValue {
    /// Who is removed.
    pub member: String,
    /// Whether the product was told not to ask the member.
    #[serde(default)]
    pub force: bool,
}

/// Value of a `removed-probe` that is ok.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedProbeValue {
    /// Who was asked.
    pub member: String,
    /// Whether it could still read or write.
    #[serde(rename = "in")]
    pub inside: bool,
}

/// What a membership operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// Puts a member in.
    Join,
    /// Takes a member out.
    Remove,
}

/// Why a membership operation was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// By the workload.
    Load,
    /// To see whether an untouched node can still be joined and removed.
    Canary,
    /// To see whether a member in doubt can be.
    Retry,
}

/// Which change operations of this kind make, and why; None if they make none.
#[must_use]
pub fn change(f: &str) -> Option<(ChangeKind, Purpose)> {
    Some(match f {
        JOIN => (ChangeKind::Join, Purpose::Load),
        REMOVE => (ChangeKind::Remove, Purpose::Load),
        CANARY_JOIN => (ChangeKind::Join, Purpose::Canary),
        CANARY_REMOVE => (ChangeKind::Remove, Purpose::Canary),
        RETRY_JOIN | RETRY_UNWIPED => (ChangeKind::Join, Purpose::Retry),
        RETRY_REMOVE => (ChangeKind::Remove, Purpose::Retry),
        _ => return None,
    })
}

/// The member that an operation is about, if its value names one.
#[must_use]
pub fn member_of(operation: &Operation) -> Option<&str> {
    operation.input.get("member").and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_those_of_the_table() {
        let join = JoinValue {
            member: "n4".to_owned(),
            token: Some("9f2c".to_owned()),
            ..JoinValue::default()
        };
        assert_eq!(
            serde_json::to_value(&join).unwrap(),
            json!({"member": "n4", "token": "9f2c"})
        );
        let remove: RemoveValue = serde_json::from_value(json!({"member": "n4"})).unwrap();
        assert!(!remove.force);
        let probe: RemovedProbeValue =
            serde_json::from_value(json!({"member": "n4", "in": true})).unwrap();
        assert!(probe.inside);
        assert_eq!(
            change("retry-remove"),
            Some((ChangeKind::Remove, Purpose::Retry))
        );
        assert_eq!(
            change("retry-unwiped"),
            Some((ChangeKind::Join, Purpose::Retry))
        );
        assert_eq!(change("list"), None);
    }
}
