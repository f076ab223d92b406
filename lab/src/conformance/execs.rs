//! Commands: how they end, what they print, and what they leave (nothing).

use std::time::{Duration, Instant};

use super::{
    CaseError, ensure, script,
    support::{Node, noise},
};
use crate::transport::{Exec, ExitStatus, TIMEOUT_GRACE, TransportError};

/// From errno(3).
const ENOENT: i32 = 2;
const EACCES: i32 = 13;
/// Commands that run at the same time in the case for that.
const MANY: u32 = 200;

/// A process that no polite signal ends; its first argument is the token.
fn stubborn(token: &str) -> String {
    format!(r#"sh -c 'trap "" TERM HUP INT; while :; do sleep 1; done' {token}"#)
}

pub(super) async fn exec_exit_codes(node: &Node) -> Result<(), CaseError> {
    for code in [0, 1, 7, 127, 255] {
        let output = node.exec(script(format!("exit {code}"))).await?;
        ensure!(
            output.status == ExitStatus::Code(code),
            "exit {code} gave {:?}",
            output.status
        );
    }
    let output = node.exec(Exec::new(["true"])).await?;
    ensure!(output.status.success(), "true gave {:?}", output.status);
    ensure!(
        output.duration > Duration::ZERO && output.duration < Duration::from_secs(5),
        "true took {:?}",
        output.duration
    );
    Ok(())
}

pub(super) async fn exec_signals(node: &Node) -> Result<(), CaseError> {
    for signal in [9, 15, 1, 11, 13] {
        let output = node.exec(script(format!("kill -{signal} $$"))).await?;
        ensure!(
            output.status == ExitStatus::Signal(signal),
            "signal {signal} gave {:?}",
            output.status
        );
    }
    Ok(())
}

pub(super) async fn exec_programs_that_cannot_run(node: &Node) -> Result<(), CaseError> {
    for (program, errno) in [
        ("/no/such/program", ENOENT),
        ("no-such-program", ENOENT),
        ("/tmp", EACCES),
    ] {
        match node.transport.exec(Exec::new([program])).await {
            Err(TransportError::Refused { source, .. }) if source.raw_os_error() == Some(errno) => {
            }
            other => return Err(format!("{program} gave {other:?}").into()),
        }
    }
    let nothing = node.transport.exec(Exec::new(Vec::<String>::new())).await;
    ensure!(nothing.is_err(), "no program at all gave {nothing:?}");
    Ok(())
}

pub(super) async fn exec_environment(node: &Node) -> Result<(), CaseError> {
    let mut exec = script(
        r#"printf '%s|' "$HARNESS_ONE" "$HARNESS_TWO"; [ -n "$PATH" ] && [ "$(pwd)" ] && echo set"#,
    );
    exec.env = vec![
        ("HARNESS_ONE".into(), "a b'\"$c".into()),
        ("HARNESS_TWO".into(), "ä\n=".into()),
    ];
    let output = node.exec(exec).await?;
    ensure!(
        output.stdout_text() == "a b'\"$c|ä\n=|set\n",
        "the environment came as {:?}",
        output.stdout_text()
    );
    for folder in ["/usr/sbin", "/sbin"] {
        let path = node.says("echo $PATH").await?;
        ensure!(
            path.split(':').any(|part| part == folder),
            "{folder} is not in {path}"
        );
    }
    Ok(())
}

pub(super) async fn exec_mixed_output(node: &Node) -> Result<(), CaseError> {
    const ROUNDS: usize = 48;
    const PIECE_BYTES: usize = 65_536;
    let text = format!(
        "i=0; while [ $i -lt {ROUNDS} ]; do head -c {PIECE_BYTES} /dev/zero | tr '\\0' o; \
         head -c {PIECE_BYTES} /dev/zero | tr '\\0' e >&2; i=$((i+1)); done"
    );
    let output = node.exec(script(text)).await?;
    for (name, bytes, letter) in [
        ("stdout", &output.stdout, b'o'),
        ("stderr", &output.stderr, b'e'),
    ] {
        ensure!(
            bytes.len() == ROUNDS * PIECE_BYTES,
            "{name} has {} bytes",
            bytes.len()
        );
        ensure!(
            bytes.iter().all(|byte| *byte == letter),
            "{name} is mixed up"
        );
    }
    ensure!(
        output.stdout_dropped_bytes + output.stderr_dropped_bytes == 0,
        "bytes were dropped"
    );
    // Much to one of them only, which hangs whoever drains just the other.
    let only_stderr = node
        .exec(script("head -c 3000000 /dev/zero >&2; echo done"))
        .await?;
    ensure!(
        only_stderr.stderr.len() == 3_000_000 && only_stderr.stdout == b"done\n",
        "stderr alone gave {} bytes",
        only_stderr.stderr.len()
    );
    Ok(())
}

pub(super) async fn exec_output_limit(node: &Node) -> Result<(), CaseError> {
    let mut exec = script("head -c 3000000 /dev/zero; head -c 5000 /dev/zero >&2");
    exec.output_limit_bytes = 1000;
    let output = node.exec(exec).await?;
    ensure!(output.status.success(), "it ended with {:?}", output.status);
    ensure!(
        output.stdout.len() == 1000 && output.stdout_dropped_bytes == 2_999_000,
        "stdout kept {} and dropped {}",
        output.stdout.len(),
        output.stdout_dropped_bytes
    );
    ensure!(
        output.stderr.len() == 1000 && output.stderr_dropped_bytes == 4000,
        "stderr kept {} and dropped {}",
        output.stderr.len(),
        output.stderr_dropped_bytes
    );
    let mut endless = script("yes").timeout(Duration::from_millis(500));
    endless.output_limit_bytes = 1000;
    let output = node.exec(endless).await?;
    ensure!(
        output.status == ExitStatus::TimedOut && output.stdout_dropped_bytes > 0,
        "yes gave {:?}",
        output.status
    );
    Ok(())
}

pub(super) async fn exec_stdin(node: &Node) -> Result<(), CaseError> {
    let bytes = noise(1, 3 * 1024 * 1024);
    let output = node.exec(Exec::new(["cat"]).stdin(bytes.clone())).await?;
    ensure!(output.stdout == bytes, "cat changed {} bytes", bytes.len());
    let output = node.exec(Exec::new(["cat"])).await?;
    ensure!(output.stdout.is_empty(), "nothing became something");
    let output = node.exec(Exec::new(["true"]).stdin(bytes.clone())).await?;
    ensure!(
        output.status.success(),
        "input that nobody reads gave {:?}",
        output.status
    );
    let closed = script("exec <&-; sleep 0.2; echo end").stdin(bytes);
    let output = node.exec(closed).await?;
    ensure!(
        output.stdout == b"end\n",
        "closed input gave {:?}",
        output.status
    );
    Ok(())
}

pub(super) async fn exec_time_out(node: &Node) -> Result<(), CaseError> {
    let timeout = Duration::from_millis(300);
    let begun = Instant::now();
    let output = node
        .exec(script("echo before; sleep 1000").timeout(timeout))
        .await?;
    let took = begun.elapsed();
    ensure!(
        output.status == ExitStatus::TimedOut,
        "it ended with {:?}",
        output.status
    );
    ensure!(output.stdout == b"before\n", "what it printed is lost");
    ensure!(
        took >= timeout && took < timeout + TIMEOUT_GRACE,
        "it took {took:?}"
    );
    Ok(())
}

pub(super) async fn exec_time_out_leaves_nothing(node: &Node) -> Result<(), CaseError> {
    let token = node.token();
    let stubborn = stubborn(&token);
    // A child, a double-forked orphan in the same group, and a child in a group of its own.
    let tree = format!(
        r#"trap "" TERM; {stubborn} & ( ( {stubborn} & ) & ); sh -c 'set -m; {} & wait' & wait; sleep 1000"#,
        stubborn.replace('\'', "'\\''")
    );
    let exec = node.exec(script(tree).timeout(Duration::from_millis(2500)));
    let look = async {
        tokio::time::sleep(Duration::from_millis(1200)).await;
        node.processes_with(&token).await
    };
    let (output, running) = tokio::join!(exec, look);
    let status = output?.status;
    ensure!(status == ExitStatus::TimedOut, "it ended with {status:?}");
    let running = running?;
    let stubborn_ones = running
        .iter()
        .filter(|line| line.contains("/proc") && !line.contains("wait"))
        .count();
    ensure!(stubborn_ones >= 3, "only these ran: {running:?}");
    // Not "soon": by the time that the call returns they are gone.
    let left = node.processes_with(&token).await?;
    ensure!(left.is_empty(), "still running: {left:?}");
    Ok(())
}

pub(super) async fn exec_end_leaves_nothing(node: &Node) -> Result<(), CaseError> {
    let token = node.token();
    let begun = Instant::now();
    let output = node
        .exec(script(format!(
            "{} & echo started; exit 3",
            stubborn(&token)
        )))
        .await?;
    ensure!(
        output.status == ExitStatus::Code(3),
        "it ended with {:?}",
        output.status
    );
    ensure!(output.stdout == b"started\n", "what it printed is lost");
    ensure!(
        begun.elapsed() < Duration::from_secs(5),
        "it waited for what it left behind: {:?}",
        begun.elapsed()
    );
    node.none_left_with(&token).await
}

pub(super) async fn exec_given_up_leaves_nothing(node: &Node) -> Result<(), CaseError> {
    let token = node.token();
    tokio::select! {
        output = node.exec(script(stubborn(&token))) => {
            return Err(format!("it ended by itself: {output:?}").into());
        }
        // Only once it is seen to run, and then the call's future is dropped.
        seen = node.some_run_with(&token) => seen?,
    }
    node.none_left_with(&token).await
}

pub(super) async fn exec_many_at_once(node: &Node) -> Result<(), CaseError> {
    let tasks: Vec<_> = (0..MANY)
        .map(|number| {
            let transport = std::sync::Arc::clone(&node.transport);
            tokio::spawn(async move {
                transport
                    .exec(script(format!(
                        "echo {number}; echo {number} >&2; exit {}",
                        number % 100
                    )))
                    .await
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let output = task.await??;
        let code = i32::try_from(number % 100)?;
        let line = format!("{number}\n");
        ensure!(
            output.status == ExitStatus::Code(code)
                && output.stdout_text() == line
                && output.stderr_text() == line,
            "command {number} gave {output:?}"
        );
    }
    Ok(())
}
