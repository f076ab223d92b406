//! workloads/dqlite-wire
