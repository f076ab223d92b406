//! Large texts in pieces of whole lines, for threads that take them apart.
//!
//! A piece has the lines that begin within so many bytes. Laws:
//! - every line is in exactly one piece, and pieces follow one another in the order of the text;
//! - nobody but who asks for a piece looks at it, so that a mapped file comes into memory piece by piece, where it is read;
//! - asking for all pieces looks at each byte twice at most, however long lines are.

use std::{
    ops::Range,
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::sync_channel,
    },
};

/// Bytes that are taken apart at once: what they hold stays in the processor's cache, and is given back without asking the kernel.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that a thread may be ahead.
const PIECES_AHEAD: usize = 8;

/// How many pieces of so many bytes there are.
pub(crate) fn count(range: &Range<usize>, size: usize) -> usize {
    range.len().div_ceil(size)
}

/// A piece of the lines in this range, which begins with one. It is empty if no line begins there.
pub(crate) fn piece(
    bytes: &[u8],
    range: &Range<usize>,
    number: usize,
    size: usize,
) -> Range<usize> {
    let near = |number: usize| (range.start + number * size).min(range.end);
    let (low, high) = (near(number), near(number + 1));
    let line_end = |from: usize, to: usize| {
        let newline = bytes[from..to].iter().position(|byte| *byte == b'\n');
        newline.map(|place| from + place + 1)
    };
    let first = match number {
        0 => Some(low),
        _ if low == high => None,
        _ => line_end(low - 1, high - 1),
    };
    let Some(first) = first else { return low..low };
    let last = match high == range.end {
        true => high,
        false => line_end(high - 1, range.end).unwrap_or(range.end),
    };
    first..last
}

/// Threads take pieces apart in turn; `take` gets what they made in the order of the text, until it fails.
///
/// # Errors
/// Those of `take`.
pub(crate) fn in_turn<T: Send, E>(
    pieces: usize,
    threads: usize,
    make: impl Fn(usize) -> T + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let (stop, make) = (&AtomicBool::new(false), &make);
    std::thread::scope(|scope| {
        let receivers: Vec<_> = (0..threads)
            .map(|thread| {
                let (sender, receiver) = sync_channel(PIECES_AHEAD);
                scope.spawn(move || {
                    for number in (thread..pieces).step_by(threads) {
                        let gone =
                            stop.load(Ordering::Relaxed) || sender.send(make(number)).is_err();
                        if gone {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        let taken = (0..pieces).try_for_each(|number| {
            let made = receivers[number % threads].recv();
            // A thread that ended early panicked, which the scope passes on.
            made.map_or(Ok(()), &mut take)
        });
        stop.store(true, Ordering::Relaxed);
        drop(receivers);
        taken
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_made_comes_in_order_until_somebody_has_enough() {
        for threads in 1..5 {
            let mut taken = Vec::new();
            let all = in_turn(
                100,
                threads,
                |number| number,
                |number| {
                    taken.push(number);
                    Ok::<(), ()>(())
                },
            );
            assert_eq!(all, Ok(()));
            assert_eq!(taken, Vec::from_iter(0..100), "{threads} threads");
            let until = |number| if number < 40 { Ok(()) } else { Err(number) };
            assert_eq!(in_turn(100, threads, |number| number, until), Err(40));
        }
    }

    #[test]
    fn pieces_are_whole_lines_and_all_of_them() {
        let texts = [
            "a\nbb\nccc\ndddd\n\n\nq\n",
            "a long line and no more",
            "\n\n\n\n\n",
            "x\nno end",
            "short\na line over several pieces of any size here\nb\n",
            "",
        ];
        for text in texts {
            let bytes = text.as_bytes();
            for start in (0..=bytes.len()).filter(|at| *at == 0 || bytes[at - 1] == b'\n') {
                for size in 1..=bytes.len() + 1 {
                    let range = start..bytes.len();
                    let mut at = start;
                    for number in 0..count(&range, size) {
                        let piece = piece(bytes, &range, number, size);
                        let near = start + number * size;
                        if piece.is_empty() {
                            continue;
                        }
                        assert_eq!(piece.start, at, "{text:?} {start} {size} {number}");
                        assert!(piece.start >= near && piece.start < near + size);
                        let whole = piece.end == bytes.len() || bytes[piece.end - 1] == b'\n';
                        assert!(whole, "{text:?} {start} {size} {number}");
                        at = piece.end;
                    }
                    assert_eq!(at, bytes.len(), "{text:?} {start} {size}");
                }
            }
        }
    }
}
