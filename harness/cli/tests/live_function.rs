//! Faults that strike where a function of the system's unmodified program is entered, in whole runs on real dqlite. Needs root or
//! `sudo -n`: fails, and never skips, where the lab cannot come up.
#![cfg(feature = "live")]

mod cores;
mod support;

use cores::code;
use serde_json::Value;
use support::{Folder, checker, expect_code, harness, stderr};

/// Where a joining `dqlite-demo` of bookworm asks the leader to add it.
const ADD: &str = "github.com/canonical/go-dqlite/client.(*Client).Add";

fn ledger(folder: &Folder) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.latest().join("ledger.jsonl")).expect("a ledger");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The joiner dies at the instruction, is seen gone, and is started again; the report of the run names the function.
#[test]
fn a_joiner_is_killed_where_it_asks_to_be_added() {
    let folder = Folder::new();
    let nemesis = format!("kill:subject@join/fn={ADD}");
    let output = folder.run(&[
        "--workload",
        "membership",
        "--nemesis",
        &nemesis,
        // Only the first join is killed.
        "--interval",
        "3s/40s",
        "--time-limit",
        "30",
    ]);
    // What dqlite makes of it is not asserted here.
    let code = code(&folder, &output);
    assert!([0, 1].contains(&code), "{code}: {}", stderr(&output));
    let verdict = folder.json("verdict.json");
    assert_eq!(checker(&verdict, "faults")["verdict"], "valid");
    let ledger = ledger(&folder);
    let steps: Vec<&str> = ledger
        .iter()
        .filter(|line| line["fault"] == 1)
        .filter_map(|line| line["step"].as_str())
        .collect();
    assert_eq!(
        steps,
        [
            "intend",
            "triggered",
            "asked",
            "observed",
            "heal-asked",
            "healed"
        ]
    );
    let of = |step: &str| {
        let line = ledger.iter().find(|line| line["step"] == step);
        line.unwrap_or_else(|| panic!("no {step}: {ledger:?}"))
    };
    let node = of("intend")["nodes"][0].as_str().expect("a node");
    let what = of("triggered")["what"].as_str().expect("what it was");
    assert!(
        what.starts_with(&format!("join of {node} invoked"))
            && what.contains("client.(*Client).Add entered, 1st time, pid "),
        "{what}"
    );
    let bound_ns = of("triggered")["bound_ns"].as_u64().expect("a bound");
    assert!(bound_ns > 0);
    let seen = of("observed")["evidence"][0]["text"]
        .as_str()
        .expect("evidence");
    assert!(
        seen.contains("gone after SIGKILL at entry 1 of") && seen.contains(ADD),
        "{seen}"
    );
    // It was killed while its join was under way, on one clock within the bound.
    let fired_ns = of("triggered")["fired_ns"].as_u64().expect("a time");
    let history =
        std::fs::read_to_string(folder.latest().join("history.jsonl")).expect("a history");
    let invoked_ns = history
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .find(|event| event["f"] == "join" && event["value"]["member"] == *node)
        .and_then(|event| event["time_ns"].as_u64())
        .expect("its join");
    assert!(fired_ns + bound_ns >= invoked_ns, "{fired_ns} {invoked_ns}");
    let meta = folder.json("meta.json");
    let expected = meta["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter(|of| of["name"] == node)
        .flat_map(|of| of["exits"].as_array().expect("exits"))
        .any(|exit| exit["signal"] == 9 && exit["expected"] == true);
    assert!(expected, "{meta}");
}

/// What is not in the program is refused before the load, with names that are.
#[test]
fn a_function_that_is_not_there_is_refused_with_the_nearest_names() {
    let folder = Folder::new();
    let output = folder.run(&["--nemesis", "kill:one@fn=main.mian", "--time-limit", "20"]);
    expect_code(&output, 254);
    let said = stderr(&output);
    assert!(said.contains("did you mean main.main?"), "{said}");
    let history = std::fs::read_to_string(folder.latest().join("history.jsonl"));
    assert_eq!(history.expect("a history").lines().count(), 1, "no load");
    expect_code(&harness().args(["lab", "heal"]).output().expect("heals"), 0);
}
