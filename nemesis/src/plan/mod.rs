//! Planning: everything about faults that can be decided without touching a node. Pure.
//!
//! The way of a fault: [`parse::parse`] turns `--nemesis` into [`target::Lane`]s,
//! [`schedule::schedule`] draws a `Plan` from the seed, and when a fault's time has come
//! [`resolve::resolve`] says which nodes it means *now* (who leads is only known then) and
//! [`nft::render`] says what to tell them.

pub mod condition;
pub mod cut;
pub mod lanes;
pub mod nft;
pub mod parse;
pub mod resolve;
pub mod schedule;
mod suggest;
pub mod target;
pub mod trigger;
pub mod watch;

pub use condition::{Asked, Condition};
pub use cut::{Cut, Drops};
pub use lanes::{LaneFileError, NamedLane, parse_lanes, schedule_lanes};
pub use parse::{ParseError, check_nodes, parse};
pub use resolve::{Effect, Facts, ResolveError, Resolved, resolve};
pub use schedule::{ScheduleError, Timing, schedule};
pub(crate) use suggest::nearest;
pub use target::{Count, Kind, Lane, Selector, Target};
pub use trigger::{At, Entry, Phase, TriggerError, WaitsFor, parse_trigger};
pub use watch::Watching;
