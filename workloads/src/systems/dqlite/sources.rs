//! Where `dqlite-demo` keeps its membership: raft's configuration, as it answers and as it lies on disk, and `cluster.yaml`.
//!
//! | source | label | what | of a stopped node |
//! | --- | --- | --- | --- |
//! | `raft` | `socket` | CLUSTER, asked of the node's own listener from the node itself | `stopped` |
//! | `raft` | `disk`, `log` | its data folder: see [`raft_disk`] | read |
//! | `cache` | `cluster.yaml` | the members of which go-dqlite last heard, refreshed every [`super::ROLES_PERIOD`] | read |
//!
//! CLUSTER tells neither index nor term. The term is taken from the metadata files, read before and after: raft writes a
//! new term there before it acts in it, so if both say the same, the answers in between are of that term. **The leader is
//! told only by itself.** A follower that has heard of a new term goes on naming the leader of the old one until the new
//! one speaks to it; its answer with its term would make two leaders of one term where there is one.

use std::time::Duration;

use async_trait::async_trait;
use dqlite_wire::{
    Role as WireRole,
    client::{ClientError, Deadline, Limits, LostCause, NotSentCause, connect},
    raft::{Metadata, metadata::METADATA_BYTES},
};
use harness_core::view::{Member, RaftPosition, Reading, Source, UnreadKind};
use harness_lab::{
    Node, TransportError,
    capability::{Cost, Place, PlaceReading, Sources, Start},
};
use serde::Deserialize;

use super::{Dqlite, outcome, paths, session::FromNode};
use crate::systems::raft_disk;

/// The label of the node's own answer.
pub const SOCKET: &str = "socket";
/// The label of go-dqlite's file.
pub const CLUSTER_YAML: &str = "cluster.yaml";
/// The longest `cluster.yaml` that is read, in bytes.
const YAML_LIMIT_BYTES: usize = 256 * 1024;

const PLACES: [Place; 3] = [
    Place {
        source: Source::Raft,
        label: Some(SOCKET),
        cost: Cost::Low,
    },
    Place {
        source: Source::Raft,
        label: Some(raft_disk::LABEL),
        cost: Cost::High,
    },
    Place {
        source: Source::Cache,
        label: Some(CLUSTER_YAML),
        cost: Cost::Low,
    },
];

/// One server in `cluster.yaml`. Other fields may come: it is not our file.
#[derive(Debug, Deserialize)]
struct Known {
    #[serde(rename = "Address")]
    address: String,
    /// 0 until go-dqlite has heard of it: of those that it was told to join.
    #[serde(rename = "ID", default)]
    id: u64,
    /// As on the wire.
    #[serde(rename = "Role", default)]
    role: u64,
}

/// The members in a `cluster.yaml`.
fn cluster_yaml(text: &str) -> Result<Vec<Member>, serde_yaml::Error> {
    let known: Option<Vec<Known>> = serde_yaml::from_str(text)?;
    let member = |known: Known| {
        let mut member = raft_disk::member(
            known.id,
            &known.address,
            WireRole::from_wire_code(known.role),
        );
        if known.id == 0 {
            // An address to ask at; nothing is known of who is there.
            (member.raft_id, member.role) = (None, None);
        }
        member
    };
    Ok(known.into_iter().flatten().map(member).collect())
}

/// The term that two metadata files tell: that of the newer one that is whole.
fn term_in(files: [&[u8]; 2]) -> Option<u64> {
    let whole = files
        .into_iter()
        .filter_map(|bytes| Metadata::decode(bytes).ok());
    whole
        .max_by_key(|metadata| metadata.version)
        .map(|metadata| metadata.term)
}

async fn term(node: &Node) -> Option<u64> {
    let folder = paths::data_folder(node);
    let limit_bytes = usize::try_from(METADATA_BYTES).ok()?;
    let file = async |name| {
        node.transport
            .read_file(&folder.join(name), 0, limit_bytes)
            .await
            .unwrap_or_default()
    };
    let (one, two) = (file("metadata1").await, file("metadata2").await);
    term_in([&one, &two])
}

fn unread(kind: UnreadKind, message: String) -> Reading {
    Reading::Unread { kind, message }
}

fn kind(error: &ClientError) -> UnreadKind {
    match error {
        ClientError::Rejected { .. } => UnreadKind::Refused,
        ClientError::Lost(LostCause::Timeout)
        | ClientError::NotSent(NotSentCause::ConnectTimeout | NotSentCause::DeadlineOver) => {
            UnreadKind::Timeout
        }
        ClientError::NotSent(_) | ClientError::Lost(_) => UnreadKind::Error,
    }
}

impl Dqlite {
    async fn ask_socket(
        &self,
        node: &Node,
        deadline: Deadline,
    ) -> Result<(Vec<Member>, RaftPosition), ClientError> {
        let connector = FromNode::new(node, deadline.instant() - tokio::time::Instant::now());
        let address = paths::db_address(node);
        let mut connection = connect(&connector, &address, Limits::default(), deadline).await?;
        let before = term(node).await;
        let leader = connection.leader(deadline).await?;
        let servers = connection.cluster(deadline).await?;
        let after = term(node).await;
        let members = servers
            .iter()
            .map(|server| raft_disk::member(server.id, &server.address, server.role))
            .collect();
        let position = RaftPosition {
            term: before.filter(|_| before == after),
            leader: leader
                .filter(|leader| leader.address == address)
                .map(|leader| leader.id),
            ..RaftPosition::default()
        };
        Ok((members, position))
    }

    async fn read_socket(&self, node: &Node, deadline: Deadline) -> PlaceReading {
        let label = Some(SOCKET);
        let error = match self.ask_socket(node, deadline).await {
            Ok((members, position)) => {
                return PlaceReading {
                    label,
                    reading: Reading::Members(members),
                    raft: Some(position),
                };
            }
            Err(error) => error,
        };
        let mut reading = unread(kind(&error), outcome::with_sources(&error));
        if outcome::is_no_listener(&error) && matches!(self.is_running(node).await, Ok(false)) {
            let message = format!("no {} runs on {}", paths::PROGRAM, node.name);
            reading = unread(UnreadKind::Stopped, message);
        }
        PlaceReading {
            label,
            reading,
            raft: None,
        }
    }

    async fn read_yaml(&self, node: &Node) -> PlaceReading {
        PlaceReading {
            label: Some(CLUSTER_YAML),
            reading: match cluster_yaml_of(node).await {
                Ok(members) => Reading::Members(members),
                Err(message) => unread(UnreadKind::Error, message),
            },
            raft: None,
        }
    }
}

/// The members in a node's `cluster.yaml`, or why they could not be read. A node that stands by knows nobody.
pub(super) async fn cluster_yaml_of(node: &Node) -> Result<Vec<Member>, String> {
    let file = paths::data_folder(node).join(CLUSTER_YAML);
    match node.transport.read_file(&file, 0, YAML_LIMIT_BYTES).await {
        Ok(bytes) => cluster_yaml(&String::from_utf8_lossy(&bytes))
            .map_err(|error| format!("{CLUSTER_YAML}: {error}")),
        Err(TransportError::Refused { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(outcome::with_sources(&error)),
    }
}

#[async_trait]
impl Sources for Dqlite {
    fn places(&self) -> &[Place] {
        &PLACES
    }

    async fn read(&self, node: &Node, place: &Place, deadline: Duration) -> Vec<PlaceReading> {
        let reading = async {
            match (place.source, place.label) {
                (Source::Raft, Some(SOCKET)) => {
                    vec![self.read_socket(node, Deadline::after(deadline)).await]
                }
                (Source::Raft, _) => {
                    let folder = paths::data_folder(node);
                    self.disk.read(node, &folder, deadline).await
                }
                _ => vec![self.read_yaml(node).await],
            }
        };
        match tokio::time::timeout(deadline, reading).await {
            Ok(readings) => readings,
            Err(_) => vec![PlaceReading {
                label: place.label,
                reading: unread(
                    UnreadKind::Timeout,
                    format!("no answer within {} ms", deadline.as_millis()),
                ),
                raft: None,
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use harness_core::view::Role;

    use super::*;

    fn member(address: &str, raft_id: Option<u64>, role: Option<Role>) -> Member {
        Member {
            address: Some(address.to_owned()),
            raft_id,
            role,
            ..Member::default()
        }
    }

    #[test]
    fn the_file_of_go_dqlite_is_read() {
        let text = "- Address: 10.0.0.1:9001\n  ID: 3297041220608546238\n  Role: 0\n- Address: 10.0.0.2:9001\n  ID: 11215693560500176219\n  Role: 1\n- Address: 10.0.0.3:9001\n  ID: 7\n  Role: 2\n";
        let expected = [
            member(
                "10.0.0.1:9001",
                Some(3_297_041_220_608_546_238),
                Some(Role::Voter),
            ),
            member(
                "10.0.0.2:9001",
                Some(11_215_693_560_500_176_219),
                Some(Role::StandBy),
            ),
            member("10.0.0.3:9001", Some(7), Some(Role::Spare)),
        ];
        assert_eq!(cluster_yaml(text).unwrap(), expected);
        // Whom it was told to join: an address, and no more.
        let told = "- Address: 10.0.0.1:9001\n  ID: 0\n  Role: 0\n";
        assert_eq!(
            cluster_yaml(told).unwrap(),
            [member("10.0.0.1:9001", None, None)]
        );
        for empty in ["", "[]\n"] {
            assert!(cluster_yaml(empty).unwrap().is_empty(), "{empty:?}");
        }
        for wrong in ["- ID: 1\n", "Address: a\n", "- Address: a\n  ID: -1\n"] {
            assert!(cluster_yaml(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_newer_metadata_that_is_whole_tells_the_term() {
        let file = |version: u64, term: u64| -> Vec<u8> {
            let words = [1, version, term, 0];
            words
                .iter()
                .flat_map(|word: &u64| word.to_le_bytes())
                .collect()
        };
        let (older, newer) = (file(4, 2), file(5, 3));
        for (files, expected) in [
            ([&older[..], &newer[..]], Some(3)),
            ([&newer[..], &older[..]], Some(3)),
            ([&older[..], &newer[..31]], Some(2)),
            ([&[], &[]], None),
        ] {
            assert_eq!(term_in(files), expected);
        }
    }

    #[test]
    fn why_a_socket_could_not_be_read_has_a_word() {
        let table = [
            (ClientError::Lost(LostCause::Timeout), UnreadKind::Timeout),
            (
                ClientError::NotSent(NotSentCause::ConnectTimeout),
                UnreadKind::Timeout,
            ),
            (ClientError::Lost(LostCause::Closed), UnreadKind::Error),
            (
                ClientError::Rejected {
                    code: 1,
                    message: String::new(),
                },
                UnreadKind::Refused,
            ),
        ];
        for (error, expected) in table {
            assert_eq!(kind(&error), expected, "{error:?}");
        }
    }
}
