//! The SSH transport against a real sshd on this machine: the conformance suite, and what only SSH has
//! (host keys, logins, jump hosts).
//!
//! It needs `/usr/sbin/sshd`, `ssh-keygen`, `ssh-agent` and `ssh-add`, and fails without them: `./lab/test` installs openssh.

#![expect(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a test's helpers may fail the test"
)]

#[path = "../agent/tests/leftovers/mod.rs"]
mod leftovers;

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use harness_lab::{
    Address, Daemon, Exec, Transport, TransportError, conformance,
    ssh::{Auth, HostKeyPolicy, JumpHost, SshTarget, SshTransport},
};
use rustix::{
    net::{getpeername, sockopt},
    process::{
        Pid, PidfdFlags, PidfdGetfdFlags, Signal, getpid, kill_process, pidfd_getfd, pidfd_open,
    },
};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use leftovers::Mark;

const SSHD: &str = "/usr/sbin/sshd";
/// Bytes that the kernel keeps of what was sent, where a test makes the way narrow.
const SEND_BUFFER_BYTES: usize = 16 * 1024;
/// Time for a session's agent, and what it runs, to be gone after the session.
const SESSION_END_LIMIT: Duration = Duration::from_secs(6);
const START_LIMIT: Duration = Duration::from_secs(10);

/// An sshd of our own, on a port of the loopback; ended by its process id, and what its sessions left by their mark.
struct Sshd {
    mark: Mark,
    folder: TempDir,
    child: Child,
    port: u16,
}

impl Sshd {
    fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// With further variables for its sessions, such as `PATH=/bin`.
    fn start_with(variables: impl FnOnce(&Path) -> String) -> Self {
        assert!(
            Path::new(SSHD).exists(),
            "{SSHD} is missing: install openssh-server"
        );
        // Where sshd wants an empty folder; only root can make it, and only root's sshd asks for it.
        let _ = fs::create_dir_all("/run/sshd");
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        keygen(&at("host"), "ed25519");
        keygen(&at("user"), "ed25519");
        fs::copy(at("user.pub"), at("authorized_keys")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {host}\nAuthorizedKeysFile {keys}\n\
             PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n\
             MaxStartups 100\nLogLevel ERROR\n",
            host = at("host").display(),
            keys = at("authorized_keys").display(),
        );
        let mark = Mark::new(&port.to_string());
        // sshd heeds only the first line of this name.
        let variables = format!(
            "SetEnv {} {}\n",
            mark.assignment(),
            variables(folder.path())
        );
        fs::write(at("config"), config + &variables).unwrap();
        let mut child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(at("config"))
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(child.try_wait().unwrap().is_none(), "sshd ended at once");
            assert!(begun.elapsed() < START_LIMIT, "sshd does not listen");
            thread::sleep(Duration::from_millis(10));
        }
        Self {
            mark,
            folder,
            child,
            port,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn host_key(&self) -> String {
        fs::read_to_string(self.at("host.pub")).unwrap()
    }

    fn target(&self) -> SshTarget {
        SshTarget {
            name: "n1".into(),
            host: "127.0.0.1".into(),
            port: self.port,
            user: user(),
            auth: Auth::KeyFile(self.at("user")),
            host_key: HostKeyPolicy::Pinned(vec![self.host_key()]),
            sudo: false,
            jump: None,
        }
    }

    fn transport(&self) -> SshTransport {
        SshTransport::new(self.target())
    }

    /// Waits until nobody is left of what sessions started, and gives who is left all the same.
    async fn sessions_end(&self) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let left = self.mark.processes();
            if left.is_empty() || begun.elapsed() > SESSION_END_LIMIT {
                let line = |pid: &Pid| {
                    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
                    let line = fs::read(path).unwrap_or_default();
                    String::from_utf8_lossy(&line).replace('\0', " ")
                };
                return left.iter().map(line).collect();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn authorize(&self, public: &Path) {
        let mut keys = fs::read_to_string(self.at("authorized_keys")).unwrap();
        keys += &fs::read_to_string(public).unwrap();
        fs::write(self.at("authorized_keys"), keys).unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn keygen(path: &Path, kind: &str) {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-t", kind, "-f"])
        .arg(path)
        .status()
        .unwrap();
    assert!(status.success());
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn says_hello(transport: &SshTransport) -> Result<(), TransportError> {
    let output = transport.exec(Exec::new(["echo", "hello"])).await?;
    assert_eq!(output.stdout, b"hello\n");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance_over_a_loopback_sshd() {
    let sshd = Sshd::start();
    let part = std::env::var("HARNESS_CONFORMANCE").unwrap_or_default();
    let transport = Arc::new(sshd.transport());
    let results = conformance::run_matching(transport.clone(), &part).await;
    transport.close().await;
    let left = sshd.sessions_end().await;
    let mut failed = Vec::new();
    for result in &results {
        let mark = if result.outcome.is_ok() {
            "ok"
        } else {
            "FAILED"
        };
        println!(
            "{mark:6} {:5} ms  {}",
            result.duration.as_millis(),
            result.name
        );
        if let Err(reason) = &result.outcome {
            failed.push(format!("{}: {reason}", result.name));
        }
    }
    assert!(!results.is_empty());
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
    assert!(left.is_empty(), "the suite left {left:?}");
}

#[tokio::test]
async fn a_host_with_another_key_is_refused() {
    let sshd = Sshd::start();
    keygen(&sshd.at("other"), "ed25519");
    let other = fs::read_to_string(sshd.at("other.pub")).unwrap();
    let known = sshd.at("known_hosts");
    fs::write(&known, format!("[127.0.0.1]:{} {other}", sshd.port)).unwrap();
    let empty = sshd.at("empty");
    fs::write(&empty, "").unwrap();
    for policy in [
        HostKeyPolicy::Pinned(vec![other]),
        HostKeyPolicy::Pinned(vec![]),
        HostKeyPolicy::KnownHosts(known.clone()),
        HostKeyPolicy::AcceptNew(known),
        HostKeyPolicy::KnownHosts(empty),
        HostKeyPolicy::KnownHosts(sshd.at("missing")),
    ] {
        let mut target = sshd.target();
        target.host_key = policy.clone();
        let result = says_hello(&SshTransport::new(target)).await;
        assert!(
            matches!(result, Err(TransportError::HostKey { .. })),
            "{policy:?} gave {result:?}"
        );
    }
}

#[tokio::test]
async fn a_known_host_is_let_through_and_a_new_one_only_if_asked() {
    let sshd = Sshd::start();
    let file = sshd.at("known_hosts");
    let mut target = sshd.target();
    target.host_key = HostKeyPolicy::AcceptNew(file.clone());
    says_hello(&SshTransport::new(target.clone()))
        .await
        .unwrap();
    let learnt = fs::read_to_string(&file).unwrap();
    assert!(
        learnt.starts_with(&format!("[127.0.0.1]:{} ssh-", sshd.port)),
        "{learnt}"
    );
    target.host_key = HostKeyPolicy::KnownHosts(file.clone());
    says_hello(&SshTransport::new(target.clone()))
        .await
        .unwrap();
    target.host_key = HostKeyPolicy::AcceptNew(file.clone());
    says_hello(&SshTransport::new(target)).await.unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap(), learnt);
}

#[tokio::test]
async fn keys_of_each_kind_log_in_and_others_do_not() {
    let sshd = Sshd::start();
    for kind in ["ed25519", "rsa", "ecdsa"] {
        let key = sshd.at(kind);
        keygen(&key, kind);
        let mut target = sshd.target();
        target.auth = Auth::KeyFile(key.clone());
        let result = says_hello(&SshTransport::new(target.clone())).await;
        assert!(
            matches!(result, Err(TransportError::Authentication { .. })),
            "an unknown {kind} key gave {result:?}"
        );
        sshd.authorize(&key.with_extension("pub"));
        says_hello(&SshTransport::new(target)).await.unwrap();
    }
    let mut target = sshd.target();
    target.auth = Auth::KeyFile(sshd.at("no-such-key"));
    let result = says_hello(&SshTransport::new(target)).await;
    assert!(
        matches!(result, Err(TransportError::Authentication { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_node_that_is_not_there_is_said_so_in_time() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.port = port;
    let transport = SshTransport::new(target);
    let begun = Instant::now();
    let result = transport
        .exec(Exec::new(["true"]).timeout(Duration::from_millis(700)))
        .await;
    assert!(
        matches!(result, Err(TransportError::Unreachable { .. })),
        "{result:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_node_that_answers_nothing_is_given_up_in_time() {
    // It accepts connections and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.port = silent.local_addr().unwrap().port();
    let transport = SshTransport::new(target);
    let begun = Instant::now();
    let result = transport
        .exec(Exec::new(["true"]).timeout(Duration::from_millis(700)))
        .await;
    assert!(
        matches!(
            result,
            Err(TransportError::Unreachable { .. } | TransportError::TimedOut { .. })
        ),
        "{result:?}"
    );
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_back_is_found_within_the_call() {
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let late = target.port;
    let relay = thread::spawn({
        let port = sshd.port;
        move || {
            thread::sleep(Duration::from_millis(250));
            let listener = TcpListener::bind(("127.0.0.1", late)).unwrap();
            let client = listener.accept().unwrap().0;
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let up = thread::spawn(move || std::io::copy(&mut from, &mut to));
            let _ = std::io::copy(&mut &server, &mut &client);
            let _ = client.shutdown(std::net::Shutdown::Both);
            let _ = up.join();
        }
    });
    let transport = SshTransport::new(target);
    says_hello(&transport).await.unwrap();
    transport.close().await;
    relay.join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_over_a_jump_host_works_and_is_checked() {
    let (sshd, jump) = (Sshd::start(), Sshd::start());
    let host = JumpHost {
        host: "127.0.0.1".into(),
        port: jump.port,
        user: user(),
        auth: Auth::KeyFile(jump.at("user")),
        host_key: HostKeyPolicy::Pinned(vec![jump.host_key()]),
    };
    let mut target = sshd.target();
    target.jump = Some(host.clone());
    let transport = Arc::new(SshTransport::new(target.clone()));
    for part in [
        "exec_mixed",
        "exec_stdin",
        "file_upload",
        "connect_tcp",
        "connect_slow",
        "survives_a_lost",
    ] {
        for result in conformance::run_matching(transport.clone(), part).await {
            assert!(result.outcome.is_ok(), "{result:?}");
        }
    }
    // The node's key in the jump host's place, and the other way round.
    let mut wrong = target.clone();
    wrong.jump.as_mut().unwrap().host_key = target.host_key.clone();
    let result = says_hello(&SshTransport::new(wrong)).await;
    assert!(
        matches!(result, Err(TransportError::HostKey { .. })),
        "{result:?}"
    );
    let mut wrong = target;
    wrong.host_key = host.host_key;
    let result = says_hello(&SshTransport::new(wrong)).await;
    assert!(
        matches!(result, Err(TransportError::HostKey { .. })),
        "{result:?}"
    );
}

#[tokio::test]
async fn an_ordinary_user_may_go_through_sudo() {
    // Not the real one: a stand-in that notes that it was asked, so that no rights are needed here.
    let sshd = Sshd::start_with(|folder| {
        let stand_in = folder.join("bin/sudo");
        fs::create_dir(folder.join("bin")).unwrap();
        let note = folder.join("sudo-was-asked");
        let script = format!(
            "#!/bin/sh\necho \"$1 $2\" >{}\nshift 2\nHARNESS_SUDO=1 exec \"$@\"\n",
            note.display()
        );
        fs::write(&stand_in, script).unwrap();
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
        format!("PATH={}:/usr/bin:/bin", folder.join("bin").display())
    });
    let mut target = sshd.target();
    let direct = SshTransport::new(target.clone());
    target.sudo = true;
    let through = SshTransport::new(target);
    for (transport, expected) in [(direct, "no\n"), (through, "1\n")] {
        let asked = Exec::shell("echo ${HARNESS_SUDO:-no}");
        let output = transport.exec(asked).await.unwrap();
        assert_eq!(output.stdout_text(), expected);
    }
    let asked = fs::read_to_string(sshd.at("sudo-was-asked")).unwrap();
    assert_eq!(asked, "-n --\n");
}

#[tokio::test]
async fn a_sudo_that_wants_a_password_is_named_as_the_reason() {
    let sshd = Sshd::start_with(|folder| {
        let stand_in = folder.join("sudo");
        fs::write(
            &stand_in,
            "#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n",
        )
        .unwrap();
        fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
        format!("PATH={}:/usr/bin:/bin", folder.display())
    });
    let mut target = sshd.target();
    target.sudo = true;
    match says_hello(&SshTransport::new(target)).await {
        Err(TransportError::Unreachable { source, .. }) => {
            assert!(
                source.to_string().contains("a password is required"),
                "{source}"
            );
        }
        other => panic!("{other:?}"),
    }
}

/// One test, since the address of the ssh-agent is a variable of this whole process: cargo's
/// harness runs it in a process of its own.
#[test]
fn keys_of_an_ssh_agent_log_in() {
    const INSIDE: &str = "HARNESS_TEST_INSIDE_SSH_AGENT";
    if std::env::var_os(INSIDE).is_none() {
        let status = Command::new("ssh-agent")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "keys_of_an_ssh_agent_log_in"])
            .env(INSIDE, "1")
            .status()
            .unwrap();
        assert!(status.success());
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let sshd = Sshd::start();
        let mut target = sshd.target();
        target.auth = Auth::Agent;
        let result = says_hello(&SshTransport::new(target.clone())).await;
        assert!(
            matches!(result, Err(TransportError::Authentication { .. })),
            "{result:?}"
        );
        keygen(&sshd.at("unknown"), "ed25519");
        for key in ["unknown", "user"] {
            let status = Command::new("ssh-add")
                .arg("-q")
                .arg(sshd.at(key))
                .status()
                .unwrap();
            assert!(status.success());
        }
        says_hello(&SshTransport::new(target)).await.unwrap();
    });
}

/// A way to an sshd that is narrow towards it and comes back in bursts, so that sending often has to wait, and
/// much is there to read when it may go on.
struct NarrowWay {
    port: u16,
}

impl NarrowWay {
    /// Bytes that go to the sshd in one go, and the pause after them.
    const UP_BYTES: usize = 32 * 1024;
    const UP_PAUSE: Duration = Duration::from_micros(500);
    /// Time for which what comes back is collected.
    const DOWN_PAUSE: Duration = Duration::from_millis(15);
    /// Bytes that the kernel keeps for us of what goes up.
    const KERNEL_BYTES: usize = 8 * 1024;

    /// For one connection; its threads end with it.
    fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        sockopt::set_socket_recv_buffer_size(&listener, Self::KERNEL_BYTES).unwrap();
        let own = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let client = listener.accept().unwrap().0;
            let server = TcpStream::connect(("127.0.0.1", port)).unwrap();
            for socket in [&client, &server] {
                socket.set_nodelay(true).unwrap();
            }
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let up = thread::spawn(move || Self::carry_up(&from, &to));
            Self::carry_down(&server, &client);
            up.join().unwrap();
        });
        Self { port: own }
    }

    fn carry_up(mut from: &TcpStream, mut to: &TcpStream) {
        let mut buffer = vec![0; Self::UP_BYTES];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
            thread::sleep(Self::UP_PAUSE);
        }
        let _ = to.shutdown(Shutdown::Both);
    }

    fn carry_down(mut from: &TcpStream, mut to: &TcpStream) {
        let mut buffer = vec![0; 1024 * 1024];
        from.set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        loop {
            let mut burst = Vec::new();
            let begun = Instant::now();
            let mut open = true;
            while open && begun.elapsed() < Self::DOWN_PAUSE {
                match from.read(&mut buffer) {
                    Ok(0) => open = false,
                    Ok(count) => burst.extend_from_slice(&buffer[..count]),
                    Err(error) => open = error.kind() == std::io::ErrorKind::WouldBlock,
                }
            }
            if to.write_all(&burst).is_err() || !open {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// Makes the send buffers of our own sockets to that port small: the kernel's own for the loopback hold all
/// that sshd's window lets out, and then sending never has to wait.
fn narrow_sockets_to(port: u16) {
    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let mut narrowed = 0;
    for entry in fs::read_dir("/proc/self/fd").unwrap() {
        let number = entry
            .unwrap()
            .file_name()
            .into_string()
            .unwrap()
            .parse()
            .unwrap();
        let Ok(socket) = pidfd_getfd(&this, number, PidfdGetfdFlags::empty()) else {
            continue;
        };
        let peer = getpeername(&socket).ok().flatten();
        let address = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        if address.is_some_and(|address| address.port() == port) {
            sockopt::set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES).unwrap();
            narrowed += 1;
        }
    }
    assert!(narrowed > 0, "no socket to port {port}");
}

/// Numbers that look random, and are the same for the same seed.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: usize) -> usize {
        // The linear congruence of Knuth's MMIX; its high bits are good enough for sizes.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// Streams and commands of random sizes, all at once; every byte must come back.
async fn everything_at_once(transport: &Arc<SshTransport>, address: &Address, seed: u64) {
    let mut draw = Draw(seed);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let size = 1 + draw.below(2_500_000);
        let bytes = draw.bytes(size);
        let (transport, address) = (transport.clone(), address.clone());
        tasks.spawn(async move {
            let stream = transport
                .connect(&address, Duration::from_secs(20))
                .await
                .unwrap();
            let (mut from, mut to) = tokio::io::split(stream);
            let mut back = Vec::new();
            let send = async {
                to.write_all(&bytes).await?;
                to.shutdown().await
            };
            let (sent, received) = tokio::join!(send, from.read_to_end(&mut back));
            sent.unwrap();
            received.unwrap();
            assert!(
                back == bytes,
                "{} bytes came back as {}",
                bytes.len(),
                back.len()
            );
        });
    }
    for _ in 0..6 {
        let (out, err) = (draw.below(4_000_000), draw.below(300_000));
        let transport = transport.clone();
        tasks.spawn(async move {
            let text = format!("head -c {out} /dev/zero & head -c {err} /dev/zero >&2; wait");
            let output = transport.exec(Exec::shell(text)).await.unwrap();
            assert_eq!((output.stdout.len(), output.stderr.len()), (out, err));
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_falls_silent_is_given_up_and_replaced() {
    // That of the actor is 30 s, judged when it pings, each 5 s.
    const LOST_BY: Duration = Duration::from_secs(40);
    let sshd = Sshd::start();
    let transport = sshd.transport();
    let first = transport.hello().await.unwrap().pid;
    let pid = Pid::from_raw(first as i32).unwrap();
    // Longer than the silence that is allowed, if the agent is only idle.
    let idle = Exec::new(["sleep", "32"]).timeout(Duration::from_secs(60));
    assert!(transport.exec(idle).await.unwrap().status.success());
    kill_process(pid, Signal::STOP).unwrap();
    let begun = Instant::now();
    let result = transport
        .exec(Exec::new(["true"]).timeout(Duration::from_secs(90)))
        .await;
    assert!(
        matches!(&result, Err(TransportError::Lost { detail, .. }) if detail.contains("silent")),
        "{result:?}"
    );
    assert!(begun.elapsed() < LOST_BY, "{:?}", begun.elapsed());
    says_hello(&transport).await.unwrap();
    assert_ne!(transport.hello().await.unwrap().pid, first);
}

/// More rounds: `HARNESS_STRESS_ROUNDS=200`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_byte_is_lost_on_a_narrow_way() {
    let rounds = std::env::var("HARNESS_STRESS_ROUNDS").map_or(3, |text| text.parse().unwrap());
    let sshd = Sshd::start();
    let mut target = sshd.target();
    target.port = NarrowWay::to(sshd.port).port;
    let port = target.port;
    let transport = Arc::new(SshTransport::new(target));
    let (address, pid) = echo(&transport, &sshd).await;
    narrow_sockets_to(port);
    for round in 0..rounds {
        let begun = Instant::now();
        everything_at_once(&transport, &address, round).await;
        println!("round {round}: {:?}", begun.elapsed());
    }
    transport
        .exec(Exec::shell(format!("kill {pid}")))
        .await
        .unwrap();
}

/// Starts an echo server on the node; gives where it listens, and its process id.
async fn echo(transport: &SshTransport, sshd: &Sshd) -> (Address, u32) {
    let daemon = Daemon {
        argv: ["/proc/self/exe", "selftest-echo", "tcp:127.0.0.1:0"]
            .map(String::from)
            .to_vec(),
        env: vec![],
        pid_file: sshd.at("echo.pid"),
        log_file: sshd.at("echo.log"),
        exit_file: sshd.at("echo.exit"),
    };
    let pid = transport.spawn(daemon).await.unwrap();
    let mut line = String::new();
    while !line.ends_with('\n') {
        line = fs::read_to_string(sshd.at("echo.log")).unwrap_or_default();
    }
    let address = line.trim().strip_prefix("tcp:").unwrap().parse().unwrap();
    (Address::Tcp(address), pid)
}

/// Prints what the transport costs: `cargo test --release -p harness-lab --test ssh_loopback -- --ignored --nocapture measure`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn measure() {
    let sshd = Sshd::start();
    let transport = Arc::new(sshd.transport());
    let begun = Instant::now();
    says_hello(&transport).await.unwrap();
    println!(
        "first call, agent uploaded if missing: {:?}",
        begun.elapsed()
    );
    transport.close().await;
    let begun = Instant::now();
    says_hello(&transport).await.unwrap();
    println!(
        "first call after close:                {:?}",
        begun.elapsed()
    );

    let mut on_node = Vec::new();
    spread("exec of true", 300, async || {
        let output = transport.exec(Exec::new(["true"])).await.unwrap();
        on_node.push(output.duration);
    })
    .await;
    on_node.sort_unstable();
    println!(
        "  of that on the node:                 p50 {:?}",
        on_node[150]
    );
    let mut own = Vec::new();
    spread("  the same without the transport", 300, async || {
        let begun = Instant::now();
        assert!(Command::new("true").status().unwrap().success());
        own.push(begun.elapsed());
    })
    .await;
    let begun = Instant::now();
    let many: Vec<_> = (0..200)
        .map(|_| {
            let transport = transport.clone();
            tokio::spawn(async move { transport.exec(Exec::new(["true"])).await.unwrap() })
        })
        .collect();
    for one in many {
        one.await.unwrap();
    }
    println!(
        "200 execs of true at once:             {:?}",
        begun.elapsed()
    );

    let (address, pid) = echo(&transport, &sshd).await;
    let connect = async || {
        transport
            .connect(&address, Duration::from_secs(5))
            .await
            .unwrap()
    };
    spread("connect", 200, async || drop(connect().await)).await;
    let mut stream = connect().await;
    spread("ping-pong of 100 bytes, 1 stream", 5000, async || {
        let mut back = [0; 100];
        stream.write_all(&[1; 100]).await.unwrap();
        stream.read_exact(&mut back).await.unwrap();
    })
    .await;
    let begun = Instant::now();
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let (transport, address) = (transport.clone(), address.clone());
            tokio::spawn(async move {
                let mut stream = transport
                    .connect(&address, Duration::from_secs(5))
                    .await
                    .unwrap();
                let mut back = [0; 100];
                for _ in 0..2000 {
                    stream.write_all(&[1; 100]).await.unwrap();
                    stream.read_exact(&mut back).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = 20_000.0 / begun.elapsed().as_secs_f64();
    println!(
        "ping-pong of 100 bytes, 10 streams:    {rate:.0}/s together, {:.0} us each",
        1e7 / rate
    );

    const LARGE: usize = 200 * 1024 * 1024;
    fs::write(sshd.at("large"), vec![7; LARGE]).unwrap();
    let rate = |begun: Instant| LARGE as f64 / 1e6 / begun.elapsed().as_secs_f64();
    transport
        .upload(&sshd.at("user.pub"), &sshd.at("warm"), 0o600)
        .await
        .unwrap();
    let begun = Instant::now();
    transport
        .upload(&sshd.at("large"), &sshd.at("up"), 0o600)
        .await
        .unwrap();
    println!(
        "upload of 200 MiB:                     {:.0} MB/s",
        rate(begun)
    );
    let begun = Instant::now();
    transport
        .download(&sshd.at("up"), &sshd.at("down"), LARGE as u64)
        .await
        .unwrap();
    println!(
        "download of 200 MiB:                   {:.0} MB/s",
        rate(begun)
    );
    println!(
        "clock offset:                          {:?}",
        transport.clock_offset().await.unwrap()
    );
    println!(
        "agent image:                           {} bytes",
        harness_lab::agent_image().len()
    );
    transport
        .exec(Exec::shell(format!("kill {pid}")))
        .await
        .unwrap();
}

async fn spread(name: &str, rounds: usize, mut once: impl AsyncFnMut()) {
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let begun = Instant::now();
        once().await;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let at = |part: f64| times[((rounds - 1) as f64 * part) as usize];
    println!(
        "{:38} p50 {:?}, p99 {:?}, max {:?}",
        format!("{name}:"),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}
