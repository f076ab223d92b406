//! Messages byte for byte, both ways, and what malformed ones are called.
//!
//! The bytes are written out by hand from the protocol's description; those of `real_*` were taken
//! from a node of dqlite 1.11.1.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test by panicking"
)]

use dqlite_wire::wire::header::HEADER_BYTES;
use dqlite_wire::{
    ClusterFormat, DecodeError, Dialect, DumpedFile, EncodeError, Fault, FrameDecoder, Request,
    Response, Role, RowsPart, Server, Value, Version,
};

/// Bytes from hexadecimal digits; blanks and line ends do not count.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn decode_request(bytes: &[u8]) -> Result<Request, DecodeError> {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    decoder.next_frame()?.expect("a whole message").request()
}

fn decode_response(bytes: &[u8], dialect: Dialect) -> Result<Response, DecodeError> {
    let mut decoder = FrameDecoder::new();
    decoder.push(bytes);
    decoder
        .next_frame()?
        .expect("a whole message")
        .response(dialect)
}

#[track_caller]
fn request(request: Request, golden: &str) {
    let golden = hex(golden);
    assert_eq!(request.encode().unwrap(), golden);
    assert_eq!(decode_request(&golden).unwrap(), request);
}

#[track_caller]
fn response_in(dialect: Dialect, response: Response, golden: &str) {
    let golden = hex(golden);
    assert_eq!(response.encode(dialect.version).unwrap(), golden);
    assert_eq!(decode_response(&golden, dialect).unwrap(), response);
}

#[track_caller]
fn response(response: Response, golden: &str) {
    response_in(Dialect::default(), response, golden);
}

#[test]
fn handshakes() {
    assert_eq!(Version::One.encode().to_vec(), hex("0100000000000000"));
    assert_eq!(Version::Legacy.encode().to_vec(), hex("e53f4360d74d1086"));
    assert_eq!(Version::decode([1, 0, 0, 0, 0, 0, 0, 0]), Ok(Version::One));
    assert_eq!(Version::decode([2, 0, 0, 0, 0, 0, 0, 0]), Err(2));
}

#[test]
fn requests_of_one_word() {
    request(Request::Leader, "01000000 00 00 0000  0000000000000000");
    request(
        Request::Client { id: 0x0102 },
        "01000000 01 00 0000  0201000000000000",
    );
    request(
        Request::Finalize { db: 1, stmt: 2 },
        "01000000 07 00 0000  01000000 02000000",
    );
    request(
        Request::Interrupt { db: 0 },
        "01000000 0a 00 0000  0000000000000000",
    );
    request(
        Request::Assign { id: 3, role: None },
        "01000000 0d 00 0000  0300000000000000",
    );
    request(
        Request::Remove { id: 9 },
        "01000000 0e 00 0000  0900000000000000",
    );
    request(
        Request::Transfer { id: 4 },
        "01000000 11 00 0000  0400000000000000",
    );
    request(Request::Describe, "01000000 12 00 0000  0000000000000000");
    request(
        Request::Weight { weight: 7 },
        "01000000 13 00 0000  0700000000000000",
    );
    let with = ClusterFormat::WithRoles;
    request(
        Request::Cluster { format: with },
        "01000000 10 00 0000  0100000000000000",
    );
    let without = ClusterFormat::WithoutRoles;
    request(
        Request::Cluster { format: without },
        "01000000 10 00 0000  0000000000000000",
    );
}

#[test]
fn requests_with_texts() {
    let open = Request::Open {
        name: "demo".into(),
        flags: 6,
        vfs: "volatile".into(),
    };
    request(
        open,
        "04000000 03 00 0000  64656d6f00000000  0600000000000000  766f6c6174696c65 0000000000000000",
    );
    let prepare = Request::Prepare {
        db: 0,
        sql: "SELECT 1".into(),
        with_tail: false,
    };
    request(
        prepare,
        "03000000 04 00 0000  0000000000000000  53454c4543542031 0000000000000000",
    );
    let prepare = Request::Prepare {
        db: 0,
        sql: "COMMIT".into(),
        with_tail: true,
    };
    request(
        prepare,
        "02000000 04 01 0000  0000000000000000  434f4d4d49540000",
    );
    let add = Request::Add {
        id: 2,
        address: "1.2.3.4:5".into(),
    };
    request(
        add,
        "03000000 0c 00 0000  0200000000000000  312e322e332e343a 3500000000000000",
    );
    let connect = Request::Connect {
        id: 2,
        address: "a:1".into(),
    };
    request(
        connect,
        "02000000 0b 00 0000  0200000000000000  613a310000000000",
    );
    request(
        Request::Dump {
            name: "demo".into(),
        },
        "01000000 0f 00 0000  64656d6f00000000",
    );
    let assign = Request::Assign {
        id: 3,
        role: Some(Role::Spare),
    };
    request(
        assign,
        "02000000 0d 00 0000  0300000000000000  0200000000000000",
    );
}

#[test]
fn every_kind_of_parameter() {
    let params = vec![
        Value::Integer(-1),
        Value::Float(1.5),
        Value::Text("hi".into()),
        Value::Blob(vec![1, 2, 3]),
        Value::Null,
        Value::UnixTime(60),
        Value::Iso8601("2026".into()),
        Value::Boolean(true),
    ];
    request(
        Request::ExecSql {
            db: 0,
            sql: "X".into(),
            params,
        },
        "0d000000 08 00 0000  0000000000000000  5800000000000000
         08 01 02 03 04 05 09 0a  0b 00000000000000
         ffffffffffffffff  000000000000f83f  6869000000000000
         0300000000000000 0102030000000000  0000000000000000
         3c00000000000000  3230323600000000  0100000000000000",
    );
}

#[test]
fn parameters_up_to_the_word_and_none() {
    let params = vec![Value::Integer(1); 7];
    let one = "0100000000000000";
    let golden = format!(
        "09000000 05 00 0000  00000000 05000000  07 01010101010101 {}",
        one.repeat(7)
    );
    request(
        Request::Exec {
            db: 0,
            stmt: 5,
            params,
        },
        &golden,
    );
    request(
        Request::Query {
            db: 0,
            stmt: 5,
            params: vec![],
        },
        "01000000 06 00 0000  00000000 05000000",
    );
    let query = Request::QuerySql {
        db: 0,
        sql: "X".into(),
        params: vec![],
    };
    request(
        query,
        "02000000 09 00 0000  0000000000000000  5800000000000000",
    );
}

#[test]
fn more_than_255_parameters_take_schema_1() {
    let params = vec![Value::Null; 256];
    let exec = Request::Exec {
        db: 0,
        stmt: 0,
        params,
    };
    let bytes = exec.encode().unwrap();
    // One word of ids, a count of four bytes and 256 codes in 33 words, 256 values.
    assert_eq!(bytes[..8], hex("22010000 05 01 0000"));
    assert_eq!(bytes[16..24], hex("00010000 05050505"));
    assert_eq!(decode_request(&bytes).unwrap(), exec);
    let params = vec![Value::Null; 255];
    assert_eq!(
        Request::Exec {
            db: 0,
            stmt: 0,
            params
        }
        .schema(),
        0
    );
}

#[test]
fn an_empty_tuple_is_no_parameters() {
    let bytes = hex("02000000 05 00 0000  00000000 00000000  0000000000000000");
    let exec = Request::Exec {
        db: 0,
        stmt: 0,
        params: vec![],
    };
    assert_eq!(decode_request(&bytes).unwrap(), exec);
}

#[test]
fn small_responses() {
    response(
        Response::Failure {
            code: 10_250,
            message: "not leader".into(),
        },
        "03000000 00 00 0000  0a28000000000000  6e6f74206c656164 6572000000000000",
    );
    response(
        Response::Server {
            id: 1,
            address: "a:1".into(),
        },
        "02000000 01 00 0000  0100000000000000  613a310000000000",
    );
    response(
        Response::Server {
            id: 0,
            address: String::new(),
        },
        "02000000 01 00 0000  0000000000000000  0000000000000000",
    );
    let welcome = Response::Welcome {
        heartbeat_ms: 15_000,
    };
    response(welcome, "01000000 02 00 0000  983a000000000000");
    response(
        Response::Db { id: 0 },
        "01000000 04 00 0000  0000000000000000",
    );
    response(
        Response::Stmt {
            db: 0,
            id: 3,
            params: 2,
            tail_offset: None,
        },
        "02000000 05 00 0000  00000000 03000000  0200000000000000",
    );
    response(
        Response::Stmt {
            db: 0,
            id: 3,
            params: 2,
            tail_offset: Some(9),
        },
        "03000000 05 01 0000  00000000 03000000  0200000000000000  0900000000000000",
    );
    response(
        Response::Result {
            last_insert_id: 5,
            rows_affected: 1,
        },
        "02000000 06 00 0000  0500000000000000  0100000000000000",
    );
    response(Response::Empty, "01000000 08 00 0000  0000000000000000");
    response(
        Response::Metadata {
            failure_domain: 2,
            weight: 3,
        },
        "02000000 0a 00 0000  0200000000000000  0300000000000000",
    );
}

#[test]
fn a_server_of_the_old_protocol_has_no_id() {
    let dialect = Dialect {
        version: Version::Legacy,
        ..Dialect::default()
    };
    let server = Response::Server {
        id: 0,
        address: "a:1".into(),
    };
    response_in(dialect, server, "01000000 01 00 0000  613a310000000000");
}

#[test]
fn servers_with_and_without_roles() {
    let server = |id, role| Server {
        id,
        address: "a:1".into(),
        role,
    };
    response(
        Response::Servers(vec![
            server(1, Some(Role::Voter)),
            server(2, Some(Role::StandBy)),
        ]),
        "07000000 03 00 0000  0200000000000000
         0100000000000000 613a310000000000 0000000000000000
         0200000000000000 613a310000000000 0100000000000000",
    );
    let dialect = Dialect {
        cluster: ClusterFormat::WithoutRoles,
        ..Dialect::default()
    };
    response_in(
        dialect,
        Response::Servers(vec![server(1, None), server(2, None)]),
        "05000000 03 00 0000  0200000000000000
         0100000000000000 613a310000000000
         0200000000000000 613a310000000000",
    );
    let mixed = Response::Servers(vec![server(1, None), server(2, Some(Role::Spare))]);
    assert_eq!(mixed.encode(Version::One), Err(EncodeError::MixedRoles));
}

#[test]
fn rows() {
    response(
        Response::Rows(RowsPart {
            columns: vec!["n".into(), "name".into(), "z".into()],
            rows: vec![
                vec![Value::Integer(7), Value::Text("hi".into()), Value::Null],
                vec![Value::Null, Value::Blob(vec![9]), Value::Boolean(false)],
            ],
            more: true,
        }),
        "0e000000 07 00 0000  0300000000000000
         6e00000000000000 6e616d6500000000 7a00000000000000
         3105000000000000 0700000000000000 6869000000000000 0000000000000000
         450b000000000000 0000000000000000 0100000000000000 0900000000000000 0000000000000000
         eeeeeeeeeeeeeeee",
    );
    let columns = vec!["n".into()];
    response(
        Response::Rows(RowsPart {
            columns,
            rows: vec![],
            more: false,
        }),
        "03000000 07 00 0000  0100000000000000 6e00000000000000 ffffffffffffffff",
    );
    response(
        Response::Rows(RowsPart::default()),
        "02000000 07 00 0000  0000000000000000 ffffffffffffffff",
    );
    let marker_alone = hex("01000000 07 00 0000  ffffffffffffffff");
    let decoded = decode_response(&marker_alone, Dialect::default());
    assert_eq!(decoded, Ok(Response::Rows(RowsPart::default())));
}

#[test]
fn files_are_not_padded() {
    let file = |name: &str, data: &[u8]| DumpedFile {
        name: name.into(),
        data: data.into(),
    };
    response(
        Response::Files(vec![file("demo", &[7; 8]), file("demo-wal", &[])]),
        "07000000 09 00 0000  0200000000000000
         64656d6f00000000 0800000000000000 0707070707070707
         64656d6f2d77616c 0000000000000000 0000000000000000",
    );
    let odd = Response::Files(vec![file("demo", &[7; 9])]).encode(Version::One);
    assert_eq!(
        odd,
        Err(EncodeError::UnalignedFile {
            name: "demo".into(),
            bytes: 9
        })
    );
}

/// `SELECT abs(-9223372036854775807 - 1), 2` on 1.11.1: the failure stands behind the columns.
#[test]
fn real_failure_behind_columns() {
    let mut bytes = hex("0a000000 00 00 0000  0200000000000000");
    bytes.extend_from_slice(b"abs(-9223372036854775807 - 1)\0\0\x002\0\0\0\0\0\0\0");
    bytes.extend_from_slice(&hex("0100000000000000"));
    bytes.extend_from_slice(b"integer overflow\0\0\0\0\0\0\0\0");
    let failure = Response::Failure {
        code: 1,
        message: "integer overflow".into(),
    };
    assert_eq!(decode_response(&bytes, Dialect::default()), Ok(failure));
}

#[test]
fn failure_behind_rows() {
    let bytes = hex("08000000 00 00 0000  0100000000000000 7800000000000000
         0100000000000000 2a00000000000000
         0100000000000000 2b00000000000000
         0a00000000000000 6f6f707300000000");
    let failure = Response::Failure {
        code: 10,
        message: "oops".into(),
    };
    assert_eq!(decode_response(&bytes, Dialect::default()), Ok(failure));
}

#[test]
fn what_is_wrong_and_where() {
    let request = |text: &str| decode_request(&hex(text)).unwrap_err();
    let response = |text: &str| decode_response(&hex(text), Dialect::default()).unwrap_err();
    let table = [
        (
            request("01000000 02 00 0000 0000000000000000"),
            4,
            Fault::UnknownType { code: 2 },
        ),
        (
            request("01000000 00 01 0000 0000000000000000"),
            5,
            Fault::UnknownSchema { schema: 1 },
        ),
        (
            request("01000000 03 00 0000 6161616161616161"),
            HEADER_BYTES,
            Fault::Unterminated,
        ),
        (
            request("01000000 0f 00 0000 61ff000000000000"),
            9,
            Fault::NotUtf8,
        ),
        (
            request("02000000 0d 00 0000 0100000000000000 0300000000000000"),
            16,
            Fault::UnknownRole { code: 3 },
        ),
        (
            request("01000000 10 00 0000 0200000000000000"),
            8,
            Fault::UnknownFormat { code: 2 },
        ),
        (
            request("02000000 00 00 0000 0000000000000000 0000000000000000"),
            16,
            Fault::Trailing { bytes: 8 },
        ),
        (
            request("00000000 00 00 0000"),
            8,
            Fault::Truncated {
                wanted_bytes: 8,
                left_bytes: 0,
            },
        ),
        (
            request("03000000 05 00 0000 0000000000000000 0107000000000000 0000000000000000"),
            17,
            Fault::UnknownValueType { code: 7 },
        ),
        (
            request("02000000 05 00 0000 0000000000000000 ff01010101010101"),
            16,
            Fault::CountTooLarge {
                count: 255,
                most: 0,
            },
        ),
        (
            response("01000000 03 00 0000 ffffffffffffff7f"),
            8,
            Fault::CountTooLarge {
                count: 0x7fff_ffff_ffff_ffff,
                most: 0,
            },
        ),
        (
            response(
                "04000000 07 00 0000 0100000000000000 6e00000000000000 0400000000000000 ffffffffffffffff",
            ),
            40,
            Fault::Truncated {
                wanted_bytes: u64::MAX,
                left_bytes: 0,
            },
        ),
        (
            response("02000000 07 00 0000 0000000000000000 0100000000000000"),
            16,
            Fault::RowWithoutColumns,
        ),
        (
            response("01000000 0b 00 0000 0000000000000000"),
            4,
            Fault::UnknownType { code: 11 },
        ),
    ];
    for (error, offset, fault) in table {
        assert_eq!((error.offset, &error.fault), (offset, &fault), "{error}");
    }
}

#[test]
fn an_error_reads_as_a_fragment() {
    let error = decode_request(&hex("01000000 0f 00 0000 61ff000000000000")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a text that is not utf-8 at byte 9 of a dump message"
    );
}

#[test]
fn what_cannot_be_encoded() {
    let text = Request::Dump {
        name: "a\0b".into(),
    }
    .encode();
    assert_eq!(
        text,
        Err(EncodeError::InteriorNul {
            field: "the database's name",
            at: 1
        })
    );
    let params = vec![Value::Null; 40_000];
    let many = Request::Exec {
        db: 0,
        stmt: 0,
        params,
    }
    .encode();
    assert_eq!(
        many,
        Err(EncodeError::TooManyParams {
            count: 40_000,
            most: 32_766
        })
    );
    let part = RowsPart {
        columns: vec!["a".into()],
        rows: vec![vec![]],
        more: false,
    };
    let ragged = Response::Rows(part).encode(Version::One);
    assert_eq!(
        ragged,
        Err(EncodeError::RaggedRow {
            row: 0,
            values: 0,
            columns: 1
        })
    );
    let part = RowsPart {
        columns: vec![],
        rows: vec![vec![]],
        more: false,
    };
    assert_eq!(
        Response::Rows(part).encode(Version::One),
        Err(EncodeError::RowWithoutColumns)
    );
}

#[test]
fn a_message_over_the_limit_is_refused_at_its_header_and_for_ever() {
    let mut decoder = FrameDecoder::with_limit(16);
    decoder.push(&Request::Leader.encode().unwrap());
    assert!(
        decoder.next_frame().unwrap().is_some(),
        "sixteen bytes are within the limit"
    );
    decoder.push(&hex("02000000 00 00 0000"));
    let error = decoder.next_frame().unwrap_err();
    assert_eq!(
        error.fault,
        Fault::TooLong {
            bytes: 24,
            limit_bytes: 16
        }
    );
    decoder.push(&Request::Leader.encode().unwrap());
    assert_eq!(decoder.next_frame(), Err(error));
    assert_eq!(decoder.buffered_bytes(), 0);
}
