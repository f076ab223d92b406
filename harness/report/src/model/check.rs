//! What each checker found, in the order in which it is shown: the worst first.

use harness_core::verdict::{CheckResult, Note, Severity, Verdict};
use serde_json::Value;

use super::{
    ReportInput,
    fault::Faults,
    membership::invariants::{self, Invariant},
    witness,
};
use crate::{
    number,
    text::{self, Anchors},
};

/// Figures that are shown of one checker.
const FIGURE_LIMIT: usize = 40;

/// One thing that a checker noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteView {
    /// Its stable word.
    pub kind: String,
    /// How much it matters.
    pub severity: Severity,
    /// One sentence.
    pub text: String,
}

impl NoteView {
    /// The severity in a word.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.severity {
            Severity::Info => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// What one checker found.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its anchor.
    pub anchor: String,
    /// Its name.
    pub name: String,
    /// The invariant of the membership checker that it judges, if it does.
    pub invariant: Option<&'static Invariant>,
    /// What it says.
    pub verdict: Verdict,
    /// One line.
    pub summary: String,
    /// Number of operations (or lines, or samples) that it looked at.
    pub looked_at: String,
    /// How long it took.
    pub duration: String,
    /// The same in milliseconds; 0 if that is not known.
    pub duration_ms: f64,
    /// The memory that its own structures took.
    pub memory: String,
    /// What it noticed, the worst first.
    pub notes: Vec<NoteView>,
    /// Proofs.
    pub witnesses: Vec<witness::WitnessView>,
    /// Figures by name.
    pub figures: Vec<(String, String)>,
}

impl Check {
    /// Whether there is more to say of it than its row in the table does.
    #[must_use]
    pub fn has_body(&self) -> bool {
        self.invariant.is_none()
            || !(self.notes.is_empty() && self.witnesses.is_empty() && self.figures.is_empty())
    }

    /// The reason of a verdict that is not valid: its first error, else its line.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.notes
            .iter()
            .find(|note| note.severity == Severity::Error)
            .map_or(&self.summary, |note| &note.text)
    }
}

/// Where a verdict stands in a list whose head is looked at.
pub(super) fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Invalid => 0,
        Verdict::Unknown => 1,
        Verdict::Valid => 2,
        Verdict::NotApplicable => 3,
    }
}

pub(super) fn checks(
    input: &ReportInput<'_>,
    faults: &Faults,
    anchors: &mut Anchors,
) -> Vec<Check> {
    let mut results: Vec<&CheckResult> = input.verdict.results.iter().collect();
    results.sort_by_key(|result| rank(result.verdict));
    let mut number = 0;
    results
        .into_iter()
        .map(|result| {
            let name = text::clip(&result.checker, 60);
            Check {
                anchor: anchors.claim(&format!("checker-{}", text::slug(&name))),
                invariant: invariants::named(&name),
                name,
                verdict: result.verdict,
                summary: text::clip(&result.summary, 300),
                looked_at: number::count(result.looked_at),
                duration: number::duration_ms(result.duration_ms),
                duration_ms: if result.duration_ms.is_finite() {
                    result.duration_ms.max(0.0)
                } else {
                    0.0
                },
                memory: result
                    .memory_bytes
                    .map_or_else(|| "–".to_owned(), number::bytes),
                notes: notes(result),
                witnesses: result
                    .witnesses
                    .iter()
                    .map(|proof| {
                        number += 1;
                        witness::view(input, faults, proof, number, anchors)
                    })
                    .collect(),
                figures: figures(result),
            }
        })
        .collect()
}

fn notes(result: &CheckResult) -> Vec<NoteView> {
    // A note that only says what a witness says is told there.
    let told = |note: &&Note| {
        let mut witnesses = result.witnesses.iter();
        !witnesses.any(|witness| note.text == format!("{} {}", witness.title, witness.story))
    };
    let mut notes: Vec<_> = result
        .notes
        .iter()
        .filter(told)
        .map(|note| NoteView {
            kind: text::clip(&note.kind, 40),
            severity: note.severity,
            text: text::clip(&note.text, 500),
        })
        .collect();
    notes.sort_by_key(|note| std::cmp::Reverse(note.severity));
    notes
}

fn figures(result: &CheckResult) -> Vec<(String, String)> {
    result
        .figures
        .iter()
        .take(FIGURE_LIMIT)
        .map(|(name, value)| {
            let (words, shown) = figure(name, value);
            (
                text::clip(&words, 60),
                text::clip(&shown, text::VALUE_CHARS),
            )
        })
        .collect()
}

/// Takes the unit from a figure's name and puts it behind its value: `recovery_max_ms` is `recovery max`.
fn figure(name: &str, value: &Value) -> (String, String) {
    let words = |name: &str| name.replace('_', " ");
    let whole = value.as_u64();
    match (name.rsplit_once('_'), value.as_f64()) {
        (Some((rest, "ms")), Some(ms)) => (words(rest), number::duration_ms(ms)),
        (Some((rest, "ns")), _) if whole.is_some() => {
            (words(rest), number::duration(whole.unwrap_or_default()))
        }
        (Some((rest, "s")), Some(seconds)) => (words(rest), number::duration_ms(seconds * 1e3)),
        (Some((rest, "bytes")), _) if whole.is_some() => {
            (words(rest), number::bytes(whole.unwrap_or_default()))
        }
        (Some((rest, "count")), _) if whole.is_some() => {
            (words(rest), number::count(whole.unwrap_or_default()))
        }
        _ => match (whole, value.as_f64()) {
            (Some(count), _) => (words(name), number::count(count)),
            (None, Some(fraction)) => (words(name), number::three_digits(fraction)),
            (None, None) => (words(name), shown(value)),
        },
    }
}

/// A value in words: `G1a 2, G-single 1` of what is counted by name.
fn shown(value: &Value) -> String {
    let one = |value: &Value| match (value.as_u64(), value.as_f64()) {
        (Some(whole), _) => number::count(whole),
        (None, Some(fraction)) => number::three_digits(fraction),
        (None, None) => text::value(value, text::VALUE_CHARS),
    };
    let part = |(name, value): (&String, &Value)| format!("{name} {}", one(value));
    match value {
        Value::Object(parts) if !parts.is_empty() => {
            let parts: Vec<String> = parts.iter().map(part).collect();
            parts.join(", ")
        }
        Value::Object(_) => "none".to_owned(),
        Value::Array(parts) if parts.is_empty() => "none".to_owned(),
        other => text::value(other, text::VALUE_CHARS),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_take_their_unit_along() {
        for (name, value, words, shown) in [
            ("recovery_max_ms", json!(1520.0), "recovery max", "1.52 s"),
            ("stable_count", json!(8412), "stable", "8,412"),
            ("memory_bytes", json!(4_200_000), "memory", "4.20 MB"),
            ("settle_s", json!(2.5), "settle", "2.50 s"),
            ("keys", json!(12), "keys", "12"),
            ("share", json!(0.5), "share", "0.50"),
            ("leader", json!("n1"), "leader", "n1"),
            ("by_node", json!({"n1": 2}), "by node", "n1 2"),
            (
                "anomalies",
                json!({"G-single": 1200, "G1a": 1}),
                "anomalies",
                "G-single 1,200, G1a 1",
            ),
            ("anomalies", json!({}), "anomalies", "none"),
            ("also_not", json!([]), "also not", "none"),
        ] {
            assert_eq!(
                figure(name, &value),
                (words.to_owned(), shown.to_owned()),
                "{name}"
            );
        }
    }
}
