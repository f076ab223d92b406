//! Joining and removing members of an LXD cluster, by the commands that its users use.

use std::time::Duration;

use async_trait::async_trait;
use harness_core::{
    event::{ANSWERED_ERROR, OpError},
    membership::Obstacle,
};
use harness_lab::{
    Node,
    capability::{CapabilityError, ChangeError, Invitation, Kill, Membership, Seen, Start},
};
use hyper::Method;
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Lxd, commands,
    obstacle::{self, Way},
    refusals,
    rest::{Database, RestError},
    token,
};

/// How long a daemon that was just started may take to answer.
pub const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// What LXD keeps as the address of a daemon that is in no cluster.
pub(super) const NO_ADDRESS: &str = "0.0.0.0";
/// What LXD answers where a cluster is asked about and there is none.
const NOT_CLUSTERED: &str = "not clustered";

fn op_error(kind: &str, message: impl Into<String>) -> OpError {
    OpError {
        kind: kind.to_owned(),
        message: message.into(),
    }
}

/// What an error means for a request that changes nothing: an answer is a refusal.
fn of_read(error: &RestError) -> ChangeError {
    let told = op_error(error.word(), error.told());
    match error.word() {
        "not-sent" | ANSWERED_ERROR => ChangeError::Refused(told),
        _ => ChangeError::Unclear(told),
    }
}

/// Whether LXD says that there is no cluster.
pub(super) fn not_clustered(error: &RestError) -> bool {
    matches!(error, RestError::Answer { message, .. } if message.contains(NOT_CLUSTERED))
}

impl Lxd {
    /// Starts the daemon and waits until it answers.
    pub(super) async fn start_and_wait(&self, node: &Node) -> Result<Seen, CapabilityError> {
        let seen = self.start(node).await?;
        let timeout_s = READY_TIMEOUT.as_secs().to_string();
        let arguments = ["waitready", "--timeout", &timeout_s];
        // The program's own time-out is to be the one that ends it: it says why.
        let timeout = READY_TIMEOUT + Duration::from_secs(5);
        let output = self.lxd(node, &arguments, "", timeout).await?;
        if !output.status.success() && super::PROCESS.running(node).await?.is_none() {
            return Err(CapabilityError::Failed {
                what: "start lxd".to_owned(),
                node: node.name.to_string(),
                detail: super::PROCESS.last_words(node).await,
            });
        }
        commands::succeeded(node, "lxd waitready", output)?;
        Ok(seen)
    }

    /// The product's own list of members, as one daemon gives it.
    pub(super) async fn listed(
        &self,
        node: &Node,
        deadline: Duration,
    ) -> Result<Vec<Value>, RestError> {
        let path = "/1.0/cluster/members?recursion=1";
        let listed = self.rest(node, &Method::GET, path, None, deadline).await?;
        match listed {
            Value::Array(members) => Ok(members),
            Value::Null => Ok(Vec::new()),
            _ => Err(RestError::Nonsense("the list is no list".to_owned())),
        }
    }
    /// A token for a name.
    async fn token(
        &self,
        via: &Node,
        name: &str,
        deadline: Duration,
    ) -> Result<String, ChangeError> {
        let output = self
            .lxc(via, &["cluster", "add", "-q", name], deadline)
            .await
            .map_err(|error| refusals::not_run(&error))?;
        refusals::harmless(&output)?;
        token::parse(&output.stdout_text(), name).map_err(|detail| {
            ChangeError::Unclear(op_error(
                "nonsense",
                format!("what was printed as a token: {detail}"),
            ))
        })
    }

    /// A node joins under a name, at an address.
    async fn join_as(
        &self,
        member: &Node,
        name: &str,
        address: &str,
        token: &str,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let preseed = self
            .options()
            .join_preseed(name, address, token)
            .map_err(|error| ChangeError::Refused(op_error("not-sent", error.to_string())))?;
        let output = self
            .lxd(member, &["init", "--preseed"], &preseed, deadline)
            .await
            .map_err(|error| refusals::not_run(&error))?;
        refusals::join(&output)
    }
}

#[async_trait]
impl Membership for Lxd {
    async fn stand_by(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.kill(node).await?;
        self.remove_data(node).await?;
        self.start_and_wait(node).await
    }

    /// `lxd init --preseed` once more, with a new token.
    fn joins_unwiped(&self) -> bool {
        true
    }

    async fn invite(
        &self,
        via: &Node,
        member: &Node,
        deadline: Duration,
    ) -> Result<Invitation, ChangeError> {
        let token = self.token(via, member.name.as_str(), deadline).await?;
        Ok(Invitation { token: Some(token) })
    }

    /// `via` is in the token: LXD puts the addresses of all members that are online into it, and the joiner takes the
    /// first that answers.
    async fn join(
        &self,
        _via: &Node,
        member: &Node,
        invitation: &Invitation,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let refused = |message: String| ChangeError::Refused(op_error("not-sent", message));
        let token = invitation
            .token
            .as_deref()
            .ok_or_else(|| refused("LXD wants a token to join with".to_owned()))?;
        let name = member.name.as_str();
        self.join_as(member, name, &self.address(member), token, deadline)
            .await
    }

    /// A token can be had for a name that is taken; the join with it gets as far as the request to be accepted. So does one at the
    /// address of a member, and one that is cut off from the leader: the member that it asks sends it on to the leader.
    async fn join_against(
        &self,
        via: &Node,
        member: &Node,
        obstacle: Obstacle,
        other: &Node,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let until = Instant::now() + deadline;
        let own = self.address(member);
        let (name, address, way) = match obstacle {
            Obstacle::Name => (&other.name, own, None),
            Obstacle::Address => (
                &member.name,
                self.address(other),
                Some(Way::ForeignAddress(other.address)),
            ),
            Obstacle::Unreachable => (&member.name, own, Some(Way::Cut(self.socket(other)))),
        };
        let name = name.as_str();
        let left = || until.saturating_duration_since(Instant::now());
        let token = self.token(via, name, deadline).await?;
        let Some(way) = way else {
            return self.join_as(member, name, &address, &token, left()).await;
        };
        let joined = match obstacle::raise(member, way).await {
            Ok(()) => self.join_as(member, name, &address, &token, left()).await,
            Err(said) => Err(ChangeError::Refused(op_error("no-obstacle", said))),
        };
        // What it leaves in the way would be found by whatever comes next: `put_back`, wiping and `lab heal` take it down as well.
        match obstacle::lower(member).await {
            Ok(()) => joined,
            Err(said) => Err(ChangeError::Unclear(op_error("obstacle-stays", said))),
        }
    }

    async fn remove(
        &self,
        via: &Node,
        member: &Node,
        force: bool,
        deadline: Duration,
    ) -> Result<(), ChangeError> {
        let mut arguments = vec!["cluster", "remove", member.name.as_str(), "--yes"];
        if force {
            arguments.push("--force");
        }
        let output = self
            .lxc(via, &arguments, deadline)
            .await
            .map_err(|error| refusals::not_run(&error))?;
        refusals::remove(&output)
    }

    /// Through the REST interface that `lxc cluster list` uses.
    async fn list(&self, via: &Node, deadline: Duration) -> Result<Vec<String>, ChangeError> {
        let listed = self
            .listed(via, deadline)
            .await
            .map_err(|error| of_read(&error))?;
        listed
            .iter()
            .map(|member| member["server_name"].as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .ok_or_else(|| ChangeError::Unclear(op_error("nonsense", "a member without a name")))
    }

    /// Whether its daemon still reads, through the leader, a table of members that names others. A daemon that does not
    /// run takes no part, nor one that says itself that it cannot read, nor one that gives no answer while members refuse
    /// its certificate: a removed one that was started anew accepts requests, waits for the database and hangs up, for ever.
    async fn takes_part(&self, node: &Node, deadline: Duration) -> Result<bool, ChangeError> {
        let half = deadline / 2;
        let query = "SELECT name, address FROM nodes";
        let error = match self.sql(node, Database::Global, query, half).await {
            Ok(rows) => return Ok(rows.iter().any(|row| names_another(row, node))),
            Err(RestError::Answer { .. }) => return Ok(false),
            Err(error) => error,
        };
        let running = super::PROCESS.running_by_files(node).await;
        if error.nobody_listens() && matches!(running, Ok(None)) {
            return Ok(false);
        }
        if self.is_forbidden(node, half).await {
            return Ok(false);
        }
        Err(ChangeError::Unclear(op_error(error.word(), error.told())))
    }
}

/// Whether a row of members is of somebody else than this node, and of a cluster.
fn names_another(row: &[Value], node: &Node) -> bool {
    let is = |column: usize, text: &str| row.get(column).and_then(Value::as_str) == Some(text);
    !is(0, node.name.as_str()) && !is(1, NO_ADDRESS)
}
