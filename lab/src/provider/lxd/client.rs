//! The REST API of LXD and Incus: requests, answers, and operations that take their time.
//!
//! Laws:
//! - a call ends by its time-out; what a server sends is bounded;
//! - an asynchronous call returns when its operation has ended, and fails as it failed;
//! - an error names the call, the server's own words, and where it is known the mend.
//!
//! Source: LXD's documentation, "Main API specification"; Incus kept it, but for the names of some headers.

use std::{io, path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Full, Limited, combinators::BoxBody};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use thiserror::Error;

use super::stream::{self, Remote};

/// Time that a call may take, without what it starts.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Time that what a call starts may take: unpacking an image on a slow disk.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Time that sending an image may take, over a slow network.
pub(super) const UPLOAD_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// Longest answer that is read, in bytes.
const ANSWER_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// Why a server did not do what was asked.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// Nobody answers.
    #[error(
        "the server at {server} cannot be reached (mend: start it, or name another by `remote` in lab.yaml)"
    )]
    Connect {
        /// Where it should be.
        server: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// TLS could not be set up.
    #[error("no TLS session with {server}: {detail}")]
    Tls {
        /// Which server.
        server: String,
        /// What OpenSSL said.
        detail: String,
    },
    /// Our certificate or its key cannot be used.
    #[error(
        "{} cannot be used to log in: {detail} (mend: fields `certificate` and `key` of lab.yaml name a PEM certificate and its key)",
        .path.display()
    )]
    ClientCertificate {
        /// Which file.
        path: PathBuf,
        /// What OpenSSL said.
        detail: String,
    },
    /// The server is another one.
    #[error(
        "{server} shows a certificate with fingerprint {found}, expected is {expected} (mend: if that is the server that is meant, correct `fingerprint` in lab.yaml)"
    )]
    Fingerprint {
        /// Which server.
        server: String,
        /// What it showed.
        found: String,
        /// What lab.yaml says.
        expected: String,
    },
    /// The server does not know us.
    #[error("{server} does not trust us (mend: on the server, lxc config trust add CERTIFICATE)")]
    Untrusted {
        /// Which server.
        server: String,
    },
    /// The server lacks something that the lab needs.
    #[error("{server} has no {what} (mend: {mend})")]
    Lacks {
        /// Which server.
        server: String,
        /// What it lacks.
        what: String,
        /// What to do.
        mend: String,
    },
    /// The server said no.
    #[error("{call} was refused with status {status}: {detail}")]
    Refused {
        /// Method and path.
        call: String,
        /// The status of HTTP.
        status: u16,
        /// The server's words.
        detail: String,
    },
    /// It began and did not succeed.
    #[error("{call} failed: {detail}")]
    Operation {
        /// Method and path.
        call: String,
        /// The server's words.
        detail: String,
    },
    /// The connection broke, or what came is not what the API promises.
    #[error("{call} was not answered as it should: {detail}")]
    Answer {
        /// Method and path.
        call: String,
        /// What went wrong.
        detail: String,
    },
    /// It took too long.
    #[error("{call} took longer than {} s", .timeout.as_secs())]
    TimedOut {
        /// Method and path.
        call: String,
        /// The time that it had.
        timeout: Duration,
    },
}

/// A request's body.
pub(super) type Body = BoxBody<Bytes, io::Error>;

/// What every answer is wrapped in.
#[derive(Debug, Deserialize)]
struct Envelope {
    #[serde(default)]
    error: String,
    #[serde(default)]
    operation: String,
    #[serde(default)]
    metadata: Value,
}

#[derive(Debug, Deserialize)]
struct Operation {
    status_code: u16,
    #[serde(default)]
    err: String,
    #[serde(default)]
    metadata: Value,
}

/// Status of an operation that has ended well, in the API's own numbers.
const OPERATION_SUCCESS: u16 = 200;
/// Statuses of an operation that has not ended.
const OPERATION_UNENDED: std::ops::Range<u16> = 100..200;

/// A server, and a project of it. Each call is a connection of its own, so that none waits for another.
#[derive(Clone, Debug)]
pub(super) struct Client {
    remote: Remote,
    project: String,
}

/// One call.
struct Call<'a> {
    method: Method,
    path: &'a str,
    headers: &'a [(&'static str, String)],
    /// What the body is: a server takes bytes for something else than JSON.
    content: &'static str,
    timeout: Duration,
}

const JSON: &str = "application/json";
/// Go takes the body of a file without it for a form.
const BYTES: &str = "application/octet-stream";

impl Client {
    pub(super) fn new(remote: Remote, project: &str) -> Self {
        Self {
            remote,
            project: project.to_owned(),
        }
    }

    pub(super) fn server(&self) -> String {
        self.remote.to_string()
    }

    /// Reads something; none if the server does not have it.
    pub(super) async fn find<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, ServerError> {
        match self.get(path).await {
            Err(ServerError::Refused { status: 404, .. }) => Ok(None),
            found => found.map(Some),
        }
    }

    /// Reads something.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ServerError> {
        let metadata = self.call(Method::GET, path, None).await?;
        serde_json::from_value(metadata).map_err(|error| ServerError::Answer {
            call: format!("GET {path}"),
            detail: error.to_string(),
        })
    }

    pub(super) async fn post(&self, path: &str, value: &Value) -> Result<Value, ServerError> {
        self.call(Method::POST, path, Some(value)).await
    }

    pub(super) async fn put(&self, path: &str, value: &Value) -> Result<Value, ServerError> {
        self.call(Method::PUT, path, Some(value)).await
    }

    pub(super) async fn patch(&self, path: &str, value: &Value) -> Result<Value, ServerError> {
        self.call(Method::PATCH, path, Some(value)).await
    }

    /// Removes something; what the server does not have is removed already. Whether it was there.
    pub(super) async fn delete(&self, path: &str) -> Result<bool, ServerError> {
        match self.call(Method::DELETE, path, None).await {
            Ok(_) => Ok(true),
            Err(ServerError::Refused { status: 404, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes a file into an instance, whether it runs or not, or makes a folder there if there is no text. Root owns it.
    pub(super) async fn push(
        &self,
        instance: &str,
        path: &str,
        mode: u32,
        text: Option<&str>,
    ) -> Result<(), ServerError> {
        let kind = if text.is_some() { "file" } else { "directory" };
        let mut headers = Vec::new();
        // LXD reads the first of each pair, Incus the second.
        for (lxd, incus, value) in [
            ("x-lxd-uid", "x-incus-uid", "0".to_owned()),
            ("x-lxd-gid", "x-incus-gid", "0".to_owned()),
            ("x-lxd-mode", "x-incus-mode", format!("{mode:04o}")),
            ("x-lxd-type", "x-incus-type", kind.to_owned()),
        ] {
            headers.push((lxd, value.clone()));
            headers.push((incus, value));
        }
        let path = format!("/1.0/instances/{instance}/files?path={path}");
        let call = Call {
            method: Method::POST,
            path: &path,
            headers: &headers,
            content: BYTES,
            timeout: CALL_TIMEOUT,
        };
        self.send(call, full(text.unwrap_or_default().as_bytes()))
            .await?;
        Ok(())
    }

    /// Sends something long, such as an image.
    pub(super) async fn upload(&self, path: &str, body: Body) -> Result<Value, ServerError> {
        let call = Call {
            method: Method::POST,
            path,
            headers: &[],
            content: BYTES,
            timeout: UPLOAD_TIMEOUT,
        };
        self.send(call, body).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        value: Option<&Value>,
    ) -> Result<Value, ServerError> {
        let text = value.map(Value::to_string).unwrap_or_default();
        let call = Call {
            method,
            path,
            headers: &[],
            content: JSON,
            timeout: CALL_TIMEOUT,
        };
        self.send(call, full(text.as_bytes())).await
    }

    /// Makes a call, and waits for what it starts.
    async fn send(&self, call: Call<'_>, body: Body) -> Result<Value, ServerError> {
        let name = format!("{} {}", call.method, call.path);
        let envelope = self.bounded(&name, call, body).await?;
        if envelope.operation.is_empty() {
            return Ok(envelope.metadata);
        }
        // The operation's own path may carry the project already.
        let operation = envelope.operation.split('?').next().unwrap_or_default();
        let path = format!("{operation}/wait?timeout={}", OPERATION_TIMEOUT.as_secs());
        let waiting = Call {
            method: Method::GET,
            path: &path,
            headers: &[],
            content: JSON,
            timeout: OPERATION_TIMEOUT + CALL_TIMEOUT,
        };
        let ended = self.bounded(&name, waiting, full(&[])).await?;
        let ended: Operation =
            serde_json::from_value(ended.metadata).map_err(|error| ServerError::Answer {
                call: name.clone(),
                detail: error.to_string(),
            })?;
        match ended.status_code {
            OPERATION_SUCCESS => Ok(ended.metadata),
            code if OPERATION_UNENDED.contains(&code) => Err(ServerError::TimedOut {
                call: name,
                timeout: OPERATION_TIMEOUT,
            }),
            _ => Err(ServerError::Operation {
                call: name,
                detail: ended.err,
            }),
        }
    }

    async fn bounded(
        &self,
        name: &str,
        call: Call<'_>,
        body: Body,
    ) -> Result<Envelope, ServerError> {
        let timeout = call.timeout;
        match tokio::time::timeout(timeout, self.exchange(name, call, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(ServerError::TimedOut {
                call: name.to_owned(),
                timeout,
            }),
        }
    }

    async fn exchange(
        &self,
        name: &str,
        call: Call<'_>,
        body: Body,
    ) -> Result<Envelope, ServerError> {
        let (status, bytes) = self.ask(name, call, body).await?;
        envelope(name, status, &bytes)
    }

    /// What liblxc logged when this instance was last started; none if that cannot be had.
    pub(super) async fn start_log(&self, instance: &str) -> Option<String> {
        let path = format!("/1.0/instances/{instance}/logs/lxc.log");
        let call = Call {
            method: Method::GET,
            path: &path,
            headers: &[],
            content: JSON,
            timeout: CALL_TIMEOUT,
        };
        let asked = tokio::time::timeout(CALL_TIMEOUT, self.ask(&path, call, full(&[])));
        let (status, bytes) = asked.await.ok()?.ok()?;
        let text = || String::from_utf8_lossy(&bytes).into_owned();
        status.is_success().then(text)
    }

    async fn ask(
        &self,
        name: &str,
        call: Call<'_>,
        body: Body,
    ) -> Result<(StatusCode, Bytes), ServerError> {
        let broken = |error: &dyn std::error::Error| ServerError::Answer {
            call: name.to_owned(),
            detail: with_source(error),
        };
        let stream = stream::connect(&self.remote).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder()
            .method(call.method)
            .uri(self.with_project(call.path))
            .header(header::HOST, "server")
            .header(header::CONTENT_TYPE, call.content);
        for (key, value) in call.headers {
            request = request.header(*key, value);
        }
        let request = request.body(body).map_err(|error| broken(&error))?;
        let answer = sender.send_request(request).await;
        let (status, bytes) = match answer {
            Ok(response) => {
                let status = response.status();
                let body = Limited::new(response.into_body(), ANSWER_LIMIT_BYTES);
                let bytes = body
                    .collect()
                    .await
                    .map_err(|error| broken(error.as_ref()))?;
                (status, bytes.to_bytes())
            }
            Err(error) => return Err(broken(&error)),
        };
        driver.abort();
        Ok((status, bytes))
    }

    fn with_project(&self, path: &str) -> String {
        let mark = if path.contains('?') { '&' } else { '?' };
        format!("{path}{mark}project={}", self.project)
    }
}

/// A body that is there as a whole.
fn full(bytes: &[u8]) -> Body {
    Full::new(Bytes::copy_from_slice(bytes))
        .map_err(|never| match never {})
        .boxed()
}

/// What an answer says, or how it refuses.
fn envelope(name: &str, status: StatusCode, bytes: &[u8]) -> Result<Envelope, ServerError> {
    let parsed: Result<Envelope, _> = serde_json::from_slice(bytes);
    if status.is_success() {
        return parsed.map_err(|error| ServerError::Answer {
            call: name.to_owned(),
            detail: error.to_string(),
        });
    }
    Err(ServerError::Refused {
        call: name.to_owned(),
        status: status.as_u16(),
        detail: parsed.map_or_else(
            |_| String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned(),
            |envelope| envelope.error,
        ),
    })
}

fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// The body of a change of an instance's state.
pub(super) fn state_change(action: &str) -> Value {
    json!({ "action": action, "timeout": 30, "force": true })
}
