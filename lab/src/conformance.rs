//! What every transport must do, whatever carries it: the laws of [`crate::transport`] as cases.
//!
//! The same suite runs against a loopback sshd, against containers of each provider, and against
//! machines that somebody lent. It needs nothing on the node but `/bin/sh` and coreutils: what has to listen
//! there is the agent itself (`selftest-echo`, reached as `/proc/self/exe`).
//!
//! Laws:
//! - a case judges what it sees on the node, not what the transport says about itself;
//! - a case has a time limit of its own, so that a transport that hangs is a failed case, not a hung suite;
//! - it leaves nothing: its folder under `/tmp` and its processes are gone afterwards.

mod connections;
mod daemons;
mod execs;
mod files;
mod support;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::transport::{Exec, Transport};
use support::Node;

/// Time that one case may take.
const CASE_LIMIT: Duration = Duration::from_secs(60);

/// What a case found wrong: a sentence for people.
pub type CaseError = Box<dyn std::error::Error + Send + Sync>;

/// One case's result.
#[derive(Debug)]
pub struct CaseResult {
    /// The case's name, such as `exec_exit_codes`.
    pub name: &'static str,
    /// Nothing, or what was wrong.
    pub outcome: Result<(), String>,
    /// How long it took.
    pub duration: Duration,
}

/// Runs every case, one after the other.
pub async fn run(transport: Arc<dyn Transport>) -> Vec<CaseResult> {
    run_matching(transport, "").await
}

/// Runs the cases whose name contains `part`, one after the other.
pub async fn run_matching(transport: Arc<dyn Transport>, part: &str) -> Vec<CaseResult> {
    let node = Node::new(transport);
    let mut results = Vec::new();
    macro_rules! cases {
        ($($module:ident :: $name:ident),+ $(,)?) => {
            $(if stringify!($name).contains(part) {
                results.push(case(stringify!($name), $module::$name(&node)).await);
            })+
        };
    }
    cases![
        execs::exec_exit_codes,
        execs::exec_signals,
        execs::exec_programs_that_cannot_run,
        execs::exec_environment,
        execs::exec_mixed_output,
        execs::exec_output_limit,
        execs::exec_stdin,
        execs::exec_time_out,
        execs::exec_time_out_leaves_nothing,
        execs::exec_end_leaves_nothing,
        execs::exec_given_up_leaves_nothing,
        execs::exec_many_at_once,
        files::file_write_and_read,
        files::file_refusals,
        files::file_of_proc,
        files::file_upload_and_download,
        files::file_download_limit,
        connections::connect_tcp,
        connections::connect_unix,
        connections::connect_abstract,
        connections::connect_refusals,
        connections::connect_peer_that_dies,
        connections::connect_slow_stream_blocks_nobody,
        connections::connect_small_messages_never_wait,
        connections::connect_many_at_once,
        connections::clock_offset_is_sane,
        daemons::daemon_pid_log_and_exit_files,
        daemons::daemon_killed_by_a_signal,
        daemons::daemon_that_cannot_run,
        daemons::daemon_survives_a_lost_session,
        daemons::session_close_and_come_back,
    ];
    node.clean_up().await;
    results
}

async fn case(name: &'static str, body: impl Future<Output = Result<(), CaseError>>) -> CaseResult {
    let begun = Instant::now();
    let outcome = match tokio::time::timeout(CASE_LIMIT, body).await {
        Ok(result) => result.map_err(|error| with_sources(error.as_ref())),
        Err(_) => Err(format!("it hung for {} s", CASE_LIMIT.as_secs())),
    };
    CaseResult {
        name,
        outcome,
        duration: begun.elapsed(),
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Fails a case with a sentence unless something holds.
macro_rules! ensure {
    ($condition:expr, $($sentence:tt)+) => {
        if !$condition {
            return Err(format!($($sentence)+).into());
        }
    };
}
use ensure;

/// A script, with a time-out that no case should need.
fn script(text: impl Into<String>) -> Exec {
    Exec::shell(text).timeout(Duration::from_secs(20))
}
