//! What several test files use.

use harness_core::{
    event::{Event, EventType, OpError, Process},
    history::{History, pair},
    meta::Meta,
    verdict::{CheckInput, CheckResult, Checker, Unlimited},
};
use serde_json::Value;

/// Judges without limits, logs or faults.
pub fn judge(checker: &dyn Checker, history: &History, meta: &Meta) -> CheckResult {
    let input = CheckInput {
        history,
        faults: &[],
        logs: &[],
        meta,
    };
    checker.check(&input, &Unlimited)
}

/// A history from `(process, type, f, value)`, one event each half second.
pub fn history(lines: &[(u64, &str, &str, Value)]) -> History {
    let events = lines
        .iter()
        .enumerate()
        .map(|(index, (process, kind, f, value))| Event {
            index: index as u64,
            time_ns: index as u64 * 500_000_000,
            process: Process::Client(*process),
            node: Some(format!("n{}", process % 5 + 1).into()),
            event_type: match *kind {
                "invoke" => EventType::Invoke,
                "ok" => EventType::Ok,
                "fail" => EventType::Fail,
                _ => EventType::Info,
            },
            f: (*f).into(),
            value: value.clone(),
            error: (*kind == "fail").then(|| OpError {
                kind: "busy".into(),
                message: String::new(),
            }),
        });
    pair(events).expect("the lines pair up")
}
