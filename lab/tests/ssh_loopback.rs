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

use std::{
    fs,
    net::{TcpListener, TcpStream},
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
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SSHD: &str = "/usr/sbin/sshd";
const START_LIMIT: Duration = Duration::from_secs(10);

/// An sshd of our own, on a port of the loopback; ended by its process id.
struct Sshd {
    folder: TempDir,
    child: Child,
    port: u16,
}

impl Sshd {
    fn start() -> Self {
        Self::start_with(|_| String::new())
    }

    /// With further lines for its configuration.
    fn start_with(further: impl FnOnce(&Path) -> String) -> Self {
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
        fs::write(at("config"), config + &further(folder.path())).unwrap();
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
    let results = conformance::run_matching(Arc::new(sshd.transport()), &part).await;
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
        format!(
            "SetEnv PATH={}:/usr/bin:/bin\n",
            folder.join("bin").display()
        )
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
        format!("SetEnv PATH={}:/usr/bin:/bin\n", folder.display())
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
    let address = Address::Tcp(line.trim().strip_prefix("tcp:").unwrap().parse().unwrap());
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
