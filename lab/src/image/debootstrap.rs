//! Makes a root file system with debootstrap.
//!
//! Laws:
//! - all packages come in one pass on the controller's own network, so that an image needs
//!   neither a resolver nor certificates nor a proxy of the machine that builds it;
//! - signatures are checked: without Debian's keyring there is no build (debootstrap itself
//!   would go on unsigned);
//! - it runs in a mount and process namespace of its own that dies with us: a killed build
//!   leaves no process and no mount, only a folder that nobody takes for an image.
//!
//! Source: debootstrap(8); the lines that it prints are read for progress.

use std::{
    collections::VecDeque,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{BuildOptions, ImageError, Phase, Progress, Recipe, Suite};
use crate::host::{self, HostError};

/// Time that a whole build may take.
const BUILD_TIMEOUT: Duration = Duration::from_secs(45 * 60);
/// How many of the last lines are kept for an error.
const KEPT_LINES: usize = 12;
/// Where Debian's keyring may be; newer releases have the second name.
pub(crate) const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];
/// Where debootstrap keeps one script a suite.
pub(crate) const SCRIPTS: &str = "/usr/share/debootstrap/scripts";

/// Debian's keyring, if it is installed.
pub(crate) fn keyring() -> Option<&'static Path> {
    KEYRINGS
        .into_iter()
        .map(Path::new)
        .find(|path| path.is_file())
}

/// The script for a suite: its own, or that of `sid`, which older releases use for suites they do not know.
pub(crate) fn script(suite: Suite) -> Option<PathBuf> {
    [suite.name(), "sid"]
        .into_iter()
        .map(|name| Path::new(SCRIPTS).join(name))
        .find(|path| path.exists())
}

/// Fills `rootfs`, which must not exist.
pub(super) fn run(
    recipe: &Recipe,
    options: &BuildOptions,
    rootfs: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), ImageError> {
    let suite = recipe.suite();
    let line = format!("debootstrap {suite}");
    let start = |source| HostError::Start {
        command: line.clone(),
        source,
    };
    let mut child = command(recipe, options, rootfs)?.spawn().map_err(start)?;
    let lines = lines(&mut child);
    let mut reader = Reader::default();
    let deadline = Instant::now() + BUILD_TIMEOUT;
    let left = || deadline.saturating_duration_since(Instant::now());
    while let Ok(text) = lines.recv_timeout(left()) {
        if let Some(now) = reader.line(&text) {
            progress(&now);
        }
    }
    match host::wait(&mut child, left()).map_err(start)? {
        None => Err(HostError::TimedOut {
            command: line,
            timeout: BUILD_TIMEOUT,
        }
        .into()),
        Some(Some(0)) => Ok(()),
        Some(code) => {
            let said = reader.said(rootfs);
            Err(ImageError::Build {
                suite,
                source: host::failed(&line, code, "", &said),
            })
        }
    }
}

/// debootstrap in namespaces of its own. `setpriv` ties it to the thread that starts it, which therefore waits for it.
fn command(recipe: &Recipe, options: &BuildOptions, rootfs: &Path) -> Result<Command, ImageError> {
    let suite = recipe.suite();
    let keyring = keyring().ok_or(ImageError::Keyring)?;
    let debootstrap = host::find("debootstrap").ok_or_else(|| HostError::Missing {
        tool: "debootstrap".into(),
        package: "debootstrap",
    })?;
    let script = script(suite).ok_or(ImageError::Script { suite })?;
    let packages = recipe.packages().into_iter().collect::<Vec<_>>().join(",");
    let mut command = host::command("setpriv")?;
    command
        .args([
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--",
        ])
        .arg(debootstrap)
        .args(["--variant=minbase", "--force-check-gpg"])
        .arg(format!("--keyring={}", keyring.display()))
        .arg(format!("--include={packages}"))
        .arg(suite.name())
        .arg(rootfs)
        // The script is the third operand; an empty mirror before it means debootstrap's own.
        .arg(options.mirror.as_deref().unwrap_or(""))
        .arg(script)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(command)
}

/// The lines of both outputs, as they come.
fn lines(child: &mut Child) -> mpsc::Receiver<String> {
    fn forward(pipe: Option<impl Read + Send + 'static>, sender: mpsc::Sender<String>) {
        let Some(pipe) = pipe else { return };
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    let (sender, receiver) = mpsc::channel();
    forward(child.stdout.take(), sender.clone());
    forward(child.stderr.take(), sender);
    receiver
}

/// Turns debootstrap's lines into progress.
#[derive(Default)]
struct Reader {
    /// Packages downloaded and checked, which is how many there are to unpack and configure.
    packages: usize,
    extracted: usize,
    unpacked: usize,
    configured: usize,
    last: VecDeque<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Option<Progress> {
        if self.last.len() == KEPT_LINES {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
        let mut words = line.strip_prefix("I: ")?.split_whitespace();
        let (verb, name) = (words.next()?, words.next()?);
        // `Unpacking libacl1:amd64...` is a package, `Unpacking the base system...` is not.
        let single = name.ends_with("...");
        let (phase, counter) = match verb {
            "Retrieving" => (Phase::Download, None),
            "Validating" => (Phase::Download, Some(&mut self.packages)),
            "Extracting" if single => (Phase::Extract, Some(&mut self.extracted)),
            "Unpacking" if single => (Phase::Unpack, Some(&mut self.unpacked)),
            "Configuring" if single => (Phase::Configure, Some(&mut self.configured)),
            _ => return None,
        };
        if let Some(counter) = counter {
            *counter += 1;
        }
        let (done, total) = match phase {
            Phase::Unpack => (self.unpacked, Some(self.packages.max(self.unpacked))),
            Phase::Configure => (self.configured, Some(self.packages.max(self.configured))),
            Phase::Extract => (self.extracted, None),
            _ => (self.packages, None),
        };
        Some(Progress {
            phase,
            done,
            total,
            detail: name.trim_end_matches("...").to_owned(),
        })
    }

    /// The last words: errors and warnings if there are any, else whatever came last.
    fn said(&self, rootfs: &Path) -> String {
        let loud = |line: &&String| line.starts_with("E:") || line.starts_with("W:");
        let mut said: Vec<String> = self.last.iter().filter(loud).cloned().collect();
        if said.is_empty() {
            said = self.last.iter().cloned().collect();
        }
        let log = rootfs.join("debootstrap/debootstrap.log");
        if let Ok(text) = std::fs::read_to_string(log) {
            said.push(host::last_lines(&text));
        }
        said.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debootstraps_lines_become_progress() {
        let mut reader = Reader::default();
        let table = [
            ("I: Target architecture can be executed", None),
            ("I: Retrieving InRelease", Some((Phase::Download, 0, None))),
            (
                "I: Retrieving libacl1 2.3.1-3",
                Some((Phase::Download, 0, None)),
            ),
            (
                "I: Validating libacl1 2.3.1-3",
                Some((Phase::Download, 1, None)),
            ),
            (
                "I: Validating adduser 3.134",
                Some((Phase::Download, 2, None)),
            ),
            ("I: Extracting libacl1...", Some((Phase::Extract, 1, None))),
            ("I: Unpacking required packages...", None),
            (
                "I: Unpacking libacl1:amd64...",
                Some((Phase::Unpack, 1, Some(2))),
            ),
            (
                "I: Configuring libacl1:amd64...",
                Some((Phase::Configure, 1, Some(2))),
            ),
            ("I: Unpacking the base system...", None),
            ("I: Unpacking adduser...", Some((Phase::Unpack, 2, Some(2)))),
            (
                "I: Configuring adduser...",
                Some((Phase::Configure, 2, Some(2))),
            ),
            ("W: something", None),
        ];
        for (line, expected) in table {
            let got = reader
                .line(line)
                .map(|now| (now.phase, now.done, now.total));
            assert_eq!(got, expected, "{line}");
        }
        assert_eq!(reader.said(Path::new("/nonexistent")), "W: something");
    }
}
