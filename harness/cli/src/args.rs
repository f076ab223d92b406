//! The command line as typed. Nothing is decided here; see [`crate::options`] for what a run's values mean.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use harness_core::format::Format;
use harness_run::interpreter::CONCURRENCY_LIMIT;

use crate::options::RunOptions;

mod sweep;
mod trace;

/// Clients of a bench, at most: what the interpreter takes.
const CLIENTS_MAX: i64 = CONCURRENCY_LIMIT as i64;

pub use sweep::SweepArgs;
pub use trace::TraceArgs;

/// Forms clusters of real products on real nodes, breaks them, and judges what is left.
#[derive(Parser, Debug)]
#[command(
    name = "harness",
    version,
    max_term_width = 110,
    after_help = "Exit codes: 0 valid, 1 invalid, 2 unknown, 3 the lab was left dirty, 254 bad usage or configuration, \
                  255 the harness itself failed, 130 interrupted."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Say more on standard error; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count, display_order = 1000)]
    pub verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto, value_name = "WHEN", display_order = 1001)]
    pub color: Colour,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Colour {
    /// If it is a terminal and `NO_COLOR` is not set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Form a cluster, load it, break it, heal it, judge it, report
    Run(Box<RunArgs>),
    /// Judge stored runs, or history files, again
    Check(CheckArgs),
    /// Write a stored run's report again
    Report(ReportArgs),
    /// List stored runs, the newest first
    List(ListArgs),
    /// Show what a stored run found
    Show(ShowArgs),
    /// Images and nodes
    Lab(LabArgs),
    /// List the faults with their options and targets, and whether the lab that is up offers them
    Faults(FaultsArgs),
    /// List the functions of the system's program on a node: the crash points
    Points(PointsArgs),
    /// Tell which functions of the system's program are entered, in order: on a node, or by a join on every node
    Trace(TraceArgs),
    /// Try every crash point of a join or a remove, each on a fresh cluster, and tell what is left where
    Sweep(Box<SweepArgs>),
    /// Check whether this machine can do it: pass, warn or fail, with the mend
    Doctor(DoctorArgs),
    /// Measure the harness itself
    Bench(BenchArgs),
    /// Let every checker look for every planted bug, and at histories without one
    Selftest(SelftestArgs),
    /// Write a synthetic history with known properties
    Generate(GenerateArgs),
    /// Convert histories between formats
    Convert(ConvertArgs),
    /// Print a completion script for a shell
    Completions(CompletionsArgs),
}

/// `harness run`.
#[derive(Args, Debug)]
#[command(after_long_help = harness_nemesis::catalog::help())]
pub struct RunArgs {
    /// What the run is.
    #[command(flatten)]
    pub options: RunOptions,
    /// Configuration file; harness.yaml in the current folder if it exists
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the merged configuration and the fault plan, touch nothing
    #[arg(long)]
    pub dry_run: bool,
    /// So many runs, each with a seed of its own that follows from the first
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub repeat: u32,
    /// Take the lab down afterwards
    #[arg(long, conflicts_with = "leave_running")]
    pub down: bool,
    /// Leave the system running afterwards
    #[arg(long)]
    pub leave_running: bool,
    /// Results as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// `harness check`.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Run folders (or latest), or history files; - is a history on standard input
    #[arg(required = true, value_name = "RUN|FILE")]
    pub targets: Vec<String>,
    /// Judge with this checker only; needed for history files of unknown workload
    #[arg(long, value_name = "NAME")]
    pub checker: Option<String>,
    /// The model that the checker tests against, where it has several
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Format of history files; guessed from the content if not given
    #[arg(long, value_parser = format, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Options of the checker, as JSON: for bank such as '{"total":80}', for linearizable '{"initial":0}', the value before the first
    /// write (by default absent; of multi-register an object, '{"initial":{"x":0}}')
    #[arg(long, value_name = "JSON")]
    pub options: Option<String>,
    /// Time that each checker may take
    #[arg(long, value_name = "TIME", default_value = "120s")]
    pub timeout: String,
    /// Memory that each checker's own structures may take, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..))]
    pub memory: u64,
    /// Look at each witness again, slowly and from the history alone; one that proves nothing is a failure of the harness
    #[arg(long)]
    pub verify: bool,
    /// Write a page on one history file, with its witnesses as pictures
    #[arg(long, value_name = "PAGE")]
    pub report: Option<PathBuf>,
    /// Do not write verdict.json and the report anew
    #[arg(long)]
    pub dry_run: bool,
    /// The folder that has runs/
    #[arg(
        long,
        env = "HARNESS_RESULTS",
        value_name = "DIR",
        default_value = "results"
    )]
    pub results: PathBuf,
    /// Results as JSON on standard output
    #[arg(long)]
    pub json: bool,
}

/// `harness report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// A run: its folder, its id, or latest
    #[arg(default_value = "latest")]
    pub run: String,
    /// Where to write; report.html in the run's folder if not given
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// The folder that has runs/
    #[arg(
        long,
        env = "HARNESS_RESULTS",
        value_name = "DIR",
        default_value = "results"
    )]
    pub results: PathBuf,
}

/// `harness list`.
#[derive(Args, Debug)]
pub struct ListArgs {
    /// The folder that has runs/
    #[arg(
        long,
        env = "HARNESS_RESULTS",
        value_name = "DIR",
        default_value = "results"
    )]
    pub results: PathBuf,
    /// At most so many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `harness show`.
#[derive(Args, Debug)]
pub struct ShowArgs {
    /// A run: its folder, its id, or latest
    #[arg(default_value = "latest")]
    pub run: String,
    /// The folder that has runs/
    #[arg(
        long,
        env = "HARNESS_RESULTS",
        value_name = "DIR",
        default_value = "results"
    )]
    pub results: PathBuf,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `harness lab`.
#[derive(Args, Debug)]
pub struct LabArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: LabCommand,
}

/// Options that say which lab.
#[derive(Args, Debug, Clone, Default)]
pub struct LabChoice {
    /// The lab: a lab.yaml; without it, the built-in lab of containers
    #[arg(long, env = "HARNESS_LAB", value_name = "FILE")]
    pub lab: Option<PathBuf>,
    /// Nodes of the built-in lab
    #[arg(long, env = "HARNESS_NODES", value_name = "N")]
    pub nodes: Option<usize>,
    /// Debian suite of the built-in lab's nodes
    #[arg(long, env = "HARNESS_SUITE", value_name = "SUITE")]
    pub suite: Option<String>,
}

/// What to do with the lab.
#[derive(Subcommand, Debug)]
pub enum LabCommand {
    /// Root file systems that nodes are made from
    Image(ImageArgs),
    /// Bring the nodes up
    Up {
        /// Which lab.
        #[command(flatten)]
        choice: LabChoice,
        /// Mark machines of an inventory as ours to break; without it they are refused
        #[arg(long)]
        adopt: bool,
        /// Take down a lab of another kind that is up, first
        #[arg(long)]
        recreate: bool,
    },
    /// Say what is up
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Run a command on a node
    Exec {
        /// The node's name, or all
        node: String,
        /// The command, after --
        #[arg(last = true, required = true)]
        command: Vec<String>,
        /// Time that it may take
        #[arg(long, default_value = "60s")]
        timeout: String,
    },
    /// Undo what faults left on the nodes, from the ledger of a harness that was killed
    Heal {
        /// A run whose ledger to replay; the active one if not given
        #[arg(long, value_name = "RUN")]
        run: Option<PathBuf>,
        /// Also remove the agent and its guard from the nodes; the next command that needs them puts them there again
        #[arg(long)]
        purge: bool,
    },
    /// Take the nodes down
    Down,
}

/// `harness lab image`.
#[derive(Args, Debug)]
pub struct ImageArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ImageCommand,
}

/// What to do with images.
#[derive(Subcommand, Debug)]
pub enum ImageCommand {
    /// Make an image; instant if it exists
    Build {
        /// Debian suite: bookworm, trixie or forky
        #[arg(long, env = "HARNESS_SUITE", default_value = "bookworm")]
        suite: String,
        /// Systems to put in, as a comma list: dqlite, lxd
        #[arg(long, value_delimiter = ',', default_value = "dqlite")]
        with: Vec<String>,
        /// Another mirror than debootstrap's own
        #[arg(long, env = "HARNESS_MIRROR", value_name = "URL")]
        mirror: Option<String>,
    },
    /// List images
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove an image
    Remove {
        /// Its name, as list says it
        name: String,
    },
}

/// `harness faults`.
#[derive(Args, Debug)]
pub struct FaultsArgs {
    /// Only these, by name
    #[arg(value_name = "FAULT")]
    pub only: Vec<String>,
    /// The system that they are to strike: dqlite or lxd
    #[arg(
        long,
        env = "HARNESS_SYSTEM",
        default_value = "dqlite",
        value_name = "NAME"
    )]
    pub system: String,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// Which functions of which program.
#[derive(Args, Debug)]
pub struct PointChoice {
    /// The system whose program is meant: dqlite or lxd [default: dqlite; lxd with --op]
    #[arg(long, env = "HARNESS_SYSTEM", value_name = "NAME")]
    pub system: Option<String>,
    /// Another program or library, by its path on the node
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Only functions whose names match, such as 'cluster\.|revert'
    #[arg(
        long = "match",
        default_value = "",
        hide_default_value = true,
        value_name = "REGEX"
    )]
    pub pattern: String,
    /// The node; the first one if not given
    #[arg(long, value_name = "NODE")]
    pub node: Option<String>,
}

/// `harness points`.
#[derive(Args, Debug)]
pub struct PointsArgs {
    /// Which functions.
    #[command(flatten)]
    pub choice: PointChoice,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `harness doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// The lab that is wanted; the one that is up if there is one, else the built-in one
    #[arg(long, env = "HARNESS_LAB", value_name = "FILE")]
    pub lab: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    pub json: bool,
    /// The folder that gets runs/
    #[arg(
        long,
        env = "HARNESS_RESULTS",
        value_name = "DIR",
        default_value = "results"
    )]
    pub results: PathBuf,
}

/// `harness selftest`.
#[derive(Args, Debug)]
pub struct SelftestArgs {
    /// Histories without a bug, of each kind
    #[arg(long, default_value_t = 1000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub clean: u64,
    /// Histories with a bug, of each bug
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub bugs: u64,
    /// As JSON
    #[arg(long)]
    pub json: bool,
}

/// `harness bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// What to measure.
    #[command(subcommand)]
    pub command: BenchCommand,
}

/// What to measure.
#[derive(Subcommand, Debug)]
pub enum BenchCommand {
    /// Operations a second that the interpreter drives with a client that does nothing
    Interpreter {
        /// Operations
        #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        operations: u64,
        /// Clients
        #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=CLIENTS_MAX))]
        concurrency: u32,
        /// At most for so many seconds
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// Where to write the history; a temporary folder if not given
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Time and memory of reading and judging large histories, as a table
    Checkers {
        /// Only this row; may be given several times
        #[arg(long, value_name = "NAME")]
        row: Vec<String>,
        /// Rows that take minutes to generate as well
        #[arg(long)]
        large: bool,
        /// Keep the histories here, and take those that are here; a temporary folder if not given
        #[arg(long, value_name = "DIR")]
        folder: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Judge a row's histories in this process
        #[arg(long, hide = true, value_name = "DIR")]
        measure: Option<PathBuf>,
    },
    /// How close together signals reach the nodes of the lab that is up: sent by their agents at an instant, and by plain ssh
    Simultaneity {
        /// Rounds
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        rounds: u32,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Time and size of a report for a synthetic history
    Report {
        /// Operations
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        operations: u64,
        /// Where to keep the report; thrown away if not given
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// `harness generate`.
#[derive(Args, Debug)]
pub struct GenerateArgs {
    /// What is simulated: register, cas-register, key-value, set, bank, list-append or rw-register
    #[arg(long, default_value = "register", value_name = "NAME")]
    pub workload: String,
    /// Operations
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub operations: u64,
    /// Processes at work at once
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub processes: u64,
    /// Keys, or accounts; for list-append, keys in use at once
    #[arg(long, default_value_t = 10, value_name = "N")]
    pub keys: u64,
    /// The seed
    #[arg(long, default_value = "1")]
    pub seed: String,
    /// Share of reads, 0 to 1; in transactions, of micro-operations
    #[arg(long, default_value_t = 0.5, value_name = "SHARE")]
    pub reads: f64,
    /// Different values that are written; 0 gives each write a value of its own
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub values: u64,
    /// Share of operations whose outcome is not known
    #[arg(long, default_value_t = 0.01, value_name = "SHARE")]
    pub info: f64,
    /// Share of operations that fail
    #[arg(long, default_value_t = 0.01, value_name = "SHARE")]
    pub fail: f64,
    /// Appends to a list before another key takes its place
    #[arg(long, default_value_t = 32, value_name = "N")]
    pub appends_per_key: u64,
    /// The smallest number of micro-operations of a transaction
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub transaction_min: u64,
    /// The largest number of micro-operations of a transaction
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub transaction_max: u64,
    /// Nodes that processes are bound to in turn; 0 names none
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub nodes: u64,
    /// An anomaly to plant, once: stale-read, lost-write, lost-element, duplicate-element, broken-total, lost-append, old-snapshot
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,
    /// The format to write: jsonl, edn or json; for rw-register without unknown outcomes also plume
    #[arg(long, value_parser = format, default_value = "jsonl")]
    pub format: Format,
    /// Where to write; standard output if not given
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `harness convert`.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// The history to read; - for standard input
    pub input: PathBuf,
    /// Where to write; standard output if not given
    pub output: Option<PathBuf>,
    /// Format of the input; guessed if not given
    #[arg(long, value_parser = format, value_name = "FORMAT")]
    pub from: Option<Format>,
    /// Format of the output; guessed from its name, else JSON lines
    #[arg(long, value_parser = format, value_name = "FORMAT")]
    pub to: Option<Format>,
}

/// `harness completions`.
#[derive(Args, Debug)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

fn format(text: &str) -> Result<Format, String> {
    Format::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = Format::ALL.iter().map(|(_, name)| *name).collect();
        format!("there are {}", names.join(", "))
    })
}
