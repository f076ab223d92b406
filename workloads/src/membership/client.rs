//! The operations of the workload `membership`.
//!
//! | f | before it | ok | fail | info |
//! | --- | --- | --- | --- | --- |
//! | joins | wiped, unless it stands by since the start or is to join unwiped; then an invitation | the system says so | refused, or nothing was sent | anything else |
//! | removes | a member that answers is looked for, to ask there | likewise | likewise | likewise |
//! | `list` | | names | refused | anything else; or the member that was asked left meanwhile |
//! | `removed-probe` | | `in` as the node says | refused | anything else |
//! | `add`, `read` | a certain member is chosen | as the system's own client says | likewise | likewise; or it left meanwhile |

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use harness_core::{
    event::OpError,
    membership::{
        ChangeKind, JoinValue, LIST, Purpose, REMOVED_PROBE, RETRY_UNWIPED, RemoveValue,
        RemovedProbeValue, change,
    },
};
use harness_lab::{
    Node,
    capability::{ChangeError, Leader, Membership, Start},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{
    digest,
    group::{Chosen, Group, Standing},
    refusal,
    together::Together,
};
use crate::{
    client::{Client, Clients, Completion, Invocation, OpenError},
    workload::membership::{Change, Parameters},
};

/// How long making a node ready to join may take.
pub const STAND_BY_LIMIT: Duration = Duration::from_secs(60);
/// How long a list may take. It waits for a leader: LXD needed 4.6 s while a leader removed itself (seen on 5.0.2).
const LIST_LIMIT: Duration = Duration::from_secs(20);
/// How much later than its own deadline a change is given up: it must end by itself, or what it started would live on.
pub const END_MARGIN: Duration = Duration::from_secs(10);
/// How long a member may take to show that it answers, before it is asked for a change.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// How many members are tried for that.
const ANSWER_TRIES: usize = 3;
/// The part of an operation's time that the system gets: it must answer before we stop waiting.
const SYSTEM_SHARE: f64 = 0.9;

/// What the clients need of a system.
pub struct Needs {
    /// Joins and removes.
    pub membership: Arc<dyn Membership>,
    /// Who leads, for loads that must not remove the leader.
    pub leader: Option<Arc<dyn Leader>>,
    /// Who runs, for loads that must not join while a member is down.
    pub start: Option<Arc<dyn Start>>,
    /// Clients for data: the client of thread `t` works on node `t` of the lab.
    pub data: Arc<dyn Clients>,
}

struct Shared {
    needs: Needs,
    group: Arc<Group>,
    together: Together,
    parameters: Parameters,
    ordinals: Vec<String>,
}

/// Makes clients of the workload `membership`. Cheap to clone; clones share the group.
#[derive(Clone)]
pub struct MembershipClients {
    shared: Arc<Shared>,
}

impl MembershipClients {
    /// Clients on these nodes, which are in the group.
    #[must_use]
    pub fn new(nodes: &[Node], group: Arc<Group>, parameters: &Parameters, needs: Needs) -> Self {
        Self {
            shared: Arc::new(Shared {
                needs,
                group,
                together: Together::default(),
                parameters: parameters.clone(),
                ordinals: nodes.iter().map(|node| node.name.to_string()).collect(),
            }),
        }
    }

    /// How long an operation of that kind may take; none if it has no deadline of its own.
    #[must_use]
    pub fn deadline(parameters: &Parameters, f: &str) -> Option<Duration> {
        match f {
            LIST => Some(parameters.change_timeout.min(LIST_LIMIT)),
            f => change(f).map(|_| parameters.change_timeout + STAND_BY_LIMIT + END_MARGIN),
        }
    }
}

#[async_trait]
impl Clients for MembershipClients {
    fn node_of_thread(&self, _thread: usize) -> Option<Arc<str>> {
        // Members come and go: a client works on whoever is one.
        None
    }

    async fn open(&self, _thread: usize, process: u64) -> Result<Box<dyn Client>, OpenError> {
        Ok(Box::new(MembershipClient {
            shared: Arc::clone(&self.shared),
            process,
            data: None,
        }))
    }
}

struct MembershipClient {
    shared: Arc<Shared>,
    process: u64,
    /// The data client of a member.
    data: Option<(Chosen, Box<dyn Client>)>,
}

fn error(kind: &str, message: impl Into<String>) -> OpError {
    OpError {
        kind: kind.to_owned(),
        message: message.into(),
    }
}

fn refused(kind: &str, message: impl Into<String>) -> Completion {
    Completion::Fail(error(kind, message))
}

fn failed(problem: ChangeError) -> Completion {
    match problem {
        ChangeError::Refused(error) => Completion::Fail(error),
        ChangeError::Unclear(error) => Completion::Info(error),
    }
}

fn parsed<T: DeserializeOwned>(value: &Value) -> Result<T, Completion> {
    serde_json::from_value(value.clone())
        .map_err(|problem| refused(refusal::NONSENSE, problem.to_string()))
}

fn share(deadline: Duration) -> Duration {
    deadline.mul_f64(SYSTEM_SHARE)
}

#[async_trait]
impl Client for MembershipClient {
    async fn invoke(&mut self, invocation: Invocation<'_>) -> Completion {
        let done = match (invocation.f, change(invocation.f)) {
            (_, Some((ChangeKind::Join, purpose))) => {
                let wiped = invocation.f != RETRY_UNWIPED;
                self.shared.join(invocation.value, purpose, wiped).await
            }
            (_, Some((ChangeKind::Remove, purpose))) => {
                self.shared.remove(invocation.value, purpose).await
            }
            (LIST, _) => self.shared.list(share(invocation.deadline)).await,
            (REMOVED_PROBE, _) => {
                self.shared
                    .removed_probe(invocation.value, share(invocation.deadline))
                    .await
            }
            _ => Ok(self.data(invocation).await),
        };
        done.unwrap_or_else(|refused| refused)
    }
}

/// How it ended; an error is a completion as well, one that ended it early.
type Done = Result<Completion, Completion>;

impl Shared {
    fn node(&self, name: &str) -> Result<Node, Completion> {
        self.group
            .node(name)
            .cloned()
            .ok_or_else(|| refused(refusal::NONSENSE, format!("no node is called {name:?}")))
    }

    /// A certain member that answers; looked for before anything is sent that changes something.
    async fn member(&self, but: &str) -> Result<Chosen, Completion> {
        let mut last = String::from("nobody is certainly a member");
        for chosen in self.group.certain(Some(but)).into_iter().take(ANSWER_TRIES) {
            let asked = self.needs.membership.list(&chosen.node, ANSWER_TIMEOUT);
            match timeout(ANSWER_TIMEOUT + END_MARGIN, asked).await {
                Ok(Ok(_)) => return Ok(chosen),
                Ok(Err(problem)) => last = format!("{}: {problem}", chosen.node.name),
                Err(_) => last = format!("{} did not answer", chosen.node.name),
            }
        }
        Err(refused(refusal::NO_MEMBER, last))
    }

    async fn join(&self, value: &Value, purpose: Purpose, wiped: bool) -> Done {
        let join: JoinValue = parsed(value)?;
        let node = self.node(&join.member)?;
        let party = join
            .batch
            .zip(join.together)
            .map(|(batch, size)| self.together.party(batch, size));
        if self.group.standing(&join.member) == Standing::In {
            let why = format!("{} is a member, and joining would wipe it", join.member);
            return Err(refused(refusal::NONSENSE, why));
        }
        if purpose == Purpose::Load && !self.parameters.allows(Change::JoinWhileDown) {
            self.all_run().await?;
        }
        if wiped && !self.group.is_ready(&join.member) {
            self.stand_by(&node).await?;
        }
        let until = Instant::now() + self.parameters.change_timeout;
        let via = self.member(&join.member).await?;
        let left = || until.saturating_duration_since(Instant::now());
        if let Some(name) = &join.under {
            return self.join_under(&via.node, &node, name, left()).await;
        }
        let invitation = self
            .needs
            .membership
            .invite(&via.node, &node, left())
            .await
            // An invitation changes nothing but tokens, and nobody has used this one.
            .map_err(
                |(ChangeError::Refused(error) | ChangeError::Unclear(error))| {
                    Completion::Fail(error)
                },
            )?;
        if let Some(party) = party {
            party.wait().await;
        }
        let before = self.group.begin_joining(&join.member);
        let joined = self
            .needs
            .membership
            .join(&via.node, &node, &invitation, left())
            .await;
        match joined {
            Ok(()) => {
                self.group.end(&join.member, Standing::In);
                let token = invitation.token.as_deref().map(digest);
                Ok(Completion::Ok(json!(JoinValue { token, ..join })))
            }
            Err(problem) => {
                if matches!(problem, ChangeError::Refused(_)) {
                    self.group.end(&join.member, before);
                }
                Err(failed(problem))
            }
        }
    }

    /// A join under a name that is taken. That it fails is what it is for; what it leaves nobody knows.
    async fn join_under(&self, via: &Node, node: &Node, name: &str, left: Duration) -> Done {
        let member = node.name.as_str();
        let before = self.group.begin_joining(member);
        let membership = &self.needs.membership;
        match membership.join_under(via, node, name, left).await {
            Ok(()) => Ok(Completion::Ok(json!({"member": member, "under": name}))),
            Err(problem) => {
                if matches!(problem, ChangeError::Refused(_)) {
                    self.group.end(member, before);
                }
                Err(failed(problem))
            }
        }
    }

    /// Wipes a node and makes it ready, whatever it was.
    async fn stand_by(&self, node: &Node) -> Result<(), Completion> {
        let name = node.name.as_str();
        self.group.begin_wiping(name);
        let made = self.needs.membership.stand_by(node);
        let why = match timeout(STAND_BY_LIMIT, made).await {
            Ok(Ok(_)) => {
                self.group.set_ready(name);
                return Ok(());
            }
            Ok(Err(problem)) => problem.to_string(),
            Err(_) => format!("not within {} s", STAND_BY_LIMIT.as_secs()),
        };
        Err(refused(
            refusal::NOT_READY,
            format!("{name} cannot be made ready to join: {why}"),
        ))
    }

    async fn all_run(&self) -> Result<(), Completion> {
        let Some(start) = &self.needs.start else {
            return Ok(());
        };
        for chosen in self.group.certain(None) {
            let name = &chosen.node.name;
            match timeout(ANSWER_TIMEOUT, start.is_running(&chosen.node)).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    let why = format!("{name} is down, and join-while-down is not allowed");
                    return Err(refused(refusal::NOT_ALLOWED, why));
                }
                Ok(Err(_)) | Err(_) => {
                    let why = format!(
                        "whether {name} runs is unknown, and join-while-down is not allowed"
                    );
                    return Err(refused(refusal::NOT_ALLOWED, why));
                }
            }
        }
        Ok(())
    }

    async fn remove(&self, value: &Value, purpose: Purpose) -> Done {
        let remove: RemoveValue = parsed(value)?;
        let name = remove.member.as_str();
        let node = self.node(name)?;
        if purpose == Purpose::Load
            && !self.parameters.allows(Change::RemoveLeader)
            && let Some(leader) = &self.needs.leader
        {
            let members: Vec<Node> = self
                .group
                .certain(None)
                .into_iter()
                .map(|chosen| chosen.node)
                .collect();
            let leads = timeout(ANSWER_TIMEOUT, leader.leader(&members)).await;
            let why = match leads {
                Ok(Some(leader)) if leader.name.as_str() != name => None,
                Ok(Some(_)) => Some("leads"),
                Ok(None) | Err(_) => Some("may lead"),
            };
            if let Some(why) = why {
                let why = format!("{name} {why}, and remove-leader is not allowed");
                return Err(refused(refusal::NOT_ALLOWED, why));
            }
        }
        let until = Instant::now() + self.parameters.change_timeout;
        let via = self.member(name).await?;
        let before = self.group.begin(name);
        let left = until.saturating_duration_since(Instant::now());
        let removed = self
            .needs
            .membership
            .remove(&via.node, &node, remove.force, left)
            .await;
        match removed {
            Ok(()) => {
                self.group.end(name, Standing::Out);
                Ok(Completion::Ok(value.clone()))
            }
            Err(problem) => {
                if matches!(problem, ChangeError::Refused(_)) {
                    self.group.end(name, before);
                }
                Err(failed(problem))
            }
        }
    }

    async fn list(&self, deadline: Duration) -> Done {
        let certain = self.group.certain(None);
        let Some(chosen) = certain.first() else {
            return Err(refused(
                refusal::NO_MEMBER,
                "nobody is certainly a member, so nobody is asked",
            ));
        };
        let listed = self.needs.membership.list(&chosen.node, deadline).await;
        if !self.group.stayed(chosen) {
            return Err(left_meanwhile(chosen));
        }
        match listed {
            Ok(names) => Ok(Completion::Ok(json!(names))),
            Err(problem) => Err(failed(problem)),
        }
    }

    async fn removed_probe(&self, value: &Value, deadline: Duration) -> Done {
        let member = value["member"].as_str().unwrap_or_default().to_owned();
        let node = self.node(&member)?;
        match self.needs.membership.takes_part(&node, deadline).await {
            Ok(inside) => Ok(Completion::Ok(json!(RemovedProbeValue { member, inside }))),
            Err(problem) => Err(failed(problem)),
        }
    }
}

fn left_meanwhile(chosen: &Chosen) -> Completion {
    Completion::Info(error(
        "member-left",
        format!(
            "{} was being removed meanwhile, so its answer may be of another cluster",
            chosen.node.name
        ),
    ))
}

impl MembershipClient {
    /// A data client on a certain member, the same as before if that still is one.
    async fn on_a_member(&mut self) -> Result<(Chosen, Box<dyn Client>), Completion> {
        if let Some((chosen, client)) = self.data.take()
            && self.shared.group.stayed(&chosen)
        {
            return Ok((chosen, client));
        }
        let mut last = String::from("nobody is certainly a member");
        for chosen in self
            .shared
            .group
            .certain(None)
            .into_iter()
            .take(ANSWER_TRIES)
        {
            let name = chosen.node.name.as_str();
            let place = self.shared.ordinals.iter().position(|other| other == name);
            let Some(place) = place else { continue };
            match self.shared.needs.data.open(place, self.process).await {
                Ok(client) => return Ok((chosen, client)),
                Err(problem) => last = format!("{name}: {problem}"),
            }
        }
        Err(refused(refusal::NO_MEMBER, last))
    }

    async fn data(&mut self, invocation: Invocation<'_>) -> Completion {
        let until = Instant::now() + invocation.deadline;
        let (chosen, mut client) = match self.on_a_member().await {
            Ok(found) => found,
            Err(refused) => return refused,
        };
        let left = Invocation {
            deadline: until.saturating_duration_since(Instant::now()),
            ..invocation
        };
        let completion = client.invoke(left).await;
        if !self.shared.group.stayed(&chosen) {
            return left_meanwhile(&chosen);
        }
        self.data = Some((chosen, client));
        completion
    }
}
