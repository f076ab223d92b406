//! The bridge between the nodes, and the blackhole beneath it.
//!
//! Laws:
//! - a bridge is ours if its alias says so (`harness STATE-FOLDER LAB`), a route if its protocol
//!   number is [`PROTOCOL`]; nothing else is changed or removed;
//! - the blackhole is there before the bridge and goes after it: when the bridge is down, traffic for
//!   nodes dies here instead of following the default route out of the machine.

use std::path::Path;

use serde::Deserialize;

use super::{LabError, LxcSpec};
use crate::{
    host::{self, HostError, QUICK},
    subnet::{self, Route, Subnet},
};

/// The route protocol number that marks our routes; not in /etc/iproute2/rt_protos.
const PROTOCOL: &str = "183";
/// Metric of the blackhole: anything else wins against it.
const BLACKHOLE_METRIC: &str = "1000000";
/// First word of the alias of our bridges.
const ALIAS: &str = "harness";

/// One interface of `ip -j -d link show`; only what is needed of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Link {
    /// Its name.
    pub ifname: String,
    /// What somebody noted about it.
    #[serde(default)]
    pub ifalias: Option<String>,
    /// The bridge that it is attached to.
    #[serde(default)]
    pub master: Option<String>,
}

impl Link {
    /// The state folder and the lab that it belongs to, if it is a bridge of ours.
    pub(crate) fn owner(&self) -> Option<(&str, &str)> {
        let mut words = self.ifalias.as_deref()?.split(' ');
        if words.next() != Some(ALIAS) {
            return None;
        }
        Some((words.next()?, words.next()?))
    }
}

/// All interfaces.
pub(crate) fn links() -> Result<Vec<Link>, HostError> {
    let text = host::run("ip", &["-j", "link", "show"], QUICK)?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

/// All IPv4 routes of all tables.
pub(crate) fn routes() -> Result<Vec<Route>, HostError> {
    let text = host::run("ip", &["-j", "-4", "route", "show", "table", "all"], QUICK)?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

fn ip(args: &[&str]) -> Result<(), HostError> {
    host::run("ip", args, QUICK).map(drop)
}

fn is_our_blackhole(route: &Route) -> bool {
    route.kind.as_deref() == Some("blackhole") && route.protocol.as_deref() == Some(PROTOCOL)
}

/// Whether the subnet is free, but for our own bridge and blackhole.
pub(crate) fn check_subnet(subnet: Subnet, bridge: &str, routes: &[Route]) -> Result<(), LabError> {
    let ours = |route: &Route| {
        route.dev.as_deref() == Some(bridge)
            || (is_our_blackhole(route) && route.dst == subnet.to_string())
    };
    match subnet::collision(subnet, routes, ours) {
        None => Ok(()),
        Some(route) => Err(LabError::Collision {
            subnet,
            route: route.dst.clone(),
            through: route
                .dev
                .as_ref()
                .map(|dev| format!(" through {dev}"))
                .unwrap_or_default(),
        }),
    }
}

/// Makes the bridge and its blackhole, as far as they are missing.
pub(super) fn up(spec: &LxcSpec, state: &Path, lab: &str) -> Result<(), LabError> {
    let bridge = spec.bridge.as_str();
    let existing = check_owner(bridge, state, lab)?;
    let routes = routes()?;
    check_subnet(spec.subnet, bridge, &routes)?;
    add_blackhole(spec.subnet, &routes)?;
    if !existing {
        ip(&[
            "link",
            "add",
            "name",
            bridge,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
        ])?;
    }
    // The alias first: from here on the bridge is known as ours.
    let alias = format!("{ALIAS} {} {lab}", state.display());
    ip(&["link", "set", "dev", bridge, "alias", &alias])?;
    let address = format!("{}/{}", spec.subnet.controller(), spec.subnet.prefix_bits());
    ip(&["addr", "replace", &address, "dev", bridge])?;
    ip(&["link", "set", "dev", bridge, "up"])?;
    Ok(())
}

/// Whether the bridge exists as ours; an error if it exists as somebody else's.
fn check_owner(bridge: &str, state: &Path, lab: &str) -> Result<bool, LabError> {
    let links = links()?;
    let Some(link) = links.iter().find(|link| link.ifname == bridge) else {
        return Ok(false);
    };
    let taken = |owner: String| LabError::BridgeTaken {
        bridge: bridge.to_owned(),
        owner,
    };
    let has_ports = links
        .iter()
        .any(|port| port.master.as_deref() == Some(bridge));
    match link.owner() {
        Some((_, its_lab)) if its_lab == lab => Ok(true),
        // Left over from a lab of this state folder that is recorded no more.
        Some((folder, _)) if Path::new(folder) == state && !has_ports => Ok(true),
        Some((folder, its_lab)) => Err(taken(format!("lab {its_lab} of {folder} has it"))),
        // No word about whose it is, no address and nothing on it: `up` was killed right there.
        None if is_bare(link, has_ports)? => Ok(true),
        None => Err(taken("it was not made by harness".into())),
    }
}

/// Whether a bridge is as it is in the moment between being made and being marked.
fn is_bare(link: &Link, has_ports: bool) -> Result<bool, HostError> {
    Ok(link.ifalias.is_none() && !has_ports && controller_subnet(&link.ifname)?.is_none())
}

/// Attaches a node's interface to the bridge again, after the bridge was made anew beneath it.
pub(super) fn attach(bridge: &str, veth: &str) -> Result<(), HostError> {
    ip(&["link", "set", "dev", veth, "master", bridge, "up"])
}

/// Removes the bridges of a state folder, and those of our routes that lead to `subnet`. Says what was removed.
pub(super) fn down(state: &Path, spec: Option<&LxcSpec>) -> Result<Vec<String>, LabError> {
    let mut removed = Vec::new();
    let links = links()?;
    for link in &links {
        let ours = link
            .owner()
            .is_some_and(|(folder, _)| Path::new(folder) == state);
        let has_ports = links
            .iter()
            .any(|port| port.master.as_deref() == Some(&link.ifname));
        let named =
            spec.is_some_and(|spec| spec.bridge == link.ifname) && is_bare(link, has_ports)?;
        if (ours && !has_ports) || named {
            let subnet = controller_subnet(&link.ifname)?;
            ip(&["link", "delete", "dev", &link.ifname])?;
            removed.push(format!("bridge {}", link.ifname));
            removed.extend(subnet.map(remove_blackhole).transpose()?.flatten());
        }
    }
    if let Some(spec) = spec {
        removed.extend(remove_blackhole(spec.subnet)?);
    }
    Ok(removed)
}

/// Makes the blackhole of a subnet, unless it is there.
pub(super) fn add_blackhole(subnet: Subnet, routes: &[Route]) -> Result<(), HostError> {
    let subnet = subnet.to_string();
    if routes
        .iter()
        .any(|route| is_our_blackhole(route) && route.dst == subnet)
    {
        return Ok(());
    }
    ip(&[
        "route",
        "add",
        "blackhole",
        &subnet,
        "metric",
        BLACKHOLE_METRIC,
        "proto",
        PROTOCOL,
    ])
}

/// Removes our blackhole of a subnet, unless another lab's bridge lies on it.
pub(super) fn remove_blackhole(subnet: Subnet) -> Result<Option<String>, LabError> {
    let subnet = subnet.to_string();
    if !stray_blackholes(&routes()?).contains(&subnet) {
        return Ok(None);
    }
    ip(&[
        "route",
        "delete",
        "blackhole",
        &subnet,
        "metric",
        BLACKHOLE_METRIC,
        "proto",
        PROTOCOL,
    ])?;
    Ok(Some(format!("blackhole route {subnet}")))
}

/// The subnet of a bridge, read from the route that its address brings.
fn controller_subnet(bridge: &str) -> Result<Option<Subnet>, HostError> {
    let on_bridge = |route: &&Route| route.dev.as_deref() == Some(bridge) && route.kind.is_none();
    Ok(routes()?
        .iter()
        .filter(on_bridge)
        .find_map(|route| route.dst.parse().ok()))
}

/// Our blackholes that no bridge lies on.
pub(crate) fn stray_blackholes(routes: &[Route]) -> Vec<String> {
    let covered = |dst: &str| {
        routes
            .iter()
            .any(|route| route.dst == dst && route.dev.is_some())
    };
    routes
        .iter()
        .filter(|route| is_our_blackhole(route) && !covered(&route.dst))
        .map(|route| route.dst.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_ours_by_its_alias() {
        let link = |alias: Option<&str>| Link {
            ifname: "harness0".into(),
            ifalias: alias.map(str::to_owned),
            master: None,
        };
        assert_eq!(link(Some("harness /s abc")).owner(), Some(("/s", "abc")));
        for other in [None, Some("harness"), Some("docker /s abc"), Some("")] {
            assert_eq!(link(other).owner(), None, "{other:?}");
        }
    }

    #[test]
    fn a_blackhole_without_a_bridge_is_stray() {
        let routes: Vec<Route> = serde_json::from_str(
            r#"[{"type":"blackhole","dst":"10.83.0.0/24","protocol":"183"},
                {"dst":"10.83.0.0/24","dev":"harness0","protocol":"kernel"},
                {"type":"blackhole","dst":"10.84.0.0/24","protocol":"183"},
                {"type":"blackhole","dst":"10.85.0.0/24","protocol":"static"}]"#,
        )
        .unwrap();
        assert_eq!(stray_blackholes(&routes), ["10.84.0.0/24"]);
    }
}
