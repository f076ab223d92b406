//! One node: made, prepared, started, and seen to answer; and the end of it.
//!
//! Laws:
//! - an instance that is not marked as this lab's is never changed, whatever its name;
//! - one whose making was cut short is made again: what is prepared says so itself, last of all.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    LabError, LabProgress, LxdSpec, NodeRecord, ProgressFn, ServerError, blocking,
    client::{Client, state_change},
    config::{HOST_KEY_KEY, LAB_KEY, LIMIT_KEYS, NodeConfig, PREPARED_KEY},
    settle,
    spec::Instance,
};
use crate::{
    host, keys,
    lab::node as reach,
    provider::{
        NodeState, NodeStatus, ProviderKind,
        container::ssh_banner,
        identity::{Identity, SSH_FOLDER, SSH_PORT},
        lxc::ANSWER_TIMEOUT,
    },
    state::State,
    transport::Exec,
};

/// How long a started virtual machine may take until its SSH server answers.
const MACHINE_ANSWER_TIMEOUT: Duration = Duration::from_secs(180);
/// What liblxc logs where the server lacks the right to raise a limit.
const LIMIT_REFUSED: &str = "Failed to set limit";
/// How often a start is tried.
const START_TRIES: u32 = 3;
/// Pause between two tries.
const START_PAUSE: Duration = Duration::from_secs(2);
/// Pause between two looks at whether a node answers.
const POLL: Duration = Duration::from_millis(20);
/// Pause between two of them where each is a login over a jump host.
const JUMP_POLL: Duration = Duration::from_millis(250);

/// An instance as the server lists it; only what is needed of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Listed {
    /// Its name.
    pub name: String,
    /// `Running`, `Stopped`, `Frozen`, `Error`, …
    pub status: String,
    #[serde(default)]
    config: BTreeMap<String, String>,
}

impl Listed {
    /// Whether it is marked as this lab's.
    pub(super) fn is_of(&self, lab: &str) -> bool {
        self.config.get(LAB_KEY).is_some_and(|its| its == lab)
    }

    fn runs(&self) -> bool {
        self.status == "Running"
    }

    /// The host key of one that was prepared to its end.
    fn prepared(&self) -> Option<&String> {
        self.config.get(PREPARED_KEY)?;
        self.config.get(HOST_KEY_KEY)
    }
}

/// All instances of the server's project.
pub(super) async fn list(client: &Client) -> Result<Vec<Listed>, ServerError> {
    client.get("/1.0/instances?recursion=1").await
}

/// All of them, once the server is at nothing that concerns the lab's.
pub(super) async fn list_quiet(
    client: &Client,
    spec: &LxdSpec,
) -> Result<Vec<Listed>, ServerError> {
    settle::quiet(client, &spec.instance_name("")).await?;
    list(client).await
}

/// What all nodes of an `up` share.
pub(super) struct Plan {
    pub(super) client: Client,
    pub(super) state: State,
    pub(super) spec: LxdSpec,
    pub(super) lab: String,
    /// Our image on the server; containers only.
    pub(super) fingerprint: Option<String>,
    pub(super) authorized: String,
    pub(super) hosts: String,
    pub(super) existing: Vec<Listed>,
}

impl Plan {
    /// Makes a node run and answer; returns its host key.
    pub(super) async fn start(
        &self,
        node: &NodeRecord,
        progress: &ProgressFn,
    ) -> Result<String, LabError> {
        let step = |step| {
            progress(&LabProgress::Node {
                node: node.name.clone(),
                step,
            });
        };
        let name = self.spec.instance_name(node.name.as_str());
        let existing = self.existing.iter().find(|listed| listed.name == name);
        if let Some(other) = existing.filter(|listed| !listed.is_of(&self.lab)) {
            return Err(taken("instance", &other.name, &other.config));
        }
        let (host_key, runs) = match existing.map(|listed| (listed, listed.prepared())) {
            Some((listed, Some(host_key))) => (host_key.clone(), listed.runs()),
            half => {
                if let Some((listed, _)) = half {
                    remove(&self.client, listed).await?;
                }
                let host_key = self.make(node, &name).await?;
                step("prepared");
                (host_key, false)
            }
        };
        if !runs {
            self.boot(&name).await?;
            step("started");
        }
        self.wait_for_answer(node, &host_key).await?;
        step("answers");
        Ok(host_key)
    }

    /// Starts an instance. A server under load fails at that now and then, without a reason of the instance's own, so it is tried again.
    async fn boot(&self, name: &str) -> Result<(), LabError> {
        let path = format!("/1.0/instances/{name}/state");
        let mut tries = 0;
        loop {
            tries += 1;
            let detail = match self.client.put(&path, &state_change("start")).await {
                Ok(_) => return Ok(()),
                Err(ServerError::Operation { detail, .. }) => detail,
                Err(error) => return Err(error.into()),
            };
            let log = self.client.start_log(name).await.unwrap_or_default();
            let detail = match host::last_lines(&log) {
                log if log.is_empty() => detail,
                log => format!("{detail}; its log ends with: {log}"),
            };
            if detail.contains(LIMIT_REFUSED) {
                self.give_up_limits().await?;
            }
            if tries == START_TRIES {
                let node = name.to_owned();
                return Err(LabError::Start { node, detail });
            }
            tracing::warn!(
                node = name,
                detail,
                "it did not start, and is started again"
            );
            tokio::time::sleep(START_PAUSE).await;
        }
    }

    /// Leaves out of the profile the limits that nobody but us asked for: the server may not raise its own. Idempotent.
    async fn give_up_limits(&self) -> Result<(), ServerError> {
        let path = format!("/1.0/profiles/{}", self.spec.network);
        let mut profile: Value = self.client.get(&path).await?;
        let Some(config) = profile.get_mut("config").and_then(Value::as_object_mut) else {
            return Ok(());
        };
        let ours =
            |key: &String| key.starts_with(LIMIT_KEYS) && !self.spec.config.contains_key(key);
        config.retain(|key, _| !ours(key));
        tracing::warn!(
            "the server may not raise limits: nodes have its own, and core dumps may be lost"
        );
        match self.client.put(&path, &profile).await {
            // It is kept all the same, and instances that are busy starting take it at their next start.
            Ok(_) | Err(ServerError::Refused { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes an instance and all that makes it this node; returns its host key.
    async fn make(&self, node: &NodeRecord, name: &str) -> Result<String, LabError> {
        let address = ipv4(node)?;
        let folder = self.state.keys();
        let comment = node.name.to_string();
        let host_key = blocking(move || keys::generate(&folder, &comment)).await?;
        let identity = Identity {
            lab: &self.lab,
            provider: ProviderKind::Lxd,
            node: node.name.as_str(),
            authorized: &self.authorized,
            hosts: &self.hosts,
            host_key: &host_key,
        };
        let files = identity.files()?;
        let config = NodeConfig {
            spec: &self.spec,
            lab: &self.lab,
            node: node.name.as_str(),
            address,
            host_key: &host_key.public,
            files: &files,
        };
        let path = match self.spec.target_of(node.ordinal) {
            Some(target) => format!("/1.0/instances?target={target}"),
            None => "/1.0/instances".to_owned(),
        };
        let instance = config.instance(self.fingerprint.as_deref());
        self.client.post(&path, &instance).await?;
        if self.spec.instance == Instance::Container {
            let (folder, mode) = SSH_FOLDER;
            self.client.push(name, folder, mode, None).await?;
            for file in &files {
                self.client
                    .push(name, file.path, file.mode, Some(&file.text))
                    .await?;
            }
            let prepared = json!({ "config": { PREPARED_KEY: "true" } });
            let path = format!("/1.0/instances/{name}");
            self.client.patch(&path, &prepared).await?;
        }
        Ok(host_key.public)
    }

    async fn wait_for_answer(&self, node: &NodeRecord, host_key: &str) -> Result<(), LabError> {
        let timeout = match self.spec.instance {
            Instance::Container => ANSWER_TIMEOUT,
            Instance::VirtualMachine => MACHINE_ANSWER_TIMEOUT,
        };
        let deadline = Instant::now() + timeout;
        loop {
            let Err(error) = self.answers(node, host_key).await else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                let name = self.spec.instance_name(node.name.as_str());
                let status = list(&self.client)
                    .await
                    .ok()
                    .and_then(|listed| listed.into_iter().find(|listed| listed.name == name));
                let status = status.map_or("gone".to_owned(), |listed| listed.status);
                let detail = format!(
                    "{}: {error}; its instance is {status}, and its console is shown by lxc console {name} --show-log",
                    node.address
                );
                let node = node.name.to_string();
                return Err(LabError::Silent { node, detail });
            }
            tokio::time::sleep(if self.spec.jump.is_some() {
                JUMP_POLL
            } else {
                POLL
            })
            .await;
        }
    }

    /// Whether the node's SSH server answers: where there is a jump host, only a login can tell.
    async fn answers(&self, node: &NodeRecord, host_key: &str) -> Result<(), String> {
        if self.spec.jump.is_none() {
            return banner(node.address)
                .await
                .map_err(|error| error.to_string());
        }
        let mut node = node.clone();
        node.access.known_by = crate::access::KnownBy::HostKey(host_key.to_owned());
        let transport = reach(&node).transport;
        let tried = transport.exec(Exec::new(["true"])).await;
        transport.close().await;
        tried.map(drop).map_err(|error| error.to_string())
    }
}

async fn banner(address: IpAddr) -> std::io::Result<()> {
    tokio::task::spawn_blocking(move || ssh_banner(SocketAddr::new(address, SSH_PORT)))
        .await
        .map_err(std::io::Error::other)?
}

fn ipv4(node: &NodeRecord) -> Result<Ipv4Addr, LabError> {
    match node.address {
        IpAddr::V4(address) => Ok(address),
        IpAddr::V6(address) => Err(LabError::Spec(format!(
            "the address {address} in an instance"
        ))),
    }
}

/// The error of a name that something has which is not this lab's.
pub(super) fn taken(what: &'static str, name: &str, config: &BTreeMap<String, String>) -> LabError {
    LabError::Taken {
        what,
        name: name.to_owned(),
        owner: match config.get(LAB_KEY) {
            Some(lab) => format!("lab {lab} has it"),
            None => "it was not made by harness".to_owned(),
        },
    }
}

/// Ends an instance and removes it.
pub(super) async fn remove(client: &Client, listed: &Listed) -> Result<(), ServerError> {
    let path = format!("/1.0/instances/{}", listed.name);
    if listed.status != "Stopped" {
        let stopped = client
            .put(&format!("{path}/state"), &state_change("stop"))
            .await;
        // One that has stopped meanwhile is as it should be, and one that cannot stop is not removed either, and says why.
        if let Err(error) = stopped {
            tracing::debug!(%error, instance = listed.name, "does not stop");
        }
    }
    client.delete(&path).await?;
    Ok(())
}

/// How a node is.
pub(super) async fn status(
    spec: &LxdSpec,
    listed: &[Listed],
    lab: &str,
    node: &NodeRecord,
) -> NodeStatus {
    let name = spec.instance_name(node.name.as_str());
    let listed = listed.iter().find(|listed| listed.name == name);
    let (state, detail) = match listed {
        None => (
            NodeState::Stopped,
            "it has no instance (mend: harness lab up)".to_owned(),
        ),
        Some(listed) if !listed.is_of(lab) => (
            NodeState::NotOurs,
            format!("instance {name} is not this lab's"),
        ),
        Some(listed) if !listed.runs() => (
            NodeState::Stopped,
            format!(
                "its instance is {} (mend: harness lab up)",
                listed.status.to_lowercase()
            ),
        ),
        // Behind a jump host only its marker tells, which is read next.
        Some(_) if spec.jump.is_some() => (NodeState::Up, String::new()),
        Some(_) => match banner(node.address).await {
            Ok(()) => (NodeState::Up, String::new()),
            Err(error) => (NodeState::Unreachable, format!("{}: {error}", node.address)),
        },
    };
    NodeStatus {
        name: node.name.clone(),
        address: node.address,
        state,
        detail,
    }
}
