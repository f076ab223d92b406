//! Lines taken apart ahead of the caller: threads take pieces of the file, the caller gets the events in their order.
//!
//! Laws:
//! - events, remarks and errors are those of [`each_event`], however many threads help;
//! - what `prepare` makes of the lines of a piece comes with their events. From the first piece that has a line of another shape than
//!   the usual one, one event to a line, the caller's thread reads on alone, and nothing comes with the events.

use std::ops::Range;

use super::{
    Assembler, Fields, Format, FormatError, Head, Names, Payload, Progress, Syntax, Text, Words,
    complete, each_event, edn, header_end, ours, stamped, text, usual,
};
use crate::{
    event::{EventType, Process},
    format::Cursor,
    pieces::{self, PIECE_BYTES},
};

/// Files smaller than this are not worth a thread.
const PARALLEL_FROM_BYTES: usize = 2 * PIECE_BYTES;
/// About what an event takes in a file.
const EVENT_BYTES: usize = 128;

/// A line of the usual shape.
pub struct Usual<'f, 'a> {
    fields: &'f Fields<'a>,
    event_type: EventType,
    text: Text<'a>,
}

impl<'a> Usual<'_, 'a> {
    /// As [`Head::event_type`].
    #[must_use]
    pub fn event_type(&self) -> EventType {
        self.event_type
    }

    /// Whether it is a client's event of this kind of operation.
    #[must_use]
    pub fn is_clients(&self, f: &str) -> bool {
        matches!(self.fields.process, Some(Process::Client(_)))
            && self.fields.f == Some(f.as_bytes())
    }

    /// Its value.
    #[must_use]
    pub fn text(&self) -> &Text<'a> {
        &self.text
    }
}

/// What is told of each event, with what was prepared of its piece: that of all lines of the piece, which come one after the other.
pub type EachAhead<'e, 'a, S> =
    dyn FnMut(Head, Payload<'a>, Option<&mut S>) -> Result<(), FormatError> + 'e;

/// A piece that was taken apart.
struct Made<'a, S> {
    range: Range<usize>,
    lines: Vec<(Fields<'a>, Text<'a>)>,
    /// None: some line is not of the usual shape.
    prepared: Option<S>,
}

enum Stop {
    /// The piece that begins here is not of usual lines.
    Unusual(usize),
    Failed(FormatError),
}

/// Reads events in order, as [`each_event`] does; so many threads help.
///
/// # Errors
/// If bytes are not of the format, or if `each` says so.
pub fn each_event_ahead<'a, S: Default + Send>(
    bytes: &'a [u8],
    format: Format,
    threads: usize,
    prepare: &(dyn Fn(&mut S, &Usual<'_, 'a>) + Sync),
    each: &mut EachAhead<'_, 'a, S>,
    consumed: &mut dyn FnMut(usize),
) -> Result<Vec<String>, FormatError> {
    let syntax = match format {
        Format::Ours => Syntax::Json,
        _ => Syntax::Edn,
    };
    let helped = matches!(format, Format::Ours | Format::Edn)
        && threads > 0
        && bytes.len() >= PARALLEL_FROM_BYTES;
    if !helped {
        return each_event(
            bytes,
            format,
            &mut |head, payload| each(head, payload, None),
            consumed,
        );
    }
    let range = match syntax {
        Syntax::Json => header_end(bytes)?..bytes.len(),
        Syntax::Edn => 0..bytes.len(),
    };
    let mut assembler = Assembler::default();
    let mut names = Names::default();
    let mut progress = Progress::new(consumed);
    let make = |number| {
        make(
            bytes,
            pieces::piece(bytes, &range, number, PIECE_BYTES),
            syntax,
            prepare,
        )
    };
    let take = |made: Made<'a, S>| {
        let Some(mut prepared) = made.prepared else {
            return Err(Stop::Unusual(made.range.start));
        };
        for (fields, text) in &made.lines {
            let head = match syntax {
                Syntax::Json => complete(fields, &mut names),
                Syntax::Edn => stamped(fields, &mut assembler, &mut names),
            };
            // Lines without all that a head needs are not usual.
            let Some(head) = head else { continue };
            each(head, Payload::Text(*text), Some(&mut prepared)).map_err(Stop::Failed)?;
        }
        progress.at(made.range.end);
        Ok(())
    };
    let pieces = pieces::count(&range, PIECE_BYTES);
    let from = match pieces::in_turn(pieces, threads, make, take) {
        Ok(()) => bytes.len(),
        Err(Stop::Unusual(start)) => start,
        Err(Stop::Failed(error)) => return Err(error),
    };
    let each = &mut |head, payload| each(head, payload, None);
    match syntax {
        Syntax::Json => ours(bytes, from, &mut names, each, &mut progress),
        Syntax::Edn => edn(
            bytes,
            from,
            (&mut assembler, &mut names),
            each,
            &mut progress,
        ),
    }
}

fn make<'a, S: Default>(
    bytes: &'a [u8],
    range: Range<usize>,
    syntax: Syntax,
    prepare: &(dyn Fn(&mut S, &Usual<'_, 'a>) + Sync),
) -> Made<'a, S> {
    let mut lines = Vec::with_capacity(range.len() / EVENT_BYTES);
    let mut prepared = S::default();
    let mut at = range.start;
    while at < range.end {
        let Some((fields, end)) = line(bytes, at, syntax) else {
            return Made {
                range,
                lines: Vec::new(),
                prepared: None,
            };
        };
        let (Some(text), Some(event_type)) = (text(bytes, &fields, syntax), fields.event_type)
        else {
            return Made {
                range,
                lines: Vec::new(),
                prepared: None,
            };
        };
        let usual = Usual {
            fields: &fields,
            event_type,
            text,
        };
        prepare(&mut prepared, &usual);
        lines.push((fields, text));
        at = end;
    }
    Made {
        range,
        lines,
        prepared: Some(prepared),
    }
}

/// The one event of the line that begins here, if that is of the usual shape, and where the next line begins.
fn line<'a>(bytes: &'a [u8], start: usize, syntax: Syntax) -> Option<(Fields<'a>, usize)> {
    let mut cursor = Cursor::new(bytes, start, syntax);
    let words = match syntax {
        Syntax::Json => Words::Ours,
        Syntax::Edn => Words::Jepsens,
    };
    let fields = usual(&mut cursor, words)?;
    let end = cursor.at();
    let stamps = syntax == Syntax::Edn || fields.index.is_some() && fields.time_ns.is_some();
    let full = fields.process.is_some()
        && fields.event_type.is_some()
        && fields.f.is_some()
        && fields.value.is_some();
    let ends = bytes.get(end).is_none_or(|byte| *byte == b'\n');
    (stamps && full && ends && !bytes[start..end].contains(&b'\n'))
        .then(|| (fields, (end + 1).min(bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history;

    const EDN: &str = "{:index 0, :process 3, :type :invoke, :f :txn, :value [[:append 1 2] [:r 1 nil]], :time 1}\n";
    const OURS: &str = "{\"index\":0,\"time_ns\":1,\"process\":3,\"node\":\"n1\",\"type\":\"invoke\",\"f\":\"txn\",\"value\":[[\"append\",1,2]]}\n";
    /// Lines of other shapes, and some that are none.
    const OTHERS: [&str; 10] = [
        "\n",
        "{:type :invoke, :f :txn, :value 5}\n",
        "{:process 1, :type :ok, :f :txn,\n :value 5}\n",
        "{:process 1, :type :ok, :f :txn, :value 5} {:process 1, :type :ok, :f :txn, :value 6}\n",
        "{:process 1, :type :ok, :f :txn, :value \"a\nb\"}\n",
        "]\n",
        "{\"time_ns\":5,\"index\":4,\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"a\\u0062c\",\"value\":-1.5e3}\n",
        "{\"index\":0,\"time_ns\":1,\"process\":3,\"type\":\"invoke\",\"f\":\"txn\"}\n",
        "{\"index\":0,\"time_ns\":1,\"process\":3,\"type\":\"invoke\",\"f\":\"txn\",\"value\":1} \n",
        "{\"index\":0,\"time_ns\":1,\"process\":3,\"type\":\"inv",
    ];

    type Told = (Vec<(Head, String)>, Result<Vec<String>, String>);

    /// All events with their values as text, and the remarks; what was prepared must be of the event that it comes with.
    fn told(bytes: &[u8], format: Format, threads: usize) -> (Told, usize) {
        let mut events = Vec::new();
        let mut ahead = 0;
        let remarks = each_event_ahead(
            bytes,
            format,
            threads,
            &|seen: &mut Vec<EventType>, usual| seen.push(usual.event_type()),
            &mut |head, payload, seen| {
                if let Some(seen) = seen {
                    assert_eq!(seen.remove(0), head.event_type);
                    ahead += 1;
                }
                let value = payload.value().map(|value| value.to_string());
                events.push((head, value.unwrap_or_default()));
                Ok(())
            },
            &mut |_| {},
        );
        ((events, remarks.map_err(|error| error.to_string())), ahead)
    }

    #[test]
    fn threads_tell_what_one_reader_tells() {
        let header = history::encode_header();
        for (format, head, line) in [(Format::Edn, "", EDN), (Format::Ours, &*header, OURS)] {
            let half = line.repeat(PARALLEL_FROM_BYTES / line.len() + 1);
            let whole = format!("{head}{half}{half}");
            let count = whole.lines().count() - head.lines().count();
            assert_eq!(told(whole.as_bytes(), format, 2).1, count);
            let mut texts = vec![whole.clone(), whole.trim_end().to_owned()];
            texts.extend(OTHERS.map(|other| format!("{head}{half}{other}{half}")));
            texts.extend(OTHERS.map(|other| format!("{head}{half}{half}{other}")));
            texts.push(format!("{half}{half}"));
            texts.push(format!("[{half}{half}]"));
            for text in texts {
                let alone = told(text.as_bytes(), format, 0).0;
                for threads in [1, 2, 5] {
                    let together = told(text.as_bytes(), format, threads).0;
                    let end = &text[text.len() - 200..];
                    assert!(together == alone, "{threads} threads: …{end}");
                }
            }
        }
    }
}
