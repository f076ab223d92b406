//! Builds `harness-agent` as a static binary and hands it to the crate, which embeds it.
//!
//! Laws:
//! - the agent gets a target folder of its own below the workspace's, since the outer cargo holds the
//!   lock of the other one while this runs;
//! - nothing of the outer build's flags or wrappers (clippy, coverage) reaches it;
//! - it never goes to the network: every crate that it needs is one that this crate needs too.

use std::{
    env,
    error::Error,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// The profile in the workspace's Cargo.toml.
const PROFILE: &str = "agent";
/// What the outer build may have set, and the agent's build must not see.
const OUTER_ONLY: [&str; 9] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_TARGET_DIR",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
];

fn main() -> Result<(), Box<dyn Error>> {
    let manifest_dir = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir.parent().ok_or("no workspace above lab")?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;
    let lock = workspace.join("Cargo.lock");

    for input in [
        "build.rs",
        "agent/src",
        "agent/Cargo.toml",
        "../harness/core/src",
        "../harness/core/Cargo.toml",
        "../Cargo.toml",
    ] {
        println!("cargo:rerun-if-changed={input}");
    }
    if lock.exists() {
        println!("cargo:rerun-if-changed=../Cargo.lock");
    }

    let agent_dir = agent_target_dir(&out_dir)?;
    let mut cargo = Command::new(env::var("CARGO")?);
    cargo
        .current_dir(workspace)
        .args(["build", "--quiet", "--offline", "-p", "harness-agent"])
        .args(["--profile", PROFILE, "--target", &target])
        .arg("--target-dir")
        .arg(&agent_dir);
    if lock.exists() {
        cargo.arg("--locked");
    }
    for name in OUTER_ONLY {
        cargo.env_remove(name);
    }
    cargo.env("RUSTFLAGS", "-C target-feature=+crt-static");
    let status = cargo.status()?;
    if !status.success() {
        return Err(format!("building harness-agent for {target} gave {status}").into());
    }

    let built = agent_dir.join(&target).join(PROFILE).join("harness-agent");
    replace(&built, &out_dir.join("harness-agent"))?;
    Ok(())
}

/// Never writes into the old file: a target folder that was copied with hard links shares it with another one.
fn replace(built: &Path, embedded: &Path) -> io::Result<()> {
    match fs::remove_file(embedded) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::copy(built, embedded).map(|_| ())
}

/// `OUT_DIR` is TARGET_DIR/PROFILE/build/PACKAGE/out; the agent's folder goes next to PROFILE.
fn agent_target_dir(out_dir: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let target_dir = out_dir
        .ancestors()
        .nth(4)
        .ok_or("the build folder has an unexpected shape")?;
    Ok(target_dir.join("agent"))
}
