//! `lab.yaml`: which lab is wanted.
//!
//! ```yaml
//! provider: ssh                 # machines that exist
//! defaults:
//!   user: ops
//!   key: /home/me/.ssh/id_ed25519
//!   sudo: true
//!   known_hosts: /home/me/.ssh/known_hosts
//! nodes:
//!   - name: n1
//!     address: 192.0.2.11       # where the other nodes reach it
//!     host: node1.example.org   # where we reach it, if that differs
//!   - { name: n2, address: 192.0.2.12, port: 2222, user: root, sudo: false }
//!   - { name: n3, address: 192.0.2.13, jump: { host: 192.0.2.1, user: ops } }
//! ```
//!
//! or `provider: lxc` with `nodes: 5`, `suite`, `with`, `packages`, `bridge` and `subnet`, each with a default;
//! or `provider: lxd`, which its own module shows.
//!
//! Laws: a field that is not known is an error, not a surprise; an error names the file, the line, the
//! field and the mend; a relative path is relative to the inventory; there is always a way to know a host.

mod lxd;

use std::{
    collections::BTreeSet,
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;

use crate::{
    access::{Access, Credential, Hop, KnownBy},
    image::{ImageSystem, Recipe, RecipeError, Suite},
    node::NodeName,
    provider::{DEFAULT_BRIDGE, DEFAULT_NODES, LabSpec, LxcSpec, MAX_NODES, NodeRecord, SshSpec},
    ssh::DEFAULT_SSH_PORT,
    subnet::{Subnet, SubnetError},
};

/// Longest inventory that is read, in bytes.
pub const INVENTORY_LIMIT_BYTES: u64 = 1024 * 1024;
/// Longest name of a node, in bytes.
pub const MAX_NAME_BYTES: usize = 32;

/// What is wrong with an inventory. Shown as `lab.yaml:7: …`.
#[derive(Debug, Error)]
pub struct InventoryError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// What is wrong, with the field and the mend.
    pub message: String,
}

impl fmt::Display for InventoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", self.message)
    }
}

#[derive(Deserialize)]
struct Head {
    provider: Option<Provider>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Provider {
    Lxc,
    Lxd,
    Ssh,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLxc {
    #[serde(rename = "provider")]
    _provider: Provider,
    nodes: Option<usize>,
    suite: Option<Suite>,
    with: Option<BTreeSet<ImageSystem>>,
    #[serde(default)]
    packages: BTreeSet<String>,
    bridge: Option<String>,
    subnet: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSsh {
    #[serde(rename = "provider")]
    _provider: Provider,
    #[serde(default)]
    defaults: RawAccess,
    nodes: Vec<RawNode>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAccess {
    port: Option<u16>,
    user: Option<String>,
    key: Option<PathBuf>,
    agent: Option<bool>,
    sudo: Option<bool>,
    jump: Option<RawHop>,
    known_hosts: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    name: String,
    address: IpAddr,
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    key: Option<PathBuf>,
    agent: Option<bool>,
    sudo: Option<bool>,
    jump: Option<RawHop>,
    host_key: Option<String>,
    known_hosts: Option<PathBuf>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHop {
    host: String,
    port: Option<u16>,
    user: Option<String>,
    key: Option<PathBuf>,
    agent: Option<bool>,
    host_key: Option<String>,
    known_hosts: Option<PathBuf>,
}

/// Reads an inventory.
///
/// # Errors
/// If the file cannot be read, or something in it is wrong.
pub fn read(file: &Path) -> Result<LabSpec, InventoryError> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(file)
        .and_then(|open| open.take(INVENTORY_LIMIT_BYTES).read_to_string(&mut text));
    read.map_err(|error| InventoryError {
        file: file.to_owned(),
        line: None,
        message: format!("cannot be read: {error}"),
    })?;
    parse(file, &text)
}

/// Reads an inventory's text; `file` is for messages and for relative paths.
///
/// # Errors
/// If something in it is wrong.
pub fn parse(file: &Path, text: &str) -> Result<LabSpec, InventoryError> {
    let reader = Reader { file, text };
    match reader.yaml::<Head>()?.provider {
        Some(Provider::Lxc) => reader.lxc().map(LabSpec::Lxc),
        Some(Provider::Lxd) => reader.lxd().map(Box::new).map(LabSpec::Lxd),
        Some(Provider::Ssh) => reader.ssh().map(LabSpec::Ssh),
        None => Err(reader.error(
            Some(1),
            "field `provider` is missing; write `provider: lxc`, `lxd` or `ssh`",
        )),
    }
}

struct Reader<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Reader<'_> {
    fn error(&self, line: Option<usize>, message: impl Into<String>) -> InventoryError {
        InventoryError {
            file: self.file.to_owned(),
            line,
            message: message.into(),
        }
    }

    fn yaml<T: DeserializeOwned>(&self) -> Result<T, InventoryError> {
        serde_yaml::from_str(self.text).map_err(|error| {
            let line = error.location().map(|location| location.line());
            // The line is said already.
            let message = error.to_string();
            let message = message
                .rsplit_once(" at line ")
                .map_or(message.as_str(), |(said, _)| said);
            self.error(line, message)
        })
    }

    /// The first line with this key at its beginning.
    fn line_of(&self, key: &str) -> Option<usize> {
        let is_key = |line: &str| {
            line.trim_start()
                .strip_prefix(key)
                .is_some_and(|rest| rest.trim_start().starts_with(':'))
        };
        self.text.lines().position(is_key).map(|index| index + 1)
    }

    /// The line where the node of this index begins, if the nodes are a list with a dash a node.
    fn line_of_node(&self, index: usize) -> Option<usize> {
        let begin = self.line_of("nodes")?;
        let dashes = self.text.lines().enumerate().skip(begin);
        let mut dashes = dashes
            .filter(|(_, line)| line.trim_start().starts_with("- "))
            .peekable();
        let indent = |line: &str| line.len() - line.trim_start().len();
        let outer = indent(dashes.peek()?.1);
        dashes
            .filter(|(_, line)| indent(line) == outer)
            .nth(index)
            .map(|(line, _)| line + 1)
    }

    fn lxc(&self) -> Result<LxcSpec, InventoryError> {
        let raw: RawLxc = self.yaml()?;
        let image = self.recipe(raw.suite, raw.with, raw.packages)?;
        let spec = LxcSpec {
            nodes: raw.nodes.unwrap_or(DEFAULT_NODES),
            image,
            bridge: raw.bridge.unwrap_or_else(|| DEFAULT_BRIDGE.to_owned()),
            subnet: self.subnet(raw.subnet)?.unwrap_or_default(),
        };
        spec.check().map_err(|error| {
            let field = if error.to_string().contains("bridge") {
                "bridge"
            } else {
                "nodes"
            };
            self.at(field, error)
        })?;
        Ok(spec)
    }

    /// What is wrong with a field that begins a line.
    fn at(&self, field: &str, problem: impl fmt::Display) -> InventoryError {
        self.error(self.line_of(field), format!("field `{field}`: {problem}"))
    }

    fn subnet(&self, text: Option<String>) -> Result<Option<Subnet>, InventoryError> {
        text.map(|text| {
            text.parse()
                .map_err(|error: SubnetError| self.at("subnet", error))
        })
        .transpose()
    }

    /// What nodes that we make are made from.
    fn recipe(
        &self,
        suite: Option<Suite>,
        with: Option<BTreeSet<ImageSystem>>,
        packages: BTreeSet<String>,
    ) -> Result<Recipe, InventoryError> {
        let systems = with.unwrap_or_else(|| BTreeSet::from([ImageSystem::Dqlite]));
        Recipe::new(suite.unwrap_or_default(), systems, packages).map_err(|error| {
            let field = match error {
                RecipeError::Package(_) | RecipeError::TooMany(_) => "packages",
                _ => "with",
            };
            self.at(field, error)
        })
    }

    fn ssh(&self) -> Result<SshSpec, InventoryError> {
        let raw: RawSsh = self.yaml()?;
        if raw.nodes.is_empty() || raw.nodes.len() > MAX_NODES {
            let message = format!(
                "field `nodes` lists {}; list 1 to {MAX_NODES}",
                raw.nodes.len()
            );
            return Err(self.error(self.line_of("nodes"), message));
        }
        let mut nodes: Vec<NodeRecord> = Vec::new();
        for (ordinal, node) in raw.nodes.into_iter().enumerate() {
            let here = |message: String| self.error(self.line_of_node(ordinal), message);
            let name = node.name.clone();
            let record = self.node(ordinal, node, &raw.defaults).map_err(here)?;
            if let Some(other) = nodes.iter().find(|other| other.name == record.name) {
                return Err(here(format!(
                    "field `name`: there are two nodes `{}`; rename one",
                    other.name
                )));
            }
            if let Some(other) = nodes.iter().find(|other| other.address == record.address) {
                let message = format!(
                    "field `address`: {name} has the address of {}; list each machine once",
                    other.name
                );
                return Err(here(message));
            }
            nodes.push(record);
        }
        Ok(SshSpec { nodes })
    }

    fn node(
        &self,
        ordinal: usize,
        raw: RawNode,
        defaults: &RawAccess,
    ) -> Result<NodeRecord, String> {
        check_name(&raw.name)?;
        if raw.address.is_unspecified() || raw.address.is_loopback() || raw.address.is_multicast() {
            return Err(format!(
                "field `address`: the other nodes cannot reach {} at {}",
                raw.name, raw.address
            ));
        }
        let jump = raw.jump.or_else(|| defaults.jump.clone());
        // What a node says itself replaces both alternatives of the defaults.
        let own = raw.key.is_some() || raw.agent.is_some();
        let (key, agent) = if own {
            (raw.key, raw.agent)
        } else {
            (defaults.key.clone(), defaults.agent)
        };
        let known_hosts = match &raw.host_key {
            Some(_) => raw.known_hosts,
            None => raw.known_hosts.or_else(|| defaults.known_hosts.clone()),
        };
        let user = raw
            .user
            .or_else(|| defaults.user.clone())
            .unwrap_or_else(|| "root".into());
        let credential = self.credential(&raw.name, key, agent)?;
        let jump = jump
            .map(|hop| self.hop(hop, &user, Some(&credential), defaults))
            .transpose()?;
        let access = Access {
            host: raw.host.unwrap_or_else(|| raw.address.to_string()),
            port: raw.port.or(defaults.port).unwrap_or(DEFAULT_SSH_PORT),
            known_by: self.known_by(&raw.name, raw.host_key, known_hosts)?,
            sudo: raw.sudo.or(defaults.sudo).unwrap_or(user != "root"),
            user,
            credential,
            jump,
        };
        Ok(NodeRecord {
            name: NodeName::new(&raw.name),
            ordinal,
            address: raw.address,
            access,
        })
    }

    /// A jump host. User and credential are those of the node, unless it says otherwise.
    fn hop(
        &self,
        raw: RawHop,
        user: &str,
        credential: Option<&Credential>,
        defaults: &RawAccess,
    ) -> Result<Hop, String> {
        let what = format!("jump host {}", raw.host);
        let credential = if raw.key.is_some() || raw.agent.is_some() {
            self.credential(&what, raw.key, raw.agent)?
        } else {
            match credential {
                Some(credential) => credential.clone(),
                None => self.credential(&what, None, None)?,
            }
        };
        let known_hosts = match &raw.host_key {
            Some(_) => raw.known_hosts,
            None => raw.known_hosts.or_else(|| defaults.known_hosts.clone()),
        };
        Ok(Hop {
            port: raw.port.unwrap_or(DEFAULT_SSH_PORT),
            user: raw.user.unwrap_or_else(|| user.to_owned()),
            known_by: self.known_by(&what, raw.host_key, known_hosts)?,
            host: raw.host,
            credential,
        })
    }

    fn credential(
        &self,
        who: &str,
        key: Option<PathBuf>,
        agent: Option<bool>,
    ) -> Result<Credential, String> {
        match (key, agent.unwrap_or(false)) {
            (Some(_), true) => Err(format!(
                "fields `key` and `agent`: {who} has both; keep one"
            )),
            (Some(key), false) => Ok(Credential::Key(self.path(&key))),
            (None, true) => Ok(Credential::Agent),
            (None, false) => Err(format!(
                "field `key` is missing for {who}; name a private key, or write `agent: true`"
            )),
        }
    }

    fn known_by(
        &self,
        who: &str,
        key: Option<String>,
        file: Option<PathBuf>,
    ) -> Result<KnownBy, String> {
        match (key, file) {
            (Some(_), Some(_)) => Err(format!(
                "fields `host_key` and `known_hosts`: {who} has both; keep one"
            )),
            (Some(key), None) => {
                let words: Vec<&str> = key.split_whitespace().collect();
                let good = words.len() >= 2
                    && (words[0].starts_with("ssh-") || words[0].starts_with("ecdsa-"));
                if !good {
                    return Err(format!(
                        "field `host_key` of {who} is not of the form `ssh-ed25519 AAAA…`; take it from ssh-keyscan"
                    ));
                }
                Ok(KnownBy::HostKey(format!("{} {}", words[0], words[1])))
            }
            (None, Some(file)) => Ok(KnownBy::KnownHosts(self.path(&file))),
            (None, None) => Err(format!(
                "field `host_key` is missing for {who}; write its public host key, or name a file by `known_hosts`"
            )),
        }
    }

    /// A path of the inventory, relative to it unless it is absolute or begins with `~/`.
    fn path(&self, path: &Path) -> PathBuf {
        if let (Ok(rest), Some(home)) = (path.strip_prefix("~"), std::env::var_os("HOME")) {
            return Path::new(&home).join(rest);
        }
        let folder = self.file.parent().unwrap_or(Path::new(""));
        let joined = folder.join(path);
        std::path::absolute(&joined).unwrap_or(joined)
    }
}

fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain);
    if good {
        return Ok(());
    }
    Err(format!(
        "field `name`: `{name}` is not a letter, then up to {} lower-case letters, digits and dashes",
        MAX_NAME_BYTES - 1
    ))
}

#[cfg(test)]
#[path = "inventory_tests.rs"]
mod tests;
