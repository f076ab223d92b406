//! The content of one file, of which the caller may hold only the beginning.
//!
//! An open segment is allocated in full (8 MiB) before it is filled, so nearly all of it is zeros
//! that nobody wants to copy from node to node. A [`Content`] therefore has bytes and a size: what
//! lies between reads as zero. A batch can end inside it: the payload of a barrier *is* zeros.
//!
//! Laws: nothing outside the size is read; reading past it is an error that says what raft would
//! say; the zeros are never allocated.

use super::crc;
use super::problem::FileFault;

/// Zeros that are believed without having been given: what raft preallocates, with room for
/// segments of another configured size. It bounds the time that a checksum over them takes.
const MAX_IMPLIED_ZERO_BYTES: u64 = 64 * 1024 * 1024;

/// The bytes of a file, followed by zeros up to its size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    bytes: &'a [u8],
    size: usize,
}

impl<'a> Content<'a> {
    /// A file of `size_bytes` that begins with `bytes` and goes on with zeros.
    pub(super) fn new(bytes: &'a [u8], size_bytes: u64) -> Self {
        let given = bytes.len() as u64;
        let size = size_bytes.clamp(given, given.saturating_add(MAX_IMPLIED_ZERO_BYTES));
        Self {
            bytes,
            size: usize::try_from(size).unwrap_or(bytes.len()),
        }
    }

    /// A file that was given in full.
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            size: bytes.len(),
        }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Refuses `wanted` bytes at `at` that the file does not have.
    pub(super) fn need(&self, at: usize, wanted: u64) -> Result<(), FileFault> {
        let left = self.size.saturating_sub(at);
        if wanted > left as u64 {
            return Err(FileFault::ShortRead { left, wanted });
        }
        Ok(())
    }

    /// The same file, ending at `end`.
    pub(super) fn until(&self, end: usize) -> Self {
        let size = self.size.min(end);
        Self {
            bytes: &self.bytes[..self.bytes.len().min(size)],
            size,
        }
    }

    /// The byte at `at`; zero past the bytes that were given.
    pub(super) fn u8(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        std::array::from_fn(|i| self.u8(at.saturating_add(i)))
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// The checksum of the `length` bytes at `at`, continuing `crc`.
    pub(super) fn crc(&self, crc: u32, at: usize, length: usize) -> u32 {
        let given = self.given(at, length);
        let zeros = length - given.len();
        let crc = crc::continued(crc, given.iter().copied());
        crc::continued(crc, std::iter::repeat_n(0, zeros))
    }

    /// Whether everything from `at` on is zero.
    pub(super) fn is_zero_from(&self, at: usize) -> bool {
        self.given(at, self.size).iter().all(|byte| *byte == 0)
    }

    /// The position of the first zero at or after `at`, if the file has one.
    pub(super) fn find_zero(&self, at: usize) -> Option<usize> {
        let given = self.given(at, self.size);
        match given.iter().position(|byte| *byte == 0) {
            Some(position) => Some(at + position),
            None => Some(at + given.len()).filter(|end| *end < self.size),
        }
    }

    /// Those of the `length` bytes at `at` that were given.
    pub(super) fn given(&self, at: usize, length: usize) -> &'a [u8] {
        let start = at.min(self.bytes.len());
        let end = at.saturating_add(length).min(self.bytes.len());
        &self.bytes[start..end]
    }
}
