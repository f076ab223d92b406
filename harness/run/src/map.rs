//! Files as bytes without reading them: mapped into memory. The only unsafe code of this crate.

#![expect(
    unsafe_code,
    reason = "mapping a file is unsafe; the argument stands with the call"
)]

use std::{fs::File, io, ops::Deref, path::Path};

use memmap2::{Mmap, UncheckedAdvice};

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

    /// Says that the bytes before this place are not needed for now: their pages no longer count as this process's memory.
    /// Whoever looks at them again gets them again.
    pub fn release(&self, until: usize) {
        let Some(map) = &self.map else { return };
        let until = until.min(map.len());
        // SAFETY: to drop pages is a danger only where that loses changes. This mapping is for reading and of a file, so that a page that is
        // looked at again is read from the file again, with the bytes that it had.
        let dropped = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, 0, until) };
        // A kernel that does not do it costs memory, nothing else.
        drop(dropped);
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }
}
