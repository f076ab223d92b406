//! The ways out that LXD gives to operators, on members that can do nothing else.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use harness_core::view::{Member, Reading, Role, Source};
use harness_lab::{
    Node,
    capability::{Membership, Sources},
};
use harness_workloads::systems::{
    System,
    lxd::{Lxd, rest::Database},
};
use serde_json::json;

use crate::{CHANGE, READ, agree, join, names, shell, who};

/// How long between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// Members that one place of a node has, by name.
async fn has(lxd: &Lxd, nodes: &[Node], node: &Node, source: Source) -> BTreeSet<String> {
    let found = listed(lxd, node, source).await;
    found.iter().map(|member| who(lxd, nodes, member)).collect()
}

/// What one place of a node lists.
async fn listed(lxd: &Lxd, node: &Node, source: Source) -> Vec<Member> {
    let mut places = lxd.places().iter();
    let place = places.find(|place| place.source == source).unwrap();
    let read = lxd.read(node, place, READ).await;
    let Reading::Members(found) = &read[0].reading else {
        panic!("{source:?} of {}: {read:?}", node.name)
    };
    found.clone()
}

/// A dead member is taken out of raft alone: the database still has it, until it is removed by force.
pub async fn taken_out_of_raft(lxd: &Lxd, nodes: &[Node]) {
    let [n1, n2, n3, n4] = nodes else { panic!() };
    lxd.stand_by(n4).await.unwrap();
    join(lxd, n1, n4).await;
    agree(lxd, nodes, &[n1, n2, n3, n4], "the fourth join of n4").await;
    lxd.handles().kill.unwrap().kill(n4).await.unwrap();
    let address = lxd.address(n4);
    let members = [n1, n2, n3];
    let led = lxd.handles().leader.unwrap().leader(nodes).await;
    let led = led.expect("somebody leads");
    let follower = members.iter().find(|node| node.name != led.name).unwrap();
    let refused = lxd.remove_raft_node(follower, &address).await;
    let said = refused.expect_err("only who leads does it").to_string();
    assert!(said.contains("Not leader"), "{said}");
    lxd.remove_raft_node(&led, &address).await.unwrap();
    assert_eq!(
        has(lxd, nodes, n1, Source::Raft).await,
        names(&[n1, n2, n3])
    );
    let database = has(lxd, nodes, n1, Source::Database).await;
    assert_eq!(database, names(&[n1, n2, n3, n4]));
    // It is not there any more.
    assert!(lxd.remove_raft_node(&led, &address).await.is_err());
    lxd.remove(n1, n4, true, CHANGE).await.unwrap();
    agree(
        lxd,
        nodes,
        &[n1, n2, n3],
        "the forced removal after raft's own",
    )
    .await;
}

/// Two of three members are gone for good: the third takes no write, until it is made the only voter. Then it serves, and the others
/// are removed by force.
pub async fn quorum_lost(lxd: &Lxd, nodes: &[Node]) {
    let [n1, n2, n3, ..] = nodes else { panic!() };
    let handles = lxd.handles();
    let kill = handles.kill.unwrap();
    kill.kill(n1).await.unwrap();
    kill.kill(n2).await.unwrap();
    let write = "UPDATE projects SET description = 'recovered' WHERE name = 'default'";
    let refused = lxd.sql(n3, Database::Global, write, READ).await;
    assert!(refused.is_err(), "a write without a quorum: {refused:?}");

    kill.kill(n3).await.unwrap();
    lxd.recover_from_quorum_loss(n3).await.unwrap();
    let begun = Instant::now();
    handles.start.unwrap().start(n3).await.unwrap();
    // As its users would: `lxd sql` fails until the daemon answers.
    let command =
        format!("LXD_DIR=/srv/harness/lxd/data timeout 10 lxd sql global \"{write}\" 2>&1 || true");
    loop {
        let said = shell(n3, &command).await;
        if said.contains("Rows affected: 1") {
            break;
        }
        assert!(
            begun.elapsed() < CHANGE,
            "no service after recovery: {said}"
        );
        tokio::time::sleep(AGAIN).await;
    }
    eprintln!("recovered, a write after {:?}", begun.elapsed());
    let read = "SELECT description FROM projects WHERE name = 'default'";
    let rows = lxd.sql(n3, Database::Global, read, READ).await.unwrap();
    assert_eq!(rows, [[json!("recovered")]]);
    assert_eq!(lxd.list_database(n3).await.unwrap(), [lxd.address(n3)]);
    // Seen: within 3 s of the start, members that the database still has are in raft again, as spares.
    let mut voters = listed(lxd, n3, Source::Raft).await;
    voters.retain(|member| member.role == Some(Role::Voter));
    let voters: BTreeSet<String> = voters.iter().map(|one| who(lxd, nodes, one)).collect();
    assert_eq!(voters, names(&[n3]));

    for gone in [n1, n2] {
        lxd.remove(n3, gone, true, CHANGE).await.unwrap();
    }
    agree(lxd, nodes, &[n3], "the recovery from the loss of a quorum").await;
}
