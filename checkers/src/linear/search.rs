//! Just-in-time linearization (Lowe 2017), with the memory of Wing and Gong's search (1993).
//!
//! ```text
//! time ──────────────────────────────────────────►
//! p1   ├── write 1 ──┤             ├── read → 2 ──┤
//! p2         ├──────── write 2 ────────┤
//!                     ▲                ▲         ▲
//!                 must be in       must be in  must be in
//! ```
//!
//! Completions are looked at in order. The *frontier* is the set of all configurations in which every operation that is
//! over has its place. When an operation completes, each configuration that has not taken it yet is continued with open
//! operations until it has: just in time, never earlier, because what can be placed later can be placed later too.
//! If no configuration is left, the history up to this completion has no legal order, and every shorter prefix has one.
//!
//! What keeps it small:
//! - reads that match the state are taken at once: this never closes a way;
//! - pending operations are counted by kind, and a configuration that used more of them than its equal is dropped;
//! - a pending operation is not used just to be overwritten unseen;
//! - states and uses that no configuration of the frontier holds are forgotten from time to time, at the latest when
//!   nothing is open;
//! - a first pass keeps only the `beam` best configurations. If it comes to the end, an order was found and the history
//!   is linearizable; if it gets stuck after it had dropped some, a wider pass decides.

use harness_core::verdict::{Budget, Exhausted};

use super::{run::Run, spec::SequentialSpec};

/// An operation of one key, ready for the search.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Where it is in the history's list of operations.
    pub operation: usize,
    /// Its kind: equal operations with equal results have equal classes.
    pub class: u32,
    /// Its bit while it is open. Unused for optional ones.
    pub slot: usize,
}

/// What happens to a key, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// An operation with a known end begins.
    Call(u32),
    /// It ends.
    Return(u32),
    /// An operation without a known end begins.
    Pending(u32),
}

/// One key's operations.
#[derive(Debug)]
pub(crate) struct Problem<S: SequentialSpec> {
    pub spec: S,
    /// Operations by class.
    pub classes: Vec<S::Op>,
    pub entries: Vec<Entry>,
    pub steps: Vec<Step>,
    /// The largest number of operations open at once.
    pub width: usize,
}

/// How a search ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// An order exists.
    Linearizable,
    /// No order exists for the steps up to and with this one.
    Stuck(Stuck),
    /// A limit was reached.
    Exhausted {
        /// Which.
        limit: Exhausted,
        /// Completions that were placed before.
        placed: usize,
    },
}

/// Where no order goes on.
#[derive(Debug)]
pub(crate) struct Stuck {
    /// Number of the step, a return.
    pub step: usize,
    /// The states in which the orders of the steps before can end, for people.
    pub states: Vec<String>,
    /// The longest order found, as numbers of entries; empty if it was not recorded.
    pub order: Vec<u32>,
    /// Why, as a sentence without its end, where it was decided without a search.
    pub because: Option<String>,
}

/// Figures of a search.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub steps: u64,
    pub explored: u64,
    pub frontier_max: usize,
    pub bytes_max: u64,
    /// Keys decided without a search.
    pub by_zones: usize,
}

/// Configurations that the first and the second pass keep.
const BEAMS: [usize; 2] = [32, 2_048];

/// Searches with as many words of mask as the width needs.
pub(crate) fn search<S: SequentialSpec>(
    problem: &Problem<S>,
    budget: &dyn Budget,
    figures: &mut Figures,
) -> Ending {
    match problem.width {
        0..=64 => passes::<S, 1>(problem, budget, figures),
        65..=128 => passes::<S, 2>(problem, budget, figures),
        129..=512 => passes::<S, 8>(problem, budget, figures),
        _ => passes::<S, 64>(problem, budget, figures),
    }
}

/// Searches these steps only, which have no legal order; the place of the failing one is among all of the problem's.
pub(crate) fn search_part<S: SequentialSpec>(
    problem: &mut Problem<S>,
    part: Vec<(usize, Step)>,
    budget: &dyn Budget,
    figures: &mut Figures,
) -> Ending {
    let (places, steps): (Vec<usize>, Vec<Step>) = part.into_iter().unzip();
    let whole = std::mem::replace(&mut problem.steps, steps);
    let ending = search(problem, budget, figures);
    problem.steps = whole;
    match ending {
        Ending::Stuck(stuck) => Ending::Stuck(Stuck {
            step: places.get(stuck.step).copied().unwrap_or(stuck.step),
            ..stuck
        }),
        other => other,
    }
}

/// Operations of one key that may be open at once.
pub(crate) const WIDTH_LIMIT: usize = 64 * 64;

fn passes<S: SequentialSpec, const W: usize>(
    problem: &Problem<S>,
    budget: &dyn Budget,
    figures: &mut Figures,
) -> Ending {
    for beam in BEAMS.into_iter().map(Some).chain([None]) {
        let mut run = Run::<S, W>::new(problem, budget, beam, false);
        let ending = run.run(problem.steps.len());
        run.add_to(figures);
        match ending {
            Ending::Stuck(_) if run.dropped => {}
            Ending::Stuck(stuck) => {
                // Again, up to the failing step, writing down the way.
                let mut again = Run::<S, W>::new(problem, budget, beam, true);
                return match again.run(stuck.step + 1) {
                    Ending::Stuck(recorded) => Ending::Stuck(recorded),
                    _ => Ending::Stuck(stuck),
                };
            }
            other => return other,
        }
    }
    // The pass without a beam drops nothing, so it never comes here.
    Ending::Exhausted {
        limit: Exhausted::Memory,
        placed: 0,
    }
}
