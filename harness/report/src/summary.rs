//! `summary.md`: a comment on a pull request, in fewer than [`LINE_LIMIT`] lines.
//!
//! Everything from the run is escaped, so that no log line calls somebody, closes a table or loads a picture.

use harness_core::verdict::Verdict;

use crate::{
    model::{
        Model,
        block::{self, Told},
    },
    number,
    text::{self, markdown},
};

/// Lines, at most.
pub const LINE_LIMIT: usize = 39;
/// Checkers that are named, at most.
const CHECKS: usize = 8;
/// Faults that are named, at most.
const FAULTS: usize = 6;

/// The summary, as GitHub's Markdown.
#[must_use]
pub fn render(model: &Model) -> String {
    let mut lines = Vec::new();
    let mark = if model.simulated {
        "SIMULATION · "
    } else {
        ""
    };
    lines.push(format!(
        "### {mark}{} {}: {}",
        model.headline.glyph,
        model.headline.word,
        markdown(&model.headline.line())
    ));
    lines.push(String::new());
    for alarm in model.alarms.iter().take(3) {
        lines.push(format!(
            "> **{}** {}",
            alarm.word,
            markdown(&text::clip(&alarm.text, 300))
        ));
        lines.push(String::new());
    }
    for sentence in &model.sentences {
        let around = sentence.around.as_deref().unwrap_or_default();
        let known = sentence
            .explanation
            .as_ref()
            .map_or_else(String::new, |known| {
                format!(
                    " **Known behaviour.** {}",
                    markdown(&text::clip(known, 300))
                )
            });
        let told = format!("{} {around}", sentence.text);
        lines.push(format!(
            "- {} **{}** {}{known}",
            sentence.verdict.glyph(),
            markdown(&text::clip(&sentence.lead, 200)),
            markdown(&text::clip(&told, 500)),
        ));
    }
    lines.push(String::new());
    lines.extend(checkers(model));
    let counts = model.tally.counts;
    lines.push(format!(
        "Operations: {} ok, {} fail, {} info. Faults: {}.",
        number::count(counts.ok),
        number::count(counts.fail),
        number::count(counts.info),
        model.faults.line()
    ));
    lines.extend(faults(model));
    lines.push(String::new());
    lines.extend(commands(model));
    debug_assert!(lines.len() <= LINE_LIMIT, "{} lines", lines.len());
    lines.truncate(LINE_LIMIT);
    lines.join("\n") + "\n"
}

/// Those that are not valid by name, the others by number.
fn checkers(model: &Model) -> Vec<String> {
    let named: Vec<(Verdict, Told)> = [Verdict::Invalid, Verdict::Unknown]
        .into_iter()
        .flat_map(|verdict| {
            let told = block::lines(&model.checks, verdict).into_iter();
            told.map(move |told| (verdict, told))
        })
        .collect();
    let mut lines = Vec::new();
    if !named.is_empty() {
        lines.push("| checker | verdict | found |".to_owned());
        lines.push("| --- | --- | --- |".to_owned());
        for (verdict, told) in named.iter().take(CHECKS) {
            lines.push(format!(
                "| {} | {} {} | {} |",
                markdown(&told.name),
                verdict.glyph(),
                verdict.as_str(),
                markdown(&text::clip(&told.found, 160))
            ));
        }
        lines.push(String::new());
    }
    let valid = block::counted(&model.checks, Verdict::Valid);
    let idle = model.with_verdict(Verdict::NotApplicable).count();
    let left_out = named.iter().skip(CHECKS).map(|(_, told)| told.count);
    let more = match left_out.sum::<usize>() {
        0 => String::new(),
        more => format!("; {more} more are not valid"),
    };
    lines.push(format!(
        "{} valid, {idle} not applicable{more}.",
        valid.as_deref().unwrap_or("0 checkers")
    ));
    lines
}

fn faults(model: &Model) -> Vec<String> {
    let rows = &model.faults.rows;
    let mut lines: Vec<String> = rows
        .iter()
        .take(FAULTS)
        .map(|row| {
            let at = row.observed_ns.or(row.asked_ns).or(row.planned_ns);
            let when = at.map_or_else(String::new, |ns| format!(" at {}", number::instant(ns)));
            format!(
                "- {} {}{when}: {}",
                row.state.glyph(),
                markdown(&text::clip(&row.label, 100)),
                row.state.words()
            )
        })
        .collect();
    if model.faults.total > lines.len() as u64 {
        lines.push(format!(
            "- and {} more",
            model.faults.total - lines.len() as u64
        ));
    }
    lines
}

fn commands(model: &Model) -> Vec<String> {
    // A fence longer than any run of backticks inside cannot be closed from inside.
    let longest = model
        .commands
        .iter()
        .flat_map(|command| command.line.split(|character| character != '`'))
        .map(str::len)
        .max()
        .unwrap_or_default();
    let fence = "`".repeat(longest.max(2) + 1);
    let mut lines = vec![format!("{fence}sh")];
    lines.extend(model.commands.iter().map(|command| command.line.clone()));
    lines.push(fence);
    lines
}
