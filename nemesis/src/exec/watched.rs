//! Waiting for what is watched on the nodes: lines of logs, files, queries, views.
//!
//! 1. Logs and files are watched by the nodes' agents, which tell; queries and sources of membership are asked again and again,
//!    because nothing tells: what they show began at some time since the answer before, and that much is said as the bound.
//! 2. What is watched on several nodes fires with the first of them.
//! 3. A watch that is lost, with its agent or its connection, begins again; what happened in between is missed, and that is said in
//!    our own log.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use harness_core::{
    fault::Triggered,
    trigger::{Predicate, Shown, Watch, Watched},
    view::{LOG, Member, Reading, Source},
};
use harness_lab::{
    Node, TransportError,
    capability::{Cost, Place, Query, Sources},
    watch::{WatchRequest, WatchTarget},
};
use regex_lite::Regex;
use serde_json::Value;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    PrepareError, Setup,
    each::each,
    one::{Inner, Planned, cancelled},
    ports::{Capabilities, Clock},
    report::with_sources,
    wait::{Fired, Hold},
};

/// How long trying a watch on all nodes may take before the run begins.
const CHECK_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait before a watch that was lost begins again.
const REARM_PAUSE: Duration = Duration::from_millis(250);
/// How long between an answer and the next question.
const ASK_PAUSE: Duration = Duration::from_millis(50);
/// How long an answer may take.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// Characters of a line or an answer that are told, at most.
const TOLD_CHARS: usize = 160;

/// What waiting came to.
pub(super) enum Saw {
    /// It was seen.
    Seen(Fired),
    /// What it was watched during was over first.
    Over,
    /// It was cancelled first.
    Cancelled,
}

/// Something that was seen.
struct Sighting {
    what: String,
    /// Nanoseconds since the run began.
    fired_ns: u64,
    bound_ns: Option<u64>,
    subject: Option<String>,
}

/// What is asked of an agent on this node; none for what no agent watches.
fn request(can: &Capabilities, watch: &Watch, node: &Node) -> Option<WatchRequest> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let what = match &watch.what {
        Watched::Log { pattern } => {
            let paths = can.log_files.as_ref()?.log_files(node);
            WatchTarget::Log {
                paths: paths.iter().map(|path| text(path)).collect(),
                pattern: pattern.clone(),
            }
        }
        Watched::File { event, glob } => {
            let folder = can.data.as_ref()?.files_folder(node);
            // What begins with / stays as it is.
            WatchTarget::File {
                glob: text(&folder.join(glob)),
                event: *event,
            }
        }
        Watched::Query(_) | Watched::View { .. } => return None,
    };
    let nth = watch.nth;
    Some(WatchRequest { what, nth })
}

/// Refuses what cannot be watched here, by trying it. Changes nothing on the nodes.
pub(super) async fn check(
    setup: &Setup,
    planned: impl Iterator<Item = &Planned>,
) -> Result<(), PrepareError> {
    let mut tried: Vec<&Watch> = Vec::new();
    let mut jobs = Vec::new();
    for planned in planned {
        let Some(watch) = planned.watch() else {
            continue;
        };
        if let Some(missing) = setup.can.missing_to_watch(&watch.what) {
            let missing = vec![missing];
            return Err(PrepareError::Missing {
                kind: planned.kind,
                missing,
            });
        }
        if tried.contains(&watch) {
            continue;
        }
        tried.push(watch);
        let id = planned.fault.id;
        check_view(setup, id, &watch.what)?;
        for node in &setup.nodes {
            let meant = watch.node.as_ref();
            if meant.is_some_and(|name| node.name.as_str() != name) {
                continue;
            }
            if let Some(request) = request(&setup.can, watch, node) {
                let node = node.clone();
                let key = (id, watch.what.to_string(), node.name.to_string());
                jobs.push((key, async move {
                    // Dropping it takes it away.
                    begin(&node, request).await.map(drop)
                }));
            }
        }
    }
    for ((id, what, node), answer) in each(jobs, Instant::now() + CHECK_LIMIT).await {
        match answer {
            Some(Ok(())) => {}
            Some(Err(source)) => {
                return Err(PrepareError::Watch { id, what, source });
            }
            None => return Err(PrepareError::Silent { node }),
        }
    }
    Ok(())
}

fn check_view(setup: &Setup, id: u32, what: &Watched) -> Result<(), PrepareError> {
    let (Watched::View { source, .. }, Some(can)) = (what, &setup.can.sources) else {
        return Ok(());
    };
    let places = can.places();
    if places.iter().any(|place| place.source == *source) {
        return Ok(());
    }
    let mut sources: Vec<&str> = places.iter().map(|place| place.source.as_str()).collect();
    sources.dedup();
    Err(PrepareError::Plan {
        id,
        detail: format!(
            "the system under test keeps no membership in a {source}; there are {}",
            sources.join(", ")
        ),
    })
}

async fn begin(
    node: &Node,
    request: WatchRequest,
) -> Result<harness_lab::watch::Watching, TransportError> {
    match node.transport.watches() {
        Some(watches) => watches.watch(request).await,
        None => Err(TransportError::Refused {
            node: node.name.to_string(),
            what: "watch (mend: SSH)".to_owned(),
            source: std::io::ErrorKind::Unsupported.into(),
        }),
    }
}

impl Inner {
    /// Waits until it is seen. `over` is when to give up; `first` what happened before, if it waited for something else first,
    /// which is held back until it is watched.
    pub(super) async fn watched(
        &self,
        watch: &Watch,
        first: Option<&Fired>,
        hold: Option<Hold>,
        over: impl Future<Output = ()>,
        cancel: &mut watch::Receiver<bool>,
    ) -> Saw {
        let nodes = self.watched_nodes(watch, first);
        let mut looking = self.look(watch, &nodes, hold);
        let seen = async {
            loop {
                match looking.join_next().await {
                    Some(Ok(sighting)) => return sighting,
                    Some(Err(error)) => tracing::error!(%error, "a watch broke off"),
                    None => return std::future::pending().await,
                }
            }
        };
        let sighting = tokio::select! {
            biased;
            () = cancelled(cancel) => return Saw::Cancelled,
            sighting = seen => sighting,
            () = over => return Saw::Over,
        };
        let before = first.map_or_else(String::new, |first| {
            format!("{}, then ", first.triggered.what)
        });
        let first_subject = first.and_then(|first| first.subject.clone());
        Saw::Seen(Fired {
            triggered: Triggered {
                what: format!("{before}{}", sighting.what),
                fired_ns: sighting.fired_ns,
                due_ns: sighting.fired_ns,
                bound_ns: sighting.bound_ns,
            },
            subject: first_subject.or(sighting.subject),
        })
    }

    /// Where it is watched: on the node that it names; else, where an operation came first, and what it leaves is on a node, on the
    /// one that the operation is about; else everywhere.
    fn watched_nodes(&self, watch: &Watch, first: Option<&Fired>) -> Vec<Node> {
        let of_one_node = match &watch.what {
            Watched::Log { .. } | Watched::File { .. } => true,
            Watched::Query(_) | Watched::View { .. } => false,
        };
        let subject = first.and_then(|first| first.subject.as_ref());
        let name = watch.node.as_ref().or(subject.filter(|_| of_one_node));
        let meant = |node: &&Node| name.is_none_or(|name| node.name.as_str() == name);
        self.nodes.iter().filter(meant).cloned().collect()
    }

    fn look(&self, watch: &Watch, nodes: &[Node], hold: Option<Hold>) -> JoinSet<Sighting> {
        let mut looking = JoinSet::new();
        let hold = hold.map(Arc::new);
        match &watch.what {
            Watched::Log { .. } | Watched::File { .. } => {
                for node in nodes {
                    if let Some(request) = request(&self.can, watch, node) {
                        let clock = self.journal.clock();
                        looking.spawn(follow(node.clone(), request, clock, hold.clone()));
                    }
                }
            }
            Watched::Query(Predicate::Sql(statement)) => {
                if let Some(can) = &self.can.query {
                    let ask = Statement {
                        can: Arc::clone(can),
                        nodes: nodes.to_vec(),
                        statement: statement.clone(),
                    };
                    looking.spawn(ask_until(ask, self.journal.clock()));
                }
            }
            Watched::Query(Predicate::Http { path, pattern }) => {
                for node in nodes {
                    if let Some(can) = &self.can.query {
                        let ask = Get {
                            can: Arc::clone(can),
                            node: node.clone(),
                            path: path.clone(),
                            // It was read when the plan was made.
                            pattern: pattern.as_ref().and_then(|text| Regex::new(text).ok()),
                        };
                        looking.spawn(ask_until(ask, self.journal.clock()));
                    }
                }
            }
            Watched::View {
                source,
                member,
                state,
            } => {
                let member = self.nodes.iter().find(|node| node.name.as_str() == member);
                if let (Some(can), Some(member)) = (&self.can.sources, member) {
                    for place in cheap_places(can.places(), *source) {
                        for node in nodes {
                            let ask = Look {
                                can: Arc::clone(can),
                                node: node.clone(),
                                place,
                                member: member.clone(),
                                state: *state,
                            };
                            looking.spawn(ask_until(ask, self.journal.clock()));
                        }
                    }
                }
            }
        }
        looking
    }
}

/// The places of a source; costly ones only if there are no others.
fn cheap_places(places: &[Place], source: Source) -> Vec<Place> {
    let of_source = places.iter().filter(|place| place.source == source);
    let (cheap, costly): (Vec<Place>, Vec<Place>) = of_source
        .copied()
        .partition(|place| place.cost == Cost::Low);
    if cheap.is_empty() { costly } else { cheap }
}

fn told(text: &str) -> String {
    text.chars().take(TOLD_CHARS).collect()
}

/// Watches by a node's agent.
async fn follow(
    node: Node,
    request: WatchRequest,
    clock: Arc<dyn Clock>,
    mut hold: Option<Arc<Hold>>,
) -> Sighting {
    let hit = loop {
        let begun = begin(&node, request.clone()).await;
        drop(hold.take());
        let lost = match begun {
            Ok(watching) => match watching.seen().await {
                Ok(hit) => break hit,
                Err(lost) => lost.to_string(),
            },
            Err(error) => with_sources(&error),
        };
        tracing::warn!(node = %node.name, lost, "a watch begins again; what happened in between is missed");
        sleep(REARM_PAUSE).await;
    };
    let what = match &request.what {
        WatchTarget::Log { .. } => {
            format!("{:?} in {} of {}", told(&hit.text), hit.path, node.name)
        }
        WatchTarget::File { event, .. } => {
            format!("{} {} on {}", hit.path, event.as_str(), node.name)
        }
    };
    let (fired_ns, bound_ns) = on_our_clock(&node, hit.wall_ns, &*clock).await;
    Sighting {
        what,
        fired_ns,
        bound_ns,
        subject: Some(node.name.to_string()),
    }
}

/// When something was on the run's clock that a node timed, and how exact that is.
pub(super) async fn on_our_clock(
    node: &Node,
    node_wall_ns: i64,
    clock: &dyn Clock,
) -> (u64, Option<u64>) {
    let offset = node.transport.clock_offset().await;
    let (run_ns, wall_ns) = (clock.run_ns(), clock.wall_ns());
    match offset {
        Ok(offset) => {
            let ours = node_wall_ns.saturating_sub(offset.wall_offset_ns);
            let ours = u64::try_from(ours).unwrap_or(0);
            let age_ns = wall_ns.saturating_sub(ours);
            (run_ns.saturating_sub(age_ns), Some(offset.bound_ns))
        }
        // Then it is known only that it was before now.
        Err(_) => (run_ns, None),
    }
}

/// Something that is asked again and again.
#[async_trait::async_trait]
trait Asked: Send + Sync {
    /// What was seen, if it holds now.
    async fn ask(&self) -> Option<String>;

    /// Whom it is about.
    fn subject(&self) -> Option<String>;
}

async fn ask_until(asked: impl Asked + 'static, clock: Arc<dyn Clock>) -> Sighting {
    let mut before_ns = None;
    loop {
        let asked_ns = clock.run_ns();
        if let Some(what) = asked.ask().await {
            let fired_ns = clock.run_ns();
            return Sighting {
                what,
                fired_ns,
                bound_ns: before_ns.map(|before_ns| fired_ns.saturating_sub(before_ns)),
                subject: asked.subject(),
            };
        }
        before_ns = Some(asked_ns);
        sleep(ASK_PAUSE).await;
    }
}

struct Statement {
    can: Arc<dyn Query>,
    nodes: Vec<Node>,
    statement: String,
}

#[async_trait::async_trait]
impl Asked for Statement {
    async fn ask(&self) -> Option<String> {
        let answer = self.can.sql(&self.nodes, &self.statement, ASK_LIMIT).await;
        let value = answer.ok()??;
        let holds = match &value {
            Value::Null => false,
            Value::Bool(truth) => *truth,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty() && text != "0",
            Value::Array(_) | Value::Object(_) => true,
        };
        holds.then(|| {
            format!(
                "{:?} gave {}",
                told(&self.statement),
                told(&value.to_string())
            )
        })
    }

    fn subject(&self) -> Option<String> {
        match self.nodes.as_slice() {
            [node] => Some(node.name.to_string()),
            _ => None,
        }
    }
}

struct Get {
    can: Arc<dyn Query>,
    node: Node,
    path: String,
    pattern: Option<Regex>,
}

#[async_trait::async_trait]
impl Asked for Get {
    async fn ask(&self) -> Option<String> {
        let answer = self.can.get(&self.node, &self.path, ASK_LIMIT).await;
        let (status, body) = answer.ok()?;
        let body = String::from_utf8_lossy(&body);
        let found = match &self.pattern {
            None => "",
            Some(pattern) => pattern.find(&body)?.as_str(),
        };
        (200..300).contains(&status).then(|| {
            format!(
                "{} of {} answered {status} {:?}",
                self.path,
                self.node.name,
                told(found)
            )
        })
    }

    fn subject(&self) -> Option<String> {
        Some(self.node.name.to_string())
    }
}

struct Look {
    can: Arc<dyn Sources>,
    node: Node,
    place: Place,
    member: Node,
    state: Shown,
}

#[async_trait::async_trait]
impl Asked for Look {
    async fn ask(&self) -> Option<String> {
        let reading = self.can.read(&self.node, &self.place, ASK_LIMIT);
        // A place may keep no deadline.
        let readings = tokio::time::timeout(ASK_LIMIT, reading).await.ok()?;
        let of_now = readings.iter().filter(|reading| reading.label != Some(LOG));
        for reading in of_now {
            let Reading::Members(members) = &reading.reading else {
                continue;
            };
            let found = members.iter().find(|listed| is(listed, &self.member));
            // Who is in no cluster lists nobody, which tells of no member.
            if self.state.is(found) && !members.is_empty() {
                let label = reading
                    .label
                    .map_or_else(String::new, |label| format!(" ({label})"));
                return Some(format!(
                    "{}{label} of {} shows {} {}",
                    self.place.source,
                    self.node.name,
                    self.member.name,
                    self.state.as_str()
                ));
            }
        }
        None
    }

    fn subject(&self) -> Option<String> {
        Some(self.member.name.to_string())
    }
}

/// Whether an entry of a list means a node, by name or by address.
fn is(listed: &Member, node: &Node) -> bool {
    let address = |text: &String| {
        let socket = text.parse::<SocketAddr>().map(|socket| socket.ip());
        socket.or_else(|_| text.parse::<IpAddr>()).ok()
    };
    let named = listed.name.as_deref() == Some(node.name.as_str());
    named || listed.address.as_ref().and_then(address) == Some(node.address)
}
