//! Some operations of a large history, whole: for the story of what is wrong with them.

use super::{
    Reading,
    cursor::Piece,
    line::{Lines, NEMESIS, NO_INDEX, Raw},
};
use crate::{
    event::EventType,
    fast::FastMap,
    format::{self, Format},
    history::{self, History},
};

/// Reads these operations, by their number in [`super::Compact::rows`], as [`crate::format::read`] would: indices and
/// times are those of the whole history. `rows` must be sorted. None: the bytes are not those that were read before.
#[must_use]
pub fn select(
    bytes: &[u8],
    format: Format,
    reading: &Reading<'_>,
    rows: &[u32],
) -> Option<History> {
    let lines = Lines::new(bytes, format, reading)?;
    let mut wanted = rows.iter().copied().peekable();
    let mut open: FastMap<u64, bool> = FastMap::default();
    let mut text: Vec<u8> = Vec::new();
    if format == Format::Ours {
        text.extend_from_slice(history::encode_header().as_bytes());
    }
    // Index, place and whether there is a time, of each event chosen.
    let mut chosen: Vec<(u64, u64, bool)> = Vec::new();
    let (mut place, mut last_index, mut row) = (0_u64, None, 0_u32);
    let ignored = |f: Piece| {
        reading
            .ignore
            .iter()
            .any(|name| name.as_bytes() == f.of(bytes))
    };
    let mut each = |raw: Raw| {
        let index = match raw.index {
            NO_INDEX => last_index.map_or(0, |last: u64| last + 1),
            index => index,
        };
        last_index = Some(index);
        place += 1;
        if raw.process == NEMESIS {
            return Some(());
        }
        let take = if raw.kind == EventType::Invoke {
            let take = if ignored(raw.f) {
                false
            } else {
                row += 1;
                wanted.next_if_eq(&(row - 1)).is_some()
            };
            open.insert(raw.process, take);
            take
        } else {
            open.remove(&raw.process)?
        };
        if take {
            text.extend_from_slice(&bytes[raw.start..raw.end]);
            text.push(b'\n');
            chosen.push((index, place - 1, raw.has_time));
        }
        Some(())
    };
    let mut released = super::Released::new(reading);
    for number in 0..lines.piece_count(super::PIECE_BYTES) {
        let piece = lines.piece(number, super::PIECE_BYTES);
        lines.each(piece.clone(), &mut each)?;
        released.until(piece.end);
    }
    if chosen.is_empty() {
        return None;
    }
    let (mut events, _) = format::read_events(&text, format).ok()?;
    if events.len() != chosen.len() {
        return None;
    }
    for (event, (index, place, has_time)) in events.iter_mut().zip(chosen) {
        event.index = index;
        if !has_time {
            event.time_ns = place;
        }
    }
    history::pair(events).ok()
}
