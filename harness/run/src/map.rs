//! Files as bytes without reading them: mapped into memory. The only unsafe code of this crate.

#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe; the argument stands with the call"
)]

use std::{
    fs::File,
    io,
    ops::{Deref, Range},
    path::Path,
};

use memmap2::{Mmap, UncheckedAdvice};

/// The largest page of the machines that Linux runs on.
const PAGE_BYTES: usize = 64 * 1024;

/// A file's bytes as they were when it was opened. What is appended later is not in them.
#[derive(Debug, Default)]
pub struct Mapped {
    /// None for an empty file, which cannot be mapped.
    map: Option<Mmap>,
}

impl Mapped {
    /// Maps a regular file.
    ///
    /// # Errors
    /// If it cannot be opened or mapped, or is no regular file.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        if metadata.len() == 0 {
            return Ok(Self::default());
        }
        // SAFETY: the bytes must not change while they are borrowed, and the file must not become shorter. The
        // histories and logs that are mapped are written by this harness only, which appends to them (bytes beyond the mapped
        // length) or replaces them by rename (another inode; ours stays as it is). The mapping is private
        // and for reading, so nothing in this process can write through it. Whoever truncates a run's file by hand
        // while it is being read ends this process with SIGBUS, which is no memory error.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self { map: Some(map) })
    }

    /// Gives the memory of bytes back that will not be looked at for a while; they are read from the file again if they
    /// are after all. Only whole pages that end within the range go; if the kernel refuses, they stay.
    pub fn release(&self, range: Range<usize>) {
        let Some(map) = &self.map else { return };
        let start = range.start / PAGE_BYTES * PAGE_BYTES;
        let end = range.end.min(map.len()) / PAGE_BYTES * PAGE_BYTES;
        if start >= end {
            return;
        }
        // SAFETY: the advice is unchecked because it throws away what was written to anonymous or private pages. These
        // are pages of a file, mapped for reading: the next look at them finds the same bytes in the file.
        let given =
            unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, end - start) };
        drop(given);
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}
