//! What the server is told about a network, a profile and an instance. Pure.
//!
//! A container is as privileged and generous as one of provider `lxc`, for the same reasons: LXD must run inside it, faults
//! need the kernel, and it holds nothing but what we test. Two capabilities are kept from it: setting the clock and loading modules.
//!
//! Source: LXD's documentation, "Instance options" and "Bridge network"; lxc.container.conf(5); cloud-init's "Module reference".

use std::{collections::BTreeMap, fmt::Write as _, net::Ipv4Addr};

use serde_json::{Value, json};

use super::{LxdSpec, spec::Instance};
use crate::{
    image,
    provider::identity::{NodeFile, hardware_address},
};

/// Says whose an instance, a profile or a network is: the lab's identity.
pub(super) const LAB_KEY: &str = "user.harness-lab";
/// An instance's host key.
pub(super) const HOST_KEY_KEY: &str = "user.harness-host-key";
/// Set last: without it an instance is made again.
pub(super) const PREPARED_KEY: &str = "user.harness-prepared";

/// How an instance's limits begin.
pub(super) const LIMIT_KEYS: &str = "limits.kernel.";

/// Our bridge: nothing but the nodes and the server is on it, and nothing leaves it.
pub(super) fn network(spec: &LxdSpec, lab: &str) -> BTreeMap<String, String> {
    let address = format!("{}/{}", spec.subnet.controller(), spec.subnet.prefix_bits());
    let mut config: BTreeMap<String, String> = [
        ("ipv4.address", address.as_str()),
        ("ipv4.nat", "false"),
        ("ipv4.dhcp", "false"),
        ("ipv4.routing", "false"),
        // Its rules against routing also refuse what nodes send each other where the kernel filters bridged traffic.
        ("ipv4.firewall", "false"),
        ("ipv6.address", "none"),
        ("dns.mode", "none"),
        // Without this line its name server would ask the machine's for whatever a node asks.
        ("raw.dnsmasq", "port=0"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    config.extend(spec.network_config.clone());
    config.insert(LAB_KEY.to_owned(), lab.to_owned());
    config
}

/// The profile of all nodes. `managed` says whether the server manages their network.
pub(super) fn profile(
    spec: &LxdSpec,
    lab: &str,
    limits: &[(&'static str, String)],
    managed: bool,
) -> Value {
    let mut config = BTreeMap::from([("boot.autostart".to_owned(), "false".to_owned())]);
    if spec.instance == Instance::Container {
        for (key, value) in [
            ("security.privileged", "true"),
            ("security.nesting", "true"),
            ("security.syscalls.deny_default", "false"),
            // A node has no business with the server that made it.
            ("security.devlxd", "false"),
        ] {
            config.insert(key.to_owned(), value.to_owned());
        }
        for (limit, value) in limits {
            config.insert(format!("{LIMIT_KEYS}{limit}"), value.clone());
        }
    }
    config.extend(spec.config.clone());
    config.insert(LAB_KEY.to_owned(), lab.to_owned());
    let network = spec.network_of_nodes();
    let nic = if managed {
        json!({ "type": "nic", "name": "eth0", "network": network })
    } else {
        json!({ "type": "nic", "name": "eth0", "nictype": "bridged", "parent": network })
    };
    json!({
        "name": spec.network,
        "description": format!("nodes of lab {lab}, made by harness"),
        "config": config,
        "devices": {
            "eth0": nic,
            "root": { "type": "disk", "path": "/", "pool": spec.pool },
        },
    })
}

/// What is told about one node.
pub(super) struct NodeConfig<'a> {
    /// The lab.
    pub spec: &'a LxdSpec,
    /// Its identity.
    pub lab: &'a str,
    /// The node's name.
    pub node: &'a str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its public host key.
    pub host_key: &'a str,
    /// The files that make it this node.
    pub files: &'a [NodeFile],
}

impl NodeConfig<'_> {
    /// The instance. A container gets its files before it starts; a virtual machine finds them by cloud-init.
    pub(super) fn instance(&self, fingerprint: Option<&str>) -> Value {
        let mut config = BTreeMap::from([
            (LAB_KEY, self.lab.to_owned()),
            (HOST_KEY_KEY, self.host_key.to_owned()),
            ("volatile.eth0.hwaddr", hardware_address(self.address)),
        ]);
        let source = match (self.spec.instance, fingerprint) {
            (Instance::Container, Some(fingerprint)) => {
                config.insert("raw.lxc", self.raw_lxc());
                json!({ "type": "image", "fingerprint": fingerprint })
            }
            _ => {
                config.insert("cloud-init.network-config", self.network_config());
                config.insert("cloud-init.user-data", self.user_data());
                config.insert(PREPARED_KEY, "true".to_owned());
                json!({ "type": "image", "alias": self.spec.server_image })
            }
        };
        json!({
            "name": self.spec.instance_name(self.node),
            "type": self.spec.instance.name(),
            "profiles": [self.spec.network],
            "config": config,
            "source": source,
        })
    }

    /// What LXD leaves to LXC. It comes after LXD's own lines, so an empty value takes back what those say.
    fn raw_lxc(&self) -> String {
        let mut text = String::new();
        for (key, value) in [
            ("init.cmd", image::INIT),
            ("uts.name", self.node),
            ("apparmor.profile", "unconfined"),
            ("mount.auto", "proc:rw sys:rw cgroup:rw:force"),
            (
                "mount.entry",
                "tmpfs dev/shm tmpfs nosuid,nodev,create=dir 0 0",
            ),
            ("cap.drop", ""),
            ("cap.drop", "sys_time sys_module"),
            ("cgroup.devices.allow", "a"),
            ("cgroup2.devices.allow", "a"),
            // No gateway: a node reaches the other nodes and the server, and nothing else.
            ("net.0.ipv4.address", &self.cidr()),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "lxc.{key} = {value}");
        }
        text
    }

    fn cidr(&self) -> String {
        format!("{}/{}", self.address, self.spec.subnet.prefix_bits())
    }

    /// cloud-init's network, as JSON, which is YAML.
    fn network_config(&self) -> String {
        json!({
            "version": 2,
            "ethernets": {
                "eth0": {
                    "match": { "macaddress": hardware_address(self.address) },
                    "set-name": "eth0",
                    "dhcp4": false,
                    "addresses": [self.cidr()],
                },
            },
        })
        .to_string()
    }

    /// cloud-init's configuration, as JSON, which is YAML.
    fn user_data(&self) -> String {
        let files: Vec<Value> = self
            .files
            .iter()
            .map(|file| {
                json!({
                    "path": file.path,
                    "permissions": format!("{:04o}", file.mode),
                    "owner": "root:root",
                    "content": file.text,
                })
            })
            .collect();
        let config = json!({
            "hostname": self.node,
            "preserve_hostname": false,
            "manage_etc_hosts": false,
            "disable_root": false,
            "ssh_deletekeys": false,
            "ssh_genkeytypes": [],
            "write_files": files,
        });
        format!("#cloud-config\n{config}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::lxd::{DEFAULT_SUBNET, Remote};

    fn instance(spec: &LxdSpec, fingerprint: Option<&str>) -> Value {
        let files = [NodeFile {
            path: "/etc/harness-node",
            mode: 0o644,
            text: "marker\n".into(),
        }];
        let config = NodeConfig {
            spec,
            lab: "b8f0a4c2d1e39677",
            node: "n1",
            address: Ipv4Addr::new(10, 85, 0, 11),
            host_key: "ssh-ed25519 AAAA",
            files: &files,
        };
        config.instance(fingerprint)
    }

    fn spec() -> LxdSpec {
        LxdSpec::new(Remote::Unix("/s".into()), DEFAULT_SUBNET.parse().unwrap())
    }

    #[test]
    fn a_container_is_as_in_the_golden_text_and_not_prepared_yet() {
        let instance = instance(&spec(), Some("0c3a"));
        let golden = "\
lxc.init.cmd = /usr/local/lib/harness/node-init
lxc.uts.name = n1
lxc.apparmor.profile = unconfined
lxc.mount.auto = proc:rw sys:rw cgroup:rw:force
lxc.mount.entry = tmpfs dev/shm tmpfs nosuid,nodev,create=dir 0 0
lxc.cap.drop = 
lxc.cap.drop = sys_time sys_module
lxc.cgroup.devices.allow = a
lxc.cgroup2.devices.allow = a
lxc.net.0.ipv4.address = 10.85.0.11/24
";
        assert_eq!(instance["config"]["raw.lxc"], golden);
        assert_eq!(instance["config"][LAB_KEY], "b8f0a4c2d1e39677");
        assert_eq!(instance["name"], "harnesslxd-n1");
        assert!(instance["config"].get(PREPARED_KEY).is_none());
    }

    #[test]
    fn a_virtual_machine_finds_its_files_by_cloud_init() {
        let mut spec = spec();
        spec.instance = Instance::VirtualMachine;
        spec.server_image = Some("debian/12/cloud".into());
        let instance = instance(&spec, None);
        assert!(instance["config"].get("raw.lxc").is_none());
        assert_eq!(instance["config"][PREPARED_KEY], "true");
        assert_eq!(instance["source"]["alias"], "debian/12/cloud");
        let text = instance["config"]["cloud-init.user-data"].as_str().unwrap();
        let yaml: Value =
            serde_yaml::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap();
        assert_eq!(yaml["hostname"], "n1");
        assert_eq!(yaml["write_files"][0]["path"], "/etc/harness-node");
        assert_eq!(yaml["write_files"][0]["permissions"], "0644");
        let network = instance["config"]["cloud-init.network-config"]
            .as_str()
            .unwrap();
        assert!(
            network.contains(r#""addresses":["10.85.0.11/24"]"#),
            "{network}"
        );
        // What a container needs to be privileged a virtual machine is refused for.
        let profile = profile(&spec, "b8f0a4c2d1e39677", &[("core", "1".into())], true);
        let keys: Vec<&String> = profile["config"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["boot.autostart", LAB_KEY]);
    }

    #[test]
    fn what_is_asked_for_wins_but_not_over_whose_it_is() {
        let mut spec = spec();
        spec.network_config
            .insert("bridge.mtu".into(), "1400".into());
        spec.config
            .insert("security.nesting".into(), "false".into());
        let network = network(&spec, "b8f0a4c2d1e39677");
        assert_eq!(network["bridge.mtu"], "1400");
        assert_eq!(network["ipv4.nat"], "false");
        let profile = profile(&spec, "b8f0a4c2d1e39677", &[], false);
        assert_eq!(profile["config"]["security.nesting"], "false");
        assert_eq!(profile["config"]["security.privileged"], "true");
        assert_eq!(profile["devices"]["eth0"]["parent"], "harnesslxd");
        for marked in [
            &network[LAB_KEY],
            profile["config"][LAB_KEY].as_str().unwrap(),
        ] {
            assert_eq!(marked, "b8f0a4c2d1e39677");
        }
    }
}
