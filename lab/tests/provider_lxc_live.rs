//! The providers on real containers: they come up, answer as the conformance suite demands, survive what
//! happens to them, and leave nothing.
//!
//! Needs root and what `lab/install` installs, and fails without; it is compiled with the feature `live` only. State
//! is a folder of its own; images are those of the machine (`HARNESS_IMAGES`, or the state folder's), and built if missing.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use harness_lab::{
    Exec, Lab, TransportError, UpOptions, conformance, inventory, lab,
    marker::MARKER,
    provider::{LabError, LabSpec, LxcSpec, NodeState, ProgressFn, lxc},
    state::State,
};
use tempfile::TempDir;

/// Which state folder and subnet the child of the kill test uses.
const CHILD_STATE: &str = "HARNESS_TEST_CHILD_STATE";
const CHILD_SUBNET: &str = "10.189.0.0/24";
const CHILD_BRIDGE: &str = "hltkill";

struct Fixture {
    state: State,
    spec: LxcSpec,
    folder: TempDir,
}

impl Fixture {
    fn new(bridge: &str, subnet: &str, nodes: usize) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the live tests need root: run ./lab/test"
        );
        let folder = TempDir::new_in("/var/tmp").unwrap();
        let images = State::look_from_environment().unwrap().images().to_owned();
        let state = State::at(folder.path()).unwrap().with_images(images);
        let subnet = subnet.parse().unwrap();
        let spec = LxcSpec {
            nodes,
            bridge: bridge.into(),
            subnet,
            ..LxcSpec::default()
        };
        Self {
            state,
            spec,
            folder,
        }
    }

    async fn up(&self) -> Result<Lab, LabError> {
        self.up_with(&LabSpec::Lxc(self.spec.clone()), &UpOptions::default())
            .await
    }

    async fn up_with(&self, spec: &LabSpec, options: &UpOptions) -> Result<Lab, LabError> {
        let lock = self.state.lock("test").unwrap();
        let begun = Instant::now();
        let lab = lab::up(&self.state, &lock, spec, options, &quiet()).await;
        eprintln!("{} up: {:?}", self.spec.bridge, begun.elapsed());
        lab
    }

    async fn down(&self) -> Vec<String> {
        let lock = self.state.lock("test").unwrap();
        let begun = Instant::now();
        let removed = lab::down(&self.state, &lock).await.unwrap();
        eprintln!("{} down: {:?}", self.spec.bridge, begun.elapsed());
        removed
    }

    /// No container, process, interface, route, mount or file is left.
    fn assert_nothing_left(&self) {
        let root = self.folder.path().to_string_lossy().into_owned();
        assert!(!self.state.nodes().exists(), "containers are left");
        assert!(
            self.state.read_lab().unwrap().is_none(),
            "the record is left"
        );
        assert!(
            !Path::new("/run/lxc/lock")
                .join(root.trim_start_matches('/'))
                .join("nodes")
                .exists()
        );
        let interfaces = run("ip", &["link"]);
        assert!(!interfaces.contains(&self.spec.bridge), "{interfaces}");
        let routes = run("ip", &["-4", "route", "show", "table", "all"]);
        let prefix = self.spec.subnet.controller().to_string();
        let prefix = prefix.trim_end_matches('1');
        assert!(!routes.contains(prefix), "{routes}");
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command);
            assert!(!command.contains(&root), "a process is left: {command}");
            let mounts = fs::read_to_string(entry.path().join("mounts")).unwrap_or_default();
            assert!(!mounts.contains(&root), "a mount is left: {mounts}");
        }
    }
}

impl Drop for Fixture {
    /// A failed test must not leave what the next one trips over.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for entry in fs::read_dir(self.state.nodes())
            .into_iter()
            .flatten()
            .flatten()
        {
            let (path, name) = (self.state.nodes(), entry.file_name());
            let _ = Command::new("lxc-stop")
                .arg("-k")
                .arg("-P")
                .arg(path)
                .arg("-n")
                .arg(name)
                .status();
        }
        let _ = Command::new("ip")
            .args(["link", "delete", &self.spec.bridge])
            .status();
        let subnet = self.spec.subnet.to_string();
        let _ = Command::new("ip")
            .args(["route", "delete", "blackhole", &subnet])
            .status();
    }
}

fn quiet() -> ProgressFn {
    Arc::new(|_| {})
}

fn run(tool: &str, args: &[&str]) -> String {
    let output = Command::new(tool).args(args).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn shell(lab: &Lab, node: &str, script: &str) -> String {
    let node = lab.node(node).unwrap();
    let output = node.transport.exec(Exec::shell(script)).await.unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    output.stdout_text().trim().to_owned()
}

async fn assert_conforms(lab: &Lab) {
    let node = &lab.nodes[0];
    let results = conformance::run(node.transport.clone()).await;
    assert!(!results.is_empty());
    for result in results {
        assert_eq!(result.outcome, Ok(()), "{} on {}", result.name, node.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_come_up_conform_and_leave_nothing() {
    let fixture = Fixture::new("hltlxc", "10.187.0.0/24", 3);
    let lab = fixture.up().await.unwrap();
    assert_eq!(lab.nodes.len(), 3);
    assert_eq!(shell(&lab, "n2", "hostname").await, "n2");
    assert_eq!(
        shell(&lab, "n3", "ulimit -c").await,
        run("sh", &["-c", "ulimit -Hc"]).trim()
    );
    assert_eq!(
        shell(&lab, "n1", "getent hosts n3 | cut -d' ' -f1").await,
        "10.187.0.13"
    );
    assert_eq!(
        shell(&lab, "n1", "which dqlite-demo nft ip")
            .await
            .lines()
            .count(),
        3
    );
    assert_eq!(
        shell(&lab, "n1", "ip -4 route").await.lines().count(),
        1,
        "a node has no way out"
    );
    assert_conforms(&lab).await;

    // The same again changes nothing; something else is refused.
    let again = fixture.up().await.unwrap();
    assert_eq!(again.record, lab.record);
    let other = LabSpec::Lxc(LxcSpec {
        nodes: 2,
        ..fixture.spec.clone()
    });
    let refused = fixture.up_with(&other, &UpOptions::default()).await;
    assert!(
        matches!(refused, Err(LabError::Different { .. })),
        "{refused:?}"
    );
    // So is the same bridge or subnet for another state folder.
    let rival = Fixture::new("hltlxc", "10.188.0.0/24", 1);
    assert!(matches!(
        rival.up().await,
        Err(LabError::BridgeTaken { .. })
    ));
    let rival = Fixture::new("hltrival", "10.187.0.0/24", 1);
    assert!(matches!(rival.up().await, Err(LabError::Collision { .. })));
    rival.down().await;

    let removed = fixture.down().await;
    assert_eq!(
        removed.len(),
        5,
        "three containers, bridge and route: {removed:?}"
    );
    fixture.assert_nothing_left();
    assert!(fixture.down().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_whose_machine_was_restarted_is_noticed_and_repaired() {
    let fixture = Fixture::new("hltboot", "10.186.0.0/24", 2);
    let lab = fixture.up().await.unwrap();
    shell(&lab, "n1", "echo kept >/root/kept").await;
    let pid = lxc::init_pid(&fixture.state, &lab.record, &lab.nodes[0].name)
        .unwrap()
        .unwrap();
    assert!(run("cat", &[&format!("/proc/{pid}/cmdline")]).contains("sshd"));
    lab.close().await;
    // What a restart does: no process, no interface, no route; the files stay.
    for name in ["hltboot-n1", "hltboot-n2"] {
        run(
            "lxc-stop",
            &[
                "-k",
                "-P",
                &fixture.state.nodes().to_string_lossy(),
                "-n",
                name,
            ],
        );
    }
    run("ip", &["link", "delete", "hltboot"]);
    run("ip", &["route", "delete", "blackhole", "10.186.0.0/24"]);
    let status = lab::status(&fixture.state).await.unwrap().unwrap();
    assert!(!status.healthy);
    assert!(
        status
            .nodes
            .iter()
            .all(|node| node.state == NodeState::Stopped),
        "{status:?}"
    );

    let repaired = fixture.up().await.unwrap();
    assert_eq!(repaired.record, lab.record);
    assert_eq!(shell(&repaired, "n1", "cat /root/kept").await, "kept");
    assert!(lab::status(&fixture.state).await.unwrap().unwrap().healthy);

    // A node that lost its marker is not ours, and says so.
    shell(&repaired, "n2", &format!("rm {MARKER}")).await;
    let status = lab::status(&fixture.state).await.unwrap().unwrap();
    assert_eq!(status.nodes[1].state, NodeState::NotOurs, "{status:?}");
    let node = repaired.node("n2").unwrap();
    assert!(matches!(
        repaired.assert_ours(node).await,
        Err(TransportError::NotOurs { .. })
    ));

    // A record that is lost does not keep `down` from finding what is ours.
    fs::remove_file(fixture.state.root().join("lab.json")).unwrap();
    assert_eq!(fixture.down().await.len(), 4);
    fixture.assert_nothing_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_adopted_only_with_consent_and_given_back() {
    let fixture = Fixture::new("hltssh", "10.185.0.0/24", 2);
    let containers = fixture.up().await.unwrap();
    for node in ["n1", "n2"] {
        shell(
            &containers,
            node,
            &format!("rm {MARKER}; nft add table inet other"),
        )
        .await;
    }
    containers.close().await;

    let strangers = Fixture::new("none", "10.184.0.0/24", 1);
    let file = strangers.folder.path().join("lab.yaml");
    fs::write(&file, inventory_of(&fixture, &containers)).unwrap();
    let spec = inventory::read(&file).unwrap();
    let refused = strangers.up_with(&spec, &UpOptions::default()).await;
    assert!(
        matches!(refused, Err(LabError::NotAdopted { .. })),
        "{refused:?}"
    );
    assert!(
        ssh(&fixture, "a1", "test ! -e /etc/harness-node"),
        "a refusal changes nothing"
    );

    let adopt = UpOptions {
        adopt: true,
        ..UpOptions::default()
    };
    let lab = strangers.up_with(&spec, &adopt).await.unwrap();
    assert_conforms(&lab).await;
    shell(&lab, "a2", "nft add table inet harness").await;
    assert!(
        lab::status(&strangers.state)
            .await
            .unwrap()
            .unwrap()
            .healthy
    );
    // Once it is ours, consent is not needed again; but it is not another lab's.
    strangers
        .up_with(&spec, &UpOptions::default())
        .await
        .unwrap();
    let rival = Fixture::new("none", "10.183.0.0/24", 1);
    let refused = rival.up_with(&spec, &adopt).await;
    assert!(
        matches!(refused, Err(LabError::OtherLab { .. })),
        "{refused:?}"
    );

    lab.close().await;
    assert_eq!(strangers.down().await.len(), 2);
    for node in ["a1", "a2"] {
        assert!(ssh(
            &fixture,
            node,
            "test ! -e /etc/harness-node && test ! -e /run/harness-agent"
        ));
        assert!(
            ssh(&fixture, node, "! nft list table inet harness 2>/dev/null"),
            "our table is left"
        );
        assert!(
            ssh(&fixture, node, "nft list table inet other"),
            "somebody else's table is gone"
        );
    }
    fixture.down().await;
    fixture.assert_nothing_left();
}

/// The nodes of a built-in lab as machines of which only address and host key are known.
fn inventory_of(fixture: &Fixture, lab: &Lab) -> String {
    let key = fixture.state.keys().join("id_ed25519");
    let known = fixture.state.keys().join("known_hosts");
    let mut text = format!(
        "provider: ssh\ndefaults:\n  user: root\n  key: {}\n  known_hosts: {}\nnodes:\n",
        key.display(),
        known.display()
    );
    for (index, node) in lab.nodes.iter().enumerate() {
        text.push_str(&format!(
            "  - name: a{}\n    address: {}\n",
            index + 1,
            node.address
        ));
    }
    text
}

/// Runs a command by OpenSSH's client, which needs nothing of ours on the node: `a1` is `n1`.
fn ssh(fixture: &Fixture, node: &str, script: &str) -> bool {
    let config = fixture.state.ssh_config();
    let node = node.replace('a', "n");
    let mut command = Command::new("ssh");
    command
        .arg("-F")
        .arg(config)
        .args([&node, script])
        .stdout(Stdio::null());
    command.status().unwrap().success()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_whose_up_was_killed_is_taken_down_or_finished() {
    for (index, after_ms) in [1, 30, 70, 110, 150, 200, 260, 330, 450, 700]
        .into_iter()
        .enumerate()
    {
        let fixture = Fixture::new(CHILD_BRIDGE, CHILD_SUBNET, 3);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "child_of_the_kill_test",
                "--ignored",
                "--test-threads=1",
            ])
            .env(CHILD_STATE, fixture.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(after_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let phase = fixture.state.read_lab().unwrap().map(|lab| lab.phase);
        eprintln!("killed after {after_ms} ms in phase {phase:?}");
        if index % 2 == 1 {
            let lab = fixture.up().await.unwrap();
            assert_eq!(shell(&lab, "n3", "hostname").await, "n3");
            lab.close().await;
        }
        fixture.down().await;
        fixture.assert_nothing_left();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child that the kill test starts and kills"]
async fn child_of_the_kill_test() {
    let folder = std::env::var_os(CHILD_STATE).unwrap();
    let images = State::look_from_environment().unwrap().images().to_owned();
    let state = State::at(folder).unwrap().with_images(images);
    let (bridge, subnet) = (CHILD_BRIDGE.into(), CHILD_SUBNET.parse().unwrap());
    let spec = LabSpec::Lxc(LxcSpec {
        nodes: 3,
        bridge,
        subnet,
        ..LxcSpec::default()
    });
    let lock = state.lock("test").unwrap();
    let options = UpOptions::default();
    lab::up(&state, &lock, &spec, &options, &quiet())
        .await
        .unwrap();
    std::thread::sleep(Duration::from_secs(60));
}
