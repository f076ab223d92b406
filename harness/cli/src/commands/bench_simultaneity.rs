//! `harness bench simultaneity`: how close together a signal reaches all nodes.
//!
//! Each node has a process that sleeps. A round stops all of them twice: at one instant by the agents, and by `ssh NODE kill`,
//! started for all at once over connections that stand already. What is measured is when the call that sends the signal has
//! returned, on the node's clock, brought to ours by the measured offset. Clocks are known to a bound only: with the bounds the
//! latest counts as that much later, the earliest as that much earlier. Of ssh it is what `date` says right after `kill`.

use std::{path::Path, time::Duration};

use harness_core::{
    exit::Exit,
    frame::signal::{SignalName, SignalRequest},
};
use harness_lab::{ClockOffset, Daemon, Exec, Node, TransportError, lab::Lab};
use harness_nemesis::instant::Instants;
use serde::Serialize;
use serde_json::json;
use tokio::{process::Command, task::JoinSet};

use super::lab;
use crate::{
    failure::{Failure, chain},
    terminal,
};

/// How far ahead of now the instant of a round is, as for faults: on a busy machine an agent can take 100 ms to hear of it.
const AHEAD: Duration = Duration::from_millis(250);
/// Rounds after which the clocks are measured anew.
const MEASURE_EVERY: u32 = 20;
/// The folder of what we put on a node for this.
const FOLDER: &str = "/run/harness-bench";

/// The process of a node.
struct Target {
    node: Node,
    pid: u32,
}

/// Nanoseconds at percentiles.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Spread {
    p50_ns: i64,
    p99_ns: i64,
    max_ns: i64,
}

impl Spread {
    fn of(mut each: Vec<i64>) -> Self {
        each.sort_unstable();
        let at = |share: f64| {
            // The smallest that at least this share is not above.
            let rank = (share * each.len() as f64).ceil().max(1.0) as usize;
            each.get(rank - 1).copied().unwrap_or_default()
        };
        Self {
            p50_ns: at(0.5),
            p99_ns: at(0.99),
            max_ns: at(1.0),
        }
    }

    fn words(&self) -> String {
        let ms = |ns: i64| ns as f64 / 1e6;
        format!(
            "p50 {:.3} ms  p99 {:.3} ms  max {:.3} ms",
            ms(self.p50_ns),
            ms(self.p99_ns),
            ms(self.max_ns)
        )
    }
}

/// When a signal was sent on a node, on our clock, and how well that is known.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at_ns: i64,
    bound_ns: i64,
}

/// Latest minus earliest, without and with the bounds.
fn spread(sent: &[Sent]) -> (i64, i64) {
    let latest = |f: fn(&Sent) -> i64| sent.iter().map(f).max().unwrap_or_default();
    let earliest = |f: fn(&Sent) -> i64| sent.iter().map(f).min().unwrap_or_default();
    (
        latest(|sent| sent.at_ns) - earliest(|sent| sent.at_ns),
        latest(|sent| sent.at_ns + sent.bound_ns) - earliest(|sent| sent.at_ns - sent.bound_ns),
    )
}

/// Measures and prints.
pub fn simultaneity(rounds: u32, json: bool) -> Result<Exit, Failure> {
    lab::elevate_to_look()?;
    let state = lab::state()?;
    let _lock = lab::lock(&state, "bench simultaneity")?;
    let sockets = tempfile::tempdir().map_err(|e| Failure::because("no temporary folder", &e))?;
    super::runtime()?.block_on(async {
        let lab = Lab::load(&state).map_err(|error| lab::failure(&error))?;
        lab.connect().await.map_err(|error| lab::failure(&error))?;
        let ssh = Ssh {
            config: state.ssh_config(),
            sockets: sockets.path().to_owned(),
        };
        let measured = bench(&lab, rounds, &ssh).await;
        ssh.close(&lab.nodes).await;
        for node in &lab.nodes {
            // Its supervisor writes how it ended, and would make the folder's removal fail.
            let clear = format!(
                "[ -e {FOLDER}/pid ] && read -r pid start <{FOLDER}/pid && kill -KILL \"$pid\"; n=0; while [ ! -s {FOLDER}/exit.json ] && [ $n -lt 250 ]; do n=$((n+1)); sleep 0.02; done; rm -rf {FOLDER}"
            );
            if let Err(error) = node.transport.exec(Exec::shell(clear)).await {
                terminal::say(&format!("harness: {}", chain(&error)));
            }
        }
        lab.close().await;
        print(&measured?, lab.nodes.len(), json);
        Ok(Exit::Valid)
    })
}

#[derive(Debug, Serialize)]
struct Measured {
    rounds: u32,
    /// Of the agents' signals.
    agent: Spread,
    /// The same with the bounds of the clocks.
    agent_with_bounds: Spread,
    /// After the instant that was set.
    agent_late: Spread,
    /// Of `ssh NODE kill`.
    ssh: Spread,
    /// The same with the bounds of the clocks.
    ssh_with_bounds: Spread,
    /// The worst bound of a clock that was used.
    worst_bound_ns: u64,
}

fn print(measured: &Measured, nodes: usize, json: bool) {
    if json {
        terminal::print(&json!(measured).to_string());
        return;
    }
    terminal::print(&format!(
        "{} rounds over {nodes} nodes, latest minus earliest return of the call that sends the signal; clocks known to {:.3} ms at worst",
        measured.rounds,
        measured.worst_bound_ns as f64 / 1e6
    ));
    for (what, spread) in [
        ("agents, bounds added ", &measured.agent_with_bounds),
        ("agents, as measured  ", &measured.agent),
        ("agents, after instant", &measured.agent_late),
        ("ssh, bounds added    ", &measured.ssh_with_bounds),
        ("ssh, as measured     ", &measured.ssh),
    ] {
        terminal::print(&format!("{what}  {}", spread.words()));
    }
}

async fn bench(lab: &Lab, rounds: u32, ssh: &Ssh) -> Result<Measured, Failure> {
    let failed = |error: TransportError| Failure::harness(chain(&error));
    let mut targets = Vec::new();
    for node in &lab.nodes {
        let file = |name: &str| Path::new(FOLDER).join(name);
        let daemon = Daemon {
            argv: vec!["sleep".to_owned(), "86400".to_owned()],
            env: Vec::new(),
            pid_file: file("pid"),
            log_file: file("log"),
            exit_file: file("exit.json"),
        };
        let pid = node.transport.spawn(daemon).await.map_err(failed)?;
        let node = node.clone();
        targets.push(Target { node, pid });
    }
    // The first one of each makes the connection.
    ssh.stop(&targets).await?;
    signal(&targets, SignalName::Cont, None).await?;
    let nodes: Vec<&Node> = lab.nodes.iter().collect();
    let mut clocks: Vec<ClockOffset> = Vec::new();
    let (mut agent, mut bounded, mut late) = (Vec::new(), Vec::new(), Vec::new());
    let (mut plain, mut plain_bounded, mut worst_bound_ns) = (Vec::new(), Vec::new(), 0);
    let mut instants = Instants::measure(&nodes).await;
    for round in 0..rounds {
        if round.is_multiple_of(MEASURE_EVERY) {
            instants = Instants::measure(&nodes).await;
            let offsets = instants.offsets().iter().cloned();
            clocks = offsets
                .collect::<Result<_, _>>()
                .map_err(Failure::harness)?;
            worst_bound_ns = clocks.iter().map(|clock| clock.bound_ns).max().unwrap_or(0);
        }
        let at: Vec<i64> = instants
            .after(AHEAD)
            .into_iter()
            .map(|instant| instant.map(|instant| instant.node_ns))
            .collect::<Result<_, _>>()
            .map_err(Failure::harness)?;
        let returned = signal(&targets, SignalName::Stop, Some(&at)).await?;
        let bound = |clock: &ClockOffset| i64::try_from(clock.bound_ns).unwrap_or(i64::MAX);
        let sent: Vec<Sent> = returned
            .iter()
            .zip(&clocks)
            .map(|(at_ns, clock)| Sent {
                at_ns: at_ns - clock.monotonic_offset_ns,
                bound_ns: bound(clock),
            })
            .collect();
        let (as_measured, with_bounds) = spread(&sent);
        agent.push(as_measured);
        bounded.push(with_bounds);
        late.extend(returned.iter().zip(&at).map(|(returned, at)| returned - at));
        signal(&targets, SignalName::Cont, None).await?;
        let said = ssh.stop(&targets).await?;
        let sent: Vec<Sent> = said
            .iter()
            .zip(&clocks)
            .map(|(at_ns, clock)| Sent {
                at_ns: at_ns - clock.wall_offset_ns,
                bound_ns: bound(clock),
            })
            .collect();
        let (as_measured, with_bounds) = spread(&sent);
        plain.push(as_measured);
        plain_bounded.push(with_bounds);
        signal(&targets, SignalName::Cont, None).await?;
    }
    Ok(Measured {
        rounds,
        agent: Spread::of(agent),
        agent_with_bounds: Spread::of(bounded),
        agent_late: Spread::of(late),
        ssh: Spread::of(plain),
        ssh_with_bounds: Spread::of(plain_bounded),
        worst_bound_ns,
    })
}

/// Signals all, at an instant of each node's or at once; when each call had returned, on the node's monotonic clock.
async fn signal(
    targets: &[Target],
    signal: SignalName,
    at: Option<&[i64]>,
) -> Result<Vec<i64>, Failure> {
    let mut sending = JoinSet::new();
    for (place, target) in targets.iter().enumerate() {
        let request = SignalRequest {
            pid: target.pid,
            start_time: None,
            signal,
            at_monotonic_ns: at.map(|at| at[place]),
        };
        let node = target.node.clone();
        sending.spawn(async move {
            let agent = node.transport.agent();
            let agent = agent.ok_or_else(|| format!("{} has no agent", node.name))?;
            let end = agent.signal(&request).await;
            let end = end.map_err(|error| chain(&error))?;
            match end.errno {
                0 => Ok((place, end.after.monotonic_ns)),
                errno => Err(format!(
                    "{}: the signal was refused (error {errno})",
                    node.name
                )),
            }
        });
    }
    in_order(sending.join_all().await)
}

fn in_order(answers: Vec<Result<(usize, i64), String>>) -> Result<Vec<i64>, Failure> {
    let mut answers: Vec<(usize, i64)> = answers
        .into_iter()
        .collect::<Result<_, _>>()
        .map_err(Failure::harness)?;
    answers.sort_unstable();
    Ok(answers.into_iter().map(|(_, at_ns)| at_ns).collect())
}

/// The machine's own ssh, with the lab's configuration.
struct Ssh {
    config: std::path::PathBuf,
    sockets: std::path::PathBuf,
}

impl Ssh {
    fn command(&self, node: &str, words: &[&str]) -> Command {
        let mut command = Command::new("ssh");
        command
            .arg("-F")
            .arg(&self.config)
            .args([
                "-o",
                "BatchMode=yes",
                "-o",
                "ControlMaster=auto",
                "-o",
                "ControlPersist=600",
            ])
            .arg("-o")
            .arg(format!("ControlPath={}/%n", self.sockets.display()))
            .args(words)
            .arg(node)
            .stdin(std::process::Stdio::null());
        command
    }

    /// Stops all, started at once; what the nodes' wall clocks said right after.
    async fn stop(&self, targets: &[Target]) -> Result<Vec<i64>, Failure> {
        let mut stopping = JoinSet::new();
        for (place, target) in targets.iter().enumerate() {
            let name = target.node.name.to_string();
            let mut command = self.command(&name, &[]);
            command.arg(format!("kill -STOP {}; date +%s%N", target.pid));
            stopping.spawn(async move {
                let output = command.output().await;
                let output = output.map_err(|error| format!("ssh: {error}"))?;
                let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                let at_ns = said.parse().map_err(|_| {
                    let error = String::from_utf8_lossy(&output.stderr).into_owned();
                    format!("ssh {name} said {said:?} {}", error.trim())
                })?;
                Ok((place, at_ns))
            });
        }
        in_order(stopping.join_all().await)
    }

    async fn close(&self, nodes: &[Node]) {
        for node in nodes {
            // One that was never opened has nothing to close.
            let _ = self
                .command(node.name.as_str(), &["-O", "exit"])
                .output()
                .await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_widened_by_the_bounds_of_both_ends() {
        let sent = |at_ns, bound_ns| Sent { at_ns, bound_ns };
        assert_eq!(spread(&[sent(10, 1), sent(25, 2), sent(12, 7)]), (15, 22));
        assert_eq!(spread(&[sent(5, 3)]), (0, 6));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let spread = Spread::of((1..=200).rev().collect());
        assert_eq!(
            (spread.p50_ns, spread.p99_ns, spread.max_ns),
            (100, 198, 200)
        );
        let one = Spread::of(vec![7]);
        assert_eq!((one.p50_ns, one.p99_ns, one.max_ns), (7, 7, 7));
    }
}
