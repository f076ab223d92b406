//! "Did you mean": the word nearest to one that does not exist.

/// A word is suggested up to this many edits away.
const MAX_EDITS: usize = 2;
/// Bytes of a character, at most: a word whose length differs by more than the edits can make up is not looked at.
const MAX_CHAR_BYTES: usize = 4;

/// The nearest of the words, if one is near: within [`MAX_EDITS`], and nearer than replacing
/// half of what was typed.
pub(crate) fn nearest<'a>(
    typed: &str,
    words: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    words
        .into_iter()
        .filter(|word| word.len().abs_diff(typed.len()) <= MAX_EDITS * MAX_CHAR_BYTES)
        .map(|word| (edits(typed, word), word))
        .filter(|(edits, _)| *edits <= MAX_EDITS && edits * 2 < typed.chars().count())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

/// Insertions, removals, replacements and swaps of neighbours that turn one word into the other
/// (optimal string alignment distance).
fn edits(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.to_lowercase().chars().collect();
    let to: Vec<char> = to.to_lowercase().chars().collect();
    let mut rows = vec![vec![0; to.len() + 1]; from.len() + 1];
    for i in 0..=from.len() {
        for j in 0..=to.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(from[i - 1] != to[j - 1]);
                let mut best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped =
                    i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
                if swapped {
                    best = best.min(rows[i - 2][j - 2] + 1);
                }
                best
            };
        }
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let words = ["partition", "kill", "stop", "pause"];
        for (typed, expected) in [
            ("partitoin", Some("partition")),
            ("Partition", Some("partition")),
            ("partitions", Some("partition")),
            ("kil", Some("kill")),
            ("puase", Some("pause")),
            ("clock", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, words), expected, "{typed}");
        }
    }

    #[test]
    fn edits_are_counted() {
        for (from, to, expected) in [
            ("", "", 0),
            ("ab", "ba", 1),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(from, to), expected, "{from} {to}");
        }
    }
}
