//! Completions without a process, and the open invocations that they may end.
//!
//! Laws:
//! - a completion ends an invocation of its kind that says the same; else one that asks for what it says: where that has null, anything
//!   may stand (`nil`, `[k nil]`, `[[:r k nil] [:append k 1]]`); else whichever is open;
//! - among invocations that say the same, `ok` ends the oldest, `fail` and `info` the youngest. So no operation that takes effect is
//!   given less time than it may have had, as long as what they say is also what they do: if an earlier end goes with a later beginning,
//!   the points in time that this allows are allowed crosswise too;
//! - among invocations that differ it ends the youngest;
//! - where another choice might change a verdict, it is counted: invocations that differ, or that ask and may have got other answers.
//!
//! ```text
//! write 1 ├──────────────┤ ok 1        the value tells
//!      write 2 ├────────────┤ ok 2
//!   read nil ├────────┤ ok 1           which of the two reads ended first? counted once
//!        read nil ├──────────┤ ok 2
//! ```

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use serde_json::Value;

use crate::event::EventType;

/// Invocations without a process that are still open.
#[derive(Default)]
pub(super) struct Nameless {
    next: u64,
    /// By kind of operation, by the text of the argument.
    open: HashMap<Arc<str>, HashMap<String, Group>>,
    ambiguous: u64,
}

/// Invocations that say the same, the oldest first.
struct Group {
    value: Value,
    processes: VecDeque<u64>,
}

impl Nameless {
    /// Completions that may have ended another invocation.
    pub fn ambiguous(&self) -> u64 {
        self.ambiguous
    }

    /// A process for an invocation.
    pub fn invoke(&mut self, f: &Arc<str>, value: &Value) -> u64 {
        let process = self.next;
        self.next += 1;
        let open = self.open.entry(Arc::clone(f)).or_default();
        let group = open.entry(value.to_string()).or_insert_with(|| Group {
            value: value.clone(),
            processes: VecDeque::new(),
        });
        group.processes.push_back(process);
        process
    }

    /// The process of the invocation that a completion ends; None if none is open.
    pub fn complete(&mut self, event_type: EventType, f: &str, value: &Value) -> Option<u64> {
        let open = self.open.get_mut(f)?;
        let (text, counted) = choose(open, value)?;
        self.ambiguous += u64::from(counted);
        let group = open.get_mut(&text)?;
        let process = match event_type {
            EventType::Ok => group.processes.pop_front(),
            _ => group.processes.pop_back(),
        };
        if group.processes.is_empty() {
            open.remove(&text);
        }
        process
    }
}

/// The group that a completion belongs to, and whether that or its place in the group is uncertain.
fn choose(open: &HashMap<String, Group>, value: &Value) -> Option<(String, bool)> {
    let uncertain = |group: &Group| group.processes.len() > 1 && asks(&group.value);
    let same = value.to_string();
    if let Some(group) = open.get(&same) {
        return Some((same, uncertain(group)));
    }
    let youngest = |fits: &dyn Fn(&Group) -> bool| {
        let mut fitting = open.iter().filter(|(_, group)| fits(group));
        let first = fitting.next()?;
        let mut chosen = first;
        let mut many = false;
        for other in fitting {
            many = true;
            if other.1.processes.back() > chosen.1.processes.back() {
                chosen = other;
            }
        }
        Some((chosen.0.clone(), many || uncertain(chosen.1)))
    };
    youngest(&|group| answers(&group.value, value)).or_else(|| youngest(&|_| true))
}

/// Whether an argument leaves something to be answered.
fn asks(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(asks),
        _ => false,
    }
}

/// Whether a result is the argument with its nulls filled in.
fn answers(asked: &Value, told: &Value) -> bool {
    match (asked, told) {
        (Value::Null, _) => true,
        (Value::Array(asked), Value::Array(told)) => {
            asked.len() == told.len()
                && asked
                    .iter()
                    .zip(told)
                    .all(|(one, other)| answers(one, other))
        }
        _ => asked == told,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Invokes these values in order, then ends by those; which were ended, and how many of these were uncertain.
    fn ended(asked: &[Value], told: &[(EventType, Value)]) -> (Vec<Option<u64>>, u64) {
        let mut nameless = Nameless::default();
        let f: Arc<str> = Arc::from("f");
        for value in asked {
            nameless.invoke(&f, value);
        }
        let ended = told
            .iter()
            .map(|(kind, value)| nameless.complete(*kind, "f", value))
            .collect();
        (ended, nameless.ambiguous())
    }

    #[test]
    fn values_tell_what_is_ended() {
        use EventType::{Fail, Info, Ok};
        let txn = |key: u32, read: Value| json!([["append", 1, 2], ["r", key, read]]);
        let table = [
            // Writes: by value; the same twice ends in order, and what failed gives way.
            (
                vec![json!(1), json!(2)],
                vec![(Ok, json!(1)), (Ok, json!(2))],
                vec![0, 1],
                0,
            ),
            (
                vec![json!(1), json!(1)],
                vec![(Ok, json!(1)), (Ok, json!(1))],
                vec![0, 1],
                0,
            ),
            (
                vec![json!(1), json!(1)],
                vec![(Fail, json!(1)), (Ok, json!(1))],
                vec![1, 0],
                0,
            ),
            (
                vec![json!(1), json!(1)],
                vec![(Info, json!(1)), (Ok, json!(1))],
                vec![1, 0],
                0,
            ),
            // Reads that overlap: the second has no choice left.
            (
                vec![json!(null), json!(null)],
                vec![(Ok, json!(5)), (Ok, json!(4))],
                vec![0, 1],
                1,
            ),
            (
                vec![json!(null), json!(null)],
                vec![(Ok, json!(null)), (Ok, json!(4))],
                vec![0, 1],
                1,
            ),
            // Keys and steps tell too.
            (
                vec![json!([7, null]), json!([8, null])],
                vec![(Ok, json!([7, 1])), (Ok, json!([8, 1]))],
                vec![0, 1],
                0,
            ),
            (
                vec![txn(1, json!(null)), txn(2, json!(null))],
                vec![(Ok, txn(1, json!([2])))],
                vec![0],
                0,
            ),
            // What fits none, or says nothing, ends the youngest.
            (
                vec![json!(1), json!(2)],
                vec![(Fail, json!(null))],
                vec![1],
                1,
            ),
            (
                vec![json!(1), json!(2)],
                vec![(Ok, json!(3)), (Ok, json!(3))],
                vec![1, 0],
                1,
            ),
            // Two questions that differ and have the same answer.
            (
                vec![json!([null, 1]), json!([1, null])],
                vec![(Ok, json!([1, 1]))],
                vec![1],
                1,
            ),
        ];
        for (asked, told, expected, uncertain) in table {
            let expected = expected.into_iter().map(Some).collect();
            assert_eq!(
                ended(&asked, &told),
                (expected, uncertain),
                "{asked:?} {told:?}"
            );
        }
        assert_eq!(ended(&[], &[(Ok, json!(1))]), (vec![None], 0));
    }
}
