//! What each node's data folder is: a folder like any other, a file system of its own, or one with a layer over it.

use harness_workloads::systems::data_mount;

use super::RunOptions;
use crate::failure::Failure;

/// Bytes of each node's data folder, where it is to be a mount of its own.
pub(super) fn size(options: &RunOptions, system: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = &options.data_size else {
        return Ok(None);
    };
    if system != "dqlite" {
        return Err(Failure::usage(format!(
            "data-size: only dqlite's data folder can be made a mount, not that of {system}; leave it out"
        )));
    }
    let range = data_mount::SIZE_MIN_BYTES..=data_mount::SIZE_MAX_BYTES;
    let bytes = harness_nemesis::plan::condition::options::bytes(text);
    match bytes.filter(|bytes| range.contains(bytes)) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(Failure::usage(format!(
            "data-size: {text:?} is no size between {} MiB and {} GiB; write it as in 64MiB",
            range.start() >> 20,
            range.end() >> 30
        ))),
    }
}

/// Whether each node's data folder is to have a layer.
pub(super) fn layer(options: &RunOptions, system: &str) -> Result<bool, Failure> {
    let wanted = options.data_layer.unwrap_or(false);
    if wanted && system != "dqlite" {
        return Err(Failure::usage(format!(
            "data-layer: only dqlite's data folder can have a layer, not that of {system}; leave it out"
        )));
    }
    if wanted && options.data_size.is_some() {
        return Err(Failure::usage(
            "data-layer: a data folder with a layer cannot have a size as well; leave out data-size, and let writes fail with io-error/errno=ENOSPC/ops=write",
        ));
    }
    Ok(wanted)
}
