//! Events: what the harness writes down while a run goes on.
//!
//! An **operation** is one `invoke` followed by exactly one of `ok`, `fail` or `info`:
//! - `ok`: it took effect;
//! - `fail`: it definitely did not, and never will. This needs proof;
//! - `info`: it may or may not have, now or later. A time-out, a lost connection and a killed
//!   command are always `info`; its process is retired and never issues another operation.
//!
//! Words and outcomes are Jepsen's, so that both worlds' checkers can judge both worlds' runs.
//!
//! A line of `history.jsonl`:
//!
//! ```json
//! {"index":0,"time_ns":1,"process":3,"node":"n1","type":"invoke","f":"txn","value":[["append",1,2],["r",1,null]]}
//! ```

use std::{fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

/// Which of the four kinds an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// An operation begins.
    Invoke,
    /// It took effect.
    Ok,
    /// It definitely did not take effect.
    Fail,
    /// It may or may not have taken effect.
    Info,
}

impl EventType {
    /// As written in histories.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "invoke",
            Self::Ok => "ok",
            Self::Fail => "fail",
            Self::Info => "info",
        }
    }
}

/// A logical single-threaded client, or the nemesis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Process {
    /// A client; a retired one's number is never used again.
    Client(u64),
    /// What injects faults. Its operations are always `info` and judge nothing.
    Nemesis,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => number.fmt(f),
            Self::Nemesis => f.write_str("nemesis"),
        }
    }
}

impl Serialize for Process {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Client(number) => serializer.serialize_u64(*number),
            Self::Nemesis => serializer.serialize_str("nemesis"),
        }
    }
}

impl<'de> Deserialize<'de> for Process {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Process;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a process number or \"nemesis\"")
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Process, E> {
                Ok(Process::Client(number))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Process, E> {
                u64::try_from(number)
                    .map(Process::Client)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(number), &self))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Process, E> {
                match text {
                    "nemesis" => Ok(Process::Nemesis),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Kind of the error of an operation that the system itself called failed, in words of its own: what it had done before is not told.
pub const ANSWERED_ERROR: &str = "answered-error";

/// Why an operation did not end `ok`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpError {
    /// A short stable word for tables, such as `not-leader`, `busy`, `timeout`, `connection-lost`.
    pub kind: String,
    /// What the system or the transport said.
    pub message: String,
}

/// One event. See the module's example line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Place in the history, from 0, without gaps in what we write.
    pub index: u64,
    /// Nanoseconds since the run began, on the controller's monotonic clock; never decreases with the index.
    pub time_ns: u64,
    /// Who did it.
    pub process: Process,
    /// The node that the process works on, if it is bound to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Arc<str>>,
    /// What kind of event.
    #[serde(rename = "type")]
    pub event_type: EventType,
    /// What kind of operation, such as `read` or `transfer`.
    pub f: Arc<str>,
    /// Arguments at the invocation, result at the completion. Workloads with keys write `[key, value]`.
    #[serde(default)]
    pub value: Value,
    /// Why it is not `ok`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<OpError>,
}
