//! What was written where in a process, kept on disk before it is written: whoever finds it can undo it.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::code::{Cave, Shift, Teller, jump};

/// Bytes of a file of notes, at most.
const LIMIT_BYTES: u64 = 1024 * 1024;

/// Bytes that take the place of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// Where, counted from the vDSO's start.
    pub at: usize,
    /// What was there.
    pub was: Vec<u8>,
    /// What is there since.
    pub is: Vec<u8>,
}

impl Patch {
    /// Whether it is in a vDSO.
    #[must_use]
    pub fn is_in(&self, image: &[u8]) -> bool {
        has(image, self.at, &self.is)
    }

    /// Whether a vDSO has there what it had before.
    #[must_use]
    pub fn is_undone(&self, image: &[u8]) -> bool {
        has(image, self.at, &self.was)
    }
}

fn has(image: &[u8], at: usize, bytes: &[u8]) -> bool {
    at.checked_add(bytes.len())
        .and_then(|end| image.get(at..end))
        .is_some_and(|there| there == bytes)
}

/// All that was done to one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notes {
    /// Its process id.
    pub pid: i32,
    /// Its start time, in clock ticks since boot.
    pub start_time: u64,
    /// How far its clock is off.
    pub shift: Shift,
    /// The code that is jumped to.
    pub cave: Patch,
    /// The jumps.
    pub jumps: Vec<Patch>,
    /// Where the jump of `clock_gettime` is, counted from the vDSO's start.
    pub gettime: usize,
}

impl Notes {
    /// Whether the code is what we would write, and `clock_gettime` a jump to it.
    #[must_use]
    pub fn are_ours(&self) -> bool {
        let cave = Cave::new(self.shift);
        if self.cave.is != cave.code {
            return false;
        }
        let to = self.cave.at.saturating_add(cave.entry(Teller::Gettime));
        let meant = jump(self.gettime, to);
        let there = self.jumps.iter().find(|patch| patch.at == self.gettime);
        there.is_some_and(|patch| meant.is_some_and(|meant| patch.is == meant))
    }

    /// Puts them on disk, whole or not at all.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        fs::rename(&new, path)
    }

    /// Reads them; none if there are none.
    ///
    /// # Errors
    /// The file system's, or that they cannot be read.
    pub fn read(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
            Ok(meta) if meta.len() > LIMIT_BYTES => {
                return Err(io::Error::other("the notes are too long"));
            }
            Ok(_) => {}
        }
        Ok(Some(serde_json::from_slice(&fs::read(path)?)?))
    }
}
