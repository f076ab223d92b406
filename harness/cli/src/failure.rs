//! How the binary fails: a message for people and the exit code that goes with it.

use std::fmt;

use harness_core::exit::Exit;

/// A failure with its exit code.
#[derive(Debug)]
pub struct Failure {
    /// How the process exits.
    pub exit: Exit,
    /// What went wrong, with the mend where there is one.
    pub message: String,
}

impl Failure {
    /// Bad usage or configuration: exit 254.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::Usage,
            message: message.into(),
        }
    }

    /// The harness itself failed: exit 255.
    pub fn harness(message: impl Into<String>) -> Self {
        Self {
            exit: Exit::HarnessFailure,
            message: message.into(),
        }
    }

    /// The harness failed because of another error; its whole chain is told.
    pub fn because(what: &str, error: &dyn std::error::Error) -> Self {
        Self::harness(format!("{what}: {}", chain(error)))
    }
}

/// An error and its sources, each once.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::harness(format!("{error:#}"))
    }
}
