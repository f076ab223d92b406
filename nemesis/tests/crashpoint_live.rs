//! Probes on real containers of one image, which share the inode of the program: dqlite's demo dies, stops or is counted at a
//! function of go-dqlite or of libdqlite while it joins, and its neighbours do not notice.
//!
//! Needs root and what `lab/install` installs, and fails without; it is compiled with the feature `live` only. State
//! is a folder of its own; images are those of the machine (`HARNESS_IMAGES`, or the state folder's), and built if missing.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, which clippy does not take for tests"
)]

use std::{
    future::Future,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use harness_core::frame::guard::GuardRequest;
use harness_lab::{
    Daemon, Exec, Lab, Node, TransportError, UpOptions, lab,
    probe::{Fire, Keep, ProbeError, ProbeHit, ProbeMethod, ProbeOrder, ProbeSignal, Site},
    provider::{LabSpec, LxcSpec, ProgressFn},
    state::State,
};
use harness_nemesis::{
    points::{Functions, Point, PointError, Programs},
    symbols::Function,
};
use regex::Regex;
use tempfile::TempDir;

const DEMO: &str = "dqlite-demo";
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libdqlite.so.0";
/// What the joiner calls to be let in; the member that it asks does not.
const ADD: &str = "github.com/canonical/go-dqlite/client.(*Client).Add";
/// What every Go program enters all the time.
const SCHEDULE: &str = "runtime.schedule";
/// What starts a goroutine: a program enters it many times before it joins anything.
const GO: &str = "runtime.newproc1";
/// Where the kernel's signal frame of x86-64 keeps the instruction pointer that was interrupted.
const SAVED_COUNTER_AT: u64 = 176;
const BASE: &str = "/srv/harness/crashpoint";
/// Time in which a join comes to any of its functions.
const JOIN_LIMIT: Duration = Duration::from_secs(20);
const ROUNDS: usize = 20;

struct Fixture {
    state: State,
    _folder: TempDir,
    bridge: &'static str,
    subnet: &'static str,
    lab: Lab,
    programs: Programs,
}

impl Fixture {
    async fn up(bridge: &'static str, subnet: &'static str) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "the live tests need root: run ./lab/test"
        );
        let folder = TempDir::new_in("/var/tmp").unwrap();
        let images = State::look_from_environment().unwrap().images().to_owned();
        let state = State::at(folder.path()).unwrap().with_images(images);
        let spec = LabSpec::Lxc(LxcSpec {
            nodes: 3,
            bridge: bridge.into(),
            subnet: subnet.parse().unwrap(),
            ..LxcSpec::default()
        });
        let lock = state.lock("test").unwrap();
        let quiet: ProgressFn = Arc::new(|_| {});
        let lab = lab::up(&state, &lock, &spec, &UpOptions::default(), &quiet).await;
        drop(lock);
        let fixture = Self {
            state,
            _folder: folder,
            bridge,
            subnet,
            lab: lab.unwrap(),
            programs: Programs::default(),
        };
        for node in [0, 2] {
            let pid = fixture.start(node).await;
            fixture.wait_for_member(node, pid).await;
        }
        fixture
    }

    fn node(&self, index: usize) -> &Node {
        &self.lab.nodes[index]
    }

    /// Starts the demo; every node but the first joins it.
    async fn start(&self, index: usize) -> u32 {
        let node = self.node(index);
        let address = |port: u16| format!("{}:{port}", node.address);
        let mut argv: Vec<String> = [
            DEMO,
            "--api",
            &address(8001),
            "--db",
            &address(9001),
            "--dir",
        ]
        .map(str::to_owned)
        .to_vec();
        argv.push(format!("{BASE}/data"));
        if index > 0 {
            argv.extend(["--join".into(), format!("{}:9001", self.node(0).address)]);
        }
        let daemon = Daemon {
            argv,
            env: Vec::new(),
            pid_file: format!("{BASE}/pid").into(),
            log_file: format!("{BASE}/log").into(),
            exit_file: format!("{BASE}/exit").into(),
        };
        self.script(
            index,
            &format!("rm -rf {BASE}/data && mkdir -p {BASE}/data"),
        )
        .await;
        node.transport.spawn(daemon).await.unwrap()
    }

    async fn script(&self, index: usize, script: &str) -> String {
        let output = self
            .node(index)
            .transport
            .exec(Exec::shell(script))
            .await
            .unwrap();
        assert!(
            output.status.success(),
            "{script}: {:?} {}",
            output.status,
            output.stderr_text()
        );
        output.stdout_text()
    }

    /// How the demo ended: a line such as `{"pid":7,"signal":9,…}`.
    async fn end_of(&self, index: usize) -> String {
        let wait = format!(
            "n=0; while [ ! -s {BASE}/exit ] && [ $n -lt 500 ]; do n=$((n+1)); sleep 0.02; done; cat {BASE}/exit"
        );
        self.script(index, &wait).await
    }

    async fn wait_for_member(&self, index: usize, pid: u32) {
        let answers = format!(
            "n=0; until [ -d /proc/{pid} ] && bash -c '</dev/tcp/{}/8001' 2>/dev/null; do n=$((n+1)); [ $n -lt 500 ] || exit 1; sleep 0.02; done",
            self.node(index).address
        );
        self.script(index, &answers).await;
    }

    /// Eight bytes of a process' memory.
    async fn memory(&self, index: usize, pid: u32, address: u64) -> Vec<u8> {
        let read =
            format!("dd if=/proc/{pid}/mem bs=1 count=8 skip={address} 2>/dev/null | od -An -tx1");
        let text = self.script(index, &read).await;
        text.split_ascii_whitespace()
            .map(|byte| u8::from_str_radix(byte, 16).unwrap())
            .collect()
    }

    /// The bytes at a function's entry in the memory of a process.
    async fn entry_in(&self, index: usize, pid: u32, function: &Function) -> Vec<u8> {
        self.memory(index, pid, function.address).await
    }

    /// Descriptors of perf and BPF that any process of the node holds.
    async fn held(&self, index: usize) -> usize {
        let list = "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c -E 'bpf|perf_event' || true";
        self.script(index, list).await.trim().parse().unwrap()
    }

    /// Watches where a joiner asks to be let in, to kill it there, also when sshd is gone.
    async fn arm_kept(&self, index: usize, key: &str, for_ms: u64) -> Point {
        let fire = Fire {
            nth: 1,
            signal: Some(ProbeSignal::Kill),
        };
        let keep = Keep {
            key: key.to_owned(),
            for_ms,
        };
        let (programs, node) = (&self.programs, self.node(index));
        let armed = Functions::arm(programs, node, Path::new(DEMO), ADD, fire, Some(keep));
        armed.await.unwrap()
    }

    /// Kills what serves our connections there; the next use of them makes new ones.
    async fn kill_sshd(&self, index: usize) {
        let kill = Exec::shell("pkill -KILL -f '^sshd: root@'");
        // Nobody is left to answer.
        assert!(self.node(index).transport.exec(kill).await.is_err());
    }

    async fn pids(&self) -> (String, String) {
        let alive = format!("read -r p s <{BASE}/pid && [ -d /proc/$p ] && echo $p $s");
        (self.script(0, &alive).await, self.script(2, &alive).await)
    }

    async fn down(self) {
        self.lab.close().await;
        let lock = self.state.lock("test").unwrap();
        lab::down(&self.state, &lock).await.unwrap();
    }
}

impl Drop for Fixture {
    /// A failed test must not leave what the next one trips over.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let run = |program: &str, arguments: &[&str]| {
            let _ = Command::new(program).args(arguments).status();
        };
        let nodes = self.state.nodes().to_string_lossy().into_owned();
        for node in &self.lab.nodes {
            let name = format!("{}-{}", self.bridge, node.name);
            run("lxc-stop", &["-k", "-P", &nodes, "-n", &name]);
        }
        run("ip", &["link", "delete", self.bridge]);
        run("ip", &["route", "delete", "blackhole", self.subnet]);
    }
}

async fn fired(wait: impl Future<Output = Result<ProbeHit, ProbeError>>) -> ProbeHit {
    let fired = tokio::time::timeout(JOIN_LIMIT, wait).await;
    fired.expect("the function was never entered").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_of_twenty_joiners_die_at_the_function_and_their_neighbours_do_not_notice() {
    let lab = Fixture::up("hltpkill", "10.171.0.0/24").await;
    let neighbours = lab.pids().await;
    let inode = format!("stat -c %i $(command -v {DEMO})");
    assert_eq!(lab.script(0, &inode).await, lab.script(1, &inode).await);
    let mut late = Vec::new();
    for round in 0..ROUNDS {
        let point = lab.programs.arm(
            lab.node(1),
            Path::new(DEMO),
            ADD,
            1,
            Some(ProbeSignal::Kill),
        );
        let point = point.await.unwrap();
        assert_eq!(point.probe.fired(), None);
        let pid = lab.start(1).await;
        let hit = fired(point.probe.wait_fired()).await;
        assert_eq!(
            (hit.pid, hit.hit, hit.signal_errno),
            (pid, 1, Some(0)),
            "round {round}: {hit:?}"
        );
        assert_eq!(hit.ip, point.function.address, "round {round}");
        assert!(hit.monotonic_ns > point.probe.armed().monotonic_ns);
        let end = lab.end_of(1).await;
        assert!(end.contains("\"signal\":9"), "round {round}: {end}");
        let wall: u128 = end
            .split("\"wall_ns\":")
            .nth(1)
            .unwrap()
            .trim_end_matches(['}', '\n'])
            .parse()
            .unwrap();
        late.push((wall - u128::try_from(hit.wall_ns).unwrap()) / 1000);
        let ended = point.probe.disarm().await.unwrap();
        assert_eq!(
            (ended.hits.as_slice(), ended.lost),
            ([1].as_slice(), 0),
            "round {round}"
        );
        assert_eq!(
            point.probe.disarm().await.unwrap(),
            ended,
            "disarming twice says the same"
        );
    }
    late.sort_unstable();
    eprintln!(
        "from the entry to the end of the process: {} to {} µs",
        late[0],
        late[late.len() - 1]
    );
    assert_eq!(lab.pids().await, neighbours);
    assert_eq!(lab.held(1).await, 0, "descriptors of probes are left");

    // The neighbours enter this one all the time, and are left alone; nobody of this node does, until it starts.
    let point = lab.programs.arm(
        lab.node(1),
        Path::new(DEMO),
        SCHEDULE,
        1,
        Some(ProbeSignal::Kill),
    );
    let point = point.await.unwrap();
    let call = format!(
        "for n in 1 2 3 4 5; do bash -c '</dev/tcp/{}/8001'; sleep 0.1; done",
        lab.node(0).address
    );
    lab.script(0, &call).await;
    assert_eq!(point.probe.fired(), None);
    lab.start(1).await;
    fired(point.probe.wait_fired()).await;
    let ended = point.probe.disarm().await.unwrap();
    assert!(
        ended.elsewhere > 0,
        "the neighbours never entered {SCHEDULE}"
    );
    eprintln!("entered elsewhere while armed: {}", ended.elsewhere);
    assert_eq!(lab.pids().await, neighbours);

    // Without a probe the same join goes through.
    let pid = lab.start(1).await;
    lab.wait_for_member(1, pid).await;
    lab.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_stops_at_the_function_and_goes_on_when_told() {
    let lab = Fixture::up("hltpstop", "10.172.0.0/24").await;
    let neighbours = lab.pids().await;
    let point = lab.programs.arm(
        lab.node(1),
        Path::new(DEMO),
        ADD,
        1,
        Some(ProbeSignal::Stop),
    );
    let point = point.await.unwrap();
    let pid = lab.start(1).await;
    let hit = fired(point.probe.wait_fired()).await;
    let state = format!("sed 's/.*) //' /proc/{pid}/stat | cut -c1");
    let begun = Instant::now();
    while lab.script(1, &state).await.trim() != "T" {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "state T was never seen"
        );
    }
    // The thread that entered it stands there, or in Go's signal handler that was entered from there.
    let at = format!("cat /proc/{pid}/task/{}/syscall", hit.tid);
    let at = lab.script(1, &at).await;
    let numbers: Vec<u64> = at
        .split_ascii_whitespace()
        .filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok())
        .collect();
    let [stack, mut counter] = numbers[..] else {
        panic!("it does not stand still: {at}");
    };
    let program = lab
        .programs
        .read(lab.node(1), Path::new(DEMO))
        .await
        .unwrap();
    if program.symbols.find("runtime.cgoSigtramp").unwrap().address == counter {
        let saved = lab.memory(1, pid, stack + SAVED_COUNTER_AT).await;
        counter = u64::from_le_bytes(saved.try_into().unwrap());
    }
    let within = point.function.address..point.function.address + 16;
    assert!(
        within.contains(&counter),
        "it stands at {counter:#x}, not in {within:x?}: {at}"
    );
    // It stays there, and the probe may go meanwhile.
    assert_eq!(point.probe.disarm().await.unwrap().hits, [1]);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(lab.script(1, &state).await.trim(), "T");
    lab.script(1, &format!("kill -CONT {pid}")).await;
    lab.wait_for_member(1, pid).await;
    assert_eq!(lab.pids().await, neighbours);
    lab.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_are_counted_and_only_the_one_that_was_named_fires() {
    let lab = Fixture::up("hltpnth", "10.173.0.0/24").await;
    let program = lab
        .programs
        .read(lab.node(1), Path::new(DEMO))
        .await
        .unwrap();

    // It dies at its third entry, not before and not after.
    let (node, demo) = (lab.node(1), Path::new(DEMO));
    let point = lab
        .programs
        .arm(node, demo, GO, 3, Some(ProbeSignal::Kill))
        .await
        .unwrap();
    let pid = lab.start(1).await;
    let hit = fired(point.probe.wait_fired()).await;
    assert_eq!((hit.pid, hit.hit), (pid, 3));
    assert!(lab.end_of(1).await.contains("\"signal\":9"));
    assert_eq!(point.probe.disarm().await.unwrap().hits, [3]);

    // Counting only, and at the same time which functions of go-dqlite a join enters, in order, and how often.
    let point = lab.programs.arm(node, demo, GO, 2, None).await.unwrap();
    let pattern = Regex::new(r"^github\.com/canonical/go-dqlite/").unwrap();
    let functions: Vec<Function> = program.symbols.matching(&pattern).cloned().collect();
    let count = functions.len();
    let trace = lab
        .programs
        .trace(lab.node(1), &program, functions, 1)
        .await
        .unwrap();
    assert_eq!(trace.probe.armed().method, ProbeMethod::UprobeMulti);
    let pid = lab.start(1).await;
    lab.wait_for_member(1, pid).await;
    let ended = trace.probe.disarm().await.unwrap();
    let mut hits = trace.probe.progress().hits;
    hits.sort_by_key(|hit| hit.monotonic_ns);
    let order: Vec<&str> = hits
        .iter()
        .map(|hit| trace.functions[hit.site as usize].name.as_str())
        .collect();
    eprintln!(
        "{} of {count} functions entered, {} ms to attach",
        order.len(),
        trace.probe.armed().attach_ns / 1_000_000
    );
    let place = |name: &str| {
        order
            .iter()
            .position(|known| known.ends_with(name))
            .unwrap_or_else(|| panic!("{name} in {order:?}"))
    };
    assert!(place("/app.New") < place("/client.(*Client).Add"));
    assert!(place("/client.(*Client).Add") < place("/client.(*Client).Assign"));
    for hit in &hits {
        assert_eq!(
            (hit.pid, hit.hit, hit.fired, hit.signal_errno),
            (pid, 1, false, None)
        );
        assert_eq!(hit.ip, trace.functions[hit.site as usize].address);
    }
    let counted = ended.hits.iter().filter(|count| **count > 0).count();
    assert_eq!(
        counted,
        order.len(),
        "each function that was entered is told once"
    );
    assert_eq!(ended.lost, 0);
    let hit = fired(point.probe.wait_fired()).await;
    assert_eq!((hit.pid, hit.hit, hit.signal_errno), (pid, 2, None));
    assert!(point.probe.disarm().await.unwrap().hits[0] > 10);
    lab.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_s_export_is_a_crash_point_and_nothing_of_a_probe_is_left() {
    let lab = Fixture::up("hltplib", "10.174.0.0/24").await;
    let neighbours = lab.pids().await;
    let first: u32 = neighbours.0.split(' ').next().unwrap().parse().unwrap();
    let (node, library) = (lab.node(1), Path::new(LIBRARY));
    let point = lab.programs.arm(
        node,
        library,
        "dqlite_node_start",
        1,
        Some(ProbeSignal::Kill),
    );
    let point = point.await.unwrap();
    let pid = lab.start(1).await;
    assert_eq!(fired(point.probe.wait_fired()).await.pid, pid);
    assert!(lab.end_of(1).await.contains("\"signal\":9"));
    // Dropped without a word: it goes all the same.
    drop(point);
    let begun = Instant::now();
    while lab.held(1).await > 0 {
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "descriptors of probes are left"
        );
    }

    // Armed, every process of the inode has the breakpoint; disarmed, none has. One that was never hit says so.
    let point = lab
        .programs
        .arm(node, Path::new(DEMO), ADD, 1, Some(ProbeSignal::Kill))
        .await
        .unwrap();
    assert_eq!(lab.entry_in(0, first, &point.function).await[0], 0xcc);
    assert!(lab.held(1).await > 0);
    let ended = point.probe.disarm().await.unwrap();
    assert_eq!(
        (ended.hits.as_slice(), ended.elsewhere),
        ([0].as_slice(), 0)
    );
    assert!(matches!(
        point.probe.wait_fired().await,
        Err(ProbeError::NotFired { hits: 0, .. })
    ));
    assert_eq!(
        lab.entry_in(0, first, &point.function).await,
        point.function.entry
    );
    assert_eq!(lab.held(1).await, 0);

    // An agent that is gone takes its probes with it, and whoever waits hears of it.
    let point = lab
        .programs
        .arm(node, Path::new(DEMO), ADD, 1, Some(ProbeSignal::Kill))
        .await
        .unwrap();
    node.transport.close().await;
    assert!(matches!(
        point.probe.wait_fired().await,
        Err(ProbeError::Lost { .. })
    ));
    let pid = lab.start(1).await;
    lab.wait_for_member(1, pid).await;
    assert_eq!(
        lab.entry_in(0, first, &point.function).await,
        point.function.entry
    );
    assert_eq!(lab.pids().await, neighbours);
    lab.down().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_function_of_a_program_can_be_traced_and_what_is_wrong_is_refused() {
    let lab = Fixture::up("hltpmany", "10.175.0.0/24").await;
    let node = lab.node(1);
    let program = lab.programs.read(node, Path::new(DEMO)).await.unwrap();
    for count in [1, 100, 1000, program.symbols.functions().len()] {
        // What the kernel cannot probe is not among Go's; what libraries export is theirs.
        let functions: Vec<Function> = program
            .symbols
            .functions()
            .iter()
            .take(count)
            .cloned()
            .collect();
        let begun = Instant::now();
        let trace = lab.programs.trace(node, &program, functions, 1).await;
        let trace = trace.unwrap_or_else(|error| panic!("{count}: {error:?}"));
        let armed = begun.elapsed();
        let begun = Instant::now();
        trace.probe.disarm().await.unwrap();
        eprintln!(
            "{count} functions: attached in {} ms, armed after {armed:?}, gone after {:?}, by {:?}, {} not probeable",
            trace.probe.armed().attach_ns / 1_000_000,
            begun.elapsed(),
            trace.probe.armed().method,
            trace.probe.armed().unprobed.len()
        );
        let unprobed = trace.probe.armed().unprobed.len();
        assert!(unprobed * 100 <= count, "{unprobed} of {count}");
    }
    let function = program.symbols.find(ADD).unwrap();
    let wrong = ProbeOrder {
        keep: None,
        path: program.path.clone(),
        sites: vec![Site {
            offset: function.file_offset + 1,
            entry: u64::from_le_bytes(function.entry),
        }],
        report_hits: 1,
        fire: None,
    };
    let refused = node.transport.probes().unwrap().arm(wrong).await;
    let error = refused.unwrap_err();
    assert!(matches!(error, TransportError::Refused { .. }), "{error}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("is not what was resolved"), "{source}");
    let missing = lab
        .programs
        .arm(node, Path::new("no-such-program"), ADD, 1, None)
        .await;
    assert!(
        matches!(missing, Err(PointError::NoProgram { .. })),
        "{missing:?}"
    );
    let missing = lab
        .programs
        .arm(node, Path::new(DEMO), "main.mian", 1, None)
        .await;
    let error = missing.unwrap_err().to_string();
    assert!(error.contains("no function is called main.mian"), "{error}");
    lab.down().await;
}

/// The agent outlives its sshd: what is watched stays watched, strikes without anybody to tell, and tells it afterwards.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_its_sshd_and_strikes_without_it() {
    let lab = Fixture::up("hltpssh", "10.177.0.0/24").await;

    // It strikes while nobody is there, and the next one is told which process, and when.
    let point = lab.arm_kept(1, "run-1", 20_000).await;
    assert!(!point.probe.armed().kept);
    lab.kill_sshd(1).await;
    let lost = point.probe.wait_fired().await;
    assert!(matches!(lost, Err(ProbeError::Lost { .. })), "{lost:?}");
    let pid = lab.start(1).await;
    assert!(lab.end_of(1).await.contains("\"signal\":9"));
    let again = lab.arm_kept(1, "run-1", 20_000).await;
    assert!(again.probe.armed().kept);
    assert_eq!(
        again.probe.armed().monotonic_ns,
        point.probe.armed().monotonic_ns
    );
    let hit = fired(again.probe.wait_fired()).await;
    assert_eq!((hit.pid, hit.hit, hit.signal_errno), (pid, 1, Some(0)));
    assert_eq!(again.probe.disarm().await.unwrap().hits, [1]);
    assert_eq!(lab.held(1).await, 0);

    // It is taken over before it strikes, and by another one after that.
    let _first = lab.arm_kept(1, "run-2", 20_000).await;
    lab.kill_sshd(1).await;
    let second = lab.arm_kept(1, "run-2", 20_000).await;
    assert!(second.probe.armed().kept);
    lab.kill_sshd(1).await;
    let third = lab.arm_kept(1, "run-2", 20_000).await;
    assert!(third.probe.armed().kept);
    let pid = lab.start(1).await;
    let hit = fired(third.probe.wait_fired()).await;
    assert_eq!((hit.pid, hit.hit), (pid, 1));
    assert!(third.probe.disarm().await.is_ok());
    assert_eq!(lab.held(1).await, 0);

    // Its time is over: it is gone, and strikes nobody.
    let _short = lab.arm_kept(1, "run-3", 500).await;
    lab.kill_sshd(1).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(lab.held(1).await, 0);
    let pid = lab.start(1).await;
    lab.wait_for_member(1, pid).await;
    let anew = lab.arm_kept(1, "run-3", 500).await;
    assert!(!anew.probe.armed().kept);
    assert!(anew.probe.disarm().await.is_ok());

    // Whoever heals the lab says that nothing is to be undone any more: then nothing stays armed.
    let _fourth = lab.arm_kept(1, "run-4", 20_000).await;
    lab.kill_sshd(1).await;
    assert!(lab.held(1).await > 0);
    let node = lab.node(1);
    let stand_down = GuardRequest {
        purge: true,
        ..GuardRequest::default()
    };
    let agent = node.transport.agent().unwrap();
    agent.guard(&stand_down).await.unwrap();
    assert_eq!(lab.held(1).await, 0);
    lab.down().await;
}
