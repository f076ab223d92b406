//! The kernel: what nodes need of it, and which faults it offers.

use std::{
    fs::{self, File},
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{Check, Status, Subject};
use crate::{
    agent_image,
    host::{self, QUICK},
};

pub(super) fn all(subject: &Subject<'_>) -> Vec<Check> {
    vec![
        overlay(subject.state.root()),
        in_namespace(&Trial {
            name: "network namespaces",
            module: None,
            script: "ip link set dev lo up",
            without: Status::Fail,
            detail: "a process can have a network of its own",
            mend: "run where network namespaces are allowed, such as a virtual machine",
        }),
        in_namespace(&Trial {
            name: "bridge and veth",
            module: Some("veth"),
            script: "ip link add name hd0 type bridge && ip link add name hd1 type veth peer name hd2 && ip link set dev hd1 master hd0",
            without: Status::Fail,
            detail: "nodes can be joined by a bridge",
            mend: "take a kernel with bridge and veth",
        }),
        in_namespace(&Trial {
            name: "nftables",
            module: Some("nf_tables"),
            script: "printf 'table inet harness {\\n chain in {\\n type filter hook input priority 0;\\n ip saddr { 192.0.2.1, 192.0.2.2 } counter drop\\n }\\n}\\n' | nft -f -",
            without: Status::Fail,
            detail: "partitions work: sets, counters and drops in the inet family",
            mend: "take a kernel with nftables; is nft installed?",
        }),
        netem(),
        htb(),
        numgen(),
        loop_devices(),
        fuse(),
        cgroup(),
        process_clock(),
        uprobe(),
        bpf(),
        core_pattern(),
        core_limit(),
    ]
}

/// Packets that come late, twice, in another order or damaged: by the kernel, or by the agent's relay.
fn netem() -> Check {
    let kernel = kernel_netem();
    if kernel.status == Status::Pass {
        return kernel;
    }
    match relay() {
        Ok(()) => Check::pass(
            &kernel.name,
            format!("{NETEM_FAULTS}, by a relay of the agent: the kernel has no sch_netem"),
        ),
        // Who may not try the one may not try the other.
        Err(_) if !rustix::process::geteuid().is_root() => kernel,
        Err(why) => Check::warn(
            &kernel.name,
            format!("{}; nor can the agent relay packets: {why}", kernel.detail),
            "the faults slow, duplicate, reorder and corrupt are not offered (loss and rate are); take a kernel with sch_netem, or with nfnetlink_queue, xt_NFQUEUE and nft_compat",
        ),
    }
}

const NETEM_FAULTS: &str = "the faults slow, duplicate, reorder and corrupt";

fn kernel_netem() -> Check {
    in_namespace(&Trial {
        name: "netem",
        module: Some("sch_netem"),
        script: "ip link set dev lo up && tc qdisc add dev lo root netem delay 1ms",
        without: Status::Warn,
        detail: NETEM_FAULTS,
        mend: "sudo harness doctor",
    })
}

/// Whether the agent can do it in the kernel's place.
fn relay() -> Result<(), String> {
    let agent = agent_in_memory()?;
    let script = format!(
        "nft 'add table ip harness_trial; add chain ip harness_trial held' && exec /proc/self/fd/{} netem-check harness_trial",
        agent.as_raw_fd()
    );
    host::run("unshare", &["--net", "--", "/bin/sh", "-c", &script], QUICK)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Of these faults those that the agent does here, in user space, because the kernel cannot.
#[must_use]
pub fn by_relay<'a>(wanted: &[&'a str]) -> Vec<&'a str> {
    let of_netem = |fault: &&&str| OF_FAULTS[0].1.contains(*fault);
    let concerned: Vec<&str> = wanted.iter().filter(of_netem).copied().collect();
    if concerned.is_empty() || kernel_netem().status == Status::Pass || relay().is_err() {
        return Vec::new();
    }
    concerned
}

/// Bandwidth that is limited.
fn htb() -> Check {
    in_namespace(&Trial {
        name: "htb",
        module: Some("sch_htb"),
        script: "ip link set dev lo up && tc qdisc add dev lo root htb",
        without: Status::Warn,
        detail: "the fault rate",
        mend: "the fault rate is not offered; take a kernel with sch_htb",
    })
}

/// Packets that are lost by chance.
fn numgen() -> Check {
    in_namespace(&Trial {
        name: "nft numgen",
        module: Some("nft_numgen"),
        script: "printf 'table inet harness {\n chain out {\n type filter hook output priority 0;\n ip daddr 192.0.2.1 numgen random mod 100 < 30 counter drop\n }\n}\n' | nft -f -",
        without: Status::Warn,
        detail: "the fault loss",
        mend: "the fault loss is not offered; take a kernel with nft_numgen",
    })
}

/// Names of faults.
type Faults = &'static [&'static str];

/// What stands between a kernel and faults by their names. `@fn=` is every fault that strikes at a function's entry.
const OF_FAULTS: [(fn() -> Check, Faults); 7] = [
    (netem, &["slow", "duplicate", "reorder", "corrupt"]),
    (htb, &["rate"]),
    (numgen, &["loss"]),
    (fuse, &["io-error", "lose-writes"]),
    (process_clock, &["clock"]),
    (uprobe, &["@fn="]),
    (bpf, &["@fn="]),
];

/// Of these faults those that this kernel, which is also that of nodes that are containers here, does not offer, or of which that could
/// not be found out: with the check that says why. Changes nothing.
#[must_use]
pub fn without_faults<'a>(wanted: &[&'a str]) -> Vec<(Vec<&'a str>, Check)> {
    let concerned = OF_FAULTS.iter().filter_map(|(check, faults)| {
        let of: Vec<&str> = wanted
            .iter()
            .copied()
            .filter(|fault| faults.contains(fault))
            .collect();
        (!of.is_empty()).then(|| (of, check()))
    });
    concerned
        .filter(|(_, check)| check.status != Status::Pass)
        .collect()
}

/// Data folders of limited size are files that are mounted.
fn loop_devices() -> Check {
    const NAME: &str = "loop devices";
    let devices = fs::read_to_string("/proc/devices").unwrap_or_default();
    let there = devices
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some("loop"));
    if there || is_loadable("loop") {
        return Check::pass(
            NAME,
            "run --data-size, and with it the faults disk-full and slow-io",
        );
    }
    Check::warn(
        NAME,
        "this kernel has none",
        "run --data-size does not work, and the faults disk-full and slow-io are offered only where a small file system is mounted on the data folder; take a kernel with loop devices",
    )
}

/// A layer over a data folder is a file system of ours.
fn fuse() -> Check {
    const NAME: &str = "FUSE";
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let there = known
        .lines()
        .any(|line| line.split_whitespace().last() == Some("fuse"));
    if there || is_loadable("fuse") {
        return Check::pass(
            NAME,
            "run --data-layer, and with it the faults io-error and lose-writes",
        );
    }
    Check::warn(
        NAME,
        "this kernel has none",
        "run --data-layer does not work, and the faults io-error and lose-writes are not offered; take a kernel with FUSE",
    )
}

/// Something that is tried in a network namespace of its own.
struct Trial {
    name: &'static str,
    /// The module that would be loaded for it, if it is one.
    module: Option<&'static str>,
    script: &'static str,
    /// What it means if it does not work.
    without: Status,
    detail: &'static str,
    mend: &'static str,
}

fn in_namespace(trial: &Trial) -> Check {
    if trial.module.is_some_and(is_loadable) {
        return Check::pass(
            trial.name,
            format!("{} (as a module that is not loaded yet)", trial.detail),
        );
    }
    if !rustix::process::geteuid().is_root() {
        return Check::warn(trial.name, "only root can try", "sudo harness doctor");
    }
    match host::run(
        "unshare",
        &["--net", "--", "/bin/sh", "-c", trial.script],
        QUICK,
    ) {
        Ok(_) => Check::pass(trial.name, trial.detail),
        Err(error) if trial.without == Status::Fail => {
            Check::fail(trial.name, error.to_string(), trial.mend)
        }
        Err(error) => Check::warn(trial.name, error.to_string(), trial.mend),
    }
}

/// Whether it is a module that this kernel has and that is not loaded: trying would load it.
fn is_loadable(module: &str) -> bool {
    let loaded = fs::read_to_string("/proc/modules").unwrap_or_default();
    if loaded
        .lines()
        .any(|line| line.split(' ').next() == Some(module))
    {
        return false;
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let index = Path::new("/lib/modules")
        .join(release.trim())
        .join("modules.dep");
    let index = fs::read_to_string(index).unwrap_or_default();
    index.lines().any(|line| names_module(line, module))
}

/// Whether a line of modules.dep is about this module: `kernel/net/sched/sch_netem.ko.xz: …`.
fn names_module(line: &str, module: &str) -> bool {
    let path = line.split(':').next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default();
    file.split('.')
        .next()
        .is_some_and(|name| name.replace('-', "_") == module)
}

fn overlay(state: &Path) -> Check {
    const NAME: &str = "overlayfs";
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !known.lines().any(|line| line.trim().ends_with("overlay")) {
        if is_loadable("overlay") {
            return Check::pass(NAME, "as a module that is not loaded yet");
        }
        return Check::fail(NAME, "the kernel has none", "take a kernel with overlayfs");
    }
    if !rustix::process::geteuid().is_root() {
        return Check::warn(NAME, "only root can try", "sudo harness doctor");
    }
    // The state folder may lie on an overlay itself, which most kernels do not stack.
    let beneath = state
        .ancestors()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/"));
    match try_overlay(beneath) {
        Ok(()) => Check::pass(NAME, format!("can be mounted on {}", beneath.display())),
        Err(error) => Check::fail(
            NAME,
            format!("cannot be mounted on {}: {error}", beneath.display()),
            "set HARNESS_STATE to a folder on ext4, xfs or btrfs",
        ),
    }
}

/// Mounts an overlay in a mount namespace of its own, on folders that are removed again.
fn try_overlay(beneath: &Path) -> Result<(), host::HostError> {
    let folder = beneath.join(format!(".harness-doctor-{}", std::process::id()));
    let script = "set -e; trap 'rm -rf \"$1\"' EXIT; mkdir -p \"$1\"/l \"$1\"/u \"$1\"/w \"$1\"/m; \
        mount -t overlay overlay -o lowerdir=\"$1\"/l,upperdir=\"$1\"/u,workdir=\"$1\"/w \"$1\"/m; umount \"$1\"/m";
    let path = folder.to_string_lossy();
    host::run(
        "unshare",
        &[
            "--mount",
            "--",
            "/bin/sh",
            "-c",
            script,
            "sh",
            path.as_ref(),
        ],
        QUICK,
    )
    .map(drop)
}

fn cgroup() -> Check {
    const NAME: &str = "cgroups";
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let has = |kind: &str| {
        mounts
            .lines()
            .any(|line| line.split(' ').nth(2) == Some(kind))
    };
    match (has("cgroup"), has("cgroup2")) {
        (false, true) => Check::pass(NAME, "version 2"),
        (true, both) => {
            let mixed = if both {
                " with version 2 beside it"
            } else {
                ""
            };
            Check::pass(
                NAME,
                format!(
                    "version 1{mixed}; systemd 256 and newer does not boot in a node, sshd does"
                ),
            )
        }
        (false, false) => Check::fail(
            NAME,
            "none are mounted",
            "mount -t cgroup2 none /sys/fs/cgroup",
        ),
    }
}

/// The agent tries it here as it does on a node, on a child of its own; it is run from memory.
fn process_clock() -> Check {
    const NAME: &str = "process clocks";
    let tried = agent_in_memory().and_then(|agent| {
        let script = format!("exec /proc/self/fd/{} clock-check", agent.as_raw_fd());
        host::run("/bin/sh", &["-c", &script], QUICK).map_err(|error| error.to_string())
    });
    match tried {
        Ok(_) => Check::pass(
            NAME,
            "the fault clock in containers: one process's is shifted",
        ),
        Err(why) => Check::warn(
            NAME,
            why,
            "the fault clock is offered only where a node owns its clock; take x86-64, and a kernel whose root may write the memory of processes (proc_mem.force_override=ptrace)",
        ),
    }
}

/// Handed on to whoever is started: it has no other name.
fn agent_in_memory() -> Result<OwnedFd, String> {
    let agent = memfd_create("harness-agent", MemfdFlags::empty())
        .map_err(|error| format!("no file in memory: {error}"))?;
    let mut file = File::from(agent);
    file.write_all(agent_image())
        .map_err(|error| format!("no file in memory: {error}"))?;
    Ok(file.into())
}

fn uprobe() -> Check {
    const NAME: &str = "uprobes";
    match fs::read_to_string("/sys/bus/event_source/devices/uprobe/type") {
        Ok(kind) => Check::pass(
            NAME,
            format!("performance monitoring unit of type {}", kind.trim()),
        ),
        Err(_) => Check::warn(
            NAME,
            "the kernel offers none, so crash points at a function's entry are not possible",
            "take a kernel with CONFIG_UPROBE_EVENTS, and mount /sys",
        ),
    }
}

fn bpf() -> Check {
    const NAME: &str = "bpf";
    let lockdown = fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        let mend = "boot without lockdown=confidentiality";
        return Check::warn(
            NAME,
            "the kernel is locked down, so crash points are not possible",
            mend,
        );
    }
    if Path::new("/proc/sys/kernel/unprivileged_bpf_disabled").exists() {
        return Check::pass(NAME, "the kernel has it");
    }
    Check::warn(
        NAME,
        "the kernel has none, so crash points are not possible",
        "take a kernel with CONFIG_BPF_SYSCALL",
    )
}

fn core_pattern() -> Check {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    judge_core_pattern(pattern.trim())
}

/// The pattern is the machine's, and we never set it: only say where cores go.
fn judge_core_pattern(pattern: &str) -> Check {
    const NAME: &str = "core dumps";
    const MEND: &str = "if you may change it: sysctl kernel.core_pattern=core (harness never does)";
    match pattern.chars().next() {
        None => Check::warn(
            NAME,
            "core_pattern is empty: cores are lost unless core_uses_pid is set",
            MEND,
        ),
        Some('|') => {
            let program = pattern[1..].split(' ').next().unwrap_or_default();
            let detail = format!(
                "cores go to {program} on this machine, not to the node's files; a run's verdict on cores will be unknown"
            );
            Check::warn(NAME, detail, MEND)
        }
        Some('/') if pattern.starts_with("/dev/null") => {
            Check::warn(NAME, "cores are thrown away", MEND)
        }
        Some('/') => Check::pass(NAME, format!("{pattern} in the node's own file system")),
        Some(_) => Check::pass(NAME, format!("{pattern} in the process' working folder")),
    }
}

fn core_limit() -> Check {
    const NAME: &str = "core limit";
    match rustix::process::getrlimit(rustix::process::Resource::Core).maximum {
        None => Check::pass(NAME, "unlimited"),
        Some(0) => Check::warn(
            NAME,
            "cores are forbidden to us and so to nodes",
            "ulimit -Hc unlimited, in whatever starts harness",
        ),
        Some(limit) => Check::pass(NAME, format!("{} MiB", limit >> 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_patterns_that_lose_cores_warn() {
        let table = [
            ("core", Status::Pass),
            ("core.%p", Status::Pass),
            ("/var/crash/core.%p", Status::Pass),
            ("", Status::Warn),
            ("/dev/null", Status::Warn),
            ("|/usr/lib/systemd/systemd-coredump %P %u", Status::Warn),
        ];
        for (pattern, status) in table {
            assert_eq!(judge_core_pattern(pattern).status, status, "{pattern}");
        }
    }

    #[test]
    fn modules_are_found_by_file_name() {
        let line = "kernel/net/sched/sch_netem.ko.xz: kernel/lib/x.ko.xz";
        assert!(names_module(line, "sch_netem"));
        assert!(!names_module(line, "netem"));
        assert!(!names_module(line, "x"));
        assert!(names_module(
            "kernel/net/netfilter/nf-tables.ko:",
            "nf_tables"
        ));
    }
}
