//! Waiting for what a server is still at. A server goes on with what it was told when who told it is gone: a harness that
//! was killed can have left it in the middle of making something, which no look finds yet.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::Value;

use super::{ServerError, client::Client};

/// How long an operation of somebody who is gone may take.
const QUIET_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause between two looks.
const POLL: Duration = Duration::from_millis(100);

/// Operations by status. Written in Go: what is empty may be null, at any level.
type ByStatus = BTreeMap<String, Option<Vec<Operation>>>;

/// An operation as the server lists it; only what is needed of it.
#[derive(Debug, Deserialize)]
struct Operation {
    #[serde(default)]
    resources: Option<BTreeMap<String, Option<Vec<Value>>>>,
}

/// Waits until the server is at nothing that concerns instances whose names begin so. A server that is at it for too long is
/// left at it: whoever needs those instances then hears of it from the server.
pub(super) async fn quiet(client: &Client, prefix: &str) -> Result<(), ServerError> {
    let deadline = Instant::now() + QUIET_TIMEOUT;
    loop {
        let by_status: ByStatus = client.get("/1.0/operations?recursion=1").await?;
        let running = by_status.get("running").into_iter().flatten().flatten();
        let ours = running
            .filter(|operation| concerns(operation, prefix))
            .count();
        if ours == 0 || Instant::now() >= deadline {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether an operation is about such an instance: its resources are paths such as `/1.0/instances/NAME?project=P`.
fn concerns(operation: &Operation, prefix: &str) -> bool {
    let paths = operation
        .resources
        .iter()
        .flat_map(BTreeMap::values)
        .flatten()
        .flatten();
    let mut names = paths.filter_map(|path| path.as_str()?.split('?').next()?.rsplit('/').next());
    names.any(|name| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_concerns_the_instances_that_it_names() {
        for (json, expected) in [
            (
                r#"{"resources":{"instances":["/1.0/instances/lab-n1"]}}"#,
                true,
            ),
            (
                r#"{"resources":{"instances":["/1.0/instances/lab-n1?project=p"]}}"#,
                true,
            ),
            (
                r#"{"resources":{"instances":["/1.0/instances/other-n1"]}}"#,
                false,
            ),
            (r#"{"resources":{"images":["/1.0/images/0c3a"]}}"#, false),
            (r#"{"resources":{"instances":null}}"#, false),
            (r#"{"resources":null}"#, false),
            ("{}", false),
        ] {
            let operation: Operation = serde_json::from_str(json).unwrap();
            assert_eq!(concerns(&operation, "lab-"), expected, "{json}");
        }
        serde_json::from_str::<ByStatus>(r#"{"running":null,"success":[{}]}"#).unwrap();
    }
}
