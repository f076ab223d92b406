//! Membership of dqlite on real nodes: joins, removes, and what every place where it is kept says of them.
//!
//! Needs root and what `lab/install` installs, and fails without; it is compiled with the feature `live` only. The lab is the
//! one of `HARNESS_LAB` (five nodes or more) if that is set, so that suite, bridge and subnet can be chosen; its state is a
//! folder of its own. Images are those of the machine, and built if missing.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod reading_cost;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use dqlite_wire::Role;
use harness_core::view::{LOG, Member, Reading, Source, UnreadKind};
use harness_lab::{
    Lab, Node, UpOptions,
    capability::{
        ChangeError, Kill, Leader, Membership, Place, PlaceReading, Sources, Start, Stop,
    },
    inventory, lab,
    provider::{LabSpec, LxcSpec, ProgressFn},
    state::State,
};
use harness_workloads::systems::{
    System,
    dqlite::{Dqlite, Options, SETTLE, VOTER_TARGET, paths},
    raft_disk, sampling,
};
use tempfile::TempDir;

/// How long one change may take.
const CHANGE: Duration = Duration::from_secs(60);
/// How long one reading may take.
const READ: Duration = Duration::from_secs(10);

struct Fixture {
    state: State,
    lab: Lab,
    dqlite: Dqlite,
    _folder: TempDir,
}

impl Fixture {
    async fn up() -> Self {
        let folder = TempDir::new_in("/var/tmp").unwrap();
        let images = State::look_from_environment().unwrap().images().to_owned();
        let state = State::at(folder.path()).unwrap().with_images(images);
        let spec = match std::env::var_os("HARNESS_LAB") {
            Some(file) => inventory::read(&PathBuf::from(file)).unwrap(),
            None => LabSpec::Lxc(LxcSpec {
                nodes: 5,
                bridge: "hltdql".into(),
                subnet: "10.182.0.0/24".parse().unwrap(),
                ..LxcSpec::default()
            }),
        };
        let lock = state.lock("test").unwrap();
        let lab = lab::up(&state, &lock, &spec, &UpOptions::default(), &quiet())
            .await
            .unwrap();
        drop(lock);
        assert!(lab.nodes.len() >= 5, "five nodes are needed");
        let dqlite = Dqlite::new(&lab.nodes, Options::default());
        Self {
            state,
            lab,
            dqlite,
            _folder: folder,
        }
    }

    async fn down(&self) {
        self.lab.close().await;
        take_down(&self.state).await;
    }

    fn node(&self, name: &str) -> &Node {
        self.lab.node(name).unwrap()
    }

    async fn join(&self, via: &str, member: &str) -> Result<(), ChangeError> {
        let (via, member) = (self.node(via), self.node(member));
        let invitation = self.dqlite.invite(via, member, CHANGE).await?;
        let begun = Instant::now();
        let joined = self.dqlite.join(via, member, &invitation, CHANGE).await;
        eprintln!(
            "join {} via {}: {joined:?} in {:?}",
            member.name,
            via.name,
            begun.elapsed()
        );
        joined
    }

    async fn remove(&self, via: &str, member: &str, force: bool) -> Result<(), ChangeError> {
        let (via, member) = (self.node(via), self.node(member));
        let begun = Instant::now();
        let removed = self.dqlite.remove(via, member, force, CHANGE).await;
        eprintln!(
            "remove {} via {} (force: {force}): {removed:?} in {:?}",
            member.name,
            via.name,
            begun.elapsed()
        );
        removed
    }

    async fn list(&self, via: &str) -> BTreeSet<String> {
        let listed = self.dqlite.list(self.node(via), CHANGE).await.unwrap();
        listed.into_iter().collect()
    }

    async fn leader(&self) -> String {
        let until = Instant::now() + CHANGE;
        while Instant::now() < until {
            if let Some(node) = self.dqlite.leader(&self.lab.nodes).await {
                return node.name.to_string();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody leads");
    }

    async fn read(&self, node: &str, place: &Place) -> Vec<PlaceReading> {
        self.dqlite.read(self.node(node), place, READ).await
    }

    fn place(&self, label: &str) -> &Place {
        let mut places = self.dqlite.places().iter();
        places.find(|place| place.label == Some(label)).unwrap()
    }

    fn addresses(&self, names: &[&str]) -> BTreeSet<String> {
        names
            .iter()
            .map(|name| paths::db_address(self.node(name)))
            .collect()
    }

    /// Waits until every place on every one of these nodes lists just them, with the same ids everywhere, and with the same
    /// roles but for the cache, which hears of a new role a period later.
    async fn assert_agree(&self, names: &[&str]) {
        let (wanted, begun) = (self.addresses(names), Instant::now());
        let mut last = String::new();
        while begun.elapsed() < SETTLE {
            last.clear();
            let mut said = BTreeSet::new();
            for node in names {
                for place in self.dqlite.places() {
                    let readings = self.read(node, place).await;
                    let members = members(&readings[0]);
                    if addresses(&members) != wanted {
                        last = format!("{node} {place:?}: {:?}", readings[0]);
                    }
                    if place.source == Source::Raft {
                        said.insert(by_id(&members));
                    }
                }
            }
            let voters = said.first().map_or(0, |all| {
                all.iter()
                    .filter(|(.., role)| role.contains("Voter"))
                    .count()
            });
            if last.is_empty() && said.len() == 1 && voters == VOTER_TARGET.min(names.len()) {
                eprintln!("{names:?} agree, with roles, after {:?}", begun.elapsed());
                return;
            }
            last.push_str(&format!(" {said:?}"));
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("{names:?} do not agree: {last}");
    }
}

impl Drop for Fixture {
    /// A failed test must not leave what the next one trips over.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let state = &self.state;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                runtime.block_on(take_down(state));
            });
        });
    }
}

async fn take_down(state: &State) {
    let lock = state.lock("test").unwrap();
    lab::down(state, &lock).await.unwrap();
}

fn quiet() -> ProgressFn {
    Arc::new(|_| {})
}

fn members(reading: &PlaceReading) -> Vec<Member> {
    match &reading.reading {
        Reading::Members(members) => members.clone(),
        Reading::Unread { kind, message } => panic!("unread: {kind:?} {message}"),
    }
}

fn addresses(members: &[Member]) -> BTreeSet<String> {
    members
        .iter()
        .map(|member| member.address.clone().unwrap())
        .collect()
}

fn by_id(members: &[Member]) -> BTreeSet<(Option<u64>, Option<String>, String)> {
    members
        .iter()
        .map(|member| {
            (
                member.raft_id,
                member.address.clone(),
                format!("{:?}", member.role),
            )
        })
        .collect()
}

fn kind(result: Result<(), ChangeError>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(ChangeError::Refused(said)) => format!("refused {}", said.kind),
        Err(ChangeError::Unclear(said)) => format!("unclear {}", said.kind),
    }
}

fn names(all: &[&str]) -> BTreeSet<String> {
    all.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_and_every_place_says_so() {
    let on = Fixture::up().await;
    let dqlite = &on.dqlite;
    for node in &on.lab.nodes {
        dqlite.wipe(node).await.unwrap();
    }
    dqlite.form(&on.lab.nodes[..3]).await.unwrap();
    for name in ["n4", "n5"] {
        dqlite.stand_by(on.node(name)).await.unwrap();
        // What stands by is never started: it would bootstrap a cluster of its own.
        assert_eq!(dqlite.start(on.node(name)).await.unwrap().pid, None);
        assert!(!dqlite.is_running(on.node(name)).await.unwrap());
        for place in dqlite.places() {
            let readings = on.read(name, place).await;
            match (&readings[0].reading, place.label) {
                (Reading::Unread { kind, .. }, Some("socket")) => {
                    assert_eq!(*kind, UnreadKind::Stopped);
                }
                (reading, _) => assert_eq!(*reading, Reading::Members(Vec::new())),
            }
        }
    }
    assert_eq!(on.list("n2").await, names(&["n1", "n2", "n3"]));

    // The second one joins by a stand-by, which does not know who leads.
    on.join("n1", "n4").await.unwrap();
    on.join("n4", "n5").await.unwrap();
    let all = ["n1", "n2", "n3", "n4", "n5"];
    assert_eq!(on.list("n5").await, names(&all));
    on.assert_agree(&all).await;
    assert_eq!(on.join("n1", "n5").await, Ok(()), "who is in is in");

    assert_positions(&on, &all).await;
    let nodes: Vec<&Node> = on.lab.nodes.iter().collect();
    let interval = sampling::usual_interval("dqlite", nodes.len());
    reading_cost::assert_within_limit("dqlite", dqlite, &nodes, interval).await;

    leadership_and_roles(&on).await;
    refusals(&on).await;

    // The leader is removed: it hands over first, and is stopped afterwards.
    let old_leader = on.leader().await;
    let rest: Vec<&str> = all.into_iter().filter(|name| *name != old_leader).collect();
    let old_id = own_id(&on, &old_leader).await;
    on.remove(rest[0], &old_leader, false).await.unwrap();
    assert!(!on.list(rest[0]).await.contains(&old_leader));
    assert!(!dqlite.is_running(on.node(&old_leader)).await.unwrap());
    assert_eq!(dqlite.start(on.node(&old_leader)).await.unwrap().pid, None);
    assert_eq!(
        dqlite.takes_part(on.node(&old_leader), READ).await,
        Ok(false)
    );
    // Its folder is read all the same.
    let left = on.read(&old_leader, on.place(raft_disk::LABEL)).await;
    assert!(!members(&left[0]).is_empty());
    on.assert_agree(&rest).await;

    // A dead voter is removed by force; its folder says that it is still a member.
    let leader = on.leader().await;
    let voters = dqlite.voters(&on.lab.nodes).await.unwrap();
    let dead = voters
        .iter()
        .map(|node| node.name.to_string())
        .find(|name| *name != leader)
        .unwrap();
    dqlite.kill(on.node(&dead)).await.unwrap();
    let socket = on.read(&dead, on.place("socket")).await;
    assert!(matches!(
        socket[0].reading,
        Reading::Unread {
            kind: UnreadKind::Stopped,
            ..
        }
    ));
    on.remove(&leader, &dead, true).await.unwrap();
    let disk = on.read(&dead, on.place(raft_disk::LABEL)).await;
    assert_eq!(addresses(&members(&disk[0])), on.addresses(&rest));
    assert_eq!(dqlite.takes_part(on.node(&dead), READ).await, Ok(false));
    let rest: Vec<&str> = rest.into_iter().filter(|name| *name != dead).collect();
    on.assert_agree(&rest).await;
    // Nobody told it. It comes back, and its own dqlite serves nobody.
    assert!(dqlite.start(on.node(&dead)).await.unwrap().pid.is_some());
    let part = dqlite.takes_part(on.node(&dead), READ).await;
    assert_eq!(part, Ok(false));
    assert_eq!(on.list(rest[0]).await, names(&rest));
    assert_eq!(kind(on.join(rest[0], &dead).await), "refused not-wiped");

    // Both come back as somebody new.
    for name in [&old_leader, &dead] {
        dqlite.stand_by(on.node(name)).await.unwrap();
        on.join(rest[0], name).await.unwrap();
    }
    on.assert_agree(&all).await;
    assert_ne!(own_id(&on, &old_leader).await, old_id);

    // A restart needs nobody to join.
    dqlite.stop(on.node(&old_leader), None).await.unwrap();
    assert!(
        dqlite
            .start(on.node(&old_leader))
            .await
            .unwrap()
            .pid
            .is_some()
    );
    on.assert_agree(&all).await;
    on.down().await;
}

async fn own_id(on: &Fixture, name: &str) -> u64 {
    let own = paths::db_address(on.node(name));
    let readings = on.read(name, on.place("socket")).await;
    let members = members(&readings[0]);
    let me = members
        .iter()
        .find(|member| member.address.as_ref() == Some(&own));
    me.unwrap().raft_id.unwrap()
}

/// Indices and terms: one configuration an index over all folders, one leader that says so itself.
async fn assert_positions(on: &Fixture, all: &[&str]) {
    let mut at_index = std::collections::BTreeMap::new();
    let (mut leaders, mut older) = (0, 0);
    for name in all {
        for reading in on.read(name, on.place(raft_disk::LABEL)).await {
            let raft = reading.raft.unwrap();
            assert!(raft.term.is_some());
            older += usize::from(reading.label == Some(LOG));
            if let (Some(index), Some(true)) = (raft.index, raft.committed) {
                let said = by_id(&members(&reading));
                assert_eq!(*at_index.entry(index).or_insert_with(|| said.clone()), said);
            }
        }
        let socket = on.read(name, on.place("socket")).await;
        let raft = socket[0].raft.unwrap();
        assert!(raft.term.is_some(), "{raft:?}");
        leaders += usize::from(raft.leader.is_some());
    }
    assert_eq!(leaders, 1);
    assert!(older > 0 && at_index.len() > 3, "{at_index:?}");
}

async fn leadership_and_roles(on: &Fixture) {
    let dqlite = &on.dqlite;
    let leader = on.leader().await;
    let voters = dqlite.voters(&on.lab.nodes).await.unwrap();
    let heir = voters
        .iter()
        .find(|node| *node.name.as_str() != *leader)
        .unwrap();
    let begun = Instant::now();
    let now = dqlite
        .transfer_leadership(on.node("n1"), Some(heir), CHANGE)
        .await
        .unwrap();
    eprintln!("leadership to {}: {:?}", heir.name, begun.elapsed());
    assert_eq!(now, paths::db_address(heir));
    let standing = on
        .lab
        .nodes
        .iter()
        .find(|node| voters.iter().all(|voter| voter.name != node.name))
        .unwrap();
    let refused = dqlite
        .transfer_leadership(on.node("n1"), Some(standing), CHANGE)
        .await;
    assert!(
        matches!(refused, Err(ChangeError::Refused(_))),
        "{refused:?}"
    );
    dqlite
        .assign_role(on.node("n1"), standing, Role::Spare, CHANGE)
        .await
        .unwrap();
    let again = dqlite
        .assign_role(on.node("n1"), standing, Role::Spare, CHANGE)
        .await;
    eprintln!("the same role again: {again:?}");
    dqlite
        .assign_role(on.node("n1"), standing, Role::StandBy, CHANGE)
        .await
        .unwrap();
}

async fn refusals(on: &Fixture) {
    let dqlite = &on.dqlite;
    let leader = on.leader().await;
    let ghost = ["n5", "n4"]
        .into_iter()
        .find(|name| *name != leader)
        .unwrap();
    assert_eq!(kind(on.remove("n1", &leader, true).await), "refused leads");
    // Its data are lost and nobody removed it: its address is burnt until somebody does.
    dqlite.stand_by(on.node(ghost)).await.unwrap();
    assert_eq!(kind(on.join("n1", ghost).await), "refused address-in-use");
    assert!(!dqlite.is_running(on.node(ghost)).await.unwrap());
    on.remove("n1", ghost, true).await.unwrap();
    assert_eq!(
        kind(on.remove("n1", ghost, true).await),
        "refused not-a-member"
    );
    // Nobody answers there.
    assert_eq!(
        kind(on.remove(ghost, "n1", true).await),
        "refused not-running"
    );
    let dead = on
        .dqlite
        .invite(on.node(ghost), on.node("n1"), CHANGE)
        .await;
    assert!(matches!(dead, Err(ChangeError::Refused(_))), "{dead:?}");
    dqlite.stand_by(on.node(ghost)).await.unwrap();
    on.join("n1", ghost).await.unwrap();
}
