//! The crash point that the project is named after in DESIGN: LXD's joiner killed at the entry of `cluster.Join`, on Debian's
//! unmodified binary. Every time it dies there, and leaves a member that is pending in the database, has a certificate in the
//! truststore, and is not in raft; the members do not notice, though they run the same file.
//!
//! Needs root and what `lab/install` installs, and fails without; it is compiled with the feature `live` only.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use harness_lab::{
    Daemon, Exec, Lab, Node, UpOptions,
    image::{ImageSystem, Recipe, Suite},
    lab,
    probe::ProbeSignal,
    provider::{LabSpec, LxcSpec, ProgressFn},
    state::State,
};
use harness_nemesis::points::Programs;
use tempfile::TempDir;

const BRIDGE: &str = "hltplxd";
const SUBNET: &str = "10.176.0.0/24";
const JOIN: &str = "github.com/lxc/lxd/lxd/cluster.Join";
const BASE: &str = "/srv/harness/crashpoint";
/// Time in which a joiner comes to the function.
const JOIN_LIMIT: Duration = Duration::from_secs(40);
const ROUNDS: usize = 20;

struct Fixture {
    state: State,
    _folder: TempDir,
    lab: Lab,
}

impl Fixture {
    async fn up() -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the live tests need root: run ./lab/test"
        );
        let folder = TempDir::new_in("/var/tmp").unwrap();
        let images = State::look_from_environment().unwrap().images().to_owned();
        let state = State::at(folder.path()).unwrap().with_images(images);
        let spec = LabSpec::Lxc(LxcSpec {
            nodes: 3,
            bridge: BRIDGE.into(),
            subnet: SUBNET.parse().unwrap(),
            image: Recipe::new(Suite::Bookworm, [ImageSystem::Dqlite, ImageSystem::Lxd], [])
                .unwrap(),
        });
        let lock = state.lock("test").unwrap();
        let quiet: ProgressFn = Arc::new(|_| {});
        let lab = lab::up(&state, &lock, &spec, &UpOptions::default(), &quiet).await;
        drop(lock);
        Self {
            state,
            _folder: folder,
            lab: lab.unwrap(),
        }
    }

    fn node(&self, index: usize) -> &Node {
        &self.lab.nodes[index]
    }

    async fn try_script(&self, index: usize, script: &str) -> (bool, String) {
        let exec = Exec::shell(script).timeout(JOIN_LIMIT);
        let output = self.node(index).transport.exec(exec).await.unwrap();
        let said = output.stdout_text() + &output.stderr_text();
        (output.status.success(), said)
    }

    async fn script(&self, index: usize, script: &str) -> String {
        let (well, said) = self.try_script(index, script).await;
        assert!(well, "{script}: {said}");
        said
    }

    /// A daemon on an empty folder.
    async fn start(&self, index: usize) -> u32 {
        let empty = "umount -l /var/lib/lxd/devlxd /var/lib/lxd/shmounts 2>/dev/null; \
                     rm -rf /var/lib/lxd && mkdir -p /var/lib/lxd /var/log/lxd";
        self.script(index, empty).await;
        let daemon = Daemon {
            argv: [
                "lxd",
                "--group",
                "root",
                "--logfile",
                "/var/log/lxd/lxd.log",
            ]
            .map(str::to_owned)
            .to_vec(),
            env: Vec::new(),
            pid_file: format!("{BASE}/pid").into(),
            log_file: format!("{BASE}/log").into(),
            exit_file: format!("{BASE}/exit").into(),
        };
        let pid = self.node(index).transport.spawn(daemon).await.unwrap();
        self.script(index, "lxd waitready --timeout 30").await;
        pid
    }

    /// `lxd init`, with text in which `\n` stands for a new line.
    fn preseed(text: &str) -> String {
        format!("printf '{text}' | lxd init --preseed")
    }

    async fn join(&self, index: usize, name: &str) -> (bool, String) {
        let told = self.script(0, &format!("lxc cluster add {name} -q")).await;
        // The client greets new users around it; base64 of JSON begins so.
        let token = told.lines().find(|line| line.starts_with("ey")).unwrap();
        let address = self.node(index).address;
        let text = format!(
            "cluster:\\n  enabled: true\\n  server_name: {name}\\n  server_address: {address}:8443\\n  cluster_token: {token}\\n"
        );
        self.try_script(index, &Self::preseed(&text)).await
    }

    async fn sql(&self, statement: &str) -> String {
        let told = self
            .script(0, &format!("lxd sql global \"{statement}\""))
            .await;
        let rows = told
            .lines()
            .filter(|line| line.starts_with("| ") && !line.contains("| what"));
        rows.map(|row| row.replace([' ', '|'], ""))
            .collect::<Vec<_>>()
            .join(" ")
    }

    async fn down(self) {
        self.lab.close().await;
        let lock = self.state.lock("test").unwrap();
        lab::down(&self.state, &lock).await.unwrap();
    }
}

impl Drop for Fixture {
    /// A failed test must not leave what the next one trips over.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let run = |program: &str, arguments: &[&str]| {
            let _ = Command::new(program).args(arguments).status();
        };
        let nodes = self.state.nodes().to_string_lossy().into_owned();
        for node in &self.lab.nodes {
            let name = format!("{BRIDGE}-{}", node.name);
            run("lxc-stop", &["-k", "-P", &nodes, "-n", &name]);
        }
        run("ip", &["link", "delete", BRIDGE]);
        run("ip", &["route", "delete", "blackhole", SUBNET]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_of_twenty_lxd_joiners_die_at_cluster_join_and_leave_the_same() {
    let lab = Fixture::up().await;
    let programs = Programs::default();
    let members = [lab.start(0).await, lab.start(1).await];
    let first = format!(
        "config:\\n  core.https_address: {}:8443\\ncluster:\\n  enabled: true\\n  server_name: n1\\n",
        lab.node(0).address
    );
    lab.script(0, &Fixture::preseed(&first)).await;
    let (well, said) = lab.join(1, "n2").await;
    assert!(well, "{said}");
    for round in 0..ROUNDS {
        let pid = lab.start(2).await;
        let point = programs.arm(
            lab.node(2),
            Path::new("lxd"),
            JOIN,
            1,
            Some(ProbeSignal::Kill),
        );
        let point = point.await.unwrap();
        let name = format!("j{round}");
        let (joined, fired) = tokio::join!(
            lab.join(2, &name),
            tokio::time::timeout(JOIN_LIMIT, point.probe.wait_fired())
        );
        let hit = fired.expect("cluster.Join was never entered").unwrap();
        assert_eq!(
            (hit.pid, hit.ip, hit.signal_errno),
            (pid, point.function.address, Some(0)),
            "round {round}"
        );
        assert!(
            !joined.0,
            "round {round}: the join of a killed joiner succeeded"
        );
        let wait = format!(
            "n=0; until [ -s {BASE}/exit ]; do n=$((n+1)); [ $n -lt 500 ] || exit 1; sleep 0.02; done; cat {BASE}/exit"
        );
        assert!(lab.script(2, &wait).await.contains("\"signal\":9"));
        assert_eq!(
            point.probe.disarm().await.unwrap().hits,
            [1],
            "round {round}"
        );
        // Pending in the database, in the truststore, not in raft.
        let nodes = lab
            .sql("SELECT name || '=' || state AS what FROM nodes ORDER BY id")
            .await;
        assert_eq!(nodes, format!("n1=0 n2=0 {name}=1"), "round {round}");
        let trusted = lab
            .sql("SELECT name AS what FROM certificates WHERE type=2 ORDER BY id")
            .await;
        assert_eq!(trusted, format!("n1 n2 {name}"), "round {round}");
        let raft = lab.script(0, "sqlite3 -readonly /var/lib/lxd/database/local.db 'SELECT count(*) FROM raft_nodes'").await;
        assert_eq!(raft.trim(), "2", "round {round}");
        // Nobody but us could remove it: its name is in no list. So it is done in the database.
        lab.script(0, &format!("lxd sql global \"DELETE FROM nodes WHERE name='{name}'\"; lxd sql global \"DELETE FROM certificates WHERE name='{name}'\"")).await;
    }
    for (index, pid) in members.iter().enumerate() {
        lab.script(index, &format!("test -d /proc/{pid}")).await;
    }
    // Without a probe the same join goes through.
    lab.start(2).await;
    let (well, said) = lab.join(2, "n3").await;
    assert!(well, "{said}");
    lab.down().await;
}
