//! Turns times, values and text of the system under test into words for people.

use harness_core::{
    history::Operation,
    verdict::{CheckResult, NOTE_LIMIT, Note, Severity, WITNESS_LIMIT, Witness},
};
use serde_json::Value;

/// The longest value that is shown, in characters.
pub(crate) const VALUE_LIMIT_CHARS: usize = 60;
/// The longest excerpt of a log line, in characters.
pub(crate) const EXCERPT_LIMIT_CHARS: usize = 240;

/// Shows times in seconds with as many digits as it takes to tell them apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    decimals: usize,
}

impl Clock {
    /// Digits for a story between these times.
    pub(crate) fn spanning(times: impl IntoIterator<Item = u64>) -> Self {
        let (mut low, mut high) = (u64::MAX, 0);
        for time in times {
            low = low.min(time);
            high = high.max(time);
        }
        let decimals = match high.saturating_sub(low.min(high)) {
            500_000_000.. => 2,
            5_000_000.. => 3,
            50_000.. => 5,
            500.. => 7,
            _ => 9,
        };
        Self { decimals }
    }

    /// `12.40 s`.
    pub(crate) fn at(self, time_ns: u64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
        let seconds = time_ns as f64 / 1e9;
        format!("{seconds:.*} s", self.decimals)
    }
}

/// A value as compact JSON, cut to a limit.
pub(crate) fn show(value: &Value) -> String {
    cut(&value.to_string(), VALUE_LIMIT_CHARS)
}

/// Cuts text to a number of characters, and says so by an ellipsis.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.chars().nth(limit).is_none() {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// A log line made harmless: control characters escaped, bytes that are no UTF-8 replaced, cut to a limit.
pub(crate) fn excerpt(line: &[u8]) -> String {
    let head = &line[..line.len().min(EXCERPT_LIMIT_CHARS * 4)];
    let mut text = String::new();
    for character in String::from_utf8_lossy(head).trim().chars() {
        if character == '\t' {
            text.push(' ');
        } else if character.is_control() {
            text.extend(character.escape_default());
        } else {
            text.push(character);
        }
    }
    cut(&text, EXCERPT_LIMIT_CHARS)
}

/// `8,412`.
pub(crate) fn count(number: impl TryInto<u64>) -> String {
    let digits = number
        .try_into()
        .map_or_else(|_| "?".to_owned(), |number: u64| number.to_string());
    let mut shown = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// `1 read`, `2 reads`.
pub(crate) fn plural(number: usize, one: &str, many: &str) -> String {
    if number == 1 {
        format!("1 {one}")
    } else {
        format!("{} {many}", count(number))
    }
}

/// ` on n3` or nothing.
pub(crate) fn on_node(operation: &Operation) -> String {
    operation
        .node
        .as_ref()
        .map_or_else(String::new, |node| format!(" on {node}"))
}

/// When it ended for us: its completion, or its invocation if none was recorded.
pub(crate) fn end_ns(operation: &Operation) -> u64 {
    operation.completed_ns.unwrap_or(operation.invoked_ns)
}

/// The nodes of operations, each once, in order.
pub(crate) fn nodes_of<'a>(operations: impl IntoIterator<Item = &'a Operation>) -> Vec<String> {
    let mut nodes: Vec<String> = Vec::new();
    for node in operations
        .into_iter()
        .filter_map(|operation| operation.node.as_deref())
    {
        if !nodes.iter().any(|known| known == node) {
            nodes.push(node.to_owned());
        }
    }
    nodes.sort_unstable();
    nodes
}

/// A note.
pub(crate) fn note(kind: &str, severity: Severity, text: impl Into<String>) -> Note {
    Note {
        kind: kind.to_owned(),
        severity,
        text: text.into(),
    }
}

/// Puts the worst notes first and keeps notes and witnesses within their limits.
pub(crate) fn finish(mut result: CheckResult) -> CheckResult {
    result
        .notes
        .sort_by_key(|note| std::cmp::Reverse(note.severity));
    if result.notes.len() > NOTE_LIMIT {
        let more = result.notes.len() - (NOTE_LIMIT - 1);
        result.notes.truncate(NOTE_LIMIT - 1);
        result.notes.push(note(
            "more",
            Severity::Info,
            format!("and {} more notes", count(more)),
        ));
    }
    result.witnesses.truncate(WITNESS_LIMIT);
    result
}

/// A witness made of operations: nodes and times are theirs.
pub(crate) fn witness(
    kind: &str,
    title: &str,
    story: String,
    operations: &[&Operation],
    culprits: &[u64],
) -> Witness {
    Witness {
        kind: kind.to_owned(),
        title: title.to_owned(),
        story,
        operations: operations.iter().map(|operation| operation.index).collect(),
        culprits: culprits.to_vec(),
        edges: Vec::new(),
        nodes: nodes_of(operations.iter().copied()),
        start_ns: operations
            .iter()
            .map(|operation| operation.invoked_ns)
            .min()
            .unwrap_or(0),
        end_ns: operations
            .iter()
            .map(|operation| end_ns(operation))
            .max()
            .unwrap_or(0),
        explanation: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        assert_eq!(count(0_u64), "0");
        assert_eq!(count(8_412_u64), "8,412");
        assert_eq!(count(1_000_000_u64), "1,000,000");
        assert_eq!(
            Clock::spanning([12_400_000_000, 11_000_000_000]).at(12_400_000_000),
            "12.40 s"
        );
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(excerpt(b"a\x1b[31mred\xff\r\n"), "a\\u{1b}[31mred\u{fffd}");
    }
}
