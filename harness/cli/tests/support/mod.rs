//! Runs the binary as a user would, and reads what it left.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

/// The binary under test.
pub fn harness() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_harness"));
    command.stdin(Stdio::null()).env_remove("HARNESS_RESULTS");
    command
}

/// A folder of its own for a test's results, removed with it.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn latest(&self) -> PathBuf {
        std::fs::canonicalize(self.path().join("runs/latest")).expect("a run was stored")
    }

    pub fn json(&self, file: &str) -> Value {
        let path = self.latest().join(file);
        let bytes =
            std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// `harness run` with results here.
    pub fn run(&self, arguments: &[&str]) -> Output {
        harness()
            .args(["run", "--results"])
            .arg(self.path())
            .args(arguments)
            .output()
            .expect("the binary starts")
    }
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The exit code, with all that was said if it is another.
#[track_caller]
pub fn expect_code(output: &Output, code: i32) {
    assert_eq!(
        output.status.code(),
        Some(code),
        "stdout:\n{}\nstderr:\n{}",
        stdout(output),
        stderr(output)
    );
}

/// The result of one checker in a verdict file.
#[track_caller]
pub fn checker<'a>(verdict: &'a Value, name: &str) -> &'a Value {
    verdict["results"]
        .as_array()
        .expect("results")
        .iter()
        .find(|result| result["checker"] == name)
        .unwrap_or_else(|| panic!("no checker {name} in {verdict}"))
}
