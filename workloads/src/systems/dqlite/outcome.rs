//! What an answer to a change of the membership proves: refused, or unclear.
//!
//! The codes of the wire and their reasons are [`dqlite_wire::outcome::RULES`]; here they get the words of a history. What was
//! never sent is proven not to have taken effect, as is every question that only reads.
//!
//! | asked | answer | means | |
//! | --- | --- | --- | --- |
//! | ADD of an address that another id has, in the log of the joiner | `server address already in use`, each second for ever | refused, once the joiner is gone | seen: bookworm, trixie, forky |
//! | ADD of an id that is there, in the log of a joiner that was killed between its ADD and the end of its join | `server ID already in use`, each second for ever | unclear: it is in raft, and will never serve | seen: bookworm |
//! | ASSIGN of the role that it has | code 1, `server role is not valid` | refused | seen: bookworm, trixie, forky |
//! | anything, of a node where nobody listens | the connection is refused | refused | seen: bookworm, trixie, forky |
//! | REMOVE of an id that is not there | code 1, `server ID is not valid` | refused | by the rules of the wire |
//! | ADD, ASSIGN, REMOVE while another change goes on | code 5 | refused | by the rules of the wire |
//! | any of them sent to another than the leader | code 10250 | refused | by the rules of the wire |
//! | no answer in time, a connection that breaks | | unclear | |

use dqlite_wire::{
    client::{ClientError, DiscoverError, LostCause, NotSentCause},
    outcome::{self, Outcome, Sent},
};
use harness_core::event::OpError;
use harness_lab::capability::{CapabilityError, ChangeError};

/// In the log of a joiner: an application of go-dqlite could not be added.
const JOIN_WARNING: &str = "join cluster: ";
/// What raft says of an address that another id has.
const ADDRESS_IN_USE: &str = "address already in use";

/// What raft says of an id that is added twice.
const ID_IN_USE: &str = "ID already in use";

/// An error of an operation.
pub fn op_error(kind: &str, message: impl Into<String>) -> OpError {
    OpError {
        kind: kind.to_owned(),
        message: message.into(),
    }
}

/// It took no effect, and it is proven.
pub fn refused(kind: &str, message: impl Into<String>) -> ChangeError {
    ChangeError::Refused(op_error(kind, message))
}

/// It may have taken effect.
pub fn unclear(kind: &str, message: impl Into<String>) -> ChangeError {
    ChangeError::Unclear(op_error(kind, message))
}

/// An error with what caused it, for people.
pub fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

/// Whether nobody listens at the address that was asked.
pub fn is_no_listener(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::NotSent(NotSentCause::Connect { source, .. })
            if source.kind() == std::io::ErrorKind::ConnectionRefused
    )
}

/// A short stable word for what went wrong on the wire.
fn word(error: &ClientError) -> &'static str {
    match error {
        error if is_no_listener(error) => "not-running",
        ClientError::NotSent(_) => "not-sent",
        ClientError::Rejected { code, .. } if *code == outcome::BUSY => "busy",
        ClientError::Rejected { code, .. } if *code == outcome::NOT_LEADER => "not-leader",
        ClientError::Rejected { code, .. } if *code == outcome::LEADERSHIP_LOST => {
            "leadership-lost"
        }
        ClientError::Rejected { .. } => "rejected",
        ClientError::Lost(LostCause::Timeout) => "timeout",
        ClientError::Lost(_) => "connection-lost",
    }
}

/// What an error of the wire proves about what was sent.
pub fn of_wire(error: &ClientError, sent: Sent) -> ChangeError {
    let said = op_error(word(error), with_sources(error));
    match error.outcome(sent) {
        Outcome::Failed => ChangeError::Refused(said),
        Outcome::Indeterminate => ChangeError::Unclear(said),
    }
}

/// No leader was found, so nothing was sent.
pub fn of_discovery(error: &DiscoverError) -> ChangeError {
    refused("no-leader", error.to_string())
}

/// Something on a node did not work, and what it began may go on.
pub fn of_node(error: &CapabilityError) -> ChangeError {
    unclear("node", with_sources(error))
}

/// Whether the same may be asked once more: it is proven that nothing came of it, and the next answer may be another.
pub fn is_passing(error: &ChangeError) -> bool {
    match error {
        ChangeError::Refused(said) => {
            matches!(
                said.kind.as_str(),
                "busy" | "not-leader" | "not-sent" | "no-leader"
            )
        }
        ChangeError::Unclear(_) => false,
    }
}

/// What a joiner's log says of an ADD that is refused and will be for as long as the cluster is as it is: why the join ends.
pub fn lasting_refusal(log: &str) -> Option<ChangeError> {
    log.lines()
        .rev()
        .filter(|line| line.contains(JOIN_WARNING))
        .find_map(|line| {
            if line.contains(ADDRESS_IN_USE) {
                Some(refused("address-in-use", line))
            } else if line.contains(ID_IN_USE) {
                Some(unclear("already-added", line))
            } else {
                None
            }
        })
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn rejected(code: u64, message: &str) -> ClientError {
        ClientError::Rejected {
            code,
            message: message.to_owned(),
        }
    }

    #[test]
    fn only_what_proves_it_is_a_refusal() {
        let not_sent = || ClientError::NotSent(NotSentCause::ConnectTimeout);
        let no_listener = || {
            ClientError::NotSent(NotSentCause::Connect {
                address: "10.0.0.1:9001".to_owned(),
                source: io::ErrorKind::ConnectionRefused.into(),
            })
        };
        let table = [
            (
                rejected(1, "server ID is not valid"),
                "rejected",
                true,
                false,
            ),
            (
                rejected(1, "server address already in use"),
                "rejected",
                true,
                false,
            ),
            (rejected(1, "something new"), "rejected", false, false),
            (
                rejected(
                    outcome::BUSY,
                    "a configuration change is already in progress",
                ),
                "busy",
                true,
                true,
            ),
            (
                rejected(outcome::NOT_LEADER, "not leader"),
                "not-leader",
                true,
                true,
            ),
            (
                rejected(outcome::LEADERSHIP_LOST, "leadership lost"),
                "leadership-lost",
                false,
                false,
            ),
            (not_sent(), "not-sent", true, true),
            (no_listener(), "not-running", true, false),
            (
                ClientError::Lost(LostCause::Timeout),
                "timeout",
                false,
                false,
            ),
            (
                ClientError::Lost(LostCause::Closed),
                "connection-lost",
                false,
                false,
            ),
            (
                ClientError::Lost(LostCause::Io(io::Error::other("reset"))),
                "connection-lost",
                false,
                false,
            ),
        ];
        for (error, kind, is_refused, passes) in table {
            let change = of_wire(&error, Sent::Membership);
            assert_eq!(
                matches!(change, ChangeError::Refused(_)),
                is_refused,
                "{error:?}"
            );
            assert_eq!(is_passing(&change), passes, "{error:?}");
            let (ChangeError::Refused(said) | ChangeError::Unclear(said)) = change;
            assert_eq!(said.kind, kind, "{error:?}");
        }
        // A question has no effect that could be in doubt.
        let asked = of_wire(&ClientError::Lost(LostCause::Timeout), Sent::ReadOnly);
        assert!(matches!(asked, ChangeError::Refused(_)));
    }

    #[test]
    fn a_joiner_that_will_never_be_let_in_is_told_from_one_that_waits() {
        let line = "2026/11/22 07:36:24 10.0.0.5:8001: WARN: join cluster: server address already in use (1)";
        let log = format!("DEBUG: attempt 1: server 10.0.0.1:9001: connected\n{line}\n");
        assert_eq!(lasting_refusal(&log), Some(refused("address-in-use", line)));
        let line = "WARN: join cluster: server ID already in use (1)";
        assert_eq!(lasting_refusal(line), Some(unclear("already-added", line)));
        for log in [
            "",
            "WARN: join cluster: a configuration change is already in progress (5)",
            "WARN: attempt 5: server 10.0.0.4:9001: no known leader",
            "Error: listen tcp 10.0.0.5:8001: bind: address already in use",
        ] {
            assert_eq!(lasting_refusal(log), None, "{log:?}");
        }
    }
}
