//! Which answers of LXD prove that a change of the membership was refused before it took effect. Pure.
//!
//! The texts are what `lxd init --preseed` and `lxc cluster` print after `Error: `, seen on bookworm's 5.0.2 and on
//! trixie's 5.0.2+git20231211 alike. Whatever is not in the table is unclear, among it:
//! - `Failed request to add member: The cluster already has a member with name: n2`: a token can be had for a name that is
//!   taken, and by the time that the name is looked at, the joiner's certificate is in the truststore, and stays there;
//! - `Failed to update cluster trust: Existing server certificate with different name "n2" already in trust store`: the next
//!   join of the same node, after that;
//! - `Failed to cleanup the member: …`: the member could not be told; it is out of raft, database and truststore;
//! - `Put "http://unix.socket/1.0": EOF`: the daemon's handler panicked, after it had stored what it was given.

use harness_core::event::{ANSWERED_ERROR, OpError};
use harness_lab::{ExitStatus, Output, TransportError, capability::ChangeError};

use super::commands::error_words;

/// How a text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Match {
    /// It is this.
    Whole,
    /// It begins with this.
    Prefix,
}

/// One refusal: its word, how its text is compared, the text, and why nothing took effect.
struct Refusal {
    word: &'static str,
    how: Match,
    text: &'static str,
    why: &'static str,
}

/// Of a join.
const JOIN: [Refusal; 5] = [
    Refusal {
        word: "bad-token",
        how: Match::Prefix,
        text: "Invalid cluster join token: ",
        why: "the token is decoded before anybody is asked",
    },
    Refusal {
        word: "bad-token",
        how: Match::Prefix,
        text: "Certificate fingerprint mismatch between join token and cluster member ",
        why: "the joiner looks at the member's certificate before it asks for anything",
    },
    Refusal {
        word: "no-such-token",
        how: Match::Whole,
        text: "Failed to join cluster: Failed to setup cluster trust: Failed to add server cert to cluster: No matching cluster join operation found",
        why: "the member asked looks for the token before it stores the certificate; it was used, cancelled, expired, or never issued there",
    },
    Refusal {
        word: "already-clustered",
        how: Match::Whole,
        text: "Failed to join cluster: This server is already clustered",
        why: "the joiner looks at itself first",
    },
    Refusal {
        word: "bad-name",
        how: Match::Whole,
        text: "Failed to configure cluster: ServerName is required when enabling clustering",
        why: "the joiner checks the request before it acts on it",
    },
];

/// Of a remove.
const REMOVE: [Refusal; 2] = [
    Refusal {
        word: "not-found",
        how: Match::Whole,
        text: "Cluster member not found",
        why: "the leader looks the member up before it acts; a member that is pending is not found either",
    },
    Refusal {
        word: "not-clustered",
        how: Match::Whole,
        text: "Server is not clustered",
        why: "the daemon that was asked has no cluster to remove anybody from",
    },
];

fn refusal<'a>(table: &'a [Refusal], said: &str) -> Option<&'a Refusal> {
    table.iter().find(|refusal| match refusal.how {
        Match::Whole => said == refusal.text,
        Match::Prefix => said.starts_with(refusal.text),
    })
}

fn told(kind: &str, message: impl Into<String>) -> OpError {
    OpError {
        kind: kind.to_owned(),
        message: message.into(),
    }
}

fn judged(table: &[Refusal], output: &Output) -> Result<(), ChangeError> {
    let stderr = output.stderr_text();
    let said = error_words(&stderr);
    match output.status {
        ExitStatus::Code(0) => Ok(()),
        ExitStatus::Code(_) => Err(match refusal(table, said) {
            Some(refusal) => {
                ChangeError::Refused(told(refusal.word, format!("{said} ({})", refusal.why)))
            }
            None => ChangeError::Unclear(told(ANSWERED_ERROR, said)),
        }),
        ExitStatus::TimedOut => Err(ChangeError::Unclear(told(
            "timeout",
            format!("no end within {} ms", output.duration.as_millis()),
        ))),
        ExitStatus::Signal(signal) => Err(ChangeError::Unclear(told(
            "killed",
            format!("the command was ended by signal {signal}"),
        ))),
    }
}

/// What the end of `lxd init --preseed` says about a join.
///
/// # Errors
/// If it was refused, or may have taken effect by half.
pub fn join(output: &Output) -> Result<(), ChangeError> {
    judged(&JOIN, output)
}

/// What the end of `lxc cluster remove` says.
///
/// # Errors
/// If it was refused, or may have taken effect by half.
pub fn remove(output: &Output) -> Result<(), ChangeError> {
    judged(&REMOVE, output)
}

/// What the end of a command that changes no membership says: any error that it names is a refusal.
///
/// # Errors
/// If it did not succeed.
pub fn harmless(output: &Output) -> Result<(), ChangeError> {
    match judged(&[], output) {
        Err(ChangeError::Unclear(error)) if error.kind == ANSWERED_ERROR => {
            Err(ChangeError::Refused(error))
        }
        other => other,
    }
}

/// What it means that a command could not be run, or not to its end.
#[must_use]
pub fn not_run(error: &TransportError) -> ChangeError {
    let said = match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    };
    match error {
        // No session could be had: nothing was started.
        TransportError::Unreachable { .. } => ChangeError::Refused(told("not-sent", said)),
        TransportError::TimedOut { .. } => ChangeError::Unclear(told("timeout", said)),
        _ => ChangeError::Unclear(told("connection-lost", said)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ended(status: ExitStatus, stderr: &str) -> Output {
        Output {
            status,
            stdout: Vec::new(),
            stderr: stderr.as_bytes().to_vec(),
            stdout_dropped_bytes: 0,
            stderr_dropped_bytes: 0,
            duration: Duration::from_millis(7),
        }
    }

    #[test]
    fn the_table_has_a_reason_for_each_row_and_no_row_twice() {
        let rows: Vec<&Refusal> = JOIN.iter().chain(&REMOVE).collect();
        for (index, row) in rows.iter().enumerate() {
            assert!(!row.why.is_empty() && !row.text.is_empty(), "{}", row.word);
            assert!(rows[..index].iter().all(|other| other.text != row.text));
        }
    }

    /// `None` is success, `Some((word, refused))` an error.
    type Expected = Option<(&'static str, bool)>;

    #[test]
    fn what_was_seen_on_real_daemons_is_judged_by_its_proof() {
        let code = ExitStatus::Code(1);
        let hint = "If this is your first time running LXD on this machine, you should also run: lxd init\n\n";
        type Judge = fn(&Output) -> Result<(), ChangeError>;
        let cases: &[(Judge, ExitStatus, String, Expected)] = &[
            (join, ExitStatus::Code(0), String::new(), None),
            (join, code, "Error: Failed to join cluster: This server is already clustered\n".into(), Some(("already-clustered", true))),
            (join, code, "Error: Invalid cluster join token: invalid character 'i' looking for beginning of value\n".into(), Some(("bad-token", true))),
            (join, code, "Error: Failed to join cluster: Failed to setup cluster trust: Failed to add server cert to cluster: No matching cluster join operation found\n".into(), Some(("no-such-token", true))),
            (join, code, "Error: Certificate fingerprint mismatch between join token and cluster member \"10.88.0.11:8443\"\n".into(), Some(("bad-token", true))),
            (join, code, "Error: Failed to configure cluster: ServerName is required when enabling clustering\n".into(), Some(("bad-name", true))),
            // The joiner's certificate stays in the truststore.
            (join, code, "Error: Failed to join cluster: Failed request to add member: The cluster already has a member with name: n2\n".into(), Some(("answered-error", false))),
            (join, code, "Error: Failed to join cluster: Failed to update cluster trust: Existing server certificate with different name \"n2\" already in trust store\n".into(), Some(("answered-error", false))),
            (join, code, "Error: Put \"http://unix.socket/1.0\": EOF\n".into(), Some(("answered-error", false))),
            // A refusal of another operation proves nothing here.
            (join, code, "Error: Cluster member not found\n".into(), Some(("answered-error", false))),
            (join, ExitStatus::TimedOut, String::new(), Some(("timeout", false))),
            (join, ExitStatus::Signal(9), "Error: Invalid cluster join token: x".into(), Some(("killed", false))),
            (remove, ExitStatus::Code(0), String::new(), None),
            (remove, code, format!("{hint}Error: Cluster member not found\n"), Some(("not-found", true))),
            (remove, code, "Error: Server is not clustered\n".into(), Some(("not-clustered", true))),
            (remove, code, "Error: Failed to cleanup the member: Put \"https://10.88.0.14:8443/1.0/cluster\": Unable to connect to: 10.88.0.14:8443 ([dial tcp 10.88.0.14:8443: connect: connection refused])\n".into(), Some(("answered-error", false))),
            // Words behind others are another error.
            (remove, code, "Error: Failed to remove member from database: Cluster member not found\n".into(), Some(("answered-error", false))),
            (harmless, code, "Error: This server is not clustered\n".into(), Some(("answered-error", true))),
            (harmless, ExitStatus::TimedOut, String::new(), Some(("timeout", false))),
        ];
        for (judge, status, stderr, expected) in cases {
            let got = match judge(&ended(*status, stderr)) {
                Ok(()) => None,
                Err(ChangeError::Refused(error)) => Some((error.kind, true)),
                Err(ChangeError::Unclear(error)) => Some((error.kind, false)),
            };
            let got = got
                .as_ref()
                .map(|(word, refused)| (word.as_str(), *refused));
            assert_eq!(got, *expected, "{status:?} {stderr}");
        }
    }
}
