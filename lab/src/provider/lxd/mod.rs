//! Nodes as instances of a server of LXD or Incus, on this machine or another, one server or a cluster of them.
//!
//! ```text
//! harnesslxd                    a bridge without a way out, made for the lab
//! harnesslxd                    the profile of its instances
//! harnesslxd-n1, -n2, …         the instances
//! (an image)                    ours, sent once; it stays for the next lab
//! ```
//!
//! Laws:
//! - what is made is marked with the lab's identity when it is made, and only what is so marked is changed or removed;
//! - host key, authorized key and marker are in a container before it starts;
//! - where the server is this machine, the blackhole is there before the bridge and goes after it.

mod client;
mod config;
mod import;
mod node;
mod server;
mod settle;
mod spec;
mod stream;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;

use self::{client::Client, config::LAB_KEY, node::Plan, server::Network};
pub use self::{
    client::ServerError,
    spec::{DEFAULT_NETWORK, DEFAULT_SUBNET, Instance, LxdSpec, MAX_CONFIG_KEYS},
    stream::{DEFAULT_SERVER_PORT, Https, Remote, SOCKETS},
};
use super::{
    LabError, LabPhase, LabProgress, LabRecord, LabSpec, NodeRecord, NodeStatus, ProgressFn,
    Provider, ProviderKind, blocking, bridge, identity,
};
use crate::{
    access::KnownBy,
    image::{self, ImageStore},
    keys,
    state::{self, State},
    subnet::Subnet,
};

/// How long nothing of a lab may come to light until it is gone, if whoever made it may have been killed.
const SETTLE: Duration = Duration::from_secs(2);
/// Pause between two looks in that time.
const SETTLE_POLL: Duration = Duration::from_millis(200);

/// The provider of instances of LXD and Incus.
#[derive(Clone, Debug)]
pub struct LxdProvider {
    state: State,
}

/// What carries our mark; only what is needed of it.
#[derive(Debug, Deserialize)]
struct Marked {
    #[serde(default)]
    config: std::collections::BTreeMap<String, String>,
}

/// What was seen of a server: in a few words, and what of a lab's needs it lacks.
pub(crate) type Seen = (String, Vec<ServerError>);

/// Looks at a lab's server; for `harness doctor`.
pub(crate) async fn look(spec: &LxdSpec) -> Result<Seen, ServerError> {
    let client = Client::new(spec.remote.clone(), &spec.project);
    let (server, lacks) = server::look(&client, spec).await?;
    Ok((server.summary(), lacks))
}

impl LxdProvider {
    /// The provider whose keys and images are in this state folder.
    #[must_use]
    pub fn new(state: State) -> Self {
        Self { state }
    }

    /// Our bridge, as far as it is missing; or the network that exists. Whether the server manages it.
    async fn network_up(
        client: &Client,
        spec: &LxdSpec,
        lab: &str,
        server: &server::Server,
    ) -> Result<bool, LabError> {
        let path = format!("/1.0/networks/{}", spec.network_of_nodes());
        let found: Option<Network> = client.find(&path).await?;
        if spec.attach.is_some() {
            return Ok(found.is_some_and(|network| network.managed));
        }
        if let Some(network) = &found {
            if !is_ours(network, lab) {
                return Err(node::taken("network", &spec.network, &network.config));
            }
            if network.status == "Created" {
                return Ok(true);
            }
            client.delete(&path).await?;
        }
        match Self::network_make(client, spec, lab, server).await {
            Ok(()) => Ok(true),
            // A harness that was killed may have told the server already.
            Err(error) => match client.find::<Network>(&path).await? {
                Some(network) if is_ours(&network, lab) && network.status == "Created" => Ok(true),
                _ => Err(error.into()),
            },
        }
    }

    async fn network_make(
        client: &Client,
        spec: &LxdSpec,
        lab: &str,
        server: &server::Server,
    ) -> Result<(), ServerError> {
        // A cluster wants to hear of it for each member first.
        for member in server::members(client, server).await? {
            let path = format!("/1.0/networks?target={}", member.server_name);
            let value = json!({ "name": spec.network, "type": "bridge" });
            client.post(&path, &value).await?;
        }
        let value = json!({
            "name": spec.network,
            "type": "bridge",
            "description": format!("nodes of lab {lab}, made by harness"),
            "config": config::network(spec, lab),
        });
        client.post("/1.0/networks", &value).await?;
        Ok(())
    }

    async fn profile_up(
        client: &Client,
        spec: &LxdSpec,
        lab: &str,
        managed: bool,
    ) -> Result<(), LabError> {
        // A server that is elsewhere may allow less than we have. One that may not even allow core dumps is seen at the first start.
        let limits = if spec.remote.is_local() {
            identity::limits()
        } else {
            vec![("core", "unlimited".to_owned())]
        };
        let profile = config::profile(spec, lab, &limits, managed);
        let path = format!("/1.0/profiles/{}", spec.network);
        match client.find::<Marked>(&path).await? {
            None => client.post("/1.0/profiles", &profile).await?,
            Some(found) if found.config.get(LAB_KEY).is_some_and(|its| its == lab) => {
                client.put(&path, &profile).await?
            }
            Some(found) => return Err(node::taken("profile", &spec.network, &found.config)),
        };
        Ok(())
    }

    /// Our image on the server; none for virtual machines, which are made from one that is there.
    async fn image_up(
        &self,
        client: &Client,
        spec: &LxdSpec,
        progress: &ProgressFn,
    ) -> Result<Option<String>, LabError> {
        if spec.server_image.is_some() {
            return Ok(None);
        }
        let found = ImageStore::new(&self.state).find(&spec.image)?;
        let image = found.ok_or_else(|| image::ImageError::NotFound {
            name: spec.image.name(),
        })?;
        let sending = || {
            progress(&LabProgress::Image(image::Progress {
                phase: image::Phase::Finish,
                done: 0,
                total: None,
                detail: format!("sent to {}", client.server()),
            }));
        };
        let compress = !spec.remote.is_local();
        let fingerprint = import::ensure(client, &self.state, &image, compress, sending).await?;
        Ok(Some(fingerprint))
    }

    /// Starts those that do not run, all at once; each ends with its host key known and its SSH server answering.
    async fn start_all(
        &self,
        client: Client,
        spec: &LxdSpec,
        fingerprint: Option<String>,
        lab: &mut LabRecord,
        progress: &ProgressFn,
    ) -> Result<(), LabError> {
        let state = self.state.clone();
        let plan = Arc::new(Plan {
            state: self.state.clone(),
            spec: spec.clone(),
            lab: lab.id.clone(),
            fingerprint,
            authorized: blocking(move || keys::ensure(&state)).await?,
            hosts: identity::hosts_file(&lab.nodes),
            existing: node::list_quiet(&client, spec).await?,
            client,
        });
        let mut starting = JoinSet::new();
        for node in lab.nodes.clone() {
            let (plan, progress) = (plan.clone(), progress.clone());
            starting.spawn(async move {
                let key = plan.start(&node, &progress).await?;
                Ok((node.ordinal, key))
            });
        }
        for (ordinal, key) in all(starting).await? {
            lab.nodes[ordinal].access.known_by = KnownBy::HostKey(key);
        }
        Ok(())
    }
}

/// Waits for all, also if one fails; then the first failure is the answer.
async fn all<T: 'static>(mut tasks: JoinSet<Result<T, LabError>>) -> Result<Vec<T>, LabError> {
    let mut done = Vec::new();
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        match ended
            .map_err(|error| LabError::Panicked(error.to_string()))
            .and_then(|ended| ended)
        {
            Ok(value) => done.push(value),
            Err(error) => failed = Some(failed.unwrap_or(error)),
        }
    }
    failed.map_or(Ok(done), Err)
}

/// Whether a network is this lab's. One that a cluster was only half told about carries no mark yet.
fn is_ours(network: &Network, lab: &str) -> bool {
    match network.config.get(LAB_KEY) {
        Some(its) => its == lab,
        None => network.managed && network.status == "Pending" && network.config.is_empty(),
    }
}

fn spec_of(lab: &LabRecord) -> Result<LxdSpec, LabError> {
    match &lab.spec {
        LabSpec::Lxd(spec) => Ok((**spec).clone()),
        _ => Err(LabError::Spec("other nodes as instances of LXD".into())),
    }
}

#[async_trait]
impl Provider for LxdProvider {
    fn kind(&self) -> ProviderKind {
        ProviderKind::Lxd
    }

    async fn up(&self, lab: &mut LabRecord, progress: &ProgressFn) -> Result<(), LabError> {
        let spec = spec_of(lab)?;
        let client = Client::new(spec.remote.clone(), &spec.project);
        let (server, lacks) = server::look(&client, &spec).await?;
        if let Some(lack) = lacks.into_iter().next() {
            return Err(lack.into());
        }
        if spec.remote.is_local() && spec.attach.is_none() {
            let (subnet, network) = (spec.subnet, spec.network.clone());
            blocking(move || blackhole(subnet, &network)).await?;
        }
        settle::quiet(&client, &spec.instance_name("")).await?;
        let managed = Self::network_up(&client, &spec, &lab.id, &server).await?;
        Self::profile_up(&client, &spec, &lab.id, managed).await?;
        let fingerprint = self.image_up(&client, &spec, progress).await?;
        self.start_all(client, &spec, fingerprint, lab, progress)
            .await?;
        identity::write_for_people(&self.state, &lab.nodes)?;
        Ok(())
    }

    async fn down(&self, lab: &LabRecord) -> Result<Vec<String>, LabError> {
        let spec = spec_of(lab)?;
        let client = Client::new(spec.remote.clone(), &spec.project);
        let mut removed = remove_all(&client, &spec, &lab.id).await?;
        if lab.phase != LabPhase::Up {
            // Who brought it up or took it down may have been killed: what the server is still at comes to light soon.
            let mut found = Instant::now();
            while found.elapsed() < SETTLE {
                tokio::time::sleep(SETTLE_POLL).await;
                let more = remove_all(&client, &spec, &lab.id).await?;
                if !more.is_empty() {
                    found = Instant::now();
                    removed.extend(more);
                }
            }
        }
        if spec.remote.is_local() {
            let subnet = spec.subnet;
            removed.extend(blocking(move || bridge::remove_blackhole(subnet)).await?);
        }
        state::remove_file(&identity::known_hosts_path(&self.state))?;
        Ok(removed)
    }

    async fn status(&self, lab: &LabRecord) -> Result<Vec<NodeStatus>, LabError> {
        let spec = Arc::new(spec_of(lab)?);
        let client = Client::new(spec.remote.clone(), &spec.project);
        let listed = Arc::new(node::list(&client).await?);
        let mut asking = JoinSet::new();
        for record in lab.nodes.clone() {
            let (spec, listed, id) = (spec.clone(), listed.clone(), lab.id.clone());
            asking.spawn(async move {
                let status = node::status(&spec, &listed, &id, &record).await;
                Ok((record.ordinal, status))
            });
        }
        let mut statuses = all(asking).await?;
        statuses.sort_by_key(|(ordinal, _)| *ordinal);
        Ok(statuses.into_iter().map(|(_, status)| status).collect())
    }
}

/// Removes all that carries the lab's mark, and says what that was.
async fn remove_all(client: &Client, spec: &LxdSpec, lab: &str) -> Result<Vec<String>, LabError> {
    let mut ending = JoinSet::new();
    for listed in node::list_quiet(client, spec).await? {
        if listed.is_of(lab) {
            let client = client.clone();
            ending.spawn(async move {
                node::remove(&client, &listed).await?;
                Ok(format!("instance {}", listed.name))
            });
        }
    }
    let mut removed = all(ending).await?;
    removed.sort();
    let path = format!("/1.0/profiles/{}", spec.network);
    let profile: Option<Marked> = client.find(&path).await?;
    let is_ours_too = |found: Marked| found.config.get(LAB_KEY).is_some_and(|its| its == lab);
    if profile.is_some_and(is_ours_too) {
        client.delete(&path).await?;
        removed.push(format!("profile {}", spec.network));
    }
    let path = format!("/1.0/networks/{}", spec.network);
    let network: Option<Network> = client.find(&path).await?;
    if network.is_some_and(|found| is_ours(&found, lab)) {
        client.delete(&path).await?;
        removed.push(format!("network {}", spec.network));
    }
    Ok(removed)
}

fn blackhole(subnet: Subnet, network: &str) -> Result<(), LabError> {
    let routes = bridge::routes()?;
    bridge::check_subnet(subnet, network, &routes)?;
    bridge::add_blackhole(subnet, &routes)?;
    Ok(())
}
