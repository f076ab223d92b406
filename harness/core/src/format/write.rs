//! Writing whole histories: what a format cannot say is refused, and never left out where a verdict could change by it.
//!
//! | format | what it can say |
//! | --- | --- |
//! | ours, EDN, Jepsen's JSON | everything |
//! | [`Format::PorcupineEtcd`] | `read`, `write` and `cas` of one register, without a key, of whole numbers from 0 |
//! | [`Format::PorcupineKv`] | `get`, `put` and `append` (and `read` and `write`) of keys, of texts; numbers become texts; no outcome that is not known |
//! | [`Format::Awdit`] | transactions of reads and writes of whole numbers; no aborted write, no read of what was there at first |
//! | [`Format::Plume`] | the same, with both; 0 is never written |
//! | [`Format::Dbcop`] | the same, with both ([`super::dbcop`]) |

use std::collections::HashMap;

use serde_json::Value;
use thiserror::Error;

use super::{Format, MISMATCH, dbcop, write_events};
use crate::event::{Event, EventType, Process};

/// Why a history has no text in a format.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("event {index}: {detail}")]
pub struct Unsayable {
    /// Index of the event.
    pub index: u64,
    /// What the format has no words for.
    pub detail: &'static str,
}

const UNKNOWN: &str = "its outcome is not known";
const NEVER_ENDED: &str = "it never ended";
const NO_TRANSACTION: &str = "it is no transaction of reads and writes";
pub(super) const NO_NUMBER: &str = "it has a step that is no read or write of a whole number";
const NO_REGISTER: &str =
    "it is no read, write or compare-and-set of one register of whole numbers, without a key";
const NO_KEY_VALUE: &str = "it is no get, put or append of a key and a text or a whole number";
const QUOTED: &str = "its text has a quote, a backslash or a line end";
const ABORTED: &str = "it failed with writes, which the format cannot say (plume and dbcop can)";
const INITIAL: &str =
    "it read what was there at first, which the format cannot say (plume and dbcop can)";
const ZERO: &str = "it writes 0, which stands for what was there at first";

/// Appends a whole history in a format.
///
/// # Errors
/// If it holds something that the format cannot say; `into` may then have a part of it.
pub fn write(events: &[Event], format: Format, into: &mut Vec<u8>) -> Result<(), Unsayable> {
    match format {
        Format::Ours | Format::Edn | Format::JepsenJson => {
            write_events(events, format, into);
            Ok(())
        }
        Format::PorcupineEtcd => etcd(events, into),
        Format::PorcupineKv => key_value(events, into),
        Format::Awdit => awdit(events, into),
        Format::Plume => plume(events, into),
        Format::Dbcop => dbcop::write(events, into),
    }
}

pub(super) fn unsayable<T>(event: &Event, detail: &'static str) -> Result<T, Unsayable> {
    Err(Unsayable {
        index: event.index,
        detail,
    })
}

fn of_clients(events: &[Event]) -> impl Iterator<Item = &Event> {
    let client = |event: &&Event| event.process != Process::Nemesis;
    events.iter().filter(client)
}

/// Events of clients without operations that certainly changed nothing and told nothing, by how each ended; None: it did not.
fn without(events: &[Event], nothing: impl Fn(&Event, Option<&Event>) -> bool) -> Vec<&Event> {
    let events: Vec<&Event> = of_clients(events).collect();
    let mut open: HashMap<Process, usize> = HashMap::new();
    let mut told = vec![true; events.len()];
    for (place, event) in events.iter().enumerate() {
        if event.event_type == EventType::Invoke {
            open.insert(event.process, place);
        } else if let Some(invocation) = open.remove(&event.process)
            && nothing(events[invocation], Some(event))
        {
            (told[invocation], told[place]) = (false, false);
        }
    }
    for place in open.into_values() {
        told[place] = !nothing(events[place], None);
    }
    let kept = events.into_iter().zip(told).filter(|(_, told)| *told);
    kept.map(|(event, _)| event).collect()
}

fn etcd(events: &[Event], into: &mut Vec<u8>) -> Result<(), Unsayable> {
    let mismatch = |event: &Event| {
        let error = event.error.as_ref();
        error.is_some_and(|error| error.kind == MISMATCH)
    };
    // A failure there has seen another value.
    let nothing = |_: &Event, end: Option<&Event>| {
        end.is_some_and(|end| end.event_type == EventType::Fail && !mismatch(end))
    };
    for event in without(events, nothing) {
        let (f, value) = (&*event.f, &event.value);
        let pair = value.as_array().map(Vec::as_slice);
        let told = match (event.event_type, f, pair) {
            (EventType::Invoke, "read", _) => "nil".to_owned(),
            (EventType::Info, "read" | "write" | "cas", _) => ":timed-out".to_owned(),
            (_, "read", None) if value.is_null() => "nil".to_owned(),
            (_, "read" | "write", None) if value.is_u64() => value.to_string(),
            (_, "cas", Some([old, new])) if old.is_u64() && new.is_u64() => {
                format!("[{old} {new}]")
            }
            _ => return unsayable(event, NO_REGISTER),
        };
        let Process::Client(process) = event.process else {
            continue;
        };
        let kind = event.event_type.as_str();
        into.extend_from_slice(
            format!("INFO  jepsen.util - {process}\t:{kind}\t:{f}\t{told}\n").as_bytes(),
        );
    }
    Ok(())
}

fn key_value(events: &[Event], into: &mut Vec<u8>) -> Result<(), Unsayable> {
    let nothing = |invocation: &Event, end: Option<&Event>| match end.map(|end| end.event_type) {
        Some(EventType::Fail) => true,
        Some(EventType::Info) | None => matches!(&*invocation.f, "get" | "read"),
        Some(_) => false,
    };
    let events = without(events, nothing);
    if let Some(event) = events
        .iter()
        .find(|event| event.event_type == EventType::Info)
    {
        return unsayable(event, UNKNOWN);
    }
    ended(events.iter().copied())?;
    for event in events {
        let f = match &*event.f {
            "get" | "read" => "get",
            "put" | "write" => "put",
            "append" => "append",
            _ => return unsayable(event, NO_KEY_VALUE),
        };
        let Some([key, value]) = event.value.as_array().map(Vec::as_slice) else {
            return unsayable(event, NO_KEY_VALUE);
        };
        let unanswered = event.event_type == EventType::Invoke && f == "get";
        let (key, value) = match (text(key), text(value)) {
            (Some(key), _) if unanswered => (key, "nil".to_owned()),
            (Some(key), Some(value)) if !quoted(&value) => (key, format!("\"{value}\"")),
            // What a key holds at first.
            (Some(key), None) if value.is_null() && f == "get" => (key, "\"\"".to_owned()),
            (Some(_), Some(_)) => return unsayable(event, QUOTED),
            _ => return unsayable(event, NO_KEY_VALUE),
        };
        if quoted(&key) {
            return unsayable(event, QUOTED);
        }
        let (Process::Client(process), kind) = (event.process, event.event_type.as_str()) else {
            continue;
        };
        into.extend_from_slice(
            format!(
                "{{:process {process}, :type :{kind}, :f :{f}, :key \"{key}\", :value {value}}}\n"
            )
            .as_bytes(),
        );
    }
    Ok(())
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

fn quoted(text: &str) -> bool {
    text.contains(['"', '\\', '\n', '\r'])
}

/// Refuses operations that never ended.
fn ended<'a>(events: impl IntoIterator<Item = &'a Event>) -> Result<(), Unsayable> {
    let mut open: HashMap<Process, &Event> = HashMap::new();
    for event in events {
        if event.event_type == EventType::Invoke {
            open.insert(event.process, event);
        } else {
            open.remove(&event.process);
        }
    }
    match open.values().min_by_key(|event| event.index) {
        Some(event) => unsayable(event, NEVER_ENDED),
        None => Ok(()),
    }
}

/// Transactions that ended, in the order in which they did, and whether each took effect.
pub(super) fn transactions(events: &[Event]) -> Result<Vec<(&Event, bool)>, Unsayable> {
    let mut transactions = Vec::new();
    for event in of_clients(events) {
        match event.event_type {
            EventType::Invoke => continue,
            EventType::Info => return unsayable(event, UNKNOWN),
            EventType::Ok | EventType::Fail if &*event.f != "txn" => {
                return unsayable(event, NO_TRANSACTION);
            }
            kind => transactions.push((event, kind == EventType::Ok)),
        }
    }
    ended(of_clients(events))?;
    Ok(transactions)
}

/// Texts of sessions, in the order of their first transactions.
#[derive(Default)]
pub(super) struct Sessions {
    texts: Vec<String>,
    places: HashMap<Process, usize>,
}

impl Sessions {
    /// Adds to a session's text.
    pub(super) fn push(&mut self, session: Process, text: &str) {
        let place = *self.places.entry(session).or_insert(self.texts.len());
        if place == self.texts.len() {
            self.texts.push(String::new());
        }
        self.texts[place].push_str(text);
    }

    /// Appends them one after the other, with that text between.
    pub(super) fn write(self, between: &str, into: &mut Vec<u8>) {
        into.extend_from_slice(self.texts.join(between).as_bytes());
    }
}

/// Whether a step writes, its key, and its value.
fn step(step: &Value) -> Option<(bool, u64, Option<u64>)> {
    let [name, key, value] = step.as_array().map(Vec::as_slice)? else {
        return None;
    };
    let (key, number) = (key.as_u64()?, value.as_u64());
    match name.as_str()? {
        "w" => Some((true, key, Some(number?))),
        "r" if value.is_null() || number.is_some() => Some((false, key, number)),
        _ => None,
    }
}

/// Steps of a transaction; of one that failed only its writes, since nobody got what it read.
fn steps(event: &Event, committed: bool) -> Result<Vec<(bool, u64, Option<u64>)>, Unsayable> {
    let all = event.value.as_array().into_iter().flatten();
    let steps: Option<Vec<_>> = all.map(step).collect();
    let mut steps = steps.map_or_else(|| unsayable(event, NO_NUMBER), Ok)?;
    steps.retain(|(write, ..)| committed || *write);
    Ok(steps)
}

fn awdit(events: &[Event], into: &mut Vec<u8>) -> Result<(), Unsayable> {
    let mut sessions = Sessions::default();
    for (event, committed) in transactions(events)? {
        let steps = steps(event, committed)?;
        if !committed && !steps.is_empty() {
            return unsayable(event, ABORTED);
        }
        let mut lines = String::new();
        for (write, key, value) in &steps {
            let Some(value) = value else {
                return unsayable(event, INITIAL);
            };
            let name = if *write { "w" } else { "r" };
            lines.push_str(&format!("{name} {key} {value}\n"));
        }
        if !steps.is_empty() {
            sessions.push(event.process, &format!("{lines}-----\n"));
        }
    }
    sessions.write("=====\n", into);
    Ok(())
}

fn plume(events: &[Event], into: &mut Vec<u8>) -> Result<(), Unsayable> {
    for (event, committed) in transactions(events)? {
        let zero = |(write, _, value): (bool, u64, Option<u64>)| write && value == Some(0);
        if steps(event, committed)?.into_iter().any(zero) {
            return unsayable(event, ZERO);
        }
        super::sessions::encode_plume(event, event.index, into);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::read_events;

    /// Text of a format as events, and events as text of another.
    fn converted(text: &str, from: Format, to: Format) -> Result<String, Unsayable> {
        let (events, _) = read_events(text.as_bytes(), from).expect("a history");
        let mut written = Vec::new();
        write(&events, to, &mut written)?;
        Ok(String::from_utf8(written).expect("text"))
    }

    #[test]
    fn each_format_comes_back_as_it_was() {
        let etcd = "INFO  jepsen.util - 0\t:invoke\t:read\tnil\n\
            INFO  jepsen.util - 1\t:invoke\t:write\t3\n\
            INFO  jepsen.util - 0\t:ok\t:read\tnil\n\
            INFO  jepsen.util - 1\t:info\t:write\t:timed-out\n\
            INFO  jepsen.util - 2\t:invoke\t:cas\t[1 0]\n\
            INFO  jepsen.util - 2\t:fail\t:cas\t[1 0]\n";
        let kv = "{:process 0, :type :invoke, :f :append, :key \"0\", :value \"x 0 0 y\"}\n\
            {:process 1, :type :invoke, :f :get, :key \"7\", :value nil}\n\
            {:process 1, :type :ok, :f :get, :key \"7\", :value \"\"}\n\
            {:process 0, :type :ok, :f :append, :key \"0\", :value \"x 0 0 y\"}\n";
        let awdit = "w 0 1\nr 1 2\n-----\nw 0 2\n-----\n=====\nw 1 2\n-----\n";
        for (format, text) in [
            (Format::PorcupineEtcd, etcd),
            (Format::PorcupineKv, kv),
            (Format::Awdit, awdit),
        ] {
            let ours = converted(text, format, Format::Ours).expect("sayable");
            let back = converted(&ours, Format::Ours, format).expect("sayable");
            assert_eq!(back, text, "{format:?}");
        }
        // Plume's numbers of transactions are ours: what is compared is the history.
        let plume = "w(0,1,0,7)\nr(0,0,1,8)\nw(0,2,1,-1)\n";
        let ours = converted(plume, Format::Plume, Format::Ours).expect("sayable");
        let back = converted(&ours, Format::Ours, Format::Plume).expect("sayable");
        assert_eq!(converted(&back, Format::Plume, Format::Ours), Ok(ours));
    }

    /// To Porcupine a compare-and-set that failed has seen another value.
    #[test]
    fn what_never_happened_is_not_in_a_log_of_etcd() {
        let text = "{:process 0, :type :invoke, :f :cas, :value [1 2]}\n\
            {:process 0, :type :fail, :f :cas, :value [1 2], :error :refused}\n\
            {:process 1, :type :invoke, :f :write, :value 5}\n\
            {:process 1, :type :fail, :f :write, :value 5}\n\
            {:process 2, :type :invoke, :f :write, :value 6}\n";
        let expected = "INFO  jepsen.util - 2\t:invoke\t:write\t6\n".to_owned();
        let written = converted(text, Format::Edn, Format::PorcupineEtcd);
        assert_eq!(written, Ok(expected));
    }

    /// Numbers become texts, `read` and `write` what a key-value store calls them; what nobody can have seen is left out.
    #[test]
    fn registers_by_key_are_a_key_value_store() {
        let text = "{:process 0, :type :invoke, :f :write, :value [1 5]}\n\
            {:process 0, :type :ok, :f :write, :value [1 5]}\n\
            {:process 1, :type :invoke, :f :read, :value [1 nil]}\n\
            {:process 1, :type :ok, :f :read, :value [1 nil]}\n\
            {:process 1, :type :invoke, :f :read, :value [1 nil]}\n\
            {:process 1, :type :info, :f :read, :value [1 nil]}\n\
            {:process 2, :type :invoke, :f :write, :value [1 6]}\n\
            {:process 2, :type :fail, :f :write, :value [1 6]}\n\
            {:process 3, :type :invoke, :f :read, :value [2 nil]}\n";
        let expected = "{:process 0, :type :invoke, :f :put, :key \"1\", :value \"5\"}\n\
            {:process 0, :type :ok, :f :put, :key \"1\", :value \"5\"}\n\
            {:process 1, :type :invoke, :f :get, :key \"1\", :value nil}\n\
            {:process 1, :type :ok, :f :get, :key \"1\", :value \"\"}\n";
        assert_eq!(
            converted(text, Format::Edn, Format::PorcupineKv),
            Ok(expected.to_owned())
        );
    }

    #[test]
    fn what_cannot_be_said_is_refused() {
        let two = |f: &str, asked: &str, kind: &str, told: &str| {
            format!(
                "{{:index 0, :process 0, :type :invoke, :f {f}, :value {asked}}}\n\
                 {{:index 1, :process 0, :type {kind}, :f {f}, :value {told}}}\n"
            )
        };
        use Format::{Awdit, Plume, PorcupineEtcd, PorcupineKv};
        for (to, f, asked, kind, told, index, detail) in [
            (
                PorcupineEtcd,
                ":write",
                "[1 2]",
                ":ok",
                "[1 2]",
                0,
                NO_REGISTER,
            ),
            (PorcupineEtcd, ":add", "1", ":ok", "1", 0, NO_REGISTER),
            (
                PorcupineEtcd,
                ":cas",
                "[nil 2]",
                ":ok",
                "[nil 2]",
                0,
                NO_REGISTER,
            ),
            (PorcupineEtcd, ":write", "-1", ":ok", "-1", 0, NO_REGISTER),
            (PorcupineKv, ":put", "[1 2]", ":info", "[1 2]", 1, UNKNOWN),
            (
                PorcupineKv,
                ":put",
                "[1 [2]]",
                ":ok",
                "[1 [2]]",
                0,
                NO_KEY_VALUE,
            ),
            (
                PorcupineKv,
                ":put",
                "[1 \"a\\\"b\"]",
                ":ok",
                "[1 \"\"]",
                0,
                QUOTED,
            ),
            (
                PorcupineKv,
                ":cas",
                "[1 [2 3]]",
                ":ok",
                "[1 [2 3]]",
                0,
                NO_KEY_VALUE,
            ),
            (
                Awdit,
                ":txn",
                "[[:w 1 2]]",
                ":fail",
                "[[:w 1 2]]",
                1,
                ABORTED,
            ),
            (
                Awdit,
                ":txn",
                "[[:r 1 nil]]",
                ":ok",
                "[[:r 1 nil]]",
                1,
                INITIAL,
            ),
            (
                Awdit,
                ":txn",
                "[[:w 1 2]]",
                ":info",
                "[[:w 1 2]]",
                1,
                UNKNOWN,
            ),
            (Awdit, ":read", "nil", ":ok", "1", 1, NO_TRANSACTION),
            (
                Plume,
                ":txn",
                "[[:append 1 2]]",
                ":ok",
                "[[:append 1 2]]",
                1,
                NO_NUMBER,
            ),
            (Plume, ":txn", "[[:w 1 0]]", ":ok", "[[:w 1 0]]", 1, ZERO),
        ] {
            let text = two(f, asked, kind, told);
            let refused = Unsayable { index, detail };
            assert_eq!(converted(&text, Format::Edn, to), Err(refused), "{text}");
        }
        for (to, f) in [(PorcupineKv, ":put"), (Awdit, ":txn"), (Plume, ":txn")] {
            let text = format!("{{:index 0, :process 0, :type :invoke, :f {f}, :value [1 2]}}\n");
            let refused = Unsayable {
                index: 0,
                detail: NEVER_ENDED,
            };
            assert_eq!(converted(&text, Format::Edn, to), Err(refused));
        }
    }
}
