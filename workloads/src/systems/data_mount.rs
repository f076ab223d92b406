//! A data folder of limited size: a file system of its own in a file beside it, so that it can be full, and stand still.
//!
//! Laws:
//! - the file `data.img` says that the folder `data` beside it is a mount: whoever starts the program mounts it first, so that a node
//!   that was started anew never runs on the empty folder beneath;
//! - log, process id and how processes ended are beside the mount, not in it: they are written while it is full.

use std::time::Duration;

use harness_lab::{Node, capability::CapabilityError};

use super::{scripts::quote, supervised::script};

/// The smallest size, in bytes: dqlite prepares segments of 8 MiB each before it needs them.
pub const SIZE_MIN_BYTES: u64 = 32 << 20;
/// The largest size, in bytes.
pub const SIZE_MAX_BYTES: u64 = 4 << 30;
/// How long making one may take.
const MAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// `mount_data`: mounts `$base/data.img` on `$base/data` if it is there and is not mounted. Nodes that share a kernel draw loop
/// devices from one pool and may want the same one, so that it is tried again.
pub(super) const MOUNT: &str = r#"mount_data() {
  [ -e "$base/data.img" ] || return 0
  PATH="$PATH:/usr/sbin:/sbin"
  [ "$(stat -c %m "$base/data")" = "$base/data" ] && return 0
  [ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
  tries=0
  while [ $tries -lt 40 ]; do
    tries=$((tries+1))
    dev=$(losetup -f) || return 1
    [ -e "$dev" ] || mknod "$dev" b 7 "${dev#/dev/loop}"
    mount -o loop="$dev" "$base/data.img" "$base/data" 2>/dev/null && return 0
    sleep 0.05
  done
  mount -o loop "$base/data.img" "$base/data"
}
"#;

/// Makes the file system and mounts it; the program does not run, and the folder is empty.
fn make(base: &str, size_bytes: u64) -> String {
    format!(
        "base={base}\n{MOUNT}PATH=\"$PATH:/usr/sbin:/sbin\"\nmkdir -p \"$base/data\" && truncate -s {size_bytes} \"$base/data.img\" \
         && mkfs.ext4 -q -F -m 0 \"$base/data.img\" && mount_data\n",
        base = quote(base)
    )
}

/// Unmounts it, if it is mounted: for before the folder is removed.
#[must_use]
pub fn unmount(base: &str) -> String {
    format!(
        "base={base}\nif [ -d \"$base/data\" ] && [ \"$(stat -c %m \"$base/data\")\" = \"$base/data\" ]; then\n\
         PATH=\"$PATH:/usr/sbin:/sbin\"; fsfreeze -u \"$base/data\" 2>/dev/null; umount \"$base/data\" || umount -l \"$base/data\"; fi",
        base = quote(base)
    )
}

/// Gives a node whose program does not run, and which has no data, a data folder of that size.
pub(super) async fn limit(node: &Node, base: &str, size_bytes: u64) -> Result<(), CapabilityError> {
    let what = format!("make a data folder of {size_bytes} bytes (mkfs.ext4 on a loop device)");
    script(node, &what, make(base, size_bytes), MAKE_TIMEOUT)
        .await
        .map(drop)
}
