//! Systems under test, and the workloads that run on them.

pub mod client;
pub mod judges;
pub mod membership;
pub mod sim;
pub mod systems;
pub mod workload;
