//! The queue of frames to the controller, and the one thread that writes them.
//!
//! Laws:
//! - control frames overtake data, data frames keep their order, so that an `End` never
//!   overtakes what its stream sent, and a pong never waits behind a download;
//! - pushing never waits: data is bounded by the streams' credit, control by the number of streams.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use harness_core::frame::{self, Kind};
use serde::Serialize;

/// Bytes of data that are written in one go, about; a control frame waits for no more than that.
const WRITE_BATCH_BYTES: usize = 128 * 1024;

/// Frames that wait to be written.
#[derive(Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    ready: Condvar,
}

#[derive(Default)]
struct Queue {
    control: Vec<u8>,
    data: VecDeque<Vec<u8>>,
    closed: bool,
}

impl Outbox {
    /// Queues a frame that overtakes data.
    pub fn control(&self, stream: u32, kind: Kind, payload: &[u8]) {
        let mut queue = self.lock();
        if frame::encode(stream, kind, payload, &mut queue.control).is_err() {
            eprintln!("harness-agent: a {kind:?} frame is too long and was dropped");
        }
        self.ready.notify_one();
    }

    /// Queues a frame behind the data before it.
    pub fn data(&self, stream: u32, kind: Kind, payload: &[u8]) {
        let mut bytes = Vec::with_capacity(frame::HEAD_BYTES + payload.len());
        if frame::encode(stream, kind, payload, &mut bytes).is_err() {
            eprintln!("harness-agent: a {kind:?} frame is too long and was dropped");
        }
        self.lock().data.push_back(bytes);
        self.ready.notify_one();
    }

    /// Queues a frame with a JSON payload behind the data before it.
    pub fn message(&self, stream: u32, kind: Kind, message: &impl Serialize) {
        match serde_json::to_vec(message) {
            Ok(payload) => self.data(stream, kind, &payload),
            Err(error) => eprintln!("harness-agent: a {kind:?} message cannot be written: {error}"),
        }
    }

    /// Lets the writer end once everything is written.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    /// Writes frames until [`Outbox::close`].
    ///
    /// # Errors
    /// Those of `out`.
    pub fn run(&self, out: &mut impl Write) -> io::Result<()> {
        let mut batch = Vec::new();
        while self.next_batch(&mut batch) {
            out.write_all(&batch)?;
            out.flush()?;
        }
        Ok(())
    }

    fn next_batch(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        let mut queue = self.lock();
        while queue.control.is_empty() && queue.data.is_empty() {
            if queue.closed {
                return false;
            }
            queue = self
                .ready
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(batch, &mut queue.control);
        while batch.len() < WRITE_BATCH_BYTES {
            let Some(frame) = queue.data.pop_front() else {
                break;
            };
            batch.extend_from_slice(&frame);
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use harness_core::frame::{CHUNK_BYTES, Decoder};

    use super::*;

    fn next(outbox: &Outbox) -> Vec<(u32, Kind)> {
        let mut batch = Vec::new();
        assert!(outbox.next_batch(&mut batch));
        let mut decoder = Decoder::new();
        decoder.push(&batch);
        std::iter::from_fn(|| decoder.next_frame().unwrap())
            .map(|frame| (frame.stream, frame.kind))
            .collect()
    }

    #[test]
    fn control_frames_overtake_data_and_data_keeps_its_order() {
        let outbox = Outbox::default();
        let chunk = vec![0; CHUNK_BYTES];
        for stream in 1..=6 {
            outbox.data(stream, Kind::Data, &chunk);
        }
        outbox.control(0, Kind::Pong, &[]);
        outbox.control(3, Kind::Credit, &[0; 4]);
        let data = |stream| (stream, Kind::Data);
        let expected = [
            (0, Kind::Pong),
            (3, Kind::Credit),
            data(1),
            data(2),
            data(3),
            data(4),
        ];
        assert_eq!(next(&outbox), expected);
        // What came while a batch was written overtakes the rest.
        outbox.control(5, Kind::Opened, &[]);
        outbox.data(6, Kind::Eof, &[]);
        let expected = [(5, Kind::Opened), data(5), data(6), (6, Kind::Eof)];
        assert_eq!(next(&outbox), expected);
    }
}
