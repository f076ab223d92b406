//! The agent watching logs and files, as a process on this machine.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::{
    fs::{self, OpenOptions},
    io::{Read, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use harness_core::{
    frame::{
        Decoder, Frame, Kind, MAGIC, PROTOCOL_VERSION,
        message::{End, Greeting, Request},
        watch::{WatchEnd, WatchRequest, WatchTarget},
    },
    trigger::FileEvent,
};

const AGENT: &str = env!("CARGO_BIN_EXE_harness-agent");
const STREAM: u32 = 1;

/// An agent that watches; it ends with its input.
struct Agent {
    child: Child,
    input: Option<ChildStdin>,
    output: ChildStdout,
    decoder: Decoder,
}

impl Agent {
    fn asked(what: WatchTarget, nth: u64) -> Self {
        let mut child = Command::new(AGENT)
            .arg("serve")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; MAGIC.len()]).unwrap();
        let mut agent = Self {
            input: child.stdin.take(),
            output,
            child,
            decoder: Decoder::new(),
        };
        let greeting = Greeting {
            protocol: PROTOCOL_VERSION,
            version: "test".into(),
        };
        agent.send(0, Kind::Hello, &serde_json::to_vec(&greeting).unwrap());
        assert_eq!(agent.frame().kind, Kind::Hello);
        let request = Request::Watch(WatchRequest { what, nth });
        agent.send(STREAM, Kind::Open, &serde_json::to_vec(&request).unwrap());
        agent
    }

    /// Nothing is missed once it is back.
    fn watching(what: WatchTarget, nth: u64) -> Self {
        let mut agent = Self::asked(what, nth);
        let opened = agent.frame();
        assert_eq!(
            opened.kind,
            Kind::Opened,
            "{}",
            String::from_utf8_lossy(&opened.payload)
        );
        agent
    }

    fn send(&mut self, stream: u32, kind: Kind, payload: &[u8]) {
        let frame = Frame {
            stream,
            kind,
            payload: payload.to_vec(),
        };
        self.input
            .as_mut()
            .unwrap()
            .write_all(&frame.encode().unwrap())
            .unwrap();
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

    fn end(&mut self) -> End {
        let frame = self.frame();
        assert_eq!(frame.kind, Kind::End);
        serde_json::from_slice(&frame.payload).unwrap()
    }

    /// Path and text of the hit.
    fn hit(&mut self) -> (String, String) {
        match self.end() {
            End::Watched(WatchEnd { hit: Some(hit), .. }) => (hit.path, hit.text),
            end => panic!("{end:?}"),
        }
    }

    /// How often it was seen when it is told to stop without a hit. What was written before that has been looked at.
    fn stop(&mut self) -> u64 {
        self.send(STREAM, Kind::Eof, &[]);
        match self.end() {
            End::Watched(WatchEnd { hit: None, seen }) => seen,
            end => panic!("{end:?}"),
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.input.take());
        // It has ended in every test that passes.
        let _ = self.child.wait();
    }
}

fn log(path: &Path, pattern: &str) -> WatchTarget {
    WatchTarget::Log {
        paths: vec![path.display().to_string()],
        pattern: pattern.to_owned(),
    }
}

fn file(glob: &Path, event: FileEvent) -> WatchTarget {
    WatchTarget::File {
        glob: glob.display().to_string(),
        event,
    }
}

/// Time in which the agent has looked at what happened: what goes from a name before it looks cannot be found by that name.
fn settle() {
    std::thread::sleep(std::time::Duration::from_millis(300));
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_line_counts_from_then_on_and_when_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.log");
    append(&path, "old leader 1\n");
    let mut agent = Agent::watching(log(&path, "leader [0-9]+$"), 2);
    append(&path, "other\nnew lead");
    append(&path, "er 2\nleader x\n");
    append(&path, "again leader 3\nleader 4\n");
    let hit = agent.hit();
    assert_eq!(
        hit,
        (path.display().to_string(), "again leader 3".to_owned())
    );
}

#[test]
fn a_log_is_followed_across_whatever_happens_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (own, path) = (folder.path().join("logs"), folder.path().join("logs/a.log"));
    // It is not there yet, nor is its folder.
    let mut agent = Agent::watching(log(&path, "x"), 7);
    fs::create_dir(&own).unwrap();
    append(&path, "x 1\n");
    settle();
    // Rotated, with a writer that goes on for a while.
    let mut before = OpenOptions::new().append(true).open(&path).unwrap();
    fs::rename(&path, own.join("a.log.1")).unwrap();
    before.write_all(b"x 2\n").unwrap();
    append(&path, "x 3\n");
    // Cut, and shorter than before.
    append(&path, "a long line without it\n");
    settle();
    OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(0)
        .unwrap();
    append(&path, "x 4\n");
    // Removed and made anew.
    settle();
    fs::remove_file(&path).unwrap();
    append(&path, "x 5\n");
    // With its folder.
    settle();
    fs::remove_dir_all(&own).unwrap();
    fs::create_dir(&own).unwrap();
    append(&path, "x 6\n");
    append(&path, "x 7\n");
    assert_eq!(agent.hit().1, "x 7");
}

#[test]
fn files_are_seen_to_come_change_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    append(&at("snapshot-0"), "there already");
    let mut created = Agent::watching(file(&at("snapshot-*"), FileEvent::Created), 2);
    let mut changed = Agent::watching(file(&at("snapshot-?"), FileEvent::Changed), 1);
    let mut removed = Agent::watching(file(&at("snapshot-*"), FileEvent::Removed), 2);
    append(&at("other"), "no");
    fs::write(at("snapshot-1.tmp"), "").unwrap();
    fs::rename(at("snapshot-1.tmp"), at("snapshot-1")).unwrap();
    append(&at("snapshot-0"), "more");
    fs::remove_file(at("snapshot-1")).unwrap();
    assert_eq!(created.hit().0, at("snapshot-1").display().to_string());
    assert_eq!(changed.hit().0, at("snapshot-0").display().to_string());
    assert_eq!(removed.hit().0, at("snapshot-1").display().to_string());
}

#[test]
fn folders_that_come_later_are_watched_too_and_each_file_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("data");
    let mut agent = Agent::watching(file(&root.join("**/*.db"), FileEvent::Created), 100);
    for name in ["one", "two"] {
        let deep = root.join(name).join("deep");
        fs::create_dir_all(&deep).unwrap();
        for file in ["a.db", "b.db", "c.txt"] {
            append(&deep.join(file), "");
        }
    }
    settle();
    // A folder that moves takes along what it holds: it comes to be under other names.
    fs::rename(root.join("two"), root.join("three")).unwrap();
    settle();
    assert_eq!(agent.stop(), 6);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let some = Path::new("/tmp/x");
    for (what, nth, fragment) in [
        (log(some, "("), 1, "no regular expression"),
        (log(some, "x"), 0, "counted from 1"),
        (file(Path::new("x/*"), FileEvent::Created), 1, "no glob"),
        (
            WatchTarget::Log {
                paths: Vec::new(),
                pattern: "x".to_owned(),
            },
            1,
            "0 logs",
        ),
    ] {
        match Agent::asked(what, nth).end() {
            End::Failed(failure) => assert!(failure.message.contains(fragment), "{failure:?}"),
            end => panic!("{end:?}"),
        }
    }
}
