//! The relay on the packets of a network of its own: how late they are, how often they come, in which order, and how many are damaged.
//! Needs root and a kernel with network namespaces, nfnetlink_queue, xt_NFQUEUE and nft_compat; fails, and never skips, without.

#![expect(clippy::unwrap_used, reason = "a test's helpers may fail the test")]

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

const AGENT: &str = env!("CARGO_BIN_EXE_harness-agent");
/// Who is sent to by way of the relay, and who is not.
const PEER: &str = "127.0.0.2";
const OTHER: &str = "127.0.0.3";
/// How long a packet may take that nobody holds, on a busy machine.
const SLACK: Duration = Duration::from_millis(200);
/// How long nothing comes any more.
const QUIET: Duration = Duration::from_millis(500);

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
}

/// A relay, as the fault's scripts begin and end it.
struct Relay {
    notes: TempDir,
}

impl Relay {
    fn new(shape: &str) -> Self {
        let notes = TempDir::new().unwrap();
        let table = format!(
            "table ip trial {{\nchain held {{ }}\nchain output {{ type filter hook output priority -301; policy accept;\n\
             meta skgid 18497 return\nip daddr {PEER} goto held\n}}\n}}\n"
        );
        let script = notes.path().join("table");
        fs::write(&script, table).unwrap();
        run("nft", &["-f", script.to_str().unwrap()]);
        let mut arguments = vec![
            "netem-start",
            notes.path().to_str().unwrap(),
            "trial",
            "65535",
        ];
        arguments.extend(shape.split(' '));
        run(AGENT, &arguments);
        Self { notes }
    }

    /// Taken, touched, sent, least and most microseconds, lost, passed: once all that was taken has been sent or lost.
    fn counts(&self) -> Vec<u64> {
        thread::sleep(QUIET);
        let text = fs::read_to_string(self.notes.path().join("counts")).unwrap();
        text.split_whitespace()
            .map(|word| word.parse().unwrap())
            .collect()
    }

    fn pid(&self) -> String {
        let text = fs::read_to_string(self.notes.path().join("pid")).unwrap();
        text.split(' ').next().unwrap().to_owned()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let process = format!("/proc/{}", self.pid());
        let begun = Instant::now();
        // It may be writing there in this moment.
        while let Err(error) = fs::remove_dir_all(self.notes.path()) {
            assert!(begun.elapsed() < Duration::from_secs(5), "{error}");
        }
        // It is our child's child: init's, or nobody's whom it waits for here.
        let lives = || {
            fs::read_to_string(format!("{process}/status"))
                .is_ok_and(|status| !status.contains("State:\tZ"))
        };
        while lives() {
            assert!(
                begun.elapsed() < Duration::from_secs(5),
                "the relay outlives its notes"
            );
            thread::sleep(Duration::from_millis(10));
        }
        run("nft", &["delete table ip trial"]);
    }
}

/// Sends numbers one after the other; in which order they came, and how late.
fn send(to: &str, count: u32) -> Vec<(u32, Duration)> {
    let receiver = UdpSocket::bind((to, 0)).unwrap();
    receiver.set_read_timeout(Some(QUIET)).unwrap();
    let address = receiver.local_addr().unwrap();
    let begun = Instant::now();
    let listening = thread::spawn(move || {
        let mut came = Vec::new();
        let mut bytes = [0; 64];
        loop {
            match receiver.recv(&mut bytes) {
                Ok(12) => {
                    let number = u32::from_ne_bytes(bytes[..4].try_into().unwrap());
                    let sent = u64::from_ne_bytes(bytes[4..12].try_into().unwrap());
                    came.push((number, begun.elapsed() - Duration::from_nanos(sent)));
                }
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) =>
                {
                    return came;
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for number in 0..count {
        let sent = u64::try_from(begun.elapsed().as_nanos()).unwrap();
        let bytes = [&number.to_ne_bytes()[..], &sent.to_ne_bytes()].concat();
        sender.send_to(&bytes, address).unwrap();
        thread::sleep(Duration::from_millis(2));
    }
    listening.join().unwrap()
}

fn checksum_errors() -> u64 {
    let text = fs::read_to_string("/proc/net/snmp").unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names
        .split(' ')
        .position(|name| name == "InCsumErrors")
        .unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

#[test]
fn packets_are_treated_as_asked() {
    let own = std::env::current_exe().unwrap();
    let inside = [
        "-n",
        own.to_str().unwrap(),
        "--ignored",
        "--exact",
        "in_a_network_of_its_own",
        "--nocapture",
    ];
    run("timeout", &[&["120", "unshare"], &inside[..]].concat());
}

#[test]
#[ignore = "called by the test above in a network of its own"]
fn in_a_network_of_its_own() {
    let links = fs::read_dir("/sys/class/net").unwrap().count();
    assert!(Path::new("/proc/self/net").exists() && links > 0);
    run("ip", &["link", "set", "lo", "mtu", "1500", "up"]);
    late();
    twice();
    out_of_order();
    damaged();
    a_stream_is_whole_and_not_held_up_by_what_waits();
    without_a_relay_packets_pass();
}

fn late() {
    let relay = Relay::new("slow 60 10");
    let came = send(PEER, 100);
    assert_eq!(came.len(), 100);
    for (number, late) in &came {
        assert!(
            (Duration::from_millis(50)..Duration::from_millis(70) + SLACK).contains(late),
            "{number} {late:?}"
        );
    }
    let quick = send(OTHER, 20);
    assert!(
        quick
            .iter()
            .all(|(_, late)| *late < Duration::from_millis(50)),
        "{quick:?}"
    );
    let counts = relay.counts();
    assert_eq!(
        (counts[0], counts[1], counts[2], counts[5], counts[6]),
        (100, 100, 100, 0, 0)
    );
    assert!(counts[3] >= 50_000 && counts[4] > counts[3], "{counts:?}");
}

fn twice() {
    let relay = Relay::new("duplicate 40");
    let came = send(PEER, 200);
    let counts = relay.counts();
    assert!((50..110).contains(&counts[1]), "{counts:?}");
    assert_eq!(counts[2], 200 + counts[1]);
    assert_eq!(came.len() as u64, counts[2]);
    let again = came
        .windows(2)
        .filter(|pair| pair[0].0 == pair[1].0)
        .count();
    assert_eq!(again as u64, counts[1]);
}

fn out_of_order() {
    let relay = Relay::new("reorder 25 50");
    let came = send(PEER, 200);
    let counts = relay.counts();
    assert_eq!(came.len(), 200);
    let early = came
        .iter()
        .filter(|(_, late)| *late < Duration::from_millis(45))
        .count();
    assert_eq!(early as u64, counts[1], "{came:?}");
    assert!(
        came.windows(2).any(|pair| pair[0].0 > pair[1].0),
        "{came:?}"
    );
}

fn damaged() {
    let relay = Relay::new("corrupt 30");
    let before = checksum_errors();
    let came = send(PEER, 200);
    let counts = relay.counts();
    let lost = 200 - came.len() as u64;
    // A bit of the port leads elsewhere, and one of the length makes no packet; the kernel finds the others by their checksum.
    assert_eq!(lost, counts[1], "{counts:?}");
    let found = checksum_errors() - before;
    assert!(found <= lost && found * 10 >= lost * 5, "{found} of {lost}");
}

/// Packets that wait count as sent: a stream does not stand still with two of them.
fn a_stream_is_whole_and_not_held_up_by_what_waits() {
    const BYTES: usize = 4 << 20;
    let _relay = Relay::new("slow 50 0");
    let listener = TcpListener::bind((PEER, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let sent: Vec<u8> = (0..BYTES).map(|at| (at % 251) as u8).collect();
    let expected = sent.clone();
    let begun = Instant::now();
    let sending = thread::spawn(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&sent).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut end = Vec::new();
        stream.read_to_end(&mut end).unwrap();
    });
    let (mut stream, _) = listener.accept().unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let mut got = Vec::new();
    stream.read_to_end(&mut got).unwrap();
    drop(stream);
    sending.join().unwrap();
    assert!(got == expected, "bytes differ");
    // Two segments in each 50 ms, which is what TCP does with packets that a queue holds, are more than a minute.
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

fn without_a_relay_packets_pass() {
    let relay = Relay::new("slow 5000 0");
    run("kill", &["-9", &relay.pid()]);
    thread::sleep(QUIET);
    let came = send(PEER, 20);
    assert_eq!(came.len(), 20);
    assert!(came.iter().all(|(_, late)| *late < SLACK), "{came:?}");
}
