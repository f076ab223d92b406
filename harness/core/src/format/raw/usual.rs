//! Events of the usual shape, taken apart byte by byte.

use crate::{
    event::{EventType, Process},
    format::cursor::{Cursor, Syntax, value_end},
};

/// What the fields of an event are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    Ours,
    Jepsens,
}

/// What a line of the usual shape says.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub index: Option<u64>,
    pub time_ns: Option<u64>,
    pub process: Option<Process>,
    pub event_type: Option<EventType>,
    pub node: Option<&'a [u8]>,
    pub f: Option<&'a [u8]>,
    pub value: Option<(usize, usize)>,
}

fn event_type(name: &[u8]) -> Option<EventType> {
    Some(match name {
        b"invoke" => EventType::Invoke,
        b"ok" => EventType::Ok,
        b"fail" => EventType::Fail,
        b"info" => EventType::Info,
        _ => return None,
    })
}

/// A map of the usual shape, in our words or in Jepsen's; None for any other.
pub(super) fn usual<'a>(cursor: &mut Cursor<'a>, words: Words) -> Option<Fields<'a>> {
    let json = cursor.syntax() == Syntax::Json;
    let mut fields = Fields::default();
    let whole = |number: i64| u64::try_from(number).ok();
    cursor.eat(b'{')?;
    let mut first = true;
    while cursor.next_item(first, b'}')? {
        first = false;
        let name = cursor.name()?;
        if json {
            cursor.colon()?;
        } else {
            cursor.skip_space();
        }
        match (name, words) {
            (b"index", _) => fields.index = Some(whole(cursor.integer()?)?),
            (b"time_ns", Words::Ours) | (b"time", Words::Jepsens) => {
                fields.time_ns = Some(whole(cursor.integer()?)?);
            }
            (b"process", _) => {
                fields.process = Some(if cursor.peek()?.is_ascii_digit() {
                    Process::Client(whole(cursor.integer()?)?)
                } else {
                    (cursor.name()? == b"nemesis").then_some(Process::Nemesis)?
                });
            }
            (b"type", _) => fields.event_type = Some(event_type(cursor.name()?)?),
            (b"f", _) => fields.f = Some(cursor.name()?),
            (b"node", _) => fields.node = Some(cursor.name()?),
            // Of two the general reader takes the last one, after a look at both.
            (b"value", _) if fields.value.is_some() => return None,
            (b"value", _) => {
                let start = cursor.at();
                let end = value_end(cursor)?;
                fields.value = Some((start, end));
            }
            (b"error" | b"exception", Words::Jepsens) => drop(cursor.value()?),
            _ => return None,
        }
    }
    Some(fields)
}
