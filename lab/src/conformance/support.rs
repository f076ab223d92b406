//! What the cases share: a folder and a token of their own, looks at processes, echo servers.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{CaseError, script};
use crate::transport::{Address, Daemon, Exec, Output, Transport};

/// Time between two looks at something that is to happen.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time for something that is to happen soon.
const SOON: Duration = Duration::from_secs(10);
/// Bytes of small files that are read whole.
const SMALL_FILE_BYTES: usize = 64 * 1024;
/// The agent's binary, for what the agent starts.
const AGENT: &str = "/proc/self/exe";

/// The node under test, and what the suite made there.
pub(super) struct Node {
    pub(super) transport: Arc<dyn Transport>,
    run: String,
    next: AtomicU32,
}

impl Node {
    pub(super) fn new(transport: Arc<dyn Transport>) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            transport,
            run: format!("{:x}-{:x}", std::process::id(), now.as_nanos()),
            next: AtomicU32::new(0),
        }
    }

    /// A word that no process has in its arguments yet.
    pub(super) fn token(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("harness-token-{}-{number}", self.run)
    }

    /// A path in the suite's folder that nobody used yet; the folder itself may be missing.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        PathBuf::from(format!("{}/{number}-{name}", self.folder()))
    }

    fn folder(&self) -> String {
        format!("/tmp/harness-conformance-{}", self.run)
    }

    pub(super) async fn exec(&self, exec: Exec) -> Result<Output, CaseError> {
        Ok(self.transport.exec(exec).await?)
    }

    /// What a script that must succeed prints, without the last line's end.
    pub(super) async fn says(&self, text: impl Into<String>) -> Result<String, CaseError> {
        let text = text.into();
        let output = self.exec(script(text.clone())).await?;
        if !output.status.success() {
            return Err(format!(
                "`{text}` gave {:?}: {}",
                output.status,
                output.stderr_text()
            )
            .into());
        }
        Ok(output.stdout_text().trim_end().to_owned())
    }

    /// Processes that have the token in their arguments. The script comes by standard
    /// input, so that it does not find itself.
    pub(super) async fn processes_with(&self, token: &str) -> Result<Vec<String>, CaseError> {
        let look = format!(
            r#"for f in /proc/[0-9]*/cmdline; do
  c=$(tr '\0' ' ' <"$f" 2>/dev/null) || continue
  case "$c" in *{token}*) echo "$f $c";; esac
done"#
        );
        let exec = Exec::new(["/bin/sh", "-s"])
            .stdin(look)
            .timeout(Duration::from_secs(20));
        let output = self.exec(exec).await?;
        Ok(output.stdout_text().lines().map(str::to_owned).collect())
    }

    /// Waits until some process has the token in its arguments.
    pub(super) async fn some_run_with(&self, token: &str) -> Result<(), CaseError> {
        let begun = Instant::now();
        while self.processes_with(token).await?.is_empty() {
            if begun.elapsed() > SOON {
                return Err(format!("nothing with {token} ever ran").into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until no process has the token in its arguments.
    pub(super) async fn none_left_with(&self, token: &str) -> Result<(), CaseError> {
        let begun = Instant::now();
        loop {
            let left = self.processes_with(token).await?;
            if left.is_empty() {
                return Ok(());
            }
            if begun.elapsed() > SOON {
                return Err(format!("still running: {}", left.join("; ")).into());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a small file has at least one line, and gives its content.
    pub(super) async fn content_of(&self, path: &std::path::Path) -> Result<String, CaseError> {
        let begun = Instant::now();
        loop {
            let read = self.transport.read_file(path, 0, SMALL_FILE_BYTES).await;
            match read {
                Ok(bytes) if bytes.ends_with(b"\n") => {
                    return Ok(String::from_utf8_lossy(&bytes).into_owned());
                }
                Err(error) if begun.elapsed() > SOON => return Err(error.into()),
                Ok(_) if begun.elapsed() > SOON => {
                    return Err(format!("{} stays empty", path.display()).into());
                }
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// A daemon whose files are in the suite's folder.
    pub(super) fn daemon(&self, argv: &[&str]) -> Daemon {
        Daemon {
            argv: argv.iter().map(ToString::to_string).collect(),
            env: Vec::new(),
            pid_file: self.path("pid"),
            log_file: self.path("log"),
            exit_file: self.path("exit"),
        }
    }

    /// Starts an echo server and gives where it listens, and its process id.
    pub(super) async fn echo(&self, address: &str) -> Result<(String, u32), CaseError> {
        let daemon = self.daemon(&[AGENT, "selftest-echo", address]);
        let log = daemon.log_file.clone();
        let pid = self.transport.spawn(daemon).await?;
        let line = self.content_of(&log).await?;
        Ok((line.trim().to_owned(), pid))
    }

    /// Starts an echo server on a TCP port of the node's loopback.
    pub(super) async fn echo_tcp(&self) -> Result<(Address, u32), CaseError> {
        let (line, pid) = self.echo("tcp:127.0.0.1:0").await?;
        let address = line
            .strip_prefix("tcp:")
            .and_then(|address| address.parse().ok())
            .ok_or_else(|| format!("the echo server says `{line}`"))?;
        Ok((Address::Tcp(address), pid))
    }

    pub(super) async fn kill(&self, pid: u32) -> Result<(), CaseError> {
        self.says(format!("kill -9 {pid}")).await?;
        Ok(())
    }

    pub(super) async fn clean_up(&self) {
        // What failed cases left: daemons whose start time is still the one in their pid file; then commands with one
        // of our tokens, and supervisors, which have our folder in their arguments.
        let (folder, run) = (self.folder(), &self.run);
        let script = format!(
            r#"for f in {folder}/*-pid; do
  read -r pid started <"$f" && s=$(cat "/proc/$pid/stat") && set -- ${{s##*) }} && [ "${{20}}" = "$started" ] && kill -9 "$pid"
done 2>/dev/null
for round in 1 2 3; do
  for f in /proc/[0-9]*/cmdline; do
    c=$(tr '\0' ' ' <"$f") || continue
    p=${{f#/proc/}}
    case "$c" in *harness-token-{run}-*|*"{folder}"/*) kill -9 "${{p%/cmdline}}";; esac
  done
done 2>/dev/null
rm -rf {folder}"#
        );
        // By standard input, so that it does not find itself.
        let exec = Exec::new(["/bin/sh", "-s"]).stdin(script).timeout(SOON);
        // It is a temporary folder: what cannot be removed is not a failure of the transport.
        let _ = self.exec(exec).await;
    }
}

/// Bytes that look random, differ for each seed, and are the same every time.
pub(super) fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        // xorshift64, Marsaglia 2003.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(count);
    bytes
}
