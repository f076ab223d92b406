//! What a lab of provider `lxd` is, and whether it can be made.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::stream::Remote;
use crate::{
    access::Hop,
    image::Recipe,
    provider::{DEFAULT_NODES, LabError, check_interface, check_nodes},
    subnet::Subnet,
};

/// The network of such a lab unless told otherwise.
pub const DEFAULT_NETWORK: &str = "harnesslxd";
/// The subnet of such a lab unless told otherwise: not the built-in lab's, so that both can be up.
pub const DEFAULT_SUBNET: &str = "10.85.0.0/24";
/// Most further keys of a configuration.
pub const MAX_CONFIG_KEYS: usize = 100;

/// What kind of instance a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Instance {
    /// A container, from an image that we build.
    #[default]
    Container,
    /// A virtual machine, from an image that the server has.
    VirtualMachine,
}

impl Instance {
    /// Its name in the API.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::VirtualMachine => "virtual-machine",
        }
    }
}

/// Instances of a server of LXD or Incus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LxdSpec {
    /// How many nodes.
    pub nodes: usize,
    /// What containers are made from.
    pub image: Recipe,
    /// What virtual machines are made from: alias or fingerprint of an image that the server has.
    pub server_image: Option<String>,
    /// What kind of instance they are.
    pub instance: Instance,
    /// Which server makes them.
    pub remote: Remote,
    /// The project that they are in.
    pub project: String,
    /// The storage pool that they are on.
    pub pool: String,
    /// Name of the bridge and of the profile that are made; the instances' names begin with it.
    pub network: String,
    /// A network that exists and is taken instead of a bridge of ours; it is never changed.
    pub attach: Option<String>,
    /// The subnet of the network.
    pub subnet: Subnet,
    /// Members of the server's cluster that the nodes are placed on, one after the other; empty leaves it to the server.
    pub target: Vec<String>,
    /// Further configuration of the instances.
    pub config: BTreeMap<String, String>,
    /// Further configuration of our bridge.
    pub network_config: BTreeMap<String, String>,
    /// A host from which the nodes can be reached, if that is not this one.
    pub jump: Option<Hop>,
}

impl LxdSpec {
    /// Such a lab with nothing special about it.
    #[must_use]
    pub fn new(remote: Remote, subnet: Subnet) -> Self {
        Self {
            nodes: DEFAULT_NODES,
            image: Recipe::default(),
            server_image: None,
            instance: Instance::default(),
            remote,
            project: "default".to_owned(),
            pool: "default".to_owned(),
            network: DEFAULT_NETWORK.to_owned(),
            attach: None,
            subnet,
            target: Vec::new(),
            config: BTreeMap::new(),
            network_config: BTreeMap::new(),
            jump: None,
        }
    }

    /// Name of a node's instance.
    #[must_use]
    pub fn instance_name(&self, node: &str) -> String {
        format!("{}-{node}", self.network)
    }

    /// The network that the nodes are on.
    #[must_use]
    pub fn network_of_nodes(&self) -> &str {
        self.attach.as_deref().unwrap_or(&self.network)
    }

    /// The member of the server's cluster for the node with this ordinal, if one was asked for.
    #[must_use]
    pub fn target_of(&self, ordinal: usize) -> Option<&str> {
        let place = ordinal.checked_rem(self.target.len())?;
        self.target.get(place).map(String::as_str)
    }

    /// Whether such a lab can be made.
    ///
    /// # Errors
    /// [`LabError::Spec`] says what it cannot have.
    pub fn check(&self) -> Result<(), LabError> {
        check_nodes(self.nodes, self.subnet)?;
        check_interface("network", &self.network)?;
        for (what, name) in [("project", &self.project), ("pool", &self.pool)]
            .into_iter()
            .chain(self.attach.iter().map(|name| ("attach", name)))
            .chain(self.target.iter().map(|name| ("target", name)))
        {
            if !is_plain(name) {
                return Err(LabError::Spec(format!(
                    "the {what} `{name}` (letters, digits, dots, dashes and underscores)"
                )));
            }
        }
        // The alias of an image may have slashes, as in `debian/12/cloud`.
        if let Some(image) = &self.server_image
            && !image.split('/').all(is_plain)
        {
            return Err(LabError::Spec(format!("the image `{image}`")));
        }
        match (self.instance, &self.server_image) {
            (Instance::VirtualMachine, None) => Err(LabError::Spec(
                "virtual machines without `image`: name an image of the server that has cloud-init"
                    .into(),
            )),
            (Instance::Container, Some(image)) => Err(LabError::Spec(format!(
                "containers of the server's image `{image}`: they are made from suite, with and packages"
            ))),
            _ => self.check_config(),
        }
    }

    fn check_config(&self) -> Result<(), LabError> {
        for (what, config) in [
            ("config", &self.config),
            ("network_config", &self.network_config),
        ] {
            if config.len() > MAX_CONFIG_KEYS {
                return Err(LabError::Spec(format!(
                    "{} keys in {what} (it has at most {MAX_CONFIG_KEYS})",
                    config.len()
                )));
            }
            // What says whose an instance is, and what makes it a node, is ours.
            let ours = |key: &&String| key.starts_with("user.harness-") || *key == "raw.lxc";
            if let Some(key) = config.keys().find(ours) {
                return Err(LabError::Spec(format!(
                    "the key `{key}` in {what}: it is the harness's own"
                )));
            }
        }
        if self.attach.is_some() && !self.network_config.is_empty() {
            return Err(LabError::Spec(
                "network_config beside attach: a network that is not ours is not changed".into(),
            ));
        }
        Ok(())
    }
}

impl fmt::Display for LxdSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.server_image {
            Some(image) => write!(f, "{} virtual machines of {image}", self.nodes)?,
            None => write!(f, "{} LXD containers of {}", self.nodes, self.image)?,
        }
        write!(
            f,
            " on {} {} at {}",
            self.network_of_nodes(),
            self.subnet,
            self.remote
        )?;
        if self.project != "default" {
            write!(f, " in project {}", self.project)?;
        }
        Ok(())
    }
}

fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}
