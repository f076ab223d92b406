//! `harness sweep`: every crash point of one operation, each on a fresh cluster, and what is left where.

mod asked;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use harness_core::{
    exit::Exit,
    meta::{self, Meta},
    sweep::{self, Head, SweepOp},
    verdict::Verdict,
};
use harness_lab::{Node, lab::Lab, provider::LabSpec, state::State};
use harness_nemesis::points::Programs;
use harness_report::sweep as shown;
use harness_run::{
    cancel::Cancel,
    clock,
    files::{self, Owner},
    signals,
    store::RunStore,
    sweep::{Ask, Cell, Journal, Points, SweepError, Swept, Told, Works},
    utc,
};
use harness_workloads::systems::{System, lxd};

use asked::{Asked, cells_of, understood};
pub(super) use asked::{fail_by, members, op, points};

use super::lab;
use crate::{
    args::SweepArgs,
    failure::{Failure, chain},
    heal,
    options::parse_time,
    progress::Bars,
    terminal,
};

/// Heartbeats over which all sources must be unchanged.
pub(super) const UNCHANGED_HEARTBEATS: u32 = 2;
/// How much longer than that, so that the last heartbeat has arrived everywhere.
pub(super) const UNCHANGED_MARGIN: Duration = Duration::from_millis(500);
/// How long the members may take to accept writes again.
pub(super) const RECOVERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Sweeps.
pub fn sweep(args: SweepArgs) -> Result<Exit, Failure> {
    let asked = understood(args)?;
    let choice = &asked.args.choice;
    let spec = lab::spec_or_up(choice.lab.as_deref(), choice.nodes, choice.suite.as_deref())?;
    let spec = lab::with_lxd(spec)?;
    let cells = cells_of(&asked, spec.node_names().len())?;
    lab::elevate_for(&spec)?;
    super::runtime()?.block_on(session(asked, &spec, cells))
}

async fn session(asked: Asked, spec: &LabSpec, cells: usize) -> Result<Exit, Failure> {
    let cancel = Cancel::new();
    let _signals = signals::listen(cancel.clone(), |_, _| {
        terminal::say(
            "harness: interrupted; healing, and leaving the sweep so that --resume goes on with it",
        );
    })
    .map_err(|error| Failure::because("signals cannot be caught", &error))?;
    let state = lab::state()?;
    let lock = lab::lock(&state, "sweep")?;
    let up = lab::bring_up(&state, &lock, spec, &lab::up_options()).await?;
    let healed = heal::before_sweep(&state, &up).await;
    let swept = match healed {
        Ok(()) => on_lab(asked, &state, &up, cells, &cancel).await,
        Err(error) => Err(error),
    };
    up.close().await;
    swept
}

async fn on_lab(
    asked: Asked,
    state: &State,
    up: &Lab,
    cells: usize,
    cancel: &Cancel,
) -> Result<Exit, Failure> {
    let probe = lxd_on(&up.nodes[..0])?;
    let heartbeat = probe
        .timing()
        .map_or(Duration::from_secs(5), |timing| timing.heartbeat);
    let unchanged = heartbeat * UNCHANGED_HEARTBEATS + UNCHANGED_MARGIN;
    let (folder, journal) = match asked.resumed {
        Some((folder, journal)) => {
            same_system(journal.head(), &versions(up).await?)?;
            (folder, journal)
        }
        None => begin(&asked, up, unchanged).await?,
    };
    let (members, op) = (asked.members, asked.op);
    let size = match op {
        SweepOp::Join | SweepOp::FailedJoin => members + 1,
        SweepOp::Remove => members,
    };
    let mut made = Vec::new();
    for (number, nodes) in up.nodes.chunks_exact(size).take(cells).enumerate() {
        made.push(Cell {
            system: lxd_on(nodes)?,
            nodes: nodes.to_vec(),
            active_ledger: Some(state.root().join(heal::cell_ledger(number))),
            described: Vec::new(),
            shown: Vec::new(),
        });
    }
    let head = journal.head().clone();
    let time = |field: &str, text: &str| parse_time(field, text);
    let ask = Ask {
        unchanged: Duration::from_millis(head.unchanged_ms),
        points: asked.points,
        settle_limit: time("settle-limit", &asked.args.settle_limit)?,
        op_timeout: time("op-timeout", &asked.args.op_timeout)?,
        fault_on: time("fault-on", &asked.args.fault_on)?,
        sample_interval: time("sample-interval", &asked.args.sample_interval)?,
        first: asked.args.first,
        recovery_timeout: RECOVERY_TIMEOUT,
        mends: !asked.args.no_mends,
        meta: meta(&head, up),
        head,
    };
    let bars = Arc::new(Bars::new());
    bars.line(&format!(
        "sweep {}",
        super::sources::shown(&folder).display()
    ));
    let says = Arc::clone(&bars);
    let works = Works {
        ask,
        runs: RunStore::new(&folder, Owner::from_sudo()),
        folder: folder.clone(),
        programs: Arc::new(Programs::default()),
        tell: Arc::new(move |told| tell(&says, told)),
        cancel: cancel.clone(),
    };
    let swept = harness_run::sweep::sweep(works, made, journal).await;
    bars.clear();
    let swept = match swept {
        Ok(swept) => swept,
        Err(SweepError::Interrupted) => return Ok(Exit::Interrupted),
        Err(error @ SweepError::Refused(_)) => return Err(Failure::usage(chain(&error))),
        Err(error) => return Err(Failure::harness(chain(&error))),
    };
    write(&folder, &swept)?;
    print(&asked.args, &folder, &swept);
    Ok(exit(&swept))
}

/// Makes the folder of a new sweep, and its journal.
async fn begin(
    asked: &Asked,
    up: &Lab,
    unchanged: Duration,
) -> Result<(PathBuf, Journal), Failure> {
    let system_versions = versions(up).await?;
    let started_wall_ns = clock::wall_ns();
    let (pattern, named) = match &asked.points {
        Points::Own => (None, Vec::new()),
        Points::Matching(pattern) => (Some(pattern.as_str().to_owned()), Vec::new()),
        Points::Named(names) => (None, names.clone()),
    };
    let head = Head {
        format_version: sweep::FORMAT_VERSION,
        system: asked.args.system.clone(),
        system_versions,
        suite: up
            .record
            .spec
            .recipe()
            .map_or_else(String::new, |recipe| recipe.suite().to_string()),
        op: asked.op,
        fail_by: asked.fail_by,
        victim: asked.victim,
        fault: asked.fault,
        members: asked.members,
        pattern,
        named,
        started_wall_ns,
        unchanged_ms: u64::try_from(unchanged.as_millis()).unwrap_or(u64::MAX),
    };
    let owner = Owner::from_sudo();
    let by = head
        .fails_by()
        .map_or_else(String::new, |by| format!("-{by}"));
    let kind = format!(
        "{}-{}{by}-{}-{}",
        head.system, head.op, head.victim, head.fault
    );
    let root = asked.args.results.join("sweeps");
    let below = Path::new(&kind).join(utc::compact(started_wall_ns));
    let folder = root.join(&below);
    let made = || -> std::io::Result<PathBuf> {
        files::make_folder(&folder, owner)?;
        files::link_atomic(&below, &root.join("latest"), owner)?;
        std::fs::canonicalize(&folder)
    };
    let folder = made()
        .map_err(|error| Failure::usage(format!("results: {}: {error}", folder.display())))?;
    let journal = Journal::create(&folder, head).map_err(|error| Failure::usage(chain(&error)))?;
    Ok((folder, journal))
}

pub(super) async fn versions(up: &Lab) -> Result<BTreeMap<String, String>, Failure> {
    let system = lxd_on(&up.nodes[..1])?;
    let versions = system.versions(&up.nodes[0]).await;
    versions.map_err(|error| Failure::usage(chain(&error)))
}

/// Points of one sweep are points of one program.
fn same_system(head: &Head, versions: &BTreeMap<String, String>) -> Result<(), Failure> {
    if head.system_versions == *versions {
        return Ok(());
    }
    let told = |versions: &BTreeMap<String, String>| {
        let each = versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"));
        each.collect::<Vec<_>>().join(", ")
    };
    Err(Failure::usage(format!(
        "resume: the sweep is of {} ({}), and the lab has {}; go on with it in a lab of what it was begun with, or begin another without --resume",
        head.suite,
        told(&head.system_versions),
        told(versions)
    )))
}

pub(super) fn lxd_on(nodes: &[Node]) -> Result<Arc<dyn System>, Failure> {
    let system = lxd::Lxd::new(nodes, lxd::Options::default());
    Ok(Arc::new(
        system.map_err(|error| Failure::usage(error.to_string()))?,
    ))
}

/// What is known of each point's run before it begins.
pub(super) fn meta(head: &Head, up: &Lab) -> Meta {
    Meta {
        format_version: meta::FORMAT_VERSION,
        harness_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_commit: option_env!("HARNESS_GIT_COMMIT").map(ToOwned::to_owned),
        system: head.system.clone(),
        provider: up.record.spec.kind().name().to_owned(),
        suite: head.suite.clone(),
        image_hash: up.record.image.clone().unwrap_or_default(),
        command_line: std::env::args().collect(),
        ..Meta::default()
    }
}

fn tell(bars: &Bars, told: Told) {
    match told {
        Told::Now(text) => bars.live(&text),
        Told::Finished {
            result,
            done,
            total,
            left,
        } => {
            let came = sweep::Came::of(&result);
            let left_in = match result.struck {
                true => came.left,
                false => format!("not struck: {}", result.evidence),
            };
            bars.line(&format!(
                "{done}/{total}  {}  {}  {left_in}  ({:.0} s, {} min left)",
                shown::short(&result.point.function),
                came.outcome,
                Duration::from_millis(result.took_ms).as_secs_f64(),
                left.as_secs().div_ceil(60)
            ));
            bars.live(&format!(
                "sweep {done} of {total} points, about {} min left",
                left.as_secs().div_ceil(60)
            ));
        }
        Told::Open { point, why } => bars.line(&format!("left open: {}: {why}", point.function)),
    }
}

fn write(folder: &Path, swept: &Swept) -> Result<(), Failure> {
    let owner = Owner::from_sudo();
    let said = |name: &str, error: &dyn std::error::Error| {
        Failure::because(&format!("{name} cannot be written"), error)
    };
    files::write_json(&folder.join("sweep.json"), &swept.sweep, owner)
        .map_err(|error| said("sweep.json", &error))?;
    let page = shown::page(&swept.sweep).map_err(|error| said("report.html", &error))?;
    files::write_atomic(&folder.join("report.html"), page.as_bytes(), owner)
        .map_err(|error| said("report.html", &error))?;
    if let Some(owner) = owner {
        owner
            .take_tree(folder)
            .map_err(|error| said("the folder", &error))?;
    }
    Ok(())
}

fn print(args: &SweepArgs, folder: &Path, swept: &Swept) {
    if args.json {
        match serde_json::to_string(&swept.sweep) {
            Ok(text) => terminal::print(&text),
            Err(error) => terminal::say(&format!("harness: results are no JSON: {error}")),
        }
    } else if args.minimal {
        terminal::print(&shown::minimal(&swept.sweep));
    } else {
        terminal::print(&shown::table(&swept.sweep));
    }
    let folder = super::sources::shown(folder);
    terminal::say(&format!("report  {}", folder.join("report.html").display()));
    if swept.open > 0 {
        terminal::say(&format!(
            "{} points are open; harness sweep --resume {}",
            swept.open,
            folder.display()
        ));
    }
}

fn exit(swept: &Swept) -> Exit {
    let verdicts = swept.sweep.results.iter().map(|result| result.verdict);
    let mut exit = Exit::from(Verdict::merge(verdicts));
    if swept.interrupted {
        exit = exit.worst(Exit::Interrupted);
    } else if swept.open > 0 {
        exit = exit.worst(Exit::HarnessFailure);
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_goes_on_with_the_program_that_it_was_begun_with() {
        let golden = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../results/golden/sweep/trixie-remove-removed-kill.json"
        );
        let text = std::fs::read(golden).expect("a golden sweep");
        let sweep: sweep::Sweep = serde_json::from_slice(&text).expect("a sweep");
        let head = sweep.head;
        let mut versions = head.system_versions.clone();
        assert!(same_system(&head, &versions).is_ok());
        versions.insert("lxd".to_owned(), "5.0.2-5+deb12u6".to_owned());
        let refused = same_system(&head, &versions).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("the sweep is of trixie"), "{said}");
        assert!(said.contains("lxd 5.0.2-5+deb12u6"), "{said}");
    }
}
