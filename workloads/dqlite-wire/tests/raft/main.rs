//! Raft's data folders: those of real nodes, those that raft refuses, and any bytes at all.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test by panicking"
)]

mod faults;
mod files;
mod folders;
mod properties;
