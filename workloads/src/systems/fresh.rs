//! A cluster kept as it is, and put back as often as it is wanted: much cheaper than forming it anew.
//!
//! A **cold copy**: each node's processes are ended at once at a quiet moment, and their data are copied on the node itself. Putting it
//! back ends what runs, replaces the data and starts again. It needs nothing but a shell on the node, so every provider has it.
//! Logs and records of how processes ended are not part of it: they go on.

use async_trait::async_trait;
use harness_lab::{Exec, Node, capability::CapabilityError};

use super::{SystemError, scripts, supervised};

/// Where copies are kept on a node. Not below a system's own folder, which is removed when a node is wiped.
const KEPT: &str = "/srv/harness/fresh";
/// How long copying one node's data may take.
const COPY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);
/// Longest stamp, in bytes.
const STAMP_BYTES: usize = 4096;

/// Keeping and putting back. Laws:
/// - nothing is copied while a process of the system runs on the node;
/// - a copy that was not finished has no stamp, and is none;
/// - putting back starts the system on the node, whatever ran there before, and leaves nothing of what was there.
#[async_trait]
pub trait Fresh: Send + Sync {
    /// Ends the system on the node at once, and keeps a copy of its data under a stamp. It stays ended.
    async fn keep(&self, node: &Node, stamp: &str) -> Result<(), CapabilityError>;

    /// The stamp of the copy that is kept on the node; none if there is none.
    async fn kept(&self, node: &Node) -> Result<Option<String>, CapabilityError>;

    /// Puts the copy back on one node and starts the system there. Does not wait for others: put all nodes back at once.
    async fn put_back(&self, node: &Node) -> Result<(), CapabilityError>;

    /// Waits until the members work together as they did when they were kept.
    async fn ready(&self, members: &[Node]) -> Result<(), SystemError>;

    /// Makes this member lead, if it can be asked for. Not an error if another one leads in the end.
    async fn lead(&self, members: &[Node], wanted: &Node);
}

/// Copies a folder of a node whose system does not run, and stamps the copy.
pub(super) async fn keep(
    node: &Node,
    system: &str,
    folder: &str,
    stamp: &str,
) -> Result<(), CapabilityError> {
    let kept = scripts::quote(&format!("{KEPT}/{system}"));
    // Mounts below the folder are the system's own, and are made again when it starts.
    let text = format!(
        "set -e\nkept={kept}\nrm -rf \"$kept\"\nmkdir -p \"$kept\"\ncp -a -x --reflink=auto --sparse=always {folder} \"$kept/data\"\nprintf '%s' {stamp} >\"$kept/stamp\"\n",
        folder = scripts::quote(folder),
        stamp = scripts::quote(stamp),
    );
    supervised::script(node, "keep a copy of its data", text, COPY_TIMEOUT)
        .await
        .map(drop)
}

/// The stamp of the copy on a node.
pub(super) async fn kept(node: &Node, system: &str) -> Result<Option<String>, CapabilityError> {
    let stamp = scripts::quote(&format!("{KEPT}/{system}/stamp"));
    let exec = Exec::shell(format!(
        "[ -e {stamp} ] || exit 3\nhead -c {STAMP_BYTES} {stamp}"
    ));
    let output = node.transport.exec(exec).await?;
    Ok(output.status.success().then(|| output.stdout_text()))
}

/// A shell command that puts the copy in a folder's place; the folder must be gone.
pub(super) fn put_back_command(system: &str, folder: &str) -> String {
    format!(
        "cp -a --reflink=auto --sparse=always {} {}",
        scripts::quote(&format!("{KEPT}/{system}/data")),
        scripts::quote(folder)
    )
}
