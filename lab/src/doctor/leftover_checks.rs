//! What earlier runs left, and what is up now.

use std::fs;

use super::{Check, Subject};
use crate::{
    host::{self, QUICK},
    provider::{LabPhase, links, lxc::container_names, routes, stray_blackholes},
    state::State,
};

pub(super) fn all(subject: &Subject<'_>) -> Vec<Check> {
    let state = subject.state;
    vec![
        lab(state),
        ledger(state),
        containers(state),
        network(state),
        table(),
        mounts(state),
        builds(state),
    ]
}

const DOWN: &str = "harness lab down";

fn lab(state: &State) -> Check {
    const NAME: &str = "lab";
    let holder = state.holder().ok().flatten();
    let busy = holder
        .map(|holder| format!(", in use by {holder}"))
        .unwrap_or_default();
    match state.read_lab() {
        Ok(None) => Check::pass(NAME, format!("none is up{busy}")),
        Ok(Some(lab)) if lab.phase == LabPhase::Up || !busy.is_empty() => {
            Check::pass(NAME, format!("{}{busy}", lab.spec.summary()))
        }
        Ok(Some(lab)) => {
            let how = if lab.phase == LabPhase::ComingUp {
                "up"
            } else {
                "down"
            };
            Check::warn(
                NAME,
                format!("{} came {how} only in part", lab.spec.summary()),
                DOWN,
            )
        }
        Err(error) => Check::warn(NAME, error.to_string(), DOWN),
    }
}

fn ledger(state: &State) -> Check {
    const NAME: &str = "faults";
    match state.active_ledger() {
        Ok(None) => Check::pass(NAME, "none in force"),
        Ok(Some(ledger)) if state.holder().is_ok_and(|holder| holder.is_some()) => Check::pass(
            NAME,
            format!("a run is under way, with {}", ledger.display()),
        ),
        Ok(Some(ledger)) => {
            let detail = format!(
                "{} may have faults in force, and nobody works on it",
                ledger.display()
            );
            Check::warn(NAME, detail, "harness lab heal")
        }
        Err(error) => Check::warn(NAME, error.to_string(), "harness lab down"),
    }
}

fn containers(state: &State) -> Check {
    const NAME: &str = "left containers";
    let names = container_names(state);
    if names.is_empty() || matches!(state.read_lab(), Ok(Some(_))) {
        return Check::pass(NAME, "none");
    }
    Check::warn(
        NAME,
        format!("{} belong to no recorded lab", names.join(", ")),
        DOWN,
    )
}

fn network(state: &State) -> Check {
    const NAME: &str = "left bridges and routes";
    let (Ok(links), Ok(routes)) = (links(), routes()) else {
        return Check::warn(
            NAME,
            "cannot be looked at",
            "lab/install, or apt-get install iproute2",
        );
    };
    let recorded = state.read_lab().ok().flatten().map(|lab| lab.id);
    let mut left: Vec<String> = Vec::new();
    for link in &links {
        let Some((folder, lab)) = link.owner() else {
            continue;
        };
        if recorded.as_deref() != Some(lab) {
            left.push(format!("{} of lab {lab} in {folder}", link.ifname));
        }
    }
    let stray = stray_blackholes(&routes);
    left.extend(stray.iter().map(|subnet| format!("blackhole {subnet}")));
    if left.is_empty() {
        return Check::pass(NAME, "none");
    }
    let mend = "HARNESS_STATE=FOLDER harness lab down, with the folder that is named; a blackhole goes by ip route delete blackhole SUBNET proto 183";
    Check::warn(NAME, left.join(", "), mend)
}

/// Our table belongs on nodes; here it would cut the controller.
fn table() -> Check {
    const NAME: &str = "left partitions";
    if !rustix::process::geteuid().is_root() {
        return Check::pass(NAME, "only root can look");
    }
    match host::run_any("nft", &["list", "table", "inet", "harness"], QUICK) {
        Ok(ran) if ran.code == Some(0) => Check::warn(
            NAME,
            "this machine itself has a table inet harness",
            "nft delete table inet harness",
        ),
        _ => Check::pass(NAME, "none on this machine"),
    }
}

fn mounts(state: &State) -> Check {
    const NAME: &str = "left mounts";
    let prefix = format!("{}/", state.root().display());
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = text.lines().filter_map(|line| line.split(' ').nth(1));
    // The daemon that `lab/lxd` starts mounts what it needs, and takes it away when it ends.
    let of_lxd = format!("{prefix}lxd/");
    let left: Vec<&str> = points
        .filter(|point| point.starts_with(&prefix) && !point.starts_with(&of_lxd))
        .collect();
    if left.is_empty() {
        return Check::pass(NAME, "none");
    }
    Check::warn(NAME, left.join(", "), format!("umount {}", left.join(" ")))
}

fn builds(state: &State) -> Check {
    const NAME: &str = "left builds";
    let entries = fs::read_dir(state.images()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let left: Vec<String> = names
        .filter(|name| name.starts_with(".building-") || name.starts_with(".removing-"))
        .collect();
    if left.is_empty() {
        return Check::pass(NAME, "none");
    }
    let detail = format!("{} under way, or killed", left.join(", "));
    Check::warn(
        NAME,
        detail,
        "if none is under way: the next build of the same image removes it",
    )
}
