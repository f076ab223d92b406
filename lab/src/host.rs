//! Running the controller's own tools: `ip`, `lxc-start`, `debootstrap`, `ssh-keygen`.
//!
//! Laws:
//! - no shell is involved, and messages are in English (`LC_ALL=C`), for they are parsed;
//! - a call ends by its time-out, and the tool ends with it;
//! - output is bounded; a tool's last words are in the error;
//! - a missing tool is an error of its own that names the mend.
//!
//! Calls block: async callers wrap them in `spawn_blocking`.

use std::{
    ffi::OsStr,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use thiserror::Error;

/// How much of each output of a tool is kept.
const OUTPUT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// How many of a failed tool's last lines go into the error.
const LAST_LINES: usize = 6;
/// Pause between two looks at whether a tool has ended.
const POLL: Duration = Duration::from_millis(3);
/// How long after a tool's end its outputs may still be held open by what it started.
const DRAIN: Duration = Duration::from_millis(500);
/// Time that a quick tool may take.
pub(crate) const QUICK: Duration = Duration::from_secs(20);
/// Where tools are that an ordinary user's `PATH` may lack.
const SYSTEM_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Why a tool of the controller did not do its work.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// It is not installed.
    #[error("{tool} is not installed (mend: lab/install, or apt-get install {package})")]
    Missing {
        /// The program's name.
        tool: String,
        /// Debian's package that holds it.
        package: &'static str,
    },
    /// It could not be started.
    #[error("{command} cannot be started")]
    Start {
        /// Program and arguments.
        command: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// It ended with something else than 0.
    #[error("{command} ended with {status}: {detail}")]
    Failed {
        /// Program and arguments.
        command: String,
        /// Its exit status.
        status: String,
        /// The last lines that it wrote.
        detail: String,
    },
    /// It took too long and was killed.
    #[error("{command} took longer than {} s and was killed", .timeout.as_secs())]
    TimedOut {
        /// Program and arguments.
        command: String,
        /// The time that it had.
        timeout: Duration,
    },
}

/// What a tool left.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// Exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Standard output, lossily as text.
    pub stdout: String,
    /// Standard error, lossily as text.
    pub stderr: String,
}

/// Runs a tool to its end; an exit code other than 0 is an error.
pub(crate) fn run<S: AsRef<OsStr>>(
    tool: &str,
    args: &[S],
    timeout: Duration,
) -> Result<String, HostError> {
    let ran = run_any(tool, args, timeout)?;
    if ran.code == Some(0) {
        return Ok(ran.stdout);
    }
    Err(failed(
        &line(tool, args),
        ran.code,
        &ran.stdout,
        &ran.stderr,
    ))
}

/// The error of a tool that ended with something else than 0.
pub(crate) fn failed(command: &str, code: Option<i32>, stdout: &str, stderr: &str) -> HostError {
    let said = if stderr.trim().is_empty() {
        stdout
    } else {
        stderr
    };
    HostError::Failed {
        command: command.to_owned(),
        status: code.map_or_else(|| "a signal".into(), |code| format!("status {code}")),
        detail: last_lines(said),
    }
}

/// Runs a tool to its end, whatever its exit code.
pub(crate) fn run_any<S: AsRef<OsStr>>(
    tool: &str,
    args: &[S],
    timeout: Duration,
) -> Result<Ran, HostError> {
    let mut child = command(tool)?
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| HostError::Start {
            command: line(tool, args),
            source,
        })?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let code = wait(&mut child, timeout).map_err(|source| HostError::Start {
        command: line(tool, args),
        source,
    })?;
    let Some(code) = code else {
        return Err(HostError::TimedOut {
            command: line(tool, args),
            timeout,
        });
    };
    let text = |bytes: mpsc::Receiver<Vec<u8>>| {
        let bytes = bytes.recv_timeout(DRAIN).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Ran {
        code,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

/// Waits for a child's end; none if it had to be killed. The inner value is its exit code, if it has one.
pub(crate) fn wait(
    child: &mut Child,
    timeout: Duration,
) -> Result<Option<Option<i32>>, std::io::Error> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code()));
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// Reads a pipe on a thread of its own; what it read arrives once, at the end.
fn drain<R: Read + Send + 'static>(pipe: Option<R>) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // A failing read ends the output early; the exit status tells the rest.
            let _ = pipe
                .by_ref()
                .take(OUTPUT_LIMIT_BYTES)
                .read_to_end(&mut bytes);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// A command for a tool, with its full path and plain messages.
pub(crate) fn command(tool: &str) -> Result<Command, HostError> {
    let path = find(tool).ok_or_else(|| HostError::Missing {
        tool: tool.to_owned(),
        package: package(tool),
    })?;
    let mut command = Command::new(path);
    command.env("LC_ALL", "C").env("PATH", search_path());
    Ok(command)
}

/// Where a tool is, if it is installed.
pub(crate) fn find(tool: &str) -> Option<PathBuf> {
    std::env::split_paths(&search_path())
        .map(|folder| folder.join(tool))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn search_path() -> String {
    let mut path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into());
    for folder in SYSTEM_FOLDERS {
        path.push(':');
        path.push_str(folder);
    }
    path
}

/// Debian's package that holds a tool.
pub(crate) fn package(tool: &str) -> &'static str {
    match tool {
        "lxc-start" | "lxc-stop" | "lxc-info" => "lxc",
        "debootstrap" => "debootstrap",
        "nft" => "nftables",
        "ip" | "tc" => "iproute2",
        "ssh" | "ssh-keygen" => "openssh-client",
        "sudo" => "sudo",
        _ => "util-linux",
    }
}

/// A command as one line, for messages.
pub(crate) fn line<S: AsRef<OsStr>>(tool: &str, args: &[S]) -> String {
    args.iter().fold(tool.to_owned(), |mut line, arg| {
        line.push(' ');
        line.push_str(&arg.as_ref().to_string_lossy());
        line
    })
}

/// The last few lines of an output, on one line.
pub(crate) fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_ends_with_its_output_or_an_error_that_says_what_it_said() {
        assert_eq!(run("echo", &["a", "b"], QUICK).unwrap(), "a b\n");
        let error = run("sh", &["-c", "echo no >&2; exit 3"], QUICK).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sh -c echo no >&2; exit 3 ended with status 3: no"
        );
        let error = run("sleep", &["9"], Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, HostError::TimedOut { .. }), "{error}");
        let error = run("no-such-tool", &["9"], QUICK).unwrap_err();
        assert!(matches!(error, HostError::Missing { .. }), "{error}");
    }

    #[test]
    fn a_process_that_lives_on_with_our_pipes_does_not_hold_us() {
        let begun = Instant::now();
        run("sh", &["-c", "sleep 5 & exit 0"], QUICK).unwrap();
        assert!(begun.elapsed() < Duration::from_secs(3));
    }
}
