//! What a server is and has: looked at before anything is made, and by `harness doctor`.
//!
//! Law: looking changes nothing.

use serde::Deserialize;

use super::{LxdSpec, ServerError, client::Client, spec::Instance};

/// Extensions of the API that are used and that not every server in use has.
const EXTENSIONS: [&str; 4] = [
    "projects",
    "instances",
    "instance_nic_network",
    "cloud_init",
];

/// `GET /1.0`; only what is needed of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Server {
    auth: String,
    #[serde(default)]
    api_extensions: Vec<String>,
    #[serde(default)]
    environment: Environment,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Environment {
    /// `lxd` or `incus`.
    server: String,
    server_version: String,
    server_clustered: bool,
    /// Such as `lxc` or `lxc | qemu`.
    driver: String,
}

/// `GET /1.0/cluster/members`; only what is needed of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ClusterMember {
    /// Its name.
    pub server_name: String,
}

/// `GET /1.0/networks/NAME`; only what is needed of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Network {
    /// Whether the server manages it.
    pub managed: bool,
    /// `Created`, `Pending`, …; nothing where it is not managed.
    #[serde(default)]
    pub status: String,
    /// Its configuration.
    #[serde(default)]
    pub config: std::collections::BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Named {}

impl Server {
    /// In a few words: `lxd 5.0.2 (lxc)`.
    pub(super) fn summary(&self) -> String {
        let Environment {
            server,
            server_version,
            driver,
            server_clustered,
        } = &self.environment;
        let cluster = if *server_clustered { ", clustered" } else { "" };
        format!("{server} {server_version} ({driver}{cluster})")
    }

    /// Whether it is a member of a cluster.
    pub(super) fn clustered(&self) -> bool {
        self.environment.server_clustered
    }

    fn has_virtual_machines(&self) -> bool {
        self.environment
            .driver
            .split('|')
            .any(|driver| driver.trim() == "qemu")
    }
}

/// The server, and whatever of a lab's needs it lacks.
///
/// # Errors
/// If it cannot be asked, or does not trust us.
pub(super) async fn look(
    client: &Client,
    spec: &LxdSpec,
) -> Result<(Server, Vec<ServerError>), ServerError> {
    let server: Server = client.get("/1.0").await?;
    if server.auth != "trusted" {
        return Err(ServerError::Untrusted {
            server: client.server(),
        });
    }
    let mut lacks = Vec::new();
    let mut lack = |what: String, mend: &str| {
        lacks.push(ServerError::Lacks {
            server: client.server(),
            what,
            mend: mend.to_owned(),
        });
    };
    for extension in EXTENSIONS {
        if !server.api_extensions.iter().any(|has| has == extension) {
            let what = format!("API extension {extension}, being {}", server.summary());
            lack(what, "a newer LXD or Incus");
        }
    }
    if !has(client, &format!("/1.0/projects/{}", spec.project)).await? {
        lack(
            format!("project {}", spec.project),
            "lxc project create, or another `project` in lab.yaml",
        );
        // All else is looked for in it.
        return Ok((server, lacks));
    }
    if !has(client, &format!("/1.0/storage-pools/{}", spec.pool)).await? {
        lack(
            format!("storage pool {}", spec.pool),
            "lxc storage create, or another `pool` in lab.yaml",
        );
    }
    if let Some(network) = &spec.attach
        && !has(client, &format!("/1.0/networks/{network}")).await?
    {
        lack(
            format!("network {network}"),
            "lxc network create, or no `attach` in lab.yaml: then one is made",
        );
    }
    if spec.instance == Instance::VirtualMachine {
        if !server.has_virtual_machines() {
            let what = format!("virtual machines, being {}", server.summary());
            lack(
                what,
                "QEMU, KVM and vhost_vsock on the server; or `instance: container` in lab.yaml",
            );
        }
        let image = spec.server_image.as_deref().unwrap_or_default();
        let alias = format!("/1.0/images/aliases/{image}");
        let fingerprint = format!("/1.0/images/{image}");
        // An alias may hold a slash, a fingerprint none.
        if !has(client, &alias).await?
            && (image.contains('/') || !has(client, &fingerprint).await?)
        {
            lack(
                format!("image {image}"),
                "lxc image copy it there with --vm and --alias, or another `image` in lab.yaml",
            );
        }
    }
    let members = members(client, &server).await?;
    for target in &spec.target {
        if !members.iter().any(|member| member.server_name == *target) {
            let names: Vec<&str> = members.iter().map(|m| m.server_name.as_str()).collect();
            let mend = if names.is_empty() {
                "no `target` in lab.yaml: it is not clustered".to_owned()
            } else {
                format!("in `target` of lab.yaml only {}", names.join(", "))
            };
            lack(format!("cluster member {target}"), &mend);
        }
    }
    Ok((server, lacks))
}

/// The members of the server's cluster; none if it is in none.
pub(super) async fn members(
    client: &Client,
    server: &Server,
) -> Result<Vec<ClusterMember>, ServerError> {
    if !server.clustered() {
        return Ok(Vec::new());
    }
    client.get("/1.0/cluster/members?recursion=1").await
}

async fn has(client: &Client, path: &str) -> Result<bool, ServerError> {
    Ok(client.find::<Named>(path).await?.is_some())
}
