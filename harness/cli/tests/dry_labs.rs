//! What a run's nodes would be made from, told by a dry run: no root, no lab, no server.

#[expect(dead_code, reason = "each test program uses what it needs")]
mod support;

use serde_json::Value;
use support::{Folder, expect_code, stderr, stdout};

/// A dry run on a lab of these lines.
fn dry(lab: &str, arguments: &[&str]) -> std::process::Output {
    let folder = Folder::new();
    let file = folder.path().join("lab.yaml");
    std::fs::write(&file, lab).expect("a lab file");
    let usual = [
        "--dry-run",
        "--json",
        "--lab",
        file.to_str().expect("UTF-8"),
    ];
    folder.run(&[&usual, arguments].concat())
}

/// The image that the nodes of such a run would be made from.
#[track_caller]
fn image(lab: &str, arguments: &[&str]) -> String {
    let output = dry(lab, arguments);
    expect_code(&output, 0);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let lab = told["config"]["lab"].as_str().expect("a lab");
    let image = lab.split(" of ").nth(1).expect("an image");
    image.split(' ').next().expect("a word").to_owned()
}

#[test]
fn nodes_of_either_provider_have_lxd_if_it_is_the_system() {
    for provider in ["lxc", "lxd"] {
        let lxd = |lab: &str| {
            image(
                &format!("provider: {provider}\n{lab}"),
                &["--system", "lxd"],
            )
        };
        assert_eq!(lxd("nodes: 5"), "bookworm+dqlite+lxd", "{provider}");
        assert_eq!(lxd("with: [dqlite]"), "bookworm+dqlite+lxd", "{provider}");
        assert_eq!(
            lxd("suite: trixie\nwith: [lxd]\npackages: [strace]"),
            "trixie+lxd+strace",
            "{provider}"
        );
        // Not asked for, not there.
        let dqlite = image(&format!("provider: {provider}\nnodes: 5"), &[]);
        assert_eq!(dqlite, "bookworm+dqlite", "{provider}");
    }
}

#[test]
fn another_suite_keeps_what_else_the_lab_file_asks_for() {
    for provider in ["lxc", "lxd"] {
        let lab = format!("provider: {provider}\nwith: [dqlite, lxd]\npackages: [strace]");
        assert_eq!(
            image(&lab, &["--suite", "trixie"]),
            "trixie+dqlite+lxd+strace",
            "{provider}"
        );
    }
}

#[test]
fn a_suite_without_lxd_is_refused() {
    for (lab, arguments) in [
        ("provider: lxd\nsuite: forky", &["--system", "lxd"][..]),
        (
            "provider: lxc\nwith: [dqlite, lxd]",
            &["--suite", "forky"][..],
        ),
    ] {
        let output = dry(lab, arguments);
        expect_code(&output, 254);
        let said = stderr(&output);
        assert!(
            said.contains("forky has no package of lxd; take bookworm or trixie"),
            "{said}{}",
            stdout(&output)
        );
    }
}
