//! A layer over a data folder, so that its reads and writes can fail, and what was not synced can be lost.
//!
//! Laws:
//! - the program `data.layer/agent` says that the folder `data` beside it has a layer: whoever starts the system makes the layer first, and
//!   replaces one that has ended, so that a node that was started anew never runs on the folder beneath;
//! - the program is a copy of its own: it is there after a boot, and when the agent was removed from the node.

use std::{path::PathBuf, time::Duration};

use harness_lab::{Node, agent_image, capability::CapabilityError};

use super::{scripts::quote, supervised::script};

/// How long making one may take.
const MAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// `mount_layer`: makes a layer over `$base/data` if there is to be one and none that answers.
pub(super) const MOUNT: &str = r#"mount_layer() {
  [ -e "$base/data.layer/agent" ] || return 0
  [ -e /dev/fuse ] || mknod -m 600 /dev/fuse c 10 229 || return 1
  "$base/data.layer/agent" layer-mount "$base/data"
}
"#;

/// Removes it, dead or alive: for before the folder is removed. The layer ends by itself.
#[must_use]
pub(super) fn unmount(base: &str) -> String {
    format!(
        "base={base}\nwhile grep -q \" $base/data fuse.harness-layer \" /proc/mounts; do\n\
         PATH=\"$PATH:/usr/sbin:/sbin\"; umount \"$base/data\" 2>/dev/null || umount -l \"$base/data\" || break; done",
        base = quote(base)
    )
}

/// Gives a node whose system does not run a layer over its data folder.
pub(super) async fn put(node: &Node, base: &str) -> Result<(), CapabilityError> {
    let program = PathBuf::from(format!("{base}/data.layer/agent"));
    node.transport
        .write_file(&program, 0o700, agent_image())
        .await?;
    let what = "make a layer over the data folder (FUSE)";
    let make = format!(
        "base={base}\n{MOUNT}mkdir -p \"$base/data\" && chmod 700 \"$base/data.layer\" && mount_layer",
        base = quote(base)
    );
    script(node, what, make, MAKE_TIMEOUT).await.map(drop)
}
