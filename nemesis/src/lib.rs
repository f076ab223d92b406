//! The nemesis: what injects faults.
//!
//! - [`plan`] is pure: it reads what was asked on the command line, draws a schedule from the
//!   seed, decides which nodes a target means, and renders the text that cuts a network.
//! - [`exec`] does it: journalled before it is done, watched until it is seen to hold, healed.
//! - [`symbols`] is pure: it finds functions in the bytes of a program; [`points`] arms probes on them.
//! - [`instant`] makes one instant of several clocks.
//! - [`catalog`] says what there is, for people.
//!
//! It never names a product: it acts through the small capabilities of `harness_lab`, which a
//! system implements or does not.

pub mod catalog;
pub mod exec;
pub mod instant;
pub mod plan;
pub mod points;
pub mod symbols;
