//! Whether a plan can be done on these nodes, before the run begins: nothing is changed on them.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use harness_core::meta::{Plan, Trigger};
use harness_lab::{Node, TransportError};
use thiserror::Error;
use tokio::time::Instant;

use super::{
    Setup, anew, each::each, function, guard, marker, network::has_table, offer, one::Planned,
    watched,
};
use crate::{
    plan::{Asked, Kind, parse::parse_target},
    points::PointError,
};

/// How long a node may take to answer before the run begins.
const PREPARE_LIMIT: Duration = Duration::from_secs(30);

/// Why a plan is refused before the run begins.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PrepareError {
    /// The plan has words that are none.
    #[error("fault {id} of the plan makes no sense ({detail})")]
    Plan {
        /// Its number in the plan.
        id: u32,
        /// Why.
        detail: String,
    },
    /// The system lacks a capability.
    #[error("{kind} cannot be had here: the system under test offers no {}", .missing.join(" and no "))]
    Missing {
        /// The fault's kind.
        kind: Kind,
        /// What is missing.
        missing: Vec<&'static str>,
    },
    /// Two nodes behind one address cannot be cut from each other.
    #[error(
        "{first} and {second} have the same address {address}, so no partition can tell them apart"
    )]
    SharedAddress {
        /// One node.
        first: String,
        /// The other.
        second: String,
        /// Their address.
        address: IpAddr,
    },
    /// A node is not ours, or cannot be asked.
    #[error(transparent)]
    Node(#[from] TransportError),
    /// A node did not answer.
    #[error("{node} did not answer within {} s", PREPARE_LIMIT.as_secs())]
    Silent {
        /// The node's name.
        node: String,
    },
    /// A node cannot be cut.
    #[error("{node} cannot be partitioned ({detail}); it needs nftables and the right to use it")]
    NoNft {
        /// The node's name.
        node: String,
        /// What nft said.
        detail: String,
    },
    /// A function cannot be watched.
    #[error("fault {id} of the plan cannot strike at {function}")]
    Function {
        /// The fault's number in the plan.
        id: u32,
        /// The function.
        function: String,
        /// Why not.
        #[source]
        source: Box<PointError>,
    },
    /// A node cannot be booted anew.
    #[error("{node} cannot be booted anew ({detail}); leave reboot out, or take other nodes")]
    NoReboot {
        /// The node's name.
        node: String,
        /// Why not.
        detail: String,
    },
    /// A node's guard does not answer.
    #[error("the guard of {node} cannot be told ({detail}); `harness lab heal --purge` removes it")]
    NoGuard {
        /// The node's name.
        node: String,
        /// What was said.
        detail: String,
    },
    /// A workload keeps its own account of who is a member.
    #[error(
        "wipe joins what it wiped anew, and this workload changes the membership itself and would not know; choose another --workload, such as bank"
    )]
    WipeAmongChanges,
    /// What a fault waits for cannot be watched.
    #[error("fault {id} of the plan cannot wait for {what}")]
    Watch {
        /// The fault's number in the plan.
        id: u32,
        /// What it waits for.
        what: String,
        /// Why not.
        #[source]
        source: TransportError,
    },
    /// The node or its kernel lacks what the fault takes.
    #[error("{kind} cannot be had on {node}: {reason}{}", .mend.as_ref().map(|mend| format!("; {mend}")).unwrap_or_default())]
    NotOffered {
        /// The fault's kind.
        kind: Kind,
        /// The node's name.
        node: String,
        /// Why not.
        reason: String,
        /// What to do, if something can be done.
        mend: Option<String>,
    },
    /// A fault of an earlier run is still there.
    #[error(
        "{node} has faults left from an earlier run (number {faults}); `harness lab heal` undoes them"
    )]
    FaultsLeft {
        /// The node's name.
        node: String,
        /// Their numbers in that run.
        faults: String,
    },
    /// What a node has could not be found out.
    #[error("whether {kind} can be had on {node} could not be found out ({detail})")]
    Unasked {
        /// The fault's kind.
        kind: Kind,
        /// The node's name.
        node: String,
        /// What went wrong.
        detail: String,
    },
    /// A partition of an earlier run is still there.
    #[error(
        "{node} has a table inet harness left from an earlier run; `harness lab heal` removes it"
    )]
    LeftOver {
        /// The node's name.
        node: String,
    },
}

impl PrepareError {
    /// Whether what was asked for cannot be had here, as opposed to nodes that do not answer or are not as they should be.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Plan { .. }
            | Self::Missing { .. }
            | Self::NotOffered { .. }
            | Self::NoReboot { .. }
            | Self::WipeAmongChanges => true,
            Self::Function { source, .. } => source.is_refusal(),
            Self::Watch { source, .. } => matches!(source, TransportError::Refused { .. }),
            _ => false,
        }
    }
}

/// The plan's faults by lane, if all of them can be done.
pub(super) async fn lanes(
    setup: &Setup,
    plan: &Plan,
) -> Result<BTreeMap<u32, Vec<Planned>>, PrepareError> {
    let lanes = read_plan(plan, setup.nodes.len())?;
    let kinds: Vec<Kind> = lanes
        .values()
        .flatten()
        .map(|planned| planned.kind)
        .collect();
    for planned in lanes.values().flatten() {
        let at_function = planned.entry().is_some();
        let missing = setup.can.missing(planned.kind, at_function);
        if !missing.is_empty() {
            return Err(PrepareError::Missing {
                kind: planned.kind,
                missing,
            });
        }
    }
    let cuts = kinds.contains(&Kind::Partition);
    if kinds.contains(&Kind::Wipe) && setup.can.members.is_some() {
        return Err(PrepareError::WipeAmongChanges);
    }
    if cuts {
        check_addresses(&setup.nodes)?;
    }
    if !kinds.is_empty() {
        let wanted = Wanted {
            cuts,
            boots: kinds.contains(&Kind::Reboot),
            guards: setup.guard.is_some(),
        };
        check_nodes(&setup.nodes, wanted).await?;
    }
    let waits = |trigger: &Trigger| match trigger {
        Trigger::Phase(_) => true,
        Trigger::Function(entry) => entry.after.is_some(),
        Trigger::Watch(watch) => watch.after.is_some(),
        Trigger::Fault(_) => false,
    };
    let mut waiting = plan.faults.iter();
    let waiting = waiting.find(|fault| fault.trigger.as_ref().is_some_and(waits));
    if setup.phases.is_none()
        && let Some(waiting) = waiting
    {
        return Err(PrepareError::Plan {
            id: waiting.id,
            detail: "it waits for an operation, and nobody tells of any".to_owned(),
        });
    }
    offer::check(setup, lanes.values().flatten()).await?;
    function::check(setup, lanes.values().flatten()).await?;
    watched::check(setup, lanes.values().flatten()).await?;
    Ok(lanes)
}

/// Reads the words of a plan, by lane, each lane in the order of time.
fn read_plan(plan: &Plan, nodes: usize) -> Result<BTreeMap<u32, Vec<Planned>>, PrepareError> {
    let mut lanes: BTreeMap<u32, Vec<Planned>> = BTreeMap::new();
    for fault in &plan.faults {
        let error = |detail: String| PrepareError::Plan {
            id: fault.id,
            detail,
        };
        let kind = Kind::from_word(&fault.kind)
            .ok_or_else(|| error(format!("no fault is called {:?}", fault.kind)))?;
        let target = parse_target(kind, &fault.target).map_err(|e| error(e.to_string()))?;
        let asked = kind
            .condition()
            .map(|condition| Asked::read(condition, &fault.options));
        let asked = asked.transpose().map_err(|e| error(e.to_string()))?;
        if fault.order.len() != nodes {
            let planned = fault.order.len();
            return Err(error(format!(
                "it is for {planned} nodes, and there are {nodes}"
            )));
        }
        lanes.entry(fault.lane).or_default().push(Planned {
            fault: fault.clone(),
            kind,
            target,
            asked,
        });
    }
    for lane in lanes.values_mut() {
        lane.sort_by_key(|planned| planned.fault.inject_ms);
    }
    Ok(lanes)
}

fn check_addresses(nodes: &[Node]) -> Result<(), PrepareError> {
    for (at, node) in nodes.iter().enumerate() {
        if let Some(other) = nodes[..at]
            .iter()
            .find(|other| other.address == node.address)
        {
            return Err(PrepareError::SharedAddress {
                first: other.name.to_string(),
                second: node.name.to_string(),
                address: node.address,
            });
        }
    }
    Ok(())
}

/// What the nodes are to be able to do.
#[derive(Clone, Copy)]
struct Wanted {
    cuts: bool,
    boots: bool,
    guards: bool,
}

async fn check_nodes(nodes: &[Node], wanted: Wanted) -> Result<(), PrepareError> {
    let jobs = nodes.iter().map(|node| {
        let checked = node.clone();
        (node, async move { check_node(&checked, wanted).await })
    });
    for (node, answer) in each(jobs, Instant::now() + PREPARE_LIMIT).await {
        answer.unwrap_or_else(|| {
            Err(PrepareError::Silent {
                node: node.name.to_string(),
            })
        })?;
    }
    Ok(())
}

async fn check_node(node: &Node, wanted: Wanted) -> Result<(), PrepareError> {
    marker::assert_ours(node).await?;
    if wanted.boots {
        anew::check(node).await?;
    }
    if wanted.guards {
        // One that a killed harness left must not act in the middle of this run.
        let told = guard::stand_down(node, false).await;
        told.map_err(|detail| PrepareError::NoGuard {
            node: node.name.to_string(),
            detail,
        })?;
    }
    if !wanted.cuts {
        return Ok(());
    }
    let name = node.name.to_string();
    match has_table(node).await {
        Ok(false) => Ok(()),
        Ok(true) => Err(PrepareError::LeftOver { node: name }),
        Err(trouble) => Err(PrepareError::NoNft {
            node: name,
            detail: trouble.text,
        }),
    }
}
