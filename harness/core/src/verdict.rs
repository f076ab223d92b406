//! Verdicts, and what a checker takes and gives.
//!
//! Laws:
//! - a checker that could not look says `unknown`, never `valid`;
//! - verdicts merge to invalid, else unknown, else valid; if nothing was judged, unknown;
//! - a limit of time or memory ends in `unknown`, with how far the checker came;
//! - an invalid verdict has at least one witness, and a witness names operations of the history.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{fault::FaultRecord, history::History, view::View};

/// The version of `verdict.json`.
pub const FORMAT_VERSION: u32 = 1;

/// What a checker says about the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Looked, and found nothing wrong.
    Valid,
    /// Found proof that something is wrong.
    Invalid,
    /// Could not look, or not far enough.
    Unknown,
    /// There was nothing to judge here: the precondition does not hold. Merges to nothing.
    NotApplicable,
}

impl Verdict {
    /// As written in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Invalid => "invalid",
            Self::Unknown => "unknown",
            Self::NotApplicable => "not-applicable",
        }
    }

    /// The glyph that goes with the word; never shown without it.
    #[must_use]
    pub fn glyph(self) -> &'static str {
        match self {
            Self::Valid => "✓",
            Self::Invalid => "✗",
            Self::Unknown => "?",
            Self::NotApplicable => "–",
        }
    }

    /// Invalid, else unknown, else valid; unknown if nothing was judged.
    #[must_use]
    pub fn merge(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let mut merged = None;
        for verdict in verdicts {
            merged = match (merged, verdict) {
                (merged, Self::NotApplicable) => merged,
                (_, Self::Invalid) | (Some(Self::Invalid), _) => Some(Self::Invalid),
                (_, Self::Unknown) | (Some(Self::Unknown), _) => Some(Self::Unknown),
                _ => Some(Self::Valid),
            };
        }
        merged.unwrap_or(Self::Unknown)
    }
}

/// How much a note matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look; changes no verdict.
    Warning,
    /// The reason of a verdict that is not valid.
    Error,
}

/// One thing that a checker noticed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// A stable word, such as `stale-read`, `lost`, `wrong-total`.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence for people.
    pub text: String,
}

/// Why one operation of a witness must stand before another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edge {
    /// Index of an operation.
    pub from: u64,
    /// Index of an operation.
    pub to: u64,
    /// The reason in words: `process 7 read x=3, which process 2 had overwritten`.
    pub words: String,
}

/// Proof that something is wrong, small enough to follow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    /// A stable word, such as `stale-read`; becomes part of its anchor.
    pub kind: String,
    /// A headline of a few words, a sentence without subject omitted: `A read went back in time.`
    pub title: String,
    /// What happened, in one to three sentences with processes, values and seconds, written from the operations.
    pub story: String,
    /// Indices of the operations involved, in the order in which to draw them.
    pub operations: Vec<u64>,
    /// Which of them cannot be placed, or show the wrong value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub culprits: Vec<u64>,
    /// Reasons between them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edges: Vec<Edge>,
    /// The nodes concerned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// When it begins, nanoseconds since the run began.
    pub start_ns: u64,
    /// When it ends.
    pub end_ns: u64,
    /// Known behaviour that explains it, such as dqlite's reads without a quorum; a sentence with its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// What a checker found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The checker's name.
    pub checker: String,
    /// What it says.
    pub verdict: Verdict,
    /// One line for tables: what it found or what it looked at, with numbers.
    pub summary: String,
    /// What it noticed, the worst first. At most [`NOTE_LIMIT`]; a last one says how many more there were.
    #[serde(default)]
    pub notes: Vec<Note>,
    /// Proofs, the worst first. At most [`WITNESS_LIMIT`].
    #[serde(default)]
    pub witnesses: Vec<Witness>,
    /// Figures by name; units are in the names (`stable_count`, `recovery_max_ms`).
    #[serde(default)]
    pub figures: BTreeMap<String, Value>,
    /// Number of operations (or lines, or samples) that it looked at.
    pub looked_at: u64,
    /// Time that it took, in milliseconds; filled in by the one who calls it.
    #[serde(default)]
    pub duration_ms: f64,
    /// Largest memory that its own structures took, in bytes, where it counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// Notes that a result keeps.
pub const NOTE_LIMIT: usize = 100;
/// Witnesses that a result keeps.
pub const WITNESS_LIMIT: usize = 10;

impl CheckResult {
    /// A result without notes, witnesses or figures.
    pub fn new(checker: impl Into<String>, verdict: Verdict, summary: impl Into<String>) -> Self {
        Self {
            checker: checker.into(),
            verdict,
            summary: summary.into(),
            notes: Vec::new(),
            witnesses: Vec::new(),
            figures: BTreeMap::new(),
            looked_at: 0,
            duration_ms: 0.0,
            memory_bytes: None,
        }
    }
}

/// `verdict.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VerdictFile {
    /// [`FORMAT_VERSION`].
    pub format_version: u32,
    /// All results merged.
    pub verdict: Verdict,
    /// Each checker's result.
    pub results: Vec<CheckResult>,
}

/// A limit that a checker ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// Out of time.
    Time,
    /// Out of memory.
    Memory,
}

impl std::fmt::Display for Exhausted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Time => "out of time",
            Self::Memory => "out of memory",
        })
    }
}

/// A limit of time and memory, kept outside so that checkers need no clock.
pub trait Budget: Sync {
    /// Whether to go on, given that the checker's own structures take `memory_bytes` now. Cheap enough for
    /// every thousandth step, not for every one.
    fn spend(&self, memory_bytes: u64) -> Result<(), Exhausted>;
}

/// No limit.
pub struct Unlimited;

impl Budget for Unlimited {
    fn spend(&self, _memory_bytes: u64) -> Result<(), Exhausted> {
        Ok(())
    }
}

/// A log file of one node, as stored with the run.
#[derive(Clone, Copy, Debug)]
pub struct LogText<'a> {
    /// The node.
    pub node: &'a str,
    /// Its path under `logs/<node>/`.
    pub path: &'a str,
    /// Its bytes; need not be UTF-8.
    pub bytes: &'a [u8],
}

/// Everything that a checker may look at.
#[derive(Clone, Copy)]
pub struct CheckInput<'a> {
    /// The operations.
    pub history: &'a History,
    /// The faults as done.
    pub faults: &'a [FaultRecord],
    /// Product logs.
    pub logs: &'a [LogText<'a>],
    /// What the places where membership is kept said, in the order of `views.jsonl`.
    pub views: &'a [View],
    /// Versions, nodes, phases, options.
    pub meta: &'a crate::meta::Meta,
}

impl<'a> CheckInput<'a> {
    /// A history by itself: nobody struck, and no node was looked at.
    #[must_use]
    pub const fn of_history(history: &'a History, meta: &'a crate::meta::Meta) -> Self {
        Self {
            history,
            faults: &[],
            logs: &[],
            views: &[],
            meta,
        }
    }
}

/// Judges a run, or a stored history.
pub trait Checker: Send + Sync {
    /// Its name, as in `--checker` and in verdict files.
    fn name(&self) -> &str;

    /// Looks, and says. Must not panic on any history that [`crate::history::pair`] accepts; the caller turns a panic into unknown.
    fn check(&self, input: &CheckInput<'_>, budget: &dyn Budget) -> CheckResult;
}
