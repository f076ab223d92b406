//! Ours to a foreign format and back, and errors that name their place.

use harness_core::{
    compact,
    event::{Event, EventType, OpError, Process},
    format::{self, Format, raw, read_events, write_events},
    history,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9_f64..1e9).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("([a-z]{1,4}|-?[0-9]{1,3}|.{0,3})", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (
        0_u64..1_000_000,
        prop_oneof![
            (0_u64..50).prop_map(Process::Client),
            Just(Process::Nemesis)
        ],
        prop::option::of("n[1-5]"),
        prop::sample::select(vec![
            EventType::Invoke,
            EventType::Ok,
            EventType::Fail,
            EventType::Info,
        ]),
        prop_oneof![
            Just("txn".to_owned()),
            Just("read".to_owned()),
            "[a-z ]{1,8}"
        ],
        value(),
        prop::option::of(("[a-z-]{1,8}", ".{0,10}")),
    );
    prop::collection::vec(event, 1..8).prop_map(|parts| {
        let mut index = 0;
        parts
            .into_iter()
            .map(|(time_ns, process, node, event_type, f, value, error)| {
                index += 1 + time_ns % 3;
                Event {
                    index,
                    time_ns,
                    process,
                    node: node.map(Into::into),
                    event_type,
                    f: f.into(),
                    value,
                    error: error.map(|(kind, message)| OpError { kind, message }),
                }
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn round_trip(events in events()) {
        for format in [Format::Ours, Format::Edn, Format::JepsenJson] {
            let mut bytes = Vec::new();
            write_events(&events, format, &mut bytes);
            let (again, remarks) = read_events(&bytes, format).unwrap();
            prop_assert_eq!(&again, &events, "{:?}: {}", format, String::from_utf8_lossy(&bytes));
            prop_assert!(remarks.is_empty());
            prop_assert_eq!(Format::detect(&bytes), format);
        }
    }

    #[test]
    fn any_bytes_are_refused_or_read_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for (format, _) in Format::ALL {
            let _ = read_events(&bytes, format);
        }
    }

    #[test]
    fn broken_edn_never_panics(text in "[\\[\\]{}()#:\"\\\\a-z0-9 ]{0,80}") {
        for (format, _) in Format::ALL {
            let _ = read_events(text.as_bytes(), format);
        }
    }
}

#[test]
fn transactions_are_written_as_jepsen_expects() {
    let event = Event {
        index: 4,
        time_ns: 9,
        process: Process::Client(3),
        node: None,
        event_type: EventType::Ok,
        f: "txn".into(),
        value: json!([["append", 1, 2], ["r", 1, [1, 2]]]),
        error: None,
    };
    let mut bytes = Vec::new();
    write_events([&event], Format::Edn, &mut bytes);
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "{:index 4, :time 9, :process 3, :type :ok, :f :txn, :value [[:append 1 2] [:r 1 [1 2]]]}\n"
    );
}

#[test]
fn errors_name_line_and_column() {
    let table: [(&[u8], Format, &str); 4] = [
        (
            b"{:type :invoke, :process 1, :f :read}\n{:type :what, :process 1}",
            Format::Edn,
            "line 2, column 1: ",
        ),
        (
            b"{:type :invoke, :process 1, :f :read}\n  ]",
            Format::Edn,
            "line 2, column 3: ",
        ),
        (
            b"{\"type\":\"invoke\",\"process\":1,\"f\":\"read\"}\n{\"type\": nope}",
            Format::JepsenJson,
            "line 2, column ",
        ),
        (
            b"INFO  jepsen.util - 4\t:what\t:read\tnil\n",
            Format::PorcupineEtcd,
            "line 1, column 21: ",
        ),
    ];
    for (bytes, format, place) in table {
        let error = read_events(bytes, format).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}");
    }
}

/// Sessions without transactions may come first, and a mark of UTF-8 before all.
#[test]
fn what_comes_first_and_means_nothing_is_skipped() {
    for text in [
        "=====\n-----\nw 0 1\n",
        "---\n[x:=1]\n",
        "{ \"format_version\": 1 }\n{\"index\":0,\"time_ns\":0,\"process\":0,\"type\":\"invoke\",\"f\":\"x\"}\n",
        "[\n {\"f\": \"x\", \"process\" : 0, \"type\": \"invoke\"}\n]",
        "{:f :x :process 0 :type :invoke}",
    ] {
        let read = |text: &[u8]| format::read(text, Format::detect(text)).unwrap();
        let (plain, marked) = (
            read(text.as_bytes()),
            read(format!("\u{feff}{text}").as_bytes()),
        );
        assert_eq!(plain.operations.len(), 1, "{text}");
        assert_eq!(plain.operations, marked.operations, "{text}");
    }
    let wrong = read_events("\u{feff}{:a ]".as_bytes(), Format::Edn).unwrap_err();
    assert_eq!(wrong.to_string(), "line 1, column 5: ']' closes nothing");
}

/// As floating numbers these would be equal.
#[test]
fn integers_beyond_64_bits_stay_different() {
    let jepsens = "{\"process\":0,\"type\":\"ok\",\"f\":\"x\",\"value\":100000000000000000001}";
    let ours = jepsens.replace("\"process\"", "\"index\":0,\"time_ns\":0,\"process\"");
    let edn = "{:process 0, :type :ok, :f :x, :value 100000000000000000001}".to_owned();
    for (text, format) in [
        (jepsens.to_owned(), Format::JepsenJson),
        (history::encode_header() + &ours + "\n", Format::Ours),
        (edn, Format::Edn),
    ] {
        let (events, _) = read_events(text.as_bytes(), format).unwrap();
        assert_eq!(events[0].value, json!("100000000000000000001"), "{text}");
    }
}

#[test]
fn what_is_missing_is_filled_in_and_said() {
    let text = b"[{:type :invoke, :f :read, :value nil} #jepsen.history.Op{:type :ok, :f :read, :value #{1 2}}]";
    let (events, remarks) = read_events(text, Format::Edn).unwrap();
    assert_eq!(events[1].process, Process::Client(0));
    assert_eq!(events[1].value, json!([1, 2]));
    assert_eq!(remarks.len(), 2);
    let torn = b"{:type :invoke, :process 1, :f :read}\n{:type :ok, :pro";
    let (events, remarks) = read_events(torn, Format::Edn).unwrap();
    assert_eq!(events.len(), 1);
    assert!(remarks.iter().any(|remark| remark.contains("torn")));
}

/// Events and remarks by each of the three readers of our own lines.
fn by_three(bytes: &[u8]) -> [(usize, Vec<String>); 3] {
    let (events, remarks) = read_events(bytes, Format::Ours).expect("the general reader takes it");
    let mut count = 0;
    let mut each = |_: raw::Head, _: raw::Payload<'_>| {
        count += 1;
        Ok(())
    };
    let told = raw::each_event(bytes, Format::Ours, &mut each, &mut |_| {})
        .expect("the reader of events takes it");
    let reading = compact::Reading {
        ignore: &[],
        observers: &[],
        observing: &[],
        threads: 0,
        release: &|_| {},
    };
    let rows = compact::read(bytes, Format::Ours, &reading).expect("the reader of rows takes it");
    [
        (events.len(), remarks),
        (count, told),
        (rows.event_count as usize, rows.remarks),
    ]
}

#[test]
fn a_whole_last_line_without_its_newline_counts_and_a_torn_one_does_not() {
    let line = |index: u32, kind: &str| {
        format!(
            "{{\"index\":{index},\"time_ns\":{index},\"process\":1,\"type\":\"{kind}\",\"f\":\"write\",\"value\":{index}}}\n"
        )
    };
    let text = history::encode_header() + &line(0, "invoke") + &line(1, "ok");
    let last = text.trim_end().rfind('\n').unwrap() + 1;
    for end in last + 1..=text.len() {
        let whole = end >= text.len() - 1;
        for (count, remarks) in by_three(&text.as_bytes()[..end]) {
            assert_eq!(count, 1 + usize::from(whole), "{:?}", &text[..end]);
            assert_eq!(remarks.len(), usize::from(!whole), "{remarks:?}");
        }
    }
    // One that is whole and says what no event says is no torn one.
    let wrong = text.trim_end().replace("\"ok\"", "\"done\"");
    let error = read_events(wrong.as_bytes(), Format::Ours).unwrap_err();
    assert!(error.to_string().starts_with("line 3, column "), "{error}");
}

#[test]
fn our_own_lines_are_told_with_one_place() {
    let start = history::encode_header() + "{\"index\":0,\"time_ns\":0,\"process\":";
    for (rest, place) in [
        ("0,\"ty\n", "line 2, column 38: "),
        ("-1,\"type\":\"ok\",\"f\":\"r\"}\n", "line 2, column 35: "),
    ] {
        let text = format!("{start}{rest}");
        let error = read_events(text.as_bytes(), Format::Ours).unwrap_err();
        let mut each = |_: raw::Head, _: raw::Payload<'_>| Ok(());
        let other = raw::each_event(text.as_bytes(), Format::Ours, &mut each, &mut |_| {});
        assert_eq!(other.unwrap_err().to_string(), error.to_string());
        let told = error.to_string();
        assert!(
            told.starts_with(place) && !told.contains(" at line "),
            "{told}"
        );
    }
}

#[test]
fn processes_are_numbers_or_judge_nothing() {
    use Process::{Client, Nemesis};
    let edn = |process: &str| format!("{{:type :info, :process {process}, :f :x}}");
    let json = |process: &str| format!("{{\"type\":\"info\",\"process\":{process},\"f\":\"x\"}}");
    for (process, expected) in [
        ("7", Client(7)),
        ("7.0", Client(7)),
        ("-1", Nemesis),
        ("-1.0", Nemesis),
        ("\"nemesis\"", Nemesis),
        ("\"nemesis-2\"", Nemesis),
        ("\"clock\"", Nemesis),
    ] {
        for (text, format) in [
            (edn(process), Format::Edn),
            (json(process), Format::JepsenJson),
        ] {
            let (events, remarks) = read_events(text.as_bytes(), format).unwrap();
            assert_eq!(events[0].process, expected, "{text}");
            let name = process.trim_matches('"');
            let odd = ["nemesis-2", "clock"].contains(&name);
            let said = remarks
                .iter()
                .any(|remark| remark.contains(&format!("are of {name}:")));
            assert_eq!(said, odd, "{text}: {remarks:?}");
        }
    }
    for process in [
        "-2",
        "0.5",
        "-1.5",
        "1e300",
        "\"7\"",
        "18446744073709551616",
        "true",
    ] {
        for (text, format) in [
            (edn(process), Format::Edn),
            (json(process), Format::JepsenJson),
        ] {
            let two = format!("{}\n{text}", text.replace(process, "1"));
            let error = read_events(two.as_bytes(), format).unwrap_err().to_string();
            assert!(error.starts_with("line 2, column 1: "), "{text}: {error}");
            assert!(error.contains("is no process"), "{text}: {error}");
        }
    }
}

#[test]
fn events_without_a_process_pair_up_by_their_values() {
    let text = b"{:type :invoke, :f :write, :value 1} {:type :invoke, :f :write, :value 2}
        {:type :ok, :f :write, :value 1}
        {:type :invoke, :f :read, :value nil} {:type :invoke, :f :read, :value nil}
        {:type :ok, :f :read, :value 2} {:type :ok, :f :read, :value 1}";
    let history = format::read(text, Format::Edn).unwrap();
    let ends: Vec<_> = history
        .operations
        .iter()
        .map(|operation| (operation.completed_index, operation.output.clone()))
        .collect();
    let expected = [
        (Some(2), json!(1)),
        (None, json!(null)),
        (Some(5), json!(2)),
        (Some(6), json!(1)),
    ];
    assert_eq!(ends, expected);
    let said = |remark: &String| remark.contains("; 1 completions fit several");
    assert!(history.remarks.iter().any(said), "{:?}", history.remarks);
}
