//! What was run, what must be said first, and how to repeat it.

use harness_core::meta::Meta;
use serde_json::Value;

use super::{ReportInput, fault::Faults};
use crate::{number, text, wall};

/// What every simulated run says, everywhere.
pub const SIMULATION: &str = "SIMULATION: no real node ran. This says something about the harness, and nothing about a real system.";

/// The `system` of what is no run but a history that somebody gave; its `workload` is the checker, its options are those of the checker.
pub const HISTORY_FILE: &str = "history file";

/// Something that is said before anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// A stable word for styling: `simulation`, `interrupted`, `dirty`, `harness`.
    pub kind: &'static str,
    /// One or two words in capitals.
    pub word: &'static str,
    /// The sentence.
    pub text: String,
}

/// What was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Headline {
    /// The verdict's word.
    pub word: &'static str,
    /// The verdict's glyph.
    pub glyph: &'static str,
    /// System and version in a few words: `dqlite 1.16.0`.
    pub system: String,
    /// All versions: name and version.
    pub versions: Vec<(String, String)>,
    /// The workload.
    pub workload: String,
    /// The nemeses, joined.
    pub nemesis: String,
    /// `5 nodes`.
    pub nodes: String,
    /// `60 s`.
    pub duration: String,
    /// `0x5eed42`.
    pub seed: String,
    /// The run's identity.
    pub id: String,
    /// Whether a run was recorded; otherwise this is a history that somebody gave, of which no more is known.
    pub of_a_run: bool,
    /// Wall clock at which it began.
    pub started: String,
    /// The folder, as people type it.
    pub folder: String,
}

impl Headline {
    pub(super) fn new(input: &ReportInput<'_>) -> Self {
        let meta = input.meta;
        let verdict = input.verdict.verdict;
        let versions: Vec<_> = meta
            .system_versions
            .iter()
            .map(|(name, version)| (text::clip(name, 60), text::clip(version, 80)))
            .collect();
        Self {
            word: verdict.as_str(),
            glyph: verdict.glyph(),
            system: system_line(meta),
            versions,
            workload: text::clip(&meta.workload, 60),
            nemesis: nemesis_line(meta),
            nodes: number::counted(meta.nodes.len() as u64, "node"),
            duration: number::asked_seconds(meta.time_limit_s),
            seed: number::seed(meta.seed),
            id: text::clip(&meta.id, 80),
            of_a_run: is_run(meta),
            started: wall::utc(meta.started_wall_ns),
            folder: text::one_line(input.folder),
        }
    }

    /// `dqlite 1.16.0 · bank · partition · 5 nodes · 60 s · seed 0x5eed42`.
    #[must_use]
    pub fn line(&self) -> String {
        if !self.of_a_run {
            return format!("{} · {}", self.system, self.workload);
        }
        [
            self.system.as_str(),
            &self.workload,
            &self.nemesis,
            &self.nodes,
            &self.duration,
        ]
        .join(" · ")
            + " · seed "
            + &self.seed
    }
}

fn is_run(meta: &Meta) -> bool {
    meta.system != HISTORY_FILE
}

/// The system's own version behind its name if it is known, else the first that is.
fn system_line(meta: &Meta) -> String {
    let name = text::clip(&meta.system, 60);
    let versions = &meta.system_versions;
    let own = versions.get(&meta.system).or_else(|| {
        versions
            .iter()
            .find(|(package, _)| package.contains(&meta.system))
            .map(|(_, version)| version)
    });
    match own {
        Some(version) => format!("{name} {}", text::clip(version, 80)),
        None => name,
    }
}

fn nemesis_line(meta: &Meta) -> String {
    if meta.nemesis.iter().all(|name| name == "none") {
        "nemesis none".to_owned()
    } else {
        // As it was asked for, with its targets; an older run tells no more than the kinds.
        let asked = meta.config["nemesis"].as_str();
        let asked = asked.map_or_else(|| meta.nemesis.join(","), str::to_owned);
        text::clip(&asked, 80)
    }
}

/// What must be said first, the loudest first.
pub(super) fn alarms(meta: &Meta, faults: &Faults) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    if meta.simulated {
        alarms.push(Alarm {
            kind: "simulation",
            word: "SIMULATION",
            text: SIMULATION["SIMULATION: ".len()..].to_owned(),
        });
    }
    for failure in meta.harness_failures.iter().take(3) {
        alarms.push(Alarm {
            kind: "harness",
            word: "HARNESS FAILURE",
            text: format!(
                "The harness itself failed, which says nothing about the system: {}",
                text::clip(failure, 300)
            ),
        });
    }
    if meta.lab_dirty {
        let open = faults.rows.iter().filter(|row| row.open).count() as u64;
        let what = if open == 0 {
            "Faults".to_owned()
        } else {
            number::counted(open, "fault")
        };
        alarms.push(Alarm {
            kind: "dirty",
            word: "LAB DIRTY",
            text: format!(
                "{what} could not be healed. Heal the nodes before the next run: harness lab heal"
            ),
        });
    }
    if meta.interrupted {
        alarms.push(Alarm {
            kind: "interrupted",
            word: "INTERRUPTED",
            text: "Somebody interrupted the run; what was recorded until then was judged."
                .to_owned(),
        });
    }
    alarms
}

/// A command with what it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What it does: `the same plan on a fresh cluster`.
    pub purpose: &'static str,
    /// One word for the terminal's margin: `repeat`.
    pub verb: &'static str,
    /// The line to type.
    pub line: String,
}

/// How to repeat the run, and how to judge it again.
pub(super) fn commands(input: &ReportInput<'_>) -> Vec<Command> {
    let shell = |arguments: &[String]| {
        arguments
            .iter()
            .map(|argument| text::shell_word(argument))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let mut commands = Vec::new();
    if !input.meta.repeat.is_empty() {
        commands.push(Command {
            purpose: "Run it again: the same plan from the same seed, on a fresh cluster",
            verb: "repeat",
            line: format!("harness {}", shell(&input.meta.repeat)),
        });
    }
    let folder = text::shell_word(input.folder);
    let line = if is_run(input.meta) {
        format!("harness check {folder}")
    } else {
        let options = match &input.meta.workload_options {
            Value::Null => String::new(),
            options => format!(" --options {}", text::shell_word(&options.to_string())),
        };
        let checker = text::shell_word(&input.meta.workload);
        format!("harness check --checker {checker}{options} {folder}")
    };
    commands.push(Command {
        purpose: "Judge what was recorded once more, without running anything",
        verb: "check",
        line,
    });
    if input.meta.lab_dirty {
        commands.insert(
            0,
            Command {
                purpose: "First heal the nodes",
                verb: "heal",
                line: "harness lab heal".to_owned(),
            },
        );
    }
    commands
}
