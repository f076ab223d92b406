//! The terminal's last lines.
//!
//! ```text
//! invalid  dqlite 1.16.0 · register · partition · 5 nodes · 60 s · seed 0x5eed42
//!   ✗ linearizable   2 of 12 keys: a read went back in time
//!   ✓ 3 checkers · ? 1 unknown (logs: no log was collected)
//!   operations 8,412 ok · 31 fail · 7 info      faults 3 of 3 observed, 3 healed
//!   report   results/runs/latest/report.html
//!   repeat   harness run --seed 0x5eed42
//! ```
//!
//! Laws: one line a fact, none wider than asked (paths and commands are never cut: they are to be copied); whoever calls
//! decides on colour (`NO_COLOR`, no terminal) and width; without colour the same words and glyphs stand there.

use harness_core::verdict::Verdict;

use crate::{
    model::{
        Model,
        block::{self, Told},
    },
    number, text,
};

/// Lines about single checkers, at most.
const CHECK_LINES: usize = 12;
/// The reason of an unknown in the line of numbers, in characters.
const REASON_CHARS: usize = 64;
/// The narrowest terminal that is laid out for.
const NARROWEST: usize = 40;

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to use ANSI colours.
    pub colour: bool,
    /// Columns of the terminal; 0 for no limit.
    pub width: usize,
}

impl Style {
    fn width(self) -> usize {
        if self.width == 0 {
            usize::MAX
        } else {
            self.width.max(NARROWEST)
        }
    }

    fn paint(self, verdict: Verdict, words: &str) -> String {
        if !self.colour {
            return words.to_owned();
        }
        let code = match verdict {
            Verdict::Valid => "32",
            Verdict::Invalid => "1;31",
            Verdict::Unknown => "33",
            Verdict::NotApplicable => "2",
        };
        format!("\x1b[{code}m{words}\x1b[0m")
    }

    fn loud(self, words: &str) -> String {
        if self.colour {
            format!("\x1b[1;7m{words}\x1b[0m")
        } else {
            words.to_owned()
        }
    }
}

/// The lines, each ended by a newline.
#[must_use]
pub fn render(model: &Model, style: Style) -> String {
    let mut out = String::new();
    let width = style.width();
    for alarm in &model.alarms {
        let room = width.saturating_sub(alarm.word.chars().count() + 2);
        line(
            &mut out,
            &format!(
                "{}  {}",
                style.loud(alarm.word),
                text::clip(&alarm.text, room)
            ),
        );
    }
    let word = model.headline.word;
    let room = width.saturating_sub(word.len() + 2);
    let headline = text::clip(&model.headline.line(), room);
    line(
        &mut out,
        &format!("{}  {headline}", style.paint(model.verdict, word)),
    );
    // The unknown are told one by one only where nothing worse is.
    let told = match model.verdict {
        Verdict::Unknown => Verdict::Unknown,
        _ => Verdict::Invalid,
    };
    check_lines(&mut out, told, &block::lines(&model.checks, told), style);
    line(&mut out, &format!("  {}", counts(model, told, style)));
    line(
        &mut out,
        &format!("  {}", operations(model, width.saturating_sub(2))),
    );
    line(
        &mut out,
        &format!(
            "  report   {}/report.html",
            model.headline.folder.trim_end_matches('/')
        ),
    );
    for command in &model.commands {
        line(&mut out, &format!("  {:<8} {}", command.verb, command.line));
    }
    out
}

fn line(out: &mut String, words: &str) {
    out.push_str(words.trim_end());
    out.push('\n');
}

fn check_lines(out: &mut String, verdict: Verdict, told: &[Told], style: Style) {
    let shown = &told[..told.len().min(CHECK_LINES)];
    let names = shown
        .iter()
        .map(|told| told.name.chars().count())
        .max()
        .unwrap_or_default();
    for told in shown {
        let room = style.width().saturating_sub(names + 7);
        line(
            out,
            &format!(
                "  {} {:<names$}   {}",
                style.paint(verdict, verdict.glyph()),
                told.name,
                text::clip(&told.found, room)
            ),
        );
    }
    if told.len() > shown.len() {
        let more: usize = told[shown.len()..].iter().map(|told| told.count).sum();
        line(out, &format!("  … {more} more"));
    }
}

/// `✓ 19 invariants, 4 checkers · ? 2 unknown (…) · – 4 not applicable`; the reason takes what room is left.
fn counts(model: &Model, told: Verdict, style: Style) -> String {
    let number_of = |verdict| model.with_verdict(verdict).count() as u64;
    let mut parts = Vec::new();
    if let Some(valid) = block::counted(&model.checks, Verdict::Valid) {
        parts.push((Verdict::Valid, format!("✓ {valid}")));
    }
    let unknown = number_of(Verdict::Unknown);
    if unknown > 0 && told != Verdict::Unknown {
        parts.push((
            Verdict::Unknown,
            format!("? {} unknown", number::count(unknown)),
        ));
    }
    let idle = number_of(Verdict::NotApplicable);
    if idle > 0 {
        let words = format!("– {} not applicable", number::count(idle));
        parts.push((Verdict::NotApplicable, words));
    }
    if model.checks.is_empty() {
        parts.push((Verdict::Unknown, "? nothing was judged".to_owned()));
    }
    if parts.is_empty() {
        parts.push((Verdict::NotApplicable, "no other checker".to_owned()));
    }
    let taken: usize = parts
        .iter()
        .map(|(_, words)| words.chars().count() + 3)
        .sum();
    // Two of margin, three of brackets and a space.
    let room = style.width().saturating_sub(taken + 5).min(REASON_CHARS);
    let unknown = parts
        .iter_mut()
        .find(|(verdict, _)| *verdict == Verdict::Unknown);
    if let (Some((_, words)), Some(check)) = (unknown, model.with_verdict(Verdict::Unknown).next())
        && room >= REASON_CHARS / 4
    {
        let why = format!("{}: {}", check.name, check.reason());
        words.push_str(&format!(" ({})", text::clip(&why, room)));
    }
    let painted: Vec<_> = parts
        .iter()
        .map(|(verdict, words)| style.paint(*verdict, words))
        .collect();
    painted.join(" · ")
}

fn operations(model: &Model, room: usize) -> String {
    let counts = model.tally.counts;
    let operations = format!(
        "operations {} ok · {} fail · {} info",
        number::count(counts.ok),
        number::count(counts.fail),
        number::count(counts.info)
    );
    let faults = format!("faults {}", model.faults.line());
    if operations.chars().count() + 6 + faults.chars().count() <= room {
        format!("{operations}      {faults}")
    } else {
        format!("{operations}\n  {faults}")
    }
}
