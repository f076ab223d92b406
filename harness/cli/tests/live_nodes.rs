//! Faults of nodes on real dqlite in the built-in lab, and nodes that heal themselves. Needs root or `sudo -n`: fails, and never
//! skips, where the lab cannot come up.
#![cfg(feature = "live")]
#![expect(
    clippy::unwrap_used,
    reason = "what goes wrong in a helper ends the test, as it should"
)]

mod process;
mod support;

use std::{
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use process::{signal, worker};
use support::{Folder, checker, expect_code, harness, stderr, stdout};

/// How long something may take to show up in a run's folder.
const PATIENCE: Duration = Duration::from_secs(90);
/// The lease of the nodes' guards in these tests.
const LEASE: &str = "6s";
/// How long after the harness' death every guard has done its work and ended: the lease, and a start of the system.
const HEALED_WITHIN: Duration = Duration::from_secs(30);

fn lab(arguments: &[&str]) -> std::process::Output {
    harness().arg("lab").args(arguments).output().unwrap()
}

/// What a shell on a node says.
fn on(node: &str, script: &str) -> String {
    let said = lab(&["exec", node, "--", "sh", "-c", script]);
    stdout(&said).trim().to_owned()
}

fn run(folder: &Folder, nemesis: &str, more: &[&str]) -> std::process::Output {
    let usual = [
        "--workload",
        "bank",
        "--nemesis",
        nemesis,
        "--op-timeout",
        "2s",
    ];
    folder.run(&[&usual, more].concat())
}

/// Starts a run and returns once its ledger has a line with that step.
fn begin(folder: &Folder, nemesis: &str, more: &[&str]) -> Child {
    let child = harness()
        .args(["run", "--workload", "bank", "--op-timeout", "2s"])
        .args(["--nemesis", nemesis, "--agent-heals-after", LEASE])
        .args(more)
        .arg("--results")
        .arg(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    while !ledger(folder).contains("\"step\":\"observed\"") {
        assert!(Instant::now() < until, "{nemesis}: {}", ledger(folder));
        std::thread::sleep(Duration::from_millis(100));
    }
    child
}

fn ledger(folder: &Folder) -> String {
    std::fs::read_to_string(folder.path().join("runs/latest/ledger.jsonl")).unwrap_or_default()
}

/// Each is seen to hold by what it alone does, and to be healed.
#[test]
fn faults_of_nodes_take_hold_and_heal() {
    let one_by_one =
        "restart:one@at=2s,leader-transfer@at=8s,kill:n1+n2@at=14s,pause:minority@at=20s";
    for (nemesis, time_limit, interval, said) in [
        (
            one_by_one,
            "27",
            "3s/4s",
            &[
                ("; then process", "was running"),
                (" leads (", "nothing is to be undone"),
                ("after the instant that was set", "runs"),
                ("in state T after SIGSTOP", "after SIGCONT"),
            ][..],
        ),
        (
            "wipe:one",
            "16",
            "6s/4s",
            &[("its data are removed", "joined anew through")],
        ),
        (
            "partition:one,reboot:one",
            "16",
            "6s/4s",
            &[("booted anew", "table inet harness is gone")],
        ),
    ] {
        let folder = Folder::new();
        let output = run(
            &folder,
            nemesis,
            &["--time-limit", time_limit, "--interval", interval],
        );
        let code = output.status.code();
        assert!(
            matches!(code, Some(0..=2)),
            "{nemesis}: {code:?} {}",
            stderr(&output)
        );
        let verdict = folder.json("verdict.json");
        assert_eq!(
            checker(&verdict, "faults")["verdict"],
            "valid",
            "{nemesis}: {verdict}"
        );
        let ledger = ledger(&folder);
        let count = |step: &str| ledger.matches(&format!("\"step\":\"{step}\"")).count();
        assert_eq!(count("observed"), count("intend"), "{nemesis}: {ledger}");
        for (seen, healed) in said {
            assert!(
                ledger.contains(seen) && ledger.contains(healed),
                "{nemesis}: {ledger}"
            );
        }
        expect_code(&lab(&["status"]), 0);
    }
}

/// `kill -9` of the harness in each fault: the nodes heal themselves, `lab heal` finishes the rest, and the lab is clean.
#[cfg(feature = "full")]
#[test]
fn nodes_heal_themselves_when_the_harness_was_killed() {
    let state = "read -r pid start </srv/harness/dqlite/pid; cut -d' ' -f3 /proc/$pid/stat 2>/dev/null || echo gone";
    for (nemesis, goes_on) in [
        ("partition:n2", true),
        ("kill:n2", true),
        ("stop:n2", true),
        ("pause:n2", true),
        ("restart:n2", true),
        ("reboot:n2", true),
        ("wipe:n2", false),
        ("leader-transfer:n2+n3", true),
    ] {
        let folder = Folder::new();
        let long = ["--time-limit", "300", "--interval", "200s/4s"];
        let mut child = begin(&folder, nemesis, &long);
        signal(worker(&child), "KILL");
        child.wait().unwrap();
        let until = Instant::now() + HEALED_WITHIN;
        let guards = || on("n2", "pgrep -f '[g]uard-watch' | wc -l");
        while guards() != "0" {
            assert!(Instant::now() < until, "{nemesis}: its guard lives");
            std::thread::sleep(Duration::from_millis(500));
        }
        // By itself, before anybody heals.
        let runs = !["T", "gone"].contains(&on("n2", state).as_str());
        assert_eq!(runs, goes_on, "{nemesis}");
        assert_eq!(
            on("n2", "nft list tables | grep -c harness"),
            "0",
            "{nemesis}"
        );
        if nemesis.starts_with("wipe") {
            assert_eq!(on("n2", "ls /srv/harness/dqlite | grep -cx data"), "0");
        }
        let healed = lab(&["heal"]);
        expect_code(&healed, 0);
        let alone = stderr(&healed).contains("healed itself after");
        assert_eq!(
            alone,
            !nemesis.starts_with("leader"),
            "{nemesis}: {}",
            stderr(&healed)
        );
        expect_code(&lab(&["status"]), 0);
        expect_code(&lab(&["heal"]), 0);
    }
    let purged = lab(&["heal", "--purge"]);
    expect_code(&purged, 0);
    assert!(
        stderr(&purged).contains("folders are removed"),
        "{}",
        stderr(&purged)
    );
    let left = on(
        "n2",
        "ls /run/harness-agent | grep -vc ^agent-; pgrep -f '[g]uard-watch' | wc -l",
    );
    assert_eq!(left, "0\n0");
}

/// A harness that hangs for longer than the lease: the node heals itself, and the fault earns no coverage.
#[test]
fn what_a_node_healed_by_itself_earns_no_coverage() {
    let folder = Folder::new();
    let child = begin(
        &folder,
        "pause:n2",
        &["--time-limit", "45", "--interval", "40s/4s"],
    );
    let worker = worker(&child);
    signal(worker, "STOP");
    let state = "read -r pid start </srv/harness/dqlite/pid; cut -d' ' -f3 /proc/$pid/stat";
    assert_eq!(on("n2", state), "T");
    let until = Instant::now() + HEALED_WITHIN;
    while on("n2", state) == "T" {
        assert!(Instant::now() < until, "it did not heal itself");
        std::thread::sleep(Duration::from_millis(500));
    }
    signal(worker, "CONT");
    // A sudo in between has stopped with it, and does not go on by itself.
    signal(child.id(), "CONT");
    let output = child.wait_with_output().unwrap();
    // That clients were kept from their deadlines is a failure of the harness itself, and told as that.
    let code = output.status.code();
    assert!(matches!(code, Some(1 | 2 | 255)), "{code:?}");
    assert!(ledger(&folder).contains("\"step\":\"self-healed\""));
    let verdict = folder.json("verdict.json");
    assert_eq!(
        checker(&verdict, "faults")["verdict"],
        "unknown",
        "{verdict}"
    );
    expect_code(&lab(&["status"]), 0);
}

/// A workload that keeps its own account of the members would not know who was let in again.
#[test]
fn a_wipe_among_changes_of_the_membership_is_refused() {
    let folder = Folder::new();
    let output = folder.run(&["--nemesis", "wipe:one", "--time-limit", "20"]);
    expect_code(&output, 254);
    assert!(
        stderr(&output).contains("--workload"),
        "{}",
        stderr(&output)
    );
    assert!(!folder.path().join("runs").exists(), "nothing was begun");
}
