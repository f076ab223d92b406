//! LXD's REST interface on a node's unix socket, and the SQL that its daemon answers there.
//!
//! `POST /internal/sql` is what `lxd sql` uses: `local` reads the database of that daemon alone, `global` asks the
//! leader through that daemon's own connection. Cheap, as no process is started on the node.
//!
//! An answer is `{"type":"sync","status_code":200,"metadata":…}`, or `{"type":"error","error_code":404,"error":"…"}`.

use std::time::Duration;

use harness_core::event::ANSWERED_ERROR;
use harness_lab::{Address, Node, TransportError};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

use super::Lxd;
use crate::systems::http::{self, HttpError};

/// The longest answer that is read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 1024 * 1024;

/// Why a request did not succeed.
#[derive(Debug, Error)]
pub enum RestError {
    /// There is no answer.
    #[error(transparent)]
    Unanswered(#[from] HttpError),
    /// The daemon answered with an error.
    #[error("LXD answered {code}: {message}")]
    Answer {
        /// As HTTP has them.
        code: u16,
        /// Its words.
        message: String,
    },
    /// The answer makes no sense.
    #[error("LXD's answer makes no sense: {0}")]
    Nonsense(String),
}

impl RestError {
    /// A short stable word, for histories.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Unanswered(HttpError::Connect(TransportError::TimedOut { .. })) => "timeout",
            Self::Unanswered(HttpError::Connect(_)) => "not-sent",
            Self::Unanswered(HttpError::TimedOut(_)) => "timeout",
            Self::Unanswered(HttpError::Cut(_)) => "connection-lost",
            Self::Answer { .. } => ANSWERED_ERROR,
            Self::Nonsense(_) => "nonsense",
        }
    }

    /// With what lies behind it.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Unanswered(HttpError::Connect(source)) => match std::error::Error::source(source)
            {
                Some(cause) => format!("{self}: {source}: {cause}"),
                None => format!("{self}: {source}"),
            },
            _ => self.to_string(),
        }
    }

    /// Whether the node's kernel said that nobody listens on the socket.
    #[must_use]
    pub fn nobody_listens(&self) -> bool {
        use std::io::ErrorKind::{ConnectionRefused, NotFound};
        match self {
            Self::Unanswered(HttpError::Connect(TransportError::Refused { source, .. })) => {
                matches!(source.kind(), ConnectionRefused | NotFound)
            }
            _ => false,
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    error_code: u16,
    #[serde(default)]
    error: String,
    #[serde(default)]
    metadata: Value,
}

/// What is in an answer.
fn parse(body: &[u8]) -> Result<Value, RestError> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| RestError::Nonsense(error.to_string()))?;
    match answer.kind.as_str() {
        "sync" => Ok(answer.metadata),
        "error" => Err(RestError::Answer {
            code: answer.error_code,
            message: answer.error,
        }),
        other => Err(RestError::Nonsense(format!("an answer of type `{other}`"))),
    }
}

/// Which database is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    /// The daemon's own.
    Local,
    /// The replicated one.
    Global,
}

#[derive(Deserialize)]
struct SqlAnswer {
    #[serde(rename = "Results", default)]
    results: Option<Vec<SqlResult>>,
}

#[derive(Deserialize)]
struct SqlResult {
    // `null` if there are none.
    #[serde(default)]
    rows: Option<Vec<Vec<Value>>>,
}

/// The rows of the one statement that was asked.
fn rows(metadata: Value) -> Result<Vec<Vec<Value>>, RestError> {
    let answer: SqlAnswer =
        serde_json::from_value(metadata).map_err(|error| RestError::Nonsense(error.to_string()))?;
    let mut results = answer.results.unwrap_or_default();
    match (results.pop(), results.is_empty()) {
        (Some(result), true) => Ok(result.rows.unwrap_or_default()),
        _ => Err(RestError::Nonsense(
            "not one result for one statement".to_owned(),
        )),
    }
}

impl Lxd {
    /// Asks the daemon of a node, through its unix socket.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn rest(
        &self,
        node: &Node,
        method: &Method,
        path: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<Value, RestError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let ask = http::Ask {
            method,
            path,
            host: "lxd",
            body: body.as_bytes(),
            answer_limit_bytes: ANSWER_LIMIT_BYTES,
        };
        let address = Address::Unix(self.options().socket());
        let (_, body) = http::send(node, &address, ask, timeout).await?;
        parse(&body)
    }

    /// Asks one SQL statement of the daemon of a node.
    ///
    /// # Errors
    /// See [`RestError`].
    pub async fn sql(
        &self,
        node: &Node,
        database: Database,
        query: &str,
        timeout: Duration,
    ) -> Result<Vec<Vec<Value>>, RestError> {
        let database = match database {
            Database::Local => "local",
            Database::Global => "global",
        };
        let body = json!({"database": database, "query": query});
        let metadata = self
            .rest(node, &Method::POST, "/internal/sql", Some(&body), timeout)
            .await?;
        rows(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_understood() {
        let ok = br#"{"type":"sync","status":"Success","status_code":200,"operation":"","error_code":0,"error":"","metadata":{"Results":[{"type":"select","columns":["id"],"rows":[[1,"n1"]],"rows_affected":0}]}}"#;
        assert_eq!(rows(parse(ok).unwrap()).unwrap(), [[json!(1), json!("n1")]]);
        let none = br#"{"type":"sync","metadata":{"Results":[{"type":"select","columns":["id"],"rows":null}]}}"#;
        assert!(rows(parse(none).unwrap()).unwrap().is_empty());
        let error = br#"{"error":"Server is not clustered","error_code":400,"type":"error","metadata":null}"#;
        match parse(error) {
            Err(RestError::Answer { code, message }) => {
                assert_eq!((code, message.as_str()), (400, "Server is not clustered"));
            }
            other => panic!("{other:?}"),
        }
        for nonsense in [&b"404 page not found"[..], b"", br#"{"type":"async"}"#] {
            assert!(matches!(parse(nonsense), Err(RestError::Nonsense(_))));
        }
        for nonsense in [
            json!(null),
            json!({"Results": []}),
            json!({"Results": [{}, {}]}),
        ] {
            assert!(rows(nonsense.clone()).is_err(), "{nonsense}");
        }
    }
}
