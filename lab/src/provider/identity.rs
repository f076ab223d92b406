//! What makes a node this node: its name, its address, the files that are in it before it starts, and the files
//! by which people reach it. Shared by the providers that make nodes.
//!
//! Law: host key, authorized key and marker are in a node before it runs: there is no moment in which it runs and is not known.

use std::{
    fs,
    io::Read as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use rustix::process::{Resource, getrlimit};

use super::{NodeRecord, ProviderKind};
use crate::{
    access::{Access, Credential, Hop, KnownBy},
    keys::{self, KeyPair},
    marker::{MARKER, Marker},
    node::NodeName,
    state::{self, State, StateError},
    subnet::Subnet,
};

/// Port of a node's SSH server.
pub(super) const SSH_PORT: u16 = 22;
/// Random bytes of a machine's identity.
const MACHINE_ID_BYTES: usize = 16;

/// The addresses and names of nodes, before they exist; host keys come later.
pub(crate) fn plan_nodes(
    state: &State,
    count: usize,
    subnet: Subnet,
    jump: Option<&Hop>,
) -> Vec<NodeRecord> {
    let addresses = (0..count).map_while(|ordinal| subnet.node(ordinal));
    addresses
        .enumerate()
        .map(|(ordinal, address)| NodeRecord {
            name: NodeName::new(format!("n{}", ordinal + 1)),
            ordinal,
            address: address.into(),
            access: Access {
                host: address.to_string(),
                port: SSH_PORT,
                user: "root".to_owned(),
                credential: Credential::Key(state.keys().join(keys::PRIVATE_KEY)),
                known_by: KnownBy::HostKey(String::new()),
                sudo: false,
                jump: jump.cloned(),
            },
        })
        .collect()
}

/// What goes into a node.
#[derive(Clone, Copy)]
pub(super) struct Identity<'a> {
    /// The lab.
    pub lab: &'a str,
    /// Who makes the node.
    pub provider: ProviderKind,
    /// The node's name.
    pub node: &'a str,
    /// Our public key.
    pub authorized: &'a str,
    /// The text of its `/etc/hosts`.
    pub hosts: &'a str,
    /// Its own key pair.
    pub host_key: &'a KeyPair,
}

/// A file of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodeFile {
    /// Where, as an absolute path.
    pub path: &'static str,
    /// Its mode.
    pub mode: u32,
    /// What it holds.
    pub text: String,
}

/// The folder of the authorized key; the image has none.
pub(super) const SSH_FOLDER: (&str, u32) = ("/root/.ssh", 0o700);

impl Identity<'_> {
    /// The files that make a node this node.
    pub(super) fn files(&self) -> Result<Vec<NodeFile>, StateError> {
        let file = |path, mode, text| NodeFile { path, mode, text };
        let line = |text: &str| format!("{text}\n");
        let marker = Marker::new(self.lab, self.node, self.provider).to_line();
        let machine_id = line(&random_hex(MACHINE_ID_BYTES)?);
        Ok(vec![
            file("/etc/hostname", 0o644, line(self.node)),
            file("/etc/hosts", 0o644, self.hosts.to_owned()),
            file("/etc/machine-id", 0o444, machine_id),
            file(
                "/etc/ssh/ssh_host_ed25519_key",
                0o600,
                self.host_key.private.clone(),
            ),
            file(
                "/etc/ssh/ssh_host_ed25519_key.pub",
                0o644,
                line(&self.host_key.public),
            ),
            file("/root/.ssh/authorized_keys", 0o600, line(self.authorized)),
            file(MARKER, 0o644, marker),
        ])
    }
}

/// The `/etc/hosts` of all nodes.
pub(super) fn hosts_file(nodes: &[NodeRecord]) -> String {
    let mut text = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for node in nodes {
        text.push_str(&format!("{} {}\n", node.address, node.name));
    }
    text
}

/// Derived from the address, so that a node made anew is not shadowed by a neighbour's old entry.
pub(super) fn hardware_address(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    // 02: locally administered, unicast.
    format!("02:68:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// Our own hard limits, to be the nodes' soft ones: not every root may raise a limit.
pub(super) fn limits() -> Vec<(&'static str, String)> {
    [
        ("core", Resource::Core),
        ("nofile", Resource::Nofile),
        ("memlock", Resource::Memlock),
    ]
    .into_iter()
    .map(|(name, resource)| {
        let hard = getrlimit(resource).maximum;
        (
            name,
            hard.map_or_else(|| "unlimited".into(), |limit| limit.to_string()),
        )
    })
    .collect()
}

/// Writes `ssh_config` and `known_hosts`, so that `ssh -F` works for people.
pub(super) fn write_for_people(state: &State, nodes: &[NodeRecord]) -> Result<(), StateError> {
    state::write_atomic(
        &state.ssh_config(),
        0o644,
        ssh_config(state, nodes).as_bytes(),
    )?;
    state::write_atomic(
        &known_hosts_path(state),
        0o644,
        known_hosts(nodes).as_bytes(),
    )
}

/// Where the nodes' host keys are, for people.
pub(super) fn known_hosts_path(state: &State) -> PathBuf {
    state.keys().join("known_hosts")
}

fn known_hosts(nodes: &[NodeRecord]) -> String {
    let line = |node: &NodeRecord| match &node.access.known_by {
        KnownBy::HostKey(key) => format!("{},{} {key}\n", node.name, node.address),
        KnownBy::KnownHosts(_) => String::new(),
    };
    nodes.iter().map(line).collect()
}

fn ssh_config(state: &State, nodes: &[NodeRecord]) -> String {
    let mut text = String::from("# Written by harness lab up, for people: ssh -F THIS-FILE n1\n");
    for node in nodes {
        text.push_str(&format!(
            "Host {}\n  HostName {}\n",
            node.name, node.address
        ));
        if let Some(hop) = &node.access.jump {
            text.push_str(&format!(
                "  ProxyJump {}@{}:{}\n",
                hop.user, hop.host, hop.port
            ));
        }
    }
    // By name and by address, so that nothing here holds for a jump host.
    let ours: Vec<String> = nodes
        .iter()
        .flat_map(|node| [node.name.to_string(), node.address.to_string()])
        .collect();
    text.push_str(&format!(
        "Host {}\n  User root\n  IdentityFile {}\n  IdentitiesOnly yes\n  UserKnownHostsFile {}\n  StrictHostKeyChecking yes\n",
        ours.join(" "),
        state.keys().join(keys::PRIVATE_KEY).display(),
        known_hosts_path(state).display()
    ));
    text
}

/// That many random bytes, in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String, StateError> {
    let source = Path::new("/dev/urandom");
    let mut buffer = vec![0; bytes];
    fs::File::open(source)
        .and_then(|mut file| file.read_exact(&mut buffer))
        .map_err(StateError::io("cannot read", source))?;
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (tempfile::TempDir, State) {
        let folder = tempfile::tempdir().unwrap();
        let state = State::at(folder.path()).unwrap();
        (folder, state)
    }

    #[test]
    fn nodes_are_planned_by_ordinal() {
        let (_folder, state) = state();
        let nodes = plan_nodes(&state, 5, Subnet::default(), None);
        let seen: Vec<String> = nodes
            .iter()
            .map(|n| format!("{} {} {}", n.ordinal, n.name, n.address))
            .collect();
        assert_eq!(
            seen,
            [
                "0 n1 10.83.0.11",
                "1 n2 10.83.0.12",
                "2 n3 10.83.0.13",
                "3 n4 10.83.0.14",
                "4 n5 10.83.0.15"
            ]
        );
        assert!(hosts_file(&nodes).ends_with("10.83.0.15 n5\n"));
    }

    #[test]
    fn the_configuration_for_people_hops_where_the_harness_hops() {
        let (_folder, state) = state();
        let hop = Hop {
            host: "192.0.2.1".into(),
            port: 2222,
            user: "ops".into(),
            credential: Credential::Agent,
            known_by: KnownBy::HostKey("ssh-ed25519 AAAA".into()),
        };
        let direct = ssh_config(&state, &plan_nodes(&state, 1, Subnet::default(), None));
        assert!(!direct.contains("ProxyJump"), "{direct}");
        assert!(
            direct.contains("Host n1 10.83.0.11\n  User root"),
            "{direct}"
        );
        let nodes = plan_nodes(&state, 1, Subnet::default(), Some(&hop));
        let text = ssh_config(&state, &nodes);
        assert!(text.contains("ProxyJump ops@192.0.2.1:2222\n"), "{text}");
    }

    #[test]
    fn a_private_key_is_for_its_owner_and_the_marker_names_the_node() {
        let host_key = KeyPair {
            private: "PRIVATE".into(),
            public: "ssh-ed25519 AAAA".into(),
        };
        let identity = Identity {
            lab: "b8f0a4c2d1e39677",
            provider: ProviderKind::Lxd,
            node: "n2",
            authorized: "ssh-ed25519 BBBB",
            hosts: "127.0.0.1 localhost\n",
            host_key: &host_key,
        };
        for file in identity.files().unwrap() {
            let secret = file.text.contains("PRIVATE");
            assert_eq!(secret, file.path.ends_with("ed25519_key"), "{file:?}");
            assert!(!secret || file.mode == 0o600, "{file:?}");
            assert!(file.text.ends_with('\n') || secret, "{file:?}");
            if file.path == MARKER {
                assert!(
                    file.text.contains(r#""node":"n2","provider":"lxd""#),
                    "{file:?}"
                );
            }
        }
    }
}
