//! The process of `dqlite-demo` on a node: start, stop, kill, pause, and how it ended.
//!
//! Laws: see [`harness_lab::capability`]. Every answer is something that was seen on the node by a
//! script of [`super::paths`], never something that was merely asked for.

use std::time::Duration;

use async_trait::async_trait;
use harness_core::meta::ProcessExit;
use harness_lab::{
    Daemon, Exec, Node,
    capability::{CapabilityError, Kill, Pause, Seen, Start, Stop},
};
use serde::Deserialize;

use super::{Dqlite, origin::Origin, paths};

/// Time for a script that does not wait for anything.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a process that was just started is watched, so that one that ends at once is no start.
const START_WATCH: Duration = Duration::from_millis(100);

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

/// What a start script said of how the node came into its cluster.
fn origin_in(text: &str) -> Option<Origin> {
    text.lines()
        .rev()
        .find_map(|line| line.strip_prefix("origin "))
        .and_then(Origin::decode)
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

impl Dqlite {
    /// Starts a node that is to come into its cluster this way.
    pub(super) async fn start_as(
        &self,
        node: &Node,
        origin: &Origin,
    ) -> Result<Seen, CapabilityError> {
        let text = format!("{}\n", origin.encode());
        node.transport
            .write_file(&paths::origin_file(), 0o644, text.as_bytes())
            .await?;
        self.start(node).await
    }

    /// Runs a script that ends the process at once and removes something, and says what was seen.
    pub(super) async fn end_and_clear(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.end(node, "SIGKILL", paths::clear_script(), paths::KILL_WAIT_S)
            .await
    }

    /// Stops it within `wait_s` seconds, and lets nothing start it again.
    pub(super) async fn retire(&self, node: &Node, wait_s: u32) -> Result<Seen, CapabilityError> {
        self.end(node, "SIGTERM", paths::retire_script(wait_s), wait_s)
            .await
    }

    /// Whether it runs, by process id.
    pub(super) async fn running(&self, node: &Node) -> Result<Option<u32>, CapabilityError> {
        let text = script(
            node,
            "look for dqlite-demo",
            paths::probe_script(),
            SCRIPT_TIMEOUT,
        )
        .await?;
        match parse(&text) {
            Some(Said::Running(pid)) => Ok(Some(pid)),
            Some(Said::Absent) => Ok(None),
            _ => Err(nonsense("look for dqlite-demo", node, &text)),
        }
    }

    async fn end(
        &self,
        node: &Node,
        signal: &str,
        text: String,
        wait_s: u32,
    ) -> Result<Seen, CapabilityError> {
        let what = format!("end dqlite-demo by {signal}");
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
                Ok(Seen {
                    pid: Some(pid),
                    detail: format!("process {pid} gone after {signal}, {end}"),
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

    async fn change_state(
        &self,
        node: &Node,
        signal: &str,
        text: String,
    ) -> Result<Seen, CapabilityError> {
        let what = format!("send {signal} to dqlite-demo");
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
                waited_ms: u64::from(paths::PAUSE_WAIT_S) * 1000,
            }),
            _ => Err(nonsense(&what, node, &text)),
        }
    }

    /// How processes on a node ended so far, the oldest first.
    pub(super) async fn read_exits(
        &self,
        node: &Node,
    ) -> Result<Vec<ProcessExit>, CapabilityError> {
        let text = script(
            node,
            "read how dqlite-demo ended",
            format!(
                "cat {} {} 2>/dev/null || true",
                paths::exits_file().display(),
                paths::exit_file().display()
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
}

#[async_trait]
impl Start for Dqlite {
    async fn start(&self, node: &Node) -> Result<Seen, CapabilityError> {
        let timeout = Duration::from_secs(u64::from(paths::STOP_WAIT_S)) + SCRIPT_TIMEOUT;
        let text = script(
            node,
            "prepare the start of dqlite-demo",
            paths::before_start_script(),
            timeout,
        )
        .await?;
        match parse(&text) {
            Some(Said::Running(pid)) => {
                return Ok(Seen {
                    pid: Some(pid),
                    detail: format!("process {pid} was running"),
                });
            }
            Some(Said::Absent) => {}
            _ => return Err(nonsense("prepare the start of dqlite-demo", node, &text)),
        }
        let Some(origin) = origin_in(&text) else {
            return Ok(Seen {
                pid: None,
                detail: "it stands by: it is in no cluster, so there is nothing to start"
                    .to_owned(),
            });
        };
        let mut argv = self.arguments(node);
        argv.extend(origin.arguments());
        let pid = node
            .transport
            .spawn(Daemon {
                argv,
                env: self.environment(),
                pid_file: paths::pid_file(),
                log_file: paths::log_file(),
                exit_file: paths::exit_file(),
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
            what: "start dqlite-demo".to_owned(),
            node: node.name.to_string(),
            detail: self.last_words(node).await,
        })
    }

    fn start_script(&self, node: &Node) -> String {
        paths::start_script(&self.arguments(node))
    }

    async fn is_running(&self, node: &Node) -> Result<bool, CapabilityError> {
        Ok(self.running(node).await?.is_some())
    }
}

#[async_trait]
impl Stop for Dqlite {
    async fn stop(&self, node: &Node) -> Result<Seen, CapabilityError> {
        let wait_s = paths::STOP_WAIT_S;
        self.end(node, "SIGTERM", paths::stop_script(wait_s), wait_s)
            .await
    }
}

#[async_trait]
impl Kill for Dqlite {
    async fn kill(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.end(node, "SIGKILL", paths::kill_script(), paths::KILL_WAIT_S)
            .await
    }
}

#[async_trait]
impl Pause for Dqlite {
    async fn pause(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.change_state(node, "SIGSTOP", paths::pause_script())
            .await
    }

    async fn resume(&self, node: &Node) -> Result<Seen, CapabilityError> {
        self.change_state(node, "SIGCONT", paths::resume_script())
            .await
    }

    fn resume_script(&self, _node: &Node) -> String {
        paths::resume_script()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn where_a_node_comes_from_is_read_from_the_last_line_that_says_so() {
        assert_eq!(origin_in("absent\norigin \n"), None);
        assert_eq!(origin_in("absent\n"), None);
        assert_eq!(
            origin_in("absent\norigin join 10.0.0.1:9001\n"),
            Some(Origin::Join(vec!["10.0.0.1:9001".to_owned()]))
        );
    }

    /// The scripts are run by a real shell against a real process.
    mod on_a_real_process {
        use super::*;
        use std::process::{Command, Stdio};

        fn run(script: &str, base: &std::path::Path) -> String {
            let script = script.replace(paths::BASE, &base.display().to_string());
            let output = Command::new("/bin/sh")
                .args(["-c", &script])
                .output()
                .expect("a shell");
            String::from_utf8_lossy(&output.stdout).into_owned()
        }

        #[test]
        fn pause_resume_kill_and_wipe_are_seen() {
            let base = std::env::temp_dir().join(format!("harness-paths-{}", std::process::id()));
            std::fs::create_dir_all(&base).unwrap();
            // What stands by is not started.
            let nothing = run(&paths::start_script(&["sleep".into(), "300".into()]), &base);
            assert_eq!(nothing.lines().last(), Some("stands by"), "{nothing}");
            assert_eq!(
                parse(&run(&paths::probe_script(), &base)),
                Some(Said::Absent)
            );
            std::fs::write(base.join("origin"), "bootstrap\n").unwrap();
            let said = run(&paths::before_start_script(), &base);
            assert_eq!(parse(&said), Some(Said::Absent));
            assert_eq!(origin_in(&said), Some(Origin::Bootstrap));
            let start = paths::start_script(&["sleep".into(), "300".into()]);
            let mut shell = Command::new("/bin/sh")
                .args([
                    "-c",
                    &start.replace(paths::BASE, &base.display().to_string()),
                ])
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            shell.wait().unwrap();
            let probe = run(&paths::probe_script(), &base);
            assert!(matches!(parse(&probe), Some(Said::Running(_))), "{probe}");
            let paused = run(&paths::pause_script(), &base);
            assert!(
                matches!(parse(&paused), Some(Said::State(_, ref state)) if state == "T"),
                "{paused}"
            );
            let resumed = run(&paths::resume_script(), &base);
            assert!(
                matches!(parse(&resumed), Some(Said::State(_, ref state)) if state != "T"),
                "{resumed}"
            );
            assert!(matches!(
                parse(&run(&paths::kill_script(), &base)),
                Some(Said::Gone(_))
            ));
            assert_eq!(
                parse(&run(&paths::kill_script(), &base)),
                Some(Said::Absent)
            );
            run(&paths::clear_script(), &base);
            assert!(!base.join("origin").exists() && !base.join("data").exists());
            assert!(base.join("dqlite.log").exists());
            run(&paths::wipe_script(), &base);
            assert_eq!(std::fs::read_dir(&base).unwrap().count(), 0);
            std::fs::remove_dir_all(&base).unwrap();
        }
    }
}
