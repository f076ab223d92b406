//! Properties: what is encoded decodes to itself, however the bytes are cut; no bytes make the
//! decoder panic or allocate much; what decodes and encodes again decodes to the same.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test by panicking"
)]

use dqlite_wire::{
    ClusterFormat, Dialect, DumpedFile, Frame, FrameDecoder, Header, Request, Response, Role,
    RowsPart, Server, Value, Version,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn text() -> impl Strategy<Value = String> {
    "[^\0]{0,20}"
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        // Every double but those that are not numbers, which do not equal themselves.
        any::<f64>().prop_map(Value::Float),
        text().prop_map(Value::Text),
        vec(any::<u8>(), 0..40).prop_map(Value::Blob),
        Just(Value::Null),
        any::<i64>().prop_map(Value::UnixTime),
        text().prop_map(Value::Iso8601),
        any::<bool>().prop_map(Value::Boolean),
    ]
}

fn params() -> impl Strategy<Value = Vec<Value>> {
    prop_oneof![9 => vec(value(), 0..20), 1 => vec(value(), 250..300)]
}

fn role() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Voter), Just(Role::StandBy), Just(Role::Spare)]
}

fn format() -> impl Strategy<Value = ClusterFormat> {
    prop_oneof![
        Just(ClusterFormat::WithoutRoles),
        Just(ClusterFormat::WithRoles)
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let ids = (any::<u32>(), any::<u32>());
    let sql = || (any::<u64>(), text(), params());
    prop_oneof![
        Just(Request::Leader),
        any::<u64>().prop_map(|id| Request::Client { id }),
        (text(), any::<u64>(), text()).prop_map(|(name, flags, vfs)| Request::Open {
            name,
            flags,
            vfs
        }),
        (any::<u64>(), text(), any::<bool>()).prop_map(|(db, sql, with_tail)| Request::Prepare {
            db,
            sql,
            with_tail
        }),
        (ids, params()).prop_map(|((db, stmt), params)| Request::Exec { db, stmt, params }),
        (ids, params()).prop_map(|((db, stmt), params)| Request::Query { db, stmt, params }),
        ids.prop_map(|(db, stmt)| Request::Finalize { db, stmt }),
        sql().prop_map(|(db, sql, params)| Request::ExecSql { db, sql, params }),
        sql().prop_map(|(db, sql, params)| Request::QuerySql { db, sql, params }),
        any::<u64>().prop_map(|db| Request::Interrupt { db }),
        (any::<u64>(), text()).prop_map(|(id, address)| Request::Connect { id, address }),
        (any::<u64>(), text()).prop_map(|(id, address)| Request::Add { id, address }),
        (any::<u64>(), option::of(role())).prop_map(|(id, role)| Request::Assign { id, role }),
        any::<u64>().prop_map(|id| Request::Remove { id }),
        text().prop_map(|name| Request::Dump { name }),
        format().prop_map(|format| Request::Cluster { format }),
        any::<u64>().prop_map(|id| Request::Transfer { id }),
        Just(Request::Describe),
        any::<u64>().prop_map(|weight| Request::Weight { weight }),
    ]
}

fn rows() -> impl Strategy<Value = RowsPart> {
    (0_usize..20).prop_flat_map(|columns| {
        let most_rows = if columns == 0 { 0 } else { 5 };
        let rows = vec(vec(value(), columns), 0..=most_rows);
        (vec(text(), columns), rows, any::<bool>()).prop_map(|(columns, rows, more)| RowsPart {
            columns,
            rows,
            more,
        })
    })
}

fn file() -> impl Strategy<Value = DumpedFile> {
    (text(), vec(any::<[u8; 8]>(), 0..9)).prop_map(|(name, words)| DumpedFile {
        name,
        data: words.concat(),
    })
}

/// A response, and the dialect in which it can be read.
fn response() -> impl Strategy<Value = (Response, Dialect)> {
    let plain = prop_oneof![
        (any::<u64>(), text()).prop_map(|(code, message)| Response::Failure { code, message }),
        (any::<u64>(), text()).prop_map(|(id, address)| Response::Server { id, address }),
        any::<u64>().prop_map(|heartbeat_ms| Response::Welcome { heartbeat_ms }),
        any::<u32>().prop_map(|id| Response::Db { id }),
        (
            any::<u32>(),
            any::<u32>(),
            any::<u64>(),
            option::of(any::<u64>())
        )
            .prop_map(|(db, id, params, tail_offset)| Response::Stmt {
                db,
                id,
                params,
                tail_offset
            }),
        (any::<u64>(), any::<u64>()).prop_map(|(last_insert_id, rows_affected)| {
            Response::Result {
                last_insert_id,
                rows_affected,
            }
        }),
        rows().prop_map(Response::Rows),
        Just(Response::Empty),
        vec(file(), 0..4).prop_map(Response::Files),
        (any::<u64>(), any::<u64>()).prop_map(|(failure_domain, weight)| Response::Metadata {
            failure_domain,
            weight
        }),
    ];
    let servers = |format| {
        let with_roles = format == ClusterFormat::WithRoles;
        let dialect = Dialect {
            cluster: format,
            ..Dialect::default()
        };
        vec((any::<u64>(), text(), role()), 0..6).prop_map(move |servers| {
            let server = |(id, address, role)| Server {
                id,
                address,
                role: Some(role).filter(|_| with_roles),
            };
            (
                Response::Servers(servers.into_iter().map(server).collect()),
                dialect,
            )
        })
    };
    let legacy = Dialect {
        version: Version::Legacy,
        ..Dialect::default()
    };
    prop_oneof![
        8 => plain.prop_map(|response| (response, Dialect::default())),
        1 => format().prop_flat_map(servers),
        1 => text().prop_map(move |address| (Response::Server { id: 0, address }, legacy)),
    ]
}

/// Pushes the bytes in pieces of the given sizes, over and over, and draws out every message.
fn in_pieces(bytes: &[u8], sizes: &[usize]) -> Vec<Frame> {
    let mut decoder = FrameDecoder::new();
    let mut frames = Vec::new();
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().expect("there is a size")).min(rest.len());
        let (piece, after) = rest.split_at(size);
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame().expect("a message within the limit") {
            frames.push(frame);
        }
        rest = after;
    }
    assert_eq!(decoder.buffered_bytes(), 0, "all bytes belong to messages");
    frames
}

proptest! {
    #[test]
    fn requests_come_back(requests in vec(request(), 1..5), sizes in vec(1_usize..50, 1..5)) {
        let bytes: Vec<u8> =
            requests.iter().flat_map(|request| request.encode().unwrap()).collect();
        let frames = in_pieces(&bytes, &sizes);
        let decoded: Vec<_> = frames.iter().map(|frame| frame.request().unwrap()).collect();
        prop_assert_eq!(decoded, requests);
    }

    #[test]
    fn responses_come_back((response, dialect) in response(), size in 1_usize..50) {
        let bytes = response.encode(dialect.version).unwrap();
        let frames = in_pieces(&bytes, &[size]);
        prop_assert_eq!(frames.len(), 1);
        prop_assert_eq!(frames[0].response(dialect).unwrap(), response);
    }

    #[test]
    fn random_bodies_do_no_harm(kind in 0_u8..24, schema in 0_u8..3, body in vec(any::<u8>(), 0..400)) {
        harmless(kind, schema, &body);
    }

    /// Words as they occur in real messages get further than random bytes.
    #[test]
    fn likely_bodies_do_no_harm(kind in 0_u8..24, schema in 0_u8..2, words in vec(likely_word(), 0..60)) {
        harmless(kind, schema, &words.concat());
    }

    #[test]
    fn mutated_requests_do_no_harm(request in request(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        mutate(request.encode().unwrap(), at, byte);
    }

    #[test]
    fn mutated_responses_do_no_harm((response, dialect) in response(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        mutate(response.encode(dialect.version).unwrap(), at, byte);
    }

    #[test]
    fn truncated_messages_are_errors((response, dialect) in response(), words in 1_usize..4) {
        let mut bytes = response.encode(dialect.version).unwrap();
        let left = (bytes.len() - 8).saturating_sub(words * 8);
        bytes.truncate(8 + left);
        let header = Header::decode(*bytes.first_chunk().unwrap());
        let decoded = Response::decode(header, &bytes[8..], dialect);
        // A part of rows that lost its end can be nothing else than an error.
        if matches!(response, Response::Rows(_) | Response::Servers(_) | Response::Files(_)) {
            let empty = RowsPart::default();
            let whole = matches!(&decoded, Ok(Response::Rows(part)) if *part == empty);
            prop_assert!(decoded.is_err() || whole, "{:?}", decoded);
        }
    }

    #[test]
    fn random_streams_do_no_harm(bytes in vec(any::<u8>(), 0..2_000), limit in 8_u64..4_096) {
        let mut decoder = FrameDecoder::with_limit(limit);
        for piece in bytes.chunks(17) {
            decoder.push(piece);
            while let Ok(Some(frame)) = decoder.next_frame() {
                prop_assert!(frame.body.len() as u64 + 8 <= limit);
            }
            prop_assert!(decoder.buffered_bytes() as u64 <= limit + 17);
        }
    }
}

fn likely_word() -> impl Strategy<Value = [u8; 8]> {
    prop_oneof![
        any::<u64>().prop_map(u64::to_le_bytes),
        (0_u64..20).prop_map(u64::to_le_bytes),
        Just([0xff; 8]),
        Just([0xee; 8]),
        Just(*b"text\0\0\0\0"),
        Just(*b"nonulend"),
        vec(0_u8..12, 8).prop_map(|codes| {
            let mut word = [0; 8];
            word.copy_from_slice(&codes);
            word
        }),
    ]
}

fn mutate(mut bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
    let at = at.index(bytes.len());
    bytes[at] = byte;
    let header = Header::decode(*bytes.first_chunk().unwrap());
    harmless(header.kind, header.schema, &bytes[8..]);
}

/// Bytes on the heap that a decoded message may hold for each byte of its body: a value is 32 bytes
/// in memory and 8 on the wire, a row has a vector of its own, and a vector that grows doubles.
const HEAP_BYTES_A_BYTE: usize = 16;

/// What it may hold besides: the least capacities of vectors.
const HEAP_BYTES_BESIDES: usize = 1_024;

fn values_heap_bytes(values: &Vec<Value>) -> usize {
    let inner = values.iter().map(|value| match value {
        Value::Text(text) | Value::Iso8601(text) => text.capacity(),
        Value::Blob(blob) => blob.capacity(),
        _ => 0,
    });
    values.capacity() * size_of::<Value>() + inner.sum::<usize>()
}

fn response_heap_bytes(response: &Response) -> usize {
    match response {
        Response::Rows(RowsPart { columns, rows, .. }) => {
            columns.capacity() * size_of::<String>()
                + columns.iter().map(String::capacity).sum::<usize>()
                + rows.capacity() * size_of::<Vec<Value>>()
                + rows.iter().map(values_heap_bytes).sum::<usize>()
        }
        Response::Servers(servers) => {
            servers.capacity() * size_of::<Server>()
                + servers
                    .iter()
                    .map(|server| server.address.capacity())
                    .sum::<usize>()
        }
        Response::Files(files) => {
            let inner = files
                .iter()
                .map(|file| file.name.capacity() + file.data.capacity());
            files.capacity() * size_of::<DumpedFile>() + inner.sum::<usize>()
        }
        _ => 0,
    }
}

fn request_heap_bytes(request: &Request) -> usize {
    match request {
        Request::Exec { params, .. }
        | Request::Query { params, .. }
        | Request::ExecSql { params, .. }
        | Request::QuerySql { params, .. } => values_heap_bytes(params),
        _ => 0,
    }
}

/// Decodes a body in every way there is. What decodes must come back when it is encoded.
fn harmless(kind: u8, schema: u8, body: &[u8]) {
    let header = Header {
        words: (body.len() / 8) as u32,
        kind,
        schema,
    };
    let allowed = body.len() * HEAP_BYTES_A_BYTE + HEAP_BYTES_BESIDES;
    if let Ok(request) = Request::decode(header, body) {
        let held = request_heap_bytes(&request);
        assert!(
            held <= allowed,
            "a request of {} bytes holds {held}",
            body.len()
        );
        let bytes = request.encode().unwrap();
        let again = Request::decode(Header::decode(*bytes.first_chunk().unwrap()), &bytes[8..]);
        // Not compared with ==: a float that is not a number does not equal itself.
        assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(request)));
    }
    for version in [Version::One, Version::Legacy] {
        for cluster in [ClusterFormat::WithRoles, ClusterFormat::WithoutRoles] {
            let dialect = Dialect { version, cluster };
            let Ok(response) = Response::decode(header, body, dialect) else {
                continue;
            };
            let held = response_heap_bytes(&response);
            assert!(
                held <= allowed,
                "a response of {} bytes holds {held}",
                body.len()
            );
            // Files come back only if they were aligned, which servers see to.
            let Ok(bytes) = response.encode(version) else {
                continue;
            };
            let again = Header::decode(*bytes.first_chunk().unwrap());
            let again = Response::decode(again, &bytes[8..], dialect);
            assert_eq!(format!("{again:?}"), format!("{:?}", Ok::<_, ()>(response)));
        }
    }
}
