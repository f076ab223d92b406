//! LXD as a system, on real daemons: it forms, joins, removes, is killed and stopped, and each place of each node tells it.
//!
//! Needs root and what `lab/install` installs, and fails without; it is compiled with the feature `live` only. The lab is the
//! one that `HARNESS_LAB` and `HARNESS_STATE` name (left up, wiped), else one of its own of four nodes, which is taken down.
//!
//! One test: its parts build on each other, and a cluster of LXD daemons is no small thing to make.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod lxd_recovery;
mod reading_cost;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use harness_core::view::{Member, MemberState, Reading, Role, Source, UnreadKind};
use harness_lab::{
    Exec, Lab, Node, UpOptions,
    capability::{ChangeError, Invitation, Membership, Place, Sources},
    image::{ImageSystem, Recipe, Suite},
    inventory, lab,
    provider::{LabSpec, LxcSpec, ProgressFn},
    state::State,
};
use harness_workloads::{
    client::{Completion, Invocation},
    systems::{
        System,
        lxd::{Lxd, Options},
        sampling,
    },
    workload::Kind,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long one change may take.
const CHANGE: Duration = Duration::from_secs(45);
/// How long one reading may take.
const READ: Duration = Duration::from_secs(5);
/// Nodes that the test uses.
const NODES: usize = 4;
/// How long one must lead until no other is expected to: longer than an election.
const STEADY: Duration = Duration::from_secs(8);

struct Fixture {
    state: State,
    lab: Lab,
    own: Option<TempDir>,
}

impl Drop for Fixture {
    /// A failed test must not leave what the next one trips over.
    fn drop(&mut self) {
        if self.own.is_none() || !std::thread::panicking() {
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

async fn fixture() -> Fixture {
    assert!(
        rustix::process::geteuid().is_root(),
        "the live tests need root: run ./lab/test"
    );
    let from_environment = State::look_from_environment().unwrap();
    let (state, spec, own) = match std::env::var_os("HARNESS_LAB") {
        Some(file) => (
            from_environment,
            inventory::read(&PathBuf::from(file)).unwrap(),
            None,
        ),
        None => {
            let folder = TempDir::new_in("/var/tmp").unwrap();
            let images = from_environment.images().to_owned();
            let state = State::at(folder.path()).unwrap().with_images(images);
            let systems = BTreeSet::from([ImageSystem::Dqlite, ImageSystem::Lxd]);
            let spec = LabSpec::Lxc(LxcSpec {
                nodes: NODES,
                image: Recipe::new(Suite::Bookworm, systems, BTreeSet::new()).unwrap(),
                bridge: "hltlxd".into(),
                subnet: "10.184.0.0/24".parse().unwrap(),
            });
            (state, spec, Some(folder))
        }
    };
    let lock = state.lock("test").unwrap();
    let quiet: ProgressFn = Arc::new(|_| {});
    let options = UpOptions::default();
    let lab = lab::up(&state, &lock, &spec, &options, &quiet)
        .await
        .unwrap();
    lab.connect().await.unwrap();
    assert!(lab.nodes.len() >= NODES, "the lab needs {NODES} nodes");
    drop(lock);
    Fixture { state, lab, own }
}

async fn all(lxd: &Lxd, node: &Node) -> Vec<(Place, Reading)> {
    let mut readings = Vec::new();
    for place in lxd.places() {
        let mut read = lxd.read(node, place, READ).await;
        // Older configurations in a log may come after it.
        let log = Some(harness_core::view::LOG);
        assert!(
            !read.is_empty() && read[1..].iter().all(|older| older.label == log),
            "{place:?}"
        );
        readings.push((*place, read.remove(0).reading));
    }
    readings
}

fn names(nodes: &[&Node]) -> BTreeSet<String> {
    nodes.iter().map(|node| node.name.to_string()).collect()
}

/// Who a reading is about: by name where there is one, else by address.
fn who(lxd: &Lxd, nodes: &[Node], member: &Member) -> String {
    if let Some(name) = &member.name {
        return name.clone();
    }
    let address = member.address.as_deref().unwrap();
    let node = nodes.iter().find(|node| lxd.address(node) == address);
    node.map_or_else(|| address.to_owned(), |node| node.name.to_string())
}

/// Why the places of these nodes do not all say these members; nothing if they do.
async fn disagreement(lxd: &Lxd, nodes: &[Node], members: &[&Node]) -> Option<String> {
    let wanted = names(members);
    for node in members {
        for (place, reading) in all(lxd, node).await {
            let Reading::Members(found) = reading else {
                return Some(format!("{place:?} of {}: {reading:?}", node.name));
            };
            let got: BTreeSet<String> = found.iter().map(|m| who(lxd, nodes, m)).collect();
            let full = found
                .iter()
                .all(|m| m.state.is_none_or(|state| state == MemberState::Active));
            if got != wanted || found.len() != wanted.len() || !full {
                return Some(format!("{place:?} of {}: {found:?}", node.name));
            }
        }
    }
    None
}

/// Waits until all places of all members agree, for as long as the system says that they may differ.
async fn agree(lxd: &Lxd, nodes: &[Node], members: &[&Node], after: &str) {
    let begun = Instant::now();
    let settle = lxd.timing().unwrap().settle;
    loop {
        match disagreement(lxd, nodes, members).await {
            None => break,
            Some(why) => assert!(begun.elapsed() < settle, "after {after}: {why}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eprintln!("{after}: all places agree after {:?}", begun.elapsed());
}

/// A token. Seen was that LXD took all its members for offline for a moment, after leaders had changed and members had gone: it is
/// asked again for as long as its places may differ.
async fn invite(lxd: &Lxd, via: &Node, member: &Node) -> Invitation {
    let begun = Instant::now();
    let settle = lxd.timing().unwrap().settle;
    loop {
        match lxd.invite(via, member, CHANGE).await {
            Ok(invitation) => return invitation,
            Err(ChangeError::Refused(error))
                if error.message.contains("no online cluster members")
                    && begun.elapsed() < settle =>
            {
                eprintln!("after {:?}: {}", begun.elapsed(), error.message);
            }
            Err(error) => panic!("{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn join(lxd: &Lxd, via: &Node, member: &Node) {
    let begun = Instant::now();
    let invitation = invite(lxd, via, member).await;
    let invited = begun.elapsed();
    lxd.join(via, member, &invitation, CHANGE).await.unwrap();
    eprintln!(
        "{} joined: token {invited:?}, in all {:?}",
        member.name,
        begun.elapsed()
    );
}

fn word(result: Result<(), ChangeError>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(ChangeError::Refused(error)) => format!("refused {}", error.kind),
        Err(ChangeError::Unclear(error)) => format!("unclear {}: {}", error.kind, error.message),
    }
}

async fn shell(node: &Node, script: &str) -> String {
    let output = node.transport.exec(Exec::shell(script)).await.unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    output.stdout_text().trim().to_owned()
}

async fn refusals(lxd: &Lxd, nodes: &[Node]) {
    let [n1, n2, n3, n4] = nodes else { panic!() };
    let token = lxd.invite(n1, n4, CHANGE).await.unwrap();
    // Already a member.
    let other = lxd.invite(n1, n2, CHANGE).await.unwrap();
    let said = word(lxd.join(n1, n2, &other, CHANGE).await);
    assert_eq!(said, "refused already-clustered");
    for (spoilt, expected) in [
        (None, "refused not-sent"),
        (Some("abcd".to_owned()), "refused bad-token"),
        (Some(spoil(&token, "fingerprint")), "refused bad-token"),
        (Some(spoil(&token, "secret")), "refused no-such-token"),
    ] {
        let spoilt = Invitation { token: spoilt };
        assert_eq!(word(lxd.join(n1, n4, &spoilt, CHANGE).await), expected);
    }
    for force in [false, true] {
        let said = word(lxd.remove(n1, n4, force, CHANGE).await);
        assert_eq!(said, "refused not-found", "force {force}");
    }
    // Asked of a node that is in no cluster.
    assert!(word(lxd.remove(n4, n1, false, CHANGE).await).starts_with("refused not-"));
    assert!(matches!(
        lxd.invite(n4, n1, CHANGE).await,
        Err(ChangeError::Refused(_))
    ));
    assert!(matches!(
        lxd.list(n4, CHANGE).await,
        Err(ChangeError::Refused(_))
    ));
    agree(lxd, nodes, &[n1, n2, n3], "all that was refused").await;
    for (place, reading) in all(lxd, n4).await {
        assert_eq!(reading, Reading::Members(Vec::new()), "{place:?} of n4");
    }
}

/// A token of which one field is another.
fn spoil(invitation: &Invitation, field: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let token = STANDARD.decode(invitation.token.as_ref().unwrap()).unwrap();
    let mut content: Value = serde_json::from_slice(&token).unwrap();
    let value = content[field].as_str().unwrap();
    content[field] = json!(format!("0000{}", &value[4..]));
    STANDARD.encode(content.to_string())
}

/// A token for a name that is taken: given, refused late, and not without a trace.
async fn name_taken(lxd: &Lxd, nodes: &[Node]) {
    let [n1, n2, n3, n4] = nodes else { panic!() };
    lxd.stand_by(n4).await.unwrap();
    let token = lxd.invite(n1, n2, CHANGE).await.unwrap();
    let said = word(lxd.join(n1, n4, &token, CHANGE).await);
    assert!(said.starts_with("unclear answered-error"), "{said}");
    let why = disagreement(lxd, nodes, &[n1, n2, n3]).await;
    let why = why.expect("the joiner's certificate stays in the truststore");
    assert!(why.contains("Truststore"), "{why}");
    // By LXD's own means: taken out of the table by SQL alone, it stays in each local database.
    let global = harness_workloads::systems::lxd::rest::Database::Global;
    let newest = "SELECT fingerprint FROM certificates ORDER BY id DESC LIMIT 1";
    let rows = lxd.sql(n1, global, newest, READ).await.unwrap();
    let spoilt = rows[0][0].as_str().unwrap();
    let command = format!("LXD_DIR=/srv/harness/lxd/data lxc config trust remove {spoilt}");
    shell(n1, &command).await;
    agree(
        lxd,
        nodes,
        &[n1, n2, n3],
        "a join under a name that was taken",
    )
    .await;
}

async fn clients_work(lxd: &Lxd, members: &[Node]) {
    let kind = Kind::Set(harness_workloads::workload::set::Parameters {});
    lxd.prepare(members, &kind).await.unwrap();
    let clients = lxd.clients(members, &kind);
    let probes = lxd.probes(members);
    for thread in 0..members.len() {
        let mut client = clients.open(thread, thread as u64).await.unwrap();
        let begun = Instant::now();
        let value = json!(thread);
        let add = Invocation {
            f: "add",
            value: &value,
            process: thread as u64,
            deadline: READ,
        };
        assert_eq!(client.invoke(add).await, Completion::Ok(value.clone()));
        eprintln!("an add through dqlite: {:?}", begun.elapsed());
        let read = Invocation {
            f: "read",
            value: &Value::Null,
            ..add
        };
        let all: Vec<usize> = (0..=thread).collect();
        assert_eq!(client.invoke(read).await, Completion::Ok(json!(all)));

        let mut probe = probes.open(thread, 7).await.unwrap();
        let begun = Instant::now();
        let write = Invocation {
            f: "availability",
            ..read
        };
        let name = members[thread].name.as_str();
        assert_eq!(probe.invoke(write).await, Completion::Ok(json!(name)));
        eprintln!("an availability write: {:?}", begun.elapsed());
        // It is in the replicated table, as another node's daemon reads it from the leader.
        let other = &members[(thread + 1) % members.len()];
        let query = "SELECT description FROM projects WHERE name = 'harness'";
        let database = harness_workloads::systems::lxd::rest::Database::Global;
        let rows = lxd.sql(other, database, query, READ).await.unwrap();
        assert_eq!(rows, [[json!(format!("{name} 7 1"))]]);
    }
}

/// Readings of a node whose daemon does not run: what its files still say, and `stopped` for the rest.
async fn stopped_reads(lxd: &Lxd, nodes: &[Node], node: &Node, members: &[&Node]) {
    for (place, reading) in all(lxd, node).await {
        match (place.source, place.label, reading) {
            (Source::Truststore, Some("local"), Reading::Members(found))
            | (Source::Cache, Some("raft_nodes"), Reading::Members(found))
            | (Source::Raft, Some("disk"), Reading::Members(found)) => {
                let got: BTreeSet<String> = found.iter().map(|m| who(lxd, nodes, m)).collect();
                assert_eq!(got, names(members), "{place:?}");
            }
            (
                _,
                _,
                Reading::Unread {
                    kind: UnreadKind::Stopped,
                    ..
                },
            ) => {
                assert_ne!(
                    (place.source, place.label),
                    (Source::Truststore, Some("local"))
                );
            }
            (_, _, reading) => panic!("{place:?}: {reading:?}"),
        }
    }
}

async fn stops_and_kills(lxd: &Lxd, nodes: &[Node]) {
    let handles = lxd.handles();
    let (start, stop) = (handles.start.unwrap(), handles.stop.unwrap());
    let (kill, pause) = (handles.kill.unwrap(), handles.pause.unwrap());
    let leader = handles.leader.unwrap();
    let members: Vec<&Node> = nodes.iter().collect();

    let led = leader.leader(nodes).await.expect("somebody leads");
    assert_eq!(leader.voters(nodes).await.unwrap().len(), 3);
    let begun = Instant::now();
    let seen = stop.stop(&led, None).await.unwrap();
    eprintln!("stop of the leader: {:?}, {}", begun.elapsed(), seen.detail);
    assert!(
        seen.detail.contains("exited with code 0"),
        "{}",
        seen.detail
    );
    stopped_reads(lxd, nodes, &led, &members).await;
    let begun = Instant::now();
    while leader
        .leader(nodes)
        .await
        .is_none_or(|now| now.name == led.name)
    {
        assert!(begun.elapsed() < CHANGE, "nobody leads");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!lxd.takes_part(&led, READ).await.unwrap());
    start.start(&led).await.unwrap();
    agree(lxd, nodes, &members, "the leader was stopped and started").await;

    let n2 = &nodes[1];
    kill.kill(n2).await.unwrap();
    assert!(!start.is_running(n2).await.unwrap());
    start.start(n2).await.unwrap();
    agree(lxd, nodes, &members, "n2 was killed and started").await;
    let exits = lxd.exits(n2).await.unwrap();
    assert!(exits.iter().any(|exit| exit.signal == Some(9)), "{exits:?}");

    pause.pause(n2).await.unwrap();
    for place in lxd.places() {
        let begun = Instant::now();
        let read = lxd.read(n2, place, Duration::from_millis(700)).await;
        assert!(begun.elapsed() < Duration::from_secs(2));
        if place.label == Some("disk") {
            let members = &read[0].reading;
            assert!(
                matches!(members, Reading::Members(_)),
                "files do not freeze: {read:?}"
            );
            continue;
        }
        let timed_out = matches!(
            &read[0].reading,
            Reading::Unread {
                kind: UnreadKind::Timeout,
                ..
            }
        );
        assert!(timed_out, "{place:?} of a frozen daemon: {read:?}");
    }
    pause.resume(n2).await.unwrap();
    steady(lxd, nodes).await;
    agree(lxd, nodes, &members, "n2 was frozen and thawed").await;
}

/// Waits until nobody else has led for a while: a leader that was frozen steps down once it is thawed, and changes time out meanwhile.
async fn steady(lxd: &Lxd, nodes: &[Node]) {
    let leader = lxd.handles().leader.unwrap();
    let begun = Instant::now();
    let (mut led, mut since) = (None, begun);
    while led.is_none() || since.elapsed() < STEADY {
        assert!(begun.elapsed() < CHANGE, "leaders keep changing");
        let now = leader.leader(nodes).await.map(|node| node.name.to_string());
        if now != led {
            (led, since) = (now, Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eprintln!("{led:?} leads for good after {:?}", begun.elapsed());
}

/// Out by force while it runs: LXD does not tell it, and it takes part on the connections that it has. Not once started anew.
async fn removed_alive(lxd: &Lxd, nodes: &[Node]) {
    let [n1, n2, n3, n4] = nodes else { panic!() };
    lxd.stand_by(n4).await.unwrap();
    join(lxd, n1, n4).await;
    agree(lxd, nodes, &[n1, n2, n3, n4], "the third join of n4").await;
    lxd.remove(n1, n4, true, CHANGE).await.unwrap();
    agree(lxd, nodes, &[n1, n2, n3], "the forced removal of a live n4").await;
    assert!(lxd.takes_part(n4, READ).await.unwrap());
    lxd.handles().kill.unwrap().kill(n4).await.unwrap();
    lxd.handles().start.unwrap().start(n4).await.unwrap();
    let begun = Instant::now();
    assert!(!lxd.takes_part(n4, READ * 3).await.unwrap());
    eprintln!("started anew it is out: {:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn real_lxd_forms_joins_removes_and_every_place_tells_it() {
    let fixture = fixture().await;
    let nodes = &fixture.lab.nodes[..NODES];
    let [n1, n2, n3, n4] = nodes else { panic!() };
    let lxd = Lxd::new(&fixture.lab.nodes, Options::default()).unwrap();
    eprintln!("{:?}", lxd.versions(n1).await.unwrap());
    for node in &fixture.lab.nodes {
        lxd.wipe(node).await.unwrap();
    }
    let begun = Instant::now();
    lxd.form(&nodes[..3]).await.unwrap();
    eprintln!("formed 3: {:?}", begun.elapsed());
    agree(&lxd, nodes, &[n1, n2, n3], "forming").await;
    lxd.stand_by(n4).await.unwrap();
    assert!(!lxd.takes_part(n4, READ).await.unwrap());
    refusals(&lxd, nodes).await;
    name_taken(&lxd, nodes).await;
    let interval = sampling::usual_interval("lxd", 3);
    reading_cost::assert_within_limit("lxd", &lxd, &[n1, n2, n3], interval).await;
    clients_work(&lxd, &nodes[..3]).await;

    lxd.stand_by(n4).await.unwrap();
    join(&lxd, n1, n4).await;
    agree(&lxd, nodes, &[n1, n2, n3, n4], "the join of n4").await;
    let listed = lxd.list(n3, CHANGE).await.unwrap();
    assert_eq!(BTreeSet::from_iter(listed), names(&[n1, n2, n3, n4]));
    assert!(lxd.takes_part(n4, READ).await.unwrap());
    let addresses = lxd.list_database(n4).await.unwrap();
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    stops_and_kills(&lxd, nodes).await;

    // Removed, then in again.
    let begun = Instant::now();
    lxd.remove(n1, n4, false, CHANGE).await.unwrap();
    eprintln!("removed: {:?}", begun.elapsed());
    agree(&lxd, nodes, &[n1, n2, n3], "the removal of n4").await;
    assert!(!lxd.takes_part(n4, READ).await.unwrap());
    lxd.stand_by(n4).await.unwrap();
    join(&lxd, n2, n4).await;
    agree(&lxd, nodes, &[n1, n2, n3, n4], "the second join of n4").await;
    // Its token was used.
    let seen = lxd.read(n1, &lxd.places()[3], READ).await;
    let Reading::Members(servers) = &seen[0].reading else {
        panic!("{seen:?}")
    };
    let voters = servers
        .iter()
        .filter(|server| server.role == Some(Role::Voter));
    assert_eq!(voters.count(), 3);

    // Dead, then out by force.
    lxd.handles().kill.unwrap().kill(n4).await.unwrap();
    let begun = Instant::now();
    lxd.remove(n1, n4, true, CHANGE).await.unwrap();
    eprintln!("removed by force: {:?}", begun.elapsed());
    agree(&lxd, nodes, &[n1, n2, n3], "the forced removal of n4").await;
    assert!(!lxd.takes_part(n4, READ).await.unwrap());
    removed_alive(&lxd, nodes).await;
    lxd_recovery::taken_out_of_raft(&lxd, nodes).await;
    lxd_recovery::quorum_lost(&lxd, nodes).await;

    for node in &fixture.lab.nodes {
        lxd.wipe(node).await.unwrap();
        let left =
            "grep -c /srv/harness/lxd /proc/mounts; ls -A /srv/harness/lxd; pgrep -x lxd || true";
        assert_eq!(shell(node, left).await, "0");
        assert!(lxd.core_dumps(node).await.unwrap().is_empty());
    }
    fixture.lab.close().await;
    if fixture.own.is_some() {
        take_down(&fixture.state).await;
    }
}
