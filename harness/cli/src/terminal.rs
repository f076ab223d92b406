//! Colour, width and log level: decided once, from flags, `NO_COLOR` and what the streams are.
//!
//! Results go to standard output, everything else to standard error.

use std::{io::IsTerminal, sync::OnceLock};

use tracing_subscriber::{EnvFilter, fmt};

use crate::args::Colour;

static COLOUR: OnceLock<Colour> = OnceLock::new();

/// Remembers the choice of colour and starts the log on standard error.
pub fn init(colour: Colour, verbose: u8) {
    let _ = COLOUR.set(colour);
    let level = match verbose {
        0 => "warn",
        1 => "info,harness=debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("HARNESS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    // A second start is impossible here; if it were not, the first one stands.
    let _ = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(on_stderr())
        .without_time()
        .try_init();
}

fn wanted(is_terminal: bool) -> bool {
    match COLOUR.get().copied().unwrap_or(Colour::Auto) {
        Colour::Always => true,
        Colour::Never => false,
        Colour::Auto => {
            is_terminal
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// Whether results on standard output are coloured.
#[must_use]
pub fn on_stdout() -> bool {
    wanted(std::io::stdout().is_terminal())
}

/// Whether standard error is coloured.
#[must_use]
pub fn on_stderr() -> bool {
    wanted(std::io::stderr().is_terminal())
}

/// Prints a result on standard output, with a newline at its end.
pub fn print(text: &str) {
    print_bytes(text.as_bytes());
    if !text.ends_with('\n') {
        print_bytes(b"\n");
    }
}

/// Writes bytes to standard output as they are. A reader that went away ends us quietly.
pub fn print_bytes(bytes: &[u8]) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    if written.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// Says something on standard error.
pub fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes bytes to standard error as they are.
pub fn say_bytes(bytes: &[u8]) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(bytes);
}

/// Columns of the terminal that standard output is; none if it is none.
#[must_use]
pub fn stdout_columns() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    rustix::termios::tcgetwinsize(std::io::stdout())
        .ok()
        .map(|size| usize::from(size.ws_col))
        .filter(|columns| *columns > 0)
}
