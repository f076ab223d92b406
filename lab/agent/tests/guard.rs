//! The guard as a process: it undoes what it was handed when nobody renews, outlives the agent, is one, and ends by itself.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

mod leftovers;

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use harness_core::frame::{
    Decoder, Frame, Kind, MAGIC, PROTOCOL_VERSION,
    guard::{GuardEnd, GuardHeal, GuardRequest},
    message::{End, Greeting, Request},
};
use leftovers::Mark;

const AGENT: &str = env!("CARGO_BIN_EXE_harness-agent");
/// Time in which something shows that is to happen soon.
const SOON: Duration = Duration::from_secs(20);

/// A node: a folder with an agent, whose guard is beside it.
struct Node {
    folder: tempfile::TempDir,
    mark: Mark,
}

impl Node {
    fn new(unique: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = folder.path().join("agent");
        // By another process: what we had open for writing, a child of another test's could hold, and then it cannot be run.
        let copied = Command::new("cp")
            .args([AGENT.as_ref(), agent.as_os_str()])
            .status();
        assert!(copied.unwrap().success());
        fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
        Self {
            folder,
            mark: Mark::new(unique),
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One agent, one request, and the agent is gone again.
    fn tell(&self, request: GuardRequest) -> GuardEnd {
        let (name, value) = self.mark.assignment().split_once('=').unwrap();
        let mut child = Command::new(self.file("agent"))
            .arg("serve")
            .env(name, value)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let greeting = Greeting {
            protocol: PROTOCOL_VERSION,
            version: "test".into(),
        };
        let mut input = child.stdin.take().unwrap();
        let request = serde_json::to_vec(&Request::Guard(request)).unwrap();
        for (stream, kind, payload) in [
            (0, Kind::Hello, serde_json::to_vec(&greeting).unwrap()),
            (1, Kind::Open, request),
        ] {
            let frame = Frame {
                stream,
                kind,
                payload,
            };
            input.write_all(&frame.encode().unwrap()).unwrap();
        }
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; MAGIC.len()]).unwrap();
        let end = end_of(&mut output);
        drop(input);
        child.wait().unwrap();
        end
    }

    fn request(&self, run: &str, lease_ms: u64, scripts: &[&str]) -> GuardRequest {
        let heal = |script: &&str| GuardHeal {
            fault: 7,
            script: script.replace("HERE", &self.folder.path().display().to_string()),
        };
        GuardRequest {
            run: run.to_owned(),
            lease_ms,
            heals: scripts.iter().map(heal).collect(),
            purge: false,
        }
    }

    /// Processes that live on though every agent has ended.
    fn guards(&self) -> usize {
        self.mark.processes().len()
    }
}

fn end_of(output: &mut impl Read) -> GuardEnd {
    let mut decoder = Decoder::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some(frame) = decoder.next_frame().unwrap() {
            if frame.kind == Kind::End {
                match serde_json::from_slice(&frame.payload).unwrap() {
                    End::Guarded(end) => return end,
                    other => panic!("{other:?}"),
                }
            }
        }
        let count = output.read(&mut buffer).unwrap();
        assert!(count > 0, "the agent ended");
        decoder.push(&buffer[..count]);
    }
}

#[track_caller]
fn soon(what: &str, is_so: impl Fn() -> bool) {
    let give_up = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < give_up, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_nobody_renews_is_undone_in_order_and_told_to_its_run_only() {
    let node = Node::new("guard-heals");
    let scripts = [
        "echo one >>HERE/done",
        "echo no >&2; exit 3",
        "echo two >>HERE/done",
    ];
    let end = node.tell(node.request("a", 700, &scripts));
    assert_eq!(
        end,
        GuardEnd {
            watching: true,
            healed: vec![]
        }
    );
    assert_eq!(node.guards(), 1, "it outlives its agent");
    soon("it undid nothing", || node.guards() == 0);
    assert_eq!(fs::read_to_string(node.file("done")).unwrap(), "one\ntwo\n");
    let other = node.tell(node.request("b", 700, &[]));
    assert_eq!(other.healed, []);
    let healed = node.tell(node.request("a", 700, &[])).healed;
    let problems: Vec<bool> = healed
        .iter()
        .map(|healed| healed.problem.is_some())
        .collect();
    assert_eq!(problems, [false, true, false]);
    assert!(
        healed[1]
            .problem
            .as_deref()
            .is_some_and(|problem| problem.contains("no"))
    );
    assert!(
        healed
            .iter()
            .all(|healed| healed.fault == 7 && healed.silent_ms >= 700)
    );
    // Another run's faults have the same numbers: nothing of the older one is kept.
    node.tell(node.request("b", 60_000, &["true"]));
    assert_eq!(node.tell(node.request("a", 700, &[])).healed, []);
    soon("it has nothing to watch and lives", || node.guards() == 0);
}

#[test]
fn while_it_is_renewed_nothing_is_undone_and_there_is_one() {
    let node = Node::new("guard-renews");
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        node.tell(node.request("a", 2_000, &["touch HERE/done"]));
        assert_eq!(node.guards(), 1);
        thread::sleep(Duration::from_millis(100));
    }
    assert!(!node.file("done").exists());
    node.tell(node.request("a", 2_000, &[]));
    soon("it has nothing to watch and lives", || node.guards() == 0);
    assert!(!node.file("done").exists());
}

#[test]
fn nothing_is_left_where_it_is_purged_or_its_folder_is_removed() {
    let node = Node::new("guard-purged");
    node.tell(node.request("a", 60_000, &["touch HERE/done"]));
    node.tell(GuardRequest {
        purge: true,
        ..GuardRequest::default()
    });
    soon("it was purged and lives", || node.guards() == 0);
    assert!(!node.file("guard").exists());
    node.tell(node.request("a", 60_000, &["touch HERE/done"]));
    fs::remove_dir_all(node.file("guard")).unwrap();
    soon("its folder is gone and it lives", || node.guards() == 0);
    // What was never armed leaves nothing either.
    assert_eq!(node.tell(GuardRequest::default()), GuardEnd::default());
    assert!(!node.file("guard").exists() && !node.file("done").exists());
}
