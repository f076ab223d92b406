//! The phase `form`: what an earlier run left is wiped, a cluster is formed, the workload's data are made.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use harness_core::meta::NodeMeta;
use tokio::task::JoinSet;

use super::{ConductError, Run, membership::Changing};
use crate::collect;

impl Run<'_> {
    /// Wipes what an earlier run left, forms the cluster, makes the workload's data.
    pub(super) async fn form(&mut self) -> Result<(), ConductError> {
        let (system, nodes) = (&self.setting.system, &self.setting.nodes);
        let members = self
            .changing
            .as_ref()
            .map_or(nodes.len(), Changing::initial);
        let (members, others) = nodes.split_at(members.min(nodes.len()));
        let mut wiping = JoinSet::new();
        for node in nodes.clone() {
            let system = Arc::clone(system);
            wiping.spawn(async move { system.wipe(&node).await });
        }
        while let Some(wiped) = wiping.join_next().await {
            wiped.map_err(|error| ConductError::Panicked(error.to_string()))??;
        }
        for node in nodes.iter().take(1) {
            // Told before anything else fails in a less clear way.
            system.versions(node).await?;
        }
        system.form(members).await?;
        if let Some(changing) = &self.changing {
            changing.stand_by(others).await?;
        }
        let (metas, remarks) = collect::describe(nodes, system).await;
        self.meta.system_versions = versions(&metas);
        self.meta.nodes = metas;
        for remark in remarks {
            tracing::warn!("{remark}");
        }
        system.prepare(members, &self.setting.workload).await?;
        Ok(())
    }
}

/// The versions of all nodes: one if they agree, else all, each once.
pub(super) fn versions(nodes: &[NodeMeta]) -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (package, version) in nodes.iter().flat_map(|node| &node.versions) {
        all.entry(package.clone()).or_default().insert(version);
    }
    all.into_iter()
        .map(|(package, versions)| (package, versions.into_iter().collect::<Vec<_>>().join(", ")))
        .collect()
}
