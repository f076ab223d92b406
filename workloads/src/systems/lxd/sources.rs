//! The places where LXD keeps its membership, on each node.
//!
//! | place | read from | of a stopped node |
//! | --- | --- | --- |
//! | `database` | `nodes` of the global database, through that node's daemon (answered by the leader) | `stopped` |
//! | `truststore` (`global`) | `certificates` of type 2 in the same | `stopped` |
//! | `truststore` (`local`) | `certificates` of type 2 in the daemon's own database | `sqlite3 -readonly` on its file |
//! | `raft` (`socket`) | CLUSTER asked of that daemon (see `wire`): its own configuration, committed or not | `stopped` |
//! | `raft` (`disk`, `log`) | the data folder of its global database: see [`raft_disk`] | read |
//! | `cache` (`raft_nodes`) | that table of the daemon's own database | `sqlite3 -readonly` on its file |
//! | `cache` (`list`) | what `lxc cluster list` shows | `stopped` |
//!
//! A daemon that is in no cluster has one row for itself, `none` at `0.0.0.0`, and a raft configuration with the address
//! `1`: both are LXD's way to say that nobody is there, and give an empty list.

use std::time::Duration;

use async_trait::async_trait;
use dqlite_wire::client::{ClientError, LostCause, NotSentCause};
use harness_core::{
    event::ANSWERED_ERROR,
    view::{Member, MemberState, RaftPosition, Reading, Role, Source, UnreadKind},
};
use harness_lab::{
    Node,
    capability::{Cost, Place, PlaceReading, Sources},
};
use hyper::Method;
use serde_json::Value;

use super::{
    super::raft_disk,
    Lxd, PROCESS,
    membership::{NO_ADDRESS, not_clustered},
    rest::{Database, RestError},
    wire,
};

const DATABASE: Place = place(Source::Database, None, Cost::Low);
const TRUSTED_GLOBAL: Place = place(Source::Truststore, Some("global"), Cost::Low);
const TRUSTED_LOCAL: Place = place(Source::Truststore, Some("local"), Cost::Low);
const RAFT: Place = place(Source::Raft, Some("socket"), Cost::Low);
const DISK: Place = place(Source::Raft, Some(raft_disk::LABEL), Cost::High);
const RAFT_NODES: Place = place(Source::Cache, Some("raft_nodes"), Cost::Low);
const LIST: Place = place(Source::Cache, Some("list"), Cost::High);

const PLACES: [Place; 7] = [
    DATABASE,
    TRUSTED_GLOBAL,
    TRUSTED_LOCAL,
    RAFT,
    DISK,
    RAFT_NODES,
    LIST,
];

const fn place(source: Source, label: Option<&'static str>, cost: Cost) -> Place {
    Place {
        source,
        label,
        cost,
    }
}

/// Columns and table of each query; the rows come in this order of columns.
const MEMBERS: (&str, &str) = ("name, address, state", "nodes");
const CERTIFICATES: (&str, &str) = ("name, fingerprint", "certificates WHERE type = 2");
const SERVERS: (&str, &str) = ("id, address, role, name", "raft_nodes");

/// Why a place could not be read.
struct Unread {
    kind: UnreadKind,
    message: String,
}

fn unread(kind: UnreadKind, message: impl Into<String>) -> Unread {
    Unread {
        kind,
        message: message.into(),
    }
}

fn nonsense(what: &str, row: &impl std::fmt::Debug) -> Unread {
    unread(UnreadKind::Error, format!("{what} makes no sense: {row:?}"))
}

/// A configuration of a daemon that is in no cluster stands for nobody, and says nothing of a cluster's log.
fn clustered(mut read: PlaceReading) -> PlaceReading {
    if let Reading::Members(members) = &mut read.reading {
        members.retain(|member| {
            let address = member.address.as_deref();
            address.is_some_and(|address| address.contains(':'))
        });
        if members.is_empty() {
            read.raft = None;
        }
    }
    read
}

/// A row of `nodes`; none if it stands for no cluster.
fn member(row: &[Value]) -> Result<Option<Member>, Unread> {
    let (Some(name), Some(address), Some(state)) = (
        row.first().and_then(Value::as_str),
        row.get(1).and_then(Value::as_str),
        row.get(2).and_then(Value::as_u64),
    ) else {
        return Err(nonsense("a row of nodes", &row));
    };
    if address == NO_ADDRESS {
        return Ok(None);
    }
    let state = match state {
        0 => MemberState::Active,
        1 => MemberState::Pending,
        2 => MemberState::Evacuated,
        _ => return Err(nonsense("a row of nodes", &row)),
    };
    Ok(Some(Member {
        name: Some(name.to_owned()),
        address: Some(address.to_owned()),
        state: Some(state),
        ..Member::default()
    }))
}

/// A row of `certificates`.
fn trusted(row: &[Value]) -> Result<Option<Member>, Unread> {
    let (Some(name), Some(fingerprint)) = (
        row.first().and_then(Value::as_str),
        row.get(1).and_then(Value::as_str),
    ) else {
        return Err(nonsense("a row of certificates", &row));
    };
    Ok(Some(Member {
        name: Some(name.to_owned()),
        fingerprint: Some(fingerprint.to_lowercase()),
        ..Member::default()
    }))
}

/// A row of `raft_nodes`. Rows that an old LXD wrote have no name.
fn server(row: &[Value]) -> Result<Option<Member>, Unread> {
    let role = match row.get(2).and_then(Value::as_u64) {
        Some(0) => Role::Voter,
        Some(1) => Role::StandBy,
        Some(2) => Role::Spare,
        _ => return Err(nonsense("a row of raft_nodes", &row)),
    };
    let (Some(id), Some(address)) = (
        row.first().and_then(Value::as_u64),
        row.get(1).and_then(Value::as_str),
    ) else {
        return Err(nonsense("a row of raft_nodes", &row));
    };
    let name = row.get(3).and_then(Value::as_str);
    Ok(Some(Member {
        name: name.filter(|name| !name.is_empty()).map(str::to_owned),
        address: Some(address.to_owned()),
        raft_id: Some(id),
        role: Some(role),
        ..Member::default()
    }))
}

/// A member as LXD's list shows it.
fn listed(entry: &Value) -> Result<Option<Member>, Unread> {
    let (Some(name), Some(url)) = (entry["server_name"].as_str(), entry["url"].as_str()) else {
        return Err(nonsense("a member of the list", entry));
    };
    let roles = entry["roles"].as_array().map_or(&[][..], Vec::as_slice);
    let has = |role: &str| roles.iter().any(|given| given == role);
    let role = if has("database") || has("database-leader") {
        Role::Voter
    } else if has("database-standby") {
        Role::StandBy
    } else {
        Role::Spare
    };
    let state = match entry["status"].as_str() {
        Some("Evacuated") => MemberState::Evacuated,
        _ => MemberState::Active,
    };
    Ok(Some(Member {
        name: Some(name.to_owned()),
        address: Some(url.strip_prefix("https://").unwrap_or(url).to_owned()),
        role: Some(role),
        state: Some(state),
        ..Member::default()
    }))
}

fn with_cause(error: &ClientError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

fn all<R>(
    rows: &[R],
    one: impl Fn(&R) -> Result<Option<Member>, Unread>,
) -> Result<Vec<Member>, Unread> {
    rows.iter().filter_map(|row| one(row).transpose()).collect()
}

impl Lxd {
    /// Nobody listens: whether that is because the daemon does not run.
    async fn why_nobody_listens(&self, node: &Node) -> Unread {
        match PROCESS.running_by_files(node).await {
            Ok(None) => unread(UnreadKind::Stopped, "no process of lxd is there"),
            Ok(Some(pid)) => unread(
                UnreadKind::Refused,
                format!("process {pid} runs, and nobody listens on its socket"),
            ),
            Err(error) => unread(UnreadKind::Error, error.to_string()),
        }
    }

    async fn why(&self, node: &Node, error: RestError) -> Unread {
        if error.nobody_listens() {
            return self.why_nobody_listens(node).await;
        }
        let kind = match error.word() {
            "timeout" => UnreadKind::Timeout,
            ANSWERED_ERROR => UnreadKind::Refused,
            _ => UnreadKind::Error,
        };
        unread(kind, error.told())
    }

    async fn rows(
        &self,
        node: &Node,
        database: Database,
        (columns, table): (&str, &str),
        deadline: Duration,
    ) -> Result<Vec<Vec<Value>>, Unread> {
        let query = format!("SELECT {columns} FROM {table}");
        let error = match self.sql(node, database, &query, deadline).await {
            Ok(rows) => return Ok(rows),
            Err(error) => self.why(node, error).await,
        };
        if database == Database::Local && error.kind == UnreadKind::Stopped {
            return self.rows_of_stopped(node, columns, table, deadline).await;
        }
        Err(error)
    }

    /// The same of a daemon that does not run, from its file.
    async fn rows_of_stopped(
        &self,
        node: &Node,
        columns: &str,
        table: &str,
        deadline: Duration,
    ) -> Result<Vec<Vec<Value>>, Unread> {
        let file = self.options().local_database().display().to_string();
        let query = format!("SELECT json_array({columns}) FROM {table}");
        let exec = self
            .command(["sqlite3", "-readonly", &file, &query])
            .timeout(deadline);
        let stopped = |said: &str| {
            let message = format!("no process of lxd is there, and its file says: {said}");
            unread(UnreadKind::Stopped, message)
        };
        let output = match node.transport.exec(exec).await {
            Ok(output) if output.status.success() => output,
            Ok(output) => return Err(stopped(output.stderr_text().trim())),
            Err(error) => return Err(stopped(&error.to_string())),
        };
        output
            .stdout_text()
            .lines()
            .map(|line| {
                serde_json::from_str(line).map_err(|_| nonsense("a row of its file", &line))
            })
            .collect()
    }

    async fn raft(
        &self,
        node: &Node,
        deadline: Duration,
    ) -> Result<(Vec<Member>, Option<RaftPosition>), Unread> {
        match self.ask_raft(node, deadline).await {
            Ok(answer) => Ok(answer),
            Err(error) if wire::not_served(&error) => self.no_raft(node, &error, deadline).await,
            Err(error) => {
                let kind = match &error {
                    ClientError::Lost(LostCause::Timeout)
                    | ClientError::NotSent(NotSentCause::ConnectTimeout) => UnreadKind::Timeout,
                    ClientError::Rejected { .. } => UnreadKind::Refused,
                    _ => UnreadKind::Error,
                };
                Err(unread(kind, with_cause(&error)))
            }
        }
    }

    /// The daemon speaks no dqlite to us: because it does not run, or is in no cluster, or should and does not.
    async fn no_raft(
        &self,
        node: &Node,
        error: &ClientError,
        deadline: Duration,
    ) -> Result<(Vec<Member>, Option<RaftPosition>), Unread> {
        let asked = self.rest(node, &Method::GET, "/1.0/cluster", None, deadline);
        match asked.await {
            Ok(cluster) if cluster["enabled"] == false => Ok((Vec::new(), None)),
            Ok(_) => Err(unread(UnreadKind::Refused, with_cause(error))),
            Err(error) => Err(self.why(node, error).await),
        }
    }

    async fn ask_raft(
        &self,
        node: &Node,
        deadline: Duration,
    ) -> Result<(Vec<Member>, Option<RaftPosition>), ClientError> {
        let mut own = self.own_dqlite(node, deadline).await?;
        let servers = own.cluster(deadline).await?;
        let leader = own.leader(deadline).await?;
        let members: Vec<Member> = servers
            .into_iter()
            .filter(|server| server.address.contains(':'))
            .map(|server| Member {
                address: Some(server.address),
                raft_id: Some(server.id),
                role: server.role.map(|role| match role {
                    dqlite_wire::Role::Voter => Role::Voter,
                    dqlite_wire::Role::StandBy => Role::StandBy,
                    dqlite_wire::Role::Spare => Role::Spare,
                }),
                ..Member::default()
            })
            .collect();
        let position = leader
            .filter(|_| !members.is_empty())
            .map(|leader| RaftPosition {
                leader: Some(leader.id),
                ..RaftPosition::default()
            });
        Ok((members, position))
    }

    async fn read_place(
        &self,
        node: &Node,
        place: &Place,
        deadline: Duration,
    ) -> Result<(Vec<Member>, Option<RaftPosition>), Unread> {
        let rows = |database, query| self.rows(node, database, query, deadline);
        let members = match (place.source, place.label) {
            (Source::Database, None) => {
                all(&rows(Database::Global, MEMBERS).await?, |row| member(row))?
            }
            (Source::Truststore, Some("global")) => {
                all(&rows(Database::Global, CERTIFICATES).await?, |row| {
                    trusted(row)
                })?
            }
            (Source::Truststore, Some("local")) => {
                all(&rows(Database::Local, CERTIFICATES).await?, |row| {
                    trusted(row)
                })?
            }
            (Source::Cache, Some("raft_nodes")) => {
                all(&rows(Database::Local, SERVERS).await?, |row| server(row))?
            }
            (Source::Cache, Some("list")) => match self.listed(node, deadline).await {
                Ok(entries) => all(&entries, listed)?,
                Err(error) if not_clustered(&error) => Vec::new(),
                Err(error) => return Err(self.why(node, error).await),
            },
            (Source::Raft, Some("socket")) => return self.raft(node, deadline).await,
            _ => {
                let message = format!("LXD keeps no {} under {:?}", place.source, place.label);
                return Err(unread(UnreadKind::Error, message));
            }
        };
        Ok((members, None))
    }
}

#[async_trait]
impl Sources for Lxd {
    fn places(&self) -> &[Place] {
        &PLACES
    }

    async fn read(&self, node: &Node, place: &Place, deadline: Duration) -> Vec<PlaceReading> {
        if *place == DISK {
            let folder = self.options().raft_folder();
            let read = self.disk.read(node, &folder, deadline).await;
            return read.into_iter().map(clustered).collect();
        }
        let read = tokio::time::timeout(deadline, self.read_place(node, place, deadline));
        let read = read.await.unwrap_or_else(|_| {
            let message = format!("no answer within {} ms", deadline.as_millis());
            Err(unread(UnreadKind::Timeout, message))
        });
        let (reading, raft) = match read {
            Ok((members, raft)) => (Reading::Members(members), raft),
            Err(Unread { kind, message }) => (Reading::Unread { kind, message }, None),
        };
        vec![PlaceReading {
            label: place.label,
            reading,
            raft,
        }]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(value: Value) -> Vec<Value> {
        value.as_array().cloned().unwrap_or_default()
    }

    #[test]
    fn rows_become_members_or_are_refused() {
        let got = member(&row(json!(["n4", "10.0.3.14:8443", 1])))
            .ok()
            .flatten();
        let got = got.unwrap();
        assert_eq!(got.name.as_deref(), Some("n4"));
        assert_eq!(got.state, Some(MemberState::Pending));
        assert!(matches!(
            member(&row(json!(["none", "0.0.0.0", 0]))),
            Ok(None)
        ));
        let got = server(&row(json!([3, "10.0.3.13:8443", 1, ""])))
            .ok()
            .flatten();
        let got = got.unwrap();
        assert_eq!(
            (got.raft_id, got.role, got.name),
            (Some(3), Some(Role::StandBy), None)
        );
        let got = trusted(&row(json!(["n1", "AB01"]))).ok().flatten().unwrap();
        assert_eq!(got.fingerprint.as_deref(), Some("ab01"));
        for bad in [
            json!([]),
            json!(["n1"]),
            json!([1, 2, 3, 4]),
            json!(["n", "a", 9]),
        ] {
            let bad = row(bad);
            assert!(member(&bad).is_err() && server(&bad).is_err(), "{bad:?}");
        }
        assert!(trusted(&row(json!([null, "ab"]))).is_err());
    }

    #[test]
    fn the_list_gives_roles_and_states() {
        for (roles, status, role, state) in [
            (
                json!(["database-leader", "database"]),
                "Online",
                Role::Voter,
                MemberState::Active,
            ),
            (
                json!(["database"]),
                "Offline",
                Role::Voter,
                MemberState::Active,
            ),
            (
                json!(["database-standby"]),
                "Online",
                Role::StandBy,
                MemberState::Active,
            ),
            (json!([]), "Evacuated", Role::Spare, MemberState::Evacuated),
            (json!(null), "Online", Role::Spare, MemberState::Active),
        ] {
            let entry = json!({"server_name": "n1", "url": "https://10.0.3.11:8443", "roles": roles, "status": status});
            let got = listed(&entry).ok().flatten().unwrap();
            assert_eq!(got.address.as_deref(), Some("10.0.3.11:8443"));
            assert_eq!((got.role, got.state), (Some(role), Some(state)), "{roles}");
        }
        assert!(listed(&json!({"url": "https://a"})).is_err());
    }
}
