//! Integers beyond 64 bits in JSON: kept as their text, as in EDN, where the parser would make floating numbers of them, equal ones
//! of different ones.
//!
//! ```text
//! {"value":100000000000000000001}    read as    {"value":"100000000000000000001"}
//! ```
//!
//! Law: whatever holds no such integer is read as it stands, and looked at once more only if it holds a floating number that large.

use serde_json::Value;

/// From here on floating numbers stand for integers that are none of 64 bits; negative ones from half of it on.
const BEYOND: f64 = 9_223_372_036_854_775_808.0;

/// The value of a text, as parsed; with integers that the parser could not keep as texts.
pub(crate) fn kept(text: &[u8], parsed: Value) -> Value {
    if !any(&parsed) {
        return parsed;
    }
    serde_json::from_slice(&quoted(text)).unwrap_or(parsed)
}

/// Whether a value holds a number that may have been such an integer.
pub(crate) fn any(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_f64() && number.as_f64().is_some_and(|float| float.abs() >= BEYOND)
        }
        Value::Array(items) => items.iter().any(any),
        Value::Object(map) => map.values().any(any),
        _ => false,
    }
}

/// A text of JSON, with quotes around integers beyond 64 bits.
pub(crate) fn quoted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 16);
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let start = at;
        match byte {
            b'"' => at = string_end(text, at),
            b'-' | b'0'..=b'9' => {
                at += 1;
                while text.get(at).is_some_and(is_of_number) {
                    at += 1;
                }
                if is_huge(&text[start..at]) {
                    out.push(b'"');
                    out.extend_from_slice(&text[start..at]);
                    out.push(b'"');
                    continue;
                }
            }
            _ => at += 1,
        }
        out.extend_from_slice(&text[start..at]);
    }
    out
}

fn is_of_number(byte: &u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')
}

fn is_huge(token: &[u8]) -> bool {
    let digits = token.strip_prefix(b"-").unwrap_or(token);
    let Ok(text) = std::str::from_utf8(token) else {
        return false;
    };
    digits.iter().all(u8::is_ascii_digit)
        && text.parse::<i64>().is_err()
        && text.parse::<u64>().is_err()
}

/// Behind the string that begins here.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_beyond_64_bits_stay_what_they_are() {
        for (text, expected) in [
            ("18446744073709551615", json!(u64::MAX)),
            ("18446744073709551616", json!("18446744073709551616")),
            ("-9223372036854775808", json!(i64::MIN)),
            ("-9223372036854775809", json!("-9223372036854775809")),
            (
                "{\"a\":[100000000000000000001,\"100000000000000000001\\\"7\",1]}",
                json!({"a": ["100000000000000000001", "100000000000000000001\"7", 1]}),
            ),
            (
                "[1e30,1.5,100000000000000000000.0]",
                json!([1e30, 1.5, 1e20]),
            ),
        ] {
            let parsed = serde_json::from_str(text).unwrap();
            assert_eq!(kept(text.as_bytes(), parsed), expected, "{text}");
        }
    }
}
