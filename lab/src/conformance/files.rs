//! Files: small ones whole, large ones over the bulk session, and what is refused.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{
    CaseError, ensure,
    support::{Node, noise},
};
use crate::transport::TransportError;

/// From errno(3).
const ENOENT: i32 = 2;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const EINVAL: i32 = 22;
const EFBIG: i32 = 27;
/// Bytes of the large file.
const LARGE_BYTES: usize = 20 * 1024 * 1024;

fn refused<T: std::fmt::Debug>(
    what: &str,
    errno: i32,
    result: Result<T, TransportError>,
) -> Result<(), CaseError> {
    match result {
        Err(TransportError::Refused { source, .. }) if source.raw_os_error() == Some(errno) => {
            Ok(())
        }
        other => Err(format!("{what} gave {other:?}, not error {errno}").into()),
    }
}

pub(super) async fn file_write_and_read(node: &Node) -> Result<(), CaseError> {
    let path = node.path("a/b c/file");
    for (seed, count) in [(1, 10), (2, 0), (3, 2_500_000)] {
        let bytes = noise(seed, count);
        node.transport.write_file(&path, 0o640, &bytes).await?;
        let read = node.transport.read_file(&path, 0, count + 1).await?;
        ensure!(read == bytes, "{count} bytes came back as {}", read.len());
    }
    let bytes = noise(3, 2_500_000);
    let part = node.transport.read_file(&path, 1_000_000, 1000).await?;
    ensure!(part == bytes[1_000_000..1_001_000], "a part is another one");
    let tail = node.transport.read_file(&path, 2_499_990, 1000).await?;
    ensure!(
        tail == bytes[2_499_990..],
        "the end has {} bytes",
        tail.len()
    );
    let beyond = node.transport.read_file(&path, 9_000_000, 1000).await?;
    ensure!(
        beyond.is_empty(),
        "beyond the end are {} bytes",
        beyond.len()
    );
    let shown = path.display();
    let mode = node.says(format!("stat -c %a '{shown}'")).await?;
    ensure!(mode == "640", "its mode is {mode}");
    let folder = path.parent().unwrap_or(Path::new("/")).display();
    let listed = node.says(format!("ls -A '{folder}'")).await?;
    ensure!(listed == "file", "the folder has {listed}");
    Ok(())
}

pub(super) async fn file_refusals(node: &Node) -> Result<(), CaseError> {
    let transport = &node.transport;
    let missing = transport.read_file(Path::new("/no/such/file"), 0, 10).await;
    refused("a missing file", ENOENT, missing)?;
    let folder = transport.read_file(Path::new("/tmp"), 0, 10).await;
    refused("reading a folder", EISDIR, folder)?;
    let folder = transport.write_file(Path::new("/tmp"), 0o600, b"x").await;
    refused("writing a folder", EISDIR, folder)?;
    let below = transport
        .write_file(Path::new("/proc/self/stat/below"), 0o600, b"x")
        .await;
    refused("writing below a file", ENOTDIR, below)?;
    let pipe = node.path("pipe");
    transport
        .write_file(&pipe.with_extension("x"), 0o600, b"")
        .await?;
    node.says(format!("mkfifo {}", pipe.display())).await?;
    let read = transport.read_file(&pipe, 0, 10).await;
    refused("a pipe that nobody writes", EINVAL, read)
}

pub(super) async fn file_of_proc(node: &Node) -> Result<(), CaseError> {
    let stat = node
        .transport
        .read_file(Path::new("/proc/1/stat"), 0, 4096)
        .await?;
    ensure!(
        stat.starts_with(b"1 ("),
        "/proc/1/stat is {} bytes",
        stat.len()
    );
    Ok(())
}

pub(super) async fn file_upload_and_download(node: &Node) -> Result<(), CaseError> {
    let bytes = noise(4, LARGE_BYTES);
    let hash: String = Sha256::digest(&bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let scratch = Scratch::new()?;
    let (there, here, back) = (
        node.path("large"),
        scratch.0.join("up"),
        scratch.0.join("down"),
    );
    std::fs::write(&here, &bytes)?;
    let sent = node.transport.upload(&here, &there, 0o755).await?;
    ensure!(sent == LARGE_BYTES as u64, "{sent} bytes were sent");
    let sum = node.says(format!("sha256sum <{}", there.display())).await?;
    ensure!(sum.starts_with(&hash), "the node has {sum}, not {hash}");
    let mode = node.says(format!("stat -c %a {}", there.display())).await?;
    ensure!(mode == "755", "its mode is {mode}");
    let got = node
        .transport
        .download(&there, &back, LARGE_BYTES as u64)
        .await?;
    ensure!(got == LARGE_BYTES as u64, "{got} bytes came back");
    ensure!(std::fs::read(&back)? == bytes, "other bytes came back");
    Ok(())
}

pub(super) async fn file_download_limit(node: &Node) -> Result<(), CaseError> {
    let there = node.path("limited");
    node.transport.write_file(&there, 0o600, &[7; 1001]).await?;
    let scratch = Scratch::new()?;
    let back = scratch.0.join("down");
    let result = node.transport.download(&there, &back, 1000).await;
    refused("a file beyond the limit", EFBIG, result)?;
    let missing = node
        .transport
        .download(Path::new("/no/such/file"), &back, 10)
        .await;
    refused("a missing file", ENOENT, missing)?;
    let left = std::fs::read_dir(&scratch.0)?.count();
    ensure!(left == 0, "{left} files are left of failed downloads");
    let got = node.transport.download(&there, &back, 1001).await?;
    ensure!(got == 1001, "{got} bytes came back");
    Ok(())
}

/// A folder of our own side that goes away with the case.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, CaseError> {
        let name = format!(
            "harness-conformance-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        );
        let path = std::env::temp_dir().join(name.replace(['(', ')'], "-"));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A temporary folder; the next boot clears it otherwise.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
