//! The controller itself: who we are, tools, space, memory, clock, keys, network.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant, SystemTime},
};

use super::{Check, Subject};
use crate::{
    host::{self, QUICK},
    image::{self, Suite, free_bytes},
    keys,
    provider::{check_subnet, routes},
};

/// Space below which a lab cannot be made, in bytes.
const SPACE_FAIL_BYTES: u64 = 1 << 30;
/// Space below which it may run out, in bytes.
const SPACE_WARN_BYTES: u64 = 5 << 30;
/// Memory below which five nodes may not fit, in KiB.
const MEMORY_WARN_KIB: u64 = 1 << 20;
/// How long the two clocks are compared.
const CLOCK_SAMPLE: Duration = Duration::from_millis(100);
/// How far they may drift apart in that time: a step, not a slew.
const CLOCK_STEP: Duration = Duration::from_millis(20);
/// A wall clock before this is not set: 2025-01-01, in seconds of the Unix epoch.
const CLOCK_EARLIEST_S: u64 = 1_735_689_600;

pub(super) fn all(subject: &Subject<'_>) -> Vec<Check> {
    let mut checks = vec![root()];
    checks.extend(TOOLS.iter().map(|(tool, why, needed)| {
        check_tool(
            tool,
            why,
            *needed && (*tool != "lxc-start" || subject.is_built_in()),
        )
    }));
    checks.push(scripts());
    checks.push(keyring());
    checks.push(space("disk of the state", subject.state.root()));
    checks.push(space("disk of the images", subject.state.images()));
    checks.push(space("disk of the results", subject.results));
    checks.push(memory());
    checks.push(clock());
    checks.push(key_pair(subject));
    checks.push(subnet(subject));
    checks.push(bridge_filter());
    checks
}

/// Tools, why they are needed, and whether the built-in lab is impossible without.
const TOOLS: [(&str, &str, bool); 7] = [
    ("lxc-start", "makes nodes", true),
    ("debootstrap", "makes images", true),
    ("ip", "makes the bridge", true),
    ("ssh-keygen", "makes keys", true),
    ("unshare", "keeps builds in namespaces of their own", true),
    (
        "nft",
        "lets doctor try partitions; nodes bring their own",
        false,
    ),
    ("ssh", "lets people into nodes", false),
];

fn check_tool(tool: &str, why: &str, needed: bool) -> Check {
    if let Some(path) = host::find(tool) {
        return Check::pass(tool, path.display().to_string());
    }
    let mend = format!("lab/install, or apt-get install {}", host::package(tool));
    let detail = format!("not installed; it {why}");
    if needed {
        Check::fail(tool, detail, mend)
    } else {
        Check::warn(tool, detail, mend)
    }
}

fn root() -> Check {
    const NAME: &str = "root";
    if rustix::process::geteuid().is_root() {
        return Check::pass(NAME, "running as root");
    }
    match host::run("sudo", &["-n", "true"], QUICK) {
        Ok(_) => Check::pass(NAME, "sudo works without a password"),
        Err(error) => Check::fail(
            NAME,
            format!("neither root nor sudo without a password: {error}"),
            "run as root, or let this user use sudo without a password",
        ),
    }
}

fn scripts() -> Check {
    const NAME: &str = "debootstrap's suites";
    let missing: Vec<&str> = Suite::ALL
        .into_iter()
        .filter(|suite| image::script(*suite).is_none())
        .map(Suite::name)
        .collect();
    if missing.is_empty() {
        let names = Suite::ALL.map(Suite::name).join(", ");
        return Check::pass(NAME, format!("{names} can be built"));
    }
    let detail = format!("no script for {}", missing.join(", "));
    if missing.contains(&Suite::default().name()) {
        return Check::fail(NAME, detail, "lab/install, or apt-get install debootstrap");
    }
    Check::warn(NAME, detail, "install a newer debootstrap")
}

fn keyring() -> Check {
    const NAME: &str = "debian's keyring";
    match image::keyring() {
        Some(path) => Check::pass(NAME, path.display().to_string()),
        None => Check::fail(
            NAME,
            format!(
                "none of {} is there, so packages cannot be checked",
                image::KEYRINGS.join(", ")
            ),
            "lab/install, or apt-get install debian-archive-keyring",
        ),
    }
}

fn space(name: &str, path: &Path) -> Check {
    // What is not there yet is made where its nearest parent is; a name alone has the current folder above it.
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let existing = whole.ancestors().find(|ancestor| ancestor.exists());
    let Some(free) = existing.and_then(free_bytes) else {
        return Check::warn(
            name,
            format!("{} cannot be looked at", path.display()),
            "name a folder that exists",
        );
    };
    let detail = format!("{} MiB free at {}", free >> 20, path.display());
    let mend = "free some, or set HARNESS_STATE, HARNESS_IMAGES or --results to another disk";
    if free < SPACE_FAIL_BYTES {
        return Check::fail(name, detail, mend);
    }
    if free < SPACE_WARN_BYTES {
        return Check::warn(name, detail, mend);
    }
    Check::pass(name, detail)
}

fn memory() -> Check {
    const NAME: &str = "memory";
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"));
    let Some(kib) = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok())
    else {
        return Check::warn(NAME, "/proc/meminfo says nothing", "mount /proc");
    };
    let detail = format!("{} MiB available", kib >> 10);
    if kib < MEMORY_WARN_KIB {
        return Check::warn(NAME, detail, "end something else, or take fewer nodes");
    }
    Check::pass(NAME, detail)
}

fn clock() -> Check {
    const NAME: &str = "clock";
    let (monotonic, wall) = (Instant::now(), SystemTime::now());
    std::thread::sleep(CLOCK_SAMPLE);
    let by_monotonic = monotonic.elapsed();
    let Ok(by_wall) = wall.elapsed() else {
        return Check::warn(
            NAME,
            "the wall clock went backwards",
            "let the clock settle, then look again",
        );
    };
    let apart = by_monotonic.abs_diff(by_wall);
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    if since_epoch.as_secs() < CLOCK_EARLIEST_S {
        return Check::warn(NAME, "the wall clock is not set", "set it: date -s …");
    }
    if apart > CLOCK_STEP {
        let detail = format!(
            "wall and monotonic clock drifted {} ms apart in {} ms",
            apart.as_millis(),
            CLOCK_SAMPLE.as_millis()
        );
        return Check::warn(NAME, detail, "let the clock settle, then look again");
    }
    Check::pass(
        NAME,
        format!(
            "wall and monotonic clock agree within {} us",
            apart.as_micros()
        ),
    )
}

fn key_pair(subject: &Subject<'_>) -> Check {
    const NAME: &str = "our key";
    let folder = subject.state.keys();
    let key = folder.join(keys::PRIVATE_KEY);
    let mode = |path: &Path| {
        path.metadata()
            .map(|meta| meta.permissions().mode() & 0o777)
    };
    match (mode(&folder), mode(&key)) {
        (Ok(0o700), Ok(0o600)) => Check::pass(NAME, key.display().to_string()),
        (Ok(folder_mode), Ok(key_mode)) => Check::warn(
            NAME,
            format!(
                "{} has mode {key_mode:o} in a folder of mode {folder_mode:o}",
                key.display()
            ),
            format!(
                "chmod 700 {}; chmod 600 {}",
                folder.display(),
                key.display()
            ),
        ),
        (_, Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Check::pass(NAME, format!("{} is root's", folder.display()))
        }
        _ => Check::pass(NAME, "none yet; the first lab up makes it"),
    }
}

fn subnet(subject: &Subject<'_>) -> Check {
    const NAME: &str = "subnet";
    let found = routes().map_err(crate::provider::LabError::from);
    let checked = found.and_then(|routes| check_subnet(subject.subnet, subject.bridge, &routes));
    match checked {
        Ok(()) => Check::pass(
            NAME,
            format!("{} is free for {}", subject.subnet, subject.bridge),
        ),
        Err(error) => Check::fail(NAME, error.to_string(), "choose another with --subnet"),
    }
}

/// With the bridge filter on, the machine's own firewall sees what nodes say to each other.
fn bridge_filter() -> Check {
    const NAME: &str = "bridge filter";
    const SWITCH: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if fs::read_to_string(SWITCH).unwrap_or_default().trim() != "1" {
        return Check::pass(
            NAME,
            "traffic between nodes does not pass this machine's firewall",
        );
    }
    let chains = host::run("nft", &["-j", "list", "chains"], QUICK).unwrap_or_default();
    let legacy = fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default();
    if !drops_forwarded(&chains) && legacy.trim().is_empty() {
        return Check::pass(
            NAME,
            "traffic between nodes passes this machine's firewall, which lets it through",
        );
    }
    Check::warn(
        NAME,
        "traffic between nodes passes this machine's firewall, which may drop it",
        "if nodes cannot reach each other: sysctl net.bridge.bridge-nf-call-iptables=0, or allow the bridge",
    )
}

/// Whether `nft -j list chains` shows a chain that drops what is forwarded unless a rule allows it.
fn drops_forwarded(chains: &str) -> bool {
    let chains: serde_json::Value = serde_json::from_str(chains).unwrap_or_default();
    let all = chains["nftables"].as_array().into_iter().flatten();
    all.map(|entry| &entry["chain"])
        .any(|chain| chain["hook"] == "forward" && chain["policy"] == "drop")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_a_run_would_make_is_looked_for_above() {
        for path in ["results-that-nobody-made", "none/of/these"] {
            let check = space("disk of the results", Path::new(path));
            assert!(check.detail.contains("MiB free"), "{check:?}");
        }
    }

    #[test]
    fn a_firewall_that_drops_what_is_forwarded_is_seen() {
        let chain = |hook: &str, policy: &str| {
            format!(
                r#"{{"nftables":[{{"metainfo":{{}}}},{{"chain":{{"hook":"{hook}","policy":"{policy}"}}}}]}}"#
            )
        };
        assert!(drops_forwarded(&chain("forward", "drop")));
        for harmless in [
            chain("forward", "accept"),
            chain("input", "drop"),
            String::new(),
        ] {
            assert!(!drops_forwarded(&harmless), "{harmless}");
        }
    }
}
