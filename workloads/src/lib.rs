//! Systems under test, and the workloads that run on them.

pub mod client;
