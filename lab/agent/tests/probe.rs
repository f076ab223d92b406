//! Probes, as far as they can be tested without the privilege to arm them: what is wrong is refused with the mend.
//! That they fire, and in one node only, is tested on real containers (`nemesis/tests/crashpoint_live.rs`).

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::{
    fs,
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
};

use harness_core::frame::{
    Decoder, Frame, Kind, MAGIC, PROTOCOL_VERSION,
    message::{End, Failure, Greeting, Request},
    probe::{Fire, MAX_SITES, ProbeRequest, ProbeSignal, Site},
};

const AGENT: &str = env!("CARGO_BIN_EXE_harness-agent");
/// A user without rights.
const NOBODY: u32 = 65_534;
/// Held from making a copy of the agent until it runs.
static COPYING: Mutex<()> = Mutex::new(());

/// Sends one request to an agent of a user without rights, and gives how it failed.
fn refused(request: ProbeRequest) -> Failure {
    let folder = tempfile::tempdir().unwrap();
    let agent = folder.path().join("agent");
    // A child forked meanwhile would hold the copy open for writing, and then nobody can run it.
    let copying = COPYING.lock().unwrap_or_else(PoisonError::into_inner);
    fs::copy(AGENT, &agent).unwrap();
    // Whoever it runs as must come to it.
    for path in [folder.path(), &agent] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(&agent);
    command
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let mut child = command.spawn().unwrap();
    drop(copying);
    let greeting = Greeting {
        protocol: PROTOCOL_VERSION,
        version: "test".into(),
    };
    let mut input = child.stdin.take().unwrap();
    for (stream, kind, payload) in [
        (0, Kind::Hello, serde_json::to_vec(&greeting).unwrap()),
        (
            1,
            Kind::Open,
            serde_json::to_vec(&Request::Probe(request)).unwrap(),
        ),
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
    let failure = end_of(&mut output);
    drop(input);
    child.wait().unwrap();
    failure
}

fn end_of(output: &mut impl Read) -> Failure {
    let mut decoder = Decoder::new();
    let mut buffer = [0; 4096];
    loop {
        while let Some(frame) = decoder.next_frame().unwrap() {
            assert_ne!(frame.kind, Kind::Data, "it was armed");
            if frame.kind == Kind::End {
                match serde_json::from_slice(&frame.payload).unwrap() {
                    End::Failed(failure) => return failure,
                    other => panic!("{other:?}"),
                }
            }
        }
        let count = output.read(&mut buffer).unwrap();
        assert!(count > 0, "the agent ended");
        decoder.push(&buffer[..count]);
    }
}

/// A request for the beginning of a program that everybody may read.
fn request(sites: usize, fire: Option<Fire>) -> ProbeRequest {
    let mut entry = [0; 8];
    fs::File::open("/bin/sh")
        .unwrap()
        .read_exact(&mut entry)
        .unwrap();
    let site = Site {
        offset: 0,
        entry: u64::from_le_bytes(entry),
    };
    ProbeRequest {
        path: "/bin/sh".into(),
        sites: vec![site; sites],
        report_hits: 1,
        fire,
        keep: None,
    }
}

#[test]
fn without_the_privilege_the_answer_says_what_to_grant() {
    let kill = Fire {
        nth: 1,
        signal: Some(ProbeSignal::Kill),
    };
    for request in [request(1, Some(kill)), request(2, None)] {
        let failure = refused(request);
        assert_eq!(failure.errno, Some(1), "{failure:?}");
        assert!(
            failure.message.contains("CAP_BPF and CAP_PERFMON"),
            "{failure:?}"
        );
    }
}

#[test]
fn requests_that_make_no_sense_are_refused() {
    let with = |change: fn(&mut ProbeRequest)| {
        let mut request = request(1, None);
        change(&mut request);
        refused(request).message
    };
    assert!(with(|request| request.sites.clear()).contains("not 1 to"));
    let many = with(|request| request.sites = vec![request.sites[0]; MAX_SITES + 1]);
    assert!(many.contains(&format!("not 1 to {MAX_SITES}")), "{many}");
    let zeroth = Some(Fire {
        nth: 0,
        signal: None,
    });
    assert!(refused(request(1, zeroth)).message.contains("no hit 0"));
    assert!(with(|request| request.sites[0].entry ^= 1).contains("is not what was resolved"));
    assert!(
        with(|request| request.sites[0].offset = u64::MAX / 2).contains("is not what was resolved")
    );
    let missing = with(|request| request.path = "/no/such/program".into());
    assert!(missing.contains("open /no/such/program"), "{missing}");
}
