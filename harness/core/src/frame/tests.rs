//! Tables and properties of the codec and the windows.

use proptest::prelude::*;

use super::{
    CHUNK_BYTES, Decoder, Frame, FrameError, HEAD_BYTES, Kind, MAGIC, MAX_PAYLOAD_BYTES,
    MagicFinder, encode,
    message::{End, ExecEnd, ExecRequest, Failure, Request, Target},
    window::{GRANT_BYTES, INITIAL_WINDOW_BYTES, ReceiveWindow, SendWindow, WindowError},
};

const KINDS: [Kind; 11] = [
    Kind::Hello,
    Kind::Open,
    Kind::Opened,
    Kind::Data,
    Kind::DataError,
    Kind::Credit,
    Kind::Eof,
    Kind::Cancel,
    Kind::End,
    Kind::Ping,
    Kind::Pong,
];

fn head(length: u32, stream: u32, kind: u8) -> Vec<u8> {
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend(stream.to_be_bytes());
    bytes.push(kind);
    bytes
}

fn any_frame() -> impl Strategy<Value = Frame> {
    (
        0..KINDS.len(),
        1..u32::MAX,
        proptest::collection::vec(any::<u8>(), 0..300),
    )
        .prop_map(|(kind, stream, mut payload)| {
            let kind = KINDS[kind];
            payload.truncate(kind.max_payload_bytes());
            let stream = if kind.is_connection() { 0 } else { stream };
            Frame {
                stream,
                kind,
                payload,
            }
        })
}

#[test]
fn the_documented_example_is_what_is_written() {
    let frame = Frame {
        stream: 7,
        kind: Kind::Data,
        payload: b"hello".to_vec(),
    };
    let expected = [0, 0, 0, 5, 0, 0, 0, 7, 3, 0x68, 0x65, 0x6c, 0x6c, 0x6f];
    assert_eq!(frame.encode().unwrap(), expected);
}

#[test]
fn kinds_and_numbers_are_one_to_one() {
    for number in 0..=u8::MAX {
        match Kind::from_number(number) {
            Some(kind) => assert_eq!(kind as u8, number),
            None => assert!(usize::from(number) >= KINDS.len()),
        }
    }
}

#[test]
fn hostile_heads_are_refused_before_their_payload_comes() {
    let too_long = u32::try_from(MAX_PAYLOAD_BYTES).unwrap() + 1;
    let table: [(Vec<u8>, FrameError); 7] = [
        (
            head(too_long, 1, 3),
            FrameError::TooLong {
                kind: Kind::Data,
                length_bytes: MAX_PAYLOAD_BYTES + 1,
                limit_bytes: MAX_PAYLOAD_BYTES,
            },
        ),
        (
            head(u32::MAX, 1, 8),
            FrameError::TooLong {
                kind: Kind::End,
                length_bytes: u32::MAX as usize,
                limit_bytes: MAX_PAYLOAD_BYTES,
            },
        ),
        (
            head(1, 1, 7),
            FrameError::TooLong {
                kind: Kind::Cancel,
                length_bytes: 1,
                limit_bytes: 0,
            },
        ),
        (head(0, 1, 11), FrameError::UnknownKind { number: 11 }),
        (head(0, 1, 255), FrameError::UnknownKind { number: 255 }),
        (
            head(0, 0, 3),
            FrameError::WrongStream {
                kind: Kind::Data,
                stream: 0,
            },
        ),
        (
            head(0, 5, 9),
            FrameError::WrongStream {
                kind: Kind::Ping,
                stream: 5,
            },
        ),
    ];
    for (bytes, error) in table {
        let mut decoder = Decoder::new();
        decoder.push(&bytes);
        assert_eq!(decoder.next_frame(), Err(error.clone()));
        // An error stays, whatever comes after it, and nothing more is kept.
        decoder.push(
            &Frame {
                stream: 1,
                kind: Kind::Eof,
                payload: vec![],
            }
            .encode()
            .unwrap(),
        );
        assert_eq!(decoder.next_frame(), Err(error));
        assert_eq!(decoder.pending_bytes(), 0);
    }
}

#[test]
fn an_error_says_where_it_is_and_shows_the_head() {
    let mut bytes = head(3, 1, 3);
    bytes.extend(*b"abc");
    bytes.extend(head(0x1f00_9a22, 0x0700_0001, 236));
    bytes.extend([0xff; 20]);
    let mut decoder = Decoder::new();
    decoder.push(&bytes);
    assert!(decoder.next_frame().unwrap().is_some());
    let error = decoder.next_frame().unwrap_err();
    assert_eq!(
        decoder.explain(&error),
        "a frame of unknown kind 236 (at byte 12, head 1f 00 9a 22 07 00 00 01 ec)"
    );
}

#[test]
fn a_payload_too_long_is_not_encoded() {
    let mut out = vec![1];
    assert!(encode(1, Kind::Data, &vec![0; MAX_PAYLOAD_BYTES + 1], &mut out).is_err());
    assert_eq!(out, [1]);
    assert!(encode(1, Kind::Data, &vec![0; MAX_PAYLOAD_BYTES], &mut out).is_ok());
}

#[test]
fn credit_frames_hold_exactly_a_number() {
    let frame = |payload: &[u8]| Frame {
        stream: 1,
        kind: Kind::Credit,
        payload: payload.to_vec(),
    };
    assert_eq!(frame(&[0, 0, 1, 0]).credit(), Ok(256));
    for payload in [&[][..], &[1, 2, 3]] {
        assert!(frame(payload).credit().is_err());
    }
}

#[test]
fn magic_is_found_behind_noise_and_only_there() {
    let mut finder = MagicFinder::new(64);
    assert_eq!(finder.push(b"Welcome to Debian\n\0HRN"), Ok(None));
    assert_eq!(finder.push(b"S/1\nrest"), Ok(Some(b"rest".to_vec())));

    let mut finder = MagicFinder::new(64);
    assert_eq!(finder.push(&[b'x'; 64]), Ok(None));
    assert_eq!(
        finder.push(b"y"),
        Err(FrameError::NoMagic { limit_bytes: 64 })
    );

    let mut finder = MagicFinder::new(8);
    let late = [&[b'x'; 9][..], &MAGIC].concat();
    assert!(finder.push(&late).is_err());
}

#[test]
fn windows_bound_what_is_under_way() {
    let mut send = SendWindow::default();
    assert_eq!(send.take(usize::MAX), INITIAL_WINDOW_BYTES as usize);
    assert_eq!(send.take(1), 0);
    assert_eq!(send.grant(INITIAL_WINDOW_BYTES), Ok(()));
    assert_eq!(
        send.grant(1),
        Err(WindowError::Overgrant { excess_bytes: 1 })
    );

    let mut receive = ReceiveWindow::default();
    assert_eq!(receive.receive(INITIAL_WINDOW_BYTES as usize), Ok(()));
    assert_eq!(
        receive.receive(1),
        Err(WindowError::Overrun { excess_bytes: 1 })
    );
    assert_eq!(receive.consume(GRANT_BYTES as usize - 1), None);
    assert_eq!(receive.consume(1), Some(GRANT_BYTES));
    assert_eq!(receive.receive(GRANT_BYTES as usize), Ok(()));
    assert!(receive.receive(1).is_err());
}

#[test]
fn messages_look_as_documented() {
    let open = Request::Exec(ExecRequest {
        argv: vec!["uname".into(), "-r".into()],
        env: vec![],
        stdin: false,
        timeout_ms: 30_000,
        output_limit_bytes: 4_194_304,
    });
    assert_eq!(
        serde_json::to_string(&open).unwrap(),
        r#"{"exec":{"argv":["uname","-r"],"env":[],"stdin":false,"timeout_ms":30000,"output_limit_bytes":4194304}}"#
    );
    let failed = End::Failed(Failure {
        errno: Some(2),
        message: "No such file or directory (os error 2)".into(),
    });
    assert_eq!(
        serde_json::to_string(&failed).unwrap(),
        r#"{"failed":{"errno":2,"message":"No such file or directory (os error 2)"}}"#
    );
    let end = r#"{"exec":{"ending":{"code":0},"stdout_dropped_bytes":0,"stderr_dropped_bytes":0,"duration_ns":1204311,"left_over":0,"later":1}}"#;
    let end: End = serde_json::from_str(end).unwrap();
    assert!(matches!(
        end,
        End::Exec(ExecEnd {
            duration_ns: 1_204_311,
            ..
        })
    ));
    let connect = Request::Connect {
        target: Target::Abstract("dqlite".into()),
        timeout_ms: 5,
    };
    let text = serde_json::to_string(&connect).unwrap();
    assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), connect);
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_however_it_is_cut(
        frames in proptest::collection::vec(any_frame(), 0..12),
        cuts in proptest::collection::vec(1_usize..40, 1..50),
    ) {
        let mut bytes = Vec::new();
        for frame in &frames {
            encode(frame.stream, frame.kind, &frame.payload, &mut bytes).unwrap();
        }
        let mut decoder = Decoder::new();
        let mut decoded = Vec::new();
        let mut rest = bytes.as_slice();
        let mut cuts = cuts.iter().cycle();
        while !rest.is_empty() {
            let cut = rest.len().min(*cuts.next().unwrap());
            decoder.push(&rest[..cut]);
            rest = &rest[cut..];
            while let Some(frame) = decoder.next_frame().unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, frames);
        prop_assert_eq!(decoder.pending_bytes(), 0);
    }

    #[test]
    fn any_bytes_are_survived_and_bounded(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..20),
    ) {
        let mut decoder = Decoder::new();
        for piece in &pieces {
            decoder.push(piece);
            while let Ok(Some(frame)) = decoder.next_frame() {
                prop_assert!(frame.payload.len() <= frame.kind.max_payload_bytes());
            }
            prop_assert!(decoder.pending_bytes() < HEAD_BYTES + MAX_PAYLOAD_BYTES);
        }
    }

    #[test]
    fn sender_and_receiver_agree_about_credit(
        steps in proptest::collection::vec((0_usize..3, 1_usize..3 * CHUNK_BYTES), 1..400),
    ) {
        let (mut send, mut receive) = (SendWindow::default(), ReceiveWindow::default());
        let (mut wire, mut held, mut credits) = (0_usize, 0_usize, 0_u32);
        for (step, bytes) in steps {
            match step {
                0 => wire += send.take(bytes),
                1 => {
                    let arrived = wire.min(bytes);
                    wire -= arrived;
                    held += arrived;
                    prop_assert_eq!(receive.receive(arrived), Ok(()));
                }
                _ => {
                    let taken = held.min(bytes);
                    held -= taken;
                    credits += receive.consume(taken).unwrap_or(0);
                    if bytes % 2 == 0 {
                        prop_assert_eq!(send.grant(std::mem::take(&mut credits)), Ok(()));
                    }
                }
            }
            prop_assert!(wire + held <= INITIAL_WINDOW_BYTES as usize);
        }
    }
}
