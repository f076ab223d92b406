//! Clients of the membership workload on a made-up system: what is asked of whom, what is wiped, what is told.
#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong in a helper ends the test, as it should"
)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use harness_core::event::OpError;
use harness_lab::{
    Node,
    capability::{CapabilityError, ChangeError, Invitation, Membership, Seen},
};
use harness_workloads::{
    client::{Client, Clients, Completion, Invocation, OpenError},
    membership::{Group, MembershipClients, client::Needs, digest},
    sim,
    workload::membership::Parameters,
};
use serde_json::{Value, json};
use tokio::time::sleep;

/// How long the made-up system takes for a change.
const CHANGE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Script {
    /// Nodes that do not answer.
    dead: Vec<&'static str>,
    join: Option<ChangeError>,
    remove: Option<ChangeError>,
    /// The invitation of this one fails.
    uninvited: Option<&'static str>,
    asked: Vec<String>,
}

/// Does as the script says, and writes down what it was asked.
#[derive(Default)]
struct Made(Mutex<Script>);

impl Made {
    fn note(&self, what: String) {
        self.0.lock().unwrap().asked.push(what);
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().asked)
    }
}

fn error(kind: &str) -> OpError {
    OpError {
        kind: kind.to_owned(),
        message: String::new(),
    }
}

#[async_trait]
impl Membership for Made {
    async fn stand_by(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.note(format!("stand-by {}", node.name));
        Ok(Seen {
            pid: None,
            detail: String::new(),
        })
    }

    async fn invite(
        &self,
        _via: &Node,
        member: &Node,
        _deadline: Duration,
    ) -> Result<Invitation, ChangeError> {
        self.note(format!("invite {}", member.name));
        // Invitations take as long as their number.
        sleep(Duration::from_secs(member.ordinal as u64)).await;
        if self.0.lock().unwrap().uninvited == Some(member.name.as_str()) {
            return Err(ChangeError::Unclear(error("timeout")));
        }
        Ok(Invitation {
            token: Some(format!("secret of {}", member.name)),
        })
    }

    async fn join(
        &self,
        _via: &Node,
        member: &Node,
        _invitation: &Invitation,
        _deadline: Duration,
    ) -> Result<(), ChangeError> {
        self.note(format!("join {}", member.name));
        sleep(CHANGE).await;
        self.0.lock().unwrap().join.clone().map_or(Ok(()), Err)
    }

    async fn remove(
        &self,
        via: &Node,
        member: &Node,
        force: bool,
        _deadline: Duration,
    ) -> Result<(), ChangeError> {
        assert_ne!(via.name, member.name);
        self.note(format!("remove {} {force}", member.name));
        sleep(CHANGE).await;
        self.0.lock().unwrap().remove.clone().map_or(Ok(()), Err)
    }

    async fn list(&self, via: &Node, _deadline: Duration) -> Result<Vec<String>, ChangeError> {
        if self.0.lock().unwrap().dead.contains(&via.name.as_str()) {
            return Err(ChangeError::Unclear(error("timeout")));
        }
        sleep(CHANGE / 2).await;
        Ok(vec!["sim1".to_owned()])
    }

    async fn takes_part(&self, _node: &Node, _deadline: Duration) -> Result<bool, ChangeError> {
        Ok(false)
    }
}

/// Data clients that say on which node they work.
struct Data(Vec<Node>);

#[async_trait]
impl Clients for Data {
    fn node_of_thread(&self, _thread: usize) -> Option<Arc<str>> {
        None
    }

    async fn open(&self, thread: usize, _process: u64) -> Result<Box<dyn Client>, OpenError> {
        Ok(Box::new(On(self.0[thread].name.to_string())))
    }
}

struct On(String);

#[async_trait]
impl Client for On {
    async fn invoke(&mut self, _invocation: Invocation<'_>) -> Completion {
        sleep(CHANGE / 2).await;
        Completion::Ok(json!(self.0))
    }
}

struct World {
    made: Arc<Made>,
    group: Arc<Group>,
    clients: MembershipClients,
}

impl World {
    /// Five nodes, of whom three are members.
    fn new(parameters: &Parameters) -> Self {
        let nodes = sim::nodes(5);
        let made = Arc::new(Made::default());
        let group = Arc::new(Group::new(&nodes, 3));
        let needs = Needs {
            membership: made.clone(),
            leader: None,
            start: None,
            data: Arc::new(Data(nodes.clone())),
        };
        let clients = MembershipClients::new(&nodes, Arc::clone(&group), parameters, needs);
        Self {
            made,
            group,
            clients,
        }
    }

    async fn ask(&self, f: &str, value: Value) -> Completion {
        let mut client = self.clients.open(0, 0).await.unwrap();
        let invocation = Invocation {
            f,
            value: &value,
            process: 0,
            deadline: Duration::from_secs(100),
        };
        client.invoke(invocation).await
    }
}

fn kind(completion: &Completion) -> String {
    match completion {
        Completion::Ok(_) => "ok".to_owned(),
        Completion::Fail(error) => format!("fail {}", error.kind),
        Completion::Info(error) => format!("info {}", error.kind),
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_is_wiped_before_it_joins_again_and_only_then() {
    let world = World::new(&Parameters::default());
    let join = || world.ask("join", json!({"member": "sim4"}));
    let joined = join().await;
    let token = digest("secret of sim4");
    assert_eq!(
        joined,
        Completion::Ok(json!({"member": "sim4", "token": token}))
    );
    // It stood by since the start.
    assert_eq!(world.made.asked(), ["invite sim4", "join sim4"]);
    // A member is never wiped.
    assert_eq!(kind(&join().await), "fail nonsense");
    assert_eq!(world.made.asked(), Vec::<String>::new());
    let removed = world.ask("remove", json!({"member": "sim4"})).await;
    assert_eq!(removed, Completion::Ok(json!({"member": "sim4"})));
    assert_eq!(kind(&join().await), "ok");
    assert_eq!(
        world.made.asked(),
        [
            "remove sim4 false",
            "stand-by sim4",
            "invite sim4",
            "join sim4"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_to_be_unwiped_leaves_the_node_as_it_is() {
    let world = World::new(&Parameters::default());
    world.made.0.lock().unwrap().join = Some(ChangeError::Unclear(error("lost")));
    world.ask("join", json!({"member": "sim4"})).await;
    world.made.asked();
    for (f, expected) in [
        ("retry-unwiped", &["invite sim4", "join sim4"][..]),
        ("retry-join", &["stand-by sim4", "invite sim4", "join sim4"]),
    ] {
        let asked = world.ask(f, json!({"member": "sim4"})).await;
        assert_eq!(kind(&asked), "info lost");
        assert_eq!(world.made.asked(), expected, "{f}");
    }
    // Who joined that way is a member, and is never wiped.
    world.made.0.lock().unwrap().join = None;
    let join = |f: &'static str| world.ask(f, json!({"member": "sim4"}));
    assert_eq!(kind(&join("retry-unwiped").await), "ok");
    assert_eq!(kind(&join("retry-unwiped").await), "fail nonsense");
}

#[tokio::test(start_paused = true)]
async fn outcomes_are_those_that_are_proven() {
    let world = World::new(&Parameters::default());
    for (problem, told, members) in [
        (ChangeError::Refused(error("exists")), "fail exists", 3),
        (ChangeError::Unclear(error("lost")), "info lost", 4),
    ] {
        world.made.0.lock().unwrap().join = Some(problem);
        let joined = world.ask("join", json!({"member": "sim4"})).await;
        assert_eq!(kind(&joined), told);
        assert_eq!(world.group.certain(None).len(), 3, "{told}");
        assert_eq!(world.group.members().len(), members, "{told}");
    }
    for (problem, told, certain) in [
        (ChangeError::Refused(error("leader")), "fail leader", 3),
        (ChangeError::Unclear(error("lost")), "info lost", 2),
    ] {
        world.made.0.lock().unwrap().remove = Some(problem);
        let removed = world.ask("remove", json!({"member": "sim3"})).await;
        assert_eq!(kind(&removed), told);
        assert_eq!(world.group.certain(None).len(), certain, "{told}");
    }
    // A token that nobody used changed nothing, however the invitation ended.
    world.made.0.lock().unwrap().uninvited = Some("sim5");
    let joined = world.ask("join", json!({"member": "sim5"})).await;
    assert_eq!(kind(&joined), "fail timeout");
    for (f, value) in [("join", json!({"member": "n9"})), ("remove", json!(7))] {
        assert_eq!(kind(&world.ask(f, value).await), "fail nonsense");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_answers_is_asked_and_without_one_nothing_is() {
    let world = World::new(&Parameters::default());
    let remove = || world.ask("remove", json!({"member": "sim1"}));
    world.made.0.lock().unwrap().dead = vec!["sim2"];
    world.made.0.lock().unwrap().remove = Some(ChangeError::Refused(error("busy")));
    // Whoever's turn it is first, the one that answers is found.
    for _ in 0..4 {
        assert_eq!(kind(&remove().await), "fail busy");
    }
    world.made.asked();
    world.made.0.lock().unwrap().dead = vec!["sim2", "sim3"];
    assert_eq!(kind(&remove().await), "fail no-member");
    assert_eq!(world.made.asked(), Vec::<String>::new());
    assert_eq!(world.group.certain(None).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn answers_of_a_member_that_is_being_removed_are_not_trusted() {
    let world = World::new(&Parameters::default());
    // All of them work on members, and the next one to go is among those.
    let mut asking = Vec::new();
    for f in ["read", "add", "list", "read", "add", "list"] {
        asking.push(world.ask(f, Value::Null));
    }
    let remove = world.ask("remove", json!({"member": "sim2"}));
    let (answers, removed) = tokio::join!(futures(asking), remove);
    assert_eq!(kind(&removed), "ok");
    assert!(answers.iter().any(|answer| kind(answer) == "ok"));
    // A remove looks for somebody who answers first, which takes as long as the others' answers: ask again while it is under way.
    let remove = world.ask("remove", json!({"member": "sim1"}));
    let reads = async {
        sleep(CHANGE / 4).await;
        let mut asking = Vec::new();
        for f in ["read", "list", "read", "list"] {
            asking.push(world.ask(f, Value::Null));
        }
        futures(asking).await
    };
    let (removed, answers) = tokio::join!(remove, reads);
    assert_eq!(kind(&removed), "ok");
    let kinds: Vec<String> = answers.iter().map(kind).collect();
    assert!(kinds.contains(&"info member-left".to_owned()), "{kinds:?}");
    for answer in &answers {
        assert_ne!(*answer, Completion::Ok(json!("sim1")), "it was leaving");
    }
}

/// All of them at once.
async fn futures<F: Future<Output = Completion>>(all: Vec<F>) -> Vec<Completion> {
    let mut all: Vec<_> = all.into_iter().map(Box::pin).collect();
    let mut answers: Vec<Option<Completion>> = all.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (one, answer) in all.iter_mut().zip(&mut answers) {
            if answer.is_none()
                && let std::task::Poll::Ready(done) = one.as_mut().poll(context)
            {
                *answer = Some(done);
            }
        }
        if answers.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    answers.into_iter().flatten().collect()
}

#[tokio::test(start_paused = true)]
async fn joins_of_a_batch_wait_for_all_tokens() {
    let world = World::new(&Parameters::default());
    let join =
        |member: &str| world.ask("join", json!({"member": member, "batch": 1, "together": 2}));
    let (one, other) = tokio::join!(join("sim4"), join("sim5"));
    assert_eq!((kind(&one).as_str(), kind(&other).as_str()), ("ok", "ok"));
    let asked = world.made.asked();
    let place = |what: &str| asked.iter().position(|asked| asked == what).unwrap();
    for join in ["join sim4", "join sim5"] {
        assert!(place(join) >= 2, "tokens first: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_not_allowed_is_refused_before_anything_is_sent() {
    let parameters = Parameters {
        changes: std::collections::BTreeSet::new(),
        ..Parameters::default()
    };
    let nodes = sim::nodes(5);
    struct Sim1;
    #[async_trait]
    impl harness_lab::capability::Leader for Sim1 {
        async fn leader(&self, nodes: &[Node]) -> Option<Node> {
            nodes
                .iter()
                .find(|node| node.name.as_str() == "sim1")
                .cloned()
        }
        async fn voters(&self, _nodes: &[Node]) -> Option<Vec<Node>> {
            None
        }
    }
    #[async_trait]
    impl harness_lab::capability::Start for Sim1 {
        async fn start(&self, _node: &Node) -> Result<Seen, CapabilityError> {
            unreachable!("nobody starts anything here")
        }
        fn start_script(&self, _node: &Node) -> String {
            String::new()
        }
        async fn is_running(&self, node: &Node) -> Result<bool, CapabilityError> {
            Ok(node.name.as_str() != "sim2")
        }
    }
    let made = Arc::new(Made::default());
    let needs = Needs {
        membership: made.clone(),
        leader: Some(Arc::new(Sim1)),
        start: Some(Arc::new(Sim1)),
        data: Arc::new(Data(nodes.clone())),
    };
    let group = Arc::new(Group::new(&nodes, 3));
    let clients = MembershipClients::new(&nodes, Arc::clone(&group), &parameters, needs);
    let world = World {
        made,
        group,
        clients,
    };
    let leader = world.ask("remove", json!({"member": "sim1"})).await;
    assert_eq!(kind(&leader), "fail not-allowed");
    let while_down = world.ask("join", json!({"member": "sim4"})).await;
    assert_eq!(kind(&while_down), "fail not-allowed");
    assert_eq!(world.made.asked(), Vec::<String>::new());
    let other = world.ask("remove", json!({"member": "sim3"})).await;
    assert_eq!(kind(&other), "ok");
    // What is not the load's may do it all the same: the final phase must know.
    let probe = world.ask("canary-join", json!({"member": "sim5"})).await;
    assert_eq!(kind(&probe), "ok");
}
