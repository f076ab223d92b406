//! The agent as a process: what it does with input that makes sense, with none, and with nonsense.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod leftovers;

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use harness_core::frame::{
    CHUNK_BYTES, Decoder, Frame, Kind, MAGIC, MagicFinder, PROTOCOL_VERSION,
    message::{End, Ending, ExecEnd, ExecRequest, Greeting, Hello, Request},
};

use leftovers::Mark;

const AGENT: &str = env!("CARGO_BIN_EXE_harness-agent");
/// Time in which an agent that is to end has ended.
const END_LIMIT: Duration = Duration::from_secs(5);

/// Its fields are dropped after its own drop: what the agent left behind is killed last.
struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    decoder: Decoder,
    _mark: Mark,
}

impl Agent {
    fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mark = Mark::new(&format!("serve-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let (name, value) = mark.assignment().split_once('=').unwrap();
        let mut child = Command::new(AGENT)
            .arg("serve")
            .env(name, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        let mut magic = [0; MAGIC.len()];
        output.read_exact(&mut magic).unwrap();
        assert_eq!(MagicFinder::new(0).push(&magic), Ok(Some(vec![])));
        Self {
            input: child.stdin.take(),
            output,
            child,
            decoder: Decoder::new(),
            _mark: mark,
        }
    }

    fn greeted() -> Self {
        let mut agent = Self::start();
        agent.greet(PROTOCOL_VERSION);
        assert_eq!(agent.frame().kind, Kind::Hello);
        agent
    }

    fn greet(&mut self, protocol: u32) {
        let greeting = Greeting {
            protocol,
            version: "test".into(),
        };
        self.send(0, Kind::Hello, &serde_json::to_vec(&greeting).unwrap());
    }

    fn send(&mut self, stream: u32, kind: Kind, payload: &[u8]) {
        let frame = Frame {
            stream,
            kind,
            payload: payload.to_vec(),
        };
        self.bytes(&frame.encode().unwrap());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.input.as_mut().unwrap().write_all(bytes).unwrap();
    }

    fn open(&mut self, stream: u32, request: &Request) {
        self.send(stream, Kind::Open, &serde_json::to_vec(request).unwrap());
    }

    fn frame(&mut self) -> Frame {
        let mut buffer = [0; 4096];
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return frame;
            }
            let count = self.output.read(&mut buffer).unwrap();
            assert!(count > 0, "the agent ended");
            self.decoder.push(&buffer[..count]);
        }
    }

    fn ends(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < END_LIMIT, "the agent does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It has ended in every test that passes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that a command makes, gone with its test.
struct Flag(PathBuf);

impl Flag {
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_file(&path);
        Self(path)
    }

    fn wait(&self) {
        let begun = Instant::now();
        while !self.0.exists() {
            assert!(
                begun.elapsed() < END_LIMIT,
                "{} is missing",
                self.0.display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Flag {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The same with room for much output.
fn exec_with_output(script: &str, timeout_ms: u64) -> Request {
    let Request::Exec(mut request) = exec(script) else {
        unreachable!("exec makes that")
    };
    request.output_limit_bytes = 4_000_000;
    request.timeout_ms = timeout_ms;
    Request::Exec(request)
}

fn exec(script: &str) -> Request {
    Request::Exec(ExecRequest {
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: vec![],
        stdin: false,
        timeout_ms: 20_000,
        output_limit_bytes: 1000,
    })
}

#[test]
fn its_version_is_that_of_the_workspace() {
    let output = Command::new(AGENT).arg("--version").output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("harness-agent {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        Command::new(AGENT)
            .stderr(Stdio::null())
            .status()
            .unwrap()
            .code(),
        Some(64)
    );
}

/// Scripts that need the agent find it so: faults on the clock do.
#[test]
fn a_command_finds_the_agent_that_started_it() {
    let mut agent = Agent::greeted();
    agent.open(1, &exec("exec \"/proc/$PPID/exe\" --version"));
    let mut said = Vec::new();
    loop {
        let frame = agent.frame();
        match frame.kind {
            Kind::Data => said.extend(frame.payload),
            Kind::End => break,
            _ => {}
        }
    }
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("harness-agent "), "{said}");
}

#[test]
fn it_says_hello_runs_a_command_and_ends_with_its_input() {
    let mut agent = Agent::start();
    agent.greet(PROTOCOL_VERSION);
    let hello: Hello = serde_json::from_slice(&agent.frame().payload).unwrap();
    assert_eq!(hello.pid, agent.child.id());
    assert_eq!(hello.boot_id.len(), 36);
    agent.open(1, &exec("echo out; exit 4"));
    let data = agent.frame();
    assert_eq!(
        (data.stream, data.kind, data.payload.as_slice()),
        (1, Kind::Data, &b"out\n"[..])
    );
    let end = agent.frame();
    assert_eq!((end.stream, end.kind), (1, Kind::End));
    match serde_json::from_slice(&end.payload).unwrap() {
        End::Exec(end) => assert_eq!(end.ending, Ending::Code(4)),
        other => panic!("{other:?}"),
    }
    agent.send(0, Kind::Ping, b"12");
    assert_eq!((agent.frame().kind, agent.frame_free()), (Kind::Pong, 0));
    agent.input = None;
    assert_eq!(agent.ends().code(), Some(0));
}

impl Agent {
    /// Bytes that came and belong to no frame yet.
    fn frame_free(&self) -> usize {
        self.decoder.pending_bytes()
    }
}

#[test]
fn a_command_dies_with_the_input() {
    let mut agent = Agent::greeted();
    agent.open(1, &exec("echo $$; sleep 1000"));
    let pid: u32 = String::from_utf8(agent.frame().payload)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    agent.input = None;
    agent.ends();
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_cancelled_command_dies_and_says_so() {
    let mut agent = Agent::greeted();
    agent.open(1, &exec("sleep 1000"));
    agent.send(1, Kind::Cancel, &[]);
    match serde_json::from_slice(&agent.frame().payload).unwrap() {
        End::Exec(end) => assert_eq!(end.ending, Ending::Cancelled),
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_that_make_no_sense_are_refused_and_the_rest_goes_on() {
    let mut agent = Agent::greeted();
    for (stream, payload) in [(1, "{"), (2, "{}"), (3, r#"{"later":{}}"#), (4, "\u{0}")] {
        agent.send(stream, Kind::Open, payload.as_bytes());
        let end = agent.frame();
        assert_eq!((end.stream, end.kind), (stream, Kind::End));
        assert!(matches!(
            serde_json::from_slice(&end.payload).unwrap(),
            End::Failed(_)
        ));
    }
    agent.open(5, &Request::Clock);
    assert!(matches!(
        serde_json::from_slice(&agent.frame().payload).unwrap(),
        End::Clock(_)
    ));
}

type Act<'a> = &'a dyn Fn(&mut Agent);

#[test]
fn a_broken_protocol_ends_it() {
    let window = harness_core::frame::window::INITIAL_WINDOW_BYTES as usize;
    let table: [(&str, Act); 7] = [
        ("noise", &|agent| agent.bytes(&[0xff; 64])),
        ("no hello", &|agent| agent.send(1, Kind::Open, b"{}")),
        ("another protocol", &|agent| {
            agent.greet(PROTOCOL_VERSION + 1)
        }),
        ("a stream that is not open", &|agent| {
            agent.greet(PROTOCOL_VERSION);
            agent.send(9, Kind::Data, b"x");
        }),
        ("a stream opened twice", &|agent| {
            agent.greet(PROTOCOL_VERSION);
            agent.open(1, &Request::Clock);
            agent.open(1, &Request::Clock);
        }),
        ("a frame for the controller", &|agent| {
            agent.greet(PROTOCOL_VERSION);
            agent.send(1, Kind::End, b"{}");
        }),
        ("more than the credit", &|agent| {
            agent.greet(PROTOCOL_VERSION);
            let Request::Exec(mut request) = exec("sleep 1000") else {
                unreachable!("exec makes that")
            };
            request.stdin = true;
            agent.open(1, &Request::Exec(request));
            let piece = vec![0; window / 2 + 1];
            agent.send(1, Kind::Data, &piece);
            agent.send(1, Kind::Data, &piece);
        }),
    ];
    for (what, act) in table {
        let mut agent = Agent::start();
        act(&mut agent);
        assert_eq!(agent.ends().code(), Some(76), "{what}");
    }
}

#[test]
fn a_pong_does_not_wait_behind_data() {
    const STREAMS: u32 = 4;
    const EACH_BYTES: usize = 1_000_000;
    // What the pipe holds (64 KiB), and the batch that was begun before the ping (128 KiB and one frame).
    const IN_FRONT_BYTES: usize = 64 * 1024 + 128 * 1024 + CHUNK_BYTES;
    let mut agent = Agent::greeted();
    let flags: Vec<Flag> = (1..=STREAMS)
        .map(|stream| {
            let flag = Flag::new(&format!("pong-{}-{stream}", std::process::id()));
            let script = format!("head -c {EACH_BYTES} /dev/zero; : >{}", flag.0.display());
            agent.open(stream, &exec_with_output(&script, 20_000));
            flag
        })
        .collect();
    // Nobody reads meanwhile, so all of it is queued but for what is still in the commands' own pipes.
    for flag in &flags {
        flag.wait();
    }
    agent.send(0, Kind::Ping, b"quick");
    std::thread::sleep(Duration::from_millis(200));
    let (mut in_front_bytes, mut all_bytes, mut ends) = (None, 0, 0);
    while ends < STREAMS {
        let frame = agent.frame();
        match frame.kind {
            Kind::Pong => in_front_bytes = Some(all_bytes),
            Kind::Data => all_bytes += frame.payload.len(),
            Kind::End => ends += 1,
            kind => panic!("{kind:?}"),
        }
    }
    assert_eq!(all_bytes, EACH_BYTES * STREAMS as usize);
    let in_front_bytes = in_front_bytes.unwrap();
    assert!(in_front_bytes <= IN_FRONT_BYTES, "{in_front_bytes} bytes");
}

/// Bytes of data on a stream until its end, and that end. Credit is given only if `generous`.
fn data_until_end(agent: &mut Agent, stream: u32, generous: bool) -> (u64, ExecEnd) {
    let mut bytes = 0;
    loop {
        let frame = agent.frame();
        match frame.kind {
            Kind::Data => {
                bytes += frame.payload.len() as u64;
                let credit = u32::try_from(frame.payload.len()).unwrap();
                if generous {
                    agent.send(stream, Kind::Credit, &credit.to_be_bytes());
                }
            }
            Kind::End => match serde_json::from_slice(&frame.payload).unwrap() {
                End::Exec(end) => return (bytes, end),
                other => panic!("{other:?}"),
            },
            kind => panic!("{kind:?}"),
        }
    }
}

#[test]
fn output_is_whole_however_late_the_credit_comes() {
    const BYTES: u64 = 1_100_000;
    let flag = Flag::new(&format!("late-{}", std::process::id()));
    let script = format!("head -c {BYTES} /dev/zero; : >{}", flag.0.display());
    let mut agent = Agent::greeted();
    agent.open(1, &exec_with_output(&script, 20_000));
    flag.wait();
    // Longer than outputs are waited for that somebody holds open and says nothing on.
    std::thread::sleep(Duration::from_millis(800));
    let (bytes, end) = data_until_end(&mut agent, 1, true);
    assert_eq!((bytes, end.stdout_dropped_bytes), (BYTES, 0));
    assert_eq!(end.ending, Ending::Code(0));
}

#[test]
fn output_that_credit_never_comes_for_is_counted() {
    const BYTES: u64 = 1_100_000;
    let window = u64::from(harness_core::frame::window::INITIAL_WINDOW_BYTES);
    let mut agent = Agent::greeted();
    let script = format!("head -c {BYTES} /dev/zero");
    agent.open(1, &exec_with_output(&script, 500));
    let begun = Instant::now();
    let (bytes, end) = data_until_end(&mut agent, 1, false);
    assert_eq!((bytes, end.stdout_dropped_bytes), (window, BYTES - window));
    assert!(begun.elapsed() < END_LIMIT, "{:?}", begun.elapsed());
    // A stream that is given up is not waited for at all.
    agent.open(2, &exec_with_output(&script, 60_000));
    std::thread::sleep(Duration::from_millis(600));
    agent.send(2, Kind::Cancel, &[]);
    let begun = Instant::now();
    data_until_end(&mut agent, 2, false);
    assert!(begun.elapsed() < Duration::from_secs(2));
}
