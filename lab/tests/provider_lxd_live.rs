//! Provider `lxd` on a real LXD: nodes come up, answer as the conformance suite demands, and leave nothing; what is not ours stays.
//!
//! Needs root and what `lab/install lxd` installs, and fails without; it is compiled with the feature `live` only. The server is one of
//! its own, which `lab/lxd` starts in a folder of the test: an LXD that the machine has is not looked at. Images are those of the machine.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use harness_lab::{
    Exec, Lab, UpOptions, conformance, doctor, lab,
    provider::{
        LabError, LabSpec, NodeState, ProgressFn,
        lxd::{Https, Instance, LxdSpec, Remote, ServerError},
    },
    state::State,
};
use tempfile::TempDir;

/// State folder, socket and subnet of the child of the kill test.
const CHILD_STATE: &str = "HARNESS_TEST_CHILD_STATE";
const KILL_SUBNET: &str = "10.151.0.0/24";
const KILL_NETWORK: &str = "hltlxdkill";

/// An LXD of our own, and a state folder beside it. Both end with it.
struct Fixture {
    state: State,
    spec: LxdSpec,
    folder: TempDir,
}

impl Fixture {
    fn new(network: &str, subnet: &str, nodes: usize) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the live tests need root: run ./lab/test"
        );
        let folder = TempDir::new_in("/var/tmp").unwrap();
        let spec = spec(folder.path(), network, subnet, nodes);
        let fixture = Self {
            state: state(folder.path()),
            spec,
            folder,
        };
        let begun = Instant::now();
        let started = fixture.script("start");
        assert!(started.status.success(), "{started:?}");
        eprintln!("lxd started: {:?}", begun.elapsed());
        fixture
    }

    fn script(&self, command: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("lxd");
        let mut call = Command::new(script);
        call.arg(command).env("HARNESS_STATE", self.folder.path());
        call.output().unwrap()
    }

    /// Runs LXD's own client on our server.
    fn lxc(&self, args: &[&str]) -> String {
        let folder = self.folder.path().join("lxd");
        let output = Command::new("lxc")
            .args(args)
            .env("LXD_CONF", folder.join("client"))
            .env("LXD_DIR", folder)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "lxc {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn up(&self, spec: &LxdSpec) -> Result<Lab, LabError> {
        let lock = self.state.lock("test").unwrap();
        let begun = Instant::now();
        let (spec, options) = (LabSpec::Lxd(Box::new(spec.clone())), UpOptions::default());
        let lab = lab::up(&self.state, &lock, &spec, &options, &quiet()).await;
        eprintln!("{} up: {:?}", self.spec.network, begun.elapsed());
        lab
    }

    async fn down(&self) -> Vec<String> {
        let lock = self.state.lock("test").unwrap();
        let begun = Instant::now();
        let removed = lab::down(&self.state, &lock).await.unwrap();
        eprintln!("{} down: {:?}", self.spec.network, begun.elapsed());
        removed
    }

    /// No instance, profile, network, interface or route of the lab is left; instances and networks of others are.
    fn assert_nothing_left(&self, others: &[&str]) {
        assert!(self.state.read_lab().unwrap().is_none(), "the record");
        let names = |what: &str| {
            let listed = self.lxc(&[what, "list", "--format", "csv"]);
            let name = |line: &str| line.split(',').next().unwrap_or_default().to_owned();
            listed.lines().map(name).collect::<Vec<_>>()
        };
        assert_eq!(names("profile"), ["default"]);
        let listed = self.lxc(&["list", "--format", "csv", "--columns", "n"]);
        assert_eq!(listed.lines().collect::<Vec<_>>(), others);
        assert!(!names("network").contains(&self.spec.network));
        assert!(
            !Path::new("/sys/class/net")
                .join(&self.spec.network)
                .exists()
        );
        let prefix = self.spec.subnet.controller().to_string();
        let routes = run("ip", &["-4", "route", "show", "table", "all"]);
        assert!(!routes.contains(prefix.trim_end_matches('1')), "{routes}");
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let removed = self.script("remove");
        let subnet = self.spec.subnet.to_string();
        // A test that failed may have left it.
        let _ = Command::new("ip")
            .args(["route", "delete", "blackhole", &subnet])
            .stderr(Stdio::null())
            .status();
        if !std::thread::panicking() {
            assert!(removed.status.success(), "{removed:?}");
            let left = run("sh", &["-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]);
            assert!(
                !left.contains(&*self.folder.path().to_string_lossy()),
                "a process of our LXD is left"
            );
        }
    }
}

fn state(folder: &Path) -> State {
    let images = State::look_from_environment().unwrap().images().to_owned();
    State::at(folder).unwrap().with_images(images)
}

fn spec(folder: &Path, network: &str, subnet: &str, nodes: usize) -> LxdSpec {
    LxdSpec {
        nodes,
        network: network.into(),
        ..LxdSpec::new(
            Remote::Unix(folder.join("lxd/unix.socket")),
            subnet.parse().unwrap(),
        )
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

#[tokio::test(flavor = "multi_thread")]
async fn instances_come_up_conform_and_leave_nothing() {
    let fixture = Fixture::new("hltlxd", "10.153.0.0/24", 3);
    fixture.lxc(&["init", "--empty", "hltlxd-other", "--storage", "default"]);
    let routing = run("sysctl", &["net.ipv4.ip_forward"]);
    let lab = fixture.up(&fixture.spec).await.unwrap();
    assert_eq!(shell(&lab, "n2", "hostname").await, "n2");
    for (script, expected) in [
        ("getent hosts n3 | cut -d' ' -f1", "10.153.0.13"),
        ("which dqlite-demo nft ip | wc -l", "3"),
        ("ip -4 route | wc -l", "1"),
        (
            "ping -c 1 -W 2 n2 >/dev/null 2>&1 || timeout 2 bash -c 'exec 3<>/dev/tcp/n2/22'; echo $?",
            "0",
        ),
        (
            "timeout 2 bash -c 'exec 3<>/dev/tcp/10.153.0.1/53' 2>/dev/null; echo $?",
            "1",
        ),
        (
            "nft add table inet t && nft delete table inet t; echo $?",
            "0",
        ),
        (
            "mkdir /sys/fs/cgroup/freezer/t 2>/dev/null || mkdir /sys/fs/cgroup/t; echo $?",
            "0",
        ),
        ("test -e /dev/lxd; echo $?", "1"),
    ] {
        assert_eq!(shell(&lab, "n1", script).await, expected, "{script}");
    }
    assert_eq!(run("sysctl", &["net.ipv4.ip_forward"]), routing);
    for result in conformance::run(lab.nodes[0].transport.clone()).await {
        assert_eq!(result.outcome, Ok(()), "{}", result.name);
    }

    // The same again changes nothing; something else is refused.
    let again = fixture.up(&fixture.spec).await.unwrap();
    assert_eq!(again.record, lab.record);
    let other = LxdSpec {
        nodes: 2,
        ..fixture.spec.clone()
    };
    let refused = fixture.up(&other).await;
    assert!(
        matches!(refused, Err(LabError::Different { .. })),
        "{refused:?}"
    );

    // A node that stopped comes back with its files, one that is gone is made again; both are noticed.
    shell(&lab, "n2", "echo kept >/root/kept").await;
    lab.close().await;
    fixture.lxc(&["stop", "--force", "hltlxd-n2"]);
    fixture.lxc(&["delete", "--force", "hltlxd-n3"]);
    let status = lab::status(&fixture.state).await.unwrap().unwrap();
    let states: Vec<NodeState> = status.nodes.iter().map(|node| node.state).collect();
    assert_eq!(
        states,
        [NodeState::Up, NodeState::Stopped, NodeState::Stopped]
    );
    let repaired = fixture.up(&fixture.spec).await.unwrap();
    assert_eq!(shell(&repaired, "n2", "cat /root/kept").await, "kept");
    assert_eq!(shell(&repaired, "n3", "hostname").await, "n3");
    assert!(lab::status(&fixture.state).await.unwrap().unwrap().healthy);
    repaired.close().await;

    let removed = fixture.down().await;
    assert_eq!(
        removed.len(),
        6,
        "three instances, profile, network and route: {removed:?}"
    );
    fixture.assert_nothing_left(&["hltlxd-other"]);
    assert!(fixture.down().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_refused_and_stays() {
    let fixture = Fixture::new("hltlxdother", "10.152.0.0/24", 1);
    let refusal = async |what: &str| {
        let refused = fixture.up(&fixture.spec).await.unwrap_err();
        assert!(matches!(refused, LabError::Taken { .. }), "{refused}");
        let said = refused.to_string();
        assert!(said.contains(what), "{said}");
        fixture.down().await;
    };
    let config = ["ipv4.address=none", "ipv6.address=none"];
    fixture.lxc(&["network", "create", "hltlxdother", config[0], config[1]]);
    refusal("network hltlxdother exists on the server and is not this lab's: it was not made by harness").await;
    assert!(fixture.lxc(&["network", "list"]).contains("hltlxdother"));
    fixture.lxc(&["network", "delete", "hltlxdother"]);

    fixture.lxc(&["profile", "create", "hltlxdother"]);
    refusal("profile hltlxdother exists").await;
    assert!(fixture.lxc(&["profile", "list"]).contains("hltlxdother"));
    fixture.lxc(&["profile", "delete", "hltlxdother"]);

    let mark = "user.harness-lab=0011223344556677";
    fixture.lxc(&[
        "init",
        "--empty",
        "hltlxdother-n1",
        "--storage",
        "default",
        "--config",
        mark,
    ]);
    refusal("instance hltlxdother-n1 exists on the server and is not this lab's: lab 0011223344556677 has it").await;
    fixture.assert_nothing_left(&["hltlxdother-n1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_whose_up_was_killed_is_taken_down_or_finished() {
    let fixture = Fixture::new(KILL_NETWORK, KILL_SUBNET, 2);
    for (index, after_ms) in [1, 200, 500, 900].into_iter().enumerate() {
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
            let lab = fixture.up(&fixture.spec).await.unwrap();
            assert_eq!(shell(&lab, "n2", "hostname").await, "n2");
            lab.close().await;
        }
        fixture.down().await;
        fixture.assert_nothing_left(&[]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child that the kill test starts and kills"]
async fn child_of_the_kill_test() {
    let folder = PathBuf::from(std::env::var_os(CHILD_STATE).unwrap());
    let state = state(&folder);
    let lock = state.lock("test").unwrap();
    let spec = LabSpec::Lxd(Box::new(spec(&folder, KILL_NETWORK, KILL_SUBNET, 2)));
    let options = UpOptions::default();
    lab::up(&state, &lock, &spec, &options, &quiet())
        .await
        .unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_far_away_is_known_and_knows_us_and_places_nodes() {
    let fixture = Fixture::new("hltlxdfar", "10.154.0.0/24", 2);
    let folder = fixture.folder.path();
    let (certificate, key) = (folder.join("c.crt"), folder.join("c.key"));
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:secp384r1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=harness", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let port = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().port()
    };
    let address = format!("core.https_address=127.0.0.1:{port}");
    fixture.lxc(&["config", "set", &address]);
    fixture.lxc(&["cluster", "enable", "m1"]);
    fixture.lxc(&[
        "project",
        "create",
        "far",
        "--config",
        "features.images=false",
    ]);
    let server: serde_json::Value = serde_json::from_str(&fixture.lxc(&["query", "/1.0"])).unwrap();
    let fingerprint = &server["environment"]["certificate_fingerprint"];
    let https = Https {
        host: "127.0.0.1".into(),
        port,
        certificate: certificate.clone(),
        key,
        fingerprint: fingerprint.as_str().unwrap().to_owned(),
    };
    let mut spec = LxdSpec {
        remote: Remote::Https(https.clone()),
        project: "far".into(),
        target: vec!["m1".into()],
        ..fixture.spec.clone()
    };

    let LabError::Server(error) = fixture.up(&spec).await.unwrap_err() else {
        panic!("not the server's")
    };
    assert!(matches!(error, ServerError::Untrusted { .. }), "{error}");
    fixture.lxc(&["config", "trust", "add", &certificate.to_string_lossy()]);
    let stranger = LxdSpec {
        remote: Remote::Https(Https {
            fingerprint: "0".repeat(64),
            ..https
        }),
        ..spec.clone()
    };
    for (spec, expected) in [
        (stranger, "shows a certificate with fingerprint"),
        (
            LxdSpec {
                target: vec!["m9".into()],
                ..spec.clone()
            },
            "has no cluster member m9 (mend: in `target` of lab.yaml only m1)",
        ),
        (
            LxdSpec {
                instance: Instance::VirtualMachine,
                server_image: Some("debian/12/cloud".into()),
                ..spec.clone()
            },
            if server["environment"]["driver"]
                .as_str()
                .unwrap()
                .contains("qemu")
            {
                "has no image debian/12/cloud"
            } else {
                "has no virtual machines, being lxd "
            },
        ),
    ] {
        fixture.down_record();
        let said = fixture.up(&spec).await.unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
        let checked = LabSpec::Lxd(Box::new(spec));
        let checks = examine(&fixture.state, checked).await;
        let failed = |check: &doctor::Check| {
            check.status == doctor::Status::Fail
                && check.detail.contains(expected.split(" (").next().unwrap())
        };
        assert!(checks.iter().any(failed), "{checks:?}");
    }

    fixture.down_record();
    spec.config.insert("limits.memory".into(), "1GiB".into());
    let lab = fixture.up(&spec).await.unwrap();
    assert_eq!(shell(&lab, "n2", "hostname").await, "n2");
    assert!(lab::status(&fixture.state).await.unwrap().unwrap().healthy);
    let listed = fixture.lxc(&[
        "list",
        "--project",
        "far",
        "--format",
        "csv",
        "--columns",
        "nL",
    ]);
    assert_eq!(listed, "hltlxdfar-n1,m1\nhltlxdfar-n2,m1\n");
    lab.close().await;
    let checks = examine(&fixture.state, LabSpec::Lxd(Box::new(spec))).await;
    let server = checks.iter().find(|check| check.name == "server").unwrap();
    assert_eq!(server.status, doctor::Status::Pass, "{server:?}");
    assert_eq!(fixture.down().await.len(), 4);
    fixture.assert_nothing_left(&[]);
}

impl Fixture {
    /// Forgets a lab of which nothing was made.
    fn down_record(&self) {
        let lock = self.state.lock("test").unwrap();
        self.state.forget_lab(&lock).unwrap();
    }
}

async fn examine(state: &State, lab: LabSpec) -> Vec<doctor::Check> {
    let state = state.clone();
    tokio::task::spawn_blocking(move || {
        doctor::examine(&doctor::Subject {
            state: &state,
            results: Path::new("/tmp"),
            subnet: "10.154.0.0/24".parse().unwrap(),
            bridge: "hltlxdfar",
            lab: Some(&lab),
        })
    })
    .await
    .unwrap()
}
