//! Who may depend on whom: DESIGN's table, held against `cargo metadata`. Dev-dependencies are exempt.

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

/// A crate of ours, and what of ours it may depend on.
const ALLOWED: [(&str, &[&str]); 10] = [
    ("harness-core", &[]),
    ("dqlite-wire", &[]),
    ("harness-checkers", &["harness-core"]),
    ("harness-report", &["harness-core"]),
    ("harness-lab", &["harness-core"]),
    ("harness-agent", &["harness-core"]),
    ("harness-nemesis", &["harness-core", "harness-lab"]),
    (
        "harness-workloads",
        &[
            "harness-core",
            "harness-lab",
            "harness-checkers",
            "dqlite-wire",
        ],
    ),
    (
        "harness-run",
        &[
            "harness-core",
            "harness-lab",
            "harness-nemesis",
            "harness-workloads",
        ],
    ),
    (
        "harness",
        &[
            "harness-core",
            "harness-run",
            "harness-report",
            "harness-workloads",
            "harness-nemesis",
            "harness-checkers",
            "harness-lab",
            "dqlite-wire",
        ],
    ),
];

/// Crates that never see tokio, ssh2, the file system or a clock, and what of others they must not have.
const PURE: [&str; 3] = ["harness-core", "harness-checkers", "harness-report"];
const IMPURE: [&str; 4] = ["tokio", "ssh2", "rustix", "memmap2"];

#[test]
fn crates_depend_on_each_other_as_the_design_says() {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter_map(|package| package["name"].as_str())
        .collect();
    assert_eq!(
        ours,
        ALLOWED.iter().map(|(name, _)| *name).collect(),
        "a crate is missing in this table, or gone"
    );
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(known, _)| *known == name)
            .expect("listed above");
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            if dependency["kind"] == "dev" {
                continue;
            }
            assert!(
                !ours.contains(on) || allowed.contains(&on),
                "{name} must not depend on {on}"
            );
            assert!(
                !PURE.contains(&name) || !IMPURE.contains(&on),
                "{name} is pure and must not depend on {on}"
            );
        }
    }
}
