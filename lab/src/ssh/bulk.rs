//! Uploads and downloads, on the bulk lane.
//!
//! They are the agent's own `write-file` and `read-file`, not SFTP: that works through sudo, with any
//! sshd, gives the kernel's errors, and renames into place.
//!
//! Laws: a copy has no time-out as a whole, but none of its steps may stall for longer than
//! [`STALL_LIMIT`]; the local file of a download appears whole or not at all.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use harness_core::frame::message::{End, Request};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWriteExt, BufWriter},
};

use super::{
    CALL_TIMEOUT,
    call::Call,
    lane::Lane,
    link::{Event, Handle},
    target::SshTarget,
    utf8,
};
use crate::transport::TransportError;

/// Time that a copy may go without moving a byte.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of a local file that are read or written in one go.
const LOCAL_IO_BYTES: usize = 256 * 1024;
/// The kernel's number for a file that is too large, `EFBIG`.
const EFBIG: i32 = 27;

fn local(verb: &str, path: &Path) -> impl Fn(io::Error) -> TransportError {
    let what = format!("{verb} {}", path.display());
    move |source| TransportError::Local {
        what: what.clone(),
        source,
    }
}

/// Copies a local file to the node; gives its size in bytes.
pub(super) async fn upload(
    target: &SshTarget,
    lane: &Lane,
    from: &Path,
    to: &Path,
    mode: u32,
) -> Result<u64, TransportError> {
    let call = Call::new(target, format!("write {}", to.display()), CALL_TIMEOUT);
    let path = utf8(&call, to)?;
    let failed = local("read", from);
    let mut file = File::open(from).await.map_err(&failed)?;
    let request = |_| Request::WriteFile {
        path: path.clone(),
        mode,
    };
    let handle = call.open(lane, request).await?;
    let mut buffer = vec![0; LOCAL_IO_BYTES];
    loop {
        let count = file.read(&mut buffer).await.map_err(&failed)?;
        if count == 0 {
            handle.eof();
            break;
        }
        let sent = async { Ok(handle.send_all(&buffer[..count]).await) };
        if !call.step(&handle, STALL_LIMIT, sent).await? {
            break;
        }
    }
    let end = async { Ok(handle.event().await) };
    match call.step(&handle, STALL_LIMIT, end).await? {
        Event::End(End::File { bytes }) => Ok(bytes),
        other => Err(call.unexpected(other)),
    }
}

/// Copies a file of the node to a local one; gives its size in bytes.
pub(super) async fn download(
    target: &SshTarget,
    lane: &Lane,
    from: &Path,
    to: &Path,
    limit_bytes: u64,
) -> Result<u64, TransportError> {
    let call = Call::new(target, format!("read {}", from.display()), CALL_TIMEOUT);
    let path = utf8(&call, from)?;
    let request = |_| Request::ReadFile {
        path: path.clone(),
        offset_bytes: 0,
        // One byte more shows that it is too large.
        limit_bytes: limit_bytes.saturating_add(1),
    };
    let handle = call.open(lane, request).await?;
    let partial = Partial::beside(to);
    let failed = local("write", to);
    let file = File::create(&partial.0).await.map_err(&failed)?;
    let bytes = receive(&call, &handle, file, limit_bytes, &failed).await?;
    tokio::fs::rename(&partial.0, to).await.map_err(&failed)?;
    Ok(bytes)
}

/// A local file that is removed unless it was renamed.
struct Partial(PathBuf);

impl Partial {
    fn beside(path: &Path) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".partial-{}", std::process::id()));
        Self(name.into())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename there is nothing of this name, and that is an error that says so.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn receive(
    call: &Call,
    handle: &Handle,
    file: File,
    limit_bytes: u64,
    failed: &impl Fn(io::Error) -> TransportError,
) -> Result<u64, TransportError> {
    let mut file = BufWriter::with_capacity(LOCAL_IO_BYTES, file);
    let mut received = 0_u64;
    loop {
        let event = async { Ok(handle.event().await) };
        match call.step(handle, STALL_LIMIT, event).await? {
            Event::Data(bytes) => {
                received += bytes.len() as u64;
                if received > limit_bytes {
                    return Err(call.refused_with(io::Error::from_raw_os_error(EFBIG)));
                }
                file.write_all(&bytes).await.map_err(failed)?;
                handle.consumed(bytes.len());
            }
            Event::End(End::File { .. }) => break,
            other => return Err(call.unexpected(other)),
        }
    }
    file.flush().await.map_err(failed)?;
    Ok(received)
}
