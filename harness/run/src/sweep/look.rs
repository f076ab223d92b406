//! One look at all places on all nodes of a cell, outside of a run.

use std::{sync::Arc, time::Duration};

use harness_core::{
    sweep::{Remains, Who, remains},
    view::View,
};
use harness_lab::{Node, capability::Sources};
use tokio::{task::JoinSet, time::sleep};

use super::{Ask, Cell, SweepError, needed, subject};
use crate::sampler::READ_TIMEOUT;

/// How long between two looks.
const PAUSE: Duration = Duration::from_millis(1000);

/// What each place says now.
pub(super) async fn views(
    nodes: &[Node],
    sources: &Arc<dyn Sources>,
) -> Result<Vec<View>, SweepError> {
    let mut reading = JoinSet::new();
    for node in nodes {
        for place in sources.places().to_vec() {
            let (node, sources) = (node.clone(), Arc::clone(sources));
            reading.spawn(async move {
                let read = sources.read(&node, &place, READ_TIMEOUT).await;
                (node, place, read)
            });
        }
    }
    let mut found = Vec::new();
    while let Some(ended) = reading.join_next().await {
        let (node, place, read) = ended.map_err(|error| SweepError::Panicked(error.to_string()))?;
        found.extend(read.into_iter().map(|read| View {
            sample: 0,
            source: place.source,
            label: read.label.map(Arc::from),
            node: Arc::from(node.name.as_str()),
            start_ns: 0,
            end_ns: 0,
            reading: read.reading,
            raft: read.raft,
        }));
    }
    Ok(found)
}

/// What of the node that the operation is about is where, by these views.
pub(super) fn left(ask: &Ask, cell: &Cell, views: &[View]) -> Remains {
    let addresses: Vec<String> = cell
        .nodes
        .iter()
        .map(|node| node.address.to_string())
        .collect();
    let nodes: Vec<Who<'_>> = cell
        .nodes
        .iter()
        .zip(&addresses)
        .zip(&cell.shown)
        .map(|((node, address), shown)| Who {
            name: node.name.as_str(),
            address,
            shown,
        })
        .collect();
    let others = cell.others(ask);
    let members: Vec<&str> = others.iter().map(|node| node.name.as_str()).collect();
    remains(
        views,
        &nodes,
        &members,
        subject(ask, &cell.nodes).name.as_str(),
    )
}

/// Looks until the sources agree, or the time is over.
pub(super) async fn until_agreed(
    ask: &Ask,
    cell: &Cell,
    limit: Duration,
) -> Result<Remains, SweepError> {
    let sources = needed("sources", &*cell.system, cell.system.handles().sources)?;
    let until = tokio::time::Instant::now() + limit;
    loop {
        let now = left(ask, cell, &views(&cell.nodes, &sources).await?);
        if now.agrees() || tokio::time::Instant::now() >= until {
            return Ok(now);
        }
        sleep(PAUSE).await;
    }
}
