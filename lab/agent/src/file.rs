//! Files: read in pieces, written whole.
//!
//! Laws:
//! - a file is written under a temporary name in its own folder and renamed when all of it is there, so
//!   nobody ever sees half of it; a cancelled or failed write leaves nothing;
//! - only regular files are read, so that a read never waits for another process.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use harness_core::frame::{
    CHUNK_BYTES, Kind,
    message::{End, Stat},
};
use rustix::{fs::OFlags, io::Errno};

use crate::stream::{Inbound, Stream};

/// Permission bits that a written file may have; the file type's bits are not the caller's.
const MODE_MASK: u32 = 0o7777;

/// Sends a file's bytes and ends the stream.
pub fn read(stream: &Stream, path: &str, offset_bytes: u64, limit_bytes: u64) {
    match send(stream, path, offset_bytes, limit_bytes) {
        Ok(bytes) => stream.end(&End::File { bytes }),
        Err(error) => stream.fail(&error),
    }
}

fn send(stream: &Stream, path: &str, offset_bytes: u64, limit_bytes: u64) -> io::Result<u64> {
    let mut file = open_regular(path)?;
    if offset_bytes > 0 {
        file.seek(SeekFrom::Start(offset_bytes))?;
    }
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut sent = 0;
    while sent < limit_bytes {
        let credit = wait_for_credit(stream)?;
        let left = usize::try_from(limit_bytes - sent).unwrap_or(usize::MAX);
        let room = credit.min(left).min(buffer.len());
        let count = match file.read(&mut buffer[..room]) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        stream.send(Kind::Data, &buffer[..count]);
        sent += count as u64;
    }
    Ok(sent)
}

/// Opens without waiting for anybody: a pipe's open would wait for a writer.
fn open_regular(path: &str) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() || kind.is_socket() || kind.is_char_device() {
        return Err(Errno::INVAL.into());
    }
    Ok(file)
}

fn wait_for_credit(stream: &Stream) -> io::Result<usize> {
    loop {
        if stream.cancelled() {
            return Err(Errno::CANCELED.into());
        }
        let credit = stream.credit_bytes();
        if credit > 0 {
            return Ok(credit);
        }
        stream.wait(None)?;
    }
}

/// Takes a file's bytes and ends the stream.
pub fn write(stream: &Stream, path: &str, mode: u32) {
    match receive(stream, Path::new(path), mode) {
        Ok(bytes) => stream.end(&End::File { bytes }),
        Err(error) => stream.fail(&error),
    }
}

fn receive(stream: &Stream, path: &Path, mode: u32) -> io::Result<u64> {
    let name = path.file_name().ok_or(Errno::ISDIR)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    if !folder.as_os_str().is_empty() {
        fs::create_dir_all(folder).map_err(|error| match error.kind() {
            // Something else of that name is in the way.
            io::ErrorKind::AlreadyExists => Errno::NOTDIR.into(),
            _ => error,
        })?;
    }
    if path.is_dir() {
        return Err(Errno::ISDIR.into());
    }
    let temporary = folder.join(format!(
        ".{}.harness-{}-{}",
        name.to_string_lossy(),
        std::process::id(),
        stream.id()
    ));
    let partial = Partial(temporary);
    let bytes = fill(stream, &partial.0, mode)?;
    fs::rename(&partial.0, path)?;
    Ok(bytes)
}

/// A file that is removed unless it was renamed.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // After the rename there is nothing of this name, and that is an error that says so.
        let _ = fs::remove_file(&self.0);
    }
}

fn fill(stream: &Stream, temporary: &Path, mode: u32) -> io::Result<u64> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(temporary)?;
    let mut bytes = 0;
    loop {
        if stream.cancelled() {
            return Err(Errno::CANCELED.into());
        }
        match stream.take() {
            Inbound::Data(data) => {
                file.write_all(&data)?;
                stream.consumed(data.len());
                bytes += data.len() as u64;
            }
            Inbound::Eof => break,
            Inbound::Nothing => stream.wait(None)?,
        }
    }
    // Explicitly, because the mode of an open is cut by the umask.
    file.set_permissions(fs::Permissions::from_mode(mode & MODE_MASK))?;
    Ok(bytes)
}

/// Looks at a file and ends the stream.
pub fn stat(stream: &Stream, path: &str) {
    match fs::symlink_metadata(path) {
        Ok(data) => stream.end(&End::Stat(Stat {
            size_bytes: data.len(),
            mode: data.mode(),
            uid: data.uid(),
            modified_ns: data
                .mtime()
                .saturating_mul(1_000_000_000)
                .saturating_add(data.mtime_nsec()),
        })),
        Err(error) => stream.fail(&error),
    }
}
