//! What can go wrong, by name and in plain words.
//!
//! Names are those of Adya (1999), Elle (Kingsbury and Alvaro, VLDB 2020), and Cerone, Bernardi and Gotsman (CONCUR 2015), so that results can be looked up. A cycle's
//! name is made of its worst edges and of the order that it needs: `G-single-realtime` is a cycle with one
//! anti-dependency that closes only because real time counts. Titles say the same to somebody who reads neither.

use super::graph::{
    Kinds, PASS, PROCESS, REALTIME, RW, RW_PROCESS, RW_REALTIME, WR, WW, WW_PROCESS, WW_REALTIME,
};

/// A cycle by its edges, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Cycle {
    /// Writes alone.
    G0,
    /// Writes and reads of what was written.
    G1c,
    /// Exactly one anti-dependency.
    GSingle,
    /// Several anti-dependencies, no two of them next to each other.
    GNonadjacent,
    /// Several anti-dependencies.
    G2Item,
}

/// Which order besides that of the data a cycle needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Order {
    /// None.
    Plain,
    /// What one process did first came first.
    Process,
    /// What had ended came before what began later.
    Realtime,
}

impl Order {
    fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Process => "-process",
            Self::Realtime => "-realtime",
        }
    }

    pub const ALL: [Self; 3] = [Self::Plain, Self::Process, Self::Realtime];

    /// The edges that may be used besides the data's, in every cycle.
    fn extra(self) -> Kinds {
        match self {
            Self::Plain => 0,
            Self::Process => PROCESS,
            Self::Realtime => REALTIME,
        }
    }

    /// Every kind of anti-dependency that holds under this order.
    pub fn anti(self) -> Kinds {
        match self {
            Self::Plain => RW,
            Self::Process => RW | RW_PROCESS,
            Self::Realtime => RW | RW_REALTIME,
        }
    }
}

impl Cycle {
    pub const ALL: [Self; 5] = [
        Self::G0,
        Self::G1c,
        Self::GSingle,
        Self::GNonadjacent,
        Self::G2Item,
    ];

    /// The kinds of edges that such a cycle is made of, without anti-dependencies.
    pub fn base(self, order: Order) -> Kinds {
        let inferred = match order {
            Order::Plain => 0,
            Order::Process => WW_PROCESS,
            Order::Realtime => WW_REALTIME,
        };
        order.extra()
            | match self {
                Self::G0 => WW | PASS,
                Self::G1c => WW | WR | PASS,
                // An order of versions that was inferred from the order of processes or from real time holds unless
                // snapshot isolation does not, so it counts from here on.
                Self::GSingle | Self::GNonadjacent | Self::G2Item => WW | WR | PASS | inferred,
            }
    }

    /// Whether a cycle of this name is also one of the other.
    pub fn implies(self, other: Self) -> bool {
        match self {
            Self::G0 => matches!(other, Self::G0 | Self::G1c),
            Self::G1c => other == Self::G1c,
            Self::GSingle => other >= Self::GSingle,
            Self::GNonadjacent => other >= Self::GNonadjacent,
            Self::G2Item => other == Self::G2Item,
        }
    }
}

/// Something that went wrong, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Anomaly {
    /// A read holds an element twice that was appended once.
    DuplicateElements,
    /// A read holds what nobody wrote.
    UnwrittenRead,
    /// Two reads cannot come from one list that only grows.
    IncompatibleOrder,
    /// The order of a register's values runs in a circle.
    CyclicVersions,
    /// A read of what a failed transaction wrote.
    G1a,
    /// A write on top of what a failed transaction wrote.
    DirtyUpdate,
    /// A read of a transaction's half-done work.
    G1b,
    /// A read of what the same transaction writes only later.
    FutureRead,
    /// A transaction contradicts itself.
    Internal,
    /// Two transactions changed the same value, each without seeing the other.
    LostUpdate,
    /// A transaction saw work of another, and missed more of it.
    FracturedRead(Order),
    /// A transaction saw what came of another's work, and missed that.
    CausalityViolation(Order),
    /// A cycle.
    Cycle(Order, Cycle),
    /// Whatever the order of versions, there is a cycle without two adjacent anti-dependencies.
    NoSnapshotOrder(Order),
    /// Whatever the order of versions, there is a cycle.
    NoSerialOrder(Order),
}

impl Anomaly {
    /// As in Elle's results.
    pub fn name(self) -> String {
        let (order, cycle) = match self {
            Self::DuplicateElements => return "duplicate-elements".to_owned(),
            Self::UnwrittenRead => return "unwritten-read".to_owned(),
            Self::IncompatibleOrder => return "incompatible-order".to_owned(),
            Self::CyclicVersions => return "cyclic-versions".to_owned(),
            Self::G1a => return "G1a".to_owned(),
            Self::DirtyUpdate => return "dirty-update".to_owned(),
            Self::G1b => return "G1b".to_owned(),
            Self::FutureRead => return "future-read".to_owned(),
            Self::Internal => return "internal".to_owned(),
            Self::LostUpdate => return "lost-update".to_owned(),
            Self::FracturedRead(order) => return format!("fractured-read{}", order.suffix()),
            Self::CausalityViolation(order) => {
                return format!("causality-violation{}", order.suffix());
            }
            Self::NoSnapshotOrder(order) => return format!("no-snapshot-order{}", order.suffix()),
            Self::NoSerialOrder(order) => return format!("no-serial-order{}", order.suffix()),
            Self::Cycle(order, cycle) => (order, cycle),
        };
        let base = match cycle {
            Cycle::G0 => "G0",
            Cycle::G1c => "G1c",
            Cycle::GSingle => "G-single",
            Cycle::GNonadjacent => "G-nonadjacent",
            Cycle::G2Item => "G2-item",
        };
        format!("{base}{}", order.suffix())
    }

    /// A headline.
    pub fn title(self) -> &'static str {
        match self {
            Self::DuplicateElements => "Something that was appended once is in the list twice.",
            Self::UnwrittenRead => "A value appeared that nobody had written.",
            Self::IncompatibleOrder => "Two reads show orders that contradict each other.",
            Self::CyclicVersions => "Values replaced each other in a circle.",
            Self::G1a => "Saw the work of a transaction that had failed.",
            Self::DirtyUpdate => "Built on the work of a transaction that had failed.",
            Self::G1b => "Saw another transaction's half-done work.",
            Self::FutureRead => "Saw a write before making it.",
            Self::Internal => "A transaction contradicted itself.",
            Self::LostUpdate => "Two changes of the same value did not see each other.",
            Self::FracturedRead(Order::Plain) => "Saw a part of a transaction and not all of it.",
            Self::FracturedRead(_) => "A process did not see what it had done itself.",
            Self::CausalityViolation(_) => "Saw an effect without its cause.",
            Self::Cycle(order, cycle) => cycle_title(order, cycle),
            Self::NoSnapshotOrder(_) => "No order of snapshots explains what was read.",
            Self::NoSerialOrder(_) => "No order of the transactions explains what was read.",
        }
    }

    /// Whether what this names is also what the other names.
    pub fn implies(self, other: Self) -> bool {
        match (self, other) {
            (Self::Cycle(order, cycle), Self::Cycle(weaker, wider)) => {
                order <= weaker && cycle.implies(wider)
            }
            (
                Self::FracturedRead(order),
                Self::FracturedRead(weaker) | Self::CausalityViolation(weaker),
            )
            | (Self::CausalityViolation(order), Self::CausalityViolation(weaker)) => {
                order <= weaker
            }
            (
                Self::FracturedRead(order) | Self::CausalityViolation(order),
                Self::Cycle(weaker, wider),
            ) => order <= weaker && Cycle::GSingle.implies(wider),
            (Self::NoSnapshotOrder(order), Self::Cycle(weaker, wider)) => {
                order <= weaker && Cycle::GNonadjacent.implies(wider)
            }
            (Self::NoSerialOrder(order), Self::Cycle(weaker, wider)) => {
                order <= weaker && Cycle::G2Item.implies(wider)
            }
            _ => self == other,
        }
    }
}

fn cycle_title(order: Order, cycle: Cycle) -> &'static str {
    match (order, cycle) {
        (Order::Plain, Cycle::G0) => "Writes of several transactions are interleaved.",
        (Order::Plain, Cycle::G1c) => "Transactions saw each other's work in a circle.",
        (Order::Plain, Cycle::GSingle) => "Saw one part of another's work and missed the other.",
        (Order::Plain, Cycle::GNonadjacent) => {
            "Transactions saw each other's work in part, in a circle."
        }
        (Order::Plain, Cycle::G2Item) => "Transactions missed each other's writes.",
        (Order::Process, Cycle::G0) => "A process's writes took effect in the wrong order.",
        (Order::Process, Cycle::G1c) => "A process saw its own later work too early.",
        (Order::Process, _) => "A process did not see what it had already seen or done.",
        (Order::Realtime, Cycle::G0) => "Writes took effect in the wrong order.",
        (Order::Realtime, Cycle::G1c) => "Saw a write before it was begun.",
        (Order::Realtime, Cycle::GSingle) => {
            "A read missed a write that had already been finished."
        }
        (Order::Realtime, _) => "Reads missed writes that had already been finished.",
    }
}
