//! A SIMULATION of nodes for tests of the executor: no SSH, no kernel, no product. It keeps which
//! peers each node drops, counts what it drops, and has one make-believe process a node. Whatever
//! happens is written to one trace, so that tests can say what came before what.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use harness_core::{
    fault::{LedgerLine, Step},
    frame::{
        guard::{GuardEnd, GuardHealed, GuardRequest},
        message::Clock as Clock2,
        signal::{SignalEnd, SignalName, SignalRequest},
    },
    meta::{Plan, PlannedFault},
};
use harness_lab::{
    Address, ClockOffset, Daemon, Exec, ExitStatus, Node, NodeName, NodeStream, Output, Transport,
    TransportError,
    agent::Agent,
    probe::{
        Fire, Keep, Probe, ProbeArmed, ProbeDriver, ProbeEnd, ProbeError, ProbeHit, ProbeMethod,
        ProbeSignal,
    },
    watch::{WatchHit, WatchRequest, Watches, Watching},
};
use harness_nemesis::{
    exec::{Capabilities, Clock, GuardSetting, Ledger, Members, NemesisEvent, NemesisLog, Setup},
    plan::condition::script::{NOTES, is_heal},
    points::{Functions, Point, PointError},
    symbols::{Function, Origin, SymbolError},
};

/// How a simulated node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Well,
    /// Every call fails at once.
    Unreachable,
    /// Every call waits for ever, as no real transport does.
    Hangs,
    /// Says yes to rules and does not keep them.
    IgnoresRules,
    /// The system does not come back.
    WontStart,
    /// SIGTERM is answered too late.
    SlowToStop,
    /// Its kernel lacks whatever a fault on its conditions takes.
    Lacks,
}

pub struct SimNode {
    pub mood: Mood,
    pub marker: Option<String>,
    /// Packets dropped, by peer; none: no table.
    pub table: Option<BTreeMap<IpAddr, u64>>,
    pub pid: Option<u32>,
    pub frozen: bool,
    /// The process that was started last.
    pub newest: Option<u32>,
    /// How often it booted.
    pub boots: u32,
    /// Whether it lost its data.
    pub wiped: bool,
    /// What its guard was told last, and what it healed.
    pub guarded: Vec<GuardRequest>,
    pub healed: Vec<GuardHealed>,
    /// Faults on its conditions that left notes.
    pub notes: std::collections::BTreeSet<u32>,
}

mod system;
use system::SimSystem;

pub struct World {
    pub nodes: Vec<SimNode>,
    pub trace: Vec<String>,
    pub lines: Vec<LedgerLine>,
    pub events: Vec<NemesisEvent>,
    pub leader: Option<usize>,
    pub voters: Option<Vec<usize>>,
    /// Which append fails, counted from 0.
    pub ledger_breaks_at: Option<usize>,
    /// How often every node was wiped.
    pub wipings: u64,
    /// Functions that are watched, by node.
    pub armed: Vec<SimProbe>,
    /// Whether the nodes' agents can be asked for more than commands.
    pub has_agents: bool,
    /// What nodes say of their rights, their boot and their pid namespace.
    pub looks: String,
    /// Who is a member.
    pub members: Vec<String>,
    /// Logs and files that are watched, by node.
    pub watches: Vec<SimWatch>,
    /// Why nothing can be watched.
    pub no_watches: Option<String>,
    next_pid: u32,
}

/// A function that is watched on a node.
pub struct SimProbe {
    pub at: usize,
    pub fire: Fire,
    pub hits: u64,
    pub fired: bool,
    pub progress: tokio::sync::watch::Sender<harness_lab::probe::ProbeProgress>,
}

/// What is watched on a node.
pub struct SimWatch {
    at: usize,
    request: WatchRequest,
    ended: tokio::sync::oneshot::Sender<Result<WatchHit, String>>,
}

/// The one function that the simulated program has.
pub const RUN: &str = "example.com/sim/main.run";

#[derive(Clone)]
pub struct Sim(Arc<Mutex<World>>);

struct SimMembers {
    sim: Sim,
    names: Vec<String>,
}

impl Members for SimMembers {
    fn members(&self) -> Vec<String> {
        self.names.clone()
    }

    fn wipings(&self, _node: &str) -> u64 {
        self.sim.world().wipings
    }
}

fn address(at: usize) -> IpAddr {
    IpAddr::from([10, 77, 0, u8::try_from(at + 11).expect("few nodes")])
}

fn place(address: IpAddr) -> usize {
    let IpAddr::V4(address) = address else {
        panic!("the simulation has IPv4 only")
    };
    usize::from(address.octets()[3]) - 11
}

impl Sim {
    pub fn new(count: usize) -> Self {
        let node = |at: usize| SimNode {
            mood: Mood::Well,
            marker: Some(format!(
                r#"{{"format_version":1,"lab":"x","node":"n{}","provider":"lxc"}}"#,
                at + 1
            )),
            table: None,
            pid: Some(100 + u32::try_from(at).expect("few nodes")),
            frozen: false,
            newest: Some(100 + u32::try_from(at).expect("few nodes")),
            boots: 0,
            wiped: false,
            guarded: Vec::new(),
            healed: Vec::new(),
            notes: std::collections::BTreeSet::new(),
        };
        Self(Arc::new(Mutex::new(World {
            nodes: (0..count).map(node).collect(),
            trace: Vec::new(),
            lines: Vec::new(),
            events: Vec::new(),
            leader: None,
            voters: None,
            ledger_breaks_at: None,
            wipings: 0,
            armed: Vec::new(),
            has_agents: false,
            looks: "CapEff:\t000001fffcfeffff\nboot-of-a-node\npid:[4026531836]\n".to_owned(),
            members: (1..=count).map(|at| format!("n{at}")).collect(),
            watches: Vec::new(),
            no_watches: None,
            next_pid: 200,
        })))
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0
            .lock()
            .expect("no test panics while it holds the world")
    }

    pub fn mood(&self, at: usize, mood: Mood) {
        self.world().nodes[at].mood = mood;
    }

    pub fn nodes(&self) -> Vec<Node> {
        let count = self.world().nodes.len();
        let node = |at: usize| Node {
            name: NodeName::new(format!("n{}", at + 1)),
            ordinal: at,
            address: address(at),
            transport: Arc::new(SimTransport {
                sim: self.clone(),
                at,
                name: format!("n{}", at + 1),
            }),
        };
        (0..count).map(node).collect()
    }

    pub fn setup(&self) -> Setup {
        let system = Arc::new(SimSystem(self.clone()));
        Setup {
            nodes: self.nodes(),
            can: Capabilities {
                start: Some(system.clone()),
                stop: Some(system.clone()),
                kill: Some(system.clone()),
                pause: Some(system.clone()),
                wipe: Some(system.clone()),
                membership: Some(system.clone()),
                transfer: Some(system.clone()),
                program: Some(system.clone()),
                data: Some(system.clone()),
                leader: Some(system),
                members: None,
                ..Capabilities::default()
            },
            ledger: Arc::new(self.clone()),
            log: Arc::new(self.clone()),
            clock: Arc::new(SimClock::default()),
            phases: None,
            functions: Arc::new(self.clone()),
            guard: None,
        }
    }

    /// The same where nodes have agents that guard them, for a run of that name.
    pub fn setup_with_guards(&self, lease: Duration) -> Setup {
        self.world().has_agents = true;
        let mut setup = self.setup();
        setup.guard = Some(GuardSetting {
            run: "this-run".to_owned(),
            lease,
        });
        setup
    }

    /// What is watched now: node and request.
    pub fn watches(&self) -> Vec<(usize, WatchRequest)> {
        let mut world = self.world();
        world.watches.retain(|watch| !watch.ended.is_closed());
        let watches = world.watches.iter();
        watches
            .map(|watch| (watch.at, watch.request.clone()))
            .collect()
    }

    /// Nothing can be watched from now on.
    pub fn refuses_watches(&self, why: &str) {
        self.world().no_watches = Some(why.to_owned());
    }

    /// Every agent is gone, once.
    pub fn loses_watches(&self) {
        let watches = std::mem::take(&mut self.world().watches);
        for watch in watches {
            let _ = watch.ended.send(Err("the agent is gone".to_owned()));
        }
    }

    /// What is watched on that node is seen for the time that was asked for.
    pub fn sees(&self, at: usize, path: &str, text: &str) {
        let mut world = self.world();
        let (here, elsewhere) = std::mem::take(&mut world.watches)
            .into_iter()
            .partition(|watch| watch.at == at);
        world.watches = elsewhere;
        let here: Vec<SimWatch> = here;
        assert!(!here.is_empty(), "nothing is watched there");
        for watch in here {
            let hit = WatchHit {
                path: path.to_owned(),
                text: text.to_owned(),
                monotonic_ns: 7,
                wall_ns: 0,
            };
            let _ = watch.ended.send(Ok(hit));
        }
    }

    /// The agent of a node is lost, and with it what it watched.
    pub fn lose_agent(&self, at: usize) {
        let mut world = self.world();
        world.trace.push(format!("n{} lost its agent", at + 1));
        let (lost, kept) = std::mem::take(&mut world.armed)
            .into_iter()
            .partition(|probe| probe.at == at);
        world.armed = kept;
        let lost: Vec<SimProbe> = lost;
        for probe in lost {
            let error = ProbeError::Lost {
                node: format!("n{}", at + 1),
                detail: "the agent ended".to_owned(),
            };
            probe
                .progress
                .send_modify(|progress| progress.end = Some(Err(error)));
        }
    }

    /// A process of that node enters the function.
    pub fn run_function(&self, at: usize, pid: u32) {
        let mut world = self.world();
        world.trace.push(format!("n{} entered", at + 1));
        let mut died = None;
        for probe in world.armed.iter_mut().filter(|probe| probe.at == at) {
            probe.hits += 1;
            let fired = probe.hits == probe.fire.nth && !probe.fired;
            probe.fired |= fired;
            if let (true, Some(signal)) = (fired, probe.fire.signal) {
                died = Some(signal);
            }
            let hit = ProbeHit {
                site: 0,
                hit: probe.hits,
                pid,
                tid: pid,
                ip: 0x40_1000,
                monotonic_ns: 7,
                wall_ns: 0,
                fired,
                signal_errno: fired.then_some(0),
            };
            if fired {
                probe.progress.send_modify(|progress| progress.note(hit));
            }
        }
        let node = &mut world.nodes[at];
        match died {
            Some(ProbeSignal::Kill) if node.pid == Some(pid) => node.pid = None,
            Some(ProbeSignal::Stop) if node.pid == Some(pid) => node.frozen = true,
            _ => {}
        }
    }

    /// The same where only these are members, and a node's data were wiped as often as the world says.
    pub fn setup_with_members(&self, members: &[&str]) -> Setup {
        let mut setup = self.setup();
        setup.can.members = Some(Arc::new(SimMembers {
            sim: self.clone(),
            names: members.iter().map(|name| (*name).to_owned()).collect(),
        }));
        setup
    }

    /// `1 intend`, `1 asked`, … in the order of the ledger.
    pub fn steps(&self) -> Vec<String> {
        self.world()
            .lines
            .iter()
            .map(|line| format!("{} {}", line.fault, word(&line.step)))
            .collect()
    }

    pub fn reason(&self, fault: u32) -> String {
        let world = self.world();
        let reason = world
            .lines
            .iter()
            .filter(|line| line.fault == fault)
            .find_map(|line| match &line.step {
                Step::NotObserved { reason } | Step::HealFailed { reason } => Some(reason.clone()),
                _ => None,
            });
        reason.expect("a reason in the ledger")
    }

    pub fn label(&self, fault: u32) -> String {
        let world = self.world();
        let label = world
            .lines
            .iter()
            .filter(|line| line.fault == fault)
            .find_map(|line| match &line.step {
                Step::Intend { label, .. } => Some(label.clone()),
                _ => None,
            });
        label.expect("an intent in the ledger")
    }

    pub fn drops(&self, at: usize) -> Vec<usize> {
        let world = self.world();
        world.nodes[at]
            .table
            .iter()
            .flat_map(|table| table.keys())
            .map(|ip| place(*ip))
            .collect()
    }

    /// Where in the trace something stands.
    pub fn when(&self, what: &str) -> usize {
        let world = self.world();
        let found = world.trace.iter().position(|entry| entry.contains(what));
        found.unwrap_or_else(|| panic!("no {what:?} in {:#?}", world.trace))
    }

    pub fn happened(&self, what: &str) -> bool {
        self.world().trace.iter().any(|entry| entry.contains(what))
    }
}

fn word(step: &Step) -> &'static str {
    match step {
        Step::Intend { .. } => "intend",
        Step::Triggered(_) => "triggered",
        Step::Asked => "asked",
        Step::Observed { .. } => "observed",
        Step::NotObserved { .. } => "not-observed",
        Step::HealAsked => "heal-asked",
        Step::Healed { .. } => "healed",
        Step::HealFailed { .. } => "heal-failed",
        Step::SelfHealed { .. } => "self-healed",
    }
}

impl Ledger for Sim {
    fn append(&self, line: &LedgerLine) -> io::Result<()> {
        let mut world = self.world();
        if world.ledger_breaks_at == Some(world.lines.len()) {
            return Err(io::Error::other("no space left"));
        }
        world
            .trace
            .push(format!("ledger {} {}", line.fault, word(&line.step)));
        world.lines.push(line.clone());
        Ok(())
    }
}

impl NemesisLog for Sim {
    fn record(&self, event: NemesisEvent) {
        self.world().events.push(event);
    }
}

/// Ticks once each time that it is read.
#[derive(Default)]
pub struct SimClock(AtomicU64);

impl Clock for SimClock {
    fn run_ns(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    fn wall_ns(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A fault of a plan for five nodes, in the order n1 to n5.
pub fn planned(id: u32, lane: u32, what: &str, from_s: u64, to_s: u64) -> PlannedFault {
    let (kind, target) = what.split_once(':').expect("KIND:TARGET");
    let mut pieces = kind.split('/');
    let kind = pieces.next().unwrap_or_default();
    let options = pieces.filter_map(|piece| piece.split_once('='));
    let options = options
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    PlannedFault {
        id,
        lane,
        kind: kind.to_owned(),
        target: target.to_owned(),
        inject_ms: from_s * 1_000,
        heal_ms: to_s * 1_000,
        order: vec![0, 1, 2, 3, 4],
        trigger: None,
        until: None,
        options,
    }
}

pub fn plan(faults: Vec<PlannedFault>) -> Plan {
    Plan {
        format_version: 1,
        seed: 0,
        faults,
    }
}

/// Scripts of faults on a node's conditions, told apart as the laws of `plan::condition::script` have them.
fn condition(world: &mut World, at: usize, name: &str, script: &str) -> Result<String, String> {
    let mood = world.nodes[at].mood;
    let fault = script.split("notes=/var/lib/harness/faults/").nth(1);
    let fault: Option<u32> = fault.and_then(|rest| rest.lines().next()?.parse().ok());
    let mut trace = |what: String| world.trace.push(format!("{name} {what}"));
    match fault {
        None if script.starts_with("ls ") => {
            let left = world.nodes[at].notes.iter();
            Ok(left.map(|fault| format!("{fault}\n")).collect())
        }
        None if script.starts_with("bad=0") => {
            let left = std::mem::take(&mut world.nodes[at].notes);
            Ok(left
                .iter()
                .map(|fault| format!("fault {fault}: undone\n"))
                .collect())
        }
        None if mood == Mood::Lacks => {
            Ok("lacks it is not in this kernel\nmend take another\n".to_owned())
        }
        None => Ok(String::new()),
        Some(fault) if script.contains("<<'HEAL_ENDS'") => {
            trace(format!("condition {fault} injected"));
            world.nodes[at].notes.insert(fault);
            Ok("done\n".to_owned())
        }
        Some(fault) if is_heal(script) && script.contains("nothing was done here") => {
            trace(format!("condition {fault} undone"));
            let there = world.nodes[at].notes.remove(&fault);
            Ok(if there {
                "undone\n"
            } else {
                "nothing was done here\n"
            }
            .to_owned())
        }
        Some(fault) if mood == Mood::IgnoresRules || !world.nodes[at].notes.contains(&fault) => {
            Ok("unseen it does not hold\n".to_owned())
        }
        Some(_) => Ok("seen it holds\n".to_owned()),
    }
}

struct SimTransport {
    sim: Sim,
    at: usize,
    name: String,
}

impl SimTransport {
    /// What every call meets first.
    async fn answer(&self) -> Result<(), TransportError> {
        let mood = self.sim.world().nodes[self.at].mood;
        match mood {
            Mood::Unreachable => Err(TransportError::Unreachable {
                node: self.name.clone(),
                address: address(self.at).to_string(),
                source: io::ErrorKind::HostUnreachable.into(),
            }),
            Mood::Hangs => std::future::pending().await,
            _ => Ok(()),
        }
    }

    fn run(&self, script: &str, stdin: &[u8]) -> Result<String, String> {
        let mut world = self.sim.world();
        let name = &self.name;
        if script.contains(NOTES) || script.contains("lacks()") {
            return condition(&mut world, self.at, name, script);
        }
        if script.ends_with("nft -f -") {
            let text = String::from_utf8_lossy(stdin);
            assert!(
                text.starts_with("add table inet harness\ndelete table inet harness\n"),
                "{text}"
            );
            let peers: BTreeMap<IpAddr, u64> = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("ip saddr ")?.split(' ').next())
                .map(|ip| (ip.parse().expect("an address"), 0))
                .collect();
            world.trace.push(format!("{name} drops {}", peers.len()));
            let node = &mut world.nodes[self.at];
            if node.mood != Mood::IgnoresRules {
                node.table = (!peers.is_empty()).then_some(peers);
            }
            return Ok(String::new());
        }
        if script.contains("delete table inet harness") {
            world.trace.push(format!("{name} table removed"));
            world.nodes[self.at].table = None;
            return Ok(String::new());
        }
        let table = &world.nodes[self.at].table;
        if script.ends_with("list tables inet") {
            let ours = r#", {"table": {"family": "inet", "name": "harness", "handle": 1}}"#;
            let ours = if table.is_some() { ours } else { "" };
            return Ok(format!(r#"{{"nftables": [{{"metainfo": {{}}}}{ours}]}}"#));
        }
        if script.ends_with("list table inet harness") {
            let ignores = world.nodes[self.at].mood == Mood::IgnoresRules;
            let rule = |(ip, packets): (&IpAddr, &u64)| {
                format!(
                    r#", {{"rule": {{"expr": [{{"match": {{"right": "{ip}"}}}}, {{"counter": {{"packets": {packets}}}}}, {{"drop": null}}]}}}}"#
                )
            };
            return match table {
                Some(table) => Ok(format!(
                    r#"{{"nftables": [{{"metainfo": {{}}}}{}]}}"#,
                    table.iter().map(rule).collect::<String>()
                )),
                None if ignores => Ok(r#"{"nftables": []}"#.to_owned()),
                None => Err("Error: No such file or directory".to_owned()),
            };
        }
        if script.starts_with("grep CapEff") {
            return Ok(world.looks.clone());
        }
        match script {
            "start-it" | "resume-it" => {
                world.trace.push(format!("{name} script {script}"));
                let node = &mut world.nodes[self.at];
                node.frozen = false;
                node.pid = node.pid.or(Some(900));
                Ok(String::new())
            }
            other => panic!("the simulation does not know {other:?}"),
        }
    }
}

#[async_trait]
impl Transport for SimTransport {
    fn node(&self) -> &str {
        &self.name
    }

    async fn exec(&self, exec: Exec) -> Result<Output, TransportError> {
        self.answer().await?;
        let result = self.run(&exec.argv[2], &exec.stdin);
        let (status, stdout, stderr) = match result {
            Ok(text) => (ExitStatus::Code(0), text, String::new()),
            Err(text) => (ExitStatus::Code(1), String::new(), text),
        };
        Ok(Output {
            status,
            stdout: stdout.into_bytes(),
            stderr: stderr.into_bytes(),
            stdout_dropped_bytes: 0,
            stderr_dropped_bytes: 0,
            duration: Duration::ZERO,
        })
    }

    async fn spawn(&self, _daemon: Daemon) -> Result<u32, TransportError> {
        panic!("the nemesis spawns nothing")
    }

    async fn read_file(
        &self,
        path: &Path,
        _offset: u64,
        _limit: usize,
    ) -> Result<Vec<u8>, TransportError> {
        self.answer().await?;
        if path == Path::new("/proc/sys/kernel/random/boot_id") {
            let boots = self.sim.world().nodes[self.at].boots;
            return Ok(format!("boot{boots}-of-{}\n", self.name).into_bytes());
        }
        if let Ok(stat) = path.strip_prefix("/proc") {
            let pid = stat.parent().and_then(Path::to_str).unwrap_or_default();
            let world = self.sim.world();
            let node = &world.nodes[self.at];
            let state = if node.frozen { "T" } else { "S" };
            if pid == "1" {
                return Ok(
                    format!("1 (sshd: a) S 0 {}{}", "0 ".repeat(17), node.boots).into_bytes()
                );
            }
            return match node.pid {
                Some(there) if there.to_string() == pid => Ok(format!(
                    "{pid} (a (sim) daemon) {state} 1 {}77",
                    "0 ".repeat(17)
                )
                .into_bytes()),
                _ => Err(TransportError::Refused {
                    node: self.name.clone(),
                    what: "read a process".to_owned(),
                    source: io::ErrorKind::NotFound.into(),
                }),
            };
        }
        assert_eq!(path, Path::new("/etc/harness-node"));
        match &self.sim.world().nodes[self.at].marker {
            Some(marker) => Ok(marker.clone().into_bytes()),
            None => Err(TransportError::Refused {
                node: self.name.clone(),
                what: "read the marker".to_owned(),
                source: io::ErrorKind::NotFound.into(),
            }),
        }
    }

    async fn write_file(
        &self,
        _path: &Path,
        _mode: u32,
        _bytes: &[u8],
    ) -> Result<(), TransportError> {
        panic!("the nemesis writes no file")
    }

    async fn upload(
        &self,
        _local: &Path,
        _remote: &Path,
        _mode: u32,
    ) -> Result<u64, TransportError> {
        panic!("the nemesis uploads nothing")
    }

    async fn download(
        &self,
        _remote: &Path,
        _local: &Path,
        _limit: u64,
    ) -> Result<u64, TransportError> {
        panic!("the nemesis downloads nothing")
    }

    async fn connect(
        &self,
        to: &Address,
        timeout: Duration,
    ) -> Result<Box<dyn NodeStream>, TransportError> {
        self.answer().await?;
        let Address::Tcp(to) = to else {
            panic!("the nemesis connects to TCP ports only")
        };
        let dropped = {
            let mut world = self.sim.world();
            let own = address(self.at);
            let peer = place(to.ip());
            let count = |node: &mut SimNode, of: IpAddr| {
                node.table
                    .as_mut()
                    .and_then(|table| table.get_mut(&of))
                    .map(|packets| *packets += 1)
            };
            let here = count(&mut world.nodes[self.at], to.ip());
            here.or_else(|| count(&mut world.nodes[peer], own))
                .is_some()
        };
        if dropped {
            tokio::time::sleep(timeout).await;
            return Err(TransportError::TimedOut {
                node: self.name.clone(),
                timeout,
            });
        }
        Ok(Box::new(tokio::io::duplex(1).0))
    }

    async fn clock_offset(&self) -> Result<ClockOffset, TransportError> {
        Ok(ClockOffset {
            wall_offset_ns: 0,
            monotonic_offset_ns: 0,
            bound_ns: 42,
        })
    }

    fn agent(&self) -> Option<&dyn Agent> {
        self.sim.world().has_agents.then_some(self as &dyn Agent)
    }

    fn watches(&self) -> Option<&dyn Watches> {
        Some(self)
    }

    async fn close(&self) {}
}

#[async_trait]
impl Agent for SimTransport {
    async fn guard(&self, request: &GuardRequest) -> Result<GuardEnd, TransportError> {
        self.answer().await?;
        let mut world = self.sim.world();
        let word = if request.heals.is_empty() {
            "idle"
        } else {
            "guarded"
        };
        world.trace.push(format!("{} {word}", self.name));
        let node = &mut world.nodes[self.at];
        node.guarded.push(request.clone());
        Ok(GuardEnd {
            watching: !request.heals.is_empty(),
            healed: node.healed.clone(),
        })
    }

    async fn signal(&self, request: &SignalRequest) -> Result<SignalEnd, TransportError> {
        self.answer().await?;
        let mut world = self.sim.world();
        world.trace.push(format!(
            "{} {:?} at {:?}",
            self.name,
            request.signal,
            request.at_monotonic_ns.is_some()
        ));
        let node = &mut world.nodes[self.at];
        assert_eq!(
            (node.pid, request.start_time),
            (Some(request.pid), Some(77))
        );
        match request.signal {
            SignalName::Kill => node.pid = None,
            SignalName::Stop => node.frozen = true,
            _ => {}
        }
        let clock = Clock2 {
            wall_ns: 0,
            monotonic_ns: request.at_monotonic_ns.unwrap_or(0) + 9_000,
        };
        Ok(SignalEnd {
            errno: 0,
            before: clock,
            after: clock,
        })
    }

    async fn reboot(&self) -> Result<(), TransportError> {
        self.answer().await?;
        let mut world = self.sim.world();
        world.trace.push(format!("{} booted", self.name));
        let node = &mut world.nodes[self.at];
        node.boots += 1;
        (node.pid, node.frozen, node.table) = (None, false, None);
        Ok(())
    }
}

#[async_trait]
impl Watches for SimTransport {
    async fn watch(&self, request: WatchRequest) -> Result<Watching, TransportError> {
        let mut world = self.sim.world();
        if let Some(why) = &world.no_watches {
            return Err(TransportError::Refused {
                node: self.name.clone(),
                what: "watch".to_owned(),
                source: io::Error::other(why.clone()),
            });
        }
        let (watching, ended) = Watching::new(&self.name);
        world.watches.push(SimWatch {
            at: self.at,
            request,
            ended,
        });
        Ok(watching)
    }
}

#[async_trait]
impl Functions for Sim {
    async fn arm(
        &self,
        node: &Node,
        program: &Path,
        function: &str,
        fire: Fire,
        _keep: Option<Keep>,
    ) -> Result<Point, PointError> {
        assert_eq!(program, Path::new("/usr/bin/sim"));
        if function != RUN {
            return Err(PointError::Symbol {
                node: node.name.to_string(),
                program: program.display().to_string(),
                source: SymbolError::NotFound {
                    name: function.to_owned(),
                    hint: format!("; similar: {RUN}"),
                },
            });
        }
        let armed = ProbeArmed {
            method: ProbeMethod::UprobePmu,
            unprobed: Vec::new(),
            attach_ns: 1,
            monotonic_ns: 1,
            wall_ns: 1,
            kept: false,
        };
        let (probe, driver) = Probe::new(node.name.as_str(), armed);
        let ProbeDriver { progress, stop } = driver;
        let at = node.ordinal;
        {
            let mut world = self.world();
            world
                .trace
                .push(format!("{} armed {:?}", node.name, fire.signal));
            world.armed.push(SimProbe {
                at,
                fire,
                hits: 0,
                fired: false,
                progress: progress.clone(),
            });
        }
        let sim = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.notified() => {}
                () = progress.closed() => {}
            }
            let mut world = sim.world();
            world.trace.push(format!("n{} disarmed", at + 1));
            let place = world
                .armed
                .iter()
                .position(|probe| probe.progress.same_channel(&progress));
            let hits = place.map_or(0, |place| world.armed.remove(place).hits);
            let end = ProbeEnd {
                hits: vec![hits],
                elsewhere: 0,
                lost: 0,
            };
            progress.send_modify(|progress| progress.end = Some(Ok(end)));
        });
        Ok(Point {
            function: Function {
                file: None,
                name: function.to_owned(),
                address: 0x40_1000,
                size_bytes: 64,
                file_offset: 0x1000,
                entry: [0; 8],
                origin: Origin::Symtab,
            },
            probe,
        })
    }
}
