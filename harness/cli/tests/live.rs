//! Whole runs on real dqlite in the built-in lab. Needs root or `sudo -n`: fails, and never skips, where the lab cannot come up.
#![cfg(feature = "live")]
#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong in a helper ends the test, as it should"
)]

mod cores;
mod process;
mod support;

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cores::code;
use process::{signal, worker};
use serde_json::Value;
use support::{Folder, checker, expect_code, harness, stderr, stdout};

/// How long something may take to show up in a run's folder.
const PATIENCE: Duration = Duration::from_secs(90);

fn lab(arguments: &[&str]) -> std::process::Output {
    harness().arg("lab").args(arguments).output().unwrap()
}

/// What a shell on a node says.
fn on(node: &str, script: &str) -> String {
    stdout(&lab(&["exec", node, "--", "sh", "-c", script]))
}

/// Starts a run in a folder and returns once its ledger has that step of a fault.
#[expect(
    clippy::zombie_processes,
    reason = "the caller waits for it; if it never gets so far, the test has failed"
)]
fn run_until(folder: &Folder, step: &str, arguments: &[&str]) -> Child {
    let child = harness()
        .args(["run", "--workload", "bank", "--results"])
        .arg(folder.path())
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        let ledger = std::fs::read_to_string(folder.path().join("runs/latest/ledger.jsonl"));
        if ledger.is_ok_and(|text| text.contains(&format!("\"step\":\"{step}\""))) {
            return child;
        }
        assert!(Instant::now() < until, "no fault came to {step}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Whether every node reaches every other one, tried from each node.
fn unreachable_pairs() -> Vec<String> {
    let status: Value = serde_json::from_slice(&lab(&["status", "--json"]).stdout).unwrap();
    let nodes = status["lab"]["nodes"].as_array().unwrap().clone();
    let mut cut = Vec::new();
    for from in &nodes {
        let from = from["name"].as_str().unwrap();
        for to in &nodes {
            let address = to["address"].as_str().unwrap();
            let said = on(
                from,
                &format!("timeout 3 bash -c '</dev/tcp/{address}/22' && echo reached || echo cut"),
            );
            if !said.contains("reached") {
                cut.push(format!("{from} to {address}"));
            }
        }
    }
    cut
}

/// A run of the bank workload: where it is the faults or the lab that are tested, all nodes are members all the time.
fn bank(folder: &Folder, arguments: &[&str]) -> std::process::Output {
    folder.run(&[&["--workload", "bank"], arguments].concat())
}

/// All verdicts of a healthy system, without faults.
#[test]
fn every_workload_is_valid_without_faults() {
    let folder = Folder::new();
    // Long enough for members to join and to be removed.
    for (workload, time_limit) in [
        ("register", "8"),
        ("set", "8"),
        ("bank", "8"),
        ("append", "8"),
        ("membership", "20"),
    ] {
        let output = folder.run(&[
            "--workload",
            workload,
            "--time-limit",
            time_limit,
            "--nemesis",
            "none",
        ]);
        assert_eq!(code(&folder, &output), 0, "{workload}: {}", stderr(&output));
        let meta = folder.json("meta.json");
        assert_eq!(meta["nodes"].as_array().unwrap().len(), 5);
        assert_eq!(meta["simulated"], false);
    }
}

/// The main job: a verdict with a report that justifies it, and the same verdict when it is judged again.
#[test]
fn bank_under_partitions_is_judged_and_reported() {
    let folder = Folder::new();
    let output = folder.run(&[
        "--nemesis",
        "partition",
        "--workload",
        "bank",
        "--time-limit",
        "30",
    ]);
    assert!(
        [0, 1].contains(&code(&folder, &output)),
        "{}",
        stderr(&output)
    );
    let verdict = folder.json("verdict.json");
    assert_eq!(checker(&verdict, "faults")["verdict"], "valid", "{verdict}");
    assert_eq!(checker(&verdict, "availability")["verdict"], "valid");
    let report = std::fs::read_to_string(folder.latest().join("report.html")).unwrap();
    for word in ["partition", "packets dropped", "bank", "--seed"] {
        assert!(report.contains(word), "the report lacks {word}");
    }
    assert!(!report.contains("src=\"http") && !report.contains("href=\"http"));
    for node in ["n1", "n2", "n3", "n4", "n5"] {
        let logs = folder.latest().join("logs").join(node);
        assert!(std::fs::read_dir(logs).unwrap().count() > 0, "{node}");
    }
    let again = harness()
        .args(["check", folder.latest().to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(again.status.code(), output.status.code());
    let second = folder.json("verdict.json");
    assert_eq!(verdict["verdict"], second["verdict"]);
    for (one, other) in verdict["results"]
        .as_array()
        .unwrap()
        .iter()
        .zip(second["results"].as_array().unwrap())
    {
        assert_eq!(one["verdict"], other["verdict"]);
        assert_eq!(one["summary"], other["summary"]);
    }
}

/// The default workload, without a word about it: members join and leave under partitions, and all of it is judged.
#[test]
fn membership_under_partitions_is_judged() {
    let folder = Folder::new();
    let output = folder.run(&["--nemesis", "partition", "--time-limit", "30"]);
    let code = code(&folder, &output);
    assert!([0, 1].contains(&code), "{code}: {}", stderr(&output));
    let meta = folder.json("meta.json");
    assert_eq!(meta["workload"], "membership");
    let options = &meta["workload_options"];
    assert_eq!(
        options["initial_members"],
        serde_json::json!(["n1", "n2", "n3"])
    );
    assert_eq!(options["canary"], "n5");
    let verdict = folder.json("verdict.json");
    for name in ["faults", "stats", "membership-progress", "availability"] {
        assert_eq!(
            checker(&verdict, name)["verdict"],
            "valid",
            "{name}: {verdict}"
        );
    }
    // Whatever was found, it was not for want of looking.
    for result in verdict["results"].as_array().unwrap() {
        let known = result["verdict"] != "unknown" || result["checker"] == "crashes";
        assert!(known, "{result}");
    }
    let views = std::fs::read_to_string(folder.latest().join("views.jsonl")).unwrap();
    for node in ["n1", "n2", "n3", "n4", "n5"] {
        assert!(views.contains(&format!("\"node\":\"{node}\"")), "{node}");
    }
}

/// Two nodes join at the same time, and nothing is broken: both joins are under way at once, and every place has both members.
#[test]
fn members_that_join_at_once_are_judged() {
    // A lab of five that another test left up is not asked for six.
    expect_code(&lab(&["down"]), 0);
    let folder = Folder::new();
    // Initial members, two that join, the canary.
    let output = folder.run(&["--nodes", "6", "--parallel-join", "2", "--time-limit", "15"]);
    // A change that hung for as long as it may take is dqlite's, and is judged: seen in two of five such runs.
    let code = code(&folder, &output);
    assert!([0, 1].contains(&code), "{}", stderr(&output));
    let options = &folder.json("meta.json")["workload_options"];
    assert_eq!(options["canary"], "n6");
    let history = std::fs::read_to_string(folder.latest().join("history.jsonl")).unwrap();
    let joins = history
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let joins = joins.filter(|event: &Value| event["f"] == "join");
    let (mut open, mut most_open) = (0_i32, 0);
    for event in joins {
        open += if event["type"] == "invoke" { 1 } else { -1 };
        most_open = most_open.max(open);
    }
    assert_eq!(most_open, 2, "{history}");
    let verdict = folder.json("verdict.json");
    let results = verdict["results"].as_array().unwrap();
    let invalid = results
        .iter()
        .filter(|result| result["verdict"] == "invalid");
    for result in invalid.clone() {
        assert_ne!(result["witnesses"], serde_json::json!([]), "{result}");
    }
    assert_eq!(invalid.count() > 0, code == 1, "{verdict}");
    // Whatever hung: members are as all places say.
    for name in ["no-ghost", "no-lost", "ok-join-durable"] {
        assert_ne!(
            checker(&verdict, name)["verdict"],
            "invalid",
            "{name}: {verdict}"
        );
    }
    // Nor do the tests that follow want six.
    expect_code(&lab(&["down"]), 0);
}

/// Each process fault is seen to hold and to be healed, two lanes at once too. What the system makes of it is not asserted:
/// the first node that is stopped gracefully within 30 s of forming and started again never takes a write (see `DQLITE_LONELY_RESTART`).
#[test]
fn process_faults_take_hold_and_heal() {
    let nemesis = "kill:minority@at=2s,pause:leader@at=8s,stop:one@at=14s,partition:one@at=20s,kill:one@at=21s";
    let (folder, verdict) = bank_under(nemesis, 5, "27");
    let visible = folder.json("meta.json")["nodes"][0]["cores_visible"] != false;
    assert_eq!(
        checker(&verdict, "crashes")["verdict"],
        if visible { "valid" } else { "unknown" },
        "{verdict}"
    );
}

/// Every target of a partition can be resolved and is seen to hold on real nodes.
#[test]
fn every_partition_target_takes_hold() {
    let targets = [
        "one",
        "halves",
        "majority",
        "majorities-ring",
        "bridge",
        "leader",
        "minority-third",
        "mute:leader",
        "deaf:one",
        "n1+n2|n3+n4+n5",
    ];
    let at = |(place, target)| format!("partition:{target}@at={}s", 2 + 5 * place);
    let nemesis: Vec<String> = targets.iter().enumerate().map(at).collect();
    bank_under(&nemesis.join(","), targets.len(), "54");
}

/// A run with faults at their times, 3 s each, all of which are seen to hold and to be healed; the system's verdict is free.
fn bank_under(nemesis: &str, faults: usize, time_limit: &str) -> (Folder, Value) {
    let folder = Folder::new();
    let arguments = [
        "--nemesis",
        nemesis,
        "--time-limit",
        time_limit,
        "--interval",
        "3s/4s",
        "--op-timeout",
        "2s",
    ];
    let output = bank(&folder, &arguments);
    let code = code(&folder, &output);
    assert!([0, 1].contains(&code), "{code}: {}", stderr(&output));
    let verdict = folder.json("verdict.json");
    let judged = checker(&verdict, "faults");
    assert_eq!(judged["verdict"], "valid", "{verdict}");
    let ledger = std::fs::read_to_string(folder.latest().join("ledger.jsonl")).unwrap();
    for step in ["observed", "healed"] {
        let count = ledger.matches(&format!("\"step\":\"{step}\"")).count();
        assert_eq!(count, faults, "{step}: {ledger}");
    }
    (folder, verdict)
}

/// Ctrl-C in the middle of a partition: healed, judged, reported, exit 130.
#[test]
fn an_interrupt_heals_and_judges() {
    let folder = Folder::new();
    let child = run_until(
        &folder,
        "observed",
        &["--nemesis", "partition", "--time-limit", "300"],
    );
    signal(worker(&child), "INT");
    let output = child.wait_with_output().unwrap();
    expect_code(&output, 130);
    assert_eq!(folder.json("meta.json")["interrupted"], true);
    assert!(folder.latest().join("report.html").exists());
    assert_eq!(unreachable_pairs(), Vec::<String>::new());
    expect_code(&lab(&["status"]), 0);
}

/// `kill -9` of the harness in a partition, then `lab heal`: all nodes reach each other again.
#[test]
fn a_killed_harness_leaves_a_ledger_that_heals() {
    let folder = Folder::new();
    let mut child = run_until(
        &folder,
        "observed",
        &[
            "--nemesis",
            "partition:halves",
            "--time-limit",
            "300",
            "--interval",
            "200s/4s",
        ],
    );
    signal(worker(&child), "KILL");
    child.wait().unwrap();
    assert_ne!(
        unreachable_pairs(),
        Vec::<String>::new(),
        "the partition is still there"
    );
    expect_code(&lab(&["status"]), 3);
    // Nothing new is broken before the old is mended.
    expect_code(&bank(&folder, &["--time-limit", "5"]), 254);
    let healed = lab(&["heal"]);
    expect_code(&healed, 0);
    assert_eq!(unreachable_pairs(), Vec::<String>::new());
    expect_code(&lab(&["heal"]), 0);
    expect_code(&lab(&["status"]), 0);
    let output = bank(&folder, &["--time-limit", "5"]);
    assert_eq!(code(&folder, &output), 0, "{}", stderr(&output));
}

/// The same with killed and paused processes: the ledger's scripts bring them back.
#[test]
fn a_killed_harness_leaves_scripts_that_start_and_resume() {
    for nemesis in ["kill:n2", "pause:n2"] {
        let folder = Folder::new();
        let mut child = run_until(
            &folder,
            "observed",
            &[
                "--nemesis",
                nemesis,
                "--time-limit",
                "300",
                "--interval",
                "200s/4s",
            ],
        );
        signal(worker(&child), "KILL");
        child.wait().unwrap();
        let state = "read -r pid start </srv/harness/dqlite/pid; cut -d' ' -f3 /proc/$pid/stat 2>/dev/null || echo gone";
        assert!(["T", "gone"].contains(&on("n2", state).trim()), "{nemesis}");
        expect_code(&lab(&["heal"]), 0);
        assert!(
            !["T", "gone"].contains(&on("n2", state).trim()),
            "{nemesis}"
        );
    }
}

/// One run at a time, and who holds the lab is said.
#[test]
fn a_second_run_is_refused_while_one_goes_on() {
    let folder = Folder::new();
    let mut child = harness()
        .args(["run", "--workload", "bank", "--time-limit", "100"])
        .arg("--results")
        .arg(folder.path())
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("load") {
        line.clear();
        assert!(
            said.read_line(&mut line).unwrap() > 0,
            "the first run ended"
        );
    }
    // A pipe that nobody reads would stop the run.
    std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
    let second = bank(&folder, &["--time-limit", "5"]);
    expect_code(&second, 254);
    assert!(stderr(&second).contains("run"), "{}", stderr(&second));
    signal(worker(&child), "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// A `lab.yaml` of the nodes that are recorded.
fn inventory_of(record: &Value) -> String {
    let mut text = "provider: ssh\nnodes:\n".to_owned();
    for node in record["nodes"].as_array().expect("nodes") {
        let access = &node["access"];
        text.push_str(&format!(
            "  - {{ name: {}, address: {}, user: {}, key: {}, host_key: {} }}\n",
            node["name"],
            node["address"],
            access["user"],
            access["credential"]["key"],
            access["known_by"]["host-key"]
        ));
    }
    text
}

/// The built-in lab's nodes as if they were strangers: an inventory, refused without consent, adopted with it.
#[test]
fn machines_of_an_inventory_are_adopted_and_run() {
    let folder = Folder::new();
    expect_code(&lab(&["up"]), 0);
    let status: Value = serde_json::from_slice(&lab(&["status", "--json"]).stdout).unwrap();
    let file = folder.path().join("lab.yaml");
    std::fs::write(&file, inventory_of(&status["lab"]["record"])).unwrap();
    // A state folder of its own: to it, these are machines that somebody lent us.
    let state = folder.path().join("state");
    let strange = |arguments: &[&str]| {
        let mut command = if rustix::process::geteuid().is_root() {
            harness()
        } else {
            // The key of the built-in lab is root's.
            let mut command = Command::new("sudo");
            command
                .args(["-n", "env"])
                .arg(format!("HARNESS_STATE={}", state.display()))
                .arg(env!("CARGO_BIN_EXE_harness"));
            command
        };
        command
            .args(arguments)
            .env("HARNESS_STATE", &state)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let inventory = file.to_str().unwrap();
    let results = folder.path().to_str().unwrap();
    for node in ["n1", "n2", "n3", "n4", "n5"] {
        on(node, "rm -f /etc/harness-node");
    }
    let refused = strange(&["lab", "up", "--lab", inventory]);
    assert_ne!(refused.status.code(), Some(0));
    assert!(stderr(&refused).contains("--adopt"), "{}", stderr(&refused));
    expect_code(&strange(&["lab", "up", "--lab", inventory, "--adopt"]), 0);
    let ran = strange(&[
        "run",
        "--workload",
        "bank",
        "--lab",
        inventory,
        "--nemesis",
        "partition",
        "--time-limit",
        "10",
        "--interval",
        "5s/3s",
        "--results",
        results,
    ]);
    assert!([0, 1].contains(&code(&folder, &ran)), "{}", stderr(&ran));
    assert_eq!(folder.json("meta.json")["provider"], "ssh");
    expect_code(&strange(&["lab", "down"]), 0);
    // What was adopted is given back as it was: without our marker, so the built-in lab is made anew.
    expect_code(&lab(&["down"]), 0);
    expect_code(&lab(&["up"]), 0);
}
