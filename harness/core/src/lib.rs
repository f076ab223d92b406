//! The words that every part of the harness shares, as types: operations and events, histories,
//! generators, faults, verdicts, and the files of a run.
//!
//! This crate is pure: it takes values and returns values, and never sees tokio, ssh2, the
//! file system or a clock. That is why everything here can be tested with tables and properties, and
//! why a stored run can be judged again.

pub mod compact;
mod digits;
pub mod event;
pub mod exit;
pub mod fast;
pub mod fault;
pub mod format;
pub mod frame;
pub mod generator;
pub mod history;
mod huge;
mod line;
pub mod membership;
pub mod meta;
mod pieces;
pub mod seed;
pub mod sweep;
pub mod trigger;
pub mod verdict;
pub mod view;
