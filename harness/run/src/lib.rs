//! harness-run
