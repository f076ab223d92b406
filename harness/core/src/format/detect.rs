//! Telling formats by their first bytes.
//!
//! ```text
//! {"format_version": 1}              ours
//! [ {"process" : 0, …}               Jepsen's JSON: an object, bare or first in an array
//! ===== / --- / // …                 AWDIT, dbcop: their sessions may be empty, so the first line that says something tells
//! 2014-… INFO  jepsen.util - 4⇥…     a log of etcd: other lines may come first
//! {:process 9, … :key "0", …}        EDN, or its kin of Porcupine
//! ```
//!
//! Law: the mark that some editors put at the beginning of a text in UTF-8 changes nothing.

use super::{Format, dbcop, sessions};
use crate::history;

/// The mark of UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";
/// Bytes that are looked at for words.
const HEAD_BYTES: usize = 4096;
/// Bytes of other lines that may come before the first operation in a log.
const LOG_BYTES: usize = 64 * 1024 * 1024;

/// What begins an operation in a log of etcd.
const LOG_WORD: &str = "jepsen.util - ";

/// A text without the mark of UTF-8 (EF BB BF) at its beginning.
#[must_use]
pub fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(MARK).unwrap_or(bytes)
}

/// What the bytes are if they are no text in UTF-8, by how they begin, and what makes one of them.
pub(super) fn no_text(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    Some(match bytes {
        [0x1f, 0x8b, ..] => ("compressed by gzip", "gunzip it first"),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("compressed by zstd", "unzstd it first"),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("compressed by xz", "unxz it first"),
        [b'B', b'Z', b'h', b'1'..=b'9', ..] => ("compressed by bzip2", "bunzip2 it first"),
        [b'P', b'K', 3, 4, ..] => ("a zip archive", "unzip it first"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [1..=127, 0, ..] | [0, 1..=127, ..] => {
            ("UTF-16", "iconv -f UTF-16 -t UTF-8 makes one of it")
        }
        _ => return None,
    })
}

/// See [`Format::detect`].
pub(super) fn detect(bytes: &[u8]) -> Format {
    let start = without_mark(bytes).trim_ascii_start();
    let head = &start[..start.len().min(HEAD_BYTES)];
    let contains = |text: &str| holds(head, text);
    let telling = behind_rules(start);
    if let Some(plume) = sessions::detect(telling) {
        return if plume { Format::Plume } else { Format::Awdit };
    }
    if dbcop::detect(telling) {
        return Format::Dbcop;
    }
    if is_header(first_line(head)) {
        return Format::Ours;
    }
    // A log's lines begin with a word or a time, or `[thread]`.
    let log = match start.first() {
        Some(b'{' | b'[' | b'(' | b'#' | b';' | b'^') | None => head,
        Some(_) => &start[..start.len().min(LOG_BYTES)],
    };
    if holds(log, LOG_WORD) {
        return Format::PorcupineEtcd;
    }
    if begins_object(start) || contains("{\"type\"") || contains("\"process\":") {
        return Format::JepsenJson;
    }
    let stores = [":get", ":put", ":append"];
    match stores.iter().any(|f| contains(&format!(":f {f}, :key "))) {
        true => Format::PorcupineKv,
        false => Format::Edn,
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    bytes.windows(text.len()).any(|window| window == text)
}

fn first_line(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == b'\n').next().unwrap_or_default()
}

/// Whether a line is a header of ours: whole, or as far as it goes.
fn is_header(line: &[u8]) -> bool {
    let Some(inner) = line.strip_prefix(b"{") else {
        return false;
    };
    let first = inner.trim_ascii_start();
    first.starts_with(b"\"format_version\"") || history::has_version(line)
}

/// From the first line on that ends no session and no transaction, and is no comment.
fn behind_rules(text: &[u8]) -> &[u8] {
    let mut rest = text;
    // Other lines may be as long as the text.
    while let Some(b'-' | b'=' | b'/') = rest.first() {
        let line = first_line(rest);
        let skipped = match line.trim_ascii_end() {
            [rule @ (b'-' | b'='), more @ ..] => more.iter().all(|byte| byte == rule),
            other => other.starts_with(b"//"),
        };
        if !skipped {
            break;
        }
        rest = rest[line.len()..].trim_ascii_start();
    }
    rest
}

/// Whether a JSON object begins here, bare or as the first of an array: its first key is a text.
fn begins_object(text: &[u8]) -> bool {
    let item = match text {
        [b'[', rest @ ..] => rest.trim_ascii_start(),
        _ => text,
    };
    matches!(item, [b'{', rest @ ..] if rest.trim_ascii_start().first() == Some(&b'"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_told_with_its_mend() {
        for (bytes, told) in [
            (
                &b"\x1f\x8b\x08"[..],
                "this is compressed by gzip, not a text in UTF-8: gunzip it first",
            ),
            (b"\xff\xfe{\0", "this is UTF-16, "),
            (b"\xfe\xff\0{", "this is UTF-16, "),
            (b"{\0:\0", "this is UTF-16, "),
            (b"PK\x03\x04", "this is a zip archive, "),
        ] {
            for (format, _) in Format::ALL {
                let error = super::super::read_events(bytes, format).unwrap_err();
                assert!(error.to_string().starts_with(told), "{error}");
            }
        }
        assert_eq!(no_text(b"{:process 0}"), None);
    }

    #[test]
    fn formats_are_told_apart() {
        let long = format!(
            "{}INFO  jepsen.util - 4\t:invoke\t:read\tnil\n",
            "20:14:01 INFO  starting node\n".repeat(1000)
        );
        for (text, format) in [
            ("{\"format_version\":1}\n", Format::Ours),
            ("{ \"format_version\" : 1 }\r\n{\"index\":0", Format::Ours),
            ("{\"made_by\": \"x\", \"format_version\": 1}", Format::Ours),
            ("[{\"process\" : 0, \"type\": \"ok\"}]", Format::JepsenJson),
            (
                "[\n  {\n    \"f\": \"read\",\n \"type\": \"ok\"}]",
                Format::JepsenJson,
            ),
            ("{\n \"value\": 1, \"process\": 0}", Format::JepsenJson),
            ("[{:process 0, :type :ok, :f :read}]", Format::Edn),
            ("{:error \"{\", :process 0}", Format::Edn),
            ("#{1}", Format::Edn),
            ("", Format::Edn),
            (
                "{:process 9, :type :invoke, :f :put, :key \"0\", :value \"x\"}",
                Format::PorcupineKv,
            ),
            (&*long, Format::PorcupineEtcd),
            (
                "[main] INFO  jepsen.util - 4\t:invoke",
                Format::PorcupineEtcd,
            ),
            ("w 0 1\n", Format::Awdit),
            ("=====\n-----\n\nr 0 1\n", Format::Awdit),
            ("---\nw(0,1,0,7)\n", Format::Plume),
            ("---\r\n---\n// x\n[x:=1]\n", Format::Dbcop),
            ("// a\n---\n[y==?]\n", Format::Dbcop),
            ("{\"format_version\":", Format::Ours),
            ("{\"format_version\":\"two\"}\n", Format::Ours),
            ("-1\n", Format::Edn),
        ] {
            assert_eq!(Format::detect(text.as_bytes()), format, "{text}");
            let marked = format!("\u{feff}{text}");
            assert_eq!(Format::detect(marked.as_bytes()), format, "{text}");
        }
    }
}
