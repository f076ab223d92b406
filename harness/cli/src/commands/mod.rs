//! One file a command: each turns validated arguments into calls of the libraries, and their results into output.

mod bench;
mod bench_checkers;
mod bench_simultaneity;
mod check;
mod convert;
mod doctor;
mod faults;
mod faults_asked;
mod lab;
mod list;
mod points;
mod report;
mod run;
mod selftest;
mod sources;
mod sweep;
mod traced;

pub use lab::{failure as lab_failure, open_faults};

use clap::CommandFactory;
use harness_core::exit::Exit;

use crate::{
    args::{Cli, Command},
    failure::Failure,
};

/// Calls the command.
pub fn dispatch(cli: Cli) -> Result<Exit, Failure> {
    match cli.command {
        Command::Run(args) => run::run(*args),
        Command::Check(args) => check::check(args),
        Command::Report(args) => report::report(args),
        Command::List(args) => list::list(args),
        Command::Show(args) => list::show(args),
        Command::Lab(args) => lab::lab(args),
        Command::Faults(args) => faults::faults(&args),
        Command::Points(args) => points::points(args),
        Command::Trace(args) if args.op.is_some() => traced::traced(args),
        Command::Trace(args) => points::trace(args),
        Command::Sweep(args) => sweep::sweep(*args),
        Command::Doctor(args) => doctor::doctor(args),
        Command::Bench(args) => bench::bench(args),
        Command::Selftest(args) => selftest::selftest(&args),
        Command::Generate(args) => convert::generate(args),
        Command::Convert(args) => convert::convert(args),
        Command::Completions(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "harness", &mut script);
            crate::terminal::print(&String::from_utf8_lossy(&script));
            Ok(Exit::Valid)
        }
    }
}

/// A tokio runtime for a command that needs one.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("the runtime cannot be started", &error))
}
