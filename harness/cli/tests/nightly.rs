//! The nightly workflow: what it calls exists and takes the arguments that it gives. It runs elsewhere, so a slip would show only in the morning.

use std::{path::PathBuf, process::Command};

use harness_lab::{inventory, provider::ProviderKind};
use serde_json::Value;

fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn workflow() -> Value {
    let text =
        std::fs::read_to_string(top().join(".github/workflows/nightly.yml")).expect("the workflow");
    serde_yaml::from_str(&text).expect("YAML")
}

#[test]
fn its_runs_are_runs_that_the_harness_accepts() {
    let workflow = workflow();
    let job = &workflow["jobs"]["run"];
    let matrix = job["strategy"]["matrix"]["include"].as_array().unwrap();
    assert!(!matrix.is_empty());
    let steps = job["steps"].as_array().unwrap();
    let call = steps
        .iter()
        .filter_map(|step| step["run"].as_str())
        .find_map(|run| run.strip_prefix("target/release/harness run "))
        .expect("a step that runs the harness");
    let mut asked = Vec::new();
    for entry in matrix {
        let arguments = call.replace(
            "${{ matrix.arguments }}",
            entry["arguments"].as_str().unwrap(),
        );
        assert!(!arguments.contains("${{"), "{arguments}");
        let output = Command::new(env!("CARGO_BIN_EXE_harness"))
            .args(["run", "--dry-run", "--json"])
            .args(arguments.split_whitespace())
            .current_dir(top())
            .env_remove("HARNESS_LAB")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments}: {output:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        let config = &told["config"];
        let lab = config["lab"].as_str().unwrap();
        assert!(lab.contains("+dqlite+lxd"), "{arguments}: {lab}");
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        asked.push([
            word(&config["system"]),
            word(&config["workload"]["name"]),
            word(&config["nemesis"]),
        ]);
    }
    // What the harness is for is there by name, whatever else is.
    for wanted in [
        ["dqlite", "membership", "partition"],
        ["lxd", "membership", "kill:subject@join+0ms..1200ms"],
    ] {
        assert!(
            asked.iter().any(|run| *run == wanted),
            "{wanted:?}: {asked:?}"
        );
    }
}

#[test]
fn its_steps_are_scripts_and_its_lab_is_one_of_lxd() {
    let spec = inventory::read(&top().join("lab/nightly.yaml")).unwrap();
    assert_eq!(spec.kind(), ProviderKind::Lxd);
    let workflow = workflow();
    for step in workflow["jobs"]["run"]["steps"].as_array().unwrap() {
        let Some(script) = step["run"].as_str() else {
            assert!(step["uses"].is_string(), "{step}");
            continue;
        };
        let checked = Command::new("bash")
            .args(["-n", "-c", &script.replace("${{", "").replace("}}", "")])
            .output()
            .unwrap();
        assert!(checked.status.success(), "{script}: {checked:?}");
        for word in script
            .split_whitespace()
            .filter(|word| word.starts_with("./"))
        {
            assert!(top().join(word).is_file(), "{word}");
        }
    }
    // Whatever became of the run, its report is kept and the lab goes down.
    let always = |name: &str| {
        let steps = workflow["jobs"]["run"]["steps"].as_array().unwrap();
        steps
            .iter()
            .any(|step| step["name"] == name && step["if"] == "always()")
    };
    assert!(always("summary") && always("report") && always("down"));
}
