//! The text of a container's configuration. Pure.
//!
//! The container is privileged and generous: LXD must run inside it, faults need the kernel, and it
//! holds nothing but what we test. Two capabilities are kept from it, because the
//! controller shares them: setting the clock and loading modules.
//!
//! Source: lxc.container.conf(5).

use std::{fmt::Write as _, net::Ipv4Addr, path::Path};

use super::identity::hardware_address;
use crate::subnet::Subnet;

/// What a container's configuration depends on.
#[derive(Clone, Debug)]
pub(super) struct Config<'a> {
    /// Host name inside.
    pub hostname: &'a str,
    /// The image.
    pub rootfs: &'a Path,
    /// Upper layer of its overlay.
    pub delta: &'a Path,
    /// What runs as process 1.
    pub init: &'a str,
    /// The bridge that it is attached to.
    pub bridge: &'a str,
    /// Name of its interface on the controller.
    pub veth: &'a str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its subnet.
    pub subnet: Subnet,
    /// Whether the controller's kernel has AppArmor.
    pub apparmor: bool,
    /// Hard limits that we have ourselves, to be given as soft ones: name and value.
    pub limits: &'a [(&'static str, String)],
}

impl Config<'_> {
    /// The text.
    pub(super) fn text(&self) -> String {
        let mut text =
            String::from("# Written by harness; it is replaced when the lab comes up.\n");
        let mut set = |key: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "lxc.{key} = {value}");
        };
        set("uts.name", self.hostname);
        set(
            "rootfs.path",
            &format!("overlay:{}:{}", self.rootfs.display(), self.delta.display()),
        );
        set("init.cmd", self.init);
        // `force`, because with CAP_SYS_ADMIN LXC would leave the mounting to an init that can.
        set("mount.auto", "proc:rw sys:rw cgroup:rw:force");
        set(
            "mount.entry",
            "tmpfs dev/shm tmpfs nosuid,nodev,create=dir 0 0",
        );
        set("tty.max", "0");
        set("pty.max", "1024");
        set("cap.drop", "sys_time sys_module");
        if self.apparmor {
            set("apparmor.profile", "unconfined");
        }
        for (limit, value) in self.limits {
            set(&format!("prlimit.{limit}"), value);
        }
        set("net.0.type", "veth");
        set("net.0.link", self.bridge);
        set("net.0.flags", "up");
        set("net.0.name", "eth0");
        set("net.0.veth.pair", self.veth);
        set("net.0.hwaddr", &hardware_address(self.address));
        // No gateway: a node reaches the other nodes and the controller, and nothing else.
        set(
            "net.0.ipv4.address",
            &format!("{}/{}", self.address, self.subnet.prefix_bits()),
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_as_in_the_golden_text() {
        let config = Config {
            hostname: "n1",
            rootfs: Path::new("/s/images/bookworm-0/rootfs"),
            delta: Path::new("/s/nodes/harness0-n1/delta"),
            init: "/usr/local/lib/harness/node-init",
            bridge: "harness0",
            veth: "harness0-n1",
            address: Ipv4Addr::new(10, 83, 0, 11),
            subnet: Subnet::default(),
            apparmor: true,
            limits: &[("core", "unlimited".into())],
        };
        let golden = "\
# Written by harness; it is replaced when the lab comes up.
lxc.uts.name = n1
lxc.rootfs.path = overlay:/s/images/bookworm-0/rootfs:/s/nodes/harness0-n1/delta
lxc.init.cmd = /usr/local/lib/harness/node-init
lxc.mount.auto = proc:rw sys:rw cgroup:rw:force
lxc.mount.entry = tmpfs dev/shm tmpfs nosuid,nodev,create=dir 0 0
lxc.tty.max = 0
lxc.pty.max = 1024
lxc.cap.drop = sys_time sys_module
lxc.apparmor.profile = unconfined
lxc.prlimit.core = unlimited
lxc.net.0.type = veth
lxc.net.0.link = harness0
lxc.net.0.flags = up
lxc.net.0.name = eth0
lxc.net.0.veth.pair = harness0-n1
lxc.net.0.hwaddr = 02:68:0a:53:00:0b
lxc.net.0.ipv4.address = 10.83.0.11/24
";
        assert_eq!(config.text(), golden);
        let without = Config {
            apparmor: false,
            limits: &[],
            ..config
        };
        assert!(!without.text().contains("apparmor") && !without.text().contains("prlimit"));
    }
}
