//! SIMULATION: a cluster whose membership is kept in a database, in truststores, in raft and in caches.
//!
//! A join goes through them one after the other, as real products do, and takes a little time between; a remove likewise. Each
//! node that runs can be read. Roles: the first [`VOTERS`] in raft vote, two more stand by, all others are spare.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use harness_core::{
    event::OpError,
    view::{Member, MemberState, Reading, Role, Source, UnreadKind},
};
use harness_lab::{
    Node,
    capability::{
        CapabilityError, ChangeError, Cost, Invitation, Membership, Place, PlaceReading, Seen,
        Sources,
    },
};
use tokio::time::{Instant, sleep};

use super::{Plant, VOTERS};

/// How long each step of a change takes.
const STEP: Duration = Duration::from_millis(10);
/// Where resurrection is planted: how long who was removed is away.
const AWAY: Duration = Duration::from_millis(800);
/// Members that stand by to become voters.
const STAND_BYS: usize = 2;

const PLACES: [Place; 4] = [
    place(Source::Database, None),
    place(Source::Truststore, None),
    place(Source::Raft, Some("socket")),
    place(Source::Cache, Some("raft_nodes")),
];

const fn place(source: Source, label: Option<&'static str>) -> Place {
    Place {
        source,
        label,
        cost: Cost::Low,
    }
}

#[derive(Clone, Debug)]
struct Peer {
    raft_id: u64,
    name: String,
    address: String,
}

#[derive(Debug, Default)]
struct State {
    /// The table of members: whether each is pending.
    rows: BTreeMap<String, bool>,
    addresses: BTreeMap<String, String>,
    trust: BTreeMap<String, BTreeSet<String>>,
    raft: Vec<Peer>,
    caches: BTreeMap<String, Vec<Peer>>,
    running: BTreeSet<String>,
    tokens: BTreeMap<String, String>,
    /// Tokens and raft ids given so far.
    given: u64,
    /// Who joined first.
    first_joiner: Option<String>,
    returning: Vec<(Instant, Peer)>,
}

/// See the module.
#[derive(Debug)]
pub struct Cluster {
    plant: Option<Plant>,
    state: Mutex<State>,
}

fn no(kind: &str, message: impl Into<String>) -> ChangeError {
    ChangeError::Refused(OpError {
        kind: kind.to_owned(),
        message: message.into(),
    })
}

impl State {
    fn number(&mut self) -> u64 {
        self.given += 1;
        self.given
    }

    fn add_row(&mut self, name: &str, address: &str, pending: bool) {
        self.rows.insert(name.to_owned(), pending);
        self.addresses.insert(name.to_owned(), address.to_owned());
    }

    /// Every member's truststore and the joiner's own get the newcomer.
    fn trust_everywhere(&mut self, name: &str) {
        for store in self.trust.values_mut() {
            store.insert(name.to_owned());
        }
        let all: BTreeSet<String> = self.rows.keys().cloned().collect();
        self.trust.insert(name.to_owned(), all);
    }

    fn refresh_caches(&mut self) {
        let raft = self.raft.clone();
        self.caches = self
            .running
            .iter()
            .map(|name| (name.clone(), raft.clone()))
            .collect();
    }

    fn add_to_raft(&mut self, peer: Peer) {
        self.raft.retain(|other| other.name != peer.name);
        self.raft.push(peer);
        self.refresh_caches();
    }

    fn forget(&mut self, name: &str, also_in_raft: bool) {
        self.rows.remove(name);
        for store in self.trust.values_mut() {
            store.remove(name);
        }
        if also_in_raft {
            self.raft.retain(|peer| peer.name != name);
        }
        self.refresh_caches();
    }

    fn come_back(&mut self) {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.returning)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.returning = later;
        let due: Vec<(Instant, Peer)> = due;
        for (_, peer) in due {
            self.add_row(&peer.name, &peer.address, false);
            self.trust_everywhere(&peer.name);
            self.add_to_raft(peer);
        }
    }
}

impl Cluster {
    /// Nobody's yet.
    pub fn new(plant: Option<Plant>) -> Self {
        Self {
            plant,
            state: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.come_back();
        state
    }

    /// A cluster of these.
    pub fn form(&self, nodes: &[Node]) {
        let mut state = self.lock();
        *state = State::default();
        for node in nodes {
            let (name, address) = (node.name.as_str(), node.address.to_string());
            state.add_row(name, &address, false);
            state.running.insert(name.to_owned());
            state.trust_everywhere(name);
            let raft_id = state.number();
            state.add_to_raft(Peer {
                raft_id,
                name: name.to_owned(),
                address,
            });
        }
    }

    fn must_run(&self, via: &Node) -> Result<(), ChangeError> {
        let runs = self.lock().running.contains(via.name.as_str());
        runs.then_some(())
            .ok_or_else(|| no("refused", format!("{} does not run", via.name)))
    }
}

fn peers(raft: &[Peer]) -> Vec<Member> {
    let role = |place: usize| match place {
        0..VOTERS => Role::Voter,
        _ if place < VOTERS + STAND_BYS => Role::StandBy,
        _ => Role::Spare,
    };
    raft.iter()
        .enumerate()
        .map(|(place, peer)| Member {
            address: Some(peer.address.clone()),
            raft_id: Some(peer.raft_id),
            role: Some(role(place)),
            ..Member::default()
        })
        .collect()
}

#[async_trait]
impl Membership for Cluster {
    async fn stand_by(&self, node: &Node) -> Result<Seen, CapabilityError> {
        let mut state = self.lock();
        state.running.remove(node.name.as_str());
        state.trust.remove(node.name.as_str());
        Ok(Seen {
            pid: None,
            detail: "SIMULATION: wiped".to_owned(),
        })
    }

    fn joins_unwiped(&self) -> bool {
        true
    }

    async fn invite(
        &self,
        via: &Node,
        member: &Node,
        _deadline: Duration,
    ) -> Result<Invitation, ChangeError> {
        sleep(STEP).await;
        self.must_run(via)?;
        let mut state = self.lock();
        let token = format!("token {}", state.number());
        state
            .tokens
            .insert(token.clone(), member.name.as_str().to_owned());
        Ok(Invitation { token: Some(token) })
    }

    async fn join(
        &self,
        via: &Node,
        member: &Node,
        invitation: &Invitation,
        _deadline: Duration,
    ) -> Result<(), ChangeError> {
        self.must_run(via)?;
        let (name, address) = (member.name.as_str(), member.address.to_string());
        {
            let mut state = self.lock();
            let token = invitation.token.as_deref().unwrap_or_default();
            if state
                .tokens
                .get(token)
                .is_none_or(|for_whom| for_whom != name)
            {
                return Err(no("bad-token", "the token is none"));
            }
            if state.rows.contains_key(name) {
                return Err(no("exists", format!("{name} exists already")));
            }
            state.tokens.remove(token);
            state.add_row(name, &address, true);
        }
        sleep(STEP).await;
        self.lock().trust_everywhere(name);
        sleep(STEP).await;
        let first = {
            let mut state = self.lock();
            let first = state.first_joiner.get_or_insert_with(|| name.to_owned()) == name;
            first && self.plant.is_some()
        };
        if first && self.plant == Some(Plant::HalfJoin) {
            return Err(ChangeError::Unclear(OpError {
                kind: "connection-lost".to_owned(),
                message: "SIMULATION: the joiner was killed".to_owned(),
            }));
        }
        {
            let mut state = self.lock();
            state.running.insert(name.to_owned());
            let raft_id = state.number();
            let peer = Peer {
                raft_id,
                name: name.to_owned(),
                address,
            };
            state.add_to_raft(peer);
        }
        sleep(STEP).await;
        let mut state = self.lock();
        state.rows.insert(name.to_owned(), false);
        if first && self.plant == Some(Plant::LostMember) {
            state.raft.retain(|peer| peer.name != name);
            state.refresh_caches();
        }
        Ok(())
    }

    async fn remove(
        &self,
        via: &Node,
        member: &Node,
        _force: bool,
        _deadline: Duration,
    ) -> Result<(), ChangeError> {
        self.must_run(via)?;
        let name = member.name.as_str();
        let peer = {
            let state = self.lock();
            // A pending member is in no list, so it is not found, as in a real product.
            if state.rows.get(name) != Some(&false) {
                return Err(no("not-found", format!("{name} is no member")));
            }
            state.raft.iter().find(|peer| peer.name == name).cloned()
        };
        sleep(STEP).await;
        let mut state = self.lock();
        state.running.remove(name);
        state.trust.remove(name);
        state.forget(name, self.plant != Some(Plant::GhostAfterRemove));
        if let (Some(peer), Some(Plant::Resurrection)) = (peer, self.plant) {
            state.returning.push((Instant::now() + AWAY, peer));
        }
        Ok(())
    }

    async fn list(&self, via: &Node, _deadline: Duration) -> Result<Vec<String>, ChangeError> {
        sleep(STEP).await;
        self.must_run(via)?;
        let state = self.lock();
        let full = state.rows.iter().filter(|(_, pending)| !**pending);
        Ok(full.map(|(name, _)| name.clone()).collect())
    }

    async fn takes_part(&self, node: &Node, _deadline: Duration) -> Result<bool, ChangeError> {
        let state = self.lock();
        let name = node.name.as_str();
        Ok(state.running.contains(name) && state.raft.iter().any(|peer| peer.name == name))
    }
}

#[async_trait]
impl Sources for Cluster {
    fn places(&self) -> &[Place] {
        &PLACES
    }

    async fn read(&self, node: &Node, place: &Place, _deadline: Duration) -> Vec<PlaceReading> {
        let state = self.lock();
        let name = node.name.as_str();
        let reading = if state.running.contains(name) {
            Reading::Members(state.members(name, place.source))
        } else {
            Reading::Unread {
                kind: UnreadKind::Stopped,
                message: "SIMULATION: it does not run".to_owned(),
            }
        };
        vec![PlaceReading {
            label: place.label,
            reading,
            raft: None,
        }]
    }
}

impl State {
    /// Whom a source lists on a node that runs.
    fn members(&self, node: &str, source: Source) -> Vec<Member> {
        match source {
            Source::Database => self
                .rows
                .iter()
                .map(|(name, pending)| Member {
                    name: Some(name.clone()),
                    address: self.addresses.get(name).cloned(),
                    state: Some(if *pending {
                        MemberState::Pending
                    } else {
                        MemberState::Active
                    }),
                    ..Member::default()
                })
                .collect(),
            Source::Truststore => self
                .trust
                .get(node)
                .into_iter()
                .flatten()
                .map(|name| Member {
                    name: Some(name.clone()),
                    fingerprint: Some(format!("certificate of {name}")),
                    ..Member::default()
                })
                .collect(),
            Source::Raft => peers(&self.raft),
            Source::Cache => peers(self.caches.get(node).map_or(&[], Vec::as_slice)),
        }
    }
}
