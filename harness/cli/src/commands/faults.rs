//! `harness faults`: all faults with their options, targets, evidence and needs, and whether the lab that is up offers them.

use std::collections::BTreeMap;

use harness_core::exit::Exit;
use harness_lab::{lab::Lab, provider::LabError, state::State};
use harness_nemesis::{
    catalog::{self, FaultInfo},
    exec::{Offer, offers},
    plan::Kind,
};
use harness_run::conduct::capabilities;
use serde_json::{Value, json};

use super::{
    lab::{elevate_to_look, failure as lab_failure},
    points::system_handles,
};
use crate::{
    args::FaultsArgs,
    failure::{Failure, chain},
    terminal,
};

/// Version of the JSON that it prints.
const FORMAT_VERSION: u32 = 1;

/// What was found about one fault on the lab that is up.
enum Found {
    /// There is no lab, or nothing was asked of it.
    NotAsked,
    /// Every node offers it; and how, where not in the usual way.
    Offered(Option<String>),
    /// The system lacks a capability, or nodes lack something: a reason by node, and what to do.
    Not(Vec<(String, String)>, Option<String>),
}

/// Prints them all, or some.
pub fn faults(args: &FaultsArgs) -> Result<Exit, Failure> {
    let wanted = wanted(&args.only)?;
    // Refused for what it is, also where there is no lab.
    system_handles(&args.system, &[])?;
    elevate_to_look()?;
    let state = State::look_from_environment().map_err(|error| Failure::usage(chain(&error)))?;
    let lab = match Lab::load(&state) {
        Ok(lab) => Some(lab),
        Err(LabError::NoLab) => None,
        Err(error) => return Err(lab_failure(&error)),
    };
    let up = lab.is_some();
    let found = match lab {
        None => BTreeMap::new(),
        Some(lab) => super::runtime()?.block_on(ask(&lab, &args.system, &wanted))?,
    };
    let found = |kind: Kind| found.get(&kind).unwrap_or(&Found::NotAsked);
    if args.json {
        let faults: Vec<Value> = wanted
            .iter()
            .map(|info| value(info, found(info.kind)))
            .collect();
        let all = json!({
            "format_version": FORMAT_VERSION,
            "system": args.system,
            "lab": up,
            "faults": faults,
        });
        terminal::print(&all.to_string());
        return Ok(Exit::Valid);
    }
    for info in &wanted {
        terminal::print(&words(info, found(info.kind)));
    }
    if !up {
        terminal::say("no lab is up, so that nobody knows what its nodes offer; harness lab up");
    }
    Ok(Exit::Valid)
}

fn wanted(only: &[String]) -> Result<Vec<FaultInfo>, Failure> {
    if only.is_empty() {
        return Ok(catalog::catalog());
    }
    let one = |word: &String| {
        // What is wrong with a name is told as it is for a run.
        let lanes = harness_nemesis::plan::parse(word);
        let lanes = lanes.map_err(|error| Failure::usage(chain(&error)))?;
        let lane = lanes.first();
        let lane = lane.ok_or_else(|| Failure::usage("none is no fault"))?;
        Ok(catalog::info(lane.kind))
    };
    only.iter().map(one).collect()
}

async fn ask(
    lab: &Lab,
    system: &str,
    wanted: &[FaultInfo],
) -> Result<BTreeMap<Kind, Found>, Failure> {
    let can = capabilities(system_handles(system, &lab.nodes)?);
    let mut all = BTreeMap::new();
    for info in wanted {
        let missing = can.missing(info.kind, false);
        let found = if missing.is_empty() {
            match info.kind.condition() {
                None => Found::Offered(None),
                Some(condition) => folded(offers(&lab.nodes, &can, condition).await),
            }
        } else {
            let reason = format!("{system} offers no {}", missing.join(" and no "));
            Found::Not(vec![("every node".to_owned(), reason)], None)
        };
        all.insert(info.kind, found);
    }
    lab.close().await;
    Ok(all)
}

/// One reason with the nodes that gave it.
fn folded(offers: Vec<(String, Offer)>) -> Found {
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut mend, mut way) = (None, None);
    for (node, offer) in offers {
        match offer {
            Offer::Offered(how) => way = how.or(way),
            Offer::Lacking(lack) => {
                mend = lack.mend.or(mend);
                reasons.entry(lack.reason).or_default().push(node);
            }
            Offer::Unknown(why) => reasons.entry(why).or_default().push(node),
        }
    }
    if reasons.is_empty() {
        return Found::Offered(way);
    }
    let by_nodes = |(reason, nodes): (String, Vec<String>)| (nodes.join(" "), reason);
    Found::Not(reasons.into_iter().map(by_nodes).collect(), mend)
}

fn value(info: &FaultInfo, found: &Found) -> Value {
    let options: Vec<Value> = info
        .options
        .iter()
        .map(|option| {
            json!({
                "name": option.name, "default": option.default, "meaning": option.meaning,
                "values": option.shape.example(),
            })
        })
        .collect();
    let targets: Vec<Value> = info
        .targets
        .iter()
        .map(|target| json!({ "word": target.word, "meaning": target.meaning }))
        .collect();
    let way = match found {
        Found::Offered(way) => way.clone(),
        _ => None,
    };
    let (offered, lacking, mend) = match found {
        Found::NotAsked => (Value::Null, Vec::new(), None),
        Found::Offered(_) => (true.into(), Vec::new(), None),
        Found::Not(reasons, mend) => {
            let reasons = reasons.iter();
            let reasons = reasons.map(|(nodes, why)| json!({ "nodes": nodes, "reason": why }));
            (false.into(), reasons.collect(), mend.clone())
        }
    };
    json!({
        "fault": info.kind.as_str(), "summary": info.summary, "evidence": info.evidence, "heal": info.heal,
        "needs": info.needs, "node_needs": info.node_needs, "options": options, "targets": targets,
        "offered": offered, "way": way, "lacking": lacking, "mend": mend,
    })
}

fn words(info: &FaultInfo, found: &Found) -> String {
    let mut lines = vec![
        format!("{}: {}", info.kind, info.summary),
        format!("  seen:    {}", info.evidence),
        format!("  heal:    {}", info.heal),
    ];
    if !info.needs.is_empty() {
        lines.push(format!("  system:  must offer {}", info.needs));
    }
    if !info.node_needs.is_empty() {
        lines.push(format!("  nodes:   must have {}", info.node_needs));
    }
    for option in info.options {
        lines.push(format!(
            "  option:  {}/{}={}  {} ({})",
            info.kind,
            option.name,
            option.default,
            option.meaning,
            option.shape.example()
        ));
    }
    let targets: Vec<&str> = info
        .targets
        .iter()
        .map(|target| target.word.as_str())
        .collect();
    lines.push(format!("  targets: {}", targets.join(", ")));
    match found {
        Found::NotAsked => {}
        Found::Offered(None) => lines.push("  here:    offered".to_owned()),
        Found::Offered(Some(way)) => lines.push(format!("  here:    offered, {way}")),
        Found::Not(reasons, mend) => {
            for (nodes, why) in reasons {
                lines.push(format!("  here:    NOT offered: {why} ({nodes})"));
            }
            lines.extend(mend.as_ref().map(|mend| format!("  mend:    {mend}")));
        }
    }
    lines.join("\n") + "\n"
}
