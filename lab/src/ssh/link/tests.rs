//! What a link hands to the actor, in which order, and what it takes from the agent.

use std::sync::Arc;

use harness_core::frame::{
    CHUNK_BYTES, Decoder, Frame, Kind,
    message::{Hello, Request},
};

use super::Link;

const BATCH_BYTES: usize = 2 * CHUNK_BYTES;

fn link() -> Arc<Link> {
    let hello = Hello {
        protocol: 1,
        version: String::new(),
        pid: 1,
        uid: 0,
        boot_id: String::new(),
        host: String::new(),
        release: String::new(),
        machine: String::new(),
        executable: String::new(),
    };
    Arc::new(Link::new(hello).unwrap())
}

fn next(link: &Link) -> Vec<(u32, Kind)> {
    let mut batch = Vec::new();
    link.take_batch(&mut batch, BATCH_BYTES);
    let mut decoder = Decoder::new();
    decoder.push(&batch);
    std::iter::from_fn(|| decoder.next_frame().unwrap())
        .map(|frame| (frame.stream, frame.kind))
        .collect()
}

#[tokio::test]
async fn control_frames_overtake_data_and_data_keeps_its_order() {
    let link = link();
    let first = link.open(&Request::Clock).await.unwrap();
    let second = link.open(&Request::Clock).await.unwrap();
    assert_eq!(next(&link), [(1, Kind::Open), (2, Kind::Open)]);
    assert!(first.send_all(&[7; 2 * CHUNK_BYTES]).await);
    assert!(second.send_all(&[7; CHUNK_BYTES]).await);
    first.eof();
    link.ping();
    drop(second);
    let data = |stream| (stream, Kind::Data);
    let expected = [(0, Kind::Ping), (2, Kind::Cancel), data(1), data(1)];
    assert_eq!(next(&link), expected);
    // What came while a batch was written overtakes the rest.
    let third = link.open(&Request::Clock).await.unwrap();
    let expected = [(3, Kind::Open), data(2), (1, Kind::Eof)];
    assert_eq!(next(&link), expected);
    assert_eq!(next(&link), []);
    drop((first, third));
}

#[test]
fn frames_that_no_agent_sends_break_the_protocol() {
    let link = link();
    let frame = |stream, kind| Frame {
        stream,
        kind,
        payload: vec![],
    };
    assert_eq!(link.deliver(frame(0, Kind::Pong)), Ok(()));
    for (stream, kind) in [(0, Kind::Hello), (0, Kind::Ping), (1, Kind::Data)] {
        assert!(link.deliver(frame(stream, kind)).is_err(), "{kind:?}");
    }
}
