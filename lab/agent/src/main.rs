//! `harness-agent`: what runs on a node, and answers the controller over one SSH channel.
//!
//! It is one static binary with threads and no runtime, so that it needs nothing of the node
//! but a kernel. The controller uploads it, starts `harness-agent serve`, and speaks frames
//! ([`harness_core::frame`]) on its standard input and output.
//!
//! Laws:
//! - it ends by itself when its input closes or falls silent for [`serve::SILENCE_LIMIT`], and kills
//!   the commands that it still runs; daemons live on under their supervisors, the guard watches on, and an armed probe stays armed for
//!   as long as it is to be kept: a killed sshd takes nothing of that away;
//! - the thread that reads frames never waits for a command, a file or a socket;
//! - every limit is a named constant, next to what it limits.
//!
//! Each request is a module. What must be undone when the controller is gone is the guard's matter ([`guard`]): a process that
//! outlives this one. So is a layer over a folder ([`layer`]), and what makes packets late ([`netem`]).

mod clock;
mod connect;
mod echo;
mod exec;
mod file;
mod guard;
mod layer;
mod netem;
mod node;
mod outbox;
mod probe;
mod process;
mod random;
mod realtime;
mod reboot;
mod serve;
mod signal;
mod stream;
mod supervise;
mod watch;

use std::process::ExitCode;

/// Exit code for arguments that make no sense.
const EXIT_USAGE: u8 = 64;

const USAGE: &str = "usage: harness-agent serve | --version
       harness-agent supervise --pid-file F --log-file F --exit-file F -- PROGRAM [ARGUMENT...]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let rest = arguments.get(1..).unwrap_or_default();
    match arguments.first().map(String::as_str) {
        Some("serve") => serve::main(),
        Some("supervise") => supervise::main_detach(rest),
        Some(supervise::INNER) => supervise::main_supervisor(rest),
        Some(supervise::PROGRAM) => supervise::main_program(rest),
        Some(guard::DETACH) => guard::main_detach(rest),
        Some(guard::WATCH) => guard::main_watch(rest),
        Some(
            command @ (clock::SHIFT | clock::LOOK | clock::RESTORE | clock::CHECK | clock::TRIAL),
        ) => clock::main(command, rest),
        Some(layer::MOUNT) => layer::main_mount(rest),
        Some(layer::SERVE) => layer::main_serve(rest),
        Some(layer::TELL) => layer::main_tell(rest),
        Some(netem::CHECK) => netem::main_check(rest),
        Some(netem::START) => netem::main_start(rest),
        Some(netem::SERVE) => netem::main_serve(rest),
        Some(signal::WAIT) => signal::main_wait(rest),
        Some("selftest-echo") => echo::main(rest),
        Some("--version") => {
            println!("harness-agent {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}
