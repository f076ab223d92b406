//! From the fields of a foreign operation to an [`Event`], filling in what the format leaves out.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use serde_json::{Number, Value};

use super::nameless::Nameless;
use crate::event::{Event, EventType, OpError, Process};

/// Names of processes that are told, at most.
const NAMES_TOLD: usize = 5;

/// The fields of one operation map, as found.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub index: Option<Value>,
    pub time: Option<Value>,
    pub process: Option<Value>,
    pub kind: Option<Value>,
    pub f: Option<Value>,
    pub key: Option<Value>,
    pub value: Value,
    pub error: Option<Value>,
    pub exception: Option<Value>,
    pub node: Option<Value>,
}

impl Fields {
    /// Where to put the field of that name; None for fields that judge nothing.
    pub fn slot(&mut self, name: &str) -> Option<&mut Option<Value>> {
        Some(match name {
            "index" => &mut self.index,
            "time" => &mut self.time,
            "process" => &mut self.process,
            "type" => &mut self.kind,
            "f" => &mut self.f,
            "key" => &mut self.key,
            "error" => &mut self.error,
            "exception" => &mut self.exception,
            "node" => &mut self.node,
            _ => return None,
        })
    }
}

/// What an event has besides what its line says.
pub(super) struct Stamp {
    pub index: u64,
    pub time_ns: u64,
}

/// Makes events in order.
#[derive(Default)]
pub(super) struct Assembler {
    pub events: Vec<Event>,
    count: u64,
    names: HashMap<String, Arc<str>>,
    without_time: u64,
    without_process: u64,
    nameless: Nameless,
    /// Processes that are neither numbers nor the nemesis, and how many events they have.
    others: BTreeSet<String>,
    of_others: u64,
    last_index: Option<u64>,
    renumbered: bool,
}

impl Assembler {
    /// Adds an operation map; the error is a fragment for people.
    pub fn push(&mut self, fields: Fields) -> Result<(), String> {
        let event = self.make(fields)?;
        self.events.push(event);
        Ok(())
    }

    /// Events that were made.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Index and time of the next event: those of its line, or what stands in for them.
    pub fn stamp(&mut self, index: Option<u64>, time_ns: Option<u64>) -> Stamp {
        let place = self.count;
        self.count += 1;
        let next = self.last_index.map_or(0, |last| last + 1);
        let index = match index {
            Some(index) if self.last_index.is_none_or(|last| last < index) => index,
            None => next,
            Some(_) => {
                self.renumbered = true;
                next
            }
        };
        self.last_index = Some(index);
        self.without_time += u64::from(time_ns.is_none());
        Stamp {
            index,
            time_ns: time_ns.unwrap_or(place),
        }
    }

    /// The event of an operation map; the error is a fragment for people.
    pub fn make(&mut self, fields: Fields) -> Result<Event, String> {
        let event_type = match fields.kind.as_ref().and_then(Value::as_str) {
            Some("invoke") => EventType::Invoke,
            Some("ok") => EventType::Ok,
            Some("fail") => EventType::Fail,
            Some("info") => EventType::Info,
            Some(other) => return Err(format!("{other:?} is no type of event")),
            None => return Err("an operation without :type".to_owned()),
        };
        let f = match fields.f {
            Some(Value::String(name)) => self.intern(name),
            // The paper's example of Elle has none: they are transactions.
            Some(Value::Null) | None => self.intern("txn".to_owned()),
            Some(other) => return Err(format!("{other} is no kind of operation")),
        };
        let value = match fields.key {
            Some(key) => Value::Array(vec![key, fields.value]),
            None => fields.value,
        };
        let process = match fields.process {
            Some(Value::Null) | None => self.stand_in(event_type, &f, &value)?,
            Some(process) => self.process(process)?,
        };
        let Stamp { index, time_ns } = self.stamp(
            fields.index.as_ref().and_then(Value::as_u64),
            fields.time.as_ref().and_then(time_ns),
        );
        let error = fields.error.or(fields.exception);
        let node = match fields.node {
            Some(Value::String(name)) => Some(self.intern(name)),
            _ => None,
        };
        Ok(Event {
            index,
            time_ns,
            process,
            node,
            event_type,
            f,
            value,
            error: error.filter(|error| !error.is_null()).map(op_error),
        })
    }

    /// What was filled in, for people.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.without_time > 0 {
            remarks.push(without_time(self.without_time, self.count));
        }
        if self.without_process > 0 {
            remarks.push(without_process(
                self.without_process,
                self.nameless.ambiguous(),
            ));
        }
        if self.of_others > 0 {
            remarks.push(of_others(self.of_others, &self.others));
        }
        if self.renumbered {
            remarks.push("indices do not increase: later ones were numbered again".to_owned());
        }
        remarks
    }

    fn intern(&mut self, name: String) -> Arc<str> {
        if let Some(known) = self.names.get(name.as_str()) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = Arc::from(name.as_str());
        self.names.insert(name, Arc::clone(&shared));
        shared
    }

    /// Who an event is of, by what its line says.
    fn process(&mut self, process: Value) -> Result<Process, String> {
        match process {
            Value::Number(number) => number_of_process(&number).ok_or_else(|| {
                format!("{number} is no process: a client has a whole number from 0 on, and -1 is the nemesis")
            }),
            Value::String(name) if name == "nemesis" => Ok(Process::Nemesis),
            Value::String(name) if like_a_number(&name) => Err(format!(
                "{name:?} is no process: a client has a whole number of 64 bits, not a text"
            )),
            // Jepsen's clients have numbers, and whatever else acts has a name.
            Value::String(name) => {
                self.of_others += 1;
                if self.others.len() <= NAMES_TOLD {
                    self.others.insert(name);
                }
                Ok(Process::Nemesis)
            }
            other => Err(format!("{other} is no process")),
        }
    }

    fn stand_in(
        &mut self,
        event_type: EventType,
        f: &Arc<str>,
        value: &Value,
    ) -> Result<Process, String> {
        self.without_process += 1;
        if event_type == EventType::Invoke {
            return Ok(Process::Client(self.nameless.invoke(f, value)));
        }
        self.nameless
            .complete(event_type, f, value)
            .map(Process::Client)
            .ok_or_else(|| format!("a completion of {f} without a process, and none is open"))
    }
}

/// Processes below this are exact in floating numbers, which some JSON writers make of all numbers.
const FLOAT_LIMIT: f64 = 9_007_199_254_740_992.0;

fn number_of_process(number: &Number) -> Option<Process> {
    if let Some(number) = number.as_u64() {
        return Some(Process::Client(number));
    }
    let float = number.as_f64()?;
    // Jepsen once numbered the nemesis −1.
    if float == -1.0 {
        return Some(Process::Nemesis);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number from 0 to 2^53"
    )]
    (float.fract() == 0.0 && (0.0..FLOAT_LIMIT).contains(&float))
        .then_some(Process::Client(float as u64))
}

fn like_a_number(name: &str) -> bool {
    let digits = name.strip_prefix(['-', '+']).unwrap_or(name);
    digits.starts_with(|first: char| first.is_ascii_digit())
}

/// The remark that some events have no process.
fn without_process(without: u64, ambiguous: u64) -> String {
    let remark = format!(
        "{without} events have no process: each invocation got one of its own, and a completion ends an open one of its kind that its value fits"
    );
    if ambiguous == 0 {
        return remark;
    }
    format!(
        "{remark}; {ambiguous} completions fit several that differ or that may have got other answers, and end one of these: the oldest of those that ask the same, else the youngest. A violation may come of that; give events their :process"
    )
}

/// The remark that some events are of processes with names.
fn of_others(events: u64, names: &BTreeSet<String>) -> String {
    let told: Vec<&str> = names.iter().take(NAMES_TOLD).map(String::as_str).collect();
    let more = if names.len() > NAMES_TOLD {
        " and others"
    } else {
        ""
    };
    format!(
        "{events} events are of {}{more}: a client's process is a number, so they are taken for the nemesis' and judge nothing",
        told.join(", ")
    )
}

/// The remark that some events have no time.
pub(crate) fn without_time(without: u64, of: u64) -> String {
    format!("{without} of {of} events have no time: their place in the file stands for nanoseconds")
}

/// Jepsen's times are integers; some JSON writers made floating numbers of them.
fn time_ns(value: &Value) -> Option<u64> {
    if let Some(time) = value.as_i64() {
        return Some(u64::try_from(time).unwrap_or(0));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds of a run, below 2^53"
    )]
    value.as_f64().map(|time| time.max(0.0) as u64)
}

/// `:timed-out`, `[:not-found "no such key"]`, or anything.
pub(crate) fn op_error(error: Value) -> OpError {
    match error {
        Value::String(kind) => OpError {
            kind,
            message: String::new(),
        },
        Value::Array(items) => match items.as_slice() {
            [Value::String(kind), Value::String(message)] => OpError {
                kind: kind.clone(),
                message: message.clone(),
            },
            [Value::String(kind), rest @ ..] => OpError {
                kind: kind.clone(),
                message: Value::Array(rest.to_vec()).to_string(),
            },
            _ => OpError {
                kind: "other".to_owned(),
                message: Value::Array(items).to_string(),
            },
        },
        other => OpError {
            kind: "other".to_owned(),
            message: other.to_string(),
        },
    }
}
