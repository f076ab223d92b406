//! A small reader of EDN, Clojure's data notation, straight to JSON values.
//!
//! What Jepsen's histories hold is read: nil, booleans, numbers, strings, characters, keywords, symbols, vectors, lists,
//! sets, maps, tagged forms (the tag is dropped), comments and discarded forms; and what Clojure prints beside: `##NaN` and regular
//! expressions as their text, `#object[Name 0x5b464ce8 "…"]` as a vector, metadata as nothing. Source: the EDN specification
//! (github.com/edn-format/edn) and Clojure's reader (clojure.org/reference/reader).
//!
//! Law: equal sets give equal arrays, in whatever order their items stand.

use serde_json::{Map, Number, Value};

use super::{DEPTH_LIMIT, FormatError};

/// Reads forms one after another.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Discarded forms and metadata around this place.
    aside: usize,
    /// Printed objects around it: what looks like a number there may be a name.
    objects: usize,
}

/// Discarded forms and metadata within one another, at most.
const ASIDE_LIMIT: usize = 8;

/// Why a form cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdnError {
    /// Where, in bytes from the start.
    pub offset: usize,
    /// What was expected.
    pub detail: String,
    /// Whether the text ended too early, as a torn last line does.
    pub torn: bool,
}

impl EdnError {
    /// With line and column.
    #[must_use]
    pub fn located(&self, bytes: &[u8]) -> FormatError {
        FormatError::at(bytes, self.offset, self.detail.clone())
    }
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self::starting_at(bytes, 0)
    }

    /// Starts somewhere.
    #[must_use]
    pub fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            aside: 0,
            objects: 0,
        }
    }

    /// Goes on somewhere else.
    pub fn seek(&mut self, at: usize) {
        self.at = at;
    }

    /// How far it came, in bytes.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// The next byte that is no white space and no comment; None at the end.
    pub fn peek(&mut self) -> Result<Option<u8>, EdnError> {
        loop {
            let Some(byte) = self.bytes.get(self.at).copied() else {
                return Ok(None);
            };
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b',' => self.at += 1,
                b';' => {
                    while self.bytes.get(self.at).is_some_and(|byte| *byte != b'\n') {
                        self.at += 1;
                    }
                }
                b'#' if self.bytes.get(self.at + 1) == Some(&b'_') => {
                    self.at += 2;
                    self.skip_aside()?;
                }
                b'^' => {
                    self.at += 1;
                    self.skip_aside()?;
                }
                other => return Ok(Some(other)),
            }
        }
    }

    /// Over a form that means nothing.
    fn skip_aside(&mut self) -> Result<(), EdnError> {
        if self.aside == ASIDE_LIMIT {
            return Err(self.error(format!(
                "more than {ASIDE_LIMIT} discarded forms or metadata within one another"
            )));
        }
        self.aside += 1;
        self.value(0)?;
        self.aside -= 1;
        Ok(())
    }

    /// Takes the byte that [`Reader::peek`] gave.
    pub fn skip_byte(&mut self) {
        self.at += 1;
    }

    /// Skips tags such as `#jepsen.history.Op` before a form; whether one says that an object was printed there.
    pub fn skip_tags(&mut self) -> Result<bool, EdnError> {
        let mut object = false;
        while self.peek()? == Some(b'#')
            && !matches!(self.bytes.get(self.at + 1), Some(b'{' | b'"' | b'#'))
        {
            self.at += 1;
            match self.token() {
                b"" => return Err(self.error("expected a tag after #")),
                tag => object |= tag == b"object",
            }
        }
        Ok(object)
    }

    /// The next form; None at the end.
    pub fn next_value(&mut self) -> Result<Option<Value>, EdnError> {
        match self.peek()? {
            None => Ok(None),
            Some(_) => self.value(0).map(Some),
        }
    }

    /// The next form as the text of a name: keyword, symbol, string or number. For keys of maps.
    pub fn name(&mut self) -> Result<String, EdnError> {
        Ok(match self.value(1)? {
            Value::String(text) => text,
            other => other.to_string(),
        })
    }

    /// An error here.
    pub fn error(&self, detail: impl Into<String>) -> EdnError {
        EdnError {
            offset: self.at,
            detail: detail.into(),
            torn: self.at >= self.bytes.len(),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, EdnError> {
        if depth > DEPTH_LIMIT {
            return Err(self.error(format!("more than {DEPTH_LIMIT} forms within forms")));
        }
        let Some(first) = self.peek()? else {
            return Err(self.error("a form is missing at the end"));
        };
        match first {
            b'"' => self.string().map(Value::String),
            b'[' => self.sequence(b']', depth),
            b'(' => self.sequence(b')', depth),
            b'{' => self.map(depth),
            b'#' => self.dispatched(depth),
            b'\\' => self.character(),
            b']' | b')' | b'}' => {
                Err(self.error(format!("{:?} closes nothing", char::from(first))))
            }
            _ => self.atom(),
        }
    }

    /// What begins with `#`.
    fn dispatched(&mut self, depth: usize) -> Result<Value, EdnError> {
        match self.bytes.get(self.at + 1) {
            Some(b'{') => {
                self.at += 1;
                let mut items = self.items(b'}', depth)?;
                // Whole numbers by size, then the rest by its text.
                items.sort_by_cached_key(|item| match item.as_i64() {
                    Some(number) => (false, number, String::new()),
                    None => (true, 0, item.to_string()),
                });
                Ok(Value::Array(items))
            }
            Some(b'"') => {
                self.at += 1;
                self.pattern().map(Value::String)
            }
            Some(b'#') => {
                let start = self.at;
                self.at += 2;
                self.token();
                let text = String::from_utf8_lossy(&self.bytes[start..self.at]);
                Ok(Value::String(text.into_owned()))
            }
            _ => {
                let object = usize::from(self.skip_tags()?);
                self.objects += object;
                let value = self.value(depth + 1)?;
                self.objects -= object;
                Ok(value)
            }
        }
    }

    fn sequence(&mut self, close: u8, depth: usize) -> Result<Value, EdnError> {
        self.items(close, depth).map(Value::Array)
    }

    fn items(&mut self, close: u8, depth: usize) -> Result<Vec<Value>, EdnError> {
        self.at += 1;
        let mut items = Vec::new();
        loop {
            match self.peek()? {
                None => return Err(self.error(format!("{:?} is missing", char::from(close)))),
                Some(byte) if byte == close => {
                    self.at += 1;
                    return Ok(items);
                }
                Some(_) => items.push(self.value(depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, EdnError> {
        self.at += 1;
        let mut map = Map::new();
        loop {
            match self.peek()? {
                None => return Err(self.error("'}' is missing")),
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(map));
                }
                Some(_) => {
                    let key = match self.value(depth + 1)? {
                        Value::String(text) => text,
                        other => other.to_string(),
                    };
                    let value = self.value(depth + 1)?;
                    map.insert(key, value);
                }
            }
        }
    }

    fn token(&mut self) -> &'a [u8] {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(|byte| {
            !matches!(
                byte,
                b' ' | b'\t'
                    | b'\r'
                    | b'\n'
                    | b','
                    | b';'
                    | b'"'
                    | b'['
                    | b']'
                    | b'('
                    | b')'
                    | b'{'
                    | b'}'
            )
        }) {
            self.at += 1;
        }
        &self.bytes[start..self.at]
    }

    fn atom(&mut self) -> Result<Value, EdnError> {
        let start = self.at;
        let token = self.token();
        let fail = |detail: &str| EdnError {
            offset: start,
            detail: detail.to_owned(),
            torn: false,
        };
        let text = std::str::from_utf8(token).map_err(|_| fail("a name that is not UTF-8"))?;
        match text {
            "nil" => return Ok(Value::Null),
            "true" => return Ok(Value::Bool(true)),
            "false" => return Ok(Value::Bool(false)),
            "" => return Err(fail("expected a form")),
            _ => {}
        }
        if let Some(keyword) = text.strip_prefix(':') {
            return Ok(Value::String(keyword.to_owned()));
        }
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        if digits.starts_with(|first: char| first.is_ascii_digit()) {
            return match number(text) {
                Some(number) => Ok(number),
                None if self.objects > 0 => Ok(Value::String(text.to_owned())),
                None => Err(fail("not a number")),
            };
        }
        Ok(Value::String(text.to_owned()))
    }

    fn character(&mut self) -> Result<Value, EdnError> {
        self.at += 1;
        let start = self.at;
        let token = match self.token() {
            // A delimiter can be the character itself.
            [] => {
                self.at += 1;
                self.bytes.get(start..self.at).unwrap_or_default()
            }
            token => token,
        };
        let text = String::from_utf8_lossy(token);
        Ok(Value::String(match text.as_ref() {
            "newline" => "\n".to_owned(),
            "space" => " ".to_owned(),
            "tab" => "\t".to_owned(),
            "return" => "\r".to_owned(),
            other => other.to_owned(),
        }))
    }

    fn string(&mut self) -> Result<String, EdnError> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.bytes.get(self.at).copied() else {
                return Err(self.error("a string that does not end"));
            };
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => self.escape(&mut text)?,
                other => text.push(other),
            }
        }
        String::from_utf8(text).map_err(|_| self.error("a string that is not UTF-8"))
    }

    /// A regular expression, as it stands there: a backslash escapes nothing but for its own reader.
    fn pattern(&mut self) -> Result<String, EdnError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.bytes.get(self.at) {
                None => return Err(self.error("a regular expression that does not end")),
                Some(b'"') => break,
                Some(b'\\') => self.at = (self.at + 2).min(self.bytes.len()),
                Some(_) => self.at += 1,
            }
        }
        let text = std::str::from_utf8(&self.bytes[start..self.at])
            .map_err(|_| self.error("a regular expression that is not UTF-8"))?
            .to_owned();
        self.at += 1;
        Ok(text)
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), EdnError> {
        let Some(byte) = self.bytes.get(self.at).copied() else {
            return Err(self.error("a string that does not end"));
        };
        self.at += 1;
        let plain = match byte {
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            b'u' => {
                let mut unit = self.hex4()?;
                if (0xd800..0xdc00).contains(&unit) && self.bytes[self.at..].starts_with(b"\\u") {
                    self.at += 2;
                    let low = self.hex4()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(self.error("half of a surrogate pair"));
                    }
                    unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                }
                let character =
                    char::from_u32(unit).ok_or_else(|| self.error("not a Unicode character"))?;
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            other => other,
        };
        text.push(plain);
        Ok(())
    }

    fn hex4(&mut self) -> Result<u32, EdnError> {
        let Some(digits) = self.bytes.get(self.at..self.at + 4) else {
            self.at = self.bytes.len();
            return Err(self.error("four hexadecimal digits are missing"));
        };
        let parsed = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.error("expected four hexadecimal digits"))?;
        self.at += 4;
        Ok(parsed)
    }
}

/// Digits of a decimal that a floating number keeps.
const DECIMAL_DIGITS: usize = 15;

/// Integers keep their value where JSON can hold it; larger ones, ratios and longer exact decimals stay text.
fn number(text: &str) -> Option<Value> {
    let plain = text.strip_suffix('N').unwrap_or(text);
    let plain = plain.strip_prefix('+').unwrap_or(plain);
    if let Ok(integer) = plain.parse::<i64>() {
        return Some(integer.into());
    }
    if let Ok(integer) = plain.parse::<u64>() {
        return Some(integer.into());
    }
    let digits_only = plain
        .strip_prefix('-')
        .unwrap_or(plain)
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'/');
    if digits_only {
        return Some(Value::String(plain.to_owned()));
    }
    let hex = plain.strip_prefix("0x").or(plain.strip_prefix("0X"));
    if let Some(hex) = hex.filter(|hex| !hex.starts_with('+')) {
        return u64::from_str_radix(hex, 16).ok().map(Value::from);
    }
    if let Some(exact) = plain.strip_suffix('M') {
        let digits = exact.bytes().filter(u8::is_ascii_digit).count();
        if digits > DECIMAL_DIGITS && exact.parse::<f64>().is_ok() {
            return Some(Value::String(plain.to_owned()));
        }
    }
    let plain = plain.strip_suffix('M').unwrap_or(plain);
    plain
        .parse::<f64>()
        .ok()
        .and_then(Number::from_f64)
        .map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_what_histories_hold() {
        let table = [
            ("nil", json!(null)),
            ("[1 -2, 3N]", json!([1, -2, 3])),
            ("{0 100, :a \"b\"}", json!({"0": 100, "a": "b"})),
            ("#{1 2}", json!([1, 2])),
            (
                "#{:b 10 [2] nil 9 :a -1}",
                json!([-1, 9, 10, "a", "b", [2], null]),
            ),
            (
                "[#object[java.net.SocketException 0x5b464ce8 \"reset\"] 1]",
                json!([["java.net.SocketException", 0x5b46_4ce8, "reset"], 1]),
            ),
            (
                "#object[a.b 5b464ce8 1.2.3]",
                json!(["a.b", "5b464ce8", "1.2.3"]),
            ),
            ("[##NaN ##Inf ##-Inf]", json!(["##NaN", "##Inf", "##-Inf"])),
            ("[#\"a\\d\\\"}\" 1]", json!(["a\\d\\\"}", 1])),
            ("[^:foo [1] ^{:a 1} ^String x]", json!([[1], "x"])),
            (
                "[1.10M 100000000000000000000.5M]",
                json!([1.1, "100000000000000000000.5M"]),
            ),
            ("(:r :x nil)", json!(["r", "x", null])),
            ("#jepsen.history.Op{:index 1}", json!({"index": 1})),
            ("#inst \"2020\"", json!("2020")),
            ("#_ignored 5 ; a comment", json!(5)),
            ("\"a\\n\\u00e9\\uD83D\\uDE00\"", json!("a\né😀")),
            ("1.5e3", json!(1500.0)),
            ("18446744073709551615N", json!(u64::MAX)),
            ("\\a", json!("a")),
            ("true", json!(true)),
        ];
        for (text, expected) in table {
            let got = Reader::new(text.as_bytes()).next_value();
            assert_eq!(got, Ok(Some(expected)), "{text}");
        }
    }

    #[test]
    fn errors_are_located_and_torn_text_is_told_apart() {
        let torn = Reader::new(b"{:a [1 2").next_value().unwrap_err();
        assert!(torn.torn);
        let bytes = b"{:a 1}\n  ]";
        let mut reader = Reader::new(bytes);
        reader.next_value().unwrap();
        let wrong = reader.next_value().unwrap_err();
        assert!(!wrong.torn);
        assert_eq!(
            wrong.located(bytes).to_string(),
            "line 2, column 3: ']' closes nothing"
        );
        for opening in ["[", "#_", "^", "^[#_"] {
            let deep = opening.repeat(100_000);
            let error = Reader::new(deep.as_bytes()).next_value().unwrap_err();
            assert!(!error.torn, "{opening}: {}", error.detail);
        }
        for odd in ["5b464ce8", "0x", "0x+1", "[#object[a] 5b]"] {
            let told = Reader::new(odd.as_bytes()).next_value().unwrap_err();
            assert_eq!(told.detail, "not a number", "{odd}");
        }
    }
}
