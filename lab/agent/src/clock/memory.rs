//! The memory of another process, by `/proc/PID/mem`.
//!
//! A write there goes through a mapping's protection and gives the process a page of its own: no other process's vDSO changes.
//!
//! Source: proc_pid_mem(5), proc_pid_maps(5).

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
};

use super::vdso::MAX_BYTES;

/// Bytes of a stack that are looked at, at most: a signal's frame with all registers is a fraction of it.
const STACK_BYTES: usize = 64 * 1024;

/// The memory of a process.
pub struct Memory {
    pid: i32,
    file: File,
}

impl Memory {
    /// Opens it to read and to write.
    ///
    /// # Errors
    /// The kernel's: `EACCES` or `EPERM` without the right to trace the process.
    pub fn open(pid: i32) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{pid}/mem"))?;
        Ok(Self { pid, file })
    }

    /// Where its vDSO begins, and the bytes of it.
    ///
    /// # Errors
    /// The kernel's, or that it has none.
    pub fn vdso(&self) -> io::Result<(u64, Vec<u8>)> {
        let maps = fs::read_to_string(format!("/proc/{}/maps", self.pid))?;
        let line = maps.lines().find(|line| line.ends_with(" [vdso]"));
        let (start, end) = line
            .and_then(range)
            .ok_or_else(|| io::Error::other("the process has no vDSO"))?;
        let bytes = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        if bytes > MAX_BYTES {
            return Err(io::Error::other(format!(
                "its vDSO has {bytes} bytes, and {MAX_BYTES} are the most"
            )));
        }
        let mut image = vec![0; bytes];
        self.file.read_exact_at(&mut image, start)?;
        Ok((start, image))
    }

    /// So many bytes from there on.
    ///
    /// # Errors
    /// The kernel's.
    pub fn read(&self, at: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut read = vec![0; bytes];
        self.file.read_exact_at(&mut read, at)?;
        Ok(read)
    }

    /// Writes, and reads back that it is there.
    ///
    /// # Errors
    /// The kernel's, or that something else is there.
    pub fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)?;
        if self.read(at, bytes.len())? != bytes {
            return Err(io::Error::other("what was written is not there"));
        }
        Ok(())
    }

    /// The words of a stack from there on, as far as they can be read.
    pub fn stack(&self, from: u64) -> Vec<u64> {
        let mut bytes = vec![0; STACK_BYTES];
        // The end of the stack's mapping ends it, and what cannot be read holds no frame.
        let count = self.file.read_at(&mut bytes, from).unwrap_or(0);
        let words = bytes[..count].as_chunks().0;
        words.iter().map(|word| u64::from_le_bytes(*word)).collect()
    }
}

fn range(line: &str) -> Option<(u64, u64)> {
    let (start, rest) = line.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}
