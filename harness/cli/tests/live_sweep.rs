//! A sweep of three points on real LXD, interrupted and gone on with, points within the revert of joins that fail, and a trace of one join. Needs root or `sudo -n` and a lab with LXD: fails, and never
//! skips, where the lab cannot come up.
#![cfg(feature = "live")]

mod lab;
mod process;
#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lab::Lab;
use process::{signal, worker};
use serde_json::{Value, json};
use support::{harness, stderr};

/// Between the leader's acceptance and raft's add: the joiner dies with its row pending.
const JOIN: &str = "github.com/lxc/lxd/lxd/cluster.Join";
/// The leader lets the joiner in, asked by it.
const POST_ACCEPT: &str = "main.internalClusterPostAccept";
/// Before anything is asked of the cluster.
const PUT_JOIN: &str = "main.clusterPutJoin";
/// What a join that fails runs through on the joiner to take back what it did: the closure that the reverter was given.
const REVERT: &str = "main.clusterPutJoin.func3.1";
/// The joiner asks to be accepted.
const ACCEPT: &str = "main.clusterAcceptMember";
/// Entered by no join.
const NEVER: &str = "main.clusterNodeDelete";
/// How long the first point may take, the lab's coming up and forming included.
const FIRST_POINT_LIMIT: Duration = Duration::from_secs(600);
/// How long the obstacle of a join may take to be seen once its cluster is formed or kept.
const OBSTACLE_LIMIT: Duration = FIRST_POINT_LIMIT;
/// How long an interrupted sweep may take to end.
const END_LIMIT: Duration = Duration::from_secs(180);

fn lines(journal: &Path, kind: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|line| line.get(kind).cloned())
        .collect()
}

fn wait_for(what: &str, limit: Duration, mut seen: impl FnMut() -> bool) {
    let until = Instant::now() + limit;
    while !seen() {
        assert!(
            Instant::now() < until,
            "{what} was not seen within {limit:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn interrupt(child: &Child) {
    signal(worker(child), "INT");
}

#[test]
fn three_points_are_swept_with_an_interruption_between_and_each_leaves_what_is_known() {
    let _lab = Lab::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let points = folder.path().join("points");
    std::fs::write(
        &points,
        format!("# in this order\n{PUT_JOIN}\n{JOIN}\n{NEVER}\n"),
    )
    .expect("written");
    let mut command = harness();
    command
        .args([
            "sweep",
            "--op",
            "join",
            "--victim",
            "joiner",
            "--parallel",
            "1",
            "--points",
        ])
        .arg(&points)
        .arg("--results")
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    let latest: PathBuf = folder.path().join("sweeps/latest");
    let journal = latest.join("sweep.jsonl");
    wait_for("the first point", FIRST_POINT_LIMIT, || {
        let ended = child.try_wait().expect("waited");
        assert!(ended.is_none(), "it ended before a point: {ended:?}");
        !lines(&journal, "point").is_empty()
    });
    interrupt(&child);
    wait_for("its end", END_LIMIT, || {
        child.try_wait().expect("waited").is_some()
    });
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    let before = lines(&journal, "point").len();
    assert!((1..3).contains(&before), "{before} points");

    let output = harness()
        .args([
            "sweep",
            "--json",
            "--parallel",
            "1",
            "--resume",
            "latest",
            "--results",
        ])
        .arg(folder.path())
        .output()
        .expect("the binary starts");
    // A member that is left half done is invalid.
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let sweep: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let results = sweep["results"].as_array().expect("results");
    let names: Vec<&str> = results
        .iter()
        .filter_map(|result| result["function"].as_str())
        .collect();
    assert_eq!(names, [PUT_JOIN, JOIN, NEVER], "each once");
    let struck: Vec<bool> = results
        .iter()
        .map(|result| result["struck"] == true)
        .collect();
    assert_eq!(struck, [true, true, false]);
    let evidence = results[1]["evidence"].as_str().expect("evidence");
    assert!(
        evidence.contains("gone after SIGKILL at entry 1 of") && evidence.contains(JOIN),
        "{evidence}"
    );
    assert_eq!(results[0]["left"]["places"]["database"]["holds"], "nobody");
    let places = &results[1]["left"]["places"];
    assert_eq!(
        (&places["database"]["holds"], &places["database"]["pending"]),
        (&"all".into(), &true.into())
    );
    assert_eq!(places["raft/socket"]["holds"], "nobody");
    assert!(
        results[2]["evidence"]
            .as_str()
            .expect("why")
            .contains("never entered")
    );
    for name in ["sweep.json", "report.html"] {
        assert!(latest.join(name).is_file(), "{name}");
    }
    assert_eq!(lines(&journal, "point").len(), 3);
}

/// A sweep of failed joins of one point, with nothing tried to mend what it leaves.
fn fails(by: &str, point: &str, folder: &Path) -> Command {
    let points = folder.join("points");
    std::fs::write(&points, point).expect("written");
    let mut command = harness();
    command
        .args(["sweep", "--op", "failed-join", "--fail-by", by])
        .args(["--victim", "joiner", "--json", "--no-mends", "--points"])
        .arg(points)
        .args(["--parallel", "1", "--results"])
        .arg(folder);
    command
}

/// Whether a shell command succeeds on the joiner.
fn on_joiner(test: &str) -> bool {
    let output = harness()
        .args(["lab", "exec", "n4", "--", "sh", "-c", test])
        .output();
    output.expect("the binary starts").status.success()
}

/// Whether nothing is in the joiner's way: neither what was put up nor the way back.
fn is_way_free() -> bool {
    on_joiner(
        "PATH=\"$PATH:/usr/sbin\"; [ ! -e /var/lib/harness/faults/join ] && \
         [ \"$(cat /proc/sys/net/ipv4/ip_nonlocal_bind)\" = 0 ] && ! nft list table inet harness_join",
    )
}

/// Of joins that fail for two reasons the joiner is killed as it begins to take back what it did; of one for the third, the
/// controller, while the joiner is cut off.
#[test]
fn joins_that_fail_are_struck_in_their_revert_and_nothing_stays_in_their_way() {
    let _lab = Lab::new();
    let folder = tempfile::tempdir().expect("a temporary folder");
    // By a clash of names the joiner's certificate stays under the name of a member; by an address that is taken, under its own.
    for (by, under_anothers) in [("name-clash", true), ("refused-address", false)] {
        let output = fails(by, REVERT, folder.path()).output();
        let output = output.expect("the binary starts");
        // What stays is proven wrong.
        assert_eq!(output.status.code(), Some(1), "{by}: {}", stderr(&output));
        let sweep: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(sweep["fail_by"], by);
        let result = &sweep["results"][0];
        let evidence = result["evidence"].as_str().unwrap_or_default();
        assert!(
            result["struck"] == true && evidence.contains(REVERT),
            "{by}: {result}"
        );
        let left = &result["left"];
        let (trusted, twice) = match under_anothers {
            true => (
                "nobody",
                json!([
                    "truststore/global: n2 2 times",
                    "truststore/local: n2 2 times"
                ]),
            ),
            false => ("all", json!([])),
        };
        assert_eq!(
            left["places"]["truststore/global"]["holds"], trusted,
            "{by}"
        );
        assert_eq!(left["odd"], twice, "{by}");
        assert_eq!(left["places"]["database"]["holds"], "nobody", "{by}");
        assert!(is_way_free(), "{by}");
    }

    let mut command = fails("unreachable-member", ACCEPT, folder.path());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("the binary starts");
    wait_for("the joiner cut off", OBSTACLE_LIMIT, || {
        let ended = child.try_wait().expect("waited");
        assert!(ended.is_none(), "it ended before: {ended:?}");
        on_joiner("PATH=\"$PATH:/usr/sbin\" nft list table inet harness_join")
    });
    signal(worker(&child), "KILL");
    child.wait().expect("waited");
    assert!(!is_way_free(), "nobody was there to clear it");
    let healed = harness().args(["lab", "heal"]).output();
    let healed = healed.expect("the binary starts");
    assert_eq!(healed.status.code(), Some(0), "{}", stderr(&healed));
    assert!(is_way_free());
}

/// The joiner asks, the leader accepts, the joiner goes on: in order of time over two nodes, with no entry of an idle cluster.
#[test]
fn a_join_is_traced_on_every_node_in_order_of_time() {
    let _lab = Lab::new();
    let output = harness()
        .args(["trace", "--op", "join", "--json"])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let lines: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let (head, rest) = lines.split_first().expect("a head");
    assert_eq!(head["head"]["outcome"]["type"], "ok", "{head}");
    let nodes = head["head"]["nodes"].as_array().expect("nodes");
    assert_eq!(nodes.len(), 4, "three members and the joiner: {head}");
    let of = |role: &str| -> &str {
        let node = nodes.iter().find(|node| node["role"] == role);
        let node = node.unwrap_or_else(|| panic!("no {role}: {head}"));
        node["node"].as_str().expect("a name")
    };
    let (joiner, leader) = (of("joiner"), of("leader"));
    let entered: Vec<&Value> = rest.iter().map(|line| &line["entered"]).collect();
    let at = |node: &str, function: &str| -> f64 {
        let found = entered
            .iter()
            .find(|one| one["node"] == node && one["function"] == function);
        let found = found.unwrap_or_else(|| panic!("{node} did not enter {function}: {rest:?}"));
        assert!(found["hits"].as_u64() >= Some(1), "{found}");
        found["at_ms"].as_f64().expect("a time")
    };
    let asked = at(joiner, PUT_JOIN);
    let accepted = at(leader, POST_ACCEPT);
    let joined = at(joiner, JOIN);
    assert!(
        0.0 < asked && asked < accepted && accepted < joined,
        "{asked} {accepted} {joined}"
    );
    let took = head["head"]["took_ms"].as_f64().expect("a time");
    let times: Vec<f64> = entered
        .iter()
        .map(|one| one["at_ms"].as_f64().expect("a time"))
        .collect();
    assert!(times.is_sorted() && times.iter().all(|time| *time <= took));
    // What is entered all the time is no part of a join.
    assert!(head["head"]["idle"].as_u64() > Some(0), "{head}");
    let heartbeat = entered.iter().find(|one| {
        one["function"]
            .as_str()
            .is_some_and(|name| name.ends_with("HeartbeatNode"))
    });
    assert_eq!(heartbeat, None);
}

#[test]
fn what_cannot_be_swept_is_refused_with_the_mend() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (arguments, said) in [
        (
            vec!["--op", "join", "--victim", "removed"],
            "a join has no removed; there are joiner, leader, follower",
        ),
        (
            vec!["--op", "joni", "--victim", "joiner"],
            "there are join, remove, failed-join",
        ),
        (
            vec![
                "--op",
                "join",
                "--victim",
                "joiner",
                "--fail-by",
                "name-clash",
            ],
            "fail-by: a join is to go through",
        ),
        (
            vec![
                "--op",
                "failed-join",
                "--victim",
                "joiner",
                "--fail-by",
                "luck",
            ],
            "there are name-clash, unreachable-member, refused-address",
        ),
        (
            vec!["--system", "dqlite", "--op", "join", "--victim", "joiner"],
            "there is lxd",
        ),
        (vec!["--resume", "/nowhere/at/all"], "/nowhere/at/all"),
        (vec!["--resume", "nothing"], "sweeps), or latest"),
    ] {
        let output = harness()
            .args(["sweep", "--results"])
            .arg(folder.path())
            .args(&arguments)
            .output()
            .expect("the binary starts");
        assert_eq!(output.status.code(), Some(254), "{arguments:?}");
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
}
