//! `harness check`: several targets of which some cannot be judged, what is said then, and other names of checkers.

use crate::support::{Folder, expect_code, harness, stderr, stdout};
use serde_json::{Value, json};

/// A history in the folder, by its events `(process, type, f, value)`.
fn history(folder: &Folder, name: &str, events: &[(u64, &str, &str, Value)]) -> String {
    let mut text = "{\"format_version\":1}\n".to_owned();
    for (index, (process, event_type, f, value)) in events.iter().enumerate() {
        let event = json!({
            "index": index, "time_ns": index * 1000, "process": process, "node": "n1",
            "type": event_type, "f": f, "value": value,
        });
        text.push_str(&format!("{event}\n"));
    }
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("a plain path").to_owned()
}

/// One write that is read (`seen` is what it wrote) or not.
fn register(folder: &Folder, name: &str, seen: u64) -> String {
    let events = [
        (0, "invoke", "write", json!(1)),
        (0, "ok", "write", json!(1)),
        (1, "invoke", "read", Value::Null),
        (1, "ok", "read", json!(seen)),
    ];
    history(folder, name, &events)
}

fn check(arguments: &[&str]) -> std::process::Output {
    harness()
        .arg("check")
        .args(arguments)
        .output()
        .expect("the binary starts")
}

/// A mark of UTF-8 is no part of the text, on either way to a verdict; what is no text is told with its mend.
#[test]
fn what_comes_before_a_text_is_skipped_or_told() {
    let folder = Folder::new();
    let bad = register(&folder, "bad.jsonl", 2);
    let marked = folder.path().join("marked.jsonl");
    let text = std::fs::read_to_string(&bad).expect("what was written");
    std::fs::write(&marked, format!("\u{feff}{text}")).expect("a file");
    let marked = marked.to_str().expect("a plain path");
    for more in [&[][..], &["--verify"]] {
        let arguments = [&["--checker", "linearizable", marked], more].concat();
        expect_code(&check(&arguments), 1);
    }
    let zipped = folder.path().join("h.edn.gz");
    std::fs::write(&zipped, b"\x1f\x8b\x08\0\0").expect("a file");
    let zipped = zipped.to_str().expect("a plain path");
    let refused = check(&["--checker", "linearizable", zipped]);
    expect_code(&refused, 254);
    let said = stdout(&refused) + &stderr(&refused);
    assert!(said.contains("gunzip it first"), "{said}");
}

/// Each target has its line, whatever became of those before it, and the exit code is the first of DESIGN's order.
#[test]
fn a_target_that_cannot_be_judged_keeps_none_from_it() {
    let folder = Folder::new();
    let (good, bad) = (
        register(&folder, "good.jsonl", 1),
        register(&folder, "bad.jsonl", 2),
    );
    let absent = folder.path().join("absent.jsonl");
    let absent = absent.to_str().expect("a plain path");
    let torn = folder.path().join("torn.jsonl");
    std::fs::write(&torn, "{\"format_version\":1}\n{\"index\":0,\n{}\n").expect("a file");
    let torn = torn.to_str().expect("a plain path");
    let linearizable = ["--checker", "linearizable"];
    let all = check(&[&linearizable[..], &[absent, &good, torn, &bad]].concat());
    expect_code(&all, 254);
    let said = stdout(&all);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 4, "{said}");
    for (line, (word, target)) in lines.iter().zip([
        ("error", absent),
        ("valid", &good),
        ("error", torn),
        ("invalid", &bad),
    ]) {
        assert!(line.contains(word) && line.contains(target), "{line}");
    }
    assert!(lines[0].contains("no such file"), "{said}");
    assert!(lines[2].contains("line 2"), "{said}");
    let all = check(&[&linearizable[..], &["--json", absent, &bad]].concat());
    expect_code(&all, 254);
    let told: Value = serde_json::from_slice(&all.stdout).expect("JSON");
    assert!(
        told[0]["error"]
            .as_str()
            .is_some_and(|why| why.contains("no such")),
        "{told}"
    );
    assert_eq!(told[1]["verdict"], "invalid", "{told}");
}

#[test]
fn a_file_that_is_not_there_is_called_so() {
    let folder = Folder::new();
    let results = folder.path().to_str().expect("a plain path");
    for (target, said) in [
        ("absent.jsonl", "no such file, and no such run"),
        (results, "meta.json"),
    ] {
        let output = check(&["--results", results, "--checker", "bank", target]);
        expect_code(&output, 254);
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    let one = check(&["--json", "--results", results, "absent.jsonl"]);
    expect_code(&one, 254);
    let told: Value = serde_json::from_slice(&one.stdout).expect("JSON");
    assert!(told["error"].is_string(), "{told}");
}

#[test]
fn a_model_that_takes_the_operations_is_named() {
    let folder = Folder::new();
    let events = [
        (0, "invoke", "append", json!(["x", "1"])),
        (0, "ok", "append", json!(["x", "1"])),
        (1, "invoke", "get", json!(["x", null])),
        (1, "ok", "get", json!(["x", "1"])),
    ];
    let file = history(&folder, "store.jsonl", &events);
    let output = check(&["--checker", "linearizable", &file]);
    expect_code(&output, 2);
    assert!(
        stdout(&output).contains("--model key-value"),
        "{}",
        stdout(&output)
    );
    expect_code(
        &check(&["--checker", "linearizable", "--model", "key-value", &file]),
        0,
    );
}

#[test]
fn an_initial_value_that_was_taken_for_granted_is_told() {
    let folder = Folder::new();
    let events = [
        (0, "invoke", "txn", json!([["read", "x", null]])),
        (0, "ok", "txn", json!([["read", "x", 0]])),
    ];
    let file = history(&folder, "registers.jsonl", &events);
    let usual = ["--checker", "linearizable", "--model", "multi-register"];
    let output = check(&[&usual[..], &[&file]].concat());
    expect_code(&output, 1);
    assert!(stdout(&output).contains("initial"), "{}", stdout(&output));
    let initial = ["--options", "{\"initial\":{\"x\":0}}"];
    let output = check(&[&usual[..], &initial, &[&file]].concat());
    expect_code(&output, 0);
}

#[test]
fn other_names_of_checkers_mean_them() {
    let folder = Folder::new();
    let events = [
        (0, "invoke", "acquire", Value::Null),
        (0, "ok", "acquire", Value::Null),
        (1, "invoke", "acquire", Value::Null),
        (1, "ok", "acquire", Value::Null),
    ];
    let file = history(&folder, "lock.jsonl", &events);
    for (name, checker) in [
        ("lock", "lock"),
        ("mutex", "linearizable"),
        ("owned-mutex", "linearizable"),
    ] {
        let output = check(&["--json", "--checker", name, &file]);
        expect_code(&output, 1);
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(told["results"][0]["checker"], checker, "{told}");
    }
    // A mutex as Knossos has it knows no owners: one process does not take it twice, another may release it.
    for (second, third, code) in [("acquire", "release", 1), ("release", "acquire", 0)] {
        let events: Vec<_> = [
            (0, "acquire"),
            (u64::from(second == "release"), second),
            (1, third),
        ]
        .into_iter()
        .flat_map(|(process, f)| ["invoke", "ok"].map(|kind| (process, kind, f, Value::Null)))
        .collect();
        let file = history(&folder, "mutex.jsonl", &events);
        expect_code(&check(&["--checker", "mutex", &file]), code);
    }
    // Two owners can be verified from the history alone.
    let output = check(&["--verify", "--checker", "lock", &file]);
    expect_code(&output, 1);
    let said = stdout(&output);
    assert!(said.contains("verified: 1 of 1 witnesses"), "{said}");
    let made = folder.path().join("set.jsonl");
    let made = made.to_str().expect("a plain path");
    let generate = ["generate", "--workload", "set", "--output", made];
    expect_code(&harness().args(generate).output().expect("it starts"), 0);
    expect_code(&check(&["--checker", "set", made]), 0);
}

#[test]
fn options_that_are_none_of_a_checker_are_refused() {
    let folder = Folder::new();
    let file = history(&folder, "any.jsonl", &[(0, "invoke", "read", Value::Null)]);
    for (arguments, said) in [
        (
            &["--options", "[1]", "--model", "serializable"][..],
            "options: [1] is no JSON object",
        ),
        (&["--options", "\"a\""], "is no JSON object"),
        (&["--model", "nosuch"], "no model is called \"nosuch\""),
    ] {
        for checker in ["list-append", "linearizable"] {
            let output = check(&[&["--checker", checker, &*file][..], arguments].concat());
            expect_code(&output, 254);
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(told.contains(said), "{arguments:?}: {told}");
        }
    }
}

#[test]
fn a_history_comes_from_a_pipe() {
    let folder = Folder::new();
    let text = std::fs::read(register(&folder, "stale.jsonl", 0)).expect("a file");
    for target in ["-", "/dev/stdin"] {
        let mut child = harness()
            .args(["check", "--checker", "linearizable", target])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut pipe = child.stdin.take().expect("a pipe");
        std::io::Write::write_all(&mut pipe, &text).expect("it is read");
        drop(pipe);
        let output = child.wait_with_output().expect("it ends");
        expect_code(&output, 1);
    }
}

#[test]
fn what_cannot_be_generated_is_refused_and_loses_nothing() {
    let folder = Folder::new();
    let kept = folder.path().join("kept.jsonl");
    std::fs::write(&kept, "kept").expect("a file");
    let kept = kept.to_str().expect("a plain path");
    for (arguments, said) in [
        (
            &["--keys", "18446744073709551615"][..],
            "keys must be at most",
        ),
        (&["--reads", "2"], "share of reads must be between 0 and 1"),
        (&["--info", "nan"], "must be between 0 and 1"),
        (
            &["--workload", "rw-register", "--format", "plume"],
            "add --info 0",
        ),
        (
            &["--operations", "2", "--plant", "stale-read"],
            "could not be planted",
        ),
    ] {
        let output = harness()
            .args(["generate", "--output", kept])
            .args(arguments)
            .output()
            .expect("it starts");
        expect_code(&output, 254);
        let told = stderr(&output);
        assert!(told.contains(said), "{arguments:?}: {told}");
        assert_eq!(std::fs::read_to_string(kept).expect("a file"), "kept");
    }
}
