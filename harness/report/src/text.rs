//! Text from systems under test, made harmless for where it is written.
//!
//! Laws:
//! - nothing that comes from a node can move the cursor, colour the terminal, reverse the reading direction or
//!   start a line of its own;
//! - what is cut says so with `…`;
//! - an identifier is made of `a-z`, `0-9` and `-` only.

use std::collections::HashSet;

use serde_json::Value;

/// Longest text of one value in a table or a timeline, in characters.
pub const VALUE_CHARS: usize = 160;

/// Whether a character would act instead of being read.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// One line: characters that act become spaces (line ends, tabs) or `�`.
#[must_use]
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\r' | '\t' => ' ',
            other if acts(other) => '\u{fffd}',
            other => other,
        })
        .collect()
}

/// One line of at most `limit_chars` characters.
#[must_use]
pub fn clip(text: &str, limit_chars: usize) -> String {
    let line = one_line(text.trim());
    match line.char_indices().nth(limit_chars) {
        None => line,
        Some(_) => {
            let kept: String = line.chars().take(limit_chars.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

/// The text with a full stop, unless it ends a sentence already.
#[must_use]
pub fn full_stop(text: String) -> String {
    if text.ends_with(['.', '!', '?', '…']) {
        text
    } else {
        text + "."
    }
}

/// The text with a capital at its head.
#[must_use]
pub fn capital(text: &str) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}

/// A JSON value on one line; a plain string without its quotes, several of them with commas between.
#[must_use]
pub fn value(value: &Value, limit_chars: usize) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clip(text, limit_chars),
        Value::Array(words) if !words.is_empty() && words.iter().all(Value::is_string) => {
            let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
            clip(&words.join(", "), limit_chars)
        }
        other => clip(&other.to_string(), limit_chars),
    }
}

/// `a-z`, `0-9` and `-`; never empty.
#[must_use]
pub fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars().take(VALUE_CHARS) {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.ends_with('-') && !slug.is_empty() {
            slug.push('-');
        }
    }
    let trimmed = slug.trim_end_matches('-');
    if trimmed.is_empty() {
        "x".to_owned()
    } else {
        trimmed.to_owned()
    }
}

/// Gives out anchors, each once.
#[derive(Debug, Default)]
pub struct Anchors(HashSet<String>);

impl Anchors {
    /// The anchor as wanted, or with the first number that makes it unique.
    pub fn claim(&mut self, wanted: &str) -> String {
        let mut anchor = wanted.to_owned();
        let mut number = 2;
        while !self.0.insert(anchor.clone()) {
            anchor = format!("{wanted}-{number}");
            number += 1;
        }
        anchor
    }
}

/// An argument as a POSIX shell takes it.
#[must_use]
pub fn shell_word(argument: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&byte);
    let clean = one_line(argument);
    if !clean.is_empty() && clean.bytes().all(plain) {
        clean
    } else {
        format!("'{}'", clean.replace('\'', "'\\''"))
    }
}

/// Markdown that shows as the text itself: in GitHub's dialect no character of it acts.
#[must_use]
pub fn markdown(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in one_line(text).chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            // An at sign would call somebody.
            '@' => escaped.push_str("&#64;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' | '~' => {
                escaped.push('\\');
                escaped.push(character);
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_acts() {
        assert_eq!(one_line("a\x1b[31mb\r\nc"), "a\u{fffd}[31mb  c");
        assert_eq!(one_line("a\u{202e}b"), "a\u{fffd}b");
        assert_eq!(clip("abcdef", 4), "abc…");
        assert_eq!(clip("abcd", 4), "abcd");
        assert_eq!(clip(" äöü ", 3), "äöü");
    }

    #[test]
    fn values_are_short() {
        assert_eq!(value(&json!(null), 9), "");
        assert_eq!(value(&json!("x y"), 9), "x y");
        assert_eq!(value(&json!([1, null]), 9), "[1,null]");
    }

    #[test]
    fn slugs_and_anchors() {
        assert_eq!(slug("Stale Read!"), "stale-read");
        assert_eq!(slug("\"><img"), "img");
        assert_eq!(slug("…"), "x");
        let mut anchors = Anchors::default();
        assert_eq!(anchors.claim("w"), "w");
        assert_eq!(anchors.claim("w"), "w-2");
        assert_eq!(anchors.claim("w"), "w-3");
    }

    #[test]
    fn words_for_shell_and_markdown() {
        assert_eq!(shell_word("--seed"), "--seed");
        assert_eq!(shell_word("n1,n2|n3"), "'n1,n2|n3'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(markdown("<b>|@all `x`"), "&lt;b&gt;\\|&#64;all \\`x\\`");
    }
}
