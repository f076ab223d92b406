//! Running: the interpreter with its workers, the recorder, the run store, signals.
//!
//! What the pure crates must not know is here: tokio, the file system, the clock. A run is put together by the
//! command line with [`conduct`] from these parts: [`store`] makes its folder, [`recorder`] writes its history, [`ledger`] its
//! faults, [`interpreter`] drives it, [`load`] reads it again and [`check`] has it judged.

pub mod bench;
pub mod cancel;
pub mod check;
pub mod clock;
pub mod collect;
pub mod conduct;
pub mod deadlines;
pub mod files;
pub mod interpreter;
pub mod ledger;
pub mod live;
pub mod load;
pub mod map;
pub mod recorder;
pub mod sampler;
pub mod signals;
pub mod stats;
pub mod store;
pub mod sweep;
pub mod utc;
mod worker;
