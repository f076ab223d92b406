//! Unpacking `.gnu_debugdata`: an ELF file in xz.

use std::io::Read as _;

use lzma_rust2::XzReader;

/// Bytes of an unpacked symbol table, at most.
const MAX_UNPACKED_BYTES: u64 = 256 * 1024 * 1024;

/// Unpacks it, or says why not.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    XzReader::new(packed, false)
        .take(MAX_UNPACKED_BYTES + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| format!("it is no sound xz file ({error})"))?;
    if unpacked.len() as u64 > MAX_UNPACKED_BYTES {
        return Err(format!(
            "it unpacks to more than {MAX_UNPACKED_BYTES} bytes"
        ));
    }
    Ok(unpacked)
}
