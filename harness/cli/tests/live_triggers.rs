//! What faults wait for, on real dqlite: a log's line, a file, a query, an answer, a view, a time, and each other. Needs root or
//! `sudo -n`: fails, and never skips, where the lab cannot come up.
#![cfg(feature = "live")]

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;

use harness_core::fault::{FaultRecord, decode, fold};
use support::{Folder, harness, stderr, stdout};

/// One lane for each, so far apart that none is in another's way.
const LANES: &str = r#"
lanes:
  - name: query
    fault: kill
    target: leader
    start: 2s
    trigger: query=sql:SELECT count(*) > 100 FROM elements
    duration: 3s
    count: 1
  - name: log          # the one that was killed looks for the leader when it comes back
    fault: pause
    target: subject
    start: 2s
    trigger: log=no known leader|connected
    duration: 2s
    count: 1
  - name: with         # struck while it is down: recorded, and nothing more
    fault: pause
    target: subject
    start: {with: query, when: observed, after: 0s}
    duration: 1s
    count: 1
  - name: segment      # who comes back opens a segment of its own
    fault: kill
    target: other
    start: 2s
    trigger: file=created:open-*
    duration: 3s
    count: 1
  - name: view
    fault: partition
    target: subject
    start: 18s
    trigger: view=raft:n1:voter
    duration: 3s
    count: 1
  - name: answer
    fault: kill
    target: subject
    start: 26s
    trigger: query:n2=http:/harness-formed~1
    duration: 3s
    count: 1
"#;

fn fired<'a>(faults: &'a [FaultRecord], what: &str) -> &'a FaultRecord {
    let found = faults.iter().find(|fault| {
        let triggered = fault.triggered.as_ref();
        triggered.is_some_and(|triggered| triggered.what.contains(what))
    });
    found.unwrap_or_else(|| panic!("{what}: {faults:#?}"))
}

#[test]
fn each_trigger_fires_on_real_dqlite() {
    let folder = Folder::new();
    let file = folder.path().join("lanes.yaml");
    std::fs::create_dir_all(folder.path()).unwrap();
    std::fs::write(&file, LANES).unwrap();
    let output = harness()
        .args([
            "run",
            "--workload",
            "set",
            "--time-limit",
            "36",
            "--seed",
            "7",
        ])
        .arg("--nemesis")
        .arg(format!("@{}", file.display()))
        .arg("--results")
        .arg(folder.path())
        .output()
        .unwrap();
    let code = output.status.code();
    let said = format!("{}\n{}", stdout(&output), stderr(&output));
    assert!(matches!(code, Some(0..=2)), "{code:?}: {said}");
    let ledger = std::fs::read(folder.path().join("runs/latest/ledger.jsonl")).unwrap();
    let faults = fold(&decode(&ledger).unwrap());
    for (what, target) in [
        ("FROM elements\" gave 1", None),
        ("in /srv/harness/dqlite/dqlite.log of n", None),
        ("/open-", None),
        ("shows n1 voter", Some("n1")),
        ("/harness-formed of n2 answered 200", Some("n2")),
        (") observed", None),
    ] {
        let fault = fired(&faults, what);
        assert!(fault.healed_ns.is_some(), "{what}: {fault:#?}");
        if let Some(node) = target {
            assert_eq!(fault.nodes, [node], "{what}");
        }
        // It says how late it was, if it took hold: what is down already cannot be struck again.
        assert_eq!(fault.late_ns().is_some(), fault.observed_ns.is_some());
    }
    let held = faults.iter().filter(|fault| fault.took_hold()).count();
    assert!(held >= 4, "{faults:#?}");
    let report = std::fs::read_to_string(folder.path().join("runs/latest/report.html")).unwrap();
    assert!(
        report.contains("waited for raft (socket) of"),
        "the report says what it waited for"
    );
}
