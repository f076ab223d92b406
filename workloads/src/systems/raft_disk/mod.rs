//! Raft's configurations in a node's data folder, live or stopped, read over the node's transport.
//!
//! What is read: a listing, `metadata1|2`, each snapshot's `.meta` and the first bytes of its data, closed segments whole, and
//! of open ones (8 MiB each, nearly all zeros) what is used. One process a listing, the rest by the agent. A [`Reader`]
//! keeps decoded closed segments, which never change, by name, inode, size and times; nothing else is kept.
//!
//! Laws:
//! - nothing on the node is changed, and raft's own clean-up at its start is not anticipated;
//! - a folder that changed while it was read is read again, a bounded number of times, then it is unread;
//! - a folder that is not there, or holds no configuration, holds nobody: it was looked into;
//! - a folder at which raft would refuse to start, or of which it would set entries aside, is unread, in raft's words;
//! - an index is given only to a configuration that stands in the log. **Of a snapshot's configuration none is given**: raft
//!   0.15 (bookworm) writes the newest configuration, committed or not, under the index of the last committed one, and once
//!   the log is trimmed nothing in the folder tells (`dqlite_wire`'s fixture `bookworm-mispaired`). Compared by that index,
//!   two healthy nodes would contradict each other. Where the log still has the entry, the log says it, with its index; and
//!   that nodes hold different members is seen without an index too;
//! - `committed` is said only where raft itself would take it to be: of the first entry, of what a snapshot that fits the
//!   log covers, and of what a later change follows; see [`dqlite_wire::raft::folder`].

mod fetch;
mod tell;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use dqlite_wire::raft::Folder;
use harness_core::view::{Reading, UnreadKind};
use harness_lab::{Node, capability::PlaceReading};
use tokio::sync::Mutex;

use self::fetch::{Kept, Miss};

pub use self::tell::{OLDER_LIMIT, member};

/// The label of what the node acts by.
pub const LABEL: &str = "disk";
/// How often a folder that changes while it is read is read.
const TRIES: usize = 5;
/// Pause before it is read again.
const RETRY_PAUSE: Duration = Duration::from_millis(30);
/// Folders of which closed segments are kept.
const KEPT_FOLDERS: usize = 256;

/// Reads a folder once, keeping nothing. At least one reading comes back, the newest configuration first.
pub async fn read(node: &Node, folder: &Path, deadline: Duration) -> Vec<PlaceReading> {
    Reader::default().read(node, folder, deadline).await
}

/// A node's name and a folder on it.
type Key = (String, PathBuf);

/// Reads folders again and again.
#[derive(Default)]
pub struct Reader {
    kept: Mutex<HashMap<Key, Arc<Mutex<Kept>>>>,
}

impl Reader {
    /// Reads a folder. At least one reading comes back: the newest configuration, labelled [`LABEL`], then older ones that
    /// the log holds, labelled [`LOG`](harness_core::view::LOG), the newest of them first.
    pub async fn read(&self, node: &Node, folder: &Path, deadline: Duration) -> Vec<PlaceReading> {
        match tokio::time::timeout(deadline, self.read_unbounded(node, folder)).await {
            Ok(Ok(read)) => tell::readings(&read),
            Ok(Err((kind, message))) => vec![unread(kind, message)],
            Err(_) => vec![unread(
                UnreadKind::Timeout,
                format!(
                    "{} was not read within {} ms",
                    folder.display(),
                    deadline.as_millis()
                ),
            )],
        }
    }

    async fn read_unbounded(
        &self,
        node: &Node,
        folder: &Path,
    ) -> Result<Folder, (UnreadKind, String)> {
        let kept = self.kept_of(node, folder).await;
        // What was decoded stays, also if the deadline ends this reading.
        let mut kept = kept.lock().await;
        let mut last = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            let tried = fetch::folder(node, folder, &mut kept).await;
            return match tried {
                Ok(read) => Ok(read),
                Err(Miss::Final(kind, message)) => Err((kind, message)),
                Err(Miss::Changed(why)) => {
                    last = why;
                    continue;
                }
            };
        }
        Err((
            UnreadKind::Error,
            format!("{} in {TRIES} tries: {last}", folder.display()),
        ))
    }

    async fn kept_of(&self, node: &Node, folder: &Path) -> Arc<Mutex<Kept>> {
        let key = (node.name.to_string(), folder.to_owned());
        let mut all = self.kept.lock().await;
        if all.len() >= KEPT_FOLDERS && !all.contains_key(&key) {
            all.clear();
        }
        all.entry(key).or_default().clone()
    }
}

fn unread(kind: UnreadKind, message: String) -> PlaceReading {
    PlaceReading {
        label: Some(LABEL),
        reading: Reading::Unread { kind, message },
        raft: None,
    }
}
