//! Who is a member, from recorded joins and removes: a pure fold over their events.
//!
//! Laws, the same as those of the membership checkers:
//! - the last ok operation says whether a node is in or out; a `fail` changes nothing;
//! - an `info` may take effect at any later time. So a member is **certain** only if no remove of it was ever
//!   indeterminate, also long after it joined again;
//! - whose last operation but for refused ones was `info` is **in doubt**.

use std::collections::{BTreeMap, HashMap};

use harness_core::{
    event::{Event, EventType, Process},
    membership::{ChangeKind, Purpose, change},
};
use serde_json::Value;

#[derive(Clone, Debug, Default)]
struct Entry {
    inside: bool,
    open: usize,
    /// A remove, or a join, that may still take effect.
    remove_pending: bool,
    join_pending: bool,
    last: Option<(ChangeKind, EventType)>,
    /// How the last one that the load did and that was not refused ended.
    last_of_load: Option<(ChangeKind, EventType)>,
}

/// Who is in, out and in doubt.
#[derive(Clone, Debug, Default)]
pub struct Roster {
    entries: BTreeMap<String, Entry>,
    open: HashMap<Process, (String, ChangeKind, Purpose)>,
}

impl Roster {
    /// These are members at first, nobody else is.
    pub fn new<'a>(initial: impl IntoIterator<Item = &'a str>) -> Self {
        let entry = |name: &str| {
            let entry = Entry {
                inside: true,
                ..Entry::default()
            };
            (name.to_owned(), entry)
        };
        Self {
            entries: initial.into_iter().map(entry).collect(),
            open: HashMap::new(),
        }
    }

    /// The same after these events.
    #[must_use]
    pub fn after<'a>(mut self, events: impl IntoIterator<Item = &'a Event>) -> Self {
        events.into_iter().for_each(|event| self.tell(event));
        self
    }

    fn tell(&mut self, event: &Event) {
        let Some((kind, purpose)) = change(&event.f) else {
            return;
        };
        if event.event_type == EventType::Invoke {
            let Some(member) = event.value.get("member").and_then(Value::as_str) else {
                return;
            };
            self.entries.entry(member.to_owned()).or_default().open += 1;
            self.open
                .insert(event.process, (member.to_owned(), kind, purpose));
            return;
        }
        let Some((member, kind, purpose)) = self.open.remove(&event.process) else {
            return;
        };
        let entry = self.entries.entry(member).or_default();
        entry.open = entry.open.saturating_sub(1);
        match event.event_type {
            EventType::Ok => entry.inside = kind == ChangeKind::Join,
            EventType::Info => match kind {
                ChangeKind::Join => entry.join_pending = true,
                ChangeKind::Remove => entry.remove_pending = true,
            },
            EventType::Fail | EventType::Invoke => {}
        }
        entry.last = Some((kind, event.event_type));
        // What was refused did nothing, so it settles nothing.
        if purpose == Purpose::Load && event.event_type != EventType::Fail {
            entry.last_of_load = Some((kind, event.event_type));
        }
    }

    fn named(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<&str> {
        self.entries
            .iter()
            .filter(|(_, entry)| wanted(entry))
            .map(|(name, _)| name.as_str())
            .collect()
    }

    /// Who is certainly a member, in order of name.
    #[must_use]
    pub fn certain(&self) -> Vec<&str> {
        self.named(|entry| entry.inside && entry.open == 0 && !entry.remove_pending)
    }

    /// Whose last operation of the load that was not refused was `info`.
    #[must_use]
    pub fn in_doubt(&self) -> Vec<&str> {
        self.named(|entry| {
            entry.open > 0
                || entry
                    .last_of_load
                    .is_some_and(|(_, end)| end == EventType::Info)
        })
    }

    /// Those of them whose last operation of that sort was a join that ended.
    #[must_use]
    pub fn joins_in_doubt(&self) -> Vec<&str> {
        self.named(|entry| {
            entry.open == 0 && entry.last_of_load == Some((ChangeKind::Join, EventType::Info))
        })
    }

    /// Whose last operation was a remove that was ok.
    #[must_use]
    pub fn removed(&self) -> Vec<&str> {
        self.named(|entry| {
            entry.open == 0 && entry.last == Some((ChangeKind::Remove, EventType::Ok))
        })
    }
}

#[cfg(test)]
mod tests {
    use EventType::{Fail, Info, Ok};
    use serde_json::json;

    use super::*;

    /// Operations one after the other: kind, member, how it ended; none if it never did.
    fn roster(initial: &[&str], operations: &[(&str, &str, Option<EventType>)]) -> Roster {
        let mut events = Vec::new();
        for (process, (f, member, end)) in operations.iter().enumerate() {
            let event = |event_type, value| Event {
                index: 0,
                time_ns: 0,
                process: Process::Client(process as u64),
                node: None,
                event_type,
                f: (*f).into(),
                value,
                error: None,
            };
            events.push(event(EventType::Invoke, json!({ "member": member })));
            events.extend(end.map(|end| event(end, Value::Null)));
        }
        Roster::new(initial.iter().copied()).after(&events)
    }

    #[test]
    fn who_is_in_out_and_in_doubt() {
        let none: &[&str] = &[];
        for (operations, certain, in_doubt, removed) in [
            (vec![], vec!["n1"], none, none),
            (vec![("join", "n4", Some(Ok))], vec!["n1", "n4"], none, none),
            (vec![("join", "n4", Some(Fail))], vec!["n1"], none, none),
            (
                vec![("join", "n4", Some(Info))],
                vec!["n1"],
                &["n4"][..],
                none,
            ),
            (vec![("join", "n4", None)], vec!["n1"], &["n4"], none),
            (vec![("remove", "n1", Some(Ok))], vec![], none, &["n1"]),
            (vec![("remove", "n1", Some(Fail))], vec!["n1"], none, none),
            (vec![("remove", "n1", Some(Info))], vec![], &["n1"], none),
            // The indeterminate remove may still come.
            (
                vec![("remove", "n1", Some(Info)), ("join", "n1", Some(Ok))],
                vec![],
                none,
                none,
            ),
            // A half joined node that nobody finds when it is to be removed.
            (
                vec![("join", "n4", Some(Info)), ("remove", "n4", Some(Fail))],
                vec!["n1"],
                &["n4"],
                none,
            ),
            // What was ok since takes the doubt away.
            (
                vec![
                    ("join", "n4", Some(Info)),
                    ("remove", "n4", Some(Ok)),
                    ("join", "n4", Some(Ok)),
                ],
                vec!["n1", "n4"],
                none,
                none,
            ),
            (
                vec![("join", "n4", Some(Info)), ("remove", "n4", Some(Ok))],
                vec!["n1"],
                none,
                &["n4"],
            ),
            // Probes do not take the doubt away: they are what it is for.
            (
                vec![("join", "n4", Some(Info)), ("retry-remove", "n4", Some(Ok))],
                vec!["n1"],
                &["n4"],
                &["n4"],
            ),
            (
                vec![
                    ("canary-join", "n5", Some(Ok)),
                    ("canary-remove", "n5", Some(Ok)),
                ],
                vec!["n1"],
                none,
                &["n5"],
            ),
            (vec![("add", "n4", Some(Ok))], vec!["n1"], none, none),
        ] {
            let roster = roster(&["n1"], &operations);
            assert_eq!(roster.certain(), certain, "{operations:?}");
            assert_eq!(roster.in_doubt(), in_doubt, "{operations:?}");
            assert_eq!(roster.removed(), removed, "{operations:?}");
        }
    }

    #[test]
    fn whose_join_is_in_doubt() {
        for (operations, joins) in [
            (vec![("join", "n4", Some(Info))], &["n4"][..]),
            // What was refused, and what probes did, settles nothing.
            (
                vec![
                    ("join", "n4", Some(Info)),
                    ("remove", "n4", Some(Fail)),
                    ("retry-unwiped", "n4", Some(Ok)),
                ],
                &["n4"],
            ),
            (
                vec![("join", "n4", Some(Ok)), ("remove", "n4", Some(Info))],
                &[],
            ),
            (vec![("join", "n4", None)], &[]),
            (vec![("join", "n4", Some(Ok))], &[]),
        ] {
            let roster = roster(&["n1"], &operations);
            assert_eq!(roster.joins_in_doubt(), joins, "{operations:?}");
        }
    }
}
