//! From the events of a file to a history: where they do not pair up, and what is made of completions alone.
//!
//! Laws:
//! - an error of pairing has line and column, if the text has events; they are looked for only then;
//! - where no client's event begins an operation, each is one that begins and ends at its place. That there is nothing concurrent
//!   then is said: an order in time that never was may follow.

use super::{
    Format, FormatError,
    edn::Reader,
    jepsen::{Around, each_object, object, operation},
    porcupine,
};
use crate::{
    event::{Event, EventType, Process},
    history::{self, History},
};

/// Pairs up the events of a text.
pub(super) fn pair(
    bytes: &[u8],
    format: Format,
    (events, mut remarks): (Vec<Event>, Vec<String>),
) -> Result<History, FormatError> {
    let events = match answers_alone(&events) {
        true => with_invocations(events, &mut remarks),
        false => events,
    };
    let mut taken = 0;
    let taking = events.into_iter().inspect(|_| taken += 1);
    let mut history = history::pair(taking).map_err(|error| {
        // With invocations that were added there is no error: all others stand in the text.
        match offset(bytes, format, taken - 1) {
            Some(offset) => FormatError::at(bytes, offset, error.to_string()),
            None => error.into(),
        }
    })?;
    history.remarks = remarks;
    Ok(history)
}

/// Whether clients' operations end but none begins.
fn answers_alone(events: &[Event]) -> bool {
    let mut ends = events
        .iter()
        .filter(|event| event.process != Process::Nemesis)
        .map(|event| event.event_type != EventType::Invoke)
        .peekable();
    ends.peek().is_some() && ends.all(|end| end)
}

/// Each client's event behind an invocation that says the same.
fn with_invocations(events: Vec<Event>, remarks: &mut Vec<String>) -> Vec<Event> {
    remarks.push(format!(
        "none of {} events begins an operation: each is taken to begin and end at its place, with new indices. Nothing is concurrent then, so a violation of the order in time may be none",
        events.len()
    ));
    let mut both = Vec::with_capacity(2 * events.len());
    for event in events {
        let invocation = Event {
            event_type: match event.process {
                Process::Nemesis => event.event_type,
                Process::Client(_) => EventType::Invoke,
            },
            error: None,
            ..event.clone()
        };
        let nemesis = event.process == Process::Nemesis;
        both.extend((!nemesis).then_some(invocation));
        both.push(event);
    }
    for (index, event) in (0..).zip(&mut both) {
        event.index = index;
    }
    both
}

/// Where an event begins, by its number in the file; None if the format has no events.
fn offset(bytes: &[u8], format: Format, number: usize) -> Option<usize> {
    match format {
        Format::Ours => of_lines(bytes, number),
        Format::Edn | Format::PorcupineKv => of_forms(bytes, number),
        Format::JepsenJson => of_objects(bytes, number),
        Format::PorcupineEtcd => porcupine::offset(bytes, number),
        Format::Awdit | Format::Plume | Format::Dbcop => None,
    }
}

fn of_lines(bytes: &[u8], number: usize) -> Option<usize> {
    let mut end = 0;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n').map(|line| {
        end += line.len();
        (end - line.trim_ascii_start().len(), line)
    });
    lines
        .skip(1)
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(start, _)| start)
        .nth(number)
}

fn of_forms(bytes: &[u8], number: usize) -> Option<usize> {
    let (mut reader, mut around) = (Reader::new(bytes), Around::default());
    for _ in 0..number {
        around.find(&mut reader).ok()?.then_some(())?;
        operation(&mut reader).ok()?;
    }
    around.find(&mut reader).ok()?.then(|| reader.offset())
}

fn of_objects(bytes: &[u8], number: usize) -> Option<usize> {
    let (mut left, mut found) = (number, None);
    // An end that is none stops the reading.
    let read = each_object(bytes, &mut |at| {
        if left == 0 {
            found = Some(at);
            return Ok(None);
        }
        left -= 1;
        Ok(object(bytes, at)?.map(|(_, end)| end))
    });
    read.ok().and(found)
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;

    #[test]
    fn events_that_do_not_pair_up_are_located() {
        let edn = "; first\n[{:type :info, :process :nemesis, :f :x}\n {:type :invoke, :process 0, :f :x}\n  {:type :ok, :process 1, :f :x}]";
        let json = "[{\"type\":\"invoke\",\"process\":0,\"f\":\"x\"},\n\n {\"type\":\"ok\",\"process\":1,\"f\":\"x\"}]";
        let line = |process: u32, kind: &str| {
            format!(
                "{{\"index\":0,\"time_ns\":0,\"process\":{process},\"type\":\"{kind}\",\"f\":\"x\"}}\n"
            )
        };
        let ours = format!(
            "{}{}\n {}",
            history::encode_header(),
            line(0, "invoke"),
            line(1, "ok")
        );
        let log = "other\nINFO  jepsen.util - 4\t:invoke\t:read\tnil\nmore\nINFO  jepsen.util - 5\t:ok\t:read\t1\n";
        for (text, format, place) in [
            (edn, Format::Edn, "line 4, column 3: event 2: process 1 "),
            (
                json,
                Format::JepsenJson,
                "line 3, column 2: event 1: process 1 ",
            ),
            (
                &*ours,
                Format::Ours,
                "line 4, column 2: event 0: process 1 ",
            ),
            (
                log,
                Format::PorcupineEtcd,
                "line 4, column 1: event 1: process 5 ",
            ),
        ] {
            for text in [text.to_owned(), format!("\u{feff}{text}")] {
                let error = read(text.as_bytes(), format).unwrap_err().to_string();
                assert!(error.starts_with(place), "{error}");
            }
        }
        let twice = "{:type :invoke, :process 0, :f :x}\n{:type :invoke, :process 0, :f :x}";
        let error = read(twice.as_bytes(), Format::Edn).unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 1: event 1: "), "{error}");
    }

    #[test]
    fn completions_alone_are_operations() {
        let text = "{:type :ok, :process 0, :f :write, :value 1, :index 5, :time 9}
            {:type :info, :process :nemesis, :f :kill}
            {:type :fail, :process 0, :f :read, :value nil, :error :busy}";
        let history = read(text.as_bytes(), Format::Edn).unwrap();
        let told: Vec<_> = history
            .operations
            .iter()
            .map(|one| {
                (
                    one.index,
                    one.invoked_ns,
                    one.completed_index,
                    one.outcome.as_str(),
                )
            })
            .collect();
        assert_eq!(told, [(0, 9, Some(1), "ok"), (3, 2, Some(4), "fail")]);
        assert_eq!(history.operations[0].input, history.operations[0].output);
        assert_eq!(history.nemesis.len(), 1);
        let said = |remark: &String| remark.contains("Nothing is concurrent");
        assert!(history.remarks.iter().any(said), "{:?}", history.remarks);
        // One invocation is enough: the others are missing then.
        let one = format!("{{:type :invoke, :process 7, :f :write, :value 1}}\n{text}");
        let error = read(one.as_bytes(), Format::Edn).unwrap_err().to_string();
        assert!(error.starts_with("line 2, column 1: "), "{error}");
    }
}
