//! Processes that outlive us, and sessions that do not.

use std::time::Duration;

use super::{CaseError, ensure, script, support::Node};
use crate::transport::TransportError;

/// From errno(3).
const ENOENT: i32 = 2;

/// Kills the sshd process of the session that runs it: the nearest ancestor of that name, which
/// is never the one that listens.
const KILL_OWN_SSHD: &str = r#"p=$$
while [ "$p" -gt 1 ]; do
  read -r stat <"/proc/$p/stat"
  rest=${stat##*) }; set -- $rest; parent=$2
  read -r name <"/proc/$parent/comm"
  case "$name" in sshd*) kill -9 "$parent"; sleep 30;; esac
  p=$parent
done
echo "no sshd above" >&2; exit 9"#;

pub(super) async fn daemon_pid_log_and_exit_files(node: &Node) -> Result<(), CaseError> {
    let mut daemon = node.daemon(&[
        "/bin/sh",
        "-c",
        r#"echo "out $HARNESS_DAEMON"; echo err >&2; sleep 0.5; cat; exit 3"#,
    ]);
    daemon.env = vec![("HARNESS_DAEMON".into(), "set".into())];
    for round in 1..=2 {
        let pid = node.transport.spawn(daemon.clone()).await?;
        let pid_file = node.content_of(&daemon.pid_file).await?;
        let start_time = node
            .says(format!(
                "s=$(cat /proc/{pid}/stat); set -- ${{s##*) }}; echo ${{20}}"
            ))
            .await?;
        ensure!(
            pid_file == format!("{pid} {start_time}\n"),
            "the pid file says {pid_file}, the node {pid} {start_time}"
        );
        let exit = node.content_of(&daemon.exit_file).await?;
        ensure!(
            exit.starts_with(&format!(r#"{{"pid":{pid},"code":3,"wall_ns":"#)),
            "the exit file says {exit}"
        );
        let log = node.content_of(&daemon.log_file).await?;
        ensure!(
            log == "out set\nerr\n".repeat(round),
            "the log file says {log:?}"
        );
    }
    Ok(())
}

pub(super) async fn daemon_killed_by_a_signal(node: &Node) -> Result<(), CaseError> {
    let daemon = node.daemon(&["sleep", "1000"]);
    let pid = node.transport.spawn(daemon.clone()).await?;
    let session = node
        .says(format!(
            "s=$(cat /proc/{pid}/stat); set -- ${{s##*) }}; echo $3 $4"
        ))
        .await?;
    ensure!(
        session == format!("{pid} {pid}"),
        "{pid} is in group and session {session}"
    );
    node.kill(pid).await?;
    let exit = node.content_of(&daemon.exit_file).await?;
    ensure!(
        exit.starts_with(&format!(
            r#"{{"pid":{pid},"signal":9,"core":false,"wall_ns":"#
        )),
        "the exit file says {exit}"
    );
    Ok(())
}

pub(super) async fn daemon_that_cannot_run(node: &Node) -> Result<(), CaseError> {
    let daemon = node.daemon(&["/no/such/daemon"]);
    match node.transport.spawn(daemon.clone()).await {
        Err(TransportError::Refused { source, .. }) if source.raw_os_error() == Some(ENOENT) => {}
        other => return Err(format!("a missing program gave {other:?}").into()),
    }
    let exit = node.transport.read_file(&daemon.exit_file, 0, 10).await;
    ensure!(exit.is_err(), "a daemon that never ran has an exit file");
    Ok(())
}

pub(super) async fn daemon_survives_a_lost_session(node: &Node) -> Result<(), CaseError> {
    let token = node.token();
    let daemon = node.daemon(&["/bin/sh", "-c", "while :; do sleep 0.1; done"]);
    let pid = node.transport.spawn(daemon.clone()).await?;
    let before = node.content_of(&daemon.pid_file).await?;

    let pending = node.transport.exec(
        script(format!("sh -c 'while :; do sleep 1; done' {token}"))
            .timeout(Duration::from_secs(30)),
    );
    let killer = async {
        node.some_run_with(&token).await?;
        Ok::<_, CaseError>(node.transport.exec(script(KILL_OWN_SSHD)).await)
    };
    let (pending, killer) = tokio::join!(pending, killer);
    let killer = killer?;
    for (name, result) in [("the pending call", pending), ("the killer", killer)] {
        ensure!(
            matches!(result, Err(TransportError::Lost { .. })),
            "{name} gave {result:?}"
        );
    }

    let alive = node
        .says(format!(
            "s=$(cat /proc/{pid}/stat); set -- ${{s##*) }}; echo {pid} ${{20}} $1"
        ))
        .await?;
    ensure!(
        alive.starts_with(before.trim_end()) && !alive.ends_with('Z'),
        "the daemon was {before}, and is {alive}"
    );
    // The agent of the lost session has ended, and what it ran with it.
    node.none_left_with(&token).await?;
    node.kill(pid).await?;
    let exit = node.content_of(&daemon.exit_file).await?;
    ensure!(exit.contains(r#""signal":9"#), "the exit file says {exit}");
    Ok(())
}

pub(super) async fn session_close_and_come_back(node: &Node) -> Result<(), CaseError> {
    let token = node.token();
    let pending = node
        .transport
        .exec(script(format!("sh -c 'while :; do sleep 1; done' {token}")));
    let close = async {
        node.some_run_with(&token).await?;
        node.transport.close().await;
        Ok::<_, CaseError>(())
    };
    let (pending, closed) = tokio::join!(pending, close);
    closed?;
    ensure!(
        matches!(pending, Err(TransportError::Lost { .. })),
        "the pending call gave {pending:?}"
    );
    let back = node.says("echo back").await?;
    ensure!(back == "back", "it said {back}");
    node.none_left_with(&token).await
}
