//! LXD's own programs, run on a node: what its users and operators use.
//!
//! The recovery commands here are for members that can do nothing else; each says what must hold before it is used.

use std::time::Duration;

use harness_lab::{Exec, ExitStatus, Node, Output, TransportError, capability::CapabilityError};

use super::Lxd;

/// Time for a command of an operator.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// What precedes the words of an error that LXD's programs print.
const ERROR_PREFIX: &str = "Error: ";

/// The words of the error that LXD's program printed: the last line that says so, else all of it.
#[must_use]
pub fn error_words(stderr: &str) -> &str {
    stderr
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix(ERROR_PREFIX))
        .unwrap_or(stderr)
        .trim()
}

impl Lxd {
    /// A command with the variables that LXD's programs need.
    pub(super) fn command<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Exec {
        let mut exec = Exec::new(argv);
        exec.env = self.environment();
        exec
    }

    /// Runs the client, `lxc`.
    pub(super) async fn lxc(
        &self,
        node: &Node,
        arguments: &[&str],
        timeout: Duration,
    ) -> Result<Output, TransportError> {
        let argv = std::iter::once(self.options().lxc.as_str()).chain(arguments.iter().copied());
        let exec = self.command(argv).timeout(timeout);
        node.transport.exec(exec).await
    }

    /// Runs the daemon's program as a command.
    pub(super) async fn lxd(
        &self,
        node: &Node,
        arguments: &[&str],
        stdin: &str,
        timeout: Duration,
    ) -> Result<Output, TransportError> {
        let argv = std::iter::once(self.options().lxd.as_str()).chain(arguments.iter().copied());
        let exec = self.command(argv).stdin(stdin).timeout(timeout);
        node.transport.exec(exec).await
    }

    /// Addresses of the voters as the node has them in its own database: `lxd cluster list-database`. Works whether or
    /// not the daemon runs.
    ///
    /// # Errors
    /// If the command cannot be run, or does not succeed.
    pub async fn list_database(&self, node: &Node) -> Result<Vec<String>, CapabilityError> {
        let arguments = ["cluster", "list-database"];
        let output = self.lxd(node, &arguments, "", COMMAND_TIMEOUT).await?;
        let output = succeeded(node, "lxd cluster list-database", output)?;
        Ok(table_column(&output.stdout_text()))
    }

    /// Takes an address out of raft's configuration, as the way out for a server in raft that no list shows:
    /// `lxd cluster remove-raft-node -q ADDRESS`, on the member that leads.
    ///
    /// # Errors
    /// If the command cannot be run, or does not succeed: `Not leader` on another member (seen on bookworm's), and if raft
    /// has no such address.
    pub async fn remove_raft_node(
        &self,
        node: &Node,
        address: &str,
    ) -> Result<(), CapabilityError> {
        let arguments = ["cluster", "remove-raft-node", "-q", address];
        let output = self.lxd(node, &arguments, "", COMMAND_TIMEOUT).await?;
        succeeded(node, "lxd cluster remove-raft-node", output).map(drop)
    }

    /// Makes this node the only voter of its cluster: `lxd cluster recover-from-quorum-loss -q`. Its daemon must be
    /// stopped, and no other old member may ever start again with its old data.
    ///
    /// # Errors
    /// If the command cannot be run, or does not succeed.
    pub async fn recover_from_quorum_loss(&self, node: &Node) -> Result<(), CapabilityError> {
        let arguments = ["cluster", "recover-from-quorum-loss", "-q"];
        let output = self.lxd(node, &arguments, "", COMMAND_TIMEOUT).await?;
        succeeded(node, "lxd cluster recover-from-quorum-loss", output).map(drop)
    }
}

/// What a command left, if it succeeded.
pub(super) fn succeeded(
    node: &Node,
    what: &str,
    output: Output,
) -> Result<Output, CapabilityError> {
    if output.status.success() {
        return Ok(output);
    }
    let detail = match output.status {
        ExitStatus::Code(code) => {
            format!("exit code {code}: {}", error_words(&output.stderr_text()))
        }
        status => format!("{status:?}: {}", output.stderr_text().trim()),
    };
    Err(CapabilityError::Failed {
        what: what.to_owned(),
        node: node.name.to_string(),
        detail,
    })
}

/// The first column of a table drawn with `|`, without its head.
fn table_column(table: &str) -> Vec<String> {
    let cells = table
        .lines()
        .filter_map(|line| line.trim().strip_prefix('|')?.split('|').next());
    cells.skip(1).map(|cell| cell.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_an_error_are_found() {
        for (stderr, words) in [
            (
                "If this is your first time running LXD on this machine, you should also run: lxd init\n\nError: Cluster member not found\n",
                "Cluster member not found",
            ),
            ("Error: EOF", "EOF"),
            ("panic: no words\n", "panic: no words"),
            ("", ""),
        ] {
            assert_eq!(error_words(stderr), words, "{stderr:?}");
        }
    }

    #[test]
    fn a_table_of_addresses_is_read() {
        let table = "+-----------------+\n|     ADDRESS     |\n+-----------------+\n| 10.88.0.12:8443 |\n+-----------------+\n| 10.88.0.13:8443 |\n+-----------------+\n";
        assert_eq!(table_column(table), ["10.88.0.12:8443", "10.88.0.13:8443"]);
        assert!(table_column("").is_empty());
    }
}
