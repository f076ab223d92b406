//! Triggers that are watched on the nodes: a log's line, a file, a query, a view.
//!
//! ```text
//! watch = "log"   [ ":" node ] "=" pattern [ "#" which ]                          a regular expression
//!       | "file"  [ ":" node ] "=" ( "created" | "changed" | "removed" ) ":" glob [ "#" which ]
//!       | "query" [ ":" node ] "=" ( "sql:" statement | "http:" path [ "~" pattern ] )
//!       | "view"  [ ":" node ] "=" source ":" member ":" state
//! which = the how-manieth time on a node, from 1
//! ```
//!
//! Without a node all nodes are watched, and the first counts. What stands after `=` may be put in double quotes, and has to be
//! where it has a comma: `kill:subject@log="a, b"`. The subject is the node on which the log's line, the file or the query was
//! seen, and the member of a view.

use std::fmt;

use harness_core::{
    trigger::{FileEvent, Predicate, Shown, Watch, Watched},
    view::Source,
};
use regex_lite::Regex;

use super::{
    nearest,
    trigger::{MAX_ENTRY, Phase},
};

/// The words that begin a trigger of this kind.
pub(super) const WORDS: [&str; 4] = ["log", "file", "query", "view"];
/// Bytes of a pattern, a glob, a statement or a path, at most.
pub const MAX_TEXT_BYTES: usize = 1024;

/// What is watched, as on the command line.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Watching {
    /// What.
    pub what: Watched,
    /// On which node; none: on every node.
    pub node: Option<String>,
    /// Which time, from 1.
    pub nth: u64,
    /// From when on; none: from the fault's time on.
    pub after: Option<Phase>,
}

impl Watching {
    /// The trigger of a plan.
    pub(super) fn planned(&self, delay_ms: u64) -> Watch {
        Watch {
            what: self.what.clone(),
            node: self.node.clone(),
            nth: self.nth,
            after: self.after.as_ref().map(|phase| phase.at(delay_ms)),
        }
    }

    /// The nodes that it names.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &str> {
        let member = match &self.what {
            Watched::View { member, .. } => Some(member),
            _ => None,
        };
        self.node.iter().chain(member).map(String::as_str)
    }
}

/// Whether such a trigger begins here.
pub(super) fn begins(text: &str) -> bool {
    WORDS.into_iter().any(|word| {
        let rest = text.strip_prefix(word);
        rest.is_some_and(|rest| rest.starts_with(['=', ':']))
    })
}

/// Reads one; `after` is the phase before it.
pub(super) fn parse(text: &str, after: Option<Phase>) -> Result<Watching, String> {
    let (head, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} lacks ="))?;
    let (word, node) = match head.split_once(':') {
        None => (head, None),
        Some((word, node)) => (word, Some(node_name(node)?)),
    };
    let counted = matches!(word, "log" | "file");
    let (value, nth) = match value.rsplit_once('#') {
        Some((value, number)) if counted && is_number(number) => (value, which(number)?),
        _ => (value, 1),
    };
    let value = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value);
    if value.len() > MAX_TEXT_BYTES {
        return Err(format!(
            "what stands after {word}= has {MAX_TEXT_BYTES} bytes at most"
        ));
    }
    let what = match word {
        "log" => Watched::Log {
            pattern: pattern(value)?,
        },
        "file" => file(value)?,
        "query" => Watched::Query(predicate(value)?),
        "view" => view(value)?,
        word => return Err(format!("nothing is watched that is called {word:?}")),
    };
    Ok(Watching {
        what,
        node,
        nth,
        after,
    })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn which(number: &str) -> Result<u64, String> {
    let parsed = number.parse().ok();
    let parsed = parsed.filter(|nth| (1..=MAX_ENTRY).contains(nth));
    parsed.ok_or_else(|| format!("{number} is no number between 1 and {MAX_ENTRY}"))
}

fn node_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || !text.chars().all(plain) {
        return Err(format!("{text:?} is no node's name"));
    }
    Ok(text.to_owned())
}

fn pattern(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a regular expression is missing; an empty one matches every line".to_owned());
    }
    match Regex::new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            let said = error.to_string();
            let last = said.lines().last().unwrap_or_default();
            let last = last.trim_start_matches("error: ");
            Err(format!("{text:?} is no regular expression: {last}"))
        }
    }
}

/// The value of a word, or what was meant, and what there is.
fn known<T: Copy>(what: &str, text: &str, all: &[(T, &'static str)]) -> Result<T, String> {
    if let Some((value, _)) = all.iter().find(|(_, word)| *word == text) {
        return Ok(*value);
    }
    let words = all.iter().map(|(_, word)| *word);
    let near = nearest(text, words.clone());
    let hint = near.map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    let all: Vec<&str> = words.collect();
    Err(format!(
        "no {what} is called {text:?}{hint}; there are {}",
        all.join(", ")
    ))
}

fn file(value: &str) -> Result<Watched, String> {
    let (event, glob) = value.split_once(':').unwrap_or((value, ""));
    let event = known("event of a file", event, &FileEvent::ALL)?;
    if glob.is_empty() || glob.ends_with('/') {
        return Err(
            "a path in the data folder is missing, as in file=created:snapshot-*".to_owned(),
        );
    }
    if glob.split('/').any(|part| part == "..") {
        return Err(format!("{glob:?} goes up by .."));
    }
    Ok(Watched::File {
        event,
        glob: glob.to_owned(),
    })
}

fn predicate(value: &str) -> Result<Predicate, String> {
    if let Some(statement) = value.strip_prefix("sql:") {
        let statement = statement.trim();
        let first = statement.split_ascii_whitespace().next();
        let reads = first.is_some_and(|word| {
            ["select", "with", "values"].contains(&word.to_ascii_lowercase().as_str())
        });
        if !reads {
            return Err(format!(
                "{statement:?} does not read: it must begin with SELECT, WITH or VALUES"
            ));
        }
        return Ok(Predicate::Sql(statement.to_owned()));
    }
    let Some(asked) = value.strip_prefix("http:") else {
        return Err(format!(
            "{value:?} is no query; write query=sql:SELECT …, or query=http:/path and perhaps ~ and a regular expression"
        ));
    };
    let (path, text) = match asked.split_once('~') {
        None => (asked, None),
        Some((path, text)) => (path, Some(pattern(text)?)),
    };
    if !path.starts_with('/') || path.contains(char::is_whitespace) {
        return Err(format!(
            "{path:?} is no path of a URL: it must begin with / and have no white space"
        ));
    }
    Ok(Predicate::Http {
        path: path.to_owned(),
        pattern: text,
    })
}

fn view(value: &str) -> Result<Watched, String> {
    let mut parts = value.split(':');
    let (Some(source), Some(member), Some(state), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(format!(
            "{value:?} is no view; write a source, a member and a state, as in view=database:n4:pending"
        ));
    };
    let sources = Source::ALL.map(|source| (source, source.as_str()));
    Ok(Watched::View {
        source: known("source", source, &sources)?,
        member: node_name(member)?,
        state: known("state", state, &Shown::ALL)?,
    })
}

impl fmt::Display for Watching {
    /// As on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(after) = &self.after {
            write!(f, "{after}/")?;
        }
        let (word, value) = match &self.what {
            Watched::Log { pattern } => ("log", pattern.clone()),
            Watched::File { event, glob } => ("file", format!("{}:{glob}", event.as_str())),
            Watched::Query(Predicate::Sql(statement)) => ("query", format!("sql:{statement}")),
            Watched::Query(Predicate::Http { path, pattern }) => {
                let pattern = pattern.as_ref();
                let pattern = pattern.map_or_else(String::new, |pattern| format!("~{pattern}"));
                ("query", format!("http:{path}{pattern}"))
            }
            Watched::View {
                source,
                member,
                state,
            } => ("view", format!("{source}:{member}:{}", state.as_str())),
        };
        f.write_str(word)?;
        if let Some(node) = &self.node {
            write!(f, ":{node}")?;
        }
        // Without quotes a comma would end it, and #7 at its end would be a number.
        let ends_in_number = value
            .rsplit_once('#')
            .is_some_and(|(_, end)| is_number(end));
        match value.contains(',') || value.starts_with('"') || ends_in_number {
            true => write!(f, "=\"{value}\"")?,
            false => write!(f, "={value}")?,
        }
        match self.nth {
            1 => Ok(()),
            nth => write!(f, "#{nth}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::{WaitsFor, parse_trigger};

    #[test]
    fn what_can_be_written_is_read_and_written_back() {
        for (text, shown) in [
            ("log=became leader", None),
            ("log:n2=term [0-9]+#3", None),
            ("log=\"a, b\"#2", None),
            ("log=\"plain\"", Some("log=plain")),
            ("log=\"issue #7\"", None),
            ("file=created:snapshot-*", None),
            ("file:n1=removed:**/*.tmp#2", None),
            ("file=changed:/etc/hosts", None),
            ("query=sql:SELECT count(*) > 3 FROM elements", None),
            ("query=sql: select 1", Some("query=sql:select 1")),
            ("query:n3=http:/1.0/cluster~\"enabled\":true", None),
            ("query=http:/leader", None),
            ("view=database:n4:pending", None),
            ("view:n1=raft:n4:stand-by", None),
            ("join/view=database:n4:there", None),
            ("join+1s..2s/log=x", Some("join+1000ms..2000ms/log=x")),
        ] {
            let read = parse_trigger(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(matches!(read, WaitsFor::Watch(_)), "{text}");
            let shown = shown.unwrap_or(text);
            assert_eq!(read.to_string(), shown);
            assert_eq!(parse_trigger(shown).unwrap(), read, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_meant() {
        for (text, fragments) in [
            ("log=", &["regular expression is missing"][..]),
            ("log=a(b", &["no regular expression", "without closing"]),
            ("log:=x", &["no node's name"]),
            ("log=x#0", &["between 1 and"]),
            (
                "logs=x",
                &["no trigger is called \"logs\"", "did you mean \"log\"?"],
            ),
            (
                "file=create:x",
                &["did you mean \"created\"?", "changed, removed"],
            ),
            ("file=created", &["path in the data folder is missing"]),
            ("file=created:a/../b", &["goes up"]),
            ("query=SELECT 1", &["query=sql:SELECT"]),
            ("query=sql:DELETE FROM t", &["does not read"]),
            ("query=http:1.0", &["must begin with /"]),
            ("query=http:/1.0~(", &["no regular expression"]),
            ("view=database:n4", &["view=database:n4:pending"]),
            ("view=databse:n4:pending", &["did you mean \"database\"?"]),
            (
                "view=raft:n4:voters",
                &["did you mean \"voter\"?", "stand-by"],
            ),
            ("Join/log=x", &["no kind of operation"]),
            ("join+3/log=x", &["no unit"]),
        ] {
            let message = parse_trigger(text).unwrap_err().to_string();
            for fragment in fragments {
                assert!(message.contains(fragment), "{text}: {message}");
            }
        }
    }
}
