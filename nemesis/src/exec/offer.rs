//! Which faults on nodes' conditions can be had: asked of the nodes themselves, before anything is done to them.
//!
//! Nothing is changed on a node by asking. What could not be found out is neither offered nor lacking.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use harness_lab::Node;
use tokio::time::Instant;

use super::{
    PrepareError, Setup,
    condition::{place, tell},
    each::each,
    marker,
    one::Planned,
    ports::Capabilities,
    report::with_sources,
};
use crate::plan::{
    Condition, Kind, Selector, Target,
    condition::script::{self, Lack},
};

/// How long finding out what nodes have may take.
const CHECK_LIMIT: Duration = Duration::from_secs(30);

/// Whether a fault can be had on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It can; and how, if not in the usual way.
    Offered(Option<String>),
    /// It cannot, and why, and what to do.
    Lacking(Lack),
    /// It could not be found out.
    Unknown(String),
}

/// Asks every node about every fault on its conditions, and changes nothing there. In the order of the nodes.
pub async fn offers(
    nodes: &[Node],
    can: &Capabilities,
    condition: Condition,
) -> Vec<(String, Offer)> {
    let jobs = (0..nodes.len()).map(|at| {
        let (nodes, can) = (nodes.to_vec(), can.clone());
        (at, async move { offer(&nodes, &can, at, condition).await })
    });
    let answers = each(jobs, Instant::now() + CHECK_LIMIT).await;
    let told = answers.into_iter().map(|(at, answer)| {
        let silent = || Offer::Unknown("no answer in time".to_owned());
        (nodes[at].name.to_string(), answer.unwrap_or_else(silent))
    });
    told.collect()
}

async fn offer(nodes: &[Node], can: &Capabilities, at: usize, condition: Condition) -> Offer {
    let node = &nodes[at];
    if let Err(error) = marker::assert_ours(node).await {
        return Offer::Unknown(with_sources(&error));
    }
    let place = match place(can, nodes, at, condition).await {
        Ok(place) => place,
        Err(trouble) => return Offer::Unknown(trouble.text),
    };
    match tell(node, &script::check(condition, &place)).await {
        Ok(said) => {
            script::lack(&said).map_or_else(|| Offer::Offered(script::way(&said)), Offer::Lacking)
        }
        Err(why) => Offer::Unknown(why),
    }
}

/// Refuses what cannot be had on the nodes that it may strike.
pub(super) async fn check(
    setup: &Setup,
    planned: impl Iterator<Item = &Planned>,
) -> Result<(), PrepareError> {
    let mut wanted: BTreeMap<Condition, Option<BTreeSet<String>>> = BTreeMap::new();
    for planned in planned {
        let Some(asked) = &planned.asked else {
            continue;
        };
        let meant = wanted
            .entry(asked.condition)
            .or_insert_with(|| Some(BTreeSet::new()));
        match (&planned.target, meant) {
            (Target::Nodes(Selector::List(names)), Some(meant)) => {
                meant.extend(names.iter().cloned());
            }
            (_, meant) => *meant = None,
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    nothing_left(&setup.nodes).await?;
    for (condition, meant) in wanted {
        for (node, offer) in offers(&setup.nodes, &setup.can, condition).await {
            if meant.as_ref().is_some_and(|meant| !meant.contains(&node)) {
                continue;
            }
            let kind = Kind::Condition(condition);
            match offer {
                Offer::Offered(_) => {}
                Offer::Lacking(Lack { reason, mend }) => {
                    return Err(PrepareError::NotOffered {
                        kind,
                        node,
                        reason,
                        mend,
                    });
                }
                Offer::Unknown(detail) => {
                    return Err(PrepareError::Unasked { kind, node, detail });
                }
            }
        }
    }
    Ok(())
}

async fn nothing_left(nodes: &[Node]) -> Result<(), PrepareError> {
    let jobs = nodes.iter().enumerate().map(|(at, node)| {
        let node = node.clone();
        (at, async move { tell(&node, &script::leftovers()).await })
    });
    for (at, answer) in each(jobs, Instant::now() + CHECK_LIMIT).await {
        let node = nodes[at].name.to_string();
        let left = answer.and_then(Result::ok);
        match left.as_deref().map(str::trim) {
            Some("") => {}
            Some(left) => {
                return Err(PrepareError::FaultsLeft {
                    node,
                    faults: left.replace('\n', ", "),
                });
            }
            None => return Err(PrepareError::Silent { node }),
        }
    }
    Ok(())
}
