//! The binary: arguments become validated configuration, one command is called, its end becomes an exit code.

mod args;
mod commands;
mod elevate;
mod failure;
mod heal;
mod options;
mod progress;
mod terminal;

use std::{io::Write, process::ExitCode};

use clap::Parser;
use harness_core::exit::Exit;

use crate::{args::Cli, failure::Failure};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    terminal::init(cli.color, cli.verbose);
    let exit = match commands::dispatch(cli) {
        Ok(exit) => exit,
        Err(failure) => tell(&failure),
    };
    // A reader that went away is no failure of ours.
    let _ = std::io::stdout().flush();
    ExitCode::from(exit.code())
}

/// clap exits 2 on usage errors by itself, which is our `unknown`.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    match error.kind() {
        clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion => {
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(Exit::Usage.code()),
    }
}

fn tell(failure: &Failure) -> Exit {
    let _ = writeln!(std::io::stderr(), "harness: {failure}");
    failure.exit
}
