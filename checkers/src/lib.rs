//! Judges histories: one file a checker.
//!
//! Laws (core's [`verdict`](harness_core::verdict) says them in full):
//! - a checker takes values and returns a value; it never sees a clock, a file or a network, so that any stored run
//!   can be judged again with the same verdict;
//! - what it could not look at makes `unknown`, never `valid`;
//! - an `invalid` comes with a witness that names operations of the history and tells the story in plain words;
//! - the same input gives the same result, to the byte.
//!
//! | checker | judges |
//! | --- | --- |
//! | [`linear`] | registers, compare-and-set registers, key-value maps: linearizable? |
//! | [`set_full`] | every acknowledged element is read for ever after |
//! | [`bank`] | transfers keep the total |
//! | [`txn`] | transactions on lists and registers: which isolation holds |
//! | [`txn::weak`] | weak isolation of plain reads and writes |
//! | [`counter`] | each read lies between what adds allow |
//! | [`unique_ids`] | identifiers handed out are all different |
//! | [`total_queue`] | what goes into a queue comes out, once |
//! | [`lock`] | one owner at a time |
//! | [`long_fork`] | readers see writes in one order |
//! | [`causal_reverse`] | who sees a write sees what had ended before it |
//! | [`stats`] | every kind of operation succeeded at least once |
//! | [`logs`] | assertions, panics, sanitizer reports in product logs |
//! | [`crashes`] | processes that died by themselves, core dumps |
//! | [`availability`] | every live node serves again soon after healing |
//! | [`membership`] | the places where membership is kept agree, with each other and with joins and removes |
//! | [`faults`] | every fault that was asked for took hold and was healed |
//!
//! [`verify`] looks at witnesses again, independently. [`registry`] finds checkers by name and runs them; [`generate`] makes histories to try them on.

pub mod availability;
pub mod bank;
pub mod causal_reverse;
pub mod counter;
pub mod crashes;
pub mod faults;
pub mod generate;
mod keyed;
pub mod linear;
pub mod lock;
pub mod logs;
pub mod long_fork;
pub mod membership;
mod parallel;
pub mod registry;
pub mod selftest;
pub mod set_full;
pub mod stats;
pub mod total_queue;
pub mod txn;
pub mod unique_ids;
pub mod verify;
mod words;

pub use registry::{RegistryError, checker, names, run_checkers};
