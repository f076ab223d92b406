//! Where a node is, who we are there, and how we know that it is the right one.

use std::path::PathBuf;

/// The port of a node that names none.
pub const DEFAULT_SSH_PORT: u16 = 22;

/// How we prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A private key without a passphrase: ed25519, rsa or ecdsa, in OpenSSH's or PEM format.
    KeyFile(PathBuf),
    /// Any key of the running ssh-agent (`SSH_AUTH_SOCK`).
    Agent,
}

/// How we know that a host is the one that is meant. There is no policy that does not look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyPolicy {
    /// One of these keys, each as in a `.pub` file: `ssh-ed25519 AAAA… comment`.
    Pinned(Vec<String>),
    /// What an OpenSSH known_hosts file says; a host that it lacks is refused.
    KnownHosts(PathBuf),
    /// The same, but a host that the file lacks is added to it. A *changed* key is refused.
    AcceptNew(PathBuf),
}

/// A host to hop over: we log in there, and it connects us on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JumpHost {
    /// Host name or IP address.
    pub host: String,
    /// TCP port of its sshd.
    pub port: u16,
    /// The user there.
    pub user: String,
    /// How we prove who we are there.
    pub auth: Auth,
    /// How we know that host.
    pub host_key: HostKeyPolicy,
}

/// How to reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshTarget {
    /// The node's name in the lab, for messages.
    pub name: String,
    /// Host name or IP address; as the jump host sees it, if there is one.
    pub host: String,
    /// TCP port of its sshd.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// How we prove who we are.
    pub auth: Auth,
    /// How we know the node.
    pub host_key: HostKeyPolicy,
    /// Whether the agent is started through `sudo -n`.
    pub sudo: bool,
    /// A host to hop over.
    pub jump: Option<JumpHost>,
}

impl SshTarget {
    /// `host:port`, for messages.
    #[must_use]
    pub fn address(&self) -> String {
        display_address(&self.host, self.port)
    }
}

/// `host:port`, with brackets where the host is an IPv6 address.
#[must_use]
pub fn display_address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
