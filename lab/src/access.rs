//! How to reach a node over SSH, in a form that can be stored and read again.
//!
//! The transport's own [`SshTarget`] is what this becomes; it is kept apart so that the stored form
//! does not change when the transport does.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ssh::{Auth, HostKeyPolicy, JumpHost, SshTarget};

/// How we prove who we are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credential {
    /// A private key file.
    Key(PathBuf),
    /// Any key of the running ssh-agent.
    Agent,
}

/// How we know that a host is the one that is meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnownBy {
    /// Its public host key: `ssh-ed25519 AAAA…`.
    HostKey(String),
    /// An OpenSSH known_hosts file that has it.
    KnownHosts(PathBuf),
}

/// A host to hop over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hop {
    /// Host name or IP address.
    pub host: String,
    /// TCP port of its sshd.
    pub port: u16,
    /// The user there.
    pub user: String,
    /// How we prove who we are there.
    pub credential: Credential,
    /// How we know that host.
    pub known_by: KnownBy,
}

/// How to reach a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Host name or IP address, as the jump host sees it if there is one.
    pub host: String,
    /// TCP port of its sshd.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// How we prove who we are.
    pub credential: Credential,
    /// How we know the node.
    pub known_by: KnownBy,
    /// Whether the user becomes root by `sudo -n`.
    pub sudo: bool,
    /// A host to hop over.
    pub jump: Option<Hop>,
}

impl Access {
    /// What the transport wants to know.
    #[must_use]
    pub fn target(&self, name: &str) -> SshTarget {
        SshTarget {
            name: name.to_owned(),
            host: self.host.clone(),
            port: self.port,
            user: self.user.clone(),
            auth: auth(&self.credential),
            host_key: policy(&self.known_by),
            sudo: self.sudo,
            jump: self.jump.as_ref().map(|hop| JumpHost {
                host: hop.host.clone(),
                port: hop.port,
                user: hop.user.clone(),
                auth: auth(&hop.credential),
                host_key: policy(&hop.known_by),
            }),
        }
    }
}

fn auth(credential: &Credential) -> Auth {
    match credential {
        Credential::Key(path) => Auth::KeyFile(path.clone()),
        Credential::Agent => Auth::Agent,
    }
}

fn policy(known_by: &KnownBy) -> HostKeyPolicy {
    match known_by {
        KnownBy::HostKey(key) => HostKeyPolicy::Pinned(vec![key.clone()]),
        KnownBy::KnownHosts(path) => HostKeyPolicy::KnownHosts(path.clone()),
    }
}
