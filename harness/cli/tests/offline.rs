//! The command line without a lab: usage, configuration, the simulated system, stored runs, histories.

mod check;
mod refusals;
mod support;

use serde_json::Value;
use support::{Folder, checker, expect_code, harness, stderr, stdout};

#[test]
fn bad_usage_and_configuration_exit_254_and_name_the_place() {
    let folder = Folder::new();
    let config = folder.path().join("bad.yaml");
    std::fs::write(&config, "wrokload: bank\n").unwrap();
    let config = config.to_str().unwrap();
    for (arguments, said) in [
        (vec!["run", "--no-such-flag"], "--no-such-flag"),
        (vec!["frobnicate"], "frobnicate"),
        (
            vec!["run", "--system", "sim", "--workload", "banc"],
            "workload",
        ),
        (
            vec!["run", "--system", "sim", "--time-limit", "soon"],
            "time-limit",
        ),
        (
            vec!["run", "--system", "sim", "--plant", "gremlin"],
            "gremlin",
        ),
        (
            vec!["run", "--dry-run", "--nemesis", "partiton"],
            "partiton",
        ),
        (
            vec!["run", "--dry-run", "--nemesis", "kill:everybody"],
            "everybody",
        ),
        (
            vec!["run", "--dry-run", "--nemesis", "stop:n1@fn=main.run"],
            "asked to stop",
        ),
        (
            vec![
                "run",
                "--dry-run",
                "--nemesis",
                "partition",
                "--time-limit",
                "3",
            ],
            "time limit",
        ),
        (vec!["run", "--config", config, "--dry-run"], "wrokload"),
        (
            vec!["run", "--config", "/nonexistent/harness.yaml", "--dry-run"],
            "harness.yaml",
        ),
        (vec!["run", "--system", "sim", "--nemesis", "kill"], "kill"),
        (vec!["run", "--system", "sim", "--nodes", "2"], "nodes"),
        (vec!["run", "--system", "sim", "--initial", "5"], "initial"),
        (vec!["run", "--system", "sim", "--floor", "5"], "floor"),
        (
            vec!["run", "--system", "sim", "--parallel-join", "2"],
            "parallel-join",
        ),
        (
            vec!["run", "--system", "sim", "--changes", "rejion"],
            "rejion",
        ),
        (
            vec!["run", "--system", "sim", "--concurrency", "3"],
            "concurrency",
        ),
        (
            vec!["run", "--workload", "bank", "--initial", "3", "--dry-run"],
            "initial",
        ),
        (vec!["run", "--max-voters", "5", "--dry-run"], "max-voters"),
        (
            vec!["run", "--workload", "set", "--allow-negative", "--dry-run"],
            "allow-negative",
        ),
        (vec!["check", "no-such-run"], "no-such-run"),
        (vec!["show", "no-such-run"], "no-such-run"),
        (vec!["report", "no-such-run"], "no-such-run"),
        (vec!["convert", "/nonexistent.edn"], "nonexistent"),
        (vec!["generate", "--workload", "queues"], "queues"),
    ] {
        let output = harness()
            .args(&arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        expect_code(&output, 254);
        assert!(
            stderr(&output).contains(said),
            "{arguments:?} says {:?}",
            stderr(&output)
        );
    }
}

#[test]
fn help_and_version_exit_0() {
    for arguments in [
        vec!["--help"],
        vec!["--version"],
        vec!["run", "--help"],
        vec!["lab", "--help"],
    ] {
        expect_code(&harness().args(&arguments).output().unwrap(), 0);
    }
    let completions = harness().args(["completions", "bash"]).output().unwrap();
    expect_code(&completions, 0);
    assert!(stdout(&completions).contains("_harness"));
}

#[test]
fn a_dry_run_prints_configuration_and_plan_and_touches_nothing() {
    let folder = Folder::new();
    let dry = |seed: &str| {
        let output = folder.run(&["--dry-run", "--nemesis", "partition,kill", "--seed", seed]);
        expect_code(&output, 0);
        stdout(&output)
    };
    let text = dry("7");
    for word in ["membership", "partition", "kill", "0x7"] {
        assert!(text.contains(word), "{word} in {text}");
    }
    assert_eq!(text, dry("7"), "a seed repeats the plan");
    assert_ne!(text, dry("8"));
    let waiting = ["--dry-run", "--nemesis", "kill:subject@join/fn=main.run#2"];
    let text = stdout(&folder.run(&waiting));
    let told = "kill subject, waits for a join that is invoked, then entry 2 of main.run";
    assert!(text.contains(told), "{text}");
    assert!(!folder.path().join("runs").exists());
}

/// What doctor warns of is told of the faults that need it, before anybody waits for a lab.
#[test]
fn a_dry_run_says_which_faults_this_kernel_does_not_offer() {
    let folder = Folder::new();
    let doctor = harness().args(["doctor", "--json"]).output().unwrap();
    let doctor: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    let mut checks = doctor["checks"].as_array().unwrap().iter();
    let netem = checks.find(|check| check["name"] == "netem").unwrap();
    let lacks = netem["status"] != "pass";
    let usual = ["--dry-run", "--nodes", "5", "--nemesis"];
    let dry = folder.run(&[&usual[..], &["slow,corrupt"]].concat());
    expect_code(&dry, 0);
    let told = stdout(&dry);
    assert_eq!(told.contains("corrupt, slow: not offered"), lacks, "{told}");
    let dry = folder.run(&[&usual[..], &["slow,corrupt", "--json"]].concat());
    let told: Value = serde_json::from_slice(&dry.stdout).expect("JSON");
    let not_offered = told["not_offered"].as_array().unwrap();
    assert_eq!(not_offered.is_empty(), !lacks, "{told}");
    // Those that the agent does in the kernel's place are offered.
    let relayed = netem["detail"]
        .as_str()
        .unwrap()
        .contains("a relay of the agent");
    let by_relay: &[&str] = if relayed { &["corrupt", "slow"] } else { &[] };
    assert_eq!(told["by_relay"], serde_json::json!(by_relay), "{told}");
    let dry = folder.run(&[&usual[..], &["kill"]].concat());
    assert!(!stdout(&dry).contains("not offered"), "{}", stdout(&dry));
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let folder = Folder::new();
    std::fs::write(
        folder.path().join("harness.yaml"),
        "workload: set\nrate: 11\ntime-limit: 33\nseed: 1\n",
    )
    .unwrap();
    let output = harness()
        .args(["run", "--dry-run", "--json", "--time-limit", "44"])
        .env("HARNESS_RATE", "22")
        .env("HARNESS_TIME_LIMIT", "55")
        .current_dir(folder.path())
        .output()
        .unwrap();
    expect_code(&output, 0);
    let config: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(config["config"]["workload"]["name"], "set");
    assert_eq!(config["config"]["rate"], 22.0);
    assert_eq!(config["config"]["time_limit_s"], 44.0);
}

#[test]
fn a_clean_simulation_is_valid_says_so_and_can_be_judged_again() {
    let folder = Folder::new();
    for workload in ["register", "set", "bank"] {
        let output = folder.run(&[
            "--system",
            "sim",
            "--workload",
            workload,
            "--time-limit",
            "2",
            "--rate",
            "500",
            "--seed",
            "3",
        ]);
        expect_code(&output, 0);
        assert!(
            stdout(&output).to_uppercase().contains("SIMULATION"),
            "{}",
            stdout(&output)
        );
        assert_eq!(folder.json("verdict.json")["verdict"], "valid");
        let first = folder.json("verdict.json");
        let again = harness()
            .args(["check", folder.latest().to_str().unwrap()])
            .output()
            .unwrap();
        expect_code(&again, 0);
        let second = folder.json("verdict.json");
        for (one, other) in first["results"]
            .as_array()
            .unwrap()
            .iter()
            .zip(second["results"].as_array().unwrap())
        {
            assert_eq!(one["verdict"], other["verdict"]);
            assert_eq!(one["summary"], other["summary"]);
        }
        for file in [
            "meta.json",
            "plan.json",
            "history.jsonl",
            "verdict.json",
            "report.html",
            "junit.xml",
            "summary.md",
        ] {
            assert!(folder.latest().join(file).exists(), "{file} of {workload}");
        }
    }
}

/// Each checker is shown a system that lies, and must say what the lie was, naming operations.
#[test]
fn planted_bugs_are_found_with_a_witness() {
    for (workload, plant, judge) in [
        ("register", "lost-write", "linearizable"),
        ("register", "stale-read", "linearizable"),
        ("set", "lost-write", "set-full"),
        ("set", "vanished-element", "set-full"),
        ("bank", "broken-total", "bank"),
    ] {
        let folder = Folder::new();
        let output = folder.run(&[
            "--system",
            "sim",
            "--workload",
            workload,
            "--plant",
            plant,
            "--time-limit",
            "2",
            "--rate",
            "500",
            "--seed",
            "5",
        ]);
        expect_code(&output, 1);
        let verdict = folder.json("verdict.json");
        let result = checker(&verdict, judge);
        assert_eq!(result["verdict"], "invalid", "{workload} {plant}: {result}");
        let witness = &result["witnesses"][0];
        assert!(
            !witness["operations"].as_array().unwrap().is_empty(),
            "{workload} {plant}: {witness}"
        );
        assert!(!witness["story"].as_str().unwrap().is_empty());
        // Looked at again with the options that the run's own checker had.
        let again = harness()
            .args(["check", "--verify", "--json", "--checker", judge])
            .arg(folder.latest())
            .output()
            .unwrap();
        expect_code(&again, 1);
        let told: Value = serde_json::from_str(&stdout(&again)).unwrap();
        // All orders of a long prefix are too many to try; nothing is refuted.
        assert_ne!(told["verified"]["confirmed"], 0, "{told}");
        for (options, said) in [("{\"frobs\":1}", judge), ("{}", "--checker")] {
            let mut refused = harness();
            refused
                .args(["check", "--options", options])
                .arg(folder.latest());
            if said == judge {
                refused.args(["--checker", judge]);
            }
            let refused = refused.output().unwrap();
            expect_code(&refused, 254);
            assert!(stderr(&refused).contains(said), "{}", stderr(&refused));
        }
    }
}

/// No balance is negative unless that is asked for, and then it is no fault of the system's.
#[test]
fn balances_go_below_zero_only_if_asked() {
    let folder = Folder::new();
    for (asked, negative) in [
        (vec![], false),
        (vec!["--allow-negative"], true),
        (vec!["--allow-negative", "false"], false),
    ] {
        let usual = [
            "--system",
            "sim",
            "--workload",
            "bank",
            "--time-limit",
            "2",
            "--rate",
            "500",
            "--seed",
            "3",
        ];
        expect_code(&folder.run(&[&usual[..], &asked].concat()), 0);
        let history = std::fs::read_to_string(folder.latest().join("history.jsonl")).unwrap();
        let below = history
            .lines()
            .any(|line| line.contains("\"f\":\"read\"") && line.contains(":-"));
        assert_eq!(below, negative, "{asked:?}");
        let repeat = folder.json("meta.json")["repeat"].to_string();
        assert_eq!(
            repeat.contains("allow-negative"),
            !asked.is_empty(),
            "{repeat}"
        );
    }
}

#[test]
fn results_are_json_if_asked_and_listed_and_shown() {
    let folder = Folder::new();
    let output = folder.run(&[
        "--system",
        "sim",
        "--workload",
        "bank",
        "--time-limit",
        "1",
        "--json",
    ]);
    expect_code(&output, 0);
    let result: Value = serde_json::from_slice(&output.stdout).expect("only JSON on stdout");
    assert_eq!(result["verdict"], "valid");
    let results = folder.path().to_str().unwrap();
    let list = harness()
        .args(["list", "--json", "--results", results])
        .output()
        .unwrap();
    expect_code(&list, 0);
    let listed: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let show = harness()
        .args(["show", "--results", results])
        .output()
        .unwrap();
    expect_code(&show, 0);
    assert!(stdout(&show).contains("valid"));
}

#[test]
fn append_is_recorded_and_judged_or_says_that_it_is_not() {
    let folder = Folder::new();
    let output = folder.run(&[
        "--system",
        "sim",
        "--workload",
        "append",
        "--time-limit",
        "1",
    ]);
    let verdict = folder.json("verdict.json");
    let result = checker(&verdict, "append");
    let code = if result["verdict"] == "valid" { 0 } else { 2 };
    expect_code(&output, code);
    assert_ne!(result["verdict"], "invalid");
}

#[test]
fn repeated_runs_have_seeds_of_their_own() {
    let folder = Folder::new();
    let output = folder.run(&[
        "--system",
        "sim",
        "--workload",
        "bank",
        "--time-limit",
        "0.5",
        "--repeat",
        "2",
        "--seed",
        "9",
    ]);
    expect_code(&output, 0);
    let list = harness()
        .args([
            "list",
            "--json",
            "--results",
            folder.path().to_str().unwrap(),
        ])
        .output()
        .unwrap();
    let listed: Value = serde_json::from_slice(&list.stdout).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
    assert_ne!(listed[0]["seed"], listed[1]["seed"]);
}

#[test]
fn a_torn_history_is_judged_and_the_tear_is_told() {
    let folder = Folder::new();
    let arguments = ["--system", "sim", "--workload", "bank", "--time-limit", "1"];
    expect_code(&folder.run(&arguments), 0);
    let history = folder.latest().join("history.jsonl");
    let mut bytes = std::fs::read(&history).unwrap();
    bytes.truncate(bytes.len() - 7);
    std::fs::write(&history, &bytes).unwrap();
    let output = harness()
        .args(["check", folder.latest().to_str().unwrap()])
        .output()
        .unwrap();
    assert!(
        [0, 2].contains(&output.status.code().unwrap()),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("torn"), "{}", stderr(&output));
}

#[test]
fn generated_histories_are_judged_and_converted() {
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let generate = |arguments: &[&str], output: &str| {
        let made = harness()
            .args(["generate", "--operations", "2000", "--output", output])
            .args(arguments)
            .output()
            .unwrap();
        expect_code(&made, 0);
    };
    generate(&["--workload", "cas-register"], &file("good.jsonl"));
    generate(
        &["--workload", "cas-register", "--plant", "stale-read"],
        &file("bad.jsonl"),
    );
    let judge = |name: &str| {
        harness()
            .args(["check", "--checker", "linearizable", &file(name)])
            .output()
            .unwrap()
    };
    expect_code(&judge("good.jsonl"), 0);
    expect_code(&judge("bad.jsonl"), 1);
    let both = harness()
        .args([
            "check",
            "--checker",
            "linearizable",
            &file("good.jsonl"),
            &file("bad.jsonl"),
        ])
        .output()
        .unwrap();
    expect_code(&both, 1);
    assert_eq!(stdout(&both).lines().count(), 2, "{}", stdout(&both));
    for (from, to) in [("good.jsonl", "good.edn"), ("good.edn", "back.jsonl")] {
        let converted = harness()
            .args(["convert", &file(from), &file(to)])
            .output()
            .unwrap();
        expect_code(&converted, 0);
    }
    expect_code(&judge("good.edn"), 0);
    expect_code(&judge("back.jsonl"), 0);
    // What a format cannot say is refused, and what was in the file stays.
    let refused = harness()
        .args(["convert", "--to", "awdit"])
        .args([file("good.jsonl"), file("good.edn")])
        .output()
        .unwrap();
    expect_code(&refused, 254);
    assert!(stderr(&refused).contains("awdit cannot say it: event "));
    expect_code(&judge("good.edn"), 0);
}

#[test]
fn a_history_that_is_none_is_refused_with_line_and_column() {
    let folder = Folder::new();
    let file = folder.path().join("broken.jsonl");
    std::fs::write(&file, "{\"format_version\":1}\n{\"index\":0,\n{}\n").unwrap();
    let output = harness()
        .args(["check", "--checker", "bank", file.to_str().unwrap()])
        .output()
        .unwrap();
    expect_code(&output, 254);
    assert!(stderr(&output).contains("line 2"), "{}", stderr(&output));
}

#[test]
fn a_closed_pipe_is_no_failure() {
    use std::process::Stdio;
    let mut child = harness()
        .args(["generate", "--operations", "200000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn an_interrupt_ends_the_load_judges_and_exits_130() {
    let folder = Folder::new();
    let mut child = harness()
        .args(["run", "--system", "sim", "--time-limit", "60", "--results"])
        .arg(folder.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_secs(2));
    let killed = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(folder.json("meta.json")["interrupted"], true);
    assert_eq!(folder.json("verdict.json")["verdict"], "valid");
}

#[test]
fn doctor_says_pass_warn_or_fail_with_the_mend() {
    let output = harness().args(["doctor", "--json"]).output().unwrap();
    let checks: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let checks = checks["checks"].as_array().expect("checks");
    assert!(!checks.is_empty());
    for check in checks {
        let status = check["status"].as_str().unwrap();
        assert!(["pass", "warn", "fail"].contains(&status), "{check}");
        assert!(status == "pass" || check["mend"].is_string(), "{check}");
    }
}

/// What users read first. A change here is a change to the interface.
#[test]
fn help_is_as_documented() {
    for (name, arguments) in [
        ("help", vec!["--help"]),
        ("help_run", vec!["run", "--help"]),
        ("help_check", vec!["check", "--help"]),
        ("help_lab", vec!["lab", "--help"]),
        ("help_trace", vec!["trace", "--help"]),
    ] {
        let output = harness()
            .args(&arguments)
            .env_remove("COLUMNS")
            .env_remove("HARNESS_LAB")
            .output()
            .unwrap();
        insta::assert_snapshot!(name, stdout(&output));
    }
}
