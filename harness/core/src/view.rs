//! Views: what one source on one node says the membership is, with the interval in which it was read.
//!
//! The sampler reads every source on every node again and again; each reading is one line of `views.jsonl`. Laws:
//! - a view says what it read, or why it could not; a source that could not be read is never an empty list. A list is
//!   empty only if the source was read and holds nobody (a node without a truststore folder keeps nobody in it);
//! - `start_ns` and `end_ns` bound the moment of which the reading tells; both are of the controller's monotonic clock,
//!   the one of the history;
//! - readings made in one round of the sampler share the number `sample`; numbers grow, rounds may overlap;
//! - a torn last line (no newline) is what a killed controller leaves: it is dropped and said.
//!
//! | source | what it is | labels in use |
//! | --- | --- | --- |
//! | `database` | the replicated table of members; holds pending rows too | none |
//! | `truststore` | certificates of members | LXD: `global`, `local`; microcluster: none |
//! | `raft` | raft's configuration | `socket` (the node's own answer to CLUSTER), `disk` (the newest one in its data folder), `log` ([`LOG`]) |
//! | `cache` | copies that go stale | `cluster.yaml`, `raft_nodes`, `list` (the product's own list command) |
//!
//! Lines:
//!
//! ```json
//! {"format_version":1}
//! {"sample":7,"source":"raft","label":"disk","node":"n1","start_ns":41200000000,"end_ns":41203500000,"members":[{"address":"10.0.3.11:8443","raft_id":1,"role":"voter"}],"raft":{"index":112,"entry_term":3,"previous_index":96,"committed":true,"term":4,"leader":1}}
//! {"sample":7,"source":"truststore","label":"local","node":"n2","start_ns":41200100000,"end_ns":41201000000,"members":[{"name":"n1","fingerprint":"9f2c"}]}
//! {"sample":7,"source":"database","node":"n3","start_ns":41200100000,"end_ns":46200100000,"unread":{"kind":"timeout","message":"no answer in 5 s"}}
//! ```

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version that [`encode_header`] writes and [`decode`] takes.
pub const FORMAT_VERSION: u32 = 1;

/// Label of `raft` views that are older configurations found in a node's log, one view each. They are not what the node
/// says now; raft's promises about successive configurations are judged over them.
pub const LOG: &str = "log";

/// One place where membership is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The replicated table of members.
    Database,
    /// Certificates of members.
    Truststore,
    /// Raft's configuration.
    Raft,
    /// A copy that can be stale.
    Cache,
}

impl Source {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 4] = [Self::Database, Self::Truststore, Self::Raft, Self::Cache];

    /// As written in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Truststore => "truststore",
            Self::Raft => "raft",
            Self::Cache => "cache",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A member's role in raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Counts for quorum.
    Voter,
    /// Receives the log, does not vote.
    StandBy,
    /// Receives nothing.
    Spare,
}

impl Role {
    /// As written in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::StandBy => "stand-by",
            Self::Spare => "spare",
        }
    }
}

/// What a source says about a member besides its role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemberState {
    /// A full member.
    Active,
    /// Let in, but its join has not ended.
    Pending,
    /// A member that was emptied of its work.
    Evacuated,
}

/// A member as one source lists it. A source gives what it has: raft knows no names, a truststore no addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its address, with or without a port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// SHA-256 of its certificate, lower-case hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Its number in raft.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raft_id: Option<u64>,
    /// Its role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<MemberState>,
}

/// Why a source could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnreadKind {
    /// The system does not run on the node: its process was looked for and is not there.
    Stopped,
    /// No answer in time.
    Timeout,
    /// It answered with an error.
    Refused,
    /// Anything else: a broken connection, a file that makes no sense.
    Error,
}

impl UnreadKind {
    /// As written in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}

/// What reading a source gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reading {
    /// It holds these members.
    Members(Vec<Member>),
    /// It could not be read.
    Unread {
        /// A stable word.
        kind: UnreadKind,
        /// What the system or the transport said.
        message: String,
    },
}

/// Where in raft's log a view stands. Each part only if the reader knows it; CLUSTER gives none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaftPosition {
    /// Index of the log entry that holds this configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Term of that entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_term: Option<u64>,
    /// Index of the configuration before it in the same log, if no other lies between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_index: Option<u64>,
    /// Whether the entry is known to be committed, such as one from a snapshot. Absent: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<bool>,
    /// The node's current term.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub term: Option<u64>,
    /// Raft id of the leader of that term, as the node sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<u64>,
}

/// What one source on one node said, and when. See the module's example lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The sampler's round.
    pub sample: u64,
    /// The source.
    pub source: Source,
    /// Which one, where a system keeps a source in several places on a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<Arc<str>>,
    /// The node that it was read on.
    pub node: Arc<str>,
    /// When reading began, nanoseconds since the run began.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// What it gave.
    #[serde(flatten)]
    pub reading: Reading,
    /// Where in raft's log it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raft: Option<RaftPosition>,
}

impl View {
    /// The members, if it could be read.
    #[must_use]
    pub fn members(&self) -> Option<&[Member]> {
        match &self.reading {
            Reading::Members(members) => Some(members),
            Reading::Unread { .. } => None,
        }
    }

    /// Whether it tells of the past only: an older configuration in raft's log.
    #[must_use]
    pub fn is_history(&self) -> bool {
        self.source == Source::Raft && self.label.as_deref() == Some(LOG)
    }

    /// `raft (disk) of n1`, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.label {
            Some(label) => format!("{} ({label}) of {}", self.source, self.node),
            None => format!("{} of {}", self.source, self.node),
        }
    }
}

/// Why bytes are not `views.jsonl`.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ViewError {
    /// The first line is not a header.
    #[error("line 1: expected {{\"format_version\":{FORMAT_VERSION}}}")]
    Header,
    /// The version is not ours.
    #[error("line 1: format_version {found}, but this harness reads {FORMAT_VERSION}")]
    Version {
        /// What stands there.
        found: u64,
    },
    /// A line is not a view.
    #[error("line {line}, column {column}: not a view: {detail}")]
    Line {
        /// From 1.
        line: usize,
        /// From 1; 0 if unknown.
        column: usize,
        /// What is wrong.
        detail: String,
    },
}

/// The first line, with its newline.
#[must_use]
pub fn encode_header() -> String {
    format!("{{\"format_version\":{FORMAT_VERSION}}}\n")
}

/// Appends one view and a newline.
pub fn encode_view(view: &View, into: &mut Vec<u8>) {
    // A view has text keys only and memory takes every write: this cannot fail.
    let _ = serde_json::to_writer(&mut *into, view);
    into.push(b'\n');
}

/// Reads `views.jsonl`: views in the order of the file, and remarks for people.
pub fn decode(bytes: &[u8]) -> Result<(Vec<View>, Vec<String>), ViewError> {
    #[derive(Deserialize)]
    struct Header {
        format_version: u64,
    }
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    let (_, first) = lines.next().ok_or(ViewError::Header)?;
    let header: Header = serde_json::from_slice(first).map_err(|_| ViewError::Header)?;
    if header.format_version != u64::from(FORMAT_VERSION) {
        return Err(ViewError::Version {
            found: header.format_version,
        });
    }
    let mut views = Vec::new();
    let mut remarks = Vec::new();
    for (number, line) in lines {
        if line.trim_ascii().is_empty() {
            continue;
        }
        if line.last() != Some(&b'\n') {
            remarks.push(format!(
                "the last line ({} bytes, line {}) is torn and was left out",
                line.len(),
                number + 1
            ));
            continue;
        }
        let wrong = |column, detail| ViewError::Line {
            line: number + 1,
            column,
            detail,
        };
        let view: View = serde_json::from_slice(line)
            .map_err(|error| wrong(error.column(), error.to_string()))?;
        if view.end_ns < view.start_ns {
            return Err(wrong(0, "it ends before it starts".to_owned()));
        }
        views.push(view);
    }
    Ok((views, remarks))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members() -> impl Strategy<Value = Vec<Member>> {
        let role = prop_oneof![Just(Role::Voter), Just(Role::StandBy), Just(Role::Spare)];
        let state = prop_oneof![
            Just(MemberState::Active),
            Just(MemberState::Pending),
            Just(MemberState::Evacuated)
        ];
        let text = || prop::option::of(any::<String>());
        let member = (
            text(),
            text(),
            text(),
            prop::option::of(any::<u64>()),
            prop::option::of(role),
            prop::option::of(state),
        )
            .prop_map(
                |(name, address, fingerprint, raft_id, role, state)| Member {
                    name,
                    address,
                    fingerprint,
                    raft_id,
                    role,
                    state,
                },
            );
        prop::collection::vec(member, 0..5)
    }

    fn views() -> impl Strategy<Value = View> {
        let kind = prop_oneof![
            Just(UnreadKind::Stopped),
            Just(UnreadKind::Timeout),
            Just(UnreadKind::Refused),
            Just(UnreadKind::Error)
        ];
        let reading = prop_oneof![
            members().prop_map(Reading::Members),
            (kind, any::<String>()).prop_map(|(kind, message)| Reading::Unread { kind, message }),
        ];
        let number = || prop::option::of(any::<u64>());
        let raft = (
            number(),
            number(),
            number(),
            prop::option::of(any::<bool>()),
            number(),
            number(),
        )
            .prop_map(
                |(index, entry_term, previous_index, committed, term, leader)| RaftPosition {
                    index,
                    entry_term,
                    previous_index,
                    committed,
                    term,
                    leader,
                },
            );
        (
            any::<u64>(),
            0..4_usize,
            prop::option::of(any::<String>()),
            any::<String>(),
            any::<(u64, u64)>(),
            reading,
            prop::option::of(raft),
        )
            .prop_map(
                |(sample, source, label, node, (one, other), reading, raft)| View {
                    sample,
                    source: Source::ALL[source],
                    label: label.map(Arc::from),
                    node: Arc::from(node),
                    start_ns: one.min(other),
                    end_ns: one.max(other),
                    reading,
                    raft,
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(written in prop::collection::vec(views(), 0..4), torn in 1..30_usize) {
            let mut bytes = encode_header().into_bytes();
            for view in &written {
                encode_view(view, &mut bytes);
            }
            let (read, remarks) = decode(&bytes).unwrap();
            prop_assert_eq!(&read, &written);
            prop_assert!(remarks.is_empty());
            // Writing what was read gives the same bytes.
            let mut again = encode_header().into_bytes();
            read.iter().for_each(|view| encode_view(view, &mut again));
            prop_assert_eq!(&again, &bytes);
            // Cut inside the last view: it is left out, and said.
            if let Some((_, before)) = written.split_last() {
                bytes.truncate(bytes.len() - torn);
                let (read, remarks) = decode(&bytes).unwrap();
                prop_assert_eq!(&read, before);
                prop_assert_eq!(remarks.len(), 1);
            }
        }
    }

    #[test]
    fn the_example_reads_and_is_what_we_write() {
        let source = include_str!("view.rs");
        let example: Vec<&str> = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! {\""))
            .collect();
        let text: String = example.iter().map(|line| format!("{{\"{line}\n")).collect();
        let (views, remarks) = decode(text.as_bytes()).unwrap();
        assert!(remarks.is_empty());
        assert_eq!(views.len(), 3);
        assert_eq!(views[0].place(), "raft (disk) of n1");
        assert_eq!(views[2].members(), None);
        let mut again = encode_header().into_bytes();
        views.iter().for_each(|view| encode_view(view, &mut again));
        assert_eq!(String::from_utf8(again).unwrap(), text);
    }

    #[test]
    fn what_makes_no_sense_is_an_error() {
        assert!(matches!(decode(b""), Err(ViewError::Header)));
        assert!(matches!(
            decode(b"{\"format_version\":2}\n"),
            Err(ViewError::Version { found: 2 })
        ));
        let backwards = "{\"format_version\":1}\n{\"sample\":0,\"source\":\"raft\",\"node\":\"n1\",\"start_ns\":2,\"end_ns\":1,\"members\":[]}\n";
        assert!(matches!(
            decode(backwards.as_bytes()),
            Err(ViewError::Line { line: 2, .. })
        ));
        let neither = "{\"format_version\":1}\n{\"sample\":0,\"source\":\"raft\",\"node\":\"n1\",\"start_ns\":1,\"end_ns\":1}\n";
        assert!(decode(neither.as_bytes()).is_err());
    }
}
