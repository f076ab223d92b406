//! Everything else: the configuration as merged, the environment, what made the run, its files.

use super::ReportInput;
use crate::{number, text};

/// Longest configuration that is shown, in bytes.
const CONFIG_BYTES: usize = 64 * 1024;
/// Files that are shown.
const FILE_LIMIT: usize = 200;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The configuration as merged, as indented JSON.
    pub config: String,
    /// What the workload's checkers were told, as JSON.
    pub workload_options: String,
    /// Name and value of what is known about how the run was made.
    pub facts: Vec<(String, String)>,
    /// The controller's environment.
    pub environment: Vec<(String, String)>,
    /// Path and size of each file.
    pub files: Vec<(String, String)>,
    /// Files that are not shown.
    pub files_left_out: usize,
    /// What was noticed while the history was read.
    pub remarks: Vec<String>,
}

impl Rest {
    pub(super) fn new(input: &ReportInput<'_>) -> Self {
        let meta = input.meta;
        let mut facts = vec![
            ("run", meta.id.clone()),
            ("harness", meta.harness_version.clone()),
            ("git commit", meta.git_commit.clone().unwrap_or_default()),
            ("provider", meta.provider.clone()),
            ("suite", meta.suite.clone()),
            ("image", meta.image_hash.clone()),
            ("command line", meta.command_line.join(" ")),
            ("events recorded", number::count(input.history.event_count)),
        ];
        facts.retain(|(_, value)| !value.is_empty());
        Self {
            config: indented(&meta.config),
            workload_options: text::value(&meta.workload_options, 2_000),
            facts: facts
                .into_iter()
                .map(|(name, value)| (name.to_owned(), text::clip(&value, 600)))
                .collect(),
            environment: meta
                .environment
                .iter()
                .map(|(name, value)| (text::clip(name, 60), text::clip(value, 300)))
                .collect(),
            files: input
                .files
                .iter()
                .take(FILE_LIMIT)
                .map(|file| (text::clip(file.path, 200), number::bytes(file.size_bytes)))
                .collect(),
            files_left_out: input.files.len().saturating_sub(FILE_LIMIT),
            remarks: input
                .history
                .remarks
                .iter()
                .map(|remark| text::clip(remark, 300))
                .collect(),
        }
    }
}

fn indented(config: &serde_json::Value) -> String {
    if config.is_null() {
        return String::new();
    }
    let mut shown = serde_json::to_string_pretty(config).unwrap_or_default();
    if shown.len() > CONFIG_BYTES {
        let cut = (0..=CONFIG_BYTES)
            .rev()
            .find(|at| shown.is_char_boundary(*at))
            .unwrap_or_default();
        shown.truncate(cut);
        shown.push_str("\n…");
    }
    shown
        .lines()
        .map(text::one_line)
        .collect::<Vec<_>>()
        .join("\n")
}
