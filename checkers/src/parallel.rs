//! Work on ranges by several threads, for histories of millions of operations. What comes out does not depend on how many.

use std::ops::Range;

/// Pieces of work smaller than this are not worth a thread.
const WORTH_A_THREAD: u32 = 16_384;

/// What `work` makes of pieces of the range, in their order.
pub(crate) fn pieces<T: Send>(
    threads: usize,
    range: Range<u32>,
    work: impl Fn(Range<u32>) -> T + Sync,
) -> Vec<T> {
    let size = range.end.saturating_sub(range.start);
    let threads = u32::try_from(threads)
        .unwrap_or(u32::MAX)
        .min(size / WORTH_A_THREAD);
    if threads < 2 {
        return vec![work(range)];
    }
    let each = size.div_ceil(threads);
    let ranges = (0..threads).map(|number| {
        let start = range.start + number * each;
        start.min(range.end)..start.saturating_add(each).min(range.end)
    });
    let work = &work;
    std::thread::scope(|scope| {
        let handles: Vec<_> = ranges
            .map(|range| scope.spawn(move || work(range)))
            .collect();
        handles
            .into_iter()
            .map(|handle| match handle.join() {
                Ok(made) => made,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

/// What both make, by two threads if there are two.
pub(crate) fn both<A: Send, B>(
    threads: usize,
    beside: impl FnOnce() -> A + Send,
    here: impl FnOnce() -> B,
) -> (A, B) {
    if threads < 2 {
        return (beside(), here());
    }
    std::thread::scope(|scope| {
        let handle = scope.spawn(beside);
        let made = here();
        match handle.join() {
            Ok(other) => (other, made),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Has `work` write all of a slice, piece by piece; it is told where its piece begins.
pub(crate) fn fill<T: Send>(
    threads: usize,
    slice: &mut [T],
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    let threads = threads.min(slice.len() / WORTH_A_THREAD as usize);
    if threads < 2 {
        return work(0, slice);
    }
    let each = slice.len().div_ceil(threads);
    let work = &work;
    std::thread::scope(|scope| {
        for (number, piece) in slice.chunks_mut(each).enumerate() {
            scope.spawn(move || work(number * each, piece));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::{fill, pieces};

    #[test]
    fn nothing_is_left_out_and_nothing_done_twice() {
        for size in [0, 1, 16_384, 32_767, 32_768, 100_001] {
            for threads in [0, 1, 2, 3, 8] {
                let told: Vec<u32> =
                    pieces(threads, 5..5 + size, |range| range.collect::<Vec<_>>())
                        .into_iter()
                        .flatten()
                        .collect();
                assert!(told.into_iter().eq(5..5 + size), "{size} by {threads}");
            }
        }
        for threads in [0, 1, 2, 3, 8] {
            let mut slice = vec![0; 100_001];
            fill(threads, &mut slice, |first, piece| {
                for (place, value) in (first..).zip(piece) {
                    *value += place;
                }
            });
            assert!(slice.into_iter().eq(0..100_001), "{threads}");
        }
        let parts = pieces(3, 0..100_000, |range| range.len());
        assert_eq!(parts.len(), 3);
    }
}
