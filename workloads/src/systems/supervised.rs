//! The process of a system on a node, under the agent's supervisor: start, stop, kill, pause, and how it ended.
//!
//! Laws: see [`harness_lab::capability`]. Every answer is something that was seen on the node by a
//! script of [`super::scripts`], never something that was merely asked for.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use harness_core::meta::ProcessExit;
use harness_lab::{
    Daemon, Exec, Node, TransportError,
    capability::{CapabilityError, Seen},
};
use serde::Deserialize;

use super::{CoreDump, scripts};

/// Time for a script that does not wait for anything.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process that was just started is watched, so that one that ends at once is no start.
const START_WATCH: Duration = Duration::from_millis(100);
/// Lines of the log that go into an error message.
const LAST_WORDS_LINES: usize = 5;
/// Bytes read of a file that holds a line or two.
const SMALL_FILE_BYTES: usize = 4096;

/// `exit.json`, as the agent's supervisor writes it.
#[derive(Debug, Deserialize)]
struct ExitFile {
    pid: u32,
    #[serde(default)]
    code: Option<i32>,
    #[serde(default)]
    signal: Option<i32>,
    #[serde(default)]
    core: bool,
    #[serde(default)]
    wall_ns: u64,
}

impl ExitFile {
    fn words(&self) -> String {
        match (self.code, self.signal) {
            (_, Some(signal)) => format!("ended by signal {signal}"),
            (Some(code), _) => format!("exited with code {code}"),
            _ => "ended in an unknown way".to_owned(),
        }
    }
}

/// What a script printed first.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Running(u32),
    Absent,
    Gone(u32),
    Alive(u32),
    State(u32, String),
}

fn parse(text: &str) -> Option<Said> {
    // The last line of a known shape counts: a script may first say what it found.
    text.lines().rev().find_map(|line| {
        let mut words = line.split_whitespace();
        let word = words.next()?;
        let pid = words.next().and_then(|pid| pid.parse().ok());
        match (word, pid) {
            ("running", Some(pid)) => Some(Said::Running(pid)),
            ("absent", None) => Some(Said::Absent),
            ("gone", Some(pid)) => Some(Said::Gone(pid)),
            ("alive", Some(pid)) => Some(Said::Alive(pid)),
            ("state", Some(pid)) => Some(Said::State(pid, words.next()?.to_owned())),
            _ => None,
        }
    })
}

fn exits_in(text: &str) -> Vec<ExitFile> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line.trim()).ok())
        .collect()
}

/// Runs a script and returns what it printed, whatever its exit code says elsewhere.
pub(super) async fn script(
    node: &Node,
    what: &str,
    text: String,
    timeout: Duration,
) -> Result<String, CapabilityError> {
    let output = node
        .transport
        .exec(Exec::shell(text).timeout(timeout))
        .await?;
    if output.status.success() {
        return Ok(output.stdout_text());
    }
    Err(CapabilityError::Failed {
        what: what.to_owned(),
        node: node.name.to_string(),
        detail: format!("{:?}; {}", output.status, output.stderr_text().trim()),
    })
}

fn nonsense(what: &str, node: &Node, text: &str) -> CapabilityError {
    CapabilityError::Failed {
        what: what.to_owned(),
        node: node.name.to_string(),
        detail: format!("its script printed {text:?}"),
    }
}

/// Where a process of a system is kept on its node, and what it is called in messages.
#[derive(Clone, Copy, Debug)]
pub struct Supervised {
    /// The program's name, for messages.
    pub program: &'static str,
    /// The folder of everything that we put on a node for it; of plain characters only.
    pub base: &'static str,
    /// Name of its log in that folder.
    pub log: &'static str,
    /// How long a graceful stop is waited for, in seconds.
    pub stop_wait_s: u32,
}

impl Supervised {
    fn file(&self, name: &str) -> PathBuf {
        Path::new(self.base).join(name)
    }

    /// `PID STARTTIME` of the process that runs, or ran last.
    #[must_use]
    pub fn pid_file(&self) -> PathBuf {
        self.file("pid")
    }

    /// Both outputs of all its processes, one after the other.
    #[must_use]
    pub fn log_file(&self) -> PathBuf {
        self.file(self.log)
    }

    /// How the last process ended.
    #[must_use]
    pub fn exit_file(&self) -> PathBuf {
        self.file("exit.json")
    }

    /// How earlier processes ended, one object a line.
    #[must_use]
    pub fn exits_file(&self) -> PathBuf {
        self.file("exits.jsonl")
    }

    /// Whether it runs, by process id.
    pub(super) async fn running(&self, node: &Node) -> Result<Option<u32>, CapabilityError> {
        let what = format!("look for {}", self.program);
        let text = script(node, &what, scripts::probe(self.base), SCRIPT_TIMEOUT).await?;
        match parse(&text) {
            Some(Said::Running(pid)) => Ok(Some(pid)),
            Some(Said::Absent) => Ok(None),
            _ => Err(nonsense(&what, node, &text)),
        }
    }

    /// The process that was started last, whether it still runs or not.
    pub(super) async fn newest(&self, node: &Node) -> Result<Option<u32>, CapabilityError> {
        let kept = read_if_there(node, &self.pid_file()).await?;
        let first = kept
            .as_deref()
            .and_then(|kept| kept.split_whitespace().next());
        Ok(first.and_then(|pid| pid.parse().ok()))
    }

    /// The same as [`Self::running`] by reading two files, without a process: for whoever asks again and again.
    pub(super) async fn running_by_files(
        &self,
        node: &Node,
    ) -> Result<Option<u32>, TransportError> {
        let Some(kept) = read_if_there(node, &self.pid_file()).await? else {
            return Ok(None);
        };
        let mut words = kept.split_whitespace();
        let (Some(pid), Some(start)) = (
            words.next().and_then(|word| word.parse::<u32>().ok()),
            words.next(),
        ) else {
            return Ok(None);
        };
        let stat = read_if_there(node, Path::new(&format!("/proc/{pid}/stat"))).await?;
        Ok(stat.filter(|stat| is_process(stat, start)).map(|_| pid))
    }

    /// Asks it to stop by a shell command, which finds its process id in `$pid`, at once or at an instant of the node's monotonic
    /// clock, and waits until it is gone.
    pub(super) async fn stop(
        &self,
        node: &Node,
        words: &str,
        ask: &str,
        at_ns: Option<i64>,
    ) -> Result<Seen, CapabilityError> {
        let ask = at_ns.map_or_else(|| ask.to_owned(), |at_ns| scripts::at_instant(at_ns, ask));
        let text = scripts::stop(self.base, &ask, self.stop_wait_s);
        self.end(node, words, text, self.stop_wait_s).await
    }

    /// SIGKILL, and waits until it is gone.
    pub(super) async fn kill(&self, node: &Node) -> Result<Seen, CapabilityError> {
        let text = scripts::kill(self.base);
        self.end(node, "SIGKILL", text, scripts::KILL_WAIT_S).await
    }

    /// Runs a script that ends it, and says what was seen.
    pub(super) async fn end(
        &self,
        node: &Node,
        signal: &str,
        text: String,
        wait_s: u32,
    ) -> Result<Seen, CapabilityError> {
        let what = format!("end {} by {signal}", self.program);
        let timeout = Duration::from_secs(u64::from(wait_s)) + SCRIPT_TIMEOUT;
        let text = script(node, &what, text, timeout).await?;
        match parse(&text) {
            Some(Said::Absent) => Ok(Seen {
                pid: None,
                detail: "no process was there".to_owned(),
            }),
            Some(Said::Gone(pid)) => {
                let end = exits_in(&text)
                    .iter()
                    .find(|exit| exit.pid == pid)
                    .map_or_else(
                        || "its exit status was not seen".to_owned(),
                        ExitFile::words,
                    );
                let late = scripts::lateness_us(&text).map_or_else(String::new, |late| {
                    format!(", asked {late} µs after the instant that was set for all")
                });
                Ok(Seen {
                    pid: Some(pid),
                    detail: format!("process {pid} gone after {signal}, {end}{late}"),
                })
            }
            Some(Said::Alive(pid)) => Err(CapabilityError::NotSeen {
                what: format!("the end of process {pid} after {signal}"),
                node: node.name.to_string(),
                waited_ms: u64::from(wait_s) * 1000,
            }),
            _ => Err(nonsense(&what, node, &text)),
        }
    }

    /// SIGSTOP, and waits until it is seen in state T.
    pub(super) async fn pause(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.change_state(node, "SIGSTOP", scripts::pause(self.base))
            .await
    }

    /// SIGCONT, and waits until it is seen in another state.
    pub(super) async fn resume(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.change_state(node, "SIGCONT", scripts::resume(self.base))
            .await
    }

    async fn change_state(
        &self,
        node: &Node,
        signal: &str,
        text: String,
    ) -> Result<Seen, CapabilityError> {
        let what = format!("send {signal} to {}", self.program);
        let text = script(node, &what, text, SCRIPT_TIMEOUT).await?;
        match parse(&text) {
            Some(Said::Absent) => Ok(Seen {
                pid: None,
                detail: "no process was there".to_owned(),
            }),
            Some(Said::State(pid, state)) => Ok(Seen {
                pid: Some(pid),
                detail: format!("process {pid} in state {state} after {signal}"),
            }),
            Some(Said::Alive(pid)) => Err(CapabilityError::NotSeen {
                what: format!("the effect of {signal} on process {pid}"),
                node: node.name.to_string(),
                waited_ms: u64::from(scripts::PAUSE_WAIT_S) * 1000,
            }),
            _ => Err(nonsense(&what, node, &text)),
        }
    }

    /// Starts it if it does not run; a stop that is under way is waited for.
    pub(super) async fn start(
        &self,
        node: &Node,
        argv: Vec<String>,
        env: Vec<(String, String)>,
    ) -> Result<Seen, CapabilityError> {
        if let Some(running) = self.prepare_start(node).await? {
            return Ok(running);
        }
        self.launch(node, argv, env).await
    }

    /// Waits for a stop that is under way; says what runs, if anything does.
    pub(super) async fn prepare_start(&self, node: &Node) -> Result<Option<Seen>, CapabilityError> {
        let prepare = format!("prepare the start of {}", self.program);
        let timeout = Duration::from_secs(u64::from(self.stop_wait_s)) + SCRIPT_TIMEOUT;
        let before = scripts::before_start(self.base, self.stop_wait_s);
        let text = script(node, &prepare, before, timeout).await?;
        match parse(&text) {
            Some(Said::Running(pid)) => Ok(Some(Seen {
                pid: Some(pid),
                detail: format!("process {pid} was running"),
            })),
            Some(Said::Absent) => Ok(None),
            _ => Err(nonsense(&prepare, node, &text)),
        }
    }

    /// Starts it; nothing of it runs.
    pub(super) async fn launch(
        &self,
        node: &Node,
        argv: Vec<String>,
        env: Vec<(String, String)>,
    ) -> Result<Seen, CapabilityError> {
        let pid = node
            .transport
            .spawn(Daemon {
                argv,
                env,
                pid_file: self.pid_file(),
                log_file: self.log_file(),
                exit_file: self.exit_file(),
            })
            .await?;
        tokio::time::sleep(START_WATCH).await;
        if self.running(node).await? == Some(pid) {
            return Ok(Seen {
                pid: Some(pid),
                detail: format!("process {pid} runs"),
            });
        }
        Err(CapabilityError::Failed {
            what: format!("start {}", self.program),
            node: node.name.to_string(),
            detail: self.last_words(node).await,
        })
    }

    /// Ends what runs, at once, runs the shell command `release`, and removes all that we put on the node.
    pub(super) async fn wipe(&self, node: &Node, release: &str) -> Result<(), CapabilityError> {
        self.remove(node, scripts::wipe(self.base, release)).await
    }

    /// Runs the shell command `release`, which removes data, if nothing runs.
    pub(super) async fn release(&self, node: &Node, release: &str) -> Result<(), CapabilityError> {
        self.remove(node, scripts::release(self.base, release))
            .await
    }

    async fn remove(&self, node: &Node, text: String) -> Result<(), CapabilityError> {
        let what = format!("wipe {}", self.program);
        let timeout = Duration::from_secs(u64::from(scripts::KILL_WAIT_S) * 2);
        let text = script(node, &what, text, timeout).await?;
        match parse(&text) {
            Some(Said::Absent | Said::Gone(_)) => Ok(()),
            Some(Said::Alive(pid)) => Err(CapabilityError::NotSeen {
                what: format!("the end of process {pid} before its data is wiped"),
                node: node.name.to_string(),
                waited_ms: u64::from(scripts::KILL_WAIT_S) * 1000,
            }),
            _ => Err(nonsense(&what, node, &text)),
        }
    }

    /// The last lines of its log, for error messages.
    pub(super) async fn last_words(&self, node: &Node) -> String {
        let tail = format!(
            "tail -n {LAST_WORDS_LINES} {} 2>/dev/null",
            self.log_file().display()
        );
        match node.transport.exec(Exec::shell(tail)).await {
            Ok(output) => format!("its log ends with {:?}", output.stdout_text().trim()),
            Err(error) => format!("its log could not be read: {error}"),
        }
    }

    /// How processes on a node ended so far, the oldest first.
    pub(super) async fn read_exits(
        &self,
        node: &Node,
    ) -> Result<Vec<ProcessExit>, CapabilityError> {
        let text = script(
            node,
            &format!("read how {} ended", self.program),
            format!(
                "cat {} {} 2>/dev/null || true",
                self.exits_file().display(),
                self.exit_file().display()
            ),
            SCRIPT_TIMEOUT,
        )
        .await?;
        Ok(exits_in(&text)
            .into_iter()
            .map(|exit| ProcessExit {
                pid: exit.pid,
                code: exit.code,
                signal: exit.signal,
                core: exit.core,
                wall_ns: exit.wall_ns,
                expected: false,
            })
            .collect())
    }

    /// Core dumps of processes that lie on the node, by path.
    pub(super) async fn core_dumps(&self, node: &Node) -> Result<Vec<CoreDump>, CapabilityError> {
        // The supervisor starts the program in `/`; a relative `core_pattern` puts dumps there.
        let found = script(
            node,
            "look for core dumps",
            format!(
                "find / {} /var/crash /var/lib/systemd/coredump -xdev -maxdepth 1 -type f \\( -name core -o -name 'core.*' -o -name '*.core' \\) -printf '%T@ %p\\n' 2>/dev/null || true",
                self.base
            ),
            SCRIPT_TIMEOUT * 2,
        )
        .await?;
        Ok(found.lines().filter_map(core_dump).collect())
    }
}

/// A line of `find`: seconds since 1970 with a fraction, and a path.
fn core_dump(line: &str) -> Option<CoreDump> {
    let (seconds, path) = line.split_once(' ')?;
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, ""));
    let nanoseconds: String = fraction
        .chars()
        .chain("000000000".chars())
        .take(9)
        .collect();
    Some(CoreDump {
        path: path.into(),
        wall_ns: format!("{whole}{nanoseconds}").parse().ok()?,
    })
}

/// A small file as text; none if it is not there.
pub(super) async fn read_if_there(
    node: &Node,
    path: &Path,
) -> Result<Option<String>, TransportError> {
    match node.transport.read_file(path, 0, SMALL_FILE_BYTES).await {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(TransportError::Refused { source, .. }) if is_gone(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

/// No such file, or (in `/proc`) no such process any more.
fn is_gone(error: &std::io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

/// Whether a line of `/proc/PID/stat` is of a process that runs and began at `start`. A zombie does not run.
fn is_process(stat: &str, start: &str) -> bool {
    // The second field is a name in brackets, which may hold anything.
    let Some((_, rest)) = stat.rsplit_once(") ") else {
        return false;
    };
    let fields: Vec<&str> = rest.split_whitespace().collect();
    !matches!(fields.first(), None | Some(&("Z" | "X"))) && fields.get(19) == Some(&start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_dump_is_a_time_and_a_path() {
        for (line, expected) in [
            (
                "1795346672.0189410650 /core",
                Some((1_795_346_672_018_941_065, "/core")),
            ),
            (
                "1795346672 /a core",
                Some((1_795_346_672_000_000_000, "/a core")),
            ),
            ("/core", None),
        ] {
            let dump = core_dump(line);
            let expected = expected.map(|(wall_ns, path)| CoreDump {
                path: path.into(),
                wall_ns,
            });
            assert_eq!(dump, expected, "{line}");
        }
    }

    #[test]
    fn what_scripts_print_is_understood() {
        for (text, expected) in [
            ("running 12 S\n", Some(Said::Running(12))),
            ("absent\n", Some(Said::Absent)),
            (
                "gone 7\n{\"pid\":7,\"signal\":9,\"core\":false}\n",
                Some(Said::Gone(7)),
            ),
            ("alive 7\n", Some(Said::Alive(7))),
            ("state 7 T\n", Some(Said::State(7, "T".to_owned()))),
            ("", None),
            ("running\n", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
    }

    #[test]
    fn exits_are_read_one_a_line_and_noise_is_passed_over() {
        let text = "gone 7\n{\"pid\":7,\"signal\":9,\"core\":false,\"wall_ns\":5}\n\n{\"pid\":8,\"code\":2}\n";
        let exits = exits_in(text);
        assert_eq!(exits.len(), 2);
        assert_eq!(exits[0].words(), "ended by signal 9");
        assert_eq!(exits[1].words(), "exited with code 2");
    }

    /// The scripts are run by a real shell against a real process.
    mod on_a_real_process {
        use super::*;
        use std::process::{Command, Stdio};

        fn run(script: &str, base: &std::path::Path) -> String {
            assert!(script.contains(&base.display().to_string()), "{script}");
            let output = Command::new("/bin/sh")
                .args(["-c", script])
                .output()
                .expect("a shell");
            String::from_utf8_lossy(&output.stdout).into_owned()
        }

        #[test]
        fn pause_resume_kill_and_wipe_are_seen() {
            let base = std::env::temp_dir().join(format!("harness-paths-{}", std::process::id()));
            std::fs::create_dir_all(&base).unwrap();
            let at = base.display().to_string();
            let env = [("A_NAME".to_owned(), "two words".to_owned())];
            let start = scripts::start(&at, "log", &env, &["sleep".into(), "300".into()], ":", 5);
            let mut shell = Command::new("/bin/sh")
                .args(["-c", &start])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            shell.wait().unwrap();
            let probe = run(&scripts::probe(&at), &base);
            assert!(matches!(parse(&probe), Some(Said::Running(_))), "{probe}");
            let Some(Said::Running(pid)) = parse(&probe) else {
                panic!("{probe}")
            };
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            let kept = std::fs::read_to_string(base.join("pid")).unwrap();
            assert!(is_process(&stat, kept.split_whitespace().last().unwrap()));
            assert!(!is_process(&stat, "1"));
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
            assert!(String::from_utf8_lossy(&environment).contains("A_NAME=two words"));
            let paused = run(&scripts::pause(&at), &base);
            assert!(
                matches!(parse(&paused), Some(Said::State(_, ref state)) if state == "T"),
                "{paused}"
            );
            let resumed = run(&scripts::resume(&at), &base);
            assert!(
                matches!(parse(&resumed), Some(Said::State(_, ref state)) if state != "T"),
                "{resumed}"
            );
            assert!(matches!(
                parse(&run(&scripts::kill(&at), &base)),
                Some(Said::Gone(_))
            ));
            assert_eq!(parse(&run(&scripts::kill(&at), &base)), Some(Said::Absent));
            run(&scripts::wipe(&at, ":"), &base);
            assert_eq!(std::fs::read_dir(&base).unwrap().count(), 0);
            std::fs::remove_dir_all(&base).unwrap();
        }
    }
}
