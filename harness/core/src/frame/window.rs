//! How many bytes of data a stream may have under way, one window each way.
//!
//! Laws:
//! - both sides begin with [`INITIAL_WINDOW_BYTES`] for every stream and direction;
//! - a sender never sends what it has no credit for; a receiver treats more as a broken protocol;
//! - a receiver gives credit back only for what its own consumer has taken, so a consumer that
//!   stops stops its sender, and nobody else;
//! - credit is given back in pieces of half a window, so that small messages cost no extra frame each.

use thiserror::Error;

/// Bytes that a sender may have under way on one stream, in one direction, at first and at most.
pub const INITIAL_WINDOW_BYTES: u32 = 1024 * 1024;
/// Consumed bytes after which a receiver gives credit back.
pub const GRANT_BYTES: u32 = INITIAL_WINDOW_BYTES / 2;

/// The other side broke the flow control.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WindowError {
    /// More data than there was credit for.
    #[error("{excess_bytes} bytes more than there was credit for")]
    Overrun {
        /// Bytes beyond the credit.
        excess_bytes: u32,
    },
    /// More credit than there is window.
    #[error("credit for {excess_bytes} bytes more than a window")]
    Overgrant {
        /// Bytes beyond the window.
        excess_bytes: u32,
    },
}

/// The sender's side of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendWindow {
    available_bytes: u32,
}

impl Default for SendWindow {
    fn default() -> Self {
        Self {
            available_bytes: INITIAL_WINDOW_BYTES,
        }
    }
}

impl SendWindow {
    /// Bytes that may be sent now.
    #[must_use]
    pub fn available_bytes(&self) -> usize {
        self.available_bytes as usize
    }

    /// Takes credit for up to `wanted_bytes` and gives how much that was.
    pub fn take(&mut self, wanted_bytes: usize) -> usize {
        let taken = u32::try_from(wanted_bytes)
            .unwrap_or(u32::MAX)
            .min(self.available_bytes);
        self.available_bytes -= taken;
        taken as usize
    }

    /// Adds credit that the receiver gave.
    ///
    /// # Errors
    /// [`WindowError::Overgrant`] if it were more than a window then.
    pub fn grant(&mut self, bytes: u32) -> Result<(), WindowError> {
        let room = INITIAL_WINDOW_BYTES - self.available_bytes;
        if bytes > room {
            return Err(WindowError::Overgrant {
                excess_bytes: bytes - room,
            });
        }
        self.available_bytes += bytes;
        Ok(())
    }
}

/// The receiver's side of one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveWindow {
    credit_bytes: u32,
    consumed_bytes: u32,
}

impl Default for ReceiveWindow {
    fn default() -> Self {
        Self {
            credit_bytes: INITIAL_WINDOW_BYTES,
            consumed_bytes: 0,
        }
    }
}

impl ReceiveWindow {
    /// Notes that data has arrived.
    ///
    /// # Errors
    /// [`WindowError::Overrun`] if the sender had no credit for it.
    pub fn receive(&mut self, bytes: usize) -> Result<(), WindowError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        if bytes > self.credit_bytes {
            return Err(WindowError::Overrun {
                excess_bytes: bytes - self.credit_bytes,
            });
        }
        self.credit_bytes -= bytes;
        Ok(())
    }

    /// Notes that the consumer took data; gives the credit to send back, if it is time for it.
    pub fn consume(&mut self, bytes: usize) -> Option<u32> {
        let held = INITIAL_WINDOW_BYTES - self.credit_bytes - self.consumed_bytes;
        self.consumed_bytes += u32::try_from(bytes).unwrap_or(u32::MAX).min(held);
        if self.consumed_bytes < GRANT_BYTES {
            return None;
        }
        let grant = std::mem::take(&mut self.consumed_bytes);
        self.credit_bytes += grant;
        Some(grant)
    }
}
